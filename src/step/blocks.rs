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

/// Elements of a sum that one task adds.
const SPAN: usize = 8192;

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
        let nothing = (std::ptr::null_mut(), 0);
        let frame = Frame { whole, local: nothing, sums: nothing, example: 0, first: true };
        // SAFETY: the caller's.
        self.before.iter().for_each(|code| unsafe { code.run(&frame, fault) });
        let blocks = self.examples.div_ceil(self.size);
        assert!(self.groups * self.sum_bytes <= sums.1, "every group has its sums");
        let (all, start) = (Wholes(whole), Shared(sums.0));
        threads::parallel(self.groups, |g| {
            workers.with(|arena| {
                let local = (arena.start(), self.local);
                let sums = (start.get().wrapping_add(g * self.sum_bytes), self.sum_bytes);
                let mine = threads::share(blocks, self.groups, g);
                let begin = mine.start;
                threads::serially(|| {
                    for b in mine {
                        let example = b * self.size;
                        let codes =
                            if example + self.size <= self.examples { &self.full } else { &self.rest };
                        let frame = Frame { whole: all.get(), local, sums, example, first: b == begin };
                        // SAFETY: the arena and the sums are this group's, the examples this block's.
                        codes.iter().for_each(|code| unsafe { code.run(&frame, fault) });
                    }
                });
            });
        });
        for (at, base, spec) in &self.sums {
            let (n, size) = (spec.shape.len(), spec.dtype.size());
            let (into, len) = whole[*base];
            assert!(n * size <= len, "a sum fits its value");
            let into = Shared(into);
            threads::parallel(n.div_ceil(SPAN), |t| {
                let (first, n) = (t * SPAN, SPAN.min(n - t * SPAN));
                let spec = spec.with(n);
                let layout = Layout::packed(n.into());
                // SAFETY: each task has a stretch of its own; the groups are done.
                let part = |from: *mut u8| unsafe { Memory::lent(from.wrapping_add(first * size), n * size) };
                let mut y = ViewMut { spec, memory: part(into.get()) };
                for g in 0..self.groups {
                    let memory = part(start.get().wrapping_add(g * self.sum_bytes + at));
                    let x = View { layout: &layout, dtype: y.spec.dtype, memory: &memory };
                    match g {
                        0 => y.memory.slice_mut::<u8>().copy_from_slice(memory.slice::<u8>()),
                        _ => add(x.dtype, &x, &mut y),
                    }
                }
            });
        }
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
