//! LeNet-5 in Burn, on its Flex backend.
//!
//! `burn-lenet train FOLDER DATA EPOCHS` checks the losses that `cotangent bench --agree` wrote into FOLDER, then times
//! epochs of MNIST, which lies in DATA as raw bytes; `burn-lenet infer FOLDER SECONDS` checks and times its forward.

use std::error::Error;
use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

use burn::module::{Module, Param};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::loss::{CrossEntropyLoss, CrossEntropyLossConfig};
use burn::nn::pool::{MaxPool2d, MaxPool2dConfig};
use burn::nn::{Linear, LinearConfig, PaddingConfig2d};
use burn::optim::momentum::MomentumConfig;
use burn::optim::{GradientsParams, ModuleOptimizer, SgdConfig};
use burn::tensor::{Device, Int, Tensor, TensorData, activation::relu};
use safetensors::SafeTensors;
use serde_json::{Value, json};

type Outcome<T> = Result<T, Box<dyn Error>>;

#[derive(Module, Debug)]
struct LeNet5 {
    conv1: Conv2d,
    conv2: Conv2d,
    pool: MaxPool2d,
    fc1: Linear,
    fc2: Linear,
    fc3: Linear,
}

impl LeNet5 {
    fn new(weights: &SafeTensors<'_>, device: &Device) -> Outcome<Self> {
        let of = |layer: &str, part: &str| floats(weights, &format!("{layer}.{part}"));
        let conv = |layer: &str, config: Conv2dConfig| -> Outcome<Conv2d> {
            let mut made = config.init(device);
            made.weight = Param::from_tensor(Tensor::from_data(of(layer, "weight")?, device));
            made.bias = Some(Param::from_tensor(Tensor::from_data(of(layer, "bias")?, device)));
            Ok(made)
        };
        let linear = |layer: &str, inputs: usize, outputs: usize| -> Outcome<Linear> {
            let mut made = LinearConfig::new(inputs, outputs).init(device);
            // Burn keeps [in, out], PyTorch [out, in].
            let weight = Tensor::<2>::from_data(of(layer, "weight")?, &device.clone().inner()).transpose();
            made.weight = Param::from_tensor(Tensor::from_data(weight.into_data(), device));
            made.bias = Some(Param::from_tensor(Tensor::from_data(of(layer, "bias")?, device)));
            Ok(made)
        };
        let padded = Conv2dConfig::new([1, 6], [5, 5]).with_padding(PaddingConfig2d::Explicit(2, 2, 2, 2));
        Ok(LeNet5 {
            conv1: conv("conv1", padded)?,
            conv2: conv("conv2", Conv2dConfig::new([6, 16], [5, 5]))?,
            pool: MaxPool2dConfig::new([2, 2]).with_strides([2, 2]).init(),
            fc1: linear("fc1", 400, 120)?,
            fc2: linear("fc2", 120, 84)?,
            fc3: linear("fc3", 84, 10)?,
        })
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        let x = self.pool.forward(relu(self.conv1.forward(x)));
        let x = self.pool.forward(relu(self.conv2.forward(x))).flatten(1, 3);
        self.fc3.forward(relu(self.fc2.forward(relu(self.fc1.forward(x)))))
    }
}

/// A network with its optimiser: SGD with momentum and no dampening, as PyTorch's.
struct Training {
    net: Option<LeNet5>,
    loss: CrossEntropyLoss,
    optimizer: ModuleOptimizer,
    rate: f64,
}

impl Training {
    fn new(net: LeNet5, rate: f64, momentum: f64, device: &Device) -> Self {
        let momentum = MomentumConfig::new().with_momentum(momentum).with_dampening(0.0);
        let optimizer = SgdConfig::new().with_momentum(Some(momentum)).init();
        Training { net: Some(net), loss: CrossEntropyLossConfig::new().init(device), optimizer, rate }
    }

    fn step(&mut self, x: Tensor<4>, y: Tensor<1, Int>) -> Outcome<Tensor<1>> {
        let net = self.net.take().ok_or("the network was lost in a failed step")?;
        let loss = self.loss.forward(net.forward(x), y);
        let gradients = GradientsParams::from_grads(loss.backward(), &net);
        self.net = Some(self.optimizer.step(self.rate, net, gradients));
        Ok(loss)
    }
}

fn shape(weights: &SafeTensors<'_>, name: &str) -> Outcome<Vec<usize>> {
    Ok(weights.tensor(name)?.shape().to_vec())
}

fn floats(weights: &SafeTensors<'_>, name: &str) -> Outcome<TensorData> {
    let bytes = weights.tensor(name)?.data().as_chunks::<4>().0.to_vec();
    let numbers: Vec<f32> = bytes.into_iter().map(f32::from_le_bytes).collect();
    Ok(TensorData::new(numbers, shape(weights, name)?))
}

fn wholes(weights: &SafeTensors<'_>, name: &str) -> Outcome<TensorData> {
    let bytes = weights.tensor(name)?.data().as_chunks::<8>().0.to_vec();
    let numbers: Vec<i64> = bytes.into_iter().map(i64::from_le_bytes).collect();
    Ok(TensorData::new(numbers, shape(weights, name)?))
}

