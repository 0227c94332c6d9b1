//! Where parameters start: PyTorch's `torch.nn.init`.

use crate::{Rng, Shape, Tensor};

/// (fan-in, fan-out) of a weight `[out, in, ..kernel]`.
///
/// ```
/// assert_eq!(cotangent::nn::init::fans(&[6, 3, 5, 5].into()), (75, 150));
/// ```
pub fn fans(shape: &Shape) -> (usize, usize) {
    let field: usize = shape.iter().skip(2).product();
    let size = |a: usize| shape.get(a).copied().unwrap_or(1);
    (size(1) * field, size(0) * field)
}

/// The gain `√2`, `5/3`, … that keeps the variance through an activation.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(missing_docs)]
pub enum Gain {
    Linear,
    Sigmoid,
    Tanh,
    Relu,
    /// With its slope below 0.
    LeakyRelu(f64),
}

impl Gain {
    /// As a number.
    pub fn value(self) -> f64 {
        match self {
            Gain::Linear | Gain::Sigmoid => 1.0,
            Gain::Tanh => 5.0 / 3.0,
            Gain::Relu => 2f64.sqrt(),
            Gain::LeakyRelu(slope) => (2.0 / (1.0 + slope * slope)).sqrt(),
        }
    }
}

/// `U(−b, b)` with `b = gain·√(6/(fan_in + fan_out))`.
pub fn xavier_uniform(shape: impl Into<Shape>, gain: Gain, rng: &Rng) -> Tensor {
    let shape = shape.into();
    let (i, o) = fans(&shape);
    let b = gain.value() * (6.0 / (i + o) as f64).sqrt();
    Tensor::uniform(-b, b, shape, rng)
}

/// `N(0, σ²)` with `σ = gain·√(2/(fan_in + fan_out))`.
pub fn xavier_normal(shape: impl Into<Shape>, gain: Gain, rng: &Rng) -> Tensor {
    let shape = shape.into();
    let (i, o) = fans(&shape);
    Tensor::randn(shape, rng) * (gain.value() * (2.0 / (i + o) as f64).sqrt())
}

/// `U(−b, b)` with `b = gain·√(3/fan_in)`.
pub fn kaiming_uniform(shape: impl Into<Shape>, gain: Gain, rng: &Rng) -> Tensor {
    let shape = shape.into();
    let b = gain.value() * (3.0 / fans(&shape).0.max(1) as f64).sqrt();
    Tensor::uniform(-b, b, shape, rng)
}

/// `N(0, σ²)` with `σ = gain/√fan_in`.
pub fn kaiming_normal(shape: impl Into<Shape>, gain: Gain, rng: &Rng) -> Tensor {
    let shape = shape.into();
    Tensor::randn(shape, rng) * (gain.value() / (fans(&shape).0.max(1) as f64).sqrt())
}

/// What PyTorch's `Linear` and `Conv2d` start with: `U(−1/√fan_in, 1/√fan_in)`, weight and bias alike.
pub(crate) fn default(shape: impl Into<Shape>, fan_in: usize, rng: &Rng) -> Tensor {
    let b = 1.0 / (fan_in.max(1) as f64).sqrt();
    Tensor::uniform(-b, b, shape, rng)
}
