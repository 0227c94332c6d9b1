//! One folder per run, numbered, never overwritten, that explains itself.
//!
//! ```text
//! runs/lenet5-mnist-001/
//!   config.toml  run.json  metrics.csv  steps.csv  layers.csv  evaluation.json  log.txt  model.txt
//!   events.out.tfevents.…  checkpoints/{last,best}.safetensors  plots/  report.html
//! runs/latest -> lenet5-mnist-001
//! ```

mod place;

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::diagnostic::{Diagnostic, Exit, nearest};
use crate::events::{Figures, Status, Stride};
use crate::shell;

pub(crate) use place::must_be_own;
use place::{aside_of, is_begun};

/// The name under `runs/` that leads to the newest run.
const LATEST: &str = "latest";
const METRICS: &str = "metrics.csv";
const METRICS_HEADER: &str = "epoch,step,lr,train_seconds,train_loss,train_acc,val_loss,val_acc,test_loss,test_acc,\
     val_macro_f1,val_balanced_acc,test_macro_f1,test_balanced_acc\n";

const STEPS: &str = "steps.csv";
const STEPS_HEADER: &str = "step,epoch,lr,loss,acc,examples_per_second\n";

const LAYERS: &str = cotangent_board::runs::LAYERS;
const LAYERS_HEADER: &str = cotangent_board::runs::LAYERS_HEADER;

/// Which of a run's checkpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The newest.
    Last,
    /// The one with the lowest validation loss; without validation the same as the last.
    Best,
}

impl Kind {
    /// `last` or `best`.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Kind::Last => "last",
            Kind::Best => "best",
        }
    }
}

/// `run.json`: where a run stands, and on what it ran.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// How it goes.
    pub(crate) status: Status,
    /// Why it ended otherwise than finished, in one line.
    pub(crate) reason: Option<String>,
    /// The program's version.
    pub(crate) version: String,
    /// When the process began, in UTC.
    pub(crate) started: String,
    /// When it ended.
    pub(crate) ended: Option<String>,
    /// The process.
    pub(crate) pid: u32,
    /// The words of the command line.
    #[serde(default)]
    pub(crate) command: Vec<String>,
    /// The commit that is checked out where the process began, if git is there and knows one.
    #[serde(default)]
    pub(crate) git: Option<String>,
    /// The machine's operating system and processor family.
    pub(crate) host: String,
    /// The device's name.
    pub(crate) device: String,
    /// The instruction set of the kernels: bits are promised for the same one.
    pub(crate) isa: String,
    /// What the processor can do beyond the least of its family.
    #[serde(default)]
    pub(crate) features: Vec<String>,
    /// Worker threads.
    pub(crate) threads: usize,
    /// Everything random follows from it.
    pub(crate) seed: u64,
    /// Complete epochs.
    pub(crate) epochs: u64,
    /// Optimiser steps.
    pub(crate) step: u64,
    /// Accuracy on the test examples after the last complete epoch.
    pub(crate) test_acc: Option<f64>,
    /// Loss on them.
    pub(crate) test_loss: Option<f64>,
    /// SHA-256 of the final weights.
    pub(crate) fingerprint: Option<String>,
}

/// An open run folder; no other process can open it meanwhile.
#[derive(Debug)]
pub(crate) struct RunFolder {
    path: PathBuf,
    metrics: File,
    steps: File,
    layers: File,
    log: File,
    /// Whether its run goes on, instead of beginning.
    resumed: bool,
    /// Held for its lock.
    _lock: File,
    /// Where the run is that had the name before.
    renamed: Option<PathBuf>,
}

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Diagnostic {
    move |error| Diagnostic::io(Exit::Failure, doing, path, &error)
}

/// The folder of run folders, with those around it.
fn make_out(out: &Path) -> Result<(), Diagnostic> {
    // Of its parents the one that is there already, whatever it is.
    let there = out.ancestors().find(|p| p.symlink_metadata().is_ok());
    match there {
        Some(file) if !file.is_dir() => {
            let of = if file == out { String::new() } else { format!(" in `--out {}`", out.display()) };
            let title = format!("{}{of} is a file, and run folders need a folder to lie in", file.display());
            Err(Diagnostic::new(Exit::Usage, title)
                .help("name a folder with `--out DIR`; it may be a new one"))
        }
        _ => fs::create_dir_all(out).map_err(failed("cannot create", out)),
    }
}

