//! The learning rate of every step: a schedule known beforehand, or one that follows the validation loss.

use std::collections::HashMap;

use cotangent::Tensor;
use cotangent::optim::{Adam, AdamW, Anneal, Optimizer, Plateau, Schedule, Sgd};

use crate::config::{self, OptimConfig};
use crate::diagnostic::{Diagnostic, Exit};

/// The update rule of a resolved configuration.
pub(crate) fn optimizer(config: &OptimConfig) -> Box<dyn Optimizer> {
    let lr = config.lr.unwrap_or_default();
    match config.optimizer() {
        config::Optimizer::Sgd { momentum, dampening, nesterov, weight_decay } => Box::new(
            Sgd::new(lr)
                .momentum(momentum)
                .dampening(dampening)
                .nesterov(nesterov)
                .weight_decay(weight_decay),
        ),
        config::Optimizer::Adam { betas: [b1, b2], eps, weight_decay, decoupled: false } => {
            Box::new(Adam::new(lr).betas(b1, b2).eps(eps).weight_decay(weight_decay))
        }
        config::Optimizer::Adam { betas: [b1, b2], eps, weight_decay, decoupled: true } => {
            Box::new(AdamW::new(lr).betas(b1, b2).eps(eps).weight_decay(weight_decay))
        }
    }
}

/// The learning rate as a function of the step.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Rate {
    /// Known beforehand.
    Planned(Schedule),
    /// Lowered when the validation loss stops falling.
    Plateau {
        /// What it has seen.
        plateau: Plateau,
        /// The rate as it is now.
        rate: f64,
        /// Steps over which the first rate is approached.
        warmup: u64,
    },
}

/// The tensor of [`Rate::state`] that holds the rate.
const RATE: &str = "rate";

impl Rate {
    /// Of a run of `epochs` epochs of `steps` steps.
    pub(crate) fn new(config: &OptimConfig, epochs: u64, steps: u64) -> Result<Self, Diagnostic> {
        let (rate, warmup) = (config.lr.unwrap_or_default(), config.schedule.warmup_steps);
        let whole = epochs.saturating_mul(steps).max(1);
        let total = whole.saturating_sub(warmup);
        if total == 0 {
            let title = format!("`optim.schedule.warmup_steps` is {warmup}, and the run has {whole} steps");
            return Err(Diagnostic::new(Exit::Usage, title).help("warm up for a small share of the run"));
        }
        let plan = match config.schedule.schedule() {
            config::Schedule::Constant => Schedule::Constant { rate },
            config::Schedule::Step { epochs, gamma } => {
                Schedule::Step { rate, step_size: epochs.saturating_mul(steps).max(1), gamma }
            }
            config::Schedule::MultiStep { milestones, gamma } => {
                let milestones = milestones.iter().map(|epoch| epoch.saturating_mul(steps)).collect();
                Schedule::MultiStep { rate, milestones, gamma }
            }
            config::Schedule::Exponential { gamma } => {
                Schedule::Exponential { rate, gamma: gamma.powf(1.0 / steps.max(1) as f64) }
            }
            config::Schedule::Cosine { min_lr } => Schedule::Cosine { rate, total, eta_min: min_lr },
            config::Schedule::Linear { end_factor } => {
                Schedule::Linear { rate, start_factor: 1.0, end_factor, total }
            }
            config::Schedule::OneCycle { pct_start, div_factor, final_div_factor } => Schedule::OneCycle {
                max_rate: rate,
                total,
                pct_start,
                anneal: Anneal::Cosine,
                div_factor,
                final_div_factor,
                three_phase: false,
            },
            config::Schedule::Plateau { factor, patience, min_lr } => {
                let plateau = Plateau::new().factor(factor).patience(patience).min_rate(min_lr);
                return Ok(Rate::Plateau { plateau, rate, warmup });
            }
        };
        let plan = if warmup > 0 { plan.warm_up(warmup) } else { plan };
        plan.check()?;
        Ok(Rate::Planned(plan))
    }

