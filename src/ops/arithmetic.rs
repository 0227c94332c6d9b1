//! `y = a ∘ b`, element by element, of one shape and type; the methods promote and broadcast first.
//!
//! `d(a+b) = da + db`,  `d(ab) = b·da + a·db`,  `d(a/b) = (da − y·db)/b`,  `d max = the larger one's`

use super::{Batch, Cost, Mode, Op, alike, floats, pointwise};
use crate::{
    apply::apply,
    autodiff::LinearMap,
    device::cpu::{Call, strided},
    error::{Error, OrRaise, Result},
    tensor::{DType, Spec, Tensor, promote},
};

/// A function of two elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Arithmetic {
    Add,
    Sub,
    Mul,
    Div,
    /// The larger one; NaN wins. At a tie each gets half of the derivative, as PyTorch's.
    Maximum,
    /// The smaller one; NaN wins.
    Minimum,
}
use Arithmetic::*;

impl Arithmetic {
    /// All of them.
    pub const ALL: [Arithmetic; 6] = [Add, Sub, Mul, Div, Maximum, Minimum];
}

/// `Σ` of the terms that are there.
pub(crate) fn sum(terms: impl IntoIterator<Item = Option<Tensor>>) -> Option<Tensor> {
    terms.into_iter().flatten().reduce(|a, b| &a + &b)
}

impl Op for Arithmetic {
    fn name(&self) -> &'static str {
        match self {
            Add => "add",
            Sub => "sub",
            Mul => "mul",
            Div => "div",
            Maximum => "maximum",
            Minimum => "minimum",
        }
    }

    fn outputs(&self, x: &[Spec]) -> Result<Vec<Spec>> {
        alike(x)?;
        match (self, x[0].dtype) {
            (Div, _) => floats(x)?,
            (Sub, DType::Bool) => {
                return Err(
                    Error::mistake("truth values cannot be subtracted").help("`a.ne(&b)` is exclusive or")
                );
            }
            _ => {}
        }
        Ok(vec![x[0].clone()])
    }

    fn linearize(&self, x: &[Tensor], y: &[Tensor], mode: Mode, wanted: &[bool]) -> LinearMap {
        // Each input's derivative is a factor: push sums the products, pull hands them out.
        let keep = |t: &Tensor, i: usize| wanted[i].then(|| t.clone());
        match self {
            Add => LinearMap::each(mode, wanted, [Tensor::clone, Tensor::clone]),
            Sub => LinearMap::new2(mode, wanted, Tensor::clone, |t| -t),
            Mul => {
                let (a, b) = (keep(&x[0], 1), keep(&x[1], 0));
                let by = |f: Option<Tensor>| move |t: &Tensor| t * f.as_ref().expect("kept when wanted");
                LinearMap::each(mode, wanted, [by(b), by(a)])
            }
            Div => {
                // One division serves both inputs: with q = c/b, da = q and db = −q·y.
                let (b, y) = (x[1].clone(), keep(&y[0], 1));
                let negative = move |t: &Tensor| -(t * y.as_ref().expect("kept when wanted"));
                let (wa, wb) = (wanted[0], wanted[1]);
                match mode {
                    Mode::Push => LinearMap::new(move |t| {
                        vec![sum([t[0].clone(), t[1].as_ref().map(&negative)]).map(|t| t / &b)]
                    }),
                    Mode::Pull => LinearMap::new(move |c| {
                        let Some(c) = &c[0] else { return vec![None, None] };
                        let q = c / &b;
                        let db = wb.then(|| negative(&q));
                        vec![wa.then_some(q), db]
                    }),
                }
            }
            Maximum | Minimum => {
                let (a, b) = (x[0].clone(), x[1].clone());
                let larger = *self == Maximum;
                let half = a.eq(&b).cast(a.dtype()) * 0.5;
                let wins = move |a: &Tensor, b: &Tensor| {
                    let w = if larger { a.gt(b) } else { a.lt(b) };
                    w.cast(a.dtype()) + &half
                };
                let (wa, wb) = (wins(&a, &b), wins(&b, &a));
                LinearMap::each(mode, wanted, [wa, wb].map(|w| move |t: &Tensor| t * &w))
            }
        }
    }

    fn batch(&self, _: &[Spec], axes: &[Option<usize>]) -> Batch {
        pointwise(axes)
    }

    fn cost(&self, x: &[Spec], y: &[Spec]) -> Cost {
        let (n, kept) = (y[0].shape.len() as u64, y[0].bytes() as u64);
        let c = match self {
            Add | Sub => Cost { additions: n, ..Cost::default() },
            Maximum | Minimum => Cost { additions: n, saved: 2 * kept, ..Cost::default() },
            Mul | Div => Cost { multiplications: n, saved: 2 * kept, ..Cost::default() },
        };
        c.moving(x, y)
    }

    fn packed(&self, _: usize) -> bool {
        false
    }

    fn cpu(&self, mut call: Call<'_>) {
        let [a, b] = call.inputs else { unreachable!("two operands") };
        macro_rules! integers {
            ($t:ty) => {
                match self {
                    Add => strided::zip(a, b, call.output(), <$t>::wrapping_add),
                    Sub => strided::zip(a, b, call.output(), <$t>::wrapping_sub),
                    Mul => strided::zip(a, b, call.output(), <$t>::wrapping_mul),
                    Maximum => strided::zip(a, b, call.output(), <$t as Ord>::max),
                    Minimum => strided::zip(a, b, call.output(), <$t as Ord>::min),
                    Div => unreachable!("the shape rule asks for real numbers"),
                }
            };
        }
        macro_rules! reals {
            ($t:ty) => {
                match self {
                    Add => strided::zip(a, b, call.output(), |a: $t, b: $t| a + b),
                    Sub => strided::zip(a, b, call.output(), |a: $t, b: $t| a - b),
                    Mul => strided::zip(a, b, call.output(), |a: $t, b: $t| a * b),
                    Div => strided::zip(a, b, call.output(), |a: $t, b: $t| a / b),
                    Maximum => strided::zip(
                        a,
                        b,
                        call.output(),
                        |a: $t, b: $t| if a >= b || a.is_nan() { a } else { b },
                    ),
                    Minimum => strided::zip(
                        a,
                        b,
                        call.output(),
                        |a: $t, b: $t| if a <= b || a.is_nan() { a } else { b },
                    ),
                }
            };
        }
        match a.dtype {
            DType::Bool => match self {
                Add | Maximum => strided::zip(a, b, call.output(), |a: bool, b: bool| a | b),
                _ => strided::zip(a, b, call.output(), |a: bool, b: bool| a & b),
            },
            DType::U8 => integers!(u8),
            DType::I32 => integers!(i32),
            DType::I64 => integers!(i64),
            DType::F32 => reals!(f32),
            DType::F64 => reals!(f64),
        }
    }
}

