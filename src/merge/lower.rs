//! Lower resolutions of a series, made from its merged chunks while they are at
//! hand.
//!
//! ```text
//!  merged chunks --+--> level 0, if it is wanted
//!                  '--> downsample --> level 1 (5m) --> level 2 (1h)
//! ```

use super::batch::{InputChunk, LevelOut};
use super::overlap::{PieceError, Scratch};
use super::products::Products;
use super::worker::{OutChunk, OutData};
use crate::downsample::{ChunkError, ChunkView, Level};
use crate::tsdb::Error;
use crate::tsdb::chunkenc::FloatSamples;
use crate::tsdb::chunks::{frame_chunk, framed_data};

/// Merged chunks of one series.
pub(super) struct Chunks<'a> {
    /// All pieces of the batch.
    pub inputs: &'a [InputChunk],
    /// The chunks, in order of time.
    pub chunks: &'a [OutChunk],
    /// The series' first piece.
    pub first_input: u32,
}

/// Appends the chunks of the lower resolutions that are wanted to `levels`, 5m
/// and 1h, and their bytes to `framed`, where those of encoded chunks are, too.
///
/// # Errors
/// Names the piece that is damaged.
pub(super) fn downsample(
    series: &Chunks<'_>,
    products: Products,
    scratch: &mut Scratch,
    framed: &mut Vec<u8>,
    levels: &mut [LevelOut],
) -> Result<(), PieceError> {
    let (five, hour) = (&mut scratch.five, &mut scratch.hour);
    {
        let views = series.views(framed, &scratch.tap);
        let done = if products.from == 0 {
            let wanted = products.one_hour.then_some(&mut *hour);
            scratch.downsampler.raw(&views, five, wanted)
        } else {
            scratch.downsampler.aggregates(&views, hour)
        };
        done.map_err(|error| series.blame(error))?;
    }
    let [five_out, hour_out] = levels else {
        return Ok(());
    };
    if products.from == 0 {
        // Even if only 1h is wanted: what it leaves out, the books must know.
        take(five, products.five_minutes, framed, five_out).map_err(|e| series.broken(e))?;
        let samples: u64 = series.chunks.iter().map(|c| u64::from(c.samples)).sum();
        if samples != five.counts.read {
            let what = format!("{} of {samples} samples were downsampled", five.counts.read);
            return Err(series.broken(Error::Misuse(what)));
        }
    }
    if products.one_hour {
        take(hour, true, framed, hour_out).map_err(|e| series.broken(e))?;
    }
    Ok(())
}

/// Takes over what was made of a series, once its books balance.
fn take(
    level: &Level,
    wanted: bool,
    framed: &mut Vec<u8>,
    out: &mut LevelOut,
) -> Result<(), Error> {
    let off = level.counts.imbalance();
    if off != 0 {
        let what = format!(
            "{off} samples of a series are missing from {}",
            level.counts
        );
        return Err(Error::Misuse(what));
    }
    out.counts += level.counts;
    if !wanted {
        return Ok(());
    }
    for (chunk, data) in level.chunks.iter() {
        let start = framed.len();
        frame_chunk(chunk.encoding.as_byte(), data, framed);
        out.chunks.push(OutChunk {
            min_time: chunk.min_time,
            max_time: chunk.max_time,
            encoding: chunk.encoding,
            samples: chunk.samples as u32,
            data: OutData::Framed(start, framed.len()),
            tap: None,
        });
    }
    Ok(())
}

impl Chunks<'_> {
    /// Their encoded samples.
    fn views<'a>(&'a self, framed: &'a [u8], tap: &'a FloatSamples) -> Vec<ChunkView<'a>> {
        let samples = |chunk: &OutChunk| {
            let tapped = chunk.tap? as usize..chunk.tap? as usize + chunk.samples as usize;
            Some((tap.ts.get(tapped.clone())?, tap.vs.get(tapped)?))
        };
        let view = |chunk: &OutChunk| ChunkView {
            samples: samples(chunk),
            min_time: chunk.min_time,
            max_time: chunk.max_time,
            encoding: chunk.encoding,
            data: match chunk.data {
                OutData::Input(input) => self.inputs[input as usize].record.data(),
                OutData::Framed(start, end) => framed_data(&framed[start..end]),
            },
        };
        self.chunks.iter().map(view).collect()
    }

    /// The piece that a damaged chunk is.
    fn blame(&self, ChunkError { chunk, error }: ChunkError) -> PieceError {
        match chunk.and_then(|n| self.chunks.get(n)).map(|c| c.data) {
            Some(OutData::Input(input)) => PieceError { input, error },
            _ => self.broken(error),
        }
    }

    /// An error in what we encoded: nothing that a source could be blamed for,
    /// whatever it looks like.
    fn broken(&self, error: Error) -> PieceError {
        let error = match error {
            Error::Corrupt(corrupt) => {
                Error::Misuse(format!("chunks made of several are wrong: {corrupt}"))
            }
            other => other,
        };
        PieceError {
            input: self.first_input,
            error,
        }
    }
}
