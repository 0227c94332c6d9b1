//! The tables for LaTeX, with `amsmath`.

use super::{
    Style,
    names::latex_name,
    text::{adjoint, backwards, nine},
    trace::{Kind, Trace},
};

fn slope(of: &str, by: &str) -> String {
    format!("\\frac{{\\partial {}}}{{\\partial {}}}", latex_name(of), latex_name(by))
}

fn value(v: &[f64], shape: &[usize]) -> String {
    match v {
        [x] => nine(*x).replace('−', "-").replace('∞', "\\infty"),
        v if v.len() <= 4 => {
            let cells: Vec<String> = v.iter().map(|x| value(&[*x], &[])).collect();
            format!("({})", cells.join(",\\ "))
        }
        _ => {
            let sizes: Vec<String> = shape.iter().map(usize::to_string).collect();
            format!("\\in\\mathbb{{R}}^{{{}}}", sizes.join("\\times "))
        }
    }
}

pub(super) fn render(t: &Trace, style: Style) -> String {
    let mut text = format!("% {}\n", style.lang.words(&t.title).replace('\n', " "));
    let ko = style.lang == crate::Lang::Ko;
    if ko {
        text += "% \\usepackage{kotex}\n";
    }
    let result = &t.nodes[t.output].name;
    if style.mode.has_forward() {
        let shown = t.directions.len().min(4);
        text += &format!("\\begin{{array}}{{rl{}}}\n", "r".repeat(1 + shown));
        let heads: Vec<String> = t.directions[..shown]
            .iter()
            .map(|d| format!("\\partial/\\partial {}", d.name.replace('_', "\\_")))
            .collect();
        text += &format!(
            "& & \\text{{{}}} & {} \\\\ \\hline\n",
            style.lang.say("value", "값"),
            heads.join(" & ")
        );
        let mut number = 0;
        for n in t.nodes.iter().filter(|n| n.kind != Kind::Constant) {
            number += usize::from(n.kind == Kind::Step);
            let left = match n.kind {
                Kind::Step => format!("{number}. & {} = {}", latex_name(&n.name), n.latex),
                _ => format!("0. & {}", latex_name(&n.name)),
            };
            let cells: Vec<String> = n.tangents[..shown].iter().map(|d| value(d, &n.shape)).collect();
            text += &format!("{left} & {} & {} \\\\\n", value(&n.value, &n.shape), cells.join(" & "));
        }
        text += "\\end{array}\n";
    }
    if style.mode.has_reverse() {
        text += "\\begin{align*}\n";
        for i in backwards(t) {
            let n = &t.nodes[i];
            let terms: Vec<String> = t
                .nodes
                .iter()
                .rev()
                .flat_map(|r| r.partials.iter().filter(|p| p.of == i).map(move |p| (r, p)))
                .map(|(r, p)| format!("{}\\cdot {}", slope(result, &r.name), p.latex))
                .collect();
            let sum = match adjoint(t, i).is_empty() {
                true if i == t.output => "1".to_string(),
                true => "0".to_string(),
                false => terms.join(" + "),
            };
            let end = match (i == t.output, n.adjoints.len()) {
                (true, 1) => String::new(),
                (_, 1) => format!(" = {}", value(&n.adjoints[0], &n.shape)),
                _ => String::new(),
            };
            text += &format!("{} &= {sum}{end} \\\\\n", slope(result, &n.name));
        }
        text += "\\end{align*}\n";
    }
    if style.slides
        && let Some(slip) = &t.slip
    {
        let say = style.lang.say("the slides' slip, with", "슬라이드의 오류:");
        text += &format!("% {say} d sqrt(b)/db = 1/sqrt(b)\n\\begin{{align*}}\n");
        for (i, n) in t.nodes.iter().enumerate().filter(|(_, n)| n.kind == Kind::Input && n.varies) {
            if let ([wrong], [right]) = (&slip.adjoints[i][0][..], &n.adjoints[0][..]) {
                text +=
                    &format!("{} &= {} \\ne {} \\\\\n", slope(result, &n.name), nine(*right), nine(*wrong));
            }
        }
        text += "\\end{align*}\n";
    }
    text
}
