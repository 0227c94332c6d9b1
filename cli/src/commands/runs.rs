//! `cotangent runs`: what lies in the folder of runs.

use std::fs;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use cotangent_board::compare::columns;
use cotangent_board::runs::{self, Run};
use serde_json::{Value, json};

use crate::console::{Console, folded};
use crate::diagnostic::{Diagnostic, Exit};
use crate::numerals::{duration, percent};
use crate::run_folder::{self, RunFolder};
use crate::shell;

/// `cotangent runs`
#[derive(Args, Debug)]
#[command(after_help = AFTER)]
pub(crate) struct Flags {
    /// What to do with them.
    #[command(subcommand)]
    command: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// A line for each run
    #[command(after_help = AFTER)]
    List {
        /// The folder that holds the run folders
        #[arg(default_value = "runs")]
        out: PathBuf,
    },
    /// Everything about a run
    #[command(after_help = AFTER)]
    Show {
        /// A run folder
        #[arg(default_value = "runs/latest")]
        run: PathBuf,
    },
    /// Remove runs, checkpoints and all; a run that is being trained stays
    #[command(after_help = AFTER)]
    Rm {
        /// Run folders
        #[arg(required = true, value_name = "RUN")]
        runs: Vec<PathBuf>,
    },
}

const AFTER: &str = "\
Examples:
  cotangent runs list
  cotangent runs show runs/lenet5-mnist-001
  cotangent runs list --json | jq -r 'select(.test_acc < 0.9) | .path'
  cotangent runs rm runs/lenet5-mnist-001";

/// Does what was asked.
pub(crate) fn run(flags: &Flags, console: &mut Console) -> Result<Exit, Diagnostic> {
    match &flags.command {
        Verb::List { out } => list(out, console),
        Verb::Show { run } => show(run, console),
        Verb::Rm { runs } => remove(runs, console),
    }
}

/// A run as one JSON object.
pub(super) fn object(run: &Run) -> Value {
    json!({
        "name": run.name,
        "path": run.path,
        "status": run.status(),
        "epochs": run.last("epoch").map(|x| x as u64),
        "test_acc": run.last("test_acc"),
        "best_test_acc": run.greatest("test_acc"),
        "test_macro_f1": run.last("test_macro_f1"),
        "test_balanced_acc": run.last("test_balanced_acc"),
        "val_acc": run.last("val_acc"),
        "test_loss": run.last("test_loss"),
        "train_loss": run.last("train_loss"),
        "train_seconds": run.seconds(),
        "started": run.record.get("started"),
        "damage": run.damage,
    })
}

fn list(out: &Path, console: &mut Console) -> Result<Exit, Diagnostic> {
    let found = runs::list(out).map_err(|e| {
        Diagnostic::io(Exit::Data, "cannot read", out, &e)
            .help("`cotangent train` makes runs in the folder `runs`")
    })?;
    let latest = runs::latest(out);
    let all: Vec<Run> = found.iter().map(|path| Run::outline(path)).collect();
    if console.json() {
        all.iter().try_for_each(|run| console.print_json(&object(run)))?;
        return Ok(Exit::Success);
    }
    if all.is_empty() {
        console.say(&format!("no runs in {}; `cotangent train` makes one", out.display()));
        return Ok(Exit::Success);
    }
    let head = ["run", "status", "epochs", "test acc", "best", "time", "started"];
    let mut rows: Vec<Vec<String>> = vec![head.map(String::from).to_vec()];
    rows.extend(all.iter().map(|run| {
        let or = |x: Option<f64>, f: fn(f64) -> String| x.map_or_else(|| "–".to_string(), f);
        let name =
            if latest.as_ref() == Some(&run.name) { format!("{} *", run.name) } else { run.name.clone() };
        vec![
            name,
            run.status().replace('_', " "),
            or(run.last("epoch"), |x| x.to_string()),
            or(run.last("test_acc"), percent),
            or(run.greatest("test_acc"), percent),
            or(run.seconds(), |x| duration(std::time::Duration::try_from_secs_f64(x).unwrap_or_default())),
            run.text("started").chars().take(16).collect::<String>().replace('T', " "),
        ]
    }));
    console.print(&columns(&rows, console.columns()))?;
    if all.iter().any(|run| latest.as_ref() == Some(&run.name)) {
        console.say("* the latest");
    }
    for run in all.iter().filter(|run| !run.damage.is_empty()) {
        console.say(&format!("note: {}: {}", run.path.display(), run.damage.join("; ")));
    }
    Ok(Exit::Success)
}

