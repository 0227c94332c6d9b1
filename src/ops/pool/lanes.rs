//! Pooling of sixteen examples side by side: planes `[h][w][16]`, one example a lane.
#![allow(unsafe_code)]

use super::cpu::{Divisor, Pool};
use crate::{
    device::cpu::{
        Call, ViewMut,
        lane::{Kernel, Lane, Whole, dispatch},
    },
    ops::{LANES, Lanes, MaxPool2dScatter, Op, conv::Rounding},
    tensor::{DType, Element},
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
    /// Behind a ReLU: of a window whose cells have all become 0 the first one is as large as any. These are the places of
    /// the maxima `y`.
    ///
    /// # Safety
    /// So many have been written, and nobody else uses them.
    #[inline(always)]
    pub(crate) unsafe fn first_where_zero(self, y: &[f32]) {
        // SAFETY: the caller's.
        unsafe {
            match self {
                Place::Byte(p, _) => {
                    let places = std::slice::from_raw_parts_mut(p, y.len());
                    places.iter_mut().zip(y).for_each(|(p, y)| *p = if *y == 0.0 { 0 } else { *p });
                }
                Place::Int(p, _) => {
                    let places = std::slice::from_raw_parts_mut(p, y.len());
                    places.iter_mut().zip(y).for_each(|(p, y)| *p = if *y == 0.0 { 0 } else { *p });
                }
            }
        }
    }
}

/// The two outputs of a max pool.
pub(crate) fn maximum_and_place(outputs: &mut [ViewMut]) -> (&mut [f32], Place) {
    let [y, place] = outputs else { unreachable!("a max pool gives maxima and their places") };
    (y.slice(), Place::of(place))
}

/// Windows side by side, each of which spreads a number to one of its cells: what `max_pool2d_scatter` writes.
pub(crate) struct Spread {
    /// Height and width of a window, and the steps from one to the next.
    pub(crate) kernel: [usize; 2],
    pub(crate) stride: [usize; 2],
    /// Rows and columns of windows.
    pub(crate) windows: [usize; 2],
}

impl Spread {
    /// From the operation and the shape of what it writes. None where windows overlap or reach over the edge, and
    /// where places are not bytes.
    pub(crate) fn by(maker: &dyn Op, y: &[usize]) -> Option<Self> {
        let pool = &maker.is_a::<MaxPool2dScatter>()?.pool;
        let (kernel, stride, size) = (pool.kernel, pool.stride, [y[2], y[3]]);
        let whole = |a: usize| (1..=size[a]).contains(&kernel[a]) && stride[a] >= kernel[a];
        if !whole(0) || !whole(1) || kernel[0] * kernel[1] > 256 {
            return None;
        }
        let rest = [0, 1].map(|a| size[a] - kernel[a]);
        let exact = rest[0].is_multiple_of(stride[0]) && rest[1].is_multiple_of(stride[1]);
        let down = exact || pool.rounding != Rounding::Ceil;
        let plain = pool.padding == [0, 0] && pool.dilation == [1, 1];
        let windows = [0, 1].map(|a| rest[a] / stride[a] + 1);
        (plain && down).then_some(Spread { kernel, stride, windows })
    }
}

/// The cells of a window on one axis that lie inside: the first one's place in the window and in the image, and how
/// many there are.
#[derive(Clone, Copy)]
struct Cells {
    first: usize,
    at: usize,
    count: usize,
}

/// For the cells of window `$p, $q` that lie inside: `$from`, the element of the plane, and `$place` in the window.
/// A closure would not be compiled for the instruction set.
macro_rules! each {
    ($windows:expr, $p:expr, $q:expr, |$from:ident, $place:ident| $body:block) => {
        let (pool, rows, columns) = (&$windows.pool, $windows.axes[0][$p], $windows.axes[1][$q]);
        for u in 0..rows.count {
            let row = (rows.at + u * pool.dilation[0]) * pool.w + columns.at;
            let first = (rows.first + u) * pool.kernel[1] + columns.first;
            for v in 0..columns.count {
                let ($from, $place) = ((row + v * pool.dilation[1]) * LANES, first + v);
                $body
            }
        }
    };
}

