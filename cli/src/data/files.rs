//! The examples of a configuration as their files hold them.

use std::path::{Path, PathBuf};

use cotangent::data::{Elements, Idx, Images};
use cotangent_data::pattern::Pattern;
use cotangent_data::table::Missing;
use cotangent_data::{Filter, Limits, Origins, Parts, Set, Values, arrays, cifar, folder, table, wafer};

use super::Known;
use crate::config::{DataConfig, DataName, FilterName, Kind, MissingName};
use crate::diagnostic::{Diagnostic, Exit};
use crate::machine;

/// Half of the memory that is free: what is computed with them needs the rest.
pub(crate) fn limits() -> Limits {
    let limits = Limits::default();
    Limits { bytes: machine::available().map_or(limits.bytes, |free| free / 2), ..limits }
}

/// How a folder of pictures is read.
pub(crate) fn folder_options(config: &DataConfig, known: Option<&Known<'_>>) -> folder::Options {
    folder::Options {
        resize: config.resize,
        filter: filter(config),
        channels: known.and_then(|k| k.shape.first().copied()).or(config.channels),
        classes: known.map(|k| k.classes.to_vec()),
        // A pattern that is none was refused before.
        group: config.split.by.as_ref().and_then(|by| Pattern::new(by).ok()),
        limits: limits(),
    }
}

/// How a picture is brought to another size.
pub(crate) fn filter(config: &DataConfig) -> Filter {
    match config.filter {
        Some(FilterName::Bilinear) => Filter::Bilinear,
        Some(FilterName::Area) | None => Filter::Area,
    }
}

/// What is done about missing numbers.
fn missing(config: &DataConfig) -> Missing {
    match config.missing {
        None | Some(MissingName::Error) => Missing::Error,
        Some(MissingName::Mean) => Missing::Mean,
        Some(MissingName::Zero) => Missing::Zero,
        Some(MissingName::Drop) => Missing::Drop,
    }
}

/// How a table is read.
pub(crate) fn table_options(config: &DataConfig, known: Option<&Known<'_>>) -> table::Options {
    table::Options {
        label: config.label.clone(),
        features: known.map(|k| k.features.to_vec()).filter(|f| !f.is_empty()).or(config.features.clone()),
        exclude: if known.is_some() { Vec::new() } else { config.exclude.clone() },
        group: if known.is_some_and(|k| k.foreign) { None } else { config.split.by.clone() },
        missing: missing(config),
        classes: known.map(|k| k.classes.to_vec()),
        unlabelled: false,
        limits: limits(),
    }
}

/// How arrays are read.
pub(crate) fn array_options(config: &DataConfig, known: Option<&Known<'_>>) -> arrays::Options {
    arrays::Options {
        inputs: config.inputs.clone(),
        label: config.label.clone(),
        group: if known.is_some_and(|k| k.foreign) { None } else { config.split.by.clone() },
        missing: missing(config),
        classes: known.map(|k| k.classes.to_vec()),
        labelled: true,
        limits: limits(),
    }
}

/// All parts that the files hold.
pub(crate) fn read(config: &DataConfig, known: Option<&Known<'_>>) -> Result<Parts, Diagnostic> {
    let mut parts = match &config.name {
        DataName::Mnist => return mnist(),
        // The same for every run, so that runs of other seeds are compared on the same examples.
        DataName::Wafer => return Ok(wafer::read(0)),
        DataName::Files(kind, path) => kind_of(*kind, path, config, known)?,
    };
    if let Some(path) = &config.test {
        let DataName::Files(kind, _) = &config.name else { return Ok(parts) };
        let Set { classes, features, shape, .. } = &parts.train;
        let like = Known { normalisation: None, classes, features, shape, foreign: true };
        let test = kind_of(*kind, path, config, Some(&like))?;
        let test = test.test.unwrap_or(test.train);
        if test.shape != parts.train.shape {
            let (path, there, here) = (path.display(), &test.shape, &parts.train.shape);
            let title =
                format!("{path} holds examples of shape {there:?}, and those for training have {here:?}");
            return Err(Diagnostic::new(Exit::Data, title));
        }
        parts.test = Some(test);
    }
    Ok(parts)
}

fn kind_of(
    kind: Kind,
    path: &Path,
    config: &DataConfig,
    known: Option<&Known<'_>>,
) -> Result<Parts, Diagnostic> {
    Ok(match kind {
        Kind::Idx => return idx(path),
        Kind::Folder => {
            let mut options = folder_options(config, known);
            if known.is_some_and(|k| k.foreign) {
                options.group = None;
            }
            folder::read(path, &options)?
        }
        Kind::Npz => arrays::read(path, &array_options(config, known))?,
        Kind::Csv => table::read(path, &table_options(config, known))?,
        Kind::Cifar10 => cifar::read(path, &limits())?,
    })
}

