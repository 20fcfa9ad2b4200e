//! Settings of a bucket that do harm: once in the log before a run, and in the
//! dry run's form.

use crate::objstore::{Bucket, Hazard, HazardKind, Hazards, Probing};
use crate::plan::forecast::{BucketSettings, HazardForecast, NotLookedAtForecast};
use crate::runtime::clock::Clock;

/// Asks for them before a run and logs each with its cure.
pub(super) async fn warn(bucket: &Bucket, clock: &dyn Clock) {
    let Hazards {
        found,
        not_looked_at,
    } = bucket.hazards(clock.now_ms(), Probing::All).await;
    for Hazard {
        kind,
        what,
        cure,
        count,
        bytes,
    } in found
    {
        tracing::warn!(
            bucket = bucket.name(),
            hazard = kind.as_str(),
            count,
            bytes,
            cure,
            "{what}"
        );
    }
    for not in not_looked_at {
        let (what, needs, why) = (not.what, not.needs, not.why);
        tracing::info!(bucket = bucket.name(), needs, why, "not looked at: {what}");
    }
}

/// Asks for them without a request that needs a right to write.
pub(super) async fn look(bucket: &Bucket, now_ms: i64) -> BucketSettings {
    let hazards = bucket.hazards(now_ms, Probing::ReadOnly).await;
    let not = hazards.not_looked_at.into_iter();
    BucketSettings {
        hazards: hazards.found.into_iter().map(forecast).collect(),
        not_looked_at: not
            .map(|not| NotLookedAtForecast {
                what: not.what.to_owned(),
                needs: not.needs.to_owned(),
                why: not.why,
            })
            .collect(),
    }
}

fn forecast(hazard: Hazard) -> HazardForecast {
    use HazardKind::{Archive, Expiration, Permission};
    HazardForecast {
        kind: hazard.kind.as_str().to_owned(),
        problem: matches!(hazard.kind, Archive | Expiration | Permission),
        what: hazard.what,
        cure: hazard.cure,
        count: hazard.count,
        bytes: hazard.bytes,
    }
}
