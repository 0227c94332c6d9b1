//! Convolution on the processor: forward and its two adjoints, over contiguous `[n, c, h, w]` and
//! `[o, c/groups, kh, kw]` slices.
//!
//! Four roads, chosen by shape alone:
//! * **lanes** — enough examples, and a block of them fits the cache that is assumed: 16 examples (8 of `f64`) stand
//!   side by side, one per SIMD lane, so that every channel count, stride and dilation runs at the speed of the
//!   multiply-add units. Each example's result is one chain of multiply-adds over the taps.
//! * **depthwise** — one input channel per group: a direct loop over rows.
//! * **direct** — few examples and little work, or few channels of a large image: where windows move by one, a row of the
//!   output is a row of the padded input for each tap, so a stretch of positions stays in registers while it walks along
//!   the taps. Rows and columns of other strides are dealt by their remainders first. Forward only.
//! * **gemm** — windows are laid out as a matrix (im2col), a tile of positions at a time; a 1×1 convolution is
//!   such a matrix already.
//!
//! Every sum over the batch is cut into groups that depend on the shape alone and added in a fixed tree, so the
//! bits do not depend on the number of threads.
#![allow(unsafe_code)]
// Tiles of registers are indexed as the formulas are.
#![allow(clippy::needless_range_loop)]

use std::ops::Range;

use crate::device::cpu::{
    arena::{Scratch, room},
    float::Float,
    gemm::{Matrix, MatrixMut, SLICE, gemm},
    lane::{Kernel, Lane, dispatch},
    threads::{Parts, chunks_mut, parallel, share},
};

/// Multiply-adds below which work stays on one thread (about 30 µs).
const SPLIT: usize = 3 << 19;
/// The most groups that a batch is dealt into.
const GROUPS: usize = 16;
/// What a block of examples may take: the cache is assumed, never asked.
const CACHE: usize = 512 << 10;
/// Elements of a tile of im2col.
const COLUMNS: usize = 1 << 16;
/// Positions between two visits of the weight gradient's accumulators.
const POSITIONS: usize = 112;

/// `y[n,o,p,q] = b[o] + Σ_{c,u,v} w[o,c,u,v] · x[n, c, p·s₀ + u·d₀ − pad₀, q·s₁ + v·d₁ − pad₁]`: the sizes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Conv {
    /// Examples.
    pub(crate) n: usize,
    /// Input channels.
    pub(crate) c: usize,
    /// Input height.
    pub(crate) h: usize,
    /// Input width.
    pub(crate) w: usize,
    /// Output channels.
    pub(crate) o: usize,
    /// Kernel height.
    pub(crate) kh: usize,
    /// Kernel width.
    pub(crate) kw: usize,
    /// Step of the window per axis.
    pub(crate) stride: [usize; 2],
    /// Zeros per axis, before and after. Only those before move windows; those after are in `oh`, `ow`.
    pub(crate) padding: [[usize; 2]; 2],
    /// Step between the window's cells per axis.
    pub(crate) dilation: [usize; 2],
    /// Groups of channels that do not see each other.
    pub(crate) groups: usize,
    /// Output height.
    pub(crate) oh: usize,
    /// Output width.
    pub(crate) ow: usize,
}

/// Which of the three functions.
#[derive(Clone, Copy, PartialEq)]
enum Pass {
    Forward,
    Input,
    Weight,
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Road {
    Nothing,
    Lanes,
    Depthwise,
    Direct,
    Gemm,
}

impl Conv {
    /// Channels per group: of the input, of the output.
    fn per_group(&self) -> [usize; 2] {
        [self.c / self.groups, self.o / self.groups]
    }
    /// Weights per output channel.
    fn window(&self) -> usize {
        self.c / self.groups * self.kh * self.kw
    }
    /// Output positions per channel.
    fn positions(&self) -> usize {
        self.oh * self.ow
    }
    fn x_len(&self) -> usize {
        self.n * self.c * self.h * self.w
    }
    fn y_len(&self) -> usize {
        self.n * self.o * self.positions()
    }
    fn w_len(&self) -> usize {
        self.o * self.window()
    }
    fn macs(&self) -> usize {
        self.n * self.o * self.positions() * self.window()
    }
    /// Is the input its own im2col?
    fn pointwise(&self) -> bool {
        [self.kh, self.kw] == [1, 1]
            && self.stride == [1, 1]
            && [self.padding[0][0], self.padding[1][0]] == [0, 0]
            && [self.oh, self.ow] == [self.h, self.w]
    }
    /// Zeros left and right of an input row, as far as windows read them.
    fn x_border(&self) -> [usize; 2] {
        let reach = (self.ow - 1) * self.stride[1] + (self.kw - 1) * self.dilation[1] + 1;
        [self.padding[1][0], reach.saturating_sub(self.padding[1][0] + self.w)]
    }
    /// Zeros left and right of an output gradient's row, as far as the input gradient reads them.
    fn g_border(&self) -> [usize; 2] {
        let (s, before) = (self.stride[1], self.padding[1][0]);
        let left = ((self.kw - 1) * self.dilation[1] / s).saturating_sub(before / s);
        [left, ((self.w - 1 + before) / s + 1).saturating_sub(self.ow)]
    }

    fn road<T: Float>(&self, pass: Pass) -> Road {
        if self.x_len() == 0 || self.y_len() == 0 || self.w_len() == 0 {
            return Road::Nothing;
        }
        let fits = |elements: usize| elements * 64 <= CACHE;
        let wide = |border: [usize; 2], width: usize| border[0] + width + border[1];
        let x = fits(self.c * self.h * wide(self.x_border(), self.w));
        let fit = match pass {
            Pass::Forward => x && fits(4 * self.positions()),
            Pass::Input => {
                fits(self.o * self.oh * wide(self.g_border(), self.ow)) && fits(4 * self.h * self.w)
            }
            Pass::Weight => x && fits(self.o * self.positions()) && fits(self.w_len()),
        };
        if fit && 2 * self.n >= T::LANES {
            Road::Lanes
        } else if self.groups > 1 && self.groups == self.c {
            Road::Depthwise
        } else if pass == Pass::Forward && self.is_direct() {
            Road::Direct
        } else {
            Road::Gemm
        }
    }

    /// A convolution whose windows are what ours read of the input, its zeros included, a plane for every remainder of
    /// row and column by the stride: within one, windows move by one.
    fn frame(&self) -> Self {
        let kernel = [self.kh, self.kw];
        let reach: [usize; 2] = std::array::from_fn(|i| (kernel[i] - 1) * self.dilation[i]);
        let [kh, kw] = std::array::from_fn(|i| self.stride[i].min(reach[i] + 1));
        let (oh, ow) = (self.oh + reach[0] / self.stride[0], self.ow + reach[1] / self.stride[1]);
        Conv { kh, kw, dilation: [1, 1], oh, ow, ..*self }
    }
    /// Is laying out windows dearer than computing what lies between the rows of the result?
    fn is_direct(&self) -> bool {
        if self.pointwise() || self.window() > SLICE {
            return false;
        }
        let frame = self.frame();
        if self.macs() < SPLIT {
            return frame.ow <= 2 * self.ow && frame.oh <= 4 * self.oh;
        }
        // A stretch that fits, few columns in vain, and a matrix of windows that is large beside input and result.
        let least = frame.window() * (1 + frame.oh - self.oh) * frame.ow;
        let large = self.window() >= 2 * frame.window() && 2 * self.window() >= self.per_group()[1];
        least <= FRAME && 8 * frame.ow <= 9 * self.ow && large
    }

