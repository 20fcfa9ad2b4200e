//! A store that throws two coins for each request: one for an error before the
//! request takes effect, one for an error after it, when the answer is lost.
//! Besides, it can be slow, break off bodies and listings, refuse requests for a
//! while, and list what was there some changes ago.
//!
//! A coin depends on the seed, the kind of the request, its object and how often
//! that was asked for, so the same seed gives the same faults whatever the order
//! of requests to different objects.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt};
use object_store::client::{HttpError, HttpErrorKind};
use object_store::memory::InMemory;
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartId,
    MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt, PutMultipartOptions, PutOptions,
    PutPayload, PutResult, Result,
};

/// Kinds of requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Op {
    Get,
    Head,
    Put,
    Begin,
    Part,
    End,
    Abort,
    Delete,
    List,
}

pub const ALL_OPS: [Op; 9] = [
    Op::Get,
    Op::Head,
    Op::Put,
    Op::Begin,
    Op::Part,
    Op::End,
    Op::Abort,
    Op::Delete,
    Op::List,
];

/// Shares of requests with a fault, 0 to 1.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    /// Errors before the effect.
    pub before: f64,
    /// Errors after the effect.
    pub after: f64,
    /// Answers that take up to 3 ms.
    pub slow: f64,
    /// Bodies and listings that break off.
    pub cut: f64,
    /// Requests after which the next ones are refused with 429 or 503.
    pub bursts: f64,
    /// Listings of what was there up to four changes ago.
    pub stale: f64,
    /// Errors only for this kind.
    pub only: Option<Op>,
}

#[derive(Debug)]
struct State {
    faults: Faults,
    seed: u64,
    asked: Mutex<HashMap<(Op, String), u64>>,
    requests: AtomicU64,
    failed: AtomicU64,
    /// Requests still to be refused.
    refusing: AtomicU64,
    /// What lay under a name before each change.
    changes: Mutex<Vec<(Path, Option<ObjectMeta>)>>,
}

/// See above.
#[derive(Debug, Clone)]
pub struct FaultyStore {
    inner: Arc<InMemory>,
    state: Arc<State>,
}

/// The number of a throw for one request.
struct Coins<'a> {
    state: &'a State,
    of: (Op, String),
    time: u64,
}

impl Coins<'_> {
    /// Evenly from 0 to 1.
    fn number(&self, what: &str) -> f64 {
        let hasher = BuildHasherDefault::<DefaultHasher>::default();
        let hash = hasher.hash_one((self.state.seed, what, &self.of, self.time));
        (hash >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn falls(&self, what: &str, share: f64) -> bool {
        share > 0.0 && self.number(what) < share
    }

    /// What goes wrong in the transfer, in the words of the client library.
    fn lost(&self) -> Error {
        self.state.failed.fetch_add(1, Ordering::SeqCst);
        let http = |kind, io: io::ErrorKind| -> Box<dyn std::error::Error + Send + Sync> {
            Box::new(HttpError::new(kind, io::Error::from(io)))
        };
        let source = match (self.number("how") * 4.0) as u32 {
            0 => http(HttpErrorKind::Interrupted, io::ErrorKind::ConnectionReset),
            1 => http(HttpErrorKind::Timeout, io::ErrorKind::TimedOut),
            2 => http(HttpErrorKind::Request, io::ErrorKind::UnexpectedEof),
            _ => "Server returned non-2xx status code: 500 Internal Server Error: \
                  <Error><Code>InternalError</Code></Error>"
                .into(),
        };
        let store = "faulty";
        Error::Generic { store, source }
    }

    fn refused(&self) -> Error {
        self.state.failed.fetch_add(1, Ordering::SeqCst);
        let what = if self.number("refusal") < 0.5 {
            "503 Service Unavailable: <Error><Code>SlowDown</Code></Error>"
        } else {
            "429 Too Many Requests: "
        };
        Error::Generic {
            store: "faulty",
            source: format!("Server returned non-2xx status code: {what}").into(),
        }
    }

    /// Before the effect.
    async fn before(&self) -> Result<()> {
        let faults = &self.state.faults;
        if self.falls("slow", faults.slow) {
            let most = self.number("how slow") * 3_000.0;
            tokio::time::sleep(Duration::from_micros(most as u64)).await;
        }
        if self.falls("burst", faults.bursts) {
            let more = 1 + (self.number("how many") * 5.0) as u64;
            self.state.refusing.fetch_add(more, Ordering::SeqCst);
        }
        let step = |left: u64| left.checked_sub(1);
        let refusing = &self.state.refusing;
        if refusing
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, step)
            .is_ok()
        {
            return Err(self.refused());
        }
        if self.concerned() && self.falls("before", faults.before) {
            return Err(self.lost());
        }
        Ok(())
    }

    /// After the effect.
    fn after(&self) -> Result<()> {
        if self.concerned() && self.falls("after", self.state.faults.after) {
            return Err(self.lost());
        }
        Ok(())
    }

    fn concerned(&self) -> bool {
        self.state.faults.only.is_none_or(|only| only == self.of.0)
    }

    async fn around<T>(&self, request: impl Future<Output = Result<T>>) -> Result<T> {
        self.before().await?;
        let answer = request.await?;
        self.after()?;
        Ok(answer)
    }

    /// So many of `all` pieces arrive before it breaks off.
    fn cut(&self, all: usize) -> Option<usize> {
        let cut = self.concerned() && self.falls("cut", self.state.faults.cut);
        cut.then(|| (self.number("where") * all as f64) as usize)
    }
}

