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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::downsample::FIVE_MINUTES_MS;
    use crate::merge::MergeError;
    use crate::merge::batch::Batch;
    use crate::merge::test_support::{Block, SeriesMap, Setup, float_chunk, labels, pool};
    use crate::tsdb::Damage;
    use crate::tsdb::chunkenc::Encoding;

    const ALL: Products = Products {
        from: 0,
        merged: true,
        five_minutes: true,
        one_hour: true,
    };

    /// A chunk of two samples from 0 to 9 ms.
    fn chunk(data: OutData) -> OutChunk {
        OutChunk {
            min_time: 0,
            max_time: 9,
            encoding: Encoding::Xor,
            samples: 2,
            data,
            tap: None,
        }
    }

    /// Downsamples `chunk`, whose bytes are in `framed` if they were encoded.
    fn lower(
        batch: &mut Batch,
        chunk: OutChunk,
        products: Products,
        mut framed: Vec<u8>,
    ) -> Result<(), PieceError> {
        let series = Chunks {
            inputs: &batch.inputs,
            chunks: &[chunk],
            first_input: 0,
        };
        let [_, levels @ ..] = &mut batch.levels;
        let scratch = &mut Scratch::default();
        downsample(&series, products, scratch, &mut framed, levels)
    }

    /// Of the second source, whose samples do not lie at 100 ms.
    fn misplaced(batch: &mut Batch) -> Result<(), PieceError> {
        let late = OutChunk {
            min_time: 100,
            max_time: 109,
            ..chunk(OutData::Input(1))
        };
        lower(batch, late, ALL, Vec::new())
    }

    /// The same bytes, as if they had been encoded here.
    fn misplaced_by_us(batch: &mut Batch) -> Result<(), PieceError> {
        let framed = batch.inputs[1].record.framed().to_vec();
        let late = OutChunk {
            min_time: 100,
            max_time: 109,
            ..chunk(OutData::Framed(0, framed.len()))
        };
        lower(batch, late, ALL, framed)
    }

    /// Two samples in no bytes.
    fn too_short(batch: &mut Batch) -> Result<(), PieceError> {
        let mut framed = Vec::new();
        frame_chunk(Encoding::Xor.as_byte(), &[0, 2], &mut framed);
        lower(batch, chunk(OutData::Framed(0, framed.len())), ALL, framed)
    }

    /// Aggregates that are none.
    fn no_aggregates(batch: &mut Batch) -> Result<(), PieceError> {
        let mut framed = Vec::new();
        frame_chunk(Encoding::Aggr.as_byte(), &[200], &mut framed);
        let aggregates = OutChunk {
            encoding: Encoding::Aggr,
            ..chunk(OutData::Framed(0, framed.len()))
        };
        let products = Products {
            from: FIVE_MINUTES_MS,
            five_minutes: false,
            ..ALL
        };
        lower(batch, aggregates, products, framed)
    }

    /// A sample more than there is.
    fn miscounted(batch: &mut Batch) -> Result<(), PieceError> {
        let more = OutChunk {
            samples: 3,
            ..chunk(OutData::Input(0))
        };
        lower(batch, more, ALL, Vec::new())
    }

    /// How a merge of two sources ends whose worker does this.
    fn ends(work: crate::merge::worker::Work) -> MergeError {
        let series: SeriesMap = [(
            labels(&[("__name__", "up"), ("job", "z")]),
            vec![float_chunk(&[(0, 1.5), (9, 2.5)])],
        )]
        .into();
        let blocks = ["a", "b"].map(|name| Block::write(name, (0, 60), &series, &[], 1 << 20));
        let mut setup = Setup::new(&pool(1), &blocks);
        setup.tuning.work = work;
        setup.merge(&blocks).unwrap_err()
    }

    #[test]
    fn a_piece_as_it_came_is_to_blame_for_itself() {
        let error = ends(misplaced);
        assert_eq!(error.input, Some(1));
        let Error::Corrupt(corrupt) = &error.error else {
            panic!("{error}");
        };
        assert_eq!(corrupt.damage, Damage::ChunkTimeMismatch);
        assert_eq!(corrupt.file, "b/chunks/000001");
    }

    #[test]
    fn no_source_is_to_blame_for_what_was_encoded_here() {
        for (work, what) in [
            (
                misplaced_by_us as crate::merge::worker::Work,
                "outside of the times",
            ),
            (too_short, "xor"),
            (no_aggregates, "aggregate"),
        ] {
            let error = ends(work);
            assert_eq!(error.input, None, "{error}");
            assert!(matches!(error.error, Error::Misuse(_)), "{error}");
            let text = error.to_string().to_lowercase();
            let ours = "chunks made of several are wrong";
            assert!(text.contains(ours) && text.contains(what), "{text}");
            // Where to look for it.
            assert!(text.contains("job=\"z\""), "{text}");
        }
    }

    #[test]
    fn samples_that_get_lost_are_no_damage_either() {
        let error = ends(miscounted);
        assert_eq!(error.input, None);
        let text = error.to_string();
        assert!(text.contains("2 of 3 samples were downsampled"), "{text}");
    }
}
