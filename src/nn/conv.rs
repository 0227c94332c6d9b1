//! Convolution layers.

use super::{Module, Parameters, Visitor, init};
use crate::{
    Param, Rng, Tensor,
    ops::{Conv, Padding, Pair, Rounding},
};

/// `y = x ⋆ W + b` (rows G5–G8): `[n, in, h, w]` → `[n, out, oh, ow]`, `W [out, in/groups, kh, kw]`; `F²·D₁·K + K`
/// parameters. <https://pytorch.org/docs/stable/generated/torch.nn.Conv2d.html>
///
/// ```
/// use cotangent::{nn::{Call, Conv2d, Module, ParametersExt}, Rng, Tensor};
/// let c1 = Conv2d::new(1, 6, 5, &Rng::new(0)).padding(2);
/// assert_eq!(c1.call(&Tensor::zeros([1, 1, 28, 28])).shape()[..], [1, 6, 28, 28]);
/// assert_eq!((c1.parameter_count(), c1.describe()), (156, "Conv2d 1→6 5×5 p2".to_string()));
/// ```
#[derive(Clone, Debug)]
pub struct Conv2d {
    /// `[out, in/groups, kh, kw]`
    pub weight: Param,
    /// `[out]`
    pub bias: Option<Param>,
    conv: Conv,
}

impl Conv2d {
    /// `outputs` filters over `inputs` channels, with a bias and PyTorch's initialisation.
    pub fn new(inputs: usize, outputs: usize, kernel: impl Pair, rng: &Rng) -> Self {
        Self::with(inputs, outputs, kernel, Conv::default(), rng)
    }

    /// With stride, padding, dilation and groups given; groups change the shape of the weight.
    ///
    /// # Panics
    /// When the groups do not divide the channels.
    #[track_caller]
    pub fn with(inputs: usize, outputs: usize, kernel: impl Pair, conv: Conv, rng: &Rng) -> Self {
        let ([kh, kw], groups) = (kernel.pair(), conv.group_count());
        if groups == 0 || !inputs.is_multiple_of(groups) || !outputs.is_multiple_of(groups) {
            crate::Error::mistake(format!(
                "Conv2d: {groups} groups do not divide {inputs} input and {outputs} output channels"
            ))
            .raise()
        }
        let fan_in = (inputs / groups).saturating_mul(kh).saturating_mul(kw);
        let weight = Param::new(init::default([outputs, inputs / groups, kh, kw], fan_in, rng));
        let bias = Param::new(init::default([outputs], fan_in, rng));
        Conv2d { weight, bias: Some(bias), conv }
    }

    /// The step of the window.
    #[must_use]
    pub fn stride(mut self, stride: impl Pair) -> Self {
        self.conv = self.conv.stride(stride);
        self
    }
    /// Zeros around the image.
    #[must_use]
    pub fn padding(mut self, padding: impl Into<Padding>) -> Self {
        self.conv = self.conv.padding(padding);
        self
    }
    /// The step between a window's cells.
    #[must_use]
    pub fn dilation(mut self, dilation: impl Pair) -> Self {
        self.conv = self.conv.dilation(dilation);
        self
    }
    /// What to do when windows do not fill an axis.
    #[must_use]
    pub fn rounding(mut self, rounding: Rounding) -> Self {
        self.conv = self.conv.rounding(rounding);
        self
    }
    /// Without a bias.
    #[must_use]
    pub fn without_bias(mut self) -> Self {
        self.bias = None;
        self
    }
    /// How it slides.
    pub fn options(&self) -> Conv {
        self.conv
    }
}

impl Parameters for Conv2d {
    fn visit(&self, visitor: &mut Visitor<'_>) {
        visitor.child("weight", &self.weight);
        visitor.child("bias", &self.bias);
    }
}

impl Module for Conv2d {
    fn forward(&self, x: &Tensor) -> Tensor {
        x.conv2d(&self.weight.get(), self.bias.as_ref().map(Param::get).as_ref(), self.conv)
    }
    fn describe(&self) -> String {
        let s = self.weight.spec().shape;
        let options = self.conv.to_string();
        let gap = if options.is_empty() { "" } else { " " };
        format!("Conv2d {}→{} {}×{}{gap}{options}", s[1] * self.conv.group_count(), s[0], s[2], s[3])
    }
}
