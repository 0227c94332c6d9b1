//! Examples one after another (rows, `[16][…]`) and side by side (lanes, `[…][16]`), and the way between them.
#![allow(unsafe_code)]

use super::{
    float::Float,
    lane::{Kernel, Lane, dispatch},
};

/// `y[j][i] = x[i][j]`: `x` is `[rows, columns]`, `y` is `[columns, rows]`.
pub(crate) fn transpose<T: Copy>(x: &[T], y: &mut [T], rows: usize, columns: usize) {
    assert!(x.len() >= rows * columns && y.len() >= rows * columns, "both hold the matrix");
    for (j, column) in y.chunks_exact_mut(rows).take(columns).enumerate() {
        column.iter_mut().enumerate().for_each(|(i, y)| *y = x[i * columns + j]);
    }
}

/// [`transpose`] of a matrix with 16 rows or 16 columns, square by square.
pub(crate) fn transpose_f32(x: &[f32], y: &mut [f32], rows: usize, columns: usize) {
    const N: usize = <f32 as Float>::LANES;
    if rows.is_multiple_of(N) || columns.is_multiple_of(N) {
        assert!(x.len() >= rows * columns && y.len() >= rows * columns, "both hold the matrix");
        dispatch(Squares { x, y, rows, columns });
    } else {
        transpose(x, y, rows, columns);
    }
}

struct Squares<'a> {
    x: &'a [f32],
    y: &'a mut [f32],
    rows: usize,
    columns: usize,
}

impl Kernel<f32> for Squares<'_> {
    #[inline(always)]
    unsafe fn run<V: Lane<f32>>(self) {
        const N: usize = <f32 as Float>::LANES;
        let (rows, columns) = (self.rows, self.columns);
        let (x, y) = (self.x.as_ptr(), self.y.as_mut_ptr());
        for i in (0..rows / N).map(|i| i * N) {
            for j in (0..columns / N).map(|j| j * N) {
                // SAFETY: rows i .. i + N and columns j .. j + N lie inside both matrices.
                unsafe {
                    let from: [*const f32; N] = std::array::from_fn(|k| x.add((i + k) * columns + j));
                    let to: [*mut f32; N] = std::array::from_fn(|k| y.add((j + k) * rows + i));
                    V::transpose(&from, N, &to, N);
                }
            }
        }
        // What is left is a strip of columns, or one of rows.
        let (i0, j0) = (rows / N * N, columns / N * N);
        let mut one = |i: usize, j: usize| self.y[j * rows + i] = self.x[i * columns + j];
        (j0..columns).for_each(|j| (0..rows).for_each(|i| one(i, j)));
        (i0..rows).for_each(|i| (0..j0).for_each(|j| one(i, j)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        for (rows, columns) in [(16, 1), (16, 16), (16, 37), (10, 16), (32, 5), (3, 4)] {
            let x: Vec<f32> = (0..rows * columns).map(|i| i as f32).collect();
            let (mut y, mut z) = (vec![0.0; x.len()], vec![0.0; x.len()]);
            transpose_f32(&x, &mut y, rows, columns);
            assert!((0..x.len()).all(|e| y[e % columns * rows + e / columns] == x[e]), "{rows}×{columns}");
            transpose_f32(&y, &mut z, columns, rows);
            assert_eq!(x, z);
        }
    }
}
