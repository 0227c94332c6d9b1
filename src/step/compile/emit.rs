//! The codes of a region for blocks of one size: in which form each value is there, one after another or side by
//! side, and which operations share a kernel.

use std::{collections::HashMap, sync::Arc};

use super::{Compiler, Whole};
use crate::{
    ops::{LANES, Lanes, Op, view},
    step::{
        code::{Base, Code, Kernel, Place, pointwise},
        schedule::Kind,
    },
    tensor::{Layout, Shape, Spec},
};

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
    /// Slot → its maker, not yet run: its readers may do without.
    waiting: HashMap<usize, usize>,
}

/// The codes for blocks of `size`, and the bytes of their local buffers; what all blocks share goes to `before`.
///
/// `targets` are whole values that blocks are parts of, `sums` first bytes in a group's sums.
pub(super) fn codes(
    c: &mut Compiler,
    members: &[usize],
    size: usize,
    before: &mut Vec<Code>,
    targets: &HashMap<usize, usize>,
    sums: &HashMap<usize, usize>,
) -> (Vec<Code>, Vec<usize>) {
    let (held, bytes, codes, done) = (HashMap::new(), Vec::new(), Vec::new(), Vec::new());
    let waiting = HashMap::new();
    let mut emitter = Emitter { c, members, size, held, bytes, codes, before, targets, sums, done, waiting };
    members.iter().for_each(|i| emitter.emit(*i));
    (emitter.codes, emitter.bytes)
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

/// How a value becomes rows: examples that lie side by side are transposed, anything else is copied.
fn to_rows(forms: &[Place], axis: Option<usize>) -> (Kernel, Place) {
    match forms.iter().find(|p| axis == Some(0) && in_lanes(&p.layout, 0)) {
        Some(lanes) => {
            let rows = lanes.layout.shape.len() / LANES;
            let layout = Layout::packed([rows, LANES].into()).starting(lanes.layout.offset);
            (Kernel::Transpose { rows, columns: LANES }, lanes.seen(layout))
        }
        None => (Kernel::Copy, forms[0].clone()),
    }
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
            if self.may_wait(i) {
                self.waiting.insert(self.c.p.instructions[i].outputs[0], i);
                return;
            }
            if let Some((maker, operand, lanes)) = self.past_maker(i, &*op, &specs, &axes) {
                let (makes, operand, lanes) =
                    self.pair(i, operand, maker).unwrap_or((vec![i], operand, lanes));
                let of = |i: &usize| self.c.p.instructions[*i].op.name();
                let names: Vec<&str> = makes.iter().map(of).collect();
                let note =
                    format!("one kernel: {} straight from what {} takes", names.join(" and "), of(&maker));
                self.c.note(i, note);
                let mut operands = self.operands(&makes[..1]);
                let read = operands[operand].0;
                operands.splice(operand..=operand, self.operands(&[maker]));
                for other in &makes[1..] {
                    operands.extend(self.operands(&[*other]).into_iter().filter(|o| o.0 != read));
                }
                self.done.extend(&makes);
                return self.side_by_side(&makes, operands, lanes);
            }
            if let Some((together, lanes)) = self.fuse(i, &*op, &specs, &axes) {
                let operands = self.operands(&together);
                return self.side_by_side(&together[together.len() - 1..], operands, lanes);
            }
        }
        self.emit_now(i);
    }

    /// With a kernel of its own, now.
    fn emit_now(&mut self, i: usize) {
        let op = self.c.block_op(i, self.size);
        let (specs, axes) = (self.c.block_specs(i, self.size), self.c.s.axes[i].clone());
        let lanes = (self.size == LANES).then(|| op.lanes(&specs, &axes, &[])).flatten();
        match lanes {
            Some(lanes) => {
                let operands = self.operands(&[i]);
                self.side_by_side(&[i], operands, lanes)
            }
            None => self.rows(i, op, &specs, &axes),
        }
    }

    /// Has this value a reader with a kernel that starts from what this instruction takes? Then it waits: if all
    /// its readers have, it is never made.
    fn may_wait(&self, i: usize) -> bool {
        let [out] = self.c.p.instructions[i].outputs[..] else { return false };
        let maker = self.c.block_op(i, LANES);
        let sliced = self.c.s.axes[i].iter().all(Option::is_some);
        let takes = |r: &usize| {
            let (specs, axes) = (self.c.block_specs(*r, LANES), &self.c.s.axes[*r]);
            let operand = self.c.p.instructions[*r].inputs.iter().position(|s| *s == out);
            operand.is_some_and(|j| self.c.block_op(*r, LANES).lanes_from(&specs, axes, j, &*maker).is_some())
        };
        sliced && !self.targets.contains_key(&out) && self.c.s.readers[out].iter().any(takes)
    }

    /// The kernel that starts from what the maker of an operand takes.
    fn past_maker(
        &self,
        i: usize,
        op: &dyn Op,
        specs: &[Spec],
        axes: &[Option<usize>],
    ) -> Option<(usize, usize, Lanes)> {
        self.c.p.instructions[i].inputs.iter().enumerate().find_map(|(j, slot)| {
            let maker = *self.waiting.get(slot)?;
            let lanes = op.lanes_from(specs, axes, j, &*self.c.block_op(maker, LANES))?;
            Some((maker, j, lanes))
        })
    }

    /// This instruction and another that reads the same of the maker's, in the order in which one kernel makes them,
    /// and where the first reads it.
    fn pair(&self, i: usize, operand: usize, maker: usize) -> Option<(Vec<usize>, usize, Lanes)> {
        let read = self.c.p.instructions[i].inputs[operand];
        let made = self.c.block_op(maker, LANES);
        // What the other reads beside it must be there already.
        let later = |s: &usize| self.c.s.maker[*s].is_some_and(|m| m > i && self.members.contains(&m));
        let others = self.c.s.readers[read].iter().copied().filter(|r| {
            let inputs = &self.c.p.instructions[*r].inputs;
            let once = inputs.iter().filter(|s| **s == read).count() == 1;
            *r > i && once && !self.done.contains(r) && self.members.contains(r) && !inputs.iter().any(later)
        });
        let reader = |i: usize| {
            let at = self.c.p.instructions[i].inputs.iter().position(|s| *s == read)?;
            Some((self.c.block_op(i, LANES), at, self.c.block_specs(i, LANES)))
        };
        let kernel = |first: usize, second: usize| {
            let ((a, a_at, a_specs), (b, b_at, b_specs)) = (reader(first)?, reader(second)?);
            // Alone the other must have such a kernel too: it knows its own operands.
            b.lanes_from(&b_specs, &self.c.s.axes[second], b_at, &*made)?;
            let lanes = a.lanes_from_with(&a_specs, &self.c.s.axes[first], a_at, &*made, &*b)?;
            Some((vec![first, second], a_at, lanes))
        };
        let mut found = others.map(|other| kernel(i, other).or_else(|| kernel(other, i)));
        found.find_map(|pair| pair)
    }

    /// What these instructions, done by one kernel, take: slot, batch axis, whether it must be packed.
    fn operands(&self, together: &[usize]) -> Vec<(usize, Option<usize>, bool)> {
        let mut all = Vec::new();
        for (k, i) in together.iter().enumerate() {
            let x = &self.c.p.instructions[*i];
            let own = x.inputs.iter().enumerate().skip(usize::from(k > 0));
            all.extend(own.map(|(j, slot)| (*slot, self.c.s.axes[*i][j], x.op.packed(j))));
        }
        all
    }

    /// A view, in every form in which it is one.
    fn view(&mut self, i: usize, op: &dyn Op) -> bool {
        let (slot, out) = (self.c.p.instructions[i].inputs[0], self.c.p.instructions[i].outputs[0]);
        let forms = self.forms(slot, self.c.s.axes[i][0]);
        let seen = |p: &Place| view(op, &p.layout).map(|layout| p.seen(layout));
        let seen: Vec<Place> = forms.iter().filter_map(seen).collect();
        let any = !seen.is_empty();
        if any {
            self.held.insert((out, true), seen);
        }
        any
    }

    /// The forms of an operand that are there.
    fn forms(&mut self, slot: usize, axis: Option<usize>) -> Vec<Place> {
        if let Some(i) = self.waiting.remove(&slot) {
            self.emit_now(i);
        }
        if let Some(forms) = self.held.get(&(slot, axis.is_some())) {
            return forms.clone();
        }
        let (base, layout) = self.c.see(slot);
        let mut place = self.c.place((base, layout), self.c.p.slots[slot].dtype);
        if let Some(a) = axis {
            let block = Layout::new(layout.shape.with(a, self.size), layout.strides(), layout.offset);
            place = place.seen(block).advancing(layout.strides()[a]);
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
    fn moved(&mut self, kernel: Kernel, from: Place, shape: Shape, i: usize) -> Place {
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
        let packed = |p: &Place| p.seen(Layout::packed(lanes_shape(&shape, axis)).starting(p.layout.offset));
        if let Some(found) = forms.iter().find(|p| in_lanes(&p.layout, axis)) {
            return packed(found);
        }
        let to = lanes_shape(&shape, axis);
        let place = match forms.iter().find(|p| axis == 0 && p.layout.is_packed()) {
            Some(rows) => {
                let columns = shape.len() / LANES;
                self.moved(Kernel::Transpose { rows: LANES, columns }, rows.clone(), to, i)
            }
            None => {
                let from = &forms[0];
                let mut strides = from.layout.strides().to_vec();
                let lane = strides.remove(axis);
                strides.push(lane);
                let from = from.seen(Layout::new(to, &strides, from.layout.offset));
                self.moved(Kernel::Copy, from, to, i)
            }
        };
        self.hold(slot, true, place.seen(seen_from_lanes(&shape, axis)));
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
        let (kernel, from) = to_rows(&forms, axis);
        let place = self.moved(kernel, from, shape, i);
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

    /// A kernel for examples side by side, that makes what these instructions do.
    fn side_by_side(&mut self, makes: &[usize], operands: Vec<(usize, Option<usize>, bool)>, lanes: Lanes) {
        let last = makes[makes.len() - 1];
        let mut inputs = Vec::new();
        for (slot, axis, packed) in operands {
            inputs.push(match axis {
                Some(a) => self.lanes_of(slot, a, last),
                None => self.rows_of(slot, None, packed, last),
            });
        }
        let scratch = (lanes.scratch > 0).then(|| (self.local(lanes.scratch), lanes.scratch));
        let mut outputs = Vec::new();
        let made = |c: &Compiler| -> Vec<(usize, usize)> {
            makes.iter().flat_map(|i| c.p.instructions[*i].outputs.iter().map(|s| (*i, *s))).collect()
        };
        for (i, slot) in made(self.c) {
            let spec = self.c.p.slots[slot].clone();
            if self.c.s.kind[i] == Kind::Sums {
                outputs.push((Place::packed(Base::Sum(self.sums[&slot]), spec.shape, spec.dtype), spec));
                continue;
            }
            let axis = self.c.s.axis[slot].unwrap_or(0);
            let shape = spec.shape.with(axis, LANES);
            let to = spec.with(lanes_shape(&shape, axis));
            let base = self.local(to.bytes());
            let place = Place::packed(base, to.shape, to.dtype);
            self.hold(slot, true, place.seen(seen_from_lanes(&shape, axis)));
            outputs.push((place, to));
        }
        self.codes.push(Code { kernel: Kernel::Lanes(lanes), inputs, outputs, scratch, instruction: last });
        for (i, slot) in made(self.c) {
            self.export(slot, i);
        }
    }

    /// Put this block's part of a value where the whole of it is needed.
    fn export(&mut self, slot: usize, i: usize) {
        let Some(&base) = self.targets.get(&slot) else { return };
        let spec = self.c.p.slots[slot].clone();
        let shape = spec.shape.with(0, self.size);
        let advance = (spec.shape.len() / spec.shape[0].max(1)) as isize;
        let to = Place::packed(Base::Whole(base), shape, spec.dtype).advancing(advance);
        let forms = self.forms(slot, Some(0));
        if forms.iter().any(|p| p.base == to.base) {
            return;
        }
        let (kernel, from) = to_rows(&forms, Some(0));
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
                    Place::packed(Base::Whole(*base), spec.shape, spec.dtype).advancing(advance)
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
            self.hold(*slot, true, place.seen(seen_from_lanes(&shape, axis)));
            outputs.push((place, flat));
        }
        self.codes.push(Code { kernel: Kernel::Op(op), inputs, outputs, scratch: None, instruction: i });
        outs.iter().for_each(|s| self.export(*s, i));
    }
}
