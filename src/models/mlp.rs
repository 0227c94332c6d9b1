//! Multilayer perceptrons and softmax regression (rows D1–D4, D13, F1).

use crate::{
    Parameters, Rng, Tensor,
    nn::{Call, Linear, Module},
};

/// `y_ℓ = σ(W_ℓ y_{ℓ−1} + b_ℓ)`, ReLU between layers and nothing after the last: `[n, ..]` → `[n, out]`.
///
/// ```
/// use cotangent::{models::Mlp, nn::{Call, ParametersExt}, Rng, Tensor};
/// let net = Mlp::new(&[784, 512, 512, 10], &Rng::new(0));
/// assert_eq!(net.call(&Tensor::zeros([2, 1, 28, 28])).shape()[..], [2, 10]);
/// assert_eq!(net.parameter_count(), 784 * 512 + 512 + 512 * 512 + 512 + 512 * 10 + 10);
/// ```
#[derive(Clone, Debug, Parameters)]
pub struct Mlp {
    layers: Vec<Linear>,
}

impl Mlp {
    /// From the widths, input first.
    pub fn new(widths: &[usize], rng: &Rng) -> Self {
        Mlp { layers: widths.windows(2).map(|w| Linear::new(w[0], w[1], rng)).collect() }
    }
}

impl Module for Mlp {
    fn forward(&self, x: &Tensor) -> Tensor {
        let mut x = x.flatten(1);
        for (i, layer) in self.layers.iter().enumerate() {
            x = layer.call(&x);
            if i + 1 < self.layers.len() {
                x = x.relu();
            }
        }
        x
    }
}

/// `f(x) = μ(Wx + b)`, as logits `Wx + b` (row D13): `[n, ..]` → `[n, classes]`.
///
/// ```
/// use cotangent::{models::SoftmaxRegression, nn::ParametersExt, Rng};
/// assert_eq!(SoftmaxRegression::new(784, 10, &Rng::new(0)).parameter_count(), 7850);
/// ```
#[derive(Clone, Debug, Parameters)]
pub struct SoftmaxRegression {
    linear: Linear,
}

impl SoftmaxRegression {
    /// From `inputs` numbers to `classes`.
    pub fn new(inputs: usize, classes: usize, rng: &Rng) -> Self {
        SoftmaxRegression { linear: Linear::new(inputs, classes, rng) }
    }
}

impl Module for SoftmaxRegression {
    fn forward(&self, x: &Tensor) -> Tensor {
        self.linear.call(&x.flatten(1))
    }
}
