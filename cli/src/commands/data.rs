//! `cotangent data`: examples looked at before anything is trained on them.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use cotangent::data::Dataset;
use cotangent_board::plot;
use serde_json::json;

use super::config::sources;
use crate::chronicle::picture;
use crate::config::Config;
use crate::console::{Console, folded};
use crate::data::{Data, Examples, count};
use crate::diagnostic::{Diagnostic, Exit};
use crate::download::{self, Wish};
use crate::drawing;
use crate::flags::{Global, Settings, Split};
use crate::machine;
use crate::numerals;
use crate::run_folder::{is_stream, write_file};

/// `cotangent data`
#[derive(Args, Debug)]
#[command(after_help = AFTER)]
pub(crate) struct Flags {
    /// What to do with them.
    #[command(subcommand)]
    command: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// What is bundled, and what kinds of files are read
    #[command(after_help = AFTER)]
    List,
    /// Fetch a public data set, checked by its SHA-256: cifar10, fashion-mnist
    #[command(after_help = AFTER_GET)]
    Get(Get),
    /// How many examples there are, of which shape and classes; files are read to the end
    #[command(after_help = AFTER)]
    Info(Box<Which>),
    /// Some examples, as a PNG file or in the terminal
    #[command(after_help = AFTER)]
    Show(Box<Show>),
}

#[derive(Args, Debug)]
struct Get {
    /// The data set: cifar10, fashion-mnist
    name: String,
    /// The folder for data sets, instead of COTANGENT_DATA or ~/.local/share/cotangent
    #[arg(short, long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Another folder of the web with the same files
    #[arg(long)]
    url: Option<String>,
    /// What the file at --url is, where it is another one
    #[arg(long, value_name = "HEX", requires = "url")]
    sha256: Option<String>,
}

/// Examples by name.
#[derive(Args, Debug)]
struct Which {
    /// The examples, as of `train --data`
    #[arg(value_name = "DATA")]
    name: Option<String>,
    /// Settings as of `train`.
    #[command(flatten)]
    settings: Settings,
}

#[derive(Args, Debug)]
struct Show {
    /// The examples.
    #[command(flatten)]
    which: Which,
    /// The PNG file to write; without it, the terminal
    #[arg(short, long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// How many examples
    #[arg(short = 'n', long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    count: Option<u32>,
    /// Which of them: train, val, test
    #[arg(long, value_name = "WHICH", default_value = "train", hide_possible_values = true)]
    split: Split,
    /// As they are while training: shuffled, shifted, turned, flipped
    #[arg(long)]
    augmented: bool,
}

const AFTER: &str = "\
Examples:
  cotangent data list
  cotangent data info folder:photos --set data.resize=[64,64]
  cotangent data show folder:photos --out sheet.png
  cotangent data show mnist -n 2 --split test";

const AFTER_GET: &str = "\
The only use of the network that this program makes. A broken download is gone
on with; proxies are those of HTTPS_PROXY and ALL_PROXY, certificates those of
the system. A program that was built without the feature `download` says how
to do it by hand.

Examples:
  cotangent data get cifar10
  cotangent data get fashion-mnist --out data
  cotangent data get cifar10 --url https://mirror.example/datasets";

/// Columns of a contact sheet.
const COLUMNS: usize = 10;

/// Does what was asked.
pub(crate) fn run(flags: &Flags, global: &Global, console: &mut Console) -> Result<Exit, Diagnostic> {
    match &flags.command {
        Verb::List => list(console)?,
        Verb::Get(flags) => {
            let Get { name, out, url, sha256 } = flags;
            let wish = Wish { name, out: out.as_deref(), url: url.as_deref(), sha256: sha256.as_deref() };
            download::get(&wish, console)?;
        }
        Verb::Info(which) => {
            let (config, data) = load(which, global)?;
            info(&config, &data, console)?;
        }
        Verb::Show(flags) => {
            let (config, data) = load(&flags.which, global)?;
            show(flags, &config, &data, console)?;
        }
    }
    Ok(Exit::Success)
}

