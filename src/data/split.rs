//! Parts for training and for validation.

use std::collections::BTreeMap;

use super::{Purpose, sampling::shuffled};
use crate::error::{Error, Result};

/// `0..n` in two parts, `(training, validation)`, by a permutation of the seed; each in rising order.
///
/// ```
/// use cotangent::data::split;
/// let (train, validation) = split(60_000, 5_000, 1)?;
/// assert_eq!((train.len(), validation.len()), (55_000, 5_000));
/// # Ok::<(), cotangent::Error>(())
/// ```
///
/// # Errors
/// When that many are not there, or none is left to train on.
pub fn split(n: usize, validation: usize, seed: u64) -> Result<(Vec<usize>, Vec<usize>)> {
    check(n, validation)?;
    let order = shuffled(n, seed, Purpose::Split.stream(0));
    Ok(parts(n, order[..validation].iter().copied()))
}

/// As [`split`], each class with its share in both parts, to within one example.
///
/// ```
/// use cotangent::data::split_stratified;
/// let labels = [0, 0, 0, 0, 0, 0, 1, 1, 1];
/// let (_, validation) = split_stratified(&labels, 3, 1)?;
/// assert_eq!(validation.iter().filter(|i| labels[**i] == 1).count(), 1);
/// # Ok::<(), cotangent::Error>(())
/// ```
///
/// # Errors
/// As [`split`].
pub fn split_stratified(labels: &[i64], validation: usize, seed: u64) -> Result<(Vec<usize>, Vec<usize>)> {
    let n = labels.len();
    check(n, validation)?;
    let mut classes: BTreeMap<i64, Vec<usize>> = BTreeMap::new();
    for i in shuffled(n, seed, Purpose::Split.stream(1)) {
        classes.entry(labels[i]).or_default().push(i);
    }
    // Largest remainders: the shares rounded down, then one more for those cut most.
    let share = |members: &Vec<usize>| members.len() as u128 * validation as u128;
    let mut take: Vec<usize> = classes.values().map(|m| (share(m) / n as u128) as usize).collect();
    let mut by_remainder: Vec<usize> = (0..take.len()).collect();
    let remainders: Vec<u128> = classes.values().map(|m| share(m) % n as u128).collect();
    by_remainder.sort_by_key(|c| std::cmp::Reverse(remainders[*c]));
    let left = validation - take.iter().sum::<usize>();
    by_remainder[..left].iter().for_each(|c| take[*c] += 1);
    let chosen = classes.values().zip(&take).flat_map(|(members, t)| members[..*t].iter().copied());
    Ok(parts(n, chosen))
}

fn check(n: usize, validation: usize) -> Result<()> {
    if validation < n {
        return Ok(());
    }
    Err(Error::other(format!("{validation} of {n} examples were to be held out: none is left to train on"))
        .help(format!("hold out fewer, such as {}", n / 10)))
}

fn parts(n: usize, chosen: impl Iterator<Item = usize>) -> (Vec<usize>, Vec<usize>) {
    let mut held = vec![false; n];
    chosen.for_each(|i| held[i] = true);
    (0..n).partition(|i| !held[*i])
}
