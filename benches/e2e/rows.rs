//! The rows: which blocks, which flags, which program beside ours.

use std::collections::HashSet;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;

use crate::bucket;
use crate::lab::{Input, Lab, Program, RAW_ONLY, REPLICA, Result};
use crate::lower;
use crate::measure::Cost;
use crate::table;

const PENALTY: &str = "--deduplication.func=penalty";

/// The flags of a way to compact.
fn flags(way: &str) -> &'static [&'static str] {
    match way {
        "penalty" => &[RAW_ONLY, REPLICA, PENALTY],
        "vertical" => &[RAW_ONLY, REPLICA],
        "whole" => &[REPLICA],
        "downsample" => &[],
        _ => &[RAW_ONLY],
    }
}

/// Five blocks of 2h of each replica.
fn hours_input(lab: &Lab) -> Input {
    Input {
        interval: 15,
        hours: 2,
        replicas: 2,
        blocks: 5,
        series: lab.series,
    }
}

/// Eight blocks of 2d of each replica.
pub fn days_input(lab: &Lab) -> Input {
    Input {
        interval: 30,
        hours: 48,
        replicas: 2,
        blocks: 8,
        series: lab.days_series,
    }
}

/// One block of each replica, so many days long.
fn pair(lab: &Lab, days: u64) -> Input {
    Input {
        interval: 30,
        hours: 24 * days,
        replicas: 2,
        blocks: 1,
        series: lab.days_series,
    }
}

/// Opens a table unless the row before was of the same input.
pub fn heading(what: &str, input: Input, source: &Path) -> Result<()> {
    static SEEN: Mutex<Option<HashSet<String>>> = Mutex::new(None);
    let mut seen = SEEN.lock().map_err(|e| e.to_string())?;
    if seen.get_or_insert_default().insert(what.to_owned()) {
        let (samples, bytes) = (input.samples() as f64 / 1e6, bucket::size(source)?);
        println!(
            "\n{}{what}, {} series at {} s ({samples:.0} M samples, {:.0} MB):\n",
            if input.replicas > 1 {
                "HA pair of "
            } else {
                ""
            },
            input.series,
            input.interval,
            bytes as f64 / 1e6
        );
        table::head();
    }
    Ok(())
}

/// A row over blocks of 2h beside Thanos.
pub fn hours(lab: &Lab, way: &str) -> Result<()> {
    let input = hours_input(lab);
    let source = lab.input(input)?;
    heading("5 x 2h blocks", input, &source)?;
    let ours = lab.best(Program::Ours, &source, flags(way), None)?;
    let theirs = thanos(lab, &source, way, false)?;
    table::beside(way, &ours, theirs.as_ref());
    check(lab, input, way, theirs.as_ref())?;
    if lab.compare && theirs.is_some() && way != "penalty" {
        compare(lab)?;
    }
    cleanup(lab)
}

/// A row over blocks of 2d beside Thanos, which gets a limited time for the
/// way that takes it hours.
pub fn days(lab: &Lab, way: &str) -> Result<()> {
    let input = days_input(lab);
    let source = lab.input(input)?;
    heading("8 x 2d blocks", input, &source)?;
    let ours = lab.best(Program::Ours, &source, flags(way), None)?;
    let theirs = thanos(lab, &source, way, way == "penalty")?;
    table::beside(way, &ours, theirs.as_ref());
    check(lab, input, way, theirs.as_ref())?;
    cleanup(lab)
}

fn thanos(lab: &Lab, source: &Path, way: &str, limited: bool) -> Result<Option<Cost>> {
    let limit = if limited { lab.patience() } else { None };
    lab.thanos
        .then(|| lab.best(Program::Thanos, source, flags(way), limit))
        .transpose()
}

/// Numbers of samples, so that a wrong result cannot be a fast one.
///
/// Nothing may be lost where the pair shares no timestamp; `penalty` must
/// leave about one replica, and about what Thanos leaves. The two differ by
/// design, see `tests/peers/README.md`.
fn check(lab: &Lab, input: Input, way: &str, theirs: Option<&Cost>) -> Result<()> {
    let ours = bucket::live_samples(&lab.result(Program::Ours))?;
    let (expected, tolerance) = match way {
        "penalty" => (input.samples() / 2, 0.05),
        // Some scrapes are late and may meet one of the other replica.
        "vertical" => (input.samples(), 0.01),
        _ => (input.samples(), 0.0),
    };
    near("of the input", ours, expected, tolerance)?;
    if theirs.is_some_and(|t| !t.stopped) {
        let theirs = bucket::live_samples(&lab.result(Program::Thanos))?;
        let tolerance = if way == "penalty" { 0.1 } else { 0.0 };
        near("of Thanos", ours, theirs, tolerance)?;
    }
    Ok(())
}

