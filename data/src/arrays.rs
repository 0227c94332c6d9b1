//! NPZ files, and folders of NPY files: arrays by name.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use zip::ZipArchive;

use crate::error::{Error, Place, Result};
use crate::file::{Limits, open};
use crate::npy::{self, Array, Elements};
use crate::set::{Origins, Parts, Set, Values, check_classes, index};
use crate::table::Missing;

/// Which arrays are what.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Name of the inputs; without it one of the usual ones.
    pub inputs: Option<String>,
    /// Name of the labels; without it one of the usual ones.
    pub label: Option<String>,
    /// Name of an array that says what belongs together.
    pub group: Option<String>,
    /// What to do about NaN.
    pub missing: Missing,
    /// Names of the classes, where they are known already.
    pub classes: Option<Vec<String>>,
    /// Whether labels are wanted at all.
    pub labelled: bool,
    /// How much is taken.
    pub limits: Limits,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            inputs: None,
            label: None,
            group: None,
            missing: Missing::Error,
            classes: None,
            labelled: true,
            limits: Limits::default(),
        }
    }
}

/// How many bytes of a large array may come out of one compressed byte.
const DENSEST: u64 = 200;
const INPUTS: [&str; 6] = ["x", "images", "inputs", "data", "features", "arr_0"];
const LABELS: [&str; 7] = ["y", "labels", "label", "targets", "target", "classes", "arr_1"];

/// `FILE.npz`, or a folder of NPY files: `x` and `y`, or `x_train`, `y_train`, `x_test`, `y_test` and perhaps `x_val`,
/// `y_val`, in any case, or `images` and `labels` in their places.
///
/// Inputs are `[N, H, W]`, `[N, C, H, W]`, `[N, H, W, C]` (a last axis of 1 or 3 after no such axis 1), or
/// `[N, features]`; bytes with three or four axes are levels of pictures, everything else is real numbers. Labels are
/// whole numbers from 0, text, or one-hot rows.
///
/// # Errors
/// When an array is missing or damaged, the numbers of inputs and labels differ, a label or number cannot be right.
pub fn read(path: &Path, options: &Options) -> Result<Parts> {
    let mut source = Source::open(path, &options.limits)?;
    let names = source.names();
    let find = |asked: &Option<String>, usual: &[&str], part: &str| match (asked, part) {
        (Some(name), "") => names.iter().find(|n| *n == name).cloned(),
        (Some(name), part) => names.iter().find(|n| **n == format!("{name}_{part}")).cloned(),
        (None, _) => usual.iter().find_map(|usual| {
            let forms = match part {
                "" => vec![usual.to_string()],
                part => vec![format!("{usual}_{part}"), format!("{part}_{usual}"), format!("{usual}{part}")],
            };
            names.iter().find(|n| forms.contains(&n.to_lowercase())).cloned()
        }),
    };
    let pair =
        |part: &str| Some((find(&options.inputs, &INPUTS, part)?, find(&options.label, &LABELS, part)));
    let plain = if names.len() == 1 && options.inputs.is_none() && !options.labelled {
        Some((names[0].clone(), None))
    } else {
        pair("")
    };
    let Some((inputs, labels)) = pair("train").or(plain) else {
        let what =
            options.inputs.as_ref().map_or("inputs under a usual name".to_string(), |n| format!("`{n}`"));
        let found = Error::new(path, format!("holds no array with {what}; it holds {}", listed(&names)));
        return Err(found.option().help("name them in `[data]`: `inputs = \"…\"` and `label = \"…\"`"));
    };
    let groups = options.group.as_ref().map(|name| {
        let with_part = format!("{name}_train");
        names.iter().find(|n| *n == name || **n == with_part).cloned().ok_or_else(|| {
            Error::new(path, format!("holds no array `{name}` for `split.by`; it holds {}", listed(&names)))
                .option()
                .help("`split.by` names the array that says what belongs together")
        })
    });
    let groups = groups.transpose()?;
    let train = source.set(&inputs, labels.as_deref(), groups.as_deref(), options, None)?;
    let mut other = |part: &[&str]| {
        let found = part.iter().find_map(|p| pair(p));
        found.map(|(x, y)| source.set(&x, y.as_deref(), None, options, Some(&train))).transpose()
    };
    let (val, test) = (other(&["val", "valid", "validation"])?, other(&["test"])?);
    Ok(Parts { train, val, test })
}

