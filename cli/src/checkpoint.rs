//! A run on the disk: one safetensors file.
//!
//! The model's tensors stand under PyTorch's names, so that `load_state_dict` takes them; what else a run needs to
//! go on bit for bit stands beside them: `optim.*` and `schedule.*` tensors, and JSON under `cotangent` in
//! `__metadata__`. One metadata key, because the format keeps several in no order and equal runs write equal bytes.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;
use std::path::Path;

use cotangent_interchange::safetensors as safetensors_file;
use safetensors::tensor::{Dtype, SafeTensors, View, serialize};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::config::{Config, as_table};
use crate::data::limits;
use crate::diagnostic::{Diagnostic, Exit};
use crate::run_folder::write_file;

/// The version of [`About`].
const VERSION: u32 = 3;
const KEY: &str = "cotangent";
/// Before the checksum, the last thing that the text of a run says.
const CHECKSUM: &str = ",\"checksum\":\"";
/// Names before which no model's tensor stands.
const OTHERS: [&str; 2] = [OPTIM, SCHEDULE];
/// Before the names of the optimiser's tensors.
pub(crate) const OPTIM: &str = "optim.";
/// Before the names of the schedule's tensors.
pub(crate) const SCHEDULE: &str = "schedule.";

/// A tensor as it lies in the file: little-endian, row-major.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    /// Its type.
    pub(crate) dtype: Dtype,
    /// Its sizes.
    pub(crate) shape: Vec<usize>,
    /// Its elements.
    pub(crate) bytes: Vec<u8>,
}

impl View for &Stored {
    fn dtype(&self) -> Dtype {
        self.dtype
    }
    fn shape(&self) -> &[usize] {
        &self.shape
    }
    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.bytes)
    }
    fn data_len(&self) -> usize {
        self.bytes.len()
    }
}

/// Everything about a run that is not a tensor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct About {
    /// The version of this structure.
    pub(crate) v: u32,
    /// The program's version: bits are promised for the same one.
    pub(crate) program: String,
    /// The instruction set of the kernels, likewise.
    pub(crate) isa: String,
    /// The settings.
    #[serde(with = "as_table")]
    pub(crate) config: Config,
    /// Names of the classes, in the order of the model's outputs.
    pub(crate) classes: Vec<String>,
    /// Channels, height and width of an input; or the number of its features.
    pub(crate) input_shape: Vec<usize>,
    /// Names of the columns in the order of the inputs; none where inputs are pictures.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) features: Vec<String>,
    /// How numbers of files become inputs.
    pub(crate) normalisation: Normalisation,
    /// What the files held when the run began; empty where there are none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) examples: String,
    /// Where the run stands.
    pub(crate) position: Position,
    /// Name of a generator → seed, stream, offset.
    pub(crate) rng: BTreeMap<String, [i64; 3]>,
    /// The checkpoint with the lowest validation loss so far.
    pub(crate) best: Option<Best>,
    /// Epochs since then.
    pub(crate) epochs_since_best: u64,
    /// Loss and accuracy on the test examples after the last complete epoch.
    pub(crate) test: Option<[Option<f64>; 2]>,
}

/// x = (number · scale − mean) / std, by channel or by feature; found from the training examples alone. What is missing
/// becomes the mean.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Normalisation {
    /// 1/255 for pixels, else 1.
    #[serde(default = "of_pixels", skip_serializing_if = "is_of_pixels")]
    pub(crate) scale: f64,
    /// μ.
    pub(crate) mean: Vec<f64>,
    /// σ.
    pub(crate) std: Vec<f64>,
}

fn of_pixels() -> f64 {
    1.0 / 255.0
}

fn is_of_pixels(scale: &f64) -> bool {
    *scale == of_pixels()
}

impl Normalisation {
    /// Of pixels from 0 to 255.
    pub(crate) fn pixels(mean: Vec<f64>, std: Vec<f64>) -> Self {
        Normalisation { scale: of_pixels(), mean, std }
    }
}

