//! `cotangent eval`: how good a trained network is, class by class.

use cotangent::nn::ParametersExt;
use serde::Serialize;

use super::predict::quoted;
use super::{place, trained};
use crate::checkpoint::Checkpoint;
use crate::config::{DataConfig, DataName, Kind};
use crate::console::Console;
use crate::data::{Data, Known, count};
use crate::diagnostic::{Diagnostic, Exit};
use crate::evaluation::{Evaluation, Evaluator};
use crate::flags::{Eval, Global, OutputFormat, Split};
use crate::machine;
use crate::model;
use crate::numerals::{self, percent};
use crate::spool::{self, STDIN, Spooled};

/// How many of the most frequent mistakes machines are told.
const MISTAKES: usize = 10;

/// One class, for machines and for the table.
#[derive(Serialize)]
struct Class<'a> {
    name: &'a str,
    examples: u64,
    correct: u64,
    /// Of those that were taken for this class, the share that is of it; absent when none was.
    precision: Option<f64>,
    /// Of those that are of this class, the share that was taken for it; absent when there is none.
    recall: Option<f64>,
}

#[derive(Serialize)]
struct Mistake<'a> {
    truth: &'a str,
    predicted: &'a str,
    count: u64,
}

#[derive(Serialize)]
struct Report<'a> {
    checkpoint: &'a std::path::Path,
    epoch: u64,
    data: String,
    split: &'static str,
    #[serde(skip)]
    noun: &'static str,
    examples: u64,
    wrong: u64,
    accuracy: f64,
    /// The mean of the classes' F1.
    macro_f1: f64,
    /// The mean of the classes' recalls.
    balanced_accuracy: f64,
    loss: f64,
    classes: Vec<Class<'a>>,
    hardest: Vec<Mistake<'a>>,
    /// Row: the true class; column: the predicted one.
    confusion: &'a [Vec<u64>],
}

/// Evaluates a checkpoint.
pub(crate) fn run(flags: &Eval, global: &Global, console: &mut Console) -> Result<Exit, Diagnostic> {
    let (found, checkpoint) = trained(&flags.run)?;
    let (device, threads) = place(global)?;
    let (data, name) = examples(flags, &checkpoint)?;
    data.remarks.iter().for_each(|remark| console.say(&format!("note: {remark}")));
    let (part, split) = match flags.split {
        Split::Train => (&data.train, "train"),
        Split::Val => (&data.val, "val"),
        Split::Test => (&data.test, "test"),
    };
    if count(part) == 0 {
        let title = "this run held out no examples of its training set";
        return Err(Diagnostic::new(Exit::Usage, title).help("`--split train` or `--split test`"));
    }
    let classes = &checkpoint.about.classes;
    let (found_here, evaluation) = (found.checkpoint, {
        let chunk = (flags.batch as usize).min(count(part));
        let (network, _) = model::restore(&checkpoint, chunk)?;
        network.to_device(&device);
        machine::with_threads(threads, || {
            Evaluator::new(&network, &device).run(part, classes.len(), chunk, || false)
        })?
    });
    // Nothing stops it before the end.
    let Some(evaluation) = evaluation else { return Ok(Exit::Failure) };
    let report = Report {
        checkpoint: &found_here,
        epoch: checkpoint.about.position.epoch,
        data: name.to_string(),
        split,
        noun: data.noun(),
        examples: evaluation.examples(),
        wrong: evaluation.examples() - evaluation.correct(),
        accuracy: evaluation.accuracy(),
        macro_f1: evaluation.macro_f1(),
        balanced_accuracy: evaluation.balanced_accuracy(),
        loss: evaluation.loss,
        classes: by_class(&evaluation, classes),
        hardest: evaluation
            .hardest(MISTAKES)
            .iter()
            .map(|c| Mistake { truth: &classes[c.truth], predicted: &classes[c.predicted], count: c.count })
            .collect(),
        confusion: &evaluation.confusion,
    };
    if console.json() || flags.format == OutputFormat::Json {
        console.print_json(&report)?;
    } else if flags.format == OutputFormat::Csv {
        console.print("class,examples,correct,precision,recall")?;
        let shown = |share: Option<f64>| share.map_or(String::new(), |s| s.to_string());
        for c in &report.classes {
            let (name, precision, recall) = (quoted(c.name), shown(c.precision), shown(c.recall));
            console.print(&format!("{name},{},{},{precision},{recall}", c.examples, c.correct))?;
        }
    } else {
        console.print(&text(&report, evaluation.hardest_line(classes)))?;
    }
    Ok(Exit::Success)
}

