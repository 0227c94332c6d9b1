//! The networks that the program knows, and their way into a checkpoint and out of it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use cotangent::models::{LeNet5, Mlp, SoftmaxRegression};
use cotangent::nn::{Module, ParametersExt, Summary};
use cotangent::{DType, Device, Rng, Shape, Spec, Tensor, shapes};
use safetensors::tensor::Dtype;

use crate::checkpoint::{About, Checkpoint, Stored};
use crate::config::ModelName;
use crate::diagnostic::{Diagnostic, Exit};
use crate::machine;

/// A network; clones share its parameters.
pub(crate) type Model = Arc<dyn Module>;

/// Widths of the hidden layers of [`ModelName::Mlp`].
const HIDDEN: [usize; 2] = [512, 512];

/// The network for images of `shape` and so many classes, its parameters drawn from `seed`.
fn network(name: ModelName, shape: [usize; 3], classes: usize, seed: u64) -> Model {
    let rng = Rng::new(seed);
    let inputs = shape.iter().fold(1, |n: usize, size| n.saturating_mul(*size));
    match name {
        ModelName::Lenet5 => Arc::new(LeNet5::with(shape[0], classes, &rng)),
        ModelName::Mlp => {
            let widths: Vec<usize> = [inputs].into_iter().chain(HIDDEN).chain([classes]).collect();
            Arc::new(Mlp::new(&widths, &rng))
        }
        ModelName::Softmax => Arc::new(SoftmaxRegression::new(inputs, classes, &rng)),
    }
}

/// The network and its summary for a batch; refused before anything is drawn when the images do not fit it, or the
/// machine cannot hold it.
pub(crate) fn build(
    name: ModelName,
    shape: [usize; 3],
    classes: usize,
    seed: u64,
    batch: usize,
) -> Result<(Model, Summary), Diagnostic> {
    let [c, h, w] = shape;
    let input = Spec { shape: Shape::try_new(&[batch, c, h, w])?, dtype: DType::F32, device: Device::cpu() };
    let unfit = |error: cotangent::Error| {
        let images = format!("the images are {c}×{h}×{w}");
        let found = Diagnostic::from(error).exiting(Exit::Usage).note(images);
        match name {
            ModelName::Lenet5 => found.help("lenet5 takes images of 28×28; `--model mlp` takes any size"),
            ModelName::Mlp | ModelName::Softmax => found,
        }
    };
    let (parameters, outline) = shapes(|| {
        let model = network(name, shape, classes, seed);
        (model.parameter_count(), Summary::of(&model, &input))
    })
    .map_err(unfit)?;
    let outline = outline.map_err(unfit)?;
    // Weights, gradients, two slots of the optimiser, a copy while they change; and what the way back needs.
    let needed = (parameters as u64).saturating_mul(4 * 5).saturating_add(outline.saved.saturating_mul(2));
    machine::must_fit(&format!("{name} with batches of {batch}"), needed)?;
    Ok((network(name, shape, classes, seed), outline))
}

/// A tensor as it lies in a file.
pub(crate) fn stored(t: &Tensor) -> Result<Stored, Diagnostic> {
    fn bytes<T, const N: usize>(v: &[T], f: impl Fn(&T) -> [u8; N]) -> Vec<u8> {
        v.iter().flat_map(f).collect()
    }
    let (dtype, bytes) = match t.dtype() {
        DType::F32 => (Dtype::F32, bytes(&t.try_to_vec::<f32>()?, |x| x.to_le_bytes())),
        DType::F64 => (Dtype::F64, bytes(&t.try_to_vec::<f64>()?, |x| x.to_le_bytes())),
        DType::I32 => (Dtype::I32, bytes(&t.try_to_vec::<i32>()?, |x| x.to_le_bytes())),
        DType::I64 => (Dtype::I64, bytes(&t.try_to_vec::<i64>()?, |x| x.to_le_bytes())),
        DType::U8 => (Dtype::U8, t.try_to_vec::<u8>()?),
        DType::Bool => (Dtype::BOOL, bytes(&t.try_to_vec::<bool>()?, |x| [u8::from(*x)])),
        other => {
            return Err(Diagnostic::new(Exit::Failure, format!("a checkpoint has no place for {other}")));
        }
    };
    Ok(Stored { dtype, shape: t.shape().to_vec(), bytes })
}

/// The tensor that a file holds under `name`.
fn tensor(name: &str, t: &Stored) -> Result<Tensor, Diagnostic> {
    fn numbers<T, const N: usize>(bytes: &[u8], f: impl Fn([u8; N]) -> T) -> Vec<T> {
        bytes.as_chunks::<N>().0.iter().map(|chunk| f(*chunk)).collect()
    }
    let shape = Shape::try_new(&t.shape).map_err(|e| Diagnostic::from(e).exiting(Exit::Data))?;
    Ok(match t.dtype {
        Dtype::F32 => Tensor::from_vec(numbers(&t.bytes, f32::from_le_bytes), shape),
        Dtype::F64 => Tensor::from_vec(numbers(&t.bytes, f64::from_le_bytes), shape),
        Dtype::I32 => Tensor::from_vec(numbers(&t.bytes, i32::from_le_bytes), shape),
        Dtype::I64 => Tensor::from_vec(numbers(&t.bytes, i64::from_le_bytes), shape),
        Dtype::U8 => Tensor::from_vec(t.bytes.clone(), shape),
        Dtype::BOOL => Tensor::from_vec(numbers(&t.bytes, |[x]: [u8; 1]| x != 0), shape),
        other => {
            let title = format!("the checkpoint holds `{name}` as {other:?}, which this program cannot read");
            return Err(Diagnostic::new(Exit::Data, title).help("convert it to F32"));
        }
    })
}

