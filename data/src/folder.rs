//! A folder of pictures with a sub-folder for each class.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::file::{Limits, length, start};
use crate::pattern::Pattern;
use crate::picture::{Filter, Format, Levels, Picture};
use crate::set::{Origins, Parts, Set, Values, check_classes};

/// How pictures become inputs.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Height and width that all are brought to; without it all must have one size.
    pub resize: Option<[usize; 2]>,
    /// How.
    pub filter: Filter,
    /// 1 for grey, 3 for colour; without it grey where all are grey.
    pub channels: Option<usize>,
    /// Names of the classes, where they are known already.
    pub classes: Option<Vec<String>>,
    /// Which part of a file's name says what belongs together.
    pub group: Option<Pattern>,
    /// How much is taken.
    pub limits: Limits,
}

impl Default for Options {
    fn default() -> Self {
        let limits = Limits::default();
        Options { resize: None, filter: Filter::Area, channels: None, classes: None, group: None, limits }
    }
}

/// Names of folders that are parts of a data set.
const TRAIN: [&str; 2] = ["train", "training"];
const VAL: [&str; 3] = ["val", "valid", "validation"];
const TEST: [&str; 2] = ["test", "testing"];

/// `DIR/<class>/*.png`, or `DIR/train/<class>/…` beside `DIR/test/…` and perhaps `DIR/val/…`. Classes are sorted by name,
/// pictures by path; sub-folders of a class belong to it. A picture is known by its content, another file is passed over.
///
/// # Errors
/// When a picture cannot be read, sizes differ and none is asked for, there is only one class or no picture, or links
/// lead in a circle.
pub fn read(path: &Path, options: &Options) -> Result<Parts> {
    let inside = folders(path)?;
    let part = |names: &[&str]| {
        inside.iter().find(|p| p.file_name().is_some_and(|n| names.iter().any(|m| n.eq_ignore_ascii_case(m))))
    };
    let (Some(train), true) = (part(&TRAIN), part(&TEST).is_some() || part(&VAL).is_some()) else {
        return Ok(Parts { train: set(path, path, &inside, options, None)?, val: None, test: None });
    };
    let mut first = set(train, path, &folders(train)?, options, None)?;
    let known = |from: &Set| Known { classes: from.classes.clone(), shape: from.shape.clone() };
    let other = |names: &[&str]| {
        part(names).map(|p| set(p, path, &folders(p)?, options, Some(known(&first)))).transpose()
    };
    let (val, test) = (other(&VAL)?, other(&TEST)?);
    for (which, found) in [("validation", &val), ("test", &test)] {
        if let Some(found) = found.as_ref().filter(|s| s.is_empty()) {
            first.remarks.extend(found.remarks.iter().cloned());
            return Err(Error::new(path, format!("its {which} part holds no picture"))
                .help("put pictures into its folders of classes, or remove it"));
        }
    }
    Ok(Parts { train: first, val, test })
}

/// What a first part has fixed for the others.
struct Known {
    classes: Vec<String>,
    shape: Vec<usize>,
}

/// Pictures below `path` without regard to folders, as they stand there: what `predict` takes.
///
/// # Errors
/// When the folder cannot be read or holds no picture.
pub fn pictures(path: &Path, limits: &Limits) -> Result<Vec<PathBuf>> {
    let mut walk = Walk { limits, files: Vec::new(), passed: Vec::new() };
    walk.folder(path, &mut Vec::new())?;
    if walk.files.is_empty() {
        let found = Error::new(path, "holds no picture").help("PNG, JPEG, BMP and TIFF are read");
        return Err(found);
    }
    Ok(walk.files)
}

