//! `C = A·B` of real numbers on one thread: strips of `A` and `B` are packed so that a tile of `C` stays in registers
//! while it walks along them.
//!
//! A tile is `R` rows by `Q` registers. `B`'s strips lie `[k][Q·N]`, `A`'s `[k/16][R][16]`, which is copied and not
//! turned around: each step loads `Q` registers, spreads `R` numbers, and multiplies and adds `R·Q` times. A block of
//! `A` stays in the second-level cache, a strip of it in the first. (Goto and van de Geijn, Anatomy of
//! high-performance matrix multiplication, 2008.)
#![allow(unsafe_code)]
// Tiles of registers are indexed as the formulas are.
#![allow(clippy::needless_range_loop)]

use std::cell::RefCell;

use super::{
    arena::{Scratch, room},
    float::Float,
    isa::Isa,
    lane::{Kernel, Lane, current, dispatch, dispatch_on},
    memory::Memory,
};

/// A matrix somewhere in memory: address, row stride, column stride.
pub(crate) type Matrix<T> = (*const T, isize, isize);
/// A matrix to be written.
pub(crate) type MatrixMut<T> = (*mut T, isize, isize);

/// The longest product that is one chain of multiply-adds.
pub(crate) const SLICE: usize = 512;
/// Rows of `A` that are packed at a time, and columns of `B`.
const HIGH: usize = 120;
const WIDE: usize = 512;
/// The most rows of a tile and the most numbers of one of its rows, on any instruction set.
const ROWS: usize = 12;
const COLUMNS: usize = 32;

thread_local! {
    /// Packed strips, from call to call.
    static ROOM: RefCell<Option<Memory>> = const { RefCell::new(None) };
}

/// `C = A·B`, or `C = D + A·B`, for `A[m,k]`, `B[k,n]`, `C[m,n]`, on this thread; `D` may be `C`, or a column for all of
/// its columns. The caller keeps `k` at [`SLICE`] or below: then every element is one chain of multiply-adds over `k`,
/// added to that of `D`.
///
/// # Safety
/// Every element that these strides reach can be read, and those of `C` written by nobody else.
pub(crate) unsafe fn gemm<T: Float>(
    [m, k, n]: [usize; 3],
    a: Matrix<T>,
    b: Matrix<T>,
    c: MatrixMut<T>,
    d: Option<Matrix<T>>,
) {
    assert!(k <= SLICE, "{k} products in a chain of at most {SLICE}");
    if m == 0 || n == 0 {
        return;
    }
    if c.2 != 1 && c.1 == 1 {
        // Cᵀ = Bᵀ·Aᵀ, whose rows lie side by side.
        let turned = |x: Matrix<T>| (x.0, x.2, x.1);
        // SAFETY: the caller's.
        return unsafe { gemm([n, k, m], turned(b), turned(a), (c.0, c.2, c.1), d.map(turned)) };
    }
    let columns = n.min(WIDE).next_multiple_of(COLUMNS);
    let rows = m.min(HIGH) + ROWS;
    // Rows of strips are written in whole registers.
    let deep = k.next_multiple_of(T::LANES);
    let sizes = [k * columns + T::LANES, deep * rows, T::LANES * T::LANES];
    let bytes = sizes.map(room::<T>).iter().sum();
    ROOM.with_borrow_mut(|kept| {
        let memory = match kept {
            Some(memory) if memory.slice::<u8>().len() >= bytes => memory,
            _ => kept.insert(Memory::zeroed(bytes)),
        };
        let mut scratch = Scratch::new(memory.slice_mut());
        let strips = sizes.map(|n| scratch.take::<T>(n));
        dispatch(Product { size: [m, k, n], a, b, c, d, strips });
    });
}

struct Product<'a, T> {
    size: [usize; 3],
    a: Matrix<T>,
    b: Matrix<T>,
    c: MatrixMut<T>,
    d: Option<Matrix<T>>,
    /// For `B`, for `A`, and a square.
    strips: [&'a mut [T]; 3],
}

