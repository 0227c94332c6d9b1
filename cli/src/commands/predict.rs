//! `cotangent predict`: which class each picture belongs to.

use std::fs::{self, File};
use std::io::{BufReader, Cursor, Read};
use std::path::{Path, PathBuf};

use cotangent::data::{Dataset, Elements, Idx, Images};
use cotangent::nn::{Call, ParametersExt};
use cotangent::{Device, Step, Tensor, attempt, no_grad};
use serde::Serialize;

use super::{place, trained};
use crate::checkpoint::Checkpoint;
use crate::config::DataName;
use crate::console::Console;
use crate::data::normalised;
use crate::diagnostic::{Diagnostic, Exit};
use crate::evaluation::CHUNK;
use crate::flags::{Global, Predict};
use crate::machine;
use crate::model;
use crate::numerals::percent;
use crate::picture::{Fit, Picture};

/// What stands for the standard input.
const STDIN: &str = "-";

#[derive(Serialize)]
struct Guess<'a> {
    class: &'a str,
    probability: f64,
}

#[derive(Serialize)]
struct Answer<'a> {
    picture: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<usize>,
    class: &'a str,
    guesses: Vec<Guess<'a>>,
    prepared: &'a [String],
}

/// Some pictures as the network takes them.
struct Prepared {
    /// The file they come from.
    name: String,
    /// Whether the file holds several.
    several: bool,
    /// Their pixels, one picture after the other.
    pixels: Vec<u8>,
    /// What was done to them.
    done: Vec<String>,
}

/// Classifies pictures.
pub(crate) fn run(flags: &Predict, global: &Global, console: &mut Console) -> Result<Exit, Diagnostic> {
    let (_, checkpoint) = trained(&flags.run)?;
    let (device, threads) = place(global)?;
    let files = files(&flags.pictures)?;
    let (network, _) = model::restore(&checkpoint, 1)?;
    network.to_device(&device);
    network.eval();
    let mut step = Step::record(move |[x]: [Tensor; 1]| no_grad(|| network.call(&x).softmax(1)));
    machine::with_threads(threads, || {
        for file in &files {
            let prepared = prepare(file, flags, &checkpoint)?;
            answer(&prepared, flags, &checkpoint, &mut step, &device, console)?;
        }
        Ok(Exit::Success)
    })
}

/// All files, those in folders by their names.
fn files(asked: &[PathBuf]) -> Result<Vec<PathBuf>, Diagnostic> {
    let mut files = Vec::new();
    for path in asked {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let unread = |e| Diagnostic::io(Exit::Data, "cannot read", path, &e);
        let mut inside = Vec::new();
        for entry in fs::read_dir(path).map_err(unread)? {
            let file = entry.map_err(unread)?.path();
            if file.extension().is_some_and(|e| e.eq_ignore_ascii_case("png")) {
                inside.push(file);
            }
        }
        if inside.is_empty() {
            let title = format!("there is no PNG file in {}", path.display());
            return Err(Diagnostic::new(Exit::Data, title));
        }
        inside.sort();
        files.append(&mut inside);
    }
    Ok(files)
}

/// Reads a file, whatever its name says, and brings its pictures to the network's size.
fn prepare(file: &Path, flags: &Predict, checkpoint: &Checkpoint) -> Result<Prepared, Diagnostic> {
    let about = &checkpoint.about;
    let [channels, height, width] = model::input_shape(about)?;
    let name = file.display().to_string();
    let unread = |e| Diagnostic::io(Exit::Data, "cannot read", file, &e);
    let mut start = Vec::new();
    let is_stdin = file == Path::new(STDIN);
    if !is_stdin {
        File::open(file).and_then(|f| f.take(4).read_to_end(&mut start)).map_err(unread)?;
    }
    if start.starts_with(&[0, 0]) || start.starts_with(&[0x1f, 0x8b]) {
        return many(file, [channels, height, width]);
    }
    if channels != 1 {
        let title =
            format!("the network takes pictures of {channels} channels, and PNG files are read as grey");
        return Err(Diagnostic::new(Exit::Usage, title).help("an IDX file can hold such pictures"));
    }
    let picture = if is_stdin {
        let mut bytes = Vec::new();
        std::io::stdin().read_to_end(&mut bytes).map_err(unread)?;
        Picture::from_png(Cursor::new(bytes))
    } else {
        Picture::from_png(BufReader::new(File::open(file).map_err(unread)?))
    };
    let picture = picture.map_err(|words| {
        Diagnostic::new(Exit::Data, format!("{name} is no PNG picture that I can read: {words}"))
            .help("PNG and IDX files are taken; most programs can save a picture as PNG")
    })?;
    let fit = if about.config.data.name == DataName::Mnist { Fit::Digit } else { Fit::Whole };
    let (pixels, done) = picture.prepare(height, width, fit, flags.invert);
    Ok(Prepared { name, several: false, pixels, done })
}

