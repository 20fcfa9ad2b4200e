//! One writer: a lease on the bucket, or on a part of it.
//!
//! Terms:
//!
//! - **Lease**: the object `lithify/leases/<part>.json`. It names its **holder**,
//!   who renews it (a **heartbeat**), and counts holders (its **epoch**).
//! - **Part**: what it guards, the whole bucket or a share of it.
//! - **Given back**: a lease without holder. It is never deleted, so that the
//!   epoch goes on.
//! - **Lost**: taken over by somebody else, or not renewed in time.
//!
//! ```text
//!  none ---- create, only if absent -----------------.
//!  given back -- write, only over that version ------+--> held --> a second conditional
//!  held by another                                   |     |       write must fail
//!    | unchanged for its whole duration,             |     +--> no overlapping part held?
//!    | as seen by our own clock ---------------------'     |
//!    '-- changed: it lives; exit                           +-- heartbeat, every third of
//!                                                          |   the duration
//!   before meta.json, a mark, a removal: still held? ------+-- lost: the run ends
//!                                                          '-- given back
//! ```
//!
//! Who is dead is never read from a wall clock: the holder's own deadline and the
//! time for which others watch run on clocks that nobody can set, the deadline
//! ends a tenth before the watch, and only a change of the object starts it
//! again. Three things spare the watch: a lease that was given back; in a folder,
//! a holder of this machine whose lock is free; a lease that by the store's own
//! clock is older than six hours and ten durations.
//!
//! Invariants:
//!
//! - LE-1: a lease is written under a condition only, each time with a content
//!   that it never had; a write whose answer was lost is known by its token.
//! - LE-2: a run that has lost its lease, or cannot tell, changes nothing in the
//!   bucket any more: it does not even take back what it made.
//! - LE-3: no store is trusted to know conditions before one has failed there.
//! - LE-4: of two overlapping parts, whoever comes later sees the earlier one and
//!   yields; if both come at once, both may.
//!
//! What it cannot do: S3 has no way to make the write of one object depend on
//! another. A request that a holder has handed to the network just before it was
//! stopped for longer than its lease may still arrive. So every job keeps an
//! order in which that does no harm: see [`super::intents`].

mod acquire;
mod guard;
mod lock;
mod part;
mod record;
mod watch;

use std::time::Duration;

pub use acquire::{Held, acquire};
pub use guard::Lease;
pub use part::Part;
pub use record::{Holder, Record};

use crate::error::{Error, Kind, Result};
use crate::objstore::Bucket;

/// Folder of the leases in the bucket.
pub const LEASES: &str = "lithify/leases";

/// A lease is a few hundred bytes.
const MAX_BYTES: u64 = 16 << 10;

/// How to go about a lease.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What is guarded.
    pub part: Part,
    /// Who we are. Every run needs a token of its own.
    pub holder: Holder,
    /// For so long a holder may be silent before others take over.
    pub duration: Duration,
    /// So long is waited for a living holder to finish.
    pub wait: Duration,
    /// Go without a lease, with a warning, where the store says that it knows no
    /// conditions.
    pub optional: bool,
}

/// The default of [`Settings::duration`].
pub const DURATION: Duration = Duration::from_secs(300);

/// The shortest that the command line takes: a heartbeat every 30 s, because a
/// bucket with versioning keeps every one.
pub const SHORTEST: Duration = Duration::from_secs(90);

/// A duration that somebody else states is taken for no longer.
pub const LONGEST: Duration = Duration::from_secs(86_400);

fn object(part: &Part) -> String {
    format!("{LEASES}/{part}.json")
}

/// Leases in a bucket that somebody holds, for a run that takes none. Nothing is
/// written, so a holder that died is still among them.
///
/// # Errors
/// Whatever the bucket fails with.
pub async fn held(bucket: &Bucket) -> Result<Vec<Record>> {
    let mut held = Vec::new();
    for object in bucket.list(LEASES).await? {
        let Some(part) = part_of(&object.name) else {
            continue;
        };
        let body = bucket.get_bounded(&object.name, MAX_BYTES).await?;
        let record = body.map(|body| Record::parse(part, &body, as_ms(DURATION)));
        held.extend(record.filter(|r| r.holder.is_some()));
    }
    Ok(held)
}

/// The part, as it is written, of a lease's name; others lie there, too.
fn part_of(name: &str) -> Option<&str> {
    let file = name.strip_prefix(LEASES)?.strip_prefix('/')?;
    file.strip_suffix(".json")
        .filter(|part| !part.contains('/'))
}

fn as_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The error for a part that somebody else works on.
fn locked(bucket: &Bucket, part: &str, by: &str) -> Error {
    let what = format!(
        "bucket {} ({part}) is being worked on by {by}",
        bucket.name()
    );
    Error::new(Kind::Locked, what).with_cure(
        "wait until it has ended, or give --lease-wait; \
         if it was killed, its lease runs out by itself",
    )
}
