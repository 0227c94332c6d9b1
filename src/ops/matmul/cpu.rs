//! `C = A·B` on the processor: real numbers by packed tiles, vectors and tiny products through loops of our own,
//! integers through a plain loop that wraps.
//!
//! Every element is one chain over slices of at most 512 of the inner size, however the output is cut into tiles: the
//! bits do not depend on the number of threads, and the tiles may.
#![allow(unsafe_code)]
// Tiles of registers are indexed as the formulas are.
#![allow(clippy::needless_range_loop)]

use crate::device::cpu::{
    float::Float,
    gemm::{SLICE, gemm},
    lane::{Kernel, Lane, dispatch},
    threads::{Parts, hands, parallel, share},
};

/// Multiply-adds that are worth a task of their own (about 20 µs).
const TASK: usize = 1 << 20;
/// The most tasks of one call, and the most tiles of one product.
const TASKS: usize = 256;
/// Multiply-adds below which a loop beats the packing of a matrix product.
const TINY: usize = 256;

/// A matrix, or a stack of them, somewhere in `data`: element (i, j) of matrix b lies at
/// `offset + Σ b·batch stride + i·row + j·column`. Strides may be zero (broadcast) or negative.
#[derive(Clone, Copy)]
pub(crate) struct Operand<'a, T> {
    /// The memory that it is a view of.
    pub(crate) data: &'a [T],
    /// Where element (0, 0) of the first matrix lies.
    pub(crate) offset: usize,
    /// From one row to the next.
    pub(crate) row: isize,
    /// From one column to the next.
    pub(crate) column: isize,
}

/// A batch axis: its size, and the strides of `A` and `B` along it (zero where an operand is broadcast).
pub(crate) type Axis = (usize, [isize; 2]);

impl<T> Operand<'_, T> {
    /// Everything that the strides reach lies in `data`.
    fn check(&self, rows: usize, columns: usize, batch: &[Axis], which: usize) {
        let (mut low, mut high) = (self.offset as i128, self.offset as i128);
        let axes = batch.iter().map(|(n, strides)| (*n, strides[which]));
        for (n, stride) in axes.chain([(rows, self.row), (columns, self.column)]) {
            let reach = (n as i128 - 1) * stride as i128;
            (low, high) = (low + reach.min(0), high + reach.max(0));
        }
        assert!(
            low >= 0 && high < self.data.len() as i128,
            "a matrix at {low}..={high} of {} elements",
            self.data.len()
        );
    }
}

/// `C[…, i, j] = Σ_l A[…, i, l] · B[…, l, j]` for `A[…, m, k]`, `B[…, k, n]`; `C` is packed.
///
/// # Panics
/// When a view leaves its memory or `c` has another size.
pub(crate) fn matmul<T: Float>(size: [usize; 3], a: Operand<T>, b: Operand<T>, batch: &[Axis], c: &mut [T]) {
    let ([m, k, n], _) = merged(size, &a, batch);
    let small = m == 1 || n == 1 || m * n * k <= TINY;
    stacked(size, a, b, batch, c, T::ZERO, |size, a, b, c| {
        if small {
            return dispatch::<T>(Small { size, a, b, c });
        }
        // SAFETY: `stacked` has looked at all that the strides reach, and gives each tile to one task.
        unsafe { tile(size, a, b, c) }
    });
}

/// [`matmul`] of integers: sums and products wrap.
///
/// # Panics
/// When a view leaves its memory or `c` has another size.
pub(crate) fn matmul_integer<T: Integer>(
    size: [usize; 3],
    a: Operand<T>,
    b: Operand<T>,
    batch: &[Axis],
    c: &mut [T],
) {
    stacked(size, a, b, batch, c, T::default(), |size, a, b, c| {
        // SAFETY: `stacked` has looked at all that the strides reach, and gives each tile to one task.
        unsafe { integer_tile(size, a, b, c) }
    });
}

/// A matrix in memory: address, row stride, column stride.
type At<T> = (*const T, [isize; 2]);
/// A tile of the result: address and row stride; its columns lie side by side.
type Tile<T> = (*mut T, isize);

/// One matrix B for a whole axis of A: its matrices stand below each other, and are one.
fn merged<'a, T>(
    [mut m, k, n]: [usize; 3],
    a: &Operand<T>,
    mut batch: &'a [Axis],
) -> ([usize; 3], &'a [Axis]) {
    while let Some(((size, [below, 0]), rest)) = batch.split_last()
        && *below == m as isize * a.row
    {
        (m, batch) = (m * size, rest);
    }
    ([m, k, n], batch)
}