/// How far a run has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Position {
    /// Complete epochs.
    pub(crate) epoch: u64,
    /// Optimiser steps in all.
    pub(crate) step: u64,
    /// Steps of the epoch that is not complete.
    pub(crate) step_in_epoch: u64,
    /// Examples in those steps.
    pub(crate) examples: u64,
    /// The sum of their losses.
    pub(crate) loss_sum: f64,
    /// How many of them were classified rightly.
    pub(crate) correct: u64,
    /// Seconds those steps took.
    pub(crate) seconds: f64,
}

/// The best epoch so far.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Best {
    /// Its number.
    pub(crate) epoch: u64,
    /// Its validation loss.
    pub(crate) val_loss: f64,
    /// The validation figure that made it the best, where that is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) score: Option<f64>,
}

impl About {
    /// Of a run that begins now.
    pub(crate) fn new(
        config: Config,
        isa: &str,
        classes: Vec<String>,
        input_shape: Vec<usize>,
        normalisation: Normalisation,
    ) -> Self {
        About {
            v: VERSION,
            program: env!("CARGO_PKG_VERSION").into(),
            isa: isa.into(),
            config,
            classes,
            input_shape,
            features: Vec::new(),
            normalisation,
            examples: String::new(),
            position: Position::default(),
            rng: BTreeMap::new(),
            best: None,
            epochs_since_best: 0,
            test: None,
        }
    }
}

/// A run, ready to be written or just read.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Checkpoint {
    /// All tensors by name: the model's, `optim.*`, `schedule.*`.
    pub(crate) tensors: BTreeMap<String, Stored>,
    /// Everything else.
    pub(crate) about: About,
}

impl Checkpoint {
    /// Writes the file aside, then renames it: the old one stays until the new one is whole.
    pub(crate) fn write(&self, path: &Path) -> Result<(), Diagnostic> {
        let refused =
            |e: String| Diagnostic::new(Exit::Failure, format!("cannot write {}: {e}", path.display()));
        let about = serde_json::to_string(&self.about).map_err(|e| refused(e.to_string()))?;
        let metadata = HashMap::from([(KEY.to_string(), sealed(&about, &self.tensors))]);
        let bytes = serialize(&self.tensors, Some(metadata)).map_err(|e| refused(e.to_string()))?;
        write_file(path, &bytes)
    }

    /// Reads a file.
    pub(crate) fn read(path: &Path) -> Result<Self, Diagnostic> {
        let bytes = cotangent_data::read_bytes(path, limits().bytes).map_err(|e| {
            Diagnostic::from(e).help("a run writes its checkpoints into its folder `checkpoints`")
        })?;
        let bad = |what: String| Diagnostic::new(Exit::Data, format!("{} {what}", path.display()));
        let damaged = |e: safetensors::SafeTensorError| {
            bad(format!("is no whole safetensors file: {}", safetensors_file::fault(&bytes, &e)))
                .help("a run writes its checkpoints whole; this one was cut off or changed by something else")
        };
        if let Some(name) = safetensors_file::repeated(&bytes) {
            return Err(bad(format!("names `{name}` twice in its header"))
                .help("something has changed it since it was written; take another checkpoint of the run"));
        }
        let (_, header) = SafeTensors::read_metadata(&bytes).map_err(damaged)?;
        let Some(about) = header.metadata().as_ref().and_then(|m| m.get(KEY)) else {
            return Err(bad(
                "is a safetensors file, but no checkpoint of cotangent: its header says nothing of the run"
                    .into(),
            )
            .help("a checkpoint lies in the folder `checkpoints` of a run"));
        };
        #[derive(Deserialize)]
        struct Version {
            v: u32,
        }
        let unreadable = |e: serde_json::Error| {
            bad(format!("describes its run in a way I cannot read: {e}"))
                .help("take another checkpoint of the run, or train again")
        };
        let Version { v } = serde_json::from_str(about).map_err(unreadable)?;
        if v != VERSION {
            return Err(bad(format!(
                "has version {v} of the checkpoint format; this program reads version {VERSION}"
            ))
            .help("use the version of cotangent that wrote it"));
        }
        let file = SafeTensors::deserialize(&bytes).map_err(damaged)?;
        let tensors = file
            .iter()
            .map(|(name, t)| {
                let stored = Stored { dtype: t.dtype(), shape: t.shape().to_vec(), bytes: t.data().to_vec() };
                (name.to_string(), stored)
            })
            .collect();
        // As it was written, whatever this program would say today.
        let unsealed = about.rsplit_once(CHECKSUM).map(|(text, _)| format!("{text}}}"));
        let Some(unsealed) = unsealed.filter(|text| sealed(text, &tensors) == *about) else {
            return Err(bad(
                "does not match its own checksum: something has changed it since it was written".into(),
            )
            .help("take another checkpoint of the run, or train again"));
        };
        Ok(Checkpoint { tensors, about: serde_json::from_str(&unsealed).map_err(unreadable)? })
    }

