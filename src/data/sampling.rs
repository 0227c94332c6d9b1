//! In which order the examples come.

use super::{Purpose, bounded};
use crate::error::{Error, Result};

/// A stream of indices `i(0), i(1), …`, computable from any place on.
///
/// ```
/// use cotangent::data::{Cyclic, Endless, Sampler, Shuffled};
/// assert_eq!(Cyclic::new(3).stream(1).take(4).collect::<Vec<_>>(), [1, 2, 0, 1]);
/// let mut all: Vec<usize> = Shuffled::new(3, 7).epoch(1_000_000)?.collect();   // no earlier epoch is replayed
/// all.sort();
/// assert_eq!(all, [0, 1, 2]);
/// assert!(Endless.epoch(0).is_err_and(|e| e.to_string().contains("no N")));
/// # Ok::<(), cotangent::Error>(())
/// ```
#[allow(clippy::len_without_is_empty)]
pub trait Sampler: Send + Sync {
    /// `i(from), i(from + 1), …`, for ever; empty only if there are no examples.
    fn stream(&self, from: u64) -> Box<dyn Iterator<Item = usize> + Send>;

    /// `N`: the indices of an epoch; `None` for a source without length.
    fn len(&self) -> Option<usize>;

    /// Is the gradient at the drawn example, *given the past*, an unbiased estimate of the whole one (rows A9, A17)?
    ///
    /// At fixed θ each place of a random permutation is unbiased too; given the places before it, it is not.
    fn is_unbiased(&self) -> bool;

    /// The indices of one epoch.
    ///
    /// # Errors
    /// For a source without length, which has no epochs (row A11).
    fn epoch(&self, epoch: u64) -> Result<Box<dyn Iterator<Item = usize> + Send>> {
        let n = self.len().ok_or_else(no_epochs)?;
        let from = epoch
            .checked_mul(n as u64)
            .ok_or_else(|| Error::other(format!("epoch {epoch} is too far away")))?;
        Ok(Box::new(self.stream(from).take(n)))
    }
}

fn no_epochs() -> Error {
    Error::other("a source without length has no epochs: there is no N to count to")
        .help("count steps instead: `loader.stream(0).take(steps)`")
}

impl<S: Sampler + ?Sized> Sampler for std::sync::Arc<S> {
    fn stream(&self, from: u64) -> Box<dyn Iterator<Item = usize> + Send> {
        (**self).stream(from)
    }
    fn len(&self) -> Option<usize> {
        (**self).len()
    }
    fn is_unbiased(&self) -> bool {
        (**self).is_unbiased()
    }
    fn epoch(&self, epoch: u64) -> Result<Box<dyn Iterator<Item = usize> + Send>> {
        (**self).epoch(epoch)
    }
}

/// `i(k) = k mod N`: every example once an epoch, always in the same order (row A16).
///
/// Strictly not SGD: given the past the next index is certain, so the estimate is not unbiased (row A17).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cyclic {
    n: usize,
}

impl Cyclic {
    /// Of `n` examples.
    pub fn new(n: usize) -> Self {
        Cyclic { n }
    }
}

impl Sampler for Cyclic {
    fn stream(&self, from: u64) -> Box<dyn Iterator<Item = usize> + Send> {
        let first = (from % (self.n as u64).max(1)) as usize;
        Box::new((first..self.n).chain((0..self.n).cycle()))
    }
    fn len(&self) -> Option<usize> {
        Some(self.n)
    }
    fn is_unbiased(&self) -> bool {
        false
    }
}

/// `i(k) = σ^⌊k/N⌋(k mod N)`: every example once an epoch, in the order of a permutation drawn for that epoch
/// (rows A21–A23).
///
/// The slide's loop (row A22) writes `σ(k)` with the running `k`; it must be `σ(i)`. Strictly not SGD either
/// (row A17), and its theory is not as strong (row A24); generally it does best all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shuffled {
    n: usize,
    seed: u64,
}

impl Shuffled {
    /// Of `n` examples.
    pub fn new(n: usize, seed: u64) -> Self {
        Shuffled { n, seed }
    }
}