/// A window that slides over planes in lanes.
pub(crate) struct Windows {
    pool: Pool,
    axes: [Vec<Cells>; 2],
    /// Two by two, side by side.
    pub(crate) halves: bool,
}

impl Windows {
    pub(crate) fn new(pool: Pool) -> Self {
        let axis = |a: usize, outputs: usize, size: usize| {
            let cells = |o: usize| {
                let mut cells = pool.cells(a, o, size);
                let count = cells.clone().count();
                let (first, at) = cells.next().unwrap_or((0, 0));
                Cells { first, at, count }
            };
            (0..outputs).map(cells).collect()
        };
        Windows { axes: [axis(0, pool.oh, pool.h), axis(1, pool.ow, pool.w)], halves: pool.halves(), pool }
    }

    /// Behind another operation, for planes of one example; None where windows reach over the edge.
    pub(crate) fn following(pool: Pool) -> Option<Self> {
        let fits = |a: usize, n: usize, size: usize| (n.max(1) - 1) * pool.stride[a] + pool.kernel[a] <= size;
        let plain = pool.padding == [0, 0] && pool.dilation == [1, 1];
        (plain && fits(0, pool.oh, pool.h) && fits(1, pool.ow, pool.w)).then(|| Self::new(pool))
    }

    /// Height and width of the result.
    pub(crate) fn out(&self) -> [usize; 2] {
        [self.pool.oh, self.pool.ow]
    }

    /// Elements of a plane before and after.
    fn sizes(&self) -> [usize; 2] {
        [self.pool.h * self.pool.w * LANES, self.pool.oh * self.pool.ow * LANES]
    }

    /// The largest of each window, not below `floor`, and its place, of planes `x`.
    ///
    /// # Safety
    /// The processor has `V`'s instruction set; there are so many planes to read and to write.
    #[inline(always)]
    pub(crate) unsafe fn max<V: Lane<f32>>(
        &self,
        planes: usize,
        x: *const f32,
        y: *mut f32,
        place: Place,
        floor: f32,
    ) {
        let ([before, after], [oh, ow]) = (self.sizes(), self.out());
        for (plane, lane) in (0..planes).flat_map(|p| (0..LANES).step_by(V::N).map(move |l| (p, l))) {
            let x = x.wrapping_add(plane * before + lane);
            for (p, q) in (0..oh).flat_map(|p| (0..ow).map(move |q| (p, q))) {
                let to = plane * after + (p * ow + q) * LANES + lane;
                // SAFETY: `cells` are inside the plane, and `to` inside the result.
                unsafe {
                    let (mut best, mut which, mut any) = (V::splat(f32::NEG_INFINITY), V::zero(), false);
                    each!(self, p, q, |from, at| {
                        let (cell, at) = (V::load(x.add(from)), V::splat(at as f32));
                        if any {
                            which = cell.where_nan(at, cell.where_greater(best, at, which));
                            best = cell.where_nan(cell, cell.max(best));
                        } else {
                            // The first cell is taken whatever it is, for a window of lowest values.
                            (best, which, any) = (cell, at, true);
                        }
                    });
                    V::splat(floor).max(best).store(y.add(to));
                    place.at(to).store(which);
                }
            }
        }
        if floor == 0.0 {
            // SAFETY: the caller's; they have been written.
            unsafe { place.first_where_zero(std::slice::from_raw_parts(y, planes * after)) };
        }
    }