impl<T: Float> Kernel<T> for Product<'_, T> {
    const MOST: Isa = Isa::Avx512;
    #[inline(always)]
    unsafe fn run<V: Lane<T>>(self) {
        let Product { size: [m, k, n], a, b, c, d, strips: [packed_b, packed_a, square] } = self;
        let (most, deep) = (V::REGISTERS / 8 * 3, k.next_multiple_of(T::LANES));
        for first in (0..n).step_by(WIDE) {
            let columns = WIDE.min(n - first);
            // Two registers a row, one where that is enough.
            let q = if columns <= V::N { 1 } else { 2 };
            let wide = q * V::N;
            let panels = columns.div_ceil(wide);
            // SAFETY: packed strips have room for whole tiles, the rest is the caller's.
            unsafe {
                let full = if b.2 == 1 { columns / wide } else { 0 };
                // Row by row, as they lie.
                for l in (0..k).filter(|_| full > 0) {
                    let from = b.0.wrapping_offset(l as isize * b.1 + first as isize);
                    for p in 0..full {
                        for q in 0..q {
                            let to = packed_b.as_mut_ptr().add((p * k + l) * wide + q * V::N);
                            V::load(from.add(p * wide + q * V::N)).store(to);
                        }
                    }
                }
                for p in full..panels {
                    let (at, live) = (first + p * wide, wide.min(columns - p * wide));
                    let from = (b.0.wrapping_offset(at as isize * b.2), b.2, b.1);
                    pack_b::<T, V>(from, [live, k], wide, packed_b.as_mut_ptr().add(p * wide * k), square);
                }
                for start in (0..m).step_by(HIGH) {
                    let high = HIGH.min(m - start);
                    let r = if q == 2 && high > most {
                        strip_rows(high, V::REGISTERS)
                    } else {
                        tile_rows(
                            high.div_ceil(high.div_ceil(if q == 1 { ROWS } else { most })),
                            V::REGISTERS,
                            q,
                        )
                    };
                    let strips = high.div_ceil(r);
                    for s in 0..strips {
                        let at = start + s * r;
                        let from = (a.0.wrapping_offset(at as isize * a.1), a.1, a.2);
                        let to = packed_a.as_mut_ptr().add(s * r * deep);
                        pack_a::<T, V>(from, [r.min(high - s * r), m - at, k], r, to);
                    }
                    for s in 0..strips {
                        for p in 0..panels {
                            let at = [(start + s * r) as isize, (first + p * wide) as isize];
                            let to = c.0.wrapping_offset(at[0] * c.1 + at[1] * c.2);
                            let part =
                                |d: Matrix<T>| (d.0.wrapping_offset(at[0] * d.1 + at[1] * d.2), d.1, d.2);
                            Tile {
                                k,
                                a: packed_a.as_ptr().add(s * r * deep),
                                b: packed_b.as_ptr().add(p * wide * k),
                                c: (to, c.1, c.2),
                                d: d.map(part),
                                live: [r.min(high - s * r), wide.min(columns - p * wide)],
                            }
                            .run(r, q);
                        }
                    }
                }
            }
        }
    }
}

/// The rows of the smallest tile that has so many, of the tiles that there are.
fn tile_rows(rows: usize, registers: usize, q: usize) -> usize {
    let all: &[usize] = match (registers, q) {
        (32, 2) => &[2, 4, 6, 8, 12],
        (_, 2) => &[2, 4, 6],
        _ => &[2, 6, 12],
    };
    *all.iter().find(|r| **r >= rows).unwrap_or(&all[all.len() - 1])
}

