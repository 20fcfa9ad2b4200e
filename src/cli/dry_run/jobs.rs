//! The parts of the page about jobs: those of a stream as a table, those of
//! later rounds with a line each, and what blocks of each resolution take.

use std::fmt::Write;

use super::table::{about, clip, short_stamp};
use super::{bytes, duration, range};
use crate::cli::human::{WIDTH, wrapped};
use crate::plan::forecast::{BucketForecast, JobForecast, ProductForecast, ResolutionTotals};
use crate::plan::resolution_name;

/// Jobs of later rounds that are shown before the rest is counted.
const LATER: usize = 20;

/// What blocks take now and at the end, a line for each resolution; nothing
/// where there is only one and there will be no other.
pub(super) fn resolutions(page: &mut String, resolutions: &[ResolutionTotals]) {
    if resolutions.iter().all(|r| r.resolution_ms == 0) {
        return;
    }
    let size = |blocks: u64, text: String| match blocks {
        0 => "nothing".to_owned(),
        _ => text,
    };
    for of in resolutions {
        let _ = writeln!(
            page,
            "  {:<3}  {:>5} → {} blocks, {} → {}",
            resolution_name(of.resolution_ms),
            of.blocks_before,
            of.blocks_after,
            size(of.blocks_before, bytes(of.bytes_before)),
            size(of.blocks_after, range(of.bytes_after, bytes))
        );
    }
    page.push('\n');
}

/// The jobs of a stream.
pub(super) fn table(jobs: &[&JobForecast]) -> String {
    use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
    // Where nothing is downsampled, the resolution stands in the title.
    let lower = |p: &ProductForecast, job: &JobForecast| p.resolution_ms != job.resolution_ms;
    let show_makes = jobs.iter().any(|j| j.products.iter().any(|p| lower(p, j)));
    let size = if show_makes { short } else { bytes };
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    // Wraps a cell rather than to run over the edge.
    table.set_content_arrangement(ContentArrangement::Dynamic);
    table.set_width(WIDTH as u16);
    let row = |cells: [String; COLUMNS + 1]| -> Vec<String> {
        let all = cells.into_iter().enumerate();
        // There is room for one of the two.
        let hidden = if show_makes { STEPS } else { MAKES };
        let shown = all.filter(|(i, _)| *i != hidden);
        shown.map(|(_, cell)| cell).collect()
    };
    let head = [
        "job", "from", "len", "why", "makes", "steps", "blocks", "in", "out", "time",
    ];
    table.set_header(row(head.map(str::to_owned)));
    for job in jobs {
        table.add_row(row([
            job.job.to_string(),
            short_stamp(job.min_time),
            about(job.max_time - job.min_time),
            why(job),
            makes(job),
            job.steps.to_string(),
            job.sources.len().to_string(),
            size(job.bytes_in),
            range(job.bytes_out, size),
            duration(job.seconds),
        ]));
    }
    let words = if show_makes { MAKES } else { MAKES - 1 };
    for (i, column) in table.column_iter_mut().enumerate() {
        let is_last = i + 1 == COLUMNS;
        column.set_padding((0, u16::from(!is_last)));
        if i == 0 || i > words {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    // Without the blanks that fill up the last column.
    let text = table.to_string();
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    lines.join("\n")
}

/// Columns that a table shows.
const COLUMNS: usize = 9;
/// The column of tables with downsampling, and the one of the others.
const MAKES: usize = 4;
const STEPS: usize = 5;

/// `1.5 MiB`, `118 KiB`: two digits are enough where there is little room.
fn short(n: u64) -> String {
    let text = bytes(n);
    let parts = text
        .split_once(' ')
        .map(|(value, unit)| (value.parse::<f64>(), unit));
    match parts {
        Some((Ok(value), unit)) if value >= 10.0 => format!("{value:.0} {unit}"),
        _ => text,
    }
}

/// `overlap+2d`, `2d`, `tombstones`, `downsample`.
fn why(job: &JobForecast) -> String {
    let reason = job.reason.trim_start_matches("range ");
    match job.kind.as_str() {
        "vertical" if reason != "overlap" => format!("overlap+{reason}"),
        _ => reason.to_owned(),
    }
}

/// `raw 5m 1h`.
fn makes(job: &JobForecast) -> String {
    let names = job
        .products
        .iter()
        .map(|p| resolution_name(p.resolution_ms));
    names.collect::<Vec<_>>().join(" ")
}

/// What is planned once the jobs above were done, a line for each job.
pub(super) fn later(page: &mut String, bucket: &BucketForecast, cluster_label: &str) {
    if bucket.later.is_empty() {
        return;
    }
    page.push_str("planned again from what those make\n");
    let rounds = bucket.later.iter();
    let jobs = rounds.flat_map(|l| l.jobs.iter().map(move |job| (l.round, job)));
    let all = jobs.clone().count();
    for (round, job) in jobs.take(LATER) {
        let _ = writeln!(
            page,
            "  {}",
            clip(&one(round, job, cluster_label), WIDTH - 2)
        );
    }
    if all > LATER {
        let more = all - LATER;
        let _ = writeln!(page, "  … and {more} more jobs (--dry-run=json has all)");
    }
    for round in bucket.later.iter().filter(|l| !l.marks.is_empty()) {
        let marks = match round.marks.len() {
            1 => "1 mark".to_owned(),
            n => format!("{n} marks"),
        };
        let _ = writeln!(page, "  round {}: {marks} to be set", round.round);
    }
    if bucket.later_is_cut {
        let rounds = bucket.later.last().map_or(0, |l| l.round);
        let text = format!("jobs are still due after round {rounds}; sums are those up to there");
        wrapped(page, &text, 2);
    }
    page.push('\n');
}

/// `round 2  job 17  09-01 00:00 14d  14d  7×5m → 5m  1.1–2.3 MiB  cluster-01`.
fn one(round: u64, job: &JobForecast, cluster_label: &str) -> String {
    let cluster = job.labels.get(cluster_label);
    format!(
        "round {round}  job {}  {} {}  {}  {}×{} → {}  {}  {}",
        job.job,
        short_stamp(job.min_time),
        about(job.max_time - job.min_time),
        why(job),
        job.sources.len(),
        resolution_name(job.resolution_ms),
        makes(job),
        range(job.bytes_out, bytes),
        cluster.map_or("", String::as_str)
    )
    .trim_end()
    .to_owned()
}
