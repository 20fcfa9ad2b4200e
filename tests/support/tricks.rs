//! A store that plays tricks: it ignores or refuses conditions, loses answers,
//! stops answering, shows times of its own, or holds a request at a gate.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

/// What is called before a request goes on, with "PUT" or "DELETE" and the name.
pub type Gate = Arc<dyn Fn(&str, &str) -> futures::future::BoxFuture<'static, ()> + Send + Sync>;

/// What one client of the store is in for.
#[derive(Default)]
pub struct Tricks {
    /// `If-None-Match` is not looked at.
    pub ignore_absent: bool,
    /// `If-Match` is not looked at.
    pub ignore_match: bool,
    /// Conditions are refused.
    pub refuse: bool,
    /// So many answers to conditional writes are lost; they have their effect.
    pub lose: u32,
    /// Every request fails.
    pub down: bool,
    /// Milliseconds that the store's clock is ahead, for what is written now.
    pub ahead_ms: i64,
    /// Called before each change.
    pub gate: Option<Gate>,
}

/// See above. Clones are one client; [`TrickStore::other`] is a second one of the
/// same store.
#[derive(Clone)]
pub struct TrickStore {
    inner: Arc<InMemory>,
    tricks: Arc<Mutex<Tricks>>,
    /// How far ahead the store's clock was when an object was written, ms.
    times: Arc<Mutex<HashMap<Path, i64>>>,
    puts: Arc<Mutex<Vec<String>>>,
}

impl TrickStore {
    pub fn new() -> Self {
        Self::over(Arc::new(InMemory::new()))
    }

    pub fn over(inner: Arc<InMemory>) -> Self {
        Self {
            inner,
            tricks: Arc::default(),
            times: Arc::default(),
            puts: Arc::default(),
        }
    }

    /// A client that is in for nothing so far.
    pub fn other(&self) -> Self {
        Self {
            tricks: Arc::default(),
            puts: Arc::default(),
            ..self.clone()
        }
    }

    pub fn set(&self, with: impl FnOnce(&mut Tricks)) {
        with(&mut self.tricks.lock().unwrap());
    }

    /// Names of what this client wrote or tried to.
    pub fn puts(&self) -> Vec<String> {
        self.puts.lock().unwrap().clone()
    }

    fn up(&self) -> Result<()> {
        if self.tricks.lock().unwrap().down {
            return Err(failed("down"));
        }
        Ok(())
    }

    async fn gate(&self, what: &str, at: &Path) {
        let gate = self.tricks.lock().unwrap().gate.clone();
        if let Some(gate) = gate {
            gate(what, at.as_ref()).await;
        }
    }

    fn shift(&self, mut meta: ObjectMeta) -> ObjectMeta {
        let ahead = self.times.lock().unwrap().get(&meta.location).copied();
        let shift = Duration::from_millis(ahead.unwrap_or(0).unsigned_abs());
        match ahead {
            Some(ms) if ms < 0 => meta.last_modified -= shift,
            _ => meta.last_modified += shift,
        }
        meta
    }
}

fn failed(why: &'static str) -> Error {
    Error::Generic {
        store: "tricky",
        source: why.into(),
    }
}

impl std::fmt::Debug for TrickStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TrickStore")
    }
}

impl std::fmt::Display for TrickStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("tricky")
    }
}

#[async_trait]
impl ObjectStore for TrickStore {
    async fn put_opts(
        &self,
        at: &Path,
        body: PutPayload,
        mut opts: PutOptions,
    ) -> Result<PutResult> {
        self.gate("PUT", at).await;
        self.up()?;
        self.puts.lock().unwrap().push(at.to_string());
        let conditional = opts.mode != PutMode::Overwrite;
        {
            let tricks = self.tricks.lock().unwrap();
            if conditional && tricks.refuse {
                return Err(Error::NotImplemented {
                    operation: "conditions".to_owned(),
                    implementer: "tricky".to_owned(),
                });
            }
            let ignored = match opts.mode {
                PutMode::Create => tricks.ignore_absent,
                PutMode::Update(_) => tricks.ignore_match,
                PutMode::Overwrite => false,
            };
            if ignored {
                opts.mode = PutMode::Overwrite;
            }
        }
        let done = self.inner.put_opts(at, body, opts).await;
        let mut tricks = self.tricks.lock().unwrap();
        if done.is_ok() {
            self.times
                .lock()
                .unwrap()
                .insert(at.clone(), tricks.ahead_ms);
        }
        if conditional && tricks.lose > 0 {
            tricks.lose -= 1;
            return Err(failed("the answer was lost"));
        }
        done
    }

    async fn put_multipart_opts(
        &self,
        at: &Path,
        opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.up()?;
        self.inner.put_multipart_opts(at, opts).await
    }

    async fn get_opts(&self, at: &Path, options: GetOptions) -> Result<GetResult> {
        self.up()?;
        let mut found = self.inner.get_opts(at, options).await?;
        found.meta = self.shift(found.meta);
        Ok(found)
    }

    async fn get_ranges(&self, at: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.up()?;
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
                    this.gate("DELETE", &at).await;
                    this.up()?;
                    let one = futures::stream::once(async move { Ok(at) }).boxed();
                    let mut done = this.inner.delete_stream(one);
                    done.next().await.expect("one answer for one path")
                }
            })
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        if let Err(error) = self.up() {
            return futures::stream::once(async move { Err(error) }).boxed();
        }
        let this = self.clone();
        let listed = self.inner.list(prefix);
        listed
            .map(move |meta| meta.map(|meta| this.shift(meta)))
            .boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.up()?;
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.up()?;
        self.inner.copy_opts(from, to, options).await
    }
}
