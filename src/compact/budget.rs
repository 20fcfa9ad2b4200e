//! What all jobs of a run share: memory, and room in scratch.
//!
//! A job waits until the memory and the scratch that the plan predicts for it
//! are free, in the order in which jobs came. Its buffers and tables are then
//! made to fit, see [`crate::plan::memory`]; scratch is counted as it is
//! written, so a wrong prediction ends in a clear error and not in a full disk.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::{Error, Kind, Result};
use crate::plan::Job;
use crate::plan::cost::Machine;
use crate::plan::memory::{BASE_BYTES, LEAST_BYTES};

/// Unit of the waiting queues, bytes; so terabytes fit into their counters.
const UNIT: u64 = 1 << 20;

/// Memory and scratch of a run.
#[derive(Debug, Clone)]
pub(super) struct Budget {
    memory: Queue,
    scratch: Queue,
    space: Arc<Space>,
}

/// What a job holds while it runs.
#[derive(Debug)]
pub(super) struct Grant {
    _memory: OwnedSemaphorePermit,
    _scratch: OwnedSemaphorePermit,
}

impl Budget {
    /// The memory of the whole process and the scratch of all jobs: what the
    /// plan was made for.
    pub fn new(machine: &Machine) -> Self {
        let scratch = machine.scratch_bytes;
        Self {
            memory: Queue::new(machine.memory_bytes.max(LEAST_BYTES) - BASE_BYTES),
            scratch: Queue::new(scratch),
            space: Arc::new(Space {
                limit: scratch,
                used: AtomicU64::new(0),
            }),
        }
    }

    /// Waits until a job may start.
    ///
    /// # Errors
    /// [`Kind::Config`] if the job can never fit into scratch.
    pub async fn admit(&self, job: &Job) -> Result<Grant> {
        let cost = &job.cost;
        let (least, most) = cost.scratch_bytes;
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
        self.take(cost.memory_bytes.saturating_sub(BASE_BYTES), most)
            .await
    }

    /// Waits for so many bytes of memory and scratch, or for all there are.
    ///
    /// # Errors
    /// Never in practice: budgets stay open.
    pub async fn take(&self, memory: u64, scratch: u64) -> Result<Grant> {
        Ok(Grant {
            _memory: self.memory.take(memory).await?,
            _scratch: self.scratch.take(scratch).await?,
        })
    }

    /// Where the files of jobs are counted.
    pub fn space(&self) -> &Arc<Space> {
        &self.space
    }
}

/// Bytes that are handed out first come, first served.
#[derive(Debug, Clone)]
struct Queue {
    units: u32,
    permits: Arc<Semaphore>,
}

impl Queue {
    fn new(bytes: u64) -> Self {
        let units = u32::try_from(bytes / UNIT).unwrap_or(u32::MAX);
        // The semaphore has an upper limit of its own.
        let units = units.clamp(1, u32::MAX >> 4);
        Self {
            units,
            permits: Arc::new(Semaphore::new(units as usize)),
        }
    }

    /// Waits for so many bytes, or for all there are.
    async fn take(&self, bytes: u64) -> Result<OwnedSemaphorePermit> {
        let wanted = u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX);
        let wanted = wanted.clamp(1, self.units);
        Arc::clone(&self.permits)
            .acquire_many_owned(wanted)
            .await
            .map_err(|e| Error::new(Kind::Internal, "a budget was closed").with_source(e))
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

    #[tokio::test]
    async fn jobs_wait_for_what_others_hold() {
        let queue = Queue::new(10 * UNIT);
        let first = queue.take(6 * UNIT).await.unwrap();
        let waits = queue.take(5 * UNIT);
        let mut waits = std::pin::pin!(waits);
        assert!(futures::poll!(waits.as_mut()).is_pending());
        drop(first);
        assert!(futures::poll!(waits).is_ready());
        // More than there is: all of it.
        let all = queue.take(1 << 50).await.unwrap();
        assert_eq!(all.num_permits(), 10);
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
