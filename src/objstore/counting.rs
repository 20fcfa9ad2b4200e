//! Counts what is asked of a store, so that a plan can be priced and a test
//! can prove that a dry run writes nothing.
//!
//! One count is one logical request: what is repeated after a failure is counted
//! apart ([`Counts::repeated`]). A listing counts one call per started 1,000 names,
//! and so does a deletion of many objects where the store takes that many at
//! once: that is what a store bills.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result, UploadPart,
};
use schemars::JsonSchema;
use serde::Serialize;

/// Names in one page of a listing.
const PAGE: u64 = 1_000;

/// Calls and payload bytes of one kind of request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Count {
    /// Requests begun.
    pub calls: u64,
    /// Payload bytes: asked for when reading, sent when writing.
    pub bytes: u64,
}

/// All counts of a bucket at one moment, or between two.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Counts {
    /// Whole objects read.
    pub get: Count,
    /// Ranges read, also from local files.
    pub get_range: Count,
    /// Metadata requests.
    pub head: Count,
    /// Whole objects written.
    pub put: Count,
    /// Parts of multipart uploads written.
    pub put_part: Count,
    /// Multipart uploads begun, completed or aborted.
    pub multipart: Count,
    /// Pages of listings.
    pub list: Count,
    /// Requests that delete one object, or up to 1,000 of them.
    pub delete: Count,
    /// Tries after a first one that failed, not among those above.
    pub repeated: u64,
    /// Tries that the store refused because it had too many (HTTP 429, 503).
    pub throttled: u64,
}

impl Counts {
    /// Requests that change nothing.
    #[must_use]
    pub fn reads(&self) -> u64 {
        self.get.calls + self.get_range.calls + self.head.calls + self.list.calls
    }

    /// Requests that change the bucket.
    #[must_use]
    pub fn writes(&self) -> u64 {
        self.put.calls + self.put_part.calls + self.multipart.calls + self.delete.calls
    }

    /// What was asked since `before`, an earlier state of the same bucket.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        let of = |now: Count, before: Count| Count {
            calls: now.calls.saturating_sub(before.calls),
            bytes: now.bytes.saturating_sub(before.bytes),
        };
        Self {
            get: of(self.get, before.get),
            get_range: of(self.get_range, before.get_range),
            head: of(self.head, before.head),
            put: of(self.put, before.put),
            put_part: of(self.put_part, before.put_part),
            multipart: of(self.multipart, before.multipart),
            list: of(self.list, before.list),
            delete: of(self.delete, before.delete),
            repeated: self.repeated.saturating_sub(before.repeated),
            throttled: self.throttled.saturating_sub(before.throttled),
        }
    }

    /// Payload bytes read.
    #[must_use]
    pub fn bytes_read(&self) -> u64 {
        self.get.bytes + self.get_range.bytes
    }

    /// Payload bytes written.
    #[must_use]
    pub fn bytes_written(&self) -> u64 {
        self.put.bytes + self.put_part.bytes
    }
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Op {
    Get,
    GetRange,
    Head,
    Put,
    PutPart,
    Multipart,
    List,
    Delete,
}

/// What may happen to a request.
#[derive(Debug, Clone, Copy)]
pub(super) enum Tally {
    Repeated,
    Throttled,
}

/// Counters shared by a store, its readers and its writers.
#[derive(Debug, Default)]
pub(super) struct Counters {
    cells: [(AtomicU64, AtomicU64); 8],
    tallies: [AtomicU64; 2],
}

impl Counters {
    pub fn add(&self, op: Op, bytes: u64) {
        // Statistics only: no other memory depends on their order.
        let (calls, sum) = &self.cells[op as usize];
        calls.fetch_add(1, Ordering::Relaxed);
        sum.fetch_add(bytes, Ordering::Relaxed);
    }

