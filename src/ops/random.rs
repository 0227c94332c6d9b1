//! Random numbers: `y[i]` is a function of the generator's state and of `i` alone.    `dy = 0`
//!
//! The state `[seed, stream, offset]` is an input, so replays and checkpoints draw the same (row E18).

use super::{Attribute, Batch, Cost, Mode, Op};
use crate::{
    Rng,
    apply::apply,
    autodiff::LinearMap,
    cell::block,
    device::cpu::{Call, threads},
    error::{Error, OrRaise, Result},
    tensor::{DType, Shape, Spec, Tensor},
};

/// How numbers are distributed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Distribution {
    /// Uniform on [0, 1).
    Uniform,
    /// Normal with mean 0 and variance 1 (Box–Muller).
    Normal,
    /// Whole numbers of `low .. low + span`, all alike.
    Whole {
        /// The smallest.
        low: i64,
        /// How many.
        span: u64,
    },
}

/// Random numbers of a shape; the only input is the state.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Random {
    /// How they are distributed.
    pub distribution: Distribution,
    /// The shape.
    pub shape: Shape,
    /// `F32` or `F64`; `I64` for whole numbers.
    pub dtype: DType,
}

/// Numbers that one block of four words gives.
const PER_BLOCK: usize = 2;
const CHUNK: usize = 1 << 13;

/// The parts of a state.
pub(crate) fn state(view: &crate::device::cpu::View<'_>) -> (u64, u64, u64) {
    let s = view.packed::<i64>();
    (s[0] as u64, s[1] as u64, s[2] as u64)
}

/// How far a draw of `n` numbers moves the offset.
pub(crate) fn blocks(n: usize) -> usize {
    n.div_ceil(PER_BLOCK)
}

/// 64 random bits for number `i` of a draw.
#[inline(always)]
pub(crate) fn bits((seed, stream, offset): (u64, u64, u64), i: usize) -> u64 {
    let words = block(seed, stream, offset.wrapping_add((i / PER_BLOCK) as u64));
    let at = i % PER_BLOCK * 2;
    u64::from(words[at]) | u64::from(words[at + 1]) << 32
}

/// The upper 53 bits as a number of [0, 1).
#[inline(always)]
pub(crate) fn unit(bits: u64) -> f64 {
    (bits >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
}

impl Op for Random {
    fn name(&self) -> &'static str {
        match self.distribution {
            Distribution::Uniform => "uniform",
            Distribution::Normal => "normal",
            Distribution::Whole { .. } => "randint",
        }
    }
    fn attributes(&self) -> Vec<(&'static str, Attribute)> {
        let mut all = vec![("shape", self.shape[..].into()), ("dtype", self.dtype.into())];
        if let Distribution::Whole { low, span } = self.distribution {
            all.extend([("low", low.into()), ("span", (span as i64).into())]);
        }
        all
    }
    fn outputs(&self, x: &[Spec]) -> Result<Vec<Spec>> {
        is_state(&x[0])?;
        let whole = matches!(self.distribution, Distribution::Whole { .. });
        if whole == self.dtype.is_float() || !(whole || self.dtype.is_float()) {
            return Err(Error::mistake(format!("{} numbers cannot be {}", self.name(), self.dtype)));
        }
        Ok(vec![x[0].with(self.shape).of(self.dtype)])
    }
    fn linearize(&self, _: &[Tensor], _: &[Tensor], _: Mode, _: &[bool]) -> LinearMap {
        LinearMap::zero(1)
    }
    fn batch(&self, _: &[Spec], _: &[Option<usize>]) -> Batch {
        Batch::Mixes
    }
    fn cost(&self, x: &[Spec], y: &[Spec]) -> Cost {
        Cost { elementary: y[0].shape.len() as u64, ..Cost::default() }.moving(x, y)
    }
    fn cpu(&self, mut call: Call<'_>) {
        let s = state(&call.inputs[0]);
        match self.distribution {
            Distribution::Whole { low, span } => fill(call.output::<i64>(), |i| {
                // The upper half of a 128-bit product: each number's share differs by less than 2⁻⁶⁴.
                low.wrapping_add(((u128::from(bits(s, i)) * u128::from(span)) >> 64) as i64)
            }),
            Distribution::Uniform => match self.dtype {
                // 24 bits, as `f32` has: no number rounds up to 1.
                DType::F32 => {
                    fill(call.output::<f32>(), |i| (bits(s, i) >> 40) as f32 * (1.0 / (1u32 << 24) as f32))
                }
                _ => fill(call.output::<f64>(), |i| unit(bits(s, i))),
            },
            Distribution::Normal => {
                let normal = |i: usize| {
                    let (u, v) = (1.0 - unit(bits(s, i & !1)), unit(bits(s, i | 1)));
                    let (radius, angle) = ((-2.0 * u.ln()).sqrt(), std::f64::consts::TAU * v);
                    radius * if i & 1 == 0 { angle.cos() } else { angle.sin() }
                };
                match self.dtype {
                    DType::F32 => fill(call.output::<f32>(), |i| normal(i) as f32),
                    _ => fill(call.output::<f64>(), normal),
                }
            }
        }
    }
}

