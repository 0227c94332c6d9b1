//! `cotangent compare`: runs beside each other.

use std::path::PathBuf;

use clap::Args;
use cotangent_board::compare;
use cotangent_board::runs::Run;
use serde_json::{Value, json};

use super::runs::object;
use crate::console::Console;
use crate::diagnostic::{Diagnostic, Exit};
use crate::drawing::must_be_its_kind;
use crate::run_folder::{self, write_unsynced};

/// `cotangent compare`
#[derive(Args, Debug)]
#[command(after_help = AFTER)]
pub(crate) struct Flags {
    /// Run folders
    #[arg(required = true, num_args = 2.., value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// Where the page with the curves goes; by default compare.html beside the first run
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

const AFTER: &str = "\
Shows figures and the settings that differ, and writes one page with the
curves over each other.

Examples:
  cotangent compare runs/lenet5-mnist-001 runs/lenet5-mnist-002
  cotangent compare runs/lr-* -o rates.html
  cotangent compare runs/a runs/b --json | jq .settings";

/// Compares runs.
pub(crate) fn run(flags: &Flags, console: &mut Console) -> Result<Exit, Diagnostic> {
    let folders = flags.runs.iter().map(|path| run_folder::folder(path)).collect::<Result<Vec<_>, _>>()?;
    let runs: Vec<Run> = folders.iter().map(|path| Run::outline(path)).collect();
    let output = flags.output.clone().unwrap_or_else(|| folders[0].with_file_name("compare.html"));
    let page = compare::html(&runs);
    must_be_its_kind(&output, &page.as_bytes()[..page.len().min(5)])?;
    // The table is shown, also where the page cannot be written.
    let written = write_unsynced(&output, page.as_bytes());
    let found = compare::compare(&runs);
    if console.json() {
        let settings = found.settings.iter().map(|(key, values)| (key.clone(), json!(values)));
        console.print_json(&json!({
            "runs": runs.iter().map(object).collect::<Vec<_>>(),
            "settings": settings.collect::<serde_json::Map<String, Value>>(),
            "page": output,
        }))?;
    } else {
        console.print(&found.text(console.columns()))?;
    }
    written?;
    if !console.json() {
        console.say(&format!("\n{}", output.display()));
    }
    for run in runs.iter().filter(|run| !run.damage.is_empty()) {
        console.say(&format!("note: {}: {}", run.path.display(), run.damage.join("; ")));
    }
    Ok(Exit::Success)
}
