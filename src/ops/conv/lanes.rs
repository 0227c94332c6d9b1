//! Convolution of sixteen examples side by side: `[c][h][w][16]`, one example a lane; forward, with ReLU and a max
//! pool behind it, and the two adjoints.
//!
//! Forward and input gradient are one sweep over a plane with a border of zeros: a tile of channels × positions stays
//! in registers while the taps go by. Which positions take which taps is worked out once, from shapes.
#![allow(unsafe_code)]
// Tiles of registers are indexed as the formulas are.
#![allow(clippy::needless_range_loop)]

use std::ops::Range;

use super::cpu::Conv;
use crate::{
    device::cpu::{
        Call,
        arena::{Scratch, room},
        isa::Isa,
        lane::{Kernel, Lane, dispatch},
        threads::share,
    },
    ops::{
        LANES, Lanes,
        pool::lanes::{Place, Windows, maximum_and_place},
        reduce::lanes::Across,
    },
};

/// What follows a forward convolution in the same kernel.
pub(crate) struct Then {
    /// `max(0, ·)`.
    pub(crate) relu: bool,
    /// The largest of each window, and its place.
    pub(crate) pool: Option<Windows>,
}

/// Elements of the planes that a group's window walks over, border included, and how to make them.
#[derive(Clone, Copy)]
struct Planes {
    /// Channels of a group, rows, columns.
    size: [usize; 3],
    /// Zeros above, below, left, right.
    border: [usize; 4],
}

impl Planes {
    fn rows(&self) -> usize {
        self.border[0] + self.size[1] + self.border[1]
    }
    fn columns(&self) -> usize {
        self.border[2] + self.size[2] + self.border[3]
    }
    /// Elements of a group, without and with the border.
    fn plain(&self) -> usize {
        self.size.iter().product::<usize>() * LANES
    }
    fn bordered(&self) -> usize {
        self.size[0] * self.rows() * self.columns() * LANES
    }
    fn copies(&self) -> bool {
        self.border != [0; 4]
    }
    /// Bytes for the copy.
    fn scratch(&self) -> usize {
        if self.copies() { room::<f32>(self.bordered()) } else { 0 }
    }
    /// One group's planes with their border.
    #[inline(always)]
    fn copy<'a>(&self, x: &'a [f32], to: &'a mut [f32]) -> &'a [f32] {
        if !self.copies() {
            return x;
        }
        let [_, rows, columns] = self.size;
        let [above, below, left, right] = self.border.map(|b| b * LANES);
        let wide = self.columns() * LANES;
        let (from, row) = (x.chunks_exact(rows * columns * LANES), self.rows() * wide);
        for (x, to) in from.zip(to.chunks_exact_mut(row)) {
            let (head, rest) = to.split_at_mut(above * self.columns());
            let (body, tail) = rest.split_at_mut(rows * wide);
            debug_assert_eq!(tail.len(), below * self.columns());
            head.fill(0.0);
            for (x, to) in x.chunks_exact(columns * LANES).zip(body.chunks_exact_mut(wide)) {
                to[..left].fill(0.0);
                to[left..left + x.len()].copy_from_slice(x);
                to[wide - right..].fill(0.0);
            }
            tail.fill(0.0);
        }
        to
    }
}

/// Positions that use the same taps.
struct Class {
    positions: Range<usize>,
    taps: Range<usize>,
}

/// How a window walks over a group's planes.
struct Walk {
    planes: Planes,
    groups: usize,
    /// Channels of a group that are written, elements of each (without lanes).
    out: [usize; 2],
    /// Per position, where the window stands and which element it makes.
    base: Vec<isize>,
    target: Vec<usize>,
    /// Per tap: its address relative to the position's, and its weight's relative to the channel's first.
    taps: Vec<[i32; 2]>,
    /// From one written channel to the next, and from group to group, among the weights.
    weight: [usize; 2],
    classes: Vec<Class>,
}

