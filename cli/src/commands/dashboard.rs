//! `cotangent dashboard`: the live page.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use cotangent_board::runs;
use cotangent_board::serve::{self, Listening};
use serde_json::json;

use crate::console::Console;
use crate::diagnostic::{Diagnostic, Exit};
use crate::run_folder;
use crate::viewer::Viewer;

/// `cotangent dashboard`
#[derive(Args, Debug)]
#[command(after_help = AFTER)]
pub(crate) struct Flags {
    /// The folder that holds the run folders, or one of them
    #[arg(default_value = "runs")]
    folder: PathBuf,
    /// The port; without it the first one from 7878 on that is free, and with 0 any
    #[arg(long, value_name = "N")]
    port: Option<u16>,
}

const AFTER: &str = "\
The page is for this machine alone: 127.0.0.1, and nothing is loaded from
elsewhere. Ctrl-C ends it.

Examples:
  cotangent dashboard
  cotangent dashboard runs/lenet5-mnist-001
  cotangent train --dashboard";

/// Serves until the process is ended.
pub(crate) fn run(flags: &Flags, console: &mut Console) -> Result<Exit, Diagnostic> {
    let folder = &flags.folder;
    let alone = runs::is_run(folder) || folder.file_name().is_some_and(|n| n == runs::LATEST);
    let listening = match alone {
        true => {
            let run = run_folder::folder(folder)?;
            let out = run.parent().filter(|p| *p != Path::new("")).unwrap_or(Path::new("."));
            let name = run.file_name().unwrap_or_default().to_string_lossy().into_owned();
            start(out, flags.port, Some(&name), console)?
        }
        false => {
            runs::list(folder).map_err(|e| {
                Diagnostic::io(Exit::Data, "cannot read", folder, &e)
                    .help("`cotangent train` makes runs in the folder `runs`")
            })?;
            start(folder, flags.port, None, console)?
        }
    };
    if console.json() {
        console.print_json(&json!({ "address": listening.address, "port": listening.port }))?;
    }
    loop {
        std::thread::park();
    }
}

/// Starts the server and says where it is.
pub(crate) fn start(
    out: &Path,
    port: Option<u16>,
    run: Option<&str>,
    console: &mut Console,
) -> Result<Listening, Diagnostic> {
    let listening = serve::start(out, port, Arc::new(Viewer::default())).map_err(|e| {
        let at = port.map_or_else(|| "a port".to_string(), |p| format!("port {p}"));
        Diagnostic::new(Exit::Failure, format!("cannot listen on {at} of 127.0.0.1: {e}"))
            .help("without a port the first one that is free is taken")
    })?;
    let place = run.map_or_else(String::new, |name| format!("#/run/{}", escaped(name)));
    console.say(&format!("  dashboard: {}{place}", listening.address));
    let variable = |name: &str| std::env::var(name).ok();
    let connection = variable("SSH_CONNECTION");
    if let Some(line) = serve::forwarding(listening.port, connection.as_deref(), variable("USER").as_deref())
    {
        console.say(&format!("  from your own machine first: {line}"));
    }
    Ok(listening)
}

/// A name as a part of an address.
fn escaped(name: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    name.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}
