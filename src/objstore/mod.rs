//! The bucket: list, get, put, delete, and streams for plain threads.
//!
//! Terms:
//!
//! - **Bucket**: a flat map from names to immutable byte strings, on S3 or in a
//!   folder. **Object**: one entry. A **directory** is what names share up to a
//!   slash; it exists as long as an object lies in it.
//! - **Prefix**: a directory of the configuration below which everything of
//!   ours lies. Every name in this module is relative to it.
//! - **Part**: a piece of an object that is uploaded by a request of its own.
//! - **ETag**: a token of the store that changes with the content.
//!
//! ```text
//!   YAML --config--> BucketConfig --connect--> Bucket (clones share it)
//!                                                |
//!      async, on tokio                           |        sync, on plain threads
//!   list_dirs list head get                      |     open   -> BlobReader  reader/
//!   put put_if_absent put_if_match upload_file   +---- create -> BlobWriter  writer
//!   delete delete_all                            |
//!                                                |
//!    counting -> prefix -> steady -> S3 client   |  folder: pread, mmap
//!                       |  repeats     paced      |
//!                       '-> folder store         |
//! ```
//!
//! Invariants:
//!
//! - An object appears whole or not at all, also in a folder (staged, synced,
//!   renamed), and its size is checked with the store before a writer is done.
//! - A reader never mixes two versions of an object.
//! - Of many objects that are deleted at once each has its own answer.
//! - "Not found" is a value, never mixed up with "no bucket" or "no permission".
//! - Memory is bounded: windows and parts in flight are counted, and no length
//!   that the store or an object claims is allocated unseen.
//! - What an [`Error`] prints holds no credential and no signed URL, and says
//!   what to do.
//! - A remote request that fails is repeated only if that does no harm, within
//!   a budget that all share (`retry`); a store that refuses requests gets fewer
//!   from all together (`pace`). What is said above holds meanwhile.
//! - Every request is counted ([`Counts`]): a run that must not write proves it.
//!
//! What the client library cannot address are names with an empty segment
//! (`a//b`), `.` or `..` segments or control characters. They may lie in a
//! bucket beside our blocks; only a listing that meets them fails.

#[cfg(feature = "azure")]
mod azure;
mod background;
mod bucket;
mod clues;
mod conditional;
pub mod config;
mod counting;
mod credentials;
mod deletes;
mod error;
mod folder;
#[cfg(feature = "gcs")]
mod gcs;
mod hazards;
mod http;
mod open;
mod pace;
mod parts;
mod reader;
mod requests;
mod resume;
mod retry;
mod s3;
mod sdk;
mod steady;
mod tls;
mod upload;
mod wire;
mod writer;

pub use bucket::{Bucket, BucketKind, Object};
pub use conditional::{Version, Versioned};
pub use config::{BucketConfig, ConfigError, Provider};
pub use counting::{Count, Counts};
pub use error::{Error, Kind, Result, is_full};
pub use hazards::{
    Hazard, HazardKind, Hazards, MOST_REQUESTS as MOST_HAZARD_REQUESTS, NotLookedAt, Probing,
};
pub use reader::ReadAhead;
pub use retry::Patience;
pub use sdk::PendingUpload;
pub use writer::UploadSettings;

use std::path::Path;
use std::sync::Arc;

use crate::tsdb::source::{BlobReader, MemBlob};

/// Maps a complete local file, for example an index in our scratch, which must
/// not be written to any more. `name` is for messages.
///
/// # Errors
/// What the operating system says.
pub fn map_file(file: impl AsRef<Path>, name: &str) -> Result<MemBlob> {
    reader::map(file.as_ref(), name, &scratch_scene())
}

/// Reads a complete local file front to back, in windows of 1 MiB.
///
/// # Errors
/// What the operating system says.
pub fn read_file(file: impl AsRef<Path>, name: &str) -> Result<Box<dyn BlobReader>> {
    let scene = Arc::new(scratch_scene());
    let size = std::fs::metadata(file.as_ref());
    let size = size.map_err(|e| scene.local(name, "stat", &e))?.len();
    let ahead = ReadAhead {
        window: 1 << 20,
        depth: 1,
    };
    let counters = Arc::default();
    let reader = reader::FileReader::open(file.as_ref(), name, size, ahead, scene, counters)?;
    Ok(Box::new(reader))
}

fn scratch_scene() -> error::Scene {
    error::Scene {
        bucket: "scratch".to_owned(),
        ..error::Scene::default()
    }
}
