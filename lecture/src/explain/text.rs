//! The tables for a terminal.

use cotangent::Tensor;

use super::{
    Style,
    trace::{Kind, Node, Trace},
};
use crate::Lang;

/// Elements of a vector that are shown.
const SHOWN: usize = 4;

/// Nine digits after the point.
pub(crate) fn nine(x: f64) -> String {
    match x {
        x if x.is_nan() => "NaN".into(),
        x if x.is_infinite() => if x > 0.0 { "∞" } else { "−∞" }.into(),
        x if x != 0.0 && !(1e-4..1e9).contains(&x.abs()) => format!("{x:.9e}"),
        // No minus in front of zero.
        x => format!("{:.9}", if x == 0.0 { 0.0 } else { x }),
    }
}

/// A value, shortened where it is long.
pub(super) fn value(v: &[f64], shape: &[usize]) -> String {
    match (v, shape) {
        ([x], []) => nine(*x),
        (v, _) if v.len() <= SHOWN => {
            format!("[{}]", v.iter().map(|x| nine(*x)).collect::<Vec<_>>().join(", "))
        }
        (v, shape) => {
            let first: Vec<String> = v[..SHOWN - 1].iter().map(|x| nine(*x)).collect();
            let sizes: Vec<String> = shape.iter().map(usize::to_string).collect();
            format!("[{}, …] ({})", first.join(", "), sizes.join("×"))
        }
    }
}

/// A value of `--at`, as short as it was written.
pub(super) fn point(t: &Tensor) -> String {
    let v = t.to_vec::<f64>();
    match (&v[..], t.rank()) {
        ([x], 0) => x.to_string(),
        (v, 1) if v.len() <= 8 => {
            format!("[{}]", v.iter().map(f64::to_string).collect::<Vec<_>>().join(", "))
        }
        _ => format!("{:?}", t.shape()),
    }
}

/// The derivative's name: `∂b/∂x`.
pub(super) fn slope(of: &str, by: &str) -> String {
    format!("∂{of}/∂{by}")
}

/// The columns of forward mode.
pub(super) fn heads(t: &Trace) -> Vec<String> {
    t.directions.iter().map(|d| format!("∂/∂{}", d.name)).collect()
}

/// How the adjoint of a node comes about: `∂f/∂c·∂c/∂b + ∂f/∂f·∂f/∂b`, with the formulas.
pub(super) fn adjoint(t: &Trace, node: usize) -> Vec<(String, String)> {
    let result = &t.nodes[t.output].name;
    let mut terms = Vec::new();
    for reader in t.nodes.iter().filter(|n| n.varies) {
        for p in reader.partials.iter().filter(|p| p.of == node) {
            let symbols =
                format!("{}·{}", slope(result, &reader.name), slope(&reader.name, &t.nodes[node].name));
            terms.push((symbols, p.text.clone()));
        }
    }
    terms.reverse();
    terms
}

/// The nodes in the order in which reverse mode finishes them, the result first.
pub(super) fn backwards(t: &Trace) -> Vec<usize> {
    let mut order: Vec<usize> = (0..t.nodes.len()).filter(|i| t.nodes[*i].varies).collect();
    order.sort_by_key(|i| (t.nodes[*i].kind == Kind::Input, std::cmp::Reverse(*i)));
    let inputs = order.iter().filter(|i| t.nodes[**i].kind == Kind::Input).count();
    let n = order.len();
    order[n - inputs..].reverse();
    order
}

/// Cells of a terminal: a syllable of Hangul takes two.
pub(crate) fn width(text: &str) -> usize {
    let wide = |c: char| matches!(c, '\u{1100}'..='\u{115F}' | '\u{2E80}'..='\u{A4CF}' | '\u{AC00}'..='\u{D7A3}' | '\u{F900}'..='\u{FAFF}' | '\u{FF00}'..='\u{FF60}');
    text.chars().map(|c| if wide(c) { 2 } else { 1 }).sum()
}

/// Columns of a terminal.
const COLUMNS: usize = 80;

/// The table, or where it is wider than a terminal its rows one below the other, each cell beside its head.
fn fitting(rows: &[Vec<String>], right: &[usize]) -> String {
    let whole = table(rows, right);
    if whole.lines().all(|l| width(l) <= COLUMNS) {
        return whole;
    }
    let head = &rows[0];
    // A longer name stands out.
    let widest = head.iter().skip(2).map(|h| width(h)).max().unwrap_or(0).min(10);
    let mut text = String::new();
    for row in &rows[1..] {
        text += &broken(&format!("  {:>2}  {}", row[0], row[1]), 8);
        for (name, cell) in head.iter().zip(row).skip(2).filter(|(_, c)| !c.is_empty() && *c != "–") {
            text += &format!("        {name}{}  {cell}\n", " ".repeat(widest.saturating_sub(width(name))));
        }
    }
    text
}

