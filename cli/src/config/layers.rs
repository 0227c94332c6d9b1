//! Defaults < file < `--set` < flags: merges the layers of a configuration, remembers where each value came from,
//! and underlines the text that does not fit.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::ops::Range;
use std::path::Path;

use toml::de::{DeTable, DeValue};

use super::keys::{KEYS, Shape};
use super::{
    Activation, BestName, ClassWeights, Config, DataConfig, LayerConfig, OptimConfig, PRESETS, Problem,
    SamplerName, TrainConfig,
};
use crate::diagnostic::{Diagnostic, Exit, Place, nearest};
use crate::download::PUBLIC;

/// The key whose value may be a bare name instead of a table.
const SCHEDULE: &str = "optim.schedule";

/// What is said of two settings of one thing.
const SHUFFLED_TWICE: &str = "`data.sampler` is set too: leave one of the two out";

/// What is said of a list in the place of a table.
const NO_TABLE: &str = "invalid type: sequence, expected a table";

/// Where the values of a configuration came from: dotted key → such as `my.toml` or `--lr`.
pub(crate) type Origins = BTreeMap<String, String>;

/// What somebody wrote, as it was written.
#[derive(Debug)]
struct Layer {
    /// Where it was written: the file's path, `--set`, or the flag.
    origin: String,
    /// The name over an underlined line.
    name: String,
    /// The text that is shown.
    text: String,
    /// Its values.
    table: toml::Table,
    /// Dotted key → what to underline.
    spans: BTreeMap<String, Spans>,
}

#[derive(Clone, Debug)]
struct Spans {
    key: Range<usize>,
    value: Range<usize>,
    /// Whether the value is a list.
    list: bool,
}

/// The layers of a configuration, lowest first.
#[derive(Debug, Default)]
pub(crate) struct Layers(Vec<Layer>);

impl Layers {
    /// Adds a TOML file.
    pub(crate) fn file(&mut self, path: &Path) -> Result<(), Diagnostic> {
        /// No configuration is longer; a device such as /dev/zero has no end.
        const LONGEST: u64 = 1 << 20;
        let help = "`--config FILE` takes a TOML file such as the config.toml of a run folder";
        let refused = |found: Diagnostic| found.exiting(Exit::Usage).help(help);
        let bytes = match is_opened(path) {
            true => {
                let mut bytes = Vec::new();
                let read = fs::File::open(path).and_then(|file| file.take(LONGEST).read_to_end(&mut bytes));
                read.map(|_| bytes).map_err(|e| Diagnostic::io(Exit::Usage, "cannot read", path, &e))
            }
            false => cotangent_data::read_bytes(path, LONGEST).map_err(Diagnostic::from),
        };
        let text = String::from_utf8(bytes.map_err(refused)?).map_err(|e| {
            let at = e.utf8_error().valid_up_to();
            let what = format!("{}: holds no UTF-8 text (at byte {at})", path.display());
            refused(Diagnostic::new(Exit::Usage, what))
        })?;
        self.text(&path.display().to_string(), text)
    }

    /// Adds TOML text; `name` is shown over an underlined line.
    pub(crate) fn text(&mut self, name: &str, text: String) -> Result<(), Diagnostic> {
        let fail = |span: Option<Range<usize>>, message: &str, spans: &BTreeMap<String, Spans>| {
            let span = span.unwrap_or(0..0);
            explain(message, &key_at(spans, &span), |label| Place {
                name: name.into(),
                text: text.clone(),
                span,
                label,
            })
        };
        let tree = DeTable::parse(&text).map_err(|e| fail(e.span(), e.message(), &BTreeMap::new()))?;
        let mut spans = BTreeMap::new();
        collect("", tree.get_ref(), &mut spans);
        // A list in the place of a table would be taken for the table's values in their order.
        if let Some((_, s)) = spans.iter().find(|(key, s)| s.list && is_table(key) && *key != SCHEDULE) {
            return Err(fail(Some(s.value.clone()), NO_TABLE, &spans));
        }
        toml::from_str::<Config>(&text).map_err(|e| fail(e.span(), e.message(), &spans))?;
        let mut table =
            toml::from_str(&text).map_err(|e: toml::de::Error| fail(e.span(), e.message(), &spans))?;
        name_sampler(&mut table, &mut spans).map_err(|s| fail(Some(s.key), SHUFFLED_TWICE, &spans))?;
        self.0.push(Layer { origin: name.into(), name: name.into(), text, table, spans });
        Ok(())
    }

