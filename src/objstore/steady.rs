//! A store that is asked again when it fails, see [`super::retry`].
//!
//! | request | repeated how |
//! |---|---|
//! | whole put, begin of an upload, part, delete | as it is: the same again does no harm |
//! | put on a condition | only if it surely had no effect; its sender has to look at the content |
//! | end of an upload | as it is; an upload that is gone by then has its object compared, by size and parts |
//! | get | as it is; a body that breaks off goes on where it ended, with `If-Match` |
//! | listing | goes on behind the last name |
//! | listing of directories | whole |
//!
//! An upload whose begin was answered too late is begun twice; the first one
//! stays without parts until the bucket's rules or its owner abort it.

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{BoxStream, try_unfold};
use futures::{StreamExt, stream};
use object_store::multipart::MultipartStore;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions,
    Result as StoreResult,
};

use super::deletes::in_chunks;
use super::resume::resuming;
use super::retry::{Asked, Effect, Retries, Tries};
use super::upload::SteadyUpload;

/// See [`crate::objstore::steady`]. Names have to be listed in order.
#[derive(Debug)]
pub(super) struct SteadyStore<T> {
    inner: Arc<T>,
    retries: Arc<Retries>,
}

impl<T> SteadyStore<T> {
    pub fn new(inner: T, retries: Arc<Retries>) -> Self {
        Self {
            inner: Arc::new(inner),
            retries,
        }
    }
}

