//! What a compaction will read, make and cost, as far as the listing tells.
//!
//! Sizes and counts come from the listing and from `meta.json`. What nobody
//! can know without reading the blocks is given as a range whose ends can be
//! reached: replicas may have equal samples or none in common, blocks equal
//! series or none in common.
//!
//! ```text
//!  series     largest source .. all sources together
//!  samples    side by side: all of them
//!             overlapping: those of the fullest replica .. all of them
//!  chunks     side by side: as they are (they pass through)
//!             overlapping: those of the fullest replica .. all, times what
//!             mixed times cost in compression
//!  index      largest source .. all sources together
//! ```

use schemars::JsonSchema;
use serde::Serialize;

use super::filter::LiveBlock;
use super::lower::{self, LowerCost};
use super::memory::{BASE_BYTES, JobMemory, JobSizes};
use super::model::Place;
use crate::block::INDEX;
use crate::block::io::window_bytes;
use crate::block::meta::Labels;
use crate::merge::{Dedup, Products};

/// What predictions are made for.
#[derive(Debug, Clone, PartialEq)]
pub struct Machine {
    /// Threads that decode and encode.
    pub threads: usize,
    /// What the run may take of the memory, bytes.
    pub memory_bytes: u64,
    /// What all files in scratch may take, bytes.
    pub scratch_bytes: u64,
    /// Compactions and downsampling jobs may run side by side: those of one
    /// kind leave a quarter of memory and scratch to the other.
    pub two_lanes: bool,
    /// Each job says in the bucket what it is about to make, as runs with a lease
    /// do.
    pub intents: bool,
    /// Bytes of one part of an upload, unless memory is short.
    pub part_bytes: u64,
    /// The bucket takes no smaller part, bytes.
    pub least_part_bytes: u64,
    /// Read-ahead past which the bucket gets no faster, bytes.
    pub most_read_ahead_bytes: u64,
    /// Bytes per second that the bucket delivers or takes.
    pub bucket_bytes_per_second: f64,
    /// CPU time of one sample that is decoded and mixed, ns.
    pub mix_ns: f64,
    /// CPU time of one sample that passes, ns.
    pub pass_ns: f64,
    /// CPU time of one sample that is downsampled, ns.
    pub downsample_ns: f64,
    /// Time for one series of a source, ns; not spread over threads.
    pub series_ns: f64,
    /// Time for opening a source and marking it, seconds; not spread.
    pub source_seconds: f64,
}

impl Default for Machine {
    /// As measured with `benches/run` on 2 shared cores and a folder bucket.
    fn default() -> Self {
        Self {
            threads: 1,
            memory_bytes: 4 << 30,
            scratch_bytes: u64::MAX,
            two_lanes: true,
            intents: false,
            part_bytes: 8 << 20,
            least_part_bytes: 5 << 20,
            most_read_ahead_bytes: 128 << 20,
            bucket_bytes_per_second: 400e6,
            mix_ns: 17.0,
            pass_ns: 3.0,
            downsample_ns: 10.0,
            series_ns: 700.0,
            source_seconds: 0.001,
        }
    }
}

/// At least and at most.
pub type Span = (u64, u64);

/// What a job will read, make and cost.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Cost {
    /// Bytes of index and segments of the sources.
    pub bytes_in: u64,
    /// Bytes of the sources' indexes.
    pub index_bytes_in: u64,
    /// Samples in the sources.
    pub samples_in: u64,
    /// Index entries of the sources.
    pub series_in: u64,
    /// Chunks in the sources.
    pub chunks_in: u64,
    /// Bytes of index and segments of the merged block; none where it is only
    /// downsampled.
    pub bytes: Span,
    /// Bytes of the merged block's index.
    pub index_bytes: Span,
    /// The blocks of lower resolution.
    pub lower: Vec<LowerCost>,
    /// Bytes in scratch: the index, and tables for which memory is too small.
    pub scratch_bytes: Span,
    /// Samples once merged.
    pub samples: Span,
    /// Series once merged.
    pub series: Span,
    /// How the job divides its memory.
    pub memory: JobMemory,
    /// Peak of memory if the job runs alone, bytes.
    pub memory_bytes: u64,
    /// Requests by kind.
    pub requests: Requests,
    /// Wall time, seconds.
    pub seconds: f64,
    /// One in how many series was read to measure the result; `None` while it
    /// is known from the listing only.
    pub sampled: Option<u32>,
}

impl Cost {
    /// What the division of memory depends on.
    pub fn sizes(&self) -> JobSizes {
        JobSizes {
            bytes_in: self.bytes_in,
            index_bytes_in: self.index_bytes_in,
            bytes_out: self.bytes_out().1,
            blocks_out: u64::from(self.bytes.1 > 0) + self.lower.len() as u64,
        }
    }
}

