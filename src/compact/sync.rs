//! From a listing to a view: which blocks there are and what is marked.
//!
//! One recursive listing gives names, sizes, times and ETags. Only metas and
//! marks that are new, or changed since the last look, are fetched; for the
//! first look, the last one is that of an earlier process ([`super::cache`]).

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use ulid::Ulid;

use super::cache::{Entry, MetaCache, Save, Version, is_small};
use super::intents::INTENTS;
use super::look::Known;
use crate::block::markers::{self, DeletionMark, Found, NoCompactMark, NoDownsampleMark};
use crate::block::meta::{MAX_META_BYTES, Meta, MetaError};
use crate::block::{INDEX, META, path, split_path};
use crate::error::Result;
use crate::objstore::{self, Bucket, Object};
use crate::plan::view::{
    BlockView, BucketSize, BucketView, Finding, ListedFile, PartialView, Problem, ProblemKind,
};
use crate::tsdb::Damage;
use crate::tsdb::chunks::parse_segment_file_name;

/// Looks at a bucket again and again.
pub struct Syncer {
    bucket: Bucket,
    concurrency: usize,
    /// Small objects by name, as of the last look.
    seen: HashMap<String, Entry>,
    /// Parsed metas, so that an unchanged one is parsed once.
    metas: HashMap<Ulid, (Bytes, Arc<Meta>)>,
    /// What earlier processes have seen.
    cache: Option<MetaCache>,
    /// Small objects that the first look had to fetch; `None` before it.
    fetched_first: Option<u64>,
    /// Problems of the last look, which have been logged.
    told: Vec<Problem>,
    /// Folders of which nothing is said while they are no blocks: they are
    /// being made or removed.
    ours: Known,
    /// What jobs said that they were about to make, as of the last look.
    pub(super) intents: Vec<Object>,
}

impl Syncer {
    /// A syncer that has seen nothing; `concurrency` small objects are fetched
    /// at the same time.
    pub fn new(bucket: Bucket, concurrency: usize) -> Self {
        Self {
            bucket,
            concurrency: concurrency.max(1),
            seen: HashMap::new(),
            metas: HashMap::new(),
            cache: None,
            fetched_first: None,
            told: Vec::new(),
            ours: Known::default(),
            intents: Vec::new(),
        }
    }

    /// The same, but silent about folders without `meta.json` that this run
    /// makes, or that were blocks when it looked before and are being removed.
    pub(super) fn silent_about(self, ours: Known) -> Self {
        Self { ours, ..self }
    }

    /// The same, with what earlier processes have seen of the bucket.
    #[must_use]
    pub fn with_cache(self, cache: MetaCache) -> Self {
        let cache = Some(cache);
        Self { cache, ..self }
    }

    /// Small objects that the first look had to fetch, the bucket's copy of the
    /// cache included; `None` before it.
    pub fn fetched_first(&self) -> Option<u64> {
        let cache = self.cache.as_ref().map_or(0, MetaCache::gets);
        Some(self.fetched_first? + cache)
    }

    /// The cache as of the last look, if it is to be written.
    pub fn save_due(&mut self) -> Option<Save> {
        let mut cache = self.cache.take()?;
        let seen = self.seen.iter();
        let good = seen.filter(|(name, (_, body))| self.is_good(name, body));
        let save = cache.due(good.map(|(name, entry)| (name.as_str(), entry)));
        self.cache = Some(cache);
        save
    }

    /// Whether the bucket's copy of the cache would be written once so many more
    /// small objects have changed.
    pub fn is_shared_after(&self, changes: u64) -> bool {
        let cache = self.cache.as_ref();
        cache.is_some_and(|cache| cache.is_shared_after(changes))
    }

    /// Whether a small object is what its name says.
    fn is_good(&self, name: &str, body: &Bytes) -> bool {
        match split_path(name) {
            Some((id, META)) => self.metas.get(&id).is_some_and(|(known, _)| known == body),
            Some((_, file)) => is_mark(file, body),
            None => false,
        }
    }

    /// Lists the bucket and fetches what is new.
    ///
    /// # Errors
    /// Whatever the bucket fails with. Damaged blocks are no error but
    /// [`BucketView::problems`].
    pub async fn sync(&mut self) -> Result<BucketView> {
        let listed = self.list().await?;
        let size = BucketSize::of(listed.iter().map(|o| o.name.as_str()));
        self.ours.saw_size(size);
        let cached = match &mut self.cache {
            Some(cache) => cache.load(&listed).await,
            None => HashMap::new(),
        };
        let mut folders: BTreeMap<Ulid, Vec<Object>> = BTreeMap::new();
        self.intents.clear();
        for object in listed {
            if object.name.starts_with(INTENTS) {
                self.intents.push(object);
            } else if let Some((id, _)) = split_path(&object.name) {
                folders.entry(id).or_default().push(object);
            }
        }
        self.fetch(&folders, cached).await?;
        self.metas.retain(|id, _| folders.contains_key(id));
        let mut view = BucketView {
            size,
            ..BucketView::default()
        };
        for (id, objects) in folders {
            match self.block(id, &objects) {
                Ok(block) => {
                    view.problems.extend(damage(&block));
                    view.blocks.push(block);
                }
                Err(problem) if problem.kind.is_partial() && self.ours.has(id) => {}
                Err(problem) => {
                    view.partials.extend(self.partial(id, &objects, &problem));
                    view.problems.push(problem);
                }
            }
        }
        self.tell(&view.problems);
        Ok(view)
    }

