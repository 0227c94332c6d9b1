//! The initialisers of a file. Its other messages are walked over and never built, so that memory follows the weights.

use std::path::Path;

use cotangent_data::{Error, Place, Result};
use prost::Message;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

use super::proto::{self, Tensor};
use crate::{Array, Format, Kind, Numbers, Tensors, Weights, count};

/// Initialisers at most; a ResNet-1001 has a few thousand.
const MOST: usize = 1 << 17;

/// Whether it begins with the version of the format, as every writer's files do.
pub(crate) fn is_model(bytes: &[u8]) -> bool {
    matches!(bytes, [8, 1..=63, ..])
}

/// Where a field's contents begin, and what they are.
type Field<'a> = (usize, &'a [u8]);

/// The fields of a message with this number; or where it is damaged, and how.
fn fields(bytes: &[u8], number: u32) -> Result<Vec<Field<'_>>, (usize, String)> {
    let (mut rest, mut found) = (bytes, Vec::new());
    while !rest.is_empty() {
        let at = bytes.len() - rest.len();
        let bad = |e: prost::DecodeError| (at, e.to_string());
        let (tag, wire) = decode_key(&mut rest).map_err(bad)?;
        if tag != number || wire != WireType::LengthDelimited {
            skip_field(wire, tag, &mut rest, DecodeContext::default()).map_err(bad)?;
            continue;
        }
        let length = decode_varint(&mut rest).map_err(bad)?;
        let inside = usize::try_from(length).ok().and_then(|n| rest.split_at_checked(n));
        let Some((inside, after)) = inside else {
            return Err((at, format!("a field of {length} bytes, of which {} are there", rest.len())));
        };
        if found.len() == MOST {
            return Err((at, format!("more than {MOST} initialisers")));
        }
        found.push((bytes.len() - rest.len(), inside));
        rest = after;
    }
    Ok(found)
}

/// Reads the initialisers of a file's bytes. `path` stands in errors.
///
/// # Errors
/// When it is cut off, holds no graph, or keeps a weight in another file, as text, or of another length than its sizes.
pub fn read(bytes: &[u8], path: &Path) -> Result<Weights> {
    let damaged = |at: usize, what: String| {
        let found = Error::new(path, format!("is no whole ONNX file: {what}")).at(Place::Byte(at as u64));
        found.help("copy or export it again")
    };
    let graphs = fields(bytes, proto::GRAPH_OF_MODEL).map_err(|(at, what)| damaged(at, what))?;
    if graphs.is_empty() {
        return Err(damaged(0, "it holds no graph".into()));
    }
    let (mut tensors, mut remarks) = (Tensors::new(), Vec::new());
    for (start, graph) in graphs {
        let initialisers = fields(graph, proto::INITIALIZER_OF_GRAPH);
        for (at, field) in initialisers.map_err(|(at, what)| damaged(start + at, what))? {
            let tensor = Tensor::decode(field).map_err(|e| damaged(start + at, e.to_string()))?;
            let name = tensor.name.clone();
            if tensor.data_type == proto::TEXT {
                remarks.push(format!("the initialiser `{name}` holds text, and is left out"));
                continue;
            }
            let array = array(tensor).map_err(|(what, help)| {
                Error::new(path, format!("the initialiser `{name}` {what}"))
                    .at(Place::Byte((start + at) as u64))
                    .help(help)
            })?;
            if tensors.insert(name.clone(), array).is_some() {
                return Err(damaged(start + at, format!("two initialisers are called `{name}`")));
            }
        }
    }
    if tensors.is_empty() {
        let found = Error::new(path, "holds no initialisers: its graph has no weights under names");
        return Err(found.help("PyTorch writes them with `torch.onnx.export(..., export_params=True)`"));
    }
    Ok(Weights { format: Format::Onnx, tensors, remarks })
}

/// What the message says, or what is wrong with it and how to mend it.
fn array(t: Tensor) -> Result<Array, (String, &'static str)> {
    const AGAIN: &str = "export the network again";
    if t.data_location == proto::EXTERNAL {
        let help = "keep weights inside: `onnx.save_model(model, path, save_as_external_data=False)`";
        return Err(("keeps its numbers in another file".into(), help));
    }
    let kind = match t.data_type {
        proto::F32 => Kind::F32,
        proto::F64 => Kind::F64,
        proto::F16 => Kind::F16,
        proto::BF16 => Kind::Bf16,
        proto::I8 => Kind::Int(1),
        proto::I16 => Kind::Int(2),
        proto::I32 => Kind::Int(4),
        proto::I64 => Kind::Int(8),
        proto::U8 | proto::BOOL => Kind::Uint(1),
        proto::U16 => Kind::Uint(2),
        proto::U32 => Kind::Uint(4),
        proto::U64 => Kind::Uint(8),
        other => return Err((format!("holds numbers of type {other}; real and whole ones are read"), AGAIN)),
    };
    let shape: Option<Vec<usize>> = t.dims.iter().map(|n| usize::try_from(*n).ok()).collect();
    let expected = shape.as_deref().and_then(count);
    let (Some(shape), Some(expected)) = (shape, expected) else {
        return Err((format!("has sizes {:?}, which no tensor has", t.dims), AGAIN));
    };
    let raw = t.raw_data.len();
    let numbers = match kind {
        _ if raw > 0 && raw.is_multiple_of(kind.size()) => kind.numbers(&t.raw_data),
        _ if raw > 0 => {
            return Err((format!("has {raw} bytes, and its numbers take {} each", kind.size()), AGAIN));
        }
        Kind::F32 => Numbers::Real(t.float_data),
        Kind::F64 => Numbers::Real(t.double_data.iter().map(|x| *x as f32).collect()),
        Kind::F16 | Kind::Bf16 => {
            let bytes: Vec<u8> = t.int32_data.iter().flat_map(|x| (*x as u16).to_le_bytes()).collect();
            kind.numbers(&bytes)
        }
        Kind::Int(8) => Numbers::Whole(t.int64_data),
        Kind::Uint(4 | 8) => Numbers::Whole(t.uint64_data.iter().map(|x| *x as i64).collect()),
        Kind::Int(_) | Kind::Uint(_) => Numbers::Whole(t.int32_data.into_iter().map(i64::from).collect()),
    };
    if numbers.len() != expected {
        return Err((format!("has sizes {shape:?}, and {} numbers are there", numbers.len()), AGAIN));
    }
    Ok(Array { shape, numbers })
}
