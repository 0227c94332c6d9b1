//! `y = f(x)`, element by element.    `dy = f′(x)·dx`,  `x̄ = f′(x)·ȳ`
//!
//! The table of functions is below: value, derivative (from the input or the output, whichever is kept), cost.

pub(crate) mod cpu;

use super::{Batch, Cost, Gate, Mode, Op, floats, pointwise};
use crate::{
    apply::apply,
    autodiff::LinearMap,
    device::cpu::{Call, strided},
    error::{Error, Result},
    tensor::{DType, Spec, Tensor},
};

/// A function of one element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[allow(missing_docs)]
pub enum Elementwise {
    Neg,
    Abs,
    Sign,
    Exp,
    Ln,
    Sqrt,
    Recip,
    Square,
    Sin,
    Cos,
    Tanh,
    Sigmoid,
    Relu,
    /// `1` where `x > 0`, else `0`: the derivative of [`Elementwise::Relu`], with `σ′(0) = 0` (row A2).
    Step,
    /// Is it finite? Gives truth values.
    IsFinite,
    /// Is it not a number? Gives truth values.
    IsNan,
    /// Logical not; of truth values only.
    Not,
}
use Elementwise::*;

impl Elementwise {
    /// All of them.
    pub const ALL: [Elementwise; 17] = [
        Neg, Abs, Sign, Exp, Ln, Sqrt, Recip, Square, Sin, Cos, Tanh, Sigmoid, Relu, Step, IsFinite, IsNan,
        Not,
    ];

    /// Does it keep integers as they are?
    fn keeps_integers(self) -> bool {
        matches!(self, Neg | Abs | Sign | Square | Relu | Step)
    }
}

