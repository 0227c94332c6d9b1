//! Elements by their places: `gather`, its adjoint `scatter_add`, `one_hot`, `sort`.
//!
//! `y[.., i, ..] = x[.., index[.., i, ..], ..]`,  `dy = the same of dx`,  `x̄ = scatter_add(ȳ)`

use super::{Attribute, Batch, Cost, Mode, Op};
use crate::{
    apply::{apply, apply_many},
    autodiff::LinearMap,
    device::cpu::{Call, FaultSlot, View, threads},
    error::{Error, OrRaise, Result},
    tensor::{DType, Element, Layout, Shape, Spec, Tensor},
};

/// `y = x` at `index` along an axis; the other axes run together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gather {
    /// The axis.
    pub axis: usize,
}

/// Zeros of `shape`, with `x` added at `index` along an axis, in row-major order of `x`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScatterAdd {
    /// The axis.
    pub axis: usize,
    /// The result's shape.
    pub shape: Shape,
}

fn is_index(s: &Spec) -> Result<()> {
    match s.dtype {
        DType::I64 => Ok(()),
        other => {
            Err(Error::mistake(format!("an index holds int64, not {other}")).help("`index.cast(DType::I64)`"))
        }
    }
}

/// Places are whole numbers; a real one is a mistake, not something to cut.
#[track_caller]
fn whole(verb: &str, index: &Tensor) -> Tensor {
    if index.dtype().is_float() || index.dtype() == DType::Bool {
        let advice = match index.dtype() {
            DType::Bool => "truth values select with `masked_select`, or by `where_`",
            _ => "`index.cast(DType::I64)`",
        };
        Error::mistake(format!("an index holds whole numbers, not {}", index.dtype()))
            .verb(verb)
            .help(advice)
            .raise()
    }
    index.cast(DType::I64)
}

fn within(index: &Shape, whole: &Shape, axis: usize) -> Result<()> {
    let fits = index.rank() == whole.rank()
        && axis < whole.rank()
        && (0..whole.rank()).all(|a| a == axis || index[a] <= whole[a]);
    if fits {
        return Ok(());
    }
    Err(Error::mistake(format!("an index {index:?} does not fit {whole:?} along axis {axis}"))
        .help("the index has as many axes, and no other is longer"))
}

/// Visit (place in the index, place in the whole) for every element of the index.
fn places(index: &View<'_>, whole: &Shape, axis: usize, fault: &FaultSlot, mut f: impl FnMut(usize, usize)) {
    let (shape, values) = (index.layout.shape, index.memory::<i64>());
    let strides = Layout::packed(*whole);
    let mut at = vec![0usize; shape.rank()];
    for i in 0..shape.len() {
        let value = values[index.layout.at(&at)];
        let size = whole[axis];
        if (0..size as i64).contains(&value) {
            let own = at[axis];
            at[axis] = value as usize;
            f(i, strides.at(&at));
            at[axis] = own;
        } else {
            fault.report(i, value as f64, || format!("an index along axis {axis} must be in 0..{size}"));
        }
        for a in (0..shape.rank()).rev() {
            at[a] += 1;
            if at[a] < shape[a] {
                break;
            }
            at[a] = 0;
        }
    }
}

/// The batch axis that an index and what it indexes share, beside the indexed one.
fn along(axes: &[Option<usize>], axis: usize, x: &[Spec]) -> Batch {
    match (axes[0], axes[1]) {
        (Some(a), Some(b)) if a == b && a != axis && x[0].shape[a] == x[1].shape[a] => Batch::Each(vec![a]),
        _ => Batch::Mixes,
    }
}

