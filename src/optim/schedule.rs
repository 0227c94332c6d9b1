//! Rates as pure functions of the step: a resumed run asks for step k and has the rate of step k.

use crate::error::{Error, Result};

/// `α(k)`, for `k = 0, 1, …`: PyTorch's schedules in closed form. `k` counts whatever the caller steps by, batches
/// or epochs.
///
/// Source: <https://pytorch.org/docs/stable/optim.html#how-to-adjust-learning-rate>.
///
/// ```
/// use cotangent::optim::{Schedule, Sgd};
/// let schedule = Schedule::cosine(0.1, 100).warm_up(10);
/// schedule.check()?;
/// let sgd = Sgd::new(schedule.at(0));
/// for k in 0..110 {
///     sgd.set_rate(schedule.at(k));
/// }
/// assert!(sgd.rate().number() < 1e-4);
/// # Ok::<(), cotangent::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Schedule {
    /// `α`
    Constant {
        /// `α`
        rate: f64,
    },
    /// `α·γ^⌊k/s⌋` (`StepLR`)
    Step {
        /// `α`
        rate: f64,
        /// `s`
        step_size: u64,
        /// `γ`
        gamma: f64,
    },
    /// `α·γ^(number of milestones ≤ k)` (`MultiStepLR`)
    MultiStep {
        /// `α`
        rate: f64,
        /// In any order.
        milestones: Vec<u64>,
        /// `γ`
        gamma: f64,
    },
    /// `α·γᵏ` (`ExponentialLR`)
    Exponential {
        /// `α`
        rate: f64,
        /// `γ`
        gamma: f64,
    },
    /// `η + (α − η)(1 + cos(πk/T))/2`: down to η at `k = T`, and up again after it (`CosineAnnealingLR`)
    Cosine {
        /// `α`
        rate: f64,
        /// `T`
        total: u64,
        /// `η`
        eta_min: f64,
    },
    /// `α·(a + (b − a)·min(k, T)/T)` (`LinearLR`)
    Linear {
        /// `α`
        rate: f64,
        /// `a`
        start_factor: f64,
        /// `b`
        end_factor: f64,
        /// `T`
        total: u64,
    },
    /// Up from `α/div_factor` to α in the first `pct_start·T` steps, then down to
    /// `α/(div_factor·final_div_factor)` at `k = T − 1`, where it stays (`OneCycleLR`; Smith and Topin 2018)
    OneCycle {
        /// `α`, at the top.
        max_rate: f64,
        /// `T`
        total: u64,
        /// The share of the steps that go up.
        pct_start: f64,
        /// How it goes from one to the next.
        anneal: Anneal,
        /// How far below the top it starts.
        div_factor: f64,
        /// How far below the start it ends.
        final_div_factor: f64,
        /// Down to the start as fast as it came up, then the rest of the way.
        three_phase: bool,
    },
    /// `then(0)·(a + (1 − a)·k/n)` for `k < n`, `then(k − n)` from there on (`SequentialLR` of `LinearLR` and the rest)
    WarmUp {
        /// `n`
        steps: u64,
        /// `a`
        start_factor: f64,
        /// What follows.
        then: Box<Schedule>,
    },
}

/// The way between two rates, `p` from 0 to 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Anneal {
    /// `b + (a − b)(1 + cos πp)/2`
    #[default]
    Cosine,
    /// `a + (b − a)p`
    Linear,
}

impl Anneal {
    fn between(self, a: f64, b: f64, p: f64) -> f64 {
        match self {
            Anneal::Cosine => b + (a - b) / 2.0 * (1.0 + (std::f64::consts::PI * p).cos()),
            Anneal::Linear => (b - a) * p + a,
        }
    }
}

impl Schedule {
    /// `α` for ever.
    pub fn constant(rate: f64) -> Self {
        Schedule::Constant { rate }
    }

    /// A tenth every `step_size` steps.
    pub fn step(rate: f64, step_size: u64) -> Self {
        Schedule::Step { rate, step_size, gamma: 0.1 }
    }

    /// A tenth at each milestone.
    pub fn multi_step(rate: f64, milestones: impl Into<Vec<u64>>) -> Self {
        Schedule::MultiStep { rate, milestones: milestones.into(), gamma: 0.1 }
    }

    /// `γ` times as much every step.
    pub fn exponential(rate: f64, gamma: f64) -> Self {
        Schedule::Exponential { rate, gamma }
    }

    /// Down to 0 along half a cosine.
    pub fn cosine(rate: f64, total: u64) -> Self {
        Schedule::Cosine { rate, total, eta_min: 0.0 }
    }

    /// Between two multiples of the rate along a line.
    pub fn linear(rate: f64, start_factor: f64, end_factor: f64, total: u64) -> Self {
        Schedule::Linear { rate, start_factor, end_factor, total }
    }

    /// Up for 30 % of the steps from a 25th, down to a 10,000th of that, along cosines.
    pub fn one_cycle(max_rate: f64, total: u64) -> Self {
        Schedule::OneCycle {
            max_rate,
            total,
            pct_start: 0.3,
            anneal: Anneal::Cosine,
            div_factor: 25.0,
            final_div_factor: 1e4,
            three_phase: false,
        }
    }

