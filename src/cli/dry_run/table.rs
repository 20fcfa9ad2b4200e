//! The forecast for people, in 80 columns.

use std::collections::BTreeMap;
use std::fmt::Write;

use chrono::DateTime;

use super::timeline::draw;
use super::{bytes, duration, hazards, jobs, range, retention};
use crate::cli::human::{WIDTH, count, wrapped};
use crate::plan::forecast::{
    BucketForecast, ClusterSource, Forecast, HeldForecast, JobForecast, Range, StreamForecast,
    Totals,
};
use crate::plan::{Lane, resolution_name};

/// Columns of a timeline.
const TIMELINE: usize = 66;
/// Names of blocks that are spelled out before the rest is counted.
const NAMES: usize = 4;

/// Writing to a string cannot fail.
macro_rules! line {
    ($page:expr) => { $page.push('\n') };
    ($page:expr, $($arg:tt)*) => {{ let _ = writeln!($page, $($arg)*); }};
}

/// Everything there is to say.
pub(super) fn render(forecast: &Forecast) -> String {
    let mut page = String::new();
    for bucket in &forecast.buckets {
        one_bucket(&mut page, bucket, forecast);
    }
    if forecast.clusters.len() > 1 || forecast.buckets.len() > 1 {
        clusters(&mut page, forecast);
    }
    summary(&mut page, forecast);
    page
}

fn one_bucket(page: &mut String, bucket: &BucketForecast, forecast: &Forecast) {
    line!(page, "bucket {}", bucket.name);
    line!(page, "planned at {}; nothing was written", forecast.made_at);
    if forecast.lanes.len() < Lane::ALL.len() {
        let lanes = forecast.lanes.join(", ");
        line!(page, "lanes: {lanes} (others skipped)");
    }
    line!(page);
    jobs::resolutions(page, &bucket.totals.resolutions);
    let tiles = bucket.streams.iter().flat_map(|s| &s.before);
    let from = tiles.clone().map(|t| t.min_time).min().unwrap_or(0);
    let until = tiles.map(|t| t.max_time).max().unwrap_or(0);
    for stream in &bucket.streams {
        line!(
            page,
            "{}",
            clip(&title(stream, &forecast.cluster_label), WIDTH)
        );
        one_stream(page, stream, bucket, (from, until));
    }
    if !bucket.streams.is_empty() {
        line!(
            page,
            "digits: compaction level, *: overlap, x: kept out, !: damaged, blank: gap\n"
        );
    }
    jobs::later(page, bucket, &forecast.cluster_label);
    retention::findings(page, bucket);
    hazards::hazards(page, bucket);
    retention::retired(page, bucket);
    removals(page, bucket);
    retention::removals(page, bucket);
    left_alone(page, bucket);
}

fn one_stream(
    page: &mut String,
    stream: &StreamForecast,
    bucket: &BucketForecast,
    (from, until): (i64, i64),
) {
    line!(
        page,
        "  now   |{}|",
        draw(&stream.before, from, until, TIMELINE)
    );
    if stream.before != stream.after {
        line!(
            page,
            "  after |{}|",
            draw(&stream.after, from, until, TIMELINE)
        );
    }
    let (start, end) = (stamp(from), stamp(until));
    let gap = (TIMELINE + 2).saturating_sub(start.len() + end.len());
    line!(page, "        {start}{:gap$}{end}", "");
    let sum = |tiles: &[crate::plan::forecast::TileForecast]| {
        let mut bytes = Range::default();
        tiles.iter().for_each(|t| bytes += t.bytes);
        (tiles.len() as u64, bytes)
    };
    let ((blocks, size), (left, left_size)) = (sum(&stream.before), sum(&stream.after));
    line!(
        page,
        "  {blocks} → {left} blocks, {} → {}",
        if blocks == 0 {
            "nothing".to_owned()
        } else {
            bytes(size.low)
        },
        range(left_size, bytes)
    );
    retention::policy(page, &stream.policy);
    let stream_jobs: Vec<&JobForecast> = bucket
        .jobs
        .iter()
        .filter(|j| j.group == stream.group && j.labels == stream.labels)
        .collect();
    if !stream_jobs.is_empty() {
        line!(page, "{}", jobs::table(&stream_jobs));
    }
    line!(page);
}

/// `cluster-01 raw {region="central"} 0@123`, the cluster first.
fn title(stream: &StreamForecast, cluster_label: &str) -> String {
    let resolution = resolution_name(stream.resolution_ms);
    let mut rest = stream.labels.clone();
    let cluster = rest.remove(cluster_label);
    let name = cluster.unwrap_or_else(|| "stream".to_owned());
    format!("{name}  {resolution}  {}", labels(&rest))
}