impl Op for Gather {
    fn name(&self) -> &'static str {
        "gather"
    }
    fn faults(&self) -> bool {
        true
    }
    fn attributes(&self) -> Vec<(&'static str, Attribute)> {
        vec![("axis", self.axis.into())]
    }
    fn outputs(&self, x: &[Spec]) -> Result<Vec<Spec>> {
        is_index(&x[1])?;
        within(&x[1].shape, &x[0].shape, self.axis)?;
        Ok(vec![x[0].with(x[1].shape)])
    }
    fn linearize(&self, x: &[Tensor], _: &[Tensor], mode: Mode, _: &[bool]) -> LinearMap {
        let (op, index, shape) = (*self, x[1].clone(), *x[0].shape());
        match mode {
            Mode::Push => LinearMap::new(move |t| vec![t[0].as_ref().map(|t| apply(op, &[t, &index]))]),
            Mode::Pull => LinearMap::new(move |c| {
                let back = ScatterAdd { axis: op.axis, shape };
                vec![c[0].as_ref().map(|c| apply(back, &[c, &index])), None]
            }),
        }
    }
    fn batch(&self, x: &[Spec], axes: &[Option<usize>]) -> Batch {
        along(axes, self.axis, x)
    }
    fn packed(&self, input: usize) -> bool {
        input == 0
    }
    fn cpu(&self, mut call: Call<'_>) {
        let [x, index] = call.inputs else { unreachable!("two operands") };
        crate::dispatch!(x.dtype, T => {
            let (from, fault) = (x.packed::<T>(), call.fault);
            let y = call.output::<T>();
            y.fill(T::default());
            places(index, &x.layout.shape, self.axis, fault, |i, at| y[i] = from[at]);
        })
    }
}

impl Op for ScatterAdd {
    fn name(&self) -> &'static str {
        "scatter_add"
    }
    fn faults(&self) -> bool {
        true
    }
    fn attributes(&self) -> Vec<(&'static str, Attribute)> {
        vec![("axis", self.axis.into()), ("shape", self.shape[..].into())]
    }
    fn outputs(&self, x: &[Spec]) -> Result<Vec<Spec>> {
        is_index(&x[1])?;
        within(&x[1].shape, &self.shape, self.axis)?;
        if x[0].shape != x[1].shape {
            return Err(Error::mistake(format!("source {:?} and index {:?} differ", x[0].shape, x[1].shape)));
        }
        if x[0].dtype == DType::Bool {
            return Err(Error::mistake("truth values cannot be added"));
        }
        Ok(vec![x[0].with(self.shape)])
    }
    fn linearize(&self, x: &[Tensor], _: &[Tensor], mode: Mode, _: &[bool]) -> LinearMap {
        let (op, index) = (*self, x[1].clone());
        match mode {
            Mode::Push => LinearMap::new(move |t| vec![t[0].as_ref().map(|t| apply(op, &[t, &index]))]),
            Mode::Pull => LinearMap::new(move |c| {
                vec![c[0].as_ref().map(|c| apply(Gather { axis: op.axis }, &[c, &index])), None]
            }),
        }
    }
    fn batch(&self, x: &[Spec], axes: &[Option<usize>]) -> Batch {
        match along(axes, self.axis, x) {
            Batch::Each(a) if self.shape[a[0]] == x[0].shape[a[0]] => Batch::Each(a),
            _ => Batch::Mixes,
        }
    }
    fn for_examples(&self, x: &[Spec], axes: &[Option<usize>], n: usize) -> Option<std::sync::Arc<dyn Op>> {
        let Batch::Each(a) = self.batch(x, axes) else { return None };
        Some(ScatterAdd { shape: self.shape.with(a[0], n), ..*self }.shared())
    }
    fn cost(&self, x: &[Spec], y: &[Spec]) -> Cost {
        Cost { additions: x[0].shape.len() as u64, ..Cost::default() }.moving(x, y)
    }
    fn packed(&self, input: usize) -> bool {
        input == 0
    }
    fn cpu(&self, mut call: Call<'_>) {
        let [x, index] = call.inputs else { unreachable!("two operands") };
        let (shape, axis, fault) = (self.shape, self.axis, call.fault);
        macro_rules! add {
            ($t:ty, $plus:expr) => {{
                let from = x.packed::<$t>();
                let y = call.output::<$t>();
                y.fill(<$t>::default());
                places(index, &shape, axis, fault, |i, at| y[at] = $plus(y[at], from[i]));
            }};
        }
        match x.dtype {
            DType::U8 => add!(u8, u8::wrapping_add),
            DType::I32 => add!(i32, i32::wrapping_add),
            DType::I64 => add!(i64, i64::wrapping_add),
            DType::F32 => add!(f32, |a: f32, b| a + b),
            DType::F64 => add!(f64, |a: f64, b| a + b),
            DType::Bool => unreachable!("the shape rule refuses truth values"),
        }
    }
}

/// `y[.., c] = 1` where `c` is the label, else 0; `I64`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OneHot {
    /// How many classes.
    pub classes: usize,
}

