//! Softmax, its logarithm, and cross-entropy from class indices, over the rows of a packed `[rows, k]` matrix, a
//! register at a time; softmax and its logarithm also of sixteen examples side by side.
//!
//! Every row is a fixed number of running sums, added in a fixed tree: the same bits on any number of threads.
#![allow(unsafe_code)]

use crate::{
    device::cpu::{
        Call,
        float::Float,
        isa::Isa,
        lane::{Kernel, Lane, dispatch},
        threads::chunks_mut,
    },
    ops::{LANES, Lanes, elementwise},
};

/// Elements that are worth a task of their own (about 20 µs of exponentials).
const TASK: usize = 1 << 15;

/// Whole rows for a task: all of them when there is little work.
fn each(len: usize, k: usize) -> usize {
    if len < 2 * TASK { len } else { TASK.div_ceil(k) * k }
}

/// A number with exponentials of whole registers.
pub(crate) trait Exp: Float {
    /// The best instruction set that its exponentials gain from.
    const EXPS: Isa;
    /// `eˣ`.
    ///
    /// # Safety
    /// The processor has `V`'s instruction set.
    unsafe fn exps<V: Lane<Self>>(x: V) -> V;
}
impl Exp for f32 {
    const EXPS: Isa = Isa::Avx512;
    #[inline(always)]
    unsafe fn exps<V: Lane<f32>>(x: V) -> V {
        // SAFETY: the caller's.
        unsafe { elementwise::cpu::exp(x) }
    }
}
impl Exp for f64 {
    const EXPS: Isa = Isa::Plain;
    #[inline(always)]
    unsafe fn exps<V: Lane<f64>>(x: V) -> V {
        // SAFETY: the caller's.
        unsafe { one_by_one(x, f64::exp) }
    }
}

/// `f` of each number, with no instructions for registers.
#[inline(always)]
unsafe fn one_by_one<T: Float, V: Lane<T>>(x: V, f: fn(T) -> T) -> V {
    let mut y = [T::ZERO; 16];
    // SAFETY: the caller's; there is room for the numbers.
    unsafe {
        x.store(y.as_mut_ptr());
        all(&mut y[..V::N], f);
        V::load(y.as_ptr())
    }
}

/// Behind a call, as it is the same for every instruction set.
#[inline(never)]
fn all<T: Float>(y: &mut [T], f: fn(T) -> T) {
    y.iter_mut().for_each(|y| *y = f(*y));
}

/// One row of `k` numbers, the last register of it perhaps not full.
#[derive(Clone, Copy)]
struct Row<T> {
    x: *const T,
    k: usize,
}

impl<T: Exp> Row<T> {
    /// The numbers from `i` on, −∞ behind the row's end.
    ///
    /// # Safety
    /// The processor has `V`'s instruction set, here and below; the row can be read.
    #[inline(always)]
    unsafe fn at<V: Lane<T>>(self, i: usize) -> V {
        // SAFETY: the caller's.
        unsafe {
            if i + V::N <= self.k {
                return V::load(self.x.add(i));
            }
            let mut place = [T::ZERO; 16];
            place.iter_mut().enumerate().for_each(|(i, p)| *p = T::from_f64(i as f64));
            let end = V::splat(T::from_f64((self.k - i) as f64));
            let x = V::load_first(self.x.add(i), self.k - i);
            end.where_greater(V::load(place.as_ptr()), x, V::splat(T::NEG_INFINITY))
        }
    }

    /// `max xᵢ`; NaN is passed over.
    #[inline(always)]
    unsafe fn max<V: Lane<T>>(self) -> T {
        // SAFETY: the caller's.
        unsafe {
            let (mut max, mut i) = ([V::splat(T::NEG_INFINITY); 4], 0);
            while i + 4 * V::N <= self.k {
                for (j, max) in max.iter_mut().enumerate() {
                    *max = self.at::<V>(i + j * V::N).max(*max);
                }
                i += 4 * V::N;
            }
            while i < self.k {
                max[0] = self.at::<V>(i).max(max[0]);
                i += V::N;
            }
            let max = max[0].max(max[1]).max(max[2].max(max[3]));
            across(max, |a, b| if a > b { a } else { b })
        }
    }