impl Walk {
    /// Every address inside the planes and the weights? The sweeps do not look again.
    fn check(self, weights: usize) -> Option<Walk> {
        let extent =
            |v: &mut dyn Iterator<Item = i64>| v.fold((i64::MAX, i64::MIN), |(a, b), v| (a.min(v), b.max(v)));
        for c in &self.classes {
            if c.taps.is_empty() || c.positions.is_empty() {
                continue;
            }
            let (low, high) = extent(&mut self.base[c.positions.clone()].iter().map(|b| *b as i64));
            let taps = &self.taps[c.taps.clone()];
            let (from, to) = extent(&mut taps.iter().map(|t| i64::from(t[0])));
            let (first, last) = extent(&mut taps.iter().map(|t| i64::from(t[1])));
            assert!(low + from >= 0 && high + to + LANES as i64 <= self.planes.bordered() as i64);
            let end = (self.groups - 1) * self.weight[1] + (self.out[0] - 1) * self.weight[0];
            assert!(first >= 0 && end as i64 + last < weights as i64);
        }
        assert!(self.target.iter().all(|t| *t < self.out[1]));
        assert!(self.base.len() == self.target.len() && self.taps.len() < i32::MAX as usize);
        Some(self)
    }

    /// The forward pass: output p reads the inputs `p·s − pad + u·d`. With `border`, all positions take all taps;
    /// `halves`: in the order of 2×2 windows.
    fn forward(conv: &Conv, border: bool, halves: Option<[usize; 2]>) -> Option<Walk> {
        let axis = |a: usize, outputs: usize, k: usize, size: usize| {
            let (s, d, before) = (conv.stride[a], conv.dilation[a], conv.padding[a][0]);
            let base = |p: usize| (p * s) as isize - before as isize;
            Axis::new(
                outputs,
                base,
                |_| (0..k).map(|u| (u, (u * d) as isize)).collect(),
                (!border).then_some(size),
            )
        };
        let axes = [axis(0, conv.oh, conv.kh, conv.h), axis(1, conv.ow, conv.kw, conv.w)];
        let [cg, og] = [conv.c / conv.groups, conv.o / conv.groups];
        let window = cg * conv.kh * conv.kw;
        let weight = [conv.kh * conv.kw, conv.kw, window, og * window];
        Walk::new(axes, conv.groups, [cg, conv.h, conv.w], [og, conv.oh, conv.ow], weight, halves)
    }

    /// The input gradient: input i is made by the taps with `u·d ≡ i + pad (mod stride)`, from row
    /// `(i + pad − u·d)/s` of the output gradient.
    fn adjoint(conv: &Conv, border: bool) -> Option<Walk> {
        let axis = |a: usize, size: usize, k: usize, outputs: usize| {
            let (s, d, before) = (conv.stride[a], conv.dilation[a], conv.padding[a][0]);
            let taps = |i: usize| {
                let all = (0..k).filter(|u| u * d % s == (i + before) % s);
                all.map(|u| (u, -((u * d / s) as isize))).collect()
            };
            Axis::new(size, |i| ((i + before) / s) as isize, taps, (!border).then_some(outputs))
        };
        let axes = [axis(0, conv.h, conv.kh, conv.oh), axis(1, conv.w, conv.kw, conv.ow)];
        let [cg, og] = [conv.c / conv.groups, conv.o / conv.groups];
        let window = cg * conv.kh * conv.kw;
        let weight = [window, conv.kw, conv.kh * conv.kw, og * window];
        Walk::new(axes, conv.groups, [og, conv.oh, conv.ow], [cg, conv.h, conv.w], weight, None)
    }

