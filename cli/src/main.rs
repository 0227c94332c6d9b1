//! The `cotangent` program; its commands stand one a file in `commands`.

mod checkpoint;
mod chronicle;
mod commands;
mod config;
mod console;
mod data;
mod diagnostic;
mod download;
mod drawing;
mod evaluation;
mod events;
mod flags;
mod formula;
mod gradients;
mod graph;
mod machine;
mod model;
mod numerals;
mod patience;
mod picture;
mod progress;
mod rate;
mod run_folder;
mod shell;
mod signal;
mod spool;
mod spread;
mod trainer;
mod viewer;

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches};

use crate::console::{Console, Verbosity, narrowed};
use crate::diagnostic::{Diagnostic, Exit};
use crate::flags::{Cli, Color, Command};

fn main() -> ExitCode {
    signal::no_memory_is_exit_5();
    // Also mistakes on the command line are shown in the colours that it asks for.
    let color = Color::among(std::env::args_os());
    color.choice().write_global();
    let matches =
        Cli::command().color(color.of_clap()).try_get_matches_from(flags::joined(std::env::args_os()));
    let cli = match matches.and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => cli,
        Err(error) => {
            // Help goes to stdout with code 0, a mistake to stderr with code 2; a closed stream is no matter.
            let _ = match error.use_stderr() {
                true => {
                    // What the standard library says of `abc` as a number says nothing of what is wanted.
                    let text = error.render().ansi().to_string();
                    let text = text.replace("invalid digit found in string", "expected a whole number");
                    let text =
                        text.replace("number too large to fit in target type", "the number is too large");
                    let words = std::env::args_os().skip(1).map(|w| w.to_string_lossy().into_owned());
                    let text = text + &flags::hint(&error, &words.collect::<Vec<_>>());
                    let text = if std::io::stderr().is_terminal() { narrowed(&text) } else { text };
                    anstream::stderr().write_all(text.as_bytes())
                }
                false => error.print().and_then(|()| std::io::stdout().flush()),
            };
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(Exit::Usage.code()));
        }
    };
    let verbosity = Verbosity::asked(&cli.global);
    let mut console = Console::new(&cli.global, *verbosity.as_ref().unwrap_or(&Verbosity::Normal));
    let exit = verbosity.and_then(|_| run(&cli, &mut console)).unwrap_or_else(|found| {
        console.complain(&found);
        found.exit()
    });
    ExitCode::from(exit.code())
}

fn run(cli: &Cli, console: &mut Console) -> Result<Exit, Diagnostic> {
    match &cli.command {
        Command::Train(flags) => commands::train::run(flags, &cli.global, console),
        Command::Eval(flags) => commands::eval::run(flags, &cli.global, console),
        Command::Predict(flags) => commands::predict::run(flags, &cli.global, console),
        Command::Summary(flags) => commands::summary::run(flags, &cli.global, console),
        Command::Plan(flags) => commands::plan::run(flags, &cli.global, console),
        Command::Gradcheck(flags) => commands::gradcheck::run(flags, &cli.global, console),
        Command::Explain(flags) => commands::explain::run(flags, &cli.global, console),
        Command::Why(flags) => commands::why::run(flags, &cli.global, console),
        Command::Lab(flags) => commands::lab::run(flags, &cli.global, console),
        Command::Book(flags) => commands::book::run(flags, console),
        Command::Runs(flags) => commands::runs::run(flags, console),
        Command::Compare(flags) => commands::compare::run(flags, console),
        Command::Dashboard(flags) => commands::dashboard::run(flags, console),
        Command::Report(flags) => commands::report::run(flags, console),
        Command::Bench(flags) => commands::bench::run(flags, &cli.global, console),
        Command::LrFind(flags) => commands::lr_find::run(flags, &cli.global, console),
        Command::Export(flags) => commands::export::run(flags, console),
        Command::Import(flags) => commands::import::run(flags, &cli.global, console),
        Command::Config(flags) => commands::config::run(flags, &cli.global, console),
        Command::Data(flags) => commands::data::run(flags, &cli.global, console),
        Command::Devices(flags) => commands::devices::run(flags, &cli.global, console),
        Command::Completions(flags) => commands::completions::run(flags, console),
        Command::Man(flags) => commands::man::run(flags, console),
        Command::Doctor => commands::doctor::run(&cli.global, console),
    }
}
