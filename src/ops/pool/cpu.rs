//! Pooling on the processor, over contiguous planes `[planes, h, w]`: maximum with its arg-max, mean, and what their
//! derivatives need.
//!
//! Planes are independent, so nothing here adds across threads.
#![allow(unsafe_code)]

use std::ops::{AddAssign, Range};

use crate::device::cpu::{
    float::Float,
    lane::{Kernel, Lane, dispatch},
    threads::{Parts, chunks_mut, parallel},
};

/// Window cells that are worth a task of their own (about 20 µs).
const TASK: usize = 1 << 16;

/// A window that slides over planes: output (p, q) sees the input cells
/// `(p·s₀ − pad₀ + u·d₀, q·s₁ − pad₁ + v·d₁)` that lie inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pool {
    /// Planes: examples times channels.
    pub(crate) planes: usize,
    /// Input height.
    pub(crate) h: usize,
    /// Input width.
    pub(crate) w: usize,
    /// Height and width of the window.
    pub(crate) kernel: [usize; 2],
    /// Step of the window per axis.
    pub(crate) stride: [usize; 2],
    /// Cells that are not there, before and after, per axis.
    pub(crate) padding: [usize; 2],
    /// Step between the window's cells per axis; the mean has none.
    pub(crate) dilation: [usize; 2],
    /// Output height.
    pub(crate) oh: usize,
    /// Output width.
    pub(crate) ow: usize,
}

impl Pool {
    fn input(&self) -> usize {
        self.h * self.w
    }
    fn output(&self) -> usize {
        self.oh * self.ow
    }
    /// Two by two, side by side: the window that nearly everybody uses.
    pub(crate) fn halves(&self) -> bool {
        self.kernel == [2, 2]
            && self.stride == [2, 2]
            && self.padding == [0, 0]
            && self.dilation == [1, 1]
            && 2 * self.oh <= self.h
            && 2 * self.ow <= self.w
    }
    /// Planes of a task.
    fn each(&self) -> usize {
        let work = (self.output() * self.kernel[0] * self.kernel[1]).max(self.input()).max(1);
        if self.planes * work < 2 * TASK { self.planes.max(1) } else { TASK.div_ceil(work) }
    }
    /// The window's cells on one axis that lie inside: `(place in the window, place in the input)`.
    #[inline(always)]
    pub(crate) fn cells(
        &self,
        axis: usize,
        output: usize,
        size: usize,
    ) -> impl Iterator<Item = (usize, usize)> + Clone {
        let start = (output * self.stride[axis]) as isize - self.padding[axis] as isize;
        let d = self.dilation[axis];
        let first = if start < 0 { start.unsigned_abs().div_ceil(d) } else { 0 };
        let end = (size as isize - start).max(0).unsigned_abs().div_ceil(d).min(self.kernel[axis]);
        (first..end).map(move |u| (u, (start + (u * d) as isize).unsigned_abs()))
    }
    /// Where the cell with this offset lies in the plane, if inside.
    #[inline(always)]
    fn place(&self, p: usize, q: usize, offset: usize) -> Option<usize> {
        let (u, v) = (offset / self.kernel[1], offset % self.kernel[1]);
        let i = (p * self.stride[0] + u * self.dilation[0]).wrapping_sub(self.padding[0]);
        let j = (q * self.stride[1] + v * self.dilation[1]).wrapping_sub(self.padding[1]);
        (i < self.h && j < self.w).then(|| i * self.w + j)
    }
}

/// What a maximum needs of a number.
pub(crate) trait Ordered: Copy + PartialOrd + Default + Send + Sync + 'static {
    /// No number is smaller.
    const LOWEST: Self;
}
macro_rules! ordered {
    ($($t:ident: $lowest:ident),*) => {$(
        impl Ordered for $t {
            const LOWEST: Self = $t::$lowest;
        }
    )*};
}
ordered!(f32: NEG_INFINITY, f64: NEG_INFINITY, i32: MIN, i64: MIN, u8: MIN);

