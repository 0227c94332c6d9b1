//! Which instructions treat every example alike, and the order of stages that follows.
//!
//! Even stages compute whole values, odd ones are *regions*: instructions through which the batch axis passes
//! ([`Batch::Each`]) or that add over it ([`Batch::Sums`]), so that they may run block of examples by block of
//! examples, forward and backward. A sum is complete only after its region; whoever reads it waits for a later
//! stage. Instructions go into the latest stage that their readers allow: so the forward pass stands beside the
//! backward one, and only what the cotangent needs beforehand (how many labels count) is a stage before it.

use super::record::Program;
use crate::{
    apply::Few,
    ops::Batch,
    tensor::{Layout, Spec},
};

/// How an instruction meets the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It has whole operands and gives whole values.
    Whole,
    /// The batch axis passes through.
    Each,
    /// It adds over the batch.
    Sums,
}

/// When and how each instruction of a program runs.
pub(crate) struct Schedule {
    /// Examples in the batch; 0 where there is no batch to speak of.
    pub examples: usize,
    /// How each instruction meets the batch.
    pub kind: Vec<Kind>,
    /// The batch axis of each operand of each instruction, as its region slices it.
    pub axes: Vec<Few<Option<usize>>>,
    /// The batch axis of each value that a region makes, or an input has.
    pub axis: Vec<Option<usize>>,
    /// The stage of each instruction: even ones whole, odd ones regions.
    pub stage: Vec<usize>,
    /// The instruction that makes a value.
    pub maker: Vec<Option<usize>>,
    /// The instructions that read a value.
    pub readers: Vec<Vec<usize>>,
}

impl Schedule {
    pub(crate) fn new(p: &Program) -> Self {
        let count = p.instructions.len();
        let mut maker = vec![None; p.slots.len()];
        let mut readers = vec![Vec::new(); p.slots.len()];
        for (i, x) in p.instructions.iter().enumerate() {
            x.outputs.iter().for_each(|s| maker[*s] = Some(i));
            x.inputs.iter().for_each(|s| readers[*s].push(i));
        }
        let leading = |s: &Spec| s.shape.first().copied();
        let examples = p.inputs.iter().find_map(|i| leading(&p.slots[*i])).unwrap_or(0);
        let mut axis = vec![None; p.slots.len()];
        for i in p.inputs.iter().filter(|i| leading(&p.slots[**i]) == Some(examples)) {
            axis[*i] = Some(0);
        }
        let mut kind = vec![Kind::Whole; count];
        let mut axes: Vec<Few<Option<usize>>> = Vec::with_capacity(count);
        for (i, x) in p.instructions.iter().enumerate() {
            let specs: Few<Spec> = x.inputs.iter().map(|s| p.slots[*s].clone()).collect();
            let mut at: Few<Option<usize>> = x.inputs.iter().map(|s| axis[*s]).collect();
            if examples > 1 && at.iter().any(Option::is_some) {
                let view = specs.len() == 1 && x.op.view(&Layout::packed(specs[0].shape)).is_some();
                let mut rule = x.op.batch(&specs, &at);
                if rule == Batch::Mixes {
                    // A whole value with a leading axis of that size may be sliced too.
                    let sliced = |(s, a): (&Spec, &Option<usize>)| {
                        a.or_else(|| (leading(s) == Some(examples)).then_some(0))
                    };
                    let more: Few<Option<usize>> = specs.iter().zip(&at).map(sliced).collect();
                    if more != at {
                        (rule, at) = (x.op.batch(&specs, &more), more);
                    }
                }
                match rule {
                    Batch::Each(places) if view || places.iter().all(|p| *p == 0) => {
                        kind[i] = Kind::Each;
                        x.outputs.iter().zip(places).for_each(|(s, p)| axis[*s] = Some(p));
                    }
                    Batch::Sums => kind[i] = Kind::Sums,
                    _ => {}
                }
            }
            axes.push(at);
        }
        let mut s = Schedule { examples, kind, axes, axis, stage: vec![0; count], maker, readers };
        s.order(p);
        s
    }

    /// The earliest stages, for the number of them; then the latest that readers allow.
    fn order(&mut self, p: &Program) {
        let after = |kind: Kind, stage: usize, made: Kind| match (made, kind) {
            (Kind::Each, Kind::Each | Kind::Sums) | (Kind::Whole, Kind::Whole) => stage,
            (Kind::Sums, Kind::Each | Kind::Sums) => stage + 2,
            _ => stage + 1,
        };
        let first = |kind: Kind| usize::from(kind != Kind::Whole);
        let mut early = vec![0; p.instructions.len()];
        for (i, x) in p.instructions.iter().enumerate() {
            let ready = x.inputs.iter().filter_map(|s| self.maker[*s]);
            let ready = ready.map(|m| after(self.kind[i], early[m], self.kind[m]));
            early[i] = ready.fold(first(self.kind[i]), usize::max);
        }
        let last =
            (0..early.len()).filter(|i| self.kind[*i] != Kind::Whole).map(|i| early[i]).max().unwrap_or(1);
        let mut late = vec![0; p.instructions.len()];
        for (i, x) in p.instructions.iter().enumerate().rev() {
            let readers = x.outputs.iter().flat_map(|s| &self.readers[*s]);
            let wanted = readers.map(|r| late[*r] - (after(self.kind[*r], 0, self.kind[i])));
            late[i] = wanted.min().unwrap_or(last + usize::from(self.kind[i] == Kind::Whole));
        }
        self.stage = late;
    }

    /// The number of stages.
    pub(crate) fn stages(&self) -> usize {
        self.stage.iter().max().map_or(0, |s| s + 1)
    }
}
