//! `cotangent import`: weights of other programs.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use clap::Args;
use cotangent::device::cpu::isa;
use cotangent::nn::{ParametersExt, Summary};
use cotangent::{DType, Tensor};
use cotangent_interchange::{Array, Format, Numbers, Tensors, Weights, read};
use serde_json::json;

use super::{must_be_free, trained};
use crate::checkpoint::{About, Checkpoint, Position};
use crate::console::Console;
use crate::data::{self, Data};
use crate::diagnostic::{Diagnostic, Exit, nearest};
use crate::events::Status;
use crate::flags::{Global, Network};
use crate::machine;
use crate::model::{self, Model};
use crate::numerals::count;
use crate::rate::{self, Rate};
use crate::run_folder::{Kind, Record, RunFolder};
use crate::shell;
use crate::trainer::snapshot;

/// What does not match is listed up to so many tensors.
const LISTED: usize = 12;
/// What batch norms count, and files of other programs often lack; nothing is computed with it.
const COUNTER: &str = "num_batches_tracked";

/// `cotangent import`
#[derive(Args, Debug)]
#[command(after_help = AFTER)]
pub(crate) struct Flags {
    /// Weights by name: safetensors, NPZ, or the initialisers of an ONNX file
    file: PathBuf,
    /// The network they are of, and the examples it is for: their classes, sizes and normalisation.
    #[command(flatten)]
    network: Network,
    /// Network, classes and normalisation are those of this run or checkpoint
    #[arg(long, value_name = "RUN", conflicts_with_all = ["model", "data", "config", "set"])]
    like: Option<PathBuf>,
    /// Replace the beginning of names, such as model.= to take it away; may be repeated
    #[arg(long, value_name = "OLD=NEW")]
    rename: Vec<String>,
    /// The checkpoint; by default it goes into a new run folder below runs
    #[arg(short, long, value_name = "CHECKPOINT")]
    output: Option<PathBuf>,
    /// Write over a checkpoint that is there already
    #[arg(long, requires = "output")]
    force: bool,
}

const AFTER: &str = "\
Names and shapes are PyTorch's. All of the network's tensors must be there,
and no others; only of ONNX files, whose graphs hold constants too, what has
no place is left out. What is missing in the examples' settings has its
default: without --data they are the bundled MNIST.

Examples:
  cotangent import lenet5.safetensors --model lenet5
  cotangent import r.npz --model resnet18 --data cifar10:c --rename module.=
  cotangent import net.onnx -c net.toml -o net.safetensors
  cotangent import weights.npz --like runs/lenet5-mnist-001";

/// Reads the weights and writes the checkpoint.
pub(crate) fn run(flags: &Flags, global: &Global, console: &mut Console) -> Result<Exit, Diagnostic> {
    if let Some(path) = &flags.output {
        must_be_a_checkpoint(path)?;
        must_be_free(path, flags.force)?;
    }
    let mut weights = read(&flags.file, &data::limits())?;
    weights.tensors = renamed(weights.tensors, &flags.rename)?;
    let Destined { mut about, model, summary, rate } = destined(flags, global)?;
    let (values, mut remarks) = fitted(&weights, &model, about.config.model.name(), &flags.file)?;
    remarks.splice(0..0, weights.remarks.iter().cloned());
    model.load_state_dict(&values).map_err(|e| Diagnostic::from(e).exiting(Exit::Data))?;
    let optimizer = rate::optimizer(&about.config.optim);
    let checkpoint = snapshot(&model, &*optimizer, &rate, &mut about)?;
    let (file, run) = match &flags.output {
        Some(path) => {
            checkpoint.write(path)?;
            (path.clone(), None)
        }
        None => {
            let folder = run_folder(&checkpoint, &summary)?;
            (folder.checkpoint(Kind::Last), Some(folder.path().to_path_buf()))
        }
    };
    for remark in &remarks {
        console.say(&format!("note: {remark}"));
    }
    let parameters = model.parameter_count();
    if console.json() {
        console.print_json(&json!({
            "file": flags.file, "format": weights.format.name(), "checkpoint": file, "run": run,
            "model": about.config.model, "data": about.config.data.name, "tensors": values.len(),
            "parameters": parameters, "fingerprint": checkpoint.fingerprint(), "remarks": remarks,
        }))?;
        return Ok(Exit::Success);
    }
    console.print(&file.display().to_string())?;
    let (model, parameters) = (about.config.model, count(parameters as u64));
    console.say(&format!(
        "  {model}: {} tensors, {parameters} parameters from {}",
        values.len(),
        weights.format
    ));
    let word = shell::word(run.as_deref().unwrap_or(&file));
    console.say(&match run {
        Some(_) => format!("  next: cotangent eval {word} · cotangent train --resume {word}"),
        None => format!("  next: cotangent eval {word}"),
    });
    Ok(Exit::Success)
}

fn must_be_a_checkpoint(path: &Path) -> Result<(), Diagnostic> {
    if Format::of(path) == Some(Format::Safetensors) {
        return Ok(());
    }
    let title = format!("{} does not end as a checkpoint does, with .safetensors", path.display());
    Err(Diagnostic::new(Exit::Usage, title).help("without `-o` it goes into a new run folder"))
}

