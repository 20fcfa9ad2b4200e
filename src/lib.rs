//! Lithify compacts the Prometheus TSDB blocks of a Thanos bucket.
//!
//! # Words
//!
//! A **block** holds the samples of some hours in a folder of the bucket. A
//! **stream** is what one Prometheus (or a pair of replicas) uploads: blocks
//! with equal external labels. **Compaction** merges small blocks of a stream
//! into larger ones, up to two weeks each; where blocks overlap in time, it is
//! *vertical* and removes duplicate samples.
//!
//! # The way of the bytes
//!
//! ```text
//!  bucket --LIST--> BucketView --plan()--> Plan --execute()--> jobs
//!                                                               |
//!  index + chunks, ranged reads --> k-way merge of label streams --> batches
//!                                                                       |
//!                                      all cores: check, dedup, encode  |
//!                                                                       v
//!  marks on the sources <-- meta.json <-- index <-- segments <-- ordered writer
//! ```
//!
//! # Layers
//!
//! A module may name only those to its left; `tests/architecture.rs` holds it:
//!
//! `damage <- error <- tsdb, runtime <- downsample <- merge, objstore <- block <- plan <- compact <-
//! telemetry, cli <- main`
//!
//! `tsdb`, `downsample`, `merge` and `plan` are pure: no async runtime, no bucket, no clock.

pub mod block;
pub mod cli;
pub mod compact;
pub mod damage;
pub mod downsample;
pub mod error;
pub mod merge;
pub mod objstore;
pub mod plan;
pub mod runtime;
pub mod telemetry;
pub mod tsdb;
