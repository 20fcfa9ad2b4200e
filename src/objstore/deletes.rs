//! Deleting many objects with few requests.
//!
//! ```text
//!  names --1,000 each--> one request ----> an answer for each name
//!                          |   refused as a whole
//!                          '--> one request per name, from then on
//! ```
//!
//! S3 can delete 1,000 objects with one request. Some servers that speak its
//! protocol cannot, and some refuse all of them because of one; so a request
//! that fails as a whole is repeated object by object.

use std::ops::Range;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt, stream};
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartId, MultipartUpload, ObjectMeta,
    ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions,
    Result as StoreResult,
};

use super::bucket::Bucket;
use super::error::{Error, Kind, Result};

/// Objects that S3 deletes with one request.
pub(super) const DELETES_AT_ONCE: usize = 1_000;

/// Requests for many objects at the same time.
const REQUESTS: usize = 4;

/// Requests for one object each at the same time.
const SINGLE_REQUESTS: usize = 16;

impl Bucket {
    /// Deletes objects, as many with one request as the store takes. One that
    /// does not exist is no error. Gives an answer for each name, in the order
    /// given; the objects go in no order, so what must be gone before others
    /// belongs in a call of its own.
    ///
    /// # Errors
    /// Each on its own: whatever the store fails with.
    pub async fn delete_all(&self, names: &[String]) -> Vec<Result<()>> {
        let chunks: Vec<Vec<String>> = names.chunks(DELETES_AT_ONCE).map(<[_]>::to_vec).collect();
        let answers: Vec<Vec<Result<()>>> = stream::iter(chunks)
            .map(|chunk| self.delete_chunk(chunk))
            .buffered(REQUESTS)
            .collect()
            .await;
        answers.into_iter().flatten().collect()
    }

    async fn delete_chunk(&self, names: Vec<String>) -> Vec<Result<()>> {
        let mut answers: Vec<Option<Result<()>>> = vec![None; names.len()];
        if names.len() > 1 && !self.deletes_one_by_one() {
            match self.delete_at_once(&names).await {
                Ok(done) => {
                    // What is wrong with the store, and not with the object, may
                    // be over by now.
                    let last = |answer: &Result<()>| match answer {
                        Ok(()) => true,
                        Err(error) => is_of_object(error.kind),
                    };
                    answers = done.into_iter().map(|a| Some(a).filter(last)).collect();
                }
                Err(error) => {
                    tracing::debug!(%error, "objects are deleted one by one");
                    if !is_passing(error.kind) {
                        self.delete_one_by_one();
                    }
                }
            }
        }
        let left: Vec<(usize, String)> = (0..)
            .zip(names)
            .filter(|(at, _)| answers.get(*at).is_some_and(Option::is_none))
            .collect();
        for (at, answer) in self.delete_each(left).await {
            if let Some(place) = answers.get_mut(at) {
                *place = Some(answer);
            }
        }
        answers.into_iter().flatten().collect()
    }

    /// Deletes with as few requests as the store can.
    ///
    /// # Errors
    /// There is no answer for each of them: the request as a whole failed.
    async fn delete_at_once(&self, names: &[String]) -> Result<Vec<Result<()>>> {
        let paths = names.iter().map(|name| self.path(name));
        let paths: Vec<Path> = paths.collect::<Result<_>>()?;
        let all = stream::iter(paths.into_iter().map(Ok)).boxed();
        let answers: Vec<StoreResult<Path>> = self.store().delete_stream(all).collect().await;
        if answers.len() != names.len() {
            let failed = answers.into_iter().find_map(std::result::Result::err);
            return Err(match failed {
                Some(err) => self.scene().blame("", &err),
                None => {
                    let what = "a deletion of several objects was not answered for each";
                    self.scene().error(Kind::Unsupported, "", what)
                }
            });
        }
        let answer = |(name, answer): (&String, StoreResult<Path>)| match answer {
            Ok(_) => Ok(()),
            Err(err) => self.absent(name, &err).map(|_: Option<()>| ()),
        };
        Ok(names.iter().zip(answers).map(answer).collect())
    }

    /// Deletes one by one. Once the store itself fails, the rest gets the same
    /// answer without being asked for: it would have to wait for each.
    async fn delete_each(&self, names: Vec<(usize, String)>) -> Vec<(usize, Result<()>)> {
        let failed: OnceLock<Error> = OnceLock::new();
        stream::iter(names)
            .map(|(at, name)| {
                let failed = &failed;
                async move {
                    if let Some(error) = failed.get() {
                        return (at, Err(error.clone()));
                    }
                    let answer = self.delete(&name).await;
                    if let Err(error) = &answer
                        && !is_of_object(error.kind)
                    {
                        let _ = failed.set(error.clone());
                    }
                    (at, answer)
                }
            })
            .buffered(SINGLE_REQUESTS)
            .collect()
            .await
    }
}

/// Whether an error concerns one object and leaves the others alone.
fn is_of_object(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Denied | Kind::NotFound | Kind::BadName | Kind::Changed | Kind::Local
    )
}