    /// Adds `KEY=VALUE` of `--set`. The value is TOML; what is not TOML is taken as a string.
    pub(crate) fn set(&mut self, assignment: &str) -> Result<(), Diagnostic> {
        const FLAG: &str = "--set ";
        let shown = format!("{FLAG}{assignment}");
        let place = |span, label: &str| Place {
            name: "command line".into(),
            text: shown.clone(),
            span,
            label: label.into(),
        };
        let Some((key, value)) = assignment.split_once('=') else {
            let title = format!("`{assignment}` is not of the form KEY=VALUE");
            return Err(Diagnostic::new(Exit::Usage, title)
                .at(place(FLAG.len()..shown.len(), "no `=` in it"))
                .help("write such as `--set optim.lr=0.1`"));
        };
        let parts: Vec<&str> = key.trim().split('.').map(str::trim).collect();
        let named = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        let key_span = FLAG.len()..FLAG.len() + key.len();
        if parts.iter().any(|p| p.is_empty() || !p.chars().all(named)) {
            return Err(Diagnostic::new(Exit::Usage, format!("`{}` is not a key", key.trim()))
                .at(place(key_span, "expected names with dots between"))
                .help("write such as `--set optim.lr=0.1`"));
        }
        let value = parse_value(value.trim());
        let spans = Spans { key: key_span.clone(), value: key_span.end + 1..shown.len(), list: false };
        self.assign("--set", shown, spans, &parts, value)
    }

    /// Adds a flag that stands for a key; `shown` is its value as it was written.
    pub(crate) fn flag(
        &mut self,
        flag: &str,
        key: &str,
        value: impl Into<toml::Value>,
        shown: &str,
    ) -> Result<(), Diagnostic> {
        // What stands without a flag, such as `cotangent data info NAME`, is shown alone.
        let text = if flag.is_empty() { shown.to_string() } else { format!("{flag} {shown}") };
        let spans = Spans { key: 0..flag.len(), value: text.len() - shown.len()..text.len(), list: false };
        self.assign(flag, text, spans, &key.split('.').collect::<Vec<_>>(), value.into())
    }

    /// Adds one value of the command line.
    fn assign(
        &mut self,
        origin: &str,
        text: String,
        written: Spans,
        key: &[&str],
        value: toml::Value,
    ) -> Result<(), Diagnostic> {
        let name = "command line".to_string();
        let mut spans = BTreeMap::new();
        let mut prefix = String::new();
        for part in key {
            prefix = join(&prefix, part);
            spans.insert(prefix.clone(), written.clone());
        }
        leaves(&prefix, &value, &mut |leaf, _| {
            spans.insert(leaf.into(), written.clone());
        });
        let is_list = value.is_array();
        let mut tree = value;
        for part in key.iter().rev() {
            tree = toml::Value::Table(toml::Table::from_iter([(part.to_string(), tree)]));
        }
        let toml::Value::Table(mut table) = tree else { unreachable!("a key has at least one part") };
        let fail = |message: &str| {
            let unknown = message.starts_with("unknown field");
            let span = if unknown { written.key.clone() } else { written.value.clone() };
            explain(message, &prefix, |label| Place { name: name.clone(), text: text.clone(), span, label })
        };
        if is_list && is_table(&prefix) && prefix != SCHEDULE {
            return Err(fail(NO_TABLE));
        }
        Config::from_table(&table).map_err(|error| fail(error.message()))?;
        name_sampler(&mut table, &mut spans).map_err(|_| fail(SHUFFLED_TWICE))?;
        self.0.push(Layer { origin: origin.into(), name, text, table, spans });
        Ok(())
    }

    /// The merged, checked configuration with all defaults filled in, and where its values came from.
    pub(crate) fn merge(&self) -> Result<(Config, Origins), Diagnostic> {
        let mut merged = toml::Table::new();
        let mut origins = Origins::new();
        let preset = self.0.iter().rev().find_map(|layer| layer.table.get("preset")?.as_str());
        if let Some(name) = preset.filter(|name| !name.is_empty()) {
            let Some((_, _, text)) = PRESETS.iter().find(|(known, ..)| *known == name) else {
                let all = PRESETS.map(|(name, about, _)| format!("{name} ({about})")).join(", ");
                let problem = Problem::new(
                    "preset",
                    format!("no preset is called `{name}`"),
                    format!("there are {all}"),
                );
                return Err(self.place(&problem));
            };
            let table = text.parse().unwrap_or_default();
            overlay("", &mut merged, &table, &format!("preset {name}"), &mut origins);
        }
        for layer in &self.0 {
            overlay("", &mut merged, &layer.table, &layer.origin, &mut origins);
        }
        if merged.get("layers").is_some_and(|all| all.as_array().is_some_and(Vec::is_empty)) {
            let help = "add them, each as `[[layers]]`, or choose such as `model = \"cnn\"`";
            return Err(self.place(&Problem::new("layers", "`layers` is empty: there are no layers", help)));
        }
        // Every layer was accepted alone, so the types of the merged table are right.
        let config = Config::from_table(&merged);
        let mut config = config.map_err(|error| Diagnostic::new(Exit::Usage, error.message()))?;
        config.resolve().map_err(|problem| self.place(&problem))?;
        Ok((config, origins))
    }

