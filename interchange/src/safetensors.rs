//! safetensors: `length · header in JSON · numbers`. <https://github.com/huggingface/safetensors>

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::path::Path;

use cotangent_data::{Error, Result};
use safetensors::tensor::{Dtype, SafeTensors, TensorView, serialize};
use serde::de::{Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;

use crate::{Array, Format, Kind, Numbers, Tensors, Weights};

/// Under which key of the metadata a checkpoint of cotangent tells of its run.
const CHECKPOINT: &str = "cotangent";
/// Before the names of a checkpoint's tensors that are none of the network's.
const OTHERS: [&str; 2] = ["optim.", "schedule."];

/// The file's bytes, with one entry of metadata: several have no order, and equal weights give equal bytes.
///
/// ```
/// use cotangent_interchange::{Array, Numbers, Tensors, safetensors};
/// let count = Array { shape: vec![], numbers: Numbers::Whole(vec![7]) };
/// let tensors = Tensors::from([("n".to_string(), count)]);
/// let bytes = safetensors::write(&tensors, Some(("made by", "me")))?;
/// assert_eq!(safetensors::read(&bytes, "n.safetensors".as_ref())?.tensors, tensors);
/// # Ok::<(), cotangent_data::Error>(())
/// ```
///
/// # Errors
/// When the sizes of a tensor do not give its number of numbers.
pub fn write(tensors: &Tensors, metadata: Option<(&str, &str)>) -> Result<Vec<u8>> {
    let refused = |e: safetensors::SafeTensorError| Error::new("safetensors", format!("cannot be made: {e}"));
    let raw: Vec<(&String, Dtype, &Array, Vec<u8>)> = tensors
        .iter()
        .map(|(name, array)| {
            let dtype = match array.numbers {
                Numbers::Real(_) => Dtype::F32,
                Numbers::Whole(_) => Dtype::I64,
            };
            (name, dtype, array, array.numbers.bytes())
        })
        .collect();
    let views = raw.iter().map(|(name, dtype, array, bytes)| {
        Ok((*name, TensorView::new(*dtype, array.shape.clone(), bytes).map_err(refused)?))
    });
    let views = views.collect::<Result<Vec<_>>>()?;
    let metadata = metadata.map(|(key, value)| HashMap::from([(key.to_string(), value.to_string())]));
    serialize(views, metadata).map_err(refused)
}

/// Reads a file's bytes; of a checkpoint of cotangent the network's tensors alone. `path` stands in errors.
///
/// # Errors
/// When it is cut off, contradicts itself, or holds numbers that are neither real nor whole.
pub fn read(bytes: &[u8], path: &Path) -> Result<Weights> {
    let damaged = |e: safetensors::SafeTensorError| {
        let text = format!("is no whole safetensors file: {}", fault(bytes, &e));
        Error::new(path, text).help("copy or download it again")
    };
    if let Some(name) = repeated(bytes) {
        let text = format!("names `{name}` twice in its header");
        return Err(Error::new(path, text).help("save it again, each tensor under a name of its own"));
    }
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(damaged)?;
    let is_checkpoint = header.metadata().as_ref().is_some_and(|m| m.contains_key(CHECKPOINT));
    let file = SafeTensors::deserialize(bytes).map_err(damaged)?;
    let (mut tensors, mut left_out) = (Tensors::new(), 0);
    for (name, view) in file.iter() {
        if is_checkpoint && OTHERS.iter().any(|o| name.starts_with(o)) {
            left_out += 1;
            continue;
        }
        let kind = match view.dtype() {
            Dtype::F16 => Kind::F16,
            Dtype::BF16 => Kind::Bf16,
            Dtype::F32 => Kind::F32,
            Dtype::F64 => Kind::F64,
            Dtype::I8 => Kind::Int(1),
            Dtype::I16 => Kind::Int(2),
            Dtype::I32 => Kind::Int(4),
            Dtype::I64 => Kind::Int(8),
            Dtype::U8 | Dtype::BOOL => Kind::Uint(1),
            Dtype::U16 => Kind::Uint(2),
            Dtype::U32 => Kind::Uint(4),
            Dtype::U64 => Kind::Uint(8),
            other => {
                let text = format!("`{name}` holds numbers of type {other:?}; real and whole ones are read");
                return Err(Error::new(path, text).help("convert it to F32 before saving"));
            }
        };
        let array = Array { shape: view.shape().to_vec(), numbers: kind.numbers(view.data()) };
        tensors.insert(name.to_string(), array);
    }
    let remarks = match left_out {
        0 => Vec::new(),
        n => vec![format!("{n} tensors of the optimiser and its schedule are left out")],
    };
    Ok(Weights { format: Format::Safetensors, tensors, remarks })
}

/// The first name that stands twice in a file's header, of which readers of JSON keep one without a word.
///
/// ```
/// use cotangent_interchange::safetensors::repeated;
/// let file = |header: &[u8]| [&(header.len() as u64).to_le_bytes(), header].concat();
/// assert_eq!(repeated(&file(br#"{"a": {}, "b": {"a": 1}, "a": []}"#)).as_deref(), Some("a"));
/// assert_eq!(repeated(&file(br#"{"a": {}, "b": {"a": 1}}"#)), None);
/// ```
#[must_use]
pub fn repeated(bytes: &[u8]) -> Option<String> {
    struct Names(Option<String>);
    impl<'de> Visitor<'de> for &mut Names {
        type Value = ();
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("names of tensors")
        }
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
            let mut seen = BTreeSet::new();
            while let Some((name, IgnoredAny)) = map.next_entry::<String, _>()? {
                if seen.contains(&name) {
                    self.0 = Some(name);
                    return Err(A::Error::custom(""));
                }
                seen.insert(name);
            }
            Ok(())
        }
    }
    let (length, rest) = bytes.split_first_chunk()?;
    let header = rest.get(..usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
    let mut found = Names(None);
    // What is no JSON at all is for the reader to say.
    let _ = serde_json::Deserializer::from_slice(header).deserialize_map(&mut found);
    found.0
}

