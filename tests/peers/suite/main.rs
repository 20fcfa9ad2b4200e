//! Lithify beside the real Thanos, Prometheus and MinIO, on the same buckets.
//!
//! `tests/peers/run` builds the peers and sets `LITHIFY_PEERS` to the folder of
//! their binaries. Without it, or with a binary missing, every test here fails:
//! a comparison that did not happen is no success.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "test code"
)]

mod beside;
mod compact;
mod downsample;
mod flags;
mod hazards;
mod lease;
mod minio;
mod peer;
mod proxy;
mod query;

#[path = "../../support/conformance.rs"]
mod conformance;
#[path = "../../support/files.rs"]
mod files;
