//! The bucket handle and its requests.

use std::path::{Path as OsPath, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::list::{PaginatedListOptions, PaginatedListStore};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{
    Attributes, GetResult, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload,
};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::config::{BucketConfig, Provider, S3Config, process_env};
use super::counting::{Counters, CountingStore, Counts, Op};
use super::error::{Error, Kind, Result, Scene};
use super::folder::FolderStore;
use super::reader::{AheadReader, FileReader, ReadAhead, map};
use super::s3;
use super::writer::{Upload, UploadSettings};
use crate::tsdb::source::{BlobReader, BlobWriter, MemBlob};

/// What lies behind a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BucketKind {
    /// S3 or a server that speaks its protocol.
    S3,
    /// A directory of this machine.
    Folder,
    /// Nothing but memory, for tests.
    Memory,
}

/// An object as a listing shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// Name relative to the configured prefix, for example `<ULID>/meta.json`.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// Last change, milliseconds since the epoch.
    pub modified_ms: i64,
    /// Changes with the content, if the store gives one.
    pub etag: Option<String>,
}

impl From<ObjectMeta> for Object {
    fn from(meta: ObjectMeta) -> Self {
        Self {
            name: meta.location.into(),
            size: meta.size,
            modified_ms: meta.last_modified.timestamp_millis(),
            etag: meta.e_tag,
        }
    }
}

/// A handle on one bucket. Clones are cheap and share everything.
///
/// All names are relative to the configured prefix and have no slash at either
/// end. The asynchronous methods run on any task of the runtime; readers and
/// writers are for threads outside of it.
#[derive(Clone)]
pub struct Bucket {
    inner: Arc<Inner>,
    upload: UploadSettings,
}

struct Inner {
    store: Arc<dyn ObjectStore>,
    kind: BucketKind,
    scene: Arc<Scene>,
    counters: Arc<Counters>,
    handle: Handle,
    attributes: Attributes,
    folder: Option<Folder>,
    probe: Option<Probe>,
    background: Mutex<Vec<JoinHandle<()>>>,
}

/// The local side of a folder bucket.
struct Folder {
    store: FolderStore,
    prefix: Path,
}

/// The listing of one name that checks a remote bucket.
struct Probe {
    store: Box<dyn PaginatedListStore>,
    prefix: Option<String>,
}

impl std::fmt::Debug for Bucket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bucket")
            .field("kind", &self.inner.kind)
            .field("name", &self.name())
            .finish_non_exhaustive()
    }
}

/// What the constructors differ in.
struct Parts {
    kind: BucketKind,
    scene: Scene,
    attributes: Attributes,
    upload: UploadSettings,
    folder: Option<Folder>,
    probe: Option<Probe>,
}

impl Parts {
    fn new(kind: BucketKind, name: String) -> Self {
        Self {
            kind,
            scene: Scene {
                bucket: name,
                ..Scene::default()
            },
            attributes: Attributes::new(),
            upload: UploadSettings::default(),
            folder: None,
            probe: None,
        }
    }

    fn build(self, store: impl ObjectStore, prefix: &Path) -> Result<Bucket> {
        let counters = Arc::<Counters>::default();
        let store: Arc<dyn ObjectStore> = if prefix.is_root() {
            Arc::new(CountingStore::new(store, Arc::clone(&counters)))
        } else {
            let below = PrefixStore::new(store, prefix.clone());
            Arc::new(CountingStore::new(below, Arc::clone(&counters)))
        };
        let handle = Handle::try_current().map_err(|_| {
            self.scene.error(
                Kind::Stopped,
                "",
                "a bucket is opened inside a tokio runtime",
            )
        })?;
        Ok(Bucket {
            inner: Arc::new(Inner {
                store,
                kind: self.kind,
                scene: Arc::new(self.scene),
                counters,
                handle,
                attributes: self.attributes,
                folder: self.folder,
                probe: self.probe,
                background: Mutex::default(),
            }),
            upload: self.upload,
        })
    }
}

/// Opening.
impl Bucket {
    /// Opens the bucket of a configuration. Nothing is asked of it yet, see
    /// [`Bucket::probe`]. Must run inside a tokio runtime, which then carries
    /// all requests.
    ///
    /// # Errors
    /// A directory that does not exist, key or certificate files that cannot
    /// be read, a broken file of shared credentials.
    pub async fn connect(config: &BucketConfig) -> Result<Self> {
        for note in config.notes() {
            tracing::warn!("{note}");
        }
        match &config.provider {
            Provider::Folder(dir) => Self::open_folder(dir, &config.prefix),
            Provider::S3(s3) => Self::open_s3(s3, &config.prefix).await,
        }
    }

