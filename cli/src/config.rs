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

pub(crate) use data::{DataConfig, DataName, FilterName, Kind, MissingName, SamplerName};
pub(crate) use network::{
    Activation, BatchNorm2dConfig, Conv2dConfig, FlattenConfig, LayerConfig, LinearConfig, PoolConfig, Sides,
};

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
    /// The update rule.
    OptimName {
        /// θ −= αg.
        Sgd = "sgd",
        /// SGD with momentum.
        Momentum = "momentum",
        /// SGD with Nesterov's momentum.
        Nesterov = "nesterov",
        /// Adam.
        Adam = "adam",
        /// Adam with decoupled weight decay.
        AdamW = "adamw",
    }
}

names! {
    /// How the learning rate moves.
    ScheduleName {
        /// It stays.
        Constant = "constant",
        /// Times `gamma` every `step_epochs` epochs.
        Step = "step",
        /// Times `gamma` at each epoch of `milestones`.
        MultiStep = "multi-step",
        /// Times `gamma` over every epoch, a little at each step.
        Exponential = "exponential",
        /// Half a cosine from `lr` down to `min_lr` at the end of the run.
        Cosine = "cosine",
        /// A straight line from `lr` to `lr · end_factor` at the end of the run.
        Linear = "linear",
        /// Up from `lr / div_factor` to `lr`, then down to `lr / div_factor / final_div_factor`.
        OneCycle = "one-cycle",
        /// Times `factor` when the validation loss has not fallen for `patience` epochs.
        Plateau = "plateau",
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

/// Defaults of the settings that only some rules and schedules have: PyTorch's.
mod default {
    pub(super) const MOMENTUM: f64 = 0.9;
    pub(super) const DAMPENING: f64 = 0.0;
    pub(super) const BETAS: [f64; 2] = [0.9, 0.999];
    pub(super) const EPS: f64 = 1e-8;
    pub(super) const STEP_EPOCHS: u64 = 5;
    pub(super) const GAMMA: f64 = 0.1;
    pub(super) const DECAY: f64 = 0.9;
    pub(super) const MIN_LR: f64 = 0.0;
    pub(super) const END_FACTOR: f64 = 0.0;
    pub(super) const PCT_START: f64 = 0.3;
    pub(super) const DIV_FACTOR: f64 = 25.0;
    pub(super) const FINAL_DIV_FACTOR: f64 = 1e4;
    pub(super) const FACTOR: f64 = 0.1;
    pub(super) const PATIENCE: u64 = 10;
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

/// `[optim]`: the update rule. Settings that are not given get the rule's own default, see
/// [`OptimConfig::resolve`]; one that the rule does not have is an error.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct OptimConfig {
    /// The rule.
    pub(crate) name: OptimName,
    /// Learning rate α; the highest one, where a schedule moves it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) lr: Option<f64>,
    /// μ of momentum and nesterov.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) momentum: Option<f64>,
    /// τ of momentum.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) dampening: Option<f64>,
    /// β₁ and β₂ of adam and adamw.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) betas: Option<[f64; 2]>,
    /// ε of adam and adamw.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) eps: Option<f64>,
    /// λ: added to the gradient, or with adamw taken off the weights. Left open: 0.0005 for the SGD family, as
    /// measured on held-out MNIST; PyTorch's 0 for adam and 0.01 for adamw.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) weight_decay: Option<f64>,
    /// Largest norm of the whole gradient; 0 is no limit.
    pub(crate) clip_norm: f64,
    /// Largest size of a single number of the gradient; 0 is no limit.
    #[serde(skip_serializing_if = "is_0")]
    pub(crate) clip_value: f64,
    /// How the rate moves.
    pub(crate) schedule: ScheduleConfig,
}

impl Default for OptimConfig {
    fn default() -> Self {
        OptimConfig {
            name: OptimName::Momentum,
            lr: None,
            momentum: None,
            dampening: None,
            betas: None,
            eps: None,
            weight_decay: None,
            clip_norm: 0.0,
            clip_value: 0.0,
            schedule: ScheduleConfig::default(),
        }
    }
}

fn is_0(x: &f64) -> bool {
    *x == 0.0
}

/// `optim.schedule`: how the learning rate moves; `schedule = "cosine"` is short for `{ name = "cosine" }`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct ScheduleConfig {
    /// Its kind.
    pub(crate) name: ScheduleName,
    /// Steps over which the rate rises along a line before the schedule begins.
    pub(crate) warmup_steps: u64,
    /// Of step: epochs between two changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) step_epochs: Option<u64>,
    /// Of multi-step: the epochs after which it changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) milestones: Option<Vec<u64>>,
    /// Of step, multi-step and exponential: the factor of a change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) gamma: Option<f64>,
    /// Of cosine and plateau: the lowest rate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) min_lr: Option<f64>,
    /// Of linear: the last rate as a share of the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) end_factor: Option<f64>,
    /// Of one-cycle: the share of the run in which the rate rises.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pct_start: Option<f64>,
    /// Of one-cycle: `lr` over the first rate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) div_factor: Option<f64>,
    /// Of one-cycle: the first rate over the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) final_div_factor: Option<f64>,
    /// Of plateau: the factor of a change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) factor: Option<f64>,
    /// Of plateau: epochs without a better validation loss before a change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) patience: Option<u64>,
}

impl ScheduleConfig {
    fn named(name: ScheduleName) -> Self {
        ScheduleConfig {
            name,
            warmup_steps: 0,
            step_epochs: None,
            milestones: None,
            gamma: None,
            min_lr: None,
            end_factor: None,
            pct_start: None,
            div_factor: None,
            final_div_factor: None,
            factor: None,
            patience: None,
        }
    }
}

impl Default for ScheduleConfig {
    fn default() -> Self {
        ScheduleConfig::named(ScheduleName::OneCycle)
    }
}

impl<'de> Deserialize<'de> for ScheduleConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        /// The long form.
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Fields {
            name: Option<ScheduleName>,
            #[serde(default)]
            warmup_steps: u64,
            step_epochs: Option<u64>,
            milestones: Option<Vec<u64>>,
            gamma: Option<f64>,
            min_lr: Option<f64>,
            end_factor: Option<f64>,
            pct_start: Option<f64>,
            div_factor: Option<f64>,
            final_div_factor: Option<f64>,
            factor: Option<f64>,
            patience: Option<u64>,
        }

        struct Either;

        impl<'de> serde::de::Visitor<'de> for Either {
            type Value = ScheduleConfig;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a schedule's name or table")
            }

            fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<ScheduleConfig, E> {
                let name = serde::de::value::StrDeserializer::<E>::new(name);
                ScheduleName::deserialize(name).map(ScheduleConfig::named)
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, map: A) -> Result<ScheduleConfig, A::Error> {
                let fields = Fields::deserialize(serde::de::value::MapAccessDeserializer::new(map))?;
                Ok(ScheduleConfig {
                    name: fields.name.unwrap_or_else(|| ScheduleConfig::default().name),
                    warmup_steps: fields.warmup_steps,
                    step_epochs: fields.step_epochs,
                    milestones: fields.milestones,
                    gamma: fields.gamma,
                    min_lr: fields.min_lr,
                    end_factor: fields.end_factor,
                    pct_start: fields.pct_start,
                    div_factor: fields.div_factor,
                    final_div_factor: fields.final_div_factor,
                    factor: fields.factor,
                    patience: fields.patience,
                })
            }
        }

        deserializer.deserialize_any(Either)
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

