//! Removing blocks: those marked long enough ago, and uploads that were given
//! up.
//!
//! ```text
//!  meta.json ----> everything else, in parallel ----> deletion-mark.json
//!  no reader                                          a deletion that breaks
//!  sees it now                                        off is found again
//! ```

use ulid::Ulid;

use crate::block::markers::DELETION_MARK;
use crate::block::{META, path};
use crate::error::Result;
use crate::objstore::Bucket;
use crate::plan::{Cleanup, Deletion};

/// Objects of one block that are removed at the same time.
const OBJECTS_AT_ONCE: usize = 8;

/// Removes a marked block; false if its mark is gone, which means that
/// somebody wants it back.
///
/// # Errors
/// Whatever the bucket fails with. The mark is still there then.
pub(super) async fn block(bucket: &Bucket, deletion: &Deletion) -> Result<bool> {
    let id = deletion.block;
    if bucket.head(&path(id, DELETION_MARK)).await?.is_none() {
        tracing::warn!(block = %id, "deletion mark was removed, the block stays");
        return Ok(false);
    }
    folder(bucket, id).await?;
    Ok(true)
}

/// Removes a folder that is no block; false if it has become one, or if
/// something in it has changed since it was looked at.
///
/// # Errors
/// Whatever the bucket fails with.
pub(super) async fn partial(bucket: &Bucket, cleanup: &Cleanup) -> Result<bool> {
    let objects = bucket.list(&cleanup.folder.to_string()).await?;
    let newest = objects.iter().map(|o| o.modified_ms).max();
    if newest.is_some_and(|newest| newest > cleanup.modified_ms) {
        tracing::warn!(folder = %cleanup.folder, "upload goes on, the folder stays");
        return Ok(false);
    }
    folder(bucket, cleanup.folder).await?;
    Ok(true)
}

/// Removes everything in a block's folder.
async fn folder(bucket: &Bucket, id: Ulid) -> Result<()> {
    let (meta, mark) = (path(id, META), path(id, DELETION_MARK));
    bucket.delete(&meta).await?;
    let objects = bucket.list(&id.to_string()).await?;
    let names = objects.into_iter().map(|o| o.name);
    let rest: Vec<String> = names.filter(|name| *name != mark).collect();
    bucket.delete_many(&rest, OBJECTS_AT_ONCE).await?;
    bucket.delete(&mark).await?;
    Ok(())
}
