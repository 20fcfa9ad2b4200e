//! From a look to work for all lanes.

use std::collections::HashSet;
use std::sync::Arc;

use ulid::Ulid;

use super::{Doing, End, Lanes};
use crate::compact::findings;
use crate::compact::job::JobContext;
use crate::compact::quarantine::{Listed, Quarantine};
use crate::compact::upkeep::{self, Chore};
use crate::error::Result;
use crate::plan::view::{BlockView, BucketView};
use crate::plan::{self, HeldReason, Job, Lane, Plan};

impl Lanes {
    pub(super) fn plan(&mut self, mut view: BucketView) {
        self.given_up.apply_to(&mut view);
        let hidden = self.unfinished();
        view.blocks.retain(|block| !hidden.contains(&block.id()));
        let mut settings = self.options.plan.clone();
        let spent = self.tried.deletions.len();
        settings.max_deletions = settings.max_deletions.map(|n| n.saturating_sub(spent));
        let now_ms = self.context.clock.now_ms();
        let mut plan = plan::plan(&view, &settings, now_ms);
        let busy = self.busy();
        plan.jobs.retain(|job| {
            let taken = job.sources.iter().any(|s| busy.contains(&s.id()));
            !taken && !self.given_up.has(job)
        });
        plan.garbage.retain(|g| !busy.contains(&g.block));
        plan.retired.retain(|r| !busy.contains(&r.block));
        let report = &mut self.report;
        report.passes += 1;
        if report.passes == 1 {
            report.blocks_seen = view.blocks.len();
            report.findings = plan::lint::lint(&view, &settings, now_ms);
            findings::log(self.context.bucket.name(), &report.findings);
        }
        report.seen.look(&view, &settings);
        report.held.clone_from(&plan.held);
        report.problems.clone_from(&view.problems);
        report.deletions_left = plan.deletions_left;
        report.retired_left = plan.retired_left;
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
        let mut marks: Vec<Chore> = garbage.map(Chore::Garbage).collect();
        let retired = plan.retired.iter().cloned();
        let retired = retired.filter(|r| tried.marks.insert(r.block));
        marks.extend(retired.map(Chore::Retired));
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
