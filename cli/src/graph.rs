//! The program's networks as ONNX graphs: logits of what files hold, as they are while evaluating.

use std::collections::HashMap;

use cotangent_interchange::onnx::{Attribute, Graph, Value};
use cotangent_interchange::{Array, Numbers, Tensors};

use crate::checkpoint::{About, Normalisation};
use crate::config::{Activation, Conv2dConfig, Edges, LayerConfig, ModelName, PoolConfig, Sides};
use crate::diagnostic::Diagnostic;
use crate::model::{self, Architecture};

/// The name of the graph's input.
pub(crate) const INPUT: &str = "input";
/// The name of its output.
pub(crate) const OUTPUT: &str = "logits";
/// Under which name of the metadata the network is described.
const DESCRIPTION: &str = "cotangent";
/// What `BatchNorm2d` adds to the variance, where nobody says anything else.
const EPS: f64 = 1e-5;

/// The file's bytes for a network with these weights; `description` goes into its metadata.
pub(crate) fn draw(about: &About, weights: &Tensors, description: &str) -> Result<Vec<u8>, Diagnostic> {
    let (graph, logits) = drawn(about, weights)?;
    Ok(graph.finish(&logits, OUTPUT, &[about.classes.len()], &[(DESCRIPTION, description)]))
}

fn drawn(about: &About, weights: &Tensors) -> Result<(Graph, Value), Diagnostic> {
    let (shape, architecture) = (&about.input_shape[..], Architecture::from(&about.config));
    let name = model::suitable(architecture.name, shape);
    let (graph, input) = Graph::new(name.name(), INPUT, shape);
    let mut drawing = Drawing { graph, weights, uses: HashMap::new() };
    let x = drawing.normalised(&about.normalisation, shape, input);
    let logits = match name {
        ModelName::Lenet5 => drawing.lenet5(x),
        ModelName::Auto | ModelName::Mlp => drawing.mlp(x),
        ModelName::Softmax => {
            let x = drawing.apply("Flatten", "flatten", &[&x]);
            drawing.linear("linear", &x)
        }
        ModelName::Resnet18 => drawing.resnet18(x),
        ModelName::Cnn | ModelName::Layers => {
            let layers = model::layers(&architecture, shape).unwrap_or_default();
            let shapes = model::trace(&layers, shape, about.classes.len())?;
            drawing.stacked(&layers, &shapes, x)?
        }
    };
    Ok((drawing.graph, logits))
}

/// A graph under construction.
struct Drawing<'a> {
    graph: Graph,
    weights: &'a Tensors,
    /// How often a name was asked for.
    uses: HashMap<String, usize>,
}

/// Of `[[top, bottom], [left, right]]`: all that come before a picture first.
fn pads([[top, bottom], [left, right]]: [[usize; 2]; 2]) -> Attribute {
    ints(&[top, left, bottom, right])
}

fn ints(sides: &[usize]) -> Attribute {
    Attribute::Ints(sides.iter().map(|n| *n as i64).collect())
}