/// A line, broken before a `+` where it is wider than a terminal.
fn broken(line: &str, indent: usize) -> String {
    let (mut text, mut end) = (String::new(), 0);
    for (i, term) in line.split(" + ").enumerate() {
        if i > 0 && end + 3 + width(term) > COLUMNS {
            text += &format!("\n{}+ {term}", " ".repeat(indent));
            end = indent + 2 + width(term);
        } else {
            let plus = if i > 0 { " + " } else { "" };
            text += &format!("{plus}{term}");
            end += plus.len() + width(term);
        }
    }
    text + "\n"
}

/// A table with a line under its head; columns of numbers to the right.
pub(crate) fn table(rows: &[Vec<String>], right: &[usize]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widest = |c: usize| rows.iter().filter_map(|r| r.get(c)).map(|s| width(s)).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(widest).collect();
    let mut text = String::new();
    for (i, row) in rows.iter().enumerate() {
        let cells: Vec<String> = row
            .iter()
            .enumerate()
            .map(|(c, s)| {
                let pad = " ".repeat(widths[c] - width(s));
                if right.contains(&c) { format!("{pad}{s}") } else { format!("{s}{pad}") }
            })
            .collect();
        text += &format!("  {}\n", cells.join("  ").trim_end());
        if i == 0 {
            text += &format!("  {}\n", "─".repeat(widths.iter().sum::<usize>() + 2 * (columns.max(1) - 1)));
        }
    }
    text
}

/// Variables and steps in the order of the computation: number, formula, value.
pub(super) fn steps(t: &Trace) -> impl Iterator<Item = (&Node, Vec<String>)> {
    let mut number = 0;
    t.nodes.iter().filter(|n| n.kind != Kind::Constant).map(move |n| {
        let step = n.kind == Kind::Step;
        number += usize::from(step);
        let label = if step { number } else { 0 };
        let formula = if step { format!("{} = {}", n.name, n.formula) } else { n.name.clone() };
        (n, vec![label.to_string(), formula, value(&n.value, &n.shape)])
    })
}

fn reads(t: &Trace, n: &Node) -> String {
    if n.reads.is_empty() {
        return "–".into();
    }
    let mut names: Vec<&str> = Vec::new();
    for i in &n.reads {
        if !names.contains(&t.nodes[*i].name.as_str()) {
            names.push(&t.nodes[*i].name);
        }
    }
    names.join(", ")
}

fn names(t: &Trace, which: &[usize]) -> String {
    which.iter().map(|i| t.nodes[*i].name.as_str()).collect::<Vec<_>>().join(", ")
}

pub(super) fn render(t: &Trace, style: Style) -> String {
    let lang = style.lang;
    let result = &t.nodes[t.output].name;
    let mut text = format!("{result} = {}\n\n", lang.words(&t.title));
    text += &graph(t, lang);
    if style.mode.has_forward() {
        text += &forward(t, lang);
    }
    if style.mode.has_reverse() {
        text += &reverse(t, lang);
    }
    text += &paths(t, lang);
    text += &cost(t, lang);
    if style.mode.has_reverse() {
        text += &pixels(t, lang);
    }
    if style.slides {
        text += &slides(t, style);
    }
    if let Some(n) = t.not_finite() {
        let say = lang.say(
            "is not finite; every derivative through it is lost",
            "은(는) 유한하지 않습니다. 그것을 지나는 도함수는 모두 쓸모가 없습니다",
        );
        text += &format!("\n! {} {say}\n", n.name);
    }
    text
}

