//! Deletion marks: the only thing a run ever does to a block it did not make.

use ulid::Ulid;

use crate::block::markers::{DELETION_MARK, DeletionMark, MARKER_VERSION};
use crate::block::path;
use crate::error::{Error, Kind, Result};
use crate::objstore::Bucket;
use crate::runtime::clock::Clock;

/// Asks for the removal of a block; false if it carried a mark already, which
/// then stays as it is.
///
/// # Errors
/// Whatever the bucket fails with.
pub(super) async fn for_deletion(
    bucket: &Bucket,
    clock: &dyn Clock,
    block: Ulid,
    details: &str,
) -> Result<bool> {
    let name = path(block, DELETION_MARK);
    if bucket.head(&name).await?.is_some() {
        tracing::warn!(%block, "block is marked for deletion already");
        return Ok(false);
    }
    let mark = DeletionMark {
        id: block,
        version: MARKER_VERSION,
        details: details.to_owned(),
        deletion_time: clock.now_ms().div_euclid(1000),
    };
    let json = serde_json::to_vec(&mark)
        .map_err(|e| Error::new(Kind::Internal, "cannot write a deletion mark").with_source(e))?;
    bucket.put(&name, json).await?;
    Ok(true)
}