    /// The rate of step 0, 1, 2, …
    pub(crate) fn at(&self, step: u64) -> f64 {
        match self {
            Rate::Planned(plan) => plan.at(step),
            Rate::Plateau { rate, warmup: 0, .. } => *rate,
            Rate::Plateau { rate, warmup, .. } => Schedule::constant(*rate).warm_up(*warmup).at(step),
        }
    }

    /// Sees the validation loss of an epoch.
    pub(crate) fn look(&mut self, val_loss: f64) {
        if let Rate::Plateau { plateau, rate, .. } = self {
            *rate = plateau.step(val_loss, *rate);
        }
    }

    /// What it remembers, for a checkpoint.
    pub(crate) fn state(&self) -> Vec<(String, Tensor)> {
        match self {
            Rate::Planned(_) => Vec::new(),
            Rate::Plateau { plateau, rate, .. } => {
                let mut all = plateau.state();
                all.push((RATE.to_string(), Tensor::from(*rate)));
                all
            }
        }
    }

    /// Takes what [`Rate::state`] gave.
    pub(crate) fn load(&mut self, values: &HashMap<String, Tensor>) -> Result<(), Diagnostic> {
        let Rate::Plateau { plateau, rate, .. } = self else { return Ok(()) };
        plateau.load_state(values).map_err(|e| Diagnostic::from(e).exiting(Exit::Data))?;
        match values.get(RATE).filter(|t| t.numel() == 1).map(Tensor::item) {
            Some(x) if x.is_finite() && x >= 0.0 => *rate = x,
            _ => return Err(Diagnostic::new(Exit::Data, "the checkpoint lacks the schedule's rate")),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, ScheduleName};

    fn rate(name: ScheduleName, warmup: u64) -> Result<Rate, Diagnostic> {
        let mut config = Config::default();
        config.data.val_split = 0.1;
        config.optim.lr = Some(0.5);
        config.optim.schedule.name = name;
        config.optim.schedule.warmup_steps = warmup;
        config.resolve().unwrap();
        Rate::new(&config.optim, 10, 20)
    }

    #[test]
    fn every_schedule_begins_and_ends_where_it_should() {
        for (name, first, last) in [
            (ScheduleName::Constant, 0.5, 0.5),
            (ScheduleName::Step, 0.5, 0.05),
            (ScheduleName::Exponential, 0.5, 0.5 * 0.9_f64.powi(10)),
            (ScheduleName::Cosine, 0.5, 0.0),
            (ScheduleName::Linear, 0.5, 0.0),
            (ScheduleName::OneCycle, 0.02, 0.02 / 1e4),
            (ScheduleName::Plateau, 0.5, 0.5),
        ] {
            let rate = rate(name, 0).unwrap();
            assert!((rate.at(0) - first).abs() < 1e-12, "{name}: {}", rate.at(0));
            assert!((rate.at(199) - last).abs() < 5e-3, "{name}: {}", rate.at(199));
        }
    }

    #[test]
    fn a_warm_up_rises_to_the_first_rate_and_must_end_before_the_run() {
        for name in [ScheduleName::Cosine, ScheduleName::Plateau] {
            let rate = rate(name, 50).unwrap();
            assert!(rate.at(0) < 0.02 && rate.at(25) < rate.at(49), "{name}");
            assert!((rate.at(50) - 0.5).abs() < 1e-12, "{name}");
        }
        assert_eq!(rate(ScheduleName::Cosine, 200).unwrap_err().exit(), Exit::Usage);
    }

    #[test]
    fn a_plateau_goes_on_where_it_stood() {
        let mut a = rate(ScheduleName::Plateau, 0).unwrap();
        (0..8).for_each(|_| a.look(1.0));
        let mut b = rate(ScheduleName::Plateau, 0).unwrap();
        b.load(&a.state().into_iter().collect()).unwrap();
        for _ in 0..20 {
            a.look(1.0);
            b.look(1.0);
            assert_eq!(a.at(7).to_bits(), b.at(7).to_bits());
        }
        assert!(a.at(7) < 0.1);
        assert_eq!(b.load(&HashMap::new()).unwrap_err().exit(), Exit::Data);
    }
}
