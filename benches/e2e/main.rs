//! The whole run beside Thanos: same blocks, same folder store, same machine,
//! one after the other. Prints tables with ratios, as Markdown.
//!
//!     benches/run [ROW...]     builds the peers, then runs this
//!
//! Every run gets a fresh copy of its bucket, and the best of some rounds
//! counts. A program that fails, or a result with the wrong number of samples,
//! ends in a non-zero exit code. Settings are environment variables, see
//! `benches/README.md`.

#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a bench that measures and prints"
)]

use std::path::Path;
use std::process::ExitCode;

mod bucket;
mod lab;
mod lower;
mod machine;
mod measure;
mod plan;
mod rows;
mod table;

use lab::{Lab, Result};

/// What can be asked for: name, what it measures, how.
type Row = (&'static str, &'static str, fn(&Lab) -> Result<()>);

const ROWS: [Row; 10] = [
    (
        "horizontal",
        "5 x 2h beside Thanos, nothing overlaps",
        |lab| rows::hours(lab, "horizontal"),
    ),
    ("vertical", "5 x 2h beside Thanos, one-to-one", |lab| {
        rows::hours(lab, "vertical")
    }),
    ("penalty", "5 x 2h beside Thanos, penalty", |lab| {
        rows::hours(lab, "penalty")
    }),
    ("days", "8 x 2d beside Thanos, one-to-one", |lab| {
        rows::days(lab, "vertical")
    }),
    (
        "days-penalty",
        "8 x 2d, penalty, Thanos under a time limit",
        |lab| rows::days(lab, "penalty"),
    ),
    (
        "downsample",
        "1 x 14d beside Thanos, raw to 5m and 1h, and each step",
        lower::steps,
    ),
    (
        "whole",
        "8 x 2d beside Thanos, one-to-one with 5m and 1h",
        lower::whole,
    ),
    (
        "linear",
        "ours, time per sample at 2, 4 and 8 days of overlap",
        rows::linear,
    ),
    ("threads", "ours, one thread and more", rows::threads),
    (
        "plan",
        "a dry run over many blocks, and plan() alone",
        |lab| plan::row(lab),
    ),
];

fn main() -> ExitCode {
    match run() {
        Ok(0) => ExitCode::SUCCESS,
        Ok(failed) => {
            eprintln!("{failed} rows failed, see above");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("benches/run: {error}");
            ExitCode::from(2)
        }
    }
}

/// Runs what was asked for and returns how many rows failed.
fn run() -> Result<usize> {
    // Cargo adds --bench to the arguments of every bench.
    let args: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| a != "--bench" && a != "--only")
        .collect();
    if args.iter().any(|a| a == "--help" || a == "-h") {
        help();
        return Ok(0);
    }
    let lab = Lab::from_env()?;
    if let [first, row, folder] = args.as_slice()
        && first == "--prepare"
    {
        return rows::prepare(&lab, row, Path::new(folder)).map(|()| 0);
    }
    if let Some(unknown) = args.iter().find(|a| ROWS.iter().all(|r| r.0 != **a)) {
        help();
        return Err(format!("there is no row {unknown:?}"));
    }
    println!("{}", machine::describe());
    println!("{}", lab.describe());
    let mut failed = 0;
    let wanted = |name: &str| args.is_empty() || args.iter().any(|a| a == name);
    for (name, _, row) in ROWS.iter().filter(|(name, ..)| wanted(name)) {
        if let Err(error) = row(&lab) {
            println!("\n{name} FAILED: {error}");
            failed += 1;
        }
    }
    Ok(failed)
}

fn help() {
    println!("benches/run [--only] [ROW...]    all rows without one\n");
    for (name, what, _) in ROWS {
        println!("  {name:<14}{what}");
    }
    println!("\nSettings are environment variables, see benches/README.md.");
}
