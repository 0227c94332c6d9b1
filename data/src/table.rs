//! Tables in CSV files: a row for each example, columns by name.

use std::collections::HashMap;
use std::io::Cursor;
use std::path::Path;

use crate::error::{Error, Place, Result};
use crate::file::{Limits, read_bytes};
use crate::picture::Format;
use crate::set::{Origins, Parts, Set, Values, check_classes, index};

/// What to do about a number that is not there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Missing {
    /// Refuse the file.
    #[default]
    Error,
    /// Take the mean of the training examples: the reader leaves NaN there.
    Mean,
    /// Take 0.
    Zero,
    /// Leave the example out.
    Drop,
}

/// Which columns are what.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Options {
    /// The column with the class; without it one that is called so.
    pub label: Option<String>,
    /// The columns with the inputs, in this order; without them all others.
    pub features: Option<Vec<String>>,
    /// Columns that are nothing of it.
    pub exclude: Vec<String>,
    /// The column that says what belongs together; it is no input.
    pub group: Option<String>,
    /// What to do about an empty field.
    pub missing: Missing,
    /// Names of the classes, where they are known already.
    pub classes: Option<Vec<String>>,
    /// Whether there need not be labels.
    pub unlabelled: bool,
    /// How much is taken.
    pub limits: Limits,
}

/// Names of columns that are the class unless another one is named.
const LABELS: [&str; 5] = ["label", "class", "target", "y", "category"];
/// Columns at most.
const WIDEST: usize = 1 << 20;

/// `FILE.csv`, or a folder with `train.csv` and perhaps `val.csv` and `test.csv`. The first line names the columns;
/// they are separated by commas, semicolons or tabs.
///
/// # Errors
/// When a line has another number of fields, a field is no number or missing, a column is not there; with line and column.
pub fn read(path: &Path, options: &Options) -> Result<Parts> {
    if !path.is_dir() {
        return Ok(Parts { train: file(path, options)?, val: None, test: None });
    }
    let train = path.join("train.csv");
    if !train.exists() {
        let found = Error::new(path, "is a folder without train.csv");
        return Err(found
            .help("`csv:` takes a CSV file, or a folder with train.csv and perhaps val.csv and test.csv"));
    }
    let train = file(&train, options)?;
    let like = Options {
        classes: Some(train.classes.clone()),
        features: Some(train.features.clone()),
        group: None,
        ..options.clone()
    };
    let other = |name: &str| {
        let path = path.join(name);
        path.exists().then(|| file(&path, &like)).transpose()
    };
    let (val, test) = (other("val.csv")?, other("test.csv")?);
    Ok(Parts { train, val, test })
}

/// One CSV file.
///
/// # Errors
/// As [`read`].
pub fn file(path: &Path, options: &Options) -> Result<Set> {
    parse(&read_bytes(path, options.limits.bytes / 4)?, path, options)
}

/// The columns that are used.
struct Columns {
    names: Vec<String>,
    features: Vec<usize>,
    label: Option<usize>,
    group: Option<usize>,
}

