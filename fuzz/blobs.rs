//! Objects in memory for the readers under test.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use lithify::tsdb::Result;
use lithify::tsdb::source::{BlobReader, BlobWriter, MemBlob};

/// An object that gives all it has at once, as a mapped file does.
pub fn whole(name: &str, data: &[u8]) -> Box<dyn BlobReader> {
    Box::new(MemBlob::new(name, data.to_vec()))
}

/// An object that gives never more than it is asked for, so that entries cross
/// windows and nothing behind can be read by accident.
pub fn stingy(name: &str, data: &[u8]) -> Box<dyn BlobReader> {
    Box::new(Stingy(MemBlob::new(name, data.to_vec())))
}

struct Stingy(MemBlob);

impl BlobReader for Stingy {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn len(&self) -> u64 {
        self.0.len()
    }

    fn window(&mut self, offset: u64, min_len: usize) -> Result<Bytes> {
        let bytes = self.0.window(offset, min_len)?;
        let len = bytes.len().min(min_len);
        Ok(Bytes::copy_from_slice(&bytes[..len]))
    }
}

/// Collects what is written; clones share the bytes.
#[derive(Clone, Default)]
pub struct Sink(Arc<Mutex<Vec<u8>>>);

impl Sink {
    pub fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap().clone()
    }
}

impl BlobWriter for Sink {
    fn write(&mut self, data: &[u8]) -> Result<()> {
        self.0.lock().unwrap().extend_from_slice(data);
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<u64> {
        Ok(self.0.lock().unwrap().len() as u64)
    }
}