    /// `max xᵢ`, and `Σ e^(xᵢ − max)`, whose terms are put at `terms` where that is wanted. A row that holds a NaN,
    /// +∞, or nothing above −∞ has a NaN for its sum.
    #[inline(always)]
    unsafe fn max_and_sum<V: Lane<T>, const KEEP: bool>(self, terms: *mut T) -> (T, T) {
        // SAFETY: the caller's.
        unsafe {
            let max = self.max::<V>();
            let (shift, mut sum, mut i) = (V::splat(max), [V::zero(); 2], 0);
            while i + 2 * V::N <= self.k {
                for (j, sum) in sum.iter_mut().enumerate() {
                    let e = T::exps(self.at::<V>(i + j * V::N).sub(shift));
                    if KEEP {
                        e.store(terms.add(i + j * V::N));
                    }
                    *sum = sum.add(e);
                }
                i += 2 * V::N;
            }
            while i < self.k {
                let e = T::exps(self.at::<V>(i).sub(shift));
                if KEEP {
                    self.put(e, terms, i);
                }
                sum[0] = sum[0].add(e);
                i += V::N;
            }
            (max, across(sum[0].add(sum[1]), |a, b| a + b))
        }
    }

    /// `y[i..]` of `v`, as far as the row goes.
    #[inline(always)]
    unsafe fn put<V: Lane<T>>(self, v: V, y: *mut T, i: usize) {
        // SAFETY: the caller's, who has `k` numbers at `y`.
        unsafe { if i + V::N <= self.k { v.store(y.add(i)) } else { v.store_first(y.add(i), self.k - i) } }
    }
}

/// All numbers of a register, halves onto each other.
#[inline(always)]
unsafe fn across<T: Float, V: Lane<T>>(v: V, f: impl Fn(T, T) -> T) -> T {
    let (mut x, mut n) = ([T::ZERO; 16], V::N);
    // SAFETY: the caller's; there is room for the numbers.
    unsafe { v.store(x.as_mut_ptr()) };
    while n > 1 {
        n /= 2;
        (0..n).for_each(|i| x[i] = f(x[i], x[i + n]));
    }
    x[0]
}

/// Rows of at most so many numbers stand side by side, one in each lane of a register.
const NARROW: usize = 32;

/// Up to `V::N` narrow rows, `[k][lane]`.
struct Side<T>([[T; 16]; NARROW]);

impl<T: Exp> Side<T> {
    /// The rows of `k` in `x`, and zeros.
    #[inline(always)]
    fn new(x: &[T], k: usize) -> Self {
        let mut side = Side([[T::ZERO; 16]; NARROW]);
        for (lane, row) in x.chunks_exact(k).enumerate() {
            row.iter().zip(&mut side.0).for_each(|(x, side)| side[lane] = *x);
        }
        side
    }

    /// Into rows again.
    #[inline(always)]
    fn put(&self, y: &mut [T], k: usize) {
        for (lane, row) in y.chunks_exact_mut(k).enumerate() {
            row.iter_mut().zip(&self.0).for_each(|(y, side)| *y = side[lane]);
        }
    }

    /// Of each row what [`Row::max_and_sum`] gives; terms take the numbers' place where that is wanted.
    ///
    /// # Safety
    /// The processor has `V`'s instruction set.
    #[inline(always)]
    unsafe fn max_and_sum<V: Lane<T>>(&mut self, k: usize, keep: bool) -> (V, V) {
        // SAFETY: the caller's; a row of the square holds a register.
        unsafe {
            let (mut max, mut sum) = (V::splat(T::NEG_INFINITY), V::zero());
            for x in &self.0[..k] {
                max = V::load(x.as_ptr()).max(max);
            }
            for x in &mut self.0[..k] {
                let e = T::exps(V::load(x.as_ptr()).sub(max));
                sum = sum.add(e);
                if keep {
                    e.store(x.as_mut_ptr());
                }
            }
            (max, sum)
        }
    }
}

/// What is made of rows.
#[derive(Clone, Copy)]
enum Make<'a, T> {
    /// `e^(xᵢ − max)/Σ`
    Softmax,
    /// `xᵢ − max − ln Σ`
    Log,
    /// `c·(e^(xᵢ − max)/Σ − [i = target])`, zeros where the target is none.
    Slope { targets: &'a [i64], ignored: Option<i64>, c: &'a [T] },
}