impl<T: ObjectStore> std::fmt::Display for SteadyStore<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.inner)
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<T: ObjectStore + MultipartStore> ObjectStore for SteadyStore<T> {
    async fn put_opts(
        &self,
        at: &Path,
        payload: PutPayload,
        opts: PutOptions,
    ) -> StoreResult<PutResult> {
        let effect = match opts.mode {
            PutMode::Overwrite => Effect::Any,
            PutMode::Create | PutMode::Update(_) => Effect::Once,
        };
        let put = || self.inner.put_opts(at, payload.clone(), opts.clone());
        self.retries.ask(Asked::plain("PUT"), effect, put).await
    }

    async fn put_multipart_opts(
        &self,
        at: &Path,
        opts: PutMultipartOptions,
    ) -> StoreResult<Box<dyn MultipartUpload>> {
        let begin = || self.inner.create_multipart_opts(at, opts.clone());
        let asked = Asked::plain("begin of an upload");
        let id = self.retries.ask(asked, Effect::Any, begin).await?;
        let (inner, retries) = (Arc::clone(&self.inner), Arc::clone(&self.retries));
        Ok(Box::new(SteadyUpload::new(inner, retries, at.clone(), id)))
    }

    async fn get_opts(&self, at: &Path, options: GetOptions) -> StoreResult<GetResult> {
        let mut tries = self.retries.begin(asked(&options)).await;
        let result = loop {
            match self.inner.get_opts(at, options.clone()).await {
                Ok(result) => break result,
                Err(error) => tries.failed(error, Effect::Any).await?,
            }
        };
        tries.worked();
        if options.head {
            return Ok(result);
        }
        let inner = Arc::clone(&self.inner);
        Ok(resuming(inner, at.clone(), options, result, tries))
    }

    async fn get_ranges(&self, at: &Path, ranges: &[Range<u64>]) -> StoreResult<Vec<Bytes>> {
        let get = || self.inner.get_ranges(at, ranges);
        let asked = Asked::plain("GET of ranges");
        self.retries.ask(asked, Effect::Any, get).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, StoreResult<Path>>,
    ) -> BoxStream<'static, StoreResult<Path>> {
        let (inner, retries) = (Arc::clone(&self.inner), Arc::clone(&self.retries));
        in_chunks(locations, move |paths| {
            let (inner, retries) = (Arc::clone(&inner), Arc::clone(&retries));
            async move { delete(inner.as_ref(), &retries, paths).await }
        })
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, StoreResult<ObjectMeta>> {
        self.list_from(prefix, None)
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, StoreResult<ObjectMeta>> {
        self.list_from(prefix, Some(offset.clone()))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> StoreResult<ListResult> {
        let list = || self.inner.list_with_delimiter(prefix);
        let asked = Asked::plain("listing of directories");
        self.retries.ask(asked, Effect::Any, list).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> StoreResult<()> {
        let copy = || self.inner.copy_opts(from, to, options.clone());
        let asked = Asked::plain("copy");
        self.retries.ask(asked, Effect::Once, copy).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> StoreResult<()> {
        let rename = || self.inner.rename_opts(from, to, options.clone());
        let asked = Asked::plain("rename");
        self.retries.ask(asked, Effect::Once, rename).await
    }
}

/// What a get asks for, in words.
fn asked(options: &GetOptions) -> Asked {
    use object_store::GetRange::Bounded;
    match &options.range {
        _ if options.head => Asked::plain("HEAD"),
        Some(Bounded(range)) => Asked {
            what: "GET",
            range: Some((range.start, range.end.saturating_sub(1))),
        },
        _ => Asked::plain("GET"),
    }
}

/// Deletes one chunk with as many requests as it takes. Gives an answer for
/// each, in order, or one error if there is none for each.
async fn delete<T: ObjectStore>(
    store: &T,
    retries: &Arc<Retries>,
    paths: Vec<Path>,
) -> Vec<StoreResult<Path>> {
    let mut tries = retries.begin(Asked::plain("DELETE")).await;
    let mut done: Vec<Option<StoreResult<Path>>> = paths.iter().map(|_| None).collect();
    let mut left: Vec<usize> = (0..paths.len()).collect();
    loop {
        let asked: Vec<StoreResult<Path>> = left.iter().map(|at| Ok(paths[*at].clone())).collect();
        let answers: Vec<StoreResult<Path>> = store
            .delete_stream(stream::iter(asked).boxed())
            .collect()
            .await;
        let whole = answers.len() == left.len();
        let mut again = Vec::new();
        let mut reason = None;
        if whole {
            for (at, answer) in left.iter().zip(answers) {
                match answer {
                    Err(error) if tries.may_pass(&error) => {
                        again.push(*at);
                        reason.get_or_insert(error);
                    }
                    // Of an earlier try that worked: S3 does not tell.
                    Err(object_store::Error::NotFound { .. }) if tries.in_doubt() => {
                        done[*at] = Some(Ok(paths[*at].clone()));
                    }
                    answer => done[*at] = Some(answer),
                }
            }
        } else {
            reason = answers.into_iter().find_map(Result::err);
            if reason.is_none() {
                // Nobody can say for which it was; the caller sees the number.
                return done.into_iter().flatten().collect();
            }
            again = left;
        }
        let Some(reason) = reason else {
            tries.worked();
            return done.into_iter().flatten().collect();
        };
        if let Err(error) = tries.failed(reason, Effect::Any).await {
            if !whole {
                return vec![Err(error)];
            }
            let error = Arc::new(error);
            for at in again {
                done[at] = Some(Err(shared(&error)));
            }
            return done.into_iter().flatten().collect();
        }
        left = again;
    }
}

/// The same error once more.
fn shared(error: &Arc<object_store::Error>) -> object_store::Error {
    object_store::Error::Generic {
        store: "S3",
        source: Box::new(Arc::clone(error)),
    }
}

/// A listing that is under way.
struct Listing<T> {
    inner: Arc<T>,
    retries: Arc<Retries>,
    prefix: Option<Path>,
    /// Nothing up to here is wanted: the largest name so far.
    behind: Option<Path>,
    /// Names came in another order than theirs: it cannot go on.
    disordered: bool,
    /// It goes on after a failure: names may come again.
    resumed: bool,
    names: Option<BoxStream<'static, StoreResult<ObjectMeta>>>,
    tries: Option<Tries>,
}

impl<T: ObjectStore + MultipartStore> SteadyStore<T> {
    fn list_from(
        &self,
        prefix: Option<&Path>,
        behind: Option<Path>,
    ) -> BoxStream<'static, StoreResult<ObjectMeta>> {
        let listing = Listing {
            inner: Arc::clone(&self.inner),
            retries: Arc::clone(&self.retries),
            prefix: prefix.cloned(),
            behind,
            disordered: false,
            resumed: false,
            names: None,
            tries: None,
        };
        try_unfold(listing, |mut listing| async move {
            let name = listing.next().await?;
            Ok(name.map(|name| (name, listing)))
        })
        .boxed()
    }
}

impl<T: ObjectStore> Listing<T> {
    async fn next(&mut self) -> StoreResult<Option<ObjectMeta>> {
        loop {
            if self.tries.is_none() {
                self.tries = Some(self.retries.begin(Asked::plain("LIST")).await);
            }
            let again = self.names.is_none();
            let (inner, prefix, behind) = (&self.inner, self.prefix.as_ref(), &self.behind);
            let names = self.names.get_or_insert_with(|| match behind {
                None => inner.list(prefix),
                Some(behind) => inner.list_with_offset(prefix, behind),
            });
            let answer = names.next().await;
            match answer {
                None => return Ok(None),
                Some(Ok(name)) => {
                    if again && let Some(tries) = &self.tries {
                        tries.worked();
                    }
                    let new = self.behind.as_ref().is_none_or(|b| *b < name.location);
                    if new {
                        self.behind = Some(name.location.clone());
                    } else if self.resumed {
                        // Of a folder `a/` the client shows `a`: it comes again.
                        continue;
                    } else {
                        self.disordered = true;
                    }
                    return Ok(Some(name));
                }
                Some(Err(error)) => {
                    (self.names, self.resumed) = (None, true);
                    if self.disordered {
                        return Err(error);
                    }
                    if let Some(tries) = &mut self.tries {
                        tries.failed(error, Effect::Any).await?;
                    }
                }
            }
        }
    }
}

#[cfg(test)]
#[path = "steady_tests.rs"]
mod tests;
