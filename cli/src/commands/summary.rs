//! `cotangent summary`: what a network is made of, without running it.

use cotangent::nn::Summary;
use serde::Serialize;

use super::trained;
use crate::console::Console;
use crate::data::{Outline, outline};
use crate::diagnostic::{Diagnostic, Exit};
use crate::flags::{self, Global};
use crate::machine;
use crate::model;

/// One layer, for machines.
#[derive(Serialize)]
struct Layer<'a> {
    path: &'a str,
    layer: &'a str,
    output: &'a [usize],
    parameters: usize,
    macs: u64,
    stored_bytes: u64,
}

/// The whole network, for machines.
#[derive(Serialize)]
struct Network<'a> {
    model: &'a str,
    batch: usize,
    layers: Vec<Layer<'a>>,
    parameters: usize,
    macs: u64,
    stored_bytes: u64,
}

/// Shows the layers of a network, or of a checkpoint's.
pub(crate) fn run(
    flags: &flags::Summary,
    global: &Global,
    console: &mut Console,
) -> Result<Exit, Diagnostic> {
    let layers = flags.network.layers(global)?;
    let (config, _) = layers.merge()?;
    // Nothing is computed, but a device that is not there is not passed over in silence.
    machine::device(config.device)?;
    let checkpoint = flags.run.as_ref().map(|path| Ok::<_, Diagnostic>(trained(path)?.1)).transpose()?;
    let batch = flags.batch.map(|n| n as usize);
    let (name, batch, summary) = match checkpoint {
        Some(checkpoint) => {
            let config = &checkpoint.about.config;
            let batch = batch.unwrap_or(config.data.batch);
            (config.model, batch, model::restore(&checkpoint, batch)?.1)
        }
        None => {
            let Outline { shape, classes, train, .. } = outline(&config.data, config.seed)?;
            let batch = batch.unwrap_or(config.data.batch.min(train.max(1)));
            let architecture = (&config).into();
            let place = |problem| layers.place(&problem);
            let summary = model::outline(&architecture, &shape, classes, batch, &place)?;
            (model::suitable(config.model, &shape), batch, summary)
        }
    };
    if console.json() {
        console.print_json(&network(name.name(), batch, &summary))?;
    } else {
        console.print(&summary.to_string())?;
    }
    Ok(Exit::Success)
}

fn network<'a>(model: &'a str, batch: usize, summary: &'a Summary) -> Network<'a> {
    let layers = summary.rows.iter().map(|row| Layer {
        path: &row.path,
        layer: &row.layer,
        output: &row.output,
        parameters: row.parameters,
        macs: row.macs,
        stored_bytes: row.saved,
    });
    let (parameters, macs) = (summary.parameters, summary.macs);
    Network { model, batch, layers: layers.collect(), parameters, macs, stored_bytes: summary.saved }
}
