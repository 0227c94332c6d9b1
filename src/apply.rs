//! The one road every operation takes.
//!
//! `apply(op, inputs)` peels off the outermost autodiff layer, computes below it, and puts the derivative back
//! on top. With no layer left: shape rule, then the recorder, or memory and kernel.

use std::{
    fmt,
    panic::Location,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use smallvec::{SmallVec, smallvec};

use crate::{
    autodiff, context,
    device::cpu::{Call, FaultSlot, View, ViewMut, memory::Memory},
    error::{Error, Fault, OrRaise, Result},
    ops::Op,
    tensor::{Buffer, Data, Layout, Spec, Tensor, Value, new_memory, packed_copy},
};

/// Few things: no allocation for operations of up to three operands.
pub(crate) type Few<T> = SmallVec<[T; 3]>;

/// Which part of a computation an operation belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pass {
    /// The function itself.
    Forward,
    /// A tangent pushed forward through it.
    Push,
    /// A cotangent pulled back through it.
    Pull,
}

/// Where an applied operation comes from.
#[derive(Clone)]
pub struct Origin {
    /// The operation instance that this one is, or is a derivative of.
    pub instance: u64,
    /// Its name.
    pub verb: &'static str,
    /// The function, or one of its derivatives.
    pub pass: Pass,
    /// The module it was called from, such as `features.3`; empty outside any.
    pub path: Arc<str>,
    /// The line that called the operation.
    line: &'static Location<'static>,
    /// The line outside this crate that called the innermost module.
    call: Option<&'static Location<'static>>,
}

