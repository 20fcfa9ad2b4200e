//! A store that counts requests, and the rounds that they take: how often a
//! client waits for answers, when every answer takes as long as any other.
//! With a latency of 20 ms, 50 rounds are a second.
//!
//! It takes a deletion of up to 1,000 objects as one request, as S3 does.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, ObjectStoreExt, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use tokio::sync::oneshot;

/// What was asked so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Asked {
    /// Rounds.
    pub rounds: u64,
    /// Listings of one folder.
    pub lists: u64,
    /// Deletions, of whatever number of objects.
    pub deletes: u64,
    /// Objects in the largest of them.
    pub most: u64,
}

#[derive(Debug, Default)]
struct Desk {
    waiting: Mutex<Vec<oneshot::Sender<()>>>,
    arrived: AtomicU64,
    asked: Mutex<Asked>,
}

/// See above.
#[derive(Debug, Clone)]
pub struct RoundStore {
    inner: Arc<InMemory>,
    desk: Arc<Desk>,
    /// An object that nobody may delete.
    denied: Option<String>,
}

impl RoundStore {
    pub fn new(inner: Arc<InMemory>, denied: Option<String>) -> Self {
        Self {
            inner,
            desk: Arc::default(),
            denied,
        }
    }

    /// What was asked since the first listing of one folder.
    pub fn asked(&self) -> Asked {
        *self.desk.asked.lock().unwrap()
    }

    /// Answers everybody who waits, again and again, each time once nobody has
    /// anything to do but to wait. For a runtime with one thread.
    pub async fn serve(&self) {
        /// Turns of the runtime in which nobody comes.
        const QUIET: u32 = 32;
        loop {
            let mut quiet = 0;
            while quiet < QUIET {
                let before = self.desk.arrived.load(Ordering::SeqCst);
                tokio::task::yield_now().await;
                let same = self.desk.arrived.load(Ordering::SeqCst) == before;
                quiet = if same { quiet + 1 } else { 0 };
            }
            let waiting = std::mem::take(&mut *self.desk.waiting.lock().unwrap());
            if !waiting.is_empty() {
                let mut asked = self.desk.asked.lock().unwrap();
                // Before that, it looks at the bucket.
                asked.rounds += u64::from(asked.lists > 0);
            }
            for one in waiting {
                let _ = one.send(());
            }
        }
    }

    async fn turn(&self) {
        let (done, answered) = oneshot::channel();
        self.desk.waiting.lock().unwrap().push(done);
        self.desk.arrived.fetch_add(1, Ordering::SeqCst);
        answered.await.unwrap();
    }

    async fn delete_chunk(&self, chunk: Vec<Result<Path>>) -> Vec<Result<Path>> {
        {
            let mut asked = self.desk.asked.lock().unwrap();
            asked.deletes += 1;
            asked.most = asked.most.max(chunk.len() as u64);
        }
        self.turn().await;
        let mut answers = Vec::new();
        for at in chunk {
            let at = at.unwrap();
            answers.push(match &self.denied {
                Some(name) if name == at.as_ref() => Err(Error::PermissionDenied {
                    path: at.into(),
                    source: "a test says so".into(),
                }),
                _ => self.inner.delete(&at).await.map(|()| at),
            });
        }
        answers
    }
}

impl std::fmt::Display for RoundStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("rounds")
    }
}

#[async_trait]
impl ObjectStore for RoundStore {
    async fn put_opts(&self, at: &Path, body: PutPayload, opts: PutOptions) -> Result<PutResult> {
        self.turn().await;
        self.inner.put_opts(at, body, opts).await
    }

    async fn put_multipart_opts(
        &self,
        at: &Path,
        opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.turn().await;
        self.inner.put_multipart_opts(at, opts).await
    }

    async fn get_opts(&self, at: &Path, options: GetOptions) -> Result<GetResult> {
        self.turn().await;
        self.inner.get_opts(at, options).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let this = self.clone();
        locations
            .chunks(1_000)
            .then(move |chunk| {
                let this = this.clone();
                async move { stream::iter(this.delete_chunk(chunk).await) }
            })
            .flatten()
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let this = self.clone();
        let prefix = prefix.cloned();
        let listed = async move {
            this.desk.asked.lock().unwrap().lists += u64::from(prefix.is_some());
            this.turn().await;
            this.inner.list(prefix.as_ref())
        };
        stream::once(listed).flatten().boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.turn().await;
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.turn().await;
        self.inner.copy_opts(from, to, options).await
    }
}
