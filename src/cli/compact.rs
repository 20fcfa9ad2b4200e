//! `lithify compact`: the flags of `thanos compact` that this version serves.

use std::path::PathBuf;
use std::sync::Arc;

use super::duration::{parse_go, parse_prometheus};
use super::{Outcome, human};
use crate::compact::report::RunReport;
use crate::compact::{Compactor, Options};
use crate::error::{Error, Kind, Result};
use crate::objstore::{Bucket, BucketConfig};
use crate::plan::{RANGES_MS, Settings};
use crate::runtime::clock::SystemClock;
use crate::runtime::pool;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// File with the bucket configuration, in the format of Thanos.
    #[arg(long = "objstore.config-file", value_name = "FILE")]
    config_file: Option<PathBuf>,
    /// The bucket configuration itself, instead of a file.
    #[arg(long = "objstore.config", value_name = "YAML")]
    config: Option<String>,
    /// Folder for what is being made; may be wiped between runs.
    #[arg(long = "data-dir", value_name = "DIR", default_value = "./data")]
    data_dir: PathBuf,
    /// Minimum age of a block before it is looked at.
    #[arg(long = "consistency-delay", value_name = "DURATION", default_value = "30m", value_parser = parse_go, allow_hyphen_values = true)]
    consistency_delay: i64,
    /// Age of a deletion mark at which the block is removed. A marked block
    /// takes part in nothing once half of it has passed.
    #[arg(long = "delete-delay", value_name = "DURATION", default_value = "48h", value_parser = parse_prometheus)]
    delete_delay: i64,
    /// External label that tells replicas apart; can be repeated, or a list
    /// with commas. Blocks that differ only in these are merged.
    #[arg(
        long = "deduplication.replica-label",
        value_name = "LABEL",
        value_delimiter = ','
    )]
    replica_labels: Vec<String>,
    /// Merge blocks of one stream that overlap in time. On if replica labels
    /// are given.
    #[arg(long = "compact.enable-vertical-compaction")]
    vertical: bool,
    /// Streams compacted at the same time. Default: one per core.
    #[arg(long = "compact.concurrency", value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    concurrency: Option<u16>,
    /// Metas and marks fetched at the same time.
    #[arg(long = "block-meta-fetch-concurrency", value_name = "N", default_value = "32", value_parser = clap::value_parser!(u16).range(1..))]
    fetch_concurrency: u16,
    /// How far to compact: 1 is 2h, 2 is 8h, 3 is 2d, 4 is 14d.
    #[arg(long = "debug.max-compaction-level", value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u8).range(0..=4), hide = true)]
    max_level: u8,
    /// CPU threads, 0 for one per core.
    #[arg(long, value_name = "N", default_value_t = 0)]
    threads: usize,
}

impl Args {
    fn settings(&self) -> Settings {
        let mut replica_labels: Vec<String> = self
            .replica_labels
            .iter()
            .filter(|l| !l.is_empty())
            .cloned()
            .collect();
        replica_labels.sort_unstable();
        replica_labels.dedup();
        Settings {
            consistency_delay_ms: self.consistency_delay,
            delete_delay_ms: self.delete_delay,
            vertical: self.vertical || !replica_labels.is_empty(),
            replica_labels,
            ranges_ms: RANGES_MS[..=usize::from(self.max_level)].to_vec(),
            ..Settings::default()
        }
    }
}

pub(super) async fn run(args: Args) -> Result<Outcome> {
    let config = BucketConfig::from_flags(args.config.as_deref(), args.config_file.as_deref())?;
    let bucket = Bucket::connect(&config).await?;
    bucket.probe().await?;
    let pool = pool::cpu_pool(args.threads)?;
    let concurrency = args
        .concurrency
        .map_or_else(|| pool.current_num_threads(), usize::from);
    let compactor = Compactor {
        bucket: bucket.clone(),
        clock: Arc::new(SystemClock),
        options: Options {
            plan: args.settings(),
            concurrency,
            fetch_concurrency: usize::from(args.fetch_concurrency),
            scratch: args.data_dir.join("compact"),
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
