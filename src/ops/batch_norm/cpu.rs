//! Batch norm of `[n, c, inner]`, a channel at a time: what a first pass over its planes read, a second
//! one finds in the cache.
//!
//! Parts of planes are summed in registers, in a fixed number of running sums, parts and planes in order and in double
//! precision: a channel is one chain, whatever the threads do.
#![allow(unsafe_code)]
// Running sums are indexed as the formulas are.
#![allow(clippy::needless_range_loop)]

use crate::device::cpu::{
    float::Float,
    lane::{Kernel, Lane, dispatch},
    threads::{Parts, parallel},
};

/// Numbers that are summed before they count in double precision.
const PART: usize = 2048;
/// Registers of running sums, so that additions do not wait for each other.
const SUMS: usize = 4;
/// Elements below which work stays on one thread.
const SPLIT: usize = 1 << 16;

/// Sizes of `[n, c, inner]`.
#[derive(Clone, Copy)]
pub(crate) struct Sizes {
    pub(crate) n: usize,
    pub(crate) c: usize,
    pub(crate) inner: usize,
}

impl Sizes {
    fn len(self) -> usize {
        self.n * self.c * self.inner
    }
    /// Where the planes of a channel start.
    fn planes(self, channel: usize) -> impl Iterator<Item = usize> {
        (0..self.n).map(move |i| (i * self.c + channel) * self.inner)
    }
    /// Starts and lengths of the parts of a channel's planes.
    fn parts(self, channel: usize) -> impl Iterator<Item = (usize, usize)> {
        let parts =
            move |p: usize| (0..self.inner).step_by(PART).map(move |i| (p + i, PART.min(self.inner - i)));
        self.planes(channel).flat_map(parts)
    }
    fn each(self, f: impl Fn(usize) + Sync) {
        if self.len() < SPLIT { (0..self.c).for_each(f) } else { parallel(self.c, f) }
    }
}

/// `y = (x − μ)/√(σ² + ε)·γ + β` with `μ`, `σ²` of each channel.
///
/// # Panics
/// When a slice is not as long as its shape says.
pub(crate) fn forward<T: Float>(
    sizes: Sizes,
    x: &[T],
    [gamma, beta]: [&[T]; 2],
    eps: f64,
    y: &mut [T],
    [mean, var]: [&mut [T]; 2],
) {
    assert_eq!([x.len(), y.len()], [sizes.len(); 2], "elements of input and output");
    assert_eq!([gamma.len(), beta.len(), mean.len(), var.len()], [sizes.c; 4], "one number a channel");
    let (y, mean, var) = (&Parts::new(y), &Parts::new(mean), &Parts::new(var));
    sizes.each(|channel| {
        let (scale, shift) = (gamma[channel], beta[channel]);
        dispatch::<T>(Forward { sizes, channel, x, scale, shift, eps, y, mean, var });
    });
}

struct Forward<'a, T> {
    sizes: Sizes,
    channel: usize,
    x: &'a [T],
    scale: T,
    shift: T,
    eps: f64,
    y: &'a Parts<'a, T>,
    mean: &'a Parts<'a, T>,
    var: &'a Parts<'a, T>,
}

impl<T: Float> Kernel<T> for Forward<'_, T> {
    #[inline(always)]
    unsafe fn run<V: Lane<T>>(self) {
        // Count, mean, and sum of squares around it, part by part.
        let (mut count, mut mean, mut squares) = (0.0, 0.0, 0.0);
        for (start, len) in self.sizes.parts(self.channel) {
            let x = &self.x[start..start + len];
            // SAFETY: `V`'s instruction set is here, as the caller promises.
            let (m, s) = unsafe {
                let m = total::<T, V, false>(x, T::ZERO) / len as f64;
                (m, total::<T, V, true>(x, T::from_f64(m)))
            };
            let (part, all) = (len as f64, count + len as f64);
            let difference = m - mean;
            squares += s + difference * difference * (count * part / all);
            mean += difference * (part / all);
            count = all;
        }
        let (m, v) = (T::from_f64(mean), T::from_f64(squares / count));
        let scale = T::from_f64(1.0 / (v.to_f64() + self.eps).sqrt()) * self.scale;
        let (whole, inner) = (self.sizes.inner / V::N * V::N, self.sizes.inner);
        // SAFETY: as above; the planes and numbers of this channel are this task's alone.
        unsafe {
            *self.mean.at(self.channel) = m;
            *self.var.at(self.channel) = v;
            let (vm, vs, vb) = (V::splat(m), V::splat(scale), V::splat(self.shift));
            for start in self.sizes.planes(self.channel) {
                let (x, y) =
                    (self.x[start..start + inner].as_ptr(), self.y.slice(start..start + inner).as_mut_ptr());
                for i in (0..whole).step_by(V::N) {
                    V::load(x.add(i)).sub(vm).mul(vs).add(vb).store(y.add(i));
                }
                for i in whole..inner {
                    *y.add(i) = (*x.add(i) - m) * scale + self.shift;
                }
            }
        }
    }
}

