//! What people and machines get to read: text on stderr and in `log.txt`, results and events on stdout.
//!
//! Nothing here panics when a stream is closed: a run goes on without its readers.

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::time::SystemTime;

use indicatif::ProgressBar;

use crate::diagnostic::{Diagnostic, Exit};
use crate::events::{Event, Events};
use crate::flags::Global;

/// Columns of a terminal that nobody has made wider.
const COLUMNS: usize = 80;

/// Lines of at most 80 columns: longer ones go on below, `hang` columns from the left.
pub(crate) fn folded(text: &str, hang: usize) -> String {
    let mut out = String::new();
    for line in text.lines() {
        let (mut rest, mut indent) = (line.to_string(), 0);
        while rest.chars().count() + indent > COLUMNS {
            // Where there is no space to break at, a word stays whole.
            let first = rest.len() - rest.trim_start().len();
            let spaces = rest.char_indices().enumerate().filter(|(_, (at, c))| *c == ' ' && *at > first);
            let fits = |n: usize| n + indent <= COLUMNS;
            let (within, beyond): (Vec<_>, Vec<_>) = spaces.partition(|(n, _)| fits(*n));
            let Some((_, (cut, _))) = within.last().or(beyond.first()).copied() else { break };
            let tail = rest.split_off(cut);
            out.push_str(&" ".repeat(indent));
            out.push_str(rest.trim_end());
            out.push('\n');
            (rest, indent) = (tail.trim_start().to_string(), hang);
        }
        out.push_str(&" ".repeat(indent));
        out.push_str(&rest);
        out.push('\n');
    }
    out
}

/// An error in at most 80 columns, in colours or not: longer lines go on below what stands before their words. Broken
/// at spaces alone, so that paths stay whole; lines of source code are the renderer's matter.
pub(crate) fn narrowed(text: &str) -> String {
    let mut out = String::new();
    for line in text.lines() {
        let plain = anstream::adapter::strip_str(line).to_string();
        let (indent, words) = (plain.len() - plain.trim_start().len(), plain.trim_start());
        let is_source = words.trim_start_matches(|c: char| c.is_ascii_digit()).trim_start().starts_with('|');
        let titles = ["error: ", "help: ", "note: ", "= note: ", "tip: "];
        let title = titles.iter().find(|t| words.starts_with(**t));
        let hang = title.map_or(indent + 2, |t| indent + t.len());
        // Columns so far; the last space to break at, its place and column; whether in the midst of a colour's code.
        let (mut column, mut space, mut code) = (0, None, false);
        for c in line.chars() {
            code |= c == '\u{1b}';
            if !code {
                if column >= COLUMNS && !is_source {
                    if c == ' ' {
                        out.push('\n');
                        out.push_str(&" ".repeat(hang));
                        (column, space) = (hang, None);
                        continue;
                    }
                    if let Some((at, before)) = space.take() {
                        out.replace_range(at..=at, &format!("\n{}", " ".repeat(hang)));
                        column = hang + column - before - 1;
                    }
                }
                if c == ' ' && column >= hang {
                    space = Some((out.len(), column));
                }
                column += 1;
            }
            code &= c != 'm';
            out.push(c);
        }
        out.push('\n');
    }
    out
}

/// What stands between facts or commands.
const DOT: &str = " · ";

/// Text whose lines of more than 80 columns go on below after such a dot.
fn parted(text: &str) -> String {
    let line = |line: &str| -> String {
        let (indent, words) = (line.len() - line.trim_start().len(), line.trim_start());
        let hang = indent + if words.starts_with("next: ") { "next: ".len() } else { 2 };
        let (mut out, mut column) = (String::new(), 0);
        for part in line.split(DOT) {
            let n = part.chars().count();
            let fits = column + DOT.chars().count() + n <= COLUMNS;
            match column {
                0 => column = n,
                _ if fits => {
                    out.push_str(DOT);
                    column += DOT.chars().count() + n;
                }
                _ => {
                    out.push_str(&format!("\n{:hang$}", ""));
                    column = hang + n;
                }
            }
            out.push_str(part);
        }
        out
    };
    text.split('\n')
        .map(|l| if l.chars().count() > COLUMNS { line(l) } else { l.into() })
        .collect::<Vec<_>>()
        .join("\n")
}