/// `to[l/16·16·r + 16·i + l%16] = x[i, l]` for `live` rows of `k`; there may be anything in the others. So many rows
/// from the first on are `there`.
///
/// # Safety
/// The rows that are there can be read, and `r` rows of `to` written.
#[inline(always)]
unsafe fn pack_a<T: Float, V: Lane<T>>(
    (x, row, column): Matrix<T>,
    [live, there, k]: [usize; 3],
    r: usize,
    to: *mut T,
) {
    let at = |i: usize, l: usize| x.wrapping_offset(i as isize * row + l as isize * column);
    for l in (0..k).step_by(T::LANES) {
        let (n, to) = (T::LANES.min(k - l), to.wrapping_add(l * r));
        // SAFETY: the caller's; a square is read only where all of it is there.
        unsafe {
            if column == 1 && n == T::LANES {
                for i in 0..live {
                    for j in (0..n).step_by(V::N) {
                        V::load(at(i, l + j)).store(to.add(i * T::LANES + j));
                    }
                }
                continue;
            }
            for first in (0..live).step_by(T::LANES) {
                if row == 1 && n == T::LANES && there - first >= T::LANES {
                    let from: [*const T; 16] = std::array::from_fn(|j| at(first, l + j % T::LANES));
                    let to: [*mut T; 16] = std::array::from_fn(|i| to.wrapping_add((first + i) * T::LANES));
                    V::transpose(&from, n, &to, T::LANES.min(live - first));
                } else {
                    for i in first..live.min(first + T::LANES) {
                        (0..n).for_each(|j| *to.add(i * T::LANES + j) = *at(i, l + j));
                    }
                }
            }
        }
    }
}

/// `to[l·wide + i] = x[i, l]` for `live` rows of `k`; rows from there to `wide` are zeros.
///
/// # Safety
/// The rows can be read, and `to` written, up to a register behind its end.
#[inline(always)]
unsafe fn pack_b<T: Float, V: Lane<T>>(
    (x, row, column): Matrix<T>,
    [live, k]: [usize; 2],
    wide: usize,
    to: *mut T,
    square: &mut [T],
) {
    let at = |i: usize, l: usize| x.wrapping_offset(i as isize * row + l as isize * column);
    // SAFETY: the caller's; a square is read only where all of it is there.
    unsafe {
        if row == 1 {
            for l in 0..k {
                let to = to.add(l * wide);
                let mut i = 0;
                while i + V::N <= live {
                    V::load(at(i, l)).store(to.add(i));
                    i += V::N;
                }
                (i..live).for_each(|i| *to.add(i) = *at(i, l));
                (live..wide).for_each(|i| *to.add(i) = T::ZERO);
            }
            return;
        }
        let squares = if column == 1 { k / T::LANES } else { 0 };
        let turned: [*mut T; 16] =
            std::array::from_fn(|j| square.as_mut_ptr().wrapping_add(j % T::LANES * T::LANES));
        for l in (0..squares).map(|s| s * T::LANES) {
            // The last first: what it writes beyond a row's end, the others and the next rows write over.
            for first in (0..wide).step_by(T::LANES).rev() {
                let rows = live.saturating_sub(first).min(T::LANES);
                let from: [*const T; 16] = std::array::from_fn(|i| at(first + i.min(rows.max(1) - 1), l));
                V::transpose(&from, rows, &turned, T::LANES);
                for j in 0..T::LANES {
                    for i in (0..T::LANES.min(wide - first)).step_by(V::N) {
                        V::load(turned[j].add(i)).store(to.add((l + j) * wide + first + i));
                    }
                }
            }
        }
        for l in squares * T::LANES..k {
            (0..wide).for_each(|i| *to.add(l * wide + i) = if i < live { *at(i, l) } else { T::ZERO });
        }
    }
}

/// Rows of strips for many rows, beside two registers of columns: the fewest that hold nothing.
pub(crate) fn strip_rows(rows: usize, registers: usize) -> usize {
    let all: [usize; 2] = if registers == 32 { [12, 8] } else { [6, 4] };
    if rows.next_multiple_of(all[1]) < rows.next_multiple_of(all[0]) { all[1] } else { all[0] }
}

