//! What cotangent is measured by: training, inference, single operations, overhead, start-up, memory.
//!
//! `cargo bench` and `cotangent bench` run the same [`rows`](Suite::rows): each is warmed up, timed many times, and
//! reported as one [`Line`] with median and spread. [`agree::write`] writes what another library needs to do the same
//! work on the same numbers, and the losses that it must find.

pub mod agree;
mod inference;
mod networks;
mod operations;
mod overhead;
mod process;
mod report;
mod timing;
mod training;

use std::path::PathBuf;
use std::{io, sync::Arc};

use cotangent::nn::Module;

pub use report::{Baseline, Line, Unit};
pub use timing::{Budget, Found};

/// A network; clones share its parameters.
type Model = Arc<dyn Module>;

/// What went wrong in a bench.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An operation, a step or a file of data.
    #[error(transparent)]
    Cotangent(#[from] cotangent::Error),
    /// The bundled data is damaged.
    #[error(transparent)]
    Mnist(#[from] cotangent_mnist::Error),
    /// No row has a name with such words in it.
    #[error("no row is named like {0:?}")]
    NoRow(String),
    /// None of the rows has weights and results.
    #[error("none of these rows trains or infers")]
    NothingToAgree,
    /// A file or a process.
    #[error("{doing}: {source}")]
    Io {
        /// Such as `cannot write out/losses.json`.
        doing: String,
        /// What the system says.
        source: io::Error,
    },
    /// A baseline that is none.
    #[error("{path} line {line}: {message}")]
    Baseline {
        /// The file.
        path: String,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        message: String,
    },
    /// Threads could not be started.
    #[error("cannot start {threads} threads: {message}")]
    Threads {
        /// How many.
        threads: usize,
        /// What the system says.
        message: String,
    },
    /// A program that is measured ended with an error.
    #[error("`{0}` ended with an error")]
    Program(String),
}

impl Error {
    fn io(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let doing = doing.into();
        |source| Error::Io { doing, source }
    }

    /// What to do about it; may be empty.
    pub fn help(&self) -> String {
        match self {
            Error::NoRow(_) => {
                "`--list` shows the names; part of one is enough, such as `--filter lenet5`".into()
            }
            Error::Baseline { .. } => "a baseline is what `cotangent bench --json > FILE` wrote".into(),
            Error::Threads { .. } => "`--threads N` asks for fewer".into(),
            Error::NothingToAgree => "`--filter train/`, `--filter step/` and `--filter infer/` do".into(),
            Error::Mnist(_) | Error::Cotangent(_) | Error::Io { .. } | Error::Program(_) => String::new(),
        }
    }
}

/// The result of a bench.
pub type Result<T> = std::result::Result<T, Error>;

/// What is asked for on a command line.
#[derive(clap::Args, Clone, Debug)]
pub struct Options {
    /// Only rows whose name contains this; may be repeated
    #[arg(long, value_name = "TEXT")]
    pub filter: Vec<String>,
    /// Show the names of the rows, and run none
    #[arg(long)]
    pub list: bool,
    /// Seconds to repeat each row; an epoch is always a whole one
    #[arg(long, value_name = "S", default_value_t = 1.0, value_parser = seconds)]
    pub seconds: f64,
    /// Epochs to time, after the warm-up, in rows that train on MNIST
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub epochs: u32,
    /// Compare with what `--json` wrote before
    #[arg(long, value_name = "FILE", conflicts_with_all = ["agree", "list"])]
    pub baseline: Option<PathBuf>,
    /// Time nothing; write weights, batches and results of the training and inference rows into DIR, so that other
    /// libraries can be checked against them
    #[arg(long, value_name = "DIR", conflicts_with = "list")]
    pub agree: Option<PathBuf>,
}

fn seconds(text: &str) -> std::result::Result<f64, String> {
    match text.parse::<f64>() {
        Ok(s) if s.is_finite() && (0.0..=3600.0).contains(&s) => Ok(s),
        _ => Err("expected seconds from 0 to 3600, such as 0.2".into()),
    }
}

/// One thing that is measured.
pub struct Row {
    /// Such as `train/lenet5/batch-64`.
    pub name: String,
    /// What it is, in a few words.
    pub about: String,
    unit: Unit,
    work: Work,
    agreement: Option<agree::Agreement>,
}

type Work = Box<dyn Fn(&Budget) -> Result<Found> + Send + Sync>;

impl Row {
    fn new(
        name: impl Into<String>,
        about: impl Into<String>,
        work: impl Fn(&Budget) -> Result<Found> + Send + Sync + 'static,
    ) -> Self {
        let (name, about) = (name.into(), about.into());
        Row { name, about, unit: Unit::Seconds, work: Box::new(work), agreement: None }
    }

    fn unit(mut self, unit: Unit) -> Self {
        self.unit = unit;
        self
    }

    fn agreeing(mut self, agreement: agree::Agreement) -> Self {
        self.agreement = Some(agreement);
        self
    }
}

/// The rows of this machine and program.
pub struct Suite {
    rows: Vec<Row>,
}

impl Suite {
    /// All rows. `program` is the `cotangent` program, whose start-up is measured where it is known.
    pub fn new(program: Option<PathBuf>) -> Self {
        let mut rows = process::rows(program);
        rows.extend(training::rows());
        rows.extend(inference::rows());
        rows.extend(operations::rows());
        rows.extend(overhead::rows());
        Suite { rows }
    }

    /// Those whose name contains one of `filters`; all without filters.
    ///
    /// # Errors
    /// When a filter fits no row.
    pub fn filtered(mut self, filters: &[String]) -> Result<Self> {
        if let Some(lost) = filters.iter().find(|f| !self.rows.iter().any(|r| r.name.contains(f.as_str()))) {
            return Err(Error::NoRow(lost.clone()));
        }
        self.rows.retain(|r| filters.is_empty() || filters.iter().any(|f| r.name.contains(f.as_str())));
        Ok(self)
    }

    /// The rows in the order in which they run. The first of them finds a process that has done nothing yet.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// Runs the rows one after the other on a pool of `threads`, and shows each line as it is found. `show` says
    /// whether to go on.
    ///
    /// # Errors
    /// The first thing that goes wrong; lines shown before it stand.
    pub fn run(
        &self,
        budget: &Budget,
        threads: usize,
        mut show: impl FnMut(Line) -> bool + Send,
    ) -> Result<()> {
        on_threads(threads, || {
            for row in &self.rows {
                let found = (row.work)(budget)?;
                if !show(Line::new(row, found, threads)) {
                    break;
                }
            }
            Ok(())
        })
    }
}

/// Runs `f` inside a pool of its own: entered once, because entering costs as much as a small operation.
fn on_threads<T: Send>(threads: usize, f: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
    pool.map_err(|e| Error::Threads { threads, message: e.to_string() })?.install(f)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn suite() -> Suite {
        Suite::new(Some("cotangent".into()))
    }

    #[test]
    fn names_are_paths_and_differ() {
        let suite = suite();
        let mut names: Vec<&str> = suite.rows().iter().map(|r| r.name.as_str()).collect();
        assert!(names.len() > 60, "{}", names.len());
        for name in &names {
            assert!(name.contains('/') && !name.contains(' ') && !name.contains(".."), "{name}");
        }
        names.sort_unstable();
        let all = names.len();
        names.dedup();
        assert_eq!(names.len(), all);
    }

    #[test]
    fn a_filter_that_fits_nothing_is_refused() {
        let only = suite().filtered(&["train/lenet5".into(), "infer/".into()]).unwrap();
        assert_eq!(only.rows().len(), 4 + 3);
        let error = suite().filtered(&["train/".into(), "trian".into()]).map(|_| ()).unwrap_err();
        assert!(error.to_string().contains("trian") && error.help().contains("--list"), "{error}");
    }

    #[test]
    fn every_short_row_runs() {
        let suite = suite().filtered(&["op/".into(), "overhead/".into(), "infer/".into()]).unwrap();
        let small = |name: &str| {
            !["1e7", "2048", "1024", "512", "32x", "x224", "x112"].iter().any(|n| name.contains(n))
        };
        let suite = Suite { rows: suite.rows.into_iter().filter(|r| small(&r.name)).collect() };
        let (expected, mut lines) = (suite.rows().len(), Vec::new());
        let budget = Budget { seconds: 0.0, epochs: 1 };
        suite
            .run(&budget, 2, |line| {
                lines.push(line);
                true
            })
            .unwrap();
        assert_eq!(lines.len(), expected);
        for line in lines {
            assert!(0.0 < line.min && line.min <= line.p10 && line.p10 <= line.median, "{line:?}");
            assert!(line.median <= line.p90 && line.samples >= 3 && line.threads == 2, "{line:?}");
        }
    }
}
