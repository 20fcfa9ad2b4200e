//! What jobs make, what is planned from that, and sums by resolution.

use schemars::JsonSchema;
use serde::Serialize;

use super::build::{BucketFacts, job, marks};
use super::{JobForecast, MarkForecast, Range, Totals};
use crate::plan::LowerCost;

/// One block that a job makes.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct ProductForecast {
    /// Window of its samples in ms, 0 for raw.
    pub resolution_ms: i64,
    /// Bytes of index and segments.
    pub bytes: Range,
    /// Bytes of its index.
    pub index_bytes: Range,
    /// Samples; windows for lower resolutions.
    pub samples: Range,
    /// Series.
    pub series: Range,
}

impl ProductForecast {
    pub(super) fn of(product: &LowerCost) -> Self {
        Self {
            resolution_ms: product.resolution,
            bytes: product.bytes.into(),
            index_bytes: product.index_bytes.into(),
            samples: product.samples.into(),
            series: product.series.into(),
        }
    }
}

/// What is planned once the rounds before were done.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct LaterForecast {
    /// From 2; the first is that of `jobs`.
    pub round: u64,
    /// Jobs, numbered on. Sources that do not exist yet are named by the job
    /// that makes them and their resolution: `job:3/5m`.
    pub jobs: Vec<JobForecast>,
    /// Marks that are set, with the same names.
    pub marks: Vec<MarkForecast>,
}

/// Blocks of one resolution, now and at the end.
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
pub struct ResolutionTotals {
    /// Window of the samples in ms, 0 for raw.
    pub resolution_ms: i64,
    /// Blocks that take part.
    pub blocks_before: u64,
    /// Blocks that are left of them.
    pub blocks_after: u64,
    /// Bytes of index and segments of those.
    pub bytes_before: u64,
    /// The same of those that are left.
    pub bytes_after: Range,
    /// Samples in them; windows for lower resolutions.
    pub samples_before: u64,
    /// Samples in those that are left.
    pub samples_after: Range,
}

/// The rounds behind the first, as far as something is done in them.
pub(super) fn later(facts: &BucketFacts<'_>) -> Vec<LaterForecast> {
    let mut number = facts.plan.jobs.len() as u64;
    let rounds = facts.rounds.later.iter().zip(2..);
    let one = rounds.map(|(plan, round)| {
        let jobs = plan.jobs.iter().map(|one| {
            number += 1;
            job(number, one, facts.rounds)
        });
        LaterForecast {
            round,
            jobs: jobs.collect(),
            marks: marks(plan, facts.rounds),
        }
    });
    one.filter(|l| !l.jobs.is_empty() || !l.marks.is_empty())
        .collect()
}

/// Sums of a bucket's streams by resolution, ascending.
pub(super) fn by_resolution(facts: &BucketFacts<'_>) -> Vec<ResolutionTotals> {
    let mut all: Vec<ResolutionTotals> = Vec::new();
    for stream in &facts.rounds.streams {
        let sum = of(&mut all, stream.key.resolution);
        sum.blocks_before += stream.before.len() as u64;
        sum.blocks_after += stream.after.len() as u64;
        for tile in &stream.before {
            sum.bytes_before += tile.bytes.0;
            sum.samples_before += tile.samples.0;
        }
        for tile in &stream.after {
            sum.bytes_after += tile.bytes.into();
            sum.samples_after += tile.samples.into();
        }
    }
    all
}

/// The sums of a resolution, which may be new.
fn of(all: &mut Vec<ResolutionTotals>, resolution_ms: i64) -> &mut ResolutionTotals {
    let at = all.partition_point(|r| r.resolution_ms < resolution_ms);
    if all.get(at).is_none_or(|r| r.resolution_ms != resolution_ms) {
        let new = ResolutionTotals {
            resolution_ms,
            ..ResolutionTotals::default()
        };
        all.insert(at, new);
    }
    &mut all[at]
}

impl Totals {
    /// Adds sums of another bucket by resolution.
    pub(super) fn add_resolutions(&mut self, others: &[ResolutionTotals]) {
        for other in others {
            let sum = of(&mut self.resolutions, other.resolution_ms);
            sum.blocks_before += other.blocks_before;
            sum.blocks_after += other.blocks_after;
            sum.bytes_before += other.bytes_before;
            sum.bytes_after += other.bytes_after;
            sum.samples_before += other.samples_before;
            sum.samples_after += other.samples_after;
        }
    }
}
