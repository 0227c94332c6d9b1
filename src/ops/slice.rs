//! Windows and frames: `slice` takes a stepped window of each axis, `pad` puts a frame of a constant around.
//!
//! `dy = the same of dx` (a frame of zeros);  the two are each other's adjoint

use std::sync::Arc;

use super::{Attribute, Batch, Mode, Op};
use crate::{
    apply::apply,
    autodiff::LinearMap,
    device::cpu::Call,
    error::{Error, Result},
    tensor::{Layout, Number, Shape, Spec, Tensor},
};

/// `y[i] = x[start + step·i]`, for `len` places an axis. A view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slice {
    /// First places.
    pub start: Vec<usize>,
    /// Steps; at least 1.
    pub step: Vec<usize>,
    /// Sizes of the result.
    pub len: Vec<usize>,
}

impl Op for Slice {
    fn name(&self) -> &'static str {
        "slice"
    }
    fn attributes(&self) -> Vec<(&'static str, Attribute)> {
        vec![("start", self.start[..].into()), ("step", self.step[..].into()), ("len", self.len[..].into())]
    }
    fn outputs(&self, x: &[Spec]) -> Result<Vec<Spec>> {
        let rank = x[0].shape.rank();
        if [&self.start, &self.step, &self.len].iter().any(|v| v.len() != rank) || self.step.contains(&0) {
            return Err(Error::mistake(format!(
                "needs start, step ≥ 1 and length for each of the {rank} axes"
            )));
        }
        for a in 0..rank {
            let (start, step, size) = (self.start[a], self.step[a], x[0].shape[a]);
            let fits = match self.len[a].checked_sub(1) {
                None => start <= size,
                Some(n) => {
                    n.checked_mul(step).and_then(|n| n.checked_add(start)).is_some_and(|last| last < size)
                }
            };
            if !fits {
                return Err(Error::mistake(format!(
                    "{} places from {} in steps of {} run past the end of axis {a} of {:?}",
                    self.len[a], self.start[a], self.step[a], x[0].shape
                )));
            }
        }
        Ok(vec![x[0].with(&self.len)])
    }
    fn linearize(&self, x: &[Tensor], _: &[Tensor], mode: Mode, _: &[bool]) -> LinearMap {
        let (forth, from) = (self.clone(), *x[0].shape());
        let back = self.clone();
        LinearMap::either(
            mode,
            move |t| apply(forth.clone(), &[t]),
            move |c| apply(back.adjoint(&from), &[c]),
        )
    }
    fn batch(&self, x: &[Spec], axes: &[Option<usize>]) -> Batch {
        match axes[0] {
            Some(a) if self.start[a] == 0 && self.step[a] == 1 && self.len[a] == x[0].shape[a] => {
                Batch::Each(vec![a])
            }
            _ => Batch::Mixes,
        }
    }
    fn for_examples(&self, _: &[Spec], axes: &[Option<usize>], n: usize) -> Option<Arc<dyn Op>> {
        let mut op = self.clone();
        op.len[axes[0]?] = n;
        Some(op.shared())
    }
    fn packed(&self, _: usize) -> bool {
        false
    }
    fn view(&self, x: &Layout) -> Option<Layout> {
        let strides: Vec<isize> = x.strides().iter().zip(&self.step).map(|(s, k)| s * *k as isize).collect();
        // An empty window may start behind the end; it is never read.
        let offset = if self.len.contains(&0) { x.offset } else { x.at(&self.start) };
        Some(Layout::new(Shape::new(&self.len), &strides, offset))
    }
    fn cpu(&self, call: Call<'_>) {
        let layout = self.view(call.inputs[0].layout);
        super::reshape::copy(call, layout)
    }
}

impl Slice {
    fn adjoint(&self, from: &Shape) -> Pad {
        let end = |a: usize| {
            self.start[a] + self.len[a].saturating_sub(1) * self.step[a] + usize::from(self.len[a] > 0)
        };
        let after = (0..from.rank()).map(|a| from[a] - end(a)).collect();
        let step = self.step.clone();
        Pad { before: self.start.clone(), step, after, value: Number::Int(0) }
    }
}

/// A frame of a constant: `before` and `after` each axis, and `step − 1` between neighbours.
#[derive(Clone, Debug, PartialEq)]
pub struct Pad {
    /// Places before the first.
    pub before: Vec<usize>,
    /// Distance of neighbours; at least 1.
    pub step: Vec<usize>,
    /// Places behind the last.
    pub after: Vec<usize>,
    /// What fills them.
    pub value: Number,
}