    /// An empty bucket in memory, for tests.
    ///
    /// # Errors
    /// Called outside of a tokio runtime.
    pub fn memory() -> Result<Self> {
        Parts::new(BucketKind::Memory, "memory".to_owned()).build(InMemory::new(), &Path::ROOT)
    }

    /// An existing directory as a bucket, without prefix.
    ///
    /// # Errors
    /// No such directory; called outside of a tokio runtime.
    pub fn folder(dir: impl AsRef<OsPath>) -> Result<Self> {
        Self::open_folder(dir.as_ref(), "")
    }

    /// Any store as a bucket, for tests that inject faults.
    ///
    /// # Errors
    /// Called outside of a tokio runtime.
    pub fn from_store(name: &str, store: impl ObjectStore) -> Result<Self> {
        Parts::new(BucketKind::Memory, name.to_owned()).build(store, &Path::ROOT)
    }

    fn open_folder(dir: &OsPath, prefix: &str) -> Result<Self> {
        let mut parts = Parts::new(BucketKind::Folder, dir.display().to_string());
        if !dir.is_dir() {
            return Err(parts
                .scene
                .error(Kind::MissingBucket, "", "no such directory"));
        }
        let prefix = parse_name(&parts.scene, prefix)?;
        let store = FolderStore::new(dir).map_err(|err| parts.scene.blame("", &err))?;
        parts.folder = Some(Folder {
            store: store.clone(),
            prefix: prefix.clone(),
        });
        parts.build(store, &prefix)
    }

    async fn open_s3(config: &S3Config, prefix: &str) -> Result<Self> {
        let mut parts = Parts::new(BucketKind::S3, config.bucket.clone());
        let prefix = parse_name(&parts.scene, prefix)?;
        let clients = s3::connect(config, &process_env).await?;
        parts.scene.endpoint = clients.endpoint;
        parts.scene.secrets = clients.secrets;
        parts.attributes = config.attributes.clone();
        parts.upload = UploadSettings {
            part_size: config.part_size.unwrap_or(parts.upload.part_size),
            single_put: config.disable_multipart,
            ..parts.upload
        };
        parts.probe = Some(Probe {
            store: Box::new(clients.probe),
            prefix: (!prefix.is_root()).then(|| format!("{prefix}/")),
        });
        parts.build(s3::limited(clients.store, config.max_connections), &prefix)
    }

    /// The same bucket with other settings for what this handle uploads.
    #[must_use]
    pub fn with_upload(self, upload: UploadSettings) -> Self {
        Self { upload, ..self }
    }
}

