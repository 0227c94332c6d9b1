//! Layers without parameters: pooling, activations, flattening, dropout.

use super::{Module, Parameters, Training, Visitor};
use crate::{Rng, Tensor, ops::Pool};

macro_rules! stateless {
    ($($(#[$doc:meta])* $name:ident: |$x:ident| $e:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default)]
        pub struct $name;
        impl Parameters for $name {
            fn visit(&self, _: &mut Visitor<'_>) {}
        }
        impl Module for $name {
            fn forward(&self, $x: &Tensor) -> Tensor {
                $e
            }
            fn describe(&self) -> String {
                stringify!($name).into()
            }
        }
    )*};
}
stateless! {
    /// `y = max(0, x)` (row D5).
    Relu: |x| x.relu();
    /// `y = 1/(1 + e⁻ˣ)` (row D6).
    Sigmoid: |x| x.sigmoid();
    /// `y = tanh x` (row D7).
    Tanh: |x| x.tanh();
    /// `[n, ..]` → `[n, the product of the rest]`.
    Flatten: |x| x.flatten(1);
    /// `y = x`
    Identity: |x| x.clone();
}

macro_rules! pools {
    ($($(#[$doc:meta])* $name:ident $method:ident $word:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub struct $name(pub Pool);
        impl $name {
            /// A window of this size, side by side; or all options.
            pub fn new(pool: impl Into<Pool>) -> Self {
                $name(pool.into())
            }
        }
        impl Parameters for $name {
            fn visit(&self, _: &mut Visitor<'_>) {}
        }
        impl Module for $name {
            fn forward(&self, x: &Tensor) -> Tensor {
                x.$method(self.0)
            }
            fn describe(&self) -> String {
                format!(concat!($word, " {}"), self.0)
            }
        }
    )*};
}
pools! {
    /// The largest value of each window (row G10).
    MaxPool2d max_pool2d "MaxPool";
    /// The mean of each window (row G12).
    AvgPool2d avg_pool2d "AvgPool";
}

/// While training each element is 0 with probability `p`, else divided by `1 − p`; the identity while
/// evaluating. Owns its generator (row E50).
///
/// ```
/// use cotangent::{nn::{Call, Dropout, ParametersExt}, Rng, Tensor};
/// let d = Dropout::new(0.5, &Rng::new(0));
/// d.eval();
/// assert_eq!(d.call(&Tensor::ones([4])).to_vec::<f32>(), [1.0; 4]);
/// ```
#[derive(Clone, Debug)]
pub struct Dropout {
    p: f64,
    rng: Rng,
    training: Training,
}

impl Dropout {
    /// With a generator of its own, started from `rng`.
    pub fn new(p: f64, rng: &Rng) -> Self {
        // A stream of its own: what other layers draw must not move it.
        let own = rng.fork();
        Dropout { p, rng: own, training: Training::default() }
    }
}

impl Parameters for Dropout {
    fn visit(&self, visitor: &mut Visitor<'_>) {
        visitor.child("rng", &self.rng);
        visitor.child("training", &self.training);
    }
}

impl Module for Dropout {
    fn forward(&self, x: &Tensor) -> Tensor {
        if self.training.is_on() && self.p > 0.0 { x.dropout(self.p, &self.rng) } else { x.clone() }
    }
    fn describe(&self) -> String {
        format!("Dropout {}", self.p)
    }
}
