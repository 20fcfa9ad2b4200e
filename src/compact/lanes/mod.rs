//! The lanes of a run: four kinds of work, side by side.
//!
//! ```text
//!                    .--> compaction    [no-compact marks, quarantine] -> jobs --.
//!  look --> plan ----+--> downsampling  jobs -------------------------------------+--.
//!    ^               +--> retention     marks | removals in pieces of 250          |  |
//!    |               '--> cleanup       removals in pieces of 250                  |  |
//!    |                                                                             |  |
//!    '--- when a lane of jobs has nothing left of what it was given <--------------'  |
//!                                                  the run ends when nothing is left -'
//! ```
//!
//! Every look, job, mark and removal is a task. The one that directs them only
//! waits for whichever ends next, so one that never ends keeps back what comes
//! after it in its own lane, and nothing else (CO-5).
//!
//! A look may fall into the middle of what other lanes do. So blocks that a job
//! is making are hidden from the plan, jobs whose sources another job holds are
//! left out of it, and no block is marked or removed twice in a run.

mod end;
mod give;

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::{Id, JoinSet};
use ulid::Ulid;

use super::cache::MetaCache;
use super::given_up::GivenUp;
use super::intents::{self, Settled};
use super::job::JobContext;
use super::look::Known;
use super::quarantine::{self, Listed, Quarantine};
use super::report::RunReport;
use super::run::Options;
use super::sync::Syncer;
use super::upkeep::{Chore, Done};
use crate::error::{Error, Result};
use crate::plan::view::BucketView;
use crate::plan::{Job, Lane};

/// Pieces of marks or removals of one lane that are done at the same time.
const PIECES_AT_ONCE: usize = 4;

/// Directs the lanes of one run.
pub(super) struct Lanes {
    context: Arc<JobContext>,
    options: Options,
    quarantine: Arc<Quarantine>,
    /// Away while it looks.
    syncer: Option<Syncer>,
    tasks: JoinSet<End>,
    doing: HashMap<Id, Doing>,
    jobs: [JobLane; 2],
    gates: Gates,
    /// Of jobs that have ended since the last look began, which may have seen
    /// half of what they did.
    stale: Stale,
    /// What was tried in this run.
    tried: Tried,
    given_up: GivenUp,
    report: RunReport,
    failed: Option<Error>,
    /// The lease is lost.
    locked: bool,
}

/// One of the two lanes that have jobs.
struct JobLane {
    lane: Lane,
    /// Jobs at the same time.
    most: usize,
    queue: VecDeque<Arc<Job>>,
    running: usize,
    /// Jobs that wait until blocks were marked.
    prepared: Option<Vec<Job>>,
    /// Something has ended since the last look began.
    changed: bool,
}

impl JobLane {
    fn new(lane: Lane, most: usize) -> Self {
        Self {
            lane,
            most: most.max(1),
            queue: VecDeque::new(),
            running: 0,
            prepared: None,
            changed: false,
        }
    }

    /// Nothing is left of what it was given.
    fn is_drained(&self) -> bool {
        self.queue.is_empty() && self.running == 0 && self.prepared.is_none()
    }
}

/// How many pieces of each sort may be under way. Each sort has its own, so
/// that marks do not wait for removals that hang.
struct Gates {
    marks: Arc<Semaphore>,
    deletions: Arc<Semaphore>,
    cleanups: Arc<Semaphore>,
}

/// Sources of jobs, and what they have made.
#[derive(Default)]
struct Stale {
    sources: HashSet<Ulid>,
    made: HashSet<Ulid>,
}

/// Blocks and folders that were worked on; what failed is left to the next run.
#[derive(Default)]
struct Tried {
    marks: HashSet<Ulid>,
    deletions: HashSet<Ulid>,
    cleanups: HashSet<Ulid>,
}

/// What a task is about.
enum Doing {
    Look,
    Prepare,
    Job {
        side: usize,
        job: Arc<Job>,
        known: Known,
    },
    Chores(Vec<Chore>),
    Cache,
}

/// How a task ended.
enum End {
    Looked(Box<Syncer>, Result<BucketView>, Settled),
    Prepared(Vec<Done>, Vec<(Ulid, Result<Listed>)>),
    Job(quarantine::Ended),
    Chores(Vec<Done>),
    Cached,
}

