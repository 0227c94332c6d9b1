//! `y = [x₁, x₂, …]` along an axis.    `dy = [dx₁, dx₂, …]`,  `x̄ᵢ = its part of ȳ`

use super::{Attribute, Batch, Mode, Op};
use crate::{
    apply::apply,
    autodiff::LinearMap,
    device::cpu::{Call, threads},
    error::{Error, OrRaise, Result},
    tensor::{Element, Spec, Tensor, promote},
};

/// Tensors of one type, one after the other along an axis; all other sizes are equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cat {
    /// The axis.
    pub axis: usize,
}

impl Op for Cat {
    fn name(&self) -> &'static str {
        "cat"
    }
    fn attributes(&self) -> Vec<(&'static str, Attribute)> {
        vec![("axis", self.axis.into())]
    }
    fn outputs(&self, x: &[Spec]) -> Result<Vec<Spec>> {
        let Some(first) = x.first() else { return Err(Error::mistake("nothing to put together")) };
        if self.axis >= first.shape.rank() {
            return Err(Error::mistake(format!("axis {} of a tensor of shape {:?}", self.axis, first.shape))
                .help("`Tensor::stack` makes a new axis"));
        }
        let mut total = 0usize;
        for s in x {
            let differs = s.shape.rank() != first.shape.rank()
                || (0..s.shape.rank()).any(|a| a != self.axis && s.shape[a] != first.shape[a]);
            if differs {
                return Err(Error::mistake(format!(
                    "shapes {:?} and {:?} differ beside axis {}",
                    first.shape, s.shape, self.axis
                )));
            }
            if s.dtype != first.dtype {
                return Err(Error::mistake(format!("types {} and {} differ", first.dtype, s.dtype))
                    .help("`cast` one of them"));
            }
            total =
                total.checked_add(s.shape[self.axis]).ok_or_else(|| Error::mistake("the size overflows"))?;
        }
        let mut dims = first.shape.to_vec();
        dims[self.axis] = total;
        Ok(vec![first.with(crate::Shape::try_new(&dims)?)])
    }
    fn linearize(&self, x: &[Tensor], _: &[Tensor], mode: Mode, wanted: &[bool]) -> LinearMap {
        let (op, axis, wanted) = (*self, self.axis as isize, wanted.to_vec());
        let specs: Vec<Spec> = x.iter().map(Tensor::spec).collect();
        match mode {
            Mode::Push => LinearMap::new(move |t| {
                if t.iter().all(Option::is_none) {
                    return vec![None];
                }
                let parts =
                    t.iter().zip(&specs).map(|(t, s)| t.clone().unwrap_or_else(|| Tensor::constant(s, 0)));
                let parts: Vec<Tensor> = parts.collect();
                vec![Some(apply(op, &parts.iter().collect::<Vec<_>>()))]
            }),
            Mode::Pull => LinearMap::new(move |c| {
                let Some(c) = &c[0] else { return vec![None; specs.len()] };
                let mut start = 0;
                let part = |(s, wanted): (&Spec, &bool)| {
                    let n = s.shape[axis as usize];
                    start += n;
                    wanted.then(|| c.narrow(axis, start - n, n))
                };
                specs.iter().zip(&wanted).map(part).collect()
            }),
        }
    }
    fn batch(&self, _: &[Spec], axes: &[Option<usize>]) -> Batch {
        match super::pointwise(axes) {
            Batch::Each(a) if a[0] != self.axis => Batch::Each(a),
            _ => Batch::Mixes,
        }
    }
    fn cpu(&self, mut call: Call<'_>) {
        let inner = |s: &crate::Shape| s[self.axis..].iter().product::<usize>();
        let width = inner(&call.outputs[0].spec.shape);
        crate::dispatch!(call.inputs[0].dtype, T => {
            let mut at = 0;
            for x in call.inputs {
                let n = inner(&x.layout.shape);
                if n > 0 {
                    let rows = call.output::<T>().chunks_exact_mut(width);
                    rows.zip(x.packed::<T>().chunks_exact(n)).for_each(|(y, x)| copy(x, &mut y[at..at + n]));
                }
                at += n;
            }
        })
    }
}

/// Long stretches by several threads, as many bytes each as are worth the call.
fn copy<T: Element>(x: &[T], y: &mut [T]) {
    const BYTES: usize = 1 << 20;
    let chunk = BYTES / size_of::<T>();
    if x.len() < 2 * chunk {
        return y.copy_from_slice(x);
    }
    threads::chunks_mut(y, chunk, |i, y| y.copy_from_slice(&x[i * chunk..][..y.len()]));
}

impl Tensor {
    /// One after the other along an axis; types are promoted.
    ///
    /// ```
    /// use cotangent::Tensor;
    /// let (a, b) = (Tensor::from([1.0]), Tensor::from([2.0, 3.0]));
    /// assert_eq!(Tensor::cat(&[&a, &b], 0).to_vec::<f64>(), [1.0, 2.0, 3.0]);
    /// ```
    ///
    /// # Panics
    /// When there are none, or shapes differ beside the axis.
    #[must_use]
    #[track_caller]
    pub fn cat(parts: &[&Tensor], axis: isize) -> Tensor {
        let Some(first) = parts.first() else { Error::mistake("cat: nothing to put together").raise() };
        let axis = first.shape().axis(axis).map_err(|e| e.verb("cat")).or_raise();
        let dtype = promote(parts.iter().map(|t| (t.dtype(), true)));
        let cast: Vec<Tensor> = parts.iter().map(|t| t.cast(dtype)).collect();
        apply(Cat { axis }, &cast.iter().collect::<Vec<_>>())
    }

    /// Along a new axis.
    ///
    /// ```
    /// use cotangent::Tensor;
    /// let a = Tensor::from([1.0, 2.0]);
    /// assert_eq!(Tensor::stack(&[&a, &a, &a], 0).shape()[..], [3, 2]);
    /// ```
    ///
    /// # Panics
    /// When there are none, or shapes differ.
    #[must_use]
    #[track_caller]
    pub fn stack(parts: &[&Tensor], axis: isize) -> Tensor {
        let wide: Vec<Tensor> = parts.iter().map(|t| t.unsqueeze(axis)).collect();
        Tensor::cat(&wide.iter().collect::<Vec<_>>(), axis)
    }
}
