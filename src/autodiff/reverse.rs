//! Reverse mode: remember each step's map, pull cotangents back through them.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use smallvec::SmallVec;

use super::{Kind, LinearMap, within};
use crate::{
    apply::{Few, Origin, Pass},
    context,
    error::{Error, OrRaise, Result},
    tensor::Tensor,
};

/// The level of the tape, below all transforms.
pub(crate) const TAPE: usize = 0;

type Sources = Few<Option<(Arc<Node>, usize)>>;

/// A step that gradients flow back through. Ids only grow, so their order is a topological order.
pub(crate) struct Node {
    id: u64,
    /// A leaf's key: gradients are found by it.
    pub leaf: Option<u64>,
    inputs: Sources,
    /// Taken by `backward`, so that saved values die on the way.
    map: Mutex<Option<LinearMap>>,
    outputs: usize,
    origin: Option<Origin>,
}

fn next() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Relaxed)
}

/// A key for a leaf, unique in the process.
pub(crate) fn new_key() -> u64 {
    next()
}

impl Node {
    pub(crate) fn new(inputs: Sources, outputs: usize, map: LinearMap, origin: Origin) -> Arc<Self> {
        let map = Mutex::new(Some(map));
        Arc::new(Node { id: next(), leaf: None, inputs, map, outputs, origin: Some(origin) })
    }

    pub(crate) fn leaf(key: u64) -> Arc<Self> {
        let (inputs, map) = (Few::new(), Mutex::new(None));
        Arc::new(Node { id: next(), leaf: Some(key), inputs, map, outputs: 1, origin: None })
    }

    /// Its map: a copy where it is kept, so that another thread may want it at the same time.
    fn map(&self, keep: bool) -> Option<LinearMap> {
        let mut map = self.map.lock().unwrap_or_else(|e| e.into_inner());
        if keep { map.clone() } else { map.take() }
    }

    /// Was it made before this key?
    pub(crate) fn is_older_than(&self, key: u64) -> bool {
        self.id < key
    }

    /// Where going back from one of its outputs ends: at leaves, and at outputs of nodes older than `floor`.
    pub(crate) fn ends(self: &Arc<Self>, output: usize, floor: u64) -> Vec<(Arc<Node>, usize)> {
        let mut seen = std::collections::HashSet::from([(self.id, output)]);
        let (mut found, mut stack) = (vec![], vec![(self.clone(), output)]);
        while let Some((node, output)) = stack.pop() {
            if node.leaf.is_some() || node.id < floor {
                found.push((node, output));
                continue;
            }
            for (n, o) in node.inputs.iter().flatten() {
                // All of a step's outputs lead to the same inputs.
                if seen.insert((n.id, if n.id < floor { *o } else { 0 })) {
                    stack.push((n.clone(), *o))
                }
            }
        }
        found.sort_by_key(|(n, o)| (n.id, *o));
        found
    }
}

impl Drop for Node {
    /// Without recursion: a chain of a million steps must not need a million stack frames.
    fn drop(&mut self) {
        let mut alone = Vec::new();
        let release = |inputs: &mut Sources, alone: &mut Vec<Node>| {
            alone.extend(inputs.drain(..).flatten().filter_map(|(n, _)| Arc::into_inner(n)));
        };
        release(&mut self.inputs, &mut alone);
        while let Some(mut node) = alone.pop() {
            release(&mut node.inputs, &mut alone);
        }
    }
}

/// Run `f` with the tape paused: nothing inside is stored, nothing can be reached by `backward` (row C21).
///
/// May nest; [`enable_grad`] resumes inside; transforms (`grad`, `jvp`, …) work as ever. Other threads are not
/// concerned. Values are the same to the bit.
///
/// ```
/// use cotangent::{no_grad, Tensor};
/// let x = Tensor::from(2.0).tracked();
/// assert!(!no_grad(|| &x * &x).is_tracked());
/// ```
pub fn no_grad<T>(f: impl FnOnce() -> T) -> T {
    paused(true, f)
}

/// Run `f` with the tape running, also inside [`no_grad`].
pub fn enable_grad<T>(f: impl FnOnce() -> T) -> T {
    paused(false, f)
}

