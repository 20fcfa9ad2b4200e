//! `meta.json` of a block in a Thanos bucket: the Prometheus part plus the
//! `thanos` section.
//!
//! ```text
//! {
//!     "ulid": "01K…",            which block
//!     "minTime": …, "maxTime": …, ms, end exclusive
//!     "stats": {…}, "compaction": {…}, "version": 1,
//!     "thanos": {
//!         "labels": {…},          external labels: the stream it belongs to
//!         "downsample": {"resolution": 0 | 300000 | 3600000},
//!         "source": "sidecar" | "receive" | "compactor" | …
//!         "segment_files": […], "files": [{rel_path, size_bytes}], …
//!     }
//! }
//! ```
//!
//! The file is written with tabs and a final newline, its known keys in the
//! order above; keys we do not know survive reading and writing.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};
use ulid::Ulid;

use crate::merge::Stated;
use crate::tsdb::Damage;
use crate::tsdb::meta::{BlockMeta, META_VERSION};

/// Largest `meta.json` (or marker) we accept, bytes. Real ones stay under a few hundred
/// kilobytes even with thousands of sources.
pub const MAX_META_BYTES: u64 = 64 << 20;

/// `meta.json` as it lies in the bucket.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Meta {
    /// What Prometheus knows of the block.
    #[serde(flatten)]
    pub tsdb: BlockMeta,
    /// What Thanos adds.
    #[serde(default)]
    pub thanos: Thanos,
    /// Keys of newer producers.
    #[serde(flatten)]
    pub unknown: Map<String, Value>,
}

/// The `thanos` section.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Thanos {
    /// Version of the section; 0 means absent, which means 1.
    #[serde(skip_serializing_if = "is_zero")]
    pub version: u64,
    /// External labels: which stream the block belongs to.
    #[serde(deserialize_with = "null_is_default")]
    pub labels: Labels,
    /// Resolution of the samples.
    pub downsample: Downsample,
    /// Who uploaded the block.
    pub source: String,
    /// Names under `chunks/`, ascending (older than `files`, still read).
    #[serde(
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "null_is_default"
    )]
    pub segment_files: Vec<String>,
    /// Every file of the block, ascending by path.
    #[serde(
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "null_is_default"
    )]
    pub files: Vec<File>,
    /// What was deleted from or relabelled in the block by hand.
    #[serde(
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "null_is_default"
    )]
    pub rewrites: Vec<Value>,
    /// Largest entries, so that readers can size their requests.
    pub index_stats: IndexStats,
    /// Free data of whoever extends Thanos.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extensions: Option<Value>,
    /// When `meta.json` was uploaded, RFC 3339; the zero time if unknown.
    #[serde(default = "zero_time")]
    pub upload_time: String,
    /// Keys of newer producers.
    #[serde(flatten)]
    pub unknown: Map<String, Value>,
}

/// External labels in name order.
pub type Labels = BTreeMap<String, String>;

/// Resolution of a block.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Downsample {
    /// Window in ms: 0 for raw, 300000 for 5m, 3600000 for 1h.
    pub resolution: i64,
    /// Keys of newer producers.
    #[serde(flatten)]
    pub unknown: Map<String, Value>,
}

/// One file of a block.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct File {
    /// Path below the block's folder.
    pub rel_path: String,
    /// Bytes; 0 where not stated (`meta.json` itself).
    #[serde(skip_serializing_if = "is_zero")]
    pub size_bytes: u64,
    /// Hash of the content, if the producer was told to make one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hash: Option<Value>,
}

/// Sizes that tell a store gateway how much to ask for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct IndexStats {
    /// Largest series entry, bytes.
    #[serde(skip_serializing_if = "is_zero")]
    pub series_max_size: u64,
    /// Largest chunk, bytes.
    #[serde(skip_serializing_if = "is_zero")]
    pub chunk_max_size: u64,
    /// Keys of newer producers.
    #[serde(flatten)]
    pub unknown: Map<String, Value>,
}

