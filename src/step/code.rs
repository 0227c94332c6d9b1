//! One call of a kernel in a compiled step: where its operands lie, and the call.
//!
//! Nothing here is allocated while a step runs: places are numbers added to the beginnings of a few blocks of memory.
#![allow(unsafe_code)]

use std::sync::Arc;

use smallvec::SmallVec;

use crate::{
    apply::Few,
    device::cpu::{Call, FaultSlot, View, ViewMut, fused::Fused, isa::wide, lanes, memory::Memory, strided},
    ops::{Lanes, Op},
    tensor::{DType, Layout, MAX_RANK, Shape, Spec},
};

/// The block of memory that a value lies in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Base {
    /// A whole value: an input, a cell, a result, or a part of the step's arena.
    Whole(usize),
    /// The arena of the thread that works on a block; first the number of a buffer, then its first byte.
    Local(usize),
    /// The sums of a group, from this byte on.
    Sum(usize),
}

/// Where a value lies, for one block of examples or as a whole.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub base: Base,
    pub layout: Layout,
    pub dtype: DType,
    /// Elements from one example to the next, where the base holds the whole batch.
    pub advance: isize,
    /// Bytes from the base's first that may be looked at.
    bytes: usize,
}

impl Place {
    pub(crate) fn new(base: Base, layout: Layout, dtype: DType) -> Self {
        let reach = layout.shape.iter().zip(layout.strides());
        let reach: isize = reach.map(|(n, s)| (*n as isize - 1).max(0) * (*s).max(0)).sum();
        let elements = if layout.shape.contains(&0) { 0 } else { layout.offset + reach as usize + 1 };
        Place { base, layout, dtype, advance: 0, bytes: elements * dtype.size() }
    }

    pub(crate) fn packed(base: Base, shape: Shape, dtype: DType) -> Self {
        Place::new(base, Layout::packed(shape), dtype)
    }

    /// The same elements, seen in another way.
    pub(crate) fn seen(&self, layout: Layout) -> Place {
        Place { advance: self.advance, ..Place::new(self.base, layout, self.dtype) }
    }

    /// Of a batch or a row of elements: one starts `advance` elements after the other.
    pub(crate) fn advancing(self, advance: isize) -> Place {
        Place { advance, ..self }
    }

    /// As one axis, for operations that look at each element alone.
    pub(crate) fn flat(&self) -> Place {
        self.seen(flat(&self.layout))
    }
}

fn flat(layout: &Layout) -> Layout {
    Layout::packed(layout.shape.len().into()).starting(layout.offset)
}

/// Operands of a call: no allocation for as many as a kernel of several operations takes.
type Operands<T> = SmallVec<[T; 6]>;

/// What a code does.
pub(crate) enum Kernel {
    /// An operation's kernel for the processor.
    Op(Arc<dyn Op>),
    /// A kernel for examples side by side, of one operation or several.
    Lanes(Lanes),
    /// Elementwise operations in one pass.
    Fused(Fused),
    /// The same elements, packed.
    Copy,
    /// A packed matrix, transposed: examples side by side, or one after another again.
    Transpose {
        /// Of the source.
        rows: usize,
        /// Of the source.
        columns: usize,
    },
    /// A sum of the block, added to that of the group.
    Add,
}

/// One call.
pub(crate) struct Code {
    pub kernel: Kernel,
    pub inputs: Vec<Place>,
    pub outputs: Vec<(Place, Spec)>,
    /// Working memory: its place in the arena, and its size.
    pub scratch: Option<(Base, usize)>,
    /// The instruction that it belongs to; the last of those it does at once.
    pub instruction: usize,
}

/// Where the bases are, for one thread at one time.
#[derive(Clone, Copy)]
pub(crate) struct Frame<'a> {
    /// Whole values: first byte and length.
    pub whole: &'a [(*mut u8, usize)],
    /// The thread's arena.
    pub local: (*mut u8, usize),
    /// The group's sums.
    pub sums: (*mut u8, usize),
    /// The first example of the block.
    pub example: usize,
    /// Nothing has been added to the sums yet.
    pub first: bool,
}

