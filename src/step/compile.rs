//! From a recorded program to codes: what is whole, what runs in blocks, where everything lies.

use std::{collections::HashMap, sync::Arc};

use super::{
    blocks::{Blocks, settle},
    code::{Base, Code, Kernel, Place, pointwise, share_out},
    record::Program,
    schedule::{Kind, Schedule},
};
use crate::{
    ops::{LANES, Lanes, Op},
    tensor::{DType, Layout, Shape, Spec},
};

/// Elements of a chain computed at a time: a dozen values of them fit into the first-level cache.
const STRETCH: usize = 1024;
/// Elements from which a chain is spread over threads.
const SPREAD: usize = 8192;

/// Where a whole value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whole {
    /// An input, a constant or a cell: the value of this slot.
    Given(usize),
    /// The step's arena, from this byte on.
    Arena(usize),
    /// Memory that leaves the step: a result, or what a cell becomes.
    Fresh(usize),
}

/// A stretch of a compiled step.
pub(crate) enum Stage {
    /// One operation on whole values.
    Code(Code),
    /// Blocks of examples.
    Blocks(Blocks),
    /// A chain of elementwise operations.
    Chain(Blocks),
}

/// Why, or how, something was compiled: for [`super::Plan`].
pub(crate) struct Note {
    /// The instruction it is about.
    pub instruction: usize,
    /// In words.
    pub text: String,
}

/// A program, compiled for the processor.
pub(crate) struct Compiled {
    /// As it was rewritten.
    pub program: Program,
    /// What to do.
    pub stages: Vec<Stage>,
    /// Whole values: where they lie, and their bytes.
    pub wholes: Vec<(Whole, usize)>,
    /// Bytes of the arena for whole values.
    pub arena: usize,
    /// Bytes of an arena for one thread.
    pub local: usize,
    /// Bytes for the sums of all groups.
    pub sums: usize,
    /// Slot → whole value that leaves the step.
    pub fresh: Vec<(usize, usize)>,
    /// What was done and what not, and why.
    pub notes: Vec<Note>,
}

/// Compile, or say why the program is replayed operation by operation.
pub(crate) fn compile(program: Program) -> Result<Compiled, String> {
    if let Some(s) = program.slots.iter().find(|s| !s.device.is_cpu()) {
        return Err(format!("values live on {}: operations are queued there one by one", s.device));
    }
    let schedule = Schedule::new(&program);
    Ok(Compiler::new(program, schedule).run())
}

/// What is known about a region before it is compiled.
#[derive(Clone, Default)]
struct Region {
    members: Vec<usize>,
    blocked: bool,
}

struct Compiler {
    p: Program,
    s: Schedule,
    regions: Vec<Region>,
    stages: Vec<Stage>,
    wholes: Vec<(Whole, usize)>,
    /// Slot → its whole value.
    whole: HashMap<usize, (usize, Layout)>,
    /// Slot → a packed copy of a whole value that is a view.
    packed: HashMap<usize, (usize, Layout)>,
    fresh: Vec<(usize, usize)>,
    notes: Vec<Note>,
    local: usize,
    sums: usize,
}

impl Compiler {
    fn new(p: Program, s: Schedule) -> Self {
        let stages = s.stages();
        let mut regions = vec![Region::default(); stages];
        (0..p.instructions.len()).for_each(|i| regions[s.stage[i]].members.push(i));
        let mut c = Compiler {
            p,
            s,
            regions,
            stages: Vec::new(),
            wholes: Vec::new(),
            whole: HashMap::new(),
            packed: HashMap::new(),
            fresh: Vec::new(),
            notes: Vec::new(),
            local: 0,
            sums: 0,
        };
        for stage in (1..stages).step_by(2) {
            c.regions[stage].blocked = c.worth_blocks(stage);
        }
        if (1..stages).step_by(2).all(|s| c.regions[s].members.is_empty()) {
            let why = match c.s.examples {
                0 | 1 => "not in blocks: there is no batch",
                _ => "not in blocks: no operation treats the examples of the batch alike",
            };
            c.note(0, why);
        }
        c
    }

    fn run(mut self) -> Compiled {
        self.provide();
        for stage in 0..self.regions.len() {
            let region = std::mem::take(&mut self.regions[stage]);
            if region.blocked {
                self.blocks(&region.members);
            } else {
                self.whole_stage(&region.members);
            }
            self.regions[stage] = region;
        }
        self.deliver();
        let arena = self.settle_arena();
        Compiled {
            program: self.p,
            stages: self.stages,
            wholes: self.wholes,
            arena,
            local: self.local,
            sums: self.sums,
            fresh: self.fresh,
            notes: self.notes,
        }
    }

    fn note(&mut self, instruction: usize, text: impl Into<String>) {
        self.notes.push(Note { instruction, text: text.into() });
    }

