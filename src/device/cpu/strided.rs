//! Walking operands whose elements are not in a row: as few, as long runs as their strides allow.

use smallvec::SmallVec;

use super::{
    View,
    isa::{Loop, wide},
    threads,
};
use crate::tensor::{Element, Layout};

/// Elements below which work is not split over threads (about 20 µs of a cheap function).
const SPLIT: usize = 1 << 16;

/// `K` operands of one shape as `rows` runs of `len` elements each.
pub(crate) struct Rows<const K: usize> {
    pub(crate) len: usize,
    pub(crate) rows: usize,
    pub(crate) step: [isize; K],
    outer: SmallVec<[(usize, [isize; K]); 4]>,
    offset: [isize; K],
}

impl<const K: usize> Rows<K> {
    pub(crate) fn new(layouts: [&Layout; K]) -> Self {
        // Neighbouring axes merge where every operand's strides allow it.
        let mut axes: SmallVec<[(usize, [isize; K]); 4]> = SmallVec::new();
        for (a, &size) in layouts[0].shape.iter().enumerate() {
            let strides = layouts.map(|l| l.strides()[a]);
            if size == 1 {
                continue;
            }
            match axes.last_mut() {
                Some((n, outer)) if (0..K).all(|k| outer[k] == strides[k] * size as isize) => {
                    *n *= size;
                    *outer = strides;
                }
                _ => axes.push((size, strides)),
            }
        }
        let (len, step) = axes.pop().unwrap_or((1, [0; K]));
        let rows = axes.iter().map(|a| a.0).product();
        Rows { len, rows, step, outer: axes, offset: layouts.map(|l| l.offset as isize) }
    }

    /// Where row `row` of each operand starts.
    pub(crate) fn start(&self, mut row: usize) -> [usize; K] {
        let mut at = self.offset;
        for (size, strides) in self.outer.iter().rev() {
            let i = (row % size) as isize;
            row /= size;
            (0..K).for_each(|k| at[k] += i * strides[k]);
        }
        at.map(|o| o as usize)
    }

    /// `f(first element, its rows)` over blocks of rows, in parallel when there is enough work.
    fn blocks<U: Send>(&self, y: &mut [U], f: impl Fn(usize, &mut [U]) + Sync) {
        if self.len == 0 || y.is_empty() {
            return;
        }
        let rows = if y.len() < SPLIT { self.rows } else { (SPLIT / 2).div_ceil(self.len) };
        threads::chunks_mut(y, rows * self.len, |i, chunk| {
            chunk.chunks_mut(self.len).enumerate().for_each(|(j, row)| f(i * rows + j, row));
        });
    }
}

#[inline(always)]
fn step(base: usize, i: usize, by: isize) -> usize {
    (base as isize + i as isize * by) as usize
}

/// `f(y[i], x[i])`.
pub(crate) fn update<T: Element, U: Send>(x: &View<'_>, y: &mut [U], f: impl Fn(&mut U, T) + Sync) {
    let all = x.memory::<T>();
    if x.layout.is_packed() {
        let x = x.packed::<T>();
        let chunk = if y.len() < SPLIT { y.len().max(1) } else { SPLIT / 2 };
        return threads::chunks_mut(y, chunk, |i, y| {
            x[i * chunk..].iter().zip(y).for_each(|(x, y)| f(y, *x));
        });
    }
    let rows = Rows::new([x.layout]);
    rows.blocks(y, |r, y| {
        let [at] = rows.start(r);
        match rows.step {
            [1] => all[at..].iter().zip(y).for_each(|(x, y)| f(y, *x)),
            [s] => y.iter_mut().enumerate().for_each(|(i, y)| f(y, all[step(at, i, s)])),
        }
    });
}

/// `y[i] = f(x[i])`, without gaps.
struct Map<'a, T, U, F> {
    x: &'a [T],
    y: &'a mut [U],
    f: &'a F,
}

impl<T: Copy, U, F: Fn(T) -> U> Loop for Map<'_, T, U, F> {
    #[inline(always)]
    fn run(self) {
        self.x.iter().zip(self.y).for_each(|(x, y)| *y = (self.f)(*x));
    }
}

