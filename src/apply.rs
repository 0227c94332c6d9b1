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
    autodiff,
    context::{self, Context},
    device::cpu::{Call, FaultSlot, View, ViewMut, memory::Memory},
    error::{Error, Fault, OrRaise, Result},
    ops::{Op, view},
    tensor::{Buffer, Layout, Spec, Tensor, packed_copy},
};

/// Few things: no allocation for operations of up to three operands.
pub(crate) type Few<T> = SmallVec<[T; 3]>;

/// Them, as few things: `collect` reserves and looks twice, which costs more than an operation on a number.
#[inline]
pub(crate) fn few<T>(items: impl IntoIterator<Item = T>) -> Few<T> {
    let mut list = Few::new();
    for x in items {
        list.push(x);
    }
    list
}

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

/// The names of nested modules, `features.3`; outside any module there is nothing to share.
#[derive(Clone, Default, Debug, PartialEq, Eq)]
pub struct Path(pub(crate) Option<Arc<str>>);

impl std::ops::Deref for Path {
    type Target = str;
    fn deref(&self) -> &str {
        self.0.as_deref().unwrap_or_default()
    }
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
    pub path: Path,
    /// The line that called the operation.
    line: &'static Location<'static>,
    /// The line outside this crate that called the innermost module.
    call: Option<&'static Location<'static>>,
}

impl Origin {
    /// Of an operation called `verb`, applied here and now.
    pub(crate) fn here(verb: &'static str, line: &'static Location<'static>) -> Self {
        context::with(|c| Self::within(c, verb, line))
    }

    #[inline]
    fn within(c: &Context, verb: &'static str, line: &'static Location<'static>) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        match &c.origin {
            Some(of) => of.clone(),
            None => Origin {
                instance: NEXT.fetch_add(1, Relaxed),
                verb,
                pass: Pass::Forward,
                path: c.frames.last().map(|f| f.path.clone()).unwrap_or_default(),
                line,
                call: c.frames.iter().rev().map(|f| f.site).find(|s| !context::in_crate(s)),
            },
        }
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
            write!(f, " in {}", &*self.path)?;
        }
        write!(f, " at {}", self.place())
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// An operation on its road, with a handle where somebody may keep it: a program, or a device's queue.
#[derive(Clone, Copy)]
pub(crate) struct Applied<'a> {
    op: &'a (dyn Op + 'static),
    handle: Option<&'a Arc<dyn Op>>,
}

impl<'a> Applied<'a> {
    pub(crate) fn kept(op: &'a Arc<dyn Op>) -> Self {
        Applied { op: &**op, handle: Some(op) }
    }

    fn handle(&self) -> Result<&'a Arc<dyn Op>> {
        let only = "its results live on another device than its operands";
        self.handle.ok_or_else(|| Error::mistake(only).help("only `x.to(&device)` moves data"))
    }
}

impl std::ops::Deref for Applied<'_> {
    type Target = dyn Op;
    fn deref(&self) -> &Self::Target {
        self.op
    }
}

/// Apply an operation with one output.
///
/// # Panics
/// When shapes, types or devices do not fit, or a kernel meets a bad value: at the user's line, with the repair.
#[track_caller]
pub fn apply(op: impl Op, inputs: &[&Tensor]) -> Tensor {
    start(op, inputs, Location::caller()).or_raise().swap_remove(0)
}

/// Apply an operation with any number of outputs.
///
/// # Panics
/// As [`apply`].
#[track_caller]
pub fn apply_many(op: impl Op, inputs: &[&Tensor]) -> Vec<Tensor> {
    start(op, inputs, Location::caller()).or_raise().into_vec()
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
    start(op, inputs, Location::caller()).map(Few::into_vec)
}

fn start(op: impl Op, inputs: &[&Tensor], line: &'static Location<'static>) -> Result<Few<Tensor>> {
    let (recording, watched, origin) = context::with(|c| {
        (c.recorder.is_some(), !c.observers.is_empty(), Origin::within(c, op.name(), line))
    });
    if recording || watched || !inputs.iter().all(|x| x.value().is_at_hand()) {
        return keep(&op.shared(), inputs, watched, &origin);
    }
    layered(Applied { op: &op, handle: None }, inputs, &origin)
}

