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
/// The most numbers of kernels among zeros.
const REGIONS: usize = 10 << 10;
/// The place of a zero in the border.
const BORDER: u32 = u32::MAX;

/// In which order cotangents are listed.
struct Listing {
    /// Lists of an example, and how far the first cotangent of one is from the next one's.
    lists: usize,
    step: usize,
    /// Per cotangent of a list: its distance from the first, and its address for the window's first cell.
    items: Vec<(u32, f32)>,
    /// From one column of a window to the next among the addresses, and from one row to the next.
    cell: [f32; 2],
    /// How many lists are made at a time.
    group: usize,
}

impl Listing {
    fn new(lists: usize, step: usize, items: Vec<(u32, f32)>, cell: [f32; 2]) -> Self {
        let group = (LIST / items.len()).clamp(1, lists);
        Listing { lists, step, items, cell, group }
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
    /// A list a channel, of addresses in the image.
    fn by_channel(&self) -> Listing {
        // Neighbours in the list are far apart in the image: what one stores, the next does not wait for.
        let [c, columns] = [self.conv.c, self.spread.windows[1]];
        let [high, across] = self.spread.kernel.map(|k| k - 1);
        let reach = [self.conv.kh + high, (self.wide + across * c).div_ceil(c)];
        let windows = apart(self.spread.windows, self.spread.stride, reach);
        let items = windows.into_iter().map(|w| ((w[0] * columns + w[1]) as u32, self.base(w) as f32));
        Listing::new(self.conv.o, self.cells(), items.collect(), [c as f32, self.row as f32])
    }
    /// Bytes for images and lists.
    fn scratch(&self, listing: &Listing) -> usize {
        room::<f32>(LANES * self.size)
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

/// What a window's maximum reaches, wherever it is, made in registers. The kernels stand among zeros, so that an
/// address in them says which of those cells it reaches.
struct Regions {
    /// Rows, and numbers of a row.
    size: [usize; 2],
    /// Numbers from one row of a kernel among its zeros to the next, and from kernel to kernel.
    row: usize,
    kernel: usize,
    /// From the kernels for the window's one column to those for the next, where each column has its own; else one
    /// set stands in zeros on both sides, and a column is an address.
    column: Option<usize>,
    /// Numbers of all kernels.
    all: usize,
    /// Each window's first cell in the image.
    base: Vec<usize>,
}

impl Regions {
    fn new(plan: &Plan) -> Self {
        let (Conv { c, o, kh, kw, .. }, [high, across]) = (plan.conv, plan.spread.kernel.map(|k| k - 1));
        let size = [kh + high, (kw + across) * c];
        let wide = size[1].next_multiple_of(LANES);
        // No register shall lie across two lines of the cache.
        let apart = !c.is_multiple_of(LANES);
        let row = if apart { wide } else { across * c + wide };
        // The zeros below one kernel are those above the next.
        let kernel = (kh + high) * row;
        let set = o * kernel + high * row;
        let [rows, columns] = plan.spread.windows;
        let base = (0..rows).flat_map(|p| (0..columns).map(move |q| [p, q])).map(|w| plan.base(w)).collect();
        let all = if apart { (across + 1) * set } else { set };
        Regions { size, row, kernel, column: apart.then_some(set), all, base }
    }
    /// Where a kernel's row `u` begins for column `v` of the window.
    fn at(&self, plan: &Plan, [o, u, v]: [usize; 3]) -> usize {
        let [high, across] = plan.spread.kernel.map(|k| k - 1);
        let first = self.column.map_or(across * plan.conv.c, |set| v * (set + plan.conv.c));
        o * self.kernel + (high + u) * self.row + first
    }
    /// Channel, row and column in the window, of an address.
    fn of(&self, plan: &Plan, at: usize) -> [usize; 3] {
        let [high, across] = plan.spread.kernel.map(|k| k - 1);
        let inside = at % self.column.unwrap_or(self.all);
        let v = match self.column {
            Some(set) => at / set,
            None => across - inside % self.row / plan.conv.c,
        };
        [inside / self.kernel, high - inside % self.kernel / self.row, v]
    }
    /// A list a window, of addresses in the kernels.
    fn by_window(&self, plan: &Plan) -> Listing {
        let items = (0..plan.conv.o).map(|o| ((o * plan.cells()) as u32, self.at(plan, [o, 0, 0]) as f32));
        let column = self.column.map_or(-(plan.conv.c as f32), |set| set as f32);
        Listing::new(plan.cells(), 1, items.collect(), [column, -(self.row as f32)])
    }
    /// Do they stay in registers, and their kernels in the first-level cache?
    fn pay(&self) -> bool {
        self.size[0] * self.size[1].next_multiple_of(LANES) <= 20 * LANES && self.all <= REGIONS
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
    fn of(scratch: &mut Scratch<'a>, plan: &Plan, listing: &Listing) -> Self {
        Room {
            images: scratch.take(LANES * plan.size),
            g: scratch.take(LANES * listing.room()),
            at: scratch.take(LANES * listing.room()),
            ends: scratch.take(LANES * (listing.group + 1)),
            squares: [(); 4].map(|()| scratch.take(SQUARE)),
            wild: scratch.take(LANES),
        }
    }

    /// Make `count` lists from `first` on, of the cotangents that are not 0.
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
                        let here = ((first + list) * listing.step + item as usize) * LANES;
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

    /// The lists of example `e`, to be walked with its image and these kernels.
    fn pass<'p>(
        &'p mut self,
        plan: &'p Plan,
        listing: &Listing,
        [e, count]: [usize; 2],
        kernel: &mut [f32],
        base: &'p [usize],
    ) -> Pass<'p> {
        let list = e * listing.room();
        Pass {
            plan,
            ends: &self.ends[e * (listing.group + 1)..][..count + 1],
            g: self.g[list..].as_ptr(),
            at: self.at[list..].as_ptr().cast(),
            image: self.images[e * plan.size..].as_mut_ptr(),
            kernel: kernel.as_mut_ptr(),
            rows: [plan.row, plan.wide],
            base,
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

/// The lists of one example, and a tile of rows × registers that they are walked with.
#[derive(Clone, Copy)]
struct Pass<'a> {
    plan: &'a Plan,
    /// Where each list begins and ends.
    ends: &'a [usize],
    g: *const f32,
    at: *const i32,
    /// The tile's first number in the image, and in the kernel of the first channel.
    image: *mut f32,
    kernel: *mut f32,
    /// From one row to the next in the image and in the kernel.
    rows: [usize; 2],
    /// For each list the address of its window, where lists are made by window.
    base: &'a [usize],
}

/// `kernel[list] += Σ g · image[at]`.
const WEIGHT: u8 = 0;
/// `image[at] += g · kernel[list]`.
const SCATTER: u8 = 1;
/// `image[base[list]] += Σ g · kernel[at]`.
const GATHER: u8 = 2;

/// Which of them, with so many rows and registers: a function of its own.
struct Tile<'a, const KIND: u8, const R: usize, const Q: usize>(Pass<'a>);

impl<const KIND: u8, const R: usize, const Q: usize> Kernel<f32> for Tile<'_, KIND, R, Q> {
    #[inline(always)]
    unsafe fn run<V: Lane<f32>>(self) {
        let Pass { plan, ends, g, at, image, mut kernel, rows: [image_row, kernel_row], base } = self.0;
        for (list, ends) in ends.windows(2).enumerate() {
            // SAFETY: `V`'s instruction set is here, as the caller promises; lists hold addresses inside the image or
            // the kernels, of which both have room for whole registers behind.
            unsafe {
                let mut tile = [[V::zero(); Q]; R];
                if KIND != GATHER {
                    for r in 0..R {
                        for q in 0..Q {
                            tile[r][q] = V::load(kernel.add(r * kernel_row + q * V::N));
                        }
                    }
                }
                for i in ends[0]..ends[1] {
                    let (g, at) = (V::splat(*g.add(i)), *at.add(i) as usize);
                    for r in 0..R {
                        for q in 0..Q {
                            if KIND == SCATTER {
                                let x = image.add(at + r * image_row + q * V::N);
                                tile[r][q].mul_add(g, V::load(x)).store(x);
                            } else {
                                let (from, row) =
                                    if KIND == WEIGHT { (image, image_row) } else { (kernel, kernel_row) };
                                let x = V::load(from.add(at + r * row + q * V::N));
                                tile[r][q] = x.mul_add(g, tile[r][q]);
                            }
                        }
                    }
                }
                for r in 0..R {
                    for q in 0..Q {
                        if KIND == WEIGHT {
                            tile[r][q].store(kernel.add(r * kernel_row + q * V::N));
                        } else if KIND == GATHER {
                            let x = image.add(*base.get_unchecked(list) + r * image_row + q * V::N);
                            V::load(x).add(tile[r][q]).store(x);
                        }
                    }
                }
                if KIND != GATHER {
                    kernel = kernel.wrapping_add(plan.conv.kh * kernel_row);
                }
            }
        }
    }
}

impl Pass<'_> {
    /// All tiles of so many rows and so many numbers a row.
    #[inline(always)]
    fn run<V: Lane<f32>, const KIND: u8>(&self, size: [usize; 2]) {
        let most = if V::REGISTERS == 32 { 20 } else { 12 };
        for columns in even(size[1].div_ceil(V::N), if V::REGISTERS == 32 { 3 } else { 4 }) {
            for rows in even(size[0], (most / columns.len()).min(6)) {
                let mut pass = *self;
                let first = |row: usize| rows.start * row + columns.start * V::N;
                pass.image = pass.image.wrapping_add(first(self.rows[0]));
                pass.kernel = pass.kernel.wrapping_add(first(self.rows[1]));
                macro_rules! tiles {
                    ($($r:literal $q:literal),*) => {
                        match (rows.len(), columns.len()) {
                            $(($r, $q) => dispatch(Tile::<KIND, $r, $q>(pass)),)*
                            (r, q) => unreachable!("no tile of {r} rows and {q} registers"),
                        }
                    };
                }
                tiles!(
                    1 1, 1 2, 1 3, 1 4, 2 1, 2 2, 2 3, 2 4, 3 1, 3 2, 3 3, 3 4, 4 1, 4 2, 4 3, 5 1, 5 2, 5 3,
                    6 1, 6 2, 6 3
                );
            }
        }
    }

    /// [`SCATTER`] where a cotangent is not finite: nothing is added beside the kernel's rows.
    fn scatter_careful(&self) {
        let Pass { plan, ends, g, at, image, kernel, .. } = *self;
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

    /// [`GATHER`], likewise.
    fn gather_careful(&self, regions: &Regions) {
        let Pass { plan, ends, g, at, image, kernel, base, .. } = *self;
        for (ends, base) in ends.windows(2).zip(base) {
            for (i, r) in (ends[0]..ends[1]).flat_map(|i| (0..plan.conv.kh).map(move |r| (i, r))) {
                // SAFETY: as for the tiles.
                unsafe {
                    let [o, u, v] = regions.of(plan, *at.add(i) as usize);
                    let row = regions.at(plan, [o, r, v]);
                    let x = image.add(base + (u + r) * plan.row + v * plan.conv.c);
                    (0..plan.narrow).for_each(|k| *x.add(k) += *g.add(i) * *kernel.add(row + k));
                }
            }
        }
    }
}

/// The kernel of the adjoint in the weight: operands `x`, cotangents of the pool, places.
pub(crate) fn weight_gradient(conv: Conv, spread: Spread) -> Option<Lanes> {
    let plan = Plan::new(conv, spread)?;
    // Narrower kernel rows leave most of a register empty.
    if plan.narrow < 8 || plan.work() < 104 {
        return None;
    }
    let listing = plan.by_channel();
    let scratch = plan.scratch(&listing) + room::<f32>(plan.kernels());
    let run = move |call: Call<'_>| {
        let [x, g, idx] = call.inputs else { unreachable!("image, cotangent and places") };
        let (x, g, idx) = (x.packed::<f32>(), g.packed::<f32>(), idx.packed::<u8>());
        let (dw, accumulate, scratch) = (call.outputs[0].slice(), call.accumulate, call.scratch);
        dispatch(WeightGradient { plan: &plan, listing: &listing, x, g, idx, dw, accumulate, scratch });
    };
    Some(Lanes { scratch, run: Box::new(run) })
}

struct WeightGradient<'a> {
    plan: &'a Plan,
    listing: &'a Listing,
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
        let WeightGradient { plan, listing, x, g, idx, dw, accumulate, scratch } = self;
        let Conv { c, h, w, o, kh, kw, .. } = plan.conv;
        let mut scratch = Scratch::new(scratch);
        let mut room = Room::of(&mut scratch, plan, listing);
        let sums = scratch.take::<f32>(plan.kernels());
        assert_eq!(x.len(), c * h * w * LANES);
        assert_eq!([g.len(), idx.len()], [o * plan.cells() * LANES; 2]);
        assert_eq!(dw.len(), o * c * kh * kw);
        sums.fill(0.0);
        // SAFETY: `V`'s instruction set is here, as the caller promises, and the operands are as long as they must be.
        unsafe { room.read::<V>(plan, x) };
        for first in (0..o).step_by(listing.group) {
            let count = listing.group.min(o - first);
            // SAFETY: as above.
            unsafe { room.list::<V>(plan, listing, [first, count], g, idx) };
            for e in 0..LANES {
                let pass = room.pass(plan, listing, [e, count], &mut sums[first * kh * plan.wide..], &[]);
                pass.run::<V, WEIGHT>([kh, plan.narrow]);
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
    // Where there is little to leave out, the lists cost more.
    if plan.work() < 192 {
        return None;
    }
    let regions = Some(Regions::new(&plan)).filter(Regions::pay);
    let listing = regions.as_ref().map_or_else(|| plan.by_channel(), |r| r.by_window(&plan));
    let kernels = regions.as_ref().map_or(plan.kernels(), |r| r.all);
    let scratch = plan.scratch(&listing) + room::<f32>(kernels);
    let run = move |call: Call<'_>| {
        let [g, idx, w] = call.inputs else { unreachable!("cotangent, places and weight") };
        let (g, idx, w) = (g.packed::<f32>(), idx.packed::<u8>(), w.packed::<f32>());
        let (dx, scratch) = (call.outputs[0].slice(), call.scratch);
        let (plan, listing, regions) = (&plan, &listing, regions.as_ref());
        dispatch(InputGradient { plan, listing, regions, kernels, g, idx, w, dx, scratch });
    };
    Some(Lanes { scratch, run: Box::new(run) })
}

struct InputGradient<'a> {
    plan: &'a Plan,
    listing: &'a Listing,
    regions: Option<&'a Regions>,
    /// Numbers of the kernels as they are packed.
    kernels: usize,
    g: &'a [f32],
    idx: &'a [u8],
    w: &'a [f32],
    dx: &'a mut [f32],
    scratch: &'a mut [u8],
}

