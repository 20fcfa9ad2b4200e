//! Settings of a bucket, from the SDK's types to ours.

use aws_sdk_s3::primitives::DateTime;
use aws_sdk_s3::types::{
    AbortIncompleteMultipartUpload, ExpirationStatus, LifecycleRule as SdkRule,
    NoncurrentVersionExpiration as SdkOldVersions, ObjectLockConfiguration, ObjectLockEnabled,
};

use super::{LifecycleRule, ObjectLock};
use crate::objstore::hazards::When;

/// One lifecycle rule.
pub(super) fn rule(rule: &SdkRule) -> LifecycleRule {
    let filter = rule.filter();
    let and = filter.and_then(|filter| filter.and());
    // Directly in the rule is the form of old, still answered by some stores.
    #[expect(deprecated, reason = "stores answer it")]
    let old = rule.prefix();
    let prefix = filter
        .and_then(|filter| filter.prefix())
        .or_else(|| and.and_then(|and| and.prefix()))
        .or(old);
    let sized = filter.is_some_and(|filter| {
        filter.object_size_greater_than().is_some() || filter.object_size_less_than().is_some()
    }) || and.is_some_and(|and| {
        and.object_size_greater_than().is_some() || and.object_size_less_than().is_some()
    });
    let moves = rule.transitions().iter().filter_map(|step| {
        let class = step.storage_class()?.as_str().to_owned();
        // Without a time, or after 0 days, objects move at once.
        let when = when(step.days(), step.date());
        Some((class, when.unwrap_or(When::Days(0))))
    });
    let expires = rule.expiration();
    let old_versions = rule.noncurrent_version_expiration();
    let aborts = rule.abort_incomplete_multipart_upload();
    LifecycleRule {
        id: rule.id().unwrap_or_default().to_owned(),
        enabled: rule.status() == &ExpirationStatus::Enabled,
        prefix: prefix.unwrap_or_default().to_owned(),
        tagged: filter.is_some_and(|filter| filter.tag().is_some())
            || and.is_some_and(|and| !and.tags().is_empty()),
        sized,
        expires: expires.and_then(|expires| when(expires.days(), expires.date())),
        moves: moves.collect(),
        old_versions_days: old_versions
            .and_then(SdkOldVersions::noncurrent_days)
            .map(i64::from),
        aborts_days: aborts
            .and_then(AbortIncompleteMultipartUpload::days_after_initiation)
            .map(i64::from),
    }
}

fn when(days: Option<i32>, date: Option<&DateTime>) -> Option<When> {
    match (days, date) {
        // Servers write 0 where a date, or only a marker, is meant.
        (Some(days), _) if days > 0 => Some(When::Days(days.into())),
        (_, Some(date)) => date.to_millis().ok().map(When::At),
        _ => None,
    }
}

/// The default retention, if object lock has one.
pub(super) fn lock(found: &ObjectLockConfiguration) -> Option<ObjectLock> {
    let enabled = found.object_lock_enabled() == Some(&ObjectLockEnabled::Enabled);
    let retention = found.rule().filter(|_| enabled)?.default_retention()?;
    let days = match (retention.days(), retention.years()) {
        (Some(days), _) if days > 0 => i64::from(days),
        (_, Some(years)) => i64::from(years) * 365,
        _ => return None,
    };
    let mode = retention.mode().map_or("", |mode| mode.as_str()).to_owned();
    Some(ObjectLock { days, mode })
}