impl RunFolder {
    /// A new folder `out/stem-001`, or the next number that is free.
    pub(crate) fn numbered(out: &Path, stem: &str) -> Result<Self, Diagnostic> {
        make_out(out)?;
        let number_of = |name: &str| name.strip_prefix(stem)?.strip_prefix('-')?.parse::<u32>().ok();
        let mut highest = 0;
        for entry in fs::read_dir(out).map_err(failed("cannot read", out))? {
            let entry = entry.map_err(failed("cannot read", out))?;
            highest = highest.max(entry.file_name().to_str().and_then(number_of).unwrap_or(0));
        }
        loop {
            highest = highest.saturating_add(1);
            let path = out.join(format!("{stem}-{highest:03}"));
            // `create_dir` decides between processes that start at the same time.
            match fs::create_dir(&path) {
                Ok(()) => return RunFolder::furnish(path),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && highest < u32::MAX => {}
                Err(error) => return Err(Diagnostic::io(Exit::Failure, "cannot create", &path, &error)),
            }
        }
    }

    /// A new folder `out/name`; with `force` also where a run has the name, which gets another.
    pub(crate) fn named(out: &Path, name: &str, force: bool) -> Result<Self, Diagnostic> {
        let plain = !name.is_empty()
            && !name.starts_with('.')
            && name != LATEST
            && !name.chars().any(|c| c.is_control() || "/\\:*?\"<>|".contains(c));
        if !plain {
            let found = Diagnostic::new(Exit::Usage, format!("`{name}` cannot be the name of a run"));
            return Err(match name == LATEST {
                true => found.help("it leads to the newest run"),
                false => found.help("take letters, digits, `-`, `_`; `--out DIR` says where the folder goes"),
            });
        }
        make_out(out)?;
        let path = out.join(name);
        if force && path.symlink_metadata().is_ok() {
            return RunFolder::replacing(path);
        }
        match fs::create_dir(&path) {
            Ok(()) => RunFolder::furnish(path),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let title = format!("{} exists already, and a run is never overwritten", path.display());
                Err(Diagnostic::new(Exit::Usage, title)
                    .help("choose another `--name`")
                    .help(format!("or go on with that run: cotangent train --resume {}", shell::word(&path)))
                    .help("or give that run another name with `--force`"))
            }
            Err(error) => Err(Diagnostic::io(Exit::Failure, "cannot create", &path, &error)),
        }
    }

    /// A new folder under the name of a run that nobody trains, and that gets another name; anything else is left alone.
    fn replacing(path: PathBuf) -> Result<Self, Diagnostic> {
        if path.is_symlink() || !is_begun(&path) {
            let title = format!("{} is no run folder, and `--force` replaces nothing else", path.display());
            return Err(Diagnostic::new(Exit::Usage, title).help("choose another `--name`"));
        }
        // Nobody resumes it while it moves.
        let held = RunFolder::open(path.clone())?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let mut n = 1;
        let other = loop {
            let other = path.with_file_name(format!("{name}.{n}"));
            if other.symlink_metadata().is_err() {
                break other;
            }
            n += 1;
        };
        fs::rename(&path, &other).map_err(failed("cannot rename", &path))?;
        drop(held);
        fs::create_dir(&path).map_err(failed("cannot create", &path))?;
        Ok(RunFolder { renamed: Some(other), ..RunFolder::furnish(path)? })
    }

    /// What belongs into a new folder.
    fn furnish(path: PathBuf) -> Result<Self, Diagnostic> {
        let checkpoints = path.join("checkpoints");
        fs::create_dir(&checkpoints).map_err(failed("cannot create", &checkpoints))?;
        let run = RunFolder { resumed: false, ..RunFolder::open(path)? };
        run.append(&run.metrics, METRICS, METRICS_HEADER)?;
        run.append(&run.steps, STEPS, STEPS_HEADER)?;
        run.append(&run.layers, LAYERS, LAYERS_HEADER)?;
        Ok(run)
    }

    /// A folder that exists already, to go on with its run.
    pub(crate) fn open(path: PathBuf) -> Result<Self, Diagnostic> {
        let append = |name: &str| {
            let file = path.join(name);
            // A pipe would be waited for, for ever.
            if fs::metadata(&file).is_ok_and(|m| !m.is_file()) {
                let title = format!("{} is no regular file, and belongs to the run", file.display());
                return Err(Diagnostic::new(Exit::Data, title).help("move it away; the run makes a new one"));
            }
            OpenOptions::new().append(true).create(true).open(&file).map_err(failed("cannot write", &file))
        };
        let lock = append(".lock")?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let title = format!("another process is training {}", path.display());
                return Err(Diagnostic::new(Exit::Failure, title).help("wait for it, or stop it with Ctrl-C"));
            }
            // Some network file systems have no locks: then nothing guards the folder, and it still works.
            Err(TryLockError::Error(_)) => {}
        }
        sweep(&path);
        let (metrics, steps, layers) = (append(METRICS)?, append(STEPS)?, append(LAYERS)?);
        let log = append("log.txt")?;
        Ok(RunFolder { metrics, steps, layers, log, resumed: true, renamed: None, _lock: lock, path })
    }

    /// The folder.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Where the run is that had the name before.
    pub(crate) fn renamed(&self) -> Option<&Path> {
        self.renamed.as_deref()
    }

    /// Whether its run goes on, instead of beginning.
    pub(crate) fn is_resumed(&self) -> bool {
        self.resumed
    }

    /// `log.txt`, open for appending.
    pub(crate) fn log(&self) -> Result<File, Diagnostic> {
        self.log.try_clone().map_err(failed("cannot write", &self.path.join("log.txt")))
    }

    /// The file of a checkpoint.
    pub(crate) fn checkpoint(&self, kind: Kind) -> PathBuf {
        checkpoint_in(&self.path, kind)
    }

    /// Writes `config.toml`.
    pub(crate) fn write_config(&self, toml: &str) -> Result<(), Diagnostic> {
        let path = self.path.join("config.toml");
        let text = format!("# Run it again: cotangent train -c {}\n{toml}", shell::word(&path));
        write_file(&path, text.as_bytes())
    }

    /// Writes `model.txt`.
    pub(crate) fn write_model(&self, summary: &str) -> Result<(), Diagnostic> {
        write_file(&self.path.join("model.txt"), summary.as_bytes())
    }

    /// Writes `run.json`.
    pub(crate) fn write_record(&self, record: &Record) -> Result<(), Diagnostic> {
        let path = self.path.join("run.json");
        let text =
            serde_json::to_string_pretty(record).map_err(|e| failed("cannot write", &path)(e.into()))?;
        write_file(&path, format!("{text}\n").as_bytes())
    }

    /// Appends an epoch to `metrics.csv`: one write, so that a reader never sees half a row.
    pub(crate) fn append_metrics(&self, figures: &Figures) -> Result<(), Diagnostic> {
        self.append(&self.metrics, METRICS, &metrics_row(figures))
    }

    /// Appends a step to `steps.csv`, likewise.
    pub(crate) fn append_step(&self, stride: &Stride) -> Result<(), Diagnostic> {
        let Stride { step, epoch, lr, loss, acc, examples_per_second } = stride;
        self.append(&self.steps, STEPS, &format!("{step},{epoch},{lr},{loss},{acc},{examples_per_second}\n"))
    }

    /// Appends an epoch's rows to `layers.csv`, likewise.
    pub(crate) fn append_layers(&self, rows: &str) -> Result<(), Diagnostic> {
        self.append(&self.layers, LAYERS, rows)
    }

    /// Appends text, all of it or, on a full disk, none.
    fn append(&self, mut file: &File, name: &str, text: &str) -> Result<(), Diagnostic> {
        let before = file.metadata().map(|m| m.len());
        file.write_all(text.as_bytes()).map_err(|error| {
            let _ = before.map(|length| file.set_len(length));
            failed("cannot write", &self.path.join(name))(error)
        })
    }

    /// Drops rows of `metrics.csv` and `layers.csv` after `epoch`, and of `steps.csv` after `step`: the resumed run
    /// writes them again.
    pub(crate) fn keep_to(&mut self, epoch: u64, step: u64) -> Result<(), Diagnostic> {
        self.metrics = self.keep(METRICS, METRICS_HEADER, epoch)?;
        self.steps = self.keep(STEPS, STEPS_HEADER, step)?;
        self.layers = self.keep(LAYERS, LAYERS_HEADER, epoch)?;
        Ok(())
    }

    /// Drops rows whose first number is beyond `last`, half a row at the end, and any other damage.
    fn keep(&self, name: &str, header: &str, last: u64) -> Result<File, Diagnostic> {
        let path = self.path.join(name);
        /// More rows than anybody waits for.
        const LONGEST: u64 = 1 << 28;
        let mut bytes = Vec::new();
        let read = File::open(&path).and_then(|file| match file.metadata()?.len() {
            length if length > LONGEST => Err(io::ErrorKind::FileTooLarge.into()),
            length => file.take(length).read_to_end(&mut bytes),
        });
        read.map_err(|e| {
            let found = Diagnostic::io(Exit::Data, "cannot read", &path, &e);
            found.help("move it away; the run makes a new one")
        })?;
        let text = String::from_utf8_lossy(&bytes);
        let cells = |row: &str| row.split(',').count();
        // An earlier version had fewer columns: the rest of its rows is empty.
        let had = text
            .lines()
            .next()
            .filter(|h| !h.is_empty() && header.starts_with(h))
            .map_or(cells(header), cells);
        let more = ",".repeat(cells(header) - had) + "\n";
        let kept = |row: &str| {
            let row = row.strip_suffix('\n').filter(|row| cells(row) == had)?;
            let number: u64 = row.split(',').next()?.parse().ok()?;
            (number <= last).then(|| format!("{row}{more}"))
        };
        let rows: String = text.split_inclusive('\n').skip(1).filter_map(kept).collect();
        write_file(&path, format!("{header}{rows}").as_bytes())?;
        // The old handle leads to the file that was replaced.
        OpenOptions::new().append(true).open(&path).map_err(failed("cannot write", &path))
    }

    /// Makes `latest` beside the folder lead to it: a link, or a text file with its name where links are not to be had.
    pub(crate) fn point_latest(&self) -> Result<(), Diagnostic> {
        point(&self.path, link)
    }
}

