//! `cotangent summary`: what a network is made of, without running it.

use cotangent::nn::Summary;
use serde::Serialize;

use super::{defaults, named, trained};
use crate::console::Console;
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
    batch: u32,
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
    let batch = flags.batch as usize;
    // Nothing is computed, but a device that is not there is not passed over in silence.
    machine::device(defaults(global, None)?.device)?;
    let (name, summary) = match &flags.run {
        Some(path) => {
            let (_, checkpoint) = trained(path)?;
            (checkpoint.about.config.model, model::restore(&checkpoint, batch)?.1)
        }
        None => {
            let name = named(global, &flags.model)?;
            let shape = [1, cotangent_mnist::ROWS, cotangent_mnist::COLS];
            (name, model::build(name, shape, cotangent_mnist::CLASSES, 0, batch)?.1)
        }
    };
    if console.json() {
        console.print_json(&network(name.name(), flags.batch, &summary))?;
    } else {
        console.print(&summary.to_string())?;
    }
    Ok(Exit::Success)
}

fn network<'a>(model: &'a str, batch: u32, summary: &'a Summary) -> Network<'a> {
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
