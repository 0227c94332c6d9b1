//! One after the other.

use std::sync::Arc;

use super::{Call, Module, Parameters, Visitor};
use crate::Tensor;

/// `y = fₙ(…f₂(f₁(x)))`; layers are named by their index, as PyTorch's.
///
/// A function from tensor to tensor is a layer too.
///
/// ```
/// use cotangent::{nn::{Call, Linear, ParametersExt, Sequential}, Rng, Tensor};
/// let rng = Rng::new(0);
/// let net = Sequential::new((Linear::new(784, 128, &rng), Tensor::relu, Linear::new(128, 10, &rng)));
/// assert_eq!(net.call(&Tensor::zeros([2, 784])).shape()[..], [2, 10]);
/// assert_eq!(net.parameters()[2].0, "2.weight");
/// ```
#[derive(Clone, Default)]
pub struct Sequential {
    layers: Vec<Arc<dyn Module>>,
}

impl Sequential {
    /// From a tuple or a `Vec` of modules and functions.
    pub fn new<K>(layers: impl Layers<K>) -> Self {
        Sequential { layers: layers.list() }
    }

    /// One more at the end.
    #[must_use]
    pub fn then<K>(mut self, layer: impl IntoModule<K>) -> Self {
        self.layers.push(layer.into_module());
        self
    }

    /// How many layers.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.layers.len()
    }
}

impl Parameters for Sequential {
    fn visit(&self, visitor: &mut Visitor<'_>) {
        self.layers.visit(visitor)
    }
}

impl Module for Sequential {
    fn forward(&self, x: &Tensor) -> Tensor {
        self.layers.iter().enumerate().fold(x.clone(), |x, (i, layer)| layer.call_as(&i.to_string(), &x))
    }
}

impl Module for Arc<dyn Module> {
    fn forward(&self, x: &Tensor) -> Tensor {
        (**self).forward(x)
    }
    fn describe(&self) -> String {
        (**self).describe()
    }
}

impl Module for Box<dyn Module> {
    fn forward(&self, x: &Tensor) -> Tensor {
        (**self).forward(x)
    }
    fn describe(&self) -> String {
        (**self).describe()
    }
}

/// A module, or a function from tensor to tensor. `K` tells them apart.
pub trait IntoModule<K> {
    /// As a module.
    fn into_module(self) -> Arc<dyn Module>;
}

/// It is a module.
#[doc(hidden)]
pub enum IsModule {}
/// It is a function.
#[doc(hidden)]
pub enum IsFunction {}

impl<M: Module + 'static> IntoModule<IsModule> for M {
    fn into_module(self) -> Arc<dyn Module> {
        Arc::new(self)
    }
}

impl<F: Fn(&Tensor) -> Tensor + Send + Sync + 'static> IntoModule<IsFunction> for F {
    fn into_module(self) -> Arc<dyn Module> {
        Arc::new(Function(self))
    }
}

/// A function as a module.
struct Function<F>(F);

impl<F> Parameters for Function<F> {
    fn visit(&self, _: &mut Visitor<'_>) {}
}

impl<F: Fn(&Tensor) -> Tensor + Send + Sync> Module for Function<F> {
    fn forward(&self, x: &Tensor) -> Tensor {
        (self.0)(x)
    }
    fn describe(&self) -> String {
        let name = std::any::type_name::<F>();
        let last = name.rsplit("::").next().unwrap_or(name);
        if last.starts_with("{{") { "function".into() } else { last.into() }
    }
}

/// Several layers.
pub trait Layers<K> {
    /// As a list.
    fn list(self) -> Vec<Arc<dyn Module>>;
}

impl<K, T: IntoModule<K>> Layers<(K,)> for Vec<T> {
    fn list(self) -> Vec<Arc<dyn Module>> {
        self.into_iter().map(IntoModule::into_module).collect()
    }
}

macro_rules! tuples {
    ($($($t:ident $k:ident $i:tt),+;)*) => {$(
        impl<$($t: IntoModule<$k>, $k),+> Layers<($($k,)+)> for ($($t,)+) {
            fn list(self) -> Vec<Arc<dyn Module>> {
                vec![$(self.$i.into_module()),+]
            }
        }
    )*};
}
tuples! {
    A K 0;
    A K 0, B L 1;
    A K 0, B L 1, C M 2;
    A K 0, B L 1, C M 2, D N 3;
    A K 0, B L 1, C M 2, D N 3, E O 4;
    A K 0, B L 1, C M 2, D N 3, E O 4, F P 5;
    A K 0, B L 1, C M 2, D N 3, E O 4, F P 5, G Q 6;
    A K 0, B L 1, C M 2, D N 3, E O 4, F P 5, G Q 6, H R 7;
    A K 0, B L 1, C M 2, D N 3, E O 4, F P 5, G Q 6, H R 7, I S 8;
    A K 0, B L 1, C M 2, D N 3, E O 4, F P 5, G Q 6, H R 7, I S 8, J T 9;
    A K 0, B L 1, C M 2, D N 3, E O 4, F P 5, G Q 6, H R 7, I S 8, J T 9, X U 10;
    A K 0, B L 1, C M 2, D N 3, E O 4, F P 5, G Q 6, H R 7, I S 8, J T 9, X U 10, Y V 11;
}
