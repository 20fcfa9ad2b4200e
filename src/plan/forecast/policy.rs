//! Retention, policy and their linter in a forecast.

use schemars::JsonSchema;
use serde::Serialize;

use super::build::time;
use crate::plan::lint::Finding;
use crate::plan::{Removal, Retired, Stream};

/// What holds for a stream.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct PolicyForecast {
    /// Numbers, from 1, of the rules that match it; for each value the first
    /// rule that sets it counts, then the flags.
    pub rules: Vec<usize>,
    /// How long its blocks are kept.
    pub retention_ms: RetentionForecast,
    /// How samples of replicas become one stream: `one-to-one` or `penalty`.
    pub dedup: String,
    /// Whether blocks of lower resolution are made.
    pub downsampling: bool,
}

/// How long blocks are kept after their end, ms; 0 is for ever.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct RetentionForecast {
    /// Raw samples.
    pub raw: i64,
    /// Windows of 5 minutes.
    #[serde(rename = "5m")]
    pub five_minutes: i64,
    /// Windows of 1 hour.
    #[serde(rename = "1h")]
    pub one_hour: i64,
}

/// A block past its retention that is marked for deletion.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct RetiredForecast {
    /// The block.
    pub block: String,
    /// Window of its samples in ms, 0 for raw.
    pub resolution_ms: i64,
    /// When its retention passed, RFC 3339.
    pub expired_at: String,
    /// Why it may go: `covered`, `never-downsampled`, `last-resolution` or
    /// `forced`.
    pub why: String,
    /// Why it is never downsampled, by a stable name; absent otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proof: Option<String>,
    /// The same for people.
    pub because: String,
}

/// A block that goes, and when.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct RemovalForecast {
    /// The block.
    pub block: String,
    /// What its deletion mark says, or will say.
    pub details: String,
    /// When it was marked, RFC 3339; absent if a run is still to do that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub marked_at: Option<String>,
    /// From when on a run removes it, RFC 3339. Of a block that is still to be
    /// marked, as if that were done now.
    pub removed_at: String,
    /// Bytes of all of its objects.
    pub bytes: u64,
}

/// What the policy linter finds.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct FindingForecast {
    /// What, by a stable name.
    pub kind: String,
    /// `error`, `warning` or `note`.
    pub severity: String,
    /// Where the values come from: `flags`, `rule 2`, `rules 1, 3`.
    pub place: String,
    /// External labels of the stream; absent if it is about none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<std::collections::BTreeMap<String, String>>,
    /// Ranges of the stream that it is about.
    pub windows: Vec<WindowForecast>,
    /// Why those, by a stable name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The same for people.
    pub what: String,
    /// What to do about it.
    pub cure: String,
}

/// A range of time.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct WindowForecast {
    /// Start, ms since the epoch.
    pub min_time: i64,
    /// End, ms since the epoch, exclusive.
    pub max_time: i64,
}

impl PolicyForecast {
    pub(super) fn of(stream: &Stream) -> Self {
        let policy = stream.policy;
        let [raw, five_minutes, one_hour] = policy.retention_ms;
        Self {
            rules: stream.rules.clone(),
            retention_ms: RetentionForecast {
                raw,
                five_minutes,
                one_hour,
            },
            dedup: policy.dedup.to_string(),
            downsampling: policy.downsampling,
        }
    }
}

impl RetiredForecast {
    pub(super) fn of(retired: &Retired) -> Self {
        Self {
            block: retired.block.to_string(),
            resolution_ms: retired.resolution,
            expired_at: time(retired.expired_ms),
            why: retired.why.as_str().to_owned(),
            proof: retired.why.proof().map(|p| p.as_str().to_owned()),
            because: retired.why.sentence().to_owned(),
        }
    }
}

impl RemovalForecast {
    pub(super) fn of(removal: &Removal) -> Self {
        Self {
            block: removal.block.to_string(),
            details: removal.details.clone(),
            marked_at: removal.marked_ms.map(time),
            removed_at: time(removal.removed_ms),
            bytes: removal.bytes,
        }
    }
}

impl FindingForecast {
    pub(super) fn of(finding: &Finding) -> Self {
        let windows = finding.windows.iter().map(|w| WindowForecast {
            min_time: w.0,
            max_time: w.1,
        });
        Self {
            kind: finding.kind.as_str().to_owned(),
            severity: finding.severity.as_str().to_owned(),
            place: finding.place.clone(),
            labels: finding.labels.clone(),
            windows: windows.collect(),
            reason: finding.reason.map(|r| r.as_str().to_owned()),
            what: finding.what.clone(),
            cure: finding.cure.clone(),
        }
    }
}