/// A picture that goes in, beside the derivative of the result by each of its pixels, over all channels.
fn pixels(t: &Trace, lang: Lang) -> String {
    let is_picture = |n: &&Node| n.kind == Kind::Input && n.name == "input" && n.shape.len() == 4;
    let Some(n) = t.nodes.iter().find(is_picture) else { return String::new() };
    let (h, w) = (n.shape[2], n.shape[3]);
    if h.min(w) < 8 || h.max(w) > 37 {
        return String::new();
    }
    let summed = |v: &[f64]| -> Vec<f64> {
        (0..h * w).map(|i| v.iter().skip(i).step_by(h * w).sum::<f64>()).collect()
    };
    let (value, slope) = (summed(&n.value), summed(&n.adjoints[0]));
    let least = value.iter().copied().fold(f64::INFINITY, f64::min);
    let most = value.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let steepest = slope.iter().fold(0.0, |m: f64, g| m.max(g.abs()));
    let mut text = lang
        .say(
            "\nThe picture, and what a brighter pixel does to f: + raises it, - lowers it\n",
            "\n그림, 그리고 화소가 밝아질 때의 f: +에서는 커지고 -에서는 작아집니다\n",
        )
        .to_string();
    for y in 0..h {
        let row = y * w..(y + 1) * w;
        let shade = |v: &f64| [' ', '.', ':', 'o', '@'][((v - least) / (most - least) * 4.99) as usize];
        let sign = |g: &f64| match g / steepest {
            s if s > 0.3 => '+',
            s if s < -0.3 => '-',
            s if s.abs() > 0.1 => '.',
            _ => ' ',
        };
        let line: String = value[row.clone()].iter().map(shade).chain("    ".chars()).collect();
        let line: String = line.chars().chain(slope[row].iter().map(sign)).collect();
        text += format!("  {line}").trim_end();
        text.push('\n');
    }
    text
}

fn graph(t: &Trace, lang: Lang) -> String {
    let steps = t.steps().count();
    let mut text = match lang {
        Lang::En => format!("The graph: {steps} step{}\n", if steps == 1 { "" } else { "s" }),
        Lang::Ko => format!("계산 그래프: {steps}단계\n"),
    };
    let width = t.steps().map(|n| n.name.chars().count() + n.formula.chars().count()).max().unwrap_or(0);
    for (i, n) in t.nodes.iter().enumerate().filter(|(_, n)| n.kind == Kind::Step) {
        let line = format!("{} = {}", n.name, n.formula);
        let readers: Vec<&str> =
            t.nodes.iter().filter(|r| r.reads.contains(&i)).map(|r| r.name.as_str()).collect();
        let mut more = match (readers.len(), lang) {
            (0 | 1, _) => String::new(),
            (_, Lang::En) => format!("shared: read by {}", readers.join(" and ")),
            (_, Lang::Ko) => format!("공유: {}이(가) 읽음", readers.join(", ")),
        };
        if !n.path.is_empty() {
            more = format!("{}  {more}", n.path);
        }
        let pad = " ".repeat((width + 3).saturating_sub(line.chars().count()));
        text += format!("  {line}{pad}   {more}").trim_end();
        text.push('\n');
    }
    text
}

fn forward(t: &Trace, lang: Lang) -> String {
    let mut text = lang
        .say(
            "\nForward mode: values and derivatives together, from the variables on\n",
            "\n순방향 모드: 변수에서 시작하여 값과 도함수를 함께 계산합니다\n",
        )
        .to_string();
    let wide = t.nodes.iter().any(|n| n.kind != Kind::Constant && n.value.len() > 1);
    let many = t.directions.len() > if wide { 2 } else { 6 };
    let shown = if many { 2 } else { t.directions.len() };
    let mut head = vec![String::new(), lang.say("step", "단계").into(), lang.say("value", "값").into()];
    head.extend(heads(t).into_iter().take(shown));
    head.extend([lang.say("reads", "읽는 노드").into(), lang.say("frees", "해제").into()]);
    let mut rows = vec![head];
    for (n, mut row) in steps(t) {
        row.extend(n.tangents.iter().take(shown).map(|d| value(d, &n.shape)));
        row.extend([reads(t, n), names(t, &n.frees)]);
        rows.push(row);
    }
    let right: Vec<usize> = [0].into_iter().chain(2..3 + shown).collect();
    text += &fitting(&rows, &right);
    let passes = t.passes_forward;
    if passes > shown {
        text += &match lang {
            Lang::En => format!("  {passes} directions are {passes} passes; {shown} are shown\n"),
            Lang::Ko => format!("  방향이 {passes}개이므로 {passes}번 계산합니다. {shown}개만 보입니다\n"),
        };
    }
    text
}

