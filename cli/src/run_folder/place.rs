//! Whose a folder is, before it is removed or another run takes its name.

use std::fs;
use std::path::{Path, PathBuf};

use super::{Kind, LAYERS, METRICS, METRICS_HEADER, STEPS, failed};
use crate::diagnostic::{Diagnostic, Exit};
use crate::shell;

const CHECKPOINTS: &str = "checkpoints";
const PLOTS: &str = "plots";

/// The name of a file that was being written when its process was killed: NAME of `.NAME.PID`.
pub(super) fn aside_of(name: &str) -> Option<&str> {
    let (name, pid) = name.strip_prefix('.')?.rsplit_once('.')?;
    (!pid.is_empty() && pid.bytes().all(|b| b.is_ascii_digit())).then_some(name)
}

/// Whether the program writes such a file into a run, in this folder of it; "" is the run itself.
fn is_own(inside: &str, name: &str) -> bool {
    const FILES: [&str; 10] = [
        ".lock",
        "config.toml",
        "run.json",
        METRICS,
        STEPS,
        LAYERS,
        "log.txt",
        "model.txt",
        "evaluation.json",
        "report.html",
    ];
    const DRAWN: [&str; 6] = ["loss", "accuracy", "macro-f1", "rate", "confusion", "mistakes"];
    let name = aside_of(name).unwrap_or(name);
    match inside {
        "" => FILES.contains(&name) || name.starts_with("events.out.tfevents."),
        CHECKPOINTS => [Kind::Last, Kind::Best].iter().any(|k| name == format!("{}.safetensors", k.name())),
        _ => match name.rsplit_once('.') {
            Some((stem, "svg")) => DRAWN.contains(&stem),
            Some((stem, "png")) => DRAWN.contains(&stem) || stem.starts_with("filters-"),
            _ => false,
        },
    }
}

/// The first thing in a folder that no run writes.
fn foreign(run: &Path) -> Result<Option<PathBuf>, Diagnostic> {
    for inside in ["", CHECKPOINTS, PLOTS] {
        let folder = run.join(inside);
        if !folder.is_dir() || folder.is_symlink() {
            continue;
        }
        for entry in fs::read_dir(&folder).map_err(failed("cannot read", &folder))? {
            let entry = entry.map_err(failed("cannot read", &folder))?;
            let (name, kind) =
                (entry.file_name(), entry.file_type().map_err(failed("cannot read", &folder))?);
            let known = name.to_str().is_some_and(|name| match kind.is_dir() {
                true => inside.is_empty() && [CHECKPOINTS, PLOTS].contains(&name),
                false => is_own(inside, name),
            });
            if !known {
                return Ok(Some(entry.path()));
            }
        }
    }
    Ok(None)
}

/// Whether a run began here: its figures have their header or are still empty, or its record says so.
pub(super) fn is_begun(run: &Path) -> bool {
    let begins = |name: &str, wanted: &str| {
        let start = cotangent_data::start(&run.join(name), 4096).unwrap_or_default();
        String::from_utf8_lossy(&start).contains(wanted)
    };
    let first = METRICS_HEADER.split(',').take(2).collect::<Vec<_>>().join(",");
    let is_empty = |name: &str| fs::metadata(run.join(name)).is_ok_and(|m| m.is_file() && m.len() == 0);
    begins(METRICS, &first)
        || (is_empty(METRICS) && is_empty(".lock"))
        || (begins("run.json", "\"status\"") && begins("run.json", "\"isa\""))
}

/// Refuses to remove what is not wholly a run's.
pub(crate) fn must_be_own(run: &Path) -> Result<(), Diagnostic> {
    let refused = |title: String| Err(Diagnostic::new(Exit::Usage, title));
    if !is_begun(run) {
        return refused(format!("{} is no run folder: no run began in it", run.display()));
    }
    let here = std::env::current_dir().and_then(fs::canonicalize);
    if let (Ok(here), Ok(run)) = (here, fs::canonicalize(run))
        && here.starts_with(&run)
    {
        return refused(format!("{} is where this command runs, and cannot be removed", run.display()))
            .map_err(|found| found.help("go to the folder above it, and name the run"));
    }
    match foreign(run)? {
        None => Ok(()),
        Some(file) => {
            refused(format!("{} is no file of a run, and would be lost", file.display())).map_err(|found| {
                found.help(format!("move it away; or remove all yourself: rm -r {}", shell::word(run)))
            })
        }
    }
}
