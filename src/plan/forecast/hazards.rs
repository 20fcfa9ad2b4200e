//! Settings of a bucket that do harm, as a dry run tells them.

use schemars::JsonSchema;
use serde::Serialize;

/// What was found out about the settings of a bucket.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BucketSettings {
    /// What does harm.
    pub hazards: Vec<HazardForecast>,
    /// What was asked without an answer.
    pub not_looked_at: Vec<NotLookedAtForecast>,
}

/// A setting of the bucket that costs bytes, money or blocks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct HazardForecast {
    /// `versioning`, `expiration`, `archive`, `object-lock`, `stale-uploads`
    /// or `permission`.
    pub kind: String,
    /// True if data is lost by it, or a run cannot do its work.
    pub problem: bool,
    /// What it does, for people.
    pub what: String,
    /// What to do about it.
    pub cure: String,
    /// How many, where it can be counted: stale uploads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// Bytes that it concerns, where they are known; at least so many.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
}

/// A setting that could not be looked at. That is no hazard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct NotLookedAtForecast {
    /// What was to be looked at.
    pub what: String,
    /// Rights that the question needs.
    pub needs: String,
    /// Why there is no answer.
    pub why: String,
}