    /// The problem with the text that set the value underlined, if somebody wrote one.
    pub(crate) fn place(&self, problem: &Problem) -> Diagnostic {
        let found = Diagnostic::new(Exit::Usage, problem.title.as_str()).help(problem.help.as_str());
        let written = self.0.iter().rev().find_map(|layer| Some((layer, layer.spans.get(&problem.key)?)));
        match written {
            None => found,
            Some((layer, spans)) => found.at(Place {
                name: layer.name.clone(),
                text: layer.text.clone(),
                span: spans.value.clone(),
                label: String::new(),
            }),
        }
    }
}

/// Takes `data.shuffle` for the sampler that it is short for; where both are written, gives back where.
fn name_sampler(table: &mut toml::Table, spans: &mut BTreeMap<String, Spans>) -> Result<(), Spans> {
    let Some(data) = table.get_mut("data").and_then(toml::Value::as_table_mut) else { return Ok(()) };
    let (Some(on), Some(written)) = (data.remove("shuffle"), spans.get("data.shuffle").cloned()) else {
        return Ok(());
    };
    if data.contains_key("sampler") {
        return Err(written);
    }
    let sampler = if on.as_bool() == Some(false) { SamplerName::Cyclic } else { SamplerName::Shuffled };
    data.insert("sampler".into(), sampler.name().into());
    spans.insert("data.sampler".into(), written);
    Ok(())
}

/// Where the value of a key came from. A schedule's name may be all that was written of it.
pub(crate) fn origin<'a>(origins: &'a Origins, key: &str) -> &'a str {
    let short = || key.strip_suffix(".name").filter(|k| *k == SCHEDULE).and_then(|k| origins.get(k));
    origins.get(key).or_else(short).map_or("default", String::as_str)
}

fn join(prefix: &str, part: &str) -> String {
    if prefix.is_empty() { part.into() } else { format!("{prefix}.{part}") }
}

/// Spans of every key of `table`, tables included.
fn collect(prefix: &str, table: &DeTable<'_>, spans: &mut BTreeMap<String, Spans>) {
    for (key, value) in table {
        let dotted = join(prefix, key.get_ref());
        match value.get_ref() {
            DeValue::Table(inner) => collect(&dotted, inner, spans),
            // Of `[[layers]]`, each by its number; what is underlined is what stands in it.
            DeValue::Array(items) => {
                for (i, item) in items.iter().enumerate() {
                    let DeValue::Table(inner) = item.get_ref() else { continue };
                    let (dotted, item) = (join(&dotted, &i.to_string()), item.span());
                    collect(&dotted, inner, spans);
                    let first =
                        inner.iter().map(|(k, v)| k.span().start..v.span().end).min_by_key(|s| s.start);
                    spans.insert(
                        dotted,
                        Spans { key: item.clone(), value: first.unwrap_or(item), list: false },
                    );
                }
            }
            _ => {}
        }
        let list = matches!(value.get_ref(), DeValue::Array(_));
        spans.insert(dotted, Spans { key: key.span(), value: value.span(), list });
    }
}

/// The key whose value, or the key that itself, holds `span`; the innermost; empty if none does.
fn key_at(spans: &BTreeMap<String, Spans>, span: &Range<usize>) -> String {
    let holds = |outer: &Range<usize>| outer.start <= span.start && span.end <= outer.end;
    let found = spans.iter().filter(|(_, s)| holds(&s.value) || holds(&s.key));
    found.max_by_key(|(key, _)| key.len()).map(|(key, _)| key.clone()).unwrap_or_default()
}

/// A TOML value, or the text itself as a string.
fn parse_value(text: &str) -> toml::Value {
    let as_toml = format!("value = {text}").parse::<toml::Table>().ok();
    match as_toml.map(|table| table.into_iter().collect::<Vec<_>>()) {
        // More than one key means that the text held a line break and no value.
        Some(mut entries) if entries.len() == 1 => entries.remove(0).1,
        _ => toml::Value::String(text.into()),
    }
}

/// Calls `f` with every value below `value` and its dotted key.
pub(crate) fn leaves(prefix: &str, value: &toml::Value, f: &mut dyn FnMut(&str, &toml::Value)) {
    match value {
        toml::Value::Table(table) => {
            for (key, value) in table {
                leaves(&join(prefix, key), value, f);
            }
        }
        _ => f(prefix, value),
    }
}

/// Puts `over` on top of `base`: tables are merged, everything else is replaced.
fn overlay(prefix: &str, base: &mut toml::Table, over: &toml::Table, origin: &str, origins: &mut Origins) {
    for (key, value) in over {
        let dotted = join(prefix, key);
        // `schedule = "cosine"` below `schedule.min_lr = …`: the name becomes a table with a name.
        if dotted == SCHEDULE
            && value.is_table()
            && let Some(name) = base.get(key).filter(|v| v.is_str()).cloned()
        {
            base.insert(key.clone(), toml::Table::from_iter([("name".to_string(), name)]).into());
            if let Some(origin) = origins.remove(SCHEDULE) {
                origins.insert(join(SCHEDULE, "name"), origin);
            }
        }
        match (base.get_mut(key), value) {
            (Some(toml::Value::Table(below)), toml::Value::Table(above)) => {
                overlay(&dotted, below, above, origin, origins);
            }
            _ => {
                let inside = format!("{dotted}.");
                origins.retain(|k, _| *k != dotted && !k.starts_with(&inside));
                leaves(&dotted, value, &mut |leaf, _| {
                    origins.insert(leaf.into(), origin.into());
                });
                base.insert(key.clone(), value.clone());
            }
        }
    }
}