    /// [`Windows::max`] of 2×2 windows.
    #[inline(always)]
    unsafe fn max_halves<V: Lane<f32>>(&self, planes: usize, x: *const f32, y: *mut f32, place: Place) {
        let ([before, after], [oh, ow], wide) = (self.sizes(), self.out(), self.pool.w * LANES);
        for (plane, p) in (0..planes).flat_map(|n| (0..oh).map(move |p| (n, p))) {
            for (q, lane) in (0..ow).flat_map(|q| (0..LANES).step_by(V::N).map(move |l| (q, l))) {
                let to = plane * after + (p * ow + q) * LANES + lane;
                // SAFETY: the window is inside the plane, and `to` inside the result.
                unsafe {
                    let x = x.add(plane * before + 2 * p * wide + 2 * q * LANES + lane);
                    let (mut best, mut which) = (V::load(x), V::zero());
                    for (i, at) in [LANES, wide, wide + LANES].into_iter().enumerate() {
                        let (cell, i) = (V::load(x.add(at)), V::splat(i as f32 + 1.0));
                        which = cell.where_nan(i, cell.where_greater(best, i, which));
                        best = cell.where_nan(cell, cell.max(best));
                    }
                    best.store(y.add(to));
                    place.at(to).store(which);
                }
            }
        }
    }

    /// `dx[i,j] = Σ g[p,q]` over the windows whose maximum is cell (i, j).
    #[inline(always)]
    unsafe fn scatter<V: Lane<f32>, I: Whole>(&self, g: &[f32], at: &[I], dx: &mut [f32]) {
        let ([before, after], [oh, ow], wide) = (self.sizes(), self.out(), self.pool.w * LANES);
        for (plane, dx) in dx.chunks_exact_mut(before).enumerate() {
            let (g, at) = (&g[plane * after..][..after], &at[plane * after..][..after]);
            if self.halves {
                for (row, dx) in dx.chunks_exact_mut(wide).enumerate() {
                    // An odd column or row that no window sees.
                    dx[if row < 2 * oh { 2 * ow * LANES } else { 0 }..].fill(0.0);
                }
                for (p, q) in (0..oh).flat_map(|p| (0..ow).map(move |q| (p, q))) {
                    for lane in (0..LANES).step_by(V::N) {
                        let (from, to) = ((p * ow + q) * LANES + lane, (2 * p * wide) + 2 * q * LANES + lane);
                        // SAFETY: `halves`: the window is inside the plane, of which the slices hold all.
                        unsafe {
                            let (g, at) =
                                (V::load(g.as_ptr().add(from)), V::load_whole(at.as_ptr().add(from)));
                            let zero = V::zero();
                            let to = dx.as_mut_ptr().add(to);
                            V::splat(0.5).where_greater(at, g, zero).store(to);
                            let middle = V::splat(1.5).where_greater(at, g, zero);
                            at.where_greater(V::splat(0.5), middle, zero).store(to.add(LANES));
                            let middle = V::splat(2.5).where_greater(at, g, zero);
                            at.where_greater(V::splat(1.5), middle, zero).store(to.add(wide));
                            at.where_greater(V::splat(2.5), g, zero).store(to.add(wide + LANES));
                        }
                    }
                }
                continue;
            }
            dx.fill(0.0);
            for (p, q) in (0..oh).flat_map(|p| (0..ow).map(move |q| (p, q))) {
                for lane in (0..LANES).step_by(V::N) {
                    let from = (p * ow + q) * LANES + lane;
                    // SAFETY: as above; `each!` gives cells inside.
                    unsafe {
                        let (g, at) = (V::load(g.as_ptr().add(from)), V::load_whole(at.as_ptr().add(from)));
                        each!(self, p, q, |to, place| {
                            let to = dx.as_mut_ptr().add(to + lane);
                            let (old, i) = (V::load(to), V::splat(place as f32));
                            let (low, high) = (i.sub(V::splat(0.5)), i.add(V::splat(0.5)));
                            let new = high.where_greater(at, old.add(g), old);
                            at.where_greater(low, new, old).store(to);
                        });
                    }
                }
            }
        }
    }

