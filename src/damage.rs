//! What can be wrong with a block, as a closed list: a code for programs, a
//! meaning and a cure for people.
//!
//! The codes go into marks and reports and never change their meaning. One of
//! them is upstream's, [`Damage::OutOfOrderChunk`]; it has no word for the
//! others.

use std::fmt;

use ulid::Ulid;

/// Why a block cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Damage {
    /// There is no `index`.
    MissingIndex,
    /// A segment is missing.
    MissingSegment,
    /// A file has another size than `meta.json` states.
    FileSizeMismatch,
    /// The index is shorter than what it has to hold.
    IndexTruncated,
    /// The index does not begin as one, or is of an unknown version.
    IndexHeader,
    /// A checksum in the index differs.
    IndexChecksum,
    /// The index contradicts its own format where no checksum tells why.
    IndexMalformed,
    /// The strings of the index do not ascend.
    UnsortedSymbols,
    /// A series names a string that does not exist.
    SymbolOutOfRange,
    /// A series has no labels.
    EmptyLabels,
    /// The labels of a series do not ascend by name.
    UnsortedLabels,
    /// Two series have equal labels.
    DuplicateSeries,
    /// The series do not ascend by their labels.
    UnsortedSeries,
    /// A series has no chunks.
    SeriesWithoutChunks,
    /// A chunk starts before the one before it.
    OutOfOrderChunk,
    /// A chunk starts before the one before it ends.
    OverlappingChunks,
    /// A chunk lies outside of the block's range.
    ChunkOutsideBlock,
    /// A chunk starts where the block ends.
    Issue347Chunk,
    /// A segment does not begin as one, or is of an unknown version.
    SegmentHeader,
    /// A segment ends before a chunk that the index places in it.
    SegmentTruncated,
    /// The checksum of a chunk differs.
    ChunkChecksum,
    /// A chunk contradicts its encoding although its checksum fits.
    ChunkMalformed,
    /// A chunk has an encoding that this version cannot read.
    UnknownChunkEncoding,
    /// The samples of a chunk do not ascend by time.
    UnsortedSamples,
    /// A chunk has samples outside of the times in its index entry.
    ChunkTimeMismatch,
    /// Chunks of downsampled blocks overlap.
    OverlappingAggregates,
    /// The checksum of the deleted ranges differs.
    TombstonesChecksum,
    /// The deleted ranges contradict their format.
    TombstonesMalformed,
    /// `meta.json` is no JSON of a block.
    MetaMalformed,
    /// `meta.json` is of an unknown version.
    MetaVersion,
    /// `meta.json` is of another block.
    MetaOtherBlock,
    /// `meta.json` states a range that ends before it begins.
    MetaRange,
    /// `meta.json` states other numbers than the block holds.
    MetaStatsMismatch,
    /// Something else, in a file that is not known.
    Malformed,
}

impl Damage {
    /// Every reason there is, in the order of the documentation.
    pub const ALL: [Self; 34] = [
        Self::MissingIndex,
        Self::MissingSegment,
        Self::FileSizeMismatch,
        Self::IndexTruncated,
        Self::IndexHeader,
        Self::IndexChecksum,
        Self::IndexMalformed,
        Self::UnsortedSymbols,
        Self::SymbolOutOfRange,
        Self::EmptyLabels,
        Self::UnsortedLabels,
        Self::DuplicateSeries,
        Self::UnsortedSeries,
        Self::SeriesWithoutChunks,
        Self::OutOfOrderChunk,
        Self::OverlappingChunks,
        Self::ChunkOutsideBlock,
        Self::Issue347Chunk,
        Self::SegmentHeader,
        Self::SegmentTruncated,
        Self::ChunkChecksum,
        Self::ChunkMalformed,
        Self::UnknownChunkEncoding,
        Self::UnsortedSamples,
        Self::ChunkTimeMismatch,
        Self::OverlappingAggregates,
        Self::TombstonesChecksum,
        Self::TombstonesMalformed,
        Self::MetaMalformed,
        Self::MetaVersion,
        Self::MetaOtherBlock,
        Self::MetaRange,
        Self::MetaStatsMismatch,
        Self::Malformed,
    ];

