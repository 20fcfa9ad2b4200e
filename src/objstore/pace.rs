//! How many requests per second a store gets, once it has asked for fewer.
//!
//! ```text
//!  requests/s
//!    no limit |\                               limit lifted: no refusal up to
//!             | \ half of what was asked       twice the rate that was refused,
//!             |  \___                          or none at all for a minute
//!             |      \__    __/|   __/
//!             |         \__/   |__/            one step more after each second
//!             '-------------------------> t    without a refusal
//! ```
//!
//! One [`Pacer`] belongs to a bucket; all its handles, readers and writers share
//! it, so that a refusal of one slows down all. A refusal is HTTP 429 or 503.
//!
//! - Without a refusal nothing waits, and a request costs two atomic additions.
//! - However many requests are refused within [`INTERVAL`], the rate is halved
//!   once: they all were asked for before anybody knew.
//! - The rate rises only while it is made use of: a rate that nobody has tried
//!   says nothing about the store.
//! - A store that names a time (`Retry-After`) is left alone until then, at most
//!   [`LONGEST_REST`].

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// The rate is halved at most once, and raised at most once, in this time.
pub(super) const INTERVAL: Duration = Duration::from_secs(1);
/// A limit never falls below, requests per second: a store that refuses all of
/// them is still asked.
pub(super) const LEAST_RATE: f64 = 1.0;
/// A rate that was refused is reached again in so many steps from its half.
const STEPS: f64 = 10.0;
/// The limit is lifted where it reaches so many times the rate that was refused.
const LIFTED: f64 = 2.0;
/// The limit is lifted after this time without a refusal.
const FORGOTTEN: Duration = Duration::from_secs(60);
/// Longest wait that a store can ask for.
const LONGEST_REST: Duration = Duration::from_secs(60);

/// See [`crate::objstore::pace`].
#[derive(Debug)]
pub(super) struct Pacer {
    /// Whether `pace` has a limit; read without the lock.
    limited: AtomicBool,
    least_rate: f64,
    begun: Instant,
    /// The second since `begun` that `asked` counts, and the requests before it.
    second: AtomicU64,
    asked: AtomicU64,
    asked_before: AtomicU64,
    pace: Mutex<Pace>,
}

#[derive(Debug)]
struct Pace {
    /// Requests per second.
    rate: f64,
    /// What the rate was when it was last refused.
    refused_at: f64,
    last_cut: Option<Instant>,
    last_rise: Instant,
    /// Requests let through since `last_rise`.
    used: f64,
    /// When the next request may begin.
    next: Instant,
    /// Nothing begins before, whatever the rate.
    rest_until: Instant,
}

impl Default for Pacer {
    fn default() -> Self {
        Self::new(LEAST_RATE)
    }
}

impl Pacer {
    /// No limit yet; one never falls below `least_rate` requests per second.
    pub fn new(least_rate: f64) -> Self {
        let now = Instant::now();
        Self {
            limited: AtomicBool::new(false),
            least_rate: least_rate.max(LEAST_RATE),
            begun: now,
            second: AtomicU64::new(0),
            asked: AtomicU64::new(0),
            asked_before: AtomicU64::new(0),
            pace: Mutex::new(Pace {
                rate: f64::INFINITY,
                refused_at: f64::INFINITY,
                last_cut: None,
                last_rise: now,
                used: 0.0,
                next: now,
                rest_until: now,
            }),
        }
    }

    /// Waits until a request may begin: not at all without a limit.
    pub async fn admit(&self) {
        self.count();
        while self.limited.load(Ordering::Relaxed) {
            let Some(at) = self.place() else {
                return;
            };
            sleep_until(at).await;
            // The store may have asked for a rest meanwhile.
            if self.lock().rest_until <= Instant::now() {
                return;
            }
        }
    }