fn list(console: &mut Console) -> Result<(), Diagnostic> {
    if console.json() {
        let all: Vec<_> =
            sources().iter().map(|(name, about)| json!({ "name": name, "about": about })).collect();
        return console.print_json(&all);
    }
    sources().iter().try_for_each(|(name, about)| console.print(&folded(&format!("{name:<14} {about}"), 15)))
}

fn load(which: &Which, global: &Global) -> Result<(Config, Data), Diagnostic> {
    let mut layers = which.settings.layers(global)?;
    if let Some(name) = &which.name {
        layers.flag("", "data.name", name.as_str(), name)?;
    }
    let (config, _) = layers.merge()?;
    let threads = machine::threads(config.threads);
    let data = machine::with_threads(threads, || Data::load(&config.data, config.seed, None))?;
    Ok((config, data))
}

/// How many examples each class has.
fn by_class(examples: &Examples, classes: usize) -> Result<Vec<u64>, Diagnostic> {
    let mut counts = vec![0; classes];
    let all: Vec<usize> = (0..count(examples)).collect();
    for some in all.chunks(1000) {
        let labels =
            examples.get(some)?.pop().map(|y| y.try_to_vec::<i64>()).transpose()?.unwrap_or_default();
        labels.iter().for_each(|l| counts[*l as usize] += 1);
    }
    Ok(counts)
}

fn info(config: &Config, data: &Data, console: &mut Console) -> Result<(), Diagnostic> {
    let n = data.classes.len();
    let [train, val, test] = [&data.train, &data.val, &data.test].map(|part| by_class(part, n));
    let (train, val, test) = (train?, val?, test?);
    let normalisation = &data.normalisation;
    if console.json() {
        let of =
            |i: usize| json!({ "name": data.classes[i], "train": train[i], "val": val[i], "test": test[i] });
        return console.print_json(&json!({
            "data": config.data.name.to_string(),
            "shape": data.shape,
            "train_examples": count(&data.train),
            "val_examples": count(&data.val),
            "test_examples": count(&data.test),
            "classes": (0..n).map(of).collect::<Vec<_>>(),
            "features": data.features,
            "mean": normalisation.mean,
            "std": normalisation.std,
            "remarks": data.remarks,
        }));
    }
    let what = match &data.shape[..] {
        [c, h, w] => format!("{c}×{h}×{w} (channels × height × width)"),
        other => format!("{} features", other.iter().product::<usize>()),
    };
    console.print(&format!("{}: {} of {what}", config.data.name, data.noun()))?;
    console.print("")?;
    let widest = data.classes.iter().map(|c| c.chars().count()).max().unwrap_or(0).max("class".len());
    let line = |name: &str, a: &str, b: &str, c: &str| format!("  {name:>widest$}{a:>10}{b:>10}{c:>10}");
    console.print(&line("class", "train", "val", "test"))?;
    let shown = |n: u64| if n == 0 { "–".to_string() } else { numerals::count(n) };
    for (i, name) in data.classes.iter().enumerate() {
        console.print(&line(name, &shown(train[i]), &shown(val[i]), &shown(test[i])))?;
    }
    let sum = |of: &[u64]| shown(of.iter().sum());
    console.print(&line("all", &sum(&train), &sum(&val), &sum(&test)))?;
    let names: Vec<String> = match data.features.is_empty() {
        true => (0..normalisation.mean.len()).map(|c| format!("channel {c}")).collect(),
        false => data.features.clone(),
    };
    let widest = names.iter().map(|n| n.chars().count()).max().unwrap_or(0);
    console.print("")?;
    for (name, (mean, std)) in names.iter().zip(normalisation.mean.iter().zip(&normalisation.std)).take(40) {
        console.print(&format!("  {name:<widest$}  mean {mean:.4}, deviation {std:.4}"))?;
    }
    if names.len() > 40 {
        console.print(&format!("  and {} more", names.len() - 40))?;
    }
    data.remarks.iter().for_each(|remark| console.say(&format!("note: {remark}")));
    Ok(())
}

