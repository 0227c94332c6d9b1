//! The derivative of an operation at a point: a linear map, built to push tangents or to pull cotangents.

use std::sync::Arc;

use crate::{
    ops::{Mode, arithmetic::sum},
    tensor::Tensor,
};

/// A trait of our own: a `dyn Fn` has each function a second time, for whoever calls it by value.
trait Map: Send + Sync {
    fn apply(&self, t: &[Option<Tensor>]) -> Vec<Option<Tensor>>;
}
impl<F: Fn(&[Option<Tensor>]) -> Vec<Option<Tensor>> + Send + Sync> Map for F {
    fn apply(&self, t: &[Option<Tensor>]) -> Vec<Option<Tensor>> {
        self(t)
    }
}

/// `dx ↦ dy` or `ȳ ↦ x̄`, jointly for all operands; `None` stands for zero.
#[derive(Clone)]
pub struct LinearMap(Arc<dyn Map>);

impl LinearMap {
    /// From tangents of inputs to tangents of outputs, or cotangents of outputs to cotangents of inputs.
    pub fn new(map: impl Fn(&[Option<Tensor>]) -> Vec<Option<Tensor>> + Send + Sync + 'static) -> Self {
        LinearMap(Arc::new(map))
    }

    /// One input, one output, and a map that is its own transpose, as a diagonal one is.
    pub fn unary(map: impl Fn(&Tensor) -> Tensor + Send + Sync + 'static) -> Self {
        Self::new(move |t| vec![t[0].as_ref().map(&map)])
    }

    /// One input, one output, with the map for each mode.
    pub fn either(
        mode: Mode,
        push: impl Fn(&Tensor) -> Tensor + Send + Sync + 'static,
        pull: impl Fn(&Tensor) -> Tensor + Send + Sync + 'static,
    ) -> Self {
        match mode {
            Mode::Push => Self::unary(push),
            Mode::Pull => Self::unary(pull),
        }
    }

    /// Nothing flows: `n` outputs for Push, `n` inputs for Pull.
    pub fn zero(n: usize) -> Self {
        Self::new(move |_| vec![None; n])
    }

    /// Two inputs, one output, each input's map its own transpose: push adds them, pull hands them out.
    pub fn new2(
        mode: Mode,
        wanted: &[bool],
        a: impl Fn(&Tensor) -> Tensor + Send + Sync + 'static,
        b: impl Fn(&Tensor) -> Tensor + Send + Sync + 'static,
    ) -> Self {
        let (wa, wb) = (wanted[0], wanted[1]);
        match mode {
            Mode::Push => Self::new(move |t| vec![sum([t[0].as_ref().map(&a), t[1].as_ref().map(&b)])]),
            Mode::Pull => Self::new(move |c| {
                let Some(c) = &c[0] else { return vec![None, None] };
                vec![wa.then(|| a(c)), wb.then(|| b(c))]
            }),
        }
    }

    /// As [`LinearMap::new2`], from two functions of one type.
    pub(crate) fn each<F: Fn(&Tensor) -> Tensor + Send + Sync + 'static>(
        mode: Mode,
        wanted: &[bool],
        [a, b]: [F; 2],
    ) -> Self {
        Self::new2(mode, wanted, a, b)
    }

    /// Apply it.
    pub fn apply(&self, t: &[Option<Tensor>]) -> Vec<Option<Tensor>> {
        self.0.apply(t)
    }
}
