//! 3×3 convolutions of stride 1 by Winograd's F(2×2, 3×3), for recorded steps: 16 multiplications where a window walks
//! over 36.
//!
//! A tile of 2×2 outputs sees 4×4 inputs `d`: `y = Aᵀ[(G w Gᵀ) ⊙ (Bᵀ d B)]A`, summed over channels between the
//! brackets: sixteen matrix products. The weight's gradient is the adjoint of that: `w̄ = Gᵀ[Σ (A ȳ Aᵀ) ⊙ (Bᵀ d B)]G`.
//! (Lavin and Gray, Fast algorithms for convolutional neural networks, 2015, <https://arxiv.org/abs/1509.09308>.)
//!
//! Sixteen examples stand side by side while tiles are transformed, which writes them as the products' packed strips.
//! A rectangle of tiles goes through all of it while it is in the second-level cache.
#![allow(unsafe_code)]
// Tiles of registers are indexed as the formulas are.
#![allow(clippy::needless_range_loop)]

use std::{cell::RefCell, ops::Range};

use super::cpu::Conv;
use crate::device::cpu::{
    arena::{Scratch, room},
    gemm::{Tile, strip_rows},
    lane::{Kernel, Lane, dispatch, prefetch},
    memory::Memory,
    threads::{Parts, parallel, share},
};

/// Examples side by side.
const LANES: usize = 16;
/// Products per tile, channel and output channel.
const PRODUCTS: usize = 16;
/// Channels below which the lanes' kernels are faster.
const LEAST: usize = 32;
/// Output channels whose products stand in the cache before they are transformed back.
const OUTPUTS: usize = 32;
/// Output channels of one task of the weight's gradient.
const SHARE: usize = 64;
/// The most groups of examples whose weight gradients are kept apart, and their numbers in all.
const GROUPS: usize = 16;
const SUMS: usize = 1 << 22;
/// Rows and columns of a strip, at most.
const ROWS: usize = 12;
const COLUMNS: usize = 32;
/// Steps of a product at a time: a strip of columns stays in the first-level cache.
const DEEP: usize = 256;
/// Between the sixteen products' strips, so that they do not meet in the same lines of the cache.
const APART: usize = 16;

/// Is this convolution for us, and worth it?
pub(super) fn suits(conv: &Conv) -> bool {
    let padding = conv.padding.as_flattened();
    [conv.kh, conv.kw] == [3, 3]
        && [conv.stride, conv.dilation] == [[1, 1]; 2]
        && conv.groups == 1
        && padding.iter().all(|p| *p <= 2)
        && conv.c.min(conv.o) >= LEAST
        && conv.oh * conv.ow >= 4
        && 2 * conv.n >= LANES
}

/// A correlation with 3×3 windows: sizes of what is walked over and of what comes out.
#[derive(Clone, Copy)]
struct Walk {
    n: usize,
    /// Channels, height, width.
    from: [usize; 3],
    to: [usize; 3],
    /// Zeros above and left.
    before: [usize; 2],
    /// Tiles of an image, and of a task: rows, columns.
    tiles: [usize; 2],
    task: [usize; 2],
}

impl Walk {
    fn new(n: usize, from: [usize; 3], to: [usize; 3], before: [usize; 2]) -> Self {
        let tiles = [to[1].div_ceil(2), to[2].div_ceil(2)];
        // Transformed inputs of a task take about a megabyte.
        let most = (1024 / from[0]).clamp(4, 16);
        let task = if tiles[1] > most {
            [1, tiles[1].div_ceil(tiles[1].div_ceil(most))]
        } else {
            [(most / tiles[1]).clamp(1, tiles[0]), tiles[1]]
        };
        Walk { n, from, to, before, tiles, task }
    }

    fn forward(conv: &Conv) -> Self {
        let before = [conv.padding[0][0], conv.padding[1][0]];
        Walk::new(conv.n, [conv.c, conv.h, conv.w], [conv.o, conv.oh, conv.ow], before)
    }

    /// Over the output's gradient, with the window turned around.
    fn adjoint(conv: &Conv) -> Self {
        let before = [2 - conv.padding[0][0], 2 - conv.padding[1][0]];
        Walk::new(conv.n, [conv.o, conv.oh, conv.ow], [conv.c, conv.h, conv.w], before)
    }

    fn blocks(&self) -> usize {
        self.n.div_ceil(LANES)
    }

    /// Rectangles of tiles of an image: how many in each direction.
    fn cuts(&self) -> [usize; 2] {
        [0, 1].map(|a| self.tiles[a].div_ceil(self.task[a]))
    }

    /// Rectangle number `i`: tile rows, tile columns.
    fn rectangle(&self, i: usize) -> [Range<usize>; 2] {
        let cuts = self.cuts();
        [(0, i / cuts[1]), (1, i % cuts[1])].map(|(a, i)| {
            let start = i * self.task[a];
            start..(start + self.task[a]).min(self.tiles[a])
        })
    }

    /// Tiles of a task, at most.
    fn most(&self) -> usize {
        self.task[0] * self.task[1]
    }

