//! NumPy's NPY format: one array behind a short header in Python's notation.
//!
//! The header is read here, in about a hundred lines, because the crates for it bring a parser generator along.

use std::io::Read;
use std::path::Path;

use crate::error::{Error, Place, Result};

/// The numbers of an array, row-major.
#[derive(Clone, Debug, PartialEq)]
pub enum Elements {
    /// `uint8` and `bool`.
    U8(Vec<u8>),
    /// Other whole numbers.
    Int(Vec<i64>),
    /// Real numbers; those of 64 bits are rounded.
    Real(Vec<f32>),
    /// Text.
    Text(Vec<String>),
}

/// An array.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// Its sizes; none for a single number.
    pub shape: Vec<usize>,
    /// Its numbers.
    pub elements: Elements,
}

/// What an array's type says of a number's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Kind {
    kind: u8,
    /// Bytes of one, or characters of text.
    size: usize,
    big: bool,
}

/// Axes at most.
const MOST_AXES: usize = 8;
/// Bytes of a header at most: one with eight axes has under two hundred.
const LONGEST: usize = 1 << 16;
const AGAIN: &str = "the file is incomplete or damaged: save it again with `numpy.save`";

/// Reads an array. `most` bytes of numbers are taken; `name` and `entry` (of an archive) stand in errors.
///
/// ```
/// use cotangent_data::npy::{self, Elements};
/// let mut file = b"\x93NUMPY\x01\x00\x46\x00{'descr': '|u1', 'fortran_order': False, 'shape': (2,), }".to_vec();
/// file.resize(10 + 0x46, b' ');
/// file.extend([7, 9]);
/// let array = npy::read(&file[..], 100, "a.npy".as_ref(), None)?;
/// assert_eq!((array.shape, array.elements), (vec![2], Elements::U8(vec![7, 9])));
/// # Ok::<(), cotangent_data::Error>(())
/// ```
///
/// # Errors
/// When it is no NPY file, has a type that is not numbers or text, is cut off, goes on behind its last number, or is
/// larger than `most`.
pub fn read(mut from: impl Read, most: u64, name: &Path, entry: Option<&str>) -> Result<Array> {
    let fail = |at: u64, text: String| {
        let text = match entry {
            Some(entry) => format!("`{entry}` {text}"),
            None => text,
        };
        Error::new(name, text).at(Place::Byte(at))
    };
    let mut take = |n: usize| {
        let mut v = Vec::new();
        from.by_ref().take(n as u64).read_to_end(&mut v).map(|_| v)
    };
    let io = |at: u64| move |e: std::io::Error| fail(at, format!("cannot be read: {e}")).help(AGAIN);
    let magic = take(8).map_err(io(0))?;
    if !magic.starts_with(b"\x93NUMPY") {
        return Err(fail(0, "does not begin as an NPY file does, with 93 4e 55 4d 50 59".into())
            .help("`numpy.save` writes NPY files, `numpy.savez` NPZ files"));
    }
    let width = match magic.get(6) {
        Some(1) => 2,
        Some(2 | 3) => 4,
        Some(version) => {
            return Err(
                fail(6, format!("has version {version} of the format; 1, 2 and 3 are known")).help(AGAIN)
            );
        }
        None => return Err(fail(6, "ends within its header".into()).help(AGAIN)),
    };
    let length = take(width).map_err(io(8))?;
    if length.len() < width {
        return Err(fail(8, "ends within its header".into()).help(AGAIN));
    }
    let length = length.iter().rev().fold(0_u64, |n, b| n << 8 | u64::from(*b));
    let Some(length) = usize::try_from(length).ok().filter(|n| *n <= LONGEST) else {
        return Err(fail(8, format!("declares a header of {length} bytes, which no array needs")).help(AGAIN));
    };
    let start = 8 + width as u64;
    let header = take(length).map_err(io(start))?;
    if header.len() < length {
        let text = format!("ends within its header: {} of {length} bytes are there", header.len());
        return Err(fail(start + header.len() as u64, text).help(AGAIN));
    }
    let header = String::from_utf8_lossy(&header);
    let (descr, fortran, shape) = dictionary(&header).map_err(|e| fail(start, e).help(AGAIN))?;
    let kind = kind(&descr).ok_or_else(|| {
        let text =
            format!("holds elements of type `{descr}`; whole and real numbers, booleans and text are read");
        fail(start, text).help("convert it, such as with `x.astype(\"float32\")`")
    })?;
    if shape.len() > MOST_AXES {
        let text = format!("declares {} axes, and at most {MOST_AXES} are read", shape.len());
        return Err(fail(start, text).help(AGAIN));
    }
    let bytes_each = kind.size * if kind.kind == b'U' { 4 } else { 1 };
    // Empty arrays keep their other sizes, so those must be numberable too.
    let sizes = || shape.iter().map(|size| *size as u64);
    let numberable = sizes().filter(|size| *size > 0).try_fold(8, u64::checked_mul);
    let count = numberable.filter(|n| *n <= i64::MAX as u64).map(|_| sizes().product::<u64>());
    // What eight-byte numbers of an integer array take up as they are widened counts too.
    let bytes = count.and_then(|n| n.checked_mul(bytes_each.max(1) as u64));
    let (Some(count), Some(bytes)) = (count, bytes.filter(|b| *b <= most)) else {
        let text = format!(
            "declares shape {shape:?} of `{descr}`, more than the {most} bytes that are there or can be taken"
        );
        return Err(fail(start, text)
            .help("was it cut off, or its header damaged? else take fewer examples, or smaller ones"));
    };
    let first = start + length as u64;
    let (count, wanted) = (count as usize, bytes as usize);
    let data = take(wanted).map_err(io(first))?;
    if data.len() < wanted {
        let text = format!(
            "declares shape {shape:?} of `{descr}`, {wanted} bytes; {} of them are there",
            data.len()
        );
        return Err(fail(first + data.len() as u64, text).help(AGAIN));
    }
    if !take(1).map_err(io(first + bytes))?.is_empty() {
        let text = format!("declares shape {shape:?} of `{descr}`, and goes on behind its last number");
        return Err(fail(first + bytes, text).help(AGAIN));
    }
    let mut elements = elements(&data, kind, count).ok_or_else(|| {
        fail(first, "holds text that is no Unicode".into()).help("save it again with `numpy.save`")
    })?;
    if fortran && shape.len() > 1 {
        elements = match elements {
            Elements::U8(v) => Elements::U8(row_major(&v, &shape)),
            Elements::Int(v) => Elements::Int(row_major(&v, &shape)),
            Elements::Real(v) => Elements::Real(row_major(&v, &shape)),
            Elements::Text(v) => Elements::Text(row_major(&v, &shape)),
        };
    }
    Ok(Array { shape, elements })
}

