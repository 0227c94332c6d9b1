//! `y = t` where `x > 0`, else 0: ReLU's derivative, in one pass.    `dy = the same of dt`,  `t̄ = the same of ȳ`

use super::{Batch, Cost, Mode, Op, alike, floats, pointwise};
use crate::{
    apply::apply,
    autodiff::LinearMap,
    device::cpu::{Call, strided},
    error::Result,
    tensor::{Spec, Tensor},
};

/// `(t, x) → t` where `x > 0`, else 0, whatever `t` is there: an infinite one too (PyTorch's
/// `threshold_backward`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gate;

impl Op for Gate {
    fn name(&self) -> &'static str {
        "gate"
    }
    fn outputs(&self, x: &[Spec]) -> Result<Vec<Spec>> {
        alike(x)?;
        floats(x)?;
        Ok(vec![x[0].clone()])
    }
    fn linearize(&self, x: &[Tensor], _: &[Tensor], mode: Mode, wanted: &[bool]) -> LinearMap {
        let (x, wanted) = (x[1].clone(), wanted[0]);
        // In `x` it is constant but for the kink at 0.
        match mode {
            Mode::Push => LinearMap::new(move |t| vec![t[0].as_ref().map(|t| apply(Gate, &[t, &x]))]),
            Mode::Pull => LinearMap::new(move |c| {
                vec![c[0].as_ref().filter(|_| wanted).map(|c| apply(Gate, &[c, &x])), None]
            }),
        }
    }
    fn batch(&self, _: &[Spec], axes: &[Option<usize>]) -> Batch {
        pointwise(axes)
    }
    fn cost(&self, x: &[Spec], y: &[Spec]) -> Cost {
        let n = x[0].shape.len() as u64;
        Cost { additions: n, saved: x[1].bytes() as u64, ..Cost::default() }.moving(x, y)
    }
    fn packed(&self, _: usize) -> bool {
        false
    }
    fn cpu(&self, mut call: Call<'_>) {
        let [t, x] = call.inputs else { unreachable!("two operands") };
        crate::dispatch!(float t.dtype, T => {
            strided::zip(t, x, call.output(), |t: T, x: T| if x > 0.0 { t } else { 0.0 })
        })
    }
}
