//! Replicas of one series as streams of samples, and the way of those that are
//! taken into the result.
//!
//! ```text
//!  pieces of a replica   |--gone--|--open--|--next--|-------|
//!                                   ^ ^    :
//!                                   | head :   the first sample not before the floor
//!                                   floor  :
//! ```
//!
//! A stream only moves forward: its floor rises, and what lies below is not
//! wanted. It has one piece open. One that ends below the floor is never
//! opened, and what is asked most, a bound of the head, is known without.
//!
//! Samples that are taken one after the other in one piece are one span. If in
//! the end that is the whole piece, it passes as it is.

use std::ops::Range;

use super::ledger::Ledger;
use super::overlap::{Piece, PieceError, Scratch, SeriesOut, check_times, pass};
use crate::tsdb::chunkenc::{
    DecodeScratch, Decoded, EncodedChunks, FloatSamples, Kind, SeriesEncoder, decode_chunk,
};
use crate::tsdb::{Corrupt, Error, Result};

/// One replica.
#[derive(Debug, Default)]
pub(super) struct Stream {
    /// Its pieces that were neither opened nor skipped, in those of the run.
    left: Range<usize>,
    /// The open piece, if there is one.
    open: Option<usize>,
    /// Times of its samples, and of floats the values, too.
    samples: FloatSamples,
    /// Place of the head in them, as far as it was looked for.
    at: usize,
    /// Earlier samples are not wanted, ms.
    floor: i64,
    /// Start timestamps in the open piece.
    start_times: u64,
    /// Samples of the open piece that went to the encoder.
    written: usize,
    /// The open piece passed as it is.
    passed: bool,
}

impl Stream {
    fn start(&mut self, pieces: Range<usize>) {
        self.left = pieces;
        self.open = None;
        self.samples.clear();
        self.at = 0;
        self.floor = super::fold::FIRST;
        self.start_times = 0;
        self.written = 0;
        self.passed = false;
    }

    /// The head, if it lies in the open piece.
    fn head(&mut self) -> Option<i64> {
        let rest = self.samples.ts.get(self.at..).unwrap_or_default();
        self.at += rest.iter().take_while(|t| **t < self.floor).count();
        self.samples.ts.get(self.at).copied()
    }

    /// A time (ms) that the head is not before; `None` without a head. Skips
    /// pieces that end below the floor.
    fn bound(&mut self, pieces: &[Piece<'_>], ledger: &mut Ledger) -> Option<i64> {
        if let (Some(first), Some(last)) = (self.samples.ts.get(self.at), self.samples.ts.last())
            && *last >= self.floor
        {
            return Some(self.floor.max(*first));
        }
        while let Some(piece) = pieces.get(self.left.clone()).and_then(<[_]>::first) {
            if piece.max_time >= self.floor {
                return Some(self.floor.max(piece.min_time));
            }
            ledger.drop_chunk(piece.samples, piece.intact);
            self.left.start += 1;
        }
        None
    }
}

/// Samples of one stream, all in its open piece, that follow each other in the
/// result. They are not written yet.
#[derive(Debug)]
struct Span {
    stream: usize,
    samples: Range<usize>,
}

/// Reads the open histogram piece of a stream a second time, for the values.
#[derive(Default)]
struct Values<'a> {
    iter: Option<Decoded<'a>>,
    /// Samples read.
    at: usize,
}

/// All replicas of one run of one series.
pub(super) struct Streams<'a, 's, 'o> {
    pieces: &'a [Piece<'a>],
    all: &'s mut [Stream],
    span: Option<Span>,
    /// By stream; empty while no histograms had to be encoded anew.
    values: Vec<Values<'a>>,
    scratch: &'s mut Scratch,
    out: &'s mut SeriesOut<'o>,
}

