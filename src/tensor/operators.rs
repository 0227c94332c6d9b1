//! `+ − × ÷` between tensors, owned or borrowed, and plain numbers on either side.

use super::Tensor;
use crate::ops::{Arithmetic, arithmetic};

macro_rules! operators {
    ($($trait:ident $method:ident $doc:literal),*) => {$(
        impl std::ops::$trait<&Tensor> for &Tensor {
            type Output = Tensor;
            #[doc = $doc]
            #[track_caller]
            fn $method(self, b: &Tensor) -> Tensor {
                arithmetic::binary(Arithmetic::$trait, self, b)
            }
        }
        impl std::ops::$trait<Tensor> for &Tensor {
            type Output = Tensor;
            #[track_caller]
            fn $method(self, b: Tensor) -> Tensor {
                arithmetic::binary(Arithmetic::$trait, self, &b)
            }
        }
        impl std::ops::$trait<&Tensor> for Tensor {
            type Output = Tensor;
            #[track_caller]
            fn $method(self, b: &Tensor) -> Tensor {
                arithmetic::binary(Arithmetic::$trait, &self, b)
            }
        }
        impl std::ops::$trait<Tensor> for Tensor {
            type Output = Tensor;
            #[track_caller]
            fn $method(self, b: Tensor) -> Tensor {
                arithmetic::binary(Arithmetic::$trait, &self, &b)
            }
        }
        operators!(@numbers $trait $method: f64 i64);
    )*};
    (@numbers $trait:ident $method:ident: $($t:ty)*) => {$(
        impl std::ops::$trait<$t> for &Tensor {
            type Output = Tensor;
            #[track_caller]
            fn $method(self, b: $t) -> Tensor {
                arithmetic::binary(Arithmetic::$trait, self, &self.beside(b))
            }
        }
        impl std::ops::$trait<$t> for Tensor {
            type Output = Tensor;
            #[track_caller]
            fn $method(self, b: $t) -> Tensor {
                arithmetic::binary(Arithmetic::$trait, &self, &self.beside(b))
            }
        }
        impl std::ops::$trait<&Tensor> for $t {
            type Output = Tensor;
            #[track_caller]
            fn $method(self, b: &Tensor) -> Tensor {
                arithmetic::binary(Arithmetic::$trait, &b.beside(self), b)
            }
        }
        impl std::ops::$trait<Tensor> for $t {
            type Output = Tensor;
            #[track_caller]
            fn $method(self, b: Tensor) -> Tensor {
                arithmetic::binary(Arithmetic::$trait, &b.beside(self), &b)
            }
        }
    )*};
}

operators!(
    Add add "`y = a + b`,  `dy = da + db`",
    Sub sub "`y = a − b`,  `dy = da − db`",
    Mul mul "`y = a·b`,  `dy = b·da + a·db`",
    Div div "`y = a/b`,  `dy = (da − y·db)/b`; integers become `F32` first"
);
