//! An upload in parts of which each request is repeated on its own.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path;
use object_store::{
    Error, GetOptions, MultipartId, MultipartUpload, ObjectMeta, ObjectStore, PutPayload,
    PutResult, Result as StoreResult, UploadPart,
};

use super::retry::{Asked, Effect, Retries};

/// Parts as the store knows them, by number; `None` until they have arrived.
type Arrived = Arc<Mutex<Vec<Option<PartId>>>>;

/// See [`crate::objstore::upload`].
#[derive(Debug)]
pub(super) struct SteadyUpload<T> {
    inner: Arc<T>,
    retries: Arc<Retries>,
    at: Path,
    id: MultipartId,
    parts: Arrived,
    /// Bytes of all parts.
    size: u64,
}

impl<T> SteadyUpload<T> {
    pub fn new(inner: Arc<T>, retries: Arc<Retries>, at: Path, id: MultipartId) -> Self {
        Self {
            inner,
            retries,
            at,
            id,
            parts: Arc::default(),
            size: 0,
        }
    }
}

#[async_trait]
impl<T: ObjectStore + MultipartStore> MultipartUpload for SteadyUpload<T> {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let (inner, retries) = (Arc::clone(&self.inner), Arc::clone(&self.retries));
        let (at, id, parts) = (self.at.clone(), self.id.clone(), Arc::clone(&self.parts));
        self.size += data.content_length() as u64;
        let number = {
            let mut parts = lock(&parts);
            parts.push(None);
            parts.len() - 1
        };
        Box::pin(async move {
            let send = || inner.put_part(&at, &id, number, data.clone());
            let asked = Asked::plain("part of an upload");
            let part = retries.ask(asked, Effect::Any, send).await?;
            if let Some(place) = lock(&parts).get_mut(number) {
                *place = Some(part);
            }
            Ok(())
        })
    }

    async fn complete(&mut self) -> StoreResult<PutResult> {
        let parts: Option<Vec<PartId>> = lock(&self.parts).iter().cloned().collect();
        let Some(parts) = parts else {
            return Err(Error::Generic {
                store: "S3",
                source: "a part of the upload has not arrived".into(),
            });
        };
        let count = parts.len();
        let mut tries = self.retries.begin(Asked::plain("end of an upload")).await;
        loop {
            let end = self
                .inner
                .complete_multipart(&self.at, &self.id, parts.clone());
            let error = match end.await {
                Ok(done) => {
                    tries.worked();
                    return Ok(done);
                }
                Err(error) => error,
            };
            // After a try that may have worked, "no such upload" is good news.
            let Err(error) = tries.failed(error, Effect::Any).await else {
                continue;
            };
            if tries.in_doubt()
                && let Some(meta) = self.found().await
                && is_whole(&meta, self.size, count)
            {
                return Ok(PutResult {
                    e_tag: meta.e_tag,
                    version: meta.version,
                    extensions: Default::default(),
                });
            }
            return Err(error);
        }
    }

    async fn abort(&mut self) -> StoreResult<()> {
        let mut tries = self.retries.begin(Asked::plain("abort of an upload")).await;
        loop {
            let Err(error) = self.inner.abort_multipart(&self.at, &self.id).await else {
                tries.worked();
                return Ok(());
            };
            // An upload that is gone after a try that may have worked is aborted.
            let unknown = matches!(error, Error::NotFound { .. } | Error::Generic { .. });
            if unknown && tries.in_doubt() && !tries.may_pass(&error) {
                return Ok(());
            }
            tries.failed(error, Effect::Any).await?;
        }
    }
}

impl<T: ObjectStore + MultipartStore> SteadyUpload<T> {
    /// The object as it stands in the store, if it does.
    async fn found(&self) -> Option<ObjectMeta> {
        let options = || GetOptions {
            head: true,
            ..GetOptions::default()
        };
        let head = || self.inner.get_opts(&self.at, options());
        let found = self
            .retries
            .ask(Asked::plain("HEAD"), Effect::Any, head)
            .await;
        found.ok().map(|result| result.meta)
    }
}

/// Whether an object is what an upload of so many bytes and parts has made. The
/// ETag of such an object ends with the number of its parts, in most stores.
fn is_whole(meta: &ObjectMeta, size: u64, parts: usize) -> bool {
    let counted = meta.e_tag.as_deref().and_then(|etag| {
        let (_, count) = etag.trim_matches('"').rsplit_once('-')?;
        count.parse::<usize>().ok()
    });
    meta.size == size && counted.is_none_or(|count| count == parts)
}

fn lock(parts: &Arrived) -> std::sync::MutexGuard<'_, Vec<Option<PartId>>> {
    parts.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[path = "upload_tests.rs"]
mod tests;
