//! The adjoints of a convolution behind which a max pool stands, for sixteen examples side by side.
//!
//! The output's cotangent is 0 but at one cell a window, so it is never written: each example's image lies channels
//! last, `[h][w][c]`, where the `kw·c` numbers of a kernel row are neighbours, and each cotangent that is not 0 meets
//! the `kh` rows at its maximum: in the image for the weight's gradient, in the image's gradient for that, in both at
//! once where both are wanted. Zeros are left out: unlike with the dense kernels, 0·∞ adds nothing.
#![allow(unsafe_code)]
// Tiles of registers are indexed as the formulas are.
#![allow(clippy::needless_range_loop)]

use super::{cpu::Conv, lanes::even};
use crate::{
    device::cpu::{
        Call,
        arena::{Scratch, room},
        isa::Isa,
        lane::{Kernel, Lane, current, dispatch, dispatch_on},
    },
    ops::{LANES, Lanes, pool::lanes::Spread},
};

/// A square of sixteen examples and sixteen elements.
const SQUARE: usize = LANES * LANES;
/// The most cotangents that an example's lists hold at a time.
const LIST: usize = 4 << 10;
/// The place of a zero in the border.
const BORDER: u32 = u32::MAX;

/// In which order the cotangents of a channel are listed.
struct Listing {
    /// Per cotangent: its number, and the address of its window's first cell in the image.
    items: Vec<(u32, f32)>,
    /// From one column of a window to the next among the addresses, and from one row to the next.
    cell: [f32; 2],
    /// How many channels' lists are made at a time.
    group: usize,
}

impl Listing {
    /// Neighbours in a list are far apart in the image: what one stores, the next does not wait for.
    fn new(plan: &Plan) -> Self {
        let ([c, columns], [high, across]) =
            ([plan.conv.c, plan.spread.windows[1]], plan.spread.kernel.map(|k| k - 1));
        let reach = [plan.conv.kh + high, (plan.wide + across * c).div_ceil(c)];
        let windows = apart(plan.spread.windows, plan.spread.stride, reach);
        let items = windows.into_iter().map(|w| ((w[0] * columns + w[1]) as u32, plan.base(w) as f32));
        let items: Vec<(u32, f32)> = items.collect();
        let group = (LIST / items.len()).clamp(1, plan.conv.o);
        Listing { items, cell: [c as f32, plan.row as f32], group }
    }
    /// Room for an example's lists; a register more is written.
    fn room(&self) -> usize {
        (self.group * self.items.len() + LANES).next_multiple_of(LANES)
    }
}

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
}