/// The update rule with every setting that it has.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Optimizer {
    /// SGD, plain or with either momentum.
    Sgd {
        /// μ; 0 is none.
        momentum: f64,
        /// τ.
        dampening: f64,
        /// Whether the momentum looks ahead.
        nesterov: bool,
        /// λ.
        weight_decay: f64,
    },
    /// Adam, or AdamW when the decay is decoupled.
    Adam {
        /// β₁ and β₂.
        betas: [f64; 2],
        /// ε.
        eps: f64,
        /// λ.
        weight_decay: f64,
        /// Whether λ acts on the weights instead of the gradient.
        decoupled: bool,
    },
}

/// How the learning rate moves, with every setting that it has.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Schedule {
    /// It stays.
    Constant,
    /// Times `gamma` every `epochs` epochs.
    Step {
        /// Epochs between two changes.
        epochs: u64,
        /// The factor.
        gamma: f64,
    },
    /// Times `gamma` at each milestone.
    MultiStep {
        /// Epochs.
        milestones: Vec<u64>,
        /// The factor.
        gamma: f64,
    },
    /// Times `gamma` over every epoch.
    Exponential {
        /// The factor.
        gamma: f64,
    },
    /// Half a cosine down to `min_lr`.
    Cosine {
        /// The last rate.
        min_lr: f64,
    },
    /// A line down to `end_factor` of the rate.
    Linear {
        /// The last rate as a share of the first.
        end_factor: f64,
    },
    /// PyTorch's `OneCycleLR`.
    OneCycle {
        /// The share of the run in which the rate rises.
        pct_start: f64,
        /// `lr` over the first rate.
        div_factor: f64,
        /// The first rate over the last.
        final_div_factor: f64,
    },
    /// PyTorch's `ReduceLROnPlateau` on the validation loss.
    Plateau {
        /// The factor.
        factor: f64,
        /// Epochs without a better loss before a change.
        patience: u64,
        /// The lowest rate.
        min_lr: f64,
    },
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
    if good { Ok(()) } else { Err(Problem::new(key, format!("`{key}` must be {what}, found {found}"), help)) }
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
            let good = weights.iter().all(|w| w.is_finite() && *w >= 0.0) && weights.iter().any(|w| *w > 0.0);
            let help = "\"balanced\" finds them from the training examples";
            let found = format!("{weights:?}");
            must(good, "train.class_weights", "finite numbers, 0 or more, not all 0", found, help)?;
        }
        let spread = self.train.label_smoothing;
        let what = "from 0 to below 1";
        must((0.0..1.0).contains(&spread), "train.label_smoothing", what, spread, "0.1 is usual")?;
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

