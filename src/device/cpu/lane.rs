//! SIMD registers behind one interface, and the run-time choice between instruction sets.
//!
//! A kernel is an `#[inline(always)]` body generic over [`Lane`]; [`dispatch`] instantiates it once per
//! instruction set, inside a `#[target_feature]` entry.
#![allow(unsafe_code)]

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

use super::{
    float::Float,
    isa::{Isa, isa},
};

/// A register of numbers, worked on side by side.
///
/// # Safety
/// Its methods may be called only where the processor has the register's instruction set; `load` and `store`
/// move [`Lane::N`] numbers at any alignment.
pub(crate) unsafe trait Lane<T: Float>: Copy {
    /// Numbers in a register.
    const N: usize;
    /// Registers there are: how large a tile of accumulators may be.
    const REGISTERS: usize;
    /// Zeros.
    unsafe fn zero() -> Self;
    /// `x, x, …`.
    unsafe fn splat(x: T) -> Self;
    /// The numbers at `p`.
    unsafe fn load(p: *const T) -> Self;
    /// Put the numbers at `p`.
    unsafe fn store(self, p: *mut T);
    /// `self + x`.
    unsafe fn add(self, x: Self) -> Self;
    /// `self · x + y`, rounded once where the hardware can.
    unsafe fn mul_add(self, x: Self, y: Self) -> Self;
    /// Transpose a square of [`Float::LANES`] × [`Float::LANES`] numbers: row `i` is read at `from[i]`, column `j`
    /// is written at `to[j]`; rows from `live` on count as zeros, and columns from `wanted` on are dropped.
    #[inline(always)]
    unsafe fn transpose(from: &[*const T], live: usize, to: &[*mut T], wanted: usize) {
        for (i, &row) in from[..T::LANES].iter().enumerate() {
            for (j, &column) in to[..wanted].iter().enumerate() {
                // SAFETY: the caller's pointers are good for `LANES` numbers each.
                unsafe { *column.add(i) = if i < live { *row.add(j) } else { T::ZERO } };
            }
        }
    }
}

/// Four numbers without instructions of their own: the compiler uses what every processor of the target has.
#[derive(Clone, Copy)]
pub(crate) struct Plain<T>([T; 4]);

// SAFETY: no instruction set is needed.
unsafe impl<T: Float> Lane<T> for Plain<T> {
    const N: usize = 4;
    const REGISTERS: usize = 16;
    #[inline(always)]
    unsafe fn zero() -> Self {
        Plain([T::ZERO; 4])
    }
    #[inline(always)]
    unsafe fn splat(x: T) -> Self {
        Plain([x; 4])
    }
    #[inline(always)]
    unsafe fn load(p: *const T) -> Self {
        // SAFETY: the caller's.
        Plain(unsafe { p.cast::<[T; 4]>().read_unaligned() })
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut T) {
        // SAFETY: the caller's.
        unsafe { p.cast::<[T; 4]>().write_unaligned(self.0) }
    }
    #[inline(always)]
    unsafe fn add(self, x: Self) -> Self {
        let (a, b) = (self.0, x.0);
        Plain([a[0] + b[0], a[1] + b[1], a[2] + b[2], a[3] + b[3]])
    }
    #[inline(always)]
    unsafe fn mul_add(self, x: Self, y: Self) -> Self {
        let (a, b, c) = (self.0, x.0, y.0);
        Plain([a[0] * b[0] + c[0], a[1] * b[1] + c[1], a[2] * b[2] + c[2], a[3] * b[3] + c[3]])
    }
}

