//! Reading from a store: tokio fetches windows ahead, a plain thread takes them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};

use bytes::Bytes;
use futures::StreamExt;
use object_store::path::Path;
use object_store::{GetOptions, GetRange};
use tokio::task::AbortHandle;

use super::pool::{Buffer, Pool};
use super::{Piece, ReadAhead, copy_end, end_of};
use crate::objstore::Bucket;
use crate::objstore::error::{Error, Kind, Result};
use crate::tsdb;
use crate::tsdb::source::BlobReader;

/// See [`super`] for the picture.
pub(in crate::objstore) struct AheadReader {
    object: Object,
    window: usize,
    /// Most windows in the queue.
    depth: usize,
    /// Windows wanted in the queue now: small after a jump, since the next
    /// step may be a jump again, doubled with each window read to its end.
    ahead: usize,
    pool: Arc<Pool>,
    queue: VecDeque<Slot>,
    /// First byte that nobody asked the store for: the end of the queue.
    next: u64,
    bridge: Option<Piece>,
}

/// What a request needs to know.
#[derive(Clone)]
struct Object {
    bucket: Bucket,
    path: Path,
    size: u64,
    /// Of the first answer; every later request insists on it.
    etag: Option<String>,
}

struct Slot {
    start: u64,
    len: usize,
    state: State,
}

enum State {
    Coming {
        answer: Receiver<Result<Answer>>,
        task: AbortHandle,
    },
    Here(Bytes),
}

struct Answer {
    data: Bytes,
    etag: Option<String>,
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let State::Coming { task, .. } = &self.state {
            task.abort();
        }
    }
}

impl Slot {
    fn end(&self) -> u64 {
        self.start + self.len as u64
    }

    /// The bytes from `offset` on, if they are here and reach to `end`.
    fn share(&self, offset: u64, end: u64) -> Option<Bytes> {
        let State::Here(data) = &self.state else {
            return None;
        };
        let skip = usize::try_from(offset.checked_sub(self.start)?).ok()?;
        (offset < end && end <= self.end() && skip < data.len()).then(|| data.slice(skip..))
    }
}

impl AheadReader {
    pub fn new(bucket: Bucket, path: Path, size: u64, ahead: ReadAhead) -> Self {
        let depth = ahead.depth.max(1);
        // A small object needs no large buffer.
        let most = usize::try_from(size).unwrap_or(usize::MAX).max(1);
        let window = ahead.window.clamp(1, most);
        Self {
            object: Object {
                bucket,
                path,
                size,
                etag: None,
            },
            window,
            depth,
            ahead: depth,
            pool: Pool::new(window, depth),
            queue: VecDeque::with_capacity(depth),
            next: 0,
            bridge: None,
        }
    }

    fn read(&mut self, offset: u64, min_len: usize) -> Result<Bytes, (u64, Error)> {
        let size = self.object.size;
        if offset >= size {
            return Ok(Bytes::new());
        }
        let end = end_of(offset, min_len, size);
        // The usual case, and the only one that small steps pay for.
        if let Some(data) = self.queue.front().and_then(|slot| slot.share(offset, end)) {
            return Ok(data);
        }
        let held = self.bridge.as_ref().and_then(|bridge| bridge.from(offset));
        let enough = |data: &Bytes| offset + data.len() as u64 >= end;
        if let Some(data) = held.clone().filter(enough) {
            return Ok(data);
        }
        let inside = |slot: &Slot| slot.start <= offset && end <= slot.end();
        if held.is_none() || self.queue.front().is_some_and(inside) {
            self.seek(offset);
            let front = self.front()?;
            if let Some(data) = front.from(offset).filter(enough) {
                self.bridge = None;
                return Ok(data);
            }
        }
        self.build_bridge(offset, end, held.unwrap_or_default())
    }

    /// Copies a straddling request together. `held` begins at `offset`, and
    /// the queue goes on where it ends.
    fn build_bridge(&mut self, offset: u64, end: u64, held: Bytes) -> Result<Bytes, (u64, Error)> {
        let target = copy_end(offset, end, self.window, self.object.size);
        // Memory follows the bytes that arrive, not the length asked for.
        let mut bytes = Vec::with_capacity(held.len() + self.window);
        bytes.extend_from_slice(&held);
        drop(held);
        self.bridge = None;
        let mut place = offset + bytes.len() as u64;
        while place < target {
            let front = self.front()?;
            let Some(data) = front.from(place) else {
                let what = "the read-ahead lost its place";
                return Err((place, self.object.error(Kind::Other, what)));
            };
            let want = usize::try_from(target - place).unwrap_or(usize::MAX);
            let take = data.len().min(want);
            bytes.extend_from_slice(&data[..take]);
            place += take as u64;
            if place == front.end() {
                self.pop();
            }
        }
        let data = Bytes::from(bytes);
        self.bridge = Some(Piece {
            start: offset,
            data: data.clone(),
        });
        Ok(data)
    }