    fn specs(&self, slots: &[usize]) -> Vec<Spec> {
        slots.iter().map(|s| self.p.slots[*s].clone()).collect()
    }

    /// Does this instruction only look at its operand in another way?
    fn is_view(&self, i: usize) -> bool {
        let x = &self.p.instructions[i];
        matches!(x.inputs[..], [only] if x.op.view(&Layout::packed(self.p.slots[only].shape)).is_some())
    }

    // ---- which regions run in blocks ----

    /// Blocks keep what examples touch in the cache, at the price of sums for every group.
    fn worth_blocks(&mut self, stage: usize) -> bool {
        let members = self.regions[stage].members.clone();
        let Some(&first) = members.first() else { return false };
        let n = self.s.examples;
        if n < LANES {
            self.note(first, format!("not in blocks: {n} examples are fewer than the {LANES} of a block"));
            return false;
        }
        let offered = |i: &&usize| {
            let (specs, axes) = (self.block_specs(**i, LANES), &self.s.axes[**i]);
            self.block_op(**i, LANES).lanes(&specs, axes, &[]).is_some()
        };
        if members.iter().find(offered).is_none() {
            self.note(first, "not in blocks: no operation here has a kernel for examples side by side");
            return false;
        }
        let bytes = |kind: Kind| -> usize {
            let of = members.iter().filter(|i| self.s.kind[**i] == kind && !self.is_view(**i));
            of.flat_map(|i| &self.p.instructions[*i].outputs).map(|s| self.p.slots[*s].bytes()).sum()
        };
        let (each, sums) = (bytes(Kind::Each), bytes(Kind::Sums) * groups(n));
        if each < sums {
            self.note(
                first,
                format!("not in blocks: {sums} bytes of sums for {} groups would move more than the {each} bytes of activations", groups(n)),
            );
        }
        each >= sums
    }

    /// The operation for a block of `n` examples.
    fn block_op(&self, i: usize, n: usize) -> Arc<dyn Op> {
        let x = &self.p.instructions[i];
        x.op.for_examples(&self.specs(&x.inputs), &self.s.axes[i], n).unwrap_or_else(|| x.op.clone())
    }

    /// Its operands for a block of `n` examples.
    fn block_specs(&self, i: usize, n: usize) -> Vec<Spec> {
        let x = &self.p.instructions[i];
        let specs = self.specs(&x.inputs).into_iter().zip(&self.s.axes[i]);
        specs.map(|(s, a)| a.map_or_else(|| s.clone(), |a| s.with(s.shape.with(a, n)))).collect()
    }

    // ---- whole values ----

    fn new_whole(&mut self, at: Whole, bytes: usize) -> usize {
        self.wholes.push((at, bytes));
        self.wholes.len() - 1
    }

    /// What is there before the step begins, and what leaves it.
    fn provide(&mut self) {
        let constants = self.p.constants.iter().map(|(i, _)| *i);
        let given: Vec<usize> =
            self.p.inputs.iter().copied().chain(constants).chain(self.p.reads.iter().map(|r| r.1)).collect();
        for slot in given {
            let base = self.new_whole(Whole::Given(slot), self.p.slots[slot].bytes());
            self.whole.insert(slot, (base, Layout::packed(self.p.slots[slot].shape)));
        }
        let leaving: Vec<usize> =
            self.p.outputs.iter().copied().chain(self.p.writes.iter().map(|w| w.1)).collect();
        for slot in leaving {
            if self.fresh.iter().any(|f| f.0 == slot) {
                continue;
            }
            let base = self.new_whole(Whole::Fresh(slot), self.p.slots[slot].bytes());
            self.fresh.push((slot, base));
            // A value made by a kernel is made where it leaves, also under another shape; any other is copied there.
            let made = self.behind(slot);
            if self.s.maker[made].is_some() && !self.whole.contains_key(&made) {
                self.whole.insert(made, (base, Layout::packed(self.p.slots[made].shape)));
            }
        }
    }

    /// The value that this one shows under another shape, or itself.
    fn behind(&self, mut slot: usize) -> usize {
        while let Some(i) = self.s.maker[slot] {
            let from = &self.p.instructions[i].inputs;
            let [only] = from[..] else { break };
            let packed = Layout::packed(self.p.slots[only].shape);
            match self.p.instructions[i].op.view(&packed) {
                Some(l) if l.is_packed() && l.offset == 0 && l.shape.len() == packed.shape.len() => slot = only,
                _ => break,
            }
        }
        slot
    }

    fn deliver(&mut self) {
        for (slot, base) in self.fresh.clone() {
            let from = self.see(slot);
            if from.0 != base {
                let spec = self.p.slots[slot].clone();
                let x = self.place(from, spec.dtype);
                let y = Place::packed(Base::Whole(base), spec.shape, spec.dtype);
                let instruction = self.s.maker[slot].unwrap_or(0);
                self.copy(x, (y, spec), instruction);
            }
        }
    }

