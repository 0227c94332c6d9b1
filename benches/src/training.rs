//! Training as `cotangent train` does it: a recorded step for every batch, its loss looked at.

use std::collections::BTreeMap;
use std::time::Instant;

use cotangent::data::{Batches, Dataset, Loader, Shuffled};
use cotangent::nn::{Call, Parameters, ParametersExt};
use cotangent::optim::Sgd;
use cotangent::{Rng, Step, Tensor, no_grad};

use crate::agree::Agreement;
use crate::networks::{Examples, MOMENTUM, NETWORKS, Network, mnist, random};
use crate::timing::{Budget, Found, repeat};
use crate::{Model, Result, Row};

/// Everything random follows from it.
pub(crate) const SEED: u64 = 0;

/// Batches of random images that are used in turn.
const RANDOM_BATCHES: u64 = 8;

/// Examples in a step of an evaluation.
const CHUNK: usize = 1000;

/// A network in training.
pub(crate) struct Training {
    pub(crate) model: Model,
    step: Step<2, (Tensor, Tensor)>,
}

/// A training step: images and labels → loss and number of right answers.
fn body(model: Model, rate: f64) -> impl Fn([Tensor; 2]) -> (Tensor, Tensor) + Send + 'static {
    let sgd = Sgd::new(rate).momentum(MOMENTUM);
    move |[x, y]| {
        let logits = model.call(&x);
        let loss = logits.cross_entropy(&y).expect_finite();
        let correct = logits.detach().argmax(1).eq(&y).sum();
        let parameters: &dyn Parameters = &*model;
        sgd.step(parameters, &loss.backward());
        (loss.detach(), correct)
    }
}

impl Training {
    pub(crate) fn new(network: &Network, rate: f64) -> Self {
        let model = (network.build)(&Rng::new(SEED));
        let step = Step::record(body(model.clone(), rate));
        Training { model, step }
    }

    /// Loss and number of right answers of a batch, before it has changed the parameters.
    pub(crate) fn step(&mut self, x: &Tensor, y: &Tensor) -> Result<[f64; 2]> {
        let (loss, correct) = self.step.run([x, y])?;
        Ok([loss.item(), correct.item()])
    }
}

pub(crate) fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for network in NETWORKS {
        for &(batch, rate) in network.batches {
            let (kind, what) = match network.examples {
                Examples::Mnist => {
                    ("train", "an epoch of 60,000 MNIST images, shuffled, the last batch included")
                }
                Examples::Random => ("step", "a training step on 3×32×32 images"),
            };
            let name = format!("{kind}/{}/batch-{batch}", network.name);
            let row =
                Row::new(name, format!("{}: {what}", network.about), move |budget| match network.examples {
                    Examples::Mnist => epochs(network, batch, rate, budget),
                    Examples::Random => steps(network, batch, rate, budget),
                });
            rows.push(row.agreeing(Agreement::Losses { network, batch, rate }));
        }
    }
    let about = "a training step of LeNet-5, operation by operation instead of recorded";
    rows.push(Row::new("eager/lenet5/batch-64", about, |budget| eager(&NETWORKS[0], 64, 0.02, budget)));
    rows
}

/// Batches of an epoch of MNIST, as the trainer gets them.
pub(crate) fn epoch(batch: usize, epoch: u64) -> Result<Batches> {
    let [train, _] = mnist()?;
    let n = train.labels().len();
    Ok(Loader::new(train, batch).sampler(Shuffled::new(n, SEED)).ahead(32).epoch(epoch)?)
}

/// Seconds of whole epochs: shuffling, conversion, every step and its loss. Warming up and evaluating are apart.
pub(crate) fn epochs(network: &Network, batch: usize, rate: f64, budget: &Budget) -> Result<Found> {
    let [train, test] = mnist()?;
    let mut training = Training::new(network, rate);
    let began = Instant::now();
    // An epoch has two sizes of batch; both are recorded, and replayed; this trains a little, too.
    for size in [batch, train.labels().len() % batch].into_iter().filter(|size| *size > 0) {
        let [x, y] = examples(&train, 0, size)?;
        for _ in 0..3 {
            training.step(&x, &y)?;
        }
    }
    let warm_up = began.elapsed().as_secs_f64();
    let (mut samples, mut more) = (Vec::new(), BTreeMap::new());
    for e in 0..budget.epochs {
        let (start, mut loss_sum, mut correct) = (Instant::now(), 0.0, 0.0);
        for made in epoch(batch, u64::from(e))? {
            let [x, y] = made?.into_array();
            let [loss, right] = training.step(&x, &y)?;
            loss_sum += loss * x.size(0) as f64;
            correct += right;
        }
        samples.push(start.elapsed().as_secs_f64());
        let n = train.labels().len() as f64;
        more.insert("train_loss", loss_sum / n);
        more.insert("train_accuracy", correct / n);
    }
    let start = Instant::now();
    more.insert("test_accuracy", accuracy(&training.model, &test)?);
    more.insert("evaluation_s", start.elapsed().as_secs_f64());
    Ok(Found { samples, warm_up, more })
}

/// Images and labels of some examples in a row.
fn examples(data: &impl Dataset, from: usize, count: usize) -> Result<[Tensor; 2]> {
    let indices: Vec<usize> = (from..from + count).collect();
    let tensors = data.get(&indices)?;
    Ok([tensors[0].clone(), tensors[1].clone()])
}

/// The share of right answers, by a recorded step without derivatives.
fn accuracy(model: &Model, data: &impl Dataset) -> Result<f64> {
    let inside = model.clone();
    let mut step =
        Step::record(move |[x, y]: [Tensor; 2]| no_grad(|| inside.call(&x).argmax(1).eq(&y).sum()));
    model.eval();
    let (n, mut correct) = (data.len().unwrap_or_default(), 0.0);
    for from in (0..n).step_by(CHUNK) {
        let [x, y] = examples(data, from, CHUNK.min(n - from))?;
        correct += step.run([&x, &y])?.item();
    }
    model.train();
    Ok(correct / n as f64)
}

/// Seconds of a step that is not recorded.
fn eager(network: &Network, batch: usize, rate: f64, budget: &Budget) -> Result<Found> {
    let step = body((network.build)(&Rng::new(SEED)), rate);
    let [x, y] = examples(&mnist()?[0], 0, batch)?;
    repeat(budget, || Ok(step([x.clone(), y.clone()])))
}

/// Seconds of a step, on a few batches in turn.
fn steps(network: &Network, batch: usize, rate: f64, budget: &Budget) -> Result<Found> {
    let mut training = Training::new(network, rate);
    let batches: Vec<[Tensor; 2]> = (0..RANDOM_BATCHES).map(|i| random(batch, i)).collect();
    let mut next = 0;
    repeat(budget, || {
        let [x, y] = &batches[next % batches.len()];
        next += 1;
        training.step(x, y).map(drop)
    })
}