impl FaultyStore {
    pub fn new(inner: Arc<InMemory>, seed: u64, faults: Faults) -> Self {
        let state = State {
            faults,
            seed,
            asked: Mutex::default(),
            requests: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            refusing: AtomicU64::new(0),
            changes: Mutex::default(),
        };
        Self {
            inner,
            state: Arc::new(state),
        }
    }

    /// Tries that arrived, and those of them that failed.
    pub fn tries(&self) -> (u64, u64) {
        (
            self.state.requests.load(Ordering::SeqCst),
            self.state.failed.load(Ordering::SeqCst),
        )
    }

    fn coins(&self, op: Op, at: &str) -> Coins<'_> {
        self.state.requests.fetch_add(1, Ordering::SeqCst);
        let of = (op, at.to_owned());
        let mut asked = self.state.asked.lock().unwrap();
        let times = asked.entry(of.clone()).or_default();
        *times += 1;
        Coins {
            state: &self.state,
            of,
            time: *times,
        }
    }

    /// Changes what lies under a name, and remembers what did.
    async fn change<T>(&self, at: &Path, change: impl Future<Output = Result<T>>) -> Result<T> {
        let before = self.inner.head(at).await.ok();
        let done = change.await?;
        self.state
            .changes
            .lock()
            .unwrap()
            .push((at.clone(), before));
        Ok(done)
    }

    /// What a listing shows: of now, or of some changes ago.
    async fn names(&self, prefix: Option<&Path>, coins: &Coins<'_>) -> Vec<ObjectMeta> {
        let all: Vec<_> = self.inner.list(prefix).collect().await;
        let mut names: BTreeMap<Path, ObjectMeta> = all
            .into_iter()
            .map(|meta| meta.unwrap())
            .map(|meta| (meta.location.clone(), meta))
            .collect();
        if coins.falls("stale", self.state.faults.stale) {
            let ago = 1 + (coins.number("how old") * 4.0) as usize;
            let changes = self.state.changes.lock().unwrap();
            for (at, before) in changes.iter().rev().take(ago) {
                if prefix.is_some_and(|prefix| !at.prefix_matches(prefix)) {
                    continue;
                }
                match before {
                    Some(meta) => names.insert(at.clone(), meta.clone()),
                    None => names.remove(at),
                };
            }
        }
        names.into_values().collect()
    }
}

impl std::fmt::Display for FaultyStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("faulty")
    }
}

#[async_trait]
impl ObjectStore for FaultyStore {
    async fn put_opts(&self, at: &Path, body: PutPayload, opts: PutOptions) -> Result<PutResult> {
        let coins = self.coins(Op::Put, at.as_ref());
        let put = self.inner.put_opts(at, body, opts);
        coins.around(self.change(at, put)).await
    }

