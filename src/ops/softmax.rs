//! `μ(x)ᵢ = e^{xᵢ}/Σⱼe^{xⱼ}`, its logarithm, and the cross entropy of logits with labels.
//!
//! `dμ = μ∘(dx − ⟨μ, dx⟩)`,  `d ln μ = dx − ⟨μ, dx⟩`,  `dℓ = ⟨μ − onehot(y), dx⟩`

pub(crate) mod cpu;

use super::{Attribute, Batch, Cost, Lanes, Mode, Op, arithmetic::sum, floats, gather::bad_label};
use crate::{
    apply::apply,
    autodiff::LinearMap,
    device::cpu::Call,
    error::{Error, OrRaise, Result},
    tensor::{DType, Spec, Tensor},
};

/// Softmax, or its logarithm, along the last axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Softmax {
    /// The logarithm, which stays finite where the softmax is 0.
    pub log: bool,
}

impl Op for Softmax {
    fn name(&self) -> &'static str {
        if self.log { "log_softmax" } else { "softmax" }
    }
    fn attributes(&self) -> Vec<(&'static str, Attribute)> {
        vec![("log", self.log.into())]
    }
    fn outputs(&self, x: &[Spec]) -> Result<Vec<Spec>> {
        floats(x)?;
        if x[0].shape.rank() == 0 {
            return Err(Error::mistake("a single number has no axis to sum over"));
        }
        Ok(vec![x[0].clone()])
    }
    fn linearize(&self, _: &[Tensor], y: &[Tensor], mode: Mode, _: &[bool]) -> LinearMap {
        let y = y[0].clone();
        match (self.log, mode) {
            // The Jacobian diag(μ) − μμᵀ is its own transpose.
            (false, _) => LinearMap::unary(move |t| &y * (t - (t * &y).sum_over([-1], true))),
            (true, Mode::Push) => LinearMap::unary(move |t| t - (t * y.exp()).sum_over([-1], true)),
            (true, Mode::Pull) => LinearMap::unary(move |c| c - y.exp() * c.sum_over([-1], true)),
        }
    }
    fn batch(&self, x: &[Spec], axes: &[Option<usize>]) -> Batch {
        match axes[0] {
            Some(a) if a + 1 < x[0].shape.rank() => Batch::Each(vec![a]),
            _ => Batch::Mixes,
        }
    }
    fn cost(&self, x: &[Spec], y: &[Spec]) -> Cost {
        let n = x[0].shape.len() as u64;
        Cost {
            additions: 3 * n,
            multiplications: n,
            elementary: n,
            saved: y[0].bytes() as u64,
            ..Cost::default()
        }
        .moving(x, y)
    }
    fn lanes(&self, x: &[Spec], axes: &[Option<usize>], then: &[&dyn Op]) -> Option<Lanes> {
        let (shape, [Some(batch)], [], DType::F32) = (&x[0].shape, axes, then, x[0].dtype) else {
            return None;
        };
        let last = shape.rank() - 1;
        if *batch == last { None } else { cpu::softmax_lanes(shape[last], self.log) }
    }
    fn cpu(&self, mut call: Call<'_>) {
        let x = &call.inputs[0];
        let k = x.layout.shape[x.layout.shape.rank() - 1];
        crate::dispatch!(float x.dtype, T => match self.log {
            true => cpu::log_softmax_rows::<T>(x.packed(), call.output(), k),
            false => cpu::softmax_rows::<T>(x.packed(), call.output(), k),
        })
    }
}

/// `ℓᵣ = ln Σⱼ e^{x[r,j]} − x[r, yᵣ]` for logits `[n, C]` and labels `[n]`, `I64`; 0 where the label is ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CrossEntropy {
    /// The label of rows that do not count.
    pub ignore: i64,
}

