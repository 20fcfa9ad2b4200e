//! Streams summed up by cluster.
//!
//! A Prometheus names its cluster in the external labels of its blocks. A
//! receiver takes the series of many clusters into one stream; there the
//! cluster is a label of the series, and what a block holds of a cluster is
//! known by counting its series in the index.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use ulid::Ulid;

use super::{BucketFacts, Cluster, ClusterSource, Range};
use crate::plan::{Stream, Tile};

/// Series of each block by value of the cluster label; the empty value counts
/// those without it.
pub type SeriesByCluster = HashMap<Ulid, BTreeMap<String, u64>>;

/// Sums the streams of all buckets up by cluster.
pub(super) fn roll_up(buckets: &[BucketFacts<'_>], label: &str) -> Vec<Cluster> {
    let mut clusters: BTreeMap<(String, u8), Cluster> = BTreeMap::new();
    for bucket in buckets {
        for stream in &bucket.rounds.streams {
            for (name, found_in) in named(stream, label, bucket) {
                let key = (name.clone(), found_in as u8);
                let cluster = clusters.entry(key).or_default();
                let shares = match found_in {
                    ClusterSource::Series => Shares::Of(&name, bucket),
                    _ => Shares::All,
                };
                cluster.add(stream, &shares, bucket);
                cluster.name = name;
                cluster.found_in = found_in;
            }
        }
    }
    clusters.into_values().collect()
}

/// The clusters of a stream, and where their names stand.
fn named(stream: &Stream, label: &str, bucket: &BucketFacts<'_>) -> Vec<(String, ClusterSource)> {
    if let Some(name) = stream.labels.get(label) {
        return vec![(name.clone(), ClusterSource::Label)];
    }
    let tiles = stream.before.iter().chain(&stream.after);
    let blocks = tiles.flat_map(|t| blocks_of(t, bucket));
    let counted = blocks.filter_map(|(block, _)| bucket.series.get(&block));
    let names: BTreeSet<&String> = counted.flat_map(BTreeMap::keys).collect();
    if names.is_empty() {
        return vec![(String::new(), ClusterSource::None)];
    }
    let names = names.into_iter();
    names
        .map(|name| (name.clone(), ClusterSource::Series))
        .collect()
}

/// The block itself, or those of today that it is made of, with their bytes.
fn blocks_of(tile: &Tile, bucket: &BucketFacts<'_>) -> Vec<(Ulid, u64)> {
    match (tile.block, tile.job) {
        (Some(block), _) => vec![(block, tile.bytes.0)],
        (None, Some(job)) => bucket.rounds.leaves(job).to_vec(),
        (None, None) => Vec::new(),
    }
}

/// What share of each block of a stream is a cluster's.
enum Shares<'a> {
    All,
    /// By the series of blocks; what is made of blocks has the share of all of
    /// them together.
    Of(&'a str, &'a BucketFacts<'a>),
}

impl Shares<'_> {
    /// The share of what is made of these blocks, given with their bytes.
    fn of(&self, blocks: &[(Ulid, u64)]) -> f64 {
        let Self::Of(name, bucket) = self else {
            return 1.0;
        };
        let (mut part, mut whole) = (0.0, 0.0);
        for (block, bytes) in blocks {
            let bytes = (*bytes).max(1) as f64;
            whole += bytes;
            if let Some(counts) = bucket.series.get(block) {
                let all: u64 = counts.values().sum();
                let count = counts.get(*name).copied().unwrap_or(0);
                part += bytes * count as f64 / all.max(1) as f64;
            }
        }
        if whole > 0.0 { part / whole } else { 0.0 }
    }
}

impl Cluster {
    fn add(&mut self, stream: &Stream, shares: &Shares<'_>, bucket: &BucketFacts<'_>) {
        self.streams += 1;
        for tile in &stream.before {
            let share = shares.of(&blocks_of(tile, bucket));
            if share == 0.0 {
                continue;
            }
            self.blocks_before += 1;
            self.bytes_before += Range::from(tile.bytes).share(share).low;
            self.samples_before += Range::from(tile.samples).share(share).low;
        }
        for tile in &stream.after {
            let share = shares.of(&blocks_of(tile, bucket));
            if share == 0.0 {
                continue;
            }
            self.blocks_after += 1;
            self.bytes_after += Range::from(tile.bytes).share(share);
            self.samples_after += Range::from(tile.samples).share(share);
        }
        let jobs = (0..).zip(bucket.rounds.jobs(bucket.plan));
        let mine = jobs.filter(|(_, job)| {
            job.resolution == stream.key.resolution && job.labels == stream.labels
        });
        let concern = mine.filter(|(number, _)| shares.of(bucket.rounds.leaves(*number)) > 0.0);
        self.jobs += concern.count() as u64;
    }
}
