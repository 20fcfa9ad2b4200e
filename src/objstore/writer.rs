//! Writing one object from front to back, from a plain thread.
//!
//! ```text
//!  write() --copy--> part buffer --full--> upload of parts, at most N in flight
//!                        |                          |
//!                        '--finish(): small? -> put | complete --> HEAD: same size?
//! ```
//!
//! - An object below one part is a single put, so a marker costs one request.
//! - Nobody sees the object before `finish`; a writer that is dropped before
//!   aborts its upload in the background, see [`Bucket::settle`].
//! - Memory is `part_size * (parts_in_flight + 1)`.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use bytes::Bytes;
use object_store::path::Path;
use object_store::{MultipartUpload, ObjectStoreExt, PutMultipartOptions, PutOptions, PutPayload};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use super::Bucket;
use super::error::{Error, Kind, Result};
use crate::tsdb;
use crate::tsdb::source::BlobWriter;

/// S3's limit of parts in one upload.
const MOST_PARTS: usize = 10_000;
/// S3's limit of one put or part, bytes.
const LARGEST_PUT: u64 = 5 << 30;
/// Up to here all parts have the same size, which some stores insist on.
const EQUAL_PARTS: usize = 5_000;
/// Beyond, the size doubles after so many parts.
const GROW_EVERY: usize = 1_000;

/// How long parts may take to arrive once their upload is given up.
const GRACE: Duration = Duration::from_secs(10);

/// How objects are cut for the upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UploadSettings {
    /// Bytes of a part. S3 takes no part below 5 MiB but the last.
    pub part_size: usize,
    /// Parts of one object on their way at the same time, at least 1.
    pub parts_in_flight: usize,
    /// Collect every object in memory and write it with one request.
    pub single_put: bool,
}

impl Default for UploadSettings {
    /// 8 MiB and 4 parts: 40 GiB with equal parts, 40 MiB of memory at most.
    fn default() -> Self {
        Self {
            part_size: 8 << 20,
            parts_in_flight: 4,
            single_put: false,
        }
    }
}

impl UploadSettings {
    /// Bytes of part number `index`, counted from 0; `None` past the last.
    ///
    /// Half of the numbers go to equal parts, the rest doubles every 1,000:
    /// 8 MiB end at 512 GiB, and 5 MiB (S3's least) still at 335 GiB.
    fn part(&self, index: usize) -> Option<usize> {
        if self.single_put {
            return Some(usize::try_from(LARGEST_PUT).unwrap_or(usize::MAX));
        }
        if index >= MOST_PARTS {
            return None;
        }
        let doublings = match index.checked_sub(EQUAL_PARTS) {
            None => 0,
            Some(beyond) => beyond / GROW_EVERY + 1,
        };
        let most = usize::try_from(LARGEST_PUT).unwrap_or(usize::MAX);
        Some(
            self.part_size
                .max(1)
                .saturating_mul(1 << doublings)
                .min(most),
        )
    }
}

/// An object on its way into the bucket.
pub(super) struct Upload {
    bucket: Bucket,
    path: Path,
    settings: UploadSettings,
    buffer: Vec<u8>,
    written: u64,
    parts: Option<Parts>,
    failed: bool,
}

/// A multipart upload that has begun.
struct Parts {
    /// Taken when the upload is complete or to be aborted.
    upload: Option<Box<dyn MultipartUpload>>,
    tasks: Vec<JoinHandle<()>>,
    begun: usize,
    in_flight: usize,
    bytes_in_flight: usize,
    done: (Sender<Done>, Receiver<Done>),
}

/// One part has arrived, or not.
struct Done {
    bytes: usize,
    result: object_store::Result<()>,
}

impl Upload {
    pub fn new(bucket: Bucket, path: Path, settings: UploadSettings) -> Self {
        Self {
            bucket,
            path,
            settings,
            buffer: Vec::new(),
            written: 0,
            parts: None,
            failed: false,
        }
    }

    /// Appends bytes, and sends parts that are full.
    pub fn append(&mut self, mut data: &[u8]) -> Result<()> {
        if self.failed {
            return Err(self.error(Kind::Other, "an earlier write to this object failed"));
        }
        while !data.is_empty() {
            let full = self.part_size()?;
            let take = data.len().min(full.saturating_sub(self.buffer.len()));
            let (now, later) = data.split_at(take);
            self.reserve(take, full);
            self.buffer.extend_from_slice(now);
            self.written += take as u64;
            data = later;
            if self.buffer.len() >= full {
                self.send_part().inspect_err(|_| self.failed = true)?;
            }
        }
        Ok(())
    }

