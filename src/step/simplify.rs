//! The same program with less to do: exact identities and no instruction whose result nobody reads.

use std::sync::Arc;

use super::record::{Instruction, Program};
use crate::{
    apply::Pass,
    ops::{Gate, MatMul, MaxPool2d, MaxPool2dScatter, Op, Permute, Sum},
};

/// Rewrite a copy of the program.
pub(crate) fn simplify(p: &Program) -> Program {
    let mut q = Program {
        slots: p.slots.clone(),
        inputs: p.inputs.clone(),
        constants: p.constants.clone(),
        instructions: p.instructions.iter().map(copy).collect(),
        outputs: p.outputs.clone(),
        reads: p.reads.clone(),
        writes: p.writes.clone(),
        flags: p.flags.clone(),
    };
    gate_before_unpooling(&mut q);
    sums_before_unpooling(&mut q);
    transposed_products(&mut q);
    drop_unread(&mut q);
    q
}

fn copy(x: &Instruction) -> Instruction {
    Instruction {
        op: x.op.clone(),
        inputs: x.inputs.clone(),
        outputs: x.outputs.clone(),
        origin: x.origin.clone(),
    }
}

fn maker(p: &Program, slot: usize) -> Option<usize> {
    p.instructions.iter().position(|x| x.outputs.contains(&slot))
}

fn reads(p: &Program, slot: usize) -> usize {
    let inside = p.instructions.iter().flat_map(|x| &x.inputs);
    let leaving = p.outputs.iter().chain(p.writes.iter().map(|w| &w.1));
    inside.chain(leaving).filter(|s| **s == slot).count()
}

/// `gate(unpool(c, i), relu)` = `unpool(gate(c, pool of relu), i)`: only a window's arg-max carries a cotangent, and
/// there the value is the pooled one. The whole ReLU need not be kept then, and the gate is a quarter of the work.
fn gate_before_unpooling(p: &mut Program) {
    for g in 0..p.instructions.len() {
        let gate = &p.instructions[g];
        if gate.op.is_a::<Gate>().is_none() || gate.origin.pass != Pass::Pull {
            continue;
        }
        let (spread, kept) = (gate.inputs[0], gate.inputs[1]);
        let Some(s) = maker(p, spread).filter(|s| p.instructions[*s].op.is_a::<MaxPool2dScatter>().is_some())
        else {
            continue;
        };
        let scatter = &p.instructions[s];
        let pool = p.instructions.iter().find(|x| {
            x.op.is_a::<MaxPool2d>().is_some() && x.inputs[0] == kept && x.outputs[1] == scatter.inputs[1]
        });
        let Some(pooled) = pool.map(|x| x.outputs[0]) else { continue };
        let (c, out) = (scatter.inputs[0], p.instructions[g].outputs[0]);
        if reads(p, spread) != 1 || p.slots[c] != p.slots[pooled] {
            continue;
        }
        p.slots.push(p.slots[c].clone());
        let gated = p.slots.len() - 1;
        let (scatter, index) = (p.instructions[s].op.clone(), p.instructions[s].inputs[1]);
        // The gate takes the scatter's place, and the scatter the gate's.
        let (at_s, at_g) = (p.instructions[s].origin.clone(), p.instructions[g].origin.clone());
        p.instructions[s] = Instruction {
            op: Gate.shared(),
            inputs: [c, pooled].into_iter().collect(),
            outputs: [gated].into_iter().collect(),
            origin: at_g,
        };
        p.instructions[g] = Instruction {
            op: scatter,
            inputs: [gated, index].into_iter().collect(),
            outputs: [out].into_iter().collect(),
            origin: at_s,
        };
    }
}

/// `Σ unpool(c, i)` = `Σ c` over an image: every cotangent goes to one place.
fn sums_before_unpooling(p: &mut Program) {
    for i in 0..p.instructions.len() {
        let sum = &p.instructions[i];
        let Some(over) = sum.op.is_a::<Sum>().map(|s| &s.axes) else { continue };
        let Some(s) = maker(p, sum.inputs[0]) else { continue };
        if over.contains(&2) && over.contains(&3) && p.instructions[s].op.is_a::<MaxPool2dScatter>().is_some()
        {
            p.instructions[i].inputs[0] = p.instructions[s].inputs[0];
        }
    }
}

/// `(A·B)ᵀ` = `Bᵀ·Aᵀ`: a weight's gradient is made as the weight lies.
fn transposed_products(p: &mut Program) {
    let mut next = 0;
    while next < p.instructions.len() {
        let t = next;
        next += 1;
        let turn = &p.instructions[t];
        let swap = Permute { order: vec![1, 0] };
        if turn.op.is_a() != Some(&swap) {
            continue;
        }
        let product = turn.inputs[0];
        let Some(m) = maker(p, product).filter(|m| p.instructions[*m].op.is_a::<MatMul>().is_some()) else {
            continue;
        };
        if reads(p, product) != 1 {
            continue;
        }
        let (a, b) = (p.instructions[m].inputs[0], p.instructions[m].inputs[1]);
        let (op, out) = (p.instructions[m].op.clone(), p.instructions[t].outputs[0]);
        let origin = p.instructions[m].origin.clone();
        let mut turned = |slot: usize| -> (Instruction, usize) {
            let s = p.slots[slot].clone();
            p.slots.push(s.with([s.shape[1], s.shape[0]]));
            let new = p.slots.len() - 1;
            let (inputs, outputs) = ([slot].into_iter().collect(), [new].into_iter().collect());
            (Instruction { op: Arc::new(swap.clone()), inputs, outputs, origin: origin.clone() }, new)
        };
        let ((first, bt), (second, at)) = (turned(b), turned(a));
        p.instructions[t] = Instruction {
            op,
            inputs: [bt, at].into_iter().collect(),
            outputs: [out].into_iter().collect(),
            origin,
        };
        // The product's place is free for one of the two views; the other stands beside it.
        p.instructions[m] = first;
        p.instructions.insert(m, second);
        next += 1;
    }
}

fn drop_unread(p: &mut Program) {
    let mut wanted = vec![false; p.slots.len()];
    p.outputs.iter().chain(p.writes.iter().map(|w| &w.1)).for_each(|s| wanted[*s] = true);
    let mut keep = vec![false; p.instructions.len()];
    for (i, x) in p.instructions.iter().enumerate().rev() {
        // What may fault is never left out.
        keep[i] = x.outputs.iter().any(|s| wanted[*s]) || x.op.faults();
        if keep[i] {
            x.inputs.iter().for_each(|s| wanted[*s] = true);
        }
    }
    let mut keep = keep.into_iter();
    p.instructions.retain(|_| keep.next().unwrap_or(true));
}
