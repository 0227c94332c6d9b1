//! Formulas of the book: the part of LaTeX that it uses, as MathML, which browsers show by themselves.

/// What a command without operands shows: the element, and what stands in it.
const SYMBOLS: &[(&str, &str, &str)] = &[
    ("alpha", "mi", "α"),
    ("ell", "mi", "ℓ"),
    ("infty", "mn", "∞"),
    ("ln", "mi", "ln"),
    ("log", "mi", "log"),
    ("max", "mi", "max"),
    ("mu", "mi", "μ"),
    ("nabla", "mi", "∇"),
    ("omega", "mi", "ω"),
    ("partial", "mi", "∂"),
    ("sigma", "mi", "σ"),
    ("tanh", "mi", "tanh"),
    ("theta", "mi", "θ"),
    ("top", "mi", "⊤"),
    ("E", "mi", "𝔼"),
    ("R", "mi", "ℝ"),
    ("cdot", "mo", "·"),
    ("cdots", "mo", "⋯"),
    ("circ", "mo", "∘"),
    ("ge", "mo", "≥"),
    ("iff", "mo", "⟺"),
    ("in", "mo", "∈"),
    ("langle", "mo", "⟨"),
    ("ldots", "mo", "…"),
    ("le", "mo", "≤"),
    ("leftarrow", "mo", "←"),
    ("ne", "mo", "≠"),
    ("rangle", "mo", "⟩"),
    ("sum", "mo", "∑"),
    ("times", "mo", "×"),
    ("|", "mo", "‖"),
];

struct Reader<'a> {
    rest: std::iter::Peekable<std::str::Chars<'a>>,
}

/// A formula of its own line. `None` where it holds what is not known here.
///
/// ```ignore
/// assert!(mathml("x^2").unwrap().contains("<msup><mi>x</mi><mn>2</mn></msup>"));
/// ```
pub(crate) fn mathml(latex: &str) -> Option<String> {
    let mut reader = Reader { rest: latex.chars().peekable() };
    let inside = reader.row(None)?;
    Some(format!("<math display=\"block\">{inside}</math>"))
}

/// Markdown whose lines `$$ … $$` are formulas, with MathML in their place; blocks of code stay as they are.
pub(crate) fn rendered(markdown: &str) -> Option<String> {
    let (mut text, mut code) = (String::with_capacity(markdown.len()), false);
    for line in markdown.lines() {
        code ^= line.starts_with("```");
        match line.strip_prefix("$$").and_then(|l| l.strip_suffix("$$")).filter(|_| !code) {
            Some(latex) => text += &format!("<div class=\"formula\">{}</div>", mathml(latex)?),
            None => text += line,
        }
        text.push('\n');
    }
    Some(text)
}

