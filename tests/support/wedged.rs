//! A store in which chosen requests never come to an end, or are refused, and
//! which lets a test wait until the others have done what it expects.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use tokio::sync::Notify;

/// Kinds of requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    Get,
    Put,
    Delete,
    List,
}

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It never ends.
    Hang,
    /// It is refused.
    Deny,
}

type Rule = dyn Fn(Op, &str) -> Option<Fault> + Send + Sync;

/// See above.
#[derive(Clone)]
pub struct WedgedStore {
    inner: Arc<InMemory>,
    rule: Arc<Rule>,
    changed: Arc<Notify>,
}

impl WedgedStore {
    /// `rule` decides over each request by its kind and its object (of a
    /// listing: the prefix).
    pub fn new(
        inner: Arc<InMemory>,
        rule: impl Fn(Op, &str) -> Option<Fault> + Send + Sync + 'static,
    ) -> Self {
        Self {
            inner,
            rule: Arc::new(rule),
            changed: Arc::default(),
        }
    }

    /// Waits until the names of all objects are as wanted.
    pub async fn until(&self, wanted: impl Fn(&BTreeSet<String>) -> bool) {
        loop {
            let changed = self.changed.notified();
            let mut changed = std::pin::pin!(changed);
            changed.as_mut().enable();
            if wanted(&self.names().await) {
                return;
            }
            changed.await;
        }
    }

    /// Names of all objects.
    pub async fn names(&self) -> BTreeSet<String> {
        let all: Vec<_> = self.inner.list(None).collect().await;
        let names = all.into_iter().map(|meta| meta.unwrap().location.into());
        names.collect()
    }

    async fn pass(&self, op: Op, name: &str) -> Result<()> {
        match (self.rule)(op, name) {
            None => Ok(()),
            Some(Fault::Hang) => std::future::pending().await,
            Some(Fault::Deny) => Err(Error::PermissionDenied {
                path: name.to_owned(),
                source: "a test says so".into(),
            }),
        }
    }
}

impl std::fmt::Debug for WedgedStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("WedgedStore")
    }
}

impl std::fmt::Display for WedgedStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("wedged")
    }
}

#[async_trait]
impl ObjectStore for WedgedStore {
    async fn put_opts(&self, at: &Path, body: PutPayload, opts: PutOptions) -> Result<PutResult> {
        self.pass(Op::Put, at.as_ref()).await?;
        let done = self.inner.put_opts(at, body, opts).await;
        self.changed.notify_waiters();
        done
    }

    async fn put_multipart_opts(
        &self,
        at: &Path,
        opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.pass(Op::Put, at.as_ref()).await?;
        self.inner.put_multipart_opts(at, opts).await
    }

    async fn get_opts(&self, at: &Path, options: GetOptions) -> Result<GetResult> {
        self.pass(Op::Get, at.as_ref()).await?;
        self.inner.get_opts(at, options).await
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
                    this.pass(Op::Delete, at.as_ref()).await?;
                    let one = futures::stream::once(async move { Ok(at) }).boxed();
                    let done = this.inner.delete_stream(one).next().await;
                    this.changed.notify_waiters();
                    done.expect("one answer for one path")
                }
            })
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let this = self.clone();
        let prefix = prefix.cloned().unwrap_or_default();
        let listed = async move {
            match this.pass(Op::List, prefix.as_ref()).await {
                Ok(()) => this.inner.list(Some(&prefix)),
                Err(error) => futures::stream::once(async { Err(error) }).boxed(),
            }
        };
        futures::stream::once(listed).flatten().boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let name = prefix.map(ToString::to_string).unwrap_or_default();
        self.pass(Op::List, &name).await?;
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}