/// What to say of a label that is none.
pub(crate) fn bad_label(value: i64, classes: usize) -> String {
    let mut text = format!("labels of {classes} classes run from 0 to {}", classes.saturating_sub(1));
    if value == classes as i64 {
        text.push_str(&format!("; are yours 1..{classes}? Subtract 1: `&labels - 1`"));
    }
    text
}

impl Op for OneHot {
    fn name(&self) -> &'static str {
        "one_hot"
    }
    fn faults(&self) -> bool {
        true
    }
    fn attributes(&self) -> Vec<(&'static str, Attribute)> {
        vec![("classes", self.classes.into())]
    }
    fn outputs(&self, x: &[Spec]) -> Result<Vec<Spec>> {
        if x[0].dtype.is_float() || x[0].dtype == DType::Bool {
            return Err(Error::mistake(format!("labels are whole numbers, not {}", x[0].dtype)));
        }
        let mut dims = x[0].shape.to_vec();
        dims.push(self.classes);
        Ok(vec![x[0].with(Shape::try_new(&dims)?).of(DType::I64)])
    }
    fn linearize(&self, _: &[Tensor], _: &[Tensor], _: Mode, _: &[bool]) -> LinearMap {
        LinearMap::zero(1)
    }
    fn batch(&self, _: &[Spec], axes: &[Option<usize>]) -> Batch {
        super::pointwise(axes)
    }
    fn cpu(&self, mut call: Call<'_>) {
        let (n, fault) = (self.classes, call.fault);
        crate::dispatch!(call.inputs[0].dtype, T => {
            let labels = call.inputs[0].packed::<T>();
            let y = call.output::<i64>();
            y.fill(0);
            for (i, c) in labels.iter().enumerate() {
                let c: i64 = c.cast();
                match usize::try_from(c).ok().filter(|c| *c < n) {
                    Some(c) => y[i * n + c] = 1,
                    None => fault.report(i, c as f64, || bad_label(c, n)),
                }
            }
        })
    }
}

/// Values in order along an axis, and the places they came from; equal ones keep their order, NaN counts as the
/// largest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sort {
    /// The axis.
    pub axis: usize,
    /// Largest first.
    pub descending: bool,
}

impl Op for Sort {
    fn name(&self) -> &'static str {
        "sort"
    }
    fn attributes(&self) -> Vec<(&'static str, Attribute)> {
        vec![("axis", self.axis.into()), ("descending", self.descending.into())]
    }
    fn outputs(&self, x: &[Spec]) -> Result<Vec<Spec>> {
        if self.axis >= x[0].shape.rank() {
            return Err(Error::mistake(format!("axis {} of a tensor of shape {:?}", self.axis, x[0].shape)));
        }
        Ok(vec![x[0].clone(), x[0].of(DType::I64)])
    }
    fn linearize(&self, x: &[Tensor], y: &[Tensor], mode: Mode, _: &[bool]) -> LinearMap {
        by_index(self.axis, &y[1], *x[0].shape(), mode)
    }
    fn batch(&self, _: &[Spec], axes: &[Option<usize>]) -> Batch {
        match axes[0] {
            Some(a) if a != self.axis => Batch::Each(vec![a, a]),
            _ => Batch::Mixes,
        }
    }
    fn cost(&self, x: &[Spec], y: &[Spec]) -> Cost {
        let (n, k) = (x[0].shape.len() as u64, x[0].shape[self.axis].max(2) as u64);
        Cost { additions: n * u64::from(k.ilog2()), ..Cost::default() }.moving(x, y)
    }
    fn cpu(&self, mut call: Call<'_>) {
        let shape = call.inputs[0].layout.shape;
        let (k, inner) = (shape[self.axis], shape[self.axis + 1..].iter().product::<usize>());
        crate::dispatch!(call.inputs[0].dtype, T => {
            let x = call.inputs[0].packed::<T>();
            let (values, indices) = call.outputs2::<T, i64>();
            if x.is_empty() { return }
            let groups = values.chunks_mut(k * inner).zip(indices.chunks_mut(k * inner)).zip(x.chunks(k * inner));
            for ((values, indices), x) in groups {
                for j in 0..inner {
                    let at = |i: &usize| x[i * inner + j];
                    let mut order: Vec<usize> = (0..k).collect();
                    order.sort_by(|a, b| {
                        let ascending = compare(at(a), at(b));
                        if self.descending { ascending.reverse() } else { ascending }
                    });
                    for (i, from) in order.iter().enumerate() {
                        values[i * inner + j] = at(from);
                        indices[i * inner + j] = *from as i64;
                    }
                }
            }
        })
    }
}

