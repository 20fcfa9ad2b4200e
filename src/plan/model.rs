//! The plan and what it is made of: plain values that a dry run prints and a
//! run executes.

use std::fmt;
use std::sync::Arc;

use ulid::Ulid;

use super::cost::Cost;
use super::filter::{LiveBlock, State};
use super::group::GroupKey;
use super::lanes::Lanes;
use super::lower::LowerCost;
use super::policy::StreamPolicy;
use super::removal::Removal;
use super::retention::{Retired, Waits};
use crate::block::meta::Labels;
use crate::merge::{Dedup, Products};

/// What a run will do, in the order in which it does it, and what it will not.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// Kinds of work that stand in it; others were left out.
    pub lanes: Lanes,
    /// Marked blocks whose delay has passed: their objects are removed.
    pub deletions: Vec<Deletion>,
    /// Such blocks that stay until a later run, because of
    /// [`Settings::max_deletions`](super::Settings::max_deletions).
    pub deletions_left: usize,
    /// Blocks that another block has replaced and that still lack a mark.
    pub garbage: Vec<Garbage>,
    /// Blocks past their retention that may go and still lack a mark,
    /// ascending by ULID.
    pub retired: Vec<Retired>,
    /// Such blocks that are left to a later run, for the same reason as
    /// `deletions_left`.
    pub retired_left: usize,
    /// Blocks to be kept out of compactions from now on.
    pub marks: Vec<NoCompact>,
    /// Compactions; no block is a source of two of them.
    pub jobs: Vec<Job>,
    /// Uploads that were given up: their objects are removed.
    pub partials: Vec<Cleanup>,
    /// Work that is not done, and why.
    pub held: Vec<Held>,
    /// Streams where planning ended early: what comes next depends on the real
    /// sizes of what the jobs make.
    pub cuts: Vec<Cut>,
    /// Blocks that take part in nothing, ascending by ULID.
    pub excluded: Vec<(Ulid, State)>,
    /// Every stream with its blocks before and after.
    pub streams: Vec<Stream>,
    /// When the bytes of marked blocks go, and of those that are to be marked.
    pub removals: Vec<Removal>,
    /// Blocks whose downsampling makes no sense, since the result would be
    /// retired at once, ascending by ULID.
    pub pointless: Vec<Ulid>,
}

impl Plan {
    /// True if executing it changes nothing.
    pub fn is_empty(&self) -> bool {
        self.jobs.is_empty()
            && self.garbage.is_empty()
            && self.retired.is_empty()
            && self.marks.is_empty()
            && self.deletions.is_empty()
            && self.partials.is_empty()
    }

    /// Brings what streams say of future blocks in line with the costs of the
    /// jobs that make them, once those were measured.
    pub fn refresh_tiles(&mut self) {
        for tile in self.streams.iter_mut().flat_map(|s| &mut s.after) {
            if let Some(job) = tile.job.and_then(|job| self.jobs.get(job)) {
                let lower = job.cost.lower.iter();
                let of = lower.clone().find(|l| l.resolution == tile.resolution);
                tile.bytes = of.map_or(job.cost.bytes, |l| l.bytes);
                tile.samples = of.map_or(job.cost.samples, |l| l.samples);
            }
        }
    }

    /// True if something that a person should look at is left undone.
    pub fn has_problems(&self) -> bool {
        self.held.iter().any(|h| h.why.is_problem())
    }
}

/// These blocks into one, or into one of each wanted resolution.
#[derive(Debug, Clone)]
pub struct Job {
    /// The stream.
    pub group: GroupKey,
    /// External labels of the result.
    pub labels: Labels,
    /// Window of the sources' samples in ms, 0 for raw.
    pub resolution: i64,
    /// What is made: the merged block, lower resolutions of it, or both.
    pub products: Products,
    /// How samples of several sources become one series.
    pub dedup: Dedup,
    /// What is merged, by min time, then ULID.
    pub sources: Vec<LiveBlock>,
    /// Where each source comes in, in the order of `sources`.
    pub places: Vec<Place>,
    /// Compactions that are done as one; 1 for a single step.
    pub steps: u32,
    /// `compaction.level` of the result: as if done step by step.
    pub level: u32,
    /// Whether sources overlap in time.
    pub kind: JobKind,
    /// Why the last of its steps is due.
    pub reason: Reason,
    /// What it will cost and make.
    pub cost: Cost,
}

/// Where a source comes into a job: its first compaction, were they done step
/// by step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Range of that step's result, ms, end exclusive: samples outside of it
    /// do not get further.
    pub keep: (i64, i64),
    /// Number of a connected run of overlapping sources: only among those of
    /// one run are replicas told apart. Sources side by side have their own.
    pub run: u32,
}

