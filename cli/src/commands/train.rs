//! `cotangent train`: a new run, or one that goes on.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cotangent::device::cpu::isa;
use cotangent::nn::{Parameters, ParametersExt, Summary};
use cotangent::optim::Optimizer;
use cotangent::{Device, Tensor, attempt};

use crate::checkpoint::{About, Checkpoint, OPTIM, SCHEDULE};
use crate::chronicle::Chronicle;
use crate::config::layers::Layers;
use crate::config::{BestName, Config, DeviceName, SamplerName, ScheduleName};
use crate::console::Console;
use crate::data::{Data, count};
use crate::diagnostic::{Diagnostic, Exit};
use crate::flags::{Global, Train};
use crate::machine;
use crate::model::{self, Model};
use crate::numerals::{self, duration};
use crate::rate::{self, Rate};
use crate::run_folder::{self, Kind, RunFolder};
use crate::signal::Signals;
use crate::trainer::{self, Manner, Parts, Trainer};

/// Trains, from the beginning or from where a run was left.
pub(crate) fn run(flags: &Train, global: &Global, console: &mut Console) -> Result<Exit, Diagnostic> {
    let plan = match &flags.resume {
        Some(path) => Plan::resumed(path, flags, global)?,
        None => Plan::new(flags, global, console)?,
    };
    let device = machine::device(plan.config().device)?;
    let threads = machine::threads(plan.config().threads);
    if flags.dry_run {
        return machine::with_threads(threads, || plan.rehearse(&device, threads, console));
    }
    let deaf = |e| Diagnostic::new(Exit::Failure, format!("cannot listen to signals: {e}"));
    let signals = Signals::install().map_err(deaf)?;
    if let Some(limit) = flags.max_time {
        signals.expire(limit).map_err(deaf)?;
    }
    // The way of a smoke test leads through a folder of its own.
    let aside =
        flags.smoke.then(|| std::env::temp_dir().join(format!("cotangent-smoke-{}", std::process::id())));
    let out = aside.as_deref().unwrap_or(&flags.out);
    let ended = machine::with_threads(threads, || {
        let parts = plan.parts(flags, out, device, threads, console)?;
        Trainer::new(console, signals, parts).run()
    });
    if let Some(aside) = aside {
        let removed = std::fs::remove_dir_all(&aside);
        if matches!(ended, Ok(Exit::Success)) {
            removed.map_err(|e| Diagnostic::io(Exit::Failure, "cannot remove", &aside, &e))?;
            console
                .conclude("  smoke test passed: trained, evaluated, saved and drawn; its folder is removed");
        }
    }
    ended
}

/// Steps that are timed where a run is only planned; one goes before them.
const TIMED: usize = 3;

/// What is to be done, before anything of it is begun.
enum Plan {
    /// A run with these settings.
    New(Box<(Config, Layers)>),
    /// The run of this checkpoint, which was begun for so many epochs.
    Resumed(Box<Checkpoint>, RunFolder, u64),
}

impl Plan {
    fn new(flags: &Train, global: &Global, console: &mut Console) -> Result<Self, Diagnostic> {
        let mut layers = flags.settings.layers(global)?;
        for (unwanted, flag, key) in [
            (flags.no_plots, "--no-plots", "log.plots"),
            (flags.no_tensorboard, "--no-tensorboard", "log.tensorboard"),
        ] {
            if unwanted {
                layers.flag(flag, key, false, "")?;
            }
        }
        if flags.smoke {
            layers.flag("--smoke", "train.epochs", 1, "")?;
        }
        let (mut config, origins) = layers.merge()?;
        if flags.smoke {
            config.data.fraction = Some(2.0 * config.data.batch as f64);
        }
        for line in config.listing(&origins) {
            console.detail(&line);
        }
        // Row A17: the log says it.
        if config.data.sampler != SamplerName::Iid {
            console.detail("  given the past, gradients in this order are not unbiased: `cotangent why A17`");
        }
        Ok(Plan::New(Box::new((config, layers))))
    }