/// NaN is the largest, as PyTorch's `sort` has it.
fn compare<T: Element>(a: T, b: T) -> std::cmp::Ordering {
    a.partial_cmp(&b).unwrap_or_else(|| {
        #[allow(clippy::eq_op)]
        let nan = |x: T| x != x;
        nan(a).cmp(&nan(b))
    })
}

/// The derivative of what picks elements: gather them, or scatter them back.
pub(crate) fn by_index(axis: usize, index: &Tensor, shape: Shape, mode: Mode) -> LinearMap {
    let index = index.clone();
    match mode {
        Mode::Push => {
            LinearMap::new(move |t| vec![t[0].as_ref().map(|t| apply(Gather { axis }, &[t, &index])), None])
        }
        Mode::Pull => LinearMap::new(move |c| {
            vec![c[0].as_ref().map(|c| apply(ScatterAdd { axis, shape }, &[c, &index]))]
        }),
    }
}

/// The largest (or smallest) value along an axis, which stays as size 1, and its place; the first one at a tie,
/// NaN before all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extremum {
    /// The axis.
    pub axis: usize,
    /// The smallest instead of the largest.
    pub smallest: bool,
}

impl Op for Extremum {
    fn name(&self) -> &'static str {
        if self.smallest { "min" } else { "max" }
    }
    fn attributes(&self) -> Vec<(&'static str, Attribute)> {
        vec![("axis", self.axis.into()), ("smallest", self.smallest.into())]
    }
    fn outputs(&self, x: &[Spec]) -> Result<Vec<Spec>> {
        let s = &x[0].shape;
        if self.axis >= s.rank() {
            return Err(Error::mistake(format!("axis {} of a tensor of shape {s:?}", self.axis)));
        }
        if s[self.axis] == 0 {
            return Err(Error::mistake(format!(
                "axis {} of {s:?} is empty: nothing is the largest there",
                self.axis
            )));
        }
        let y = x[0].with(s.with(self.axis, 1));
        Ok(vec![y.clone(), y.of(DType::I64)])
    }
    fn linearize(&self, x: &[Tensor], y: &[Tensor], mode: Mode, _: &[bool]) -> LinearMap {
        by_index(self.axis, &y[1], *x[0].shape(), mode)
    }
    fn batch(&self, _: &[Spec], axes: &[Option<usize>]) -> Batch {
        match axes[0] {
            Some(a) if a != self.axis => Batch::Each(vec![a, a]),
            _ => Batch::Mixes,
        }
    }
    fn cost(&self, x: &[Spec], y: &[Spec]) -> Cost {
        Cost { additions: x[0].shape.len() as u64, saved: y[1].bytes() as u64, ..Cost::default() }
            .moving(x, y)
    }
    fn cpu(&self, mut call: Call<'_>) {
        let shape = call.inputs[0].layout.shape;
        let (k, inner) = (shape[self.axis], shape[self.axis + 1..].iter().product::<usize>());
        let smallest = self.smallest;
        crate::dispatch!(call.inputs[0].dtype, T => {
            let x = call.inputs[0].packed::<T>();
            let (values, indices) = call.outputs2::<T, i64>();
            if values.is_empty() { return }
            let chunk = ((1 << 14) / k).max(1);
            threads::chunks_mut(indices, chunk, |c, part| {
                for (j, place) in part.iter_mut().enumerate() {
                    let (outer, inside) = ((c * chunk + j) / inner, (c * chunk + j) % inner);
                    let at = |i: usize| x[(outer * k + i) * inner + inside];
                    let mut best = 0;
                    for i in 1..k {
                        let (a, b) = (at(i), at(best));
                        #[allow(clippy::eq_op, clippy::bool_comparison)]
                        let wins = if smallest { a < b } else { a > b } || (a != a && b == b);
                        if wins { best = i }
                    }
                    *place = best as i64;
                }
            });
            for (j, (y, i)) in values.iter_mut().zip(indices.iter()).enumerate() {
                *y = x[(j / inner * k + *i as usize) * inner + j % inner];
            }
        })
    }
}