    /// What the tiles of a rectangle read.
    fn seen(&self, [rows, columns]: &[Range<usize>; 2]) -> Window {
        let at = |a: usize, tiles: &Range<usize>| {
            (2 * tiles.start as isize - self.before[a] as isize, 2 * tiles.len() + 2)
        };
        Window::new([self.from[1], self.from[2]], [at(0, rows), at(1, columns)])
    }

    /// What the tiles of a rectangle write.
    fn made(&self, [rows, columns]: &[Range<usize>; 2]) -> Window {
        let at = |tiles: &Range<usize>| (2 * tiles.start as isize, 2 * tiles.len());
        Window::new([self.to[1], self.to[2]], [at(rows), at(columns)])
    }

    /// Cells of the largest windows, of either kind.
    fn cells(&self) -> usize {
        (2 * self.task[0] + 2) * (2 * self.task[1] + 2)
    }
}

/// A rectangle around a part of a plane, whose cells outside the plane are zeros.
struct Window {
    /// The plane's rows and columns that are inside.
    rows: Range<usize>,
    columns: Range<usize>,
    /// The plane's width, the rectangle's first row and column, its height and width.
    width: usize,
    origin: [isize; 2],
    size: [usize; 2],
}

impl Window {
    fn new(plane: [usize; 2], at: [(isize, usize); 2]) -> Self {
        let inside = |a: usize| {
            let (start, len) = at[a];
            let end = (start + len as isize).clamp(0, plane[a] as isize) as usize;
            (start.max(0) as usize).min(end)..end
        };
        let (origin, size) = ([at[0].0, at[1].0], [at[0].1, at[1].1]);
        Window { rows: inside(0), columns: inside(1), width: plane[1], origin, size }
    }

    /// Where the plane's elements lie in the rectangle, row by row.
    fn places<'a>(&self, places: &'a mut [usize]) -> &'a [usize] {
        let mut n = 0;
        for i in self.rows.clone() {
            let row = (i as isize - self.origin[0]) * self.size[1] as isize - self.origin[1];
            for j in self.columns.clone() {
                places[n] = (row + j as isize) as usize * LANES;
                n += 1;
            }
        }
        &places[..n]
    }

    /// Stretches without a gap in the plane: the first element, and its number among [`Window::places`], and how many.
    fn runs(&self) -> impl Iterator<Item = [usize; 3]> {
        let wide = self.columns.len();
        let (count, len) =
            if wide == self.width { (1, self.rows.len() * wide) } else { (self.rows.len(), wide) };
        let start = self.rows.start * self.width + self.columns.start;
        (0..count).filter(move |_| len > 0).map(move |i| [start + i * self.width, i * wide, len])
    }
}

/// `cells[place][lane] = planes[lane][element]`; lanes from `live` on get zeros. The next planes are `next` further.
///
/// # Safety
/// The window's elements can be read in the first `live` planes; there are no more than sixteen, and at least one.
#[inline(always)]
unsafe fn spread<V: Lane<f32>>(
    window: &Window,
    places: &[usize],
    (planes, step): (*const f32, usize),
    next: usize,
    live: usize,
    cells: &mut [f32],
) {
    let (mut from, mut to) = ([planes; LANES], [cells.as_mut_ptr(); LANES]);
    for [start, first, len] in window.runs() {
        let places = &places[first..first + len];
        if len < LANES {
            for (e, place) in places.iter().enumerate() {
                for l in 0..LANES {
                    // SAFETY: the caller's.
                    let x = if l < live { unsafe { *planes.add(l * step + start + e) } } else { 0.0 };
                    cells[place + l] = x;
                }
            }
            continue;
        }
        let mut e = 0;
        while e < len {
            // The last square overlaps the one before.
            e = e.min(len - LANES);
            for l in 0..live {
                from[l] = planes.wrapping_add(l * step + start + e);
                prefetch(from[l].wrapping_add(next));
            }
            for i in 0..LANES {
                to[i] = cells[places[e + i]..places[e + i] + LANES].as_mut_ptr();
            }
            // SAFETY: the caller's; sixteen numbers of each row are there.
            unsafe { V::transpose(&from, live, &to, LANES) };
            e += LANES;
        }
    }
}

/// `planes[lane][element] = cells[place][lane]` for `live` lanes, a plane every `step` elements from `first` on.
///
/// # Safety
/// The window's elements of these planes belong to the caller alone.
#[inline(always)]
unsafe fn gather<V: Lane<f32>>(
    window: &Window,
    places: &[usize],
    cells: &[f32],
    planes: &Parts<f32>,
    (origin, step): (usize, usize),
    live: usize,
) {
    let (mut from, mut to) = ([cells.as_ptr(); LANES], [planes.at(0); LANES]);
    for [start, first, len] in window.runs() {
        let places = &places[first..first + len];
        let at = |l: usize, e: usize| planes.at(origin + l * step + start + e);
        at(live - 1, len);
        if len < LANES {
            for (e, place) in places.iter().enumerate() {
                // SAFETY: inside (`at` has looked at the last element), and the caller's alone.
                (0..live).for_each(|l| unsafe { *at(l, e) = cells[place + l] });
            }
            continue;
        }
        let mut e = 0;
        while e < len {
            e = e.min(len - LANES);
            for i in 0..LANES {
                from[i] = cells[places[e + i]..places[e + i] + LANES].as_ptr();
            }
            for l in 0..live {
                to[l] = at(l, e);
            }
            // SAFETY: as above.
            unsafe { V::transpose(&from, LANES, &to, live) };
            e += LANES;
        }
    }
}

