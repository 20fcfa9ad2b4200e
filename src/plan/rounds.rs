//! A plan, and what is planned once it was executed, to the end.
//!
//! A run plans again from what its jobs have made, until no job is due:
//!
//! ```text
//!  round 1   raw   |--2d--|--2d--| ... |--2d--|    --> 14d
//!            5m    |--2d--|--2d--| ... (each was made when it was due)
//!  round 2   5m    |------- 14d --------|          --> garbage: the 5m blocks of 2d
//!  round 3   1h    |------- 14d --------|
//! ```
//!
//! Later rounds rest on predicted sizes. Whatever depends on those (ranges of
//! bytes and samples, limits that cut a chain) is less certain in them.

use std::collections::HashMap;

use ulid::Ulid;

use super::after::{Made, after};
use super::cost::Span;
use super::filter::LiveBlock;
use super::model::{Job, Plan, Stream, Tile, resolution_name};
use super::settings::Settings;
use super::view::BucketView;

/// Rounds that are planned besides the first.
pub const MOST_LATER_ROUNDS: usize = 10;

/// What follows a plan.
#[derive(Debug, Clone, Default)]
pub struct Rounds {
    /// Plans behind the first, in order. The last one has no jobs, unless
    /// [`Rounds::is_cut`]; there are none if the first has no jobs.
    pub later: Vec<Plan>,
    /// Every stream with its blocks now and at the end. Jobs are numbered over
    /// all rounds, from 0.
    pub streams: Vec<Stream>,
    /// The bucket at the end. Names of blocks that do not exist yet are made up.
    pub bucket: BucketView,
    /// Jobs are still due after [`MOST_LATER_ROUNDS`]: the end is that of those.
    pub is_cut: bool,
    /// Blocks that do not exist yet, with the number of their job.
    made: HashMap<Ulid, Made>,
    /// Blocks of today that went into each job, by its number, with their
    /// bytes.
    leaves: Vec<Vec<(Ulid, u64)>>,
}

/// Plans on behind `first`, the plan of `view`, until no job is due.
///
/// `now_ms` is milliseconds since the epoch: all rounds are planned as of then.
pub fn rounds(view: &BucketView, first: &Plan, settings: &Settings, now_ms: i64) -> Rounds {
    let mut rounds = Rounds::default();
    let mut settings = settings.clone();
    let mut bucket = view.clone();
    let mut next = Some(first.clone());
    while let Some(plan) = next.take() {
        let offset = rounds.leaves.len();
        rounds.note_sources(&plan);
        let after = after(&bucket, &plan, now_ms);
        bucket = after.view;
        if plan.jobs.is_empty() || rounds.later.len() == MOST_LATER_ROUNDS {
            rounds.is_cut = !plan.jobs.is_empty();
            rounds.close(first, &plan, offset);
            break;
        }
        rounds.made.extend(after.made.into_iter().map(|m| {
            let job = offset + m.job;
            (m.id, Made { job, ..m })
        }));
        // The limit is one for the whole run.
        let spent = plan.deletions.len().max(plan.retired.len());
        settings.max_deletions = settings.max_deletions.map(|n| n.saturating_sub(spent));
        let mut later = super::plan(&bucket, &settings, now_ms);
        later.jobs.iter_mut().for_each(|job| rounds.widen(job));
        later.refresh_tiles();
        rounds.later.push(later.clone());
        next = Some(later);
    }
    rounds.bucket = bucket;
    rounds
}

impl Rounds {
    /// All jobs of all rounds, in the order of their numbers.
    pub fn jobs<'a>(&'a self, first: &'a Plan) -> impl Iterator<Item = &'a Job> {
        first.jobs.iter().chain(self.later_jobs())
    }

    /// Those behind the first round.
    pub fn later_jobs(&self) -> impl Iterator<Item = &Job> {
        self.later.iter().flat_map(|p| &p.jobs)
    }

    /// The block that a name of a later plan stands for, if it is still to be
    /// made; its job is numbered over all rounds, from 0.
    pub fn made(&self, id: Ulid) -> Option<&Made> {
        self.made.get(&id)
    }

    /// A block's name; `job:3/5m` if it is still to be made.
    pub fn name(&self, id: Ulid) -> String {
        self.made(id).map_or_else(
            || id.to_string(),
            |m| format!("job:{}/{}", m.job + 1, resolution_name(m.cost.resolution)),
        )
    }