/// `Σ x` of a part, or `Σ (x − m)²` where squares are wanted.
///
/// # Safety
/// The processor has `V`'s instruction set.
#[inline(always)]
unsafe fn total<T: Float, V: Lane<T>, const SQUARES: bool>(part: &[T], m: T) -> f64 {
    let (x, whole, mut i) = (part.as_ptr(), part.len() / V::N * V::N, 0);
    // SAFETY: the caller's; elements i.. of so many registers are below `whole`.
    unsafe {
        let (shift, mut sums) = (V::splat(m), [V::zero(); SUMS]);
        while i < whole {
            // As many registers as there are, at most `SUMS`.
            let registers = SUMS.min((whole - i) / V::N);
            for j in 0..registers {
                let x = V::load(x.add(i + j * V::N));
                sums[j] = if SQUARES { x.sub(shift).mul_add(x.sub(shift), sums[j]) } else { sums[j].add(x) };
            }
            i += registers * V::N;
        }
        let mut lanes = [T::ZERO; 16];
        sums[0].add(sums[1]).add(sums[2].add(sums[3])).store(lanes.as_mut_ptr());
        let rest = part[whole..].iter().map(|x| if SQUARES { (*x - m) * (*x - m) } else { *x });
        lanes[..V::N].iter().copied().chain(rest).map(Float::to_f64).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::cpu::lane::on_every_isa;

    fn draw<T: Float>(n: usize, mut state: u64) -> Vec<T> {
        let mut next = || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 40) as f64 / (1u64 << 23) as f64 - 1.0
        };
        (0..n).map(|_| T::from_f64(next() + 0.5)).collect()
    }

    /// The formulas, in double precision; everything that comes out.
    fn verify<T: Float>(sizes: Sizes, tolerance: f64) -> Vec<Vec<T>> {
        let Sizes { n, c, inner } = sizes;
        let (len, eps, nan) = (n * c * inner, 1e-3, T::from_f64(f64::NAN));
        let (x, gamma, beta) = (draw::<T>(len, 1), draw::<T>(c, 3), draw::<T>(c, 4));
        let (mut y, [mut mean, mut var]) = (vec![nan; len], [(); 2].map(|()| vec![nan; c]));
        forward(sizes, &x, [&gamma, &beta], eps, &mut y, [&mut mean, &mut var]);
        let near = |found: T, want: f64, what: &str| {
            let (found, slack) = (found.to_f64(), tolerance * want.abs().max(1.0));
            assert!((found - want).abs() <= slack, "{what}: {found}, not {want}, of {n}×{c}×{inner}");
        };
        for k in 0..c {
            let of = |v: &[T]| -> Vec<f64> {
                sizes.planes(k).flat_map(|p| v[p..p + inner].iter().map(|v| v.to_f64())).collect()
            };
            let (x, y, count) = (of(&x), of(&y), (n * inner) as f64);
            let m = x.iter().sum::<f64>() / count;
            let v = x.iter().map(|x| (x - m).powi(2)).sum::<f64>() / count;
            near(mean[k], m, "mean");
            near(var[k], v, "variance");
            for (x, y) in x.iter().zip(&y) {
                let want = (x - m) / (v + eps).sqrt() * gamma[k].to_f64() + beta[k].to_f64();
                near(T::from_f64(*y), want, "output");
            }
        }
        vec![y, mean, var]
    }

    #[test]
    fn every_instruction_set_agrees_with_the_formulas() {
        on_every_isa(|| {
            for (n, c, inner) in [(2, 1, 1), (5, 3, 1), (3, 2, 16), (4, 5, 49), (2, 2, 5000), (7, 3, 67)] {
                verify::<f32>(Sizes { n, c, inner }, 5e-6);
                verify::<f64>(Sizes { n, c, inner }, 1e-12);
            }
        });
    }

    #[test]
    fn any_number_of_threads_gives_the_same_bits() {
        let results = [1, 2, 3].map(|threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| verify::<f32>(Sizes { n: 9, c: 11, inner: 900 }, 5e-6))
        });
        assert!(results.iter().all(|r| *r == results[0]));
    }
}