    fn place(&self, (base, layout): (usize, Layout), dtype: DType) -> Place {
        Place { base: Base::Whole(base), layout, dtype, advance: 0 }
    }

    fn copy(&mut self, x: Place, y: (Place, Spec), instruction: usize) {
        let code =
            Code { kernel: Kernel::Copy, inputs: vec![x], outputs: vec![y], scratch: None, instruction };
        self.stages.push(Stage::Code(code));
    }

    /// The whole value of a slot; views are seen through, values to come get their place.
    fn see(&mut self, slot: usize) -> (usize, Layout) {
        if let Some(found) = self.whole.get(&slot) {
            return *found;
        }
        if let Some(i) = self.s.maker[slot].filter(|i| self.is_view(*i)) {
            let from = self.see(self.p.instructions[i].inputs[0]);
            if let Some(layout) = self.p.instructions[i].op.view(&from.1) {
                self.whole.insert(slot, (from.0, layout));
                return (from.0, layout);
            }
            // The operand lies so that this is no view of it: a copy of that is.
            let packed = self.see_packed(self.p.instructions[i].inputs[0]);
            let layout = self.p.instructions[i].op.view(&packed.1).expect("a view of what is packed");
            self.whole.insert(slot, (packed.0, layout));
            return (packed.0, layout);
        }
        let spec = self.p.slots[slot].clone();
        let base = self.new_whole(Whole::Arena(0), spec.bytes());
        self.whole.insert(slot, (base, Layout::packed(spec.shape)));
        (base, Layout::packed(spec.shape))
    }

    fn see_packed(&mut self, slot: usize) -> (usize, Layout) {
        let from = self.see(slot);
        if from.1.is_packed() {
            return from;
        }
        if let Some(found) = self.packed.get(&slot) {
            return *found;
        }
        let spec = self.p.slots[slot].clone();
        let base = self.new_whole(Whole::Arena(0), spec.bytes());
        let to = (base, Layout::packed(spec.shape));
        let (x, y) = (self.place(from, spec.dtype), self.place(to, spec.dtype));
        let instruction = self.s.maker[slot].unwrap_or(0);
        self.copy(x, (y, spec), instruction);
        self.packed.insert(slot, to);
        to
    }

    /// Instructions one by one, chains of elementwise ones together.
    fn whole_stage(&mut self, members: &[usize]) {
        let mut chain: Vec<usize> = Vec::new();
        for &i in members {
            if self.is_view(i) {
                continue;
            }
            let x = &self.p.instructions[i];
            let (ins, outs) = (self.specs(&x.inputs), self.specs(&x.outputs));
            let inside = |slot: &usize| self.root(*slot).is_some_and(|m| chain.contains(&m));
            let depends = x.inputs.iter().any(inside);
            // Inside a chain an element sees elements at its own place: no view but the value itself.
            let direct =
                x.inputs.iter().all(|s| !inside(s) || self.s.maker[*s].is_some_and(|m| chain.contains(&m)));
            let joins = pointwise(&*x.op, &ins, &outs) && outs[0].shape.len() > 1;
            let alike = |j: &usize| {
                self.p.slots[self.p.instructions[*j].outputs[0]].shape.len() == outs[0].shape.len()
            };
            if joins && direct && chain.first().is_none_or(alike) {
                chain.push(i);
            } else if joins {
                self.chain(&mut chain);
                chain.push(i);
            } else {
                if depends {
                    self.chain(&mut chain);
                }
                self.single(i);
            }
        }
        self.chain(&mut chain);
    }

    /// The instruction that computes what this slot looks at.
    fn root(&self, slot: usize) -> Option<usize> {
        let i = self.s.maker[slot]?;
        if self.is_view(i) { self.root(self.p.instructions[i].inputs[0]) } else { Some(i) }
    }

    /// One instruction on whole values.
    fn single(&mut self, i: usize) {
        let (op, slots) = (self.p.instructions[i].op.clone(), self.p.instructions[i].inputs.clone());
        let specs = self.specs(&slots);
        let mut inputs = Vec::new();
        for (j, slot) in slots.iter().enumerate() {
            let from = if op.packed(j) { self.see_packed(*slot) } else { self.see(*slot) };
            inputs.push(self.place(from, specs[j].dtype));
        }
        let mut outputs = Vec::new();
        for slot in self.p.instructions[i].outputs.clone() {
            let spec = self.p.slots[slot].clone();
            let to = self.see(slot);
            outputs.push((self.place(to, spec.dtype), spec));
        }
        let bytes = op.scratch(&specs);
        let scratch = (bytes > 0).then(|| (Base::Whole(self.new_whole(Whole::Arena(0), bytes)), bytes));
        self.stages.push(Stage::Code(Code {
            kernel: Kernel::Op(op),
            inputs,
            outputs,
            scratch,
            instruction: i,
        }));
    }

