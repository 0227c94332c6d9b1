//! Residual networks for images of 32×32.

use crate::{
    Parameters, Rng, Tensor,
    nn::{BatchNorm2d, Call, Conv2d, Linear, Module, Sequential},
};

/// ResNet-18 for small images: `[n, 3, h, w]` → `[n, classes]`; 11,173,962 parameters for 10 classes.
///
/// The stem is one 3×3 convolution without pooling, as for CIFAR-10; then four stages of two [`BasicBlock`]s with 64,
/// 128, 256 and 512 channels, each stage but the first halving height and width; the mean over what is left of the
/// image; one linear layer. Parameters and state have torchvision's names and the initialisation of their layers.
///
/// He, Zhang, Ren, Sun: "Deep residual learning for image recognition", 2015, table 1 and section 4.2.
///
/// ```
/// use cotangent::{models::ResNet18, nn::{Call, ParametersExt}, Rng, Tensor};
/// let net = ResNet18::new(10, &Rng::new(0));
/// assert_eq!(net.parameter_count(), 11_173_962);
/// net.eval();
/// assert_eq!(net.call(&Tensor::zeros([2, 3, 8, 8])).shape()[..], [2, 10]);
/// ```
#[derive(Clone, Debug, Parameters)]
pub struct ResNet18 {
    conv1: Conv2d,
    bn1: BatchNorm2d,
    layer1: [BasicBlock; 2],
    layer2: [BasicBlock; 2],
    layer3: [BasicBlock; 2],
    layer4: [BasicBlock; 2],
    fc: Linear,
}

impl ResNet18 {
    /// For 3-channel images of so many classes.
    pub fn new(classes: usize, rng: &Rng) -> Self {
        let stage = |inputs, outputs, stride| {
            [BasicBlock::new(inputs, outputs, stride, rng), BasicBlock::new(outputs, outputs, 1, rng)]
        };
        ResNet18 {
            conv1: Conv2d::new(3, 64, 3, rng).padding(1).without_bias(),
            bn1: BatchNorm2d::new(64),
            layer1: stage(64, 64, 1),
            layer2: stage(64, 128, 2),
            layer3: stage(128, 256, 2),
            layer4: stage(256, 512, 2),
            fc: Linear::new(512, classes, rng),
        }
    }
}

impl Module for ResNet18 {
    fn forward(&self, x: &Tensor) -> Tensor {
        let mut x = self.bn1.call(&self.conv1.call(x)).relu();
        for block in [&self.layer1, &self.layer2, &self.layer3, &self.layer4].into_iter().flatten() {
            x = block.call(&x);
        }
        self.fc.call(&x.mean_over([2, 3], false))
    }
}

/// `y = relu(F(x) + S(x))` with `F = bn ∘ conv3×3 ∘ relu ∘ bn ∘ conv3×3`: `[n, in, h, w]` → `[n, out, h/s, w/s]`.
///
/// `S` is the identity, or a 1×1 convolution with batch norm (`downsample`) where stride or channels change.
/// He, Zhang, Ren, Sun: "Deep residual learning for image recognition", 2015, equations 1 and 2.
///
/// ```
/// use cotangent::{models::BasicBlock, nn::Call, Rng, Tensor};
/// let block = BasicBlock::new(4, 8, 2, &Rng::new(0));
/// assert_eq!(block.call(&Tensor::ones([2, 4, 6, 6])).shape()[..], [2, 8, 3, 3]);
/// ```
#[derive(Clone, Parameters)]
pub struct BasicBlock {
    conv1: Conv2d,
    bn1: BatchNorm2d,
    conv2: Conv2d,
    bn2: BatchNorm2d,
    downsample: Option<Sequential>,
}

impl std::fmt::Debug for BasicBlock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "BasicBlock({})", self.describe())
    }
}

impl BasicBlock {
    /// From `inputs` to `outputs` channels; the first convolution has the stride.
    pub fn new(inputs: usize, outputs: usize, stride: usize, rng: &Rng) -> Self {
        let conv1 = Conv2d::new(inputs, outputs, 3, rng).stride(stride).padding(1).without_bias();
        let conv2 = Conv2d::new(outputs, outputs, 3, rng).padding(1).without_bias();
        let downsample = (stride != 1 || inputs != outputs).then(|| {
            let conv = Conv2d::new(inputs, outputs, 1, rng).stride(stride).without_bias();
            Sequential::new((conv, BatchNorm2d::new(outputs)))
        });
        BasicBlock {
            conv1,
            bn1: BatchNorm2d::new(outputs),
            conv2,
            bn2: BatchNorm2d::new(outputs),
            downsample,
        }
    }
}

