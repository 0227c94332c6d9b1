//! Several runs beside each other: a table, their curves over each other, and the settings that differ.

use maud::{PreEscaped, html};

use crate::plot::{self, Chart, Line};
use crate::report::{figure, page, percent, time};
use crate::runs::Run;

/// What is compared.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Comparison {
    /// Names of the figures.
    pub figures: Vec<&'static str>,
    /// A run a row: its name, and its figures as they are shown.
    pub rows: Vec<(String, Vec<String>)>,
    /// Settings that are not the same in all runs: key, and the value in each run; empty where it has none.
    pub settings: Vec<(String, Vec<String>)>,
}

/// Compares runs, in the order given.
///
/// ```
/// use cotangent_board::{compare::compare, runs::{Run, Table}};
/// let run = |name: &str, lr: &str| Run {
///     name: name.into(),
///     config: format!("seed = 0\n[optim]\nlr = {lr}\n"),
///     epochs: Table::parse("epoch,test_acc\n1,0.9\n2,0.8\n").0,
///     ..Run::default()
/// };
/// let found = compare(&[run("a", "0.1"), run("b", "0.2")]);
/// assert_eq!(found.settings, [("optim.lr".to_string(), vec!["0.1".to_string(), "0.2".into()])]);
/// assert_eq!(found.rows[0].1[2..4], ["80.00%", "90.00%"]);
/// ```
#[must_use]
pub fn compare(runs: &[Run]) -> Comparison {
    let shown = |x: Option<f64>, f: fn(f64) -> String| x.map_or_else(|| "–".to_string(), f);
    // Most runs hold nothing out for validation, and an empty column says nothing.
    let any = |column: &str| runs.iter().any(|run| run.last(column).is_some());
    let more: Vec<(&str, &str)> =
        [("val_acc", "val acc"), ("test_macro_f1", "macro-F1")].into_iter().filter(|(c, _)| any(c)).collect();
    let rows = runs.iter().map(|run| {
        let mut cells = vec![
            run.status().replace('_', " "),
            shown(run.last("epoch"), figure),
            shown(run.last("test_acc"), percent),
            shown(run.greatest("test_acc"), percent),
            shown(run.last("test_loss"), figure),
            shown(run.last("train_loss"), figure),
            shown(run.seconds(), time),
        ];
        cells.splice(4..4, more.iter().map(|(column, _)| shown(run.last(column), percent)));
        (run.name.clone(), cells)
    });
    let all: Vec<Vec<(String, String)>> = runs.iter().map(Run::settings).collect();
    let mut keys: Vec<&String> = Vec::new();
    for (key, _) in all.iter().flatten() {
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    let values = |key: &String| -> Vec<String> {
        let value = |run: &Vec<(String, String)>| run.iter().find(|(k, _)| k == key).map(|(_, v)| v.clone());
        all.iter().map(|run| value(run).unwrap_or_default()).collect()
    };
    let settings = keys.into_iter().map(|key| (key.clone(), values(key)));
    let mut figures = vec!["status", "epochs", "test acc", "best", "test loss", "train loss", "time"];
    figures.splice(4..4, more.iter().map(|(_, name)| *name));
    Comparison {
        figures,
        rows: rows.collect(),
        settings: settings.filter(|(_, values)| values.windows(2).any(|w| w[0] != w[1])).collect(),
    }
}

impl Comparison {
    /// As text in columns, of at most so many characters where that matters.
    #[must_use]
    pub fn text(&self, width: Option<usize>) -> String {
        let mut rows: Vec<Vec<String>> =
            vec![[""].into_iter().chain(self.figures.iter().copied()).map(String::from).collect()];
        rows.extend(self.rows.iter().map(|(name, cells)| [name].into_iter().chain(cells).cloned().collect()));
        let mut text = columns(&rows, width);
        if !self.settings.is_empty() {
            let mut rows: Vec<Vec<String>> = vec![
                ["settings that differ"]
                    .into_iter()
                    .map(String::from)
                    .chain(self.rows.iter().map(|r| r.0.clone()))
                    .collect(),
            ];
            rows.extend(self.settings.iter().map(|(key, values)| {
                let shown = values.iter().map(|v| if v.is_empty() { "–".into() } else { brief(v) });
                [key.clone()].into_iter().chain(shown).collect()
            }));
            text.push('\n');
            text.push_str(&columns(&rows, width));
        }
        text
    }
}

/// The beginning of a text that is longer than a cell, such as all layers of a network.
fn brief(text: &str) -> String {
    const MOST: usize = 60;
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_string(),
    }
}

