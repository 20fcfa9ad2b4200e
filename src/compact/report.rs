//! What a run tells when it is over.

use std::ops::AddAssign;

use schemars::JsonSchema;
use serde::Serialize;
use ulid::Ulid;

use super::savings::Seen;
use crate::block::meta::Labels;
use crate::downsample;
use crate::error::Error;
use crate::merge::Ledger;
use crate::objstore::Counts;
use crate::plan::group::GroupKey;
use crate::plan::lint::Finding;
use crate::plan::view::Problem;
use crate::plan::{Held, JobKind, Lanes, Reason};
use crate::tsdb::Damage;

/// One compaction that was done.
#[derive(Debug, Clone)]
pub struct JobReport {
    /// The stream.
    pub group: GroupKey,
    /// External labels of the result.
    pub labels: Labels,
    /// Window of the samples in ms, 0 for raw.
    pub resolution: i64,
    /// How the sources lay to each other.
    pub kind: JobKind,
    /// Why they were merged.
    pub reason: Reason,
    /// What was merged.
    pub sources: Vec<Ulid>,
    /// The new block, of several the one of the highest resolution; `None` if
    /// no sample was left for one.
    pub result: Option<Ulid>,
    /// All new blocks, by resolution.
    pub results: Vec<ResultReport>,
    /// Range of the result, ms, end exclusive.
    pub range: (i64, i64),
    /// Bytes of index and segments of the sources.
    pub bytes_in: u64,
    /// Bytes of index and segments of the results.
    pub bytes_out: u64,
    /// Bytes written to scratch.
    pub scratch_bytes: u64,
    /// Series once merged.
    pub series: u64,
    /// The books.
    pub ledger: Ledger,
    /// Sources that were marked for deletion.
    pub replaced: Vec<Ulid>,
    /// Wall time of its stages.
    pub stages: Stages,
    /// Wall time, seconds, without the wait for its turn.
    pub seconds: f64,
}

/// Wall time of the stages of a job, seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, JsonSchema)]
pub struct Stages {
    /// Waiting until memory and scratch were free.
    pub wait: f64,
    /// Reading, decoding, encoding, and uploading segments, all at once.
    pub merge: f64,
    /// Checking and uploading the new indexes.
    pub index: f64,
    /// The last look: are the results still wanted.
    pub look: f64,
    /// Writing `meta.json` and comparing what is listed with it.
    pub verify: f64,
    /// Marks on the sources.
    pub marks: f64,
}

impl AddAssign for Stages {
    fn add_assign(&mut self, other: Self) {
        self.wait += other.wait;
        self.merge += other.merge;
        self.index += other.index;
        self.look += other.look;
        self.verify += other.verify;
        self.marks += other.marks;
    }
}

/// One block that a job made.
#[derive(Debug, Clone)]
pub struct ResultReport {
    /// The block.
    pub block: Ulid,
    /// Window of its samples in ms, 0 for raw.
    pub resolution: i64,
    /// Bytes of index and segments.
    pub bytes: u64,
    /// Bytes of the index.
    pub index_bytes: u64,
    /// Series.
    pub series: u64,
    /// Chunks.
    pub chunks: u64,
    /// Samples; windows for lower resolutions.
    pub samples: u64,
    /// The books of its downsampling; `None` for a merged block.
    pub counts: Option<downsample::Counts>,
}

/// A damaged block that is kept out of compactions and downsampling from now on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quarantined {
    /// The block.
    pub block: Ulid,
    /// What is wrong with it, as its marks say it.
    pub reason: Damage,
    /// File, place and what was found there, in one line.
    pub details: String,
    /// How to get it out again.
    pub cure: String,
}

/// One piece of work that failed.
#[derive(Debug)]
pub struct Failure {
    /// What should have been done.
    pub task: Task,
    /// Why it was not.
    pub error: Error,
}

/// What a run does to a bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Task {
    /// A compaction.
    Compaction {
        /// The stream.
        group: GroupKey,
        /// Its external labels.
        labels: Labels,
        /// What should have been merged.
        sources: Vec<Ulid>,
    },
    /// Lower resolutions of blocks that stay.
    Downsampling {
        /// The stream of the sources.
        group: GroupKey,
        /// Its external labels.
        labels: Labels,
        /// What should have been downsampled.
        sources: Vec<Ulid>,
    },
    /// A mark on a block.
    Mark(Ulid),
    /// The removal of a marked block.
    Deletion(Ulid),
    /// The removal of an upload that was given up.
    Cleanup(Ulid),
}

