//! The loop: look, plan, do, until the plan is empty.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;

use futures::StreamExt;
use rayon::ThreadPool;

use super::job::{self, JobContext};
use super::mark;
use super::report::{Failure, RunReport};
use super::sync::Syncer;
use crate::error::Result;
use crate::objstore::Bucket;
use crate::plan::filter::LiveBlock;
use crate::plan::group::GroupKey;
use crate::plan::{self, Job, Plan};
use crate::runtime::clock::{Clock, StopWatch};

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
    /// Compacts until a plan comes out empty.
    ///
    /// # Errors
    /// When the bucket cannot be read or its garbage cannot be marked. What
    /// goes wrong in one job is part of the report instead.
    pub async fn run(&self) -> Result<RunReport> {
        let watch = StopWatch::start();
        let mut syncer = Syncer::new(self.bucket.clone(), self.options.fetch_concurrency);
        let mut report = RunReport::default();
        let mut given_up: HashSet<GroupKey> = HashSet::new();
        loop {
            let view = syncer.sync().await?;
            let plan = plan::plan(&view, &self.options.plan, self.clock.now_ms());
            report.passes += 1;
            if report.passes == 1 {
                report.blocks_seen = view.blocks.len();
            }
            report.held.clone_from(&plan.held);
            report.problems = view.problems;
            self.mark_garbage(&plan, &mut report).await?;
            let jobs: Vec<Job> = plan
                .jobs
                .into_iter()
                .filter(|j| !given_up.contains(&j.group))
                .collect();
            if jobs.is_empty() {
                break;
            }
            self.run_jobs(jobs, &mut report, &mut given_up).await;
        }
        report.seconds = watch.elapsed().as_secs_f64();
        Ok(report)
    }

    async fn mark_garbage(&self, plan: &Plan, report: &mut RunReport) -> Result<()> {
        for garbage in &plan.garbage {
            mark::for_deletion(
                &self.bucket,
                self.clock.as_ref(),
                garbage.block,
                "outdated block",
            )
            .await?;
            tracing::info!(block = %garbage.block, covered_by = %garbage.covered_by, "marked outdated block");
            report.garbage.push(garbage.block);
        }
        Ok(())
    }

    async fn run_jobs(
        &self,
        jobs: Vec<Job>,
        report: &mut RunReport,
        given_up: &mut HashSet<GroupKey>,
    ) {
        let context = Arc::new(JobContext {
            bucket: self.bucket.clone(),
            clock: Arc::clone(&self.clock),
            pool: Arc::clone(&self.pool),
            scratch: self.options.scratch.clone(),
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
                Ok(done) => report.jobs.push(done),
                Err(error) => {
                    tracing::error!(
                        group = %job.group,
                        kind = %error.kind(),
                        error = error.chain(),
                        cure = error.cure().unwrap_or(""),
                        "compaction failed"
                    );
                    given_up.insert(job.group);
                    report.failures.push(Failure {
                        group: job.group,
                        labels: job.labels.clone(),
                        sources: job.sources.iter().map(LiveBlock::id).collect(),
                        error,
                    });
                }
            }
        }
    }
}