impl Op for CrossEntropy {
    fn name(&self) -> &'static str {
        "cross_entropy"
    }
    fn faults(&self) -> bool {
        true
    }
    fn attributes(&self) -> Vec<(&'static str, Attribute)> {
        vec![("ignore", self.ignore.into())]
    }
    fn outputs(&self, x: &[Spec]) -> Result<Vec<Spec>> {
        floats(&x[..1])?;
        let (logits, labels) = (&x[0].shape, &x[1].shape);
        if logits.rank() != 2 || labels.rank() != 1 || logits[0] != labels[0] || x[1].dtype != DType::I64 {
            return Err(Error::mistake(format!(
                "logits [n, C] and labels [n] int64 are needed, got {logits:?} and {labels:?} {}",
                x[1].dtype
            )));
        }
        Ok(vec![x[0].with(*labels)])
    }
    fn linearize(&self, x: &[Tensor], _: &[Tensor], mode: Mode, _: &[bool]) -> LinearMap {
        let (x, labels, op) = (x[0].clone(), x[1].clone(), CrossEntropySlope { ignore: self.ignore });
        match mode {
            Mode::Push => LinearMap::new(move |t| vec![t[0].as_ref().map(|t| op.times(&x, &labels, t))]),
            Mode::Pull => {
                LinearMap::new(move |c| vec![c[0].as_ref().map(|c| apply(op, &[&x, &labels, c])), None])
            }
        }
    }
    fn batch(&self, _: &[Spec], axes: &[Option<usize>]) -> Batch {
        if *axes == [Some(0), Some(0)] { Batch::Each(vec![0]) } else { Batch::Mixes }
    }
    fn cost(&self, x: &[Spec], y: &[Spec]) -> Cost {
        let n = x[0].shape.len() as u64;
        Cost { additions: 3 * n, elementary: n, saved: x[0].bytes() as u64, ..Cost::default() }.moving(x, y)
    }
    fn cpu(&self, call: Call<'_>) {
        let [x, labels] = call.inputs else { unreachable!("logits and labels") };
        let k = x.layout.shape[1];
        let targets = labels.packed::<i64>();
        let bad = crate::dispatch!(float x.dtype, T => {
            cpu::cross_entropy_rows::<T>(x.packed(), targets, Some(self.ignore), call.outputs[0].slice(), k)
        });
        if let Some(row) = bad {
            call.fault.report(row, targets[row] as f64, || bad_label(targets[row], k));
        }
    }
}

/// The adjoint of [`CrossEntropy`] in the logits: `x̄[r, j] = cᵣ·(μ(x[r])ⱼ − [j = yᵣ])` for logits `[n, C]`, labels `[n]`
/// and cotangents `[n]`; zeros where the label is ignored.
///
/// `dx̄ = dc·(μ − onehot) + c·(μ∘dx − μ⟨μ, dx⟩)`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CrossEntropySlope {
    /// The label of rows that do not count.
    pub ignore: i64,
}

impl CrossEntropySlope {
    /// `⟨μ(x[r]) − onehot(yᵣ), t[r]⟩` for each row that counts, else 0.
    fn times(&self, x: &Tensor, labels: &Tensor, t: &Tensor) -> Tensor {
        let slope = apply(*self, &[x, labels, &Tensor::constant(&x.spec().with([x.shape()[0]]), 1)]);
        let rows = (t * slope).sum_over([1], false);
        // Chosen, not multiplied: what rows that do not count hold is not used.
        rows.where_(&labels.ne(self.ignore), &rows.zeros_like())
    }
}

