//! What a tensor's elements are, and which type a mixture gives.

use std::fmt;

/// The type of a tensor's elements.
///
/// Mixtures give PyTorch's results: a higher category (bool < integer < float) wins; within one, tensors with
/// axes win over those without, and those over plain numbers.
///
/// ```
/// use cotangent::{DType, Tensor};
/// let x = Tensor::zeros([2]).cast(DType::I64);
/// assert_eq!((&x + 0.5).dtype(), DType::F32);
/// assert_eq!((&x + &Tensor::from(1.0f64).cast(DType::U8)).dtype(), DType::I64);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum DType {
    /// Truth values, one byte each.
    Bool,
    /// Bytes, 0 to 255.
    U8,
    /// Whole numbers of 32 bits.
    I32,
    /// Whole numbers of 64 bits.
    I64,
    /// IEEE single precision.
    F32,
    /// IEEE double precision.
    F64,
}

/// Bool < integer < float.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Category {
    Bool,
    Integer,
    Float,
}

impl DType {
    /// Every type, in order of promotion.
    pub const ALL: [DType; 6] = [DType::Bool, DType::U8, DType::I32, DType::I64, DType::F32, DType::F64];

    /// Bytes of one element.
    pub const fn size(self) -> usize {
        match self {
            DType::Bool | DType::U8 => 1,
            DType::I32 | DType::F32 => 4,
            DType::I64 | DType::F64 => 8,
        }
    }

    /// Can it be differentiated?
    pub const fn is_float(self) -> bool {
        matches!(self, DType::F32 | DType::F64)
    }

    pub(crate) const fn category(self) -> Category {
        match self {
            DType::Bool => Category::Bool,
            DType::U8 | DType::I32 | DType::I64 => Category::Integer,
            DType::F32 | DType::F64 => Category::Float,
        }
    }

    /// The type of `self ∘ other` between two tensors of axes: <https://pytorch.org/docs/stable/tensor_attributes.html>.
    ///
    /// ```
    /// use cotangent::DType::*;
    /// assert_eq!(U8.promote(I32), I32);
    /// assert_eq!(I64.promote(F32), F32);
    /// ```
    pub fn promote(self, other: DType) -> DType {
        self.max(other)
    }

    /// The type of a function whose values are real: floats stay, all else becomes `F32`.
    pub fn to_float(self) -> DType {
        if self.is_float() { self } else { DType::F32 }
    }

    /// PyTorch's name, without `torch.`.
    pub const fn name(self) -> &'static str {
        match self {
            DType::Bool => "bool",
            DType::U8 => "uint8",
            DType::I32 => "int32",
            DType::I64 => "int64",
            DType::F32 => "float32",
            DType::F64 => "float64",
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The type of a mixture of tensors, given as (type, has axes).
pub(crate) fn promote(operands: impl Iterator<Item = (DType, bool)> + Clone) -> DType {
    let best = |axes: bool| operands.clone().filter(|o| o.1 == axes).map(|o| o.0).max();
    match (best(true), best(false)) {
        (Some(d), Some(z)) if z.category() > d.category() => z,
        (Some(d), _) => d,
        (None, Some(z)) => z,
        (None, None) => DType::F32,
    }
}

/// A plain number or truth value beside a tensor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    /// A truth value.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A real number.
    Float(f64),
}

impl Number {
    /// As a real number.
    pub fn to_f64(self) -> f64 {
        match self {
            Number::Bool(b) => f64::from(u8::from(b)),
            Number::Int(i) => i as f64,
            Number::Float(f) => f,
        }
    }

    /// The type a tensor of `dtype` gets when it meets this number.
    pub(crate) fn meets(self, dtype: DType) -> DType {
        match self {
            Number::Float(_) => dtype.to_float(),
            Number::Int(_) if dtype == DType::Bool => DType::I64,
            _ => dtype,
        }
    }

