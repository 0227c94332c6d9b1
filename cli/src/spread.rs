//! How weights and their gradients are spread, and how far a step moves them: taken between epochs, so that no step
//! waits for it, and from what a checkpoint holds, so that a resumed run finds the same.

use std::collections::HashMap;

use cotangent::nn::ParametersExt;
use cotangent::optim::Optimizer;
use cotangent::{Gradients, Param, Tensor, attempt};
use cotangent_board::runs;
use cotangent_board::tensorboard::histogram;

use crate::diagnostic::Diagnostic;
use crate::model::Model;

/// Numbers of which a histogram is made; of more, every so-manyth.
pub(crate) const COUNTED: usize = 200_000;
/// Bins of a histogram in `layers.csv`.
const BINS: usize = 30;

/// A parameter after an epoch.
pub(crate) struct Spread {
    /// Its name.
    pub(crate) name: String,
    /// `‖Δw‖ / ‖w‖` of the step that the optimiser would take with `gradients`, at its rate.
    pub(crate) ratio: f64,
    /// Its numbers, or every so-manyth of them.
    pub(crate) weights: Vec<f64>,
    /// Those of its gradient for the epoch's last batch; none where it has none.
    pub(crate) gradients: Vec<f64>,
}

/// Every so-manyth of a tensor's numbers, few enough to be counted.
pub(crate) fn some(t: &Tensor) -> cotangent::Result<Vec<f64>> {
    let values = t.try_to_vec::<f64>()?;
    let stride = values.len().div_ceil(COUNTED).max(1);
    Ok(values.into_iter().step_by(stride).collect())
}

/// `(Σ x²)^½`
fn norm(t: &Tensor) -> cotangent::Result<f64> {
    Ok(t.try_to_vec::<f64>()?.iter().map(|x| x * x).sum::<f64>().sqrt())
}

/// Weights, gradients and updates. `differentiate` gives the gradients of a batch; the network computes as it does
/// outside training, and network and optimiser are afterwards what they were. Nothing where the loss is not finite.
pub(crate) fn measure(
    model: &Model,
    optimizer: &dyn Optimizer,
    differentiate: impl Fn() -> Gradients,
) -> Result<Vec<Spread>, Diagnostic> {
    model.eval();
    let gradients = attempt(differentiate);
    model.train();
    let Ok(gradients) = gradients else { return Ok(Vec::new()) };
    let parameters = model.parameters();
    let before: Vec<Tensor> = parameters.iter().map(|(_, p)| p.value()).collect();
    let memory: HashMap<String, Tensor> = optimizer.state().into_iter().collect();
    let stepped = attempt(|| optimizer.step(&**model, &gradients));
    let after: Vec<Tensor> = parameters.iter().map(|(_, p)| p.value()).collect();
    parameters.iter().zip(&before).for_each(|((_, p), w)| p.set(w));
    optimizer.load_state(&**model, &memory)?;
    stepped?;
    let one = |(((name, p), w), new): (((&String, &Param), &Tensor), &Tensor)| -> cotangent::Result<Spread> {
        let gradients = p.gradient(&gradients).map_or(Ok(Vec::new()), some)?;
        let ratio = norm(&(new - w))? / norm(w)?;
        Ok(Spread { name: name.clone(), ratio, weights: some(w)?, gradients })
    };
    let all = parameters.iter().map(|(name, p)| (name, p)).zip(&before).zip(&after);
    Ok(all.map(one).collect::<cotangent::Result<_>>()?)
}

/// Their rows of `layers.csv`.
pub(crate) fn rows(epoch: u64, all: &[Spread]) -> String {
    let mut text = String::new();
    for Spread { name, ratio, weights, gradients } in all {
        text += &format!("{epoch},{name},{ratio:.6e}");
        for values in [weights, gradients] {
            let (limits, counts) = histogram(values, BINS);
            let low = values.iter().copied().filter(|x| x.is_finite()).reduce(f64::min);
            let end = |x: Option<f64>| x.map_or(String::new(), |x| format!("{x:.6e}"));
            let counts: Vec<String> = counts.iter().map(u64::to_string).collect();
            text += &format!(",{},{},{}", end(low), end(limits.last().copied()), counts.join(" "));
        }
        text.push('\n');
    }
    debug_assert!(text.lines().all(|l| l.split(',').count() == runs::LAYERS_HEADER.split(',').count()));
    text
}