impl Tensor {
    /// `y[i, j] = x[index[i, j], j]` along axis 0, and so on; `index` holds `I64`.
    ///
    /// ```
    /// use cotangent::Tensor;
    /// let x = Tensor::from([[1.0, 2.0], [3.0, 4.0]]);
    /// assert_eq!(x.gather(1, &Tensor::from([[1i64], [0]])).to_vec::<f64>(), [2.0, 3.0]);
    /// ```
    ///
    /// # Panics
    /// When the index has another number of axes, or holds a place that is not there.
    #[must_use]
    #[track_caller]
    pub fn gather(&self, axis: isize, index: &Tensor) -> Tensor {
        let axis = self.shape().axis(axis).map_err(|e| e.verb("gather")).or_raise();
        apply(Gather { axis }, &[self, &whole("gather", index)])
    }

    /// `y = self`, with `source` added at `index` along an axis; several may meet in one place.
    ///
    /// ```
    /// use cotangent::Tensor;
    /// let y = Tensor::zeros([3]).scatter_add(0, &Tensor::from([0i64, 2, 0]), &Tensor::from([1f32, 2.0, 3.0]));
    /// assert_eq!(y.to_vec::<f32>(), [4.0, 0.0, 2.0]);
    /// ```
    ///
    /// # Panics
    /// When shapes do not fit, or a place is not there.
    #[must_use]
    #[track_caller]
    pub fn scatter_add(&self, axis: isize, index: &Tensor, source: &Tensor) -> Tensor {
        let axis = self.shape().axis(axis).map_err(|e| e.verb("scatter_add")).or_raise();
        self + apply(ScatterAdd { axis, shape: *self.shape() }, &[source, &whole("scatter_add", index)])
    }

    /// Whole slices of an axis, by the places in a list: `index_select(0, [2, 0])` are rows 2 and 0.
    ///
    /// # Panics
    /// When `index` is not a list, or holds a place that is not there.
    #[must_use]
    #[track_caller]
    pub fn index_select(&self, axis: isize, index: &Tensor) -> Tensor {
        let a = self.shape().axis(axis).map_err(|e| e.verb("index_select")).or_raise();
        if index.rank() != 1 {
            Error::mistake(format!("index_select: the index is a list, not of shape {:?}", index.shape()))
                .raise()
        }
        let n = index.numel();
        let mut dims = vec![1; self.rank()];
        dims[a] = n;
        let index = whole("index_select", index).reshape(dims).expand(self.shape().with(a, n));
        apply(Gather { axis: a }, &[self, &index])
    }

    /// `y[.., c] = 1` where `c` is the label, else 0 (row D14): `[..]` → `[.., classes]`, `I64`.
    ///
    /// ```
    /// use cotangent::Tensor;
    /// assert_eq!(Tensor::from([1, 0]).one_hot(2).to_vec::<i64>(), [0, 1, 1, 0]);
    /// ```
    ///
    /// # Panics
    /// At a label outside `0..classes`, with its place.
    #[must_use]
    #[track_caller]
    pub fn one_hot(&self, classes: usize) -> Tensor {
        apply(OneHot { classes }, &[self])
    }

    /// (values in order, the places they came from); equal ones keep their order, NaN is the largest.
    ///
    /// ```
    /// use cotangent::Tensor;
    /// let (y, i) = Tensor::from([3.0, 1.0, 2.0]).sort(0, false);
    /// assert_eq!((y.to_vec::<f64>(), i.to_vec::<i64>()), (vec![1.0, 2.0, 3.0], vec![1, 2, 0]));
    /// ```
    ///
    /// # Panics
    /// When there is no such axis.
    #[track_caller]
    pub fn sort(&self, axis: isize, descending: bool) -> (Tensor, Tensor) {
        let axis = self.shape().axis(axis).map_err(|e| e.verb("sort")).or_raise();
        pair(apply_many(Sort { axis, descending }, &[self]))
    }

    /// The places that would put an axis in order.
    #[must_use]
    #[track_caller]
    pub fn argsort(&self, axis: isize, descending: bool) -> Tensor {
        self.sort(axis, descending).1
    }

    /// (largest values along an axis, their places); the first at a tie, NaN before all. `dy = dx` there.
    ///
    /// # Panics
    /// When there is no such axis, or it is empty.
    #[track_caller]
    pub fn max_over(&self, axis: isize, keep: bool) -> (Tensor, Tensor) {
        self.extremum(axis, keep, false)
    }

