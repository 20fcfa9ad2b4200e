//! What a run has saved, computed from its report alone.
//!
//! ```text
//!  before + arrived + made - replaced - garbage - retired - gone = after
//! ```
//!
//! Terms, all for one stream (labels without those of replicas) and resolution:
//!
//! - A block **counts** if its `meta.json` can be read, it lies in this run's
//!   times and shard, and it has no deletion mark. Blocks that are too fresh,
//!   held or in quarantine count, too: their bytes are in the bucket.
//! - **before**: blocks that counted at the first look. **arrived**: blocks that
//!   a later look was the first to see, if no job of this run had made them.
//! - **made**: results of jobs. **replaced**, **garbage**, **retired**: blocks that
//!   this run marked; a block made and marked in one run is in both.
//!   **gone**: marked by somebody else, or by a job that failed afterwards.
//! - Bytes are those of index and segments, as listed. What is marked leaves the
//!   bucket only after the deletion delay, see `deleted` in the report.
//! - Ratios compare blocks with the raw ones that they were made from: never
//!   different ranges of time, and no raw block twice. 1h that was made of 5m
//!   compares with the raw blocks of the same origin, if the bucket still has
//!   them.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;
use ulid::Ulid;

use super::report::{JobReport, RunReport};
use crate::block::meta::{Labels, Meta};
use crate::downsample::{self, FIVE_MINUTES_MS, ONE_HOUR_MS};
use crate::plan::filter::{out_of_scope, strip};
use crate::plan::group::GroupKey;
use crate::plan::view::{BlockView, BucketView};
use crate::plan::{Settings, resolution_name};

/// Blocks that took part at any look of a run.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    blocks: BTreeMap<Ulid, SeenBlock>,
    looks: u32,
}

/// A block as of the last look that saw it.
#[derive(Debug, Clone)]
struct SeenBlock {
    labels: Labels,
    resolution: i64,
    size: Size,
    /// It was there, without deletion mark, at the first look.
    first: bool,
    marked: bool,
    /// `None` for a result of this run that no look has seen.
    meta: Option<Arc<Meta>>,
}

impl Seen {
    /// Takes down what a look has seen.
    pub fn look(&mut self, view: &BucketView, settings: &Settings) {
        self.looks += 1;
        for block in &view.blocks {
            if out_of_scope(block, settings).is_some() {
                continue;
            }
            let marked = block.deletion.is_some();
            if let Some(known) = self.blocks.get_mut(&block.id()) {
                known.marked |= marked;
            } else if !marked {
                let labels = strip(&block.meta.thanos.labels, &settings.replica_labels);
                self.blocks.insert(block.id(), self.seen(block, labels));
            }
        }
    }

    fn seen(&self, block: &BlockView, labels: Labels) -> SeenBlock {
        SeenBlock {
            labels,
            resolution: block.meta.thanos.downsample.resolution,
            size: Size {
                blocks: 1,
                bytes: block.data_bytes(),
                samples: block.meta.tsdb.stats.num_samples,
            },
            first: self.looks == 1,
            marked: false,
            meta: Some(Arc::clone(&block.meta)),
        }
    }

    /// The raw blocks of a stream that go back to exactly these level-1 blocks,
    /// together, without those that another one of them holds. `None` if some
    /// are missing, or if two overlap: each may have samples of the other.
    fn raw_of(&self, labels: &Labels, origin: &BTreeSet<Ulid>) -> Option<Size> {
        let of_origin = |block: &&SeenBlock| {
            let mut sources = block.sources().iter();
            block.resolution == 0 && block.labels == *labels && sources.all(|s| origin.contains(s))
        };
        let mut raw: Vec<&SeenBlock> = self.blocks.values().filter(of_origin).collect();
        raw.sort_by_key(|block| Reverse(block.sources().len()));
        let mut size = Size::default();
        let (mut found, mut ranges) = (BTreeSet::new(), Vec::new());
        for block in raw {
            if block.sources().iter().all(|s| found.contains(s)) {
                continue;
            }
            found.extend(block.sources().iter().copied());
            ranges.extend(block.range());
            size.add(block.size);
        }
        ranges.sort_unstable();
        let apart = ranges.windows(2).all(|two| two[0].1 <= two[1].0);
        (apart && size.blocks > 0 && found == *origin).then_some(size)
    }
}

