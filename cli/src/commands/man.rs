//! `cotangent man`: manual pages.

use std::fs;
use std::path::PathBuf;

use clap::{Args, CommandFactory};
use serde_json::json;

use crate::console::Console;
use crate::diagnostic::{Diagnostic, Exit};
use crate::flags::Cli;
use crate::run_folder::write_file;

/// `cotangent man`
#[derive(Args, Debug)]
#[command(after_help = AFTER)]
pub(crate) struct Flags {
    /// The folder to write a page for each command into; without it, the main page goes to stdout
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

const AFTER: &str = "\
Examples:
  cotangent man | man -l -
  cotangent man --dir ~/.local/share/man/man1";

/// Writes manual pages.
pub(crate) fn run(flags: &Flags, console: &mut Console) -> Result<Exit, Diagnostic> {
    let failed =
        |e: std::io::Error| Diagnostic::new(Exit::Failure, format!("cannot make a manual page: {e}"));
    let page = |command: clap::Command| {
        let mut text = Vec::new();
        clap_mangen::Man::new(command).render(&mut text).map(|()| text)
    };
    let mut root = Cli::command();
    root.build();
    let Some(dir) = &flags.dir else {
        let text = page(root).map_err(failed)?;
        console.print(String::from_utf8_lossy(&text).trim_end())?;
        return Ok(Exit::Success);
    };
    fs::create_dir_all(dir).map_err(|e| Diagnostic::io(Exit::Failure, "cannot make", dir, &e))?;
    let mut pages = vec![("cotangent".to_string(), root.clone())];
    // Two levels of commands, such as `cotangent-config-init`.
    for command in root.get_subcommands().filter(|c| c.get_name() != "help") {
        let name = format!("cotangent-{}", command.get_name());
        for inner in command.get_subcommands().filter(|c| c.get_name() != "help") {
            pages.push((format!("{name}-{}", inner.get_name()), inner.clone()));
        }
        pages.push((name, command.clone()));
    }
    for (name, command) in &pages {
        write_file(&dir.join(format!("{name}.1")), &page(command.clone()).map_err(failed)?)?;
    }
    match console.json() {
        true => console.print_json(&json!({ "dir": dir, "pages": pages.len() }))?,
        false => console.print(&format!("{} pages in {}", pages.len(), dir.display()))?,
    }
    Ok(Exit::Success)
}