    fn blocks<T: Float>(&self) -> usize {
        self.n.div_ceil(T::LANES)
    }
}

// ------------------------------------------------------------------------------------------------ public functions

/// Bytes of working memory of [`forward`].
pub(crate) fn forward_scratch<T: Float>(conv: &Conv) -> usize {
    match conv.road::<T>(Pass::Forward) {
        Road::Lanes => Walk::scratch::<T>(conv, Pass::Forward),
        Road::Direct => {
            let [tasks, stretch, result] = direct_sizes(conv);
            tasks * (room::<T>(stretch) + room::<T>(result))
        }
        Road::Gemm => forward_gemm_tiles(conv).scratch::<T>(),
        _ => 0,
    }
}

/// `y[n,o,p,q] = b[o] + Σ_{c,u,v} w[o,c,u,v] · x[n, c, p·s₀ + u·d₀ − pad₀, q·s₁ + v·d₁ − pad₁]`.
///
/// # Panics
/// When a slice is not as long as its shape says, or `scratch` is shorter than [`forward_scratch`].
pub(crate) fn forward<T: Float>(
    conv: &Conv,
    x: &[T],
    w: &[T],
    bias: Option<&[T]>,
    y: &mut [T],
    scratch: &mut [u8],
) {
    check(conv, [x.len(), y.len(), w.len()]);
    bias.iter().for_each(|b| assert_eq!(b.len(), conv.o, "one bias per output channel"));
    match conv.road::<T>(Pass::Forward) {
        Road::Nothing => {
            for (i, y) in y.chunks_mut(conv.positions().max(1)).enumerate() {
                y.fill(bias.map_or(T::ZERO, |b| b[i % conv.o]));
            }
        }
        Road::Lanes => correlate_lanes(conv, Pass::Forward, x, w, bias, y, scratch),
        Road::Depthwise => depthwise_forward(conv, x, w, bias, y),
        Road::Direct => forward_direct(conv, x, w, bias, y, scratch),
        Road::Gemm => forward_gemm(conv, x, w, bias, y, scratch),
    }
}

/// Bytes of working memory of [`input_gradient`].
pub(crate) fn input_gradient_scratch<T: Float>(conv: &Conv) -> usize {
    match conv.road::<T>(Pass::Input) {
        Road::Lanes => Walk::scratch::<T>(conv, Pass::Input),
        Road::Gemm => input_gemm_tiles(conv).scratch::<T>(),
        _ => 0,
    }
}

/// `dx[n,c,i,j] = Σ_{o,u,v} w[o,c,u,v] · g[n,o,p,q]` over `p·s₀ + u·d₀ − pad₀ = i`, `q·s₁ + v·d₁ − pad₁ = j`.
///
/// # Panics
/// When a slice is not as long as its shape says, or `scratch` is shorter than [`input_gradient_scratch`].
pub(crate) fn input_gradient<T: Float>(conv: &Conv, g: &[T], w: &[T], dx: &mut [T], scratch: &mut [u8]) {
    check(conv, [dx.len(), g.len(), w.len()]);
    match conv.road::<T>(Pass::Input) {
        Road::Nothing => dx.fill(T::ZERO),
        Road::Lanes => correlate_lanes(conv, Pass::Input, g, w, None, dx, scratch),
        Road::Depthwise => depthwise_input(conv, g, w, dx),
        Road::Direct | Road::Gemm => input_gemm(conv, g, w, dx, scratch),
    }
}

/// Bytes of working memory of [`weight_gradient`].
pub(crate) fn weight_gradient_scratch<T: Float>(conv: &Conv) -> usize {
    match conv.road::<T>(Pass::Weight) {
        Road::Lanes => Walk::scratch::<T>(conv, Pass::Weight),
        Road::Depthwise => room::<T>(depthwise_groups(conv) * conv.w_len()),
        Road::Direct | Road::Gemm => {
            weight_gemm_tiles(conv).scratch::<T>() + room::<T>(weight_gemm_groups(conv) * conv.w_len())
        }
        Road::Nothing => 0,
    }
}

/// `dw[o,c,u,v] = Σ_{n,p,q} g[n,o,p,q] · x[n, c, p·s₀ + u·d₀ − pad₀, q·s₁ + v·d₁ − pad₁]`.
///
/// # Panics
/// When a slice is not as long as its shape says, or `scratch` is shorter than [`weight_gradient_scratch`].
pub(crate) fn weight_gradient<T: Float>(conv: &Conv, x: &[T], g: &[T], dw: &mut [T], scratch: &mut [u8]) {
    check(conv, [x.len(), g.len(), dw.len()]);
    match conv.road::<T>(Pass::Weight) {
        Road::Nothing => dw.fill(T::ZERO),
        Road::Lanes => weight_lanes(conv, x, g, dw, scratch),
        Road::Depthwise => depthwise_weight(conv, x, g, dw, scratch),
        Road::Direct | Road::Gemm => weight_gemm(conv, x, g, dw, scratch),
    }
}

fn check(conv: &Conv, found: [usize; 3]) {
    assert_eq!(
        found,
        [conv.x_len(), conv.y_len(), conv.w_len()],
        "elements of input, output and weight: {conv:?}"
    );
}

/// `out = Σ parts` of equal length, as a tree over their places: `((0+1)+(2+3))+…`; `parts` is used up.
fn tree<T: Float>(parts: &mut [T], out: &mut [T]) {
    let (len, chunk) = (out.len(), 1 << 13);
    let groups = parts.len() / len;
    let all = Parts::new(parts);
    chunks_mut(out, chunk, |i, out| {
        // SAFETY: chunk i has these elements of every part to itself.
        let part = |g: usize| unsafe { all.slice(g * len + i * chunk..g * len + i * chunk + out.len()) };
        let mut step = 1;
        while step < groups {
            for g in (0..groups - step).step_by(2 * step) {
                part(g).iter_mut().zip(part(g + step)).for_each(|(a, b)| *a += *b);
            }
            step *= 2;
        }
        out.copy_from_slice(part(0));
    });
}

// ------------------------------------------------------------------------------------------------------- lanes

/// How a window walks over a block: addresses, in elements of the block, of every position and of every tap.
///
/// The forward pass walks over the input and writes outputs; the input gradient walks over the output gradient,
/// one residue of the stride after the other, and writes inputs.
struct Walk<'a> {
    /// Channels of the block that is walked over, its rows, its columns, and the zeros left and right of them.
    block: [usize; 3],
    border: [usize; 2],
    /// Channels that are written, elements of each.
    out: [usize; 2],
    /// Per position: where the window stands, and which element of the result it makes.
    base: &'a mut [isize],
    target: &'a mut [usize],
    /// Per tap: its address relative to the position's, and its weight for the group's first written channel.
    taps: &'a mut [isize],
    weight: &'a mut [usize],
    /// From one written channel to the next, among the weights.
    weight_step: usize,
    /// Runs of positions that use the same taps: `[first position, end, first tap, end]`. Taps that fall on
    /// padding rows are not in.
    segments: &'a mut [[usize; 4]],
}

impl<'a> Walk<'a> {
    /// Positions, taps per group, segments at most.
    fn sizes(conv: &Conv, pass: Pass) -> [usize; 3] {
        match pass {
            Pass::Input => [
                conv.h * conv.w,
                conv.per_group()[1] * conv.kh * conv.kw,
                conv.h * conv.stride[1].min(conv.w),
            ],
            _ => [conv.positions(), conv.window(), conv.oh],
        }
    }

    /// Elements of one block, border included, without its lanes.
    fn block_len(conv: &Conv, pass: Pass) -> usize {
        match pass {
            Pass::Input => conv.o * conv.oh * (conv.g_border().iter().sum::<usize>() + conv.ow),
            _ => conv.c * conv.h * (conv.x_border().iter().sum::<usize>() + conv.w),
        }
    }

    /// Bytes of one task's working memory.
    fn task<T: Float>(conv: &Conv, pass: Pass) -> usize {
        let block = room::<T>(Self::block_len(conv, pass) * T::LANES);
        match pass {
            Pass::Weight => {
                block + room::<T>(conv.o * conv.positions() * T::LANES) + room::<T>(conv.w_len() * T::LANES)
            }
            _ => block + room::<T>(4 * Self::sizes(conv, pass)[0] * T::LANES),
        }
    }

    fn scratch<T: Float>(conv: &Conv, pass: Pass) -> usize {
        let [positions, taps, segments] = Self::sizes(conv, pass);
        let groups = conv.blocks::<T>().min(GROUPS);
        2 * room::<usize>(positions)
            + 2 * room::<usize>(taps)
            + room::<usize>(4 * segments)
            + room::<T>(if pass == Pass::Weight { groups } else { 1 } * conv.w_len())
            + groups * Self::task::<T>(conv, pass)
    }

    fn new<T: Float>(conv: &Conv, pass: Pass, scratch: &mut Scratch<'a>) -> Self {
        let [positions, taps, segments] = Self::sizes(conv, pass);
        let (base, target) = (scratch.take(positions), scratch.take(positions));
        let (offset, weight) = (scratch.take(taps), scratch.take(taps));
        let (segments, _) = scratch.take::<usize>(4 * segments).as_chunks_mut();
        let ([cg, og], lanes) = (conv.per_group(), T::LANES as isize);
        let mut walk = Walk {
            block: [conv.c, conv.h, conv.w],
            border: conv.x_border(),
            out: [conv.o, conv.positions()],
            base,
            target,
            taps: offset,
            weight,
            weight_step: conv.window(),
            segments,
        };
        let mut found = 0;
        if pass == Pass::Input {
            walk.block = [conv.o, conv.oh, conv.ow];
            walk.border = conv.g_border();
            walk.out = [conv.c, conv.h * conv.w];
            walk.weight_step = conv.kh * conv.kw;
            found = walk.adjoint(conv, og, lanes);
        } else {
            let width = (walk.border[0] + conv.w + walk.border[1]) as isize;
            for (k, (u, c, v)) in triples(conv.kh, cg, conv.kw).enumerate() {
                walk.taps[k] = (((c * conv.h + u * conv.dilation[0]) as isize) * width
                    + (v * conv.dilation[1]) as isize)
                    * lanes;
                walk.weight[k] = (c * conv.kh + u) * conv.kw + v;
            }
            for p in 0..conv.oh {
                let top = (p * conv.stride[0]) as isize - conv.padding[0][0] as isize;
                for q in 0..conv.ow {
                    walk.base[p * conv.ow + q] = (top * width + (q * conv.stride[1]) as isize) * lanes;
                    walk.target[p * conv.ow + q] = p * conv.ow + q;
                }
                let inside = inside(top, conv.dilation[0], conv.h, conv.kh);
                walk.run(&mut found, conv.ow, inside.start * cg * conv.kw..inside.end * cg * conv.kw);
            }
        }
        let segments = std::mem::take(&mut walk.segments);
        walk.segments = &mut segments[..found];
        walk.check::<T>(conv.groups);
        walk
    }

    /// Every address that the sweeps will form lies inside a group's channels of the block: they do not look again.
    fn check<T: Float>(&self, groups: usize) {
        let wide = self.border[0] + self.block[2] + self.border[1];
        let len = (self.block[0] / groups * self.block[1] * wide * T::LANES) as isize;
        let extent =
            |v: &[isize]| v.iter().fold((isize::MAX, isize::MIN), |(a, b), v| (a.min(*v), b.max(*v)));
        for &[start, end, first, last] in self.segments.iter().filter(|s| s[2] < s[3]) {
            let (low, high) = extent(&self.base[start..end]);
            let (from, to) = extent(&self.taps[first..last]);
            assert!(low + from >= 0 && high + to + T::LANES as isize <= len, "a window leaves its block");
        }
        assert!(self.target.iter().all(|t| *t < self.out[1]), "a result leaves its plane");
    }

    /// The input gradient's tables: input (i, j) is made by the taps with `u·d ≡ i + pad (mod stride)`.
    fn adjoint(&mut self, conv: &Conv, og: usize, lanes: isize) -> usize {
        let ([sh, sw], [dh, dw]) = (conv.stride, conv.dilation);
        let width = (self.border[0] + conv.ow + self.border[1]) as isize;
        let (mut k, mut at, mut found) = (0, 0, 0);
        for (rh, rw) in (0..sh).flat_map(|rh| (0..sw).map(move |rw| (rh, rw))) {
            let rows = |u: &usize| u * dh % sh == rh;
            let columns = (0..conv.kw).filter(|v| v * dw % sw == rw).count();
            let first = k;
            for u in (0..conv.kh).filter(rows) {
                for (o, v) in
                    (0..og).flat_map(|o| (0..conv.kw).map(move |v| (o, v))).filter(|(_, v)| v * dw % sw == rw)
                {
                    let (up, left) = ((u * dh / sh) as isize, (v * dw / sw) as isize);
                    self.taps[k] = (((o * conv.oh) as isize - up) * width - left) * lanes;
                    self.weight[k] = o * conv.window() + u * conv.kw + v;
                    k += 1;
                }
            }
            for i in (0..conv.h).filter(|i| (i + conv.padding[0][0]) % sh == rh) {
                let row = (i + conv.padding[0][0]) / sh;
                // Taps lie in the order of u, so those with 0 ≤ row − ⌊u·d/s⌋ < oh are a run.
                let below = (0..conv.kh).filter(rows).filter(|u| u * dh / sh + conv.oh <= row).count();
                let upto = (0..conv.kh).filter(rows).filter(|u| u * dh / sh <= row).count();
                let start = at;
                for j in (0..conv.w).filter(|j| (j + conv.padding[1][0]) % sw == rw) {
                    let column = ((j + conv.padding[1][0]) / sw + self.border[0]) as isize;
                    self.base[at] = (row as isize * width + column) * lanes;
                    self.target[at] = i * conv.w + j;
                    at += 1;
                }
                self.run(
                    &mut found,
                    at - start,
                    first + below * og * columns..first + upto.max(below) * og * columns,
                );
            }
        }
        found
    }

