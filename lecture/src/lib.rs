//! # The lecture, runnable
//!
//! [`explain`] shows what differentiation does at every step of a computation, [`why`] proves each row
//! of the lecture with numbers, a counter-example and a seeded check, and [`lab`] runs optimisers side by side.

pub mod explain;
mod korean;
pub mod lab;
mod lang;
mod order;
mod problem;
pub mod why;

pub use lang::Lang;
pub use order::Chain;
pub use problem::FiniteSum;
