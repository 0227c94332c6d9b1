//! Optimisers side by side on one problem, at the same number of gradient evaluations; and what batches cost.

mod batches;
mod binary;
mod gan;
mod lenets;

use std::str::FromStr;

use cotangent::{
    DType, Rng, Tensor,
    data::{Cyclic, Iid, Sampler, Shuffled},
    hvp,
};
use serde::Serialize;

pub use batches::{Batched, Planned, batch_sizes, largest_batch};
pub use binary::{Binary, Pictures, WIDTHS, binary, patches};
pub use gan::{Gan, Gans, gan, gans};
pub use lenets::{Reached, Trained, lenets, to_accuracy};

use crate::{
    FiniteSum,
    explain::table,
    problem::{logistic, normal},
    why::short,
};

/// What is minimised.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Problem {
    /// Least squares.
    #[default]
    Quadratic,
    /// Logistic regression on two blobs.
    Logistic,
    /// The same, all examples of one class before those of the other.
    Sorted,
    /// Softmax regression on MNIST.
    Mnist,
}

impl FromStr for Problem {
    type Err = String;
    fn from_str(word: &str) -> Result<Self, String> {
        match word {
            "quadratic" => Ok(Problem::Quadratic),
            "logistic" => Ok(Problem::Logistic),
            "sorted" => Ok(Problem::Sorted),
            "mnist" => Ok(Problem::Mnist),
            other => Err(format!("unknown problem `{other}`, expected quadratic, logistic, sorted or mnist")),
        }
    }
}

/// How the step size goes on (row A4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Sequence {
    /// `α`
    Constant,
    /// `α/(1 + e)` in epoch e, counted in gradient evaluations.
    #[default]
    Harmonic,
    /// `α/√(1 + e)`
    Root,
}

impl FromStr for Sequence {
    type Err = String;
    fn from_str(word: &str) -> Result<Self, String> {
        match word {
            "constant" => Ok(Sequence::Constant),
            "harmonic" => Ok(Sequence::Harmonic),
            "root" => Ok(Sequence::Root),
            other => Err(format!("unknown sequence `{other}`, expected constant, harmonic or root")),
        }
    }
}

impl Sequence {
    fn factor(self, epoch: f64) -> f64 {
        match self {
            Sequence::Constant => 1.0,
            Sequence::Harmonic => 1.0 / (1.0 + epoch),
            Sequence::Root => 1.0 / (1.0 + epoch).sqrt(),
        }
    }
}

/// What is compared.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Study {
    /// The problem.
    pub problem: Problem,
    /// `N`
    pub examples: usize,
    /// Gradient evaluations, in multiples of N.
    pub epochs: usize,
    /// Runs of each arm: the order and the start change, the problem does not.
    pub seeds: u64,
    /// The size of the mini-batch arm's batches.
    pub batch: usize,
    /// `α₀` of the arms that step on single examples; the cautious one, from an estimate of L, where it is not given.
    pub rate: Option<f64>,
    /// How it goes on.
    pub sequence: Sequence,
}

impl Default for Study {
    fn default() -> Self {
        Study {
            problem: Problem::Quadratic,
            examples: 200,
            epochs: 10,
            seeds: 5,
            batch: 16,
            rate: None,
            sequence: Sequence::Harmonic,
        }
    }
}

/// What one way to the minimum came to.
#[derive(Clone, Debug, Serialize)]
pub struct Arm {
    /// `gd`, `sgd-iid`, `minibatch`, `cyclic`, `shuffled`
    pub name: &'static str,
    /// `α₀`
    pub rate: f64,
    /// F − F* at the end, the mean over seeds; F itself where F* is not known.
    pub mean: f64,
    /// The standard deviation over seeds.
    pub spread: f64,
    /// The largest over seeds.
    pub worst: f64,
    /// The same before the first step, the mean over seeds.
    pub start: f64,
    /// Gradients of single examples.
    pub evaluations: usize,
    /// Epoch, mean, spread.
    pub curve: Vec<[f64; 3]>,
}

impl Study {
    /// The function to minimise.
    ///
    /// # Errors
    /// When the bundled MNIST is damaged.
    pub fn make(&self) -> Result<FiniteSum, String> {
        let n = self.examples;
        Ok(match self.problem {
            Problem::Quadratic => FiniteSum::least_squares(n, 5, 0.5, 1),
            Problem::Logistic => FiniteSum::logistic(n, 5, false, 1),
            Problem::Sorted => FiniteSum::logistic(n, 5, true, 1),
            Problem::Mnist => mnist(n)?,
        })
    }
}