fn show(flags: &Show, config: &Config, data: &Data, console: &mut Console) -> Result<(), Diagnostic> {
    let part = match flags.split {
        Split::Train => &data.train,
        Split::Val => &data.val,
        Split::Test => &data.test,
    };
    let wanted = flags.count.map_or(if flags.out.is_some() { 100 } else { 3 }, |n| n as usize);
    if let Some(file) = &flags.out {
        if !file.extension().is_some_and(|e| e.eq_ignore_ascii_case("png")) && !is_stream(file) {
            let title = format!("{} does not end as a PNG file does", file.display());
            return Err(Diagnostic::new(Exit::Usage, title).help("end it with .png"));
        }
        drawing::must_be_its_kind(file, drawing::PNG)?;
    }
    let (x, labels) = if flags.augmented {
        let mut settings = config.data.clone();
        settings.batch = wanted;
        let batch = data.batches(&settings, config.seed).epoch(0)?.next().transpose()?;
        let Some(batch) = batch else {
            return Err(Diagnostic::new(Exit::Usage, "there is no example to show"));
        };
        let [x, y] = batch.into_array();
        (x, y)
    } else {
        let n = wanted.min(count(part));
        if n == 0 {
            return Err(Diagnostic::new(Exit::Usage, "there is no example to show").help("`--split train`"));
        }
        // Spread over the whole part, so that sorted classes are all seen.
        let places: Vec<usize> = (0..n).map(|i| i * count(part) / n).collect();
        let [x, y] = <[_; 2]>::try_from(part.get(&places)?)
            .map_err(|_| Diagnostic::new(Exit::Failure, "inputs and labels were expected"))?;
        (x, y)
    };
    let labels: Vec<&str> =
        labels.try_to_vec::<i64>()?.iter().map(|l| data.classes[*l as usize].as_str()).collect();
    let size: usize = data.shape.iter().product();
    let values = x.try_to_vec::<f32>()?;
    let mut pictures = Vec::new();
    for values in values.chunks_exact(size.max(1)) {
        let one = cotangent::Tensor::from(values.to_vec());
        let Some(shown) = picture(Some(&one), data.sides(), &data.normalisation)? else {
            let title = format!("{} holds no pictures that could be shown", config.data.name);
            return Err(
                Diagnostic::new(Exit::Usage, title).help("`cotangent data info` describes its numbers")
            );
        };
        pictures.push(shown);
    }
    match &flags.out {
        Some(file) => {
            let zoom = (96 / data.sides()[1].max(1)).clamp(1, 4);
            write_file(file, &plot::tiles(&pictures, COLUMNS, zoom, 2))?;
            let rows: Vec<String> = labels.chunks(COLUMNS).map(|row| row.join(" ")).collect();
            if console.json() {
                return console.print_json(&json!({ "file": file, "labels": labels }));
            }
            console.print(&file.display().to_string())?;
            rows.iter().try_for_each(|row| console.print(&format!("  {row}")))
        }
        None if console.json() => {
            for (picture, label) in pictures.iter().zip(&labels) {
                console.say(&format!("{label}\n{}", drawn(picture)));
            }
            console.print_json(&json!({ "file": null, "labels": labels }))
        }
        None => pictures.iter().zip(&labels).try_for_each(|(picture, label)| {
            console.print(label)?;
            console.print(&drawn(picture))
        }),
    }
}

/// A picture in characters, two a pixel, at most 39 pixels wide.
fn drawn(picture: &plot::Picture) -> String {
    const INK: &[u8] = b" .:-=+*#%@";
    let (h, w) = (picture.height, picture.width);
    let step = w.div_ceil(39).max(1);
    let level = |row: usize, column: usize| {
        let of = |c: usize| usize::from(picture.bytes[(c * h + row) * w + column]);
        (0..picture.channels).map(of).sum::<usize>() / picture.channels.max(1)
    };
    let line = |row: usize| {
        let ink =
            (0..w).step_by(step).map(|column| char::from(INK[level(row, column) * (INK.len() - 1) / 255]));
        ink.flat_map(|c| [c, c]).collect::<String>().trim_end().to_string()
    };
    (0..h).step_by(step).map(line).collect::<Vec<_>>().join("\n")
}