/// The order of an epoch: Fisher and Yates, with a generator of 64 bits (Marsaglia's xorshift).
fn shuffled(n: i64, state: &mut u64) -> Vec<i64> {
    let mut order: Vec<i64> = (0..n).collect();
    for i in (1..order.len()).rev() {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        order.swap(i, (*state % (i as u64 + 1)) as usize);
    }
    order
}

fn difference(found: &[f64], expected: &[f64]) -> Outcome<f64> {
    let worst = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    match found.len() == expected.len() && worst <= 1e-4 {
        true => Ok(worst),
        false => Err(format!("found {found:?}, expected {expected:?}").into()),
    }
}

fn emit(name: &str, samples: &[f64], disagreement: f64) {
    let line = json!({
        "peer": "Burn", "version": "0.22.1 (flex)", "name": name, "variant": "flex", "samples": samples,
        "disagreement": disagreement,
    });
    println!("{line}");
}

fn train(folder: &Path, data: &Path, epochs: usize) -> Outcome<()> {
    let device = Device::flex().autodiff();
    let (weights, batches) = (
        std::fs::read(folder.join("weights.safetensors"))?,
        std::fs::read(folder.join("batches.safetensors"))?,
    );
    let (weights, batches) = (SafeTensors::deserialize(&weights)?, SafeTensors::deserialize(&batches)?);
    let about: Value = serde_json::from_slice(&std::fs::read(folder.join("agree.json"))?)?;
    let number = |key: &str| about[key].as_f64().ok_or(format!("agree.json has no number {key}"));
    let (rate, momentum, batch) = (number("rate")?, number("momentum")?, number("batch")? as usize);
    let expected: Vec<f64> = serde_json::from_value(about["losses"].clone())?;

    let mut training = Training::new(LeNet5::new(&weights, &device)?, rate, momentum, &device);
    let (x, y) = (floats(&batches, "x")?, wholes(&batches, "y")?);
    let (x, y) = (Tensor::<5>::from_data(x, &device), Tensor::<2, Int>::from_data(y, &device));
    let mut losses = Vec::new();
    for i in 0..expected.len() {
        let (x, y) = (x.clone().narrow(0, i, 1).squeeze_dim(0), y.clone().narrow(0, i, 1).squeeze_dim(0));
        losses.push(f64::from(training.step(x, y)?.into_scalar::<f32>()));
    }
    let disagreement = difference(&losses, &expected)?;

    let pixels = std::fs::read(data.join("train-images"))?;
    let labels: Vec<i64> = std::fs::read(data.join("train-labels"))?.into_iter().map(i64::from).collect();
    let n = labels.len();
    let pixels: Vec<f32> = pixels.into_iter().map(|p| (f32::from(p) / 255.0 - 0.1307) / 0.3081).collect();
    let x = Tensor::<4>::from_data(TensorData::new(pixels, [n, 1, 28, 28]), &device);
    let y = Tensor::<1, Int>::from_data(TensorData::new(labels, [n]), &device);
    let mut training = Training::new(LeNet5::new(&weights, &device)?, rate, momentum, &device);
    let (mut samples, mut state) = (Vec::new(), 1);
    for _ in 0..epochs {
        let start = Instant::now();
        for indices in shuffled(n as i64, &mut state).chunks(batch) {
            let indices =
                Tensor::<1, Int>::from_data(TensorData::new(indices.to_vec(), [indices.len()]), &device);
            training.step(x.clone().select(0, indices.clone()), y.clone().select(0, indices))?;
        }
        samples.push(start.elapsed().as_secs_f64());
    }
    emit(about["name"].as_str().unwrap_or_default(), &samples, disagreement);
    Ok(())
}

fn infer(folder: &Path, seconds: f64) -> Outcome<()> {
    let device = Device::flex();
    let (weights, given) = (
        std::fs::read(folder.join("weights.safetensors"))?,
        std::fs::read(folder.join("batches.safetensors"))?,
    );
    let (weights, given) = (SafeTensors::deserialize(&weights)?, SafeTensors::deserialize(&given)?);
    let net = LeNet5::new(&weights, &device)?;
    let x = Tensor::<4>::from_data(floats(&given, "x")?, &device);
    let numbers = |data: TensorData| -> Vec<f64> { data.iter::<f64>().collect() };
    let found = numbers(net.forward(x.clone()).into_data());
    let disagreement = difference(&found, &numbers(floats(&given, "logits")?))?;
    let (mut samples, mut warm_up) = (Vec::new(), 5);
    let mut begin = Instant::now();
    while samples.len() < 7 || begin.elapsed().as_secs_f64() < seconds {
        let start = Instant::now();
        black_box(net.forward(x.clone()).into_data());
        if warm_up == 0 {
            samples.push(start.elapsed().as_secs_f64());
        } else {
            warm_up -= 1;
            begin = Instant::now();
        }
    }
    let row = folder.file_name().unwrap_or_default().to_string_lossy();
    emit(&format!("infer/lenet5/{row}"), &samples, disagreement);
    Ok(())
}

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["train", folder, data, epochs] => train(folder.as_ref(), data.as_ref(), epochs.parse()?),
        ["infer", folder, seconds] => infer(folder.as_ref(), seconds.parse()?),
        _ => Err("expected: train FOLDER DATA EPOCHS, or: infer FOLDER SECONDS".into()),
    }
}