impl Plan {
    fn new(conv: Conv, spread: Spread) -> Option<Plan> {
        let size = [conv.c, conv.h, conv.w, conv.o, conv.kh, conv.kw, conv.oh, conv.ow];
        let plain = conv.groups == 1 && conv.stride == [1, 1] && conv.dilation == [1, 1];
        let cells = spread.kernel[0] * spread.kernel[1];
        if size.contains(&0) || !plain || cells < 4 {
            return None;
        }
        // Plain numbers one by one have no registers to keep rows in: the dense kernels do that as well.
        if current() < Isa::Avx2 {
            return None;
        }
        let before = [conv.padding[0][0], conv.padding[1][0]];
        let [high, across] = [conv.oh + conv.kh - 1, conv.ow + conv.kw - 1];
        let row = across * conv.c;
        // The last kernel row of the last window fills its registers too.
        let size = (high * row + LANES).next_multiple_of(LANES);
        // Addresses pass through real numbers, exactly.
        if size.max(conv.c * conv.h * conv.w) > 1 << 24 {
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
        Some(Plan { conv, spread, row, size, narrow, wide, place })
    }

    /// Multiplications that the dense kernels do for a window.
    fn work(&self) -> usize {
        self.spread.kernel[0] * self.spread.kernel[1] * self.conv.kh * self.narrow
    }
    /// Cotangents of a channel and an example.
    fn cells(&self) -> usize {
        self.spread.windows.iter().product()
    }
    /// The address of a window's first cell in an image.
    fn base(&self, [p, q]: [usize; 2]) -> usize {
        p * self.spread.stride[0] * self.row + q * self.spread.stride[1] * self.conv.c
    }
    /// Bytes for one image or two, and lists.
    fn scratch(&self, listing: &Listing, images: usize) -> usize {
        images * room::<f32>(LANES * self.size)
            + 2 * room::<f32>(LANES * listing.room())
            + room::<usize>(LANES * (listing.group + 1))
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
    /// `[16][size]`: an image an example; empty where the weight's gradient is not wanted.
    images: &'a mut [f32],
    /// `[16][size]`: its gradient; likewise.
    slopes: &'a mut [f32],
    /// `[16][room]`: cotangents, and addresses for them.
    g: &'a mut [f32],
    /// Whole numbers, as they are in memory.
    at: &'a mut [f32],
    /// `[16][group + 1]`: where each list begins, and the last one ends.
    ends: &'a mut [usize],
    squares: [&'a mut [f32]; 4],
    /// Not 0 for examples of which a listed cotangent is not finite.
    wild: &'a mut [f32],
}

impl<'a> Room<'a> {
    fn of(scratch: &mut Scratch<'a>, plan: &Plan, listing: &Listing, [images, slopes]: [bool; 2]) -> Self {
        Room {
            images: scratch.take(usize::from(images) * LANES * plan.size),
            slopes: scratch.take(usize::from(slopes) * LANES * plan.size),
            g: scratch.take(LANES * listing.room()),
            at: scratch.take(LANES * listing.room()),
            ends: scratch.take(LANES * (listing.group + 1)),
            squares: [(); 4].map(|()| scratch.take(SQUARE)),
            wild: scratch.take(LANES),
        }
    }

    /// Lists of `count` channels from `first` on, of the cotangents that are not 0.
    ///
    /// # Safety
    /// The processor has `V`'s instruction set; `g` and `idx` hold all cotangents of the listing.
    #[inline(always)]
    unsafe fn list<V: Lane<f32>>(
        &mut self,
        plan: &Plan,
        listing: &Listing,
        [first, count]: [usize; 2],
        g: &[f32],
        idx: &[u8],
    ) {
        let (room, all, [kh, kw]) = (listing.room(), listing.group + 1, plan.spread.kernel);
        let [zero, near, turned, far] = &mut self.squares;
        zero[..LANES].fill(0.0);
        self.wild.fill(0.0);
        (0..LANES).for_each(|e| self.ends[e * all] = 0);
        let (last, [step, down]) = ((kh * kw - 1) as f32, listing.cell);
        let jump = down - kw as f32 * step;
        // SAFETY: items lie inside `g` and `idx`; an example's lists have room for all cotangents of the group and a
        // register.
        unsafe {
            let to: [*mut f32; LANES] = std::array::from_fn(|e| turned.as_mut_ptr().add(e * LANES));
            let to_at: [*mut f32; LANES] = std::array::from_fn(|e| far.as_mut_ptr().add(e * LANES));
            let rows: [*const f32; LANES] =
                std::array::from_fn(|i| near.as_mut_ptr().add(i * LANES).cast_const());
            for list in 0..count {
                let mut ends: [usize; LANES] = std::array::from_fn(|e| self.ends[e * all + list]);
                for items in listing.items.chunks(LANES) {
                    let mut from = [zero.as_ptr(); LANES];
                    for (i, &(item, base)) in items.iter().enumerate() {
                        let here = ((first + list) * plan.cells() + item as usize) * LANES;
                        from[i] = g.as_ptr().add(here);
                        for lane in (0..LANES).step_by(V::N) {
                            let wild = self.wild.as_mut_ptr().add(lane);
                            V::load(from[i].add(lane)).mul_add(V::zero(), V::load(wild)).store(wild);
                            // A place outside the window counts as its last.
                            let cell = V::load_whole(idx.as_ptr().add(here + lane)).min(V::splat(last));
                            let mut at = cell.mul_add(V::splat(step), V::splat(base));
                            for u in 1..kh {
                                let edge = V::splat((u * kw) as f32 - 0.5);
                                at = cell.where_greater(edge, at.add(V::splat(jump)), at);
                            }
                            at.store_whole(near.as_mut_ptr().add(i * LANES + lane).cast::<i32>());
                        }
                    }
                    V::transpose(&from, items.len(), &to, LANES);
                    V::transpose(&rows, items.len(), &to_at, LANES);
                    for e in 0..LANES {
                        for i in (e * LANES..(e + 1) * LANES).step_by(V::N) {
                            let g = V::load(turned.as_ptr().add(i));
                            let end = e * room + ends[e];
                            V::load(far.as_ptr().add(i)).store_kept(g, self.at.as_mut_ptr().add(end));
                            ends[e] += g.store_kept(g, self.g.as_mut_ptr().add(end));
                        }
                    }
                }
                (0..LANES).for_each(|e| self.ends[e * all + list + 1] = ends[e]);
            }
        }
    }

    /// The lists of example `e`, to be walked with its images and the kernels of these channels.
    fn pass<'p>(
        &'p mut self,
        plan: &'p Plan,
        listing: &Listing,
        [e, count]: [usize; 2],
        sums: &mut [f32],
        kernels: &[f32],
    ) -> Pass<'p> {
        let (list, image) = (e * listing.room(), e * plan.size);
        Pass {
            plan,
            ends: &self.ends[e * (listing.group + 1)..][..count + 1],
            g: self.g[list..].as_ptr(),
            at: self.at[list..].as_ptr().cast(),
            image: self.images.as_ptr().wrapping_add(image),
            slope: self.slopes.as_mut_ptr().wrapping_add(image),
            sum: sums.as_mut_ptr(),
            kernel: kernels.as_ptr(),
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

    /// Lanes from the images' gradients of all examples; borders are dropped.
    ///
    /// # Safety
    /// As above.
    #[inline(always)]
    unsafe fn write<V: Lane<f32>>(&mut self, plan: &Plan, x: &mut [f32]) {
        let waste = self.squares[0].as_mut_ptr();
        for (i, places) in plan.place.chunks_exact(LANES).enumerate() {
            // SAFETY: as above.
            unsafe {
                let slopes = self.slopes.as_ptr().add(i * LANES);
                let from: [*const f32; LANES] = std::array::from_fn(|e| slopes.add(e * plan.size));
                let to: [*mut f32; LANES] = std::array::from_fn(|k| match places[k] {
                    BORDER => waste,
                    at => x.as_mut_ptr().add(at as usize),
                });
                V::transpose(&from, LANES, &to, LANES);
            }
        }
    }
}

/// The lists of one example, and a tile of rows × registers that they are walked with.
#[derive(Clone, Copy)]
struct Pass<'a> {
    plan: &'a Plan,
    /// Where each list begins and ends.
    ends: &'a [usize],
    g: *const f32,
    at: *const i32,
    /// The tile's first number in the image and in its gradient.
    image: *const f32,
    slope: *mut f32,
    /// The tile's first number in the weight's gradient of the first channel, and in its kernel.
    sum: *mut f32,
    kernel: *const f32,
}

/// `sum[o] += Σ g · image[at]`.
const WEIGHT: u8 = 1;
/// `slope[at] += g · kernel[o]`.
const INPUT: u8 = 2;
const BOTH: u8 = WEIGHT | INPUT;

/// Which of them, with so many rows and registers: a function of its own.
struct Tile<'a, const KIND: u8, const R: usize, const Q: usize>(Pass<'a>);

impl<const KIND: u8, const R: usize, const Q: usize> Kernel<f32> for Tile<'_, KIND, R, Q> {
    const LEAST: Isa = Isa::Avx2;

