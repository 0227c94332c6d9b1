//! Instructions run block by block: forward and backward for a few examples before the next, so that what a block
//! touches stays in the cache; or a chain of elementwise operations, a stretch of elements at a time.
#![allow(unsafe_code)]

use std::sync::Mutex;

use super::code::{Base, Code, Frame, add};
use crate::{
    device::cpu::{FaultSlot, View, ViewMut, memory::Memory, threads},
    tensor::{Layout, Spec},
};

/// Codes for a block, and how the batch is dealt into blocks.
pub(crate) struct Blocks {
    /// Examples in all; elements, for a chain.
    pub examples: usize,
    /// Examples in a block.
    pub size: usize,
    /// Blocks are dealt into groups, as many as the batch says and not the threads; a group's sums are added in
    /// the order of its blocks, groups' sums in the order of groups.
    pub groups: usize,
    /// What the blocks share, computed once.
    pub before: Vec<Code>,
    /// Codes for a whole block.
    pub full: Vec<Code>,
    /// Codes for the last, smaller block.
    pub rest: Vec<Code>,
    /// Bytes of arena that a thread needs.
    pub local: usize,
    /// The sums: first byte in a group's memory, the whole value they become.
    pub sums: Vec<(usize, usize, Spec)>,
    /// Bytes of a group's sums.
    pub sum_bytes: usize,
}

/// Bytes of a group's sums that one task adds up.
const SPAN: usize = 32 << 10;
/// Elements of chains from which they are spread over threads.
const SPREAD: usize = 16384;

/// Memory that is there from run to run.
pub(crate) struct Workers {
    /// Arenas that no thread is using.
    arenas: Mutex<Vec<Memory>>,
    /// Bytes that each must have.
    bytes: usize,
}

impl Workers {
    pub(crate) fn new(bytes: usize) -> Self {
        Workers { arenas: Mutex::default(), bytes: bytes.max(64) }
    }

    fn with<R>(&self, f: impl FnOnce(&mut Memory) -> R) -> R {
        let free = || self.arenas.lock().unwrap_or_else(|e| e.into_inner());
        let taken = free().pop();
        let mut arena = taken.unwrap_or_else(|| Memory::zeroed(self.bytes));
        let result = f(&mut arena);
        free().push(arena);
        result
    }
}

/// A pointer that several threads use, each for bytes of its own.
#[derive(Clone, Copy)]
struct Shared(*mut u8);
// SAFETY: whoever uses it promises that.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}
impl Shared {
    fn get(self) -> *mut u8 {
        self.0
    }
}

/// The bases of whole values, for every thread.
#[derive(Clone, Copy)]
pub(crate) struct Wholes<'a>(pub &'a [(*mut u8, usize)]);
// SAFETY: plain addresses; what is done with them is the planner's promise.
unsafe impl Sync for Wholes<'_> {}
impl<'a> Wholes<'a> {
    fn get(&self) -> &'a [(*mut u8, usize)] {
        self.0
    }
}

