//! `[optim]`: the update rule, and how its rate moves.

use std::fmt;

use serde::de::value::{MapAccessDeserializer, StrDeserializer};
use serde::{Deserialize, Deserializer, Serialize};

use super::{Problem, fill, must};

names! {
    /// The update rule.
    OptimName {
        /// θ −= αg; with a momentum if one is given.
        Sgd = "sgd",
        /// SGD with momentum.
        Momentum = "momentum",
        /// SGD with Nesterov's momentum.
        Nesterov = "nesterov",
        /// The gradient over the size of all gradients so far.
        Adagrad = "adagrad",
        /// The gradient over its own recent size.
        RmsProp = "rmsprop",
        /// Adam.
        Adam = "adam",
        /// Adam with decoupled weight decay.
        AdamW = "adamw",
    }
}

names! {
    /// How the learning rate moves.
    ScheduleName {
        /// It stays.
        Constant = "constant",
        /// Times `gamma` every `step_epochs` epochs.
        Step = "step",
        /// Times `gamma` at each epoch of `milestones`.
        MultiStep = "multi-step",
        /// Times `gamma` over every epoch, a little at each step.
        Exponential = "exponential",
        /// Half a cosine from `lr` down to `min_lr` at the end of the run.
        Cosine = "cosine",
        /// A straight line from `lr · start_factor` to `lr · end_factor` at the end of the run.
        Linear = "linear",
        /// Up from `lr / div_factor` to `lr`, then down to `lr / div_factor / final_div_factor`.
        OneCycle = "one-cycle",
        /// Times `factor` when the validation loss has not fallen for `patience` epochs.
        Plateau = "plateau",
    }
}

names! {
    /// The way of one-cycle between two rates.
    AnnealName {
        /// Half a cosine.
        Cosine = "cosine",
        /// A straight line.
        Linear = "linear",
    }
}

names! {
    /// What `threshold` of plateau is.
    ThresholdName {
        /// A share of the best loss.
        Rel = "rel",
        /// A difference from it.
        Abs = "abs",
    }
}

/// The update rule. Settings that are not given get the rule's own default, see [`OptimConfig::resolve`]; one that
/// the rule does not have is an error.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct OptimConfig {
    /// The rule.
    pub(crate) name: OptimName,
    /// Learning rate α; the highest one, where a schedule moves it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) lr: Option<f64>,
    /// μ of sgd, momentum, nesterov and rmsprop.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) momentum: Option<f64>,
    /// τ of sgd and momentum.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) dampening: Option<f64>,
    /// β₁ and β₂ of adam and adamw.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "super::two")]
    pub(crate) betas: Option<[f64; 2]>,
    /// Whether adam and adamw divide by the largest mean of squares so far.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) amsgrad: Option<bool>,
    /// How slowly the mean of squares of rmsprop forgets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) alpha: Option<f64>,
    /// Whether rmsprop divides by the deviation from the gradient's mean.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) centered: Option<bool>,
    /// How fast the rate of adagrad falls by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) lr_decay: Option<f64>,
    /// What the sum of squares of adagrad begins with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) initial_accumulator_value: Option<f64>,
    /// ε of adagrad, rmsprop, adam and adamw.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) eps: Option<f64>,
    /// λ: added to the gradient, or with adamw taken off the weights. Left open: 0.0005 for the SGD family, as
    /// measured on held-out MNIST; else PyTorch's, 0.01 for adamw and 0 for the others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) weight_decay: Option<f64>,
    /// How the rate moves.
    #[serde(deserialize_with = "name_or_table")]
    pub(crate) schedule: ScheduleConfig,
}

impl Default for OptimConfig {
    fn default() -> Self {
        OptimConfig {
            name: OptimName::Momentum,
            lr: None,
            momentum: None,
            dampening: None,
            betas: None,
            amsgrad: None,
            alpha: None,
            centered: None,
            lr_decay: None,
            initial_accumulator_value: None,
            eps: None,
            weight_decay: None,
            schedule: ScheduleConfig::default(),
        }
    }
}

