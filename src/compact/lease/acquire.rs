//! Taking a lease, and giving it back.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until};

use super::guard::{Confirmed, Lease, Shared};
use super::lock::{self, Lock};
use super::part::Part;
use super::record::Record;
use super::watch::{Fate, fate};
use super::{LEASES, MAX_BYTES, Settings, as_ms, locked, object, part_of};
use crate::error::{Error, Kind, Result};
use crate::objstore::{self, Bucket, Version, Versioned};
use crate::runtime::clock::Clock;

/// Attempts at something that may fail for once.
const TRIES: u32 = 5;

/// Between two of them: the client below has its own patience.
const PAUSE: Duration = Duration::from_millis(200);

/// A lease that is held until it is given back. If it is dropped instead, as by
/// a process that ends, it runs out.
#[derive(Debug)]
pub struct Held {
    lease: Lease,
    shared: Option<Arc<Shared>>,
    heartbeat: Option<JoinHandle<()>>,
    /// Goes last.
    lock: Lock,
}

impl Held {
    /// No lease: every check passes.
    #[must_use]
    pub fn none() -> Self {
        Self {
            lease: Lease::none(),
            shared: None,
            heartbeat: None,
            lock: Lock::None,
        }
    }

    /// For whoever has to check it.
    #[must_use]
    pub fn lease(&self) -> Lease {
        self.lease.clone()
    }

    /// Gives it back, so that nobody has to wait for it to run out.
    pub async fn release(mut self) {
        self.stop();
        if let Some(shared) = &self.shared {
            shared.release().await;
        }
    }

    fn stop(&mut self) {
        if let Some(task) = self.heartbeat.take() {
            task.abort();
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.stop();
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("object", &self.object)
            .finish_non_exhaustive()
    }
}

/// Takes the lease on a part of a bucket, and keeps it.
///
/// # Errors
/// [`Kind::Locked`] if another run holds it, or one on an overlapping part;
/// [`Kind::Config`] if the store knows no conditions, unless it says so and the
/// lease is optional; whatever the bucket fails with.
pub async fn acquire(bucket: &Bucket, clock: &Arc<dyn Clock>, settings: &Settings) -> Result<Held> {
    let until = Instant::now() + settings.wait;
    let lock = take_lock(bucket, settings, until).await?;
    let taking = Taking {
        bucket,
        clock,
        settings,
        lock: &lock,
        until,
    };
    let shared = match taking.take().await {
        Ok(shared) => Arc::new(shared),
        Err(Refused::Store(error)) if error.kind == objstore::Kind::Full => {
            return without_room(bucket, error, lock);
        }
        Err(Refused::Store(error)) if error.kind != objstore::Kind::Unsupported => {
            return Err(error.into());
        }
        Err(Refused::Store(_)) if settings.optional => {
            tracing::warn!(
                bucket = bucket.name(),
                "the store knows no conditional writes: nothing keeps a second run off; \
                 --lease=off says so without this line"
            );
            return Ok(Held::none());
        }
        Err(Refused::Store(error)) => return Err(unsupported(bucket, &error)),
        Err(Refused::Error(error)) => return Err(error),
    };
    let lease = Lease::of(Arc::clone(&shared));
    let heartbeat = Some(tokio::spawn(beat(Arc::clone(&shared))));
    let clear = taking.clear(&lease).await;
    let held = Held {
        lease,
        heartbeat,
        shared: Some(shared),
        lock,
    };
    if let Err(error) = clear {
        held.release().await;
        return Err(error);
    }
    tracing::info!(
        bucket = bucket.name(), part = %settings.part, holder = %settings.holder, "lease taken"
    );
    Ok(held)
}

/// Why there is no lease.
enum Refused {
    Store(objstore::Error),
    Error(Error),
}

impl From<objstore::Error> for Refused {
    fn from(error: objstore::Error) -> Self {
        Self::Store(error)
    }
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

/// The lock of a folder bucket.
async fn take_lock(bucket: &Bucket, settings: &Settings, until: Instant) -> Result<Lock> {
    const STEP: Duration = Duration::from_secs(1);
    loop {
        match lock::take(bucket, &settings.part)? {
            Lock::Taken => {}
            lock => return Ok(lock),
        }
        if Instant::now() >= until {
            let found = bucket
                .get_versioned(&object(&settings.part), MAX_BYTES)
                .await?;
            let part = settings.part.to_string();
            let record = found.map(|f| Record::parse(&part, &f.body, as_ms(settings.duration)));
            let record = record.filter(|r| r.holder.is_some());
            let by = record.map_or("a process of this machine".to_owned(), |r| r.describe());
            return Err(locked(bucket, &part, &by));
        }
        sleep(STEP.min(until - Instant::now())).await;
    }
}

/// What is known and needed all along.
struct Taking<'a> {
    bucket: &'a Bucket,
    clock: &'a Arc<dyn Clock>,
    settings: &'a Settings,
    lock: &'a Lock,
    until: Instant,
}

/// A lease that was written.
struct Written {
    record: Record,
    version: Version,
    /// Before the request went out.
    start: Confirmed,
    /// There was none before.
    created: bool,
}

impl Taking<'_> {
    /// The lease itself, proved.
    async fn take(&self) -> std::result::Result<Shared, Refused> {
        let mut failed: Option<objstore::Error> = None;
        for _ in 0..TRIES {
            if failed.is_some() {
                sleep(PAUSE).await;
            }
            match self.attempt().await {
                // Somebody was faster, or we were, and nobody told us.
                Ok(None) => {}
                Ok(Some(written)) => {
                    self.prove(&written).await?;
                    return Ok(Shared::new(
                        (self.bucket.clone(), Arc::clone(self.clock)),
                        self.settings,
                        (written.record, written.version),
                        written.start,
                    ));
                }
                Err(Refused::Store(error)) if error.kind.is_transient() => failed = Some(error),
                Err(refused) => return Err(refused),
            }
        }
        Err(match failed {
            Some(error) => error.into(),
            None => {
                let part = self.settings.part.to_string();
                locked(self.bucket, &part, "several others that want it, too").into()
            }
        })
    }