impl Sampler for Shuffled {
    fn stream(&self, from: u64) -> Box<dyn Iterator<Item = usize> + Send> {
        let Shuffled { n, seed } = *self;
        if n == 0 {
            return Box::new(std::iter::empty());
        }
        let (epoch, first) = (from / n as u64, (from % n as u64) as usize);
        let later = (epoch + 1..).flat_map(move |e| permutation(n, seed, e));
        Box::new(
            std::iter::once_with(move || permutation(n, seed, epoch).into_iter().skip(first))
                .flatten()
                .chain(later),
        )
    }
    fn len(&self) -> Option<usize> {
        Some(self.n)
    }
    fn is_unbiased(&self) -> bool {
        false
    }
}

/// The permutation `σᵉ` of `0..n` for epoch `e`: Fisher and Yates's shuffle, uniform, the same on every machine.
///
/// ```
/// use cotangent::data::permutation;
/// let mut p = permutation(5, 1, 3);
/// assert_eq!(p, permutation(5, 1, 3));
/// p.sort();
/// assert_eq!(p, [0, 1, 2, 3, 4]);
/// ```
pub fn permutation(n: usize, seed: u64, epoch: u64) -> Vec<usize> {
    shuffled(n, seed, Purpose::Shuffle.stream(epoch))
}

pub(super) fn shuffled(n: usize, seed: u64, stream: u64) -> Vec<usize> {
    let mut p: Vec<usize> = (0..n).collect();
    for i in (1..n).rev() {
        p.swap(i, bounded(i as u64 + 1, seed, stream, i as u64) as usize);
    }
    p
}

/// `i(k) ~ Uniform{0, …, N−1}`, independent: SGD proper, with replacement (rows A8, A12). N draws are an epoch, in
/// which about 63.2 % of the examples come (row A19).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Iid {
    n: usize,
    seed: u64,
}

impl Iid {
    /// Of `n` examples.
    pub fn new(n: usize, seed: u64) -> Self {
        Iid { n, seed }
    }
}

impl Sampler for Iid {
    fn stream(&self, from: u64) -> Box<dyn Iterator<Item = usize> + Send> {
        let Iid { n, seed } = *self;
        if n == 0 {
            return Box::new(std::iter::empty());
        }
        let n = n as u64;
        let draw = move |k: u64| bounded(n, seed, Purpose::Iid.stream(k / n), k % n) as usize;
        Box::new((from..).map(draw))
    }
    fn len(&self) -> Option<usize> {
        Some(self.n)
    }
    fn is_unbiased(&self) -> bool {
        true
    }
}

/// `i(k) = k`: of a source without length, where example `k` is the draw `ωᵏ` (row A11).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Endless;

impl Sampler for Endless {
    fn stream(&self, from: u64) -> Box<dyn Iterator<Item = usize> + Send> {
        Box::new((from as usize)..)
    }
    fn len(&self) -> Option<usize> {
        None
    }
    fn is_unbiased(&self) -> bool {
        true
    }
}

/// The share of `0..n` among these indices (row A19).
///
/// ```
/// use cotangent::data::coverage;
/// assert_eq!(coverage([0, 1, 1, 0], 4), 0.5);
/// ```
pub fn coverage(indices: impl IntoIterator<Item = usize>, n: usize) -> f64 {
    let mut seen = vec![false; n];
    indices.into_iter().filter(|i| *i < n).for_each(|i| seen[i] = true);
    seen.iter().filter(|s| **s).count() as f64 / n as f64
}

/// Epochs by work: gradients of single examples over N, so that gradient descent (one step = 1.0), SGD and
/// mini-batches can be compared (row A18).
///
/// ```
/// use cotangent::data::Epochs;
/// let mut epochs = Epochs::new(60_000);
/// epochs.add(64);
/// assert_eq!(epochs.count() * 937.5, 1.0);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Epochs {
    n: usize,
    evaluations: u64,
}

impl Epochs {
    /// Of `n` examples.
    pub fn new(n: usize) -> Self {
        Epochs { n, evaluations: 0 }
    }

    /// The gradients of so many examples were evaluated.
    pub fn add(&mut self, examples: usize) {
        self.evaluations += examples as u64;
    }

    /// How many gradients of single examples were evaluated.
    pub fn evaluations(&self) -> u64 {
        self.evaluations
    }

    /// The same in epochs.
    pub fn count(&self) -> f64 {
        self.evaluations as f64 / self.n as f64
    }
}