/// Where an operation outlives its call, or is looked at.
fn keep(op: &Arc<dyn Op>, inputs: &[&Tensor], watched: bool, origin: &Origin) -> Result<Few<Tensor>> {
    let y = layered(Applied::kept(op), inputs, origin)?;
    if watched {
        crate::observe::operation(&**op, inputs, &y, origin)?;
    }
    Ok(y)
}

/// Peel off the outermost layer, or compute.
pub(crate) fn layered(op: Applied<'_>, inputs: &[&Tensor], origin: &Origin) -> Result<Few<Tensor>> {
    match inputs.iter().filter_map(|t| t.layer().map(|l| l.level)).max() {
        Some(level) => autodiff::differentiate(op, inputs, level, origin),
        None => compute(op, inputs, origin),
    }
}

/// As [`layered`], of what is known to have no layer.
pub(crate) fn evaluate(op: &Arc<dyn Op>, inputs: &[&Tensor], origin: &Origin) -> Result<Few<Tensor>> {
    compute(Applied::kept(op), inputs, origin)
}

/// No layer left: shape rule, then the recorder, a view, or memory and kernel.
fn compute(op: Applied<'_>, inputs: &[&Tensor], origin: &Origin) -> Result<Few<Tensor>> {
    // Shape rules want specifications side by side. Arrays are filled where they lie; a list would be moved.
    match inputs {
        [a] => compute_from(op, inputs, &[a.spec()], origin),
        [a, b] => compute_from(op, inputs, &[a.spec(), b.spec()], origin),
        _ => compute_from(op, inputs, &inputs.iter().map(|x| x.spec()).collect::<Vec<_>>(), origin),
    }
}

fn compute_from(op: Applied<'_>, inputs: &[&Tensor], specs: &[Spec], origin: &Origin) -> Result<Few<Tensor>> {
    let y = check(op.op, specs).map_err(|e| origin.name(op.op, e))?;
    // Values that are not at hand, or a recorder, came with a handle.
    if let Some(op) = op.handle
        && (inputs.iter().any(|x| x.is_recorded()) || context::with(|c| c.recorder.is_some()))
    {
        if let [only] = specs
            && let Some(layout) = view(&**op, &Layout::packed(only.shape))
        {
            check_view(&**op, &layout, only, &y[0]);
        }
        return crate::step::record::append(op, inputs, &y, origin).map_err(|e| origin.name(&**op, e));
    }
    if let [only] = inputs {
        let v = only.value();
        if let Some(layout) = view(op.op, &v.layout) {
            check_view(op.op, &layout, &specs[0], &y[0]);
            let buffer = v.buffer().clone();
            return Ok(smallvec![Tensor::from_buffer(buffer, layout, y[0].dtype, v.device.clone())]);
        }
        if let Some(to) = op.destination() {
            return Ok(smallvec![crate::ops::transfer(v, &to)?]);
        }
    }
    if !y[0].device.is_cpu() {
        let kept = op.handle().map_err(|e| origin.name(op.op, e))?;
        return Ok(launch(kept, inputs, specs, y, origin));
    }
    let done = |outputs: &mut [ViewMut]| {
        let report = match inputs {
            [a] => call(op.op, &[a.value().view()], specs, outputs, 0),
            [a, b] => call(op.op, &[a.value().view(), b.value().view()], specs, outputs, 0),
            _ => {
                let views: Vec<View<'_>> = inputs.iter().map(|x| x.value().view()).collect();
                call(op.op, &views, specs, outputs, 0)
            }
        };
        match report {
            Some(report) => Err(Error::Fault(Box::new(origin.fault(op.op, report)))),
            None => Ok(few(outputs.iter_mut().map(Tensor::from_output))),
        }
    };
    match &y[..] {
        [only] => done(&mut [ViewMut::new(only)]),
        _ => done(&mut y.iter().map(ViewMut::new).collect::<Vec<_>>()),
    }
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
    let y = op.outputs(specs)?;
    assert!(!y.is_empty(), "operation {} has no output", op.name());
    Ok(y)
}

