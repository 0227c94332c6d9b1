//! What a thread is in the middle of: one record, swapped out whole while the thread waits on the pool.

use std::{cell::RefCell, collections::HashMap, panic::Location, sync::Arc};

use crate::{
    apply::{Origin, Path},
    nn::Frame,
    observe::Observer,
    ops::Mode,
    step::record::Recorder,
    tensor::Tensor,
};

/// The state of one thread. A waiting thread may run another's job, so [`outside`] takes it away meanwhile.
#[derive(Default)]
pub(crate) struct Context {
    /// The tape (level 0) is paused: [`crate::no_grad`].
    pub paused: bool,
    /// Tags and modes of the transforms we are inside of; the transform of level `k` is at `k - 1`.
    pub transforms: Vec<(u64, Mode)>,
    /// Where operations go instead of being computed.
    pub recorder: Option<Box<Recorder>>,
    /// The modules being called, innermost last.
    pub frames: Vec<Frame>,
    /// While a derivative runs: the operation it belongs to.
    pub origin: Option<Origin>,
    /// The depth of [`crate::attempt`].
    pub attempts: usize,
    /// Values that stand in for cells: `Parameters::with`, innermost last.
    pub substitutions: Vec<HashMap<u64, Tensor>>,
    /// What `checkpoint` saw of cells, or shows them again, innermost last.
    pub overlays: Vec<Overlay>,
    /// Who watches operations and modules.
    pub observers: Vec<Arc<dyn Observer>>,
}

/// Cells as a checkpointed function saw them first.
pub(crate) struct Overlay {
    /// The second evaluation: reads come from `values`, writes go there.
    pub replay: bool,
    /// Cell id → what the first evaluation read.
    pub values: HashMap<u64, Tensor>,
    /// Cells the first evaluation wrote: later reads are its own.
    pub written: Vec<u64>,
}

thread_local!(static CONTEXT: RefCell<Context> = RefCell::default());

/// Look at or change this thread's context; `f` must not call user code.
pub(crate) fn with<T>(f: impl FnOnce(&mut Context) -> T) -> T {
    CONTEXT.with_borrow_mut(f)
}

/// Undoes a change when dropped, also while unwinding.
pub(crate) struct Scope<F: FnOnce(&mut Context)>(Option<F>);

impl<F: FnOnce(&mut Context)> Drop for Scope<F> {
    fn drop(&mut self) {
        if let Some(undo) = self.0.take() {
            with(undo)
        }
    }
}

/// Change the context until the returned scope ends.
#[must_use]
pub(crate) fn scope<F: FnOnce(&mut Context)>(enter: impl FnOnce(&mut Context), leave: F) -> Scope<F> {
    with(enter);
    Scope(Some(leave))
}

/// Run `f` with a fresh context, as another thread would.
pub(crate) fn outside<T>(f: impl FnOnce() -> T) -> T {
    struct Back(Option<Context>);
    impl Drop for Back {
        fn drop(&mut self) {
            let inner = with(|c| std::mem::replace(c, self.0.take().expect("put back once")));
            drop(inner);
        }
    }
    let _back = Back(Some(with(std::mem::take)));
    f()
}

/// The innermost line outside this crate that called a module.
pub(crate) fn call_site() -> Option<&'static Location<'static>> {
    with(|c| c.frames.iter().rev().map(|f| f.site).find(|site| !in_crate(site)))
}

/// The innermost module being called.
pub(crate) fn path() -> Path {
    with(|c| c.frames.last().map(|f| f.path.clone())).unwrap_or_default()
}

/// Is this line one of ours, or of the standard library that a function pointer went through? Then it says
/// nothing to the user.
pub(crate) fn in_crate(site: &Location<'_>) -> bool {
    const ROOT: &str = file!();
    let here = &ROOT[..ROOT.len() - "context.rs".len()];
    let file = site.file();
    file.starts_with(here) || file.starts_with("/rustc/") || file.contains("/rustlib/src/rust/library/")
}