/// A link with this content.
fn link(to: &OsStr, at: &Path) -> io::Result<()> {
    #[cfg(unix)]
    return std::os::unix::fs::symlink(to, at);
    #[cfg(not(unix))]
    Err(io::ErrorKind::Unsupported.into())
}

fn point(run: &Path, link: impl Fn(&OsStr, &Path) -> io::Result<()>) -> Result<(), Diagnostic> {
    let (Some(out), Some(name)) = (run.parent(), run.file_name()) else { return Ok(()) };
    let latest = out.join(LATEST);
    if latest.is_dir() && !latest.is_symlink() {
        // Somebody's own folder; it stays.
        return Ok(());
    }
    let aside = out.join(format!(".{LATEST}.{}", std::process::id()));
    if link(name, &aside).is_err() {
        fs::write(&aside, name.as_encoded_bytes()).map_err(failed("cannot write", &aside))?;
    }
    fs::rename(&aside, &latest).map_err(failed("cannot write", &latest))
}

/// One row of `metrics.csv`, with its newline; a figure that does not exist is empty.
fn metrics_row(figures: &Figures) -> String {
    let Figures {
        epoch,
        step,
        lr,
        train_seconds,
        train_loss,
        train_acc,
        val_loss,
        val_acc,
        val_macro_f1,
        val_balanced_acc,
        test_loss,
        test_acc,
        test_macro_f1,
        test_balanced_acc,
    } = figures;
    let [val_loss, val_acc, val_macro_f1, val_balanced_acc] =
        [val_loss, val_acc, val_macro_f1, val_balanced_acc]
            .map(|x| x.map(|x| x.to_string()).unwrap_or_default());
    format!(
        "{epoch},{step},{lr},{train_seconds:.3},{train_loss},{train_acc},{val_loss},{val_acc},{test_loss},{test_acc},\
         {val_macro_f1},{val_balanced_acc},{test_macro_f1},{test_balanced_acc}\n"
    )
}

