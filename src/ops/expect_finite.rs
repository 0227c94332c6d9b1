//! `y = x`, where a number that is not finite is a fault: a recorded step changes no cell then.    `dy = dx`

use super::{Batch, Mode, Op, floats, pointwise};
use crate::{
    apply::apply,
    autodiff::LinearMap,
    device::cpu::Call,
    error::Result,
    tensor::{Spec, Tensor},
};

/// The identity on finite numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExpectFinite;

impl Op for ExpectFinite {
    fn name(&self) -> &'static str {
        "expect_finite"
    }
    fn faults(&self) -> bool {
        true
    }
    fn outputs(&self, x: &[Spec]) -> Result<Vec<Spec>> {
        floats(x)?;
        Ok(vec![x[0].clone()])
    }
    fn linearize(&self, _: &[Tensor], _: &[Tensor], _: Mode, _: &[bool]) -> LinearMap {
        LinearMap::unary(Tensor::clone)
    }
    fn batch(&self, _: &[Spec], axes: &[Option<usize>]) -> Batch {
        pointwise(axes)
    }
    fn cpu(&self, mut call: Call<'_>) {
        let fault = call.fault;
        crate::dispatch!(float call.inputs[0].dtype, T => {
            let x = call.inputs[0].packed::<T>();
            if let Some(i) = x.iter().position(|x| !x.is_finite()) {
                fault.report(i, crate::tensor::Element::to_number(x[i]).to_f64(), || "a finite number was expected; a lower rate, or clipping, helps".into());
            }
            call.output::<T>().copy_from_slice(x);
        })
    }
}

impl Tensor {
    /// `y = x`; a number that is NaN or infinite is a fault: eager code panics here, and
    /// [`crate::Step::run`] gives `Err` and changes no cell.
    ///
    /// ```
    /// use cotangent::{attempt, Tensor};
    /// assert!(attempt(|| Tensor::from([1.0, f64::NAN]).expect_finite()).is_err());
    /// ```
    #[must_use]
    #[track_caller]
    pub fn expect_finite(&self) -> Tensor {
        apply(ExpectFinite, &[self])
    }
}