/// Tensors of a checkpoint by name.
pub(crate) fn tensors<'a>(
    stored: impl Iterator<Item = (&'a str, &'a Stored)>,
) -> Result<HashMap<String, Tensor>, Diagnostic> {
    stored.map(|(name, t)| Ok((name.to_string(), tensor(name, t)?))).collect()
}

/// The network's own part of a checkpoint.
pub(crate) fn weights(model: &Model) -> Result<BTreeMap<String, Stored>, Diagnostic> {
    model.state_dict().iter().map(|(name, t)| Ok((name.clone(), stored(t)?))).collect()
}

/// The images that a checkpoint was trained on: channels, height, width.
pub(crate) fn input_shape(about: &About) -> Result<[usize; 3], Diagnostic> {
    match (<[usize; 3]>::try_from(&about.input_shape[..]), about.classes.len()) {
        (Ok(shape), 1..) => Ok(shape),
        (_, classes) => {
            let shape = &about.input_shape;
            let title = format!("the checkpoint speaks of inputs of shape {shape:?} and {classes} classes");
            Err(Diagnostic::new(Exit::Data, title).help("expected [channels, height, width] and a class"))
        }
    }
}

/// The network of a checkpoint with its weights.
pub(crate) fn restore(checkpoint: &Checkpoint, batch: usize) -> Result<(Model, Summary), Diagnostic> {
    let about = &checkpoint.about;
    let (shape, classes) = (input_shape(about)?, about.classes.len());
    let values = tensors(checkpoint.model())?;
    // Sizes first: a file must not make the program draw more numbers than the file itself holds.
    let outline = shapes(|| network(about.config.model, shape, classes, 0))?;
    let held: usize = values.values().map(Tensor::numel).sum();
    if outline.parameter_count() > held {
        let title = format!(
            "the checkpoint holds {held} numbers, and {} for such images has {} parameters",
            about.config.model,
            outline.parameter_count()
        );
        return Err(Diagnostic::new(Exit::Data, title).help("the file was changed by something else"));
    }
    let (model, summary) = build(about.config.model, shape, classes, 0, batch)?;
    model.load_state_dict(&values).map_err(|e| Diagnostic::from(e).exiting(Exit::Data))?;
    Ok((model, summary))
}

#[cfg(test)]
mod tests {
    use super::*;
    use cotangent::nn::Call;

    const MNIST: [usize; 3] = [1, 28, 28];

    #[test]
    fn the_networks_have_the_sizes_of_the_lecture() {
        // H7: the modern LeNet-5 has 61,706 parameters.
        for (name, parameters) in
            [(ModelName::Lenet5, 61_706), (ModelName::Softmax, 7_850), (ModelName::Mlp, 669_706)]
        {
            let (model, summary) = build(name, MNIST, 10, 0, 3).unwrap();
            assert_eq!((model.parameter_count(), summary.parameters), (parameters, parameters));
            assert_eq!(model.call(&Tensor::zeros([3, 1, 28, 28])).shape()[..], [3, 10]);
        }
    }

    #[test]
    fn the_seed_decides_the_weights() {
        let weights = |seed| weights(&build(ModelName::Lenet5, MNIST, 10, seed, 1).unwrap().0).unwrap();
        assert_eq!(weights(3), weights(3));
        assert_ne!(weights(3), weights(4));
    }

    #[test]
    fn images_that_do_not_fit_are_refused_with_words() {
        let refused = |name, shape| build(name, shape, 10, 0, 64).map(|_| ()).unwrap_err();
        let error = refused(ModelName::Lenet5, [1, 32, 32]);
        assert_eq!(error.exit(), Exit::Usage);
        assert!(error.to_string().contains("1×32×32") && error.to_string().contains("28×28"), "{error}");
        // Nothing of it is allocated before it is refused.
        let error = refused(ModelName::Mlp, [1, 1 << 20, 1 << 20]);
        assert!(matches!(error.exit(), Exit::Device | Exit::Usage), "{error}");
    }

    #[test]
    fn every_type_goes_into_a_file_and_comes_back() {
        let x = Tensor::from([[0.0, 1.5], [-2.0, 3.0]]);
        for dtype in [DType::F64, DType::F32, DType::I64, DType::I32, DType::U8, DType::Bool] {
            let x = x.maximum(&x.zeros_like()).cast(dtype);
            let again = tensor("x", &stored(&x).unwrap()).unwrap();
            assert_eq!((again.dtype(), again.shape(), again.to_vec::<f64>()), (dtype, x.shape(), x.to_vec()));
        }
    }
}
