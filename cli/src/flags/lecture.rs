//! The flags of the commands that teach: `explain`, `why`, `lab`.

use std::path::PathBuf;

use clap::Args;
use cotangent_lecture::{
    Lang,
    explain::{Format, Mode},
};

/// `cotangent explain`
#[derive(Args, Debug)]
#[command(after_help = AFTER_EXPLAIN)]
pub(crate) struct Explain {
    /// What to differentiate, such as 'y*ln(x) + sqrt(y*ln(x))'
    #[arg(value_name = "EXPRESSION", required_unless_present_any = ["mlp", "neuron"], allow_hyphen_values = true)]
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
    /// English or Korean: en, ko
    #[arg(long, value_name = "LANG", default_value = "en")]
    pub(crate) lang: Lang,
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
    /// Which of the bundled MNIST test images it looks at
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
  cotangent explain 'sum(W @ x)' --at 'x=[1,2],W=[[1,-1]]' --format html
  cotangent explain --mlp 2,3,1 --lang ko
  cotangent explain --neuron fc2:17 --run runs/latest --image 4 --mode reverse";

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
    /// English or Korean: en, ko
    #[arg(long, value_name = "LANG", default_value = "en")]
    pub(crate) lang: Lang,
}

const AFTER_WHY: &str = "\
Each argument computes its numbers while you wait, shows where the claim
fails, and checks it on seeded draws.

Examples:
  cotangent why
  cotangent why reverse-mode
  cotangent why C12 --lang ko
  cotangent why --rows
  cotangent why A7 --json | jq .numbers";
