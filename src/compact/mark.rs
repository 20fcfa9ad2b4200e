//! Marks on blocks: asking for their removal, or keeping them out.

use serde::Serialize;
use ulid::Ulid;

use super::job::JobContext;
use crate::block::markers::{
    DELETION_MARK, DeletionMark, MARKER_VERSION, NO_COMPACT_MARK, NO_DOWNSAMPLE_MARK,
    NoCompactMark, NoDownsampleMark,
};
use crate::block::path;
use crate::error::{Error, Kind, Result};
use crate::plan::NoCompact;
use crate::plan::view::Finding;

/// Asks for the removal of a block; false if it carried a mark already, which
/// then stays as it is.
///
/// # Errors
/// The lease is lost; whatever the bucket fails with.
pub(super) async fn for_deletion(context: &JobContext, block: Ulid, details: &str) -> Result<bool> {
    let mark = DeletionMark {
        id: block,
        version: MARKER_VERSION,
        details: details.to_owned(),
        deletion_time: context.clock.now_ms().div_euclid(1000),
    };
    write(context, block, DELETION_MARK, &mark).await
}

/// Keeps a block out of compactions; false if it carried such a mark already.
///
/// # Errors
/// The lease is lost; whatever the bucket fails with.
pub(super) async fn for_no_compact(context: &JobContext, mark: &NoCompact) -> Result<bool> {
    let block = mark.block;
    let mark = NoCompactMark {
        id: block,
        version: MARKER_VERSION,
        details: mark.details.clone(),
        no_compact_time: context.clock.now_ms().div_euclid(1000),
        reason: mark.reason.as_str().to_owned(),
    };
    write(context, block, NO_COMPACT_MARK, &mark).await
}

/// Keeps a damaged block out of compactions and downsampling. Marks that it
/// carries already stay as they are.
///
/// The mark that the planner looks at comes last: if the process dies between
/// the two, the block is found damaged again and gets the other one.
///
/// # Errors
/// The lease is lost; whatever the bucket fails with.
pub(super) async fn for_quarantine(
    context: &JobContext,
    block: Ulid,
    finding: &Finding,
) -> Result<()> {
    let now_s = context.clock.now_ms().div_euclid(1000);
    let (details, reason) = (finding.what.clone(), finding.reason.as_str().to_owned());
    let no_downsample = NoDownsampleMark {
        id: block,
        version: MARKER_VERSION,
        details: details.clone(),
        no_downsample_time: now_s,
        reason: reason.clone(),
    };
    write(context, block, NO_DOWNSAMPLE_MARK, &no_downsample).await?;
    let no_compact = NoCompactMark {
        id: block,
        version: MARKER_VERSION,
        details,
        no_compact_time: now_s,
        reason,
    };
    write(context, block, NO_COMPACT_MARK, &no_compact).await?;
    Ok(())
}

async fn write(
    context: &JobContext,
    block: Ulid,
    file: &str,
    mark: &impl Serialize,
) -> Result<bool> {
    let (bucket, name) = (&context.bucket, path(block, file));
    if bucket.head(&name).await?.is_some() {
        tracing::warn!(%block, file, "block is marked already");
        return Ok(false);
    }
    let json = serde_json::to_vec(mark)
        .map_err(|e| Error::new(Kind::Internal, format!("cannot write {file}")).with_source(e))?;
    context.lease.within(bucket.put(&name, json)).await?;
    Ok(true)
}