    pub fn tally(&self, what: Tally) {
        self.tallies[what as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub fn snapshot(&self) -> Counts {
        let tally = |what: Tally| self.tallies[what as usize].load(Ordering::Relaxed);
        let read = |op: Op| {
            let (calls, bytes) = &self.cells[op as usize];
            Count {
                calls: calls.load(Ordering::Relaxed),
                bytes: bytes.load(Ordering::Relaxed),
            }
        };
        Counts {
            get: read(Op::Get),
            get_range: read(Op::GetRange),
            head: read(Op::Head),
            put: read(Op::Put),
            put_part: read(Op::PutPart),
            multipart: read(Op::Multipart),
            list: read(Op::List),
            delete: read(Op::Delete),
            repeated: tally(Tally::Repeated),
            throttled: tally(Tally::Throttled),
        }
    }
}

/// A store that counts and otherwise hands everything on.
#[derive(Debug)]
pub(super) struct CountingStore<T> {
    inner: T,
    counters: Arc<Counters>,
    /// Objects that one request can delete.
    deletes_at_once: u64,
}

impl<T> CountingStore<T> {
    pub fn new(inner: T, counters: Arc<Counters>, deletes_at_once: u64) -> Self {
        Self {
            inner,
            counters,
            deletes_at_once: deletes_at_once.max(1),
        }
    }

    fn pages(
        &self,
        names: BoxStream<'static, Result<ObjectMeta>>,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        let counters = Arc::clone(&self.counters);
        // An empty listing is a request too.
        counters.add(Op::List, 0);
        let mut seen = 0_u64;
        names
            .inspect_ok(move |_| {
                seen += 1;
                if seen > 1 && seen % PAGE == 1 {
                    counters.add(Op::List, 0);
                }
            })
            .boxed()
    }
}

impl<T: ObjectStore> std::fmt::Display for CountingStore<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "counted {}", self.inner)
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<T: ObjectStore> ObjectStore for CountingStore<T> {
    async fn put_opts(
        &self,
        at: &Path,
        payload: PutPayload,
        opts: PutOptions,
    ) -> Result<PutResult> {
        self.counters.add(Op::Put, payload.content_length() as u64);
        self.inner.put_opts(at, payload, opts).await
    }

    async fn put_multipart_opts(
        &self,
        at: &Path,
        opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.counters.add(Op::Multipart, 0);
        let inner = self.inner.put_multipart_opts(at, opts).await?;
        let counters = Arc::clone(&self.counters);
        Ok(Box::new(CountingUpload { inner, counters }))
    }

    async fn get_opts(&self, at: &Path, options: GetOptions) -> Result<GetResult> {
        let op = match (options.head, &options.range) {
            (true, _) => Op::Head,
            (false, Some(_)) => Op::GetRange,
            (false, None) => Op::Get,
        };
        match self.inner.get_opts(at, options).await {
            Ok(result) => {
                let body = result.range.end.saturating_sub(result.range.start);
                let bytes = if matches!(op, Op::Head) { 0 } else { body };
                self.counters.add(op, bytes);
                Ok(result)
            }
            Err(err) => {
                self.counters.add(op, 0);
                Err(err)
            }
        }
    }

    async fn get_ranges(&self, at: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        for range in ranges {
            let bytes = range.end.saturating_sub(range.start);
            self.counters.add(Op::GetRange, bytes);
        }
        self.inner.get_ranges(at, ranges).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let (counters, at_once) = (Arc::clone(&self.counters), self.deletes_at_once);
        let mut seen = 0_u64;
        let counted = locations.inspect_ok(move |_| {
            if seen.is_multiple_of(at_once) {
                counters.add(Op::Delete, 0);
            }
            seen += 1;
        });
        self.inner.delete_stream(counted.boxed())
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.pages(self.inner.list(prefix))
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.pages(self.inner.list_with_offset(prefix, offset))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let result = self.inner.list_with_delimiter(prefix).await;
        let names = match &result {
            Ok(list) => (list.objects.len() + list.common_prefixes.len()) as u64,
            Err(_) => 0,
        };
        for _ in 0..names.div_ceil(PAGE).max(1) {
            self.counters.add(Op::List, 0);
        }
        result
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.counters.add(Op::Put, 0);
        self.inner.copy_opts(from, to, options).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.counters.add(Op::Put, 0);
        self.counters.add(Op::Delete, 0);
        self.inner.rename_opts(from, to, options).await
    }
}

#[derive(Debug)]
struct CountingUpload {
    inner: Box<dyn MultipartUpload>,
    counters: Arc<Counters>,
}

#[async_trait]
impl MultipartUpload for CountingUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        self.counters.add(Op::PutPart, data.content_length() as u64);
        self.inner.put_part(data)
    }

    async fn complete(&mut self) -> Result<PutResult> {
        self.counters.add(Op::Multipart, 0);
        self.inner.complete().await
    }

    async fn abort(&mut self) -> Result<()> {
        self.counters.add(Op::Multipart, 0);
        self.inner.abort().await
    }
}
