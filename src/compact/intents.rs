//! Intents: what a job is about to make, said before its first byte goes up.
//!
//! ```text
//!  lithify/intents/<ULID of the job>.json   holder, part, blocks
//!
//!  PUT intent --> segments, index --> meta.json --> marks --> DELETE intent
//!      |                                 |
//!      '-- killed here: the next holder  '-- killed here: the blocks are
//!          of the lease removes exactly      complete, only the intent goes
//!          those folders and uploads;
//!          PUT intent "taken back"; the run after it looks once more, DELETE intent
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
//! - IN-2: an intent goes only once a look has found nothing left of what it
//!   names but complete blocks. A request that a dead or sleeping writer had
//!   handed to the network may arrive late, and what it makes is found then. A
//!   block that appears after its folder was taken back lacks what was removed,
//!   and goes as well.
//! - IN-3: intents of parts that others may be working on, and those that cannot
//!   be read, are left alone for two days; then they alone go.

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
    /// What was there has been removed; the writer must not go on.
    #[serde(default)]
    taken_back: bool,
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
        taken_back: false,
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
    let mut settled = Settled::default();
    for (object, found) in found {
        let next = match found {
            Found::Leave => continue,
            Found::Garbage => Next::Remove,
            Found::Left(intent) => take_back(context, &object, intent, view, &mut settled).await,
        };
        context.lease.check().await?;
        let done = match next {
            Next::Keep => Ok(()),
            Next::Remove => {
                context
                    .lease
                    .within(context.bucket.delete(&object.name))
                    .await
            }
            Next::Write(json) => {
                context
                    .lease
                    .within(context.bucket.put(&object.name, json))
                    .await
            }
        };
        if let Err(error) = done {
            let error = error.chain();
            tracing::warn!(
                intent = object.name,
                error,
                "an intent stays for the next run"
            );
        }
    }
    context.lease.check().await?;
    let removed: HashSet<Ulid> = settled.removed.iter().copied().collect();
    view.partials.retain(|p| !removed.contains(&p.id));
    view.problems.retain(|p| !removed.contains(&p.block));
    view.blocks.retain(|b| !removed.contains(&b.id()));
    Ok(settled)
}

/// What becomes of an intent.
enum Next {
    Keep,
    Remove,
    Write(Vec<u8>),
}

/// Removes what an intent names and is not complete.
async fn take_back(
    context: &JobContext,
    object: &Object,
    mut intent: Intent,
    view: &BucketView,
    settled: &mut Settled,
) -> Next {
    let again = intent.taken_back;
    let whole = |id: &Ulid| {
        let mut blocks = view.blocks.iter();
        blocks.any(|b| b.id() == *id && !(again && b.damaged.is_some()))
    };
    let partial: Vec<Ulid> = intent
        .blocks
        .iter()
        .copied()
        .filter(|id| !whole(id))
        .collect();
    tracing::info!(
        intent = object.name, holder = %intent.holder, partial = partial.len(), again,
        "a job of an earlier run was broken off"
    );
    let before = settled.removed.len();
    if !clear(context, &partial, again, settled).await {
        return Next::Keep;
    }
    if partial.is_empty() || (again && settled.removed.len() == before) {
        return Next::Remove;
    }
    intent.taken_back = true;
    // Texts and numbers: there is nothing that could fail.
    Next::Write(serde_json::to_vec(&intent).unwrap_or_default())
}

/// What an intent is to this run.
enum Found {
    /// Its writer is gone.
    Left(Intent),
    /// Of no use to anybody, and old.
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
    let is_old = context.clock.now_ms().saturating_sub(object.modified_ms) > GARBAGE_MS;
    let Some(intent) = parsed.filter(good) else {
        tracing::warn!(
            intent = object.name,
            "an intent cannot be read; it may be of a newer version, and goes after two days"
        );
        return if is_old { Found::Garbage } else { Found::Leave };
    };
    let ours = context.lease.token() == Some(intent.holder.token.as_str());
    // Nobody holds a part that overlaps ours.
    let ended = intent.part.parse().is_ok_and(|p: Part| p.overlaps(part));
    match (ours, ended) {
        (false, true) => Found::Left(intent),
        // By now its folders are given up as any others.
        (false, false) if is_old => Found::Garbage,
        _ => Found::Leave,
    }
}

/// Removes folders without `meta.json`, or if that came late, and uploads into
/// them that were never completed. False if something of them stays.
async fn clear(context: &JobContext, folders: &[Ulid], late: bool, settled: &mut Settled) -> bool {
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
            condition: Condition::Partial { late },
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