    /// So many more positions use `taps`.
    fn run(&mut self, found: &mut usize, positions: usize, taps: Range<usize>) {
        let taps = if taps.is_empty() { 0..0 } else { taps };
        let start = if *found == 0 { 0 } else { self.segments[*found - 1][1] };
        if positions == 0 {
        } else if *found > 0 && self.segments[*found - 1][2..] == [taps.start, taps.end] {
            self.segments[*found - 1][1] += positions;
        } else {
            self.segments[*found] = [start, start + positions, taps.start, taps.end];
            *found += 1;
        }
    }
}

fn triples(a: usize, b: usize, c: usize) -> impl Iterator<Item = (usize, usize, usize)> {
    (0..a).flat_map(move |i| (0..b).flat_map(move |j| (0..c).map(move |k| (i, j, k))))
}

/// The `u` in `0..count` with `0 ≤ start + u·step < size`.
fn inside(start: isize, step: usize, size: usize, count: usize) -> Range<usize> {
    let first = if start < 0 { start.unsigned_abs().div_ceil(step) } else { 0 }.min(count);
    let end = (size as isize - start).max(0).unsigned_abs().div_ceil(step).min(count);
    first..end.max(first)
}

/// Channels `0..n` in blocks of at most four, as even as they can be.
fn fours(n: usize) -> impl Iterator<Item = Range<usize>> {
    let blocks = n.div_ceil(4);
    (0..blocks).map(move |b| share(n, blocks, b))
}

/// Forward, or input gradient: `from` is walked over, `to` is written.
fn correlate_lanes<T: Float>(
    conv: &Conv,
    pass: Pass,
    from: &[T],
    w: &[T],
    bias: Option<&[T]>,
    to: &mut [T],
    scratch: &mut [u8],
) {
    let mut scratch = Scratch::new(scratch);
    let walk = Walk::new::<T>(conv, pass, &mut scratch);
    // Weights in the order in which they are used: per block of written channels, per tap, per channel.
    let packed = scratch.take::<T>(conv.w_len());
    let (taps, per_group) = (walk.taps.len(), walk.out[0] / conv.groups);
    for group in 0..conv.groups {
        let w = &w[group * conv.w_len() / conv.groups..];
        for o in fours(per_group) {
            let packed = &mut packed[(group * per_group + o.start) * taps..];
            for (row, at) in packed.chunks_exact_mut(o.len()).zip(walk.weight.iter()) {
                row.iter_mut().zip(o.clone()).for_each(|(p, o)| *p = w[at + o * walk.weight_step]);
            }
        }
    }
    let (groups, task) = (conv.blocks::<T>().min(GROUPS), Walk::task::<T>(conv, pass));
    let (own, result) = (Parts::new(scratch.take::<u8>(groups * task)), Parts::new(to));
    let work = |group: usize| {
        dispatch::<T>(Correlate {
            walk: &walk,
            groups: conv.groups,
            packed,
            bias,
            from,
            to: &result,
            examples: examples::<T>(conv, groups, group),
            // SAFETY: every group of examples has memory of its own.
            scratch: Scratch::new(unsafe { own.slice(group * task..(group + 1) * task) }),
        });
    };
    serial_or_parallel(conv, groups, work);
}

fn serial_or_parallel(conv: &Conv, tasks: usize, work: impl Fn(usize) + Sync) {
    if conv.macs() < SPLIT { (0..tasks).for_each(work) } else { parallel(tasks, work) }
}

/// The examples of a group: whole blocks of lanes.
fn examples<T: Float>(conv: &Conv, groups: usize, group: usize) -> Range<usize> {
    let blocks = share(conv.blocks::<T>(), groups, group);
    blocks.start * T::LANES..(blocks.end * T::LANES).min(conv.n)
}

struct Correlate<'a, T> {
    walk: &'a Walk<'a>,
    groups: usize,
    packed: &'a [T],
    bias: Option<&'a [T]>,
    from: &'a [T],
    to: &'a Parts<'a, T>,
    examples: Range<usize>,
    scratch: Scratch<'a>,
}

impl<T: Float> Kernel<T> for Correlate<'_, T> {
    #[inline(always)]
    unsafe fn run<V: Lane<T>>(mut self) {
        let Walk { block: [channels, rows, columns], border, out: [written, positions], .. } = *self.walk;
        let (len, taps) = (channels * rows * columns, self.walk.taps.len());
        let wide = border[0] + columns + border[1];
        let block = self.scratch.take::<T>(channels * rows * wide * T::LANES);
        let result = self.scratch.take::<T>(4 * positions * T::LANES);
        let (seen, made) = (channels / self.groups * rows * wide * T::LANES, written / self.groups);
        block.fill(T::ZERO);
        for example in self.examples.clone().step_by(T::LANES) {
            let live = (self.examples.end - example).min(T::LANES);
            // SAFETY: `V`'s instruction set is here, as the caller promises.
            unsafe { pack::<T, V>(&self.from[example * len..][..live * len], len, columns, border, block) };
            for (group, o) in (0..self.groups).flat_map(|g| fours(made).map(move |o| (g, o))) {
                let first = group * made + o.start;
                let mut bias = [T::ZERO; 4];
                if let Some(b) = self.bias {
                    bias[..o.len()].copy_from_slice(&b[first..first + o.len()]);
                }
                let (x, w) = (&block[group * seen..(group + 1) * seen], &self.packed[first * taps..]);
                // SAFETY: as above; the tables address the block of one group of channels.
                unsafe {
                    if V::REGISTERS == 32 {
                        match o.len() {
                            1 => sweep::<T, V, 1, 8>(self.walk, x, w, bias, result),
                            2 => sweep::<T, V, 2, 8>(self.walk, x, w, bias, result),
                            3 => sweep::<T, V, 3, 7>(self.walk, x, w, bias, result),
                            _ => sweep::<T, V, 4, 6>(self.walk, x, w, bias, result),
                        }
                    } else {
                        match o.len() {
                            1 => sweep::<T, V, 1, 6>(self.walk, x, w, bias, result),
                            2 => sweep::<T, V, 2, 4>(self.walk, x, w, bias, result),
                            3 => sweep::<T, V, 3, 3>(self.walk, x, w, bias, result),
                            _ => sweep::<T, V, 4, 3>(self.walk, x, w, bias, result),
                        }
                    }
                }
                let (start, step) = ((example * written + first) * positions, written * positions);
                // SAFETY: as above; these channels of these examples are written by this task alone.
                unsafe { unpack::<T, V>(result, o.len() * positions, self.to, start, step, live) };
            }
        }
    }
}

/// `block[channel][row][border + column][example] = from[example][channel][row][column]`; examples that are not
/// there become zeros.
#[inline(always)]
unsafe fn pack<T: Float, V: Lane<T>>(
    from: &[T],
    len: usize,
    columns: usize,
    border: [usize; 2],
    block: &mut [T],
) {
    let (live, wide) = (from.len() / len, border[0] + columns + border[1]);
    assert_eq!(block.len(), len / columns * wide * T::LANES);
    if len < T::LANES {
        for e in 0..len {
            let at = (e / columns * wide + border[0] + e % columns) * T::LANES;
            (0..T::LANES).for_each(|l| block[at + l] = if l < live { from[l * len + e] } else { T::ZERO });
        }
        return;
    }
    let (mut rows, mut to) = ([from.as_ptr(); 16], [block.as_mut_ptr(); 16]);
    let mut e = 0;
    while e < len {
        // The last square overlaps the one before.
        e = e.min(len - T::LANES);
        for (l, row) in rows.iter_mut().enumerate().take(live) {
            *row = from.as_ptr().wrapping_add(l * len + e);
        }
        let (mut row, mut column) = (e / columns, e % columns);
        for to in &mut to[..T::LANES] {
            *to = block.as_mut_ptr().wrapping_add((row * wide + border[0] + column) * T::LANES);
            column += 1;
            if column == columns {
                (row, column) = (row + 1, 0);
            }
        }
        // SAFETY: `LANES` elements from e on are inside each example, and row · column inside the block.
        unsafe { V::transpose(&rows, live, &to, T::LANES) };
        e += T::LANES;
    }
}

/// `to[start + example·step + e] = result[e][example]`.
///
/// # Safety
/// These elements of `to` belong to the caller alone.
#[inline(always)]
unsafe fn unpack<T: Float, V: Lane<T>>(
    result: &[T],
    len: usize,
    to: &Parts<T>,
    start: usize,
    step: usize,
    live: usize,
) {
    let result = &result[..len * T::LANES];
    let to = |l: usize, e: usize| to.at(start + l * step + e);
    if len < T::LANES {
        for (l, e) in (0..live).flat_map(|l| (0..len).map(move |e| (l, e))) {
            // SAFETY: inside the result, and the caller's alone.
            unsafe { *to(l, e) = result[e * T::LANES + l] };
        }
        return;
    }
    to(live - 1, len);
    let (mut rows, mut targets) = ([result.as_ptr(); 16], [to(0, 0); 16]);
    let mut e = 0;
    while e < len {
        e = e.min(len - T::LANES);
        for (i, row) in rows[..T::LANES].iter_mut().enumerate() {
            *row = result.as_ptr().wrapping_add((e + i) * T::LANES);
        }
        for (l, target) in targets[..live].iter_mut().enumerate() {
            *target = to(l, e);
        }
        // SAFETY: inside both slices (`to` has looked at the last element), and the caller's alone.
        unsafe { V::transpose(&rows, T::LANES, &targets, live) };
        e += T::LANES;
    }
}