/// Everything that happened in one run.
#[derive(Debug, Default)]
pub struct RunReport {
    /// How often the bucket was looked at.
    pub passes: u32,
    /// Blocks in the bucket at the first look, marked ones included.
    pub blocks_seen: usize,
    /// Blocks that took part at any look, as of the last one that saw them.
    pub seen: Seen,
    /// Jobs in the order in which they ended.
    pub jobs: Vec<JobReport>,
    /// What failed.
    pub failures: Vec<Failure>,
    /// Blocks marked because another one had replaced them already.
    pub garbage: Vec<Ulid>,
    /// Blocks marked because their retention has passed.
    pub retired: Vec<Ulid>,
    /// Blocks that are kept out of compactions from now on.
    pub no_compact: Vec<Ulid>,
    /// Damaged blocks that were marked in this run.
    pub quarantined: Vec<Quarantined>,
    /// More damaged blocks were found than may be marked in one run; it ended
    /// early.
    pub quarantine_full: bool,
    /// How often a block that had been blamed was fine when read again.
    pub transfer_faults: u64,
    /// Blocks removed because their deletion mark was old enough.
    pub deleted: Vec<Ulid>,
    /// Such blocks that were left to a later run, as of the last plan, because
    /// no more may be removed in one.
    pub deletions_left: usize,
    /// Blocks past their retention that were not marked, for the same reason.
    pub retired_left: usize,
    /// Folders removed that were no blocks.
    pub cleaned: Vec<Ulid>,
    /// What the policy linter found at the first look.
    pub findings: Vec<Finding>,
    /// Work that is not done, as of the last plan.
    pub held: Vec<Held>,
    /// Folders that are no usable blocks, as of the last look.
    pub problems: Vec<Problem>,
    /// Why the lease was lost in the middle of the run, if it was; nothing was
    /// changed since.
    pub lease_lost: Option<Error>,
    /// The lanes that had work.
    pub lanes: Lanes,
    /// What was asked of the bucket.
    pub requests: Counts,
    /// Wall time, seconds.
    pub seconds: f64,
}

impl RunReport {
    /// True if something a person should look at was left undone.
    ///
    /// Uploads that are still under way do not count.
    pub fn is_partial(&self) -> bool {
        !self.failures.is_empty()
            || !self.quarantined.is_empty()
            || self.quarantine_full
            || self.lease_lost.is_some()
            || self.held.iter().any(|h| h.why.is_problem())
            || self.problems.iter().any(|p| !p.kind.is_partial())
    }

    /// Takes down and logs what failed.
    pub(super) fn fail(&mut self, task: Task, error: Error) {
        let kind = error.kind().as_str();
        let reason = error.damage().map(Damage::as_str);
        let (chain, cure) = (error.chain(), error.cure().unwrap_or(""));
        match &task {
            Task::Compaction { group, .. } => {
                tracing::error!(%group, kind, reason, error = chain, cure, "compaction failed");
            }
            Task::Downsampling { group, .. } => {
                tracing::error!(%group, kind, reason, error = chain, cure, "downsampling failed");
            }
            Task::Mark(block) => tracing::error!(%block, kind, error = chain, cure, "mark failed"),
            Task::Deletion(block) => {
                tracing::error!(%block, kind, error = chain, cure, "deletion failed");
            }
            Task::Cleanup(folder) => {
                tracing::error!(%folder, kind, error = chain, cure, "clean-up failed");
            }
        }
        self.failures.push(Failure { task, error });
    }

    /// The books of all compactions together.
    pub fn ledger(&self) -> Ledger {
        let mut sum = Ledger::default();
        for job in &self.jobs {
            sum += job.ledger;
        }
        sum
    }

    /// True if the run found nothing to do.
    pub fn is_idle(&self) -> bool {
        self.jobs.is_empty()
            && self.garbage.is_empty()
            && self.retired.is_empty()
            && self.no_compact.is_empty()
            && self.quarantined.is_empty()
            && self.deleted.is_empty()
            && self.cleaned.is_empty()
            && self.failures.is_empty()
    }

    /// Jobs that failed: compactions and downsampling.
    pub fn failed_jobs(&self) -> usize {
        let job =
            |f: &&Failure| matches!(f.task, Task::Compaction { .. } | Task::Downsampling { .. });
        self.failures.iter().filter(job).count()
    }
}

#[cfg(test)]
#[path = "report_tests.rs"]
mod tests;
