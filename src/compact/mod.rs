//! The driver: looks, plans, does, looks again, until there is nothing to do.
//!
//! ```text
//!      +--> sync ------> plan ------> execute ------+
//!      |    LIST, GET    pure         jobs in       |
//!      |    meta, marks               parallel      |
//!      +--------------------------------------------+   until the plan is empty
//! ```
//!
//! - [`sync`] turns a listing into a [`crate::plan::view::BucketView`].
//! - [`job`] runs one compaction: merge, upload, verify, mark.
//! - [`run`] is the loop; [`report`] what it tells at the end.
//!
//! Invariants:
//!
//! - CO-1: only what stands in a [`crate::plan::Plan`] is done.
//! - CO-2: an error in one job stops that job and its group, nothing else.
//! - CO-3: a group that failed is not tried again in the same run.

mod check;
pub mod job;
mod mark;
pub mod report;
mod result;
pub mod run;
mod scratch;
pub mod sync;

pub use run::{Compactor, Options};
