//! Flags about the lease that keeps a second run off.

use std::time::Duration;

use super::selection::SelectionFlags;
use super::{Given, refuse};
use crate::cli::duration::parse_go;
use crate::compact::lease::{self, Holder, Part};
use crate::error::{Error, Kind, Result};
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
    let name = selection.part()?;
    name.parse().map_err(|()| {
        let what = format!("the part of the bucket has the name {name:?}, which is none");
        Error::new(Kind::Internal, what)
    })
}