impl SeenBlock {
    /// The level-1 blocks that it goes back to.
    fn sources(&self) -> &[Ulid] {
        let meta = self.meta.as_ref();
        meta.map_or(&[], |meta| meta.tsdb.source_ids())
    }

    /// Range in ms, end exclusive.
    fn range(&self) -> Option<(i64, i64)> {
        let meta = self.meta.as_ref()?;
        Some((meta.tsdb.min_time, meta.tsdb.max_time))
    }
}

/// Blocks, and what they hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Size {
    /// Blocks.
    pub blocks: u64,
    /// Bytes of index and segments.
    pub bytes: u64,
    /// Samples as `meta.json` states them; of lower resolutions windows, or what
    /// another program has counted there.
    pub samples: u64,
}

impl Size {
    fn add(&mut self, other: Self) {
        self.blocks = self.blocks.saturating_add(other.blocks);
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.samples = self.samples.saturating_add(other.samples);
    }

    fn sub(&mut self, other: Self) {
        self.blocks = self.blocks.saturating_sub(other.blocks);
        self.bytes = self.bytes.saturating_sub(other.bytes);
        self.samples = self.samples.saturating_sub(other.samples);
    }
}

/// One resolution of a stream, or of all streams.
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
pub struct Saved {
    /// Window of the samples in ms, 0 for raw.
    pub resolution_ms: i64,
    /// The same for people: `raw`, `5m`, `1h`.
    pub resolution: String,
    /// At the first look.
    pub before: Size,
    /// Seen by a later look first, and made by nobody here.
    pub arrived: Size,
    /// Results of jobs.
    pub made: Size,
    /// Sources that results stand in for.
    pub replaced: Size,
    /// Marked because other blocks held all of them before.
    pub garbage: Size,
    /// Marked because their retention has passed.
    pub retired: Size,
    /// Marked by somebody else, or by a job that failed later.
    pub gone: Size,
    /// What is left.
    pub after: Size,
    /// Samples that jobs have read from sources of this resolution.
    pub samples_read: u64,
    /// Of those, what is left once merged.
    pub samples_written: u64,
    /// Of those, what another source had, too.
    pub samples_deduplicated: u64,
    /// Of those, what tombstones or ranges of blocks exclude.
    pub samples_deleted: u64,
    /// Books of the downsampling into this resolution; all 0 for raw.
    pub downsampled: downsample::Counts,
    /// Set beside raw blocks. `None` if nothing was downsampled to this
    /// resolution, or if the raw blocks are gone, overlap, or are not all there.
    pub to_raw: Option<ToRaw>,
}

/// Blocks of a lower resolution beside the raw ones they were made from, summed
/// over jobs that wrote both, that had one raw source, or that made 1h of 5m
/// while the bucket still had the raw blocks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, JsonSchema)]
pub struct ToRaw {
    /// Bytes of the raw blocks.
    pub raw_bytes: u64,
    /// Samples of the raw blocks.
    pub raw_samples: u64,
    /// Bytes of the lower resolution.
    pub bytes: u64,
    /// Windows of the lower resolution.
    pub samples: u64,
    /// `bytes / raw_bytes`.
    pub bytes_ratio: f64,
    /// `samples / raw_samples`.
    pub samples_ratio: f64,
}

