//! Patterns of file names that mark which part of a name says what belongs together.

/// `{lot}_*.png`: `*` stands for any text, and the text in place of `{…}` is what the pattern finds. A pattern with
/// `/` is compared with the whole path below the folder, another with the file's name alone.
///
/// ```
/// use cotangent_data::pattern::Pattern;
/// let lots = Pattern::new("{lot}_w*").unwrap();
/// assert_eq!(lots.find("scratch/L42_w07.png"), Some("L42"));
/// assert_eq!(lots.find("scratch/L42.png"), None);
/// assert_eq!(Pattern::new("*/{lot}/*").unwrap().find("ok/L7/3.png"), Some("L7"));
/// assert!(Pattern::new("*.png").is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    parts: Vec<Part>,
    whole: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Any,
    Group,
}

impl Pattern {
    /// # Errors
    /// In words, when there is not exactly one `{…}`, or two wild parts stand side by side.
    pub fn new(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut characters = text.chars();
        while let Some(c) = characters.next() {
            let wild = match c {
                '*' => Part::Any,
                '{' => {
                    let name: String = characters.by_ref().take_while(|c| *c != '}').collect();
                    if name.is_empty() || !text.contains('}') {
                        return Err(format!("`{text}` has a `{{` without a name and `}}`"));
                    }
                    Part::Group
                }
                other => {
                    literal.push(other);
                    continue;
                }
            };
            if !literal.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut literal)));
            }
            if matches!(parts.last(), Some(Part::Any | Part::Group)) {
                return Err(format!("`{text}` has two wild parts with nothing between them"));
            }
            parts.push(wild);
        }
        if !literal.is_empty() {
            parts.push(Part::Text(literal));
        }
        match parts.iter().filter(|p| **p == Part::Group).count() {
            1 => Ok(Pattern { parts, whole: text.contains('/') }),
            _ => Err(format!("`{text}` must have one part in braces, such as `{{lot}}_*`")),
        }
    }

    /// The text in place of the braces; the shortest that fits, from the left.
    pub fn find<'a>(&self, path: &'a str) -> Option<&'a str> {
        let mut rest = if self.whole { path } else { path.rsplit('/').next().unwrap_or(path) };
        let mut found = None;
        let mut parts = self.parts.iter().peekable();
        while let Some(part) = parts.next() {
            match part {
                Part::Text(text) => rest = rest.strip_prefix(text.as_str())?,
                wild => {
                    // The text that follows: its first occurrence, or the end's where it is the last.
                    let (length, after) = match parts.next() {
                        None => (rest.len(), 0),
                        Some(Part::Text(text)) if parts.peek().is_none() => {
                            (rest.strip_suffix(text.as_str())?.len(), text.len())
                        }
                        Some(Part::Text(text)) => (rest.find(text.as_str())?, text.len()),
                        Some(_) => return None,
                    };
                    if *wild == Part::Group {
                        found = Some(&rest[..length]);
                    }
                    rest = &rest[length + after..];
                }
            }
        }
        rest.is_empty().then_some(found?).filter(|text| !text.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_apart() {
        let cases = [
            ("{lot}-*", "a/L1-2-3.png", Some("L1")),
            ("*_{lot}_*.png", "x_L2_y.png", Some("L2")),
            ("*_{lot}.png", "x_L2.png", Some("L2")),
            ("*_{lot}.png", "x_L2.jpg", None),
            ("{lot}", "abc", Some("abc")),
            ("lot{n}w*", "lot12w3.bmp", Some("12")),
            ("lot{n}w*", "lotw3.bmp", None),
            ("{tool}/*", "t1/b/c.png", Some("t1")),
            ("é{x}é*", "éüéz", Some("ü")),
        ];
        for (pattern, path, expected) in cases {
            assert_eq!(Pattern::new(pattern).unwrap().find(path), expected, "{pattern} {path}");
        }
        for bad in ["", "*", "{}", "{a", "{a}*", "{a}-{b}", "**{a}"] {
            assert!(Pattern::new(bad).is_err(), "{bad}");
        }
    }
}