/// `result[o][target] = bias[o] + Σ_tap w[tap][o] · x[base + tap]`, `OB` channels × `PB` positions at a time, every
/// example in its lane.
#[inline(always)]
unsafe fn sweep<T: Float, V: Lane<T>, const OB: usize, const PB: usize>(
    walk: &Walk,
    x: &[T],
    w: &[T],
    bias: [T; 4],
    result: &mut [T],
) {
    let positions = walk.out[1];
    assert!(result.len() >= OB * positions * T::LANES);
    let w = w[..walk.taps.len() * OB].as_ptr();
    for lane in (0..T::LANES).step_by(V::N) {
        let (x, result) = (x.as_ptr().wrapping_add(lane), result.as_mut_ptr().wrapping_add(lane));
        for &[start, end, first, last] in walk.segments.iter() {
            let mut at = start;
            while at < end {
                let mut from = [x; PB];
                for (j, from) in from.iter_mut().enumerate() {
                    // A tile that is not full does its last position several times.
                    *from = x.wrapping_offset(walk.base[(at + j).min(end - 1)]);
                }
                // SAFETY: `Walk::check` has looked at `base + tap` of every segment and at the targets.
                unsafe {
                    let mut sum = [[V::zero(); PB]; OB];
                    for o in 0..OB {
                        sum[o] = [V::splat(bias[o]); PB];
                    }
                    for k in first..last {
                        let tap = *walk.taps.get_unchecked(k);
                        let mut cells = [V::zero(); PB];
                        for j in 0..PB {
                            cells[j] = V::load(from[j].wrapping_offset(tap));
                        }
                        for o in 0..OB {
                            let weight = V::splat(*w.add(k * OB + o));
                            for j in 0..PB {
                                sum[o][j] = cells[j].mul_add(weight, sum[o][j]);
                            }
                        }
                    }
                    for j in 0..PB {
                        let target = walk.target[(at + j).min(end - 1)];
                        for o in 0..OB {
                            sum[o][j].store(result.add((o * positions + target) * T::LANES));
                        }
                    }
                }
                at += PB;
            }
        }
    }
}

fn weight_lanes<T: Float>(conv: &Conv, x: &[T], g: &[T], dw: &mut [T], scratch: &mut [u8]) {
    let mut scratch = Scratch::new(scratch);
    let walk = Walk::new::<T>(conv, Pass::Weight, &mut scratch);
    let (groups, task) = (conv.blocks::<T>().min(GROUPS), Walk::task::<T>(conv, Pass::Weight));
    let sums = scratch.take::<T>(groups * conv.w_len());
    let (own, parts) = (Parts::new(scratch.take::<u8>(groups * task)), Parts::new(sums));
    serial_or_parallel(conv, groups, |group| {
        dispatch::<T>(WeightGradient {
            walk: &walk,
            conv,
            x,
            g,
            // SAFETY: every group of examples has a sum of its own.
            sum: unsafe { parts.slice(group * conv.w_len()..(group + 1) * conv.w_len()) },
            examples: examples::<T>(conv, groups, group),
            // SAFETY: and memory of its own.
            scratch: Scratch::new(unsafe { own.slice(group * task..(group + 1) * task) }),
        });
    });
    tree(sums, dw);
}

struct WeightGradient<'a, T> {
    walk: &'a Walk<'a>,
    conv: &'a Conv,
    x: &'a [T],
    g: &'a [T],
    sum: &'a mut [T],
    examples: Range<usize>,
    scratch: Scratch<'a>,
}

impl<T: Float> Kernel<T> for WeightGradient<'_, T> {
    #[inline(always)]
    unsafe fn run<V: Lane<T>>(mut self) {
        let Walk { block: [channels, rows, columns], border, out: [written, positions], .. } = *self.walk;
        let (len, out) = (channels * rows * columns, written * positions);
        let wide = border[0] + columns + border[1];
        let block = self.scratch.take::<T>(channels * rows * wide * T::LANES);
        let gradient = self.scratch.take::<T>(out * T::LANES);
        // One sum per lane; they are added up at the end.
        let lanes = self.scratch.take::<T>(self.conv.w_len() * T::LANES);
        let ([_, made], groups) = (self.conv.per_group(), self.conv.groups);
        let seen = channels / groups * rows * wide * T::LANES;
        block.fill(T::ZERO);
        lanes.fill(T::ZERO);
        for example in self.examples.clone().step_by(T::LANES) {
            let live = (self.examples.end - example).min(T::LANES);
            // SAFETY: `V`'s instruction set is here, as the caller promises.
            unsafe {
                pack::<T, V>(&self.x[example * len..][..live * len], len, columns, border, block);
                pack::<T, V>(&self.g[example * out..][..live * out], out, positions, [0, 0], gradient);
            }
            for &[start, end, first, last] in self.walk.segments.iter() {
                for start in (start..end).step_by(POSITIONS) {
                    let end = end.min(start + POSITIONS);
                    for (group, o) in (0..groups).flat_map(|g| fours(made).map(move |o| (g, o))) {
                        let channel = group * made + o.start;
                        let x = &block[group * seen..(group + 1) * seen];
                        let g = &gradient[channel * positions * T::LANES..][..o.len() * positions * T::LANES];
                        let sum = &mut lanes[channel * self.walk.taps.len() * T::LANES..];
                        let run = [start, end, first, last];
                        // SAFETY: as above; the tables address the block of one group of channels.
                        unsafe {
                            if V::REGISTERS == 32 {
                                match o.len() {
                                    1 => correlate::<T, V, 1, 8>(self.walk, run, x, g, sum),
                                    2 => correlate::<T, V, 2, 8>(self.walk, run, x, g, sum),
                                    3 => correlate::<T, V, 3, 5>(self.walk, run, x, g, sum),
                                    _ => correlate::<T, V, 4, 5>(self.walk, run, x, g, sum),
                                }
                            } else {
                                match o.len() {
                                    1 => correlate::<T, V, 1, 6>(self.walk, run, x, g, sum),
                                    2 => correlate::<T, V, 2, 5>(self.walk, run, x, g, sum),
                                    3 => correlate::<T, V, 3, 3>(self.walk, run, x, g, sum),
                                    _ => correlate::<T, V, 4, 2>(self.walk, run, x, g, sum),
                                }
                            }
                        }
                    }
                }
            }
        }
        // Lanes are added after transposing a square of them; the last square overlaps.
        let total = self.sum.len();
        let mut square = [T::ZERO; 256];
        let mut e = 0;
        while e < total {
            if total < T::LANES {
                let lanes = &lanes[e * T::LANES..(e + 1) * T::LANES];
                self.sum[e] = lanes.iter().fold(T::ZERO, |a, b| a + *b);
                e += 1;
                continue;
            }
            e = e.min(total - T::LANES);
            let rows: [_; 16] = std::array::from_fn(|i| lanes.as_ptr().wrapping_add((e + i) * T::LANES));
            let at = square.as_mut_ptr();
            let to: [_; 16] = std::array::from_fn(|i| at.wrapping_add(i % T::LANES * T::LANES));
            // SAFETY: `LANES` rows from e on are inside the sums, and the square has room for as many.
            unsafe { V::transpose(&rows, T::LANES, &to, T::LANES) };
            let sums = &mut self.sum[e..e + T::LANES];
            sums.fill(T::ZERO);
            for lane in square[..T::LANES * T::LANES].chunks_exact(T::LANES) {
                sums.iter_mut().zip(lane).for_each(|(a, b)| *a += *b);
            }
            e += T::LANES;
        }
    }
}

/// `sum[o][weight of tap] += Σ_position g[o][position] · x[base + tap]`, `OB` channels × `TB` taps at a time.
#[inline(always)]
unsafe fn correlate<T: Float, V: Lane<T>, const OB: usize, const TB: usize>(
    walk: &Walk,
    [start, end, first, last]: [usize; 4],
    x: &[T],
    g: &[T],
    sum: &mut [T],
) {
    let (positions, taps) = (walk.out[1], walk.taps.len());
    assert!(g.len() == OB * positions * T::LANES && sum.len() >= OB * taps * T::LANES);
    let base = &walk.base[start..end];
    for lane in (0..T::LANES).step_by(V::N) {
        let (x, g) = (x.as_ptr().wrapping_add(lane), g.as_ptr().wrapping_add(lane));
        let sum = sum.as_mut_ptr().wrapping_add(lane);
        let mut k = first;
        while k < last {
            let mut from = [x; TB];
            for (t, from) in from.iter_mut().enumerate() {
                // A tile that is not full does its last tap several times and keeps one.
                *from = x.wrapping_offset(walk.taps[(k + t).min(last - 1)]);
            }
            // SAFETY: `Walk::check` has looked at `base + tap` of every segment; the other two slices have been
            // measured.
            unsafe {
                let mut acc = [[V::zero(); TB]; OB];
                for (p, &base) in base.iter().enumerate() {
                    let mut cells = [V::zero(); TB];
                    for t in 0..TB {
                        cells[t] = V::load(from[t].wrapping_offset(base));
                    }
                    for o in 0..OB {
                        let g = V::load(g.add((o * positions + start + p) * T::LANES));
                        for t in 0..TB {
                            acc[o][t] = cells[t].mul_add(g, acc[o][t]);
                        }
                    }
                }
                for t in 0..TB.min(last - k) {
                    for (o, acc) in acc.iter().enumerate() {
                        let at = sum.add((o * taps + walk.weight[k + t]) * T::LANES);
                        V::load(at).add(acc[t]).store(at);
                    }
                }
            }
            k += TB;
        }
    }
}

// --------------------------------------------------------------------------------------------------- depthwise

/// For kernel column `v`: the outputs that read inside the row, and the input that the first of them reads.
fn reach(conv: &Conv, v: usize) -> (Range<usize>, usize) {
    let start = (v * conv.dilation[1]) as isize - conv.padding[1][0] as isize;
    let inside = inside(start, conv.stride[1], conv.w, conv.ow);
    let first = start + (inside.start * conv.stride[1]) as isize;
    (inside, first.max(0).unsigned_abs())
}

