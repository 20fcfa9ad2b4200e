//! Buffers of parts that go round: filled, uploaded, filled again. New memory
//! would be zeroed by the system page by page, which costs as much as the copy.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

/// Idle buffers of whoever writes through one handle of a bucket.
#[derive(Debug, Default, Clone)]
pub(super) struct PartPool(Arc<Mutex<Vec<Vec<u8>>>>);

/// Buffers that wait unused, at most.
const KEEP: usize = 2;

impl PartPool {
    /// An empty buffer of this capacity, if one is idle.
    pub fn take(&self, capacity: usize) -> Option<Vec<u8>> {
        let mut idle = self.idle();
        let at = idle.iter().position(|b| b.capacity() == capacity)?;
        Some(idle.swap_remove(at))
    }

    /// Hands out a filled buffer, which comes back when its last share is
    /// dropped, if it has the capacity of a part; others are just freed.
    pub fn lend(&self, buffer: Vec<u8>, part: usize) -> Bytes {
        if buffer.capacity() != part {
            return Bytes::from(buffer);
        }
        Bytes::from_owner(Lent {
            buffer,
            pool: self.clone(),
        })
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Vec<u8>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Lent {
    buffer: Vec<u8>,
    pool: PartPool,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.buffer
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let mut idle = self.pool.idle();
        if idle.len() < KEEP {
            let mut buffer = std::mem::take(&mut self.buffer);
            buffer.clear();
            idle.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_come_back_when_nobody_looks_at_them() {
        let pool = PartPool::default();
        let mut buffer = Vec::with_capacity(100);
        buffer.extend_from_slice(b"abc");
        let sent = pool.lend(buffer, 100);
        let shared = sent.slice(1..);
        drop(sent);
        assert!(pool.take(100).is_none());
        assert_eq!(shared.as_ref(), b"bc");
        drop(shared);
        assert!(pool.take(200).is_none());
        assert!(pool.take(100).unwrap().is_empty());
        // What is no part is not kept.
        drop(pool.lend(vec![1, 2, 3], 100));
        assert!(pool.take(3).is_none());
    }

    #[test]
    fn only_a_few_wait() {
        let pool = PartPool::default();
        let lent: Vec<Bytes> = (0..KEEP + 3)
            .map(|_| pool.lend(Vec::with_capacity(10), 10))
            .collect();
        drop(lent);
        assert_eq!((0..).map_while(|_| pool.take(10)).count(), KEEP);
    }
}