/// Requests by kind, counted as a store bills them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Requests {
    /// Pages of listings.
    pub list: u64,
    /// Metadata requests.
    pub head: u64,
    /// Objects and ranges read.
    pub get: u64,
    /// Objects and parts written, uploads begun and completed.
    pub put: u64,
    /// Those of them that belong to uploads in parts: each part, the begin and
    /// the end.
    pub parts: u64,
    /// Requests that delete one object, or up to 1,000 where the store takes
    /// that many.
    pub delete: u64,
}

impl std::ops::AddAssign for Requests {
    fn add_assign(&mut self, other: Self) {
        self.list += other.list;
        self.head += other.head;
        self.get += other.get;
        self.put += other.put;
        self.parts += other.parts;
        self.delete += other.delete;
    }
}

/// How much mixing the times of two replicas costs in compression: chunks of
/// the result may take this many times the bytes of the sources' chunks.
const MIXED_GROWTH: f64 = 2.2;

/// The least share of the fullest replica's samples that `penalty` keeps: it
/// loses the scrapes in which it changes replicas.
const PENALTY_KEEPS: f64 = 0.8;

/// Predicts a job over `sources` that makes `products`; `places` says which of
/// them overlap.
pub fn predict(
    sources: &[LiveBlock],
    places: &[Place],
    (products, dedup): (Products, Dedup),
    machine: &Machine,
) -> Cost {
    let mut cost = Cost::default();
    let mut chunk_bytes: Span = (0, 0);
    let mut mixed = 0;
    for run in runs(sources, places) {
        let run_cost = run.predict(dedup);
        chunk_bytes.0 += run_cost.chunk_bytes.0;
        chunk_bytes.1 += run_cost.chunk_bytes.1;
        cost.samples.0 += run_cost.samples.0;
        cost.samples.1 += run_cost.samples.1;
        mixed += run_cost.mixed;
    }
    for source in sources {
        let index = source.view.index_bytes();
        cost.bytes_in += source.view.data_bytes();
        cost.index_bytes_in += index;
        cost.samples_in += source.samples();
        cost.series_in += source.series();
        cost.chunks_in += source.chunks();
        cost.series.0 = cost.series.0.max(source.series());
        cost.index_bytes.0 = cost.index_bytes.0.max(index);
    }
    cost.series.1 = cost.series_in;
    cost.index_bytes.1 = cost.index_bytes_in.max(cost.index_bytes.0);
    // A symbol table is padded, a mixed series has other chunks: the index of
    // the result may be a little smaller than that of its largest source.
    cost.index_bytes.0 = cost.index_bytes.0 * 9 / 10;
    cost.lower = lower::predict(&cost, sources, products);
    if products.merged {
        cost.bytes = (
            chunk_bytes.0 + cost.index_bytes.0,
            chunk_bytes.1 + cost.index_bytes.1,
        );
    } else {
        cost.index_bytes = (0, 0);
    }
    let lower = cost.lower.iter();
    let (lower_least, lower_most) = lower.fold((0, 0), |(least, most), l| {
        (least + l.index_bytes.0, most + l.index_bytes.1)
    });
    let sizes = cost.sizes();
    cost.memory = JobMemory::of(machine, sizes);
    cost.memory_bytes = BASE_BYTES + cost.memory.total(&sizes);
    let spilled = cost.memory.spilled(&sizes);
    cost.scratch_bytes = (
        cost.index_bytes.0 + lower_least,
        cost.index_bytes.1 + lower_most + spilled,
    );
    cost.requests = requests(&cost, sources, products, machine.intents);
    cost.seconds = seconds(&cost, mixed, sources.len(), machine);
    cost
}

impl Cost {
    /// Bytes of all blocks that are made.
    pub fn bytes_out(&self) -> Span {
        let lower = self.lower.iter();
        lower.fold(self.bytes, |(least, most), l| {
            (least + l.bytes.0, most + l.bytes.1)
        })
    }
}

/// Sources of a job that come in together.
struct Run<'a> {
    sources: Vec<&'a LiveBlock>,
}

struct RunCost {
    samples: Span,
    chunk_bytes: Span,
    /// Samples that are decoded.
    mixed: u64,
}

fn runs<'a>(sources: &'a [LiveBlock], places: &[Place]) -> Vec<Run<'a>> {
    let count = places.iter().map(|p| p.run + 1).max().unwrap_or(0);
    let mut runs: Vec<Run<'a>> = Vec::new();
    runs.resize_with(count as usize, || Run {
        sources: Vec::new(),
    });
    for (source, place) in sources.iter().zip(places) {
        if let Some(run) = runs.get_mut(place.run as usize) {
            run.sources.push(source);
        }
    }
    runs
}