/// How much is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verbosity {
    /// Only the final line.
    Quiet,
    /// What a person wants to see.
    Normal,
    /// Details too.
    Verbose,
    /// And the steps between.
    Trace,
}

/// The variable that says how much is said, where no flag does.
const LOG: &str = "COTANGENT_LOG";

impl Verbosity {
    /// As the flags ask, or else the environment.
    pub(crate) fn asked(flags: &Global) -> Result<Self, Diagnostic> {
        match (flags.quiet, flags.verbose) {
            (true, _) => Ok(Verbosity::Quiet),
            (false, 0) => std::env::var_os(LOG).map_or(Ok(Verbosity::Normal), |text| {
                let text = text.to_string_lossy();
                Self::logged(&text).ok_or_else(|| {
                    let title = format!("{LOG} is `{text}`, which is no level of a log");
                    let help = "one of off, error, warn, info, debug, trace, such as `cotangent=debug`";
                    Diagnostic::new(Exit::Usage, title).help(help)
                })
            }),
            (false, 1) => Ok(Verbosity::Verbose),
            (false, _) => Ok(Verbosity::Trace),
        }
    }

    /// Of `debug`, `cotangent=debug`, or several of these between commas; those of other programs are passed over.
    fn logged(text: &str) -> Option<Self> {
        let mut found = Verbosity::Normal;
        for word in text.split(',').map(str::trim).filter(|word| !word.is_empty()) {
            let (program, level) = word.split_once('=').unwrap_or(("cotangent", word));
            let level = match level.trim().to_ascii_lowercase().as_str() {
                "off" | "error" | "warn" => Verbosity::Quiet,
                "info" => Verbosity::Normal,
                "debug" => Verbosity::Verbose,
                "trace" => Verbosity::Trace,
                _ => return None,
            };
            if program.trim() == "cotangent" {
                found = level;
            }
        }
        Some(found)
    }
}

/// The streams of one command.
pub(crate) struct Console {
    verbosity: Verbosity,
    json: bool,
    out: Box<dyn Write + Send>,
    err: Box<dyn Write + Send>,
    events: Events,
    log: Option<File>,
    bar: Option<ProgressBar>,
    /// Whether somebody reads stderr in a terminal.
    seen: bool,
    /// Whether somebody reads stdout in one.
    is_read: bool,
}

impl Console {
    /// The process's own streams, as the flags ask.
    pub(crate) fn new(flags: &Global, verbosity: Verbosity) -> Self {
        let events = flags.json.then(|| Box::new(io::stdout()) as Box<dyn Write + Send>);
        Console {
            verbosity,
            json: flags.json,
            out: Box::new(anstream::AutoStream::auto(io::stdout())),
            err: Box::new(anstream::AutoStream::auto(io::stderr())),
            events: Events::new(events),
            log: None,
            bar: None,
            seen: io::stderr().is_terminal(),
            is_read: io::stdout().is_terminal(),
        }
    }

    /// Whether stdout carries JSON.
    pub(crate) fn json(&self) -> bool {
        self.json
    }

    /// How many columns a table on stdout may have; any number where no person reads it.
    pub(crate) fn columns(&self) -> Option<usize> {
        self.is_read.then_some(COLUMNS)
    }

    /// Whether a progress bar can be drawn: somebody looks, and wants more than the final line.
    pub(crate) fn can_draw(&self) -> bool {
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        self.verbosity > Verbosity::Quiet && self.seen && !dumb
    }

    /// From now on everything that is said is kept in this file too, whatever the verbosity.
    pub(crate) fn log_to(&mut self, log: File) {
        self.log = Some(log);
    }

    /// Lines are written above this bar until [`Console::detach`].
    pub(crate) fn attach(&mut self, bar: ProgressBar) {
        self.bar = Some(bar);
    }

    /// The bar is gone.
    pub(crate) fn detach(&mut self) {
        self.bar = None;
    }

    /// What comes with every few steps; not in the log, as `steps.csv` has it.
    pub(crate) fn trace(&mut self, text: &str) {
        if self.verbosity >= Verbosity::Trace {
            self.write(Verbosity::Trace, text);
        }
    }

    /// Details.
    pub(crate) fn detail(&mut self, text: &str) {
        self.write(Verbosity::Verbose, text);
    }

    /// One line, or a table.
    pub(crate) fn say(&mut self, text: &str) {
        self.write(Verbosity::Normal, text);
    }