/// Rows that lie one behind the other, and what is made of them.
struct Rows<'a, T> {
    x: &'a [T],
    y: &'a mut [T],
    k: usize,
    make: Make<'a, T>,
}

impl<T: Exp> Kernel<T> for Rows<'_, T> {
    const MOST: Isa = T::EXPS;
    #[inline(always)]
    unsafe fn run<V: Lane<T>>(self) {
        let k = self.k;
        if k <= NARROW {
            // SAFETY: `V`'s instruction set is here, as the caller promises.
            return unsafe { self.narrow::<V>() };
        }
        for (r, (x, y)) in self.x.chunks_exact(k).zip(self.y.chunks_exact_mut(k)).enumerate() {
            let (row, y) = (Row { x: x.as_ptr(), k }, y.as_mut_ptr());
            // SAFETY: `V`'s instruction set is here, as the caller promises; `x` and `y` are of `k` numbers.
            unsafe {
                let target = match self.make {
                    Make::Slope { targets, ignored, .. } => match class(targets[r], k) {
                        Some(target) if ignored != Some(targets[r]) => target,
                        _ => {
                            (0..k).for_each(|i| *y.add(i) = T::ZERO);
                            continue;
                        }
                    },
                    _ => 0,
                };
                // The logarithm has no use for the terms, and overwrites them.
                let (max, sum) = row.max_and_sum::<V, true>(y);
                let made = Row { x: y, k };
                match self.make {
                    Make::Log => {
                        let (max, log) = (V::splat(max), V::splat(sum.ln()));
                        for i in (0..k).step_by(V::N) {
                            row.put(row.at::<V>(i).sub(max).sub(log), y, i);
                        }
                    }
                    Make::Softmax => {
                        let sum = V::splat(sum);
                        for i in (0..k).step_by(V::N) {
                            row.put(made.at::<V>(i).div(sum), y, i);
                        }
                    }
                    Make::Slope { c, .. } => {
                        let at = *y.add(target);
                        let (by, factor) = (V::splat(sum), V::splat(c[r]));
                        for i in (0..k).step_by(V::N) {
                            row.put(made.at::<V>(i).div(by).mul(factor), y, i);
                        }
                        *y.add(target) = (at / sum - T::from_f64(1.0)) * c[r];
                    }
                }
            }
        }
    }
}

impl<T: Exp> Rows<'_, T> {
    /// # Safety
    /// The processor has `V`'s instruction set.
    #[inline(always)]
    unsafe fn narrow<V: Lane<T>>(self) {
        let (k, step) = (self.k, self.k * V::N);
        for (block, (x, y)) in self.x.chunks(step).zip(self.y.chunks_mut(step)).enumerate() {
            let mut side = Side::new(x, k);
            // SAFETY: the caller's; a row of the square holds a register.
            unsafe {
                let log = matches!(self.make, Make::Log);
                let (max, sum) = side.max_and_sum::<V>(k, !log);
                if log {
                    let log = one_by_one(sum, T::ln);
                    for x in &mut side.0[..k] {
                        V::load(x.as_ptr()).sub(max).sub(log).store(x.as_mut_ptr());
                    }
                } else {
                    for e in &mut side.0[..k] {
                        V::load(e.as_ptr()).div(sum).store(e.as_mut_ptr());
                    }
                }
            }
            side.put(y, k);
            if let Make::Slope { targets, ignored, c } = self.make {
                for (r, y) in (block * V::N..).zip(y.chunks_exact_mut(k)) {
                    match class(targets[r], k).filter(|_| ignored != Some(targets[r])) {
                        Some(target) => {
                            y[target] = y[target] - T::from_f64(1.0);
                            y.iter_mut().for_each(|y| *y = *y * c[r]);
                        }
                        None => y.fill(T::ZERO),
                    }
                }
            }
        }
    }
}

/// `−(x[target] − max − ln Σ)` for rows that have a target, else 0.
struct Losses<'a, T> {
    x: &'a [T],
    targets: &'a [i64],
    ignored: Option<i64>,
    loss: &'a mut [T],
    k: usize,
}