impl Op for CrossEntropySlope {
    fn name(&self) -> &'static str {
        "cross_entropy_slope"
    }
    fn faults(&self) -> bool {
        true
    }
    fn attributes(&self) -> Vec<(&'static str, Attribute)> {
        vec![("ignore", self.ignore.into())]
    }
    fn outputs(&self, x: &[Spec]) -> Result<Vec<Spec>> {
        let losses = CrossEntropy { ignore: self.ignore }.outputs(&x[..2])?;
        if x[2] != losses[0] {
            return Err(Error::mistake(format!(
                "a cotangent {:?} {} is needed, got {:?} {}",
                losses[0].shape, losses[0].dtype, x[2].shape, x[2].dtype
            )));
        }
        Ok(vec![x[0].clone()])
    }
    fn linearize(&self, x: &[Tensor], _: &[Tensor], mode: Mode, wanted: &[bool]) -> LinearMap {
        let (op, wanted) = (*self, wanted.to_vec());
        let (x, labels, c) = (x[0].clone(), x[1].clone(), x[2].clone());
        // c∘(diag μ − μμᵀ) is its own transpose.
        let counts = labels.ne(op.ignore).unsqueeze(1);
        let curve = {
            let x = x.clone();
            move |t: &Tensor| {
                let y = x.softmax(-1);
                let all = c.unsqueeze(1) * &y * (t - (t * &y).sum_over([1], true));
                all.where_(&counts.expand(*x.shape()), &x.zeros_like())
            }
        };
        match mode {
            Mode::Push => LinearMap::new(move |t| {
                let by_x = t[0].as_ref().map(&curve);
                let by_c = t[2].as_ref().map(|t| apply(op, &[&x, &labels, t]));
                vec![sum([by_x, by_c])]
            }),
            Mode::Pull => LinearMap::new(move |g| {
                let Some(g) = &g[0] else { return vec![None; 3] };
                vec![wanted[0].then(|| curve(g)), None, wanted[2].then(|| op.times(&x, &labels, g))]
            }),
        }
    }
    fn batch(&self, _: &[Spec], axes: &[Option<usize>]) -> Batch {
        if *axes == [Some(0); 3] { Batch::Each(vec![0]) } else { Batch::Mixes }
    }
    fn cost(&self, x: &[Spec], y: &[Spec]) -> Cost {
        let n = x[0].shape.len() as u64;
        let saved = (x[0].bytes() + x[2].bytes()) as u64;
        Cost { additions: 2 * n, multiplications: 2 * n, elementary: n, saved, ..Cost::default() }
            .moving(x, y)
    }
    fn cpu(&self, call: Call<'_>) {
        let [x, labels, c] = call.inputs else { unreachable!("logits, labels and cotangent") };
        let (k, targets, ignored) = (x.layout.shape[1], labels.packed::<i64>(), Some(self.ignore));
        let bad = crate::dispatch!(float x.dtype, T => {
            let y = call.outputs[0].slice::<T>();
            cpu::cross_entropy_slope_rows::<T>(x.packed(), targets, ignored, c.packed(), y, k)
        });
        if let Some(row) = bad {
            call.fault.report(row, targets[row] as f64, || bad_label(targets[row], k));
        }
    }
}

/// How losses are brought together (row E11).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reduction {
    /// The weighted mean: `Σ wᵢℓᵢ / Σ wᵢ` (row E9).
    #[default]
    Mean,
    /// The sum divided by how many there are, whatever their weights.
    MeanByCount,
    /// The sum.
    Sum,
    /// One loss each.
    None,
}

/// The options of [`Tensor::cross_entropy_with`], with PyTorch's names and defaults (rows E1–E12).
#[derive(Clone, Debug)]
pub struct CrossEntropyOptions {
    /// A weight per class, `[C]`; any sign.
    pub weight: Option<Tensor>,
    /// Labels that do not count; may lie outside the classes.
    pub ignore_index: i64,
    /// How losses are brought together.
    pub reduction: Reduction,
    /// How much of each target is spread evenly over all classes, 0 to 1.
    pub label_smoothing: f64,
}

impl Default for CrossEntropyOptions {
    fn default() -> Self {
        CrossEntropyOptions {
            weight: None,
            ignore_index: -100,
            reduction: Reduction::Mean,
            label_smoothing: 0.0,
        }
    }
}

