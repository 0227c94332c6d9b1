//! Weights by name in the formats of others: safetensors, NumPy's NPZ ([`npz`]) and ONNX ([`onnx`]).
//!
//! Writing gives bytes, the same ones for the same weights; nothing is written to a disk here. Reading gives a
//! [`Tensors`], or one [`Error`] that says what was expected, what was found, and where. Memory is bounded by the
//! file's size and by [`Limits`], whatever a header promises.

pub mod npz;
pub mod onnx;
pub mod safetensors;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use cotangent_data::npy::half;
use cotangent_data::{Error, Limits, Result, read_bytes, start};

/// The formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// Open Neural Network Exchange: a graph with its weights.
    Onnx,
    /// A header in JSON before plain numbers.
    Safetensors,
    /// A ZIP archive of NumPy's arrays.
    Npz,
}

impl Format {
    /// All of them.
    pub const ALL: [Format; 3] = [Format::Onnx, Format::Safetensors, Format::Npz];

    /// Its name, which is also how the names of its files end.
    ///
    /// ```
    /// use cotangent_interchange::Format;
    /// assert_eq!(Format::Npz.name(), "npz");
    /// ```
    pub const fn name(self) -> &'static str {
        match self {
            Format::Onnx => "onnx",
            Format::Safetensors => "safetensors",
            Format::Npz => "npz",
        }
    }

    /// By how a file's name ends.
    ///
    /// ```
    /// use cotangent_interchange::Format;
    /// assert_eq!(Format::of("a/b.ONNX".as_ref()), Some(Format::Onnx));
    /// assert_eq!(Format::of("b.pt".as_ref()), None);
    /// ```
    pub fn of(path: &Path) -> Option<Self> {
        let end = path.extension()?.to_str()?;
        Format::ALL.into_iter().find(|f| end.eq_ignore_ascii_case(f.name()))
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The numbers of a tensor, row-major. Real ones of other widths are rounded to 32 bits, whole ones widened.
#[derive(Clone, Debug, PartialEq)]
pub enum Numbers {
    /// Weights and statistics.
    Real(Vec<f32>),
    /// Counts.
    Whole(Vec<i64>),
}

impl Numbers {
    /// How many there are.
    pub fn len(&self) -> usize {
        match self {
            Numbers::Real(v) => v.len(),
            Numbers::Whole(v) => v.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Little-endian.
    fn bytes(&self) -> Vec<u8> {
        match self {
            Numbers::Real(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
            Numbers::Whole(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
        }
    }
}

/// A tensor: as many numbers as the product of its sizes; one where it has none.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// Its sizes.
    pub shape: Vec<usize>,
    /// Its numbers.
    pub numbers: Numbers,
}

/// Tensors by name.
pub type Tensors = BTreeMap<String, Array>;

/// What a file holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Weights {
    /// What it is.
    pub format: Format,
    /// Its tensors.
    pub tensors: Tensors,
    /// What was left out, and why.
    pub remarks: Vec<String>,
}

/// Reads a file of any of the formats, found by its content.
///
/// ```
/// use cotangent_interchange::{Array, Format, Numbers, Tensors, npz, read};
/// let weight = Array { shape: vec![1, 2], numbers: Numbers::Real(vec![0.5, -1.0]) };
/// let tensors = Tensors::from([("fc.weight".to_string(), weight)]);
/// let path = std::env::temp_dir().join(format!("interchange-{}.npz", std::process::id()));
/// std::fs::write(&path, npz::write(&tensors)?)?;
/// let found = read(&path, &Default::default())?;
/// assert_eq!((found.format, found.tensors), (Format::Npz, tensors));
/// # std::fs::remove_file(path)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// When it is none of them, is damaged, or is larger than the limit.
pub fn read(path: &Path, limits: &Limits) -> Result<Weights> {
    let start = start(path, 9)?;
    if start.starts_with(b"PK") {
        return npz::read(path, limits);
    }
    let bytes = read_bytes(path, limits.bytes)?;
    if bytes.get(8) == Some(&b'{') {
        return safetensors::read(&bytes, path);
    }
    if onnx::is_model(&bytes) {
        return onnx::read(&bytes, path);
    }
    let found = Error::new(path, "is neither safetensors nor NPZ nor ONNX, by its first bytes");
    Err(match start.first() {
        Some(0x80) => found.help(PICKLE),
        _ => found.help("was it cut off while it was copied?").help(PICKLE),
    })
}

/// What a file of PyTorch needs.
pub(crate) const PICKLE: &str = "PyTorch's own files are programs, which are not run here; in Python: \
    `safetensors.torch.save_file(torch.load(\"x.pt\", weights_only=True), \"x.safetensors\")`";

/// How numbers lie in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    F16,
    Bf16,
    F32,
    F64,
    /// Signed ones of so many bytes.
    Int(usize),
    /// Unsigned ones of so many bytes; truth values too.
    Uint(usize),
}

impl Kind {
    /// Bytes of one.
    fn size(self) -> usize {
        match self {
            Kind::F16 | Kind::Bf16 => 2,
            Kind::F32 => 4,
            Kind::F64 => 8,
            Kind::Int(n) | Kind::Uint(n) => n,
        }
    }

    /// The numbers of little-endian bytes, whose length is a multiple of the size.
    fn numbers(self, bytes: &[u8]) -> Numbers {
        let words = bytes.chunks_exact(self.size());
        let words = words.map(|b| b.iter().rev().fold(0_u64, |n, b| n << 8 | u64::from(*b)));
        match self {
            Kind::F16 => Numbers::Real(words.map(|w| half(w as u16)).collect()),
            Kind::Bf16 => Numbers::Real(words.map(|w| f32::from_bits((w as u32) << 16)).collect()),
            Kind::F32 => Numbers::Real(words.map(|w| f32::from_bits(w as u32)).collect()),
            Kind::F64 => Numbers::Real(words.map(|w| f64::from_bits(w) as f32).collect()),
            Kind::Int(n) => {
                let shift = 64 - 8 * n as u32;
                Numbers::Whole(words.map(|w| ((w << shift) as i64) >> shift).collect())
            }
            Kind::Uint(_) => Numbers::Whole(words.map(|w| w as i64).collect()),
        }
    }
}

/// The product of sizes, if it is a number.
fn count(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1_usize, |n, size| n.checked_mul(*size))
}
