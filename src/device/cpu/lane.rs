//! SIMD registers behind one interface, and the run-time choice between instruction sets.
//!
//! A kernel is an `#[inline(always)]` body generic over [`Lane`]; [`dispatch`] instantiates it once per
//! instruction set, inside a `#[target_feature]` entry.
#![allow(unsafe_code)]
// Squares of registers are indexed as the formulas are.
#![allow(clippy::needless_range_loop)]

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

use super::{
    float::Float,
    isa::{Isa, isa},
};

/// A whole number in memory beside the real ones: the place of a maximum.
pub(crate) trait Whole: Copy + Send + Sync + 'static {
    /// As a real number.
    fn real(self) -> f64;
    /// From a real number that is small and whole.
    fn whole(x: f64) -> Self;
}
impl Whole for u8 {
    #[inline(always)]
    fn real(self) -> f64 {
        self.into()
    }
    #[inline(always)]
    fn whole(x: f64) -> Self {
        x as u8
    }
}
impl Whole for i32 {
    #[inline(always)]
    fn real(self) -> f64 {
        self.into()
    }
    #[inline(always)]
    fn whole(x: f64) -> Self {
        x as i32
    }
}

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
    /// `self − x`.
    unsafe fn sub(self, x: Self) -> Self;
    /// `self · x`.
    unsafe fn mul(self, x: Self) -> Self;
    /// `self / x`.
    unsafe fn div(self, x: Self) -> Self;
    /// `self` where it is larger, else `x`: where either is NaN too.
    unsafe fn max(self, x: Self) -> Self;
    /// `self` where it is smaller, else `x`: where either is NaN too.
    unsafe fn min(self, x: Self) -> Self;
    /// `yes` where `self > x`, else `no`.
    unsafe fn where_greater(self, x: Self, yes: Self, no: Self) -> Self;
    /// `yes` where `self` is NaN, else `no`.
    unsafe fn where_nan(self, yes: Self, no: Self) -> Self;
    /// `self · 2ⁿ` for whole `n` in −252..=254, rounded once or twice.
    #[inline(always)]
    unsafe fn scale(self, n: Self) -> Self {
        let (mut x, mut m) = ([T::ZERO; 16], [T::ZERO; 16]);
        // SAFETY: the caller's; there is room for the numbers.
        unsafe {
            self.store(x.as_mut_ptr());
            n.store(m.as_mut_ptr());
            for i in 0..Self::N {
                // 2ᵐ has the bits (m + 1023) << 52; half of the way first, as the power itself may not fit.
                let n = m[i].to_f64() as i64;
                let power = |m: i64| T::from_f64(f64::from_bits(((m + 1023) << 52) as u64));
                x[i] = x[i] * power(n >> 1) * power(n - (n >> 1));
            }
            Self::load(x.as_ptr())
        }
    }
    /// The first `n` numbers at `p`, at most [`Lane::N`]; the others are zeros.
    #[inline(always)]
    unsafe fn load_first(p: *const T, n: usize) -> Self {
        let mut x = [T::ZERO; 16];
        // SAFETY: the caller's pointer is good for `n` numbers, and `x` has room for them.
        unsafe {
            (0..n).for_each(|i| x[i] = *p.add(i));
            Self::load(x.as_ptr())
        }
    }
    /// The numbers at `p`, `p + 2`, `p + 4`, …; what lies behind the last of them is read too.
    #[inline(always)]
    unsafe fn load_second(p: *const T) -> Self {
        let mut x = [T::ZERO; 16];
        // SAFETY: the caller's pointer is good for twice `N` numbers, and `x` has room for `N`.
        unsafe {
            (0..Self::N).for_each(|i| x[i] = *p.add(2 * i));
            Self::load(x.as_ptr())
        }
    }
    /// Put the first `n` numbers, at most [`Lane::N`], at `p`.
    #[inline(always)]
    unsafe fn store_first(self, p: *mut T, n: usize) {
        let mut x = [T::ZERO; 16];
        // SAFETY: as above.
        unsafe {
            self.store(x.as_mut_ptr());
            (0..n).for_each(|i| *p.add(i) = x[i]);
        }
    }
    /// Whole numbers at `p`.
    #[inline(always)]
    unsafe fn load_whole<I: Whole>(p: *const I) -> Self {
        let mut x = [T::ZERO; 16];
        // SAFETY: the caller's pointer is good for `N` numbers, and `x` has room for them.
        unsafe {
            (0..Self::N).for_each(|i| x[i] = T::from_f64((*p.add(i)).real()));
            Self::load(x.as_ptr())
        }
    }
    /// Put whole numbers, as far as they are small, at `p`.
    #[inline(always)]
    unsafe fn store_whole<I: Whole>(self, p: *mut I) {
        let mut x = [T::ZERO; 16];
        // SAFETY: as above.
        unsafe {
            self.store(x.as_mut_ptr());
            (0..Self::N).for_each(|i| *p.add(i) = I::whole(x[i].to_f64()));
        }
    }
    /// Put the numbers at places where `keep` is not 0 at `p`, one behind the other; there may be anything behind
    /// them, up to [`Lane::N`] numbers. How many there are.
    #[inline(always)]
    unsafe fn store_kept(self, keep: Self, p: *mut T) -> usize {
        let (mut x, mut k, mut n) = ([T::ZERO; 16], [T::ZERO; 16], 0);
        // SAFETY: the caller's pointer is good for `N` numbers, and `x` and `k` have room for them.
        unsafe {
            self.store(x.as_mut_ptr());
            keep.store(k.as_mut_ptr());
            for i in 0..Self::N {
                *p.add(n) = x[i];
                n += usize::from(k[i] != T::ZERO);
            }
        }
        n
    }
    /// The sum of each row's numbers: `y[i] = Σ_j rows[i·LANES + j]`, for `LANES` rows of `LANES`.
    #[inline(always)]
    unsafe fn sums(rows: *const T, y: *mut T) {
        for i in 0..T::LANES {
            // SAFETY: the caller's rows hold `LANES`² numbers, and `y` has room for `LANES`.
            unsafe {
                let row = rows.add(i * T::LANES);
                // Halves onto each other: the same order as with shuffles.
                let mut part = [T::ZERO; 16];
                (0..T::LANES).for_each(|j| part[j] = *row.add(j));
                let mut half = T::LANES / 2;
                while half > 0 {
                    (0..half).for_each(|j| part[j] += part[j + half]);
                    half /= 2;
                }
                *y.add(i) = part[0];
            }
        }
    }
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

