//! Moves a view over one object without copying.

use bytes::Bytes;

use crate::tsdb::error::Result;
use crate::tsdb::source::BlobReader;

/// Least bytes asked for at once, so that a reader without read-ahead is not
/// called for every entry. Tests use a length that most entries cross.
const MIN_WINDOW: usize = if cfg!(test) { 48 } else { 64 << 10 };

/// The object and the part of it that lies in memory.
pub(super) struct Window {
    reader: Box<dyn BlobReader>,
    bytes: Bytes,
    start: u64,
}

impl Window {
    pub(super) fn new(reader: Box<dyn BlobReader>) -> Self {
        Self {
            reader,
            bytes: Bytes::new(),
            start: 0,
        }
    }

    pub(super) fn reader(&self) -> &dyn BlobReader {
        self.reader.as_ref()
    }

    pub(super) fn reader_mut(&mut self) -> &mut dyn BlobReader {
        self.reader.as_mut()
    }

    pub(super) fn into_reader(self) -> Box<dyn BlobReader> {
        self.reader
    }

    /// What lies in memory from `offset` on, possibly nothing.
    #[inline]
    pub(super) fn resident(&self, offset: u64) -> &[u8] {
        offset
            .checked_sub(self.start)
            .and_then(|skip| usize::try_from(skip).ok())
            .and_then(|skip| self.bytes.get(skip..))
            .unwrap_or_default()
    }

    /// Moves the view so that at least `want` bytes from `offset` on lie in
    /// memory. The caller has checked `want` against the section.
    ///
    /// # Errors
    /// Whatever the reader returns, and when the object ends before.
    #[cold]
    pub(super) fn load(&mut self, offset: u64, want: usize) -> Result<()> {
        let least = want.max(MIN_WINDOW);
        let bytes = self.reader.window(offset, least)?;
        // `exact` repeats the request only on the way to its error message.
        self.bytes = if bytes.len() < want {
            self.reader.exact(offset, want)?
        } else {
            bytes
        };
        self.start = offset;
        Ok(())
    }

    /// At least `want` bytes from `offset` on.
    ///
    /// # Errors
    /// As [`Self::load`].
    #[inline]
    pub(super) fn at(&mut self, offset: u64, want: usize) -> Result<&[u8]> {
        if self.resident(offset).len() < want {
            self.load(offset, want)?;
        }
        Ok(self.resident(offset))
    }
}
