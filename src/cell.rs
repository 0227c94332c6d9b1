//! What changes lives in cells: parameters, running state, rates, random generators.
//!
//! A cell is a handle: `clone` shares it, `deep_clone` copies it. Reading gives an immutable snapshot, writing
//! replaces it; so everything used in a step takes `&self`.

mod philox;
mod rng;

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use philox::philox;
pub use rng::Rng;
pub(crate) use rng::block;

use crate::{
    autodiff::{Gradients, Kind, Node, TAPE},
    context,
    device::cpu::memory::Memory,
    error::{Error, Result},
    tensor::{Number, Spec, Tensor},
};

/// What all cells are made of.
pub(crate) struct Cell {
    pub id: u64,
    /// Held by a recorded step at this moment.
    pub busy: AtomicBool,
    /// Not to be trained.
    frozen: Arc<AtomicBool>,
    value: Mutex<Tensor>,
}

impl Cell {
    fn new(value: Tensor) -> Arc<Self> {
        let id = crate::autodiff::new_key();
        Arc::new(Cell { id, busy: false.into(), frozen: Arc::default(), value: Mutex::new(value.detach()) })
    }

    /// The snapshot as it is, whatever this thread is in the middle of.
    pub(crate) fn peek(&self) -> Tensor {
        self.lock().clone()
    }

    /// Swap `memory` with the value's; `false`, and nothing happens, where a snapshot still needs that.
    pub(crate) fn exchange(&self, memory: &mut Memory) -> bool {
        self.lock().exchange(memory)
    }

    pub(crate) fn replace(&self, value: Tensor) -> Tensor {
        std::mem::replace(&mut *self.lock(), value)
    }

    /// The value itself; who reads it meanwhile waits.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Tensor> {
        self.value.lock().unwrap_or_else(|e| e.into_inner())
    }
}

/// The value as this thread sees it: through substitutions, checkpoints and recordings.
fn read(cell: &Arc<Cell>) -> Tensor {
    let seen = context::with(|c| {
        c.overlays.iter().rev().filter(|o| o.replay).find_map(|o| o.values.get(&cell.id).cloned())
    });
    let value = seen.unwrap_or_else(|| crate::step::record::read(cell).unwrap_or_else(|| cell.peek()));
    context::with(|c| {
        for o in above_replay(&mut c.overlays).iter_mut().filter(|o| !o.written.contains(&cell.id)) {
            o.values.entry(cell.id).or_insert_with(|| value.clone());
        }
    });
    value
}

/// The first evaluations inside the innermost second one: those around it are of another time.
fn above_replay(overlays: &mut [context::Overlay]) -> &mut [context::Overlay] {
    let from = overlays.iter().rposition(|o| o.replay).map_or(0, |i| i + 1);
    &mut overlays[from..]
}

/// Replace the value: in the overlay of a checkpoint's second evaluation, in a recording, or for good.
#[track_caller]
fn write(cell: &Arc<Cell>, value: &Tensor) {
    let value = value.detach();
    let swallowed = context::with(|c| {
        above_replay(&mut c.overlays).iter_mut().for_each(|o| o.written.push(cell.id));
        let replay = c.overlays.iter_mut().rev().find(|o| o.replay);
        replay.is_some_and(|o| {
            o.values.insert(cell.id, value.clone());
            true
        })
    });
    if swallowed || crate::step::record::write(cell, &value) {
        return;
    }
    if value.is_recorded() {
        Error::mistake("a recorded value cannot be put into a cell outside its recording").raise()
    }
    if cell.busy.load(Relaxed) {
        Error::mistake("this cell is held by a recorded step that is running on another thread").raise()
    }
    drop(cell.replace(value));
}

#[track_caller]
fn fits(verb: &str, old: &Spec, new: &Spec) {
    if old.shape != new.shape || old.dtype != new.dtype {
        Error::mistake(format!(
            "the cell holds {:?} {}, the new value is {:?} {}",
            old.shape, old.dtype, new.shape, new.dtype
        ))
        .verb(verb)
        .raise()
    }
}

macro_rules! cell {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone)]
        pub struct $name(pub(crate) Arc<Cell>);

        impl $name {
            /// The value, without any layer.
            pub fn value(&self) -> Tensor {
                read(&self.0)
            }

            /// Replace the value; every layer is stripped from it. The old one lives on in its snapshots.
            ///
            /// # Panics
            /// When the new value has another shape or type.
            #[track_caller]
            pub fn set(&self, value: &Tensor) {
                fits(stringify!($name), &self.spec(), &value.spec());
                write(&self.0, value)
            }

            /// Shape, type and device.
            pub fn spec(&self) -> Spec {
                crate::step::record::read_quietly(&self.0).unwrap_or_else(|| self.0.peek()).spec()
            }

            /// A cell of its own with the same value.
            #[must_use]
            pub fn deep_clone(&self) -> Self {
                $name(Cell::new(self.value()))
            }

            /// Do both share one value?
            pub fn is(&self, other: &Self) -> bool {
                self.0.id == other.0.id
            }

            /// Move it to a device, for good.
            pub fn to_device(&self, device: &crate::Device) {
                let there = self.0.peek().to(device);
                drop(self.0.replace(there));
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let spec = self.spec();
                write!(f, "{}({:?}, {}, {})", stringify!($name), spec.shape, spec.dtype, spec.device)
            }
        }
    };
}

