//! Walking operands whose elements are not in a row: as few, as long runs as their strides allow.
#![allow(unsafe_code)]

use smallvec::SmallVec;

use super::{
    View,
    isa::{Loop, wide},
    lane::{Kernel, Lane, dispatch},
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

    /// The elements `from .. to` of the result, in pieces that lie within a row and have at most `most` elements.
    fn pieces(&self, from: usize, to: usize, most: usize) -> impl Iterator<Item = Piece<K>> {
        let mut at = from;
        std::iter::from_fn(move || {
            let (row, i) = (at / self.len, at % self.len);
            let n = most.min(self.len - i).min(to - at);
            let piece = Piece { start: self.start(row), i, n, at: at - from };
            at += n;
            (n > 0).then_some(piece)
        })
    }

    /// The most elements of a piece: what lies in a row needs no cut.
    fn most(&self) -> usize {
        if self.step == [1; K] { usize::MAX } else { RUN }
    }
}

/// Elements `i .. i + n` of a row whose operands start at `start`: the elements from `at` on of a task's result.
struct Piece<const K: usize> {
    start: [usize; K],
    i: usize,
    n: usize,
    at: usize,
}

/// Elements of an operand that does not lie in a row, which are brought together before they are worked on.
const RUN: usize = 256;

/// One operand, as runs without gaps.
struct Side<'a, T> {
    x: &'a [T],
    step: isize,
    run: SmallVec<[T; RUN]>,
}

impl<'a, T: Element> Side<'a, T> {
    fn new(x: &'a [T], step: isize) -> Self {
        Side { x, step, run: SmallVec::new() }
    }

    /// Elements `i .. i + n` of the row that starts at `start`.
    #[inline(always)]
    fn run(&mut self, start: usize, i: usize, n: usize) -> &[T] {
        let at = step_by(start, i, self.step);
        match self.step {
            1 => return &self.x[at..at + n],
            // One number for all the row: the first piece is the longest, or as long as any.
            0 if i > 0 && self.run.len() >= n => {}
            0 => {
                self.run.clear();
                self.run.resize(n, self.x[at]);
            }
            step => {
                self.run.clear();
                self.run.extend((0..n).map(|k| self.x[step_by(at, k, step)]));
            }
        }
        &self.run[..n]
    }
}

#[inline(always)]
fn step_by(base: usize, i: usize, by: isize) -> usize {
    (base as isize + i as isize * by) as usize
}

/// Elements of a task's result.
fn chunk(n: usize) -> usize {
    if n < SPLIT { n.max(1) } else { SPLIT / 2 }
}

/// `f(y[i], x[i])`.
pub(crate) fn update<T: Element, U: Send>(x: &View<'_>, y: &mut [U], f: impl Fn(&mut U, T) + Sync) {
    runs(x, y, &|x: &[T], y: &mut [U]| wide(Update { x, y, f: &f }));
}

/// What is done to runs without gaps, behind a pointer: the walk over operands is compiled once for their types and
/// not for every function. (A `dyn Fn` has the function twice.)
trait OnRuns<X, U>: Sync {
    fn run(&self, x: X, y: &mut [U]);
}
impl<X, U, F: Fn(X, &mut [U]) + Sync> OnRuns<X, U> for F {
    fn run(&self, x: X, y: &mut [U]) {
        self(x, y)
    }
}

fn runs<T: Element, U: Send>(x: &View<'_>, y: &mut [U], f: &dyn for<'a> OnRuns<&'a [T], U>) {
    let (all, chunk) = (x.memory::<T>(), chunk(y.len()));
    if x.layout.is_packed() {
        let x = x.packed::<T>();
        return threads::chunks_mut(y, chunk, |c, y| f.run(&x[c * chunk..][..y.len()], y));
    }
    let rows = Rows::new([x.layout]);
    threads::chunks_mut(y, chunk, |c, y| {
        let mut x = Side::new(all, rows.step[0]);
        for Piece { start: [a], i, n, at } in rows.pieces(c * chunk, c * chunk + y.len(), rows.most()) {
            f.run(x.run(a, i, n), &mut y[at..at + n]);
        }
    });
}

/// `f(y[i], x[i])`, without gaps.
struct Update<'a, T, U, F> {
    x: &'a [T],
    y: &'a mut [U],
    f: &'a F,
}

