//! The graph for Graphviz.

use super::{
    Style,
    text::value,
    trace::{Kind, Trace},
};

/// Inside quotes.
fn quoted(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}

pub(super) fn render(t: &Trace, style: Style) -> String {
    let mut text =
        format!("digraph explain {{\n  label=\"{}\";\n  rankdir=LR;\n", quoted(&style.lang.words(&t.title)));
    for (i, n) in t.nodes.iter().enumerate() {
        let shape = match n.kind {
            Kind::Input => "circle",
            Kind::Constant => "plaintext",
            Kind::Step => "box",
        };
        let label = match n.kind {
            Kind::Step => {
                format!("{} = {}\\n{}", quoted(&n.name), quoted(&n.formula), value(&n.value, &n.shape))
            }
            Kind::Input => format!("{}\\n{}", quoted(&n.name), value(&n.value, &n.shape)),
            Kind::Constant => quoted(&n.name),
        };
        text += &format!("  n{i} [shape={shape}, label=\"{label}\"];\n");
    }
    for (i, n) in t.nodes.iter().enumerate() {
        for from in &n.reads {
            let partial = n.partials.iter().find(|p| p.of == *from).map_or("", |p| p.text.as_str());
            text += &format!("  n{from} -> n{i} [label=\"{}\"];\n", quoted(partial));
        }
    }
    text + "}\n"
}
