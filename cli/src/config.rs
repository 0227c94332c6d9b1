//! What a run is made of: the configuration, its defaults and its limits.
//!
//! The structs below are the single source of keys, types and defaults; [`layers`] merges files and flags into
//! them and finds the text to underline when something does not fit.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};

/// An enumeration of names that a user writes.
macro_rules! names {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
        pub(crate) enum $name { $($(#[$variant_doc])* #[serde(rename = $text)] $variant,)+ }

        impl $name {
            /// The name as it is written.
            pub(crate) const fn name(self) -> &'static str {
                match self { $($name::$variant => $text,)+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}

mod data;
pub(crate) mod keys;
pub(crate) mod layers;

/// Layers of a network at most; tracing more takes longer than anybody waits.
const MOST_LAYERS: usize = 1000;

mod network;
mod optim;

pub(crate) use data::{DataConfig, DataName, FilterName, Kind, MissingName, SamplerName};
pub(crate) use network::{
    Activation, BatchNorm2dConfig, Conv2dConfig, Edges, FlattenConfig, LayerConfig, LinearConfig, PoolConfig,
    Sides,
};
pub(crate) use optim::{AnnealName, OptimConfig, OptimName, ScheduleName, ThresholdName};

names! {
    /// The network.
    ModelName {
        /// What suits the examples: lenet5 for pictures of 28×28, cnn for larger ones, mlp for all others.
        Auto = "auto",
        /// LeNet-5 with ReLU and max pooling, 61,706 parameters.
        Lenet5 = "lenet5",
        /// A multilayer perceptron.
        Mlp = "mlp",
        /// Softmax regression: one linear layer.
        Softmax = "softmax",
        /// Convolutions of 3×3 with batch norm and pooling, as deep as the pictures allow.
        Cnn = "cnn",
        /// ResNet-18 for small colour pictures.
        Resnet18 = "resnet18",
        /// What `[[layers]]` say.
        Layers = "layers",
    }
}

names! {
    /// What makes an epoch the best.
    BestName {
        /// The lowest validation loss.
        Loss = "loss",
        /// The highest validation accuracy.
        Accuracy = "accuracy",
        /// The highest mean of the classes' F1.
        MacroF1 = "macro_f1",
        /// The highest mean of the classes' recalls.
        BalancedAccuracy = "balanced_accuracy",
    }
}

/// Where the run computes: `auto`, `cpu`, `virtual` or `cuda:N`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) enum DeviceName {
    /// The best there is; says which.
    Auto,
    /// The processor.
    Cpu,
    /// A teaching GPU with a queue and memory of its own, computed by the processor.
    Virtual,
    /// A CUDA device by number.
    Cuda(usize),
}

impl TryFrom<String> for DeviceName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.as_str() {
            "auto" => Ok(DeviceName::Auto),
            "cpu" => Ok(DeviceName::Cpu),
            "virtual" => Ok(DeviceName::Virtual),
            "cuda" => Ok(DeviceName::Cuda(0)),
            other => {
                other.strip_prefix("cuda:").and_then(|n| n.parse().ok()).map(DeviceName::Cuda).ok_or_else(
                    || format!("unknown device `{other}`, expected `auto`, `cpu`, `virtual` or `cuda:0`"),
                )
            }
        }
    }
}

impl From<DeviceName> for String {
    fn from(device: DeviceName) -> String {
        device.to_string()
    }
}

impl fmt::Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DeviceName::Auto => f.write_str("auto"),
            DeviceName::Cpu => f.write_str("cpu"),
            DeviceName::Virtual => f.write_str("virtual"),
            DeviceName::Cuda(n) => write!(f, "cuda:{n}"),
        }
    }
}

/// Settings for an occasion, over the defaults and below everything that somebody wrote: name, occasion, TOML.
pub(crate) const PRESETS: [(&str, &str, &str); 3] = [
    ("quick", "does it all work?", "data.fraction = 0.1\ntrain.epochs = 1\n"),
    ("small", "some hundred examples", "data.batch = 16\ntrain.epochs = 30\n"),
    (
        "imbalanced",
        "rare classes count",
        "data.val_split = 0.15\ntrain.class_weights = \"balanced\"\ntrain.best = \"macro_f1\"\n",
    ),
];

/// Everything that decides what a run computes, and where.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    /// Everything random follows from it.
    pub(crate) seed: u64,
    /// The network.
    pub(crate) model: ModelName,
    /// Where it computes.
    pub(crate) device: DeviceName,
    /// Worker threads; 0 is one for each core. The results do not depend on it.
    pub(crate) threads: usize,
    /// The name of the [`PRESETS`] entry that stands below what is written; empty for none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) preset: String,
    /// The examples.
    pub(crate) data: DataConfig,
    /// The update rule.
    pub(crate) optim: OptimConfig,
    /// How long, and when to stop.
    pub(crate) train: TrainConfig,
    /// What is written beside the checkpoints.
    pub(crate) log: LogConfig,
    /// The network, layer by layer.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) layers: Vec<LayerConfig>,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            seed: 0,
            model: ModelName::Auto,
            device: DeviceName::Auto,
            threads: 0,
            preset: String::new(),
            data: DataConfig::default(),
            optim: OptimConfig::default(),
            train: TrainConfig::default(),
            log: LogConfig::default(),
            layers: Vec::new(),
        }
    }
}

