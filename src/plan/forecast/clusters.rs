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
        for stream in &bucket.plan.streams {
            for (name, found_in, shares) in shares(stream, label, bucket.series) {
                let key = (name.clone(), found_in as u8);
                let cluster = clusters.entry(key).or_default();
                cluster.name = name;
                cluster.found_in = found_in;
                cluster.add(stream, &shares);
            }
        }
    }
    clusters.into_values().collect()
}

/// What share of each block of a stream is a cluster's.
enum Shares {
    All,
    /// By block; what is made of blocks has the share of all of them together.
    Of(HashMap<Ulid, f64>),
}

fn shares(
    stream: &Stream,
    label: &str,
    series: &SeriesByCluster,
) -> Vec<(String, ClusterSource, Shares)> {
    if let Some(name) = stream.labels.get(label) {
        return vec![(name.clone(), ClusterSource::Label, Shares::All)];
    }
    let mut by_name: BTreeMap<String, HashMap<Ulid, f64>> = BTreeMap::new();
    for block in stream.before.iter().filter_map(|t| t.block) {
        let Some(counts) = series.get(&block) else {
            continue;
        };
        let all: u64 = counts.values().sum();
        for (name, &count) in counts {
            let share = count as f64 / all.max(1) as f64;
            by_name
                .entry(name.clone())
                .or_default()
                .insert(block, share);
        }
    }
    if by_name.is_empty() {
        return vec![(String::new(), ClusterSource::None, Shares::All)];
    }
    by_name
        .into_iter()
        .map(|(name, of)| (name, ClusterSource::Series, Shares::Of(of)))
        .collect()
}

impl Shares {
    /// The share of one of the stream's blocks, now or in future.
    fn of(&self, tile: &Tile, stream: &Stream) -> f64 {
        let Self::Of(by_block) = self else {
            return 1.0;
        };
        if let Some(block) = tile.block {
            return by_block.get(&block).copied().unwrap_or(0.0);
        }
        let parts = stream.before.iter().filter(|t| t.job == tile.job);
        let (mut part, mut whole) = (0.0, 0.0);
        for source in parts {
            let bytes = source.bytes.0 as f64;
            part += bytes * self.of(source, stream);
            whole += bytes;
        }
        if whole > 0.0 { part / whole } else { 0.0 }
    }
}

impl Cluster {
    fn add(&mut self, stream: &Stream, shares: &Shares) {
        self.streams += 1;
        let mut jobs = BTreeSet::new();
        for tile in &stream.before {
            let share = shares.of(tile, stream);
            if share == 0.0 {
                continue;
            }
            self.blocks_before += 1;
            self.bytes_before += Range::from(tile.bytes).share(share).low;
            self.samples_before += Range::from(tile.samples).share(share).low;
            jobs.extend(tile.job);
        }
        for tile in &stream.after {
            let share = shares.of(tile, stream);
            if share == 0.0 {
                continue;
            }
            self.blocks_after += 1;
            self.bytes_after += Range::from(tile.bytes).share(share);
            self.samples_after += Range::from(tile.samples).share(share);
        }
        self.jobs += jobs.len() as u64;
    }
}