    fn resumed(path: &Path, flags: &Train, global: &Global) -> Result<Self, Diagnostic> {
        let found = run_folder::find(path, Kind::Last)?;
        let Some(run) = found.run else {
            let title = format!("{} lies in no run folder, and a run goes on in its own", path.display());
            return Err(Diagnostic::new(Exit::Usage, title)
                .help("`--resume` takes a run folder, or a checkpoint in its folder `checkpoints`"));
        };
        let folder = RunFolder::open(run)?;
        let mut checkpoint = Checkpoint::read(&found.checkpoint)?;
        let config = &mut checkpoint.about.config;
        let before = config.train.epochs;
        config.log.plots &= !flags.no_plots;
        config.log.tensorboard &= !flags.no_tensorboard;
        if let Some(epochs) = flags.settings.epochs {
            config.train.epochs = u64::try_from(epochs).unwrap_or_default();
        }
        if let Some(device) = &global.device {
            config.device = DeviceName::try_from(device.clone())
                .map_err(|words| Diagnostic::new(Exit::Usage, format!("`device`: {words}")))?;
        }
        if let Some(threads) = global.threads {
            config.threads = threads as usize;
        }
        config.resolve().map_err(|problem| {
            Diagnostic::new(Exit::Usage, problem.title)
                .help(problem.help)
                .note("in the resumed run's settings")
        })?;
        Ok(Plan::Resumed(Box::new(checkpoint), folder, before))
    }

    fn config(&self) -> &Config {
        match self {
            Plan::New(new) => &new.0,
            Plan::Resumed(checkpoint, ..) => &checkpoint.about.config,
        }
    }

    /// Says what would be trained and how long that would take.
    fn rehearse(self, device: &Device, threads: usize, console: &mut Console) -> Result<Exit, Diagnostic> {
        let Plan::New(new) = self else { return Ok(Exit::Success) };
        let (mut config, layers) = *new;
        let origins = layers.merge()?.1;
        let data = Data::load(&config.data, config.seed, None)?;
        config.model = model::suitable(config.model, &data.shape);
        needs_validation(&config, &data)?;
        let (n, classes) = (count(&data.train), data.classes.len());
        let (architecture, place) = ((&config).into(), |problem| layers.place(&problem));
        let batch = config.data.batch.min(n);
        let (model, summary) =
            model::build_at(&architecture, &data.shape, classes, config.seed, batch, &place)?;
        model::must_train(&architecture, &data.shape, classes, &config.data, n, &place)?;
        model.to_device(device);
        let loader = data.batches(&config.data, config.seed);
        let steps = loader.batches().unwrap_or_default() as u64;
        let optimizer: Arc<dyn Optimizer> = rate::optimizer(&config.optim).into();
        optimizer.rate().put(Rate::new(&config.optim, config.train.epochs, steps)?.at(0));
        let manner = Manner::new(&config, data.weights(config.train.class_weights.as_ref())?);
        let mut step = trainer::recorded(&model, &optimizer, &manner);
        let mut spent = Vec::new();
        for batch in loader.epoch(0)?.take(TIMED + 1) {
            let [x, y] = batch?.into_array();
            let (x, y) = (x.to(device), y.to(device));
            let began = Instant::now();
            let ran = attempt(|| step.run([&x, &y])).flatten().map(|(loss, _)| loss.item());
            ran.map_err(|error| match trainer::not_finite(&error) {
                None => Diagnostic::from(error),
                Some(loss) => {
                    let title =
                        format!("the loss is {loss} at step {}: the run would diverge", spent.len() + 1);
                    let help = trainer::lower_rate(config.optim.lr.unwrap_or_default());
                    Diagnostic::new(Exit::Diverged, title).help(help)
                }
            })?;
            spent.push(began.elapsed().as_secs_f64());
        }
        // With the first the step was recorded, which is done once.
        let timed = &spent[usize::from(spent.len() > 1)..];
        let each = timed.iter().sum::<f64>() / timed.len().max(1) as f64;
        let all = config.train.epochs.saturating_mul(steps);
        if console.json() {
            console.print_json(&serde_json::json!({
                "config": config.table(), "device": device.to_string(), "threads": threads,
                "parameters": model.parameter_count(), "train_examples": n, "val_examples": count(&data.val),
                "test_examples": count(&data.test), "steps_per_epoch": steps, "steps": all,
                "step_seconds": each, "train_seconds": each * all as f64,
            }))?;
            return Ok(Exit::Success);
        }
        config.listing(&origins).iter().try_for_each(|line| console.print(line))?;
        console.print(&format!("\n{}\n\n{summary}\n", machine::describe(device, threads)))?;
        let time = duration(Duration::try_from_secs_f64(each * all as f64).unwrap_or_default());
        let (noun, epochs) = (data.noun(), config.train.epochs);
        let counted = [n, count(&data.val), count(&data.test)].map(|n| numerals::count(n as u64));
        let [fitted, val, test] = counted;
        console.print(&format!(
            "\n  {fitted} {noun} for training, {val} for validation, {test} for testing\n  \
             {steps} steps an epoch, {} in {epochs} epochs: about {time}, at {:.2} ms a step\n  \
             nothing is written",
            numerals::count(all),
            each * 1e3,
        ))?;
        Ok(Exit::Success)
    }

