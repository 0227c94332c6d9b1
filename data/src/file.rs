//! Files of known length, which are never waited for, and how much of them is taken.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use crate::error::{Error, Result};

/// How much is taken, whatever a header promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of memory for all examples of a set.
    pub bytes: u64,
    /// Pixels of one picture.
    pub pixels: u64,
    /// Files in a folder.
    pub files: usize,
}

impl Default for Limits {
    /// 8 GiB, 64 mega-pixels, ten million files.
    fn default() -> Self {
        Limits { bytes: 8 << 30, pixels: 1 << 26, files: 10_000_000 }
    }
}

/// Bytes of a regular file. Everything else is an error, and is never waited for: a folder, a pipe, a device, and a file
/// that says it is empty, as /proc/kmsg does, whose reader waits for ever.
///
/// ```
/// let error = cotangent_data::length("/dev/zero".as_ref()).unwrap_err();
/// assert!(error.to_string().contains("is not a regular file"));
/// ```
///
/// # Errors
/// When it is not there, is no regular file, or is empty.
pub fn length(path: &Path) -> Result<u64> {
    let about = fs::metadata(path).map_err(|e| match path.symlink_metadata() {
        Ok(link) if link.is_symlink() => {
            Error::new(path, format!("is a link that leads nowhere ({e})")).help("mend or remove the link")
        }
        _ => Error::io(path, &e),
    })?;
    if about.is_dir() {
        return Err(Error::new(path, "is a folder, and a file was expected").help("name a file in it"));
    }
    if !about.is_file() {
        let text = "is not a regular file but a pipe, a socket or a device, so its length is unknown";
        return Err(Error::new(path, text).help("copy it into a file first"));
    }
    match about.len() {
        0 => Err(Error::new(path, "is empty").help("copy or download it again")),
        length => Ok(length),
    }
}

/// Opens a file that has a [`length`]; that too.
pub(crate) fn open(path: &Path) -> Result<(File, u64)> {
    let length = length(path)?;
    Ok((File::open(path).map_err(|e| Error::io(path, &e))?, length))
}

/// The first `n` bytes of a regular file, or all where there are fewer.
///
/// # Errors
/// When it has no [`length`] or cannot be read.
pub fn start(path: &Path, n: usize) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?.0.take(n as u64).read_to_end(&mut bytes).map_err(|e| Error::io(path, &e))?;
    Ok(bytes)
}

/// A whole regular file, of at most `most` bytes.
///
/// ```
/// let error = cotangent_data::read_bytes("/".as_ref(), 10).unwrap_err();
/// assert!(error.to_string().contains("is a folder"));
/// ```
///
/// # Errors
/// When it has no [`length`], cannot be read, or is longer.
pub fn read_bytes(path: &Path, most: u64) -> Result<Vec<u8>> {
    let (file, length) = open(path)?;
    if length > most {
        let text = format!("has {length} bytes, and at most {most} are taken");
        return Err(Error::new(path, text).help("is it the file that was meant?"));
    }
    let mut bytes = Vec::new();
    // A file that grows meanwhile does not grow without end.
    file.take(most).read_to_end(&mut bytes).map_err(|e| Error::io(path, &e))?;
    Ok(bytes)
}