fn fill<T: Send>(y: &mut [T], f: impl Fn(usize) -> T + Sync) {
    threads::chunks_mut(y, CHUNK, |c, part| {
        part.iter_mut().enumerate().for_each(|(j, y)| *y = f(c * CHUNK + j))
    })
}

/// A generator's state: three whole numbers.
pub(crate) fn is_state(s: &Spec) -> Result<()> {
    if s.shape[..] == [3] && s.dtype == DType::I64 {
        return Ok(());
    }
    Err(Error::mistake(format!("a generator's state is three int64, not {:?} {}", s.shape, s.dtype)))
}

#[track_caller]
fn draw(distribution: Distribution, shape: Shape, dtype: DType, rng: &Rng) -> Tensor {
    apply(Random { distribution, shape, dtype }, &[&rng.draw(blocks(shape.len()))])
}

impl Tensor {
    /// `y ~ U[0, 1)`, independent, `F32`.
    ///
    /// ```
    /// use cotangent::{Rng, Tensor};
    /// let x = Tensor::rand([1000], &Rng::new(0));
    /// assert!((x.mean().item() - 0.5).abs() < 0.05);
    /// ```
    #[track_caller]
    pub fn rand(shape: impl Into<Shape>, rng: &Rng) -> Tensor {
        draw(Distribution::Uniform, shape.into(), DType::F32, rng)
    }

    /// `y ~ U[low, high)`, independent, `F32`.
    #[track_caller]
    pub fn uniform(low: f64, high: f64, shape: impl Into<Shape>, rng: &Rng) -> Tensor {
        Tensor::rand(shape, rng) * (high - low) + low
    }

    /// `y ~ N(0, 1)`, independent, `F32`.
    ///
    /// ```
    /// use cotangent::{Rng, Tensor};
    /// let x = Tensor::randn([4000], &Rng::new(0));
    /// assert!(x.mean().item().abs() < 0.06 && (x.square().mean().item() - 1.0).abs() < 0.1);
    /// ```
    #[track_caller]
    pub fn randn(shape: impl Into<Shape>, rng: &Rng) -> Tensor {
        draw(Distribution::Normal, shape.into(), DType::F32, rng)
    }

    /// Whole numbers of `low..high`, all alike, independent, `I64`.
    ///
    /// # Panics
    /// When there is none.
    #[track_caller]
    pub fn randint(low: i64, high: i64, shape: impl Into<Shape>, rng: &Rng) -> Tensor {
        if high <= low {
            Err::<(), _>(Error::mistake(format!("randint: no number is in {low}..{high}"))).or_raise();
        }
        draw(Distribution::Whole { low, span: high.wrapping_sub(low) as u64 }, shape.into(), DType::I64, rng)
    }

    /// Numbers like `self` in shape, type and device, from [`Tensor::rand`]'s distribution.
    #[must_use]
    #[track_caller]
    pub fn rand_like(&self, rng: &Rng) -> Tensor {
        self.draw_like(Distribution::Uniform, rng)
    }

    /// Numbers like `self` in shape, type and device, from [`Tensor::randn`]'s distribution.
    #[must_use]
    #[track_caller]
    pub fn randn_like(&self, rng: &Rng) -> Tensor {
        self.draw_like(Distribution::Normal, rng)
    }

    #[track_caller]
    fn draw_like(&self, distribution: Distribution, rng: &Rng) -> Tensor {
        let (op, device) =
            (Random { distribution, shape: *self.shape(), dtype: self.dtype() }, self.device());
        apply(op, &[&rng.draw(blocks(self.numel())).to(&device)])
    }

    /// `0 … n − 1` in random order, `I64`, each order alike.
    ///
    /// ```
    /// use cotangent::{Rng, Tensor};
    /// let mut p = Tensor::randperm(5, &Rng::new(0)).to_vec::<i64>();
    /// p.sort();
    /// assert_eq!(p, [0, 1, 2, 3, 4]);
    /// ```
    #[track_caller]
    pub fn randperm(n: usize, rng: &Rng) -> Tensor {
        draw(Distribution::Uniform, [n].into(), DType::F64, rng).argsort(0, false)
    }
}