    /// Everything in the bucket. Some names cannot be listed by the client
    /// library; then only the blocks' own folders are.
    async fn list(&self) -> Result<Vec<Object>> {
        match self.bucket.list("").await {
            Err(e) if e.kind == objstore::Kind::BadName => {
                tracing::warn!(error = %e, "listing block by block around an unusable name");
            }
            done => return Ok(done?),
        }
        let folders = self.bucket.list_dirs("").await?;
        let wanted = folders.into_iter().filter_map(|folder| {
            let is_block = split_path(&format!("{folder}/")).is_some();
            let ours = INTENTS
                .split_once('/')
                .is_some_and(|(top, _)| top == folder);
            is_block
                .then_some(folder)
                .or(ours.then(|| INTENTS.to_owned()))
        });
        let bucket = &self.bucket;
        let lists: Vec<Vec<Object>> = futures::stream::iter(wanted)
            .map(|folder| async move { bucket.list(&folder).await })
            .buffered(self.concurrency)
            .try_collect()
            .await?;
        Ok(lists.concat())
    }

    /// Logs each problem once, however often it is seen.
    fn tell(&mut self, problems: &[Problem]) {
        for problem in problems.iter().filter(|p| !self.told.contains(p)) {
            tracing::warn!(
                block = %problem.block, reason = problem.reason.map(Damage::as_str),
                what = problem.what, cure = problem.cure, "block left out"
            );
        }
        self.told = problems.to_vec();
    }

    /// Brings `seen` up to date with a listing; `cached` is what an earlier
    /// process has seen.
    async fn fetch(
        &mut self,
        folders: &BTreeMap<Ulid, Vec<Object>>,
        mut cached: HashMap<String, Entry>,
    ) -> Result<()> {
        let mut now = HashMap::new();
        let mut wanted = Vec::new();
        for object in folders.values().flatten().filter(|o| is_small(&o.name)) {
            let version = Version {
                size: object.size,
                modified_ms: object.modified_ms,
                etag: object.etag.clone(),
            };
            if let Some((old, body)) = self.seen.remove(&object.name)
                && old == version
            {
                now.insert(object.name.clone(), (old, body));
            } else if let Some((old, body)) = cached.remove(&object.name)
                && old == version
                && let Some(body) = self.taken_over(&object.name, &body)
            {
                now.insert(object.name.clone(), (old, body));
            } else {
                wanted.push((object.name.clone(), version));
            }
        }
        self.fetched_first.get_or_insert(wanted.len() as u64);
        let bucket = &self.bucket;
        let fetched: Vec<_> = futures::stream::iter(wanted)
            .map(|(name, version)| async move {
                let body = bucket.get_bounded(&name, MAX_META_BYTES).await?;
                Ok::<_, crate::error::Error>((name, (version, body)))
            })
            .buffer_unordered(self.concurrency)
            .try_collect()
            .await?;
        // Listed and gone: it is looked for again.
        let there = fetched.into_iter().filter_map(|(name, (version, body))| {
            let entry = (version, body?);
            Some((name, entry))
        });
        now.extend(there);
        self.seen = now;
        Ok(())
    }

    /// The body of a cached object, if it is what its name says.
    fn taken_over(&mut self, name: &str, body: &Bytes) -> Option<Bytes> {
        let (id, file) = split_path(name)?;
        // The cache goes, what is taken over stays.
        let body = Bytes::copy_from_slice(body);
        if file == META {
            let meta = Meta::parse(id, &body).ok()?;
            self.metas.insert(id, (body.clone(), Arc::new(meta)));
            return Some(body);
        }
        is_mark(file, &body).then_some(body)
    }

    fn body(&self, id: Ulid, file: &str) -> Option<&Bytes> {
        Some(&self.seen.get(&path(id, file))?.1)
    }

    /// The view of one block, or why it is left out.
    fn block(&mut self, id: Ulid, objects: &[Object]) -> Result<BlockView, Problem> {
        let meta = self.meta(id)?;
        let files = files_of(objects);
        Ok(BlockView {
            damaged: incomplete(&meta, &files),
            meta,
            files: Arc::new(files),
            deletion: self.mark(id, markers::DELETION_MARK)?,
            no_compact: self.mark(id, markers::NO_COMPACT_MARK)?,
            no_downsample: self.mark(id, markers::NO_DOWNSAMPLE_MARK)?,
        })
    }