impl OptimConfig {
    /// Checks the settings and gives those that were left open the defaults of the chosen rule.
    fn resolve(&mut self) -> Result<(), Problem> {
        use OptimName::*;
        let owner = self.name.name();
        let default_lr = match self.name {
            Sgd => 0.1,
            // 0.03 to 0.05 did best on 5,000 held-out MNIST images; 0.1 diverges now and then.
            Momentum | Nesterov => 0.04,
            Adam | AdamW => 1e-3,
        };
        let lr = *self.lr.get_or_insert(default_lr);
        let heavy = matches!(self.name, Momentum | Nesterov).then_some(default::MOMENTUM);
        let damped = (self.name == Momentum).then_some(default::DAMPENING);
        let adam = matches!(self.name, Adam | AdamW);
        let both = "adam or adamw";
        fill(&mut self.momentum, heavy, "optim.momentum", owner, "momentum or nesterov")?;
        fill(&mut self.dampening, damped, "optim.dampening", owner, "momentum")?;
        fill(&mut self.betas, adam.then_some(default::BETAS), "optim.betas", owner, both)?;
        fill(&mut self.eps, adam.then_some(default::EPS), "optim.eps", owner, both)?;

        let positive = |x: f64| x.is_finite() && x > 0.0;
        let at_least_0 = |x: f64| x.is_finite() && x >= 0.0;
        let share = |x: f64| (0.0..1.0).contains(&x);
        must(positive(lr), "optim.lr", "a finite number above 0", lr, "for SGD 0.05 is a good start")?;
        let mu = self.momentum.unwrap_or_default();
        must(share(mu), "optim.momentum", "from 0 to below 1", mu, "0.9 is usual")?;
        let tau = self.dampening.unwrap_or_default();
        must((0.0..=1.0).contains(&tau), "optim.dampening", "from 0 to 1", tau, "0 is usual")?;
        let [b1, b2] = self.betas.unwrap_or_default();
        let found = format!("[{b1}, {b2}]");
        let what = "two numbers from 0 to below 1";
        must(share(b1) && share(b2), "optim.betas", what, found, "[0.9, 0.999] is usual")?;
        let eps = self.eps.unwrap_or(default::EPS);
        must(positive(eps), "optim.eps", "a finite number above 0", eps, "1e-8 is usual")?;
        let decay = *self.weight_decay.get_or_insert(match self.name {
            Sgd | Momentum | Nesterov => 5e-4,
            Adam => 0.0,
            AdamW => 1e-2,
        });
        must(at_least_0(decay), "optim.weight_decay", "a finite number, 0 or more", decay, "0 is none")?;
        let clip = self.clip_norm;
        must(at_least_0(clip), "optim.clip_norm", "a finite number, 0 or more", clip, "0 is no limit")?;
        let clip = self.clip_value;
        must(at_least_0(clip), "optim.clip_value", "a finite number, 0 or more", clip, "0 is no limit")?;
        self.schedule.resolve(lr)
    }

