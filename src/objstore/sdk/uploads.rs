//! Pending uploads: finding, measuring and aborting them.

use crate::objstore::bucket::{Bucket, BucketKind};
use crate::objstore::counting::Op;
use crate::objstore::error::{Kind, Result};

use super::{Admin, ListedUpload};

/// A multipart upload that was begun and neither completed nor aborted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingUpload {
    /// Name of the object it would become, relative to the configured prefix.
    pub name: String,
    /// What the store calls this upload; several may be pending for one name.
    pub upload_id: String,
    /// When it was begun, milliseconds since the epoch; `i64::MAX` if the store
    /// does not say, so that nobody takes it for an old one.
    pub begun_ms: i64,
}

/// Uploads that were found, and whether there are more.
#[derive(Debug, Default)]
pub(in crate::objstore) struct FoundUploads {
    pub uploads: Vec<PendingUpload>,
    /// The bound was reached before the end.
    pub more: bool,
}

impl Bucket {
    /// Pending uploads of objects whose names begin with `prefix` (empty: all),
    /// one request per 1,000.
    ///
    /// MinIO answers only for the exact name of an object: given a directory
    /// or nothing it reports none, whatever is pending there. Whoever knows the
    /// names asks for each of them; that works everywhere.
    ///
    /// A bucket in memory has none. In a folder these are the staged files.
    ///
    /// # Errors
    /// [`Kind::Unsupported`] for S3 in a build without the feature `aws-sdk` and
    /// from a store that does not know the call; whatever the store fails with.
    pub async fn uploads(&self, prefix: &str) -> Result<Vec<PendingUpload>> {
        let found = self.uploads_within(prefix, usize::MAX).await?;
        Ok(found.uploads)
    }

    /// The same, with at most `pages` requests.
    pub(in crate::objstore) async fn uploads_within(
        &self,
        prefix: &str,
        pages: usize,
    ) -> Result<FoundUploads> {
        if let Some(folder) = self.folder_side() {
            self.counters().add(Op::List, 0);
            let uploads = folder.store.staged(&folder.prefix, prefix).await;
            let uploads = uploads.map_err(|err| self.scene().blame(prefix, &err))?;
            return Ok(FoundUploads {
                uploads,
                more: false,
            });
        }
        let Some(admin) = self.admin()? else {
            return Ok(FoundUploads::default());
        };
        let whole = format!("{}{prefix}", admin.prefix);
        let (mut found, mut after) = (FoundUploads::default(), None);
        for _ in 0..pages {
            self.counters().add(Op::List, 0);
            let page = admin.calls.uploads(&whole, after.clone()).await;
            let page = page.map_err(|err| self.scene().blame(prefix, &err))?;
            let ours = page.uploads.into_iter();
            let ours = ours.filter_map(|upload| relative(upload, &admin.prefix));
            found.uploads.extend(ours);
            match page.next {
                None => return Ok(found),
                // A marker that stands still would never end.
                next if next == after => return Ok(found),
                next => after = next,
            }
        }
        found.more = true;
        Ok(found)
    }

    /// Bytes of the parts that were stored for an upload so far; 0 for one that
    /// is gone. One request per 1,000 parts.
    ///
    /// # Errors
    /// As [`Self::uploads`].
    pub async fn upload_size(&self, upload: &PendingUpload) -> Result<u64> {
        if let Some(folder) = self.folder_side() {
            self.counters().add(Op::Head, 0);
            let size = folder.store.staged_size(&folder.prefix, upload).await;
            return size.map_err(|err| self.scene().blame(&upload.name, &err));
        }
        let Some(admin) = self.admin()? else {
            return Ok(0);
        };
        let key = format!("{}{}", admin.prefix, upload.name);
        let (mut bytes, mut after) = (0_u64, None);
        loop {
            self.counters().add(Op::List, 0);
            let page = admin.calls.parts(&key, &upload.upload_id, after.clone());
            let page = match page.await {
                Ok(page) => page,
                Err(err) => {
                    return self
                        .absent(&upload.name, &err)
                        .map(|gone: Option<u64>| gone.unwrap_or(0));
                }
            };
            bytes = bytes.saturating_add(page.bytes);
            match page.next {
                None => return Ok(bytes),
                next if next == after => return Ok(bytes),
                next => after = next,
            }
        }
    }

    /// Aborts uploads: their parts are gone, and whoever still writes one of
    /// them fails. One that does not exist is no error.
    ///
    /// # Errors
    /// The first failure, after all were tried; otherwise as [`Self::uploads`].
    pub async fn abort_uploads(&self, uploads: &[PendingUpload]) -> Result<()> {
        let mut first = Ok(());
        for upload in uploads {
            let done = self.abort_upload(upload).await;
            if first.is_ok() {
                first = done;
            }
        }
        first
    }

    async fn abort_upload(&self, upload: &PendingUpload) -> Result<()> {
        if let Some(folder) = self.folder_side() {
            self.counters().add(Op::Multipart, 0);
            let removed = folder.store.remove_staged(&folder.prefix, upload).await;
            return removed.map_err(|err| self.scene().blame(&upload.name, &err));
        }
        let Some(admin) = self.admin()? else {
            return Ok(());
        };
        self.counters().add(Op::Multipart, 0);
        let key = format!("{}{}", admin.prefix, upload.name);
        match admin.calls.abort(&key, &upload.upload_id).await {
            Ok(()) => Ok(()),
            Err(err) => self.absent(&upload.name, &err).map(|_: Option<()>| ()),
        }
    }

    /// The calls of an S3 bucket; `None` for a bucket that needs none.
    pub(in crate::objstore) fn admin(&self) -> Result<Option<&Admin>> {
        match (self.admin_calls(), self.kind()) {
            (Some(admin), _) => Ok(Some(admin)),
            (None, BucketKind::S3) => {
                let what = "this build has no `aws-sdk`; build with that feature";
                Err(self.scene().error(Kind::Unsupported, "", what))
            }
            (None, _) => Ok(None),
        }
    }
}

fn relative(upload: ListedUpload, prefix: &str) -> Option<PendingUpload> {
    Some(PendingUpload {
        name: upload.key.strip_prefix(prefix)?.to_owned(),
        upload_id: upload.upload_id,
        begun_ms: upload.begun_ms.unwrap_or(i64::MAX),
    })
}
