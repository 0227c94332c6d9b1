//! What a run writes about itself beside its checkpoints: `steps.csv`, TensorBoard's events, `evaluation.json`, and at
//! its end the plots and `report.html`.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

use cotangent::data::Dataset;
use cotangent::nn::{Call, ParametersExt};
use cotangent::{Tensor, attempt, no_grad};
use cotangent_board::plot::{self, Picture};
use cotangent_board::report;
use cotangent_board::runs::{self, Mistake, Run};
use cotangent_board::tensorboard::EventFile;

use crate::checkpoint::Normalisation;
use crate::config::LogConfig;
use crate::data::Data;
use crate::diagnostic::{Diagnostic, Exit};
use crate::drawing;
use crate::evaluation::Evaluation;
use crate::events::{Figures, Stride};
use crate::model::Model;
use crate::run_folder::{RunFolder, make_plots, write_unsynced};
use crate::spread::{self, Spread};

/// Mistakes that are shown.
const SHOWN: usize = 40;
/// Wrong examples that are looked at again, to find the worst.
const WEIGHED: usize = 2000;
/// Test examples whose predictions are kept one by one.
const LISTED: usize = 100_000;
/// Filters that are drawn.
const FILTERS: usize = 64;

/// What is written while a run goes on.
pub(crate) struct Chronicle {
    every: u64,
    plots: bool,
    events: Option<EventFile>,
    /// Examples since the last row of `steps.csv`, and when that was.
    examples: u64,
    since: Instant,
}

/// One step as it goes into `steps.csv`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// Steps since the run began, this one included.
    pub(crate) step: u64,
    /// 1, 2, 3, …
    pub(crate) epoch: u64,
    /// The rate of this step.
    pub(crate) lr: f64,
    /// Mean loss of its examples.
    pub(crate) loss: f64,
    /// How many of them were classified rightly.
    pub(crate) correct: u64,
    /// How many there were.
    pub(crate) examples: u64,
}

fn unwritten(folder: &RunFolder) -> impl Fn(io::Error) -> Diagnostic {
    let path = folder.path().to_path_buf();
    move |e| Diagnostic::io(Exit::Failure, "cannot write TensorBoard's events in", &path, &e)
}

impl Chronicle {
    /// For a run that begins, or goes on after `step`.
    pub(crate) fn new(log: &LogConfig, folder: &RunFolder, step: u64) -> Result<Self, Diagnostic> {
        let events = match (log.tensorboard, step) {
            (false, _) => None,
            (true, 0) if !folder.is_resumed() => Some(EventFile::create(folder.path())),
            (true, step) => Some(EventFile::resume(folder.path(), step.cast_signed())),
        };
        let events = events.transpose().map_err(unwritten(folder))?;
        Ok(Chronicle { every: log.every, plots: log.plots, events, examples: 0, since: Instant::now() })
    }

    /// The steps of an epoch begin now: what was done before is not their time.
    pub(crate) fn begin(&mut self) {
        (self.examples, self.since) = (0, Instant::now());
    }

    /// A step is done; every so often it is written down, and what was written is returned.
    pub(crate) fn step(&mut self, folder: &RunFolder, pace: Pace) -> Result<Option<Stride>, Diagnostic> {
        self.examples += pace.examples;
        if self.every == 0 || !pace.step.is_multiple_of(self.every) {
            return Ok(None);
        }
        let spent = self.since.elapsed().as_secs_f64();
        let stride = Stride {
            step: pace.step,
            epoch: pace.epoch,
            lr: pace.lr,
            loss: pace.loss,
            acc: pace.correct as f64 / pace.examples as f64,
            examples_per_second: if spent > 0.0 { (self.examples as f64 / spent).round() } else { 0.0 },
        };
        self.begin();
        folder.append_step(&stride)?;
        if let Some(events) = &mut self.events {
            let values =
                [("step/loss", stride.loss), ("step/accuracy", stride.acc), ("step/rate", stride.lr)];
            events.scalars(pace.step.cast_signed(), &values).map_err(unwritten(folder))?;
        }
        Ok(Some(stride))
    }

