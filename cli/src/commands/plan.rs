//! `cotangent plan`: how the step that `train` runs is compiled, without running it.

use std::sync::Arc;

use cotangent::nn::ParametersExt;
use cotangent::optim::Optimizer;
use cotangent::{DType, Spec, Tensor, attempt};

use crate::config::Config;
use crate::console::{Console, folded};
use crate::data::{Outline, outline};
use crate::diagnostic::{Diagnostic, Exit};
use crate::evaluation::{CHUNK, Evaluator};
use crate::flags::{self, Global};
use crate::machine;
use crate::model::{self, Model};
use crate::rate;
use crate::trainer::{self, Manner};

/// Shows what a recorded step does.
pub(crate) fn run(flags: &flags::Plan, global: &Global, console: &mut Console) -> Result<Exit, Diagnostic> {
    let layers = flags.settings.layers(global)?;
    let (config, origins) = layers.merge()?;
    for line in config.listing(&origins) {
        console.detail(&line);
    }
    let device = machine::device(config.device)?;
    let plan = machine::with_threads(machine::threads(config.threads), || {
        let Outline { shape, classes, train, test } = outline(&config.data, config.seed)?;
        let (batch, there) = match (flags.inference, flags.settings.batch) {
            (false, _) => (config.data.batch, train),
            (true, Some(_)) => (config.data.batch, test),
            (true, None) => (CHUNK, test),
        };
        let batch = batch.min(there);
        let place = |problem| layers.place(&problem);
        let (network, _) = model::build_at(&(&config).into(), &shape, classes, config.seed, batch, &place)?;
        network.to_device(&device);
        let images: Vec<usize> = [batch].into_iter().chain(shape).collect();
        let zeros = |shape: &[usize], dtype| {
            Tensor::constant(&Spec { shape: shape.into(), dtype, device: device.clone() }, 0)
        };
        let (x, y) = (zeros(&images, DType::F32), zeros(&[batch], DType::I64));
        match flags.inference {
            true => Evaluator::new(&network, &device).plan(&x, &y),
            false => training(&network, &config, &x, &y),
        }
    })?;
    match console.json() {
        true => console.print(&plan.json())?,
        false => console.print(&folded(&plan.to_string(), 14))?,
    }
    Ok(Exit::Success)
}

/// The plan of the step that fits.
fn training(model: &Model, config: &Config, x: &Tensor, y: &Tensor) -> Result<cotangent::Plan, Diagnostic> {
    let optimizer: Arc<dyn Optimizer> = rate::optimizer(&config.optim).into();
    let mut step = trainer::recorded(model, &optimizer, &Manner::new(config, None));
    Ok(attempt(|| step.plan([x, y]))?)
}