    /// The rule with its settings, of a resolved configuration.
    pub(crate) fn optimizer(&self) -> Optimizer {
        let weight_decay = self.weight_decay.unwrap_or_default();
        match self.name {
            OptimName::Sgd | OptimName::Momentum | OptimName::Nesterov => Optimizer::Sgd {
                momentum: self.momentum.unwrap_or_default(),
                dampening: self.dampening.unwrap_or_default(),
                nesterov: self.name == OptimName::Nesterov,
                weight_decay,
            },
            OptimName::Adam | OptimName::AdamW => Optimizer::Adam {
                betas: self.betas.unwrap_or(default::BETAS),
                eps: self.eps.unwrap_or(default::EPS),
                weight_decay,
                decoupled: self.name == OptimName::AdamW,
            },
        }
    }
}

impl ScheduleConfig {
    /// Checks the settings and gives those that were left open the defaults of the chosen schedule.
    fn resolve(&mut self, lr: f64) -> Result<(), Problem> {
        use ScheduleName::*;
        let owner = format!("the {} schedule", self.name);
        let owner = owner.as_str();
        let (step, linear) = (self.name == Step, self.name == Linear);
        let (cycle, plateau) = (self.name == OneCycle, self.name == Plateau);
        let low = matches!(self.name, Cosine | Plateau).then_some(default::MIN_LR);
        let of_low = "the cosine or plateau schedule";
        let (of_step, of_linear) = ("the step schedule", "the linear schedule");
        let (of_cycle, of_plateau) = ("the one-cycle schedule", "the plateau schedule");
        let (start, div) = (cycle.then_some(default::PCT_START), cycle.then_some(default::DIV_FACTOR));
        let (last, end) = (cycle.then_some(default::FINAL_DIV_FACTOR), linear.then_some(default::END_FACTOR));
        let every = step.then_some(default::STEP_EPOCHS);
        let gamma = match self.name {
            Step | MultiStep => Some(default::GAMMA),
            Exponential => Some(default::DECAY),
            _ => None,
        };
        let multi = self.name == MultiStep;
        if multi && self.milestones.as_ref().is_none_or(Vec::is_empty) {
            let title = "the multi-step schedule changes at `optim.schedule.milestones`, and there is none";
            let help = "write such as `schedule = { name = \"multi-step\", milestones = [4, 6] }`";
            return Err(Problem::new("optim.schedule", title, help));
        }
        let (factor, wait) = (plateau.then_some(default::FACTOR), plateau.then_some(default::PATIENCE));
        fill(&mut self.step_epochs, every, "optim.schedule.step_epochs", owner, of_step)?;
        let of_gamma = "the step, multi-step or exponential schedule";
        let none = multi.then(Vec::new);
        fill(&mut self.milestones, none, "optim.schedule.milestones", owner, "the multi-step schedule")?;
        fill(&mut self.gamma, gamma, "optim.schedule.gamma", owner, of_gamma)?;
        fill(&mut self.min_lr, low, "optim.schedule.min_lr", owner, of_low)?;
        fill(&mut self.end_factor, end, "optim.schedule.end_factor", owner, of_linear)?;
        fill(&mut self.pct_start, start, "optim.schedule.pct_start", owner, of_cycle)?;
        fill(&mut self.div_factor, div, "optim.schedule.div_factor", owner, of_cycle)?;
        fill(&mut self.final_div_factor, last, "optim.schedule.final_div_factor", owner, of_cycle)?;
        fill(&mut self.factor, factor, "optim.schedule.factor", owner, of_plateau)?;
        fill(&mut self.patience, wait, "optim.schedule.patience", owner, of_plateau)?;

        if cycle && self.warmup_steps > 0 {
            let title =
                "the one-cycle schedule warms up by itself, and `optim.schedule.warmup_steps` is set too";
            let help = "leave `warmup_steps` out, or choose constant, step, cosine or linear";
            return Err(Problem::new("optim.schedule.warmup_steps", title, help));
        }
        let above_0 = |x: Option<f64>| x.is_none_or(|x| x > 0.0 && x <= 1.0);
        let between = |x: Option<f64>| x.is_none_or(|x| x > 0.0 && x < 1.0);
        let at_least_1 = |x: Option<f64>| x.is_none_or(|x| x.is_finite() && x >= 1.0);
        let shown = |x: Option<f64>| x.unwrap_or_default();
        let (gamma, low, end) = (self.gamma, self.min_lr, self.end_factor);
        let (start, div, last) = (self.pct_start, self.div_factor, self.final_div_factor);
        must(self.step_epochs != Some(0), "optim.schedule.step_epochs", "at least 1", 0, "it counts epochs")?;
        must(above_0(gamma), "optim.schedule.gamma", "above 0, at most 1", shown(gamma), "0.1 is usual")?;
        let to_lr = low.is_none_or(|x| (0.0..=lr).contains(&x));
        let help = format!("`optim.lr` is {lr}");
        must(to_lr, "optim.schedule.min_lr", "from 0 to the learning rate", shown(low), &help)?;
        let to_1 = end.is_none_or(|x| (0.0..=1.0).contains(&x));
        must(to_1, "optim.schedule.end_factor", "from 0 to 1", shown(end), "0 is usual")?;
        must(between(start), "optim.schedule.pct_start", "above 0, below 1", shown(start), "0.3 is usual")?;
        must(at_least_1(div), "optim.schedule.div_factor", "at least 1", shown(div), "25 is usual")?;
        must(at_least_1(last), "optim.schedule.final_div_factor", "at least 1", shown(last), "1e4 is usual")?;
        let factor = self.factor;
        must(between(factor), "optim.schedule.factor", "above 0, below 1", shown(factor), "0.1 is usual")
    }