/// `Bᵀ d`.
///
/// # Safety
/// For this and all below: the processor has `V`'s instruction set, and addresses are good for what is said.
#[inline(always)]
unsafe fn bt<V: Lane<f32>>(d: [V; 4]) -> [V; 4] {
    // SAFETY: the caller's.
    unsafe { [d[0].sub(d[2]), d[1].add(d[2]), d[2].sub(d[1]), d[1].sub(d[3])] }
}

/// `A g`.
#[inline(always)]
unsafe fn a<V: Lane<f32>>(g: [V; 2]) -> [V; 4] {
    // SAFETY: the caller's.
    unsafe { [g[0], g[0].add(g[1]), g[0].sub(g[1]), V::zero().sub(g[1])] }
}

/// `Aᵀ m`.
#[inline(always)]
unsafe fn at<V: Lane<f32>>(m: [V; 4]) -> [V; 2] {
    // SAFETY: the caller's.
    unsafe { [m[0].add(m[1]).add(m[2]), m[1].sub(m[2]).sub(m[3])] }
}

/// `G w`.
#[inline(always)]
unsafe fn g<V: Lane<f32>>(w: [V; 3]) -> [V; 4] {
    // SAFETY: the caller's.
    unsafe {
        let (half, ends) = (V::splat(0.5), w[0].add(w[2]));
        [w[0], ends.add(w[1]).mul(half), ends.sub(w[1]).mul(half), w[2]]
    }
}

/// `Gᵀ m`.
#[inline(always)]
unsafe fn gt<V: Lane<f32>>(m: [V; 4]) -> [V; 3] {
    // SAFETY: the caller's.
    unsafe {
        let half = V::splat(0.5);
        let middle = m[1].add(m[2]).mul(half);
        [m[0].add(middle), m[1].sub(m[2]).mul(half), m[3].add(middle)]
    }
}

/// `Bᵀ d B` of the 4×4 cells at `d`, rows of `wide` cells; the sixteen numbers go `step` apart to `to`.
#[inline(always)]
unsafe fn input<V: Lane<f32>>(d: *const f32, wide: usize, to: *mut f32, step: usize) {
    // SAFETY: the caller's.
    unsafe {
        let mut m = [[V::zero(); 4]; 4];
        for j in 0..4 {
            let mut x = [V::zero(); 4];
            for i in 0..4 {
                x[i] = V::load(d.add((i * wide + j) * LANES));
            }
            let x = bt(x);
            for i in 0..4 {
                m[i][j] = x[i];
            }
        }
        for i in 0..4 {
            let x = bt(m[i]);
            for j in 0..4 {
                x[j].store(to.add((4 * i + j) * step));
            }
        }
    }
}

/// `A g Aᵀ` of the 2×2 cells at `g`, as [`input`].
#[inline(always)]
unsafe fn cotangent<V: Lane<f32>>(g: *const f32, wide: usize, to: *mut f32, step: usize) {
    // SAFETY: the caller's.
    unsafe {
        let mut m = [[V::zero(); 2]; 4];
        for j in 0..2 {
            let x = a([V::load(g.add(j * LANES)), V::load(g.add((wide + j) * LANES))]);
            for i in 0..4 {
                m[i][j] = x[i];
            }
        }
        for i in 0..4 {
            let x = a(m[i]);
            for j in 0..4 {
                x[j].store(to.add((4 * i + j) * step));
            }
        }
    }
}

/// `Aᵀ m A + b` to the 2×2 cells at `y`, rows of `wide` cells, where the sixteen numbers lie `step` apart.
#[inline(always)]
unsafe fn output<V: Lane<f32>>(m: *const f32, step: usize, b: V, y: *mut f32, wide: usize) {
    // SAFETY: the caller's.
    unsafe {
        let mut t = [[V::zero(); 4]; 2];
        for j in 0..4 {
            let mut x = [V::zero(); 4];
            for i in 0..4 {
                x[i] = V::load(m.add((4 * i + j) * step));
            }
            let x = at(x);
            (t[0][j], t[1][j]) = (x[0], x[1]);
        }
        for i in 0..2 {
            let x = at(t[i]);
            for j in 0..2 {
                x[j].add(b).store(y.add((i * wide + j) * LANES));
            }
        }
    }
}

thread_local! {
    /// Transformed tiles, from call to call.
    static ROOM: RefCell<Option<Memory>> = const { RefCell::new(None) };
}

