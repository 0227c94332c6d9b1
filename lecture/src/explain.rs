//! What differentiation does, step by step: the slides' own tables for any expression, network or function.

mod dot;
mod expression;
mod html;
mod latex;
mod names;
mod paths;
mod svg;
mod text;
mod trace;

use std::str::FromStr;

use cotangent::{
    Error, Result, Tensor,
    nn::{Call, Module, ParametersExt},
};

pub use expression::{Expression, ParseError, bindings};
pub use paths::{Cost, Paths};
pub(crate) use text::{nine, table, width};
pub use trace::{Element, FOLLOWED, Kind, Node, Partial, Saved, Slip, Trace, trace};
use trace::{Root, Tracer};

use crate::Lang;

/// Which tables are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Values and tangents.
    Forward,
    /// Values, then adjoints.
    Reverse,
    /// Both.
    #[default]
    Both,
}

impl Mode {
    fn has_forward(self) -> bool {
        self != Mode::Reverse
    }
    fn has_reverse(self) -> bool {
        self != Mode::Forward
    }
}

/// How an explanation is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Tables for a terminal.
    #[default]
    Text,
    /// For a LaTeX document with `amsmath`.
    Latex,
    /// The graph, for Graphviz.
    Dot,
    /// The graph as a picture.
    Svg,
    /// Everything, for programs.
    Json,
    /// A page with a slider through the steps; nothing is loaded from elsewhere.
    Html,
}

macro_rules! words {
    ($t:ident: $($word:literal => $variant:ident),* ; $list:literal) => {
        impl FromStr for $t {
            type Err = String;
            fn from_str(word: &str) -> std::result::Result<Self, String> {
                match word {
                    $($word => Ok($t::$variant),)*
                    other => Err(format!("unknown word `{other}`, expected {}", $list)),
                }
            }
        }
    };
}
words!(Mode: "forward" => Forward, "reverse" => Reverse, "both" => Both; "forward, reverse or both");
words!(Format: "text" => Text, "latex" => Latex, "dot" => Dot, "svg" => Svg, "json" => Json, "html" => Html;
    "text, latex, dot, svg, json or html");

/// How a trace is shown.
#[derive(Clone, Copy, Debug, Default)]
pub struct Style {
    /// Which tables.
    pub mode: Mode,
    /// English or Korean.
    pub lang: Lang,
    /// Also what the slides' slip gives, where there is a square root (row C12).
    pub slides: bool,
}

impl Trace {
    /// As text in this format.
    pub fn render(&self, format: Format, style: Style) -> String {
        match format {
            Format::Text => text::render(self, style),
            Format::Latex => latex::render(self, style),
            Format::Dot => dot::render(self, style),
            Format::Svg => svg::render(self, style),
            Format::Html => html::render(self, style),
            Format::Json => {
                let shown = if style.slides { self.clone() } else { self.clone().without_slip() };
                let value = serde_json::json!({
                    "title": style.lang.words(&shown.title),
                    "trace": shown,
                    "paths": self.all_paths(),
                    "cost": self.cost(),
                    "saved_bytes": self.saved_bytes(),
                });
                value.to_string()
            }
        }
    }
}

/// An expression at a point.
///
/// ```
/// use cotangent_lecture::explain::{bindings, expression, Expression};
/// let f = Expression::parse("y*ln(x) + sqrt(y*ln(x))").unwrap();
/// let t = expression(&f, &bindings("x=3,y=2").unwrap()).unwrap();
/// assert_eq!(t.node("b").unwrap().formula, "y·a");
/// ```
///
/// # Errors
/// The place in the expression that is wrong, with what to write instead.
pub fn expression(f: &Expression, at: &[(String, Tensor)]) -> std::result::Result<Trace, ParseError> {
    f.bound(at)?;
    let whole =
        |message: String, help: &str| ParseError { at: 0..f.text().len(), message, help: help.to_string() };
    let names = f.names();
    // Variables in the order of `--at`; those that the expression does not use are not its variables.
    let used: Vec<(&str, Tensor)> = at
        .iter()
        .filter(|(n, _)| names.contains(&n.as_str()))
        .map(|(n, t)| (n.as_str(), t.clone()))
        .collect();
    let own: Vec<String> = used.iter().map(|(n, _)| n.to_string()).collect();
    let values: Vec<Tensor> = used.iter().map(|(_, t)| t.clone()).collect();
    // Once by itself: a mistake has a place in the text.
    f.evaluate(&own, &values)?;
    let g = |v: &[Tensor]| f.evaluate(&own, v).unwrap_or_else(|_| Tensor::from(f64::NAN));
    let made = trace(g, &used).map_err(|e| {
        let text = e.to_string();
        let mut lines = text.lines();
        let first = lines.next().unwrap_or_default().to_string();
        let help = lines.find_map(|l| l.trim().strip_prefix("help: ")).unwrap_or_default().to_string();
        whole(first, &help)
    })?;
    let point: Vec<String> = at.iter().map(|(n, t)| format!("{n} = {}", text::point(t))).collect();
    Ok(made.titled(format!("{}   at {}", f.text(), point.join(", "))))
}