impl Op for Elementwise {
    fn name(&self) -> &'static str {
        match self {
            Neg => "neg",
            Abs => "abs",
            Sign => "sign",
            Exp => "exp",
            Ln => "ln",
            Sqrt => "sqrt",
            Recip => "recip",
            Square => "square",
            Sin => "sin",
            Cos => "cos",
            Tanh => "tanh",
            Sigmoid => "sigmoid",
            Relu => "relu",
            Step => "step",
            IsFinite => "isfinite",
            IsNan => "isnan",
            Not => "logical_not",
        }
    }

    fn outputs(&self, x: &[Spec]) -> Result<Vec<Spec>> {
        match self {
            Not if x[0].dtype != DType::Bool => {
                Err(Error::mistake(format!("needs truth values, got {}", x[0].dtype))
                    .help("compare first, such as `x.ne(0)`"))
            }
            IsFinite | IsNan | Not => Ok(vec![x[0].of(DType::Bool)]),
            _ if self.keeps_integers() && x[0].dtype != DType::Bool => Ok(vec![x[0].clone()]),
            _ => floats(x).map(|()| vec![x[0].clone()]),
        }
    }

    #[rustfmt::skip]
    fn linearize(&self, x: &[Tensor], y: &[Tensor], _: Mode, _: &[bool]) -> LinearMap {
        let (x, y) = (x[0].clone(), y[0].clone());
        match self {
            Neg     => LinearMap::unary(|t| -t),
            Abs     => LinearMap::unary(move |t| t * x.sign()),
            Exp     => LinearMap::unary(move |t| t * &y),
            Ln      => LinearMap::unary(move |t| t / &x),
            Sqrt    => LinearMap::unary(move |t| t / (&y * 2.0)),
            Recip   => LinearMap::unary(move |t| -(t * y.square())),
            Square  => LinearMap::unary(move |t| t * &x * 2.0),
            Sin     => LinearMap::unary(move |t| t * x.cos()),
            Cos     => LinearMap::unary(move |t| -(t * x.sin())),
            Tanh    => LinearMap::unary(move |t| t * (1.0 - y.square())),
            Sigmoid => LinearMap::unary(move |t| t * (&y * (1.0 - &y))),
            Relu    => LinearMap::unary(move |t| apply(Gate, &[t, &y])),
            Sign | Step | IsFinite | IsNan | Not => LinearMap::zero(1),
        }
    }

    fn batch(&self, _: &[Spec], axes: &[Option<usize>]) -> Batch {
        pointwise(axes)
    }

    fn cost(&self, x: &[Spec], y: &[Spec]) -> Cost {
        let n = x[0].shape.len() as u64;
        let kept = x[0].bytes() as u64;
        let c = match self {
            Neg | Sign | Step | IsFinite | IsNan | Not => Cost { additions: n, ..Cost::default() },
            Abs | Relu => Cost { additions: n, saved: kept, ..Cost::default() },
            Square | Recip => Cost { multiplications: n, saved: kept, ..Cost::default() },
            Exp | Ln | Sqrt | Sin | Cos | Tanh | Sigmoid => {
                Cost { elementary: n, saved: kept, ..Cost::default() }
            }
        };
        c.moving(x, y)
    }

    fn packed(&self, _: usize) -> bool {
        false
    }

    fn cpu(&self, mut call: Call<'_>) {
        let x = &call.inputs[0];
        match self {
            Not => return strided::map(x, call.outputs[0].slice::<bool>(), |x: bool| !x),
            IsFinite | IsNan if !x.dtype.is_float() => {
                return call.outputs[0].slice::<bool>().fill(*self == IsFinite);
            }
            IsFinite | IsNan => {
                let y = call.outputs[0].slice::<bool>();
                return crate::dispatch!(float x.dtype, T => match self {
                    IsNan => strided::map(x, y, |x: T| x.is_nan()),
                    _ => strided::map(x, y, |x: T| x.is_finite()),
                });
            }
            _ => {}
        }
        let vector = match self {
            Exp => Some(cpu::Real::Exp),
            Tanh => Some(cpu::Real::Tanh),
            Sigmoid => Some(cpu::Real::Sigmoid),
            _ => None,
        };
        if let (Some(f), DType::F32) = (vector, x.dtype) {
            return cpu::map(f, x, call.outputs[0].slice());
        }
        if x.dtype == DType::U8 {
            return match self {
                Neg => strided::map(x, call.output(), u8::wrapping_neg),
                Square => strided::map(x, call.output(), |x: u8| x.wrapping_mul(x)),
                Sign | Step => strided::map(x, call.output(), |x: u8| u8::from(x > 0)),
                _ => strided::map(x, call.output(), |x: u8| x),
            };
        }
        macro_rules! integers {
            ($t:ty) => {
                match self {
                    Neg => strided::map(x, call.output(), <$t>::wrapping_neg),
                    Abs => strided::map(x, call.output(), <$t>::wrapping_abs),
                    Sign => strided::map(x, call.output(), <$t>::signum),
                    Square => strided::map(x, call.output(), |x: $t| x.wrapping_mul(x)),
                    Relu => strided::map(x, call.output(), |x: $t| x.max(0)),
                    _ => strided::map(x, call.output(), |x: $t| <$t>::from(x > 0)),
                }
            };
        }
        macro_rules! reals {
            ($t:ty) => {
                match self {
                    Neg => strided::map(x, call.output(), |x: $t| -x),
                    Abs => strided::map(x, call.output(), <$t>::abs),
                    Sign => strided::map(x, call.output(), |x: $t| {
                        if x.is_nan() { x } else { f32::from(i8::from(x > 0.0) - i8::from(x < 0.0)) as $t }
                    }),
                    Exp => strided::map(x, call.output(), <$t>::exp),
                    Ln => strided::map(x, call.output(), <$t>::ln),
                    Sqrt => strided::map(x, call.output(), <$t>::sqrt),
                    Recip => strided::map(x, call.output(), |x: $t| 1.0 / x),
                    Square => strided::map(x, call.output(), |x: $t| x * x),
                    Sin => strided::map(x, call.output(), <$t>::sin),
                    Cos => strided::map(x, call.output(), <$t>::cos),
                    Tanh => strided::map(x, call.output(), <$t>::tanh),
                    // Both branches are stable: no exponential of a large positive number is taken.
                    Sigmoid => strided::map(x, call.output(), |x: $t| {
                        let e = (-x.abs()).exp();
                        if x >= 0.0 { 1.0 / (1.0 + e) } else { e / (1.0 + e) }
                    }),
                    // NaN passes through, which `max` would swallow.
                    Relu => strided::map(x, call.output(), |x: $t| if x <= 0.0 { 0.0 } else { x }),
                    _ => strided::map(x, call.output(), |x: $t| -> $t {
                        if x > 0.0 { 1.0 } else { 0.0 }
                    }),
                }
            };
        }
        match x.dtype {
            DType::I32 => integers!(i32),
            DType::I64 => integers!(i64),
            DType::F32 => reals!(f32),
            DType::F64 => reals!(f64),
            DType::Bool | DType::U8 => unreachable!("handled above"),
        }
    }
}

