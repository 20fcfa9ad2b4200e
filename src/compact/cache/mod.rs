//! What the last run read of the bucket, so that the next one need not: the
//! small objects (metas and marks) with the version that they had.
//!
//! Terms: a **version** is size, time and ETag of an object as a listing shows
//! them. A **copy** is one of the two places where a cache is kept:
//!
//! ```text
//!                      first look of a run                       its end
//!  <data-dir>/meta-cache/<bucket>  --read--.                .--> written if anything changed
//!                                          +--> a hint  ----+
//!  bucket: lithify/cache/metas     --GET---'    for every   '--> PUT if enough changed
//!           only if the first is absent         object
//! ```
//!
//! The copy in the bucket is for processes that begin with an empty disk. All
//! shards share it: each of them lists the whole bucket, the last one to write
//! wins, and what it lacks costs the next reader a few requests.
//!
//! Invariants:
//!
//! - CA-1: a cached object counts only if the listing shows the same version.
//! - CA-2: it counts only if it can be parsed; garbage is fetched again, so that
//!   no cache ever makes a block look damaged.
//! - CA-3: a cache that is torn, foreign, too large or of another version is as
//!   good as none; nothing fails for lack of one, or because it cannot be written.
//! - CA-4: a dry run writes neither copy; a run that finds nothing changed does
//!   not either.

mod format;

use std::collections::HashMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use crate::error::{Error, Kind, Result};
use crate::objstore::{Bucket, Object};

pub use format::{
    Entry, Image, Unusable, Version, decode, encode, entry_bytes, is_small, set_unshared,
};

/// Name of the bucket's copy.
pub const OBJECT: &str = "lithify/cache/metas";

/// No cache is larger, bytes.
pub const MOST_BYTES: u64 = 256 << 20;

/// Changes that are worth a request, whatever the size of the cache.
const MANY_CHANGES: usize = 100;

/// Share of the entries that is worth one: one in so many.
const SHARE: usize = 20;

/// Where caches are kept. The default is nowhere.
#[derive(Debug, Clone, Default)]
pub struct Places {
    /// Folder on disk; it need not exist.
    pub folder: Option<PathBuf>,
    /// In the bucket, too.
    pub bucket: bool,
    /// What a cache may take in memory while it is read or written, bytes; more
    /// than [`MOST_BYTES`] is never used.
    pub most_bytes: u64,
}

/// The cache of one bucket.
pub struct MetaCache {
    bucket: Bucket,
    places: Places,
    /// Versions that the copy on disk has, or the other one if there is none.
    base: HashMap<String, Version>,
    /// Changes that the bucket's copy lacks of those.
    unshared: usize,
    /// Whether there are copies that can be used.
    on_disk: bool,
    shared: bool,
    loaded: bool,
    /// Requests that reading it took.
    gets: u64,
}

impl MetaCache {
    /// A cache that has not been read yet.
    pub fn new(bucket: Bucket, places: Places) -> Self {
        Self {
            bucket,
            places,
            base: HashMap::new(),
            unshared: 0,
            on_disk: false,
            shared: false,
            loaded: false,
            gets: 0,
        }
    }

    /// Requests that it took to read it.
    pub fn gets(&self) -> u64 {
        self.gets
    }

    /// What an earlier process has kept; only the first call reads anything.
    /// `listed` are all objects in the bucket.
    pub async fn load(&mut self, listed: &[Object]) -> HashMap<String, Entry> {
        if std::mem::replace(&mut self.loaded, true) {
            return HashMap::new();
        }
        let copy = listed.iter().find(|o| o.name == OBJECT);
        self.shared = copy.is_some();
        let image = match self.read_disk().await {
            Some(image) => {
                self.on_disk = true;
                image
            }
            None => match self.read_bucket(copy).await {
                Some(image) => Image {
                    // This is the bucket's copy.
                    unshared: 0,
                    ..image
                },
                None => return HashMap::new(),
            },
        };
        self.unshared = image.unshared as usize;
        let versions = image.entries.iter();
        let versions = versions.map(|(name, (version, _))| (name.clone(), version.clone()));
        self.base = versions.collect();
        image.entries
    }

