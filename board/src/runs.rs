//! Reading run folders. Whatever is missing or damaged is named, and the rest is read all the same.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// The name under a folder of runs that leads to the newest one.
pub const LATEST: &str = "latest";
/// What the last evaluation on the test examples found, in a run folder.
pub const EVALUATION: &str = "evaluation.json";
/// After each epoch how every parameter and its gradient were spread, in a run folder.
pub const LAYERS: &str = "layers.csv";
/// The names of its columns. `update_to_weight` is `‖Δw‖/‖w‖` of a step with that gradient, the one of the epoch's last
/// batch, at the rate in the middle of the epoch; counts are those of equally wide bins from the least number to the greatest.
pub const LAYERS_HEADER: &str = "epoch,tensor,update_to_weight,weight_low,weight_high,weight_counts,\
                                 gradient_low,gradient_high,gradient_counts\n";
/// Epochs of it that are shown.
const EPOCHS: usize = 100;
/// No file of a run is longer, except its checkpoints.
const LONGEST: u64 = 64 << 20;

/// A table of numbers with names, such as `metrics.csv`; an empty cell is NaN.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Table {
    /// The names of the columns.
    pub columns: Vec<String>,
    /// The rows, each as long as there are columns.
    pub rows: Vec<Vec<f64>>,
}

impl Table {
    /// Reads CSV with a header. A row that is cut off or holds other than numbers ends the table, and is told of.
    ///
    /// ```
    /// let (table, damage) = cotangent_board::runs::Table::parse("epoch,loss\n1,0.5\n2,\n3,0.");
    /// assert_eq!((table.rows.len(), damage), (3, None));
    /// assert_eq!(table.column("loss").unwrap()[0], 0.5);
    /// ```
    #[must_use]
    pub fn parse(text: &str) -> (Table, Option<String>) {
        let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(text.as_bytes());
        let columns: Vec<String> = match reader.headers() {
            Ok(names) => names.iter().map(String::from).collect(),
            Err(error) => return (Table::default(), Some(error.to_string())),
        };
        let mut table = Table { columns, rows: Vec::new() };
        for (i, record) in reader.records().enumerate() {
            let cells: Option<Vec<f64>> = record.ok().and_then(|record| {
                let number = |cell: &str| if cell.is_empty() { Some(f64::NAN) } else { cell.parse().ok() };
                record.iter().map(number).collect()
            });
            match cells {
                Some(row) if row.len() == table.columns.len() => table.rows.push(row),
                _ => return (table, Some(format!("row {} is no row of numbers", i + 1))),
            }
        }
        (table, None)
    }

    /// The values below a name.
    #[must_use]
    pub fn column(&self, name: &str) -> Option<Vec<f64>> {
        let i = self.columns.iter().position(|c| c == name)?;
        Some(self.rows.iter().map(|row| row[i]).collect())
    }

    /// Pairs of values that are both there.
    #[must_use]
    pub fn points(&self, x: &str, y: &str) -> Vec<(f64, f64)> {
        let (Some(x), Some(y)) = (self.column(x), self.column(y)) else { return Vec::new() };
        x.into_iter().zip(y).filter(|(x, y)| x.is_finite() && y.is_finite()).collect()
    }
}

/// What a network made of the test examples: `evaluation.json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// The version of this structure: 1.
    pub v: u32,
    /// After so many complete epochs.
    pub epoch: u64,
    /// Names of the classes.
    pub classes: Vec<String>,
    /// Row: the true class; column: the predicted one.
    pub confusion: Vec<Vec<u64>>,
    /// What was predicted for each test example, in their order; empty where there are very many.
    #[serde(default)]
    pub predicted: Vec<u32>,
    /// The true classes, likewise.
    #[serde(default)]
    pub truth: Vec<u32>,
    /// The mistakes with the greatest loss.
    #[serde(default)]
    pub mistakes: Vec<Mistake>,
}

/// One of the worst mistakes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Mistake {
    /// Its place among the test examples.
    pub index: usize,
    /// Where it came from, such as its file; empty where nothing but its place is known.
    #[serde(default)]
    pub name: String,
    /// Its class.
    pub truth: usize,
    /// What it was taken for.
    pub predicted: usize,
    /// With which probability.
    pub probability: f64,
    /// −ln of the probability of its class.
    pub loss: f64,
    /// The picture, as a PNG file in Base64.
    pub png: String,
}

