//! Shards by stream: `--shard=i/n` gives each process one of `n` parts.
//!
//! ```text
//!  external labels - replica labels --hash--> % n == i ?    all resolutions
//!  ULID of a folder that is no block  ------> % n == i ?
//! ```
//!
//! Nothing but the labels decides about a block: what belongs together (the
//! replicas of a stream, its lower resolutions, a block and what replaced it)
//! has the same labels once the replica labels are taken off. A folder without
//! usable `meta.json` has none, so that its name has to do.

use std::fmt;
use std::str::FromStr;

use ulid::Ulid;

use super::filter::strip;
use super::group::GroupKey;
use crate::block::meta::Labels;

/// More shards than that are a mistake.
const MOST: u32 = 10_000;

/// One of several equal parts of a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shard {
    index: u32,
    of: u32,
}

impl Shard {
    /// Shard `index` of `of`, counted from 0; `None` if there is none.
    pub fn new(index: u32, of: u32) -> Option<Self> {
        (index < of && of <= MOST).then_some(Self { index, of })
    }

    /// Whether a stream belongs to it. `labels` are the external labels of a
    /// block; replica labels do not matter.
    pub fn has_stream(self, labels: &Labels, replica_labels: &[String]) -> bool {
        let stream = strip(labels, replica_labels);
        // Whatever the resolution: all of them are one stream's.
        self.has(GroupKey::of(0, &stream).labels_hash)
    }

    /// Whether it looks after a folder that is no block.
    pub fn has_folder(self, folder: Ulid) -> bool {
        // The last bytes are chance, the first are time.
        self.has(folder.0 as u64)
    }

    fn has(self, hash: u64) -> bool {
        hash % u64::from(self.of) == u64::from(self.index)
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.of)
    }
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "{text:?} is no shard: give i/n, such as 0/4, with i from 0 to n-1 \
                 and n up to {MOST}"
            )
        };
        // `u32` would take a plus.
        let number = |text: &str| {
            let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
            text.parse().ok().filter(|_| digits)
        };
        let (index, of) = text.split_once('/').ok_or_else(wrong)?;
        match (number(index), number(of)) {
            (Some(index), Some(of)) => Self::new(index, of).ok_or_else(wrong),
            _ => Err(wrong()),
        }
    }
}

#[cfg(test)]
#[path = "shard_tests.rs"]
mod tests;
