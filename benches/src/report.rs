//! Lines for people and for machines, and a baseline to compare them with.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::Path;

use cotangent::device::cpu::isa;
use serde::{Deserialize, Serialize};

use crate::timing::{Found, quantile};
use crate::{Error, Result, Row};

/// What a figure counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Unit {
    /// Time.
    #[serde(rename = "s")]
    Seconds,
    /// Memory.
    #[serde(rename = "bytes")]
    Bytes,
}

/// What was found for one row; one JSON object on a line.
#[derive(Clone, Debug, Serialize)]
pub struct Line {
    /// The row's name.
    pub name: String,
    /// Half of the samples are lower.
    pub median: f64,
    /// A tenth of the samples is lower.
    pub p10: f64,
    /// Nine tenths of the samples are lower.
    pub p90: f64,
    /// The lowest sample.
    pub min: f64,
    /// Of the figures above.
    pub unit: Unit,
    /// How many samples.
    pub samples: usize,
    /// Seconds of work before the first sample.
    pub warm_up_s: f64,
    /// Worker threads.
    pub threads: usize,
    /// The instruction set of the kernels.
    pub isa: &'static str,
    /// Other figures by name.
    #[serde(flatten)]
    pub more: BTreeMap<&'static str, f64>,
}

impl Line {
    pub(crate) fn new(row: &Row, found: Found, threads: usize) -> Self {
        let mut sorted = found.samples;
        sorted.sort_by(f64::total_cmp);
        let [min, p10, median, p90] = [0.0, 0.1, 0.5, 0.9].map(|q| quantile(&sorted, q));
        let (name, isa, samples) = (row.name.clone(), isa().name(), sorted.len());
        let (unit, warm_up_s, more) = (row.unit, found.warm_up, found.more);
        Line { name, median, p10, p90, min, unit, samples, warm_up_s, threads, isa, more }
    }

    /// For machines: one JSON object on one line.
    pub fn json(&self) -> String {
        // Keys are words and values are numbers: nothing here can fail.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// For people: one line, with how it compares where that is known.
    pub fn text(&self, baseline: Option<&Baseline>) -> String {
        match baseline.and_then(|b| b.ratio(self)) {
            Some(ratio) => format!("{self}   {ratio:.2}× of the baseline's speed"),
            None => self.to_string(),
        }
    }
}

/// Three digits and a unit.
fn figure(x: f64, unit: Unit) -> String {
    let scales: &[(f64, &str)] = match unit {
        Unit::Seconds => &[(1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns")],
        Unit::Bytes => &[(1048576.0, "MiB"), (1024.0, "KiB"), (1.0, "B")],
    };
    let fits = scales.iter().find(|(scale, _)| x >= *scale);
    let (scale, name) = fits.or(scales.last()).copied().unwrap_or((1.0, ""));
    let y = x / scale;
    let digits = if y < 10.0 { 2 } else { usize::from(y < 100.0) };
    format!("{y:.digits$} {name}")
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [median, p10, p90] = [self.median, self.p10, self.p90].map(|x| figure(x, self.unit));
        write!(f, "{:<58} {median:>9}", self.name)?;
        if self.samples > 1 {
            write!(f, "   ({p10} to {p90}, {} samples)", self.samples)?;
        }
        self.more.iter().try_for_each(|(name, x)| write!(f, "   {name} {x:.4}"))
    }
}

/// Medians that were found before, by name.
#[derive(Clone, Debug)]
pub struct Baseline(HashMap<String, f64>);

impl Baseline {
    /// From the lines that `--json` wrote.
    ///
    /// # Errors
    /// When the file cannot be read, or a line is no JSON object with a name and a median.
    pub fn read(path: &Path) -> Result<Self> {
        #[derive(Deserialize)]
        struct Known {
            name: String,
            median: f64,
        }
        let text =
            std::fs::read_to_string(path).map_err(Error::io(format!("cannot read {}", path.display())))?;
        let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
        let known = lines.map(|(i, line)| {
            let known: Known = serde_json::from_str(line).map_err(|e| Error::Baseline {
                path: path.display().to_string(),
                line: i + 1,
                message: e.to_string(),
            })?;
            Ok((known.name, known.median))
        });
        Ok(Baseline(known.collect::<Result<_>>()?))
    }

    /// How many times less a line found now than was found before.
    pub fn ratio(&self, line: &Line) -> Option<f64> {
        self.0.get(&line.name).map(|before| before / line.median)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_three_digits() {
        let seconds = [2.0, 0.0123, 4.567e-6, 3e-10].map(|x| figure(x, Unit::Seconds));
        assert_eq!(seconds, ["2.00 s", "12.3 ms", "4.57 µs", "0.30 ns"]);
        assert_eq!(figure(3.5 * 1048576.0, Unit::Bytes), "3.50 MiB");
    }

    #[test]
    fn a_baseline_is_read_back_and_a_bad_line_is_named() {
        let row = Row::new("a/b", "", |_| Ok(Found::default()));
        let line = Line::new(&row, Found { samples: vec![3.0, 1.0, 2.0], ..Found::default() }, 2);
        assert_eq!((line.min, line.median, line.samples), (1.0, 2.0, 3));
        let path = std::env::temp_dir().join(format!("cotangent-baseline-{}", std::process::id()));
        let json = Line { median: 4.0, ..line.clone() }.json();
        assert!(json.contains("\"unit\":\"s\""), "{json}");
        std::fs::write(&path, format!("{json}\n\n")).unwrap();
        let baseline = Baseline::read(&path).unwrap();
        assert_eq!(baseline.ratio(&line), Some(2.0));
        assert!(line.text(Some(&baseline)).ends_with("2.00× of the baseline's speed"));
        std::fs::write(&path, format!("{json}\nmedian 3\n")).unwrap();
        let error = Baseline::read(&path).unwrap_err();
        assert!(error.to_string().contains("line 2") && error.help().contains("--json"), "{error}");
        std::fs::remove_file(path).unwrap();
    }
}