/// Pictures of bytes with numbered classes.
fn pictures(pixels: Vec<u8>, shape: [usize; 3], labels: Vec<i64>, classes: usize) -> Set {
    Set {
        inputs: Values::U8(pixels),
        shape: shape.to_vec(),
        labels,
        classes: (0..classes).map(|c| c.to_string()).collect(),
        features: Vec::new(),
        groups: None,
        origins: Origins::Rows,
        remarks: Vec::new(),
        scale: 1.0 / 255.0,
    }
}

fn mnist() -> Result<Parts, Diagnostic> {
    let damaged = |e: cotangent_mnist::Error| Diagnostic::new(Exit::Data, e.to_string());
    let set = |s: cotangent_mnist::Split| {
        let shape = [1, cotangent_mnist::ROWS, cotangent_mnist::COLS];
        let labels = s.labels.into_iter().map(i64::from).collect();
        pictures(s.images, shape, labels, cotangent_mnist::CLASSES)
    };
    let (train, test) = rayon::join(cotangent_mnist::train, cotangent_mnist::test);
    Ok(Parts { train: set(train.map_err(damaged)?), val: None, test: Some(set(test.map_err(damaged)?)) })
}

/// Four IDX files in a folder.
fn idx(folder: &Path) -> Result<Parts, Diagnostic> {
    let mut remarks = Vec::new();
    let mut files = |part: &str| {
        let mut file = |kind| idx_file(folder, part, kind, &mut remarks);
        Ok::<_, Diagnostic>((file(IMAGES)?, file("labels-idx1-ubyte")?))
    };
    let ((images, labels), (test_images, test_labels)) = (files("train")?, files("t10k")?);
    let classes = classes(&labels)?;
    let set = |images: &Images| {
        pictures(images.pixels().to_vec(), images.shape(), images.labels().to_vec(), images.classes())
    };
    let train = Images::from_idx(&images, &labels, classes)?;
    let test = Images::from_idx(&test_images, &test_labels, classes)?;
    if test.labels().is_empty() {
        return Err(Diagnostic::new(Exit::Data, format!("{} holds no image", test_images.display())));
    }
    if train.shape() != test.shape() {
        let ([a, b, c], [d, e, f]) = (train.shape(), test.shape());
        let (one, other) = (images.display(), test_images.display());
        let title = format!("{one} holds images of {a}×{b}×{c}, and {other} of {d}×{e}×{f}");
        return Err(Diagnostic::new(Exit::Data, title).help("both must come from the same data set"));
    }
    if train.shape().contains(&0) {
        let title = format!("{} holds images without a pixel", images.display());
        return Err(Diagnostic::new(Exit::Data, title).help("copy or download it again"));
    }
    remarks.extend(mostly_empty(train.labels(), classes, &labels));
    let (mut train, test) = (set(&train), set(&test));
    train.remarks = remarks;
    Ok(Parts { train, val: None, test: Some(test) })
}

/// The files of a folder that `predict` takes one by one, where it is such a folder as the network learned from.
pub(crate) fn inside(folder: &Path, config: &DataConfig) -> Vec<PathBuf> {
    let is_there = |path: &PathBuf| path.symlink_metadata().is_ok();
    match config.name.kind() {
        Some(Kind::Cifar10) => cifar::files(folder),
        Some(Kind::Csv) => ["train.csv", "val.csv", "test.csv"]
            .map(|name| folder.join(name))
            .into_iter()
            .filter(is_there)
            .collect(),
        Some(Kind::Idx) | None => {
            let image = |part: &&str| {
                idx_names(part, IMAGES).map(|name| folder.join(name)).into_iter().find(is_there)
            };
            ["train", "t10k"].iter().filter_map(image).collect()
        }
        Some(Kind::Folder | Kind::Npz) => Vec::new(),
    }
}

const IMAGES: &str = "images-idx3-ubyte";

/// The names that a file has in the wild.
fn idx_names(part: &str, kind: &str) -> [String; 4] {
    let plain = format!("{part}-{kind}");
    let dotted = plain.replace("-idx", ".idx");
    [plain.clone(), format!("{plain}.gz"), dotted.clone(), format!("{dotted}.gz")]
}

/// The file of a part under one of the names that it has in the wild.
fn idx_file(folder: &Path, part: &str, kind: &str, remarks: &mut Vec<String>) -> Result<PathBuf, Diagnostic> {
    let names = idx_names(part, kind);
    let there: Vec<PathBuf> =
        names.iter().map(|name| folder.join(name)).filter(|path| path.symlink_metadata().is_ok()).collect();
    let files: Vec<&PathBuf> = there.iter().filter(|path| path.is_file()).collect();
    let help = "`idx:DIR` takes a folder with train-images-idx3-ubyte, train-labels-idx1-ubyte, \
                t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte";
    let readable = |path: &PathBuf| match cotangent_data::length(path) {
        Ok(_) => Ok(path.clone()),
        Err(found) => Err(Diagnostic::from(found).help(help)),
    };
    match (&files[..], &there[..]) {
        ([file], _) => readable(file),
        ([file, others @ ..], _) => {
            let others: Vec<String> = others.iter().map(|path| path.display().to_string()).collect();
            remarks.push(format!("{} is read, and not {}", file.display(), others.join(" and ")));
            readable(file)
        }
        ([], [other, ..]) => readable(other),
        ([], []) if !folder.is_dir() && folder.exists() => {
            let title = format!("{} is no folder, and `idx:` names one", folder.display());
            Err(Diagnostic::new(Exit::Data, title).help(help))
        }
        ([], []) => {
            let title = format!("there is no {} in {}, gzipped or not", names[0], folder.display());
            Err(Diagnostic::new(Exit::Data, title).help(help))
        }
    }
}