/// `optim.schedule`: how the learning rate moves; `schedule = "cosine"` is short for `{ name = "cosine" }`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ScheduleConfig {
    /// Its kind.
    pub(crate) name: ScheduleName,
    /// Steps over which the rate rises along a line before the schedule begins.
    pub(crate) warmup_steps: u64,
    /// Of step: epochs between two changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) step_epochs: Option<u64>,
    /// Of multi-step: the epochs after which it changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) milestones: Option<Vec<u64>>,
    /// Of step, multi-step and exponential: the factor of a change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) gamma: Option<f64>,
    /// Of cosine and plateau: the lowest rate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) min_lr: Option<f64>,
    /// Of linear: the first rate as a share of `lr`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) start_factor: Option<f64>,
    /// Of linear: the last rate as a share of `lr`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) end_factor: Option<f64>,
    /// Of one-cycle: the share of the run in which the rate rises.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pct_start: Option<f64>,
    /// Of one-cycle: `lr` over the first rate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) div_factor: Option<f64>,
    /// Of one-cycle: the first rate over the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) final_div_factor: Option<f64>,
    /// Of one-cycle: the way between two rates.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) anneal: Option<AnnealName>,
    /// Of one-cycle: whether it comes down to the first rate as fast as it went up, and then further.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) three_phase: Option<bool>,
    /// Of plateau: the factor of a change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) factor: Option<f64>,
    /// Of plateau: epochs without a better validation loss before a change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) patience: Option<u64>,
    /// Of plateau: how much lower is better.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) threshold: Option<f64>,
    /// Of plateau: what that is, a share or a difference.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) threshold_mode: Option<ThresholdName>,
    /// Of plateau: epochs after a change that are not counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cooldown: Option<u64>,
}

impl From<ScheduleName> for ScheduleConfig {
    fn from(name: ScheduleName) -> Self {
        ScheduleConfig {
            name,
            warmup_steps: 0,
            step_epochs: None,
            milestones: None,
            gamma: None,
            min_lr: None,
            start_factor: None,
            end_factor: None,
            pct_start: None,
            div_factor: None,
            final_div_factor: None,
            anneal: None,
            three_phase: None,
            factor: None,
            patience: None,
            threshold: None,
            threshold_mode: None,
            cooldown: None,
        }
    }
}

impl Default for ScheduleConfig {
    fn default() -> Self {
        ScheduleName::OneCycle.into()
    }
}

fn name_or_table<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ScheduleConfig, D::Error> {
    struct Either;
    impl<'de> serde::de::Visitor<'de> for Either {
        type Value = ScheduleConfig;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a schedule's name or table")
        }
        fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<ScheduleConfig, E> {
            ScheduleName::deserialize(StrDeserializer::<E>::new(name)).map(ScheduleConfig::from)
        }
        fn visit_map<A: serde::de::MapAccess<'de>>(self, map: A) -> Result<ScheduleConfig, A::Error> {
            ScheduleConfig::deserialize(MapAccessDeserializer::new(map))
        }
    }
    deserializer.deserialize_any(Either)
}

impl OptimConfig {
    /// With every key there is.
    pub(super) fn full() -> Self {
        let mut schedule = ScheduleConfig::from(ScheduleName::Step);
        schedule.step_epochs = Some(0);
        schedule.milestones = Some(Vec::new());
        schedule.anneal = Some(AnnealName::Cosine);
        schedule.three_phase = Some(false);
        schedule.threshold_mode = Some(ThresholdName::Rel);
        (schedule.patience, schedule.cooldown) = (Some(0), Some(0));
        for number in [
            &mut schedule.gamma,
            &mut schedule.min_lr,
            &mut schedule.start_factor,
            &mut schedule.end_factor,
            &mut schedule.pct_start,
            &mut schedule.div_factor,
            &mut schedule.final_div_factor,
            &mut schedule.factor,
            &mut schedule.threshold,
        ] {
            *number = Some(0.0);
        }
        OptimConfig {
            name: OptimName::Adam,
            lr: Some(0.0),
            momentum: Some(0.0),
            dampening: Some(0.0),
            betas: Some([0.0; 2]),
            amsgrad: Some(false),
            alpha: Some(0.0),
            centered: Some(false),
            lr_decay: Some(0.0),
            initial_accumulator_value: Some(0.0),
            eps: Some(0.0),
            weight_decay: Some(0.0),
            schedule,
        }
    }