    /// (smallest values along an axis, their places); the first at a tie, NaN before all.
    ///
    /// # Panics
    /// When there is no such axis, or it is empty.
    #[track_caller]
    pub fn min_over(&self, axis: isize, keep: bool) -> (Tensor, Tensor) {
        self.extremum(axis, keep, true)
    }

    #[track_caller]
    fn extremum(&self, axis: isize, keep: bool, smallest: bool) -> (Tensor, Tensor) {
        let verb = if smallest { "min" } else { "max" };
        let axis = self.shape().axis(axis).map_err(|e| e.verb(verb)).or_raise();
        let (y, i) = pair(apply_many(Extremum { axis, smallest }, &[self]));
        if keep { (y, i) } else { (super::without(&y, &[axis]), super::without(&i, &[axis])) }
    }

    /// The place of the largest value along an axis, which goes away.
    ///
    /// ```
    /// use cotangent::Tensor;
    /// assert_eq!(Tensor::from([[1.0, 5.0], [7.0, 2.0]]).argmax(1).to_vec::<i64>(), [1, 0]);
    /// ```
    ///
    /// # Panics
    /// When there is no such axis, or it is empty.
    #[must_use]
    #[track_caller]
    pub fn argmax(&self, axis: isize) -> Tensor {
        self.max_over(axis, false).1
    }

    /// The largest of all elements; the first one of several gets the derivative.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    #[track_caller]
    pub fn max(&self) -> Tensor {
        self.flatten(0).max_over(0, false).0
    }

    /// The smallest of all elements.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    #[track_caller]
    pub fn min(&self) -> Tensor {
        self.flatten(0).min_over(0, false).0
    }

    /// `y = ln Σ eˣ` along an axis, shifted by the largest so that nothing overflows.  `dy = Σ softmax(x)·dx`
    ///
    /// ```
    /// use cotangent::Tensor;
    /// let y = Tensor::from([1000.0, 1000.0]).logsumexp(0, false).item();
    /// assert!((y - (1000.0 + 2f64.ln())).abs() < 1e-12);
    /// ```
    ///
    /// # Panics
    /// When there is no such axis, or it is empty.
    #[must_use]
    #[track_caller]
    pub fn logsumexp(&self, axis: isize, keep: bool) -> Tensor {
        let x = self.cast(self.dtype().to_float());
        let a = x.shape().axis(axis).map_err(|e| e.verb("logsumexp")).or_raise();
        // The shift cancels, so its derivative is none; an infinite one would make inf − inf.
        let top = x.detach().max_over(a as isize, true).0;
        let top = top.where_(&top.isfinite(), &top.zeros_like());
        let y = (&x - &top).exp().sum_over([a as isize], true).ln() + top;
        if keep { y } else { super::without(&y, &[a]) }
    }

    /// The elements where `mask` is true, as a list: as many as there are, so it cannot be recorded.
    ///
    /// ```
    /// use cotangent::Tensor;
    /// let x = Tensor::from([1.0, 2.0, 3.0]);
    /// assert_eq!(x.masked_select(&x.gt(1.5)).to_vec::<f64>(), [2.0, 3.0]);
    /// ```
    ///
    /// # Panics
    /// When the mask does not broadcast to the shape, or a step is being recorded.
    #[must_use]
    #[track_caller]
    pub fn masked_select(&self, mask: &Tensor) -> Tensor {
        let shape = self.shape().broadcast(mask.shape()).map_err(|e| e.verb("masked_select")).or_raise();
        if mask.is_recorded() {
            Error::mistake(
                "masked_select: how many elements there are depends on values, which a recording has not",
            )
            .help("`where_` keeps the size: `x.where_(&mask, &zeros)`")
            .raise()
        }
        let chosen: Vec<i64> = mask
            .expand(shape)
            .to_vec::<bool>()
            .iter()
            .enumerate()
            .filter(|(_, m)| **m)
            .map(|(i, _)| i as i64)
            .collect();
        self.expand(shape).flatten(0).index_select(0, &Tensor::from(chosen).to(&self.device()))
    }
}

fn pair(y: Vec<Tensor>) -> (Tensor, Tensor) {
    let [a, b] = <[Tensor; 2]>::try_from(y).unwrap_or_else(|_| unreachable!("two outputs"));
    (a, b)
}
