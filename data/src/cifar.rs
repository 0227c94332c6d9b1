//! CIFAR-10's binary files: records of a label and 3 × 32 × 32 bytes.

use std::path::{Path, PathBuf};

use crate::error::{Error, Place, Result};
use crate::file::{Limits, read_bytes};
use crate::set::{Parts, Set};

/// `[channels, height, width]` of a picture.
pub const SHAPE: [usize; 3] = [3, 32, 32];
/// The names of the ten classes in their order.
pub const CLASSES: [&str; 10] =
    ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];
/// Bytes of a record.
pub const RECORD: usize = 1 + 3 * 32 * 32;

/// The folder in the archive.
const INNER: &str = "cifar-10-batches-bin";
const HELP: &str = "`cifar10:DIR` takes the folder of cifar-10-binary.tar.gz with data_batch_1.bin … data_batch_5.bin \
                    and test_batch.bin; `cotangent data get cifar10` brings it";

/// The folder `cifar-10-batches-bin`, or one around it. The batches of training examples that are there are read in
/// their order.
///
/// # Errors
/// When there is none, one is cut off, or a label is not 0 to 9; with file and byte.
pub fn read(path: &Path, limits: &Limits) -> Result<Parts> {
    let inner = path.join(INNER);
    let path = if inner.is_dir() { inner.as_path() } else { path };
    if !path.is_dir() {
        return Err(Error::new(path, "is no folder").help(HELP));
    }
    let (files, test) = batches(path);
    if files.is_empty() {
        return Err(Error::new(path, "holds no data_batch_1.bin").help(HELP));
    }
    let mut train = records(&files, limits)?;
    if files.len() < 5 {
        train.remarks.push(format!(
            "{} holds {} of CIFAR-10's five training files",
            path.display(),
            files.len()
        ));
    }
    let test = test.map(|test| records(&[test], limits)).transpose()?;
    Ok(Parts { train, val: None, test })
}

/// The files of such a folder that are there, those for training first; none in another one.
pub fn files(path: &Path) -> Vec<PathBuf> {
    let (train, test) = batches(&path.join(INNER));
    let (train, test) = if train.is_empty() && test.is_none() { batches(path) } else { (train, test) };
    train.into_iter().chain(test).collect()
}

fn batches(path: &Path) -> (Vec<PathBuf>, Option<PathBuf>) {
    let there = |name: String| Some(path.join(name)).filter(|p| p.symlink_metadata().is_ok());
    let train = (1..=5).filter_map(|i| there(format!("data_batch_{i}.bin")));
    (train.collect(), there("test_batch.bin".into()))
}

/// Files of records, one after the other.
///
/// # Errors
/// When one is cut off, or a label is not 0 to 9; with file and byte.
pub fn records(files: &[PathBuf], limits: &Limits) -> Result<Set> {
    let (mut pixels, mut labels) = (Vec::new(), Vec::new());
    for file in files {
        let bytes = read_bytes(file, limits.bytes.saturating_sub(pixels.len() as u64))?;
        let rest = bytes.len() % RECORD;
        if rest != 0 {
            let text = format!("has {} bytes, and records have {RECORD}: {rest} are left over", bytes.len());
            let at = Place::Byte((bytes.len() - rest) as u64);
            return Err(Error::new(file, text)
                .at(at)
                .help("the file is incomplete or not CIFAR-10's: copy it again"));
        }
        for (i, record) in bytes.chunks_exact(RECORD).enumerate() {
            if usize::from(record[0]) >= CLASSES.len() {
                let text = format!("record {i} has label {}, and labels are 0 to 9", record[0]);
                let found = Error::new(file, text).at(Place::Byte((i * RECORD) as u64));
                return Err(found.help("CIFAR-100's files have two labels in a record, and are not read"));
            }
            labels.push(i64::from(record[0]));
            pixels.extend_from_slice(&record[1..]);
        }
    }
    Ok(Set::pictures(pixels, SHAPE, labels, &CLASSES))
}
