//! The graph as a picture: variables on the left, the result on the right.

use super::{
    Style,
    text::value,
    trace::{Kind, Trace},
};

/// Between two columns there is room for a label.
const COLUMN: f64 = 226.0;
const ROW: f64 = 74.0;
const WIDTH: f64 = 150.0;
const HEIGHT: f64 = 44.0;
const MARGIN: f64 = 16.0;
/// How far an edge swings out to pass a box.
const AROUND: f64 = 56.0;

/// Inside an element.
pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// Column and row of every node: a node stands one column behind what it reads.
fn places(t: &Trace) -> Vec<(f64, f64)> {
    let n = t.nodes.len();
    let mut column = vec![0usize; n];
    for i in 0..n {
        column[i] = t.nodes[i].reads.iter().map(|r| column[*r] + 1).max().unwrap_or(0);
    }
    // A constant stands beside its reader.
    for i in (0..n).rev().filter(|i| t.nodes[*i].kind == Kind::Constant) {
        let reader = (0..n).filter(|r| t.nodes[*r].reads.contains(&i)).map(|r| column[r]).min();
        column[i] = reader.map_or(0, |c| c.saturating_sub(1));
    }
    let mut filled = vec![0usize; n + 1];
    let mut row = vec![0usize; n];
    for i in 0..n {
        row[i] = filled[column[i]];
        filled[column[i]] += 1;
    }
    let tallest = filled.iter().max().copied().unwrap_or(1) as f64;
    (0..n)
        .map(|i| {
            let free = (tallest - filled[column[i]] as f64) / 2.0;
            (MARGIN + COLUMN * column[i] as f64, MARGIN + ROW * (row[i] as f64 + free))
        })
        .collect()
}

/// A label that fits into a box.
fn short(text: &str, most: usize) -> String {
    match text.chars().count() > most {
        true => text.chars().take(most - 1).chain(['…']).collect(),
        false => text.to_string(),
    }
}

pub(super) fn render(t: &Trace, style: Style) -> String {
    let mut at = places(t);
    // Room for edges that go around.
    at.iter_mut().for_each(|p| p.1 += AROUND / 2.0);
    let right = at.iter().map(|p| p.0).fold(0.0, f64::max) + WIDTH + MARGIN;
    let bottom = at.iter().map(|p| p.1).fold(0.0, f64::max) + HEIGHT + MARGIN + AROUND / 2.0;
    let title = escaped(&style.lang.words(&t.title));
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {right} {bottom}\" width=\"{right}\" height=\"{bottom}\" \
         role=\"img\" lang=\"{}\" font-family=\"system-ui, sans-serif\" font-size=\"12\">\n<title>{title}</title>\n\
         <style>.n rect{{fill:#fff;stroke:#456;stroke-width:1.2}}.n text{{fill:#123}}.input rect{{fill:#e8f0fe}}\
         .result rect{{fill:#e6f4ea}}.e{{fill:none;stroke:#789;stroke-width:1.2}}.l{{fill:#567;font-size:10px}}\
         .h{{paint-order:stroke;stroke:#fff;stroke-width:3px}}\
         .on rect{{stroke:#c5221f;stroke-width:2.4}}</style>\n\
         <defs><marker id=\"tip\" viewBox=\"0 0 8 8\" refX=\"8\" refY=\"4\" markerWidth=\"7\" markerHeight=\"7\" \
         orient=\"auto\"><path d=\"M0 0 L8 4 L0 8 z\" fill=\"#789\"/></marker></defs>\n",
        style.lang.code()
    );
    // Labels stand above all edges.
    let mut labels = String::new();
    for (i, n) in t.nodes.iter().enumerate() {
        let to = (at[i].0, at[i].1 + HEIGHT / 2.0);
        for (k, from) in n.reads.iter().enumerate() {
            let start = (at[*from].0 + WIDTH, at[*from].1 + HEIGHT / 2.0);
            let bend = (to.0 - start.0).abs().max(40.0) / 2.0;
            let end = to.1 + 8.0 * (k as f64 - (n.reads.len() as f64 - 1.0) / 2.0);
            // An edge over other columns goes around their boxes: below where it comes from below.
            let around = match (to.0 - start.0 > COLUMN, start.1 > to.1) {
                (false, _) => 0.0,
                (true, true) => AROUND,
                (true, false) => -AROUND,
            };
            text += &format!(
                "<path class=\"e\" marker-end=\"url(#tip)\" d=\"M{} {} C{} {} {} {} {} {end}\"/>\n",
                start.0,
                start.1,
                start.0 + bend,
                start.1 + around,
                to.0 - bend,
                end + around,
                to.0
            );
            let label = n.partials.iter().find(|p| p.of == *from).map_or("", |p| p.text.as_str());
            if !label.is_empty() {
                // Two edges between the same two columns meet; labels stand near their own beginning.
                let (x, y) =
                    (start.0 + (to.0 - start.0) * 0.4, start.1 + (end - start.1) * 0.35 - 4.0 + 0.7 * around);
                labels += &format!(
                    "<text class=\"l h\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"middle\">{}</text>\n",
                    escaped(&short(label, 14))
                );
            }
        }
    }
    text += &labels;
    for (i, n) in t.nodes.iter().enumerate() {
        let (x, y) = at[i];
        let class = match n.kind {
            Kind::Input => "n input",
            Kind::Constant => "n constant",
            Kind::Step if i == t.output => "n result",
            Kind::Step => "n",
        };
        let head = if n.kind == Kind::Step { format!("{} = {}", n.name, n.formula) } else { n.name.clone() };
        let round = if n.kind == Kind::Input { HEIGHT / 2.0 } else { 5.0 };
        text += &format!(
            "<g class=\"{class}\" id=\"n{i}\"><rect x=\"{x}\" y=\"{y}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" rx=\"{round}\"/>\
             <text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{}</text>\
             <text x=\"{}\" y=\"{}\" text-anchor=\"middle\" class=\"l\">{}</text></g>\n",
            x + WIDTH / 2.0,
            y + 18.0,
            escaped(&short(&head, 21)),
            x + WIDTH / 2.0,
            y + 34.0,
            escaped(&short(&value(&n.value, &n.shape), 23))
        );
    }
    text + "</svg>\n"
}