fn with_room<R>(bytes: usize, f: impl FnOnce(Scratch<'_>) -> R) -> R {
    ROOM.with_borrow_mut(|kept| {
        let memory = match kept {
            Some(memory) if memory.slice::<u8>().len() >= bytes => memory,
            _ => kept.insert(Memory::zeroed(bytes)),
        };
        f(Scratch::new(memory.slice_mut()))
    })
}

// ------------------------------------------------------------------------------------------------------ weights

/// Numbers of one of the sixteen matrices of transformed weights.
fn matrix(from: usize, to: usize) -> usize {
    from.next_multiple_of(LANES) * (to + ROWS) + APART
}

/// `G w Gᵀ` as strips `[to/R][from/16][R][16]`, of sixteen channels that are walked over.
struct Weights<'a> {
    /// Channels walked over, and written.
    from: usize,
    to: usize,
    /// The weight is `[from, to, 3, 3]`, and turned around.
    turned: bool,
    w: &'a [f32],
    first: usize,
    out: &'a Parts<'a, f32>,
}

impl Kernel<f32> for Weights<'_> {
    #[inline(always)]
    unsafe fn run<V: Lane<f32>>(self) {
        let (r, deep) = (strip_rows(self.to, V::REGISTERS), self.from.next_multiple_of(LANES));
        let live = (self.from - self.first).min(LANES);
        let (mut edge, mut square) = ([0.0f32; LANES * LANES], [0.0f32; LANES * LANES]);
        let step = matrix(self.from, self.to);
        let mut rows = [self.w.as_ptr(); LANES];
        let columns: [*mut f32; LANES] = std::array::from_fn(|k| square.as_mut_ptr().wrapping_add(k * LANES));
        for row in 0..self.to {
            for l in 0..live {
                let from = self.first + l;
                let window = if self.turned { from * self.to + row } else { row * self.from + from };
                let here = &self.w[9 * window..];
                rows[l] = here.as_ptr();
                if here.len() < LANES {
                    edge[l * LANES..l * LANES + 9].copy_from_slice(&here[..9]);
                    rows[l] = edge[l * LANES..].as_ptr();
                }
            }
            let at = (row / r * deep + self.first) * r + row % r * LANES;
            // SAFETY: sixteen numbers of every row are there; these places are this task's alone.
            unsafe {
                V::transpose(&rows, live, &columns, 9);
                for lane in (0..LANES).step_by(V::N) {
                    let mut by_column = [[V::zero(); 4]; 3];
                    for j in 0..3 {
                        let mut w = [V::zero(); 3];
                        for i in 0..3 {
                            let k = if self.turned { 8 - (3 * i + j) } else { 3 * i + j };
                            w[i] = V::load(columns[k].add(lane));
                        }
                        by_column[j] = g(w);
                    }
                    let to = self.out.at(at + lane);
                    self.out.at(15 * step + at + LANES);
                    for i in 0..4 {
                        let u = g([by_column[0][i], by_column[1][i], by_column[2][i]]);
                        for j in 0..4 {
                            u[j].store(to.add((4 * i + j) * step));
                        }
                    }
                }
            }
        }
    }
}

// -------------------------------------------------------------------------------- forward, and input gradient

/// Bytes of working memory of [`forward`].
pub(super) fn forward_scratch(conv: &Conv) -> usize {
    room::<f32>(PRODUCTS * matrix(conv.c, conv.o))
}

/// [`super::cpu::forward`].
pub(super) fn forward(
    conv: &Conv,
    x: &[f32],
    w: &[f32],
    bias: Option<&[f32]>,
    y: &mut [f32],
    scratch: &mut [u8],
) {
    correlate(Walk::forward(conv), false, x, w, bias, y, scratch);
}

/// Bytes of working memory of [`input_gradient`].
pub(super) fn input_gradient_scratch(conv: &Conv) -> usize {
    room::<f32>(PRODUCTS * matrix(conv.o, conv.c))
}

/// [`super::cpu::input_gradient`].
pub(super) fn input_gradient(conv: &Conv, g: &[f32], w: &[f32], dx: &mut [f32], scratch: &mut [u8]) {
    correlate(Walk::adjoint(conv), true, g, w, None, dx, scratch);
}

fn correlate(
    walk: Walk,
    turned: bool,
    x: &[f32],
    w: &[f32],
    bias: Option<&[f32]>,
    y: &mut [f32],
    scratch: &mut [u8],
) {
    let ([from, h, width], [to, oh, ow]) = (walk.from, walk.to);
    let expected = [walk.n * from * h * width, 9 * from * to, walk.n * to * oh * ow];
    assert_eq!([x.len(), w.len(), y.len()], expected, "elements of input, weight and output");
    let packed = Scratch::new(scratch).take::<f32>(PRODUCTS * matrix(from, to));
    let out = Parts::new(packed);
    parallel(from.div_ceil(LANES), |i| {
        dispatch(Weights { from, to, turned, w, first: i * LANES, out: &out });
    });
    let (packed, y) = (&*packed, Parts::new(y));
    let rectangles: usize = walk.cuts().iter().product();
    parallel(walk.blocks() * rectangles, |task| {
        with_room(Correlate::room(&walk), |room| {
            let (example, rectangle) = (task / rectangles * LANES, walk.rectangle(task % rectangles));
            dispatch(Correlate { walk: &walk, packed, bias, x, y: &y, example, rectangle, room });
        });
    });
}