/// The examples of one array without labels; `path` stands in errors.
///
/// # Errors
/// As [`read`].
pub fn inputs(array: Array, path: &Path, options: &Options) -> Result<Set> {
    let fail = |_: &str, text: String| Error::new(path, text);
    let mut remarks = Vec::new();
    let (_, shape, mut values, scale) = examples(array, "", &fail, &mut remarks)?;
    if let Values::F32(v) = &mut values {
        check_numbers(v, shape.iter().product(), "", options.missing, &fail)?;
    }
    let classes = options.classes.clone().unwrap_or_default();
    let (labels, features, groups, origins) = (Vec::new(), Vec::new(), None, Origins::Rows);
    Ok(Set { inputs: values, shape, labels, classes, features, groups, origins, remarks, scale })
}

/// Every array of an NPZ file, by name.
///
/// # Errors
/// When it is no NPZ file, an array is damaged, two have one name, or all together are larger than the limit.
pub fn all(path: &Path, limits: &Limits) -> Result<BTreeMap<String, Array>> {
    let mut source = Source::open(path, limits)?;
    let mut found = BTreeMap::new();
    for name in source.names() {
        let array = source.array(&name)?;
        let size = match &array.elements {
            Elements::U8(v) => v.len(),
            Elements::Int(v) => 8 * v.len(),
            Elements::Real(v) => 4 * v.len(),
            Elements::Text(v) => v.iter().map(|t| t.len() + size_of::<String>()).sum(),
        };
        source.limits.bytes = source.limits.bytes.saturating_sub(size as u64);
        if found.insert(name.clone(), array).is_some() {
            return Err(Error::new(path, format!("holds two arrays `{name}`")).help("save it again"));
        }
    }
    Ok(found)
}

fn listed(names: &[String]) -> String {
    match names {
        [] => "none".into(),
        names => names.iter().take(12).map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", "),
    }
}

/// How many files an archive says that it holds; nothing where it is too large to say so in its last record.
fn declared(path: &Path, length: u64) -> Option<usize> {
    // The record is 22 bytes and a comment of at most 65,535.
    let (mut file, mut tail) = (File::open(path).ok()?, Vec::new());
    file.seek(SeekFrom::Start(length.saturating_sub(22 + 0xffff))).ok()?;
    file.read_to_end(&mut tail).ok()?;
    let at = tail.windows(4).rposition(|w| w == b"PK\x05\x06")?;
    let count = tail.get(at + 10..at + 12)?;
    Some(u16::from_le_bytes([count[0], count[1]]).into()).filter(|n| *n < 0xffff)
}

/// Whether a folder holds an NPY file.
pub fn is_folder(path: &Path) -> bool {
    files(path).is_ok_and(|files| !files.is_empty())
}

/// The NPY files of a folder, by name.
fn files(path: &Path) -> Result<Vec<(String, PathBuf)>> {
    let unread = |e| Error::io(path, &e);
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).map_err(unread)? {
        let file = entry.map_err(unread)?.path();
        if file.extension().is_some_and(|e| e.eq_ignore_ascii_case("npy")) {
            let stem = file.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
            files.push((stem, file));
        }
    }
    files.sort();
    Ok(files)
}

/// Where arrays are found by name.
struct Source {
    path: PathBuf,
    kind: Kind,
    limits: Limits,
}

enum Kind {
    Archive(Box<ZipArchive<BufReader<File>>>, Vec<(String, usize)>),
    Files(Vec<(String, PathBuf)>),
}

