//! `y = a ⋚ b` and `y = c ? a : b`, element by element.    Comparisons have no derivative;
//! `dy = c ? da : db`,  `ā = c ? ȳ : 0`,  `b̄ = c ? 0 : ȳ`

use super::{
    Batch, Mode, Op, alike,
    arithmetic::{meet, sum},
    pointwise,
};
use crate::{
    apply::apply,
    autodiff::LinearMap,
    device::cpu::{Call, strided},
    error::{Error, OrRaise, Result},
    tensor::{DType, Number, Spec, Tensor},
};

/// A comparison; gives truth values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Compare {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
}
use Compare::*;

impl Op for Compare {
    fn name(&self) -> &'static str {
        match self {
            Eq => "eq",
            Ne => "ne",
            Lt => "lt",
            Le => "le",
            Gt => "gt",
            Ge => "ge",
        }
    }
    fn outputs(&self, x: &[Spec]) -> Result<Vec<Spec>> {
        alike(x)?;
        Ok(vec![x[0].of(DType::Bool)])
    }
    fn linearize(&self, _: &[Tensor], _: &[Tensor], mode: Mode, _: &[bool]) -> LinearMap {
        LinearMap::zero(if mode == Mode::Push { 1 } else { 2 })
    }
    fn batch(&self, _: &[Spec], axes: &[Option<usize>]) -> Batch {
        pointwise(axes)
    }
    fn packed(&self, _: usize) -> bool {
        false
    }
    #[allow(clippy::bool_comparison)]
    fn cpu(&self, call: Call<'_>) {
        let [a, b] = call.inputs else { unreachable!("two operands") };
        let y = call.outputs[0].slice::<bool>();
        // a > b is b < a.
        let (a, b) = if matches!(self, Gt | Ge) { (b, a) } else { (a, b) };
        crate::dispatch!(a.dtype, T => match self {
            Eq => strided::zip(a, b, y, |a: T, b: T| a == b),
            Ne => strided::zip(a, b, y, |a: T, b: T| a != b),
            Lt | Gt => strided::zip(a, b, y, |a: T, b: T| a < b),
            Le | Ge => strided::zip(a, b, y, |a: T, b: T| a <= b),
        });
    }
}

/// `y = c ? a : b`; `c` holds truth values, `a` and `b` one type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Where;

impl Op for Where {
    fn name(&self) -> &'static str {
        "where"
    }
    fn outputs(&self, x: &[Spec]) -> Result<Vec<Spec>> {
        if x[0].dtype != DType::Bool {
            return Err(Error::mistake(format!("the condition must hold truth values, not {}", x[0].dtype))
                .help("compare first, such as `x.gt(0.0)`"));
        }
        alike(&x[1..])?;
        if x[0].shape != x[1].shape {
            return Err(Error::mistake(format!("shapes {:?} and {:?} differ", x[0].shape, x[1].shape)));
        }
        Ok(vec![x[1].clone()])
    }
    fn linearize(&self, x: &[Tensor], _: &[Tensor], mode: Mode, wanted: &[bool]) -> LinearMap {
        let (c, wanted) = (x[0].clone(), [wanted[1], wanted[2]]);
        let first = |c: &Tensor, t: &Tensor| t.where_(c, &t.zeros_like());
        let second = |c: &Tensor, t: &Tensor| t.zeros_like().where_(c, t);
        match mode {
            Mode::Push => LinearMap::new(move |t| {
                vec![match (&t[1], &t[2]) {
                    (Some(a), Some(b)) => Some(a.where_(&c, b)),
                    (a, b) => sum([a.as_ref().map(|a| first(&c, a)), b.as_ref().map(|b| second(&c, b))]),
                }]
            }),
            Mode::Pull => LinearMap::new(move |t| {
                let Some(t) = &t[0] else { return vec![None; 3] };
                vec![None, wanted[0].then(|| first(&c, t)), wanted[1].then(|| second(&c, t))]
            }),
        }
    }
    fn batch(&self, _: &[Spec], axes: &[Option<usize>]) -> Batch {
        pointwise(axes)
    }
    fn packed(&self, _: usize) -> bool {
        false
    }
    fn cpu(&self, mut call: Call<'_>) {
        let [c, a, b] = call.inputs else { unreachable!("three operands") };
        crate::dispatch!(a.dtype, T => {
            strided::zip3([c, a, b], call.output(), |c: bool, a: T, b: T| if c { a } else { b })
        })
    }
}

/// Something to compare with: a tensor, or a number.
pub trait Comparand {
    /// As a tensor beside `x`.
    #[doc(hidden)]
    #[track_caller]
    fn beside(&self, x: &Tensor) -> Tensor;
}
impl Comparand for &Tensor {
    fn beside(&self, _: &Tensor) -> Tensor {
        (*self).clone()
    }
}
impl Comparand for Tensor {
    fn beside(&self, _: &Tensor) -> Tensor {
        self.clone()
    }
}
macro_rules! comparands {
    ($($t:ty)*) => {$(
        impl Comparand for $t {
            #[track_caller]
            fn beside(&self, x: &Tensor) -> Tensor {
                x.beside(Number::from(*self))
            }
        }
    )*};
}
comparands!(f64 f32 i64 i32 bool);

macro_rules! methods {
    ($($variant:ident $name:ident $sign:literal)*) => {
        #[allow(clippy::should_implement_trait)]
        impl Tensor {$(
            #[doc = concat!("`y = a ", $sign, " b`, element by element, as truth values; broadcasts and promotes.")]
            ///
            /// ```
            /// use cotangent::Tensor;
            #[doc = concat!("let y = Tensor::from([1.0, 2.0, 3.0]).", stringify!($name), "(2.0);")]
            /// assert_eq!(y.dtype(), cotangent::DType::Bool);
            /// ```
            #[must_use]
            #[track_caller]
            pub fn $name(&self, other: impl Comparand) -> Tensor {
                let (a, b) = meet(stringify!($name), self, &other.beside(self), false);
                apply($variant, &[&a, &b])
            }
        )*}
    };
}
methods!(Eq eq "=" Ne ne "≠" Lt lt "<" Le le "≤" Gt gt ">" Ge ge "≥");

impl Tensor {
    /// `y = c ? self : other`, element by element (PyTorch's `torch.where(c, self, other)`).
    ///
    /// ```
    /// use cotangent::Tensor;
    /// let (a, b) = (Tensor::from([1.0, 2.0]), Tensor::from([8.0, 9.0]));
    /// assert_eq!(a.where_(&Tensor::from([true, false]), &b).to_vec::<f64>(), [1.0, 9.0]);
    /// ```
    #[must_use]
    #[track_caller]
    pub fn where_(&self, c: &Tensor, other: &Tensor) -> Tensor {
        let (a, b) = meet("where", self, other, false);
        let shape = a.shape().broadcast(c.shape()).map_err(|e| e.verb("where")).or_raise();
        apply(Where, &[&c.expand(shape), &a.expand(shape), &b.expand(shape)])
    }
}
