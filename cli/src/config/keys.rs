//! Every key with its kind of value and what it means: for `config keys`, `config init` and the JSON Schema.

use serde_json::{Value, json};

use super::PRESETS;

/// What may stand for a key.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Shape {
    /// A whole number, 0 or more.
    Count,
    /// A number.
    Number,
    /// True or false.
    Bool,
    /// Text.
    Text,
    /// One of these names.
    Names(&'static [&'static str]),
    /// So many whole numbers.
    Counts(Option<usize>),
    /// So many numbers.
    Numbers(Option<usize>),
    /// A list of texts.
    Texts,
    /// `"balanced"`, or a number for each class.
    Weights,
    /// Tables with a layer each.
    Layers,
}

/// A key of the configuration.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key {
    /// With dots.
    pub(crate) name: &'static str,
    /// What may stand for it.
    pub(crate) shape: Shape,
    /// What it means.
    pub(crate) about: &'static str,
}

const fn key(name: &'static str, shape: Shape, about: &'static str) -> Key {
    Key { name, shape, about }
}

use Shape::{Bool, Count, Counts, Layers, Names, Number, Numbers, Text, Texts, Weights};

/// All of them, in the order of a configuration file.
pub(crate) const KEYS: &[Key] = &[
    key("seed", Count, "everything random follows from it"),
    key(
        "model",
        Names(&["auto", "lenet5", "cnn", "mlp", "softmax", "resnet18", "layers"]),
        "the network; auto looks at the examples",
    ),
    key("device", Text, "auto, cpu, virtual, cuda:0"),
    key("threads", Count, "worker threads; 0 is one for each core"),
    key(
        "preset",
        Names(&[PRESETS[0].0, PRESETS[1].0, PRESETS[2].0]),
        "a trial, some hundred examples, rare classes; all else goes over it",
    ),
    key("data.name", Text, "mnist, wafer, folder:DIR, csv:FILE, npz:FILE, idx:DIR, cifar10:DIR"),
    key("data.path", Text, "the path, where data.name is the kind alone"),
    key("data.test", Text, "test examples of the same kind that lie elsewhere"),
    key("data.batch", Count, "examples in a step"),
    key("data.shuffle", Bool, "short for the sampler shuffled, or cyclic"),
    key("data.sampler", Names(&["shuffled", "cyclic", "iid"]), "the order of the examples"),
    key("data.drop_last", Bool, "leave out a last, shorter batch"),
    key("data.val_split", Number, "held out for validation: a share below 1, or a number"),
    key("data.test_split", Number, "held out as test examples where there are none of their own; 0.2"),
    key("data.fraction", Number, "fit only this share of the training examples, or so many"),
    key("data.split.by", Text, "keep together: a column or array, or a pattern of file names: {lot}_*"),
    key("data.split.stratified", Bool, "each class has its share in every part"),
    key("data.resize", Counts(Some(2)), "height and width that pictures are brought to"),
    key("data.filter", Names(&["area", "bilinear"]), "how pictures are resized"),
    key("data.channels", Count, "1 reads pictures as grey, 3 as colour"),
    key("data.label", Text, "the column or array with the class"),
    key("data.features", Texts, "the columns that are inputs; else all others"),
    key("data.exclude", Texts, "columns that are not"),
    key("data.inputs", Text, "the array with the inputs"),
    key("data.missing", Names(&["error", "mean", "zero", "drop"]), "what is done about missing numbers"),
    key("data.augment.shift", Count, "pixels by which a training picture is shifted at most"),
    key("data.augment.rotate", Number, "degrees by which it is turned at most"),
    key("data.augment.flip", Number, "how likely left and right change places"),
    key(
        "optim.name",
        Names(&["sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adam", "adamw"]),
        "the update rule",
    ),
    key("optim.lr", Number, "learning rate; the highest, where a schedule moves it"),
    key("optim.momentum", Number, "μ of sgd, momentum, nesterov and rmsprop"),
    key("optim.dampening", Number, "τ of sgd and momentum"),
    key("optim.betas", Numbers(Some(2)), "β₁ and β₂ of adam and adamw"),
    key("optim.amsgrad", Bool, "of adam and adamw: divide by the largest mean of squares so far"),
    key("optim.alpha", Number, "of rmsprop: how slowly the mean of squares forgets"),
    key("optim.centered", Bool, "of rmsprop: divide by the deviation from the gradient's mean"),
    key("optim.lr_decay", Number, "of adagrad: how fast the rate falls by itself"),
    key("optim.initial_accumulator_value", Number, "of adagrad: what the sum of squares begins with"),
    key("optim.eps", Number, "ε of adagrad, rmsprop, adam and adamw"),
    key("optim.weight_decay", Number, "λ"),
    key(
        "optim.schedule.name",
        Names(&["constant", "step", "multi-step", "exponential", "cosine", "linear", "one-cycle", "plateau"]),
        "how the rate moves",
    ),
    key("optim.schedule.warmup_steps", Count, "steps over which the rate rises first"),
    key("optim.schedule.step_epochs", Count, "of step: epochs between two changes"),
    key("optim.schedule.milestones", Counts(None), "of multi-step: epochs after which it changes"),
    key("optim.schedule.gamma", Number, "of step, multi-step, exponential: the factor"),
    key("optim.schedule.min_lr", Number, "of cosine and plateau: the lowest rate"),
    key("optim.schedule.start_factor", Number, "of linear: the first rate over lr"),
    key("optim.schedule.end_factor", Number, "of linear: the last rate over lr"),
    key("optim.schedule.pct_start", Number, "of one-cycle: the share in which it rises"),
    key("optim.schedule.div_factor", Number, "of one-cycle: lr over the first rate"),
    key("optim.schedule.final_div_factor", Number, "of one-cycle: the first rate over the last"),
    key("optim.schedule.anneal", Names(&["cosine", "linear"]), "of one-cycle: the way between two rates"),
    key("optim.schedule.three_phase", Bool, "of one-cycle: down as fast as up, then further"),
    key("optim.schedule.factor", Number, "of plateau: the factor of a change"),
    key("optim.schedule.patience", Count, "of plateau: epochs to wait for a better loss"),
    key("optim.schedule.threshold", Number, "of plateau: how much lower is better"),
    key("optim.schedule.threshold_mode", Names(&["rel", "abs"]), "of plateau: a share, or a difference"),
    key("optim.schedule.cooldown", Count, "of plateau: epochs after a change that do not count"),
    key("train.epochs", Count, "passes over the training examples"),
    key("train.patience", Count, "stop after so many epochs without a better one; 0 is never"),
    key(
        "train.best",
        Names(&["loss", "accuracy", "macro_f1", "balanced_accuracy"]),
        "the validation figure that says which epoch is best",
    ),
    key("train.class_weights", Weights, "\"balanced\", or a number for each class"),
    key("train.label_smoothing", Number, "how much of a target is spread over all classes"),
    key("train.clip_norm", Number, "largest norm of the gradient; 0 is no limit"),
    key("train.clip_value", Number, "largest number of the gradient; 0 is no limit"),
    key("log.every", Count, "steps between two rows of steps.csv"),
    key("log.plots", Bool, "draw plots and report.html at the end"),
    key("log.tensorboard", Bool, "write TensorBoard events"),
    key("layers", Layers, "the network, layer by layer, instead of model"),
];

