//! `y = x`, on another device.    `dy = dx`, carried along

use super::{Attribute, Batch, Mode, Op, pointwise};
use crate::{
    apply::apply,
    autodiff::LinearMap,
    device::{Device, cpu::Call},
    error::Result,
    tensor::{Buffer, Data, Layout, Spec, Tensor, Value, packed_copy},
};

/// To another device: the only operation whose result lives elsewhere than its operand.
#[derive(Clone, Debug)]
pub struct Transfer {
    /// The device.
    pub to: Device,
}

impl Op for Transfer {
    fn name(&self) -> &'static str {
        "to"
    }
    fn attributes(&self) -> Vec<(&'static str, Attribute)> {
        vec![("device", Attribute::Text(if self.to.is_cpu() { "cpu" } else { "virtual" }))]
    }
    fn outputs(&self, x: &[Spec]) -> Result<Vec<Spec>> {
        Ok(vec![Spec { device: self.to.clone(), ..x[0].clone() }])
    }
    fn linearize(&self, x: &[Tensor], _: &[Tensor], mode: Mode, _: &[bool]) -> LinearMap {
        let (from, to) = (x[0].device(), self.to.clone());
        LinearMap::either(mode, move |t| t.to(&to), move |c| c.to(&from))
    }
    fn batch(&self, _: &[Spec], axes: &[Option<usize>]) -> Batch {
        pointwise(axes)
    }
    fn destination(&self) -> Option<Device> {
        Some(self.to.clone())
    }
    /// From the processor to itself, in a compiled step; other transfers are made between memories, without a kernel.
    fn cpu(&self, mut call: Call<'_>) {
        let x = call.inputs[0];
        crate::dispatch!(x.dtype, T => call.output::<T>().copy_from_slice(x.packed()))
    }
}

/// Carry a value over. To a device it is staged and queued; back home it is waited for.
pub(crate) fn transfer(x: &Value, to: &Device) -> Result<Tensor> {
    let Data::Buffer(buffer) = &x.data else { unreachable!("slots are recorded") };
    let shape = x.layout.shape;
    let home = match x.device.is_cpu() {
        true => Tensor::from_buffer(buffer.clone(), x.layout, x.dtype, Device::cpu()),
        false => Tensor::from_buffer(buffer.clone(), x.layout, x.dtype, x.device.clone()).try_read()?,
    };
    let Some(gpu) = to.as_virtual_gpu() else { return Ok(home) };
    let bytes = shape.len() * x.dtype.size();
    let there = Buffer::empty(bytes, to);
    let v = home.value();
    let Data::Buffer(staged) = &v.data else { unreachable!("read gives a buffer") };
    let (from, into, layout, dtype) = (staged.clone(), there.clone(), v.layout, v.dtype);
    gpu.transfer(true, bytes, Box::new(move || into.fill(packed_copy(from.memory(), &layout, dtype))));
    Ok(Tensor::from_buffer(there, Layout::packed(shape), dtype, to.clone()))
}

impl Tensor {
    /// `y = x` on another device; the same tensor when it is there already. Gradients are carried back
    /// (row B3).
    #[must_use]
    #[track_caller]
    pub fn to(&self, device: &Device) -> Tensor {
        if self.device() == *device { self.clone() } else { apply(Transfer { to: device.clone() }, &[self]) }
    }
}
