//! Buffers that go round: taken for a window, handed out as `Bytes`, back in
//! the pool when the last of those is dropped.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

/// Equal buffers of one reader.
#[derive(Debug)]
pub(super) struct Pool {
    idle: Mutex<Vec<Vec<u8>>>,
    size: usize,
    keep: usize,
}

impl Pool {
    /// Buffers of `size` bytes; at most `keep` wait unused.
    pub fn new(size: usize, keep: usize) -> Arc<Self> {
        Arc::new(Self {
            idle: Mutex::default(),
            size,
            keep,
        })
    }

    pub fn buffer_size(&self) -> usize {
        self.size
    }

    /// An empty buffer. Its memory was zeroed once, when it was new.
    pub fn take(self: &Arc<Self>) -> Buffer {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let memory = idle.pop().unwrap_or_else(|| vec![0; self.size]);
        Buffer {
            memory,
            used: 0,
            pool: Arc::clone(self),
        }
    }

    #[cfg(test)]
    pub fn idle(&self) -> usize {
        self.idle.lock().unwrap().len()
    }
}

/// One buffer: `used` bytes of content, the rest is free.
#[derive(Debug)]
pub(super) struct Buffer {
    memory: Vec<u8>,
    used: usize,
    pool: Arc<Pool>,
}

impl Buffer {
    /// Appends bytes; false, and nothing done, if they do not fit.
    pub fn push(&mut self, data: &[u8]) -> bool {
        let Some(room) = self.free().get_mut(..data.len()) else {
            return false;
        };
        room.copy_from_slice(data);
        self.used += data.len();
        true
    }

    /// The unused part.
    pub fn free(&mut self) -> &mut [u8] {
        self.memory.get_mut(self.used..).unwrap_or_default()
    }

    /// Declares the first bytes of the unused part to be content.
    pub fn advance(&mut self, bytes: usize) {
        self.used = self.used.saturating_add(bytes).min(self.memory.len());
    }

    pub fn len(&self) -> usize {
        self.used
    }

    /// Shares the content; the buffer returns when the last share is gone.
    pub fn freeze(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        self.memory.get(..self.used).unwrap_or_default()
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut idle = self
            .pool
            .idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if idle.len() < self.pool.keep {
            idle.push(std::mem::take(&mut self.memory));
        }
    }
}
