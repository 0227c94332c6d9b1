//! Sums over axes.    `y = Σ x`,  `dy = Σ dx`,  `x̄ = ȳ expanded`
//!
//! Sums are cut by shape alone, into parts that a fixed tree adds: the same bits for any number of threads.

pub(crate) mod lanes;

use super::{Attribute, Batch, Cost, Lanes, Mode, Op};
use crate::{
    apply::apply,
    autodiff::LinearMap,
    device::cpu::{
        Call,
        arena::{Plain, Scratch, room},
        isa::{Loop, wide},
        strided::Add,
        threads,
    },
    error::{Error, OrRaise, Result},
    tensor::{DType, Element, MAX_RANK, Shape, Spec, Tensor},
};
use smallvec::SmallVec;

/// The sum over some axes, which stay as size 1. Truth values and integers give `I64`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sum {
    /// Which axes, in order.
    pub axes: Vec<usize>,
}

/// Elements added one after the other into one lane before a tree takes over.
const PART: usize = 4096;
/// Running sums side by side, so that additions do not wait for each other.
const LANES: usize = 32;

impl Op for Sum {
    fn name(&self) -> &'static str {
        "sum"
    }
    fn attributes(&self) -> Vec<(&'static str, Attribute)> {
        vec![("axes", self.axes[..].into())]
    }
    fn outputs(&self, x: &[Spec]) -> Result<Vec<Spec>> {
        if let Some(a) = self.axes.iter().find(|a| **a >= x[0].shape.rank()) {
            return Err(Error::mistake(format!("axis {a} of a tensor of shape {:?}", x[0].shape)));
        }
        let shape = self.axes.iter().fold(x[0].shape, |s, a| s.with(*a, 1));
        let dtype = if x[0].dtype.is_float() { x[0].dtype } else { DType::I64 };
        Ok(vec![x[0].with(shape).of(dtype)])
    }
    fn linearize(&self, x: &[Tensor], _: &[Tensor], mode: Mode, _: &[bool]) -> LinearMap {
        let (axes, from) = (self.axes.clone(), *x[0].shape());
        LinearMap::either(mode, move |t| apply(Sum { axes: axes.clone() }, &[t]), move |c| c.expand(from))
    }
    fn batch(&self, _: &[Spec], axes: &[Option<usize>]) -> Batch {
        match axes[0] {
            Some(a) if self.axes.contains(&a) => Batch::Sums,
            Some(a) => Batch::Each(vec![a]),
            None => Batch::Mixes,
        }
    }
    fn cost(&self, x: &[Spec], y: &[Spec]) -> Cost {
        Cost { additions: x[0].shape.len() as u64, ..Cost::default() }.moving(x, y)
    }
    fn scratch(&self, x: &[Spec]) -> usize {
        let (groups, n) = (grouped(&x[0].shape, &self.axes), x[0].shape.len());
        match x[0].dtype {
            DType::F32 => needed::<f32>(&groups),
            DType::F64 => needed::<f64>(&groups),
            _ => room::<i64>(n) + needed::<i64>(&groups),
        }
    }
    fn cpu(&self, call: Call<'_>) {
        let groups = &grouped(&call.inputs[0].layout.shape, &self.axes);
        let (dtype, mut scratch) = (call.inputs[0].dtype, Scratch::new(call.scratch));
        let (x, y) = (&call.inputs[0], &mut call.outputs[0]);
        match dtype {
            DType::F32 => sums::<f32>(x.packed(), y.slice(), groups, &mut scratch),
            DType::F64 => sums::<f64>(x.packed(), y.slice(), groups, &mut scratch),
            _ => crate::dispatch!(dtype, T => {
                let x = x.packed::<T>();
                let wide = scratch.take::<i64>(x.len());
                wide.iter_mut().zip(x).for_each(|(wide, x)| *wide = x.cast());
                sums::<i64>(wide, y.slice(), groups, &mut scratch)
            }),
        }
    }
    fn lanes(&self, x: &[Spec], axes: &[Option<usize>], then: &[&dyn Op]) -> Option<Lanes> {
        let ([Some(batch)], [], DType::F32) = (axes, then, x[0].dtype) else { return None };
        let axes: Vec<usize> =
            self.axes.iter().filter(|a| *a != batch).map(|a| a - usize::from(a > batch)).collect();
        lanes::sum(&x[0].shape.without(*batch), &axes, self.axes.contains(batch))
    }
}

/// What a sum adds.
trait Addend: Element + Plain {
    fn plus(self, o: Self) -> Self;
}
impl Addend for f32 {
    #[inline(always)]
    fn plus(self, o: f32) -> f32 {
        self + o
    }
}
impl Addend for f64 {
    #[inline(always)]
    fn plus(self, o: f64) -> f64 {
        self + o
    }
}
impl Addend for i64 {
    #[inline(always)]
    fn plus(self, o: i64) -> i64 {
        self.wrapping_add(o)
    }
}

