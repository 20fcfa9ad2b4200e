//! The loop: look, plan, do, until no compaction is due.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;

use futures::StreamExt;
use rayon::ThreadPool;
use ulid::Ulid;

use super::job::{self, JobContext};
use super::look::Known;
use super::report::{RunReport, Task};
use super::sync::Syncer;
use super::{Budget, delete, mark, scratch};
use crate::error::{Error, Kind, Result};
use crate::merge::MergeFn;
use crate::objstore::Bucket;
use crate::plan::group::GroupKey;
use crate::plan::view::{BlockView, BucketView};
use crate::plan::{self, Job, Plan};
use crate::runtime::clock::{Clock, StopWatch};

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
    /// Memory and scratch of all jobs together.
    pub budget: Budget,
    /// How sources become one block: [`crate::merge::merge`].
    pub merge: MergeFn,
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
        let known = Known::default();
        loop {
            let mut view = syncer.sync().await?;
            given_up.apply_to(&mut view);
            let mut plan = plan::plan(&view, &self.options.plan, self.clock.now_ms());
            plan.jobs
                .retain(|job| !given_up.groups.contains(&job.group));
            report.passes += 1;
            if report.passes == 1 {
                report.blocks_seen = view.blocks.len();
            }
            known.add(view.blocks.iter().map(BlockView::id));
            report.held.clone_from(&plan.held);
            report.problems = view.problems;
            self.delete_marked(&plan, &mut report).await;
            self.mark(&plan, &mut report).await;
            if plan.jobs.is_empty() {
                self.clean(&plan, &mut report).await;
                break;
            }
            let jobs = std::mem::take(&mut plan.jobs);
            self.run_jobs(jobs, &known, &mut report, &mut given_up)
                .await;
        }
        report.seconds = watch.elapsed().as_secs_f64();
        Ok(report)
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

    /// Marks what other blocks have replaced, and what is to be kept out.
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

    async fn run_jobs(
        &self,
        jobs: Vec<Job>,
        known: &Known,
        report: &mut RunReport,
        given_up: &mut GivenUp,
    ) {
        let context = Arc::new(JobContext {
            bucket: self.bucket.clone(),
            clock: Arc::clone(&self.clock),
            pool: Arc::clone(&self.pool),
            scratch: self.options.scratch.clone(),
            budget: self.options.budget.clone(),
            merge: self.options.merge,
            dedup: self.options.plan.dedup,
            known: known.clone(),
        });
        let mut running = futures::stream::iter(jobs)
            .map(|job| {
                let context = Arc::clone(&context);
                async move {
                    let result = job::run(&context, &job).await;
                    (job, result)
                }
            })
            .buffer_unordered(self.options.concurrency.max(1));
        while let Some((job, result)) = running.next().await {
            match result {
                Ok(done) => {
                    if done.result.is_none() {
                        // Nothing was left; planned again, it would be the same.
                        given_up.groups.insert(job.group);
                    }
                    report.jobs.push(done);
                }
                Err(error) => {
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
}

/// What is not tried again in this run.
#[derive(Debug, Default)]
struct GivenUp {
    groups: HashSet<GroupKey>,
    /// Blocks that were to blame for a failure, with what was wrong.
    blocks: HashMap<Ulid, String>,
}

impl GivenUp {
    fn learn(&mut self, job: &Job, error: &Error) {
        match error.block() {
            Some(block) if error.kind() == Kind::Corrupt => {
                self.blocks.insert(block, error.chain());
            }
            _ => {
                self.groups.insert(job.group);
            }
        }
    }

    /// Lets the planner leave out what was to blame.
    fn apply_to(&self, view: &mut BucketView) {
        for block in &mut view.blocks {
            if let Some(what) = self.blocks.get(&block.id()) {
                block.damaged.get_or_insert_with(|| what.clone());
            }
        }
    }
}
