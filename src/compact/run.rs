//! The loop: look, plan, do, until no compaction is due.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;

use futures::StreamExt;
use rayon::ThreadPool;
use ulid::Ulid;

use super::budget::Budget;
use super::job::JobContext;
use super::look::Known;
use super::quarantine::{Ended, Listed, Quarantine};
use super::report::{RunReport, Task};
use super::sync::Syncer;
use super::{delete, findings, mark, scratch};
use crate::error::{Error, Kind, Result};
use crate::merge::MergeFn;
use crate::objstore::Bucket;
use crate::plan::group::GroupKey;
use crate::plan::view::{BlockView, BucketView, Finding};
use crate::plan::{self, HeldReason, Job, Plan};
use crate::runtime::clock::{Clock, StopWatch};
use crate::tsdb::Damage;

/// Blocks deleted at the same time; as many as upstream.
const DELETIONS_AT_ONCE: usize = 32;

/// How a run goes about its work; what it does is the planner's business.
#[derive(Debug, Clone)]
pub struct Options {
    /// What the planner may depend on.
    pub plan: plan::Settings,
    /// Compactions at the same time.
    pub concurrency: usize,
    /// Small objects (metas, marks) fetched at the same time.
    pub fetch_concurrency: usize,
    /// Folder for output indexes until they are uploaded.
    pub scratch: PathBuf,
    /// How sources become one block: [`crate::merge::merge`].
    pub merge: MergeFn,
    /// Damaged blocks that may be marked in one run; 0 marks none.
    pub max_quarantined: usize,
}

/// Everything a run needs from outside.
pub struct Compactor {
    /// The bucket.
    pub bucket: Bucket,
    /// Time and block names.
    pub clock: Arc<dyn Clock>,
    /// The cores.
    pub pool: Arc<ThreadPool>,
    /// How to go about it.
    pub options: Options,
}

impl Compactor {
    /// Works until a plan has no compaction left.
    ///
    /// # Errors
    /// When the bucket cannot be read. What goes wrong with one block or job
    /// is part of the report instead.
    pub async fn run(&self) -> Result<RunReport> {
        let watch = StopWatch::start();
        let _in_use = scratch::enter(&self.options.scratch);
        let mut syncer = Syncer::new(self.bucket.clone(), self.options.fetch_concurrency);
        let mut report = RunReport::default();
        let mut given_up = GivenUp::default();
        let quarantine = Quarantine::new(self.options.max_quarantined);
        let context = Arc::new(self.context());
        loop {
            let mut view = syncer.sync().await?;
            given_up.apply_to(&mut view);
            let mut plan = plan::plan(&view, &self.options.plan, self.clock.now_ms());
            plan.jobs
                .retain(|job| !given_up.groups.contains(&job.group));
            report.passes += 1;
            if report.passes == 1 {
                report.blocks_seen = view.blocks.len();
                report.findings = plan::lint::lint(&view, &self.options.plan, self.clock.now_ms());
                findings::log(self.bucket.name(), &report.findings);
            }
            context.known.add(view.blocks.iter().map(BlockView::id));
            report.held.clone_from(&plan.held);
            report.problems.clone_from(&view.problems);
            self.delete_marked(&plan, &mut report).await;
            self.mark(&plan, &mut report).await;
            let changed = shut_listed(&context, &quarantine, &view, &plan, &mut report).await;
            if quarantine.is_capped() {
                break;
            }
            if changed {
                continue;
            }
            if plan.jobs.is_empty() {
                self.clean(&plan, &mut report).await;
                break;
            }
            let jobs = std::mem::take(&mut plan.jobs);
            run_jobs(jobs, &context, &quarantine, &mut report, &mut given_up).await;
            if quarantine.is_capped() {
                break;
            }
        }
        report.quarantine_full = quarantine.is_capped();
        report.transfer_faults = quarantine.transfer_faults();
        report.seconds = watch.elapsed().as_secs_f64();
        Ok(report)
    }

    fn context(&self) -> JobContext {
        JobContext {
            bucket: self.bucket.clone(),
            clock: Arc::clone(&self.clock),
            pool: Arc::clone(&self.pool),
            scratch: self.options.scratch.clone(),
            budget: Budget::new(&self.options.plan.machine),
            merge: self.options.merge,
            known: Known::default(),
            concurrency: self.options.concurrency,
        }
    }

    /// Removes blocks that were marked long enough ago.
    async fn delete_marked(&self, plan: &Plan, report: &mut RunReport) {
        let tries = plan.deletions.iter().filter(|d| {
            let failed = Task::Deletion(d.block);
            report.failures.iter().all(|f| f.task != failed)
        });
        let tries: Vec<_> = tries.cloned().collect();
        let mut running = futures::stream::iter(tries)
            .map(|deletion| async move {
                let result = delete::block(&self.bucket, &deletion).await;
                (deletion, result)
            })
            .buffer_unordered(DELETIONS_AT_ONCE);
        while let Some((deletion, result)) = running.next().await {
            match result {
                Ok(true) => {
                    tracing::info!(
                        block = %deletion.block, bytes = deletion.bytes,
                        details = deletion.details, "block deleted"
                    );
                    report.deleted.push(deletion.block);
                }
                Ok(false) => {}
                Err(error) => report.fail(Task::Deletion(deletion.block), error),
            }
        }
    }