    /// The final line, which is shown however quiet the program is.
    pub(crate) fn conclude(&mut self, text: &str) {
        self.write(Verbosity::Quiet, text);
    }

    /// An error, or a complaint that changes nothing.
    pub(crate) fn complain(&mut self, found: &Diagnostic) {
        // The stream strips the colours where they are not wanted.
        let text = found.render(true, self.seen.then_some(COLUMNS));
        self.write(Verbosity::Quiet, &if self.seen { narrowed(&text) } else { text });
    }

    fn write(&mut self, from: Verbosity, text: &str) {
        let text = text.trim_end_matches('\n');
        if let Some(log) = &mut self.log {
            let now = humantime::format_rfc3339_seconds(SystemTime::now());
            let plain = anstream::adapter::strip_str(text);
            // A log on a full disk must not end a run.
            let _ = log.write_all(format!("{now}  {plain}\n").as_bytes());
        }
        if self.verbosity < from {
            return;
        }
        let text = &match self.seen {
            true if text.starts_with("note: ") => narrowed(text).trim_end().to_string(),
            true => parted(text),
            false => text.to_string(),
        };
        let err = &mut self.err;
        let mut show = || {
            let _ = err.write_all(format!("{text}\n").as_bytes()).and_then(|()| err.flush());
        };
        match &self.bar {
            Some(bar) => bar.suspend(show),
            None => show(),
        }
    }

