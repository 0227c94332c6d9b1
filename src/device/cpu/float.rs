//! The two kinds of real numbers that kernels compute with.
#![allow(unsafe_code)]

use std::{
    fmt::Debug,
    ops::{Add, AddAssign, Div, Mul, Neg, Sub},
};

use super::{arena::Plain, lane::Lane};

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
    /// `C = A·B`, or `C += A·B` where `add`, for `A[m,k]`, `B[k,n]`, `C[m,n]` given as (address, row stride, column
    /// stride), on this thread. The caller keeps `k` at 512 or below: then every element is one chain of
    /// multiply-adds over `k`, whatever the machine's caches are.
    ///
    /// # Safety
    /// Every element that these strides reach can be read, and those of `C` written by nobody else.
    unsafe fn gemm(size: [usize; 3], a: Matrix<Self>, b: Matrix<Self>, c: MatrixMut<Self>, add: bool);
}

/// A matrix somewhere in memory: address, row stride, column stride.
pub(crate) type Matrix<T> = (*const T, isize, isize);
/// A matrix to be written.
pub(crate) type MatrixMut<T> = (*mut T, isize, isize);

macro_rules! float {
    ($t:ident, $v512:ident, $v256:ident) => {
        impl Float for $t {
            const ZERO: Self = 0.0;
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
            unsafe fn gemm(
                [m, k, n]: [usize; 3],
                a: Matrix<Self>,
                b: Matrix<Self>,
                c: MatrixMut<Self>,
                add: bool,
            ) {
                debug_assert!(k <= 512);
                // SAFETY: the caller's.
                unsafe {
                    gemm::gemm(
                        m,
                        n,
                        k,
                        c.0,
                        c.2,
                        c.1,
                        add,
                        a.0,
                        a.2,
                        a.1,
                        b.0,
                        b.2,
                        b.1,
                        1.0,
                        1.0,
                        false,
                        false,
                        false,
                        gemm::Parallelism::None,
                    )
                }
            }
        }
    };
}
float!(f32, __m512, __m256);
float!(f64, __m512d, __m256d);
