//! `lithify compact`: the flags of `thanos compact`, and a run with them.

use std::path::Path;
use std::sync::Arc;

use rayon::ThreadPool;

use super::flags::{
    self, BucketFlags, CompactionFlags, DryRun, Given, LaneFlags, LeaseFlags, PolicyFlags,
    QuarantineFlags, RetentionFlags, RunFlags, SelectionFlags, ServiceFlags,
};
use super::report_file::ReportFile;
use super::{Outcome, dry_run, findings, hazards, human, quarantine, warn};
use crate::compact::cache::Places;
use crate::compact::lease::Part;
use crate::compact::report::RunReport;
use crate::compact::{Compactor, Options, keep, savings};
use crate::error::{Error, Kind, Result};
use crate::merge;
use crate::objstore::{Bucket, BucketConfig};
use crate::plan::cost::Machine;
use crate::plan::{Job, RANGES_MS, Settings};
use crate::runtime::clock::{Clock, SystemClock};
use crate::runtime::pool;

/// The label of a cluster that the platform's own streams carry.
const DEFAULT_CLUSTER_LABEL: &str = "cluster";

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    pub(super) bucket: BucketFlags,
    #[command(flatten)]
    pub(super) selection: SelectionFlags,
    #[command(flatten)]
    pub(super) compaction: CompactionFlags,
    #[command(flatten)]
    pub(super) quarantine: QuarantineFlags,
    #[command(flatten)]
    pub(super) retention: RetentionFlags,
    #[command(flatten)]
    pub(super) policy: PolicyFlags,
    #[command(flatten)]
    pub(super) lanes: LaneFlags,
    #[command(flatten)]
    pub(super) lease: LeaseFlags,
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
        self.quarantine.check(given, &mut warnings);
        let replicas = !self.compaction.replica_labels().is_empty();
        self.policy.check(replicas)?;
        self.lanes.check()?;
        self.lease.check(given, &mut warnings)?;
        self.run.check(given, &mut warnings)?;
        self.service.check(given)?;
        // Neither cores nor time matter to it.
        findings::check(&self.settings(1, 0)?, &mut warnings)?;
        Ok(warnings)
    }

    /// What the planner depends on; times relative to `now_ms` (ms since the
    /// epoch) are settled here, for the whole run.
    fn settings(&self, threads: usize, now_ms: i64) -> Result<Settings> {
        let compaction = &self.compaction;
        let lanes = self.lanes.lanes();
        Ok(Settings {
            consistency_delay_ms: self.selection.consistency_delay_ms,
            delete_delay_ms: self.retention.delete_delay_ms,
            vertical: compaction.is_vertical(),
            dedup: compaction.dedup,
            replica_labels: compaction.replica_labels(),
            ranges_ms: RANGES_MS[..=usize::from(compaction.max_level)].to_vec(),
            time_range_ms: (
                self.selection.min_time.at(now_ms),
                self.selection.max_time.at(now_ms),
            ),
            selector: self.selection.selector()?,
            shard: self.selection.shard,
            max_index_bytes: compaction.max_index_bytes,
            one_pass: compaction.one_pass,
            max_job_seconds: compaction.max_job_ms as f64 / 1000.0,
            keep_corrupted: self.retention.keep_corrupted_blocks,
            retention_ms: self.retention.retention_ms(),
            force_retention: self.retention.force,
            downsampling: !self.retention.downsampling_disabled,
            loss_acknowledged: self.policy.acknowledge_data_loss,
            policies: self.policy.policies()?,
            lanes,
            max_deletions: self.lanes.max_deletions(),
            machine: Machine {
                threads,
                intents: self.lease.is_used(),
                two_lanes: lanes.share_memory() && !self.retention.downsampling_disabled,
                memory_bytes: self.run.memory_bytes(),
                scratch_bytes: self.run.scratch_bytes(&self.bucket.data_dir),
                ..Machine::default()
            },
        })
    }

    /// The buckets that were named, in that order.
    fn configs(&self) -> Result<Vec<BucketConfig>> {
        let inline = self.bucket.config.as_deref();
        let files: Vec<&Path> = self.bucket.files().collect();
        if files.len() < 2 {
            return Ok(vec![BucketConfig::from_flags(
                inline,
                files.first().copied(),
            )?]);
        }
        files
            .into_iter()
            .map(|file| Ok(BucketConfig::from_flags(inline, Some(file))?))
            .collect()
    }
}