impl CrossEntropyOptions {
    /// PyTorch's deprecated `size_average` and `reduce`, as a reduction (row E10); using it is warned about.
    ///
    /// ```compile_fail
    /// #![deny(deprecated)]
    /// let r = cotangent::ops::CrossEntropyOptions::legacy_reduction(None, None);
    /// ```
    ///
    /// ```
    /// # #![allow(deprecated)]
    /// use cotangent::ops::{CrossEntropyOptions as O, Reduction};
    /// assert_eq!(O::legacy_reduction(None, Some(false)), Reduction::None);
    /// assert_eq!(O::legacy_reduction(Some(false), None), Reduction::Sum);
    /// assert_eq!(O::legacy_reduction(None, None), Reduction::Mean);
    /// ```
    #[deprecated(
        note = "say `reduction: Reduction::Mean`, `Sum` or `None`; size_average and reduce are PyTorch's old way"
    )]
    pub fn legacy_reduction(size_average: Option<bool>, reduce: Option<bool>) -> Reduction {
        match (reduce.unwrap_or(true), size_average.unwrap_or(true)) {
            (false, _) => Reduction::None,
            (true, false) => Reduction::Sum,
            (true, true) => Reduction::Mean,
        }
    }
}

impl Tensor {
    /// `μ(x)ᵢ = e^{xᵢ}/Σⱼe^{xⱼ}` along an axis, shifted by the largest so that nothing overflows (rows D9–D12).
    ///
    /// ```
    /// use cotangent::Tensor;
    /// let y = Tensor::from([999.0, 0.0, -2.0]).softmax(0);
    /// assert_eq!(y.to_vec::<f64>(), [1.0, 0.0, 0.0]);
    /// ```
    ///
    /// # Panics
    /// When there is no such axis.
    #[must_use]
    #[track_caller]
    pub fn softmax(&self, axis: isize) -> Tensor {
        self.along_last(axis, Softmax { log: false })
    }

    /// `ln μ(x)ᵢ = xᵢ − ln Σⱼe^{xⱼ}` along an axis: finite where the softmax is 0.
    ///
    /// # Panics
    /// When there is no such axis.
    #[must_use]
    #[track_caller]
    pub fn log_softmax(&self, axis: isize) -> Tensor {
        self.along_last(axis, Softmax { log: true })
    }

    #[track_caller]
    fn along_last(&self, axis: isize, op: Softmax) -> Tensor {
        let x = self.cast(self.dtype().to_float());
        let a = x.shape().axis(axis).map_err(|e| e.verb(op.name())).or_raise();
        match a + 1 == x.rank() {
            true => apply(op, &[&x]),
            false => apply(op, &[&x.transpose(a as isize, -1)]).transpose(a as isize, -1),
        }
    }

    /// The mean of `−ln μ(x)_y` over a batch of logits `[n, C, d₁, …]` (or `[C]`) and labels `[n, d₁, …]`, or
    /// probabilities of the logits' shape (rows E1, E3–E7, E12).
    /// <https://pytorch.org/docs/stable/generated/torch.nn.CrossEntropyLoss.html>
    ///
    /// ```
    /// use cotangent::Tensor;
    /// let loss = Tensor::from([[1.0, 2.0, 3.0]]).cross_entropy(&Tensor::from([2]));
    /// assert!((loss.item() - 0.407605964).abs() < 1e-9);
    /// ```
    ///
    /// # Panics
    /// When shapes do not fit, or a label is not in `0..C`: the message names its position and value.
    #[must_use]
    #[track_caller]
    pub fn cross_entropy(&self, target: &Tensor) -> Tensor {
        self.cross_entropy_with(target, &CrossEntropyOptions::default())
    }