    #[inline(always)]
    unsafe fn run<V: Lane<f32>>(self) {
        let Pass { plan, ends, g, at, image, slope, mut sum, mut kernel } = self.0;
        let (weight, input) = (KIND & WEIGHT != 0, KIND & INPUT != 0);
        for ends in ends.windows(2) {
            // SAFETY: `V`'s instruction set is here, as the caller promises; lists hold addresses inside the images,
            // which have room for whole registers behind, as kernels and sums have.
            unsafe {
                let (mut s, mut k) = ([[V::zero(); Q]; R], [[V::zero(); Q]; R]);
                for r in 0..R {
                    for q in 0..Q {
                        let here = r * plan.wide + q * V::N;
                        if weight {
                            s[r][q] = V::load(sum.add(here));
                        }
                        if input {
                            k[r][q] = V::load(kernel.add(here));
                        }
                    }
                }
                for i in ends[0]..ends[1] {
                    let (g, at) = (V::splat(*g.add(i)), *at.add(i) as usize);
                    for r in 0..R {
                        for q in 0..Q {
                            let there = at + r * plan.row + q * V::N;
                            if weight {
                                s[r][q] = V::load(image.add(there)).mul_add(g, s[r][q]);
                            }
                            if input {
                                let x = slope.add(there);
                                k[r][q].mul_add(g, V::load(x)).store(x);
                            }
                        }
                    }
                }
                for r in 0..R {
                    for q in 0..Q {
                        if weight {
                            s[r][q].store(sum.add(r * plan.wide + q * V::N));
                        }
                    }
                }
                (sum, kernel) = (
                    sum.wrapping_add(plan.conv.kh * plan.wide),
                    kernel.wrapping_add(plan.conv.kh * plan.wide),
                );
            }
        }
    }
}

