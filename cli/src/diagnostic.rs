//! What went wrong, where, how to mend it, and the exit code that tells a script.

use std::fmt;
use std::io;
use std::ops::Range;
use std::path::Path;

use crate::config::Problem;
use crate::shell;
use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet, normalize_untrusted_str};

/// How the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Everything that was asked is done.
    Success,
    /// Anything that has no code of its own, such as a folder that cannot be written.
    Failure,
    /// A flag, a configuration key or a value that cannot be right.
    Usage,
    /// Data or a checkpoint is missing or damaged.
    Data,
    /// A loss or a weight is not finite any more.
    Diverged,
    /// A device is not there, or has no room left.
    Device,
    /// Ctrl-C; the run is saved.
    Interrupted,
    /// SIGTERM; the run is saved.
    Terminated,
}

impl Exit {
    /// The number that the operating system gets.
    pub(crate) fn code(self) -> u8 {
        match self {
            Exit::Success => 0,
            Exit::Failure => 1,
            Exit::Usage => 2,
            Exit::Data => 3,
            Exit::Diverged => 4,
            Exit::Device => 5,
            Exit::Interrupted => 130,
            Exit::Terminated => 143,
        }
    }
}

/// A stretch of text that somebody wrote: a file's, or the command line's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// The file's path, or `command line`.
    pub(crate) name: String,
    /// The whole text.
    pub(crate) text: String,
    /// The bytes to underline.
    pub(crate) span: Range<usize>,
    /// What stands beside the line; may be empty.
    pub(crate) label: String,
}

impl Place {
    /// The same place with a span that lies inside its text, on character boundaries.
    fn clamped(&self) -> Range<usize> {
        let floor = |mut i: usize| {
            i = i.min(self.text.len());
            while !self.text.is_char_boundary(i) {
                i -= 1;
            }
            i
        };
        let (start, end) = (floor(self.span.start), floor(self.span.end));
        start..end.max(start)
    }
}

/// An error as the user reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Diagnostic(Box<Parts>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Parts {
    exit: Exit,
    title: String,
    place: Option<Place>,
    notes: Vec<String>,
    help: Vec<String>,
}

impl Diagnostic {
    /// An error with its exit code and what went wrong: what was expected, what was found.
    pub(crate) fn new(exit: Exit, title: impl Into<String>) -> Self {
        let title = clipped(title.into());
        Diagnostic(Box::new(Parts { exit, title, place: None, notes: Vec::new(), help: Vec::new() }))
    }

