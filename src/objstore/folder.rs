//! A folder as a bucket, as Thanos' FILESYSTEM provider lays it out: an object
//! is a plain file, a prefix is a directory, and no empty directory stays.
//!
//! The library's local store does the writing: it stages a file beside its
//! target as `<name>#<n>`, syncs it, renames it and syncs the directory. This
//! wrapper adds what it does not do:
//!
//! - it never leaves the folder through a symbolic link;
//! - it writes over an object of a given ETag only, which makes a lease possible;
//! - its listings enter no linked directory, skip empty directories and staged
//!   files, and fail when the folder itself is gone (an empty answer would let
//!   a lost mount look like an empty bucket).

mod replace;
mod staged;

use std::fs::{self, DirEntry, Metadata};
use std::io::ErrorKind;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::{Path as OsPath, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryFutureExt, TryStreamExt};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions,
    Result, UploadPart,
};

use super::error::Kind;

const STORE: &str = "folder";

/// What only a folder bucket can get wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum FolderError {
    #[error("a symbolic link leads out of the bucket's directory")]
    Escapes,
    #[error("the directory of the bucket is gone")]
    RootGone,
    #[error("names that end in # and digits are kept for files being written")]
    Staged,
    #[error("names that end in a colon cannot be written to a folder")]
    Colon,
}

impl FolderError {
    pub fn kind(self) -> Kind {
        match self {
            Self::Escapes => Kind::Denied,
            Self::RootGone => Kind::MissingBucket,
            Self::Staged | Self::Colon => Kind::BadName,
        }
    }
}

impl From<FolderError> for Error {
    fn from(err: FolderError) -> Self {
        Self::Generic {
            store: STORE,
            source: Box::new(err),
        }
    }
}

#[derive(Debug, Clone)]
pub(super) struct FolderStore {
    inner: LocalFileSystem,
    walk: Arc<Walk>,
}

impl FolderStore {
    /// `root` must be an existing directory.
    pub fn new(root: &OsPath) -> Result<Self> {
        let generic = |source: std::io::Error| Error::Generic {
            store: STORE,
            source: Box::new(source),
        };
        let root = root.canonicalize().map_err(generic)?;
        let inner = LocalFileSystem::new_with_prefix(&root)?
            .with_automatic_cleanup(true)
            .with_fsync(true);
        Ok(Self {
            inner,
            walk: Arc::new(Walk { root }),
        })
    }

    /// The directory with all links resolved.
    pub fn root(&self) -> &OsPath {
        &self.walk.root
    }

    /// The file behind a name, if no link leads out of the folder on the way.
    pub fn resolve(&self, name: &Path) -> Result<PathBuf> {
        self.walk.resolve(name)
    }

    async fn check(&self, name: &Path) -> Result<()> {
        let (walk, name) = (Arc::clone(&self.walk), name.clone());
        off_thread(move || walk.resolve(&name).map(drop)).await
    }
}

impl std::fmt::Display for FolderStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "folder {}", self.walk.root.display())
    }
}