/// A multilayer perceptron `y_ℓ = σ(W_ℓ y_{ℓ−1} + b_ℓ)` with one output, from its widths (row F1); weights are drawn
/// from the seed, the input is `1, ½, ⅓, …`.
///
/// # Errors
/// Fewer than two widths, a last one that is not 1, too many parameters, or an unknown activation.
pub fn mlp(widths: &[usize], activation: &str, seed: u64) -> Result<Trace> {
    let parameters = widths.windows(2).try_fold(0usize, |sum, w| {
        w[0].checked_mul(w[1]).and_then(|p| p.checked_add(w[1])).and_then(|p| p.checked_add(sum))
    });
    let fits = parameters.is_some_and(|p| p <= 100_000);
    if widths.len() < 2 || widths.last() != Some(&1) || widths.contains(&0) || !fits {
        return Err(Error::other(format!("the widths {widths:?} are not those of a small network"))
            .help("give at least two, input first, 1 last, and at most 100,000 parameters: `--mlp 2,3,1`"));
    }
    let call: fn(&Tensor) -> Tensor = match activation {
        "sigmoid" => Tensor::sigmoid,
        "tanh" => Tensor::tanh,
        "relu" => Tensor::relu,
        "none" => Tensor::clone,
        other => {
            return Err(Error::other(format!("unknown activation `{other}`"))
                .help("there are sigmoid, tanh, relu and none"));
        }
    };
    let rng = cotangent::Rng::new(seed);
    let draw = |shape: Vec<usize>| Tensor::randn(shape, &rng).cast(cotangent::DType::F64);
    let x: Vec<f64> = (0..widths[0]).map(|i| 1.0 / (i + 1) as f64).collect();
    let mut names = vec!["x".to_string()];
    let mut values = vec![Tensor::from_vec(x, [widths[0]])];
    for (i, w) in widths.windows(2).enumerate() {
        names.extend([format!("W{}", i + 1), format!("b{}", i + 1)]);
        values.extend([draw(vec![w[1], w[0]]) * (1.0 / (w[0] as f64).sqrt()), draw(vec![w[1]]) * 0.1]);
    }
    let at: Vec<(&str, Tensor)> = names.iter().map(String::as_str).zip(values).collect();
    let layers = widths.len() - 1;
    let made = trace(
        |v| {
            let layer = |y: Tensor, l: usize| call(&(v[2 * l + 1].matmul(&y) + &v[2 * l + 2]));
            (0..layers).fold(v[0].clone(), layer).sum()
        },
        &at,
    )?;
    let shown: Vec<String> = widths.iter().map(usize::to_string).collect();
    Ok(made.titled(format!("MLP {} with {activation}, seed {seed}", shown.join("→"))))
}

/// One element of what a layer of a network gives for an input: variables are the network's parameters and the input.
///
/// # Errors
/// When there is no such layer or element, or the input does not fit.
pub fn neuron<M: Module + ?Sized>(model: &M, x: &Tensor, layer: &str, element: usize) -> Result<Trace> {
    let parameters = model.parameters();
    let mut at = vec![("input", x.clone())];
    let values = model.values();
    at.extend(parameters.iter().map(|(n, _)| n.as_str()).zip(values));
    let f = |v: &[Tensor]| model.with(&v[1..], |m| m.call(&v[0]));
    let root = Root::Neuron { module: layer.to_string(), element };
    let mut made = Tracer::new(&at).run(&f, &root)?;
    // A neuron does not depend on later layers.
    made.unused();
    Ok(made.titled(format!("{layer}[{element}]")))
}
