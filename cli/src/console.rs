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

/// How much is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verbosity {
    /// Only the final line.
    Quiet,
    /// What a person wants to see.
    Normal,
    /// Details too.
    Verbose,
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
}

impl Console {
    /// The process's own streams, as the flags ask.
    pub(crate) fn new(flags: &Global) -> Self {
        let verbosity = match (flags.quiet, flags.verbose) {
            (true, _) => Verbosity::Quiet,
            (false, 0) => Verbosity::Normal,
            (false, _) => Verbosity::Verbose,
        };
        let events = flags.json.then(|| Box::new(io::stdout()) as Box<dyn Write + Send>);
        Console {
            verbosity,
            json: flags.json,
            out: Box::new(anstream::AutoStream::auto(io::stdout())),
            err: Box::new(anstream::AutoStream::auto(io::stderr())),
            events: Events::new(events),
            log: None,
            bar: None,
        }
    }

    /// Whether stdout carries JSON.
    pub(crate) fn json(&self) -> bool {
        self.json
    }

    /// Whether a progress bar can be drawn: somebody looks, and wants more than the final line.
    pub(crate) fn can_draw(&self) -> bool {
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        self.verbosity > Verbosity::Quiet && io::stderr().is_terminal() && !dumb
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
        self.write(Verbosity::Quiet, &found.render(true));
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
                Err(Diagnostic::new(Exit::Failure, format!("cannot write to stdout: {error}")))
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
        Console { verbosity, json: false, out, err, events: Events::new(None), log: None, bar: None }
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
    fn closed_streams_end_nothing() {
        let gone = || Box::new(Closed(io::ErrorKind::BrokenPipe));
        let mut console = console(Verbosity::Normal, gone(), gone());
        console.say("nobody reads this");
        console.print("nor this").unwrap();
        console.out = Box::new(Closed(io::ErrorKind::StorageFull));
        assert_eq!(console.print("lost").unwrap_err().exit(), Exit::Failure);
    }
}
