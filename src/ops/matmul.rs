//! `C = A·B`: matrix product, batched.    `dC = dA·B + A·dB`,  `Ā = C̄·Bᵀ`,  `B̄ = Aᵀ·C̄`

pub(crate) mod cpu;
mod lanes;

use super::{Arithmetic, Batch, Cost, Elementwise, Lanes, Mode, Op, arithmetic::sum};
use crate::{
    apply::apply,
    autodiff::LinearMap,
    device::cpu::{Call, View},
    error::{Error, OrRaise, Result},
    tensor::{DType, Spec, Tensor, promote},
};

/// `[b, m, k]` by `[b, k, n]`, or `[m, k]` by `[k, n]`, of one type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MatMul;

impl Op for MatMul {
    fn name(&self) -> &'static str {
        "matmul"
    }

    fn outputs(&self, x: &[Spec]) -> Result<Vec<Spec>> {
        let (a, b) = (&x[0].shape, &x[1].shape);
        let show = || format!("{a:?} by {b:?}");
        if a.rank() != b.rank() || !(2..=3).contains(&a.rank()) {
            return Err(Error::mistake(format!(
                "two matrices, or two batches of them, are needed, not {}",
                show()
            )));
        }
        let r = a.rank();
        if a[r - 1] != b[r - 2] {
            let help = if r == 2 && a[1] == b[1] { "did you mean `a.matmul(&b.t())`?" } else { "" };
            return Err(Error::mistake(format!("inner sizes {} and {} differ", a[r - 1], b[r - 2]))
                .operands(show())
                .help(help));
        }
        if r == 3 && a[0] != b[0] {
            return Err(Error::mistake(format!("batch sizes {} and {} differ", a[0], b[0])).operands(show()));
        }
        if x[0].dtype != x[1].dtype {
            return Err(Error::mistake(format!("types {} and {} differ", x[0].dtype, x[1].dtype))
                .help("`cast` one of them"));
        }
        if x[0].dtype == DType::Bool {
            return Err(
                Error::mistake("truth values cannot be multiplied as matrices").help("`cast` them first")
            );
        }
        Ok(vec![x[0].with(a.with(r - 1, b[r - 1]))])
    }

    fn linearize(&self, x: &[Tensor], _: &[Tensor], mode: Mode, wanted: &[bool]) -> LinearMap {
        let a = wanted[1].then(|| x[0].clone());
        let b = wanted[0].then(|| x[1].clone());
        match mode {
            Mode::Push => LinearMap::new(move |t| {
                let left = t[0].as_ref().zip(b.as_ref()).map(|(da, b)| apply(MatMul, &[da, b]));
                let right = t[1].as_ref().zip(a.as_ref()).map(|(db, a)| apply(MatMul, &[a, db]));
                vec![sum([left, right])]
            }),
            Mode::Pull => LinearMap::new(move |c| {
                let Some(c) = &c[0] else { return vec![None, None] };
                vec![
                    b.as_ref().map(|b| apply(MatMul, &[c, &b.transpose(-2, -1)])),
                    a.as_ref().map(|a| apply(MatMul, &[&a.transpose(-2, -1), c])),
                ]
            }),
        }
    }

    fn batch(&self, x: &[Spec], axes: &[Option<usize>]) -> Batch {
        let r = x[0].shape.rank();
        match (axes[0], axes[1]) {
            (Some(0), Some(0)) if r == 3 => Batch::Each(vec![0]),
            (Some(a), None) if a == r - 2 => Batch::Each(vec![a]),
            (None, Some(b)) if b == r - 1 => Batch::Each(vec![b]),
            // The batch is what is summed over: a weight's gradient.
            (Some(a), Some(b)) if a == r - 1 && b == r - 2 => Batch::Sums,
            _ => Batch::Mixes,
        }
    }

    fn cost(&self, x: &[Spec], y: &[Spec]) -> Cost {
        let work = (y[0].shape.len() * x[0].shape[x[0].shape.rank() - 1]) as u64;
        let saved = (x[0].bytes() + x[1].bytes()) as u64;
        Cost { additions: work, multiplications: work, saved, ..Cost::default() }.moving(x, y)
    }

    fn packed(&self, _: usize) -> bool {
        false
    }

    fn cpu(&self, call: Call<'_>) {
        let [a, b] = call.inputs else { unreachable!("two operands") };
        let r = a.layout.shape.rank();
        let size = [a.layout.shape[r - 2], a.layout.shape[r - 1], b.layout.shape[r - 1]];
        let (s, t) = (a.layout.strides(), b.layout.strides());
        let axes = [(a.layout.shape[0], [s[0], t[0]])];
        let batch = if r == 3 { &axes[..] } else { &[] };
        macro_rules! product {
            ($f:ident, $t:ty) => {{
                let view =
                    |v: &View<'_>| (v.layout.offset, v.layout.strides()[r - 2], v.layout.strides()[r - 1]);
                let ((i, ar, ac), (j, br, bc)) = (view(a), view(b));
                let a = cpu::Operand { data: a.memory::<$t>(), offset: i, row: ar, column: ac };
                let b = cpu::Operand { data: b.memory::<$t>(), offset: j, row: br, column: bc };
                cpu::$f::<$t>(size, a, b, batch, call.outputs[0].slice())
            }};
        }
        match a.dtype {
            DType::F32 => product!(matmul, f32),
            DType::F64 => product!(matmul, f64),
            DType::U8 => product!(matmul_integer, u8),
            DType::I32 => product!(matmul_integer, i32),
            DType::I64 => product!(matmul_integer, i64),
            DType::Bool => unreachable!("the shape rule refuses truth values"),
        }
    }

    fn lanes(&self, x: &[Spec], axes: &[Option<usize>], then: &[&dyn Op]) -> Option<Lanes> {
        if x[0].shape.rank() != 2 || x[0].dtype != DType::F32 {
            return None;
        }
        let [m, k, n] = [x[0].shape[0], x[0].shape[1], x[1].shape[1]];
        let (add, rest) = match then {
            [first, rest @ ..] if first.is_a() == Some(&Arithmetic::Add) => (true, rest),
            all => (false, all),
        };
        let relu = match rest {
            [] => false,
            [only] if only.is_a() == Some(&Elementwise::Relu) => true,
            _ => return None,
        };
        let after = lanes::Then { add, relu };
        match axes {
            [Some(0), None] => lanes::product([k, n], 0, after),
            [None, Some(1)] => lanes::product([k, m], 1, after),
            [Some(1), Some(0)] if then.is_empty() => lanes::sum([m, n]),
            _ => None,
        }
    }
}