    /// A command's result, on stdout.
    pub(crate) fn print(&mut self, text: &str) -> Result<(), Diagnostic> {
        let text = text.trim_end_matches('\n');
        let written = self.out.write_all(format!("{text}\n").as_bytes()).and_then(|()| self.out.flush());
        match written {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                let found = Diagnostic::new(Exit::Failure, format!("cannot write to stdout: {error}"));
                Err(found.help("write where there is room, or into a pipe"))
            }
            // Whoever reads has read enough.
            _ => Ok(()),
        }
    }

    /// A command's result, as one JSON object on stdout.
    pub(crate) fn print_json(&mut self, value: &impl serde::Serialize) -> Result<(), Diagnostic> {
        let text = serde_json::to_string(value);
        let text =
            text.map_err(|e| Diagnostic::new(Exit::Failure, format!("cannot write the result: {e}")))?;
        self.print(&text)
    }

    /// An event, if stdout carries them.
    pub(crate) fn event(&mut self, event: &Event<'_>) {
        if let Err(error) = self.events.emit(event) {
            let found = Diagnostic::new(Exit::Failure, format!("no more events on stdout: {error}"));
            self.complain(&found.note("the run goes on; its folder has all figures"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::sync::{Arc, Mutex};

    impl Console {
        /// Says nothing to anybody.
        pub(crate) fn silent() -> Console {
            console(Verbosity::Quiet, Box::new(io::sink()), Box::new(io::sink()))
        }

        /// With what it says to people.
        pub(crate) fn recorded() -> (Console, impl Fn() -> String) {
            let err = Shared::default();
            let console = console(Verbosity::Normal, Box::new(io::sink()), Box::new(err.clone()));
            (console, move || String::from_utf8(err.0.lock().unwrap().clone()).unwrap())
        }
    }

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    struct Closed(io::ErrorKind);

    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn console(verbosity: Verbosity, out: Box<dyn Write + Send>, err: Box<dyn Write + Send>) -> Console {
        Console {
            verbosity,
            json: false,
            out,
            err,
            events: Events::new(None),
            log: None,
            bar: None,
            seen: false,
            is_read: false,
        }
    }

    #[test]
    fn verbosity_decides_what_is_shown_and_the_log_has_all() {
        let path = std::env::temp_dir().join(format!("cotangent-console-{}", std::process::id()));
        for (verbosity, expected) in [
            (Verbosity::Quiet, "end\n"),
            (Verbosity::Normal, "line\nend\n"),
            (Verbosity::Verbose, "detail\nline\nend\n"),
        ] {
            let err = Shared::default();
            let mut console = console(verbosity, Box::new(io::sink()), Box::new(err.clone()));
            console.log_to(File::create(&path).unwrap());
            console.detail("detail");
            console.say("line");
            console.conclude("\u{1b}[1mend\u{1b}[0m");
            let shown = String::from_utf8(err.0.lock().unwrap().clone()).unwrap();
            assert_eq!(anstream::adapter::strip_str(&shown).to_string(), expected);
            let log = fs::read_to_string(&path).unwrap();
            let words: Vec<&str> = log.lines().map(|l| l.split("Z  ").nth(1).unwrap()).collect();
            assert_eq!(words, ["detail", "line", "end"]);
        }
        fs::remove_file(path).unwrap();
    }

    #[test]
    fn the_environment_names_levels_as_logs_do() {
        for (text, level) in [
            ("", Some(Verbosity::Normal)),
            ("debug", Some(Verbosity::Verbose)),
            ("cotangent=TRACE", Some(Verbosity::Trace)),
            ("hyper=trace, cotangent=warn", Some(Verbosity::Quiet)),
            ("info,cotangent=debug", Some(Verbosity::Verbose)),
            ("hyper=debug", Some(Verbosity::Normal)),
            ("loud", None),
            ("cotangent=", None),
        ] {
            assert_eq!(Verbosity::logged(text), level, "{text}");
        }
    }

    #[test]
    fn long_lines_go_on_below() {
        assert_eq!(folded("short\n  kept", 4), "short\n  kept\n");
        let words = "word ".repeat(40);
        let text = folded(&format!("   1  {words}"), 6);
        assert!(text.lines().all(|l| l.chars().count() <= 80) && text.lines().count() == 3, "{text}");
        assert!(text.lines().skip(1).all(|l| l.starts_with("      word")), "{text}");
        assert_eq!(text.split_whitespace().filter(|w| *w == "word").count(), 40);
        let wide = "é".repeat(100);
        assert_eq!(folded(&wide, 2), format!("{wide}\n"), "nothing to break at");
        assert_eq!(folded(&format!("a {wide} b"), 2), format!("a\n  {wide}\n  b\n"));
    }

    #[test]
    fn commands_beside_each_other_go_below_each_other_where_they_have_no_room() {
        let run = "runs/lenet5-mnist-001";
        let text =
            format!("  {run}/report.html\n  next: cotangent predict {run} digit.png · cotangent eval {run}");
        let expected = "  next: cotangent predict runs/lenet5-mnist-001 digit.png\n        cotangent eval runs/lenet5-mnist-001";
        assert_eq!(parted(&text), format!("  {run}/report.html\n{expected}"));
        assert_eq!(parted("a · b\n"), "a · b\n");
        let facts = parted(&["fact"; 20].join(" · "));
        assert!(
            facts.lines().all(|l| l.chars().count() <= COLUMNS) && facts.matches("fact").count() == 20,
            "{facts}"
        );
    }

    #[test]
    fn errors_fit_into_80_columns() {
        let path = format!("/data/{}.png", "x".repeat(70));
        let words = ["what was expected and what was found"; 6].join(" ");
        let place = crate::diagnostic::Place {
            name: "my.toml".into(),
            text: format!("key = {:?} # {}", "v".repeat(90), "words ".repeat(20)),
            span: 6..12,
            label: "no such value".into(),
        };
        let found = Diagnostic::new(Exit::Data, format!("{words} in {path}, {words}"))
            .at(place)
            .note(words.clone())
            .help(format!("`cotangent data info {path}` {words}"));
        let err = Shared::default();
        let mut console = console(Verbosity::Normal, Box::new(io::sink()), Box::new(err.clone()));
        let mut shown = |seen| {
            console.seen = seen;
            err.0.lock().unwrap().clear();
            console.complain(&found);
            let text = String::from_utf8(err.0.lock().unwrap().clone()).unwrap();
            anstream::adapter::strip_str(&text).to_string()
        };
        let text = shown(true);
        for line in text.lines() {
            let words = line.trim_start();
            assert!(line.chars().count() <= COLUMNS || words.starts_with(&path), "{text}");
        }
        let unfolded = text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(unfolded.matches(&words).count(), 4, "{text}");
        assert!(text.contains("\n       what "), "below the words: {text}");
        assert!(shown(false).lines().any(|l| l.len() > 400), "a stream is left as it is");
    }

    #[test]
    fn closed_streams_end_nothing() {
        let gone = || Box::new(Closed(io::ErrorKind::BrokenPipe));
        let mut console = console(Verbosity::Normal, gone(), gone());
        console.say("nobody reads this");
        console.print("nor this").unwrap();
        console.out = Box::new(Closed(io::ErrorKind::StorageFull));
        assert_eq!(console.print("lost").unwrap_err().exit(), Exit::Failure);
    }
}