fn near(whose: &str, ours: u64, expected: u64, tolerance: f64) -> Result<()> {
    if ours.abs_diff(expected) as f64 > tolerance * expected as f64 {
        return Err(format!(
            "our result has {ours} samples where {expected} {whose} were expected"
        ));
    }
    Ok(())
}

/// Both results sample by sample.
fn compare(lab: &Lab) -> Result<()> {
    let output = Command::new(lab.peer("oracle"))
        .arg("compare")
        .arg("--left")
        .arg(lab.result(Program::Ours))
        .arg("--right")
        .arg(lab.result(Program::Thanos))
        .output()
        .map_err(|e| format!("cannot run the oracle of the peers: {e}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stdout);
    Err(format!("the results differ:\n{said}"))
}

pub fn cleanup(lab: &Lab) -> Result<()> {
    bucket::remove(&lab.result(Program::Ours))?;
    bucket::remove(&lab.result(Program::Thanos))
}

/// Time per sample read, which must not depend on how long replicas overlap.
pub fn linear(lab: &Lab) -> Result<()> {
    println!(
        "\nOne block of each replica, {} series at 30 s, ns per sample read:\n",
        lab.days_series
    );
    println!("| overlap | samples | one-to-one |  CPU | penalty |  CPU |  MiB |");
    println!("|--------:|--------:|-----------:|-----:|--------:|-----:|-----:|");
    for days in [2, 4, 8] {
        let input = pair(lab, days);
        let source = lab.input(input)?;
        let run = |way| -> Result<Cost> {
            let cost = lab.best(Program::Ours, &source, flags(way), None)?;
            check(lab, input, way, None)?;
            Ok(cost)
        };
        let (union, penalty) = (run("vertical")?, run("penalty")?);
        let each = |seconds: f64| seconds * 1e9 / input.samples() as f64;
        println!(
            "| {days:>4} d  | {:>5.0} M | {:>10.1} | {:>4.1} | {:>7.1} | {:>4.1} | {:>4.0} |",
            input.samples() as f64 / 1e6,
            each(union.wall),
            each(union.cpu),
            each(penalty.wall),
            each(penalty.cpu),
            union.peak_mib.max(penalty.peak_mib),
        );
    }
    cleanup(lab)
}

/// What more threads save.
pub fn threads(lab: &Lab) -> Result<()> {
    let input = hours_input(lab);
    let source = lab.input(input)?;
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    let mut counts = vec![1, 2, 4, 8];
    counts.retain(|n| *n <= cores.max(2));
    println!("\nThreads, 5 x 2h blocks, one-to-one; all threads on as many cores, or on all:\n");
    println!("| --threads | cores | wall s | CPU s | MiB | speed-up |");
    println!("|----------:|------:|-------:|------:|----:|---------:|");
    // With one thread that decodes, readers, writer and kernel find work for
    // a second core; only on one core is one really one.
    for all in [false, true] {
        let mut first = None;
        for &n in &counts {
            let threads = format!("--threads={n}");
            let pinned = if all { cores } else { n };
            let how = (None, Some(pinned));
            let cost = lab.best_on(Program::Ours, &source, &[RAW_ONLY, REPLICA, &threads], how)?;
            let one = *first.get_or_insert(cost.wall);
            println!(
                "| {n:>9} | {pinned:>5} | {:>6.2} | {:>5.2} | {:>3.0} | {:>7.2}x |",
                cost.wall,
                cost.cpu,
                cost.peak_mib,
                one / cost.wall
            );
        }
    }
    cleanup(lab)
}

/// Leaves a row's bucket in `folder`, and prints the flags of the row, one a
/// line: for `benches/profile`.
pub fn prepare(lab: &Lab, row: &str, folder: &Path) -> Result<()> {
    let (input, way) = match row {
        "horizontal" | "vertical" | "penalty" => (hours_input(lab), row),
        "days" => (days_input(lab), "vertical"),
        "days-penalty" => (days_input(lab), "penalty"),
        "linear" => (pair(lab, 8), "penalty"),
        "downsample" => (lower::input(lab), row),
        "whole" => (days_input(lab), row),
        _ => return Err(format!("row {row:?} cannot be profiled")),
    };
    bucket::fresh_copy(&lab.input(input)?, folder)?;
    let command = lab.command(Program::Ours, folder, &folder.with_extension("data"))?;
    let given = command.get_args().map(|a| a.to_string_lossy().into_owned());
    for flag in given.chain(flags(way).iter().map(|f| (*f).to_owned())) {
        println!("{flag}");
    }
    Ok(())
}
