//! `cotangent lr-find`: a learning-rate range test. The rate grows by the same factor at every step; where the smoothed
//! loss falls fastest is a good rate, and where it rises again is too high (Smith 2015; fastai's `lr_find`).

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use cotangent::nn::ParametersExt;
use cotangent::ops::ExpectFinite;
use cotangent::optim::Optimizer;
use cotangent::{Op, attempt};
use cotangent_board::plot::{self, Chart, Line};
use serde_json::json;

use crate::config::Config;
use crate::config::layers::Layers;
use crate::console::Console;
use crate::data::{Data, count};
use crate::diagnostic::{Diagnostic, Exit};
use crate::drawing;
use crate::flags::{Global, Settings};
use crate::machine;
use crate::model;
use crate::rate;
use crate::trainer::{self, Manner};

/// `cotangent lr-find`
#[derive(Args, Debug)]
#[command(after_help = AFTER)]
pub(crate) struct Flags {
    /// Settings as of `train`.
    #[command(flatten)]
    settings: Settings,
    /// The first rate
    #[arg(long, value_name = "RATE", default_value_t = 1e-6)]
    from: f64,
    /// The last rate
    #[arg(long, value_name = "RATE", default_value_t = 10.0)]
    to: f64,
    /// Steps between them
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(10..=100_000))]
    steps: u32,
    /// Where to draw the curve
    #[arg(long, value_name = "FILE", default_value = "lr-find.svg")]
    plot: PathBuf,
}

const AFTER: &str = "\
Settings are those of `train`, but for the rate and its schedule; no run is
begun.

Examples:
  cotangent lr-find
  cotangent lr-find --optim adam --data folder:photos --steps 100
  cotangent lr-find --json | jq .suggestion";

/// The share of the old in the smoothed loss.
const SMOOTH: f64 = 0.9;
/// The test ends where the smoothed loss is so many times the lowest.
const WORSE: f64 = 4.0;

/// A step of the test.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Point {
    rate: f64,
    loss: f64,
    smooth: f64,
}

/// Tests rates.
pub(crate) fn run(flags: &Flags, global: &Global, console: &mut Console) -> Result<Exit, Diagnostic> {
    let fine = |x: f64| x.is_finite() && x > 0.0;
    if !fine(flags.from) || !fine(flags.to) || flags.from >= flags.to {
        let title = format!(
            "`--from` {} and `--to` {} must be finite, above 0 and in this order",
            flags.from, flags.to
        );
        return Err(Diagnostic::new(Exit::Usage, title).help("`--from 1e-6 --to 10` covers most networks"));
    }
    drawing::can_be(&flags.plot)?;
    let layers = flags.settings.layers(global)?;
    let (config, _) = layers.merge()?;
    let points = machine::with_threads(machine::threads(config.threads), || test(flags, &config, &layers))?;
    let suggestion = steepest(&points);
    let lowest = points.iter().copied().min_by(|a, b| a.smooth.total_cmp(&b.smooth));
    // What was found is said, also where it cannot be drawn.
    let drawn = draw(flags, &points, suggestion);
    if console.json() {
        let all: Vec<_> =
            points.iter().map(|p| json!({ "lr": p.rate, "loss": p.loss, "smoothed": p.smooth })).collect();
        console.print_json(&json!({
            "suggestion": suggestion, "lowest": lowest.map(|p| p.rate), "plot": flags.plot, "steps": all,
        }))?;
        return drawn.map(|()| Exit::Success);
    }
    console.print(&format!("{:>10}{:>10}", "lr", "loss"))?;
    let every = points.len().div_ceil(20).max(1);
    for p in points.iter().step_by(every) {
        console.print(&format!("{:>10.2e}{:>10.4}", p.rate, p.smooth))?;
    }
    console.print("")?;
    match (suggestion, lowest) {
        (Some(rate), Some(lowest)) => {
            console.print(&format!("suggestion: --lr {rate:.1e}  (the loss falls fastest there)"))?;
            let broke = points.last().is_some_and(|last| last.rate > lowest.rate * 1.5);
            console.print(&match broke {
                true => format!("lowest loss at {:.1e}; above it training breaks", lowest.rate),
                false => {
                    format!("the loss still falls at {:.1e}; `--to` a higher rate shows more", lowest.rate)
                }
            })?;
        }
        _ => console
            .print("no suggestion: the loss does not fall; try `--from 1e-8`, or look at the examples")?,
    }
    drawn?;
    console.print(&flags.plot.display().to_string())?;
    Ok(Exit::Success)
}