/// Runs file system calls where they may block.
async fn off_thread<T: Send + 'static>(
    f: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(f).await {
        Ok(result) => result,
        Err(source) => Err(Error::JoinError { source }),
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl ObjectStore for FolderStore {
    async fn put_opts(
        &self,
        at: &Path,
        payload: PutPayload,
        opts: PutOptions,
    ) -> Result<PutResult> {
        self.check(at).await?;
        if let PutMode::Update(version) = &opts.mode {
            let expected = version.e_tag.clone();
            return self.replace(at, payload, expected, opts).await;
        }
        let put = self.inner.put_opts(at, payload, opts).await;
        self.made(at, put).await
    }

    async fn put_multipart_opts(
        &self,
        at: &Path,
        opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.check(at).await?;
        let begun = self.inner.put_multipart_opts(at, opts).await;
        let inner = self.made(at, begun).await?;
        let (walk, at) = (Arc::clone(&self.walk), at.clone());
        Ok(Box::new(FolderUpload { inner, walk, at }))
    }

    async fn get_opts(&self, at: &Path, options: GetOptions) -> Result<GetResult> {
        self.check(at).await?;
        self.inner.get_opts(at, options).await
    }

    async fn get_ranges(&self, at: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.check(at).await?;
        self.inner.get_ranges(at, ranges).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let store = self.clone();
        let checked = locations.and_then(move |at| {
            let store = store.clone();
            async move { store.check(&at).await.map(|()| at) }
        });
        self.inner.delete_stream(checked.boxed())
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let walk = Arc::clone(&self.walk);
        let prefix = prefix.cloned().unwrap_or_default();
        off_thread(move || walk.files(&prefix))
            .map_ok(|files| stream::iter(files.into_iter().map(Ok)))
            .try_flatten_stream()
            .boxed()
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        let offset = offset.clone();
        let after = move |meta: &ObjectMeta| std::future::ready(meta.location > offset);
        self.list(prefix).try_filter(after).boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let walk = Arc::clone(&self.walk);
        let prefix = prefix.cloned().unwrap_or_default();
        off_thread(move || walk.level(&prefix)).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.check(from).await?;
        self.check(to).await?;
        self.inner.copy_opts(from, to, options).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.check(from).await?;
        self.check(to).await?;
        self.inner.rename_opts(from, to, options).await
    }
}

/// An upload that takes the directories made for it away when it is aborted.
#[derive(Debug)]
struct FolderUpload {
    inner: Box<dyn MultipartUpload>,
    walk: Arc<Walk>,
    at: Path,
}

#[async_trait]
impl MultipartUpload for FolderUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        self.inner.put_part(data)
    }

    async fn complete(&mut self) -> Result<PutResult> {
        self.inner.complete().await
    }

    async fn abort(&mut self) -> Result<()> {
        self.inner.abort().await?;
        let (walk, at) = (Arc::clone(&self.walk), self.at.clone());
        off_thread(move || {
            walk.prune(&at);
            Ok(())
        })
        .await
    }
}

impl FolderStore {
    /// Takes the directories away again that were made for an object which
    /// could not be written.
    async fn made<T>(&self, at: &Path, result: Result<T>) -> Result<T> {
        if result.is_err() {
            let (walk, at) = (Arc::clone(&self.walk), at.clone());
            let pruned = off_thread(move || {
                walk.prune(&at);
                Ok(())
            });
            pruned.await?;
        }
        result
    }
}

/// The reading side: names to files and directories to listings.
#[derive(Debug)]
struct Walk {
    root: PathBuf,
}

impl Walk {
    fn resolve(&self, name: &Path) -> Result<PathBuf> {
        if name.filename().is_some_and(is_staged) {
            return Err(FolderError::Staged.into());
        }
        // The library would address the directory of that name instead.
        if name.as_ref().ends_with(':') {
            return Err(FolderError::Colon.into());
        }
        let file = self.root.join(name.as_ref());
        // What does not exist yet is made below the nearest parent that does.
        for place in file.ancestors() {
            match place.canonicalize() {
                Ok(real) if real.starts_with(&self.root) => break,
                Ok(_) => return Err(FolderError::Escapes.into()),
                Err(err) if err.kind() == ErrorKind::NotFound => {
                    // A dangling link is refused too: a write would go through it.
                    if place
                        .symlink_metadata()
                        .is_ok_and(|found| found.is_symlink())
                    {
                        return Err(FolderError::Escapes.into());
                    }
                    if place == self.root {
                        return Err(FolderError::RootGone.into());
                    }
                }
                Err(err) if err.kind() == ErrorKind::NotADirectory => {}
                Err(err) => return Err(failed(place, err)),
            }
        }
        // As in every bucket, nothing lies "below" an object.
        match file.symlink_metadata() {
            Err(source) if source.kind() == ErrorKind::NotADirectory => Err(Error::NotFound {
                path: name.to_string(),
                source: Box::new(source),
            }),
            _ => Ok(file),
        }
    }

    /// Removes the empty directories above a name.
    fn prune(&self, name: &Path) {
        let file = self.root.join(name.as_ref());
        for dir in file.ancestors().skip(1) {
            // The system refuses to remove a directory that is in use.
            if dir == self.root || fs::remove_dir(dir).is_err() {
                return;
            }
        }
    }

    /// Every file below `prefix`, in the order of the names.
    fn files(&self, prefix: &Path) -> Result<Vec<ObjectMeta>> {
        let mut found = Vec::new();
        let mut todo = vec![(self.root.join(prefix.as_ref()), prefix.clone())];
        while let Some((dir, name)) = todo.pop() {
            for entry in self.entries(&dir)? {
                match self.look(&entry, &name)? {
                    Some(Item::File(meta)) => found.push(meta),
                    Some(Item::Dir(below)) => todo.push((entry.path(), below)),
                    None => {}
                }
            }
        }
        found.sort_unstable_by(|a, b| a.location.cmp(&b.location));
        Ok(found)
    }