impl Mistake {
    /// Its name, or its place.
    #[must_use]
    pub fn called(&self) -> String {
        if self.name.is_empty() { format!("no. {}", self.index) } else { self.name.clone() }
    }
}

/// Precision, recall and F1 of a class.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ByClass {
    /// Examples of the class.
    pub examples: u64,
    /// Of those that were taken for it, the share that is.
    pub precision: f64,
    /// Of those that are, the share that was taken for it.
    pub recall: f64,
    /// Their harmonic mean.
    pub f1: f64,
}

impl Evaluation {
    /// The share of the diagonal.
    #[must_use]
    pub fn accuracy(&self) -> f64 {
        let right: u64 = self.confusion.iter().enumerate().filter_map(|(i, row)| row.get(i)).sum();
        right as f64 / self.confusion.iter().flatten().sum::<u64>() as f64
    }

    /// Figures by class; what would be 0/0 is NaN.
    #[must_use]
    pub fn by_class(&self) -> Vec<ByClass> {
        let cell =
            |i: usize, j: usize| self.confusion.get(i).and_then(|row| row.get(j)).copied().unwrap_or(0);
        let n = self.confusion.len();
        let figures = |c: usize| {
            let examples: u64 = (0..n).map(|j| cell(c, j)).sum();
            let taken: u64 = (0..n).map(|i| cell(i, c)).sum();
            let right = cell(c, c) as f64;
            let (precision, recall) = (right / taken as f64, right / examples as f64);
            ByClass { examples, precision, recall, f1: 2.0 * right / (examples + taken) as f64 }
        };
        (0..n).map(figures).collect()
    }

    /// Whether the sizes fit each other; what was written by something else may not.
    fn is_sound(&self) -> bool {
        let n = self.classes.len();
        let inside = |c: &u32| (*c as usize) < n;
        // Sums of it are taken: by row, by column, and of both.
        let total = self.confusion.iter().flatten().try_fold(0_u64, |sum, x| sum.checked_add(*x));
        self.v == 1
            && total.is_some_and(|all| all <= u64::MAX / 2)
            && self.confusion.len() == n
            && self.confusion.iter().all(|row| row.len() == n)
            && self.truth.len() == self.predicted.len()
            && self.truth.iter().chain(&self.predicted).all(inside)
            && self.mistakes.iter().all(|m| m.truth < n && m.predicted < n)
    }
}

/// A run folder as it was read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Run {
    /// The folder.
    pub path: PathBuf,
    /// Its name.
    pub name: String,
    /// `run.json`.
    pub record: Map<String, Value>,
    /// `metrics.csv`: a row an epoch.
    pub epochs: Table,
    /// `steps.csv`: a row now and then.
    pub steps: Table,
    /// `config.toml`.
    pub config: String,
    /// `model.txt`.
    pub model: String,
    /// `evaluation.json`, where there is one.
    pub evaluation: Option<Evaluation>,
    /// What is missing or damaged, in words.
    pub damage: Vec<String>,
}

impl Run {
    /// Reads a folder.
    #[must_use]
    pub fn read(path: &Path) -> Run {
        let mut run = Run::outline(path);
        let damage = &mut run.damage;
        run.steps = table(path, "steps.csv", damage);
        run.model = text(&path.join("model.txt"), damage).unwrap_or_default();
        if path.join(EVALUATION).exists() {
            let found = text(&path.join(EVALUATION), damage);
            run.evaluation = found.and_then(|t| match serde_json::from_str::<Evaluation>(&t) {
                Ok(found) if found.is_sound() => Some(found),
                Ok(_) => {
                    damage.push(format!("{EVALUATION}: its sizes do not fit each other"));
                    None
                }
                Err(error) => {
                    damage.push(format!("{EVALUATION}: {error}"));
                    None
                }
            });
        }
        run
    }

