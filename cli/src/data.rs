//! The examples of a run: which are fitted, which are held out, which are only shown.

use std::path::{Path, PathBuf};

use cotangent::data::{Cyclic, Dataset, Elements, Idx, Iid, Images, Loader, Shuffled, Subset, split};

use crate::checkpoint::Normalisation;
use crate::config::{DataConfig, DataName, SamplerName};
use crate::diagnostic::{Diagnostic, Exit};

/// Images with their labels; a subset of those that were read.
pub(crate) type Examples = Subset<Images>;

/// Everything that a run reads.
pub(crate) struct Data {
    /// Those that are fitted.
    pub(crate) train: Examples,
    /// Those that are held out of the training set; may be none.
    pub(crate) val: Examples,
    /// Those that are only shown.
    pub(crate) test: Examples,
    /// Names of the classes.
    pub(crate) classes: Vec<String>,
    /// Channels, height and width of an image.
    pub(crate) shape: [usize; 3],
    /// How pixels become inputs.
    pub(crate) normalisation: Normalisation,
    /// What is odd about them, and no mistake.
    pub(crate) remarks: Vec<String>,
}

/// How many examples there are.
pub(crate) fn count(examples: &Examples) -> usize {
    examples.len().unwrap_or_default()
}

impl Data {
    /// Reads the examples, and holds out as many of the training set as the configuration says. They are normalised
    /// as `known` says, for a network that was trained that way; else by their own mean and deviation.
    pub(crate) fn load(
        config: &DataConfig,
        seed: u64,
        known: Option<&Normalisation>,
    ) -> Result<Self, Diagnostic> {
        let (train, test, remarks) = read(&config.name)?;
        let n = train.labels().len();
        let held_out = held_out(config.val_split, n)?;
        let (fitted, held) =
            split(n, held_out, seed).map_err(|e| Diagnostic::from(e).exiting(Exit::Usage))?;
        let normalisation = match (known, &config.name) {
            (Some(known), _) => known.clone(),
            (None, DataName::Mnist) => {
                Normalisation { mean: vec![cotangent_mnist::MEAN], std: vec![cotangent_mnist::STD] }
            }
            (None, DataName::Idx(_)) => measured(&train, &fitted),
        };
        let everything: Vec<usize> = (0..test.labels().len()).collect();
        let (shape, classes) = (train.shape(), train.classes());
        let (train, test) = (normalised(train, &normalisation)?, normalised(test, &normalisation)?);
        Ok(Data {
            train: Subset::new(train.clone(), fitted)?,
            val: Subset::new(train, held)?,
            test: Subset::new(test, everything)?,
            classes: (0..classes).map(|c| c.to_string()).collect(),
            shape,
            normalisation,
            remarks,
        })
    }

    /// Batches of the examples that are fitted, made ahead on a thread of their own.
    pub(crate) fn batches(&self, config: &DataConfig, seed: u64) -> Loader {
        let n = count(&self.train);
        // As many as there are, so that no size that a user writes is more than memory holds.
        let loader = Loader::new(self.train.clone(), config.batch.min(n.max(1))).drop_last(config.drop_last);
        let loader = match config.sampler {
            SamplerName::Shuffled => loader.sampler(Shuffled::new(n, seed)),
            SamplerName::Cyclic => loader.sampler(Cyclic::new(n)),
            SamplerName::Iid => loader.sampler(Iid::new(n, seed)),
        };
        loader.ahead(32)
    }
}

/// What examples look like, for those who compute nothing with them.
pub(crate) struct Outline {
    /// Channels, height and width of an image.
    pub(crate) shape: [usize; 3],
    /// How many classes there are.
    pub(crate) classes: usize,
    /// Examples that are fitted.
    pub(crate) train: usize,
    /// Examples that are only shown.
    pub(crate) test: usize,
}

/// Sizes of the examples that [`Data::load`] would read; the bundled ones are not inflated for that.
pub(crate) fn outline(config: &DataConfig, seed: u64) -> Result<Outline, Diagnostic> {
    match config.name {
        DataName::Mnist => Ok(Outline {
            shape: [1, cotangent_mnist::ROWS, cotangent_mnist::COLS],
            classes: cotangent_mnist::CLASSES,
            train: cotangent_mnist::TRAIN - held_out(config.val_split, cotangent_mnist::TRAIN)?,
            test: cotangent_mnist::TEST,
        }),
        DataName::Idx(_) => {
            let data = Data::load(config, seed, None)?;
            let (train, test) = (count(&data.train), count(&data.test));
            Ok(Outline { shape: data.shape, classes: data.classes.len(), train, test })
        }
    }
}

/// The number of examples that `val_split` means, of `n`.
fn held_out(val_split: f64, n: usize) -> Result<usize, Diagnostic> {
    if val_split == 0.0 {
        return Ok(0);
    }
    let count = if val_split < 1.0 { (val_split * n as f64).round() } else { val_split };
    if count >= 1.0 && count < n as f64 {
        return Ok(count as usize);
    }
    let title = format!("`data.val_split` {val_split} holds out {count} of {n} training examples");
    Err(Diagnostic::new(Exit::Usage, title).help("at least one must be held out, and at least one be left"))
}

