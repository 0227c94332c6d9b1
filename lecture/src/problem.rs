//! The lecture's problem: minimise `F(θ) = (1/N) Σ f_i(θ)` (row A1).

use std::sync::Arc;

use cotangent::{DType, Rng, Tensor, value_and_grad};

type Losses = dyn Fn(&Tensor, &Tensor) -> Tensor + Send + Sync;

/// `N` functions of one vector, and their mean `F` (row A1).
///
/// ```
/// use cotangent::Tensor;
/// use cotangent_lecture::FiniteSum;
/// let p = FiniteSum::least_squares(20, 3, 0.1, 7);
/// let theta = Tensor::from([0.0, 0.0, 0.0]);
/// let mean = (0..20).map(|i| p.term(i, &theta)).sum::<f64>() / 20.0;
/// assert!((p.value(&theta) - mean).abs() < 1e-12);
/// ```
#[derive(Clone)]
pub struct FiniteSum {
    n: usize,
    dim: usize,
    losses: Arc<Losses>,
    /// What the examples are made of; rows of `x`, with labels or targets `y`.
    data: Option<(Tensor, Tensor)>,
}

impl std::fmt::Debug for FiniteSum {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "FiniteSum of {} functions of {} numbers", self.n, self.dim)
    }
}

/// Standard normal numbers, `F64`.
pub(crate) fn normal(shape: impl Into<cotangent::Shape>, rng: &Rng) -> Tensor {
    Tensor::randn(shape, rng).cast(DType::F64)
}

/// `ln(1 + e^{−m})`, which is the cross entropy of the logits (m, 0) for the first class: smooth at 0, stable far away.
pub(crate) fn logistic(m: &Tensor) -> Tensor {
    let last = m.rank() as isize;
    -Tensor::stack(&[m, &m.zeros_like()], last).log_softmax(-1).select(-1, 0)
}

impl FiniteSum {
    /// From `f(θ, i)`, where `i` are some examples' numbers, `[b]`, and the value is one loss each, `[b]`.
    pub fn new(n: usize, dim: usize, f: impl Fn(&Tensor, &Tensor) -> Tensor + Send + Sync + 'static) -> Self {
        FiniteSum { n, dim, losses: Arc::new(f), data: None }
    }

    fn of_rows(x: Tensor, y: Tensor, f: impl Fn(&Tensor, &Tensor) -> Tensor + Send + Sync + 'static) -> Self {
        let (n, dim) = (x.size(0), x.size(1));
        let (u, v) = (x.clone(), y.clone());
        let losses =
            move |theta: &Tensor, i: &Tensor| f(&u.index_select(0, i).matmul(theta), &v.index_select(0, i));
        FiniteSum { data: Some((x, y)), ..Self::new(n, dim, losses) }
    }

    /// `f_i(θ) = ½(x_iᵀθ − y_i)²` with `y = Xθ* + noise`.
    pub fn least_squares(n: usize, dim: usize, noise: f64, seed: u64) -> Self {
        let rng = Rng::new(seed);
        let (x, truth) = (normal([n, dim], &rng), normal([dim], &rng));
        let y = x.matmul(&truth) + normal([n], &rng) * noise;
        Self::of_rows(x, y, |z, y| (z - y).square() * 0.5)
    }

    /// `f_i(θ) = ln(1 + e^{−y_i x_iᵀθ})`, labels ±1, two blobs; with `sorted`, all of one class come first.
    pub fn logistic(n: usize, dim: usize, sorted: bool, seed: u64) -> Self {
        let rng = Rng::new(seed);
        let label =
            |i: usize| if (sorted && i < n / 2) || (!sorted && i.is_multiple_of(2)) { 1.0 } else { -1.0 };
        let y = Tensor::from_vec((0..n).map(label).collect::<Vec<f64>>(), [n]);
        let x = normal([n, dim], &rng) + y.unsqueeze(1) * 0.7;
        Self::of_rows(x, y, |z, y| logistic(&(z * y)))
    }

    /// `N`
    pub fn len(&self) -> usize {
        self.n
    }

    /// Are there no functions?
    pub fn is_empty(&self) -> bool {
        self.n == 0
    }

    /// The length of θ.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// The examples, where there are any: rows and labels.
    pub fn data(&self) -> Option<&(Tensor, Tensor)> {
        self.data.as_ref()
    }

    fn all(&self) -> Tensor {
        Tensor::arange(0, self.n as i64)
    }

    /// The losses of these examples, `[b]`.
    pub fn losses(&self, theta: &Tensor, examples: &Tensor) -> Tensor {
        (self.losses)(theta, examples)
    }

    /// `F(θ)`
    pub fn value(&self, theta: &Tensor) -> f64 {
        self.losses(theta, &self.all()).mean().item()
    }

    /// `f_i(θ)`
    pub fn term(&self, i: usize, theta: &Tensor) -> f64 {
        self.losses(theta, &Tensor::from([i as i64])).sum().item()
    }

    /// `∇F(θ)`
    pub fn gradient(&self, theta: &Tensor) -> Tensor {
        self.batch_gradient(theta, &(0..self.n).collect::<Vec<_>>())
    }

    /// `(1/B) Σ_j ∇f_{i(j)}(θ)` of some examples, with repetitions.
    pub fn batch_gradient(&self, theta: &Tensor, batch: &[usize]) -> Tensor {
        let i = Tensor::from_vec(batch.iter().map(|i| *i as i64).collect::<Vec<_>>(), [batch.len()]);
        let (_, [g]) = value_and_grad(|[theta]| self.losses(&theta, &i).mean(), [theta]);
        g
    }

    /// `∇f_i(θ)` for every `i`.
    pub fn per_example(&self, theta: &Tensor) -> Vec<Vec<f64>> {
        (0..self.n).map(|i| self.batch_gradient(theta, &[i]).to_vec::<f64>()).collect()
    }
}
