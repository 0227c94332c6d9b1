//! How large a batch (row A15): what fits into memory, and what it buys.

use std::{sync::Arc, time::Instant};

use cotangent::{
    DType, Device, Observer, Op, Origin, Result, Rng, Step, Tensor,
    models::{LeNet5, SoftmaxRegression},
    nn::{Call, ParametersExt},
    no_grad, observe,
    optim::Sgd,
};
use serde::Serialize;

use super::images;

/// The largest batch for a memory limit.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Planned {
    /// Bytes that do not depend on the batch: parameters, gradients.
    pub fixed: usize,
    /// Bytes of an example, forward and backward.
    pub per_example: usize,
    /// The largest batch.
    pub batch: usize,
    /// Its peak, by plan.
    pub predicted: usize,
    /// Its peak on the virtual GPU, measured.
    pub measured: usize,
}

fn step(net: &LeNet5) -> Step<2, Tensor> {
    let (net, sgd) = (net.clone(), Sgd::new(0.1));
    Step::record(move |[x, y]: [Tensor; 2]| {
        let loss = net.call(&x).cross_entropy(&y);
        sgd.step(&net, &loss.backward());
        loss.detach()
    })
    .plain()
}

/// Waits for a device after every operation.
struct Waiting(Device);

impl Observer for Waiting {
    fn operation(&self, _: &dyn Op, _: &[Tensor], _: &[Tensor], _: &Origin) -> Result<()> {
        self.0.synchronize()
    }
}

fn batch(n: usize, device: &Device) -> [Tensor; 2] {
    let x = Tensor::zeros([n, 1, 28, 28]).contiguous();
    let y = Tensor::constant(&Tensor::from([0i64]).spec().with([n]), 0).contiguous();
    [x.to(device), y.to(device)]
}

/// LeNet-5's peak for a batch, from the plan of its step: nothing is computed.
fn predicted(n: usize) -> usize {
    let net = LeNet5::new(&Rng::new(0));
    let [x, y] = batch(n, &Device::cpu());
    let plan = step(&net).plan([&x, &y]);
    // Beside the values of the step: parameters, images and labels, which are there before.
    plan.peak + 4 * net.parameter_count() + x.spec().bytes() + y.spec().bytes()
}

/// The largest batch with which a training step of LeNet-5 stays below `limit` bytes, from two plans; and what that
/// batch takes on the virtual GPU.
pub fn largest_batch(limit: usize) -> Planned {
    let (one, two) = (predicted(64), predicted(128));
    let per_example = (two - one) / 64;
    let fixed = one - 64 * per_example;
    let n = (limit.saturating_sub(fixed) / per_example).max(1);
    let gpu = Device::virtual_gpu();
    let net = LeNet5::new(&Rng::new(0));
    net.to_device(&gpu);
    let [x, y] = batch(n, &gpu);
    let sgd = Sgd::new(0.1);
    // Each operation is waited for, so that what is counted is what a step needs, not how far the host has run ahead.
    observe(Arc::new(Waiting(gpu.clone())), || {
        let loss = net.call(&x).cross_entropy(&y);
        sgd.step(&net, &loss.backward());
    });
    let measured = gpu.as_virtual_gpu().map_or(0, |g| g.memory().1);
    Planned { fixed, per_example, batch: n, predicted: fixed + n * per_example, measured }
}

/// What a batch size came to.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Batched {
    /// B
    pub batch: usize,
    /// Examples a second while training.
    pub throughput: f64,
    /// The best of three learning rates.
    pub rate: f64,
    /// Steps until the training loss was below the goal; the most that were allowed where it never was.
    pub steps: usize,
    /// Seconds of those steps.
    pub seconds: f64,
}

/// Softmax regression on `n` images of MNIST: throughput, and steps to a training loss, by batch size.
pub fn batch_sizes(sizes: &[usize], n: usize, goal: f64) -> Vec<Batched> {
    let Ok((x, y)) = images(n) else { return Vec::new() };
    sizes.iter().map(|b| best(&x, &y, *b, goal)).collect()
}

fn best(x: &Tensor, y: &Tensor, size: usize, goal: f64) -> Batched {
    let rates = [0.03, 0.1, 0.3];
    let found = rates.map(|rate| train(x, y, size, rate, goal));
    found.into_iter().min_by_key(|f| f.steps).unwrap_or(Batched {
        batch: size,
        throughput: 0.0,
        rate: 0.0,
        steps: 0,
        seconds: 0.0,
    })
}

fn train(x: &Tensor, y: &Tensor, size: usize, rate: f64, goal: f64) -> Batched {
    let n = x.size(0);
    let net = SoftmaxRegression::new(784, 10, &Rng::new(1));
    let (inside, sgd) = (net.clone(), Sgd::new(rate));
    let mut step = Step::record(move |[x, y]: [Tensor; 2]| {
        let loss = inside.call(&x).cross_entropy(&y);
        sgd.step(&inside, &loss.backward());
        loss.detach()
    });
    let most = 20 * n / size;
    let every = (128 / size).max(1);
    let (mut seconds, mut steps, mut epoch) = (0.0, 0usize, 0);
    'all: loop {
        let order = cotangent::data::permutation(n, 1, epoch);
        epoch += 1;
        for part in order.chunks_exact(size.min(n)) {
            let i = Tensor::from_vec(part.iter().map(|i| *i as i64).collect::<Vec<_>>(), [part.len()]);
            let (bx, by) = (x.index_select(0, &i), y.index_select(0, &i));
            let begin = Instant::now();
            if step.run([&bx, &by]).is_err() {
                break 'all;
            }
            seconds += begin.elapsed().as_secs_f64();
            steps += 1;
            if steps.is_multiple_of(every) {
                let loss = no_grad(|| net.call(x).cast(DType::F64).cross_entropy(y).item());
                if loss < goal || steps >= most {
                    break 'all;
                }
            }
        }
    }
    Batched { batch: size, throughput: (steps * size) as f64 / seconds.max(1e-9), rate, steps, seconds }
}