/// Training and test images, as bytes, and what is odd about them.
fn read(name: &DataName) -> Result<(Images, Images, Vec<String>), Diagnostic> {
    match name {
        DataName::Mnist => {
            let damaged = |e: cotangent_mnist::Error| Diagnostic::new(Exit::Data, e.to_string());
            let images = |s: cotangent_mnist::Split| {
                let shape = [1, cotangent_mnist::ROWS, cotangent_mnist::COLS];
                Images::new(s.images, shape, s.labels, cotangent_mnist::CLASSES)
                    .map_err(|e| Diagnostic::from(e).exiting(Exit::Data))
            };
            let (train, test) = rayon::join(cotangent_mnist::train, cotangent_mnist::test);
            Ok((images(train.map_err(damaged)?)?, images(test.map_err(damaged)?)?, Vec::new()))
        }
        DataName::Idx(folder) => {
            let mut remarks = Vec::new();
            let mut files = |part: &str| {
                let mut file = |kind| idx_file(folder, part, kind, &mut remarks);
                Ok::<_, Diagnostic>((file("images-idx3-ubyte")?, file("labels-idx1-ubyte")?))
            };
            let ((images, labels), (test_images, test_labels)) = (files("train")?, files("t10k")?);
            let classes = classes(&labels)?;
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
                return Err(Diagnostic::new(Exit::Data, title));
            }
            remarks.extend(mostly_empty(train.labels(), classes, &labels));
            Ok((train, test, remarks))
        }
    }
}

/// The file of a part under one of the names that it has in the wild.
fn idx_file(folder: &Path, part: &str, kind: &str, remarks: &mut Vec<String>) -> Result<PathBuf, Diagnostic> {
    let plain = format!("{part}-{kind}");
    let dotted = plain.replace("-idx", ".idx");
    let names = [plain.clone(), format!("{plain}.gz"), dotted.clone(), format!("{dotted}.gz")];
    let there: Vec<PathBuf> =
        names.iter().map(|name| folder.join(name)).filter(|path| path.symlink_metadata().is_ok()).collect();
    let files: Vec<&PathBuf> = there.iter().filter(|path| path.is_file()).collect();
    let help = "`idx:DIR` takes a folder with train-images-idx3-ubyte, train-labels-idx1-ubyte, \
                t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte";
    match (&files[..], &there[..]) {
        ([file], _) => Ok((*file).clone()),
        ([file, others @ ..], _) => {
            let others: Vec<String> = others.iter().map(|path| path.display().to_string()).collect();
            remarks.push(format!("{} is read, and not {}", file.display(), others.join(" and ")));
            Ok((*file).clone())
        }
        ([], [other, ..]) => {
            let is = match other.metadata() {
                Ok(about) if about.is_dir() => "is a folder",
                Ok(_) => "is not a regular file",
                Err(_) => "is a link that leads nowhere",
            };
            let title = format!("{} {is}, and a file was expected", other.display());
            Err(Diagnostic::new(Exit::Data, title).help(help))
        }
        ([], []) if !folder.is_dir() && folder.exists() => {
            let title = format!("{} is no folder, and `idx:` names one", folder.display());
            Err(Diagnostic::new(Exit::Data, title).help(help))
        }
        ([], []) => {
            let title = format!("there is no {plain} in {}, gzipped or not", folder.display());
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
            return Err(Diagnostic::new(Exit::Data, title));
        }
    };
    let (Some(least), Some(most)) = (labels.iter().min(), labels.iter().max()) else {
        return Err(Diagnostic::new(Exit::Data, format!("{} holds no label", path.display())));
    };
    let classes = usize::try_from(most + i64::from(*least < 1)).unwrap_or_default();
    if classes > labels.len() {
        let title = format!("{} has label {most}, with {} examples in all", path.display(), labels.len());
        return Err(Diagnostic::new(Exit::Data, title).help("labels count the classes from 0"));
    }
    Ok(classes)
}

/// Mean and deviation of the pixels of some images, by channel; whole numbers, so that no order of adding matters.
fn measured(images: &Images, of: &[usize]) -> Normalisation {
    let [channels, height, width] = images.shape();
    let plane = height * width;
    let mut found = Normalisation { mean: Vec::new(), std: Vec::new() };
    for channel in 0..channels {
        let (mut sum, mut squares) = (0_u64, 0_u64);
        for image in of {
            let from = (image * channels + channel) * plane;
            for x in &images.pixels()[from..from + plane] {
                sum += u64::from(*x);
                squares += u64::from(*x) * u64::from(*x);
            }
        }
        let n = (of.len() * plane) as f64;
        let mean = sum as f64 / n;
        let std = (squares as f64 / n - mean * mean).max(0.0).sqrt();
        found.mean.push(mean / 255.0);
        found.std.push(if std > 0.0 { std / 255.0 } else { 1.0 });
    }
    found
}

/// The images with their normalisation.
pub(crate) fn normalised(images: Images, n: &Normalisation) -> Result<Images, Diagnostic> {
    images.normalize(&n.mean, &n.std).map_err(|e| Diagnostic::from(e).exiting(Exit::Data))
}
