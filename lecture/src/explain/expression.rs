//! Expressions as people write them: `y*ln(x) + sqrt(y*ln(x))`.
//!
//! Equal subexpressions are one term, so that the graph shares its nodes.

use std::{collections::HashMap, fmt, ops::Range};

use cotangent::{Error, Tensor, attempt};

/// What is wrong with an expression, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    /// The bytes of the text that it is about.
    pub at: Range<usize>,
    /// What was expected, and what was found.
    pub message: String,
    /// What to write instead; may be empty.
    pub help: String,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (at byte {})", self.message, self.at.start)
    }
}

impl std::error::Error for ParseError {}

/// Functions of one operand, by their names.
const FUNCTIONS: [&str; 19] = [
    "exp", "ln", "log", "sqrt", "sin", "cos", "tanh", "sigmoid", "relu", "abs", "square", "sum", "mean",
    "max", "min", "norm", "softmax", "t", "neg",
];

#[derive(Clone, Debug)]
enum Term {
    Number(f64),
    /// Numbers in brackets, with their shape.
    Array(Vec<f64>, Vec<usize>),
    Name(String),
    Call(&'static str, usize),
    /// `+ - * / @ ^ max min` of two.
    Two(&'static str, usize, usize),
}

/// A parsed expression.
///
/// ```
/// use cotangent_lecture::explain::Expression;
/// use cotangent::Tensor;
/// let f = Expression::parse("y*ln(x) + sqrt(y*ln(x))").unwrap();
/// assert_eq!(f.names(), ["y", "x"]);
/// let e = Expression::parse("y*ln(x").unwrap_err();
/// assert_eq!((e.at.start, e.message.as_str()), (6, "expected `)`, found the end"));
/// ```
#[derive(Clone, Debug)]
pub struct Expression {
    text: String,
    terms: Vec<(Term, Range<usize>)>,
    root: usize,
}

impl Expression {
    /// Read an expression.
    ///
    /// # Errors
    /// The place, what was expected there, and what stands there.
    pub fn parse(text: &str) -> std::result::Result<Self, ParseError> {
        let mut parser = Parser::new(text)?;
        let root = parser.sum()?;
        parser.end("an operator or the end").map_err(|mut e| {
            if !matches!(parser.peek(), Some(Token::Sign(_))) || parser.is("(") || parser.is("[") {
                e.help = "a product needs its `*`, a function its brackets: `2*x`, `sin(x)`".into();
            }
            e
        })?;
        if let Some((_, at)) = parser.terms.get(MOST) {
            let message = format!("expected at most {MOST} numbers, names and operations");
            return Err(ParseError { at: at.clone(), message, help: "name a part with `--at`".into() });
        }
        Ok(Expression { text: text.trim().to_string(), terms: parser.terms, root })
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The variables, in the order in which they come; `pi` and `e` are numbers.
    pub fn names(&self) -> Vec<&str> {
        let mut found: Vec<&str> = Vec::new();
        let mut seen: Vec<(&str, usize)> = Vec::new();
        for (term, at) in &self.terms {
            if let Term::Name(name) = term
                && !seen.iter().any(|(n, _)| n == name)
            {
                seen.push((name, at.start));
            }
        }
        seen.sort_by_key(|(_, at)| *at);
        found.extend(seen.iter().map(|(n, _)| *n));
        found
    }

    /// Its variables must be exactly those that have values.
    ///
    /// # Errors
    /// The first name without a value, with its place; a value that nothing reads.
    pub fn bound(&self, at: &[(String, Tensor)]) -> std::result::Result<(), ParseError> {
        for (term, place) in &self.terms {
            if let Term::Name(name) = term
                && constant(name).is_none()
                && !at.iter().any(|(n, _)| n == name)
            {
                let given: Vec<&str> = at.iter().map(|(n, _)| n.as_str()).collect();
                let help = match given.is_empty() {
                    true => format!("give it one: `--at {name}=2`"),
                    false => format!("give it one: `--at {},{name}=2`", given.join("=..,") + "=.."),
                };
                let help = match FUNCTIONS.contains(&name.as_str()) {
                    true => format!("a function takes brackets: `{name}(x)`"),
                    false => help,
                };
                return Err(ParseError {
                    at: place.clone(),
                    message: format!("`{name}` has no value"),
                    help,
                });
            }
        }
        let names = self.names();
        match at.iter().find(|(n, _)| !names.contains(&n.as_str())) {
            Some((name, _)) => Err(ParseError {
                at: 0..self.text.len(),
                message: format!("`{name}` has a value, and does not stand here"),
                help: "leave it out of `--at`, or use it".into(),
            }),
            None => Ok(()),
        }
    }

    /// The value, by the library's operations; equal subexpressions are computed once.
    ///
    /// # Errors
    /// Shapes that do not fit: the place of the term, and the library's words.
    pub fn evaluate(&self, names: &[String], values: &[Tensor]) -> std::result::Result<Tensor, ParseError> {
        let mut known: Vec<Option<Tensor>> = vec![None; self.terms.len()];
        // Terms stand after their operands.
        for (i, (term, at)) in self.terms.iter().enumerate().take(self.root + 1) {
            let value = attempt(|| self.term(term, &known, names, values)).map_err(|e| mistake(at, &e))?;
            known[i] = Some(value);
        }
        Ok(known.swap_remove(self.root).expect("the root was computed"))
    }

    fn term(&self, term: &Term, known: &[Option<Tensor>], names: &[String], values: &[Tensor]) -> Tensor {
        let of = |i: &usize| known[*i].as_ref().expect("operands come first");
        match term {
            Term::Number(x) => Tensor::from(*x),
            Term::Array(v, shape) => Tensor::from_vec(v.clone(), shape),
            Term::Name(name) => match names.iter().position(|n| n == name) {
                Some(i) => values[i].clone(),
                None => Tensor::from(constant(name).unwrap_or(f64::NAN)),
            },
            Term::Call(name, a) => call(name, of(a)),
            Term::Two("+", a, b) => of(a) + of(b),
            Term::Two("-", a, b) => of(a) - of(b),
            Term::Two("*", a, b) => of(a) * of(b),
            Term::Two("/", a, b) => of(a) / of(b),
            Term::Two("@", a, b) => of(a).matmul(of(b)),
            Term::Two("max", a, b) => of(a).maximum(of(b)),
            Term::Two("min", a, b) => of(a).minimum(of(b)),
            Term::Two(_, a, b) => match self.terms[*b].0 {
                Term::Number(p) => power(of(a), p),
                _ => (of(b) * of(a).ln()).exp(),
            },
        }
    }
}

fn mistake(at: &Range<usize>, error: &Error) -> ParseError {
    let text = error.to_string();
    let mut lines = text.lines();
    let first = lines.next().unwrap_or_default();
    // The library names the line of the program that called it, which says nothing here.
    let message = first.split("      at ").next().unwrap_or(first).trim().to_string();
    let help = lines.find_map(|l| l.trim().strip_prefix("help: ").map(str::to_string)).unwrap_or_default();
    ParseError { at: at.clone(), message, help }
}

fn constant(name: &str) -> Option<f64> {
    match name {
        "pi" | "π" => Some(std::f64::consts::PI),
        "e" => Some(std::f64::consts::E),
        _ => None,
    }
}

fn call(name: &str, x: &Tensor) -> Tensor {
    match name {
        "exp" => x.exp(),
        "ln" => x.ln(),
        "sqrt" => x.sqrt(),
        "sin" => x.sin(),
        "cos" => x.cos(),
        "tanh" => x.tanh(),
        "sigmoid" => x.sigmoid(),
        "relu" => x.relu(),
        "abs" => x.abs(),
        "square" => x.square(),
        "sum" => x.sum(),
        "mean" => x.mean(),
        "max" => x.max(),
        "min" => x.min(),
        "norm" => x.norm(),
        "softmax" => x.softmax(-1),
        "t" => x.t(),
        _ => -x,
    }
}

/// `xᵖ`: products for small whole p, `√x` for ½, else `e^{p·ln x}`.
fn power(x: &Tensor, p: f64) -> Tensor {
    match p {
        0.0 => x.ones_like(),
        1.0 => x.clone(),
        2.0 => x.square(),
        0.5 => x.sqrt(),
        p if p < 0.0 => power(x, -p).recip(),
        p if p.fract() == 0.0 && p <= 64.0 => {
            let half = power(x, (p / 2.0).floor());
            let even = half.square();
            if p % 2.0 == 0.0 { even } else { even * x }
        }
        p => (x.ln() * p).exp(),
    }
}

/// Values by name: `x=3, w=[1,2,3], A=[[1,2],[3,4]]`.
///
/// ```
/// use cotangent_lecture::explain::bindings;
/// let at = bindings("x=3, w=[1, -2]").unwrap();
/// assert_eq!((at[0].0.as_str(), at[1].1.shape()[..].to_vec()), ("x", vec![2]));
/// assert_eq!(bindings("x=3,,").unwrap_err().at, 4..5);
/// ```
///
/// # Errors
/// The place, what was expected there, and what stands there.
pub fn bindings(text: &str) -> std::result::Result<Vec<(String, Tensor)>, ParseError> {
    let mut parser = Parser::new(text)?;
    let mut found: Vec<(String, Tensor)> = Vec::new();
    while !(parser.at_end() && (found.is_empty())) {
        let at = parser.here();
        let Some(Token::Name(name)) = parser.peek().cloned() else {
            return Err(parser.expected("a name, as in `x=3`"));
        };
        if FUNCTIONS.contains(&name.as_str()) && name != "t" {
            let message = format!("`{name}` is a function, and cannot have a value");
            return Err(ParseError { at, message, help: "call the variable something else".into() });
        }
        if found.iter().any(|(n, _)| *n == name) {
            let message = format!("`{name}` has two values");
            return Err(ParseError { at, message, help: "give each variable one value".into() });
        }
        parser.next += 1;
        parser.sign("=", "`=`").map_err(|e| ParseError { help: format!("such as `{name}=3`"), ..e })?;
        let begin = parser.here().start;
        let root = parser.sum()?;
        let span = begin..parser.before();
        let part = Expression { text: String::new(), terms: parser.terms.clone(), root };
        if let Some((_, at)) =
            part.terms.iter().find(|(t, _)| matches!(t, Term::Name(n) if constant(n).is_none()))
        {
            let message = "a value is made of numbers alone".to_string();
            return Err(ParseError { at: at.clone(), message, help: "such as `x=3` or `w=[1,2,3]`".into() });
        }
        let value = part.evaluate(&[], &[]).map_err(|e| ParseError { at: span, ..e })?;
        found.push((name, value));
        if parser.at_end() {
            break;
        }
        let help = || "such as `x=3, w=[1,2,3]`".to_string();
        parser.sign(",", "`,` or the end").map_err(|e| ParseError { help: help(), ..e })?;
    }
    Ok(found)
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Number(f64),
    Name(String),
    Sign(&'static str),
}

struct Parser<'a> {
    text: &'a str,
    tokens: Vec<(Token, Range<usize>)>,
    next: usize,
    terms: Vec<(Term, Range<usize>)>,
    known: HashMap<String, usize>,
    depth: usize,
}

/// More than anyone reads; what is said of the steps grows with their square.
const MOST: usize = 1000;
/// Deeper nesting than anyone writes; the parser recurses.
const DEEPEST: usize = 200;

fn tokens(text: &str) -> std::result::Result<Vec<(Token, Range<usize>)>, ParseError> {
    let mut found = Vec::new();
    let mut rest = text.char_indices().peekable();
    while let Some((at, c)) = rest.next() {
        let sign = |s| (Token::Sign(s), at..at + c.len_utf8());
        let token = match c {
            c if c.is_whitespace() => continue,
            '+' => sign("+"),
            '-' | '−' => sign("-"),
            '*' if rest.peek().is_some_and(|(_, c)| *c == '*') => {
                rest.next();
                (Token::Sign("^"), at..at + 2)
            }
            '*' | '·' | '×' => sign("*"),
            '/' | '÷' => sign("/"),
            '@' => sign("@"),
            '^' => sign("^"),
            '(' => sign("("),
            ')' => sign(")"),
            '[' => sign("["),
            ']' => sign("]"),
            ',' => sign(","),
            '=' => sign("="),
            '√' => (Token::Name("sqrt".into()), at..at + c.len_utf8()),
            c if c.is_ascii_digit() || c == '.' => {
                let mut end = at + 1;
                let bytes = text.as_bytes();
                while end < text.len() {
                    let exponent = end + 1 < text.len()
                        && matches!(bytes[end], b'e' | b'E')
                        && (bytes[end + 1].is_ascii_digit()
                            || (matches!(bytes[end + 1], b'+' | b'-')
                                && bytes.get(end + 2).is_some_and(u8::is_ascii_digit)));
                    match bytes[end] {
                        b'0'..=b'9' | b'.' => end += 1,
                        _ if exponent => end += 2,
                        _ => break,
                    }
                }
                while rest.peek().is_some_and(|(i, _)| *i < end) {
                    rest.next();
                }
                let number =
                    text[at..end].parse::<f64>().ok().filter(|x| x.is_finite()).ok_or_else(|| {
                        let message = format!("expected a number, found `{}`", &text[at..end]);
                        let help = "such as `3`, `0.5` or `1e-3`, at most `1.7e308`".into();
                        ParseError { at: at..end, message, help }
                    })?;
                (Token::Number(number), at..end)
            }
            c if c.is_alphabetic() || c == '_' => {
                let mut end = at + c.len_utf8();
                while let Some((i, c)) = rest.peek().copied() {
                    if !(c.is_alphanumeric() || c == '_') {
                        break;
                    }
                    end = i + c.len_utf8();
                    rest.next();
                }
                (Token::Name(text[at..end].to_string()), at..end)
            }
            other => {
                return Err(ParseError {
                    at: at..at + other.len_utf8(),
                    message: format!(
                        "expected a number, a name or one of + - * / ^ @ ( ) [ ], found `{other}`"
                    ),
                    help: String::new(),
                });
            }
        };
        found.push(token);
    }
    Ok(found)
}

type Parsed = std::result::Result<usize, ParseError>;

impl<'a> Parser<'a> {
    fn new(text: &'a str) -> std::result::Result<Self, ParseError> {
        let tokens = tokens(text)?;
        Ok(Parser { text, tokens, next: 0, terms: Vec::new(), known: HashMap::new(), depth: 0 })
    }

    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.next).map(|(t, _)| t)
    }

    fn at_end(&self) -> bool {
        self.next >= self.tokens.len()
    }

    /// Where the next token stands; one place behind the text at its end.
    fn here(&self) -> Range<usize> {
        let end = self.text.trim_end().len();
        self.tokens.get(self.next).map_or(end..end + 1, |(_, at)| at.clone())
    }

    /// Where the last token ended.
    fn before(&self) -> usize {
        self.next.checked_sub(1).map_or(0, |i| self.tokens[i].1.end)
    }

    fn is(&self, sign: &str) -> bool {
        matches!(self.peek(), Some(Token::Sign(s)) if *s == sign)
    }

    fn expected(&self, what: &str) -> ParseError {
        let found = match self.tokens.get(self.next) {
            Some((_, at)) => format!("`{}`", &self.text[at.clone()]),
            None => "the end".to_string(),
        };
        ParseError {
            at: self.here(),
            message: format!("expected {what}, found {found}"),
            help: String::new(),
        }
    }

    fn sign(&mut self, sign: &str, what: &str) -> std::result::Result<(), ParseError> {
        if !self.is(sign) {
            return Err(self.expected(what));
        }
        self.next += 1;
        Ok(())
    }

    fn end(&self, what: &str) -> std::result::Result<(), ParseError> {
        if self.at_end() { Ok(()) } else { Err(self.expected(what)) }
    }

    /// A term by its meaning: one that is there already is used again.
    fn put(&mut self, key: String, term: Term, at: Range<usize>) -> usize {
        if let Some(i) = self.known.get(&key) {
            return *i;
        }
        self.terms.push((term, at));
        self.known.insert(key, self.terms.len() - 1);
        self.terms.len() - 1
    }

    fn two(&mut self, sign: &'static str, a: usize, b: usize, begin: usize) -> usize {
        // Addition and multiplication do not mind the order.
        let (first, second) =
            if matches!(sign, "+" | "*" | "max" | "min") { (a.min(b), a.max(b)) } else { (a, b) };
        let at = begin..self.before();
        self.put(format!("{first} {sign} {second}"), Term::Two(sign, a, b), at)
    }

    fn sum(&mut self) -> Parsed {
        self.depth += 1;
        if self.depth > DEEPEST {
            let message = format!("expected at most {DEEPEST} levels of brackets");
            return Err(ParseError { at: self.here(), message, help: "name a part with `--at`".into() });
        }
        let begin = self.here().start;
        let mut a = self.product()?;
        while let Some(sign) = ["+", "-"].into_iter().find(|s| self.is(s)) {
            self.next += 1;
            let b = self.product()?;
            a = self.two(sign, a, b, begin);
        }
        self.depth -= 1;
        Ok(a)
    }

    fn product(&mut self) -> Parsed {
        let begin = self.here().start;
        let mut a = self.signed()?;
        while let Some(sign) = ["*", "/", "@"].into_iter().find(|s| self.is(s)) {
            self.next += 1;
            let b = self.signed()?;
            a = self.two(sign, a, b, begin);
        }
        Ok(a)
    }

    fn signed(&mut self) -> Parsed {
        let begin = self.here().start;
        let mut minus = false;
        while let Some(sign) = ["+", "-"].into_iter().find(|s| self.is(s)) {
            minus ^= sign == "-";
            self.next += 1;
        }
        let a = self.power()?;
        if !minus {
            return Ok(a);
        }
        let at = begin..self.before();
        match self.terms[a].0 {
            Term::Number(x) => Ok(self.put(format!("#{:?}", -x), Term::Number(-x), at)),
            _ => Ok(self.put(format!("neg {a}"), Term::Call("neg", a), at)),
        }
    }

    fn power(&mut self) -> Parsed {
        let begin = self.here().start;
        let a = self.atom()?;
        if !self.is("^") {
            return Ok(a);
        }
        self.next += 1;
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(self.expected("fewer powers of powers"));
        }
        let b = self.signed()?;
        self.depth -= 1;
        Ok(self.two("^", a, b, begin))
    }

