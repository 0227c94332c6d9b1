//! Operations: one struct that knows its shape rule, its kernels and its derivative.
//!
//! The index: a family a file, its kernels in a folder beside it.

pub(crate) mod arithmetic;
mod batch_norm;
mod cast;
mod cat;
mod compare;
pub(crate) mod conv;
mod dropout;
mod elementwise;
mod expect_finite;
mod gate;
mod gather;
#[cfg(test)]
mod lanes;
mod matmul;
pub(crate) mod pool;
mod random;
mod reduce;
mod reshape;
mod slice;
mod softmax;
mod transfer;

use std::{any::Any, fmt, sync::Arc};

pub use arithmetic::Arithmetic;
pub use batch_norm::BatchNorm;
pub use cast::Cast;
pub use cat::Cat;
pub use compare::{Compare, Where};
pub use conv::{Conv, Conv2d, Conv2dInput, Conv2dWeight, Padding, Pair, Rounding};
pub use dropout::Dropout;
pub use elementwise::Elementwise;
pub use expect_finite::ExpectFinite;
pub use gate::Gate;
pub use gather::{Extremum, Gather, OneHot, ScatterAdd, Sort};
pub use matmul::MatMul;
pub use pool::{
    AvgPool2d, AvgPool2dInput, MaxPool2d, MaxPool2dGather, MaxPool2dIndices, MaxPool2dScatter, Pool,
};
pub use random::{Distribution, Random};
pub use reduce::Sum;
pub(crate) use reduce::without;
pub use reshape::{Expand, Pack, Permute, Reshape};
pub use slice::{Pad, Slice};
pub use softmax::{CrossEntropy, CrossEntropyOptions, CrossEntropySlope, Reduction, Softmax};
pub use transfer::Transfer;
pub(crate) use transfer::transfer;

use crate::{
    autodiff::LinearMap,
    device::{Device, cpu},
    error::Result,
    tensor::{DType, Layout, Spec, Tensor},
};

/// An operation: its shape rule, its derivative, its kernels.
///
/// A new one, inside this crate or outside, is a struct that implements this, and a method or function that
/// calls [`crate::apply`]. [`crate::laws`] checks what every operation must satisfy.
///
/// ```
/// use cotangent::{apply, device::cpu::Call, LinearMap, Mode, Op, Result, Spec, Tensor};
///
/// /// `y = x³`,  `dy = 3x² dx`
/// #[derive(Clone)]
/// struct Cube;
///
/// impl Op for Cube {
///     fn name(&self) -> &'static str {
///         "cube"
///     }
///     fn outputs(&self, x: &[Spec]) -> Result<Vec<Spec>> {
///         Ok(vec![x[0].clone()])
///     }
///     fn linearize(&self, x: &[Tensor], _y: &[Tensor], _mode: Mode, _wanted: &[bool]) -> LinearMap {
///         let x = x[0].clone();
///         LinearMap::unary(move |t| t * &x * &x * 3.0)
///     }
///     fn cpu(&self, mut call: Call<'_>) {
///         let x = call.inputs[0].packed::<f64>();
///         call.output::<f64>().iter_mut().zip(x).for_each(|(y, x)| *y = x * x * x);
///     }
/// }
///
/// let x = Tensor::from(2.0).tracked();
/// let y = apply(Cube, &[&x]);
/// assert_eq!((y.item(), y.backward().get(&x).unwrap().item()), (8.0, 12.0));
/// ```
pub trait Op: Any + Send + Sync {
    /// Its name, as errors, plans and files spell it.
    fn name(&self) -> &'static str;

    /// Its attributes: equality, plans, errors, ONNX and tests all read the same.
    fn attributes(&self) -> Vec<(&'static str, Attribute)> {
        Vec::new()
    }

    /// Shapes and types of its outputs, or why the operands do not fit.
    fn outputs(&self, x: &[Spec]) -> Result<Vec<Spec>>;

    /// Its derivative at `x`, where its outputs are `y`: one joint map for one mode, made of public tensor
    /// operations, keeping only what `wanted` inputs need.
    fn linearize(&self, x: &[Tensor], y: &[Tensor], mode: Mode, wanted: &[bool]) -> LinearMap;

    /// How a batch axis passes through: `axes[i]` is its place in input `i`, `None` where there is none.
    fn batch(&self, x: &[Spec], axes: &[Option<usize>]) -> Batch {
        let _ = (x, axes);
        Batch::Mixes
    }

    /// The same operation for a block of `n` examples along `axes`, where its attributes hold sizes; `None`
    /// when it serves as it is.
    fn for_examples(&self, x: &[Spec], axes: &[Option<usize>], n: usize) -> Option<Arc<dyn Op>> {
        let _ = (x, axes, n);
        None
    }

