//! `cotangent predict`: which class each example belongs to.

use std::path::{Path, PathBuf};

use cotangent::data::{Dataset, Elements, Idx};
use cotangent::nn::{Call, ParametersExt};
use cotangent::{Device, Step, Tensor, attempt, no_grad};
use cotangent_data::picture::{Format, Levels};
use cotangent_data::{Origins, Set, Values, arrays, cifar, folder, npy, table};
use rayon::prelude::*;
use serde::Serialize;

use super::{place, trained};
use crate::checkpoint::About;
use crate::config::{DataName, Kind};
use crate::console::Console;
use crate::data::{self, Known, Source};
use crate::diagnostic::{Diagnostic, Exit};
use crate::evaluation::CHUNK;
use crate::flags::{Global, OutputFormat, Predict};
use crate::machine;
use crate::model;
use crate::numerals::percent;
use crate::picture::{Fit, Picture};
use crate::spool::{self, STDIN, Spooled};

/// Pictures that are read at once.
const TOGETHER: usize = 64;

#[derive(Serialize)]
struct Guess<'a> {
    class: &'a str,
    probability: f64,
}

#[derive(Serialize)]
struct Answer<'a> {
    picture: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<usize>,
    class: &'a str,
    guesses: Vec<Guess<'a>>,
    prepared: &'a [String],
}

/// An example's file, its place in it where it holds several, and what was done to it.
struct Name {
    file: String,
    index: Option<usize>,
    done: Vec<String>,
}

/// Some examples as the network takes them.
struct Prepared {
    names: Vec<Name>,
    set: Set,
}

/// Classifies examples.
pub(crate) fn run(flags: &Predict, global: &Global, console: &mut Console) -> Result<Exit, Diagnostic> {
    let (_, checkpoint) = trained(&flags.run)?;
    let (device, threads) = place(global)?;
    let about = &checkpoint.about;
    let files = files(&flags.pictures, about)?;
    // Two examples: a batch norm of one pixel has nothing to normalise in one.
    let (network, _) = model::restore(&checkpoint, 2)?;
    network.to_device(&device);
    network.eval();
    let mut step = Step::record(move |[x]: [Tensor; 1]| no_grad(|| network.call(&x).softmax(1)));
    let format = match (flags.format, console.json()) {
        (_, true) => OutputFormat::Json,
        (format, false) => format,
    };
    let mut writer = Writer { format, top: flags.top as usize, classes: &about.classes, console };
    writer.begin()?;
    // What is damaged is said, and does not keep the others from their answers.
    let mut exit = Exit::Success;
    machine::with_threads(threads, || {
        for file in &files {
            let mut damaged = Vec::new();
            let answered = Taken::new(file).and_then(|from| match from.kind(about) {
                Taking::Pictures => from.pictures(about)?.chunks(TOGETHER).try_for_each(|files| {
                    let some = pictures(files, flags, about, &mut damaged)?;
                    damaged.drain(..).for_each(|found| {
                        writer.console.complain(&found);
                        exit = if exit == Exit::Success { found.exit() } else { exit };
                    });
                    answer(some, about, &mut step, &device, &mut writer)
                }),
                Taking::Set => answer(from.set(about)?, about, &mut step, &device, &mut writer),
            });
            match answered {
                Err(found) if matches!(found.exit(), Exit::Data | Exit::Usage) => {
                    writer.console.complain(&found);
                    exit = if exit == Exit::Success { found.exit() } else { exit };
                }
                other => other?,
            }
        }
        Ok(exit)
    })
}

/// What was asked for, as far as it has been looked at.
struct Taken {
    path: PathBuf,
    /// What came from the standard input, or the first bytes of a file; nothing of a folder.
    bytes: Vec<u8>,
    is_folder: bool,
}

enum Taking {
    Pictures,
    Set,
}

/// A file, or what came from the standard input.
struct Bytes<'a> {
    name: PathBuf,
    bytes: Option<&'a [u8]>,
}

