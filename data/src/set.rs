//! Labelled examples in memory.

use std::path::PathBuf;

use crate::error::{Error, Result};

/// The inputs of all examples, one after the other, each row-major.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    /// Levels from 0 to 255.
    U8(Vec<u8>),
    /// Numbers; a missing one is NaN.
    F32(Vec<f32>),
}

impl Values {
    /// How many numbers there are.
    pub fn len(&self) -> usize {
        match self {
            Values::U8(v) => v.len(),
            Values::F32(v) => v.len(),
        }
    }

    /// Is there none?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Where examples came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origins {
    /// Each from a file of its own, named from the folder that was read.
    Files(Vec<PathBuf>),
    /// From these lines of a file, counted from 1.
    Lines(Vec<u64>),
    /// Rows 0, 1, 2, … of arrays.
    Rows,
}

impl Origins {
    /// Where example `i` came from, in words: `cat/7.png`, `line 12`, `row 3`.
    ///
    /// ```
    /// use cotangent_data::Origins;
    /// assert_eq!(Origins::Lines(vec![2, 5]).name(1), "line 5");
    /// ```
    pub fn name(&self, i: usize) -> String {
        match self {
            Origins::Files(files) => files.get(i).map_or(String::new(), |f| f.display().to_string()),
            Origins::Lines(lines) => format!("line {}", lines.get(i).copied().unwrap_or_default()),
            Origins::Rows => format!("row {i}"),
        }
    }
}

/// Labelled examples: `inputs` `[N, shape…]`, `labels` `[N]` in `0..classes.len()`.
#[derive(Clone, Debug, PartialEq)]
pub struct Set {
    /// The inputs.
    pub inputs: Values,
    /// Sizes of one example: `[channels, height, width]`, or `[features]`.
    pub shape: Vec<usize>,
    /// The index of each example's class; empty where labels were not asked for.
    pub labels: Vec<i64>,
    /// Names of the classes.
    pub classes: Vec<String>,
    /// Names of the features, where they have any.
    pub features: Vec<String>,
    /// Which examples belong together, where that was asked for.
    pub groups: Option<Vec<String>>,
    /// Where each example came from.
    pub origins: Origins,
    /// What is odd about them, and no mistake.
    pub remarks: Vec<String>,
    /// What brings a number to the unit that files mean: 1/255 for levels, else 1.
    pub scale: f64,
}

impl Set {
    /// Pictures of bytes, one after another; nothing else is known of them.
    pub(crate) fn pictures(pixels: Vec<u8>, shape: [usize; 3], labels: Vec<i64>, classes: &[&str]) -> Self {
        Set {
            inputs: Values::U8(pixels),
            shape: shape.to_vec(),
            labels,
            classes: classes.iter().map(ToString::to_string).collect(),
            features: Vec::new(),
            groups: None,
            origins: Origins::Rows,
            remarks: Vec::new(),
            scale: 1.0 / 255.0,
        }
    }

    /// How many examples there are.
    pub fn len(&self) -> usize {
        self.inputs.len() / self.shape.iter().product::<usize>().max(1)
    }

    /// Is there none?
    pub fn is_empty(&self) -> bool {
        self.inputs.is_empty()
    }
}

/// A data set's parts, as far as its files say which is which.
#[derive(Clone, Debug, PartialEq)]
pub struct Parts {
    /// What is fitted, or everything.
    pub train: Set,
    /// For validation.
    pub val: Option<Set>,
    /// Only shown.
    pub test: Option<Set>,
}

/// Names of the classes in their order, and the index of each label's: as numbers where all are whole numbers, else by
/// the bytes of their names. With `known` names, a label that is not among them is given back as the error.
pub(crate) fn index(labels: &[String], known: Option<&[String]>) -> Result<(Vec<String>, Vec<i64>), usize> {
    use std::collections::HashMap;
    let classes: Vec<String> = match known {
        Some(names) => names.to_vec(),
        None => {
            let distinct: std::collections::BTreeSet<&String> = labels.iter().collect();
            let mut names: Vec<String> = distinct.into_iter().cloned().collect();
            if names.iter().all(|n| n.parse::<i64>().is_ok()) {
                names.sort_by_key(|n| n.parse::<i64>().unwrap_or_default());
            }
            names
        }
    };
    let places: HashMap<&str, i64> = classes.iter().map(String::as_str).zip(0..).collect();
    let mut indices = Vec::with_capacity(labels.len());
    for (i, label) in labels.iter().enumerate() {
        indices.push(*places.get(label.as_str()).ok_or(i)?);
    }
    Ok((classes, indices))
}

/// A class needs a name that can be shown, and a classifier needs two classes.
pub(crate) fn check_classes(path: &std::path::Path, classes: &[String]) -> Result<()> {
    // Marks that turn the direction of writing would also turn what is printed around them.
    let turns = |c: char| matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let bad = |c: &&String| c.is_empty() || c.len() > 1000 || c.chars().any(|c| c.is_control() || turns(c));
    if let Some(bad) = classes.iter().find(bad) {
        let shown: String = bad.chars().take(40).collect();
        let text = format!(
            "a class is called {shown:?}, and a name has up to 1000 letters and no control characters"
        );
        return Err(Error::new(path, text).help("rename it"));
    }
    match classes {
        [] => Err(Error::new(path, "holds no example")),
        [only] => Err(Error::new(path, format!("holds one class only, `{only}`"))
            .help("a classifier tells at least two classes apart")),
        _ => Ok(()),
    }
}
