//! The IDX format of MNIST: `00 00 type axes`, the sizes as big-endian u32, the elements in row-major order.
//!
//! Source: <http://yann.lecun.com/exdb/mnist/>, "the IDX file format".

use std::{
    fs::File,
    io::{BufReader, Read},
    path::Path,
};

use crate::{
    error::{Error, Result},
    tensor::{MAX_RANK, Shape, Tensor},
};

/// An array from an IDX file.
///
/// ```
/// use cotangent::data::Idx;
/// let path = std::env::temp_dir().join(format!("cotangent-doc-{}.idx", std::process::id()));
/// std::fs::write(&path, [0, 0, 8, 1, 0, 0, 0, 3, 7, 8, 9])?;
/// let idx = Idx::read(&path)?;
/// assert_eq!(idx.tensor().to_vec::<u8>(), [7, 8, 9]);
/// # std::fs::remove_file(path)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Idx {
    shape: Vec<usize>,
    elements: Elements,
    size: usize,
}

/// The elements of an IDX file; i8 and i16 are widened.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Elements {
    /// Of type 08.
    U8(Vec<u8>),
    /// Of type 09 (i8), 0B (i16) or 0C.
    I32(Vec<i32>),
    /// Of type 0D.
    F32(Vec<f32>),
    /// Of type 0E.
    F64(Vec<f64>),
}

/// Deflate makes at most 1032 bytes out of one.
#[cfg(feature = "gzip")]
const MOST_INFLATION: u64 = 1032;

impl Idx {
    /// Read a file, also one compressed with gzip when the feature `gzip` is on. Never more memory than the file's
    /// own length justifies is taken, whatever its header says.
    ///
    /// # Errors
    /// When it cannot be read, is no IDX file, ends early, goes on behind its last element, or is too large for
    /// memory; with file, byte and what to do.
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let io = |e| Error::io(path, e);
        let meta = std::fs::metadata(path).map_err(io)?;
        if meta.is_dir() {
            return Err(Error::data(path, None, "is a folder, and a file was expected")
                .help("name the file in it, such as train-images-idx3-ubyte"));
        }
        if !meta.is_file() {
            return Err(Error::data(path, None, "is not a regular file, so its length is unknown")
                .help("copy it into a file first"));
        }
        let mut file = BufReader::new(File::open(path).map_err(io)?);
        let mut start = Vec::new();
        file.by_ref().take(2).read_to_end(&mut start).map_err(io)?;
        let gzip = start == [0x1f, 0x8b];
        let whole = std::io::Cursor::new(start).chain(file);
        if !gzip {
            return Reader { path, from: whole, at: 0, compressed: false }.array(meta.len(), true);
        }
        #[cfg(not(feature = "gzip"))]
        return Err(Error::data(path, Some(0), "is compressed with gzip, which this build cannot inflate")
            .help("`gunzip` it first, or build with the feature `gzip`"));
        #[cfg(feature = "gzip")]
        Reader { path, from: flate2::read::MultiGzDecoder::new(whole), at: 0, compressed: true }
            .array(meta.len().saturating_mul(MOST_INFLATION), false)
    }

    /// The sizes of its axes.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Its elements, in row-major order.
    pub fn elements(&self) -> &Elements {
        &self.elements
    }

    /// Its elements, without a copy.
    pub fn into_elements(self) -> Elements {
        self.elements
    }

    /// Bytes of one element in the file.
    pub(super) fn element_size(&self) -> usize {
        self.size
    }

    /// As a tensor.
    pub fn tensor(&self) -> Tensor {
        let shape = &self.shape[..];
        match &self.elements {
            Elements::U8(v) => Tensor::from_slice(v, shape),
            Elements::I32(v) => Tensor::from_slice(v, shape),
            Elements::F32(v) => Tensor::from_slice(v, shape),
            Elements::F64(v) => Tensor::from_slice(v, shape),
        }
    }
}

struct Reader<'a, R> {
    path: &'a Path,
    from: R,
    at: u64,
    compressed: bool,
}

const AGAIN: &str = "the file is incomplete: copy or download it again";