fn paused<T>(pause: bool, f: impl FnOnce() -> T) -> T {
    let before = context::with(|c| std::mem::replace(&mut c.paused, pause));
    let _restore = context::scope(|_| (), move |c| c.paused = before);
    f()
}

/// Is the tape running on this thread?
pub fn is_grad_enabled() -> bool {
    context::with(|c| !c.paused)
}

/// The gradients of one number with respect to every leaf it was computed from.
#[derive(Default, Clone)]
pub struct Gradients(pub(crate) HashMap<u64, Tensor>);

impl std::fmt::Debug for Gradients {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Gradients({} leaves)", self.0.len())
    }
}

impl Gradients {
    /// `∂loss/∂x`, of a tensor made by [`Tensor::tracked`]; `None` if the loss does not depend on it.
    pub fn get(&self, x: &Tensor) -> Option<&Tensor> {
        match &x.layer()?.kind {
            Kind::Tracked(node, _) => self.0.get(&node.leaf?),
            Kind::Dual(_) => None,
        }
    }

    /// The gradient of a cell.
    pub(crate) fn of(&self, cell: u64) -> Option<&Tensor> {
        self.0.get(&cell)
    }

    /// How many leaves were reached.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Sum of two, leaf by leaf: gradients of `a + b` from those of `a` and of `b` (row A13).
    ///
    /// ```
    /// use cotangent::Tensor;
    /// let x = Tensor::from(3.0).tracked();
    /// let mut g = x.square().backward();
    /// g.accumulate((&x * 2.0).backward());
    /// assert_eq!(g.get(&x).unwrap().item(), 8.0);
    /// ```
    pub fn accumulate(&mut self, other: Gradients) {
        for (key, g) in other.0 {
            add(&mut self.0, key, g)
        }
    }

    /// Every gradient through `f`, such as a scaling.
    #[must_use]
    pub fn map(self, mut f: impl FnMut(&Tensor) -> Tensor) -> Gradients {
        Gradients(self.0.into_iter().map(|(k, g)| (k, f(&g))).collect())
    }
}

fn add<K: Eq + std::hash::Hash>(sums: &mut HashMap<K, Tensor>, key: K, g: Tensor) {
    let sum = match sums.remove(&key) {
        Some(sum) => sum.plus(&g),
        None => g,
    };
    sums.insert(key, sum);
}

impl Tensor {
    /// The same values as a leaf of the tape: `backward()` finds its gradient.
    ///
    /// # Panics
    /// On integers; inside a transform that holds it: use `grad` or `vjp` there.
    #[must_use]
    #[track_caller]
    pub fn tracked(&self) -> Tensor {
        if !self.dtype().is_float() {
            Error::mistake(format!("tracked: only real numbers have gradients, and this is {}", self.dtype()))
                .help("`x.cast(DType::F32).tracked()`")
                .raise()
        }
        if self.layer().is_some_and(|l| l.level > TAPE) {
            Error::mistake("tracked: this tensor is already inside a transform")
                .help("use `grad` or `vjp` there, not the tape")
                .raise()
        }
        self.below(TAPE).with_layer(TAPE, 0, Kind::Tracked(Node::leaf(new_key()), 0))
    }

    /// Does the tape know it?
    pub fn is_tracked(&self) -> bool {
        self.layer().is_some_and(|l| matches!(l.kind, Kind::Tracked(..)))
    }

    /// The gradients of this number with respect to every leaf it was computed from. Consumes what the forward
    /// pass stored, so that memory is freed on the way.
    ///
    /// ```
    /// use cotangent::Tensor;
    /// let (x, y) = (Tensor::from(3.0).tracked(), Tensor::from(2.0).tracked());
    /// let b = &y * x.ln();
    /// let g = (&b + b.sqrt()).backward();                       // rows C8, C10
    /// assert!((g.get(&x).unwrap().item() - 0.891541845).abs() < 1e-9);
    /// assert!((g.get(&y).unwrap().item() - 1.469188241).abs() < 1e-9);
    /// ```
    ///
    /// # Panics
    /// When it is not a single number, was not computed from tracked tensors, or was consumed already (row C18).
    #[track_caller]
    pub fn backward(&self) -> Gradients {
        self.start_backward(false)
    }