/// What may stand in `[[layers]]`: an example, and everything that can be said of such a layer. In this order they are
/// a network.
pub(crate) const LAYERS: &[(&str, &str)] = &[
    (
        "conv2d = { out = 16, kernel = 3, padding = 1 }",
        "also stride, dilation, groups, bias; padding is a number, [height, width], [[top, bottom], [left, right]] or \
         \"same\"",
    ),
    ("batch_norm2d = {}", "eps = 1e-5, momentum = 0.1"),
    ("act = \"relu\"", "relu, sigmoid or tanh"),
    ("max_pool2d = 2", "or kernel, stride, padding, dilation, ceil_mode; {} takes the whole picture"),
    (
        "avg_pool2d = {}",
        "or kernel, stride, padding, ceil_mode, count_include_pad; {} takes the whole picture",
    ),
    ("flatten = {}", "pictures to features, before the first linear"),
    ("dropout = 0.5", "how likely a number is 0 while training"),
    ("linear = {}", "one output for each class, as the last layer must have; before it 120, or out, bias"),
];

impl Shape {
    /// In a few words.
    pub(crate) fn words(self) -> String {
        match self {
            Count => "whole".into(),
            Number => "number".into(),
            Bool => "bool".into(),
            Text => "text".into(),
            Names(names) => names.join("|"),
            Counts(Some(2)) => "[whole, whole]".into(),
            Counts(_) => "[whole, …]".into(),
            Numbers(Some(2)) => "[number, number]".into(),
            Numbers(_) => "[number, …]".into(),
            Texts => "[text, …]".into(),
            Weights => "text or [number, …]".into(),
            Layers => "tables".into(),
        }
    }

    /// As JSON Schema.
    fn schema(self) -> Value {
        let list = |items: Value, n: Option<usize>| match n {
            Some(n) => json!({ "type": "array", "items": items, "minItems": n, "maxItems": n }),
            None => json!({ "type": "array", "items": items }),
        };
        let count = json!({ "type": "integer", "minimum": 0 });
        match self {
            Count => count,
            Number => json!({ "type": "number" }),
            Bool => json!({ "type": "boolean" }),
            Text => json!({ "type": "string" }),
            Names(names) => json!({ "enum": names }),
            Counts(n) => list(count, n),
            Numbers(n) => list(json!({ "type": "number" }), n),
            Texts => list(json!({ "type": "string" }), None),
            Weights => json!({ "oneOf": [{ "const": "balanced" }, list(json!({ "type": "number" }), None)] }),
            Layers => list(layer(), None),
        }
    }
}