    /// `y[p,q] = t` at the window's maximum; 0 for a window without cells.
    #[inline(always)]
    unsafe fn gather<V: Lane<f32>, I: Whole>(&self, t: &[f32], at: &[I], y: &mut [f32]) {
        let ([before, after], [oh, ow]) = (self.sizes(), self.out());
        for (plane, y) in y.chunks_exact_mut(after).enumerate() {
            let (t, at) = (&t[plane * before..][..before], &at[plane * after..][..after]);
            for (p, q) in (0..oh).flat_map(|p| (0..ow).map(move |q| (p, q))) {
                for lane in (0..LANES).step_by(V::N) {
                    let to = (p * ow + q) * LANES + lane;
                    // SAFETY: `each!` gives cells inside, and the slices hold all planes.
                    unsafe {
                        let (mut found, at) = (V::zero(), V::load_whole(at.as_ptr().add(to)));
                        each!(self, p, q, |from, place| {
                            let (t, i) = (V::load(t.as_ptr().add(from + lane)), V::splat(place as f32));
                            let (low, high) = (i.sub(V::splat(0.5)), i.add(V::splat(0.5)));
                            found = at.where_greater(low, high.where_greater(at, t, found), found);
                        });
                        found.store(y.as_mut_ptr().add(to));
                    }
                }
            }
        }
    }

    /// `y[p,q] = (Σ of the window's cells) / by[p,q]`; 0 for a window without cells.
    #[inline(always)]
    unsafe fn mean<V: Lane<f32>>(&self, by: &[f32], x: &[f32], y: &mut [f32]) {
        let ([before, after], [oh, ow]) = (self.sizes(), self.out());
        for (plane, y) in y.chunks_exact_mut(after).enumerate() {
            let x = &x[plane * before..][..before];
            for (p, q) in (0..oh).flat_map(|p| (0..ow).map(move |q| (p, q))) {
                for lane in (0..LANES).step_by(V::N) {
                    // SAFETY: `each!` gives cells inside, and the slices hold all planes.
                    unsafe {
                        let mut sum = V::zero();
                        each!(self, p, q, |from, _place| {
                            sum = sum.add(V::load(x.as_ptr().add(from + lane)));
                        });
                        let y = y.as_mut_ptr().add((p * ow + q) * LANES + lane);
                        sum.div(V::splat(by[p * ow + q])).store(y);
                    }
                }
            }
        }
    }

    /// `dx[i,j] = Σ g[p,q] / by[p,q]` over the windows that see cell (i, j).
    #[inline(always)]
    unsafe fn spread<V: Lane<f32>>(&self, by: &[f32], g: &[f32], dx: &mut [f32]) {
        let ([before, after], [oh, ow]) = (self.sizes(), self.out());
        for (plane, dx) in dx.chunks_exact_mut(before).enumerate() {
            let g = &g[plane * after..][..after];
            if !self.halves || 2 * oh < self.pool.h || 2 * ow < self.pool.w {
                dx.fill(0.0);
            }
            for (p, q) in (0..oh).flat_map(|p| (0..ow).map(move |q| (p, q))) {
                for lane in (0..LANES).step_by(V::N) {
                    let from = (p * ow + q) * LANES + lane;
                    // SAFETY: `each!` gives cells inside, and the slices hold all planes.
                    unsafe {
                        let part = V::load(g.as_ptr().add(from)).div(V::splat(by[p * ow + q]));
                        each!(self, p, q, |to, _place| {
                            let to = dx.as_mut_ptr().add(to + lane);
                            if self.halves { part } else { V::load(to).add(part) }.store(to);
                        });
                    }
                }
            }
        }
    }
}

