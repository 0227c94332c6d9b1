//! A training step, recorded once and replayed.

mod blocks;
mod code;
mod compile;
mod plan;
pub(crate) mod record;
mod replay;
mod run;
mod schedule;
mod simplify;

pub use plan::Plan;
pub use record::shapes;

use crate::{
    context,
    error::{Error, Result},
    tensor::{Spec, Tensor},
};
use record::Program;
use run::Machine;

/// Programs kept for different shapes, such as that of the last, smaller batch.
const KEPT: usize = 8;

/// A step that is recorded once a shape and replayed.
///
/// Whatever changes between steps is an input or a cell; the closure sees no values. It is traced on the first
/// run with new shapes, twice: a number that differs between the traces is an error that names its line.
/// N recorded steps equal N eager ones: to the bit with [`Step::plain`]; within rounding otherwise, where sums over
/// the batch are taken block by block. The bits are the same on any number of threads.
///
/// ```
/// use cotangent::{Param, Step, Tensor};
/// let w = Param::new(Tensor::from(1.0));
/// let cell = w.clone();
/// let mut step = Step::record(move |[x]: [Tensor; 1]| {
///     let loss = (cell.get() - x).square();
///     let g = loss.backward();
///     cell.set(&(cell.value() - cell.gradient(&g).unwrap() * 0.25));
///     loss
/// });
/// let target = Tensor::from(3.0);
/// assert_eq!(step.run([&target])?.item(), 4.0);
/// assert_eq!(step.run([&target])?.item(), 1.0);
/// assert_eq!(w.value().item(), 2.5);
/// # Ok::<(), cotangent::Error>(())
/// ```
pub struct Step<const N: usize, Y: Outputs> {
    f: Box<dyn Fn([Tensor; N]) -> Y + Send>,
    programs: Vec<Kept>,
    plain: bool,
}

/// A program for certain shapes, and how it is run.
struct Kept {
    program: Program,
    /// Compiled, or why it is replayed operation by operation.
    machine: std::result::Result<Box<Machine>, String>,
}

/// What a recorded closure may give back.
pub trait Outputs: Sized {
    /// As a list.
    fn into_list(self) -> Vec<Tensor>;
    /// From a list of the same length.
    fn from_list(list: Vec<Tensor>) -> Self;
}

impl Outputs for Tensor {
    fn into_list(self) -> Vec<Tensor> {
        vec![self]
    }
    fn from_list(mut list: Vec<Tensor>) -> Self {
        list.remove(0)
    }
}
impl Outputs for Vec<Tensor> {
    fn into_list(self) -> Vec<Tensor> {
        self
    }
    fn from_list(list: Vec<Tensor>) -> Self {
        list
    }
}
impl<const M: usize> Outputs for [Tensor; M] {
    fn into_list(self) -> Vec<Tensor> {
        self.into()
    }
    fn from_list(list: Vec<Tensor>) -> Self {
        list.try_into().unwrap_or_else(|_| unreachable!("as many as were recorded"))
    }
}
impl Outputs for (Tensor, Tensor) {
    fn into_list(self) -> Vec<Tensor> {
        vec![self.0, self.1]
    }
    fn from_list(list: Vec<Tensor>) -> Self {
        let [a, b] = Outputs::from_list(list);
        (a, b)
    }
}
impl Outputs for () {
    fn into_list(self) -> Vec<Tensor> {
        Vec::new()
    }
    fn from_list(_: Vec<Tensor>) -> Self {}
}

impl<const N: usize, Y: Outputs> Step<N, Y> {
    /// Keep the closure; nothing is traced before the first [`Step::run`].
    pub fn record(f: impl Fn([Tensor; N]) -> Y + Send + 'static) -> Self {
        Step { f: Box::new(f), programs: Vec::new(), plain: false }
    }

    /// Replay operation by operation: no blocks, no fusion, the bits of eager steps.
    #[must_use]
    pub fn plain(self) -> Self {
        Step { plain: true, programs: Vec::new(), ..self }
    }

    /// Run the step. Cells are written at the end, all or none.
    ///
    /// # Errors
    /// A bad value met by a kernel; another step running on the same cells. No cell has changed then.
    ///
    /// # Panics
    /// On the first run with new shapes, when the closure makes a mistake: at its line.
    #[track_caller]
    pub fn run(&mut self, inputs: [&Tensor; N]) -> Result<Y> {
        if context::with(|c| c.recorder.is_some()) {
            Error::mistake("run: a step cannot be run inside a recording")
                .help("call its closure instead")
                .raise()
        }
        if let Some(i) = inputs.iter().position(|x| x.layer().is_some()) {
            Error::mistake(format!(
                "run: input {i} is being differentiated, and nothing flows back out of a step"
            ))
            .help("`detach()` it, or differentiate inside the closure")
            .raise()
        }
        let kept = self.program(inputs.map(|x| x.spec()));
        if let Ok(machine) = &mut kept.machine
            && let Some(list) = machine.run(&inputs)?
        {
            return Ok(Y::from_list(list));
        }
        // Operation by operation; after a fault too, to say exactly where it is.
        replay::run(&kept.program, &inputs).map(Y::from_list)
    }

    /// What the step does for these inputs: instructions, memory, costs.
    #[track_caller]
    pub fn plan(&mut self, inputs: [&Tensor; N]) -> Plan {
        let kept = self.program(inputs.map(|x| x.spec()));
        match &kept.machine {
            Ok(machine) => Plan::compiled(&machine.compiled, &kept.program),
            Err(why) => Plan::plain(&kept.program, why),
        }
    }

    #[track_caller]
    fn program(&mut self, specs: [Spec; N]) -> &mut Kept {
        if let Some(i) = self.programs.iter().position(|k| k.program.fits(&specs)) {
            return &mut self.programs[i];
        }
        let f = &self.f;
        let trace = || {
            record::trace(&specs, |x| {
                let x: Vec<Tensor> = x.to_vec();
                f(x.try_into().unwrap_or_else(|_| unreachable!("as many as specs"))).into_list()
            })
        };
        let (first, second) = (trace(), trace());
        if let Some(difference) = first.differs(&second) {
            difference.raise()
        }
        if self.programs.len() == KEPT {
            self.programs.remove(0);
        }
        let machine = match self.plain {
            true => Err("asked for: `plain`".to_string()),
            false => compile::compile(simplify::simplify(&second)).map(|c| Box::new(Machine::new(c))),
        };
        self.programs.push(Kept { program: second, machine });
        let last = self.programs.len() - 1;
        &mut self.programs[last]
    }
}
