//! Aggregates to aggregates of longer windows.
//!
//! A batch is a number of whole chunks, as upstream: a chunk's counter starts
//! afresh. The three columns are read one after the other, and each has its own
//! windows; they have the same ones unless a column is missing somewhere.

use std::ops::Range;

use super::arith::Grid;
use super::cursor::{Cursor, Piece};
use super::shape::{Bounds, GridBuilder, Kind, Shape};
use super::{Failure, HistogramDownsampler};
use crate::downsample::Counts;
use crate::downsample::columns::check_window_times;
use crate::downsample::window::{chunk_count, window_end};
use crate::tsdb::chunkenc::{
    Aggr, AggrChunk, AggrColumn, EncodedChunks, MAX_SAMPLES, decode_floats, is_stale, num_samples,
};
use crate::tsdb::{Corrupt, Error, Result};

/// Most samples of a window; more than any can have, little enough to be added
/// up exactly.
const MOST: f64 = 4_294_967_296.0;

type Chunk<'a> = (i64, i64, AggrChunk<'a>);

/// What can be told of the chunks of a run from their beginnings.
#[derive(Debug, Default)]
pub(super) struct Heads {
    list: Vec<Head>,
    bounds: Bounds,
}

/// Of one chunk; `None` for a column without samples.
#[derive(Debug, Clone, Copy)]
struct Head {
    counter: Option<Shape>,
    sum: Option<Shape>,
    /// Items of the longest column.
    windows: usize,
}

impl Head {
    fn shape(&self, aggr: Aggr) -> Option<Shape> {
        match aggr {
            Aggr::Counter => self.counter,
            Aggr::Sum => self.sum,
            _ => None,
        }
    }

    fn kind(&self, aggr: Aggr) -> Option<Kind> {
        self.shape(aggr).map(|shape| shape.kind)
    }
}

impl Heads {
    /// The chunk behind the last one that can be in a part with `range.start`.
    fn end_of_part(&self, range: Range<usize>) -> usize {
        let (mut counter, mut sum, mut windows) = (None, None, 0_usize);
        let heads = self.list.get(range.clone()).unwrap_or_default();
        let alike = heads.iter().take_while(|head| {
            let takes = |kind: Option<Kind>, other: Option<Kind>| {
                kind.zip(other)
                    .is_none_or(|(kind, other)| kind.takes(other))
            };
            let first = windows == 0;
            windows = windows.saturating_add(head.windows);
            let fits = (first || windows <= MAX_SAMPLES)
                && takes(counter, head.kind(Aggr::Counter))
                && takes(sum, head.kind(Aggr::Sum));
            counter = counter.or(head.kind(Aggr::Counter));
            sum = sum.or(head.kind(Aggr::Sum));
            fits
        });
        range.start + alike.count().max(1)
    }

    /// The grid of a column of the chunks in `range`.
    fn grid(&self, range: Range<usize>, aggr: Aggr) -> Option<(Kind, Grid)> {
        let heads = self.list.get(range).unwrap_or_default();
        let mut shapes = heads.iter().filter_map(|head| head.shape(aggr));
        let first = shapes.next()?;
        let mut grid = GridBuilder::new(&first);
        shapes.for_each(|shape| grid.include(&shape));
        Some((first.kind, grid.build()))
    }
}

/// The columns of an aggregate in some chunks of a run, with their indexes.
fn columns<'c, 'a>(
    chunks: &'c [Chunk<'a>],
    range: Range<usize>,
    aggr: Aggr,
) -> impl Iterator<Item = (usize, AggrColumn<'a>)> + use<'c, 'a> {
    let numbered = range.clone().zip(chunks.get(range).unwrap_or_default());
    numbered.filter_map(move |(index, (_, _, chunk))| Some((index, chunk.column(aggr)?)))
}