    /// From what happens on the two axes, the planes that are read and those that are written, and the weights' steps
    /// from one read channel, one row of taps, one written channel and one group to the next.
    fn new(
        axes: [Vec<Axis>; 2],
        groups: usize,
        size: [usize; 3],
        out: [usize; 3],
        weight: [usize; 4],
        halves: Option<[usize; 2]>,
    ) -> Option<Walk> {
        let border = |axis: &[Axis], size: usize| {
            let [low, high] = Axis::extent(axis);
            [(-low).max(0).unsigned_abs(), (high + 1 - size as isize).max(0).unsigned_abs()]
        };
        let ([above, below], [left, right]) = (border(&axes[0], size[1]), border(&axes[1], size[2]));
        let planes = Planes { size, border: [above, below, left, right] };
        let wide = planes.columns() as isize;
        i32::try_from(planes.bordered().max(groups * weight[3])).ok()?;
        let mut walk = Walk {
            planes,
            groups,
            out: [out[0], out[1] * out[2]],
            base: Vec::new(),
            target: Vec::new(),
            taps: Vec::new(),
            weight: [weight[2], weight[3]],
            classes: Vec::new(),
        };
        for (rows, columns) in axes[0].iter().flat_map(|r| axes[1].iter().map(move |c| (r, c))) {
            let (positions, taps) = (walk.base.len(), walk.taps.len());
            let mut add = |(p, row): (usize, isize), (q, column): (usize, isize)| {
                walk.base.push(((row + above as isize) * wide + column + left as isize) * LANES as isize);
                walk.target.push(p * out[2] + q);
            };
            match halves {
                Some([h, w]) => {
                    for (p, q, i) in triples(h, w, 4) {
                        add(rows.at[2 * p + i / 2], columns.at[2 * q + i % 2]);
                    }
                }
                None => rows.at.iter().for_each(|p| columns.at.iter().for_each(|q| add(*p, *q))),
            }
            for c in 0..size[0] {
                for ((u, up), (v, back)) in
                    rows.taps.iter().flat_map(|u| columns.taps.iter().map(move |v| (u, v)))
                {
                    let at = (c * planes.rows()) as isize * wide + up * wide + back;
                    let weight = c * weight[0] + u * weight[1] + v;
                    walk.taps.push([(at * LANES as isize) as i32, weight as i32]);
                }
            }
            let (positions, taps) = (positions..walk.base.len(), taps..walk.taps.len());
            walk.classes.push(Class { positions, taps });
        }
        walk.check(groups * weight[3])
    }

    /// Multiply-adds of a channel, with what tiles that are not full waste.
    fn work(&self) -> usize {
        let waste = |n: usize| n + usize::from(!n.is_multiple_of(4));
        self.classes.iter().map(|c| waste(c.positions.len()) * c.taps.len()).sum()
    }

    /// The one without a border, if it is less work: it leaves out the taps that fall on zeros.
    fn lighter(exact: Option<Walk>, bordered: Option<Walk>) -> Option<Walk> {
        match (exact, bordered) {
            (Some(e), Some(b)) if e.taps.len() > TABLE || e.work() > b.work() => Some(b),
            (e, b) => e.or(b),
        }
    }
}

/// The most taps in a table that is longer than need be.
const TABLE: usize = 1 << 15;

/// Outputs of one axis that take the same taps: each output with its base, each tap with its shift; base + shift is
/// what is read.
struct Axis {
    at: Vec<(usize, isize)>,
    taps: Vec<(usize, isize)>,
}

impl Axis {
    /// With a `size`, taps outside `0..size` are left out; else there will be a border of zeros for them.
    fn new(
        outputs: usize,
        base: impl Fn(usize) -> isize,
        taps: impl Fn(usize) -> Vec<(usize, isize)>,
        size: Option<usize>,
    ) -> Vec<Axis> {
        let mut all: Vec<Axis> = Vec::new();
        for (i, base) in (0..outputs).map(|i| (i, base(i))) {
            let mut taps = taps(i);
            taps.retain(|(_, shift)| size.is_none_or(|n| (0..n as isize).contains(&(base + shift))));
            match all.iter_mut().find(|a| a.taps == taps) {
                Some(axis) => axis.at.push((i, base)),
                None => all.push(Axis { at: vec![(i, base)], taps }),
            }
        }
        all
    }

    /// The first and the last that is read.
    fn extent(all: &[Axis]) -> [isize; 2] {
        let reads =
            all.iter().flat_map(|a| a.at.iter().flat_map(|(_, b)| a.taps.iter().map(move |t| b + t.1)));
        reads.fold([0, 0], |[low, high], at| [low.min(at), high.max(at)])
    }
}

fn triples(a: usize, b: usize, c: usize) -> impl Iterator<Item = (usize, usize, usize)> {
    (0..a).flat_map(move |i| (0..b).flat_map(move |j| (0..c).map(move |k| (i, j, k))))
}

/// `0..n` in blocks of at most `most`, as even as they can be.
pub(super) fn even(n: usize, most: usize) -> impl Iterator<Item = Range<usize>> {
    let blocks = n.div_ceil(most);
    (0..blocks).map(move |b| share(n, blocks, b))
}

fn nothing(conv: &Conv) -> bool {
    [conv.c, conv.h, conv.w, conv.o, conv.kh, conv.kw, conv.oh, conv.ow].contains(&0)
}