/// A kernel over windows, for any register.
enum Slide<'a> {
    Max { x: &'a [f32], y: &'a mut [f32], place: Place },
    Scatter { g: &'a [f32], at: Seen<'a>, dx: &'a mut [f32] },
    Gather { t: &'a [f32], at: Seen<'a>, y: &'a mut [f32] },
    Mean { by: &'a [f32], x: &'a [f32], y: &'a mut [f32] },
    Spread { by: &'a [f32], g: &'a [f32], dx: &'a mut [f32] },
}

/// Places that are read.
enum Seen<'a> {
    Bytes(&'a [u8]),
    Ints(&'a [i32]),
}

struct On<'a>(&'a Windows, Slide<'a>);

impl Kernel<f32> for On<'_> {
    #[inline(always)]
    unsafe fn run<V: Lane<f32>>(self) {
        let windows = self.0;
        let ([before, after], planes) =
            (windows.sizes().map(|n| n * windows.pool.planes), windows.pool.planes);
        let check = |image: &[f32], pooled: usize| assert_eq!([image.len(), pooled], [before, after]);
        // SAFETY: `V`'s instruction set is here, as the caller promises, and the slices hold whole planes.
        unsafe {
            match self.1 {
                Slide::Max { x, y, place } => {
                    check(x, y.len().max(place.len()));
                    if windows.halves {
                        windows.max_halves::<V>(planes, x.as_ptr(), y.as_mut_ptr(), place);
                    } else {
                        windows.max::<V>(planes, x.as_ptr(), y.as_mut_ptr(), place, f32::NEG_INFINITY);
                    }
                }
                Slide::Scatter { g, at, dx } => {
                    check(dx, g.len());
                    match at {
                        Seen::Bytes(at) => windows.scatter::<V, u8>(g, at, dx),
                        Seen::Ints(at) => windows.scatter::<V, i32>(g, at, dx),
                    }
                }
                Slide::Gather { t, at, y } => {
                    check(t, y.len());
                    match at {
                        Seen::Bytes(at) => windows.gather::<V, u8>(t, at, y),
                        Seen::Ints(at) => windows.gather::<V, i32>(t, at, y),
                    }
                }
                Slide::Mean { by, x, y } => {
                    check(x, y.len());
                    windows.mean::<V>(by, x, y);
                }
                Slide::Spread { by, g, dx } => {
                    check(dx, g.len());
                    windows.spread::<V>(by, g, dx);
                }
            }
        }
    }
}

/// Which of the operations without a divisor.
#[derive(Clone, Copy)]
pub(crate) enum What {
    Max,
    Scatter,
    Gather,
}

fn kernel(pool: Pool, run: impl Fn(&Windows, Call<'_>) + Send + Sync + 'static) -> Option<Lanes> {
    // A place is held as a real number meanwhile, exactly.
    let fits = pool.kernel[0] * pool.kernel[1] <= 1 << 24;
    let something = pool.planes * pool.h * pool.w * pool.oh * pool.ow > 0;
    let windows = (fits && something).then(|| Windows::new(pool))?;
    Some(Lanes { scratch: 0, run: Box::new(move |call| run(&windows, call)) })
}

/// The kernels of maxima.
pub(crate) fn max(pool: Pool, what: What) -> Option<Lanes> {
    kernel(pool, move |windows, call| {
        let x = call.inputs[0].packed::<f32>();
        let seen = || match call.inputs[1].dtype {
            u8::DTYPE => Seen::Bytes(call.inputs[1].packed()),
            _ => Seen::Ints(call.inputs[1].packed()),
        };
        match what {
            What::Max => {
                let (y, place) = maximum_and_place(call.outputs);
                dispatch(On(windows, Slide::Max { x, y, place }));
            }
            What::Scatter => {
                dispatch(On(windows, Slide::Scatter { g: x, at: seen(), dx: call.outputs[0].slice() }));
            }
            What::Gather => {
                dispatch(On(windows, Slide::Gather { t: x, at: seen(), y: call.outputs[0].slice() }));
            }
        }
    })
}

/// The kernels of means; `back` is the adjoint.
pub(crate) fn mean(pool: Pool, divisor: &Divisor, back: bool) -> Option<Lanes> {
    let (places, wide) = (pool.oh * pool.ow, pool.ow.max(1));
    let by = move |o: usize| match divisor.window(&pool, o / wide, o % wide) {
        (_, [rows, columns]) if rows.is_empty() || columns.is_empty() => 1.0,
        (by, _) => by as f32,
    };
    let by: Vec<f32> = (0..places).map(by).collect();
    kernel(pool, move |windows, call| {
        let (x, y, by) = (call.inputs[0].packed(), call.outputs[0].slice(), &by[..]);
        if back {
            dispatch(On(windows, Slide::Spread { by, g: x, dx: y }));
        } else {
            dispatch(On(windows, Slide::Mean { by, x, y }));
        }
    })
}
