//! Whose a folder is, before it is removed or another run takes its place.

use std::fs;
use std::path::{Path, PathBuf};

use super::{LAYERS, METRICS, METRICS_HEADER, STEPS, failed};
use crate::diagnostic::{Diagnostic, Exit};
use crate::shell;

/// Whether a file of this name was being written when its process was killed: `.NAME.PID`.
pub(super) fn is_aside(name: &str) -> bool {
    let digits = name.strip_prefix('.').and_then(|rest| rest.rsplit_once('.')).map(|(_, pid)| pid);
    digits.is_some_and(|pid| !pid.is_empty() && pid.bytes().all(|b| b.is_ascii_digit()))
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
    let ends = |ends: &[&str]| ends.iter().any(|end| name.ends_with(end));
    is_aside(name)
        || match inside {
            "" => FILES.contains(&name) || name.starts_with("events.out.tfevents."),
            "checkpoints" => ends(&[".safetensors"]),
            "plots" => ends(&[".svg", ".png"]),
            _ => ends(&[".onnx", ".safetensors", ".npz"]),
        }
}

/// The first thing in a folder that no run writes.
fn foreign(run: &Path) -> Result<Option<PathBuf>, Diagnostic> {
    for inside in ["", "checkpoints", "plots", "export"] {
        let folder = run.join(inside);
        if !folder.is_dir() || folder.is_symlink() {
            continue;
        }
        for entry in fs::read_dir(&folder).map_err(failed("cannot read", &folder))? {
            let entry = entry.map_err(failed("cannot read", &folder))?;
            let (name, kind) =
                (entry.file_name(), entry.file_type().map_err(failed("cannot read", &folder))?);
            let known = name.to_str().is_some_and(|name| match kind.is_dir() {
                true => inside.is_empty() && ["checkpoints", "plots", "export"].contains(&name),
                false => is_own(inside, name),
            });
            if !known {
                return Ok(Some(entry.path()));
            }
        }
    }
    Ok(None)
}

/// Whether a run began here: its figures have their header, or its record says so.
fn is_begun(run: &Path) -> bool {
    let begins = |name: &str, wanted: &str| {
        let start = cotangent_data::start(&run.join(name), 4096).unwrap_or_default();
        String::from_utf8_lossy(&start).contains(wanted)
    };
    let first = METRICS_HEADER.split(',').take(2).collect::<Vec<_>>().join(",");
    begins(METRICS, &first) || (begins("run.json", "\"status\"") && begins("run.json", "\"isa\""))
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

/// A run that another one replaces: kept aside until that one has a checkpoint, and put back if it never has.
#[derive(Debug)]
pub(super) struct Replaced {
    place: PathBuf,
    aside: Option<PathBuf>,
}

impl Replaced {
    /// Puts the run of this folder aside.
    pub(super) fn new(place: &Path) -> Result<Self, Diagnostic> {
        let name = place.file_name().unwrap_or_default().to_string_lossy();
        let aside = place.with_file_name(format!(".{name}.{}", std::process::id()));
        fs::rename(place, &aside).map_err(failed("cannot replace", place))?;
        Ok(Replaced { place: place.to_path_buf(), aside: Some(aside) })
    }

    /// The new run has something to go on with: the old one is removed.
    pub(super) fn settle(mut self) -> Result<(), Diagnostic> {
        let aside = self.aside.take().unwrap_or_default();
        fs::remove_dir_all(&aside).map_err(failed("cannot remove", &aside))
    }
}

impl Drop for Replaced {
    fn drop(&mut self) {
        if let Some(aside) = self.aside.take() {
            // If this fails the old run is still aside, whole.
            let _ = fs::remove_dir_all(&self.place).and_then(|()| fs::rename(&aside, &self.place));
        }
    }
}