/// All keys that there are, with dots.
pub(crate) fn known_keys() -> Vec<String> {
    let full = Config {
        preset: "quick".into(),
        optim: OptimConfig::full(),
        layers: vec![LayerConfig::Act(Activation::Relu)],
        train: TrainConfig {
            best: BestName::Accuracy,
            class_weights: Some(ClassWeights::Balanced),
            label_smoothing: 0.1,
            clip_value: 1.0,
            ..TrainConfig::default()
        },
        data: DataConfig::full(),
        ..Config::default()
    };
    let mut keys = Vec::new();
    leaves("", &full.table().into(), &mut |key, _| keys.push(key.to_string()));
    keys
}

/// What to do about a value that is of no use, where its kind says it.
fn advice(message: &str, key: &str) -> Option<&'static str> {
    let has = |words: &str| message.contains(words);
    let of_layers = key == "layers" || key.starts_with("layers.");
    Some(match key.rsplit('.').next().unwrap_or_default() {
        _ if of_layers && has("exactly 1 element") => {
            "a layer has one key, its kind: conv2d, linear, max_pool2d, avg_pool2d, batch_norm2d, dropout, flatten or act"
        }
        "layers" => "write `[[layers]]` on a line of its own, and below it such as `linear = 10`",
        "linear" => "`linear = 120`, or `linear = {}` for one output for each class",
        "max_pool2d" | "avg_pool2d" => "`max_pool2d = 2`, or `{ kernel = 3, stride = 2 }`",
        "dropout" => "`dropout = 0.5` is usual",
        "padding" if of_layers && key.contains("conv2d") => {
            "1, [1, 2] for height and width, [[top, bottom], [left, right]], or \"same\""
        }
        "kernel" | "stride" | "padding" | "dilation" => "3, or [3, 5] for height and width",
        "class_weights" => "`\"balanced\"`, or such as [1.0, 2.5]",
        "features" | "exclude" if has("expected a sequence") => {
            "such as [\"x1\", \"x2\"]; quote it from the shell"
        }
        "resize" => "such as [64, 64]",
        _ if has("recursion") => "no configuration is nested so deep",
        _ => return None,
    })
}

/// The words in backticks.
fn quoted(message: &str) -> impl Iterator<Item = &str> {
    message.split('`').skip(1).step_by(2)
}

/// What serde says of `key`, in words for people, with the nearest name that exists.
fn explain(message: &str, key: &str, place: impl FnOnce(String) -> Place) -> Diagnostic {
    let words = [
        ("expected f64", "expected a number"),
        ("expected u64", "expected a whole number, 0 or more"),
        ("expected usize", "expected a whole number, 0 or more"),
        ("expected struct DataConfig", "expected a table"),
        ("expected struct OptimConfig", "expected a table"),
        ("expected struct TrainConfig", "expected a table"),
        ("expected struct SplitConfig", "expected a table"),
        ("expected struct AugmentConfig", "expected a table"),
        ("expected struct Conv2dConfig", "expected a table"),
        ("expected struct BatchNorm2dConfig", "expected a table"),
        ("expected struct FlattenConfig", "expected a table, such as {}"),
        ("expected path string", "expected text"),
        ("expected a string", "expected text"),
        ("expected a boolean", "expected true or false"),
        ("expected a sequence", "expected a list in brackets"),
        ("unknown variant", "unknown name"),
        ("wanted exactly 1 element, more than 1 element", "a layer has one key, and there are more"),
        ("wanted exactly 1 element, found 0 elements", "a layer has one key, and there is none"),
        (" as i128", ""),
        (
            "wanted string or table",
            if key.ends_with("act") || !key.starts_with("layers") {
                "expected a name in quotes"
            } else {
                "expected a table for each layer"
            },
        ),
    ];
    let mut title = words.iter().fold(message.trim().to_string(), |text, (from, to)| text.replace(from, to));
    let is_unknown_key = title.starts_with("unknown field");
    if !key.is_empty() && !is_unknown_key {
        title = format!("`{key}`: {title}");
    }
    let label = if is_unknown_key { "not a key I know" } else { "" };
    let mut found = Diagnostic::new(Exit::Usage, title).at(place(label.into()));

    let advised = advice(message, key);
    if let Some(help) = advised {
        found = found.help(help);
    }
    let mut names = quoted(message);
    let Some(word) = names.next().filter(|_| message.contains("unknown")) else {
        return if advised.is_none() { found.help(meaning(message, key)) } else { found };
    };
    let expected: Vec<&str> = names.collect();
    if let Some(near) = nearest(word, expected.iter().copied()) {
        let more = if is_unknown_key { " `cotangent config keys` lists every key" } else { "" };
        found = found.help(format!("did you mean `{near}`?{more}"));
    } else if is_unknown_key {
        let keys = known_keys();
        let same: Vec<&str> =
            keys.iter().map(String::as_str).filter(|k| k.rsplit('.').next() == Some(word)).collect();
        match same[..] {
            [only] => found = found.help(format!("`{word}` stands elsewhere: `{only}`")),
            [] => {
                let ours = ELSEWHERE.iter().find(|(theirs, _)| *theirs == word);
                found = found.help(match ours {
                    Some((_, ours)) => format!("`{word}` is called `{ours}` here"),
                    None => "`cotangent config keys` lists every key".into(),
                });
            }
            _ => found = found.help(format!("`{word}` stands elsewhere: `{}`", same.join("` or `"))),
        }
    } else if advised.is_none() {
        found = found.help(meaning(message, key));
    }
    found
}

