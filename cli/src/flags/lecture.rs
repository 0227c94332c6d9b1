//! The flags of the commands that teach: `explain`, `why`, `lab`.

use std::path::PathBuf;

use clap::Args;
use cotangent_lecture::{
    Lang,
    explain::{Format, Mode},
};

/// The language that was asked for, or that of the user's locale.
pub(crate) fn language(asked: Option<Lang>) -> Lang {
    let set = |name: &str| std::env::var(name).ok().filter(|v| !v.is_empty());
    let locale = || ["LC_ALL", "LC_MESSAGES", "LANG"].into_iter().find_map(set).unwrap_or_default();
    asked.unwrap_or_else(|| Lang::of_locale(&locale()))
}

/// `cotangent explain`
#[derive(Args, Debug)]
#[command(after_help = AFTER_EXPLAIN)]
pub(crate) struct Explain {
    /// What to differentiate, such as 'y*ln(x) + sqrt(y*ln(x))'
    #[arg(value_name = "EXPRESSION", allow_hyphen_values = true)]
    pub(crate) expression: Option<String>,
    /// Where: x=3,y=2; vectors and matrices as w=[1,2], A=[[1,2],[3,4]]
    #[arg(long, value_name = "NAME=VALUE,..", conflicts_with_all = ["mlp", "neuron"])]
    pub(crate) at: Option<String>,
    /// Which tables: forward, reverse, both
    #[arg(long, value_name = "MODE", default_value = "both")]
    pub(crate) mode: Mode,
    /// How to write it: text, latex, dot, svg, json, html (a page with a slider, which needs nothing else)
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub(crate) format: Format,
    /// Also show what the lecture's slip, 1/√b instead of 1/(2√b), would give
    #[arg(long)]
    pub(crate) slides: bool,
    /// English or Korean: en, ko; else what LC_ALL or LANG says
    #[arg(long, value_name = "LANG")]
    pub(crate) lang: Option<Lang>,
    /// A multilayer perceptron with these widths, input first, 1 last, instead of an expression
    #[arg(long, value_name = "WIDTHS", value_delimiter = ',', conflicts_with_all = ["expression", "neuron"])]
    pub(crate) mlp: Option<Vec<usize>>,
    /// Its activation: sigmoid, tanh, relu, none
    #[arg(long, value_name = "NAME", default_value = "sigmoid", requires = "mlp")]
    pub(crate) activation: String,
    /// Draws its weights
    #[arg(long, value_name = "N", default_value_t = 0, requires = "mlp")]
    pub(crate) seed: u64,
    /// One neuron of a trained network, as LAYER:NUMBER, instead of an expression
    #[arg(long, value_name = "LAYER:NUMBER", conflicts_with = "expression")]
    pub(crate) neuron: Option<String>,
    /// The run folder or checkpoint of that network
    #[arg(long, value_name = "RUN", default_value = "runs/latest", requires = "neuron")]
    pub(crate) run: PathBuf,
    /// Which of that run's test examples it looks at, from 0
    #[arg(long, value_name = "N", default_value_t = 0, requires = "neuron")]
    pub(crate) image: usize,
    /// Write to a file instead of stdout
    #[arg(short, long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
}

const AFTER_EXPLAIN: &str = "\
Numbers, variables, vectors and matrices; + - * / ^, @ for the matrix product;
exp ln sqrt sin cos tanh sigmoid relu abs square max min sum mean norm softmax
t (the transpose). Equal parts are computed once.

Examples:
  cotangent explain 'y*ln(x) + sqrt(y*ln(x))' --at x=3,y=2
  cotangent explain 'y*ln(x) + sqrt(y*ln(x))' --at x=3,y=2 --slides
  cotangent explain 'sum(W @ x)' --at 'x=[1,2],W=[[1,-1]]'
  cotangent explain 'x*sin(x)' --at x=1 --format html --out slider.html
  cotangent explain --mlp 2,3,1 --lang ko
  cotangent explain --neuron fc2:17 --run runs/latest --image 4";

/// `cotangent why`
#[derive(Args, Debug)]
#[command(after_help = AFTER_WHY)]
pub(crate) struct Why {
    /// A topic, or a row of the lecture such as C8; without one, the topics are listed
    #[arg(value_name = "TOPIC|ROW", conflicts_with = "rows")]
    pub(crate) topic: Option<String>,
    /// List every row with its command and its page
    #[arg(long)]
    pub(crate) rows: bool,
    /// The best order of the product (row C16) for widths of your own, the result's first, such as 1,100,20,50
    #[arg(long, value_name = "WIDTHS", conflicts_with_all = ["rows", "plot", "train"])]
    pub(crate) widths: Option<String>,
    /// Draw what the row computes (A14, C3, D4) into an SVG file
    #[arg(long, value_name = "FILE", requires = "topic")]
    pub(crate) plot: Option<PathBuf>,
    /// Train for real where a row trains (A15, H12): to 98.5 % of MNIST, which takes longer than five seconds
    #[arg(long, requires = "topic")]
    pub(crate) train: bool,
    /// English or Korean: en, ko; else what LC_ALL or LANG says
    #[arg(long, value_name = "LANG")]
    pub(crate) lang: Option<Lang>,
}

const AFTER_WHY: &str = "\
Each argument computes its numbers while you wait, shows where the claim
fails, and checks it on seeded draws.

Examples:
  cotangent why
  cotangent why reverse-mode
  cotangent why C12 --lang ko
  cotangent why A15 --train
  cotangent why C3 --plot difference.svg
  cotangent why reverse-mode --widths 10,20,1,20,10
  cotangent why --rows
  cotangent why A7 --json | jq .numbers";