/// The folders in a folder, sorted by name; hidden ones are none.
fn folders(path: &Path) -> Result<Vec<PathBuf>> {
    match fs::metadata(path) {
        Err(e) => {
            return Err(
                Error::io(path, &e).help("`folder:DIR` takes a folder with a sub-folder for each class")
            );
        }
        Ok(about) if !about.is_dir() => {
            let found = Error::new(path, "is no folder, and a folder of pictures was expected");
            return Err(found.help("it has a sub-folder for each class"));
        }
        Ok(_) => {}
    }
    Ok(entries(path)?.into_iter().filter(|p| p.is_dir()).collect())
}

/// What stands in a folder, sorted by name; hidden files and those that systems leave behind are nothing.
fn entries(path: &Path) -> Result<Vec<PathBuf>> {
    let unread = |e| Error::io(path, &e);
    let mut found = Vec::new();
    for entry in fs::read_dir(path).map_err(unread)? {
        let entry = entry.map_err(unread)?;
        let name = entry.file_name();
        let name = name.as_encoded_bytes();
        if !name.starts_with(b".")
            && !name.starts_with(b"__")
            && name != b"Thumbs.db"
            && name != b"desktop.ini"
        {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

/// Finds the pictures below a folder.
struct Walk<'a> {
    limits: &'a Limits,
    files: Vec<PathBuf>,
    passed: Vec<PathBuf>,
}

/// Folders in folders, at most: deeper than anybody sorts pictures.
const DEEPEST: usize = 32;

impl Walk<'_> {
    /// `above`: the true paths of the folders around this one.
    fn folder(&mut self, path: &Path, above: &mut Vec<PathBuf>) -> Result<()> {
        let here = fs::canonicalize(path).map_err(|e| Error::io(path, &e))?;
        if above.contains(&here) {
            let text = format!("leads back to {}, which it lies in", here.display());
            return Err(Error::new(path, text).help("remove the link"));
        }
        if above.len() >= DEEPEST {
            let text = format!("lies {DEEPEST} folders deep, and no picture is looked for there");
            return Err(Error::new(path, text).help("put its pictures higher up"));
        }
        above.push(here);
        for entry in entries(path)? {
            if entry.is_dir() {
                self.folder(&entry, above)?;
            } else if is_picture(&entry)? {
                self.files.push(entry);
            } else {
                self.passed.push(entry);
            }
            if self.files.len() + self.passed.len() > self.limits.files {
                let text = format!("holds more than {} files", self.limits.files);
                return Err(Error::new(path, text).help("name the folder of one data set"));
            }
        }
        above.pop();
        Ok(())
    }
}

/// By its content; a name that promises a picture makes it one too, so that a damaged file is not passed over.
fn is_picture(path: &Path) -> Result<bool> {
    const NAMES: [&str; 12] =
        ["png", "jpg", "jpeg", "jpe", "jfif", "bmp", "dib", "tif", "tiff", "gif", "webp", "heic"];
    let by_name = path.extension().is_some_and(|e| NAMES.iter().any(|n| e.eq_ignore_ascii_case(n)));
    if by_name {
        return Ok(true);
    }
    // A pipe would be waited for.
    if length(path).is_err() {
        return Ok(false);
    }
    let start = start(path, Format::START)?;
    Ok(matches!(Format::of(&start), Some(Format::Png | Format::Jpeg | Format::Bmp | Format::Tiff)))
}

/// The pictures of one part. `root` is what file names are told from.
fn set(
    part: &Path,
    root: &Path,
    classes: &[PathBuf],
    options: &Options,
    known: Option<Known>,
) -> Result<Set> {
    let names = classes.iter().map(|class| match class.file_name().and_then(|n| n.to_str()) {
        Some(name) => Ok(name.to_string()),
        None => Err(Error::new(class, "has a name that is no UTF-8, and names of classes are text")
            .help("rename the folder")),
    });
    let names: Vec<String> = names.collect::<Result<_>>()?;
    let mut files: Vec<(PathBuf, String)> = Vec::new();
    let mut remarks = Vec::new();
    let mut filled = BTreeSet::new();
    for (folder, name) in classes.iter().zip(&names) {
        let mut walk = Walk { limits: &options.limits, files: Vec::new(), passed: Vec::new() };
        walk.folder(folder, &mut Vec::new())?;
        if let Some(first) = walk.passed.first() {
            let n = walk.passed.len();
            let are = if n == 1 { "file is" } else { "files are" };
            remarks.push(format!("{n} {are} no picture and passed over, such as {}", first.display()));
        }
        if walk.files.is_empty() {
            remarks.push(format!("{} holds no picture: no class of it", folder.display()));
        } else {
            filled.insert(name.clone());
        }
        files.extend(walk.files.into_iter().map(|file| (file, name.clone())));
    }
    if files.is_empty() {
        let loose = entries(part)?.iter().filter(|p| !p.is_dir()).count();
        let found = match loose {
            0 => Error::new(part, "holds no picture"),
            1 => Error::new(part, "holds a file, and no sub-folder with pictures"),
            n => Error::new(part, format!("holds {n} files, and no sub-folder with pictures")),
        };
        return Err(found.help("put the pictures of each class into a sub-folder with the class's name"));
    }
    let classes: Vec<String> = match (&known, &options.classes) {
        (Some(known), _) => known.classes.clone(),
        (None, Some(classes)) => classes.clone(),
        (None, None) => filled.into_iter().collect(),
    };
    if known.is_none() && options.classes.is_none() {
        check_classes(part, &classes)?;
    }
    let labels: Vec<i64> = {
        let places: HashMap<&str, i64> = classes.iter().map(String::as_str).zip(0..).collect();
        let of = |(file, name): &(PathBuf, String)| match places.get(name.as_str()) {
            Some(i) => Ok(*i),
            None => Err(Error::new(
                file,
                format!("is of class `{name}`, which is not among those that were learned"),
            )
            .help(format!("the classes are {}", listed(&classes)))),
        };
        files.iter().map(of).collect::<Result<_>>()?
    };
    let paths: Vec<PathBuf> = files.into_iter().map(|(file, _)| file).collect();
    let (inputs, shape) = decoded(&paths, options, known.as_ref().map(|k| &k.shape[..]))?;
    let relative = |p: &PathBuf| p.strip_prefix(root).unwrap_or(p).to_path_buf();
    let origins: Vec<PathBuf> = paths.iter().map(relative).collect();
    let groups = options.group.as_ref().map(|pattern| {
        let group = |p: &PathBuf| {
            let text = p.to_string_lossy().replace('\\', "/");
            pattern.find(&text).map(String::from).ok_or_else(|| {
                Error::new(root.join(p), "has a name that does not fit the pattern of `split.by`")
                    .option()
                    .help("`{lot}_*` finds `L7` in `L7_w3.png`; with a `/` the path below the folder is compared")
            })
        };
        origins.iter().map(group).collect::<Result<Vec<String>>>()
    });
    let (groups, origins) = (groups.transpose()?, Origins::Files(origins));
    let scale = 1.0 / 255.0;
    Ok(Set { inputs, shape, labels, classes, features: Vec::new(), groups, origins, remarks, scale })
}

fn listed(names: &[String]) -> String {
    let first: Vec<&str> = names.iter().take(8).map(String::as_str).collect();
    let more = if names.len() > first.len() { ", …" } else { "" };
    format!("{}{more}", first.join(", "))
}

/// A picture that has another size than `first`, or than those of the training part.
fn other_size(path: &Path, picture: &Picture, asked: [usize; 2], first: Option<&PathBuf>) -> Error {
    let text = format!(
        "has {}×{} pixels (height × width), and {} has {}×{}",
        picture.height,
        picture.width,
        first.map_or("the training part".to_string(), |p| p.display().to_string()),
        asked[0],
        asked[1]
    );
    // As large as they are where that is small.
    let [h, w] = if asked[0].max(asked[1]) <= 64 { asked } else { [64, 64] };
    let help =
        format!("bring all to one size: `resize = [{h}, {w}]` in `[data]`, or `--set data.resize=[{h},{w}]`");
    Error::new(path, text).option().help(help)
}

/// All pictures with one shape, `[channels, height, width]`.
fn decoded(paths: &[PathBuf], options: &Options, known: Option<&[usize]>) -> Result<(Values, Vec<usize>)> {
    let limits = &options.limits;
    // One picture's size is compared as soon as it is read, so that a large one among small ones is not kept.
    let read = |path: &PathBuf, asked: Option<[usize; 2]>| {
        let picture = Picture::read(path, limits)?;
        let picture = match options.channels {
            Some(channels) => picture.with_channels(channels),
            None => picture,
        };
        let picture = match options.resize {
            Some([h, w]) => picture.resized(h, w, options.filter),
            None => picture,
        };
        match asked.filter(|asked| *asked != [picture.height, picture.width]) {
            Some(asked) => Err(other_size(path, &picture, asked, known.is_none().then(|| &paths[0]))),
            None => Ok(picture),
        }
    };
    let asked = known.map(|k| [k[1], k[2]]);
    // Whoever has to mend one file wants to know of the others too.
    let others = |error: Error, rest: &[PathBuf], asked| {
        let wrong: Vec<&PathBuf> = rest.par_iter().filter(|path| read(path, asked).is_err()).collect();
        match wrong.first() {
            None => error,
            Some(first) => {
                let (n, are) = (wrong.len(), if wrong.len() == 1 { "file is" } else { "files are" });
                error.help(format!("{n} more {are} wrong, such as {}", first.display()))
            }
        }
    };
    let first = match paths.first() {
        Some(path) => read(path, asked).map_err(|e| others(e, &paths[1..], asked))?,
        None => return Err(Error::new("", "there is no picture").help("name a folder with pictures in it")),
    };
    let asked = Some([first.height, first.width]);
    // A picture is there twice for a moment: as it was read, and among the inputs.
    let cost = |p: &Picture| (p.height * p.width * p.channels) as u64 * if p.is_deep() { 6 } else { 2 };
    let mut bytes = cost(&first);
    let together = usize::try_from((1 << 28) / bytes.max(1)).unwrap_or(64).clamp(1, 64);
    let mut pictures: Vec<Picture> = Vec::with_capacity(paths.len());
    pictures.push(first);
    for (at, chunk) in paths[1..].chunks(together).enumerate() {
        let some: Vec<Result<Picture>> = chunk.par_iter().map(|path| read(path, asked)).collect();
        for (i, (path, picture)) in chunk.iter().zip(some).enumerate() {
            let picture = picture.map_err(|e| others(e, &paths[at * together + i + 2..], asked))?;
            bytes += cost(&picture);
            if bytes > limits.bytes {
                let text = format!(
                    "the {} pictures need more than the {} MiB that are free for them",
                    paths.len(),
                    limits.bytes >> 20
                );
                let root = path.parent().unwrap_or(path);
                return Err(Error::new(root, text)
                    .option()
                    .help("make them smaller: `resize = [64, 64]` in `[data]`"));
            }
            pictures.push(picture);
        }
    }
    let (h, w) = pictures.first().map_or((0, 0), |p| (p.height, p.width));
    let channels =
        known.map_or_else(|| if pictures.iter().any(|p| p.channels == 3) { 3 } else { 1 }, |shape| shape[0]);
    if pictures.iter().any(Picture::is_deep) {
        let mut all = Vec::with_capacity(pictures.len() * channels * h * w);
        pictures.into_iter().for_each(|p| all.extend(p.with_channels(channels).planes()));
        return Ok((Values::F32(all), vec![channels, h, w]));
    }
    let mut all = Vec::with_capacity(pictures.len() * channels * h * w);
    for picture in pictures {
        if let Levels::U8(v) = picture.with_channels(channels).levels {
            (0..channels).for_each(|c| all.extend(v.iter().skip(c).step_by(channels)));
        }
    }
    Ok((Values::U8(all), vec![channels, h, w]))
}