/// Keys as people know them from other programs.
const ELSEWHERE: [(&str, &str); 8] = [
    ("batch_size", "data.batch"),
    ("dataset", "data.name"),
    ("early_stopping", "train.patience"),
    ("learning_rate", "optim.lr"),
    ("optimizer", "optim.name"),
    ("scheduler", "optim.schedule"),
    ("validation_split", "data.val_split"),
    ("workers", "threads"),
];

/// Whether it is what a shell opened, such as the pipe of `-c <(…)`, or nothing: all else is read as a file.
fn is_opened(path: &Path) -> bool {
    ["/dev/fd", "/dev/stdin", "/dev/null", "/proc/self/fd"].iter().any(|opened| path.starts_with(opened))
}

/// Whether a key has keys below it.
fn is_table(key: &str) -> bool {
    KEYS.iter().any(|k| k.name.strip_prefix(key).is_some_and(|rest| rest.starts_with('.')))
}

/// What a key means, or where it is to be found.
fn meaning(message: &str, key: &str) -> String {
    // A path alone is no data set, but says which kind was meant.
    if let Some(path) =
        message.strip_prefix("unknown data set `").and_then(|m| m.split_once('`')).map(|m| m.0)
    {
        let ends = |end: &str| path.to_lowercase().ends_with(end) && Path::new(path).is_file();
        let kind = match Path::new(path).is_dir() {
            true => Some("folder"),
            false => ["csv", "npz"].into_iter().find(|kind| ends(kind)),
        };
        if let Some(kind) = kind {
            return format!("did you mean `{kind}:{path}`?");
        }
        if PUBLIC.iter().any(|set| set.name == path) {
            return format!("`cotangent data get {path}` fetches it, and says how it is named then");
        }
    }
    if let Some(known) = KEYS.iter().find(|k| k.name == key) {
        return match known.shape {
            Shape::Names(names) => format!("one of {}: {}", names.join(", "), known.about),
            _ => format!("`{key}`: {}", known.about),
        };
    }
    if message.contains("duplicate") {
        return "a key or table stands once in a file: take one of the two out".into();
    }
    match key.starts_with("layers.") {
        true => "such as `conv2d = { out = 6, kernel = 5, padding = 2 }`, `linear = 120` or `act = \"relu\"`"
            .into(),
        false if is_table(key) => {
            format!("write `[{key}]` on a line of its own, and its keys below")
        }
        false => "`cotangent config init` writes a file with every key".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{DataName, DeviceName, Kind, ScheduleName};
    use super::*;

    fn merged(file: &str, sets: &[&str]) -> Result<(Config, Origins), Diagnostic> {
        let mut layers = Layers::default();
        layers.text("my.toml", file.into())?;
        for set in sets {
            layers.set(set)?;
        }
        layers.merge()
    }

    fn refused(file: &str, sets: &[&str]) -> String {
        let error = merged(file, sets).unwrap_err();
        assert_eq!(error.exit(), Exit::Usage);
        error.to_string()
    }

    #[test]
    fn a_preset_goes_over_the_defaults_and_below_all_that_is_written() {
        let (config, origins) = merged("preset = \"quick\"\n[train]\nepochs = 3\n", &[]).unwrap();
        assert_eq!((config.train.epochs, config.data.fraction), (3, Some(0.1)));
        let of = |key| origin(&origins, key);
        assert_eq!(
            [of("train.epochs"), of("data.fraction"), of("seed")],
            ["my.toml", "preset quick", "default"]
        );
        for (name, ..) in PRESETS {
            let (config, _) = merged("", &[&format!("preset={name}")]).unwrap();
            // What a run writes down is read to the same settings.
            assert_eq!(merged(&config.to_toml().unwrap(), &[]).unwrap().0, config);
            assert!(KEYS.iter().any(|k| k.name == "preset" && k.shape.words().contains(name)));
        }
        let text = refused("preset = \"quik\"", &[]);
        assert!(text.contains("no preset is called `quik`") && text.contains("my.toml:1:10"), "{text}");
    }

    #[test]
    fn what_no_value_can_be_is_told_with_line_key_and_help() {
        let lines = [
            "seed = -1",
            "seed = 1.5",
            "seed = 99999999999999999999",
            "model = 5",
            "data = \"mnist\"",
            "data = []",
            "optim = [1]",
            "layers = 3",
            "layers = [1, 2]",
            "[[data]]\nname = \"mnist\"",
            "[data]\nbatch = \"64\"",
            "[data]\naugment = 3",
            "[data]\naugment = { shift = [] }",
            "[data]\nsplit = { by = 5 }",
            "[data]\nmissing = 3",
            "[optim]\nlr = []",
            "[optim]\nlr = 1979-05-27",
            "[optim]\nname = \"sdg\"",
            "[optim]\nschedule = []",
            "[optim]\nschedule = { name = 3 }",
            "[train]\nepochs = \"many\"",
            "[train]\nbest = \"f1\"",
            "[log]\nplots = 1",
            "[[layers]]\nact = 3",
            "[[layers]]\nconv2d = { out = 6 }",
            "[[layers]]\nconv2d = { out = \"6\", kernel = 3 }",
        ];
        for line in lines {
            let text = refused(line, &[]);
            let last = line.lines().count();
            let key = line.lines().last().unwrap().split(' ').next().unwrap();
            let at = |n: usize| text.contains(&format!("--> my.toml:{n}:"));
            assert!(at(1) || at(last), "{line}: {text}");
            assert!(text.lines().next().unwrap().contains(key) || text.contains("`data"), "{line}: {text}");
            assert!(text.contains("expected") || text.contains("missing field"), "{line}: {text}");
            assert!(text.contains("\nhelp: "), "{line}: {text}");
        }
        for set in ["data=[]", "seed=x", "optim.lr=[]", "train.epochs=many"] {
            let text = refused("", &[set]);
            assert!(text.contains("expected") && text.contains("\nhelp: "), "{set}: {text}");
        }
        assert!(refused("[optim]\nlr = 1\nlr = 2", &[]).contains("take one of the two out"));
        assert!(refused("seed = ", &[]).contains("config init"));
    }

    #[test]
    fn later_layers_win_and_origins_are_kept() {
        let mut layers = Layers::default();
        layers.text("my.toml", "seed = 7\n[optim]\nlr = 0.2\nmomentum = 0.5\n".into()).unwrap();
        layers.set("optim.lr=0.3").unwrap();
        layers.flag("--lr", "optim.lr", 0.4, "0.4").unwrap();
        layers.flag("--epochs", "train.epochs", 3, "3").unwrap();
        let (config, origins) = layers.merge().unwrap();
        assert_eq!((config.seed, config.optim.lr, config.train.epochs), (7, Some(0.4), 3));
        assert_eq!(config.optim.momentum, Some(0.5));
        assert_eq!(origins["optim.lr"], "--lr");
        assert_eq!(origins["optim.momentum"], "my.toml");
        assert!(!origins.contains_key("data.batch"));
    }

    #[test]
    fn the_merged_configuration_loads_again() {
        for sets in [&[][..], &["optim.name=adam", "optim.schedule=cosine"], &["data.name=idx:some/dir"]] {
            let (config, _) = merged("", sets).unwrap();
            let (again, _) = merged(&config.to_toml().unwrap(), &[]).unwrap();
            assert_eq!(config, again);
        }
    }

    #[test]
    fn bare_words_and_toml_values_are_both_taken() {
        let sets = [
            "device=cpu",
            "data.name='idx:x y'",
            "optim.lr=1e-3",
            "optim.name=adam",
            "optim.betas=[0.8,0.9]",
        ];
        let (config, _) = merged("", &sets).unwrap();
        assert_eq!(config.device, DeviceName::Cpu);
        assert_eq!(config.data.name, DataName::Files(Kind::Idx, "x y".into()));
        let OptimConfig { betas, eps, weight_decay, amsgrad, .. } = config.optim;
        assert_eq!((betas, eps), (Some([0.8, 0.9]), Some(1e-8)));
        assert_eq!((weight_decay, amsgrad, config.optim.momentum), (Some(0.0), Some(false), None));
    }

    #[test]
    fn a_schedule_is_a_name_or_a_table_and_either_merges() {
        let (config, _) = merged("optim.schedule = { name = \"step\", gamma = 0.5 }", &[]).unwrap();
        let schedule = &config.optim.schedule;
        assert_eq!(
            (schedule.name, schedule.step_epochs, schedule.gamma),
            (ScheduleName::Step, Some(5), Some(0.5))
        );
        // A name alone replaces the whole table below it.
        let file = "optim.schedule = { name = \"step\", gamma = 0.5 }";
        let (config, _) = merged(file, &["optim.schedule=cosine"]).unwrap();
        let schedule = &config.optim.schedule;
        assert_eq!((schedule.name, schedule.min_lr, schedule.gamma), (ScheduleName::Cosine, Some(0.0), None));
        // A setting goes with the name below it.
        let (config, origins) =
            merged("optim.schedule = \"cosine\"", &["optim.schedule.warmup_steps=100"]).unwrap();
        assert_eq!(config.optim.schedule.warmup_steps, 100);
        assert_eq!(config.optim.schedule.name, ScheduleName::Cosine);
        assert_eq!(origins["optim.schedule.name"], "my.toml");
        assert_eq!(origins["optim.schedule.warmup_steps"], "--set");
    }

    #[test]
    fn an_unknown_key_is_underlined_with_the_nearest() {
        let text = refused("seed = 1\n[optim]\nmomentun = 0.9\n", &[]);
        assert!(text.contains("unknown field `momentun`"), "{text}");
        assert!(text.contains(" --> my.toml:3:1"), "{text}");
        assert!(text.contains("^^^^^^^^ not a key I know"), "{text}");
        assert!(text.contains("help: did you mean `momentum`?"), "{text}");
    }

    #[test]
    fn a_key_of_another_table_is_pointed_out() {
        let text = refused("lr = 0.1\n", &[]);
        assert!(text.contains("`lr` stands elsewhere: `optim.lr`"), "{text}");
        let text = refused("", &["optim.learning_rate=0.1"]);
        assert!(text.contains("`learning_rate` is called `optim.lr` here"), "{text}");
        let text = refused("", &["data.name=fashion-mnist"]);
        assert!(text.contains("`cotangent data get fashion-mnist` fetches it"), "{text}");
        assert!(ELSEWHERE.iter().all(|(_, ours)| KEYS.iter().any(|k| k.name.starts_with(ours))));
    }

    #[test]
    fn the_command_line_is_underlined_too() {
        let text = refused("", &["optim.momentun=0.9"]);
        assert!(text.contains("--> command line:1:7"), "{text}");
        assert!(text.contains("--set optim.momentun=0.9\n"), "{text}");
        assert!(text.contains("did you mean `momentum`?"), "{text}");
        let text = refused("", &["optim.name=adamm"]);
        assert!(text.contains("did you mean `adam`?"), "{text}");
        assert!(text.contains("^^^^^"), "{text}");
        for bad in ["lr", "=3", "a b=3", "optim..lr=3", "optim.lr.x=3", "seed=1\nmodel='mlp'"] {
            refused("", &[bad]);
        }
    }

    #[test]
    fn types_are_named_in_words() {
        let cases = [
            ("data.batch = -1", "expected a whole number, 0 or more"),
            ("data.batch = 1.5", "expected a whole number, 0 or more"),
            ("optim.lr = \"fast\"", "`optim.lr`: invalid type: string \"fast\", expected a number"),
            ("data = 3", "expected a table"),
            ("model = \"lenet\"", "did you mean `lenet5`?"),
            ("device = \"gpu\"", "unknown device `gpu`, expected `auto`, `cpu`, `virtual` or `cuda:0`"),
            ("seed = ", "my.toml:1"),
            ("seed = 1\nseed = 2", "duplicate key"),
            ("optim.schedule = 3", "a schedule's name or table"),
            ("optim.schedule = { name = \"cosin\" }", "did you mean `cosine`?"),
            ("optim.betas = [0.9]", "two numbers"),
            ("optim.betas = [0.9, 0.99, 0.999]", "two numbers"),
            ("data.resize = [64, 64, 64]", "two numbers"),
            ("layers = []", "there are no layers"),
        ];
        for (file, expected) in cases {
            let text = refused(file, &[]);
            assert!(text.contains(expected), "{file}: {text}");
        }
    }

    #[test]
    fn values_out_of_range_are_underlined() {
        let cases = [
            ("data.batch=0", "at least 1"),
            ("optim.lr=0", "above 0"),
            ("optim.lr=inf", "finite"),
            ("optim.lr=nan", "finite"),
            ("optim.lr=-0.1", "found -0.1"),
            ("train.epochs=0", "from 1 to"),
            ("data.val_split=-1", "a share"),
            ("data.val_split=1.5", "a share"),
            ("data.val_split=nan", "a share"),
            ("threads=100000", "at most 1024"),
            ("optim.momentum=1", "below 1"),
            ("optim.weight_decay=-1", "0 or more"),
            ("train.clip_norm=inf", "finite"),
            ("optim.schedule={name='step',step_epochs=0}", "at least 1"),
            ("optim.schedule={name='step',gamma=2}", "at most 1"),
            ("optim.schedule={name='cosine',min_lr=9}", "the learning rate"),
            ("optim.schedule={name='one-cycle',pct_start=1}", "below 1"),
            ("optim.schedule={name='one-cycle',div_factor=0}", "at least 1"),
            ("optim.schedule={name='one-cycle',warmup_steps=5}", "warms up by itself"),
            ("optim.schedule={name='one-cycle',pct_start=0.6,three_phase=true}", "at most 0.5"),
            ("optim.schedule={name='linear',start_factor=0}", "above 0"),
            ("optim={name='rmsprop',alpha=1}", "below 1"),
            ("optim={name='adagrad',lr_decay=-1}", "0 or more"),
            ("optim={name='adagrad',initial_accumulator_value=inf}", "0 or more"),
            ("optim={name='adagrad',eps=0}", "above 0"),
            ("optim={name='nesterov',momentum=0}", "above 0 with nesterov"),
        ];
        for (set, expected) in cases {
            let text = refused("", &[set]);
            assert!(text.contains(expected), "{set}: {text}");
            assert!(text.contains("--> command line:1:"), "{set}: {text}");
        }
        let text = refused("[data]\nbatch = 0\n", &[]);
        assert!(text.contains(" --> my.toml:2:9"), "{text}");
    }

    #[test]
    fn the_readmes_file_is_one() {
        let readme = include_str!("../../../README.md");
        let file = readme.split("```toml\n").find(|block| block.contains("[[layers]]")).unwrap();
        let (config, _) = merged(file.split("```").next().unwrap(), &[]).unwrap();
        let built = crate::model::build(&config, [3, 64, 64], 2, 0, 2).unwrap();
        assert_eq!((config.layers.len(), built.1.parameters), (6, 448 + 32 + 16 * 16 * 16 * 2 + 2));
    }

    #[test]
    fn shuffle_is_short_for_a_sampler() {
        let (config, origins) = merged("data.shuffle = false", &[]).unwrap();
        assert_eq!((config.data.sampler, config.data.shuffle), (SamplerName::Cyclic, None));
        assert_eq!(origins["data.sampler"], "my.toml");
        // What is written later goes over it, whichever of the two it is.
        let (config, _) = merged("data.shuffle = false", &["data.sampler=iid"]).unwrap();
        assert_eq!(config.data.sampler, SamplerName::Iid);
        let (config, origins) = merged("data.sampler = \"iid\"", &["data.shuffle=true"]).unwrap();
        assert_eq!(config.data.sampler, SamplerName::Shuffled);
        assert_eq!(origins["data.sampler"], "--set");
        let text = refused("[data]\nshuffle = true\nsampler = \"iid\"\n", &[]);
        assert!(text.contains(" --> my.toml:2:1") && text.contains("leave one of the two out"), "{text}");
        let text = refused("", &["data={shuffle=true,sampler=\"iid\"}"]);
        assert!(text.contains("leave one of the two out"), "{text}");
    }

    #[test]
    fn every_rule_and_schedule_has_defaults_that_pass() {
        let Shape::Names(rules) = KEYS.iter().find(|k| k.name == "optim.name").unwrap().shape else {
            panic!()
        };
        let Shape::Names(schedules) = KEYS.iter().find(|k| k.name == "optim.schedule.name").unwrap().shape
        else {
            panic!()
        };
        for (rule, schedule) in rules.iter().flat_map(|r| schedules.iter().map(move |s| (r, s))) {
            let table = match *schedule {
                "multi-step" => "{name='multi-step',milestones=[2]}",
                other => other,
            };
            let sets =
                [format!("optim.name={rule}"), format!("optim.schedule={table}"), "data.val_split=9".into()];
            let (config, _) = merged("", &sets.each_ref().map(String::as_str)).unwrap();
            let mut again = config.clone();
            again.resolve().unwrap();
            assert_eq!(config, again, "{rule} {schedule}");
        }
        // As in PyTorch, SGD has the momentum that it is given.
        let (config, _) = merged("", &["optim.name=sgd", "optim.momentum=0.9"]).unwrap();
        assert_eq!((config.optim.momentum, config.optim.dampening), (Some(0.9), Some(0.0)));
        assert_eq!(merged("", &["optim.name=sgd"]).unwrap().0.optim.momentum, Some(0.0));
    }

    #[test]
    fn a_setting_of_another_rule_is_refused() {
        let text = refused("", &["optim.betas=[0.9,0.99]"]);
        assert!(text.contains("a setting of adam or adamw, and this run uses momentum"), "{text}");
        let text = refused("", &["optim.schedule={name='cosine',gamma=0.5}"]);
        assert!(
            text.contains("a setting of the step, multi-step or exponential schedule, and this run uses the cosine schedule"),
            "{text}"
        );
    }

    #[test]
    fn patience_and_plateau_need_a_validation_split() {
        let text = refused("", &["train.patience=3"]);
        assert!(text.contains("`--val-split 5000`"), "{text}");
        let text = refused("", &["optim.schedule=plateau"]);
        assert!(text.contains("`--val-split 5000`"), "{text}");
        let (config, _) = merged("", &["train.patience=3", "data.val_split=5000"]).unwrap();
        assert_eq!(config.train.patience, 3);
    }

    #[test]
    fn every_known_key_can_be_set() {
        let keys = known_keys();
        assert!(keys.contains(&"optim.schedule.final_div_factor".to_string()), "{keys:?}");
        for key in keys {
            // A date fits nowhere, so the key must be known and its value refused.
            let text = refused("", &[&format!("{key}=1979-05-27")]);
            assert!(text.contains(&format!("`{key}`")) && !text.contains("unknown field"), "{text}");
        }
    }
}
