//! `cotangent config`: settings written, shown, checked and explained.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use cotangent::nn::Summary;
use serde_json::{Map, Value, json};

use crate::config::keys::{KEYS, LAYERS, schema};
use crate::config::layers::{Layers, leaves, origin};
use crate::config::{Config, DataName};
use crate::console::{Console, folded};
use crate::data::{Outline, outline};
use crate::diagnostic::{Diagnostic, Exit};
use crate::flags::{Global, Settings};
use crate::machine;
use crate::model;
use crate::numerals::count;
use crate::run_folder::write_file;
use crate::shell;

/// `cotangent config`
#[derive(Args, Debug)]
#[command(after_help = AFTER)]
pub(crate) struct Flags {
    /// What to do with them.
    #[command(subcommand)]
    command: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Write a commented file with every key
    #[command(after_help = AFTER)]
    Init {
        /// The file; - writes to stdout
        #[arg(default_value = "cotangent.toml")]
        file: PathBuf,
        /// Write over a file that is there
        #[arg(long)]
        force: bool,
    },
    /// Every setting that a run would have, and where its value came from
    #[command(after_help = AFTER)]
    Show(Box<Settings>),
    /// Read a file, its examples and its network as a run would, and train nothing
    #[command(after_help = AFTER)]
    Check {
        /// A TOML file of settings
        file: PathBuf,
    },
    /// Every key: what may stand for it, its default, what it means
    #[command(after_help = AFTER)]
    Keys,
    /// JSON Schema of a configuration file, for editors
    #[command(after_help = AFTER)]
    Schema,
}

const AFTER: &str = "\
Examples:
  cotangent config init my.toml
  cotangent config show -c my.toml --lr 0.1
  cotangent config check my.toml
  cotangent config schema > cotangent.schema.json";

/// Does what was asked.
pub(crate) fn run(flags: &Flags, global: &Global, console: &mut Console) -> Result<Exit, Diagnostic> {
    match &flags.command {
        Verb::Init { file, force } => init(file, *force, console)?,
        Verb::Show(settings) => show(settings, global, console)?,
        Verb::Check { file } => check(file, global, console)?,
        Verb::Keys => keys(console)?,
        Verb::Schema => {
            let text = serde_json::to_string_pretty(&schema());
            let text = text.map_err(|e| Diagnostic::new(Exit::Failure, e.to_string()))?;
            console.print(&text)?;
        }
    }
    Ok(Exit::Success)
}

/// The default of each key, as TOML; keys that are left open have none.
fn defaults() -> Result<Vec<(String, String)>, Diagnostic> {
    let (config, _) = Layers::default().merge()?;
    let mut found = Vec::new();
    leaves("", &config.table().into(), &mut |key, value| found.push((key.to_string(), value.to_string())));
    // What it becomes of the bundled examples is no default for others.
    found.iter_mut().filter(|(key, _)| key == "model").for_each(|(_, value)| *value = "\"auto\"".into());
    Ok(found)
}

fn default_of<'a>(defaults: &'a [(String, String)], key: &str) -> Option<&'a str> {
    defaults.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
}

fn init(file: &Path, force: bool, console: &mut Console) -> Result<(), Diagnostic> {
    let defaults = defaults()?;
    let mut text = String::from(
        "# Settings of a run: cotangent train -c FILE\n# What is commented out has that value, or is left open.\n",
    );
    let mut table = String::new();
    for key in KEYS.iter().filter(|k| k.name != "layers") {
        let (inside, name) = key.name.split_once('.').unwrap_or(("", key.name));
        if inside != table {
            let _ = write!(text, "\n[{inside}]\n");
            table = inside.into();
        }
        let default = default_of(&defaults, key.name);
        // `model = "auto"`, and a schedule's settings depend on its name: they stay comments.
        let value = default.map_or(" ".to_string(), |d| format!(" {d} "));
        let _ = writeln!(text, "# {name} ={value}# {}: {}", key.shape.words(), key.about);
    }
    text.push_str("\n# A network layer by layer, instead of `model`: each of these as often as needed.\n");
    for (example, about) in LAYERS {
        let _ = writeln!(text, "# [[layers]]\n# {example} # {about}");
    }
    if file == Path::new("-") {
        return console.print(text.trim_end());
    }
    if file.exists() && !force {
        let title = format!("{} exists already, and is not written over", file.display());
        return Err(Diagnostic::new(Exit::Usage, title).help("choose another name, or add `--force`"));
    }
    write_file(file, text.as_bytes())?;
    match console.json() {
        true => console.print_json(&json!({ "file": file })),
        false => {
            console.print(&file.display().to_string())?;
            console.say(&format!("  next: cotangent train -c {}", shell::word(file)));
            Ok(())
        }
    }
}

