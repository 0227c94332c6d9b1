//! Recording: operations are noted instead of computed, below autodiff, so that backward and update are too.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
};

use crate::{
    apply::{Few, Origin},
    autodiff::new_key,
    cell::Cell,
    context::{self, Context},
    error::{Error, OrRaise, Result},
    ops::Op,
    tensor::{Data, Spec, Tensor},
};

/// One operation of a program.
pub(crate) struct Instruction {
    pub op: Arc<dyn Op>,
    pub inputs: Few<usize>,
    pub outputs: Few<usize>,
    pub origin: Origin,
}

/// A recorded step: instructions over numbered values.
#[derive(Default)]
pub(crate) struct Program {
    pub slots: Vec<Spec>,
    pub inputs: Vec<usize>,
    pub constants: Vec<(usize, Tensor)>,
    pub instructions: Vec<Instruction>,
    pub outputs: Vec<usize>,
    /// Cells by the slot that holds what they are at the start.
    pub reads: Vec<(Arc<Cell>, usize)>,
    /// Cells by the slot that holds what they become.
    pub writes: Vec<(Arc<Cell>, usize)>,
    /// Switches as they stood while tracing.
    pub flags: Vec<(Arc<AtomicBool>, bool)>,
}

/// A program in the making.
pub(crate) struct Recorder {
    id: u64,
    /// Whatever was differentiated before this key was captured from outside.
    start: u64,
    program: Program,
    /// Cell id → what it is now.
    cells: HashMap<u64, (Arc<Cell>, Tensor)>,
    order: Vec<u64>,
    known: HashMap<(usize, usize), usize>,
    /// Only shapes are wanted: nothing is kept.
    discard: bool,
}

impl Recorder {
    fn new(discard: bool) -> Box<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Box::new(Recorder {
            id: NEXT.fetch_add(1, Relaxed),
            start: new_key(),
            program: Program::default(),
            cells: HashMap::new(),
            order: Vec::new(),
            known: HashMap::new(),
            discard,
        })
    }

    fn slot(&mut self, spec: &Spec) -> Tensor {
        self.program.slots.push(spec.clone());
        Tensor::from_slot(spec, self.id, self.program.slots.len() - 1)
    }

    /// The number of a value; one that is there already becomes a constant.
    fn number(&mut self, t: &Tensor) -> Result<usize> {
        let v = t.value();
        match &v.data {
            Data::Slot { recording, index } if *recording == self.id => Ok(*index),
            Data::Slot { .. } if self.discard => {
                self.program.slots.push(v.spec());
                Ok(self.program.slots.len() - 1)
            }
            Data::Slot { .. } => Err(Error::mistake("a value from another recording was used")
                .help("a recorded value lives only inside the closure; return it instead of storing it")),
            Data::Buffer(buffer) => {
                let key = (Arc::as_ptr(buffer).addr(), std::ptr::from_ref(v).addr());
                if let Some(i) = self.known.get(&key) {
                    return Ok(*i);
                }
                self.program.slots.push(v.spec());
                let index = self.program.slots.len() - 1;
                // Kept in the program, so that its address stays its own.
                self.program.constants.push((index, t.detach()));
                self.known.insert(key, index);
                Ok(index)
            }
        }
    }
}

/// When the recording of a step began, if there is one.
pub(crate) fn start() -> Option<u64> {
    context::with(|c| c.recorder.as_ref().filter(|r| !r.discard).map(|r| r.start))
}

/// Note an operation; its outputs are values to come.
pub(crate) fn append(
    op: &Arc<dyn Op>,
    inputs: &[&Tensor],
    y: &[Spec],
    origin: &Origin,
) -> Result<Few<Tensor>> {
    context::with(|c| {
        let Some(r) = &mut c.recorder else {
            return Err(Error::mistake("a recorded value was used outside its recording: it has no value")
                .help("return it from the closure; `run` gives its value"));
        };
        let numbers = inputs.iter().map(|t| r.number(t)).collect::<Result<Few<usize>>>()?;
        let results: Few<Tensor> = y.iter().map(|s| r.slot(s)).collect();
        if !r.discard {
            let last = r.program.slots.len();
            r.program.instructions.push(Instruction {
                op: op.clone(),
                inputs: numbers,
                outputs: (last - y.len()..last).collect(),
                origin: origin.clone(),
            });
        }
        Ok(results)
    })
}

