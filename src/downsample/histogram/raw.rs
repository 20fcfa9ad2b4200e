//! Raw chunks to aggregates.

use super::survey::{Fate, Part};
use super::{Failure, HistogramDownsampler, cursor};
use crate::downsample::Counts;
use crate::downsample::window::window_end;
use crate::tsdb::Result;
use crate::tsdb::chunkenc::{EncodedChunks, Encoding};
use cursor::{Cursor, Piece};

/// A window that is being filled.
#[derive(Debug, Clone, Copy)]
struct Window {
    /// Its last ms.
    end: i64,
    /// Timestamp of the last sample, ms.
    last: i64,
    samples: u64,
}

impl HistogramDownsampler {
    /// The body of [`Self::raw`]; on error, what it appended is of no use.
    pub(super) fn downsample_raw(
        &mut self,
        chunks: &[(Encoding, &[u8])],
        resolution: i64,
        out: &mut EncodedChunks,
    ) -> Result<Counts, Failure> {
        let pieces = || {
            let piece = |(index, chunk): (usize, &(Encoding, _))| Piece {
                index,
                encoding: chunk.0,
                data: chunk.1,
                offset: 0,
            };
            chunks.iter().enumerate().map(piece)
        };
        let passed = self.survey.take(pieces(), resolution, &mut self.scratch)?;
        let mut scratch = std::mem::take(&mut self.scratch);
        let mut cursor = Cursor::new(pieces(), &mut scratch);
        let mut counts = Counts {
            read: passed.read,
            stale: passed.stale,
            disordered: passed.disordered,
            ..Counts::default()
        };
        let mut at = 0;
        for number in 0..self.survey.parts.len() {
            let Some(part) = self.survey.parts.get(number).copied() else {
                break;
            };
            counts.counted += self.part(part, &mut at, &mut cursor, resolution)?;
            let finished = self.columns.finish(out);
            finished.map_err(|e| (cursor.index(), e))?;
        }
        // It stands at the last sample, with the buffers of that chunk.
        cursor.close();
        self.scratch = scratch;
        for entry in &self.survey.entries {
            match entry.fate {
                Fate::Counted => {}
                Fate::Nan => counts.nan += 1,
                Fate::Unsupported => counts.unsupported += 1,
            }
        }
        Ok(counts)
    }

    /// Reads the samples of `part`, which begin at entry `at`, into the columns.
    /// Returns how many were counted.
    fn part<'a>(
        &mut self,
        part: Part,
        at: &mut usize,
        cursor: &mut Cursor<'a, '_, impl Iterator<Item = Piece<'a>>>,
        resolution: i64,
    ) -> Result<u64, Failure> {
        self.columns.start(part.gauge);
        self.total.start();
        let mut window: Option<Window> = None;
        let mut counted = 0;
        while *at < part.end
            && let Some(t) = cursor.next()?
        {
            let fate = self.survey.entries.get(*at).map(|entry| entry.fate);
            *at += 1;
            let Some(sample) = cursor.sample().filter(|_| fate == Some(Fate::Counted)) else {
                continue;
            };
            sample.copy_to(&mut self.sample);
            let failed = |e| (cursor.index(), e);
            if let Some(done) = window.take_if(|window| t > window.end) {
                counted += self.close(done).map_err(failed)?;
            }
            let open = window.get_or_insert_with(|| {
                self.sum.start();
                Window {
                    end: window_end(t, resolution),
                    last: t,
                    samples: 0,
                }
            });
            open.last = t;
            open.samples += 1;
            self.add(&part).map_err(failed)?;
        }
        if let Some(mut last) = window {
            // Not beyond the samples: the next chunk may begin in this window.
            last.end = last.end.min(last.last);
            counted += self.close(last).map_err(|e| (cursor.index(), e))?;
        }
        Ok(counted)
    }

    fn add(&mut self, part: &Part) -> Result<()> {
        let (grid, arith) = (&part.grid, &mut self.arith);
        arith.bring(&mut self.sample, grid)?;
        self.sum.add(&self.sample, grid, arith)?;
        self.total.add(&mut self.sample, grid, arith)
    }

    /// Writes a window; returns its samples.
    fn close(&mut self, window: Window) -> Result<u64> {
        let (t, columns) = (window.end, &mut self.columns);
        columns.push_counter(t, &mut self.total.value)?;
        columns.push_sum(t, &mut self.sum.value)?;
        columns.push_count(t, window.samples as f64);
        Ok(window.samples)
    }
}
