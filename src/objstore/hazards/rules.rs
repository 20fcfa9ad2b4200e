//! Lifecycle rules and object lock, as far as they matter here, and whether a
//! rule meets what lies below our prefix.

use ulid::Ulid;

/// When a rule acts on an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(
    not(feature = "aws-sdk"),
    allow(dead_code, reason = "only the SDK tells it")
)]
pub enum When {
    /// So many days after it was written.
    Days(i64),
    /// At a moment, milliseconds since the epoch.
    At(i64),
}

impl std::fmt::Display for When {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Days(1) => f.write_str("1 day after it was written"),
            Self::Days(days) => write!(f, "{days} days after it was written"),
            Self::At(ms) => {
                let at = chrono::DateTime::from_timestamp_millis(*ms).unwrap_or_default();
                write!(f, "on {}", at.format("%Y-%m-%d"))
            }
        }
    }
}

/// One rule.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LifecycleRule {
    /// Its name; may be empty.
    pub id: String,
    /// It acts.
    pub enabled: bool,
    /// Only on keys that begin with this.
    pub prefix: String,
    /// Only on objects with certain tags; no block has any.
    pub tagged: bool,
    /// Only on objects of certain sizes.
    pub sized: bool,
    /// Deletes objects.
    pub expires: Option<When>,
    /// Moves objects to other storage classes.
    pub moves: Vec<(String, When)>,
    /// Deletes versions so many days after they were deleted or replaced.
    pub old_versions_days: Option<i64>,
    /// Aborts uploads so many days after they were begun.
    pub aborts_days: Option<i64>,
}

/// A default retention of object lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectLock {
    /// For how long no version can be removed.
    pub days: i64,
    /// `GOVERNANCE` or `COMPLIANCE`.
    pub mode: String,
}

impl LifecycleRule {
    /// Whether it acts on something of ours; `prefix` is empty or ends with a
    /// slash.
    pub fn meets(&self, prefix: &str) -> bool {
        if !self.enabled || self.tagged {
            return false;
        }
        if prefix.starts_with(&self.prefix) {
            return true;
        }
        self.prefix.strip_prefix(prefix).is_some_and(begins_ours)
    }

    /// Whether it acts on everything of ours.
    pub fn covers(&self, prefix: &str) -> bool {
        self.enabled && !self.tagged && !self.sized && prefix.starts_with(&self.prefix)
    }

    /// `rule "x"`, or what it applies to if it has no name.
    pub fn name(&self) -> String {
        match (self.id.as_str(), self.prefix.as_str()) {
            ("", "") => "a lifecycle rule for the whole bucket".to_owned(),
            ("", prefix) => format!("a lifecycle rule for {prefix:?}"),
            (id, "") => format!("lifecycle rule {id:?} for the whole bucket"),
            (id, prefix) => format!("lifecycle rule {id:?} for {prefix:?}"),
        }
    }
}

/// Whether the name of a block's object, or of one of our own, could begin like
/// this. `text` is not empty.
fn begins_ours(text: &str) -> bool {
    const OWN: &str = "lithify/";
    if OWN.starts_with(text) || text.starts_with(OWN) {
        return true;
    }
    match text.split_once('/') {
        Some((folder, _)) => folder.parse::<Ulid>().is_ok(),
        // Padded with the smallest digit it must be one.
        None if text.len() <= 26 => format!("{text:0<26}").parse::<Ulid>().is_ok(),
        None => false,
    }
}

/// Whether an object of this name, relative to the prefix, is a block's or ours.
pub(super) fn is_ours(name: &str) -> bool {
    name.split_once('/')
        .is_some_and(|(folder, _)| folder == "lithify" || folder.parse::<Ulid>().is_ok())
}

#[cfg(test)]
#[path = "rules_tests.rs"]
mod tests;