/// The kernel of a forward convolution.
pub(crate) fn forward(conv: Conv, then: Then) -> Option<Lanes> {
    if nothing(&conv) {
        return None;
    }
    let halves = then.pool.as_ref().filter(|p| p.halves).map(Windows::out);
    let bordered = Walk::forward(&conv, true, halves);
    let walk = match halves {
        Some(_) => bordered?,
        None => Walk::lighter(Walk::forward(&conv, false, None), bordered)?,
    };
    // Any other window: the channels of a tile are made whole, then pooled.
    let whole = match &then.pool {
        Some(_) if halves.is_none() => room::<f32>(MOST * conv.oh * conv.ow * LANES),
        _ => 0,
    };
    let scratch = walk.planes.scratch() + whole;
    let run = move |call: Call<'_>| {
        let bias = call.inputs.get(2).map(|b| b.packed::<f32>());
        let (x, w) = (call.inputs[0].packed::<f32>(), call.inputs[1].packed::<f32>());
        let (y, place) = match &then.pool {
            Some(_) => {
                let (y, place) = maximum_and_place(call.outputs);
                (y, Some(place))
            }
            None => (call.outputs[0].slice::<f32>(), None),
        };
        dispatch::<f32>(Correlate { walk: &walk, then: &then, x, w, bias, y, place, scratch: call.scratch });
    };
    Some(Lanes { scratch, run: Box::new(run) })
}

/// The kernel of the adjoint in the input.
pub(crate) fn input_gradient(conv: Conv) -> Option<Lanes> {
    if nothing(&conv) {
        return None;
    }
    let walk = Walk::lighter(Walk::adjoint(&conv, false), Walk::adjoint(&conv, true))?;
    let scratch = walk.planes.scratch();
    let run = move |call: Call<'_>| {
        let (x, w) = (call.inputs[0].packed::<f32>(), call.inputs[1].packed::<f32>());
        let (then, y, scratch) = (&Then { relu: false, pool: None }, call.outputs[0].slice(), call.scratch);
        dispatch::<f32>(Correlate { walk: &walk, then, x, w, bias: None, y, place: None, scratch });
    };
    Some(Lanes { scratch, run: Box::new(run) })
}

/// The most channels that a tile of 32 registers makes at once.
const MOST: usize = 6;
/// The most that a tile of 16 registers makes.
const FEW: usize = 3;

/// Who has registers for a tile of so many channels.
const fn least(channels: usize) -> Isa {
    if channels > FEW { Isa::Avx512 } else { Isa::Plain }
}

struct Correlate<'a> {
    walk: &'a Walk,
    then: &'a Then,
    x: &'a [f32],
    w: &'a [f32],
    bias: Option<&'a [f32]>,
    y: &'a mut [f32],
    place: Option<Place>,
    scratch: &'a mut [u8],
}

