//! Intents: what a job is about to make, said before its first byte goes up.
//!
//! ```text
//!  lithify/intents/<ULID of the job>.json   holder, part, blocks
//!
//!  PUT intent --> segments, index --> meta.json --> marks --> DELETE intent
//!      |                                 |
//!      '-- killed here: the next holder  '-- killed here: the blocks are
//!          of the lease removes exactly      complete, only the intent goes
//!          those folders and uploads
//! ```
//!
//! Without it nobody can tell an upload that was given up from one that goes on,
//! and has to wait for days. The lease says that its writer is gone, the intent
//! what it has left.
//!
//! Invariants:
//!
//! - IN-1: only folders that an intent names, and that have no `meta.json` when
//!   they are looked at again, are removed.
//! - IN-2: an intent goes after what it names: whoever dies between leaves it to
//!   the next.
//! - IN-3: intents of parts that others may be working on are left alone, and so
//!   is one that cannot be read, for two days.

use std::collections::HashSet;

use futures::{StreamExt, stream};
use serde::{Deserialize, Serialize};
use ulid::Ulid;

use super::delete::{self, Condition, Removal};
use super::job::JobContext;
use super::lease::{Holder, Part};
use crate::block::{INDEX, path, segment, split_path};
use crate::error::Result;
use crate::objstore::{self, Object};
use crate::plan::view::BucketView;

/// Folder of the intents in the bucket.
pub const INTENTS: &str = "lithify/intents";

/// Form of the object that this program writes.
const FORM: u32 = 1;

/// An intent has a few names; what is larger is none.
const MAX_BYTES: u64 = 64 << 10;

/// Blocks of one job: one for each resolution.
const MOST_BLOCKS: usize = 16;

/// What cannot be read is removed after so long, ms.
const GARBAGE_MS: i64 = 48 * 3_600_000;

/// Requests at the same time.
const AT_ONCE: usize = 8;

/// What one job is about to make.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Intent {
    version: u32,
    /// Who makes it.
    holder: Holder,
    /// On which part of the bucket.
    part: String,
    /// Folders that it fills: segments, index and, last, `meta.json`.
    blocks: Vec<Ulid>,
    /// When, ms since the epoch. For people.
    started_ms: i64,
}

fn object(job: Ulid) -> String {
    format!("{INTENTS}/{job}.json")
}

/// Says what a job is about to make. Does nothing for a run without lease:
/// nobody could tell that it is dead.
///
/// # Errors
/// The lease is lost; whatever the bucket fails with.
pub(super) async fn declare(context: &JobContext, blocks: &[Ulid]) -> Result<()> {
    let (Some((holder, part)), Some(&job)) = (context.lease.who(), blocks.first()) else {
        return Ok(());
    };
    let intent = Intent {
        version: FORM,
        holder: holder.clone(),
        part: part.to_string(),
        blocks: blocks.to_vec(),
        started_ms: context.clock.now_ms(),
    };
    // Texts and numbers: there is nothing that could fail.
    let json = serde_json::to_vec(&intent).unwrap_or_default();
    let name = object(job);
    context.lease.within(context.bucket.put(&name, json)).await
}

/// Takes an intent back once its job has ended: what it names is complete, or
/// gone. What cannot be taken back is left to the next run.
pub(super) async fn done(context: &JobContext, blocks: &[Ulid]) {
    let (true, Some(&job)) = (context.lease.is_some(), blocks.first()) else {
        return;
    };
    let name = object(job);
    if let Err(error) = context.lease.within(context.bucket.delete(&name)).await {
        tracing::warn!(%job, error = error.chain(), "an intent stays for the next run");
    }
}

/// What was found and done.
#[derive(Debug, Default)]
pub(super) struct Settled {
    /// Folders that were removed.
    pub removed: Vec<Ulid>,
}

/// Removes what jobs of earlier holders have left behind, by their intents among
/// `listed`, and takes those folders out of `view`. What fails is logged and left
/// to the next run.
///
/// # Errors
/// The lease is lost.
pub(super) async fn settle(
    context: &JobContext,
    listed: &[Object],
    view: &mut BucketView,
) -> Result<Settled> {
    let Some((_, part)) = context.lease.who() else {
        return Ok(Settled::default());
    };
    let found: Vec<(Object, Found)> = stream::iter(listed.iter().cloned())
        .map(|object| async move {
            let found = read(context, part, &object).await;
            (object, found)
        })
        .buffered(AT_ONCE)
        .collect()
        .await;
    let whole: HashSet<Ulid> = view.blocks.iter().map(|b| b.id()).collect();
    let mut settled = Settled::default();
    for (object, found) in found {
        let gone = match found {
            Found::Leave => continue,
            Found::Garbage => true,
            Found::Left(intent) => {
                let partial = intent.blocks.iter().filter(|id| !whole.contains(id));
                let partial: Vec<Ulid> = partial.copied().collect();
                tracing::info!(
                    intent = object.name, holder = %intent.holder, partial = partial.len(),
                    "a job of an earlier run was broken off"
                );
                take_back(context, &partial, &mut settled).await
            }
        };
        context.lease.check().await?;
        if gone {
            let delete = context.bucket.delete(&object.name);
            if let Err(error) = context.lease.within(delete).await {
                let error = error.chain();
                tracing::warn!(
                    intent = object.name,
                    error,
                    "an intent stays for the next run"
                );
            }
        }
    }
    context.lease.check().await?;
    let removed: HashSet<Ulid> = settled.removed.iter().copied().collect();
    view.partials.retain(|p| !removed.contains(&p.id));
    view.problems.retain(|p| !removed.contains(&p.block));
    Ok(settled)
}