    fn atom(&mut self) -> Parsed {
        let at = self.here();
        match self.peek().cloned() {
            Some(Token::Number(x)) => {
                self.next += 1;
                Ok(self.put(format!("#{x:?}"), Term::Number(x), at))
            }
            Some(Token::Sign("(")) => {
                self.next += 1;
                let a = self.sum()?;
                self.sign(")", "`)`")?;
                Ok(a)
            }
            Some(Token::Sign("[")) => {
                let (values, shape) = self.array()?;
                let at = at.start..self.before();
                Ok(self.put(format!("{values:?}{shape:?}"), Term::Array(values, shape), at))
            }
            Some(Token::Name(name)) => {
                self.next += 1;
                if self.is("(") {
                    return self.function(&name, at);
                }
                Ok(self.put(format!("`{name}"), Term::Name(name), at))
            }
            _ => Err(self.expected("a number, a name or `(`")),
        }
    }

    fn function(&mut self, name: &str, at: Range<usize>) -> Parsed {
        let Some(function) = FUNCTIONS.into_iter().find(|f| *f == name) else {
            let message = format!("`{name}` is not a function I know");
            let help = format!("there are {}; a product needs its `*`: `{name}*(..)`", FUNCTIONS.join(", "));
            return Err(ParseError { at, message, help });
        };
        self.sign("(", "`(`")?;
        let a = self.sum()?;
        if self.is(",") && matches!(function, "max" | "min") {
            self.next += 1;
            let b = self.sum()?;
            self.sign(")", "`)`")?;
            return Ok(self.two(function, a, b, at.start));
        }
        self.sign(")", if matches!(function, "max" | "min") { "`,` or `)`" } else { "`)`" })?;
        let function = if function == "log" { "ln" } else { function };
        let at = at.start..self.before();
        Ok(self.put(format!("{function} {a}"), Term::Call(function, a), at))
    }

