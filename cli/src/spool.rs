//! What comes from the standard input, for readers that need a file.

use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::data;
use crate::diagnostic::{Diagnostic, Exit};

/// What stands for the standard input.
pub(crate) const STDIN: &str = "-";

/// All that comes, as long as it is no more than data may be.
pub(crate) fn stdin(example: &str) -> Result<Vec<u8>, Diagnostic> {
    let most = data::limits().bytes.min(1 << 30);
    let mut bytes = Vec::new();
    let read = std::io::stdin().take(most + 1).read_to_end(&mut bytes);
    read.map_err(|e| Diagnostic::io(Exit::Data, "cannot read", Path::new(STDIN), &e))?;
    if bytes.len() as u64 > most {
        return Err(Diagnostic::new(Exit::Data, "more than 1 GiB comes from the standard input")
            .help("write it into a file, and name that"));
    }
    if bytes.is_empty() {
        let found = Diagnostic::new(Exit::Data, "nothing comes from the standard input");
        return Err(found.help(format!("write such as `{example}`")));
    }
    Ok(bytes)
}

/// A file of this process, removed with this.
pub(crate) struct Spooled(PathBuf);

impl Spooled {
    /// With these bytes.
    pub(crate) fn new(bytes: &[u8]) -> Result<Self, Diagnostic> {
        // In a container every process may have the same number, and one that was killed left its file.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos());
        let path = std::env::temp_dir().join(format!("cotangent-stdin-{}-{now}", std::process::id()));
        let unwritten = |e| {
            Diagnostic::io(Exit::Failure, "cannot write", &path, &e).help("TMPDIR names the folder for it")
        };
        let mut file = OpenOptions::new().write(true).create_new(true).open(&path).map_err(unwritten)?;
        let spooled = Spooled(path.clone());
        file.write_all(bytes).map_err(unwritten)?;
        Ok(spooled)
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// A text in which it is called as who wrote the command called it.
    pub(crate) fn named(&self, text: &str) -> String {
        text.replace(&self.0.display().to_string(), STDIN)
    }
}

impl Drop for Spooled {
    fn drop(&mut self) {
        // It harms nobody where it stays.
        let _ = fs::remove_file(&self.0);
    }
}
