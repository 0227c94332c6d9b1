//! Batch norm of `[n, c, inner]` and its adjoint, a channel at a time: what a first pass over its planes read, a second
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
                let m = total::<T, V, 1>(x, x, T::ZERO)[0] / len as f64;
                (m, total::<T, V, 2>(x, x, T::from_f64(m))[1])
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

/// `[Σ a, Σ a·(x − m)]` of a part, the first with `N = 1` alone; for `a = x` it is `[Σ x, Σ (x − m)²]`.
///
/// # Safety
/// The processor has `V`'s instruction set.
#[inline(always)]
unsafe fn total<T: Float, V: Lane<T>, const N: usize>(a: &[T], x: &[T], m: T) -> [f64; 2] {
    assert_eq!(a.len(), x.len());
    let (len, same, mut i) = (x.len(), std::ptr::eq(a, x), 0);
    let (a, x) = (a.as_ptr(), x.as_ptr());
    let mut totals = [0.0; 2];
    // SAFETY: the caller's; elements i.. of so many registers are below `len`.
    unsafe {
        let (shift, mut sums) = (V::splat(m), [[V::zero(); SUMS]; N]);
        while i < len / V::N * V::N {
            // As many registers as there are, at most `SUMS`.
            for j in 0..SUMS.min((len - i) / V::N) {
                let a = V::load(a.add(i + j * V::N));
                if N == 1 {
                    sums[0][j] = sums[0][j].add(a);
                } else {
                    let x = V::load(x.add(i + j * V::N)).sub(shift);
                    sums[1][j] = if same { x } else { a }.mul_add(x, sums[1][j]);
                    if !same {
                        sums[0][j] = sums[0][j].add(a);
                    }
                }
            }
            i += SUMS.min((len - i) / V::N) * V::N;
        }
        for (sums, total) in sums.into_iter().zip(&mut totals) {
            let mut lanes = [T::ZERO; 16];
            sums[0].add(sums[1]).add(sums[2].add(sums[3])).store(lanes.as_mut_ptr());
            *total = lanes[..V::N].iter().map(|l| l.to_f64()).sum();
        }
        for i in i..len {
            let (a, x) = (*a.add(i), *x.add(i) - m);
            totals[0] += a.to_f64();
            totals[1] += (if same { x } else { a } * x).to_f64();
        }
    }
    totals
}

/// What the adjoint reads: input, its cotangent, and the numbers of each channel.
#[derive(Clone, Copy)]
pub(crate) struct Adjoint<'a, T> {
    pub(crate) x: &'a [T],
    pub(crate) g: &'a [T],
    pub(crate) gamma: &'a [T],
    pub(crate) mean: &'a [T],
    pub(crate) var: &'a [T],
}

/// With `r = 1/√(σ² + ε)`, `x̂ = (x − μ)r`, `N = n·inner`:
/// `β̄ = Σ ȳ`,  `γ̄ = Σ ȳx̂`,  `x̄ = rγ(ȳ − β̄/N − x̂γ̄/N)`.
///
/// # Panics
/// When a slice is not as long as its shape says.
pub(crate) fn adjoint<T: Float>(
    sizes: Sizes,
    from: Adjoint<'_, T>,
    eps: f64,
    [dx, dgamma, dbeta]: [&mut [T]; 3],
) {
    assert_eq!([from.x.len(), from.g.len(), dx.len()], [sizes.len(); 3], "elements of input and cotangents");
    let channels = [from.gamma.len(), from.mean.len(), from.var.len(), dgamma.len(), dbeta.len()];
    assert_eq!(channels, [sizes.c; 5], "one number a channel");
    let (dx, dgamma, dbeta) = (&Parts::new(dx), &Parts::new(dgamma), &Parts::new(dbeta));
    sizes.each(|channel| dispatch::<T>(Back { sizes, channel, from, eps, dx, dgamma, dbeta }));
}

struct Back<'a, T> {
    sizes: Sizes,
    channel: usize,
    from: Adjoint<'a, T>,
    eps: f64,
    dx: &'a Parts<'a, T>,
    dgamma: &'a Parts<'a, T>,
    dbeta: &'a Parts<'a, T>,
}

