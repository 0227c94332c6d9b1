//! The examples of a run: which are fitted, which are held out, which are only shown.

mod files;
mod parts;
mod source;

use std::collections::BTreeSet;

use cotangent::data::{Cyclic, Dataset, Flip, Iid, Loader, Rotate, Shift, Shuffled, Subset};
use cotangent_data::{Kind as ErrorKind, Origins, Parts, Set, Values};

use crate::checkpoint::{About, Normalisation, hexadecimal};
use crate::config::{ClassWeights, DataConfig, DataName, Kind, SamplerName};
use crate::diagnostic::{Diagnostic, Exit};

pub(crate) use files::{array_options, filter, inside, limits, table_options};
pub(crate) use source::Source;
use source::measured;

/// Labelled examples; a subset of those that were read.
pub(crate) type Examples = Subset<Source>;

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
    /// How many examples that are fitted each class has.
    pub(crate) counts: Vec<u64>,
    /// Channels, height and width of an image; or the number of features.
    pub(crate) shape: Vec<usize>,
    /// Names of the features, where they have any.
    pub(crate) features: Vec<String>,
    /// How numbers of files become inputs.
    pub(crate) normalisation: Normalisation,
    /// SHA-256 of all of them, to notice when files change; empty where there are none.
    pub(crate) fingerprint: String,
    /// What is odd about them, and no mistake.
    pub(crate) remarks: Vec<String>,
    /// Where each test example came from; nothing where its place among them says all.
    pub(crate) test_names: Vec<String>,
    /// What comes in from outside when a picture is moved.
    background: Vec<f32>,
}

/// What a network was trained on, for other examples to be read the same way.
pub(crate) struct Known<'a> {
    /// How numbers become inputs.
    pub(crate) normalisation: Option<&'a Normalisation>,
    /// Names of the classes.
    pub(crate) classes: &'a [String],
    /// Names of the features.
    pub(crate) features: &'a [String],
    /// Sizes of an input.
    pub(crate) shape: &'a [usize],
    /// Whether these are other examples than the run's own: then none is held out, and all are test examples where
    /// the files say nothing else.
    pub(crate) foreign: bool,
}

impl<'a> Known<'a> {
    /// What a checkpoint knows.
    pub(crate) fn of(about: &'a About, foreign: bool) -> Self {
        let About { normalisation, classes, features, input_shape, .. } = about;
        Known { normalisation: Some(normalisation), classes, features, shape: input_shape, foreign }
    }
}

/// Channels, height and width of a shape; features are channels of one pixel.
pub(crate) fn sides(shape: &[usize]) -> [usize; 3] {
    match *shape {
        [c, h, w] => [c, h, w],
        _ => [shape.iter().product(), 1, 1],
    }
}

/// SHA-256 of inputs, labels and names of classes, part by part.
fn fingerprint(parts: &[Option<&Set>]) -> String {
    use sha2::{Digest, Sha256};
    let mut hash = Sha256::new();
    for part in parts.iter().flatten() {
        hash.update((part.len() as u64).to_le_bytes());
        match &part.inputs {
            Values::U8(v) => hash.update(v),
            Values::F32(v) => v.iter().for_each(|x| hash.update(x.to_le_bytes())),
        }
        part.labels.iter().for_each(|label| hash.update(label.to_le_bytes()));
        part.classes.iter().for_each(|class| hash.update(format!("{class}\n")));
    }
    hexadecimal(hash)
}

/// How many examples there are.
pub(crate) fn count(examples: &Examples) -> usize {
    examples.len().unwrap_or_default()
}

impl From<cotangent_data::Error> for Diagnostic {
    fn from(error: cotangent_data::Error) -> Self {
        let exit = match error.kind() {
            ErrorKind::Data => Exit::Data,
            ErrorKind::Option => Exit::Usage,
        };
        error.helps().iter().fold(Diagnostic::new(exit, error.to_string()), |found, help| found.help(help))
    }
}

