//! `cotangent lab`: optimisers side by side, and what batches cost.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use cotangent::{DType, Tensor};
use cotangent_board::plot::{Chart, Line, lines};
use cotangent_data::{Limits, Set, Values, cifar};
use cotangent_lecture::lab::{self, Arm, Pictures, Problem, Sequence, Study, WIDTHS};
use serde::Serialize;
use serde_json::json;

use crate::console::Console;
use crate::diagnostic::{Diagnostic, Exit, nearest};
use crate::drawing;
use crate::flags::Global;
use crate::machine;

/// `cotangent lab`
#[derive(Args, Debug)]
#[command(after_help = AFTER)]
pub(crate) struct Flags {
    /// What to do
    #[command(subcommand)]
    experiment: Experiment,
    /// Draw the curves into an SVG file; PNG where the program was built with it
    #[arg(long, global = true, value_name = "FILE")]
    plot: Option<PathBuf>,
}

const AFTER: &str = "\
Examples:
  cotangent lab compare
  cotangent lab compare --problem mnist --examples 500 --plot arms.svg
  cotangent lab orders --plot orders.svg
  cotangent lab batch --limit 64MB
  cotangent lab lenet --train 10000 --epochs 3
  cotangent lab binary --data data/cifar10 --classes cat,dog

`cotangent data get cifar10 --out data` brings CIFAR-10 into data/cifar10.
`cotangent why A15 --train` measures the time to 98.5 % by batch size.";

#[derive(Subcommand, Debug)]
enum Experiment {
    /// GD, mini-batch, SGD, cyclic and shuffled at equal gradient evaluations
    Compare(Compare),
    /// Sorted, fixed and fresh orders of the examples
    Orders(Seeds),
    /// Gradient noise scale along a training, from per-example gradients
    Noise(Noise),
    /// The curvature L, and the step sizes that it allows
    Stepsize(Noise),
    /// The largest batch for a memory limit, predicted and measured; what batch sizes buy
    Batch(Batch),
    /// A general expectation: a generator that learns a mean from a critic
    Gan(Gan),
    /// LeNet-5 of 1998 beside today's, on MNIST
    Lenet(Lenet),
    /// Two classes of CIFAR-10: a perceptron beside logistic regression
    Binary(Binary),
}

#[derive(Args, Debug)]
struct Compare {
    /// What is minimised: quadratic, logistic, sorted (by label), mnist
    #[arg(long, default_value = "quadratic")]
    problem: Problem,
    /// Examples
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(2..=60_000))]
    examples: u32,
    /// Gradient evaluations, in multiples of N
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000))]
    epochs: u32,
    /// Runs of each
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    seeds: u32,
    /// The size of mini-batches
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..))]
    batch: u32,
    /// The first step size on single examples; else a cautious one, from an estimate of the curvature
    #[arg(long, value_name = "RATE")]
    rate: Option<f64>,
    /// How step sizes go on: constant, harmonic α/(1 + epoch), root α/√(1 + epoch)
    #[arg(long, value_name = "NAME", default_value = "harmonic")]
    sequence: Sequence,
}

#[derive(Args, Debug)]
struct Seeds {
    /// Runs of each
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    seeds: u32,
    /// Passes over the examples
    #[arg(long, value_name = "N", default_value_t = 12, value_parser = clap::value_parser!(u32).range(1..=1000))]
    epochs: u32,
}

#[derive(Args, Debug)]
struct Noise {
    /// What is minimised: quadratic, logistic, sorted
    #[arg(long, default_value = "logistic")]
    problem: Problem,
    /// Examples
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(2..=5000))]
    examples: u32,
}

#[derive(Args, Debug)]
struct Batch {
    /// Memory for a training step of LeNet-5, such as 64MB
    #[arg(long, value_name = "BYTES", default_value = "16MB")]
    limit: String,
}

