//! Is the holder of a lease dead?

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::lock::{self, Lock};
use super::part::Part;
use super::record::Record;
use super::{LEASES, LONGEST, MAX_BYTES, Settings, as_ms};
use crate::error::Result;
use crate::objstore::{Bucket, Version, Versioned};
use crate::runtime::host;

/// A lease that is older than this and than ten durations, by the store's own
/// clock alone, is nobody's. Clocks of stores have been off by an hour.
const SURELY_DEAD: Duration = Duration::from_secs(6 * 3600);

/// What became of a holder.
pub(super) enum Fate {
    /// It is dead; the lease is still of this version.
    Dead(Version, Record),
    /// The lease was given back, or is gone.
    Over,
    /// It lives, or may live.
    Alive(Record),
}

/// Finds out, waiting for at most `wait` for a holder that may be alive. One
/// that has been silent for longer than it may is watched to the end in any
/// case: another duration, by our clock.
///
/// # Errors
/// Whatever the bucket fails with.
pub(super) async fn fate(
    bucket: &Bucket,
    settings: &Settings,
    (part, lock): (&str, &Lock),
    found: Versioned,
    wait: Duration,
) -> Result<Fate> {
    let ours = as_ms(settings.duration);
    let name = format!("{LEASES}/{part}.json");
    let mut record = Record::parse(part, &found.body, ours);
    if died_here(bucket, part, lock, &record) {
        tracing::info!(
            part,
            "the last holder was a process of this machine that is gone"
        );
        return Ok(Fate::Dead(found.version, record));
    }
    let duration = Duration::from_millis(record.duration_ms).clamp(SHORT, LONGEST);
    let age = age(bucket, settings, &found).await;
    if age.is_some_and(|age| age > SURELY_DEAD.max(duration.saturating_mul(10))) {
        return Ok(Fate::Dead(found.version, record));
    }
    let start = Instant::now();
    let (mut seen, mut since) = (found.version, start);
    let mut changed = false;
    tracing::info!(
        part,
        holder = record.describe(),
        "lease is held, watching it"
    );
    loop {
        if since.elapsed() >= duration {
            return Ok(Fate::Dead(seen, record));
        }
        let silent = age.is_some_and(|age| !changed && age + start.elapsed() > duration);
        let left = wait.saturating_sub(start.elapsed());
        if left.is_zero() && !silent {
            return Ok(Fate::Alive(record));
        }
        let step = (duration / 10).min(Duration::from_secs(15));
        sleep(if silent { step } else { step.min(left) }).await;
        let Some(now) = bucket.get_versioned(&name, MAX_BYTES).await? else {
            return Ok(Fate::Over);
        };
        if now.version != seen {
            record = Record::parse(part, &now.body, ours);
            if record.holder.is_none() {
                return Ok(Fate::Over);
            }
            (seen, since, changed) = (now.version, Instant::now(), true);
        }
    }
}

/// Whatever a lease states, its holder is watched for as long as this.
const SHORT: Duration = Duration::from_millis(10);

/// Whether the holder was a process of this very machine whose lock is free.
fn died_here(bucket: &Bucket, part: &str, lock: &Lock, record: &Record) -> bool {
    let boot = host::boot();
    let here = record
        .holder
        .as_ref()
        .is_some_and(|h| h.boot.is_some() && h.boot == boot);
    if !here || lock.is_ours() {
        return here;
    }
    // The lock of another part: it is enough that we could have it.
    let Ok(part) = part.parse::<Part>() else {
        return false;
    };
    matches!(lock::take(bucket, &part), Ok(Lock::Ours(_)))
}

/// How old the lease is by the store's clock: what is written now has the time
/// of now. `None` if that cannot be found out.
async fn age(bucket: &Bucket, settings: &Settings, found: &Versioned) -> Option<Duration> {
    let probe = format!("{LEASES}/clock");
    let put = bucket.put(&probe, settings.holder.token.clone().into_bytes());
    put.await.ok()?;
    let now = bucket.head(&probe).await.ok()??.modified_ms;
    u64::try_from(now.checked_sub(found.modified_ms)?)
        .ok()
        .map(Duration::from_millis)
}
