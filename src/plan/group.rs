//! Streams: blocks of one resolution with equal labels.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::Hasher;

use twox_hash::XxHash64;

use super::filter::LiveBlock;
use crate::block::meta::Labels;

/// Name of a group as in Thanos' logs and work folders:
/// `<resolution>@<hash of the labels>`. Never stored in the bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GroupKey {
    /// Window of the samples in ms, 0 for raw.
    pub resolution: i64,
    /// xxHash64, seed 0, of `name 0xFF value 0xFF` for each label by name.
    pub labels_hash: u64,
}

impl GroupKey {
    /// The key of a stream.
    pub fn of(resolution: i64, labels: &Labels) -> Self {
        let mut hash = XxHash64::with_seed(0);
        for (name, value) in labels {
            hash.write(name.as_bytes());
            hash.write(&[0xff]);
            hash.write(value.as_bytes());
            hash.write(&[0xff]);
        }
        Self {
            resolution,
            labels_hash: hash.finish(),
        }
    }
}

impl fmt::Display for GroupKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.resolution, self.labels_hash)
    }
}

/// The live blocks of one stream.
#[derive(Debug, Clone)]
pub struct Group {
    /// Its name.
    pub key: GroupKey,
    /// Window of the samples in ms, 0 for raw.
    pub resolution: i64,
    /// External labels without the replica labels.
    pub labels: Labels,
    /// By min time, then ULID (upstream leaves the order of ties open).
    pub blocks: Vec<LiveBlock>,
}

impl Group {
    /// Whether what a block of the group holds is not to be trusted.
    pub(super) fn is_suspect(&self, block: usize) -> bool {
        self.blocks[block].view.is_suspect()
    }
}

/// Sorts blocks into streams, ordered by resolution and labels.
///
/// Streams are told apart by their labels themselves; the hash is only a name.
pub fn groups(blocks: Vec<LiveBlock>) -> Vec<Group> {
    let mut by_stream: BTreeMap<(i64, Labels), Vec<LiveBlock>> = BTreeMap::new();
    for block in blocks {
        let stream = (block.resolution(), block.labels.as_ref().clone());
        by_stream.entry(stream).or_default().push(block);
    }
    by_stream
        .into_iter()
        .map(|((resolution, labels), mut blocks)| {
            blocks.sort_by_key(|b| (b.min_time(), b.id()));
            Group {
                key: GroupKey::of(resolution, &labels),
                resolution,
                labels,
                blocks,
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(labels: &[(&str, &str)]) -> String {
        let labels = labels
            .iter()
            .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
            .collect();
        GroupKey::of(0, &labels).to_string()
    }

    #[test]
    fn keys_are_those_of_the_slicelabels_build() {
        assert_eq!(key(&[]), "0@17241709254077376921");
        assert_eq!(
            key(&[("foo", "bar"), ("foo1", "bar2")]),
            "0@2124638872457683483"
        );
        assert_eq!(
            key(&[("foo", r"bar/../foo")]).split('@').count(),
            2,
            "label values with path characters are hashed, not used as paths"
        );
    }
}