#[derive(Args, Debug)]
struct Gan {
    /// Steps of each player
    #[arg(long, value_name = "N", default_value_t = 400, value_parser = clap::value_parser!(u32).range(4..=1_000_000))]
    steps: u32,
    /// Everything random follows from it
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Runs: with this seed and those after it
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    seeds: u32,
}

#[derive(Args, Debug)]
struct Lenet {
    /// Training images
    #[arg(long, value_name = "N", default_value_t = 4000, value_parser = clap::value_parser!(u32).range(50..=60_000))]
    train: u32,
    /// Test images
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    test: u32,
    /// Passes over the training images
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=1000))]
    epochs: u32,
    /// Everything random follows from it
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
}

#[derive(Args, Debug)]
struct Binary {
    /// The folder of CIFAR-10 (`cotangent data get cifar10`); without one, generated pictures
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Two of CIFAR-10's classes
    #[arg(
        long,
        value_name = "NAME,NAME",
        default_value = "cat,dog",
        value_delimiter = ',',
        requires = "data"
    )]
    classes: Vec<String>,
    /// Widths of the hidden layers
    #[arg(long, value_name = "WIDTHS", value_delimiter = ',', default_values_t = WIDTHS[1..3].to_vec())]
    hidden: Vec<usize>,
    /// Passes over the training pictures
    #[arg(long, value_name = "N", default_value_t = 6, value_parser = clap::value_parser!(u32).range(1..=1000))]
    epochs: u32,
    /// Everything random follows from it
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
}

/// What an experiment came to, and its picture.
type Found = Result<(Exit, Option<Chart>), Diagnostic>;

/// Runs an experiment.
pub(crate) fn run(flags: &Flags, global: &Global, console: &mut Console) -> Result<Exit, Diagnostic> {
    let (_, threads) = super::place(global)?;
    if let Some(path) = &flags.plot {
        if matches!(flags.experiment, Experiment::Lenet(_) | Experiment::Binary(_)) {
            let title = "`--plot`: this experiment has no picture";
            return Err(Diagnostic::new(Exit::Usage, title).help("the other six have one"));
        }
        drawing::can_be(path)?;
    }
    let (exit, chart) = machine::with_threads(threads, || match &flags.experiment {
        Experiment::Compare(f) => compare(f, console),
        Experiment::Orders(f) => orders(f, console),
        Experiment::Noise(f) => noise(f, console),
        Experiment::Stepsize(f) => stepsize(f, console),
        Experiment::Batch(f) => batch(f, console),
        Experiment::Gan(f) => gan(f, console),
        Experiment::Lenet(f) => {
            let found = lab::lenets(f.train as usize, f.test as usize, u64::from(f.epochs), f.seed);
            let exit = show(console, &found, |t| {
                let right = 100.0 * t.accuracy;
                format!("{:<16}  {:>6} parameters   {right:6.2} %   {:.1} s", t.name, t.parameters, t.seconds)
            })?;
            Ok((exit, None))
        }
        Experiment::Binary(f) => Ok((binary(f, console)?, None)),
    })?;
    if let (Some(path), Some(chart)) = (&flags.plot, chart) {
        drawing::write(path, &lines(&chart))?;
    }
    Ok(exit)
}

/// A line through the means and a band of the spread around them.
type Curve = (String, Vec<[f64; 3]>);

/// Numbered by colours; bands below all lines.
fn drawn(curves: &[Curve], logarithmic: bool) -> Vec<Line> {
    let line =
        |colour, name: &str, points| Line { name: name.into(), points, dashed: colour % 2 > 0, colour };
    let mut found = Vec::new();
    for (colour, (_, curve)) in curves.iter().enumerate().filter(|(_, (_, c))| c.iter().any(|p| p[2] > 0.0)) {
        // Nothing below 0 has a logarithm.
        let low = |[x, y, s]: &[f64; 3]| (*x, if logarithmic { (y - s).max(0.1 * y) } else { y - s });
        let above = curve.iter().map(|[x, y, s]| (*x, y + s));
        found.push(line(colour, "", above.chain(curve.iter().rev().map(low)).collect()));
    }
    for (colour, (name, curve)) in curves.iter().enumerate() {
        found.push(line(colour, name, curve.iter().map(|[x, y, _]| (*x, *y)).collect()));
    }
    found
}