/// The place of a cell in its window, `u·kw + v`: a byte for windows of at most 256 cells.
pub(crate) trait Offset: Copy + Default + Send + Sync + 'static {
    /// The largest offset that it can hold.
    const MAX: usize;
    /// From a number that fits.
    fn new(offset: usize) -> Self;
    /// As a number.
    fn get(self) -> usize;
}
macro_rules! offsets {
    ($($t:ident)*) => {$(
        impl Offset for $t {
            const MAX: usize = $t::MAX as usize;
            #[inline(always)]
            fn new(offset: usize) -> Self {
                offset as $t
            }
            #[inline(always)]
            fn get(self) -> usize {
                self as usize
            }
        }
    )*};
}
offsets!(u8 i32);

/// A value is taken for the maximum so far: it is larger, or not a number.
#[inline(always)]
#[allow(clippy::eq_op)]
fn wins<T: Ordered>(x: T, best: T) -> bool {
    // A NaN is the only value that differs from itself.
    x > best || x != x
}

/// `y[p,q] = max_{u,v} x[p·s₀ − pad₀ + u·d₀, q·s₁ − pad₁ + v·d₁]` over the cells inside, and `at[p,q] = u·kw + v` of the
/// first maximum in row-major order. A NaN wins, the last one of several, as in PyTorch. A window without a cell
/// inside gives the lowest value, at offset 0.
///
/// # Panics
/// When a slice is not as long as its shape says, or the window has more cells than `I` counts.
pub(crate) fn max_pool2d<T: Ordered, I: Offset>(pool: &Pool, x: &[T], y: &mut [T], at: &mut [I]) {
    let (before, after, each) = (pool.input(), pool.output(), pool.each());
    assert_eq!([x.len(), y.len(), at.len()], [before, after, after].map(|n| n * pool.planes), "{pool:?}");
    assert!(pool.kernel[0] * pool.kernel[1] <= I::MAX + 1, "too narrow an index: {pool:?}");
    let tasks = pool.planes.div_ceil(each);
    let (y, at) = (Parts::new(y), Parts::new(at));
    parallel(tasks, |task| {
        let planes = task * each..((task + 1) * each).min(pool.planes);
        // SAFETY: every task has its planes to itself.
        let (y, at) = unsafe {
            (
                y.slice(planes.start * after..planes.end * after),
                at.slice(planes.start * after..planes.end * after),
            )
        };
        let x = &x[planes.start * before..planes.end * before];
        dispatch::<f32>(Max { pool, planes: planes.len(), x, y, at });
    });
}

struct Max<'a, T, I> {
    pool: &'a Pool,
    planes: usize,
    x: &'a [T],
    y: &'a mut [T],
    at: &'a mut [I],
}

// The register is not used by name: the loops are left to the compiler, which has the instruction set here.
impl<T: Ordered, I: Offset> Kernel<f32> for Max<'_, T, I> {
    #[inline(always)]
    unsafe fn run<V: Lane<f32>>(self) {
        let Max { pool, planes, x, y, at } = self;
        for (plane, p) in (0..planes).flat_map(|n| (0..pool.oh).map(move |p| (n, p))) {
            let x = &x[plane * pool.input()..(plane + 1) * pool.input()];
            let row = (plane * pool.oh + p) * pool.ow..(plane * pool.oh + p + 1) * pool.ow;
            let (y, at) = (&mut y[row.clone()], &mut at[row]);
            if pool.halves() {
                let (top, bottom) = x[2 * p * pool.w..2 * (p + 1) * pool.w].split_at(pool.w);
                let pairs = top.as_chunks::<2>().0.iter().zip(bottom.as_chunks::<2>().0);
                for ((y, at), ([a, b], [c, d])) in y.iter_mut().zip(at).zip(pairs) {
                    let (mut best, mut i) = if wins(*b, *a) { (*b, 1) } else { (*a, 0) };
                    (best, i) = if wins(*c, best) { (*c, 2) } else { (best, i) };
                    (*y, i) = if wins(*d, best) { (*d, 3) } else { (best, i) };
                    *at = I::new(i);
                }
                continue;
            }
            for (q, (y, at)) in y.iter_mut().zip(at).enumerate() {
                let (mut best, mut place) = (T::LOWEST, None);
                for (u, i) in pool.cells(0, p, pool.h) {
                    for (v, j) in pool.cells(1, q, pool.w) {
                        let x = x[i * pool.w + j];
                        // The first cell is taken whatever it is, for a window of lowest values.
                        if place.is_none() || wins(x, best) {
                            (best, place) = (x, Some(u * pool.kernel[1] + v));
                        }
                    }
                }
                (*y, *at) = (best, I::new(place.unwrap_or(0)));
            }
        }
    }
}