impl Run<'_> {
    fn predict(&self, dedup: Dedup) -> RunCost {
        let samples = LiveBlock::samples;
        let chunks = |b: &LiveBlock| b.view.data_bytes() - b.view.index_bytes();
        let all_samples = self.sources.iter().map(|b| samples(b)).sum();
        let all_chunks: u64 = self.sources.iter().map(|b| chunks(b)).sum();
        if !overlap(&self.sources) {
            return RunCost {
                samples: (all_samples, all_samples),
                chunk_bytes: (all_chunks, all_chunks),
                mixed: 0,
            };
        }
        let fullest = self.fullest(samples);
        let (least, most) = match dedup {
            Dedup::OneToOne => (fullest, all_chunks as f64 * MIXED_GROWTH),
            Dedup::Penalty => ((fullest as f64 * PENALTY_KEEPS) as u64, all_chunks as f64),
        };
        // Copies are dropped, so one replica's chunks may be all there is; and
        // samples that are encoded anew may lie better in their chunks.
        let least_chunks = self.fullest(chunks) as f64 * 0.7;
        RunCost {
            samples: (least, all_samples),
            chunk_bytes: (least_chunks as u64, most as u64),
            mixed: all_samples,
        }
    }

    /// The largest sum over the blocks of one replica, or over one block where
    /// blocks of one replica overlap.
    fn fullest(&self, of: impl Fn(&LiveBlock) -> u64) -> u64 {
        let mut replicas: Vec<(&Labels, Vec<&LiveBlock>)> = Vec::new();
        for &block in &self.sources {
            let labels = &block.view.meta.thanos.labels;
            match replicas.iter_mut().find(|(l, _)| *l == labels) {
                Some((_, blocks)) => blocks.push(block),
                None => replicas.push((labels, vec![block])),
            }
        }
        let of_replica = |blocks: &[&LiveBlock]| {
            let each = blocks.iter().map(|b| of(b));
            if overlap(blocks) {
                each.max().unwrap_or(0)
            } else {
                each.sum()
            }
        };
        let sums = replicas.iter().map(|(_, blocks)| of_replica(blocks));
        sums.max().unwrap_or(0)
    }
}

/// Whether any of the blocks overlap; they are in min time order.
pub(super) fn overlap(blocks: &[&LiveBlock]) -> bool {
    let mut end = i64::MIN;
    blocks.iter().any(|b| {
        let hit = b.min_time() < end;
        end = end.max(b.max_time());
        hit
    })
}

fn requests(cost: &Cost, sources: &[LiveBlock], products: Products, intents: bool) -> Requests {
    let count = sources.len() as u64;
    let parts = |bytes: u64| match bytes.div_ceil(cost.memory.part) {
        0 | 1 => 0,
        // Begun and completed, too.
        parts => parts + 2,
    };
    let middle = |span: Span| u64::midpoint(span.0, span.1);
    let mut requests = Requests::default();
    // Segments, index and meta.json of a block.
    let mut block = |bytes: Span, index: Span| {
        let index = middle(index);
        let segments = middle(bytes).saturating_sub(index);
        for in_parts in [parts(segments), parts(index)] {
            requests.parts += in_parts;
            requests.put += in_parts.max(1);
        }
        requests.put += 1;
    };
    let lower = cost.lower.iter();
    lower.for_each(|l| block(l.bytes, l.index_bytes));
    let mut made = cost.lower.len() as u64;
    if products.merged {
        made += 1;
        block(cost.bytes, cost.index_bytes);
        // Marks, and whether there is one.
        requests.put += count;
        requests.head += count;
    }
    for source in sources {
        for file in source.view.data_files() {
            let window = window_bytes(file.size, sources.len(), cost.memory.read_ahead) as u64;
            requests.get += file.size.div_ceil(window.max(1));
            // The end of an index, where its table of contents is, is read
            // first, unless all of it fits one window.
            requests.get += u64::from(file.path == INDEX && file.size > window);
        }
    }
    // The check of each result. The last look, which depends on the rest of the
    // bucket, is added once the plan stands.
    requests.list = made;
    // Sizes of what was uploaded.
    requests.head += 2 * made;
    requests.put += u64::from(intents);
    requests.delete += u64::from(intents);
    requests
}

fn seconds(cost: &Cost, mixed: u64, sources: usize, machine: &Machine) -> f64 {
    let passed = cost.samples_in.saturating_sub(mixed) as f64;
    let middle = |span: Span| u64::midpoint(span.0, span.1) as f64;
    let downsampled = if cost.lower.is_empty() {
        0.0
    } else {
        middle(cost.samples)
    };
    let cpu = mixed as f64 * machine.mix_ns
        + passed * machine.pass_ns
        + downsampled * machine.downsample_ns;
    let cpu = cpu * 1e-9;
    let cpu = cpu / machine.threads.max(1) as f64;
    let order = cost.series_in as f64 * machine.series_ns * 1e-9;
    let moved = cost.bytes_in as f64 + middle(cost.bytes_out());
    // The stages overlap: the slowest of them decides.
    let stages = [cpu, order, moved / machine.bucket_bytes_per_second];
    stages.into_iter().fold(0.0, f64::max) + sources as f64 * machine.source_seconds
}
