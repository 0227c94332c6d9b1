//! Planted faults: every law entry must notice when its operation's derivative is wrong.

#[path = "laws/entries.rs"]
mod entries;

use std::sync::Arc;

use cotangent::{
    Attribute, Batch, Cost, Device, Layout, LinearMap, Mode, Op, Result, Spec, Tensor, device::cpu::Call,
    laws,
};
use entries::ENTRIES;

/// What is done to a derivative.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    /// Nothing is done.
    None,
    /// The wrong sign.
    Sign,
    /// A factor of two.
    Factor,
    /// Nothing flows.
    Nothing,
    /// The first two operands' cotangents are exchanged.
    Swapped,
    /// Everything lands one place further on.
    Shifted,
    /// The value is treated as constant in the second derivative: right at first order, wrong at the second.
    Detached,
}

/// An operation with a fault in its map.
struct Faulty {
    op: Arc<dyn Op>,
    fault: Fault,
    mode: Mode,
}

fn damage(fault: Fault, t: Tensor) -> Tensor {
    match fault {
        Fault::Sign => -t,
        Fault::Factor => t * 2.0,
        Fault::Nothing => t * 0.0,
        Fault::Detached => t.detach(),
        Fault::Shifted => {
            let n = t.numel();
            if n < 2 {
                return t;
            }
            let flat = t.flatten(0).contiguous().reshape([n]);
            Tensor::cat(&[&flat.narrow(0, n - 1, 1), &flat.narrow(0, 0, n - 1)], 0).reshape(*t.shape())
        }
        Fault::None | Fault::Swapped => t,
    }
}

impl Op for Faulty {
    fn name(&self) -> &'static str {
        self.op.name()
    }
    fn attributes(&self) -> Vec<(&'static str, Attribute)> {
        self.op.attributes()
    }
    fn outputs(&self, x: &[Spec]) -> Result<Vec<Spec>> {
        self.op.outputs(x)
    }
    fn linearize(&self, x: &[Tensor], y: &[Tensor], mode: Mode, wanted: &[bool]) -> LinearMap {
        let right = self.op.linearize(x, y, mode, wanted);
        if mode != self.mode {
            return right;
        }
        let fault = self.fault;
        LinearMap::new(move |t| {
            let mut out = right.apply(t);
            if fault == Fault::Swapped && out.len() > 1 {
                out.swap(0, 1);
            }
            out.into_iter().map(|t| t.map(|t| damage(fault, t))).collect()
        })
    }
    fn batch(&self, x: &[Spec], axes: &[Option<usize>]) -> Batch {
        self.op.batch(x, axes)
    }
    fn for_examples(&self, x: &[Spec], axes: &[Option<usize>], n: usize) -> Option<Arc<dyn Op>> {
        self.op.for_examples(x, axes, n)
    }
    fn cost(&self, x: &[Spec], y: &[Spec]) -> Cost {
        self.op.cost(x, y)
    }
    fn scratch(&self, x: &[Spec]) -> usize {
        self.op.scratch(x)
    }
    fn packed(&self, input: usize) -> bool {
        self.op.packed(input)
    }
    fn cpu(&self, call: Call<'_>) {
        self.op.cpu(call)
    }
    fn view(&self, x: &Layout) -> Option<Layout> {
        self.op.view(x)
    }
    fn destination(&self) -> Option<Device> {
        self.op.destination()
    }
}

/// Operations without real operands or results have no derivative to get wrong.
const FLAT: &[&str] = &["Compare", "OneHot", "MaxPool2dIndices", "Random"];

/// Faults that leave an operation right, and why.
fn harmless(name: &str, fault: Fault, mode: Mode) -> bool {
    let operands =
        ["Arithmetic", "Where", "MatMul", "Cat", "Conv2d", "Conv2dInput", "Conv2dWeight", "BatchNorm"];
    match fault {
        // There is only one real operand or result to exchange; `where` has its condition in between.
        Fault::Swapped => mode == Mode::Push || !operands.contains(&name),
        // A derivative that depends on no value has no second derivative; those of order 1 are not asked.
        Fault::Detached => {
            let curved = ["Elementwise", "Arithmetic", "MatMul", "Softmax", "CrossEntropy", "BatchNorm"];
            let bilinear = ["Conv2d", "Conv2dInput", "Conv2dWeight"];
            !curved.contains(&name) && !bilinear.contains(&name)
        }
        _ => false,
    }
}

#[test]
fn the_laws_notice_every_planted_fault() {
    let mut unnoticed = Vec::new();
    for (name, draws, order, generate) in ENTRIES {
        if FLAT.contains(name) {
            continue;
        }
        for fault in
            [Fault::Sign, Fault::Factor, Fault::Nothing, Fault::Swapped, Fault::Shifted, Fault::Detached]
        {
            for mode in [Mode::Push, Mode::Pull] {
                if harmless(name, fault, mode) {
                    continue;
                }
                let planted =
                    |d: &mut laws::Draw| generate(d).map_op(|op| Faulty { op, fault, mode }.shared());
                if laws::check(name, *draws, *order, planted).is_ok() {
                    unnoticed.push(format!("{name}: {fault:?} in {mode:?}"));
                }
            }
        }
    }
    assert!(unnoticed.is_empty(), "the laws let pass:\n{}", unnoticed.join("\n"));
}

#[test]
fn the_wrapper_itself_plants_nothing() {
    // Undamaged, all is as it was: or the test above would prove nothing.
    for (name, draws, order, generate) in ENTRIES {
        for mode in [Mode::Push, Mode::Pull] {
            let wrapped = |d: &mut laws::Draw| {
                generate(d).map_op(|op| Faulty { op, fault: Fault::None, mode }.shared())
            };
            laws::check(name, *draws, *order, wrapped).unwrap();
        }
    }
}
