//! The command line.

mod lecture;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};

pub(crate) use lecture::{Explain, Why, language};

use crate::config::layers::Layers;
use crate::diagnostic::Diagnostic;
use crate::{run_folder, shell};

/// Deep learning from the chain rule up.
#[derive(Debug, Parser)]
#[command(name = "cotangent", version, about, max_term_width = 80, after_help = AFTER)]
pub(crate) struct Cli {
    /// Flags of every command.
    #[command(flatten)]
    pub(crate) global: Global,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The words of a command line, with negative numbers as their flags' values where they would be taken for flags:
/// `--lr -1e-3` is `--lr=-1e-3`.
pub(crate) fn joined(words: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    fn valued(command: &clap::Command, found: &mut Vec<String>) {
        let flags = command.get_arguments().filter(|arg| arg.get_action().takes_values());
        found.extend(flags.filter_map(|arg| Some(format!("--{}", arg.get_long()?))));
        command.get_subcommands().for_each(|command| valued(command, found));
    }
    let mut flags = Vec::new();
    let mut joined: Vec<OsString> = Vec::new();
    for word in words {
        let number = word.to_str().is_some_and(|w| w.starts_with('-') && w.parse::<f64>().is_ok());
        if number && flags.is_empty() {
            valued(&Cli::command(), &mut flags);
        }
        match joined.last_mut() {
            Some(flag) if number && flag.to_str().is_some_and(|f| flags.iter().any(|known| known == f)) => {
                flag.push("=");
                flag.push(word);
            }
            _ => joined.push(word),
        }
    }
    joined
}

/// What to write instead of a command line that lacks a word, or has one too many; nothing of other mistakes.
pub(crate) fn hint(error: &clap::Error, line: &[String]) -> String {
    use clap::error::{ContextKind, ContextValue, ErrorKind};
    let mut words = line.iter().filter(|word| !word.starts_with('-'));
    let (command, first) = (words.next().map_or("", String::as_str), words.next());
    match (error.kind(), error.get(ContextKind::InvalidArg), command) {
        (ErrorKind::UnknownArgument, Some(ContextValue::String(word)), "train" | "plan" | "lr-find")
            if !word.starts_with('-') =>
        {
            let kind = match Path::new(word) {
                path if path.is_dir() => "folder:",
                path if path.extension().is_some_and(|e| e == "csv") => "csv:",
                path if path.extension().is_some_and(|e| e == "npz" || e == "npy") => "npz:",
                _ => "",
            };
            let word = shell::word(Path::new(&format!("{kind}{word}")));
            format!("help: examples are named by a flag: cotangent {command} --data {word}\n")
        }
        (ErrorKind::MissingRequiredArgument, Some(ContextValue::Strings(_)), "predict") => {
            let picture = first.filter(|w| Path::new(w).is_file()).map_or("seven.png", String::as_str);
            let picture = shell::word(Path::new(picture));
            let runs = run_folder::names(Path::new("runs"));
            match runs.last() {
                None => format!(
                    "help: a run comes first, and `cotangent train` makes one; then\n      \
                     cotangent predict runs/latest {picture}\n"
                ),
                Some(run) => format!(
                    "help: a run comes first, such as runs/{run}, then pictures:\n      \
                     cotangent predict runs/latest {picture}\n",
                ),
            }
        }
        _ => String::new(),
    }
}

const AFTER: &str = "\
Examples:
  cotangent train                        train LeNet-5 on the bundled MNIST
  cotangent eval                         how good the latest run is
  cotangent predict runs/latest 7.png    classify a picture

Exit codes:
  0 done · 1 failure · 2 usage or configuration · 3 data missing or damaged
  4 diverged · 5 no such device, or out of memory
  130 / 143 interrupted and saved";

/// Flags of every command.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Options of every command")]
pub(crate) struct Global {
    /// Where to compute: auto, cpu, or virtual (a teaching GPU)
    #[arg(long, global = true, value_name = "DEVICE")]
    pub(crate) device: Option<String>,
    /// Worker threads; 0 is one for each core. The results do not depend on it
    #[arg(long, global = true, value_name = "N")]
    pub(crate) threads: Option<u32>,
    /// Write JSON to stdout; text for people goes to stderr
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Say less: `train` shows only its final line
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// Show more, such as where every setting came from; twice, steps too. COTANGENT_LOG=debug and =trace are the same
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    /// When to use colours: auto, always, never
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto", hide_possible_values = true)]
    pub(crate) color: Color,
}

/// When to use colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    /// On a terminal, unless NO_COLOR is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl Color {
    /// The choice for everything that is printed.
    pub(crate) fn choice(self) -> anstream::ColorChoice {
        match self {
            Color::Auto => anstream::ColorChoice::Auto,
            Color::Always => anstream::ColorChoice::AlwaysAnsi,
            Color::Never => anstream::ColorChoice::Never,
        }
    }

