//! The driver: looks, plans, does, looks again, until there is nothing to do.
//!
//! ```text
//!      +--> sync ------> plan ------> execute ------+
//!      |    LIST, GET    pure         deletions,    |
//!      |    meta, marks               marks, jobs   |
//!      +--------------------------------------------+   until no job is due
//!                                     then uploads that were given up
//! ```
//!
//! - [`sync`] turns a listing into a [`crate::plan::view::BucketView`].
//! - [`job`] runs one compaction: merge, upload, verify, mark.
//! - `look` asks just before a result becomes visible whether it is still
//!   wanted; `delete` removes blocks, in the order that readers need.
//! - [`quarantine`] finds out whether a block is damaged, and marks it if so.
//! - [`run`] is the loop; [`report`] what it tells at the end, [`keep`] puts that
//!   into the bucket. `budget` is what jobs share.
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

mod budget;
mod check;
pub mod clusters;
mod delete;
mod given_up;
pub mod job;
pub mod keep;
mod lanes;
mod look;
mod mark;
pub mod quarantine;
pub mod report;
mod result;
pub mod run;
pub mod sample;
mod scratch;
pub mod sync;
mod upkeep;

pub use run::{Compactor, Options};
