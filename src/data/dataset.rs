//! Random access to examples.

use std::sync::Arc;

use crate::{
    error::{Error, Result},
    tensor::{Element, Tensor},
};

/// Examples by index: what a batch is made from.
#[allow(clippy::len_without_is_empty)]
pub trait Dataset: Send + Sync {
    /// `N`; `None` for a source that makes as many examples as are asked for.
    fn len(&self) -> Option<usize>;

    /// A batch of these examples, in this order: each tensor has the batch as axis 0.
    ///
    /// # Errors
    /// When there is no such example, or it cannot be read.
    fn get(&self, indices: &[usize]) -> Result<Vec<Tensor>>;
}

impl<D: Dataset + ?Sized> Dataset for Arc<D> {
    fn len(&self) -> Option<usize> {
        (**self).len()
    }
    fn get(&self, indices: &[usize]) -> Result<Vec<Tensor>> {
        (**self).get(indices)
    }
}

/// Are they all below `n`?
pub(super) fn inside(indices: &[usize], n: usize) -> Result<()> {
    match indices.iter().find(|i| **i >= n) {
        None => Ok(()),
        Some(i) => {
            Err(Error::other(format!("example {i} was asked for, and there are {n}: 0 to {}", n.max(1) - 1))
                .help("the sampler must be made for as many examples as the data set has"))
        }
    }
}

/// Tensors of equally many rows, kept in memory: example `i` is row `i` of each.
///
/// ```
/// use cotangent::{Tensor, data::{Dataset, TensorDataset}};
/// let d = TensorDataset::new([Tensor::from([[1.0], [2.0], [3.0]]), Tensor::from([0, 1, 0])])?;
/// let batch = d.get(&[2, 0])?;
/// assert_eq!(batch[0].to_vec::<f64>(), [3.0, 1.0]);
/// assert_eq!(batch[1].to_vec::<i64>(), [0, 0]);
/// # Ok::<(), cotangent::Error>(())
/// ```
#[derive(Clone)]
pub struct TensorDataset {
    n: usize,
    columns: Vec<Arc<dyn Rows>>,
}

trait Rows: Send + Sync {
    fn take(&self, indices: &[usize]) -> Tensor;
}

struct Table<T> {
    values: Vec<T>,
    row: Vec<usize>,
}

impl<T: Element> Rows for Table<T> {
    fn take(&self, indices: &[usize]) -> Tensor {
        let len: usize = self.row.iter().product();
        let mut v = Vec::with_capacity(indices.len() * len);
        indices.iter().for_each(|i| v.extend_from_slice(&self.values[i * len..(i + 1) * len]));
        let shape: Vec<usize> = [indices.len()].into_iter().chain(self.row.iter().copied()).collect();
        Tensor::from_slice(&v, &shape[..])
    }
}

impl TensorDataset {
    /// From tensors `[N, …]`.
    ///
    /// # Errors
    /// When there is none, one has no axes, or they differ in N.
    pub fn new(tensors: impl IntoIterator<Item = Tensor>) -> Result<Self> {
        let tensors: Vec<Tensor> = tensors.into_iter().collect();
        let sizes: Vec<Option<usize>> = tensors.iter().map(|t| t.shape().first().copied()).collect();
        let Some(Some(n)) = sizes.first().copied() else {
            return Err(Error::other("a data set needs at least one tensor with axis 0 for its examples"));
        };
        if let Some(other) = sizes.iter().position(|s| *s != Some(n)) {
            let (a, b) = (tensors[0].shape(), tensors[other].shape());
            return Err(Error::other(format!(
                "tensor 0 has shape {a:?} and tensor {other} has {b:?}: axis 0 must be equal"
            ))
            .help("axis 0 counts the examples, of inputs and of labels alike"));
        }
        let column = |t: &Tensor| -> Result<Arc<dyn Rows>> {
            let row = t.shape()[1..].to_vec();
            Ok(crate::dispatch!(t.dtype(), T => Arc::new(Table { values: t.try_to_vec::<T>()?, row })))
        };
        Ok(TensorDataset { n, columns: tensors.iter().map(column).collect::<Result<_>>()? })
    }
}

impl Dataset for TensorDataset {
    fn len(&self) -> Option<usize> {
        Some(self.n)
    }
    fn get(&self, indices: &[usize]) -> Result<Vec<Tensor>> {
        inside(indices, self.n)?;
        Ok(self.columns.iter().map(|c| c.take(indices)).collect())
    }
}

/// Some examples of another data set, such as one part of a [`super::split`].
///
/// ```
/// use cotangent::{Tensor, data::{Dataset, Subset, TensorDataset, split}};
/// let all = TensorDataset::new([Tensor::arange(0, 10)])?;
/// let (train, validation) = split(10, 2, 0)?;
/// let (train, validation) = (Subset::new(all.clone(), train)?, Subset::new(all, validation)?);
/// assert_eq!((train.len(), validation.len()), (Some(8), Some(2)));
/// # Ok::<(), cotangent::Error>(())
/// ```
#[derive(Clone)]
pub struct Subset<D> {
    of: D,
    indices: Arc<[usize]>,
}

impl<D: Dataset> Subset<D> {
    /// These examples of `of`, in this order.
    ///
    /// # Errors
    /// When there is no such example.
    pub fn new(of: D, indices: impl Into<Arc<[usize]>>) -> Result<Self> {
        let indices = indices.into();
        of.len().map_or(Ok(()), |n| inside(&indices, n))?;
        Ok(Subset { of, indices })
    }
}

impl<D: Dataset> Dataset for Subset<D> {
    fn len(&self) -> Option<usize> {
        Some(self.indices.len())
    }
    fn get(&self, indices: &[usize]) -> Result<Vec<Tensor>> {
        inside(indices, self.indices.len())?;
        let below: Vec<usize> = indices.iter().map(|i| self.indices[*i]).collect();
        self.of.get(&below)
    }
}
