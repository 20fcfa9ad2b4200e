//! Markers: small JSON objects beside `meta.json` that say what may not, or
//! must, happen to a block.
//!
//! ```text
//! <ULID>/deletion-mark.json       remove the block once the delay has passed
//! <ULID>/no-compact-mark.json     leave it out of compactions
//! <ULID>/no-downsample-mark.json  do not downsample it
//! ```
//!
//! One line without a newline, `version` 1, times in seconds since the epoch.
//! A marker that cannot be parsed counts as absent, as upstream; one with
//! another version keeps the block out of everything, because we cannot know
//! what it asks for (upstream stops the whole run instead).

use serde::{Deserialize, Serialize};
use ulid::Ulid;

/// The only version of the markers there is.
pub const MARKER_VERSION: u64 = 1;

/// Object name of [`DeletionMark`] below the block's folder.
pub const DELETION_MARK: &str = "deletion-mark.json";
/// Object name of [`NoCompactMark`] below the block's folder.
pub const NO_COMPACT_MARK: &str = "no-compact-mark.json";
/// Object name of [`NoDownsampleMark`] below the block's folder.
pub const NO_DOWNSAMPLE_MARK: &str = "no-downsample-mark.json";

/// Asks for the removal of a block.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeletionMark {
    /// The block.
    pub id: Ulid,
    /// [`MARKER_VERSION`].
    pub version: u64,
    /// Why, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub details: String,
    /// When the mark was set, seconds since the epoch.
    pub deletion_time: i64,
}

impl DeletionMark {
    /// When the mark was set, ms since the epoch.
    pub fn marked_ms(&self) -> i64 {
        self.deletion_time.saturating_mul(1000)
    }

    /// How long ago that was, ms.
    pub fn age_ms(&self, now_ms: i64) -> i64 {
        now_ms.saturating_sub(self.marked_ms())
    }
}

/// Keeps a block out of compactions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NoCompactMark {
    /// The block.
    pub id: Ulid,
    /// [`MARKER_VERSION`].
    pub version: u64,
    /// Why, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub details: String,
    /// When the mark was set, seconds since the epoch.
    pub no_compact_time: i64,
    /// Why, for programs: `manual`, `index-size-exceeding`, ….
    pub reason: String,
}

/// Keeps a block from being downsampled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NoDownsampleMark {
    /// The block.
    pub id: Ulid,
    /// [`MARKER_VERSION`].
    pub version: u64,
    /// Why, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub details: String,
    /// When the mark was set, seconds since the epoch.
    pub no_downsample_time: i64,
    /// Why, for programs; empty in marks that were made by hand without one.
    #[serde(default)]
    pub reason: String,
}

/// A marker as found in the bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found<T> {
    /// Readable.
    Mark(T),
    /// Not JSON, or keys missing: treated as no mark, with a warning.
    Garbage(String),
    /// Written by something newer than us.
    UnknownVersion(u64),
}

/// Reads any of the three markers.
pub fn parse<T: for<'de> Deserialize<'de>>(json: &[u8]) -> Found<T> {
    #[derive(Deserialize)]
    struct Version {
        version: u64,
    }
    match serde_json::from_slice::<Version>(json) {
        Ok(v) if v.version != MARKER_VERSION => return Found::UnknownVersion(v.version),
        Ok(_) => {}
        Err(e) => return Found::Garbage(e.to_string()),
    }
    match serde_json::from_slice(json) {
        Ok(mark) => Found::Mark(mark),
        Err(e) => Found::Garbage(e.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deletion_mark_is_one_line_in_upstreams_key_order() {
        let mark = DeletionMark {
            id: Ulid::from_parts(1, 1),
            version: MARKER_VERSION,
            details: "source of compacted block".into(),
            deletion_time: 1_700_000_000,
        };
        let json = serde_json::to_vec(&mark).unwrap();
        assert_eq!(
            std::str::from_utf8(&json).unwrap(),
            r#"{"id":"00000000010000000000000001","version":1,"details":"source of compacted block","deletion_time":1700000000}"#
        );
        assert_eq!(parse(&json), Found::Mark(mark));
    }

    #[test]
    fn garbage_and_newer_versions_are_told_apart() {
        assert!(matches!(parse::<NoCompactMark>(b"{"), Found::Garbage(_)));
        assert!(matches!(
            parse::<NoCompactMark>(b"{\"version\":1}"),
            Found::Garbage(_)
        ));
        assert_eq!(
            parse::<NoCompactMark>(b"{\"version\":2}"),
            Found::UnknownVersion(2)
        );
    }
}
