//! The commands, one a file.

pub(crate) mod bench;
pub(crate) mod book;
pub(crate) mod compare;
pub(crate) mod completions;
pub(crate) mod config;
pub(crate) mod dashboard;
pub(crate) mod data;
pub(crate) mod devices;
pub(crate) mod doctor;
pub(crate) mod eval;
pub(crate) mod explain;
pub(crate) mod export;
pub(crate) mod gradcheck;
pub(crate) mod import;
pub(crate) mod lab;
pub(crate) mod lr_find;
pub(crate) mod man;
pub(crate) mod plan;
pub(crate) mod predict;
pub(crate) mod report;
pub(crate) mod runs;
pub(crate) mod summary;
pub(crate) mod train;
pub(crate) mod why;

use std::path::Path;

use cotangent::Device;

use crate::checkpoint::Checkpoint;
use crate::config::Config;
use crate::config::layers::Layers;
use crate::diagnostic::{Diagnostic, Exit};
use crate::flags::Global;
use crate::machine;
use crate::run_folder::{self, Found, Kind};

/// The checkpoint that a user means to use: the best, or the last where there is no best one yet.
fn trained(path: &Path) -> Result<(Found, Checkpoint), Diagnostic> {
    let found = run_folder::find(path, Kind::Best).or_else(|_| run_folder::find(path, Kind::Last))?;
    let mut checkpoint = Checkpoint::read(&found.checkpoint)?;
    checkpoint.about.config.resolve().map_err(|problem| {
        let title = format!("{}: {}", found.checkpoint.display(), problem.title);
        Diagnostic::new(Exit::Data, title).help(problem.help)
    })?;
    Ok((found, checkpoint))
}

/// Defaults with the flags of every command.
fn defaults(global: &Global) -> Result<Config, Diagnostic> {
    let mut layers = Layers::default();
    if let Some(device) = &global.device {
        layers.flag("--device", "device", device.as_str(), device)?;
    }
    if let Some(threads) = global.threads {
        layers.flag("--threads", "threads", i64::from(threads), &threads.to_string())?;
    }
    Ok(layers.merge()?.0)
}

/// Where to compute, and on how many threads.
fn place(global: &Global) -> Result<(Device, usize), Diagnostic> {
    let config = defaults(global)?;
    Ok((machine::device(config.device)?, machine::threads(config.threads)))
}

/// A file that is there already is written over with `--force` alone.
fn must_be_free(path: &Path, force: bool) -> Result<(), Diagnostic> {
    if force || path.symlink_metadata().is_err() {
        return Ok(());
    }
    let title = format!("{} exists already, and is not written over", path.display());
    Err(Diagnostic::new(Exit::Usage, title).help("choose another name with `-o`, or add `--force`"))
}
