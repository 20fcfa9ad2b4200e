//! Repeating requests: which failures, how often, after which pause.
//!
//! ```text
//!  request --failed--> may it pass? --no--> the error as it is
//!                          |
//!                          '-yes-> tries left? time left? budget left?
//!                                     |no                  |yes
//!                                  [GaveUp]        pause, pace, again
//! ```
//!
//! - What may pass: no connection, a connection that breaks, an answer that does
//!   not come in time or not whole, 429, 5xx but "not implemented".
//! - A pause is drawn evenly from nothing up to a bound that doubles with each
//!   try, so that clients which failed together do not come back together.
//! - The **budget** belongs to the bucket: each request pays a share of a repeat
//!   into it, up to a bound, and each repeat costs one. So a store that fails
//!   now and then is asked again as often as it takes, and one that fails always
//!   is not asked several times as much as when it is well.
//! - A request that must not take effect twice ([`Effect::Once`]) is repeated
//!   only where it surely had none: no connection, or a refusal.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use object_store::Result as StoreResult;
use tokio::time::{Instant, sleep};

use super::clues::Passing;
use super::counting::{Counters, Tally};
use super::error::Scene;
use super::pace::{LEAST_RATE, Pacer};

/// How patient a bucket is with its store.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Patience {
    /// Repeats of one request.
    pub retries: usize,
    /// No repeat begins later than this after the first try.
    pub window: Duration,
    /// Bound of the pause before the first repeat; doubles with each one.
    pub pause: Duration,
    /// Largest bound of a pause.
    pub longest_pause: Duration,
    /// Repeats that the budget holds at most, and at the start.
    pub budget: u32,
    /// Percent of a repeat that each request adds to the budget.
    pub budget_percent: u32,
    /// A store that refuses requests gets no fewer per second, at least 1.
    pub least_rate: f64,
}

impl Default for Patience {
    /// Ten repeats within three minutes: about half a minute of pauses. The
    /// budget holds 500 repeats and gains one with every five requests.
    fn default() -> Self {
        Self {
            retries: 10,
            window: Duration::from_secs(180),
            pause: Duration::from_millis(100),
            longest_pause: Duration::from_secs(15),
            budget: 500,
            budget_percent: 20,
            least_rate: LEAST_RATE,
        }
    }
}

/// What a request does when it is repeated after it has worked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    /// The same again.
    Any,
    /// Something else: it depends on what it finds.
    Once,
}

/// What the repeats of one bucket share.
#[derive(Debug)]
pub(super) struct Retries {
    patience: Patience,
    scene: Arc<Scene>,
    counters: Arc<Counters>,
    pacer: Arc<Pacer>,
    /// The pacer is asked here; else the connection below does that.
    paces: bool,
    /// Hundredths of a repeat.
    budget: AtomicI64,
    /// State of the pauses' chance.
    chance: AtomicU64,
}

/// A repeat, in the unit of the budget.
const REPEAT: i64 = 100;

impl Retries {
    /// `pacer` is asked before each try if `paces`.
    pub fn new(
        patience: Patience,
        scene: Arc<Scene>,
        counters: Arc<Counters>,
        pacer: Arc<Pacer>,
        paces: bool,
    ) -> Arc<Self> {
        Arc::new(Self {
            budget: AtomicI64::new(i64::from(patience.budget) * REPEAT),
            patience,
            scene,
            counters,
            pacer,
            paces,
            chance: AtomicU64::new(RandomState::new().hash_one(0)),
        })
    }

    /// Asks until there is an answer, or an error that stays. `what` is for the
    /// error: "GET of bytes 0-99".
    pub async fn ask<T, F: Future<Output = StoreResult<T>>>(
        self: &Arc<Self>,
        what: Asked,
        effect: Effect,
        mut request: impl FnMut() -> F,
    ) -> StoreResult<T> {
        let mut tries = self.begin(what).await;
        loop {
            match request().await {
                Ok(answer) => {
                    tries.worked();
                    return Ok(answer);
                }
                Err(error) => tries.failed(error, effect).await?,
            }
        }
    }

    /// Begins the first try of a request.
    pub async fn begin(self: &Arc<Self>, what: Asked) -> Tries {
        self.pay_in();
        self.admit().await;
        Tries {
            shared: Arc::clone(self),
            what,
            failed: 0,
            begun: Instant::now(),
            doubt: false,
        }
    }

    async fn admit(&self) {
        if self.paces {
            self.pacer.admit().await;
        }
    }

