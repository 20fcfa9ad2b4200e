//! One series: its runs of floats and histograms, raw to 5m and on to 1h.

use std::ops::Range;

use super::aggregates::Aggregator;
use super::columns::Columns;
use super::floats::RawFloats;
use super::histogram::HistogramDownsampler;
use super::plain::PlainFloats;
use super::{Counts, FIVE_MINUTES_MS, ONE_HOUR_MS};
use crate::tsdb::chunkenc::{
    Aggr, AggrChunk, EncodedChunks, Encoding, Kind, XorEncoder, num_samples,
};
use crate::tsdb::{Corrupt, Damage, Error, Result};

/// A chunk of a series as its block holds it.
#[derive(Debug, Clone, Copy)]
pub struct ChunkView<'a> {
    /// First sample, ms.
    pub min_time: i64,
    /// Last sample, ms.
    pub max_time: i64,
    /// How `data` is encoded.
    pub encoding: Encoding,
    /// Encoded samples, without length, encoding byte and CRC.
    pub data: &'a [u8],
    /// The same samples, times (ms) and values, if whoever encoded them still has
    /// them.
    pub samples: Option<(&'a [i64], &'a [f64])>,
}

/// An error in one of the chunks that were handed in; it counts bytes from the
/// start of that chunk's data.
#[derive(Debug)]
pub struct ChunkError {
    /// Number of the chunk; `None` if it lies in what was made of the chunks,
    /// which is no fault of theirs.
    pub chunk: Option<usize>,
    /// What is wrong with it.
    pub error: Error,
}

impl ChunkError {
    fn in_chunk(chunk: usize) -> impl FnOnce(Error) -> Self {
        move |error| Self {
            chunk: Some(chunk),
            error,
        }
    }

    fn ours(error: Error) -> Self {
        Self { chunk: None, error }
    }
}

/// One resolution of a downsampled series.
#[derive(Debug, Default)]
pub struct Level {
    /// Its chunks, in order of time.
    pub chunks: EncodedChunks,
    /// The books.
    pub counts: Counts,
}

impl Level {
    fn clear(&mut self) {
        self.chunks.clear();
        self.counts = Counts::default();
    }
}

/// Downsamples one series after the other; buffers are used again.
#[derive(Debug)]
pub struct Downsampler {
    /// Windows of the two levels, ms.
    resolutions: [i64; 2],
    plain: PlainFloats,
    floats: RawFloats,
    five: Columns,
    hour: Columns,
    histograms: HistogramDownsampler,
    aggregator: Aggregator,
    encoder: XorEncoder,
    /// What the 1h level is made from, in order of time.
    parts: Vec<Part>,
    /// Histograms that were found in the place of aggregates, downsampled.
    strays: EncodedChunks,
}

/// A 5m chunk of the series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// Chunk of the decoded columns.
    Float(usize),
    /// Histograms: chunk number of what was handed in.
    Input(usize),
    /// Histograms: chunk number of what was made.
    Made(usize),
}

impl Default for Downsampler {
    fn default() -> Self {
        Self::with_resolutions([FIVE_MINUTES_MS, ONE_HOUR_MS])
    }
}

impl Downsampler {
    /// With windows of other lengths (ms), the second a multiple of the first.
    pub fn with_resolutions(resolutions: [i64; 2]) -> Self {
        Self {
            resolutions,
            plain: PlainFloats::default(),
            floats: RawFloats::default(),
            five: Columns::default(),
            hour: Columns::default(),
            histograms: HistogramDownsampler::default(),
            aggregator: Aggregator::default(),
            encoder: XorEncoder::new(),
            parts: Vec::new(),
            strays: EncodedChunks::default(),
        }
    }

    /// Drops what an error or a panic left behind.
    pub fn reset(&mut self) {
        let resolutions = self.resolutions;
        *self = Self::with_resolutions(resolutions);
    }