impl InputGradient<'_> {
    /// The weights, rows of `kw·c`, among zeros where there are regions.
    #[inline(always)]
    fn pack(&self, kernels: &mut [f32]) {
        let Conv { c, kh, kw, .. } = self.plan.conv;
        let plan = self.plan;
        kernels.fill(0.0);
        let copies = self.regions.map_or(1, |r| r.column.map_or(1, |_| plan.spread.kernel[1]));
        for (o, weight) in self.w.chunks_exact(c * kh * kw).enumerate() {
            for (copy, u) in (0..copies).flat_map(|copy| (0..kh).map(move |u| (copy, u))) {
                let to = self.regions.map_or((o * kh + u) * plan.wide, |r| r.at(plan, [o, u, copy]));
                for (v, to) in kernels[to..to + plan.narrow].chunks_exact_mut(c).enumerate() {
                    let from = weight[u * kw + v..].iter().step_by(kh * kw);
                    to.iter_mut().zip(from).for_each(|(y, x)| *y = *x);
                }
            }
        }
    }
}

impl Kernel<f32> for InputGradient<'_> {
    #[inline(always)]
    unsafe fn run<V: Lane<f32>>(mut self) {
        let (plan, listing) = (self.plan, self.listing);
        let Conv { c, h, w, o, kh, kw, .. } = plan.conv;
        assert_eq!(self.dx.len(), c * h * w * LANES);
        assert_eq!([self.g.len(), self.idx.len()], [o * plan.cells() * LANES; 2]);
        assert_eq!(self.w.len(), o * c * kh * kw);
        let mut scratch = Scratch::new(std::mem::take(&mut self.scratch));
        let mut room = Room::of(&mut scratch, plan, listing);
        let kernels = scratch.take::<f32>(self.kernels);
        self.pack(kernels);
        for first in (0..listing.lists).step_by(listing.group) {
            let count = listing.group.min(listing.lists - first);
            // SAFETY: `V`'s instruction set is here, as the caller promises, and the operands are as long as they
            // must be.
            unsafe { room.list::<V>(plan, listing, [first, count], self.g, self.idx) };
            for e in 0..LANES {
                if first == 0 {
                    room.images[e * plan.size..][..plan.size].fill(0.0);
                }
                let wild = room.wild[e] != 0.0;
                match self.regions {
                    Some(regions) => {
                        let base = &regions.base[first..];
                        let mut pass = room.pass(plan, listing, [e, count], kernels, base);
                        pass.rows[1] = regions.row;
                        if wild {
                            pass.gather_careful(regions);
                        } else {
                            pass.run::<V, GATHER>(regions.size);
                        }
                    }
                    None => {
                        let kernels = &mut kernels[first * kh * plan.wide..];
                        let pass = room.pass(plan, listing, [e, count], kernels, &[]);
                        if wild {
                            pass.scatter_careful();
                        } else {
                            pass.run::<V, SCATTER>([kh, plan.narrow]);
                        }
                    }
                }
            }
        }
        // SAFETY: as above.
        unsafe { room.write::<V>(plan, self.dx) };
    }
}
