//! Optimisers with PyTorch's formulas and order of updates, step sizes and schedules, clipping.
//!
//! An optimiser changes cells, so `step` takes `&self`, works on any number of handles and can be recorded:
//!
//! ```
//! use cotangent::{Param, Step, Tensor, optim::Sgd};
//! let w = Param::new(Tensor::from(1.0));
//! let sgd = Sgd::new(0.25).momentum(0.5);
//! let (cell, opt) = (w.clone(), sgd.clone());
//! let mut step = Step::record(move |[x]: [Tensor; 1]| {
//!     let loss = (cell.get() - x).square();
//!     opt.step(&cell, &loss.backward());
//!     loss
//! });
//! step.run([&Tensor::from(3.0)])?;
//! sgd.set_rate(0.1);                              // the rate is a cell: the recorded step reads it anew
//! step.run([&Tensor::from(3.0)])?;
//! assert!((w.value().item() - 2.4).abs() < 1e-12);
//! # Ok::<(), cotangent::Error>(())
//! ```
//!
//! Accumulation: the gradients of B single examples at the *same* parameters, each scaled by 1/B, add up to that
//! of the batch (row A13; the slide omits that all are taken at `θᵏ`):
//!
//! ```
//! use cotangent::{Gradients, Param, Tensor, optim::Sgd};
//! let w = Param::new(Tensor::from(2.0));
//! let loss = |x: f64| (w.get() - x).square();
//! let mut g = Gradients::default();
//! for x in [1.0, 3.0, 5.0, 7.0] {
//!     g.accumulate((loss(x) / 4.0).backward());   // θ stays as it is until all B are in
//! }
//! Sgd::new(0.1).step(&w, &g);
//! assert!((w.value().item() - 2.4).abs() < 1e-12); // 2 − 0.1·(2·(2 − 4))
//! ```