/// Both operands in one type and one shape.
#[track_caller]
pub(crate) fn meet(verb: &'static str, a: &Tensor, b: &Tensor, float: bool) -> (Tensor, Tensor) {
    let (s, t) = (a.spec(), b.spec());
    let mut dtype = promote([(s.dtype, s.shape.rank() > 0), (t.dtype, t.shape.rank() > 0)].into_iter());
    if float {
        dtype = dtype.to_float();
    }
    let cast = |x: &Tensor, from: DType| if from == dtype { x.clone() } else { x.cast(dtype) };
    let (a, b) = (cast(a, s.dtype), cast(b, t.dtype));
    if s.shape == t.shape {
        return (a, b);
    }
    let shape = s.shape.broadcast(&t.shape).map_err(|e| e.verb(verb)).or_raise();
    let expand = |x: Tensor, from| if from == shape { x } else { x.expand(shape) };
    (expand(a, s.shape), expand(b, t.shape))
}

#[track_caller]
pub(crate) fn binary(op: Arithmetic, a: &Tensor, b: &Tensor) -> Tensor {
    let (x, y) = (a.value(), b.value());
    if x.dtype == y.dtype && x.layout.shape == y.layout.shape && (op != Div || x.dtype.is_float()) {
        return apply(op, &[a, b]);
    }
    let (a, b) = meet(op.name(), a, b, op == Div);
    apply(op, &[&a, &b])
}

impl Tensor {
    /// `y = max(a, b)`, element by element; NaN wins. At a tie each side gets half of the derivative.
    ///
    /// ```
    /// use cotangent::Tensor;
    /// assert_eq!(Tensor::from([1.0, 5.0]).maximum(&Tensor::from([3.0, 2.0])).to_vec::<f64>(), [3.0, 5.0]);
    /// ```
    #[must_use]
    #[track_caller]
    pub fn maximum(&self, other: &Tensor) -> Tensor {
        binary(Maximum, self, other)
    }

    /// `y = min(a, b)`, element by element; NaN wins. At a tie each side gets half of the derivative.
    #[must_use]
    #[track_caller]
    pub fn minimum(&self, other: &Tensor) -> Tensor {
        binary(Minimum, self, other)
    }
}