    /// `[1, 2]`, `[[1, 2], [3, 4]]`: rows of one length.
    fn array(&mut self) -> std::result::Result<(Vec<f64>, Vec<usize>), ParseError> {
        self.sign("[", "`[`")?;
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(self.expected("fewer brackets"));
        }
        let (mut values, mut rows, mut inner): (Vec<f64>, usize, Option<Vec<usize>>) = (vec![], 0, None);
        loop {
            let at = self.here();
            let (more, shape) = if self.is("[") {
                self.array()?
            } else {
                let minus = self.is("-");
                self.next += usize::from(minus);
                let Some(Token::Number(x)) = self.peek().cloned() else {
                    return Err(self.expected("a number or `[`"));
                };
                self.next += 1;
                (vec![if minus { -x } else { x }], vec![])
            };
            if inner.get_or_insert_with(|| shape.clone()) != &shape {
                let found = at.start..self.before();
                let message = "expected rows of one length".to_string();
                return Err(ParseError { at: found, message, help: "such as `[[1,2],[3,4]]`".into() });
            }
            values.extend(more);
            rows += 1;
            if self.is(",") {
                self.next += 1;
                continue;
            }
            self.sign("]", "`,` or `]`")?;
            break;
        }
        self.depth -= 1;
        let mut shape = vec![rows];
        shape.extend(inner.unwrap_or_default());
        if shape.len() > 4 {
            let message = "expected at most four axes".to_string();
            return Err(ParseError { at: self.here(), message, help: String::new() });
        }
        Ok((values, shape))
    }
}