    /// Makes the object visible and returns its size.
    pub fn complete(mut self) -> Result<u64> {
        if self.failed {
            return Err(self.error(Kind::Other, "an earlier write to this object failed"));
        }
        if self.parts.is_some() {
            if !self.buffer.is_empty() {
                self.send_part()?;
            }
            self.finish_parts()?;
        } else {
            self.put_whole()?;
        }
        self.check_size()?;
        Ok(self.written)
    }

    fn part_size(&self) -> Result<usize> {
        let index = self.parts.as_ref().map_or(0, |parts| parts.begun);
        self.settings.part(index).ok_or_else(|| {
            let what = format!(
                "{MOST_PARTS} parts are used up at {} bytes; raise part_size",
                self.written
            );
            self.error(Kind::TooLarge, &what)
        })
    }

    /// Takes a buffer that was used before; else grows one by doubling, so that
    /// a small object stays small, but never beyond one part.
    fn reserve(&mut self, more: usize, full: usize) {
        let need = self.buffer.len() + more;
        if need <= self.buffer.capacity() {
            return;
        }
        let fresh = self.buffer.capacity() == 0;
        if let Some(idle) = fresh.then(|| self.bucket.part_pool().take(full)).flatten() {
            self.buffer = idle;
            return;
        }
        // An object that has parts already will fill this one, too.
        let want = match self.parts {
            Some(_) => full,
            None => need.max(self.buffer.capacity() * 2).min(full),
        };
        self.buffer.reserve_exact(want - self.buffer.len());
    }

    /// What was collected; the memory comes back once it was sent.
    fn take_buffer(&mut self) -> Bytes {
        let buffer = std::mem::take(&mut self.buffer);
        let pool = self.bucket.part_pool();
        pool.lend(buffer, self.settings.part_size)
    }

    fn send_part(&mut self) -> Result<()> {
        if self.settings.single_put {
            let what = "one request holds at most 5 GiB; remove disable_multipart";
            return Err(self.error(Kind::TooLarge, what));
        }
        if self.parts.is_none() {
            self.begin()?;
        }
        let data = self.take_buffer();
        // Parts grow late in a huge object: the limit is one of bytes.
        let limit = self.settings.part_size * self.settings.parts_in_flight.max(1);
        self.wait(|parts| parts.bytes_in_flight + data.len() > limit)?;
        let handle = self.bucket.handle().clone();
        let Some(parts) = &mut self.parts else {
            return Err(self.error(Kind::Other, "the upload was not begun"));
        };
        let Some(upload) = &mut parts.upload else {
            return Err(self.error(Kind::Other, "the upload was given up"));
        };
        let bytes = data.len();
        let part = upload.put_part(PutPayload::from(data));
        let done = parts.done.0.clone();
        parts.begun += 1;
        parts.in_flight += 1;
        parts.bytes_in_flight += bytes;
        parts.tasks.retain(|task| !task.is_finished());
        parts.tasks.push(handle.spawn(async move {
            let result = part.await;
            // The writer may be gone; then nobody counts any more.
            drop(done.send(Done { bytes, result }));
        }));
        Ok(())
    }

    /// Takes results while any part is in flight and `more` says to go on.
    fn wait(&mut self, more: impl Fn(&Parts) -> bool) -> Result<()> {
        let Some(parts) = &mut self.parts else {
            return Ok(());
        };
        while parts.in_flight > 0 && more(parts) {
            // `recv` cannot fail by itself, for we hold a sender: a task that
            // the runtime dropped would leave us waiting for ever.
            let done = parts.next_done();
            let Some(done) = done else {
                return Err(self.error(Kind::Stopped, "an upload was cancelled"));
            };
            parts.in_flight -= 1;
            parts.bytes_in_flight -= done.bytes;
            if let Err(err) = done.result {
                return Err(self.blame(&err));
            }
        }
        Ok(())
    }

    fn begin(&mut self) -> Result<()> {
        let (store, path) = (self.bucket.store().clone(), self.path.clone());
        let options = PutMultipartOptions {
            attributes: self.bucket.attributes().clone(),
            ..PutMultipartOptions::default()
        };
        let upload = self.run(async move { store.put_multipart_opts(&path, options).await })?;
        self.parts = Some(Parts {
            upload: Some(upload),
            tasks: Vec::new(),
            begun: 0,
            in_flight: 0,
            bytes_in_flight: 0,
            done: channel(),
        });
        Ok(())
    }