    /// What one call costs.
    fn cost(&self, x: &[Spec], y: &[Spec]) -> Cost {
        Cost { bytes: x.iter().chain(y).map(|s| s.bytes() as u64).sum(), ..Cost::default() }
    }

    /// Working memory in bytes, by shape alone.
    fn scratch(&self, x: &[Spec]) -> usize {
        let _ = x;
        0
    }

    /// Does its kernel want input `i` in row-major order without gaps? `apply` packs then.
    fn packed(&self, input: usize) -> bool {
        let _ = input;
        true
    }

    /// Does its kernel report bad values? Then it runs even where nobody reads its results.
    fn faults(&self) -> bool {
        false
    }

    /// The kernel for the processor.
    fn cpu(&self, call: cpu::Call<'_>);

    /// The same operation by an algorithm for recorded steps, and its name for plans, where one is faster on these
    /// operands: its results are this one's within rounding.
    fn recorded(&self, x: &[Spec]) -> Option<(Arc<dyn Op>, &'static str)> {
        let _ = x;
        None
    }

    /// A kernel for [`LANES`] examples side by side, where the operation has one for these operands; see [`Lanes`].
    ///
    /// `x` and `axes` describe one block: `x[i].shape[axes[i]] == LANES`. With `then`, it is the kernel of this
    /// operation and those after it, each of which takes the first output of the one before as its first operand;
    /// nobody else reads that. Operands are this operation's, then the others' further ones in order; outputs are
    /// the last one's.
    fn lanes(&self, x: &[Spec], axes: &[Option<usize>], then: &[&dyn Op]) -> Option<Lanes> {
        let _ = (x, axes, then);
        None
    }

    /// [`Op::lanes`] where operand `operand` is made by `maker` and only read here: the kernel takes the maker's own
    /// operands in its place, in order, and what the maker would have written is never there.
    ///
    /// `x` and `axes` describe this operation's own operands, as for [`Op::lanes`]. `None` where the two one after
    /// the other are faster.
    fn lanes_from(
        &self,
        x: &[Spec],
        axes: &[Option<usize>],
        operand: usize,
        maker: &dyn Op,
    ) -> Option<Lanes> {
        let _ = (x, axes, operand, maker);
        None
    }

    /// [`Op::lanes_from`] of this operation and of `other`, which reads the same value of `maker`'s, as one kernel:
    /// its operands are those of `lanes_from`, then `other`'s without that value; its outputs this one's, then
    /// `other`'s.
    fn lanes_from_with(
        &self,
        x: &[Spec],
        axes: &[Option<usize>],
        operand: usize,
        maker: &dyn Op,
        other: &dyn Op,
    ) -> Option<Lanes> {
        let _ = (x, axes, operand, maker, other);
        None
    }

    /// The output as another view of the only input's buffer, where that is all there is to do. It must have the shape
    /// and type that `outputs` says, and stay between the operand's first and last element: applying it panics otherwise.
    fn view(&self, x: &Layout) -> Option<Layout> {
        let _ = x;
        None
    }

    /// The device the output is on, for transfers.
    fn destination(&self) -> Option<Device> {
        None
    }

    /// Behind a shared pointer.
    fn shared(self) -> Arc<dyn Op>
    where
        Self: Sized,
    {
        Arc::new(self)
    }
}

impl dyn Op {
    /// Itself, where it is a `T`: whoever knows an operation knows its type, since a name is free for anyone.
    pub(crate) fn is_a<T: Op>(&self) -> Option<&T> {
        (self as &dyn Any).downcast_ref()
    }
}

/// Examples side by side in a block's lanes.
pub const LANES: usize = 16;

/// A kernel that works on [`LANES`] examples at once, one an element of a vector register.
///
/// An operand with a batch axis lies packed as its shape without that axis, then the lanes: `[c, h, w]` of each
/// example are `[c][h][w][16]`. So do the outputs of [`Batch::Each`]; those of [`Batch::Sums`] are packed as their
/// shape says, and are added to what is there when [`cpu::Call::accumulate`] says so. Operands without a batch axis
/// lie as for [`Op::cpu`]. A kernel of lanes works for all examples alike: its result for one depends on that one
/// alone, bit for bit.
pub struct Lanes {
    /// Working memory in bytes.
    pub scratch: usize,
    /// The kernel.
    pub run: Box<dyn Fn(cpu::Call<'_>) + Send + Sync>,
}

/// The derivative for one mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Tangents of inputs → tangents of outputs.
    Push,
    /// Cotangents of outputs → cotangents of inputs.
    Pull,
}

/// How a batch axis passes through an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Batch {
    /// Every example alike: the axis is at these places of the outputs.
    Each(Vec<usize>),
    /// The outputs are sums over the batch.
    Sums,
    /// Examples meet in some other way, or the operation does not say.
    Mixes,
}

