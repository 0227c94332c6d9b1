//! LeNet-5 in Candle.
//!
//! `candle-lenet train FOLDER DATA EPOCHS` checks the losses that `cotangent bench --agree` wrote into FOLDER, then times
//! epochs of MNIST, which lies in DATA as raw bytes; `candle-lenet infer FOLDER SECONDS` checks and times its forward.

use std::collections::HashMap;
use std::error::Error;
use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

use candle_core::{DType, Device, Module, Result, Tensor, Var, safetensors};
use candle_nn::{Conv2d, Conv2dConfig, Linear, loss::cross_entropy};
use serde_json::{Value, json};

struct LeNet5 {
    conv1: Conv2d,
    conv2: Conv2d,
    fc: [Linear; 3],
    parameters: Vec<Var>,
}

impl LeNet5 {
    fn new(weights: &HashMap<String, Tensor>) -> Result<Self> {
        let mut parameters = Vec::new();
        let mut both = |layer: &str| -> Result<[Tensor; 2]> {
            let [w, b] =
                ["weight", "bias"].map(|part| Var::from_tensor(&weights[&format!("{layer}.{part}")]));
            let (w, b) = (w?, b?);
            let tensors = [w.as_tensor().clone(), b.as_tensor().clone()];
            parameters.extend([w, b]);
            Ok(tensors)
        };
        let ([w1, b1], [w2, b2]) = (both("conv1")?, both("conv2")?);
        let padded = Conv2dConfig { padding: 2, ..Default::default() };
        let mut linear = |layer: &str| both(layer).map(|[w, b]| Linear::new(w, Some(b)));
        let fc = [linear("fc1")?, linear("fc2")?, linear("fc3")?];
        let conv1 = Conv2d::new(w1, Some(b1), padded);
        Ok(LeNet5 { conv1, conv2: Conv2d::new(w2, Some(b2), Conv2dConfig::default()), fc, parameters })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let x = self.conv1.forward(x)?.relu()?.max_pool2d(2)?;
        let x = self.conv2.forward(&x)?.relu()?.max_pool2d(2)?.flatten_from(1)?;
        self.fc[2].forward(&self.fc[1].forward(&self.fc[0].forward(&x)?.relu()?)?.relu()?)
    }
}

/// SGD with momentum, in PyTorch's order; candle-nn has SGD without.
struct Training {
    net: LeNet5,
    momenta: Vec<Option<Tensor>>,
    rate: f64,
    momentum: f64,
}

impl Training {
    fn new(net: LeNet5, rate: f64, momentum: f64) -> Self {
        Training { momenta: vec![None; net.parameters.len()], net, rate, momentum }
    }

    fn step(&mut self, x: &Tensor, y: &Tensor) -> Result<Tensor> {
        let loss = cross_entropy(&self.net.forward(x)?, y)?;
        let gradients = loss.backward()?;
        for (p, m) in self.net.parameters.iter().zip(&mut self.momenta) {
            let Some(g) = gradients.get(p.as_tensor()) else { continue };
            let v = match m.take() {
                Some(v) => ((v * self.momentum)? + g)?,
                None => g.clone(),
            };
            p.set(&(p.as_tensor() - (&v * self.rate)?)?.detach())?;
            *m = Some(v.detach());
        }
        Ok(loss)
    }
}

/// The order of an epoch: Fisher and Yates, with a generator of 64 bits (Marsaglia's xorshift).
fn shuffled(n: u32, state: &mut u64) -> Vec<u32> {
    let mut order: Vec<u32> = (0..n).collect();
    for i in (1..order.len()).rev() {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        order.swap(i, (*state % (i as u64 + 1)) as usize);
    }
    order
}

fn difference(found: &[f64], expected: &[f64]) -> std::result::Result<f64, Box<dyn Error>> {
    let worst = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    match found.len() == expected.len() && worst <= 1e-4 {
        true => Ok(worst),
        false => Err(format!("found {found:?}, expected {expected:?}").into()),
    }
}

fn emit(name: &str, variant: &str, samples: &[f64], disagreement: f64) {
    let line = json!({
        "peer": "Candle", "version": "0.11", "name": name, "variant": variant, "samples": samples,
        "disagreement": disagreement,
    });
    println!("{line}");
}

