//! Flags about lower resolutions, and about what is deleted when.

use crate::cli::duration::{parse_go, parse_prometheus};

/// Downsampling, retention and deletion.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Downsampling, retention, deletion")]
pub(crate) struct RetentionFlags {
    /// How long raw blocks are kept after their end, 0d for ever.
    #[arg(long = "retention.resolution-raw", value_name = "DURATION", default_value = "0d", value_parser = parse_prometheus)]
    pub(crate) raw_ms: i64,
    /// How long blocks of 5 minutes are kept after their end, 0d for ever.
    #[arg(long = "retention.resolution-5m", value_name = "DURATION", default_value = "0d", value_parser = parse_prometheus)]
    pub(crate) five_minutes_ms: i64,
    /// How long blocks of 1 hour are kept after their end, 0d for ever.
    #[arg(long = "retention.resolution-1h", value_name = "DURATION", default_value = "0d", value_parser = parse_prometheus)]
    pub(crate) one_hour_ms: i64,
    /// Retire blocks past their retention even if nothing of lower resolution
    /// stands in for them yet.
    #[arg(long = "retention.force")]
    pub(crate) force: bool,
    /// Make no blocks of lower resolution.
    #[arg(long = "downsampling.disable")]
    pub(crate) downsampling_disabled: bool,
    /// Blocks downsampled at the same time, besides those that a compaction
    /// downsamples in the same pass. Default: one per core.
    #[arg(long = "downsample.concurrency", value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) downsample_concurrency: Option<u16>,
    /// Age of a deletion mark at which the block is removed. A marked block
    /// takes part in nothing once half of it has passed.
    #[arg(long = "delete-delay", value_name = "DURATION", default_value = "48h", value_parser = parse_prometheus)]
    pub(crate) delete_delay_ms: i64,
    /// Time between clean-ups of abandoned uploads while resident; 0s for only
    /// at the end of a run.
    #[arg(long = "compact.cleanup-interval", value_name = "DURATION", default_value = "5m", value_parser = parse_go)]
    pub(crate) cleanup_interval_ms: i64,
    /// Keep blocks whose meta.json cannot be read, however old they are.
    #[arg(long = "keep-corrupted-blocks")]
    pub(crate) keep_corrupted_blocks: bool,
}

impl RetentionFlags {
    /// Retention of raw, 5 minutes and 1 hour, ms; 0 is for ever.
    pub(crate) fn retention_ms(&self) -> [i64; 3] {
        [self.raw_ms, self.five_minutes_ms, self.one_hour_ms]
    }
}
