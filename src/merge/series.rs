//! The k-way merge of label streams into batches, on one thread.

use std::sync::Arc;

use super::batch::{Batch, InputChunk, Limits, SeriesEntry};
use super::heap::IndexHeap;
use super::source::{Segments, check_series};
use super::symbols::SymbolMap;
use crate::tsdb::chunks::{ChunkMeta, ChunkRef};
use crate::tsdb::index::{LabelPair, RawSeries, SeriesStream};
use crate::tsdb::tombstones::{Interval, Tombstones};
use crate::tsdb::{self, Result};

/// A source standing on one of its series.
pub(super) struct SeriesSource {
    pub stream: SeriesStream,
    pub map: SymbolMap,
    pub segments: Segments,
    pub min_time: i64,
    pub max_time: i64,
    pub tombstones: Option<Tombstones>,
    /// The current series, labels as symbols of the result.
    current: RawSeries,
}

impl SeriesSource {
    pub fn new(
        stream: SeriesStream,
        map: SymbolMap,
        segments: Segments,
        (min_time, max_time): (i64, i64),
        tombstones: Option<Tombstones>,
    ) -> Self {
        Self {
            stream,
            map,
            segments,
            min_time,
            max_time,
            tombstones,
            current: RawSeries::default(),
        }
    }

    /// Moves to the next series; false at the end. After an error the labels
    /// of `current` are those of the series it lies in, none if that is unknown.
    fn advance(&mut self) -> Result<bool> {
        match self.stream.next(&mut self.current) {
            Ok(true) => {}
            Ok(false) => return Ok(false),
            Err(error) => {
                self.current.labels.clear();
                return Err(error);
            }
        }
        for (name, value) in &mut self.current.labels {
            // The stream has checked both against the table the map is made of.
            *name = self.map[*name as usize];
            *value = self.map[*value as usize];
        }
        let file = self.stream.index().name();
        check_series(&self.current, self.min_time, self.max_time, file)?;
        Ok(true)
    }
}

/// An error in the index or a segment of a source.
#[derive(Debug)]
pub(super) struct SourceError {
    /// Index of the source.
    pub source: usize,
    /// The series it happened in, as symbols of the result; empty if unknown.
    pub labels: Vec<LabelPair>,
    /// What happened.
    pub error: tsdb::Error,
}

/// All sources, merged by label order.
pub(super) struct SeriesMerge {
    sources: Vec<SeriesSource>,
    heap: IndexHeap,
    /// Range of the result, ms, end exclusive: nothing else gets in.
    range: (i64, i64),
}

impl SeriesMerge {
    /// Puts every source on its first series.
    pub fn new(sources: Vec<SeriesSource>, range: (i64, i64)) -> Result<Self, SourceError> {
        let mut merge = Self {
            sources,
            heap: IndexHeap::default(),
            range,
        };
        for i in 0..merge.sources.len() {
            let found = merge.sources[i].advance();
            if found.map_err(|error| merge.blame(i, error))? {
                merge.heap.push(i as u32, before(&merge.sources));
            }
        }
        Ok(merge)
    }

    fn blame(&mut self, source: usize, error: tsdb::Error) -> SourceError {
        let labels = std::mem::take(&mut self.sources[source].current.labels);
        SourceError {
            source,
            labels,
            error,
        }
    }

    /// Fills an empty batch; it stays empty only at the end.
    pub fn fill(&mut self, batch: &mut Batch, limits: Limits) -> Result<(), SourceError> {
        while !batch.is_full(limits) {
            let Some(first) = self.heap.top() else {
                return Ok(());
            };
            let labels_start = batch.labels.len();
            let inputs_start = batch.inputs.len();
            let labels = &self.sources[first as usize].current.labels;
            batch.labels.extend_from_slice(labels);
            while let Some(top) = self.heap.top() {
                let i = top as usize;
                if self.sources[i].current.labels != batch.labels[labels_start..] {
                    break;
                }
                self.take(i, batch).map_err(|error| self.blame(i, error))?;
                batch.ledger.series_read += 1;
                batch.ledger.series_joined += u64::from(i != first as usize);
            }
            batch.series.push(SeriesEntry {
                labels: labels_start as u32..batch.labels.len() as u32,
                inputs: inputs_start as u32..batch.inputs.len() as u32,
            });
        }
        Ok(())
    }

    /// Adds the chunks of the current series of source `i`, which is the top,
    /// and moves on.
    fn take(&mut self, i: usize, batch: &mut Batch) -> Result<()> {
        let source = &mut self.sources[i];
        let deleted = source.tombstones.as_ref();
        let deleted = deleted.map_or(&[][..], |t| t.intervals(source.current.reference));
        for chunk in &source.current.chunks {
            let record = source.segments.record(ChunkRef::from(chunk.reference))?;
            batch.bytes += record.framed().len();
            batch.inputs.push(InputChunk {
                source: i as u32,
                meta: *chunk,
                record,
                cut: cut(chunk, self.range, deleted),
            });
        }
        if source.advance()? {
            self.heap.sink_top(before(&self.sources));
        } else {
            self.heap.drop_top(before(&self.sources));
        }
        Ok(())
    }
}

/// By labels; equal labels in the order of the sources, so that pieces come in
/// the order of their ranks.
fn before(sources: &[SeriesSource]) -> impl Fn(u32, u32) -> bool {
    |a, b| {
        let labels = |i: u32| &sources[i as usize].current.labels;
        (labels(a), a) < (labels(b), b)
    }
}

/// The times to leave out of a chunk (ms, inclusive), if there are any.
fn cut(chunk: &ChunkMeta, range: (i64, i64), deleted: &[Interval]) -> Option<Arc<[Interval]>> {
    let touches = |i: &Interval| i.min_time <= chunk.max_time && i.max_time >= chunk.min_time;
    let (start, end) = range;
    let early = (chunk.min_time < start).then(|| Interval {
        min_time: i64::MIN,
        max_time: start - 1,
    });
    let late = (chunk.max_time >= end).then_some(Interval {
        min_time: end,
        max_time: i64::MAX,
    });
    if early.is_none() && late.is_none() && !deleted.iter().any(touches) {
        return None;
    }
    let deleted = deleted.iter().copied().filter(touches);
    Some(deleted.chain(early).chain(late).collect())
}
