//! Adagrad: the gradient over the size of all gradients so far.

use std::sync::Arc;

use super::{
    Number, at_least_zero,
    memory::{Memory, STEP},
    moving,
};
use crate::{autodiff::Gradients, cell::Scalar, nn::Parameters};

/// `θ ← θ − α·g/(√s + ε)`, `s` the sum of all `g²`.
///
/// In PyTorch's order (<https://pytorch.org/docs/stable/generated/torch.optim.Adagrad.html>; Duchi, Hazan and Singer
/// 2011):
///
/// ```text
/// t ← t + 1;   g ← −g if maximize;   g ← g + λθ;   s ← s + g²
/// θ ← θ − α/(1 + (t − 1)η) · g/(√s + ε)
/// ```
///
/// `η` is `lr_decay`; `s` begins with `initial_accumulator_value`. A clone shares rate and state.
///
/// ```
/// use cotangent::{Param, Tensor, optim::Adagrad};
/// let w = Param::new(Tensor::from([1.0, -2000.0]));
/// let adagrad = Adagrad::new(0.1);
/// adagrad.step(&w, &w.get().square().sum().backward());
/// let moved = w.value().to_vec::<f64>();
/// assert!((moved[0] - 0.9).abs() < 1e-9 && (moved[1] + 1999.9).abs() < 1e-9);
/// ```
#[derive(Clone, Debug)]
pub struct Adagrad {
    pub(super) rate: Scalar,
    lr_decay: f64,
    eps: f64,
    weight_decay: f64,
    initial_accumulator_value: f64,
    maximize: bool,
    pub(super) memory: Arc<Memory>,
}

settings! { Adagrad:
    /// `η`, 0 by default: how fast the rate falls by itself.
    lr_decay "the decay of the rate";
    /// `ε`, added to the denominator; 1e-10 by default.
    eps "eps";
    /// `λ`, 0 by default: adds `λθ` to the gradient.
    weight_decay "the weight decay";
    /// What `s` begins with, 0 by default.
    initial_accumulator_value "the accumulator's first value";
}

impl Adagrad {
    /// With rate α; `ε = 1e-10`.
    ///
    /// # Panics
    /// When the rate is not a finite number ≥ 0.
    #[track_caller]
    pub fn new(rate: f64) -> Self {
        at_least_zero("Adagrad::new", "the rate", rate);
        Adagrad {
            rate: Scalar::new(rate),
            lr_decay: 0.0,
            eps: 1e-10,
            weight_decay: 0.0,
            initial_accumulator_value: 0.0,
            maximize: false,
            memory: Arc::default(),
        }
    }

    pub(super) fn kinds(&self) -> Vec<&'static str> {
        match self.lr_decay == 0.0 {
            true => vec!["sum"],
            false => vec!["sum", STEP],
        }
    }

    #[track_caller]
    pub(super) fn update(&self, model: &dyn Parameters, gradients: &Gradients) {
        let kinds = self.kinds();
        let rate = self.rate.value();
        let mut constant = Number::new(rate.clone());
        for (name, p, mut g) in moving(model, gradients) {
            let theta = p.value();
            let (dtype, device) = (theta.dtype(), theta.device());
            let state = self.memory.of(&kinds, self.initial_accumulator_value, &name, &p);
            if self.maximize {
                g = -g;
            }
            if self.weight_decay != 0.0 {
                g = g + &theta * self.weight_decay;
            }
            let sum = state[0].value() + g.square();
            state[0].set(&sum);
            let rate = match state.get(1) {
                None => constant.of(dtype, &device),
                Some(count) => {
                    let t = count.value();
                    count.set(&(&t + 1.0));
                    (rate.to(&device) / (t * self.lr_decay + 1.0)).cast(dtype)
                }
            };
            p.set(&(theta - g / (sum.sqrt() + self.eps) * rate));
        }
    }
}
