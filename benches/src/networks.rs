//! The networks that are trained, and their examples.

use std::sync::{Arc, OnceLock};

use cotangent::data::Images;
use cotangent::models::{LeNet5, Mlp, ResNet18};
use cotangent::nn::{AvgPool2d, Conv2d, Flatten, Linear, MaxPool2d, Relu, Sequential, Tanh};
use cotangent::ops::Conv;
use cotangent::{Rng, Tensor};

use crate::{Model, Result};

/// Where a network's examples come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Examples {
    /// The bundled MNIST: an epoch is timed.
    Mnist,
    /// Random images of 3×32×32 in 10 classes: a step is timed.
    Random,
}

/// A network and how it is trained.
pub(crate) struct Network {
    /// Part of the row's name.
    pub(crate) name: &'static str,
    /// What it is.
    pub(crate) about: &'static str,
    /// Its parameters.
    pub(crate) build: fn(&Rng) -> Model,
    /// What it is trained on.
    pub(crate) examples: Examples,
    /// Batch sizes and their rates: low enough that rounding does not grow over the steps that must agree.
    pub(crate) batches: &'static [(usize, f64)],
}

/// The momentum of every training row.
pub(crate) const MOMENTUM: f64 = 0.9;

pub(crate) const NETWORKS: &[Network] = &[
    Network {
        name: "lenet5",
        about: "LeNet-5 with ReLU and max pooling",
        build: |rng| Arc::new(LeNet5::new(rng)),
        examples: Examples::Mnist,
        batches: &[(32, 0.01), (64, 0.02), (256, 0.05), (1024, 0.02)],
    },
    Network {
        name: "lenet1998",
        about: "LeNet-5 with tanh and average pooling",
        build: lenet1998,
        examples: Examples::Mnist,
        batches: &[(64, 0.02)],
    },
    Network {
        name: "mlp",
        about: "multilayer perceptron 784-512-512-10",
        build: |rng| Arc::new(Mlp::new(&[784, 512, 512, 10], rng)),
        examples: Examples::Mnist,
        batches: &[(64, 0.005)],
    },
    Network {
        name: "conv-32-64-128",
        about: "three 3×3 convolutions with max pooling",
        build: convolutions,
        examples: Examples::Random,
        batches: &[(64, 0.01)],
    },
    Network {
        name: "depthwise-separable",
        about: "a 3×3 convolution and four depthwise-separable ones",
        build: depthwise_separable,
        examples: Examples::Random,
        batches: &[(64, 0.01)],
    },
    Network {
        name: "resnet18",
        about: "ResNet-18 for small images",
        build: |rng| Arc::new(ResNet18::new(10, rng)),
        examples: Examples::Random,
        batches: &[(64, 0.0001)],
    },
];

/// C1 – tanh – S2 – C3 – tanh – S4 – C5 – tanh – F6 – tanh – output, with full connections in C3 and plain means in S2
/// and S4; names are indices.
fn lenet1998(rng: &Rng) -> Model {
    let features = Sequential::new((
        Conv2d::new(1, 6, 5, rng).padding(2),
        Tanh,
        AvgPool2d::new(2),
        Conv2d::new(6, 16, 5, rng),
        Tanh,
        AvgPool2d::new(2),
        Flatten,
    ));
    let (f5, f6, output) = (Linear::new(400, 120, rng), Linear::new(120, 84, rng), Linear::new(84, 10, rng));
    Arc::new(features.then(f5).then(Tanh).then(f6).then(Tanh).then(output))
}

/// 3×32×32 → 32×16×16 → 64×8×8 → 128×4×4 → 10
fn convolutions(rng: &Rng) -> Model {
    let mut net = Sequential::default();
    for (inputs, outputs) in [(3, 32), (32, 64), (64, 128)] {
        net = net.then(Conv2d::new(inputs, outputs, 3, rng).padding(1)).then(Relu).then(MaxPool2d::new(2));
    }
    Arc::new(net.then(Flatten).then(Linear::new(128 * 4 * 4, 10, rng)))
}

/// A convolution to 32 channels, then (3×3 depthwise, ReLU, 1×1, ReLU) four times, with max pooling in between:
/// 3×32×32 → 32×32×32 → 64×16×16 → 64×16×16 → 128×8×8 → 128×4×4 → 10.
fn depthwise_separable(rng: &Rng) -> Model {
    let mut net = Sequential::default().then(Conv2d::new(3, 32, 3, rng).padding(1)).then(Relu);
    for (inputs, outputs, pools) in [(32, 64, true), (64, 64, false), (64, 128, true), (128, 128, true)] {
        let each = Conv::default().padding(1).groups(inputs);
        net = net.then(Conv2d::with(inputs, inputs, 3, each, rng)).then(Relu);
        net = net.then(Conv2d::new(inputs, outputs, 1, rng)).then(Relu);
        if pools {
            net = net.then(MaxPool2d::new(2));
        }
    }
    Arc::new(net.then(Flatten).then(Linear::new(128 * 4 * 4, 10, rng)))
}

/// Training and test images of MNIST, normalised.
pub(crate) fn mnist() -> Result<[Images; 2]> {
    static READ: OnceLock<[Images; 2]> = OnceLock::new();
    if let Some(read) = READ.get() {
        return Ok(read.clone());
    }
    let images = |s: cotangent_mnist::Split| {
        let shape = [1, cotangent_mnist::ROWS, cotangent_mnist::COLS];
        Images::new(s.images, shape, s.labels, cotangent_mnist::CLASSES)?
            .normalize(&[cotangent_mnist::MEAN], &[cotangent_mnist::STD])
    };
    let read = [images(cotangent_mnist::train()?)?, images(cotangent_mnist::test()?)?];
    Ok(READ.get_or_init(|| read).clone())
}

/// Random images with random labels; batch `i` is always the same.
pub(crate) fn random(batch: usize, i: u64) -> [Tensor; 2] {
    let rng = Rng::stream(1, i);
    let x = Tensor::randn([batch, 3, 32, 32], &rng);
    [x, Tensor::randint(0, 10, [batch], &rng)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use cotangent::nn::{Call, ParametersExt};

    #[test]
    fn networks_have_the_shapes_that_peers_build() {
        let count = |name: &str| {
            let net = NETWORKS.iter().find(|n| n.name == name).unwrap();
            let x = match net.examples {
                Examples::Mnist => Tensor::zeros([2, 1, 28, 28]),
                Examples::Random => random(2, 0)[0].clone(),
            };
            let model = (net.build)(&Rng::new(0));
            assert_eq!(model.call(&x).shape()[..], [2, 10]);
            model.parameter_count()
        };
        assert_eq!(count("lenet5"), 61_706);
        assert_eq!(count("lenet1998"), 61_706);
        assert_eq!(count("mlp"), 669_706);
        assert_eq!(count("conv-32-64-128"), 896 + 18_496 + 73_856 + 20_490);
        let blocks = [(32, 64), (64, 64), (64, 128), (128, 128)].map(|(i, o)| i * 9 + i + i * o + o);
        assert_eq!(count("depthwise-separable"), 896 + blocks.iter().sum::<usize>() + 20_490);
        assert_eq!(count("resnet18"), 11_173_962);
    }

    #[test]
    fn random_images_are_the_same_each_time_and_differ() {
        assert_eq!(random(2, 3)[0].to_vec::<f32>(), random(2, 3)[0].to_vec::<f32>());
        assert_ne!(random(2, 3)[0].to_vec::<f32>(), random(2, 4)[0].to_vec::<f32>());
    }
}