/// Asking.
impl Bucket {
    /// Bucket name, or the path of a folder bucket.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.inner.scene.bucket
    }

    /// What lies behind the bucket.
    #[must_use]
    pub fn kind(&self) -> BucketKind {
        self.inner.kind
    }

    /// What was asked of the bucket through this handle and its clones.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.inner.counters.snapshot()
    }

    /// One cheap listing, to learn early whether address, credentials and
    /// bucket are right. Gives up after seconds.
    ///
    /// # Errors
    /// Whatever is wrong, as precisely as the store lets us know.
    pub async fn probe(&self) -> Result<()> {
        let Some(probe) = &self.inner.probe else {
            return self.list_dirs("").await.map(drop);
        };
        self.inner.counters.add(Op::List, 0);
        let options = PaginatedListOptions {
            max_keys: Some(1),
            ..PaginatedListOptions::default()
        };
        let answer = probe
            .store
            .list_paginated(probe.prefix.as_deref(), options)
            .await;
        match answer {
            Ok(_) => Ok(()),
            // One oddly named object is no reason to refuse the bucket.
            Err(object_store::Error::InvalidPath { .. }) => Ok(()),
            Err(err) => Err(self.scene().blame("", &err)),
        }
    }

    /// Names of the directories directly in `prefix` (empty: the root), whole
    /// and sorted, without a slash at the end. One request per 1,000 names.
    ///
    /// # Errors
    /// Whatever the store fails with.
    pub async fn list_dirs(&self, prefix: &str) -> Result<Vec<String>> {
        let at = self.path(prefix)?;
        let at = Some(&at).filter(|path| !path.is_root());
        let found = self.store().list_with_delimiter(at).await;
        let found = found.map_err(|err| self.scene().blame(prefix, &err))?;
        // A key that begins with a slash makes a directory without a name.
        let named = |name: &String| !name.is_empty();
        let mut dirs: Vec<String> = found
            .common_prefixes
            .into_iter()
            .map(String::from)
            .filter(named)
            .collect();
        dirs.sort_unstable();
        Ok(dirs)
    }

    /// Every object below the directory `prefix` (empty: all), sorted by name.
    /// Placeholder objects of directories are left out.
    ///
    /// # Errors
    /// Whatever the store fails with; [`Kind::BadName`] when an object has a
    /// name that cannot be addressed (an empty segment, control characters).
    pub async fn list(&self, prefix: &str) -> Result<Vec<Object>> {
        let at = self.path(prefix)?;
        let at = Some(&at).filter(|path| !path.is_root());
        let found: Vec<ObjectMeta> = self
            .store()
            .list(at)
            .try_collect()
            .await
            .map_err(|err| self.scene().blame(prefix, &err))?;
        let mut objects: Vec<Object> = found.into_iter().map(Object::from).collect();
        objects.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        drop_placeholders(&mut objects, prefix);
        Ok(objects)
    }

    /// A whole object, or `None` if it does not exist.
    ///
    /// # Errors
    /// Whatever the store fails with; a missing bucket is an error, not `None`.
    pub async fn get(&self, name: &str) -> Result<Option<Bytes>> {
        self.get_bounded(name, u64::MAX).await
    }

    /// As [`Self::get`], for objects that should be small.
    ///
    /// # Errors
    /// [`Kind::TooLarge`] beyond `most` bytes, and those of [`Self::get`].
    pub async fn get_bounded(&self, name: &str, most: u64) -> Result<Option<Bytes>> {
        let path = self.path(name)?;
        let result = match self.store().get(&path).await {
            Ok(result) => result,
            Err(err) => return self.absent(name, &err),
        };
        self.collect(name, result, most).await.map(Some)
    }

    /// Size, time and ETag of an object, or `None` if it does not exist.
    ///
    /// # Errors
    /// Whatever the store fails with. A store does not tell a missing bucket
    /// from a missing object here.
    pub async fn head(&self, name: &str) -> Result<Option<Object>> {
        let path = self.path(name)?;
        match self.store().head(&path).await {
            Ok(meta) => Ok(Some(meta.into())),
            Err(err) => self.absent(name, &err),
        }
    }

    async fn collect(&self, name: &str, result: GetResult, most: u64) -> Result<Bytes> {
        let size = result.meta.size;
        let too_large = |bytes: u64| {
            let what = format!("{bytes} bytes or more, at most {most} are expected");
            self.scene().error(Kind::TooLarge, name, what)
        };
        if size > most {
            return Err(too_large(size));
        }
        let mut body = result.into_stream();
        let mut bytes = Vec::new();
        while let Some(part) = body.next().await {
            let part = part.map_err(|err| self.scene().blame(name, &err))?;
            if bytes.is_empty() && part.len() as u64 == size {
                return Ok(part);
            }
            bytes.extend_from_slice(&part);
            // The announced size is a claim of the store.
            if bytes.len() as u64 > most {
                return Err(too_large(bytes.len() as u64));
            }
        }
        if bytes.len() as u64 != size {
            let what = format!("{} of {size} bytes", bytes.len());
            return Err(self.scene().error(Kind::Truncated, name, what));
        }
        Ok(bytes.into())
    }

    /// "Not found" as a value; everything else is an error.
    fn absent<T>(&self, name: &str, err: &object_store::Error) -> Result<Option<T>> {
        let error = self.scene().blame(name, err);
        if error.is_not_found() {
            Ok(None)
        } else {
            Err(error)
        }
    }
}

/// Changing.
impl Bucket {
    /// Writes a whole object, also over an old one. Small objects only: the
    /// bytes lie in memory.
    ///
    /// # Errors
    /// Whatever the store fails with.
    pub async fn put(&self, name: &str, data: impl Into<Bytes>) -> Result<()> {
        let result = self.put_mode(name, data.into(), PutMode::Overwrite).await;
        result.map_err(|err| self.scene().blame(name, &err))
    }

