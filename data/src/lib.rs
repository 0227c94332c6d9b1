//! Labelled examples from files as people have them, read whole into memory: folders of pictures
//! ([`folder`]), NumPy's NPY and NPZ ([`arrays`]), CSV ([`table`]), CIFAR-10's binary files ([`cifar`]); and maps of wafers drawn by a seed ([`wafer`]).
//!
//! Whatever stands in a file, a reader returns a [`Set`] or one [`Error`] that says what was expected, what was
//! found, in which file and where in it, and how to mend it. Memory is bounded by the files' own sizes and by
//! [`Limits`]; nothing is ever written.

pub mod arrays;
pub mod cifar;
mod error;
mod file;
pub mod folder;
pub mod npy;
pub mod pattern;
pub mod picture;
mod set;
pub mod table;
pub mod wafer;

pub use error::{Error, Kind, Place, Result};
pub use file::{Limits, length, read_bytes, start};
pub use picture::{Filter, Picture};
pub use set::{Origins, Parts, Set, Values};
