//! The training loop: steps, epochs, checkpoints, and every way in which a run can end.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use cotangent::device::cpu::isa;
use cotangent::nn::{Call, Parameters, ParametersExt};
use cotangent::ops::{CrossEntropyOptions, ExpectFinite};
use cotangent::optim::{Optimizer, clip_grad_norm, clip_grad_value};
use cotangent::{Device, Gradients, Op, Step, Tensor, attempt, finite};

use crate::checkpoint::{About, Checkpoint, OPTIM, Position, SCHEDULE};
use crate::chronicle::{Chronicle, Pace};
use crate::config::{BestName, Config};
use crate::console::Console;
use crate::data::{Data, count};
use crate::diagnostic::{Diagnostic, Exit};
use crate::evaluation::{CHUNK, Evaluation, Evaluator};
use crate::events::{Event, Figures, RunEnd, RunStart, Saved, Status, Stride};
use crate::machine;
use crate::model::{self, Model};
use crate::numerals::{self, duration, percent};
use crate::patience::{Patience, Verdict};
use crate::progress::Progress;
use crate::rate::Rate;
use crate::run_folder::{Kind, Record, RunFolder};
use crate::shell;
use crate::signal::Signals;
use crate::spread::{self, Spread};

/// What a trainer is made of.
pub(crate) struct Parts {
    /// Where the run stands, and with which settings.
    pub(crate) about: About,
    /// The examples.
    pub(crate) data: Data,
    /// The network.
    pub(crate) model: Model,
    /// The update rule.
    pub(crate) optimizer: Arc<dyn Optimizer>,
    /// Its rate.
    pub(crate) rate: Rate,
    /// What a step does beside the plain gradient.
    pub(crate) manner: Manner,
    /// Where it computes.
    pub(crate) device: Device,
    /// Worker threads.
    pub(crate) threads: usize,
    /// Where it writes.
    pub(crate) folder: RunFolder,
    /// What it writes beside its checkpoints.
    pub(crate) chronicle: Chronicle,
    /// Whether every step is computed operation by operation.
    pub(crate) eager: bool,
}

/// One training step: images and labels → loss, and how many were classified rightly.
type Body = dyn Fn([Tensor; 2]) -> (Tensor, Tensor) + Send + Sync;

/// What a step does beside the plain gradient.
#[derive(Clone, Debug, Default)]
pub(crate) struct Manner {
    /// Largest norm of the gradient; 0 is no limit.
    pub(crate) clip_norm: f64,
    /// Largest size of a number of it; 0 is no limit.
    pub(crate) clip_value: f64,
    /// How much an example of each class counts.
    pub(crate) weights: Option<Vec<f64>>,
    /// How much of each target is spread over all classes.
    pub(crate) label_smoothing: f64,
}

impl Manner {
    /// As a configuration says; `weights` are those that it means.
    pub(crate) fn new(config: &Config, weights: Option<Vec<f64>>) -> Self {
        let (clip_norm, clip_value) = (config.train.clip_norm, config.train.clip_value);
        Manner { clip_norm, clip_value, weights, label_smoothing: config.train.label_smoothing }
    }

    /// The loss of a batch.
    fn loss(&self, logits: &Tensor, y: &Tensor) -> Tensor {
        if self.weights.is_none() && self.label_smoothing == 0.0 {
            return logits.cross_entropy(y);
        }
        let weight = self.weights.as_ref().map(|w| {
            let w: Vec<f32> = w.iter().map(|w| *w as f32).collect();
            Tensor::from(w).to(&logits.device())
        });
        let label_smoothing = self.label_smoothing;
        logits.cross_entropy_with(y, &CrossEntropyOptions { weight, label_smoothing, ..Default::default() })
    }

    /// The gradients that the optimiser is given.
    fn clipped(&self, model: &Model, gradients: Gradients) -> Gradients {
        let clip = self.clip_norm;
        let gradients = if clip > 0.0 { clip_grad_norm(&**model, &gradients, clip).0 } else { gradients };
        let clip = self.clip_value;
        if clip > 0.0 { clip_grad_value(&**model, &gradients, clip) } else { gradients }
    }
}