    /// As [`Tensor::backward`], keeping what the forward pass stored, so that it can be called again.
    #[track_caller]
    pub fn backward_keep(&self) -> Gradients {
        self.start_backward(true)
    }

    #[track_caller]
    fn start_backward(&self, keep: bool) -> Gradients {
        if self.numel() != 1 {
            Error::mistake(format!("backward: needs a single number, got shape {:?}", self.shape()))
                .help("reduce it: `loss.mean().backward()`; or `vjp` with a cotangent of that shape")
                .raise()
        }
        if self.layer().is_some_and(super::Layer::is_captured) {
            super::captured().verb("backward").raise()
        }
        let Some(Kind::Tracked(..)) = self.layer_at(TAPE).map(|l| &l.kind) else {
            let why = if context::with(|c| c.paused) { " (the tape is paused by `no_grad`)" } else { "" };
            Error::mistake(format!("backward: nothing here was computed from tracked tensors{why}"))
                .help("`x.tracked()` or a model's parameters start the tape; inside a transform use `grad`")
                .raise()
        };
        pull(self, TAPE, self.detach().ones_like(), keep).or_raise()
    }
}

/// Pull a cotangent of `y` back to the leaves of one level.
pub(crate) fn pull(y: &Tensor, level: usize, seed: Tensor, keep: bool) -> Result<Gradients> {
    pull_many(&[(y, seed)], level, keep)
}

/// Where a cotangent ends: a leaf by its key, or an output of an older node.
pub(crate) type End = (u64, Option<usize>);

/// The name of such a place.
pub(crate) fn end(node: &Node, output: usize) -> End {
    node.leaf.map_or((node.id, Some(output)), |key| (key, None))
}

/// Pull cotangents of several outputs back together.
pub(crate) fn pull_many(seeds: &[(&Tensor, Tensor)], level: usize, keep: bool) -> Result<Gradients> {
    let found = pull_to(seeds, level, keep, 0)?;
    Ok(Gradients(found.into_iter().map(|((key, _), g)| (key, g)).collect()))
}

/// Pull cotangents back to leaves, and no further than nodes older than `floor`.
pub(crate) fn pull_to(
    seeds: &[(&Tensor, Tensor)],
    level: usize,
    keep: bool,
    floor: u64,
) -> Result<HashMap<End, Tensor>> {
    let mut grads: HashMap<End, Tensor> = HashMap::new();
    let mut pending = Pending::default();
    for (y, seed) in seeds {
        if let Some(Kind::Tracked(node, output)) = y.layer_at(level).map(|l| &l.kind) {
            pending.send(node, *output, seed.clone());
        }
    }
    while let Some((_, (node, cotangents))) = pending.0.pop_last() {
        if node.leaf.is_some() || node.id < floor {
            for (output, g) in cotangents.into_iter().enumerate() {
                if let Some(g) = g {
                    add(&mut grads, end(&node, output), g);
                }
            }
            continue;
        }
        let Some(map) = node.map(keep) else {
            return Err(Error::mistake(
                "backward: what the forward pass stored was consumed by an earlier call",
            )
            .help("`backward_keep()` the first time; or add the losses and call it once"));
        };
        let origin = node.origin.as_ref().expect("a step has an origin").derivative(Pass::Pull);
        let back = within(origin, || map.apply(&cotangents));
        drop(cotangents);
        drop(map);
        for (input, g) in node.inputs.iter().zip(back) {
            if let (Some((source, output)), Some(g)) = (input, g) {
                pending.send(source, *output, g);
            }
        }
    }
    Ok(grads)
}

/// Cotangents on their way back, by node: the youngest is next, since nothing more can reach it.
#[derive(Default)]
struct Pending(BTreeMap<u64, (Arc<Node>, Cotangents)>);

/// Of a node's outputs, of which there is mostly one.
type Cotangents = SmallVec<[Option<Tensor>; 1]>;

impl Pending {
    fn send(&mut self, node: &Arc<Node>, output: usize, g: Tensor) {
        let fresh = || (node.clone(), SmallVec::from_elem(None, node.outputs));
        let slot = &mut self.0.entry(node.id).or_insert_with(fresh).1[output];
        *slot = Some(match slot.take() {
            Some(sum) => sum.plus(&g),
            None => g,
        });
    }
}