    /// The choice for what clap prints.
    pub(crate) fn of_clap(self) -> clap::ColorChoice {
        match self {
            Color::Auto => clap::ColorChoice::Auto,
            Color::Always => clap::ColorChoice::Always,
            Color::Never => clap::ColorChoice::Never,
        }
    }

    /// The choice on a command line that may be wrong elsewhere.
    pub(crate) fn among(words: impl IntoIterator<Item = OsString>) -> Self {
        let mut words = words.into_iter().map(|word| word.to_string_lossy().into_owned());
        let mut color = Color::Auto;
        while let Some(word) = words.next() {
            let value = match word.split_once('=') {
                Some(("--color", value)) => Some(value.to_string()),
                None if word == "--color" => words.next(),
                _ => None,
            };
            color = value.and_then(|v| Color::from_str(&v, false).ok()).unwrap_or(color);
        }
        color
    }
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Train a model (default: LeNet-5 on MNIST)
    Train(Box<Train>),
    /// Accuracy, loss and a table by class of a trained model
    Eval(Eval),
    /// Classify pictures, folders of them, rows of a table, or stdin
    Predict(Predict),
    /// Layers, output sizes, parameters, multiply-adds, memory
    Summary(Summary),
    /// How the training step is compiled: kernels, blocks, memory, and why
    Plan(Box<Plan>),
    /// Forward mode against reverse mode against finite differences, layer by layer
    Gradcheck(Gradcheck),
    /// What differentiation does at every step of an expression or a network
    Explain(Box<Explain>),
    /// Why it is so: each claim of the lecture with numbers, counter-example and check
    Why(Why),
    /// Experiments: optimisers side by side, batches, networks of then and now
    Lab(crate::commands::lab::Flags),
    /// The book of the lecture as one page, without network
    Book(crate::commands::book::Flags),
    /// The runs in a folder: list, show, rm
    Runs(crate::commands::runs::Flags),
    /// Runs beside each other: figures, settings that differ, curves
    Compare(crate::commands::compare::Flags),
    /// A live page of all runs, for this machine alone
    Dashboard(crate::commands::dashboard::Flags),
    /// Plots and report.html of a run, made again
    Report(crate::commands::report::Flags),
    /// Learning-rate range test: suggests a rate, and draws why
    LrFind(Box<crate::commands::lr_find::Flags>),
    /// A trained network for other programs: ONNX, safetensors, NPZ
    Export(crate::commands::export::Flags),
    /// Weights from safetensors, NPZ or ONNX into a run or a checkpoint
    Import(Box<crate::commands::import::Flags>),
    /// Settings: init, show, check, keys, schema
    Config(crate::commands::config::Flags),
    /// Examples: list, get, info, show
    Data(crate::commands::data::Flags),
    /// How fast training, inference and single operations are on this machine
    Bench(Bench),
    /// This machine as the program sees it, and a short self-check
    #[command(after_help = AFTER_DOCTOR)]
    Doctor,
    /// Where a run can compute
    Devices(crate::commands::devices::Flags),
    /// What a shell needs to complete commands and flags
    Completions(crate::commands::completions::Flags),
    /// Manual pages
    Man(crate::commands::man::Flags),
}

/// A network, and the examples that it is for: flags that are settings.
#[derive(Args, Debug)]
pub(crate) struct Network {
    /// A TOML file of settings
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// A setting by its key, such as optim.momentum=0.95; may be repeated
    #[arg(short, long, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// The network: auto, lenet5, cnn, mlp, softmax, resnet18; or [[layers]] in --config
    #[arg(long)]
    pub(crate) model: Option<String>,
    /// The examples: mnist, wafer, folder:DIR, csv:FILE, npz:FILE, idx:DIR, cifar10:DIR
    #[arg(long)]
    pub(crate) data: Option<String>,
}

