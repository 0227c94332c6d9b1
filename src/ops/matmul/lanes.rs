//! Matrix products of sixteen examples side by side.
//!
//! * An example a column: `y[n][16] = Σ_k w(k, n) · x[k][16]`, a tile of rows of `y` in registers while `k` goes by.
//! * Summed over examples: `c[m][n] = Σ_l a[m][l] · b[n][l]`, outer products of a column of `a` and one of `b`.
#![allow(unsafe_code)]
// Tiles of registers are indexed as the formulas are.
#![allow(clippy::needless_range_loop)]

use crate::{
    device::cpu::{
        Call, View,
        arena::{Scratch, room},
        lane::{Kernel, Lane, dispatch},
        threads::share,
    },
    ops::{LANES, Lanes},
};

/// What follows a product in the same kernel.
#[derive(Clone, Copy)]
pub(crate) struct Then {
    /// Add the third operand.
    pub(crate) add: bool,
    /// `max(0, ·)`.
    pub(crate) relu: bool,
}

/// A matrix that all examples share: element (k, n) lies at `k·step[0] + n·step[1]`.
struct Shared<'a> {
    w: &'a [f32],
    step: [isize; 2],
}

impl<'a> Shared<'a> {
    /// `axes`: which axis of the view is summed over, which is kept.
    fn new(view: &View<'a>, axes: [usize; 2]) -> Self {
        let (all, strides) = (view.memory::<f32>(), view.layout.strides());
        let mut ends = [view.layout.offset as isize; 2];
        for (n, step) in view.layout.shape.iter().zip(strides) {
            ends[usize::from(*step > 0)] += (*n as isize - 1) * step;
        }
        assert!(ends[0] >= 0 && (ends[1] as usize) < all.len(), "a view stays in its memory");
        Shared { w: &all[view.layout.offset..], step: axes.map(|a| strides[a]) }
    }
}

/// The kernel of a product of shared numbers and a column an example; `x` is operand `columns`.
pub(crate) fn product([k, n]: [usize; 2], columns: usize, then: Then) -> Option<Lanes> {
    if k * n == 0 {
        return None;
    }
    let run = move |call: Call<'_>| {
        let (shared, x) = (&call.inputs[1 - columns], call.inputs[columns].packed::<f32>());
        let w = Shared::new(shared, if columns == 0 { [0, 1] } else { [1, 0] });
        let add = then.add.then(|| call.inputs[2].packed::<f32>());
        let (y, floor) = (call.outputs[0].slice(), if then.relu { 0.0 } else { f32::NEG_INFINITY });
        assert!(x.len() == k * LANES && y.len() == n * LANES && add.is_none_or(|a| a.len() == y.len()));
        dispatch::<f32>(Product { size: [k, n], x, w, add, y, floor });
    };
    Some(Lanes { scratch: 0, run: Box::new(run) })
}

struct Product<'a> {
    size: [usize; 2],
    x: &'a [f32],
    w: Shared<'a>,
    add: Option<&'a [f32]>,
    y: &'a mut [f32],
    floor: f32,
}

/// Calls `$f` for the number of rows at hand.
macro_rules! rows {
    ($self:ident, $v:ty, $unit:literal, $n:expr, $at:expr, $($ob:literal)*) => {
        match $n {
            $($ob => $self.rows::<$v, $ob, $unit>($at),)*
            n => unreachable!("no tile of {n}"),
        }
    };
}

impl Kernel<f32> for Product<'_> {
    #[inline(always)]
    unsafe fn run<V: Lane<f32>>(mut self) {
        let n = self.size[1];
        let wide = V::REGISTERS == 32;
        // SAFETY: `V`'s instruction set is here, as the caller promises; every tile is inside the `n` rows.
        unsafe {
            if self.w.step[1] == 1 {
                // Neighbours in memory: one pointer serves all rows.
                let mut at = 0;
                while at < n {
                    let most = if wide { 24 } else { 12 };
                    let sizes = [24, 16, 12, 8, 4, 2, 1];
                    let fits = sizes.into_iter().find(|s| *s <= most && at + s <= n).unwrap_or(1);
                    rows!(self, V, true, fits, at, 24 16 12 8 4 2 1);
                    at += fits;
                }
            } else {
                let blocks = n.div_ceil(if wide { 12 } else { 6 });
                for block in 0..blocks {
                    let rows = share(n, blocks, block);
                    rows!(self, V, false, rows.len(), rows.start, 1 2 3 4 5 6 7 8 9 10 11 12);
                }
            }
        }
    }
}

impl Product<'_> {
    #[inline(always)]
    unsafe fn rows<V: Lane<f32>, const OB: usize, const UNIT: bool>(&mut self, at: usize) {
        let [near, far] = self.w.step;
        for lane in (0..LANES).step_by(V::N) {
            // SAFETY: the caller's: rows at..at + OB are there; `Shared::new` has looked at the extent of `w`.
            unsafe {
                let x = self.x.as_ptr().add(lane);
                let first = self.w.w.as_ptr().wrapping_offset(at as isize * far);
                let mut sum = [V::zero(); OB];
                if let Some(add) = self.add {
                    for o in 0..OB {
                        sum[o] = V::load(add.as_ptr().add((at + o) * LANES + lane));
                    }
                }
                let mut from = [first; OB];
                for o in 0..OB {
                    from[o] = first.wrapping_offset(o as isize * if UNIT { 1 } else { far });
                }
                for k in 0..self.size[0] {
                    let (x, step) = (V::load(x.add(k * LANES)), k as isize * near);
                    for o in 0..OB {
                        let w = if UNIT {
                            first.wrapping_offset(step + o as isize)
                        } else {
                            from[o].wrapping_offset(step)
                        };
                        sum[o] = V::splat(*w).mul_add(x, sum[o]);
                    }
                }
                let y = self.y.as_mut_ptr().add(at * LANES + lane);
                for o in 0..OB {
                    V::splat(self.floor).max(sum[o]).store(y.add(o * LANES));
                }
            }
        }
    }
}

