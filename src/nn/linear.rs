//! Fully connected layers.

use super::{Module, Parameters, Visitor, init};
use crate::{Param, Rng, Tensor};

/// `y = x·Wᵀ + b`: `[.., in]` → `[.., out]`, with `W [out, in]`.
/// <https://pytorch.org/docs/stable/generated/torch.nn.Linear.html>
///
/// ```
/// use cotangent::{nn::{Call, Linear}, Rng, Tensor};
/// let y = Linear::new(784, 10, &Rng::new(0)).call(&Tensor::zeros([64, 784]));
/// assert_eq!(y.shape()[..], [64, 10]);
/// ```
#[derive(Clone, Debug)]
pub struct Linear {
    /// `[out, in]`
    pub weight: Param,
    /// `[out]`
    pub bias: Option<Param>,
}

impl Linear {
    /// With a bias, and PyTorch's initialisation.
    pub fn new(inputs: usize, outputs: usize, rng: &Rng) -> Self {
        let weight = Param::new(init::default([outputs, inputs], inputs, rng));
        let bias = Param::new(init::default([outputs], inputs, rng));
        Linear { weight, bias: Some(bias) }
    }

    /// Without a bias.
    pub fn without_bias(inputs: usize, outputs: usize, rng: &Rng) -> Self {
        Linear { weight: Param::new(init::default([outputs, inputs], inputs, rng)), bias: None }
    }
}

impl Parameters for Linear {
    fn visit(&self, visitor: &mut Visitor<'_>) {
        visitor.child("weight", &self.weight);
        visitor.child("bias", &self.bias);
    }
}

impl Module for Linear {
    fn forward(&self, x: &Tensor) -> Tensor {
        let y = x.matmul(&self.weight.get().t());
        match &self.bias {
            Some(b) => y + b.get(),
            None => y,
        }
    }
    fn describe(&self) -> String {
        let shape = self.weight.spec().shape;
        format!("Linear {}→{}", shape[1], shape[0])
    }
}
