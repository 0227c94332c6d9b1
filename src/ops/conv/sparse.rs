//! The adjoints of a convolution behind which a max pool stands, for sixteen examples side by side.
//!
//! The output's cotangent is 0 but at one cell a window, so it is never written: each example's image lies channels
//! last, `[h][w][c]`, where the `kw·c` numbers of a kernel row are neighbours, and each cotangent that is not 0 meets
//! the `kh` rows at its maximum. Zeros are left out: unlike with the dense kernels, 0·∞ adds nothing.
#![allow(unsafe_code)]
// Tiles of registers are indexed as the formulas are.
#![allow(clippy::needless_range_loop)]

use super::{cpu::Conv, lanes::even};
use crate::{
    device::cpu::{
        Call,
        arena::{Scratch, room},
        lane::{Kernel, Lane, dispatch},
    },
    ops::{LANES, Lanes, pool::lanes::Spread},
};

/// A square of sixteen examples and sixteen elements.
const SQUARE: usize = LANES * LANES;
/// The most cotangents that an example's lists hold at a time.
const LIST: usize = 4 << 10;
/// The place of a zero in the border.
const BORDER: u32 = u32::MAX;

/// Where everything lies.
struct Plan {
    conv: Conv,
    spread: Spread,
    /// Numbers from one row of an example's image, border included, to the next, and from one example to the next.
    row: usize,
    size: usize,
    /// Numbers of a kernel row, without and with what fills the last register.
    narrow: usize,
    wide: usize,
    /// Per number of an example's image: where its lanes lie, or [`BORDER`]; whole squares.
    place: Vec<u32>,
    /// Windows in the order they are listed, and the address of each one's first cell.
    windows: Vec<(u32, f32)>,
    /// Output channels that are listed at a time.
    group: usize,
}

impl Plan {
    fn new(conv: Conv, spread: Spread) -> Option<Plan> {
        let size = [conv.c, conv.h, conv.w, conv.o, conv.kh, conv.kw, conv.oh, conv.ow];
        let plain = conv.groups == 1 && conv.stride == [1, 1] && conv.dilation == [1, 1];
        // Narrower kernel rows leave most of a register empty.
        let pays = conv.kw * conv.c >= 12 && spread.kernel[0] * spread.kernel[1] >= 4;
        if size.contains(&0) || !plain || !pays {
            return None;
        }
        let before = [conv.padding[0][0], conv.padding[1][0]];
        let [high, across] = [conv.oh + conv.kh - 1, conv.ow + conv.kw - 1];
        let row = across * conv.c;
        // The last kernel row of the last window fills its registers too.
        let size = (high * row + LANES).next_multiple_of(LANES);
        // Addresses pass through real numbers, exactly.
        if size > 1 << 24 || conv.c * conv.h * conv.w > 1 << 24 {
            return None;
        }
        let mut place = vec![BORDER; size];
        for (i, place) in place[..high * row].iter_mut().enumerate() {
            let (y, x, c) = (i / row, i % row / conv.c, i % conv.c);
            let (y, x) = (y.wrapping_sub(before[0]), x.wrapping_sub(before[1]));
            if y < conv.h && x < conv.w {
                *place = (((c * conv.h + y) * conv.w + x) * LANES) as u32;
            }
        }
        let narrow = conv.kw * conv.c;
        let wide = narrow.next_multiple_of(LANES);
        // Neighbours in the list are far apart in the image: what one stores, the next does not wait for.
        let reach =
            [conv.kh + spread.kernel[0] - 1, (wide + (spread.kernel[1] - 1) * conv.c).div_ceil(conv.c)];
        let base = |[p, q]: [usize; 2]| (p * spread.stride[0] * row + q * spread.stride[1] * conv.c) as f32;
        let windows = apart(spread.windows, spread.stride, reach);
        let windows: Vec<_> =
            windows.into_iter().map(|w| ((w[0] * spread.windows[1] + w[1]) as u32, base(w))).collect();
        let group = (LIST / windows.len()).clamp(1, conv.o);
        Some(Plan { conv, spread, row, size, narrow, wide, place, windows, group })
    }

    /// Cotangents of a channel and an example.
    fn cells(&self) -> usize {
        self.windows.len()
    }
    /// Room for an example's lists; a register more is written.
    fn list(&self) -> usize {
        (self.group * self.cells() + LANES).next_multiple_of(LANES)
    }
    /// Bytes for lists and images.
    fn scratch(&self) -> usize {
        room::<f32>(LANES * self.size)
            + 2 * room::<f32>(LANES * self.list())
            + room::<usize>(LANES * (self.group + 1))
            + 4 * room::<f32>(SQUARE)
            + room::<f32>(LANES)
    }
    /// Numbers of the kernels of all output channels, rows filled up.
    fn kernels(&self) -> usize {
        self.conv.o * self.conv.kh * self.wide
    }
}