impl Pass<'_> {
    /// All tiles of a kernel.
    fn run<const KIND: u8>(&self) {
        let plan = self.plan;
        // Half a register is enough for narrow rows, and crosses fewer lines of the cache.
        let isa = if plan.narrow <= 8 { current().min(Isa::Avx2) } else { current() };
        let (n, registers) = if isa == Isa::Avx512 { (16, 24) } else { (8, 12) };
        let most = if KIND == BOTH { registers / 2 } else { registers };
        for columns in even(plan.narrow.div_ceil(n), 2) {
            for rows in even(plan.conv.kh, (most / columns.len()).min(6)) {
                let (there, here) =
                    (rows.start * plan.row + columns.start * n, rows.start * plan.wide + columns.start * n);
                let pass = Pass {
                    image: self.image.wrapping_add(there),
                    slope: self.slope.wrapping_add(there),
                    sum: self.sum.wrapping_add(here),
                    kernel: self.kernel.wrapping_add(here),
                    ..*self
                };
                macro_rules! tiles {
                    ($($r:literal $q:literal),*) => {
                        match (rows.len(), columns.len()) {
                            $(($r, $q) => dispatch_on(isa, Tile::<KIND, $r, $q>(pass)),)*
                            (r, q) => unreachable!("no tile of {r} rows and {q} registers"),
                        }
                    };
                }
                tiles!(1 1, 1 2, 2 1, 2 2, 3 1, 3 2, 4 1, 4 2, 5 1, 5 2, 6 1, 6 2);
            }
        }
    }

    /// [`INPUT`] where a cotangent is not finite: nothing is added beside the kernel's rows.
    fn input_careful(&self) {
        let Pass { plan, ends, g, at, slope, kernel, .. } = *self;
        for (o, ends) in ends.windows(2).enumerate() {
            for (i, r) in (ends[0]..ends[1]).flat_map(|i| (0..plan.conv.kh).map(move |r| (i, r))) {
                // SAFETY: as for the tiles.
                unsafe {
                    let row = kernel.add((o * plan.conv.kh + r) * plan.wide);
                    let x = slope.add(*at.add(i) as usize + r * plan.row);
                    (0..plan.narrow).for_each(|k| *x.add(k) += *g.add(i) * *row.add(k));
                }
            }
        }
    }
}

/// What the adjoint in the weight needs to pay: narrower kernel rows leave most of a register empty.
fn weight_pays(plan: &Plan) -> bool {
    plan.narrow >= 8 && plan.work() >= 104
}
/// That in the input: where there is little to leave out, the lists cost more.
fn input_pays(plan: &Plan) -> bool {
    plan.work() >= 192
}

/// The adjoint in the weight: operands `x`, cotangents of the pool, places.
pub(crate) fn weight_gradient(conv: Conv, spread: Spread) -> Option<Lanes> {
    let plan = Plan::new(conv, spread).filter(weight_pays)?;
    Some(plan.kernel([true, false], |[x, g, idx]| [g, idx, x, x]))
}

/// The adjoint in the input: operands cotangents of the pool, places, `w`.
pub(crate) fn input_gradient(conv: Conv, spread: Spread) -> Option<Lanes> {
    let plan = Plan::new(conv, spread).filter(input_pays)?;
    Some(plan.kernel([false, true], |[g, idx, w]| [g, idx, w, w]))
}

/// Both: operands cotangents of the pool, places, `w`, `x`; outputs the input's gradient and the weight's.
pub(crate) fn gradients(conv: Conv, spread: Spread) -> Option<Lanes> {
    let plan = Plan::new(conv, spread).filter(|p| weight_pays(p) && input_pays(p))?;
    Some(plan.kernel([true, true], |[g, idx, w, x]| [g, idx, w, x]))
}

impl Plan {
    /// The kernel of the adjoints that are wanted, in the weight and in the input; `order` gives cotangents, places,
    /// `w` and `x`.
    fn kernel<const N: usize>(
        self,
        wanted @ [weight, input]: [bool; 2],
        order: impl Fn([usize; N]) -> [usize; 4],
    ) -> Lanes {
        let (listing, order) = (Listing::new(&self), order(std::array::from_fn(|i| i)));
        let both = usize::from(weight) + usize::from(input);
        let scratch = self.scratch(&listing, both) + both * room::<f32>(self.kernels());
        let run = move |call: Call<'_>| {
            let [g, idx, w, x] = order.map(|i| &call.inputs[i]);
            let (dx, dw) = match call.outputs {
                [dx, dw] => (dx.slice(), dw.slice()),
                [dw] if weight => (&mut [][..], dw.slice()),
                [dx] => (dx.slice(), &mut [][..]),
                _ => unreachable!("one gradient or two"),
            };
            dispatch(Gradients {
                plan: &self,
                listing: &listing,
                wanted,
                g: g.packed(),
                idx: idx.packed(),
                w: if input { w.packed() } else { &[] },
                x: if weight { x.packed() } else { &[] },
                dx,
                dw,
                accumulate: call.accumulate,
                scratch: call.scratch,
            });
        };
        Lanes { scratch, run: Box::new(run) }
    }
}