/// CSV text; `path` stands in errors.
///
/// ```
/// use cotangent_data::table::{Options, parse};
/// let set = parse(b"a,class,b\n1,no,2\n3,yes,4\n", "t.csv".as_ref(), &Options::default())?;
/// assert_eq!((set.features, set.classes), (vec!["a".into(), "b".into()], vec!["no".into(), "yes".into()]));
/// assert_eq!(set.labels, [0, 1]);
/// # Ok::<(), cotangent_data::Error>(())
/// ```
///
/// # Errors
/// As [`read`].
pub fn parse(bytes: &[u8], path: &Path, options: &Options) -> Result<Set> {
    if Format::of(bytes).is_some() {
        let found = Error::new(path, "is a picture, and a table was expected").at(Place::Byte(0));
        return Err(found.help("a CSV file has a line for each example, and names its columns in the first"));
    }
    if bytes.starts_with(&[0x1f, 0x8b]) {
        let found = Error::new(path, "is compressed with gzip, and a table was expected").at(Place::Byte(0));
        return Err(found.help("unpack it first: `gunzip FILE`"));
    }
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    if text.starts_with(b"\xff\xfe") || text.starts_with(b"\xfe\xff") || text.iter().take(64).any(|b| *b == 0)
    {
        let found = Error::new(path, "is no CSV file in UTF-8").at(Place::Byte(0));
        return Err(found.help("in a spreadsheet program, save it as “CSV UTF-8”"));
    }
    let line = text.split(|b| *b == b'\n').next().unwrap_or_default();
    let separator = [b',', b';', b'\t'].into_iter().max_by_key(|s| {
        // Of equal counts the last wins: the comma.
        (line.iter().filter(|b| *b == s).count(), *s == b',')
    });
    let separator = separator.unwrap_or(b',');
    if let Some((line, words)) = misquoted(text, separator) {
        let found = Error::new(path, words).at(Place::Line(line));
        return Err(found.help(
            "fields with commas or line breaks stand in double quotes, and a quote in them is doubled",
        ));
    }
    let mut reader = csv::ReaderBuilder::new().delimiter(separator).from_reader(Cursor::new(text));
    let lines = Lines { text };
    let bad = |e: csv::Error| {
        let line = e.position().map_or(1, |at| lines.line(at, &mut (0, 1)));
        let text = match e.kind() {
            csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
                format!("the line has {len} fields, and the first line names {expected_len} columns")
            }
            csv::ErrorKind::Utf8 { err, .. } => format!("field {} is no UTF-8", err.field() + 1),
            _ => format!("cannot be read as CSV: {e}"),
        };
        let help = match e.kind() {
            csv::ErrorKind::Utf8 { .. } => "in a spreadsheet program, save it as “CSV UTF-8”",
            _ => "fields with commas or line breaks stand in double quotes",
        };
        Error::new(path, text).at(Place::Line(line)).help(help)
    };
    let names: Vec<String> = reader.headers().map_err(bad)?.iter().map(|n| n.trim().to_string()).collect();
    let columns = columns(path, names, options)?;
    let width = columns.features.len();
    let (mut inputs, mut labels, mut groups, mut at) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut counted = (0, 1);
    let (mut dropped, mut missed) = (0_u64, 0_u64);
    let mut record = csv::StringRecord::new();
    'rows: while reader.read_record(&mut record).map_err(bad)? {
        let line = record.position().map_or(0, |p| lines.line(p, &mut counted));
        let field = |c: usize| Place::Field(line, columns.names[c].clone());
        let start = inputs.len();
        for c in &columns.features {
            let text = record.get(*c).unwrap_or_default().trim();
            let number =
                number(text).map_err(|(words, help)| Error::new(path, words).at(field(*c)).help(help))?;
            match (number, options.missing) {
                (Some(x), _) => inputs.push(x),
                (None, Missing::Zero) => inputs.push(0.0),
                (None, Missing::Mean) => inputs.push(f32::NAN),
                (None, Missing::Drop) => {
                    inputs.truncate(start);
                    dropped += 1;
                    continue 'rows;
                }
                (None, Missing::Error) => {
                    let found =
                        Error::new(path, "the field is empty or stands for a missing number").at(field(*c));
                    return Err(found.help(
                        "`missing = \"mean\"`, \"zero\" or \"drop\" in `[data]` says what to do about it",
                    ));
                }
            }
            missed += u64::from(number.is_none());
        }
        if let Some(c) = columns.label {
            let label = record.get(c).unwrap_or_default().trim();
            if label.is_empty() {
                if options.missing == Missing::Drop {
                    inputs.truncate(start);
                    dropped += 1;
                    continue 'rows;
                }
                return Err(Error::new(path, "the example has no class")
                    .at(field(c))
                    .help("fill it in, or delete the line"));
            }
            labels.push(label.to_string());
        }
        if let Some(c) = columns.group {
            groups.push(record.get(c).unwrap_or_default().trim().to_string());
        }
        at.push(line);
        if (inputs.len() as u64).saturating_mul(4) > options.limits.bytes {
            let text = format!("holds more than the {} MiB that are free for it", options.limits.bytes >> 20);
            return Err(Error::new(path, text)
                .at(Place::Line(line))
                .help("take fewer lines, or fewer columns with `features`"));
        }
    }
    if at.is_empty() {
        let text =
            if dropped > 0 { "holds no complete example" } else { "holds no example below its first line" };
        return Err(Error::new(path, text).help("each line below the names of the columns is an example"));
    }
    let (classes, labels) = match columns.label {
        None => (options.classes.clone().unwrap_or_default(), Vec::new()),
        Some(c) => {
            let known = options.classes.as_deref();
            let (classes, indices) = index(&labels, known).map_err(|i| {
                let found = Error::new(path, format!("`{}` is no class that was learned", labels[i]));
                found
                    .at(Place::Field(at[i], columns.names[c].clone()))
                    .help(format!("the classes are {}", known.unwrap_or_default().join(", ")))
            })?;
            if known.is_none() {
                check_measured(path, &labels, &classes, &columns.names[c])?;
                check_classes(path, &classes)?;
            }
            (classes, indices)
        }
    };
    let mut remarks = Vec::new();
    if dropped > 0 {
        remarks.push(format!("{dropped} lines of {} with missing fields are left out", path.display()));
    }
    if missed > 0 {
        remarks.push(format!("{missed} missing numbers of {} are filled in", path.display()));
    }
    Ok(Set {
        inputs: Values::F32(inputs),
        shape: vec![width],
        labels,
        classes,
        features: columns.features.iter().map(|c| columns.names[*c].clone()).collect(),
        groups: columns.group.map(|_| groups),
        origins: Origins::Lines(at),
        remarks,
        scale: 1.0,
    })
}