/// `<f4`, `|u1`, `>i8`, `<U12`, …
fn kind(descr: &str) -> Option<Kind> {
    let (order, rest) = match descr.as_bytes() {
        [order @ (b'<' | b'>' | b'|' | b'='), rest @ ..] => (*order, rest),
        rest => (b'|', rest),
    };
    let (kind, size) = rest.split_first()?;
    let size: usize = std::str::from_utf8(size).ok()?.parse().ok()?;
    let known = match kind {
        b'b' => size == 1,
        b'u' | b'i' => matches!(size, 1 | 2 | 4 | 8),
        b'f' => matches!(size, 2 | 4 | 8),
        b'U' | b'S' => size <= 1 << 16,
        _ => false,
    };
    known.then_some(Kind { kind: *kind, size, big: order == b'>' })
}

fn elements(data: &[u8], kind: Kind, count: usize) -> Option<Elements> {
    let Kind { kind, size, big } = kind;
    let word = |bytes: &[u8]| -> u64 {
        let add = |n: u64, b: &u8| n << 8 | u64::from(*b);
        if big { bytes.iter().fold(0, add) } else { bytes.iter().rev().fold(0, add) }
    };
    let words = || data.chunks_exact(size.max(1)).map(word);
    Some(match (kind, size) {
        (b'b', _) => Elements::U8(data.iter().map(|b| u8::from(*b != 0)).collect()),
        (b'u', 1) => Elements::U8(data.to_vec()),
        // Numbers above 2^63 are no counts of anything; they become negative and are refused as labels.
        (b'u', _) => Elements::Int(words().map(|w| w as i64).collect()),
        (b'i', _) => {
            let shift = 64 - 8 * size as u32;
            Elements::Int(words().map(|w| ((w << shift) as i64) >> shift).collect())
        }
        (b'f', 2) => Elements::Real(words().map(|w| half(w as u16)).collect()),
        (b'f', 4) => Elements::Real(words().map(|w| f32::from_bits(w as u32)).collect()),
        (b'f', _) => Elements::Real(words().map(|w| f64::from_bits(w) as f32).collect()),
        (b'S', 0) | (b'U', 0) => Elements::Text(vec![String::new(); count]),
        (b'S', _) => {
            let text =
                |b: &[u8]| String::from_utf8(b.to_vec()).ok().map(|s| s.trim_end_matches('\0').to_string());
            Elements::Text(data.chunks_exact(size).map(text).collect::<Option<_>>()?)
        }
        _ => {
            let text = |cells: &[u8]| {
                let points = cells.chunks_exact(4).map(|c| char::from_u32(word(c) as u32));
                let text: Option<String> = points.collect();
                text.map(|s| s.trim_end_matches('\0').to_string())
            };
            Elements::Text(data.chunks_exact(4 * size).map(text).collect::<Option<_>>()?)
        }
    })
}