    /// The schedule with its settings, of a resolved configuration.
    pub(crate) fn schedule(&self) -> Schedule {
        match self.name {
            ScheduleName::Constant => Schedule::Constant,
            ScheduleName::Step => Schedule::Step {
                epochs: self.step_epochs.unwrap_or(default::STEP_EPOCHS),
                gamma: self.gamma.unwrap_or(default::GAMMA),
            },
            ScheduleName::MultiStep => Schedule::MultiStep {
                milestones: self.milestones.clone().unwrap_or_default(),
                gamma: self.gamma.unwrap_or(default::GAMMA),
            },
            ScheduleName::Exponential => {
                Schedule::Exponential { gamma: self.gamma.unwrap_or(default::DECAY) }
            }
            ScheduleName::Cosine => Schedule::Cosine { min_lr: self.min_lr.unwrap_or(default::MIN_LR) },
            ScheduleName::Linear => {
                Schedule::Linear { end_factor: self.end_factor.unwrap_or(default::END_FACTOR) }
            }
            ScheduleName::OneCycle => Schedule::OneCycle {
                pct_start: self.pct_start.unwrap_or(default::PCT_START),
                div_factor: self.div_factor.unwrap_or(default::DIV_FACTOR),
                final_div_factor: self.final_div_factor.unwrap_or(default::FINAL_DIV_FACTOR),
            },
            ScheduleName::Plateau => Schedule::Plateau {
                factor: self.factor.unwrap_or(default::FACTOR),
                patience: self.patience.unwrap_or(default::PATIENCE),
                min_lr: self.min_lr.unwrap_or(default::MIN_LR),
            },
        }
    }
}