/// A view has the operand's type, and is what `outputs` says.
fn check_view(op: &dyn Op, layout: &Layout, x: &Spec, y: &Spec) {
    assert!(
        layout.shape == y.shape && x.dtype == y.dtype,
        "operation {} gives {:?} {}, and views {:?} {}",
        op.name(),
        y.shape,
        y.dtype,
        layout.shape,
        x.dtype
    );
}

/// Put it into a device's queue; the results are filled later.
fn launch(
    op: &Arc<dyn Op>,
    inputs: &[&Tensor],
    specs: &[Spec],
    y: Vec<Spec>,
    origin: &Origin,
) -> Few<Tensor> {
    let gpu = y[0].device.as_virtual_gpu().expect("the processor has no queue").clone();
    let outputs: Few<Arc<Buffer>> = y.iter().map(|s| Buffer::empty(s.bytes(), &s.device)).collect();
    let made = |(b, s): (&Arc<Buffer>, &Spec)| {
        Tensor::from_buffer(b.clone(), Layout::packed(s.shape), s.dtype, s.device.clone())
    };
    let results = outputs.iter().zip(&y).map(made).collect();
    let cost = op.cost(specs, &y);
    let inputs: Vec<Tensor> = inputs.iter().map(|x| (*x).clone()).collect();
    let (op, specs, faults, origin) = (op.clone(), specs.to_vec(), gpu.fault(), origin.clone());
    let name = op.name();
    let job = move || {
        let views: Vec<View<'_>> = inputs.iter().map(|x| x.value().view()).collect();
        let (results, fault) = run_kernel(&*op, &views, &specs, &y, 0);
        if let Some(report) = fault {
            faults
                .lock()
                .unwrap_or_else(|e| e.into_inner())
                .get_or_insert_with(|| origin.fault(&*op, report));
        }
        outputs.iter().zip(results).for_each(|(b, m)| b.fill(m));
    };
    gpu.launch(name, cost.bytes, cost.flops(), Box::new(job));
    results
}

/// What a kernel found wrong: position, value, words.
type Report = (usize, f64, String);

/// Memory for the outputs, and the kernel.
pub(crate) fn run_kernel(
    op: &dyn Op,
    x: &[View<'_>],
    specs: &[Spec],
    y: &[Spec],
    first_example: usize,
) -> (Vec<Memory>, Option<Report>) {
    let mut outputs: Vec<ViewMut> = y.iter().map(ViewMut::new).collect();
    let fault = call(op, x, specs, &mut outputs, first_example);
    (outputs.into_iter().map(|y| y.memory).collect(), fault)
}

/// Packed copies where the kernel wants them, working memory, and the kernel.
fn call(
    op: &dyn Op,
    x: &[View<'_>],
    specs: &[Spec],
    outputs: &mut [ViewMut],
    first_example: usize,
) -> Option<Report> {
    let scratch = op.scratch(specs);
    let mut scratch = (scratch > 0).then(|| Memory::block(scratch));
    let scratch = scratch.as_mut().map_or(&mut [][..], |m| m.slice_mut::<u8>());
    let fault = FaultSlot::default();
    let mut run = |inputs: &[View<'_>]| {
        let (outputs, scratch) = (&mut *outputs, &mut *scratch);
        op.cpu(Call { inputs, outputs, scratch, fault: &fault, first_example, accumulate: false });
    };
    let loose = |(i, x): (usize, &View<'_>)| op.packed(i) && !x.layout.is_packed();
    if !x.iter().enumerate().any(loose) {
        run(x);
        return fault.into_report();
    }
    let pack = |(i, x)| {
        loose((i, x)).then(|| (packed_copy(x.memory, x.layout, x.dtype), Layout::packed(x.layout.shape)))
    };
    let copies: Vec<Option<(Memory, Layout)>> = x.iter().enumerate().map(pack).collect();
    let views = x.iter().zip(&copies).map(|(x, copy)| match copy {
        Some((memory, layout)) => View { layout, dtype: x.dtype, memory },
        None => *x,
    });
    run(&views.collect::<Vec<_>>());
    fault.into_report()
}