/// Trains with a growing rate until the loss is far above its lowest.
fn test(flags: &Flags, config: &Config, layers: &Layers) -> Result<Vec<Point>, Diagnostic> {
    let device = machine::device(config.device)?;
    let data = Data::load(&config.data, config.seed, None)?;
    let batch = config.data.batch.min(count(&data.train));
    let place = |problem| layers.place(&problem);
    let classes = data.classes.len();
    let architecture = config.into();
    let (network, _) = model::build_at(&architecture, &data.shape, classes, config.seed, batch, &place)?;
    model::must_train(&architecture, &data.shape, classes, &config.data, count(&data.train), &place)?;
    network.to_device(&device);
    let optimizer: Arc<dyn Optimizer> = rate::optimizer(&config.optim).into();
    let manner = Manner::new(config, data.weights(config.train.class_weights.as_ref())?);
    let mut step = trainer::recorded(&network, &optimizer, &manner);
    let loader = data.batches(&config.data, config.seed);
    let factor = (flags.to / flags.from).powf(1.0 / f64::from(flags.steps - 1));
    let mut points: Vec<Point> = Vec::new();
    let (mut mean, mut lowest) = (0.0, f64::INFINITY);
    for epoch in 0.. {
        let before = points.len();
        for batch in loader.epoch(epoch)? {
            let k = points.len() as i32;
            if k >= flags.steps as i32 {
                return Ok(points);
            }
            let rate = flags.from * factor.powi(k);
            let [x, y] = batch?.into_array();
            optimizer.rate().put(rate);
            let loss = match attempt(|| step.run([&x.to(&device), &y.to(&device)])).flatten() {
                Ok((loss, _)) => loss.item(),
                Err(cotangent::Error::Fault(f)) if f.verb == ExpectFinite.name() => return Ok(points),
                Err(other) => return Err(other.into()),
            };
            mean = SMOOTH * mean + (1.0 - SMOOTH) * loss;
            let smooth = mean / (1.0 - SMOOTH.powi(k + 1));
            lowest = lowest.min(smooth);
            points.push(Point { rate, loss, smooth });
            if smooth > WORSE * lowest {
                return Ok(points);
            }
        }
        if points.len() == before {
            return Err(Diagnostic::new(Exit::Usage, "there is no whole batch to train on")
                .help("a smaller `--batch`, or no `drop_last`"));
        }
    }
    Ok(points)
}

/// The rate at which the smoothed loss falls fastest over the logarithm of the rate, before its lowest point.
fn steepest(points: &[Point]) -> Option<f64> {
    let end = (0..points.len()).min_by(|a, b| points[*a].smooth.total_cmp(&points[*b].smooth))?;
    // Over a tenth of the way, so that single batches decide nothing.
    let width = (points.len() / 10).max(2);
    let slope = |i: usize| points[i + width].smooth - points[i].smooth;
    let best = (0..(end + 1).saturating_sub(width)).min_by(|a, b| slope(*a).total_cmp(&slope(*b)))?;
    (slope(best) < 0.0).then(|| points[best + width / 2].rate)
}

fn draw(flags: &Flags, points: &[Point], suggestion: Option<f64>) -> Result<(), Diagnostic> {
    let line = |name: &str, colour: usize, y: &dyn Fn(&Point) -> f64| Line {
        name: name.into(),
        points: points.iter().map(|p| (p.rate.log10(), y(p))).collect(),
        dashed: colour > 0,
        colour,
    };
    let mut lines = vec![line("smoothed loss", 0, &|p| p.smooth), line("loss of a batch", 1, &|p| p.loss)];
    if let Some(rate) = suggestion {
        let ends = points.iter().map(|p| p.smooth);
        let (low, high) = ends.fold((f64::MAX, f64::MIN), |(low, high), x| (x.min(low), x.max(high)));
        let x = rate.log10();
        lines.push(Line {
            name: format!("suggestion {rate:.1e}"),
            points: vec![(x, low), (x, high)],
            dashed: true,
            colour: 2,
        });
    }
    let chart = Chart {
        title: "Learning-rate range test".into(),
        x: "log₁₀ of the rate".into(),
        y: "training loss".into(),
        lines,
        ..Chart::default()
    };
    drawing::write(&flags.plot, &plot::lines(&chart))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_steepest_fall_is_found_and_a_rise_gives_none() {
        let curve = |f: &dyn Fn(f64) -> f64| -> Vec<Point> {
            let rates = (0..100).map(|k| 10_f64.powf(-5.0 + 0.05 * f64::from(k)));
            rates.map(|rate| Point { rate, loss: f(rate), smooth: f(rate) }).collect()
        };
        // Falls around 10⁻², rises from 10⁻¹ on.
        let found = steepest(&curve(&|r| 2.0 / (1.0 + (r / 0.01).powi(2)) + 10.0 * r * r)).unwrap();
        assert!((0.003..0.03).contains(&found), "{found}");
        assert_eq!(steepest(&curve(&|r| 1.0 + r)), None);
        assert_eq!(steepest(&[]), None);
    }
}
