//! Forward mode against reverse mode against finite differences, in f64, along random directions.
//!
//! Between two kinks a network with ReLU and max pooling is smooth. Which side of each kink a point lies on is
//! watched, and the step of the difference shrinks until no kink lies within it; where one always does, that is what
//! is said: the difference means nothing there (ReLU at 0 has the derivative 0, as PyTorch's).

use std::sync::{Arc, Mutex};

use cotangent::nn::{Call, ParametersExt};
use cotangent::{DType, Observer, Op, Origin, Pass, Rng, Tensor, attempt, jvp_many, observe, vjp_many};

use crate::diagnostic::Diagnostic;
use crate::model::Model;

/// Examples in the batch.
pub(crate) const BATCH: usize = 2;
/// The first step of a difference, and the smallest that is tried.
const STEPS: [f64; 5] = [1e-3, 1e-4, 1e-5, 1e-6, 1e-7];
/// Forward and reverse mode compute the same sums in another order.
const BETWEEN_MODES: f64 = 1e-10;
/// A slope along which the function changes by this share of itself over a distance of 1 is taken for none.
const NOTHING: f64 = 1e-4;
/// The rounding of a loss in its own size: sums of many numbers.
const ROUNDING: f64 = 64.0 * f64::EPSILON;
/// What a difference can be trusted with.
const FROM_DIFFERENCE: f64 = 1e-5;

/// What was found of one layer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Comparison {
    /// The layer's path, or `input`.
    pub(crate) layer: String,
    /// Largest relative difference between forward and reverse mode.
    pub(crate) modes: f64,
    /// Largest relative difference between reverse mode and finite differences; none where a kink is always near.
    pub(crate) difference: Option<f64>,
    /// The smallest step within which there still was a kink, where there always was one.
    pub(crate) kink: Option<f64>,
}

impl Comparison {
    /// Whether all that can be compared agrees.
    pub(crate) fn is_ok(&self) -> bool {
        // Also a difference that is not a number is none that is small.
        self.modes <= BETWEEN_MODES && self.difference.is_none_or(|d| d <= FROM_DIFFERENCE)
    }
}

/// All layers of a network with parameters, in order, then its input.
pub(crate) fn compare_layers(
    model: &Model,
    shape: &[usize],
    classes: usize,
    seed: u64,
) -> Result<Vec<Comparison>, Diagnostic> {
    Ok(attempt(|| {
        let rng = Rng::stream(seed, 1);
        let images: Vec<usize> = [BATCH].iter().chain(shape).copied().collect();
        let x = Tensor::randn(&images[..], &rng).cast(DType::F64);
        let y = Tensor::randint(0, classes as i64, [BATCH], &rng);
        let names: Vec<String> = model.parameters().into_iter().map(|(name, _)| name).collect();
        let mut at: Vec<Tensor> = model.values().iter().map(|v| v.cast(DType::F64)).collect();
        at.push(x);
        let loss = |v: &[Tensor]| {
            let (x, values) = v.split_last().expect("the input is the last");
            vec![model.with(values, |m| m.call(x).cross_entropy(&y))]
        };
        let mut found: Vec<Comparison> = Vec::new();
        for place in 0..at.len() {
            let layer = match names.get(place) {
                Some(name) => name.rsplit_once('.').map_or(name.as_str(), |(layer, _)| layer),
                None => "input",
            };
            let alone = |v: &[Tensor]| {
                let mut all = at.clone();
                all[place] = v[0].clone();
                loss(&all)
            };
            let direction = Tensor::randn(*at[place].shape(), &rng).cast(DType::F64);
            let one = compare(layer, &alone, &at[place], &direction);
            match found.last_mut() {
                Some(last) if last.layer == layer => merge(last, one),
                _ => found.push(one),
            }
        }
        found
    })?)
}

/// The worse of two.
fn merge(a: &mut Comparison, b: Comparison) {
    let worse = |a: f64, b: f64| if a.is_nan() || a > b { a } else { b };
    a.modes = worse(a.modes, b.modes);
    a.difference = match (a.difference, b.difference) {
        (Some(a), Some(b)) => Some(worse(a, b)),
        (one, other) => one.or(other),
    };
    a.kink = a.kink.or(b.kink);
}

/// The three derivatives of a number at one point along one direction.
fn compare(layer: &str, f: &dyn Fn(&[Tensor]) -> Vec<Tensor>, at: &Tensor, along: &Tensor) -> Comparison {
    // Of length 1, so that a step means the same for every layer.
    let length = along.norm().item();
    let along = if length > 0.0 { along / length } else { along.clone() };
    let (_, pushed) = jvp_many(f, std::slice::from_ref(at), std::slice::from_ref(&along));
    let forward = pushed[0].item();
    let (value, pull) = vjp_many(f, std::slice::from_ref(at));
    let reverse = (&pull(&[value[0].ones_like()])[0] * &along).sum().item();
    // A derivative of 0, such as of a bias before batch norm, is compared with the function's own size.
    let least = NOTHING * value[0].item().abs();
    let relative = |a: f64, b: f64| relative(a, b, least);
    let modes = relative(forward, reverse);
    let moved = |h: f64| sides(|| f(&[at + &along * h])[0].item());
    for h in STEPS {
        // Where rounding alone could be mistaken for a difference, smaller steps say nothing any more.
        let size = forward.abs().max(reverse.abs()).max(least);
        if ROUNDING * value[0].item().abs() / h > FROM_DIFFERENCE * size {
            return Comparison { layer: layer.into(), modes, difference: None, kink: Some(10.0 * h) };
        }
        let points = [-h, -h / 2.0, h / 2.0, h].map(moved);
        if points.iter().all(|(_, sides)| *sides == points[0].1) {
            let [a, b, c, d] = points.map(|(value, _)| value);
            // Richardson: two central differences, whose errors of order h² cancel.
            let (wide, narrow) = ((d - a) / (2.0 * h), (c - b) / h);
            let difference = Some(relative((4.0 * narrow - wide) / 3.0, reverse));
            return Comparison { layer: layer.into(), modes, difference, kink: None };
        }
    }
    let kink = STEPS.last().copied();
    Comparison { layer: layer.into(), modes, difference: None, kink }
}

