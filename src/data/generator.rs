//! Sources without length: a model that draws examples.

use std::sync::Arc;

use super::{Dataset, Purpose};
use crate::{
    cell::Rng,
    error::{Error, Result},
    tensor::Tensor,
};

/// `ω⁰, ω¹, …`, independent draws of a model (row A11): "min E_ω[f_ω(θ)]" has no N, so there are steps and no epochs.
///
/// Draw `k` depends on the seed and `k` alone.
///
/// ```
/// use cotangent::{Tensor, data::{Generator, Loader}};
/// let omega = Generator::new(1, |rng| vec![Tensor::randn((), rng) + 3.0]);      // N(3, 1)
/// let loader = Loader::new(omega, 8);
/// assert!(loader.epoch(0).is_err());
/// let mut theta = 0.0;
/// for (k, batch) in loader.stream(0).take(100).enumerate() {
///     let [omega] = batch?.into_array();
///     theta -= 1.0 / (k as f64 + 1.0) * (theta - omega.mean().item());          // f_ω = ½(θ − ω)²
/// }
/// assert!((theta - 3.0).abs() < 0.3);
/// # Ok::<(), cotangent::Error>(())
/// ```
#[derive(Clone)]
pub struct Generator {
    seed: u64,
    draw: Arc<Draw>,
}

type Draw = dyn Fn(&Rng) -> Vec<Tensor> + Send + Sync;

impl Generator {
    /// `draw` makes one example, drawing from nothing but the generator it is given; each call has a stream of its
    /// own. Its tensors have no batch axis.
    pub fn new(seed: u64, draw: impl Fn(&Rng) -> Vec<Tensor> + Send + Sync + 'static) -> Self {
        Generator { seed, draw: Arc::new(draw) }
    }

    /// `ωᵏ`
    pub fn draw(&self, k: u64) -> Vec<Tensor> {
        (self.draw)(&Rng::stream(self.seed, Purpose::Generator.stream(k)))
    }
}

impl Dataset for Generator {
    fn len(&self) -> Option<usize> {
        None
    }
    fn get(&self, indices: &[usize]) -> Result<Vec<Tensor>> {
        let draws: Vec<Vec<Tensor>> = indices.iter().map(|k| self.draw(*k as u64)).collect();
        let Some(first) = draws.first() else { return Ok(Vec::new()) };
        let specs = |d: &[Tensor]| d.iter().map(Tensor::spec).collect::<Vec<_>>();
        if let Some(i) = draws.iter().position(|d| specs(d) != specs(first)) {
            let text = format!(
                "draw {} differs in number, shape or type of its tensors from draw {}",
                indices[i], indices[0]
            );
            return Err(Error::other(text).help("every draw must look alike, so that draws can be stacked"));
        }
        let column = |c: usize| Tensor::stack(&draws.iter().map(|d| &d[c]).collect::<Vec<_>>(), 0);
        Ok((0..first.len()).map(column).collect())
    }
}