/// Softmax regression on the first `n` images of MNIST, as a function of one vector of 7,850 numbers.
fn mnist(n: usize) -> Result<FiniteSum, String> {
    let (x, y) = images(n)?;
    let x = x.flatten(1).cast(DType::F64);
    let losses = move |theta: &Tensor, i: &Tensor| {
        let (w, b) = (theta.narrow(0, 0, 7840).reshape([10, 784]), theta.narrow(0, 7840, 10));
        let logits = x.index_select(0, i).matmul(&w.t()) + b;
        let options = cotangent::ops::CrossEntropyOptions {
            reduction: cotangent::ops::Reduction::None,
            ..Default::default()
        };
        logits.cross_entropy_with(&y.index_select(0, i), &options)
    };
    Ok(FiniteSum::new(n, 7850, losses))
}

/// The first `n` training images, normalised, `F32`, and their labels.
pub(crate) fn images(n: usize) -> Result<(Tensor, Tensor), String> {
    let all = cotangent_mnist::train().map_err(|e| e.to_string())?;
    if n > all.labels.len() {
        return Err(format!("MNIST has {} training images, and {n} were asked for", all.labels.len()));
    }
    let (mean, std) = (cotangent_mnist::MEAN as f32, cotangent_mnist::STD as f32);
    let pixels: Vec<f32> =
        all.images[..n * 784].iter().map(|p| (f32::from(*p) / 255.0 - mean) / std).collect();
    let labels: Vec<i64> = all.labels[..n].iter().map(|l| i64::from(*l)).collect();
    Ok((Tensor::from_vec(pixels, [n, 1, 28, 28]), Tensor::from_vec(labels, [n])))
}

/// An estimate of L, the largest curvature of F at θ, by power iteration on Hessian-vector products.
///
/// ```
/// use cotangent::Tensor;
/// use cotangent_lecture::{FiniteSum, lab::curvature};
/// let p = FiniteSum::new(1, 2, |t, _| (t.square() * Tensor::from([0.5, 4.0])).sum().unsqueeze(0));
/// assert!((curvature(&p, &Tensor::from([1.0, 1.0]), 50) - 8.0).abs() < 1e-6);
/// ```
pub fn curvature(p: &FiniteSum, theta: &Tensor, steps: usize) -> f64 {
    let all = Tensor::arange(0, p.len() as i64);
    let mut v = normal([p.dim()], &Rng::new(0));
    let mut l = 0.0;
    for _ in 0..steps {
        v = &v / v.norm();
        let next = hvp(|t| p.losses(&t, &all).mean(), theta, &v);
        l = next.norm().item();
        if l == 0.0 {
            return 0.0;
        }
        v = next;
    }
    l
}

/// An estimate of L for a step along the gradient: the largest [`curvature`] at θ and where steps of up to `2/L` lead,
/// which matters where F is flat here and steep there.
pub fn curvature_ahead(p: &FiniteSum, theta: &Tensor, steps: usize) -> f64 {
    let g = p.gradient(theta);
    let mut l = curvature(p, theta, steps);
    for _ in 0..20 {
        let most = [0.5, 1.0, 2.0].map(|t| curvature(p, &(theta - &g * (t / l)), steps)).into_iter();
        let most = most.fold(0.0, f64::max);
        if most.is_nan() || most <= 1.001 * l {
            break;
        }
        l = most;
    }
    l
}

/// The largest curvature of a single f_i among some of them: what a step on one example must be cautious about.
fn sharpest(p: &FiniteSum, theta: &Tensor) -> f64 {
    let some = p.len().min(64);
    let of = |i: usize| {
        let i = Tensor::from([(i * p.len() / some) as i64]);
        let mut v = normal([p.dim()], &Rng::new(1));
        let mut l = 0.0;
        // One example has a Hessian of low rank: two steps find its largest eigenvalue nearly.
        for _ in 0..3 {
            v = &v / v.norm();
            v = hvp(|t| p.losses(&t, &i).mean(), theta, &v);
            l = v.norm().item();
        }
        if l.is_finite() { l } else { 0.0 }
    };
    (0..some).map(of).fold(0.0, f64::max)
}

/// `tr(Cov ∇f_i)/‖∇F‖²`: how many examples a gradient needs before its noise is below itself (row A14).
pub fn noise_scale(p: &FiniteSum, theta: &Tensor) -> f64 {
    let each = p.per_example(theta);
    let n = each.len() as f64;
    let mean: Vec<f64> = (0..p.dim()).map(|j| each.iter().map(|g| g[j]).sum::<f64>() / n).collect();
    let trace: f64 =
        each.iter().map(|g| g.iter().zip(&mean).map(|(g, m)| (g - m) * (g - m)).sum::<f64>()).sum::<f64>()
            / n;
    trace / mean.iter().map(|m| m * m).sum::<f64>()
}