    /// Reads what a list needs: record, epochs, configuration.
    #[must_use]
    pub fn outline(path: &Path) -> Run {
        let mut damage = Vec::new();
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned());
        let name = name.unwrap_or_else(|| path.display().to_string());
        let record = text(&path.join("run.json"), &mut damage).and_then(|t| match serde_json::from_str(&t) {
            Ok(Value::Object(record)) => Some(record),
            Ok(_) => {
                damage.push("run.json: no JSON object".into());
                None
            }
            Err(error) => {
                damage.push(format!("run.json: {error}"));
                None
            }
        });
        let epochs = table(path, "metrics.csv", &mut damage);
        let config = text(&path.join("config.toml"), &mut damage).unwrap_or_default();
        if let Err(error) = config.parse::<toml::Table>() {
            damage.push(format!("config.toml: {}", error.message()));
        }
        let record = record.unwrap_or_default();
        Run { path: path.into(), name, record, epochs, config, damage, ..Run::default() }
    }

    /// How the run stands: what `run.json` says, or `died` where it says `running` and its process is gone, or
    /// `unknown`.
    #[must_use]
    pub fn status(&self) -> &str {
        match self.text("status") {
            "running" if !self.is_alive() => "died",
            "" => "unknown",
            status => status,
        }
    }

    /// Whether the process that writes the run is there; where that cannot be asked, it is believed.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        let Some(pid) = self.record.get("pid").and_then(Value::as_u64) else { return true };
        if !Path::new("/proc/self/stat").exists() {
            return true;
        }
        // Numbers of processes come again: the one that writes the run is older than its settings.
        let Some(begun) = begun(pid) else { return false };
        let written = fs::metadata(self.path.join("config.toml")).and_then(|m| m.modified()).ok();
        let written = written.and_then(|t| t.duration_since(UNIX_EPOCH).ok());
        written.is_none_or(|t| begun <= t.as_secs() + 5)
    }

    /// A text of the record; empty where it says nothing.
    #[must_use]
    pub fn text(&self, key: &str) -> &str {
        self.record.get(key).and_then(Value::as_str).unwrap_or_default()
    }

    /// A number of the record.
    #[must_use]
    pub fn number(&self, key: &str) -> Option<f64> {
        self.record.get(key).and_then(Value::as_f64)
    }

    /// The last value of a column of the epochs.
    #[must_use]
    pub fn last(&self, column: &str) -> Option<f64> {
        self.epochs.column(column)?.last().copied().filter(|x| x.is_finite())
    }

    /// The greatest value of a column of the epochs.
    #[must_use]
    pub fn greatest(&self, column: &str) -> Option<f64> {
        self.epochs.column(column)?.into_iter().filter(|x| x.is_finite()).reduce(f64::max)
    }

    /// Seconds of training steps so far.
    #[must_use]
    pub fn seconds(&self) -> Option<f64> {
        let all = self.epochs.column("train_seconds")?;
        (!all.is_empty()).then(|| all.iter().filter(|x| x.is_finite()).sum())
    }

    /// Settings by their keys with dots, in their order.
    #[must_use]
    pub fn settings(&self) -> Vec<(String, String)> {
        fn walk(prefix: &str, table: &toml::Table, all: &mut Vec<(String, String)>) {
            for (key, value) in table {
                let key = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
                match value {
                    toml::Value::Table(inner) => walk(&key, inner, all),
                    // TOML writes no exponents: 1e30 would be thirty-one digits.
                    toml::Value::Float(x) if *x != 0.0 && !(1e-4..1e15).contains(&x.abs()) => {
                        all.push((key, format!("{x:e}")));
                    }
                    other => all.push((key, other.to_string())),
                }
            }
        }
        let mut all = Vec::new();
        if let Ok(table) = self.config.parse::<toml::Table>() {
            walk("", &table, &mut all);
        }
        all
    }

    /// The last lines of `log.txt`.
    #[must_use]
    pub fn log(&self, lines: usize) -> Vec<String> {
        let text = text(&self.path.join("log.txt"), &mut Vec::new()).unwrap_or_default();
        let all: Vec<&str> = text.lines().collect();
        all[all.len().saturating_sub(lines)..].iter().map(|l| (*l).to_string()).collect()
    }

    /// Files `plots/filters-LAYER.png` with the names of their layers.
    #[must_use]
    pub fn filters(&self) -> Vec<(String, Vec<u8>)> {
        let entries = fs::read_dir(self.path.join("plots")).into_iter().flatten().flatten();
        let mut found: Vec<(String, Vec<u8>)> = entries
            .filter_map(|entry| {
                let name = entry.file_name().into_string().ok()?;
                let layer = name.strip_prefix("filters-")?.strip_suffix(".png")?.to_string();
                Some((layer, bytes(&entry.path()).ok()?))
            })
            .collect();
        found.sort();
        found
    }
}

