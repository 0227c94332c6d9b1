//! A transform adds a layer to its tensors; an operation peels off the outermost one, computes below it, and
//! puts the result's derivative back on top. So transforms nest in any order.

mod checkpoint;
mod forward;
mod functional;
mod linear_map;
mod reverse;
mod transforms;

use std::sync::Arc;

pub use checkpoint::checkpoint;
pub use functional::{grad_of, hvp_of, per_example, value_and_grad_of};
pub use linear_map::LinearMap;
pub use reverse::{Gradients, enable_grad, is_grad_enabled, no_grad};
pub(crate) use reverse::{Node, TAPE, new_key};
pub use transforms::{
    grad, hessian, hvp, jacfwd, jacobian, jacrev, jvp, jvp_many, value_and_grad, vjp, vjp_many,
};

use crate::{
    apply::{Applied, Few, Origin, Pass, few, layered},
    context,
    error::{Error, Result},
    ops::Mode,
    tensor::Tensor,
};

/// What a transform puts on a tensor.
pub(crate) struct Layer {
    /// 0 is the tape; transforms count from 1, inner ones higher.
    pub level: usize,
    /// Which transform; a tensor that outlives its own is recognised by it.
    pub tag: u64,
    /// The tensor without this layer.
    pub below: Tensor,
    pub kind: Kind,
}

#[derive(Clone)]
pub(crate) enum Kind {
    /// Forward mode: its tangent.
    Dual(Tensor),
    /// Reverse mode: the step it came from, and which of its outputs it is.
    Tracked(Arc<Node>, usize),
}

impl Layer {
    /// Is its transform still running? The tape always is.
    pub(crate) fn is_alive(&self) -> bool {
        self.level == TAPE
            || context::with(|c| c.transforms.get(self.level - 1).is_some_and(|t| t.0 == self.tag))
    }

    /// Was it made before the step that is being recorded?
    pub(crate) fn is_captured(&self) -> bool {
        crate::step::record::start().is_some_and(|start| self.is_older_than(start))
    }

    fn is_older_than(&self, key: u64) -> bool {
        match &self.kind {
            Kind::Tracked(node, _) if self.level == TAPE => node.is_older_than(key),
            _ => self.tag < key,
        }
    }
}

/// What to say of a tensor that outlived its transform.
pub(crate) fn escaped() -> Error {
    Error::mistake("a tensor escaped from the transform (`jvp`, `grad`, …) that made it")
        .help("return it from the closure instead of storing it outside, or `detach()` it")
}

/// What to say of a tensor that a recorded step must not see.
pub(crate) fn captured() -> Error {
    Error::mistake("a tensor that is being differentiated outside was captured by a recorded step: nothing flows back out of a step")
        .help("`detach()` it before recording, pass it as an input, or make it a `Param` and `get()` it inside")
}

impl Tensor {
    pub(crate) fn layer_at(&self, level: usize) -> Option<&Layer> {
        self.layer().filter(|l| l.level == level)
    }

    /// Without the layer of this level, which is its outermost if it has one.
    pub(crate) fn below(&self, level: usize) -> Tensor {
        self.layer_at(level).map_or_else(|| self.clone(), |l| l.below.clone())
    }
}

/// One operation, one layer down, with its derivative on top.
pub(crate) fn differentiate(
    op: Applied<'_>,
    inputs: &[&Tensor],
    level: usize,
    origin: &Origin,
) -> Result<Few<Tensor>> {
    let layers = few(inputs.iter().map(|t| t.layer_at(level)));
    let top = layers.iter().flatten().next().expect("some input has a layer of this level");
    let tag = top.tag;
    let start = crate::step::record::start();
    if start.is_some_and(|start| layers.iter().flatten().any(|l| l.is_older_than(start))) {
        return Err(origin.name(&*op, captured()));
    }
    if layers.iter().flatten().any(|l| !l.is_alive()) {
        return Err(origin.name(&*op, escaped()));
    }
    let below = few(inputs.iter().map(|t| t.below(level)));
    let y = layered(op, &few(&below), origin)?;
    if level == TAPE && context::with(|c| c.paused) {
        return Ok(y);
    }
    let wanted = few(layers.iter().zip(&below).map(|(l, x)| l.is_some() && x.dtype().is_float()));
    if !wanted.contains(&true) || !y.iter().any(|y| y.dtype().is_float()) {
        return Ok(y);
    }
    let kinds = layers.iter().zip(&wanted).map(|(l, w)| l.filter(|_| *w).map(|l| &l.kind));
    match top.kind {
        Kind::Dual(_) => {
            let tangents = few(kinds.map(|kind| match kind {
                Some(Kind::Dual(t)) => Some(t.clone()),
                _ => None,
            }));
            let dy = within(origin.derivative(Pass::Push), || {
                op.linearize(&below, &y, Mode::Push, &wanted).apply(&tangents)
            });
            Ok(forward::lift(y, dy, level, tag))
        }
        Kind::Tracked(..) => {
            let map = within(origin.derivative(Pass::Pull), || op.linearize(&below, &y, Mode::Pull, &wanted));
            let sources = few(kinds.map(|kind| match kind {
                Some(Kind::Tracked(node, output)) => Some((node.clone(), *output)),
                _ => None,
            }));
            let node = Node::new(sources, y.len(), map, origin.clone());
            Ok(few(y.into_iter().enumerate().map(|(i, y)| match y.dtype().is_float() {
                true => y.with_layer(level, tag, Kind::Tracked(node.clone(), i)),
                false => y,
            })))
        }
    }
}

/// Run a derivative: what it applies belongs to `origin`.
pub(crate) fn within<T>(origin: Origin, f: impl FnOnce() -> T) -> T {
    let before = context::with(|c| c.origin.replace(origin));
    let _restore = context::scope(|_| (), move |c| c.origin = before);
    f()
}
