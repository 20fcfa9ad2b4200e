//! `lithify compact`: the flags of `thanos compact`, and a run with them.

use std::sync::Arc;

use super::flags::{
    BucketFlags, CompactionFlags, Dedup, Given, RetentionFlags, RunFlags, SelectionFlags,
    ServiceFlags,
};
use super::{Outcome, human, warn};
use crate::compact::report::RunReport;
use crate::compact::{Compactor, Options};
use crate::error::{Error, Kind, Result};
use crate::objstore::{Bucket, BucketConfig};
use crate::plan::{RANGES_MS, Settings};
use crate::runtime::clock::SystemClock;
use crate::runtime::pool;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    pub(super) bucket: BucketFlags,
    #[command(flatten)]
    pub(super) selection: SelectionFlags,
    #[command(flatten)]
    pub(super) compaction: CompactionFlags,
    #[command(flatten)]
    pub(super) retention: RetentionFlags,
    #[command(flatten)]
    pub(super) run: RunFlags,
    #[command(flatten)]
    pub(super) service: ServiceFlags,
}

impl Args {
    /// Checks what the values ask for; parsing has checked that they are
    /// values. Returns warnings about what has no effect.
    ///
    /// # Errors
    /// A flag, by name, that asks for what this version cannot do.
    pub(super) fn check(&self, given: &Given) -> Result<Vec<String>> {
        let mut warnings = Vec::new();
        self.bucket.check(given, &mut warnings)?;
        self.selection.check()?;
        self.compaction.check(given, &mut warnings)?;
        self.retention.check(given, &mut warnings)?;
        self.service.check(given)?;
        Ok(warnings)
    }

    fn settings(&self) -> Settings {
        Settings {
            consistency_delay_ms: self.selection.consistency_delay_ms,
            delete_delay_ms: self.retention.delete_delay_ms,
            vertical: self.compaction.is_vertical(),
            replica_labels: self.compaction.replica_labels(),
            ranges_ms: RANGES_MS[..=usize::from(self.compaction.max_level)].to_vec(),
        }
    }

    /// Refuses flags that are read but that no run looks at yet: ignoring one
    /// of these would compact what must not be compacted, or not that way.
    fn refuse_unwired(&self, given: &Given) -> Result<()> {
        let asked = [
            ("objstore.config-file", self.bucket.files().count() > 1),
            ("cluster-label", self.bucket.cluster_label.is_some()),
            ("min-time", given.has("min-time")),
            ("max-time", given.has("max-time")),
            (
                "selector.relabel-config",
                !self.selection.selector()?.is_empty(),
            ),
            (
                "deduplication.func",
                self.compaction.dedup == Dedup::Penalty,
            ),
            (
                "compact.block-max-index-size",
                given.has("compact.block-max-index-size"),
            ),
            ("max-job-time", given.has("max-job-time")),
            ("dry-run", self.run.dry_run.is_some()),
            ("dry-run-sample", self.run.dry_run_sample.is_some()),
            ("detailed-exitcode", self.run.detailed_exitcode),
        ];
        match asked.iter().find(|(_, asked)| *asked) {
            Some((flag, _)) => {
                let what = format!("--{flag}: this version cannot do that yet");
                Err(Error::new(Kind::Config, what).with_cure("drop the flag"))
            }
            None => Ok(()),
        }
    }
}

pub(super) async fn run(args: Args, given: &Given) -> Result<Outcome> {
    warn(&args.check(given)?);
    args.refuse_unwired(given)?;
    let config =
        BucketConfig::from_flags(args.bucket.config.as_deref(), args.bucket.files().next())?;
    let bucket = Bucket::connect(&config).await?;
    bucket.probe().await?;
    let pool = pool::cpu_pool(args.run.threads)?;
    let concurrency = args
        .compaction
        .concurrency
        .map_or_else(|| pool.current_num_threads(), usize::from);
    let compactor = Compactor {
        bucket: bucket.clone(),
        clock: Arc::new(SystemClock),
        options: Options {
            plan: args.settings(),
            concurrency,
            fetch_concurrency: usize::from(args.bucket.meta_fetch_concurrency),
            scratch: args.bucket.data_dir.join("compact"),
        },
        pool,
    };
    let report = compactor.run().await?;
    bucket.settle().await;
    summary(&report)
}

/// The last line of a run, and its outcome.
fn summary(report: &RunReport) -> Result<Outcome> {
    let ledger = report.ledger();
    tracing::info!(
        blocks = report.blocks_seen,
        compactions = report.jobs.len(),
        failed = report.failures.len(),
        garbage = report.garbage.len(),
        held = report.held.len(),
        left_out = report.problems.len(),
        samples = human::count(ledger.read),
        deduplicated = human::count(ledger.deduplicated),
        start_times_dropped = human::count(ledger.start_times_dropped),
        seconds = report.seconds,
        "{}",
        if report.is_idle() {
            "nothing to do"
        } else {
            "run done"
        }
    );
    for held in &report.held {
        let blocks: Vec<String> = held.blocks.iter().map(ToString::to_string).collect();
        tracing::warn!(
            group = %held.group, what = held.what, blocks = blocks.join(","), cure = held.cure,
            "stream left alone"
        );
    }
    if !report.failures.is_empty() && report.jobs.is_empty() {
        let what = format!("all {} compactions failed", report.failures.len());
        let first = &report.failures[0].error;
        return Err(
            Error::new(Kind::Retry, format!("{what}: {}", first.chain()))
                .with_cure(first.cure().unwrap_or("see the log above").to_owned()),
        );
    }
    Ok(if report.is_partial() {
        Outcome::Partial
    } else {
        Outcome::Done
    })
}