/// A rectangle of tiles of sixteen examples.
struct Correlate<'a> {
    walk: &'a Walk,
    packed: &'a [f32],
    bias: Option<&'a [f32]>,
    x: &'a [f32],
    y: &'a Parts<'a, f32>,
    example: usize,
    rectangle: [Range<usize>; 2],
    room: Scratch<'a>,
}

impl Correlate<'_> {
    /// Numbers of one of sixteen: transformed inputs, and products.
    fn sizes(walk: &Walk) -> [usize; 2] {
        let columns = (walk.most() * LANES).next_multiple_of(COLUMNS);
        [columns * walk.from[0] + APART, columns * (OUTPUTS + ROWS) + APART]
    }

    fn room(walk: &Walk) -> usize {
        let [inputs, products] = Self::sizes(walk);
        2 * room::<usize>(walk.cells())
            + room::<f32>(walk.cells() * LANES)
            + room::<f32>(PRODUCTS * inputs)
            + room::<f32>(PRODUCTS * products)
    }
}

impl Kernel<f32> for Correlate<'_> {
    #[inline(always)]
    unsafe fn run<V: Lane<f32>>(self) {
        let Correlate { walk, packed, bias, x, y: result, example, rectangle, mut room } = self;
        let ([from, h, w], [to, oh, ow]) = (walk.from, walk.to);
        let (live, tall, across) = ((walk.n - example).min(LANES), rectangle[0].len(), rectangle[1].len());
        let (seen, made) = (walk.seen(&rectangle), walk.made(&rectangle));
        let [inputs, products] = Self::sizes(walk);
        let wide = 2 * V::N;
        let columns = (tall * across * LANES).next_multiple_of(wide);
        let read = seen.places(room.take(walk.cells()));
        let written = made.places(room.take(walk.cells()));
        let cells = room.take::<f32>(walk.cells() * LANES);
        let v = room.take::<f32>(PRODUCTS * inputs);
        let m = room.take::<f32>(PRODUCTS * products);
        cells.fill(0.0);
        for c in 0..from {
            let planes = (&x[(example * from + c) * h * w..], from * h * w);
            assert!(planes.0.len() >= (live - 1) * planes.1 + h * w, "planes of {live} examples");
            // SAFETY: `V`'s instruction set is here; places are inside the cells and strips, as their sizes say.
            unsafe {
                spread::<V>(&seen, read, (planes.0.as_ptr(), planes.1), h * w, live, cells);
                for (i, j) in (0..tall).flat_map(|i| (0..across).map(move |j| (i, j))) {
                    for lane in (0..LANES).step_by(V::N) {
                        let d = cells[(2 * i * seen.size[1] + 2 * j) * LANES + lane..].as_ptr();
                        let column = (i * across + j) * LANES + lane;
                        let at = (column / wide * from + c) * wide + column % wide;
                        input::<V>(d, seen.size[1], v[at..].as_mut_ptr(), inputs);
                    }
                }
            }
        }
        let (r, deep, matrix) =
            (strip_rows(to, V::REGISTERS), from.next_multiple_of(LANES), matrix(from, to));
        let outputs = OUTPUTS / r * r;
        for first in (0..to).step_by(outputs) {
            let count = outputs.min(to - first);
            for e in 0..PRODUCTS {
                for panel in 0..columns / wide {
                    for start in (0..from).step_by(DEEP) {
                        for strip in 0..count.div_ceil(r) {
                            let a = e * matrix + ((first / r + strip) * deep + start) * r;
                            let b = e * inputs + (panel * from + start) * wide;
                            let c = e * products + strip * r * columns + panel * wide;
                            let c = m[c..].as_mut_ptr();
                            let tile = Tile {
                                k: DEEP.min(from - start),
                                a: packed[a..].as_ptr(),
                                b: v[b..].as_ptr(),
                                c: (c, columns as isize, 1),
                                d: (start > 0).then_some((c.cast_const(), columns as isize, 1)),
                                live: [r.min(count - strip * r), wide],
                            };
                            // SAFETY: strips hold whole tiles.
                            unsafe { tile.run(r, 2) };
                        }
                    }
                }
            }
            for o in 0..count {
                // SAFETY: as above; these examples' planes are this task's, as far as its tiles go.
                unsafe {
                    let bias = V::splat(bias.map_or(0.0, |b| b[first + o]));
                    let planes = ((example * to + first + o) * oh * ow, to * oh * ow);
                    made.runs().for_each(|[start, _, len]| {
                        for (l, e) in (0..live).flat_map(|l| (0..len).step_by(LANES).map(move |e| (l, e))) {
                            prefetch(result.at(planes.0 + l * planes.1 + start + e));
                        }
                    });
                    for (i, j) in (0..tall).flat_map(|i| (0..across).map(move |j| (i, j))) {
                        for lane in (0..LANES).step_by(V::N) {
                            let column = (i * across + j) * LANES + lane;
                            let y = cells[(2 * i * made.size[1] + 2 * j) * LANES + lane..].as_mut_ptr();
                            output::<V>(m[o * columns + column..].as_ptr(), products, bias, y, made.size[1]);
                        }
                    }
                    gather::<V>(&made, written, cells, result, planes, live);
                }
            }
        }
    }
}