/// `dx[i,j] = Σ g[p,q]` over the windows whose maximum is cell (i, j): the adjoint of [`max_pool2d_gather`].
///
/// # Panics
/// When a slice is not as long as its shape says.
pub(crate) fn max_pool2d_scatter<T, I: Offset>(pool: &Pool, g: &[T], at: &[I], dx: &mut [T])
where
    T: Copy + Default + AddAssign + Send + Sync,
{
    let (before, after, each) = (pool.input(), pool.output(), pool.each());
    assert_eq!([dx.len(), g.len(), at.len()], [before, after, after].map(|n| n * pool.planes), "{pool:?}");
    if after == 0 {
        return dx.fill(T::default());
    }
    chunks_mut(dx, each * before, |task, dx| {
        let outputs = task * each * after..task * each * after + dx.len() / before * after;
        dispatch::<f32>(Scatter { pool, g: &g[outputs.clone()], at: &at[outputs], dx });
    });
}

struct Scatter<'a, T, I> {
    pool: &'a Pool,
    g: &'a [T],
    at: &'a [I],
    dx: &'a mut [T],
}

impl<T: Copy + Default + AddAssign, I: Offset> Kernel<f32> for Scatter<'_, T, I> {
    #[inline(always)]
    unsafe fn run<V: Lane<f32>>(self) {
        let Scatter { pool, g, at, dx } = self;
        let (before, after) = (pool.input(), pool.output());
        for (plane, dx) in dx.chunks_exact_mut(before).enumerate() {
            let (g, at) = (&g[plane * after..][..after], &at[plane * after..][..after]);
            if pool.halves() {
                let (seen, rest) = dx.split_at_mut(2 * pool.oh * pool.w);
                rest.fill(T::default());
                for (p, rows) in seen.chunks_exact_mut(2 * pool.w).enumerate() {
                    let (g, at) = (&g[p * pool.ow..][..pool.ow], &at[p * pool.ow..][..pool.ow]);
                    for (u, row) in rows.chunks_exact_mut(pool.w).enumerate() {
                        let (pairs, rest) = row.split_at_mut(2 * pool.ow);
                        rest.fill(T::default());
                        for ((pair, g), at) in pairs.as_chunks_mut::<2>().0.iter_mut().zip(g).zip(at) {
                            let at = at.get();
                            pair[0] = if at == 2 * u { *g } else { T::default() };
                            pair[1] = if at == 2 * u + 1 { *g } else { T::default() };
                        }
                    }
                }
                continue;
            }
            dx.fill(T::default());
            for (p, q) in (0..pool.oh).flat_map(|p| (0..pool.ow).map(move |q| (p, q))) {
                let o = p * pool.ow + q;
                if let Some(i) = pool.place(p, q, at[o].get()) {
                    dx[i] += g[o];
                }
            }
        }
    }
}