/// A curve of one run.
fn once(name: &str, points: impl IntoIterator<Item = (f64, f64)>) -> Curve {
    (name.into(), points.into_iter().map(|(x, y)| [x, y, 0.0]).collect())
}

fn orders(f: &Seeds, console: &mut Console) -> Found {
    let found = lab::orders(u64::from(f.seeds), f.epochs as usize);
    let exit = show(console, &found, |o| {
        format!("{:<16}  F {:.6} ± {:.6}   swing {:.6}", o.name, o.mean, o.spread, o.swing)
    })?;
    let chart = Chart {
        title: "Orders of the examples".into(),
        x: "epochs".into(),
        y: "F".into(),
        lines: drawn(&found.iter().map(|o| (o.name.to_string(), o.curve.clone())).collect::<Vec<_>>(), false),
        logarithmic: false,
    };
    Ok((exit, Some(chart)))
}

fn gan(f: &Gan, console: &mut Console) -> Found {
    let found = lab::gans(f.seed, u64::from(f.seeds), f.steps as usize);
    let data = once("data", [(0.0, found.data), (f64::from(f.steps), found.data)]);
    let lines = drawn(&[("generator".into(), found.curve.clone()), data], false);
    let exit = show(console, &[found], |g| {
        format!(
            "data mean {}   generator's mean {:.6} → {:.6} ± {:.6} over {} seeds",
            g.data, g.before, g.after, g.spread, f.seeds
        )
    })?;
    let title = "The generator's mean".into();
    Ok((exit, Some(Chart { title, x: "step".into(), y: "mean".into(), lines, logarithmic: false })))
}

fn show<T: Serialize>(
    console: &mut Console,
    list: &[T],
    text: impl Fn(&T) -> String,
) -> Result<Exit, Diagnostic> {
    for item in list {
        match console.json() {
            true => console.print_json(item)?,
            false => console.print(&text(item))?,
        }
    }
    Ok(Exit::Success)
}

fn study(f: &Compare) -> Study {
    Study {
        problem: f.problem,
        examples: f.examples as usize,
        epochs: f.epochs as usize,
        seeds: u64::from(f.seeds),
        batch: f.batch as usize,
        rate: f.rate,
        sequence: f.sequence,
    }
}

fn compare(f: &Compare, console: &mut Console) -> Found {
    if let Some(rate) = f.rate
        && !(rate.is_finite() && rate > 0.0)
    {
        let title = format!("`--rate {rate}`: expected a number above 0");
        return Err(Diagnostic::new(Exit::Usage, title).help("leave it out for a cautious one"));
    }
    let study = study(f);
    let problem = study.make().map_err(|e| Diagnostic::new(Exit::Data, e))?;
    let known = f.problem != Problem::Mnist;
    let arms = lab::compare_on(&problem, &study);
    match console.json() {
        true => console.print_json(&json!({"study": study, "arms": arms}))?,
        false => console.print(&lab::text(&arms, known))?,
    }
    let exit = match arms.iter().all(|a| a.mean.is_finite()) {
        true => Exit::Success,
        false => Exit::Diverged,
    };
    Ok((exit, Some(picture(&arms, known))))
}

/// F − F* by epochs, one line an arm.
fn picture(arms: &[Arm], known: bool) -> Chart {
    Chart {
        title: "Equal gradient evaluations".into(),
        x: "epochs (gradient evaluations / N)".into(),
        y: if known { "F − F*" } else { "F" }.into(),
        lines: drawn(&arms.iter().map(|a| (a.name.to_string(), a.curve.clone())).collect::<Vec<_>>(), true),
        logarithmic: true,
    }
}