/// Cells in columns, the first one to the left, the others to the right. Where they need more than `width` columns of a
/// terminal, long cells go on in the next line, and columns without room stand below, with the first one again.
///
/// ```
/// use cotangent_board::compare::columns;
/// let rows = [["run", "loss"], ["a-long-name", "0.5"]].map(|row| row.map(String::from).to_vec());
/// assert_eq!(columns(&rows, None), "run          loss\na-long-name   0.5\n");
/// assert_eq!(columns(&rows, Some(14)), "run      loss\na-long-   0.5\nname\n");
/// ```
#[must_use]
pub fn columns(rows: &[Vec<String>], width: Option<usize>) -> String {
    let n = rows.iter().map(Vec::len).max().unwrap_or(0);
    let mut cells: Vec<Vec<String>> = rows.to_vec();
    cells.iter_mut().for_each(|row| row.resize(n, String::new()));
    let widths = |cells: &[Vec<String>]| -> Vec<usize> {
        let width = |j: usize| cells.iter().map(|row| row[j].chars().count()).max().unwrap_or(0);
        (0..n).map(width).collect()
    };
    let all: Vec<usize> = (0..n).collect();
    let needed: usize = widths(&cells).iter().map(|w| w + GAP).sum::<usize>().saturating_sub(GAP);
    let Some(width) = width.filter(|width| needed > *width) else {
        return table(&cells, &widths(&cells), &all);
    };
    // Half of the room is the first column's at most, the others share the rest.
    let first = widths(&cells).first().map_or(0, |w| *w.min(&(width / 2)));
    let share = ((width - first) / (n - 1).max(1)).max(SHORTEST + GAP) - GAP;
    let limit = |j: usize| if j == 0 { first } else { share.min(width.saturating_sub(first + GAP)).max(1) };
    let broken = |row: &Vec<String>| -> Vec<Vec<String>> {
        let parts: Vec<Vec<String>> =
            row.iter().enumerate().map(|(j, cell)| pieces(cell, limit(j))).collect();
        let lines = parts.iter().map(Vec::len).max().unwrap_or(0);
        (0..lines).map(|i| parts.iter().map(|p| p.get(i).cloned().unwrap_or_default()).collect()).collect()
    };
    let cells: Vec<Vec<String>> = cells.iter().flat_map(broken).collect();
    let widths = widths(&cells);
    let mut blocks: Vec<(usize, Vec<usize>)> = Vec::new();
    for j in 1..n {
        match blocks.last_mut().filter(|(used, _)| used + GAP + widths[j] <= width) {
            Some((used, block)) => {
                *used += GAP + widths[j];
                block.push(j);
            }
            None => blocks.push((widths[0] + GAP + widths[j], vec![0, j])),
        }
    }
    let blocks: Vec<String> = blocks.iter().map(|(_, block)| table(&cells, &widths, block)).collect();
    blocks.join("\n")
}

/// Spaces between columns.
const GAP: usize = 2;
/// A column is not made narrower than that to stand beside others: a date and a time.
const SHORTEST: usize = 16;

/// These columns of cells.
fn table(cells: &[Vec<String>], widths: &[usize], columns: &[usize]) -> String {
    let mut text = String::new();
    for row in cells {
        let mut line = String::new();
        for j in columns {
            let room = " ".repeat(widths[*j] - row[*j].chars().count());
            match j {
                0 => line.extend([row[*j].as_str(), &room]),
                _ => line.extend([&" ".repeat(GAP), room.as_str(), &row[*j]]),
            }
        }
        // What goes on in the next line may do so in other columns.
        if !line.trim().is_empty() {
            text.push_str(line.trim_end());
            text.push('\n');
        }
    }
    text
}

