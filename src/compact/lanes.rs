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

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::{Id, JoinError, JoinSet};
use ulid::Ulid;

use super::given_up::GivenUp;
use super::job::JobContext;
use super::look::Known;
use super::quarantine::{self, Listed, Quarantine};
use super::report::{RunReport, Task};
use super::run::Options;
use super::sync::Syncer;
use super::upkeep::{self, Chore, Done};
use crate::error::{Error, Kind, Result};
use crate::plan::view::{BlockView, BucketView};
use crate::plan::{self, HeldReason, Job, Lane, Plan};

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
}

/// How a task ended.
enum End {
    Looked(Box<Syncer>, Result<BucketView>),
    Prepared(Vec<Done>, Vec<(Ulid, Result<Listed>)>),
    Job(quarantine::Ended),
    Chores(Vec<Done>),
}

impl Lanes {
    /// Lanes that have not begun.
    pub fn new(context: JobContext, options: Options) -> Self {
        let syncer = Syncer::new(context.bucket.clone(), options.fetch_concurrency);
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
            options,
        }
    }

    /// Works until nothing is left.
    ///
    /// # Errors
    /// When the bucket cannot be read; what had begun by then is brought to its
    /// end before.
    pub async fn run(mut self) -> Result<RunReport> {
        self.look();
        while let Some(ended) = self.tasks.join_next_with_id().await {
            match ended {
                Ok((id, end)) => {
                    let doing = self.doing.remove(&id);
                    self.ended(doing, end);
                }
                Err(error) => self.broke_off(&error),
            }
            self.begin_jobs();
            if self.is_look_due() {
                self.look();
            }
        }
        if let Some(error) = self.failed {
            return Err(error);
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
        self.failed.is_some() || self.quarantine.is_capped()
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
        self.begin(Doing::Look, async move {
            let view = syncer.sync().await;
            End::Looked(Box::new(syncer), view)
        });
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

/// From a look to work for all lanes.
impl Lanes {
    fn plan(&mut self, mut view: BucketView) {
        self.given_up.apply_to(&mut view);
        let hidden = self.unfinished();
        view.blocks.retain(|block| !hidden.contains(&block.id()));
        let mut settings = self.options.plan.clone();
        let spent = self.tried.deletions.len();
        settings.max_deletions = settings.max_deletions.map(|n| n.saturating_sub(spent));
        let mut plan = plan::plan(&view, &settings, self.context.clock.now_ms());
        let busy = self.busy();
        plan.jobs.retain(|job| {
            let taken = job.sources.iter().any(|s| busy.contains(&s.id()));
            !taken && !self.given_up.has(job)
        });
        plan.garbage.retain(|g| !busy.contains(&g.block));
        let report = &mut self.report;
        report.passes += 1;
        if report.passes == 1 {
            report.blocks_seen = view.blocks.len();
        }
        report.held.clone_from(&plan.held);
        report.problems.clone_from(&view.problems);
        report.deletions_left = plan.deletions_left;
        self.begin_upkeep(&plan);
        self.context
            .known
            .saw(view.blocks.iter().map(BlockView::id));
        self.give_jobs(&view, plan);
    }

    /// Blocks that jobs are making.
    fn unfinished(&self) -> HashSet<Ulid> {
        let made = self.doing.values().filter_map(|doing| match doing {
            Doing::Job { known, .. } => Some(known.made()),
            _ => None,
        });
        let stale = self.stale.made.iter().copied();
        made.flatten().chain(stale).collect()
    }

    /// Sources of jobs that have begun or wait for their turn, or that have
    /// ended while the bucket was looked at.
    fn busy(&self) -> HashSet<Ulid> {
        let running = self.doing.values().filter_map(|doing| match doing {
            Doing::Job { job, .. } => Some(job),
            _ => None,
        });
        let queued = self.jobs.iter().flat_map(|lane| &lane.queue);
        let sources = running.chain(queued).flat_map(|job| job.source_ids());
        sources.chain(self.stale.sources.iter().copied()).collect()
    }

    /// Marks and removals that need no job to wait for them.
    fn begin_upkeep(&mut self, plan: &Plan) {
        let tried = &mut self.tried;
        let garbage = plan.garbage.iter().cloned();
        let garbage = garbage.filter(|g| tried.marks.insert(g.block));
        let marks: Vec<Chore> = garbage.map(Chore::Garbage).collect();
        let deletions = plan.deletions.iter().cloned();
        let deletions = deletions.filter(|d| tried.deletions.insert(d.block));
        let deletions: Vec<Chore> = deletions.map(Chore::Deletion).collect();
        // What was a block before, or is made by this run, is not given up.
        let known = &self.context.known;
        let partials = plan.partials.iter().cloned();
        let partials = partials.filter(|p| !known.has(p.folder) && tried.cleanups.insert(p.folder));
        let cleanups: Vec<Chore> = partials.map(Chore::Cleanup).collect();
        let gates = [
            &self.gates.marks,
            &self.gates.deletions,
            &self.gates.cleanups,
        ];
        let gates = gates.map(Arc::clone);
        for (chores, gate) in [marks, deletions, cleanups].into_iter().zip(gates) {
            for piece in upkeep::pieces(chores) {
                let (context, gate) = (Arc::clone(&self.context), Arc::clone(&gate));
                self.begin(Doing::Chores(piece.clone()), async move {
                    // It is never closed.
                    let _turn = gate.acquire().await;
                    End::Chores(upkeep::work(&context, piece).await)
                });
            }
        }
    }

    /// Queues the jobs of a plan. Compactions wait until blocks were marked
    /// that are to be kept out of them: that may change the plan.
    fn give_jobs(&mut self, view: &BucketView, plan: Plan) {
        let lane_of = self.options.lane_of;
        let (lower, compactions): (Vec<Job>, Vec<Job>) = plan
            .jobs
            .into_iter()
            .partition(|job| lane_of(job) == Lane::Downsampling);
        self.jobs[1].queue.extend(lower.into_iter().map(Arc::new));
        if self.jobs[0].prepared.is_some() {
            // They are planned again once those that were prepared are done.
            self.jobs[0].changed |= !compactions.is_empty();
            return;
        }
        let tried = &mut self.tried;
        let marks = plan.marks.into_iter();
        let marks = marks.filter(|m| tried.marks.insert(m.block));
        let marks: Vec<Chore> = marks.map(Chore::NoCompact).collect();
        let damaged = damaged(view, &plan.held);
        if marks.is_empty() && damaged.is_empty() {
            let jobs = compactions.into_iter().map(Arc::new);
            self.jobs[0].queue.extend(jobs);
            return;
        }
        self.jobs[0].prepared = Some(compactions);
        let (context, quarantine) = (Arc::clone(&self.context), Arc::clone(&self.quarantine));
        self.begin(Doing::Prepare, async move {
            let marked = upkeep::work(&context, marks).await;
            End::Prepared(marked, shut_listed(&context, &quarantine, damaged).await)
        });
    }
}

/// Blocks whose listing does not fit their `meta.json`.
fn damaged(view: &BucketView, held: &[plan::Held]) -> Vec<BlockView> {
    let held = held.iter().filter(|h| h.why == HeldReason::Damaged);
    let ids: HashSet<Ulid> = held.flat_map(|h| h.blocks.iter().copied()).collect();
    let blocks = view.blocks.iter().filter(|b| ids.contains(&b.id()));
    blocks.cloned().collect()
}

/// Puts such blocks into quarantine, until no more may be.
async fn shut_listed(
    context: &JobContext,
    quarantine: &Quarantine,
    blocks: Vec<BlockView>,
) -> Vec<(Ulid, Result<Listed>)> {
    let mut ends = Vec::new();
    for block in blocks {
        ends.push((block.id(), quarantine.listed(context, &block).await));
        if quarantine.is_capped() {
            break;
        }
    }
    ends
}

/// From the end of a task to the report.
impl Lanes {
    fn ended(&mut self, doing: Option<Doing>, end: End) {
        match (doing, end) {
            (_, End::Looked(syncer, view)) => {
                self.syncer = Some(*syncer);
                match view {
                    Ok(_) if self.is_stopping() => {}
                    Ok(view) => self.plan(view),
                    Err(error) => self.failed = Some(error),
                }
            }
            (_, End::Prepared(marked, listed)) => self.prepared(marked, listed),
            (Some(Doing::Job { side, job, known }), End::Job(end)) => {
                self.job_ended(side, &job, &known, end);
            }
            (_, End::Job(_)) => {}
            (_, End::Chores(done)) => {
                for one in done {
                    upkeep::note(&mut self.report, one);
                }
            }
        }
    }

    fn prepared(&mut self, marked: Vec<Done>, listed: Vec<(Ulid, Result<Listed>)>) {
        for one in marked {
            upkeep::note(&mut self.report, one);
        }
        let mut changed = false;
        for (block, end) in listed {
            match end {
                Ok(Listed::Marked(marked)) => {
                    changed = true;
                    self.report.quarantined.push(marked);
                }
                Ok(Listed::Fine) => changed = true,
                Ok(Listed::Skipped) => {}
                Err(error) => self.report.fail(Task::Mark(block), error),
            }
        }
        let lane = &mut self.jobs[0];
        let jobs = lane.prepared.take().unwrap_or_default();
        if changed {
            // The plan is out of date.
            lane.changed = true;
        } else {
            lane.queue.extend(jobs.into_iter().map(Arc::new));
        }
    }

    fn job_ended(&mut self, side: usize, job: &Job, known: &Known, end: quarantine::Ended) {
        self.jobs[side].running -= 1;
        self.jobs[side].changed = true;
        self.stale.sources.extend(job.source_ids());
        self.stale.made.extend(known.made());
        match end {
            quarantine::Ended::Done(done) => {
                if done.result.is_none() {
                    // Nothing was left; planned again, it would be the same.
                    self.given_up.forget(job);
                }
                self.report.jobs.push(*done);
            }
            quarantine::Ended::Quarantined(marked) => self.report.quarantined.push(marked),
            quarantine::Ended::Failed(error) => {
                self.given_up.learn(job, &error);
                let task = Task::Compaction {
                    group: job.group,
                    labels: job.labels.clone(),
                    sources: job.source_ids(),
                };
                self.report.fail(task, error);
            }
        }
    }

    /// A task that panicked is a bug, and costs nothing but itself.
    fn broke_off(&mut self, error: &JoinError) {
        let bug = || Error::new(Kind::Internal, format!("a task broke off: {error}"));
        match self.doing.remove(&error.id()) {
            Some(Doing::Look | Doing::Prepare) => self.failed = Some(bug()),
            Some(Doing::Job { side, job, known }) => {
                self.job_ended(side, &job, &known, quarantine::Ended::Failed(bug()));
            }
            Some(Doing::Chores(chores)) => {
                for chore in chores {
                    self.report.fail(chore.task(), bug());
                }
            }
            None => {}
        }
    }
}