    async fn read_disk(&self) -> Option<Image> {
        let (file, most) = (self.file()?, self.most_bytes());
        let read = {
            let file = file.clone();
            tokio::task::spawn_blocking(move || read_file(&file, most)).await
        };
        let data = match read {
            Ok(Ok(data)) => data?,
            Ok(Err(error)) => {
                let file = file.display();
                tracing::warn!(%file, %error, "cache of metas cannot be read, they are read again");
                return None;
            }
            // The runtime ends.
            Err(_) => return None,
        };
        usable(&file.display(), &data)
    }

    async fn read_bucket(&mut self, copy: Option<&Object>) -> Option<Image> {
        let size = copy.filter(|_| self.places.bucket)?.size;
        if size > self.most_bytes() {
            tracing::warn!(
                object = OBJECT,
                size,
                "cache of metas is too large to be used"
            );
            return None;
        }
        self.gets += 1;
        match self.bucket.get_bounded(OBJECT, self.most_bytes()).await {
            Ok(data) => usable(&OBJECT, &data?),
            Err(error) => {
                tracing::warn!(object = OBJECT, %error, "cache of metas cannot be read, they are read again");
                None
            }
        }
    }

    /// What is to be written for these small objects, all that there are: none
    /// if the copies are as good as they need to be. What it returns counts as
    /// written from now on.
    pub fn due<'a>(
        &mut self,
        objects: impl IntoIterator<Item = (&'a str, &'a Entry)>,
    ) -> Option<Save> {
        let entries = self.fitting(objects);
        let same = |(name, (version, _)): &&(&str, &Entry)| self.base.get(*name) == Some(version);
        let kept = entries.iter().filter(same).count();
        let gone = |name: &&String| {
            entries
                .binary_search_by_key(&name.as_str(), |e| e.0)
                .is_err()
        };
        let changed = entries.len() - kept + self.base.keys().filter(gone).count();
        let unshared = self.unshared.saturating_add(changed);
        let share = self.places.bucket
            && (is_worth(unshared, entries.len()) || (!self.shared && !entries.is_empty()));
        let file = self.file();
        let file = file.filter(|_| changed > 0 || !self.on_disk || (share && self.unshared > 0));
        if !share && file.is_none() {
            return None;
        }
        let save = Save {
            data: encode(entries.iter().copied()),
            entries: entries.len(),
            unshared: u32::try_from(unshared).unwrap_or(u32::MAX),
            to_bucket: share.then(|| self.bucket.clone()),
            to_file: file,
        };
        let versions = entries.into_iter();
        self.base = versions
            .map(|(n, (v, _))| (n.to_owned(), v.clone()))
            .collect();
        self.unshared = if share { 0 } else { unshared };
        self.shared |= share;
        self.on_disk |= save.to_file.is_some();
        Some(save)
    }

    /// Whether the bucket's copy would be written once so many more small
    /// objects have changed.
    pub fn is_shared_after(&self, changes: u64) -> bool {
        let changes = usize::try_from(changes).unwrap_or(usize::MAX);
        let unshared = self.unshared.saturating_add(changes);
        self.places.bucket && is_worth(unshared, self.base.len())
    }

    /// Those that have a place, by name, as long as they fit.
    fn fitting<'a>(
        &self,
        objects: impl IntoIterator<Item = (&'a str, &'a Entry)>,
    ) -> Vec<(&'a str, &'a Entry)> {
        let mut entries: Vec<(&str, &Entry)> = objects.into_iter().collect();
        entries.sort_unstable_by_key(|(name, _)| *name);
        // The rest is for what frames them.
        let mut left = self.most_bytes().saturating_sub(1024);
        entries.retain(|(name, entry)| {
            let bytes = entry_bytes(name, entry).map(|bytes| bytes as u64);
            let fits = bytes.filter(|bytes| *bytes <= left);
            left -= fits.unwrap_or(0);
            fits.is_some()
        });
        entries
    }

    fn most_bytes(&self) -> u64 {
        self.places.most_bytes.min(MOST_BYTES)
    }

    /// The file of this bucket.
    fn file(&self) -> Option<PathBuf> {
        let folder = self.places.folder.as_ref()?;
        Some(folder.join(self.bucket.fingerprint()))
    }
}

