//! `yᵢ = xᵢ/(1 − p)` with probability `1 − p`, else 0.    `dy = the same mask of dx`, and so is `x̄`

use super::{Attribute, Batch, Cost, Mode, Op, floats, random};
use crate::{
    Rng,
    apply::apply,
    autodiff::LinearMap,
    device::cpu::{Call, float::Float, threads},
    error::{Error, Result},
    tensor::{Spec, Tensor},
};

/// Dropout; its mask is a function of the generator's state (the second input) and of each element's place in
/// the whole batch, so nothing is stored for the way back.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dropout {
    /// The probability of 0.
    pub p: f64,
}

impl Op for Dropout {
    fn name(&self) -> &'static str {
        "dropout"
    }
    fn attributes(&self) -> Vec<(&'static str, Attribute)> {
        vec![("p", self.p.into())]
    }
    fn outputs(&self, x: &[Spec]) -> Result<Vec<Spec>> {
        floats(&x[..1])?;
        random::is_state(&x[1])?;
        if !(0.0..=1.0).contains(&self.p) {
            return Err(Error::mistake(format!("a probability is between 0 and 1, not {}", self.p)));
        }
        Ok(vec![x[0].clone()])
    }
    fn linearize(&self, x: &[Tensor], _: &[Tensor], mode: Mode, _: &[bool]) -> LinearMap {
        let (op, state) = (*self, x[1].clone());
        let masked = move |t: &Tensor| apply(op, &[t, &state]);
        match mode {
            Mode::Push => LinearMap::new(move |t| vec![t[0].as_ref().map(&masked)]),
            Mode::Pull => LinearMap::new(move |c| vec![c[0].as_ref().map(&masked), None]),
        }
    }
    fn batch(&self, _: &[Spec], axes: &[Option<usize>]) -> Batch {
        if *axes == [Some(0), None] { Batch::Each(vec![0]) } else { Batch::Mixes }
    }
    fn cost(&self, x: &[Spec], y: &[Spec]) -> Cost {
        let n = x[0].shape.len() as u64;
        Cost { multiplications: n, elementary: n, ..Cost::default() }.moving(x, y)
    }
    fn cpu(&self, call: Call<'_>) {
        let [x, state] = call.inputs else { unreachable!("values and state") };
        let state = random::state(state);
        let example: usize = x.layout.shape.iter().skip(1).product();
        let first = call.first_example * example;
        crate::dispatch!(float x.dtype, T => {
            mask::<T>(x.packed(), call.outputs[0].slice(), self.p, |i| random::unit(random::bits(state, first + i)))
        })
    }
}

fn mask<T: Float>(x: &[T], y: &mut [T], p: f64, uniform: impl Fn(usize) -> f64 + Sync) {
    const CHUNK: usize = 1 << 12;
    let scale = T::from_f64(1.0 / (1.0 - p));
    threads::chunks_mut(y, CHUNK, |c, part| {
        for (j, y) in part.iter_mut().enumerate() {
            let i = c * CHUNK + j;
            *y = if uniform(i) >= p { x[i] * scale } else { T::ZERO };
        }
    });
}

impl Tensor {
    /// Each element is 0 with probability `p`, and divided by `1 − p` otherwise (row E50).
    /// <https://pytorch.org/docs/stable/generated/torch.nn.functional.dropout.html>
    ///
    /// ```
    /// use cotangent::{Rng, Tensor};
    /// let y = Tensor::ones([1000]).dropout(0.5, &Rng::new(0));
    /// assert!(y.to_vec::<f32>().iter().all(|y| *y == 0.0 || *y == 2.0));
    /// ```
    ///
    /// # Panics
    /// When `p` is not between 0 and 1.
    #[must_use]
    #[track_caller]
    pub fn dropout(&self, p: f64, rng: &Rng) -> Tensor {
        let state = rng.draw(random::blocks(self.numel())).to(&self.device());
        apply(Dropout { p }, &[self, &state])
    }
}
