//! Losses as layers.

use crate::{
    Tensor,
    ops::{CrossEntropyOptions, Reduction},
};

/// Log-softmax and negative log-likelihood in one (rows E1–E12).
/// <https://pytorch.org/docs/stable/generated/torch.nn.CrossEntropyLoss.html>
///
/// ```
/// use cotangent::{nn::CrossEntropyLoss, Tensor};
/// let loss = CrossEntropyLoss::new().call(&Tensor::from([[1.0, 2.0, 3.0]]), &Tensor::from([2]));
/// assert!((loss.item() - 0.407605964).abs() < 1e-9);
/// ```
#[derive(Clone, Debug, Default)]
pub struct CrossEntropyLoss(CrossEntropyOptions);

impl CrossEntropyLoss {
    /// With PyTorch's defaults.
    pub fn new() -> Self {
        Self::default()
    }
    /// A weight per class, `[C]`.
    #[must_use]
    pub fn weight(mut self, weight: Tensor) -> Self {
        self.0.weight = Some(weight);
        self
    }
    /// The label of rows that do not count; −100 by default.
    #[must_use]
    pub fn ignore_index(mut self, label: i64) -> Self {
        self.0.ignore_index = label;
        self
    }
    /// How losses are brought together; the weighted mean by default.
    #[must_use]
    pub fn reduction(mut self, reduction: Reduction) -> Self {
        self.0.reduction = reduction;
        self
    }
    /// How much of each target is spread evenly over all classes.
    #[must_use]
    pub fn label_smoothing(mut self, share: f64) -> Self {
        self.0.label_smoothing = share;
        self
    }
    /// The loss of logits for labels or probabilities.
    ///
    /// # Panics
    /// As [`Tensor::cross_entropy`].
    #[must_use]
    #[track_caller]
    pub fn call(&self, logits: &Tensor, target: &Tensor) -> Tensor {
        logits.cross_entropy_with(target, &self.0)
    }
}