impl Blocks {
    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.examples.div_ceil(self.size)
    }

    /// The codes of a block: a whole one, or the only, smaller one.
    pub(crate) fn codes(&self) -> impl Iterator<Item = &Code> {
        if self.examples < self.size { self.rest.iter() } else { self.full.iter() }
    }

    /// Run the codes of block `b`.
    ///
    /// # Safety
    /// As [`Code::run`].
    unsafe fn block(&self, b: usize, frame: Frame<'_>, fault: &FaultSlot) {
        let example = b * self.size;
        let codes = if example + self.size <= self.examples { &self.full } else { &self.rest };
        let frame = Frame { example, ..frame };
        // SAFETY: the caller's.
        codes.iter().for_each(|code| unsafe { code.run(&frame, fault) });
    }

    /// Run all blocks.
    ///
    /// # Safety
    /// As [`Code::run`]; the whole bases and `sums` (of `groups · sum_bytes`) are this step's alone.
    pub(crate) unsafe fn run(
        &self,
        whole: &[(*mut u8, usize)],
        workers: &Workers,
        sums: (*mut u8, usize),
        fault: &FaultSlot,
    ) {
        let frame = Frame::of(whole);
        // SAFETY: the caller's.
        self.before.iter().for_each(|code| unsafe { code.run(&frame, fault) });
        assert!(self.groups * self.sum_bytes <= sums.1, "every group has its sums");
        let (all, start) = (Wholes(whole), Shared(sums.0));
        threads::parallel(self.groups, |g| {
            workers.with(|arena| {
                let local = (arena.start(), self.local);
                let sums = (start.get().wrapping_add(g * self.sum_bytes), self.sum_bytes);
                let mine = threads::share(self.count(), self.groups, g);
                let begin = mine.start;
                threads::serially(|| {
                    for b in mine {
                        let frame = Frame { local, sums, first: b == begin, ..Frame::of(all.get()) };
                        // SAFETY: the arena and the sums are this group's, the examples this block's.
                        unsafe { self.block(b, frame, fault) };
                    }
                });
            });
        });
        threads::parallel(self.sum_bytes.div_ceil(SPAN), |t| {
            let span = t * SPAN..(t + 1) * SPAN;
            for (at, base, spec) in &self.sums {
                let size = spec.dtype.size();
                // The part of this sum that lies in the task's span.
                let inside = |byte: usize| byte.saturating_sub(*at).min(spec.bytes());
                let (first, n) = (inside(span.start), (inside(span.end) - inside(span.start)) / size);
                let (into, len) = all.get()[*base];
                assert!(spec.bytes() <= len, "a sum fits its value");
                let layout = Layout::packed(n.into());
                // SAFETY: each task has a stretch of its own; the groups are done.
                let part = |from: *mut u8| unsafe { Memory::lent(from.wrapping_add(first), n * size) };
                let mut y = ViewMut { spec: spec.with(n), memory: part(into) };
                for g in (0..self.groups).filter(|_| n > 0) {
                    let memory = part(start.get().wrapping_add(g * self.sum_bytes + at));
                    let x = View { layout: &layout, dtype: spec.dtype, memory: &memory };
                    match g {
                        0 => y.memory.slice_mut::<u8>().copy_from_slice(memory.slice::<u8>()),
                        _ => add(x.dtype, &x, &mut y),
                    }
                }
            }
        });
    }
}

/// Run chains of which none reads what another writes: the stretches of all of them, side by side.
///
/// # Safety
/// As [`Blocks::run`].
pub(crate) unsafe fn run_chains(
    chains: &[Blocks],
    whole: &[(*mut u8, usize)],
    workers: &Workers,
    fault: &FaultSlot,
) {
    let all = Wholes(whole);
    let stretch = |t: usize, arena: &mut Memory| {
        let mut b = t;
        let chain = chains.iter().find(|chain| {
            let here = b < chain.count();
            b -= if here { 0 } else { chain.count() };
            here
        });
        let chain = chain.expect("a stretch of one of the chains");
        let frame = Frame { local: (arena.start(), chain.local), ..Frame::of(all.get()) };
        // SAFETY: the arena is this task's, and so are the elements.
        threads::serially(|| unsafe { chain.block(b, frame, fault) });
    };
    let stretches = chains.iter().map(Blocks::count).sum();
    if chains.iter().map(|c| c.examples).sum::<usize>() < SPREAD {
        workers.with(|arena| (0..stretches).for_each(|t| stretch(t, arena)));
    } else {
        let tasks = stretches.min(4 * threads::hands());
        threads::parallel(tasks, |task| {
            let mine = threads::share(stretches, tasks, task);
            workers.with(|arena| mine.for_each(|t| stretch(t, arena)));
        });
    }
}

/// Local buffers get their places: those that live at different times share.
pub(crate) fn settle(codes: &mut [Code], bytes: &[usize]) -> usize {
    let mut lives: Vec<(usize, usize, usize)> = bytes.iter().map(|b| (*b, usize::MAX, 0)).collect();
    let mut seen = |base: Base, at: usize| {
        if let Base::Local(i) = base {
            let life = &mut lives[i];
            (life.1, life.2) = (life.1.min(at), life.2.max(at));
        }
    };
    for (at, code) in codes.iter().enumerate() {
        code.inputs.iter().chain(code.outputs.iter().map(|o| &o.0)).for_each(|p| seen(p.base, at));
        code.scratch.iter().for_each(|s| seen(s.0, at));
    }
    let (starts, total) = super::code::share_out(&lives);
    let settle = |base: &mut Base| {
        if let Base::Local(i) = base {
            *base = Base::Local(starts[*i]);
        }
    };
    for code in codes {
        code.inputs
            .iter_mut()
            .chain(code.outputs.iter_mut().map(|o| &mut o.0))
            .for_each(|p| settle(&mut p.base));
        code.scratch.iter_mut().for_each(|s| settle(&mut s.0));
    }
    total
}