impl Network {
    /// The layers of a configuration: the file, then `--set`, then the flags.
    pub(crate) fn layers(&self, global: &Global) -> Result<Layers, Diagnostic> {
        let mut layers = Layers::default();
        if let Some(path) = &self.config {
            layers.file(path)?;
        }
        for assignment in &self.set {
            layers.set(assignment)?;
        }
        for (flag, key, value) in [
            ("--model", "model", &self.model),
            ("--data", "data.name", &self.data),
            ("--device", "device", &global.device),
        ] {
            if let Some(value) = value {
                layers.flag(flag, key, value.as_str(), value)?;
            }
        }
        if let Some(threads) = global.threads {
            layers.flag("--threads", "threads", i64::from(threads), &threads.to_string())?;
        }
        Ok(layers)
    }
}

/// What a run is made of: flags that are settings, for `train` and `plan`.
#[derive(Args, Debug)]
pub(crate) struct Settings {
    /// Network and examples.
    #[command(flatten)]
    network: Network,
    /// Settings for an occasion: quick, small, imbalanced; all else goes over them
    #[arg(long, value_name = "NAME")]
    pub(crate) preset: Option<String>,
    /// Passes over the training examples
    #[arg(long, value_name = "N")]
    pub(crate) epochs: Option<i64>,
    /// Examples in a step
    #[arg(long, value_name = "N")]
    pub(crate) batch: Option<i64>,
    /// The update rule: sgd, momentum, nesterov, adagrad, rmsprop, adam, adamw
    #[arg(long, value_name = "NAME")]
    pub(crate) optim: Option<String>,
    /// Learning rate; the highest one, where a schedule moves it
    #[arg(long, value_name = "RATE")]
    pub(crate) lr: Option<f64>,
    /// Everything random follows from it
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<i64>,
    /// Training examples to hold out for validation: a share below 1, or a number of them
    #[arg(long, value_name = "N")]
    pub(crate) val_split: Option<f64>,
    /// Fit only a share of the training examples, or so many of them
    #[arg(long, value_name = "N")]
    pub(crate) fraction: Option<f64>,
    /// Stop after N epochs without a better validation loss; needs --val-split
    #[arg(long, value_name = "N")]
    pub(crate) patience: Option<i64>,
}

/// `cotangent train`
#[derive(Args, Debug)]
#[command(after_help = AFTER_TRAIN)]
pub(crate) struct Train {
    /// Settings of a new run.
    #[command(flatten)]
    pub(crate) settings: Settings,
    /// The folder that holds the run folders
    #[arg(long, value_name = "DIR", default_value = "runs")]
    pub(crate) out: PathBuf,
    /// Name of the run folder, instead of a number
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Take the --name of an earlier run, which is called NAME.1 from then on
    #[arg(long, requires = "name", conflicts_with = "resume")]
    pub(crate) force: bool,
    /// Finish the step, save and end after this time, such as 90s, 10m or 1h30m; --resume goes on
    #[arg(long, value_name = "TIME", value_parser = time, allow_hyphen_values = true)]
    pub(crate) max_time: Option<std::time::Duration>,
    /// Say what would be trained, and how long that would take; nothing is written
    #[arg(long, conflicts_with_all = ["smoke", "dashboard", "name"])]
    pub(crate) dry_run: bool,
    /// Go the whole way with two batches of training examples, in a folder that is removed afterwards
    #[arg(long, conflicts_with_all = ["dashboard", "name", "out"])]
    pub(crate) smoke: bool,
    /// Show a live page while it trains; its port is the first one from 7878 on that is free, unless it is given
    #[arg(long, value_name = "PORT", num_args = 0..=1, require_equals = true)]
    pub(crate) dashboard: Option<Option<u16>>,
    /// Make no plots and no report.html
    #[arg(long)]
    pub(crate) no_plots: bool,
    /// Write no event file for TensorBoard
    #[arg(long)]
    pub(crate) no_tensorboard: bool,
    /// Compute every step operation by operation, instead of recording it once; sums over a batch are rounded
    /// in another order then
    #[arg(long)]
    pub(crate) eager: bool,
    /// Go on with an interrupted run: its folder or a checkpoint in it. Only --epochs may change its settings
    #[arg(long, value_name = "RUN", conflicts_with_all = [
        "config", "preset", "set", "model", "data", "batch", "optim", "lr", "seed", "val_split", "patience", "out", "name",
        "fraction", "dry_run", "smoke",
    ])]
    pub(crate) resume: Option<PathBuf>,
}

