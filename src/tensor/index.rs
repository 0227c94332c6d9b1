//! Parts of a tensor, as views; tensors put together.

use std::ops::{Range, RangeFrom, RangeFull, RangeInclusive, RangeTo};

use super::Tensor;
use crate::{
    apply::apply,
    error::{Error, OrRaise},
    ops::Slice,
};

/// What to take of one axis: a place (the axis goes away), a range, or a stepped range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Index {
    /// One place; negative ones count from the end.
    At(isize),
    /// `start..end`, every `step`-th; negative bounds count from the end, too large ones are cut, as Python's.
    Range {
        /// The first place.
        start: isize,
        /// The place behind the last; `None` is the end.
        end: Option<isize>,
        /// At least 1.
        step: usize,
    },
}

impl Index {
    /// The same range, every `step`-th place.
    #[must_use]
    pub fn step(self, by: usize) -> Self {
        match self {
            Index::At(i) => Index::At(i),
            Index::Range { start, end, step } => Index::Range { start, end, step: step * by },
        }
    }
}

impl From<isize> for Index {
    fn from(i: isize) -> Self {
        Index::At(i)
    }
}
impl From<i32> for Index {
    fn from(i: i32) -> Self {
        Index::At(i as isize)
    }
}
impl From<usize> for Index {
    fn from(i: usize) -> Self {
        Index::At(i as isize)
    }
}
impl From<RangeFull> for Index {
    fn from(_: RangeFull) -> Self {
        Index::Range { start: 0, end: None, step: 1 }
    }
}
macro_rules! ranges {
    ($($t:ty)*) => {$(
        impl From<Range<$t>> for Index {
            fn from(r: Range<$t>) -> Self {
                Index::Range { start: r.start as isize, end: Some(r.end as isize), step: 1 }
            }
        }
        impl From<RangeFrom<$t>> for Index {
            fn from(r: RangeFrom<$t>) -> Self {
                Index::Range { start: r.start as isize, end: None, step: 1 }
            }
        }
        impl From<RangeTo<$t>> for Index {
            fn from(r: RangeTo<$t>) -> Self {
                Index::Range { start: 0, end: Some(r.end as isize), step: 1 }
            }
        }
        impl From<RangeInclusive<$t>> for Index {
            fn from(r: RangeInclusive<$t>) -> Self {
                let end = *r.end() as isize + 1;
                // `..=-1` runs to the end.
                Index::Range { start: *r.start() as isize, end: (end != 0).then_some(end), step: 1 }
            }
        }
    )*};
}
ranges!(isize i32 usize);

/// What to take of each axis, for [`Tensor::i`].
pub trait Indices {
    /// As a list; axes not named are taken whole.
    fn list(self) -> Vec<Index>;
}
impl Indices for Vec<Index> {
    fn list(self) -> Vec<Index> {
        self
    }
}
macro_rules! single {
    ($($t:ty)*) => {$(
        impl Indices for $t {
            fn list(self) -> Vec<Index> {
                vec![self.into()]
            }
        }
    )*};
}
single!(isize i32 usize RangeFull Range<usize> Range<isize> Range<i32> RangeFrom<usize> RangeFrom<isize> RangeFrom<i32> RangeTo<usize> RangeTo<isize> RangeTo<i32> Index);
macro_rules! tuples {
    ($($($t:ident $i:tt),+;)*) => {$(
        impl<$($t: Into<Index>),+> Indices for ($($t,)+) {
            fn list(self) -> Vec<Index> {
                vec![$(self.$i.into()),+]
            }
        }
    )*};
}
tuples! { A 0; A 0, B 1; A 0, B 1, C 2; A 0, B 1, C 2, D 3; A 0, B 1, C 2, D 3, E 4; A 0, B 1, C 2, D 3, E 4, F 5; }

impl Tensor {
    /// A part, as Python's `x[1, 2:5, ::2]`: a view that shares the buffer.
    ///
    /// ```
    /// use cotangent::{Index, Tensor};
    /// let x = Tensor::arange(0, 12).reshape([3, 4]);
    /// assert_eq!(x.i((1, 2..)).to_vec::<i64>(), [6, 7]);
    /// assert_eq!(x.i((.., -1)).to_vec::<i64>(), [3, 7, 11]);
    /// assert_eq!(x.i((0, Index::from(..).step(2))).to_vec::<i64>(), [0, 2]);
    /// ```
    ///
    /// # Panics
    /// When a place is outside its axis, or there are more indices than axes.
    #[must_use]
    #[track_caller]
    pub fn i(&self, indices: impl Indices) -> Tensor {
        let (shape, indices) = (*self.shape(), indices.list());
        if indices.len() > shape.rank() {
            Error::mistake(format!("index: {} indices for a tensor of shape {shape:?}", indices.len()))
                .raise()
        }
        let rank = shape.rank();
        let (mut start, mut step, mut len) = (vec![0; rank], vec![1; rank], shape.to_vec());
        let mut gone = Vec::new();
        for (a, index) in indices.into_iter().enumerate() {
            let n = shape[a] as isize;
            match index {
                Index::At(i) => {
                    let place = if i < 0 { i + n } else { i };
                    if !(0..n).contains(&place) {
                        Error::mistake(format!("index: place {i} on axis {a} of {shape:?}, which has {n}"))
                            .raise()
                    }
                    (start[a], len[a]) = (place as usize, 1);
                    gone.push(a);
                }
                Index::Range { step: 0, .. } => Error::mistake("index: a step of 0").raise(),
                Index::Range { start: from, end, step: by } => {
                    let bound = |i: isize| (if i < 0 { i + n } else { i }).clamp(0, n);
                    let (from, end) = (bound(from), end.map_or(n, bound));
                    (start[a], step[a]) = (from as usize, by);
                    len[a] = ((end - from).max(0) as usize).div_ceil(by);
                }
            }
        }
        let whole = start.iter().all(|s| *s == 0) && step.iter().all(|s| *s == 1) && len[..] == shape[..];
        let y = if whole { self.clone() } else { apply(Slice { start, step, len }, &[self]) };
        if gone.is_empty() { y } else { crate::ops::without(&y, &gone) }
    }

    /// `len` places of one axis from `start` on: a view (PyTorch's `narrow`).
    ///
    /// # Panics
    /// When they run past the end, or there is no such axis.
    #[must_use]
    #[track_caller]
    pub fn narrow(&self, axis: isize, start: usize, len: usize) -> Tensor {
        let a = self.shape().axis(axis).map_err(|e| e.verb("narrow")).or_raise();
        let rank = self.rank();
        let (mut from, mut to) = (vec![0; rank], self.shape().to_vec());
        (from[a], to[a]) = (start, len);
        apply(Slice { start: from, step: vec![1; rank], len: to }, &[self])
    }

    /// One place of one axis, which goes away (PyTorch's `select`).
    ///
    /// # Panics
    /// When there is no such place or axis.
    #[must_use]
    #[track_caller]
    pub fn select(&self, axis: isize, place: usize) -> Tensor {
        let a = self.shape().axis(axis).map_err(|e| e.verb("select")).or_raise();
        crate::ops::without(&self.narrow(axis, place, 1), &[a])
    }
}