impl Data {
    /// Reads the examples, and holds out as many of the training set as the configuration says. They are normalised
    /// as is `known`, for a network that was trained that way; else by their own mean and deviation.
    pub(crate) fn load(
        config: &DataConfig,
        seed: u64,
        known: Option<&Known<'_>>,
    ) -> Result<Self, Diagnostic> {
        let Parts { train, val, test } = files::read(config, known)?;
        let fingerprint = match &config.name {
            DataName::Files(..) => fingerprint(&[Some(&train), val.as_ref(), test.as_ref()]),
            DataName::Mnist | DataName::Wafer => String::new(),
        };
        if let Some(known) = known.filter(|k| k.normalisation.is_some() && k.shape != train.shape) {
            let (there, here) = (&train.shape, known.shape);
            let title =
                format!("{} holds examples of shape {there:?}, and the network takes {here:?}", config.name);
            let found = Diagnostic::new(Exit::Usage, title);
            return Err(found.help("[channels, height, width] of pictures, [features] of a table"));
        }
        if !config.augment.is_default() && train.shape.len() != 3 {
            let title = format!("`data.augment` changes pictures, and {} holds features", config.name);
            return Err(Diagnostic::new(Exit::Usage, title).help("leave `augment` out"));
        }
        let stratified = config
            .split
            .stratified
            .unwrap_or(!matches!(config.name, DataName::Mnist | DataName::Files(Kind::Idx, _)));
        let all: Vec<usize> = (0..train.len()).collect();
        let foreign = known.is_some_and(|k| k.foreign);
        let mut remarks = train.remarks.clone();
        for (part, other) in [("validation", &val), ("test", &test)] {
            remarks.extend(other.as_ref().and_then(|other| on_both_sides(&train, other, part)));
        }
        let (rest, tested) = match &test {
            Some(_) => (all.clone(), None),
            None if foreign => (all.clone(), Some(all.clone())),
            None => {
                let split = config.test_split.unwrap_or(0.2);
                let n = parts::count("data.test_split", split, all.len())?;
                let (rest, held) = parts::hold_out(&train, &all, n, stratified, seed)?;
                remarks.push(format!(
                    "{} has no test examples of its own: {} of its {} are held out as such",
                    config.name,
                    held.len(),
                    all.len()
                ));
                (rest, Some(held))
            }
        };
        if val.is_some() && config.val_split > 0.0 {
            let title =
                format!("`data.val_split` holds out examples, and {} has a validation part", config.name);
            return Err(Diagnostic::new(Exit::Usage, title).help("leave `val_split` out"));
        }
        let n = parts::count("data.val_split", config.val_split, rest.len())?;
        let (fitted, held) = parts::hold_out(&train, &rest, n, stratified, seed)?;
        let fitted = match parts::kept(config.fraction, fitted.len())? {
            n if n < fitted.len() => parts::hold_out(&train, &fitted, n, stratified, seed)?.1,
            _ => fitted,
        };
        let normalisation = match (known.and_then(|k| k.normalisation), &config.name) {
            (Some(known), _) => known.clone(),
            (None, DataName::Mnist) => {
                Normalisation::pixels(vec![cotangent_mnist::MEAN], vec![cotangent_mnist::STD])
            }
            (None, _) => measured(&train, &fitted),
        };
        let (shape, classes, features) = (train.shape.clone(), train.classes.clone(), train.features.clone());
        let mut counts = vec![0; classes.len()];
        fitted.iter().for_each(|i| counts[train.labels[*i] as usize] += 1);
        if !matches!(config.name, DataName::Files(Kind::Idx, _)) {
            remarks.extend(without_examples(&classes, &counts));
        }
        for other in [&val, &test].into_iter().flatten() {
            remarks.extend(other.remarks.iter().cloned());
        }
        let test_names = match (&test, &tested) {
            (Some(Set { origins: Origins::Rows, .. }), _) => Vec::new(),
            (Some(set), _) => (0..set.len()).map(|i| set.origins.name(i)).collect(),
            (None, held) => held.iter().flatten().map(|i| train.origins.name(*i)).collect(),
        };
        let train = Source::new(train, &normalisation)?;
        let whole = |set| {
            let source = Source::new(set, &normalisation)?;
            let n = source.len().unwrap_or_default();
            Ok::<_, Diagnostic>(Subset::new(source, (0..n).collect::<Vec<_>>())?)
        };
        let val = match val {
            Some(set) => whole(set)?,
            None => Subset::new(train.clone(), held)?,
        };
        let test = match (test, tested) {
            (Some(set), _) => whole(set)?,
            (None, held) => Subset::new(train.clone(), held.unwrap_or_default())?,
        };
        let background = train.background();
        let train = Subset::new(train, fitted)?;
        Ok(Data {
            train,
            val,
            test,
            classes,
            counts,
            shape,
            features,
            normalisation,
            fingerprint,
            remarks,
            test_names,
            background,
        })
    }

