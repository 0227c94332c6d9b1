//! The networks that the program knows, and their way into a checkpoint and out of it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use cotangent::models::{LeNet5, Mlp, ResNet18, SoftmaxRegression};
use cotangent::nn::{
    AvgPool2d, BatchNorm2d, Call, Conv2d, Dropout, Flatten, Linear, MaxPool2d, Module, ParametersExt, Relu,
    Sequential, Sigmoid, Summary, Tanh,
};
use cotangent::ops::Conv;
use cotangent::{DType, Device, Rng, Shape, Spec, Tensor, shapes};
use safetensors::tensor::Dtype;

use crate::checkpoint::{About, Checkpoint, Stored};
use crate::config::{
    Activation, BatchNorm2dConfig, Config, Conv2dConfig, DataConfig, Edges, FlattenConfig, LayerConfig,
    LinearConfig, ModelName, PoolConfig, Problem, Sides,
};
use crate::diagnostic::{Diagnostic, Exit};
use crate::machine;

/// A network; clones share its parameters.
pub(crate) type Model = Arc<dyn Module>;

/// Widths of the hidden layers of [`ModelName::Mlp`].
const HIDDEN: [usize; 2] = [512, 512];

/// What a network is made of, whatever the examples are.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Architecture {
    /// Its name.
    pub(crate) name: ModelName,
    /// Its layers, where the name leaves them open.
    pub(crate) layers: Vec<LayerConfig>,
}

impl From<ModelName> for Architecture {
    fn from(name: ModelName) -> Self {
        Architecture { name, layers: Vec::new() }
    }
}

impl From<&Config> for Architecture {
    fn from(config: &Config) -> Self {
        Architecture { name: config.model, layers: config.layers.clone() }
    }
}

/// The network for such examples, where nobody named one.
pub(crate) fn suitable(name: ModelName, shape: &[usize]) -> ModelName {
    match (name, shape) {
        (ModelName::Auto, [_, 28, 28]) => ModelName::Lenet5,
        (ModelName::Auto, [_, h, w]) if *h.min(w) >= 12 => ModelName::Cnn,
        (ModelName::Auto, _) => ModelName::Mlp,
        (named, _) => named,
    }
}

/// The layers of [`ModelName::Cnn`]: 3×3 convolutions with batch norm, halved until a few pixels are left, whose mean is
/// classified.
fn convolutional(height: usize, width: usize) -> Vec<LayerConfig> {
    let mut layers = Vec::new();
    let mut side = height.min(width);
    for out in [16, 32, 64, 128, 128] {
        let padding = Edges::Zeros([[1; 2]; 2]);
        layers.push(LayerConfig::Conv2d(Conv2dConfig { padding, bias: false, ..Conv2dConfig::new(out, 3) }));
        layers.push(LayerConfig::BatchNorm2d(BatchNorm2dConfig::default()));
        layers.push(LayerConfig::Act(Activation::Relu));
        if side < 8 {
            break;
        }
        layers.push(LayerConfig::MaxPool2d(PoolConfig {
            kernel: Some(Sides([2, 2])),
            ..PoolConfig::default()
        }));
        side /= 2;
    }
    layers.push(LayerConfig::AvgPool2d(PoolConfig::default()));
    layers.push(LayerConfig::Flatten(FlattenConfig {}));
    layers.push(LayerConfig::Linear(LinearConfig::default()));
    layers
}

/// The layers of a network that is nothing else than layers, for examples of such a shape.
pub(crate) fn layers(architecture: &Architecture, shape: &[usize]) -> Option<Vec<LayerConfig>> {
    match (suitable(architecture.name, shape), shape) {
        (ModelName::Cnn, [_, h, w]) => Some(convolutional(*h, *w)),
        (ModelName::Layers, _) => Some(architecture.layers.clone()),
        _ => None,
    }
}

