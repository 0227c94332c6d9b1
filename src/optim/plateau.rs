//! A rate that falls when a figure stops getting better.

use std::collections::HashMap;

use crate::{
    error::{Error, Result},
    tensor::Tensor,
};

/// How much better is better.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Threshold {
    /// By this share of the best so far.
    Relative(f64),
    /// By this much.
    Absolute(f64),
}

/// `α ← max(γα, α_min)` after more than `patience` looks in a row at a figure that did not get better.
///
/// Source: <https://pytorch.org/docs/stable/generated/torch.optim.lr_scheduler.ReduceLROnPlateau.html>, with its
/// defaults: γ = 0.1, patience 10, threshold 10⁻⁴ of the best, no cooldown, α_min = 0, no change below 10⁻⁸.
/// A figure that is NaN is not better.
///
/// ```
/// use cotangent::optim::Plateau;
/// let mut plateau = Plateau::new().patience(1);
/// let mut rate = 1.0;
/// for loss in [3.0, 2.0, 2.0, 2.0] {
///     rate = plateau.step(loss, rate);
/// }
/// assert_eq!(rate, 0.1);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Plateau {
    larger: bool,
    factor: f64,
    patience: u64,
    threshold: Threshold,
    cooldown: u64,
    min_rate: f64,
    eps: f64,
    best: f64,
    bad: u64,
    cooling: u64,
}

impl Default for Plateau {
    fn default() -> Self {
        Self::new()
    }
}

impl Plateau {
    /// For a figure that should fall, such as a loss.
    pub fn new() -> Self {
        Plateau {
            larger: false,
            factor: 0.1,
            patience: 10,
            threshold: Threshold::Relative(1e-4),
            cooldown: 0,
            min_rate: 0.0,
            eps: 1e-8,
            best: f64::INFINITY,
            bad: 0,
            cooling: 0,
        }
    }

    /// For a figure that should rise, such as an accuracy.
    #[must_use]
    pub fn larger_is_better(mut self) -> Self {
        self.larger = true;
        self.best = f64::NEG_INFINITY;
        self
    }

    /// `γ`
    ///
    /// # Panics
    /// When it is not in `0 ≤ γ < 1`.
    #[must_use]
    #[track_caller]
    pub fn factor(mut self, factor: f64) -> Self {
        if !(0.0..1.0).contains(&factor) {
            Error::mistake(format!("the factor is {factor}, and must be at least 0 and below 1"))
                .verb("Plateau::factor")
                .raise()
        }
        self.factor = factor;
        self
    }

    /// How many looks in a row may show nothing better before the rate falls.
    #[must_use]
    pub fn patience(mut self, looks: u64) -> Self {
        self.patience = looks;
        self
    }

    /// How much better is better.
    #[must_use]
    pub fn threshold(mut self, threshold: Threshold) -> Self {
        self.threshold = threshold;
        self
    }

    /// How many looks after a fall are not counted.
    #[must_use]
    pub fn cooldown(mut self, looks: u64) -> Self {
        self.cooldown = looks;
        self
    }

    /// `α_min`
    #[must_use]
    pub fn min_rate(mut self, rate: f64) -> Self {
        self.min_rate = rate;
        self
    }

    /// A change not larger than this is not made.
    #[must_use]
    pub fn eps(mut self, eps: f64) -> Self {
        self.eps = eps;
        self
    }

    /// The rate after a look at the figure, given the rate before it.
    pub fn step(&mut self, figure: f64, rate: f64) -> f64 {
        if self.is_better(figure) {
            (self.best, self.bad) = (figure, 0);
        } else {
            self.bad += 1;
        }
        if self.cooling > 0 {
            (self.cooling, self.bad) = (self.cooling - 1, 0);
        }
        if self.bad <= self.patience {
            return rate;
        }
        (self.cooling, self.bad) = (self.cooldown, 0);
        let lower = (rate * self.factor).max(self.min_rate);
        if rate - lower > self.eps { lower } else { rate }
    }

    fn is_better(&self, figure: f64) -> bool {
        match (self.threshold, self.larger) {
            (Threshold::Relative(t), false) => figure < self.best * (1.0 - t),
            (Threshold::Relative(t), true) => figure > self.best * (1.0 + t),
            (Threshold::Absolute(t), false) => figure < self.best - t,
            (Threshold::Absolute(t), true) => figure > self.best + t,
        }
    }

    /// What it remembers, for a checkpoint: `best`, `bad` and `cooling`, each `[]` and `F64`.
    pub fn state(&self) -> Vec<(String, Tensor)> {
        let all = [("best", self.best), ("bad", self.bad as f64), ("cooling", self.cooling as f64)];
        all.map(|(name, x)| (name.to_string(), Tensor::from(x))).into()
    }

    /// Take what [`Plateau::state`] gave.
    ///
    /// # Errors
    /// When a name is missing, or is not one number, or a count is none; then nothing has changed.
    pub fn load_state(&mut self, values: &HashMap<String, Tensor>) -> Result<()> {
        let number = |name: &str| match values.get(name) {
            Some(t) if t.numel() == 1 => Ok(t.item()),
            Some(t) => Err(Error::other(format!(
                "plateau: `{name}` has shape {:?}, and must be one number",
                t.shape()
            ))),
            None => Err(Error::other(format!("plateau: the state lacks `{name}`"))
                .help("the file was not written with a plateau schedule")),
        };
        let count = |name: &str| match number(name)? {
            x if x >= 0.0 && x.fract() == 0.0 && x < 9e15 => Ok(x as u64),
            x => Err(Error::other(format!("plateau: `{name}` is {x}, and must be a count"))),
        };
        let (best, bad, cooling) = (number("best")?, count("bad")?, count("cooling")?);
        (self.best, self.bad, self.cooling) = (best, bad, cooling);
        Ok(())
    }
}
