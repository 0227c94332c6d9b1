//! `eˣ`, `tanh x` and `1/(1 + e⁻ˣ)` of `f32`, a register at a time, to within 2 units in the last place.
//!
//! `eˣ = 2ⁿ·e^r` with `x = n·ln 2 + r`, `|r| ≤ ½ ln 2`, where the series of `e^r − 1` ends after eight terms.
#![allow(unsafe_code)]

use crate::device::cpu::{
    View,
    lane::{Kernel, Lane, dispatch},
    strided, threads,
};

/// Which function.
#[derive(Clone, Copy)]
pub(crate) enum Real {
    Exp,
    Tanh,
    Sigmoid,
}

/// Elements of a task (about 10 µs).
const CHUNK: usize = 1 << 15;

/// `y = f(x)`, whatever the strides of `x`.
pub(crate) fn map(f: Real, x: &View<'_>, y: &mut [f32]) {
    let packed = x.layout.is_packed();
    if !packed {
        strided::copy(x, y);
    }
    let chunk = if y.len() < 2 * CHUNK { y.len().max(1) } else { CHUNK };
    let all = if packed { x.packed::<f32>() } else { &[] };
    threads::chunks_mut(y, chunk, |i, y| {
        let x = if packed { all[i * chunk..][..y.len()].as_ptr() } else { y.as_ptr() };
        dispatch::<f32>(Map { f, x, y: y.as_mut_ptr(), n: y.len() });
    });
}

/// `y[i] = f(x[i])` for `n` numbers, in place or not.
struct Map {
    f: Real,
    x: *const f32,
    y: *mut f32,
    n: usize,
}

impl Kernel<f32> for Map {
    #[inline(always)]
    unsafe fn run<V: Lane<f32>>(self) {
        let whole = self.n / V::N * V::N;
        // SAFETY: `V`'s instruction set is here, as the caller promises, and both hold `n` numbers.
        unsafe {
            for i in (0..whole).step_by(V::N) {
                apply(self.f, V::load(self.x.add(i))).store(self.y.add(i));
            }
            let rest = self.n - whole;
            if rest > 0 {
                apply(self.f, V::load_first(self.x.add(whole), rest)).store_first(self.y.add(whole), rest);
            }
        }
    }
}

/// # Safety
/// The processor has `V`'s instruction set, here and below.
#[inline(always)]
unsafe fn apply<V: Lane<f32>>(f: Real, x: V) -> V {
    // SAFETY: the caller's.
    unsafe {
        match f {
            Real::Exp => exp(x),
            Real::Tanh => tanh(x),
            Real::Sigmoid => sigmoid(x),
        }
    }
}

/// `eˣ`
#[inline(always)]
pub(crate) unsafe fn exp<V: Lane<f32>>(x: V) -> V {
    // SAFETY: the caller's.
    unsafe {
        // Beyond these, infinity and 0; NaN stays.
        let x = V::splat(89.0).min(V::splat(-104.0).max(x));
        // Adding 1.5·2²³ rounds to a whole number.
        let shift = V::splat(12_582_912.0);
        let n = x.mul_add(V::splat(std::f32::consts::LOG2_E), shift).sub(shift);
        // ln 2 in two parts, of which the first times n is exact.
        let r = n.mul_add(V::splat(-0.693_359_4), x);
        let r = n.mul_add(V::splat(2.121_944_4e-4), r);
        let mut p = V::splat(1.0 / 40_320.0);
        for c in [1.0 / 5_040.0, 1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5] {
            p = p.mul_add(r, V::splat(c));
        }
        p.mul_add(r.mul(r), r).add(V::splat(1.0)).scale(n)
    }
}

