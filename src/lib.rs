//! # cotangent: deep learning in Rust, from the chain rule up
//!
//! **An operation is one struct that knows its shape rule, its kernels and its derivative. A derivative is a
//! linear map: push it forward, or pull it back. Everything else is made of operations.**
//!
//! ```
//! use cotangent::{grad, jvp, Tensor};
//!
//! // The lecture's function, at x = 3, y = 2 (rows C6–C10).
//! fn f([x, y]: [Tensor; 2]) -> Tensor {
//!     let b = y * x.ln();
//!     &b + b.sqrt()
//! }
//! let (x, y) = (Tensor::from(3.0), Tensor::from(2.0));
//!
//! let (_, dx) = jvp(f, [&x, &y], [&Tensor::from(1.0), &Tensor::from(0.0)]);     // forward: one direction
//! let [gx, gy] = grad(f, [&x, &y]);                                             // reverse: all at once
//! assert!((dx.item() - 0.891541845).abs() < 1e-9);
//! assert!((gx.item() - 0.891541845).abs() < 1e-9 && (gy.item() - 1.469188241).abs() < 1e-9);
//! ```

extern crate self as cotangent;

pub(crate) mod apply;
pub(crate) mod autodiff;
mod cell;
pub(crate) mod context;
pub mod data;
pub mod device;
mod error;
pub mod laws;
pub mod models;
pub mod nn;
mod observe;
pub mod ops;
pub mod optim;
mod step;
mod tensor;

pub use apply::{Origin, Pass, Path, apply, apply_many, try_apply};
pub use autodiff::{
    Gradients, LinearMap, checkpoint, enable_grad, grad, grad_of, hessian, hvp, hvp_of, is_grad_enabled,
    jacfwd, jacobian, jacrev, jvp, jvp_many, no_grad, per_example, value_and_grad, value_and_grad_of, vjp,
    vjp_many,
};
pub use cell::{Param, Rng, Scalar, State};
pub use cotangent_derive::Parameters;
pub use device::Device;
pub use error::{Error, Fault, Mistake, Result, attempt};
pub use observe::{Log, Observer, finite, observe, raw_scores};
pub use ops::{Attribute, Batch, Cost, Mode, Op};
pub use step::{Outputs, Plan, Step, shapes};
pub use tensor::{
    DType, Element, Index, Indices, Layout, MAX_RANK, Number, Shape, Spec, Tensor, is_recording,
};

// The examples of the repository's pages run as the library's own do.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(doctest)]
#[doc = include_str!("../CONTRIBUTING.md")]
struct Contributing;