impl Job {
    /// Start of the result's range, ms.
    pub fn min_time(&self) -> i64 {
        let starts = self.sources.iter().map(LiveBlock::min_time);
        starts.min().unwrap_or(0)
    }

    /// End of the result's range, ms, exclusive.
    pub fn max_time(&self) -> i64 {
        let ends = self.sources.iter().map(LiveBlock::max_time);
        ends.max().unwrap_or(0)
    }

    /// Bytes of index and segments of all sources.
    pub fn input_bytes(&self) -> u64 {
        self.sources.iter().map(|b| b.view.data_bytes()).sum()
    }

    /// Whether it only makes lower resolutions: its sources stay.
    pub fn only_downsamples(&self) -> bool {
        !self.products.merged
    }

    /// What it will make: the merged block, if that is wanted, then lower
    /// resolutions.
    pub fn made(&self) -> Vec<LowerCost> {
        let cost = &self.cost;
        let merged = self.products.merged.then_some(LowerCost {
            resolution: self.resolution,
            bytes: cost.bytes,
            index_bytes: cost.index_bytes,
            samples: cost.samples,
            series: cost.series,
        });
        merged
            .into_iter()
            .chain(cost.lower.iter().cloned())
            .collect()
    }

    /// Names of the sources.
    pub fn source_ids(&self) -> Vec<Ulid> {
        self.sources.iter().map(LiveBlock::id).collect()
    }
}

/// How the sources of a job lie to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobKind {
    /// Side by side.
    Horizontal,
    /// At least two overlap.
    Vertical,
    /// They stay as they are; a block of lower resolution is made from them.
    Downsampling,
}

impl fmt::Display for JobKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Horizontal => "horizontal",
            Self::Vertical => "vertical",
            Self::Downsampling => "downsampling",
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
    /// It is long enough for a lower resolution, which has not all its sources.
    Downsample,
    /// Downsampled blocks overlap: they are made anew from what they were made
    /// from.
    Rebuild,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Overlap => f.write_str("overlap"),
            Self::Range(ms) => write!(f, "range {}", length(*ms)),
            Self::Tombstones => f.write_str("tombstones"),
            Self::Downsample => f.write_str("downsample"),
            Self::Rebuild => f.write_str("rebuild"),
        }
    }
}

/// A resolution for people: `raw`, `5m`, `1h`.
pub fn resolution_name(ms: i64) -> String {
    if ms == 0 {
        "raw".to_owned()
    } else {
        length(ms)
    }
}

/// A length for people: `2h`, `8h`, `2d`, `14d`, `30m`; odd ones in ms.
pub fn length(ms: i64) -> String {
    const UNITS: [(i64, &str); 4] = [
        (86_400_000, "d"),
        (3_600_000, "h"),
        (60_000, "m"),
        (1000, "s"),
    ];
    let whole = UNITS.iter().find(|(unit, _)| ms > 0 && ms % unit == 0);
    match whole {
        Some((unit, name)) => format!("{}{name}", ms / unit),
        None => format!("{ms}ms"),
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

/// A block that is to be removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deletion {
    /// The block.
    pub block: Ulid,
    /// When it was marked, ms since the epoch.
    pub marked_ms: i64,
    /// Why it was marked.
    pub details: String,
    /// Objects in its folder.
    pub objects: u64,
    /// Bytes of all of them.
    pub bytes: u64,
}

/// A folder without usable `meta.json` that is to be removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cleanup {
    /// The folder.
    pub folder: Ulid,
    /// Why.
    pub why: CleanupReason,
    /// Latest change of any of its objects, ms since the epoch.
    pub modified_ms: i64,
    /// Objects in it.
    pub objects: u64,
    /// Bytes of all of them.
    pub bytes: u64,
}

/// Why a folder is no block and will not become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CleanupReason {
    /// No `meta.json`, and nothing was uploaded for long.
    AbortedUpload,
    /// A `meta.json` that is no JSON, and nothing was uploaded for long.
    CorruptedMeta,
    /// Somebody began to delete it and did not finish.
    UnfinishedDeletion,
}

impl CleanupReason {
    /// For people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AbortedUpload => "aborted upload",
            Self::CorruptedMeta => "corrupted meta.json",
            Self::UnfinishedDeletion => "unfinished deletion",
        }
    }
}

/// A block that is to be kept out of compactions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoCompact {
    /// The block.
    pub block: Ulid,
    /// Why.
    pub reason: NoCompactReason,
    /// The same for people.
    pub details: String,
}

