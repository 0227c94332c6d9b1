//! # The lecture, runnable
//!
//! [`explain`] shows what differentiation does at every step of a computation.

pub mod explain;
mod lang;
mod order;

pub use lang::Lang;
pub use order::Chain;