    /// As [`Tensor::cross_entropy`], with class weights, an ignored label, label smoothing and another reduction.
    ///
    /// All ignored gives NaN, as PyTorch's 0/0, and as there a gradient of 0 (row E6).
    ///
    /// ```
    /// use cotangent::{ops::{CrossEntropyOptions, Reduction}, Tensor};
    /// // Row E9: the mean divides by Σ weights, not by n.
    /// let (x, y) = (Tensor::from([[1.0, 2.0, 3.0], [0.5, 0.5, 2.0]]), Tensor::from([2, 0]));
    /// let o = CrossEntropyOptions { weight: Some(Tensor::from([1.0, 1.0, 4.0])), ..Default::default() };
    /// assert!((x.cross_entropy_with(&y, &o).item() - 0.699880999).abs() < 1e-9);
    /// let o = CrossEntropyOptions { reduction: Reduction::MeanByCount, ..o };
    /// assert!((x.cross_entropy_with(&y, &o).item() - 1.749702497).abs() < 1e-9);
    /// ```
    ///
    /// # Panics
    /// As [`Tensor::cross_entropy`]; when there is not one weight per class.
    #[must_use]
    #[track_caller]
    pub fn cross_entropy_with(&self, target: &Tensor, options: &CrossEntropyOptions) -> Tensor {
        let o = options;
        let mistake = |what: String| Error::mistake(format!("cross_entropy: {what}"));
        if self.rank() == 0 {
            mistake("the logits need an axis of classes".into()).raise()
        }
        // Classes last, everything else in one axis of rows.
        let class_axis = usize::from(self.rank() > 1);
        let classes = self.shape()[class_axis];
        let rows_first = |x: &Tensor| -> Tensor {
            let order: Vec<usize> = (0..x.rank()).filter(|a| *a != class_axis).chain([class_axis]).collect();
            let n = x.shape().without(class_axis).len();
            x.permute(order).reshape([n, classes])
        };
        let shape = self.shape().without(class_axis);
        if let Some(w) = &o.weight
            && w.shape()[..] != [classes]
        {
            mistake(format!("{} weights of shape {:?} for {classes} classes", w.numel(), w.shape())).raise()
        }
        if !(0.0..=1.0).contains(&o.label_smoothing) {
            mistake(format!("label smoothing {} is not between 0 and 1", o.label_smoothing)).raise()
        }
        let x = rows_first(&self.cast(self.dtype().to_float()));
        let weight = o.weight.as_ref().map(|w| w.cast(x.dtype()));
        let finish = |losses: Tensor, weights: Option<Tensor>, count: Tensor| match o.reduction {
            Reduction::None => losses.reshape(shape),
            Reduction::Sum => losses.sum(),
            Reduction::Mean => losses.sum() / weights.map_or_else(|| count.clone(), |w| w.sum()),
            Reduction::MeanByCount => losses.sum() / count,
        };
        if target.dtype().is_float() {
            if target.shape() != self.shape() {
                mistake(format!("target probabilities are {:?}, logits {:?}", target.shape(), self.shape()))
                    .help("labels are whole numbers: `target.cast(DType::I64)`")
                    .raise()
            }
            let even = o.label_smoothing / classes as f64;
            let p = rows_first(&target.cast(x.dtype()));
            let p = if o.label_smoothing > 0.0 { p * (1.0 - o.label_smoothing) + even } else { p };
            let terms = -(x.log_softmax(-1) * p);
            let terms = weight.map_or_else(|| terms.clone(), |w| &terms * w);
            let count = Tensor::constant(&x.spec().with(()), shape.len());
            // PyTorch divides by the batch size alone here, whatever the weights.
            return finish(terms.sum_over([1], false), None, count);
        }
        if *target.shape() != shape {
            mistake(format!("logits {:?} need targets {shape:?}, got {:?}", self.shape(), target.shape()))
                .help("labels are [n] for logits [n, C], and [n, d1, …] for [n, C, d1, …]")
                .raise()
        }
        let labels = target.cast(DType::I64).reshape([shape.len()]);
        let nll = apply(CrossEntropy { ignore: o.ignore_index }, &[&x, &labels]);
        let counts = labels.ne(o.ignore_index).cast(x.dtype());
        let counted = |x: &Tensor| x.where_(&labels.ne(o.ignore_index), &x.zeros_like());
        let row_weight = weight.as_ref().map(|w| w.index_select(0, &counted(&labels)) * &counts);
        let mut losses = row_weight.as_ref().map_or_else(|| nll.clone(), |w| &nll * w);
        if o.label_smoothing > 0.0 {
            let terms = -x.log_softmax(-1);
            let terms = weight.as_ref().map_or_else(|| terms.clone(), |w| &terms * w);
            let even = counted(&terms.sum_over([1], false)) * (o.label_smoothing / classes as f64);
            losses = losses * (1.0 - o.label_smoothing) + even;
        }
        finish(losses, row_weight, counts.sum())
    }
}
