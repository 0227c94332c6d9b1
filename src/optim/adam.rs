//! Adam, and AdamW with its decay apart from the gradient.

use std::sync::Arc;

use super::{
    Number, at_least_zero, lerp,
    memory::{Memory, STEP},
    moving,
};
use crate::{autodiff::Gradients, cell::Scalar, error::Error, nn::Parameters, tensor::Tensor};

/// What both share; they differ in how the weights decay.
#[derive(Clone, Copy, Debug)]
struct Options {
    betas: (f64, f64),
    eps: f64,
    weight_decay: f64,
    amsgrad: bool,
    maximize: bool,
}

macro_rules! adam {
    ($(#[$doc:meta])* $name:ident, decay $decay:literal, apart $apart:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug)]
        pub struct $name {
            pub(super) rate: Scalar,
            options: Options,
            pub(super) memory: Arc<Memory>,
        }

        impl $name {
            /// With rate α; `β = (0.9, 0.999)`, `ε = 1e-8`.
            ///
            /// # Panics
            /// When the rate is not a finite number ≥ 0.
            #[track_caller]
            pub fn new(rate: f64) -> Self {
                at_least_zero(concat!(stringify!($name), "::new"), "the rate", rate);
                let options =
                    Options { betas: (0.9, 0.999), eps: 1e-8, weight_decay: $decay, amsgrad: false, maximize: false };
                $name { rate: Scalar::new(rate), options, memory: Arc::default() }
            }

            /// `β₁, β₂`: how slowly the means of `g` and `g²` forget.
            ///
            /// # Panics
            /// When one is not in `0 ≤ β < 1`.
            #[must_use]
            #[track_caller]
            pub fn betas(mut self, first: f64, second: f64) -> Self {
                if ![first, second].iter().all(|b| (0.0..1.0).contains(b)) {
                    Error::mistake(format!("betas are {first} and {second}, and must be at least 0 and below 1"))
                        .verb(concat!(stringify!($name), "::betas"))
                        .raise()
                }
                self.options.betas = (first, second);
                self
            }

            /// `ε`, added to the denominator.
            ///
            /// # Panics
            /// When it is not a finite number ≥ 0.
            #[must_use]
            #[track_caller]
            pub fn eps(mut self, eps: f64) -> Self {
                at_least_zero(concat!(stringify!($name), "::eps"), "eps", eps);
                self.options.eps = eps;
                self
            }

            #[doc = concat!("`λ`, ", stringify!($decay), " by default.")]
            ///
            /// # Panics
            /// When it is not a finite number ≥ 0.
            #[must_use]
            #[track_caller]
            pub fn weight_decay(mut self, weight_decay: f64) -> Self {
                at_least_zero(concat!(stringify!($name), "::weight_decay"), "the weight decay", weight_decay);
                self.options.weight_decay = weight_decay;
                self
            }

            /// Divide by the largest `v` so far.
            #[must_use]
            pub fn amsgrad(mut self, amsgrad: bool) -> Self {
                self.options.amsgrad = amsgrad;
                self
            }

            /// Go up instead of down.
            #[must_use]
            pub fn maximize(mut self, maximize: bool) -> Self {
                self.options.maximize = maximize;
                self
            }

            pub(super) fn kinds(&self) -> Vec<&'static str> {
                self.options.kinds()
            }

            #[track_caller]
            pub(super) fn update(&self, model: &dyn Parameters, gradients: &Gradients) {
                self.options.update(&self.rate.value(), &self.memory, model, gradients, $apart)
            }
        }
    };
}

adam! {
    /// `θ ← θ − α·m̂/(√v̂ + ε)`: steps of about α, whatever the gradient's scale.
    ///
    /// In PyTorch's order (<https://pytorch.org/docs/stable/generated/torch.optim.Adam.html>; Kingma and Ba 2015):
    ///
    /// ```text
    /// g ← −g if maximize;   g ← g + λθ;   t ← t + 1
    /// m ← m + (1 − β₁)(g − m);   v ← β₂v + (1 − β₂)g²
    /// θ ← θ − α/(1 − β₁ᵗ) · m / (√v/√(1 − β₂ᵗ) + ε)
    /// ```
    ///
    /// With `amsgrad`, `√v` is of the largest `v` so far. A clone shares rate and state.
    ///
    /// ```
    /// use cotangent::{Param, Tensor, optim::Adam};
    /// let w = Param::new(Tensor::from([1.0, -2000.0]));
    /// let adam = Adam::new(0.1);
    /// adam.step(&w, &w.get().square().sum().backward());
    /// let moved = w.value().to_vec::<f64>();
    /// assert!((moved[0] - 0.9).abs() < 1e-6 && (moved[1] + 1999.9).abs() < 1e-6);
    /// ```
    Adam, decay 0.0, apart false
}

adam! {
    /// Adam whose decay is no part of the gradient: `θ ← θ − αλθ`, then Adam's step.
    ///
    /// <https://pytorch.org/docs/stable/generated/torch.optim.AdamW.html>; Loshchilov and Hutter 2019. `λ` is 0.01
    /// by default. A clone shares rate and state.
    ///
    /// ```
    /// use cotangent::{Param, Tensor, optim::AdamW};
    /// let w = Param::new(Tensor::from(1.0));
    /// let adam = AdamW::new(0.1).weight_decay(0.1);
    /// adam.step(&w, &w.get().square().backward());
    /// assert!((w.value().item() - 0.89).abs() < 1e-6);
    /// ```
    AdamW, decay 0.01, apart true
}

/// `βᵗ`, of a 0-d count.
fn power(beta: f64, t: &Tensor) -> Tensor {
    // ln 0 = −∞ is right as well: e^(−∞) = 0, and t ≥ 1.
    (t * beta.ln()).exp()
}

impl Options {
    fn kinds(&self) -> Vec<&'static str> {
        let mut kinds = vec![STEP, "exp_avg", "exp_avg_sq"];
        if self.amsgrad {
            kinds.push("max_exp_avg_sq");
        }
        kinds
    }

    #[track_caller]
    fn update(
        &self,
        rate: &Tensor,
        memory: &Memory,
        model: &dyn Parameters,
        gradients: &Gradients,
        apart: bool,
    ) {
        let kinds = self.kinds();
        let (b1, b2) = self.betas;
        let mut rate_at = Number::new(rate.clone());
        let mut kept = Number::new(if apart { 1.0 - rate * self.weight_decay } else { rate.clone() });
        for (name, p, mut g) in moving(model, gradients) {
            let mut theta = p.value();
            let (dtype, device) = (theta.dtype(), theta.device());
            let state = memory.of(&kinds, 0.0, &name, &p);
            let t = state[0].value() + 1.0;
            state[0].set(&t);
            if self.maximize {
                g = -g;
            }
            if self.weight_decay != 0.0 {
                if apart {
                    theta = theta * kept.of(dtype, &device);
                } else {
                    g = g + &theta * self.weight_decay;
                }
            }
            let m = lerp(&state[1].value(), &g, 1.0 - b1);
            let mut v = state[2].value() * b2 + &g * (1.0 - b2) * &g;
            state[1].set(&m);
            state[2].set(&v);
            if self.amsgrad {
                v = state[3].value().maximum(&v);
                state[3].set(&v);
            }
            // The corrections are made in F64, as PyTorch's are, and cast last.
            let step_size = rate_at.of(t.dtype(), &device) / (1.0 - power(b1, &t));
            let correction = (1.0 - power(b2, &t)).sqrt();
            let denominator = v.sqrt() / correction.cast(dtype) + self.eps;
            p.set(&(theta - m * step_size.cast(dtype) / denominator));
        }
    }
}
