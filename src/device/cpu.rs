//! The processor: memory, threads, and what a kernel is given.

pub(crate) mod arena;
pub(crate) mod float;
pub(crate) mod fused;
pub(crate) mod gemm;
pub(crate) mod isa;
pub(crate) mod lane;
pub(crate) mod lanes;
pub(crate) mod memory;
pub(crate) mod strided;
pub mod threads;

use std::sync::Mutex;

use crate::{
    device::cpu::memory::Memory,
    tensor::{DType, Element, Layout, Spec, new_memory},
};

pub use isa::isa;
pub use memory::empty_cache;

/// An operand, as a kernel sees it.
#[derive(Clone, Copy)]
pub struct View<'a> {
    pub(crate) layout: &'a Layout,
    pub(crate) dtype: DType,
    pub(crate) memory: &'a Memory,
}

impl<'a> View<'a> {
    /// Where its elements lie in [`View::memory`].
    pub fn layout(&self) -> &'a Layout {
        self.layout
    }

    /// Their type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// The elements in row-major order; the operation has declared this input packed.
    ///
    /// # Panics
    /// When it is not packed, or holds another type.
    pub fn packed<T: Element>(&self) -> &'a [T] {
        assert!(self.layout.is_packed(), "an input that is not packed: declare it so in `Op::packed`");
        let (all, n) = (self.memory::<T>(), self.layout.shape.len());
        if n == 0 { &[] } else { &all[self.layout.offset..self.layout.offset + n] }
    }

    /// The whole buffer behind it, for kernels that follow `layout`.
    ///
    /// # Panics
    /// When it holds another type.
    pub fn memory<T: Element>(&self) -> &'a [T] {
        assert_eq!(T::DTYPE, self.dtype, "a kernel asked for the wrong type");
        self.memory.slice::<T>()
    }

    /// Whole numbers of any type in row-major order.
    pub fn to_vec_as_i64(&self) -> Vec<i64> {
        crate::dispatch!(self.dtype, T => self.to_vec::<T>().into_iter().map(|x| x.cast()).collect())
    }

    /// The elements in row-major order, copied where they are not packed.
    pub fn to_vec<T: Element>(&self) -> Vec<T> {
        let mut v = vec![T::default(); self.layout.shape.len()];
        strided::copy(self, &mut v);
        v
    }
}

/// A result to be written, packed.
pub struct ViewMut {
    pub(crate) spec: Spec,
    pub(crate) memory: Memory,
}

impl ViewMut {
    /// Its shape and type.
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    pub(crate) fn new(spec: &Spec) -> Self {
        ViewMut { spec: spec.clone(), memory: new_memory(spec.shape.len(), spec.dtype) }
    }

    /// Its elements in row-major order. What is in them before is unspecified.
    ///
    /// # Panics
    /// When it holds another type.
    pub fn slice<T: Element>(&mut self) -> &mut [T] {
        assert_eq!(T::DTYPE, self.spec.dtype, "a kernel asked for the wrong type");
        let n = self.spec.shape.len();
        &mut self.memory.slice_mut::<T>()[..n]
    }
}

/// One call of a kernel.
pub struct Call<'a> {
    /// The operands.
    pub inputs: &'a [View<'a>],
    /// Where results go; every element must be written.
    pub outputs: &'a mut [ViewMut],
    /// Working memory of [`crate::Op::scratch`] bytes, aligned to 64; its content is unspecified.
    pub scratch: &'a mut [u8],
    /// Where a bad value is reported.
    pub fault: &'a FaultSlot,
    /// The place in the batch of the block's first example; 0 outside blocks.
    pub first_example: usize,
    /// Sums over a batch are added to what the outputs hold, where a kernel of [`crate::ops::Lanes`] makes them.
    pub accumulate: bool,
}

impl<'a> Call<'a> {
    /// The only output, as elements.
    pub fn output<T: Element>(&mut self) -> &mut [T] {
        self.outputs[0].slice()
    }

    /// Two outputs at once.
    pub fn outputs2<T: Element, U: Element>(&mut self) -> (&mut [T], &mut [U]) {
        let [a, b, ..] = &mut *self.outputs else { panic!("the operation has fewer than two outputs") };
        (a.slice(), b.slice())
    }
}

/// Where a kernel reports the first bad value; the lowest position wins, whatever the threads did.
#[derive(Default)]
pub struct FaultSlot(Mutex<Option<(usize, f64, String)>>);

impl FaultSlot {
    /// Element `position` of the input holds `value`, which is not what it must be.
    pub fn report(&self, position: usize, value: f64, what: impl FnOnce() -> String) {
        let mut slot = self.0.lock().expect("no kernel panics while it reports");
        if slot.as_ref().is_none_or(|(p, ..)| position < *p) {
            *slot = Some((position, value, what()));
        }
    }

    /// The report, if any.
    pub fn take(&self) -> Option<(usize, f64, String)> {
        self.0.lock().expect("no kernel panics while it reports").take()
    }

    /// The report, if any, when nobody else has the slot any more.
    pub(crate) fn into_report(self) -> Option<(usize, f64, String)> {
        self.0.into_inner().expect("no kernel panics while it reports")
    }
}
