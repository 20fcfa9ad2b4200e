//! The Prometheus block format: read, write, check. Synchronous, no bucket.
//!
//! Terms, as in Prometheus:
//!
//! - **Block**: an immutable folder named by a ULID that holds the samples of
//!   `[minTime, maxTime)` (milliseconds since the epoch).
//! - **Series**: a label set with its chunks. **Chunk**: up to about 120
//!   samples, compressed, with an *encoding* byte.
//! - **Segment**: a file `chunks/000001` of up to 512 MiB that holds chunks.
//! - **Symbol**: a string of a label, stored once and named by its number.
//! - **Postings**: for one label pair, the sorted list of series that have it.
//! - **Tombstone**: a range of one series that was deleted.
//!
//! ```text
//!  <ULID>/meta.json      who, when, from what             meta.rs
//!         index          symbols, series, postings, TOC   index/
//!         chunks/000001  chunk after chunk, CRC each      chunks/, chunkenc/
//!         tombstones     deleted ranges (rare)            tombstones.rs
//! ```
//!
//! Invariants of a block we write:
//!
//! - Series lie in label order, and their chunks in series order, so index and
//!   segments can both be read front to back at the same time.
//! - Chunks of a series do not overlap: each starts after the one before ended.
//! - Every checksum is CRC-32C (Castagnoli), see [`encoding::crc32c`].

pub mod chunkenc;
pub mod chunks;
pub mod encoding;
mod error;
pub mod index;
pub mod meta;
pub mod source;
pub mod spill;
pub mod tombstones;

pub use crate::damage::Damage;
pub use error::{Corrupt, Error, Result};