/// `y[p,q] = t[the cell of (p, q)'s maximum]`: the tangent of [`max_pool2d`].
///
/// # Panics
/// When a slice is not as long as its shape says.
pub(crate) fn max_pool2d_gather<T, I: Offset>(pool: &Pool, t: &[T], at: &[I], y: &mut [T])
where
    T: Copy + Default + Send + Sync,
{
    let (before, after, each) = (pool.input(), pool.output(), pool.each());
    assert_eq!([t.len(), y.len(), at.len()], [before, after, after].map(|n| n * pool.planes), "{pool:?}");
    chunks_mut(y, each * after, |task, y| {
        for (plane, y) in y.chunks_mut(after).enumerate() {
            let plane = task * each + plane;
            let (t, at) = (&t[plane * before..][..before], &at[plane * after..][..after]);
            for (o, (y, at)) in y.iter_mut().zip(at).enumerate() {
                let place = pool.place(o / pool.ow, o % pool.ow, at.get());
                *y = place.map_or(T::default(), |i| t[i]);
            }
        }
    });
}

/// By what a window's sum is divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Divisor {
    /// Padding cells count, but not what a rounded-up window sees beyond them.
    pub(crate) count_include_pad: bool,
    /// This number instead of any count.
    pub(crate) divisor_override: Option<i64>,
}

impl Divisor {
    /// The divisor of window (p, q), and its cells: rows and columns that lie inside.
    #[inline(always)]
    pub(crate) fn window(&self, pool: &Pool, p: usize, q: usize) -> (f64, [Range<usize>; 2]) {
        let axis = |a: usize, o: usize, size: usize| {
            let start = (o * pool.stride[a]) as isize - pool.padding[a] as isize;
            let end = (start + pool.kernel[a] as isize).min((size + pool.padding[a]) as isize);
            let inside = start.max(0).unsigned_abs()..end.clamp(0, size as isize).unsigned_abs();
            ((end - start).max(0) as f64, inside)
        };
        let ((high, rows), (wide, columns)) = (axis(0, p, pool.h), axis(1, q, pool.w));
        let count = match (self.divisor_override, self.count_include_pad) {
            (Some(n), _) => n as f64,
            (None, true) => high * wide,
            (None, false) => (rows.len() * columns.len()) as f64,
        };
        (count, [rows, columns])
    }
}

/// `y[p,q] = (Σ of the window's cells inside) / divisor`, with PyTorch's divisor: the window's cells, cut at the
/// padded edge where padding counts and at the input's edge where not, or the one that is given. An empty window gives 0.
///
/// # Panics
/// When a slice is not as long as its shape says, or the window is dilated.
pub(crate) fn avg_pool2d<T: Float>(pool: &Pool, divisor: &Divisor, x: &[T], y: &mut [T]) {
    let (before, after, each) = (pool.input(), pool.output(), pool.each());
    assert_eq!([x.len(), y.len()], [before, after].map(|n| n * pool.planes), "{pool:?}");
    assert_eq!(pool.dilation, [1, 1], "the mean's window has no gaps");
    chunks_mut(y, each * after, |task, y| {
        let planes = task * each..task * each + y.len() / after;
        dispatch::<T>(Mean { pool, divisor, x: &x[planes.start * before..planes.end * before], y });
    });
}

struct Mean<'a, T> {
    pool: &'a Pool,
    divisor: &'a Divisor,
    x: &'a [T],
    y: &'a mut [T],
}