/// The run's examples, or others that its network can classify.
fn examples(flags: &Eval, checkpoint: &Checkpoint) -> Result<(Data, DataName), Diagnostic> {
    let about = &checkpoint.about;
    let mut config = about.config.data.clone();
    if let Some(name) = &flags.data {
        if flags.split == Split::Val {
            let title = "which examples were held out is known of the run's own data only";
            return Err(Diagnostic::new(Exit::Usage, title).help("leave `--data` or `--split val` out"));
        }
        let name = DataName::try_from(name.clone())
            .map_err(|words| Diagnostic::new(Exit::Usage, format!("`--data`: {words}")))
            .map_err(|found| found.help("such as `--data folder:photos`"))?;
        let same_kind = name.kind() == config.name.kind();
        // How files are read is known of the run's own kind; which are held out, of its own examples only.
        config = DataConfig { val_split: 0.0, test_split: None, test: None, name, ..config };
        if !same_kind {
            config = DataConfig { name: config.name, batch: config.batch, ..DataConfig::default() };
        }
    }
    config.resolve().map_err(Diagnostic::from)?;
    let known = Known::of(about, flags.data.is_some());
    let name = config.name.clone();
    let spooled = match &config.name {
        DataName::Files(kind @ (Kind::Csv | Kind::Npz), path) if path.as_os_str() == STDIN => {
            let example = format!("cotangent eval --data {}:- < FILE", kind.name());
            let spooled = Spooled::new(&spool::stdin(&example)?)?;
            config.name = DataName::Files(*kind, spooled.path().into());
            Some(spooled)
        }
        _ => None,
    };
    let data = Data::load(&config, about.config.seed, Some(&known));
    let data = match &spooled {
        Some(spooled) => {
            let mut data = data.map_err(|found| found.reworded(|text| spooled.named(text)))?;
            data.remarks.iter_mut().for_each(|text| *text = spooled.named(text));
            data
        }
        None => data?,
    };
    config.name = name;
    if data.classes.len() > about.classes.len() {
        let (there, here) = (data.classes.len(), about.classes.len());
        let title = format!("{} has {there} classes, and the network knows {here}", config.name);
        let found = Diagnostic::new(Exit::Usage, title);
        return Err(found.help("evaluate a network that was trained on such examples"));
    }
    Ok((data, config.name))
}

fn by_class<'a>(found: &Evaluation, names: &'a [String]) -> Vec<Class<'a>> {
    let share = |part: u64, of: u64| (of > 0).then(|| part as f64 / of as f64);
    let of_class = |(c, name): (usize, &'a String)| {
        let (correct, examples) = (found.confusion[c][c], found.confusion[c].iter().sum());
        let taken: u64 = found.confusion.iter().map(|row| row[c]).sum();
        Class { name, examples, correct, precision: share(correct, taken), recall: share(correct, examples) }
    };
    names.iter().enumerate().map(of_class).collect()
}

fn text(r: &Report<'_>, hardest: Option<String>) -> String {
    let (examples, wrong) = (numerals::count(r.examples), numerals::count(r.wrong));
    let mut text = format!(
        "{} (epoch {})\n\n  {} on {examples} {} {} of {} ({wrong} wrong), loss {:.4}\n  macro-F1 {}, balanced accuracy {}\n\n",
        r.checkpoint.display(),
        r.epoch,
        percent(r.accuracy),
        r.split,
        r.noun,
        r.data,
        r.loss,
        percent(r.macro_f1),
        percent(r.balanced_accuracy)
    );
    let names = r.classes.iter().map(|c| c.name.chars().count()).max().unwrap_or(0).max("class".len());
    let line = |name: &str, cells: [&str; 4]| {
        let [a, b, c, d] = cells;
        format!("  {name:>names$}{a:>10}{b:>10}{c:>12}{d:>10}\n")
    };
    text += &line("class", [r.noun, "right", "precision", "recall"]);
    for c in &r.classes {
        let shown = |share: Option<f64>| share.map_or("–".to_string(), percent);
        let (images, right) = (numerals::count(c.examples), numerals::count(c.correct));
        text += &line(c.name, [&images, &right, &shown(c.precision), &shown(c.recall)]);
    }
    if let Some(hardest) = hardest {
        text += &format!("\n  {hardest}\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn precision_goes_down_a_column_and_recall_along_a_row() {
        let confusion = vec![vec![6, 2, 0], vec![2, 6, 0], vec![0, 0, 0]];
        let found = Evaluation { loss: 0.5, confusion, ..Evaluation::default() };
        let names = ["a", "b", "c"].map(String::from);
        let classes = by_class(&found, &names);
        assert_eq!((classes[0].precision, classes[0].recall), (Some(0.75), Some(0.75)));
        assert_eq!((classes[2].precision, classes[2].recall, classes[2].examples), (None, None, 0));
    }
}