/// `f(weight, elements of the input plane, elements of the output plane)` for every kernel cell and output row; the
/// input's elements are `stride` apart.
#[inline(always)]
fn cells(conv: &Conv, mut f: impl FnMut(usize, Range<usize>, Range<usize>)) {
    for p in 0..conv.oh {
        let top = (p * conv.stride[0]) as isize - conv.padding[0][0] as isize;
        for u in inside(top, conv.dilation[0], conv.h, conv.kh) {
            let i = (top + (u * conv.dilation[0]) as isize).unsigned_abs();
            for v in 0..conv.kw {
                let (q, first) = reach(conv, v);
                if !q.is_empty() {
                    f(
                        u * conv.kw + v,
                        i * conv.w + first..(i + 1) * conv.w,
                        p * conv.ow + q.start..p * conv.ow + q.end,
                    );
                }
            }
        }
    }
}

/// One plane of input, one of output, one window of weights.
enum Plane<'a, T> {
    /// `y += w ∗ x`.
    Forward(&'a [T], &'a [T], &'a mut [T]),
    /// `x += wᵀ ∗ y`.
    Input(&'a mut [T], &'a [T], &'a [T]),
    /// `w += y ∗ x`.
    Weight(&'a [T], &'a mut [T], &'a [T]),
}

impl<T: Float> Kernel<T> for (&Conv, Plane<'_, T>) {
    #[inline(always)]
    unsafe fn run<V: Lane<T>>(self) {
        let (conv, s) = (self.0, self.0.stride[1]);
        match self.1 {
            Plane::Forward(x, w, y) => cells(conv, |k, i, o| {
                let (w, x, y) = (w[k], &x[i], &mut y[o]);
                if s == 1 {
                    y.iter_mut().zip(x).for_each(|(y, x)| *y += w * *x);
                } else {
                    y.iter_mut().zip(x.iter().step_by(s)).for_each(|(y, x)| *y += w * *x);
                }
            }),
            Plane::Input(x, w, y) => cells(conv, |k, i, o| {
                let (w, x, y) = (w[k], &mut x[i], &y[o]);
                if s == 1 {
                    y.iter().zip(x).for_each(|(y, x)| *x += w * *y);
                } else {
                    y.iter().zip(x.iter_mut().step_by(s)).for_each(|(y, x)| *x += w * *y);
                }
            }),
            Plane::Weight(x, w, y) => cells(conv, |k, i, o| {
                let (x, y) = (&x[i], &y[o]);
                let mut sums = [T::ZERO; 16];
                if s == 1 {
                    let x = &x[..y.len()];
                    let ((y, a), (x, b)) = (y.as_chunks::<16>(), x.as_chunks::<16>());
                    for (y, x) in y.iter().zip(x) {
                        (0..16).for_each(|l| sums[l] += y[l] * x[l]);
                    }
                    a.iter().zip(b).zip(&mut sums).for_each(|((y, x), sum)| *sum += *y * *x);
                } else {
                    let pairs = y.iter().zip(x.iter().step_by(s));
                    pairs.enumerate().for_each(|(l, (y, x))| sums[l % 16] += *y * *x);
                }
                w[k] += sums.iter().fold(T::ZERO, |a, b| a + *b);
            }),
        }
    }
}

/// Planes of `size` elements, several to a task when there is little work in each.
fn planes<T: Float>(conv: &Conv, to: &mut [T], size: usize, f: impl Fn(usize, &mut [T]) + Sync) {
    let count = to.len() / size;
    let each = if conv.macs() < SPLIT { count } else { count.div_ceil((conv.macs() / (SPLIT / 2)).min(256)) };
    chunks_mut(to, each * size, |i, to| {
        to.chunks_mut(size).enumerate().for_each(|(j, to)| f(i * each + j, to))
    });
}

fn depthwise_forward<T: Float>(conv: &Conv, x: &[T], w: &[T], bias: Option<&[T]>, y: &mut [T]) {
    let (window, plane, og) = (conv.window(), conv.h * conv.w, conv.o / conv.c);
    planes(conv, y, conv.positions(), |i, y| {
        let o = i % conv.o;
        y.fill(bias.map_or(T::ZERO, |b| b[o]));
        dispatch::<T>((conv, Plane::Forward(&x[i / og * plane..][..plane], &w[o * window..][..window], y)));
    });
}

fn depthwise_input<T: Float>(conv: &Conv, g: &[T], w: &[T], dx: &mut [T]) {
    let (window, plane, og) = (conv.window(), conv.positions(), conv.o / conv.c);
    planes(conv, dx, conv.h * conv.w, |i, dx| {
        dx.fill(T::ZERO);
        for at in i * og..(i + 1) * og {
            let w = &w[at % conv.o * window..][..window];
            dispatch::<T>((conv, Plane::Input(dx, w, &g[at * plane..][..plane])));
        }
    });
}

fn depthwise_groups(conv: &Conv) -> usize {
    conv.n.min(GROUPS)
}

fn depthwise_weight<T: Float>(conv: &Conv, x: &[T], g: &[T], dw: &mut [T], scratch: &mut [u8]) {
    let (groups, len, og) = (depthwise_groups(conv), conv.w_len(), conv.o / conv.c);
    let sums = Scratch::new(scratch).take::<T>(groups * len);
    let (window, before, after) = (conv.window(), conv.h * conv.w, conv.positions());
    planes(conv, sums, window, |i, sum| {
        let (group, o) = (i / conv.o, i % conv.o);
        sum.fill(T::ZERO);
        for n in share(conv.n, groups, group) {
            let (x, g) =
                (&x[(n * conv.c + o / og) * before..][..before], &g[(n * conv.o + o) * after..][..after]);
            dispatch::<T>((conv, Plane::Weight(x, sum, g)));
        }
    });
    tree(sums, dw);
}

// ------------------------------------------------------------------------------------------------------ direct

/// Positions that are computed at a time, on any instruction set.
const AT_A_TIME: usize = 32;
/// Channels of the result that are computed at a time at most.
const CHANNELS: usize = 8;
/// Elements of a framed stretch of an image: about a first-level cache.
const FRAME: usize = 1 << 14;

/// Rows of the result that are computed from one framed stretch.
fn direct_rows(conv: &Conv) -> usize {
    let frame = conv.frame();
    let fit = (FRAME / (frame.window() * frame.ow)).saturating_sub(frame.oh - conv.oh);
    let tasks = if conv.macs() < SPLIT { 1 } else { GROUPS.div_ceil(conv.n * conv.groups) };
    fit.clamp(1, conv.oh.div_ceil(tasks))
}

/// Tasks, and elements that each has to itself: of a framed stretch, with what a last read takes beyond it, and of some
/// channels of its result, between whose rows others lie.
fn direct_sizes(conv: &Conv) -> [usize; 3] {
    let (frame, rows) = (conv.frame(), direct_rows(conv));
    let items = conv.n * conv.groups * conv.oh.div_ceil(rows);
    let tasks = if conv.macs() < SPLIT { 1 } else { items.min(GROUPS) };
    let stretch = frame.window() * (rows + frame.oh - conv.oh) * frame.ow + AT_A_TIME;
    [tasks, stretch, CHANNELS * (rows * frame.ow).next_multiple_of(AT_A_TIME)]
}

fn forward_direct<T: Float>(
    conv: &Conv,
    x: &[T],
    w: &[T],
    bias: Option<&[T]>,
    y: &mut [T],
    scratch: &mut [u8],
) {
    let ([cg, og], all, k) = (conv.per_group(), conv.positions(), conv.window());
    let (frame, rows, [tasks, stretch, result]) = (conv.frame(), direct_rows(conv), direct_sizes(conv));
    let (wide, high) = (frame.ow, rows + frame.oh - conv.oh);
    // Where each weight reads, from its position's first cell.
    let mut taps = [0; SLICE];
    for (tap, (c, u, v)) in taps.iter_mut().zip(triples(cg, conv.kh, conv.kw)) {
        let ([u, v], [s, t]) = ([u * conv.dilation[0], v * conv.dilation[1]], conv.stride);
        let plane = (c * frame.kh + u % s) * frame.kw + v % t;
        *tap = (plane * high + u / s) * wide + v / t;
    }
    let (taps, cuts, bytes) = (&taps[..k], conv.oh.div_ceil(rows), room::<T>(stretch) + room::<T>(result));
    let farthest = taps.iter().copied().fold(0, usize::max);
    let (own, y) = (Parts::new(scratch), Parts::new(y));
    parallel(tasks, |task| {
        // SAFETY: every task has bytes of its own.
        let mut own = Scratch::new(unsafe { own.slice(task * bytes..(task + 1) * bytes) });
        let (framed, result) = (own.take::<T>(stretch), own.take::<T>(result));
        for item in share(conv.n * conv.groups * cuts, tasks, task) {
            let (image, first) = (item / cuts, item % cuts * rows);
            let rows = rows.min(conv.oh - first);
            let at = first * wide..(first + rows + frame.oh - conv.oh) * wide;
            let x = &x[image * cg * conv.h * conv.w..][..cg * conv.h * conv.w];
            im2col(&frame, x, &at, &mut framed[..stretch - AT_A_TIME], [high * wide, 0]);
            let o = image % conv.groups * og;
            let (w, bias) = (&w[o * k..(o + og) * k], bias.map(|bias| &bias[o..o + og]));
            y.at((image * og + og) * all);
            let y = y.at(image * og * all + first * conv.ow);
            dispatch::<T>(Direct { conv, framed, wide, rows, taps, farthest, w, bias, result, y });
        }
    });
}

/// `y[o][p][q] = b[o] + Σ_t w[o,t] · framed[p·wide + q + tap[t]]` for `rows` rows; of `wide` columns `ow` are kept.
struct Direct<'a, T> {
    conv: &'a Conv,
    framed: &'a [T],
    wide: usize,
    rows: usize,
    taps: &'a [usize],
    farthest: usize,
    w: &'a [T],
    bias: Option<&'a [T]>,
    result: &'a mut [T],
    y: *mut T,
}

impl<T: Float> Kernel<T> for Direct<'_, T> {
    #[inline(always)]
    unsafe fn run<V: Lane<T>>(mut self) {
        let ([_, og], ow, all) = (self.conv.per_group(), self.conv.ow, self.conv.positions());
        let (each, whole) = (self.result.len() / CHANNELS, ow / V::N * V::N);
        let most = if V::REGISTERS == 32 { CHANNELS } else { 6 };
        let mut o = 0;
        while o < og {
            let r = [2, 6, 8].into_iter().find(|&r| r >= (og - o).min(most)).unwrap_or(most);
            for at in (0..(self.rows - 1) * self.wide + ow).step_by(2 * V::N) {
                // SAFETY: the register set is the caller's; channels and positions are there.
                unsafe {
                    match r {
                        8 if V::REGISTERS == 32 => self.tile::<V, 8>(o, at),
                        6 => self.tile::<V, 6>(o, at),
                        _ => self.tile::<V, 2>(o, at),
                    }
                }
            }
            for (o, from) in (o..og.min(o + r)).zip(self.result.chunks_exact(each)) {
                for (p, from) in from.chunks(self.wide).take(self.rows).enumerate() {
                    let from = from[..ow].as_ptr();
                    // SAFETY: `ow` numbers on either side; these of `y` are this task's alone.
                    unsafe {
                        let bias = V::splat(self.bias.map_or(T::ZERO, |b| b[o]));
                        let y = self.y.add(o * all + p * ow);
                        for q in (0..whole).step_by(V::N) {
                            bias.add(V::load(from.add(q))).store(y.add(q));
                        }
                        let rest = V::load_first(from.add(whole), ow - whole);
                        bias.add(rest).store_first(y.add(whole), ow - whole);
                    }
                }
            }
            o += r;
        }
    }
}