fn labels(labels: &BTreeMap<String, String>) -> String {
    let pairs: Vec<String> = labels.iter().map(|(n, v)| format!("{n}={v:?}")).collect();
    format!("{{{}}}", pairs.join(", "))
}

fn removals(page: &mut String, bucket: &BucketForecast) {
    let section = |page: &mut String, title: &str, rows: &[String]| {
        if rows.is_empty() {
            return;
        }
        line!(page, "{title}");
        for row in rows.iter().take(20) {
            line!(page, "  {}", clip(row, WIDTH - 2));
        }
        if rows.len() > 20 {
            line!(
                page,
                "  … and {} more (--dry-run=json has all)",
                rows.len() - 20
            );
        }
        line!(page);
    };
    let deletions = bucket.deletions.iter().map(|d| {
        let (size, at) = (bytes(d.bytes), &d.marked_at);
        format!("{}  {size}, marked {at}: {}", d.block, d.details)
    });
    section(
        page,
        "marked blocks whose delay has passed, to be deleted",
        &deletions.collect::<Vec<_>>(),
    );
    if bucket.deletions_left > 0 {
        let now = bucket.deletions.len() as u64;
        line!(
            page,
            "{} of {} marked blocks: --max-delete-per-run leaves the rest\n",
            count(now),
            count(now + bucket.deletions_left)
        );
    }
    // Those of retention stand above, summed up.
    let marks = bucket.marks.iter().filter(|m| m.reason != "retention");
    let marks = marks.map(|m| {
        let marker = m.marker.trim_end_matches(".json");
        format!("{}  {marker}: {}, {}", m.block, m.reason, m.details)
    });
    section(page, "marks to be set", &marks.collect::<Vec<_>>());
    let partials = bucket.partials.iter().map(|p| {
        let (size, at) = (bytes(p.bytes), &p.modified_at);
        format!("{}  {}, {size}, last change {at}", p.folder, p.why)
    });
    section(
        page,
        "folders that are no blocks, to be removed",
        &partials.collect::<Vec<_>>(),
    );
}

fn left_alone(page: &mut String, bucket: &BucketForecast) {
    if !bucket.held.is_empty() || !bucket.problems.is_empty() {
        line!(page, "left alone");
    }
    for held in retention::merged(&bucket.held) {
        one_held(page, &held);
    }
    for problem in &bucket.problems {
        // Damaged blocks of a stream stand above, with their stream.
        if bucket
            .held
            .iter()
            .any(|h| h.blocks.contains(&problem.folder))
        {
            continue;
        }
        let reason = problem.reason.as_ref().unwrap_or(&problem.kind);
        line!(page, "  {}  {reason}", problem.folder);
        wrapped(page, &problem.what, 4);
        wrapped(page, &format!("cure: {}", problem.cure), 4);
    }
    if !bucket.held.is_empty() || !bucket.problems.is_empty() {
        line!(page);
    }
    for cut in &bucket.cuts {
        let text = format!(
            "group {}: planned up to {} (limit: {}); the rest is planned from the real sizes",
            cut.group,
            stamp(cut.min_time),
            cut.why
        );
        wrapped(page, &text, 0);
    }
    for excluded in &bucket.excluded {
        line!(
            page,
            "{} blocks take no part: {}",
            excluded.blocks.len(),
            excluded.state
        );
    }
    if !bucket.excluded.is_empty() || !bucket.cuts.is_empty() {
        line!(page);
    }
}

fn one_held(page: &mut String, held: &HeldForecast) {
    let mark = if held.problem {
        "problem"
    } else {
        "as intended"
    };
    line!(
        page,
        "  {} .. {}  {} ({mark})",
        stamp(held.min_time),
        stamp(held.max_time),
        held.reason
    );
    wrapped(page, &format!("{} {}", held.what, labels(&held.labels)), 4);
    let mut names = held.blocks.iter().take(NAMES).cloned().collect::<Vec<_>>();
    if held.blocks.len() > NAMES {
        names.push(format!("… {} more", held.blocks.len() - NAMES));
    }
    wrapped(page, &format!("blocks: {}", names.join(" ")), 4);
    if held.problem {
        wrapped(page, &format!("cure: {}", held.cure), 4);
    }
}

