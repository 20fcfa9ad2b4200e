//! Writing over one version of an object, and no other, in a folder.

use std::fs;
use std::io::ErrorKind;
use std::time::{Duration, UNIX_EPOCH};

use object_store::path::Path;
use object_store::{Error, ObjectStore, PutMode, PutOptions, PutPayload, PutResult, Result};

use super::{FolderStore, etag, failed};

impl FolderStore {
    /// Writes over an object only if its ETag is the one expected.
    ///
    /// The library's store has no such call. The directory of the bucket is
    /// locked meanwhile, so that of several processes of this machine one wins;
    /// nothing but these calls takes that lock, and none for long.
    pub(super) async fn replace(
        &self,
        at: &Path,
        payload: PutPayload,
        expected: Option<String>,
        opts: PutOptions,
    ) -> Result<PutResult> {
        let (store, at) = (self.clone(), at.clone());
        // A task of its own: whoever waits may give up between check and write.
        let task = tokio::spawn(async move {
            let _lock = store.lock().await?;
            let file = store.resolve(&at)?;
            let found = fs::metadata(&file).ok();
            let found = found.map(|f| etag(&f, f.modified().unwrap_or(UNIX_EPOCH)));
            if found.is_none() || found != expected {
                return Err(Error::Precondition {
                    path: at.to_string(),
                    source: "the file is another by now".into(),
                });
            }
            let opts = PutOptions {
                mode: PutMode::Overwrite,
                ..opts
            };
            store.inner.put_opts(&at, payload, opts).await
        });
        match task.await {
            Ok(done) => done,
            Err(source) => Err(Error::JoinError { source }),
        }
    }

    /// The lock on the bucket's directory, unless another process keeps it for
    /// longer than any write takes.
    async fn lock(&self) -> Result<fs::File> {
        const PAUSE: Duration = Duration::from_millis(20);
        const TRIES: u32 = 500;
        let root = self.root().to_owned();
        let dir = fs::File::open(&root).map_err(|err| failed(&root, err))?;
        for _ in 0..TRIES {
            match dir.try_lock() {
                Ok(()) => return Ok(dir),
                Err(fs::TryLockError::WouldBlock) => tokio::time::sleep(PAUSE).await,
                // No such locks on this file system: there is nothing better.
                Err(fs::TryLockError::Error(err)) if err.kind() == ErrorKind::Unsupported => {
                    return Ok(dir);
                }
                Err(fs::TryLockError::Error(err)) => return Err(failed(&root, err)),
            }
        }
        let err = std::io::Error::new(ErrorKind::TimedOut, "locked by another process");
        Err(failed(&root, err))
    }
}
