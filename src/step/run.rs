//! Running a compiled step: bases are looked up, stages run, cells change at the end, all or none.
#![allow(unsafe_code)]

use std::sync::{Arc, MutexGuard};

use smallvec::SmallVec;

use super::{
    blocks::{Workers, run_chains},
    code::Frame,
    compile::{Compiled, Stage, Whole, is_constant},
};
use crate::{
    cell::{Cell, claim},
    device::{Device, cpu::FaultSlot, cpu::memory::Memory},
    error::Result,
    tensor::{Buffer, Data, Layout, Spec, Tensor, new_memory, packed_copy},
};

/// A compiled program, and the memory that it keeps from run to run.
pub(crate) struct Machine {
    pub compiled: Compiled,
    arena: Memory,
    sums: Memory,
    workers: Workers,
    /// For what leaves the step: memory that came back from a cell, or none.
    spare: Vec<Option<Memory>>,
    /// Values that are given, while the step runs.
    given: Vec<(usize, Tensor)>,
    /// Those that are the same in every run, without gaps.
    constants: Vec<(usize, Tensor)>,
    /// Memory for what leaves the step, while it runs; none for what takes the place of a cell's old value.
    fresh: Vec<Option<Memory>>,
    /// What of it became a tensor, at the end of a run.
    made: Vec<Option<Tensor>>,
    bases: Bases,
    cells: Arc<[Arc<Cell>]>,
}

/// Addresses while a step runs; between runs only the room for them.
#[derive(Default)]
struct Bases(Vec<(*mut u8, usize)>);
// SAFETY: between runs it is empty.
unsafe impl Send for Bases {}

impl Machine {
    pub(crate) fn new(compiled: Compiled) -> Self {
        let p = &compiled.program;
        Machine {
            arena: Memory::zeroed(compiled.arena.max(64)),
            sums: Memory::zeroed(compiled.sums.max(64)),
            workers: Workers::new(compiled.local),
            spare: compiled.fresh.iter().map(|_| None).collect(),
            given: Vec::new(),
            constants: p.constants.iter().map(|(i, x)| (*i, constant(x))).collect(),
            fresh: Vec::new(),
            made: Vec::new(),
            bases: Bases::default(),
            cells: p.cells().into(),
            compiled,
        }
    }