    /// Reads the examples, makes the network, and opens the run folder.
    fn parts(
        self,
        flags: &Train,
        out: &Path,
        device: Device,
        threads: usize,
        console: &mut Console,
    ) -> Result<Parts, Diagnostic> {
        let mut config = self.config().clone();
        let data = Data::load(&config.data, config.seed, None)?;
        config.model = model::suitable(config.model, &data.shape);
        needs_validation(&config, &data)?;
        let manner = Manner::new(&config, data.weights(config.train.class_weights.as_ref())?);
        let batch = config.data.batch.min(count(&data.train));
        let (model, summary) = match &self {
            Plan::New(new) => {
                let place = |problem| new.1.place(&problem);
                let classes = data.classes.len();
                let architecture = (&config).into();
                let n = count(&data.train);
                let built = model::build_at(&architecture, &data.shape, classes, config.seed, batch, &place)?;
                model::must_train(&architecture, &data.shape, classes, &config.data, n, &place)?;
                built
            }
            Plan::Resumed(checkpoint, ..) => {
                same_examples(&checkpoint.about, &data)?;
                let (architecture, n, classes) = ((&config).into(), count(&data.train), data.classes.len());
                model::must_train(&architecture, &data.shape, classes, &config.data, n, &|p| p.into())?;
                model::restore(checkpoint, batch)?
            }
        };
        let steps = data.batches(&config.data, config.seed).batches().unwrap_or_default() as u64;
        let mut rate = Rate::new(&config.optim, config.train.epochs, steps)?;
        let optimizer: Arc<dyn Optimizer> = rate::optimizer(&config.optim).into();
        model.to_device(&device);
        let mut remarks = data.remarks.clone();
        if !flags.smoke {
            remarks.extend(few_steps(count(&data.train), config.data.batch, data.noun()));
        }
        let (about, folder) = match self {
            Plan::New(_) => {
                let normalisation = data.normalisation.clone();
                let shape = data.shape.clone();
                let mut about =
                    About::new(config.clone(), isa().name(), data.classes.clone(), shape, normalisation);
                about.features = data.features.clone();
                about.examples = data.fingerprint.clone();
                let folder = match &flags.name {
                    Some(name) => RunFolder::named(out, name, flags.force)?,
                    None => {
                        let stem = format!("{}-{}", config.model, config.data.name.short());
                        RunFolder::numbered(out, &stem)?
                    }
                };
                folder.point_latest()?;
                if let Some(other) = folder.renamed() {
                    remarks.push(format!("the run that had the name is now {}", other.display()));
                }
                (about, folder)
            }
            Plan::Resumed(checkpoint, mut folder, before) => {
                let old = Rate::new(&config.optim, before, steps);
                remarks.extend(old.ok().and_then(|old| {
                    planned_anew(&config, before, checkpoint.about.position.step, &old, &rate)
                }));
                recall(&checkpoint, &model, &*optimizer, &mut rate)?;
                folder.keep_to(checkpoint.about.position.epoch, checkpoint.about.position.step)?;
                (checkpoint.about, folder)
            }
        };
        introduce(console, &config, &summary, &device, threads, &folder, &about)?;
        remarks.iter().for_each(|remark| console.say(&format!("note: {remark}")));
        if let Some(port) = flags.dashboard {
            let run = folder.path();
            let out = run.parent().filter(|p| *p != Path::new("")).unwrap_or(Path::new("."));
            let name = run.file_name().map(|n| n.to_string_lossy().into_owned());
            super::dashboard::start(out, port, name.as_deref(), console)?;
        }
        let chronicle = Chronicle::new(&config.log, &folder, about.position.step)?;
        let eager = flags.eager;
        Ok(Parts { about, data, model, optimizer, rate, manner, device, threads, folder, chronicle, eager })
    }
}

