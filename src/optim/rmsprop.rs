//! RMSprop: the gradient over its own recent size.

use std::sync::Arc;

use super::{Number, at_least_zero, memory::Memory, moving};
use crate::{autodiff::Gradients, cell::Scalar, error::Error, nn::Parameters};

/// `θ ← θ − α·g/(√v + ε)`, `v` a running mean of `g²`.
///
/// In PyTorch's order (<https://pytorch.org/docs/stable/generated/torch.optim.RMSprop.html>; Hinton 2012, lecture 6):
///
/// ```text
/// g ← −g if maximize;   g ← g + λθ;   v ← ρv + (1 − ρ)g²
/// if centered:   m ← m + (1 − ρ)(g − m);   v̂ = max(v − m², 0),   else v̂ = v
/// s ← g/(√v̂ + ε);   with momentum:   b ← μb + s;   s ← b
/// θ ← θ − αs
/// ```
///
/// `ρ` is PyTorch's `alpha`, and keeps its name here. Where rounding makes `v − m²` negative, PyTorch has NaN. A clone shares rate and state.
///
/// ```
/// use cotangent::{Param, Tensor, optim::RmsProp};
/// let w = Param::new(Tensor::from([1.0, -2000.0]));
/// let rmsprop = RmsProp::new(0.1);
/// rmsprop.step(&w, &w.get().square().sum().backward());
/// assert!((w.value().to_vec::<f64>()[1] + 1999.0).abs() < 1e-6);      // √v is |g|/10 at first
/// ```
#[derive(Clone, Debug)]
pub struct RmsProp {
    pub(super) rate: Scalar,
    alpha: f64,
    eps: f64,
    weight_decay: f64,
    momentum: f64,
    centered: bool,
    maximize: bool,
    pub(super) memory: Arc<Memory>,
}

settings! { RmsProp:
    /// `ε`, added to the denominator; 1e-8 by default.
    eps "eps";
    /// `λ`, 0 by default: adds `λθ` to the gradient.
    weight_decay "the weight decay";
    /// `μ`, 0 by default.
    momentum "the momentum";
}

impl RmsProp {
    /// With rate α; `ρ = 0.99`, `ε = 1e-8`.
    ///
    /// # Panics
    /// When the rate is not a finite number ≥ 0.
    #[track_caller]
    pub fn new(rate: f64) -> Self {
        at_least_zero("RmsProp::new", "the rate", rate);
        RmsProp {
            rate: Scalar::new(rate),
            alpha: 0.99,
            eps: 1e-8,
            weight_decay: 0.0,
            momentum: 0.0,
            centered: false,
            maximize: false,
            memory: Arc::default(),
        }
    }

    /// `ρ`: how slowly the mean of `g²` forgets.
    ///
    /// # Panics
    /// When it is not in `0 ≤ ρ < 1`.
    #[must_use]
    #[track_caller]
    pub fn alpha(mut self, alpha: f64) -> Self {
        if !(0.0..1.0).contains(&alpha) {
            Error::mistake(format!("alpha is {alpha}, and must be at least 0 and below 1"))
                .verb("RmsProp::alpha")
                .raise()
        }
        self.alpha = alpha;
        self
    }

    /// Divide by the gradient's deviation from its running mean.
    #[must_use]
    pub fn centered(mut self, centered: bool) -> Self {
        self.centered = centered;
        self
    }

    pub(super) fn kinds(&self) -> Vec<&'static str> {
        let mut kinds = vec!["square_avg"];
        if self.centered {
            kinds.push("grad_avg");
        }
        if self.momentum != 0.0 {
            kinds.push("momentum_buffer");
        }
        kinds
    }

    #[track_caller]
    pub(super) fn update(&self, model: &dyn Parameters, gradients: &Gradients) {
        let kinds = self.kinds();
        let mut rate = Number::new(self.rate.value());
        for (name, p, mut g) in moving(model, gradients) {
            let theta = p.value();
            let state = self.memory.of(&kinds, 0.0, &name, &p);
            if self.maximize {
                g = -g;
            }
            if self.weight_decay != 0.0 {
                g = g + &theta * self.weight_decay;
            }
            let mut v = state[0].value() * self.alpha + &g * (1.0 - self.alpha) * &g;
            state[0].set(&v);
            if self.centered {
                let m = super::lerp(&state[1].value(), &g, 1.0 - self.alpha);
                state[1].set(&m);
                // Rounding may leave less than nothing of a variance of 0, and NaN of its root.
                v = (v - m.square()).relu();
            }
            let mut s = g / (v.sqrt() + self.eps);
            if self.momentum != 0.0 {
                let buffer = &state[state.len() - 1];
                s = buffer.value() * self.momentum + s;
                buffer.set(&s);
            }
            p.set(&(&theta - s * rate.of(theta.dtype(), &theta.device())));
        }
    }
}

/// What holds whatever the numbers are: nothing here makes NaN of a gradient that does not move.
#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Param, Tensor};

    #[test]
    fn a_constant_gradient_has_a_variance_of_0_not_nan() {
        let w = Param::new(Tensor::from([0.1f32, 0.7, 1e-3]));
        let centered = RmsProp::new(1e-3).centered(true).alpha(0.5);
        for _ in 0..200 {
            let g = (w.get() * Tensor::from([0.1f32, 0.3, 0.7])).sum().backward();
            centered.step(&w, &g);
        }
        assert!(w.value().to_vec::<f32>().iter().all(|x| x.is_finite()), "{}", w.value());
    }
}