impl<T: Float> Direct<'_, T> {
    /// At most `R` channels from `o` on, at two registers of positions from `at` on.
    ///
    /// # Safety
    /// The processor has the registers.
    #[inline(always)]
    unsafe fn tile<V: Lane<T>, const R: usize>(&mut self, o: usize, at: usize) {
        let (k, each) = (self.taps.len(), self.result.len() / CHANNELS);
        let last = self.w.len() / k - 1;
        assert!(R <= CHANNELS && o <= last && at + 2 * V::N <= each);
        assert!(self.farthest + at + 2 * V::N <= self.framed.len());
        // SAFETY: no tap reads beyond the farthest; rows and positions by the checks above.
        unsafe {
            let mut sum = [[V::zero(); 2]; R];
            let rows: [*const T; R] = std::array::from_fn(|r| self.w.as_ptr().add((o + r).min(last) * k));
            for (t, tap) in self.taps.iter().enumerate() {
                let from = self.framed.as_ptr().add(at + tap);
                let x = [V::load(from), V::load(from.add(V::N))];
                for r in 0..R {
                    let w = V::splat(*rows[r].add(t));
                    sum[r] = [w.mul_add(x[0], sum[r][0]), w.mul_add(x[1], sum[r][1])];
                }
            }
            for r in 0..R {
                let to = self.result.as_mut_ptr().add(r * each + at);
                sum[r][0].store(to);
                sum[r][1].store(to.add(V::N));
            }
        }
    }
}

// -------------------------------------------------------------------------------------------------------- gemm

/// Columns of a product below which packing the weights costs more than multiplying: small images go together.
const NARROW: usize = 128;

/// How a gemm road is cut: input channels of a group at a time, positions at a time, and tasks with an im2col tile
/// each.
#[derive(Clone, Copy)]
struct Tiles {
    channels: usize,
    positions: usize,
    rows: usize,
    tasks: usize,
    /// Images of a tile; where there are several, each has all its positions there.
    images: usize,
    /// Elements that each of several images needs besides.
    beside: usize,
}

impl Tiles {
    fn new(conv: &Conv, channels: usize, longest: usize, items: impl Fn(usize) -> usize) -> Self {
        let rows = channels * conv.kh * conv.kw;
        let positions = (COLUMNS / rows).max(1).next_multiple_of(64).min(longest).min(conv.positions());
        let tasks = items(conv.positions().div_ceil(positions)).min(GROUPS);
        let tasks = if conv.macs() < SPLIT { 1 } else { tasks };
        let rows = if conv.pointwise() { 0 } else { rows };
        Tiles { channels, positions, rows, tasks, images: 1, beside: 0 }
    }
    /// The same, of several images where they are small.
    fn of_several(self, conv: &Conv) -> Self {
        let all = conv.positions();
        let images = (NARROW / all).clamp(1, conv.n.div_ceil(GROUPS));
        if images == 1 || self.rows == 0 || self.positions < all {
            return self;
        }
        Tiles {
            images,
            beside: conv.per_group()[1] * all,
            tasks: self.tasks.min(conv.n.div_ceil(images)),
            ..self
        }
    }
    /// Elements of a task's tile, which is not needed where the input is its own im2col.
    fn tile(&self) -> usize {
        (self.rows * self.positions + self.beside) * self.images
    }
    fn scratch<T>(&self) -> usize {
        self.tasks * room::<T>(self.tile())
    }
    #[allow(clippy::mut_from_ref)]
    fn share<'a, T: Float>(&self, own: &'a Parts<u8>, task: usize) -> &'a mut [T] {
        let bytes = room::<T>(self.tile());
        // SAFETY: every task has a tile of its own.
        Scratch::new(unsafe { own.slice(task * bytes..(task + 1) * bytes) }).take(self.tile())
    }
    fn blocks(&self, conv: &Conv) -> usize {
        conv.per_group()[0].div_ceil(self.channels)
    }
    fn block(&self, conv: &Conv, i: usize) -> Range<usize> {
        i * self.channels..((i + 1) * self.channels).min(conv.per_group()[0])
    }
}

fn forward_gemm_tiles(conv: &Conv) -> Tiles {
    Tiles::new(conv, conv.per_group()[0], usize::MAX, |tiles| conv.n * conv.groups * tiles).of_several(conv)
}

/// Enough blocks of channels that a small batch still makes work for several threads.
fn channel_blocks(conv: &Conv, others: usize) -> usize {
    let cg = conv.per_group()[0];
    cg.div_ceil(GROUPS.div_ceil(others).min(cg))
}

fn input_gemm_tiles(conv: &Conv) -> Tiles {
    let channels = channel_blocks(conv, conv.n * conv.groups);
    let blocks = conv.per_group()[0].div_ceil(channels);
    Tiles::new(conv, channels, usize::MAX, |_| conv.n * conv.groups * blocks).of_several(conv)
}

/// Sums over the batch kept apart: fewer for large weights.
fn weight_gemm_groups(conv: &Conv) -> usize {
    conv.n.min(GROUPS).min((1 << 20) / conv.w_len()).max(1)
}

fn weight_gemm_tiles(conv: &Conv) -> Tiles {
    let groups = weight_gemm_groups(conv) * conv.groups;
    let channels = channel_blocks(conv, groups);
    let blocks = conv.per_group()[0].div_ceil(channels);
    Tiles::new(conv, channels, SLICE, |_| groups * blocks)
}

/// `C = A·B`, or `C = D + A·B`, of any depth: slices of at most 512, one after the other.
///
/// # Safety
/// As [`gemm`].
unsafe fn product<T: Float>(
    [m, k, n]: [usize; 3],
    a: Matrix<T>,
    b: Matrix<T>,
    c: MatrixMut<T>,
    d: Option<Matrix<T>>,
) {
    for start in (0..k).step_by(SLICE) {
        let at = start as isize;
        let a = (a.0.wrapping_offset(at * a.2), a.1, a.2);
        let b = (b.0.wrapping_offset(at * b.1), b.1, b.2);
        let d = if start > 0 { Some((c.0.cast_const(), c.1, c.2)) } else { d };
        // SAFETY: the caller's.
        unsafe { gemm([m, SLICE.min(k - start), n], a, b, c, d) };
    }
}

/// `f(where it lies in the tile's row, output row, output columns)` for every run of the positions in one output row.
#[inline(always)]
fn windows(conv: &Conv, at: &Range<usize>, mut f: impl FnMut(Range<usize>, usize, Range<usize>)) {
    let (mut start, mut p, mut q) = (at.start, at.start / conv.ow, at.start % conv.ow);
    while start < at.end {
        let n = (conv.ow - q).min(at.end - start);
        f(start - at.start..start - at.start + n, p, q..q + n);
        (start, p, q) = (start + n, p + 1, 0);
    }
}

/// For output row `p` and columns `q`, kernel row `u`, and a kernel column's [`reach`]: the columns of `q` that read
/// inside, and where the first of them reads in the plane.
#[inline(always)]
fn window(
    conv: &Conv,
    p: usize,
    q: &Range<usize>,
    u: usize,
    (reach, first): &(Range<usize>, usize),
) -> Option<(Range<usize>, usize)> {
    let row = (p * conv.stride[0] + u * conv.dilation[0]) as isize - conv.padding[0][0] as isize;
    let inside = reach.start.max(q.start)..reach.end.min(q.end);
    if row < 0 || row as usize >= conv.h || inside.is_empty() {
        return None;
    }
    let column = first + (inside.start - reach.start) * conv.stride[1];
    Some((inside, row as usize * conv.w + column))
}

/// `tile[c,u,v][first + position] = x[c][position's cell (u, v)]`, zero outside; rows of `width`.
fn im2col<T: Float>(conv: &Conv, x: &[T], at: &Range<usize>, tile: &mut [T], [width, first]: [usize; 2]) {
    dispatch(Unfold { conv, x, at, tile, width, first });
}

struct Unfold<'a, T> {
    conv: &'a Conv,
    x: &'a [T],
    at: &'a Range<usize>,
    tile: &'a mut [T],
    width: usize,
    first: usize,
}

impl<T: Float> Kernel<T> for Unfold<'_, T> {
    #[inline(always)]
    unsafe fn run<V: Lane<T>>(self) {
        let Unfold { conv, x, at, tile, width, first } = self;
        let (s, plane) = (conv.stride[1], conv.h * conv.w);
        for (row, tile) in tile.chunks_exact_mut(width).enumerate() {
            let tile = &mut tile[first..first + at.len()];
            let (c, u, v) = (row / (conv.kh * conv.kw), row / conv.kw % conv.kh, row % conv.kw);
            let (x, reach) = (&x[c * plane..(c + 1) * plane], reach(conv, v));
            windows(conv, at, |run, p, q| {
                let tile = &mut tile[run];
                let Some((inside, from)) = window(conv, p, &q, u, &reach) else { return tile.fill(T::ZERO) };
                let (before, rest) = tile.split_at_mut(inside.start - q.start);
                let (into, after) = rest.split_at_mut(inside.len());
                before.iter_mut().chain(after).for_each(|x| *x = T::ZERO);
                let (from, n) = (&x[from..], into.len());
                assert!((n - 1) * s < from.len(), "a row ends inside its plane");
                let into = into.as_mut_ptr();
                // SAFETY: `n` numbers are there on either side, `s` apart where they are read.
                unsafe {
                    let whole = match s {
                        1 => n / V::N * V::N,
                        2 => (from.len() / 2).min(n) / V::N * V::N,
                        _ => 0,
                    };
                    for j in (0..whole).step_by(V::N) {
                        let from = from.as_ptr().add(j * s);
                        if s == 1 { V::load(from) } else { V::load_second(from) }.store(into.add(j));
                    }
                    if s == 1 && whole < n {
                        let rest = V::load_first(from.as_ptr().add(whole), n - whole);
                        rest.store_first(into.add(whole), n - whole);
                    } else {
                        (whole..n).for_each(|j| *into.add(j) = *from.as_ptr().add(s * j));
                    }
                }
            });
        }
    }
}

