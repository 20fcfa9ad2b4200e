//! Lanes: four kinds of work that do not wait for each other.
//!
//! ```text
//!  lane          work of a plan
//!  compaction    jobs that make blocks of the same resolution, no-compact marks
//!  downsampling  jobs that only make blocks of lower resolutions
//!  retention     deletion marks, removal of blocks whose delay has passed
//!  cleanup       removal of folders that are no blocks
//! ```

use std::fmt;
use std::str::FromStr;

use super::model::{Deletion, Job, Plan, Stream, Tile};
use super::retention::Retired;

/// One kind of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Lane {
    /// Merging blocks, and keeping blocks out of that.
    Compaction,
    /// Making blocks of lower resolution.
    Downsampling,
    /// Marking blocks for deletion, and removing marked ones.
    Deletion,
    /// Removing uploads that were given up.
    Cleaning,
}

impl Lane {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::Compaction,
        Self::Downsampling,
        Self::Deletion,
        Self::Cleaning,
    ];

    /// Stable name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Compaction => "compaction",
            Self::Downsampling => "downsampling",
            Self::Deletion => "retention",
            Self::Cleaning => "cleanup",
        }
    }
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Lane {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|lane| lane.as_str() == text);
        found.ok_or_else(|| {
            let names = Self::ALL.map(Self::as_str).join(", ");
            format!("{text:?} is no lane; the lanes are {names}")
        })
    }
}

/// The lanes of a run: all, unless some were switched off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Lanes([bool; 4]);

impl Lanes {
    /// Only these.
    pub fn only(lanes: &[Lane]) -> Self {
        Self(Lane::ALL.map(|lane| lanes.contains(&lane)))
    }

    /// All but these.
    pub fn without(lanes: &[Lane]) -> Self {
        Self(Lane::ALL.map(|lane| !lanes.contains(&lane)))
    }

    /// Whether a lane is on.
    pub fn has(&self, lane: Lane) -> bool {
        self.0[lane as usize]
    }

    /// Whether all of them are on.
    pub fn is_all(&self) -> bool {
        self.0 == [true; 4]
    }

    /// Whether jobs of both kinds may run side by side.
    pub fn share_memory(&self) -> bool {
        self.has(Lane::Compaction) && self.has(Lane::Downsampling)
    }

    /// Names of those that are on, in the order of [`Lane::ALL`].
    pub fn names(&self) -> Vec<&'static str> {
        let on = Lane::ALL.into_iter().filter(|lane| self.has(*lane));
        on.map(Lane::as_str).collect()
    }
}

impl Default for Lanes {
    fn default() -> Self {
        Self([true; 4])
    }
}

impl fmt::Display for Lanes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.names().join(", "))
    }
}

impl Job {
    /// The lane that does it.
    pub fn lane(&self) -> Lane {
        if self.only_downsamples() {
            Lane::Downsampling
        } else {
            Lane::Compaction
        }
    }
}

impl Plan {
    /// Leaves only the work of these lanes.
    pub(super) fn keep(&mut self, lanes: &Lanes) {
        self.lanes = *lanes;
        if !lanes.has(Lane::Deletion) {
            self.deletions.clear();
            self.garbage.clear();
            self.retired.clear();
        }
        if !lanes.has(Lane::Cleaning) {
            self.partials.clear();
        }
        if !lanes.has(Lane::Compaction) {
            self.marks.clear();
            self.held.clear();
            self.cuts.clear();
        }
        self.keep_jobs(|job| lanes.has(job.lane()));
    }

    /// Leaves only these jobs. A stream that loses one stays as it is.
    fn keep_jobs(&mut self, wanted: impl Fn(&Job) -> bool) {
        let mut left = 0;
        let numbers: Vec<Option<usize>> = self
            .jobs
            .iter()
            .map(|job| {
                wanted(job).then(|| {
                    left += 1;
                    left - 1
                })
            })
            .collect();
        if left == numbers.len() {
            return;
        }
        self.jobs.retain(wanted);
        let number = |tile: &Tile| tile.job.and_then(|job| numbers.get(job).copied().flatten());
        for Stream { before, after, .. } in &mut self.streams {
            let lost = |tile: &Tile| tile.job.is_some() && number(tile).is_none();
            if before.iter().chain(after.iter()).any(lost) {
                after.clone_from(before);
            }
            for tile in before.iter_mut().chain(after) {
                tile.job = number(tile);
            }
        }
    }

    /// Leaves at most `most` removals of blocks, those that were marked first,
    /// and as many marks of retention, those that have expired first.
    pub(super) fn limit_deletions(&mut self, most: Option<usize>) {
        let oldest = |d: &Deletion| (d.marked_ms, d.block);
        self.deletions_left = keep_first(&mut self.deletions, most, oldest);
        let longest = |r: &Retired| (r.expired_ms, r.block);
        self.retired_left = keep_first(&mut self.retired, most, longest);
    }
}

/// Leaves at most `most`, the first by their keys. Returns how many went.
fn keep_first<T, K: Ord>(of: &mut Vec<T>, most: Option<usize>, key: impl Fn(&T) -> K) -> usize {
    let due = of.len();
    let most = most.unwrap_or(due);
    if due <= most {
        return 0;
    }
    of.sort_by_key(key);
    of.truncate(most);
    due - most
}

#[cfg(test)]
mod tests {
    use super::*;
    use ulid::Ulid;

    #[test]
    fn names_are_stable_and_an_unknown_one_is_told_which_there_are() {
        for lane in Lane::ALL {
            assert_eq!(lane.as_str().parse(), Ok(lane));
        }
        let error = "deletion".parse::<Lane>().unwrap_err();
        for lane in Lane::ALL {
            assert!(error.contains(lane.as_str()), "{error}");
        }
    }

    #[test]
    fn lanes_are_chosen_and_left_out() {
        let only = Lanes::only(&[Lane::Cleaning, Lane::Compaction]);
        assert_eq!(only.to_string(), "compaction, cleanup");
        let without = Lanes::without(&[Lane::Downsampling, Lane::Deletion]);
        assert_eq!(only, without);
        assert!(Lanes::default().is_all() && !only.is_all());
        assert!(Lanes::default().share_memory() && !only.share_memory());
    }

    fn deletion(n: u64, marked_ms: i64) -> Deletion {
        Deletion {
            block: Ulid::from_parts(n, 0),
            marked_ms,
            details: String::new(),
            objects: 3,
            bytes: 10,
        }
    }

    #[test]
    fn the_oldest_marks_go_first() {
        let whole = Plan {
            deletions: vec![deletion(1, 30), deletion(2, 10), deletion(3, 20)],
            ..Plan::default()
        };
        for (most, left, marks) in [
            (None, 0, vec![30, 10, 20]),
            (Some(3), 0, vec![30, 10, 20]),
            (Some(2), 1, vec![10, 20]),
            (Some(1), 2, vec![10]),
            (Some(0), 3, vec![]),
        ] {
            let mut plan = whole.clone();
            plan.limit_deletions(most);
            let found: Vec<i64> = plan.deletions.iter().map(|d| d.marked_ms).collect();
            assert_eq!(
                (found, plan.deletions_left),
                (marks, left),
                "at most {most:?}"
            );
        }
    }
}