pub(super) async fn run(args: Args, given: &Given) -> Result<Outcome> {
    warn(&args.check(given)?);
    let mut buckets = Vec::new();
    for config in args.configs()? {
        let bucket = Bucket::connect(&config).await?;
        bucket.probe().await?;
        buckets.push(bucket);
    }
    let pool = pool::cpu_pool(args.run.threads)?;
    let clock = SystemClock;
    let settings = args.settings(pool.current_num_threads(), clock.now_ms())?;
    let outcome = match args.run.dry_run {
        Some(form) => {
            let request = args.request(form, &pool, clock.now_ms());
            dry_run::run(&buckets, &settings, &request).await?
        }
        None => compact_all(&args, &buckets, &settings, &pool).await?,
    };
    Ok(match outcome {
        Outcome::PlanProblems | Outcome::PlanPending if !args.run.detailed_exitcode => {
            Outcome::Done
        }
        other => other,
    })
}

impl Args {
    /// Where metas are kept that were read: in the bucket, and in a folder
    /// beside the scratch of jobs.
    fn cache_places(&self) -> Places {
        Places {
            folder: Some(self.bucket.data_dir.join("meta-cache")),
            bucket: true,
            // Read or written, it is in memory as a whole.
            most_bytes: self.run.memory_bytes() / 8,
        }
    }

    fn request(&self, form: DryRun, pool: &Arc<ThreadPool>, now_ms: i64) -> dry_run::Request {
        let label = self.bucket.cluster_label.as_deref();
        dry_run::Request {
            form,
            cluster_label: label.unwrap_or(DEFAULT_CLUSTER_LABEL).to_owned(),
            count_series: label.is_some(),
            sample: self.run.dry_run_sample,
            fetch_concurrency: usize::from(self.bucket.meta_fetch_concurrency),
            lease: self.lease.requests(),
            cache: self.cache_places(),
            pool: Arc::clone(pool),
            now_ms,
        }
    }
}

/// The settings with what is so for this bucket only.
pub(super) fn for_bucket(settings: &Settings, bucket: &Bucket) -> Settings {
    let mut settings = settings.clone();
    let machine = &mut settings.machine;
    machine.part_bytes = bucket.upload_settings().part_size as u64;
    machine.least_part_bytes = bucket.least_part() as u64;
    machine.most_read_ahead_bytes = bucket.most_read_ahead();
    settings
}

/// Works through the buckets, one after the other.
async fn compact_all(
    args: &Args,
    buckets: &[Bucket],
    settings: &Settings,
    pool: &Arc<ThreadPool>,
) -> Result<Outcome> {
    let machine = &settings.machine;
    let (memory, scratch) = (machine.memory_bytes, machine.scratch_bytes);
    tracing::debug!(memory, scratch, "budget in bytes");
    let mut outcome = Outcome::Done;
    let mut failed = None;
    let mut file = ReportFile::new(args.run.report());
    let part = flags::part(&args.selection)?;
    if part != Part::Whole {
        tracing::info!(%part, "works on a part of the bucket");
    }
    for bucket in buckets {
        hazards::warn(bucket, &SystemClock).await;
        let run = compactor(args, bucket, settings, (pool, part.clone()));
        let report = run.run_until(signalled()).await;
        bucket.settle().await;
        let ended_ms = SystemClock.now_ms();
        let (report, end) = match report {
            Ok(report) => {
                // Once the lease is lost nothing is written any more.
                if report.lease_lost.is_none() {
                    keep_report(bucket, &report).await;
                }
                let end = summary(bucket.name(), &report, file.takes_stdout());
                (Some(report), end)
            }
            Err(error) => (None, Err(error)),
        };
        file.add(bucket.name(), ended_ms, report, end.as_ref().err());
        match end {
            Ok(Outcome::Partial) => outcome = Outcome::Partial,
            Ok(_) => {}
            Err(error) => {
                let stopped = error.kind() == Kind::Cancelled;
                // The others have nothing to do with it.
                if buckets.len() > 1 {
                    let (chain, cure) = (error.chain(), error.cure().unwrap_or(""));
                    tracing::error!(bucket = bucket.name(), error = chain, cure, "bucket failed");
                }
                failed.get_or_insert(error);
                if stopped {
                    break;
                }
            }
        }
    }
    if let Err(error) = file.finish() {
        // The work is done: whoever waits for the file has to look.
        outcome = Outcome::Partial;
        let (chain, cure) = (error.chain(), error.cure().unwrap_or(""));
        tracing::error!(error = chain, cure, "report not written");
    }
    failed.map_or(Ok(outcome), Err)
}