/// A word on classes of which most have no example: often one damaged label.
fn mostly_empty(labels: &[i64], classes: usize, file: &Path) -> Option<String> {
    let mut examples = vec![0_usize; classes];
    labels.iter().for_each(|l| examples[*l as usize] += 1);
    let empty = examples.iter().filter(|n| **n == 0).count();
    if empty * 2 <= classes {
        return None;
    }
    let (most, position) = (classes - 1, labels.iter().position(|l| *l as usize == classes - 1)?);
    let times = match examples[most] {
        1 => "once".to_string(),
        n => format!("{n} times"),
    };
    Some(format!(
        "{empty} of {classes} classes have no training example: label {most} stands in {} {times}, first at \
         position {position}; is it meant?",
        file.display()
    ))
}

/// How many classes the training labels speak of. Labels 1, …, C are C classes, and the check that follows says so.
fn classes(path: &Path) -> Result<usize, Diagnostic> {
    let labels: Vec<i64> = match Idx::read(path)?.into_elements() {
        Elements::U8(v) => v.into_iter().map(i64::from).collect(),
        Elements::I32(v) => v.into_iter().map(i64::from).collect(),
        _ => {
            let title = format!("{} holds real numbers, and labels are whole", path.display());
            return Err(Diagnostic::new(Exit::Data, title).help("a number that was measured is no class"));
        }
    };
    let (Some(least), Some(most)) = (labels.iter().min(), labels.iter().max()) else {
        let found = Diagnostic::new(Exit::Data, format!("{} holds no label", path.display()));
        return Err(found.help("copy or download the data set again"));
    };
    let classes = usize::try_from(most + i64::from(*least < 1)).unwrap_or_default();
    if classes > labels.len() {
        let title = format!("{} has label {most}, with {} examples in all", path.display(), labels.len());
        return Err(Diagnostic::new(Exit::Data, title).help("labels count the classes from 0"));
    }
    Ok(classes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bytes as a gzip file of one stored block.
    fn gzipped(bytes: &[u8]) -> Vec<u8> {
        let mut crc = !0_u32;
        for byte in bytes {
            crc ^= u32::from(*byte);
            (0..8).for_each(|_| crc = if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 });
        }
        let n = bytes.len() as u16;
        let mut file = b"\x1f\x8b\x08\0\0\0\0\0\0\xff\x01".to_vec();
        file.extend([n.to_le_bytes(), (!n).to_le_bytes()].concat());
        file.extend(bytes);
        file.extend([(!crc).to_le_bytes(), u32::from(n).to_le_bytes()].concat());
        file
    }

    #[test]
    fn no_changed_idx_file_panics_or_passes_for_a_larger_one() {
        let folder = std::env::temp_dir().join(format!("cotangent-idx-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let mut images = vec![0, 0, 8, 3];
        [6_u32, 4, 4].iter().for_each(|n| images.extend(n.to_be_bytes()));
        images.extend((0..96).map(|i| i * 2));
        let labels = [&[0, 0, 8, 1, 0, 0, 0, 6][..], &[0, 1, 2, 0, 1, 2]].concat();
        let mut noise = 9_u64;
        let mut below = |n: usize| {
            noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (noise >> 33) as usize % n.max(1)
        };
        let mut good = 0;
        for round in 0..300 {
            let (mut x, mut y) = (images.clone(), labels.clone());
            let zipped = round % 3 == 0;
            if zipped {
                x = gzipped(&x);
            }
            let file = if below(3) == 0 { &mut y } else { &mut x };
            // Headers decide most.
            let most = if below(2) == 0 { 24 } else { 1 << 20 };
            let at = below(file.len().min(most));
            match below(4) {
                0 => file[at] ^= 1 << below(8),
                1 => file[at] = 0xff,
                2 => file.truncate(at),
                _ => file.insert(at, below(256) as u8),
            }
            for part in ["train", "t10k"] {
                std::fs::write(folder.join(format!("{part}-images-idx3-ubyte")), &x).unwrap();
                std::fs::write(folder.join(format!("{part}-labels-idx1-ubyte")), &y).unwrap();
            }
            match idx(&folder) {
                Ok(parts) => {
                    assert_eq!((parts.train.len(), parts.train.labels.len()), (6, 6));
                    good += 1;
                }
                Err(found) => assert_eq!(found.exit(), Exit::Data, "{found}"),
            }
        }
        std::fs::remove_dir_all(&folder).unwrap();
        assert!((10..290).contains(&good), "{good}");
    }
}