impl Settings {
    /// The layers of a new run's configuration: the file, then `--set`, then the flags.
    pub(crate) fn layers(&self, global: &Global) -> Result<Layers, Diagnostic> {
        let mut layers = self.network.layers(global)?;
        for (flag, key, value) in
            [("--preset", "preset", &self.preset), ("--optim", "optim.name", &self.optim)]
        {
            if let Some(value) = value {
                layers.flag(flag, key, value.as_str(), value)?;
            }
        }
        let whole = [
            ("--batch", "data.batch", self.batch),
            ("--epochs", "train.epochs", self.epochs),
            ("--patience", "train.patience", self.patience),
            ("--seed", "seed", self.seed),
        ];
        for (flag, key, value) in whole {
            if let Some(value) = value {
                layers.flag(flag, key, value, &value.to_string())?;
            }
        }
        for (flag, key, value) in [
            ("--lr", "optim.lr", self.lr),
            ("--val-split", "data.val_split", self.val_split),
            ("--fraction", "data.fraction", self.fraction),
        ] {
            if let Some(value) = value {
                layers.flag(flag, key, value, &value.to_string())?;
            }
        }
        Ok(layers)
    }
}

const AFTER_DOCTOR: &str = "\
Examples:
  cotangent doctor                 what a report of a fault should begin with
  cotangent doctor --json";

const AFTER_TRAIN: &str = "\
Settings come from defaults, then --preset, then --config, then --set, then
the other flags; the later wins. The test examples are shown after every epoch
and never used: not to stop, not to choose a checkpoint.

Examples:
  cotangent train --epochs 5 --seed 1
  cotangent train --optim adam --lr 0.002 --set optim.schedule=cosine
  cotangent train --val-split 5000 --patience 3
  cotangent train --data folder:photos --set data.resize=[64,64]
  cotangent train --data csv:wafers.csv --set data.label=result
  cotangent train -c runs/lenet5-mnist-001/config.toml
  cotangent train --resume runs/lenet5-mnist-001
  cotangent train --dashboard
  cotangent train -c my.toml --dry-run
  cotangent train --fraction 0.1 --max-time 10m
  cotangent train --json | jq -c 'select(.event == \"epoch\")'";

/// `cotangent eval`
#[derive(Args, Debug)]
#[command(after_help = AFTER_EVAL)]
pub(crate) struct Eval {
    /// A run folder or a checkpoint
    #[arg(default_value = "runs/latest")]
    pub(crate) run: PathBuf,
    /// Which examples: train, val (those held out of the training set), test
    #[arg(long, value_name = "WHICH", default_value = "test", hide_possible_values = true)]
    pub(crate) split: Split,
    /// Other examples than the run's, as `train --data` takes them; csv:- and npz:- are read from stdin
    #[arg(long)]
    pub(crate) data: Option<String>,
    /// How to write it: text, csv (a line a class), json
    #[arg(long, value_name = "FORMAT", default_value = "text", hide_possible_values = true)]
    pub(crate) format: OutputFormat,
    /// Examples in a step; changes speed and memory only
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) batch: u32,
}

const AFTER_EVAL: &str = "\
Examples:
  cotangent eval
  cotangent eval runs/lenet5-mnist-001 --split train
  cotangent eval runs/cnn-photos-001 --data folder:more --format csv
  cotangent eval runs/lenet5-mnist-001/checkpoints/last.safetensors --json";

/// Which examples of a data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Split {
    /// Those that were fitted.
    Train,
    /// Those that were held out of the training set.
    Val,
    /// The data set's own test examples.
    Test,
}

/// `cotangent predict`
#[derive(Args, Debug)]
#[command(after_help = AFTER_PREDICT)]
pub(crate) struct Predict {
    /// A run folder or a checkpoint
    pub(crate) run: PathBuf,
    /// Pictures (PNG, JPEG, BMP, TIFF), folders of them, CSV, NPY, NPZ, IDX or CIFAR files, or - for stdin
    #[arg(required = true, value_name = "PICTURE")]
    pub(crate) pictures: Vec<PathBuf>,
    /// How many classes to show for each picture
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) top: u32,
    /// How to write the answers: text, csv, json
    #[arg(long, value_name = "FORMAT", default_value = "text", hide_possible_values = true)]
    pub(crate) format: OutputFormat,
    /// Whether to swap dark and light of digits: always, never, or auto (for dark ink on light paper)
    #[arg(long, value_name = "WHEN", default_value = "auto", hide_possible_values = true)]
    pub(crate) invert: Invert,
}