/// Quotes that the reader would take without a word: the line, and what is wrong there.
fn misquoted(text: &[u8], separator: u8) -> Option<(u64, &'static str)> {
    #[derive(Clone, Copy, PartialEq)]
    enum At {
        Start,
        Plain,
        Quoted,
        Closed,
    }
    let (mut at, mut line, mut opened) = (At::Start, 1, 1);
    for byte in text {
        at = match (at, byte) {
            (At::Start, b'"') => {
                opened = line;
                At::Quoted
            }
            (At::Quoted, b'"') | (At::Closed, b' ') => At::Closed,
            (At::Quoted, _) | (At::Closed, b'"') => At::Quoted,
            (_, b) if *b == separator || matches!(b, b'\n' | b'\r') => At::Start,
            (At::Closed, _) => return Some((line, "a field goes on behind its closing quote")),
            _ => At::Plain,
        };
        line += u64::from(*byte == b'\n');
    }
    (at == At::Quoted).then_some((opened, "a quote is opened and never closed"))
}

/// Finds line numbers. The reader's own are one short where lines end with CR and LF.
struct Lines<'a> {
    text: &'a [u8],
}

impl Lines<'_> {
    /// The line of a record that was found here; `counted` is a byte and its line, and moves on.
    fn line(&self, at: &csv::Position, counted: &mut (usize, u64)) -> u64 {
        let (mut byte, mut line) = *counted;
        let to = (at.byte() as usize).min(self.text.len());
        line += self.text[byte.min(to)..to].iter().filter(|b| **b == b'\n').count() as u64;
        byte = to;
        while let Some(end @ (b'\n' | b'\r')) = self.text.get(byte) {
            line += u64::from(*end == b'\n');
            byte += 1;
        }
        *counted = (byte, line);
        line
    }
}

/// A column with nearly as many different numbers as lines was measured.
fn check_measured(path: &Path, labels: &[String], classes: &[String], column: &str) -> Result<()> {
    let real = || classes.iter().filter(|c| c.parse::<i64>().is_err()).count() * 2 > classes.len();
    let numbers = || classes.iter().all(|c| c.parse::<f64>().is_ok());
    if classes.len() > 20 && classes.len() * 2 > labels.len() && numbers() && real() {
        let text = format!(
            "column `{column}` holds {} different numbers on {} lines, and classes were expected",
            classes.len(),
            labels.len()
        );
        return Err(Error::new(path, text)
            .option()
            .help("name the column with the class: `label = \"…\"` in `[data]`"));
    }
    Ok(())
}

/// A number; `None` where it is missing; what is wrong and how to mend it where it is something else.
fn number(text: &str) -> Result<Option<f32>, (String, &'static str)> {
    const MISSING: [&str; 9] = ["", "na", "n/a", "nan", "null", "none", "?", "-", "#n/a"];
    const LEAVE: &str =
        "leave the column out: `exclude = [\"…\"]` in `[data]`; or name the inputs: `features = […]`";
    if MISSING.iter().any(|m| text.eq_ignore_ascii_case(m)) {
        return Ok(None);
    }
    match text.parse::<f32>() {
        Ok(x) if x.is_finite() => Ok(Some(x)),
        Ok(_) => Err((format!("`{text}` is not finite, or beyond what 32 bits hold"), LEAVE)),
        Err(_) if text.replace(',', ".").parse::<f32>().is_ok() => {
            let words = format!("`{text}` has a decimal comma, and numbers are written with a point");
            Err((words, "export it with points: in a spreadsheet program, with English as the language"))
        }
        Err(_) => {
            let short: String = text.chars().take(40).collect();
            Err((format!("`{short}` is no number"), LEAVE))
        }
    }
}

