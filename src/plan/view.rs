//! What a listing of the bucket says, as plain values.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use ulid::Ulid;

use crate::block::INDEX;
use crate::block::markers::{DeletionMark, NoCompactMark, NoDownsampleMark};
use crate::block::meta::Meta;
use crate::tsdb::Damage;

/// One complete block and its markers.
#[derive(Debug, Clone)]
pub struct BlockView {
    /// Its `meta.json`, external labels as uploaded.
    pub meta: Arc<Meta>,
    /// Objects of the block as listed: path below its folder and bytes.
    pub files: Arc<Vec<ListedFile>>,
    /// Why it can be no source, if its files are not as `meta.json` states or
    /// if it was found damaged while it was read.
    pub damaged: Option<Finding>,
    /// Asked to be removed.
    pub deletion: Option<DeletionMark>,
    /// Kept out of compactions.
    pub no_compact: Option<NoCompactMark>,
    /// Kept from being downsampled.
    pub no_downsample: Option<NoDownsampleMark>,
}

/// What is wrong with a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// For programs.
    pub reason: Damage,
    /// For people: the file, the place and what was found there.
    pub what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason, self.what)
    }
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

    /// Index and segments.
    pub fn data_files(&self) -> impl Iterator<Item = &ListedFile> {
        let is_data = |f: &&ListedFile| f.path == INDEX || f.path.starts_with("chunks/");
        self.files.iter().filter(is_data)
    }

    /// Bytes of index and segments together.
    pub fn data_bytes(&self) -> u64 {
        self.data_files().map(|f| f.size).sum()
    }

    /// Bytes of the index.
    pub fn index_bytes(&self) -> u64 {
        self.file_size(INDEX).unwrap_or(0)
    }

    /// Why it was put into quarantine: the reason of its no-compact mark, if
    /// that is a damage.
    pub fn quarantine(&self) -> Option<Damage> {
        Damage::from_name(&self.no_compact.as_ref()?.reason)
    }

    /// Whether what it holds is not to be trusted: it stands in for no other
    /// block, and no other block for it.
    pub fn is_suspect(&self) -> bool {
        self.damaged.is_some() || self.quarantine().is_some()
    }

    /// Whether Parquet files were made of it: a block made of this one would
    /// leave them behind.
    pub fn is_parquet_migrated(&self) -> bool {
        let extensions = self.meta.thanos.extensions.as_ref();
        extensions.and_then(|e| e.get("parquet_migrated")) == Some(&true.into())
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
    /// What sort of problem it is.
    pub kind: ProblemKind,
    /// The reason for programs, if the block is damaged.
    pub reason: Option<Damage>,
}

/// Sorts of folders that are no usable blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProblemKind {
    /// No `meta.json`: an upload that may still be under way.
    Partial,
    /// `meta.json` is no JSON of a block.
    Corrupted,
    /// `meta.json` or a marker is of another version, or of another block.
    Unusable,
    /// Files are not as `meta.json` states.
    Damaged,
}

impl ProblemKind {
    /// True if it may mend itself.
    pub fn is_partial(self) -> bool {
        self == Self::Partial
    }

    /// Stable name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Partial => "partial",
            Self::Corrupted => "corrupted",
            Self::Unusable => "unusable",
            Self::Damaged => "damaged",
        }
    }
}

/// A folder without a usable `meta.json`: an upload that is under way, or one
/// that was given up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartialView {
    /// The folder.
    pub id: Ulid,
    /// Objects in it.
    pub objects: u64,
    /// Bytes of all of them.
    pub bytes: u64,
    /// Latest change of any of them, ms since the epoch.
    pub modified_ms: i64,
    /// What keeps its `meta.json` from being parsed; `None` if it has none.
    pub corrupted: Option<String>,
    /// A mark that a deletion has left behind, which removes it last.
    pub deletion: Option<DeletionMark>,
}

/// Everything one sync learned.
#[derive(Debug, Clone, Default)]
pub struct BucketView {
    /// Blocks with a readable `meta.json`, ascending by ULID.
    pub blocks: Vec<BlockView>,
    /// Folders without one, ascending by ULID.
    pub partials: Vec<PartialView>,
    /// What is wrong with folders, by ULID: unreadable ones, and damaged blocks.
    pub problems: Vec<Problem>,
    /// How much there was to list.
    pub size: BucketSize,
}

/// How much there is to list in a bucket, below its prefix.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BucketSize {
    /// Objects, those included that belong to no block; 0 if nobody knows.
    pub objects: u64,
    /// Names at the root: folders, and objects that lie in none.
    pub roots: u64,
}

/// Names in one page of a listing.
const PAGE: u64 = 1000;

impl BucketSize {
    /// Of all names in a bucket.
    pub fn of<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let mut size = Self::default();
        let mut roots = HashSet::new();
        for name in names {
            size.objects += 1;
            roots.insert(name.split_once('/').map_or(name, |(root, _)| root));
        }
        size.roots = roots.len() as u64;
        size
    }

    /// Requests that list everything.
    pub fn pages(self) -> u64 {
        self.objects.div_ceil(PAGE).max(1)
    }

    /// Whether one listing of everything takes no more requests than one of
    /// each of `folders` and one of the names at the root.
    pub fn lists_all_at_once(self, folders: usize) -> bool {
        self.objects > 0 && self.pages() <= self.apart(folders)
    }

    /// Requests that tell what lies in each of `folders` and which other
    /// folders there are.
    pub fn look(self, folders: usize) -> u64 {
        if self.lists_all_at_once(folders) {
            self.pages()
        } else {
            self.apart(folders)
        }
    }

    fn apart(self, folders: usize) -> u64 {
        folders as u64 + self.roots.div_ceil(PAGE).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_takes_the_fewest_requests() {
        let unknown = BucketSize::default();
        assert!(!unknown.lists_all_at_once(4) && unknown.look(4) == 5);
        let size = |objects, roots| BucketSize { objects, roots };
        for (size, folders, wanted, at_once) in [
            (size(1, 1), 1, 1, true),
            (size(1000, 200), 1, 1, true),
            (size(1001, 200), 1, 2, true),
            (size(2001, 400), 1, 2, false),
            (size(5001, 1000), 4, 5, false),
            (size(5000, 1000), 4, 5, true),
            (size(50_000, 10_000), 24, 34, false),
            (size(50_000, 10_000), 40, 50, true),
        ] {
            assert_eq!(size.look(folders), wanted, "{size:?} {folders}");
            assert_eq!(size.lists_all_at_once(folders), at_once, "{size:?}");
        }
        let names = ["a/x", "a/y/z", "b", "lithify/cache/metas"];
        assert_eq!(BucketSize::of(names), size(4, 3));
    }
}
