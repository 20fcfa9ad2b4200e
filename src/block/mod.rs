//! Thanos blocks in a bucket: what lies there, and how it is read and written.
//!
//! ```text
//!  <ULID>/meta.json              last to be uploaded, first to be deleted:
//!                                with it the block exists, without it not
//!         index                  one object
//!         chunks/000001 …        segments of up to 512 MiB
//!         deletion-mark.json …   markers, see [`markers`]
//! ```
//!
//! A folder whose name is no ULID is none of our business; a folder without a
//! readable `meta.json` is a *partial* block: an upload that is under way or
//! was given up.
//!
//! Invariants:
//!
//! - BL-1: `meta.json` of a new block is written after its segments and index.
//! - BL-2: a source is marked only after the new block was found complete.
//! - BL-3: reading the bucket never writes to it.

mod failure;
pub mod io;
pub mod markers;
pub mod meta;

pub use failure::of_merge;

use ulid::Ulid;

use crate::tsdb::chunks::segment_file_name;

/// Object name of the index below the block's folder.
pub const INDEX: &str = "index";
/// Object name of the meta file below the block's folder.
pub const META: &str = "meta.json";
/// Object name of the tombstones below the block's folder.
pub const TOMBSTONES: &str = "tombstones";

/// Path of a block's object in the bucket.
pub fn path(block: Ulid, file: &str) -> String {
    format!("{block}/{file}")
}

/// Object name of segment `seq` (from 0, as references count) below the block's folder.
pub fn segment(seq: u32) -> String {
    format!("chunks/{}", segment_file_name(seq))
}

/// The block and the file below it, if a path belongs to a block.
pub fn split_path(path: &str) -> Option<(Ulid, &str)> {
    let (folder, file) = path.split_once('/')?;
    let id = Ulid::from_string(folder).ok()?;
    // Lowercase parses, too, but it is not how a block is named.
    (id.to_string() == folder).then_some((id, file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_blocks_are_blocks() {
        // With letters in it, or lowercase would be no difference.
        let id = Ulid::from_parts(1_700_000_000_000, 7);
        assert_eq!(
            split_path(&path(id, &segment(2))),
            Some((id, "chunks/000003"))
        );
        assert_eq!(split_path("debug/metas/x.json"), None);
        assert_eq!(split_path("lithify/lease"), None);
        assert_eq!(split_path(&path(id, INDEX).to_lowercase()), None);
        assert_eq!(split_path("meta.json"), None);
    }
}
