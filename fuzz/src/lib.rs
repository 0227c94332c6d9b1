//! What each target does with its bytes. Whatever they are, nothing may panic, hang or take much memory; where a reader
//! says that a file is good, what it returns must keep its own promises.
//!
//! Settings, networks and checkpoints are those of the program itself.

/// Modules of the program; their `crate` is this one, so their names stand at its root.
// Much of them is for others.
#[allow(dead_code, unused_imports)]
#[path = "../../cli/src"]
mod program {
    pub(crate) mod checkpoint;
    pub(crate) mod config;
    pub(crate) mod data;
    pub(crate) mod diagnostic;
    pub(crate) mod graph;
    pub(crate) mod machine;
    pub(crate) mod model;
    pub(crate) mod numerals;
}
/// What could be fetched has no part in what is read.
mod download {
    pub(crate) struct Public {
        pub(crate) name: &'static str,
    }
    pub(crate) const PUBLIC: [Public; 1] = [Public { name: "cifar10" }];
}
/// Paths in commands that people copy.
mod shell {
    pub(crate) fn word(path: &std::path::Path) -> String {
        path.display().to_string()
    }
}
/// What checkpoints are written with; run folders themselves are not tried here.
mod run_folder {
    use crate::diagnostic::{Diagnostic, Exit};

    pub(crate) fn write_file(path: &std::path::Path, bytes: &[u8]) -> Result<(), Diagnostic> {
        std::fs::write(path, bytes).map_err(|e| Diagnostic::io(Exit::Failure, "cannot write", path, &e))
    }
}

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use cotangent::data::Idx;
use cotangent_data::folder::{self, Options as FolderOptions};
use cotangent_data::picture::{Format, Levels};
use cotangent_data::{Filter, Limits, Picture, Set, Values, arrays, npy as npy_file, table};
use cotangent_interchange as interchange;

use program::checkpoint::{About, Checkpoint, Stored};
use program::config::layers::Layers;
use program::diagnostic::{Diagnostic, Exit};
use program::{checkpoint, config, data, diagnostic, graph, machine, model, numerals};

/// What is taken of an input: little, so that a bomb is told from a large file.
const LIMITS: Limits = Limits { bytes: 1 << 24, pixels: 1 << 20, files: 100 };

/// A folder of this process, in memory where the system has such a place.
fn scratch() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let memory = Path::new("/dev/shm");
        let root = if memory.is_dir() { memory.to_path_buf() } else { std::env::temp_dir() };
        let path = root.join(format!("cotangent-fuzz-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a folder for files");
        path
    })
}

fn written(name: &str, bytes: &[u8]) -> PathBuf {
    let path = scratch().join(name);
    fs::write(&path, bytes).expect("a file is written");
    path
}

/// Readers of data blame the data.
fn blamed<T>(found: Result<T, cotangent_data::Error>) -> Option<T> {
    found.inspect_err(|e| assert!(!e.to_string().is_empty() && !e.helps().is_empty(), "no help: {e}")).ok()
}

fn checked(set: &Set) {
    let each: usize = set.shape.iter().product();
    let values = match &set.inputs {
        Values::U8(v) => v.len(),
        Values::F32(v) => v.len(),
    };
    assert_eq!(values, set.len() * each, "inputs of {} examples of {:?}", set.len(), set.shape);
    assert!(set.labels.iter().all(|l| usize::try_from(*l).is_ok_and(|l| l < set.classes.len())), "labels");
    assert!(set.groups.as_ref().is_none_or(|g| g.len() == set.len()), "groups");
}

/// An IDX file.
pub fn idx(bytes: &[u8]) {
    if let Ok(found) = Idx::read(written("a.idx", bytes)) {
        assert_eq!(found.tensor().numel(), found.shape().iter().product::<usize>());
    }
}

/// An IDX file compressed with gzip: the bytes of a deflate stream behind a header, or compressed as they are.
pub fn gzip(bytes: &[u8]) {
    let Some((way, rest)) = bytes.split_first() else { return };
    let file = match way % 3 {
        0 => rest.to_vec(),
        1 => [&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255][..], rest].concat(),
        _ => {
            let mut file = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            file.write_all(rest).expect("memory takes every byte");
            file.finish().expect("memory takes every byte")
        }
    };
    if let Ok(found) = Idx::read(written("a.gz", &file)) {
        assert_eq!(found.tensor().numel(), found.shape().iter().product::<usize>());
    }
}

/// An NPY file.
pub fn npy(bytes: &[u8]) {
    if let Some(array) = blamed(npy_file::read(bytes, LIMITS.bytes, "a.npy".as_ref(), None)) {
        let count: usize = array.shape.iter().product();
        let held = match &array.elements {
            npy_file::Elements::U8(v) => v.len(),
            npy_file::Elements::Int(v) => v.len(),
            npy_file::Elements::Real(v) => v.len(),
            npy_file::Elements::Text(v) => v.len(),
        };
        assert_eq!(held, count);
        let options = arrays::Options { limits: LIMITS, ..arrays::Options::default() };
        if let Some(set) = blamed(arrays::inputs(array, "a.npy".as_ref(), &options)) {
            checked(&set);
        }
    }
}

/// An NPZ file, as examples and as weights.
pub fn npz(bytes: &[u8]) {
    let path = written("a.npz", bytes);
    let options = arrays::Options { limits: LIMITS, ..arrays::Options::default() };
    if let Some(parts) = blamed(arrays::read(&path, &options)) {
        [Some(parts.train), parts.val, parts.test].iter().flatten().for_each(checked);
    }
    drop(blamed(interchange::read(&path, &LIMITS)));
}