impl Kernel<f32> for Correlate<'_> {
    #[inline(always)]
    unsafe fn run<V: Lane<f32>>(self) {
        let Correlate { walk, then, x, w, bias, y, place, scratch } = self;
        let [made, positions] = walk.out;
        let mut scratch = Scratch::new(scratch);
        let copy = scratch.take::<f32>(if walk.planes.copies() { walk.planes.bordered() } else { 0 });
        let after = then.pool.as_ref().map_or(positions, |p| p.out().iter().product());
        let halves = then.pool.as_ref().is_some_and(|p| p.halves);
        let whole = then.pool.as_ref().filter(|p| !p.halves);
        let block = scratch.take::<f32>(if whole.is_some() { MOST * positions * LANES } else { 0 });
        assert_eq!(x.len(), walk.groups * walk.planes.plain());
        assert_eq!(y.len(), walk.groups * made * after * LANES);
        assert_eq!(w.len(), walk.groups * walk.weight[1]);
        assert!(place.as_ref().is_none_or(|p| p.len() == y.len()));
        // SAFETY: `V`'s instruction set is here, as the caller promises.
        let careful = halves && unsafe { !bounded::<V>(x, w, bias) };
        let floor = if then.relu { 0.0 } else { f32::NEG_INFINITY };
        for group in 0..walk.groups {
            let x = walk.planes.copy(&x[group * walk.planes.plain()..][..walk.planes.plain()], copy);
            for o in even(made, if V::REGISTERS == 32 { MOST } else { FEW }) {
                let first = group * made + o.start;
                let mut b = [0.0; MOST];
                if let Some(bias) = bias {
                    b[..o.len()].copy_from_slice(&bias[first..first + o.len()]);
                }
                let y = &mut y[first * after * LANES..][..o.len() * after * LANES];
                let mut sweep = Sweep {
                    walk,
                    x: x.as_ptr(),
                    w: w[group * walk.weight[1] + o.start * walk.weight[0]..].as_ptr(),
                    bias: b,
                    y: y.as_mut_ptr(),
                    place: place.map(|p| p.at(first * after * LANES)),
                    positions: after,
                    floor,
                    careful,
                };
                if whole.is_some() {
                    (sweep.y, sweep.place, sweep.positions) = (block.as_mut_ptr(), None, positions);
                    sweep.floor = f32::NEG_INFINITY;
                }
                match (halves, o.len()) {
                    (false, 1) => dispatch(Tiles::<1, false>(sweep)),
                    (false, 2) => dispatch(Tiles::<2, false>(sweep)),
                    (false, 3) => dispatch(Tiles::<3, false>(sweep)),
                    (false, 4) => dispatch(Tiles::<4, false>(sweep)),
                    (false, 5) => dispatch(Tiles::<5, false>(sweep)),
                    (false, _) => dispatch(Tiles::<6, false>(sweep)),
                    (true, 1) => dispatch(Tiles::<1, true>(sweep)),
                    (true, 2) => dispatch(Tiles::<2, true>(sweep)),
                    (true, 3) => dispatch(Tiles::<3, true>(sweep)),
                    (true, 4) => dispatch(Tiles::<4, true>(sweep)),
                    (true, 5) => dispatch(Tiles::<5, true>(sweep)),
                    (true, _) => dispatch(Tiles::<6, true>(sweep)),
                }
                let place = place.map(|place| place.at(first * after * LANES));
                match (whole, place) {
                    // SAFETY: as above; `y` and `place` have room for these channels.
                    (Some(pool), Some(place)) => unsafe {
                        pool.max::<V>(o.len(), block.as_ptr(), y.as_mut_ptr(), place, floor)
                    },
                    // SAFETY: the places of these channels have been written.
                    (None, Some(place)) if then.relu => unsafe { place.first_where_zero(y) },
                    _ => {}
                }
            }
        }
    }
}

/// A tile of `OB` channels over all positions, pooled by 2×2 windows or not: a function of its own.
struct Tiles<'a, const OB: usize, const HALVES: bool>(Sweep<'a>);

impl<const OB: usize, const HALVES: bool> Kernel<f32> for Tiles<'_, OB, HALVES> {
    const LEAST: Isa = least(OB);
    #[inline(always)]
    unsafe fn run<V: Lane<f32>>(self) {
        // SAFETY: `V`'s instruction set is here, as the caller promises; `Walk::check` has looked at every address, and
        // the maker of the sweep has seen to room for the channels.
        unsafe {
            match (HALVES, V::REGISTERS == 32, OB) {
                (false, true, 1..=3) => self.0.run::<V, OB, 8, 3>(),
                (false, true, 4) => self.0.run::<V, OB, 6, 3>(),
                (false, true, 5) => self.0.run::<V, OB, 5, 2>(),
                (false, true, _) => self.0.run::<V, OB, 4, 2>(),
                (false, false, 1) => self.0.run::<V, OB, 8, 3>(),
                (false, false, 2) => self.0.run::<V, OB, 6, 3>(),
                (false, false, _) => self.0.run::<V, OB, 4, 2>(),
                (true, true, 1..=3) | (true, false, 1) => self.0.run_halves::<V, OB, 8>(),
                (true, _, _) => self.0.run_halves::<V, OB, 4>(),
            }
        }
    }
}

/// Can no sum of products of these leave the finite numbers? `|Σ w·x| ≤ √(Σw²·Σx²)`.
#[inline(always)]
unsafe fn bounded<V: Lane<f32>>(x: &[f32], w: &[f32], bias: Option<&[f32]>) -> bool {
    // SAFETY: the caller's.
    let [x, w, b] = unsafe { [squares::<V>(x), squares::<V>(w), squares::<V>(bias.unwrap_or(&[]))] };
    // NaN compares as false.
    x.sqrt() * w.sqrt() + b.sqrt() < 1e37
}