impl<R: Read> Reader<'_, R> {
    fn error(&self, at: u64, message: impl Into<String>) -> Error {
        let place = if self.compressed { ", inflated" } else { "" };
        Error::data(self.path, Some(at), format!("{}{place}", message.into()))
    }

    fn io(&self, e: std::io::Error) -> Error {
        use std::io::ErrorKind::{InvalidData, InvalidInput, UnexpectedEof};
        match e.kind() {
            InvalidData | InvalidInput | UnexpectedEof if self.compressed => {
                self.error(self.at, format!("the gzip data is damaged or ends early ({e})")).help(AGAIN)
            }
            _ => Error::io(self.path, e),
        }
    }

    /// Up to `n` bytes; fewer only at the end.
    fn bytes(&mut self, n: u64) -> Result<Vec<u8>> {
        let mut v = Vec::new();
        let end = self.from.by_ref().take(n).read_to_end(&mut v);
        self.at += v.len() as u64;
        end.map_err(|e| self.io(e))?;
        Ok(v)
    }

    /// The whole array; `length` is the file's, or the most there can be.
    fn array(mut self, length: u64, exact: bool) -> Result<Idx> {
        let magic = self.bytes(4)?;
        let &[a, b, kind, axes] = &magic[..] else {
            return Err(self
                .error(magic.len() as u64, "ends within the first 4 bytes of an IDX file")
                .help(AGAIN));
        };
        if [a, b] != [0, 0] {
            let text = format!(
                "begins with {a:02x} {b:02x} {kind:02x} {axes:02x}, and an IDX file begins with 00 00"
            );
            return Err(self
                .error(0, text)
                .help("is this another format? IDX files are those of MNIST, named ..-idx3-ubyte"));
        }
        let (size, name) = match kind {
            0x08 => (1, "uint8"),
            0x09 => (1, "int8"),
            0x0b => (2, "int16"),
            0x0c => (4, "int32"),
            0x0d => (4, "float32"),
            0x0e => (8, "float64"),
            _ => {
                let text =
                    format!("declares element type {kind:02x}, and IDX knows 08, 09, 0b, 0c, 0d and 0e");
                return Err(self.error(2, text).help("the file is damaged or not IDX"));
            }
        };
        if usize::from(axes) > MAX_RANK {
            let text = format!("declares {axes} axes, and a tensor has at most {MAX_RANK}");
            return Err(self.error(3, text).help("the file is damaged or not IDX"));
        }
        let sizes = self.bytes(4 * u64::from(axes))?;
        if sizes.len() < 4 * usize::from(axes) {
            let text = format!(
                "ends within its header, which has {} bytes for {axes} axes",
                4 + 4 * u64::from(axes)
            );
            return Err(self.error(self.at, text).help(AGAIN));
        }
        let shape: Vec<usize> =
            sizes.chunks_exact(4).map(|c| u32::from_be_bytes([c[0], c[1], c[2], c[3]]) as usize).collect();
        let header = self.at;
        let bytes = shape
            .iter()
            .try_fold(size as u64, |n, d| n.checked_mul(*d as u64))
            .filter(|_| Shape::try_new(&shape).is_ok());
        let Some((bytes, all)) = bytes.and_then(|n| Some((n, n.checked_add(header)?))) else {
            let text = format!("declares shape {shape:?}, which has more elements than memory can number");
            return Err(self.error(4, text).help("the file is damaged or not IDX"));
        };
        let declares =
            format!("declares shape {shape:?} of {name}, {bytes} bytes behind a header of {header}");
        if all > length {
            let found = match exact {
                true => format!("the file has {length} bytes, {} too few", all - length),
                false => format!("the compressed file can hold at most {length}"),
            };
            return Err(self.error(length.min(all), format!("{declares}; {found}")).help(AGAIN));
        }
        let data = self.bytes(bytes)?;
        if (data.len() as u64) < bytes {
            let text = format!("{declares}; it ends {} bytes early", bytes - data.len() as u64);
            return Err(self.error(self.at, text).help(AGAIN));
        }
        // Reading on to the end also has gzip compare its checksum.
        if !self.bytes(1)?.is_empty() {
            let more = if exact {
                format!("{} more bytes follow", length - all)
            } else {
                "more bytes follow".into()
            };
            let help = "two files in one, or a wrong header: cut it, or export it again";
            return Err(self.error(all, format!("{declares}; {more}")).help(help));
        }
        macro_rules! read {
            ($t:ty) => {
                data.chunks_exact(size)
                    .map(|c| <$t>::from_be_bytes(c.try_into().expect("chunks of that size")))
            };
        }
        let elements = match kind {
            0x08 => Elements::U8(data),
            0x09 => Elements::I32(read!(i8).map(i32::from).collect()),
            0x0b => Elements::I32(read!(i16).map(i32::from).collect()),
            0x0c => Elements::I32(read!(i32).collect()),
            0x0d => Elements::F32(read!(f32).collect()),
            _ => Elements::F64(read!(f64).collect()),
        };
        Ok(Idx { shape, elements, size })
    }
}