/// One layer for inputs of such a shape, the batch not counted.
fn layer(config: &LayerConfig, shape: &[usize], classes: usize, rng: &Rng) -> cotangent::Result<Model> {
    let picture = |verb: &str| match *shape {
        [c, h, w] => Ok([c, h, w]),
        ref other => {
            let found = cotangent::Error::other(format!(
                "{verb} takes pictures, [channels, height, width], and its input is {other:?}"
            ));
            Err(found.help("`flatten = {}` and `linear` come after the last layer that takes pictures"))
        }
    };
    let at_least_1 = |verb: &str, what: &str, sizes: &[usize]| match sizes.contains(&0) {
        false => Ok(()),
        true => Err(cotangent::Error::other(format!("{verb}: `{what}` must be at least 1"))),
    };
    let pool = |verb: &str, config: &PoolConfig| {
        let [_, h, w] = picture(verb)?;
        for (what, sides) in
            [("kernel", config.kernel), ("stride", config.stride), ("dilation", config.dilation)]
        {
            at_least_1(verb, what, &sides.map_or([1, 1], |s| s.0))?;
        }
        let of_other = match verb {
            "max_pool2d" => config.count_include_pad.map(|_| ("count_include_pad", "avg_pool2d")),
            _ => config.dilation.map(|_| ("dilation", "max_pool2d")),
        };
        if let Some((setting, other)) = of_other {
            let found = cotangent::Error::other(format!("{verb}: `{setting}` is a setting of {other}"));
            return Err(found.help(format!("leave `{setting}` out")));
        }
        if let Some(axis) = (0..2).find(|a| config.has_a_window_of_padding([h, w], *a)) {
            let found = cotangent::Error::other(format!(
                "{verb}: a window of the {} takes nothing but padding",
                ["height", "width"][axis]
            ));
            return Err(found.help("a smaller dilation, or less padding"));
        }
        Ok(config.pool([h, w]))
    };
    Ok(match config {
        LayerConfig::Conv2d(c) => {
            let [inputs, _, _] = picture("conv2d")?;
            at_least_1("conv2d", "out", &[c.out])?;
            at_least_1("conv2d", "kernel", &c.kernel.0)?;
            at_least_1("conv2d", "stride", &c.stride.0)?;
            at_least_1("conv2d", "dilation", &c.dilation.0)?;
            at_least_1("conv2d", "groups", &[c.groups])?;
            let conv = Conv::default().stride(c.stride.0).padding(c.padding);
            let conv = conv.dilation(c.dilation.0).groups(c.groups);
            let conv = Conv2d::with(inputs, c.out, c.kernel.0, conv, rng);
            Arc::new(if c.bias { conv } else { conv.without_bias() })
        }
        LayerConfig::Linear(c) => {
            let out = c.out.unwrap_or(classes);
            at_least_1("linear", "out", &[out])?;
            let [inputs] = *shape else {
                let found =
                    cotangent::Error::other(format!("linear takes [features], and its input is {shape:?}"));
                return Err(found.help("put `flatten = {}` before it"));
            };
            Arc::new(match c.bias {
                true => Linear::new(inputs, out, rng),
                false => Linear::without_bias(inputs, out, rng),
            })
        }
        LayerConfig::MaxPool2d(c) => Arc::new(MaxPool2d(pool("max_pool2d", c)?)),
        LayerConfig::AvgPool2d(c) => Arc::new(AvgPool2d(pool("avg_pool2d", c)?)),
        LayerConfig::BatchNorm2d(c) => {
            let [channels, _, _] = picture("batch_norm2d")?;
            let fine = c.eps.is_finite() && c.eps > 0.0 && (0.0..=1.0).contains(&c.momentum);
            if !fine {
                let text = format!("batch_norm2d: eps {} and momentum {}", c.eps, c.momentum);
                return Err(cotangent::Error::other(text).help("eps is above 0, momentum from 0 to 1"));
            }
            Arc::new(BatchNorm2d::new(channels).eps(c.eps).momentum(Some(c.momentum)))
        }
        LayerConfig::Dropout(c) => {
            if !(0.0..1.0).contains(&c.p) {
                return Err(cotangent::Error::other(format!(
                    "dropout: p is {}, and from 0 to below 1 it means something",
                    c.p
                )));
            }
            Arc::new(Dropout::new(c.p, rng))
        }
        LayerConfig::Flatten(_) => Arc::new(Flatten),
        LayerConfig::Act(Activation::Relu) => Arc::new(Relu),
        LayerConfig::Act(Activation::Sigmoid) => Arc::new(Sigmoid),
        LayerConfig::Act(Activation::Tanh) => Arc::new(Tanh),
    })
}

