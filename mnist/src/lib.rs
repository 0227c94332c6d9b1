//! The MNIST database of handwritten digits, inside the program: 60,000 training and 10,000 test images of
//! 28 × 28 bytes with their labels 0..=9. Nothing is downloaded and no file is read at run time.
//!
//! The data lies in the binary as independent gzip members; [`train`] and [`test()`] inflate them in
//! parallel, each directly into its place, and check sizes and CRC-32.
//!
//! ```
//! let train = cotangent_mnist::train()?;
//! assert_eq!(train.images.len(), cotangent_mnist::TRAIN * cotangent_mnist::ROWS * cotangent_mnist::COLS);
//! assert_eq!(train.labels[..5], [5, 0, 4, 1, 9]);
//! # Ok::<(), cotangent_mnist::Error>(())
//! ```
//!
//! The data is by Yann LeCun, Corinna Cortes and Christopher J. C. Burges, under CC BY-SA 3.0
//! (`data/LICENSE`); the code is MIT OR Apache-2.0.

use std::fmt;
use std::io::{self, Read};

use flate2::bufread::GzDecoder;
use rayon::prelude::*;

/// Number of training images: 60,000.
pub const TRAIN: usize = 60_000;

/// Number of test images: 10,000.
pub const TEST: usize = 10_000;

/// Rows of an image: 28.
pub const ROWS: usize = 28;

/// Columns of an image: 28.
pub const COLS: usize = 28;

/// Number of classes, the digits 0 to 9: 10.
pub const CLASSES: usize = 10;

/// μ = 0.1307: the mean over all pixels of the training images, scaled to \[0, 1\]. The usual input of a
/// network is (pixel / 255 − μ) / σ with σ = [`STD`], as in [PyTorch's MNIST
/// example](https://github.com/pytorch/examples/blob/main/mnist/main.py).
pub const MEAN: f64 = 0.1307;

/// σ = 0.3081: the standard deviation over all pixels of the training images, scaled to \[0, 1\]; goes with
/// [`MEAN`].
pub const STD: f64 = 0.3081;

/// Images and labels: n images of [`ROWS`] × [`COLS`] bytes, and n labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// Pixels, n × 28 × 28 in row-major order; 0 is background, 255 is ink.
    pub images: Vec<u8>,
    /// The digit of each image, 0..=9.
    pub labels: Vec<u8>,
}

/// The 60,000 training images with their labels, in the order of the original files.
///
/// # Errors
///
/// When the data inside the program is damaged: see [`Error`].
///
/// ```
/// let train = cotangent_mnist::train()?;
/// assert_eq!(train.labels.len(), 60_000);
/// # Ok::<(), cotangent_mnist::Error>(())
/// ```
pub fn train() -> Result<Split, Error> {
    read(TRAIN, &TRAIN_IMAGES, &TRAIN_LABELS)
}

/// The 10,000 test images with their labels, in the order of the original files.
///
/// # Errors
///
/// When the data inside the program is damaged: see [`Error`].
///
/// ```
/// let test = cotangent_mnist::test()?;
/// assert_eq!(test.labels[0], 7);
/// # Ok::<(), cotangent_mnist::Error>(())
/// ```
pub fn test() -> Result<Split, Error> {
    read(TEST, &TEST_IMAGES, &TEST_LABELS)
}

/// Why the bundled data cannot be read. It can only mean that the program's file was changed after it was
/// built.
///
/// ```
/// let error = cotangent_mnist::Error::Size { chunk: "test-labels-00.gz", expected: 10_000, found: 9_999 };
/// assert!(error.to_string().contains("test-labels-00.gz holds 9999 bytes, expected 10000"));
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// A chunk is not a gzip member, or its checksum does not fit its contents.
    Corrupt {
        /// File name of the chunk in the crate's `data` folder.
        chunk: &'static str,
        /// What the decoder found.
        source: io::Error,
    },
    /// A chunk inflates to the wrong number of bytes.
    Size {
        /// File name of the chunk in the crate's `data` folder.
        chunk: &'static str,
        /// Bytes it must hold.
        expected: usize,
        /// Bytes it holds; counting stops at one more than expected.
        found: usize,
    },
    /// Bytes follow the end of a chunk's gzip member.
    Surplus {
        /// File name of the chunk in the crate's `data` folder.
        chunk: &'static str,
        /// How many bytes.
        bytes: usize,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the MNIST data inside this program is damaged: ")?;
        match self {
            Self::Corrupt { chunk, source } => write!(f, "{chunk} does not inflate ({source})")?,
            Self::Size { chunk, expected, found } => {
                write!(f, "{chunk} holds {found} bytes, expected {expected}")?
            }
            Self::Surplus { chunk, bytes } => write!(f, "{bytes} bytes follow the end of {chunk}")?,
        }
        f.write_str("; build or copy the program again")
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Corrupt { source, .. } => Some(source),
            Self::Size { .. } | Self::Surplus { .. } => None,
        }
    }
}

/// One gzip member of the `data` folder.
#[derive(Clone, Copy)]
struct Chunk {
    name: &'static str,
    packed: &'static [u8],
}

macro_rules! chunks {
    ($($name:literal)*) => {
        [$(Chunk { name: $name, packed: include_bytes!(concat!("../data/", $name)) }),*]
    };
}