/// The step of a network under an update rule.
fn body(model: &Model, optimizer: &Arc<dyn Optimizer>, manner: &Manner) -> Arc<Body> {
    let (model, optimizer, manner) = (model.clone(), optimizer.clone(), manner.clone());
    Arc::new(move |[x, y]: [Tensor; 2]| {
        let (loss, correct, gradients) = differentiate(&model, &manner, &x, &y);
        let gradients = manner.clipped(&model, gradients);
        let parameters: &dyn Parameters = &*model;
        optimizer.step(parameters, &gradients);
        (loss, correct)
    })
}

/// The same, recorded.
pub(crate) fn recorded(
    model: &Model,
    optimizer: &Arc<dyn Optimizer>,
    manner: &Manner,
) -> Step<2, (Tensor, Tensor)> {
    let body = body(model, optimizer, manner);
    Step::record(move |batch| body(batch))
}

/// How a step is computed.
enum Steps {
    /// Recorded once, replayed for every batch.
    Recorded(Box<Step<2, (Tensor, Tensor)>>),
    /// Operation by operation.
    Eager(Arc<Body>),
}

impl Steps {
    fn new(parts: &Parts) -> Self {
        let (model, optimizer, manner) = (&parts.model, &parts.optimizer, &parts.manner);
        match parts.eager {
            true => Steps::Eager(body(model, optimizer, manner)),
            false => Steps::Recorded(Box::new(recorded(model, optimizer, manner))),
        }
    }

    fn run(&mut self, x: &Tensor, y: &Tensor) -> cotangent::Result<(Tensor, Tensor)> {
        match self {
            Steps::Recorded(step) => attempt(|| step.run([x, y])).flatten(),
            Steps::Eager(body) => attempt(|| body([x.clone(), y.clone()])),
        }
    }
}

/// Loss, number of right answers and gradients of a batch. A loss that is not finite is a fault: no weight changes.
fn differentiate(model: &Model, manner: &Manner, x: &Tensor, y: &Tensor) -> (Tensor, Tensor, Gradients) {
    let logits = model.call(x);
    let loss = manner.loss(&logits, y).expect_finite();
    let correct = logits.detach().argmax(1).eq(y).sum();
    let gradients = loss.backward();
    (loss.detach(), correct, gradients)
}

/// How a run ended without an error.
#[derive(Clone, Copy)]
enum Ending {
    Finished,
    StoppedEarly,
    Interrupted(Exit),
}

/// A run under way.
pub(crate) struct Trainer<'c> {
    console: &'c mut Console,
    signals: Signals,
    parts: Parts,
    steps: Steps,
    evaluator: Evaluator,
    progress: Progress,
    patience: Patience,
    /// Steps in an epoch.
    steps_per_epoch: u64,
    began: Instant,
    started: String,
    /// What git has checked out.
    commit: Option<String>,
    /// The last evaluation on the test examples in this process.
    tested: Option<Evaluation>,
}

/// The loss of a step that stopped because it was not finite.
pub(crate) fn not_finite(error: &cotangent::Error) -> Option<f64> {
    match error {
        cotangent::Error::Fault(f) if f.verb == ExpectFinite.name() => Some(f.value),
        _ => None,
    }
}

pub(crate) fn lower_rate(lr: f64) -> String {
    format!("a lower rate in a new run, such as `--lr {}`", rounded((lr / 10.0).min(0.04)))
}

fn now() -> String {
    humantime::format_rfc3339_seconds(SystemTime::now()).to_string()
}

impl<'c> Trainer<'c> {
    /// A run that is about to begin or to go on.
    pub(crate) fn new(console: &'c mut Console, signals: Signals, parts: Parts) -> Self {
        let about = &parts.about;
        let batches = parts.data.batches(&about.config.data, about.config.seed).batches();
        let steps_per_epoch = batches.unwrap_or_default() as u64;
        Trainer {
            steps: Steps::new(&parts),
            evaluator: Evaluator::new(&parts.model, &parts.device),
            progress: Progress::new(console, about.config.train.epochs, steps_per_epoch),
            patience: Patience {
                limit: about.config.train.patience,
                best: about.best,
                waited: about.epochs_since_best,
            },
            steps_per_epoch,
            began: Instant::now(),
            started: now(),
            commit: machine::commit(),
            tested: None,
            console,
            signals,
            parts,
        }
    }