/// F*, by Newton steps with conjugate gradients; for few variables.
fn minimum(p: &FiniteSum) -> Option<f64> {
    if p.dim() > 64 {
        return None;
    }
    let all = Tensor::arange(0, p.len() as i64);
    let mut theta = Tensor::zeros([p.dim()]).cast(DType::F64);
    for _ in 0..12 {
        let product = |v: &Tensor| hvp(|t| p.losses(&t, &all).mean(), &theta, v);
        let mut r = p.gradient(&theta);
        let (mut d, mut q) = (theta.zeros_like(), r.clone());
        let mut rr = r.square().sum().item();
        for _ in 0..p.dim() {
            if rr < 1e-28 {
                break;
            }
            let h = product(&q);
            let along = (&q * &h).sum().item();
            if along <= 0.0 {
                return None;
            }
            let a = rr / along;
            (d, r) = (d + &q * a, r - h * a);
            let next = r.square().sum().item();
            q = &r + q * (next / rr);
            rr = next;
        }
        theta = theta - d;
    }
    Some(p.value(&theta)).filter(|f| f.is_finite())
}

/// The five arms at equal gradient evaluations (rows A18, A23).
pub fn compare(study: &Study) -> Vec<Arm> {
    study.make().map_or(Vec::new(), |p| compare_on(&p, study))
}

