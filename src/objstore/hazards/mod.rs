//! Settings of a bucket that cost bytes, money or blocks without anybody
//! noticing, read before a run and in a dry run.
//!
//! Terms:
//!
//! - **Hazard**: such a setting, with what it does and the cure.
//! - **Not looked at**: a question the store did not answer, with the right
//!   that would have made it answer. That is no hazard.
//! - **Stale upload**: one that was begun more than 48 hours ago and is still
//!   pending; nobody works on an object for that long.
//!
//! ```text
//!   versioning --+                      +--> deleted bytes stay
//!   lifecycle ---+--> judge (pure) -----+--> blocks are expired, or frozen
//!   object lock -+                      +--> blocks cannot be removed
//!   uploads, parts ---------------------+--> bytes that no listing shows
//!   list, get ------------------------------> rights that are missing
//! ```
//!
//! Invariants:
//!
//! - Nothing is changed. In a dry run nothing is asked that needs a right to
//!   write, either.
//! - At most [`MOST_REQUESTS`] requests, at most [`TIME_LIMIT`] together.
//! - It never fails: what goes wrong is "not looked at".
//! - A store that does not know a call cannot have what the call tells about.

mod judge;
mod look;
mod rules;

use std::time::Duration;

use serde::Serialize;

#[cfg(feature = "aws-sdk")]
pub(super) use rules::When;
pub(super) use rules::{LifecycleRule, ObjectLock};

/// All questions together.
const TIME_LIMIT: Duration = Duration::from_secs(30);
/// Pages of pending uploads, of 1,000 each.
const UPLOAD_PAGES: usize = 3;
/// Stale uploads whose parts are added up; the others only count.
const MEASURED_UPLOADS: usize = 20;
/// Versioning, lifecycle, lock, list, get, abort; pages of uploads; their sizes.
/// An upload of more than 1,000 parts needs some more.
pub const MOST_REQUESTS: usize = 6 + UPLOAD_PAGES + MEASURED_UPLOADS;
/// Age from which a pending upload is stale, milliseconds.
const STALE_MS: i64 = 48 * 3600 * 1000;

/// What a hazard is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum HazardKind {
    /// Versioning keeps the bytes of deleted objects.
    Versioning,
    /// A lifecycle rule deletes objects of ours.
    Expiration,
    /// A lifecycle rule moves objects of ours where they cannot be read.
    Archive,
    /// A default retention keeps objects from being deleted.
    ObjectLock,
    /// Uploads that nobody completes.
    StaleUploads,
    /// A right is missing.
    Permission,
}

impl HazardKind {
    /// Stable name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Versioning => "versioning",
            Self::Expiration => "expiration",
            Self::Archive => "archive",
            Self::ObjectLock => "object-lock",
            Self::StaleUploads => "stale-uploads",
            Self::Permission => "permission",
        }
    }
}

/// One thing about a bucket that a person should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hazard {
    /// What it is about.
    pub kind: HazardKind,
    /// What the setting does.
    pub what: String,
    /// What to do about it.
    pub cure: String,
    /// How many, where it can be counted: stale uploads.
    pub count: Option<u64>,
    /// Bytes that it concerns, where they are known; at least so many.
    pub bytes: Option<u64>,
}

impl Hazard {
    fn new(kind: HazardKind, what: impl Into<String>, cure: impl Into<String>) -> Self {
        Self {
            kind,
            what: what.into(),
            cure: cure.into(),
            count: None,
            bytes: None,
        }
    }
}

/// A question without an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotLookedAt {
    /// What was to be looked at.
    pub what: &'static str,
    /// Rights that the question needs.
    pub needs: &'static str,
    /// Why there is no answer.
    pub why: String,
}

/// What was found out about a bucket.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hazards {
    /// In the order of [`HazardKind`].
    pub found: Vec<Hazard>,
    /// Questions without an answer.
    pub not_looked_at: Vec<NotLookedAt>,
}

/// How far the look may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Probing {
    /// Nothing that needs a right to write.
    ReadOnly,
    /// Also a request that would write if there were something to write to: an
    /// upload that does not exist is aborted.
    All,
}
