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

/// What training to an accuracy took with one batch size (row A15).
#[derive(Clone, Debug, Serialize)]
pub struct Reached {
    /// B
    pub batch: usize,
    /// The learning rate of Adam.
    pub rate: f64,
    /// Examples a second while training.
    pub throughput: f64,
    /// Steps that were taken.
    pub steps: usize,
    /// Epochs that were taken.
    pub epochs: f64,
    /// Seconds of those steps, without those of testing.
    pub seconds: f64,
    /// Share of the test images that are right at the end.
    pub accuracy: f64,
    /// Whether that is the goal; if not, it was not reached within the epochs that were allowed.
    pub reached: bool,
}

/// LeNet-5 on the first `train` images of MNIST until `goal` of the test images are right, by batch size, and for `most`
/// epochs at most. It is tested five times an epoch. The rate of Adam is `0.002·√(B/64)`, at most 0.008.
///
/// ```
/// let found = cotangent_lecture::lab::to_accuracy(&[16, 64], 640, 0.5, 3);
/// assert!(found.iter().all(|f| f.reached == (f.accuracy >= 0.5) && f.epochs <= 3.0));
/// ```
pub fn to_accuracy(sizes: &[usize], train: usize, goal: f64, most: u64) -> Vec<Reached> {
    let (Ok((x, y)), Some(tests)) = (images(train), tests(cotangent_mnist::TEST)) else { return Vec::new() };
    sizes.iter().map(|size| until(&x, &y, &tests, *size, goal, most)).collect()
}

fn until(x: &Tensor, y: &Tensor, tests: &(Tensor, Vec<i64>), size: usize, goal: f64, most: u64) -> Reached {
    let n = x.size(0);
    let batch = size.clamp(1, n);
    let rate = (0.002 * (batch as f64 / 64.0).sqrt()).min(0.008);
    let net = LeNet5::new(&Rng::new(0));
    let (inside, adam) = (net.clone(), Adam::new(rate));
    let mut step = Step::record(move |[x, y]: [Tensor; 2]| {
        let loss = inside.call(&x).cross_entropy(&y);
        Optimizer::step(&adam, &inside, &loss.backward());
        loss.detach()
    });
    let inside = net.clone();
    let mut scores = Step::record(move |[x]: [Tensor; 1]| no_grad(|| inside.call(&x)));
    let every = (n / batch / 5).max(1);
    let mut found = Reached {
        batch,
        rate,
        throughput: 0.0,
        steps: 0,
        epochs: 0.0,
        seconds: 0.0,
        accuracy: 0.0,
        reached: false,
    };
    'all: for epoch in 0..most {
        for part in cotangent::data::permutation(n, 0, epoch).chunks_exact(batch) {
            let begin = Instant::now();
            let i = Tensor::from_vec(part.iter().map(|i| *i as i64).collect::<Vec<_>>(), [part.len()]);
            if step.run([&x.index_select(0, &i), &y.index_select(0, &i)]).is_err() {
                break 'all;
            }
            found.seconds += begin.elapsed().as_secs_f64();
            found.steps += 1;
            if found.steps.is_multiple_of(every) {
                found.accuracy =
                    share(tests, |x| scores.run([x]).unwrap_or_else(|_| Tensor::zeros([x.size(0), 10])));
                found.reached = found.accuracy >= goal;
                if found.reached {
                    break 'all;
                }
            }
        }
    }
    found.epochs = (found.steps * batch) as f64 / n as f64;
    found.throughput = (found.steps * batch) as f64 / found.seconds.max(1e-9);
    found
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

fn judged(found: Trained, x: &Tensor, y: &[i64], scores: impl FnMut(&Tensor) -> Tensor) -> Trained {
    Trained { accuracy: share(&(x.clone(), y.to_vec()), scores), ..found }
}

/// The share of pictures whose largest score is that of their label.
fn share((x, y): &(Tensor, Vec<i64>), mut scores: impl FnMut(&Tensor) -> Tensor) -> f64 {
    let mut right = 0;
    for from in (0..y.len()).step_by(500) {
        let n = 500.min(y.len() - from);
        let said = no_grad(|| scores(&x.narrow(0, from, n))).argmax(1).to_vec::<i64>();
        right += said.iter().zip(&y[from..]).filter(|(s, y)| s == y).count();
    }
    right as f64 / y.len().max(1) as f64
}