    fn pay_in(&self) {
        let most = i64::from(self.patience.budget) * REPEAT;
        let share = i64::from(self.patience.budget_percent);
        // Full most of the time: then nothing is written.
        if self.budget.load(Ordering::Relaxed) < most {
            let paid = |left: i64| Some((left + share).min(most));
            let _ = self
                .budget
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, paid);
        }
    }

    fn take(&self) -> bool {
        let taken = |left: i64| (left >= REPEAT).then(|| left - REPEAT);
        self.budget
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, taken)
            .is_ok()
    }

    /// A pause before repeat number `repeat`, from 1: even between nothing and
    /// its bound.
    fn pause(&self, repeat: usize) -> Duration {
        let doublings = u32::try_from(repeat.saturating_sub(1)).unwrap_or(u32::MAX);
        let bound = self
            .patience
            .pause
            .saturating_mul(2_u32.saturating_pow(doublings))
            .min(self.patience.longest_pause);
        // SplitMix64: a counter, scrambled.
        let mut x = self
            .chance
            .fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^= x >> 31;
        bound.mul_f64((x >> 11) as f64 / (1_u64 << 53) as f64)
    }

    #[cfg(test)]
    pub fn left(&self) -> i64 {
        self.budget.load(Ordering::Relaxed) / REPEAT
    }
}

/// What was asked for, in words for an error.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    /// The operation: "GET", "part of an upload".
    pub what: &'static str,
    /// First and last byte, of a range.
    pub range: Option<(u64, u64)>,
}

impl Asked {
    pub fn plain(what: &'static str) -> Self {
        Self { what, range: None }
    }
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.range {
            None => f.write_str(self.what),
            Some((first, last)) => write!(f, "{} of bytes {first}-{last}", self.what),
        }
    }
}

/// The tries of one request.
#[derive(Debug)]
pub(super) struct Tries {
    shared: Arc<Retries>,
    what: Asked,
    failed: usize,
    begun: Instant,
    doubt: bool,
}

impl Tries {
    /// The store has answered.
    pub fn worked(&self) {
        self.shared.pacer.answered();
    }

    /// Whether a try failed that may have worked: its answer was lost.
    pub fn in_doubt(&self) -> bool {
        self.doubt
    }

    /// Whether another try may end otherwise.
    pub fn may_pass(&self, error: &object_store::Error) -> bool {
        self.shared.scene.passing(error) != Passing::Never
    }

    /// Ends when it is time for the next try.
    ///
    /// # Errors
    /// `error`, if there is none; with what was tried, if that was in vain.
    pub async fn failed(&mut self, error: object_store::Error, effect: Effect) -> StoreResult<()> {
        let shared = Arc::clone(&self.shared);
        let passing = shared.scene.passing(&error);
        if passing == Passing::Refused {
            shared.counters.tally(Tally::Throttled);
            shared.pacer.refused(None);
        }
        let repeats = match passing {
            Passing::Never => false,
            Passing::Refused | Passing::Unsent => true,
            Passing::Lost => {
                self.doubt = true;
                effect == Effect::Any
            }
        };
        if !repeats || shared.patience.retries == 0 {
            return Err(error);
        }
        self.failed += 1;
        let pause = shared.pause(self.failed);
        let elapsed = self.begun.elapsed();
        let why = if self.failed > shared.patience.retries {
            "all tries are used up"
        } else if elapsed + pause > shared.patience.window {
            "the time for it is over"
        } else if !shared.take() {
            "too many requests failed of late to repeat more of them"
        } else {
            shared.counters.tally(Tally::Repeated);
            tracing::debug!(
                request = %self.what, failed = self.failed, pause_ms = pause.as_millis(),
                "a request failed and is repeated"
            );
            sleep(pause).await;
            shared.admit().await;
            return Ok(());
        };
        Err(GaveUp::wrap(self.what, self.failed, elapsed, why, error))
    }
}

/// An error after repeats, with what was tried.
#[derive(Debug, thiserror::Error)]
#[error("{asked} tried {tries} times in {seconds:.1} s; {why}")]
pub(super) struct GaveUp {
    asked: Asked,
    tries: usize,
    seconds: f64,
    why: &'static str,
    /// What the last try failed with.
    #[source]
    pub last: object_store::Error,
}

impl GaveUp {
    fn wrap(
        asked: Asked,
        tries: usize,
        elapsed: Duration,
        why: &'static str,
        last: object_store::Error,
    ) -> object_store::Error {
        object_store::Error::Generic {
            store: "S3",
            source: Box::new(Self {
                asked,
                tries,
                seconds: elapsed.as_secs_f64(),
                why,
                last,
            }),
        }
    }
}

#[cfg(test)]
#[path = "retry_tests.rs"]
mod tests;
