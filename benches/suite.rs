//! All that is measured: `cargo bench --bench suite -- --filter lenet5`; `cotangent bench` runs the same rows.

use std::process::ExitCode;

use clap::Parser;
use cotangent_bench::{Baseline, Budget, Error, Options, Suite, agree};

/// Measures cotangent.
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    options: Options,
    /// Worker threads; 0 is one for each core
    #[arg(long, value_name = "N", default_value_t = 0)]
    threads: usize,
    /// One JSON object a row
    #[arg(long)]
    json: bool,
    /// What `cargo bench` adds.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            match error.help() {
                help if help.is_empty() => {}
                help => eprintln!("help: {help}"),
            }
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), Error> {
    let options = &arguments.options;
    let suite = Suite::new(None).filtered(&options.filter)?;
    let threads = match arguments.threads {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        n => n,
    };
    if options.list {
        suite.rows().iter().for_each(|row| println!("{:<58} {}", row.name, row.about));
        return Ok(());
    }
    if let Some(folder) = &options.agree {
        agree::write(&suite, folder, threads)?.iter().for_each(|path| println!("{}", path.display()));
        return Ok(());
    }
    let baseline = options.baseline.as_deref().map(Baseline::read).transpose()?;
    let budget = Budget { seconds: options.seconds, epochs: options.epochs };
    suite.run(&budget, threads, |line| {
        println!("{}", if arguments.json { line.json() } else { line.text(baseline.as_ref()) });
        true
    })
}