/// Of an optimiser: its settings that are finite numbers ≥ 0, each with its formula and what an error calls it; and
/// `maximize`, which all have.
macro_rules! settings {
    ($optimiser:ident: $($(#[$doc:meta])* $name:ident $words:literal;)*) => {
        impl $optimiser {
            $(
                $(#[$doc])*
                ///
                /// # Panics
                /// When it is not a finite number ≥ 0.
                #[must_use]
                #[track_caller]
                pub fn $name(mut self, $name: f64) -> Self {
                    let verb = concat!(stringify!($optimiser), "::", stringify!($name));
                    $crate::optim::at_least_zero(verb, $words, $name);
                    self.$name = $name;
                    self
                }
            )*

            /// Go up instead of down.
            #[must_use]
            pub fn maximize(mut self, maximize: bool) -> Self {
                self.maximize = maximize;
                self
            }
        }
    };
}

mod adagrad;
mod adam;
mod clip;
mod memory;
mod plateau;
mod rmsprop;
mod schedule;
mod sgd;
mod stepsize;

use std::collections::HashMap;

pub use adagrad::Adagrad;
pub use adam::{Adam, AdamW};
pub use clip::{clip_grad_norm, clip_grad_value};
pub use plateau::{Plateau, Threshold};
pub use rmsprop::RmsProp;
pub use schedule::{Anneal, Schedule};
pub use sgd::Sgd;
pub use stepsize::Stepsize;

use crate::{
    Device,
    autodiff::Gradients,
    cell::{Param, Scalar},
    error::{Error, Result},
    nn::{Parameters, ParametersExt},
    tensor::{DType, Tensor},
};

/// Changes parameters by their gradients, and remembers what it needs between steps.
///
/// ```
/// use cotangent::{Param, Tensor, optim::{Adam, Optimizer, Sgd}};
/// let w = Param::new(Tensor::from(1.0));
/// let all: [Box<dyn Optimizer>; 2] = [Box::new(Sgd::new(0.1)), Box::new(Adam::new(0.1))];
/// for o in &all {
///     o.step(&w, &w.get().square().backward());
/// }
/// assert!(all[0].state().is_empty() && all[1].state().len() == 3);
/// ```
pub trait Optimizer: Send + Sync {
    /// Change every parameter that has a gradient and is not frozen; the others are left alone, state included.
    ///
    /// # Panics
    /// When a second parameter comes under the name of another one, whose state would be mistaken for its own.
    #[track_caller]
    fn step(&self, model: &dyn Parameters, gradients: &Gradients);

    /// The rate α: a cell that schedules write and recorded steps read.
    fn rate(&self) -> &Scalar;

    /// What is remembered, as `exp_avg.conv1.weight` or `step.conv1.weight`: with parameters and rate enough to
    /// go on bit for bit.
    fn state(&self) -> Vec<(String, Tensor)>;

    /// Take what [`Optimizer::state`] gave; all or nothing. Parameters not named start anew.
    ///
    /// # Errors
    /// A name that belongs to no parameter or to another kind of optimiser; another shape; a part missing.
    fn load_state(&self, model: &dyn Parameters, values: &HashMap<String, Tensor>) -> Result<()>;
}

macro_rules! optimizer {
    ($($name:ident),*) => {$(
        impl $name {
            /// As [`Optimizer::step`], also of a model behind a pointer.
            ///
            /// # Panics
            /// As [`Optimizer::step`].
            #[track_caller]
            pub fn step(&self, model: &(impl Parameters + ?Sized), gradients: &Gradients) {
                self.update(&model, gradients)
            }

            /// The rate α: a cell that schedules write and recorded steps read.
            pub fn rate(&self) -> &Scalar {
                &self.rate
            }

            /// Replace the rate.
            ///
            /// # Panics
            /// When it is not a finite number ≥ 0.
            #[track_caller]
            pub fn set_rate(&self, rate: f64) {
                $crate::optim::at_least_zero(concat!(stringify!($name), "::set_rate"), "the rate", rate);
                self.rate.put(rate)
            }
        }

        impl Optimizer for $name {
            #[track_caller]
            fn step(&self, model: &dyn Parameters, gradients: &Gradients) {
                self.update(model, gradients)
            }
            fn rate(&self) -> &Scalar {
                &self.rate
            }
            fn state(&self) -> Vec<(String, Tensor)> {
                self.memory.list(&self.kinds())
            }
            fn load_state(&self, model: &dyn Parameters, values: &HashMap<String, Tensor>) -> Result<()> {
                self.memory.load(&self.kinds(), model, values)
            }
        }
    )*};
}
optimizer!(Sgd, Adam, AdamW, RmsProp, Adagrad);

/// The parameters that a step changes, with their gradients.
fn moving(model: &dyn Parameters, gradients: &Gradients) -> Vec<(String, Param, Tensor)> {
    let of = |(name, p): (String, Param)| {
        let g = if p.is_frozen() { None } else { p.gradient(gradients).map(Tensor::detach) };
        g.map(|g| (name, p, g))
    };
    model.parameters().into_iter().filter_map(of).collect()
}

/// A 0-d number of a step in the types and on the devices where it is needed, each made once.
struct Number {
    number: Tensor,
    made: Vec<Tensor>,
}

impl Number {
    fn new(number: Tensor) -> Self {
        Number { number, made: Vec::new() }
    }

    fn of(&mut self, dtype: DType, device: &Device) -> Tensor {
        if let Some(t) = self.made.iter().find(|t| t.dtype() == dtype && t.device() == *device) {
            return t.clone();
        }
        // Cast last, and always: beside a parameter without axes F64 would win.
        let t = self.number.to(device).cast(dtype);
        self.made.push(t.clone());
        t
    }
}

/// `a + w(b − a)`, from the nearer end, as PyTorch's.
fn lerp(a: &Tensor, b: &Tensor, w: f64) -> Tensor {
    if w < 0.5 { a + (b - a) * w } else { b - (b - a) * (1.0 - w) }
}

/// A setting that PyTorch refuses when it is negative.
#[track_caller]
fn at_least_zero(verb: &str, what: &str, x: f64) {
    if !(x.is_finite() && x >= 0.0) {
        Error::mistake(format!("{what} is {x}, and must be a finite number ≥ 0")).verb(verb).raise()
    }
}