    /// Elementwise instructions on values of one shape, a stretch of elements at a time.
    fn chain(&mut self, chain: &mut Vec<usize>) {
        let members = std::mem::take(chain);
        match members[..] {
            [] => return,
            [only] => return self.single(only),
            _ => {}
        }
        let made: Vec<usize> =
            members.iter().flat_map(|i| self.p.instructions[*i].outputs.iter().copied()).collect();
        let n = self.p.slots[made[0]].shape.len();
        // Read by others, later: whole. The rest stays inside.
        let leaves =
            |s: &usize| self.whole.contains_key(s) || self.s.readers[*s].iter().any(|r| !members.contains(r));
        let leaving: Vec<usize> = made.iter().copied().filter(leaves).collect();
        let mut given: HashMap<usize, Place> = HashMap::new();
        for slot in members.iter().flat_map(|i| self.p.instructions[*i].inputs.to_vec()).collect::<Vec<_>>() {
            if made.contains(&slot) || given.contains_key(&slot) {
                continue;
            }
            let from = self.see(slot);
            let constant = from.1.strides().iter().zip(&from.1.shape[..]).all(|(s, n)| *s == 0 || *n == 1);
            let dtype = self.p.slots[slot].dtype;
            let place = match constant {
                true => Place {
                    layout: Layout::constant(n.into()).starting(from.1.offset),
                    ..self.place(from, dtype)
                },
                false => {
                    let packed = self.see_packed(slot);
                    Place { advance: 1, ..self.place(packed, dtype).flat() }
                }
            };
            given.insert(slot, place);
        }
        let mut targets = HashMap::new();
        for slot in leaving {
            let at = self.see(slot);
            targets.insert(slot, Place { advance: 1, ..self.place(at, self.p.slots[slot].dtype).flat() });
        }
        let mut local = 0;
        let mut build = |size: usize| -> Vec<Code> {
            let mut bytes = Vec::new();
            let mut inside: HashMap<usize, Place> = HashMap::new();
            let mut codes = Vec::new();
            let cut = |p: &Place| {
                let layout =
                    if p.advance == 0 { Layout::constant(size.into()) } else { Layout::packed(size.into()) };
                Place { layout: layout.starting(p.layout.offset), ..p.clone() }
            };
            for &i in &members {
                let x = &self.p.instructions[i];
                let inputs =
                    x.inputs.iter().map(|s| inside.get(s).cloned().unwrap_or_else(|| cut(&given[s])));
                let inputs = inputs.collect();
                let mut outputs = Vec::new();
                for slot in &x.outputs {
                    let spec = self.p.slots[*slot].with(size);
                    let place = targets.get(slot).map(cut).unwrap_or_else(|| {
                        bytes.push(spec.bytes());
                        Place::packed(Base::Local(bytes.len() - 1), spec.shape, spec.dtype)
                    });
                    inside.insert(*slot, place.clone());
                    outputs.push((place, spec));
                }
                let kernel = Kernel::Op(x.op.clone());
                codes.push(Code { kernel, inputs, outputs, scratch: None, instruction: i });
            }
            local = local.max(settle(&mut codes, &bytes));
            codes
        };
        let (full, rest) = (build(STRETCH), build(n % STRETCH));
        self.local = self.local.max(local);
        let groups = if n < SPREAD { 1 } else { n.div_ceil(4 * STRETCH) };
        self.stages.push(Stage::Chain(Blocks {
            examples: n,
            size: STRETCH,
            groups,
            before: Vec::new(),
            full,
            rest: if n.is_multiple_of(STRETCH) { Vec::new() } else { rest },
            local,
            sums: Vec::new(),
            sum_bytes: 0,
        }));
    }

    // ---- blocks ----