const AFTER_PREDICT: &str = "\
Examples:
  cotangent predict runs/latest seven.png
  cotangent predict runs/latest scans/ --format csv > answers.csv
  cotangent predict runs/latest - < seven.png";

/// How answers are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OutputFormat {
    /// For people.
    Text,
    /// A line each, with the probability of every class.
    Csv,
    /// An object each.
    Json,
}

/// Whether to swap dark and light.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Invert {
    /// If the border of the picture is light.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// `cotangent summary`
#[derive(Args, Debug)]
#[command(after_help = AFTER_SUMMARY)]
pub(crate) struct Summary {
    /// A run folder or a checkpoint; without one, what the settings say
    #[arg(conflicts_with_all = ["model", "data", "config", "set"])]
    pub(crate) run: Option<PathBuf>,
    /// Network and examples.
    #[command(flatten)]
    pub(crate) network: Network,
    /// Examples in a step; by default those of the settings
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) batch: Option<u32>,
}

const AFTER_SUMMARY: &str = "\
Examples:
  cotangent summary
  cotangent summary --model mlp --batch 1
  cotangent summary -c net.toml --data folder:photos
  cotangent summary runs/latest --json";

/// `cotangent plan`
#[derive(Args, Debug)]
#[command(after_help = AFTER_PLAN)]
pub(crate) struct Plan {
    /// Settings as of `train`.
    #[command(flatten)]
    pub(crate) settings: Settings,
    /// The step that evaluates, instead of the one that trains; on 1000 examples unless --batch says otherwise
    #[arg(long)]
    pub(crate) inference: bool,
}

const AFTER_PLAN: &str = "\
Settings are those of `train`; nothing is computed. Each line is one call:
  its instruction · how: a kernel of the operation, lanes (sixteen examples
  side by side), or a move of elements · operation and shapes · arithmetic ·
  module and line of source code it comes from
Notes say what was fused, what was left out, and why something is not computed
in blocks.

Examples:
  cotangent plan
  cotangent plan --model mlp --optim adam --batch 256
  cotangent plan --set train.clip_norm=1 --data idx:DIR
  cotangent plan --inference --batch 1
  cotangent plan --json | jq '.remarks'";

/// `cotangent bench`
#[derive(Args, Debug)]
#[command(after_help = AFTER_BENCH)]
pub(crate) struct Bench {
    /// What to measure, and for how long.
    #[command(flatten)]
    pub(crate) options: cotangent_bench::Options,
}

const AFTER_BENCH: &str = "\
A line is the median of many repetitions, with the tenth and the ninetieth
percentile. Compare only what was measured on the same quiet machine. Without
--filter it takes minutes.

Examples:
  cotangent bench --list
  cotangent bench --filter train/lenet5 --epochs 5
  cotangent bench --filter op/conv2d --seconds 0.2 --threads 1
  cotangent bench --filter infer/ --json > before.jsonl
  cotangent bench --filter infer/ --baseline before.jsonl
  cotangent bench --filter train/lenet5/batch-64 --agree peers";

/// `cotangent gradcheck`
#[derive(Args, Debug)]
#[command(after_help = AFTER_GRADCHECK)]
pub(crate) struct Gradcheck {
    /// Network and examples.
    #[command(flatten)]
    pub(crate) network: Network,
    /// Draws the weights, the input and the directions; by default the seed of the settings
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
}

const AFTER_GRADCHECK: &str = "\
The input is noise of the examples' shape. Dropout lets everything pass; batch
norm takes the statistics of the batch, as while training.

Examples:
  cotangent gradcheck
  cotangent gradcheck -c net.toml --data folder:photos
  cotangent gradcheck --model mlp --seed 7 --json";

