//! The command line: flags in, exit code out.
//!
//! | exit code | meaning |
//! |---|---|
//! | 0 | done, or nothing to do |
//! | 1 | failed: nothing of what was asked for could be done |
//! | 2 | the command line itself is wrong |
//! | 3 | partial: some streams were left alone or failed, the others are done |
//!
//! Tables and results go to standard output, logs to standard error.

mod bucket;
mod compact;
#[cfg(feature = "demo")]
mod demo;
pub mod duration;
mod human;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::error::{Error, Kind, Result};
use crate::telemetry::logging;

/// Compacts the Prometheus TSDB blocks of a Thanos bucket.
#[derive(Debug, Parser)]
#[command(name = "lithify", version, max_term_width = 100)]
struct Cli {
    /// Least severe log level.
    #[arg(long = "log.level", global = true, value_enum, default_value = "info")]
    log_level: logging::Level,
    /// Form of the log lines on standard error.
    #[arg(
        long = "log.format",
        global = true,
        value_enum,
        default_value = "logfmt"
    )]
    log_format: logging::Format,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Compact the blocks of a bucket until there is nothing left to do.
    Compact(compact::Args),
    /// Lay a small bucket out in a folder, compact it, show what changed.
    #[cfg(feature = "demo")]
    Demo(demo::Args),
}

/// How a command ended, if it did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Done,
    Partial,
}

/// Runs the command of this process.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    if logging::init(cli.log_format, cli.log_level).is_err() {
        return ExitCode::FAILURE;
    }
    match run(cli.command) {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::Partial) => ExitCode::from(3),
        Err(error) => {
            report(&error);
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<Outcome> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("io")
        .enable_all()
        .build()
        .map_err(|e| Error::new(Kind::Config, "cannot start the IO threads").with_source(e))?;
    match command {
        Command::Compact(args) => runtime.block_on(compact::run(args)),
        #[cfg(feature = "demo")]
        Command::Demo(args) => runtime.block_on(demo::run(args)),
    }
}

/// Writes an error for a person: what, why, and the way out.
#[expect(clippy::print_stderr, reason = "the last word of the process")]
fn report(error: &Error) {
    eprintln!("error: {}", error.chain());
    if let Some(cure) = error.cure() {
        eprintln!("cure:  {cure}");
    }
}
