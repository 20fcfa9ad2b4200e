//! From the end of a task to the report.

use std::sync::Arc;

use tokio::task::JoinError;
use ulid::Ulid;

use super::{Doing, End, Lanes};
use crate::compact::look::Known;
use crate::compact::quarantine::{self, Listed};
use crate::compact::report::Task;
use crate::compact::upkeep::{self, Done};
use crate::error::{Error, Kind, Result};
use crate::plan::{Job, Lane};

impl Lanes {
    pub(super) fn ended(&mut self, doing: Option<Doing>, end: End) {
        match (doing, end) {
            (_, End::Looked(syncer, view, settled)) => {
                self.syncer = Some(*syncer);
                self.context.known.saw(settled.removed.iter().copied());
                self.report.cleaned.extend(settled.removed);
                match view {
                    Ok(_) if self.is_stopping() => {}
                    Ok(view) => {
                        self.begin_cache();
                        self.plan(view);
                    }
                    Err(error) => self.failed = Some(error),
                }
            }
            (_, End::Prepared(marked, listed)) => self.prepared(marked, listed),
            (Some(Doing::Job { side, job, known }), End::Job(end)) => {
                self.job_ended(side, &job, &known, end);
            }
            (_, End::Job(_) | End::Cached) => {}
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
                self.report.fail(task_of(job), error);
            }
        }
    }

    /// A task that panicked is a bug, and costs nothing but itself.
    pub(super) fn broke_off(&mut self, error: &JoinError) {
        let lost = self.context.lease.error().filter(|_| error.is_cancelled());
        let bug = || {
            let bug = || Error::new(Kind::Internal, format!("a task broke off: {error}"));
            lost.as_ref().map_or_else(bug, Error::again)
        };
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
            // Nothing depends on it.
            Some(Doing::Cache) | None => {}
        }
    }
}

/// What failed, if a job did.
fn task_of(job: &Job) -> Task {
    let (group, labels, sources) = (job.group, job.labels.clone(), job.source_ids());
    match job.lane() {
        Lane::Downsampling => Task::Downsampling {
            group,
            labels,
            sources,
        },
        _ => Task::Compaction {
            group,
            labels,
            sources,
        },
    }
}