/// What is asked for, and in the place of a folder its files, where it is one that `train` takes and no folder of pictures.
fn files(asked: &[PathBuf], about: &About) -> Result<Vec<PathBuf>, Diagnostic> {
    if asked.iter().filter(|path| *path == Path::new(STDIN)).count() > 1 {
        let found = Diagnostic::new(Exit::Usage, "`-` stands for the standard input, and there is one only");
        return Err(found.help("name it once"));
    }
    let inside = |path: &PathBuf| match data::inside(path, &about.config.data) {
        files if files.is_empty() => vec![path.clone()],
        files => files,
    };
    Ok(asked.iter().flat_map(inside).collect())
}

impl Taken {
    fn new(path: &Path) -> Result<Self, Diagnostic> {
        let (path, is_folder) = (path.to_path_buf(), path.is_dir());
        let mut bytes = Vec::new();
        if path == Path::new(STDIN) {
            bytes = spool::stdin("cotangent predict RUN - < seven.png")?;
        } else if !is_folder {
            let unread = |e| Diagnostic::from(e).help("`-` reads from the standard input");
            bytes = cotangent_data::start(&path, Format::START).map_err(unread)?;
        }
        Ok(Taken { path, bytes, is_folder })
    }

    fn is_stdin(&self) -> bool {
        self.path == Path::new(STDIN)
    }

    /// By content, whatever the name says.
    fn kind(&self, about: &About) -> Taking {
        let is_set = match self.is_folder {
            true => self.has_arrays(about),
            false => self.bytes.starts_with(&[0, 0]) || self.is_marked() || self.is_cifar(about),
        };
        match is_set || (!self.is_folder && about.input_shape.len() != 3) {
            true => Taking::Set,
            false => Taking::Pictures,
        }
    }

    /// Is it a folder of arrays, for a network that was trained on such?
    fn has_arrays(&self, about: &About) -> bool {
        about.config.data.name.kind() == Some(Kind::Npz) && self.is_folder && arrays::is_folder(&self.path)
    }

    /// Does it begin as gzip, ZIP or NPY do?
    fn is_marked(&self) -> bool {
        let marks: [&[u8]; 3] = [&[0x1f, 0x8b], b"PK", b"\x93NUMPY"];
        marks.iter().any(|mark| self.bytes.starts_with(mark))
    }

    /// Its files have no mark: what has none is one of them, for a network that was trained on such.
    fn is_cifar(&self, about: &About) -> bool {
        let known = self.is_marked() || Format::of(&self.bytes).is_some();
        about.config.data.name.kind() == Some(Kind::Cifar10) && !known
    }

    /// A picture, or all in a folder.
    fn pictures(&self, about: &About) -> Result<Vec<Bytes<'_>>, Diagnostic> {
        if about.input_shape.len() != 3 {
            return Err(not_pictures(&self.path, about));
        }
        if !self.is_folder {
            let bytes = self.is_stdin().then_some(&self.bytes[..]);
            return Ok(vec![Bytes { name: self.path.clone(), bytes }]);
        }
        let all = folder::pictures(&self.path, &data::limits())?;
        Ok(all.into_iter().map(|name| Bytes { name, bytes: None }).collect())
    }

    /// The examples of a file that holds several.
    fn set(&self, about: &About) -> Result<Prepared, Diagnostic> {
        let config = &about.config.data;
        let known = Known::of(about, true);
        let file = self.path.display().to_string();
        let starts = |with: &[u8]| self.bytes.starts_with(with);
        let is_cifar = self.is_cifar(about);
        let is_idx = !is_cifar && (starts(&[0, 0]) || starts(&[0x1f, 0x8b]));
        let spooled =
            (self.is_stdin() && (is_idx || is_cifar || starts(b"PK"))).then(|| Spooled::new(&self.bytes));
        let spooled = spooled.transpose()?;
        let path = spooled.as_ref().map_or(self.path.as_path(), Spooled::path);
        let called = |found: Diagnostic| match &spooled {
            Some(spooled) => found.reworded(|text| spooled.named(text)),
            None => found,
        };
        let set = if is_cifar {
            let set = cifar::records(&[path.to_path_buf()], &data::limits()).map_err(|e| called(e.into()))?;
            Set { labels: Vec::new(), ..set }
        } else if is_idx {
            idx(path, about).map_err(called)?
        } else if starts(b"PK") || starts(b"\x93NUMPY") || self.is_folder {
            let options =
                arrays::Options { labelled: false, group: None, ..data::array_options(config, Some(&known)) };
            match self.is_stdin() && spooled.is_none() {
                true => {
                    let array = npy::read(&self.bytes[..], data::limits().bytes, &self.path, None)?;
                    arrays::inputs(array, &self.path, &options)?
                }
                false => arrays::read(path, &options).map_err(|e| called(e.into()))?.train,
            }
        } else {
            let options =
                table::Options { unlabelled: true, group: None, ..data::table_options(config, Some(&known)) };
            // The column with the class may be there; nobody looks at it.
            let options = table::Options { classes: None, label: None, ..options };
            let set = match self.is_stdin() {
                true => table::parse(&self.bytes, &self.path, &options)?,
                false => table::file(&self.path, &options)?,
            };
            Set { labels: Vec::new(), ..set }
        };
        if set.shape != about.input_shape {
            let title = format!("{file} holds examples of shape {:?}", set.shape);
            let found = Diagnostic::new(Exit::Data, title);
            return Err(found.help(format!("the network takes {:?}", about.input_shape)));
        }
        let index = |i: usize| match &set.origins {
            Origins::Lines(lines) => lines.get(i).map_or(i, |l| *l as usize),
            _ => i,
        };
        let names =
            (0..set.len()).map(|i| Name { file: file.clone(), index: Some(index(i)), done: Vec::new() });
        Ok(Prepared { names: names.collect(), set })
    }
}

