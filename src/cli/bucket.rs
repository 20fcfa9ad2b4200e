//! What lies in a bucket, summed per stream, for tables.

use std::collections::BTreeMap;

use crate::block::meta::Labels;
use crate::plan::view::BucketView;

/// Sums over the live blocks of one stream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct StreamRow {
    /// Blocks without a deletion mark.
    pub blocks: u64,
    /// Index and segments, bytes.
    pub bytes: u64,
    /// Samples.
    pub samples: u64,
    /// Index entries: a series counts once per block it is in.
    pub series: u64,
}

/// Live blocks by stream.
#[derive(Debug, Clone, Default)]
pub(super) struct Inventory {
    /// By a short name made of the labels that differ.
    pub streams: BTreeMap<String, StreamRow>,
}

impl Inventory {
    /// Sums up the blocks of a view; replicas count as one stream.
    pub fn of(view: &BucketView, replica_labels: &[String]) -> Self {
        let mut streams: BTreeMap<String, StreamRow> = BTreeMap::new();
        for block in view.blocks.iter().filter(|b| b.deletion.is_none()) {
            let name = short_name(&block.meta.thanos.labels, replica_labels);
            let row = streams.entry(name).or_default();
            row.blocks += 1;
            row.bytes += block.data_bytes();
            row.samples += block.meta.tsdb.stats.num_samples;
            row.series += block.meta.tsdb.stats.num_series;
        }
        Self { streams }
    }

    /// Sum over all streams.
    pub fn total(&self) -> StreamRow {
        self.streams
            .values()
            .fold(StreamRow::default(), |a, b| StreamRow {
                blocks: a.blocks + b.blocks,
                bytes: a.bytes + b.bytes,
                samples: a.samples + b.samples,
                series: a.series + b.series,
            })
    }
}

/// The label values that name a stream for people, in 24 columns: the cluster
/// if there is one, else all values without those of replicas.
fn short_name(labels: &Labels, replica_labels: &[String]) -> String {
    if let Some(cluster) = labels.get("cluster") {
        return cluster.clone();
    }
    let parts: Vec<String> = labels
        .iter()
        .filter(|(name, _)| !replica_labels.contains(name))
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    parts.join("\n")
}