/// Cut a stack of products into tiles, and hand the tiles to tasks.
fn stacked<T: Copy + Send + Sync>(
    [m, k, n]: [usize; 3],
    a: Operand<T>,
    b: Operand<T>,
    batch: &[Axis],
    c: &mut [T],
    zero: T,
    tile: impl Fn([usize; 3], At<T>, At<T>, Tile<T>) + Sync,
) {
    let count = |batch: &[Axis]| batch.iter().map(|a| a.0).product::<usize>();
    assert_eq!(c.len(), count(batch) * m * n, "elements of the result");
    if c.is_empty() {
        return;
    }
    if k == 0 {
        return c.fill(zero);
    }
    a.check(m, k, batch, 0);
    b.check(k, n, batch, 1);
    let ([m, ..], batch) = merged([m, k, n], &a, batch);
    let products = count(batch);
    let [high, wide] = tiles(m, k, n);
    let (rows, columns) =
        (m.div_ceil(high).next_multiple_of(16).min(m), n.div_ceil(wide).next_multiple_of(16).min(n));
    let (high, wide) = (m.div_ceil(rows), n.div_ceil(columns));
    let items = products * high * wide;
    let tasks = (products * m * n * k / TASK).clamp(1, TASKS).min(items);
    let c = Parts::new(c);
    parallel(tasks, |task| {
        for item in share(items, tasks, task) {
            let (product, i, j) = (item / (high * wide), item / wide % high * rows, item % wide * columns);
            let mut at = [a.offset as isize + i as isize * a.row, b.offset as isize + j as isize * b.column];
            let mut rest = product;
            for (size, strides) in batch.iter().rev() {
                let index = (rest % size) as isize;
                rest /= size;
                (0..2).for_each(|o| at[o] += index * strides[o]);
            }
            tile(
                [rows.min(m - i), k, columns.min(n - j)],
                (a.data.as_ptr().wrapping_offset(at[0]), [a.row, a.column]),
                (b.data.as_ptr().wrapping_offset(at[1]), [b.row, b.column]),
                (c.at((product * m + i) * n + j), n as isize),
            );
        }
    });
}

/// How many tiles high and wide a product is cut: at most one for every [`TASK`] and two for every thread, the longer
/// side first. Every tile packs its rows and columns anew, so beyond four they keep a side of 128.
fn tiles(m: usize, k: usize, n: usize) -> [usize; 2] {
    let threads = hands();
    let wanted = (m * n * k / TASK).min(threads * threads.min(2));
    let (mut high, mut wide) = (1, 1);
    while 2 * high * wide <= wanted {
        let side = (m / high).max(n / wide) / 2;
        if side < if high * wide < 4 { 32 } else { 128 } {
            break;
        }
        if n / wide >= m / high { wide *= 2 } else { high *= 2 }
    }
    [high, wide]
}

/// # Safety
/// All that the strides reach can be read, and the tile of `C` is this task's alone.
unsafe fn tile<T: Float>([m, k, n]: [usize; 3], a: At<T>, b: At<T>, c: Tile<T>) {
    for start in (0..k).step_by(SLICE) {
        let (ka, kb) = (start as isize * a.1[1], start as isize * b.1[0]);
        let (a, b) = ((a.0.wrapping_offset(ka), a.1[0], a.1[1]), (b.0.wrapping_offset(kb), b.1[0], b.1[1]));
        // SAFETY: the caller's.
        unsafe {
            gemm([m, SLICE.min(k - start), n], a, b, (c.0, c.1, 1), (start > 0).then_some((c.0, c.1, 1)))
        };
    }
}

/// A product without packing.
struct Small<T> {
    size: [usize; 3],
    a: At<T>,
    b: At<T>,
    c: Tile<T>,
}