    /// Raw chunks to 5m and, if wanted, on to 1h. Both levels are replaced.
    ///
    /// # Errors
    /// [`ChunkError`] for damaged data.
    pub fn raw(
        &mut self,
        chunks: &[ChunkView<'_>],
        five: &mut Level,
        hour: Option<&mut Level>,
    ) -> Result<(), ChunkError> {
        self.clear();
        five.clear();
        let mut at = 0;
        while at < chunks.len() {
            let run = run_of(&chunks[at..]);
            let run = at..at + run;
            at = run.end;
            self.raw_run(chunks, run, five)?;
        }
        match hour {
            Some(hour) => self.next_level(&[], &five.chunks, hour),
            None => Ok(()),
        }
    }

    /// Chunks of 5m to 1h. The level is replaced.
    ///
    /// Chunks of samples have no place among aggregates, but older versions of
    /// Thanos put some there: empty ones are left out, others are downsampled
    /// first, as upstream does.
    ///
    /// # Errors
    /// [`ChunkError`] for damaged data.
    pub fn aggregates(
        &mut self,
        chunks: &[ChunkView<'_>],
        hour: &mut Level,
    ) -> Result<(), ChunkError> {
        self.clear();
        hour.clear();
        let mut strays = std::mem::take(&mut self.strays);
        strays.clear();
        let opened = (0..chunks.len()).try_for_each(|chunk| {
            let opened = self.open(chunk, &chunks[chunk], &mut strays, &mut hour.counts);
            opened.map_err(ChunkError::in_chunk(chunk))
        });
        let lost = hour.counts;
        let made = opened.and_then(|()| self.next_level(chunks, &strays, hour));
        hour.counts += lost;
        self.strays = strays;
        made
    }

    fn clear(&mut self) {
        self.five.clear();
        self.parts.clear();
    }

    /// One run of raw chunks.
    fn raw_run(
        &mut self,
        chunks: &[ChunkView<'_>],
        run: Range<usize>,
        five: &mut Level,
    ) -> Result<(), ChunkError> {
        let (resolution, start) = (self.resolutions[0], run.start);
        if chunks[start].encoding.kind() != Some(Kind::Float) {
            let made = five.chunks.metas.len();
            let run = &chunks[run];
            let data: Vec<(Encoding, &[u8])> = run.iter().map(|c| (c.encoding, c.data)).collect();
            self.histograms
                .raw(&data, resolution, &mut five.chunks, &mut five.counts)
                .map_err(|(chunk, error)| ChunkError::in_chunk(start + chunk)(error))?;
            for (chunk, times) in self.histograms.times() {
                let view = run
                    .get(chunk)
                    .map_or(Ok(()), |c| check_times(c, Some(times)));
                view.map_err(ChunkError::in_chunk(start + chunk))?;
            }
            let made = made..five.chunks.metas.len();
            self.parts.extend(made.map(Part::Made));
            return Ok(());
        }
        let before = self.five.len();
        let plain = self
            .plain
            .run(
                &chunks[run.clone()],
                resolution,
                &mut self.five,
                &mut five.counts,
            )
            .map_err(|(chunk, error)| ChunkError::in_chunk(start + chunk)(error))?;
        if !plain {
            self.read_run(chunks, run, five)?;
        }
        for number in before..self.five.len() {
            let encoded = self
                .five
                .encode(number, &mut self.encoder, &mut five.chunks);
            encoded.map_err(ChunkError::ours)?;
            self.parts.push(Part::Float(number));
        }
        Ok(())
    }

    /// A run of floats that has to be read as a whole first.
    fn read_run(
        &mut self,
        chunks: &[ChunkView<'_>],
        run: Range<usize>,
        five: &mut Level,
    ) -> Result<(), ChunkError> {
        self.floats.clear();
        for chunk in run {
            let view = &chunks[chunk];
            let read = self.floats.read(view.encoding, view.data, &mut five.counts);
            read.and_then(|times| check_times(view, times))
                .map_err(ChunkError::in_chunk(chunk))?;
        }
        self.floats
            .downsample(self.resolutions[0], &mut self.five, &mut five.counts);
        Ok(())
    }

    /// Takes in one chunk of a 5m block. Samples of strays that no aggregate
    /// counts go to `lost`.
    fn open(
        &mut self,
        number: usize,
        chunk: &ChunkView<'_>,
        strays: &mut EncodedChunks,
        lost: &mut Counts,
    ) -> Result<()> {
        if chunk.encoding != Encoding::Aggr {
            return self.open_stray(chunk, strays, lost);
        }
        let parsed = AggrChunk::parse(chunk.data)?;
        if is_histogram(&parsed) {
            self.parts.push(Part::Input(number));
            return Ok(());
        }
        let times = (chunk.min_time, chunk.max_time);
        self.five.decode(&parsed, times, self.resolutions[0])?;
        self.parts.push(Part::Float(self.five.len() - 1));
        Ok(())
    }

    /// Raw samples among aggregates: downsampled by the rules for raw chunks.
    fn open_stray(
        &mut self,
        chunk: &ChunkView<'_>,
        strays: &mut EncodedChunks,
        lost: &mut Counts,
    ) -> Result<()> {
        if num_samples(chunk.encoding, chunk.data)? == 0 {
            return Ok(());
        }
        let resolution = self.resolutions[0];
        let mut counts = Counts::default();
        if chunk.encoding.kind() == Some(Kind::Float) {
            self.floats.clear();
            let times = self.floats.read(chunk.encoding, chunk.data, &mut counts)?;
            check_times(chunk, times)?;
            let before = self.five.len();
            self.floats
                .downsample(resolution, &mut self.five, &mut counts);
            let made = before..self.five.len();
            self.parts.extend(made.map(Part::Float));
        } else {
            let before = strays.metas.len();
            let data = [(chunk.encoding, chunk.data)];
            let made = self.histograms.raw(&data, resolution, strays, &mut counts);
            made.map_err(|(_, error)| error)?;
            for (_, times) in self.histograms.times() {
                check_times(chunk, Some(times))?;
            }
            let made = before..strays.metas.len();
            self.parts.extend(made.map(Part::Made));
        }
        // What aggregates count is read again from them.
        counts.read -= counts.counted;
        counts.counted = 0;
        *lost += counts;
        Ok(())
    }

    /// From the parts to 1h, run by run.
    fn next_level(
        &mut self,
        inputs: &[ChunkView<'_>],
        made: &EncodedChunks,
        hour: &mut Level,
    ) -> Result<(), ChunkError> {
        hour.clear();
        self.hour.clear();
        let parts = std::mem::take(&mut self.parts);
        let mut rest = parts.as_slice();
        let mut result = Ok(());
        while let (Some(&first), Ok(())) = (rest.first(), &result) {
            let is_float = |part: &Part| matches!(part, Part::Float(_));
            let same = |part: &&Part| is_float(part) == is_float(&first);
            let (run, later) = rest.split_at(rest.iter().take_while(same).count());
            rest = later;
            result = match first {
                Part::Float(start) => self.float_run(start..start + run.len(), hour),
                _ => self.histogram_run(run, inputs, made, hour),
            };
        }
        self.parts = parts;
        result
    }

    fn float_run(&mut self, run: Range<usize>, hour: &mut Level) -> Result<(), ChunkError> {
        let resolutions = (self.resolutions[0], self.resolutions[1]);
        let before = self.hour.len();
        self.aggregator.run(
            &self.five,
            run,
            resolutions,
            &mut self.hour,
            &mut hour.counts,
        );
        (before..self.hour.len()).try_for_each(|number| {
            let encoded = self
                .hour
                .encode(number, &mut self.encoder, &mut hour.chunks);
            encoded.map_err(ChunkError::ours)
        })
    }

    fn histogram_run(
        &mut self,
        run: &[Part],
        inputs: &[ChunkView<'_>],
        made: &EncodedChunks,
        hour: &mut Level,
    ) -> Result<(), ChunkError> {
        let mut chunks = Vec::with_capacity(run.len());
        for &part in run {
            let (times, data) = match part {
                Part::Input(number) => {
                    let chunk = &inputs[number];
                    ((chunk.min_time, chunk.max_time), chunk.data)
                }
                Part::Made(number) | Part::Float(number) => {
                    let chunk = &made.metas[number];
                    ((chunk.min_time, chunk.max_time), made.data(chunk))
                }
            };
            let parsed = AggrChunk::parse(data).map_err(|error| ChunkError {
                chunk: blamed(part),
                error,
            })?;
            chunks.push((times.0, times.1, parsed));
        }
        let [from, to] = self.resolutions;
        self.histograms
            .aggregates(&chunks, from, to, &mut hour.chunks, &mut hour.counts)
            .map_err(|(chunk, error)| ChunkError {
                chunk: run.get(chunk).and_then(|&part| blamed(part)),
                error,
            })
    }
}

/// Chunk that an error in a part is reported for: what was made here has none of
/// its own.
fn blamed(part: Part) -> Option<usize> {
    match part {
        Part::Input(number) => Some(number),
        Part::Made(_) | Part::Float(_) => None,
    }
}

/// How many chunks from the first on are all floats or all histograms.
fn run_of(chunks: &[ChunkView<'_>]) -> usize {
    let is_float = |chunk: &ChunkView<'_>| chunk.encoding.kind() == Some(Kind::Float);
    let Some(first) = chunks.first() else {
        return 0;
    };
    let same = |chunk: &&ChunkView<'_>| is_float(chunk) == is_float(first);
    chunks.iter().take_while(same).count()
}

/// A chunk of aggregates is one of histograms if its counter is, or its sum
/// where the counter is missing.
fn is_histogram(chunk: &AggrChunk<'_>) -> bool {
    let column = chunk.column(Aggr::Counter);
    let column = column.or_else(|| chunk.column(Aggr::Sum));
    column.is_some_and(|c| c.encoding.kind() != Some(Kind::Float))
}

/// The windows lie where the samples do, the index entries where they say.
fn check_times(chunk: &ChunkView<'_>, times: Option<(i64, i64)>) -> Result<()> {
    let Some((first, last)) = times else {
        return Ok(());
    };
    if first >= chunk.min_time && last <= chunk.max_time {
        return Ok(());
    }
    let what = format!(
        "chunk has samples from {first} to {last} ms, outside of the times in its index entry, \
         {}..={} ms",
        chunk.min_time, chunk.max_time
    );
    Err(Corrupt::at(0, what)
        .because(Damage::ChunkTimeMismatch)
        .into())
}