/// A tile of `C` and the strips that it is made of.
pub(crate) struct Tile<T> {
    /// Steps along the strips.
    pub(crate) k: usize,
    /// `[k/16][R][16]` (8 of `f64`).
    pub(crate) a: *const T,
    /// `[k][Q·N]`.
    pub(crate) b: *const T,
    pub(crate) c: MatrixMut<T>,
    /// What it is added to.
    pub(crate) d: Option<Matrix<T>>,
    /// Rows and columns that `C` has of it.
    pub(crate) live: [usize; 2],
}

impl<T: Float> Tile<T> {
    /// With tiles of `r` rows and `q` registers.
    ///
    /// # Safety
    /// As [`gemm`].
    #[inline(always)]
    pub(crate) unsafe fn run(self, r: usize, q: usize) {
        let isa = current();
        match (r, q) {
            (12, 2) => dispatch_on(isa, Large::<T, 12, 2>(self)),
            (8, 2) => dispatch_on(isa, Large::<T, 8, 2>(self)),
            (12, 1) => dispatch_on(isa, Small::<T, 12, 1>(self)),
            (6, 1) => dispatch_on(isa, Small::<T, 6, 1>(self)),
            (2, 1) => dispatch_on(isa, Small::<T, 2, 1>(self)),
            (6, 2) => dispatch_on(isa, Small::<T, 6, 2>(self)),
            (4, 2) => dispatch_on(isa, Small::<T, 4, 2>(self)),
            (2, 2) => dispatch_on(isa, Small::<T, 2, 2>(self)),
            _ => unreachable!("no tile of {r} rows and {q} registers"),
        }
    }

    #[inline(always)]
    unsafe fn multiply<V: Lane<T>, const R: usize, const Q: usize>(self) {
        let Tile { k, mut a, mut b, c: (c, row, column), d, live: [rows, columns] } = self;
        // SAFETY: strips hold whole tiles of `k` steps; of `C` only what is there is touched.
        unsafe {
            let mut sum = [[V::zero(); Q]; R];
            let mut left = k;
            while left > 0 {
                let steps = left.min(T::LANES);
                for l in 0..steps {
                    let mut y = [V::zero(); Q];
                    for q in 0..Q {
                        y[q] = V::load(b.add(q * V::N));
                    }
                    for r in 0..R {
                        let x = V::splat(*a.add(r * T::LANES + l));
                        for q in 0..Q {
                            sum[r][q] = x.mul_add(y[q], sum[r][q]);
                        }
                    }
                    b = b.add(Q * V::N);
                }
                a = a.add(R * T::LANES);
                left -= steps;
            }
            if column == 1 && columns == Q * V::N && d.is_none_or(|d| d.2 <= 1) {
                for r in 0..R {
                    if r < rows {
                        let to = c.offset(r as isize * row);
                        for q in 0..Q {
                            let y = match d {
                                None => sum[r][q],
                                Some((d, row, 0)) => V::splat(*d.offset(r as isize * row)).add(sum[r][q]),
                                Some((d, row, _)) => {
                                    V::load(d.offset(r as isize * row).add(q * V::N)).add(sum[r][q])
                                }
                            };
                            y.store(to.add(q * V::N));
                        }
                    }
                }
                return;
            }
            let mut numbers = [T::ZERO; COLUMNS];
            for r in 0..R {
                if r < rows {
                    for q in 0..Q {
                        sum[r][q].store(numbers.as_mut_ptr().add(q * V::N));
                    }
                    for (j, x) in numbers[..columns].iter().enumerate() {
                        let (r, j) = (r as isize, j as isize);
                        let d = d.map(|d| *d.0.offset(r * d.1 + j * d.2));
                        *c.offset(r * row + j * column) = d.map_or(*x, |d| d + *x);
                    }
                }
            }
        }
    }
}

/// A tile that any instruction set has registers for.
struct Small<T, const R: usize, const Q: usize>(Tile<T>);

