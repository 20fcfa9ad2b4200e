//! A body that breaks off goes on where it ended.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{BoxStream, try_unfold};
use object_store::path::Path;
use object_store::{
    Error, GetOptions, GetRange, GetResult, GetResultPayload, ObjectStore, Result as StoreResult,
};

use super::retry::{Effect, Tries};

type Pieces = BoxStream<'static, StoreResult<Bytes>>;

/// The body of a get that is under way.
struct Body<T> {
    inner: Arc<T>,
    at: Path,
    options: GetOptions,
    etag: String,
    /// What has not arrived.
    left: Range<u64>,
    pieces: Option<Pieces>,
    tries: Tries,
}

/// Gives the same answer with a body that does not break off. One without ETag
/// stays as it is: nobody could tell whether the rest belongs to it.
pub(super) fn resuming<T: ObjectStore>(
    inner: Arc<T>,
    at: Path,
    options: GetOptions,
    result: GetResult,
    tries: Tries,
) -> GetResult {
    let GetResult {
        payload,
        meta,
        range,
        attributes,
        extensions,
    } = result;
    let payload = match (payload, &meta.e_tag) {
        (GetResultPayload::Stream(pieces), Some(etag)) => {
            let body = Body {
                inner,
                at,
                options,
                etag: etag.clone(),
                left: range.clone(),
                pieces: Some(pieces),
                tries,
            };
            let pieces = try_unfold(body, |mut body| async move {
                let piece = body.next().await?;
                Ok(piece.map(|piece| (piece, body)))
            });
            GetResultPayload::Stream(pieces.boxed())
        }
        (payload, _) => payload,
    };
    GetResult {
        payload,
        meta,
        range,
        attributes,
        extensions,
    }
}

impl<T: ObjectStore> Body<T> {
    async fn next(&mut self) -> StoreResult<Option<Bytes>> {
        loop {
            let failed = match &mut self.pieces {
                None => self.ask_again().await?,
                Some(pieces) => match pieces.next().await {
                    Some(Ok(piece)) => {
                        self.left.start += piece.len() as u64;
                        return Ok(Some(piece));
                    }
                    None if self.left.is_empty() => return Ok(None),
                    // All of it is here, whatever came of the connection.
                    Some(Err(_)) if self.left.is_empty() => return Ok(None),
                    None => Some(broke_off()),
                    Some(Err(error)) => Some(error),
                },
            };
            if let Some(error) = failed {
                self.pieces = None;
                self.tries.failed(error, Effect::Any).await?;
            }
        }
    }

    /// Asks for what is left; gives the error if that may pass.
    async fn ask_again(&mut self) -> StoreResult<Option<Error>> {
        let options = GetOptions {
            range: Some(GetRange::Bounded(self.left.clone())),
            if_match: Some(self.etag.clone()),
            ..self.options.clone()
        };
        let result = match self.inner.get_opts(&self.at, options).await {
            Ok(result) => result,
            Err(error) => return Ok(Some(error)),
        };
        // Some stores know no `If-Match` on a get.
        if result.meta.e_tag.as_ref() != Some(&self.etag) || result.range != self.left {
            return Err(Error::Precondition {
                path: self.at.to_string(),
                source: "the object changed while it was read".into(),
            });
        }
        self.pieces = Some(result.into_stream());
        Ok(None)
    }
}

/// Fewer bytes than announced, and no error.
fn broke_off() -> Error {
    Error::Generic {
        store: "S3",
        source: "end of file before message length reached".into(),
    }
}
