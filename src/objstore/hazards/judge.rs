//! From answers to hazards; asks nothing.

use super::{Hazard, HazardKind, LifecycleRule, ObjectLock};
use crate::objstore::sdk::PendingUpload;

/// Classes whose objects must be restored before they can be read.
const FROZEN: [&str; 2] = ["GLACIER", "DEEP_ARCHIVE"];

/// What the store answered; `None` for a question without an answer.
#[derive(Debug, Default)]
pub(super) struct Answers {
    pub versioned: Option<bool>,
    pub rules: Option<Vec<LifecycleRule>>,
    pub lock: Option<ObjectLock>,
    pub stale: Stale,
}

/// Pending uploads of ours that are stale.
#[derive(Debug, Default)]
pub(super) struct Stale {
    pub uploads: Vec<PendingUpload>,
    pub bytes: u64,
    /// There may be more, or some were not measured.
    pub at_least: bool,
}

/// All hazards in these answers; `prefix` is empty or ends with a slash.
pub(super) fn judge(answers: &Answers, prefix: &str) -> Vec<Hazard> {
    let rules = answers.rules.as_deref().unwrap_or_default();
    let mut found = Vec::new();
    if answers.versioned == Some(true) {
        // With the rules unknown, the warning says what they should be.
        found.extend(versioning(rules, prefix));
    }
    for rule in rules.iter().filter(|rule| rule.meets(prefix)) {
        found.extend(expiration(rule));
        found.extend(archive(rule));
    }
    found.extend(answers.lock.as_ref().map(object_lock));
    if !answers.stale.uploads.is_empty() {
        found.extend(stale_uploads(&answers.stale, rules, prefix));
    }
    found
}

fn versioning(rules: &[LifecycleRule], prefix: &str) -> Option<Hazard> {
    let cured = |rule: &LifecycleRule| rule.covers(prefix) && rule.old_versions_days.is_some();
    if rules.iter().any(cured) {
        return None;
    }
    Some(Hazard::new(
        HazardKind::Versioning,
        "versioning is on and no lifecycle rule removes old versions: the bytes of every block \
         that is compacted away or past its retention stay, and are paid for",
        "add a lifecycle rule with NoncurrentVersionExpiration (1 day is enough) and \
         ExpiredObjectDeleteMarker for this prefix, or suspend versioning",
    ))
}

fn expiration(rule: &LifecycleRule) -> Option<Hazard> {
    let when = rule.expires?;
    Some(Hazard::new(
        HazardKind::Expiration,
        format!(
            "{} deletes each object {when}: files of a block go one by one, whatever its retention",
            rule.name()
        ),
        "remove the Expiration of that rule, or keep it off this prefix; retention is the job of \
         --retention.resolution-raw, -5m and -1h",
    ))
}

fn archive(rule: &LifecycleRule) -> Option<Hazard> {
    let frozen = |class: &str| FROZEN.contains(&class);
    let (class, when) = rule.moves.iter().find(|(class, _)| frozen(class))?;
    Some(Hazard::new(
        HazardKind::Archive,
        format!(
            "{} moves each object to {class} {when}: queries and compactions cannot read it there",
            rule.name()
        ),
        "remove that Transition, or use a class that can be read at once (STANDARD_IA, \
         GLACIER_IR); restore what has been moved already",
    ))
}

fn object_lock(lock: &ObjectLock) -> Hazard {
    let ObjectLock { days, mode } = lock;
    Hazard::new(
        HazardKind::ObjectLock,
        format!(
            "object lock keeps every version for {days} days ({mode}): what is compacted away is \
             paid for until then"
        ),
        "remove the default retention of the bucket, or use a bucket without object lock",
    )
}

fn stale_uploads(stale: &Stale, rules: &[LifecycleRule], prefix: &str) -> Option<Hazard> {
    let cured = |rule: &LifecycleRule| rule.covers(prefix) && rule.aborts_days.is_some();
    if rules.iter().any(cured) {
        return None;
    }
    let count = stale.uploads.len() as u64;
    let least = if stale.at_least { "at least " } else { "" };
    let first = stale.uploads.first().map_or("", |upload| &upload.name);
    let mut hazard = Hazard::new(
        HazardKind::StaleUploads,
        format!(
            "{least}{count} uploads with {least}{} bytes were begun more than 48 hours ago and \
             never completed, the first of {first}; no listing shows them",
            stale.bytes
        ),
        "abort them with the store's tools, and add a lifecycle rule with \
         AbortIncompleteMultipartUpload for this prefix",
    );
    (hazard.count, hazard.bytes) = (Some(count), Some(stale.bytes));
    Some(hazard)
}

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;
