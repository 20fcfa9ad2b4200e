//! Keeps what a run did in the bucket, for whoever asks months later.
//!
//! ```text
//!  lithify/reports/<ULID>.json     one per run that did or tried something
//! ```
//!
//! The ULID has the time at which the run ended, so names sort by time. Readers
//! of blocks ignore the folder: its name is no ULID. The newest
//! [`REPORTS_KEPT`] stay.

use schemars::JsonSchema;
use serde::Serialize;
use ulid::Ulid;

use super::report::{Failure, JobReport, Quarantined, ResultReport, RunReport, Stages, Task};
use super::savings::{Savings, savings};
use crate::block::meta::Labels;
use crate::downsample;
use crate::error::{Error, Kind, Result};
use crate::merge::Ledger;
use crate::objstore::{Bucket, Counts};
use crate::runtime::clock::Clock;

/// Folder of the reports in the bucket.
pub const REPORTS: &str = "lithify/reports";

/// Older reports than so many are removed.
pub const REPORTS_KEPT: usize = 200;

/// Name and version of the form.
pub const SCHEMA: &str = "lithify.report/2";

/// A run as JSON; times in ms since the epoch, sizes in bytes.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Kept<'a> {
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
    /// Before and after, by stream and resolution.
    savings: Savings,
    /// Stages of all jobs together; jobs that ran side by side add up.
    stages: StageTimes,
    jobs: Vec<Job<'a>>,
    failures: Vec<Failed>,
    #[schemars(with = "Vec<String>")]
    garbage: &'a [Ulid],
    #[schemars(with = "Vec<String>")]
    retired: &'a [Ulid],
    #[schemars(with = "Vec<String>")]
    no_compact: &'a [Ulid],
    quarantined: Vec<Shut<'a>>,
    transfer_faults: u64,
    /// Somebody else may have taken over before the end; the run broke off.
    lease_lost: bool,
    #[schemars(with = "Vec<String>")]
    deleted: &'a [Ulid],
    /// Blocks that a limit has left to a later run.
    deletions_left: usize,
    retired_left: usize,
    #[schemars(with = "Vec<String>")]
    cleaned: &'a [Ulid],
    held: Vec<Left<'a>>,
    problems: Vec<Left<'a>>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Job<'a> {
    group: String,
    labels: &'a Labels,
    resolution_ms: i64,
    kind: String,
    reason: String,
    #[schemars(with = "Vec<String>")]
    sources: &'a [Ulid],
    #[schemars(with = "Option<String>")]
    result: Option<Ulid>,
    min_time: i64,
    max_time: i64,
    bytes_in: u64,
    bytes_out: u64,
    scratch_bytes: u64,
    series: u64,
    seconds: f64,
    ledger: Ledger,
    stages: StageTimes,
    /// All new blocks, by resolution.
    results: Vec<Made>,
    /// Sources that were marked for deletion.
    #[schemars(with = "Vec<String>")]
    replaced: &'a [Ulid],
}

/// One new block.
#[derive(Debug, Serialize, JsonSchema)]
struct Made {
    #[schemars(with = "String")]
    block: Ulid,
    resolution_ms: i64,
    bytes: u64,
    index_bytes: u64,
    series: u64,
    chunks: u64,
    /// Windows for lower resolutions.
    samples: u64,
    /// The books of its downsampling; none for a merged block.
    downsampled: Option<downsample::Counts>,
}

/// Where the time went; rates are 0 where nothing was measured.
#[derive(Debug, Serialize, JsonSchema)]
struct StageTimes {
    seconds: Stages,
    /// Bytes of the sources per second of the merge.
    merge_in_bytes_per_second: f64,
    /// Bytes of the new segments per second of the merge.
    merge_out_bytes_per_second: f64,
    /// Bytes of the new indexes per second of their check and upload.
    index_bytes_per_second: f64,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Failed {
    task: &'static str,
    #[schemars(with = "Vec<String>")]
    blocks: Vec<Ulid>,
    kind: &'static str,
    error: String,
    cure: Option<String>,
    #[schemars(with = "Option<String>")]
    blamed: Option<Ulid>,
}

/// A damaged block that was put into quarantine.
#[derive(Debug, Serialize, JsonSchema)]
struct Shut<'a> {
    #[schemars(with = "String")]
    block: Ulid,
    reason: &'static str,
    details: &'a str,
    cure: &'a str,
}

/// Blocks that were left alone.
#[derive(Debug, Serialize, JsonSchema)]
struct Left<'a> {
    why: &'static str,
    what: &'a str,
    cure: &'a str,
    #[schemars(with = "Vec<String>")]
    blocks: Vec<Ulid>,
}

/// The JSON schema of a report, as it stands in `docs/report.schema.json`.
pub fn schema() -> schemars::Schema {
    schemars::schema_for!(Kept<'_>)
}

impl RunReport {
    /// The report as it is kept, see [`crate::compact::keep`]; `ended_ms` since
    /// the epoch.
    ///
    /// # Errors
    /// Never in practice: all of it can be written as JSON.
    pub fn to_json(&self, ended_ms: i64) -> Result<Vec<u8>> {
        serde_json::to_vec_pretty(&self.kept(ended_ms))
            .map_err(|e| Error::new(Kind::Internal, "cannot write the report").with_source(e))
    }

    /// The same as values.
    pub(super) fn kept(&self, ended_ms: i64) -> Kept<'_> {
        Kept {
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
            savings: savings(self),
            stages: stage_times(&self.jobs),
            jobs: self.jobs.iter().map(job).collect(),
            failures: self.failures.iter().map(failed).collect(),
            garbage: &self.garbage,
            retired: &self.retired,
            no_compact: &self.no_compact,
            quarantined: self.quarantined.iter().map(shut).collect(),
            transfer_faults: self.transfer_faults,
            lease_lost: self.lease_lost.is_some(),
            deleted: &self.deleted,
            deletions_left: self.deletions_left,
            retired_left: self.retired_left,
            cleaned: &self.cleaned,
            held: self.left_alone(),
            problems: self.unusable(),
        }
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
        stages: stage_times(std::slice::from_ref(job)),
        results: job.results.iter().map(made).collect(),
        replaced: &job.replaced,
    }
}

fn made(result: &ResultReport) -> Made {
    Made {
        block: result.block,
        resolution_ms: result.resolution,
        bytes: result.bytes,
        index_bytes: result.index_bytes,
        series: result.series,
        chunks: result.chunks,
        samples: result.samples,
        downsampled: result.counts,
    }
}

fn stage_times(jobs: &[JobReport]) -> StageTimes {
    let mut seconds = Stages::default();
    let (mut read, mut indexes, mut segments) = (0_u64, 0_u64, 0_u64);
    for job in jobs {
        seconds += job.stages;
        read = read.saturating_add(job.bytes_in);
        for result in &job.results {
            indexes += result.index_bytes;
            segments += result.bytes.saturating_sub(result.index_bytes);
        }
    }
    let rate = |bytes: u64, seconds: f64| {
        if seconds > 0.0 {
            bytes as f64 / seconds
        } else {
            0.0
        }
    };
    StageTimes {
        merge_in_bytes_per_second: rate(read, seconds.merge),
        merge_out_bytes_per_second: rate(segments, seconds.merge),
        index_bytes_per_second: rate(indexes, seconds.index),
        seconds,
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
        Task::Downsampling { sources, .. } => ("downsampling", sources.clone()),
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
