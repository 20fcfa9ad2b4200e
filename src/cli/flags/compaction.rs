//! Flags about what is merged, how far, and by which rules.

use super::{Given, refuse};
use crate::cli::duration::parse_go;
use crate::cli::size::parse_size;
use crate::error::Result;
use crate::plan::Dedup;

/// What is merged and how.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Compaction")]
pub(crate) struct CompactionFlags {
    /// Streams compacted at the same time. Default: one per core.
    #[arg(long = "compact.concurrency", value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) concurrency: Option<u16>,
    /// No effect: blocks are read in ranges while they are merged.
    #[arg(long = "compact.blocks-fetch-concurrency", value_name = "N", default_value = "1", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) blocks_fetch_concurrency: u16,
    /// External label that tells replicas apart; can be repeated, or a list
    /// with commas. Blocks that differ only in these are merged.
    #[arg(
        long = "deduplication.replica-label",
        value_name = "LABEL",
        value_delimiter = ','
    )]
    pub(crate) replica_label: Vec<String>,
    /// How samples of replicas are merged: "" for their union, or penalty.
    #[arg(long = "deduplication.func", value_name = "NAME", default_value = "", value_parser = parse_dedup)]
    pub(crate) dedup: Dedup,
    /// Merge blocks of one stream that overlap in time. On if replica labels
    /// are given.
    #[arg(long = "compact.enable-vertical-compaction", hide = true)]
    pub(crate) vertical: bool,
    /// Largest index that a result may have, bytes; 64GB means 64 GiB.
    #[arg(long = "compact.block-max-index-size", value_name = "SIZE", default_value = "64GB", value_parser = parse_size, hide = true)]
    pub(crate) max_index_bytes: u64,
    /// Hash of every file in meta.json: "" for none, or SHA256.
    #[arg(long = "hash-func", value_name = "NAME", default_value = "", value_parser = parse_hash)]
    pub(crate) hash: HashFunc,
    /// Go from small blocks to final ones in one pass where nobody keeps the
    /// blocks in between; off, step by step as Thanos.
    #[arg(long = "compact.one-pass", default_value_t = true)]
    pub(crate) one_pass: bool,
    /// Longest time one compaction may be expected to take.
    #[arg(long = "max-job-time", value_name = "DURATION", default_value = "1h", value_parser = parse_go)]
    pub(crate) max_job_ms: i64,
    /// No effect: a run never halts.
    #[arg(long = "debug.halt-on-error", default_value_t = true, hide = true)]
    pub(crate) halt_on_error: bool,
    /// Take blocks whose label names are out of order.
    #[arg(long = "debug.accept-malformed-index", hide = true)]
    pub(crate) accept_malformed_index: bool,
    /// How far to compact: 1 is 2h, 2 is 8h, 3 is 2d, 4 is 14d.
    #[arg(long = "debug.max-compaction-level", value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u8).range(0..=4), hide = true)]
    pub(crate) max_level: u8,
}

/// Hashes of files in `meta.json`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HashFunc {
    /// None.
    None,
    /// SHA-256.
    Sha256,
}

fn parse_dedup(text: &str) -> Result<Dedup, String> {
    match text {
        "" => Ok(Dedup::OneToOne),
        "penalty" => Ok(Dedup::Penalty),
        _ => Err(format!("{text:?} is neither \"\" nor penalty")),
    }
}

fn parse_hash(text: &str) -> Result<HashFunc, String> {
    match text {
        "" => Ok(HashFunc::None),
        "SHA256" => Ok(HashFunc::Sha256),
        _ => Err(format!("{text:?} is neither \"\" nor SHA256")),
    }
}

impl CompactionFlags {
    /// Replica labels, ascending, each once.
    pub(crate) fn replica_labels(&self) -> Vec<String> {
        let named = self.replica_label.iter().filter(|l| !l.is_empty());
        let mut labels: Vec<String> = named.cloned().collect();
        labels.sort_unstable();
        labels.dedup();
        labels
    }

    /// Whether blocks that overlap may be merged.
    pub(crate) fn is_vertical(&self) -> bool {
        self.vertical || !self.replica_labels().is_empty()
    }

    /// What cannot be served, and warnings about what has no effect.
    pub(crate) fn check(&self, given: &Given, warnings: &mut Vec<String>) -> Result<()> {
        if self.dedup == Dedup::Penalty && self.replica_labels().is_empty() {
            return Err(refuse(
                "deduplication.func",
                "penalty needs to know which labels tell replicas apart",
                "give --deduplication.replica-label",
            ));
        }
        if self.hash == HashFunc::Sha256 {
            return Err(refuse(
                "hash-func",
                "this version writes no hashes into meta.json",
                "drop the flag; readers do without",
            ));
        }
        if self.accept_malformed_index {
            return Err(refuse(
                "debug.accept-malformed-index",
                "this version takes no index whose order is wrong",
                "drop the flag; such a block is put into quarantine, and the others go on",
            ));
        }
        if self.max_job_ms <= 0 {
            let cure = "give a time such as 1h";
            return Err(refuse("max-job-time", "has to be longer than 0", cure));
        }
        if self.max_level < 4 {
            warnings.push(format!(
                "--debug.max-compaction-level is {}: no blocks of the longer ranges are made",
                self.max_level
            ));
        }
        let idle = [(
            "compact.blocks-fetch-concurrency",
            "blocks are read in ranges while they are merged",
        )];
        given.warn(&idle, warnings);
        Ok(())
    }
}