/// An array of an IDX file, which must have the network's shape.
fn idx(path: &Path, about: &About) -> Result<Set, Diagnostic> {
    let array = Idx::read(path)?;
    let found = match *array.shape() {
        [_, h, w] => Some(vec![1, h, w]),
        [_, c, h, w] => Some(vec![c, h, w]),
        _ => None,
    };
    if found.as_ref() != Some(&about.input_shape) {
        let there = array.shape();
        let title = format!("{} holds an array of shape {there:?}", path.display());
        let takes: Vec<String> = about.input_shape.iter().map(usize::to_string).collect();
        return Err(Diagnostic::new(Exit::Data, title)
            .help(format!("the network takes pictures of {}", takes.join("×"))));
    }
    let Elements::U8(pixels) = array.into_elements() else {
        let title = format!("{} holds numbers that are not bytes, and pixels are", path.display());
        return Err(Diagnostic::new(Exit::Data, title));
    };
    Ok(unlabelled(Values::U8(pixels), about))
}

fn unlabelled(inputs: Values, about: &About) -> Set {
    Set {
        inputs,
        shape: about.input_shape.clone(),
        labels: Vec::new(),
        classes: about.classes.clone(),
        features: Vec::new(),
        groups: None,
        origins: Origins::Rows,
        remarks: Vec::new(),
        scale: about.normalisation.scale,
    }
}

/// Reads pictures and brings them to the network's size, as those were that it was trained on; those that cannot be read
/// are `damaged`.
fn pictures(
    files: &[Bytes<'_>],
    flags: &Predict,
    about: &About,
    damaged: &mut Vec<Diagnostic>,
) -> Result<Prepared, Diagnostic> {
    let [channels, height, width] = data::sides(&about.input_shape);
    let limits = data::limits();
    let one = |file: &Bytes<'_>| {
        let picture = match file.bytes {
            Some(bytes) => cotangent_data::Picture::decode(bytes, &file.name, &limits)?,
            None => cotangent_data::Picture::read(&file.name, &limits)?,
        };
        let was_colour = picture.channels > channels;
        let (levels, mut done) = match about.config.data.name.kind() {
            // As the pictures of the folder were read, or any in colour.
            kind if channels != 1 || kind == Some(Kind::Folder) => {
                let picture = picture.with_channels(channels);
                let picture = picture.resized(height, width, data::filter(&about.config.data));
                let planes = picture.planes();
                let levels = match &picture.levels {
                    Levels::U8(_) => Values::U8(planes.iter().map(|x| *x as u8).collect()),
                    Levels::U16(_) => Values::F32(planes),
                };
                (levels, picture.done)
            }
            _ => {
                let grey = Picture::grey(&picture);
                let is_digit = about.config.data.name == DataName::Mnist;
                let fit = if is_digit { Fit::Digit } else { Fit::Whole };
                let (levels, mut done) = grey.prepare(height, width, fit, flags.invert);
                done.splice(0..0, picture.done);
                (Values::U8(levels), done)
            }
        };
        if was_colour {
            done.insert(0, "colours made grey".into());
        }
        Ok::<_, Diagnostic>((levels, Name { file: file.name.display().to_string(), index: None, done }))
    };
    let all: Vec<Result<(Values, Name), Diagnostic>> = files.par_iter().map(one).collect();
    let mut read: Vec<(Values, Name)> = Vec::new();
    for one in all {
        match one {
            Ok(one) => read.push(one),
            Err(found) if found.exit() == Exit::Data => damaged.push(found),
            Err(found) => return Err(found),
        }
    }
    let is_deep = read.iter().any(|(v, _)| matches!(v, Values::F32(_)));
    let (mut bytes, mut numbers, mut names) = (Vec::new(), Vec::new(), Vec::new());
    for (levels, name) in read {
        match levels {
            Values::U8(v) if is_deep => numbers.extend(v.into_iter().map(f32::from)),
            Values::U8(v) => bytes.extend(v),
            Values::F32(v) => numbers.extend(v),
        }
        names.push(name);
    }
    let inputs = if is_deep { Values::F32(numbers) } else { Values::U8(bytes) };
    Ok(Prepared { names, set: unlabelled(inputs, about) })
}