impl<T: Float> Kernel<T> for Small<T> {
    #[inline(always)]
    unsafe fn run<V: Lane<T>>(self) {
        let ([m, k, n], (a, [ar, ac]), (b, [br, bc]), (c, cr)) = (self.size, self.a, self.b, self.c);
        let at = |p: *const T, i: usize, by: isize| p.wrapping_offset(i as isize * by);
        // SAFETY: the task's matrices, as `tile`'s caller promises.
        unsafe {
            if k == 1 || (n > 1 && bc == 1) {
                // Rows of B are added up.
                (0..m).for_each(|i| {
                    sum_of_rows::<T, V>([k, n], at(a, i, ar), ac, b, [br, bc], c.offset(i as isize * cr))
                });
            } else if m > 1 && ar == 1 && n == 1 && cr == 1 {
                // Columns of A are.
                sum_of_rows::<T, V>([k, m], b, br, a, [ac, ar], c);
            } else {
                for (i, j) in (0..m).flat_map(|i| (0..n).map(move |j| (i, j))) {
                    let y = c.offset(i as isize * cr + j as isize);
                    *y = dot::<T, V>(k, at(a, i, ar), ac, at(b, j, bc), br);
                }
            }
        }
    }
}

/// `y[j] = Σ_l x[l] · B[l, j]` for `B[k, n]`.
#[inline(always)]
unsafe fn sum_of_rows<T: Float, V: Lane<T>>(
    [k, n]: [usize; 2],
    x: *const T,
    step: isize,
    b: *const T,
    [row, column]: [isize; 2],
    y: *mut T,
) {
    const WIDE: usize = 4;
    let at = |l: usize, j: usize| b.wrapping_offset(l as isize * row + j as isize * column);
    let mut j = 0;
    // SAFETY: the caller's matrices; columns j.. of so many registers are below n.
    unsafe {
        if column == 1 {
            while j + WIDE * V::N <= n {
                let mut sum = [V::zero(); WIDE];
                for l in 0..k {
                    let x = V::splat(*x.offset(l as isize * step));
                    for r in 0..WIDE {
                        sum[r] = V::load(at(l, j + r * V::N)).mul_add(x, sum[r]);
                    }
                }
                for r in 0..WIDE {
                    sum[r].store(y.add(j + r * V::N));
                }
                j += WIDE * V::N;
            }
            while j + V::N <= n {
                let mut sum = V::zero();
                for l in 0..k {
                    sum = V::load(at(l, j)).mul_add(V::splat(*x.offset(l as isize * step)), sum);
                }
                sum.store(y.add(j));
                j += V::N;
            }
        }
        for j in j..n {
            let mut sum = T::ZERO;
            for l in 0..k {
                sum += *x.offset(l as isize * step) * *at(l, j);
            }
            *y.add(j) = sum;
        }
    }
}

/// `Σ_l x[l] · y[l]`: four registers of sums where both lie side by side, added pairwise at the end.
#[inline(always)]
unsafe fn dot<T: Float, V: Lane<T>>(k: usize, x: *const T, xs: isize, y: *const T, ys: isize) -> T {
    let (mut l, mut total) = (0, T::ZERO);
    // SAFETY: the caller's vectors; elements l.. of so many registers are below k.
    unsafe {
        if xs == 1 && ys == 1 && k >= V::N {
            let mut sum = [V::zero(); 4];
            while l + 4 * V::N <= k {
                for r in 0..4 {
                    sum[r] = V::load(x.add(l + r * V::N)).mul_add(V::load(y.add(l + r * V::N)), sum[r]);
                }
                l += 4 * V::N;
            }
            while l + V::N <= k {
                sum[0] = V::load(x.add(l)).mul_add(V::load(y.add(l)), sum[0]);
                l += V::N;
            }
            let mut lanes = [T::ZERO; 16];
            sum[0].add(sum[1]).add(sum[2].add(sum[3])).store(lanes.as_mut_ptr());
            let mut width = V::N;
            while width > 1 {
                width /= 2;
                for i in 0..width {
                    lanes[i] += lanes[i + width];
                }
            }
            total = lanes[0];
        }
        for l in l..k {
            total += *x.offset(l as isize * xs) * *y.offset(l as isize * ys);
        }
    }
    total
}

/// An integer whose sums and products wrap.
pub(crate) trait Integer: Copy + Default + Send + Sync + 'static {
    /// `self + x·y`, modulo 2ᵇⁱᵗˢ.
    fn add_product(self, x: Self, y: Self) -> Self;
}

macro_rules! integers {
    ($($t:ty)*) => {$(
        impl Integer for $t {
            #[inline(always)]
            fn add_product(self, x: Self, y: Self) -> Self {
                self.wrapping_add(x.wrapping_mul(y))
            }
        }
    )*};
}
integers!(u8 i32 i64);

