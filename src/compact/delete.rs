//! Removing folders: blocks that were marked long enough ago, and uploads that
//! were given up. Many at a time, each in the order that readers need.
//!
//! ```text
//!  list each folder     meta.json of all   everything else   deletion-mark.json
//!  still to be removed? ----------------> ----------------> of all ---------->
//!                       no reader                           a removal that
//!                       sees them now                       breaks off is found again
//! ```
//!
//! A folder of which one object cannot be removed drops out there, and the
//! others go on; its mark stays.

use futures::StreamExt;
use ulid::Ulid;

use super::lease::Lease;
use crate::block::markers::DELETION_MARK;
use crate::block::{META, path};
use crate::error::{Error, Result};
use crate::objstore::{Bucket, Object};

/// Folders of those that are listed at the same time.
const LISTINGS: usize = 16;

/// What has to be so just before a folder is removed.
#[derive(Debug, Clone, Copy)]
pub(super) enum Condition {
    /// It carries a deletion mark. If it was taken back, somebody wants the
    /// block.
    Marked,
    /// None of its objects is newer, ms since the epoch.
    UnchangedSince(i64),
    /// It has objects, and no `meta.json` among them unless that came `late`,
    /// after the rest was removed.
    Partial { late: bool },
}

/// A folder that is to be removed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Removal {
    pub folder: Ulid,
    pub condition: Condition,
}

struct Folder {
    id: Ulid,
    names: Vec<String>,
    /// Whether it goes, or why it cannot.
    answer: Result<bool>,
}

/// Removes folders. For each, in the order given: true if it is gone, false if
/// it is left because it is no longer what it was.
///
/// # Errors
/// Each on its own: the lease is lost, or whatever the bucket fails with.
pub(super) async fn folders(
    bucket: &Bucket,
    lease: &Lease,
    removals: &[Removal],
) -> Vec<Result<bool>> {
    let looks: Vec<_> = removals.iter().map(|&one| look(bucket, one)).collect();
    let mut all: Vec<Folder> = futures::stream::iter(looks)
        .buffered(LISTINGS)
        .collect()
        .await;
    for stage in [Stage::Meta, Stage::Rest, Stage::Mark] {
        delete(bucket, lease, &mut all, stage).await;
    }
    all.into_iter().map(|folder| folder.answer).collect()
}

async fn look(bucket: &Bucket, removal: Removal) -> Folder {
    let id = removal.folder;
    let listed = bucket.list(&id.to_string()).await;
    let answer = match &listed {
        Ok(objects) => Ok(holds(removal, objects)),
        Err(error) => Err(error.clone().into()),
    };
    let objects = listed.unwrap_or_default();
    Folder {
        id,
        names: objects.into_iter().map(|o| o.name).collect(),
        answer,
    }
}

fn holds(removal: Removal, objects: &[Object]) -> bool {
    let id = removal.folder;
    match removal.condition {
        Condition::Marked => {
            let mark = path(id, DELETION_MARK);
            let marked = objects.iter().any(|o| o.name == mark);
            if !marked {
                tracing::warn!(block = %id, "deletion mark was removed, the block stays");
            }
            marked
        }
        Condition::UnchangedSince(then) => {
            let same = objects.iter().all(|o| o.modified_ms <= then);
            if !same {
                tracing::warn!(folder = %id, "upload goes on, the folder stays");
            }
            same
        }
        Condition::Partial { late } => {
            let meta = path(id, META);
            !objects.is_empty() && (late || objects.iter().all(|o| o.name != meta))
        }
    }
}

/// When an object of a folder goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Meta,
    Rest,
    Mark,
}

impl Stage {
    fn of(id: Ulid, name: &str) -> Self {
        if name == path(id, META) {
            Self::Meta
        } else if name == path(id, DELETION_MARK) {
            Self::Mark
        } else {
            Self::Rest
        }
    }
}

/// Deletes the objects of one stage, of all folders that are still to go.
async fn delete(bucket: &Bucket, lease: &Lease, all: &mut [Folder], stage: Stage) {
    let mut names = Vec::new();
    let mut owners = Vec::new();
    for (at, folder) in all.iter().enumerate() {
        if !matches!(folder.answer, Ok(true)) {
            continue;
        }
        let due = folder.names.iter();
        for name in due.filter(|name| Stage::of(folder.id, name) == stage) {
            names.push(name.clone());
            owners.push(at);
        }
    }
    if names.is_empty() {
        return;
    }
    let deleted = async { Ok::<_, Error>(bucket.delete_all(&names).await) };
    let answers: Vec<Result<()>> = match lease.within(deleted).await {
        Ok(answers) => answers.into_iter().map(|a| a.map_err(Into::into)).collect(),
        // Some may be gone; the others are found again.
        Err(error) => owners.iter().map(|_| Err(error.again())).collect(),
    };
    for (at, answer) in owners.into_iter().zip(answers) {
        if let (Err(error), Some(folder)) = (answer, all.get_mut(at)) {
            folder.answer = Err(error);
        }
    }
}