// ------------------------------------------------------------------------------------------------ weight gradient

/// Groups of blocks of examples that have sums of their own.
fn groups(conv: &Conv) -> usize {
    let all = PRODUCTS * conv.o * conv.c;
    conv.n.div_ceil(LANES).min(GROUPS).min((SUMS / all).max(1))
}

/// Numbers of a row of a matrix of sums, and of one of a group's sixteen matrices.
fn sums(conv: &Conv) -> [usize; 2] {
    let row = conv.c.next_multiple_of(COLUMNS);
    [row, row * (conv.o + ROWS) + APART]
}

/// Bytes of working memory of [`weight_gradient`].
pub(super) fn weight_gradient_scratch(conv: &Conv) -> usize {
    room::<f32>(groups(conv) * PRODUCTS * sums(conv)[1])
}

/// [`super::cpu::weight_gradient`].
pub(super) fn weight_gradient(conv: &Conv, x: &[f32], g: &[f32], dw: &mut [f32], scratch: &mut [u8]) {
    let walk = Walk::forward(conv);
    let expected = [conv.n * conv.c * conv.h * conv.w, conv.n * conv.o * conv.oh * conv.ow];
    assert_eq!([x.len(), g.len()], expected, "elements of input and cotangent");
    assert_eq!(dw.len(), 9 * conv.o * conv.c, "elements of the weight");
    let (groups, [_, matrix]) = (groups(conv), sums(conv));
    let all = Scratch::new(scratch).take::<f32>(groups * PRODUCTS * matrix);
    let (parts, shares) = (Parts::new(all), conv.o.div_ceil(SHARE));
    parallel(groups * shares, |task| {
        let (group, share) = (task / shares, task % shares);
        with_room(Products::room(&walk), |room| {
            let outputs = share * SHARE..((share + 1) * SHARE).min(conv.o);
            dispatch(Products { conv, walk: &walk, x, g, group, outputs, sums: &parts, room });
        });
    });
    let (all, dw) = (&*all, Parts::new(dw));
    parallel(conv.o, |o| dispatch(Gradient { conv, o, sums: all, dw: &dw }));
}

/// `Σ (A ȳ Aᵀ) ⊙ (Bᵀ d B)` over a group's examples, for some output channels.
struct Products<'a> {
    conv: &'a Conv,
    walk: &'a Walk,
    x: &'a [f32],
    g: &'a [f32],
    group: usize,
    outputs: Range<usize>,
    sums: &'a Parts<'a, f32>,
    room: Scratch<'a>,
}

impl Products<'_> {
    /// Numbers of one of sixteen: transformed inputs, and cotangents.
    fn sizes(walk: &Walk) -> [usize; 2] {
        let deep = walk.most() * LANES;
        [deep * walk.from[0].next_multiple_of(COLUMNS) + APART, deep * (SHARE + ROWS) + APART]
    }

    fn room(walk: &Walk) -> usize {
        let [inputs, cotangents] = Self::sizes(walk);
        2 * room::<usize>(walk.cells())
            + 2 * room::<f32>(walk.cells() * LANES)
            + room::<f32>(PRODUCTS * inputs)
            + room::<f32>(PRODUCTS * cotangents)
    }
}