    /// The files and directories directly in `prefix`.
    fn level(&self, prefix: &Path) -> Result<ListResult> {
        let mut objects = Vec::new();
        let mut common_prefixes = Vec::new();
        for entry in self.entries(&self.root.join(prefix.as_ref()))? {
            match self.look(&entry, prefix)? {
                Some(Item::File(meta)) => objects.push(meta),
                Some(Item::Dir(below)) if self.holds_file(&entry.path())? => {
                    common_prefixes.push(below);
                }
                _ => {}
            }
        }
        objects.sort_unstable_by(|a, b| a.location.cmp(&b.location));
        common_prefixes.sort_unstable();
        Ok(ListResult {
            common_prefixes,
            objects,
            extensions: Default::default(),
        })
    }

    /// A directory without any file is no prefix.
    fn holds_file(&self, dir: &OsPath) -> Result<bool> {
        let mut todo = vec![dir.to_owned()];
        while let Some(dir) = todo.pop() {
            for entry in self.entries(&dir)? {
                match self.look(&entry, &Path::ROOT)? {
                    Some(Item::File(_)) => return Ok(true),
                    Some(Item::Dir(_)) => todo.push(entry.path()),
                    None => {}
                }
            }
        }
        Ok(false)
    }

    /// A directory that vanished meanwhile is empty; the root must be there.
    fn entries(&self, dir: &OsPath) -> Result<Vec<DirEntry>> {
        match fs::read_dir(dir).and_then(Iterator::collect) {
            Ok(entries) => Ok(entries),
            Err(err) if matches!(err.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                if self.root.is_dir() {
                    Ok(Vec::new())
                } else {
                    Err(FolderError::RootGone.into())
                }
            }
            Err(err) => Err(failed(dir, err)),
        }
    }

    fn look(&self, entry: &DirEntry, parent: &Path) -> Result<Option<Item>> {
        let file_name = entry.file_name();
        let Some(text) = file_name.to_str().filter(|text| !is_staged(text)) else {
            return Ok(None);
        };
        let Ok(part) = object_store::path::PathPart::parse(text) else {
            return Ok(None);
        };
        let name = parent.clone().join(part);
        let file = entry.path();
        let kind = match entry.file_type() {
            Ok(kind) => kind,
            Err(err) => return gone_or(&file, err),
        };
        if kind.is_dir() {
            return Ok(Some(Item::Dir(name)));
        }
        if kind.is_symlink() {
            // Directories behind links stay out: they could lead in circles.
            let inside = file
                .canonicalize()
                .is_ok_and(|real| real.starts_with(&self.root));
            if !inside || file.is_dir() {
                return Ok(None);
            }
        }
        match fs::metadata(&file) {
            Ok(found) if found.is_file() => Ok(Some(Item::File(meta_of(name, &found)))),
            Ok(_) => Ok(None),
            Err(err) => gone_or(&file, err),
        }
    }
}

enum Item {
    File(ObjectMeta),
    Dir(Path),
}

/// A file deleted between listing and looking is no error.
fn gone_or(file: &OsPath, err: std::io::Error) -> Result<Option<Item>> {
    match err.kind() {
        ErrorKind::NotFound => Ok(None),
        _ => Err(failed(file, err)),
    }
}

fn failed(file: &OsPath, err: std::io::Error) -> Error {
    let text = format!("{}: {err}", file.display());
    Error::Generic {
        store: STORE,
        source: Box::new(std::io::Error::new(err.kind(), text)),
    }
}

/// True for the staged form `<name>#<digits>` of the library's local store.
fn is_staged(name: &str) -> bool {
    // The library splits at the first '#': `a#b#1` is an ordinary name to it.
    let digits = name.split_once('#').map(|(_, digits)| digits);
    digits.is_some_and(|d| !d.is_empty() && d.bytes().all(|b| b.is_ascii_digit()))
}

/// Same ETag as the library computes on reads, so that both can be compared.
fn meta_of(location: Path, found: &Metadata) -> ObjectMeta {
    let modified = found.modified().unwrap_or(UNIX_EPOCH);
    ObjectMeta {
        location,
        last_modified: modified.into(),
        size: found.len(),
        e_tag: Some(etag(found, modified)),
        version: None,
    }
}

fn etag(found: &Metadata, modified: SystemTime) -> String {
    let micros = modified
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_micros();
    format!("\"{:x}-{micros:x}-{:x}\"", found.ino(), found.len())
}