/// `[train]`: how long, and when to stop.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct TrainConfig {
    /// Passes over the training examples.
    pub(crate) epochs: u64,
    /// Epochs without a better one after which the run stops; 0 is never.
    pub(crate) patience: u64,
    /// Which validation figure says which epoch is the best: loss, accuracy, macro_f1, balanced_accuracy.
    #[serde(skip_serializing_if = "is_loss")]
    pub(crate) best: BestName,
    /// How much an example of each class counts in the training loss.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) class_weights: Option<ClassWeights>,
    /// How much of each target is spread evenly over all classes.
    #[serde(skip_serializing_if = "is_0")]
    pub(crate) label_smoothing: f64,
    /// Largest norm of the whole gradient; 0 is no limit.
    pub(crate) clip_norm: f64,
    /// Largest size of a single number of the gradient; 0 is no limit.
    #[serde(skip_serializing_if = "is_0")]
    pub(crate) clip_value: f64,
}

fn is_0(x: &f64) -> bool {
    *x == 0.0
}

fn is_loss(best: &BestName) -> bool {
    *best == BestName::Loss
}

/// `train.class_weights`: `"balanced"`, or a number for each class.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum ClassWeights {
    /// Examples / (classes · examples of the class).
    Balanced,
    /// These.
    Each(Vec<f64>),
}

impl Serialize for ClassWeights {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            ClassWeights::Balanced => serializer.serialize_str("balanced"),
            ClassWeights::Each(weights) => weights.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for ClassWeights {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> serde::de::Visitor<'de> for Either {
            type Value = ClassWeights;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("\"balanced\", or a number for each class in brackets")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<ClassWeights, E> {
                match text {
                    "balanced" => Ok(ClassWeights::Balanced),
                    other => Err(E::invalid_value(serde::de::Unexpected::Str(other), &self)),
                }
            }
            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, seq: A) -> Result<ClassWeights, A::Error> {
                Deserialize::deserialize(serde::de::value::SeqAccessDeserializer::new(seq))
                    .map(ClassWeights::Each)
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl Default for TrainConfig {
    fn default() -> Self {
        TrainConfig {
            epochs: 8,
            patience: 0,
            best: BestName::Loss,
            class_weights: None,
            label_smoothing: 0.0,
            clip_norm: 0.0,
            clip_value: 0.0,
        }
    }
}

/// `[log]`: what a run writes beside its checkpoints. It changes nothing of what is computed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct LogConfig {
    /// Steps between two rows of `steps.csv`; 0 is none.
    pub(crate) every: u64,
    /// Whether plots and `report.html` are made at the end.
    pub(crate) plots: bool,
    /// Whether TensorBoard's event file is written.
    pub(crate) tensorboard: bool,
}

impl Default for LogConfig {
    fn default() -> Self {
        LogConfig { every: 50, plots: true, tensorboard: true }
    }
}

/// Two of them and no more: a reader of arrays would pass over a third.
fn two<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Option<[T; 2]>, D::Error> {
    let all = Vec::<T>::deserialize(from)?;
    let n = all.len();
    let wrong = |_| serde::de::Error::invalid_length(n, &"two numbers in brackets");
    <[T; 2]>::try_from(all).map(Some).map_err(wrong)
}

/// A key whose value cannot be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    /// The key, with dots; `layers.2` is the third layer.
    pub(crate) key: String,
    /// What was expected and found.
    pub(crate) title: String,
    /// How to mend it.
    pub(crate) help: String,
}

impl Problem {
    pub(crate) fn new(key: impl Into<String>, title: impl Into<String>, help: impl Into<String>) -> Self {
        Problem { key: key.into(), title: title.into(), help: help.into() }
    }
}

/// `Ok` when `good`, else the problem that `key` must be as described.
fn must(
    good: bool,
    key: &'static str,
    what: &str,
    found: impl fmt::Display,
    help: &str,
) -> Result<(), Problem> {
    if good {
        return Ok(());
    }
    // 1e300 has 301 digits.
    let found = found.to_string();
    let found =
        if found.len() > 40 { found.parse::<f64>().map_or(found, |x| format!("{x:e}")) } else { found };
    Err(Problem::new(key, format!("`{key}` must be {what}, found {found}"), help))
}

/// Gives `slot` its default where the setting applies, and refuses a value where it does not.
fn fill<T>(
    slot: &mut Option<T>,
    default: Option<T>,
    key: &'static str,
    owner: &str,
    owners: &str,
) -> Result<(), Problem> {
    match (slot.is_some(), default) {
        (false, default) => *slot = default,
        (true, Some(_)) => {}
        (true, None) => {
            let title = format!("`{key}` is a setting of {owners}, and this run uses {owner}");
            return Err(Problem::new(key, title, format!("leave `{key}` out, or choose {owners}")));
        }
    }
    Ok(())
}