impl<'a> Frame<'a> {
    /// With whole values alone.
    pub(crate) fn of(whole: &'a [(*mut u8, usize)]) -> Self {
        let nothing = (std::ptr::null_mut(), 0);
        Frame { whole, local: nothing, sums: nothing, example: 0, first: true }
    }

    /// # Safety
    /// The planner's: what is lent to one call is written by nobody else meanwhile, and its bytes were written
    /// before as this type.
    unsafe fn lend(&self, place: &Place) -> Memory {
        let size = place.dtype.size();
        let (start, len) = self.start(place.base);
        let shift = place.advance * self.example as isize * size as isize;
        let bytes = place.bytes;
        assert!(shift >= 0 && shift as usize + bytes <= len, "a plan stays inside its memory: {place:?}");
        // SAFETY: inside the base by the check above; the rest is the caller's.
        unsafe { Memory::lent(start.wrapping_offset(shift), bytes) }
    }

    fn start(&self, base: Base) -> (*mut u8, usize) {
        let ((start, len), at) = match base {
            Base::Whole(i) => (self.whole[i], 0),
            Base::Local(at) => (self.local, at),
            Base::Sum(at) => (self.sums, at),
        };
        assert!(at <= len, "a plan stays inside its memory");
        (start.wrapping_add(at), len - at)
    }
}

impl Code {
    /// Run it.
    ///
    /// # Safety
    /// The frame's bases are there, and no other thread writes what this code reads or writes, nor reads what it
    /// writes: blocks of one region have arenas and sums of their own, and examples of their own in whole values.
    pub(crate) unsafe fn run(&self, frame: &Frame<'_>, fault: &FaultSlot) {
        // SAFETY: the caller's.
        let lend = |place: &Place| unsafe { frame.lend(place) };
        let inputs: Operands<Memory> = self.inputs.iter().map(lend).collect();
        let views: Operands<View<'_>> = self
            .inputs
            .iter()
            .zip(&inputs)
            .map(|(p, memory)| View { layout: &p.layout, dtype: p.dtype, memory })
            .collect();
        let write = |(p, spec): &(Place, Spec)| {
            let mut memory = lend(p);
            if p.dtype == DType::Bool {
                // Stale bytes are no truth values.
                memory.slice_mut::<u8>().fill(0);
            }
            ViewMut { spec: spec.clone(), memory }
        };
        let mut outputs: Operands<ViewMut> = self.outputs.iter().map(write).collect();
        match &self.kernel {
            Kernel::Copy => {
                crate::dispatch!(views[0].dtype, T => strided::copy::<T>(&views[0], outputs[0].slice()))
            }
            Kernel::Transpose { rows, columns } => match views[0].dtype {
                DType::F32 => {
                    lanes::transpose_f32(views[0].packed(), outputs[0].slice(), *rows, *columns);
                }
                dtype => crate::dispatch!(dtype, T => {
                    lanes::transpose::<T>(views[0].packed(), outputs[0].slice(), *rows, *columns)
                }),
            },
            Kernel::Add if frame.first => {
                outputs[0].memory.slice_mut::<u8>().copy_from_slice(inputs[0].slice::<u8>());
            }
            Kernel::Add => add(views[0].dtype, &views[0], &mut outputs[0]),
            Kernel::Op(_) | Kernel::Lanes(_) | Kernel::Fused(_) => {
                let mut scratch = self.scratch.map(|(base, bytes)| {
                    let (start, len) = frame.start(base);
                    assert!(bytes <= len, "a plan stays inside its memory");
                    // SAFETY: as above.
                    unsafe { Memory::lent(start, bytes) }
                });
                let scratch = scratch.as_mut().map_or(&mut [][..], |m| m.slice_mut::<u8>());
                let call = Call {
                    inputs: &views,
                    outputs: &mut outputs,
                    scratch,
                    fault,
                    first_example: frame.example,
                    accumulate: !frame.first,
                };
                match &self.kernel {
                    Kernel::Op(op) => op.cpu(call),
                    Kernel::Lanes(lanes) => (lanes.run)(call),
                    Kernel::Fused(fused) => fused.run(call),
                    _ => unreachable!("handled above"),
                }
            }
        }
    }
}

