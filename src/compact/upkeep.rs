//! What lanes do that make no blocks: marks and removals.
//!
//! Each piece of work is a task of its own with an answer for every block, so
//! that one which never ends keeps back nothing but itself.

use futures::StreamExt;

use super::delete::{Condition, Removal, folders};
use super::job::JobContext;
use super::mark;
use super::report::{RunReport, Task};
use crate::error::Result;
use crate::plan::removal::FOLDERS_AT_ONCE;
use crate::plan::{Cleanup, Deletion, Garbage, NoCompact, Retired};

/// Marks that are set at the same time.
const MARKS_AT_ONCE: usize = 8;

/// Something that is to be done with a block or a folder.
#[derive(Debug, Clone)]
pub(super) enum Chore {
    /// Mark a block for deletion: another one has replaced it.
    Garbage(Garbage),
    /// Mark a block for deletion: it is past its retention.
    Retired(Retired),
    /// Keep a block out of compactions.
    NoCompact(NoCompact),
    /// Remove a block whose mark is old enough.
    Deletion(Deletion),
    /// Remove an upload that was given up.
    Cleanup(Cleanup),
}

/// A chore with its end: false if there was nothing to be done after all.
pub(super) type Done = (Chore, Result<bool>);

impl Chore {
    /// What it is in a report.
    pub fn task(&self) -> Task {
        match self {
            Self::Garbage(garbage) => Task::Mark(garbage.block),
            Self::Retired(retired) => Task::Mark(retired.block),
            Self::NoCompact(mark) => Task::Mark(mark.block),
            Self::Deletion(deletion) => Task::Deletion(deletion.block),
            Self::Cleanup(cleanup) => Task::Cleanup(cleanup.folder),
        }
    }

    /// The folder that it removes, if it removes one.
    fn removal(&self) -> Option<Removal> {
        match self {
            Self::Deletion(deletion) => Some(Removal {
                folder: deletion.block,
                condition: Condition::Marked,
            }),
            Self::Cleanup(cleanup) => Some(Removal {
                folder: cleanup.folder,
                condition: Condition::UnchangedSince(cleanup.modified_ms),
            }),
            Self::Garbage(_) | Self::Retired(_) | Self::NoCompact(_) => None,
        }
    }
}

/// Cuts chores into pieces that are one task each.
pub(super) fn pieces(chores: Vec<Chore>) -> Vec<Vec<Chore>> {
    let pieces = chores.chunks(FOLDERS_AT_ONCE);
    pieces.map(<[Chore]>::to_vec).collect()
}

/// Does chores that are all removals, or all marks.
pub(super) async fn work(context: &JobContext, chores: Vec<Chore>) -> Vec<Done> {
    let removals: Vec<Removal> = chores.iter().filter_map(Chore::removal).collect();
    if removals.len() == chores.len() {
        let answers = folders(&context.bucket, &context.lease, &removals).await;
        return chores.into_iter().zip(answers).collect();
    }
    futures::stream::iter(chores)
        .map(|chore| async move {
            let answer = set_mark(context, &chore).await;
            (chore, answer)
        })
        .buffer_unordered(MARKS_AT_ONCE)
        .collect()
        .await
}

async fn set_mark(context: &JobContext, chore: &Chore) -> Result<bool> {
    match chore {
        Chore::Garbage(garbage) => {
            mark::for_deletion(context, garbage.block, "outdated block").await?;
        }
        Chore::Retired(retired) => {
            mark::for_deletion(context, retired.block, &retired.details()).await?;
        }
        Chore::NoCompact(no_compact) => {
            mark::for_no_compact(context, no_compact).await?;
        }
        Chore::Deletion(_) | Chore::Cleanup(_) => return Ok(false),
    }
    Ok(true)
}

/// Takes down and logs how a chore ended.
pub(super) fn note(report: &mut RunReport, (chore, answer): Done) {
    match answer {
        Ok(true) => {}
        Ok(false) => return,
        Err(error) => return report.fail(chore.task(), error),
    }
    match chore {
        Chore::Garbage(Garbage { block, covered_by }) => {
            tracing::info!(%block, %covered_by, "marked outdated block");
            report.garbage.push(block);
        }
        Chore::Retired(retired) => {
            tracing::info!(
                block = %retired.block, resolution_ms = retired.resolution,
                why = retired.why.as_str(), because = retired.why.sentence(),
                "block is past its retention"
            );
            report.retired.push(retired.block);
        }
        Chore::NoCompact(mark) => {
            tracing::warn!(
                block = %mark.block, reason = mark.reason.as_str(), details = mark.details,
                "block is kept out of compactions from now on"
            );
            report.no_compact.push(mark.block);
        }
        Chore::Deletion(deletion) => {
            tracing::info!(
                block = %deletion.block, bytes = deletion.bytes,
                details = deletion.details, "block deleted"
            );
            report.deleted.push(deletion.block);
        }
        Chore::Cleanup(cleanup) => {
            tracing::info!(
                folder = %cleanup.folder, why = cleanup.why.as_str(),
                objects = cleanup.objects, bytes = cleanup.bytes, "folder cleaned up"
            );
            report.cleaned.push(cleanup.folder);
        }
    }
}