/// `y[i] = f(a[i], b[i])`, without gaps.
struct Zip<'a, A, B, U, F> {
    a: &'a [A],
    b: &'a [B],
    y: &'a mut [U],
    f: &'a F,
}

impl<A: Copy, B: Copy, U, F: Fn(A, B) -> U> Loop for Zip<'_, A, B, U, F> {
    #[inline(always)]
    fn run(self) {
        self.a.iter().zip(self.b).zip(self.y).for_each(|((a, b), y)| *y = (self.f)(*a, *b));
    }
}

/// `y[i] += x[i]`, in place.
pub(crate) struct Add<'a, T, F> {
    pub(crate) x: &'a [T],
    pub(crate) y: &'a mut [T],
    pub(crate) plus: F,
}

impl<T: Copy, F: Fn(T, T) -> T> Loop for Add<'_, T, F> {
    #[inline(always)]
    fn run(self) {
        self.y.iter_mut().zip(self.x).for_each(|(y, x)| *y = (self.plus)(*y, *x));
    }
}

/// `y[i] = f(x[i])`.
pub(crate) fn map<T: Element, U: Send>(x: &View<'_>, y: &mut [U], f: impl Fn(T) -> U + Sync) {
    update(x, y, |y, x| *y = f(x))
}

/// `y[i] = f(a[i], b[i])`.
pub(crate) fn zip<A: Element, B: Element, U: Send>(
    a: &View<'_>,
    b: &View<'_>,
    y: &mut [U],
    f: impl Fn(A, B) -> U + Sync,
) {
    let (av, bv) = (a.memory::<A>(), b.memory::<B>());
    if let ([], []) = (&a.layout.shape[..], &b.layout.shape[..]) {
        y[0] = f(av[a.layout.offset], bv[b.layout.offset]);
        return;
    }
    let rows = Rows::new([a.layout, b.layout]);
    let row = |i: usize, j: usize, y: &mut [U]| match rows.step {
        [1, 1] => wide(Zip { a: &av[i..], b: &bv[j..], y, f: &f }),
        [1, 0] => {
            let b = bv[j];
            wide(Map { x: &av[i..], y, f: &|a| f(a, b) })
        }
        [0, 1] => {
            let a = av[i];
            wide(Map { x: &bv[j..], y, f: &|b| f(a, b) })
        }
        [s, t] => y.iter_mut().enumerate().for_each(|(k, y)| *y = f(av[step(i, k, s)], bv[step(j, k, t)])),
    };
    if rows.rows == 1 && y.len() >= SPLIT {
        // One long run: cut it anywhere.
        let ([i, j], [s, t]) = (rows.start(0), rows.step);
        let chunk = SPLIT / 2;
        return threads::chunks_mut(y, chunk, |c, y| row(step(i, c * chunk, s), step(j, c * chunk, t), y));
    }
    rows.blocks(y, |r, y| {
        let [i, j] = rows.start(r);
        row(i, j, y)
    });
}

/// `y[i] = f(a[i], b[i], c[i])`.
pub(crate) fn zip3<A: Element, B: Element, C: Element, U: Send>(
    [a, b, c]: [&View<'_>; 3],
    y: &mut [U],
    f: impl Fn(A, B, C) -> U + Sync,
) {
    let (av, bv, cv) = (a.memory::<A>(), b.memory::<B>(), c.memory::<C>());
    let rows = Rows::new([a.layout, b.layout, c.layout]);
    rows.blocks(y, |r, y| {
        let ([i, j, k], [s, t, u]) = (rows.start(r), rows.step);
        y.iter_mut().enumerate().for_each(|(n, y)| {
            *y = f(av[step(i, n, s)], bv[step(j, n, t)], cv[step(k, n, u)]);
        });
    });
}

/// `y = x`, in row-major order.
pub(crate) fn copy<T: Element>(x: &View<'_>, y: &mut [T]) {
    map(x, y, |x: T| x)
}
