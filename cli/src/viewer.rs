//! What the live page asks of a network: its filters, what it makes of a drawing layer by layer, and test examples.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use cotangent::data::Dataset;
use cotangent::nn::{Call, ParametersExt};
use cotangent::{Observer, Tensor, attempt, no_grad, observe};
use cotangent_board::plot::{self, Picture};
use cotangent_board::serve::Network;
use cotangent_board::{report, runs, tensorboard};
use serde_json::{Value, json};

use crate::checkpoint::{About, Checkpoint, Normalisation};
use crate::chronicle;
use crate::config::DataConfig;
use crate::data::{Data, Known, sides};
use crate::diagnostic::{Diagnostic, Exit};
use crate::model::{self, Model};
use crate::run_folder::{self, Kind};
use crate::spread;

/// Channels of a layer that are shown.
const SHOWN: usize = 64;
/// How wide a sheet becomes on the page at least, in pixels.
const WIDTH: usize = 240;

/// Networks and examples, read when they are first asked for; the newest of each stays.
#[derive(Default)]
pub(crate) struct Viewer {
    network: Mutex<Option<Arc<Loaded>>>,
    examples: Mutex<Option<(Examples, Arc<Data>)>>,
}

/// Which examples were read: what a run says of them, and how it prepares them.
type Examples = (DataConfig, u64, Normalisation);

/// A checkpoint's network.
struct Loaded {
    file: PathBuf,
    written: Option<SystemTime>,
    about: About,
    model: Model,
}

/// The outputs of modules in the order in which they are done.
#[derive(Default)]
struct Outputs(Mutex<Vec<(String, String, Tensor)>>);