impl Kernel<f32> for Products<'_> {
    #[inline(always)]
    unsafe fn run<V: Lane<f32>>(self) {
        let Products { conv, walk, x, g, group, outputs, sums: all, mut room } = self;
        let ([from, h, w], [to, oh, ow]) = (walk.from, walk.to);
        let [inputs, cotangents] = Self::sizes(walk);
        let (read_places, made_places) = (room.take(walk.cells()), room.take(walk.cells()));
        let seen_cells = room.take::<f32>(walk.cells() * LANES);
        let made_cells = room.take::<f32>(walk.cells() * LANES);
        let v = room.take::<f32>(PRODUCTS * inputs);
        let a = room.take::<f32>(PRODUCTS * cotangents);
        let [row, matrix] = sums(conv);
        let (wide, r) = (2 * V::N, strip_rows(outputs.len(), V::REGISTERS));
        let rectangles: usize = walk.cuts().iter().product();
        let blocks = share(walk.blocks(), groups(conv), group);
        let begin = blocks.start;
        for (block, number) in blocks.flat_map(|b| (0..rectangles).map(move |i| (b, i))) {
            let (example, rectangle) = (block * LANES, walk.rectangle(number));
            let (live, tall, across) =
                ((walk.n - example).min(LANES), rectangle[0].len(), rectangle[1].len());
            let (seen, made, deep) = (walk.seen(&rectangle), walk.made(&rectangle), tall * across * LANES);
            let (read, written) = (seen.places(read_places), made.places(made_places));
            seen_cells.fill(0.0);
            made_cells.fill(0.0);
            // Inputs, channels side by side: rows of the second factor.
            for first in (0..from).step_by(LANES) {
                let channels = (from - first).min(LANES);
                for l in 0..LANES {
                    if l < live {
                        let planes = &x[((example + l) * from + first) * h * w..][..channels * h * w];
                        // SAFETY: `V`'s instruction set is here, and so are the planes.
                        unsafe {
                            spread::<V>(
                                &seen,
                                read,
                                (planes.as_ptr(), h * w),
                                from * h * w,
                                channels,
                                seen_cells,
                            )
                        };
                    } else {
                        seen_cells.fill(0.0);
                    }
                    for (i, j) in (0..tall).flat_map(|i| (0..across).map(move |j| (i, j))) {
                        for lane in (0..LANES).step_by(V::N) {
                            let d = seen_cells[(2 * i * seen.size[1] + 2 * j) * LANES + lane..].as_ptr();
                            let (k, channel) = ((i * across + j) * LANES + l, first + lane);
                            let at = (channel / wide * deep + k) * wide + channel % wide;
                            // SAFETY: as above; places are inside cells and strips, as their sizes say.
                            unsafe { input::<V>(d, seen.size[1], v[at..].as_mut_ptr(), inputs) };
                        }
                    }
                }
            }
            // Cotangents, examples side by side: strips of the first factor.
            for (row, o) in outputs.clone().enumerate() {
                let planes = &g[(example * to + o) * oh * ow..];
                assert!(planes.len() >= (live - 1) * to * oh * ow + oh * ow, "planes of {live} examples");
                // SAFETY: as above.
                unsafe {
                    spread::<V>(&made, written, (planes.as_ptr(), to * oh * ow), oh * ow, live, made_cells);
                    for (i, j) in (0..tall).flat_map(|i| (0..across).map(move |j| (i, j))) {
                        for lane in (0..LANES).step_by(V::N) {
                            let g = made_cells[(2 * i * made.size[1] + 2 * j) * LANES + lane..].as_ptr();
                            let tile = i * across + j;
                            let at = ((row / r * tall * across + tile) * r + row % r) * LANES + lane;
                            cotangent::<V>(g, made.size[1], a[at..].as_mut_ptr(), cotangents);
                        }
                    }
                }
            }
            for e in 0..PRODUCTS {
                let sums = (group * PRODUCTS + e) * matrix + outputs.start * row;
                for strip in 0..outputs.len().div_ceil(r) {
                    for panel in 0..from.div_ceil(wide) {
                        let live = r.min(outputs.len() - strip * r);
                        let to = sums + strip * r * row + panel * wide;
                        all.at(to + (live - 1) * row + wide);
                        for start in (0..deep).step_by(DEEP) {
                            let add = start > 0 || block > begin || number > 0;
                            let tile = Tile {
                                k: DEEP.min(deep - start),
                                a: a[e * cotangents + (strip * deep + start) * r..].as_ptr(),
                                b: v[e * inputs + (panel * deep + start) * wide..].as_ptr(),
                                c: (all.at(to), row as isize, 1),
                                d: add.then(|| (all.at(to).cast_const(), row as isize, 1)),
                                live: [live, wide],
                            };
                            // SAFETY: strips hold whole tiles; these rows of the group's sums are this task's alone.
                            unsafe { tile.run(r, 2) };
                        }
                    }
                }
            }
        }
    }
}

/// `Gᵀ(Σ groups)G` of one output channel.
struct Gradient<'a> {
    conv: &'a Conv,
    o: usize,
    sums: &'a [f32],
    dw: &'a Parts<'a, f32>,
}