fn relative(a: f64, b: f64, least: f64) -> f64 {
    let size = a.abs().max(b.abs()).max(least);
    if size == 0.0 { 0.0 } else { (a - b).abs() / size }
}

/// Watches on which side of every kink the operands lie.
#[derive(Default)]
struct Sides(Mutex<Vec<i64>>);

impl Observer for Sides {
    fn operation(
        &self,
        op: &dyn Op,
        inputs: &[Tensor],
        outputs: &[Tensor],
        origin: &Origin,
    ) -> cotangent::Result<()> {
        if origin.pass != Pass::Forward {
            return Ok(());
        }
        let of_sign = |x: &Tensor| x.to_vec::<f64>().iter().map(|x| i64::from(*x > 0.0)).collect();
        let seen: Vec<i64> = match op.name() {
            "relu" | "abs" => of_sign(&inputs[0]),
            "max_pool2d" => outputs[1].to_vec::<i64>(),
            _ => return Ok(()),
        };
        self.0.lock().unwrap_or_else(|e| e.into_inner()).extend(seen);
        Ok(())
    }
}

/// The value of `f`, and the sides of all kinks on its way.
fn sides<T>(f: impl FnOnce() -> T) -> (T, Vec<i64>) {
    let watch = Arc::new(Sides::default());
    let value = observe(watch.clone(), f);
    let seen = std::mem::take(&mut *watch.0.lock().unwrap_or_else(|e| e.into_inner()));
    (value, seen)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ModelName;
    use crate::model::build;

    #[test]
    fn all_networks_agree_with_themselves() {
        for name in [ModelName::Lenet5, ModelName::Softmax] {
            let (model, _) = build(name, [1, 28, 28], 10, 3, BATCH).unwrap();
            let found = compare_layers(&model, &[1, 28, 28], 10, 3).unwrap();
            assert!(found.iter().all(Comparison::is_ok), "{found:?}");
            assert_eq!(found.last().unwrap().layer, "input");
            assert!(found.iter().any(|c| c.difference.is_some_and(|d| d > 0.0)), "{found:?}");
        }
    }

    #[test]
    fn a_derivative_that_is_0_is_compared_with_the_size_of_the_loss() {
        let mut layers = crate::config::layers::Layers::default();
        let text = "[[layers]]\nconv2d = { out = 3, kernel = 3 }\n[[layers]]\nbatch_norm2d = {}\n[[layers]]\n\
            act = \"tanh\"\n[[layers]]\nflatten = {}\n[[layers]]\nlinear = {}\n";
        layers.text("x.toml", text.into()).unwrap();
        let config = layers.merge().unwrap().0;
        let (model, _) = build(&config, [2, 6, 6], 4, 3, BATCH).unwrap();
        let found = compare_layers(&model, &[2, 6, 6], 4, 3).unwrap();
        // The bias of the convolution moves the mean that batch norm takes off again.
        assert!(found.iter().all(Comparison::is_ok), "{found:?}");
        assert!(found.iter().all(|c| c.difference.is_some()), "{found:?}");
    }

    #[test]
    fn a_kink_at_the_point_is_reported_and_does_not_fail() {
        // A2: σ′(0) = 0, and no difference can tell.
        let relu = |v: &[Tensor]| vec![v[0].relu().sum()];
        let (at, along) = (Tensor::from([0.0, 1.0]), Tensor::from([1.0, 1.0]));
        let found = compare("x", &relu, &at, &along);
        assert_eq!((found.difference, found.kink), (None, Some(1e-7)));
        assert!(found.is_ok());
        // Near one, the step shrinks below the distance.
        let near = compare("x", &relu, &Tensor::from([3e-5, 1.0]), &along);
        assert!(near.kink.is_none() && near.difference.unwrap() < 1e-7, "{near:?}");
    }

    #[test]
    fn a_wrong_derivative_is_noticed() {
        // Its value says x², its derivative is that of x²/2.
        let wrong = |v: &[Tensor]| {
            let half = v[0].square() * 0.5;
            vec![(&half + half.detach()).sum()]
        };
        let (at, along) = (Tensor::from([0.5, 2.0]), Tensor::from([1.0, 0.5]));
        let found = compare("x", &wrong, &at, &along);
        assert!(!found.is_ok(), "{found:?}");
        assert!(found.difference.unwrap() > 0.4);
        let not_a_number = Comparison { modes: f64::NAN, ..compare("x", &wrong, &at, &along) };
        assert!(!not_a_number.is_ok());
    }
}
