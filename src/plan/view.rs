//! What a listing of the bucket says, as plain values.

use std::sync::Arc;

use ulid::Ulid;

use crate::block::markers::{DeletionMark, NoCompactMark, NoDownsampleMark};
use crate::block::meta::Meta;

/// One complete block and its markers.
#[derive(Debug, Clone)]
pub struct BlockView {
    /// Its `meta.json`, external labels as uploaded.
    pub meta: Arc<Meta>,
    /// Objects of the block as listed: path below its folder and bytes.
    pub files: Arc<Vec<ListedFile>>,
    /// Why it can be no source, if its files are not as `meta.json` states.
    pub damaged: Option<String>,
    /// Asked to be removed.
    pub deletion: Option<DeletionMark>,
    /// Kept out of compactions.
    pub no_compact: Option<NoCompactMark>,
    /// Kept from being downsampled.
    pub no_downsample: Option<NoDownsampleMark>,
}

/// One object of a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedFile {
    /// Path below the block's folder, for example `chunks/000001`.
    pub path: String,
    /// Bytes.
    pub size: u64,
}

impl BlockView {
    /// Name of the block.
    pub fn id(&self) -> Ulid {
        self.meta.id()
    }

    /// Size of one object in bytes, if it was listed.
    pub fn file_size(&self, path: &str) -> Option<u64> {
        self.files.iter().find(|f| f.path == path).map(|f| f.size)
    }

    /// Bytes of index and segments together.
    pub fn data_bytes(&self) -> u64 {
        self.files
            .iter()
            .filter(|f| f.path == "index" || f.path.starts_with("chunks/"))
            .map(|f| f.size)
            .sum()
    }
}

/// A folder in the bucket that is no usable block, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The folder.
    pub block: Ulid,
    /// What is wrong, for people.
    pub what: String,
    /// What to do about it.
    pub cure: String,
    /// True if it may mend itself: an upload that is still under way.
    pub partial: bool,
}

/// Everything one sync learned.
#[derive(Debug, Clone, Default)]
pub struct BucketView {
    /// Blocks with a readable `meta.json`, ascending by ULID.
    pub blocks: Vec<BlockView>,
    /// What is wrong with folders, by ULID: unreadable ones, and damaged blocks.
    pub problems: Vec<Problem>,
}