/// `Σx²`, in some order.
#[inline(always)]
unsafe fn squares<V: Lane<f32>>(x: &[f32]) -> f32 {
    // SAFETY: the caller's; whole registers are read inside the slice.
    unsafe {
        let (mut sum, mut at) = ([V::zero(); 4], 0);
        while at + 4 * V::N <= x.len() {
            for j in 0..4 {
                let x = V::load(x.as_ptr().add(at + j * V::N));
                sum[j] = x.mul_add(x, sum[j]);
            }
            at += 4 * V::N;
        }
        let mut parts = [0.0f32; 16];
        sum[0].add(sum[1]).add(sum[2].add(sum[3])).store(parts.as_mut_ptr());
        parts[..V::N].iter().sum::<f32>() + x[at..].iter().map(|x| x * x).sum::<f32>()
    }
}

/// One tile of channels over all positions.
struct Sweep<'a> {
    walk: &'a Walk,
    x: *const f32,
    w: *const f32,
    bias: [f32; MOST],
    y: *mut f32,
    place: Option<Place>,
    /// Elements of one channel of `y`.
    positions: usize,
    floor: f32,
    careful: bool,
}

impl Sweep<'_> {
    /// `sum[o][j] = bias[o] + Σ_tap w[tap][o] · x[base[at + j] + tap]`, for `OB` channels and `PB` positions; a tile
    /// that is not full does its last position several times.
    #[inline(always)]
    unsafe fn tile<V: Lane<f32>, const OB: usize, const PB: usize>(
        &self,
        class: &Class,
        at: usize,
        lane: usize,
    ) -> [[V; PB]; OB] {
        let (last, step) = (class.positions.end - 1, self.walk.weight[0]);
        // SAFETY: `Walk::check` has looked at `base + tap` of every class, and at the weights.
        unsafe {
            let mut from = [self.x; PB];
            for (j, from) in from.iter_mut().enumerate() {
                *from = self
                    .x
                    .wrapping_offset(*self.walk.base.get_unchecked((at + j).min(last)))
                    .wrapping_add(lane);
            }
            let mut sum = [[V::zero(); PB]; OB];
            for o in 0..OB {
                sum[o] = [V::splat(self.bias[o]); PB];
            }
            for &[near, weight] in self.walk.taps.get_unchecked(class.taps.clone()) {
                let w = self.w.wrapping_offset(weight as isize);
                let mut weights = [V::zero(); OB];
                for o in 0..OB {
                    weights[o] = V::splat(*w.add(o * step));
                }
                for j in 0..PB {
                    let cell = V::load(from[j].wrapping_offset(near as isize));
                    for o in 0..OB {
                        sum[o][j] = cell.mul_add(weights[o], sum[o][j]);
                    }
                }
            }
            sum
        }
    }

    /// Tiles of `PB` positions, then of `PH`, then of one.
    #[inline(always)]
    unsafe fn run<V: Lane<f32>, const OB: usize, const PB: usize, const PH: usize>(&self) {
        for (lane, class) in
            (0..LANES).step_by(V::N).flat_map(|l| self.walk.classes.iter().map(move |c| (l, c)))
        {
            let Range { start: mut at, end } = class.positions.clone();
            // SAFETY: the caller's.
            unsafe {
                while at + PB <= end {
                    self.put::<V, OB, PB>(class, at, lane);
                    at += PB;
                }
                while at + PH <= end {
                    self.put::<V, OB, PH>(class, at, lane);
                    at += PH;
                }
                while at < end {
                    self.put::<V, OB, 1>(class, at, lane);
                    at += 1;
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn put<V: Lane<f32>, const OB: usize, const PB: usize>(
        &self,
        class: &Class,
        at: usize,
        lane: usize,
    ) {
        // SAFETY: the caller's.
        unsafe {
            let (sum, floor) = (self.tile::<V, OB, PB>(class, at, lane), V::splat(self.floor));
            for j in 0..PB {
                let y = self.y.add(*self.walk.target.get_unchecked(at + j) * LANES + lane);
                for o in 0..OB {
                    floor.max(sum[o][j]).store(y.add(o * self.positions * LANES));
                }
            }
        }
    }

    /// The same, of which each 2×2 window keeps its maximum.
    #[inline(always)]
    unsafe fn run_halves<V: Lane<f32>, const OB: usize, const PB: usize>(&self) {
        let Some(place) = self.place else { return };
        for (lane, class) in
            (0..LANES).step_by(V::N).flat_map(|l| self.walk.classes.iter().map(move |c| (l, c)))
        {
            for at in class.positions.clone().step_by(PB) {
                // SAFETY: the caller's.
                unsafe {
                    let (sum, floor) = (self.tile::<V, OB, PB>(class, at, lane), V::splat(self.floor));
                    for window in 0..PB / 4 {
                        let to = (at / 4 + window) * LANES + lane;
                        if at / 4 + window >= self.positions {
                            break;
                        }
                        for o in 0..OB {
                            let (mut best, mut which) = (sum[o][4 * window], V::zero());
                            for i in 1..4 {
                                let (x, i) = (sum[o][4 * window + i], V::splat(i as f32));
                                which = x.where_greater(best, i, which);
                                best = x.max(best);
                                if self.careful {
                                    which = x.where_nan(i, which);
                                    best = x.where_nan(x, best);
                                }
                            }
                            let to = to + o * self.positions * LANES;
                            floor.max(best).store(self.y.add(to));
                            place.at(to).store(which);
                        }
                    }
                }
            }
        }
    }
}

/// Bytes of a block of the output gradient's rows that are to stay in the first-level cache while all taps go by.
const ROWS: usize = 24 << 10;

/// The kernel of the adjoint in the weight.
pub(crate) fn weight_gradient(conv: Conv) -> Option<Lanes> {
    if nothing(&conv) {
        return None;
    }
    let walk = Walk::forward(&conv, true, None)?;
    let sums = room::<f32>(MOST * walk.taps.len() * LANES);
    let scratch = walk.planes.scratch() + sums;
    let step = [conv.stride[0] * walk.planes.columns() * LANES, conv.stride[1] * LANES];
    let run = move |call: Call<'_>| {
        let (x, g) = (call.inputs[0].packed::<f32>(), call.inputs[1].packed::<f32>());
        let (dw, accumulate, scratch) = (call.outputs[0].slice(), call.accumulate, call.scratch);
        let size = [conv.oh, conv.ow];
        dispatch::<f32>(WeightGradient { walk: &walk, size, step, x, g, dw, accumulate, scratch });
    };
    Some(Lanes { scratch, run: Box::new(run) })
}

struct WeightGradient<'a> {
    walk: &'a Walk,
    /// Rows and columns of positions, and the window's steps between them.
    size: [usize; 2],
    step: [usize; 2],
    x: &'a [f32],
    g: &'a [f32],
    dw: &'a mut [f32],
    accumulate: bool,
    scratch: &'a mut [u8],
}

impl Kernel<f32> for WeightGradient<'_> {
    #[inline(always)]
    unsafe fn run<V: Lane<f32>>(self) {
        let WeightGradient { walk, size: [oh, ow], step, x, g, dw, accumulate, scratch } = self;
        let ([made, positions], window) = (walk.out, walk.taps.len());
        let mut scratch = Scratch::new(scratch);
        let copy = scratch.take::<f32>(if walk.planes.copies() { walk.planes.bordered() } else { 0 });
        let sums = scratch.take::<f32>(MOST * window * LANES);
        assert_eq!(x.len(), walk.groups * walk.planes.plain());
        assert_eq!(g.len(), walk.groups * made * positions * LANES);
        assert_eq!(dw.len(), walk.groups * made * window);
        let most = if V::REGISTERS == 32 { MOST } else { FEW };
        for group in 0..walk.groups {
            let x = walk.planes.copy(&x[group * walk.planes.plain()..][..walk.planes.plain()], copy);
            for o in even(made, most) {
                let (first, o) = (group * made + o.start, o.len());
                let row = o * ow * LANES * size_of::<f32>();
                let rows = if oh * row <= 2 * ROWS { oh } else { (ROWS / row).max(1) };
                for start in (0..oh).step_by(rows) {
                    let strip = Strip {
                        walk,
                        rows: [start, (start + rows).min(oh)],
                        columns: ow,
                        step,
                        x: x.as_ptr(),
                        g: g[first * positions * LANES..].as_ptr(),
                        sums: sums.as_mut_ptr(),
                    };
                    match o {
                        1 => dispatch(TapTiles::<1>(strip)),
                        2 => dispatch(TapTiles::<2>(strip)),
                        3 => dispatch(TapTiles::<3>(strip)),
                        4 => dispatch(TapTiles::<4>(strip)),
                        5 => dispatch(TapTiles::<5>(strip)),
                        _ => dispatch(TapTiles::<6>(strip)),
                    }
                }
                let (sums, y) = (&sums[..o * window * LANES], &mut dw[first * window..][..o * window]);
                // SAFETY: as above.
                unsafe { Across { sums, y, accumulate }.run::<V>() };
            }
        }
    }
}

