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
    /// As text in columns.
    #[must_use]
    pub fn text(&self) -> String {
        let mut rows: Vec<Vec<String>> =
            vec![[""].into_iter().chain(self.figures.iter().copied()).map(String::from).collect()];
        rows.extend(self.rows.iter().map(|(name, cells)| [name].into_iter().chain(cells).cloned().collect()));
        let mut text = columns(&rows);
        if !self.settings.is_empty() {
            let mut rows: Vec<Vec<String>> = vec![
                ["settings that differ"]
                    .into_iter()
                    .map(String::from)
                    .chain(self.rows.iter().map(|r| r.0.clone()))
                    .collect(),
            ];
            rows.extend(self.settings.iter().map(|(key, values)| {
                let shown = values.iter().map(|v| if v.is_empty() { "–".into() } else { v.clone() });
                [key.clone()].into_iter().chain(shown).collect()
            }));
            text.push('\n');
            text.push_str(&columns(&rows));
        }
        text
    }
}

/// Cells in columns, the first one to the left, the others to the right.
#[must_use]
pub fn columns(rows: &[Vec<String>]) -> String {
    let n = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |j: usize| rows.iter().filter_map(|r| r.get(j)).map(|c| c.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..n).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (j, cell) in row.iter().enumerate() {
            let room = " ".repeat(widths[j] - cell.chars().count());
            match j {
                0 => line.extend([cell.as_str(), &room]),
                _ => line.extend(["  ", &room, cell]),
            }
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
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
