//! A tensor: a cheap handle to a shaped view of a shared buffer that never changes.

mod create;
mod display;
mod dtype;
mod index;
mod layout;
mod operators;

use std::sync::{Arc, OnceLock};

pub(crate) use dtype::promote;
pub use dtype::{DType, Element, Number};
pub use index::{Index, Indices};
pub use layout::{Layout, MAX_RANK, Shape, Spec};

use crate::{
    autodiff::{Kind, Layer},
    context,
    device::{
        Device,
        cpu::{View, ViewMut, memory::Memory, strided},
    },
    error::{Error, OrRaise, Result},
};

/// An n-dimensional array on some device, perhaps being differentiated or recorded.
///
/// Shape, type and device are values, not types. Cloning shares; nothing changes a tensor once it is made.
///
/// ```
/// use cotangent::Tensor;
/// let x = Tensor::from([[1.0, 2.0], [3.0, 4.0]]);
/// assert_eq!(x.matmul(&x).to_vec::<f64>(), [7.0, 10.0, 15.0, 22.0]);
/// ```
#[derive(Clone)]
pub struct Tensor(Arc<Repr>);

pub(crate) enum Repr {
    Value(Value),
    Layered(Layer),
}

/// What is below all layers.
pub(crate) struct Value {
    pub layout: Layout,
    pub dtype: DType,
    pub device: Device,
    pub data: Data,
}

#[derive(Clone)]
pub(crate) enum Data {
    Buffer(Arc<Buffer>),
    /// A value of a recorded program: there is no buffer yet.
    Slot {
        recording: u64,
        index: usize,
    },
}

/// Memory on a device. A device that works on its own fills it later, in the order of its queue.
pub(crate) enum Buffer {
    /// Filled when it was made.
    Filled(Memory),
    /// Filled later, by the device's queue, and accounted for until it is dropped.
    Queued { memory: OnceLock<Memory>, _lease: Option<crate::device::Lease> },
}

impl Buffer {
    pub(crate) fn filled(memory: Memory) -> Arc<Self> {
        Arc::new(Buffer::Filled(memory))
    }

    pub(crate) fn empty(bytes: usize, device: &Device) -> Arc<Self> {
        let lease = device.as_virtual_gpu().map(|gpu| gpu.lease(bytes));
        Arc::new(Buffer::Queued { memory: OnceLock::new(), _lease: lease })
    }

    pub(crate) fn memory(&self) -> &Memory {
        match self {
            Buffer::Filled(memory) => memory,
            Buffer::Queued { memory, .. } => memory.get().expect("a queue fills buffers in order"),
        }
    }

    pub(crate) fn fill(&self, memory: Memory) {
        match self {
            Buffer::Queued { memory: empty, .. } if empty.set(memory).is_ok() => {}
            _ => unreachable!("a buffer is filled once"),
        }
    }
}

impl Value {
    /// Is it in the processor's memory, now?
    pub(crate) fn is_at_hand(&self) -> bool {
        self.device.is_cpu() && matches!(self.data, Data::Buffer(_))
    }

    /// Its buffer.
    ///
    /// # Panics
    /// When it is a place in a recorded program.
    pub(crate) fn buffer(&self) -> &Arc<Buffer> {
        match &self.data {
            Data::Buffer(buffer) => buffer,
            Data::Slot { .. } => unreachable!("slots are recorded"),
        }
    }

    /// As a kernel sees it.
    pub(crate) fn view(&self) -> View<'_> {
        View { layout: &self.layout, dtype: self.dtype, memory: self.buffer().memory() }
    }

    pub(crate) fn spec(&self) -> Spec {
        Spec { shape: self.layout.shape, dtype: self.dtype, device: self.device.clone() }
    }
}

impl Tensor {
    pub(crate) fn from_value(value: Value) -> Self {
        Tensor(Arc::new(Repr::Value(value)))
    }

    pub(crate) fn from_buffer(buffer: Arc<Buffer>, layout: Layout, dtype: DType, device: Device) -> Self {
        Self::from_value(Value { layout, dtype, device, data: Data::Buffer(buffer) })
    }