/// All windows, each as far from the ones right before it as can be found quickly.
fn apart(windows: [usize; 2], stride: [usize; 2], reach: [usize; 2]) -> Vec<[usize; 2]> {
    let mut left: Vec<[usize; 2]> =
        (0..windows[0]).flat_map(|p| (0..windows[1]).map(move |q| [p, q])).collect();
    let mut order: Vec<[usize; 2]> = Vec::with_capacity(left.len());
    while !left.is_empty() {
        let meets = |a: [usize; 2], b: [usize; 2]| (0..2).all(|i| a[i].abs_diff(b[i]) * stride[i] < reach[i]);
        // The nearer in the list, the worse.
        let cost = |w: [usize; 2]| -> usize {
            order.iter().rev().take(6).enumerate().map(|(i, o)| usize::from(meets(w, *o)) << (6 - i)).sum()
        };
        let best = (0..left.len().min(256)).min_by_key(|i| cost(left[*i])).unwrap_or(0);
        order.push(left.remove(best));
    }
    order
}

/// Working memory for lists and images.
struct Room<'a> {
    /// `[16][size]`: an image an example.
    images: &'a mut [f32],
    /// `[16][list]`: cotangents, and the addresses of their maxima.
    g: &'a mut [f32],
    /// Whole numbers, as they are in memory.
    at: &'a mut [f32],
    /// `[16][group + 1]`: where each channel's list begins, and the last one ends.
    ends: &'a mut [usize],
    squares: [&'a mut [f32]; 4],
    /// Not 0 for examples whose cotangent is not finite.
    wild: &'a mut [f32],
}

impl<'a> Room<'a> {
    fn of(scratch: &mut Scratch<'a>, plan: &Plan) -> Self {
        Room {
            images: scratch.take(LANES * plan.size),
            g: scratch.take(LANES * plan.list()),
            at: scratch.take(LANES * plan.list()),
            ends: scratch.take(LANES * (plan.group + 1)),
            squares: [(); 4].map(|()| scratch.take(SQUARE)),
            wild: scratch.take(LANES),
        }
    }

    /// List the cotangents of `count` channels from `first` on that are not 0.
    ///
    /// # Safety
    /// The processor has `V`'s instruction set; `g` and `idx` hold all channels.
    #[inline(always)]
    unsafe fn list<V: Lane<f32>>(&mut self, plan: &Plan, first: usize, count: usize, g: &[f32], idx: &[u8]) {
        let (cells, list, [kh, kw]) = (plan.cells(), plan.list(), plan.spread.kernel);
        let [zero, near, turned, far] = &mut self.squares;
        zero[..LANES].fill(0.0);
        self.wild.fill(0.0);
        (0..LANES).for_each(|e| self.ends[e * (plan.group + 1)] = 0);
        let last = (kh * kw - 1) as f32;
        let jump = plan.row as f32 - (kw * plan.conv.c) as f32;
        // SAFETY: windows are fewer than `cells`, so reads stay inside the channel; an example's list has room for
        // all cotangents of the group and a register.
        unsafe {
            let to: [*mut f32; LANES] = std::array::from_fn(|e| turned.as_mut_ptr().add(e * LANES));
            let to_at: [*mut f32; LANES] = std::array::from_fn(|e| far.as_mut_ptr().add(e * LANES));
            let rows: [*const f32; LANES] =
                std::array::from_fn(|i| near.as_mut_ptr().add(i * LANES).cast_const());
            for o in 0..count {
                let mut ends: [usize; LANES] = std::array::from_fn(|e| self.ends[e * (plan.group + 1) + o]);
                for windows in plan.windows.chunks(LANES) {
                    let mut from = [zero.as_ptr(); LANES];
                    for (i, &(window, base)) in windows.iter().enumerate() {
                        let here = ((first + o) * cells + window as usize) * LANES;
                        from[i] = g.as_ptr().add(here);
                        for lane in (0..LANES).step_by(V::N) {
                            let wild = self.wild.as_mut_ptr().add(lane);
                            V::load(from[i].add(lane)).mul_add(V::zero(), V::load(wild)).store(wild);
                            // A place outside the window counts as its last.
                            let cell = V::load_whole(idx.as_ptr().add(here + lane)).min(V::splat(last));
                            let mut at = cell.mul_add(V::splat(plan.conv.c as f32), V::splat(base));
                            for u in 1..kh {
                                let edge = V::splat((u * kw) as f32 - 0.5);
                                at = cell.where_greater(edge, at.add(V::splat(jump)), at);
                            }
                            at.store_whole(near.as_mut_ptr().add(i * LANES + lane).cast::<i32>());
                        }
                    }
                    V::transpose(&from, windows.len(), &to, LANES);
                    V::transpose(&rows, windows.len(), &to_at, LANES);
                    for e in 0..LANES {
                        for i in (e * LANES..(e + 1) * LANES).step_by(V::N) {
                            let g = V::load(turned.as_ptr().add(i));
                            let end = e * list + ends[e];
                            V::load(far.as_ptr().add(i)).store_kept(g, self.at.as_mut_ptr().add(end));
                            ends[e] += g.store_kept(g, self.g.as_mut_ptr().add(end));
                        }
                    }
                }
                (0..LANES).for_each(|e| self.ends[e * (plan.group + 1) + o + 1] = ends[e]);
            }
        }
    }

