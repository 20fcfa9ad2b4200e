//! The requests of a bucket: asynchronous, one answer each.

use std::path::Path as OsPath;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::list::PaginatedListOptions;
use object_store::{GetResult, ObjectMeta, ObjectStoreExt, PutMode};

use super::bucket::{Bucket, Object};
use super::counting::Op;
use super::error::{Error, Kind, Result};
use super::writer::Upload;

/// Asking.
impl Bucket {
    /// One cheap listing, to learn early whether address, credentials and
    /// bucket are right. Gives up after seconds.
    ///
    /// # Errors
    /// Whatever is wrong, as precisely as the store lets us know.
    pub async fn probe(&self) -> Result<()> {
        let Some(probe) = self.prober() else {
            return self.list_dirs("").await.map(drop);
        };
        self.counters().add(Op::List, 0);
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

    pub(super) async fn collect(&self, name: &str, result: GetResult, most: u64) -> Result<Bytes> {
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
    pub(super) fn absent<T>(&self, name: &str, err: &object_store::Error) -> Result<Option<T>> {
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
        result
            .map(drop)
            .map_err(|err| self.scene().blame(name, &err))
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
        let upload = self.upload(name)?;
        let (bucket, local, name) = (self.clone(), local.as_ref().to_owned(), name.to_owned());
        let copied = self
            .handle()
            .spawn_blocking(move || copy(&bucket, upload, &local, &name));
        match copied.await {
            Ok(result) => result,
            Err(_) => Err(self
                .scene()
                .error(Kind::Stopped, "", "an upload was cancelled")),
        }
    }

    /// Waits until the uploads of dropped writers are aborted, in a
    /// [scope](Self::scoped) only those of it. Call it before the runtime ends,
    /// or their parts stay in the bucket.
    pub async fn settle(&self) {
        self.background().settle().await;
    }
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
