//! Elementwise operations of `f32` in one pass over memory: a few elements go through all of them before the next, so
//! that every operand is read at the same time and what lies between stays in the first-level cache.
#![allow(unsafe_code)]

use smallvec::SmallVec;

use super::{
    Call,
    arena::{Scratch, room},
    lane::{Kernel, Lane, dispatch},
};

/// Elements that go through all operations at a time: so few that the processor begins the next tile, and asks for its
/// memory, before it is done with this one.
const TILE: usize = 128;

/// One operation; its bits are those of the operation of that name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Add,
    Sub,
    Mul,
    Div,
    Neg,
    Square,
    Sqrt,
    Relu,
}

/// `to = verb(from)`. Values are numbered: the inputs, the outputs, then what lies between; each is made once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Line {
    pub(crate) verb: Verb,
    /// The instruction that it does.
    pub(crate) instruction: usize,
    /// The operands; the second is the first again where there is one.
    pub(crate) from: [usize; 2],
    pub(crate) to: usize,
}

/// The operations, in their order, and how many values there are.
#[derive(Clone)]
pub(crate) struct Fused {
    pub(crate) lines: Vec<Line>,
    pub(crate) values: usize,
}

impl Fused {
    /// Working memory: a tile for every value.
    pub(crate) fn scratch(&self) -> usize {
        self.values * room::<f32>(TILE)
    }

    /// Inputs are packed, or one number for all places. An output may be the memory of an input.
    pub(crate) fn run(&self, call: Call<'_>) {
        let mut scratch = Scratch::new(call.scratch);
        let n = call.outputs[0].spec.shape.len();
        let mut values: SmallVec<[Value; 16]> = SmallVec::new();
        for x in call.inputs {
            values.push(if x.layout.strides().iter().all(|s| *s == 0) {
                let tile = scratch.take::<f32>(TILE);
                tile.fill(x.memory.slice::<f32>()[x.layout.offset]);
                Value { first: tile.as_mut_ptr(), step: 0 }
            } else {
                assert_eq!(x.packed::<f32>().len(), n, "elements of an operand");
                Value { first: x.memory.lent_start().cast::<f32>().wrapping_add(x.layout.offset), step: 1 }
            });
        }
        // What takes the place of an input that a later line reads is made beside it.
        let mut beside: SmallVec<[(usize, *mut f32); 4]> = SmallVec::new();
        for y in call.outputs.iter_mut() {
            assert_eq!(y.slice::<f32>().len(), n, "elements of a result");
            let first = y.memory.lent_start().cast::<f32>();
            let made = self.lines.iter().position(|l| l.to == values.len()).expect("an output is made");
            let mut read = self.lines[made + 1..].iter().flat_map(|l| l.from);
            values.push(if read.any(|x| x < call.inputs.len() && values[x].first == first) {
                beside.push((values.len(), first));
                Value { first: scratch.take::<f32>(TILE).as_mut_ptr(), step: 0 }
            } else {
                Value { first, step: 1 }
            });
        }
        while values.len() < self.values {
            values.push(Value { first: scratch.take::<f32>(TILE).as_mut_ptr(), step: 0 });
        }
        assert!(self.lines.iter().all(|l| l.to >= call.inputs.len() && !l.from.contains(&l.to)));
        dispatch(Tiles { lines: &self.lines, values: &values, beside: &beside, n });
    }
}

/// Its first element, and elements per element: 0 for a tile that is used again and again.
#[derive(Clone, Copy)]
struct Value {
    first: *mut f32,
    step: usize,
}

struct Tiles<'a> {
    lines: &'a [Line],
    values: &'a [Value],
    /// Values that go elsewhere at the end of each tile.
    beside: &'a [(usize, *mut f32)],
    n: usize,
}

impl Kernel<f32> for Tiles<'_> {
    /// The compiler makes registers of whatever size there is: nothing is contracted, so the bits are the same.
    #[inline(always)]
    unsafe fn run<V: Lane<f32>>(self) {
        for start in (0..self.n).step_by(TILE) {
            let n = TILE.min(self.n - start);
            for line in self.lines {
                let at = |value: usize| {
                    let Value { first, step } = self.values[value];
                    first.wrapping_add(start * step)
                };
                let places = [line.from[0], line.from[1], line.to].map(at);
                // SAFETY: every value has elements for this tile, and what a line writes is apart from what it reads, or
                // exactly in its place.
                unsafe {
                    match line.verb {
                        Verb::Add => tile(n, places, |a, b| a + b),
                        Verb::Sub => tile(n, places, |a, b| a - b),
                        Verb::Mul => tile(n, places, |a, b| a * b),
                        Verb::Div => tile(n, places, |a, b| a / b),
                        Verb::Neg => tile(n, places, |a, _| -a),
                        Verb::Square => tile(n, places, |a, _| a * a),
                        Verb::Sqrt => tile(n, places, |a, _| a.sqrt()),
                        Verb::Relu => tile(n, places, |a, _| if a <= 0.0 { 0.0 } else { a }),
                    }
                }
            }
            for &(value, to) in self.beside {
                // SAFETY: the tile has `n` elements, and so has the result from here on; all lines are done.
                unsafe { to.add(start).copy_from_nonoverlapping(self.values[value].first, n) };
            }
        }
    }
}

/// `y[i] = f(a[i], b[i])` for places `[a, b, y]`; `y` may be `a`, or `b`, or both.
///
/// # Safety
/// `n` elements are at each, and no other part of `y` is one of `a` or `b`.
#[inline(always)]
unsafe fn tile(n: usize, places: [*mut f32; 3], f: impl Fn(f32, f32) -> f32) {
    // SAFETY: the caller's.
    unsafe {
        // A whole tile is no loop: its size is known.
        if n == TILE { stretch(TILE, places, f) } else { stretch(n, places, f) }
    }
}

/// [`tile`] of any size.
///
/// # Safety
/// As of it.
#[inline(always)]
unsafe fn stretch(n: usize, [a, b, y]: [*mut f32; 3], f: impl Fn(f32, f32) -> f32) {
    // SAFETY: as the caller promises; no two slices are the same memory.
    unsafe {
        let to = std::slice::from_raw_parts_mut(y, n);
        let [a_apart, b_apart] = [a != y, b != y];
        if a_apart && b_apart {
            let (a, b) = (std::slice::from_raw_parts(a, n), std::slice::from_raw_parts(b, n));
            to.iter_mut().zip(a.iter().zip(b)).for_each(|(y, (a, b))| *y = f(*a, *b));
        } else if a_apart {
            let a = std::slice::from_raw_parts(a, n);
            to.iter_mut().zip(a).for_each(|(y, a)| *y = f(*a, *y));
        } else if b_apart {
            let b = std::slice::from_raw_parts(b, n);
            to.iter_mut().zip(b).for_each(|(y, b)| *y = f(*y, *b));
        } else {
            to.iter_mut().for_each(|y| *y = f(*y, *y));
        }
    }
}