/// `tanh |x| = 1 − 2/(e^{2|x|} + 1)`; for small `x`, where that would cancel, `x + x·z·P(z)` with `z = x²`
/// (the coefficients of Cephes).
#[inline(always)]
pub(crate) unsafe fn tanh<V: Lane<f32>>(x: V) -> V {
    // SAFETY: the caller's.
    unsafe {
        let (zero, one, two) = (V::zero(), V::splat(1.0), V::splat(2.0));
        let size = V::splat(10.0).min(x.where_greater(zero, x, zero.sub(x)));
        let large = one.sub(two.div(exp(size.add(size)).add(one)));
        let z = x.mul(x);
        let mut p = V::splat(-5.704_988_7e-3);
        for c in [2.063_909e-2, -5.373_971_6e-2, 1.333_144_2e-1, -3.333_328e-1] {
            p = p.mul_add(z, V::splat(c));
        }
        let small = p.mul(z).mul_add(x, x);
        let signed = x.where_greater(zero, large, zero.sub(large));
        let y = size.where_greater(V::splat(0.625), signed, small);
        // ±0 and NaN are their own.
        x.where_greater(zero, y, zero.where_greater(x, y, x))
    }
}

/// `1/(1 + e⁻ˣ)`: no exponential of a large positive number is taken.
#[inline(always)]
pub(crate) unsafe fn sigmoid<V: Lane<f32>>(x: V) -> V {
    // SAFETY: the caller's.
    unsafe {
        let (zero, one) = (V::zero(), V::splat(1.0));
        let e = exp(x.where_greater(zero, zero.sub(x), x));
        zero.where_greater(x, e, one).div(one.add(e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::cpu::lane::on_every_isa;

    fn of(f: Real, x: &[f32]) -> Vec<f32> {
        let mut y = vec![f32::NAN; x.len()];
        dispatch::<f32>(Map { f, x: x.as_ptr(), y: y.as_mut_ptr(), n: x.len() });
        y
    }

    /// Distance in units in the last place of the nearest `f32`.
    fn units(found: f32, exact: f64) -> f64 {
        let near = exact as f32;
        if near.is_infinite() {
            return if found == near { 0.0 } else { f64::INFINITY };
        }
        let unit = f64::from(f32::from_bits(near.abs().to_bits() + 1)) - f64::from(near.abs());
        (f64::from(found) - exact).abs() / unit
    }

    #[test]
    fn functions_are_within_two_units() {
        // Every exponent, both signs, some fractions; densely where the functions bend.
        let mut x: Vec<f32> =
            (0..1u32 << 16).map(|i| f32::from_bits(i << 16 | i.wrapping_mul(40_503) & 0xffff)).collect();
        x.extend((-120_000..120_000).map(|i| i as f32 * 1e-3));
        x.extend((-30_000..30_000).map(|i| i as f32 * 3.1e-5));
        x.retain(|x| x.is_finite());
        on_every_isa(|| {
            for (f, exact) in [
                (Real::Exp, f64::exp as fn(f64) -> f64),
                (Real::Tanh, f64::tanh),
                (Real::Sigmoid, |x| 1.0 / (1.0 + (-x).exp())),
            ] {
                for (x, y) in x.iter().zip(of(f, &x)) {
                    let far = units(y, exact(f64::from(*x)));
                    assert!(far <= 2.0, "f({x}) = {y}, {far} units off {}", exact(f64::from(*x)));
                }
            }
        });
    }

    #[test]
    fn special_numbers_and_any_length() {
        let inf = f32::INFINITY;
        on_every_isa(|| {
            let bits = |f, x: &[f32]| of(f, x).into_iter().map(f32::to_bits).collect::<Vec<_>>();
            let same = |y: &[f32]| y.iter().map(|y| y.to_bits()).collect::<Vec<_>>();
            let x = [0.0, -0.0, inf, -inf, 1e30, -1e30];
            assert_eq!(bits(Real::Exp, &x), same(&[1.0, 1.0, inf, 0.0, inf, 0.0]));
            assert_eq!(bits(Real::Tanh, &x), same(&[0.0, -0.0, 1.0, -1.0, 1.0, -1.0]));
            assert_eq!(bits(Real::Sigmoid, &x), same(&[0.5, 0.5, 1.0, 0.0, 1.0, 0.0]));
            for f in [Real::Exp, Real::Tanh, Real::Sigmoid] {
                assert!(of(f, &[f32::NAN, -f32::NAN, 1.0])[..2].iter().all(|y| y.is_nan()));
                // An element's place does not change its value.
                let x: Vec<f32> = (0..40).map(|i| i as f32 * 0.37 - 7.0).collect();
                let all = bits(f, &x);
                (0..40).for_each(|n| assert_eq!(bits(f, &x[n..]), all[n..]));
            }
        });
    }
}