impl Module for BasicBlock {
    fn forward(&self, x: &Tensor) -> Tensor {
        let y = self.bn1.call(&self.conv1.call(x)).relu();
        let y = self.bn2.call(&self.conv2.call(&y));
        match &self.downsample {
            Some(downsample) => (y + downsample.call(x)).relu(),
            None => (y + x).relu(),
        }
    }

    fn describe(&self) -> String {
        format!("BasicBlock {}", self.conv1.describe().trim_start_matches("Conv2d "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DType, Step, nn::ParametersExt, optim::Sgd};

    fn images(n: usize, size: usize) -> Tensor {
        Tensor::randn([n, 3, size, size], &Rng::new(1)).cast(DType::F32)
    }

    #[test]
    fn names_and_shapes_are_torchvisions() {
        let net = ResNet18::new(10, &Rng::new(0));
        let state = net.state_dict();
        let shape = |name: &str| {
            let found = state.iter().find(|(n, _)| n == name);
            found.unwrap_or_else(|| panic!("no {name}")).1.shape().to_vec()
        };
        assert_eq!(shape("conv1.weight"), [64, 3, 3, 3]);
        assert_eq!(shape("bn1.running_var"), [64]);
        assert_eq!(shape("layer1.1.conv2.weight"), [64, 64, 3, 3]);
        assert_eq!(shape("layer2.0.conv1.weight"), [128, 64, 3, 3]);
        assert_eq!(shape("layer2.0.downsample.0.weight"), [128, 64, 1, 1]);
        assert_eq!(shape("layer4.0.downsample.1.num_batches_tracked"), []);
        assert_eq!(shape("layer4.1.bn2.bias"), [512]);
        assert_eq!(shape("fc.weight"), [10, 512]);
        // 20 convolutions, 20 batch norms of five entries, a linear layer of two; no bias beside a batch norm.
        assert_eq!(state.len(), 20 + 20 * 5 + 2);
        assert!(!state.iter().any(|(n, _)| n.starts_with("layer1.0.downsample") || n == "conv1.bias"));
        assert_eq!(net.parameter_count(), 11_173_962);
        assert_eq!(ResNet18::new(100, &Rng::new(0)).parameter_count(), 11_173_962 + 90 * 513);
    }

    #[test]
    fn stages_halve_the_image() {
        let rng = Rng::new(0);
        let x = Tensor::ones([1, 64, 32, 32]);
        assert_eq!(BasicBlock::new(64, 64, 1, &rng).call(&x).shape()[..], [1, 64, 32, 32]);
        assert_eq!(BasicBlock::new(64, 128, 2, &rng).call(&x).shape()[..], [1, 128, 16, 16]);
        assert_eq!(ResNet18::new(7, &rng).call(&images(2, 16)).shape()[..], [2, 7]);
    }

    /// While training a result depends on the rest of the batch; while evaluating it does not.
    #[test]
    fn evaluating_looks_at_one_image_at_a_time() {
        let net = ResNet18::new(10, &Rng::new(0));
        let x = images(3, 8);
        let apart = |x: &Tensor| {
            (net.call(x).narrow(0, 0, 1) - net.call(&x.narrow(0, 0, 2)).narrow(0, 0, 1)).norm().item()
        };
        assert!(apart(&x) > 1e-3);
        let mean = |net: &ResNet18| net.bn1.running_mean.value().to_vec::<f64>();
        assert!(mean(&net).iter().any(|m| *m != 0.0));
        net.eval();
        let before = mean(&net);
        assert!(apart(&x) < 1e-4);
        assert_eq!(mean(&net), before);
    }

    #[test]
    fn a_recorded_step_is_an_eager_one() {
        let run = |recorded: bool| {
            let net = ResNet18::new(4, &Rng::new(2));
            let (inside, sgd) = (net.clone(), Sgd::new(0.01).momentum(0.9));
            let body = move |[x, y]: [Tensor; 2]| {
                let loss = inside.call(&x).cross_entropy(&y);
                sgd.step(&inside, &loss.backward());
                loss.detach()
            };
            let (x, y) = (images(4, 8), Tensor::from([0i64, 1, 2, 3]));
            let losses: Vec<f64> = if recorded {
                let mut step = Step::record(body);
                (0..3).map(|_| step.run([&x, &y]).expect("a step").item()).collect()
            } else {
                (0..3).map(|_| body([x.clone(), y.clone()]).item()).collect()
            };
            (losses, net.bn1.running_var.value().to_vec::<f64>())
        };
        let (recorded, eager) = (run(true), run(false));
        assert_eq!(recorded, eager);
        assert!(eager.0[2] < eager.0[0], "{:?}", eager.0);
    }
}