/// The file's tensors with other names.
fn renamed(tensors: Tensors, rules: &[String]) -> Result<Tensors, Diagnostic> {
    let rules = rules.iter().map(|rule| {
        rule.split_once('=').ok_or_else(|| {
            let found = Diagnostic::new(Exit::Usage, format!("`--rename {rule}` has no `=`"));
            found.help("write OLD=NEW, such as `--rename module.=` or `--rename features.=layers.`")
        })
    });
    let rules = rules.collect::<Result<Vec<_>, _>>()?;
    let mut all = Tensors::new();
    for (name, array) in tensors {
        let new = rules.iter().find_map(|(old, new)| Some(format!("{new}{}", name.strip_prefix(old)?)));
        let new = new.unwrap_or(name);
        if all.insert(new.clone(), array).is_some() {
            let title = format!("`--rename` gives two tensors the name `{new}`");
            return Err(Diagnostic::new(Exit::Usage, title).help("take longer beginnings"));
        }
    }
    Ok(all)
}

/// The run that the weights are to be of.
struct Destined {
    about: About,
    model: Model,
    summary: Summary,
    rate: Rate,
}

fn destined(flags: &Flags, global: &Global) -> Result<Destined, Diagnostic> {
    if let Some(path) = &flags.like {
        let (_, checkpoint) = trained(path)?;
        let (model, summary) = model::restore(&checkpoint, checkpoint.about.config.data.batch)?;
        let About { config, classes, input_shape, features, normalisation, examples, .. } = checkpoint.about;
        let rate = Rate::new(&config.optim, u64::MAX, 1)?;
        let about = About::new(config, isa().name(), classes, input_shape, normalisation);
        return Ok(Destined { about: About { features, examples, ..about }, model, summary, rate });
    }
    let layers = flags.network.layers(global)?;
    let (mut config, _) = layers.merge()?;
    machine::device(config.device)?;
    machine::with_threads(machine::threads(config.threads), || {
        let data = Data::load(&config.data, config.seed, None)?;
        config.model = model::suitable(config.model, &data.shape);
        let batch = config.data.batch.min(data::count(&data.train));
        let steps = data.batches(&config.data, config.seed).batches().unwrap_or_default() as u64;
        let rate = Rate::new(&config.optim, config.train.epochs, steps)?;
        let place = |problem| layers.place(&problem);
        let classes = data.classes.len();
        let (model, summary) =
            model::build_at(&(&config).into(), &data.shape, classes, config.seed, batch, &place)?;
        let Data { classes, shape, normalisation, features, fingerprint: examples, .. } = data;
        let about = About::new(config.clone(), isa().name(), classes, shape, normalisation);
        Ok(Destined { about: About { features, examples, ..about }, model, summary, rate })
    })
}

/// The file's tensors as the network's, and what was left out; or everything that does not match.
fn fitted(
    weights: &Weights,
    model: &Model,
    name: &str,
    file: &Path,
) -> Result<(HashMap<String, Tensor>, Vec<String>), Diagnostic> {
    let tensors = &weights.tensors;
    let own: HashMap<String, Tensor> = model.state_dict().into_iter().collect();
    let mut expected: Vec<(&String, &Tensor)> = own.iter().collect();
    expected.sort_by_key(|(name, _)| name.as_str());
    let unknown: Vec<&str> = tensors.keys().map(String::as_str).filter(|n| !own.contains_key(*n)).collect();
    let (mut values, mut remarks, mut wrong) = (HashMap::new(), Vec::new(), Vec::new());
    let mut counters = 0;
    for (name, old) in expected {
        let shape = old.shape().to_vec();
        let Some(array) = tensors.get(name) else {
            if name.rsplit('.').next() == Some(COUNTER) {
                counters += 1;
                values.insert(name.clone(), old.zeros_like());
                continue;
            }
            let near = nearest(name, unknown.iter().copied().filter(|n| tensors[*n].shape == shape));
            let near = near.map_or(String::new(), |n| format!("; the file has `{n}` {:?}", tensors[n].shape));
            wrong.push(format!("`{name}` {shape:?} is missing{near}"));
            continue;
        };
        match value(array, old) {
            Ok(value) => drop(values.insert(name.clone(), value)),
            Err(why) => wrong.push(format!("`{name}` {why}")),
        }
    }
    if counters > 0 {
        remarks.push(format!("the file has no `{COUNTER}`; {counters} of them are 0"));
    }
    match (weights.format, unknown.len()) {
        (_, 0) => {}
        (Format::Onnx, n) => remarks.push(format!(
            "{n} initialisers have no place in the network and are left out: {}",
            quoted(&unknown)
        )),
        _ => wrong.extend(unknown.iter().map(|name| {
            let fits =
                |n: &&str| !tensors.contains_key(*n) && own[*n].shape()[..] == tensors[*name].shape[..];
            let near = nearest(name, own.keys().map(String::as_str).filter(fits));
            let near = near.map_or(String::new(), |n| format!("; did you mean `{n}`?"));
            format!("`{name}` {:?} has no place in the network{near}", tensors[*name].shape)
        })),
    }
    if wrong.is_empty() {
        return Ok((values, remarks));
    }
    let title = format!("the tensors of {} are not those of {name}", file.display());
    let mut found = Diagnostic::new(Exit::Data, title);
    let rule = common(&unknown, &own);
    let listed = if rule.is_some() { LISTED / 4 } else { LISTED };
    let more = wrong.len().saturating_sub(listed);
    for line in wrong.into_iter().take(listed) {
        found = found.note(line);
    }
    if more > 0 {
        found = found.note(format!("and {more} more"));
    }
    if weights.format == Format::Onnx && !unknown.is_empty() {
        found = found.note(format!("the file also has {}", quoted(&unknown)));
    }
    if let Some(rule) = rule {
        return Err(found.help(format!("`--rename {rule}` gives them the network's names")));
    }
    Err(found.help("`--rename OLD=NEW` replaces the beginning of names").help(match name {
        "layers" => {
            "`cotangent summary -c FILE` shows the network, or `summary RUN` that of `--like RUN`".into()
        }
        _ => format!("`cotangent summary --model {name}` shows the network; `--model` chooses another"),
    }))
}

