//! NumPy's NPZ: a ZIP archive with an NPY file for each tensor, as `numpy.savez` writes it.

use std::io::{Cursor, Write};
use std::path::Path;

use cotangent_data::npy::Elements;
use cotangent_data::{Error, Limits, Result, arrays};
use zip::write::{SimpleFileOptions, ZipWriter};

use crate::{Array, Format, Numbers, Tensors, Weights};

/// The file's bytes: entries in the order of names, not compressed, without a date.
///
/// # Errors
/// When a name is too long for an archive.
pub fn write(tensors: &Tensors) -> Result<Vec<u8>> {
    let refused = |e: String| Error::new("NPZ", format!("cannot be made: {e}"));
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, array) in tensors {
        let bytes = npy(array);
        let options = SimpleFileOptions::default()
            .compression_method(zip::CompressionMethod::Stored)
            .last_modified_time(zip::DateTime::default())
            .large_file(bytes.len() > u32::MAX as usize);
        archive.start_file(format!("{name}.npy"), options).map_err(|e| refused(e.to_string()))?;
        archive.write_all(&bytes).map_err(|e| refused(e.to_string()))?;
    }
    Ok(archive.finish().map_err(|e| refused(e.to_string()))?.into_inner())
}

/// An NPY file of version 1: the magic, the header's length, the header padded to 64 bytes, the numbers.
fn npy(array: &Array) -> Vec<u8> {
    let descr = match array.numbers {
        Numbers::Real(_) => "<f4",
        Numbers::Whole(_) => "<i8",
    };
    let sizes: String = array.shape.iter().map(|n| format!("{n}, ")).collect();
    let mut header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({sizes}), }}");
    let length = (10 + header.len() + 1).next_multiple_of(64) - 10;
    header.push_str(&" ".repeat(length - 1 - header.len()));
    header.push('\n');
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((length as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(array.numbers.bytes());
    bytes
}

/// Reads a file.
///
/// # Errors
/// When it is no NPZ file, an array is damaged or holds text, or all together are larger than the limit.
pub fn read(path: &Path, limits: &Limits) -> Result<Weights> {
    let found = arrays::all(path, limits).map_err(|e| match e.to_string().contains("none of them NPY") {
        true => e.help(crate::PICKLE),
        false => e,
    })?;
    let mut tensors = Tensors::new();
    for (name, array) in found {
        let numbers = match array.elements {
            Elements::U8(v) => Numbers::Whole(v.into_iter().map(i64::from).collect()),
            Elements::Int(v) => Numbers::Whole(v),
            Elements::Real(v) => Numbers::Real(v),
            Elements::Text(_) => {
                let text = format!("`{name}` holds text, and weights are numbers");
                return Err(Error::new(path, text).help("leave it out when saving"));
            }
        };
        tensors.insert(name, Array { shape: array.shape, numbers });
    }
    Ok(Weights { format: Format::Npz, tensors, remarks: Vec::new() })
}
