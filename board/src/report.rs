//! `report.html`: a run in one file that opens anywhere, with scripts off, on paper, dark or light.
//!
//! Whatever comes from the run folder is text or the bytes of a picture here; nothing of it becomes markup.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::plot::{self, Chart, Line};
use crate::runs::{Evaluation, Run};

/// How pages look that need nothing but themselves.
pub(crate) const STYLE: &str = include_str!("../page/report.css");

/// The curves of a run, with the names of their files: loss, accuracy, macro-F1 and the learning rate, as far as there are
/// numbers for them.
///
/// ```
/// use cotangent_board::{report::charts, runs::{Run, Table}};
/// let epochs = Table::parse("epoch,step,lr,train_loss,test_loss\n1,10,0.1,0.9,0.8\n2,20,0.1,0.5,0.6\n").0;
/// let run = Run { epochs, ..Run::default() };
/// let names: Vec<&str> = charts(&run).iter().map(|(name, _)| *name).collect();
/// assert_eq!(names, ["loss", "rate"]);
/// ```
#[must_use]
pub fn charts(run: &Run) -> Vec<(&'static str, Chart)> {
    let line = |name: &str, points: Vec<(f64, f64)>, dashed, colour| Line {
        name: name.into(),
        points,
        dashed,
        colour,
    };
    let split = |figure: &str| -> Vec<Line> {
        [("train", false, 0), ("val", true, 2), ("test", true, 1)]
            .into_iter()
            .map(|(part, dashed, colour)| {
                line(part, run.epochs.points("epoch", &format!("{part}_{figure}")), dashed, colour)
            })
            .filter(|l| !l.points.is_empty())
            .collect()
    };
    let rates = if run.steps.rows.is_empty() { &run.epochs } else { &run.steps };
    let rate = rates.points("step", "lr");
    let rate = if rate.is_empty() { Vec::new() } else { vec![line("rate", rate, false, 3)] };
    let chart = |title: &str, x: &str, lines, logarithmic| Chart {
        title: title.into(),
        x: x.into(),
        lines,
        logarithmic,
        ..Chart::default()
    };
    let all = [
        ("loss", chart("Loss", "epoch", split("loss"), true)),
        ("accuracy", chart("Accuracy", "epoch", split("acc"), false)),
        ("macro-f1", chart("Macro-F1: the mean over classes", "epoch", split("macro_f1"), false)),
        ("rate", chart("Learning rate", "step", rate, false)),
    ];
    all.into_iter().filter(|(_, chart)| !chart.lines.is_empty()).collect()
}

/// The worst mistakes as an SVG document: each picture with its class, what it was taken for, and how surely.
#[must_use]
pub fn mistakes(found: &Evaluation) -> String {
    let (columns, cell) = (8, 96);
    let name = |c: usize| found.classes.get(c).map_or("?", String::as_str);
    let rows = found.mistakes.len().div_ceil(columns).max(1);
    let (width, height) = (columns * (cell + 12) + 12, rows * (cell + 44) + 12);
    html! {
        svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="The worst mistakes" width=(width) height=(height)
            viewBox=(format!("0 0 {width} {height}")) font-family="sans-serif" font-size="12" {
            rect width="100%" height="100%" fill="#ffffff" {}
            @for (i, m) in found.mistakes.iter().enumerate() {
                @let (x, y) = (12 + i % columns * (cell + 12), 12 + i / columns * (cell + 44));
                @if !m.png.is_empty() {
                    image x=(x) y=(y) width=(cell) height=(cell) style="image-rendering:pixelated"
                        href=(format!("data:image/png;base64,{}", m.png)) {}
                }
                text x=(x) y=(y + cell + 15) fill="#1b1b1f" { (format!("{} taken for {}", name(m.truth), name(m.predicted))) }
                text x=(x) y=(y + cell + 30) fill="#6b6b76" {
                    title { (m.called()) }
                    (format!("{:.0}% · {}", 100.0 * m.probability, tail(&m.called(), 11)))
                }
            }
        }
    }
    .into_string()
}

