//! Printing, as PyTorch prints.

use std::fmt;

use super::{DType, Number, Tensor};

/// More elements than this are summarised.
const THRESHOLD: usize = 1000;
/// Places shown at each end of a summarised axis.
const EDGE: usize = 3;
const WIDTH: usize = 80;

/// How all numbers of one tensor are written.
struct Style {
    width: usize,
    kind: Kind,
}

#[derive(PartialEq)]
enum Kind {
    Whole,
    /// Reals that are all whole: `1.`
    Pointed,
    Fixed,
    Scientific,
}

impl Style {
    fn of(values: &[Number], dtype: DType) -> Self {
        let finite: Vec<f64> = values.iter().map(|x| x.to_f64()).filter(|x| x.is_finite()).collect();
        let largest = finite.iter().fold(0f64, |m, x| m.max(x.abs()));
        let smallest = finite.iter().filter(|x| **x != 0.0).fold(f64::INFINITY, |m, x| m.min(x.abs()));
        let kind = if !dtype.is_float() {
            Kind::Whole
        } else if finite.iter().all(|x| *x == x.trunc()) {
            if largest / smallest > 1e3 || largest > 1e8 { Kind::Scientific } else { Kind::Pointed }
        } else if largest / smallest > 1e3 || largest > 1e8 || smallest < 1e-4 {
            Kind::Scientific
        } else {
            Kind::Fixed
        };
        let mut style = Style { width: 0, kind };
        // Zeros and what is not finite do not widen a column of reals: they do not in PyTorch.
        let wide = |x: &&Number| !dtype.is_float() || (x.to_f64() != 0.0 && x.to_f64().is_finite());
        style.width = values.iter().filter(wide).map(|x| style.number(*x).len()).max().unwrap_or(1);
        style
    }

    fn number(&self, x: Number) -> String {
        let f = x.to_f64();
        match (x, &self.kind) {
            (Number::Bool(b), _) => if b { "True" } else { "False" }.into(),
            (Number::Int(i), _) => i.to_string(),
            _ if f.is_nan() => "nan".into(),
            _ if f.is_infinite() => if f > 0.0 { "inf" } else { "-inf" }.into(),
            (_, Kind::Scientific) => {
                let text = format!("{f:.4e}");
                let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
                let (sign, digits) = exponent.strip_prefix('-').map_or(('+', exponent), |d| ('-', d));
                format!("{mantissa}e{sign}{digits:0>2}")
            }
            (_, Kind::Pointed) => format!("{f:.0}."),
            _ => format!("{f:.4}"),
        }
    }
}

/// The places of an axis that are shown; `None` stands for the dots.
fn places(n: usize, summarise: bool) -> Vec<Option<usize>> {
    if summarise && n > 2 * EDGE {
        (0..EDGE).map(Some).chain([None]).chain((n - EDGE..n).map(Some)).collect()
    } else {
        (0..n).map(Some).collect()
    }
}

fn write(x: &[Number], shape: &[usize], style: &Style, summarise: bool, indent: usize, out: &mut String) {
    let [n, inner @ ..] = shape else { return out.push_str(&style.number(x[0])) };
    let step: usize = inner.iter().product();
    out.push('[');
    if inner.is_empty() {
        let per_line = ((WIDTH - indent.min(WIDTH / 2)) / (style.width + 2)).max(1);
        for (i, place) in places(*n, summarise).into_iter().enumerate() {
            if i > 0 {
                out.push(',');
                if i % per_line == 0 {
                    out.push('\n');
                    out.push_str(&" ".repeat(indent + 1));
                } else {
                    out.push(' ');
                }
            }
            match place {
                None => out.push_str(" ..."),
                Some(p) => out.push_str(&format!("{:>w$}", style.number(x[p]), w = style.width)),
            }
        }
    } else {
        for (i, place) in places(*n, summarise).into_iter().enumerate() {
            if i > 0 {
                out.push(',');
                out.push_str(&"\n".repeat(shape.len() - 1));
                out.push_str(&" ".repeat(indent + 1));
            }
            match place {
                None => out.push_str("..."),
                Some(p) => write(&x[p * step..(p + 1) * step], inner, style, summarise, indent + 1, out),
            }
        }
    }
    out.push(']');
}

/// As PyTorch: `tensor([[1., 2.],\n        [3., 4.]])`, with type and device where they are not the default.
impl fmt::Display for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (shape, dtype) = (*self.shape(), self.dtype());
        let mut notes = Vec::new();
        if !self.device().is_cpu() {
            notes.push(format!("device='{}'", self.device()));
        }
        if self.is_recorded() {
            return write!(f, "tensor(recorded, size={shape:?}, dtype={dtype})");
        }
        let values = match self.try_read() {
            Ok(t) => {
                crate::dispatch!(dtype, T => t.to_vec::<T>().into_iter().map(super::Element::to_number).collect::<Vec<_>>())
            }
            Err(e) => return write!(f, "tensor(size={shape:?}, dtype={dtype}: {e})"),
        };
        let mut text = "tensor(".to_string();
        if values.is_empty() {
            text.push_str("[]");
            if shape.rank() != 1 {
                notes.push(format!(
                    "size=({})",
                    shape.iter().map(usize::to_string).collect::<Vec<_>>().join(", ")
                ));
            }
        } else {
            let summarise = values.len() > THRESHOLD;
            let shown: Vec<Number> = if summarise { edges(&values, &shape) } else { values.clone() };
            write(&values, &shape, &Style::of(&shown, dtype), summarise, "tensor(".len(), &mut text);
        }
        // Elements show that they are whole or truth values; an empty tensor has none to show it.
        if !matches!(dtype, DType::F32 | DType::I64 | DType::Bool)
            || (values.is_empty() && dtype != DType::F32)
        {
            notes.push(format!("dtype={dtype}"));
        }
        if self.is_tracked() {
            notes.push("tracked".into());
        }
        let mut column = text.lines().last().map_or(0, |l| l.chars().count()) + 2;
        for note in notes {
            if column + note.len() + 2 > WIDTH {
                text.push_str(&format!(",\n{}{note}", " ".repeat("tensor(".len())));
                column = "tensor(".len() + note.len();
            } else {
                text.push_str(&format!(", {note}"));
                column += note.len() + 2;
            }
        }
        text.push(')');
        f.write_str(&text)
    }
}

/// The elements that a summary shows.
fn edges(x: &[Number], shape: &[usize]) -> Vec<Number> {
    let [n, inner @ ..] = shape else { return x.to_vec() };
    let step: usize = inner.iter().product();
    let part = |p: usize| edges(&x[p * step..(p + 1) * step], inner);
    places(*n, true).into_iter().flatten().flat_map(part).collect()
}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
