//! A store whose answers are wrong once: it flips a byte in the first body of
//! one object.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

/// See above.
#[derive(Debug, Clone)]
pub struct FlakyStore<T> {
    inner: T,
    victim: String,
    faults: Arc<AtomicU64>,
}

impl<T> FlakyStore<T> {
    /// The next `faults` bodies of `victim` have a wrong byte.
    pub fn new(inner: T, victim: String, faults: u64) -> Self {
        Self {
            inner,
            victim,
            faults: Arc::new(AtomicU64::new(faults)),
        }
    }

    /// Wrong bodies that are still to come.
    pub fn left(&self) -> u64 {
        self.faults.load(Ordering::SeqCst)
    }
}

impl<T: ObjectStore> std::fmt::Display for FlakyStore<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "flaky {}", self.inner)
    }
}

#[async_trait]
impl<T: ObjectStore + Clone> ObjectStore for FlakyStore<T> {
    async fn put_opts(&self, at: &Path, body: PutPayload, opts: PutOptions) -> Result<PutResult> {
        self.inner.put_opts(at, body, opts).await
    }

    async fn put_multipart_opts(
        &self,
        at: &Path,
        opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(at, opts).await
    }

    async fn get_opts(&self, at: &Path, options: GetOptions) -> Result<GetResult> {
        let head = options.head;
        let result = self.inner.get_opts(at, options).await?;
        let step = |n: u64| n.checked_sub(1);
        let hit = !head
            && at.as_ref() == self.victim
            && self
                .faults
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, step)
                .is_ok();
        if !hit {
            return Ok(result);
        }
        let (meta, range) = (result.meta.clone(), result.range.clone());
        let (attributes, extensions) = (result.attributes.clone(), result.extensions.clone());
        let pieces: Vec<Bytes> = result.into_stream().try_collect().await?;
        let mut bytes = pieces.concat();
        // Of an index this is in the series, which every merge reads.
        let at = bytes.len() / 4;
        bytes[at] ^= 1;
        let once = futures::stream::once(async move { Ok(Bytes::from(bytes)) });
        Ok(GetResult {
            payload: GetResultPayload::Stream(once.boxed()),
            meta,
            range,
            attributes,
            extensions,
        })
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}
