//! What a run holds on to: is the lease still ours?

use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use futures::FutureExt;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::part::Part;
use super::record::{Holder, Record};
use super::{MAX_BYTES, Settings, as_ms, object};
use crate::error::{Error, Kind, Result};
use crate::objstore::{Bucket, Version};
use crate::runtime::clock::Clock;

/// A lease that is held, or none at all. Clones are one lease.
#[derive(Clone, Default)]
pub struct Lease(Option<Arc<Shared>>);

pub(super) struct Shared {
    pub bucket: Bucket,
    pub clock: Arc<dyn Clock>,
    /// Name of the object.
    pub object: String,
    part: Part,
    holder: Holder,
    duration: Duration,
    /// What lies in the bucket. Whoever writes there holds this.
    written: tokio::sync::Mutex<(Record, Version)>,
    confirmed: Mutex<Confirmed>,
    /// Why it is ours no longer.
    lost: watch::Sender<Option<String>>,
}

/// The last moment at which the lease was surely ours.
#[derive(Debug, Clone, Copy)]
pub(super) struct Confirmed {
    pub at: Instant,
    /// The wall clock then, ms since the epoch.
    pub wall_ms: i64,
}

/// Why a conditional write was not done.
enum Renewal {
    Done,
    /// May be tried again.
    Failed(String),
}

impl Shared {
    pub fn new(
        (bucket, clock): (Bucket, Arc<dyn Clock>),
        settings: &Settings,
        written: (Record, Version),
        confirmed: Confirmed,
    ) -> Self {
        Self {
            bucket,
            clock,
            object: object(&settings.part),
            part: settings.part.clone(),
            holder: settings.holder.clone(),
            duration: settings.duration,
            written: tokio::sync::Mutex::new(written),
            confirmed: Mutex::new(confirmed),
            lost: watch::Sender::new(None),
        }
    }

    /// When to say again that we live.
    pub fn next_beat(&self) -> Instant {
        self.confirmed().at + self.duration / 3
    }

    /// No request for the lease is waited for longer.
    fn patience(&self) -> Duration {
        self.duration / 6
    }

    /// Between two attempts.
    fn pause(&self) -> Duration {
        self.duration / 30
    }

    /// Clocks of two machines do not run alike; so much earlier the holder
    /// gives up.
    fn margin(&self) -> Duration {
        self.duration / 10
    }

    fn confirmed(&self) -> Confirmed {
        *self
            .confirmed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn confirm(&self, at: Confirmed) {
        *self
            .confirmed
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = at;
    }

    pub fn now(&self) -> Confirmed {
        Confirmed {
            at: Instant::now(),
            wall_ms: self.clock.now_ms(),
        }
    }

    /// After this nobody may act on the lease unless it was renewed.
    fn deadline(&self) -> Instant {
        self.confirmed().at + self.duration.saturating_sub(self.margin())
    }

    /// Whether the deadline is ahead, and the two clocks agree on how long ago
    /// the lease was confirmed. They do not where somebody set one of them, or
    /// where the machine slept, which the other does not count. Then only the
    /// bucket knows.
    fn is_fresh(&self) -> bool {
        let (then, now) = (self.confirmed(), self.now());
        let by_wall = now.wall_ms.saturating_sub(then.wall_ms);
        let passed = i64::try_from((now.at - then.at).as_millis()).unwrap_or(i64::MAX);
        let apart = by_wall.abs_diff(passed);
        now.at < self.deadline() && apart <= as_ms(self.margin())
    }

    fn lose(&self, why: String) {
        tracing::error!(object = self.object, why, "lease lost, the run ends");
        self.lost.send_if_modified(|lost| {
            let first = lost.is_none();
            lost.get_or_insert(why);
            first
        });
    }

    fn lost(&self) -> Option<Error> {
        let why = self.lost.borrow().clone()?;
        let what = format!("the lease on bucket {} was lost: {why}", self.bucket.name());
        let error = Error::new(Kind::Locked, what);
        Some(error.with_cure("nothing was written since; the next run goes on from here"))
    }

    fn ours(&self) -> Result<()> {
        self.lost().map_or(Ok(()), Err)
    }

    /// Renews the lease. Tries until the deadline, and once in any case: who
    /// wakes up late may find that nobody has missed him.
    ///
    /// # Errors
    /// It is lost.
    pub async fn renew(&self, only_if_due: bool) -> Result<()> {
        let mut written = self.written.lock().await;
        self.ours()?;
        if only_if_due && self.is_fresh() {
            return Ok(());
        }
        loop {
            let failed = match self.renew_once(&mut written).await {
                Ok(Renewal::Done) => return Ok(()),
                Ok(Renewal::Failed(why)) => why,
                Err(taken) => {
                    self.lose(taken);
                    return self.ours();
                }
            };
            tracing::warn!(
                object = self.object,
                error = failed,
                "lease could not be renewed"
            );
            if Instant::now() + self.pause() >= self.deadline() {
                self.lose(format!("it could not be renewed in time: {failed}"));
                return self.ours();
            }
            sleep(self.pause()).await;
        }
    }

    /// `Err` says who has it now.
    async fn renew_once(
        &self,
        written: &mut (Record, Version),
    ) -> std::result::Result<Renewal, String> {
        let start = self.now();
        let next = written.0.renewed(start.wall_ms);
        let put = self
            .bucket
            .put_if_match(&self.object, next.to_json(), &written.1);
        match timeout(self.patience(), put).await {
            Ok(Ok(Some(version))) => {
                *written = (next, version);
                self.confirm(start);
                Ok(Renewal::Done)
            }
            Ok(Ok(None)) => self.reread(written).await,
            Ok(Err(error)) => Ok(Renewal::Failed(error.summary())),
            Err(_) => Ok(Renewal::Failed("no answer in time".to_owned())),
        }
    }

    /// The object is of another version than we know: by a write of ours whose
    /// answer was lost, or by somebody else.
    async fn reread(
        &self,
        written: &mut (Record, Version),
    ) -> std::result::Result<Renewal, String> {
        let get = self.bucket.get_versioned(&self.object, MAX_BYTES);
        let found = match timeout(self.patience(), get).await {
            Ok(Ok(found)) => found,
            Ok(Err(error)) => return Ok(Renewal::Failed(error.summary())),
            Err(_) => return Ok(Renewal::Failed("no answer in time".to_owned())),
        };
        let Some(found) = found else {
            return Err("its object is gone".to_owned());
        };
        let record = Record::parse(&written.0.part, &found.body, as_ms(self.duration));
        if !record.is_of(&self.holder) {
            return Err(format!("it is held by {}", record.describe()));
        }
        *written = (record, found.version);
        Ok(Renewal::Failed(
            "the answer to an earlier request was lost".to_owned(),
        ))
    }

    /// Gives the lease back. Whoever comes next takes it at once; if this
    /// fails, after a while.
    pub async fn release(&self) {
        if self.lost.borrow().is_some() {
            return;
        }
        let mut written = self.written.lock().await;
        // Twice, should an earlier renewal have arrived without our knowing.
        for _ in 0..2 {
            let body = written.0.released(self.clock.now_ms()).to_json();
            let put = self.bucket.put_if_match(&self.object, body, &written.1);
            let failed = match timeout(self.patience(), put).await {
                Ok(Ok(Some(_))) => return,
                Ok(Ok(None)) => match self.reread(&mut written).await {
                    Ok(_) => continue,
                    // Given back by a request whose answer was lost, or not ours.
                    Err(_) => return,
                },
                Ok(Err(error)) => error.summary(),
                Err(_) => "no answer in time".to_owned(),
            };
            let object = &self.object;
            tracing::warn!(
                object,
                error = failed,
                "lease not given back, it has to run out"
            );
            return;
        }
    }
}

impl Lease {
    /// For runs that go without: every check passes.
    #[must_use]
    pub fn none() -> Self {
        Self(None)
    }