fn reverse(t: &Trace, lang: Lang) -> String {
    let mut text = lang
        .say(
            "\nReverse mode: values first, then derivatives of the result, backwards\n",
            "\n역방향 모드: 먼저 값을, 그다음 결과의 도함수를 거꾸로 계산합니다\n",
        )
        .to_string();
    let mut rows = vec![vec![
        String::new(),
        lang.say("step", "단계").into(),
        lang.say("value", "값").into(),
        lang.say("reads", "읽는 노드").into(),
        lang.say("stored for the way back", "되돌아오는 길을 위해 저장").into(),
    ]];
    for (n, mut row) in steps(t) {
        let saved: Vec<String> = n.saved.iter().map(|s| format!("{} ({} B)", s.name, s.bytes)).collect();
        let saved = match (n.kind, saved.is_empty()) {
            (Kind::Step, true) => lang.say("nothing", "없음").to_string(),
            (_, _) => saved.join(", "),
        };
        row.extend([reads(t, n), saved]);
        rows.push(row);
    }
    text += &fitting(&rows, &[0, 2]);
    let bytes = t.saved_bytes();
    text += &match lang {
        Lang::En => format!("  {bytes} bytes are stored, each value once\n\n"),
        Lang::Ko => format!("  저장하는 값은 모두 {bytes}바이트입니다(같은 값은 한 번만)\n\n"),
    };
    let result = t.nodes[t.output].name.clone();
    let seeds = t.seeds.len();
    let shown = seeds.min(4);
    let mut head = vec![String::new(), lang.say("derivative", "도함수").into()];
    match seeds {
        1 => head.push(lang.say("value", "값").into()),
        _ => head.extend(t.seeds.iter().take(shown).map(|s| s.name.clone())),
    }
    head.push(lang.say("factors", "곱하는 값").into());
    let mut rows = vec![head];
    let mut step = 0;
    for i in backwards(t) {
        let n = &t.nodes[i];
        let terms = adjoint(t, i);
        let own = slope(&result, &n.name);
        let formula = match terms.is_empty() {
            true if i == t.output => format!("{own} = 1"),
            true => format!("{own} = 0"),
            false => {
                let sum: Vec<&str> = terms.iter().map(|(s, _)| s.as_str()).collect();
                format!("{own} = {}", sum.join(" + "))
            }
        };
        let mut row = vec![format!("{step}′"), formula];
        row.extend(n.adjoints.iter().take(shown).map(|a| value(a, &n.shape)));
        row.push(terms.iter().map(|(_, p)| p.as_str()).collect::<Vec<_>>().join(" ; "));
        rows.push(row);
        // All variables are found in the last step, as on the slides.
        step += usize::from(n.kind == Kind::Step);
    }
    let right: Vec<usize> = (2..2 + shown).collect();
    text += &fitting(&rows, &right);
    if seeds > shown {
        text += &match lang {
            Lang::En => {
                format!("  {} results are {} passes; {shown} are shown\n", t.passes_reverse, t.passes_reverse)
            }
            Lang::Ko => format!(
                "  결과가 {}개이므로 {}번 계산합니다. {shown}개만 보입니다\n",
                t.passes_reverse, t.passes_reverse
            ),
        };
    }
    text
}

fn paths(t: &Trace, lang: Lang) -> String {
    let result = &t.nodes[t.output].name;
    let mut text = lang.say("\nThe sum over paths\n", "\n경로에 대한 합\n").to_string();
    for p in t.all_paths() {
        let own = slope(result, &p.variable);
        if p.terms.is_empty() {
            text += &match lang {
                Lang::En => format!("  {own}: {} paths\n", p.count),
                Lang::Ko => format!("  {own}: 경로 {}개\n", p.count),
            };
            continue;
        }
        let symbols: Vec<&str> = p.terms.iter().map(|t| t.symbols.as_str()).collect();
        let pad = " ".repeat(own.chars().count());
        let below = pad.len() + 3;
        text += &broken(&format!("  {own} = {}", symbols.join(" + ")), below);
        let factors: Vec<&str> =
            p.terms.iter().map(|t| t.factors.as_str()).filter(|f| !f.is_empty()).collect();
        if !factors.is_empty() {
            text += &broken(&format!("  {pad} = {}", factors.join(" + ")), below);
        }
        let values: Option<Vec<f64>> = p.terms.iter().map(|t| t.value).collect();
        if let Some(values) = values {
            let shown: Vec<String> = values.iter().map(|x| nine(*x)).collect();
            let sum = nine(values.iter().sum());
            let line = if values.len() > 1 { format!("{} = {sum}", shown.join(" + ")) } else { sum };
            text += &broken(&format!("  {pad} = {line}"), below);
        }
        if p.count > 1 && !p.shared.is_empty() {
            let say = lang.say("shared", "공유하면");
            text += &broken(&format!("  {pad} = {}   ({say})", p.shared), below);
        }
    }
    text
}