/// The end of a text, which tells most files apart.
fn tail(text: &str, longest: usize) -> String {
    let n = text.chars().count();
    if n <= longest {
        text.into()
    } else {
        format!("…{}", text.chars().skip(n - longest + 1).collect::<String>())
    }
}

/// The whole report.
///
/// ```
/// use cotangent_board::{report, runs::Run};
/// let page = report::html(&Run { name: "<b>".into(), ..Run::default() });
/// assert!(page.contains("&lt;b&gt;") && !page.contains("<script"));
/// ```
#[must_use]
pub fn html(run: &Run) -> String {
    let body = html! {
        header {
            p.kind { "Training run" }
            h1 { (run.name) }
            (headline(run))
        }
        @if !run.damage.is_empty() {
            section.damage {
                h2 { "Missing or damaged" }
                ul { @for what in &run.damage { li { (what) } } }
            }
        }
        (facts(run))
        (curves(run))
        @if let Some(found) = &run.evaluation {
            (confusion(found))
            (worst(found))
        }
        (filters(run))
        (epochs(run))
        @if !run.model.is_empty() {
            section { h2 { "Network" } pre { (run.model) } }
        }
        @if !run.config.is_empty() {
            section { h2 { "Settings" } pre { (run.config) } }
        }
    };
    page(&format!("{} · training run", run.name), &body)
}

/// A page that needs nothing but itself.
pub(crate) fn page(title: &str, body: &Markup) -> String {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                main { (body) }
                footer { p { "Made by cotangent. This page loads nothing and runs no scripts." } }
            }
        }
    }
    .into_string()
}

pub(crate) fn percent(share: f64) -> String {
    if share.is_finite() { format!("{:.2}%", 100.0 * share) } else { "–".into() }
}

pub(crate) fn figure(x: f64) -> String {
    if !x.is_finite() {
        "–".into()
    } else if x.fract() == 0.0 && x.abs() < 1e15 {
        format!("{x}")
    } else if (1e-3..1e6).contains(&x.abs()) {
        format!("{x:.4}")
    } else {
        format!("{x:.3e}")
    }
}

/// `61`, `4m05s`, `2h00m`
pub(crate) fn time(seconds: f64) -> String {
    let s = seconds.max(0.0);
    match s {
        s if !s.is_finite() => "–".into(),
        s if s < 100.0 => format!("{s:.1} s"),
        s if s < 6000.0 => format!("{}m{:02}s", s as u64 / 60, s as u64 % 60),
        s => format!("{}h{:02}m", s as u64 / 3600, s as u64 % 3600 / 60),
    }
}

fn headline(run: &Run) -> Markup {
    let (status, reason) = (run.status(), run.text("reason"));
    let all = |column: &str| run.last(column);
    html! {
        p.status { strong { (status.replace('_', " ")) } @if !reason.is_empty() { ": " (reason) } }
        ul.tiles {
            @if let Some(x) = all("test_acc") { li { b { (percent(x)) } span { "test accuracy" } } }
            @if let Some(x) = all("test_macro_f1") { li { b { (percent(x)) } span { "test macro-F1" } } }
            @if let Some(x) = all("test_balanced_acc") { li { b { (percent(x)) } span { "balanced test accuracy" } } }
            @if let Some(x) = all("val_acc") { li { b { (percent(x)) } span { "validation accuracy" } } }
            @if let Some(x) = all("test_loss") { li { b { (figure(x)) } span { "test loss" } } }
            @if let Some(x) = all("epoch") { li { b { (figure(x)) } span { "epochs" } } }
            @if let Some(x) = run.seconds() { li { b { (time(x)) } span { "training steps" } } }
        }
    }
}