fn piece((index, column): (usize, AggrColumn<'_>)) -> Piece<'_> {
    Piece {
        index,
        encoding: column.encoding,
        data: column.data,
        offset: column.offset,
    }
}

impl HistogramDownsampler {
    /// The body of [`Self::aggregates`]; on error, what it appended is of no use.
    pub(super) fn downsample_aggregates(
        &mut self,
        chunks: &[Chunk<'_>],
        in_resolution: i64,
        resolution: i64,
        out: &mut EncodedChunks,
    ) -> Result<Counts, Failure> {
        let mut counts = Counts::default();
        let (Some((first, ..)), Some((_, last, _))) = (chunks.first(), chunks.last()) else {
            return Ok(counts);
        };
        let samples = self.read_heads(chunks)?;
        let wanted = chunk_count((*first, *last), in_resolution, resolution, samples);
        // At least one chunk, even where more are wanted than there are.
        let size = (chunks.len() / wanted).max(1);
        let mut start = 0;
        while start < chunks.len() {
            let batch_end = (start + size).min(chunks.len());
            while start < batch_end {
                let end = self.heads.end_of_part(start..batch_end);
                counts += self.merge_part(chunks, start..end, resolution)?;
                let finished = self.columns.finish(out);
                finished.map_err(|e| (start, e))?;
                start = end;
            }
        }
        Ok(counts)
    }

    /// Fills the heads; returns the items of all count columns.
    fn read_heads(&mut self, chunks: &[Chunk<'_>]) -> Result<u64, Failure> {
        self.heads.list.clear();
        self.heads.bounds.clear();
        let mut samples = 0;
        for (index, (_, _, chunk)) in chunks.iter().enumerate() {
            let mut windows = 0;
            for column in Aggr::ALL.into_iter().filter_map(|a| chunk.column(a)) {
                let items = num_samples(column.encoding, column.data);
                let place = |e: Error| (index, e.in_file("", column.offset as u64));
                windows = windows.max(items.map_err(place)?);
            }
            let items = chunk.num_samples().map_err(|e| (index, e))?;
            samples += items as u64;
            let head = Head {
                counter: self.read_shape(index, chunk, Aggr::Counter)?,
                sum: self.read_shape(index, chunk, Aggr::Sum)?,
                windows,
            };
            self.heads.list.push(head);
        }
        Ok(samples)
    }

    fn read_shape(
        &mut self,
        index: usize,
        chunk: &AggrChunk<'_>,
        aggr: Aggr,
    ) -> Result<Option<Shape>, Failure> {
        let Some(column) = chunk.column(aggr) else {
            return Ok(None);
        };
        let pieces = std::iter::once(piece((index, column)));
        let mut cursor = Cursor::new(pieces, &mut self.scratch);
        let mut shape = None;
        if cursor.next()?.is_some()
            && let Some(sample) = cursor.sample()
        {
            shape = Shape::new(&sample.layout(), &mut self.heads.bounds);
            if shape.is_none() {
                let what = format!("aggregate {} has a bucket bound that is none", aggr.name());
                return Err((index, Corrupt::at(column.offset, what).into()));
            }
        }
        cursor.close();
        Ok(shape)
    }

    /// Puts the columns of the chunks in `range` into those of a new chunk.
    fn merge_part(
        &mut self,
        chunks: &[Chunk<'_>],
        range: Range<usize>,
        resolution: i64,
    ) -> Result<Counts, Failure> {
        let counter = self.heads.grid(range.clone(), Aggr::Counter);
        let sum = self.heads.grid(range.clone(), Aggr::Sum);
        let gauge = counter.is_some_and(|(kind, _)| kind.gauge);
        self.columns.start(gauge);
        self.total.start();
        for (aggr, found) in [(Aggr::Counter, counter), (Aggr::Sum, sum)] {
            if let Some((_, grid)) = found {
                let pieces = columns(chunks, range.clone(), aggr).map(piece);
                self.merge_histograms(chunks, pieces, aggr, &grid, resolution)?;
            }
        }
        self.merge_counts(chunks, range, resolution)
    }

    fn merge_histograms<'a>(
        &mut self,
        chunks: &[Chunk<'_>],
        pieces: impl Iterator<Item = Piece<'a>>,
        aggr: Aggr,
        grid: &Grid,
        resolution: i64,
    ) -> Result<(), Failure> {
        let mut scratch = std::mem::take(&mut self.scratch);
        let mut cursor = Cursor::new(pieces, &mut scratch);
        // End of the window and time of the last item in it, ms.
        let mut window: Option<(i64, i64)> = None;
        while let Some(t) = cursor.next()? {
            let Some(sample) = cursor.sample() else {
                continue;
            };
            sample.copy_to(&mut self.sample);
            let failed = |e| (cursor.index(), e);
            check_window(chunks, cursor.index(), aggr, t).map_err(failed)?;
            if let Some((end, _)) = window.take_if(|(end, _)| t > *end) {
                self.close_window(aggr, end).map_err(failed)?;
            }
            if window.is_none() {
                self.sum.start();
            }
            window = Some((window_end(t, resolution), t));
            self.add_item(aggr, grid).map_err(failed)?;
        }
        if let Some((end, last)) = window {
            // Not beyond the batch: the next chunk may begin in this window.
            let closed = self.close_window(aggr, end.min(last));
            closed.map_err(|e| (cursor.index(), e))?;
        }
        self.scratch = scratch;
        Ok(())
    }

    fn add_item(&mut self, aggr: Aggr, grid: &Grid) -> Result<()> {
        self.arith.bring(&mut self.sample, grid)?;
        if aggr == Aggr::Counter {
            self.total.add(&mut self.sample, grid, &mut self.arith)
        } else {
            self.sum.add(&self.sample, grid, &mut self.arith)
        }
    }

    fn close_window(&mut self, aggr: Aggr, t: i64) -> Result<()> {
        if aggr == Aggr::Counter {
            self.columns.push_counter(t, &mut self.total.value)
        } else {
            self.columns.push_sum(t, &mut self.sum.value)
        }
    }

    fn merge_counts(
        &mut self,
        chunks: &[Chunk<'_>],
        range: Range<usize>,
        resolution: i64,
    ) -> Result<Counts, Failure> {
        let mut counts = Counts::default();
        // End of the window, time of the last item in it (ms), sum of the counts.
        let mut window: Option<(i64, i64, f64)> = None;
        let (mut last, mut last_index) = (i64::MIN, 0);
        for (index, column) in columns(chunks, range, Aggr::Count) {
            last_index = index;
            self.floats.clear();
            let place = |e: Error| (index, e.in_file("", column.offset as u64));
            decode_floats(column.encoding, column.data, &mut self.floats).map_err(place)?;
            for (t, count) in self.floats.iter().filter(|(_, count)| !is_stale(*count)) {
                let whole = check_count(count).map_err(place)?;
                let placed = check_window(chunks, index, Aggr::Count, t);
                placed.map_err(|e| (index, e))?;
                counts.read += whole;
                if t < last {
                    counts.disordered += whole;
                    continue;
                }
                last = t;
                if let Some((end, _, sum)) = window.take_if(|(end, ..)| t > *end) {
                    counts.counted += check_count(sum).map_err(place)?;
                    self.columns.push_count(end, sum);
                }
                let before = window.map_or(0.0, |(_, _, sum)| sum);
                window = Some((window_end(t, resolution), t, before + count));
            }
        }
        if let Some((end, last, sum)) = window {
            counts.counted += check_count(sum).map_err(|e| (last_index, e))?;
            self.columns.push_count(end.min(last), sum);
        }
        Ok(counts)
    }
}

/// A window that ends at `t` ms lies where the index entry of its chunk says.
fn check_window(chunks: &[Chunk<'_>], index: usize, aggr: Aggr, t: i64) -> Result<()> {
    /// The counter has no sample before its first window, unlike that of floats.
    const NO_EARLIER: i64 = 1;
    let Some((first, last, chunk)) = chunks.get(index) else {
        return Ok(());
    };
    let offset = chunk.column(aggr).map_or(0, |c| c.offset as u64);
    check_window_times(aggr, (t, t), (*first, *last), NO_EARLIER)
        .map_err(|c| Corrupt { offset, ..c }.into())
}

/// The count of a window as a whole number of samples.
fn check_count(count: f64) -> Result<u64> {
    if (0.0..=MOST).contains(&count) && count.fract() == 0.0 {
        return Ok(count as u64);
    }
    Err(Corrupt::at(0, format!("window of {count} samples")).into())
}
