//! Normalisation.

use super::{Module, Parameters, Training, Visitor};
use crate::{Param, State, Tensor, no_grad, step::record::unrecorded};

/// `y = (x − E x)/√(Var x + ε)·γ + β` a channel of `[n, c, h, w]`: statistics of the batch while training,
/// running ones while evaluating. <https://pytorch.org/docs/stable/generated/torch.nn.BatchNorm2d.html>
///
/// ```
/// use cotangent::{nn::{BatchNorm2d, Call}, Rng, Tensor};
/// let y = BatchNorm2d::new(3).call(&Tensor::randn([8, 3, 4, 4], &Rng::new(0)));
/// assert!(y.mean().item().abs() < 1e-6);
/// ```
#[derive(Clone, Debug)]
pub struct BatchNorm2d {
    /// `γ [c]`, at first 1.
    pub weight: Param,
    /// `β [c]`, at first 0.
    pub bias: Param,
    /// `[c]`, at first 0.
    pub running_mean: State,
    /// `[c]`, unbiased, at first 1.
    pub running_var: State,
    /// Batches seen.
    pub num_batches_tracked: State,
    eps: f64,
    momentum: Option<f64>,
    training: Training,
}

impl BatchNorm2d {
    /// For `c` channels, with `ε = 10⁻⁵` and a momentum of 0.1.
    pub fn new(channels: usize) -> Self {
        let [zeros, ones] = [0.0, 1.0].map(|x| unrecorded(|| Tensor::full([channels], x)));
        BatchNorm2d {
            weight: Param::new(ones.clone()),
            bias: Param::new(zeros.clone()),
            running_mean: State::new(zeros),
            running_var: State::new(ones),
            num_batches_tracked: State::new(Tensor::from(0i64)),
            eps: 1e-5,
            momentum: Some(0.1),
            training: Training::default(),
        }
    }
    /// Added to the variance.
    #[must_use]
    pub fn eps(mut self, eps: f64) -> Self {
        self.eps = eps;
        self
    }
    /// The share of each new batch in the running statistics; `None` is the plain average over all batches.
    #[must_use]
    pub fn momentum(mut self, momentum: Option<f64>) -> Self {
        self.momentum = momentum;
        self
    }

    fn track(&self, x: &Tensor, mean: &Tensor, var: &Tensor) {
        no_grad(|| {
            let (mean, var) = (mean.detach(), var.detach());
            let n = (x.numel() / mean.numel().max(1)) as f64;
            let count = self.num_batches_tracked.value() + 1;
            self.num_batches_tracked.set(&count);
            let share = match self.momentum {
                Some(m) => Tensor::from(m).to(&mean.device()),
                None => count.cast(crate::DType::F64).recip(),
            };
            let blend = |old: &State, new: Tensor| {
                let old_value = old.value();
                // Its type stays what it is, also where an input of F64 is looked at.
                let new = new.cast(old_value.dtype());
                old.set(&(&old_value + (new - &old_value) * &share));
            };
            blend(&self.running_mean, mean);
            blend(&self.running_var, var * (n / (n - 1.0)));
        })
    }
}

impl Parameters for BatchNorm2d {
    fn visit(&self, visitor: &mut Visitor<'_>) {
        visitor.child("weight", &self.weight);
        visitor.child("bias", &self.bias);
        visitor.child("running_mean", &self.running_mean);
        visitor.child("running_var", &self.running_var);
        visitor.child("num_batches_tracked", &self.num_batches_tracked);
        visitor.child("training", &self.training);
    }
}

impl Module for BatchNorm2d {
    fn forward(&self, x: &Tensor) -> Tensor {
        if self.training.is_on() {
            let (y, mean, var) = x.batch_norm(&self.weight.get(), &self.bias.get(), self.eps);
            self.track(x, &mean, &var);
            return y;
        }
        let channel = |v: Tensor| v.reshape([1, v.numel(), 1, 1]);
        let scale = self.weight.get() / (self.running_var.value() + self.eps).sqrt();
        let shift = self.bias.get() - self.running_mean.value() * &scale;
        x * channel(scale) + channel(shift)
    }
    fn describe(&self) -> String {
        format!("BatchNorm2d {}", self.weight.spec().shape[0])
    }
}