    /// One step; `None` where a kernel met a bad value: nothing has changed then.
    pub(crate) fn run(&mut self, inputs: &[&Tensor]) -> Result<Option<Vec<Tensor>>> {
        let p = &self.compiled.program;
        let cells = self.cells.clone();
        let _claim = claim(&cells)?;
        let mut given = std::mem::take(&mut self.given);
        given.extend(p.inputs.iter().zip(inputs).map(|(i, x)| (*i, packed(x))));
        given.extend(self.constants.iter().cloned());
        given.extend(p.reads.iter().map(|(c, i)| (*i, packed(&c.peek()))));
        if given.iter().any(|g| !g.1.value().device.is_cpu()) {
            // A cell has moved since: replaying says what that means.
            given.clear();
            self.given = given;
            return Ok(None);
        }
        let mut fresh = std::mem::take(&mut self.fresh);
        let memory = |spare: &mut Option<Memory>, spec: &Spec| {
            spare.take().unwrap_or_else(|| new_memory(spec.shape.len(), spec.dtype))
        };
        for (k, ((slot, _), spare)) in self.compiled.fresh.iter().zip(&mut self.spare).enumerate() {
            let later = self.compiled.in_place.iter().any(|u| u.fresh == k);
            fresh.push((!later).then(|| memory(spare, &p.slots[*slot])));
        }
        let arena = self.arena.start();
        let Bases(mut bases) = std::mem::take(&mut self.bases);
        for (at, bytes) in &self.compiled.wholes {
            let start = match at {
                Whole::Arena(first) => arena.wrapping_add(*first),
                Whole::Given(slot) => {
                    let value = given.iter().find(|g| g.0 == *slot).expect("given before the run");
                    start(&value.1)
                }
                Whole::Fresh(slot) => {
                    let k = self.compiled.fresh.iter().position(|f| f.0 == *slot).expect("listed");
                    fresh[k].as_mut().map_or(std::ptr::null_mut(), Memory::start)
                }
            };
            bases.push((start, *bytes));
        }
        let fault = FaultSlot::default();
        let sums = (self.sums.start(), self.compiled.sums);
        let mut faulted = false;
        let mut held: SmallVec<[MutexGuard<'_, Tensor>; 32]> = SmallVec::new();
        for (s, stage) in self.compiled.stages.iter().enumerate() {
            let last = s + 1 == self.compiled.stages.len();
            for u in self.compiled.in_place.iter().filter(|_| last) {
                let mut value = u.cell.lock();
                let (slot, base) = self.compiled.fresh[u.fresh];
                let old = given.iter().position(|g| g.0 == u.old).expect("read before the run");
                // The second handle goes, so that the cell's may be the only one.
                let own = start(&given[old].1) == start(&value) && {
                    given.swap_remove(old);
                    value.own().map(|own| {
                        // Reads and writes of this memory go by one address, made of the same borrow.
                        let of_old = self.compiled.wholes.iter().position(|w| w.0 == Whole::Given(u.old));
                        [Some(base), of_old].into_iter().flatten().for_each(|b| bases[b].0 = own.start());
                    })
                }
                .is_some();
                if !own {
                    let new = fresh[u.fresh].insert(memory(&mut self.spare[u.fresh], &p.slots[slot]));
                    bases[base].0 = new.start();
                }
                held.push(value);
            }
            // SAFETY: the bases live in `given`, `held`, `fresh`, the arena and the sums, which are here; given values
            // are only read, but for cells that the last stage alone has; the plan gives values that live at one time
            // different places.
            unsafe {
                match stage {
                    Stage::Code(code) => code.run(&Frame::of(&bases), &fault),
                    Stage::Blocks(b) => b.run(&bases, &self.workers, sums, &fault),
                    Stage::Chains(chains) => run_chains(chains, &bases, &self.workers, &fault),
                }
            }
            faulted = fault.take().is_some();
            if faulted {
                break;
            }
        }
        drop(held);
        given.clear();
        bases.clear();
        (self.given, self.bases) = (given, Bases(bases));
        if faulted {
            self.spare.iter_mut().zip(fresh.drain(..)).filter(|f| f.1.is_some()).for_each(|(s, m)| *s = m);
            self.fresh = fresh;
            return Ok(None);
        }
        let results = self.leave(&mut fresh);
        self.fresh = fresh;
        Ok(Some(results))
    }

    /// Results go out, cells get their new values and give their old memory back.
    fn leave(&mut self, fresh: &mut Vec<Option<Memory>>) -> Vec<Tensor> {
        let (p, made) = (&self.compiled.program, &mut self.made);
        for (k, ((slot, _), memory)) in self.compiled.fresh.iter().zip(fresh.drain(..)).enumerate() {
            let Some(mut memory) = memory else {
                made.push(None);
                continue;
            };
            let mut writes = p.writes.iter().filter(|w| w.1 == *slot);
            if let (Some((cell, _)), None, false) = (writes.next(), writes.next(), p.outputs.contains(slot))
                && cell.exchange(&mut memory)
            {
                self.spare[k] = Some(memory);
                made.push(None);
                continue;
            }
            let spec = &p.slots[*slot];
            let layout = Layout::packed(spec.shape);
            made.push(Some(Tensor::from_buffer(Buffer::filled(memory), layout, spec.dtype, Device::cpu())));
        }
        let value = |slot: &usize| {
            let k = self.compiled.fresh.iter().position(|f| f.0 == *slot).expect("listed");
            made[k].clone()
        };
        for (cell, slot) in &p.writes {
            if let Some(new) = value(slot) {
                drop(cell.replace(new));
            }
        }
        let results = p.outputs.iter().map(|slot| value(slot).expect("an output is a tensor of its own"));
        let results = results.collect();
        made.clear();
        results
    }
}

/// The value as its plan expects it: without gaps.
fn packed(x: &Tensor) -> Tensor {
    let v = x.value();
    match &v.data {
        // What lies elsewhere may not be there yet; it is not run with.
        Data::Buffer(buffer) if v.device.is_cpu() && !v.layout.is_packed() => {
            let memory = packed_copy(buffer.memory(), &v.layout, v.dtype);
            Tensor::from_buffer(
                Buffer::filled(memory),
                Layout::packed(v.layout.shape),
                v.dtype,
                v.device.clone(),
            )
        }
        _ => x.detach(),
    }
}

/// A constant as its plan expects it: packed, or one number for all places.
fn constant(x: &Tensor) -> Tensor {
    if is_constant(&x.value().layout) { x.detach() } else { packed(x) }
}

/// The address of the first element.
fn start(x: &Tensor) -> *mut u8 {
    let v = x.value();
    let Data::Buffer(buffer) = &v.data else { unreachable!("a value that is given is there") };
    let bytes = buffer.memory().slice::<u8>();
    bytes[v.layout.offset * v.dtype.size()..].as_ptr().cast_mut()
}