impl Drawing<'_> {
    /// A name that nothing has yet.
    fn fresh(&mut self, name: &str) -> String {
        let n = self.uses.entry(name.to_string()).or_default();
        *n += 1;
        if *n == 1 { name.to_string() } else { format!("{name}_{n}") }
    }

    fn node(&mut self, op: &str, name: &str, inputs: &[&Value], attributes: &[(&str, Attribute)]) -> Value {
        let name = self.fresh(name);
        self.graph.node(&name, op, inputs, attributes)
    }

    fn apply(&mut self, op: &str, name: &str, inputs: &[&Value]) -> Value {
        self.node(op, name, inputs, &[])
    }

    /// A layer's tensor, if it has one of that name.
    fn weight(&mut self, layer: &str, name: &str) -> Option<Value> {
        let name = format!("{layer}.{name}");
        let array = self.weights.get(&name)?;
        Some(self.graph.weight(&name, array))
    }

    /// Its tensors, those first that it has.
    fn weights(&mut self, layer: &str, names: &[&str]) -> Vec<Value> {
        names.iter().filter_map(|name| self.weight(layer, name)).collect()
    }

    /// `(x · scale − mean) / std` along axis 1.
    fn normalised(&mut self, n: &Normalisation, shape: &[usize], x: Value) -> Value {
        let mut constant = |name: &str, v: &[f64]| {
            let ones = shape.len().saturating_sub(1);
            let shape = [v.len()].into_iter().chain(std::iter::repeat_n(1, ones)).collect();
            let numbers = Numbers::Real(v.iter().map(|x| *x as f32).collect());
            self.graph.constant(&format!("{INPUT}.{name}"), &Array { shape, numbers })
        };
        let scale = (n.scale != 1.0).then(|| constant("scale", &[n.scale]));
        let (mean, std) = (constant("mean", &n.mean), constant("std", &n.std));
        let x = match scale {
            Some(scale) => self.apply("Mul", "input.scaled", &[&x, &scale]),
            None => x,
        };
        let x = self.apply("Sub", "input.centred", &[&x, &mean]);
        self.apply("Div", "input.normalised", &[&x, &std])
    }

    fn conv(&mut self, layer: &str, x: &Value, stride: usize, padding: usize) -> Value {
        let padding = Edges::Zeros([[padding; 2]; 2]);
        let stride = Sides([stride; 2]);
        let kernel = self.weights.get(&format!("{layer}.weight")).and_then(|t| t.shape.get(2));
        let kernel = kernel.copied().unwrap_or_default();
        self.conv_with(layer, x, &Conv2dConfig { stride, padding, ..Conv2dConfig::new(0, kernel) })
    }

    fn conv_with(&mut self, layer: &str, x: &Value, c: &Conv2dConfig) -> Value {
        let weights = self.weights(layer, &["weight", "bias"]);
        let inputs: Vec<&Value> = [x].into_iter().chain(&weights).collect();
        let mut attributes = vec![
            ("kernel_shape", ints(&c.kernel.0)),
            ("strides", ints(&c.stride.0)),
            ("pads", pads(c.padding.zeros(c.kernel, c.dilation))),
        ];
        if c.dilation.0 != [1, 1] {
            attributes.push(("dilations", ints(&c.dilation.0)));
        }
        if c.groups != 1 {
            attributes.push(("group", Attribute::Int(c.groups as i64)));
        }
        self.node("Conv", layer, &inputs, &attributes)
    }

    fn batch_norm(&mut self, layer: &str, x: &Value, eps: f64) -> Value {
        let weights = self.weights(layer, &["weight", "bias", "running_mean", "running_var"]);
        let inputs: Vec<&Value> = [x].into_iter().chain(&weights).collect();
        self.node("BatchNormalization", layer, &inputs, &[("epsilon", Attribute::Float(eps as f32))])
    }

    /// `x Wᵀ + b`
    fn linear(&mut self, layer: &str, x: &Value) -> Value {
        let weights = self.weights(layer, &["weight", "bias"]);
        let inputs: Vec<&Value> = [x].into_iter().chain(&weights).collect();
        self.node("Gemm", layer, &inputs, &[("transB", Attribute::Int(1))])
    }

    fn relu(&mut self, x: &Value) -> Value {
        self.apply("Relu", "relu", &[x])
    }

    fn lenet5(&mut self, mut x: Value) -> Value {
        for (conv, pool, padding) in [("conv1", "pool1", 2), ("conv2", "pool2", 0)] {
            x = self.conv(conv, &x, 1, padding);
            x = self.relu(&x);
            x = self.node(
                "MaxPool",
                pool,
                &[&x],
                &[("kernel_shape", ints(&[2, 2])), ("strides", ints(&[2, 2]))],
            );
        }
        x = self.apply("Flatten", "flatten", &[&x]);
        for layer in ["fc1", "fc2"] {
            x = self.linear(layer, &x);
            x = self.relu(&x);
        }
        self.linear("fc3", &x)
    }

    fn mlp(&mut self, x: Value) -> Value {
        let mut x = self.apply("Flatten", "flatten", &[&x]);
        let names = (0..).map(|i| format!("layers.{i}"));
        let layers: Vec<String> =
            names.take_while(|layer| self.weights.contains_key(&format!("{layer}.weight"))).collect();
        for (i, layer) in layers.iter().enumerate() {
            x = self.linear(layer, &x);
            if i + 1 < layers.len() {
                x = self.relu(&x);
            }
        }
        x
    }

    fn resnet18(&mut self, x: Value) -> Value {
        let mut x = self.conv("conv1", &x, 1, 1);
        x = self.batch_norm("bn1", &x, EPS);
        x = self.relu(&x);
        for (stage, first) in [(1, 1), (2, 2), (3, 2), (4, 2)] {
            for (block, stride) in [(0, first), (1, 1)] {
                let of = |part: &str| format!("layer{stage}.{block}.{part}");
                let mut y = self.conv(&of("conv1"), &x, stride, 1);
                y = self.batch_norm(&of("bn1"), &y, EPS);
                y = self.relu(&y);
                y = self.conv(&of("conv2"), &y, 1, 1);
                y = self.batch_norm(&of("bn2"), &y, EPS);
                if self.weights.contains_key(&of("downsample.0.weight")) {
                    x = self.conv(&of("downsample.0"), &x, stride, 0);
                    x = self.batch_norm(&of("downsample.1"), &x, EPS);
                }
                x = self.apply("Add", &of("add"), &[&y, &x]);
                x = self.relu(&x);
            }
        }
        x = self.apply("GlobalAveragePool", "mean", &[&x]);
        x = self.apply("Flatten", "flatten", &[&x]);
        self.linear("fc", &x)
    }

    /// Layers one after another, named by their places.
    fn stacked(
        &mut self,
        layers: &[LayerConfig],
        shapes: &[Vec<usize>],
        mut x: Value,
    ) -> Result<Value, Diagnostic> {
        for (i, (config, shape)) in layers.iter().zip(shapes).enumerate() {
            let layer = i.to_string();
            x = match config {
                LayerConfig::Conv2d(c) => self.conv_with(&layer, &x, c),
                LayerConfig::BatchNorm2d(c) => self.batch_norm(&layer, &x, c.eps),
                LayerConfig::Linear(_) => self.linear(&layer, &x),
                LayerConfig::Flatten(_) => self.apply("Flatten", &layer, &[&x]),
                LayerConfig::Act(Activation::Relu) => self.apply("Relu", &layer, &[&x]),
                LayerConfig::Act(Activation::Sigmoid) => self.apply("Sigmoid", &layer, &[&x]),
                LayerConfig::Act(Activation::Tanh) => self.apply("Tanh", &layer, &[&x]),
                LayerConfig::MaxPool2d(c) => self.pool("MaxPool", &layer, &x, c, shape)?,
                LayerConfig::AvgPool2d(c) => self.pool("AveragePool", &layer, &x, c, shape)?,
                // The identity while evaluating.
                LayerConfig::Dropout(_) => x,
            };
        }
        Ok(x)
    }

    /// A pool of pictures of such a shape; its window may be the whole picture.
    fn pool(
        &mut self,
        op: &str,
        layer: &str,
        x: &Value,
        c: &PoolConfig,
        shape: &[usize],
    ) -> Result<Value, Diagnostic> {
        let [_, h, w] = *shape else { unreachable!("pools were traced, and take pictures") };
        let (pool, image) = (c.pool([h, w]), [h, w]);
        let zeros = c.padding.map_or([0, 0], |p| p.0);
        if c.kernel.is_none() && zeros == [0, 0] {
            return Ok(self.apply(&format!("Global{op}"), layer, &[x]));
        }
        let kernel = c.kernel.map_or(image, |k| k.0);
        let (stride, dilation) = (c.stride.map_or(kernel, |s| s.0), c.dilation.map_or([1, 1], |d| d.0));
        let out = pool.output_size(image)?;
        // How far the last window runs over the padded edge: rounded up, but for windows that begin beyond it.
        let over = [0, 1].map(|a| {
            let reach = (out[a] - 1) * stride[a] + (kernel[a] - 1) * dilation[a] + 1;
            reach.saturating_sub(image[a] + 2 * zeros[a])
        });
        let after = [zeros[0] + over[0], zeros[1] + over[1]];
        let mean = op == "AveragePool";
        let counted = mean && c.count_include_pad.unwrap_or(true);
        let mut attributes = vec![("kernel_shape", ints(&kernel)), ("strides", ints(&stride))];
        if dilation != [1, 1] {
            attributes.push(("dilations", ints(&dilation)));
        }
        let mut around = [[zeros[0], after[0]], [zeros[1], after[1]]];
        let padded = match over == [0, 0] {
            true => x.clone(),
            // What a window takes beyond the padding counts in no mean; the padding itself may.
            false if counted => {
                let zeros = around.map(|[before, _]| [before, before]);
                around = [[0, over[0]], [0, over[1]]];
                self.padded(layer, x, zeros, 0.0)
            }
            false if !mean => self.padded(layer, x, std::mem::take(&mut around), f32::NEG_INFINITY),
            false => x.clone(),
        };
        attributes.push(("pads", pads(around)));
        if mean {
            let counted = counted && over == [0, 0];
            attributes.push(("count_include_pad", Attribute::Int(i64::from(counted))));
        }
        Ok(self.node(op, layer, &[&padded], &attributes))
    }

    /// Pictures with `value` around them.
    fn padded(&mut self, layer: &str, x: &Value, around: [[usize; 2]; 2], value: f32) -> Value {
        let [[top, bottom], [left, right]] = around.map(|side| side.map(|n| n as i64));
        let name = |part: &str| format!("{layer}.{part}");
        let pads = Numbers::Whole(vec![0, 0, top, left, 0, 0, bottom, right]);
        let pads = self.graph.constant(&name("pads"), &Array { shape: vec![8], numbers: pads });
        let value = Array { shape: Vec::new(), numbers: Numbers::Real(vec![value]) };
        let value = self.graph.constant(&name("edge"), &value);
        self.apply("Pad", &name("padded"), &[x, &pads, &value])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::layers::Layers;
    use cotangent::nn::ParametersExt;

    /// The weights that a graph uses, and those that the network has.
    fn names(settings: &str, shape: &[usize]) -> [Vec<String>; 2] {
        let mut layers = Layers::default();
        layers.text("x.toml", settings.into()).unwrap();
        let (config, _) = layers.merge().unwrap();
        let (network, _) = model::build(&config, shape, 3, 0, 2).unwrap();
        let channels = shape[0];
        let normalisation = Normalisation::pixels(vec![0.5; channels], vec![0.25; channels]);
        let classes = ["a", "b", "c"].map(String::from).to_vec();
        let about = About::new(config, "", classes, shape.to_vec(), normalisation);
        let state = network.state_dict();
        let tensors: Tensors = state
            .iter()
            .filter(|(name, _)| !name.ends_with("num_batches_tracked"))
            .map(|(name, t)| {
                let numbers = Numbers::Real(t.try_to_vec::<f32>().unwrap());
                (name.clone(), Array { shape: t.shape().to_vec(), numbers })
            })
            .collect();
        let (graph, _) = drawn(&about, &tensors).unwrap();
        let mut used: Vec<String> = graph.weights().map(String::from).collect();
        used.sort();
        [used, tensors.into_keys().collect()]
    }

    #[test]
    fn every_weight_of_every_network_is_in_its_graph() {
        for (name, shape) in [
            ("lenet5", &[1, 28, 28][..]),
            ("mlp", &[7]),
            ("softmax", &[2, 3, 4]),
            ("cnn", &[1, 20, 16]),
            ("resnet18", &[3, 8, 8]),
        ] {
            let [used, all] = names(&format!("model = \"{name}\""), shape);
            assert_eq!(used, all, "{name}");
        }
        let stack = "[[layers]]\nconv2d = { out = 2, kernel = 3 }\n[[layers]]\nbatch_norm2d = {}\n[[layers]]\n\
            avg_pool2d = {}\n[[layers]]\nflatten = {}\n[[layers]]\nlinear = {}\n";
        let [used, all] = names(stack, &[1, 9, 9]);
        assert_eq!((used.len(), used), (8, all));
    }
}