fn problem(f: &Noise) -> Result<cotangent_lecture::FiniteSum, Diagnostic> {
    if f.problem == Problem::Mnist {
        let title = "per-example gradients of 7,850 numbers are not followed here";
        return Err(Diagnostic::new(Exit::Usage, title).help("expected quadratic, logistic or sorted"));
    }
    let study = Study { problem: f.problem, examples: f.examples as usize, ..Study::default() };
    study.make().map_err(|e| Diagnostic::new(Exit::Data, e))
}

fn noise(f: &Noise, console: &mut Console) -> Found {
    let p = problem(f)?;
    let mut theta = Tensor::full([p.dim()], 2.0).cast(DType::F64);
    let alpha = 1.0 / lab::curvature(&p, &theta, 30).max(0.1);
    let mut found = Vec::new();
    for step in (0..=60).step_by(10) {
        found.push((step, p.value(&theta), lab::noise_scale(&p, &theta)));
        (0..10).for_each(|_| theta = &theta - p.gradient(&theta) * alpha);
    }
    let points = found.iter().map(|(step, _, scale)| (f64::from(*step), *scale));
    let chart = Chart {
        title: "Gradient noise scale tr(Cov)/‖∇F‖²".into(),
        x: "step".into(),
        y: "examples".into(),
        lines: drawn(&[once("noise scale", points)], true),
        logarithmic: true,
    };
    let json: Vec<_> =
        found.iter().map(|(s, v, n)| json!({"step": s, "value": v, "noise_scale": n})).collect();
    let exit = match console.json() {
        true => show(console, &json, |j| j.to_string()),
        false => show(console, &found, |(step, value, scale)| {
            format!("step {step:>3}   F {value:.6}   noise scale {scale:>12.3} examples")
        }),
    }?;
    Ok((exit, Some(chart)))
}

fn stepsize(f: &Noise, console: &mut Console) -> Found {
    let p = problem(f)?;
    let theta = Tensor::full([p.dim()], 2.0).cast(DType::F64);
    let here = lab::curvature(&p, &theta, 60);
    let l = lab::curvature_ahead(&p, &theta, 30);
    let g = p.gradient(&theta);
    let before = p.value(&theta);
    let falls = |alpha: f64| before - p.value(&(&theta - &g * alpha));
    let found: Vec<_> = [("cautious, 1/L", 1.0 / l), ("worst case, 2/L", 2.0 / l), ("beyond, 8/L", 8.0 / l)]
        .iter()
        .map(|(name, alpha)| {
            json!({"name": name, "alpha": alpha, "fall": falls(*alpha), "curvature": l, "here": here})
        })
        .collect();
    if !console.json() {
        console.print(&format!(
            "curvature at θ (power iteration on Hessian-vector products): {here:.9}\n\
             L, the largest there and where steps of up to 2/L lead: {l:.9}"
        ))?;
    }
    let exit = show(console, &found, |j| {
        let number = |key: &str| j[key].as_f64().unwrap_or(f64::NAN);
        let name = j["name"].as_str().unwrap_or_default();
        format!("{name:<16}  α = {:.9}   F falls by {:.9}", number("alpha"), number("fall"))
    })?;
    let points = (0..=40).map(|i| f64::from(i) / 10.0).map(|t| (t, before - falls(t / l)));
    let chart = Chart {
        title: "One step along −∇F".into(),
        x: "α·L".into(),
        y: "F after it".into(),
        lines: drawn(&[once("F(θ − α∇F)", points), once("F(θ)", [(0.0, before), (4.0, before)])], false),
        logarithmic: false,
    };
    Ok((exit, Some(chart)))
}

/// `64MB`, `65536`: bytes.
fn bytes(word: &str) -> Option<usize> {
    let end = word.find(|c: char| !c.is_ascii_digit()).unwrap_or(word.len());
    let unit = match word[end..].trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" => 1 << 10,
        "m" | "mb" => 1 << 20,
        "g" | "gb" => 1 << 30,
        _ => return None,
    };
    word[..end].parse::<usize>().ok()?.checked_mul(unit).filter(|n| (1 << 20..=2 << 30).contains(n))
}