    /// Stable name, as it stands in marks and reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MissingIndex => "missing-index",
            Self::MissingSegment => "missing-segment",
            Self::FileSizeMismatch => "file-size-mismatch",
            Self::IndexTruncated => "index-truncated",
            Self::IndexHeader => "index-header",
            Self::IndexChecksum => "index-checksum",
            Self::IndexMalformed => "index-malformed",
            Self::UnsortedSymbols => "unsorted-symbols",
            Self::SymbolOutOfRange => "symbol-out-of-range",
            Self::EmptyLabels => "empty-labels",
            Self::UnsortedLabels => "unsorted-labels",
            Self::DuplicateSeries => "duplicate-series",
            Self::UnsortedSeries => "unsorted-series",
            Self::SeriesWithoutChunks => "series-without-chunks",
            Self::OutOfOrderChunk => "block-index-out-of-order-chunk",
            Self::OverlappingChunks => "overlapping-chunks",
            Self::ChunkOutsideBlock => "chunk-outside-block",
            Self::Issue347Chunk => "issue-347-chunk",
            Self::SegmentHeader => "segment-header",
            Self::SegmentTruncated => "segment-truncated",
            Self::ChunkChecksum => "chunk-checksum",
            Self::ChunkMalformed => "chunk-malformed",
            Self::UnknownChunkEncoding => "unknown-chunk-encoding",
            Self::UnsortedSamples => "unsorted-samples",
            Self::ChunkTimeMismatch => "chunk-time-mismatch",
            Self::OverlappingAggregates => "overlapping-aggregates",
            Self::TombstonesChecksum => "tombstones-checksum",
            Self::TombstonesMalformed => "tombstones-malformed",
            Self::MetaMalformed => "meta-malformed",
            Self::MetaVersion => "meta-version",
            Self::MetaOtherBlock => "meta-other-block",
            Self::MetaRange => "meta-range",
            Self::MetaStatsMismatch => "meta-stats-mismatch",
            Self::Malformed => "malformed",
        }
    }

    /// The reason with this name; `None` for a name that is not ours.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|d| d.as_str() == name)
    }

    /// How to get `block` compacted again. Marks that keep it out are not
    /// mentioned: they may not be set yet.
    pub fn cure(self, block: Ulid) -> String {
        match self {
            Self::MissingIndex | Self::IndexTruncated | Self::IndexHeader => format!(
                "upload {block}/index again from where the block was made, or restore an older \
                 version of the object"
            ),
            Self::MissingSegment => format!(
                "upload the missing segment of {block} again from where the block was made; \
                 without it, delete the block"
            ),
            Self::FileSizeMismatch => format!(
                "an upload broke off or a file was replaced: upload all files of {block} again, or \
                 state the right sizes in its meta.json"
            ),
            Self::IndexChecksum => format!(
                "the bytes changed after they were written: upload {block}/index again from where \
                 the block was made, and look for the fault in the store or its disks"
            ),
            Self::SegmentHeader | Self::SegmentTruncated | Self::ChunkChecksum => format!(
                "the bytes are not those that were written: upload the segments of {block} again \
                 from where the block was made, and look for the fault in the store or its disks"
            ),
            Self::IndexMalformed => format!(
                "upload {block}/index again from where the block was made; if it is the same \
                 there, its producer wrote it wrongly: use another replica or a backup"
            ),
            Self::TombstonesChecksum | Self::TombstonesMalformed => format!(
                "upload {block}/tombstones again; if it is lost, delete that file, and what it \
                 deleted comes back"
            ),
            _ => self.cure_by_producer(block),
        }
    }

    /// Cures for what was written wrongly in the first place.
    fn cure_by_producer(self, block: Ulid) -> String {
        match self {
            Self::DuplicateSeries | Self::ChunkOutsideBlock | Self::Issue347Chunk => format!(
                "mend it with `thanos tools bucket verify --repair --issues=index_known_issues \
                 --id={block}` (it asks for a backup bucket), which writes a new block without \
                 them, or upload a right copy"
            ),
            Self::OutOfOrderChunk | Self::OverlappingChunks | Self::OverlappingAggregates => {
                format!(
                    "readers can use {block} as it is; to have it compacted, upload a copy whose \
                     chunks are in order, or leave it until retention removes it"
                )
            }
            Self::UnknownChunkEncoding => format!(
                "use a newer version of lithify, which may know the encoding; {block} stays as it \
                 is until then"
            ),
            Self::MetaMalformed | Self::MetaRange => format!(
                "upload {block}/meta.json again from where the block was made, or delete the folder"
            ),
            Self::MetaVersion => {
                format!("use a program that knows this version, or upload {block}/meta.json again")
            }
            Self::MetaOtherBlock => format!(
                "the folder was copied or renamed: state the ulid {block} in its meta.json, or \
                 delete the folder"
            ),
            Self::MetaStatsMismatch => format!(
                "files of different blocks are mixed, or the stats are wrong: upload all files of \
                 {block} again, or correct `stats` in its meta.json"
            ),
            _ => format!(
                "its producer wrote it wrongly: upload {block} again from another replica or a \
                 backup, or delete it"
            ),
        }
    }

    /// The reason for a place of which only the file is known to be wrong.
    #[must_use]
    pub fn in_file(self, file: &str) -> Self {
        if self != Self::Malformed {
            return self;
        }
        match file.rsplit_once('/') {
            Some((_, "index")) => Self::IndexMalformed,
            Some((_, "tombstones")) => Self::TombstonesMalformed,
            Some((_, "meta.json")) => Self::MetaMalformed,
            Some((folder, _)) if folder.ends_with("chunks") => Self::ChunkMalformed,
            _ => self,
        }
    }

    /// The reason for a file that ends too early.
    #[must_use]
    pub fn truncated(file: &str) -> Self {
        match Self::Malformed.in_file(file) {
            Self::IndexMalformed => Self::IndexTruncated,
            Self::ChunkMalformed => Self::SegmentTruncated,
            other => other,
        }
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_distinct_and_lead_back() {
        for (i, damage) in Damage::ALL.into_iter().enumerate() {
            assert_eq!(damage as usize, i, "{damage} is not in its place");
            assert_eq!(Damage::from_name(damage.as_str()), Some(damage));
            let name = damage.as_str();
            assert!(
                name.bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            );
        }
        assert_eq!(Damage::from_name("manual"), None);
    }

    #[test]
    fn every_cure_names_the_block() {
        let block = Ulid::from_parts(1, 1);
        for damage in Damage::ALL {
            let cure = damage.cure(block);
            assert!(cure.contains(&block.to_string()), "{damage}: {cure}");
        }
    }

    #[test]
    fn the_file_tells_what_a_general_reason_is() {
        let general = Damage::Malformed;
        assert_eq!(general.in_file("b/index"), Damage::IndexMalformed);
        assert_eq!(general.in_file("b/chunks/000001"), Damage::ChunkMalformed);
        assert_eq!(general.in_file(""), Damage::Malformed);
        let known = Damage::ChunkChecksum;
        assert_eq!(known.in_file("b/index"), known);
        assert_eq!(Damage::truncated("b/index"), Damage::IndexTruncated);
        let segment = Damage::truncated("b/chunks/000002");
        assert_eq!(segment, Damage::SegmentTruncated);
        assert_eq!(
            Damage::truncated("b/tombstones"),
            Damage::TombstonesMalformed
        );
    }
}