/// One run of elements, in lanes, lanes in a tree.
fn run<T: Addend>(x: &[T]) -> T {
    let mut lanes = [T::default(); LANES];
    wide(Run { x, lanes: &mut lanes });
    tree(&mut lanes)
}

/// Element `i` goes to lane `i mod LANES`.
struct Run<'a, T> {
    x: &'a [T],
    lanes: &'a mut [T; LANES],
}

impl<T: Addend> Loop for Run<'_, T> {
    #[inline(always)]
    fn run(self) {
        let mut lanes = *self.lanes;
        let (chunks, rest) = self.x.as_chunks::<LANES>();
        for chunk in chunks {
            lanes.iter_mut().zip(chunk).for_each(|(l, x)| *l = l.plus(*x));
        }
        lanes.iter_mut().zip(rest).for_each(|(l, x)| *l = l.plus(*x));
        *self.lanes = lanes;
    }
}

/// Neighbours first, then neighbours of neighbours.
fn tree<T: Addend>(parts: &mut [T]) -> T {
    let mut n = parts.len();
    while n > 1 {
        let half = n.div_ceil(2);
        for i in 0..n / 2 {
            parts[i] = parts[2 * i].plus(parts[2 * i + 1]);
        }
        if n % 2 == 1 {
            parts[half - 1] = parts[n - 1];
        }
        n = half;
    }
    parts.first().copied().unwrap_or_default()
}

fn long_run<T: Addend>(x: &[T]) -> T {
    if x.len() <= PART {
        return run(x);
    }
    let mut parts = vec![T::default(); x.len().div_ceil(PART)];
    threads::chunks_mut(&mut parts, 16, |i, parts| {
        for (j, p) in parts.iter_mut().enumerate() {
            let start = (i * 16 + j) * PART;
            *p = run(&x[start..(start + PART).min(x.len())]);
        }
    });
    tree(&mut parts)
}

/// Axes that are kept or summed, neighbours of one kind merged: sizes, and whether they are summed.
type Groups = SmallVec<[(usize, bool); MAX_RANK]>;

fn grouped(shape: &Shape, axes: &[usize]) -> Groups {
    let mut groups = Groups::new();
    for (a, &n) in shape.iter().enumerate() {
        let summed = axes.contains(&a);
        match groups.last_mut() {
            Some((m, s)) if *s == summed => *m *= n,
            _ => groups.push((n, summed)),
        }
    }
    groups
}

/// The last summed group, how many elements stand before it and behind it, and, where others are summed too, the
/// groups of what summing it leaves.
fn last(groups: &[(usize, bool)]) -> Option<(usize, usize, usize, Option<Groups>)> {
    let last = groups.iter().rposition(|g| g.1)?;
    let (before, behind) = (&groups[..last], &groups[last + 1..]);
    let size = |groups: &[(usize, bool)]| groups.iter().map(|g| g.0).product::<usize>();
    let (outer, inner) = (size(before), size(behind));
    let more = before.iter().any(|g| g.1);
    let left = more.then(|| before.iter().copied().chain([(inner, false)]).collect());
    Some((groups[last].0, outer, inner, left))
}

/// Working memory of [`sums`].
fn needed<T: Addend>(groups: &[(usize, bool)]) -> usize {
    match last(groups) {
        Some((_, outer, inner, Some(left))) => room::<T>(outer * inner) + needed::<T>(&left),
        _ => 0,
    }
}

/// Sum the last summed group, then the rest.
fn sums<T: Addend>(x: &[T], y: &mut [T], groups: &[(usize, bool)], scratch: &mut Scratch<'_>) {
    let Some((n, outer, inner, left)) = last(groups) else { return y.copy_from_slice(x) };
    if let Some(left) = left {
        let part = scratch.take::<T>(outer * inner);
        group(x, part, [n, outer, inner]);
        return sums(part, y, &left, scratch);
    }
    group(x, y, [n, outer, inner]);
}

/// `y[o, j] = Σ_i x[o, i, j]`
fn group<T: Addend>(x: &[T], into: &mut [T], [n, outer, inner]: [usize; 3]) {
    if n == 0 || into.is_empty() {
        into.fill(T::default());
    } else if inner == 1 {
        match outer {
            1 => into[0] = long_run(x),
            _ => threads::chunks_mut(into, (1usize << 16).div_ceil(n), |i, rows| {
                let first = i * (1usize << 16).div_ceil(n);
                rows.iter_mut().enumerate().for_each(|(j, y)| {
                    let row = &x[(first + j) * n..(first + j + 1) * n];
                    *y = if n <= PART { run(row) } else { long_run(row) };
                });
            }),
        }
    } else {
        threads::chunks_mut(into, inner, |o, y| columns(&x[o * n * inner..(o + 1) * n * inner], y, n));
    }
}

