//! The last look before a result becomes visible: is it still wanted?
//!
//! A source that is gone, that was marked, or that a block of somebody else
//! stands for by now means that another compactor is at work. The job is
//! dropped then; whatever the other one makes of the sources is left to it.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use futures::StreamExt;
use ulid::Ulid;

use crate::block::meta::{MAX_META_BYTES, Meta};
use crate::block::{META, markers, path, split_path};
use crate::error::{Error, Kind, Result};
use crate::objstore::{self, Bucket};
use crate::plan::Job;
use crate::plan::filter::LiveBlock;

/// Listings at the same time: not more than one of the whole bucket would cost
/// in time.
const AT_ONCE: usize = 16;

/// Blocks that the planner has seen, or that this run makes or has made.
#[derive(Debug, Clone, Default)]
pub(super) struct Known {
    all: Arc<Mutex<HashSet<Ulid>>>,
    /// Those that one job makes.
    made: Arc<Mutex<HashSet<Ulid>>>,
}

impl Known {
    /// The same, for one job: what it makes can be told apart.
    pub fn for_job(&self) -> Self {
        Self {
            all: Arc::clone(&self.all),
            made: Arc::default(),
        }
    }

    /// Remembers blocks that a job makes.
    pub fn add(&self, blocks: impl IntoIterator<Item = Ulid> + Clone) {
        lock(&self.made).extend(blocks.clone());
        lock(&self.all).extend(blocks);
    }

    /// Remembers blocks that were listed.
    pub fn saw(&self, blocks: impl IntoIterator<Item = Ulid>) {
        lock(&self.all).extend(blocks);
    }

    /// Whether it was listed as a block, or is made by this run.
    pub fn has(&self, block: Ulid) -> bool {
        lock(&self.all).contains(&block)
    }

    /// What the job of this handle has made so far, or tried to.
    pub fn made(&self) -> Vec<Ulid> {
        lock(&self.made).iter().copied().collect()
    }
}

fn lock<T>(of: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Fails if the sources of a job are not what they were when it was planned.
///
/// # Errors
/// Names the source and what happened to it.
pub(super) async fn still_wanted(bucket: &Bucket, job: &Job, known: &Known) -> Result<()> {
    let looks = job
        .sources
        .iter()
        .map(|source| source_unchanged(bucket, job, source));
    let looks: Vec<_> = looks.collect();
    let found: Vec<Result<()>> = futures::stream::iter(looks)
        .buffered(AT_ONCE)
        .collect()
        .await;
    found.into_iter().collect::<Result<()>>()?;
    nobody_else(bucket, job, known).await
}

async fn source_unchanged(bucket: &Bucket, job: &Job, source: &LiveBlock) -> Result<()> {
    let id = source.id();
    let names = object_names(bucket, id).await?;
    let has = |file: &str| names.contains(&path(id, file));
    if !has(META) {
        return Err(dropped(id, "disappeared"));
    }
    if source.view.deletion.is_none() && has(markers::DELETION_MARK) {
        return Err(dropped(id, "was marked for deletion"));
    }
    if !job.only_downsamples() && source.view.no_compact.is_none() && has(markers::NO_COMPACT_MARK)
    {
        return Err(dropped(id, "was marked to be kept out of compactions"));
    }
    if job.only_downsamples() && has(markers::NO_DOWNSAMPLE_MARK) {
        return Err(dropped(id, "was marked to be kept from being downsampled"));
    }
    Ok(())
}

/// Looks for blocks that came since, and that stand for a source.
async fn nobody_else(bucket: &Bucket, job: &Job, known: &Known) -> Result<()> {
    let folders = bucket.list_dirs("").await?;
    let new = folders
        .iter()
        .filter_map(|f| Some(split_path(&format!("{f}/"))?.0));
    let new: Vec<Ulid> = new.filter(|id| !known.has(*id)).collect();
    let looks = new.iter().map(|&id| covered_source(bucket, job, id));
    let looks: Vec<_> = looks.collect();
    let found: Vec<Result<Option<Ulid>>> = futures::stream::iter(looks)
        .buffered(AT_ONCE)
        .collect()
        .await;
    for (other, covered) in new.iter().zip(found) {
        if let Some(source) = covered? {
            let what = format!("was made into block {other} by somebody else");
            return Err(dropped(source, &what));
        }
    }
    // What was new stands for nothing of this job; for another it may.
    Ok(())
}

/// The first source of the job that block `id` stands for.
async fn covered_source(bucket: &Bucket, job: &Job, id: Ulid) -> Result<Option<Ulid>> {
    let Some(json) = bucket.get_bounded(&path(id, META), MAX_META_BYTES).await? else {
        // Still being uploaded, or gone again.
        return Ok(None);
    };
    let Ok(meta) = Meta::parse(id, &json) else {
        return Ok(None);
    };
    let resolution = meta.thanos.downsample.resolution;
    let stands_for: HashSet<Ulid> = meta.tsdb.source_ids().iter().copied().collect();
    let covered = |source: &&LiveBlock| source.sources().iter().all(|s| stands_for.contains(s));
    if resolution == job.resolution && job.products.merged {
        return Ok(job.sources.iter().find(covered).map(LiveBlock::id));
    }
    // Of a lower resolution, only a block that stands for all of them makes
    // this one superfluous.
    let same = job.only_downsamples() && job.products.resolutions().any(|r| r == resolution);
    let all = same && job.sources.iter().all(|source| covered(&source));
    Ok(job.sources.first().filter(|_| all).map(LiveBlock::id))
}

fn dropped(source: Ulid, what: &str) -> Error {
    let what = format!("source block {source} {what} while a job worked on it");
    Error::new(Kind::Retry, what)
        .with_cure("make sure that only one compactor works on this bucket, then run again")
}

/// Names of all objects of a block.
pub(super) async fn object_names(bucket: &Bucket, id: Ulid) -> objstore::Result<Vec<String>> {
    let objects = bucket.list(&id.to_string()).await?;
    Ok(objects.into_iter().map(|o| o.name).collect())
}