#[cfg(target_arch = "x86_64")]
macro_rules! lane {
    ($v:ty: $t:ty, $n:literal, $registers:literal, $zero:ident $splat:ident $load:ident $store:ident $add:ident
     $fma:ident $($transpose:item)?) => {
        // SAFETY: instances run only behind `dispatch`, which has looked for the instruction set.
        unsafe impl Lane<$t> for $v {
            const N: usize = $n;
            const REGISTERS: usize = $registers;
            #[inline(always)]
            unsafe fn zero() -> Self {
                // SAFETY: the caller's.
                unsafe { $zero() }
            }
            #[inline(always)]
            unsafe fn splat(x: $t) -> Self {
                // SAFETY: the caller's.
                unsafe { $splat(x) }
            }
            #[inline(always)]
            unsafe fn load(p: *const $t) -> Self {
                // SAFETY: the caller's.
                unsafe { $load(p) }
            }
            #[inline(always)]
            unsafe fn store(self, p: *mut $t) {
                // SAFETY: the caller's.
                unsafe { $store(p, self) }
            }
            #[inline(always)]
            unsafe fn add(self, x: Self) -> Self {
                // SAFETY: the caller's.
                unsafe { $add(self, x) }
            }
            #[inline(always)]
            unsafe fn mul_add(self, x: Self, y: Self) -> Self {
                // SAFETY: the caller's.
                unsafe { $fma(self, x, y) }
            }
            $($transpose)?
        }
    };
}
#[cfg(target_arch = "x86_64")]
lane!(__m256: f32, 8, 16, _mm256_setzero_ps _mm256_set1_ps _mm256_loadu_ps _mm256_storeu_ps _mm256_add_ps
      _mm256_fmadd_ps);
#[cfg(target_arch = "x86_64")]
lane!(__m256d: f64, 4, 16, _mm256_setzero_pd _mm256_set1_pd _mm256_loadu_pd _mm256_storeu_pd _mm256_add_pd
      _mm256_fmadd_pd);
#[cfg(target_arch = "x86_64")]
lane!(__m512: f32, 16, 32, _mm512_setzero_ps _mm512_set1_ps _mm512_loadu_ps _mm512_storeu_ps _mm512_add_ps
      _mm512_fmadd_ps
    #[inline(always)]
    unsafe fn transpose(from: &[*const f32], live: usize, to: &[*mut f32], wanted: usize) {
        assert!(from.len() >= 16 && to.len() >= 16);
        // SAFETY: the caller's pointers are good for 16 numbers each.
        unsafe {
            let mut r = [_mm512_setzero_ps(); 16];
            for i in 0..16 {
                if i < live {
                    r[i] = _mm512_loadu_ps(from[i]);
                }
            }
            // Pairs, quadruples, then the four 128-bit quarters.
            let mut s = r;
            for i in (0..16).step_by(2) {
                s[i] = _mm512_unpacklo_ps(r[i], r[i + 1]);
                s[i + 1] = _mm512_unpackhi_ps(r[i], r[i + 1]);
            }
            for i in (0..16).step_by(4) {
                r[i] = _mm512_shuffle_ps::<0x44>(s[i], s[i + 2]);
                r[i + 1] = _mm512_shuffle_ps::<0xee>(s[i], s[i + 2]);
                r[i + 2] = _mm512_shuffle_ps::<0x44>(s[i + 1], s[i + 3]);
                r[i + 3] = _mm512_shuffle_ps::<0xee>(s[i + 1], s[i + 3]);
            }
            for i in 0..4 {
                s[i] = _mm512_shuffle_f32x4::<0x88>(r[i], r[i + 4]);
                s[i + 4] = _mm512_shuffle_f32x4::<0xdd>(r[i], r[i + 4]);
                s[i + 8] = _mm512_shuffle_f32x4::<0x88>(r[i + 8], r[i + 12]);
                s[i + 12] = _mm512_shuffle_f32x4::<0xdd>(r[i + 8], r[i + 12]);
            }
            for i in 0..8 {
                r[i] = _mm512_shuffle_f32x4::<0x88>(s[i], s[i + 8]);
                r[i + 8] = _mm512_shuffle_f32x4::<0xdd>(s[i], s[i + 8]);
            }
            for j in 0..16 {
                if j < wanted {
                    _mm512_storeu_ps(to[j], r[j]);
                }
            }
        }
    }
);
#[cfg(target_arch = "x86_64")]
lane!(__m512d: f64, 8, 32, _mm512_setzero_pd _mm512_set1_pd _mm512_loadu_pd _mm512_storeu_pd _mm512_add_pd
      _mm512_fmadd_pd
    #[inline(always)]
    unsafe fn transpose(from: &[*const f64], live: usize, to: &[*mut f64], wanted: usize) {
        assert!(from.len() >= 8 && to.len() >= 8);
        // SAFETY: the caller's pointers are good for 8 numbers each.
        unsafe {
            let mut r = [_mm512_setzero_pd(); 8];
            for i in 0..8 {
                if i < live {
                    r[i] = _mm512_loadu_pd(from[i]);
                }
            }
            let mut s = r;
            for i in (0..8).step_by(2) {
                s[i] = _mm512_unpacklo_pd(r[i], r[i + 1]);
                s[i + 1] = _mm512_unpackhi_pd(r[i], r[i + 1]);
            }
            for i in 0..2 {
                r[i] = _mm512_shuffle_f64x2::<0x88>(s[i], s[i + 2]);
                r[i + 2] = _mm512_shuffle_f64x2::<0xdd>(s[i], s[i + 2]);
                r[i + 4] = _mm512_shuffle_f64x2::<0x88>(s[i + 4], s[i + 6]);
                r[i + 6] = _mm512_shuffle_f64x2::<0xdd>(s[i + 4], s[i + 6]);
            }
            for i in 0..4 {
                s[i] = _mm512_shuffle_f64x2::<0x88>(r[i], r[i + 4]);
                s[i + 4] = _mm512_shuffle_f64x2::<0xdd>(r[i], r[i + 4]);
            }
            for j in 0..8 {
                if j < wanted {
                    _mm512_storeu_pd(to[j], s[j]);
                }
            }
        }
    }
);

