//! Requests of a run, by what they are for.
//!
//! ```text
//!  looks      the first one, and one more after each round of jobs
//!  jobs       sources, results, their check, the last look, the sources' marks
//!  marks      of blocks that are outdated, past their retention or kept out
//!  removals   a listing of each folder, then its objects
//!  …          what else a process asks for, by the name that it gives: `cache`,
//!             `report`, `start`
//! ```

use std::collections::BTreeMap;

use super::build::BucketFacts;
use crate::plan::cost::Requests;
use crate::plan::removal;
use crate::plan::view::BucketView;
use crate::plan::{Plan, Rounds};

/// What a run asks of its bucket that does not follow from its plan.
#[derive(Debug, Clone)]
pub struct Habits {
    /// Small objects that its first look fetches; `None` for all there are.
    pub fetched_first: Option<u64>,
    /// Objects that one request deletes.
    pub deletes_at_once: u64,
    /// Requests for everything else, by what they are for. Whoever makes a run
    /// ask for more adds a line here.
    pub others: Vec<(&'static str, Requests)>,
}

impl Default for Habits {
    /// Of a run alone, without the process around it.
    fn default() -> Self {
        Self {
            fetched_first: None,
            deletes_at_once: 1,
            others: Vec::new(),
        }
    }
}

/// All requests, by what they are for; what takes none is left out.
pub(super) fn by_purpose(facts: &BucketFacts<'_>) -> BTreeMap<String, Requests> {
    let mut all = BTreeMap::new();
    let mut add = |purpose: &str, requests: Requests| {
        if requests != Requests::default() {
            *all.entry(purpose.to_owned()).or_default() += requests;
        }
    };
    add("looks", looks(facts));
    for plan in facts.plans() {
        add("marks", marks(plan));
        add("removals", removals(plan, facts.habits.deletes_at_once));
        for job in &plan.jobs {
            add("jobs", job.cost.requests);
        }
    }
    for (purpose, requests) in &facts.habits.others {
        add(purpose, *requests);
    }
    all
}

fn looks(facts: &BucketFacts<'_>) -> Requests {
    let pages = facts.view.size.pages();
    let fetched = facts.habits.fetched_first;
    let mut requests = Requests {
        list: pages,
        get: fetched.unwrap_or_else(|| small_objects(facts.view)),
        ..Requests::default()
    };
    for plan in facts.plans().filter(|plan| !plan.jobs.is_empty()) {
        // One look more after the jobs, which reads what they wrote.
        requests.list += pages;
        requests.get += written(plan);
    }
    requests
}

/// Small objects that the jobs of a plan write: metas, and marks on sources.
fn written(plan: &Plan) -> u64 {
    let merges = plan.jobs.iter().filter(|j| j.products.merged);
    let marked: usize = merges.map(|j| j.sources.len()).sum();
    let made: usize = plan.jobs.iter().map(|j| j.products.count()).sum();
    (marked + made) as u64
}

/// Small objects (metas, marks) that all rounds of a run write or remove.
pub fn changed(plan: &Plan, rounds: &Rounds) -> u64 {
    let of = |plan: &Plan| {
        let gone = 2 * plan.deletions.len() as u64;
        written(plan) + marks(plan).put + gone
    };
    of(plan) + rounds.later.iter().map(of).sum::<u64>()
}

fn marks(plan: &Plan) -> Requests {
    let marks = (plan.garbage.len() + plan.retired.len() + plan.marks.len()) as u64;
    Requests {
        head: marks,
        put: marks,
        ..Requests::default()
    }
}

fn removals(plan: &Plan, deletes_at_once: u64) -> Requests {
    let blocks: Vec<(u64, bool)> = plan.deletions.iter().map(|d| (d.objects, true)).collect();
    let partials = plan.partials.iter().map(|p| (p.objects, false));
    let partials: Vec<(u64, bool)> = partials.collect();
    Requests {
        // Each folder is looked at before it goes.
        list: (blocks.len() + partials.len()) as u64,
        delete: removal::requests(&blocks, deletes_at_once)
            + removal::requests(&partials, deletes_at_once),
        ..Requests::default()
    }
}

/// Metas and markers, which a first look without cache reads.
fn small_objects(view: &BucketView) -> u64 {
    let small = |path: &str| path.ends_with(".json") && !path.contains('/');
    let files = view.blocks.iter().flat_map(|b| b.files.iter());
    files.filter(|f| small(&f.path)).count() as u64
}