impl<T: Exp> Kernel<T> for Losses<'_, T> {
    const MOST: Isa = T::EXPS;
    #[inline(always)]
    unsafe fn run<V: Lane<T>>(self) {
        let (k, narrow) = (self.k, (1..=NARROW).contains(&self.k));
        // Of narrow rows, maxima and sums of a register's worth at a time.
        let (mut max, mut log) = ([T::ZERO; 16], [T::ZERO; 16]);
        for (row, loss) in self.loss.iter_mut().enumerate() {
            if narrow && row % V::N == 0 {
                let rows = V::N.min(self.targets.len() - row);
                let mut side = Side::new(&self.x[row * k..(row + rows) * k], k);
                // SAFETY: `V`'s instruction set is here, as the caller promises; there is room for a register.
                unsafe {
                    let (m, s) = side.max_and_sum::<V>(k, false);
                    m.store(max.as_mut_ptr());
                    one_by_one(s, T::ln).store(log.as_mut_ptr());
                }
            }
            *loss = match class(self.targets[row], self.k) {
                Some(target) if self.ignored != Some(self.targets[row]) => {
                    let x = &self.x[row * k..][..k];
                    let (max, log) = if narrow {
                        (max[row % V::N], log[row % V::N])
                    } else {
                        // SAFETY: as above; `x` has `k` numbers.
                        let (max, sum) =
                            unsafe { Row { x: x.as_ptr(), k }.max_and_sum::<V, false>(std::ptr::null_mut()) };
                        (max, sum.ln())
                    };
                    // In this order, as `log_softmax_rows` has it: the two give the same bits.
                    -(x[target] - max - log)
                }
                _ => T::ZERO,
            };
        }
    }
}

fn check(x: usize, y: usize, k: usize) -> bool {
    assert!(
        x == y && (k > 0 || x == 0) && x.is_multiple_of(k.max(1)),
        "rows of {k}: {x} elements in, {y} out"
    );
    x > 0
}

fn rows<T: Exp>(x: &[T], y: &mut [T], k: usize, make: Make<'_, T>) {
    if !check(x.len(), y.len(), k) {
        return;
    }
    let each = each(x.len(), k);
    chunks_mut(y, each, |task, y| {
        let (x, first) = (&x[task * each..][..y.len()], task * each / k);
        let make = match make {
            Make::Slope { targets, ignored, c } => {
                Make::Slope { targets: &targets[first..], ignored, c: &c[first..] }
            }
            other => other,
        };
        dispatch::<T>(Rows { x, y, k, make });
    });
}

/// `yᵢ = e^(xᵢ − max x) / Σⱼ e^(xⱼ − max x)` for every row of `k`. A row that is −∞ throughout gives NaN, as in PyTorch.
///
/// # Panics
/// When `x` and `y` are not the same number of whole rows.
pub(crate) fn softmax_rows<T: Exp>(x: &[T], y: &mut [T], k: usize) {
    rows(x, y, k, Make::Softmax);
}

/// `yᵢ = xᵢ − max x − ln Σⱼ e^(xⱼ − max x)` for every row of `k`. A row that is −∞ throughout gives NaN, as in PyTorch.
///
/// # Panics
/// When `x` and `y` are not the same number of whole rows.
pub(crate) fn log_softmax_rows<T: Exp>(x: &[T], y: &mut [T], k: usize) {
    rows(x, y, k, Make::Log);
}

/// The row's class; `None` where it is none of `0..k`.
fn class(target: i64, k: usize) -> Option<usize> {
    usize::try_from(target).ok().filter(|t| *t < k)
}

/// The first row whose target is neither a class nor `ignored`.
fn stray(targets: &[i64], ignored: Option<i64>, k: usize) -> Option<usize> {
    targets.iter().position(|t| ignored != Some(*t) && class(*t, k).is_none())
}

/// `lossᵣ = ln Σⱼ e^(x[r,j]) − x[r, targetᵣ]` for every row of `k`. Rows whose target is `ignored` give 0.
///
/// Returns the first row whose target is no class; such rows give 0.
///
/// # Panics
/// When the slices are not of as many rows.
pub(crate) fn cross_entropy_rows<T: Exp>(
    x: &[T],
    targets: &[i64],
    ignored: Option<i64>,
    loss: &mut [T],
    k: usize,
) -> Option<usize> {
    assert_eq!([x.len(), loss.len()], [targets.len() * k, targets.len()], "rows of {k}");
    let rows = each(x.len(), k.max(1)) / k.max(1);
    chunks_mut(loss, rows, |task, loss| {
        let (x, targets) = (&x[task * rows * k..], &targets[task * rows..][..loss.len()]);
        dispatch::<T>(Losses { x, targets, ignored, loss, k });
    });
    stray(targets, ignored, k)
}