impl Source {
    fn open(path: &Path, limits: &Limits) -> Result<Self> {
        let (path_buf, limits) = (path.to_path_buf(), *limits);
        if path.is_dir() {
            let files = files(path)?;
            if files.is_empty() {
                let found = Error::new(path, "is a folder without an NPY file");
                return Err(found.help("`npz:` takes an NPZ file, or a folder with x.npy and y.npy"));
            }
            return Ok(Source { path: path_buf, kind: Kind::Files(files), limits });
        }
        let (mut file, _) = open(path)?;
        let mut start = Vec::new();
        file.by_ref().take(6).read_to_end(&mut start).map_err(|e| Error::io(path, &e))?;
        if start.starts_with(b"\x93NUMPY") {
            let stem = path.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
            return Ok(Source { path: path_buf.clone(), kind: Kind::Files(vec![(stem, path_buf)]), limits });
        }
        let help = "`numpy.savez` writes NPZ files; one that was cut off must be copied again";
        if !start.starts_with(b"PK") {
            let found = Error::new(path, "does not begin as an NPZ file does, with 50 4b");
            return Err(found.at(Place::Byte(0)).help(help));
        }
        let (file, length) = open(path)?;
        let bad = |e: zip::result::ZipError| Error::new(path, format!("is no whole archive: {e}")).help(help);
        let mut archive = ZipArchive::new(BufReader::new(file)).map_err(bad)?;
        // Of files with one name it keeps the last.
        if let Some(count) = declared(path, length).filter(|n| *n > archive.len()) {
            let text = format!("holds {count} files under {} names: one stands there twice", archive.len());
            return Err(Error::new(path, text).help("save it again with `numpy.savez`, each array once"));
        }
        let mut entries = Vec::new();
        for i in 0..archive.len() {
            let entry = archive.by_index_raw(i).map_err(bad)?;
            if let Some(name) = String::from_utf8_lossy(entry.name_raw()).strip_suffix(".npy") {
                entries.push((name.to_string(), i));
            }
        }
        if entries.is_empty() {
            let found =
                Error::new(path, format!("is an archive of {} files, none of them NPY", archive.len()));
            return Err(found.help(help));
        }
        Ok(Source { path: path_buf, kind: Kind::Archive(Box::new(archive), entries), limits })
    }

    fn names(&self) -> Vec<String> {
        match &self.kind {
            Kind::Archive(_, entries) => entries.iter().map(|(name, _)| name.clone()).collect(),
            Kind::Files(files) => files.iter().map(|(name, _)| name.clone()).collect(),
        }
    }

    fn array(&mut self, name: &str) -> Result<Array> {
        let missing = Error::new(&self.path, format!("holds no array `{name}`"))
            .help("was it saved under another name?");
        let most = self.limits.bytes;
        match &mut self.kind {
            Kind::Files(files) => {
                let (_, file) = files.iter().find(|(n, _)| n == name).ok_or(missing)?;
                let (from, length) = open(file)?;
                npy::read(BufReader::new(from), most.min(length), file, None)
            }
            Kind::Archive(archive, entries) => {
                let (_, i) = entries.iter().find(|(n, _)| n == name).ok_or(missing)?;
                let entry = archive.by_index(*i).map_err(|e| {
                    let found = Error::new(&self.path, format!("cannot be unpacked: {e}"));
                    found
                        .at(Place::Entry(name.into()))
                        .help("save it with `numpy.savez` or `savez_compressed`")
                })?;
                // Deflate makes up to 1032 bytes out of one; examples, however plain, are no such bombs.
                let (packed, size) = (entry.compressed_size(), entry.size());
                let possible = packed.saturating_mul(DENSEST).max(64 << 20);
                if size > possible {
                    let text =
                        format!("holds {packed} bytes that would become {size}, as those of a bomb do");
                    let found = Error::new(&self.path, text).at(Place::Entry(name.into()));
                    return Err(found.help(
                        "if it is what it should be, save it with `numpy.savez`, which does not compress",
                    ));
                }
                npy::read(entry, most.min(possible), &self.path, Some(name))
            }
        }
    }