impl ToRaw {
    fn add(&mut self, raw: Size, lower: Size) {
        self.raw_bytes = self.raw_bytes.saturating_add(raw.bytes);
        self.raw_samples = self.raw_samples.saturating_add(raw.samples);
        self.bytes = self.bytes.saturating_add(lower.bytes);
        self.samples = self.samples.saturating_add(lower.samples);
        self.bytes_ratio = ratio(self.bytes, self.raw_bytes);
        self.samples_ratio = ratio(self.samples, self.raw_samples);
    }
}

fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        0.0
    } else {
        part as f64 / whole as f64
    }
}

/// A stream in all its resolutions.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct StreamSaved {
    /// External labels without those of replicas.
    pub labels: Labels,
    /// By resolution, ascending, with the names of groups as in the logs.
    pub groups: BTreeMap<String, Saved>,
}

/// What a run has saved.
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
pub struct Savings {
    /// All streams together, by resolution, ascending.
    pub total: Vec<Saved>,
    /// Each stream, by labels.
    pub streams: Vec<StreamSaved>,
}

type Table = BTreeMap<(Labels, i64), Saved>;

/// Computes what a run has saved.
pub fn savings(report: &RunReport) -> Savings {
    let mut table = Table::new();
    let made: BTreeMap<Ulid, SeenBlock> = report.jobs.iter().flat_map(results).collect();
    add_blocks(&mut table, report, &made);
    for job in &report.jobs {
        add_job(&mut table, job, &report.seen);
    }
    collect(table)
}

/// The blocks that a job made.
fn results(job: &JobReport) -> impl Iterator<Item = (Ulid, SeenBlock)> + '_ {
    job.results.iter().map(|result| {
        let block = SeenBlock {
            labels: job.labels.clone(),
            resolution: result.resolution,
            size: Size {
                blocks: 1,
                bytes: result.bytes,
                samples: result.samples,
            },
            first: false,
            marked: false,
            meta: None,
        };
        (result.block, block)
    })
}

fn add_blocks(table: &mut Table, report: &RunReport, made: &BTreeMap<Ulid, SeenBlock>) {
    let replaced: HashSet<Ulid> = report
        .jobs
        .iter()
        .flat_map(|j| j.replaced.clone())
        .collect();
    let garbage: HashSet<Ulid> = report.garbage.iter().copied().collect();
    let retired: HashSet<Ulid> = report.retired.iter().copied().collect();
    let seen = &report.seen.blocks;
    let others = seen.iter().filter(|(id, _)| !made.contains_key(id));
    for (id, block) in others.chain(made) {
        let row = row(table, &block.labels, block.resolution);
        let size = block.size;
        let came = if made.contains_key(id) {
            &mut row.made
        } else if block.first {
            &mut row.before
        } else {
            &mut row.arrived
        };
        came.add(size);
        row.after.add(size);
        let marked = block.marked || seen.get(id).is_some_and(|b| b.marked);
        let left = if replaced.contains(id) {
            &mut row.replaced
        } else if garbage.contains(id) {
            &mut row.garbage
        } else if retired.contains(id) {
            &mut row.retired
        } else if marked {
            &mut row.gone
        } else {
            continue;
        };
        left.add(size);
        row.after.sub(size);
    }
}

fn add_job(table: &mut Table, job: &JobReport, seen: &Seen) {
    let from = row(table, &job.labels, job.resolution);
    from.samples_read += job.ledger.read;
    from.samples_written += job.ledger.written;
    from.samples_deduplicated += job.ledger.deduplicated;
    from.samples_deleted += job.ledger.deleted;
    let raw = raw_side(job, seen);
    for (id, block) in results(job) {
        let row = row(table, &job.labels, block.resolution);
        let result = job.results.iter().find(|r| r.block == id);
        if let Some(counts) = result.and_then(|r| r.counts) {
            row.downsampled += counts;
        }
        if let Some(raw) = raw.filter(|_| block.resolution > job.resolution) {
            row.to_raw.get_or_insert_default().add(raw, block.size);
        }
    }
}

