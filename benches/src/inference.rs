//! LeNet-5 forward: a recorded step without derivatives.

use cotangent::nn::{Call, ParametersExt};
use cotangent::{Rng, Step, Tensor, no_grad};

use crate::agree::Agreement;
use crate::networks::NETWORKS;
use crate::timing::{Budget, Found, repeat};
use crate::training::SEED;
use crate::{Model, Result, Row};

/// Images at once.
const BATCHES: [usize; 3] = [1, 64, 1024];

pub(crate) fn rows() -> Vec<Row> {
    let row = |batch| {
        let about = "LeNet-5 forward, on images that are there";
        let row = Row::new(format!("infer/lenet5/batch-{batch}"), about, move |budget| infer(batch, budget));
        row.agreeing(Agreement::Logits { batch })
    };
    BATCHES.map(row).into()
}

/// LeNet-5 with its first parameters, evaluating.
pub(crate) fn network() -> Model {
    let model = (NETWORKS[0].build)(&Rng::new(SEED));
    model.eval();
    model
}

/// Random images.
pub(crate) fn images(batch: usize) -> Tensor {
    Tensor::randn([batch, 1, 28, 28], &Rng::stream(SEED, 2))
}

/// Images → logits.
pub(crate) fn step(model: Model) -> Step<1, Tensor> {
    Step::record(move |[x]: [Tensor; 1]| no_grad(|| model.call(&x)))
}

fn infer(batch: usize, budget: &Budget) -> Result<Found> {
    let (mut step, x) = (step(network()), images(batch));
    let mut found = repeat(budget, || Ok(step.run([&x])?))?;
    let mut sorted = found.samples.clone();
    sorted.sort_by(f64::total_cmp);
    found.more.insert("images_per_s", batch as f64 / crate::timing::quantile(&sorted, 0.5));
    Ok(found)
}
