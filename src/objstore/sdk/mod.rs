//! What the client library of the data path has no call for, asked through the
//! AWS SDK: unfinished uploads, versioning, lifecycle rules, object lock.
//!
//! Terms:
//!
//! - **Pending upload**: a multipart upload that was begun and neither
//!   completed nor aborted. No listing of objects shows it; its parts are
//!   stored, and paid for, until somebody aborts it. In a folder the staged
//!   file `<name>#<n>` is its counterpart.
//! - **Key**: a name as the store knows it, the configured prefix included.
//!
//! ```text
//!   Bucket::uploads, abort_uploads ---+            names, relative to the prefix
//!   hazards/ -------------------------+--> Calls   keys
//!                                           |
//!                   client --- SDK: builds, signs, repeats, parses
//!                                           |
//!                   transport --> the HTTP client of the data path
//! ```
//!
//! Invariants:
//!
//! - One configuration: same endpoint, region, addressing, credentials,
//!   certificates and timeouts as the data path, because it is its HTTP client
//!   and its provider of credentials. No second TLS stack.
//! - No object is read or written here: there is one data path.
//! - Each request is counted; what the SDK repeats is counted once.
//! - An answer has a bounded size, a call a bounded time.

#[cfg(feature = "aws-sdk")]
mod client;
#[cfg(feature = "aws-sdk")]
mod failure;
#[cfg(feature = "aws-sdk")]
mod transport;
mod uploads;

use async_trait::async_trait;

#[cfg(feature = "aws-sdk")]
pub(super) use client::{SdkClient, Setup};
pub use uploads::PendingUpload;

/// Failures speak the data path's language, so that one place explains both.
pub(super) type StoreResult<T> = object_store::Result<T>;

/// Where a listing of uploads goes on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct UploadMarker {
    pub key: String,
    pub upload_id: String,
}

/// An upload as the store lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ListedUpload {
    pub key: String,
    pub upload_id: String,
    /// Milliseconds since the epoch, if the store says so.
    pub begun_ms: Option<i64>,
}

/// Up to 1,000 uploads.
#[derive(Debug, Default)]
pub(super) struct UploadPage {
    pub uploads: Vec<ListedUpload>,
    pub next: Option<UploadMarker>,
}

/// Up to 1,000 parts of one upload.
#[derive(Debug, Default)]
pub(super) struct PartPage {
    pub bytes: u64,
    pub next: Option<String>,
}

/// The calls, one request each. Behind a trait, so that a test can answer them.
#[async_trait]
pub(super) trait Calls: Send + Sync {
    async fn uploads(&self, prefix: &str, after: Option<UploadMarker>) -> StoreResult<UploadPage>;
    async fn parts(
        &self,
        key: &str,
        upload_id: &str,
        after: Option<String>,
    ) -> StoreResult<PartPage>;
    async fn abort(&self, key: &str, upload_id: &str) -> StoreResult<()>;
}

/// The calls of one bucket, and what its keys begin with.
pub(super) struct Admin {
    pub calls: Box<dyn Calls>,
    /// Empty, or the configured prefix with a slash at the end.
    pub prefix: String,
}
