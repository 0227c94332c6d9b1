//! LeNet-5, in its modern form (rows H7–H11).

use crate::{
    Parameters, Rng, Tensor,
    nn::{Call, Conv2d, Linear, MaxPool2d, Module},
};

/// LeNet-5 with ReLU, max pooling and a linear output: `[n, 1, 28, 28]` → `[n, 10]`, 61,706 parameters (row H7).
///
/// There is no activation after the pools: `max` commutes with ReLU, and ReLU twice is ReLU (row H9).
/// LeCun, Bottou, Bengio, Haffner: "Gradient-based learning applied to document recognition", 1998.
///
/// ```
/// use cotangent::{models::LeNet5, nn::{Call, ParametersExt}, Rng, Tensor};
/// let net = LeNet5::new(&Rng::new(0));
/// assert_eq!(net.call(&Tensor::zeros([2, 1, 28, 28])).shape()[..], [2, 10]);
/// assert_eq!(net.parameter_count(), 61_706);
/// ```
#[derive(Clone, Debug, Parameters)]
pub struct LeNet5 {
    conv1: Conv2d,
    pool1: MaxPool2d,
    conv2: Conv2d,
    pool2: MaxPool2d,
    fc1: Linear,
    fc2: Linear,
    fc3: Linear,
}

impl LeNet5 {
    /// With PyTorch's initialisation, for 10 classes of one-channel images.
    pub fn new(rng: &Rng) -> Self {
        Self::with(1, 10, rng)
    }

    /// For images of `channels` and `classes` of them.
    pub fn with(channels: usize, classes: usize, rng: &Rng) -> Self {
        LeNet5 {
            conv1: Conv2d::new(channels, 6, 5, rng).padding(2),
            pool1: MaxPool2d::new(2),
            conv2: Conv2d::new(6, 16, 5, rng),
            pool2: MaxPool2d::new(2),
            fc1: Linear::new(16 * 5 * 5, 120, rng),
            fc2: Linear::new(120, 84, rng),
            fc3: Linear::new(84, classes, rng),
        }
    }
}

impl Module for LeNet5 {
    fn forward(&self, x: &Tensor) -> Tensor {
        let x = self.pool1.call(&self.conv1.call(x).relu()); // [n,  6, 14, 14]
        let x = self.pool2.call(&self.conv2.call(&x).relu()); // [n, 16,  5,  5]
        let x = self.fc1.call(&x.flatten(1)).relu();
        let x = self.fc2.call(&x).relu();
        self.fc3.call(&x) // [n, 10]
    }
}