impl Observer for Outputs {
    fn module(&self, path: &str, describe: &str, _: &Tensor, output: &Tensor) {
        lock(&self.0).push((path.to_string(), describe.to_string(), output.clone()));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What a panic left behind is still whole: values are put in at once.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Viewer {
    fn network(&self, run: &Path) -> Result<Arc<Loaded>, Diagnostic> {
        let file = run_folder::find(run, Kind::Last)?.checkpoint;
        let written = std::fs::metadata(&file).and_then(|m| m.modified()).ok();
        let mut cached = lock(&self.network);
        if let Some(known) = cached.as_ref().filter(|known| known.file == file && known.written == written) {
            return Ok(known.clone());
        }
        let mut checkpoint = Checkpoint::read(&file)?;
        let resolved = checkpoint.about.config.resolve();
        resolved.map_err(|problem| Diagnostic::new(Exit::Data, problem.title))?;
        let (model, _) = model::restore(&checkpoint, 1)?;
        model.eval();
        let loaded = Arc::new(Loaded { file, written, about: checkpoint.about, model });
        *cached = Some(loaded.clone());
        Ok(loaded)
    }

    fn examples(&self, run: &Path) -> Result<Arc<Data>, Diagnostic> {
        let network = self.network(run)?;
        let about = &network.about;
        // A run's path may have become another run's.
        let wanted = (about.config.data.clone(), about.config.seed, about.normalisation.clone());
        let mut cached = lock(&self.examples);
        if let Some((_, known)) = cached.as_ref().filter(|(read, _)| *read == wanted) {
            return Ok(known.clone());
        }
        let data =
            Arc::new(Data::load(&about.config.data, about.config.seed, Some(&Known::of(about, false)))?);
        *cached = Some((wanted, data.clone()));
        Ok(data)
    }

    fn weights(&self, run: &Path) -> Result<Value, Diagnostic> {
        let network = self.network(run)?;
        let input = sides(&network.about.input_shape);
        let state = network.model.state_dict();
        let first = chronicle::filters(&state, input).map(|(layer, _)| format!("{layer}.weight"));
        let mut history = runs::layers(run);
        let mut layers = Vec::new();
        for (name, t) in state.iter().filter(|(_, t)| t.dtype().is_float() && t.numel() > 0) {
            let values = t.try_to_vec::<f64>()?;
            let tiles: Vec<Picture> = match t.shape()[..] {
                [_, inputs, height, width] if height * width > 1 => {
                    let one = values.chunks(inputs * height * width).take(SHOWN);
                    one.map(|v| Picture::of(v, [inputs, height, width], true)).collect()
                }
                [_, inputs] if first.as_ref() == Some(name) && inputs == input.iter().product::<usize>() => {
                    values.chunks(inputs).take(SHOWN).map(|v| Picture::of(v, input, true)).collect()
                }
                _ => Vec::new(),
            };
            let some = spread::some(t)?;
            let (limits, counts) = tensorboard::histogram(&some, 40);
            let low = some.iter().copied().filter(|x| x.is_finite()).reduce(f64::min);
            let mut layer = json!({ "name": name, "shape": t.shape().to_vec(), "limits": limits, "counts": counts, "low": low });
            if let Some(epochs) = history.remove(name) {
                layer["epochs"] = epochs.into();
            }
            if !tiles.is_empty() {
                add_sheet(&mut layer, &tiles);
            }
            layers.push(layer);
        }
        Ok(
            json!({ "input": input, "classes": network.about.classes, "epoch": network.about.position.epoch, "layers": layers }),
        )
    }

    fn answer(&self, run: &Path, pixels: &[f64]) -> Result<Value, Diagnostic> {
        let network = self.network(run)?;
        let about = &network.about;
        let [channels, height, width] = sides(&about.input_shape);
        if pixels.len() != height * width || about.input_shape.len() != 3 {
            let title =
                format!("the network takes pictures of {height}×{width}, and {} numbers came", pixels.len());
            return Err(Diagnostic::new(Exit::Data, title));
        }
        let of = |all: &[f64], c: usize, other: f64| all.get(c).or(all.first()).copied().unwrap_or(other);
        let known = &about.normalisation;
        let input: Vec<f32> = (0..channels)
            .flat_map(|c| {
                let (mean, std) = (of(&known.mean, c, 0.0), of(&known.std, c, 1.0));
                pixels.iter().map(move |p| ((p.clamp(0.0, 1.0) - mean) / std) as f32)
            })
            .collect();
        let x = Tensor::from_vec(input, [1, channels, height, width]);
        let outputs = Arc::new(Outputs::default());
        let logits = attempt(|| observe(outputs.clone(), || no_grad(|| network.model.call(&x))))?;
        let probabilities = logits.softmax(1).try_to_vec::<f64>()?;
        let mut layers = Vec::new();
        // The whole network's own output, which comes last, is that of its last layer.
        for (path, describe, output) in lock(&outputs.0).iter().filter(|(path, ..)| !path.is_empty()) {
            let values = output.try_to_vec::<f64>()?;
            let shape = output.shape()[1..].to_vec();
            let tiles = match shape[..] {
                [c, h, w] if h * w > 1 => maps(&values, [c, h, w]),
                _ => strip(&values),
            };
            let mut layer = json!({ "name": path, "describe": describe, "shape": shape });
            add_sheet(&mut layer, &tiles);
            layers.push(layer);
        }
        Ok(json!({ "classes": about.classes, "probabilities": probabilities, "layers": layers }))
    }

    fn example(&self, run: &Path, index: usize) -> Result<Vec<u8>, Diagnostic> {
        let data = self.examples(run)?;
        let example = data.test.get(&[index])?;
        let picture = chronicle::picture(example.first(), data.sides(), &data.normalisation)?;
        picture
            .map(|p| p.png(1))
            .ok_or_else(|| Diagnostic::new(Exit::Data, "the examples of this run are no pictures"))
    }
}

/// The channels of an output, all on one scale, from the least value (black) to the greatest (white).
fn maps(values: &[f64], [c, h, w]: [usize; 3]) -> Vec<Picture> {
    let shown = &values[..c.min(SHOWN) * h * w];
    let whole = Picture::of(shown, [1, c.min(SHOWN) * h, w], false);
    whole
        .bytes
        .chunks(h * w)
        .map(|bytes| Picture { channels: 1, height: h, width: w, bytes: bytes.to_vec() })
        .collect()
}

/// Numbers side by side, at most twenty in a row; what is left of the last row is black.
fn strip(values: &[f64]) -> Vec<Picture> {
    let shown = &values[..values.len().min(SHOWN * 20)];
    let width = shown.len().clamp(1, 20);
    let height = shown.len().div_ceil(width).max(1);
    let mut picture = Picture::of(shown, [1, height, width], false);
    picture.bytes.resize(width * height, 0);
    vec![picture]
}

/// Puts tiles as one PNG into a layer, with the size that it has on the page.
fn add_sheet(layer: &mut Value, tiles: &[Picture]) {
    let (h, w) = tiles.first().map_or((1, 1), |p| (p.height, p.width));
    let columns = (WIDTH / (2 * w + 2)).clamp(1, 8).min(tiles.len().max(1));
    let rows = tiles.len().div_ceil(columns).max(1);
    let zoom = (WIDTH / (columns * (w + 1))).clamp(1, 12);
    // A pixel apart, and each pixel as large as there is room for.
    layer["sheet"] = report::base64(&plot::tiles(tiles, columns, zoom, 2)).into();
    layer["width"] = (columns * (w * zoom + 2) + 2).into();
    layer["height"] = (rows * (h * zoom + 2) + 2).into();
}

/// What a person reads of an error.
fn words(found: Diagnostic) -> String {
    found.title().to_string()
}

impl Network for Viewer {
    fn layers(&self, run: &Path) -> Result<Value, String> {
        self.weights(run).map_err(words)
    }
    fn draw(&self, run: &Path, pixels: &[f64]) -> Result<Value, String> {
        self.answer(run, pixels).map_err(words)
    }
    fn picture(&self, run: &Path, index: usize) -> Result<Vec<u8>, String> {
        self.example(run, index).map_err(words)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_are_laid_out() {
        let channels = maps(&[0.0, 1.0, 2.0, 4.0, 0.0, 0.0, 0.0, 8.0], [2, 2, 2]);
        assert_eq!(
            channels.iter().map(|p| p.bytes.clone()).collect::<Vec<_>>(),
            [[0, 32, 64, 128], [0, 0, 0, 255]]
        );
        let row = strip(&vec![1.0; 45]);
        assert_eq!((row[0].width, row[0].height, row[0].bytes.len()), (20, 3, 60));
        let mut layer = json!({});
        add_sheet(&mut layer, &channels);
        assert_eq!((&layer["width"], &layer["height"]), (&json!(54), &json!(28)));
    }
}