    /// Writes an object only if there is none of this name; true if written.
    ///
    /// A request that is repeated after a lost answer may find its own object
    /// and report false: where that matters, the content must tell the writer.
    ///
    /// # Errors
    /// Whatever the store fails with.
    pub async fn put_if_absent(&self, name: &str, data: impl Into<Bytes>) -> Result<bool> {
        match self.put_mode(name, data.into(), PutMode::Create).await {
            Ok(()) => Ok(true),
            Err(object_store::Error::AlreadyExists { .. }) => Ok(false),
            Err(err) => Err(self.scene().blame(name, &err)),
        }
    }

    async fn put_mode(&self, name: &str, data: Bytes, mode: PutMode) -> object_store::Result<()> {
        let path = Path::parse(name)?;
        let options = PutOptions {
            mode,
            attributes: self.inner.attributes.clone(),
            ..PutOptions::default()
        };
        let payload = PutPayload::from(data);
        self.store()
            .put_opts(&path, payload, options)
            .await
            .map(drop)
    }

    /// Deletes an object; one that does not exist is no error.
    ///
    /// # Errors
    /// Whatever the store fails with.
    pub async fn delete(&self, name: &str) -> Result<()> {
        let path = self.path(name)?;
        match self.store().delete(&path).await {
            Ok(()) => Ok(()),
            Err(err) => self.absent(name, &err).map(|_: Option<()>| ()),
        }
    }

    /// Deletes objects, `concurrency` at a time. Requests begin in the order
    /// given; none begins after a failure. What must be gone before something
    /// else is deleted belongs in a call of its own.
    ///
    /// # Errors
    /// The first failure in the order given.
    pub async fn delete_many<S: AsRef<str>>(&self, names: &[S], concurrency: usize) -> Result<()> {
        // Owned names, or the future would hold borrows that it cannot send.
        let names: Vec<String> = names.iter().map(|name| name.as_ref().to_owned()).collect();
        stream::iter(names)
            .map(|name| async move { self.delete(&name).await })
            .buffered(concurrency.max(1))
            .try_collect()
            .await
    }

    /// Uploads a local file and returns its size in bytes.
    ///
    /// # Errors
    /// An unreadable file, and whatever the store fails with.
    pub async fn upload_file(&self, local: impl AsRef<OsPath>, name: &str) -> Result<u64> {
        let upload = Upload::new(self.clone(), self.path(name)?, self.upload);
        let (bucket, local, name) = (self.clone(), local.as_ref().to_owned(), name.to_owned());
        let copied = self
            .inner
            .handle
            .spawn_blocking(move || copy(&bucket, upload, &local, &name));
        match copied.await {
            Ok(result) => result,
            Err(_) => Err(self
                .scene()
                .error(Kind::Stopped, "", "an upload was cancelled")),
        }
    }

    /// Waits until the uploads of dropped writers are aborted. Call it before
    /// the runtime ends, or their parts stay in the bucket.
    pub async fn settle(&self) {
        loop {
            let mut tasks = self.background();
            let tasks = std::mem::take(&mut *tasks);
            if tasks.is_empty() {
                return;
            }
            for task in tasks {
                // A task that panicked or was cancelled has nothing to wait for.
                drop(task.await);
            }
        }
    }
}

/// Streaming.
impl Bucket {
    /// A reader of an object of `size` bytes, for a thread outside the runtime.
    /// On a remote bucket nothing is requested before the first read.
    ///
    /// # Errors
    /// A name that cannot be; in a folder also a missing file or other size.
    pub fn open(&self, name: &str, size: u64, ahead: ReadAhead) -> Result<Box<dyn BlobReader>> {
        let path = self.path(name)?;
        if self.inner.folder.is_none() {
            return Ok(Box::new(AheadReader::new(self.clone(), path, size, ahead)));
        }
        let file = self.local_path(name)?;
        let (scene, counters) = (
            Arc::clone(&self.inner.scene),
            Arc::clone(&self.inner.counters),
        );
        let reader = FileReader::open(&file, path.as_ref(), size, ahead, scene, counters)?;
        Ok(Box::new(reader))
    }

    /// An object of a folder bucket mapped into memory, for random access.
    ///
    /// # Errors
    /// [`Kind::Unsupported`] on other buckets; what the system says.
    pub fn open_mapped(&self, name: &str) -> Result<MemBlob> {
        let file = self.local_path(name)?;
        map(&file, name, self.scene())
    }

