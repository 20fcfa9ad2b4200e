//! From plans to a forecast.

use chrono::{DateTime, SecondsFormat};
use ulid::Ulid;

use super::clusters::{self, SeriesByCluster};
use super::later;
use super::requests::{self, Habits};
use super::{
    BucketForecast, BucketSettings, CutForecast, DeletionForecast, Excluded, FindingForecast,
    Forecast, HeldForecast, JobForecast, MarkForecast, PartialForecast, PolicyForecast,
    ProblemForecast, ProductForecast, Range, RemovalForecast, RetiredForecast, SCHEMA,
    StreamForecast, TileForecast, Totals,
};
use crate::block::markers::{DELETION_MARK, NO_COMPACT_MARK};
use crate::plan::filter::State;
use crate::plan::lint::{Finding, Severity};
use crate::plan::view::BucketView;
use crate::plan::{Held, HeldReason, Job, Plan, Rounds, Stream, Tile};

/// One bucket with its plan.
pub struct BucketFacts<'a> {
    /// Its name, or the folder.
    pub name: String,
    /// What was listed.
    pub view: &'a BucketView,
    /// What a run would do.
    pub plan: &'a Plan,
    /// What it would do next, to the end.
    pub rounds: &'a Rounds,
    /// Series by cluster, for streams whose cluster is no external label.
    pub series: &'a SeriesByCluster,
    /// What the policy linter finds.
    pub findings: &'a [Finding],
    /// What is known about the settings of the bucket.
    pub settings: &'a BucketSettings,
    /// What a run asks of the bucket besides.
    pub habits: Habits,
}

impl<'a> BucketFacts<'a> {
    /// Those of all rounds.
    pub(super) fn plans(&self) -> impl Iterator<Item = &'a Plan> {
        std::iter::once(self.plan).chain(&self.rounds.later)
    }
}