    /// Blocks of today that go into a job, directly or not, with their bytes.
    pub fn leaves(&self, job: usize) -> &[(Ulid, u64)] {
        self.leaves.get(job).map_or(&[], Vec::as_slice)
    }

    fn note_sources(&mut self, plan: &Plan) {
        for job in &plan.jobs {
            let mut leaves = Vec::new();
            for source in &job.sources {
                match self.made.get(&source.id()) {
                    Some(made) => leaves.extend_from_slice(self.leaves(made.job)),
                    None => leaves.push((source.id(), source.view.data_bytes())),
                }
            }
            leaves.sort_unstable();
            leaves.dedup();
            self.leaves.push(leaves);
        }
    }

    /// A job of blocks that do not exist is as uncertain as those are.
    fn widen(&self, job: &mut Job) {
        let known = |b: &LiveBlock| self.made.get(&b.id()).map(|m| &m.cost);
        let ratio = |all: &dyn Fn(&LiveBlock) -> (Span, u64)| {
            let (mut low, mut middle, mut high) = (0.0, 0.0, 0.0);
            for block in &job.sources {
                let (span, expected) = all(block);
                low += span.0 as f64;
                middle += expected as f64;
                high += span.1 as f64;
            }
            (low / f64::max(middle, 1.0), high / f64::max(middle, 1.0))
        };
        let exact = |n: u64| ((n, n), n);
        let bytes = ratio(&|b| {
            let n = b.view.data_bytes();
            known(b).map_or(exact(n), |c| (c.bytes, n))
        });
        let index = ratio(&|b| {
            let n = b.view.index_bytes();
            known(b).map_or(exact(n), |c| (c.index_bytes, n))
        });
        let samples = ratio(&|b| known(b).map_or(exact(b.samples()), |c| (c.samples, b.samples())));
        let series = ratio(&|b| known(b).map_or(exact(b.series()), |c| (c.series, b.series())));
        let cost = &mut job.cost;
        stretch(&mut cost.bytes, bytes);
        stretch(&mut cost.index_bytes, index);
        stretch(&mut cost.samples, samples);
        stretch(&mut cost.series, series);
        for lower in &mut cost.lower {
            stretch(&mut lower.bytes, bytes);
            stretch(&mut lower.index_bytes, index);
            stretch(&mut lower.samples, samples);
            stretch(&mut lower.series, series);
        }
    }

    /// What there is now, and what there is once `last` was done, whose jobs
    /// have the numbers from `offset`.
    fn close(&mut self, first: &Plan, last: &Plan, offset: usize) {
        let mut streams: Vec<Stream> = first.streams.clone();
        streams.iter_mut().for_each(|s| s.after.clear());
        for stream in &last.streams {
            let after = stream.after.iter().map(|t| self.tile(t, offset)).collect();
            match streams.iter_mut().find(|s| s.is(stream)) {
                Some(known) => known.after = after,
                None => streams.push(Stream {
                    before: Vec::new(),
                    after,
                    ..stream.clone()
                }),
            }
        }
        let numbered = (first.jobs.len()..).zip(self.later_jobs());
        let merges = numbered.filter(|(_, job)| job.products.merged);
        let taken: HashMap<Ulid, usize> = merges
            .flat_map(|(number, job)| job.sources.iter().map(move |b| (b.id(), number)))
            .collect();
        for tile in streams.iter_mut().flat_map(|s| &mut s.before) {
            let later = tile.block.and_then(|id| taken.get(&id).copied());
            tile.job = tile.job.or(later);
        }
        streams.sort_by_cached_key(|s| (s.key.resolution, s.labels.clone()));
        self.streams = streams;
    }

    /// A block of the last plan, seen from today.
    fn tile(&self, tile: &Tile, offset: usize) -> Tile {
        let Some(made) = tile.block.and_then(|id| self.made.get(&id)) else {
            return Tile {
                job: tile.job.map(|job| offset + job),
                ..tile.clone()
            };
        };
        Tile {
            block: None,
            job: Some(made.job),
            bytes: made.cost.bytes,
            samples: made.cost.samples,
            index_bytes: 0,
            ..tile.clone()
        }
    }
}

impl Stream {
    /// Whether both are of one resolution and have the same labels.
    fn is(&self, other: &Self) -> bool {
        self.key.resolution == other.key.resolution && self.labels == other.labels
    }
}

/// Moves both ends of a range apart.
fn stretch(span: &mut Span, (low, high): (f64, f64)) {
    *span = (
        (span.0 as f64 * low).floor() as u64,
        (span.1 as f64 * high).ceil() as u64,
    );
}
