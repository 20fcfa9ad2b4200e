//! Requests with a condition: write only if nobody else has.
//!
//! ```text
//!  put_if_absent   no such object          -> written, its version | None
//!  put_if_match    still of this version   -> written, its version | None
//!  get_versioned   body, version, time
//! ```
//!
//! S3 has conditions on `PutObject` (`If-None-Match: *`, `If-Match: <ETag>`), and
//! so have the servers that speak its protocol and are recent; in a folder they
//! hold among the processes of one machine, under a lock on the directory. A
//! store that does not know them may refuse ([`Kind::Unsupported`]) or write in
//! spite of them: whoever depends on a condition has to see one fail first.
//!
//! A request whose answer was lost may have been carried out. It is repeated by
//! nobody here, except below us by the client; then it meets its own object and
//! reports `None`. The content has to tell the writer.
//!
//! [`Kind::Unsupported`]: super::Kind::Unsupported

use bytes::Bytes;
use object_store::path::Path;
use object_store::{
    ObjectStoreExt, PutMode, PutOptions, PutPayload, PutResult, Result as StoreResult,
    UpdateVersion,
};

use super::bucket::Bucket;
use super::error::Result;

/// Tells two contents of one object apart, in the store's own terms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// ETag, in quotes, as the store gives it.
    etag: Option<String>,
    /// Number of the version, where a store goes by that.
    number: Option<String>,
}

impl Version {
    /// A version that no object ever has, to see whether a store looks at
    /// versions at all.
    #[must_use]
    pub fn nowhere() -> Self {
        Self {
            etag: Some("\"00000000000000000000000000000000\"".to_owned()),
            // Generations of GCS count microseconds; this one is long past.
            number: Some("1".to_owned()),
        }
    }
}

/// A small object with what a later condition needs.
#[derive(Debug, Clone)]
pub struct Versioned {
    /// All of it.
    pub body: Bytes,
    /// What to give to [`Bucket::put_if_match`].
    pub version: Version,
    /// Last change by the store's clock, milliseconds since the epoch.
    pub modified_ms: i64,
}

impl Bucket {
    /// Writes an object only if there is none of this name; its version if it
    /// was written, `None` if there is one.
    ///
    /// # Errors
    /// Whatever the store fails with; the object may be written all the same.
    pub async fn put_if_absent(
        &self,
        name: &str,
        data: impl Into<Bytes>,
    ) -> Result<Option<Version>> {
        let put = self.put_mode(name, data.into(), PutMode::Create).await;
        self.conditional(name, put)
    }

    /// Writes an object only if it is still of that version; its new version if
    /// it was written, `None` if it is of another or gone.
    ///
    /// # Errors
    /// Whatever the store fails with; the object may be written all the same.
    pub async fn put_if_match(
        &self,
        name: &str,
        data: impl Into<Bytes>,
        version: &Version,
    ) -> Result<Option<Version>> {
        let mode = PutMode::Update(UpdateVersion {
            e_tag: version.etag.clone(),
            version: version.number.clone(),
        });
        let put = self.put_mode(name, data.into(), mode).await;
        self.conditional(name, put)
    }

    /// A whole object of at most `most` bytes with its version, or `None` if it
    /// does not exist.
    ///
    /// # Errors
    /// As [`Bucket::get_bounded`].
    pub async fn get_versioned(&self, name: &str, most: u64) -> Result<Option<Versioned>> {
        let path = self.path(name)?;
        let found = match self.store().get(&path).await {
            Ok(found) => found,
            Err(err) => return self.absent(name, &err),
        };
        let version = Version {
            etag: found.meta.e_tag.clone(),
            number: found.meta.version.clone(),
        };
        let modified_ms = found.meta.last_modified.timestamp_millis();
        Ok(Some(Versioned {
            body: self.collect(name, found, most).await?,
            version,
            modified_ms,
        }))
    }

    fn conditional(&self, name: &str, put: StoreResult<PutResult>) -> Result<Option<Version>> {
        use object_store::Error::{AlreadyExists, NotFound, Precondition};
        match put {
            Ok(done) => Ok(Some(Version {
                etag: done.e_tag,
                number: done.version,
            })),
            Err(AlreadyExists { .. } | Precondition { .. }) => Ok(None),
            // In a store that has no word for "other version of nothing". A
            // missing bucket is "not found" too, and stays an error.
            Err(err @ NotFound { .. }) => self.absent(name, &err),
            Err(err) => Err(self.scene().blame(name, &err)),
        }
    }

    pub(super) async fn put_mode(
        &self,
        name: &str,
        data: Bytes,
        mode: PutMode,
    ) -> StoreResult<PutResult> {
        let path = Path::parse(name)?;
        let options = PutOptions {
            mode,
            attributes: self.attributes().clone(),
            ..PutOptions::default()
        };
        let payload = PutPayload::from(data);
        self.store().put_opts(&path, payload, options).await
    }
}