macro_rules! methods {
    ($($(#[$doc:meta])* $variant:ident $name:ident $(($cast:ident))?;)*) => {
        impl Tensor {$(
            $(#[$doc])*
            #[must_use]
            #[track_caller]
            pub fn $name(&self) -> Tensor {
                $(let $cast = self.cast(self.dtype().to_float()); return apply($variant, &[&$cast]);)?
                #[allow(unreachable_code)]
                apply($variant, &[self])
            }
        )*}
    };
}

methods! {
    /// `y = |x|`,  `dy = sign(x)·dx`, which is 0 at 0, as PyTorch's.
    Abs abs;
    /// `y = −1, 0 or 1`, the sign of x; NaN stays.  `dy = 0`
    Sign sign;
    /// `y = eˣ`,  `dy = y·dx`. Integers become `F32`, here and in all real functions.
    ///
    /// ```
    /// use cotangent::Tensor;
    /// assert_eq!(Tensor::from([0.0]).exp().to_vec::<f64>(), [1.0]);
    /// ```
    Exp exp (x);
    /// `y = ln x`,  `dy = dx/x`  (PyTorch's `log`)
    Ln ln (x);
    /// `y = √x`,  `dy = dx/(2y)`  (the slides' 1/√x lacks the 2: row C12)
    Sqrt sqrt (x);
    /// `y = 1/x`,  `dy = −y²·dx`  (PyTorch's `reciprocal`)
    Recip recip (x);
    /// `y = x²`,  `dy = 2x·dx`
    Square square;
    /// `y = sin x`,  `dy = cos x·dx`
    Sin sin (x);
    /// `y = cos x`,  `dy = −sin x·dx`
    Cos cos (x);
    /// `y = (1 − e^{−2x})/(1 + e^{−2x})`,  `dy = (1 − y²)·dx`; never overflows (row D7).
    Tanh tanh (x);
    /// `y = 1/(1 + e⁻ˣ)`,  `dy = y(1 − y)·dx`; never overflows (row D6).
    ///
    /// ```
    /// use cotangent::Tensor;
    /// assert_eq!(Tensor::from([-1000.0, 0.0, 1000.0]).sigmoid().to_vec::<f64>(), [0.0, 0.5, 1.0]);
    /// ```
    Sigmoid sigmoid (x);
    /// `y = max(0, x)`,  `dy = dx` where `x > 0`, else 0: `σ′(0) = 0` as PyTorch's (rows A2, D5). NaN stays.
    ///
    /// ```
    /// use cotangent::Tensor;
    /// assert_eq!(Tensor::from([-1.0, 0.0, 2.0]).relu().to_vec::<f64>(), [0.0, 0.0, 2.0]);
    /// ```
    Relu relu;
    /// `y = 1` where `x > 0`, else 0.  `dy = 0`  (PyTorch's `heaviside(x, 0)`)
    Step step;
    /// Where `x` is neither infinite nor NaN.
    IsFinite isfinite;
    /// Where `x` is NaN.
    IsNan isnan;
    /// `y = not x`, of truth values.
    Not logical_not;
}

impl std::ops::Neg for &Tensor {
    type Output = Tensor;
    /// `y = −x`,  `dy = −dx`
    #[track_caller]
    fn neg(self) -> Tensor {
        apply(Neg, &[self])
    }
}
impl std::ops::Neg for Tensor {
    type Output = Tensor;
    #[track_caller]
    fn neg(self) -> Tensor {
        -&self
    }
}
