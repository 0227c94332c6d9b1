//! Tensors from numbers.

use super::{Buffer, DType, Element, Layout, Number, Shape, Spec, Tensor, new_memory};
use crate::{
    device::Device,
    error::{Error, OrRaise},
};

impl Tensor {
    /// From elements in row-major order.
    ///
    /// ```
    /// use cotangent::Tensor;
    /// let x = Tensor::from_vec(vec![1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0], [2, 3]);
    /// assert_eq!(x.size(1), 3);
    /// ```
    ///
    /// # Panics
    /// When the shape asks for another number of elements.
    #[track_caller]
    pub fn from_vec<T: Element>(elements: Vec<T>, shape: impl Into<Shape>) -> Tensor {
        Self::from_slice(&elements, shape)
    }

    /// Of this shape, with the elements that `f` writes, all of them.
    pub(crate) fn filled<T: Element>(shape: impl Into<Shape>, f: impl FnOnce(&mut [T])) -> Tensor {
        let shape = shape.into();
        let mut memory = new_memory(shape.len(), T::DTYPE);
        f(&mut memory.slice_mut::<T>()[..shape.len()]);
        Tensor::from_buffer(Buffer::filled(memory), Layout::packed(shape), T::DTYPE, Device::cpu())
    }

    /// From elements in row-major order, copied.
    ///
    /// # Panics
    /// When the shape asks for another number of elements.
    #[track_caller]
    pub fn from_slice<T: Element>(elements: &[T], shape: impl Into<Shape>) -> Tensor {
        let shape = shape.into();
        if shape.len() != elements.len() {
            Error::mistake(format!(
                "from_vec: {} elements do not fill shape {shape:?}, which has {}",
                elements.len(),
                shape.len()
            ))
            .raise()
        }
        let mut memory = new_memory(elements.len(), T::DTYPE);
        memory.slice_mut::<T>()[..elements.len()].copy_from_slice(elements);
        Tensor::from_buffer(Buffer::filled(memory), Layout::packed(shape), T::DTYPE, Device::cpu())
    }

    /// Every element is `x`. One number is stored, whatever the shape. Reals give `F32`, whole numbers `I64`.
    ///
    /// ```
    /// use cotangent::{DType, Tensor};
    /// assert_eq!(Tensor::full([2, 2], 0.5).dtype(), DType::F32);
    /// assert_eq!(Tensor::full([2], true).to_vec::<i64>(), [1, 1]);
    /// ```
    #[track_caller]
    pub fn full(shape: impl Into<Shape>, x: impl Into<Number>) -> Tensor {
        let x = x.into();
        Tensor::constant(&Spec { shape: shape.into(), dtype: x.dtype(), device: Device::cpu() }, x)
    }

    /// Zeros, `F32`.
    #[track_caller]
    pub fn zeros(shape: impl Into<Shape>) -> Tensor {
        Tensor::full(shape, 0.0)
    }

    /// Ones, `F32`.
    #[track_caller]
    pub fn ones(shape: impl Into<Shape>) -> Tensor {
        Tensor::full(shape, 1.0)
    }

    /// Every element is `x`, with the shape, type and device that `spec` says.
    pub fn constant(spec: &Spec, x: impl Into<Number>) -> Tensor {
        let x = x.into();
        let mut memory = new_memory(1, spec.dtype);
        crate::dispatch!(spec.dtype, T => memory.slice_mut::<T>()[0] = T::from_number(x));
        let layout = Layout::constant(spec.shape);
        match spec.device.as_virtual_gpu() {
            None => Tensor::from_buffer(Buffer::filled(memory), layout, spec.dtype, Device::cpu()),
            Some(gpu) => {
                let buffer = Buffer::empty(spec.dtype.size(), &spec.device);
                let into = buffer.clone();
                gpu.launch("fill", spec.dtype.size() as u64, 0, Box::new(move || into.fill(memory)));
                Tensor::from_buffer(buffer, layout, spec.dtype, spec.device.clone())
            }
        }
    }

    /// Zeros with this one's shape, type and device.
    #[must_use]
    pub fn zeros_like(&self) -> Tensor {
        Tensor::constant(&self.spec(), 0)
    }

    /// Ones with this one's shape, type and device.
    #[must_use]
    pub fn ones_like(&self) -> Tensor {
        Tensor::constant(&self.spec(), 1)
    }