impl<T: Float> Kernel<T> for Back<'_, T> {
    #[inline(always)]
    unsafe fn run<V: Lane<T>>(self) {
        let (from, channel, inner) = (self.from, self.channel, self.sizes.inner);
        let (m, mut by) = (from.mean[channel], [0.0; 2]);
        for (start, len) in self.sizes.parts(channel) {
            // SAFETY: `V`'s instruction set is here, as the caller promises.
            let t = unsafe { total::<T, V, 2>(&from.g[start..start + len], &from.x[start..start + len], m) };
            by = [by[0] + t[0], by[1] + t[1]];
        }
        let r = 1.0 / (from.var[channel].to_f64() + self.eps).sqrt();
        let count = (self.sizes.n * inner) as f64;
        // x̄ = aȳ − ab − ad(x − μ)
        let a = T::from_f64(r * from.gamma[channel].to_f64());
        let (b, d) = (T::from_f64(by[0] / count), T::from_f64(by[1] * r * r / count));
        let whole = inner / V::N * V::N;
        // SAFETY: as above; the planes and numbers of this channel are this task's alone.
        unsafe {
            *self.dgamma.at(channel) = T::from_f64(by[1] * r);
            *self.dbeta.at(channel) = T::from_f64(by[0]);
            let (va, vb, vd, vm) = (V::splat(a), V::splat(b), V::splat(d), V::splat(m));
            for start in self.sizes.planes(channel) {
                let (x, g) = (from.x[start..start + inner].as_ptr(), from.g[start..start + inner].as_ptr());
                let y = self.dx.slice(start..start + inner).as_mut_ptr();
                for i in (0..whole).step_by(V::N) {
                    let through = V::load(x.add(i)).sub(vm).mul(vd);
                    V::load(g.add(i)).sub(vb).sub(through).mul(va).store(y.add(i));
                }
                for i in whole..inner {
                    *y.add(i) = (*g.add(i) - b - (*x.add(i) - m) * d) * a;
                }
            }
        }
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
        let (x, g) = (draw::<T>(len, 1), draw::<T>(len, 2));
        let (gamma, beta) = (draw::<T>(c, 3), draw::<T>(c, 4));
        let (mut y, mut dx) = (vec![nan; len], vec![nan; len]);
        let [mut mean, mut var, mut dgamma, mut dbeta] = [(); 4].map(|()| vec![nan; c]);
        forward(sizes, &x, [&gamma, &beta], eps, &mut y, [&mut mean, &mut var]);
        let from = Adjoint { x: &x, g: &g, gamma: &gamma, mean: &mean, var: &var };
        adjoint(sizes, from, eps, [&mut dx, &mut dgamma, &mut dbeta]);
        let near = |found: T, want: f64, what: &str| {
            let (found, slack) = (found.to_f64(), tolerance * want.abs().max(1.0));
            assert!((found - want).abs() <= slack, "{what}: {found}, not {want}, of {n}×{c}×{inner}");
        };
        for k in 0..c {
            let of = |v: &[T]| -> Vec<f64> {
                sizes.planes(k).flat_map(|p| v[p..p + inner].iter().map(|v| v.to_f64())).collect()
            };
            let (x, g, y, dx, count) = (of(&x), of(&g), of(&y), of(&dx), (n * inner) as f64);
            let m = x.iter().sum::<f64>() / count;
            let v = x.iter().map(|x| (x - m).powi(2)).sum::<f64>() / count;
            near(mean[k], m, "mean");
            near(var[k], v, "variance");
            // The adjoint is given mean and variance as they were rounded.
            let (m, v) = (mean[k].to_f64(), var[k].to_f64());
            let (r, gamma) = ((v + eps).sqrt().recip(), gamma[k].to_f64());
            let hat: Vec<f64> = x.iter().map(|x| (x - m) * r).collect();
            let by = [g.iter().sum::<f64>(), g.iter().zip(&hat).map(|(g, h)| g * h).sum()];
            // The rounding of a sum is measured by its terms.
            let of_terms = |found: T, want: f64, terms: f64, what: &str| {
                let slack = tolerance / 20.0 * terms.max(1.0);
                assert!(
                    (found.to_f64() - want).abs() <= slack,
                    "{what}: {found:?}, not {want}, of {n}×{c}×{inner}"
                );
            };
            let size = [
                g.iter().map(|g| g.abs()).sum::<f64>(),
                g.iter().zip(&hat).map(|(g, h)| (g * h).abs()).sum(),
            ];
            of_terms(dbeta[k], by[0], size[0], "derivative by the shift");
            of_terms(dgamma[k], by[1], size[1], "derivative by the scale");
            for i in 0..x.len() {
                near(T::from_f64(y[i]), hat[i] * gamma + beta[k].to_f64(), "output");
                let want = r * gamma * (g[i] - by[0] / count - hat[i] * by[1] / count);
                near(T::from_f64(dx[i]), want, "derivative by the input");
            }
        }
        vec![y, mean, var, dx, dgamma, dbeta]
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
            pool.install(|| verify::<f32>(Sizes { n: 9, c: 11, inner: 900 }, 2e-5))
        });
        assert!(results.iter().all(|r| *r == results[0]));
    }
}
