//! `lithify compact --dry-run`: looks, plans, shows; writes nothing.
//!
//! ```text
//!  each bucket: sync -> plan -> (samples) -> rounds -> (series of clusters) -> facts
//!  all facts -> Forecast -> table for people | JSON for programs
//! ```

mod hazards;
mod jobs;
mod retention;
mod table;
mod timeline;

use std::io::Write;
use std::sync::Arc;

use super::flags::DryRun;
use super::{Outcome, human};
use crate::compact::cache::{MetaCache, Places};
use crate::compact::sync::Syncer;
use crate::compact::{clusters, lease, sample};
use crate::error::{Error, Kind, Result};
use crate::objstore::Bucket;
use crate::plan::cost::Requests;
use crate::plan::forecast::{self, BucketFacts, BucketSettings, Forecast, Habits, SeriesByCluster};
use crate::plan::lint::{self, Finding};
use crate::plan::view::BucketView;
use crate::plan::{self, Plan, Rounds, Settings};

/// What to show and how.
pub(super) struct Request {
    pub form: DryRun,
    /// External label that names a cluster.
    pub cluster_label: String,
    /// Count the series of each cluster in the indexes where the label is
    /// none of the stream.
    pub count_series: bool,
    /// Read one in so many series to measure what jobs make.
    pub sample: Option<u32>,
    pub fetch_concurrency: usize,
    /// What the lease of a run will cost.
    pub lease: Requests,
    /// Where earlier processes have kept what they read; only read.
    pub cache: Places,
    pub pool: Arc<rayon::ThreadPool>,
    /// Milliseconds since the epoch.
    pub now_ms: i64,
}

struct Looked {
    name: String,
    view: BucketView,
    plan: Plan,
    rounds: Rounds,
    series: SeriesByCluster,
    findings: Vec<Finding>,
    settings: BucketSettings,
    habits: Habits,
}

/// Plans all buckets and writes the forecast to standard output.
pub(super) async fn run(
    buckets: &[Bucket],
    settings: &Settings,
    request: &Request,
) -> Result<Outcome> {
    let mut looked = Vec::with_capacity(buckets.len());
    for bucket in buckets {
        looked.push(look(bucket, settings, request).await?);
    }
    let facts: Vec<BucketFacts<'_>> = looked
        .iter()
        .map(|l| BucketFacts {
            name: l.name.clone(),
            view: &l.view,
            plan: &l.plan,
            rounds: &l.rounds,
            series: &l.series,
            findings: &l.findings,
            settings: &l.settings,
            habits: l.habits.clone(),
        })
        .collect();
    let forecast = forecast::forecast(&facts, &request.cluster_label, request.now_ms);
    write(&forecast, request.form)
        .map_err(|e| Error::new(Kind::Retry, "cannot write to standard output").with_source(e))?;
    for bucket in buckets {
        debug_assert_eq!(bucket.counts().writes(), 0, "a dry run writes nothing");
    }
    Ok(match (forecast.problems, forecast.pending) {
        (true, _) => Outcome::PlanProblems,
        (_, true) => Outcome::PlanPending,
        _ => Outcome::Done,
    })
}

async fn look(bucket: &Bucket, settings: &Settings, request: &Request) -> Result<Looked> {
    show_holders(bucket).await;
    let cache = MetaCache::new(bucket.clone(), request.cache.clone());
    let syncer = Syncer::new(bucket.clone(), request.fetch_concurrency);
    let mut syncer = syncer.with_cache(cache);
    let view = syncer.sync().await?;
    let settings = &super::compact::for_bucket(settings, bucket);
    let mut plan = plan::plan(&view, settings, request.now_ms);
    let findings = lint::lint(&view, settings, request.now_ms);
    if let Some(one_in) = request.sample {
        for job in &mut plan.jobs {
            let measured = sample::measure(bucket, &request.pool, job, one_in);
            if let Err(error) = measured.await {
                // A run would meet the same; what the listing tells stays.
                let (chain, cure) = (error.chain(), error.cure().unwrap_or(""));
                tracing::warn!(error = chain, cure, "a job could not be measured");
            }
        }
        plan.refresh_tiles();
    }
    let rounds = plan::rounds(&view, &plan, settings, request.now_ms);
    let series = if request.count_series {
        let label = &request.cluster_label;
        clusters::count_series(bucket, &plan, label).await?
    } else {
        SeriesByCluster::default()
    };
    Ok(Looked {
        name: bucket.name().to_owned(),
        habits: habits(bucket, &mut syncer, (&plan, &rounds), request.lease),
        rounds,
        plan,
        view,
        series,
        findings,
        settings: super::hazards::look(bucket, request.now_ms).await,
    })
}

/// Says who is at work on the bucket. A dry run takes no lease.
async fn show_holders(bucket: &Bucket) {
    match lease::held(bucket).await {
        Ok(held) => {
            for record in held {
                let (name, part, by) = (bucket.name(), &record.part, record.describe());
                tracing::warn!(bucket = name, part, by, "a lease on this bucket is held");
            }
        }
        Err(error) => {
            let error = error.chain();
            tracing::warn!(
                bucket = bucket.name(),
                error,
                "cannot see who holds a lease"
            );
        }
    }
}

/// What the process of a run asks for besides what is planned; `lease` is what
/// its lease costs.
fn habits(
    bucket: &Bucket,
    syncer: &mut Syncer,
    (plan, rounds): (&Plan, &Rounds),
    lease: Requests,
) -> Habits {
    let list = |list| Requests {
        list,
        ..Requests::default()
    };
    let first = syncer.save_due().is_some_and(|save| save.is_shared());
    let last = syncer.is_shared_after(forecast::changed(plan, rounds));
    let cache = Requests {
        put: u64::from(first) + u64::from(last),
        ..Requests::default()
    };
    let mut others = vec![("start", list(1)), ("lease", lease), ("cache", cache)];
    if !plan.is_empty() {
        // One more, and which of the older ones go.
        let report = Requests { put: 1, ..list(1) };
        others.push(("report", report));
    }
    Habits {
        fetched_first: syncer.fetched_first(),
        deletes_at_once: bucket.deletes_at_once(),
        others,
    }
}

fn write(forecast: &Forecast, form: DryRun) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    match form {
        DryRun::Json => {
            serde_json::to_writer_pretty(&mut out, forecast)?;
            writeln!(out)
        }
        DryRun::Table => write!(out, "{}", table::render(forecast)),
    }
}

/// `low – high`, or one number where they are equal.
fn range(range: plan::forecast::Range, text: fn(u64) -> String) -> String {
    let (low, high) = (text(range.low), text(range.high));
    if low == high {
        return low;
    }
    // The unit once where both have the same.
    match (low.rsplit_once(' '), high.rsplit_once(' ')) {
        (Some((number, unit)), Some((_, same))) if unit == same => format!("{number}–{high}"),
        _ => format!("{low}–{high}"),
    }
}

/// `0.4 s`, `12 s`, `3 min`, `2.5 h`.
fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 0.05 => "<0.1 s".to_owned(),
        s if s < 10.0 => format!("{s:.1} s"),
        s if s < 120.0 => format!("{s:.0} s"),
        s if s < 7200.0 => format!("{:.0} min", s / 60.0),
        s => format!("{:.1} h", s / 3600.0),
    }
}

pub(super) use human::bytes;