/// The transpose of [`im2col`]: `x[c][position's cell (u, v)] += tile[c,u,v][first + position]`.
fn col2im<T: Float>(conv: &Conv, tile: &[T], at: &Range<usize>, x: &mut [T], [width, first]: [usize; 2]) {
    let s = conv.stride[1];
    for (row, tile) in tile.chunks_exact(width).enumerate() {
        let tile = &tile[first..first + at.len()];
        let (c, u, v) = (row / (conv.kh * conv.kw), row / conv.kw % conv.kh, row % conv.kw);
        let (plane, reach) = (&mut x[c * conv.h * conv.w..(c + 1) * conv.h * conv.w], reach(conv, v));
        windows(conv, at, |run, p, q| {
            let Some((inside, to)) = window(conv, p, &q, u, &reach) else { return };
            let tile = &tile[run][inside.start - q.start..inside.end - q.start];
            if s == 1 {
                tile.iter().zip(&mut plane[to..]).for_each(|(t, x)| *x += *t);
            } else {
                tile.iter().zip(plane[to..].iter_mut().step_by(s)).for_each(|(t, x)| *x += *t);
            }
        });
    }
}

fn forward_gemm<T: Float>(
    conv: &Conv,
    x: &[T],
    w: &[T],
    bias: Option<&[T]>,
    y: &mut [T],
    scratch: &mut [u8],
) {
    let tiles = forward_gemm_tiles(conv);
    let ([cg, og], plane, all, k) = (conv.per_group(), conv.h * conv.w, conv.positions(), conv.window());
    let (own, y) = (Parts::new(scratch), Parts::new(y));
    let (cuts, tasks) = (all.div_ceil(tiles.positions), tiles.tasks);
    let several = |task: usize| {
        let (tile, out) =
            tiles.share::<T>(&own, task).split_at_mut(tiles.rows * tiles.positions * tiles.images);
        for item in share(conv.n.div_ceil(tiles.images) * conv.groups, tasks, task) {
            let (first, group) = (item / conv.groups * tiles.images, item % conv.groups);
            let images = first..(first + tiles.images).min(conv.n);
            let width = images.len() * all;
            let tile = &mut tile[..k * width];
            for (i, n) in images.clone().enumerate() {
                let image = n * conv.groups + group;
                im2col(conv, &x[image * cg * plane..][..cg * plane], &(0..all), tile, [width, i * all]);
            }
            let out = &mut out[..og * width];
            let w = (w[group * og * k..(group + 1) * og * k].as_ptr(), k as isize, 1);
            let columns = (tile.as_ptr(), width as isize, 1);
            // SAFETY: sizes as sliced above.
            unsafe { product([og, k, width], w, columns, (out.as_mut_ptr(), width as isize, 1), None) };
            for (o, out) in out.chunks_exact(width).enumerate() {
                let bias = bias.map_or(T::ZERO, |bias| bias[group * og + o]);
                for (n, out) in images.clone().zip(out.chunks_exact(all)) {
                    let start = ((n * conv.groups + group) * og + o) * all;
                    // SAFETY: this channel of this image is this item's alone.
                    let y = unsafe { y.slice(start..start + all) };
                    y.iter_mut().zip(out).for_each(|(y, out)| *y = bias + *out);
                }
            }
        }
    };
    if tiles.images > 1 {
        return parallel(tasks, several);
    }
    parallel(tasks, |task| {
        let tile = tiles.share::<T>(&own, task);
        for item in share(conv.n * conv.groups * cuts, tasks, task) {
            let (image, cut) = (item / cuts, item % cuts);
            let at = cut * tiles.positions..((cut + 1) * tiles.positions).min(all);
            let o = image % conv.groups * og;
            let bias = bias.map(|bias| (bias[o..o + og].as_ptr(), 1, 0));
            let x = &x[image * cg * plane..][..cg * plane];
            let columns = if tiles.rows == 0 {
                (x[at.start..].as_ptr(), plane as isize, 1)
            } else {
                let tile = &mut tile[..k * at.len()];
                im2col(conv, x, &at, tile, [at.len(), 0]);
                (tile.as_ptr(), at.len() as isize, 1)
            };
            let w = (w[o * k..(o + og) * k].as_ptr(), k as isize, 1);
            y.at((image * og + og) * all);
            let y = (y.at(image * og * all + at.start), all as isize, 1);
            // SAFETY: sizes as sliced and looked at above; this rectangle of `y` is the item's alone.
            unsafe { product([og, k, at.len()], w, columns, y, bias) };
        }
    });
}

fn input_gemm<T: Float>(conv: &Conv, g: &[T], w: &[T], dx: &mut [T], scratch: &mut [u8]) {
    let tiles = input_gemm_tiles(conv);
    let ([cg, og], plane, all, k) = (conv.per_group(), conv.h * conv.w, conv.positions(), conv.window());
    let (own, dx) = (Parts::new(scratch), Parts::new(dx));
    let (blocks, tasks, cells) = (tiles.blocks(conv), tiles.tasks, conv.kh * conv.kw);
    let several = |task: usize| {
        let (tile, beside) =
            tiles.share::<T>(&own, task).split_at_mut(tiles.rows * tiles.positions * tiles.images);
        for item in share(conv.n.div_ceil(tiles.images) * conv.groups * blocks, tasks, task) {
            let (first, group) = (item / blocks / conv.groups * tiles.images, item / blocks % conv.groups);
            let (images, c) = (first..(first + tiles.images).min(conv.n), tiles.block(conv, item % blocks));
            let width = images.len() * all;
            let beside = &mut beside[..og * width];
            for (o, to) in beside.chunks_exact_mut(width).enumerate() {
                for (n, to) in images.clone().zip(to.chunks_exact_mut(all)) {
                    to.copy_from_slice(&g[((n * conv.groups + group) * og + o) * all..][..all]);
                }
            }
            let w = &w[group * og * k..][..og * k];
            let w = (w[c.start * cells..].as_ptr(), 1, k as isize);
            let rows = c.len() * cells;
            let tile = &mut tile[..rows * width];
            let (columns, g) = ((tile.as_mut_ptr(), width as isize, 1), (beside.as_ptr(), width as isize, 1));
            // SAFETY: sizes as sliced above.
            unsafe { product([rows, og, width], w, g, columns, None) };
            for (i, n) in images.enumerate() {
                let image = (n * conv.groups + group) * cg;
                // SAFETY: these channels of this image are the item's alone.
                let dx = unsafe { dx.slice((image + c.start) * plane..(image + c.end) * plane) };
                dx.fill(T::ZERO);
                col2im(conv, tile, &(0..all), dx, [width, i * all]);
            }
        }
    };
    if tiles.images > 1 {
        return parallel(tasks, several);
    }
    parallel(tasks, |task| {
        let tile = tiles.share::<T>(&own, task);
        for item in share(conv.n * conv.groups * blocks, tasks, task) {
            let (image, c) = (item / blocks, tiles.block(conv, item % blocks));
            // SAFETY: these channels of this image are the item's alone.
            let dx = unsafe { dx.slice((image * cg + c.start) * plane..(image * cg + c.end) * plane) };
            let g = &g[image * og * all..][..og * all];
            let w = &w[image % conv.groups * og * k..][..og * k];
            let w = (w[c.start * cells..].as_ptr(), 1, k as isize);
            let rows = c.len() * cells;
            if tiles.rows == 0 {
                // SAFETY: sizes as sliced above.
                unsafe {
                    product(
                        [rows, og, all],
                        w,
                        (g.as_ptr(), all as isize, 1),
                        (dx.as_mut_ptr(), all as isize, 1),
                        None,
                    )
                };
                continue;
            }
            dx.fill(T::ZERO);
            for start in (0..all).step_by(tiles.positions) {
                let at = start..(start + tiles.positions).min(all);
                let tile = &mut tile[..rows * at.len()];
                let columns = (tile.as_mut_ptr(), at.len() as isize, 1);
                // SAFETY: sizes as sliced above.
                unsafe {
                    product([rows, og, at.len()], w, (g[start..].as_ptr(), all as isize, 1), columns, None)
                };
                col2im(conv, tile, &at, dx, [at.len(), 0]);
            }
        }
    });
}

