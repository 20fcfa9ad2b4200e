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

/// What a source is to the others.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    /// Samples to take, ms, end exclusive.
    pub keep: (i64, i64),
    pub run: u32,
    pub replica: u32,
}

/// A source standing on one of its series.
pub(super) struct SeriesSource {
    pub stream: SeriesStream,
    pub map: SymbolMap,
    pub segments: Segments,
    pub min_time: i64,
    pub max_time: i64,
    pub tombstones: Option<Tombstones>,
    /// Samples to take, run and replica.
    place: Place,
    /// Series and chunks so far.
    pub read: (u64, u64),
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
        place: Place,
    ) -> Self {
        Self {
            stream,
            map,
            segments,
            min_time,
            max_time,
            tombstones,
            place,
            read: (0, 0),
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
            *name = self.map.get(*name).unwrap_or(u32::MAX);
            *value = self.map.get(*value).unwrap_or(u32::MAX);
        }
        let file = self.stream.index().name();
        check_series(&self.current, self.min_time, self.max_time, file)?;
        self.read.0 += 1;
        self.read.1 += self.current.chunks.len() as u64;
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
    /// One in so many series is looked at.
    one_in: u64,
    /// Series so far, those included that were not looked at.
    seen: u64,
}

impl SeriesMerge {
    /// Puts every source on its first series. Nothing outside of `range` (ms,
    /// end exclusive) gets in.
    pub fn new(mut sources: Vec<SeriesSource>, range: (i64, i64)) -> Result<Self, SourceError> {
        for source in &mut sources {
            source.place.keep = intersection(source.place.keep, range);
        }
        let mut merge = Self {
            sources,
            heap: IndexHeap::default(),
            one_in: 1,
            seen: 0,
        };
        for i in 0..merge.sources.len() {
            let found = merge.sources[i].advance();
            if found.map_err(|error| merge.blame(i, error))? {
                merge.heap.push(i as u32, before(&merge.sources));
            }
        }
        Ok(merge)
    }

    /// Looks at one in so many series only.
    pub fn one_in(mut self, one_in: u32) -> Self {
        self.one_in = u64::from(one_in.max(1));
        self
    }

    /// Series so far, each once however many sources have it.
    pub fn seen(&self) -> u64 {
        self.seen
    }

    /// Series and chunks of each source so far.
    pub fn read(&self) -> Vec<(u64, u64)> {
        self.sources.iter().map(|s| s.read).collect()
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
        batch.samples_of.resize(self.sources.len(), 0);
        while !batch.is_full(limits) {
            let Some(first) = self.heap.top() else {
                return Ok(());
            };
            let labels_start = batch.labels.len();
            let inputs_start = batch.inputs.len();
            let labels = &self.sources[first as usize].current.labels;
            batch.labels.extend_from_slice(labels);
            self.seen += 1;
            if !(self.seen - 1).is_multiple_of(self.one_in) {
                self.skip(&batch.labels[labels_start..])?;
                batch.labels.truncate(labels_start);
                continue;
            }
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
                run: source.place.run,
                replica: source.place.replica,
                meta: *chunk,
                record,
                cut: cut(chunk, source.place.keep, deleted),
            });
        }
        self.step(i)
    }

    /// Moves source `i`, which is the top, to its next series.
    fn step(&mut self, i: usize) -> Result<()> {
        if self.sources[i].advance()? {
            self.heap.sink_top(before(&self.sources));
        } else {
            self.heap.drop_top(before(&self.sources));
        }
        Ok(())
    }

    /// Moves every source that stands on these labels, without a look at their
    /// chunks.
    fn skip(&mut self, labels: &[LabelPair]) -> Result<(), SourceError> {
        while let Some(top) = self.heap.top() {
            let i = top as usize;
            if self.sources[i].current.labels != labels {
                break;
            }
            self.step(i).map_err(|error| self.blame(i, error))?;
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

/// What two ranges (ms, end exclusive) share. Nothing is an empty range at the
/// very start, of which [`cut`] makes one interval that covers any chunk.
fn intersection(a: (i64, i64), b: (i64, i64)) -> (i64, i64) {
    let (start, end) = (a.0.max(b.0), a.1.min(b.1));
    if start < end {
        (start, end)
    } else {
        (i64::MIN, i64::MIN)
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