    /// Images of all examples, channels last, from lanes.
    ///
    /// # Safety
    /// The processor has `V`'s instruction set; `x` is an image in lanes.
    #[inline(always)]
    unsafe fn read<V: Lane<f32>>(&mut self, plan: &Plan, x: &[f32]) {
        let zero = &mut self.squares[0];
        zero[..LANES].fill(0.0);
        for (i, places) in plan.place.chunks_exact(LANES).enumerate() {
            // SAFETY: places lie in the image, and there are as many squares as an example's image has.
            unsafe {
                let from: [*const f32; LANES] = std::array::from_fn(|k| match places[k] {
                    BORDER => zero.as_ptr(),
                    at => x.as_ptr().add(at as usize),
                });
                let images = self.images.as_mut_ptr().add(i * LANES);
                let to: [*mut f32; LANES] = std::array::from_fn(|e| images.add(e * plan.size));
                V::transpose(&from, LANES, &to, LANES);
            }
        }
    }

    /// Lanes from the images of all examples; borders are dropped.
    ///
    /// # Safety
    /// As above.
    #[inline(always)]
    unsafe fn write<V: Lane<f32>>(&mut self, plan: &Plan, x: &mut [f32]) {
        let waste = self.squares[0].as_mut_ptr();
        for (i, places) in plan.place.chunks_exact(LANES).enumerate() {
            // SAFETY: as above.
            unsafe {
                let images = self.images.as_ptr().add(i * LANES);
                let from: [*const f32; LANES] = std::array::from_fn(|e| images.add(e * plan.size));
                let to: [*mut f32; LANES] = std::array::from_fn(|k| match places[k] {
                    BORDER => waste,
                    at => x.as_mut_ptr().add(at as usize),
                });
                V::transpose(&from, LANES, &to, LANES);
            }
        }
    }
}

/// The lists of one example, and a tile of kernel rows × registers that they are walked with.
#[derive(Clone, Copy)]
struct Pass<'a> {
    plan: &'a Plan,
    /// Where each channel's list begins and ends.
    ends: &'a [usize],
    g: *const f32,
    at: *const i32,
    /// The tile's first number in the image, and in the kernel of the first channel.
    image: *mut f32,
    kernel: *mut f32,
}

/// Which of the two, with so many rows and registers: a function of its own.
struct Tile<'a, const WEIGHT: bool, const R: usize, const Q: usize>(Pass<'a>);

impl<const WEIGHT: bool, const R: usize, const Q: usize> Kernel<f32> for Tile<'_, WEIGHT, R, Q> {
    #[inline(always)]
    unsafe fn run<V: Lane<f32>>(self) {
        let Pass { plan, ends, g, at, image, mut kernel } = self.0;
        for ends in ends.windows(2) {
            // SAFETY: `V`'s instruction set is here, as the caller promises; lists hold addresses of kernel rows inside
            // the image, and kernels and images have room for whole registers.
            unsafe {
                let mut tile = [[V::zero(); Q]; R];
                for r in 0..R {
                    for q in 0..Q {
                        tile[r][q] = V::load(kernel.add(r * plan.wide + q * V::N));
                    }
                }
                for i in ends[0]..ends[1] {
                    let (g, x) = (V::splat(*g.add(i)), image.add(*at.add(i) as usize));
                    for r in 0..R {
                        for q in 0..Q {
                            let x = x.add(r * plan.row + q * V::N);
                            if WEIGHT {
                                tile[r][q] = V::load(x).mul_add(g, tile[r][q]);
                            } else {
                                tile[r][q].mul_add(g, V::load(x)).store(x);
                            }
                        }
                    }
                }
                if WEIGHT {
                    for r in 0..R {
                        for q in 0..Q {
                            tile[r][q].store(kernel.add(r * plan.wide + q * V::N));
                        }
                    }
                }
                kernel = kernel.wrapping_add(plan.conv.kh * plan.wide);
            }
        }
    }
}

