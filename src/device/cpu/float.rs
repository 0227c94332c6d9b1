//! The two kinds of real numbers that kernels compute with.
#![allow(unsafe_code)]

use std::{
    fmt::Debug,
    ops::{Add, AddAssign, Div, Mul, Neg, Sub},
};

use super::{arena::Plain, isa::Isa, lane::Lane};

/// `f32` or `f64`: what a kernel needs of a number.
pub(crate) trait Float:
    Plain
    + Default
    + PartialOrd
    + Debug
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + AddAssign
{
    /// 0.
    const ZERO: Self;
    /// −∞.
    const NEG_INFINITY: Self;
    /// Numbers in 64 bytes, whatever the instruction set: how many examples stand side by side.
    const LANES: usize = 64 / size_of::<Self>();
    /// The best instruction set that kernels are compiled for, but for products: f64 is there to check others.
    const MOST: Isa;
    /// The register of AVX-512.
    #[cfg(target_arch = "x86_64")]
    type V512: Lane<Self>;
    /// The register of AVX2 with fused multiply-add.
    #[cfg(target_arch = "x86_64")]
    type V256: Lane<Self>;
    /// The nearest number to `x`.
    fn from_f64(x: f64) -> Self;
    /// The same number.
    fn to_f64(self) -> f64;
    /// `ln x`.
    fn ln(self) -> Self;
}

macro_rules! float {
    ($t:ident, $v512:ident, $v256:ident, $most:ident) => {
        impl Float for $t {
            const ZERO: Self = 0.0;
            const MOST: Isa = Isa::$most;
            const NEG_INFINITY: Self = $t::NEG_INFINITY;
            #[cfg(target_arch = "x86_64")]
            type V512 = std::arch::x86_64::$v512;
            #[cfg(target_arch = "x86_64")]
            type V256 = std::arch::x86_64::$v256;
            #[inline(always)]
            fn from_f64(x: f64) -> Self {
                x as $t
            }
            #[inline(always)]
            fn to_f64(self) -> f64 {
                self.into()
            }
            #[inline(always)]
            fn ln(self) -> Self {
                $t::ln(self)
            }
        }
    };
}
float!(f32, __m512, __m256, Avx512);
float!(f64, __m512d, __m256d, Avx2);