    /// The model's tensors.
    pub(crate) fn model(&self) -> impl Iterator<Item = (&str, &Stored)> {
        let all = self.tensors.iter().map(|(name, t)| (name.as_str(), t));
        all.filter(|(name, _)| !OTHERS.iter().any(|prefix| name.starts_with(prefix)))
    }

    /// The tensors whose names begin with `prefix`, without it.
    pub(crate) fn after<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a str, &'a Stored)> {
        self.tensors.iter().filter_map(move |(name, t)| Some((name.strip_prefix(prefix)?, t)))
    }

    /// SHA-256 over names, types, shapes and bits of the model's tensors, in hexadecimal: equal for equal weights,
    /// whatever the optimiser, the machine or the number of threads.
    pub(crate) fn fingerprint(&self) -> String {
        hexadecimal(feed(Sha256::new(), self.model()))
    }
}

/// What is said of a run, a JSON object, and at its end SHA-256 over that text and all tensors: a changed bit is noticed.
fn sealed(about: &str, tensors: &BTreeMap<String, Stored>) -> String {
    let all = tensors.iter().map(|(name, t)| (name.as_str(), t));
    let hash = hexadecimal(feed(Sha256::new().chain_update(about), all));
    format!("{}{CHECKSUM}{hash}\"}}", about.strip_suffix('}').unwrap_or(about))
}

/// Adds names, types, shapes and bits of tensors. Lengths stand before contents: no two lists give one stream.
fn feed<'a>(mut hash: Sha256, tensors: impl Iterator<Item = (&'a str, &'a Stored)>) -> Sha256 {
    for (name, t) in tensors {
        hash.update((name.len() as u64).to_le_bytes());
        hash.update(name);
        let dtype = t.dtype.to_string();
        hash.update((dtype.len() as u64).to_le_bytes());
        hash.update(dtype);
        hash.update((t.shape.len() as u64).to_le_bytes());
        for size in &t.shape {
            hash.update((*size as u64).to_le_bytes());
        }
        hash.update(&t.bytes);
    }
    hash
}