    fn name(&self) -> String {
        object(&self.settings.part)
    }

    /// `None` if the lease has changed meanwhile.
    async fn attempt(&self) -> std::result::Result<Option<Written>, Refused> {
        let (bucket, name) = (self.bucket, self.name());
        let found = bucket.get_versioned(&name, MAX_BYTES).await?;
        let created = found.is_none();
        let before = match found {
            None => None,
            Some(found) => match self.free(found).await? {
                Some(free) => Some(free),
                None => return Ok(None),
            },
        };
        let start = Confirmed {
            at: Instant::now(),
            wall_ms: self.clock.now_ms(),
        };
        let times = (start.wall_ms, as_ms(self.settings.duration));
        let record = before.as_ref().map(|(record, _)| record);
        let next = Record::next(&self.settings.part, record, &self.settings.holder, times);
        let put = match &before {
            None => bucket.put_if_absent(&name, next.to_json()).await?,
            Some((_, version)) => bucket.put_if_match(&name, next.to_json(), version).await?,
        };
        Ok(put.map(|version| Written {
            record: next,
            version,
            start,
            created,
        }))
    }

    /// The lease as it may be written over, once nobody has it any more; `None`
    /// if it is to be read again.
    async fn free(
        &self,
        found: Versioned,
    ) -> std::result::Result<Option<(Record, Version)>, Refused> {
        let part = self.settings.part.to_string();
        let record = Record::parse(&part, &found.body, as_ms(self.settings.duration));
        // Ours: of an attempt whose answer was lost.
        if record.holder.is_none() || record.is_of(&self.settings.holder) {
            return Ok(Some((record, found.version)));
        }
        let wait = self.until.saturating_duration_since(Instant::now());
        let fate = fate(self.bucket, self.settings, (&part, self.lock), found, wait);
        match fate.await? {
            Fate::Dead(version, record) => {
                tracing::warn!(
                    part,
                    holder = record.describe(),
                    "the last holder is dead, its lease is taken over"
                );
                Ok(Some((record, version)))
            }
            Fate::Over => Ok(None),
            Fate::Alive(record) => Err(locked(self.bucket, &part, &record.describe()).into()),
        }
    }