    /// What a kernel has filled, taken out of its output.
    pub(crate) fn from_output(y: &mut ViewMut) -> Self {
        let memory = std::mem::replace(&mut y.memory, Memory::new(0));
        let layout = Layout::packed(y.spec.shape);
        Self::from_buffer(Buffer::filled(memory), layout, y.spec.dtype, y.spec.device.clone())
    }

    pub(crate) fn from_slot(spec: &Spec, recording: u64, index: usize) -> Self {
        let layout = Layout::packed(spec.shape);
        Self::from_value(Value {
            layout,
            dtype: spec.dtype,
            device: spec.device.clone(),
            data: Data::Slot { recording, index },
        })
    }

    /// Its memory, where nobody else has it and it lies packed from its beginning.
    pub(crate) fn own(&mut self) -> Option<&mut Memory> {
        let Repr::Value(v) = Arc::get_mut(&mut self.0)? else { return None };
        let packed = v.layout.offset == 0 && v.layout.is_packed();
        match &mut v.data {
            Data::Buffer(buffer) if packed => match Arc::get_mut(buffer)? {
                Buffer::Filled(own) => Some(own),
                Buffer::Queued { .. } => None,
            },
            _ => None,
        }
    }

    /// Swap `memory` with its own, where nobody else has it and it lies packed from its beginning.
    pub(crate) fn exchange(&mut self, memory: &mut Memory) -> bool {
        self.own().map(|own| std::mem::swap(own, memory)).is_some()
    }

    /// `self + x`, in memory of its own where nobody else has it and nobody looks: the same bits.
    pub(crate) fn plus(mut self, x: &Tensor) -> Tensor {
        let (dtype, n) = (self.dtype(), self.numel());
        let alike = *self.shape() == *x.shape() && dtype == x.dtype() && x.layer().is_none();
        if alike
            && dtype.is_float()
            && x.value().is_at_hand()
            && context::with(|c| c.observers.is_empty() && c.recorder.is_none())
            && let Some(own) = self.own()
        {
            crate::dispatch!(float dtype, T => {
                strided::update(&x.value().view(), &mut own.slice_mut::<T>()[..n], |y: &mut T, x: T| *y += x)
            });
            return self;
        }
        &self + x
    }

    /// Put a layer on top. Layers stand in the order of their levels.
    pub(crate) fn with_layer(self, level: usize, tag: u64, kind: Kind) -> Self {
        debug_assert!(
            self.layer().is_none_or(|l| l.level < level),
            "layers stand in the order of their levels"
        );
        Tensor(Arc::new(Repr::Layered(Layer { level, tag, below: self, kind })))
    }

    /// The outermost layer, if any.
    pub(crate) fn layer(&self) -> Option<&Layer> {
        match &*self.0 {
            Repr::Value(_) => None,
            Repr::Layered(layer) => Some(layer),
        }
    }

    /// Below all layers.
    pub(crate) fn value(&self) -> &Value {
        let mut t = self;
        loop {
            match &*t.0 {
                Repr::Value(v) => return v,
                Repr::Layered(layer) => t = &layer.below,
            }
        }
    }

    /// The same values without any layer: nothing flows back through it.
    ///
    /// ```
    /// use cotangent::Tensor;
    /// let x = Tensor::from(3.0).tracked();
    /// let y = &x * x.detach();                   // dy/dx = 3, not 6
    /// assert_eq!(y.backward().get(&x).unwrap().item(), 3.0);
    /// ```
    #[must_use]
    pub fn detach(&self) -> Tensor {
        let mut t = self;
        while let Repr::Layered(layer) = &*t.0 {
            t = &layer.below;
        }
        t.clone()
    }

    /// The sizes of its axes.
    pub fn shape(&self) -> &Shape {
        &self.value().layout.shape
    }

    /// The size of one axis; negative ones count from the end.
    ///
    /// # Panics
    /// When there is no such axis.
    #[track_caller]
    pub fn size(&self, axis: isize) -> usize {
        self.shape()[self.shape().axis(axis).or_raise()]
    }

    /// The number of axes.
    pub fn rank(&self) -> usize {
        self.shape().rank()
    }

    /// The number of elements.
    pub fn numel(&self) -> usize {
        self.shape().len()
    }

    /// The type of its elements.
    pub fn dtype(&self) -> DType {
        self.value().dtype
    }