/// Writes a file aside and renames it, so that a reader sees the old one or the new one, and a full disk harms none.
pub(crate) fn write_file(path: &Path, bytes: &[u8]) -> Result<(), Diagnostic> {
    write_aside(path, bytes, true)
}

/// The same without waiting for the disk, for what can be made again: after a power cut it may be gone.
pub(crate) fn write_unsynced(path: &Path, bytes: &[u8]) -> Result<(), Diagnostic> {
    write_aside(path, bytes, false)
}

/// Whether it is a device, or a pipe that a shell opened. Other pipes are nobody's: they would be waited for.
pub(crate) fn is_stream(path: &Path) -> bool {
    (path.starts_with("/dev") || path.starts_with("/proc"))
        && fs::metadata(path).is_ok_and(|about| !about.is_file() && !about.is_dir())
}

fn write_aside(path: &Path, bytes: &[u8], sync: bool) -> Result<(), Diagnostic> {
    // A device or a shell's pipe takes what is written; a file in its place would destroy it.
    if is_stream(path) {
        return fs::write(path, bytes).map_err(failed("cannot write", path));
    }
    // What a link leads to is written, and the link stays.
    let real = if path.is_symlink() { fs::canonicalize(path).ok() } else { None };
    let path = real.as_deref().unwrap_or(path);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let aside = path.with_file_name(format!(".{name}.{}", std::process::id()));
    let written = (|| {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o644);
        let mut file = options.open(&aside)?;
        file.write_all(bytes)?;
        if sync {
            file.sync_all()?;
        }
        drop(file);
        fs::rename(&aside, path)
    })();
    written.map_err(|error| {
        let _ = fs::remove_file(&aside);
        Diagnostic::io(Exit::Failure, "cannot write", path, &error)
    })
}

