//! The program as a process, in a folder of its own.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

/// A folder that is removed at the end.
pub(crate) struct Scratch(pub(crate) PathBuf);

impl Scratch {
    /// An empty one; no two have one name, whatever runs at the same time.
    pub(crate) fn empty(name: &str) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("cotangent-{name}-{}-{n}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }

    /// The program with the words of a line, in this folder.
    pub(crate) fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cotangent"));
        command.args(line.split_whitespace()).current_dir(&self.0).stdin(Stdio::null());
        command.env_remove("RAYON_NUM_THREADS").env("NO_COLOR", "1");
        command
    }

    /// The same, run to its end.
    #[allow(dead_code, reason = "tests of released programs take their own environment")]
    pub(crate) fn run(&self, line: &str) -> Output {
        self.command(line).output().unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