impl<'a, 's, 'o> Streams<'a, 's, 'o> {
    /// A stream for each replica. `pieces` are in the order of replicas, those
    /// of one in the order of time and without overlap. `all` keeps the buffers.
    pub fn new(
        pieces: &'a [Piece<'a>],
        all: &'s mut Vec<Stream>,
        scratch: &'s mut Scratch,
        out: &'s mut SeriesOut<'o>,
    ) -> Self {
        let mut start = 0;
        let mut count = 0;
        for replica in pieces.chunk_by(|a, b| a.replica == b.replica) {
            if all.len() == count {
                all.push(Stream::default());
            }
            let end = start + replica.len();
            all[count].start(start..end);
            (start, count) = (end, count + 1);
        }
        scratch.chunks.clear();
        Self {
            pieces,
            all: &mut all[..count],
            span: None,
            values: Vec::new(),
            scratch,
            out,
        }
    }

    /// How many they are.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Samples of a stream before `floor` (ms) are not wanted any more.
    pub fn raise(&mut self, stream: usize, floor: i64) {
        let stream = &mut self.all[stream];
        stream.floor = stream.floor.max(floor);
    }

    /// A time (ms) that the first sample not before the floor is not before
    /// either; `None` if there is none. Opens nothing.
    pub fn bound(&mut self, stream: usize) -> Option<i64> {
        self.all[stream].bound(self.pieces, self.out.ledger)
    }

    /// The time of that sample, ms.
    pub fn head(&mut self, stream: usize) -> Result<Option<i64>, PieceError> {
        loop {
            if let Some(t) = self.all[stream].head() {
                return Ok(Some(t));
            }
            if self.bound(stream).is_none() {
                return Ok(None);
            }
            self.close(stream)?;
            self.open(stream)?;
        }
    }

    /// Times (ms) of the samples that follow the head in the open piece.
    pub fn following(&self, stream: usize) -> &[i64] {
        let stream = &self.all[stream];
        stream.samples.ts.get(stream.at + 1..).unwrap_or_default()
    }

    /// Takes the head, which [`Self::head`] has found, and as many `following`
    /// samples; the last one is where the stream then stands.
    pub fn take(&mut self, stream: usize, following: usize) -> Result<(), PieceError> {
        let start = self.all[stream].at;
        let end = start + 1 + following;
        match &mut self.span {
            // A span ends with its piece, so this is the same one.
            Some(span) if span.stream == stream && span.samples.end == start => {
                span.samples.end = end;
            }
            _ => {
                self.flush()?;
                let samples = start..end;
                self.span = Some(Span { stream, samples });
            }
        }
        self.all[stream].at = end - 1;
        Ok(())
    }

    /// Opens the next piece of a stream.
    fn open(&mut self, stream: usize) -> Result<(), PieceError> {
        let stream = &mut self.all[stream];
        let Some(index) = stream.left.next() else {
            return Ok(());
        };
        let piece = &self.pieces[index];
        let scratch = &mut self.scratch.histograms;
        let decoded = read(piece, &mut stream.samples, scratch);
        stream.start_times = decoded.map_err(at(piece))?;
        stream.open = Some(index);
        Ok(())
    }

    /// Settles what becomes of the open piece of a stream.
    fn close(&mut self, stream: usize) -> Result<(), PieceError> {
        if self.span.as_ref().is_some_and(|s| s.stream == stream) {
            self.flush()?;
        }
        if let Some(values) = self.values.get_mut(stream)
            && let Some(iter) = std::mem::take(values).iter
        {
            self.scratch.histograms.recycle(iter);
        }
        let stream = &mut self.all[stream];
        stream.samples.clear();
        stream.at = 0;
        let written = std::mem::take(&mut stream.written);
        let passed = std::mem::take(&mut stream.passed);
        let Some(piece) = stream.open.take().map(|i| &self.pieces[i]) else {
            return Ok(());
        };
        let ledger = &mut *self.out.ledger;
        if passed {
            return Ok(());
        }
        if written == 0 {
            ledger.drop_chunk(piece.samples, piece.intact);
            return Ok(());
        }
        ledger.chunks_replaced += u64::from(piece.intact);
        ledger.start_times_dropped += stream.start_times;
        let lost = u64::from(piece.samples).checked_sub(written as u64);
        ledger.deduplicated += lost
            .ok_or_else(|| Corrupt::at(0, "chunk holds more samples than its header says"))
            .map_err(|corrupt| at(piece)(corrupt.into()))?;
        Ok(())
    }

    /// Writes the samples of the span, or passes its piece.
    fn flush(&mut self) -> Result<(), PieceError> {
        let Some(Span { stream, samples }) = self.span.take() else {
            return Ok(());
        };
        let of = &mut self.all[stream];
        let Some(piece) = of.open.map(|i| &self.pieces[i]) else {
            return Ok(());
        };
        let whole = samples == (0..of.samples.ts.len()) && samples.len() == piece.samples as usize;
        // Store gateways of today cannot read the encodings with start times.
        if whole && !piece.encoding.has_start_times() {
            of.passed = true;
            self.settle().map_err(at(piece))?;
            pass(piece, self.out);
            return Ok(());
        }
        of.written += samples.len();
        let Scratch {
            encoder,
            chunks,
            histograms,
            ..
        } = &mut *self.scratch;
        let written = if piece.encoding.kind() == Some(Kind::Float) {
            let FloatSamples { ts, vs } = &of.samples;
            encoder.push_floats(&ts[samples.clone()], &vs[samples], chunks)
        } else {
            if self.values.is_empty() {
                self.values.resize_with(self.all.len(), Values::default);
            }
            self.values[stream].write(piece, samples, histograms, encoder, chunks)
        };
        written.map_err(at(piece))?;
        self.out.take(chunks);
        chunks.clear();
        Ok(())
    }

    /// Ends the chunk that is being encoded.
    fn settle(&mut self) -> Result<()> {
        let chunks = &mut self.scratch.chunks;
        self.scratch.encoder.finish(chunks)?;
        self.out.take(chunks);
        chunks.clear();
        Ok(())
    }

    /// Writes what is not written yet and accounts for what was not wanted.
    pub fn finish(mut self) -> Result<(), PieceError> {
        for stream in 0..self.all.len() {
            self.close(stream)?;
            for piece in &self.pieces[self.all[stream].left.clone()] {
                self.out.ledger.drop_chunk(piece.samples, piece.intact);
            }
        }
        match self.pieces.first() {
            Some(piece) => self.settle().map_err(at(piece)),
            None => Ok(()),
        }
    }
}