/// Whether so many changes are worth a request.
fn is_worth(changes: usize, entries: usize) -> bool {
    changes > 0 && (changes >= MANY_CHANGES || changes.saturating_mul(SHARE) >= entries)
}

/// Reads a cache; says so if it is of no use.
fn usable(place: &dyn std::fmt::Display, data: &Bytes) -> Option<Image> {
    match decode(data) {
        Ok(image) => {
            let entries = image.entries.len();
            tracing::debug!(%place, entries, "cache of metas read");
            Some(image)
        }
        Err(why) => {
            tracing::warn!(%place, %why, "cache of metas is of no use and will be made anew");
            None
        }
    }
}

/// The whole file; `None` if there is none.
fn read_file(file: &Path, most: u64) -> std::io::Result<Option<Bytes>> {
    let open = match std::fs::File::open(file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        open => open?,
    };
    let mut data = Vec::new();
    open.take(most.saturating_add(1)).read_to_end(&mut data)?;
    if data.len() as u64 > most {
        let what = format!("more than {most} bytes");
        return Err(std::io::Error::new(std::io::ErrorKind::FileTooLarge, what));
    }
    Ok(Some(data.into()))
}

/// A cache that is to be written. It borrows nothing, so that nobody has to
/// wait for it.
pub struct Save {
    data: Vec<u8>,
    entries: usize,
    /// Changes that the bucket's copy lacks if it is not written.
    unshared: u32,
    to_bucket: Option<Bucket>,
    to_file: Option<PathBuf>,
}

impl Save {
    /// Whether it will take a request.
    pub fn is_shared(&self) -> bool {
        self.to_bucket.is_some()
    }

    /// Writes it. What cannot be written is told and costs nothing but time.
    pub async fn write(mut self) {
        let (bytes, entries) = (self.data.len(), self.entries);
        if let Some(bucket) = self.to_bucket.take() {
            let data = Bytes::from(self.data.clone());
            match bucket.put(OBJECT, data).await {
                Ok(()) => {
                    self.unshared = 0;
                    tracing::debug!(object = OBJECT, bytes, entries, "cache of metas written");
                }
                Err(error) => {
                    tracing::warn!(object = OBJECT, %error, "cache of metas cannot be written");
                }
            }
        }
        let Some(file) = self.to_file else { return };
        let (mut data, unshared) = (self.data, self.unshared);
        let place = file.display().to_string();
        let written = tokio::task::spawn_blocking(move || {
            set_unshared(&mut data, unshared);
            write_file(&file, &data)
        });
        match written.await {
            Ok(Ok(())) => tracing::debug!(file = place, bytes, entries, "cache of metas written"),
            Ok(Err(error)) => {
                let error = error.chain();
                tracing::warn!(file = place, error, "cache of metas cannot be written");
            }
            // The runtime ends.
            Err(_) => {}
        }
    }
}

/// Writes beside the file and renames. Not synced: what a crash leaves torn is
/// found by its checksum. The name is always the same, so that nothing gathers
/// there; two processes that write at once leave one of the two, or a torn file.
fn write_file(file: &Path, data: &[u8]) -> Result<()> {
    let failed =
        |what: &'static str| move |e: std::io::Error| Error::new(Kind::Retry, what).with_source(e);
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder).map_err(failed("create folder"))?;
    }
    let beside = file.with_extension("new");
    let written = std::fs::write(&beside, data).map_err(failed("write"));
    let written = written.and_then(|()| std::fs::rename(&beside, file).map_err(failed("rename")));
    if written.is_err() {
        // On a full disk, what is half there takes the place of others.
        let _ = std::fs::remove_file(&beside);
    }
    written
}

#[cfg(test)]
#[path = "cache_tests.rs"]
mod tests;