    /// Checks the settings and gives those that were left open the defaults of the chosen rule: PyTorch's, but for
    /// rates and the decay of the SGD family.
    pub(super) fn resolve(&mut self) -> Result<(), Problem> {
        use OptimName::*;
        let rule = self.name;
        let owner = rule.name();
        let lr = *self.lr.get_or_insert(match rule {
            Sgd => 0.1,
            // 0.03 to 0.05 did best on 5,000 held-out MNIST images; 0.1 diverges now and then.
            Momentum | Nesterov => 0.04,
            Adagrad => 0.01,
            RmsProp | Adam | AdamW => 1e-3,
        });
        let decay = *self.weight_decay.get_or_insert(match rule {
            Sgd | Momentum | Nesterov => 5e-4,
            Adagrad | RmsProp | Adam => 0.0,
            AdamW => 1e-2,
        });
        let heavy = match rule {
            Momentum | Nesterov => Some(0.9),
            Sgd | RmsProp => Some(0.0),
            _ => None,
        };
        let damped = matches!(rule, Sgd | Momentum).then_some(0.0);
        let (adam, adagrad, rmsprop) = (matches!(rule, Adam | AdamW), rule == Adagrad, rule == RmsProp);
        let small = match rule {
            Adagrad => Some(1e-10),
            RmsProp | Adam | AdamW => Some(1e-8),
            _ => None,
        };
        let all = "sgd, momentum, nesterov or rmsprop";
        fill(&mut self.momentum, heavy, "optim.momentum", owner, all)?;
        fill(&mut self.dampening, damped, "optim.dampening", owner, "sgd or momentum")?;
        let both = "adam or adamw";
        fill(&mut self.betas, adam.then_some([0.9, 0.999]), "optim.betas", owner, both)?;
        fill(&mut self.amsgrad, adam.then_some(false), "optim.amsgrad", owner, both)?;
        fill(&mut self.alpha, rmsprop.then_some(0.99), "optim.alpha", owner, "rmsprop")?;
        fill(&mut self.centered, rmsprop.then_some(false), "optim.centered", owner, "rmsprop")?;
        let none = adagrad.then_some(0.0);
        fill(&mut self.lr_decay, none, "optim.lr_decay", owner, "adagrad")?;
        let first = "optim.initial_accumulator_value";
        fill(&mut self.initial_accumulator_value, none, first, owner, "adagrad")?;
        fill(&mut self.eps, small, "optim.eps", owner, "adagrad, rmsprop, adam or adamw")?;

        let positive = |x: f64| x.is_finite() && x > 0.0;
        let at_least_0 = |x: f64| x.is_finite() && x >= 0.0;
        let share = |x: f64| (0.0..1.0).contains(&x);
        let shown = |x: Option<f64>| x.unwrap_or_default();
        must(positive(lr), "optim.lr", "a finite number above 0", lr, "for SGD 0.05 is a good start")?;
        let mu = shown(self.momentum);
        must(share(mu), "optim.momentum", "from 0 to below 1", mu, "0.9 is usual")?;
        let good = rule != Nesterov || mu > 0.0;
        must(good, "optim.momentum", "above 0 with nesterov", mu, "0.9 is usual")?;
        let tau = shown(self.dampening);
        must((0.0..=1.0).contains(&tau), "optim.dampening", "from 0 to 1", tau, "0 is usual")?;
        let [b1, b2] = self.betas.unwrap_or_default();
        let found = format!("[{b1}, {b2}]");
        let what = "two numbers from 0 to below 1";
        must(share(b1) && share(b2), "optim.betas", what, found, "[0.9, 0.999] is usual")?;
        let rho = shown(self.alpha);
        must(share(rho), "optim.alpha", "from 0 to below 1", rho, "0.99 is usual")?;
        let what = "a finite number, 0 or more";
        let falling = shown(self.lr_decay);
        must(at_least_0(falling), "optim.lr_decay", what, falling, "0 is usual")?;
        let begin = shown(self.initial_accumulator_value);
        must(at_least_0(begin), first, what, begin, "0 is usual")?;
        let eps = self.eps.unwrap_or(1e-8);
        must(positive(eps), "optim.eps", "a finite number above 0", eps, "1e-8 is usual")?;
        must(at_least_0(decay), "optim.weight_decay", what, decay, "0 is none")?;
        self.schedule.resolve(lr)
    }
}