/// What to take away before every name that has no place, for it to have one.
fn common(unknown: &[&str], own: &HashMap<String, Tensor>) -> Option<String> {
    let first = unknown.first()?;
    let mut ends = first.match_indices('.').map(|(i, _)| &first[..=i]);
    let all =
        |prefix: &&str| unknown.iter().all(|n| n.strip_prefix(prefix).is_some_and(|n| own.contains_key(n)));
    ends.find(all).map(|prefix| format!("{prefix}="))
}

fn quoted(names: &[&str]) -> String {
    let some: Vec<String> = names.iter().take(LISTED).map(|n| format!("`{n}`")).collect();
    let more = if names.len() > LISTED { ", …" } else { "" };
    format!("{}{more}", some.join(", "))
}

/// A tensor like `old` with the file's numbers, or what is wrong with them.
fn value(array: &Array, old: &Tensor) -> Result<Tensor, String> {
    let (there, here) = (&array.shape, old.shape().to_vec());
    // A single number, which some keep as a list of one.
    let is_single = here.is_empty() && there.iter().all(|n| *n == 1);
    if *there != here && !is_single {
        let turned = here.len() == 2 && there.iter().rev().eq(&here);
        let turned = if turned { ", which is its transpose" } else { "" };
        return Err(format!("has shape {here:?} in the network and {there:?} in the file{turned}"));
    }
    match (&array.numbers, old.dtype().is_float()) {
        (Numbers::Real(v), true) => match v.iter().position(|x| !x.is_finite()) {
            Some(at) => Err(format!("holds {}, as number {at}", v[at])),
            None => Ok(Tensor::from_vec(v.clone(), &here[..]).cast(old.dtype())),
        },
        (Numbers::Whole(v), false) => Ok(Tensor::from_vec(v.clone(), &here[..]).cast(old.dtype())),
        (Numbers::Whole(_), true) => Err("holds whole numbers, and the network's are real".into()),
        // A count that was saved as a real number.
        (Numbers::Real(v), false) => match v.iter().all(|x| x.fract() == 0.0 && x.abs() < 1e9) {
            true => Ok(Tensor::from_vec(v.clone(), &here[..]).cast(DType::I64).cast(old.dtype())),
            false => Err("holds real numbers, and the network's are whole".into()),
        },
    }
}

/// A new run folder with the checkpoint, at the beginning of its training.
fn run_folder(checkpoint: &Checkpoint, summary: &Summary) -> Result<RunFolder, Diagnostic> {
    let About { config, position: Position { epoch, step, .. }, .. } = &checkpoint.about;
    let stem = format!("{}-{}", config.model, config.data.name.short());
    let folder = RunFolder::numbered(Path::new("runs"), &stem)?;
    let toml = config.to_toml();
    let toml = toml.map_err(|e| Diagnostic::new(Exit::Failure, format!("cannot write the settings: {e}")))?;
    folder.write_config(&toml)?;
    folder.write_model(&format!("{summary}\n"))?;
    checkpoint.write(&folder.checkpoint(Kind::Last))?;
    let now = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    folder.write_record(&Record {
        status: Status::Imported,
        reason: None,
        version: env!("CARGO_PKG_VERSION").into(),
        started: now.clone(),
        ended: Some(now),
        pid: std::process::id(),
        command: std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect(),
        git: None,
        host: machine::host(),
        device: "cpu".into(),
        isa: isa().name().into(),
        features: machine::features().into_iter().map(String::from).collect(),
        threads: config.threads,
        seed: config.seed,
        epochs: *epoch,
        step: *step,
        test_acc: None,
        test_loss: None,
        fingerprint: Some(checkpoint.fingerprint()),
    })?;
    folder.point_latest()?;
    Ok(folder)
}
