//! Where a tensor's elements lie in memory: shape, strides, offset.

use std::{fmt, ops::Deref};

use super::DType;
use crate::{
    device::Device,
    error::{Error, Result},
};

/// The most axes a tensor may have.
pub const MAX_RANK: usize = 8;

/// The sizes of a tensor's axes, outermost first; no axes at all for a single number.
///
/// ```
/// use cotangent::Shape;
/// let s = Shape::from([2, 3]);
/// assert_eq!((s.rank(), s.len(), &s[..]), (2, 6, &[2, 3][..]));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shape {
    rank: u8,
    dims: [usize; MAX_RANK],
}

impl Shape {
    /// From a slice.
    ///
    /// # Panics
    /// With more than [`MAX_RANK`] axes.
    #[track_caller]
    pub fn new(dims: &[usize]) -> Self {
        Self::try_new(dims).unwrap_or_else(|e| e.raise())
    }

    /// From a slice, or why not: too many axes, or more elements than memory can number.
    pub fn try_new(dims: &[usize]) -> Result<Self> {
        if dims.len() > MAX_RANK {
            return Err(Error::mistake(format!(
                "{} axes are more than the {MAX_RANK} a tensor may have",
                dims.len()
            )));
        }
        // Empty tensors keep their other sizes, so those must be numberable too.
        let count = dims.iter().filter(|d| **d > 0).try_fold(1usize, |n, d| n.checked_mul(*d));
        if count.is_none_or(|n| n > isize::MAX as usize / 8) {
            return Err(Error::mistake(format!(
                "a tensor of shape {dims:?} has more elements than memory can number"
            )));
        }
        let mut s = Shape { rank: dims.len() as u8, dims: [1; MAX_RANK] };
        s.dims[..dims.len()].copy_from_slice(dims);
        Ok(s)
    }

    /// The number of axes.
    pub fn rank(&self) -> usize {
        usize::from(self.rank)
    }

    /// The number of elements, `Π dims`.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.iter().product()
    }

    fn has_none(&self) -> bool {
        self.contains(&0)
    }

    /// The axis that `axis` names; negative ones count from the end.
    pub fn axis(&self, axis: isize) -> Result<usize> {
        let rank = self.rank() as isize;
        let i = if axis < 0 { axis + rank } else { axis };
        if (0..rank).contains(&i) {
            return Ok(i as usize);
        }
        Err(Error::mistake(format!("axis {axis} of a tensor of shape {self:?}")).help(match rank {
            0 => "a single number has no axes".to_string(),
            _ => format!("axes run from 0 to {}, or from -1 back to -{rank}", rank - 1),
        }))
    }

    /// The same shape with one axis changed.
    #[must_use]
    pub fn with(mut self, axis: usize, size: usize) -> Self {
        self.dims[axis] = size;
        self
    }

    /// The same shape without one axis.
    #[must_use]
    pub fn without(&self, axis: usize) -> Self {
        let mut s = Shape { rank: self.rank - 1, dims: [1; MAX_RANK] };
        let kept = self.iter().enumerate().filter(|(i, _)| *i != axis);
        kept.zip(&mut s.dims).for_each(|((_, d), o)| *o = *d);
        s
    }

    /// The shape both stretch to: trailing axes are equal, or one of them is 1.
    pub fn broadcast(&self, other: &Shape) -> Result<Shape> {
        let rank = self.rank().max(other.rank());
        let mut s = Shape { rank: rank as u8, dims: [1; MAX_RANK] };
        for i in 0..rank {
            let size = |t: &Shape| (i + t.rank()).checked_sub(rank).map_or(1, |j| t[j]);
            s.dims[i] = match (size(self), size(other)) {
                (a, b) if a == b => a,
                (1, b) => b,
                (a, 1) => a,
                (a, b) => {
                    return Err(Error::mistake(format!(
                        "shapes {self:?} and {other:?} do not broadcast: sizes {a} and {b} clash at axis {}",
                        i as isize - rank as isize
                    ))
                    .help("axes are matched from the last; they must be equal or 1: `unsqueeze` adds one of size 1"));
                }
            };
        }
        Shape::try_new(&s)
    }
}

impl Deref for Shape {
    type Target = [usize];
    fn deref(&self) -> &[usize] {
        &self.dims[..usize::from(self.rank)]
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &self[..])
    }
}

impl From<&[usize]> for Shape {
    #[track_caller]
    fn from(dims: &[usize]) -> Self {
        Shape::new(dims)
    }
}
impl From<&Vec<usize>> for Shape {
    #[track_caller]
    fn from(dims: &Vec<usize>) -> Self {
        Shape::new(dims)
    }
}
impl From<Vec<usize>> for Shape {
    #[track_caller]
    fn from(dims: Vec<usize>) -> Self {
        Shape::new(&dims)
    }
}
impl From<&Shape> for Shape {
    fn from(s: &Shape) -> Self {
        *s
    }
}
impl<const N: usize> From<[usize; N]> for Shape {
    #[track_caller]
    fn from(dims: [usize; N]) -> Self {
        Shape::new(&dims)
    }
}
impl From<()> for Shape {
    fn from(_: ()) -> Self {
        Shape { rank: 0, dims: [1; MAX_RANK] }
    }
}
impl From<usize> for Shape {
    fn from(n: usize) -> Self {
        Shape::new(&[n])
    }
}

