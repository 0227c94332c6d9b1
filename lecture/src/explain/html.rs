//! One page that needs nothing else: the picture, the tables, and a slider through the steps. Without scripts the
//! tables are there in full.

use super::{
    Mode, Style,
    svg::{self, escaped},
    text::{adjoint, backwards, heads, nine, slope, value},
    trace::{Kind, Trace},
};

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:72rem;padding:0 1rem;color:#123}\
h1{font-size:1.3rem}h2{font-size:1.05rem;margin-top:2rem}table{border-collapse:collapse;font-variant-numeric:tabular-nums}\
td,th{padding:.2rem .7rem;text-align:left;border-bottom:1px solid #dde}td.r,th.r{text-align:right}td:nth-child(2){min-width:7em}\
tr.later{opacity:.15}tr.now{background:#fff4e5}.wide{overflow-x:auto}.bad{color:#c5221f}\
#walk{display:none}#walk input{width:24rem;max-width:60vw}pre{white-space:pre-wrap}\
@media(prefers-color-scheme:dark){body{background:#16191d;color:#dde}tr.now{background:#3a2f1c}td,th{border-color:#345}\
.wide{background:#fff}.wide table{background:#16191d}}";

const SCRIPT: &str = "(function(){var w=document.getElementById('walk'),s=w.querySelector('input'),o=w.querySelector('output'),\
r=[].slice.call(document.querySelectorAll('tr[data-step]'));w.style.display='block';s.max=r.length;s.value=r.length;\
function show(){var k=+s.value;r.forEach(function(e,i){e.className=i>=k?'later':i==k-1?'now':'';});\
[].forEach.call(document.querySelectorAll('g.on'),function(g){g.classList.remove('on');});\
if(k>0){var g=document.getElementById('n'+r[k-1].dataset.node);if(g)g.classList.add('on');}\
o.textContent=k+' / '+r.length;}s.addEventListener('input',show);show();})();";

fn row(node: usize, cells: &[(String, bool)]) -> String {
    let cells: Vec<String> = cells
        .iter()
        .map(|(c, right)| format!("<td{}>{}</td>", if *right { " class=\"r\"" } else { "" }, escaped(c)))
        .collect();
    format!("<tr data-step data-node=\"{node}\">{}</tr>\n", cells.concat())
}

fn head(cells: &[(&str, bool)]) -> String {
    let cells: Vec<String> = cells
        .iter()
        .map(|(c, right)| format!("<th{}>{}</th>", if *right { " class=\"r\"" } else { "" }, escaped(c)))
        .collect();
    format!("<tr>{}</tr>\n", cells.concat())
}

pub(super) fn render(t: &Trace, style: Style) -> String {
    let lang = style.lang;
    let result = &t.nodes[t.output].name;
    let title = escaped(&format!("{result} = {}", lang.words(&t.title)));
    let mut page = format!(
        "<!doctype html>\n<html lang=\"{}\">\n<head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width, initial-scale=1\">\n<title>{title}</title>\n<style>{STYLE}</style></head>\n<body>\n\
         <h1>{title}</h1>\n<div class=\"wide\">{}</div>\n",
        lang.code(),
        svg::render(t, style)
    );
    page += &format!(
        "<p id=\"walk\"><label>{} <input type=\"range\" min=\"0\" step=\"1\"></label> <output></output></p>\n",
        lang.say("Step", "단계")
    );
    let shown = t.directions.len().min(4);
    let names = heads(t);
    if style.mode != Mode::Reverse {
        page +=
            &format!("<h2>{}</h2>\n<div class=\"wide\"><table>\n", lang.say("Forward mode", "순방향 모드"));
        let mut cells = vec![("", false), (lang.say("step", "단계"), false), (lang.say("value", "값"), true)];
        cells.extend(names[..shown].iter().map(|h| (h.as_str(), true)));
        cells.push((lang.say("reads", "읽는 노드"), false));
        page += &head(&cells);
        page += &forward_rows(t, shown, true);
        page += "</table></div>\n";
    }
    if style.mode != Mode::Forward {
        page +=
            &format!("<h2>{}</h2>\n<div class=\"wide\"><table>\n", lang.say("Reverse mode", "역방향 모드"));
        page += &head(&[
            ("", false),
            (lang.say("step", "단계"), false),
            (lang.say("value", "값"), true),
            (lang.say("factors, or what is stored", "곱하는 값, 또는 저장하는 값"), false),
        ]);
        let mut number = 0;
        for (i, n) in t.nodes.iter().enumerate().filter(|(_, n)| n.kind != Kind::Constant) {
            number += usize::from(n.kind == Kind::Step);
            let formula =
                if n.kind == Kind::Step { format!("{} = {}", n.name, n.formula) } else { n.name.clone() };
            let saved: Vec<String> = n.saved.iter().map(|s| format!("{} ({} B)", s.name, s.bytes)).collect();
            let label = if n.kind == Kind::Step { number } else { 0 };
            page += &row(
                i,
                &[
                    (label.to_string(), false),
                    (formula, false),
                    (value(&n.value, &n.shape), true),
                    (saved.join(", "), false),
                ],
            );
        }
        let mut step = 0;
        for i in backwards(t) {
            let n = &t.nodes[i];
            let terms = adjoint(t, i);
            let sum: Vec<&str> = terms.iter().map(|(s, _)| s.as_str()).collect();
            let sum = match terms.is_empty() {
                true if i == t.output => "1".to_string(),
                true => "0".to_string(),
                false => sum.join(" + "),
            };
            let factors: Vec<&str> = terms.iter().map(|(_, p)| p.as_str()).collect();
            page += &row(
                i,
                &[
                    (format!("{step}′"), false),
                    (format!("{} = {sum}", slope(result, &n.name)), false),
                    (value(&n.adjoints[0], &n.shape), true),
                    (factors.join(" ; "), false),
                ],
            );
            step += usize::from(n.kind == Kind::Step);
        }
        page += "</table></div>\n";
    }
    if style.slides
        && let Some(slip) = &t.slip
    {
        page += &format!(
            "<h2>{}</h2>\n<table>\n",
            lang.say("The slides' slip: d√b/db = 1/√b", "슬라이드의 오류: d√b/db = 1/√b")
        );
        page += &head(&[
            ("", false),
            (lang.say("right", "올바른 값"), true),
            (lang.say("slide", "슬라이드"), true),
        ]);
        for i in backwards(t) {
            if let ([right], [wrong]) = (&t.nodes[i].adjoints[0][..], &slip.adjoints[i][0][..]) {
                let class = if right == wrong { "r" } else { "r bad" };
                page += &format!(
                    "<tr><td>{}</td><td class=\"r\">{}</td><td class=\"{class}\">{}</td></tr>\n",
                    escaped(&slope(result, &t.nodes[i].name)),
                    nine(*right),
                    nine(*wrong)
                );
            }
        }
        page += "</table>\n";
    }
    let plain = super::text::render(t, Style { slides: false, ..style });
    let rest = plain.find(lang.say("\nThe sum over paths", "\n경로에 대한 합")).map_or("", |i| &plain[i..]);
    page += &format!("<pre>{}</pre>\n<script>{SCRIPT}</script>\n</body>\n</html>\n", escaped(rest.trim()));
    page
}

fn forward_rows(t: &Trace, shown: usize, with_reads: bool) -> String {
    let (mut rows, mut number) = (String::new(), 0);
    for (i, n) in t.nodes.iter().enumerate().filter(|(_, n)| n.kind != Kind::Constant) {
        number += usize::from(n.kind == Kind::Step);
        let (label, formula) = match n.kind {
            Kind::Step => (number, format!("{} = {}", n.name, n.formula)),
            _ => (0, n.name.clone()),
        };
        let mut cells = vec![(label.to_string(), false), (formula, false), (value(&n.value, &n.shape), true)];
        cells.extend(n.tangents[..shown].iter().map(|d| (value(d, &n.shape), true)));
        if with_reads {
            let reads: Vec<&str> = n.reads.iter().map(|r| t.nodes[*r].name.as_str()).collect();
            cells.push((reads.join(", "), false));
        }
        rows += &row(i, &cells);
    }
    rows
}
