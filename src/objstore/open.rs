//! Opening a bucket: from a checked configuration to a handle.

use std::hash::Hasher;
use std::path::Path as OsPath;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use object_store::memory::InMemory;
use object_store::multipart::MultipartStore;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{Attributes, ObjectStore};
use tokio::runtime::Handle;
use twox_hash::XxHash64;

use super::background::Background;
use super::bucket::{Bucket, BucketKind, FOLDER_PART, Folder, Inner, Probe, parse_name};
use super::config::{BucketConfig, Provider, S3Config, process_env};
use super::counting::{Counters, CountingStore};
use super::deletes::{DELETES_AT_ONCE, PairStore};
use super::error::{Kind, Result, Scene};
use super::folder::FolderStore;
use super::pace::Pacer;
use super::parts::PartPool;
use super::retry::{Patience, Retries};
use super::s3;
use super::sdk::Admin;
use super::steady::SteadyStore;
use super::writer::UploadSettings;

/// What the constructors differ in.
struct Parts {
    kind: BucketKind,
    scene: Scene,
    attributes: Attributes,
    upload: UploadSettings,
    folder: Option<Folder>,
    probe: Option<Probe>,
    admin: Option<Admin>,
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
            admin: None,
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
        let fingerprint = self.fingerprint(prefix);
        Ok(Bucket {
            inner: Arc::new(Inner {
                store,
                fingerprint,
                deletes_at_once: self.deletes_at_once.max(1),
                kind: self.kind,
                scene: Arc::new(self.scene),
                counters: self.counters,
                handle,
                attributes: self.attributes,
                folder: self.folder,
                probe: self.probe,
                admin: self.admin,
                one_by_one: AtomicBool::new(false),
            }),
            upload: self.upload,
            part_pool: PartPool::default(),
            background: Background::default(),
        })
    }

    fn fingerprint(&self, prefix: &Path) -> String {
        let mut hash = XxHash64::with_seed(0);
        let kind = match self.kind {
            BucketKind::S3 => "s3",
            BucketKind::Gcs => "gcs",
            BucketKind::Azure => "azure",
            BucketKind::Folder => "folder",
            BucketKind::Memory => "memory",
        };
        let (endpoint, bucket) = (&self.scene.endpoint, &self.scene.bucket);
        for text in [kind, endpoint, bucket, prefix.as_ref()] {
            hash.write(text.as_bytes());
            hash.write(&[0xff]);
        }
        format!("{:016x}", hash.finish())
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
            #[cfg(feature = "gcs")]
            Provider::Gcs(gcs) => Self::open_gcs(gcs, &config.prefix),
            #[cfg(feature = "azure")]
            Provider::Azure(azure) => Self::open_azure(azure, &config.prefix),
            // The configuration refuses them where they are not built in.
            #[cfg(not(all(feature = "gcs", feature = "azure")))]
            _ => Err(Scene::default().error(Kind::Unsupported, "", "not built into this binary")),
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
        let below = (!prefix.is_root()).then(|| format!("{prefix}/"));
        parts.admin = clients.calls.map(|calls| Admin {
            calls,
            prefix: below.clone().unwrap_or_default(),
        });
        parts.probe = Some(Probe {
            store: Box::new(clients.probe),
            prefix: below,
        });
        parts.deletes_at_once = DELETES_AT_ONCE as u64;
        let store = PairStore::new(clients.store, clients.bulk);
        let store = parts.steady(store, patience(config.retries), Some(pacer));
        parts.build(s3::limited(store, config.http.max_connections), &prefix)
    }

    #[cfg(feature = "gcs")]
    fn open_gcs(config: &super::config::GcsConfig, prefix: &str) -> Result<Self> {
        let mut parts = Parts::new(BucketKind::Gcs, config.bucket.clone());
        let prefix = parse_name(&parts.scene, prefix)?;
        let pacer = Arc::<Pacer>::default();
        let store = super::gcs::connect(config, &process_env, &mut parts.scene, &pacer)?;
        let store = parts.steady(store, patience(config.retries), Some(pacer));
        parts.upload.part_size = config.part_size.unwrap_or(parts.upload.part_size);
        parts.build(s3::limited(store, config.http.max_connections), &prefix)
    }

    #[cfg(feature = "azure")]
    fn open_azure(config: &super::config::AzureConfig, prefix: &str) -> Result<Self> {
        let mut parts = Parts::new(BucketKind::Azure, config.container.clone());
        let prefix = parse_name(&parts.scene, prefix)?;
        parts.scene.endpoint.clone_from(&config.url);
        let pacer = Arc::<Pacer>::default();
        let store = super::azure::connect(config, &process_env, &mut parts.scene, &pacer)?;
        let usual = patience(config.retries);
        let patience = Patience {
            pause: config.retry_delay.unwrap_or(usual.pause),
            longest_pause: config.max_retry_delay.unwrap_or(usual.longest_pause),
            ..usual
        };
        let store = parts.steady(store, patience, Some(pacer));
        parts.build(s3::limited(store, config.http.max_connections), &prefix)
    }
}

fn patience(retries: usize) -> Patience {
    Patience {
        retries,
        ..Patience::default()
    }
}
