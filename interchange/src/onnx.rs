//! ONNX: a graph of named operations with its weights, written whole; of a file that is read, the initialisers.
//!
//! The messages are those of `onnx/onnx.proto3` (ONNX 1.17) that a network needs, with the numbers of their fields.
//! <https://github.com/onnx/onnx/blob/main/docs/IR.md>

mod proto;
mod reader;

use prost::Message;

use crate::{Array, Numbers};

pub(crate) use reader::is_model;
pub use reader::read;

/// The version of the operators, of 2022: understood by everything newer.
pub const OPSET: i64 = 17;
/// The version of the format that came with it.
const IR_VERSION: i64 = 8;
/// The name of the axis that is as long as the batch.
const BATCH: &str = "batch";

/// A value of an attribute.
#[derive(Clone, Debug, PartialEq)]
pub enum Attribute {
    /// A whole number.
    Int(i64),
    /// A real one.
    Float(f32),
    /// Several whole ones.
    Ints(Vec<i64>),
}

/// A value in a [`Graph`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value(String);

/// A network as it is built: one input, operations, one output.
///
/// ```
/// use cotangent_interchange::{Array, Numbers, onnx::{self, Attribute, Graph}};
/// let (mut graph, x) = Graph::new("net", "input", &[2]);
/// let w = graph.weight("fc.weight", &Array { shape: vec![1, 2], numbers: Numbers::Real(vec![1.0, 2.0]) });
/// let y = graph.node("fc", "Gemm", &[&x, &w], &[("transB", Attribute::Int(1))]);
/// let bytes = graph.finish(&y, "logits", &[1], &[("made by", "me")]);
/// assert_eq!(onnx::read(&bytes, "net.onnx".as_ref())?.tensors["fc.weight"].shape, [1, 2]);
/// # Ok::<(), cotangent_data::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Graph {
    graph: proto::Graph,
}

impl Graph {
    /// With an input of `[batch, shape..]` real numbers, which is also returned.
    pub fn new(name: &str, input: &str, shape: &[usize]) -> (Self, Value) {
        let graph =
            proto::Graph { name: name.into(), input: vec![described(input, shape)], ..Default::default() };
        (Graph { graph }, Value(input.into()))
    }

    /// A weight under its name; the same one again where it is there already.
    pub fn weight(&mut self, name: &str, array: &Array) -> Value {
        if !self.graph.initializer.iter().any(|t| t.name == name) {
            self.graph.initializer.push(tensor(name, array));
        }
        Value(name.into())
    }

    /// Names of the weights so far.
    pub fn weights(&self) -> impl Iterator<Item = &str> {
        self.graph.initializer.iter().map(|t| t.name.as_str())
    }

    /// Numbers that are no weight, such as a mean.
    pub fn constant(&mut self, name: &str, array: &Array) -> Value {
        let value = proto::Attribute {
            name: "value".into(),
            t: Some(tensor(name, array)),
            r#type: proto::TENSOR,
            ..Default::default()
        };
        self.push(name, "Constant", &[], vec![value])
    }

    /// An operation named `name`, which is also the name of its result.
    pub fn node(
        &mut self,
        name: &str,
        op: &str,
        inputs: &[&Value],
        attributes: &[(&str, Attribute)],
    ) -> Value {
        let attributes = attributes.iter().map(|(name, value)| {
            let mut a = proto::Attribute { name: name.to_string(), ..Default::default() };
            match value {
                Attribute::Int(i) => (a.i, a.r#type) = (Some(*i), proto::INT),
                Attribute::Float(f) => (a.f, a.r#type) = (Some(*f), proto::FLOAT),
                Attribute::Ints(v) => (a.ints, a.r#type) = (v.clone(), proto::INTS),
            }
            a
        });
        let attributes = attributes.collect();
        self.push(name, op, inputs, attributes)
    }

    fn push(&mut self, name: &str, op: &str, inputs: &[&Value], attribute: Vec<proto::Attribute>) -> Value {
        self.graph.node.push(proto::Node {
            input: inputs.iter().map(|v| v.0.clone()).collect(),
            output: vec![name.into()],
            name: name.into(),
            op_type: op.into(),
            attribute,
        });
        Value(name.into())
    }

    /// The file's bytes: `output` becomes `[batch, shape..]` under the name `name`; metadata stand beside the graph.
    pub fn finish(
        mut self,
        output: &Value,
        name: &str,
        shape: &[usize],
        metadata: &[(&str, &str)],
    ) -> Vec<u8> {
        for node in &mut self.graph.node {
            let values = node.input.iter_mut().chain(&mut node.output);
            values.filter(|v| **v == output.0).for_each(|v| *v = name.into());
        }
        self.graph.output = vec![described(name, shape)];
        let model = proto::Model {
            ir_version: IR_VERSION,
            producer_name: "cotangent".into(),
            producer_version: env!("CARGO_PKG_VERSION").into(),
            graph: Some(self.graph),
            opset_import: vec![proto::OperatorSet { domain: String::new(), version: OPSET }],
            metadata_props: metadata
                .iter()
                .map(|(key, value)| proto::Entry { key: key.to_string(), value: value.to_string() })
                .collect(),
        };
        model.encode_to_vec()
    }
}

/// `[batch, shape..]` of 32-bit real numbers.
fn described(name: &str, shape: &[usize]) -> proto::ValueInfo {
    let batch = proto::Dimension { size: Some(proto::Size::Param(BATCH.into())) };
    let rest = shape.iter().map(|n| proto::Dimension { size: Some(proto::Size::Value(*n as i64)) });
    let shape = proto::Shape { dim: [batch].into_iter().chain(rest).collect() };
    let tensor = proto::TensorType { elem_type: proto::F32, shape: Some(shape) };
    proto::ValueInfo { name: name.into(), r#type: Some(proto::Type { tensor_type: Some(tensor) }) }
}

fn tensor(name: &str, array: &Array) -> proto::Tensor {
    proto::Tensor {
        dims: array.shape.iter().map(|n| *n as i64).collect(),
        data_type: match array.numbers {
            Numbers::Real(_) => proto::F32,
            Numbers::Whole(_) => proto::I64,
        },
        name: name.into(),
        raw_data: array.numbers.bytes(),
        ..Default::default()
    }
}
