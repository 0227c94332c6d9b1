//! `y = x`, as another element type.    `dy = dx`, cast

use super::{Attribute, Batch, Mode, Op, pointwise};
use crate::{
    apply::apply,
    autodiff::LinearMap,
    device::cpu::{Call, strided},
    error::Result,
    tensor::{DType, Element, Spec, Tensor},
};

/// To another element type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cast {
    /// The type.
    pub to: DType,
}

impl Op for Cast {
    fn name(&self) -> &'static str {
        "cast"
    }
    fn attributes(&self) -> Vec<(&'static str, Attribute)> {
        vec![("to", self.to.into())]
    }
    fn outputs(&self, x: &[Spec]) -> Result<Vec<Spec>> {
        Ok(vec![x[0].of(self.to)])
    }
    fn linearize(&self, x: &[Tensor], _: &[Tensor], mode: Mode, _: &[bool]) -> LinearMap {
        let (from, to) = (x[0].dtype(), self.to);
        LinearMap::either(mode, move |t| t.cast(to), move |c| c.cast(from))
    }
    fn batch(&self, _: &[Spec], axes: &[Option<usize>]) -> Batch {
        pointwise(axes)
    }
    fn packed(&self, _: usize) -> bool {
        false
    }
    fn cpu(&self, mut call: Call<'_>) {
        let x = &call.inputs[0];
        match (x.dtype, self.to) {
            // The ways that training takes, without a detour over f64.
            (DType::U8, DType::F32) => strided::map(x, call.output(), |x: u8| f32::from(x)),
            (DType::F32, DType::F64) => strided::map(x, call.output(), |x: f32| f64::from(x)),
            (DType::F64, DType::F32) => strided::map(x, call.output(), |x: f64| x as f32),
            (DType::Bool, DType::F32) => strided::map(x, call.output(), |x: bool| f32::from(u8::from(x))),
            (from, to) => crate::dispatch!(from, T => crate::dispatch!(to, U => {
                strided::map(x, call.output(), |x: T| x.cast::<U>())
            })),
        }
    }
}

impl Tensor {
    /// `y = x` as another type, as PyTorch's `to(dtype)`: reals are cut toward zero, non-zero is true.
    ///
    /// ```
    /// use cotangent::{DType, Tensor};
    /// assert_eq!(Tensor::from([-1.7, 0.0, 2.9]).cast(DType::I32).to_vec::<i32>(), [-1, 0, 2]);
    /// ```
    #[must_use]
    #[track_caller]
    pub fn cast(&self, to: DType) -> Tensor {
        if self.dtype() == to { self.clone() } else { apply(Cast { to }, &[self]) }
    }
}
