//! What more than one bench needs: blobs that go nowhere or into memory, and
//! random numbers that are the same on every machine.

// Every bench compiles all of this and uses a part of it.
#![allow(dead_code)]

use std::hint::black_box;
use std::sync::mpsc::Sender;

use lithify::tsdb::Result;
use lithify::tsdb::source::BlobWriter;

/// Counts bytes and forgets them.
#[derive(Default)]
pub struct Null(u64);

impl BlobWriter for Null {
    fn write(&mut self, data: &[u8]) -> Result<()> {
        self.0 += black_box(data).len() as u64;
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<u64> {
        Ok(self.0)
    }
}

/// Hands the bytes over when it is finished.
pub struct Keep(pub Vec<u8>, pub Sender<Vec<u8>>);

impl BlobWriter for Keep {
    fn write(&mut self, data: &[u8]) -> Result<()> {
        self.0.extend_from_slice(data);
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<u64> {
        let size = self.0.len() as u64;
        // Whoever does not listen does not want them.
        let _ = self.1.send(self.0);
        Ok(size)
    }
}

/// A small generator with a fixed seed: the same data on every machine.
pub struct Random(pub u64);

impl Random {
    /// Any number.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    /// A number in 0..1.
    pub fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}