    /// The type of a tensor made from this number alone.
    pub(crate) fn dtype(self) -> DType {
        match self {
            Number::Bool(_) => DType::Bool,
            Number::Int(_) => DType::I64,
            Number::Float(_) => DType::F32,
        }
    }
}

macro_rules! numbers {
    ($($t:ty => $variant:ident as $wide:ty),*) => {$(
        impl From<$t> for Number {
            fn from(x: $t) -> Self {
                #[allow(clippy::unnecessary_cast)]
                Number::$variant(x as $wide)
            }
        }
    )*};
}
numbers!(bool => Bool as bool, u8 => Int as i64, i32 => Int as i64, u32 => Int as i64, i64 => Int as i64, usize => Int as i64, f32 => Float as f64, f64 => Float as f64);

mod sealed {
    pub trait Sealed {}
}

/// A Rust type that tensors hold.
pub trait Element:
    sealed::Sealed + Copy + Default + PartialEq + PartialOrd + Send + Sync + fmt::Debug + 'static
{
    /// Its name among tensors.
    const DTYPE: DType;
    /// Cast as PyTorch casts: reals are cut toward zero, non-zero is true.
    fn from_number(x: Number) -> Self;
    /// As a plain number.
    fn to_number(self) -> Number;
    /// Cast to another element type.
    fn cast<U: Element>(self) -> U {
        U::from_number(self.to_number())
    }
}

macro_rules! elements {
    ($($t:ty: $dtype:ident, $variant:ident as $wide:ty;)*) => {$(
        impl sealed::Sealed for $t {}
        impl Element for $t {
            const DTYPE: DType = DType::$dtype;
            #[inline(always)]
            fn from_number(x: Number) -> Self {
                match x {
                    Number::Bool(b) => u8::from(b) as $t,
                    Number::Int(i) => i as $t,
                    Number::Float(f) => elements!(@float f, $t, $dtype),
                }
            }
            #[inline(always)]
            fn to_number(self) -> Number {
                Number::$variant(self as $wide)
            }
        }
    )*};
    // PyTorch goes through i64 on its way from a real to a byte, so that -1.0 becomes 255.
    (@float $f:ident, $t:ty, U8) => { $f as i64 as $t };
    (@float $f:ident, $t:ty, $d:ident) => { $f as $t };
}
elements! {
    u8: U8, Int as i64;
    i32: I32, Int as i64;
    i64: I64, Int as i64;
    f32: F32, Float as f64;
    f64: F64, Float as f64;
}

impl sealed::Sealed for bool {}
impl Element for bool {
    const DTYPE: DType = DType::Bool;
    #[inline(always)]
    fn from_number(x: Number) -> Self {
        match x {
            Number::Bool(b) => b,
            Number::Int(i) => i != 0,
            Number::Float(f) => f != 0.0,
        }
    }
    #[inline(always)]
    fn to_number(self) -> Number {
        Number::Bool(self)
    }
}

/// Run `$body` with `$t` standing for the Rust type of `$dtype`.
///
/// ```
/// use cotangent::{dispatch, DType};
/// assert_eq!(dispatch!(DType::I64, T => std::mem::size_of::<T>()), 8);
/// ```
#[macro_export]
macro_rules! dispatch {
    ($dtype:expr, $t:ident => $body:expr) => {
        match $dtype {
            $crate::DType::Bool => {
                type $t = bool;
                $body
            }
            $crate::DType::U8 => {
                type $t = u8;
                $body
            }
            $crate::DType::I32 => {
                type $t = i32;
                $body
            }
            $crate::DType::I64 => {
                type $t = i64;
                $body
            }
            $crate::DType::F32 => {
                type $t = f32;
                $body
            }
            $crate::DType::F64 => {
                type $t = f64;
                $body
            }
            #[allow(unreachable_patterns)]
            other => unreachable!("{other}"),
        }
    };
    (float $dtype:expr, $t:ident => $body:expr) => {
        match $dtype {
            $crate::DType::F32 => {
                type $t = f32;
                $body
            }
            $crate::DType::F64 => {
                type $t = f64;
                $body
            }
            other => unreachable!("the shape rule let {other} reach a float kernel"),
        }
    };
    (number $dtype:expr, $t:ident => $body:expr) => {
        match $dtype {
            $crate::DType::U8 => {
                type $t = u8;
                $body
            }
            $crate::DType::I32 => {
                type $t = i32;
                $body
            }
            $crate::DType::I64 => {
                type $t = i64;
                $body
            }
            $crate::DType::F32 => {
                type $t = f32;
                $body
            }
            $crate::DType::F64 => {
                type $t = f64;
                $body
            }
            other => unreachable!("the shape rule let {other} reach a number kernel"),
        }
    };
}