impl<T: Copy, U, F: Fn(&mut U, T)> Loop for Update<'_, T, U, F> {
    #[inline(always)]
    fn run(self) {
        self.x.iter().zip(self.y).for_each(|(x, y)| (self.f)(y, *x));
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

/// `y[i] = f(a[i], b[i], c[i])`, without gaps.
struct Zip3<'a, A, B, C, U, F> {
    x: (&'a [A], &'a [B], &'a [C]),
    y: &'a mut [U],
    f: &'a F,
}

impl<A: Copy, B: Copy, C: Copy, U, F: Fn(A, B, C) -> U> Loop for Zip3<'_, A, B, C, U, F> {
    #[inline(always)]
    fn run(self) {
        let (a, b, c) = self.x;
        a.iter().zip(b).zip(c).zip(self.y).for_each(|(((a, b), c), y)| *y = (self.f)(*a, *b, *c));
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
    zip_runs(a, b, y, &|(a, b): (&[A], &[B]), y: &mut [U]| wide(Zip { a, b, y, f: &f }));
}

fn zip_runs<A: Element, B: Element, U: Send>(
    a: &View<'_>,
    b: &View<'_>,
    y: &mut [U],
    f: &dyn for<'a> OnRuns<(&'a [A], &'a [B]), U>,
) {
    let (av, bv) = (a.memory::<A>(), b.memory::<B>());
    if let ([], []) = (&a.layout.shape[..], &b.layout.shape[..]) {
        return f.run((&av[a.layout.offset..][..1], &bv[b.layout.offset..][..1]), &mut y[..1]);
    }
    let (rows, chunk) = (Rows::new([a.layout, b.layout]), chunk(y.len()));
    threads::chunks_mut(y, chunk, |c, y| {
        let (mut a, mut b) = (Side::new(av, rows.step[0]), Side::new(bv, rows.step[1]));
        for Piece { start, i, n, at } in rows.pieces(c * chunk, c * chunk + y.len(), rows.most()) {
            f.run((a.run(start[0], i, n), b.run(start[1], i, n)), &mut y[at..at + n]);
        }
    });
}

/// `y[i] = f(a[i], b[i], c[i])`.
pub(crate) fn zip3<A: Element, B: Element, C: Element, U: Send>(
    x: [&View<'_>; 3],
    y: &mut [U],
    f: impl Fn(A, B, C) -> U + Sync,
) {
    zip3_runs(x, y, &|x: (&[A], &[B], &[C]), y: &mut [U]| wide(Zip3 { x, y, f: &f }));
}

/// Runs of three operands.
type Three<'a, A, B, C> = (&'a [A], &'a [B], &'a [C]);

fn zip3_runs<A: Element, B: Element, C: Element, U: Send>(
    x: [&View<'_>; 3],
    y: &mut [U],
    f: &dyn for<'a> OnRuns<Three<'a, A, B, C>, U>,
) {
    let (av, bv, cv) = (x[0].memory::<A>(), x[1].memory::<B>(), x[2].memory::<C>());
    let (rows, chunk) = (Rows::new(x.map(|x| x.layout)), chunk(y.len()));
    threads::chunks_mut(y, chunk, |t, y| {
        let [s, r, q] = rows.step;
        let (mut a, mut b, mut c) = (Side::new(av, s), Side::new(bv, r), Side::new(cv, q));
        for Piece { start, i, n, at } in rows.pieces(t * chunk, t * chunk + y.len(), rows.most()) {
            let x = (a.run(start[0], i, n), b.run(start[1], i, n), c.run(start[2], i, n));
            f.run(x, &mut y[at..at + n]);
        }
    });
}

/// `y = x`, in row-major order.
pub(crate) fn copy<T: Element>(x: &View<'_>, y: &mut [T]) {
    let rows = Rows::new([x.layout]);
    // Neighbours in memory that are not neighbours in the result: squares of both go through the cache together.
    let near = rows.outer.iter().position(|(n, [s])| *s == 1 && *n >= SQUARE);
    match near {
        Some(axis) if rows.step[0] != 1 && rows.len >= SQUARE => transposed(&rows, axis, x.memory(), y),
        _ => map(x, y, |x: T| x),
    }
}

/// Side of the squares of a transposed copy.
const SQUARE: usize = 16;
/// Neighbours that one task moves.
const STRIP: usize = 64;

/// [`copy`] where neighbours in memory lie along outer axis `axis`.
fn transposed<T: Element>(rows: &Rows<1>, axis: usize, x: &[T], y: &mut [T]) {
    let Rows { len, step: [step], outer, .. } = rows;
    let ((high, _), behind) = (outer[axis], outer[axis + 1..].iter().map(|a| a.0).product::<usize>());
    let (strips, others) = (high.div_ceil(STRIP), rows.rows / high);
    let parts = threads::Parts::new(y);
    let task = |task: usize| {
        let (other, strip) = (task / strips, task % strips * STRIP);
        // The first row of the strip, and from one of its rows to the next in the result.
        let row = (other / behind * high + strip) * behind + other % behind;
        let ([from], jump, high) = (rows.start(row), behind * len, STRIP.min(high - strip));
        for j in (0..*len).step_by(SQUARE) {
            let wide = SQUARE.min(len - j);
            for i in (0..high).step_by(SQUARE) {
                let (at, square) = (step_by(from, j, *step) + i, [SQUARE.min(high - i), wide]);
                let to = (row * len + j) + i * jump;
                // SAFETY: rows of the strip belong to this task alone.
                unsafe { move_square(square, x, (at, *step), &parts, (to, jump)) };
            }
        }
    };
    if rows.rows * len < SPLIT {
        (0..others * strips).for_each(task)
    } else {
        threads::parallel(others * strips, task)
    }
}

/// `y[to + i·jump + j] = x[at + i + j·step]` for `i`, `j` below the sides.
///
/// # Safety
/// Nothing else reads or writes these elements of `y`.
unsafe fn move_square<T: Element>(
    [high, wide]: [usize; 2],
    x: &[T],
    (at, step): (usize, isize),
    y: &threads::Parts<'_, T>,
    (to, jump): (usize, usize),
) {
    // Elements of the size of real numbers that registers hold, whatever they stand for.
    if [high, wide] == [SQUARE; 2] && size_of::<T>() == size_of::<f32>() {
        let from = std::array::from_fn(|j| x[step_by(at, j, step)..][..SQUARE].as_ptr().cast());
        // `at` looks at the end of every run.
        let to = std::array::from_fn(|i| y.at(to + i * jump + SQUARE).wrapping_sub(SQUARE).cast());
        return dispatch::<f32>(Square { from, to });
    }
    for i in 0..high {
        // SAFETY: the caller's.
        let y = unsafe { y.slice(to + i * jump..to + i * jump + wide) };
        y.iter_mut().enumerate().for_each(|(j, y)| *y = x[step_by(at, j, step) + i]);
    }
}

/// Sixteen runs of sixteen, transposed.
struct Square {
    from: [*const f32; SQUARE],
    to: [*mut f32; SQUARE],
}

impl Kernel<f32> for Square {
    #[inline(always)]
    unsafe fn run<V: Lane<f32>>(self) {
        // SAFETY: the caller's instruction set; the maker's pointers are good for sixteen elements each.
        unsafe { V::transpose(&self.from, SQUARE, &self.to, SQUARE) }
    }
}

#[cfg(test)]
mod tests {
    use crate::device::cpu::lane::on_every_isa;
    use crate::{DType, Tensor};

    #[test]
    fn transposed_copies_move_every_element_of_every_type() {
        for (shape, order) in [
            (vec![40, 37], vec![1, 0]),
            (vec![3, 21, 5, 18], vec![0, 2, 3, 1]),
            (vec![2, 17, 16, 33], vec![3, 1, 0, 2]),
            (vec![300, 300], vec![1, 0]),
        ] {
            let n: usize = shape.iter().product();
            for dtype in [DType::F32, DType::F64, DType::I32, DType::I64, DType::U8] {
                let x = Tensor::from_vec((0..n as i64).collect::<Vec<_>>(), &shape[..]).cast(dtype);
                let x = x.permute(&order).narrow(0, 1, shape[order[0]] - 1);
                on_every_isa(|| {
                    let y = x.contiguous();
                    assert_eq!(y.to_vec::<f64>(), x.to_vec::<f64>(), "{shape:?} {order:?} {dtype}");
                });
            }
        }
    }
}