/// The pictures of an IDX file, which must have the network's size.
fn many(file: &Path, shape: [usize; 3]) -> Result<Prepared, Diagnostic> {
    let idx = Idx::read(file)?;
    let found = match *idx.shape() {
        [_, h, w] => Some([1, h, w]),
        [_, c, h, w] => Some([c, h, w]),
        _ => None,
    };
    if found != Some(shape) {
        let ([c, h, w], there) = (shape, idx.shape());
        let title = format!("{} holds an array of shape {there:?}", file.display());
        return Err(
            Diagnostic::new(Exit::Data, title).help(format!("the network takes pictures of {c}×{h}×{w}"))
        );
    }
    let Elements::U8(pixels) = idx.into_elements() else {
        let title = format!("{} holds numbers that are not bytes, and pixels are", file.display());
        return Err(Diagnostic::new(Exit::Data, title));
    };
    Ok(Prepared { name: file.display().to_string(), several: true, pixels, done: Vec::new() })
}

fn answer(
    prepared: &Prepared,
    flags: &Predict,
    checkpoint: &Checkpoint,
    step: &mut Step<1, Tensor>,
    device: &Device,
    console: &mut Console,
) -> Result<(), Diagnostic> {
    let about = &checkpoint.about;
    let shape = model::input_shape(about)?;
    let count = prepared.pixels.len() / shape.iter().product::<usize>().max(1);
    let images = Images::new(prepared.pixels.clone(), shape, vec![0_u8; count], about.classes.len())?;
    let images = normalised(images, &about.normalisation)?;
    let places: Vec<usize> = (0..count).collect();
    for chunk in places.chunks(CHUNK) {
        let [x, _] = <[_; 2]>::try_from(images.get(chunk)?)
            .map_err(|_| Diagnostic::new(Exit::Failure, "images and labels were expected"))?;
        let x = x.to(device);
        let likely = attempt(|| step.run([&x])).flatten()?.try_to_vec::<f64>()?;
        for (index, shares) in chunk.iter().zip(likely.chunks(about.classes.len())) {
            let mut order: Vec<usize> = (0..shares.len()).collect();
            order.sort_by(|a, b| shares[*b].total_cmp(&shares[*a]));
            let guess = |c: &usize| Guess { class: &about.classes[*c], probability: shares[*c] };
            let guesses: Vec<Guess<'_>> = order.iter().take(flags.top as usize).map(guess).collect();
            let answer = Answer {
                picture: prepared.name.clone(),
                index: prepared.several.then_some(*index),
                class: &about.classes[order[0]],
                guesses,
                prepared: &prepared.done,
            };
            if console.json() {
                console.print_json(&answer)?;
            } else {
                console.print(&line(&answer))?;
            }
        }
    }
    Ok(())
}

/// `seven.png: 7  (7 99.98%, 1 0.01%, 3 0.00%)`, and what was done to the picture.
fn line(a: &Answer<'_>) -> String {
    let index = a.index.map_or(String::new(), |i| format!("[{i}]"));
    let guesses: Vec<String> =
        a.guesses.iter().map(|g| format!("{} {}", g.class, percent(g.probability))).collect();
    let mut text = format!("{}{index}: {}  ({})", a.picture, a.class, guesses.join(", "));
    if !a.prepared.is_empty() {
        text += &format!("\n  prepared: {}", a.prepared.join("; "));
    }
    text
}
