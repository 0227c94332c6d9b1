//! The same elements in another arrangement: `reshape`, `permute`, `expand`. Views where strides allow it.
//!
//! `dy = the same of dx`;  `x̄ = reshape back`, `permute back`, `Σ over the expanded axes`

use std::sync::Arc;

use super::{Attribute, Batch, Cost, Mode, Op};
use crate::{
    apply::apply,
    autodiff::LinearMap,
    device::cpu::{Call, View, strided},
    error::{Error, OrRaise, Result},
    tensor::{Layout, Shape, Spec, Tensor},
};

/// The elements as `layout` sees them, in row-major order.
pub(crate) fn copy(mut call: Call<'_>, layout: Option<Layout>) {
    let x = &call.inputs[0];
    let seen = View { layout: layout.as_ref().unwrap_or(x.layout), dtype: x.dtype, memory: x.memory };
    crate::dispatch!(x.dtype, T => strided::copy::<T>(&seen, call.output()))
}

/// Another shape with as many elements, in row-major order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reshape {
    /// The shape.
    pub shape: Shape,
}

impl Op for Reshape {
    fn name(&self) -> &'static str {
        "reshape"
    }
    fn attributes(&self) -> Vec<(&'static str, Attribute)> {
        vec![("shape", self.shape[..].into())]
    }
    fn outputs(&self, x: &[Spec]) -> Result<Vec<Spec>> {
        let (n, m) = (x[0].shape.len(), self.shape.len());
        if n == m {
            return Ok(vec![x[0].with(self.shape)]);
        }
        Err(Error::mistake(format!("{:?} has {n} elements, {:?} has {m}", x[0].shape, self.shape)))
    }
    fn linearize(&self, x: &[Tensor], _: &[Tensor], mode: Mode, _: &[bool]) -> LinearMap {
        let (from, to) = (*x[0].shape(), self.shape);
        LinearMap::either(mode, move |t| t.reshape(to), move |c| c.reshape(from))
    }
    fn batch(&self, x: &[Spec], axes: &[Option<usize>]) -> Batch {
        // The axis stays whole when as many elements stand before it as before an axis of its size.
        let Some(a) = axes[0] else { return Batch::Mixes };
        let before: usize = x[0].shape[..a].iter().product();
        let place = (0..self.shape.rank()).find(|b| {
            self.shape[..*b].iter().product::<usize>() == before && self.shape[*b] == x[0].shape[a]
        });
        place.map_or(Batch::Mixes, |b| Batch::Each(vec![b]))
    }
    fn for_examples(&self, x: &[Spec], axes: &[Option<usize>], n: usize) -> Option<Arc<dyn Op>> {
        let Batch::Each(place) = self.batch(x, axes) else { return None };
        Some(Reshape { shape: self.shape.with(place[0], n) }.shared())
    }
    fn cost(&self, _: &[Spec], _: &[Spec]) -> Cost {
        Cost::default()
    }
    fn packed(&self, _: usize) -> bool {
        false
    }
    fn view(&self, x: &Layout) -> Option<Layout> {
        x.reshape(self.shape)
    }
    fn cpu(&self, call: Call<'_>) {
        let layout = self.view(call.inputs[0].layout);
        copy(call, layout)
    }
}

/// Axes in another order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permute {
    /// Axis `i` of the output is axis `order[i]` of the input.
    pub order: Vec<usize>,
}

impl Op for Permute {
    fn name(&self) -> &'static str {
        "permute"
    }
    fn attributes(&self) -> Vec<(&'static str, Attribute)> {
        vec![("order", self.order[..].into())]
    }
    fn outputs(&self, x: &[Spec]) -> Result<Vec<Spec>> {
        let mut sorted = self.order.clone();
        sorted.sort_unstable();
        if !sorted.iter().copied().eq(0..x[0].shape.rank()) {
            return Err(Error::mistake(format!(
                "{:?} does not order the {} axes of {:?}",
                self.order,
                x[0].shape.rank(),
                x[0].shape
            ))
            .help("each axis stands once, counted from 0"));
        }
        let dims: Vec<usize> = self.order.iter().map(|a| x[0].shape[*a]).collect();
        Ok(vec![x[0].with(dims)])
    }
    fn linearize(&self, _: &[Tensor], _: &[Tensor], mode: Mode, _: &[bool]) -> LinearMap {
        let forth = self.order.clone();
        let mut back = vec![0; forth.len()];
        forth.iter().enumerate().for_each(|(i, a)| back[*a] = i);
        LinearMap::either(mode, move |t| permuted(t, &forth), move |c| permuted(c, &back))
    }
    fn batch(&self, _: &[Spec], axes: &[Option<usize>]) -> Batch {
        let place = axes[0].and_then(|a| self.order.iter().position(|b| *b == a));
        place.map_or(Batch::Mixes, |b| Batch::Each(vec![b]))
    }
    fn cost(&self, _: &[Spec], _: &[Spec]) -> Cost {
        Cost::default()
    }
    fn packed(&self, _: usize) -> bool {
        false
    }
    fn view(&self, x: &Layout) -> Option<Layout> {
        let dims: Vec<usize> = self.order.iter().map(|a| x.shape[*a]).collect();
        let strides: Vec<isize> = self.order.iter().map(|a| x.strides()[*a]).collect();
        Some(Layout::new(Shape::new(&dims), &strides, x.offset))
    }
    fn cpu(&self, call: Call<'_>) {
        let layout = self.view(call.inputs[0].layout);
        copy(call, layout)
    }
}

