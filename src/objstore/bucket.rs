//! The bucket handle: looking at it, streams.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use object_store::list::PaginatedListStore;
use object_store::path::Path;
use object_store::{Attributes, ObjectMeta, ObjectStore};
use tokio::runtime::Handle;

use super::background::Background;
use super::counting::{Counters, Counts};
use super::error::{Kind, Result, Scene};
use super::folder::FolderStore;
use super::parts::PartPool;
use super::reader::{AheadReader, FileReader, ReadAhead, map};
use super::sdk::Admin;
use super::writer::{Upload, UploadSettings};
use crate::tsdb::source::{BlobReader, BlobWriter, MemBlob};

/// What lies behind a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BucketKind {
    /// S3 or a server that speaks its protocol.
    S3,
    /// Google Cloud Storage.
    Gcs,
    /// Azure Blob Storage.
    Azure,
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
    pub(super) inner: Arc<Inner>,
    pub(super) upload: UploadSettings,
    pub(super) part_pool: PartPool,
    pub(super) background: Background,
}

pub(super) struct Inner {
    pub store: Arc<dyn ObjectStore>,
    pub kind: BucketKind,
    pub scene: Arc<Scene>,
    pub counters: Arc<Counters>,
    pub handle: Handle,
    pub attributes: Attributes,
    pub folder: Option<Folder>,
    pub probe: Option<Probe>,
    /// What only the AWS SDK can ask.
    pub admin: Option<Admin>,
    /// See [`Bucket::fingerprint`].
    pub fingerprint: String,
    /// Objects that one request can delete.
    pub deletes_at_once: u64,
    /// The store refused to delete several objects with one request.
    pub one_by_one: AtomicBool,
}

/// The local side of a folder bucket.
pub(super) struct Folder {
    pub store: FolderStore,
    pub prefix: Path,
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

/// Handles with other settings.
impl Bucket {
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
pub(super) const FOLDER_PART: usize = 2 << 20;

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
            _ => S3_LEAST_PART,
        }
    }

    /// Read-ahead of a job, bytes, past which it gets no faster: a folder has
    /// no round trips to hide.
    #[must_use]
    pub fn most_read_ahead(&self) -> u64 {
        match self.kind() {
            BucketKind::Folder => 32 << 20,
            _ => 128 << 20,
        }
    }

    /// Bucket name, or the path of a folder bucket.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.inner.scene.bucket
    }

    /// Tells this bucket, with its endpoint and prefix, from others on this
    /// machine: 16 hexadecimal digits, a file name.
    #[must_use]
    pub fn fingerprint(&self) -> &str {
        &self.inner.fingerprint
    }

    /// Objects that one request can delete.
    #[must_use]
    pub fn deletes_at_once(&self) -> u64 {
        self.inner.deletes_at_once
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

    pub(super) fn admin_calls(&self) -> Option<&Admin> {
        self.inner.admin.as_ref()
    }

    pub(super) fn folder_side(&self) -> Option<&Folder> {
        self.inner.folder.as_ref()
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

pub(super) fn parse_name(scene: &Scene, name: &str) -> Result<Path> {
    Path::parse(name).map_err(|err| scene.blame(name, &err.into()))
}