/// What is at `p` will be wanted soon. Any address will do: nothing is read.
#[inline(always)]
pub(crate) fn prefetch<T>(p: *const T) {
    // SAFETY: a hint, which every processor of the target has and which never faults.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        _mm_prefetch::<_MM_HINT_T0>(p.cast())
    };
    #[cfg(not(target_arch = "x86_64"))]
    let _ = p;
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
    unsafe fn sub(self, x: Self) -> Self {
        Plain([0, 1, 2, 3].map(|i| self.0[i] - x.0[i]))
    }
    #[inline(always)]
    unsafe fn mul(self, x: Self) -> Self {
        Plain([0, 1, 2, 3].map(|i| self.0[i] * x.0[i]))
    }
    #[inline(always)]
    unsafe fn div(self, x: Self) -> Self {
        Plain([0, 1, 2, 3].map(|i| self.0[i] / x.0[i]))
    }
    #[inline(always)]
    unsafe fn max(self, x: Self) -> Self {
        Plain([0, 1, 2, 3].map(|i| if self.0[i] > x.0[i] { self.0[i] } else { x.0[i] }))
    }
    #[inline(always)]
    unsafe fn min(self, x: Self) -> Self {
        Plain([0, 1, 2, 3].map(|i| if self.0[i] < x.0[i] { self.0[i] } else { x.0[i] }))
    }
    #[inline(always)]
    unsafe fn where_greater(self, x: Self, yes: Self, no: Self) -> Self {
        Plain([0, 1, 2, 3].map(|i| if self.0[i] > x.0[i] { yes.0[i] } else { no.0[i] }))
    }
    #[inline(always)]
    #[allow(clippy::eq_op)]
    unsafe fn where_nan(self, yes: Self, no: Self) -> Self {
        Plain([0, 1, 2, 3].map(|i| if self.0[i] != self.0[i] { yes.0[i] } else { no.0[i] }))
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
     $fma:ident $sub:ident $mul:ident $div:ident $max:ident $min:ident,
     |$a:ident, $b:ident, $yes:ident, $no:ident| $greater:expr, $nan:expr; $($more:item)*) => {
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
            #[inline(always)]
            unsafe fn sub(self, x: Self) -> Self {
                // SAFETY: the caller's.
                unsafe { $sub(self, x) }
            }
            #[inline(always)]
            unsafe fn mul(self, x: Self) -> Self {
                // SAFETY: the caller's.
                unsafe { $mul(self, x) }
            }
            #[inline(always)]
            unsafe fn div(self, x: Self) -> Self {
                // SAFETY: the caller's.
                unsafe { $div(self, x) }
            }
            #[inline(always)]
            unsafe fn max(self, x: Self) -> Self {
                // SAFETY: the caller's.
                unsafe { $max(self, x) }
            }
            #[inline(always)]
            unsafe fn min(self, x: Self) -> Self {
                // SAFETY: the caller's.
                unsafe { $min(self, x) }
            }
            #[inline(always)]
            unsafe fn where_greater(self, x: Self, yes: Self, no: Self) -> Self {
                let ($a, $b, $yes, $no) = (self, x, yes, no);
                // SAFETY: the caller's.
                unsafe { $greater }
            }
            #[inline(always)]
            unsafe fn where_nan(self, yes: Self, no: Self) -> Self {
                let ($a, $yes, $no) = (self, yes, no);
                // SAFETY: the caller's.
                unsafe { $nan }
            }
            $($more)*
        }
    };
}
#[cfg(target_arch = "x86_64")]
lane!(__m256: f32, 8, 16, _mm256_setzero_ps _mm256_set1_ps _mm256_loadu_ps _mm256_storeu_ps _mm256_add_ps
      _mm256_fmadd_ps _mm256_sub_ps _mm256_mul_ps _mm256_div_ps _mm256_max_ps _mm256_min_ps,
      |a, b, yes, no| _mm256_blendv_ps(no, yes, _mm256_cmp_ps::<_CMP_GT_OQ>(a, b)),
      _mm256_blendv_ps(no, yes, _mm256_cmp_ps::<_CMP_UNORD_Q>(a, a));
    #[inline(always)]
    unsafe fn scale(self, n: Self) -> Self {
        // SAFETY: the caller's.
        unsafe {
            // 2ᵐ has the bits (m + 127) << 23; half of the way first, as the power itself may not fit.
            let whole = _mm256_cvtps_epi32(n);
            let half = _mm256_srai_epi32::<1>(whole);
            let power = |m| _mm256_castsi256_ps(_mm256_slli_epi32::<23>(_mm256_add_epi32(m, _mm256_set1_epi32(127))));
            _mm256_mul_ps(_mm256_mul_ps(self, power(half)), power(_mm256_sub_epi32(whole, half)))
        }
    }
    #[inline(always)]
    unsafe fn load_second(p: *const f32) -> Self {
        // SAFETY: the caller's.
        unsafe {
            // Pairs of each half, then the pairs in order.
            let pairs = _mm256_shuffle_ps::<0b10_00_10_00>(_mm256_loadu_ps(p), _mm256_loadu_ps(p.add(8)));
            _mm256_castpd_ps(_mm256_permute4x64_pd::<0b11_01_10_00>(_mm256_castps_pd(pairs)))
        }
    }
);
#[cfg(target_arch = "x86_64")]
lane!(__m256d: f64, 4, 16, _mm256_setzero_pd _mm256_set1_pd _mm256_loadu_pd _mm256_storeu_pd _mm256_add_pd
      _mm256_fmadd_pd _mm256_sub_pd _mm256_mul_pd _mm256_div_pd _mm256_max_pd _mm256_min_pd,
      |a, b, yes, no| _mm256_blendv_pd(no, yes, _mm256_cmp_pd::<_CMP_GT_OQ>(a, b)),
      _mm256_blendv_pd(no, yes, _mm256_cmp_pd::<_CMP_UNORD_Q>(a, a)););