/// What one call of an operation costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Additions, subtractions, comparisons.
    pub additions: u64,
    /// Multiplications and divisions.
    pub multiplications: u64,
    /// Elementary functions: exp, ln, tanh, …
    pub elementary: u64,
    /// Bytes read and written.
    pub bytes: u64,
    /// Bytes kept for the way back, when every input is differentiated.
    pub saved: u64,
}

impl Cost {
    /// Additions, multiplications and elementary functions together.
    pub fn flops(&self) -> u64 {
        self.additions + self.multiplications + self.elementary
    }

    /// Bytes read and written once, beside the numbers given.
    pub(crate) fn moving(self, x: &[Spec], y: &[Spec]) -> Cost {
        Cost { bytes: x.iter().chain(y).map(|s| s.bytes() as u64).sum(), ..self }
    }
}

impl std::ops::Add for Cost {
    type Output = Cost;
    fn add(self, o: Cost) -> Cost {
        Cost {
            additions: self.additions + o.additions,
            multiplications: self.multiplications + o.multiplications,
            elementary: self.elementary + o.elementary,
            bytes: self.bytes + o.bytes,
            saved: self.saved + o.saved,
        }
    }
}

/// The value of an operation's attribute.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Attribute {
    /// A truth value.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Whole numbers.
    Ints(Vec<i64>),
    /// A real number.
    Float(f64),
    /// A word.
    Text(&'static str),
    /// An element type.
    DType(DType),
}

macro_rules! attributes {
    ($($t:ty => |$x:ident| $e:expr;)*) => {$(
        impl From<$t> for Attribute {
            fn from($x: $t) -> Self { $e }
        }
    )*};
}
attributes! {
    bool => |x| Attribute::Bool(x);
    i64 => |x| Attribute::Int(x);
    usize => |x| Attribute::Int(x as i64);
    f64 => |x| Attribute::Float(x);
    &'static str => |x| Attribute::Text(x);
    DType => |x| Attribute::DType(x);
    &[usize] => |x| Attribute::Ints(x.iter().map(|i| *i as i64).collect());
    [usize; 2] => |x| Attribute::from(&x[..]);
    &[isize] => |x| Attribute::Ints(x.iter().map(|i| *i as i64).collect());
}

impl fmt::Display for Attribute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Attribute::Bool(x) => write!(f, "{x}"),
            Attribute::Int(x) => write!(f, "{x}"),
            Attribute::Ints(x) => write!(f, "{x:?}"),
            Attribute::Float(x) => write!(f, "{x}"),
            Attribute::Text(x) => f.write_str(x),
            Attribute::DType(x) => write!(f, "{x}"),
        }
    }
}

/// The operation's view of an operand that lies so.
///
/// # Panics
/// When the operation leaves what the operand holds.
pub(crate) fn view(op: &dyn Op, x: &Layout) -> Option<Layout> {
    let layout = op.view(x)?;
    assert!(layout.within(x), "`view` of operation {} leaves its operand: {layout:?} of {x:?}", op.name());
    Some(layout)
}

/// Operands and attributes in one line, for errors.
pub(crate) fn operands(op: &dyn Op, x: &[Spec]) -> String {
    let shapes = x.iter().map(|s| format!("{:?} {}", s.shape, s.dtype));
    let attributes = op.attributes().into_iter().map(|(k, v)| format!("{k} {v}"));
    shapes.chain(attributes).collect::<Vec<_>>().join(", ")
}

/// The axes an operation that acts on each element alike keeps: a batch axis that all operands share.
pub(crate) fn pointwise(axes: &[Option<usize>]) -> Batch {
    let mut places = axes.iter().flatten();
    match places.next() {
        Some(a) if axes.iter().all(|b| *b == Some(*a)) => Batch::Each(vec![*a]),
        _ => Batch::Mixes,
    }
}

/// Both operands have one shape and one type, or say how they differ.
pub(crate) fn alike(x: &[Spec]) -> Result<()> {
    use crate::error::Error;
    if let Some(o) = x.iter().find(|s| s.shape != x[0].shape) {
        return Err(Error::mistake(format!("shapes {:?} and {:?} differ", x[0].shape, o.shape))
            .help("`expand` one to the other's shape"));
    }
    if let Some(o) = x.iter().find(|s| s.dtype != x[0].dtype) {
        return Err(
            Error::mistake(format!("types {} and {} differ", x[0].dtype, o.dtype)).help("`cast` one of them")
        );
    }
    Ok(())
}

/// Only real numbers can go in.
pub(crate) fn floats(x: &[Spec]) -> Result<()> {
    match x.iter().find(|s| !s.dtype.is_float()) {
        Some(s) => Err(crate::error::Error::mistake(format!("needs real numbers, got {}", s.dtype))
            .help("cast it first: `x.cast(DType::F32)`")),
        None => Ok(()),
    }
}