/// The shapes between layers, the batch not counted: of the input, then of each output.
pub(crate) fn trace(
    layers: &[LayerConfig],
    shape: &[usize],
    classes: usize,
) -> Result<Vec<Vec<usize>>, Problem> {
    let mut traced = vec![shape.to_vec()];
    for (i, config) in layers.iter().enumerate() {
        let input = traced.last().cloned().unwrap_or_default();
        // Two examples: a batch norm of one has nothing to normalise.
        let batch: Vec<usize> = [2].into_iter().chain(input.iter().copied()).collect();
        let run = || {
            let module = layer(config, &input, classes, &Rng::new(0))?;
            let out = module.call(&Tensor::zeros(&batch[..]));
            Ok::<Vec<usize>, cotangent::Error>(out.shape()[1..].to_vec())
        };
        let out = shapes(run).flatten().map_err(|error| {
            let found = Diagnostic::from(error);
            let help = found.helps().first().cloned();
            let title = format!("layer {i}: {}", found.title());
            Problem::new(
                format!("layers.{i}"),
                title,
                help.unwrap_or_else(|| format!("its input is {input:?}")),
            )
        })?;
        if out.contains(&0) {
            let title = format!("layer {i}: nothing is left of an input of {input:?}: its output is {out:?}");
            return Err(Problem::new(format!("layers.{i}"), title, "a smaller kernel, or padding"));
        }
        traced.push(out);
    }
    let last = traced.last().cloned().unwrap_or_default();
    if last != [classes] {
        let at = layers.len().saturating_sub(1);
        let title =
            format!("the last layer gives {last:?} for each example, and there are {classes} classes");
        let help = match last[..] {
            [_] => "end with `linear = {}`: one output for each class",
            _ => "end with `flatten = {}` and `linear = {}`: one output for each class",
        };
        return Err(Problem::new(format!("layers.{at}"), title, help));
    }
    Ok(traced)
}

/// The network for examples of `shape` and so many classes, its parameters drawn from `seed`.
fn network(
    architecture: &Architecture,
    shape: &[usize],
    classes: usize,
    seed: u64,
) -> Result<Model, Problem> {
    let rng = Rng::new(seed);
    let inputs = shape.iter().fold(1, |n: usize, size| n.saturating_mul(*size));
    let picture = || {
        <[usize; 3]>::try_from(shape).map_err(|_| {
            let title = format!("`{}` takes pictures, and examples are {shape:?}", architecture.name);
            Problem::new("model", title, "`model = \"mlp\"` takes any numbers")
        })
    };
    let stacked = |layers: &[LayerConfig]| {
        let traced = trace(layers, shape, classes)?;
        let modules = layers.iter().zip(&traced).map(|(config, input)| layer(config, input, classes, &rng));
        let modules: cotangent::Result<Vec<Model>> = modules.collect();
        let modules = modules.map_err(|e| Problem::new("layers", Diagnostic::from(e).title(), ""))?;
        Ok::<Model, Problem>(Arc::new(Sequential::new(modules)))
    };
    Ok(match suitable(architecture.name, shape) {
        ModelName::Lenet5 => Arc::new(LeNet5::with(picture()?[0], classes, &rng)),
        ModelName::Auto | ModelName::Mlp => {
            let widths: Vec<usize> = [inputs].into_iter().chain(HIDDEN).chain([classes]).collect();
            Arc::new(Mlp::new(&widths, &rng))
        }
        ModelName::Softmax => Arc::new(SoftmaxRegression::new(inputs, classes, &rng)),
        ModelName::Cnn => {
            let [_, h, w] = picture()?;
            stacked(&convolutional(h, w))?
        }
        ModelName::Resnet18 => match picture()? {
            [3, _, _] => Arc::new(ResNet18::new(classes, &rng)),
            [c, _, _] => {
                let title = format!("`resnet18` takes colour pictures, and these have {c} channel(s)");
                return Err(Problem::new(
                    "model",
                    title,
                    "`channels = 3` in `[data]` reads grey pictures as colour",
                ));
            }
        },
        ModelName::Layers => stacked(&architecture.layers)?,
    })
}

/// The network and its summary for a batch; refused before anything is drawn when the examples do not fit it, or the
/// machine cannot hold it.
pub(crate) fn build(
    architecture: impl Into<Architecture>,
    shape: impl AsRef<[usize]>,
    classes: usize,
    seed: u64,
    batch: usize,
) -> Result<(Model, Summary), Diagnostic> {
    build_at(&architecture.into(), shape.as_ref(), classes, seed, batch, &|problem| problem.into())
}

/// The same; `place` knows where a problem's key was written.
pub(crate) fn build_at(
    architecture: &Architecture,
    shape: &[usize],
    classes: usize,
    seed: u64,
    batch: usize,
    place: &dyn Fn(Problem) -> Diagnostic,
) -> Result<(Model, Summary), Diagnostic> {
    let outline = outline(architecture, shape, classes, batch, place)?;
    Ok((network(architecture, shape, classes, seed).map_err(place)?, outline))
}