impl Lanes {
    /// Lanes that have not begun.
    pub fn new(context: JobContext, options: Options) -> Self {
        let cache = MetaCache::new(context.bucket.clone(), options.cache.clone());
        let syncer = Syncer::new(context.bucket.clone(), options.fetch_concurrency);
        let syncer = syncer.with_cache(cache);
        let gate = || Arc::new(Semaphore::new(PIECES_AT_ONCE));
        Self {
            syncer: Some(syncer.silent_about(context.known.clone())),
            context: Arc::new(context),
            quarantine: Arc::new(Quarantine::new(options.max_quarantined)),
            tasks: JoinSet::new(),
            doing: HashMap::new(),
            jobs: [
                JobLane::new(Lane::Compaction, options.concurrency),
                JobLane::new(Lane::Downsampling, options.downsample_concurrency),
            ],
            gates: Gates {
                marks: gate(),
                deletions: gate(),
                cleanups: gate(),
            },
            stale: Stale::default(),
            tried: Tried::default(),
            given_up: GivenUp::default(),
            report: RunReport::default(),
            failed: None,
            locked: false,
            options,
        }
    }

    /// Works until nothing is left.
    ///
    /// # Errors
    /// When the bucket cannot be read; what had begun by then is brought to its
    /// end before. Not so when the lease is lost: everything is broken off.
    pub async fn run(mut self) -> Result<RunReport> {
        let lease = self.context.lease.clone();
        self.look();
        loop {
            let ended = tokio::select! {
                ended = self.tasks.join_next_with_id() => ended,
                () = lease.lost(), if !self.locked => {
                    // Whoever has it now must find nothing in his way.
                    self.locked = true;
                    self.tasks.abort_all();
                    continue;
                }
            };
            match ended {
                Some(Ok((id, end))) => {
                    let doing = self.doing.remove(&id);
                    self.ended(doing, end);
                }
                Some(Err(error)) => self.broke_off(&error),
                None => break,
            }
            self.begin_jobs();
            if self.is_look_due() {
                self.look();
            }
        }
        self.report.lease_lost = lease.error();
        match self.failed {
            Some(error) if self.report.lease_lost.is_none() => return Err(error),
            // The report has the reason.
            _ => {}
        }
        if let Some(save) = self.syncer.as_mut().and_then(Syncer::save_due) {
            save.write().await;
        }
        self.report.quarantine_full = self.quarantine.is_capped();
        self.report.transfer_faults = self.quarantine.transfer_faults();
        Ok(self.report)
    }

    fn begin(&mut self, doing: Doing, task: impl Future<Output = End> + Send + 'static) {
        let id = self.tasks.spawn(task).id();
        self.doing.insert(id, doing);
    }

    fn is_stopping(&self) -> bool {
        // What is under way comes to its end; nothing new is begun.
        self.failed.is_some() || self.locked || self.quarantine.is_capped()
    }

    fn is_look_due(&self) -> bool {
        let due = self
            .jobs
            .iter()
            .any(|lane| lane.changed && lane.is_drained());
        due && self.syncer.is_some() && !self.is_stopping()
    }

    fn look(&mut self) {
        let Some(mut syncer) = self.syncer.take() else {
            return;
        };
        self.stale = Stale::default();
        for lane in &mut self.jobs {
            lane.changed = false;
        }
        let first = self.report.passes == 0;
        let context = Arc::clone(&self.context);
        self.begin(Doing::Look, async move {
            let mut settled = Settled::default();
            let mut view = syncer.sync().await;
            // Once: what comes later is of this run.
            if let (true, Ok(found)) = (first, &mut view) {
                match intents::settle(&context, &syncer.intents, found).await {
                    Ok(done) => settled = done,
                    Err(lost) => view = Err(lost),
                }
            }
            End::Looked(Box::new(syncer), view, settled)
        });
    }

    /// Writes what the first look has read, if that is much, for a run that does
    /// not come to its end; what later looks read is written there.
    fn begin_cache(&mut self) {
        if self.report.passes > 0 {
            return;
        }
        if let Some(save) = self.syncer.as_mut().and_then(Syncer::save_due) {
            self.begin(Doing::Cache, async move {
                save.write().await;
                End::Cached
            });
        }
    }

    fn begin_jobs(&mut self) {
        for side in 0..self.jobs.len() {
            while !self.is_stopping() && self.jobs[side].running < self.jobs[side].most {
                let Some(job) = self.jobs[side].queue.pop_front() else {
                    break;
                };
                self.jobs[side].running += 1;
                let known = self.context.known.for_job();
                let context = JobContext {
                    known: known.clone(),
                    bucket: self.context.bucket.scoped(),
                    budget: self.context.budget.of(self.jobs[side].lane),
                    ..self.context.as_ref().clone()
                };
                let (quarantine, todo) = (Arc::clone(&self.quarantine), Arc::clone(&job));
                self.begin(Doing::Job { side, job, known }, async move {
                    End::Job(quarantine.run_job(&context, &todo).await)
                });
            }
        }
        if self.is_stopping() {
            for lane in &mut self.jobs {
                lane.queue.clear();
            }
        }
    }
}