impl Pass<'_> {
    /// All tiles of the kernel.
    #[inline(always)]
    fn run<V: Lane<f32>, const WEIGHT: bool>(&self) {
        let plan = self.plan;
        let most = if V::REGISTERS == 32 { 20 } else { 12 };
        for columns in even(plan.narrow.div_ceil(V::N), if V::REGISTERS == 32 { 6 } else { 4 }) {
            for rows in even(plan.conv.kh, (most / columns.len()).min(5)) {
                let mut pass = *self;
                pass.image = pass.image.wrapping_add(rows.start * plan.row + columns.start * V::N);
                pass.kernel = pass.kernel.wrapping_add(rows.start * plan.wide + columns.start * V::N);
                macro_rules! tiles {
                    ($($r:literal $q:literal),*) => {
                        match (rows.len(), columns.len()) {
                            $(($r, $q) => dispatch(Tile::<WEIGHT, $r, $q>(pass)),)*
                            (r, q) => unreachable!("no tile of {r} rows and {q} registers"),
                        }
                    };
                }
                tiles!(
                    1 1, 1 2, 1 3, 1 4, 1 5, 1 6, 2 1, 2 2, 2 3, 2 4, 2 5, 2 6, 3 1, 3 2, 3 3, 3 4, 3 5, 3 6,
                    4 1, 4 2, 4 3, 4 4, 4 5, 5 1, 5 2, 5 3, 5 4
                );
            }
        }
    }

    /// The input gradient where a cotangent is not finite: nothing is added beside the kernel's rows.
    fn careful(&self) {
        let Pass { plan, ends, g, at, image, kernel } = *self;
        for (o, ends) in ends.windows(2).enumerate() {
            for (i, r) in (ends[0]..ends[1]).flat_map(|i| (0..plan.conv.kh).map(move |r| (i, r))) {
                // SAFETY: as for the tiles.
                unsafe {
                    let row = kernel.add((o * plan.conv.kh + r) * plan.wide);
                    let x = image.add(*at.add(i) as usize + r * plan.row);
                    (0..plan.narrow).for_each(|k| *x.add(k) += *g.add(i) * *row.add(k));
                }
            }
        }
    }
}

/// The kernel of the adjoint in the weight: operands `x`, cotangents of the pool, places.
pub(crate) fn weight_gradient(conv: Conv, spread: Spread) -> Option<Lanes> {
    let plan = Plan::new(conv, spread)?;
    let scratch = plan.scratch() + room::<f32>(plan.kernels());
    let run = move |call: Call<'_>| {
        let [x, g, idx] = call.inputs else { unreachable!("image, cotangent and places") };
        let (x, g, idx) = (x.packed::<f32>(), g.packed::<f32>(), idx.packed::<u8>());
        let (dw, accumulate, scratch) = (call.outputs[0].slice(), call.accumulate, call.scratch);
        dispatch(WeightGradient { plan: &plan, x, g, idx, dw, accumulate, scratch });
    };
    Some(Lanes { scratch, run: Box::new(run) })
}

struct WeightGradient<'a> {
    plan: &'a Plan,
    x: &'a [f32],
    g: &'a [f32],
    idx: &'a [u8],
    dw: &'a mut [f32],
    accumulate: bool,
    scratch: &'a mut [u8],
}

