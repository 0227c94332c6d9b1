//! `cotangent doctor`: what a bug report needs to say, and whether this machine computes rightly.

use std::time::Instant;

use cotangent::device::cpu::isa;
use cotangent::laws::{self, Case};
use cotangent::nn::{Call, ParametersExt};
use cotangent::ops::{Conv, Conv2d, CrossEntropy, MatMul, MaxPool2d, Pool};
use cotangent::optim::Sgd;
use cotangent::{DType, Rng, Step, Tensor, attempt};
use serde::Serialize;

use super::defaults;
use crate::config::ModelName;
use crate::console::Console;
use crate::diagnostic::{Diagnostic, Exit};
use crate::flags::Global;
use crate::gradients::{Comparison, compare_layers};
use crate::machine;
use crate::model;
use crate::numerals::{bytes, duration};

#[derive(Serialize)]
struct Check {
    name: &'static str,
    ok: bool,
    /// What was seen, or what is wrong.
    words: String,
    seconds: f64,
}

#[derive(Serialize)]
struct Report {
    version: &'static str,
    host: String,
    features: Vec<&'static str>,
    isa: &'static str,
    threads: usize,
    memory_bytes: Option<u64>,
    checks: Vec<Check>,
    ok: bool,
}

/// Looks at the machine, and computes a few things whose results are known.
pub(crate) fn run(global: &Global, console: &mut Console) -> Result<Exit, Diagnostic> {
    let config = defaults(global)?;
    // A device that is asked for and not there is what one comes here to learn.
    machine::device(config.device)?;
    let threads = machine::threads(config.threads);
    let checks = machine::with_threads(threads, || {
        Ok(vec![
            check("operations", operations),
            check("gradients of LeNet-5", gradients),
            check("threads", || same_bits(threads)),
            check("bundled MNIST", mnist),
        ])
    })?;
    let ok = checks.iter().all(|c| c.ok);
    let report = Report {
        version: env!("CARGO_PKG_VERSION"),
        host: machine::host(),
        features: machine::features(),
        isa: isa().name(),
        threads,
        memory_bytes: machine::memory(),
        checks,
        ok,
    };
    if console.json() {
        console.print_json(&report)?;
    } else {
        console.print(&text(&report))?;
    }
    Ok(if ok { Exit::Success } else { Exit::Failure })
}

/// Runs one check; a mistake inside is a failed check, no end of the program.
fn check(name: &'static str, f: impl FnOnce() -> Result<String, String>) -> Check {
    let began = Instant::now();
    let found = attempt(f).unwrap_or_else(|mistake| Err(mistake.to_string()));
    let seconds = began.elapsed().as_secs_f64();
    let ok = found.is_ok();
    let (Ok(words) | Err(words)) = found;
    Check { name, ok, words, seconds }
}

/// The laws of the operations that a network spends its time in.
fn operations() -> Result<String, String> {
    laws::check("matmul", 10, 2, |d| {
        let [m, k, n] = [d.size(0..4), d.size(0..4), d.size(1..5)];
        Case::new(MatMul, vec![d.real([m, k]), d.real([k, n])])
    })?;
    laws::check("conv2d", 10, 2, |d| {
        let [n, c, k] = [d.size(1..10), d.size(1..4), d.size(1..4)];
        let conv = Conv::default().padding(d.size(0..3)).stride(d.size(1..3));
        Case::new(Conv2d { conv }, vec![d.real([n, c, 6, 7]), d.real([k, c, 3, 3]), d.real([k])])
    })?;
    laws::check("max_pool2d", 10, 2, |d| {
        let (pool, n) = (Pool::new(d.size(1..4)), d.size(1..4));
        Case::new(MaxPool2d { pool }, vec![d.real([n, 2, 6, 7])])
    })?;
    laws::check("cross_entropy", 10, 2, |d| {
        let (n, c) = (d.size(1..9), d.size(1..12));
        let labels = d.whole(0..c as i64, [n]);
        Case::new(CrossEntropy { ignore: -100 }, vec![d.real([n, c]), labels])
    })?;
    Ok("values, first and second derivatives".into())
}