static TRAIN_IMAGES: [Chunk; 16] = chunks!(
    "train-images-00.gz" "train-images-01.gz" "train-images-02.gz" "train-images-03.gz"
    "train-images-04.gz" "train-images-05.gz" "train-images-06.gz" "train-images-07.gz"
    "train-images-08.gz" "train-images-09.gz" "train-images-10.gz" "train-images-11.gz"
    "train-images-12.gz" "train-images-13.gz" "train-images-14.gz" "train-images-15.gz"
);
static TRAIN_LABELS: [Chunk; 1] = chunks!("train-labels-00.gz");
static TEST_IMAGES: [Chunk; 4] =
    chunks!("test-images-00.gz" "test-images-01.gz" "test-images-02.gz" "test-images-03.gz");
static TEST_LABELS: [Chunk; 1] = chunks!("test-labels-00.gz");

const _: () = assert!((TRAIN * ROWS * COLS).is_multiple_of(TRAIN_IMAGES.len()));
const _: () = assert!((TEST * ROWS * COLS).is_multiple_of(TEST_IMAGES.len()));

/// Reads `n` images and their labels; every chunk of a list holds the same number of bytes.
fn read(n: usize, images: &[Chunk], labels: &[Chunk]) -> Result<Split, Error> {
    let (images, labels) = rayon::join(|| inflate_all(images, n * ROWS * COLS), || inflate_all(labels, n));
    Ok(Split { images: images?, labels: labels? })
}

fn inflate_all(chunks: &[Chunk], bytes: usize) -> Result<Vec<u8>, Error> {
    let mut all = vec![0; bytes];
    chunks
        .par_iter()
        .zip(all.par_chunks_exact_mut(bytes / chunks.len()))
        .try_for_each(|(chunk, place)| inflate(*chunk, place))?;
    Ok(all)
}

/// Inflates one chunk, which must fill `place` exactly.
fn inflate(chunk: Chunk, place: &mut [u8]) -> Result<(), Error> {
    let Chunk { name, packed } = chunk;
    let corrupt = |source| Error::Corrupt { chunk: name, source };
    let expected = place.len();
    let mut decoder = GzDecoder::new(packed);
    let mut found = 0;
    while found < expected {
        match decoder.read(&mut place[found..]).map_err(corrupt)? {
            0 => return Err(Error::Size { chunk: name, expected, found }),
            more => found += more,
        }
    }
    // The decoder compares checksum and length only when it is asked for the byte after the last.
    match decoder.read(&mut [0]).map_err(corrupt)? {
        0 => {}
        more => return Err(Error::Size { chunk: name, expected, found: found + more }),
    }
    match decoder.into_inner().len() {
        0 => Ok(()),
        bytes => Err(Error::Surplus { chunk: name, bytes }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: usize = TEST * ROWS * COLS / 4;

    fn leak(packed: Vec<u8>) -> Chunk {
        Chunk { name: "test-images-00.gz", packed: packed.leak() }
    }

    // A flipped byte anywhere in the compressed data, the checksum or the length must be noticed.
    #[test]
    fn a_flipped_byte_is_an_error() {
        let packed = TEST_IMAGES[0].packed;
        let mut place = vec![0; SIZE];
        inflate(TEST_IMAGES[0], &mut place).expect("the chunk itself is sound");
        let body = (10..packed.len() - 8).step_by(packed.len() / 40);
        let trailer = packed.len() - 8..packed.len();
        for position in [0, 1, 2].into_iter().chain(body).chain(trailer) {
            let mut damaged = packed.to_vec();
            damaged[position] ^= 0xff;
            let error = inflate(leak(damaged), &mut place)
                .expect_err(&format!("byte {position} of {} was flipped", packed.len()));
            let words = error.to_string();
            assert!(words.contains("test-images-00.gz") && words.contains("build or copy"), "{words}");
        }
    }

    #[test]
    fn a_cut_chunk_is_an_error() {
        let packed = TEST_IMAGES[0].packed;
        for kept in [0, 5, 10, 1_000, packed.len() - 8, packed.len() - 1] {
            let error = inflate(leak(packed[..kept].to_vec()), &mut vec![0; SIZE]).unwrap_err();
            assert!(matches!(error, Error::Corrupt { .. }), "{kept} bytes kept: {error}");
        }
    }

    #[test]
    fn a_chunk_of_the_wrong_size_is_an_error() {
        let found = |size| inflate(TEST_IMAGES[0], &mut vec![0; size]).unwrap_err();
        assert!(
            matches!(found(SIZE + 7), Error::Size { expected, found, .. } if expected == SIZE + 7 && found == SIZE)
        );
        assert!(
            matches!(found(SIZE - 7), Error::Size { expected, found, .. } if expected == SIZE - 7 && found == SIZE - 6)
        );
    }

    #[test]
    fn bytes_after_a_chunk_are_an_error() {
        let longer = [TEST_IMAGES[0].packed, &[1, 2, 3]].concat();
        let error = inflate(leak(longer), &mut vec![0; SIZE]).unwrap_err();
        assert!(matches!(error, Error::Surplus { bytes: 3, .. }), "{error}");
    }
}
