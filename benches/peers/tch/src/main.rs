//! Short operations and the overhead of tiny ones in libtorch, called from Rust: what PyTorch takes without Python.
//!
//! `tch-operations FILTER THREADS SECONDS` prints a line for each row whose name contains FILTER, under cotangent's names.

use std::error::Error;
use std::hint::black_box;
use std::time::Instant;

use serde_json::json;
use tch::nn::{Init, OptimizerConfig, Sgd, VarStore};
use tch::{Device, Kind, Tensor, no_grad};

/// What is timed, how, and how long.
struct Bench {
    filter: String,
    threads: i32,
    seconds: f64,
}

impl Bench {
    fn row<T>(&self, name: &str, mut work: impl FnMut() -> T) {
        if !name.contains(&self.filter) {
            return;
        }
        let samples = repeat(self.seconds, || drop(black_box(work())));
        let line = json!({
            "peer": "tch", "version": "0.26", "name": name, "variant": "libtorch through tch", "threads": self.threads,
            "samples": samples,
        });
        println!("{line}");
    }
}

/// Seconds of each call after a warm-up; calls shorter than 20 µs are taken together, as on the other sides.
fn repeat(seconds: f64, mut work: impl FnMut()) -> Vec<f64> {
    let mut timed = |calls: usize| {
        let start = Instant::now();
        (0..calls).for_each(|_| work());
        start.elapsed().as_secs_f64() / calls as f64
    };
    let once = (0..3).map(|_| timed(1)).fold(f64::INFINITY, f64::min);
    let calls = (20e-6 / once.max(1e-9)) as usize + 1;
    timed(20 * calls);
    let (start, mut samples) = (Instant::now(), Vec::new());
    while samples.len() < 7 || start.elapsed().as_secs_f64() < seconds {
        samples.push(timed(calls));
    }
    samples
}

fn normal(shape: &[i64]) -> Tensor {
    Tensor::randn(shape, (Kind::Float, Device::Cpu))
}

fn operations(bench: &Bench) {
    for [m, k, n] in [[64, 400, 120], [64, 120, 84], [64, 84, 10], [400, 64, 120]] {
        let (x, y) = (normal(&[m, k]), normal(&[k, n]));
        bench.row(&format!("matmul/{m}x{k}x{n}"), || x.mm(&y));
    }
    for [n, c, h] in [[64, 6, 28], [64, 16, 10]] {
        let x = normal(&[n, c, h, h]);
        bench.row(&format!("maxpool2/{n}x{c}x{h}x{h}"), || x.max_pool2d([2, 2], [2, 2], [0, 0], [1, 1], false));
    }
    let (x, y) = (normal(&[64, 10]), Tensor::randint(10, [64], (Kind::Int64, Device::Cpu)));
    bench.row("cross-entropy/64x10", || x.cross_entropy_for_logits(&y));
    let x = x.set_requires_grad(true);
    bench.row("cross-entropy-backward/64x10", || {
        Tensor::run_backward(&[x.cross_entropy_for_logits(&y)], &[&x], false, false)
    });
    momentum(bench);
}

/// A step of SGD with momentum on the parameters of LeNet-5.
fn momentum(bench: &Bench) {
    let shapes: [&[i64]; 10] =
        [&[6, 1, 5, 5], &[6], &[16, 6, 5, 5], &[16], &[120, 400], &[120], &[84, 120], &[84], &[10, 84], &[10]];
    let store = VarStore::new(Device::Cpu);
    let parameters = shapes
        .iter()
        .enumerate()
        .map(|(i, shape)| store.root().var(&i.to_string(), shape, Init::Randn { mean: 0.0, stdev: 1.0 }))
        .collect::<Vec<_>>();
    parameters.iter().map(|p| (p * p.detach()).sum(Kind::Float)).sum::<Tensor>().backward();
    let sgd = Sgd { momentum: 0.9, ..Sgd::default() }.build(&store, 1e-3);
    let mut sgd = sgd.expect("an optimiser of parameters of one device");
    bench.row("sgd-momentum/lenet5", || sgd.step());
}

fn chain(x: &Tensor) -> Tensor {
    (0..100).fold(x.shallow_clone(), |y, _| y * 1.01)
}

fn overhead(bench: &Bench) {
    let one = Tensor::ones([1], (Kind::Float, Device::Cpu));
    let tracked = one.copy().set_requires_grad(true);
    bench.row("overhead/add", || &one + &one);
    bench.row("overhead/add-tracked", || &tracked + &tracked);
    bench.row("overhead/chain-100", || no_grad(|| chain(&one)));
    bench.row("overhead/chain-100-tracked", || chain(&tracked));
    bench.row("overhead/chain-100-backward", || Tensor::run_backward(&[chain(&tracked)], &[&tracked], false, false));
}

fn main() -> Result<(), Box<dyn Error>> {
    let [filter, threads, seconds] = &std::env::args().skip(1).collect::<Vec<_>>()[..] else {
        return Err("expected: FILTER THREADS SECONDS".into());
    };
    let bench = Bench { filter: filter.clone(), threads: threads.parse()?, seconds: seconds.parse()? };
    tch::set_num_threads(bench.threads);
    tch::manual_seed(0);
    operations(&bench);
    overhead(&bench);
    Ok(())
}