    fn finish_parts(&mut self) -> Result<()> {
        self.wait(|_| true)?;
        let Some(mut upload) = self.parts.as_mut().and_then(|parts| parts.upload.take()) else {
            return Err(self.error(Kind::Other, "the upload was given up"));
        };
        let (result, upload) = self.run(async move {
            let result = upload.complete().await;
            Ok((result, upload))
        })?;
        match result {
            Ok(_) => Ok(()),
            Err(err) => {
                // Back in its place, where the drop finds and aborts it.
                if let Some(parts) = &mut self.parts {
                    parts.upload = Some(upload);
                }
                Err(self.blame(&err))
            }
        }
    }

    fn put_whole(&mut self) -> Result<()> {
        let (store, path) = (self.bucket.store().clone(), self.path.clone());
        let payload = PutPayload::from(self.take_buffer());
        let options = PutOptions {
            attributes: self.bucket.attributes().clone(),
            ..PutOptions::default()
        };
        self.run(async move { store.put_opts(&path, payload, options).await })?;
        Ok(())
    }

    fn check_size(&self) -> Result<()> {
        let (store, path) = (self.bucket.store().clone(), self.path.clone());
        let stored = self.run(async move { store.head(&path).await })?.size;
        if stored != self.written {
            let what = format!("{stored} bytes stored, {} written", self.written);
            return Err(self.error(Kind::Incomplete, &what));
        }
        Ok(())
    }

    /// Runs a request on the runtime and waits for it on this thread.
    fn run<T: Send + 'static>(
        &self,
        request: impl Future<Output = object_store::Result<T>> + Send + 'static,
    ) -> Result<T> {
        let (answered, answer) = channel();
        self.bucket.handle().spawn(async move {
            // Nobody waits if the thread is gone.
            drop(answered.send(request.await));
        });
        let gone = |_| self.error(Kind::Stopped, "a request was cancelled");
        answer.recv().map_err(gone)?.map_err(|err| self.blame(&err))
    }

    fn error(&self, kind: Kind, what: &str) -> Error {
        self.bucket.scene().error(kind, self.path.as_ref(), what)
    }

    fn blame(&self, err: &object_store::Error) -> Error {
        self.bucket.scene().blame(self.path.as_ref(), err)
    }
}

impl Parts {
    /// The next result; `None` when every task is over and none is left.
    fn next_done(&self) -> Option<Done> {
        loop {
            let tick = Duration::from_millis(500);
            match self.done.1.recv_timeout(tick) {
                Ok(done) => return Some(done),
                Err(_) if self.tasks.iter().all(JoinHandle::is_finished) => {
                    return self.done.1.try_recv().ok();
                }
                Err(_) => {}
            }
        }
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        let Some(parts) = self.parts.take() else {
            return;
        };
        let Parts {
            upload: Some(mut upload),
            tasks,
            ..
        } = parts
        else {
            return;
        };
        let (bucket, path) = (self.bucket.clone(), self.path.clone());
        self.bucket.in_background(async move {
            // A part that arrives after the abort would stay, and cost, for
            // ever: those on their way may arrive first, if they do soon.
            let deadline = Instant::now() + GRACE;
            for mut task in tasks {
                if timeout_at(deadline, &mut task).await.is_err() {
                    task.abort();
                    drop(task.await);
                }
            }
            if let Err(err) = upload.abort().await {
                let error = bucket.scene().blame(path.as_ref(), &err);
                tracing::warn!(%error, "abort of an unfinished upload failed; a lifecycle rule of the bucket removes its parts");
            }
        });
    }
}

impl BlobWriter for Upload {
    fn write(&mut self, data: &[u8]) -> tsdb::Result<()> {
        self.append(data)
            .map_err(|err| write_error(&self.path, err))
    }

    fn finish(self: Box<Self>) -> tsdb::Result<u64> {
        let path = self.path.clone();
        self.complete().map_err(|err| write_error(&path, err))
    }
}

fn write_error(path: &Path, err: Error) -> tsdb::Error {
    tsdb::Error::Write {
        file: path.to_string(),
        source: Box::new(err),
    }
}

#[cfg(test)]
#[path = "writer_tests.rs"]
mod tests;