impl Tensor {
    /// `C = A·B`, with PyTorch's rules: `[m, k]·[k, n]`; vectors as rows or columns; leading axes broadcast.
    ///
    /// ```
    /// use cotangent::Tensor;
    /// let (a, v) = (Tensor::ones([5, 2, 3]), Tensor::ones([3]));
    /// assert_eq!(a.matmul(&v).shape()[..], [5, 2]);
    /// assert_eq!(v.matmul(&v).item(), 3.0);
    /// ```
    ///
    /// # Panics
    /// When inner sizes differ, leading axes do not broadcast, or an operand is a single number.
    #[must_use]
    #[track_caller]
    pub fn matmul(&self, other: &Tensor) -> Tensor {
        let dtype = promote([(self.dtype(), true), (other.dtype(), true)].into_iter());
        let (a, b) = (self.cast(dtype), other.cast(dtype));
        match (a.rank(), b.rank()) {
            (0, _) | (_, 0) => {
                Error::mistake("matmul: a single number is no matrix").help("`a * b` scales").raise()
            }
            (2, 2) => apply(MatMul, &[&a, &b]),
            (1, 1) => apply(MatMul, &[&a.unsqueeze(0), &b.unsqueeze(1)]).reshape(()),
            (1, _) => a.unsqueeze(0).matmul(&b).squeeze(-2),
            (_, 1) => a.matmul(&b.unsqueeze(1)).squeeze(-1),
            // One matrix for all: the leading axes join the rows.
            (_, 2) => {
                let mut dims = a.shape().to_vec();
                let k = dims.pop().unwrap_or(1);
                let rows = dims.iter().product::<usize>();
                dims.push(b.size(1));
                apply(MatMul, &[&a.reshape([rows, k]), &b]).reshape(dims)
            }
            (r, s) => {
                let lead = |x: &Tensor, r: usize| crate::Shape::new(&x.shape()[..r - 2]);
                let batch = lead(&a, r).broadcast(&lead(&b, s)).map_err(|e| e.verb("matmul")).or_raise();
                let n: usize = batch.len();
                let flat = |x: &Tensor| {
                    let last = &x.shape()[x.rank() - 2..];
                    let full: Vec<usize> = batch.iter().chain(last).copied().collect();
                    (x.expand(full).reshape([n, last[0], last[1]]), last.to_vec())
                };
                let ((a, am), (b, bm)) = (flat(&a), flat(&b));
                let dims: Vec<usize> = batch.iter().copied().chain([am[0], bm[1]]).collect();
                apply(MatMul, &[&a, &b]).reshape(dims)
            }
        }
    }
}
