//! `cotangent completions`: what a shell needs to complete commands and flags.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::console::Console;
use crate::diagnostic::{Diagnostic, Exit};
use crate::flags::Cli;

/// `cotangent completions`
#[derive(Args, Debug)]
#[command(after_help = AFTER)]
pub(crate) struct Flags {
    /// bash, zsh, fish, powershell or elvish
    #[arg(value_name = "SHELL", hide_possible_values = true)]
    shell: Shell,
}

const AFTER: &str = "\
Examples:
  cotangent completions bash > cotangent.bash; source cotangent.bash
  cotangent completions zsh > ~/.zfunc/_cotangent
  cotangent completions fish > ~/.config/fish/completions/cotangent.fish";

/// Writes the script of a shell to stdout.
pub(crate) fn run(flags: &Flags, console: &mut Console) -> Result<Exit, Diagnostic> {
    let mut script = Vec::new();
    clap_complete::generate(flags.shell, &mut Cli::command(), "cotangent", &mut script);
    console.print(String::from_utf8_lossy(&script).trim_end())?;
    Ok(Exit::Success)
}