/// What an operation knows of an operand before there are values: shape, type, device.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    /// The sizes of its axes.
    pub shape: Shape,
    /// The type of its elements.
    pub dtype: DType,
    /// Where it lives.
    pub device: Device,
}

impl Spec {
    /// The same type and device with another shape.
    pub fn with(&self, shape: impl Into<Shape>) -> Spec {
        Spec { shape: shape.into(), ..self.clone() }
    }

    /// The same shape and device with another type.
    pub fn of(&self, dtype: DType) -> Spec {
        Spec { dtype, ..self.clone() }
    }

    /// Bytes, when packed.
    pub fn bytes(&self) -> usize {
        self.shape.len() * self.dtype.size()
    }
}

/// Element `i` of the tensor is at `offset + Σ strides[a]·i[a]` of its buffer, counted in elements.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Layout {
    /// The sizes of the axes.
    pub shape: Shape,
    strides: [isize; MAX_RANK],
    /// The place of the first element.
    pub offset: usize,
}

impl Layout {
    /// Row-major, without gaps.
    pub fn packed(shape: Shape) -> Self {
        let mut strides = [0; MAX_RANK];
        let mut step = 1;
        for a in (0..shape.rank()).rev() {
            strides[a] = step;
            step *= shape[a].max(1) as isize;
        }
        Layout { shape, strides, offset: 0 }
    }

    /// Every element is the first one of the buffer.
    pub fn constant(shape: Shape) -> Self {
        Layout { shape, strides: [0; MAX_RANK], offset: 0 }
    }

    /// With strides given.
    pub fn new(shape: Shape, strides: &[isize], offset: usize) -> Self {
        let mut s = [0; MAX_RANK];
        s[..strides.len()].copy_from_slice(strides);
        Layout { shape, strides: s, offset }
    }

    /// The same, with its first element at `offset`.
    #[must_use]
    pub(crate) fn starting(self, offset: usize) -> Self {
        Layout { offset, ..self }
    }

    /// Steps in elements, one an axis.
    pub fn strides(&self) -> &[isize] {
        &self.strides[..self.shape.rank()]
    }

    /// Is every element one that lies between the first and the last of `other`?
    pub(crate) fn within(&self, other: &Layout) -> bool {
        let ends = |l: &Layout| {
            let reach = |a: usize| (l.shape[a] as i128 - 1) * l.strides[a] as i128;
            let start = (l.offset as i128, l.offset as i128);
            (0..l.shape.rank()).map(reach).fold(start, |(low, high), r| (low + r.min(0), high + r.max(0)))
        };
        let ((low, high), (first, last)) = (ends(self), ends(other));
        self.shape.has_none() || !other.shape.has_none() && first <= low && high <= last
    }

    /// Row-major without gaps, from its offset on?
    pub fn is_packed(&self) -> bool {
        let mut step = 1;
        for a in (0..self.shape.rank()).rev() {
            if self.shape[a] != 1 && self.strides[a] != step {
                return self.shape.has_none();
            }
            step *= self.shape[a] as isize;
        }
        true
    }

    /// The same elements as another shape, without moving them, where strides allow it.
    pub fn reshape(&self, shape: Shape) -> Option<Layout> {
        if self.shape.has_none() {
            return Some(Layout { offset: self.offset, ..Layout::packed(shape) });
        }
        let mut strides = [0; MAX_RANK];
        // Walk both shapes from the left, in groups of equal product; inside a group the old axes must be gapless.
        let (mut i, mut j) = (0, 0);
        while i < self.shape.rank() || j < shape.rank() {
            let (i0, j0) = (i, j);
            let (mut a, mut b) = (1, 1);
            loop {
                if a == b && (i > i0 || j > j0) {
                    break;
                }
                if a <= b && i < self.shape.rank() {
                    a *= self.shape[i];
                    i += 1;
                } else {
                    b *= shape[j];
                    j += 1;
                }
            }
            let old: Vec<usize> = (i0..i).filter(|&k| self.shape[k] != 1).collect();
            let mut step = old.last().map_or(0, |&k| self.strides[k]);
            for w in old.windows(2) {
                if self.strides[w[0]] != self.strides[w[1]] * self.shape[w[1]] as isize {
                    return None;
                }
            }
            for k in (j0..j).rev() {
                strides[k] = step;
                step *= shape[k] as isize;
            }
        }
        Some(Layout { shape, strides, offset: self.offset })
    }

    /// Where element `index` lies.
    pub fn at(&self, index: &[usize]) -> usize {
        let step: isize = index.iter().zip(self.strides()).map(|(i, s)| *i as isize * s).sum();
        (self.offset as isize + step) as usize
    }
}