/// What a cell is to the recording, if there is one.
pub(crate) fn read(cell: &Arc<Cell>) -> Option<Tensor> {
    context::with(|c| {
        let r = c.recorder.as_mut()?;
        if let Some((_, now)) = r.cells.get(&cell.id) {
            return Some(now.clone());
        }
        let spec = cell.peek().spec();
        let now = r.slot(&spec);
        let index = r.program.slots.len() - 1;
        r.program.reads.push((cell.clone(), index));
        r.cells.insert(cell.id, (cell.clone(), now.clone()));
        r.order.push(cell.id);
        Some(now)
    })
}

/// As [`read`], without noting that it was read.
pub(crate) fn read_quietly(cell: &Arc<Cell>) -> Option<Tensor> {
    context::with(|c| c.recorder.as_ref()?.cells.get(&cell.id).map(|(_, now)| now.clone()))
}

/// Note what a cell becomes; `false` when nothing is being recorded.
pub(crate) fn write(cell: &Arc<Cell>, value: &Tensor) -> bool {
    context::with(|c| {
        let Some(r) = &mut c.recorder else { return false };
        if r.cells.insert(cell.id, (cell.clone(), value.clone())).is_none() {
            r.order.push(cell.id);
        }
        true
    })
}

/// Note how a switch stands.
pub(crate) fn note_flag(flag: &Arc<AtomicBool>, on: bool) {
    context::with(|c| {
        if let Some(r) = &mut c.recorder
            && !r.program.flags.iter().any(|(f, _)| Arc::ptr_eq(f, flag))
        {
            r.program.flags.push((flag.clone(), on));
        }
    })
}

/// Run `f` as if nothing were being recorded: for state that outlives the trace, such as an optimiser's.
pub(crate) fn unrecorded<T>(f: impl FnOnce() -> T) -> T {
    let recorder = context::with(|c| c.recorder.take());
    let _back = context::scope(|_| (), move |c| c.recorder = recorder);
    f()
}

/// Run the closure over values to come.
pub(crate) fn trace(specs: &[Spec], f: impl FnOnce(&[Tensor]) -> Vec<Tensor>) -> Program {
    let mut recorder = Recorder::new(false);
    let inputs: Vec<Tensor> = specs.iter().map(|s| recorder.slot(s)).collect();
    recorder.program.inputs = (0..specs.len()).collect();
    let recorder = recorded(
        recorder,
        |outputs: Vec<Tensor>, r| {
            r.program.outputs =
                outputs.iter().map(|t| r.number(&t.detach())).collect::<Result<_>>().or_raise();
            let order = std::mem::take(&mut r.order);
            for id in order {
                let (cell, now) = r.cells[&id].clone();
                let becomes = r.number(&now).or_raise();
                if !r.program.reads.iter().any(|(c, slot)| c.id == id && *slot == becomes) {
                    r.program.writes.push((cell, becomes));
                }
            }
        },
        || f(&inputs),
    );
    recorder.program
}

/// Run `f` in a fresh context with a recorder; a mistake leaves everything as it was.
fn recorded<T>(
    recorder: Box<Recorder>,
    finish: impl FnOnce(T, &mut Recorder),
    f: impl FnOnce() -> T,
) -> Box<Recorder> {
    let (mut f, mut y) = (Some(f), None);
    let mut recorder = inside(recorder, &mut || y = f.take().map(|f| f()));
    finish(y.expect("`f` has returned"), &mut recorder);
    recorder
}

/// Run `f`, compiled once for all.
fn inside(recorder: Box<Recorder>, f: &mut dyn FnMut()) -> Box<Recorder> {
    let attempts = context::with(|c| c.attempts);
    let fresh = Context { recorder: Some(recorder), attempts, ..Context::default() };
    let before = context::with(|c| std::mem::replace(c, fresh));
    let _back = context::scope(|_| (), move |c| drop(std::mem::replace(c, before)));
    f();
    context::with(|c| c.recorder.take()).expect("the recorder stays until the end")
}