    /// Sees conditions fail that have to. What a store writes in spite of them is
    /// what lies there anyway.
    async fn prove(&self, written: &Written) -> std::result::Result<(), Refused> {
        let (bucket, name) = (self.bucket, self.name());
        let body = written.record.to_json();
        if written.created {
            let again = bucket.put_if_absent(&name, body.clone()).await?;
            if again.is_some() {
                return Err(ignores(bucket).into());
            }
        }
        let other = bucket
            .put_if_match(&name, body, &Version::nowhere())
            .await?;
        if other.is_some() {
            return Err(ignores(bucket).into());
        }
        Ok(())
    }

    /// Sees that no overlapping part is held. A holder there that is dead loses
    /// its lease, should it only have slept.
    async fn clear(&self, lease: &Lease) -> Result<()> {
        let ours = self.name();
        for other in self.bucket.list(LEASES).await? {
            let Some(name) = part_of(&other.name).filter(|_| other.name != ours) else {
                continue;
            };
            // A part of which we know nothing may be any.
            let apart = name
                .parse()
                .is_ok_and(|p: Part| !p.overlaps(&self.settings.part));
            if apart {
                continue;
            }
            self.outlive(name, &other.name).await?;
        }
        lease.check().await
    }

    async fn outlive(&self, part: &str, name: &str) -> Result<()> {
        for _ in 0..TRIES {
            let Some(found) = self.bucket.get_versioned(name, MAX_BYTES).await? else {
                return Ok(());
            };
            let record = Record::parse(part, &found.body, as_ms(self.settings.duration));
            if record.holder.is_none() {
                return Ok(());
            }
            let wait = self.until.saturating_duration_since(Instant::now());
            let lock = Lock::None;
            match fate(self.bucket, self.settings, (part, &lock), found, wait).await? {
                Fate::Dead(version, record) => {
                    let body = record.released(self.clock.now_ms()).to_json();
                    if self
                        .bucket
                        .put_if_match(name, body, &version)
                        .await?
                        .is_some()
                    {
                        tracing::warn!(part, "the last holder of this part is dead");
                        return Ok(());
                    }
                }
                Fate::Over => return Ok(()),
                Fate::Alive(record) => return Err(locked(self.bucket, part, &record.describe())),
            }
        }
        Err(locked(
            self.bucket,
            part,
            "somebody whose lease changes all the time",
        ))
    }
}

/// Renews a lease until it is lost.
async fn beat(shared: Arc<Shared>) {
    loop {
        sleep_until(shared.next_beat()).await;
        if shared.renew(false).await.is_err() {
            return;
        }
    }
}

/// A full bucket has no room for a lease, and it takes a run to make some. The
/// lock of a folder is enough for that.
fn without_room(bucket: &Bucket, error: objstore::Error, lock: Lock) -> Result<Held> {
    if lock.is_ours() {
        let bucket = bucket.name();
        tracing::warn!(
            bucket,
            "no room for a lease; the lock on the folder has to do"
        );
        let mut held = Held::none();
        held.lock = lock;
        return Ok(held);
    }
    let cure = "free space in the bucket; if you are sure that no other run is at work, \
                --lease=off --only=cleanup removes what is marked";
    let error = Error::from(error);
    Err(error.context("no room for a lease").with_cure(cure))
}

/// For people who have a store that takes conditions for granted.
fn ignores(bucket: &Bucket) -> Error {
    let what = format!(
        "bucket {}: the store ignores the condition of a conditional write, \
         so that nothing would keep two runs apart",
        bucket.name()
    );
    Error::new(Kind::Config, what).with_cure(WITHOUT)
}

fn unsupported(bucket: &Bucket, error: &objstore::Error) -> Error {
    let what = format!(
        "bucket {}: the store has no conditional writes",
        bucket.name()
    );
    Error::new(Kind::Config, what)
        .with_source(error.clone())
        .with_cure(WITHOUT)
}

const WITHOUT: &str = "update the store; or give --lease=off, if you are sure that there is \
     only one writer";