#[cfg(target_arch = "x86_64")]
lane!(__m512: f32, 16, 32, _mm512_setzero_ps _mm512_set1_ps _mm512_loadu_ps _mm512_storeu_ps _mm512_add_ps
      _mm512_fmadd_ps _mm512_sub_ps _mm512_mul_ps _mm512_div_ps _mm512_max_ps _mm512_min_ps,
      |a, b, yes, no| _mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_GT_OQ>(a, b), no, yes),
      _mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_UNORD_Q>(a, a), no, yes);
    #[inline(always)]
    unsafe fn scale(self, n: Self) -> Self {
        // SAFETY: the caller's.
        unsafe { _mm512_scalef_ps(self, n) }
    }
    #[inline(always)]
    unsafe fn load_second(p: *const f32) -> Self {
        // SAFETY: the caller's.
        unsafe {
            let places = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
            _mm512_permutex2var_ps(_mm512_loadu_ps(p), places, _mm512_loadu_ps(p.add(16)))
        }
    }
    #[inline(always)]
    unsafe fn load_first(p: *const f32, n: usize) -> Self {
        // SAFETY: what the mask leaves out is not touched.
        unsafe { _mm512_maskz_loadu_ps(((1u32 << n) - 1) as u16, p) }
    }
    #[inline(always)]
    unsafe fn store_first(self, p: *mut f32, n: usize) {
        // SAFETY: as above.
        unsafe { _mm512_mask_storeu_ps(p, ((1u32 << n) - 1) as u16, self) }
    }
    #[inline(always)]
    unsafe fn load_whole<I: Whole>(p: *const I) -> Self {
        // SAFETY: the caller's pointer is good for 16 numbers of one of the two sizes there are.
        unsafe {
            if size_of::<I>() == 1 {
                _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(p.cast())))
            } else {
                _mm512_cvtepi32_ps(_mm512_loadu_si512(p.cast()))
            }
        }
    }
    #[inline(always)]
    unsafe fn store_whole<I: Whole>(self, p: *mut I) {
        // SAFETY: as above.
        unsafe {
            let x = _mm512_cvttps_epi32(self);
            if size_of::<I>() == 1 {
                _mm_storeu_si128(p.cast(), _mm512_cvtepi32_epi8(x))
            } else {
                _mm512_storeu_si512(p.cast(), x)
            }
        }
    }
    #[inline(always)]
    unsafe fn store_kept(self, keep: Self, p: *mut f32) -> usize {
        // SAFETY: the caller's.
        unsafe {
            let keep = _mm512_cmp_ps_mask::<_CMP_NEQ_UQ>(keep, _mm512_setzero_ps());
            _mm512_storeu_ps(p, _mm512_maskz_compress_ps(keep, self));
            keep.count_ones() as usize
        }
    }
    #[inline(always)]
    unsafe fn sums(rows: *const f32, y: *mut f32) {
        // SAFETY: the caller's rows hold 256 numbers, and `y` has room for 16.
        unsafe {
            // Halves of two rows side by side, then quarters of four, eighths of eight, and the rest.
            let mut a = [_mm512_setzero_ps(); 8];
            for i in 0..8 {
                let (p, q) = (_mm512_loadu_ps(rows.add(32 * i)), _mm512_loadu_ps(rows.add(32 * i + 16)));
                a[i] = _mm512_add_ps(_mm512_shuffle_f32x4::<0x44>(p, q), _mm512_shuffle_f32x4::<0xee>(p, q));
            }
            let mut b = [_mm512_setzero_ps(); 4];
            for i in 0..4 {
                let (p, q) = (a[2 * i], a[2 * i + 1]);
                b[i] = _mm512_add_ps(_mm512_shuffle_f32x4::<0x88>(p, q), _mm512_shuffle_f32x4::<0xdd>(p, q));
            }
            // Each 128-bit quarter of b[i] holds one row: 4i, 4i + 1, 4i + 2, 4i + 3.
            let (p, q) = (
                _mm512_add_ps(_mm512_shuffle_ps::<0x44>(b[0], b[1]), _mm512_shuffle_ps::<0xee>(b[0], b[1])),
                _mm512_add_ps(_mm512_shuffle_ps::<0x44>(b[2], b[3]), _mm512_shuffle_ps::<0xee>(b[2], b[3])),
            );
            let r = _mm512_add_ps(_mm512_shuffle_ps::<0x88>(p, q), _mm512_shuffle_ps::<0xdd>(p, q));
            // Element 4·quarter + i is the sum of row 4i + quarter.
            let order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
            _mm512_storeu_ps(y, _mm512_permutexvar_ps(order, r));
        }
    }
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
      _mm512_fmadd_pd _mm512_sub_pd _mm512_mul_pd _mm512_div_pd _mm512_max_pd _mm512_min_pd,
      |a, b, yes, no| _mm512_mask_blend_pd(_mm512_cmp_pd_mask::<_CMP_GT_OQ>(a, b), no, yes),
      _mm512_mask_blend_pd(_mm512_cmp_pd_mask::<_CMP_UNORD_Q>(a, a), no, yes);
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
    /// The least instruction set that it is made for.
    const LEAST: Isa = Isa::Plain;
    /// The best one that it gains from.
    const MOST: Isa = T::MOST;
    /// Do it. Mark it `#[inline(always)]`, and everything hot that it calls.
    ///
    /// # Safety
    /// The processor has `V`'s instruction set.
    unsafe fn run<V: Lane<T>>(self);
}