/// Forward mode, reverse mode and finite differences.
fn gradients() -> Result<String, String> {
    let shape = [1, cotangent_mnist::ROWS, cotangent_mnist::COLS];
    let classes = cotangent_mnist::CLASSES;
    let found = model::build(ModelName::Lenet5, shape, classes, 0, 1)
        .and_then(|(network, _)| compare_layers(&network, &shape, classes, 0));
    let found = found.map_err(|e| e.title().to_string())?;
    match found.iter().find(|c| !c.is_ok()) {
        Some(c) => {
            Err(format!("{}: modes differ by {:.1e}, differences by {:?}", c.layer, c.modes, c.difference))
        }
        None => {
            let worst = found.iter().filter_map(|c: &Comparison| c.difference).fold(0.0, f64::max);
            Ok(format!("three ways agree, to {worst:.0e}"))
        }
    }
}

/// A few training steps on one thread and on all of them.
fn same_bits(threads: usize) -> Result<String, String> {
    let several = threads.max(2);
    let run = |threads| machine::with_threads(threads, trained).map_err(|e| e.title().to_string());
    if run(1)? == run(several)? {
        Ok(format!("the same bits on 1 and on {several}"))
    } else {
        Err(format!("other bits on 1 thread than on {several}"))
    }
}

fn trained() -> Result<Vec<u32>, Diagnostic> {
    let (network, _) = model::build(ModelName::Lenet5, [1, 28, 28], 10, 0, 64)?;
    let rng = Rng::stream(0, 1);
    let x = Tensor::randn([64, 1, 28, 28], &rng).cast(DType::F32);
    let y = Tensor::randint(0, 10, [64], &rng);
    let (inside, sgd) = (network.clone(), Sgd::new(0.05).momentum(0.9));
    let mut step = Step::record(move |[x, y]: [Tensor; 2]| {
        let loss = inside.call(&x).cross_entropy(&y);
        sgd.step(&*inside, &loss.backward());
        loss.detach()
    });
    for _ in 0..3 {
        step.run([&x, &y])?;
    }
    Ok(network.values().iter().flat_map(|v| v.to_vec::<f32>()).map(f32::to_bits).collect())
}

/// Sizes and checksums are looked at while it is unpacked.
fn mnist() -> Result<String, String> {
    let (train, test) = rayon::join(cotangent_mnist::train, cotangent_mnist::test);
    let (train, test) = (train.map_err(|e| e.to_string())?, test.map_err(|e| e.to_string())?);
    let ink = train.images.iter().chain(&test.images).map(|x| u64::from(*x)).sum::<u64>();
    match (train.labels.len(), test.labels.len(), &train.labels[..5]) {
        (60_000, 10_000, [5, 0, 4, 1, 9]) if ink > 0 => Ok("70,000 images, checksums right".into()),
        (a, b, _) => Err(format!("{a} and {b} images, which are not those of MNIST")),
    }
}

fn text(r: &Report) -> String {
    let memory = r.memory_bytes.map_or("unknown".to_string(), bytes);
    let features =
        if r.features.is_empty() { "none of those I look for".into() } else { r.features.join(" ") };
    let mut text = format!(
        "cotangent {} on {}\n  cpu       {features}\n  kernels   {}\n  threads   {}\n  memory    {memory}\n\n",
        r.version, r.host, r.isa, r.threads
    );
    let names = r.checks.iter().map(|c| c.name.len()).max().unwrap_or(0);
    for c in &r.checks {
        let verdict = if c.ok { "ok" } else { "WRONG" };
        let time = duration(std::time::Duration::from_secs_f64(c.seconds));
        text += &format!("  {:<names$}   {verdict:<5}   {}  ({time})\n", c.name, c.words);
    }
    text += if r.ok { "\n  all is well\n" } else { "\n  this machine does not compute rightly\n" };
    text
}