    /// Makes the queue begin with the window that holds `offset`.
    fn seek(&mut self, offset: u64) {
        let first = self.queue.front().map_or(self.next, |slot| slot.start);
        let reach = self.window as u64 * self.depth as u64;
        if offset < first || offset >= self.next.saturating_add(reach) {
            // A jump: forget the queue, and do not run far ahead yet.
            self.queue.clear();
            self.next = offset;
            self.ahead = 1;
            return;
        }
        while self.queue.front().is_some_and(|slot| slot.end() <= offset) {
            self.pop();
        }
        if self.queue.is_empty() {
            self.next = offset;
        }
    }

    fn pop(&mut self) {
        self.queue.pop_front();
        self.ahead = self.ahead.saturating_mul(2).min(self.depth);
    }

    /// Asks for windows until enough are under way.
    fn fill(&mut self) {
        while self.queue.len() < self.ahead && self.next < self.object.size {
            let left = usize::try_from(self.object.size - self.next).unwrap_or(usize::MAX);
            let len = self.window.min(left);
            let slot = self.object.ask(self.next, len, self.pool.take());
            self.next = slot.end();
            self.queue.push_back(slot);
        }
    }

    /// The first window, once it has arrived.
    fn front(&mut self) -> Result<Piece, (u64, Error)> {
        self.fill();
        let Some(slot) = self.queue.front_mut() else {
            return Err((
                self.next,
                self.object.error(Kind::Other, "nothing left to read"),
            ));
        };
        let start = slot.start;
        match slot.wait(&mut self.object) {
            Ok(data) => Ok(Piece { start, data }),
            Err(err) => {
                // The next call asks again, in case it was a passing fault.
                self.queue.clear();
                self.next = start;
                Err((start, err))
            }
        }
    }
}

impl Slot {
    fn wait(&mut self, object: &mut Object) -> Result<Bytes> {
        let answer = match &self.state {
            State::Here(data) => return Ok(data.clone()),
            State::Coming { answer, .. } => answer.recv(),
        };
        let gone = |_| object.error(Kind::Stopped, "a read was cancelled");
        let Answer { data, etag } = answer.map_err(gone)??;
        // Requests sent before the first answer could not insist on its ETag.
        if object.etag.is_some() && object.etag != etag {
            return Err(object.error(Kind::Changed, "other ETag than before"));
        }
        object.etag = etag;
        self.state = State::Here(data.clone());
        Ok(data)
    }
}

impl Object {
    fn error(&self, kind: Kind, what: &str) -> Error {
        self.bucket.scene().error(kind, self.path.as_ref(), what)
    }

    fn ask(&self, start: u64, len: usize, buffer: Buffer) -> Slot {
        let (answered, answer) = sync_channel(1);
        let object = self.clone();
        let task = self.bucket.handle().spawn(async move {
            let result = object.fetch(start, len, buffer).await;
            // The reader may have lost interest.
            drop(answered.send(result));
        });
        let task = task.abort_handle();
        Slot {
            start,
            len,
            state: State::Coming { answer, task },
        }
    }

    async fn fetch(&self, start: u64, len: usize, mut buffer: Buffer) -> Result<Answer> {
        let options = GetOptions {
            range: Some(GetRange::Bounded(start..start + len as u64)),
            if_match: self.etag.clone(),
            ..GetOptions::default()
        };
        let blame = |err| self.bucket.scene().blame(self.path.as_ref(), &err);
        let result = self.bucket.store().get_opts(&self.path, options).await;
        let result = result.map_err(blame)?;
        if result.meta.size != self.size {
            let what = format!("{} bytes now, {} when listed", result.meta.size, self.size);
            return Err(self.error(Kind::Changed, &what));
        }
        let etag = result.meta.e_tag.clone();
        let mut body = result.into_stream();
        while let Some(part) = body.next().await {
            let part = part.map_err(blame)?;
            // Stores in memory give the whole range at once: no copy then.
            if buffer.len() == 0 && part.len() == len {
                return Ok(Answer { data: part, etag });
            }
            if !buffer.push(&part) {
                return Err(self.error(Kind::Changed, "more bytes than asked for"));
            }
        }
        if buffer.len() != len {
            let what = format!("{} of {len} bytes", buffer.len());
            return Err(self.error(Kind::Truncated, &what));
        }
        let data = buffer.freeze();
        Ok(Answer { data, etag })
    }
}

impl BlobReader for AheadReader {
    fn name(&self) -> &str {
        self.object.path.as_ref()
    }

    fn len(&self) -> u64 {
        self.object.size
    }

    fn window(&mut self, offset: u64, min_len: usize) -> tsdb::Result<Bytes> {
        self.read(offset, min_len)
            .map_err(|(place, err)| tsdb::Error::Read {
                file: self.object.path.to_string(),
                offset: place,
                source: Box::new(err.at(place)),
            })
    }
}

#[cfg(test)]
impl AheadReader {
    /// Windows held or under way, and unused buffers.
    pub fn held(&self) -> (usize, usize) {
        (self.queue.len(), self.pool.idle())
    }
}
