//! Files of known length, and how much of them is taken.

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

/// Opens a regular file; its length too. A folder, a pipe or a device is an error, and is never waited for.
pub(crate) fn open(path: &Path) -> Result<(File, u64)> {
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
    let file = File::open(path).map_err(|e| Error::io(path, &e))?;
    Ok((file, about.len()))
}

/// A whole regular file, of at most `most` bytes.
///
/// ```
/// let error = cotangent_data::read_bytes("/".as_ref(), 10).unwrap_err();
/// assert!(error.to_string().contains("is a folder"));
/// ```
///
/// # Errors
/// When it cannot be read, is no regular file, is longer, or is empty.
pub fn read_bytes(path: &Path, most: u64) -> Result<Vec<u8>> {
    let (file, length) = open(path)?;
    if length > most {
        let text = format!("has {length} bytes, and at most {most} are taken");
        return Err(Error::new(path, text).help("is it the file that was meant?"));
    }
    let mut bytes = Vec::new();
    // A file that grows meanwhile does not grow without end.
    file.take(most).read_to_end(&mut bytes).map_err(|e| Error::io(path, &e))?;
    if bytes.is_empty() {
        return Err(Error::new(path, "is empty").help("copy or download it again"));
    }
    Ok(bytes)
}