    fn blocks(&mut self, members: &[usize]) {
        let n = self.s.examples;
        let outside = |slot: &usize| {
            self.fresh.iter().any(|f| f.0 == *slot)
                || self.s.readers[*slot].iter().any(|r| !members.contains(r))
        };
        // What others read is whole; of a view, the value behind it.
        let mut needed: Vec<usize> = Vec::new();
        for i in members {
            for slot in self.p.instructions[*i].outputs.iter().filter(|s| outside(s)) {
                let mut slot = *slot;
                while let Some(v) = self.s.maker[slot].filter(|v| members.contains(v) && self.is_view(*v)) {
                    slot = self.p.instructions[v].inputs[0];
                }
                if self.s.maker[slot].is_some_and(|m| members.contains(&m)) {
                    needed.push(slot);
                }
            }
        }
        let mut targets: HashMap<usize, usize> = HashMap::new();
        let (mut sums, mut sum_bytes, mut starts) = (Vec::new(), 0, HashMap::new());
        for &i in members {
            for slot in self.p.instructions[i].outputs.clone() {
                let spec = self.p.slots[slot].clone();
                if self.s.kind[i] == Kind::Sums {
                    let (base, _) = self.see(slot);
                    starts.insert(slot, sum_bytes);
                    sums.push((sum_bytes, base, spec.clone()));
                    sum_bytes += spec.bytes().next_multiple_of(64);
                } else if needed.contains(&slot) {
                    targets.insert(slot, self.see(slot).0);
                }
            }
        }
        let mut before = Vec::new();
        let mut build = |c: &mut Self, size: usize| -> (Vec<Code>, usize) {
            let mut emitter = Emitter {
                c,
                members,
                size,
                held: HashMap::new(),
                bytes: Vec::new(),
                codes: Vec::new(),
                before: &mut before,
                targets: &targets,
                sums: &starts,
                done: Vec::new(),
            };
            members.iter().for_each(|i| emitter.emit(*i));
            let (mut codes, bytes) = (emitter.codes, emitter.bytes);
            let local = settle(&mut codes, &bytes);
            (codes, local)
        };
        let (full, local) = build(self, LANES);
        let (rest, more) = if n.is_multiple_of(LANES) { (Vec::new(), 0) } else { build(self, n % LANES) };
        let local = local.max(more);
        let groups = groups(n);
        self.local = self.local.max(local);
        self.sums = self.sums.max(groups * sum_bytes);
        self.stages.push(Stage::Blocks(Blocks {
            examples: n,
            size: LANES,
            groups,
            before,
            full,
            rest,
            local,
            sums,
            sum_bytes,
        }));
    }

    /// Whole values that live at different times share the arena.
    fn settle_arena(&mut self) -> usize {
        let mut lives: Vec<(usize, usize, usize)> =
            self.wholes.iter().map(|w| (w.1, usize::MAX, 0)).collect();
        for (at, stage) in self.stages.iter().enumerate() {
            let mut seen = |base: Base| {
                if let Base::Whole(i) = base {
                    (lives[i].1, lives[i].2) = (lives[i].1.min(at), lives[i].2.max(at));
                }
            };
            let mut code = |code: &Code| {
                code.inputs.iter().chain(code.outputs.iter().map(|o| &o.0)).for_each(|p| seen(p.base));
                code.scratch.iter().for_each(|s| seen(s.0));
            };
            match stage {
                Stage::Code(c) => code(c),
                Stage::Blocks(b) | Stage::Chain(b) => {
                    b.before.iter().chain(&b.full).chain(&b.rest).for_each(&mut code);
                    b.sums.iter().for_each(|s| seen(Base::Whole(s.1)));
                }
            }
        }
        let inside: Vec<usize> =
            (0..self.wholes.len()).filter(|i| matches!(self.wholes[*i].0, Whole::Arena(_))).collect();
        let (starts, total) = share_out(&inside.iter().map(|i| lives[*i]).collect::<Vec<_>>());
        inside.iter().zip(starts).for_each(|(i, start)| self.wholes[*i].0 = Whole::Arena(start));
        total
    }
}

/// Groups of blocks for a batch of `n`: enough to share out, few enough that their sums stay small.
fn groups(n: usize) -> usize {
    let blocks = n.div_ceil(LANES);
    (blocks / 4).clamp(blocks.min(4), 16)
}

/// Emits the codes of a region for blocks of one size.
struct Emitter<'a> {
    c: &'a mut Compiler,
    members: &'a [usize],
    size: usize,
    /// Slot, and whether it is sliced → the forms in which it is there, as the operation sees its axes.
    held: HashMap<(usize, bool), Vec<Place>>,
    /// Bytes of the local buffers.
    bytes: Vec<usize>,
    codes: Vec<Code>,
    before: &'a mut Vec<Code>,
    /// Slot → the whole value it is part of.
    targets: &'a HashMap<usize, usize>,
    /// Slot → its first byte in the group's sums.
    sums: &'a HashMap<usize, usize>,
    /// Instructions done together with one before.
    done: Vec<usize>,
}

/// Do the examples lie side by side, the rest in order around them?
fn in_lanes(layout: &Layout, axis: usize) -> bool {
    let (shape, strides) = (layout.shape, layout.strides());
    if shape[axis] != LANES || strides[axis] != 1 {
        return false;
    }
    let mut step = LANES as isize;
    for a in (0..shape.rank()).rev().filter(|a| *a != axis) {
        if shape[a] != 1 && strides[a] != step {
            return false;
        }
        step *= shape[a] as isize;
    }
    true
}

/// `[…][16]`: the shape without its batch axis, then the lanes.
fn lanes_shape(shape: &Shape, axis: usize) -> Shape {
    let rest = shape.iter().enumerate().filter(|(a, _)| *a != axis).map(|(_, n)| *n);
    Shape::new(&rest.chain([LANES]).collect::<Vec<_>>())
}