/// The kernel of a product that is summed over examples.
pub(crate) fn sum([m, n]: [usize; 2]) -> Option<Lanes> {
    if m * n == 0 {
        return None;
    }
    let run = move |call: Call<'_>| {
        let (a, b) = (call.inputs[0].packed::<f32>(), call.inputs[1].packed::<f32>());
        let (c, accumulate, scratch) = (call.outputs[0].slice(), call.accumulate, call.scratch);
        assert!(a.len() == m * LANES && b.len() == n * LANES && c.len() == m * n);
        dispatch::<f32>(Outer { size: [m, n], a, b, c, accumulate, scratch });
    };
    let scratch = room::<f32>(n.next_multiple_of(LANES) * LANES);
    Some(Lanes { scratch, run: Box::new(run) })
}

struct Outer<'a> {
    size: [usize; 2],
    a: &'a [f32],
    b: &'a [f32],
    c: &'a mut [f32],
    accumulate: bool,
    scratch: &'a mut [u8],
}

/// Calls `tile::<V, MB, NB>`.
macro_rules! tiles {
    ($v:ty, $m:expr, $n:expr, $arguments:tt, $($mb:literal: $($nb:literal)*;)*) => {
        match ($m, $n) {
            $($(($mb, $nb) => tile::<$v, $mb, $nb> $arguments,)*)*
            other => unreachable!("no tile of {other:?}"),
        }
    };
}

impl Kernel<f32> for Outer<'_> {
    #[inline(always)]
    unsafe fn run<V: Lane<f32>>(self) {
        let Outer { size: [m, n], a, b, c, accumulate, scratch } = self;
        let wide = n.next_multiple_of(LANES);
        let turned = Scratch::new(scratch).take::<f32>(wide * LANES);
        for j in (0..n).step_by(LANES) {
            let from: [_; 16] = std::array::from_fn(|i| b.as_ptr().wrapping_add((j + i) * LANES));
            let to: [_; 16] = std::array::from_fn(|l| turned.as_mut_ptr().wrapping_add(l * wide + j));
            // SAFETY: `V`'s instruction set is here, as the caller promises; rows beyond `n` are not read.
            unsafe { V::transpose(&from, (n - j).min(LANES), &to, LANES) };
        }
        let (vectors, most) = (n.div_ceil(V::N), if V::REGISTERS == 32 { [6, 4] } else { [3, 3] });
        let (across, down) = (vectors.div_ceil(most[1]), m.div_ceil(most[0]));
        for columns in (0..across).map(|i| share(vectors, across, i)) {
            let first = columns.start * V::N;
            for rows in (0..down).map(|i| share(m, down, i)) {
                let at = Tile {
                    a: a[rows.start * LANES..].as_ptr(),
                    b: turned[first..].as_ptr(),
                    wide,
                    c: c[rows.start * n + first..].as_mut_ptr(),
                    n,
                    live: (n - first).min(columns.len() * V::N),
                    accumulate,
                };
                // SAFETY: as above; the tile is inside the matrices.
                unsafe {
                    if V::REGISTERS == 32 {
                        tiles!(V, rows.len(), columns.len(), (at), 1: 1 2 3 4; 2: 1 2 3 4; 3: 1 2 3 4; 4: 1 2 3 4;
                            5: 1 2 3 4; 6: 1 2 3 4;)
                    } else {
                        tiles!(V, rows.len(), columns.len(), (at), 1: 1 2 3; 2: 1 2 3; 3: 1 2 3;)
                    }
                }
            }
        }
    }
}

/// A tile of `c`: where its operands lie, and how many columns of it are there.
struct Tile {
    a: *const f32,
    b: *const f32,
    wide: usize,
    c: *mut f32,
    n: usize,
    live: usize,
    accumulate: bool,
}

#[inline(always)]
unsafe fn tile<V: Lane<f32>, const MB: usize, const NB: usize>(t: Tile) {
    // The last register's columns that are there.
    let last = t.live - (NB - 1) * V::N;
    // SAFETY: the caller's.
    unsafe {
        let mut sum = [[V::zero(); NB]; MB];
        if t.accumulate {
            for i in 0..MB {
                for j in 0..NB {
                    let c = t.c.add(i * t.n + j * V::N);
                    sum[i][j] = if j + 1 < NB { V::load(c) } else { V::load_first(c, last) };
                }
            }
        }
        for l in 0..LANES {
            let mut b = [V::zero(); NB];
            for j in 0..NB {
                b[j] = V::load(t.b.add(l * t.wide + j * V::N));
            }
            for i in 0..MB {
                let a = V::splat(*t.a.add(i * LANES + l));
                for j in 0..NB {
                    sum[i][j] = a.mul_add(b[j], sum[i][j]);
                }
            }
        }
        for i in 0..MB {
            for j in 0..NB {
                let c = t.c.add(i * t.n + j * V::N);
                if j + 1 < NB {
                    sum[i][j].store(c);
                } else {
                    sum[i][j].store_first(c, last);
                }
            }
        }
    }
}