impl<T: Float> Kernel<T> for Mean<'_, T> {
    #[inline(always)]
    unsafe fn run<V: Lane<T>>(self) {
        let Mean { pool, divisor, x, y } = self;
        for (r, y) in y.chunks_exact_mut(pool.ow).enumerate() {
            let (plane, p) = (r / pool.oh, r % pool.oh);
            let x = &x[plane * pool.input()..][..pool.input()];
            if pool.halves() {
                let by = T::from_f64(divisor.window(pool, 0, 0).0);
                let (top, bottom) = x[2 * p * pool.w..2 * (p + 1) * pool.w].split_at(pool.w);
                let pairs = top.as_chunks::<2>().0.iter().zip(bottom.as_chunks::<2>().0);
                y.iter_mut().zip(pairs).for_each(|(y, ([a, b], [c, d]))| *y = (*a + *b + *c + *d) / by);
                continue;
            }
            for (q, y) in y.iter_mut().enumerate() {
                let (by, [rows, columns]) = divisor.window(pool, p, q);
                let mut sum = T::ZERO;
                if rows.is_empty() || columns.is_empty() {
                    *y = sum;
                    continue;
                }
                for i in rows {
                    x[i * pool.w..(i + 1) * pool.w][columns.clone()].iter().for_each(|x| sum += *x);
                }
                *y = sum / T::from_f64(by);
            }
        }
    }
}

/// `dx[i,j] = Σ g[p,q] / divisor` over the windows that see cell (i, j): the adjoint of [`avg_pool2d`].
///
/// # Panics
/// When a slice is not as long as its shape says, or the window is dilated.
pub(crate) fn avg_pool2d_backward<T: Float>(pool: &Pool, divisor: &Divisor, g: &[T], dx: &mut [T]) {
    let (before, after, each) = (pool.input(), pool.output(), pool.each());
    assert_eq!([g.len(), dx.len()], [after, before].map(|n| n * pool.planes), "{pool:?}");
    assert_eq!(pool.dilation, [1, 1], "the mean's window has no gaps");
    if after == 0 {
        return dx.fill(T::ZERO);
    }
    chunks_mut(dx, each * before, |task, dx| {
        let planes = task * each..task * each + dx.len() / before;
        dispatch::<T>(Spread { pool, divisor, g: &g[planes.start * after..planes.end * after], dx });
    });
}

struct Spread<'a, T> {
    pool: &'a Pool,
    divisor: &'a Divisor,
    g: &'a [T],
    dx: &'a mut [T],
}