    /// The same after `steps` more, in which the rate grows along a line from a `steps + 1`-th of its first value.
    #[must_use]
    pub fn warm_up(self, steps: u64) -> Self {
        Schedule::WarmUp { steps, start_factor: 1.0 / (steps as f64 + 1.0), then: Box::new(self) }
    }

    /// `α(k)`. Finite for every `k` once [`Schedule::check`] is content.
    pub fn at(&self, k: u64) -> f64 {
        let power = |gamma: f64, n: u64| gamma.powf(n as f64);
        match self {
            Schedule::Constant { rate } => *rate,
            Schedule::Step { rate, step_size, gamma } => rate * power(*gamma, k / (*step_size).max(1)),
            Schedule::MultiStep { rate, milestones, gamma } => {
                rate * power(*gamma, milestones.iter().filter(|m| **m <= k).count() as u64)
            }
            Schedule::Exponential { rate, gamma } => rate * power(*gamma, k),
            Schedule::Cosine { rate, total, eta_min } => {
                let angle = std::f64::consts::PI * k as f64 / (*total).max(1) as f64;
                eta_min + (rate - eta_min) * (1.0 + angle.cos()) / 2.0
            }
            Schedule::Linear { rate, start_factor, end_factor, total } => {
                let share = k.min(*total) as f64 / (*total).max(1) as f64;
                rate * (start_factor + (end_factor - start_factor) * share)
            }
            Schedule::OneCycle {
                max_rate,
                total,
                pct_start,
                anneal,
                div_factor,
                final_div_factor,
                three_phase,
            } => {
                let (initial, total) = (max_rate / div_factor, *total as f64);
                let (lowest, top, k) = (initial / final_div_factor, pct_start * total - 1.0, k as f64);
                // (last step, rate it starts from, rate it ends at)
                let two = [(top, initial, *max_rate), (total - 1.0, *max_rate, lowest)];
                let back = 2.0 * pct_start * total - 2.0;
                let three = [two[0], (back, *max_rate, initial), (total - 1.0, initial, lowest)];
                let phases = if *three_phase { &three[..] } else { &two[..] };
                let mut start = 0.0;
                for &(end, from, to) in phases {
                    if k <= end {
                        return anneal.between(
                            from,
                            to,
                            if end > start { (k - start) / (end - start) } else { 1.0 },
                        );
                    }
                    start = end;
                }
                lowest
            }
            Schedule::WarmUp { steps, start_factor, then } if k < *steps => {
                then.at(0) * (start_factor + (1.0 - start_factor) * k as f64 / *steps as f64)
            }
            Schedule::WarmUp { steps, then, .. } => then.at(k - steps),
        }
    }

    /// Are its numbers such that every `α(k)` is a rate?
    ///
    /// # Errors
    /// A number that is not finite, a rate or factor below 0, a length of 0, a share outside 0..1; with its name.
    pub fn check(&self) -> Result<()> {
        let number = |name: &str, x: f64, ok: bool, want: &str| match x.is_finite() && ok {
            true => Ok(()),
            false => Err(Error::other(format!("schedule: {name} is {x}, and must be {want}"))),
        };
        let positive = |name: &str, x: f64| number(name, x, x >= 0.0, "a finite number ≥ 0");
        let length = |name: &str, n: u64| number(name, n as f64, n > 0, "at least 1");
        match self {
            Schedule::Constant { rate } => positive("rate", *rate),
            Schedule::Step { rate, step_size, gamma } => {
                positive("rate", *rate)?;
                length("step_size", *step_size)?;
                number("gamma", *gamma, (0.0..=1.0).contains(gamma), "between 0 and 1")
            }
            Schedule::MultiStep { rate, gamma, .. } | Schedule::Exponential { rate, gamma } => {
                positive("rate", *rate)?;
                number("gamma", *gamma, (0.0..=1.0).contains(gamma), "between 0 and 1")
            }
            Schedule::Cosine { rate, total, eta_min } => {
                positive("rate", *rate)?;
                positive("eta_min", *eta_min)?;
                length("total", *total)
            }
            Schedule::Linear { rate, start_factor, end_factor, total } => {
                positive("rate", *rate)?;
                positive("start_factor", *start_factor)?;
                positive("end_factor", *end_factor)?;
                length("total", *total)
            }
            Schedule::OneCycle {
                max_rate,
                total,
                pct_start,
                div_factor,
                final_div_factor,
                three_phase,
                ..
            } => {
                positive("max_rate", *max_rate)?;
                length("total", *total)?;
                let most = if *three_phase { 0.5 } else { 1.0 };
                let want =
                    if *three_phase { "between 0 and 0.5 with three phases" } else { "between 0 and 1" };
                number("pct_start", *pct_start, (0.0..=most).contains(pct_start), want)?;
                number("div_factor", *div_factor, *div_factor > 0.0, "above 0")?;
                number("final_div_factor", *final_div_factor, *final_div_factor > 0.0, "above 0")
            }
            Schedule::WarmUp { start_factor, then, .. } => {
                number("start_factor", *start_factor, (0.0..=1.0).contains(start_factor), "between 0 and 1")?;
                then.check()
            }
        }
    }
}