    /// Where it lives.
    pub fn device(&self) -> Device {
        self.value().device.clone()
    }

    /// Shape, type and device.
    pub fn spec(&self) -> Spec {
        self.value().spec()
    }

    /// How its elements lie in its buffer (PyTorch's `stride()` and `storage_offset()`).
    pub fn layout(&self) -> &Layout {
        &self.value().layout
    }

    /// Is it only a place in a recorded program, without a value yet?
    pub fn is_recorded(&self) -> bool {
        matches!(self.value().data, Data::Slot { .. })
    }

    /// Do both look at the same buffer?
    pub fn shares_buffer(&self, other: &Tensor) -> bool {
        match (&self.value().data, &other.value().data) {
            (Data::Buffer(a), Data::Buffer(b)) => Arc::ptr_eq(a, b),
            _ => false,
        }
    }

    /// Its elements in row-major order, cast to `T`; waits for its device.
    ///
    /// ```
    /// use cotangent::Tensor;
    /// assert_eq!(Tensor::from([[1, 2], [3, 4]]).t().to_vec::<i64>(), [1, 3, 2, 4]);
    /// ```
    ///
    /// # Panics
    /// While recording, where there are no values yet; when an earlier kernel on its device has faulted.
    #[track_caller]
    pub fn to_vec<T: Element>(&self) -> Vec<T> {
        self.try_to_vec().or_raise()
    }

    /// The same as [`Tensor::to_vec`], with faults of its device as `Err`.
    pub fn try_to_vec<T: Element>(&self) -> Result<Vec<T>> {
        let host = self.try_read()?;
        let v = host.value();
        let view = v.view();
        if T::DTYPE == v.dtype {
            return Ok(view.to_vec::<T>());
        }
        Ok(crate::dispatch!(v.dtype, U => view.to_vec::<U>().into_iter().map(U::cast::<T>).collect()))
    }

    /// The only element, as a real number; waits for its device.
    ///
    /// # Panics
    /// When there is not exactly one element; while recording.
    #[track_caller]
    pub fn item(&self) -> f64 {
        if self.numel() != 1 {
            Error::mistake(format!(
                "item: a tensor of shape {:?} has {} elements, not one",
                self.shape(),
                self.numel()
            ))
            .help("reduce it first: `x.mean()`, `x.sum()`; or `x.to_vec::<f64>()` for all of them")
            .raise()
        }
        self.to_vec::<f64>()[0]
    }

    /// The value on the processor; from another device it is a transfer, and a wait.
    pub(crate) fn try_read(&self) -> Result<Tensor> {
        let v = self.value();
        let Data::Buffer(buffer) = &v.data else {
            return Err(Error::mistake("a value was read while a step is being recorded: there is none yet")
                .help("return it from the closure and read it after `run`; branch with `where_` instead of `if`"));
        };
        let Some(gpu) = v.device.as_virtual_gpu() else { return Ok(self.detach()) };
        let home = Buffer::empty(0, &Device::cpu());
        let bytes = v.layout.shape.len() * v.dtype.size();
        let (from, into, layout, dtype) = (buffer.clone(), home.clone(), v.layout, v.dtype);
        gpu.transfer(false, bytes, Box::new(move || into.fill(packed_copy(from.memory(), &layout, dtype))));
        gpu.synchronize()?;
        Ok(Tensor::from_buffer(home, Layout::packed(layout.shape), dtype, Device::cpu()))
    }
}

/// A packed copy of what `layout` sees of a buffer.
pub(crate) fn packed_copy(memory: &Memory, layout: &Layout, dtype: DType) -> Memory {
    let view = View { layout, dtype, memory };
    let mut memory = new_memory(layout.shape.len(), dtype);
    crate::dispatch!(dtype, T => strided::copy(&view, &mut memory.slice_mut::<T>()[..layout.shape.len()]));
    memory
}

/// Memory for `n` elements; truth values start as `false`, since stale bytes are none.
pub(crate) fn new_memory(n: usize, dtype: DType) -> Memory {
    if dtype == DType::Bool { Memory::zeroed(n) } else { Memory::new(n * dtype.size()) }
}

/// Is a step being recorded on this thread?
pub fn is_recording() -> bool {
    context::with(|c| c.recorder.is_some())
}
