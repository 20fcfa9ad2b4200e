//! The plan and what it is made of: plain values that a dry run prints and a
//! run executes.

use std::fmt;
use std::sync::Arc;

use ulid::Ulid;

use super::filter::LiveBlock;
use super::group::{Group, GroupKey};
use crate::block::meta::Labels;

/// Block ranges of `thanos compact`, ms: 1h is only the smallest block size,
/// nothing is ever merged into 1h.
pub const RANGES_MS: [i64; 5] = [3_600_000, 7_200_000, 28_800_000, 172_800_000, 1_209_600_000];

/// Everything the planner may depend on besides the bucket and the time.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Minimum age of a block that an ingesting component uploaded, ms.
    pub consistency_delay_ms: i64,
    /// Age of a deletion mark at which the block is removed, ms. A marked
    /// block takes part in nothing once half of it has passed.
    pub delete_delay_ms: i64,
    /// External labels that tell replicas apart, ascending.
    pub replica_labels: Vec<String>,
    /// Blocks whose times overlap may be merged.
    pub vertical: bool,
    /// Block ranges, ascending, ms; the first is only the smallest size.
    pub ranges_ms: Vec<i64>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            consistency_delay_ms: 30 * 60 * 1000,
            delete_delay_ms: 48 * 3600 * 1000,
            replica_labels: Vec::new(),
            vertical: false,
            ranges_ms: RANGES_MS.to_vec(),
        }
    }
}

/// What a run will do.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// Compactions; no block is a source of two of them.
    pub jobs: Vec<Job>,
    /// Blocks that another block has replaced and that still lack a mark.
    pub garbage: Vec<Garbage>,
    /// Groups where something would have to be done and is not.
    pub held: Vec<Held>,
}

impl Plan {
    /// True if executing it changes nothing.
    pub fn is_empty(&self) -> bool {
        self.jobs.is_empty() && self.garbage.is_empty()
    }
}

/// One compaction: these blocks into one.
#[derive(Debug, Clone)]
pub struct Job {
    /// The stream.
    pub group: GroupKey,
    /// External labels of the result.
    pub labels: Labels,
    /// Window of the samples in ms, 0 for raw.
    pub resolution: i64,
    /// What is merged, by min time, then ULID.
    pub sources: Vec<LiveBlock>,
    /// Whether sources overlap in time.
    pub kind: JobKind,
    /// Why now.
    pub reason: Reason,
}

/// How the sources of a job lie to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobKind {
    /// Side by side.
    Horizontal,
    /// At least two overlap.
    Vertical,
}

impl fmt::Display for JobKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Horizontal => "horizontal",
            Self::Vertical => "vertical",
        })
    }
}

/// Why the planner picked a set of blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Their times overlap.
    Overlap,
    /// They lie in one window of this many ms that is complete or past.
    Range(i64),
    /// One large block with more than 5 % of its series touched by deletions.
    Tombstones,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Overlap => f.write_str("overlap"),
            Self::Range(ms) => write!(f, "range {}", hours(*ms)),
            Self::Tombstones => f.write_str("tombstones"),
        }
    }
}

/// `2h`, `8h`, `2d`, `14d`; other lengths in ms.
fn hours(ms: i64) -> String {
    const HOUR: i64 = 3_600_000;
    match ms {
        ms if ms > 0 && ms % (24 * HOUR) == 0 => format!("{}d", ms / (24 * HOUR)),
        ms if ms > 0 && ms % HOUR == 0 => format!("{}h", ms / HOUR),
        ms => format!("{ms}ms"),
    }
}

impl Job {
    pub(super) fn new(group: &Group, sources: Vec<LiveBlock>, reason: Reason) -> Self {
        let overlap = sources
            .iter()
            .scan(i64::MIN, |end, b| {
                let hit = b.min_time() < *end;
                *end = (*end).max(b.max_time());
                Some(hit)
            })
            .any(|hit| hit);
        Self {
            group: group.key,
            labels: group.labels.clone(),
            resolution: group.resolution,
            sources,
            kind: if overlap {
                JobKind::Vertical
            } else {
                JobKind::Horizontal
            },
            reason,
        }
    }

    /// Start of the result's range, ms.
    pub fn min_time(&self) -> i64 {
        self.sources
            .iter()
            .map(LiveBlock::min_time)
            .min()
            .unwrap_or(0)
    }

    /// End of the result's range, ms, exclusive.
    pub fn max_time(&self) -> i64 {
        self.sources
            .iter()
            .map(LiveBlock::max_time)
            .max()
            .unwrap_or(0)
    }

    /// Bytes of index and segments of all sources.
    pub fn input_bytes(&self) -> u64 {
        self.sources.iter().map(|b| b.view.data_bytes()).sum()
    }
}

/// A block that another one has replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Garbage {
    /// The block to mark.
    pub block: Ulid,
    /// The block whose sources contain all of its own.
    pub covered_by: Ulid,
}

/// Work that is not done, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The stream.
    pub group: GroupKey,
    /// Its external labels.
    pub labels: Arc<Labels>,
    /// Why, for people.
    pub what: String,
    /// How to get it done.
    pub cure: String,
    /// The blocks it is about.
    pub blocks: Vec<Ulid>,
}

impl Held {
    /// Blocks of a group, by index, that overlap and may not be merged:
    /// aggregates of different samples cannot be, others need permission.
    pub(super) fn overlap(group: &Group, blocks: &[usize]) -> Self {
        let (what, cure) = if group.resolution != 0 {
            (
                "downsampled blocks of this stream overlap in time and cannot be merged",
                "keep all but one of them out of compactions with no-compact-mark.json, \
                 as thanos does by itself",
            )
        } else {
            (
                "blocks of this stream overlap in time",
                "give the label that tells the replicas apart with \
                 --deduplication.replica-label, or allow merging with \
                 --compact.enable-vertical-compaction",
            )
        };
        Self {
            group: group.key,
            labels: Arc::new(group.labels.clone()),
            what: format!("{} {what}", blocks.len()),
            cure: cure.to_owned(),
            blocks: blocks.iter().map(|&i| group.blocks[i].id()).collect(),
        }
    }
}
