//! Two classes of pictures like CIFAR-10's (row D8): a perceptron beside logistic regression on the same split.

use cotangent::{
    Rng, Step, Tensor,
    models::Mlp,
    nn::{Call, Module, ParametersExt},
    no_grad,
    optim::Sgd,
};
use serde::Serialize;

use crate::problem::logistic;

/// Our widths for D8, whose figure is lost: input 3·32·32, two hidden layers, one output.
pub const WIDTHS: [usize; 4] = [3072, 128, 32, 1];

/// Pictures of two classes: bytes, 3×32×32 each, and labels 0 or 1; fitted ones and held-out ones.
#[derive(Clone, Debug)]
pub struct Pictures {
    /// To fit.
    pub train: (Vec<u8>, Vec<i64>),
    /// To judge.
    pub test: (Vec<u8>, Vec<i64>),
}

/// What came of it.
#[derive(Clone, Debug, Serialize)]
pub struct Binary {
    /// Parameters of the perceptron.
    pub parameters: usize,
    /// Its share of held-out pictures that are right.
    pub mlp: f64,
    /// That of logistic regression.
    pub logistic: f64,
    /// Pictures that were fitted.
    pub fitted: usize,
    /// Pictures that were held out.
    pub held_out: usize,
}

/// Generated pictures: noise with two patches, each bright or dark; the class says whether they are alike. No linear
/// function of the pixels tells that.
pub fn patches(n: usize, seed: u64) -> Pictures {
    let make = |n: usize, stream: u64| {
        let (mut pixels, mut labels) = (Vec::with_capacity(n * 3072), Vec::with_capacity(n));
        for i in 0..n as u64 {
            let bits = Rng::bits(seed, stream, i);
            let (one, two) = (bits & 1, bits >> 1 & 1);
            labels.push((one == two) as i64);
            for p in 0..3072u64 {
                let (y, x) = (p % 1024 / 32, p % 32);
                let noise = Rng::bits(seed + 1, stream, i * 3072 + p) % 96;
                let level = match (y, x) {
                    (4..14, 4..14) => 160 * one,
                    (18..28, 18..28) => 160 * two,
                    _ => 80,
                };
                pixels.push((level + noise).min(255) as u8);
            }
        }
        (pixels, labels)
    };
    Pictures { train: make(n, 1), test: make(n / 2, 2) }
}

fn inputs(pixels: &[u8]) -> Tensor {
    let x: Vec<f32> = pixels.iter().map(|p| f32::from(*p) / 127.5 - 1.0).collect();
    Tensor::from_vec(x, [pixels.len() / 3072, 3072])
}

/// Trains both with the logistic loss `ln(1 + e^{−ym})`, labels ±1, and judges them on the held-out pictures.
pub fn binary(pictures: &Pictures, widths: &[usize], epochs: u64, seed: u64) -> Binary {
    let mlp = Mlp::new(widths, &Rng::new(seed));
    let logistic = Mlp::new(&[3072, 1], &Rng::new(seed));
    let parameters = mlp.parameter_count();
    Binary {
        parameters,
        mlp: fit(mlp, pictures, epochs, 0.05, seed),
        logistic: fit(logistic, pictures, epochs, 0.002, seed),
        fitted: pictures.train.1.len(),
        held_out: pictures.test.1.len(),
    }
}

fn fit(net: Mlp, pictures: &Pictures, epochs: u64, rate: f64, seed: u64) -> f64 {
    let (x, n) = (inputs(&pictures.train.0), pictures.train.1.len());
    let sign: Vec<f32> = pictures.train.1.iter().map(|l| if *l == 1 { 1.0 } else { -1.0 }).collect();
    let y = Tensor::from_vec(sign, [n, 1]);
    let (inside, sgd) = (net.clone(), Sgd::new(rate).momentum(0.9));
    let mut step = Step::record(move |[x, y]: [Tensor; 2]| {
        let m = inside.call(&x) * y;
        let loss = logistic(&m).mean();
        sgd.step(&inside, &loss.backward());
        loss.detach()
    });
    for epoch in 0..epochs {
        for part in cotangent::data::permutation(n, seed, epoch).chunks_exact(32.min(n)) {
            let i = Tensor::from_vec(part.iter().map(|i| *i as i64).collect::<Vec<_>>(), [part.len()]);
            if step.run([&x.index_select(0, &i), &y.index_select(0, &i)]).is_err() {
                return 0.0;
            }
        }
    }
    let (x, labels) = (inputs(&pictures.test.0), &pictures.test.1);
    let said = no_grad(|| net.forward(&x)).gt(0.0).to_vec::<i64>();
    said.iter().zip(labels).filter(|(s, l)| s == l).count() as f64 / labels.len() as f64
}
