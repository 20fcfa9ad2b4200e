//! What is not tried again in a run.

use std::collections::{HashMap, HashSet};

use ulid::Ulid;

use crate::error::{Error, Kind};
use crate::plan::group::GroupKey;
use crate::plan::view::{BucketView, Finding};
use crate::plan::{Job, Lane};
use crate::tsdb::Damage;

/// Groups and blocks that are left to the next run.
#[derive(Debug, Default)]
pub(super) struct GivenUp {
    /// Of each lane: what fails in one is tried by the other.
    groups: HashSet<(GroupKey, Lane)>,
    /// Blocks that were to blame for a failure, with what was wrong.
    blocks: HashMap<Ulid, Finding>,
}

impl GivenUp {
    /// Leaves a group alone.
    pub fn forget(&mut self, job: &Job) {
        self.groups.insert((job.group, job.lane()));
    }

    /// Whether the group of a job is left alone.
    pub fn has(&self, job: &Job) -> bool {
        self.groups.contains(&(job.group, job.lane()))
    }

    /// Leaves alone what is to blame for the failure of a job: a block, if it
    /// is known, else the group.
    pub fn learn(&mut self, job: &Job, error: &Error) {
        match error.block() {
            Some(block) if error.kind() == Kind::Corrupt => {
                let finding = Finding {
                    reason: error.damage().unwrap_or(Damage::Malformed),
                    what: error.chain(),
                };
                self.blocks.insert(block, finding);
            }
            _ => self.forget(job),
        }
    }

    /// Lets the planner leave out what was to blame.
    pub fn apply_to(&self, view: &mut BucketView) {
        for block in &mut view.blocks {
            if let Some(finding) = self.blocks.get(&block.id()) {
                block.damaged.get_or_insert_with(|| finding.clone());
            }
        }
    }
}