    /// Marks what other blocks have replaced, what is past its retention, and
    /// what is to be kept out.
    async fn mark(&self, plan: &Plan, report: &mut RunReport) {
        for garbage in &plan.garbage {
            let (block, clock) = (garbage.block, self.clock.as_ref());
            match mark::for_deletion(&self.bucket, clock, block, "outdated block").await {
                Ok(_) => {
                    tracing::info!(%block, covered_by = %garbage.covered_by, "marked outdated block");
                    report.garbage.push(block);
                }
                Err(error) => report.fail(Task::Mark(block), error),
            }
        }
        for retired in &plan.retired {
            let (block, clock) = (retired.block, self.clock.as_ref());
            match mark::for_deletion(&self.bucket, clock, block, &retired.details()).await {
                Ok(_) => {
                    tracing::info!(
                        %block, resolution_ms = retired.resolution,
                        why = retired.why.as_str(), because = retired.why.sentence(),
                        "block is past its retention"
                    );
                    report.retired.push(block);
                }
                Err(error) => report.fail(Task::Mark(block), error),
            }
        }
        for no_compact in &plan.marks {
            let block = no_compact.block;
            match mark::for_no_compact(&self.bucket, self.clock.as_ref(), no_compact).await {
                Ok(_) => {
                    tracing::warn!(
                        %block, reason = no_compact.reason.as_str(), details = no_compact.details,
                        "block is kept out of compactions from now on"
                    );
                    report.no_compact.push(block);
                }
                Err(error) => report.fail(Task::Mark(block), error),
            }
        }
    }

    /// Removes uploads that were given up.
    async fn clean(&self, plan: &Plan, report: &mut RunReport) {
        for cleanup in &plan.partials {
            match delete::partial(&self.bucket, cleanup).await {
                Ok(true) => {
                    tracing::info!(
                        folder = %cleanup.folder, why = cleanup.why.as_str(),
                        objects = cleanup.objects, bytes = cleanup.bytes, "folder cleaned up"
                    );
                    report.cleaned.push(cleanup.folder);
                }
                Ok(false) => {}
                Err(error) => report.fail(Task::Cleanup(cleanup.folder), error),
            }
        }
    }
}

/// Puts blocks into quarantine whose listing does not fit their `meta.json`.
/// True if the plan is out of date by that.
async fn shut_listed(
    context: &JobContext,
    quarantine: &Quarantine,
    view: &BucketView,
    plan: &Plan,
    report: &mut RunReport,
) -> bool {
    let held = plan.held.iter().filter(|h| h.why == HeldReason::Damaged);
    let ids: HashSet<Ulid> = held.flat_map(|h| h.blocks.iter().copied()).collect();
    let mut changed = false;
    for block in view.blocks.iter().filter(|b| ids.contains(&b.id())) {
        match quarantine.listed(context, block).await {
            Ok(Listed::Marked(marked)) => {
                changed = true;
                report.quarantined.push(marked);
            }
            Ok(Listed::Fine) => changed = true,
            Ok(Listed::Skipped) => {}
            Err(error) => report.fail(Task::Mark(block.id()), error),
        }
        if quarantine.is_capped() {
            break;
        }
    }
    changed
}

async fn run_jobs(
    jobs: Vec<Job>,
    context: &Arc<JobContext>,
    quarantine: &Quarantine,
    report: &mut RunReport,
    given_up: &mut GivenUp,
) {
    let mut running = futures::stream::iter(jobs)
        // What is under way comes to its end; nothing new is begun.
        .take_while(|_| std::future::ready(!quarantine.is_capped()))
        .map(|job| {
            let context = Arc::clone(context);
            async move {
                let ended = quarantine.run_job(&context, &job).await;
                (job, ended)
            }
        })
        .buffer_unordered(context.concurrency.max(1));
    while let Some((job, ended)) = running.next().await {
        match ended {
            Ended::Done(done) => {
                if done.result.is_none() {
                    // Nothing was left; planned again, it would be the same.
                    given_up.groups.insert(job.group);
                }
                report.jobs.push(*done);
            }
            Ended::Quarantined(marked) => report.quarantined.push(marked),
            Ended::Failed(error) => {
                given_up.learn(&job, &error);
                let task = Task::Compaction {
                    group: job.group,
                    labels: job.labels.clone(),
                    sources: job.source_ids(),
                };
                report.fail(task, error);
            }
        }
    }
}

/// What is not tried again in this run.
#[derive(Debug, Default)]
struct GivenUp {
    groups: HashSet<GroupKey>,
    /// Blocks that were to blame for a failure, with what was wrong.
    blocks: HashMap<Ulid, Finding>,
}

impl GivenUp {
    fn learn(&mut self, job: &Job, error: &Error) {
        match error.block() {
            Some(block) if error.kind() == Kind::Corrupt => {
                let finding = Finding {
                    reason: error.damage().unwrap_or(Damage::Malformed),
                    what: error.chain(),
                };
                self.blocks.insert(block, finding);
            }
            _ => {
                self.groups.insert(job.group);
            }
        }
    }

    /// Lets the planner leave out what was to blame.
    fn apply_to(&self, view: &mut BucketView) {
        for block in &mut view.blocks {
            if let Some(finding) = self.blocks.get(&block.id()) {
                block.damaged.get_or_insert_with(|| finding.clone());
            }
        }
    }
}
