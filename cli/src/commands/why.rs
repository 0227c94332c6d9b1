//! `cotangent why`: every row of the lecture, with numbers.

use cotangent_board::plot::{Chart, Line, lines};
use cotangent_lecture::{
    Lang,
    why::{self, Plot, Row, TOPICS},
};
use serde_json::json;

use crate::console::Console;
use crate::diagnostic::{Diagnostic, Exit};
use crate::drawing;
use crate::flags::{Global, Why, language};
use crate::machine;

/// Lists topics or rows, or argues for some.
pub(crate) fn run(flags: &Why, global: &Global, console: &mut Console) -> Result<Exit, Diagnostic> {
    let lang = language(flags.lang);
    argue(flags, lang, global, console).map_err(|e| e.reworded(|text| lang.words(text)))
}

fn argue(flags: &Why, lang: Lang, global: &Global, console: &mut Console) -> Result<Exit, Diagnostic> {
    let (_, threads) = super::place(global)?;
    if let Some(text) = &flags.widths {
        let widths: Result<Vec<u64>, &str> =
            text.split(',').map(|w| w.trim().parse().map_err(|_| w.trim())).collect();
        let widths = widths.map_err(|word| {
            Diagnostic::new(Exit::Usage, format!("`--widths {text}`: `{word}` is no width"))
                .help("such as `cotangent why reverse-mode --widths 1,100,20,50`")
        })?;
        if let Some(word) = &flags.topic
            && !why::named(word).is_ok_and(|rows| rows.iter().any(|r| r.id == "C16"))
        {
            let found = Diagnostic::new(Exit::Usage, format!("`--widths`: {word} is not about products"));
            return Err(found.help("`cotangent why reverse-mode --widths 1,100,20,50`"));
        }
        let found = why::chain(&widths, lang).map_err(|e| Diagnostic::from(e).exiting(Exit::Usage))?;
        match console.json() {
            true => console.print_json(&found.json())?,
            false => console.print(&found.text())?,
        }
        return Ok(Exit::Success);
    }
    let Some(word) = &flags.topic else {
        return match flags.rows {
            true => rows(lang, console),
            false => topics(lang, console),
        };
    };
    let asked = why::named(word).map_err(|e| Diagnostic::from(e).exiting(Exit::Usage))?;
    if flags.train && !asked.iter().any(|row| row.trains()) {
        let title = format!("`--train`: {word} argues without a training");
        return Err(Diagnostic::new(Exit::Usage, title).help("rows A15 and H12 train"));
    }
    if let Some(path) = &flags.plot {
        drawing::can_be(path)?;
    }
    let mut fine = true;
    let mut drawn = None;
    for (i, row) in asked.iter().enumerate() {
        let found = machine::with_threads(threads, || {
            Ok(if flags.train { row.train(lang)? } else { row.argue(lang)? })
        })?;
        fine &= found.holds();
        drawn = drawn.or_else(|| found.picture().map(picture));
        match console.json() {
            true => console.print_json(&found.json())?,
            false => {
                let between = if i == 0 { "" } else { "\n" };
                console.print(&format!("{between}{}", found.text()))?;
            }
        }
    }
    if let Some(path) = &flags.plot {
        let Some(svg) = drawn else {
            let found = Diagnostic::new(Exit::Usage, format!("`--plot`: {word} has no picture"));
            return Err(found.help("rows A14, C3 and D4 have one"));
        };
        drawing::write(path, &svg)?;
    }
    Ok(if fine { Exit::Success } else { Exit::Failure })
}

fn picture(plot: &Plot) -> String {
    lines(&Chart {
        title: plot.title.clone(),
        x: plot.x.clone(),
        y: plot.y.clone(),
        lines: plot
            .lines
            .iter()
            .enumerate()
            .map(|(colour, (name, points))| Line {
                name: name.clone(),
                points: points.clone(),
                dashed: colour > 0,
                colour,
            })
            .collect(),
        logarithmic: true,
    })
}

fn topics(lang: Lang, console: &mut Console) -> Result<Exit, Diagnostic> {
    for t in TOPICS.iter() {
        let rows: Vec<&str> = t.rows().map(|r| r.id).collect();
        match console.json() {
            true => console.print_json(&json!({"topic": t.name, "title": t.title(lang), "rows": rows}))?,
            false => {
                console.print(&format!("{}  ({})", t.name, rows.join(" ")))?;
                console.print(&format!("    {}", t.title(lang)))?
            }
        }
    }
    Ok(Exit::Success)
}

fn rows(lang: Lang, console: &mut Console) -> Result<Exit, Diagnostic> {
    let all: Vec<&Row> = why::rows().collect();
    let command = all.iter().map(|r| r.command().len()).max().unwrap_or(0);
    for r in all {
        match console.json() {
            true => console.print_json(&json!({
                "row": r.id, "topic": r.topic, "command": r.command(), "page": r.page(), "title": r.title(lang),
            }))?,
            false => {
                console.print(&format!("{:<3}  {}", r.id, r.title(lang)))?;
                console.print(&format!("     {:<command$}  {}", r.command(), r.page()))?
            }
        }
    }
    Ok(Exit::Success)
}