impl<T: Float, const R: usize, const Q: usize> Kernel<T> for Small<T, R, Q> {
    const MOST: Isa = Isa::Avx512;
    #[inline(always)]
    unsafe fn run<V: Lane<T>>(self) {
        // SAFETY: the caller's.
        unsafe { self.0.multiply::<V, R, Q>() }
    }
}

/// A tile for thirty-two registers.
struct Large<T, const R: usize, const Q: usize>(Tile<T>);

impl<T: Float, const R: usize, const Q: usize> Kernel<T> for Large<T, R, Q> {
    const MOST: Isa = Isa::Avx512;
    const LEAST: Isa = Isa::Avx512;

    #[inline(always)]
    unsafe fn run<V: Lane<T>>(self) {
        // SAFETY: the caller's.
        unsafe { self.0.multiply::<V, R, Q>() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::cpu::lane::on_every_isa;

    /// Whole numbers, so that sums are exact in any order; strides of every kind.
    fn verify<T: Float>() {
        let mut state = 1u64;
        let mut draw = |n: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % n
        };
        for case in 0..400 {
            let most = [[1, 1, 1], [3, 20, 3], [40, 40, 70], [30, 512, 30], [260, 20, 40], [20, 20, 1100]];
            let [m, k, n] = most[case % 6].map(|most| 1 + draw(most));
            let [k, gap] = [if case % 50 == 49 { 0 } else { k }, draw(3)];
            let mut matrix = |rows: usize, columns: usize| {
                let numbers: Vec<T> = (0..(rows + gap) * (columns + gap) * 2)
                    .map(|_| T::from_f64(draw(9) as f64 - 4.0))
                    .collect();
                let (wide, high) = ((columns + gap) as isize, (rows + gap) as isize);
                let strides = [(wide, 1), (1, high), (2 * wide, 2), (0, 1), (1, 0)][draw(5)];
                (numbers, strides)
            };
            let ((a, (ar, ac)), (b, (br, bc))) = (matrix(m, k), matrix(k, n));
            let (wide, high) = ((n + gap) as isize, (m + gap) as isize);
            let (cr, cc) = [(wide, 1), (1, high), (2 * wide, 2)][draw(3)];
            // Nothing, what is there, a column for all columns.
            let add = draw(3);
            let column: Vec<T> = (0..m).map(|i| T::from_f64(i as f64)).collect();
            let before: Vec<T> =
                (0..(m + gap) * (n + gap) * 4).map(|i| T::from_f64((i % 7) as f64)).collect();
            let mut wanted: Vec<f64> = before.iter().map(|x| x.to_f64()).collect();
            for (i, j) in (0..m).flat_map(|i| (0..n).map(move |j| (i, j))) {
                let at = |r: isize, c: isize, i: usize, j: usize| (i as isize * r + j as isize * c) as usize;
                let sum: f64 =
                    (0..k).map(|l| a[at(ar, ac, i, l)].to_f64() * b[at(br, bc, l, j)].to_f64()).sum();
                let y = &mut wanted[at(cr, cc, i, j)];
                *y = [0.0, *y, i as f64][add] + sum;
            }
            on_every_isa(|| {
                let mut c = before.clone();
                let (to, a, b) = ((c.as_mut_ptr(), cr, cc), (a.as_ptr(), ar, ac), (b.as_ptr(), br, bc));
                let d = [None, Some((to.0.cast_const(), cr, cc)), Some((column.as_ptr(), 1, 0))][add];
                // SAFETY: the strides stay inside the vectors.
                unsafe { gemm([m, k, n], a, b, to, d) };
                let same = c.iter().zip(&wanted).all(|(c, w)| c.to_f64() == *w);
                assert!(same, "{m}×{k}×{n}, A {ar} {ac}, B {br} {bc}, C {cr} {cc}, add {add}");
            });
        }
    }

    #[test]
    fn products_agree_with_plain_sums() {
        verify::<f32>();
        verify::<f64>();
    }
}