fn cost(t: &Trace, lang: Lang) -> String {
    let c = t.cost();
    let mut text = lang.say("\nOrder and cost\n", "\n순서와 비용\n").to_string();
    text += &match lang {
        Lang::En => format!(
            "  forward: {} pass{} × {} = {} multiplications;  reverse: {} pass{} × {} = {}\n",
            c.forward_passes,
            if c.forward_passes == 1 { "" } else { "es" },
            c.once,
            c.forward,
            c.reverse_passes,
            if c.reverse_passes == 1 { "" } else { "es" },
            c.once,
            c.reverse
        ),
        Lang::Ko => format!(
            "  순방향: {}번 × {} = 곱셈 {}회;  역방향: {}번 × {} = {}회\n",
            c.forward_passes, c.once, c.forward, c.reverse_passes, c.once, c.reverse
        ),
    };
    if t.nodes.iter().any(|n| n.value.len() > 1) {
        let steps: u64 = t.nodes.iter().map(|n| n.flops).sum();
        text += &match lang {
            Lang::En => format!(
                "  counted on full Jacobians, which are never built: the steps are {steps} operations\n"
            ),
            Lang::Ko => format!(
                "  온전한 야코비안 행렬로 센 것입니다. 행렬은 만들지 않습니다: 단계들은 연산 {steps}개\n"
            ),
        };
    }
    if let Some(chain) = &c.chain {
        let shapes: Vec<String> = chain
            .widths()
            .windows(2)
            .enumerate()
            .map(|(i, w)| format!("D{} {}×{}", i + 1, w[0], w[1]))
            .collect();
        text += &match lang {
            Lang::En => format!(
                "  a chain: {}\n  from the right (forward) {}, from the left (reverse) {}, best {}: {}\n",
                shapes.join(", "),
                chain.forward(),
                chain.reverse(),
                chain.best(),
                chain.order()
            ),
            Lang::Ko => format!(
                "  사슬: {}\n  오른쪽부터(순방향) {}, 왼쪽부터(역방향) {}, 최소 {}: {}\n",
                shapes.join(", "),
                chain.forward(),
                chain.reverse(),
                chain.best(),
                chain.order()
            ),
        };
    }
    text
}

/// The slides' numbers beside the right ones (row C12).
fn slides(t: &Trace, style: Style) -> String {
    let lang = style.lang;
    let mut text = lang.say("\nThe slides' slip\n", "\n슬라이드의 오류\n").to_string();
    let Some(slip) = &t.slip else {
        text += lang.say(
            "  it is in d√b/db, and there is no square root here\n",
            "  오류는 d√b/db에 있는데, 여기에는 제곱근이 없습니다\n",
        );
        return text;
    };
    let root = &t.nodes[slip.roots[0]];
    let operand = &t.nodes[root.reads[0]].name;
    text += &match lang {
        Lang::En => {
            format!("  the slides write d√{operand}/d{operand} = 1/√{operand}; it is 1/(2√{operand})\n")
        }
        Lang::Ko => format!(
            "  슬라이드는 d√{operand}/d{operand} = 1/√{operand}로 썼지만, 1/(2√{operand})가 맞습니다\n"
        ),
    };
    let mut rows = vec![vec![
        lang.say("derivative", "도함수").to_string(),
        lang.say("right", "올바른 값").into(),
        lang.say("slide", "슬라이드").into(),
        String::new(),
    ]];
    let mut line = |name: String, right: f64, wrong: f64| {
        let mark = if (right - wrong).abs() > 1e-12 * (1.0 + right.abs()) {
            lang.say("✗ slip", "✗ 오류")
        } else {
            ""
        };
        rows.push(vec![name, nine(right), nine(wrong), mark.to_string()]);
    };
    let result = &t.nodes[t.output].name;
    if style.mode.has_forward() {
        for (n, wrong) in t.nodes.iter().zip(&slip.tangents).filter(|(n, _)| n.kind == Kind::Step && n.varies)
        {
            for ((d, right), wrong) in t.directions.iter().zip(&n.tangents).zip(wrong).take(6) {
                if let ([r], [w]) = (&right[..], &wrong[..]) {
                    line(slope(&n.name, &d.name), *r, *w);
                }
            }
        }
    }
    if style.mode.has_reverse() {
        for i in backwards(t) {
            if let ([r], [w]) = (&t.nodes[i].adjoints[0][..], &slip.adjoints[i][0][..]) {
                line(slope(result, &t.nodes[i].name), *r, *w);
            }
        }
    }
    text + &table(&rows, &[1, 2])
}