/// Why a `meta.json` is not usable.
#[derive(Debug, thiserror::Error)]
pub enum MetaError {
    /// No JSON, or a key of the wrong type.
    #[error("meta.json cannot be parsed")]
    Parse(#[source] serde_json::Error),
    /// A version from the future.
    #[error("meta.json has version {0}, this program knows version 1")]
    Version(u64),
    /// The file of another block.
    #[error("meta.json says it belongs to block {0}")]
    OtherBlock(Ulid),
    /// An empty or backward range.
    #[error("meta.json has minTime {0} after maxTime {1}")]
    Range(i64, i64),
}

impl MetaError {
    /// The same for programs.
    pub fn damage(&self) -> Damage {
        match self {
            Self::Parse(_) => Damage::MetaMalformed,
            Self::Version(_) => Damage::MetaVersion,
            Self::OtherBlock(_) => Damage::MetaOtherBlock,
            Self::Range(..) => Damage::MetaRange,
        }
    }
}

impl Meta {
    /// Parses and checks the file of block `id`.
    ///
    /// # Errors
    /// [`MetaError`] says what is wrong with it.
    pub fn parse(id: Ulid, json: &[u8]) -> Result<Self, MetaError> {
        let meta: Self = serde_json::from_slice(json).map_err(MetaError::Parse)?;
        if meta.tsdb.version != META_VERSION {
            return Err(MetaError::Version(meta.tsdb.version));
        }
        if meta.tsdb.ulid != id {
            return Err(MetaError::OtherBlock(meta.tsdb.ulid));
        }
        if meta.tsdb.min_time > meta.tsdb.max_time {
            return Err(MetaError::Range(meta.tsdb.min_time, meta.tsdb.max_time));
        }
        Ok(meta)
    }

    /// The file's text: tabs, known keys first, `<`, `>` and `&` escaped as the
    /// peers' JSON writer does, newline at the end.
    ///
    /// # Errors
    /// Never for a meta that was parsed or built here.
    pub fn to_json(&self) -> serde_json::Result<Vec<u8>> {
        let formatter = serde_json::ser::PrettyFormatter::with_indent(b"\t");
        let mut text = Vec::with_capacity(4096);
        self.serialize(&mut serde_json::Serializer::with_formatter(
            &mut text, formatter,
        ))?;
        let mut escaped = Vec::with_capacity(text.len() + 1);
        for byte in text {
            // Outside of strings JSON has none of these three.
            match byte {
                b'<' => escaped.extend_from_slice(b"\\u003c"),
                b'>' => escaped.extend_from_slice(b"\\u003e"),
                b'&' => escaped.extend_from_slice(b"\\u0026"),
                other => escaped.push(other),
            }
        }
        escaped.push(b'\n');
        Ok(escaped)
    }

    /// Name of the block.
    pub fn id(&self) -> Ulid {
        self.tsdb.ulid
    }

    /// What a reader has to find in the block. `None` for downsampled blocks,
    /// whose numbers upstream takes over from the raw ones in part.
    pub fn stated(&self) -> Option<Stated> {
        let stats = &self.tsdb.stats;
        (self.thanos.downsample.resolution == 0).then_some(Stated {
            series: stats.num_series,
            chunks: stats.num_chunks,
            samples: stats.num_samples,
        })
    }

    /// Bytes of `index` and all segments, as the file list states them.
    pub fn stated_bytes(&self) -> u64 {
        let sizes = self.thanos.files.iter().map(|f| f.size_bytes);
        sizes.fold(0, u64::saturating_add)
    }
}

/// Go's zero time, which Thanos writes where no time is known.
pub fn zero_time() -> String {
    "0001-01-01T00:00:00Z".to_owned()
}

fn null_is_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(n: &u64) -> bool {
    *n == 0
}

#[cfg(test)]
#[path = "meta_tests.rs"]
mod tests;