/// A time as people write it.
fn time(text: &str) -> Result<std::time::Duration, String> {
    humantime::parse_duration(text).map_err(|_| "expected a time such as 90s, 10m or 1h30m".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn colours_are_found_on_any_line() {
        let among = |line: &str| Color::among(line.split(' ').map(OsString::from));
        assert_eq!(among("cotangent train"), Color::Auto);
        assert_eq!(among("cotangent trian --color=never"), Color::Never);
        assert_eq!(among("cotangent --color always train --color"), Color::Always);
        assert_eq!(among("cotangent --color red"), Color::Auto);
    }

    #[test]
    fn flags_of_every_command_stand_before_or_after_it() {
        for line in [["cotangent", "--json", "doctor"], ["cotangent", "doctor", "--json"]] {
            assert!(Cli::try_parse_from(line).unwrap().global.json);
        }
    }

    #[test]
    fn a_resumed_run_keeps_its_settings() {
        let parse = |flags: &[&str]| {
            let line = ["cotangent", "train", "--resume", "runs/x"].iter().chain(flags);
            Cli::try_parse_from(line)
        };
        for flags in
            [&["--lr", "0.1"], &["--seed", "1"], &["--set", "seed=1"], &["--out", "x"], &["--name", "x"]]
        {
            let error = parse(flags).unwrap_err();
            assert_eq!(error.exit_code(), 2);
            assert!(error.to_string().contains("--resume"), "{error}");
        }
        parse(&["--epochs", "7", "--threads", "2", "--json", "-v"]).unwrap();
    }

    #[test]
    fn negative_numbers_are_values() {
        let joined = |line: &str| {
            let words = joined(line.split(' ').map(OsString::from));
            words.iter().map(|w| w.to_str().unwrap()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(joined("cotangent train --lr -1e-3 -s seed=1"), "cotangent train --lr=-1e-3 -s seed=1");
        assert_eq!(joined("x --lr -.5 --batch -inf"), "x --lr=-.5 --batch=-inf");
        for kept in [
            "x --json -q",
            "x --quiet -2",
            "x --slides -1",
            "x -s -1",
            "x --lr=1 -2",
            "x -- -3",
            "x explain -1",
            "x -vv",
        ] {
            assert_eq!(joined(kept), kept);
        }
    }

    #[test]
    fn flags_go_over_set() {
        let line =
            "cotangent train --set optim.lr=1 --set data.batch=8 --lr 0.5 --device cpu --threads 3 --seed 9";
        let cli = Cli::try_parse_from(line.split(' ')).unwrap();
        let Command::Train(train) = cli.command else { panic!("train was asked") };
        let (config, origins) = train.settings.layers(&cli.global).unwrap().merge().unwrap();
        assert_eq!((config.optim.lr, config.data.batch, config.threads, config.seed), (Some(0.5), 8, 3, 9));
        assert_eq!(origins["optim.lr"], "--lr");
        assert_eq!(origins["device"], "--device");
    }

    #[test]
    fn every_flag_that_is_a_setting_is_checked() {
        for flags in [
            "--epochs=0",
            "--batch=-1",
            "--epochs -1",
            "--seed -1",
            "--lr=nan",
            "--val-split=1.5",
            "--patience=1",
            "--device=gpu",
            "--model=x",
        ] {
            let line = ["cotangent", "train"].into_iter().chain(flags.split(' '));
            let cli = Cli::try_parse_from(joined(line.map(OsString::from))).unwrap();
            let Command::Train(train) = cli.command else { panic!("train was asked") };
            let error =
                train.settings.layers(&cli.global).and_then(|layers| layers.merge()).unwrap_err().to_string();
            assert!(error.contains(&flags.replace('=', " ").replace("nan", "NaN")), "{error}");
        }
    }

    #[test]
    fn every_command_shows_examples() {
        for command in Cli::command().get_subcommands_mut().filter(|c| c.get_name() != "doctor") {
            let help = command.render_help().to_string();
            assert!(help.contains("Examples:\n  cotangent"), "{help}");
        }
    }

    #[test]
    fn help_fits_into_eighty_columns() {
        fn walk(command: &mut clap::Command, seen: &mut usize) {
            *seen += 1;
            // What clap would have to break is broken where it makes sense.
            for text in [command.get_after_help(), command.get_after_long_help()].into_iter().flatten() {
                for line in text.to_string().lines() {
                    assert!(line.chars().count() <= 80, "{}: {line}", command.get_name());
                }
            }
            for help in [command.render_help(), command.render_long_help()] {
                for line in help.to_string().lines() {
                    assert!(line.chars().count() <= 80, "{}: {line}", command.get_name());
                }
            }
            command.get_subcommands_mut().for_each(|inner| walk(inner, seen));
        }
        let (mut root, mut seen) = (Cli::command().term_width(80), 0);
        root.build();
        walk(&mut root, &mut seen);
        assert!(seen > 30, "{seen}");
    }
}
