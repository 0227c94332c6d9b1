//! Networks: what has parameters, what can be called, and PyTorch's layers.

mod conv;
pub mod init;
mod layers;
mod linear;
mod loss;
mod norm;
mod parameters;
mod sequential;
mod summary;

use std::panic::Location;

pub use conv::Conv2d;
pub use layers::{AvgPool2d, Dropout, Flatten, Identity, MaxPool2d, Relu, Sigmoid, Tanh};
pub use linear::Linear;
pub use loss::CrossEntropyLoss;
pub use norm::BatchNorm2d;
pub use parameters::{Leaf, Parameters, ParametersExt, Training, Visitor};
pub use sequential::{IntoModule, IsFunction, IsModule, Layers, Sequential};
pub use summary::{Row, Summary};

use crate::{apply::Path, context, tensor::Tensor};

/// A function from tensor to tensor, with parameters. Call it through [`Call::call`].
///
/// ```
/// use cotangent::{nn::{Call, Module, Parameters, Visitor}, Param, Tensor};
///
/// /// `y = s·x`
/// struct Scale { s: Param }
///
/// impl Parameters for Scale {                      // or #[derive(Parameters)]
///     fn visit(&self, visitor: &mut Visitor<'_>) {
///         visitor.child("s", &self.s)
///     }
/// }
/// impl Module for Scale {
///     fn forward(&self, x: &Tensor) -> Tensor {
///         x * self.s.get()
///     }
/// }
///
/// let m = Scale { s: Param::new(Tensor::from(2.0)) };
/// assert_eq!(m.call(&Tensor::from(3.0)).item(), 6.0);
/// ```
pub trait Module: Parameters + Send + Sync {
    /// The value at `x`. Children are called through [`Call::call`], so that errors and plans can name them.
    fn forward(&self, x: &Tensor) -> Tensor;

    /// What it is, in one line, for summaries: `Conv2d 1→6 5×5 p2`.
    fn describe(&self) -> String {
        let name = std::any::type_name::<Self>();
        name.split('<').next().and_then(|n| n.rsplit("::").next()).unwrap_or(name).to_string()
    }
}

/// Calling a module: its forward, with its name and the caller's line known to everything inside.
pub trait Call: Module {
    /// `forward(x)`, named as the module that calls it names this child.
    #[track_caller]
    fn call(&self, x: &Tensor) -> Tensor {
        let own = parameters::address(self);
        let name = context::with(|c| {
            let children = &c.frames.last()?.children;
            // The same object behind a trait has another type's name.
            let at = |a: parameters::Address| (a.0, a.1);
            let found = children.iter().find(|child| child.address == own);
            let found =
                found.or_else(|| children.iter().find(|child| own.1 > 0 && at(child.address) == at(own)));
            found.map(|child| child.name.clone())
        });
        enter(self, name, Location::caller(), x)
    }

    /// `forward(x)`, named by a container, such as its index.
    #[track_caller]
    fn call_as(&self, name: &str, x: &Tensor) -> Tensor {
        enter(self, Some(name.to_string()), Location::caller(), x)
    }
}

impl<M: Module + ?Sized> Call for M {}

fn enter<M: Module + ?Sized>(
    m: &M,
    name: Option<String>,
    site: &'static Location<'static>,
    x: &Tensor,
) -> Tensor {
    let path = inner(name);
    let frame = Frame { path: path.clone(), site, children: parameters::children(m) };
    let _frame = inside(frame);
    let y = m.forward(x);
    if context::with(|c| !c.observers.is_empty()) {
        crate::observe::module(&path, &m.describe(), x, &y);
    }
    y
}

/// The path of what is called `name` inside of the module being called.
fn inner(name: Option<String>) -> Path {
    let outer = context::path();
    Path(match name {
        None => outer.0,
        Some(name) if outer.is_empty() => Some(name.into()),
        Some(name) => Some(format!("{}.{name}", &*outer).into()),
    })
}

/// Call what `frame` says until the scope ends.
fn inside(frame: Frame) -> context::Scope<fn(&mut context::Context)> {
    context::scope(|c| c.frames.push(frame), |c| drop(c.frames.pop()))
}

/// A module being called.
pub(crate) struct Frame {
    pub path: Path,
    pub site: &'static Location<'static>,
    /// What it may call, by address.
    pub children: Vec<parameters::Child>,
}
