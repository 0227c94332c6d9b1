//! `[[layers]]`: a network without writing Rust.

use std::fmt;
use std::marker::PhantomData;

use cotangent::ops::{Padding, Pool, Rounding};
use serde::de::value::MapAccessDeserializer;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

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

/// Zeros around a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Edges {
    /// As many as keep its size.
    Same,
    /// Above and below, left and right.
    Zeros([[usize; 2]; 2]),
}

impl Edges {
    fn is_none(&self) -> bool {
        *self == Edges::Zeros([[0; 2]; 2])
    }
}

impl Edges {
    /// Zeros (before, after) each axis, for such a kernel; of an odd number that keeps the size, one more comes after.
    pub(crate) fn zeros(self, kernel: Sides, dilation: Sides) -> [[usize; 2]; 2] {
        match self {
            Edges::Zeros(zeros) => zeros,
            Edges::Same => [0, 1].map(|a| {
                let total = dilation.0[a] * (kernel.0[a] - 1);
                [total / 2, total - total / 2]
            }),
        }
    }
}

impl From<Edges> for Padding {
    fn from(edges: Edges) -> Self {
        match edges {
            Edges::Same => Padding::Same,
            Edges::Zeros(zeros) => Padding::Zeros(zeros),
        }
    }
}

impl Serialize for Edges {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match *self {
            Edges::Same => serializer.serialize_str("same"),
            Edges::Zeros([[a, b], [c, d]]) if a == b && c == d => [a, c].serialize(serializer),
            Edges::Zeros(zeros) => zeros.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Edges {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> serde::de::Visitor<'de> for Either {
            type Value = Edges;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number, two in brackets, [[top, bottom], [left, right]] or \"same\"")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Edges, E> {
                match text {
                    "same" => Ok(Edges::Same),
                    "valid" => Ok(Edges::Zeros([[0; 2]; 2])),
                    other => Err(E::invalid_value(serde::de::Unexpected::Str(other), &self)),
                }
            }
            fn visit_i64<E: serde::de::Error>(self, n: i64) -> Result<Edges, E> {
                let wrong = |_| E::invalid_value(serde::de::Unexpected::Signed(n), &self);
                usize::try_from(n).map(|n| Edges::Zeros([[n; 2]; 2])).map_err(wrong)
            }
            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, seq: A) -> Result<Edges, A::Error> {
                // One number for an axis is as many on either side.
                let axes = Vec::<Sides>::deserialize(serde::de::value::SeqAccessDeserializer::new(seq))?;
                let wrong = |axes: Vec<Sides>| serde::de::Error::invalid_length(axes.len(), &self);
                <[Sides; 2]>::try_from(axes).map(|axes| Edges::Zeros(axes.map(|s| s.0))).map_err(wrong)
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
    #[serde(default = "none", skip_serializing_if = "Edges::is_none")]
    pub(crate) padding: Edges,
    /// The step between a window's cells.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub(crate) dilation: Sides,
    /// Groups of channels that do not see each other; as many as channels is depthwise.
    #[serde(default = "single", skip_serializing_if = "is_single")]
    pub(crate) groups: usize,
    /// Whether there is a bias.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub(crate) bias: bool,
}

impl Conv2dConfig {
    /// Such filters, one step apart, without padding.
    pub(crate) fn new(out: usize, kernel: usize) -> Self {
        Conv2dConfig {
            out,
            kernel: Sides([kernel; 2]),
            stride: one(),
            padding: none(),
            dilation: one(),
            groups: single(),
            bias: yes(),
        }
    }
}

/// Of `linear`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct LinearConfig {
    /// Outputs; left open, one for each class.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) out: Option<usize>,
    /// Whether there is a bias.
    #[serde(skip_serializing_if = "is_yes")]
    pub(crate) bias: bool,
}

impl Default for LinearConfig {
    fn default() -> Self {
        LinearConfig { out: None, bias: true }
    }
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
    /// The step between a window's cells; of `max_pool2d`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) dilation: Option<Sides>,
    /// Whether a last window may run over the edge.
    #[serde(skip_serializing_if = "is_no")]
    pub(crate) ceil_mode: bool,
    /// Whether cells around the picture count in a mean; of `avg_pool2d`; they do, if left open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) count_include_pad: Option<bool>,
}

impl PoolConfig {
    /// How it slides over such pictures.
    pub(crate) fn pool(&self, picture: [usize; 2]) -> Pool {
        let kernel = self.kernel.map_or(picture, |k| k.0);
        Pool::new(kernel)
            .stride(self.stride.map_or(kernel, |s| s.0))
            .padding(self.padding.map_or([0, 0], |p| p.0))
            .dilation(self.dilation.map_or([1, 1], |d| d.0))
            .rounding(if self.ceil_mode { Rounding::Ceil } else { Rounding::Floor })
            .count_include_pad(self.count_include_pad.unwrap_or(true))
    }

    /// Whether a window that fits, and begins before the picture, has all its cells around it: their maximum is −∞.
    pub(crate) fn has_a_window_of_padding(&self, picture: [usize; 2], axis: usize) -> bool {
        let of = |sides: Option<Sides>, open: usize| sides.map_or(open, |s| s.0[axis]).max(1);
        let size = picture[axis];
        let kernel = of(self.kernel, size);
        let (stride, dilation) = (of(self.stride, kernel), of(self.dilation, 1));
        let padding = self.padding.map_or(0, |p| p.0[axis]);
        // Then padding is small, as it is at most half a kernel, and the wide kernel fits.
        if dilation == 1 || self.pool(picture).output_size(picture).is_err() {
            return false;
        }
        let reach = (kernel - 1) * dilation;
        (1..=padding).rev().step_by(stride).any(|before| {
            // The first cell inside is so far from the window's first, if it has one there.
            let first = before.next_multiple_of(dilation);
            first > reach || first - before >= size
        })
    }
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
fn none() -> Edges {
    Edges::Zeros([[0; 2]; 2])
}
fn single() -> usize {
    1
}
fn is_single(n: &usize) -> bool {
    *n == 1
}
fn yes() -> bool {
    true
}
fn is_yes(b: &bool) -> bool {
    *b
}
fn is_no(b: &bool) -> bool {
    !*b
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
        count(x).map(|n| LinearConfig { out: Some(n), ..LinearConfig::default() })
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
