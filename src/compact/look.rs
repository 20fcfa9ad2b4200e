//! The last look before a result becomes visible: is it still wanted?
//!
//! A source that is gone, that was marked, or that a block of somebody else
//! stands for by now means that another compactor is at work. The job is
//! dropped then; whatever the other one makes of the sources is left to it.
//!
//! ```text
//!  fewer pages than sources:  LIST everything          -> sources, folders
//!  else:                      LIST each source | root  -> sources | folders
//!                             GET meta.json of each folder that is new
//! ```

use std::collections::{BTreeSet, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use futures::StreamExt;
use ulid::Ulid;

use crate::block::meta::{MAX_META_BYTES, Meta};
use crate::block::{META, markers, path, split_path};
use crate::error::{Error, Kind, Result};
use crate::objstore::{self, Bucket, Object};
use crate::plan::Job;
use crate::plan::filter::LiveBlock;
use crate::plan::view::BucketSize;

/// Listings at the same time: not more than one of the whole bucket would cost
/// in time.
const AT_ONCE: usize = 16;

/// Blocks that the planner has seen, or that this run makes or has made.
#[derive(Debug, Clone, Default)]
pub(super) struct Known {
    all: Arc<Mutex<HashSet<Ulid>>>,
    /// Those that one job makes.
    made: Arc<Mutex<HashSet<Ulid>>>,
    /// How much there was to list when the planner looked.
    size: Arc<Mutex<BucketSize>>,
}

impl Known {
    /// The same, for one job: what it makes can be told apart.
    pub fn for_job(&self) -> Self {
        Self {
            all: Arc::clone(&self.all),
            made: Arc::default(),
            size: Arc::clone(&self.size),
        }
    }

    /// Remembers how much there is to list.
    pub fn saw_size(&self, size: BucketSize) {
        *lock(&self.size) = size;
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
    let size = *lock(&known.size);
    if size.lists_all_at_once(job.sources.len()) {
        match bucket.list("").await {
            Ok(objects) => return all_at_once(bucket, job, known, &objects).await,
            // Somebody's odd name; it lies in no source.
            Err(error) if error.kind == objstore::Kind::BadName => {}
            Err(error) => return Err(error.into()),
        }
    }
    one_by_one(bucket, job, known).await
}

/// From a listing of everything.
async fn all_at_once(bucket: &Bucket, job: &Job, known: &Known, objects: &[Object]) -> Result<()> {
    let names: HashSet<&str> = objects.iter().map(|o| o.name.as_str()).collect();
    for source in &job.sources {
        unchanged(job, source, |name| names.contains(name))?;
    }
    let folders: BTreeSet<Ulid> = objects
        .iter()
        .filter_map(|o| Some(split_path(&o.name)?.0))
        .collect();
    nobody_else(bucket, job, known, folders).await
}

/// From listings of the sources and of the root.
async fn one_by_one(bucket: &Bucket, job: &Job, known: &Known) -> Result<()> {
    let looks = job.sources.iter().map(|source| async move {
        let names = object_names(bucket, source.id()).await?;
        unchanged(job, source, |name| names.iter().any(|n| n == name))
    });
    let looks: Vec<_> = looks.collect();
    let found: Vec<Result<()>> = futures::stream::iter(looks)
        .buffered(AT_ONCE)
        .collect()
        .await;
    found.into_iter().collect::<Result<()>>()?;
    let folders = bucket.list_dirs("").await?;
    let folders = folders
        .iter()
        .filter_map(|f| Some(split_path(&format!("{f}/"))?.0));
    nobody_else(bucket, job, known, folders).await
}

/// Whether a source is as it was, if these are the objects that there are.
fn unchanged(job: &Job, source: &LiveBlock, is_there: impl Fn(&str) -> bool) -> Result<()> {
    let id = source.id();
    let has = |file: &str| is_there(&path(id, file));
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
async fn nobody_else(
    bucket: &Bucket,
    job: &Job,
    known: &Known,
    folders: impl IntoIterator<Item = Ulid>,
) -> Result<()> {
    let new: Vec<Ulid> = folders.into_iter().filter(|id| !known.has(*id)).collect();
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

#[cfg(test)]
#[path = "look_tests.rs"]
mod tests;