/// Rows of `B` times one element of `A` each, a strip of columns at a time so that the strip stays in the cache.
///
/// # Safety
/// All that the strides reach can be read, and the tile of `C` is this task's alone.
unsafe fn integer_tile<T: Integer>(
    [m, k, n]: [usize; 3],
    (a, [ar, ac]): At<T>,
    (b, [br, bc]): At<T>,
    (c, cr): Tile<T>,
) {
    const STRIP: usize = 256;
    for (start, i) in (0..n).step_by(STRIP).flat_map(|j| (0..m).map(move |i| (j, i))) {
        let width = STRIP.min(n - start);
        // SAFETY: the row's strip lies in the tile.
        let c = unsafe { std::slice::from_raw_parts_mut(c.offset(i as isize * cr).add(start), width) };
        c.fill(T::default());
        for l in 0..k {
            // SAFETY: element (i, l) of A.
            let x = unsafe { *a.wrapping_offset(i as isize * ar + l as isize * ac) };
            let row = b.wrapping_offset(l as isize * br + start as isize * bc);
            if bc == 1 {
                // SAFETY: so many columns of row l of B lie side by side.
                let row = unsafe { std::slice::from_raw_parts(row, width) };
                c.iter_mut().zip(row).for_each(|(c, b)| *c = c.add_product(x, *b));
            } else {
                for (j, c) in c.iter_mut().enumerate() {
                    // SAFETY: element (l, start + j) of B.
                    *c = c.add_product(x, unsafe { *row.wrapping_offset(j as isize * bc) });
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A view of `[…, rows, columns]` in a random layout: transposed, stepped, reversed or broadcast.
    struct Stack {
        offset: usize,
        strides: [isize; 2],
        batch: Vec<isize>,
        len: usize,
    }

    struct Draw(u64);
    impl Draw {
        fn of(&mut self, from: usize, to: usize) -> usize {
            self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            from + (self.0 >> 33) as usize % (to - from + 1)
        }
        fn stack(&mut self, rows: usize, columns: usize, batch: &[usize]) -> Stack {
            let (mut offset, mut len) = (self.of(0, 3), 1);
            let mut stride = |draw: &mut Self, n: usize, broadcast: bool| {
                if broadcast && draw.of(0, 2) == 0 {
                    return 0;
                }
                let step = len * if draw.of(0, 3) == 0 { 2 } else { 1 };
                len = step * n;
                if draw.of(0, 5) == 0 {
                    offset += step * (n - 1);
                    -(step as isize)
                } else {
                    step as isize
                }
            };
            let strides = if self.of(0, 1) == 0 {
                let column = stride(self, columns, false);
                [stride(self, rows, false), column]
            } else {
                let row = stride(self, rows, false);
                [row, stride(self, columns, false)]
            };
            let mut batch: Vec<_> = batch.iter().rev().map(|n| stride(self, *n, true)).collect();
            batch.reverse();
            Stack { offset, strides, batch, len: len + 3 }
        }
    }

    /// The specification: `f(element of C, of A, of B)` for every product of the sum.
    fn naive(
        [m, k, n]: [usize; 3],
        batch: &[Axis],
        a: &Stack,
        b: &Stack,
        mut f: impl FnMut(usize, usize, usize),
    ) {
        let products: usize = batch.iter().map(|a| a.0).product();
        for product in 0..products {
            let (mut rest, mut at) = (product, [a.offset as isize, b.offset as isize]);
            for (size, strides) in batch.iter().rev() {
                (0..2).for_each(|o| at[o] += (rest % size) as isize * strides[o]);
                rest /= size;
            }
            for (i, j) in (0..m).flat_map(|i| (0..n).map(move |j| (i, j))) {
                for l in 0..k {
                    let a = at[0] + i as isize * a.strides[0] + l as isize * a.strides[1];
                    let b = at[1] + l as isize * b.strides[0] + j as isize * b.strides[1];
                    f((product * m + i) * n + j, a as usize, b as usize);
                }
            }
        }
    }

    fn operand<'a, T>(data: &'a [T], s: &Stack) -> Operand<'a, T> {
        Operand { data, offset: s.offset, row: s.strides[0], column: s.strides[1] }
    }

    fn reals<T: Float>(draw: &mut Draw, n: usize) -> Vec<T> {
        (0..n).map(|_| T::from_f64(draw.of(0, 2000) as f64 / 1000.0 - 1.0)).collect()
    }

    fn verify<T: Float>(draw: &mut Draw, size: [usize; 3], axes: &[usize]) {
        let (a, b) = (draw.stack(size[0], size[1], axes), draw.stack(size[1], size[2], axes));
        let batch: Vec<Axis> = (0..axes.len()).map(|i| (axes[i], [a.batch[i], b.batch[i]])).collect();
        let (x, y) = (reals::<T>(draw, a.len), reals::<T>(draw, b.len));
        let len = axes.iter().product::<usize>() * size[0] * size[2];
        let (mut want, mut found) = (vec![0.0; len], vec![T::from_f64(f64::NAN); len]);
        naive(size, &batch, &a, &b, |c, a, b| want[c] += x[a].to_f64() * y[b].to_f64());
        matmul(size, operand(&x, &a), operand(&y, &b), &batch, &mut found);
        let tolerance =
            (if size_of::<T>() == 4 { 1e-6 } else { 1e-14 }) * (size[1] as f64).sqrt().max(1.0) * 3.0;
        for (f, w) in found.iter().zip(&want) {
            assert!((f.to_f64() - w).abs() <= tolerance, "{f:?}, not {w}: {size:?} {axes:?}");
        }
        let integers = |v: &[T]| v.iter().map(|v| (v.to_f64() * 1e6) as i32).collect::<Vec<_>>();
        let (x, y) = (integers(&x), integers(&y));
        let (mut want, mut found) = (vec![0i32; len], vec![7i32; len]);
        naive(size, &batch, &a, &b, |c, a, b| want[c] = want[c].wrapping_add(x[a].wrapping_mul(y[b])));
        matmul_integer(size, operand(&x, &a), operand(&y, &b), &batch, &mut found);
        assert_eq!(found, want);
    }

    #[test]
    fn every_layout_agrees_with_the_naive_sums() {
        let mut draw = Draw(5);
        for i in 0..300 {
            let longest = if i % 3 == 0 { 70 } else { 9 };
            let mut side = || if draw.of(0, 3) == 0 { 1 } else { draw.of(1, longest) };
            let size = [side(), side(), side()];
            let axes: Vec<usize> = (0..draw.of(0, 3)).map(|_| draw.of(1, 3)).collect();
            verify::<f32>(&mut draw, size, &axes);
            verify::<f64>(&mut draw, size, &axes);
        }
        for size in [
            [200, 1300, 150],
            [45, 1100, 77],
            [1, 3000, 700],
            [700, 3000, 1],
            [64, 400, 120],
            [9, 9000, 40],
            [1, 1500, 1],
        ] {
            verify::<f32>(&mut draw, size, &[]);
            verify::<f64>(&mut draw, size, &[2]);
        }
        for size in [[0, 3, 2], [3, 2, 0]] {
            let x = [1.0f32; 6];
            let view = Operand { data: &x, offset: 0, row: 1, column: 1 };
            matmul(size, view, view, &[], &mut []);
        }
        let mut c = [1.0f32; 6];
        matmul(
            [2, 0, 3],
            Operand { data: &[], offset: 0, row: 1, column: 1 },
            Operand { data: &[], offset: 0, row: 1, column: 1 },
            &[],
            &mut c,
        );
        assert_eq!(c, [0.0; 6]);
    }

    #[test]
    fn any_number_of_threads_gives_the_same_bits() {
        let mut draw = Draw(6);
        for size in [
            [64, 400, 120],
            [300, 700, 500],
            [4000, 20, 30],
            [1, 4000, 2000],
            [33, 600, 257],
            [4001, 900, 17],
        ] {
            let (x, y) =
                (reals::<f32>(&mut draw, size[0] * size[1]), reals::<f32>(&mut draw, size[1] * size[2]));
            let results = [1, 2, 3, 4, 7].map(|threads| {
                let mut c = vec![0.0; size[0] * size[2]];
                let a = Operand { data: &x, offset: 0, row: size[1] as isize, column: 1 };
                let b = Operand { data: &y, offset: 0, row: 1, column: size[1] as isize };
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                pool.install(|| matmul(size, a, b, &[], &mut c));
                c.iter().map(|v| v.to_bits()).collect::<Vec<_>>()
            });
            assert!(results.iter().all(|r| *r == results[0]), "{size:?}");
        }
    }

    #[test]
    #[should_panic(expected = "of 5 elements")]
    fn a_view_beyond_its_memory_is_refused() {
        let view = Operand { data: &[0.0f32; 5], offset: 0, row: 3, column: 1 };
        matmul([2, 3, 1], view, view, &[], &mut [0.0; 2]);
    }
}