    /// An epoch is done and evaluated.
    pub(crate) fn epoch(
        &mut self,
        folder: &RunFolder,
        figures: &Figures,
        test: &Evaluation,
        data: &Data,
        model: &Model,
        spreads: &[Spread],
    ) -> Result<(), Diagnostic> {
        write_evaluation(folder, &evaluation(figures.epoch, test, &data.classes, Vec::new()))?;
        folder.append_layers(&spread::rows(figures.epoch, spreads))?;
        let Some(events) = &mut self.events else { return Ok(()) };
        let step = figures.step.cast_signed();
        let mut values = vec![
            ("train/loss", figures.train_loss),
            ("train/accuracy", figures.train_acc),
            ("test/loss", figures.test_loss),
            ("test/accuracy", figures.test_acc),
            ("test/macro_f1", figures.test_macro_f1),
            ("test/balanced_accuracy", figures.test_balanced_acc),
            ("train/rate", figures.lr),
        ];
        let val = [
            ("val/loss", figures.val_loss),
            ("val/accuracy", figures.val_acc),
            ("val/macro_f1", figures.val_macro_f1),
            ("val/balanced_accuracy", figures.val_balanced_acc),
        ];
        values.extend(val.into_iter().filter_map(|(name, x)| Some((name, x?))));
        let state = model.state_dict();
        let written = (|| {
            events.scalars(step, &values)?;
            for (name, t) in state.iter().filter(|(_, t)| t.dtype().is_float()) {
                let some = spread::some(t).map_err(io::Error::other)?;
                events.histogram(step, &format!("weights/{name}"), &some)?;
            }
            for Spread { name, ratio, gradients, .. } in spreads.iter().filter(|s| !s.gradients.is_empty()) {
                events.histogram(step, &format!("gradients/{name}"), gradients)?;
                events.scalars(step, &[(&format!("update_to_weight/{name}"), *ratio)])?;
            }
            if let Some((layer, tiles)) = filters(&state, data.sides()) {
                let [width, height] = size(&tiles);
                let png = plot::tiles(&tiles, 8, 4, 2);
                events.image(step, &format!("filters/{layer}"), [width, height], &png)?;
            }
            Ok(())
        })();
        written.map_err(unwritten(folder))
    }

    /// The run ends: plots and the report, unless they are not wanted. `test` is its last evaluation.
    pub(crate) fn conclude(
        &self,
        folder: &RunFolder,
        epoch: u64,
        test: Option<&Evaluation>,
        data: &Data,
        model: &Model,
    ) -> Result<(), Diagnostic> {
        if !self.plots {
            return Ok(());
        }
        let plots = make_plots(folder.path())?;
        if let Some(test) = test {
            let worst = worst(model, data, test)?;
            let found = evaluation(epoch, test, &data.classes, worst);
            write_evaluation(folder, &found)?;
            let table = plot::confusion(&found.classes, &found.confusion);
            drawing::beside(&plots, "confusion", &table)?;
            if !found.mistakes.is_empty() {
                drawing::beside(&plots, "mistakes", &report::mistakes(&found))?;
            }
        }
        if let Some((layer, tiles)) = filters(&model.state_dict(), data.sides()) {
            let file = plots.join(format!("filters-{layer}.png"));
            write_unsynced(&file, &sheet(&tiles))?;
        }
        let run = Run::read(folder.path());
        draw(folder.path(), &run)?;
        Ok(())
    }
}

/// The curves of a run as files, and its report, whose path is returned.
pub(crate) fn draw(folder: &Path, run: &Run) -> Result<PathBuf, Diagnostic> {
    let plots = make_plots(folder)?;
    for (name, chart) in report::charts(run) {
        drawing::beside(&plots, name, &plot::lines(&chart))?;
    }
    let page = folder.join("report.html");
    write_unsynced(&page, report::html(run).as_bytes())?;
    Ok(page)
}

/// What goes into `evaluation.json`.
fn evaluation(epoch: u64, test: &Evaluation, classes: &[String], mistakes: Vec<Mistake>) -> runs::Evaluation {
    let listed = test.predicted.len() <= LISTED;
    let list = |all: &[u32]| if listed { all.to_vec() } else { Vec::new() };
    runs::Evaluation {
        v: 1,
        epoch,
        classes: classes.to_vec(),
        confusion: test.confusion.clone(),
        predicted: list(&test.predicted),
        truth: list(&test.truth),
        mistakes,
    }
}

fn write_evaluation(folder: &RunFolder, found: &runs::Evaluation) -> Result<(), Diagnostic> {
    let path = folder.path().join(runs::EVALUATION);
    let bytes = serde_json::to_vec(found)
        .map_err(|e| Diagnostic::io(Exit::Failure, "cannot write", &path, &e.into()))?;
    write_unsynced(&path, &bytes)
}

/// The wrong test examples with the greatest loss, and how they look.
fn worst(model: &Model, data: &Data, test: &Evaluation) -> Result<Vec<Mistake>, Diagnostic> {
    let wrong = (0..test.truth.len()).filter(|i| test.truth[*i] != test.predicted[*i]);
    let wrong: Vec<usize> = wrong.take(WEIGHED).collect();
    let mut found: Vec<Mistake> = Vec::new();
    model.eval();
    let looked = (|| {
        for some in wrong.chunks(250) {
            let batch = data.test.get(some)?;
            let Some(x) = batch.first() else { continue };
            let device = model.parameters().first().map(|(_, p)| p.value().device());
            let x = device.map_or_else(|| x.clone(), |d| x.to(&d));
            let log_p = attempt(|| no_grad(|| model.call(&x).log_softmax(1)))?;
            let log_p = log_p.try_to_vec::<f64>()?;
            for (row, index) in some.iter().enumerate() {
                let (truth, predicted) = (test.truth[*index] as usize, test.predicted[*index] as usize);
                let of = |class: usize| log_p[row * data.classes.len() + class];
                let (probability, loss) = (of(predicted).exp(), -of(truth));
                found.push(Mistake {
                    index: *index,
                    name: data.test_names.get(*index).cloned().unwrap_or_default(),
                    truth,
                    predicted,
                    probability,
                    loss,
                    png: String::new(),
                });
            }
        }
        Ok::<(), Diagnostic>(())
    })();
    model.train();
    looked?;
    found.sort_by(|a, b| b.loss.total_cmp(&a.loss));
    found.truncate(SHOWN);
    for mistake in &mut found {
        if let Some(picture) =
            picture(data.test.get(&[mistake.index])?.first(), data.sides(), &data.normalisation)?
        {
            mistake.png = report::base64(&picture.png(1));
        }
    }
    Ok(found)
}

