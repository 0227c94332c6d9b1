//! Korean for what is put together from English words: names of numbers, heads of tables, titles and errors.

/// The first entry that fits, with its holes filled; the text itself where none does, as for formulas and names.
///
/// `{}` stands for anything; in the Korean, `{0}`, `{1}`, … are what stood there, themselves translated.
pub(crate) fn translated(english: &str, tables: &[&str]) -> String {
    for (pattern, korean) in pairs(tables) {
        if let Some(holes) = holes(pattern, english) {
            let fill = |text: String, (i, hole): (usize, &&str)| {
                text.replace(&format!("{{{i}}}"), &translated(hole, tables))
            };
            return holes.iter().enumerate().fold(korean.to_string(), fill);
        }
    }
    english.to_string()
}

/// The lines `english ⇒ korean` of tables: as text they need no addresses, which a table of strings is mostly made of.
fn pairs<'a>(tables: &[&'a str]) -> impl Iterator<Item = (&'a str, &'a str)> {
    tables.iter().flat_map(|t| t.lines()).filter_map(|line| line.split_once(" ⇒ "))
}

/// What stands in the holes of a pattern, if the text fits it.
fn holes<'a>(pattern: &str, text: &'a str) -> Option<Vec<&'a str>> {
    let mut parts = pattern.split("{}");
    let mut rest = text.strip_prefix(parts.next()?)?;
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty().then(Vec::new) };
    let mut found = Vec::new();
    for part in parts {
        let (hole, after) = rest.split_once(part)?;
        found.push(hole);
        rest = after;
    }
    found.push(rest.strip_suffix(last)?);
    Some(found)
}

/// What `explain` and `why` say beside their tables.
pub(crate) const WORDS: &str = include_str!("words.txt");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes_are_filled_and_translated() {
        let of = |text: &str| translated(text, &[WORDS]);
        assert_eq!(of("expected `)`, found the end"), "있어야 할 것: `)`. 있는 것: 끝");
        assert_eq!(
            of("`fc2` has 84 neurons, and 90 was asked for"),
            "`fc2`의 뉴런은 84개인데 90번을 찾았습니다"
        );
        assert_eq!(of("x^2   at x = 3"), "x^2   x = 3에서");
        // Nothing fits: as it was.
        assert_eq!(of("matmul: inner sizes 2 and 3 differ"), "matmul: inner sizes 2 and 3 differ");
        assert_eq!(of(""), "");
    }

    /// A pattern with `{0}` … as many as it has holes.
    #[test]
    fn every_hole_is_used() {
        assert!(WORDS.lines().all(|line| line.matches(" ⇒ ").count() == 1));
        for (english, korean) in pairs(&[WORDS]) {
            for i in 0..english.matches("{}").count() {
                assert!(korean.contains(&format!("{{{i}}}")), "{english}: hole {i}");
            }
            assert!(!korean.contains("{}"), "{english}");
        }
    }
}