/// Removes what processes that were killed left behind while they wrote files aside; the caller holds the lock.
fn sweep(run: &Path) {
    for folder in [run.to_path_buf(), run.join("checkpoints"), run.join("plots")] {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let is_file = entry.file_type().is_ok_and(|t| t.is_file());
            if is_file && entry.file_name().to_str().and_then(aside_of).is_some() {
                // What cannot be removed harms nothing.
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}

/// The folder `plots` of a run.
pub(crate) fn make_plots(run: &Path) -> Result<PathBuf, Diagnostic> {
    let plots = run.join("plots");
    fs::create_dir_all(&plots).map_err(failed("cannot create", &plots))?;
    Ok(plots)
}

/// The run folder that a user named, by its path or by `latest`; it need not have a checkpoint.
pub(crate) fn folder(path: &Path) -> Result<PathBuf, Diagnostic> {
    let path = named(path)?;
    if !path.is_dir() {
        let title = format!("there is no run at {}", path.display());
        return Err(advise(Diagnostic::new(Exit::Data, title), &path));
    }
    let real = real(&path);
    if cotangent_board::runs::is_run(&real) {
        return Ok(real);
    }
    let title =
        format!("{} is no run folder: it has no run.json and no folder `checkpoints`", path.display());
    Err(list(Diagnostic::new(Exit::Data, title), &path, None))
}

/// Makes `latest` lead to the newest of the other runs, where it led to one that is gone.
pub(crate) fn forget(gone: &Path) {
    let Some(out) = gone.parent() else { return };
    let latest = out.join(LATEST);
    let name = gone.file_name().map(|n| n.to_string_lossy().into_owned());
    if name.is_none() || cotangent_board::runs::latest(out) != name {
        return;
    }
    let begun = |run: &PathBuf| fs::metadata(run.join("config.toml")).and_then(|m| m.modified()).ok();
    let others = cotangent_board::runs::list(out).unwrap_or_default();
    // What leads nowhere is worse than nothing.
    let _ = fs::remove_file(&latest);
    if let Some(newest) = others.into_iter().max_by_key(begun) {
        let _ = point(&newest, link);
    }
}

/// `runs/latest` becomes `runs/lenet5-mnist-001`, as people write it; a link to another place stays what it is.
fn real(path: &Path) -> PathBuf {
    let real = fs::canonicalize(path).ok().filter(|_| path.is_symlink());
    let beside = real.as_deref().and_then(Path::file_name).map(|name| path.with_file_name(name));
    let is_same = |beside: &PathBuf| fs::canonicalize(beside).ok() == real;
    beside.filter(is_same).unwrap_or_else(|| path.to_path_buf())
}

/// The path, or where `latest` leads where it is a text file with a folder's name; also of what lies below that.
fn named(path: &Path) -> Result<PathBuf, Diagnostic> {
    let is_text = |p: &&Path| p.file_name().is_some_and(|n| n == LATEST) && p.is_file();
    let Some(latest) = path.ancestors().find(is_text) else { return Ok(path.to_path_buf()) };
    let again = |found: Diagnostic| found.help("remove it; the next run makes a new one");
    let name = cotangent_data::start(latest, 4096).map_err(|e| again(e.into()))?;
    let name = String::from_utf8(name).map_err(|_| {
        let title = format!("{} holds no name of a run", latest.display());
        again(Diagnostic::new(Exit::Data, title))
    })?;
    let run = latest.with_file_name(name.trim());
    Ok(match path.strip_prefix(latest) {
        Ok(below) if below != Path::new("") => run.join(below),
        _ => run,
    })
}

fn checkpoint_in(run: &Path, kind: Kind) -> PathBuf {
    run.join("checkpoints").join(format!("{}.safetensors", kind.name()))
}

/// A checkpoint that a user named by its file, its run folder, or `latest`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// The file.
    pub(crate) checkpoint: PathBuf,
    /// Its run folder, if it lies in one.
    pub(crate) run: Option<PathBuf>,
}

/// Finds the checkpoint that `path` means; of a run folder, the one of `kind`.
pub(crate) fn find(path: &Path, kind: Kind) -> Result<Found, Diagnostic> {
    let path = named(path)?;
    if path.is_file() {
        let folder = path.parent().filter(|p| p.file_name().is_some_and(|n| n == "checkpoints"));
        let run = folder
            .and_then(Path::parent)
            .map(|run| if run == Path::new("") { ".".into() } else { run.into() });
        return Ok(Found { checkpoint: path, run });
    }
    if path.is_dir() {
        let checkpoint = checkpoint_in(&path, kind);
        if checkpoint.is_file() {
            let path = real(&path);
            return Ok(Found { checkpoint: checkpoint_in(&path, kind), run: Some(path) });
        }
        if !path.join("checkpoints").is_dir() {
            let title = format!("{} is no run folder: it has no folder `checkpoints`", path.display());
            return Err(list(Diagnostic::new(Exit::Data, title), &path, None));
        }
        let title = format!("{} has no checkpoint yet: no file {}", path.display(), checkpoint.display());
        return Err(Diagnostic::new(Exit::Data, title)
            .help("a run writes its first checkpoint after its first epoch, or when it is interrupted"));
    }
    let found =
        Diagnostic::new(Exit::Data, format!("there is no run and no checkpoint at {}", path.display()));
    Err(advise(found, &path))
}

/// Adds what lies beside the path that does not exist.
fn advise(found: Diagnostic, path: &Path) -> Diagnostic {
    let out = path.parent().filter(|p| *p != Path::new("")).unwrap_or(Path::new("."));
    list(found, out, path.file_name().map(|n| n.to_string_lossy()).as_deref())
}

/// Names of the runs in a folder.
pub(crate) fn names(out: &Path) -> Vec<String> {
    let mut runs: Vec<String> = fs::read_dir(out)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name != LATEST && out.join(name).join("checkpoints").is_dir())
        .collect();
    runs.sort();
    runs
}

