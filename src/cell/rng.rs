//! A random generator: a seed, a stream, and how many numbers were drawn.

use std::{fmt, sync::Arc};

use super::{Cell, philox, read, write};
use crate::tensor::Tensor;

/// A counter-based generator (Philox4x32-10). Its state `[seed, stream, offset]` is an *input* of random
/// operations, so a checkpoint, a block or a replay draws the same numbers (row E18).
///
/// Number `i` of a draw depends on the state and on `i` alone: never on threads, blocks or devices.
///
/// ```
/// use cotangent::{Rng, Tensor};
/// let (a, b) = (Rng::new(7), Rng::new(7));
/// assert_eq!(Tensor::rand([3], &a).to_vec::<f32>(), Tensor::rand([3], &b).to_vec::<f32>());
/// ```
#[derive(Clone)]
pub struct Rng(pub(crate) Arc<Cell>);

impl Rng {
    /// Stream 0 of a seed.
    pub fn new(seed: u64) -> Self {
        Self::stream(seed, 0)
    }

    /// A stream of a seed; streams do not overlap.
    pub fn stream(seed: u64, stream: u64) -> Self {
        Rng(Cell::new(Tensor::from([seed as i64, stream as i64, 0])))
    }

    /// The state for drawing `count` numbers, after which it has moved on by so many.
    pub fn draw(&self, count: usize) -> Tensor {
        let now = read(&self.0);
        write(&self.0, &(&now + &Tensor::from([0, 0, count as i64])));
        now
    }

    /// `[seed, stream, offset]`.
    pub fn state(&self) -> Tensor {
        read(&self.0)
    }

    /// Go to a state.
    ///
    /// # Panics
    /// When it is not three whole numbers.
    #[track_caller]
    pub fn set_state(&self, state: &Tensor) {
        super::fits("Rng", &self.0.peek().spec(), &state.spec());
        write(&self.0, state)
    }

    /// A generator of its own that goes on from here.
    #[must_use]
    pub fn deep_clone(&self) -> Self {
        Rng(Cell::new(self.state()))
    }

    /// A generator on a stream of its own, drawn from this one: what either draws later does not move the other.
    #[must_use]
    pub fn fork(&self) -> Self {
        let state = self.draw(1);
        // Under a recording of shapes there are no values, and nothing is drawn either.
        if state.is_recorded() {
            return Rng(Cell::new(state));
        }
        let s = state.to_vec::<i64>();
        Self::stream(s[0] as u64, Self::bits(s[0] as u64, s[1] as u64, s[2] as u64) | 1)
    }

    /// 64 random bits at a place of a stream; for samplers, whose order must not depend on what was drawn before.
    pub fn bits(seed: u64, stream: u64, place: u64) -> u64 {
        let [a, b, ..] = block(seed, stream, place);
        u64::from(a) | u64::from(b) << 32
    }
}

/// Four words for a place of a stream.
#[inline(always)]
pub(crate) fn block(seed: u64, stream: u64, place: u64) -> [u32; 4] {
    let (lo, hi) = (|x: u64| x as u32, |x: u64| (x >> 32) as u32);
    philox([lo(place), hi(place), lo(stream), hi(stream)], [lo(seed), hi(seed)])
}

impl fmt::Debug for Rng {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let s = self.0.peek().to_vec::<i64>();
        write!(f, "Rng(seed {}, stream {}, offset {})", s[0], s[1], s[2])
    }
}
