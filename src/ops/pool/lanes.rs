//! Pooling of sixteen examples side by side: planes `[h][w][16]`, one example a lane.
#![allow(unsafe_code)]

use super::cpu::Pool;
use crate::{
    device::cpu::{
        Call, View, ViewMut,
        lane::{Kernel, Lane, dispatch},
    },
    ops::{Attribute, LANES, Lanes},
    tensor::DType,
};

/// Where places in windows are written.
#[derive(Clone, Copy)]
pub(crate) enum Place {
    /// Windows of at most 256 cells.
    Byte(*mut u8, usize),
    /// Larger ones.
    Int(*mut i32, usize),
}

impl Place {
    /// All of an output.
    pub(crate) fn of(output: &mut ViewMut) -> Place {
        match output.spec.dtype {
            DType::U8 => {
                let all = output.slice::<u8>();
                Place::Byte(all.as_mut_ptr(), all.len())
            }
            _ => {
                let all = output.slice::<i32>();
                Place::Int(all.as_mut_ptr(), all.len())
            }
        }
    }
    /// Elements from here on.
    pub(crate) fn len(&self) -> usize {
        let (Place::Byte(_, n) | Place::Int(_, n)) = self;
        *n
    }
    /// `n` elements further.
    #[inline(always)]
    pub(crate) fn at(self, n: usize) -> Place {
        match self {
            Place::Byte(p, len) => Place::Byte(p.wrapping_add(n), len - n),
            Place::Int(p, len) => Place::Int(p.wrapping_add(n), len - n),
        }
    }
    /// Put a register's places.
    ///
    /// # Safety
    /// There is room for them, which nobody else writes.
    #[inline(always)]
    pub(crate) unsafe fn store<V: Lane<f32>>(self, which: V) {
        // SAFETY: the caller's.
        unsafe {
            match self {
                Place::Byte(p, _) => which.store_whole(p),
                Place::Int(p, _) => which.store_whole(p),
            }
        }
    }
}

/// A window that slides over planes in lanes.
#[derive(Clone, Copy)]
pub(crate) struct MaxPool {
    pool: Pool,
    /// Height and width of the result.
    pub(crate) oh: usize,
    pub(crate) ow: usize,
}

impl MaxPool {
    pub(crate) fn new(pool: Pool) -> Self {
        MaxPool { pool, oh: pool.oh, ow: pool.ow }
    }

    /// From the attributes of the operation and the shapes before and after it; None where windows reach over the
    /// edge.
    pub(crate) fn following(attributes: &[(&str, Attribute)], x: &[usize], y: &[usize]) -> Option<Self> {
        let two = |name: &str| match attributes.iter().find(|a| a.0 == name) {
            Some((_, Attribute::Ints(v))) if v.len() == 2 => Some([v[0] as usize, v[1] as usize]),
            _ => None,
        };
        let pool = Pool {
            planes: x[1],
            h: x[2],
            w: x[3],
            kernel: two("kernel")?,
            stride: two("stride")?,
            padding: two("padding")?,
            dilation: two("dilation")?,
            oh: y[2],
            ow: y[3],
        };
        let fits = |a: usize, n: usize, size: usize| (n.max(1) - 1) * pool.stride[a] + pool.kernel[a] <= size;
        let plain = pool.padding == [0, 0] && pool.dilation == [1, 1];
        (plain && fits(0, pool.oh, pool.h) && fits(1, pool.ow, pool.w)).then(|| Self::new(pool))
    }

    /// Two by two, side by side.
    pub(crate) fn halves(&self) -> bool {
        self.pool.halves()
    }

    /// The largest of each window, not below `floor`, and its place, of planes `x`.
    ///
    /// # Safety
    /// The processor has `V`'s instruction set; there are so many planes to read and to write.
    #[inline(always)]
    pub(crate) unsafe fn run<V: Lane<f32>>(
        &self,
        planes: usize,
        x: *const f32,
        y: *mut f32,
        place: Place,
        floor: f32,
    ) {
        let pool = &self.pool;
        for (plane, lane) in (0..planes).flat_map(|p| (0..LANES).step_by(V::N).map(move |l| (p, l))) {
            let x = x.wrapping_add(plane * pool.h * pool.w * LANES + lane);
            for (p, q) in (0..pool.oh).flat_map(|p| (0..pool.ow).map(move |q| (p, q))) {
                let to = ((plane * pool.oh + p) * pool.ow + q) * LANES + lane;
                // SAFETY: `cells` are inside the plane, and `to` inside the result.
                unsafe {
                    let (mut best, mut which, mut any) = (V::splat(f32::NEG_INFINITY), V::zero(), false);
                    for (u, i) in pool.cells(0, p, pool.h) {
                        for (v, j) in pool.cells(1, q, pool.w) {
                            let cell = V::load(x.add((i * pool.w + j) * LANES));
                            let at = V::splat((u * pool.kernel[1] + v) as f32);
                            if any {
                                which = cell.where_nan(at, cell.where_greater(best, at, which));
                                best = cell.where_nan(cell, cell.max(best));
                            } else {
                                // The first cell is taken whatever it is, for a window of lowest values.
                                (best, which, any) = (cell, at, true);
                            }
                        }
                    }
                    V::splat(floor).max(best).store(y.add(to));
                    place.at(to).store(which);
                }
            }
        }
    }
}
