//! What all jobs of a run share: memory, and room in scratch.
//!
//! ```text
//!  all of it   |########## compaction ##########|.......|## downsampling ##|
//!              '--------- at most 3/4 ---------'
//!              what one lane holds is no more    what the other one may have
//!              than 3/4, so that the other       is what is left, at least 1/4
//!              one always finds a quarter
//! ```
//!
//! A job waits until the memory and the scratch that the plan predicts for it
//! are free, in the order in which jobs of its lane came. It waits for jobs of
//! its own lane only: where the other lane holds what it would need, it gets
//! what is left, and its buffers and tables are made to fit that, see
//! [`crate::plan::memory`]. Scratch is counted as it is written, so a wrong
//! prediction ends in a clear error and not in a full disk.

use std::borrow::Cow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use crate::error::{Error, Kind, Result};
use crate::plan::cost::Machine;
use crate::plan::memory::{self, BASE_BYTES, JobMemory};
use crate::plan::{Job, Lane};

/// Memory and scratch of a run, as jobs of one lane see them.
#[derive(Debug, Clone)]
pub(super) struct Budget {
    memory: Arc<Pool>,
    scratch: Arc<Pool>,
    space: Arc<Space>,
    machine: Arc<Machine>,
    side: Side,
}

/// What a job holds while it runs.
#[derive(Debug)]
pub(super) struct Grant {
    memory: Held,
    _scratch: Held,
}

impl Grant {
    /// What the job may take, bytes.
    pub fn memory_bytes(&self) -> u64 {
        self.memory.bytes
    }
}

impl Budget {
    /// The memory of the whole process and the scratch of all jobs: what the
    /// plan was made for. Belongs to compactions.
    pub fn new(machine: &Machine) -> Self {
        let pool = |all| Arc::new(Pool::new(all, memory::reserve(machine, all)));
        Self {
            memory: pool(memory::of_all_jobs(machine)),
            scratch: pool(machine.scratch_bytes),
            space: Arc::new(Space {
                limit: machine.scratch_bytes,
                used: AtomicU64::new(0),
            }),
            machine: Arc::new(machine.clone()),
            side: Side::of(Lane::Compaction),
        }
    }

    /// The same, for jobs of another lane.
    pub fn of(&self, lane: Lane) -> Self {
        Self {
            side: Side::of(lane),
            ..self.clone()
        }
    }

    /// Waits until a job may start. Returns the job as it is to be done: with
    /// less memory, where another lane holds what it would need.
    ///
    /// # Errors
    /// [`Kind::Config`] if the job can never fit into scratch.
    pub async fn admit<'a>(&self, job: &'a Job) -> Result<(Grant, Cow<'a, Job>)> {
        let cost = &job.cost;
        let (least, _) = cost.scratch_bytes;
        if least > self.space.limit {
            let what = format!(
                "the job needs at least {least} bytes of scratch, of which {} may be used",
                self.space.limit
            );
            return Err(Error::new(Kind::Config, what).with_cure(
                "raise --max-scratch or give a larger disk with --data-dir; \
                 a lower --compact.block-max-index-size makes smaller jobs",
            ));
        }
        let wanted = cost.memory_bytes.saturating_sub(BASE_BYTES);
        let grant = self.take(wanted, cost.scratch_bytes).await;
        let got = grant.memory_bytes();
        if got >= wanted {
            return Ok((grant, Cow::Borrowed(job)));
        }
        tracing::info!(
            wanted, got, group = %job.group, lane = self.side.lane().as_str(),
            "job gets less memory: the other lane holds the rest"
        );
        let mut fitted = job.clone();
        fitted.cost.memory = JobMemory::within(got, &self.machine, cost.sizes());
        fitted.cost.memory_bytes = BASE_BYTES + got;
        Ok((grant, Cow::Owned(fitted)))
    }

    /// Waits for `memory` bytes and for scratch, at least and at most so many
    /// bytes. Where there is less, or another lane holds it, for what there is.
    pub async fn take(&self, memory: u64, scratch: (u64, u64)) -> Grant {
        Grant {
            memory: self.memory.take(self.side, (0, memory)).await,
            _scratch: self.scratch.take(self.side, scratch).await,
        }
    }

    /// Where the files of jobs are counted.
    pub fn space(&self) -> &Arc<Space> {
        &self.space
    }
}

/// One of the two kinds of jobs.
#[derive(Debug, Clone, Copy)]
struct Side(usize);

impl Side {
    fn of(lane: Lane) -> Self {
        Self(usize::from(lane == Lane::Downsampling))
    }

    fn lane(self) -> Lane {
        [Lane::Compaction, Lane::Downsampling][self.0]
    }

    fn other(self) -> usize {
        1 - self.0
    }
}

/// Bytes that are handed out first come, first served, to two sides that never
/// wait for each other.
#[derive(Debug)]
struct Pool {
    all: u64,
    /// What one side leaves to the other.
    reserve: u64,
    /// What each side holds.
    held: Mutex<[u64; 2]>,
    /// Whose turn it is, on each side.
    turns: [tokio::sync::Mutex<()>; 2],
    freed: Notify,
}

impl Pool {
    fn new(all: u64, reserve: u64) -> Self {
        Self {
            all,
            reserve,
            held: Mutex::default(),
            turns: Default::default(),
            freed: Notify::new(),
        }
    }

