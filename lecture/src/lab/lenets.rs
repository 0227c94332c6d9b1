//! LeNet-5 of 1998 beside today's, on MNIST (rows H1–H12).

use std::time::Instant;

use cotangent::{
    Rng, Step, Tensor,
    models::{LeNet5, LeNet1998},
    nn::{Call, Module, ParametersExt},
    no_grad,
    optim::{Adam, Optimizer},
};
use serde::Serialize;

use super::images;

/// What a network came to.
#[derive(Clone, Debug, Serialize)]
pub struct Trained {
    /// `LeNet-5 today`, `LeNet-5 of 1998`
    pub name: &'static str,
    /// Trainable numbers.
    pub parameters: usize,
    /// Share of the test images that are right.
    pub accuracy: f64,
    /// Seconds of training.
    pub seconds: f64,
    /// A number made of every bit of the trained weights.
    pub checksum: u64,
}

/// Test images, normalised as the training images are, and their labels.
fn tests(n: usize) -> Option<(Tensor, Vec<i64>)> {
    let all = cotangent_mnist::test().ok()?;
    let n = n.min(all.labels.len());
    let (mean, std) = (cotangent_mnist::MEAN as f32, cotangent_mnist::STD as f32);
    let x: Vec<f32> = all.images[..n * 784].iter().map(|p| (f32::from(*p) / 255.0 - mean) / std).collect();
    Some((Tensor::from_vec(x, [n, 1, 28, 28]), all.labels[..n].iter().map(|l| i64::from(*l)).collect()))
}

/// Today's LeNet-5 and that of 1998, trained with Adam (rates 0.002 and 0.006) on the same images in
/// the same order; batches of 50.
pub fn lenets(train: usize, test: usize, epochs: u64, seed: u64) -> Vec<Trained> {
    let (Ok((x, y)), Some((tx, ty))) = (images(train), tests(test)) else { return Vec::new() };
    // The background of a normalised image, so that the padding is background too.
    let background = -cotangent_mnist::MEAN / cotangent_mnist::STD;
    let wide = |x: &Tensor| LeNet1998::padded(x, background);
    let modern = LeNet5::new(&Rng::new(seed));
    let old = LeNet1998::new(&Rng::new(seed));
    let today =
        fit("LeNet-5 today", &modern, &x, &y, epochs, seed, 0.002, |logits, y| logits.cross_entropy(y));
    let then =
        fit("LeNet-5 of 1998", &old, &wide(&x), &y, epochs, seed, 0.006, |d, y| LeNet1998::loss(d, y, 1.0));
    vec![
        judged(today, &tx, &ty, |x| modern.forward(x)),
        // The smallest distance wins.
        judged(then, &wide(&tx), &ty, |x| -old.forward(x)),
    ]
}

#[allow(clippy::too_many_arguments)]
fn fit<M: Module + Clone + 'static>(
    name: &'static str,
    net: &M,
    x: &Tensor,
    y: &Tensor,
    epochs: u64,
    seed: u64,
    rate: f64,
    loss: impl Fn(&Tensor, &Tensor) -> Tensor + Send + 'static,
) -> Trained {
    let (inside, adam) = (net.clone(), Adam::new(rate));
    let mut step = Step::record(move |[x, y]: [Tensor; 2]| {
        let l = loss(&inside.call(&x), &y);
        Optimizer::step(&adam, &inside, &l.backward());
        l.detach()
    });
    let n = x.size(0);
    let begin = Instant::now();
    'all: for epoch in 0..epochs {
        for part in cotangent::data::permutation(n, seed, epoch).chunks_exact(50.min(n)) {
            let i = Tensor::from_vec(part.iter().map(|i| *i as i64).collect::<Vec<_>>(), [part.len()]);
            if step.run([&x.index_select(0, &i), &y.index_select(0, &i)]).is_err() {
                break 'all;
            }
        }
    }
    let seconds = begin.elapsed().as_secs_f64();
    let mix = |sum: u64, x: f32| (sum ^ u64::from(x.to_bits())).wrapping_mul(0x100_0000_01b3).rotate_left(5);
    let checksum = net.values().iter().flat_map(Tensor::to_vec::<f32>).fold(0xcbf2_9ce4_8422_2325, mix);
    Trained { name, parameters: net.parameter_count(), accuracy: 0.0, seconds, checksum }
}

fn judged(found: Trained, x: &Tensor, y: &[i64], scores: impl Fn(&Tensor) -> Tensor) -> Trained {
    let mut right = 0;
    for from in (0..y.len()).step_by(500) {
        let n = 500.min(y.len() - from);
        let said = no_grad(|| scores(&x.narrow(0, from, n))).argmax(1).to_vec::<i64>();
        right += said.iter().zip(&y[from..]).filter(|(s, y)| s == y).count();
    }
    Trained { accuracy: right as f64 / y.len().max(1) as f64, ..found }
}