    /// Trains to the end, whichever it is; the run folder and the events tell of it too.
    pub(crate) fn run(mut self) -> Result<Exit, Diagnostic> {
        self.write_record(Status::Running, None, None)?;
        self.announce();
        let ended = attempt(|| self.epochs()).map_err(Diagnostic::from).flatten();
        self.progress.clear(self.console);
        let ended = ended.and_then(|ending| Ok((ending, self.fingerprint()?)));
        let (status, exit, fingerprint, reason) = match &ended {
            Ok((Ending::Finished, print)) => (Status::Finished, Exit::Success, Some(print), None),
            Ok((Ending::StoppedEarly, print)) => (Status::StoppedEarly, Exit::Success, Some(print), None),
            Ok((Ending::Interrupted(exit), print)) => (Status::Interrupted, *exit, Some(print), None),
            Err(e) if e.exit() == Exit::Diverged => (Status::Diverged, e.exit(), None, Some(e.title())),
            Err(e) => (Status::Failed, e.exit(), None, Some(e.title())),
        };
        let recorded = self.write_record(status, reason, fingerprint.map(String::as_str));
        let drawn = self.draw();
        let [test_loss, test_acc] = self.parts.about.test.unwrap_or_default();
        self.console.event(&Event::RunEnd(RunEnd {
            status,
            exit_code: exit.code(),
            epochs: self.parts.about.position.epoch,
            step: self.parts.about.position.step,
            seconds: self.began.elapsed().as_secs_f64(),
            test_acc,
            test_loss,
            fingerprint: fingerprint.map(String::as_str),
            error: reason,
        }));
        let (ending, _) = ended?;
        recorded?;
        self.conclude(ending);
        // The run is complete and saved; what could not be drawn is said last.
        drawn?;
        Ok(exit)
    }

    fn epochs(&mut self) -> Result<Ending, Diagnostic> {
        while self.parts.about.position.epoch < self.parts.about.config.train.epochs {
            if let Some(exit) = self.signals.received() {
                return self.interrupt(exit);
            }
            if !self.fit()? {
                return self.interrupt(self.signals.received().unwrap_or(Exit::Interrupted));
            }
            let Some(verdict) = self.judge()? else {
                return self.interrupt(self.signals.received().unwrap_or(Exit::Interrupted));
            };
            if verdict == Verdict::GiveUp {
                return Ok(Ending::StoppedEarly);
            }
        }
        // Everything is saved; but weights that give no numbers are no result.
        match self.parts.about.test {
            Some([None, _]) if count(&self.parts.data.test) > 0 => {
                let title = "the test loss of the final weights is not finite: the run has diverged";
                let lr = self.parts.about.config.optim.lr.unwrap_or_default();
                Err(Diagnostic::new(Exit::Diverged, title).help(lower_rate(lr)))
            }
            _ => Ok(Ending::Finished),
        }
    }