impl Kernel<f32> for WeightGradient<'_> {
    #[inline(always)]
    unsafe fn run<V: Lane<f32>>(self) {
        let WeightGradient { plan, x, g, idx, dw, accumulate, scratch } = self;
        let Conv { c, h, w, o, kh, kw, .. } = plan.conv;
        let mut scratch = Scratch::new(scratch);
        let mut room = Room::of(&mut scratch, plan);
        let sums = scratch.take::<f32>(plan.kernels());
        assert_eq!(x.len(), c * h * w * LANES);
        assert_eq!([g.len(), idx.len()], [o * plan.cells() * LANES; 2]);
        assert_eq!(dw.len(), o * c * kh * kw);
        sums.fill(0.0);
        // SAFETY: `V`'s instruction set is here, as the caller promises, and the operands are as long as they must be.
        unsafe { room.read::<V>(plan, x) };
        for first in (0..o).step_by(plan.group) {
            let count = plan.group.min(o - first);
            // SAFETY: as above.
            unsafe { room.list::<V>(plan, first, count, g, idx) };
            for e in 0..LANES {
                let (list, image) = (e * plan.list(), e * plan.size);
                let pass = Pass {
                    plan,
                    ends: &room.ends[e * (plan.group + 1)..][..count + 1],
                    g: room.g[list..].as_ptr(),
                    at: room.at[list..].as_ptr().cast(),
                    image: room.images[image..].as_mut_ptr(),
                    kernel: sums[first * kh * plan.wide..].as_mut_ptr(),
                };
                pass.run::<V, true>();
            }
        }
        for (dw, sums) in dw.chunks_exact_mut(c * kh * kw).zip(sums.chunks_exact(kh * plan.wide)) {
            for (u, row) in sums.chunks_exact(plan.wide).enumerate() {
                for (v, cell) in row[..plan.narrow].chunks_exact(c).enumerate() {
                    let to = dw[u * kw + v..].iter_mut().step_by(kh * kw);
                    if accumulate {
                        to.zip(cell).for_each(|(y, x)| *y += x);
                    } else {
                        to.zip(cell).for_each(|(y, x)| *y = *x);
                    }
                }
            }
        }
    }
}

/// The kernel of the adjoint in the input: operands cotangents of the pool, places, `w`.
pub(crate) fn input_gradient(conv: Conv, spread: Spread) -> Option<Lanes> {
    let plan = Plan::new(conv, spread)?;
    let scratch = plan.scratch() + room::<f32>(plan.kernels());
    let run = move |call: Call<'_>| {
        let [g, idx, w] = call.inputs else { unreachable!("cotangent, places and weight") };
        let (g, idx, w) = (g.packed::<f32>(), idx.packed::<u8>(), w.packed::<f32>());
        dispatch(InputGradient {
            plan: &plan,
            g,
            idx,
            w,
            dx: call.outputs[0].slice(),
            scratch: call.scratch,
        });
    };
    Some(Lanes { scratch, run: Box::new(run) })
}

struct InputGradient<'a> {
    plan: &'a Plan,
    g: &'a [f32],
    idx: &'a [u8],
    w: &'a [f32],
    dx: &'a mut [f32],
    scratch: &'a mut [u8],
}

impl Kernel<f32> for InputGradient<'_> {
    #[inline(always)]
    unsafe fn run<V: Lane<f32>>(self) {
        let InputGradient { plan, g, idx, w: weight, dx, scratch } = self;
        let Conv { c, h, w, o, kh, kw, .. } = plan.conv;
        let mut scratch = Scratch::new(scratch);
        let mut room = Room::of(&mut scratch, plan);
        let kernels = scratch.take::<f32>(plan.kernels());
        assert_eq!(dx.len(), c * h * w * LANES);
        assert_eq!([g.len(), idx.len()], [o * plan.cells() * LANES; 2]);
        assert_eq!(weight.len(), o * c * kh * kw);
        for (weight, kernel) in weight.chunks_exact(c * kh * kw).zip(kernels.chunks_exact_mut(kh * plan.wide))
        {
            for (u, row) in kernel.chunks_exact_mut(plan.wide).enumerate() {
                row[plan.narrow..].fill(0.0);
                for (v, cell) in row[..plan.narrow].chunks_exact_mut(c).enumerate() {
                    let from = weight[u * kw + v..].iter().step_by(kh * kw);
                    cell.iter_mut().zip(from).for_each(|(y, x)| *y = *x);
                }
            }
        }
        for first in (0..o).step_by(plan.group) {
            let count = plan.group.min(o - first);
            // SAFETY: `V`'s instruction set is here, as the caller promises, and the operands are as long as they
            // must be.
            unsafe { room.list::<V>(plan, first, count, g, idx) };
            for e in 0..LANES {
                let (list, image) = (e * plan.list(), e * plan.size);
                if first == 0 {
                    room.images[image..][..plan.size].fill(0.0);
                }
                let pass = Pass {
                    plan,
                    ends: &room.ends[e * (plan.group + 1)..][..count + 1],
                    g: room.g[list..].as_ptr(),
                    at: room.at[list..].as_ptr().cast(),
                    image: room.images[image..].as_mut_ptr(),
                    kernel: kernels[first * kh * plan.wide..].as_mut_ptr(),
                };
                if room.wild[e] == 0.0 {
                    pass.run::<V, false>();
                } else {
                    pass.careful();
                }
            }
        }
        // SAFETY: as above.
        unsafe { room.write::<V>(plan, dx) };
    }
}
