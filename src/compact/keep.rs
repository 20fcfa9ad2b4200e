//! Keeps what a run did in the bucket, for whoever asks months later.
//!
//! ```text
//!  lithify/reports/<ULID>.json     one per run that did or tried something
//! ```
//!
//! The ULID has the time at which the run ended, so names sort by time. Readers
//! of blocks ignore the folder: its name is no ULID. The newest
//! [`REPORTS_KEPT`] stay.

use serde::Serialize;
use ulid::Ulid;

use super::report::{Failure, JobReport, Quarantined, RunReport, Task};
use crate::block::meta::Labels;
use crate::error::{Error, Kind, Result};
use crate::merge::Ledger;
use crate::objstore::{Bucket, Counts};
use crate::runtime::clock::Clock;

/// Folder of the reports in the bucket.
pub const REPORTS: &str = "lithify/reports";

/// Older reports than so many are removed.
pub const REPORTS_KEPT: usize = 200;

/// Name and version of the form.
const SCHEMA: &str = "lithify.report/1";

/// A run as JSON; times in ms since the epoch, sizes in bytes.
#[derive(Debug, Serialize)]
struct Kept<'a> {
    schema: &'static str,
    version: &'static str,
    ended_ms: i64,
    seconds: f64,
    passes: u32,
    blocks_seen: usize,
    partial: bool,
    /// Kinds of work that were done; others were left out.
    lanes: Vec<&'static str>,
    /// Calls and payload bytes by kind, those of this report not included.
    requests: Counts,
    /// All jobs together.
    ledger: Ledger,
    jobs: Vec<Job<'a>>,
    failures: Vec<Failed>,
    garbage: &'a [Ulid],
    retired: &'a [Ulid],
    no_compact: &'a [Ulid],
    quarantined: Vec<Shut<'a>>,
    transfer_faults: u64,
    deleted: &'a [Ulid],
    /// Blocks that a limit has left to a later run.
    deletions_left: usize,
    retired_left: usize,
    cleaned: &'a [Ulid],
    held: Vec<Left<'a>>,
    problems: Vec<Left<'a>>,
}

#[derive(Debug, Serialize)]
struct Job<'a> {
    group: String,
    labels: &'a Labels,
    resolution_ms: i64,
    kind: String,
    reason: String,
    sources: &'a [Ulid],
    result: Option<Ulid>,
    min_time: i64,
    max_time: i64,
    bytes_in: u64,
    bytes_out: u64,
    scratch_bytes: u64,
    series: u64,
    seconds: f64,
    ledger: Ledger,
}

#[derive(Debug, Serialize)]
struct Failed {
    task: &'static str,
    blocks: Vec<Ulid>,
    kind: &'static str,
    error: String,
    cure: Option<String>,
    blamed: Option<Ulid>,
}

/// A damaged block that was put into quarantine.
#[derive(Debug, Serialize)]
struct Shut<'a> {
    block: Ulid,
    reason: &'static str,
    details: &'a str,
    cure: &'a str,
}

/// Blocks that were left alone.
#[derive(Debug, Serialize)]
struct Left<'a> {
    why: &'static str,
    what: &'a str,
    cure: &'a str,
    blocks: Vec<Ulid>,
}

impl RunReport {
    /// The report as it is kept, see [`crate::compact::keep`]; `ended_ms` since
    /// the epoch.
    ///
    /// # Errors
    /// Never in practice: all of it can be written as JSON.
    pub fn to_json(&self, ended_ms: i64) -> Result<Vec<u8>> {
        let kept = Kept {
            schema: SCHEMA,
            version: env!("CARGO_PKG_VERSION"),
            ended_ms,
            seconds: self.seconds,
            passes: self.passes,
            blocks_seen: self.blocks_seen,
            partial: self.is_partial(),
            lanes: self.lanes.names(),
            requests: self.requests,
            ledger: self.ledger(),
            jobs: self.jobs.iter().map(job).collect(),
            failures: self.failures.iter().map(failed).collect(),
            garbage: &self.garbage,
            retired: &self.retired,
            no_compact: &self.no_compact,
            quarantined: self.quarantined.iter().map(shut).collect(),
            transfer_faults: self.transfer_faults,
            deleted: &self.deleted,
            deletions_left: self.deletions_left,
            retired_left: self.retired_left,
            cleaned: &self.cleaned,
            held: self.left_alone(),
            problems: self.unusable(),
        };
        serde_json::to_vec_pretty(&kept)
            .map_err(|e| Error::new(Kind::Internal, "cannot write the report").with_source(e))
    }

    fn left_alone(&self) -> Vec<Left<'_>> {
        let left = self.held.iter().map(|held| Left {
            why: held.why.as_str(),
            what: &held.what,
            cure: &held.cure,
            blocks: held.blocks.clone(),
        });
        left.collect()
    }

    fn unusable(&self) -> Vec<Left<'_>> {
        let left = self.problems.iter().map(|problem| Left {
            why: problem.kind.as_str(),
            what: &problem.what,
            cure: &problem.cure,
            blocks: vec![problem.block],
        });
        left.collect()
    }
}

fn job(job: &JobReport) -> Job<'_> {
    Job {
        group: job.group.to_string(),
        labels: &job.labels,
        resolution_ms: job.resolution,
        kind: job.kind.to_string(),
        reason: job.reason.to_string(),
        sources: &job.sources,
        result: job.result,
        min_time: job.range.0,
        max_time: job.range.1,
        bytes_in: job.bytes_in,
        bytes_out: job.bytes_out,
        scratch_bytes: job.scratch_bytes,
        series: job.series,
        seconds: job.seconds,
        ledger: job.ledger,
    }
}

fn shut(block: &Quarantined) -> Shut<'_> {
    Shut {
        block: block.block,
        reason: block.reason.as_str(),
        details: &block.details,
        cure: &block.cure,
    }
}

fn failed(failure: &Failure) -> Failed {
    let (task, blocks) = match &failure.task {
        Task::Compaction { sources, .. } => ("compaction", sources.clone()),
        Task::Mark(block) => ("mark", vec![*block]),
        Task::Deletion(block) => ("deletion", vec![*block]),
        Task::Cleanup(folder) => ("cleanup", vec![*folder]),
    };
    Failed {
        task,
        blocks,
        kind: failure.error.kind().as_str(),
        error: failure.error.chain(),
        cure: failure.error.cure().map(str::to_owned),
        blamed: failure.error.block(),
    }
}

/// Puts the report of a run into the bucket and removes the oldest ones.
/// Nothing is written for a run that found nothing to do. Returns the name of
/// the object.
///
/// # Errors
/// What the bucket fails with; the run itself is done by then.
pub async fn keep(
    bucket: &Bucket,
    report: &RunReport,
    clock: &dyn Clock,
) -> Result<Option<String>> {
    if report.is_idle() {
        return Ok(None);
    }
    let name = format!("{REPORTS}/{}.json", clock.new_ulid());
    bucket.put(&name, report.to_json(clock.now_ms())?).await?;
    let mut names: Vec<String> = bucket
        .list(REPORTS)
        .await?
        .into_iter()
        .map(|object| object.name)
        .collect();
    names.sort_unstable();
    let old = names.len().saturating_sub(REPORTS_KEPT);
    names.truncate(old);
    bucket.delete_many(&names, 8).await?;
    Ok(Some(name))
}
