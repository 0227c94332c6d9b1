//! What can go wrong, and the doors through which it is caught.
//!
//! A mistake in code (shapes, types, devices) panics at the user's own line. Inside [`attempt`] it comes
//! back as an [`Error`] instead. The outside world (files, labels, devices) always returns `Result`.

use std::{fmt, panic, path::PathBuf};

use crate::context;

/// The result of whatever can meet the outside world.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, where, and how to mend it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Shapes, types or devices that do not fit: a mistake in code.
    #[error(transparent)]
    Mistake(Box<Mistake>),
    /// A bad value met by a kernel: a label out of range, an index outside its axis.
    #[error(transparent)]
    Fault(Box<Fault>),
    /// A file whose content is not what it must be.
    #[error("{}: {message}{}{}", path.display(), at(*offset), help_line(help))]
    Data {
        /// The file.
        path: PathBuf,
        /// Where in it, in bytes.
        offset: Option<u64>,
        /// What was expected, what was found.
        message: String,
        /// How to mend it; empty when there is nothing to say.
        help: String,
    },
    /// The operating system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Its reason.
        source: std::io::Error,
    },
    /// A device that is not there, or has no room left.
    #[error("{message}{}", help_line(help))]
    Device {
        /// What was asked, what was found.
        message: String,
        /// How to mend it.
        help: String,
    },
    /// A value or gradient that is not finite.
    #[error("{message}")]
    NonFinite {
        /// The operation and the place that made it.
        message: String,
    },
    /// Anything else, in words.
    #[error("{message}{}", help_line(help))]
    Other {
        /// What went wrong.
        message: String,
        /// How to mend it.
        help: String,
    },
}

fn at(offset: Option<u64>) -> String {
    offset.map_or(String::new(), |o| format!(" (at byte {o})"))
}

fn help_line(help: &str) -> String {
    if help.is_empty() { String::new() } else { format!("\n  help: {help}") }
}

/// A mistake in code: verb, shapes, the sizes that clash, and the repair.
#[derive(Debug, Clone, Default)]
pub struct Mistake {
    /// The operation.
    pub verb: String,
    /// The module it was called from, such as `features.3`; empty outside any.
    pub path: String,
    /// What clashes, with the numbers put in.
    pub what: String,
    /// The operands and options, in one line.
    pub operands: String,
    /// The repair, in code.
    pub help: String,
    /// The user's line.
    pub place: String,
    /// `forward`, or which derivative was being taken.
    pub pass: &'static str,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut head = self.verb.clone();
        if !self.pass.is_empty() && self.pass != "forward" {
            head += &format!(" ({})", self.pass);
        }
        if !self.path.is_empty() {
            head += &format!(" in {}", self.path);
        }
        match head.trim_start() {
            "" => write!(f, "{}", self.what)?,
            head => write!(f, "{head}: {}", self.what)?,
        }
        if !self.place.is_empty() {
            write!(f, "      at {}", self.place)?;
        }
        if !self.operands.is_empty() {
            write!(f, "\n  {}", self.operands)?;
        }
        if !self.help.is_empty() {
            write!(f, "\n  help: {}", self.help)?;
        }
        Ok(())
    }
}

impl std::error::Error for Mistake {}

/// A bad value that a kernel met: it stays inside its memory and reports the first one.
#[derive(Debug, Clone)]
pub struct Fault {
    /// The operation.
    pub verb: &'static str,
    /// The module it was called from.
    pub path: String,
    /// The place of the value in its tensor, in row-major order.
    pub position: usize,
    /// The value.
    pub value: f64,
    /// What it should have been, and how to mend it.
    pub what: String,
    /// The user's line.
    pub place: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.verb)?;
        if !self.path.is_empty() {
            write!(f, " in {}", self.path)?;
        }
        write!(f, ": position {} holds {}: {}", self.position, self.value, self.what)?;
        if !self.place.is_empty() {
            write!(f, "      at {}", self.place)?;
        }
        Ok(())
    }
}

impl std::error::Error for Fault {}