/// What `run.json` says, in the order of the file.
fn facts(run: &Run) -> Markup {
    let shown: Vec<(&str, String)> = run
        .record
        .iter()
        .filter(|(key, value)| {
            !value.is_null() && !["status", "reason", "test_acc", "test_loss"].contains(&key.as_str())
        })
        .map(|(key, value)| (key.as_str(), crate::runs::words(value)))
        .collect();
    html! {
        @if !shown.is_empty() {
            section {
                h2 { "Where and how it ran" }
                dl { @for (key, value) in shown { div { dt { (key.replace('_', " ")) } dd { (value) } } } }
            }
        }
    }
}

fn curves(run: &Run) -> Markup {
    let charts = charts(run);
    html! {
        @if !charts.is_empty() {
            section {
                h2 { "Curves" }
                div.charts { @for (_, chart) in &charts { figure { (PreEscaped(plot::lines(chart))) } } }
            }
        }
    }
}

fn confusion(found: &Evaluation) -> Markup {
    let name = |c: usize| found.classes.get(c).map_or("?", String::as_str);
    html! {
        section {
            h2 { "Which class was taken for which" }
            p { "On the test examples, after " (found.epoch) @if found.epoch == 1 { " epoch: " } @else { " epochs: " } (percent(found.accuracy())) " were right." }
            figure.confusion { (PreEscaped(plot::confusion(&found.classes, &found.confusion))) }
            div.wide {
                table {
                    thead { tr { th scope="col" { "class" } th scope="col" { "examples" } th scope="col" { "precision" } th scope="col" { "recall" } th scope="col" { "F1" } } }
                    tbody {
                        @for (c, f) in found.by_class().iter().enumerate() {
                            tr { th scope="row" { (name(c)) } td { (f.examples) } td { (percent(f.precision)) } td { (percent(f.recall)) } td { (percent(f.f1)) } }
                        }
                    }
                }
            }
        }
    }
}

fn worst(found: &Evaluation) -> Markup {
    let name = |c: usize| found.classes.get(c).map_or("?", String::as_str);
    html! {
        @if !found.mistakes.is_empty() {
            section {
                h2 { "The worst mistakes" }
                ul.gallery {
                    @for m in &found.mistakes {
                        li {
                            @if !m.png.is_empty() {
                                img alt=(format!("test example {}", m.called())) src=(format!("data:image/png;base64,{}", m.png));
                            }
                            span { b { (name(m.truth)) } " taken for " b { (name(m.predicted)) } }
                            small { (format!("{:.0}%", 100.0 * m.probability)) " · " (m.called()) }
                        }
                    }
                }
            }
        }
    }
}

fn filters(run: &Run) -> Markup {
    html! {
        @for (layer, png) in run.filters() {
            section {
                h2 { "Filters of " (layer) }
                p { "The weights of each output of the layer: black is the most negative, white the most positive, grey is 0." }
                img.filters alt=(format!("filters of {layer}")) src=(data_uri(&png));
            }
        }
    }
}

fn data_uri(png: &[u8]) -> String {
    format!("data:image/png;base64,{}", STANDARD.encode(png))
}

/// Bytes in Base64, as [`crate::runs::Mistake::png`] has them.
#[must_use]
pub fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

fn epochs(run: &Run) -> Markup {
    let t = &run.epochs;
    let shares: Vec<bool> = t.columns.iter().map(|c| c.ends_with("_acc") || c.ends_with("_f1")).collect();
    // Columns that are empty throughout say nothing.
    let full: Vec<usize> =
        (0..t.columns.len()).filter(|i| t.rows.iter().any(|row| row[*i].is_finite())).collect();
    html! {
        @if !t.rows.is_empty() {
            section {
                h2 { "Epochs" }
                div.wide {
                    table {
                        thead { tr { @for i in &full { th scope="col" { (t.columns[*i].replace('_', " ")) } } } }
                        tbody {
                            @for row in &t.rows {
                                tr { @for i in &full { td { @if shares[*i] { (percent(row[*i])) } @else { (figure(row[*i])) } } } }
                            }
                        }
                    }
                }
            }
        }
    }
}
