//! What a whole process costs: its memory and its start.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::networks::NETWORKS;
use crate::timing::{Budget, Found, repeat};
use crate::training::epochs;
use crate::{Error, Result, Row, Unit};

/// Images in a step of the row that measures memory.
const BATCH: usize = 64;

pub(crate) fn rows(program: Option<PathBuf>) -> Vec<Row> {
    let mut rows = Vec::new();
    if peak().is_ok() {
        let about = "most memory of this process after an epoch of LeNet-5 and an evaluation, data included";
        rows.push(Row::new("memory/lenet5/batch-64", about, |_| memory()).unit(Unit::Bytes));
    }
    if let Some(program) = program {
        let about = "`cotangent --version`, from start to exit";
        rows.push(Row::new("start-up/version", about, move |budget| start_up(&program, budget)));
    }
    rows
}

/// The most memory that this process ever had, in bytes.
fn peak() -> Result<f64> {
    const STATUS: &str = "/proc/self/status";
    let text = std::fs::read_to_string(STATUS).map_err(Error::io(format!("cannot read {STATUS}")))?;
    let kib = text
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix("kB")?.trim().parse().ok());
    let missing = || std::io::Error::other("no line VmHWM");
    kib.map(|kib: f64| kib * 1024.0).ok_or_else(missing).map_err(Error::io(format!("cannot use {STATUS}")))
}

/// Of an epoch with the evaluation after it. What ran before in the same process counts too, so this row is the first.
fn memory() -> Result<Found> {
    let batch = NETWORKS[0].batches.iter().find(|(batch, _)| *batch == BATCH);
    let (batch, rate) = batch.copied().unwrap_or(NETWORKS[0].batches[0]);
    let trained = epochs(&NETWORKS[0], batch, rate, &Budget { seconds: 0.0, epochs: 1 })?;
    Ok(Found { samples: vec![peak()?], warm_up: trained.warm_up, ..Found::default() })
}

fn start_up(program: &Path, budget: &Budget) -> Result<Found> {
    let words = format!("{} --version", program.display());
    repeat(budget, || {
        let status = Command::new(program).arg("--version").stdout(Stdio::null()).status();
        match status.map_err(Error::io(format!("cannot run `{words}`")))?.success() {
            true => Ok(()),
            false => Err(Error::Program(words.clone())),
        }
    })
}
