//! From a recorded program to codes: what is whole, what runs in blocks, where everything lies.

mod emit;

use std::{collections::HashMap, sync::Arc};

use super::{
    blocks::{Blocks, settle},
    code::{Base, Code, Kernel, Place, pointwise, share_out},
    record::Program,
    schedule::{Kind, Schedule},
};
use crate::{
    cell::Cell,
    device::cpu::fused::{Fused, Line, Verb},
    ops::{Arithmetic, Elementwise, LANES, Op, view},
    tensor::{DType, Layout, Spec},
};

/// Elements of a chain computed at a time: enough to forget the call, few enough for the second-level cache.
const STRETCH: usize = 4096;

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
    /// Chains of elementwise operations, of which none reads what another writes.
    Chains(Vec<Blocks>),
}

/// The last stage reads a cell element by element, and writes what it becomes at the same places: once that stage
/// begins nothing can go wrong any more, and nobody else needs the old value.
pub(crate) struct Update {
    /// The cell.
    pub cell: Arc<Cell>,
    /// The slot of its old value.
    pub old: usize,
    /// The number of its new value among [`Compiled::fresh`].
    pub fresh: usize,
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
    /// Cells whose new value may be written over the old one.
    pub in_place: Vec<Update>,
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
        let in_place = self.in_place();
        if let Some(first) = in_place.first() {
            let maker = self.s.maker[self.fresh[first.fresh].0].unwrap_or(0);
            self.note(maker, format!("{} cells get their new values in place of the old", in_place.len()));
        }
        Compiled {
            in_place,
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
            if specs.iter().zip(axes).all(|(s, a)| a.is_none() || s.shape.len() == LANES) {
                return false;
            }
            self.block_op(**i, LANES).lanes(&specs, axes, &[]).is_some()
        };
        // The whole batch at once, unless a kernel in blocks leaves most of the work out.
        let sparse = |i: &usize| {
            let (op, specs) = (self.block_op(*i, LANES), self.block_specs(*i, LANES));
            self.p.instructions[*i].inputs.iter().enumerate().any(|(j, slot)| {
                let maker = self.s.maker[*slot].filter(|m| members.contains(m));
                maker.is_some_and(|m| {
                    op.lanes_from(&specs, &self.s.axes[*i], j, &*self.block_op(m, LANES)).is_some()
                })
            })
        };
        let faster = |i: &&usize| {
            let x = &self.p.instructions[**i];
            x.op.recorded(&self.specs(&x.inputs)).is_some()
        };
        if let Some(&i) = members.iter().find(faster)
            && !members.iter().any(sparse)
        {
            let name = self.p.instructions[i].op.name();
            self.note(i, format!("not in blocks: {name} has a faster kernel for the whole batch"));
            return false;
        }
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
        for (slot, value) in self.p.constants.clone() {
            let (spec, layout) = (self.p.slots[slot].clone(), value.value().layout);
            // One number all over stays one number.
            let (bytes, layout) = match is_constant(&layout) {
                true => (spec.dtype.size(), Layout::constant(spec.shape)),
                false => (spec.bytes(), Layout::packed(spec.shape)),
            };
            let base = self.new_whole(Whole::Given(slot), bytes);
            self.whole.insert(slot, (base, layout));
        }
        let given: Vec<usize> =
            self.p.inputs.iter().copied().chain(self.p.reads.iter().map(|r| r.1)).collect();
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
            match view(&*self.p.instructions[i].op, &packed) {
                Some(l) if l.is_packed() && l.offset == 0 && l.shape.len() == packed.shape.len() => {
                    slot = only
                }
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
        Place::new(Base::Whole(base), layout, dtype)
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
            if let Some(layout) = view(&*self.p.instructions[i].op, &from.1) {
                self.whole.insert(slot, (from.0, layout));
                return (from.0, layout);
            }
            // The operand lies so that this is no view of it: a copy of that is.
            let packed = self.see_packed(self.p.instructions[i].inputs[0]);
            let layout = view(&*self.p.instructions[i].op, &packed.1).expect("a view of what is packed");
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
        let (mut op, slots) = (self.p.instructions[i].op.clone(), self.p.instructions[i].inputs.clone());
        let specs = self.specs(&slots);
        if let Some((faster, how)) = op.recorded(&specs) {
            self.note(i, format!("{} {how}", op.name()));
            op = faster;
        }
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
            let packed = |i: &usize| {
                let x = &self.p.instructions[*i];
                x.inputs.iter().enumerate().any(|(j, s)| *s == slot && x.op.packed(j))
            };
            let constant = is_constant(&from.1) && !members.iter().any(packed);
            let dtype = self.p.slots[slot].dtype;
            let place = match constant {
                true => self.place((from.0, Layout::constant(n.into()).starting(from.1.offset)), dtype),
                false => {
                    let packed = self.see_packed(slot);
                    self.place(packed, dtype).flat().advancing(1)
                }
            };
            given.insert(slot, place);
        }
        let mut targets = HashMap::new();
        for slot in leaving {
            let at = self.see(slot);
            targets.insert(slot, self.place(at, self.p.slots[slot].dtype).flat().advancing(1));
        }
        let fused = self.fused(&members, &targets);
        let mut local = 0;
        let mut build = |size: usize| -> Vec<Code> {
            let mut bytes = Vec::new();
            let mut inside: HashMap<usize, Place> = HashMap::new();
            let mut codes = Vec::new();
            let cut = |p: &Place| {
                let layout =
                    if p.advance == 0 { Layout::constant(size.into()) } else { Layout::packed(size.into()) };
                p.seen(layout.starting(p.layout.offset))
            };
            if let Some((fused, x, y)) = &fused {
                bytes.push(fused.scratch());
                let outputs = y.iter().map(|s| (cut(&targets[s]), self.p.slots[*s].with(size))).collect();
                codes.push(Code {
                    kernel: Kernel::Fused(fused.clone()),
                    inputs: x.iter().map(|s| cut(&given[s])).collect(),
                    outputs,
                    scratch: Some((Base::Local(0), fused.scratch())),
                    instruction: members[members.len() - 1],
                });
                local = local.max(settle(&mut codes, &bytes));
                return codes;
            }
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
        // One pass needs no cache for what lies between.
        let stretch = if fused.is_some() {
            (n / 64).next_multiple_of(STRETCH).clamp(STRETCH, 16 * STRETCH)
        } else {
            STRETCH
        };
        let (full, rest) = (build(stretch), build(n % stretch));
        self.local = self.local.max(local);
        self.join(Blocks {
            examples: n,
            size: stretch,
            groups: 1,
            before: Vec::new(),
            full,
            rest: if n.is_multiple_of(stretch) { Vec::new() } else { rest },
            local,
            sums: Vec::new(),
            sum_bytes: 0,
        });
    }