    /// `x` everywhere, with this one's shape, type and device.
    #[must_use]
    pub fn full_like(&self, x: impl Into<Number>) -> Tensor {
        Tensor::constant(&self.spec(), x)
    }

    /// The identity matrix, `F32`, `[n, n]`.
    ///
    /// ```
    /// use cotangent::Tensor;
    /// assert_eq!(Tensor::eye(2).to_vec::<f32>(), [1.0, 0.0, 0.0, 1.0]);
    /// ```
    pub fn eye(n: usize) -> Tensor {
        let mut v = vec![0f32; n * n];
        v.iter_mut().step_by(n + 1).for_each(|x| *x = 1.0);
        Tensor::from_vec(v, [n, n])
    }

    /// `start, start + 1, …` up to `end`, without it, `I64`.
    ///
    /// ```
    /// use cotangent::Tensor;
    /// assert_eq!(Tensor::arange(2, 5).to_vec::<i64>(), [2, 3, 4]);
    /// ```
    pub fn arange(start: i64, end: i64) -> Tensor {
        let v: Vec<i64> = (start..end).collect();
        let n = v.len();
        Tensor::from_vec(v, [n])
    }

    /// `n` evenly spaced numbers from `start` to `end`, both included, `F32`.
    ///
    /// ```
    /// use cotangent::Tensor;
    /// assert_eq!(Tensor::linspace(0.0, 1.0, 3).to_vec::<f32>(), [0.0, 0.5, 1.0]);
    /// ```
    pub fn linspace(start: f64, end: f64, n: usize) -> Tensor {
        let step = if n > 1 { (end - start) / (n - 1) as f64 } else { 0.0 };
        Tensor::from_vec((0..n).map(|i| (start + step * i as f64) as f32).collect(), [n])
    }
}

impl<T: Element> From<T> for Tensor {
    fn from(x: T) -> Tensor {
        Tensor::from_slice(&[x], ())
    }
}
impl<T: Element, const N: usize> From<[T; N]> for Tensor {
    fn from(x: [T; N]) -> Tensor {
        Tensor::from_slice(&x, [N])
    }
}
impl<T: Element, const N: usize, const M: usize> From<[[T; M]; N]> for Tensor {
    fn from(x: [[T; M]; N]) -> Tensor {
        Tensor::from_slice(x.as_flattened(), [N, M])
    }
}
impl<T: Element, const N: usize, const M: usize, const K: usize> From<[[[T; K]; M]; N]> for Tensor {
    fn from(x: [[[T; K]; M]; N]) -> Tensor {
        Tensor::from_slice(x.as_flattened().as_flattened(), [N, M, K])
    }
}
impl<T: Element> From<&[T]> for Tensor {
    fn from(x: &[T]) -> Tensor {
        Tensor::from_slice(x, [x.len()])
    }
}
impl<T: Element> From<Vec<T>> for Tensor {
    fn from(x: Vec<T>) -> Tensor {
        Tensor::from_slice(&x, [x.len()])
    }
}
impl From<&Tensor> for Tensor {
    fn from(x: &Tensor) -> Tensor {
        x.clone()
    }
}

impl DType {
    /// A tensor type from its name: `float32`, `int64`, …
    pub fn named(name: &str) -> Option<DType> {
        DType::ALL.into_iter().find(|d| d.name() == name)
    }
}

impl Tensor {
    /// A number as a tensor that meets `self` as PyTorch's numbers do.
    #[track_caller]
    pub(crate) fn beside(&self, x: impl Into<Number>) -> Tensor {
        let x = x.into();
        let spec = self.spec();
        let dtype = x.meets(spec.dtype);
        if let (DType::U8 | DType::I32, Number::Int(i)) = (dtype, x) {
            let back = crate::dispatch!(dtype, T => T::from_number(x).to_number());
            // Bytes wrap below zero, as PyTorch's: -1 is 255.
            let wraps = dtype == DType::U8 && (-255..0).contains(&i);
            if back != Number::Int(i) && !wraps {
                Err::<(), _>(Error::mistake(format!("the number {i} does not fit into {dtype}"))).or_raise();
            }
        }
        Tensor::constant(&spec.of(dtype), x)
    }
}
