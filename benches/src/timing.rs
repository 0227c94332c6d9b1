//! Repeating work and taking the time.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::Instant;

use crate::Result;

/// How long to measure.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// Seconds to repeat a row, unless a single repetition takes longer.
    pub seconds: f64,
    /// Whole epochs to time.
    pub epochs: u32,
}

/// What was measured.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// One measurement after the other, in the row's unit.
    pub samples: Vec<f64>,
    /// Seconds before the first of them: recording, compiling, filling caches.
    pub warm_up: f64,
    /// Other figures by name, such as `accuracy`.
    pub more: BTreeMap<&'static str, f64>,
}

/// A sample lasts at least this long, by repeating what is shorter.
const SHORTEST: f64 = 20e-6;

/// The least number of samples, of work that takes a second or more, and of shorter work.
const LEAST: [usize; 2] = [3, 7];

/// Seconds of `f`, called again and again after a warm-up of at least three calls; freeing what it gives is part of it.
pub(crate) fn repeat<T>(budget: &Budget, mut f: impl FnMut() -> Result<T>) -> Result<Found> {
    measure(budget, &mut |calls| (0..calls).try_for_each(|_| f().map(|y| drop(black_box(y)))))
}

/// [`repeat`] of `f(calls)`, which does the work that often; compiled once.
fn measure(budget: &Budget, f: &mut dyn FnMut(usize) -> Result<()>) -> Result<Found> {
    let mut timed = |calls: usize| {
        let start = Instant::now();
        f(calls)?;
        Ok::<f64, crate::Error>(start.elapsed().as_secs_f64() / calls as f64)
    };
    let mut warm_up = timed(1)?;
    let mut once = f64::INFINITY;
    // Short work is repeated until its time has settled, long work twice.
    for _ in 0..2 {
        let time = timed(1)?;
        (warm_up, once) = (warm_up + time, once.min(time));
    }
    let calls = (SHORTEST / once.max(1e-9)).ceil().max(1.0) as usize;
    if once < 1e-3 {
        warm_up += timed(20 * calls)? * (20 * calls) as f64;
    }
    let least = if once >= 1.0 { LEAST[0] } else { LEAST[1] };
    let (start, mut samples) = (Instant::now(), Vec::new());
    while samples.len() < least || start.elapsed().as_secs_f64() < budget.seconds {
        samples.push(timed(calls)?);
    }
    Ok(Found { samples, warm_up, more: BTreeMap::new() })
}

/// The value below which the share `q` of sorted samples lies.
pub(crate) fn quantile(sorted: &[f64], q: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    sorted.get((q * last as f64).round() as usize).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_of_few_and_of_many() {
        assert_eq!(quantile(&[3.0], 0.1), 3.0);
        let hundred: Vec<f64> = (0..=100).map(f64::from).collect();
        assert_eq!([0.1, 0.5, 0.9].map(|q| quantile(&hundred, q)), [10.0, 50.0, 90.0]);
        assert!(quantile(&[], 0.5).is_nan());
    }

    #[test]
    fn short_work_is_repeated_within_a_sample() {
        let mut calls = 0;
        let count = || {
            calls += 1;
            Ok(())
        };
        let found = repeat(&Budget { seconds: 0.0, epochs: 1 }, count).unwrap();
        assert_eq!(found.samples.len(), 7);
        assert!(calls > 7 * 20, "{calls}");
    }
}
