//! The step sizes α₀, α₁, … of row A4, wherever they come from.

use std::{fmt, iter::Fuse};

use super::Schedule;
use crate::error::{Error, Result};

/// `α_k`: a constant, a list, an iterator, a schedule, or a function of `(k, epoch)` (row A4).
///
/// ```
/// use cotangent::optim::Stepsize;
/// let mut constant = Stepsize::from(0.1);
/// let mut list = Stepsize::from([0.3, 0.2]);
/// let mut powers = Stepsize::iter((0..).map(|k| 0.5f64.powi(k)));
/// let mut harmonic = Stepsize::from(|k: u64, _epoch: u64| 1.0 / (k as f64 + 1.0));
/// assert_eq!(constant.at(7, 0)?, 0.1);
/// assert_eq!(list.at(1, 0)?, 0.2);
/// assert_eq!(powers.at(3, 0)?, 0.125);
/// assert_eq!(harmonic.at(3, 0)?, 0.25);
/// assert!(list.at(2, 0).is_err());
/// # Ok::<(), cotangent::Error>(())
/// ```
pub struct Stepsize(Source);

enum Source {
    Constant(f64),
    List(Vec<f64>),
    /// What comes next, its number, and the one before it.
    Iterator(Fuse<Box<dyn Iterator<Item = f64> + Send>>, u64, Option<f64>),
    Schedule(Schedule),
    Function(Box<dyn Fn(u64, u64) -> f64 + Send + Sync>),
}

impl Stepsize {
    /// From an iterator; it is asked for each `k` once and in order, so `k` cannot go back.
    pub fn iter(steps: impl IntoIterator<Item = f64, IntoIter: Send + 'static>) -> Self {
        let boxed: Box<dyn Iterator<Item = f64> + Send> = Box::new(steps.into_iter());
        Stepsize(Source::Iterator(boxed.fuse(), 0, None))
    }

    /// `α_k` for step `k`, counted from 0 over the whole run, in an epoch counted from 0.
    ///
    /// # Errors
    /// When it is NaN or infinite; when a list or iterator has no `k`-th step size, or an iterator has passed it.
    pub fn at(&mut self, k: u64, epoch: u64) -> Result<f64> {
        let ended = |n: u64| {
            Error::other(format!(
                "step {k} was asked for its step size, and there are only {n} (α_0 to α_{})",
                n.max(1) - 1
            ))
            .help("give as many step sizes as steps, or a constant, a schedule or a function of (k, epoch)")
        };
        let alpha = match &mut self.0 {
            Source::Constant(x) => *x,
            Source::List(list) => {
                let n = list.len() as u64;
                *usize::try_from(k).ok().and_then(|k| list.get(k)).ok_or_else(|| ended(n))?
            }
            Source::Schedule(s) => s.at(k),
            Source::Function(f) => f(k, epoch),
            Source::Iterator(rest, next, last) => {
                if k + 1 < *next {
                    return Err(Error::other(format!(
                        "step {k} was asked for after step {}: an iterator cannot go back",
                        *next - 1
                    ))
                    .help("make it a list or a function of (k, epoch)"));
                }
                while *next <= k {
                    *last = Some(rest.next().ok_or_else(|| ended(*next))?);
                    *next += 1;
                }
                last.expect("step k was taken")
            }
        };
        if !alpha.is_finite() {
            return Err(Error::other(format!("the step size of step {k} is {alpha}"))
                .help("step sizes are finite numbers; look for a division by zero or an overflow where it is computed"));
        }
        Ok(alpha)
    }
}

impl From<f64> for Stepsize {
    fn from(x: f64) -> Self {
        Stepsize(Source::Constant(x))
    }
}
impl From<Vec<f64>> for Stepsize {
    fn from(list: Vec<f64>) -> Self {
        Stepsize(Source::List(list))
    }
}
impl From<&[f64]> for Stepsize {
    fn from(list: &[f64]) -> Self {
        Stepsize(Source::List(list.to_vec()))
    }
}
impl<const N: usize> From<[f64; N]> for Stepsize {
    fn from(list: [f64; N]) -> Self {
        Stepsize(Source::List(list.to_vec()))
    }
}
impl From<Schedule> for Stepsize {
    fn from(s: Schedule) -> Self {
        Stepsize(Source::Schedule(s))
    }
}
impl<F: Fn(u64, u64) -> f64 + Send + Sync + 'static> From<F> for Stepsize {
    fn from(f: F) -> Self {
        Stepsize(Source::Function(Box::new(f)))
    }
}

impl fmt::Debug for Stepsize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Source::Constant(x) => write!(f, "Stepsize({x})"),
            Source::List(list) => write!(f, "Stepsize({list:?})"),
            Source::Iterator(_, next, _) => write!(f, "Stepsize(iterator at step {next})"),
            Source::Schedule(s) => write!(f, "Stepsize({s:?})"),
            Source::Function(_) => write!(f, "Stepsize(function of (k, epoch))"),
        }
    }
}