/// What is wrong with a file that its reader refuses with `error`: in which tensor, and at which byte, where that can
/// be said.
///
/// ```
/// use cotangent_interchange::safetensors::fault;
/// assert_eq!(fault(b"PK", &"x"), "2 bytes are there, and the length of its header takes 8");
/// let cut = [&48_u64.to_le_bytes(), &br#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#[..48]].concat();
/// assert_eq!(fault(&cut, &"no JSON"), "no JSON (in its header, from byte 8)");
/// ```
#[must_use]
pub fn fault(bytes: &[u8], error: &dyn fmt::Display) -> String {
    let there = bytes.len() as u64;
    let Some((length, rest)) = bytes.split_first_chunk() else {
        return format!("{there} bytes are there, and the length of its header takes 8");
    };
    let length = u64::from_le_bytes(*length);
    let Some(header) = usize::try_from(length).ok().and_then(|n| rest.get(..n)) else {
        // Text, or the mark of another format, is an enormous number.
        let start = &bytes[..8];
        if length > 1 << 40 {
            return format!("it begins with \"{}\", and no length of a header", start.escape_ascii());
        }
        return format!(
            "it begins with {length} as the length of its header, and {} bytes follow",
            rest.len()
        );
    };
    let Ok(Value::Object(all)) = serde_json::from_slice(header) else {
        return format!("{error} (in its header, from byte 8)");
    };
    let mut last = 8 + length;
    for (name, info) in all {
        let offset = |i: usize| Some(8 + length + info["data_offsets"][i].as_u64().filter(|n| *n < 1 << 62)?);
        let (Some(begin), Some(end)) = (offset(0), offset(1)) else { continue };
        let size = match info["dtype"].as_str().unwrap_or_default() {
            "F64" | "I64" | "U64" => 8_u64,
            "F32" | "I32" | "U32" => 4,
            "F16" | "BF16" | "I16" | "U16" => 2,
            "BOOL" | "U8" | "I8" => 1,
            _ => continue,
        };
        let sizes = info["shape"].as_array().into_iter().flatten();
        let wanted = sizes.map(Value::as_u64).try_fold(size, |n, s| n.checked_mul(s?));
        if wanted.is_none() || wanted != end.checked_sub(begin) {
            let (dtype, shape) = (&info["dtype"], &info["shape"]);
            return format!("`{name}`, {dtype} of {shape}, does not fit into bytes {begin} to {end}");
        }
        if end > there {
            return format!("`{name}` ends at byte {end}, and the file at byte {there}");
        }
        last = last.max(end);
    }
    match last < there {
        true => format!("its tensors end at byte {last}, and the file at byte {there}"),
        false => error.to_string(),
    }
}