impl Op for Pad {
    fn name(&self) -> &'static str {
        "pad"
    }
    fn attributes(&self) -> Vec<(&'static str, Attribute)> {
        vec![
            ("before", self.before[..].into()),
            ("step", self.step[..].into()),
            ("after", self.after[..].into()),
            ("value", self.value.to_f64().into()),
        ]
    }
    fn outputs(&self, x: &[Spec]) -> Result<Vec<Spec>> {
        let rank = x[0].shape.rank();
        if [&self.before, &self.step, &self.after].iter().any(|v| v.len() != rank) || self.step.contains(&0) {
            return Err(Error::mistake(format!(
                "needs sizes before, after and step ≥ 1 for each of the {rank} axes"
            )));
        }
        let dims = (0..rank).map(|a| {
            let n = x[0].shape[a];
            let inner = n.saturating_sub(1).checked_mul(self.step[a])?.checked_add(usize::from(n > 0))?;
            inner.checked_add(self.before[a])?.checked_add(self.after[a])
        });
        let dims: Option<Vec<usize>> = dims.collect();
        let shape = Shape::try_new(&dims.ok_or_else(|| Error::mistake("the padded size overflows"))?)?;
        Ok(vec![x[0].with(shape)])
    }
    fn linearize(&self, x: &[Tensor], _: &[Tensor], mode: Mode, _: &[bool]) -> LinearMap {
        let zero = Pad { value: Number::Int(0), ..self.clone() };
        let back = Slice { start: self.before.clone(), step: self.step.clone(), len: x[0].shape().to_vec() };
        LinearMap::either(mode, move |t| apply(zero.clone(), &[t]), move |c| apply(back.clone(), &[c]))
    }
    fn batch(&self, _: &[Spec], axes: &[Option<usize>]) -> Batch {
        match axes[0] {
            Some(a) if self.before[a] == 0 && self.after[a] == 0 && self.step[a] == 1 => Batch::Each(vec![a]),
            _ => Batch::Mixes,
        }
    }
    fn cpu(&self, mut call: Call<'_>) {
        let from = call.inputs[0].layout.shape;
        let to = call.outputs[0].spec.shape;
        crate::dispatch!(call.inputs[0].dtype, T => {
            let x = call.inputs[0].packed::<T>();
            let y = call.output::<T>();
            y.fill(<T as crate::tensor::Element>::from_number(self.value));
            let inside = Layout::packed(to);
            let Some(width) = from.last().copied().filter(|_| !x.is_empty()) else {
                if from.rank() == 0 { y.copy_from_slice(x) }
                return;
            };
            let last = from.rank() - 1;
            let mut index = self.before.clone();
            for (r, row) in x.chunks_exact(width).enumerate() {
                let mut rest = r;
                for a in (0..last).rev() {
                    index[a] = self.before[a] + rest % from[a] * self.step[a];
                    rest /= from[a];
                }
                let start = inside.at(&index);
                match self.step[last] {
                    1 => y[start..start + width].copy_from_slice(row),
                    s => row.iter().enumerate().for_each(|(i, x)| y[start + i * s] = *x),
                }
            }
        })
    }
}

impl Tensor {
    /// A frame of `value` around: `frame[a] = (before, after)` for the **last** axes, in their order.
    ///
    /// ```
    /// use cotangent::Tensor;
    /// let x = Tensor::from([1.0, 2.0]).pad(&[(1, 2)], 0.0);
    /// assert_eq!(x.to_vec::<f64>(), [0.0, 1.0, 2.0, 0.0, 0.0]);
    /// ```
    ///
    /// # Panics
    /// With more pairs than axes.
    #[must_use]
    #[track_caller]
    pub fn pad(&self, frame: &[(usize, usize)], value: impl Into<Number>) -> Tensor {
        let rank = self.rank();
        let Some(skip) = rank.checked_sub(frame.len()) else {
            Error::mistake(format!("pad: {} pairs for {rank} axes", frame.len())).raise()
        };
        let side = |f: fn(&(usize, usize)) -> usize| {
            let mut v = vec![0; skip];
            v.extend(frame.iter().map(f));
            v
        };
        apply(
            Pad { before: side(|p| p.0), step: vec![1; rank], after: side(|p| p.1), value: value.into() },
            &[self],
        )
    }
}