/// Puts the plans of all buckets together.
///
/// `cluster_label` is the external label that names the cluster of a stream;
/// `now_ms` is milliseconds since the epoch.
pub fn forecast(buckets: &[BucketFacts<'_>], cluster_label: &str, now_ms: i64) -> Forecast {
    let each: Vec<BucketForecast> = buckets.iter().map(bucket).collect();
    let mut totals = Totals::default();
    for one in &each {
        totals.add(&one.totals);
    }
    let refused = |b: &BucketFacts<'_>| b.findings.iter().any(|f| f.severity == Severity::Error);
    let harmed = |b: &BucketFacts<'_>| b.settings.hazards.iter().any(|h| h.problem);
    let unusable = |b: &BucketFacts<'_>| b.view.problems.iter().any(|p| !p.kind.is_partial());
    Forecast {
        schema: SCHEMA.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        made_at: time(now_ms),
        lanes: lanes(buckets),
        pending: buckets.iter().any(|b| !b.plan.is_empty()),
        problems: buckets
            .iter()
            .any(|b| b.plan.has_problems() || unusable(b) || refused(b) || harmed(b)),
        totals,
        cluster_label: cluster_label.to_owned(),
        clusters: clusters::roll_up(buckets, cluster_label),
        buckets: each,
    }
}

/// All plans have the same.
fn lanes(buckets: &[BucketFacts<'_>]) -> Vec<String> {
    let lanes = buckets.first().map(|b| b.plan.lanes).unwrap_or_default();
    lanes.names().into_iter().map(str::to_owned).collect()
}

fn bucket(facts: &BucketFacts<'_>) -> BucketForecast {
    let plan = facts.plan;
    BucketForecast {
        name: facts.name.clone(),
        totals: totals(facts),
        streams: facts.rounds.streams.iter().map(stream).collect(),
        jobs: (1..)
            .zip(&plan.jobs)
            .map(|(number, one)| job(number, one, facts.rounds))
            .collect(),
        later: later::later(facts),
        later_is_cut: facts.rounds.is_cut,
        deletions: plan
            .deletions
            .iter()
            .map(|d| DeletionForecast {
                block: d.block.to_string(),
                marked_at: time(d.marked_ms),
                details: d.details.clone(),
                objects: d.objects,
                bytes: d.bytes,
            })
            .collect(),
        retired: plan.retired.iter().map(RetiredForecast::of).collect(),
        removals: plan.removals.iter().map(RemovalForecast::of).collect(),
        findings: facts.findings.iter().map(FindingForecast::of).collect(),
        hazards: facts.settings.hazards.clone(),
        not_looked_at: facts.settings.not_looked_at.clone(),
        deletions_left: plan.deletions_left as u64,
        retired_left: plan.retired_left as u64,
        marks: marks(plan, facts.rounds),
        partials: plan
            .partials
            .iter()
            .map(|p| PartialForecast {
                folder: p.folder.to_string(),
                why: p.why.as_str().to_owned(),
                modified_at: time(p.modified_ms),
                objects: p.objects,
                bytes: p.bytes,
            })
            .collect(),
        held: plan.held.iter().map(held).collect(),
        cuts: plan
            .cuts
            .iter()
            .map(|c| CutForecast {
                group: c.group.to_string(),
                why: c.why.as_str().to_owned(),
                min_time: c.range.0,
                max_time: c.range.1,
            })
            .collect(),
        excluded: excluded(plan),
        problems: problems(facts.view),
    }
}

pub(super) fn marks(plan: &Plan, rounds: &Rounds) -> Vec<MarkForecast> {
    let garbage = plan.garbage.iter().map(|g| MarkForecast {
        block: rounds.name(g.block),
        marker: DELETION_MARK.to_owned(),
        reason: "outdated".to_owned(),
        details: format!("block {} has all its sources", rounds.name(g.covered_by)),
    });
    let retired = plan.retired.iter().map(|r| MarkForecast {
        block: rounds.name(r.block),
        marker: DELETION_MARK.to_owned(),
        reason: "retention".to_owned(),
        details: r.details(),
    });
    let no_compact = plan.marks.iter().map(|m| MarkForecast {
        block: rounds.name(m.block),
        marker: NO_COMPACT_MARK.to_owned(),
        reason: m.reason.as_str().to_owned(),
        details: m.details.clone(),
    });
    garbage.chain(retired).chain(no_compact).collect()
}

fn excluded(plan: &Plan) -> Vec<Excluded> {
    let all = [
        State::TimeExcluded,
        State::LabelExcluded,
        State::TooFresh,
        State::MarkedForDeletion,
        State::Duplicate,
        State::Expired,
    ];
    let of = |state: State| -> Vec<Ulid> {
        let blocks = plan.excluded.iter().filter(|(_, s)| *s == state);
        blocks.map(|(id, _)| *id).collect()
    };
    all.into_iter()
        .map(|state| Excluded {
            state: state.as_str().to_owned(),
            blocks: names(&of(state)),
        })
        .filter(|e| !e.blocks.is_empty())
        .collect()
}

fn problems(view: &BucketView) -> Vec<ProblemForecast> {
    let one = |p: &crate::plan::view::Problem| ProblemForecast {
        reason: p.reason.map(|r| r.as_str().to_owned()),
        folder: p.block.to_string(),
        kind: p.kind.as_str().to_owned(),
        what: p.what.clone(),
        cure: p.cure.clone(),
    };
    view.problems.iter().map(one).collect()
}

fn stream(stream: &Stream) -> StreamForecast {
    StreamForecast {
        group: stream.key.to_string(),
        labels: stream.labels.clone(),
        resolution_ms: stream.key.resolution,
        policy: PolicyForecast::of(stream),
        before: stream.before.iter().map(tile).collect(),
        after: stream.after.iter().map(tile).collect(),
    }
}

fn tile(tile: &Tile) -> TileForecast {
    TileForecast {
        block: tile.block.map(|id| id.to_string()),
        job: tile.job.map(|job| job as u64 + 1),
        min_time: tile.range.0,
        max_time: tile.range.1,
        level: tile.level,
        bytes: tile.bytes.into(),
        samples: tile.samples.into(),
        no_compact: tile.no_compact,
        damaged: tile.damaged,
    }
}

pub(super) fn job(number: u64, job: &Job, rounds: &Rounds) -> JobForecast {
    let cost = &job.cost;
    let sources = job.sources.iter().map(|b| rounds.name(b.id()));
    JobForecast {
        job: number,
        group: job.group.to_string(),
        labels: job.labels.clone(),
        resolution_ms: job.resolution,
        kind: job.kind.to_string(),
        reason: job.reason.to_string(),
        products: job.made().iter().map(ProductForecast::of).collect(),
        steps: job.steps,
        level: job.level,
        sources: sources.collect(),
        min_time: job.min_time(),
        max_time: job.max_time(),
        bytes_in: cost.bytes_in,
        bytes_out: cost.bytes_out().into(),
        series_in: cost.series_in,
        series_out: cost.series.into(),
        samples_in: cost.samples_in,
        samples_out: cost.samples.into(),
        scratch_bytes: cost.scratch_bytes.into(),
        memory_bytes: cost.memory_bytes,
        requests: cost.requests,
        seconds: rounded(cost.seconds),
        sampled: cost.sampled,
    }
}

fn held(held: &Held) -> HeldForecast {
    let waits = match held.why {
        HeldReason::AwaitsDownsampling { expired_ms, waits } => Some((expired_ms, waits)),
        _ => None,
    };
    HeldForecast {
        group: held.group.to_string(),
        labels: held.labels.as_ref().clone(),
        reason: held.why.as_str().to_owned(),
        what: held.what.clone(),
        cure: held.cure.clone(),
        blocks: names(&held.blocks),
        min_time: held.range.0,
        max_time: held.range.1,
        problem: held.why.is_problem(),
        expired_at: waits.map(|(expired_ms, _)| time(expired_ms)),
        waits_for: waits.map(|(_, waits)| waits.as_str().to_owned()),
    }
}

fn totals(facts: &BucketFacts<'_>) -> Totals {
    let rounds = facts.rounds;
    let mut totals = Totals {
        rounds: facts.plans().filter(|p| !p.jobs.is_empty()).count() as u64,
        requests_for: requests::by_purpose(facts),
        resolutions: later::by_resolution(facts),
        ..Totals::default()
    };
    for of in &totals.resolutions {
        totals.blocks_before += of.blocks_before;
        totals.blocks_after += of.blocks_after;
        totals.bytes_before += of.bytes_before;
        totals.bytes_after += of.bytes_after;
        totals.samples_before += of.samples_before;
        totals.samples_after += of.samples_after;
    }
    for job in rounds.jobs(facts.plan) {
        let cost = &job.cost;
        totals.jobs += 1;
        totals.downsampling_jobs += u64::from(job.only_downsamples());
        totals.steps += u64::from(job.steps);
        totals.bytes_read += cost.bytes_in;
        totals.bytes_written += cost.bytes_out().into();
        totals.seconds += cost.seconds;
        totals.memory_bytes = totals.memory_bytes.max(cost.memory_bytes);
        totals.scratch_bytes = totals.scratch_bytes.max(cost.scratch_bytes.1);
    }
    for requests in totals.requests_for.values() {
        totals.requests += *requests;
    }
    totals.seconds = rounded(totals.seconds);
    let deleted = facts.plans().flat_map(|p| &p.deletions).map(|d| d.bytes);
    let cleaned = facts.plans().flat_map(|p| &p.partials).map(|p| p.bytes);
    totals.bytes_removed = deleted.chain(cleaned).sum();
    totals
}

impl Totals {
    fn add(&mut self, other: &Self) {
        self.blocks_before += other.blocks_before;
        self.blocks_after += other.blocks_after;
        self.bytes_before += other.bytes_before;
        self.bytes_after += other.bytes_after;
        self.samples_before += other.samples_before;
        self.samples_after += other.samples_after;
        self.jobs += other.jobs;
        self.steps += other.steps;
        self.downsampling_jobs += other.downsampling_jobs;
        self.rounds = self.rounds.max(other.rounds);
        self.add_resolutions(&other.resolutions);
        self.bytes_read += other.bytes_read;
        self.bytes_written += other.bytes_written;
        self.bytes_removed += other.bytes_removed;
        self.requests += other.requests;
        for (purpose, requests) in &other.requests_for {
            *self.requests_for.entry(purpose.clone()).or_default() += *requests;
        }
        self.seconds = rounded(self.seconds + other.seconds);
        self.memory_bytes = self.memory_bytes.max(other.memory_bytes);
        self.scratch_bytes = self.scratch_bytes.max(other.scratch_bytes);
    }
}

fn names(ids: &[Ulid]) -> Vec<String> {
    ids.iter().map(ToString::to_string).collect()
}

/// A prediction has no more than milliseconds.
fn rounded(seconds: f64) -> f64 {
    (seconds * 1000.0).round() / 1000.0
}

/// RFC 3339, UTC.
pub(super) fn time(ms: i64) -> String {
    DateTime::from_timestamp_millis(ms).map_or_else(
        || ms.to_string(),
        |t| t.to_rfc3339_opts(SecondsFormat::AutoSi, true),
    )
}

impl Range {
    /// This share of it.
    pub(super) fn share(self, share: f64) -> Self {
        let part = |n: u64| (n as f64 * share).round() as u64;
        Self {
            low: part(self.low),
            high: part(self.high),
        }
    }
}
