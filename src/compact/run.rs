//! One run over one bucket, from the first look to the report.

use std::path::PathBuf;
use std::sync::Arc;

use rayon::ThreadPool;

use super::budget::Budget;
use super::cache;
use super::job::JobContext;
use super::lanes::Lanes;
use super::lease::{self, Held, Lease};
use super::look::Known;
use super::report::RunReport;
use super::scratch;
use crate::error::{Error, Kind, Result};
use crate::merge::MergeFn;
use crate::objstore::Bucket;
use crate::plan::{self, Job, Lane};
use crate::runtime::clock::{Clock, StopWatch};

/// How a run goes about its work; what it does is the planner's business.
#[derive(Debug, Clone)]
pub struct Options {
    /// What the planner may depend on.
    pub plan: plan::Settings,
    /// Compactions at the same time.
    pub concurrency: usize,
    /// Downsampling jobs at the same time.
    pub downsample_concurrency: usize,
    /// Small objects (metas, marks) fetched at the same time.
    pub fetch_concurrency: usize,
    /// Folder for output indexes until they are uploaded.
    pub scratch: PathBuf,
    /// How sources become one block: [`crate::merge::merge`].
    pub merge: MergeFn,
    /// Which lane does a job: [`Job::lane`].
    pub lane_of: fn(&Job) -> Lane,
    /// Damaged blocks that may be marked in one run; 0 marks none.
    pub max_quarantined: usize,
    /// The lease that keeps a second run off; `None` goes without one, and
    /// without intents.
    pub lease: Option<lease::Settings>,
    /// Where the next process finds what this one has read; the default is
    /// nowhere.
    pub cache: cache::Places,
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
    /// Works until a plan has nothing left for any lane, or until the lease is
    /// lost ([`RunReport::lease_lost`]).
    ///
    /// # Errors
    /// [`Locked`](crate::error::Kind::Locked) if somebody else is at work; when
    /// the bucket cannot be read. What goes wrong with one block or job
    /// is part of the report instead.
    pub async fn run(&self) -> Result<RunReport> {
        self.run_until(std::future::pending()).await
    }

    /// The same, but everything is broken off as soon as `stop` ends, and the
    /// lease given back. What jobs had begun is left to the next run.
    ///
    /// # Errors
    /// Those of [`Self::run`]; [`Cancelled`](crate::error::Kind::Cancelled) if it
    /// was stopped.
    pub async fn run_until(&self, stop: impl Future<Output = ()>) -> Result<RunReport> {
        let mut stop = std::pin::pin!(stop);
        let watch = StopWatch::start();
        let _in_use = scratch::enter(&self.options.scratch);
        let before = self.bucket.counts();
        let held = match &self.options.lease {
            None => Held::none(),
            Some(settings) => tokio::select! {
                held = lease::acquire(&self.bucket, &self.clock, settings) => held?,
                () = &mut stop => return Err(stopped()),
            },
        };
        let lanes = Lanes::new(self.context(held.lease()), self.options.clone());
        let ended = tokio::select! {
            ended = lanes.run() => ended,
            () = &mut stop => Err(stopped()),
        };
        held.release().await;
        let mut report = ended?;
        report.lanes = self.options.plan.lanes;
        report.requests = self.bucket.counts().since(&before);
        report.seconds = watch.elapsed().as_secs_f64();
        Ok(report)
    }

    fn context(&self, lease: Lease) -> JobContext {
        JobContext {
            bucket: self.bucket.clone(),
            clock: Arc::clone(&self.clock),
            pool: Arc::clone(&self.pool),
            scratch: self.options.scratch.clone(),
            budget: Budget::new(&self.options.plan.machine),
            merge: self.options.merge,
            known: Known::default(),
            lease,
        }
    }
}

fn stopped() -> Error {
    Error::new(Kind::Cancelled, "stopped in the middle of the run")
        .with_cure("run again: it goes on from here, and removes what jobs had begun")
}