impl ScheduleConfig {
    /// Checks the settings and gives those that were left open the defaults of the chosen schedule.
    fn resolve(&mut self, lr: f64) -> Result<(), Problem> {
        use ScheduleName::*;
        let kind = self.name;
        let owner = format!("the {kind} schedule");
        let owner = owner.as_str();
        let (linear, cycle, plateau) = (kind == Linear, kind == OneCycle, kind == Plateau);
        let gamma = match kind {
            Step | MultiStep => Some(0.1),
            Exponential => Some(0.9),
            _ => None,
        };
        let multi = kind == MultiStep;
        if multi && self.milestones.as_ref().is_none_or(Vec::is_empty) {
            let title = "the multi-step schedule changes at `optim.schedule.milestones`, and there is none";
            let help = "write such as `schedule = { name = \"multi-step\", milestones = [4, 6] }`";
            return Err(Problem::new("optim.schedule", title, help));
        }
        let every = (kind == Step).then_some(5);
        fill(&mut self.step_epochs, every, "optim.schedule.step_epochs", owner, "the step schedule")?;
        let none = multi.then(Vec::new);
        fill(&mut self.milestones, none, "optim.schedule.milestones", owner, "the multi-step schedule")?;
        let of = "the step, multi-step or exponential schedule";
        fill(&mut self.gamma, gamma, "optim.schedule.gamma", owner, of)?;
        let low = matches!(kind, Cosine | Plateau).then_some(0.0);
        fill(&mut self.min_lr, low, "optim.schedule.min_lr", owner, "the cosine or plateau schedule")?;
        let of = "the linear schedule";
        fill(&mut self.start_factor, linear.then_some(1.0), "optim.schedule.start_factor", owner, of)?;
        fill(&mut self.end_factor, linear.then_some(0.0), "optim.schedule.end_factor", owner, of)?;
        let of = "the one-cycle schedule";
        fill(&mut self.pct_start, cycle.then_some(0.3), "optim.schedule.pct_start", owner, of)?;
        fill(&mut self.div_factor, cycle.then_some(25.0), "optim.schedule.div_factor", owner, of)?;
        let last = cycle.then_some(1e4);
        fill(&mut self.final_div_factor, last, "optim.schedule.final_div_factor", owner, of)?;
        let way = cycle.then_some(AnnealName::Cosine);
        fill(&mut self.anneal, way, "optim.schedule.anneal", owner, of)?;
        fill(&mut self.three_phase, cycle.then_some(false), "optim.schedule.three_phase", owner, of)?;
        let of = "the plateau schedule";
        fill(&mut self.factor, plateau.then_some(0.1), "optim.schedule.factor", owner, of)?;
        fill(&mut self.patience, plateau.then_some(10), "optim.schedule.patience", owner, of)?;
        fill(&mut self.threshold, plateau.then_some(1e-4), "optim.schedule.threshold", owner, of)?;
        let mode = plateau.then_some(ThresholdName::Rel);
        fill(&mut self.threshold_mode, mode, "optim.schedule.threshold_mode", owner, of)?;
        fill(&mut self.cooldown, plateau.then_some(0), "optim.schedule.cooldown", owner, of)?;

        if cycle && self.warmup_steps > 0 {
            let title =
                "the one-cycle schedule warms up by itself, and `optim.schedule.warmup_steps` is set too";
            let help = "leave `warmup_steps` out, or choose constant, step, cosine or linear";
            return Err(Problem::new("optim.schedule.warmup_steps", title, help));
        }
        let above_0 = |x: Option<f64>| x.is_none_or(|x| x > 0.0 && x <= 1.0);
        let between = |x: Option<f64>| x.is_none_or(|x| x > 0.0 && x < 1.0);
        let at_least_1 = |x: Option<f64>| x.is_none_or(|x| x.is_finite() && x >= 1.0);
        let shown = |x: Option<f64>| x.unwrap_or_default();
        must(self.step_epochs != Some(0), "optim.schedule.step_epochs", "at least 1", 0, "it counts epochs")?;
        let gamma = self.gamma;
        must(above_0(gamma), "optim.schedule.gamma", "above 0, at most 1", shown(gamma), "0.1 is usual")?;
        let low = self.min_lr;
        let to_lr = low.is_none_or(|x| (0.0..=lr).contains(&x));
        let help = format!("`optim.lr` is {lr}");
        must(to_lr, "optim.schedule.min_lr", "from 0 to the learning rate", shown(low), &help)?;
        let first = self.start_factor;
        let what = "above 0, at most 1";
        must(above_0(first), "optim.schedule.start_factor", what, shown(first), "1 is usual")?;
        let end = self.end_factor;
        let to_1 = end.is_none_or(|x| (0.0..=1.0).contains(&x));
        must(to_1, "optim.schedule.end_factor", "from 0 to 1", shown(end), "0 is usual")?;
        let start = self.pct_start;
        must(between(start), "optim.schedule.pct_start", "above 0, below 1", shown(start), "0.3 is usual")?;
        let short = self.three_phase != Some(true) || shown(start) <= 0.5;
        let what = "at most 0.5 with three phases";
        must(short, "optim.schedule.pct_start", what, shown(start), "0.3 is usual")?;
        let (div, last) = (self.div_factor, self.final_div_factor);
        must(at_least_1(div), "optim.schedule.div_factor", "at least 1", shown(div), "25 is usual")?;
        must(at_least_1(last), "optim.schedule.final_div_factor", "at least 1", shown(last), "1e4 is usual")?;
        let factor = self.factor;
        must(between(factor), "optim.schedule.factor", "above 0, below 1", shown(factor), "0.1 is usual")?;
        let better = self.threshold;
        let share = self.threshold_mode != Some(ThresholdName::Abs);
        let fine = better.is_none_or(|x| x.is_finite() && x >= 0.0 && (x < 1.0 || !share));
        let what = if share { "a share from 0 to below 1" } else { "a finite number, 0 or more" };
        must(fine, "optim.schedule.threshold", what, shown(better), "1e-4 is usual")
    }
}