fn batch(f: &Batch, console: &mut Console) -> Found {
    let Some(limit) = bytes(&f.limit) else {
        let title = format!("`--limit {}`: expected from 1MB to 2GB", f.limit);
        return Err(Diagnostic::new(Exit::Usage, title).help("such as 64MB"));
    };
    let planned = lab::largest_batch(limit);
    let sizes = lab::batch_sizes(&[16, 64, 256, 1024], 2000, 0.5);
    let of = |name, value: fn(&lab::Batched) -> f64| {
        let first = sizes.first().map_or(1.0, value);
        once(name, sizes.iter().map(|b| ((b.batch as f64).log2(), value(b) / first)))
    };
    let chart = Chart {
        title: "Softmax regression to a loss of 0.5".into(),
        x: "log₂ of B".into(),
        y: "times those of B = 16".into(),
        lines: drawn(
            &[
                of("examples/s", |b| b.throughput),
                of("steps", |b| b.steps as f64),
                of("seconds", |b| b.seconds),
            ],
            true,
        ),
        logarithmic: true,
    };
    if console.json() {
        console.print_json(&json!({"limit": limit, "planned": planned, "sizes": sizes}))?;
        return Ok((Exit::Success, Some(chart)));
    }
    console.print(&format!(
        "LeNet-5 in {limit} bytes: {} fixed, {} an example,\nso batches of at most {}\n\
         predicted peak {}, measured on the virtual GPU {} ({:+.2} %)\n\n\
         Softmax regression on 2,000 images of MNIST to a training loss of 0.5,\n\
         with the best of three learning rates",
        planned.fixed,
        planned.per_example,
        planned.batch,
        planned.predicted,
        planned.measured,
        100.0 * (planned.measured as f64 / planned.predicted as f64 - 1.0)
    ))?;
    let exit = show(console, &sizes, |b| {
        format!(
            "B {:>5}   {:>9.0} examples/s   rate {:<4}   {:>4} steps   {:.3} s",
            b.batch, b.throughput, b.rate, b.steps, b.seconds
        )
    })?;
    Ok((exit, Some(chart)))
}

fn binary(f: &Binary, console: &mut Console) -> Result<Exit, Diagnostic> {
    let pictures = match &f.data {
        None => lab::patches(600, f.seed),
        Some(folder) => two_classes(folder, &f.classes)?,
    };
    let parameters = f.hidden.iter().try_fold((3072usize, 0usize), |(from, sum), to| {
        let more = from.checked_add(1)?.checked_mul(*to)?;
        Some((*to, sum.checked_add(more)?))
    });
    if f.hidden.contains(&0) || parameters.is_none_or(|(_, n)| n > 50_000_000) {
        let title = format!(
            "`--hidden {:?}`: expected widths of at least 1, at most 50 million parameters",
            f.hidden
        );
        return Err(Diagnostic::new(Exit::Usage, title).help("such as `--hidden 128,32`"));
    }
    let widths: Vec<usize> = [3072].into_iter().chain(f.hidden.iter().copied()).chain([1]).collect();
    let found = lab::binary(&pictures, &widths, u64::from(f.epochs), f.seed);
    show(console, &[found], |b| {
        format!(
            "{} pictures fitted, {} held out\nMLP {widths:?}, {} parameters   {:.2} %\nlogistic regression   {:.2} %",
            b.fitted,
            b.held_out,
            b.parameters,
            100.0 * b.mlp,
            100.0 * b.logistic
        )
    })
}

