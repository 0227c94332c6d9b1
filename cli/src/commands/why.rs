//! `cotangent why`: every row of the lecture, with numbers.

use cotangent_lecture::{
    Lang,
    why::{self, Row, TOPICS},
};
use serde_json::json;

use crate::console::Console;
use crate::diagnostic::{Diagnostic, Exit};
use crate::flags::{Global, Why};
use crate::machine;

/// Lists topics or rows, or argues for some.
pub(crate) fn run(flags: &Why, global: &Global, console: &mut Console) -> Result<Exit, Diagnostic> {
    let (_, threads) = super::place(global)?;
    let Some(word) = &flags.topic else {
        return match flags.rows {
            true => rows(flags.lang, console),
            false => topics(flags.lang, console),
        };
    };
    let asked = why::named(word).map_err(|e| Diagnostic::from(e).exiting(Exit::Usage))?;
    let mut fine = true;
    for (i, row) in asked.iter().enumerate() {
        let found = machine::with_threads(threads, || Ok(row.argue(flags.lang)?))?;
        fine &= found.holds();
        match console.json() {
            true => console.print_json(&found.json())?,
            false => {
                let between = if i == 0 { "" } else { "\n" };
                console.print(&format!("{between}{}", found.text()))?;
            }
        }
    }
    Ok(if fine { Exit::Success } else { Exit::Failure })
}

fn topics(lang: Lang, console: &mut Console) -> Result<Exit, Diagnostic> {
    let width = TOPICS.iter().map(|t| t.name.len()).max().unwrap_or(0);
    for t in TOPICS {
        let rows: Vec<&str> = t.rows().map(|r| r.id).collect();
        match console.json() {
            true => console.print_json(&json!({"topic": t.name, "title": t.title(lang), "rows": rows}))?,
            false => {
                console.print(&format!("{:<width$}  {}  ({})", t.name, t.title(lang), rows.join(" ")))?
            }
        }
    }
    Ok(Exit::Success)
}

fn rows(lang: Lang, console: &mut Console) -> Result<Exit, Diagnostic> {
    let all: Vec<&Row> = why::rows().collect();
    let (commands, pages) = (all.iter().map(|r| r.command().len()), all.iter().map(|r| r.page().len()));
    let (command, page) = (commands.max().unwrap_or(0), pages.max().unwrap_or(0));
    for r in all {
        match console.json() {
            true => console.print_json(&json!({
                "row": r.id, "topic": r.topic, "command": r.command(), "page": r.page(), "title": r.title(lang),
            }))?,
            false => console.print(&format!(
                "{:<3}  {:<command$}  {:<page$}  {}",
                r.id,
                r.command(),
                r.page(),
                r.title(lang)
            ))?,
        }
    }
    Ok(Exit::Success)
}