/// An example as it looked before it was normalised; nothing where it is no picture.
pub(crate) fn picture(
    x: Option<&Tensor>,
    shape: [usize; 3],
    normalisation: &Normalisation,
) -> Result<Option<Picture>, Diagnostic> {
    let [channels, height, width] = shape;
    let Some(x) = x.filter(|_| height > 1 && width > 1) else { return Ok(None) };
    let shown = if channels == 3 { 3 } else { 1 };
    let values = x.try_to_vec::<f64>()?;
    let number = |i: usize, x: f64| {
        let c = i / (height * width);
        let of = |all: &[f64], other: f64| all.get(c).or(all.first()).copied().unwrap_or(other);
        x * of(&normalisation.std, 1.0) + of(&normalisation.mean, 0.0)
    };
    let values = values.into_iter().take(shown * height * width).enumerate();
    let numbers: Vec<f64> = values.map(|(i, x)| number(i, x)).collect();
    // What is no level of a picture is shown between its own extremes.
    let (low, high) = match normalisation.scale < 1.0 {
        true => (0.0, 1.0),
        false => numbers.iter().fold((f64::MAX, f64::MIN), |(low, high), x| (x.min(low), x.max(high))),
    };
    let span = if high > low { high - low } else { 1.0 };
    let bytes = numbers.iter().map(|x| ((x - low) / span * 255.0).round().clamp(0.0, 255.0) as u8);
    Ok(Some(Picture { channels: shown, height, width, bytes: bytes.collect() }))
}

/// The weights of the first layer that sees the picture, one tile an output, with the layer's name.
pub(crate) fn filters(state: &[(String, Tensor)], [c, h, w]: [usize; 3]) -> Option<(String, Vec<Picture>)> {
    state.iter().find_map(|(name, t)| {
        let layer = name.strip_suffix(".weight")?;
        let shape = match t.shape()[..] {
            [_, inputs, height, width] if inputs == c && height * width > 1 => [inputs, height, width],
            [_, inputs] if inputs == c * h * w && h * w > 1 => [c, h, w],
            _ => return None,
        };
        let values = t.try_to_vec::<f64>().ok()?;
        let one = shape.iter().product::<usize>();
        let tiles = values.chunks(one).take(FILTERS).map(|values| Picture::of(values, shape, true));
        Some((layer.to_string(), tiles.collect()))
    })
}

/// Filters as one PNG file.
pub(crate) fn sheet(tiles: &[Picture]) -> Vec<u8> {
    plot::tiles(tiles, 8, 12, 4)
}

/// The size of the contact sheet that [`Chronicle::epoch`] makes of tiles.
fn size(tiles: &[Picture]) -> [u32; 2] {
    let (w, h) = tiles.first().map_or((1, 1), |p| (p.width, p.height));
    let columns = tiles.len().clamp(1, 8);
    let rows = tiles.len().div_ceil(columns).max(1);
    [columns * (w * 4 + 2) + 2, rows * (h * 4 + 2) + 2].map(|n| n as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_those_of_the_first_layer_that_sees_the_picture() {
        let t = |shape: &[usize]| Tensor::zeros(shape);
        let state = |all: &[(&str, &[usize])]| -> Vec<(String, Tensor)> {
            all.iter().map(|(name, shape)| ((*name).to_string(), t(shape))).collect()
        };
        let conv = state(&[("conv1.weight", &[6, 1, 5, 5]), ("conv1.bias", &[6]), ("fc.weight", &[10, 784])]);
        let (layer, tiles) = filters(&conv, [1, 28, 28]).unwrap();
        assert_eq!((layer.as_str(), tiles.len(), tiles[0].height), ("conv1", 6, 5));
        assert_eq!(size(&tiles), [6 * 22 + 2, 24]);
        let (layer, tiles) = filters(&state(&[("a.0.weight", &[100, 784])]), [1, 28, 28]).unwrap();
        assert_eq!((layer.as_str(), tiles.len(), tiles[0].width), ("a.0", FILTERS, 28));
        assert!(filters(&state(&[("fc.weight", &[10, 4])]), [4, 1, 1]).is_none());
    }

    #[test]
    fn a_picture_is_what_it_was_before_it_was_normalised() {
        let known = Normalisation::pixels(vec![0.5], vec![0.25]);
        let x = Tensor::from([[[-2.0, 0.0], [2.0, 1.0]]]);
        let found = picture(Some(&x), [1, 2, 2], &known).unwrap().unwrap();
        assert_eq!(found.bytes, [0, 128, 255, 191]);
        assert!(picture(Some(&x), [4, 1, 1], &known).unwrap().is_none());
    }
}