/// What an intent is to this run.
enum Found {
    /// Its writer is gone.
    Left(Intent),
    /// Cannot be read, and is old.
    Garbage,
    /// None of our business, or not to be judged now.
    Leave,
}

async fn read(context: &JobContext, part: &Part, object: &Object) -> Found {
    let body = match context.bucket.get_bounded(&object.name, MAX_BYTES).await {
        Ok(Some(body)) => Some(body),
        Ok(None) => return Found::Leave,
        Err(error) if error.kind == objstore::Kind::TooLarge => None,
        Err(error) => {
            tracing::warn!(intent = object.name, %error, "an intent cannot be read now");
            return Found::Leave;
        }
    };
    let parsed = body.and_then(|body| serde_json::from_slice::<Intent>(&body).ok());
    let good = |i: &Intent| i.version == FORM && i.blocks.len() <= MOST_BLOCKS;
    let Some(intent) = parsed.filter(good) else {
        let age_ms = context.clock.now_ms().saturating_sub(object.modified_ms);
        tracing::warn!(
            intent = object.name,
            "an intent cannot be read; it may be of a newer version, and goes after two days"
        );
        return if age_ms > GARBAGE_MS {
            Found::Garbage
        } else {
            Found::Leave
        };
    };
    let ours = context.lease.token() == Some(intent.holder.token.as_str());
    // Nobody holds a part that overlaps ours.
    let ended = intent.part.parse().is_ok_and(|p: Part| p.overlaps(part));
    if ours || !ended {
        return Found::Leave;
    }
    Found::Left(intent)
}

/// Removes folders without `meta.json`, and uploads into them that were never
/// completed. True if nothing of them is left, or all that is left is complete.
async fn take_back(context: &JobContext, folders: &[Ulid], settled: &mut Settled) -> bool {
    // First the uploads: one that is completed later would leave an object.
    let mut clean = true;
    for &folder in folders {
        if let Err(error) = abort(context, folder).await {
            let error = error.chain();
            tracing::warn!(%folder, error, "uploads of a broken-off job cannot be aborted");
            clean = false;
        }
    }
    let removals: Vec<Removal> = folders
        .iter()
        .map(|&folder| Removal {
            folder,
            condition: Condition::Unfinished,
        })
        .collect();
    let answers = delete::folders(&context.bucket, &context.lease, &removals).await;
    for (&folder, answer) in folders.iter().zip(answers) {
        match answer {
            Ok(true) => {
                tracing::info!(%folder, "what a broken-off job had uploaded is removed");
                settled.removed.push(folder);
            }
            Ok(false) => {}
            Err(error) => {
                tracing::warn!(%folder, error = error.chain(), "a broken-off job's folder stays");
                clean = false;
            }
        }
    }
    clean
}

/// Aborts uploads into a folder.
async fn abort(context: &JobContext, folder: Ulid) -> Result<()> {
    let bucket = &context.bucket;
    let listed = bucket.list(&folder.to_string()).await?;
    for name in candidates(folder, &listed) {
        let pending = match bucket.uploads(&name).await {
            Ok(pending) => pending,
            // Such a store, or such a build, leaves that to a lifecycle rule.
            Err(error) if error.kind == objstore::Kind::Unsupported => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let ours: Vec<_> = pending.into_iter().filter(|u| u.name == name).collect();
        if !ours.is_empty() {
            context.lease.within(bucket.abort_uploads(&ours)).await?;
        }
    }
    Ok(())
}

/// Names of which an upload may be pending. Some servers list uploads by whole
/// names only. Segments are made one after the other, so the next of those that
/// are there may be, and the one that is closed while it is begun.
fn candidates(folder: Ulid, listed: &[Object]) -> Vec<String> {
    let has: HashSet<&str> = listed
        .iter()
        .filter_map(|o| Some(split_path(&o.name)?.1))
        .collect();
    let mut names = vec![path(folder, INDEX)];
    let mut missing = 0;
    for number in 0.. {
        let file = segment(number);
        missing += u32::from(!has.contains(file.as_str()));
        names.push(path(folder, &file));
        if missing == 2 {
            break;
        }
    }
    names
}
