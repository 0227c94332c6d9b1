//! `cotangent bench`: the rows of `cotangent_bench` on this machine.

use std::path::Path;

use cotangent_bench::{Baseline, Budget, Error, Line, Options, Suite, agree};
use serde::Serialize;

use super::defaults;
use crate::config::DeviceName;
use crate::console::{Console, folded};
use crate::diagnostic::{Diagnostic, Exit, nearest};
use crate::flags::{Bench, Global};
use crate::machine;

impl From<Error> for Diagnostic {
    fn from(error: Error) -> Self {
        let (title, help) = (error.to_string(), error.help());
        let found = match error {
            Error::Cotangent(error) => Diagnostic::from(error),
            Error::NoRow(_) | Error::NothingToAgree | Error::Baseline { .. } => {
                Diagnostic::new(Exit::Usage, title)
            }
            Error::Mnist(_) => Diagnostic::new(Exit::Data, title),
            _ => Diagnostic::new(Exit::Failure, title),
        };
        if help.is_empty() { found } else { found.help(help) }
    }
}

/// One row, for `--list --json`.
#[derive(Serialize)]
struct Entry<'a> {
    name: &'a str,
    about: &'a str,
}

/// A folder that `--agree` made, for `--json`.
#[derive(Serialize)]
struct Made<'a> {
    folder: &'a Path,
}

/// Measures, lists, or writes what other libraries are checked against.
pub(crate) fn run(flags: &Bench, global: &Global, console: &mut Console) -> Result<Exit, Diagnostic> {
    let config = defaults(global)?;
    if !matches!(config.device, DeviceName::Auto | DeviceName::Cpu) {
        let title = format!("`--device {}`: the benches measure the processor", config.device);
        return Err(Diagnostic::new(Exit::Usage, title).help("leave `--device` out"));
    }
    let (options, threads) = (&flags.options, machine::threads(config.threads));
    let suite = suite(options)?;
    if options.list {
        return list(&suite, console);
    }
    if let Some(folder) = &options.agree {
        for folder in agree::write(&suite, folder, threads)? {
            match console.json() {
                true => console.print_json(&Made { folder: &folder })?,
                false => console.print(&folder.display().to_string())?,
            }
        }
        return Ok(Exit::Success);
    }
    let baseline = options.baseline.as_deref().map(baseline).transpose()?;
    let budget = Budget { seconds: options.seconds, epochs: options.epochs };
    let mut shown = Ok(());
    suite.run(&budget, threads, |line: Line| {
        let text = if console.json() { line.json() } else { line.text(baseline.as_ref()) };
        shown = console.print(&text);
        shown.is_ok()
    })?;
    shown.map(|()| Exit::Success)
}

/// The file of `--baseline`, which a person named.
fn baseline(path: &Path) -> Result<Baseline, Diagnostic> {
    let help = "`cotangent bench --json > FILE` writes one";
    cotangent_data::length(path).map_err(|e| Diagnostic::from(e).help(help))?;
    Baseline::read(path).map_err(|error| match error {
        Error::Io { .. } => Diagnostic::from(error).exiting(Exit::Data).help(help),
        other => other.into(),
    })
}

/// The rows that are asked for.
fn suite(options: &Options) -> Result<Suite, Diagnostic> {
    let all = || Suite::new(std::env::current_exe().ok());
    all().filtered(&options.filter).map_err(|error| {
        let near = match &error {
            Error::NoRow(words) => {
                let suite = all();
                nearest(words, suite.rows().iter().map(|r| r.name.as_str())).map(str::to_string)
            }
            _ => None,
        };
        let found = Diagnostic::from(error);
        match near {
            Some(name) => found.help(format!("did you mean `{name}`?")),
            None => found,
        }
    })
}

fn list(suite: &Suite, console: &mut Console) -> Result<Exit, Diagnostic> {
    let rows = suite.rows();
    for row in rows {
        match console.json() {
            true => console.print_json(&Entry { name: &row.name, about: &row.about })?,
            false => console.print(&folded(&format!("{}\n    {}", row.name, row.about), 4))?,
        }
    }
    Ok(Exit::Success)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(filter: &[&str]) -> Options {
        let filter = filter.iter().map(|f| f.to_string()).collect();
        Options { filter, list: false, seconds: 0.0, epochs: 1, baseline: None, agree: None }
    }

    #[test]
    fn a_name_that_is_nearly_right_is_helped() {
        assert_eq!(suite(&options(&["start-up/"])).unwrap().rows().len(), 1);
        let error = suite(&options(&["train/lenet5/batch64"])).map(|_| ()).unwrap_err();
        assert_eq!(error.exit(), Exit::Usage);
        let text = error.to_string();
        assert!(text.contains("did you mean `train/lenet5/batch-64`?") && text.contains("--list"), "{text}");
    }

    #[test]
    fn a_baseline_that_is_not_there_is_missing_data() {
        let error = baseline(Path::new("no/such.jsonl")).map(|_| ()).unwrap_err();
        assert_eq!(error.exit(), Exit::Data);
        assert!(error.to_string().contains("bench --json > FILE"), "{error}");
    }

    #[test]
    fn rows_without_weights_have_nothing_to_agree_about() {
        let error = agree::write(&suite(&options(&["overhead/"])).unwrap(), Path::new("x"), 1).unwrap_err();
        let found = Diagnostic::from(error);
        assert_eq!(found.exit(), Exit::Usage);
        assert!(found.to_string().contains("`--filter train/`"), "{found}");
    }
}