/// Whether a request for many objects that failed like this may succeed for
/// others, or later.
fn is_passing(kind: Kind) -> bool {
    kind != Kind::Other && kind.is_transient() || is_of_object(kind)
}

/// One store by two clients: what deletes several objects goes to the second.
#[derive(Debug)]
pub(super) struct PairStore<T> {
    plain: Arc<T>,
    bulk: Arc<T>,
}

impl<T> PairStore<T> {
    /// `bulk` takes up to [`DELETES_AT_ONCE`] objects per request.
    pub fn new(plain: T, bulk: T) -> Self {
        Self {
            plain: Arc::new(plain),
            bulk: Arc::new(bulk),
        }
    }
}

impl<T: ObjectStore> std::fmt::Display for PairStore<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.plain)
    }
}

/// Has locations deleted in chunks of [`DELETES_AT_ONCE`], each by one call of
/// `delete`; one that cannot be had fails its chunk.
pub(super) fn in_chunks<F>(
    locations: BoxStream<'static, StoreResult<Path>>,
    delete: impl Fn(Vec<Path>) -> F + Clone + Send + 'static,
) -> BoxStream<'static, StoreResult<Path>>
where
    F: Future<Output = Vec<StoreResult<Path>>> + Send + 'static,
{
    locations
        .chunks(DELETES_AT_ONCE)
        .then(move |chunk| {
            let delete = delete.clone();
            async move {
                let paths: StoreResult<Vec<Path>> = chunk.into_iter().collect();
                stream::iter(match paths {
                    Ok(paths) => delete(paths).await,
                    Err(err) => vec![Err(err)],
                })
            }
        })
        .flatten()
        .boxed()
}

/// Deletes one chunk. The client panics over an answer that names an object
/// which nobody asked for; what a server says is no reason to.
async fn delete<T: ObjectStore>(store: &T, chunk: Vec<Path>) -> Vec<StoreResult<Path>> {
    let stream = store.delete_stream(stream::iter(chunk.into_iter().map(Ok)).boxed());
    let answers = AssertUnwindSafe(stream.collect::<Vec<_>>()).catch_unwind();
    answers.await.unwrap_or_else(|_| {
        vec![Err(object_store::Error::Generic {
            store: "S3",
            source: "the answer to a deletion names an object that was not in it".into(),
        })]
    })
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<T: ObjectStore> ObjectStore for PairStore<T> {
    async fn put_opts(
        &self,
        at: &Path,
        payload: PutPayload,
        opts: PutOptions,
    ) -> StoreResult<PutResult> {
        self.plain.put_opts(at, payload, opts).await
    }

    async fn put_multipart_opts(
        &self,
        at: &Path,
        opts: PutMultipartOptions,
    ) -> StoreResult<Box<dyn MultipartUpload>> {
        self.plain.put_multipart_opts(at, opts).await
    }

    async fn get_opts(&self, at: &Path, options: GetOptions) -> StoreResult<GetResult> {
        self.plain.get_opts(at, options).await
    }

    async fn get_ranges(&self, at: &Path, ranges: &[Range<u64>]) -> StoreResult<Vec<Bytes>> {
        self.plain.get_ranges(at, ranges).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, StoreResult<Path>>,
    ) -> BoxStream<'static, StoreResult<Path>> {
        let (plain, bulk) = (Arc::clone(&self.plain), Arc::clone(&self.bulk));
        in_chunks(locations, move |paths| {
            let (plain, bulk) = (Arc::clone(&plain), Arc::clone(&bulk));
            async move {
                match paths.len() {
                    1 => delete(plain.as_ref(), paths).await,
                    _ => delete(bulk.as_ref(), paths).await,
                }
            }
        })
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, StoreResult<ObjectMeta>> {
        self.plain.list(prefix)
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, StoreResult<ObjectMeta>> {
        self.plain.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> StoreResult<ListResult> {
        self.plain.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> StoreResult<()> {
        self.plain.copy_opts(from, to, options).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> StoreResult<()> {
        self.plain.rename_opts(from, to, options).await
    }
}

#[async_trait]
impl<T: MultipartStore> MultipartStore for PairStore<T> {
    async fn create_multipart(&self, at: &Path) -> StoreResult<MultipartId> {
        self.plain.create_multipart(at).await
    }

    async fn create_multipart_opts(
        &self,
        at: &Path,
        opts: PutMultipartOptions,
    ) -> StoreResult<MultipartId> {
        self.plain.create_multipart_opts(at, opts).await
    }

    async fn put_part(
        &self,
        at: &Path,
        id: &MultipartId,
        number: usize,
        data: PutPayload,
    ) -> StoreResult<PartId> {
        self.plain.put_part(at, id, number, data).await
    }

    async fn complete_multipart(
        &self,
        at: &Path,
        id: &MultipartId,
        parts: Vec<PartId>,
    ) -> StoreResult<PutResult> {
        self.plain.complete_multipart(at, id, parts).await
    }

    async fn abort_multipart(&self, at: &Path, id: &MultipartId) -> StoreResult<()> {
        self.plain.abort_multipart(at, id).await
    }
}