    /// The steps of an epoch that are left; whether all of them are done.
    fn fit(&mut self) -> Result<bool, Diagnostic> {
        let Position { epoch, step_in_epoch, seconds, .. } = self.parts.about.position;
        let began = Instant::now();
        self.progress.begin(self.console, epoch + 1, step_in_epoch, began);
        self.parts.chronicle.begin();
        let config = &self.parts.about.config;
        let loader = self.parts.data.batches(&config.data, config.seed);
        for batch in loader.epoch_from(epoch, step_in_epoch as usize)? {
            let [x, y] = batch?.into_array();
            self.step(&x.to(&self.parts.device), &y.to(&self.parts.device))?;
            self.parts.about.position.seconds = seconds + began.elapsed().as_secs_f64();
            if self.signals.received().is_some() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn step(&mut self, x: &Tensor, y: &Tensor) -> Result<(), Diagnostic> {
        let at = self.parts.about.position.step;
        let lr = self.parts.rate.at(at);
        self.parts.optimizer.rate().put(lr);
        let (loss, correct) = match self.steps.run(x, y) {
            Ok((loss, correct)) => (loss.item(), correct.item()),
            Err(error) => {
                return Err(not_finite(&error).map_or_else(|| error.into(), |loss| self.diverged(loss, x, y)));
            }
        };
        let examples = x.size(0) as u64;
        let position = &mut self.parts.about.position;
        position.step += 1;
        position.step_in_epoch += 1;
        position.examples += examples;
        position.loss_sum += loss * examples as f64;
        position.correct += correct as u64;
        self.progress.step(self.console, examples, loss, Instant::now());
        let (step, epoch, correct) = (position.step, position.epoch + 1, correct as u64);
        let pace = Pace { step, epoch, lr, loss, correct, examples };
        if let Some(stride) = self.parts.chronicle.step(&self.parts.folder, pace)? {
            let Stride { acc, examples_per_second: speed, .. } = stride;
            let (acc, speed) = (percent(acc), numerals::count(speed as u64));
            self.console
                .trace(&format!("  step {step}  loss {loss:.4}  acc {acc}  rate {lr:.3e}  {speed} img/s"));
            self.console.event(&Event::Step(stride));
        }
        Ok(())
    }

    /// The batch once more, operation by operation, to find where its numbers left the finite ones.
    fn diverged(&self, loss: f64, x: &Tensor, y: &Tensor) -> Diagnostic {
        let Position { epoch, step_in_epoch, .. } = self.parts.about.position;
        let (step, epoch) = (step_in_epoch + 1, epoch + 1);
        let found = Diagnostic::new(
            Exit::Diverged,
            format!("the loss is {loss} at step {step} of epoch {epoch}: the run has diverged"),
        );
        let found = match finite(|| drop(differentiate(&self.parts.model, &self.parts.manner, x, y))) {
            Err(cotangent::Error::NonFinite { message }) => found.note(without_place(&message)),
            _ => found,
        };
        let found = found.help(lower_rate(self.parts.about.config.optim.lr.unwrap_or_default()));
        let last = self.parts.folder.checkpoint(Kind::Last);
        match last.is_file() {
            true => found.note(format!("{} holds the weights from before that", last.display())),
            false => found,
        }
    }

    /// The figures of an epoch whose steps are done, and what follows from them; `None` when a signal came meanwhile.
    fn judge(&mut self) -> Result<Option<Verdict>, Diagnostic> {
        let (data, position) = (&self.parts.data, self.parts.about.position);
        let (epoch, classes, signals) = (position.epoch + 1, data.classes.len(), self.signals.clone());
        let stop = || signals.received().is_some();
        let held_out = count(&data.val) > 0;
        let (n, noun) = (numerals::count(count(&data.test) as u64), data.noun());
        let working = format!("evaluating on {n} test {noun}");
        self.progress.working(self.console, &working, Instant::now());
        let Some(test) = self.evaluator.run(&data.test, classes, CHUNK, stop)? else { return Ok(None) };
        let val = if held_out {
            let Some(val) = self.evaluator.run(&data.val, classes, CHUNK, stop)? else { return Ok(None) };
            Some(val)
        } else {
            None
        };
        let figures = Figures {
            epoch,
            step: position.step,
            lr: self.parts.rate.at(position.step.saturating_sub(1)),
            train_seconds: position.seconds,
            train_loss: position.loss_sum / position.examples as f64,
            train_acc: position.correct as f64 / position.examples as f64,
            val_loss: val.as_ref().map(|v| v.loss),
            val_acc: val.as_ref().map(Evaluation::accuracy),
            val_macro_f1: val.as_ref().map(Evaluation::macro_f1),
            val_balanced_acc: val.as_ref().map(Evaluation::balanced_accuracy),
            test_loss: test.loss,
            test_acc: test.accuracy(),
            test_macro_f1: test.macro_f1(),
            test_balanced_acc: test.balanced_accuracy(),
        };
        let spreads = self.spreads()?;
        // Of a figure that follows the validation loss; the test figures decide nothing.
        let verdict = val.as_ref().map(|val| {
            self.parts.rate.look(val.loss);
            let score = match self.parts.about.config.train.best {
                BestName::Loss => None,
                BestName::Accuracy => Some(val.accuracy()),
                BestName::MacroF1 => Some(val.macro_f1()),
                BestName::BalancedAccuracy => Some(val.balanced_accuracy()),
            };
            self.patience.look(epoch, val.loss, score)
        });
        let about = &mut self.parts.about;
        about.position = Position { epoch, step: position.step, ..Position::default() };
        (about.best, about.epochs_since_best) = (self.patience.best, self.patience.waited);
        about.test = Some([test.loss, test.accuracy()].map(|x| x.is_finite().then_some(x)));
        self.progress.finish(self.console, Instant::now());
        self.console.say(&row(&figures, self.parts.about.config.train.best));
        self.parts.folder.append_metrics(&figures)?;
        let Parts { chronicle, folder, data, model, .. } = &mut self.parts;
        chronicle.epoch(folder, &figures, &test, data, model, &spreads)?;
        self.tested = Some(test);
        self.console.event(&Event::Epoch(figures));
        self.save(verdict.is_none_or(|v| v == Verdict::Better))?;
        self.write_record(Status::Running, None, None)?;
        Ok(Some(verdict.unwrap_or(Verdict::Wait)))
    }

    /// Weights, gradients and updates after the epoch's steps: with its last batch, at the rate of its middle.
    fn spreads(&self) -> Result<Vec<Spread>, Diagnostic> {
        let Parts { about, data, model, optimizer, manner, device, .. } = &self.parts;
        let (epoch, done) = (about.position.epoch, self.steps_per_epoch.saturating_sub(1));
        let mut left =
            data.batches(&about.config.data, about.config.seed).epoch_from(epoch, done as usize)?;
        let Some(batch) = left.next() else { return Ok(Vec::new()) };
        let [x, y] = batch?.into_array();
        let (x, y) = (x.to(device), y.to(device));
        // Every step puts its own.
        optimizer
            .rate()
            .put(self.parts.rate.at(about.position.step.saturating_sub(self.steps_per_epoch / 2 + 1)));
        spread::measure(model, &**optimizer, || manner.clipped(model, differentiate(model, manner, &x, &y).2))
    }

    /// Writes `last`, and the same as `best`.
    fn save(&mut self, is_best: bool) -> Result<(), Diagnostic> {
        let checkpoint = self.checkpoint()?;
        let kinds = if is_best { &[Kind::Last, Kind::Best][..] } else { &[Kind::Last] };
        for kind in kinds {
            let path = self.parts.folder.checkpoint(*kind);
            checkpoint.write(&path)?;
            let Position { epoch, step, .. } = self.parts.about.position;
            self.console.event(&Event::Checkpoint(Saved { kind: kind.name(), path: &path, epoch, step }));
        }
        Ok(())
    }

    fn checkpoint(&mut self) -> Result<Checkpoint, Diagnostic> {
        let Parts { model, optimizer, rate, about, .. } = &mut self.parts;
        for (name, t) in model.state_dict() {
            if !t.try_to_vec::<f64>()?.iter().all(|x| x.is_finite()) {
                let title = format!("`{name}` is not finite after step {}", about.position.step);
                return Err(Diagnostic::new(Exit::Diverged, title)
                    .help("a lower rate, or a limit on the gradient: `--set train.clip_norm=1`"));
            }
        }
        snapshot(model, &**optimizer, rate, about)
    }

    /// Plots and the report, of whatever there is by now.
    fn draw(&self) -> Result<(), Diagnostic> {
        let Parts { chronicle, folder, data, model, about, .. } = &self.parts;
        chronicle.conclude(folder, about.position.epoch, self.tested.as_ref(), data, model)
    }

    fn fingerprint(&self) -> Result<String, Diagnostic> {
        let tensors = model::weights(&self.parts.model)?;
        Ok(Checkpoint { tensors, about: self.parts.about.clone() }.fingerprint())
    }

    /// The step is finished; saves and says how to go on.
    fn interrupt(&mut self, exit: Exit) -> Result<Ending, Diagnostic> {
        self.progress.clear(self.console);
        // Without validation `best` is `last`, always.
        self.save(count(&self.parts.data.val) == 0)?;
        Ok(Ending::Interrupted(exit))
    }

    fn write_record(
        &self,
        status: Status,
        reason: Option<&str>,
        fingerprint: Option<&str>,
    ) -> Result<(), Diagnostic> {
        let about = &self.parts.about;
        let [test_loss, test_acc] = about.test.unwrap_or_default();
        self.parts.folder.write_record(&Record {
            status,
            reason: reason.map(String::from),
            version: env!("CARGO_PKG_VERSION").into(),
            started: self.started.clone(),
            ended: (status != Status::Running).then(now),
            pid: std::process::id(),
            command: std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect(),
            git: self.commit.clone(),
            host: machine::host(),
            device: self.parts.device.to_string(),
            isa: isa().name().into(),
            features: machine::features().into_iter().map(String::from).collect(),
            threads: self.parts.threads,
            seed: about.config.seed,
            epochs: about.position.epoch,
            step: about.position.step,
            test_acc,
            test_loss,
            fingerprint: fingerprint.map(String::from),
        })
    }

    /// Tells machines what begins, and people how to read what follows.
    fn announce(&mut self) {
        let Parts { about, data, device, threads, folder, model, .. } = &self.parts;
        let config = serde_json::to_value(about.config.table()).unwrap_or_default();
        self.console.event(&Event::RunStart(RunStart {
            version: env!("CARGO_PKG_VERSION"),
            run: folder.path(),
            model: about.config.model.name(),
            parameters: model.parameter_count(),
            data: &about.config.data.name.to_string(),
            train_examples: count(&data.train),
            val_examples: count(&data.val),
            test_examples: count(&data.test),
            device: &device.to_string(),
            threads: *threads,
            isa: isa().name(),
            seed: about.config.seed,
            epochs: about.config.train.epochs,
            steps_per_epoch: self.steps_per_epoch,
            resumed_at_step: about.position.step,
            config: &config,
        }));
        if about.position.epoch < about.config.train.epochs {
            self.console.say(&heading((count(&data.val) > 0).then_some(about.config.train.best)));
        }
    }

    /// The last lines.
    fn conclude(&mut self, ending: Ending) {
        let path = self.parts.folder.path();
        let (run, word) = (path.display().to_string(), shell::word(path));
        let position = self.parts.about.position;
        if let Ending::Interrupted(exit) = ending {
            let why = if exit == Exit::Success { "the time is up" } else { "interrupted" };
            let last = self.parts.folder.checkpoint(Kind::Last);
            let step = numerals::count(position.step);
            self.console.conclude(&format!("{why}: finished step {step} and saved {}", last.display()));
            self.console.say(&format!("  continue with: cotangent train --resume {word}"));
            return;
        }
        self.console.say("");
        if let Ending::StoppedEarly = ending {
            let (waited, best) = (self.patience.waited, self.patience.best);
            let best = best.map_or(String::new(), |b| format!("; the best was epoch {}", b.epoch));
            let figure = self.parts.about.config.train.best.name().replace('_', " ");
            self.console
                .say(&format!("  stopped after {waited} epochs without a better validation {figure}{best}"));
        }
        let Some(test) = &self.tested else {
            let all = match position.epoch {
                1 => "its 1 epoch".to_string(),
                n => format!("all its {n} epochs"),
            };
            self.console.conclude(&format!("  {run} has {all} already"));
            self.console.say("  `--epochs N` with a larger N goes on");
            return;
        };
        let (images, wrong) = (test.examples(), test.examples() - test.correct());
        let (images, wrong) = (numerals::count(images), numerals::count(wrong));
        let (accuracy, epochs) = (percent(test.accuracy()), position.epoch);
        let plural = if epochs == 1 { "" } else { "s" };
        let time = duration(self.began.elapsed());
        let more = match self.parts.about.config.train.best {
            BestName::MacroF1 => format!(", macro-F1 {}", percent(test.macro_f1())),
            BestName::BalancedAccuracy => format!(", balanced {}", percent(test.balanced_accuracy())),
            BestName::Loss | BestName::Accuracy => String::new(),
        };
        let (hardest, noun) = (test.hardest_line(&self.parts.data.classes), self.parts.data.noun());
        let example = self.parts.about.config.data.name.example();
        self.console.conclude(&format!(
            "  {accuracy} on {images} test {noun} ({wrong} wrong{more}) after {epochs} epoch{plural} in {time}"
        ));
        if let Some(hardest) = hardest {
            self.console.say(&format!("  {hardest}"));
        }
        match self.parts.about.config.log.plots {
            true => self.console.say(&format!("  {run}/report.html")),
            false => self.console.say(&format!("  {run}")),
        }
        self.console.say(&format!("  next: cotangent predict {word} {example} · cotangent eval {word}"));
        if let Ok(print) = self.fingerprint() {
            self.console.detail(&format!("  fingerprint of the weights: {print}"));
        }
    }
}

/// Everything that a run needs to go on bit for bit.
pub(crate) fn snapshot(
    model: &Model,
    optimizer: &dyn Optimizer,
    rate: &Rate,
    about: &mut About,
) -> Result<Checkpoint, Diagnostic> {
    let mut tensors = model::weights(model)?;
    for (name, t) in optimizer.state() {
        tensors.insert(format!("{OPTIM}{name}"), model::stored(&t)?);
    }
    for (name, t) in rate.state() {
        tensors.insert(format!("{SCHEDULE}{name}"), model::stored(&t)?);
    }
    about.rng.clear();
    for (name, rng) in model.generators() {
        if let [seed, stream, offset] = rng.state().try_to_vec::<i64>()?[..] {
            about.rng.insert(name, [seed, stream, offset]);
        }
    }
    Ok(Checkpoint { tensors, about: about.clone() })
}

/// `matmul in fc2 at src/x.rs:8:2 gave …` without the line of source code, which says nothing to who runs the program.
fn without_place(message: &str) -> String {
    let cut = message.split_once(" at ").and_then(|(before, rest)| {
        let gave = rest.find(" gave ")?;
        Some(format!("{before}{}", &rest[gave..]))
    });
    cut.unwrap_or_else(|| message.to_string())
}

/// With two digits that count.
fn rounded(x: f64) -> f64 {
    format!("{x:.1e}").parse().unwrap_or(x)
}

/// The table's first line; with columns for validation where there is any, the figure among them that `best` follows.
fn heading(validation: Option<BestName>) -> String {
    let mut cells = vec!["epoch", "train loss", "train acc", "test loss", "test acc", "time"];
    if let Some(best) = validation {
        let figure = match best {
            BestName::MacroF1 => "val F1",
            BestName::BalancedAccuracy => "val bal.",
            BestName::Loss | BestName::Accuracy => "val acc",
        };
        cells.splice(3..3, ["val loss", figure]);
    }
    line(cells.into_iter().map(String::from).collect())
}

/// A line of the table.
fn row(f: &Figures, best: BestName) -> String {
    let loss = |x: f64| format!("{x:.4}");
    let time = duration(std::time::Duration::try_from_secs_f64(f.train_seconds).unwrap_or_default());
    let mut cells = vec![f.epoch.to_string(), loss(f.train_loss), percent(f.train_acc)];
    let figure = match best {
        BestName::MacroF1 => f.val_macro_f1,
        BestName::BalancedAccuracy => f.val_balanced_acc,
        BestName::Loss | BestName::Accuracy => f.val_acc,
    };
    if let (Some(val), Some(figure)) = (f.val_loss, figure) {
        cells.extend([loss(val), percent(figure)]);
    }
    cells.extend([loss(f.test_loss), percent(f.test_acc), time]);
    line(cells)
}

/// Cells in columns; more of them stand closer, so that a terminal of 80 columns holds them.
fn line(cells: Vec<String>) -> String {
    let widths: &[usize] =
        if cells.len() > 6 { &[7, 12, 11, 10, 10, 11, 10, 8] } else { &[7, 13, 12, 12, 11, 9] };
    cells.iter().zip(widths).map(|(cell, width)| format!("{cell:>width$}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_in_the_source_is_left_out() {
        let message = "matmul in fc2 at a/b.rs:8:2 gave 9 of 64 values, the first -inf at position 3";
        assert_eq!(without_place(message), "matmul in fc2 gave 9 of 64 values, the first -inf at position 3");
        assert_eq!(without_place("ln gave 1 at position 0"), "ln gave 1 at position 0");
        assert_eq!([rounded(0.07 / 10.0), rounded(50.0)], [0.007, 50.0]);
    }

    #[test]
    fn the_table_stands_in_columns() {
        let figures = Figures {
            epoch: 3,
            train_loss: 0.3127,
            train_acc: 0.9061,
            test_loss: f64::NAN,
            test_acc: 1.0,
            train_seconds: 6.08,
            ..Figures::default()
        };
        assert_eq!(heading(None), "  epoch   train loss   train acc   test loss   test acc     time");
        let best = BestName::MacroF1;
        assert_eq!(row(&figures, best), "      3       0.3127      90.61%         NaN    100.00%     6.1s");
        let validated =
            Figures { val_loss: Some(0.25), val_acc: Some(0.5), val_macro_f1: Some(0.75), ..figures };
        for (best, words, cell) in
            [(best, "  val loss    val F1  ", "75.00%"), (BestName::Loss, "  val loss   val acc  ", "50.00%")]
        {
            let (head, row) = (heading(Some(best)), row(&validated, best));
            assert!(head.contains(words) && row.contains(cell), "{head}\n{row}");
            assert_eq!((row.chars().count(), head.chars().count()), (79, 79));
        }
    }
}