/// What [`LAYERS`] says of each parameter, oldest epoch first; of very many epochs some, the newest among them.
/// Rows that are damaged are left out.
#[must_use]
pub fn layers(run: &Path) -> BTreeMap<String, Vec<Value>> {
    let mut found = BTreeMap::<String, Vec<Value>>::new();
    let text = text(&run.join(LAYERS), &mut Vec::new()).unwrap_or_default();
    for line in text.lines().skip(1) {
        let cells: Vec<&str> = line.split(',').collect();
        let [epoch, name, ratio, weights @ .., a, b, c] = &cells[..] else { continue };
        let (Ok(epoch), [low, high, counts]) = (epoch.parse::<u64>(), weights) else { continue };
        let number = |cell: &str| cell.parse::<f64>().ok();
        let bars = |low: &str, high: &str, counts: &str| {
            let counts: Vec<u64> = counts.split(' ').filter_map(|n| n.parse().ok()).collect();
            json!({ "low": number(low), "limits": [number(high)], "counts": counts })
        };
        let (weights, gradients) = (bars(low, high, counts), bars(a, b, c));
        found.entry((*name).into()).or_default().push(
            json!({ "epoch": epoch, "ratio": number(ratio), "weights": weights, "gradients": gradients }),
        );
    }
    for all in found.values_mut() {
        let (n, stride) = (all.len(), all.len().div_ceil(EPOCHS).max(1));
        let mut i = 0;
        all.retain(|_| {
            i += 1;
            (n - i).is_multiple_of(stride)
        });
    }
    found
}

/// A value of `run.json` as it is shown: texts without quotes, lists as a shell takes them.
///
/// ```
/// use cotangent_board::runs::words;
/// assert_eq!(words(&serde_json::json!(["--data", "folder:my photos", 3])), "--data 'folder:my photos' 3");
/// ```
#[must_use]
pub fn words(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(all) => all.iter().map(|v| quoted(&words(v))).collect::<Vec<_>>().join(" "),
        other => other.to_string(),
    }
}

/// The text as one word of a POSIX shell.
///
/// ```
/// use cotangent_board::runs::quoted;
/// assert_eq!(["a=b", "a b", "it's"].map(quoted), ["a=b", "'a b'", "'it'\\''s'"]);
/// ```
#[must_use]
pub fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "_-./:=@%+,".contains(c);
    match !text.is_empty() && text.chars().all(plain) {
        true => text.into(),
        false => format!("'{}'", text.replace('\'', "'\\''")),
    }
}

/// Whether a folder looks like a run's.
#[must_use]
pub fn is_run(path: &Path) -> bool {
    path.is_dir() && (path.join("run.json").is_file() || path.join("checkpoints").is_dir())
}

/// When a process of Linux began, in seconds since 1970: the machine's beginning and so many hundredths of a second.
fn begun(pid: u64) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is a name in brackets, with anything in it; the time is the 22nd.
    let ticks: u64 = stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()?;
    let machine = fs::read_to_string("/proc/stat").ok()?;
    let boot: u64 = machine.lines().find_map(|l| l.strip_prefix("btime "))?.trim().parse().ok()?;
    Some(boot + ticks / 100)
}

/// The run folders in `folder`, by name; `latest` is none of them, nor is a link.
///
/// # Errors
/// The folder cannot be read.
pub fn list(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let hidden = path.file_name().is_some_and(|n| n.as_encoded_bytes().starts_with(b"."));
        if !hidden && !path.is_symlink() && is_run(&path) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// The name of the newest run of a folder, as `latest` says.
#[must_use]
pub fn latest(folder: &Path) -> Option<String> {
    let path = folder.join(LATEST);
    let target = if path.is_symlink() {
        fs::read_link(&path).ok()?
    } else {
        text(&path, &mut Vec::new())?.trim().into()
    };
    target.file_name().map(|n| n.to_string_lossy().into_owned())
}

fn bytes(path: &Path) -> io::Result<Vec<u8>> {
    // A pipe or a device under a file's name would be waited for, and so would what /proc/kmsg holds beyond the
    // nothing that it says it holds.
    let about = fs::metadata(path)?;
    if !about.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "no regular file"));
    }
    if about.len() > LONGEST {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "longer than 64 MiB"));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(about.len()).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn text(path: &Path, damage: &mut Vec<String>) -> Option<String> {
    match bytes(path) {
        Ok(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
        Err(error) => {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            damage.push(format!("{name}: {error}"));
            None
        }
    }
}

fn table(run: &Path, name: &str, damage: &mut Vec<String>) -> Table {
    let Some(text) = text(&run.join(name), damage) else { return Table::default() };
    let (table, found) = Table::parse(&text);
    damage.extend(found.map(|what| format!("{name}: {what}")));
    table
}