/// `y[r, i] = cᵣ·(μ(x[r])ᵢ − [i = targetᵣ])` for every row of `k`. Rows whose target is `ignored` give zeros.
///
/// Returns the first row whose target is no class; such rows give zeros.
///
/// # Panics
/// When the slices are not of as many rows.
pub(crate) fn cross_entropy_slope_rows<T: Exp>(
    x: &[T],
    targets: &[i64],
    ignored: Option<i64>,
    c: &[T],
    y: &mut [T],
    k: usize,
) -> Option<usize> {
    assert_eq!([x.len(), c.len()], [targets.len() * k, targets.len()], "rows of {k}");
    rows(x, y, k, Make::Slope { targets, ignored, c });
    stray(targets, ignored, k)
}

/// Softmax, or its logarithm, of sixteen examples `[outer][k]` side by side.
pub(crate) fn softmax_lanes(k: usize, log: bool) -> Option<Lanes> {
    if k == 0 {
        return None;
    }
    let run = move |call: Call<'_>| {
        let (x, y) = (call.inputs[0].packed::<f32>(), call.outputs[0].slice::<f32>());
        assert_eq!(x.len(), y.len());
        dispatch::<f32>(Columns { x, y, k, log });
    };
    Some(Lanes { scratch: 0, run: Box::new(run) })
}

/// `[outer][k][16]`: each lane a column.
struct Columns<'a> {
    x: &'a [f32],
    y: &'a mut [f32],
    k: usize,
    log: bool,
}

