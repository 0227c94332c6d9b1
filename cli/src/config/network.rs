//! `[[layers]]`: a network without writing Rust.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::{Deserialize, Deserializer, Serialize};

names! {
    /// An activation.
    Activation {
        /// max(0, x)
        Relu = "relu",
        /// 1/(1 + e⁻ˣ)
        Sigmoid = "sigmoid",
        /// tanh x
        Tanh = "tanh",
    }
}

/// One number for height and width, or both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(into = "[usize; 2]")]
pub(crate) struct Sides(pub(crate) [usize; 2]);

impl From<Sides> for [usize; 2] {
    fn from(sides: Sides) -> Self {
        sides.0
    }
}

impl<'de> Deserialize<'de> for Sides {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> serde::de::Visitor<'de> for Either {
            type Value = Sides;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number, or two in brackets")
            }
            fn visit_i64<E: serde::de::Error>(self, n: i64) -> Result<Sides, E> {
                let wrong = |_| E::invalid_value(serde::de::Unexpected::Signed(n), &self);
                usize::try_from(n).map(|n| Sides([n, n])).map_err(wrong)
            }
            fn visit_u64<E: serde::de::Error>(self, n: u64) -> Result<Sides, E> {
                let wrong = |_| E::invalid_value(serde::de::Unexpected::Unsigned(n), &self);
                usize::try_from(n).map(|n| Sides([n, n])).map_err(wrong)
            }
            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<Sides, A::Error> {
                let mut sides = Vec::new();
                while let Some(side) = seq.next_element()? {
                    sides.push(side);
                }
                let wrong = |sides: Vec<usize>| serde::de::Error::invalid_length(sides.len(), &self);
                <[usize; 2]>::try_from(sides).map(Sides).map_err(wrong)
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// A layer of a network: a table with its kind as the only key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum LayerConfig {
    /// `conv2d = { out = 6, kernel = 5, padding = 2 }`
    Conv2d(Conv2dConfig),
    /// `linear = 120`, or `linear = {}` with as many outputs as there are classes.
    #[serde(deserialize_with = "brief")]
    Linear(LinearConfig),
    /// `max_pool2d = 2`
    #[serde(deserialize_with = "brief")]
    MaxPool2d(PoolConfig),
    /// `avg_pool2d = 2`; `avg_pool2d = {}` takes the mean of the whole picture.
    #[serde(deserialize_with = "brief")]
    AvgPool2d(PoolConfig),
    /// `batch_norm2d = {}`
    BatchNorm2d(BatchNorm2dConfig),
    /// `dropout = 0.5`
    #[serde(deserialize_with = "brief")]
    Dropout(DropoutConfig),
    /// `flatten = {}`
    Flatten(FlattenConfig),
    /// `act = "relu"`
    Act(Activation),
}

/// Of `conv2d`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Conv2dConfig {
    /// Filters.
    pub(crate) out: usize,
    /// Height and width of a filter.
    pub(crate) kernel: Sides,
    /// The step of the window.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub(crate) stride: Sides,
    /// Zeros around the picture.
    #[serde(default = "none", skip_serializing_if = "is_none")]
    pub(crate) padding: Sides,
    /// Whether there is a bias.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub(crate) bias: bool,
}

/// Of `linear`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct LinearConfig {
    /// Outputs; left open, one for each class.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) out: Option<usize>,
}

/// Of `max_pool2d` and `avg_pool2d`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct PoolConfig {
    /// Height and width of a window; left open, the whole picture.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) kernel: Option<Sides>,
    /// The step of the window; left open, its size.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) stride: Option<Sides>,
    /// Cells around the picture.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) padding: Option<Sides>,
}

/// Of `batch_norm2d`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct BatchNorm2dConfig {
    /// Added to the variance.
    pub(crate) eps: f64,
    /// The share of each new batch in the running statistics.
    pub(crate) momentum: f64,
}

impl Default for BatchNorm2dConfig {
    fn default() -> Self {
        BatchNorm2dConfig { eps: 1e-5, momentum: 0.1 }
    }
}

/// Of `dropout`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct DropoutConfig {
    /// How likely an element is 0 while training.
    pub(crate) p: f64,
}

impl Default for DropoutConfig {
    fn default() -> Self {
        DropoutConfig { p: 0.5 }
    }
}

/// Of `flatten`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FlattenConfig {}

fn one() -> Sides {
    Sides([1, 1])
}
fn is_one(s: &Sides) -> bool {
    *s == one()
}
fn none() -> Sides {
    Sides([0, 0])
}
fn is_none(s: &Sides) -> bool {
    *s == none()
}
fn yes() -> bool {
    true
}
fn is_yes(b: &bool) -> bool {
    *b
}

/// What may be written as one number.
trait Brief: Sized {
    const EXPECTED: &'static str;
    fn number(x: f64) -> Option<Self>;
}

/// A whole number from 1 on.
fn count(x: f64) -> Option<usize> {
    (x >= 1.0 && x.fract() == 0.0 && x < 1e15).then_some(x as usize)
}

impl Brief for LinearConfig {
    const EXPECTED: &'static str = "a whole number of outputs, or a table";
    fn number(x: f64) -> Option<Self> {
        count(x).map(|n| LinearConfig { out: Some(n) })
    }
}
impl Brief for PoolConfig {
    const EXPECTED: &'static str = "a whole number for the window's sides, or a table";
    fn number(x: f64) -> Option<Self> {
        count(x).map(|n| PoolConfig { kernel: Some(Sides([n, n])), ..PoolConfig::default() })
    }
}
impl Brief for DropoutConfig {
    const EXPECTED: &'static str = "a number from 0 to below 1, or a table";
    fn number(x: f64) -> Option<Self> {
        (0.0..1.0).contains(&x).then_some(DropoutConfig { p: x })
    }
}

/// A number, or a table.
fn brief<'de, D: Deserializer<'de>, T: Brief + Deserialize<'de>>(deserializer: D) -> Result<T, D::Error> {
    struct Either<T>(PhantomData<T>);
    impl<'de, T: Brief + Deserialize<'de>> serde::de::Visitor<'de> for Either<T> {
        type Value = T;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(T::EXPECTED)
        }
        fn visit_f64<E: serde::de::Error>(self, x: f64) -> Result<T, E> {
            T::number(x).ok_or_else(|| E::invalid_value(serde::de::Unexpected::Float(x), &self))
        }
        fn visit_i64<E: serde::de::Error>(self, n: i64) -> Result<T, E> {
            T::number(n as f64).ok_or_else(|| E::invalid_value(serde::de::Unexpected::Signed(n), &self))
        }
        fn visit_u64<E: serde::de::Error>(self, n: u64) -> Result<T, E> {
            T::number(n as f64).ok_or_else(|| E::invalid_value(serde::de::Unexpected::Unsigned(n), &self))
        }
        fn visit_map<A: serde::de::MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
            T::deserialize(MapAccessDeserializer::new(map))
        }
    }
    deserializer.deserialize_any(Either(PhantomData))
}