impl Origin {
    /// Of an operation called `verb`, applied here and now.
    pub(crate) fn here(verb: &'static str, line: &'static Location<'static>) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        context::with(|c| match &c.origin {
            Some(of) => of.clone(),
            None => Origin {
                instance: NEXT.fetch_add(1, Relaxed),
                verb,
                pass: Pass::Forward,
                path: c.frames.last().map_or_else(crate::nn::no_path, |f| f.path.clone()),
                line,
                call: c.frames.iter().rev().map(|f| f.site).find(|s| !context::in_crate(s)),
            },
        })
    }

    /// The user's line: the operation's own, or that of the innermost `call` when the operation is ours.
    pub fn place(&self) -> &'static Location<'static> {
        match self.call {
            Some(call) if context::in_crate(self.line) => call,
            _ => self.line,
        }
    }

    /// The same operation's derivative.
    pub(crate) fn derivative(&self, pass: Pass) -> Origin {
        Origin { pass, ..self.clone() }
    }

    /// Where a mistake was made; one made in a derivative names the operation that it belongs to.
    pub(crate) fn mark(&self, m: &mut crate::error::Mistake) {
        m.path = self.path.to_string();
        m.place = self.place().to_string();
        m.pass = match self.pass {
            Pass::Forward => "forward",
            Pass::Push => "pushforward",
            Pass::Pull => "pullback",
        };
        if self.pass != Pass::Forward && self.verb != m.verb {
            let of = if m.verb.is_empty() { "" } else { " of " };
            m.verb = format!("{}{of}{}", m.verb, self.verb);
        }
    }

    pub(crate) fn name(&self, op: &dyn Op, error: Error) -> Error {
        match error {
            Error::Mistake(mut m) if m.verb.is_empty() => {
                m.verb = op.name().into();
                self.mark(&mut m);
                Error::Mistake(m)
            }
            other => other,
        }
    }

    fn fault(&self, op: &dyn Op, (position, value, what): (usize, f64, String)) -> Fault {
        Fault {
            verb: op.name(),
            path: self.path.to_string(),
            position,
            value,
            what,
            place: self.place().to_string(),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pass = match self.pass {
            Pass::Forward => "",
            Pass::Push => " (pushforward)",
            Pass::Pull => " (pullback)",
        };
        write!(f, "{}{pass}", self.verb)?;
        if !self.path.is_empty() {
            write!(f, " in {}", self.path)?;
        }
        write!(f, " at {}", self.place())
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Apply an operation with one output.
///
/// # Panics
/// When shapes, types or devices do not fit, or a kernel meets a bad value: at the user's line, with the repair.
#[track_caller]
pub fn apply(op: impl Op, inputs: &[&Tensor]) -> Tensor {
    dispatch(&op.shared(), inputs, Location::caller())
        .or_raise()
        .into_iter()
        .next()
        .expect("an operation has an output")
}

/// Apply an operation with any number of outputs.
///
/// # Panics
/// As [`apply`].
#[track_caller]
pub fn apply_many(op: impl Op, inputs: &[&Tensor]) -> Vec<Tensor> {
    dispatch(&op.shared(), inputs, Location::caller()).or_raise().into_vec()
}

/// Apply an operation, or say why not.
///
/// ```
/// use cotangent::{ops::MatMul, try_apply, Tensor};
/// let e = try_apply(MatMul, &[&Tensor::zeros([2, 3]), &Tensor::zeros([4, 2])]).unwrap_err();
/// assert!(e.to_string().contains("3 and 4 differ"));
/// ```
#[track_caller]
pub fn try_apply(op: impl Op, inputs: &[&Tensor]) -> Result<Vec<Tensor>> {
    dispatch(&op.shared(), inputs, Location::caller()).map(Few::into_vec)
}

/// Peel off the outermost layer, or compute.
pub(crate) fn dispatch(
    op: &Arc<dyn Op>,
    inputs: &[&Tensor],
    line: &'static Location<'static>,
) -> Result<Few<Tensor>> {
    let origin = Origin::here(op.name(), line);
    let y = layered(op, inputs, &origin)?;
    if context::with(|c| !c.observers.is_empty()) {
        crate::observe::operation(&**op, inputs, &y, &origin)?;
    }
    Ok(y)
}

pub(crate) fn layered(op: &Arc<dyn Op>, inputs: &[&Tensor], origin: &Origin) -> Result<Few<Tensor>> {
    match inputs.iter().filter_map(|t| t.layer().map(|l| l.level)).max() {
        Some(level) => autodiff::differentiate(op, inputs, level, origin),
        None => evaluate(op, inputs, origin),
    }
}

/// No layer left: shape rule, then the recorder, a view, or memory and kernel.
pub(crate) fn evaluate(op: &Arc<dyn Op>, inputs: &[&Tensor], origin: &Origin) -> Result<Few<Tensor>> {
    let x: Few<&Value> = inputs.iter().map(|t| t.value()).collect();
    let specs: Few<Spec> = x.iter().map(|v| v.spec()).collect();
    let y = check(&**op, &specs).map_err(|e| origin.name(&**op, e))?;
    if x.iter().any(|v| matches!(v.data, Data::Slot { .. })) || context::with(|c| c.recorder.is_some()) {
        return crate::step::record::append(op, inputs, &y, origin).map_err(|e| origin.name(&**op, e));
    }
    compute(op, &x, &specs, &y, origin)
}

/// The shape rule, after what holds for every operation: operands live on one device.
pub(crate) fn check(op: &dyn Op, specs: &[Spec]) -> Result<Vec<Spec>> {
    if let Some(other) = specs.iter().find(|s| s.device != specs[0].device) {
        let (a, b) = (&specs[0].device, &other.device);
        return Err(Error::mistake(format!("operands live on two devices: {a} and {b}"))
            .operands(crate::ops::operands(op, specs))
            .help(format!(
                "move one of them: `x.to(&device)`, from {b} to {a}; nothing is copied silently"
            )));
    }
    op.outputs(specs)
}

fn compute(
    op: &Arc<dyn Op>,
    x: &[&Value],
    specs: &[Spec],
    y: &[Spec],
    origin: &Origin,
) -> Result<Few<Tensor>> {
    let buffer = |v: &Value| match &v.data {
        Data::Buffer(b) => b.clone(),
        Data::Slot { .. } => unreachable!("slots are recorded"),
    };
    if let [only] = x
        && let Some(layout) = op.view(&only.layout)
    {
        return Ok(smallvec![Tensor::from_buffer(buffer(only), layout, y[0].dtype, only.device.clone())]);
    }
    if let Some(to) = op.destination() {
        return Ok(smallvec![crate::ops::transfer(x[0], &to)?]);
    }
    let device = &y[0].device;
    let made =
        |buffer, s: &Spec| Tensor::from_buffer(buffer, Layout::packed(s.shape), s.dtype, device.clone());
    let Some(gpu) = device.as_virtual_gpu() else {
        let inputs: Few<Input<'_>> = x
            .iter()
            .map(|v| match &v.data {
                Data::Buffer(b) => (b.memory(), &v.layout),
                Data::Slot { .. } => unreachable!("slots are recorded"),
            })
            .collect();
        let (results, fault) = run_kernel(&**op, &inputs, specs, y, 0);
        return match fault {
            Some(report) => Err(Error::Fault(Box::new(origin.fault(&**op, report)))),
            None => Ok(results.into_iter().zip(y).map(|(m, s)| made(Buffer::filled(m), s)).collect()),
        };
    };
    let outputs: Few<Arc<Buffer>> = y.iter().map(|s| Buffer::empty(s.bytes(), device)).collect();
    let inputs: Vec<(Arc<Buffer>, Layout)> = x.iter().map(|v| (buffer(v), v.layout)).collect();
    let (job_op, job_specs, job_y, into) = (op.clone(), specs.to_vec(), y.to_vec(), outputs.clone());
    let (faults, origin) = (gpu.fault(), origin.clone());
    let cost = op.cost(specs, y);
    let job = move || {
        let inputs: Few<Input<'_>> = inputs.iter().map(|(b, l)| (b.memory(), l)).collect();
        let (results, fault) = run_kernel(&*job_op, &inputs, &job_specs, &job_y, 0);
        if let Some(report) = fault {
            faults
                .lock()
                .unwrap_or_else(|e| e.into_inner())
                .get_or_insert_with(|| origin.fault(&*job_op, report));
        }
        into.iter().zip(results).for_each(|(b, m)| b.fill(m));
    };
    gpu.launch(op.name(), cost.bytes, cost.flops(), Box::new(job));
    Ok(outputs.into_iter().zip(y).map(|(b, s)| made(b, s)).collect())
}

/// An operand's memory, and where its elements lie in it.
pub(crate) type Input<'a> = (&'a Memory, &'a Layout);

/// Memory, packing where the kernel wants it, and the kernel.
pub(crate) fn run_kernel(
    op: &dyn Op,
    x: &[Input<'_>],
    specs: &[Spec],
    y: &[Spec],
    first_example: usize,
) -> (Few<Memory>, Option<(usize, f64, String)>) {
    let pack = |(i, (memory, layout)): (usize, &Input<'_>)| {
        let needed = op.packed(i) && !layout.is_packed();
        needed.then(|| (packed_copy(memory, layout, specs[i].dtype), Layout::packed(layout.shape)))
    };
    let packed: Vec<Option<(Memory, Layout)>> =
        match x.iter().enumerate().any(|(i, x)| op.packed(i) && !x.1.is_packed()) {
            true => x.iter().enumerate().map(pack).collect(),
            false => Vec::new(),
        };
    let view = |i: usize| {
        let (memory, layout) = match packed.get(i) {
            Some(Some((memory, layout))) => (memory, layout),
            _ => x[i],
        };
        View { layout, dtype: specs[i].dtype, memory }
    };
    let views: Few<View<'_>> = (0..x.len()).map(view).collect();
    let mut outputs: Few<ViewMut> =
        y.iter().map(|s| ViewMut { spec: s.clone(), memory: new_memory(s.shape.len(), s.dtype) }).collect();
    let scratch = op.scratch(specs);
    let mut scratch = (scratch > 0).then(|| Memory::block(scratch));
    let scratch = scratch.as_mut().map_or(&mut [][..], |m| m.slice_mut::<u8>());
    let fault = FaultSlot::default();
    op.cpu(Call {
        inputs: &views,
        outputs: &mut outputs,
        scratch,
        fault: &fault,
        first_example,
        accumulate: false,
    });
    (outputs.into_iter().map(|y| y.memory).collect(), fault.take())
}