    /// Batches of the examples that are fitted, made and changed ahead on a thread of their own.
    pub(crate) fn batches(&self, config: &DataConfig, seed: u64) -> Loader {
        let n = count(&self.train);
        // As many as there are, so that no size that a user writes is more than memory holds.
        let mut loader =
            Loader::new(self.train.clone(), config.batch.min(n.max(1))).drop_last(config.drop_last);
        let augment = &config.augment;
        if augment.flip > 0.0 {
            loader = loader.transform(Flip::new(seed, augment.flip));
        }
        if augment.rotate > 0.0 {
            loader = loader.transform(Rotate::new(seed, augment.rotate).fill(self.background.clone()));
        }
        if augment.shift > 0 {
            loader = loader.transform(Shift::new(seed, augment.shift).fill(self.background.clone()));
        }
        let loader = match config.sampler {
            SamplerName::Shuffled => loader.sampler(Shuffled::new(n, seed)),
            SamplerName::Cyclic => loader.sampler(Cyclic::new(n)),
            SamplerName::Iid => loader.sampler(Iid::new(n, seed)),
        };
        loader.ahead(32)
    }

    /// Channels, height and width; features are channels of one pixel.
    pub(crate) fn sides(&self) -> [usize; 3] {
        sides(&self.shape)
    }

    /// What people call them.
    pub(crate) fn noun(&self) -> &'static str {
        if self.shape.len() == 3 { "images" } else { "examples" }
    }

    /// How much an example of each class counts; `None` where all count alike.
    pub(crate) fn weights(&self, asked: Option<&ClassWeights>) -> Result<Option<Vec<f64>>, Diagnostic> {
        let classes = self.classes.len();
        match asked {
            None => Ok(None),
            Some(ClassWeights::Balanced) => {
                let all: u64 = self.counts.iter().sum();
                let weight = |n: &u64| if *n == 0 { 0.0 } else { all as f64 / (classes as f64 * *n as f64) };
                Ok(Some(self.counts.iter().map(weight).collect()))
            }
            Some(ClassWeights::Each(weights)) if weights.len() == classes => Ok(Some(weights.clone())),
            Some(ClassWeights::Each(weights)) => {
                let title = format!(
                    "`train.class_weights` has {} numbers, and there are {classes} classes",
                    weights.len()
                );
                let names = self.classes.join(", ");
                Err(Diagnostic::new(Exit::Usage, title).help(format!("one for each, in this order: {names}")))
            }
        }
    }
}

/// A word on a group that the files themselves put on both sides.
fn on_both_sides(train: &Set, other: &Set, part: &str) -> Option<String> {
    let (here, there) = (train.groups.as_ref()?, other.groups.as_ref()?);
    let here: BTreeSet<&String> = here.iter().collect();
    let both: BTreeSet<&String> = there.iter().filter(|group| here.contains(group)).collect();
    let first = both.first()?;
    let n = both.len();
    Some(format!(
        "{n} of the groups of `split.by` stand in the training and in the {part} part, such as {first}"
    ))
}

/// A word on classes that nothing can be learned about.
fn without_examples(classes: &[String], counts: &[u64]) -> Option<String> {
    let empty = classes.iter().zip(counts).filter(|(_, n)| **n == 0).map(|(name, _)| name.as_str());
    let empty: Vec<&str> = empty.collect();
    let plural = if empty.len() == 1 { "class" } else { "classes" };
    let (first, more) = empty.split_at(empty.len().min(10));
    let more = if more.is_empty() { String::new() } else { format!(" and {} more", more.len()) };
    (!empty.is_empty()).then(|| format!("no example to train on for {plural} {}{more}", first.join(", ")))
}

/// What examples look like, for those who compute nothing with them.
pub(crate) struct Outline {
    /// Channels, height and width of an image; or the number of features.
    pub(crate) shape: Vec<usize>,
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
            shape: vec![1, cotangent_mnist::ROWS, cotangent_mnist::COLS],
            classes: cotangent_mnist::CLASSES,
            train: {
                let n = cotangent_mnist::TRAIN;
                parts::kept(config.fraction, n - parts::count("data.val_split", config.val_split, n)?)?
            },
            test: cotangent_mnist::TEST,
        }),
        DataName::Wafer | DataName::Files(..) => {
            let data = Data::load(config, seed, None)?;
            let (train, test) = (count(&data.train), count(&data.test));
            Ok(Outline { shape: data.shape, classes: data.classes.len(), train, test })
        }
    }
}