pub(crate) fn hexadecimal(hash: Sha256) -> String {
    hash.finalize().iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::Exit;
    use std::fs;
    use std::path::PathBuf;

    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let path =
                std::env::temp_dir().join(format!("cotangent-checkpoint-{name}-{}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Scratch(path)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn stored(numbers: &[f32]) -> Stored {
        let bytes = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
        Stored { dtype: Dtype::F32, shape: vec![numbers.len()], bytes }
    }

    fn example() -> Checkpoint {
        let mut config = Config::default();
        config.resolve().unwrap();
        // A number that a careless reader of JSON gets wrong in its last bit.
        config.optim.lr = Some(0.065_348_165_781_472_07);
        let classes = (0..10).map(|d| d.to_string()).collect();
        let normalisation = Normalisation::pixels(vec![0.1307], vec![0.3081]);
        let mut about = About::new(config, "avx512", classes, vec![1, 28, 28], normalisation);
        about.position.loss_sum = 123.456_789_012_345_67;
        about.best = Some(Best { epoch: 2, val_loss: 0.1 + 0.2, score: None });
        about.rng.insert("dropout".into(), [7, 1, i64::MAX]);
        let tensors = [("fc.weight", &[1.0, 2.0][..]), ("optim.momentum_buffer.fc.weight", &[0.5, 0.25])];
        let tensors = tensors.map(|(name, x)| (name.to_string(), stored(x))).into();
        Checkpoint { tensors, about }
    }

    #[test]
    fn what_is_written_is_read_to_the_last_bit() {
        let scratch = Scratch::new("whole");
        let (path, other) = (scratch.0.join("a.safetensors"), scratch.0.join("b.safetensors"));
        example().write(&path).unwrap();
        let again = Checkpoint::read(&path).unwrap();
        assert_eq!(again, example());
        assert_eq!(again.about.position.loss_sum.to_bits(), 123.456_789_012_345_67_f64.to_bits());
        again.write(&other).unwrap();
        assert_eq!(fs::read(&path).unwrap(), fs::read(&other).unwrap());
        assert_eq!(again.model().map(|(name, _)| name).collect::<Vec<_>>(), ["fc.weight"]);
        assert_eq!(
            again.after(OPTIM).map(|(name, _)| name).collect::<Vec<_>>(),
            ["momentum_buffer.fc.weight"]
        );
    }

    #[test]
    fn a_file_that_says_less_of_its_settings_is_whole() {
        let scratch = Scratch::new("older");
        let path = scratch.0.join("a.safetensors");
        let mut about = serde_json::to_value(example().about).unwrap();
        let settings = about["config"].as_object_mut().unwrap();
        assert!(settings.remove("log").is_some(), "a setting that older programs did not have");
        let metadata = HashMap::from([(KEY.to_string(), sealed(&about.to_string(), &example().tensors))]);
        fs::write(&path, serialize(&example().tensors, Some(metadata)).unwrap()).unwrap();
        assert_eq!(Checkpoint::read(&path).unwrap().tensors, example().tensors);
    }

    #[test]
    fn the_fingerprint_is_that_of_the_weights_alone() {
        let mut run = example();
        let print = run.fingerprint();
        assert_eq!(print.len(), 64);
        run.tensors.insert("optim.step".into(), stored(&[9.0]));
        run.about.position.step = 9;
        assert_eq!(run.fingerprint(), print);
        run.tensors.insert("fc.weight".into(), stored(&[1.0, f32::from_bits(2.0_f32.to_bits() + 1)]));
        assert_ne!(run.fingerprint(), print);
        run.tensors.insert("fc.weight".into(), Stored { shape: vec![1, 2], ..stored(&[1.0, 2.0]) });
        assert_ne!(run.fingerprint(), print);
    }

    #[test]
    fn no_changed_file_panics_or_passes() {
        let scratch = Scratch::new("changed");
        let path = scratch.0.join("a.safetensors");
        example().write(&path).unwrap();
        let whole = fs::read(&path).unwrap();
        let mut noise = 5_u64;
        let mut below = |n: usize| {
            noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (noise >> 33) as usize % n.max(1)
        };
        for _ in 0..500 {
            let mut bytes = whole.clone();
            let at = below(bytes.len());
            match below(5) {
                0 => bytes[at] ^= 1 << below(8),
                1 => bytes[at] = b"0129{}[]\",:"[below(11)],
                2 => bytes.truncate(at),
                3 => bytes.insert(at, below(256) as u8),
                _ => bytes[below(8)] ^= 1 << below(8),
            }
            fs::write(&path, &bytes).unwrap();
            match Checkpoint::read(&path) {
                // Spaces of the header may change, and nothing that it says.
                Ok(found) => assert_eq!(found, example()),
                Err(found) => assert_eq!(found.exit(), Exit::Data, "{found}"),
            }
        }
    }

    #[test]
    fn damaged_and_foreign_files_are_refused_with_words() {
        let scratch = Scratch::new("bad");
        let path = scratch.0.join("a.safetensors");
        example().write(&path).unwrap();
        let whole = fs::read(&path).unwrap();
        for cut in [0, 7, 8, 100, whole.len() - 1] {
            fs::write(&path, &whole[..cut]).unwrap();
            let error = Checkpoint::read(&path).unwrap_err();
            assert_eq!(error.exit(), Exit::Data);
            let words = if cut == 0 { "is empty" } else { "no whole safetensors file" };
            assert!(error.title().contains(words), "{error}");
        }
        fs::write(&path, &whole[..whole.len() - 1]).unwrap();
        let n = whole.len();
        let words = format!("ends at byte {n}, and the file at byte {}", n - 1);
        assert!(Checkpoint::read(&path).unwrap_err().title().contains(&words));
        fs::write(&path, [&whole[..], b"x"].concat()).unwrap();
        let words = format!("end at byte {n}, and the file at byte {}", n + 1);
        assert!(Checkpoint::read(&path).unwrap_err().title().contains(&words));
        let at = whole.windows(5).position(|w| w == b"\"F32\"").unwrap();
        let wide = [&whole[..at], b"\"F64\"", &whole[at + 5..]].concat();
        fs::write(&path, wide).unwrap();
        assert!(Checkpoint::read(&path).unwrap_err().title().contains("does not fit into bytes"));
        // One bit of the last number, and a digit of the position.
        let mut flipped = whole.clone();
        *flipped.last_mut().unwrap() ^= 1;
        let key = b"step_in_epoch\\\":";
        let step = whole.windows(key.len()).position(|w| w == key).unwrap() + key.len();
        let mut moved = whole.clone();
        moved[step] = if moved[step] == b'9' { b'8' } else { b'9' };
        for bytes in [flipped, moved] {
            fs::write(&path, bytes).unwrap();
            let error = Checkpoint::read(&path).unwrap_err();
            assert!(error.title().contains("its own checksum"), "{error}");
        }
        // A second tensor of one name: its entry again.
        let n = u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize;
        let header = std::str::from_utf8(&whole[8..8 + n]).unwrap().trim_end();
        let again = format!(
            "{},\"fc.weight\":{{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}}}",
            &header[..header.len() - 1]
        );
        fs::write(&path, [&(again.len() as u64).to_le_bytes(), again.as_bytes(), &whole[8 + n..]].concat())
            .unwrap();
        let error = Checkpoint::read(&path).unwrap_err();
        assert!(error.title().contains("names `fc.weight` twice"), "{error}");
        fs::write(&path, serialize(&example().tensors, None).unwrap()).unwrap();
        assert!(Checkpoint::read(&path).unwrap_err().title().contains("no checkpoint of cotangent"));
        let sealed = |about: &str| sealed(about, &example().tensors);
        for (about, expected) in [
            ("{\"v\":99}".into(), "version 99"),
            (format!("{{\"v\":{VERSION}}}"), "its own checksum"),
            (sealed(&format!("{{\"v\":{VERSION}}}")), "cannot read"),
            ("[".into(), "cannot read"),
        ] {
            let metadata = HashMap::from([(KEY.to_string(), about)]);
            fs::write(&path, serialize(&example().tensors, Some(metadata)).unwrap()).unwrap();
            let error = Checkpoint::read(&path).unwrap_err();
            assert!(error.title().contains(expected), "{error}");
        }
        assert_eq!(Checkpoint::read(&scratch.0.join("none")).unwrap_err().exit(), Exit::Data);
    }
}