/// Reasons that the marker knows, by upstream's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoCompactReason {
    /// The result's index could become too large.
    IndexSizeExceeding,
    /// Downsampled blocks that overlap cannot be merged.
    DownsampleVerticalCompaction,
}

impl NoCompactReason {
    /// As it stands in the marker.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::IndexSizeExceeding => "index-size-exceeding",
            Self::DownsampleVerticalCompaction => "downsample-vertical-compaction",
        }
    }
}

/// Work that is not done, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The stream.
    pub group: GroupKey,
    /// Its external labels.
    pub labels: Arc<Labels>,
    /// Why, for programs.
    pub why: HeldReason,
    /// Why, for people.
    pub what: String,
    /// How to get it done.
    pub cure: String,
    /// The blocks it is about.
    pub blocks: Vec<Ulid>,
    /// Their range, ms, end exclusive.
    pub range: (i64, i64),
}

/// Why blocks are left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeldReason {
    /// They overlap, and merging them was not allowed.
    OverlapNotAllowed,
    /// Its files are not as `meta.json` states, or it was found damaged while
    /// it was read.
    Damaged,
    /// It was marked because it is damaged.
    Quarantined,
    /// It carries a no-compact mark.
    NoCompactMark,
    /// Somebody made Parquet files of it, which would be left behind.
    ParquetMigrated,
    /// Prometheus failed to compact it; its windows wait.
    CompactionFailed,
    /// Their compaction needs more scratch than there is.
    Scratch,
    /// Its retention has passed, but nothing of lower resolution stands in for
    /// it yet.
    AwaitsDownsampling {
        /// When its retention passed, ms since the epoch.
        expired_ms: i64,
        /// What has to come first.
        waits: Waits,
    },
}

impl HeldReason {
    /// True if a person should look at it; the others are as intended.
    pub fn is_problem(self) -> bool {
        matches!(
            self,
            Self::OverlapNotAllowed
                | Self::Damaged
                | Self::Scratch
                | Self::AwaitsDownsampling {
                    waits: Waits::Acknowledgement,
                    ..
                }
        )
    }

    /// Stable name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OverlapNotAllowed => "overlap-not-allowed",
            Self::Damaged => "damaged",
            Self::Quarantined => "quarantined",
            Self::NoCompactMark => "no-compact-mark",
            Self::ParquetMigrated => "parquet-migrated",
            Self::CompactionFailed => "compaction-failed",
            Self::Scratch => "scratch",
            Self::AwaitsDownsampling { .. } => "awaits-downsampling",
        }
    }
}

/// Where the planning of a stream ended early.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// The stream.
    pub group: GroupKey,
    /// Range of the compaction that was not planned, ms, end exclusive.
    pub range: (i64, i64),
    /// Why.
    pub why: CutReason,
}

/// Why a chain of compactions is not collapsed any further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CutReason {
    /// The indexes together could exceed the limit; how large the merged ones
    /// really are is not known yet.
    IndexSize,
    /// It would take longer than `--max-job-time`.
    JobTime,
    /// It would need more scratch than there is.
    Scratch,
}

impl CutReason {
    /// For people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::IndexSize => "index size",
            Self::JobTime => "job time",
            Self::Scratch => "scratch",
        }
    }
}

/// A stream with its blocks now and once the plan was executed.
#[derive(Debug, Clone)]
pub struct Stream {
    /// Its name.
    pub key: GroupKey,
    /// External labels without the replica labels.
    pub labels: Labels,
    /// What holds for it.
    pub policy: StreamPolicy,
    /// Numbers, from 1, of the rules of the policy that match it.
    pub rules: Vec<usize>,
    /// Blocks that take part, and those that are retired, by min time.
    pub before: Vec<Tile>,
    /// Blocks that are left, by min time.
    pub after: Vec<Tile>,
}

/// A block as a timeline shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct Tile {
    /// Its name; `None` for one that a job will make.
    pub block: Option<Ulid>,
    /// The job that makes it, or takes it as a source: an index into
    /// [`Plan::jobs`].
    pub job: Option<usize>,
    /// Window of its samples in ms, 0 for raw.
    pub resolution: i64,
    /// Range, ms, end exclusive.
    pub range: (i64, i64),
    /// `compaction.level`.
    pub level: u32,
    /// Bytes of index and segments: at least and at most.
    pub bytes: (u64, u64),
    /// Bytes of its index; 0 for one that a job will make.
    pub index_bytes: u64,
    /// Samples: at least and at most.
    pub samples: (u64, u64),
    /// Kept out of compactions.
    pub no_compact: bool,
    /// It is damaged, whether it is marked for that or not.
    pub damaged: bool,
}