    async fn put_multipart_opts(
        &self,
        _: &Path,
        _: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        unreachable!("uploads are made of their single requests")
    }

    async fn get_opts(&self, at: &Path, options: GetOptions) -> Result<GetResult> {
        let op = if options.head { Op::Head } else { Op::Get };
        let coins = self.coins(op, at.as_ref());
        let result = coins.around(self.inner.get_opts(at, options)).await?;
        let (meta, range) = (result.meta.clone(), result.range.clone());
        let (attributes, extensions) = (result.attributes.clone(), result.extensions.clone());
        let body = result.bytes().await?;
        // Three pieces, as a network would.
        let third = (body.len() / 3).max(1);
        let mut pieces: Vec<Result<Bytes>> =
            body.chunks(third).map(|c| Ok(body.slice_ref(c))).collect();
        if let Some(after) = coins.cut(pieces.len()) {
            pieces.truncate(after);
            pieces.push(Err(coins.lost()));
        }
        Ok(GetResult {
            payload: GetResultPayload::Stream(stream::iter(pieces).boxed()),
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
        let this = self.clone();
        locations
            .then(move |at| {
                let this = this.clone();
                async move {
                    let at = at?;
                    let coins = this.coins(Op::Delete, at.as_ref());
                    let delete = this.change(&at, this.inner.delete(&at));
                    coins.around(delete).await?;
                    Ok(at)
                }
            })
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let (this, prefix) = (self.clone(), prefix.cloned());
        let listed = async move {
            let name = prefix.as_ref().map_or("", AsRef::as_ref);
            let coins = this.coins(Op::List, name);
            if let Err(error) = coins.around(std::future::ready(Ok(()))).await {
                return stream::iter(vec![Err(error)]);
            }
            let names = this.names(prefix.as_ref(), &coins).await;
            let mut names: Vec<Result<ObjectMeta>> = names.into_iter().map(Ok).collect();
            if let Some(after) = coins.cut(names.len()) {
                names.truncate(after);
                names.push(Err(coins.lost()));
            }
            stream::iter(names)
        };
        listed.flatten_stream().boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let root = Path::default();
        let prefix = prefix.unwrap_or(&root);
        let coins = self.coins(Op::List, &format!("{prefix}/"));
        coins.around(std::future::ready(Ok(()))).await?;
        let mut directories = BTreeSet::new();
        let mut objects = Vec::new();
        for meta in self.names(Some(prefix), &coins).await {
            let mut below = meta.location.prefix_match(prefix).expect("a prefix");
            let first = below.next().expect("a name");
            if below.next().is_some() {
                directories.insert(prefix.clone().join(first));
            } else {
                objects.push(meta.clone());
            }
        }
        Ok(ListResult {
            common_prefixes: directories.into_iter().collect(),
            objects,
            extensions: Default::default(),
        })
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        unreachable!("nothing is copied")
    }
}

#[async_trait]
impl MultipartStore for FaultyStore {
    async fn create_multipart(&self, at: &Path) -> Result<MultipartId> {
        let coins = self.coins(Op::Begin, at.as_ref());
        coins.around(self.inner.create_multipart(at)).await
    }

    async fn put_part(
        &self,
        at: &Path,
        id: &MultipartId,
        number: usize,
        data: PutPayload,
    ) -> Result<PartId> {
        let coins = self.coins(Op::Part, &format!("{at} {number}"));
        coins
            .around(self.inner.put_part(at, id, number, data))
            .await
    }

    async fn complete_multipart(
        &self,
        at: &Path,
        id: &MultipartId,
        parts: Vec<PartId>,
    ) -> Result<PutResult> {
        let coins = self.coins(Op::End, at.as_ref());
        let end = self.inner.complete_multipart(at, id, parts);
        coins.around(self.change(at, end)).await
    }

    async fn abort_multipart(&self, at: &Path, id: &MultipartId) -> Result<()> {
        let coins = self.coins(Op::Abort, at.as_ref());
        coins.around(self.inner.abort_multipart(at, id)).await
    }
}