/// A cell in pieces of at most `limit` characters, cut behind a character that parts words where there is one.
fn pieces(cell: &str, limit: usize) -> Vec<String> {
    let mut rest: Vec<char> = cell.chars().collect();
    let mut pieces = Vec::new();
    while rest.len() > limit {
        let cut = rest[..limit].iter().rposition(|c| " -_/.,".contains(*c)).map_or(limit, |at| at + 1);
        let tail = rest.split_off(cut);
        pieces.push(rest.into_iter().collect());
        rest = tail;
    }
    pieces.push(rest.into_iter().collect());
    pieces
}

/// The curves of several runs over each other: test accuracy and test loss.
#[must_use]
pub fn charts(runs: &[Run]) -> Vec<Chart> {
    let overlay = |title: &str, column: &str, logarithmic| Chart {
        title: title.into(),
        x: "epoch".into(),
        logarithmic,
        lines: runs
            .iter()
            .enumerate()
            .map(|(i, run)| Line {
                name: run.name.clone(),
                points: run.epochs.points("epoch", column),
                // Colours repeat after six, dashes tell the next six from them.
                dashed: i / 6 % 2 == 1,
                colour: i,
            })
            .collect(),
        ..Chart::default()
    };
    vec![
        overlay("Test accuracy", "test_acc", false),
        overlay("Test loss", "test_loss", true),
        overlay("Training loss", "train_loss", true),
    ]
}

/// The comparison as one page that needs nothing but itself.
#[must_use]
pub fn html(runs: &[Run]) -> String {
    let found = compare(runs);
    let body = html! {
        header { p.kind { "Comparison" } h1 { (runs.len()) " runs" } }
        section {
            h2 { "Figures" }
            div.wide {
                table {
                    thead { tr { th scope="col" { "run" } @for name in &found.figures { th scope="col" { (name) } } } }
                    tbody { @for (name, cells) in &found.rows { tr { th scope="row" { (name) } @for cell in cells { td { (cell) } } } } }
                }
            }
        }
        section {
            h2 { "Curves" }
            div.charts { @for chart in charts(runs) { figure { (PreEscaped(plot::lines(&chart))) } } }
        }
        section {
            h2 { "Settings that differ" }
            @if found.settings.is_empty() { p { "None: they are the same." } }
            @else {
                div.wide {
                    table {
                        thead { tr { th scope="col" { "setting" } @for (name, _) in &found.rows { th scope="col" { (name) } } } }
                        tbody { @for (key, values) in &found.settings { tr { th scope="row" { (key) } @for value in values { td { (value) } } } } }
                    }
                }
            }
        }
    };
    page("Comparison of training runs", &body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runs::Table;

    #[test]
    fn long_names_and_many_runs_fit_into_a_terminal() {
        let run = |name: String, lr: usize| Run {
            name,
            config: format!("[data]\nname = \"folder:{}\"\n[optim]\nlr = {lr}\n", "deep/er".repeat(10 + lr)),
            epochs: Table::parse("epoch,test_acc,val_acc,test_macro_f1\n1,0.9,0.8,0.7\n").0,
            ..Run::default()
        };
        for (n, length) in [(2, 3), (2, 70), (3, 30), (20, 12), (9, 200)] {
            let runs: Vec<Run> = (0..n).map(|i| run(format!("{i:-<length$}"), i)).collect();
            let found = compare(&runs);
            let (narrow, wide) = (found.text(Some(80)), found.text(None));
            assert!(narrow.lines().all(|line| line.chars().count() <= 80), "{narrow}");
            assert!(wide.lines().any(|line| line.chars().count() > 80), "{wide}");
            // Nothing is lost.
            let letters = |text: &str, c: char| text.chars().filter(|x| *x == c).count();
            assert!(
                letters(&narrow, '%') == letters(&wide, '%') && letters(&narrow, 'd') >= letters(&wide, 'd')
            );
        }
        let few = compare(&[run("a".into(), 1)]);
        assert_eq!(few.text(Some(200)), few.text(None));
    }
}