/// Ends when the system asks the process to: by SIGTERM, or by Ctrl-C.
async fn signalled() {
    use tokio::signal::unix::{SignalKind, signal};
    let wait = |kind| async move {
        match signal(kind) {
            Ok(mut signal) => signal.recv().await.is_some(),
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = wait(SignalKind::terminate()) => {}
        _ = wait(SignalKind::interrupt()) => {}
    }
    tracing::warn!("asked to stop; what jobs had begun is left to the next run");
}

fn compactor(
    args: &Args,
    bucket: &Bucket,
    settings: &Settings,
    (pool, part): (&Arc<ThreadPool>, Part),
) -> Compactor {
    let or_cores = |n: Option<u16>| n.map_or_else(|| pool.current_num_threads(), usize::from);
    Compactor {
        bucket: bucket.clone(),
        clock: Arc::new(SystemClock),
        options: Options {
            plan: for_bucket(settings, bucket),
            concurrency: or_cores(args.compaction.concurrency),
            downsample_concurrency: or_cores(args.retention.downsample_concurrency),
            fetch_concurrency: usize::from(args.bucket.meta_fetch_concurrency),
            scratch: args.bucket.data_dir.join("compact"),
            merge: merge::merge,
            lane_of: Job::lane,
            max_quarantined: args.quarantine.max_blocks,
            lease: args.lease.settings(part, &SystemClock),
            cache: args.cache_places(),
        },
        pool: Arc::clone(pool),
    }
}

/// A report that cannot be kept is no reason to call the run failed.
async fn keep_report(bucket: &Bucket, report: &RunReport) {
    match keep::keep(bucket, report, &SystemClock).await {
        Ok(Some(name)) => tracing::info!(name, "report of this run kept in the bucket"),
        Ok(None) => {}
        Err(error) => tracing::warn!(
            error = error.chain(),
            cure = error.cure().unwrap_or(""),
            "cannot keep the report of this run"
        ),
    }
}

/// Says what was not done because nobody asked for it, or because of a limit.
fn limits(report: &RunReport) {
    if !report.lanes.is_all() {
        tracing::info!(lanes = %report.lanes, "the other lanes were skipped");
    }
    let left = report.deletions_left;
    if left > 0 {
        let now = report.deleted.len();
        tracing::warn!(
            removed = now,
            left,
            "{now} of {} blocks removed now because of --max-delete-per-run; \
             the rest stays for the next run",
            now + left
        );
    }
    let left = report.retired_left;
    if left > 0 {
        let now = report.retired.len();
        tracing::warn!(
            marked = now,
            left,
            "{now} of {} blocks past their retention marked now because of \
             --max-delete-per-run; the rest stays for the next run",
            now + left
        );
    }
}

/// The last line of a run, and its outcome. Pages for people go to standard
/// output, unless that is `taken`.
fn summary(bucket: &str, report: &RunReport, taken: bool) -> Result<Outcome> {
    let ledger = report.ledger();
    tracing::info!(
        bucket,
        blocks = report.blocks_seen,
        compactions = report.jobs.len(),
        failed = report.failures.len(),
        garbage = report.garbage.len(),
        retired = report.retired.len(),
        deleted = report.deleted.len(),
        cleaned = report.cleaned.len(),
        kept_out = report.no_compact.len(),
        quarantined = report.quarantined.len(),
        transfer_faults = report.transfer_faults,
        reads = report.requests.reads(),
        writes = report.requests.writes(),
        retries = report.requests.repeated,
        throttled = report.requests.throttled,
        held = report.held.len(),
        left_out = report.problems.len(),
        ledger = %ledger,
        saved = savings::savings(report).line(human::bytes),
        seconds = report.seconds,
        "{}",
        if report.is_idle() {
            "nothing to do"
        } else {
            "run done"
        }
    );
    for held in report.held.iter().filter(|h| h.why.is_problem()) {
        let blocks: Vec<String> = held.blocks.iter().map(ToString::to_string).collect();
        tracing::warn!(
            group = %held.group, why = held.why.as_str(), what = held.what,
            blocks = blocks.join(","), cure = held.cure, "blocks left alone"
        );
    }
    limits(report);
    quarantine::show(report, taken)?;
    if let Some(lost) = &report.lease_lost {
        return Err(lost.again());
    }
    let failed = report.failed_jobs();
    if failed > 0 && report.jobs.is_empty() {
        let what = format!("all {failed} jobs failed");
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