impl Kernel<f32> for Gradient<'_> {
    #[inline(always)]
    unsafe fn run<V: Lane<f32>>(self) {
        let (conv, [row, matrix], groups) = (self.conv, sums(self.conv), groups(self.conv));
        let (mut cells, mut windows) = ([0.0f32; LANES * LANES], [0.0f32; LANES * LANES]);
        for first in (0..conv.c).step_by(LANES) {
            // SAFETY: `V`'s instruction set is here; rows of sums are whole lanes long, and this channel's windows
            // this task's alone.
            unsafe {
                for lane in (0..LANES).step_by(V::N) {
                    let mut t = [[V::zero(); 4]; 3];
                    for j in 0..4 {
                        let mut m = [V::zero(); 4];
                        for i in 0..4 {
                            for group in 0..groups {
                                let at =
                                    (group * PRODUCTS + 4 * i + j) * matrix + self.o * row + first + lane;
                                m[i] = m[i].add(V::load(self.sums[at..at + V::N].as_ptr()));
                            }
                        }
                        let m = gt(m);
                        for i in 0..3 {
                            t[i][j] = m[i];
                        }
                    }
                    for i in 0..3 {
                        let w = gt(t[i]);
                        for j in 0..3 {
                            w[j].store(cells[(3 * i + j) * LANES + lane..].as_mut_ptr());
                        }
                    }
                }
                let from: [*const f32; LANES] = std::array::from_fn(|k| cells[k * LANES..].as_ptr());
                let to: [*mut f32; LANES] =
                    std::array::from_fn(|l| windows.as_mut_ptr().wrapping_add(l * LANES));
                V::transpose(&from, 9, &to, LANES);
                let live = (conv.c - first).min(LANES);
                let at = (self.o * conv.c + first) * 9;
                let dw = self.dw.slice(at..at + 9 * live);
                for (to, window) in dw.chunks_exact_mut(9).zip(windows.chunks_exact(LANES)) {
                    to.copy_from_slice(&window[..9]);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::cpu::{arena::with_scratch, lane::on_every_isa};
    use crate::ops::conv::cpu;

    fn draw(n: usize, mut state: u64) -> Vec<f32> {
        let mut next = || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        };
        (0..n).map(|_| next()).collect()
    }

    /// All three against the same in double precision; everything that comes out.
    fn verify(conv: Conv) -> [Vec<f32>; 3] {
        let sizes = [conv.c * conv.h * conv.w, conv.o * conv.oh * conv.ow].map(|n| n * conv.n);
        let (x, g) = (draw(sizes[0], 1), draw(sizes[1], 2));
        let (w, b) = (draw(9 * conv.o * conv.c, 3), draw(conv.o, 4));
        let real = |x: &[f32]| x.iter().map(|x| f64::from(*x)).collect::<Vec<_>>();
        let (rx, rg, rw, rb) = (real(&x), real(&g), real(&w), real(&b));
        let mut want = [sizes[1], sizes[0], w.len()].map(|n| vec![0.0f64; n]);
        with_scratch(cpu::forward_scratch::<f64>(&conv), |s| {
            cpu::forward(&conv, &rx, &rw, Some(&rb), &mut want[0], s)
        });
        with_scratch(cpu::input_gradient_scratch::<f64>(&conv), |s| {
            cpu::input_gradient(&conv, &rg, &rw, &mut want[1], s)
        });
        with_scratch(cpu::weight_gradient_scratch::<f64>(&conv), |s| {
            cpu::weight_gradient(&conv, &rx, &rg, &mut want[2], s)
        });
        let mut found = want.each_ref().map(|v| vec![f32::NAN; v.len()]);
        with_scratch(forward_scratch(&conv), |s| forward(&conv, &x, &w, Some(&b), &mut found[0], s));
        with_scratch(input_gradient_scratch(&conv), |s| input_gradient(&conv, &g, &w, &mut found[1], s));
        with_scratch(weight_gradient_scratch(&conv), |s| weight_gradient(&conv, &x, &g, &mut found[2], s));
        for (which, (found, want)) in found.iter().zip(&want).enumerate() {
            let largest = want.iter().fold(1.0, |m: f64, x| m.max(x.abs()));
            for (i, (found, want)) in found.iter().zip(want).enumerate() {
                let wrong = (f64::from(*found) - want).abs();
                assert!(wrong <= 4e-6 * largest, "{which}, element {i}: {found}, not {want}; {conv:?}");
            }
        }
        found
    }

    fn conv([n, c, o]: [usize; 3], [h, w]: [usize; 2], padding: [[usize; 2]; 2]) -> Conv {
        let [oh, ow] = [(0, h), (1, w)].map(|(a, n)| n + padding[a][0] + padding[a][1] - 2);
        let (stride, dilation) = ([1, 1], [1, 1]);
        Conv { n, c, h, w, o, kh: 3, kw: 3, stride, padding, dilation, groups: 1, oh, ow }
    }

    #[test]
    fn tiles_of_every_kind_agree_with_the_formula() {
        // On one thread: another would have registers of its own.
        let verify_all = || {
            for (sizes, image, padding) in [
                ([1, 1, 1], [2, 2], [[1, 1], [1, 1]]),
                ([3, 2, 5], [5, 4], [[1, 1], [0, 2]]),
                ([17, 33, 18], [3, 3], [[2, 2], [1, 1]]),
                ([16, 20, 70], [4, 4], [[1, 1], [1, 1]]),
                ([9, 5, 3], [7, 45], [[0, 0], [1, 0]]),
                ([2, 300, 40], [6, 9], [[1, 1], [1, 1]]),
            ] {
                verify(conv(sizes, image, padding));
            }
        };
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        pool.install(|| on_every_isa(verify_all));
    }

    #[test]
    fn any_number_of_threads_gives_the_same_bits() {
        let results = [1, 2, 3].map(|threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| verify(conv([70, 36, 130], [9, 8], [[1, 1], [1, 1]])))
        });
        assert!(results.iter().all(|r| *r == results[0]));
    }
}
