//! What the policy linter finds at the first look of a run, in the log.

use crate::plan::lint::{Finding, Severity};

/// Errors and warnings as warnings, since nothing is lost by them: what would
/// be is held. Notes for who asks for more.
pub(super) fn log(bucket: &str, found: &[Finding]) {
    for finding in found {
        let (kind, place) = (finding.kind.as_str(), finding.place.as_str());
        let stream = finding.labels.as_ref().map(|labels| format!("{labels:?}"));
        let (what, cure) = (finding.what.as_str(), finding.cure.as_str());
        match finding.severity {
            Severity::Error | Severity::Warning => {
                tracing::warn!(bucket, kind, place, stream, what, cure, "policy");
            }
            Severity::Note => tracing::debug!(bucket, kind, place, stream, what, "policy"),
        }
    }
}