    /// The store has refused a request; `rest` is how long it wants to be left
    /// alone, if it says so.
    pub fn refused(&self, rest: Option<Duration>) {
        let now = Instant::now();
        let measured = self.measured(now);
        let mut pace = self.lock();
        if let Some(rest) = rest {
            let until = now + rest.min(LONGEST_REST);
            pace.rest_until = pace.rest_until.max(until);
        }
        let fresh = pace
            .last_cut
            .is_none_or(|cut| now.duration_since(cut) >= INTERVAL);
        if fresh {
            // A limit that is not reached is not what the store refused.
            let was = if self.limited.load(Ordering::Relaxed) {
                pace.rate.min(measured.max(self.least_rate))
            } else {
                measured
            };
            pace.refused_at = was.max(self.least_rate);
            pace.rate = (was / 2.0).max(self.least_rate);
            pace.last_cut = Some(now);
            pace.next = now;
            tracing::debug!(
                requests_per_second = pace.rate,
                "the store refuses requests; they come more slowly now"
            );
        }
        pace.last_rise = now;
        pace.used = 0.0;
        self.limited.store(true, Ordering::Relaxed);
    }

    /// A request was answered; with a limit, it may rise.
    pub fn answered(&self) {
        if !self.limited.load(Ordering::Relaxed) {
            return;
        }
        let now = Instant::now();
        let mut pace = self.lock();
        let quiet = now.duration_since(pace.last_rise);
        if quiet < INTERVAL {
            return;
        }
        let possible = pace.rate * quiet.as_secs_f64();
        if pace.used >= possible / 2.0 {
            pace.rate += (pace.refused_at / 2.0 / STEPS).max(LEAST_RATE / 2.0);
            pace.last_rise = now;
            pace.used = 0.0;
        }
        let forgotten = pace
            .last_cut
            .is_none_or(|cut| now.duration_since(cut) >= FORGOTTEN);
        if forgotten || pace.rate >= pace.refused_at * LIFTED {
            self.limited.store(false, Ordering::Relaxed);
            tracing::debug!("the store takes all requests again");
        }
    }

    /// Requests per second at the moment; `None` without a limit.
    #[cfg(test)]
    pub fn rate(&self) -> Option<f64> {
        let limited = self.limited.load(Ordering::Relaxed);
        limited.then(|| self.lock().rate)
    }

    /// Takes the next place in the queue; `None` if the limit was lifted.
    fn place(&self) -> Option<Instant> {
        let mut pace = self.lock();
        if !self.limited.load(Ordering::Relaxed) {
            return None;
        }
        let at = pace.next.max(Instant::now()).max(pace.rest_until);
        pace.next = at + Duration::from_secs_f64(1.0 / pace.rate.max(self.least_rate));
        pace.used += 1.0;
        Some(at)
    }

    /// Counts a request in its second. Two threads at the turn of a second may
    /// lose one of them: it is a measurement, nothing depends on it exactly.
    fn count(&self) {
        let second = self.begun.elapsed().as_secs();
        let counted = self.second.load(Ordering::Relaxed);
        if counted != second {
            let asked = self.asked.swap(0, Ordering::Relaxed);
            let before = if counted + 1 == second { asked } else { 0 };
            self.asked_before.store(before, Ordering::Relaxed);
            self.second.store(second, Ordering::Relaxed);
        }
        self.asked.fetch_add(1, Ordering::Relaxed);
    }

    /// Requests per second of late: those of the second under way, or of the
    /// one before it.
    fn measured(&self, now: Instant) -> f64 {
        let second = now.duration_since(self.begun).as_secs();
        let asked = self.asked.load(Ordering::Relaxed);
        let before = self.asked_before.load(Ordering::Relaxed);
        let lately = match second.saturating_sub(self.second.load(Ordering::Relaxed)) {
            0 => asked.max(before),
            1 => asked,
            _ => 0,
        };
        lately as f64
    }

    fn lock(&self) -> MutexGuard<'_, Pace> {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[path = "pace_tests.rs"]
mod tests;
