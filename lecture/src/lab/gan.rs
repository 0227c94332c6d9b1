//! A generative adversarial network on the line (row A11): two players, two optimisers.

use cotangent::{
    Rng, Tensor,
    models::Mlp,
    nn::{Call, ParametersExt},
    optim::Adam,
};
use serde::Serialize;

use super::curve;
use crate::problem::logistic;

/// What became of the generator.
#[derive(Clone, Debug, Serialize)]
pub struct Gan {
    /// The mean of the data.
    pub data: f64,
    /// The generator's mean before training.
    pub before: f64,
    /// The generator's mean over the last quarter of the steps.
    pub after: f64,
    /// The generator's mean after each step.
    pub means: Vec<f64>,
}

/// What became of several generators.
#[derive(Clone, Debug, Serialize)]
pub struct Gans {
    /// The mean of the data.
    pub data: f64,
    /// The generators' mean before training.
    pub before: f64,
    /// Their means over the last quarter of the steps: the mean over seeds.
    pub after: f64,
    /// The standard deviation of that over seeds.
    pub spread: f64,
    /// Step, mean, spread, forty times along the way.
    pub curve: Vec<[f64; 3]>,
}

/// [`gan`] with so many seeds from `seed` on.
pub fn gans(seed: u64, seeds: u64, steps: usize) -> Gans {
    let runs: Vec<Gan> = (0..seeds).map(|i| gan(seed.wrapping_add(i), steps)).collect();
    let ends: Vec<Vec<f64>> = runs.iter().map(|g| vec![g.after]).collect();
    let [_, after, spread] = curve(&ends, 1.0).first().copied().unwrap_or_default();
    let every = (steps / 40).max(1);
    let means: Vec<Vec<f64>> = runs
        .iter()
        .map(|g| {
            [g.before].into_iter().chain(g.means.iter().skip(every - 1).step_by(every).copied()).collect()
        })
        .collect();
    Gans { data: 3.0, before: 0.0, after, spread, curve: curve(&means, every as f64) }
}

/// `G(z) = μ + s·z` against a small perceptron `D`, on data from N(3, 1).
///
/// `D` sees generated numbers detached, so that its step moves `D` alone; `G`'s step goes through `D` and moves `G` alone.
pub fn gan(seed: u64, steps: usize) -> Gan {
    let rng = Rng::new(seed);
    let generator = (
        cotangent::Param::new(Tensor::zeros([1])), // μ
        cotangent::Param::new(Tensor::ones([1])),  // s
    );
    let judge = Mlp::new(&[1, 16, 1], &rng);
    let (for_generator, for_judge) = (Adam::new(0.02), Adam::new(0.02));
    let batch = 64;
    let make = |rng: &Rng| generator.0.get() + generator.1.get() * Tensor::randn([batch, 1], rng);
    let surprise = |m: Tensor| logistic(&m);
    let before = generator.0.value().to_vec::<f64>()[0];
    let mut means = Vec::new();
    for _ in 0..steps {
        let (data, fake) = (Tensor::randn([batch, 1], &rng) + 3.0, make(&rng).detach());
        let loss = surprise(judge.call(&data)).mean() + surprise(-judge.call(&fake)).mean();
        for_judge.step(&judge, &loss.backward());
        judge.freeze(true);
        let loss = surprise(judge.call(&make(&rng))).mean();
        for_generator.step(&generator, &loss.backward());
        judge.freeze(false);
        means.push(generator.0.value().to_vec::<f64>()[0]);
    }
    let last = &means[means.len() - (means.len() / 4).clamp(1, means.len().max(1))..];
    Gan { data: 3.0, before, after: last.iter().sum::<f64>() / last.len() as f64, means }
}