/// Raw blocks that lower resolutions of the job compare with: its own raw
/// result, or its one raw source. Several sources may overlap, and would count
/// twice what is left of them once. Where it read 5m, the raw blocks that those
/// were made from.
fn raw_side(job: &JobReport, seen: &Seen) -> Option<Size> {
    if job.resolution != 0 {
        let mut origin = BTreeSet::new();
        for source in &job.sources {
            origin.extend(seen.blocks.get(source)?.sources());
        }
        return seen.raw_of(&job.labels, &origin);
    }
    if let Some((_, raw)) = results(job).find(|(_, block)| block.resolution == 0) {
        return Some(raw.size);
    }
    match job.sources[..] {
        [source] => Some(Size {
            blocks: 1,
            bytes: job.bytes_in,
            samples: seen.blocks.get(&source)?.size.samples,
        }),
        _ => None,
    }
}

fn row<'a>(table: &'a mut Table, labels: &Labels, resolution: i64) -> &'a mut Saved {
    let new = || empty(resolution);
    table
        .entry((labels.clone(), resolution))
        .or_insert_with(new)
}

fn empty(resolution: i64) -> Saved {
    Saved {
        resolution_ms: resolution,
        resolution: resolution_name(resolution),
        ..Saved::default()
    }
}

impl Saved {
    fn add(&mut self, other: &Self) {
        self.before.add(other.before);
        self.arrived.add(other.arrived);
        self.made.add(other.made);
        self.replaced.add(other.replaced);
        self.garbage.add(other.garbage);
        self.retired.add(other.retired);
        self.gone.add(other.gone);
        self.after.add(other.after);
        self.samples_read += other.samples_read;
        self.samples_written += other.samples_written;
        self.samples_deduplicated += other.samples_deduplicated;
        self.samples_deleted += other.samples_deleted;
        self.downsampled += other.downsampled;
        if let Some(one) = &other.to_raw {
            let raw = Size {
                bytes: one.raw_bytes,
                samples: one.raw_samples,
                blocks: 0,
            };
            let lower = Size {
                bytes: one.bytes,
                samples: one.samples,
                blocks: 0,
            };
            self.to_raw.get_or_insert_default().add(raw, lower);
        }
    }
}

fn collect(table: Table) -> Savings {
    let mut total: BTreeMap<i64, Saved> = BTreeMap::new();
    let mut streams: Vec<StreamSaved> = Vec::new();
    for ((labels, resolution), saved) in table {
        total
            .entry(resolution)
            .or_insert_with(|| empty(resolution))
            .add(&saved);
        let group = GroupKey::of(resolution, &labels).to_string();
        match streams.last_mut().filter(|s| s.labels == labels) {
            Some(stream) => {
                stream.groups.insert(group, saved);
            }
            None => streams.push(StreamSaved {
                labels,
                groups: [(group, saved)].into(),
            }),
        }
    }
    Savings {
        total: total.into_values().collect(),
        streams,
    }
}

impl Savings {
    /// For a line of the log, sizes made readable by `bytes`: `41.2 GiB -> 18.0
    /// GiB raw, +2.1 GiB 5m, +0.2 GiB 1h`. A resolution that was there before
    /// has both sizes; one that changed not at all is left out.
    pub fn line(&self, bytes: impl Fn(u64) -> String) -> String {
        let changed = self.total.iter().filter(|s| s.before != s.after);
        let one = |saved: &Saved| {
            let (before, after) = (saved.before.bytes, saved.after.bytes);
            let lower = matches!(saved.resolution_ms, FIVE_MINUTES_MS | ONE_HOUR_MS);
            if before == 0 && lower {
                format!("+{} {}", bytes(after), saved.resolution)
            } else {
                format!("{} -> {} {}", bytes(before), bytes(after), saved.resolution)
            }
        };
        changed.map(one).collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
#[path = "savings_tests.rs"]
mod tests;