/// A set that is small beside its batches is seen often and learned little, which is not plain to see.
fn few_steps(n: usize, batch: usize, noun: &str) -> Option<String> {
    let better = 1 << (n / 8).checked_ilog2()?;
    (n.div_ceil(batch) < 4 && better >= 2).then(|| {
        let steps = n.div_ceil(batch);
        let plural = if steps == 1 { "" } else { "s" };
        format!("{n} {noun} in batches of {batch} are {steps} step{plural} an epoch; `--batch {better}` takes more, and learns faster")
    })
}

/// What follows a validation figure needs examples for it; files may hold some, so this is known late.
fn needs_validation(config: &Config, data: &Data) -> Result<(), Diagnostic> {
    let follows = config.train.patience > 0
        || config.optim.schedule.name == ScheduleName::Plateau
        || config.train.best != BestName::Loss;
    if !follows || count(&data.val) > 0 {
        return Ok(());
    }
    let title = "patience, `train.best` and the plateau schedule follow a validation figure, and no examples are held out";
    Err(Diagnostic::new(Exit::Usage, title)
        .help("`--val-split 0.1` holds out a tenth; test figures are never used"))
}

/// The folder's first files, and the first lines on the screen.
fn introduce(
    console: &mut Console,
    config: &Config,
    summary: &Summary,
    device: &Device,
    threads: usize,
    folder: &RunFolder,
    about: &About,
) -> Result<(), Diagnostic> {
    let toml = config.to_toml();
    let toml = toml.map_err(|e| Diagnostic::new(Exit::Failure, format!("cannot write the settings: {e}")))?;
    folder.write_config(&toml)?;
    folder.write_model(&format!("{summary}\n"))?;
    console.log_to(folder.log()?);
    let (version, run) = (env!("CARGO_PKG_VERSION"), folder.path().display());
    let machine = machine::describe(device, threads);
    console.say(&format!("cotangent {version} · {machine} · seed {} · {run}", config.seed));
    if about.position.step > 0 {
        console.say(&format!("going on after step {} of the run", about.position.step));
        let here = (env!("CARGO_PKG_VERSION"), isa().name());
        if (about.program.as_str(), about.isa.as_str()) != here {
            let (program, there) = (&about.program, &about.isa);
            console.say(&format!(
                "note: the run began with version {program} on {there}; its last bits may differ from now on"
            ));
        }
    }
    console.say(&format!("\n{summary}"));
    console.say("");
    Ok(())
}

/// A word on a schedule that follows the number of epochs, when the run goes on with another number of them.
fn planned_anew(config: &Config, before: u64, step: u64, old: &Rate, new: &Rate) -> Option<String> {
    let (epochs, name) = (config.train.epochs, config.optim.schedule.name);
    let (was, is) = (old.at(step.saturating_sub(1)), new.at(step));
    (epochs != before && old != new).then(|| {
        format!(
            "the {name} schedule is planned anew for {epochs} epochs, as if the run had begun with them: the rate \
             was {was:.2e} and goes on with {is:.2e}. {before} epochs and then more are not {epochs} at once; only a \
             run that begins with `optim.schedule=constant` or `step` can be lengthened without that"
        )
    })
}

/// A run goes on with the examples it began with.
fn same_examples(about: &About, data: &Data) -> Result<(), Diagnostic> {
    let same = about.input_shape == data.shape
        && about.classes == data.classes
        && about.features == data.features
        && about.normalisation == data.normalisation
        && about.examples == data.fingerprint;
    if same {
        return Ok(());
    }
    let title = format!("{} has changed since the run began", about.config.data.name);
    Err(Diagnostic::new(Exit::Data, title)
        .note("examples, labels or classes are not those that the run began with")
        .help("begin a new run with the new examples"))
}

/// Puts optimiser, schedule and random generators where the checkpoint left them.
fn recall(
    checkpoint: &Checkpoint,
    model: &Model,
    optimizer: &dyn Optimizer,
    rate: &mut Rate,
) -> Result<(), Diagnostic> {
    let damaged = |e: cotangent::Error| Diagnostic::from(e).exiting(Exit::Data);
    let parameters: &dyn Parameters = &**model;
    let state = model::tensors(checkpoint.after(OPTIM))?;
    optimizer.load_state(parameters, &state).map_err(damaged)?;
    rate.load(&model::tensors(checkpoint.after(SCHEDULE))?)?;
    for (name, rng) in model.generators() {
        let Some(state) = checkpoint.about.rng.get(&name) else {
            let title = format!("the checkpoint lacks the state of the random generator `{name}`");
            return Err(Diagnostic::new(Exit::Data, title));
        };
        rng.set_state(&Tensor::from(*state));
    }
    Ok(())
}