    /// A file or folder that the operating system refused; `doing` is such as `cannot write`.
    pub(crate) fn io(exit: Exit, doing: &str, path: &Path, error: &io::Error) -> Self {
        let found = Diagnostic::new(exit, format!("{doing} {}: {error}", path.display()));
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                found.help("free some space, or write to another disk")
            }
            io::ErrorKind::IsADirectory => found.help("name a file in it"),
            io::ErrorKind::NotFound if doing == "cannot write" => {
                let folder = path.parent().filter(|p| *p != Path::new("")).unwrap_or(Path::new("."));
                let word = shell::word(folder);
                found.help(format!("there is no folder {word}; was it moved? `mkdir -p {word}` makes one"))
            }
            io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory => {
                found.help("a file is in the way: name another path")
            }
            io::ErrorKind::InvalidFilename => found.help("take a shorter name"),
            io::ErrorKind::ReadOnlyFilesystem => found.help("write to another place"),
            // EMFILE has no name of its own.
            _ if error.raw_os_error() == Some(24) => {
                found.help("more files than one process may open: `ulimit -n 1024` allows more")
            }
            _ if doing == "cannot create" => found.help("choose another place to write to"),
            io::ErrorKind::PermissionDenied => {
                found.help("ask for the right to it: `ls -l` tells whose it is")
            }
            _ => found,
        }
    }

    /// The same error with another exit code: what a core error means depends on where it was met.
    pub(crate) fn exiting(mut self, exit: Exit) -> Self {
        self.0.exit = exit;
        self
    }

    /// The text to underline.
    pub(crate) fn at(mut self, place: Place) -> Self {
        self.0.place = Some(place);
        self
    }

    /// A fact that helps to understand.
    pub(crate) fn note(mut self, text: impl Into<String>) -> Self {
        self.0.notes.push(clipped(text.into()));
        self
    }

    /// What to do about it.
    pub(crate) fn help(mut self, text: impl Into<String>) -> Self {
        self.0.help.push(clipped(text.into()));
        self
    }

    /// The same error in other words.
    pub(crate) fn reworded(mut self, words: impl Fn(&str) -> String) -> Self {
        let parts = &mut *self.0;
        parts.title = words(&parts.title);
        parts.help.iter_mut().for_each(|h| *h = words(h));
        self
    }

    /// How the program ends after it.
    pub(crate) fn exit(&self) -> Exit {
        self.0.exit
    }

    /// What went wrong, in one line, for machines.
    pub(crate) fn title(&self) -> &str {
        &self.0.title
    }

    /// What to do about it.
    pub(crate) fn helps(&self) -> &[String] {
        &self.0.help
    }

    /// The whole message, as it goes to the terminal; `styled` with colours, source code in so many columns.
    pub(crate) fn render(&self, styled: bool, columns: Option<usize>) -> String {
        let parts = &*self.0;
        let renderer = if styled { Renderer::styled() } else { Renderer::plain() };
        let renderer = columns.map_or(renderer.clone(), |n| renderer.clone().term_width(n));
        let title = Level::ERROR.primary_title(parts.title.as_str());
        let mut first = match &parts.place {
            None => Group::with_title(title),
            Some(place) => {
                let mut mark = AnnotationKind::Primary.span(place.clamped());
                if !place.label.is_empty() {
                    mark = mark.label(place.label.as_str());
                }
                let snippet = Snippet::source(place.text.as_str()).path(place.name.as_str());
                title.element(snippet.annotation(mark))
            }
        };
        for note in &parts.notes {
            first = first.element(Level::NOTE.message(normalize_untrusted_str(note)));
        }
        // Each help is rendered alone: together they would be joined by a stray `|`.
        let mut shown = renderer.render(&[first]);
        for help in &parts.help {
            let title = Level::HELP.secondary_title(normalize_untrusted_str(help));
            shown.push('\n');
            shown.push_str(&renderer.render(&[Group::with_title(title)]));
        }
        shown
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false, None))
    }
}

impl From<Problem> for Diagnostic {
    /// Without the place where it was written.
    fn from(problem: Problem) -> Self {
        let found = Diagnostic::new(Exit::Usage, problem.title);
        if problem.help.is_empty() { found } else { found.help(problem.help) }
    }
}

impl From<cotangent::Error> for Diagnostic {
    /// Lines of source code are left out: who uses the program has no use for them.
    fn from(error: cotangent::Error) -> Self {
        use cotangent::Error;
        let helped = |found: Diagnostic, help: String| if help.is_empty() { found } else { found.help(help) };
        match error {
            Error::Mistake(m) => {
                let place = if m.path.is_empty() { String::new() } else { format!(" in {}", m.path) };
                let met = format!("{}{place}", m.verb);
                let met = met.trim_start();
                let title = if met.is_empty() { m.what } else { format!("{met}: {}", m.what) };
                let found = Diagnostic::new(Exit::Usage, title);
                helped(if m.operands.is_empty() { found } else { found.note(m.operands) }, m.help)
            }
            Error::Fault(f) => {
                let place = if f.path.is_empty() { String::new() } else { format!(" in {}", f.path) };
                let (verb, position, value, what) = (f.verb, f.position, f.value, f.what);
                Diagnostic::new(
                    Exit::Data,
                    format!("{verb}{place}: position {position} holds {value}: {what}"),
                )
            }
            Error::Data { path, offset, message, help } => {
                let at = offset.map_or(String::new(), |o| format!(" (at byte {o})"));
                helped(Diagnostic::new(Exit::Data, format!("{}: {message}{at}", path.display())), help)
            }
            Error::Io { path, source } => Diagnostic::io(Exit::Data, "cannot read", &path, &source),
            Error::Device { message, help } => helped(Diagnostic::new(Exit::Device, message), help),
            Error::NonFinite { message } => Diagnostic::new(Exit::Diverged, message),
            Error::Other { message, help } => helped(Diagnostic::new(Exit::Failure, message), help),
            other => Diagnostic::new(Exit::Failure, other.to_string()),
        }
    }
}