/// Run a kernel with the registers of [`isa`].
pub(crate) fn dispatch<T: Float>(kernel: impl Kernel<T>) {
    dispatch_on(current(), kernel);
}

/// [`isa`], or what a test asks for.
pub(crate) fn current() -> Isa {
    #[cfg(test)]
    if let Some(forced) = FORCED.get() {
        return forced;
    }
    isa()
}

#[cfg(test)]
thread_local! {
    static FORCED: std::cell::Cell<Option<Isa>> = const { std::cell::Cell::new(None) };
}

/// `f` once for each instruction set from the least one to the processor's best, as far as this thread's kernels go.
#[cfg(test)]
pub(crate) fn on_isas_from(least: Isa, f: impl Fn()) {
    for i in [Isa::Plain, Isa::Avx2, Isa::Avx512].into_iter().filter(|i| (least..=isa()).contains(i)) {
        FORCED.set(Some(i));
        f();
        FORCED.set(None);
    }
}

/// `f` once for each instruction set that the processor has.
#[cfg(test)]
pub(crate) fn on_every_isa(f: impl Fn()) {
    on_isas_from(Isa::Plain, f);
}

/// Run a kernel with the registers of this instruction set, which the processor has.
pub(crate) fn dispatch_on<T: Float, K: Kernel<T>>(isa: Isa, kernel: K) {
    // A function for each kernel: several in one would crowd each other out of the registers.
    #[cfg(target_arch = "x86_64")]
    #[inline(never)]
    #[target_feature(enable = "avx512f,avx512vl,avx2,fma,popcnt")]
    unsafe fn avx512<T: Float>(kernel: impl Kernel<T>) {
        // SAFETY: this function's features are the register's.
        unsafe { kernel.run::<T::V512>() }
    }
    #[cfg(target_arch = "x86_64")]
    #[inline(never)]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn avx2<T: Float>(kernel: impl Kernel<T>) {
        // SAFETY: this function's features are the register's.
        unsafe { kernel.run::<T::V256>() }
    }
    match isa.min(K::MOST) {
        // SAFETY: `isa` has looked for the features.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 if const { K::MOST as u8 >= Isa::Avx512 as u8 } => unsafe { avx512(kernel) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 if const { K::LEAST as u8 <= Isa::Avx2 as u8 && K::MOST as u8 >= Isa::Avx2 as u8 } => unsafe {
            avx2(kernel)
        },
        // SAFETY: plain numbers need no features.
        _ if const { K::LEAST as u8 == Isa::Plain as u8 } => unsafe { kernel.run::<Plain<T>>() },
        _ => unreachable!("a kernel for {} or better", K::LEAST.name()),
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
                V::load_second(from[1..].as_ptr()).store(y.as_mut_ptr());
                (0..V::N).for_each(|i| assert_eq!(y[i].to_f64(), (2 * i + 2) as f64));
            }
        }
    }

    struct Reals;
    impl Kernel<f32> for Reals {
        unsafe fn run<V: Lane<f32>>(self) {
            let nan = f32::NAN;
            let a = [1.0, -2.0, 3.5, nan, 0.0, f32::INFINITY, 7.0, 2.0].repeat(2);
            let b = [2.0, -3.0, 3.5, 1.0, nan, 1.0, -7.0, 4.0].repeat(3);
            let same = |x: f32, y: f32| assert!(x == y || x.is_nan() && y.is_nan(), "{x} {y}");
            let check = |f: fn(V, V) -> V, g: fn(f32, f32) -> f32| {
                for lane in (0..16).step_by(V::N) {
                    let mut y = [0.0; 16];
                    // SAFETY: the slices hold 16 numbers.
                    unsafe {
                        f(V::load(a[lane..].as_ptr()), V::load(b[lane..].as_ptr())).store(y.as_mut_ptr())
                    };
                    (0..V::N).for_each(|i| same(y[i], g(a[lane + i], b[lane + i])));
                }
            };
            // SAFETY: the caller's.
            unsafe {
                check(|a, b| a.sub(b), |a, b| a - b);
                check(|a, b| a.mul(b), |a, b| a * b);
                check(|a, b| a.div(b), |a, b| a / b);
                check(|a, b| a.max(b), |a, b| if a > b { a } else { b });
                check(|a, b| a.min(b), |a, b| if a < b { a } else { b });
                check(|a, b| a.where_greater(b, b, a), |a, b| if a > b { b } else { a });
                check(|a, b| a.where_nan(b, a), |a, b| if a.is_nan() { b } else { a });
                let (bytes, ints) = ([3u8; 16].map(|x| x * 40), [70_000i32; 16]);
                let (mut p, mut q) = ([0u8; 16], [0i32; 16]);
                for lane in (0..16).step_by(V::N) {
                    let half = V::splat(0.5);
                    V::load_whole(bytes[lane..].as_ptr()).mul(half).store_whole(p[lane..].as_mut_ptr());
                    V::load_whole(ints[lane..].as_ptr()).mul(half).store_whole(q[lane..].as_mut_ptr());
                }
                assert_eq!((p, q), ([60; 16], [35_000; 16]));
                for n in 0..=V::N {
                    let mut y = [9.0; 16];
                    V::load_first(b[2..].as_ptr(), n).store_first(y.as_mut_ptr(), n);
                    (0..16).for_each(|i| same(y[i], if i < n { b[2 + i] } else { 9.0 }));
                }
                for lane in (0..16).step_by(V::N) {
                    let (x, keep, mut y) = (&b[lane..][..V::N], &a[lane..][..V::N], [9.0; 16]);
                    let n = V::load(x.as_ptr()).store_kept(V::load(keep.as_ptr()), y.as_mut_ptr());
                    let kept: Vec<f32> = (0..V::N).filter(|i| keep[*i] != 0.0).map(|i| x[i]).collect();
                    assert_eq!(n, kept.len());
                    kept.iter().zip(y).for_each(|(x, y)| same(y, *x));
                }
                let rows: Vec<f32> = (0..256).map(|i| (i / 16 + i % 16 * i) as f32).collect();
                let mut y = [0.0; 16];
                V::sums(rows.as_ptr(), y.as_mut_ptr());
                (0..16).for_each(|i| assert_eq!(y[i], rows[16 * i..16 * i + 16].iter().sum::<f32>()));
            }
        }
    }

    #[test]
    fn every_register_compares_and_sums() {
        for i in [Isa::Plain, Isa::Avx2, Isa::Avx512].into_iter().filter(|i| *i <= isa()) {
            dispatch_on(i, Reals);
        }
    }

    #[test]
    fn every_register_moves_multiplies_and_transposes() {
        for i in [Isa::Plain, Isa::Avx2, Isa::Avx512].into_iter().filter(|i| *i <= isa()) {
            dispatch_on::<f32, _>(i, Check);
            dispatch_on::<f64, _>(i, Check);
        }
    }
}
