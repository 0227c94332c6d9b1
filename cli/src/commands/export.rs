//! `cotangent export`: a trained network for other programs.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use cotangent_interchange::{Array, Format, Numbers, Tensors, npz, onnx, safetensors};
use serde_json::{Value, json};

use super::{must_be_free, trained};
use crate::checkpoint::About;
use crate::console::Console;
use crate::diagnostic::{Diagnostic, Exit};
use crate::graph;
use crate::model::{self, Model};
use crate::numerals::count;
use crate::run_folder::write_file;

/// `cotangent export`
#[derive(Args, Debug)]
#[command(after_help = AFTER)]
pub(crate) struct Flags {
    /// A run folder, of which the best checkpoint is taken, or a checkpoint
    run: PathBuf,
    /// What to write: onnx (the network), safetensors, npz (its weights); by default as -o ends, else onnx
    #[arg(long, value_name = "FORMAT", hide_possible_values = true)]
    format: Option<FormatName>,
    /// Where it goes; by default a file here with the run's name
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Write over a file that is there already
    #[arg(long)]
    force: bool,
}

const AFTER: &str = "\
ONNX holds the whole network. Its input is what files hold, such as levels
from 0 to 255: normalisation is the first part of the graph. Its output are
logits; their softmax is what `predict` shows. The batch may have any size.
safetensors and NPZ hold the network's tensors under PyTorch's names and
nothing of the optimiser.

Examples:
  cotangent export runs/latest -o digits.onnx
  cotangent export runs/latest --format npz
  cotangent export runs/latest/checkpoints/last.safetensors --force -o w.npz";

/// A format on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum FormatName {
    Onnx,
    Safetensors,
    Npz,
}

impl From<FormatName> for Format {
    fn from(name: FormatName) -> Self {
        match name {
            FormatName::Onnx => Format::Onnx,
            FormatName::Safetensors => Format::Safetensors,
            FormatName::Npz => Format::Npz,
        }
    }
}

/// Writes the file.
pub(crate) fn run(flags: &Flags, console: &mut Console) -> Result<Exit, Diagnostic> {
    let format = match (flags.format, &flags.output) {
        (Some(name), _) => name.into(),
        (None, None) => Format::Onnx,
        (None, Some(path)) => Format::of(path).ok_or_else(|| {
            let title = format!("{} does not end as a file of a format that is written", path.display());
            Diagnostic::new(Exit::Usage, title)
                .help("end it with .onnx, .safetensors or .npz, or name one with `--format`")
        })?,
    };
    let (found, checkpoint) = trained(&flags.run)?;
    // Two examples: a batch norm of one pixel has nothing to normalise in one.
    let (network, summary) = model::restore(&checkpoint, 2)?;
    let about = &checkpoint.about;
    let file = match &flags.output {
        Some(path) => path.clone(),
        None => {
            let run = found.run.as_deref().and_then(|run| run.file_name());
            let name = run.or(found.checkpoint.file_stem()).unwrap_or_default();
            PathBuf::from(format!("{}.{format}", name.to_string_lossy()))
        }
    };
    must_be_free(&file, flags.force)?;
    let tensors = tensors(&network)?;
    let description = described(about).to_string();
    let bytes = match format {
        Format::Onnx => graph::draw(about, &tensors, &description)?,
        Format::Safetensors => safetensors::write(&tensors, Some(("network", &description)))?,
        Format::Npz => npz::write(&tensors)?,
    };
    write_file(&file, &bytes)?;
    if console.json() {
        console.print_json(&json!({
            "file": file, "format": format.name(), "checkpoint": found.checkpoint, "bytes": bytes.len(),
            "tensors": tensors.len(), "parameters": summary.parameters, "network": described(about),
        }))?;
        return Ok(Exit::Success);
    }
    console.print(&file.display().to_string())?;
    let classes = about.classes.len();
    let sizes: String = about.input_shape.iter().map(|n| format!(", {n}")).collect();
    console.say(&match format {
        Format::Onnx => format!(
            "  ONNX, operators of version {}: {} [batch{sizes}] → {} [batch, {classes}]",
            onnx::OPSET,
            graph::INPUT,
            graph::OUTPUT
        ),
        _ => format!("  {} tensors, {} parameters", tensors.len(), count(summary.parameters as u64)),
    });
    Ok(Exit::Success)
}

/// The network's tensors by name.
fn tensors(network: &Model) -> Result<Tensors, Diagnostic> {
    use cotangent::nn::ParametersExt;
    let all = network.state_dict().into_iter().map(|(name, t)| {
        let numbers = match t.dtype().is_float() {
            true => Numbers::Real(t.try_to_vec::<f32>()?),
            false => Numbers::Whole(t.try_to_vec::<i64>()?),
        };
        Ok((name, Array { shape: t.shape().to_vec(), numbers }))
    });
    all.collect()
}

/// What a program that runs the network must know of it.
fn described(about: &About) -> Value {
    let mut network = json!({
        "model": about.config.model, "input_shape": about.input_shape, "classes": about.classes,
        "normalisation": about.normalisation,
    });
    if !about.features.is_empty() {
        network["features"] = json!(about.features);
    }
    if !about.config.layers.is_empty() {
        network["layers"] = json!(about.config.layers);
    }
    network
}