/// One of `[[layers]]`.
fn layer() -> Value {
    let count = || json!({ "type": "integer", "minimum": 1 });
    let sides = |least: u64| {
        let side = json!({ "type": "integer", "minimum": least });
        json!({ "oneOf": [side, { "type": "array", "items": side, "minItems": 2, "maxItems": 2 }] })
    };
    let table = |properties: Value, required: &[&str]| json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false });
    let brief = |brief: Value, table: Value| json!({ "oneOf": [brief, table] });
    let flag = || json!({ "type": "boolean" });
    let pool = |own: &str, value: Value| {
        let sizes = json!({
            "kernel": sides(1), "stride": sides(1), "padding": sides(0), "ceil_mode": flag(), own: value,
        });
        brief(count(), table(sizes, &[]))
    };
    let zeros = json!({ "type": "integer", "minimum": 0 });
    let edges = json!({ "oneOf": [
        { "enum": ["same", "valid"] }, zeros, { "type": "array", "items": sides(0), "minItems": 2, "maxItems": 2 },
    ] });
    let conv = json!({
        "out": count(), "kernel": sides(1), "stride": sides(1), "padding": edges, "dilation": sides(1),
        "groups": count(), "bias": flag(),
    });
    let share = json!({ "type": "number", "minimum": 0, "exclusiveMaximum": 1 });
    json!({
        "type": "object",
        "minProperties": 1,
        "maxProperties": 1,
        "additionalProperties": false,
        "properties": {
            "conv2d": table(conv, &["out", "kernel"]),
            "linear": brief(count(), table(json!({ "out": count(), "bias": flag() }), &[])),
            "max_pool2d": pool("dilation", sides(1)),
            "avg_pool2d": pool("count_include_pad", flag()),
            "batch_norm2d": table(json!({ "eps": { "type": "number" }, "momentum": { "type": "number" } }), &[]),
            "dropout": brief(share.clone(), table(json!({ "p": share }), &[])),
            "flatten": table(json!({}), &[]),
            "act": { "enum": ["relu", "sigmoid", "tanh"] },
        },
    })
}

/// The whole configuration as JSON Schema (draft 2020-12), which editors complete.
pub(crate) fn schema() -> Value {
    let mut root = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Configuration of cotangent",
        "type": "object",
        "properties": {},
        "additionalProperties": false,
    });
    for Key { name, shape, about } in KEYS {
        let mut at = &mut root;
        let parts: Vec<&str> = name.split('.').collect();
        for part in &parts[..parts.len() - 1] {
            let table = &mut at["properties"][*part];
            if table.is_null() {
                *table = json!({ "type": "object", "properties": {}, "additionalProperties": false });
            }
            at = table;
        }
        let mut schema = shape.schema();
        schema["description"] = json!(about);
        at["properties"][parts[parts.len() - 1]] = schema;
    }
    // A schedule may be its name alone.
    let schedule = &mut root["properties"]["optim"]["properties"]["schedule"];
    let name = schedule["properties"]["name"].clone();
    *schedule = json!({ "oneOf": [name, schedule.take()] });
    root
}

#[cfg(test)]
mod tests {
    use super::super::layers::known_keys;
    use super::*;

    #[test]
    fn every_key_is_listed_and_no_other() {
        let mut listed: Vec<&str> = KEYS.iter().map(|k| k.name).collect();
        listed.sort_unstable();
        let mut known = known_keys();
        known.sort_unstable();
        assert_eq!(listed, known);
    }

    #[test]
    fn every_example_of_a_layer_is_one_and_says_all_of_it() {
        let layer = &schema()["properties"]["layers"]["items"]["properties"];
        let mut kinds = Vec::new();
        for (example, about) in LAYERS {
            let table: toml::Table = example.parse().unwrap();
            toml::from_str::<super::super::LayerConfig>(example).unwrap();
            let kind = table.keys().next().unwrap().clone();
            let schema = &layer[&kind];
            let properties = &schema["oneOf"].get(1).unwrap_or(schema)["properties"];
            for setting in properties.as_object().into_iter().flat_map(|all| all.keys()) {
                assert!(
                    example.contains(setting) || about.contains(setting) || kind == "dropout",
                    "{kind}: {setting}"
                );
            }
            kinds.push(kind);
        }
        let network: String = LAYERS.iter().map(|(example, _)| format!("[[layers]]\n{example}\n")).collect();
        let mut layers = super::super::layers::Layers::default();
        layers.text("x.toml", network).unwrap();
        crate::model::build(&layers.merge().unwrap().0, [1, 28, 28], 10, 0, 2).unwrap();
        let mut known: Vec<&String> = layer.as_object().unwrap().keys().collect();
        known.sort();
        kinds.sort();
        assert_eq!(kinds.iter().collect::<Vec<_>>(), known);
    }

    #[test]
    fn the_schema_knows_every_table() {
        let schema = schema();
        assert_eq!(schema["properties"]["data"]["properties"]["batch"]["type"], "integer");
        assert_eq!(
            schema["properties"]["optim"]["properties"]["schedule"]["oneOf"][0]["enum"][0],
            "constant"
        );
        let layer = &schema["properties"]["layers"]["items"]["properties"];
        assert!(layer["conv2d"]["properties"]["kernel"]["oneOf"].is_array());
    }
}