#[track_caller]
fn permuted(x: &Tensor, order: &[usize]) -> Tensor {
    apply(Permute { order: order.to_vec() }, &[x])
}

/// Axes of size 1, and new leading ones, repeated without copying; the adjoint of [`Tensor::sum_to`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expand {
    /// The shape.
    pub shape: Shape,
}

impl Op for Expand {
    fn name(&self) -> &'static str {
        "expand"
    }
    fn attributes(&self) -> Vec<(&'static str, Attribute)> {
        vec![("shape", self.shape[..].into())]
    }
    fn outputs(&self, x: &[Spec]) -> Result<Vec<Spec>> {
        let fits = x[0].shape.broadcast(&self.shape).is_ok_and(|s| s == self.shape);
        if fits {
            return Ok(vec![x[0].with(self.shape)]);
        }
        Err(Error::mistake(format!("{:?} does not expand to {:?}", x[0].shape, self.shape))
            .help("axes are matched from the last; only those of size 1 can be repeated"))
    }
    fn linearize(&self, x: &[Tensor], _: &[Tensor], mode: Mode, _: &[bool]) -> LinearMap {
        let (from, to) = (*x[0].shape(), self.shape);
        LinearMap::either(mode, move |t| t.expand(to), move |c| c.sum_to(from))
    }
    fn batch(&self, x: &[Spec], axes: &[Option<usize>]) -> Batch {
        let added = self.shape.rank() - x[0].shape.rank();
        match axes[0] {
            Some(a) if x[0].shape[a] == self.shape[a + added] => Batch::Each(vec![a + added]),
            _ => Batch::Mixes,
        }
    }
    fn for_examples(&self, x: &[Spec], axes: &[Option<usize>], n: usize) -> Option<Arc<dyn Op>> {
        let Batch::Each(place) = self.batch(x, axes) else { return None };
        Some(Expand { shape: self.shape.with(place[0], n) }.shared())
    }
    fn cost(&self, _: &[Spec], _: &[Spec]) -> Cost {
        Cost::default()
    }
    fn packed(&self, _: usize) -> bool {
        false
    }
    fn view(&self, x: &Layout) -> Option<Layout> {
        let added = self.shape.rank() - x.shape.rank();
        let stride = |a: usize| match a.checked_sub(added) {
            Some(b) if x.shape[b] == self.shape[a] => x.strides()[b],
            _ => 0,
        };
        let strides: Vec<isize> = (0..self.shape.rank()).map(stride).collect();
        Some(Layout::new(self.shape, &strides, x.offset))
    }
    fn cpu(&self, call: Call<'_>) {
        let layout = self.view(call.inputs[0].layout);
        copy(call, layout)
    }
}

impl Tensor {
    /// The same elements, in row-major order, in another shape. A view where strides allow it, else a copy.
    ///
    /// ```
    /// use cotangent::Tensor;
    /// assert_eq!(Tensor::zeros([2, 3, 4]).reshape([6, 4]).shape()[..], [6, 4]);
    /// ```
    ///
    /// # Panics
    /// When the numbers of elements differ.
    #[must_use]
    #[track_caller]
    pub fn reshape(&self, shape: impl Into<Shape>) -> Tensor {
        let shape = shape.into();
        if *self.shape() == shape { self.clone() } else { apply(Reshape { shape }, &[self]) }
    }

    /// Axes from `start` on become one: `flatten(1)` of `[n, c, h, w]` is `[n, c·h·w]`.
    ///
    /// # Panics
    /// When there is no such axis.
    #[must_use]
    #[track_caller]
    pub fn flatten(&self, start: isize) -> Tensor {
        if self.rank() == 0 && start == 0 {
            return self.reshape([1]);
        }
        let a = self.shape().axis(start).map_err(|e| e.verb("flatten")).or_raise();
        let mut dims = self.shape()[..a].to_vec();
        dims.push(self.shape()[a..].iter().product());
        self.reshape(dims)
    }

