//! `y = (x − μ)/√(σ² + ε)·γ + β`, with `μ`, `σ²` over the batch and all places, a channel.
//!
//! With `x̂ = (x − μ)r`, `r = 1/√(σ² + ε)`:  `dy = γr(dx − E dx − x̂·E[x̂ dx]) + x̂ dγ + dβ`;
//! `γ̄ = Σ ȳx̂`,  `β̄ = Σ ȳ`,  `x̄ = r(γȳ − E[γȳ] − x̂·E[γȳ x̂])`

pub(crate) mod cpu;

use super::{Attribute, Batch, Cost, Mode, Op, arithmetic::sum, floats};
use crate::{
    apply::apply_many,
    autodiff::LinearMap,
    device::cpu::Call,
    error::{Error, Result},
    tensor::{Spec, Tensor},
};

/// `(x, γ, β) → (y, μ, σ²)`: `[n, c, ..]`, `[c]`, `[c]`; `σ²` is the biased variance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchNorm {
    /// Added to the variance.
    pub eps: f64,
}

/// A vector of channels beside `[n, c, ..]`.
fn wide(v: &Tensor, rank: usize) -> Tensor {
    let mut dims = vec![1; rank];
    dims[1] = v.numel();
    v.reshape(dims)
}

fn others(rank: usize) -> Vec<isize> {
    (0..rank as isize).filter(|a| *a != 1).collect()
}

impl Op for BatchNorm {
    fn name(&self) -> &'static str {
        "batch_norm"
    }
    fn attributes(&self) -> Vec<(&'static str, Attribute)> {
        vec![("eps", self.eps.into())]
    }
    fn outputs(&self, x: &[Spec]) -> Result<Vec<Spec>> {
        floats(x)?;
        let s = &x[0].shape;
        if s.rank() < 2 {
            return Err(Error::mistake(format!("the input needs axes [n, c, ..], got {s:?}")));
        }
        if x[1..].iter().any(|v| v.shape[..] != [s[1]] || v.dtype != x[0].dtype) {
            let (g, b) = (&x[1], &x[2]);
            return Err(Error::mistake(format!(
                "scale {:?} {} and shift {:?} {} must be [{}] {}",
                g.shape, g.dtype, b.shape, b.dtype, s[1], x[0].dtype
            ))
            .operands(format!("input {s:?}")));
        }
        if s[1] > 0 && s.len() / s[1] < 2 {
            return Err(Error::mistake(format!(
                "{s:?} has fewer than two values a channel: their variance says nothing"
            ))
            .help("a larger batch; with `eval()` the running statistics are used instead"));
        }
        let channel = x[0].with([s[1]]);
        Ok(vec![x[0].clone(), channel.clone(), channel])
    }
    fn linearize(&self, x: &[Tensor], y: &[Tensor], mode: Mode, wanted: &[bool]) -> LinearMap {
        let (rank, eps) = (x[0].rank(), self.eps);
        let (gamma, mean, var, x) = (x[1].clone(), y[1].clone(), y[2].clone(), x[0].clone());
        let n = (x.numel() / mean.numel().max(1)) as f64;
        let wanted = wanted.to_vec();
        let mean_of = move |t: &Tensor| t.mean_over(others(rank), true);
        match mode {
            Mode::Push => LinearMap::new(move |t| {
                let (r, centred) = (wide(&(&var + eps).sqrt().recip(), rank), &x - wide(&mean, rank));
                let hat = &centred * &r;
                let through = t[0]
                    .as_ref()
                    .map(|t| (t - mean_of(t) - &hat * mean_of(&(&hat * t))) * &r * wide(&gamma, rank));
                let scale = t[1].as_ref().map(|g| &hat * wide(g, rank));
                let shift = t[2].as_ref().map(|b| wide(b, rank).expand(*hat.shape()));
                let channel = |t: Tensor| t.reshape([gamma.numel()]);
                let dmean = t[0].as_ref().map(|t| channel(mean_of(t)));
                let dvar = t[0].as_ref().map(|t| channel(mean_of(&(&centred * t)) * 2.0));
                vec![sum([through, scale, shift]), dmean, dvar]
            }),
            Mode::Pull => LinearMap::new(move |c| {
                let total = |t: &Tensor| t.sum_over(others(rank), false);
                let r = (&var + eps).sqrt().recip();
                let centred = &x - wide(&mean, rank);
                // The derivatives of scale and shift are the sums that the input's needs.
                let of = |c: &Tensor| {
                    let hat = &centred * wide(&r, rank);
                    (total(&(c * &hat)), total(c), hat)
                };
                let sums = c[0].as_ref().map(of);
                let dx = wanted[0].then(|| {
                    let through = c[0].as_ref().zip(sums.as_ref()).map(|(c, (dgamma, dbeta, hat))| {
                        let inner = c - wide(&(dbeta / n), rank) - hat * wide(&(dgamma / n), rank);
                        inner * wide(&(&r * &gamma), rank)
                    });
                    let by_mean = c[1].as_ref().map(|m| (wide(m, rank) / n).expand(*x.shape()));
                    let by_var = c[2].as_ref().map(|v| &centred * (wide(v, rank) * (2.0 / n)));
                    sum([through, by_mean, by_var])
                });
                let (dgamma, dbeta) = sums.map(|(dgamma, dbeta, _)| (dgamma, dbeta)).unzip();
                vec![dx.flatten(), dgamma.filter(|_| wanted[1]), dbeta.filter(|_| wanted[2])]
            }),
        }
    }
    fn batch(&self, _: &[Spec], axes: &[Option<usize>]) -> Batch {
        // Channels do not meet; examples do.
        if *axes == [Some(1), Some(0), Some(0)] { Batch::Each(vec![1, 0, 0]) } else { Batch::Mixes }
    }
    fn cost(&self, x: &[Spec], y: &[Spec]) -> Cost {
        let n = x[0].shape.len() as u64;
        Cost { additions: 4 * n, multiplications: 3 * n, saved: x[0].bytes() as u64, ..Cost::default() }
            .moving(x, y)
    }
    fn cpu(&self, call: Call<'_>) {
        let [x, gamma, beta] = call.inputs else { unreachable!("input, scale, shift") };
        let s = x.layout.shape;
        let sizes = cpu::Sizes { n: s[0], c: s[1], inner: s[2..].iter().product() };
        let [y, mean, var] = call.outputs else { unreachable!("output, mean, variance") };
        crate::dispatch!(float x.dtype, T => {
            let numbers = [mean.slice::<T>(), var.slice::<T>()];
            cpu::forward::<T>(sizes, x.packed(), [gamma.packed(), beta.packed()], self.eps, y.slice(), numbers)
        })
    }
}

impl Tensor {
    /// `(y, μ, σ²)` with `y = (x − μ)/√(σ² + ε)·γ + β` over the batch: `[n, c, ..]`, `[c]`, `[c]`; `σ²` is biased.
    ///
    /// # Panics
    /// When there are fewer than two values a channel, or sizes do not fit.
    #[track_caller]
    pub fn batch_norm(&self, gamma: &Tensor, beta: &Tensor, eps: f64) -> (Tensor, Tensor, Tensor) {
        let mut y = apply_many(BatchNorm { eps }, &[self, gamma, beta]).into_iter();
        let mut next = || y.next().expect("three outputs");
        (next(), next(), next())
    }
}