cell! {
    /// A trainable tensor `θ`: what an optimiser changes.
    ///
    /// ```
    /// use cotangent::{Param, Tensor};
    /// let w = Param::new(Tensor::from(2.0));
    /// let g = w.get().square().backward();
    /// assert_eq!(w.gradient(&g).unwrap().item(), 4.0);
    /// ```
    Param
}

impl Param {
    /// Trainable, starting at `value`.
    ///
    /// # Panics
    /// When it holds no real numbers.
    #[track_caller]
    pub fn new(value: Tensor) -> Self {
        if !value.dtype().is_float() {
            Error::mistake(format!("Param: only real numbers can be trained, and this is {}", value.dtype()))
                .raise()
        }
        Param(Cell::new(value))
    }

    /// The value as a leaf of the tape; plain under [`crate::no_grad`], or the tensor that stands in for it
    /// within [`crate::nn::ParametersExt::with`].
    pub fn get(&self) -> Tensor {
        let id = self.0.id;
        if let Some(stand_in) = self.stand_in() {
            return stand_in;
        }
        let value = read(&self.0);
        if context::with(|c| c.paused) || self.is_frozen() {
            return value;
        }
        value.with_layer(TAPE, 0, Kind::Tracked(Node::leaf(id), 0))
    }

    /// What [`crate::nn::ParametersExt::with`] has put in its place.
    pub(crate) fn stand_in(&self) -> Option<Tensor> {
        context::with(|c| c.substitutions.iter().rev().find_map(|s| s.get(&self.0.id).cloned()))
    }

    /// Its gradient among those of a loss.
    pub fn gradient<'a>(&self, gradients: &'a Gradients) -> Option<&'a Tensor> {
        gradients.of(self.0.id)
    }

    /// Stop (or resume) training it: a frozen parameter is not tracked, and nothing is kept for it.
    /// All handles to it see the change (PyTorch's `requires_grad_`).
    pub fn freeze(&self, frozen: bool) {
        self.0.frozen.store(frozen, Relaxed)
    }

    /// Is it left as it is?
    pub fn is_frozen(&self) -> bool {
        let frozen = self.0.frozen.load(Relaxed);
        crate::step::record::note_flag(&self.0.frozen, frozen);
        frozen
    }
}

cell! {
    /// A tensor that a step changes and no gradient does: a momentum, a running mean.
    State
}

impl State {
    /// Starting at `value`.
    pub fn new(value: Tensor) -> Self {
        State(Cell::new(value))
    }
}

cell! {
    /// A single number that changes between steps: a learning rate, a step count, a loss scale. `F64`.
    ///
    /// ```
    /// use cotangent::Scalar;
    /// let rate = Scalar::new(0.1);
    /// rate.put(0.05);
    /// assert_eq!(rate.value().item(), 0.05);
    /// ```
    Scalar
}

impl Scalar {
    /// Starting at `x`.
    pub fn new(x: f64) -> Self {
        Scalar(Cell::new(Tensor::from(x)))
    }

    /// Replace the number.
    ///
    /// # Panics
    /// As [`Scalar::set`].
    #[track_caller]
    pub fn put(&self, x: f64) {
        self.set(&Tensor::constant(&self.spec(), Number::Float(x)))
    }

    /// The number.
    ///
    /// # Panics
    /// While recording, where there is none yet: compute with [`Scalar::value`] instead.
    #[track_caller]
    pub fn number(&self) -> f64 {
        self.value().item()
    }
}

/// Hold the cells of a step while it runs; an error where another step holds one.
pub(crate) fn claim(cells: &[Arc<Cell>]) -> Result<Claim<'_>> {
    for (i, cell) in cells.iter().enumerate() {
        if cell.busy.swap(true, Relaxed) {
            drop(Claim(&cells[..i]));
            return Err(Error::other("another recorded step is running on the same cells at this moment")
                .help("run steps that share parameters one after the other"));
        }
    }
    Ok(Claim(cells))
}

/// Cells that a running step holds.
pub(crate) struct Claim<'a>(&'a [Arc<Cell>]);

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.0.iter().for_each(|c| c.busy.store(false, Relaxed));
    }
}