impl<T: Float> Kernel<T> for Spread<'_, T> {
    #[inline(always)]
    unsafe fn run<V: Lane<T>>(self) {
        let Spread { pool, divisor, g, dx } = self;
        dx.fill(T::ZERO);
        for (plane, dx) in dx.chunks_exact_mut(pool.input()).enumerate() {
            let g = &g[plane * pool.output()..][..pool.output()];
            for (p, g) in g.chunks_exact(pool.ow).enumerate() {
                if pool.halves() {
                    let by = T::from_f64(divisor.window(pool, 0, 0).0);
                    for row in dx[2 * p * pool.w..2 * (p + 1) * pool.w].chunks_exact_mut(pool.w) {
                        row.as_chunks_mut::<2>()
                            .0
                            .iter_mut()
                            .zip(g)
                            .for_each(|(pair, g)| *pair = [*g / by; 2]);
                    }
                    continue;
                }
                for (q, g) in g.iter().enumerate() {
                    let (by, [rows, columns]) = divisor.window(pool, p, q);
                    if rows.is_empty() || columns.is_empty() {
                        continue;
                    }
                    let part = *g / T::from_f64(by);
                    for i in rows {
                        dx[i * pool.w..(i + 1) * pool.w][columns.clone()].iter_mut().for_each(|x| *x += part);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Draw(u64);
    impl Draw {
        fn of(&mut self, from: usize, to: usize) -> usize {
            self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            from + (self.0 >> 33) as usize % (to - from + 1)
        }
        fn pool(&mut self, dilated: bool) -> Pool {
            loop {
                let (h, w, kernel) = (self.of(1, 13), self.of(1, 21), [self.of(1, 4), self.of(1, 4)]);
                let stride = [self.of(1, 3), self.of(1, 3)];
                let padding = kernel.map(|k| self.of(0, k / 2));
                let dilation = [0; 2].map(|_| if dilated { self.of(1, 3) } else { 1 });
                let ceil = self.of(0, 1) == 1;
                // PyTorch's size: the last window starts inside the input or the padding before it.
                let out = |size: usize, a: usize| {
                    let room = (size + 2 * padding[a]).checked_sub(dilation[a] * (kernel[a] - 1) + 1)?;
                    let n = if ceil { room.div_ceil(stride[a]) } else { room / stride[a] } + 1;
                    Some(if ceil && (n - 1) * stride[a] >= size + padding[a] { n - 1 } else { n })
                };
                let (Some(oh), Some(ow)) = (out(h, 0), out(w, 1)) else { continue };
                return Pool { planes: self.of(1, 4), h, w, kernel, stride, padding, dilation, oh, ow };
            }
        }
    }

    const HALVES: Pool = Pool {
        planes: 3,
        h: 7,
        w: 37,
        kernel: [2, 2],
        stride: [2, 2],
        padding: [0, 0],
        dilation: [1, 1],
        oh: 3,
        ow: 18,
    };

    /// The specification: the cells that window (p, q) sees, as (offset in the window, place in the plane).
    fn window(pool: &Pool, p: usize, q: usize) -> Vec<(usize, usize)> {
        let mut seen = vec![];
        for (u, v) in (0..pool.kernel[0]).flat_map(|u| (0..pool.kernel[1]).map(move |v| (u, v))) {
            let i = (p * pool.stride[0] + u * pool.dilation[0]) as i64 - pool.padding[0] as i64;
            let j = (q * pool.stride[1] + v * pool.dilation[1]) as i64 - pool.padding[1] as i64;
            if (0..pool.h as i64).contains(&i) && (0..pool.w as i64).contains(&j) {
                seen.push((u * pool.kernel[1] + v, i as usize * pool.w + j as usize));
            }
        }
        seen
    }

    fn outputs(pool: &Pool) -> impl Iterator<Item = (usize, usize, usize)> + use<> {
        let Pool { planes, oh, ow, .. } = *pool;
        (0..planes).flat_map(move |n| (0..oh).flat_map(move |p| (0..ow).map(move |q| (n, p, q))))
    }

    fn max_naive<T: Ordered>(pool: &Pool, x: &[T]) -> (Vec<T>, Vec<usize>) {
        let windows = outputs(pool).map(|(n, p, q)| {
            let cells = window(pool, p, q);
            let value = |c: &(usize, usize)| x[n * pool.input() + c.1];
            let Some(first) = cells.first() else { return (T::LOWEST, 0) };
            let nan = cells.iter().rev().find(|c| value(c) != value(c));
            let best = cells.iter().fold(first, |a, b| if value(b) > value(a) { b } else { a });
            let won = nan.unwrap_or(best);
            (value(won), won.0)
        });
        windows.unzip()
    }

    fn verify_max<T: Ordered + std::fmt::Debug, I: Offset>(pool: &Pool, x: &[T]) {
        let n = pool.planes * pool.output();
        let (want, places) = max_naive(pool, x);
        let (mut y, mut at) = (vec![T::default(); n], vec![I::new(77); n]);
        max_pool2d(pool, x, &mut y, &mut at);
        assert_eq!(at.iter().map(|a| a.get()).collect::<Vec<_>>(), places, "{pool:?}");
        // Debug text, because NaN is not equal to itself.
        assert_eq!(format!("{y:?}"), format!("{want:?}"), "{pool:?}");
        let (g, t): (Vec<i64>, Vec<i64>) = ((1..=n as i64).collect(), (1..=x.len() as i64).collect());
        let (mut dx, mut want) = (vec![99i64; x.len()], vec![0i64; x.len()]);
        let (mut dy, mut pushed) = (vec![99i64; n], vec![0i64; n]);
        for (o, (plane, p, q)) in outputs(pool).enumerate() {
            if let Some((_, i)) = window(pool, p, q).into_iter().find(|c| c.0 == places[o]) {
                want[plane * pool.input() + i] += g[o];
                pushed[o] = t[plane * pool.input() + i];
            }
        }
        max_pool2d_scatter(pool, &g, &at, &mut dx);
        assert_eq!(dx, want, "{pool:?}");
        max_pool2d_gather(pool, &t, &at, &mut dy);
        assert_eq!(dy, pushed, "{pool:?}");
    }

    #[test]
    fn maxima_agree_with_the_naive_ones_ties_and_nan_too() {
        let mut draw = Draw(3);
        for i in 0..300 {
            let pool = if i % 10 == 0 { HALVES } else { draw.pool(true) };
            let n = pool.planes * pool.input();
            // Few different values, so that there are ties.
            let x: Vec<i64> = (0..n).map(|_| draw.of(0, 6) as i64 - 3).collect();
            verify_max::<i64, u8>(&pool, &x);
            verify_max::<i32, i32>(&pool, &x.iter().map(|x| *x as i32).collect::<Vec<_>>());
            verify_max::<u8, u8>(&pool, &x.iter().map(|x| (x + 3) as u8).collect::<Vec<_>>());
            let real = |x: &i64| {
                [f64::NEG_INFINITY, f64::NAN, -1.0, 0.0, 1.0, 1.0, f64::NEG_INFINITY][(x + 3) as usize]
            };
            let x: Vec<f64> = x.iter().map(real).collect();
            verify_max::<f64, u8>(&pool, &x);
            verify_max::<f32, i32>(&pool, &x.iter().map(|x| *x as f32).collect::<Vec<_>>());
        }
        let wide = Pool { planes: 1, h: 20, w: 20, kernel: [20, 20], oh: 1, ow: 1, ..HALVES };
        verify_max::<i64, i32>(&wide, &(0..400).collect::<Vec<_>>());
    }

    #[test]
    fn nothing_in_nothing_out() {
        let pool = Pool { planes: 2, h: 4, w: 4, oh: 2, ow: 0, ..HALVES };
        let (x, mut dx) = ([1.0f32; 32], [1.0f32; 32]);
        let divisor = Divisor { count_include_pad: true, divisor_override: None };
        max_pool2d::<_, u8>(&pool, &x, &mut [], &mut []);
        avg_pool2d(&pool, &divisor, &x, &mut []);
        max_pool2d_gather::<_, u8>(&pool, &x, &[], &mut []);
        max_pool2d_scatter::<_, u8>(&pool, &[], &[], &mut dx);
        assert_eq!(dx, [0.0; 32]);
        avg_pool2d_backward(&pool, &divisor, &[], &mut dx);
        let none = Pool { planes: 0, ..pool };
        max_pool2d::<f32, u8>(&none, &[], &mut [], &mut []);
        avg_pool2d_backward::<f32>(&none, &divisor, &[], &mut []);
    }

    #[test]
    #[should_panic(expected = "too narrow an index")]
    fn a_byte_is_refused_for_a_wide_window() {
        let pool = Pool { planes: 1, h: 20, w: 20, kernel: [20, 20], oh: 1, ow: 1, ..HALVES };
        max_pool2d(&pool, &[0.0f32; 400], &mut [0.0], &mut [0u8]);
    }

    #[test]
    fn means_agree_with_the_naive_ones() {
        let mut draw = Draw(4);
        for i in 0..300 {
            let pool = if i % 10 == 0 { HALVES } else { draw.pool(false) };
            let divisor = Divisor {
                count_include_pad: draw.of(0, 1) == 1,
                divisor_override: [None, Some(3), Some(-2)][draw.of(0, 2)],
            };
            let x: Vec<f64> =
                (0..pool.planes * pool.input()).map(|_| draw.of(0, 200) as f64 - 100.0).collect();
            let (mut want, mut dx) = (vec![], vec![0.0; x.len()]);
            let g: Vec<f64> =
                (0..pool.planes * pool.output()).map(|_| draw.of(0, 200) as f64 - 100.0).collect();
            for (o, (n, p, q)) in outputs(&pool).enumerate() {
                let seen = window(&pool, p, q);
                let top = |a: usize, o: usize, size: usize| {
                    let start = (o * pool.stride[a]) as i64 - pool.padding[a] as i64;
                    (start + pool.kernel[a] as i64).min((size + pool.padding[a]) as i64) - start
                };
                let whole = top(0, p, pool.h) * top(1, q, pool.w);
                let count = if divisor.count_include_pad { whole } else { seen.len() as i64 };
                let by = divisor.divisor_override.unwrap_or(count) as f64;
                let sum: f64 = seen.iter().map(|c| x[n * pool.input() + c.1]).sum();
                want.push(if seen.is_empty() { 0.0 } else { sum / by });
                seen.iter().for_each(|c| dx[n * pool.input() + c.1] += g[o] / by);
            }
            let (mut y, mut found) = (vec![f64::NAN; want.len()], vec![f64::NAN; dx.len()]);
            avg_pool2d(&pool, &divisor, &x, &mut y);
            avg_pool2d_backward(&pool, &divisor, &g, &mut found);
            for (f, w) in y.iter().chain(&found).zip(want.iter().chain(&dx)) {
                assert!((f - w).abs() < 1e-9, "{f}, not {w}: {pool:?} {divisor:?}");
            }
            let narrow: Vec<f32> = x.iter().map(|x| *x as f32).collect();
            let mut y = vec![f32::NAN; want.len()];
            avg_pool2d(&pool, &divisor, &narrow, &mut y);
            assert!(y.iter().zip(&want).all(|(f, w)| (f64::from(*f) - w).abs() < 1e-3));
        }
    }

    /// PyTorch: `avg_pool2d(arange(1, 10).view(1, 1, 3, 3), 2, stride=2, padding=1, ceil_mode=True)` and without the
    /// padding counted.
    #[test]
    fn divisors_at_a_rounded_up_edge_are_pytorchs() {
        let x: Vec<f64> = (1..=9).map(f64::from).collect();
        let pool = Pool { planes: 1, h: 3, w: 3, padding: [1, 1], oh: 2, ow: 2, ..HALVES };
        let mut y = [0.0; 4];
        let mut divisor = Divisor { count_include_pad: true, divisor_override: None };
        avg_pool2d(&pool, &divisor, &x, &mut y);
        assert_eq!(y, [0.25, 1.25, 2.75, 7.0]);
        divisor.count_include_pad = false;
        avg_pool2d(&pool, &divisor, &x, &mut y);
        assert_eq!(y, [1.0, 2.5, 5.5, 7.0]);
        // Width 4, window 3, stride 2: the second window hangs over the edge and counts what is there.
        let pool = Pool { kernel: [1, 3], h: 1, w: 4, stride: [1, 2], padding: [0, 0], oh: 1, ow: 2, ..pool };
        divisor.count_include_pad = true;
        avg_pool2d(&pool, &divisor, &x[..4], &mut y[..2]);
        assert_eq!(y[..2], [2.0, 3.5]);
    }

    #[test]
    fn any_number_of_threads_gives_the_same_bits() {
        let pool =
            Pool { planes: 300, h: 33, w: 31, kernel: [3, 3], padding: [1, 1], oh: 17, ow: 16, ..HALVES };
        assert!(pool.each() < 150);
        let x: Vec<f32> = (0..pool.planes * pool.input()).map(|i| ((i * 7919) % 1000) as f32 / 7.0).collect();
        let results = [1, 2, 3, 7].map(|threads| {
            rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(|| {
                let n = pool.planes * pool.output();
                let (mut y, mut at, mut dx) = (vec![0.0; n], vec![0u8; n], vec![0.0; x.len()]);
                max_pool2d(&pool, &x, &mut y, &mut at);
                max_pool2d_scatter(&pool, &y, &at, &mut dx);
                (y, at, dx)
            })
        });
        assert!(results.iter().all(|r| *r == results[0]));
    }
}