/// Two classes of CIFAR-10's files, as labels 0 and 1.
fn two_classes(folder: &Path, classes: &[String]) -> Result<Pictures, Diagnostic> {
    let place = |name: &String| {
        cifar::CLASSES.iter().position(|c| c == name).map(|i| i as i64).ok_or_else(|| {
            let title = format!("`{name}` is not a class of CIFAR-10: {}", cifar::CLASSES.join(", "));
            let found = Diagnostic::new(Exit::Usage, title);
            match nearest(name, cifar::CLASSES) {
                Some(near) => found.help(format!("did you mean `{near}`?")),
                None => found,
            }
        })
    };
    let wanted = classes.iter().map(place).collect::<Result<Vec<_>, _>>()?;
    let [one, two] = wanted[..] else {
        let title = format!("`--classes` takes two classes, and {} were given", wanted.len());
        return Err(Diagnostic::new(Exit::Usage, title).help("such as `--classes cat,dog`"));
    };
    let parts = cifar::read(folder, &Limits::default())?;
    let pick = |set: &Set| -> (Vec<u8>, Vec<i64>) {
        let (mut pixels, mut labels) = (Vec::new(), Vec::new());
        let Values::U8(all) = &set.inputs else { return (pixels, labels) };
        for (picture, label) in all.chunks_exact(cifar::RECORD - 1).zip(&set.labels) {
            if *label == one || *label == two {
                pixels.extend_from_slice(picture);
                labels.push(i64::from(*label == two));
            }
        }
        (pixels, labels)
    };
    let train = pick(&parts.train);
    let Some(test) = parts.test.as_ref().map(pick) else {
        let title = format!("{} holds no test_batch.bin to judge by", folder.display());
        return Err(
            Diagnostic::new(Exit::Data, title).help("`cotangent data get cifar10` brings the whole folder")
        );
    };
    for (labels, what) in [(&train.1, "training"), (&test.1, "test")] {
        if labels.len() < 32 || !labels.contains(&0) || !labels.contains(&1) {
            let title = format!("{} {what} pictures of {} and {}", labels.len(), classes[0], classes[1]);
            return Err(Diagnostic::new(Exit::Data, title).help("at least 32 are needed, some of each class"));
        }
    }
    Ok(Pictures { train, test })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// D8: the original's binary format, two of its classes.
    #[test]
    fn d8_two_classes_come_from_cifar_s_own_format() {
        let folder = std::env::temp_dir().join(format!("cotangent-lab-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let made = lab::patches(128, 3);
        let records = |(pixels, labels): &(Vec<u8>, Vec<i64>)| -> Vec<u8> {
            let mut bytes = Vec::new();
            for (i, (picture, label)) in pixels.chunks_exact(3072).zip(labels).enumerate() {
                bytes.push([3, 5][*label as usize]);
                bytes.extend_from_slice(picture);
                if i % 4 == 0 {
                    // A ship between, which is neither.
                    bytes.push(8);
                    bytes.extend_from_slice(picture);
                }
            }
            bytes
        };
        fs::write(folder.join("data_batch_1.bin"), records(&made.train)).unwrap();
        fs::write(folder.join("test_batch.bin"), records(&made.test)).unwrap();
        let words = |list: &[&str]| list.iter().map(|s| s.to_string()).collect::<Vec<_>>();
        let read = two_classes(&folder, &words(&["cat", "dog"])).unwrap();
        assert_eq!((&read.train, &read.test), (&made.train, &made.test));
        let wrong = |list: &[&str]| two_classes(&folder, &words(list)).unwrap_err();
        let error = wrong(&["cat", "dogs"]);
        assert!(error.exit() == Exit::Usage && error.to_string().contains("did you mean `dog`?"), "{error}");
        assert_eq!(wrong(&["cat"]).exit(), Exit::Usage);
        assert_eq!(wrong(&["frog", "deer"]).exit(), Exit::Data);
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!(two_classes(&folder, &words(&["cat", "dog"])).unwrap_err().exit(), Exit::Data);
    }

    #[test]
    fn limits_have_units() {
        assert_eq!(
            ["64MB", "1048576", "2g", "1", "3x", "", "9999999999999999999g"].map(bytes),
            [Some(64 << 20), Some(1 << 20), Some(2 << 30), None, None, None, None]
        );
    }
}