fn clusters(page: &mut String, forecast: &Forecast) {
    use comfy_table::{CellAlignment, Table, presets};
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header([
        "cluster",
        "named by",
        "streams",
        "blocks",
        "jobs",
        "bytes now",
        "bytes after",
    ]);
    for cluster in &forecast.clusters {
        let name = match cluster.name.as_str() {
            "" => "(none)",
            name => name,
        };
        table.add_row([
            name.to_owned(),
            match cluster.found_in {
                ClusterSource::Label => "stream".to_owned(),
                ClusterSource::Series => "series".to_owned(),
                ClusterSource::None => String::new(),
            },
            cluster.streams.to_string(),
            format!("{}→{}", cluster.blocks_before, cluster.blocks_after),
            cluster.jobs.to_string(),
            bytes(cluster.bytes_before),
            range(cluster.bytes_after, bytes),
        ]);
    }
    for (i, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        if i > 1 {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    line!(page, "clusters");
    line!(page, "{}\n", indent(&table.to_string()));
}

fn summary(page: &mut String, forecast: &Forecast) {
    let totals = &forecast.totals;
    line!(
        page,
        "plan: {}, {} → {} blocks",
        jobs_of(totals),
        count(totals.blocks_before),
        count(totals.blocks_after)
    );
    line!(
        page,
        "  bytes    {} → {}{}",
        bytes(totals.bytes_before),
        range(totals.bytes_after, bytes),
        removed(totals)
    );
    line!(
        page,
        "  samples  {} → {}",
        count(totals.samples_before),
        range(totals.samples_after, count)
    );
    if totals.jobs > 0 {
        work(page, totals);
    }
    let r = &totals.requests;
    line!(
        page,
        "  requests {} list, {} head, {} get, {} put ({} in parts), {} delete",
        count(r.list),
        count(r.head),
        count(r.get),
        count(r.put),
        count(r.parts),
        count(r.delete)
    );
    line!(page, "{}", verdict(forecast));
}

/// What the jobs do and need.
fn work(page: &mut String, totals: &Totals) {
    line!(
        page,
        "  work     reads {}, writes {}, about {}",
        bytes(totals.bytes_read),
        range(totals.bytes_written, bytes),
        duration(totals.seconds)
    );
    line!(
        page,
        "  needs    memory {}, scratch {} for the largest job",
        bytes(totals.memory_bytes),
        bytes(totals.scratch_bytes)
    );
}

/// `3 compactions (12 steps otherwise) and 2 downsampling jobs in 2 rounds`.
fn jobs_of(totals: &Totals) -> String {
    if totals.jobs == 0 {
        return "no jobs".to_owned();
    }
    let only = totals.downsampling_jobs;
    let (compactions, steps) = (totals.jobs - only, totals.steps - only);
    let mut text = format!("{compactions} compactions ({steps} steps otherwise)");
    if only > 0 {
        text.push_str(&format!(" and {only} downsampling jobs"));
    }
    if totals.rounds > 1 {
        text.push_str(&format!(" in {} rounds", totals.rounds));
    }
    text
}

fn removed(totals: &Totals) -> String {
    match totals.bytes_removed {
        0 => String::new(),
        n => format!(", {} deleted", bytes(n)),
    }
}

fn verdict(forecast: &Forecast) -> &'static str {
    match (forecast.pending, forecast.problems) {
        (false, false) => "nothing to do",
        (true, false) => "run again without --dry-run to do this",
        (true, true) => "run again without --dry-run to do this; look at what is left alone",
        (false, true) => "nothing to do until somebody looks at what is left alone",
    }
}

/// A length to the minute: `2h`, `1d`, `9h30m`. Blocks rarely start on the dot.
pub(super) fn about(ms: i64) -> String {
    let minutes = ms.saturating_add(30_000).div_euclid(60_000);
    match (minutes / 1440, minutes % 1440 / 60, minutes % 60) {
        (days, 0, 0) if days > 0 => format!("{days}d"),
        (days, hours, 0) => format!("{}h", days * 24 + hours),
        (0, 0, minutes) => format!("{minutes}m"),
        (days, hours, minutes) => format!("{}h{minutes:02}m", days * 24 + hours),
    }
}

/// `09-01 14:00`: the year stands below the timeline.
pub(super) fn short_stamp(ms: i64) -> String {
    stamp(ms).chars().skip(5).collect()
}

fn stamp(ms: i64) -> String {
    DateTime::from_timestamp_millis(ms).map_or_else(
        || ms.to_string(),
        |t| t.format("%Y-%m-%d %H:%M").to_string(),
    )
}

pub(super) fn clip(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(width - 1).collect();
    short.push('…');
    short
}

fn indent(text: &str) -> String {
    let lines: Vec<String> = text
        .lines()
        .map(|l| format!("  {}", l.trim_end()))
        .collect();
    lines.join("\n")
}