fn columns(path: &Path, names: Vec<String>, options: &Options) -> Result<Columns> {
    let at = |place| move |e: Error| e.at(place);
    let first = || Place::Line(1);
    if names.len() > WIDEST {
        return Err(at(first())(Error::new(
            path,
            format!("has {} columns, and at most {WIDEST} are read", names.len()),
        ))
        .help("is it the file that was meant?"));
    }
    if names.iter().all(String::is_empty) {
        let found = Error::new(path, "has no first line with the names of its columns").at(first());
        return Err(found.help("such as `x1,x2,label`"));
    }
    if names.iter().all(|n| n.parse::<f64>().is_ok()) {
        let found = Error::new(path, "its first line holds numbers, and names of columns are expected there");
        return Err(found
            .at(first())
            .help("add a first line with a name for each column, such as `x1,x2,label`"));
    }
    let mut sorted: Vec<&String> = names.iter().collect();
    sorted.sort();
    if let Some(twice) = sorted.windows(2).find(|w| w[0] == w[1]) {
        let found = Error::new(path, format!("two columns are called `{}`", twice[0]));
        return Err(found.at(first()).help("give each column a name of its own"));
    }
    let listed = || {
        let more = if names.len() > 20 { ", …" } else { "" };
        format!(
            "it has {}{more}",
            names.iter().take(20).map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", ")
        )
    };
    let places: HashMap<&str, usize> = names.iter().map(String::as_str).zip(0..).collect();
    let find = |name: &str, what: &str| {
        places.get(name).copied().ok_or_else(|| {
            let text = format!("has no column `{name}`, which is to be {what}; {}", listed());
            let near = names.iter().find(|n| n.eq_ignore_ascii_case(name.trim()));
            Error::new(path, text).option().help(match near {
                Some(near) => format!("did you mean `{near}`?"),
                None => "names are those of the first line, letter by letter".into(),
            })
        })
    };
    let label = match (&options.label, options.unlabelled) {
        (Some(name), true) => names.iter().position(|n| n == name),
        (Some(name), false) => Some(find(name, "the class")?),
        (None, unlabelled) => {
            let is_input = |n: &String| options.features.as_ref().is_some_and(|f| f.contains(n));
            let usual = LABELS
                .iter()
                .find_map(|l| names.iter().position(|n| n.eq_ignore_ascii_case(l) && !is_input(n)));
            if usual.is_none() && !unlabelled {
                let found =
                    Error::new(path, format!("which column holds the class is not said; {}", listed()));
                return Err(found
                    .option()
                    .help("name it: `label = \"…\"` in `[data]`, or `--set data.label=…`"));
            }
            usual
        }
    };
    let group = options.group.as_ref().map(|name| find(name, "what a split goes by")).transpose()?;
    let mut out = Vec::new();
    for name in &options.exclude {
        out.push(find(name, "left out")?);
    }
    let features = match &options.features {
        Some(names) => names.iter().map(|n| find(n, "an input")).collect::<Result<Vec<_>>>()?,
        None => {
            let others = 0..names.len();
            others.filter(|c| Some(*c) != label && Some(*c) != group && !out.contains(c)).collect()
        }
    };
    if features.is_empty() {
        return Err(Error::new(path, "has no column for inputs")
            .at(first())
            .option()
            .help("every column but the class is one, unless `features` names some"));
    }
    if let Some(c) = label.filter(|c| features.contains(c) && !options.unlabelled) {
        let text = format!(
            "column `{}` is the class, and an input too: the network would read its answer",
            names[c]
        );
        return Err(Error::new(path, text).option().help("leave it out of `features`"));
    }
    // Nobody looks at classes that were not asked for.
    let label = label.filter(|_| !options.unlabelled);
    Ok(Columns { names, features, label, group })
}