impl Error {
    /// A mistake in code, before [`crate::apply`] adds where it happened.
    pub fn mistake(what: impl Into<String>) -> Self {
        Error::Mistake(Box::new(Mistake { what: what.into(), ..Mistake::default() }))
    }

    /// The same error with its repair.
    #[must_use]
    pub fn help(mut self, text: impl Into<String>) -> Self {
        let text = text.into();
        match &mut self {
            Error::Mistake(m) => m.help = text,
            Error::Data { help, .. } | Error::Device { help, .. } | Error::Other { help, .. } => *help = text,
            Error::Fault(_) | Error::Io { .. } | Error::NonFinite { .. } => {}
        }
        self
    }

    /// The same mistake with its operands spelled out.
    #[must_use]
    pub fn operands(mut self, text: impl Into<String>) -> Self {
        if let Error::Mistake(m) = &mut self {
            m.operands = text.into();
        }
        self
    }

    /// The same mistake, of an operation that was not reached yet.
    pub(crate) fn verb(mut self, verb: &str) -> Self {
        if let Error::Mistake(m) = &mut self {
            m.verb = verb.into();
        }
        self
    }

    /// A file whose content is not what it must be.
    pub fn data(path: impl Into<PathBuf>, offset: Option<u64>, message: impl Into<String>) -> Self {
        Error::Data { path: path.into(), offset, message: message.into(), help: String::new() }
    }

    /// What the operating system said of a file.
    pub fn io(path: impl Into<PathBuf>, source: std::io::Error) -> Self {
        Error::Io { path: path.into(), source }
    }

    /// The processor's memory has no room for so many bytes more.
    pub(crate) fn no_room(bytes: usize) -> Self {
        Error::Device {
            message: format!("the memory has no room for {bytes} bytes more"),
            help: "take smaller batches, a smaller network, or a machine with more memory".into(),
        }
    }

    /// Anything else, in words.
    pub fn other(message: impl Into<String>) -> Self {
        Error::Other { message: message.into(), help: String::new() }
    }

    /// Leave by the nearest door: unwind to [`attempt`], or panic at the user's line.
    #[track_caller]
    pub(crate) fn raise(mut self) -> ! {
        if let Error::Mistake(m) = &mut self
            && m.place.is_empty()
            && let Some(origin) = context::with(|c| c.origin.clone())
        {
            origin.mark(m);
        }
        if let Error::Mistake(m) = &mut self
            && m.place.is_empty()
        {
            m.pass = "forward";
            let line = panic::Location::caller();
            let (path, call) = (context::path(), context::call_site());
            let place = if context::in_crate(line) { call.unwrap_or(line) } else { line };
            (m.path, m.place) = (path.to_string(), place.to_string());
        }
        if context::with(|c| c.attempts > 0) {
            panic::resume_unwind(Box::new(self))
        }
        panic!("{self}")
    }
}

/// `f()`, or the mistake it made: inside, a shape or type mistake comes back as `Err` and prints nothing.
///
/// Other panics pass through. May nest; the innermost one catches.
///
/// ```
/// use cotangent::{attempt, Tensor};
/// let e = attempt(|| Tensor::zeros([2, 3]).matmul(&Tensor::zeros([2, 3]))).unwrap_err();
/// assert!(e.to_string().contains("3 and 2 differ"), "{e}");
/// ```
pub fn attempt<T>(f: impl FnOnce() -> T) -> Result<T> {
    let _depth = context::scope(|c| c.attempts += 1, |c| c.attempts -= 1);
    panic::catch_unwind(panic::AssertUnwindSafe(f)).map_err(|payload| match payload.downcast::<Error>() {
        Ok(error) => *error,
        Err(other) => panic::resume_unwind(other),
    })
}

/// `x` or leave by the nearest door.
pub(crate) trait OrRaise<T> {
    #[track_caller]
    fn or_raise(self) -> T;
}

impl<T> OrRaise<T> for Result<T> {
    #[track_caller]
    fn or_raise(self) -> T {
        match self {
            Ok(x) => x,
            Err(e) => e.raise(),
        }
    }
}
