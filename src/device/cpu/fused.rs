//! Elementwise operations of `f32` in one pass over memory: a few elements go through all of them before the next, so
//! that every operand is read at the same time and what lies between stays in the first-level cache.
#![allow(unsafe_code)]

use smallvec::SmallVec;

use super::{
    Call,
    arena::{Scratch, room},
    isa::{Loop, wide},
};

/// Elements that go through all operations at a time.
const TILE: usize = 128;

/// One operation; its bits are those of the operation of that name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
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
    /// Working memory: a tile for every value that is none of the outputs.
    pub(crate) fn scratch(&self) -> usize {
        self.values * room::<f32>(TILE)
    }

    /// Inputs are packed, or one number for all places.
    pub(crate) fn run(&self, call: Call<'_>) {
        let mut scratch = Scratch::new(call.scratch);
        let n = call.outputs[0].spec.shape.len();
        // Address and elements per element: 0 for what stays where it is.
        let mut values: SmallVec<[(*mut f32, usize); 16]> = SmallVec::new();
        for x in call.inputs {
            if x.layout.strides().iter().all(|s| *s == 0) {
                let tile = scratch.take::<f32>(TILE);
                tile.fill(x.memory.slice::<f32>()[x.layout.offset]);
                values.push((tile.as_mut_ptr(), 0));
            } else {
                let x = x.packed::<f32>();
                assert_eq!(x.len(), n, "elements of an operand");
                values.push((x.as_ptr().cast_mut(), 1));
            }
        }
        for y in call.outputs.iter_mut() {
            let y = y.slice::<f32>();
            assert_eq!(y.len(), n, "elements of a result");
            values.push((y.as_mut_ptr(), 1));
        }
        while values.len() < self.values {
            values.push((scratch.take::<f32>(TILE).as_mut_ptr(), 0));
        }
        assert!(self.lines.iter().all(|l| l.to >= call.inputs.len() && !l.from.contains(&l.to)));
        wide(Tiles { lines: &self.lines, values: &values, n });
    }
}

struct Tiles<'a> {
    lines: &'a [Line],
    values: &'a [(*mut f32, usize)],
    n: usize,
}

impl Loop for Tiles<'_> {
    #[inline(always)]
    fn run(self) {
        for start in (0..self.n).step_by(TILE) {
            let n = TILE.min(self.n - start);
            for line in self.lines {
                let at = |value: usize| {
                    let (first, step) = self.values[value];
                    first.wrapping_add(start * step)
                };
                // SAFETY: every value has elements for this tile, inputs are only read, and a line writes a value
                // that it does not read.
                let (a, b, y) = unsafe {
                    let [a, b] = line.from.map(|v| std::slice::from_raw_parts(at(v), n));
                    (a, b, std::slice::from_raw_parts_mut(at(line.to), n))
                };
                let pairs = y.iter_mut().zip(a.iter().zip(b));
                match line.verb {
                    Verb::Add => pairs.for_each(|(y, (a, b))| *y = a + b),
                    Verb::Sub => pairs.for_each(|(y, (a, b))| *y = a - b),
                    Verb::Mul => pairs.for_each(|(y, (a, b))| *y = a * b),
                    Verb::Div => pairs.for_each(|(y, (a, b))| *y = a / b),
                    Verb::Neg => pairs.for_each(|(y, (a, _))| *y = -a),
                    Verb::Square => pairs.for_each(|(y, (a, _))| *y = a * a),
                    Verb::Sqrt => pairs.for_each(|(y, (a, _))| *y = a.sqrt()),
                    Verb::Relu => pairs.for_each(|(y, (a, _))| *y = if *a <= 0.0 { 0.0 } else { *a }),
                }
            }
        }
    }
}