/// A packed `[…][16]` as the operation sees its axes.
fn seen_from_lanes(shape: &Shape, axis: usize) -> Layout {
    let packed = Layout::packed(lanes_shape(shape, axis));
    let mut strides: Vec<isize> = packed.strides().to_vec();
    let lane = strides.pop().unwrap_or(1);
    strides.insert(axis, lane);
    Layout::new(*shape, &strides, 0)
}

impl Emitter<'_> {
    fn emit(&mut self, i: usize) {
        if self.done.contains(&i) {
            return;
        }
        let op = self.c.block_op(i, self.size);
        let (specs, axes) = (self.c.block_specs(i, self.size), self.c.s.axes[i].clone());
        if self.c.is_view(i) && self.view(i, &*op) {
            return;
        }
        if self.size == LANES {
            if let Some((together, lanes)) = self.fuse(i, &*op, &specs, &axes) {
                return self.side_by_side(&together, lanes);
            }
            if let Some(lanes) = op.lanes(&specs, &axes, &[]) {
                return self.side_by_side(&[i], lanes);
            }
        }
        self.rows(i, op, &specs, &axes);
    }

    /// A view, in every form in which it is one.
    fn view(&mut self, i: usize, op: &dyn Op) -> bool {
        let (slot, out) = (self.c.p.instructions[i].inputs[0], self.c.p.instructions[i].outputs[0]);
        let forms = self.forms(slot, self.c.s.axes[i][0]);
        let seen = |p: &Place| op.view(&p.layout).map(|layout| Place { layout, ..p.clone() });
        let seen: Vec<Place> = forms.iter().filter_map(seen).collect();
        let any = !seen.is_empty();
        if any {
            self.held.insert((out, true), seen);
        }
        any
    }

    /// The forms of an operand that are there.
    fn forms(&mut self, slot: usize, axis: Option<usize>) -> Vec<Place> {
        if let Some(forms) = self.held.get(&(slot, axis.is_some())) {
            return forms.clone();
        }
        let (base, layout) = self.c.see(slot);
        let mut place = self.c.place((base, layout), self.c.p.slots[slot].dtype);
        if let Some(a) = axis {
            place.advance = layout.strides()[a];
            place.layout = Layout::new(layout.shape.with(a, self.size), layout.strides(), layout.offset);
        }
        self.held.insert((slot, axis.is_some()), vec![place.clone()]);
        vec![place]
    }

    fn hold(&mut self, slot: usize, sliced: bool, place: Place) {
        self.held.entry((slot, sliced)).or_default().push(place);
    }

    fn local(&mut self, bytes: usize) -> Base {
        self.bytes.push(bytes);
        Base::Local(self.bytes.len() - 1)
    }

    /// Emit a copy into new memory: once for all blocks where the source is the same for all.
    fn into_new(&mut self, kernel: Kernel, from: Place, shape: Shape, i: usize) -> Place {
        let spec = Spec { shape, dtype: from.dtype, device: crate::Device::cpu() };
        let shared = matches!(from.base, Base::Whole(_)) && from.advance == 0;
        let base = match shared {
            true => Base::Whole(self.c.new_whole(Whole::Arena(0), spec.bytes())),
            false => self.local(spec.bytes()),
        };
        let to = Place::packed(base, shape, from.dtype);
        let code = Code {
            kernel,
            inputs: vec![from],
            outputs: vec![(to.clone(), spec)],
            scratch: None,
            instruction: i,
        };
        if shared {
            self.before.push(code)
        } else {
            self.codes.push(code)
        }
        to
    }

    /// The operand with examples side by side, as `[…][16]`.
    fn lanes_of(&mut self, slot: usize, axis: usize, i: usize) -> Place {
        let forms = self.forms(slot, Some(axis));
        let shape = forms[0].layout.shape;
        let packed = |p: &Place| Place {
            layout: Layout::packed(lanes_shape(&shape, axis)).starting(p.layout.offset),
            ..p.clone()
        };
        if let Some(found) = forms.iter().find(|p| in_lanes(&p.layout, axis)) {
            return packed(found);
        }
        let to = lanes_shape(&shape, axis);
        let place = match forms.iter().find(|p| axis == 0 && p.layout.is_packed()) {
            Some(rows) => {
                let columns = shape.len() / LANES;
                self.into_new(Kernel::Transpose { rows: LANES, columns }, rows.clone(), to, i)
            }
            None => {
                let from = &forms[0];
                let mut strides = from.layout.strides().to_vec();
                let lane = strides.remove(axis);
                strides.push(lane);
                let from = Place { layout: Layout::new(to, &strides, from.layout.offset), ..from.clone() };
                self.into_new(Kernel::Copy, from, to, i)
            }
        };
        self.hold(slot, true, Place { layout: seen_from_lanes(&shape, axis), ..place.clone() });
        place
    }

    /// The operand with examples one after another, or shared by them; packed where that is wanted.
    fn rows_of(&mut self, slot: usize, axis: Option<usize>, packed: bool, i: usize) -> Place {
        let forms = self.forms(slot, axis);
        let fits = |p: &&Place| match axis {
            Some(a) if in_lanes(&p.layout, a) && p.layout.shape.len() > LANES => false,
            _ => !packed || p.layout.is_packed(),
        };
        if let Some(found) = forms.iter().find(|p| p.layout.is_packed()).or_else(|| forms.iter().find(fits)) {
            return found.clone();
        }
        let shape = forms[0].layout.shape;
        let place = match forms.iter().find(|p| axis == Some(0) && in_lanes(&p.layout, 0)) {
            Some(lanes) => {
                let rows = shape.len() / LANES;
                let layout = Layout::packed([rows, LANES].into()).starting(lanes.layout.offset);
                let from = Place { layout, ..lanes.clone() };
                self.into_new(Kernel::Transpose { rows, columns: LANES }, from, shape, i)
            }
            None => self.into_new(Kernel::Copy, forms[0].clone(), shape, i),
        };
        self.hold(slot, axis.is_some(), place.clone());
        place
    }

    /// Readers that this instruction's kernel can take with it, and that kernel.
    fn fuse(
        &mut self,
        i: usize,
        op: &dyn Op,
        specs: &[Spec],
        axes: &[Option<usize>],
    ) -> Option<(Vec<usize>, Lanes)> {
        let mut chain = vec![i];
        while chain.len() < 4 {
            let [only] = self.c.p.instructions[chain[chain.len() - 1]].outputs[..] else { break };
            let [next] = self.c.s.readers[only][..] else { break };
            let [first, further @ ..] = &self.c.p.instructions[next].inputs[..] else { break };
            let stays = !self.targets.contains_key(&only) && !self.sums.contains_key(&only);
            // What else is read must be there already.
            let later = |s: &usize| self.c.s.maker[*s].is_some_and(|m| m > i && self.members.contains(&m));
            let sliced = self.c.s.axes[next].iter().all(Option::is_some);
            let fits = stays && *first == only && sliced && !further.iter().any(later);
            if !fits || !self.members.contains(&next) || self.c.is_view(next) {
                break;
            }
            chain.push(next);
        }
        while chain.len() > 1 {
            let then: Vec<Arc<dyn Op>> = chain[1..].iter().map(|j| self.c.block_op(*j, self.size)).collect();
            let then: Vec<&dyn Op> = then.iter().map(|o| &**o).collect();
            if let Some(lanes) = op.lanes(specs, axes, &then) {
                let names: Vec<&str> = chain.iter().map(|j| self.c.p.instructions[*j].op.name()).collect();
                self.c.note(i, format!("one kernel: {}", names.join(" + ")));
                self.done.extend(&chain);
                return Some((chain, lanes));
            }
            chain.pop();
        }
        None
    }

    /// A kernel for examples side by side, of these instructions.
    fn side_by_side(&mut self, together: &[usize], lanes: Lanes) {
        let (first, last) = (together[0], together[together.len() - 1]);
        let mut inputs = Vec::new();
        for (k, i) in together.iter().enumerate() {
            let (op, slots) =
                (self.c.p.instructions[*i].op.clone(), self.c.p.instructions[*i].inputs.clone());
            for (j, slot) in slots.iter().enumerate().skip(usize::from(k > 0)) {
                let place = match self.c.s.axes[*i][j] {
                    Some(a) => self.lanes_of(*slot, a, first),
                    None => self.rows_of(*slot, None, op.packed(j), first),
                };
                inputs.push(place);
            }
        }
        let sums = self.c.s.kind[last] == Kind::Sums;
        let scratch = (lanes.scratch > 0).then(|| (self.local(lanes.scratch), lanes.scratch));
        let mut outputs = Vec::new();
        for slot in self.c.p.instructions[last].outputs.clone() {
            let spec = self.c.p.slots[slot].clone();
            if sums {
                outputs.push((Place::packed(Base::Sum(self.sums[&slot]), spec.shape, spec.dtype), spec));
                continue;
            }
            let axis = self.c.s.axis[slot].unwrap_or(0);
            let shape = spec.shape.with(axis, LANES);
            let to = spec.with(lanes_shape(&shape, axis));
            let base = self.local(to.bytes());
            let place = Place::packed(base, to.shape, to.dtype);
            self.hold(slot, true, Place { layout: seen_from_lanes(&shape, axis), ..place.clone() });
            outputs.push((place, to));
        }
        self.codes.push(Code { kernel: Kernel::Lanes(lanes), inputs, outputs, scratch, instruction: last });
        for slot in self.c.p.instructions[last].outputs.clone() {
            self.export(slot, last);
        }
    }

    /// Put this block's part of a value where the whole of it is needed.
    fn export(&mut self, slot: usize, i: usize) {
        let Some(&base) = self.targets.get(&slot) else { return };
        let spec = self.c.p.slots[slot].clone();
        let shape = spec.shape.with(0, self.size);
        let advance = (spec.shape.len() / spec.shape[0].max(1)) as isize;
        let to = Place { advance, ..Place::packed(Base::Whole(base), shape, spec.dtype) };
        let forms = self.forms(slot, Some(0));
        if forms.iter().any(|p| p.base == to.base) {
            return;
        }
        let (kernel, from) = match forms.iter().find(|p| in_lanes(&p.layout, 0)) {
            Some(lanes) => {
                let rows = shape.len() / LANES;
                let layout = Layout::packed([rows, LANES].into()).starting(lanes.layout.offset);
                (Kernel::Transpose { rows, columns: LANES }, Place { layout, ..lanes.clone() })
            }
            None => (Kernel::Copy, forms[0].clone()),
        };
        let outputs = vec![(to.clone(), spec.with(shape))];
        self.codes.push(Code { kernel, inputs: vec![from], outputs, scratch: None, instruction: i });
        self.hold(slot, true, to);
    }

    /// The operation's own kernel on the block; elementwise ones take examples as they lie.
    fn rows(&mut self, i: usize, op: Arc<dyn Op>, specs: &[Spec], axes: &[Option<usize>]) {
        let x = &self.c.p.instructions[i];
        let (slots, outs) = (x.inputs.clone(), x.outputs.clone());
        let made: Vec<Spec> = outs
            .iter()
            .map(|s| {
                let spec = &self.c.p.slots[*s];
                self.c.s.axis[*s].map_or_else(|| spec.clone(), |a| spec.with(spec.shape.with(a, self.size)))
            })
            .collect();
        let elementwise = self.c.s.kind[i] == Kind::Each && pointwise(&*op, specs, &made);
        if elementwise && self.size == LANES && axes.iter().all(|a| *a == axes[0]) {
            let axis = axes[0].unwrap_or(0);
            let lies = |s: &usize, c: &mut Self| {
                c.forms(*s, Some(axis)).iter().any(|p| in_lanes(&p.layout, axis))
                    && specs[0].shape.len() > LANES
            };
            if slots.iter().any(|s| lies(s, self)) {
                return self.elementwise_lanes(i, op, axis, &slots, &outs);
            }
        }
        let mut inputs = Vec::new();
        for (j, slot) in slots.iter().enumerate() {
            inputs.push(self.rows_of(*slot, axes[j], op.packed(j), i));
        }
        let bytes = op.scratch(specs);
        let scratch = (bytes > 0).then(|| (self.local(bytes), bytes));
        let mut outputs = Vec::new();
        for (slot, spec) in outs.iter().zip(&made) {
            let place = match self.targets.get(slot) {
                Some(base) if self.c.s.kind[i] == Kind::Each => {
                    let advance = (spec.shape.len() / self.size.max(1)) as isize;
                    Place { advance, ..Place::packed(Base::Whole(*base), spec.shape, spec.dtype) }
                }
                _ => {
                    let base = self.local(spec.bytes());
                    Place::packed(base, spec.shape, spec.dtype)
                }
            };
            if self.c.s.kind[i] == Kind::Each {
                self.hold(*slot, true, place.clone());
            }
            outputs.push((place, spec.clone()));
        }
        let parts: Vec<(Place, Spec)> = outputs.clone();
        self.codes.push(Code { kernel: Kernel::Op(op), inputs, outputs, scratch, instruction: i });
        if self.c.s.kind[i] == Kind::Sums {
            for (slot, (part, spec)) in outs.iter().zip(parts) {
                let to = Place::packed(Base::Sum(self.sums[slot]), spec.shape, spec.dtype);
                let code = Code {
                    kernel: Kernel::Add,
                    inputs: vec![part],
                    outputs: vec![(to, spec)],
                    scratch: None,
                    instruction: i,
                };
                self.codes.push(code);
            }
        }
    }

    fn elementwise_lanes(&mut self, i: usize, op: Arc<dyn Op>, axis: usize, slots: &[usize], outs: &[usize]) {
        let inputs: Vec<Place> = slots.iter().map(|s| self.lanes_of(*s, axis, i).flat()).collect();
        let mut outputs = Vec::new();
        for slot in outs {
            let spec = self.c.p.slots[*slot].clone();
            let shape = spec.shape.with(axis, LANES);
            let flat = spec.with(shape.len());
            let base = self.local(flat.bytes());
            let place = Place::packed(base, flat.shape, flat.dtype);
            self.hold(*slot, true, Place { layout: seen_from_lanes(&shape, axis), ..place.clone() });
            outputs.push((place, flat));
        }
        self.codes.push(Code { kernel: Kernel::Op(op), inputs, outputs, scratch: None, instruction: i });
        outs.iter().for_each(|s| self.export(*s, i));
    }
}
