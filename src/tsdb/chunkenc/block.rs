//! Decoding all floats of a chunk at once.
//!
//! A sample takes a few ns, so the loop over them is pared down: it meets only
//! the common codes, and only where so many bytes follow that no read has to
//! look for the end. Whatever else comes is left to [`Decoder::step`], which can
//! read any sample anywhere. For the last samples of a chunk the loop goes on
//! in a copy of the last bytes with zeros behind them:
//!
//! ```text
//!  data   | header | ........ run ......... | rest |
//!                      ^ a rare code: step  '-copied-> | rest | 0 0 0 .. 0 |
//!                                                        .... run ....
//! ```

use super::Fault;
use super::bits::{BitReader, PADDED};
use super::window::BadWindow;

/// What a decoder of floats carries from one sample to the next.
pub(super) trait Decoder: Copy {
    /// Decodes samples until both slices are full, the reader is no longer
    /// [roomy](BitReader::is_roomy), or a rare code comes, which is left unread.
    /// Returns how many.
    fn run(
        &mut self,
        r: &mut BitReader<'_>,
        ts: &mut [i64],
        vs: &mut [f64],
    ) -> Result<usize, BadWindow>;

    /// Decodes one sample, whatever its code. Past the end it reads zeros.
    fn step(&mut self, r: &mut BitReader<'_>) -> Result<(), BadWindow>;

    /// The sample that was decoded last.
    fn sample(&self) -> (i64, f64);
}

/// Fills both slices, which are equally long, with the samples that follow.
///
/// Samples past the end of the data decode as zeros and are found at the end,
/// once for all. An error comes with its byte offset. The decoder comes back as
/// the last sample left it.
pub(super) fn decode<D: Decoder>(
    mut decoder: D,
    r: BitReader<'_>,
    ts: &mut [i64],
    vs: &mut [f64],
) -> Result<D, (Fault, usize)> {
    let mut pad = [0; PADDED];
    // The padded copy lives shorter than the data, and so must its reader.
    let mut r: BitReader<'_> = r;
    let mut done = 0;
    let mut result = decode_some(&mut decoder, &mut r, (ts, vs), &mut done, false);
    if result.is_ok() && done < ts.len() {
        r = r.padded(&mut pad);
        result = decode_some(&mut decoder, &mut r, (ts, vs), &mut done, true);
    }
    match result {
        Err(BadWindow) => Err((Fault::Window, r.byte_offset())),
        Ok(()) if r.overrun() => Err((Fault::TooShort, r.byte_offset())),
        Ok(()) => Ok(decoder),
    }
}

/// Decodes from sample `done` on; not `to_the_end` stops where the reader gets
/// short of room.
fn decode_some<D: Decoder>(
    decoder: &mut D,
    r: &mut BitReader<'_>,
    (ts, vs): (&mut [i64], &mut [f64]),
    done: &mut usize,
    to_the_end: bool,
) -> Result<(), BadWindow> {
    while let (Some(later_ts), Some(later_vs)) = (ts.get_mut(*done..), vs.get_mut(*done..)) {
        *done += decoder.run(r, later_ts, later_vs)?;
        let (Some(t), Some(v)) = (ts.get_mut(*done), vs.get_mut(*done)) else {
            break;
        };
        if !to_the_end && !r.is_roomy() {
            break;
        }
        decoder.step(r)?;
        (*t, *v) = decoder.sample();
        *done += 1;
    }
    Ok(())
}
