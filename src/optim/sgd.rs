//! Stochastic gradient descent.

use std::sync::Arc;

use super::{
    Number, at_least_zero,
    memory::{Memory, STEP},
    moving,
};
use crate::{autodiff::Gradients, cell::Scalar, error::Error, nn::Parameters, tensor::Tensor};

/// `θ ← θ − α·g`; nothing else unless asked for (row A25).
///
/// With weight decay `λ`, momentum `μ`, dampening `τ`, in PyTorch's order
/// (<https://pytorch.org/docs/stable/generated/torch.optim.SGD.html>):
///
/// ```text
/// g ← −g if maximize;   g ← g + λθ
/// b ← μb + (1 − τ)g     (b ← g in a parameter's first step)
/// g ← g + μb if nesterov, else b
/// θ ← θ − αg
/// ```
///
/// A clone shares rate and momenta.
///
/// ```
/// use cotangent::{Param, Tensor, optim::Sgd};
/// let w = Param::new(Tensor::from([1.0, 2.0]));
/// let sgd = Sgd::new(0.1).momentum(0.9).nesterov(true).weight_decay(5e-4);
/// sgd.step(&w, &w.get().square().sum().backward());
/// assert!((w.value().to_vec::<f64>()[0] - 0.619905).abs() < 1e-12);
/// ```
#[derive(Clone, Debug)]
pub struct Sgd {
    pub(super) rate: Scalar,
    momentum: f64,
    dampening: f64,
    weight_decay: f64,
    nesterov: bool,
    maximize: bool,
    pub(super) memory: Arc<Memory>,
}

settings! { Sgd:
    /// `μ`, 0 by default.
    momentum "the momentum";
    /// `λ`, 0 by default: adds `λθ` to the gradient.
    weight_decay "the weight decay";
}

impl Sgd {
    /// With rate α: row A25's `θ ← θ − α·g`, to the bit.
    ///
    /// # Panics
    /// When the rate is not a finite number ≥ 0.
    #[track_caller]
    pub fn new(rate: f64) -> Self {
        at_least_zero("Sgd::new", "the rate", rate);
        Sgd {
            rate: Scalar::new(rate),
            momentum: 0.0,
            dampening: 0.0,
            weight_decay: 0.0,
            nesterov: false,
            maximize: false,
            memory: Arc::default(),
        }
    }

    /// `τ`, 0 by default.
    ///
    /// # Panics
    /// When it is not finite.
    #[must_use]
    #[track_caller]
    pub fn dampening(mut self, dampening: f64) -> Self {
        if !dampening.is_finite() {
            Error::mistake(format!("the dampening is {dampening}, and must be finite"))
                .verb("Sgd::dampening")
                .raise()
        }
        self.dampening = dampening;
        self
    }

    /// Nesterov's momentum: look ahead by `μb`. It needs a momentum and no dampening, as PyTorch's.
    #[must_use]
    pub fn nesterov(mut self, nesterov: bool) -> Self {
        self.nesterov = nesterov;
        self
    }

    pub(super) fn kinds(&self) -> Vec<&'static str> {
        match (self.momentum != 0.0, self.dampening != 0.0) {
            (false, _) => vec![],
            // Without dampening μ·0 + g is PyTorch's first step already, so nothing is counted.
            (true, false) => vec!["momentum"],
            (true, true) => vec!["momentum", STEP],
        }
    }

    #[track_caller]
    pub(super) fn update(&self, model: &dyn Parameters, gradients: &Gradients) {
        if self.nesterov && (self.momentum == 0.0 || self.dampening != 0.0) {
            Error::mistake("nesterov needs a momentum and no dampening")
                .verb("Sgd")
                .help("`Sgd::new(0.1).momentum(0.9).nesterov(true)`")
                .raise()
        }
        let kinds = self.kinds();
        let mut rate = Number::new(self.rate.value());
        for (name, p, mut g) in moving(model, gradients) {
            let theta = p.value();
            if self.maximize {
                g = -g;
            }
            if self.weight_decay != 0.0 {
                g = g + &theta * self.weight_decay;
            }
            if self.momentum != 0.0 {
                let state = self.memory.of(&kinds, 0.0, &name, &p);
                let b = self.buffer(&state[0].value(), &g, state.get(1));
                state[0].set(&b);
                g = if self.nesterov { g + &b * self.momentum } else { b };
            }
            p.set(&(&theta - g * rate.of(theta.dtype(), &theta.device())));
        }
    }

    /// `μb + (1 − τ)g`, or `g` in the first step.
    fn buffer(&self, b: &Tensor, g: &Tensor, count: Option<&crate::State>) -> Tensor {
        let Some(count) = count else { return b * self.momentum + g };
        let n = count.value();
        count.set(&(&n + 1.0));
        g.where_(&n.eq(0.0), &(b * self.momentum + g * (1.0 - self.dampening)))
    }
}
