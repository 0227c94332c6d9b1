//! `cotangent report`: plots and `report.html` of a run, made again from what its folder holds.

use std::path::PathBuf;

use clap::Args;
use cotangent_board::plot;
use cotangent_board::runs::Run;
use serde_json::json;

use crate::checkpoint::Checkpoint;
use crate::chronicle;
use crate::console::Console;
use crate::data;
use crate::diagnostic::{Diagnostic, Exit};
use crate::drawing;
use crate::model;
use crate::run_folder::{self, Kind, write_unsynced};

/// `cotangent report`
#[derive(Args, Debug)]
#[command(after_help = AFTER)]
pub(crate) struct Flags {
    /// A run folder, finished or not
    #[arg(default_value = "runs/latest")]
    run: PathBuf,
}

const AFTER: &str = "\
The page needs no network and no scripts: it can be sent by mail, and printed.

Examples:
  cotangent report
  cotangent report runs/lenet5-mnist-001 --json";

/// Makes the report.
pub(crate) fn run(flags: &Flags, console: &mut Console) -> Result<Exit, Diagnostic> {
    let folder = run_folder::folder(&flags.run)?;
    let run = Run::read(&folder);
    let plots = run_folder::make_plots(&folder)?;
    if let Some(found) = &run.evaluation {
        let table = plot::confusion(&found.classes, &found.confusion);
        drawing::beside(&plots, "confusion", &table)?;
    }
    // The filters are those of the newest weights, where there are any.
    if let Ok(checkpoint) =
        run_folder::find(&folder, Kind::Last).and_then(|f| Checkpoint::read(&f.checkpoint))
    {
        let shape = data::sides(model::input_shape(&checkpoint.about)?);
        let state: Vec<_> = model::tensors(checkpoint.model())?.into_iter().collect();
        if let Some((layer, tiles)) = chronicle::filters(&state, shape) {
            write_unsynced(&plots.join(format!("filters-{layer}.png")), &chronicle::sheet(&tiles))?;
        }
    }
    let page = chronicle::draw(&folder, &run)?;
    match console.json() {
        true => console.print_json(&json!({ "report": page, "damage": run.damage }))?,
        false => console.print(&page.display().to_string())?,
    }
    for what in &run.damage {
        console.say(&format!("note: {what}"));
    }
    Ok(Exit::Success)
}