    /// Waits for at least and at most so many bytes: for as many as the other
    /// side leaves. Only what is more than the other side has to leave, and
    /// needed in any case, is waited for on both sides.
    async fn take(self: &Arc<Self>, side: Side, (least, most): (u64, u64)) -> Held {
        let most = most.min(self.all);
        let least = least.min(most);
        let _turn = self.turns[side.0].lock().await;
        loop {
            let freed = self.freed.notified();
            let mut freed = std::pin::pin!(freed);
            // From here on nothing that is given back is missed.
            freed.as_mut().enable();
            if let Some(bytes) = self.try_take(side, least, most) {
                return Held {
                    pool: Arc::clone(self),
                    side,
                    bytes,
                };
            }
            freed.await;
        }
    }

    fn try_take(&self, side: Side, least: u64, most: u64) -> Option<u64> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let mine = (self.all - self.reserve).max(least);
        let room = mine.min(self.all.saturating_sub(held[side.other()]));
        let bytes = most.min(room);
        let fits = held[side.0].checked_add(bytes).is_some_and(|n| n <= room);
        if bytes < least || !fits {
            return None;
        }
        held[side.0] += bytes;
        Some(bytes)
    }
}

/// Bytes of a [`Pool`], given back when dropped.
#[derive(Debug)]
struct Held {
    pool: Arc<Pool>,
    side: Side,
    bytes: u64,
}

impl Drop for Held {
    fn drop(&mut self) {
        let held = &self.pool.held;
        held.lock().unwrap_or_else(PoisonError::into_inner)[self.side.0] -= self.bytes;
        self.pool.freed.notify_waiters();
    }
}

/// Bytes of scratch files, as they are written.
#[derive(Debug)]
pub(super) struct Space {
    limit: u64,
    used: AtomicU64,
}

impl Space {
    /// Books bytes about to be written; false if they would be too many.
    pub fn take(&self, bytes: u64) -> bool {
        let before = self.used.fetch_add(bytes, Ordering::Relaxed);
        let fits = before.saturating_add(bytes) <= self.limit;
        if !fits {
            self.give(bytes);
        }
        fits
    }

    /// Gives bytes back.
    pub fn give(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// All that may be used, bytes.
    pub fn limit(&self) -> u64 {
        self.limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Side = Side(0);
    const B: Side = Side(1);

    async fn take(pool: &Arc<Pool>, side: Side, least: u64, most: u64) -> Held {
        pool.take(side, (least, most)).await
    }

    #[tokio::test]
    async fn jobs_of_a_lane_wait_for_what_others_of_it_hold() {
        let pool = Arc::new(Pool::new(10, 0));
        let first = take(&pool, A, 0, 6).await;
        let waits = take(&pool, A, 0, 5);
        let mut waits = std::pin::pin!(waits);
        assert!(futures::poll!(waits.as_mut()).is_pending());
        // Who came later does not overtake, however little it wants.
        let later = take(&pool, A, 0, 1);
        let mut later = std::pin::pin!(later);
        assert!(futures::poll!(later.as_mut()).is_pending());
        drop(first);
        let second = waits.await;
        let third = later.await;
        assert_eq!((second.bytes, third.bytes), (5, 1));
        drop((second, third));
        // More than there is: all of it.
        assert_eq!(take(&pool, A, 0, 1 << 50).await.bytes, 10);
    }

    #[tokio::test]
    async fn a_lane_never_waits_for_the_other() {
        let pool = Arc::new(Pool::new(100, 25));
        // It holds what it can, and never gives it back.
        let _wedged = take(&pool, A, 0, 1000).await;
        assert_eq!(_wedged.bytes, 75);
        for _ in 0..3 {
            let job = take(&pool, B, 0, 60).await;
            assert_eq!(job.bytes, 25, "made to fit");
            // A second one of the same lane waits for the first.
            let next = take(&pool, B, 0, 1);
            let mut next = std::pin::pin!(next);
            assert!(futures::poll!(next.as_mut()).is_pending());
            drop(job);
            assert_eq!(next.await.bytes, 1);
        }
        // The other way round.
        drop(_wedged);
        let _wedged = take(&pool, B, 0, 60).await;
        assert_eq!(take(&pool, A, 0, 75).await.bytes, 40);
    }

    #[tokio::test]
    async fn what_is_needed_in_any_case_is_waited_for() {
        let pool = Arc::new(Pool::new(100, 25));
        let other = take(&pool, A, 0, 50).await;
        let waits = take(&pool, B, 80, 90);
        let mut waits = std::pin::pin!(waits);
        assert!(futures::poll!(waits.as_mut()).is_pending());
        drop(other);
        assert_eq!(
            waits.await.bytes,
            80,
            "more than three quarters, if it must be"
        );
    }

    #[tokio::test]
    async fn who_stops_waiting_holds_nothing() {
        let pool = Arc::new(Pool::new(10, 0));
        let first = take(&pool, A, 0, 10).await;
        {
            let waits = take(&pool, A, 0, 5);
            let mut waits = std::pin::pin!(waits);
            assert!(futures::poll!(waits.as_mut()).is_pending());
        }
        drop(first);
        assert_eq!(take(&pool, A, 0, 10).await.bytes, 10);
    }

    #[test]
    fn space_is_given_back() {
        let space = Space {
            limit: 10,
            used: AtomicU64::new(0),
        };
        assert!(space.take(6));
        assert!(!space.take(5));
        assert!(space.take(4));
        space.give(10);
        assert!(space.take(10));
    }
}
