//! Softmax, its logarithm, and cross-entropy from class indices, over the rows of a packed `[rows, k]` matrix.
//!
//! Every row is one sum of eight partial ones, added in a fixed tree: the same bits on any number of threads.

use crate::device::cpu::{float::Float, threads::chunks_mut};

/// Elements that are worth a task of their own (about 20 µs of exponentials).
const TASK: usize = 1 << 12;

/// Whole rows for a task: all of them when there is little work.
fn each(len: usize, k: usize) -> usize {
    if len < 2 * TASK { len } else { TASK.div_ceil(k) * k }
}

/// `max xᵢ`, and `Σ e^(xᵢ − max)`. A row that holds a NaN, +∞, or nothing above −∞ has a NaN for its sum.
fn max_and_sum<T: Float>(x: &[T]) -> (T, T) {
    let max = x.iter().fold(T::NEG_INFINITY, |a, b| if *b > a { *b } else { a });
    let mut sums = [T::ZERO; 8];
    for (i, x) in x.iter().enumerate() {
        sums[i % 8] += (*x - max).exp();
    }
    (max, tree(sums))
}

fn tree<T: Float>(s: [T; 8]) -> T {
    ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]))
}

fn check(x: usize, y: usize, k: usize) -> bool {
    assert!(
        x == y && (k > 0 || x == 0) && x.is_multiple_of(k.max(1)),
        "rows of {k}: {x} elements in, {y} out"
    );
    x > 0
}

/// `yᵢ = e^(xᵢ − max x) / Σⱼ e^(xⱼ − max x)` for every row of `k`. A row that is −∞ throughout gives NaN, as in PyTorch.
///
/// # Panics
/// When `x` and `y` are not the same number of whole rows.
pub(crate) fn softmax_rows<T: Float>(x: &[T], y: &mut [T], k: usize) {
    if !check(x.len(), y.len(), k) {
        return;
    }
    let each = each(x.len(), k);
    chunks_mut(y, each, |task, y| {
        for (x, y) in x[task * each..].chunks_exact(k).zip(y.chunks_exact_mut(k)) {
            let max = x.iter().fold(T::NEG_INFINITY, |a, b| if *b > a { *b } else { a });
            let mut sums = [T::ZERO; 8];
            for (i, (x, y)) in x.iter().zip(&mut *y).enumerate() {
                *y = (*x - max).exp();
                sums[i % 8] += *y;
            }
            let sum = tree(sums);
            y.iter_mut().for_each(|y| *y = *y / sum);
        }
    });
}

/// `yᵢ = xᵢ − max x − ln Σⱼ e^(xⱼ − max x)` for every row of `k`. A row that is −∞ throughout gives NaN, as in PyTorch.
///
/// # Panics
/// When `x` and `y` are not the same number of whole rows.
pub(crate) fn log_softmax_rows<T: Float>(x: &[T], y: &mut [T], k: usize) {
    if !check(x.len(), y.len(), k) {
        return;
    }
    let each = each(x.len(), k);
    chunks_mut(y, each, |task, y| {
        for (x, y) in x[task * each..].chunks_exact(k).zip(y.chunks_exact_mut(k)) {
            let (max, sum) = max_and_sum(x);
            let log = sum.ln();
            x.iter().zip(y).for_each(|(x, y)| *y = *x - max - log);
        }
    });
}

/// The row's class; `None` where it is none of `0..k`.
fn class(target: i64, k: usize) -> Option<usize> {
    usize::try_from(target).ok().filter(|t| *t < k)
}

/// `lossᵣ = ln Σⱼ e^(x[r,j]) − x[r, targetᵣ]` for every row of `k`. Rows whose target is `ignored` give 0.
///
/// Returns the first row whose target is no class; such rows give 0.
///
/// # Panics
/// When the slices are not of as many rows.
pub(crate) fn cross_entropy_rows<T: Float>(
    x: &[T],
    targets: &[i64],
    ignored: Option<i64>,
    loss: &mut [T],
    k: usize,
) -> Option<usize> {
    assert_eq!([x.len(), loss.len()], [targets.len() * k, targets.len()], "rows of {k}");
    let rows = each(x.len(), k.max(1)) / k.max(1);
    chunks_mut(loss, rows, |task, loss| {
        for (row, loss) in (task * rows..).zip(loss) {
            *loss = match class(targets[row], k) {
                Some(target) if ignored != Some(targets[row]) => {
                    let x = &x[row * k..(row + 1) * k];
                    let (max, sum) = max_and_sum(x);
                    // In this order, as `log_softmax_rows` has it: the two give the same bits.
                    -(x[target] - max - sum.ln())
                }
                _ => T::ZERO,
            };
        }
    });
    targets.iter().position(|t| ignored != Some(*t) && class(*t, k).is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

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

    fn verify<T: Float>(rows: usize, k: usize, tolerance: f64) {
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