    fn set(
        &mut self,
        inputs: &str,
        labels: Option<&str>,
        groups: Option<&str>,
        options: &Options,
        like: Option<&Set>,
    ) -> Result<Set> {
        let path = self.path.clone();
        let fail = |name: &str, text: String| Error::new(&path, format!("`{name}` {text}"));
        let shaped = |e: Error| match e.helps() {
            [] => e.help("inputs are `x` [N, features] or [N, channels, height, width], labels `y` [N]"),
            _ => e,
        };
        let array = self.array(inputs)?;
        let mut remarks = Vec::new();
        let (n, shape, values, scale) = examples(array, inputs, &fail, &mut remarks).map_err(shaped)?;
        if n == 0 {
            return Err(shaped(fail(inputs, "holds no example".into())).help("was the right array saved?"));
        }
        if let Some(like) = like.filter(|like| like.shape != shape) {
            let text =
                format!("holds examples of shape {shape:?}, and those for training have {:?}", like.shape);
            return Err(shaped(fail(inputs, text)).help("prepare both in the same way"));
        }
        let mut values = values;
        if let Values::F32(v) = &mut values {
            check_numbers(v, shape.iter().product(), inputs, options.missing, &fail)?;
        }
        if like.is_some_and(|like| matches!((&like.inputs, &values), (Values::F32(_), Values::U8(_))))
            && let Values::U8(v) = &values
        {
            values = Values::F32(v.iter().map(|x| f32::from(*x)).collect());
        }
        let labels = match (options.labelled, labels) {
            (false, _) => None,
            (true, None) => {
                let names = listed(&self.names());
                let text = format!("holds no array with labels beside `{inputs}`; it holds {names}");
                let found = Error::new(&path, text).option();
                return Err(found.help("name it in `[data]`: `label = \"…\"`"));
            }
            (true, Some(name)) => Some((name, self.array(name)?)),
        };
        let known = like.map(|like| like.classes.as_slice()).or(options.classes.as_deref());
        let (classes, labels) = match labels {
            None => (known.unwrap_or_default().to_vec(), Vec::new()),
            Some((name, array)) => {
                let (classes, labels) =
                    classes(array, n, inputs, known, |text| fail(name, text)).map_err(shaped)?;
                if known.is_none() {
                    check_classes(&path, &classes)?;
                }
                (classes, labels)
            }
        };
        let groups = groups.map(|name| {
            let array = self.array(name)?;
            match (&array.shape[..], array.elements) {
                ([m], Elements::U8(v)) if *m == n => Ok(v.iter().map(u8::to_string).collect()),
                ([m], Elements::Int(v)) if *m == n => Ok(v.iter().map(i64::to_string).collect()),
                ([m], Elements::Text(v)) if *m == n => Ok(v),
                (shape, _) => {
                    let text =
                        format!("has shape {shape:?}, and `split.by` needs {n} whole numbers or texts");
                    Err(fail(name, text).help("one for each example: its lot, its patient, its day"))
                }
            }
        });
        let groups: Option<Vec<String>> = groups.transpose()?;
        let mut set = Set {
            inputs: values,
            shape,
            labels,
            classes,
            features: Vec::new(),
            groups,
            origins: Origins::Rows,
            remarks,
            scale,
        };
        if options.missing == Missing::Drop {
            drop_incomplete(&mut set);
            if set.is_empty() {
                let text = "holds no complete example: each has a number that is missing";
                return Err(fail(inputs, text.into()).help("`missing = \"mean\"` or \"zero\" keeps them"));
            }
        }
        Ok(set)
    }
}