/// Some output channels, over some rows of positions.
struct Strip<'a> {
    walk: &'a Walk,
    rows: [usize; 2],
    columns: usize,
    step: [usize; 2],
    x: *const f32,
    g: *const f32,
    sums: *mut f32,
}

/// All taps of `OB` channels, a tile after the other: a function of its own.
struct TapTiles<'a, const OB: usize>(Strip<'a>);

impl<const OB: usize> Kernel<f32> for TapTiles<'_, OB> {
    const LEAST: Isa = least(OB);
    #[inline(always)]
    unsafe fn run<V: Lane<f32>>(self) {
        let widest = match (V::REGISTERS == 32, OB) {
            (true, _) => [8, 8, 7, 6, 5, 4][OB - 1],
            (false, _) => [8, 5, 4, 0, 0, 0][OB - 1],
        };
        for taps in even(self.0.walk.taps.len(), widest.max(1)) {
            let (t, first) = (&self.0, taps.start);
            // SAFETY: `V`'s instruction set is here, as the caller promises; `Walk::check` has looked at the addresses.
            unsafe {
                match taps.len() {
                    1 => correlate::<V, OB, 1>(t, first),
                    2 => correlate::<V, OB, 2>(t, first),
                    3 => correlate::<V, OB, 3>(t, first),
                    4 => correlate::<V, OB, 4>(t, first),
                    5 if OB <= 5 => correlate::<V, OB, 5>(t, first),
                    6 if OB <= 4 => correlate::<V, OB, 6>(t, first),
                    7 if OB <= 3 => correlate::<V, OB, 7>(t, first),
                    8 if OB <= 2 => correlate::<V, OB, 8>(t, first),
                    n => unreachable!("no tile of {OB} channels and {n} taps"),
                }
            }
        }
    }
}

