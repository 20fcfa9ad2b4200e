//! Wall clock, stop watch and block names.

use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ulid::Ulid;

/// Where time and block names come from.
pub trait Clock: Send + Sync {
    /// Milliseconds since the epoch.
    fn now_ms(&self) -> i64;
    /// A new block name for this moment.
    fn new_ulid(&self) -> Ulid;
}

/// The machine's clock and its source of chance.
#[derive(Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads the clock"
    )]
    fn now_ms(&self) -> i64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        i64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(i64::MAX)
    }

    #[expect(clippy::disallowed_methods, reason = "the one place that draws names")]
    fn new_ulid(&self) -> Ulid {
        Ulid::generate()
    }
}

/// A clock for tests: stands still, counts names up.
#[derive(Debug)]
pub struct FixedClock {
    now_ms: i64,
    names: Mutex<u128>,
}

impl FixedClock {
    /// A clock that always shows `now_ms` (milliseconds since the epoch).
    pub fn at(now_ms: i64) -> Self {
        Self {
            now_ms,
            names: Mutex::new(0),
        }
    }
}

impl Clock for FixedClock {
    fn now_ms(&self) -> i64 {
        self.now_ms
    }

    fn new_ulid(&self) -> Ulid {
        let mut names = self
            .names
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        *names += 1;
        Ulid::from_parts(u64::try_from(self.now_ms).unwrap_or(0), *names)
    }
}

/// Measures how long something takes; results never depend on it.
#[derive(Debug, Clone, Copy)]
pub struct StopWatch(Instant);

impl StopWatch {
    /// Starts to measure.
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads the clock"
    )]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Time since the start.
    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}