impl Kernel<f32> for Columns<'_> {
    #[inline(always)]
    unsafe fn run<V: Lane<f32>>(self) {
        let len = self.k * LANES;
        for (x, y) in self.x.chunks_exact(len).zip(self.y.chunks_exact_mut(len)) {
            for lane in (0..LANES).step_by(V::N) {
                // SAFETY: `V`'s instruction set is here, as the caller promises; both hold `k` rows of 16.
                unsafe {
                    let (x, y) = (x.as_ptr().add(lane), y.as_mut_ptr().add(lane));
                    let mut max = V::splat(f32::NEG_INFINITY);
                    for i in 0..self.k {
                        max = V::load(x.add(i * LANES)).max(max);
                    }
                    let mut sum = V::zero();
                    for i in 0..self.k {
                        let e = elementwise::cpu::exp(V::load(x.add(i * LANES)).sub(max));
                        sum = sum.add(e);
                        if !self.log {
                            e.store(y.add(i * LANES));
                        }
                    }
                    if self.log {
                        let mut log = [0.0f32; 16];
                        sum.store(log.as_mut_ptr());
                        log[..V::N].iter_mut().for_each(|s| *s = s.ln());
                        let log = V::load(log.as_ptr());
                        for i in 0..self.k {
                            V::load(x.add(i * LANES)).sub(max).sub(log).store(y.add(i * LANES));
                        }
                    } else {
                        for i in 0..self.k {
                            V::load(y.add(i * LANES)).div(sum).store(y.add(i * LANES));
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::cpu::lane::on_every_isa;

    /// The specification, in double precision and without the shift.
    fn naive(x: &[f64], k: usize) -> Vec<f64> {
        x.chunks(k)
            .flat_map(|row| row.iter().map(|x| x.exp() / row.iter().map(|x| x.exp()).sum::<f64>()))
            .collect()
    }

    fn draw<T: Float>(n: usize) -> Vec<T> {
        let mut state = 5u64;
        let mut next = || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 40) as f64 / (1u64 << 22) as f64 - 2.0
        };
        (0..n).map(|_| T::from_f64(next())).collect()
    }

    fn close<T: Float>(found: &[T], want: impl Iterator<Item = f64>, tolerance: f64) {
        for (i, (f, w)) in found.iter().zip(want).enumerate() {
            assert!((f.to_f64() - w).abs() <= tolerance, "element {i} is {f:?}, not {w}");
        }
    }

    fn verify<T: Exp>(rows: usize, k: usize, tolerance: f64) {
        let (x, nan) = (draw::<T>(rows * k), T::from_f64(f64::NAN));
        let wide: Vec<f64> = x.iter().map(|x| x.to_f64()).collect();
        let p = naive(&wide, k);
        let mut y = vec![nan; x.len()];
        softmax_rows(&x, &mut y, k);
        close(&y, p.iter().copied(), tolerance);
        log_softmax_rows(&x, &mut y, k);
        close(&y, p.iter().map(|p| p.ln()), tolerance * 8.0);
        // One target is ignored.
        let targets: Vec<i64> = (0..rows).map(|r| if r == 1 { -100 } else { (r * 7 % k) as i64 }).collect();
        let mut loss = vec![nan; rows];
        assert_eq!(cross_entropy_rows(&x, &targets, Some(-100), &mut loss, k), None);
        let at = |r: usize| r * k + r * 7 % k;
        close(&loss, (0..rows).map(|r| if r == 1 { 0.0 } else { -p[at(r)].ln() }), tolerance * 8.0);
        assert!((0..rows).all(|r| r == 1 || loss[r] == -y[at(r)]), "the loss has log_softmax's bits");
    }

    #[test]
    fn rows_agree_with_the_naive_formulas() {
        for (rows, k) in [(1, 1), (5, 3), (64, 10), (3, 1000), (3000, 10), (2, 9001)] {
            verify::<f32>(rows, k, 3e-7);
            verify::<f64>(rows, k, 1e-15);
        }
        softmax_rows::<f32>(&[], &mut [], 0);
        log_softmax_rows::<f32>(&[], &mut [], 4);
    }

    #[test]
    fn large_and_infinite_values_give_what_pytorch_gives() {
        let (inf, mut y) = (f32::INFINITY, [0.0f32; 3]);
        softmax_rows(&[1000.0, 1000.0, -inf], &mut y, 3);
        assert_eq!(y, [0.5, 0.5, 0.0]);
        log_softmax_rows(&[-1000.0, -inf, -inf], &mut y, 3);
        assert_eq!(y, [0.0, -inf, -inf]);
        for row in [[-inf; 3], [inf, 0.0, 0.0], [f32::NAN, 0.0, 0.0]] {
            softmax_rows(&row, &mut y, 3);
            assert!(y[0].is_nan());
            log_softmax_rows(&row, &mut y, 3);
            assert!(y[0].is_nan());
        }
    }

    #[test]
    fn a_target_that_is_no_class_is_named() {
        let (x, mut loss) = ([0.0f64; 8], [1.0; 4]);
        assert_eq!(cross_entropy_rows(&x, &[1, 2, -1, 0], None, &mut loss, 2), Some(1));
        assert_eq!([loss[1], loss[2]], [0.0, 0.0]);
    }

    #[test]
    fn every_instruction_set_agrees_with_the_naive_formulas_and_the_slope_with_softmax() {
        let sizes = [(9, 37), (21, 10), (3, 32), (17, 1)];
        on_every_isa(|| {
            for (rows, k) in sizes {
                verify::<f32>(rows, k, 3e-7);
                let (x, c) = (draw::<f32>(rows * k), draw::<f32>(rows));
                let (mut y, mut mu) = (vec![f32::NAN; rows * k], vec![f32::NAN; rows * k]);
                let mut targets: Vec<i64> = (0..rows).map(|r| (r * 7 % k) as i64).collect();
                targets[2] = -100;
                softmax_rows(&x, &mut mu, k);
                assert_eq!(cross_entropy_slope_rows(&x, &targets, Some(-100), &c, &mut y, k), None);
                for (i, y) in y.iter().enumerate() {
                    let (r, j) = (i / k, i % k);
                    let hot = if targets[r] == j as i64 { 1.0 } else { 0.0 };
                    let want = if r == 2 { 0.0 } else { c[r] * (mu[i] - hot) };
                    assert_eq!(*y, want, "row {r}, class {j}");
                }
                targets[1] = k as i64;
                assert_eq!(cross_entropy_slope_rows(&x, &targets, Some(-100), &c, &mut y, k), Some(1));
            }
        });
    }

    #[test]
    fn any_number_of_threads_gives_the_same_bits() {
        let x = draw::<f32>(3000 * 37);
        let results = [1, 2, 3, 7].map(|threads| {
            rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(|| {
                let mut y = vec![0.0; x.len()];
                log_softmax_rows(&x, &mut y, 37);
                y
            })
        });
        assert!(results.iter().all(|r| *r == results[0]));
    }
}