fn show(path: &Path, console: &mut Console) -> Result<Exit, Diagnostic> {
    let run = Run::read(&run_folder::folder(path)?);
    if console.json() {
        let mut all = object(&run);
        let rows = |table: &runs::Table| -> Vec<Value> {
            let row = |row: &Vec<f64>| {
                let cells = table.columns.iter().cloned().zip(row.iter().map(|x| json!(x)));
                Value::Object(cells.collect())
            };
            table.rows.iter().map(row).collect()
        };
        all["record"] = Value::Object(run.record.clone());
        all["settings"] = Value::Object(run.settings().into_iter().map(|(k, v)| (k, json!(v))).collect());
        all["metrics"] = json!(rows(&run.epochs));
        console.print_json(&all)?;
        return Ok(Exit::Success);
    }
    let mut text = format!("{}  {}\n", run.path.display(), run.status().replace('_', " "));
    let mut facts: Vec<Vec<String>> = Vec::new();
    for (key, value) in run.record.iter().filter(|(key, value)| *key != "status" && !value.is_null()) {
        facts.push(vec![format!("  {}", key.replace('_', " ")), runs::words(value)]);
    }
    let width = facts.iter().map(|f| f[0].chars().count()).max().unwrap_or(0);
    for fact in facts {
        let line = format!("{:width$}  {}\n", fact[0], fact[1]);
        text.push_str(&if console.columns().is_some() { folded(&line, width + 2) } else { line });
    }
    let shown: Vec<usize> = (0..run.epochs.columns.len())
        .filter(|i| run.epochs.columns[*i] != "step" && !run.epochs.columns[*i].ends_with("_balanced_acc"))
        .filter(|i| run.epochs.rows.iter().any(|row| row[*i].is_finite()))
        .collect();
    if !run.epochs.rows.is_empty() {
        let named = |i: &usize| run.epochs.columns[*i].replace("macro_f1", "F1").replace('_', " ");
        let head = shown.iter().map(|i| named(i).replace("train seconds", "time"));
        let mut rows: Vec<Vec<String>> = vec![head.collect()];
        rows.extend(run.epochs.rows.iter().map(|row| {
            let cell = |i: &usize| match (run.epochs.columns[*i].as_str(), row[*i]) {
                ("epoch", x) => format!("  {x}"),
                (_, x) if !x.is_finite() => "–".into(),
                ("train_seconds", x) => {
                    duration(std::time::Duration::try_from_secs_f64(x).unwrap_or_default())
                }
                ("lr", x) => format!("{x:.2e}"),
                (name, x) if name.ends_with("_acc") || name.ends_with("_f1") => percent(x),
                (_, x) => format!("{x:.4}"),
            };
            shown.iter().map(cell).collect()
        }));
        text.push('\n');
        text.push_str(&columns(&rows, console.columns()));
    }
    console.print(&text)?;
    for what in &run.damage {
        console.say(&format!("note: {what}"));
    }
    Ok(Exit::Success)
}

fn remove(paths: &[PathBuf], console: &mut Console) -> Result<Exit, Diagnostic> {
    // All are looked at before one is removed.
    let mut found = Vec::new();
    for path in paths {
        // Without a slash at the end, behind which a link is not seen as one.
        let path: &PathBuf = &path.components().collect();
        let folder = run_folder::folder(path)?;
        if path.file_name().is_none() {
            let title = format!("{} is no name of a run", path.display());
            return Err(Diagnostic::new(Exit::Usage, title).help("such as `cotangent runs rm runs/mine`"));
        }
        if path.is_symlink() && path.file_name().is_none_or(|n| n != runs::LATEST) {
            let title = format!("{} is a link, and a run is removed by its own name", path.display());
            let real = fs::canonicalize(path).unwrap_or(folder);
            let help = format!("cotangent runs rm {}", shell::word(&real));
            return Err(Diagnostic::new(Exit::Usage, title).help(help));
        }
        run_folder::must_be_own(&folder)?;
        if found.iter().all(|(known, _)| *known != folder) {
            // A lock that another process holds is an error; this one is held until the folder is gone.
            found.push((folder.clone(), RunFolder::open(folder)?));
        }
    }
    for (folder, _held) in found {
        let failed = |e| Diagnostic::io(Exit::Failure, "cannot remove", &folder, &e);
        fs::remove_dir_all(&folder).map_err(failed)?;
        run_folder::forget(&folder);
        match console.json() {
            true => console.print_json(&json!({ "removed": folder }))?,
            false => console.say(&format!("removed {}", folder.display())),
        }
    }
    Ok(Exit::Success)
}