impl Reader<'_> {
    /// Everything up to `end`, or to the end of the text.
    fn row(&mut self, end: Option<char>) -> Option<String> {
        let mut row = String::new();
        loop {
            match self.rest.peek().copied() {
                None if end.is_none() => return Some(row),
                None => return None,
                Some(c) if Some(c) == end => {
                    self.rest.next();
                    return Some(row);
                }
                Some(c) if c.is_whitespace() => drop(self.rest.next()),
                Some(_) => row += &self.scripted()?,
            }
        }
    }

    /// An atom with what stands below and above it.
    fn scripted(&mut self) -> Option<String> {
        let base = self.atom()?;
        let (mut below, mut above) = (None, None);
        loop {
            match self.rest.peek() {
                Some('_') if below.is_none() => {
                    self.rest.next();
                    below = Some(self.atom()?);
                }
                Some('^') if above.is_none() => {
                    self.rest.next();
                    above = Some(self.atom()?);
                }
                Some('\'') if above.is_none() => {
                    self.rest.next();
                    above = Some("<mo>′</mo>".to_string());
                }
                _ => break,
            }
        }
        let (sub, sup, both) = if base == "<mo>∑</mo>" {
            ("munder", "mover", "munderover")
        } else {
            ("msub", "msup", "msubsup")
        };
        Some(match (below, above) {
            (None, None) => base,
            (Some(b), None) => format!("<{sub}>{base}{b}</{sub}>"),
            (None, Some(a)) => format!("<{sup}>{base}{a}</{sup}>"),
            (Some(b), Some(a)) => format!("<{both}>{base}{b}{a}</{both}>"),
        })
    }

    fn atom(&mut self) -> Option<String> {
        while self.rest.next_if(|c| c.is_whitespace()).is_some() {}
        let c = self.rest.next()?;
        Some(match c {
            '{' => format!("<mrow>{}</mrow>", self.row(Some('}'))?),
            '\\' => return self.command(),
            '<' => "<mo>&lt;</mo>".into(),
            '>' => "<mo>&gt;</mo>".into(),
            '-' => "<mo>−</mo>".into(),
            c if c.is_ascii_digit() => {
                let mut number = c.to_string();
                while let Some(c) = self.rest.next_if(|c| c.is_ascii_digit() || *c == '.') {
                    number.push(c);
                }
                format!("<mn>{number}</mn>")
            }
            c if c.is_ascii_alphabetic() => format!("<mi>{c}</mi>"),
            c if "+=()[]|/,.:!".contains(c) => format!("<mo>{c}</mo>"),
            _ => return None,
        })
    }

    fn command(&mut self) -> Option<String> {
        let mut name = self.rest.next()?.to_string();
        if name.chars().all(|c| c.is_ascii_alphabetic()) {
            while let Some(c) = self.rest.next_if(char::is_ascii_alphabetic) {
                name.push(c);
            }
        }
        Some(match name.as_str() {
            "frac" => format!("<mfrac>{}{}</mfrac>", self.atom()?, self.atom()?),
            "sqrt" => format!("<msqrt>{}</msqrt>", self.atom()?),
            "text" | "operatorname" => {
                let element = if name == "text" { "mtext" } else { "mi" };
                (self.rest.next()? == '{').then_some(())?;
                let mut word = String::new();
                loop {
                    match self.rest.next()? {
                        '}' => break,
                        // Blanks at the ends of a text are part of it.
                        ' ' => word.push('\u{a0}'),
                        c if c.is_alphanumeric() || c == ',' => word.push(c),
                        _ => return None,
                    }
                }
                format!("<{element}>{word}</{element}>")
            }
            "quad" => "<mspace width=\"1.5em\"/>".into(),
            "," => "<mspace width=\"0.2em\"/>".into(),
            name => {
                let (_, element, shown) = SYMBOLS.iter().find(|(n, ..)| *n == name)?;
                format!("<{element}>{shown}</{element}>")
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formulas_become_elements() {
        for (latex, inside) in [
            ("x^2", "<msup><mi>x</mi><mn>2</mn></msup>"),
            ("a_{i j}", "<msub><mi>a</mi><mrow><mi>i</mi><mi>j</mi></mrow></msub>"),
            (
                "\\sum_{i=1}^N f_i",
                "<munderover><mo>∑</mo><mrow><mi>i</mi><mo>=</mo><mn>1</mn></mrow><mi>N</mi></munderover><msub><mi>f</mi><mi>i</mi></msub>",
            ),
            (
                "\\frac{1}{2\\sqrt b}",
                "<mfrac><mrow><mn>1</mn></mrow><mrow><mn>2</mn><msqrt><mi>b</mi></msqrt></mrow></mfrac>",
            ),
            (
                "\\sigma'(z) < 1",
                "<msup><mi>σ</mi><mo>′</mo></msup><mo>(</mo><mi>z</mi><mo>)</mo><mo>&lt;</mo><mn>1</mn>",
            ),
            ("\\operatorname{diag}(v)", "<mi>diag</mi><mo>(</mo><mi>v</mi><mo>)</mo>"),
        ] {
            assert_eq!(mathml(latex).unwrap(), format!("<math display=\"block\">{inside}</math>"));
        }
        for wrong in ["{x", "\\unknown x", "x & y", "\\frac{1}", "\\text{<b>}"] {
            assert_eq!(mathml(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn only_lines_outside_of_code_are_formulas() {
        let text = rendered("a\n$$x$$\n```console\n$$x$$\n```\nb $$ c\n").unwrap();
        assert_eq!(text.matches("<math").count(), 1);
        assert!(text.contains("```console\n$$x$$\n```\nb $$ c\n"), "{text}");
    }
}