/// A picture of any format, alone and in a folder of classes beside a good one.
pub fn pictures(bytes: &[u8]) {
    let Some(picture) = blamed(Picture::decode(bytes, "a.png".as_ref(), &LIMITS)) else { return };
    assert!(Format::of(bytes).is_some());
    let held = match &picture.levels {
        Levels::U8(v) => v.len(),
        Levels::U16(v) => v.len(),
    };
    assert_eq!(held, picture.width * picture.height * picture.channels);
    assert!(picture.width * picture.height <= 1 << 20);
    let folder = scratch().join("pictures");
    for class in ["one", "two"] {
        fs::create_dir_all(folder.join(class)).expect("a folder is made");
        fs::write(folder.join(class).join("a"), bytes).expect("a file is written");
    }
    for resize in [None, Some([3, 5])] {
        for filter in [Filter::Area, Filter::Bilinear] {
            let options = FolderOptions { resize, filter, limits: LIMITS, ..FolderOptions::default() };
            if let Some(parts) = blamed(folder::read(&folder, &options)) {
                checked(&parts.train);
            }
        }
    }
    assert_eq!(picture.with_channels(3).resized(4, 4, Filter::Area).planes().len(), 48);
}

/// A table; its first byte says how it is read.
pub fn csv(bytes: &[u8]) {
    let Some((way, rest)) = bytes.split_first() else { return };
    use table::Missing::{Drop, Error, Mean, Zero};
    let options = table::Options {
        missing: [Error, Mean, Zero, Drop][usize::from(way & 3)],
        unlabelled: way & 4 != 0,
        group: (way & 8 != 0).then(|| "lot".into()),
        label: (way & 16 != 0).then(|| "result".into()),
        features: (way & 32 != 0).then(|| vec!["b".into(), "a".into()]),
        classes: (way & 64 != 0).then(|| vec!["good".into(), "bad".into()]),
        limits: LIMITS,
        ..table::Options::default()
    };
    if let Some(set) = blamed(table::parse(rest, "a.csv".as_ref(), &options)) {
        checked(&set);
    }
}

/// Weights in safetensors.
pub fn safetensors(bytes: &[u8]) {
    drop(blamed(interchange::safetensors::read(bytes, "a.safetensors".as_ref())));
    drop(blamed(interchange::read(&written("a.safetensors", bytes), &LIMITS)));
    if let Err(found) = Checkpoint::read(&scratch().join("a.safetensors")) {
        refused(&found);
    }
}

/// Weights in ONNX.
pub fn onnx(bytes: &[u8]) {
    drop(blamed(interchange::onnx::read(bytes, "a.onnx".as_ref())));
}

/// A mistake of the user's, or a machine that is too small; nothing else.
fn refused(found: &Diagnostic) {
    assert!(matches!(found.exit(), Exit::Usage | Exit::Data | Exit::Device), "{found}");
    assert!(!found.title().is_empty());
}

/// Examples of these shapes.
const SHAPES: [&[usize]; 3] = [&[1, 8, 8], &[3, 16, 12], &[5]];

/// Settings in TOML, and the network that they describe, traced for examples of a shape.
pub fn toml(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let mut layers = Layers::default();
    let read = layers.text("a.toml", text.into()).and_then(|()| layers.merge());
    let config = match read {
        Ok((config, _)) => config,
        Err(found) => return refused(&found),
    };
    for shape in SHAPES {
        let place = |problem| layers.place(&problem);
        match model::outline(&(&config).into(), shape, 3, config.data.batch.min(64), &place) {
            Ok(summary) => assert!(!summary.rows.is_empty() || summary.parameters == 0),
            Err(found) => refused(&found),
        }
    }
    // Written and read again it says the same.
    let again = ::toml::to_string(&config).expect("settings are written");
    let mut layers = Layers::default();
    layers.text("again.toml", again).expect("what was written is read");
    assert_eq!(layers.merge().expect("what was written is right").0, config);
}

/// Numbers of a network that is built while it is tried.
const MOST_PARAMETERS: usize = 20_000;

/// What a checkpoint says of its run, as JSON, in a file that is whole otherwise.
pub fn checkpoint_of(bytes: &[u8]) {
    let Ok(about) = serde_json::from_slice::<About>(bytes) else { return };
    // Weights that fit, as far as there can be any: nothing is refused before it is looked at.
    let weights = || {
        let mut config = about.config.clone();
        config.resolve().ok()?;
        let shape = model::input_shape(&about).ok()?;
        let (architecture, classes) = ((&config).into(), about.classes.len());
        let outline = model::outline(&architecture, shape, classes, 2, &|problem| problem.into()).ok()?;
        if outline.parameters > MOST_PARAMETERS {
            return None;
        }
        model::weights(&model::build(architecture, shape, classes, 0, 2).ok()?.0).ok()
    };
    let tensors: BTreeMap<String, Stored> = weights().unwrap_or_default();
    let path = scratch().join("b.safetensors");
    if (Checkpoint { tensors, about }).write(&path).is_err() {
        return;
    }
    let tried = Checkpoint::read(&path).and_then(|mut read| {
        read.about.config.resolve()?;
        model::restore(&read, 2)?;
        graph::draw(&read.about, &BTreeMap::new(), "fuzzed")
    });
    if let Err(found) = tried {
        refused(&found);
    }
}
