//! Files that were cut off, changed or made up: one error each, or weights that are whole; never a panic, and no more
//! memory than the file's size allows.

use std::path::{Path, PathBuf};

use cotangent_data::Limits;
use cotangent_interchange::onnx::Graph;
use cotangent_interchange::{Array, Format, Numbers, Tensors, Weights, npz, read, safetensors};

struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn scratch(name: &str) -> Scratch {
    let path = std::env::temp_dir().join(format!("cotangent-interchange-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&path).unwrap();
    Scratch(path)
}

fn tensors() -> Tensors {
    let weight: Vec<f32> = (0..24).map(|i| i as f32 / 7.0 - 1.5).collect();
    Tensors::from([
        ("conv.weight".to_string(), Array { shape: vec![2, 1, 3, 4], numbers: Numbers::Real(weight) }),
        ("bn.num_batches_tracked".to_string(), Array { shape: vec![], numbers: Numbers::Whole(vec![-7]) }),
        (
            "fc.bias".to_string(),
            Array { shape: vec![1], numbers: Numbers::Real(vec![f32::MIN_POSITIVE / 2.0]) },
        ),
        ("empty".to_string(), Array { shape: vec![0, 3], numbers: Numbers::Real(vec![]) }),
    ])
}

fn written(format: Format) -> Vec<u8> {
    match format {
        Format::Npz => npz::write(&tensors()).unwrap(),
        Format::Safetensors => safetensors::write(&tensors(), Some(("network", "{}"))).unwrap(),
        Format::Onnx => {
            let (mut graph, x) = Graph::new("net", "input", &[3]);
            for (name, array) in &tensors() {
                graph.weight(name, array);
            }
            let y = graph.node("y", "Relu", &[&x], &[]);
            graph.finish(&y, "out", &[3], &[("a", "b")])
        }
    }
}

fn taken(path: &Path, bytes: &[u8]) -> cotangent_data::Result<Weights> {
    std::fs::write(path, bytes).unwrap();
    read(path, &Limits { bytes: 1 << 20, ..Limits::default() })
}

#[test]
fn what_is_written_is_read_to_the_last_bit_and_written_the_same_again() {
    let folder = scratch("whole");
    for format in Format::ALL {
        let bytes = written(format);
        assert_eq!(bytes, written(format));
        // The content says what it is, not the name.
        let found = taken(&folder.0.join("weights"), &bytes).unwrap();
        assert_eq!((found.format, found.tensors), (format, tensors()), "{format}");
        assert!(found.remarks.is_empty());
    }
}

#[test]
fn no_changed_file_panics() {
    let folder = scratch("changed");
    let mut noise = 11_u64;
    let mut below = |n: usize| {
        noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (noise >> 33) as usize % n.max(1)
    };
    for format in Format::ALL {
        let (whole, path, mut refused) = (written(format), folder.0.join(format.name()), 0);
        for round in 0..600 {
            let mut bytes = whole.clone();
            for _ in 0..=below(3) {
                let at = below(bytes.len());
                match below(5) {
                    0 => bytes[at] ^= 1 << below(8),
                    1 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][below(5)],
                    2 if round % 3 == 0 => bytes.truncate(at + 1),
                    3 => bytes.insert(at, below(256) as u8),
                    _ => drop(bytes.drain(at..(at + 1 + below(9)).min(bytes.len()))),
                }
                if bytes.is_empty() {
                    bytes.push(0);
                }
            }
            match taken(&path, &bytes) {
                Ok(found) => {
                    for (name, array) in &found.tensors {
                        let sizes: usize = array.shape.iter().product();
                        assert_eq!(array.numbers.len(), sizes, "{format}: {name}");
                    }
                }
                Err(e) => {
                    refused += 1;
                    assert!(e.to_string().contains(&*path.to_string_lossy()), "{e}");
                }
            }
        }
        assert!(refused > 200, "{format}: {refused}");
    }
}

#[test]
fn what_no_file_should_say_is_refused_with_words() {
    let folder = scratch("said");
    let path = folder.0.join("x");
    let refused = |bytes: &[u8]| taken(&path, bytes).unwrap_err().to_string();
    assert!(refused(b"\x80\x02}q\x00.").contains("neither safetensors nor NPZ nor ONNX"));
    assert!(refused(b"").contains("is empty"));
    assert!(refused(&vec![8; (1 << 20) + 1]).contains("at most 1048576"));
    assert!(refused(&[8, 8]).contains("holds no graph"));
    // A graph that is longer than its file; then one of 200,000 empty initialisers.
    assert!(refused(&[8, 8, 0x3a, 0xff, 0xff, 0x03]).contains("of which 0 are there"));
    let many: Vec<u8> = [0x2a, 0].repeat(200_000);
    let mut model = vec![8, 8, 0x3a];
    prost::encoding::encode_varint(many.len() as u64, &mut model);
    model.extend(many);
    assert!(refused(&model).contains("more than 131072 initialisers"));
    // An initialiser of [1 << 62, 4] numbers, none of which are there; one whose numbers are in another file.
    let initialiser = |fields: &[u8]| {
        let mut graph = vec![0x2a, fields.len() as u8];
        graph.extend(fields);
        let mut model = vec![8, 8, 0x3a, graph.len() as u8];
        model.extend(graph);
        model
    };
    let huge = [8, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x40, 8, 4, 16, 1, 0x42, 1, b'w'];
    assert!(
        refused(&initialiser(&huge)).contains("`w` has sizes [4611686018427387904, 4], which no tensor has")
    );
    assert!(
        refused(&initialiser(&[8, 2, 16, 1, 0x42, 1, b'w']))
            .contains("has sizes [2], and 0 numbers are there")
    );
    assert!(refused(&initialiser(&[16, 1, 0x42, 1, b'w', 0x70, 1])).contains("in another file"));
    assert!(refused(&initialiser(&[16, 14, 0x42, 1, b'w'])).contains("numbers of type 14"));
    // A header that promises more numbers than the archive holds.
    let mut bytes = npz::write(&tensors()).unwrap();
    let at = bytes.windows(9).position(|w| w == b"(2, 1, 3,").unwrap();
    bytes[at + 1] = b'9';
    assert!(refused(&bytes).contains("conv.weight"));
}