fn train(folder: &Path, data: &Path, epochs: usize) -> std::result::Result<(), Box<dyn Error>> {
    let device = Device::Cpu;
    let weights = safetensors::load(folder.join("weights.safetensors"), &device)?;
    let batches = safetensors::load(folder.join("batches.safetensors"), &device)?;
    let about: Value = serde_json::from_slice(&std::fs::read(folder.join("agree.json"))?)?;
    let number = |key: &str| about[key].as_f64().ok_or(format!("agree.json has no number {key}"));
    let (rate, momentum, batch) = (number("rate")?, number("momentum")?, number("batch")? as usize);
    let expected: Vec<f64> = serde_json::from_value(about["losses"].clone())?;
    let name = about["name"].as_str().unwrap_or_default();

    let mut training = Training::new(LeNet5::new(&weights)?, rate, momentum);
    let (x, y) = (&batches["x"], batches["y"].to_dtype(DType::U32)?);
    let losses: Vec<f64> = (0..expected.len())
        .map(|i| Ok(f64::from(training.step(&x.get(i)?, &y.get(i)?)?.to_scalar::<f32>()?)))
        .collect::<Result<_>>()?;
    // Candle 0.11 multiplies the derivative of max pooling by the share of maxima in a window, so only the first
    // loss, which follows from no derivative, can agree; how far the others are apart is reported.
    difference(&losses[..1], &expected[..1])?;
    let disagreement = losses.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);

    let pixels = std::fs::read(data.join("train-images"))?;
    let labels: Vec<u32> = std::fs::read(data.join("train-labels"))?.into_iter().map(u32::from).collect();
    let n = labels.len();
    let pixels: Vec<f32> = pixels.into_iter().map(|p| (f32::from(p) / 255.0 - 0.1307) / 0.3081).collect();
    let (x, y) = (Tensor::from_vec(pixels, (n, 1, 28, 28), &device)?, Tensor::from_vec(labels, n, &device)?);
    let mut training = Training::new(LeNet5::new(&weights)?, rate, momentum);
    let (mut samples, mut state) = (Vec::new(), 1);
    for _ in 0..epochs {
        let start = Instant::now();
        for indices in shuffled(n as u32, &mut state).chunks(batch) {
            let indices = Tensor::new(indices, &device)?;
            training.step(&x.index_select(&indices, 0)?, &y.index_select(&indices, 0)?)?;
        }
        samples.push(start.elapsed().as_secs_f64());
    }
    emit(name, "cpu, max pooling's derivative is another", &samples, disagreement);
    Ok(())
}

fn infer(folder: &Path, seconds: f64) -> std::result::Result<(), Box<dyn Error>> {
    let device = Device::Cpu;
    let weights = safetensors::load(folder.join("weights.safetensors"), &device)?;
    let given = safetensors::load(folder.join("batches.safetensors"), &device)?;
    let (net, x) = (LeNet5::new(&weights)?, &given["x"]);
    let numbers = |t: &Tensor| -> Result<Vec<f64>> { t.flatten_all()?.to_dtype(DType::F64)?.to_vec1() };
    // Without variables nothing is kept for a derivative.
    let net = LeNet5 {
        conv1: Conv2d::new(
            net.conv1.weight().detach(),
            net.conv1.bias().map(Tensor::detach),
            *net.conv1.config(),
        ),
        conv2: Conv2d::new(
            net.conv2.weight().detach(),
            net.conv2.bias().map(Tensor::detach),
            *net.conv2.config(),
        ),
        fc: net.fc.map(|l| Linear::new(l.weight().detach(), l.bias().map(Tensor::detach))),
        parameters: Vec::new(),
    };
    let disagreement = difference(&numbers(&net.forward(x)?)?, &numbers(&given["logits"])?)?;
    for _ in 0..5 {
        black_box(net.forward(x)?);
    }
    let (begin, mut samples) = (Instant::now(), Vec::new());
    while samples.len() < 7 || begin.elapsed().as_secs_f64() < seconds {
        let start = Instant::now();
        black_box(net.forward(x)?);
        samples.push(start.elapsed().as_secs_f64());
    }
    let row = folder.file_name().unwrap_or_default().to_string_lossy();
    emit(&format!("infer/lenet5/{row}"), "cpu", &samples, disagreement);
    Ok(())
}

fn main() -> std::result::Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["train", folder, data, epochs] => train(folder.as_ref(), data.as_ref(), epochs.parse()?),
        ["infer", folder, seconds] => infer(folder.as_ref(), seconds.parse()?),
        _ => Err("expected: train FOLDER DATA EPOCHS, or: infer FOLDER SECONDS".into()),
    }
}
