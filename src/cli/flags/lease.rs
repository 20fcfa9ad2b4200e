//! Flags about the lease that keeps a second run off.

use std::hash::Hasher;
use std::time::Duration;

use twox_hash::XxHash64;

use super::selection::SelectionFlags;
use super::{Given, refuse};
use crate::cli::duration::parse_go;
use crate::cli::text;
use crate::cli::time_bound::parse_time;
use crate::compact::lease::{self, Holder, Part};
use crate::error::Result;
use crate::plan::cost::Requests;
use crate::runtime::clock::Clock;

/// Whether a run takes the lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Use {
    /// Always.
    On,
    /// Never: nothing keeps a second run off.
    Off,
    /// Unless the store says that it knows no conditional writes.
    Auto,
}

/// One writer.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Lease")]
pub(crate) struct LeaseFlags {
    /// Keep a second run off the same blocks by a lease in the bucket.
    #[arg(long, value_enum, value_name = "WHEN", default_value_t = Use::Auto)]
    lease: Use,
    /// For so long a run may be silent before another one takes over, 90s to
    /// 24h; it says three times as often that it lives.
    #[arg(long = "lease-duration", value_name = "DURATION", default_value = "5m", value_parser = parse_go)]
    duration_ms: i64,
    /// So long a run waits for another one that holds the lease, instead of
    /// ending with exit code 4.
    #[arg(long = "lease-wait", value_name = "DURATION", default_value = "0s", value_parser = parse_go)]
    wait_ms: i64,
}

impl LeaseFlags {
    /// What cannot be served, and what has no effect.
    pub(crate) fn check(&self, given: &Given, warnings: &mut Vec<String>) -> Result<()> {
        if self.lease == Use::Off {
            let why = "no lease is taken with --lease=off";
            given.warn(&[("lease-duration", why), ("lease-wait", why)], warnings);
        }
        if !(lease::SHORTEST..=lease::LONGEST).contains(&duration(self.duration_ms)) {
            return Err(refuse(
                "lease-duration",
                "a lease lasts from 90s to 24h",
                "a bucket with versioning keeps every renewal, so they come every 30s or less often",
            ));
        }
        Ok(())
    }

    /// Whether a run takes a lease.
    pub(crate) fn is_used(&self) -> bool {
        self.lease != Use::Off
    }

    /// What that costs: read, take, see a condition fail, see that nobody else
    /// is there, give back.
    pub(crate) fn requests(&self) -> Requests {
        let used = u64::from(self.is_used());
        Requests {
            list: used,
            get: used,
            put: 3 * used,
            ..Requests::default()
        }
    }

    /// The lease of a run over `part`, if it takes one.
    pub(crate) fn settings(&self, part: Part, clock: &dyn Clock) -> Option<lease::Settings> {
        self.is_used().then(|| lease::Settings {
            part,
            holder: Holder::here(clock),
            duration: duration(self.duration_ms),
            wait: duration(self.wait_ms),
            optional: self.lease == Use::Auto,
        })
    }
}

fn duration(ms: i64) -> Duration {
    Duration::from_millis(u64::try_from(ms).unwrap_or(0))
}

/// The part of a bucket that a run works on.
///
/// # Errors
/// A file of rules that cannot be read.
pub(crate) fn part(selection: &SelectionFlags) -> Result<Part> {
    let (inline, file) = (
        selection.relabel.as_deref(),
        selection.relabel_file.as_deref(),
    );
    let rules = text::content("selector.relabel-config", inline, file)?;
    let bounds = (selection.min_time, selection.max_time);
    let all = [
        parse_time("0000-01-01T00:00:00Z"),
        parse_time("9999-12-31T23:59:59Z"),
    ];
    let is_whole = all == [Ok(bounds.0), Ok(bounds.1)];
    if is_whole && rules.as_deref().is_none_or(|rules| rules.trim().is_empty()) {
        return Ok(Part::Whole);
    }
    let mut hasher = XxHash64::with_seed(0);
    hasher.write(rules.unwrap_or_default().trim().as_bytes());
    hasher.write(format!("{bounds:?}").as_bytes());
    Ok(Part::Selection(format!("{:016x}", hasher.finish())))
}