/// `sums[o][tap] += Σ_position g[o][position] · x[position + tap]`, a sum a lane, from 0 at the first row on.
#[inline(always)]
unsafe fn correlate<V: Lane<f32>, const OB: usize, const KB: usize>(t: &Strip<'_>, first: usize) {
    let (window, plane) = (t.walk.taps.len(), t.walk.out[1] * LANES);
    for lane in (0..LANES).step_by(V::N) {
        // SAFETY: the caller's.
        unsafe {
            let mut from = [t.x; KB];
            for k in 0..KB {
                from[k] = t.x.offset(t.walk.taps.get_unchecked(first + k)[0] as isize).add(lane);
            }
            let (g, to) = (t.g.add(lane), t.sums.add(first * LANES + lane));
            let mut sum = [[V::zero(); KB]; OB];
            if t.rows[0] > 0 {
                for o in 0..OB {
                    for k in 0..KB {
                        sum[o][k] = V::load(to.add((o * window + k) * LANES));
                    }
                }
            }
            for row in t.rows[0]..t.rows[1] {
                let (mut near, mut at) = (row * t.step[0], row * t.columns * LANES);
                for _ in 0..t.columns {
                    let mut out = [V::zero(); OB];
                    for o in 0..OB {
                        out[o] = V::load(g.add(at + o * plane));
                    }
                    for k in 0..KB {
                        let cell = V::load(from[k].add(near));
                        for o in 0..OB {
                            sum[o][k] = cell.mul_add(out[o], sum[o][k]);
                        }
                    }
                    near += t.step[1];
                    at += LANES;
                }
            }
            for o in 0..OB {
                for k in 0..KB {
                    sum[o][k].store(to.add((o * window + k) * LANES));
                }
            }
        }
    }
}
