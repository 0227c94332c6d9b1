//! Event files that TensorBoard reads: records of `length · crc(length) · event · crc(event)`.
//!
//! The framing is TFRecord's, the events are protocol buffers (`tensorflow/core/util/event.proto`,
//! `framework/summary.proto`), the checksums CRC-32C, masked: `((crc >> 15) | (crc << 17)) + 0xa282ead8`.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use prost::Message;

/// How the names of event files begin; TensorBoard looks for it.
const PREFIX: &str = "events.out.tfevents.";
/// No event is longer: a length beyond it is damage.
const LONGEST: u64 = 1 << 28;

/// The messages, with the numbers of their fields.
mod proto {
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Event {
        #[prost(double, tag = "1")]
        pub(super) wall_time: f64,
        #[prost(int64, tag = "2")]
        pub(super) step: i64,
        #[prost(oneof = "What", tags = "3, 5")]
        pub(super) what: Option<What>,
    }

    #[derive(Clone, PartialEq, prost::Oneof)]
    pub(super) enum What {
        #[prost(string, tag = "3")]
        FileVersion(String),
        #[prost(message, tag = "5")]
        Summary(Summary),
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Summary {
        #[prost(message, repeated, tag = "1")]
        pub(super) value: Vec<Value>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Value {
        #[prost(string, tag = "1")]
        pub(super) tag: String,
        #[prost(oneof = "Content", tags = "2, 4, 5")]
        pub(super) content: Option<Content>,
    }

    #[derive(Clone, PartialEq, prost::Oneof)]
    pub(super) enum Content {
        #[prost(float, tag = "2")]
        Scalar(f32),
        #[prost(message, tag = "4")]
        Image(Image),
        #[prost(message, tag = "5")]
        Histogram(Histogram),
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Image {
        #[prost(int32, tag = "1")]
        pub(super) height: i32,
        #[prost(int32, tag = "2")]
        pub(super) width: i32,
        #[prost(int32, tag = "3")]
        pub(super) colorspace: i32,
        #[prost(bytes = "vec", tag = "4")]
        pub(super) encoded: Vec<u8>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Histogram {
        #[prost(double, tag = "1")]
        pub(super) min: f64,
        #[prost(double, tag = "2")]
        pub(super) max: f64,
        #[prost(double, tag = "3")]
        pub(super) num: f64,
        #[prost(double, tag = "4")]
        pub(super) sum: f64,
        #[prost(double, tag = "5")]
        pub(super) sum_squares: f64,
        #[prost(double, repeated, tag = "6")]
        pub(super) bucket_limit: Vec<f64>,
        #[prost(double, repeated, tag = "7")]
        pub(super) bucket: Vec<f64>,
    }
}

use proto::{Content, Event, Histogram, Image, Summary, Value, What};

/// An event file that is being written; every event is one write, so that a reader and a crash find whole ones.
#[derive(Debug)]
pub struct EventFile {
    file: File,
    path: PathBuf,
}

impl EventFile {
    /// A new file `events.out.tfevents.SECONDS.PID` in `folder`.
    ///
    /// ```
    /// use cotangent_board::tensorboard::EventFile;
    /// let folder = std::env::temp_dir().join(format!("events-doc-{}", std::process::id()));
    /// std::fs::create_dir_all(&folder)?;
    /// let mut events = EventFile::create(&folder)?;
    /// events.scalars(1, &[("train/loss", 0.5), ("train/accuracy", 0.75)])?;
    /// events.histogram(1, "weights/fc", &[-0.1, 0.0, 0.3])?;
    /// std::fs::remove_dir_all(&folder)?;
    /// # std::io::Result::Ok(())
    /// ```
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn create(folder: &Path) -> io::Result<Self> {
        let path = folder.join(format!("{PREFIX}{}.{}", now() as u64, std::process::id()));
        let file = OpenOptions::new().append(true).create(true).open(&path)?;
        let mut events = EventFile { file, path };
        events.append(0, What::FileVersion("brain.Event:2".into()))?;
        Ok(events)
    }

    /// The newest event file of `folder`, with what came after `step` cut off, and half an event at its end; a new
    /// one where there is none. So a run that goes on from a checkpoint writes each event once.
    ///
    /// # Errors
    /// The folder or the file cannot be read or written.
    pub fn resume(folder: &Path, step: i64) -> io::Result<Self> {
        let mut found: Vec<PathBuf> = Vec::new();
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let name = entry.file_name();
            if name.to_str().is_some_and(|n| n.starts_with(PREFIX)) && entry.file_type()?.is_file() {
                found.push(entry.path());
            }
        }
        found.sort();
        for path in &found {
            let old = fs::read(path)?;
            let mut kept = Vec::with_capacity(old.len());
            for (record, event) in records(&old) {
                if event.step <= step {
                    kept.extend_from_slice(record);
                }
            }
            if kept != old {
                let aside = folder.join(format!(".events.{}", std::process::id()));
                let written = (|| {
                    let mut file = File::create(&aside)?;
                    file.write_all(&kept)?;
                    file.sync_all()?;
                    fs::rename(&aside, path)
                })();
                if let Err(error) = written {
                    let _ = fs::remove_file(&aside);
                    return Err(error);
                }
            }
        }
        match found.pop() {
            None => EventFile::create(folder),
            Some(path) => {
                let file = OpenOptions::new().append(true).open(&path)?;
                let empty = file.metadata()?.len() == 0;
                let mut events = EventFile { file, path };
                if empty {
                    events.append(0, What::FileVersion("brain.Event:2".into()))?;
                }
                Ok(events)
            }
        }
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Numbers with their names; a slash in a name groups them.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn scalars(&mut self, step: i64, values: &[(&str, f64)]) -> io::Result<()> {
        let value = values
            .iter()
            .map(|(tag, x)| Value { tag: (*tag).into(), content: Some(Content::Scalar(*x as f32)) });
        self.append(step, What::Summary(Summary { value: value.collect() }))
    }

    /// A picture, as the bytes of a PNG file.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn image(&mut self, step: i64, tag: &str, [width, height]: [u32; 2], png: &[u8]) -> io::Result<()> {
        let [width, height] = [width, height].map(|n| i32::try_from(n).unwrap_or(i32::MAX));
        let image = Image { height, width, colorspace: 3, encoded: png.to_vec() };
        let value = vec![Value { tag: tag.into(), content: Some(Content::Image(image)) }];
        self.append(step, What::Summary(Summary { value }))
    }

    /// How values are spread, in [`histogram`]'s bins.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn histogram(&mut self, step: i64, tag: &str, values: &[f64]) -> io::Result<()> {
        let (limits, counts) = histogram(values, 30);
        let finite = || values.iter().copied().filter(|x| x.is_finite());
        let content = Histogram {
            min: finite().fold(f64::INFINITY, f64::min),
            max: finite().fold(f64::NEG_INFINITY, f64::max),
            num: finite().count() as f64,
            sum: finite().sum(),
            sum_squares: finite().map(|x| x * x).sum(),
            bucket_limit: limits,
            bucket: counts.iter().map(|n| *n as f64).collect(),
        };
        let value = vec![Value { tag: tag.into(), content: Some(Content::Histogram(content)) }];
        self.append(step, What::Summary(Summary { value }))
    }

    fn append(&mut self, step: i64, what: What) -> io::Result<()> {
        let event = Event { wall_time: now(), step, what: Some(what) }.encode_to_vec();
        let mut record = Vec::with_capacity(event.len() + 16);
        let length = (event.len() as u64).to_le_bytes();
        record.extend(length);
        record.extend(masked(&length).to_le_bytes());
        record.extend(&event);
        record.extend(masked(&event).to_le_bytes());
        self.file.write_all(&record)
    }
}

/// Upper limits of `bins` bins of equal width between the least and the greatest finite value, and how many lie in
/// each. Without finite values there are no bins; where all are equal there is one.
#[must_use]
pub fn histogram(values: &[f64], bins: usize) -> (Vec<f64>, Vec<u64>) {
    let finite = || values.iter().copied().filter(|x| x.is_finite());
    let (low, high) = finite().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), x| (l.min(x), h.max(x)));
    let n = finite().count();
    if n == 0 {
        return (Vec::new(), Vec::new());
    }
    let width = high - low;
    if width <= 0.0 || !width.is_finite() {
        return (vec![high], vec![n as u64]);
    }
    let mut counts = vec![0; bins];
    for x in finite() {
        let bin = ((x - low) / width * bins as f64) as usize;
        counts[bin.min(bins - 1)] += 1;
    }
    let limit = |i: usize| if i + 1 == bins { high } else { low + width * (i + 1) as f64 / bins as f64 };
    ((0..bins).map(limit).collect(), counts)
}