/// Without the middle of a text that nobody would read whole, such as a field of a million digits.
fn clipped(text: String) -> String {
    const ENDS: [usize; 2] = [600, 200];
    let n = text.chars().count();
    if n <= ENDS[0] + ENDS[1] {
        return text;
    }
    let part = |from: usize, n: usize| text.chars().skip(from).take(n).collect::<String>();
    format!("{} … {}", part(0, ENDS[0]), part(n - ENDS[1], ENDS[1]))
}

/// The candidate that `word` was most likely meant to be, if any is near.
pub(crate) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .into_iter()
        .map(|c| (strsim::jaro_winkler(&word.to_lowercase(), &c.to_lowercase()), c))
        .filter(|(score, _)| *score > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, c)| c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_the_documented_ones() {
        use Exit::*;
        let all = [Success, Failure, Usage, Data, Diverged, Device, Interrupted, Terminated];
        assert_eq!(all.map(Exit::code), [0, 1, 2, 3, 4, 5, 130, 143]);
    }

    #[test]
    fn an_error_shows_what_where_and_how() {
        let text = "lr = 0.1\nmomentun = 0.9\n".to_string();
        let place = Place { name: "my.toml".into(), text, span: 9..17, label: "not a key I know".into() };
        let shown = Diagnostic::new(Exit::Usage, "unknown field `momentun`")
            .at(place)
            .note("keys are case-sensitive")
            .help("did you mean `momentum`?");
        assert_eq!(
            shown.render(false, None),
            "error: unknown field `momentun`\n\
             \x20--> my.toml:2:1\n\
             \x20 |\n\
             2 | momentun = 0.9\n\
             \x20 | ^^^^^^^^ not a key I know\n\
             \x20 |\n\
             \x20 = note: keys are case-sensitive\n\
             help: did you mean `momentum`?"
        );
        assert!(shown.render(true, None).contains("\u{1b}["));
    }

    #[test]
    fn no_span_and_no_escape_code_of_a_user_gets_through() {
        let place = Place { name: "x".into(), text: "é".into(), span: 1..99, label: String::new() };
        let shown =
            Diagnostic::new(Exit::Usage, "a\u{1b}[31m").at(place).help("b\u{1b}[31m").render(false, None);
        assert!(!shown.contains('\u{1b}'), "{shown:?}");
    }

    #[test]
    fn nobody_has_to_read_a_million_digits() {
        let title = format!("t.csv: `{}` is no number (at line 2)", "é9".repeat(500_000));
        let shown =
            Diagnostic::new(Exit::Data, title).note("9".repeat(5000)).help("9".repeat(5000)).to_string();
        assert!(shown.len() < 4000 && shown.contains("9` is no number (at line 2)"), "{shown}");
        assert_eq!(clipped("é".repeat(800)), "é".repeat(800));
    }

    #[test]
    fn nearest_finds_typing_mistakes_only() {
        let keys = ["name", "lr", "momentum"];
        assert_eq!(nearest("momentun", keys), Some("momentum"));
        assert_eq!(nearest("Momentum", keys), Some("momentum"));
        assert_eq!(nearest("zzz", keys), None);
    }
}