/// `y += x`, for sums: numbers of a type that sums have.
pub(crate) fn add(dtype: DType, x: &View<'_>, y: &mut ViewMut) {
    macro_rules! add {
        ($t:ty, $plus:expr) => {
            wide(strided::Add { x: x.packed::<$t>(), y: y.slice::<$t>(), plus: $plus })
        };
    }
    match dtype {
        DType::F32 => add!(f32, |y: f32, x: f32| y + x),
        DType::F64 => add!(f64, |y: f64, x: f64| y + x),
        DType::I64 => add!(i64, i64::wrapping_add),
        DType::I32 => add!(i32, i32::wrapping_add),
        DType::U8 => add!(u8, u8::wrapping_add),
        DType::Bool => unreachable!("no operation adds truth values to a truth value"),
    }
}

/// Values that live at different times share memory: each gets the lowest place that is free for all its life.
///
/// `lives[i]` is (bytes, first, last), both ends included; the result is the first byte of each, and the total.
pub(crate) fn share_out(lives: &[(usize, usize, usize)]) -> (Vec<usize>, usize) {
    let mut order: Vec<usize> = (0..lives.len()).collect();
    order.sort_by_key(|i| std::cmp::Reverse(lives[*i].0));
    let mut placed: Vec<(usize, usize, usize)> = Vec::new();
    let mut starts = vec![0; lives.len()];
    let mut total = 0;
    for i in order {
        let (bytes, first, last) = lives[i];
        let bytes = bytes.next_multiple_of(64);
        let mut taken: Vec<(usize, usize)> = placed
            .iter()
            .filter(|(j, ..)| lives[*j].1 <= last && first <= lives[*j].2)
            .map(|(_, start, end)| (*start, *end))
            .collect();
        taken.sort_unstable();
        let at =
            taken.iter().fold(0, |at, (start, end)| if at + bytes <= *start { at } else { at.max(*end) });
        starts[i] = at;
        total = total.max(at + bytes);
        placed.push((i, at, at + bytes));
    }
    (starts, total)
}

/// Does an operation look at each element alone? Then any axis is as good as the batch, and so is none.
pub(crate) fn pointwise(op: &dyn Op, x: &[Spec], y: &[Spec]) -> bool {
    use crate::ops::Batch;
    let Some(shape) = x.first().map(|s| s.shape) else { return false };
    let alike = (1..=MAX_RANK).contains(&shape.rank()) && x.iter().chain(y).all(|s| s.shape == shape);
    alike
        && op.scratch(x) == 0
        && (0..shape.rank()).all(|a| {
            let axes: Few<Option<usize>> = x.iter().map(|_| Some(a)).collect();
            op.batch(x, &axes) == Batch::Each(vec![a; y.len()]) && op.for_examples(x, &axes, 1).is_none()
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lives_that_meet_do_not_share() {
        let lives = [(100, 0, 3), (64, 1, 2), (200, 2, 5), (10, 4, 6), (640, 6, 6), (64, 3, 3)];
        let (starts, total) = share_out(&lives);
        for (i, a) in lives.iter().enumerate() {
            for (j, b) in lives.iter().enumerate().take(i) {
                let meet = a.1 <= b.2 && b.1 <= a.2;
                let apart = starts[i] + a.0 <= starts[j] || starts[j] + b.0 <= starts[i];
                assert!(!meet || apart, "{i} and {j}");
            }
        }
        assert!(starts.iter().all(|s| s % 64 == 0) && total <= 640 + 64, "{total}");
    }
}