/// `y[j] = Σ_i x[i, j]`: rows in parts of fixed length, parts in a tree.
fn columns<T: Addend>(x: &[T], y: &mut [T], n: usize) {
    const ROWS: usize = 64;
    let inner = y.len();
    if n <= ROWS {
        y.copy_from_slice(&x[..inner]);
        x[inner..].chunks_exact(inner).for_each(|x| wide(Add { x, y: &mut *y, plus: T::plus }));
        return;
    }
    let half = (n / 2).next_multiple_of(ROWS).min(n - 1);
    let mut upper = vec![T::default(); inner];
    columns(&x[..half * inner], y, half);
    columns(&x[half * inner..], &mut upper, n - half);
    wide(Add { x: &upper, y, plus: T::plus });
}

impl Tensor {
    /// Sum over the axes that an expansion from `shape` would repeat: the adjoint of [`Tensor::expand`].
    #[must_use]
    #[track_caller]
    pub fn sum_to(&self, shape: impl Into<Shape>) -> Tensor {
        let shape = shape.into();
        if *self.shape() == shape {
            return self.clone();
        }
        let added = self.rank() - shape.rank();
        let repeated = |a: &usize| *a < added || (shape[*a - added] == 1 && self.shape()[*a] != 1);
        let axes: Vec<usize> = (0..self.rank()).filter(repeated).collect();
        apply(Sum { axes }, &[self]).reshape(shape)
    }

    /// `y = Σ x`, of all elements. Integers give `I64`.
    ///
    /// ```
    /// use cotangent::Tensor;
    /// assert_eq!(Tensor::from([[1.0, 2.0], [3.0, 4.0]]).sum().item(), 10.0);
    /// ```
    #[must_use]
    #[track_caller]
    pub fn sum(&self) -> Tensor {
        apply(Sum { axes: (0..self.rank()).collect() }, &[self]).reshape(())
    }

    /// `y = Σ x` over some axes, which go away, or stay as size 1 with `keep`. Negative ones count from the end.
    ///
    /// ```
    /// use cotangent::Tensor;
    /// let x = Tensor::from([[1.0, 2.0], [3.0, 4.0]]);
    /// assert_eq!(x.sum_over([0], false).to_vec::<f64>(), [4.0, 6.0]);
    /// ```
    ///
    /// # Panics
    /// When there is no such axis, or one stands twice.
    #[must_use]
    #[track_caller]
    pub fn sum_over(&self, axes: impl AsRef<[isize]>, keep: bool) -> Tensor {
        let axes = axes_of("sum", self.shape(), axes.as_ref()).or_raise();
        let y = apply(Sum { axes: axes.clone() }, &[self]);
        if keep { y } else { without(&y, &axes) }
    }

    /// `y = (Σ x)/n`, of all elements; NaN when there is none, as PyTorch's. Integers give `F32`.
    #[must_use]
    #[track_caller]
    pub fn mean(&self) -> Tensor {
        let x = self.cast(self.dtype().to_float());
        x.sum() / self.numel() as f64
    }

    /// `y = (Σ x)/n` over some axes, which go away, or stay as size 1 with `keep`.
    ///
    /// # Panics
    /// When there is no such axis, or one stands twice.
    #[must_use]
    #[track_caller]
    pub fn mean_over(&self, axes: impl AsRef<[isize]>, keep: bool) -> Tensor {
        let list = axes_of("mean", self.shape(), axes.as_ref()).or_raise();
        let n: usize = list.iter().map(|a| self.shape()[*a]).product();
        self.cast(self.dtype().to_float()).sum_over(axes, keep) / n as f64
    }

    /// `y = √Σx²`, of all elements.
    #[must_use]
    #[track_caller]
    pub fn norm(&self) -> Tensor {
        self.square().sum().sqrt()
    }
}

/// Axes as sorted numbers from 0.
pub(crate) fn axes_of(verb: &str, shape: &Shape, axes: &[isize]) -> Result<Vec<usize>> {
    let mut list =
        axes.iter().map(|a| shape.axis(*a)).collect::<Result<Vec<usize>>>().map_err(|e| e.verb(verb))?;
    list.sort_unstable();
    if let Some(w) = list.windows(2).find(|w| w[0] == w[1]) {
        return Err(Error::mistake(format!("axis {} stands twice in {axes:?}", w[0])).verb(verb));
    }
    Ok(list)
}

/// Without axes of size 1.
#[track_caller]
pub(crate) fn without(x: &Tensor, axes: &[usize]) -> Tensor {
    let dims: Vec<usize> = (0..x.rank()).filter(|a| !axes.contains(a)).map(|a| x.shape()[a]).collect();
    x.reshape(dims)
}