/// Leaves out examples with a number that is missing.
fn drop_incomplete(set: &mut Set) {
    let (n, size) = (set.len(), set.shape.iter().product::<usize>().max(1));
    let Values::F32(v) = &set.inputs else { return };
    let keep: Vec<usize> = (0..n).filter(|i| !v[i * size..][..size].iter().any(|x| x.is_nan())).collect();
    if keep.len() == n {
        return;
    }
    set.remarks.push(format!("{} examples with missing numbers are left out", n - keep.len()));
    set.origins = Origins::Lines(keep.iter().map(|i| *i as u64).collect());
    set.inputs = Values::F32(keep.iter().flat_map(|i| v[i * size..][..size].iter().copied()).collect());
    if !set.labels.is_empty() {
        set.labels = keep.iter().map(|i| set.labels[*i]).collect();
    }
    set.groups = set.groups.take().map(|g| keep.iter().map(|i| g[*i].clone()).collect());
}

/// Number and shape of examples, `[channels, height, width]` or `[features]`, and their numbers.
fn examples(
    array: Array,
    name: &str,
    fail: &impl Fn(&str, String) -> Error,
    remarks: &mut Vec<String>,
) -> Result<(usize, Vec<usize>, Values, f64)> {
    let Array { shape, elements } = array;
    let last = |c: usize| matches!(c, 1 | 3 | 4);
    let (n, example, channels_last) = match shape[..] {
        [n, f] => (n, vec![f], false),
        [n, h, w] => (n, vec![1, h, w], false),
        [n, h, w, c] if last(c) && !last(h) => (n, vec![c, h, w], true),
        [n, c, h, w] => (n, vec![c, h, w], false),
        _ => {
            let text = format!(
                "has shape {shape:?}, and examples are [N, features], [N, height, width] or [N, channels, height, width]"
            );
            return Err(fail(name, text).help("`x.reshape(len(x), -1)` makes features of anything"));
        }
    };
    if example.contains(&0) {
        return Err(fail(name, format!("has shape {shape:?}: an example without a number"))
            .help("was the right array saved?"));
    }
    fn turned<T: Copy>(v: &[T], n: usize, shape: &[usize]) -> Vec<T> {
        let (c, plane) = (shape[0], shape[1] * shape[2]);
        let one = |i: usize| {
            let image = &v[i * c * plane..][..c * plane];
            (0..c).flat_map(move |ch| (0..plane).map(move |p| image[p * c + ch]))
        };
        (0..n).flat_map(one).collect()
    }
    if channels_last {
        remarks.push(format!("`{name}` has shape {shape:?}: its last axis is taken for the channels"));
    }
    let is_picture = example.len() == 3;
    let (values, scale) = match elements {
        Elements::U8(v) if is_picture => {
            (Values::U8(if channels_last { turned(&v, n, &example) } else { v }), 1.0 / 255.0)
        }
        Elements::U8(v) => (Values::F32(v.iter().map(|x| f32::from(*x)).collect()), 1.0),
        Elements::Int(v) => {
            let v: Vec<f32> = v.iter().map(|x| *x as f32).collect();
            (Values::F32(if channels_last { turned(&v, n, &example) } else { v }), 1.0)
        }
        Elements::Real(v) => (Values::F32(if channels_last { turned(&v, n, &example) } else { v }), 1.0),
        Elements::Text(_) => {
            return Err(fail(name, "holds text, and inputs are numbers".into())
                .help("`inputs` in `[data]` names another array; text that stands for a class is a label"));
        }
    };
    Ok((n, example, values, scale))
}