/// `±1.f·2^(e−15)`: a number of IEEE 754 binary16 from its bits.
///
/// ```
/// assert_eq!(cotangent_data::npy::half(0xc000), -2.0);
/// ```
pub fn half(bits: u16) -> f32 {
    let (sign, exponent, fraction) = (bits >> 15, bits >> 10 & 31, f32::from(bits & 1023));
    let size = match exponent {
        0 => fraction * 2f32.powi(-24),
        31 if fraction == 0.0 => f32::INFINITY,
        31 => f32::NAN,
        e => (1.0 + fraction / 1024.0) * 2f32.powi(i32::from(e) - 15),
    };
    if sign == 1 { -size } else { size }
}

/// From column-major order.
fn row_major<T: Clone>(v: &[T], shape: &[usize]) -> Vec<T> {
    let mut strides = vec![1; shape.len()];
    for axis in 1..shape.len() {
        strides[axis] = strides[axis - 1] * shape[axis - 1];
    }
    let mut index = vec![0; shape.len()];
    let mut at = 0;
    let mut out = Vec::with_capacity(v.len());
    for _ in 0..v.len() {
        out.push(v[at].clone());
        for axis in (0..shape.len()).rev() {
            index[axis] += 1;
            at += strides[axis];
            if index[axis] < shape[axis] {
                break;
            }
            at -= strides[axis] * shape[axis];
            index[axis] = 0;
        }
    }
    out
}

/// `{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }`
fn dictionary(text: &str) -> Result<(String, bool, Vec<usize>), String> {
    let value = |key: &str| {
        let found = [format!("'{key}'"), format!("\"{key}\"")].iter().find_map(|k| {
            let rest = &text[text.find(k.as_str())? + k.len()..];
            rest.trim_start().strip_prefix(':').map(str::trim_start)
        });
        found.ok_or_else(|| format!("has a header without `{key}`"))
    };
    let descr = value("descr")?;
    let quote = descr.chars().next().filter(|c| "'\"".contains(*c));
    let descr = quote.and_then(|q| descr[1..].split(q).next());
    let descr = descr.ok_or("holds elements of several fields, and one number or text each is read")?;
    let fortran = value("fortran_order")?;
    let is_fortran = match (fortran.starts_with("True"), fortran.starts_with("False")) {
        (true, _) => true,
        (_, true) => false,
        _ => return Err("has a header whose `fortran_order` is neither True nor False".into()),
    };
    let shape = value("shape")?.strip_prefix('(').and_then(|s| s.split(')').next());
    let sizes = shape.ok_or("has a header whose `shape` is no tuple")?.split(',').map(str::trim);
    let sizes: Option<Vec<usize>> =
        sizes.filter(|s| !s.is_empty()).map(|s| s.trim_end_matches('L').parse().ok()).collect();
    Ok((descr.into(), is_fortran, sizes.ok_or("has a header whose `shape` holds something else than sizes")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_are_those_of_ieee() {
        for (bits, x) in
            [(0x3c00, 1.0), (0xc000, -2.0), (0x7bff, 65504.0), (0x0001, 2f32.powi(-24)), (0, 0.0)]
        {
            assert_eq!(half(bits), x);
        }
        assert!(half(0x7e00).is_nan() && half(0xfc00) == f32::NEG_INFINITY);
    }

    #[test]
    fn columns_become_rows() {
        assert_eq!(row_major(&[1, 4, 2, 5, 3, 6], &[2, 3]), [1, 2, 3, 4, 5, 6]);
        let v: Vec<usize> = (0..24).collect();
        let rows = row_major(&v, &[2, 3, 4]);
        assert_eq!(rows[12 + 2 * 4 + 3], 1 + 2 * 2 + 3 * 6);
    }
}