    /// Axes in another order: axis `i` of the result is axis `order[i]`.
    ///
    /// ```
    /// use cotangent::Tensor;
    /// assert_eq!(Tensor::zeros([2, 3, 4]).permute([2, 0, 1]).shape()[..], [4, 2, 3]);
    /// ```
    ///
    /// # Panics
    /// When `order` does not name each axis once.
    #[must_use]
    #[track_caller]
    pub fn permute(&self, order: impl AsRef<[usize]>) -> Tensor {
        permuted(self, order.as_ref())
    }

    /// Two axes change places; negative ones count from the end.
    #[must_use]
    #[track_caller]
    pub fn transpose(&self, a: isize, b: isize) -> Tensor {
        let axis = |i| self.shape().axis(i).map_err(|e| e.verb("transpose"));
        let (a, b) = (axis(a).or_raise(), axis(b).or_raise());
        let mut order: Vec<usize> = (0..self.rank()).collect();
        order.swap(a, b);
        permuted(self, &order)
    }

    /// The transpose of a matrix, `[m, n]` → `[n, m]`; what has fewer than two axes stays.
    ///
    /// # Panics
    /// With more than two axes: say which with [`Tensor::transpose`].
    #[must_use]
    #[track_caller]
    pub fn t(&self) -> Tensor {
        match self.rank() {
            0 | 1 => self.clone(),
            2 => permuted(self, &[1, 0]),
            r => Error::mistake(format!("t: a matrix is needed, not {r} axes"))
                .help("`x.transpose(-2, -1)` transposes the last two")
                .raise(),
        }
    }

    /// Axes of size 1 repeated, and leading ones added, without copying.
    ///
    /// ```
    /// use cotangent::Tensor;
    /// let x = Tensor::from([[1.0], [2.0]]).expand([2, 3]);
    /// assert_eq!(x.to_vec::<f64>(), [1.0, 1.0, 1.0, 2.0, 2.0, 2.0]);
    /// ```
    ///
    /// # Panics
    /// When an axis of another size would have to change.
    #[must_use]
    #[track_caller]
    pub fn expand(&self, shape: impl Into<Shape>) -> Tensor {
        let shape = shape.into();
        if *self.shape() == shape { self.clone() } else { apply(Expand { shape }, &[self]) }
    }

    /// A new axis of size 1 before `axis`; −1 puts it last.
    ///
    /// # Panics
    /// When `axis` is outside `−rank−1 ..= rank`.
    #[must_use]
    #[track_caller]
    pub fn unsqueeze(&self, axis: isize) -> Tensor {
        let rank = self.rank() as isize + 1;
        let a = if axis < 0 { axis + rank } else { axis };
        if !(0..rank).contains(&a) {
            Error::mistake(format!("unsqueeze: axis {axis} for a tensor of shape {:?}", self.shape())).raise()
        }
        let mut dims = self.shape().to_vec();
        dims.insert(a as usize, 1);
        self.reshape(dims)
    }

    /// Without an axis of size 1; one of another size stays, as PyTorch's.
    ///
    /// # Panics
    /// When there is no such axis.
    #[must_use]
    #[track_caller]
    pub fn squeeze(&self, axis: isize) -> Tensor {
        let a = self.shape().axis(axis).map_err(|e| e.verb("squeeze")).or_raise();
        if self.shape()[a] == 1 { self.reshape(self.shape().without(a)) } else { self.clone() }
    }

    /// The same elements in row-major order without gaps.
    #[must_use]
    #[track_caller]
    pub fn contiguous(&self) -> Tensor {
        if self.layout().is_packed() { self.clone() } else { apply(Pack, &[self]) }
    }
}

/// `y = x`, moved into row-major order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pack;

impl Op for Pack {
    fn name(&self) -> &'static str {
        "contiguous"
    }
    fn outputs(&self, x: &[Spec]) -> Result<Vec<Spec>> {
        Ok(vec![x[0].clone()])
    }
    fn linearize(&self, _: &[Tensor], _: &[Tensor], _: Mode, _: &[bool]) -> LinearMap {
        LinearMap::unary(Tensor::clone)
    }
    fn batch(&self, _: &[Spec], axes: &[Option<usize>]) -> Batch {
        super::pointwise(axes)
    }
    fn packed(&self, _: usize) -> bool {
        false
    }
    fn cpu(&self, call: Call<'_>) {
        let layout = self.view(call.inputs[0].layout);
        copy(call, layout)
    }
}