    /// The members of a chain as one pass, with the slots that it reads and those that it writes; where all of them
    /// are operations that it knows.
    fn fused(
        &self,
        members: &[usize],
        targets: &HashMap<usize, Place>,
    ) -> Option<(Fused, Vec<usize>, Vec<usize>)> {
        let verb = |op: &dyn Op| {
            Some(match (op.is_a::<Arithmetic>(), op.is_a::<Elementwise>()) {
                (Some(Arithmetic::Add), _) => Verb::Add,
                (Some(Arithmetic::Sub), _) => Verb::Sub,
                (Some(Arithmetic::Mul), _) => Verb::Mul,
                (Some(Arithmetic::Div), _) => Verb::Div,
                (_, Some(Elementwise::Neg)) => Verb::Neg,
                (_, Some(Elementwise::Square)) => Verb::Square,
                (_, Some(Elementwise::Sqrt)) => Verb::Sqrt,
                (_, Some(Elementwise::Relu)) => Verb::Relu,
                _ => return None,
            })
        };
        let each = || members.iter().map(|i| &self.p.instructions[*i]);
        let made: Vec<usize> = each().map(|x| x.outputs[0]).collect();
        let (outputs, between): (Vec<usize>, Vec<usize>) = made.iter().partition(|s| targets.contains_key(s));
        let mut inputs: Vec<usize> = each().flat_map(|x| x.inputs.iter().copied()).collect();
        inputs.retain(|s| !made.contains(s));
        inputs.sort_unstable();
        inputs.dedup();
        let all = || inputs.iter().chain(&outputs).chain(&between);
        if all().any(|s| self.p.slots[*s].dtype != DType::F32) {
            return None;
        }
        let number = |slot: usize| all().position(|s| *s == slot).expect("read or made");
        let lines = members.iter().map(|&instruction| {
            let x = &self.p.instructions[instruction];
            let verb = verb(&*x.op)?;
            let from = [x.inputs[0], x.inputs[x.inputs.len() - 1]].map(number);
            Some(Line { verb, instruction, from, to: number(x.outputs[0]) })
        });
        Some((Fused { lines: lines.collect::<Option<_>>()?, values: all().count() }, inputs, outputs))
    }