fn at(piece: &Piece<'_>) -> impl Fn(Error) -> PieceError {
    let input = piece.input;
    move |error| PieceError { input, error }
}

/// Reads the times of a piece, and the values of a float piece, into an empty
/// buffer. Times of histograms lie between their values, so all is read. Returns
/// how many samples have a start timestamp.
fn read(piece: &Piece<'_>, samples: &mut FloatSamples, scratch: &mut DecodeScratch) -> Result<u64> {
    let mut start_times = 0;
    let mut decoded = decode_chunk(piece.encoding, piece.data, samples, scratch)?;
    match &mut decoded {
        Decoded::Floats { start_times: found } => start_times = *found as u64,
        Decoded::Histograms(iter) => {
            while let Some(t) = iter.next()? {
                start_times += u64::from(iter.start_time().is_some());
                samples.ts.push(t);
            }
        }
        Decoded::FloatHistograms(iter) => {
            while let Some(t) = iter.next()? {
                start_times += u64::from(iter.start_time().is_some());
                samples.ts.push(t);
            }
        }
    }
    scratch.recycle(decoded);
    check_times(piece, &samples.ts)?;
    Ok(start_times)
}

impl<'a> Values<'a> {
    /// Encodes some of the samples of a histogram piece, later ones than before.
    fn write(
        &mut self,
        piece: &'a Piece<'a>,
        samples: Range<usize>,
        scratch: &mut DecodeScratch,
        encoder: &mut SeriesEncoder,
        out: &mut EncodedChunks,
    ) -> Result<()> {
        let iter = match &mut self.iter {
            Some(iter) => iter,
            // No floats come out of it.
            none => none.insert(decode_chunk(
                piece.encoding,
                piece.data,
                &mut FloatSamples::default(),
                scratch,
            )?),
        };
        while self.at < samples.end {
            let wanted = samples.contains(&self.at);
            self.at += 1;
            match iter {
                Decoded::Floats { .. } => return Ok(()),
                Decoded::Histograms(iter) => {
                    if let Some(t) = iter.next()?
                        && wanted
                    {
                        encoder.push_histogram(t, iter.current(), out)?;
                    }
                }
                Decoded::FloatHistograms(iter) => {
                    if let Some(t) = iter.next()?
                        && wanted
                    {
                        encoder.push_float_histogram(t, iter.current(), out)?;
                    }
                }
            }
        }
        Ok(())
    }
}
