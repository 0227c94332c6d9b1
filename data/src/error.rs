//! What is wrong with a file, where in it, and how to mend it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// The result of a reader.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Whether a file is wrong, or what was asked of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A file is missing or its content is not what it must be.
    Data,
    /// An option does not fit the files: a column that is not there, sizes that need `resize`.
    Option,
}

/// Where in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// At this byte, from 0.
    Byte(u64),
    /// On this line, from 1.
    Line(u64),
    /// On this line, in the column of this name.
    Field(u64, String),
    /// In this entry of an archive.
    Entry(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Byte(at) => write!(f, "at byte {at}"),
            Place::Line(line) => write!(f, "at line {line}"),
            Place::Field(line, column) => write!(f, "at line {line}, column `{column}`"),
            Place::Entry(name) => write!(f, "in `{name}`"),
        }
    }
}

/// What was expected, what was found, where, and how to mend it.
///
/// ```
/// use cotangent_data::{Error, Place};
/// let e = Error::new("a.csv", "`x` is no number").at(Place::Line(3)).help("numbers are like -1.5e3");
/// assert_eq!(e.to_string(), "a.csv: `x` is no number (at line 3)");
/// assert_eq!(e.helps(), ["numbers are like -1.5e3"]);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error(Box<Parts>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Parts {
    kind: Kind,
    path: PathBuf,
    place: Option<Place>,
    message: String,
    help: Vec<String>,
}

impl Error {
    /// A file whose content is not what it must be.
    pub fn new(path: impl AsRef<Path>, message: impl Into<String>) -> Self {
        let (path, message) = (path.as_ref().to_path_buf(), message.into());
        Error(Box::new(Parts { kind: Kind::Data, path, place: None, message, help: Vec::new() }))
    }

    /// What the operating system refused.
    pub fn io(path: impl AsRef<Path>, error: &io::Error) -> Self {
        let found = Error::new(path, format!("cannot be read: {error}"));
        match error.kind() {
            io::ErrorKind::NotFound => found.help("is the path right? It is taken from the current folder"),
            io::ErrorKind::PermissionDenied => found.help("`ls -l` shows who may read it"),
            _ => found.help("is it the file that was meant?"),
        }
    }

    /// Where in the file.
    #[must_use]
    pub fn at(mut self, place: Place) -> Self {
        self.0.place = Some(place);
        self
    }

    /// How to mend it.
    #[must_use]
    pub fn help(mut self, text: impl Into<String>) -> Self {
        self.0.help.push(text.into());
        self
    }

    /// It is what was asked that does not fit.
    #[must_use]
    pub fn option(mut self) -> Self {
        self.0.kind = Kind::Option;
        self
    }

    /// Whether a file is wrong, or what was asked of it.
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// The file or folder.
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// Where in the file, if it is known.
    pub fn place(&self) -> Option<&Place> {
        self.0.place.as_ref()
    }

    /// How to mend it.
    pub fn helps(&self) -> &[String] {
        &self.0.help
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.path.display(), self.0.message)?;
        self.0.place.as_ref().map_or(Ok(()), |place| write!(f, " ({place})"))
    }
}

impl std::error::Error for Error {}
