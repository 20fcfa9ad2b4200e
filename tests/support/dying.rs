//! A store that dies: after so many requests that change it, every request
//! fails, as if the process had been killed. What was done stays done. Before
//! that, one `meta.json` may be refused.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, UploadPart,
};

/// Shared by a store and its uploads.
#[derive(Debug)]
struct Life {
    left: AtomicU64,
    spent: AtomicU64,
    /// Number of the `meta.json` that is refused, counted from 1 as they come;
    /// 0 once that is done.
    refused: AtomicU64,
}

impl Life {
    fn check(&self) -> Result<()> {
        if self.left.load(Ordering::SeqCst) > 0 {
            return Ok(());
        }
        Err(Error::Generic {
            store: "dying",
            source: "the process is dead".into(),
        })
    }

    /// Refuses the one `meta.json` that is to be refused.
    fn refuse(&self, at: &Path) -> Result<()> {
        let is_meta = at.filename() == Some("meta.json");
        let counted = |left: u64| left.checked_sub(u64::from(is_meta));
        let before = self
            .refused
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, counted);
        if is_meta && before == Ok(1) {
            let source = "no room for it".into();
            let store = "dying";
            return Err(Error::Generic { store, source });
        }
        Ok(())
    }

    /// Takes part of the life for a request that changes the store.
    fn spend(&self) -> Result<()> {
        self.check()?;
        self.left.fetch_sub(1, Ordering::SeqCst);
        self.spent.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

/// See above.
#[derive(Debug, Clone)]
pub struct DyingStore<T> {
    inner: T,
    life: Arc<Life>,
}

impl<T> DyingStore<T> {
    /// Dies after `mutations` requests that change it.
    pub fn new(inner: T, mutations: u64) -> Self {
        Self::refusing(inner, mutations, 0)
    }

    /// The same, and the `meta.json` of that number, from 1, is not written; 0
    /// for none.
    pub fn refusing(inner: T, mutations: u64, meta: u64) -> Self {
        let life = Arc::new(Life {
            left: AtomicU64::new(mutations),
            spent: AtomicU64::new(0),
            refused: AtomicU64::new(meta),
        });
        Self { inner, life }
    }

    /// Requests that changed it so far.
    pub fn spent(&self) -> u64 {
        self.life.spent.load(Ordering::SeqCst)
    }
}

impl<T: ObjectStore> std::fmt::Display for DyingStore<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "dying {}", self.inner)
    }
}

#[async_trait]
impl<T: ObjectStore + Clone> ObjectStore for DyingStore<T> {
    async fn put_opts(&self, at: &Path, body: PutPayload, opts: PutOptions) -> Result<PutResult> {
        self.life.spend()?;
        self.life.refuse(at)?;
        self.inner.put_opts(at, body, opts).await
    }

    async fn put_multipart_opts(
        &self,
        at: &Path,
        opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.life.spend()?;
        let inner = self.inner.put_multipart_opts(at, opts).await?;
        let life = Arc::clone(&self.life);
        Ok(Box::new(DyingUpload { inner, life }))
    }

    async fn get_opts(&self, at: &Path, options: GetOptions) -> Result<GetResult> {
        self.life.check()?;
        self.inner.get_opts(at, options).await
    }

    async fn get_ranges(&self, at: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.life.check()?;
        self.inner.get_ranges(at, ranges).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let this = self.clone();
        locations
            .then(move |at| {
                let this = this.clone();
                async move {
                    let at = at?;
                    this.life.spend()?;
                    let one = futures::stream::once(async move { Ok(at) }).boxed();
                    let mut done = this.inner.delete_stream(one);
                    done.next().await.expect("one answer for one path")
                }
            })
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.life.check() {
            Ok(()) => self.inner.list(prefix),
            Err(e) => futures::stream::once(async move { Err(e) }).boxed(),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.life.check()?;
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.life.spend()?;
        self.inner.copy_opts(from, to, options).await
    }
}

#[derive(Debug)]
struct DyingUpload {
    inner: Box<dyn MultipartUpload>,
    life: Arc<Life>,
}

#[async_trait]
impl MultipartUpload for DyingUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        match self.life.spend() {
            Ok(()) => self.inner.put_part(data),
            Err(e) => async move { Err(e) }.boxed(),
        }
    }

    async fn complete(&mut self) -> Result<PutResult> {
        self.life.spend()?;
        self.inner.complete().await
    }

    async fn abort(&mut self) -> Result<()> {
        self.life.spend()?;
        self.inner.abort().await
    }
}
