//! The object that is the lease.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::part::Part;
use crate::runtime::clock::Clock;
use crate::runtime::host;

/// Form of the object that this program writes.
const FORM: u32 = 1;

/// Who works on a part of a bucket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Host name, in a pod that of the pod.
    pub host: String,
    /// The running kernel, if it is known: the same in all containers of a machine.
    #[serde(default)]
    pub boot: Option<String>,
    /// Process on that host.
    pub pid: u32,
    /// Drawn at random by every run: tells its own writes from those of others.
    pub token: String,
}

impl Holder {
    /// A run of this process.
    #[must_use]
    pub fn here(clock: &dyn Clock) -> Self {
        Self {
            host: host::name(),
            boot: host::boot(),
            pid: std::process::id(),
            token: clock.new_ulid().to_string(),
        }
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {} on {}", self.pid, self.host)
    }
}

/// A lease as it lies in the bucket. Times are for people: no decision depends
/// on what a clock elsewhere has shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Form of this object.
    version: u32,
    /// Name of the part.
    pub part: String,
    /// Counts the holders; it only grows.
    pub epoch: u64,
    /// Who has it; none once it was given back.
    pub holder: Option<Holder>,
    /// When that holder took it, ms since the epoch by its own clock.
    pub acquired_ms: i64,
    /// When it said last that it is alive, likewise.
    pub renewed_ms: i64,
    /// For so long it may be silent, ms.
    pub duration_ms: u64,
    /// How often it said so. No two contents of the object are equal.
    pub heartbeat: u64,
}

impl Record {
    /// The first lease on a part, or the one that comes after `before`.
    pub(super) fn next(
        part: &Part,
        before: Option<&Self>,
        holder: &Holder,
        (now_ms, duration_ms): (i64, u64),
    ) -> Self {
        Self {
            version: FORM,
            part: part.to_string(),
            epoch: before.map_or(0, |b| b.epoch).saturating_add(1),
            holder: Some(holder.clone()),
            acquired_ms: now_ms,
            renewed_ms: now_ms,
            duration_ms,
            heartbeat: 0,
        }
    }

    /// The same, a heartbeat later.
    pub(super) fn renewed(&self, now_ms: i64) -> Self {
        Self {
            renewed_ms: now_ms,
            heartbeat: self.heartbeat.saturating_add(1),
            ..self.clone()
        }
    }

    /// The same, given back.
    pub(super) fn released(&self, now_ms: i64) -> Self {
        Self {
            holder: None,
            ..self.renewed(now_ms)
        }
    }

    pub(super) fn is_of(&self, holder: &Holder) -> bool {
        self.holder
            .as_ref()
            .is_some_and(|h| h.token == holder.token)
    }

    /// Who has it and since when, for people.
    #[must_use]
    pub fn describe(&self) -> String {
        let time = |ms: i64| {
            let time = chrono::DateTime::from_timestamp_millis(ms);
            time.map_or_else(
                || "an unknown time".to_owned(),
                |t| t.to_rfc3339_opts(chrono::SecondsFormat::Secs, true),
            )
        };
        match &self.holder {
            Some(holder) => format!(
                "{holder} since {}, last heard of at {} by its clock",
                time(self.acquired_ms),
                time(self.renewed_ms)
            ),
            None => "nobody".to_owned(),
        }
    }

    pub(super) fn to_json(&self) -> Vec<u8> {
        // Texts and numbers: there is nothing that could fail.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads a lease. What cannot be read may be that of a newer program: its
    /// holder is unknown, and counts as alive as long as the object changes.
    pub(super) fn parse(part: &str, body: &[u8], duration_ms: u64) -> Self {
        let read = serde_json::from_slice::<Self>(body).ok();
        read.filter(|r| r.version == FORM).unwrap_or_else(|| {
            tracing::warn!(
                part,
                "lease cannot be read; whoever wrote it counts as alive while it changes"
            );
            let unknown = Holder {
                host: "an unknown host".to_owned(),
                boot: None,
                pid: 0,
                token: String::new(),
            };
            Self {
                version: FORM,
                part: part.to_owned(),
                epoch: 0,
                holder: Some(unknown),
                acquired_ms: 0,
                renewed_ms: 0,
                duration_ms,
                heartbeat: 0,
            }
        })
    }
}
