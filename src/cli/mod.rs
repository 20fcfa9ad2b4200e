//! The command line: flags in, exit code out.
//!
//! | exit code | meaning |
//! |---|---|
//! | 0 | done, or nothing to do |
//! | 1 | failed: nothing of what was asked for could be done |
//! | 2 | the command line itself is wrong, or `--report` names what cannot be written |
//! | 3 | partial: some streams were left alone or failed, or `--report` was not written; the rest is done |
//! | 4 | locked: another run is at work on the bucket, or has taken over |
//!
//! `compact --dry-run` ends with 0; with `--detailed-exitcode`, as people know
//! it from `terraform plan`, with 2 if there is something to do, and with 1 if
//! something is left alone that a person should look at.
//!
//! Tables and results go to standard output, logs to standard error.

mod bucket;
mod compact;
#[cfg(feature = "demo")]
mod demo;
mod dry_run;
pub mod duration;
mod findings;
mod flags;
mod hazards;
mod human;
mod quarantine;
mod report_file;
pub mod size;
mod text;
mod time_bound;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::error::{Error, Kind, Result};
use crate::telemetry::logging;
use flags::{Given, ProcessFlags};

/// Compacts the Prometheus TSDB blocks of a Thanos bucket.
#[derive(Debug, Parser)]
#[command(
    name = "lithify",
    version,
    propagate_version = true,
    max_term_width = 100
)]
struct Cli {
    #[command(flatten)]
    process: ProcessFlags,
    #[command(subcommand)]
    command: Command,
    /// What stands on the command line.
    #[arg(skip)]
    given: Given,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Compact the blocks of a bucket until there is nothing left to do.
    Compact(Box<compact::Args>),
    /// Lay a small bucket out in a folder, compact it, show what changed.
    #[cfg(feature = "demo")]
    Demo(demo::Args),
}

/// How a command ended, if it did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Done,
    Partial,
    /// A dry run found work.
    PlanPending,
    /// A dry run found something that a person should look at.
    PlanProblems,
}

/// The command line as clap sees it: names, defaults, help.
#[doc(hidden)]
pub fn command() -> clap::Command {
    flags::both_forms(Cli::command())
}

/// Parses and checks a command line, program name first, and does nothing
/// else: the warnings it would log, or exit code and message.
///
/// # Errors
/// What would keep the command from starting.
#[doc(hidden)]
pub fn check<I, T>(argv: I) -> std::result::Result<Vec<String>, (i32, String)>
where
    I: IntoIterator<Item = T>,
    T: Into<OsString> + Clone,
{
    let cli = Cli::read(argv).map_err(|e| (e.exit_code(), e.to_string()))?;
    let failed = |e: Error| {
        (
            1,
            format!("{}\n{}", e.chain(), e.cure().unwrap_or_default()),
        )
    };
    let mut warnings = cli.check().map_err(failed)?;
    if let Command::Compact(args) = &cli.command {
        warnings.extend(args.check(&cli.given).map_err(failed)?);
    }
    Ok(warnings)
}

/// Reads relabel rules as `--selector.relabel-config` takes them, with their
/// variables replaced.
///
/// # Errors
/// Text that is no list of rules, rules that choose nothing.
#[doc(hidden)]
pub fn selector(text: &str) -> Result<crate::plan::relabel::Selector> {
    flags::rules(text)
}

impl Cli {
    fn read<I, T>(argv: I) -> std::result::Result<Self, clap::Error>
    where
        I: IntoIterator<Item = T>,
        T: Into<OsString> + Clone,
    {
        let mut command = command();
        let matches = command.try_get_matches_from_mut(argv)?;
        let mut cli = Self::from_arg_matches(&matches).map_err(|e| e.format(&mut command))?;
        cli.given = Given::of(&command, &matches);
        Ok(cli)
    }

    /// Checks the flags that all commands share.
    fn check(&self) -> Result<Vec<String>> {
        let mut warnings = Vec::new();
        self.process.format()?;
        self.process.check(&self.given, &mut warnings)?;
        Ok(warnings)
    }

    /// Looks at files that are written at the end only, before anything is done.
    fn check_files(&self) -> Result<()> {
        match &self.command {
            Command::Compact(args) => report_file::check(args.run.report()),
            #[cfg(feature = "demo")]
            Command::Demo(_) => Ok(()),
        }
    }

    fn run(self) -> Result<Outcome> {
        let warnings = self.check()?;
        let format = self.process.format()?;
        logging::init(format, self.process.log_level)
            .map_err(|e| Error::new(Kind::Internal, "cannot start the log").with_source(e))?;
        warn(&warnings);
        run(self.command, &self.given)
    }
}

/// Runs the command of this process.
pub fn main() -> ExitCode {
    let cli = Cli::read(std::env::args_os()).unwrap_or_else(|e| e.exit());
    if let Err(error) = cli.check_files() {
        report(&error);
        return ExitCode::from(2);
    }
    match cli.run() {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::Partial) => ExitCode::from(3),
        Ok(Outcome::PlanPending) => ExitCode::from(2),
        Ok(Outcome::PlanProblems) => ExitCode::from(1),
        Err(error) => {
            report(&error);
            match error.kind() {
                Kind::Locked => ExitCode::from(4),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

/// Says which flags have no effect.
fn warn(warnings: &[String]) {
    for warning in warnings {
        tracing::warn!("{warning}");
    }
}

fn run(command: Command, given: &Given) -> Result<Outcome> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        // For calls to files. Each has a stack of 2 MiB: as many as tokio would
        // start for a folder with many small files are a gigabyte of addresses.
        .max_blocking_threads(32)
        .thread_name("io")
        .enable_all()
        .build()
        .map_err(|e| Error::new(Kind::Config, "cannot start the IO threads").with_source(e))?;
    match command {
        Command::Compact(args) => runtime.block_on(compact::run(*args, given)),
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