fn show(settings: &Settings, global: &Global, console: &mut Console) -> Result<(), Diagnostic> {
    let (config, origins) = settings.layers(global)?.merge()?;
    if console.json() {
        let mut all = Map::new();
        leaves("", &config.table().into(), &mut |key, value| {
            let origin = origin(&origins, key);
            all.insert(key.into(), json!({ "value": value, "origin": origin }));
        });
        return console.print_json(&Value::Object(all));
    }
    config.listing(&origins).iter().try_for_each(|line| console.print(line.trim_start()))
}

fn check(file: &Path, global: &Global, console: &mut Console) -> Result<(), Diagnostic> {
    let mut layers = Layers::default();
    layers.file(file)?;
    let (config, _) = layers.merge()?;
    machine::device(config.device)?;
    let threads = global.threads.map_or(config.threads, |n| n as usize);
    let (outline, summary) =
        machine::with_threads(machine::threads(threads), || looked_at(&config, &layers))?;
    let Outline { shape, classes, train, test } = outline;
    let name = model::suitable(config.model, &shape);
    if console.json() {
        return console.print_json(&json!({
            "file": file, "ok": true, "data": config.data.name.to_string(), "shape": shape, "classes": classes,
            "train_examples": train, "test_examples": test, "model": name.name(), "parameters": summary.parameters,
        }));
    }
    console.print(&format!("{} is fine", file.display()))?;
    let (train, test) = (count(train as u64), count(test as u64));
    console.print(&format!("  {}: {train} examples to train on, {test} to test on", config.data.name))?;
    console.print(&format!("  examples of {shape:?} in {classes} classes"))?;
    console.print(&format!("  {name}: {} parameters", count(summary.parameters as u64)))
}

/// The examples and the network of a configuration.
fn looked_at(config: &Config, layers: &Layers) -> Result<(Outline, Summary), Diagnostic> {
    let found = outline(&config.data, config.seed)?;
    let batch = config.data.batch.min(found.train.max(1));
    let place = |problem| layers.place(&problem);
    let architecture = config.into();
    let (shape, classes) = (&found.shape, found.classes);
    let (_, summary) = model::build_at(&architecture, shape, classes, config.seed, batch, &place)?;
    model::must_train(&architecture, shape, classes, &config.data, found.train, &place)?;
    Ok((found, summary))
}

fn keys(console: &mut Console) -> Result<(), Diagnostic> {
    let defaults = defaults()?;
    if console.json() {
        let all: Vec<Value> = KEYS
            .iter()
            .map(|k| {
                let default = default_of(&defaults, k.name);
                json!({ "key": k.name, "value": k.shape.words(), "default": default, "about": k.about })
            })
            .chain(
                LAYERS
                    .iter()
                    .map(|(example, about)| json!({ "key": "layers", "value": example, "about": about })),
            )
            .collect();
        return console.print_json(&all);
    }
    for key in KEYS {
        let default = default_of(&defaults, key.name).map_or(String::new(), |d| format!(" = {d}"));
        console.print(&format!("{}{default}", key.name))?;
        console.print(&folded(&format!("    {}: {}", key.shape.words(), key.about), 4))?;
    }
    for (example, about) in LAYERS {
        console.print(&format!("[[layers]] {example}"))?;
        console.print(&folded(&format!("    {about}"), 4))?;
    }
    Ok(())
}

/// What is bundled, and what kinds of files are read.
pub(super) fn sources() -> Vec<(String, &'static str)> {
    use crate::config::Kind;
    let mut all = vec![
        (DataName::Mnist.to_string(), "60,000 and 10,000 digits of 28×28, bundled"),
        (DataName::Wafer.to_string(), "1,600 and 400 maps of wafers of 28×28, nine unequal classes, drawn"),
    ];
    all.extend(Kind::ALL.iter().map(|kind| (format!("{kind}:PATH"), kind.expects())));
    all
}
