//! Traps in the rules that shard a bucket.

use super::{Finding, Kind, Severity};
use crate::plan::settings::Settings;

/// Begins the place of a finding about a rule of the selector.
pub(crate) const PLACE: &str = "selector rule";

/// What the rules of the selector do that nobody is likely to want.
pub(super) fn of(settings: &Settings) -> Vec<Finding> {
    let is_replica = |label: &str| settings.replica_labels.iter().any(|r| r == label);
    let on_replica = settings.selector.labels();
    let on_replica = on_replica.filter(|(_, label)| is_replica(label));
    let on_replica = on_replica.map(|(rule, label)| {
        let kind = Kind::SelectorOnReplicaLabel;
        Finding::new(kind, Severity::Warning, &format!("{PLACE} {rule}")).says(
            format!(
                "rule {rule} of the selector looks at the replica label {label}, which is taken \
                 off before: it finds nothing there"
            ),
            format!("take {label} out of its source_labels: replicas belong to one shard"),
        )
    });
    let spreading = settings.selector.spreads_by_block().map(|rule| {
        let kind = Kind::SelectorSplitsStreams;
        Finding::new(kind, Severity::Warning, &format!("{PLACE} {rule}")).says(
            format!(
                "rule {rule} of the selector spreads the blocks of one stream over shards, which \
                 then cannot be compacted with each other"
            ),
            "hash labels of the streams instead of __block_id, or use --shard",
        )
    });
    on_replica.chain(spreading).collect()
}