/// Adds the runs in a folder, or the one that was likely meant.
fn list(found: Diagnostic, out: &Path, name: Option<&str>) -> Diagnostic {
    let runs = names(out);
    if runs.is_empty() {
        return found.help("`cotangent train` makes one");
    }
    match name.and_then(|name| nearest(name, runs.iter().map(String::as_str))) {
        Some(near) => found.help(format!("did you mean {}?", out.join(near).display())),
        None => found.help(format!("runs in {}: {}", out.display(), runs.join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// A folder of its own for each test, removed at its end.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new() -> Self {
            static COUNT: AtomicUsize = AtomicUsize::new(0);
            let n = COUNT.fetch_add(1, Ordering::Relaxed);
            let path = std::env::temp_dir().join(format!("cotangent-run-folder-{}-{n}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Scratch(path)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn row(epoch: u64) -> Figures {
        Figures { epoch, step: epoch * 10, lr: 0.05, train_loss: 0.5, test_acc: 0.9, ..Figures::default() }
    }

    #[test]
    fn folders_are_numbered_and_never_reused() {
        let scratch = Scratch::new();
        let out = scratch.0.join("deep/runs");
        let name = |run: RunFolder| run.path().file_name().unwrap().to_str().unwrap().to_string();
        assert_eq!(name(RunFolder::numbered(&out, "lenet5-mnist").unwrap()), "lenet5-mnist-001");
        fs::create_dir(out.join("lenet5-mnist-009")).unwrap();
        fs::create_dir(out.join("lenet5-mnist-big-050")).unwrap();
        assert_eq!(name(RunFolder::numbered(&out, "lenet5-mnist").unwrap()), "lenet5-mnist-010");
        fs::create_dir(out.join("lenet5-mnist-1234")).unwrap();
        assert_eq!(name(RunFolder::numbered(&out, "lenet5-mnist").unwrap()), "lenet5-mnist-1235");
    }

    #[test]
    fn runs_that_start_together_get_folders_of_their_own() {
        let scratch = Scratch::new();
        let runs: BTreeSet<PathBuf> = std::thread::scope(|scope| {
            let start = || RunFolder::numbered(&scratch.0, "x").unwrap().path().to_path_buf();
            let all: Vec<_> = (0..16).map(|_| scope.spawn(start)).collect();
            all.into_iter().map(|t| t.join().unwrap()).collect()
        });
        assert_eq!(runs.len(), 16);
    }

    #[test]
    fn a_name_is_used_once_and_stays_inside() {
        let scratch = Scratch::new();
        RunFolder::named(&scratch.0, "mine", false).unwrap();
        let error = RunFolder::named(&scratch.0, "mine", false).unwrap_err();
        assert_eq!(error.exit(), Exit::Usage);
        assert!(error.to_string().contains("never overwritten"), "{error}");
        for bad in ["", "..", "a/b", "/x/y", "latest", ".hidden", "a\nb"] {
            assert_eq!(RunFolder::named(&scratch.0, bad, true).unwrap_err().exit(), Exit::Usage, "{bad:?}");
        }
    }

    #[test]
    fn force_replaces_a_run_and_nothing_else() {
        let scratch = Scratch::new();
        let run = RunFolder::named(&scratch.0, "mine", true).unwrap();
        run.append_metrics(&row(1)).unwrap();
        let error = RunFolder::named(&scratch.0, "mine", true).unwrap_err();
        assert!(error.to_string().contains("another process"), "{error}");
        drop(run);
        let figures = |name: &str| fs::read_to_string(scratch.0.join(name).join(METRICS)).unwrap();
        let before = figures("mine");
        for other in ["mine.1", "mine.2"] {
            let run = RunFolder::named(&scratch.0, "mine", true).unwrap();
            assert_eq!(run.renamed(), Some(&*scratch.0.join(other)));
            assert_eq!(figures("mine"), METRICS_HEADER);
        }
        assert_eq!((figures("mine.1"), fs::read_dir(&scratch.0).unwrap().count()), (before, 3));
        fs::create_dir(scratch.0.join("photos")).unwrap();
        fs::write(scratch.0.join("photos/one"), "mine").unwrap();
        let error = RunFolder::named(&scratch.0, "photos", true).unwrap_err();
        assert_eq!((error.exit(), scratch.0.join("photos/one").is_file()), (Exit::Usage, true));
    }

    #[test]
    fn what_no_run_wrote_is_nothing_to_remove() {
        let scratch = Scratch::new();
        let refused = |path: &Path| must_be_own(path).unwrap_err().to_string();
        // A project that has checkpoints too.
        let project = scratch.0.join("project");
        fs::create_dir_all(project.join("checkpoints")).unwrap();
        fs::write(project.join("run.json"), "{\"status\": 1}").unwrap();
        assert!(refused(&project).contains("no run began in it"));
        assert!(RunFolder::named(&scratch.0, "project", true).is_err());
        assert!(!project.join(".lock").exists());
        let run = RunFolder::named(&scratch.0, "mine", false).unwrap().path().to_path_buf();
        must_be_own(&run).unwrap();
        for own in ["checkpoints/.best.safetensors.7", "events.out.tfevents.1.2", "plots/filters-conv1.png"] {
            fs::create_dir_all(run.join(own).parent().unwrap()).unwrap();
            fs::write(run.join(own), "").unwrap();
        }
        must_be_own(&run).unwrap();
        for other in [
            "notes.md",
            ".notes.2024",
            "checkpoints/paper.safetensors",
            "src/train.py",
            "plots/mine.svg",
            "export/a.onnx",
        ] {
            let file = run.join(other);
            let folder = file.parent().unwrap();
            let is_new = !folder.exists();
            fs::create_dir_all(folder).unwrap();
            fs::write(&file, "mine").unwrap();
            assert!(refused(&run).contains("no file of a run"), "{other}");
            fs::remove_file(&file).unwrap();
            if is_new {
                fs::remove_dir(folder).unwrap();
            }
        }
        must_be_own(&run).unwrap();
    }

    #[test]
    fn half_rows_and_damage_are_cut_off() {
        let scratch = Scratch::new();
        let mut run = RunFolder::numbered(&scratch.0, "x").unwrap();
        for step in [50, 100, 150] {
            run.append_step(&Stride { step, epoch: 1, ..Stride::default() }).unwrap();
        }
        let path = run.path().join(STEPS);
        let text = fs::read_to_string(&path).unwrap();
        // The last row was being written: what is left of it looks like a whole one, or like an earlier step.
        for (end, expected) in [(text.len(), 3), (text.len() - 1, 2), (text.len() - 8, 2)] {
            fs::write(&path, format!("{}1", &text[..end])).unwrap();
            run.keep_to(1, 150).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 1 + expected);
            run.keep_to(1, 100).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text[..text.find("150,").unwrap()]);
        }
        fs::write(&path, b"\xff\n\n").unwrap();
        run.keep_to(1, 100).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), STEPS_HEADER);
    }

    #[test]
    fn metrics_are_appended_and_cut_back_for_a_resumed_run() {
        let scratch = Scratch::new();
        let mut run = RunFolder::numbered(&scratch.0, "x").unwrap();
        for epoch in 1..=3 {
            run.append_metrics(&row(epoch)).unwrap();
        }
        run.keep_to(2, 20).unwrap();
        run.append_metrics(&Figures { val_loss: Some(0.25), train_loss: f64::NAN, ..row(3) }).unwrap();
        let text = fs::read_to_string(run.path().join(METRICS)).unwrap();
        let rows: Vec<&str> = text.lines().collect();
        assert_eq!(rows.len(), 4);
        assert_eq!(rows[0], METRICS_HEADER.trim());
        assert_eq!(rows[1], "1,10,0.05,0.000,0.5,0,,,0,0.9,,,0,0");
        assert_eq!(rows[3], "3,30,0.05,0.000,NaN,0,0.25,,0,0.9,,,0,0");
        // A table from before the last columns were there.
        let old = |text: &str| -> String {
            text.lines().map(|row| row.split(',').take(10).collect::<Vec<_>>().join(",") + "\n").collect()
        };
        fs::write(run.path().join(METRICS), old(&text)).unwrap();
        run.keep_to(2, 20).unwrap();
        let again = fs::read_to_string(run.path().join(METRICS)).unwrap();
        let rows: Vec<&str> = again.lines().collect();
        assert_eq!((rows.len(), rows[0]), (3, METRICS_HEADER.trim()));
        assert_eq!(rows[1], "1,10,0.05,0.000,0.5,0,,,0,0.9,,,,");
    }

    #[test]
    fn two_processes_cannot_train_one_run() {
        let scratch = Scratch::new();
        let run = RunFolder::numbered(&scratch.0, "x").unwrap();
        let error = RunFolder::open(run.path().into()).unwrap_err();
        assert!(error.to_string().contains("another process"), "{error}");
        let path = run.path().to_path_buf();
        drop(run);
        RunFolder::open(path).unwrap();
    }

    #[test]
    fn files_appear_whole_readable_and_leave_nothing_beside() {
        let scratch = Scratch::new();
        let path = scratch.0.join("a.txt");
        write_file(&path, b"one").unwrap();
        write_file(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(&scratch.0).unwrap().count(), 1);
        #[cfg(unix)]
        {
            let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&path).unwrap().permissions());
            assert_eq!(mode & 0o777, 0o644);
        }
        #[cfg(target_os = "linux")]
        {
            // What is no file stays what it is: here both ends of a pipe are open.
            let (mut reader, writer) = io::pipe().unwrap();
            let end = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&writer));
            write_file(Path::new(&end), b"three").unwrap();
            drop(writer);
            let mut text = String::new();
            reader.read_to_string(&mut text).unwrap();
            assert_eq!(text, "three");
        }
        let error = write_file(&scratch.0.join("no/such/folder"), b"x").unwrap_err();
        assert_eq!(error.exit(), Exit::Failure);
    }

    #[test]
    fn a_run_is_found_by_folder_file_and_latest() {
        let scratch = Scratch::new();
        let first = RunFolder::numbered(&scratch.0, "x").unwrap();
        first.point_latest().unwrap();
        let run = RunFolder::numbered(&scratch.0, "x").unwrap();
        run.point_latest().unwrap();
        let last = run.checkpoint(Kind::Last);
        assert!(find(run.path(), Kind::Last).unwrap_err().to_string().contains("no checkpoint yet"));
        write_file(&last, b"").unwrap();
        let expected = Found { checkpoint: last.clone(), run: Some(run.path().into()) };
        for way in [run.path(), &last, &scratch.0.join(LATEST)] {
            assert_eq!(find(way, Kind::Last).unwrap(), expected, "{}", way.display());
        }
        // Where links are refused it is a file with the name, in the place of whatever was there.
        point(run.path(), |_, _| Err(io::ErrorKind::Unsupported.into())).unwrap();
        assert_eq!(fs::read_to_string(scratch.0.join(LATEST)).unwrap(), "x-002");
        assert!(!scratch.0.join(LATEST).is_symlink());
        assert_eq!(find(&scratch.0.join(LATEST), Kind::Last).unwrap(), expected);
        assert_eq!(folder(&scratch.0.join(LATEST)).unwrap(), run.path());
        let below = scratch.0.join(LATEST).join("checkpoints/last.safetensors");
        assert_eq!(find(&below, Kind::Last).unwrap(), expected);
        first.point_latest().unwrap();
        assert!(scratch.0.join(LATEST).is_symlink());
        fs::remove_file(scratch.0.join(LATEST)).unwrap();
        fs::write(scratch.0.join(LATEST), "").unwrap();
        assert!(find(&scratch.0.join(LATEST), Kind::Last).unwrap_err().to_string().contains("is empty"));
        #[cfg(unix)]
        {
            // A run on another disk, under the name of one that is here.
            let other = Scratch::new();
            let far = RunFolder::named(&other.0, "x-002", false).unwrap();
            write_file(&far.checkpoint(Kind::Last), b"far").unwrap();
            let link = scratch.0.join("far");
            std::os::unix::fs::symlink(far.path(), &link).unwrap();
            assert_eq!(fs::read(find(&link, Kind::Last).unwrap().checkpoint).unwrap(), b"far");
            assert_eq!(folder(&link).unwrap(), link);
        }
        let error = find(&scratch.0.join("x-02"), Kind::Last).unwrap_err();
        assert_eq!(error.exit(), Exit::Data);
        assert!(error.to_string().contains("did you mean"), "{error}");
    }
}