/// A kernel's body, for any register type.
pub(crate) trait Kernel<T: Float> {
    /// Do it. Mark it `#[inline(always)]`, and everything hot that it calls.
    ///
    /// # Safety
    /// The processor has `V`'s instruction set.
    unsafe fn run<V: Lane<T>>(self);
}

/// Run a kernel with the registers of [`isa`].
pub(crate) fn dispatch<T: Float>(kernel: impl Kernel<T>) {
    dispatch_on(isa(), kernel);
}

fn dispatch_on<T: Float>(isa: Isa, kernel: impl Kernel<T>) {
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,avx512vl,avx2,fma")]
    unsafe fn avx512<T: Float>(kernel: impl Kernel<T>) {
        // SAFETY: this function's features are the register's.
        unsafe { kernel.run::<T::V512>() }
    }
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn avx2<T: Float>(kernel: impl Kernel<T>) {
        // SAFETY: this function's features are the register's.
        unsafe { kernel.run::<T::V256>() }
    }
    match isa {
        // SAFETY: `isa` has looked for the features.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => unsafe { avx512(kernel) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => unsafe { avx2(kernel) },
        // SAFETY: plain numbers need no features.
        _ => unsafe { kernel.run::<Plain<T>>() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Check;
    impl<T: Float> Kernel<T> for Check {
        unsafe fn run<V: Lane<T>>(self) {
            let n = T::LANES;
            let number = |i: usize, j: usize| T::from_f64((i * n + j + 1) as f64);
            let from: Vec<T> = (0..n * n).map(|e| number(e / n, e % n)).collect();
            for (live, wanted) in [(n, n), (3, n), (n, 5), (1, 1)] {
                let mut to = vec![T::from_f64(1.0); n * n];
                let rows: Vec<_> = from.chunks(n).map(|r| r.as_ptr()).collect();
                let columns: Vec<_> = to.chunks_mut(n).map(|r| r.as_mut_ptr()).collect();
                // SAFETY: every pointer is good for n numbers.
                unsafe { V::transpose(&rows, live, &columns, wanted) };
                for (j, i) in (0..n * n).map(|e| (e / n, e % n)) {
                    let want = if i < live { number(i, j) } else { T::ZERO };
                    assert_eq!(to[j * n + i].to_f64(), if j < wanted { want.to_f64() } else { 1.0 });
                }
            }
            // SAFETY: the slices are long enough.
            unsafe {
                let mut y = vec![T::ZERO; V::N];
                V::load(from.as_ptr())
                    .mul_add(V::splat(from[2]), V::zero().add(V::splat(T::from_f64(1.0))))
                    .store(y.as_mut_ptr());
                (0..V::N).for_each(|i| assert_eq!(y[i].to_f64(), 3.0 * (i + 1) as f64 + 1.0));
            }
        }
    }

    #[test]
    fn every_register_moves_multiplies_and_transposes() {
        for i in [Isa::Plain, Isa::Avx2, Isa::Avx512].into_iter().filter(|i| *i <= isa()) {
            dispatch_on::<f32>(i, Check);
            dispatch_on::<f64>(i, Check);
        }
    }
}