    /// The file of an object of a folder bucket.
    ///
    /// # Errors
    /// [`Kind::Unsupported`] on other buckets; a link that leads outside.
    pub fn local_path(&self, name: &str) -> Result<PathBuf> {
        let path = self.path(name)?;
        let Some(folder) = &self.inner.folder else {
            let what = "only a folder bucket has local files";
            return Err(self.scene().error(Kind::Unsupported, name, what));
        };
        let whole: Path = folder.prefix.parts().chain(path.parts()).collect();
        let found = folder.store.resolve(&whole);
        found.map_err(|err| self.scene().blame(name, &err))
    }

    /// The directory of a folder bucket, prefix included.
    #[must_use]
    pub fn local_root(&self) -> Option<PathBuf> {
        let folder = self.inner.folder.as_ref()?;
        Some(folder.store.root().join(folder.prefix.as_ref()))
    }

    /// A writer of an object, for a thread outside the runtime.
    ///
    /// # Errors
    /// A name that cannot be.
    pub fn create(&self, name: &str) -> Result<Box<dyn BlobWriter>> {
        let upload = Upload::new(self.clone(), self.path(name)?, self.upload);
        Ok(Box::new(upload))
    }
}

/// For the readers and writers beside this module.
impl Bucket {
    pub(super) fn store(&self) -> &Arc<dyn ObjectStore> {
        &self.inner.store
    }

    pub(super) fn scene(&self) -> &Scene {
        &self.inner.scene
    }

    pub(super) fn handle(&self) -> &Handle {
        &self.inner.handle
    }

    pub(super) fn attributes(&self) -> &Attributes {
        &self.inner.attributes
    }

    /// Runs a task that nobody waits for but [`Self::settle`].
    pub(super) fn in_background(&self, task: impl Future<Output = ()> + Send + 'static) {
        let task = self.inner.handle.spawn(task);
        let mut tasks = self.background();
        tasks.retain(|task| !task.is_finished());
        tasks.push(task);
    }

    fn background(&self) -> std::sync::MutexGuard<'_, Vec<JoinHandle<()>>> {
        self.inner
            .background
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, name: &str) -> Result<Path> {
        parse_name(self.scene(), name)
    }
}

fn parse_name(scene: &Scene, name: &str) -> Result<Path> {
    Path::parse(name).map_err(|err| scene.blame(name, &err.into()))
}

/// Some tools create an empty object `a/` to show a directory `a`. The library
/// cuts the slash, so that it looks like an object beside its own directory.
fn drop_placeholders(sorted: &mut Vec<Object>, prefix: &str) {
    let prefix = prefix.trim_matches('/');
    let is_parent = |name: &str, other: &Object| {
        let rest = other.name.strip_prefix(name);
        rest.is_some_and(|rest| rest.starts_with('/'))
    };
    let placeholders: Vec<bool> = sorted
        .iter()
        .enumerate()
        .map(|(at, object)| {
            if object.size > 0 {
                return false;
            }
            // Names between `a` and `a/` may stand in between: `a-b` does.
            let below = format!("{}/", object.name);
            let next = at + sorted[at..].partition_point(|other| other.name < below);
            let has_children = sorted
                .get(next)
                .is_some_and(|other| is_parent(&object.name, other));
            object.name == prefix || has_children
        })
        .collect();
    let mut flags = placeholders.into_iter();
    sorted.retain(|_| !flags.next().unwrap_or(false));
}

/// Copies a local file into an upload, on a thread of its own.
fn copy(bucket: &Bucket, mut upload: Upload, local: &OsPath, name: &str) -> Result<u64> {
    use std::io::Read;
    const BLOCK: usize = 256 << 10;
    let fail = |err: std::io::Error| -> Error {
        let what = format!("read {}: {err}", local.display());
        bucket.scene().error(Kind::Local, name, what)
    };
    let mut file = std::fs::File::open(local).map_err(fail)?;
    let mut block = vec![0; BLOCK];
    loop {
        match file.read(&mut block) {
            Ok(0) => return upload.complete(),
            Ok(len) => upload.append(block.get(..len).unwrap_or_default())?,
            Err(err) if err.kind() == std::io::ErrorKind::Interrupted => {}
            Err(err) => return Err(fail(err)),
        }
    }
}