fn weight_gemm<T: Float>(conv: &Conv, x: &[T], g: &[T], dw: &mut [T], scratch: &mut [u8]) {
    let (tiles, groups) = (weight_gemm_tiles(conv), weight_gemm_groups(conv));
    let ([cg, og], plane, all, k) = (conv.per_group(), conv.h * conv.w, conv.positions(), conv.window());
    let (blocks, tasks, cells) = (tiles.blocks(conv), tiles.tasks, conv.kh * conv.kw);
    let mut scratch = Scratch::new(scratch);
    let sums = scratch.take::<T>(groups * conv.w_len());
    let (own, parts) = (Parts::new(scratch.take::<u8>(tiles.scratch::<T>())), Parts::new(sums));
    parallel(tasks, |task| {
        let tile = tiles.share::<T>(&own, task);
        for item in share(groups * conv.groups * blocks, tasks, task) {
            let (group, channels, c) =
                (item / blocks / conv.groups, item / blocks % conv.groups, tiles.block(conv, item % blocks));
            let start = group * conv.w_len() + channels * og * k;
            parts.at(start + og * k);
            let sum = (parts.at(start + c.start * cells), k as isize, 1);
            let mut before = None;
            for n in share(conv.n, groups, group) {
                let image = n * conv.groups + channels;
                let x = &x[(image * cg + c.start) * plane..(image * cg + c.end) * plane];
                let g = &g[image * og * all..][..og * all];
                for start in (0..all).step_by(tiles.positions) {
                    let at = start..(start + tiles.positions).min(all);
                    let columns = if tiles.rows == 0 {
                        (x[start..].as_ptr(), 1, plane as isize)
                    } else {
                        let tile = &mut tile[..c.len() * cells * at.len()];
                        im2col(conv, x, &at, tile, [at.len(), 0]);
                        (tile.as_ptr(), 1, at.len() as isize)
                    };
                    let g = (g[start..].as_ptr(), all as isize, 1);
                    // SAFETY: sizes as sliced and looked at above; this rectangle of the sums is the item's alone.
                    unsafe { product([og, at.len(), c.len() * cells], g, columns, sum, before) };
                    before = Some((sum.0.cast_const(), sum.1, sum.2));
                }
            }
        }
    });
    tree(sums, dw);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::cpu::arena::with_scratch;

    /// The specification: every product of the sum, in double precision.
    fn naive(conv: &Conv, mut f: impl FnMut(usize, usize, usize)) {
        let (cg, og) = (conv.c / conv.groups, conv.o / conv.groups);
        for (n, o) in (0..conv.n).flat_map(|n| (0..conv.o).map(move |o| (n, o))) {
            for (p, q, c) in triples(conv.oh, conv.ow, cg) {
                for (u, v) in (0..conv.kh).flat_map(|u| (0..conv.kw).map(move |v| (u, v))) {
                    let i = (p * conv.stride[0] + u * conv.dilation[0]).wrapping_sub(conv.padding[0][0]);
                    let j = (q * conv.stride[1] + v * conv.dilation[1]).wrapping_sub(conv.padding[1][0]);
                    if i < conv.h && j < conv.w {
                        f(
                            ((n * conv.c + o / og * cg + c) * conv.h + i) * conv.w + j,
                            ((o * cg + c) * conv.kh + u) * conv.kw + v,
                            ((n * conv.o + o) * conv.oh + p) * conv.ow + q,
                        );
                    }
                }
            }
        }
    }

    struct Draw(u64);
    impl Draw {
        fn next(&mut self) -> u64 {
            self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            self.0 >> 33
        }
        fn of(&mut self, from: usize, to: usize) -> usize {
            from + (self.next() as usize) % (to - from + 1)
        }
        fn reals<T: Float>(&mut self, n: usize) -> Vec<T> {
            (0..n).map(|_| T::from_f64(self.next() as f64 / (1u64 << 30) as f64 - 1.0)).collect()
        }
    }

    fn close<T: Float>(found: &[T], want: &[f64], scale: f64, what: &str, conv: &Conv) {
        let tolerance = (if size_of::<T>() == 4 { 2e-6 } else { 1e-14 }) * scale.sqrt().max(1.0) * 4.0;
        for (i, (f, w)) in found.iter().zip(want).enumerate() {
            assert!((f.to_f64() - w).abs() <= tolerance, "{what}[{i}] = {f:?}, not {w}: {conv:?}");
        }
    }

    /// All three functions against the naive sums, by whatever road the shape takes; unwritten elements are NaN.
    fn verify<T: Float>(conv: &Conv, draw: &mut Draw) {
        let nan = T::from_f64(f64::NAN);
        let (x, w, g) =
            (draw.reals::<T>(conv.x_len()), draw.reals::<T>(conv.w_len()), draw.reals::<T>(conv.y_len()));
        let b = draw.reals::<T>(conv.o);
        let bias = draw.next().is_multiple_of(2).then_some(&b[..]);
        let (mut y, mut dx, mut dw) = (vec![0.0; g.len()], vec![0.0; x.len()], vec![0.0; w.len()]);
        if let Some(b) = bias {
            y.iter_mut().enumerate().for_each(|(e, y)| *y = b[e / conv.positions() % conv.o].to_f64());
        }
        naive(conv, |i, k, o| {
            let [a, b, c] = [x[i], w[k], g[o]].map(T::to_f64);
            y[o] += a * b;
            dx[i] += b * c;
            dw[k] += a * c;
        });
        let mut found = vec![nan; y.len()];
        with_scratch(forward_scratch::<T>(conv), |s| forward(conv, &x, &w, bias, &mut found, s));
        close(&found, &y, conv.window() as f64, "y", conv);
        let mut found = vec![nan; dx.len()];
        with_scratch(input_gradient_scratch::<T>(conv), |s| input_gradient(conv, &g, &w, &mut found, s));
        close(&found, &dx, (conv.o * conv.kh * conv.kw) as f64, "dx", conv);
        let mut found = vec![nan; dw.len()];
        with_scratch(weight_gradient_scratch::<T>(conv), |s| weight_gradient(conv, &x, &g, &mut found, s));
        close(&found, &dw, (conv.n * conv.positions()) as f64, "dw", conv);
    }

    fn draw_conv(draw: &mut Draw, examples: usize) -> Conv {
        loop {
            let groups = draw.of(1, 4);
            let stride = [draw.of(0, 3).max(1), draw.of(0, 3).max(1)];
            let padding = [[draw.of(0, 3), draw.of(0, 3)], [draw.of(0, 3), draw.of(0, 3)]];
            let dilation = [draw.of(1, 3), draw.of(1, 3)];
            let (h, w, kh, kw) = (draw.of(1, 14), draw.of(1, 20), draw.of(1, 5), draw.of(1, 5));
            let out = |size: usize, k: usize, a: usize| {
                let reach = dilation[a] * (k - 1) + 1;
                (size + padding[a][0] + padding[a][1]).checked_sub(reach).map(|r| r / stride[a] + 1)
            };
            let (Some(oh), Some(ow)) = (out(h, kh, 0), out(w, kw, 1)) else { continue };
            let (c, o) = if draw.of(0, 3) == 0 {
                (groups, groups * draw.of(1, 3))
            } else {
                (groups * draw.of(1, 5), groups * draw.of(1, 9))
            };
            return Conv {
                n: draw.of(1, examples),
                c,
                h,
                w,
                o,
                kh,
                kw,
                stride,
                padding,
                dilation,
                groups,
                oh,
                ow,
            };
        }
    }

    #[test]
    fn every_option_agrees_with_the_naive_sums() {
        let mut draw = Draw(7);
        let mut roads = [0; 5];
        for i in 0..600 {
            let conv = draw_conv(&mut draw, if i % 2 == 0 { 40 } else { 5 });
            for pass in [Pass::Forward, Pass::Input, Pass::Weight] {
                roads[conv.road::<f32>(pass) as usize] += 1;
            }
            verify::<f32>(&conv, &mut draw);
            verify::<f64>(&conv, &mut draw);
        }
        assert!(roads[1..].iter().all(|&r| r > 30), "nothing, lanes, depthwise, direct, gemm: {roads:?}");
    }

    fn square(n: usize, c: usize, o: usize, size: usize, k: usize, padding: usize) -> Conv {
        let out = size + 2 * padding - k + 1;
        Conv {
            n,
            c,
            h: size,
            w: size,
            o,
            kh: k,
            kw: k,
            stride: [1, 1],
            padding: [[padding; 2]; 2],
            dilation: [1, 1],
            groups: 1,
            oh: out,
            ow: out,
        }
    }

    /// Steps of two rows and three columns over an image of few channels.
    const FEW_CHANNELS: Conv = Conv {
        n: 3,
        c: 3,
        h: 117,
        w: 97,
        o: 21,
        kh: 7,
        kw: 5,
        stride: [2, 3],
        padding: [[3, 2], [2, 3]],
        dilation: [1, 1],
        groups: 1,
        oh: 58,
        ow: 33,
    };

    #[test]
    fn large_and_known_shapes_agree() {
        let mut draw = Draw(9);
        for conv in [
            square(64, 1, 6, 28, 5, 2),
            square(33, 6, 16, 14, 5, 0),
            square(2, 70, 40, 20, 3, 1),
            square(3, 40, 50, 17, 1, 0),
            square(1, 3, 8, 224, 3, 1),
            FEW_CHANNELS,
            Conv { groups: 2, c: 4, o: 14, ..FEW_CHANNELS },
            Conv { dilation: [3, 2], oh: 52, ow: 32, ..FEW_CHANNELS },
            // Small images of many channels go together, three at a time here.
            square(35, 520, 24, 4, 3, 1),
            Conv { groups: 2, ..square(35, 520, 24, 4, 3, 1) },
            // Windows longer than a tile.
            square(1, 2048, 3, 7, 7, 0),
            square(17, 1400, 2, 7, 7, 1),
            Conv { oh: 0, h: 2, ..square(2, 3, 4, 5, 3, 0) },
            square(0, 3, 4, 5, 3, 0),
        ] {
            assert_eq!(conv.w > 90, conv.road::<f32>(Pass::Forward) == Road::Direct, "{conv:?}");
            verify::<f32>(&conv, &mut draw);
        }
    }

    #[test]
    fn any_number_of_threads_gives_the_same_bits() {
        let mut draw = Draw(11);
        for conv in [
            square(100, 6, 16, 14, 5, 0),
            square(9, 64, 64, 16, 3, 1),
            square(1, 64, 96, 32, 3, 1),
            square(35, 520, 24, 4, 3, 1),
            FEW_CHANNELS,
        ] {
            assert!(conv.macs() > SPLIT);
            assert_eq!(conv == FEW_CHANNELS, conv.road::<f32>(Pass::Forward) == Road::Direct);
            let (x, w, g) = (
                draw.reals::<f32>(conv.x_len()),
                draw.reals::<f32>(conv.w_len()),
                draw.reals::<f32>(conv.y_len()),
            );
            let results = [1, 2, 3, 4, 7].map(|threads| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                pool.install(|| {
                    let (mut y, mut dx, mut dw) = (g.clone(), x.clone(), w.clone());
                    with_scratch(forward_scratch::<f32>(&conv), |s| forward(&conv, &x, &w, None, &mut y, s));
                    with_scratch(input_gradient_scratch::<f32>(&conv), |s| {
                        input_gradient(&conv, &g, &w, &mut dx, s)
                    });
                    with_scratch(weight_gradient_scratch::<f32>(&conv), |s| {
                        weight_gradient(&conv, &x, &g, &mut dw, s)
                    });
                    [y, dx, dw].map(|v| v.iter().map(|v| v.to_bits()).collect::<Vec<_>>())
                })
            });
            assert!(results.iter().all(|r| *r == results[0]), "{conv:?}");
        }
    }
}
