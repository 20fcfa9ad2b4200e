//! stub
use super::Counts;
use crate::tsdb::Error;
use crate::tsdb::chunkenc::{AggrChunk, EncodedChunks, Encoding};
#[derive(Debug, Default)]
pub(super) struct HistogramDownsampler {}
impl HistogramDownsampler {
    pub(super) fn raw(
        &mut self,
        _chunks: &[(Encoding, &[u8])],
        _resolution: i64,
        _out: &mut EncodedChunks,
        _counts: &mut Counts,
    ) -> Result<(), (usize, Error)> {
        Ok(())
    }
    pub(super) fn aggregates(
        &mut self,
        _chunks: &[(i64, i64, AggrChunk<'_>)],
        _in_resolution: i64,
        _resolution: i64,
        _out: &mut EncodedChunks,
        _counts: &mut Counts,
    ) -> Result<(), (usize, Error)> {
        Ok(())
    }
}