    /// What the clean-up needs to know of a folder without usable `meta.json`:
    /// one that has none, or one that is no JSON. Others may be of use to a
    /// newer program and are none of our business.
    fn partial(&self, id: Ulid, objects: &[Object], problem: &Problem) -> Option<PartialView> {
        let corrupted = match problem.kind {
            ProblemKind::Partial => None,
            ProblemKind::Corrupted => Some(problem.what.clone()),
            ProblemKind::Unusable | ProblemKind::Damaged => return None,
        };
        Some(PartialView {
            id,
            objects: objects.len() as u64,
            bytes: objects.iter().map(|o| o.size).sum(),
            modified_ms: objects.iter().map(|o| o.modified_ms).max()?,
            corrupted,
            deletion: self.mark(id, markers::DELETION_MARK).ok().flatten(),
        })
    }

    fn meta(&mut self, id: Ulid) -> Result<Arc<Meta>, Problem> {
        let Some(body) = self.body(id, META).cloned() else {
            return Err(Problem {
                block: id,
                what: "folder has no meta.json".to_owned(),
                cure: "wait for the upload to finish; if nobody uploads it, remove the folder"
                    .to_owned(),
                kind: ProblemKind::Partial,
                reason: None,
            });
        };
        if let Some((old, meta)) = self.metas.get(&id)
            && *old == body
        {
            return Ok(Arc::clone(meta));
        }
        let meta = Meta::parse(id, &body)
            .map(Arc::new)
            .map_err(|error| Problem {
                block: id,
                what: match &error {
                    MetaError::Parse(cause) => format!("{error}: {cause}"),
                    other => other.to_string(),
                },
                cure: error.damage().cure(id),
                reason: Some(error.damage()),
                kind: match error {
                    MetaError::Parse(_) => ProblemKind::Corrupted,
                    _ => ProblemKind::Unusable,
                },
            })?;
        self.metas.insert(id, (body, Arc::clone(&meta)));
        Ok(meta)
    }

    /// A marker of a block; garbage counts as absent.
    fn mark<T>(&self, id: Ulid, file: &str) -> Result<Option<T>, Problem>
    where
        T: for<'de> serde::Deserialize<'de>,
    {
        let Some(body) = self.body(id, file) else {
            return Ok(None);
        };
        match markers::parse(body) {
            Found::Mark(mark) => Ok(Some(mark)),
            Found::Garbage(why) => {
                tracing::warn!(block = %id, file, why, "marker cannot be read and counts as absent");
                Ok(None)
            }
            Found::UnknownVersion(version) => Err(Problem {
                block: id,
                what: format!("{file} has version {version}, this program knows version 1"),
                cure: "use the program that wrote it, or remove the marker".to_owned(),
                kind: ProblemKind::Unusable,
                reason: None,
            }),
        }
    }
}

/// Whether a marker can be read.
fn is_mark(file: &str, json: &[u8]) -> bool {
    match file {
        markers::DELETION_MARK => is_found::<DeletionMark>(json),
        markers::NO_COMPACT_MARK => is_found::<NoCompactMark>(json),
        markers::NO_DOWNSAMPLE_MARK => is_found::<NoDownsampleMark>(json),
        _ => false,
    }
}

fn is_found<T: for<'de> serde::Deserialize<'de>>(json: &[u8]) -> bool {
    matches!(markers::parse::<T>(json), Found::Mark(_))
}

/// Files of a block from a listing.
pub(super) fn files_of(objects: &[Object]) -> Vec<ListedFile> {
    let file = |o: &Object| {
        let (_, file) = split_path(&o.name)?;
        Some(ListedFile {
            path: file.to_owned(),
            size: o.size,
        })
    };
    objects.iter().filter_map(file).collect()
}

/// Compares the listing with what `meta.json` says must be there.
pub(super) fn incomplete(meta: &Meta, files: &[ListedFile]) -> Option<Finding> {
    let size = |path: &str| files.iter().find(|f| f.path == path).map(|f| f.size);
    let wrong = |file: &str, stated: u64| match size(file) {
        None => Some(Finding {
            reason: missing(file),
            what: format!("{} is missing", path(meta.id(), file)),
        }),
        Some(n) if stated > 0 && n != stated => Some(Finding {
            reason: Damage::FileSizeMismatch,
            what: format!(
                "{} has {n} bytes where meta.json states {stated}",
                path(meta.id(), file)
            ),
        }),
        Some(_) => None,
    };
    let stated = meta.thanos.files.iter().filter(|f| f.rel_path != META);
    stated
        .filter_map(|file| wrong(&file.rel_path, file.size_bytes))
        .next()
        .or_else(|| wrong(INDEX, 0))
}

fn missing(file: &str) -> Damage {
    let segment = file
        .strip_prefix("chunks/")
        .and_then(parse_segment_file_name);
    match (file, segment) {
        (INDEX, _) => Damage::MissingIndex,
        (_, Some(_)) => Damage::MissingSegment,
        // A file of which we know nothing.
        _ => Damage::FileSizeMismatch,
    }
}

/// The problem that a damaged block is, unless it is on its way out anyway or
/// in quarantine.
fn damage(block: &BlockView) -> Option<Problem> {
    let found = block.damaged.as_ref()?;
    let told = block.deletion.is_some() || block.quarantine().is_some();
    (!told).then(|| Problem {
        block: block.id(),
        what: found.what.clone(),
        cure: found.reason.cure(block.id()),
        kind: ProblemKind::Damaged,
        reason: Some(found.reason),
    })
}