impl Config {
    /// Checks every value and gives the settings that were left open their defaults.
    pub(crate) fn resolve(&mut self) -> Result<(), Problem> {
        let most = i64::MAX as u64;
        must(self.seed <= most, "seed", "at most 2^63 − 1", self.seed, "any smaller number does")?;
        must(self.threads <= 1024, "threads", "at most 1024", self.threads, "0 takes one for each core")?;

        self.data.resolve()?;
        if self.layers.len() > MOST_LAYERS {
            let title = format!("{} layers, and a network has at most {MOST_LAYERS}", self.layers.len());
            return Err(Problem::new(format!("layers.{MOST_LAYERS}"), title, "leave out the others"));
        }
        self.model = match (self.model, self.layers.is_empty()) {
            (ModelName::Auto, true) if self.data.name == DataName::Mnist => ModelName::Lenet5,
            (ModelName::Auto | ModelName::Layers, false) => ModelName::Layers,
            (ModelName::Layers, true) => {
                let help = "add them, or choose such as `model = \"cnn\"`";
                return Err(Problem::new(
                    "model",
                    "`model` is `layers`, and there are no `[[layers]]`",
                    help,
                ));
            }
            (named, false) => {
                let title = format!("`model` is `{named}`, and `[[layers]]` describe a network too");
                return Err(Problem::new("model", title, "leave one of the two out"));
            }
            (other, true) => other,
        };

        let epochs = self.train.epochs;
        let range = 1..=1_000_000;
        must(range.contains(&epochs), "train.epochs", "from 1 to 1,000,000", epochs, "each is one pass")?;
        let needs_validation = |key, what: &str| {
            Problem::new(
                key,
                format!("{what} follows the validation loss, and no examples are held out for one"),
                "`--val-split 5000` holds out 5,000 training examples; test figures are never used",
            )
        };
        if self.train.patience > 0 && !self.has_validation() {
            return Err(needs_validation("train.patience", "`train.patience`"));
        }
        if self.optim.schedule.name == ScheduleName::Plateau && !self.has_validation() {
            return Err(needs_validation("optim.schedule", "the plateau schedule"));
        }
        if self.train.best != BestName::Loss && !self.has_validation() {
            return Err(needs_validation("train.best", "`train.best`"));
        }
        if let Some(ClassWeights::Each(weights)) = &self.train.class_weights {
            // They are numbers of 32 bits where they are used.
            let good = weights.iter().all(|w| (*w as f32).is_finite() && *w >= 0.0)
                && weights.iter().any(|w| *w as f32 > 0.0);
            let help = "\"balanced\" finds them from the training examples";
            let found = format!("{weights:?}");
            must(good, "train.class_weights", "finite numbers, 0 or more, not all 0", found, help)?;
        }
        let spread = self.train.label_smoothing;
        let what = "from 0 to below 1";
        must((0.0..1.0).contains(&spread), "train.label_smoothing", what, spread, "0.1 is usual")?;
        for (key, limit) in
            [("train.clip_norm", self.train.clip_norm), ("train.clip_value", self.train.clip_value)]
        {
            let good = limit.is_finite() && limit >= 0.0;
            must(good, key, "a finite number, 0 or more", limit, "0 is no limit")?;
        }
        self.optim.resolve()
    }

    /// Whether examples are held out for validation, or may lie in files of their own.
    fn has_validation(&self) -> bool {
        self.data.val_split > 0.0
            || matches!(self.data.name.kind(), Some(Kind::Folder | Kind::Npz | Kind::Csv))
    }

    /// Each setting on a line, with where its value came from.
    pub(crate) fn listing(&self, origins: &layers::Origins) -> Vec<String> {
        let mut lines = Vec::new();
        layers::leaves("", &self.table().into(), &mut |key, value| {
            let origin = layers::origin(origins, key);
            lines.push(format!("  {key} = {value}  ({origin})"));
        });
        lines
    }

    /// The merged configuration as a file that `--config` reads again.
    pub(crate) fn to_toml(&self) -> Result<String, toml::ser::Error> {
        toml::to_string(self)
    }

    /// The settings as a table, for whatever is not TOML text: reading and writing are compiled for text alone, as
    /// each form more costs 100 kB.
    pub(crate) fn table(&self) -> toml::Table {
        self.to_toml().ok().and_then(|text| text.parse().ok()).unwrap_or_default()
    }

    /// What [`Config::table`] gave, or a part of it.
    pub(crate) fn from_table(table: &toml::Table) -> Result<Config, toml::de::Error> {
        toml::from_str(&table.to_string())
    }
}

/// A configuration inside of other records, for serde's `with`.
pub(crate) mod as_table {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::Config;

    pub(crate) fn serialize<S: Serializer>(config: &Config, to: S) -> Result<S::Ok, S::Error> {
        config.table().serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Config, D::Error> {
        let table = toml::Table::deserialize(from)?;
        Config::from_table(&table).map_err(|e| serde::de::Error::custom(e.message()))
    }
}
