//! Where bytes come from and go to, seen from the codec: one object at a time.
//!
//! The codec is synchronous and knows no bucket. A bucket, a mapped file or a
//! buffer in memory implements these two traits, and read-ahead or multipart
//! upload is the implementation's business.

use bytes::Bytes;

use super::error::{Corrupt, Result};
use crate::damage::Damage;

/// Ranged, mostly sequential reads of one immutable object.
pub trait BlobReader: Send {
    /// Object name for messages, for example `<ULID>/chunks/000001`.
    fn name(&self) -> &str;

    /// Size of the object in bytes.
    fn len(&self) -> u64;

    /// True for an object of zero bytes.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes from `offset` on: at least `min_len` of them unless the object
    /// ends before, and more when more lie in memory already.
    ///
    /// Calls with growing offsets are served from the read-ahead. A step back
    /// is allowed and costs a new request. Past the end the result is empty.
    ///
    /// # Errors
    /// [`super::Error::Read`] when the store fails.
    fn window(&mut self, offset: u64, min_len: usize) -> Result<Bytes>;

    /// Exactly `len` bytes from `offset` on.
    ///
    /// # Errors
    /// [`Corrupt`] when the object ends before; whatever `window` returns.
    fn exact(&mut self, offset: u64, len: usize) -> Result<Bytes> {
        let end = offset.checked_add(len as u64);
        if end.is_none_or(|end| end > self.len()) {
            let what = format!("ends before {len} bytes could be read");
            return Err(ends_early(self.name(), offset, what).into());
        }
        let window = self.window(offset, len)?;
        if window.len() < len {
            let what = format!("object is shorter than its listed {} bytes", self.len());
            return Err(ends_early(self.name(), offset, what).into());
        }
        Ok(window.slice(..len))
    }
}

#[cold]
fn ends_early(name: &str, offset: u64, what: String) -> Corrupt {
    let corrupt = Corrupt::at(0, what).because(Damage::truncated(name));
    corrupt.in_file(name, offset)
}

/// Writes one object from front to back; nobody sees it before `finish`.
pub trait BlobWriter: Send {
    /// Appends bytes.
    ///
    /// # Errors
    /// [`super::Error::Write`] when the store fails.
    fn write(&mut self, data: &[u8]) -> Result<()>;

    /// Makes the object visible and returns its size in bytes.
    ///
    /// # Errors
    /// [`super::Error::Write`] when the store fails.
    fn finish(self: Box<Self>) -> Result<u64>;
}

/// An object that lies in memory.
#[derive(Debug, Clone)]
pub struct MemBlob {
    name: String,
    data: Bytes,
}

impl MemBlob {
    /// Wraps bytes under a name for messages.
    pub fn new(name: impl Into<String>, data: impl Into<Bytes>) -> Self {
        Self {
            name: name.into(),
            data: data.into(),
        }
    }

    /// The bytes alone.
    pub fn into_bytes(self) -> Bytes {
        self.data
    }
}

impl BlobReader for MemBlob {
    fn name(&self) -> &str {
        &self.name
    }

    fn len(&self) -> u64 {
        self.data.len() as u64
    }

    fn window(&mut self, offset: u64, _min_len: usize) -> Result<Bytes> {
        let start = usize::try_from(offset).map_or(self.data.len(), |o| o.min(self.data.len()));
        Ok(self.data.slice(start..))
    }
}