    pub(super) fn of(shared: Arc<Shared>) -> Self {
        Self(Some(shared))
    }

    /// Whether there is one, lost or not.
    #[must_use]
    pub fn is_some(&self) -> bool {
        self.0.is_some()
    }

    /// Token of the holder, if there is a lease.
    #[must_use]
    pub fn token(&self) -> Option<&str> {
        self.0.as_ref().map(|shared| shared.holder.token.as_str())
    }

    /// Who holds it and on what, if there is a lease.
    #[must_use]
    pub fn who(&self) -> Option<(&Holder, &Part)> {
        let shared = self.0.as_ref()?;
        Some((&shared.holder, &shared.part))
    }

    /// Whether somebody else may be at work by now. Costs nothing.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.error().is_some()
    }

    /// The reason, once it is lost.
    #[must_use]
    pub fn error(&self) -> Option<Error> {
        self.0.as_ref()?.lost()
    }

    /// Ends once the lease is lost; never if there is none.
    pub async fn lost(&self) {
        if let Some(shared) = &self.0 {
            let mut lost = shared.lost.subscribe();
            // The sender lives as long as `shared`.
            if lost.wait_for(Option::is_some).await.is_ok() {
                return;
            }
        }
        std::future::pending::<()>().await;
    }

    /// Makes sure that the lease is still ours. Asks the bucket only where time
    /// itself is in doubt.
    ///
    /// # Errors
    /// [`Kind::Locked`]: it is lost.
    pub async fn check(&self) -> Result<()> {
        let Some(shared) = &self.0 else {
            return Ok(());
        };
        shared.ours()?;
        if shared.is_fresh() {
            return Ok(());
        }
        shared.renew(true).await
    }

    /// Does something that only the holder may do: not begun unless the lease is
    /// ours, and given up when its time is over. Time is looked at before each
    /// step, so that a process which was stopped in the middle does not go on.
    ///
    /// # Errors
    /// [`Kind::Locked`], after which it may be done or not, and those of `act`.
    pub async fn within<T, E: Into<Error>>(
        &self,
        act: impl Future<Output = std::result::Result<T, E>>,
    ) -> Result<T> {
        let Some(shared) = &self.0 else {
            return act.await.map_err(Into::into);
        };
        self.check().await?;
        let mut act = pin!(act);
        let mut alarm = pin!(sleep_until(shared.deadline()));
        let ended = std::future::poll_fn(|cx| {
            loop {
                let deadline = shared.deadline();
                if Instant::now() >= deadline || shared.lost.borrow().is_some() {
                    return Poll::Ready(None);
                }
                if alarm.deadline() != deadline {
                    alarm.as_mut().reset(deadline);
                }
                if alarm.poll_unpin(cx).is_pending() {
                    return act.as_mut().poll(cx).map(Some);
                }
            }
        });
        match ended.await {
            Some(done) => done.map_err(Into::into),
            None => {
                // What was under way is dropped, and with it its request.
                shared.ours()?;
                let what = "a request took longer than the lease";
                Err(Error::new(Kind::Locked, what)
                    .with_cure("check the store's load, or give a longer --lease-duration"))
            }
        }
    }
}

impl std::fmt::Debug for Lease {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let object = self.0.as_ref().map(|shared| &shared.object);
        f.debug_tuple("Lease").field(&object).finish()
    }
}