fn not_pictures(path: &Path, about: &About) -> Diagnostic {
    let title = format!(
        "{} would hold pictures, and the network takes {} numbers",
        path.display(),
        about.input_shape[0]
    );
    Diagnostic::new(Exit::Usage, title)
        .help("name files such as it was trained on: `cotangent predict RUN FILE`")
}

fn answer(
    prepared: Prepared,
    about: &About,
    step: &mut Step<1, Tensor>,
    device: &Device,
    writer: &mut Writer<'_>,
) -> Result<(), Diagnostic> {
    let source = Source::new(prepared.set, &about.normalisation)?;
    let places: Vec<usize> = (0..prepared.names.len()).collect();
    for chunk in places.chunks(CHUNK) {
        let [x, _] = <[_; 2]>::try_from(source.get(chunk)?)
            .map_err(|_| Diagnostic::new(Exit::Failure, "inputs and labels were expected"))?;
        let x = x.to(device);
        let likely = attempt(|| step.run([&x])).flatten()?.try_to_vec::<f64>()?;
        for (i, shares) in chunk.iter().zip(likely.chunks(about.classes.len())) {
            writer.write(&prepared.names[*i], shares)?;
        }
    }
    Ok(())
}

/// Writes answers in the format that was asked for.
struct Writer<'a> {
    format: OutputFormat,
    top: usize,
    classes: &'a [String],
    console: &'a mut Console,
}

impl Writer<'_> {
    fn begin(&mut self) -> Result<(), Diagnostic> {
        if self.format != OutputFormat::Csv {
            return Ok(());
        }
        let classes: String =
            self.classes.iter().map(|c| format!(",{}", quoted(&format!("p_{c}")))).collect();
        self.console.print(&format!("picture,index,class,probability{classes}"))
    }

    fn write(&mut self, name: &Name, shares: &[f64]) -> Result<(), Diagnostic> {
        let mut order: Vec<usize> = (0..shares.len()).collect();
        order.sort_by(|a, b| shares[*b].total_cmp(&shares[*a]));
        let guess = |c: &usize| Guess { class: &self.classes[*c], probability: shares[*c] };
        let answer = Answer {
            picture: &name.file,
            index: name.index,
            class: &self.classes[order[0]],
            guesses: order.iter().take(self.top).map(guess).collect(),
            prepared: &name.done,
        };
        match self.format {
            OutputFormat::Json => self.console.print_json(&answer),
            OutputFormat::Text => self.console.print(&line(&answer)),
            OutputFormat::Csv => {
                let index = answer.index.map_or(String::new(), |i| i.to_string());
                let all: String = shares.iter().map(|p| format!(",{p}")).collect();
                let (file, class) = (quoted(answer.picture), quoted(answer.class));
                self.console.print(&format!("{file},{index},{class},{}{all}", shares[order[0]]))
            }
        }
    }
}

/// A field of a CSV file.
pub(super) fn quoted(text: &str) -> String {
    match text.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text.to_string(),
    }
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
