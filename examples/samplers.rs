//! A training loop with each sampler (rows A8, A11, A16–A23): `min over θ of (1/N) Σ ½(θ − ωᵢ)²`.
//!
//! With the step sizes `α_k = 1/(k + 1)` the iterate `θᵏ` is the mean of the examples seen so far: after whole
//! epochs exactly `ω̄` for samplers that take every example once, and only nearly for independent draws.
//!
//! ```text
//! cargo run --release --example samplers
//! ```

use cotangent::{
    Param, Result, Rng, Tensor,
    data::{Batch, Cyclic, Endless, Generator, Iid, Loader, Sampler, Shuffled, TensorDataset, coverage},
    optim::{Sgd, Stepsize},
};

const N: usize = 1000;

/// `θ` after SGD over these batches: `θ ← θ − α_k·∇f(θ)`.
fn sgd(batches: impl Iterator<Item = Result<Batch>>) -> Result<f64> {
    let theta = Param::new(Tensor::from(0.0));
    let (sgd, mut alpha) = (Sgd::new(1.0), Stepsize::from(|k, _epoch| 1.0 / (k as f64 + 1.0)));
    for (k, batch) in batches.enumerate() {
        let [omega] = batch?.into_array();
        let loss = (theta.get() - omega).square().mean() * 0.5;
        sgd.set_rate(alpha.at(k as u64, 0)?);
        sgd.step(&theta, &loss.backward());
    }
    Ok(theta.value().item())
}

/// One sampler over two epochs: `|θ − ω̄|`, the share of the examples in the first epoch, and whether its
/// gradients are unbiased given the past.
pub(crate) fn epochs(sampler: impl Sampler + Clone + 'static) -> Result<(f64, f64, bool)> {
    let data = Tensor::randn([N], &Rng::new(1)).cast(cotangent::DType::F64) + 3.0;
    let loader = Loader::new(TensorDataset::new([data.clone()])?, 1).sampler(sampler.clone());
    let theta = sgd(loader.epoch(0)?.chain(loader.epoch(1)?))?;
    Ok(((theta - data.mean().item()).abs(), coverage(sampler.epoch(0)?, N), sampler.is_unbiased()))
}

/// A source without length: `ω ~ N(3, 1)`, drawn when it is asked for (row A11).
pub(crate) fn endless() -> Result<f64> {
    let omega = Generator::new(7, |rng| vec![Tensor::randn((), rng) + 3.0]);
    sgd(Loader::new(omega, 1).stream(0).take(N))
}

fn main() -> Result<()> {
    let show = |name: &str, (error, seen, unbiased): (f64, f64, bool)| {
        println!(
            "{name:<9} |θ − ω̄| {error:.1e}   seen in an epoch {:5.1} %   unbiased: {unbiased}",
            100.0 * seen
        )
    };
    show("cyclic", epochs(Cyclic::new(N))?);
    show("shuffled", epochs(Shuffled::new(N, 0))?);
    show("iid", epochs(Iid::new(N, 0))?);
    println!("endless   θ after {N} draws: {:.3}; unbiased: {}", endless()?, Endless.is_unbiased());
    let refused = Endless.epoch(0).err().map(|e| e.to_string()).unwrap_or_default();
    println!("an epoch of it: {refused}");
    Ok(())
}
