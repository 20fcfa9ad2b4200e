//! How a job divides the memory that it may take.
//!
//! ```text
//!  budget of the run = base of the process + jobs side by side
//!  jobs of one lane <= 3/4, if those of another may run beside them
//!  a job = read-ahead | upload parts | batches | tables
//!          <= 1/4       <= 1/4         <= 1/8    what is needed, at most the rest
//! ```
//!
//! So that no lane waits for another, the last quarter is for the lane that
//! came second: a job of it that would need more is made to fit
//! ([`JobMemory::within`]).
//!
//! Read-ahead, parts and batches shrink with the budget and cost speed; tables
//! (symbols, maps, postings) past their share go to scratch. So a budget of
//! [`LEAST_BYTES`] is enough for any job, but for 12 bytes per series and 8 per
//! label pair of the result, and the chunks of one series for each core; where a
//! series with stale markers or histograms is downsampled, 16 bytes for each of
//! its samples, too.

use super::cost::Machine;

/// What the process takes without a job: code, runtime, stacks, listing. Bytes.
pub const BASE_BYTES: u64 = 32 << 20;

/// The least budget that a run can be given, bytes.
pub const LEAST_BYTES: u64 = 128 << 20;

/// Chunks of a batch, unless memory is short, bytes.
const BATCH: u64 = 1 << 20;

/// A batch with its result, in terms of the chunks that it was made of.
const BATCH_GROWTH: u64 = 3;

/// What a job may hold of each kind, bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct JobMemory {
    /// All windows of all sources, those that batches still look at included.
    pub read_ahead: u64,
    /// One part of an upload.
    pub part: u64,
    /// Parts of one object on their way; one more is being filled.
    pub parts_in_flight: u64,
    /// Objects that are being uploaded: a segment of each block.
    pub uploads: u64,
    /// Chunks of one batch.
    pub batch: u64,
    /// Batches being filled, in work, waiting or being written.
    pub batches: u64,
    /// Symbols, maps and postings.
    pub tables: u64,
}

/// What is known of a job before it starts, bytes.
#[derive(Debug, Clone, Copy)]
pub struct JobSizes {
    /// Index and segments of the sources.
    pub bytes_in: u64,
    /// Indexes of the sources.
    pub index_bytes_in: u64,
    /// Index and segments of all results, at most.
    pub bytes_out: u64,
    /// Blocks that are made at the same time.
    pub blocks_out: u64,
}

impl JobSizes {
    /// What symbols, maps and postings take if all stay in memory.
    ///
    /// Half of what the indexes take was measured; about half of that are
    /// postings, which every block has.
    fn tables(&self) -> u64 {
        let one = self.index_bytes_in / 4;
        one + one.saturating_mul(self.blocks_out.max(1))
    }
}

/// What all jobs together may take, bytes.
pub fn of_all_jobs(machine: &Machine) -> u64 {
    machine.memory_bytes.max(LEAST_BYTES) - BASE_BYTES
}

/// What jobs of one lane may not take of `all`, so that another lane always
/// finds it; bytes.
pub fn reserve(machine: &Machine, all: u64) -> u64 {
    if machine.two_lanes { all / 4 } else { 0 }
}

impl JobMemory {
    /// The shares of a job.
    pub fn of(machine: &Machine, sizes: JobSizes) -> Self {
        let all = of_all_jobs(machine);
        Self::within(all - reserve(machine, all), machine, sizes)
    }

    /// The shares of a job that gets `budget` bytes.
    pub fn within(budget: u64, machine: &Machine, sizes: JobSizes) -> Self {
        let read_ahead = (budget / 4)
            .min(machine.most_read_ahead_bytes)
            .min(2 * sizes.bytes_in);
        let uploads = sizes.blocks_out.max(1);
        let least_part = machine.least_part_bytes;
        let part = machine
            .part_bytes
            .min((budget / 8 / uploads).max(least_part));
        let parts = budget / 4 / part.max(1) / uploads;
        // Several objects at the same time keep a network busy together.
        let most = if uploads > 1 { 2 } else { 4 };
        let parts_in_flight = parts.saturating_sub(1).clamp(1, most);
        let batches = 2 * machine.threads as u64 + 2;
        let batch = (budget / 8 / (BATCH_GROWTH * batches)).clamp(16 << 10, BATCH);
        let mut shares = Self {
            read_ahead,
            part,
            parts_in_flight,
            uploads,
            batch,
            batches,
            tables: 0,
        };
        let rest = budget.saturating_sub(shares.total(&sizes));
        shares.tables = sizes.tables().clamp(1 << 20, rest.max(1 << 20));
        shares
    }

    /// All of it together.
    pub fn total(&self, sizes: &JobSizes) -> u64 {
        let upload = self.uploads * (self.parts_in_flight + 1) * self.part;
        let batches = self.batches * BATCH_GROWTH * self.batch;
        self.read_ahead
            + upload.min(sizes.bytes_out)
            + batches.min(4 * sizes.bytes_in)
            + self.tables
    }

    /// Bytes that tables put into scratch because their share is full, at most.
    pub fn spilled(&self, sizes: &JobSizes) -> u64 {
        sizes.tables().saturating_sub(self.tables)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn machine(memory_bytes: u64, threads: usize) -> Machine {
        Machine {
            memory_bytes,
            threads,
            ..Machine::default()
        }
    }

    #[test]
    fn no_job_takes_more_than_the_budget() {
        for budget in [LEAST_BYTES, 200 << 20, GIB, 64 * GIB] {
            for threads in [1, 2, 64] {
                for index_bytes_in in [0, 1 << 20, GIB, 100 * GIB] {
                    let all = budget - BASE_BYTES;
                    let sizes = JobSizes {
                        bytes_in: index_bytes_in * 20,
                        index_bytes_in,
                        bytes_out: index_bytes_in * 20,
                        blocks_out: 1,
                    };
                    let two = machine(budget, threads);
                    let alone = Machine {
                        two_lanes: false,
                        ..two.clone()
                    };
                    for (machine, most) in [(&alone, all), (&two, all - all / 4)] {
                        let shares = JobMemory::of(machine, sizes);
                        let total = shares.total(&sizes);
                        assert!(total <= most, "{budget} {threads} {shares:?}");
                        assert!(
                            shares.part >= machine.least_part_bytes && shares.batch >= 16 << 10
                        );
                        // What is kept for the other lane is enough for any job.
                        let rest = JobMemory::within(all / 4, machine, sizes);
                        assert!(rest.total(&sizes) <= all / 4, "{budget} {threads} {rest:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_small_job_asks_for_little() {
        let sizes = JobSizes {
            bytes_in: 100_000,
            index_bytes_in: 10_000,
            bytes_out: 100_000,
            blocks_out: 1,
        };
        let shares = JobMemory::of(&machine(GIB, 2), sizes);
        assert!(shares.total(&sizes) < 2 << 20);
        assert_eq!(shares.spilled(&sizes), 0);
    }

    #[test]
    fn what_tables_may_not_hold_goes_to_scratch() {
        let sizes = JobSizes {
            bytes_in: 40 * GIB,
            index_bytes_in: 4 * GIB,
            bytes_out: 40 * GIB,
            blocks_out: 1,
        };
        let shares = JobMemory::of(&machine(GIB, 2), sizes);
        assert_eq!(shares.tables + shares.spilled(&sizes), 2 * GIB);
        assert_eq!(shares.read_ahead, 128 << 20);
    }
}
