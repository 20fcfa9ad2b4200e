//! The bucket handle: opening, looking at it, streams.

use std::path::{Path as OsPath, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use object_store::list::PaginatedListStore;
use object_store::memory::InMemory;
use object_store::multipart::MultipartStore;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{Attributes, ObjectMeta, ObjectStore};
use tokio::runtime::Handle;

use super::background::Background;
use super::config::{BucketConfig, Provider, S3Config, process_env};
use super::counting::{Counters, CountingStore, Counts};
use super::deletes::{DELETES_AT_ONCE, PairStore};
use super::error::{Kind, Result, Scene};
use super::folder::FolderStore;
use super::pace::Pacer;
use super::parts::PartPool;
use super::reader::{AheadReader, FileReader, ReadAhead, map};
use super::retry::{Patience, Retries};
use super::s3;
use super::steady::SteadyStore;
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
    part_pool: PartPool,
    background: Background,
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
    /// The store refused to delete several objects with one request.
    one_by_one: AtomicBool,
}

/// The local side of a folder bucket.
struct Folder {
    store: FolderStore,
    prefix: Path,
}

/// The listing of one name that checks a remote bucket.
pub(super) struct Probe {
    pub store: Box<dyn PaginatedListStore>,
    pub prefix: Option<String>,
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
    /// Objects that one request can delete.
    deletes_at_once: u64,
    counters: Arc<Counters>,
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
            deletes_at_once: 1,
            counters: Arc::default(),
        }
    }

    /// A store that is asked again when it fails. The connection below asks
    /// `pacer` itself if it is given.
    fn steady<T: ObjectStore + MultipartStore>(
        &self,
        store: T,
        patience: Patience,
        pacer: Option<Arc<Pacer>>,
    ) -> SteadyStore<T> {
        let (scene, counters) = (Arc::new(self.scene.clone()), Arc::clone(&self.counters));
        let paces = pacer.is_none();
        let pacer = pacer.unwrap_or_else(|| Arc::new(Pacer::new(patience.least_rate)));
        SteadyStore::new(store, Retries::new(patience, scene, counters, pacer, paces))
    }

    fn build(self, store: impl ObjectStore, prefix: &Path) -> Result<Bucket> {
        let store: Arc<dyn ObjectStore> = if prefix.is_root() {
            self.counting(store)
        } else {
            self.counting(PrefixStore::new(store, prefix.clone()))
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
                counters: self.counters,
                handle,
                attributes: self.attributes,
                folder: self.folder,
                probe: self.probe,
                one_by_one: AtomicBool::new(false),
            }),
            upload: self.upload,
            part_pool: PartPool::default(),
            background: Background::default(),
        })
    }

    fn counting(&self, store: impl ObjectStore) -> Arc<dyn ObjectStore> {
        let counters = Arc::clone(&self.counters);
        Arc::new(CountingStore::new(store, counters, self.deletes_at_once))
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

    /// The same, but it is asked again when it fails, as a remote one is.
    ///
    /// # Errors
    /// Called outside of a tokio runtime.
    pub fn from_store_patiently(
        name: &str,
        store: impl ObjectStore + MultipartStore,
        patience: Patience,
    ) -> Result<Self> {
        let parts = Parts::new(BucketKind::Memory, name.to_owned());
        let store = parts.steady(store, patience, None);
        parts.build(store, &Path::ROOT)
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
        parts.upload.part_size = FOLDER_PART;
        parts.folder = Some(Folder {
            store: store.clone(),
            prefix: prefix.clone(),
        });
        parts.build(store, &prefix)
    }

    async fn open_s3(config: &S3Config, prefix: &str) -> Result<Self> {
        let mut parts = Parts::new(BucketKind::S3, config.bucket.clone());
        let prefix = parse_name(&parts.scene, prefix)?;
        let pacer = Arc::<Pacer>::default();
        let clients = s3::connect(config, &process_env, &pacer).await?;
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
        parts.deletes_at_once = DELETES_AT_ONCE as u64;
        let patience = Patience {
            retries: config.retries,
            ..Patience::default()
        };
        let store = PairStore::new(clients.store, clients.bulk);
        let store = parts.steady(store, patience, Some(pacer));
        parts.build(s3::limited(store, config.http.max_connections), &prefix)
    }

    /// The same bucket with other settings for what this handle uploads.
    #[must_use]
    pub fn with_upload(self, upload: UploadSettings) -> Self {
        Self {
            upload,
            part_pool: PartPool::default(),
            ..self
        }
    }

    /// The same bucket; what this handle and those made of it leave unfinished
    /// is theirs to [settle](Self::settle), and they wait for nothing else.
    #[must_use]
    pub fn scoped(&self) -> Self {
        Self {
            background: self.background.scope(),
            ..self.clone()
        }
    }
}

/// S3 takes no smaller part but the last, bytes.
const S3_LEAST_PART: usize = 5 << 20;

/// Bytes written at once to a folder. 10,000 parts of it hold the largest index.
const FOLDER_PART: usize = 2 << 20;

/// Looking at it.
impl Bucket {
    /// How this handle cuts what it uploads.
    #[must_use]
    pub fn upload_settings(&self) -> UploadSettings {
        self.upload
    }

    /// Least bytes of a part that is not the last: less than S3's 5 MiB in a
    /// folder, where a part is nothing but a buffer of writes.
    #[must_use]
    pub fn least_part(&self) -> usize {
        match self.kind() {
            BucketKind::Folder => FOLDER_PART / 8,
            BucketKind::S3 | BucketKind::Memory => S3_LEAST_PART,
        }
    }

    /// Read-ahead of a job, bytes, past which it gets no faster: a folder has
    /// no round trips to hide.
    #[must_use]
    pub fn most_read_ahead(&self) -> u64 {
        match self.kind() {
            BucketKind::Folder => 32 << 20,
            BucketKind::S3 | BucketKind::Memory => 128 << 20,
        }
    }

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
        Ok(Box::new(self.upload(name)?))
    }
}

/// For the requests, readers and writers beside this module.
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

    pub(super) fn counters(&self) -> &Counters {
        &self.inner.counters
    }

    pub(super) fn prober(&self) -> Option<&Probe> {
        self.inner.probe.as_ref()
    }

    pub(super) fn upload(&self, name: &str) -> Result<Upload> {
        Ok(Upload::new(self.clone(), self.path(name)?, self.upload))
    }

    pub(super) fn part_pool(&self) -> &PartPool {
        &self.part_pool
    }

    pub(super) fn attributes(&self) -> &Attributes {
        &self.inner.attributes
    }

    /// Runs a task that nobody waits for but [`Self::settle`].
    pub(super) fn in_background(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.background.begin(&self.inner.handle, task);
    }

    pub(super) fn background(&self) -> &Background {
        &self.background
    }

    /// Whether the store has refused to delete several objects at once.
    pub(super) fn deletes_one_by_one(&self) -> bool {
        self.inner.one_by_one.load(Ordering::Relaxed)
    }

    /// Remembers that.
    pub(super) fn delete_one_by_one(&self) {
        self.inner.one_by_one.store(true, Ordering::Relaxed);
    }

    pub(super) fn path(&self, name: &str) -> Result<Path> {
        parse_name(self.scene(), name)
    }
}

fn parse_name(scene: &Scene, name: &str) -> Result<Path> {
    Path::parse(name).map_err(|err| scene.blame(name, &err.into()))
}
