//! Formulas of operations and of their derivatives, as text and for LaTeX.

/// An operation over the names of its operands.
pub(super) struct Formula {
    pub(super) text: String,
    pub(super) latex: String,
    /// The derivative by each operand: text, LaTeX.
    pub(super) partials: Vec<(String, String)>,
}

/// `a, b, c, …` without those that are taken, and without `f`, which is the result; `v1, v2, …` where there are many.
pub(super) fn letters(n: usize, taken: &[String]) -> impl Iterator<Item = String> {
    let letters: Vec<String> = ('a'..='z')
        .filter(|c| !matches!(c, 'e' | 'f' | 'l' | 'o'))
        .map(String::from)
        .filter(|c| !taken.contains(c))
        .collect();
    let few = n <= letters.len();
    let taken = taken.to_vec();
    let numbered = (1..).map(|i| format!("v{i}")).filter(move |v| !taken.contains(v));
    letters.into_iter().filter(move |_| few).chain(numbered)
}

/// `w2` with its number as an index; longer names upright.
pub(super) fn latex_name(name: &str) -> String {
    if name.parse::<f64>().is_ok() {
        return name.to_string();
    }
    let letters: String = name.chars().take_while(|c| c.is_alphabetic()).collect();
    let rest = &name[letters.len()..];
    let base = if letters.chars().count() == 1 { letters } else { format!("\\mathrm{{{letters}}}") };
    match rest {
        "" => base,
        digits if digits.chars().all(|c| c.is_ascii_digit()) => format!("{base}_{{{digits}}}"),
        other => format!("{base}\\text{{{}}}", other.replace('_', "\\_")),
    }
}

/// The formula of an operation; `own` is the name of its result.
pub(super) fn formula(op: &str, attributes: &str, operands: &[String], own: &str) -> Formula {
    let latex: Vec<String> = operands.iter().map(|o| latex_name(o)).collect();
    let of = |i: usize| operands.get(i).map_or("?", String::as_str);
    let tex = |i: usize| latex.get(i).map_or("?", String::as_str);
    let (a, b, n) = (of(0), of(1), own);
    let (ta, tb, tn) = (tex(0), tex(1), latex_name(own));
    let one = || ("1".to_string(), "1".to_string());
    let p = |text: String, latex: String| (text, latex);
    let (text, tex, partials) = match op {
        "add" => (format!("{a} + {b}"), format!("{ta} + {tb}"), vec![one(), one()]),
        "sub" => (format!("{a} − {b}"), format!("{ta} - {tb}"), vec![one(), p("−1".into(), "-1".into())]),
        "mul" => {
            (format!("{a}·{b}"), format!("{ta}\\,{tb}"), vec![p(b.into(), tb.into()), p(a.into(), ta.into())])
        }
        "div" => (
            format!("{a}/{b}"),
            format!("\\frac{{{ta}}}{{{tb}}}"),
            vec![
                p(format!("1/{b}"), format!("\\frac{{1}}{{{tb}}}")),
                p(format!("−{n}/{b}"), format!("-\\frac{{{tn}}}{{{tb}}}")),
            ],
        ),
        "neg" => (format!("−{a}"), format!("-{ta}"), vec![p("−1".into(), "-1".into())]),
        "exp" => (format!("exp {a}"), format!("e^{{{ta}}}"), vec![p(n.into(), tn.clone())]),
        "ln" => (
            format!("ln {a}"),
            format!("\\log {ta}"),
            vec![p(format!("1/{a}"), format!("\\frac{{1}}{{{ta}}}"))],
        ),
        "sqrt" => (
            format!("√{a}"),
            format!("\\sqrt{{{ta}}}"),
            vec![p(format!("1/(2·{n})"), format!("\\frac{{1}}{{2{tn}}}"))],
        ),
        "recip" => {
            (format!("1/{a}"), format!("\\frac{{1}}{{{ta}}}"), vec![p(format!("−{n}²"), format!("-{tn}^2"))])
        }
        "square" => (format!("{a}²"), format!("{ta}^2"), vec![p(format!("2·{a}"), format!("2{ta}"))]),
        "sin" => {
            (format!("sin {a}"), format!("\\sin {ta}"), vec![p(format!("cos {a}"), format!("\\cos {ta}"))])
        }
        "cos" => {
            (format!("cos {a}"), format!("\\cos {ta}"), vec![p(format!("−sin {a}"), format!("-\\sin {ta}"))])
        }
        "tanh" => {
            (format!("tanh {a}"), format!("\\tanh {ta}"), vec![p(format!("1 − {n}²"), format!("1 - {tn}^2"))])
        }
        "sigmoid" => (
            format!("sigmoid {a}"),
            format!("\\sigma({ta})"),
            vec![p(format!("{n}·(1 − {n})"), format!("{tn}(1 - {tn})"))],
        ),
        "relu" => (
            format!("relu {a}"),
            format!("\\max(0, {ta})"),
            vec![p(format!("[{a} > 0]"), format!("[{ta} > 0]"))],
        ),
        "abs" => (
            format!("|{a}|"),
            format!("|{ta}|"),
            vec![p(format!("sign {a}"), format!("\\operatorname{{sign}} {ta}"))],
        ),
        "maximum" => (
            format!("max({a}, {b})"),
            format!("\\max({ta}, {tb})"),
            vec![
                p(format!("[{a} > {b}]"), format!("[{ta} > {tb}]")),
                p(format!("[{b} > {a}]"), format!("[{tb} > {ta}]")),
            ],
        ),
        "minimum" => (
            format!("min({a}, {b})"),
            format!("\\min({ta}, {tb})"),
            vec![
                p(format!("[{a} < {b}]"), format!("[{ta} < {tb}]")),
                p(format!("[{b} < {a}]"), format!("[{tb} < {ta}]")),
            ],
        ),
        "matmul" => (
            format!("{a} @ {b}"),
            format!("{ta}\\,{tb}"),
            vec![
                p(format!("D ↦ D @ {b}"), format!("D \\mapsto D\\,{tb}")),
                p(format!("D ↦ {a} @ D"), format!("D \\mapsto {ta}\\,D")),
            ],
        ),
        "sum" => {
            (format!("sum {a}"), format!("\\textstyle\\sum {ta}"), vec![p("1…1".into(), "1^\\top".into())])
        }
        "expand" | "reshape" | "cast" | "pack" => (
            format!("{op} {a}"),
            format!("\\operatorname{{{op}}} {ta}"),
            vec![p("1 each".into(), "I".into())],
        ),
        "permute" if operands.len() == 1 => {
            (format!("{a}ᵀ"), format!("{ta}^\\top"), vec![p("D ↦ Dᵀ".into(), "D \\mapsto D^\\top".into())])
        }
        _ => {
            let with = if attributes.is_empty() { String::new() } else { format!("; {attributes}") };
            let name = op.replace('_', "\\_");
            let by = |i: &str| p(format!("∂{op}/∂{i}"), format!("D_{{{}}}\\text{{{name}}}", latex_name(i)));
            (
                format!("{op}({}{with})", operands.join(", ")),
                format!("\\operatorname{{{name}}}({})", latex.join(", ")),
                operands.iter().map(|o| by(o)).collect(),
            )
        }
    };
    Formula { text, latex: tex, partials }
}
