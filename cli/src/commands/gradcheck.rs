//! `cotangent gradcheck`: three ways to the same derivative, layer by layer.

use serde::Serialize;

use crate::config::LayerConfig;
use crate::console::Console;
use crate::data::{Outline, outline};
use crate::diagnostic::{Diagnostic, Exit};
use crate::flags::{Global, Gradcheck};
use crate::gradients::{BATCH, Comparison, compare_layers};
use crate::machine;
use crate::model;

#[derive(Serialize)]
struct Line<'a> {
    layer: &'a str,
    forward_reverse: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    reverse_difference: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kink_within: Option<f64>,
    ok: bool,
}

/// Checks the derivatives of a network with random weights.
pub(crate) fn run(flags: &Gradcheck, global: &Global, console: &mut Console) -> Result<Exit, Diagnostic> {
    let layers = flags.network.layers(global)?;
    let (mut config, _) = layers.merge()?;
    machine::device(config.device)?;
    // What is drawn anew at every call has no difference.
    for layer in &mut config.layers {
        if let LayerConfig::Dropout(dropout) = layer
            && (0.0..1.0).contains(&dropout.p)
        {
            dropout.p = 0.0;
        }
    }
    let found = machine::with_threads(machine::threads(config.threads), || {
        let Outline { shape, classes, .. } = outline(&config.data, config.seed)?;
        let place = |problem| layers.place(&problem);
        let seed = flags.seed.unwrap_or(config.seed);
        let (network, _) = model::build_at(&(&config).into(), &shape, classes, seed, BATCH, &place)?;
        compare_layers(&network, &shape, classes, seed)
    })?;
    if console.json() {
        for c in &found {
            console.print_json(&Line {
                layer: &c.layer,
                forward_reverse: c.modes,
                reverse_difference: c.difference,
                kink_within: c.kink,
                ok: c.is_ok(),
            })?;
        }
    } else {
        console.print(&table(&found))?;
    }
    Ok(if found.iter().all(Comparison::is_ok) { Exit::Success } else { Exit::Failure })
}

/// Relative differences, one line a layer.
fn table(found: &[Comparison]) -> String {
    let names = found.iter().map(|c| c.layer.chars().count()).max().unwrap_or(0).max("layer".len());
    let line = |layer: &str, modes: &str, difference: &str, verdict: &str| {
        let line = format!("  {layer:<names$}   {modes:<18}   {difference:<29}   {verdict}");
        format!("{}\n", line.trim_end())
    };
    let mut text = line("layer", "forward vs reverse", "reverse vs finite differences", "");
    for c in found {
        let difference = match (c.difference, c.kink) {
            (Some(d), _) => format!("{d:.1e}"),
            (None, Some(h)) => format!("kink within {h:.0e} of x"),
            (None, None) => String::new(),
        };
        let verdict = if c.is_ok() { "ok" } else { "DIFFERS" };
        text += &line(&c.layer, &format!("{:.1e}", c.modes), &difference, verdict);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A2: a kink near the point is named, and is no failure.
    #[test]
    fn a2_a_kink_is_said_in_words() {
        let one = |modes, difference, kink| Comparison { layer: "fc".into(), modes, difference, kink };
        let text =
            table(&[one(3.1e-16, Some(2.4e-9), None), one(0.0, None, Some(1e-7)), one(0.5, Some(1.0), None)]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[1], "  fc      3.1e-16              2.4e-9                          ok");
        assert!(lines[2].contains("kink within 1e-7 of x") && lines[2].ends_with("ok"));
        assert!(lines[3].ends_with("DIFFERS"));
    }
}