/// Infinite numbers are an error, missing ones follow the rule.
fn check_numbers(
    v: &mut [f32],
    size: usize,
    name: &str,
    missing: Missing,
    fail: &impl Fn(&str, String) -> Error,
) -> Result<()> {
    let place = |at: usize| format!("example {}, number {}", at / size.max(1), at % size.max(1));
    if let Some(at) = v.iter().position(|x| x.is_infinite()) {
        let text = format!("holds {} ({}), or a number beyond what 32 bits hold", v[at], place(at));
        return Err(fail(name, text).help("replace it, or take that example out"));
    }
    match missing {
        Missing::Error => match v.iter().position(|x| x.is_nan()) {
            None => Ok(()),
            Some(at) => Err(fail(name, format!("holds NaN ({})", place(at)))
                .help("`missing = \"mean\"`, \"zero\" or \"drop\" in `[data]` says what to do about it")),
        },
        Missing::Zero => {
            v.iter_mut().filter(|x| x.is_nan()).for_each(|x| *x = 0.0);
            Ok(())
        }
        Missing::Mean | Missing::Drop => Ok(()),
    }
}

/// Names of the classes and each example's.
fn classes(
    array: Array,
    n: usize,
    inputs: &str,
    known: Option<&[String]>,
    fail: impl Fn(String) -> Error,
) -> Result<(Vec<String>, Vec<i64>)> {
    let shape = array.shape.clone();
    let count = shape.first().copied().unwrap_or_default();
    if count != n {
        return Err(fail(format!(
            "has shape {shape:?}, and `{inputs}` holds {n} examples: one label each is needed"
        ))
        .help("`label` in `[data]` names another array"));
    }
    let one_hot = match shape[..] {
        [_] | [_, 1] => None,
        [_, classes] if classes > 0 => Some(classes),
        _ => {
            return Err(fail(format!("has shape {shape:?}, and labels have shape [N]"))
                .help("`y.reshape(-1)` flattens them"));
        }
    };
    let labels: Vec<i64> = match array.elements {
        Elements::Text(v) => {
            return index(&v, known).map_err(|i| {
                fail(format!("holds `{}` at position {i}, which is no class that was learned", v[i]))
                    .help("correct it, or train with examples of it too")
            });
        }
        Elements::U8(v) => v.into_iter().map(i64::from).collect(),
        Elements::Int(v) => v,
        Elements::Real(v) => match v.iter().position(|x| x.fract() != 0.0 || !x.is_finite()) {
            None => v.into_iter().map(|x| x as i64).collect(),
            Some(i) => {
                return Err(fail(format!("holds {} at position {i}, and labels are whole numbers", v[i]))
                    .help("a number that was measured is no class"));
            }
        },
    };
    let labels = match one_hot {
        None => labels,
        Some(classes) => {
            let row = |(i, row): (usize, &[i64])| {
                let ones = row.iter().filter(|x| **x == 1).count();
                match (ones, row.iter().position(|x| *x == 1)) {
                    (1, Some(class)) if row.iter().filter(|x| **x != 0).count() == 1 => Ok(class as i64),
                    _ => Err(fail(format!("has shape {shape:?}, and row {i} is not a single 1 among zeros"))
                        .help("one-hot rows have a 1 for the class; `y.argmax(1)` makes labels of scores")),
                }
            };
            labels.chunks_exact(classes.max(1)).enumerate().map(row).collect::<Result<_>>()?
        }
    };
    let most = labels.iter().max().copied().unwrap_or_default();
    let bound = match known {
        Some(known) => known.len() as i64,
        None => one_hot.map_or(most.saturating_add(1), |c| c as i64),
    };
    if let Some(i) = labels.iter().position(|l| !(0..bound).contains(l)) {
        let range = if bound > 0 { format!("0 to {}", bound - 1) } else { "0 or more".into() };
        let text = format!("holds {} at position {i}, and labels are {range}", labels[i]);
        return Err(fail(text).help("labels count the classes from 0"));
    }
    if known.is_none() && bound > n as i64 {
        let text = format!("holds {most}, with {n} examples in all");
        return Err(fail(text).help("labels count the classes from 0"));
    }
    let names = known.map_or_else(|| (0..bound).map(|c| c.to_string()).collect(), <[String]>::to_vec);
    Ok((names, labels))
}
