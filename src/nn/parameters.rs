//! What has parameters: a tree of cells with PyTorch's dotted names.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    hash::{BuildHasher, Hash},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use crate::{
    Gradients,
    cell::{Param, Rng, Scalar, State},
    context,
    device::Device,
    error::{Error, Result},
    tensor::Tensor,
};

/// Has parameters, state, generators, or children that have. `#[derive(Parameters)]` writes it.
pub trait Parameters {
    /// Show every child by its name.
    fn visit(&self, visitor: &mut Visitor<'_>);
}

/// A cell at the end of a path.
#[derive(Clone, Copy)]
pub enum Leaf<'a> {
    /// Trainable.
    Param(&'a Param),
    /// Changed by steps, kept in checkpoints (PyTorch's buffers).
    State(&'a State),
    /// A number.
    Scalar(&'a Scalar),
    /// A random generator.
    Rng(&'a Rng),
    /// Training or evaluating.
    Training(&'a Training),
}

/// Walks the tree; [`Parameters::visit`] shows it each child.
pub struct Visitor<'v> {
    path: String,
    sink: Sink<'v>,
}

enum Sink<'v> {
    Leaves(&'v mut dyn FnMut(&str, Leaf<'_>)),
    Children(&'v mut Vec<Child>),
}

/// A module that another one may call.
pub(crate) struct Child {
    pub address: Address,
    pub name: String,
}

/// Where something lies, its size and its type: a field and the struct it begins share the place alone, and so
/// do things without size.
pub(crate) type Address = (usize, usize, &'static str);

pub(crate) fn address<T: ?Sized>(x: &T) -> Address {
    (std::ptr::from_ref(x).cast::<()>().addr(), size_of_val(x), std::any::type_name::<T>())
}

/// All modules below one, by address.
pub(crate) fn children<M: Parameters + ?Sized>(m: &M) -> Vec<Child> {
    let mut found = Vec::new();
    m.visit(&mut Visitor { path: String::new(), sink: Sink::Children(&mut found) });
    found
}

impl Visitor<'_> {
    /// A child and its name among its siblings.
    pub fn child<T: Parameters + ?Sized>(&mut self, name: &str, child: &T) {
        let before = self.path.len();
        if before > 0 {
            self.path.push('.');
        }
        self.path.push_str(name);
        if let Sink::Children(found) = &mut self.sink {
            found.push(Child { address: address(child), name: self.path.clone() });
        }
        child.visit(self);
        self.path.truncate(before);
    }

    /// What a pointer points to: it has no name of its own.
    pub fn inside<T: Parameters + ?Sized>(&mut self, inner: &T) {
        if let Sink::Children(found) = &mut self.sink {
            found.push(Child { address: address(inner), name: self.path.clone() });
        }
        inner.visit(self);
    }

    /// The end of a path.
    pub fn leaf(&mut self, leaf: Leaf<'_>) {
        match &mut self.sink {
            Sink::Leaves(f) => f(&self.path, leaf),
            // A cell is no module.
            Sink::Children(found) => drop(found.pop()),
        }
    }
}

macro_rules! leaves {
    ($($t:ident),*) => {$(
        impl Parameters for $t {
            fn visit(&self, visitor: &mut Visitor<'_>) {
                visitor.leaf(Leaf::$t(self))
            }
        }
    )*};
}
leaves!(Param, State, Scalar, Rng, Training);

impl<T: Parameters + ?Sized> Parameters for Box<T> {
    fn visit(&self, visitor: &mut Visitor<'_>) {
        visitor.inside(&**self)
    }
}
impl<T: Parameters + ?Sized> Parameters for Arc<T> {
    fn visit(&self, visitor: &mut Visitor<'_>) {
        visitor.inside(&**self)
    }
}
impl<T: Parameters + ?Sized> Parameters for &T {
    fn visit(&self, visitor: &mut Visitor<'_>) {
        visitor.inside(&**self)
    }
}
impl<T: Parameters> Parameters for Option<T> {
    fn visit(&self, visitor: &mut Visitor<'_>) {
        if let Some(inner) = self {
            visitor.inside(inner)
        }
    }
}
impl<T: Parameters> Parameters for [T] {
    fn visit(&self, visitor: &mut Visitor<'_>) {
        self.iter().enumerate().for_each(|(i, x)| visitor.child(&i.to_string(), x))
    }
}
impl<T: Parameters> Parameters for Vec<T> {
    fn visit(&self, visitor: &mut Visitor<'_>) {
        self[..].visit(visitor)
    }
}
impl<T: Parameters, const N: usize> Parameters for [T; N] {
    fn visit(&self, visitor: &mut Visitor<'_>) {
        self[..].visit(visitor)
    }
}
impl<K: ToString + Ord, T: Parameters> Parameters for BTreeMap<K, T> {
    fn visit(&self, visitor: &mut Visitor<'_>) {
        self.iter().for_each(|(k, x)| visitor.child(&k.to_string(), x))
    }
}
impl<K: ToString + Eq + Hash, T: Parameters, S: BuildHasher> Parameters for HashMap<K, T, S> {
    /// In the order of the names: nothing depends on hash order.
    fn visit(&self, visitor: &mut Visitor<'_>) {
        let mut named: Vec<(String, &T)> = self.iter().map(|(k, x)| (k.to_string(), x)).collect();
        named.sort_by(|a, b| a.0.cmp(&b.0));
        named.into_iter().for_each(|(k, x)| visitor.child(&k, x))
    }
}
impl Parameters for () {
    fn visit(&self, _: &mut Visitor<'_>) {}
}
macro_rules! tuples {
    ($($($t:ident $i:tt),+;)*) => {$(
        impl<$($t: Parameters),+> Parameters for ($($t,)+) {
            fn visit(&self, visitor: &mut Visitor<'_>) {
                $(visitor.child(stringify!($i), &self.$i);)+
            }
        }
    )*};
}
tuples! {
    A 0; A 0, B 1; A 0, B 1, C 2; A 0, B 1, C 2, D 3; A 0, B 1, C 2, D 3, E 4; A 0, B 1, C 2, D 3, E 4, F 5;
    A 0, B 1, C 2, D 3, E 4, F 5, G 6; A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7;
}

/// Whether a layer such as dropout trains or evaluates; a shared flag, apart from [`crate::no_grad`] (row C20).
#[derive(Clone, Debug)]
pub struct Training(Arc<AtomicBool>);

impl Default for Training {
    fn default() -> Self {
        Training(Arc::new(AtomicBool::new(true)))
    }
}

impl Training {
    /// Training?
    pub fn is_on(&self) -> bool {
        let on = self.0.load(Relaxed);
        crate::step::record::note_flag(&self.0, on);
        on
    }

    /// Train, or evaluate.
    pub fn set(&self, on: bool) {
        self.0.store(on, Relaxed)
    }
}

/// What can be asked of everything with parameters.
pub trait ParametersExt: Parameters {
    /// Every leaf with its path, in order; a shared one each time it is met.
    fn for_each(&self, f: &mut dyn FnMut(&str, Leaf<'_>)) {
        self.visit(&mut Visitor { path: String::new(), sink: Sink::Leaves(f) });
    }

    /// Trainable parameters with their names, each once, under the first name it is met by.
    ///
    /// ```
    /// use cotangent::{nn::{Linear, ParametersExt}, Rng};
    /// let names: Vec<String> = Linear::new(3, 2, &Rng::new(0)).parameters().into_iter().map(|(n, _)| n).collect();
    /// assert_eq!(names, ["weight", "bias"]);
    /// ```
    fn parameters(&self) -> Vec<(String, Param)> {
        let (mut found, mut seen) = (Vec::new(), HashSet::new());
        self.for_each(&mut |name, leaf| {
            if let Leaf::Param(p) = leaf
                && seen.insert(p.0.id)
            {
                found.push((name.to_string(), p.clone()));
            }
        });
        found
    }

    /// State with its names, each once (PyTorch's buffers).
    fn states(&self) -> Vec<(String, State)> {
        let (mut found, mut seen) = (Vec::new(), HashSet::new());
        self.for_each(&mut |name, leaf| {
            if let Leaf::State(s) = leaf
                && seen.insert(s.0.id)
            {
                found.push((name.to_string(), s.clone()));
            }
        });
        found
    }

    /// Random generators with their names, each once.
    fn generators(&self) -> Vec<(String, Rng)> {
        let (mut found, mut seen) = (Vec::new(), HashSet::new());
        self.for_each(&mut |name, leaf| {
            if let Leaf::Rng(r) = leaf
                && seen.insert(r.0.id)
            {
                found.push((name.to_string(), r.clone()));
            }
        });
        found
    }

    /// The parameters' values, in [`ParametersExt::parameters`] order; within [`ParametersExt::with`], the ones
    /// that stand in for them.
    fn values(&self) -> Vec<Tensor> {
        self.parameters().iter().map(|(_, p)| p.stand_in().unwrap_or_else(|| p.value())).collect()
    }

    /// The number of trainable numbers, shared ones counted once.
    fn parameter_count(&self) -> usize {
        self.parameters().iter().map(|(_, p)| p.spec().shape.len()).sum()
    }

    /// Run `f` with other values in place of the parameters, in [`ParametersExt::parameters`] order; the cells
    /// keep theirs. So a model is a function of its parameters that any transform can take.
    ///
    /// # Panics
    /// When there are not as many values as parameters, or one has another shape.
    #[track_caller]
    fn with<T>(&self, values: &[Tensor], f: impl FnOnce(&Self) -> T) -> T {
        let parameters = self.parameters();
        if parameters.len() != values.len() {
            Error::mistake(format!("with: {} values for {} parameters", values.len(), parameters.len()))
                .raise()
        }
        for ((name, p), v) in parameters.iter().zip(values) {
            if p.spec().shape != *v.shape() {
                Error::mistake(format!(
                    "with: `{name}` has shape {:?}, its value {:?}",
                    p.spec().shape,
                    v.shape()
                ))
                .raise()
            }
        }
        let stand_ins = parameters.iter().zip(values).map(|((_, p), v)| (p.0.id, v.clone())).collect();
        let _scope = context::scope(|c| c.substitutions.push(stand_ins), |c| drop(c.substitutions.pop()));
        f(self)
    }

    /// Train: dropout drops, batch norm uses and updates batch statistics.
    fn train(&self) {
        self.for_each(&mut |_, leaf| {
            if let Leaf::Training(t) = leaf {
                t.set(true)
            }
        })
    }

    /// Evaluate: dropout is the identity, batch norm uses running statistics.
    fn eval(&self) {
        self.for_each(&mut |_, leaf| {
            if let Leaf::Training(t) = leaf {
                t.set(false)
            }
        })
    }

    /// Stop (or resume) training all parameters below.
    fn freeze(&self, frozen: bool) {
        self.parameters().iter().for_each(|(_, p)| p.freeze(frozen))
    }

    /// Move all cells to a device, for good.
    fn to_device(&self, device: &Device) {
        self.for_each(&mut |_, leaf| match leaf {
            Leaf::Param(p) => p.to_device(device),
            Leaf::State(s) => s.to_device(device),
            Leaf::Scalar(_) | Leaf::Rng(_) | Leaf::Training(_) => {}
        })
    }

    /// The gradients of all parameters, in order; zeros where the loss does not depend on one.
    fn gradients(&self, gradients: &Gradients) -> Vec<Tensor> {
        let of = |p: &Param| p.gradient(gradients).cloned().unwrap_or_else(|| p.value().zeros_like());
        self.parameters().iter().map(|(_, p)| of(p)).collect()
    }

    /// Names and values of parameters and state, as PyTorch's `state_dict`.
    fn state_dict(&self) -> Vec<(String, Tensor)> {
        let mut all = Vec::new();
        self.for_each(&mut |name, leaf| match leaf {
            Leaf::Param(p) => all.push((name.to_string(), p.value())),
            Leaf::State(s) => all.push((name.to_string(), s.value())),
            Leaf::Scalar(_) | Leaf::Rng(_) | Leaf::Training(_) => {}
        });
        all
    }

    /// Take values by name, as PyTorch's strict `load_state_dict`: all or nothing.
    ///
    /// # Errors
    /// When names are missing or unknown, or a shape differs; then nothing has changed.
    fn load_state_dict(&self, values: &HashMap<String, Tensor>) -> Result<()> {
        let own: HashMap<String, Tensor> = self.state_dict().into_iter().collect();
        let sorted = |mut v: Vec<String>| {
            v.sort();
            v.join(", ")
        };
        let missing: Vec<String> = own.keys().filter(|k| !values.contains_key(*k)).cloned().collect();
        let unknown: Vec<String> = values.keys().filter(|k| !own.contains_key(*k)).cloned().collect();
        if !missing.is_empty() || !unknown.is_empty() {
            let part = |what: &str, v: Vec<String>| {
                if v.is_empty() { String::new() } else { format!(" {what}: {}.", sorted(v)) }
            };
            let text =
                format!("the names do not match.{}{}", part("Missing", missing), part("Unknown", unknown));
            return Err(Error::other(text).help("the file must come from the same network"));
        }
        for (name, old) in &own {
            let new = &values[name];
            if old.shape() != new.shape() {
                let text =
                    format!("`{name}` has shape {:?} here and {:?} in the file", old.shape(), new.shape());
                return Err(Error::other(text).help("the file must come from the same network"));
            }
        }
        self.for_each(&mut |name, leaf| {
            let put = |old: Tensor| values[name].cast(old.dtype()).to(&old.device());
            match leaf {
                Leaf::Param(p) => p.set(&put(p.value())),
                Leaf::State(s) => s.set(&put(s.value())),
                Leaf::Scalar(_) | Leaf::Rng(_) | Leaf::Training(_) => {}
            }
        });
        Ok(())
    }
}

impl<T: Parameters + ?Sized> ParametersExt for T {}
