//! Derivatives of models as functions of their parameters.

use super::{jvp_many, vjp_many};
use crate::{
    error::{Error, OrRaise},
    nn::{Parameters, ParametersExt},
    tensor::Tensor,
};

/// `f(θ)` and `∂f/∂θ`, one gradient a parameter, in [`ParametersExt::parameters`] order.
///
/// ```
/// use cotangent::{nn::{Call, Linear}, value_and_grad_of, Rng, Tensor};
/// let net = Linear::new(2, 1, &Rng::new(0));
/// let x = Tensor::ones([4, 2]);
/// let (_, g) = value_and_grad_of(&net, |net| net.call(&x).mean());
/// assert_eq!(g[0].to_vec::<f32>(), [1.0, 1.0]);     // of the weight
/// assert_eq!(g[1].to_vec::<f32>(), [1.0]);          // of the bias
/// ```
///
/// # Panics
/// When `f` does not give a single number.
#[track_caller]
pub fn value_and_grad_of<M: Parameters + ?Sized>(
    model: &M,
    f: impl FnOnce(&M) -> Tensor,
) -> (Tensor, Vec<Tensor>) {
    let (y, back) = vjp_many(|values| vec![model.with(values, f)], &model.values());
    if y[0].numel() != 1 {
        Error::mistake(format!(
            "grad_of: the function must give a single number, got shape {:?}",
            y[0].shape()
        ))
        .help("reduce it with `.sum()` or `.mean()`")
        .raise()
    }
    let ones = y[0].detach().ones_like();
    let g = back(&[ones]);
    (y.into_iter().next().expect("one output"), g)
}

/// `∂f/∂θ`, one gradient a parameter.
#[track_caller]
pub fn grad_of<M: Parameters + ?Sized>(model: &M, f: impl FnOnce(&M) -> Tensor) -> Vec<Tensor> {
    value_and_grad_of(model, f).1
}

/// `∇²f(θ)·v`, forward over reverse, one tensor a parameter.
#[track_caller]
pub fn hvp_of<M: Parameters + ?Sized>(model: &M, f: impl Fn(&M) -> Tensor, v: &[Tensor]) -> Vec<Tensor> {
    jvp_many(
        |values| {
            let (y, back) = vjp_many(|values| vec![model.with(values, &f)], values);
            let ones = y[0].detach().ones_like();
            back(&[ones])
        },
        &model.values(),
        v,
    )
    .1
}

/// The gradient of every example by itself: for each parameter `[n, ..its shape]`; `f` sees batches of one
/// (row A9).
///
/// ```
/// use cotangent::{nn::{Call, Linear}, per_example, Rng, Tensor};
/// let net = Linear::new(1, 1, &Rng::new(0));
/// let g = per_example(&net, |net, [x]| net.call(x).sum(), [&Tensor::from([[1.0f32], [5.0]])]);
/// assert_eq!(g[0].to_vec::<f32>(), [1.0, 5.0]);
/// ```
///
/// # Panics
/// When the batches differ in size, or are empty.
#[track_caller]
pub fn per_example<M: Parameters + ?Sized, const N: usize>(
    model: &M,
    f: impl Fn(&M, [&Tensor; N]) -> Tensor,
    batch: [&Tensor; N],
) -> Vec<Tensor> {
    let n = batch[0].size(0);
    if n == 0 || batch.iter().any(|b| b.size(0) != n) {
        let sizes: Vec<usize> = batch.iter().map(|b| b.size(0)).collect();
        Err::<(), _>(Error::mistake(format!(
            "per_example: batches must have one size, at least 1; got {sizes:?}"
        )))
        .or_raise();
    }
    let each: Vec<Vec<Tensor>> = (0..n)
        .map(|i| {
            let one = batch.map(|b| b.narrow(0, i, 1));
            grad_of(model, |m| f(m, one.each_ref()))
        })
        .collect();
    (0..each[0].len()).map(|p| Tensor::stack(&each.iter().map(|g| &g[p]).collect::<Vec<_>>(), 0)).collect()
}