/// Refuses a network that the last, shorter batch of an epoch cannot train; batches are those of `n` examples.
pub(crate) fn must_train(
    architecture: &Architecture,
    shape: &[usize],
    classes: usize,
    data: &DataConfig,
    n: usize,
    place: &dyn Fn(Problem) -> Diagnostic,
) -> Result<(), Diagnostic> {
    let rest = n % data.batch.min(n.max(1));
    if rest == 0 || data.drop_last {
        return Ok(());
    }
    outline(architecture, shape, classes, rest, place).map(|_| ()).map_err(|found| {
        found
            .note(format!("the last batch of an epoch has {rest} of {n} examples"))
            .help("`--set data.drop_last=true` leaves it out; or another `--batch`")
    })
}

/// What the network will be, or why it cannot be: found without one number of it.
pub(crate) fn outline(
    architecture: &Architecture,
    shape: &[usize],
    classes: usize,
    batch: usize,
    place: &dyn Fn(Problem) -> Diagnostic,
) -> Result<Summary, Diagnostic> {
    let name = suitable(architecture.name, shape);
    let sizes: Vec<usize> = [batch].into_iter().chain(shape.iter().copied()).collect();
    let input = Spec { shape: Shape::try_new(&sizes)?, dtype: DType::F32, device: Device::cpu() };
    let unfit = |error: cotangent::Error| {
        let images = match shape {
            [c, h, w] => format!("the images are {c}×{h}×{w}"),
            other => format!("the examples are {other:?}"),
        };
        let found = Diagnostic::from(error).exiting(Exit::Usage).note(images);
        match name {
            ModelName::Lenet5 => {
                found.help("lenet5 takes images of 28×28; `--model cnn` and `--model mlp` take any size")
            }
            _ => found,
        }
    };
    let traced = shapes(|| {
        let model = network(architecture, shape, classes, 0)?;
        Ok::<_, Problem>((model.parameter_count(), Summary::of(&model, &input)))
    });
    let (parameters, outline) = traced.map_err(unfit)?.map_err(place)?;
    let outline = outline.map_err(unfit)?;
    // Weights, gradients, three slots of the optimiser, a copy while they change; and what the way back needs.
    let weights = (parameters as u64).saturating_mul(4 * 6);
    let needed = weights.saturating_add(outline.saved.saturating_mul(2));
    let help = match weights > needed / 2 {
        true => {
            "most of it are weights and what the optimiser keeps of each: fewer outputs, or smaller layers"
        }
        false => "take a smaller `--batch`, or smaller images",
    };
    machine::must_fit(&format!("{name} with batches of {batch}"), needed, help)?;
    Ok(outline)
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

/// The examples that a checkpoint was trained on: channels, height, width; or features.
pub(crate) fn input_shape(about: &About) -> Result<&[usize], Diagnostic> {
    match (&about.input_shape[..], about.classes.len()) {
        (shape @ ([_] | [_, _, _]), 1..) if !shape.contains(&0) => Ok(shape),
        (shape, classes) => {
            let title = format!("the checkpoint speaks of inputs of shape {shape:?} and {classes} classes");
            Err(Diagnostic::new(Exit::Data, title)
                .help("expected [channels, height, width] or [features], and a class"))
        }
    }
}

/// The network of a checkpoint with its weights.
pub(crate) fn restore(checkpoint: &Checkpoint, batch: usize) -> Result<(Model, Summary), Diagnostic> {
    let about = &checkpoint.about;
    let (shape, classes) = (input_shape(about)?, about.classes.len());
    let architecture = Architecture::from(&about.config);
    let values = tensors(checkpoint.model())?;
    // Sizes first: a file must not make the program draw more numbers than the file itself holds.
    let outline = shapes(|| network(&architecture, shape, classes, 0))?.map_err(Diagnostic::from)?;
    let held: usize = values.values().map(Tensor::numel).sum();
    if outline.parameter_count() > held {
        let title = format!(
            "the checkpoint holds {held} numbers, and {} for such images has {} parameters",
            about.config.model,
            outline.parameter_count()
        );
        return Err(Diagnostic::new(Exit::Data, title).help("the file was changed by something else"));
    }
    let (model, summary) = build(architecture, shape, classes, 0, batch)?;
    model.load_state_dict(&values).map_err(|e| Diagnostic::from(e).exiting(Exit::Data))?;
    Ok((model, summary))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::layers::Layers;
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

    const FILE: &str = "[data]\nname = \"folder:x\"\nresize = [8, 8]\n[[layers]]\nconv2d = { out = 4, kernel = [3, 3], \
        padding = 1, stride = 1, bias = false }\n[[layers]]\nbatch_norm2d = { eps = 1e-5 }\n[[layers]]\nact = \"relu\"\n\
        [[layers]]\nmax_pool2d = { kernel = 2, stride = 2, padding = 1, dilation = 1 }\n[[layers]]\n\
        conv2d = { out = 4, kernel = 3, padding = \"same\", groups = 4, dilation = [1, 2] }\n[[layers]]\n\
        avg_pool2d = { kernel = 2, ceil_mode = true, count_include_pad = false }\n[[layers]]\n\
        flatten = {}\n[[layers]]\ndropout = 0.5\n[[layers]]\nlinear = 12\n[[layers]]\nlinear = {}\n";

    /// The shapes of the network that a file describes, or what is wrong with it.
    fn described(text: &str) -> Result<usize, Diagnostic> {
        let mut layers = Layers::default();
        layers.text("x.toml", text.into())?;
        let (config, _) = layers.merge()?;
        let made = shapes(|| network(&(&config).into(), &[1, 8, 8], 3, 0).map(|m| m.parameter_count()));
        made.map_err(Diagnostic::from)?.map_err(|problem| layers.place(&problem))
    }

    #[test]
    fn no_changed_file_makes_it_panic() {
        // Of 8×8 the max pool makes 5×5, and the mean pool, rounded up, 3×3.
        assert_eq!(described(FILE).unwrap(), 36 + 8 + 40 + 36 * 12 + 12 + 12 * 3 + 3);
        let (mut noise, mut good) = (7_u64, 0);
        let mut below = |n: usize| {
            noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (noise >> 33) as usize % n.max(1)
        };
        let words = [
            "0",
            "-1",
            "99999999999",
            "9223372036854775807",
            "1e308",
            "nan",
            "{}",
            "[]",
            "\"",
            "\n[[layers]]\n",
            "é",
        ];
        for _ in 0..3000 {
            let mut text: Vec<char> = FILE.chars().collect();
            for _ in 0..below(3) {
                let at = below(text.len());
                match below(4) {
                    0 => drop(text.remove(at)),
                    1 => {
                        drop(text.splice(
                            at..(at + 1 + below(3)).min(text.len()),
                            words[below(words.len())].chars(),
                        ))
                    }
                    2 => text.insert(at, char::from(32 + below(95) as u8)),
                    _ => {
                        let piece: Vec<char> = text[at..(at + below(40)).min(text.len())].to_vec();
                        let to = below(text.len());
                        drop(text.splice(to..to, piece));
                    }
                }
            }
            // Numbers lie on both sides of what is right; digits are put where digits are.
            if let Some(i) = (0..text.len())
                .cycle()
                .skip(below(text.len()))
                .take(text.len())
                .find(|i| text[*i].is_ascii_digit())
            {
                text[i] = char::from(b'0' + below(10) as u8);
            }
            match described(&text.into_iter().collect::<String>()) {
                Ok(_) => good += 1,
                Err(found) => assert!(matches!(found.exit(), Exit::Usage | Exit::Device), "{found}"),
            }
        }
        // Both ways are taken.
        assert!((100..2900).contains(&good), "{good}");
    }

    #[test]
    fn a_window_of_nothing_but_padding_is_refused() {
        let pooled = |pool: &str| {
            described(&format!(
                "[[layers]]\nmax_pool2d = {{ {pool} }}\n[[layers]]\nflatten = {{}}\n[[layers]]\nlinear = {{}}\n"
            ))
        };
        let error =
            pooled("kernel = 2, dilation = [1, 9], padding = [0, 1], stride = 1").map(|_| ()).unwrap_err();
        assert_eq!(error.exit(), Exit::Usage);
        // One cell to the left of the picture, six between, and the eighth of eight: just inside.
        pooled("kernel = 2, dilation = 8, padding = 1").map(|_| ()).unwrap();
        let error = pooled("kernel = 2, dilation = 9, padding = 1").map(|_| ()).unwrap_err().to_string();
        assert!(error.contains("a window of the height takes nothing but padding"), "{error}");
        for huge in [
            "kernel = 2147483648, padding = 1073741824",
            "kernel = 99999999999, padding = 2, dilation = 99999999999",
        ] {
            assert_eq!(pooled(huge).map(|_| ()).unwrap_err().exit(), Exit::Usage);
        }
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