struct Gradients<'a> {
    plan: &'a Plan,
    listing: &'a Listing,
    /// In the weight, in the input.
    wanted: [bool; 2],
    g: &'a [f32],
    idx: &'a [u8],
    w: &'a [f32],
    x: &'a [f32],
    dx: &'a mut [f32],
    dw: &'a mut [f32],
    accumulate: bool,
    scratch: &'a mut [u8],
}

impl Kernel<f32> for Gradients<'_> {
    const LEAST: Isa = Isa::Avx2;

    #[inline(always)]
    unsafe fn run<V: Lane<f32>>(self) {
        let Gradients { plan, listing, wanted, g, idx, w, x, dx, dw, accumulate, scratch } = self;
        let [weight, input] = wanted;
        let Conv { c, h, w: wide, o, kh, kw, .. } = plan.conv;
        assert_eq!([g.len(), idx.len()], [o * plan.cells() * LANES; 2]);
        assert_eq!(
            [x.len(), dw.len()],
            if weight { [c * h * wide * LANES, o * c * kh * kw] } else { [0; 2] }
        );
        assert_eq!([dx.len(), w.len()], if input { [c * h * wide * LANES, o * c * kh * kw] } else { [0; 2] });
        let mut scratch = Scratch::new(scratch);
        let mut room = Room::of(&mut scratch, plan, listing, wanted);
        let sums = scratch.take::<f32>(usize::from(weight) * plan.kernels());
        let kernels = scratch.take::<f32>(usize::from(input) * plan.kernels());
        sums.fill(0.0);
        room.slopes.fill(0.0);
        if weight {
            // SAFETY: `V`'s instruction set is here, as the caller promises, and the operands are as long as they must
            // be.
            unsafe { room.read::<V>(plan, x) };
        }
        if input {
            pack(plan, w, kernels);
        }
        for first in (0..o).step_by(listing.group) {
            let count = listing.group.min(o - first);
            // SAFETY: as above.
            unsafe { room.list::<V>(plan, listing, [first, count], g, idx) };
            for e in 0..LANES {
                let wild = room.wild[e] != 0.0;
                let begin = first * kh * plan.wide;
                let sums = sums.get_mut(begin..).unwrap_or_default();
                let kernels = kernels.get(begin..).unwrap_or_default();
                let pass = room.pass(plan, listing, [e, count], sums, kernels);
                match wanted {
                    [true, true] if !wild => pass.run::<BOTH>(),
                    [true, false] => pass.run::<WEIGHT>(),
                    [false, true] if !wild => pass.run::<INPUT>(),
                    _ => {
                        if weight {
                            pass.run::<WEIGHT>();
                        }
                        pass.input_careful();
                    }
                }
            }
        }
        if input {
            // SAFETY: as above.
            unsafe { room.write::<V>(plan, dx) };
        }
        unpack(plan, sums, dw, accumulate);
    }
}

/// Rows of `kw·c` from `[o][c][kh][kw]`.
fn pack(plan: &Plan, w: &[f32], rows: &mut [f32]) {
    let Conv { c, kh, kw, .. } = plan.conv;
    rows.fill(0.0);
    for (w, rows) in w.chunks_exact(c * kh * kw).zip(rows.chunks_exact_mut(kh * plan.wide)) {
        for (u, row) in rows.chunks_exact_mut(plan.wide).enumerate() {
            for (v, cell) in row[..plan.narrow].chunks_exact_mut(c).enumerate() {
                let from = w[u * kw + v..].iter().step_by(kh * kw);
                cell.iter_mut().zip(from).for_each(|(y, x)| *y = *x);
            }
        }
    }
}

/// And back: written, or added.
fn unpack(plan: &Plan, rows: &[f32], w: &mut [f32], accumulate: bool) {
    let Conv { c, kh, kw, .. } = plan.conv;
    for (w, rows) in w.chunks_exact_mut(c * kh * kw).zip(rows.chunks_exact(kh * plan.wide)) {
        for (u, row) in rows.chunks_exact(plan.wide).enumerate() {
            for (v, cell) in row[..plan.narrow].chunks_exact(c).enumerate() {
                let to = w[u * kw + v..].iter_mut().step_by(kh * kw);
                if accumulate {
                    to.zip(cell).for_each(|(y, x)| *y += x);
                } else {
                    to.zip(cell).for_each(|(y, x)| *y = *x);
                }
            }
        }
    }
}
