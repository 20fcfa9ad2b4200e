//! The first pass over raw chunks: which samples there are, and which of them
//! become which chunk.
//!
//! ```text
//!  samples of the run   n, stale markers aside
//!  batches              n / chunks + 1 samples each, and on to the end of a window
//!  parts                a batch, cut between windows where the kind changes
//! ```

use super::Failure;
use super::arith::Grid;
use super::cursor::{Cursor, Passed, Piece};
use super::shape::{Bounds, GridBuilder, Kind, Shape};
use crate::downsample::window::{RAW_INTERVAL_MS, chunk_count, window_end};
use crate::tsdb::Result;
use crate::tsdb::chunkenc::{DecodeScratch, MAX_SAMPLES};

/// What becomes of a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It counts.
    Counted,
    /// Its sum is no number.
    Nan,
    /// It cannot be added to those of its window.
    Unsupported,
}

/// A sample that is neither stale nor out of order.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    /// Timestamp, ms.
    pub(super) t: i64,
    /// Index of its chunk.
    chunk: u32,
    pub(super) fate: Fate,
}

/// Samples that become one chunk.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part {
    /// Index of the entry behind its last one.
    pub(super) end: usize,
    pub(super) gauge: bool,
    pub(super) grid: Grid,
}

/// What the first pass finds out; 16 bytes per sample, reused.
#[derive(Debug, Default)]
pub(super) struct Survey {
    pub(super) entries: Vec<Entry>,
    pub(super) parts: Vec<Part>,
    /// By chunk; `None` where no sample counts.
    shapes: Vec<Option<Shape>>,
    bounds: Bounds,
}

/// A part that may still grow.
struct Open {
    kind: Kind,
    grid: Option<GridBuilder>,
    windows: usize,
}

impl Survey {
    /// Reads all chunks of a run, then plans parts of windows of `resolution` ms.
    ///
    /// # Errors
    /// Corrupt data, with the index of the chunk.
    pub(super) fn take<'a>(
        &mut self,
        pieces: impl Iterator<Item = Piece<'a>>,
        resolution: i64,
        scratch: &mut DecodeScratch,
    ) -> Result<Passed, Failure> {
        self.entries.clear();
        self.parts.clear();
        self.shapes.clear();
        self.bounds.clear();
        let mut cursor = Cursor::new(pieces, scratch);
        while let Some(t) = cursor.next()? {
            let index = cursor.index();
            let Some(sample) = cursor.sample() else {
                continue;
            };
            // The first sample of its chunk: all share its layout.
            if index >= self.shapes.len() {
                self.shapes.resize(index, None);
                let shape = Shape::new(&sample.layout(), &mut self.bounds);
                self.shapes.push(shape);
            }
            let fate = match self.shapes.get(index) {
                Some(Some(_)) if sample.sum().is_nan() => Fate::Nan,
                Some(Some(_)) => Fate::Counted,
                _ => Fate::Unsupported,
            };
            self.entries.push(Entry {
                t,
                chunk: index as u32,
                fate,
            });
        }
        let passed = cursor.passed;
        self.plan(resolution);
        Ok(passed)
    }

    /// Index of each chunk that has entries, first and last timestamp of those, ms.
    pub(super) fn times(&self) -> impl Iterator<Item = (usize, (i64, i64))> {
        let of_chunks = self.entries.chunk_by(|a, b| a.chunk == b.chunk);
        of_chunks.filter_map(|of_chunk| {
            let (first, last) = (of_chunk.first()?, of_chunk.last()?);
            Some((first.chunk as usize, (first.t, last.t)))
        })
    }

    /// Cuts the entries into batches and these into parts.
    fn plan(&mut self, resolution: i64) {
        let (Some(first), Some(last)) = (self.entries.first(), self.entries.last()) else {
            return;
        };
        let len = self.entries.len();
        let range = (first.t, last.t);
        let chunks = chunk_count(range, RAW_INTERVAL_MS, resolution, len as u64);
        let size = len / chunks + 1;
        let mut from = 0;
        while from < len {
            let to = self.whole_window((from + size).min(len), len, resolution);
            self.cut(from, to, resolution);
            from = to;
        }
    }

    /// The entry at or behind `to` that begins the next window, `len` at most.
    fn whole_window(&self, to: usize, len: usize, resolution: i64) -> usize {
        let Some(last) = to.checked_sub(1).and_then(|at| self.entries.get(at)) else {
            return to;
        };
        let end = window_end(last.t, resolution);
        let rest = self.entries.get(to..len).unwrap_or_default();
        to + rest.iter().take_while(|entry| entry.t <= end).count()
    }

    /// Makes parts of the batch `from..to`, window by window.
    fn cut(&mut self, from: usize, to: usize, resolution: i64) {
        let mut open: Option<Open> = None;
        let mut start = from;
        while start < to {
            let end = self.whole_window(start + 1, to, resolution);
            let shapes = &self.shapes;
            let shape = |entry: &Entry| shapes.get(entry.chunk as usize).copied().flatten();
            let window = self.entries.get_mut(start..end).unwrap_or_default();
            if let Some(kind) = choose_kind(window, shape) {
                let fits = |open: &Open| open.kind.takes(kind) && open.windows < MAX_SAMPLES;
                if let Some(done) = open.take_if(|open| !fits(open)) {
                    self.parts.extend(done.part(start));
                }
                let open = open.get_or_insert_with(|| Open::new(kind));
                open.windows += 1;
                let counted = window.iter().filter(|e| e.fate == Fate::Counted);
                open.include(counted.filter_map(shape));
            }
            start = end;
        }
        self.parts.extend(open.and_then(|open| open.part(to)));
    }
}

/// The kind of a window, `None` if nothing counts in it. Its first sample decides
/// on the buckets, and those with others do not count; a single gauge makes all
/// of it a gauge.
fn choose_kind(window: &mut [Entry], shape: impl Fn(&Entry) -> Option<Shape>) -> Option<Kind> {
    let mut kind: Option<Kind> = None;
    for entry in window.iter_mut().filter(|e| e.fate == Fate::Counted) {
        let Some(own) = shape(entry).map(|shape| shape.kind) else {
            continue;
        };
        let kind = kind.get_or_insert(own);
        if own.bounds == kind.bounds {
            kind.gauge |= own.gauge;
        } else {
            entry.fate = Fate::Unsupported;
        }
    }
    kind
}

impl Open {
    fn new(kind: Kind) -> Self {
        Self {
            kind,
            grid: None,
            windows: 0,
        }
    }

    fn include(&mut self, shapes: impl Iterator<Item = Shape>) {
        for shape in shapes {
            match &mut self.grid {
                Some(grid) => grid.include(&shape),
                None => self.grid = Some(GridBuilder::new(&shape)),
            }
        }
    }

    fn part(&self, end: usize) -> Option<Part> {
        Some(Part {
            end,
            gauge: self.kind.gauge,
            grid: self.grid?.build(),
        })
    }
}