/// The step of each whole event at the beginning of a file, the first one, which tells the version, left out.
#[must_use]
pub fn steps(bytes: &[u8]) -> Vec<i64> {
    records(bytes).skip(1).map(|(_, event)| event.step).collect()
}

/// The whole records at the beginning of a file, with their events.
fn records(mut bytes: &[u8]) -> impl Iterator<Item = (&[u8], Event)> {
    std::iter::from_fn(move || {
        let (length, rest) = bytes.split_first_chunk::<8>()?;
        let (crc, rest) = rest.split_first_chunk::<4>()?;
        let n = u64::from_le_bytes(*length);
        if u32::from_le_bytes(*crc) != masked(length) || n > LONGEST {
            return None;
        }
        let (event, rest) = rest.split_at_checked(n as usize)?;
        let (crc, rest) = rest.split_first_chunk::<4>()?;
        if u32::from_le_bytes(*crc) != masked(event) {
            return None;
        }
        let event = Event::decode(event).ok()?;
        let record = &bytes[..bytes.len() - rest.len()];
        bytes = rest;
        Some((record, event))
    })
}

fn masked(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// Seconds since 1970.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("cotangent-events-{name}-{}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Scratch(path)
        }
        fn steps(&self) -> Vec<i64> {
            let mut all: Vec<_> = fs::read_dir(&self.0).unwrap().map(|e| e.unwrap().path()).collect();
            all.sort();
            all.iter()
                .flat_map(|p| records(&fs::read(p).unwrap()).map(|(_, e)| e.step).collect::<Vec<_>>())
                .collect()
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn checksums_are_those_of_the_format() {
        // CRC-32C's check value, and the mask of TFRecord's reference implementation.
        assert_eq!(crc32c::crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(masked(b"123456789"), 0xc78a_b0e5);
    }

    #[test]
    fn a_resumed_file_has_each_event_once() {
        let scratch = Scratch::new("resume");
        let mut events = EventFile::create(&scratch.0).unwrap();
        for step in 1..=5 {
            events.scalars(step, &[("loss", 1.0 / step as f64)]).unwrap();
        }
        // Killed in the middle of a write.
        let path = events.path().to_path_buf();
        drop(events);
        let whole = fs::read(&path).unwrap();
        fs::write(&path, &whole[..whole.len() - 3]).unwrap();
        let mut events = EventFile::resume(&scratch.0, 3).unwrap();
        assert_eq!(events.path(), path);
        for step in 4..=6 {
            events.scalars(step, &[("loss", 0.0)]).unwrap();
        }
        assert_eq!(scratch.steps(), [0, 1, 2, 3, 4, 5, 6]);
        // A length that damage has made enormous ends the reading, and an empty file begins anew.
        fs::write(&path, [0xff; 64]).unwrap();
        drop(EventFile::resume(&scratch.0, 3).unwrap());
        assert_eq!(scratch.steps(), [0]);
    }

    #[test]
    fn bins_hold_every_finite_value() {
        let (limits, counts) = histogram(&[0.0, 0.5, 1.0, f64::NAN, f64::INFINITY], 4);
        assert_eq!((limits, counts), (vec![0.25, 0.5, 0.75, 1.0], vec![1, 0, 1, 1]));
        assert_eq!(histogram(&[2.0, 2.0], 4), (vec![2.0], vec![2]));
        assert_eq!(histogram(&[f64::NAN], 4), (vec![], vec![]));
    }
}
