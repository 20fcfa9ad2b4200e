//! The driver: looks, plans, does, looks again, until there is nothing to do.
//!
//! ```text
//!      +--> sync ------> plan --+--> compaction      jobs --+
//!      |    LIST, GET    pure   +--> downsampling    jobs --+--> until no job
//!      |    meta, marks         +--> retention   marks, removals     is due
//!      |                        +--> cleanup     removals   |
//!      +----------------------------------------------------+
//! ```
//!
//! A **lane** is one of the four kinds of work on the right; they go on side by
//! side. A **chore** is a mark or a removal, everything but a job.
//!
//! - [`sync`] turns a listing into a [`crate::plan::view::BucketView`]; [`cache`]
//!   keeps what it has read for the next process.
//! - [`job`] runs one compaction: merge, upload, verify, mark.
//! - `look` asks just before a result becomes visible whether it is still
//!   wanted; `upkeep` does chores, `delete` removes folders, in the order that
//!   readers need.
//! - [`quarantine`] finds out whether a block is damaged, and marks it if so.
//! - [`run`] is one run, `lanes` directs its lanes, `given_up` knows what is not
//!   tried again; [`report`] is what it tells at the end, [`keep`] puts that into
//!   the bucket, [`document`] those of several buckets into one document,
//!   [`savings`] computes what was saved. `budget` is what jobs share.
//!
//! - [`lease`] keeps a second run off, [`intents`] says what jobs are about to
//!   make, so that the next run knows what a dead one has left.
//!
//! Invariants:
//!
//! - CO-1: only what stands in a [`crate::plan::Plan`] is done.
//! - CO-2: an error in one job stops that job, nothing else. A block that is to
//!   blame is read once more and, if it is damaged, put into quarantine, and its
//!   stream goes on without it. Where that cannot be, it counts as damaged for
//!   the rest of the run: its windows wait, the others of its stream go on.
//! - CO-3: a group that failed without a block to blame is not tried again in
//!   the same run.
//! - CO-4: a block is marked as damaged only after a fresh read, alone, has
//!   found it so, and no more blocks than allowed are marked in one run.
//! - CO-5: no lane waits for another: whatever fails or hangs in one, the others
//!   come to their end.

mod budget;
pub mod cache;
mod check;
pub mod clusters;
mod delete;
pub mod document;
mod findings;
mod given_up;
pub mod intents;
pub mod job;
pub mod keep;
mod lanes;
pub mod lease;
mod look;
mod mark;
pub mod quarantine;
pub mod report;
mod result;
pub mod run;
pub mod sample;
pub mod savings;
mod scratch;
pub mod sync;
mod upkeep;

pub use run::{Compactor, Options};
