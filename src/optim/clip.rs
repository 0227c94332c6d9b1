//! Gradients cut to a length, or to a range.

use super::at_least_zero;
use crate::{
    autodiff::Gradients,
    cell::Param,
    error::Error,
    nn::{Parameters, ParametersExt},
    tensor::{DType, Tensor},
};

/// `g ← g · min(1, c/(‖g‖ + 10⁻⁶))`, with `‖g‖` over all parameters of the model together.
///
/// Returns the clipped gradients and `‖g‖` as it was, `[]`, of the widest type among them; nothing is read, so it
/// can be recorded. Gradients of other leaves stay as they are. Of no gradient at all the norm is 0.
/// Source: <https://pytorch.org/docs/stable/generated/torch.nn.utils.clip_grad_norm_.html> with `norm_type = 2`.
///
/// ```
/// use cotangent::{Param, Tensor, optim::clip_grad_norm};
/// let w = Param::new(Tensor::from([3.0, 4.0]));
/// let g = (w.get().square().sum() * 0.5).backward();
/// let (clipped, norm) = clip_grad_norm(&w, &g, 1.0);
/// assert_eq!(norm.item(), 5.0);
/// assert!((w.gradient(&clipped).unwrap().norm().item() - 1.0).abs() < 1e-6);
/// ```
///
/// # Panics
/// When `max_norm` is NaN or negative; when gradients live on several devices.
#[track_caller]
pub fn clip_grad_norm(
    model: &(impl Parameters + ?Sized),
    gradients: &Gradients,
    max_norm: f64,
) -> (Gradients, Tensor) {
    if max_norm.is_nan() || max_norm < 0.0 {
        Error::mistake(format!("the largest norm is {max_norm}, and must be at least 0"))
            .verb("clip_grad_norm")
            .raise()
    }
    // In the model's order: a sum must not depend on hash order.
    let found = gradients_of(model, gradients);
    let widest = found.iter().map(|(_, g)| g.dtype()).max().unwrap_or(DType::F32);
    let squares = found.iter().map(|(_, g)| g.norm().cast(widest).square());
    let norm = match squares.reduce(|a, b| a + b) {
        Some(sum) => sum.sqrt(),
        None => return (gradients.clone(), Tensor::zeros(()).cast(widest)),
    };
    let factor = max_norm / (&norm + 1e-6);
    let factor = factor.minimum(&factor.ones_like());
    (replaced(gradients, found, |g| g * factor.cast(g.dtype())), norm)
}

/// `g ← min(max(g, −c), c)`, element by element; NaN stays.
///
/// Gradients of other leaves stay as they are. Source:
/// <https://pytorch.org/docs/stable/generated/torch.nn.utils.clip_grad_value_.html>.
///
/// ```
/// use cotangent::{Param, Tensor, optim::clip_grad_value};
/// let w = Param::new(Tensor::from([0.5, -4.0]));
/// let g = clip_grad_value(&w, &(w.get().square().sum() * 0.5).backward(), 1.0);
/// assert_eq!(w.gradient(&g).unwrap().to_vec::<f64>(), [0.5, -1.0]);
/// ```
///
/// # Panics
/// When `clip` is not a finite number ≥ 0.
#[must_use]
#[track_caller]
pub fn clip_grad_value(model: &(impl Parameters + ?Sized), gradients: &Gradients, clip: f64) -> Gradients {
    at_least_zero("clip_grad_value", "the bound", clip);
    let within = |g: &Tensor| g.maximum(&g.full_like(-clip)).minimum(&g.full_like(clip));
    replaced(gradients, gradients_of(model, gradients), within)
}

fn gradients_of(model: &(impl Parameters + ?Sized), gradients: &Gradients) -> Vec<(Param, Tensor)> {
    let of = |p: Param| p.gradient(gradients).cloned().map(|g| (p, g));
    model.parameters().into_iter().filter_map(|(_, p)| of(p)).collect()
}

fn replaced(all: &Gradients, found: Vec<(Param, Tensor)>, f: impl Fn(&Tensor) -> Tensor) -> Gradients {
    let mut all = all.clone();
    found.into_iter().for_each(|(p, g)| drop(all.0.insert(p.0.id, f(&g))));
    all
}