    /// The cells that the last stage alone brings up to date, by passes that cannot fail.
    fn in_place(&self) -> Vec<Update> {
        let Some(Stage::Chains(chains)) = self.stages.last() else { return Vec::new() };
        fn codes(chain: &Blocks) -> impl Iterator<Item = &Code> {
            chain.full.iter().chain(&chain.rest)
        }
        if !chains.iter().flat_map(codes).all(|c| matches!(c.kernel, Kernel::Fused(_))) {
            return Vec::new();
        }
        // The only chain that uses a value, where it does so element by element.
        let user = |base: usize, of: fn(&Code) -> Vec<&Place>| {
            let uses = |chain: &Blocks| -> Vec<bool> {
                let places = codes(chain).flat_map(of).filter(|p| p.base == Base::Whole(base));
                places.map(|p| p.advance == 1 && p.layout.offset == 0).collect()
            };
            let mut users = chains.iter().map(uses).enumerate().filter(|(_, u)| !u.is_empty());
            let (first, others) = (users.next()?, users.next());
            (others.is_none() && first.1.iter().all(|each| *each)).then_some(first.0)
        };
        let update = |(cell, new): &(Arc<Cell>, usize)| {
            let old = self.p.reads.iter().find(|r| r.0.id == cell.id)?.1;
            let fresh = self.fresh.iter().position(|f| f.0 == *new)?;
            let alone =
                self.p.writes.iter().filter(|w| w.1 == *new).count() == 1 && !self.p.outputs.contains(new);
            let reader = user(self.whole[&old].0, |c| c.inputs.iter().collect())?;
            let writer = user(self.fresh[fresh].1, |c| c.outputs.iter().map(|o| &o.0).collect())?;
            (alone && reader == writer).then(|| Update { cell: cell.clone(), old, fresh })
        };
        self.p.writes.iter().filter_map(update).collect()
    }

    /// A chain goes to the chains before it, unless it needs something that is made since they began.
    fn join(&mut self, chain: Blocks) {
        let found = self.stages.iter().rposition(|stage| matches!(stage, Stage::Chains(_)));
        if let Some(at) = found {
            let apart = |stage: &Stage| match stage {
                Stage::Code(code) => apart(&chain, &[code]),
                Stage::Blocks(b) => {
                    let sums = b.sums.iter().map(|s| Base::Whole(s.1));
                    let codes: Vec<&Code> = b.before.iter().chain(b.codes()).collect();
                    apart(&chain, &codes) && sums.into_iter().all(|base| !touches(&chain, base))
                }
                Stage::Chains(chains) => chains.iter().all(|c| apart(&chain, &c.codes().collect::<Vec<_>>())),
            };
            if self.stages[at..].iter().all(apart)
                && let Stage::Chains(chains) = &mut self.stages[at]
            {
                return chains.push(chain);
            }
        }
        self.stages.push(Stage::Chains(vec![chain]));
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
            let (mut codes, bytes) = emit::codes(c, members, size, &mut before, &targets, &starts);
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
                Stage::Blocks(b) => {
                    b.before.iter().chain(&b.full).chain(&b.rest).for_each(&mut code);
                    b.sums.iter().for_each(|s| seen(Base::Whole(s.1)));
                }
                Stage::Chains(chains) => {
                    chains.iter().flat_map(|c| c.full.iter().chain(&c.rest)).for_each(&mut code);
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

/// Do a chain and these codes neither read nor write what the other writes?
fn apart(chain: &Blocks, codes: &[&Code]) -> bool {
    let whole = |base: &Base| matches!(base, Base::Whole(_));
    let written = |codes: &mut dyn Iterator<Item = &Code>| -> Vec<Base> {
        codes.flat_map(|c| c.outputs.iter().map(|o| o.0.base)).filter(whole).collect()
    };
    let (ours, theirs) = (written(&mut chain.codes()), written(&mut codes.iter().copied()));
    let read = |c: &&Code| c.inputs.iter().any(|p| ours.contains(&p.base));
    !theirs.iter().any(|base| touches(chain, *base)) && !codes.iter().any(read)
}

/// Does a chain read or write this value?
fn touches(chain: &Blocks, base: Base) -> bool {
    let places = |c: &Code| c.inputs.iter().chain(c.outputs.iter().map(|o| &o.0)).any(|p| p.base == base);
    chain.codes().any(places)
}

/// One element all over?
pub(crate) fn is_constant(layout: &Layout) -> bool {
    layout.strides().iter().zip(&layout.shape[..]).all(|(s, n)| *s == 0 || *n == 1)
}

/// Groups of blocks for a batch of `n`: enough to share out, few enough that their sums stay small.
fn groups(n: usize) -> usize {
    let blocks = n.div_ceil(LANES);
    (blocks / 4).clamp(blocks.min(4), 16)
}
