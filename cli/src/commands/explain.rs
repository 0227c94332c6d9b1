//! `cotangent explain`: what differentiation does, step by step.

use cotangent::data::Dataset;
use cotangent_lecture::{
    Lang,
    explain::{Expression, Format, ParseError, Style, Trace, bindings, expression, mlp, neuron},
};

use super::trained;
use crate::console::Console;
use crate::data::{Data, Known, count};
use crate::diagnostic::{Diagnostic, Exit, Place};
use crate::drawing::must_be_its_kind;
use crate::flags::{Explain, Global, language};
use crate::model;
use crate::run_folder::write_file;

/// Explains an expression, a perceptron, or one neuron.
pub(crate) fn run(flags: &Explain, global: &Global, console: &mut Console) -> Result<Exit, Diagnostic> {
    let lang = language(flags.lang);
    explain(flags, lang, global, console).map_err(|e| e.reworded(|text| lang.words(text)))
}

fn explain(flags: &Explain, lang: Lang, global: &Global, console: &mut Console) -> Result<Exit, Diagnostic> {
    let trace = match (&flags.neuron, &flags.mlp, &flags.expression) {
        (Some(word), ..) => neuron_of(flags, word)?,
        (_, Some(widths), _) => mlp(widths, &flags.activation, flags.seed)
            .map_err(|e| Diagnostic::from(e).exiting(Exit::Usage))?,
        (.., Some(text)) => of_expression(flags, text)?,
        _ => {
            return Err(Diagnostic::new(Exit::Usage, "there is nothing to explain")
                .help("an expression at a point: `cotangent explain 'x*sin(x)' --at x=1`")
                .help("a small perceptron: `cotangent explain --mlp 2,3,1`")
                .help(
                    "one neuron of a trained network: `cotangent explain --neuron fc2:17 --run runs/latest`",
                ));
        }
    };
    let format = if global.json { Format::Json } else { flags.format };
    let text = trace.render(format, Style { mode: flags.mode, lang, slides: flags.slides });
    match &flags.out {
        None => console.print(&text)?,
        Some(path) => {
            // Of text no beginning says what it is.
            let known = if matches!(format, Format::Html | Format::Svg) { 4 } else { 0 };
            must_be_its_kind(path, &text.as_bytes()[..known.min(text.len())])?;
            write_file(path, text.as_bytes())?;
            console.say(&format!("written to {}", path.display()));
        }
    }
    Ok(Exit::Success)
}

/// What is wrong with an expression, underlined.
fn at(name: &str, text: &str, error: ParseError) -> Diagnostic {
    // The end of the text is a place too.
    let text = if error.at.end > text.len() { format!("{text} ") } else { text.to_string() };
    let place = Place { name: name.into(), text, span: error.at, label: String::new() };
    let found = Diagnostic::new(Exit::Usage, error.message).at(place);
    if error.help.is_empty() { found } else { found.help(error.help) }
}

fn of_expression(flags: &Explain, text: &str) -> Result<Trace, Diagnostic> {
    let point = flags.at.as_deref().unwrap_or_default();
    let values = bindings(point).map_err(|e| at("--at", point, e))?;
    let parsed = Expression::parse(text).map_err(|e| at("expression", text, e))?;
    expression(&parsed, &values).map_err(|e| at("expression", text, e))
}

fn neuron_of(flags: &Explain, word: &str) -> Result<Trace, Diagnostic> {
    let wrong = || {
        Diagnostic::new(Exit::Usage, format!("`--neuron {word}`: expected LAYER:NUMBER"))
            .help("such as `--neuron fc2:17`; `cotangent summary RUN` lists the layers")
    };
    let (layer, number) = word.rsplit_once(':').ok_or_else(wrong)?;
    let number: usize = number.parse().map_err(|_| wrong())?;
    let (_, checkpoint) = trained(&flags.run)?;
    let (network, _) = model::restore(&checkpoint, 1)?;
    cotangent::nn::ParametersExt::eval(&network);
    let about = &checkpoint.about;
    let mut config = about.config.data.clone();
    config.resolve().map_err(Diagnostic::from)?;
    let data = Data::load(&config, about.config.seed, Some(&Known::of(about, false)))?;
    let there = count(&data.test);
    if flags.image >= there {
        let title = format!("`--image {}`: there are {there} test examples, counted from 0", flags.image);
        return Err(Diagnostic::new(Exit::Usage, title));
    }
    let mut example = data.test.get(&[flags.image])?;
    let label = example.pop().and_then(|y| y.to_vec::<i64>().first().copied()).unwrap_or(-1);
    let x = example.swap_remove(0);
    let made = neuron(&network, &x, layer, number).map_err(|e| Diagnostic::from(e).exiting(Exit::Usage))?;
    let class = usize::try_from(label).ok().and_then(|c| data.classes.get(c)).map_or("?", String::as_str);
    let title = format!("{}   for test example {} ({class})", made.title, flags.image);
    Ok(made.titled(title))
}