/// The five arms on any finite sum.
pub fn compare_on(p: &FiniteSum, study: &Study) -> Vec<Arm> {
    let n = p.len();
    let origin = Tensor::zeros([p.dim()]).cast(DType::F64);
    let lowest = minimum(p).unwrap_or(0.0);
    // The cautious sizes: 1/L for the whole, ½/L_i for single examples, between them for batches.
    let (whole, single) = (1.0 / curvature(p, &origin, 30), study.rate.unwrap_or(0.5 / sharpest(p, &origin)));
    let batch = study.batch.clamp(1, n);
    let middle = (single * batch as f64).min(whole);
    let arms: [(&'static str, f64, usize); 5] = [
        ("gd", whole, n),
        ("minibatch", middle, batch),
        ("sgd-iid", single, 1),
        ("cyclic", single, 1),
        ("shuffled", single, 1),
    ];
    arms.into_iter()
        .map(|(name, rate, size)| {
            let runs: Vec<Vec<f64>> =
                (0..study.seeds).map(|seed| run(p, study, name, rate, size, seed, lowest)).collect();
            summarise(name, rate, &runs, study.epochs * n)
        })
        .collect()
}

/// Mean and standard deviation over runs at each of their points, which are so far apart.
fn curve(runs: &[Vec<f64>], apart: f64) -> Vec<[f64; 3]> {
    let count = runs.len().max(1) as f64;
    (0..runs.first().map_or(0, Vec::len))
        .map(|e| {
            let mean = runs.iter().map(|r| r[e]).sum::<f64>() / count;
            let square = runs.iter().map(|r| (r[e] - mean) * (r[e] - mean)).sum::<f64>();
            [e as f64 * apart, mean, (square / (count - 1.0).max(1.0)).sqrt()]
        })
        .collect()
}

fn summarise(name: &'static str, rate: f64, runs: &[Vec<f64>], evaluations: usize) -> Arm {
    let curve = curve(runs, 1.0);
    let (first, last) =
        (curve.first().copied().unwrap_or_default(), curve.last().copied().unwrap_or_default());
    let worst = runs.iter().filter_map(|r| r.last()).copied().fold(f64::NEG_INFINITY, f64::max);
    Arm { name, rate, mean: last[1], spread: last[2], worst, start: first[1], evaluations, curve }
}

/// F − F* after every epoch, the start first.
fn run(p: &FiniteSum, study: &Study, name: &str, rate: f64, size: usize, seed: u64, lowest: f64) -> Vec<f64> {
    let n = p.len();
    let sampler: Box<dyn Sampler> = match name {
        "sgd-iid" | "minibatch" => Box::new(Iid::new(n, seed)),
        "shuffled" => Box::new(Shuffled::new(n, seed)),
        _ => Box::new(Cyclic::new(n)),
    };
    // Far enough from the minimum to see the way; a network's first weights are small.
    let start = if p.dim() > 64 { 0.02 } else { 1.0 };
    let mut theta = normal([p.dim()], &Rng::new(seed + 1)) * start;
    let mut order = sampler.stream(0);
    let mut curve = vec![p.value(&theta) - lowest];
    let mut spent = 0;
    for epoch in 1..=study.epochs {
        while spent < epoch * n {
            // The last batch of all is shorter, so that every arm spends the same.
            let take = size.min(study.epochs * n - spent);
            let batch: Vec<usize> = order.by_ref().take(take).collect();
            let sequence = if name == "gd" { Sequence::Constant } else { study.sequence };
            let alpha = rate * sequence.factor(spent as f64 / n as f64);
            theta = &theta - p.batch_gradient(&theta, &batch) * alpha;
            spent += take;
        }
        curve.push(p.value(&theta) - lowest);
    }
    curve
}

/// What an order of the examples came to (row A20).
#[derive(Clone, Debug, Serialize)]
pub struct Order {
    /// `sorted cyclic`, `one random order`, `reshuffled`
    pub name: &'static str,
    /// F over the steps of the last epoch, the mean over seeds.
    pub mean: f64,
    /// Its standard deviation over seeds.
    pub spread: f64,
    /// The largest minus the smallest F within the last epoch, the mean over seeds.
    pub swing: f64,
    /// Epoch, F and its spread over seeds, four times an epoch.
    pub curve: Vec<[f64; 3]>,
}

/// A perceptron 2→8→1 with tanh on two overlapping blobs, as a function of one vector of 33 numbers.
fn perceptron(n: usize) -> FiniteSum {
    let p = FiniteSum::logistic(n, 2, true, 20);
    let Some((x, y)) = p.data().cloned() else { return p };
    FiniteSum::new(n, 33, move |theta, i| {
        let (w, b) = (theta.narrow(0, 0, 16).reshape([8, 2]), theta.narrow(0, 16, 8));
        let (v, c) = (theta.narrow(0, 24, 8), theta.narrow(0, 32, 1));
        let h = (x.index_select(0, i).matmul(&w.t()) + b).tanh();
        let m = (h.matmul(&v) + c) * y.index_select(0, i);
        logistic(&m)
    })
}

/// Three orders at equal epochs (row A20): sorted by label, one random order kept, a new order each epoch.
pub fn orders(seeds: u64, epochs: usize) -> Vec<Order> {
    let n = 64;
    let p = perceptron(n);
    ["sorted cyclic", "one random order", "reshuffled"]
        .into_iter()
        .map(|name| {
            let (mut means, mut swings, mut runs) = (Vec::new(), 0.0, Vec::new());
            for seed in 0..seeds {
                let mut theta = normal([33], &Rng::new(seed + 7)) * 0.5;
                let (mut last, mut run) = (Vec::new(), vec![p.value(&theta)]);
                for epoch in 0..epochs {
                    let order: Vec<usize> = match name {
                        "sorted cyclic" => (0..n).collect(),
                        "one random order" => cotangent::data::permutation(n, seed, 0),
                        _ => cotangent::data::permutation(n, seed, epoch as u64),
                    };
                    for (k, i) in order.iter().enumerate() {
                        theta = &theta - p.batch_gradient(&theta, &[*i]) * 0.3;
                        let (quarter, late) = (k % (n / 4) == n / 4 - 1, epoch + 1 == epochs && k % 4 == 3);
                        if quarter || late {
                            let f = p.value(&theta);
                            last.extend(late.then_some(f));
                            run.extend(quarter.then_some(f));
                        }
                    }
                }
                means.push(vec![last.iter().sum::<f64>() / last.len() as f64]);
                let most = last.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                swings += most - last.iter().copied().fold(f64::INFINITY, f64::min);
                runs.push(run);
            }
            let [_, mean, spread] = curve(&means, 1.0).first().copied().unwrap_or_default();
            Order { name, mean, spread, swing: swings / means.len() as f64, curve: curve(&runs, 0.25) }
        })
        .collect()
}

/// What batch sizes came to as the rows of a table, its head first (row A15).
pub fn reached(found: &[Reached]) -> Vec<Vec<String>> {
    let head = ["B", "rate", "examples/s", "steps", "epochs", "test accuracy, %", "seconds to it"];
    let row = |f: &Reached| {
        vec![
            f.batch.to_string(),
            format!("{:.4}", f.rate),
            format!("{:.0}", f.throughput),
            f.steps.to_string(),
            format!("{:.1}", f.epochs),
            format!("{:.2}", 100.0 * f.accuracy),
            if f.reached { format!("{:.2}", f.seconds) } else { "not reached".into() },
        ]
    };
    [head.map(String::from).to_vec()].into_iter().chain(found.iter().map(row)).collect()
}

/// The arms as a table.
pub fn text(arms: &[Arm], known: bool) -> String {
    let value = if known { "F − F*" } else { "F" };
    let head = ["arm", "α₀", "evaluations", value, "± over seeds"];
    let mut rows = vec![head.iter().map(|s| s.to_string()).collect::<Vec<_>>()];
    for a in arms {
        rows.push(vec![
            a.name.to_string(),
            short(a.rate),
            a.evaluations.to_string(),
            format!("{:.6e}", a.mean),
            format!("{:.1e}", a.spread),
        ]);
    }
    table(&rows, &[1, 2, 3, 4])
}