/// Build and call a model with shapes alone: parameters are specifications, sizes are checked arithmetic,
/// nothing is drawn, computed or allocated.
///
/// ```
/// use cotangent::{nn::{Call, Linear, ParametersExt}, shapes, Rng, Tensor};
/// let net = shapes(|| {
///     let net = Linear::new(1 << 20, 1 << 20, &Rng::new(0));       // four terabytes
///     assert_eq!(net.call(&Tensor::zeros([1, 1 << 20])).shape()[..], [1, 1 << 20]);
///     net
/// })?;
/// assert_eq!(net.parameter_count(), (1 << 40) + (1 << 20));
/// # Ok::<(), cotangent::Error>(())
/// ```
///
/// # Errors
/// The mistake that `f` makes.
pub fn shapes<T>(f: impl FnOnce() -> T) -> Result<T> {
    let mut result = None;
    crate::attempt(|| {
        recorded(Recorder::new(true), |y, _| result = Some(y), f);
    })?;
    Ok(result.expect("`f` has returned"))
}

impl Program {
    /// The cells it reads or writes, each once.
    pub(crate) fn cells(&self) -> Vec<Arc<Cell>> {
        let mut cells: Vec<Arc<Cell>> =
            self.reads.iter().chain(&self.writes).map(|(c, _)| c.clone()).collect();
        cells.sort_by_key(|c| c.id);
        cells.dedup_by_key(|c| c.id);
        cells
    }

    /// Was it recorded for such inputs, with switches as they are now?
    pub(crate) fn fits(&self, specs: &[Spec]) -> bool {
        self.inputs.iter().map(|i| &self.slots[*i]).eq(specs)
            && self.flags.iter().all(|(flag, on)| flag.load(Relaxed) == *on)
    }

    /// The first thing that two traces of one closure do differently.
    pub(crate) fn differs(&self, other: &Program) -> Option<Error> {
        let advice =
            "whatever changes between steps is an input or a cell: make it a `Scalar`, `State` or `Rng`";
        let user = |i: usize| self.instructions.iter().find(|x| x.inputs.contains(&i));
        for ((i, a), (j, b)) in self.constants.iter().zip(&other.constants) {
            let equal = i == j && a.spec() == b.spec() && (a.shares_buffer(b) || same_bits(a, b));
            if !equal {
                let place = user(*i).map_or(String::new(), |x| format!(" ({})", x.origin));
                let (a, b) = (a.to_vec::<f64>(), b.to_vec::<f64>());
                let at = a.iter().zip(&b).position(|(a, b)| a.to_bits() != b.to_bits()).unwrap_or(0);
                let show = |v: &[f64]| v.get(at).map_or("nothing".into(), f64::to_string);
                let text = format!(
                    "this number changed between two recordings{place}: {} became {}",
                    show(&a),
                    show(&b)
                );
                return Some(Error::mistake(text).help(advice));
            }
        }
        for (a, b) in self.instructions.iter().zip(&other.instructions) {
            if a.op.name() != b.op.name() || a.op.attributes() != b.op.attributes() || a.inputs != b.inputs {
                let text = format!("two recordings of one step differ: {} became {}", a.origin, b.origin);
                return Some(Error::mistake(text).help(advice));
            }
        }
        let cells = |p: &Program| -> Vec<(u64, usize)> {
            p.reads.iter().chain(&p.writes).map(|(c, s)| (c.id, *s)).collect()
        };
        if self.instructions.len() != other.instructions.len()
            || self.constants.len() != other.constants.len()
            || self.outputs != other.outputs
            || cells(self) != cells(other)
        {
            let (n, m) = (self.instructions.len(), other.instructions.len());
            let text = format!(
                "two recordings of one step differ: {n} operations became {m}, or they use other cells"
            );
            return Some(Error::mistake(text).help(advice));
        }
        None
    }
}

fn same_bits(a: &Tensor, b: &Tensor) -> bool {
    crate::dispatch!(a.dtype(), T => a.to_vec::<T>().iter().zip(b.to_vec::<T>()).all(|(x, y)| {
        *x == y || (x.to_f64_bits() == y.to_f64_bits())
    }))
}

trait Bits {
    fn to_f64_bits(&self) -> u64;
}

impl<T: crate::tensor::Element> Bits for T {
    fn to_f64_bits(&self) -> u64 {
        self.to_number().to_f64().to_bits()
    }
}
