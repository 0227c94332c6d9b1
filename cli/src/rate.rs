//! The learning rate of every step: a schedule known beforehand, or one that follows the validation loss.

use std::collections::HashMap;

use cotangent::Tensor;
use cotangent::optim::{Adagrad, Adam, AdamW, Anneal, Optimizer, Plateau, RmsProp, Schedule, Sgd, Threshold};

use crate::config::{AnnealName, OptimConfig, OptimName, ScheduleName, ThresholdName};
use crate::diagnostic::{Diagnostic, Exit};

/// The update rule of a resolved configuration.
pub(crate) fn optimizer(config: &OptimConfig) -> Box<dyn Optimizer> {
    let number = |x: Option<f64>| x.unwrap_or_default();
    let (lr, decay, eps) = (number(config.lr), number(config.weight_decay), number(config.eps));
    let ([b1, b2], amsgrad) = (config.betas.unwrap_or_default(), config.amsgrad.unwrap_or_default());
    match config.name {
        OptimName::Sgd | OptimName::Momentum | OptimName::Nesterov => Box::new(
            Sgd::new(lr)
                .momentum(number(config.momentum))
                .dampening(number(config.dampening))
                .nesterov(config.name == OptimName::Nesterov)
                .weight_decay(decay),
        ),
        OptimName::Adagrad => Box::new(
            Adagrad::new(lr)
                .lr_decay(number(config.lr_decay))
                .initial_accumulator_value(number(config.initial_accumulator_value))
                .eps(eps)
                .weight_decay(decay),
        ),
        OptimName::RmsProp => Box::new(
            RmsProp::new(lr)
                .alpha(number(config.alpha))
                .centered(config.centered.unwrap_or_default())
                .momentum(number(config.momentum))
                .eps(eps)
                .weight_decay(decay),
        ),
        OptimName::Adam => {
            Box::new(Adam::new(lr).betas(b1, b2).amsgrad(amsgrad).eps(eps).weight_decay(decay))
        }
        OptimName::AdamW => {
            Box::new(AdamW::new(lr).betas(b1, b2).amsgrad(amsgrad).eps(eps).weight_decay(decay))
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
        let of = &config.schedule;
        let number = |x: Option<f64>| x.unwrap_or_default();
        let (gamma, low) = (number(of.gamma), number(of.min_lr));
        let plan = match of.name {
            ScheduleName::Constant => Schedule::Constant { rate },
            ScheduleName::Step => {
                let epochs = of.step_epochs.unwrap_or_default();
                Schedule::Step { rate, step_size: epochs.saturating_mul(steps).max(1), gamma }
            }
            ScheduleName::MultiStep => {
                let milestones = of.milestones.iter().flatten().map(|epoch| epoch.saturating_mul(steps));
                Schedule::MultiStep { rate, milestones: milestones.collect(), gamma }
            }
            ScheduleName::Exponential => {
                Schedule::Exponential { rate, gamma: gamma.powf(1.0 / steps.max(1) as f64) }
            }
            ScheduleName::Cosine => Schedule::Cosine { rate, total, eta_min: low },
            ScheduleName::Linear => Schedule::Linear {
                rate,
                start_factor: number(of.start_factor),
                end_factor: number(of.end_factor),
                total,
            },
            ScheduleName::OneCycle => Schedule::OneCycle {
                max_rate: rate,
                total,
                pct_start: number(of.pct_start),
                anneal: match of.anneal {
                    Some(AnnealName::Linear) => Anneal::Linear,
                    Some(AnnealName::Cosine) | None => Anneal::Cosine,
                },
                div_factor: number(of.div_factor),
                final_div_factor: number(of.final_div_factor),
                three_phase: of.three_phase.unwrap_or_default(),
            },
            ScheduleName::Plateau => {
                let threshold = match of.threshold_mode {
                    Some(ThresholdName::Abs) => Threshold::Absolute(number(of.threshold)),
                    Some(ThresholdName::Rel) | None => Threshold::Relative(number(of.threshold)),
                };
                let plateau = Plateau::new()
                    .factor(number(of.factor))
                    .patience(of.patience.unwrap_or_default())
                    .threshold(threshold)
                    .cooldown(of.cooldown.unwrap_or_default())
                    .min_rate(low);
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

    /// The rates of a schedule's settings, as TOML.
    fn rates(schedule: &str) -> Rate {
        let mut layers = crate::config::layers::Layers::default();
        let text = format!("[data]\nval_split = 0.1\n[optim]\nlr = 0.5\nschedule = {schedule}\n");
        layers.text("x.toml", text).unwrap();
        Rate::new(&layers.merge().unwrap().0.optim, 10, 20).unwrap()
    }

    #[test]
    fn schedules_take_all_their_settings() {
        let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-12, "{a} and {b}");
        let linear = rates("{ name = \"linear\", start_factor = 0.5, end_factor = 0.25 }");
        for (k, rate) in [(0, 0.25), (100, 0.1875), (200, 0.125)] {
            close(linear.at(k), rate);
        }
        // 50 steps up, 50 down again, 100 further; k counts from 0.
        let cycle = rates(
            "{ name = \"one-cycle\", pct_start = 0.25, div_factor = 5.0, final_div_factor = 10.0, \
             anneal = \"linear\", three_phase = true }",
        );
        for (k, rate) in [(0, 0.1), (49, 0.5), (98, 0.1), (199, 0.01)] {
            close(cycle.at(k), rate);
        }
        close(cycle.at(7), 0.1 + 0.4 * 7.0 / 49.0);
        let mut plateau = rates(
            "{ name = \"plateau\", patience = 0, factor = 0.5, threshold = 0.5, threshold_mode = \"abs\", \
             cooldown = 2, min_lr = 0.2 }",
        );
        // A fall by 0.4 is none; two looks are not counted after a change; 0.2 is the lowest.
        let seen = [2.0, 1.6, 1.6, 1.6, 1.6].map(|loss| {
            plateau.look(loss);
            plateau.at(0)
        });
        assert_eq!(seen, [0.5, 0.25, 0.25, 0.25, 0.2]);
    }

    #[test]
    fn every_rule_takes_its_settings() {
        use cotangent::Param;
        let after = |optim: &str| {
            let mut layers = crate::config::layers::Layers::default();
            layers.text("x.toml", format!("optim = {optim}")).unwrap();
            let w = Param::new(Tensor::from([1.0, -2.0]));
            let optimizer = optimizer(&layers.merge().unwrap().0.optim);
            (0..3).for_each(|_| optimizer.step(&w, &w.get().square().sum().backward()));
            w.value().to_vec::<f64>()
        };
        // Each setting changes what is computed, or it was not handed on.
        for (rule, settings) in [
            (
                "sgd",
                &["momentum = 0.5", "momentum = 0.5, dampening = 0.5", "weight_decay = 0.1", "lr = 0.2"][..],
            ),
            ("momentum", &["momentum = 0.5", "dampening = 0.5", "weight_decay = 0.1"]),
            ("nesterov", &["momentum = 0.5", "weight_decay = 0.1"]),
            (
                "adagrad",
                &["lr_decay = 0.5", "initial_accumulator_value = 1.0", "eps = 0.1", "weight_decay = 0.1"],
            ),
            (
                "rmsprop",
                &["alpha = 0.5", "centered = true", "momentum = 0.5", "eps = 0.1", "weight_decay = 0.1"],
            ),
            ("adam", &["betas = [0.5, 0.9]", "eps = 0.1", "weight_decay = 0.1", "lr = 0.1, amsgrad = true"]),
            ("adamw", &["betas = [0.5, 0.9]", "eps = 0.1", "weight_decay = 0.1", "lr = 0.1, amsgrad = true"]),
        ] {
            let plain = after(&format!("{{ name = \"{rule}\" }}"));
            let mut all = vec![plain];
            for setting in settings {
                let changed = after(&format!("{{ name = \"{rule}\", {setting} }}"));
                assert!(!all.contains(&changed), "{rule}: {setting} changes nothing");
                all.push(changed);
            }
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
