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

/// Operations, what they are as text and as LaTeX, and the derivative by each operand, twice too. `a` and `b` in `$a`, `$b`
/// are the operands, `$n` is the result.
const FORMULAS: &str = "\
add|$a + $b|$a + $b|1|1|1|1
sub|$a − $b|$a - $b|1|1|−1|-1
mul|$a·$b|$a\\,$b|$b|$b|$a|$a
div|$a/$b|\\frac{$a}{$b}|1/$b|\\frac{1}{$b}|−$n/$b|-\\frac{$n}{$b}
neg|−$a|-$a|−1|-1
exp|exp $a|e^{$a}|$n|$n
ln|ln $a|\\log $a|1/$a|\\frac{1}{$a}
sqrt|√$a|\\sqrt{$a}|1/(2·$n)|\\frac{1}{2$n}
recip|1/$a|\\frac{1}{$a}|−$n²|-$n^2
square|$a²|$a^2|2·$a|2$a
sin|sin $a|\\sin $a|cos $a|\\cos $a
cos|cos $a|\\cos $a|−sin $a|-\\sin $a
tanh|tanh $a|\\tanh $a|1 − $n²|1 - $n^2
sigmoid|sigmoid $a|\\sigma($a)|$n·(1 − $n)|$n(1 - $n)
relu|relu $a|\\max(0, $a)|[$a > 0]|[$a > 0]
abs|¦$a¦|¦$a¦|sign $a|\\operatorname{sign} $a
maximum|max($a, $b)|\\max($a, $b)|[$a > $b]|[$a > $b]|[$b > $a]|[$b > $a]
minimum|min($a, $b)|\\min($a, $b)|[$a < $b]|[$a < $b]|[$b < $a]|[$b < $a]
matmul|$a @ $b|$a\\,$b|D ↦ D @ $b|D \\mapsto D\\,$b|D ↦ $a @ D|D \\mapsto $a\\,D
sum|sum $a|\\textstyle\\sum $a|1…1|1^\\top
expand|expand $a|\\operatorname{expand} $a|1 each|I
reshape|reshape $a|\\operatorname{reshape} $a|1 each|I
cast|cast $a|\\operatorname{cast} $a|1 each|I
pack|pack $a|\\operatorname{pack} $a|1 each|I
permute|$aᵀ|$a^\\top|D ↦ Dᵀ|D \\mapsto D^\\top
";

/// The formula of an operation; `own` is the name of its result.
pub(super) fn formula(op: &str, attributes: &str, operands: &[String], own: &str) -> Formula {
    let names: Vec<&str> = [own].into_iter().chain(operands.iter().map(String::as_str)).collect();
    let latex: Vec<String> = names.iter().map(|o| latex_name(o)).collect();
    let known = FORMULAS.lines().map(|line| line.split('|').collect::<Vec<_>>());
    let Some(parts) = known.into_iter().find(|p| p[0] == op && p.len() == 3 + 2 * operands.len()) else {
        let with = if attributes.is_empty() { String::new() } else { format!("; {attributes}") };
        let name = op.replace('_', "\\_");
        let by = |i: usize| (format!("∂{op}/∂{}", names[i]), format!("D_{{{}}}\\text{{{name}}}", latex[i]));
        return Formula {
            text: format!("{op}({}{with})", operands.join(", ")),
            latex: format!("\\operatorname{{{name}}}({})", latex[1..].join(", ")),
            partials: (1..names.len()).map(by).collect(),
        };
    };
    // Names may hold a `$` as little as any other sign, so the order does not matter.
    let filled = |i: usize| {
        let mut text = parts[i].replace('¦', "|");
        for (sign, k) in [("$n", 0), ("$a", 1), ("$b", 2)] {
            let name = if i % 2 == 1 { names.get(k).copied() } else { latex.get(k).map(String::as_str) };
            text = text.replace(sign, name.unwrap_or("?"));
        }
        text
    };
    let partials = (3..parts.len()).step_by(2).map(|i| (filled(i), filled(i + 1))).collect();
    Formula { text: filled(1), latex: filled(2), partials }
}
