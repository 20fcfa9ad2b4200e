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
use super::fold::FloatFold;
use super::window::BadWindow;

/// What a decoder of floats carries from one sample to the next.
pub(super) trait Decoder: Copy {
    /// Decodes `most` samples into a fold, or fewer where the reader is no longer
    /// [roomy](BitReader::is_roomy), or a rare code comes, which is left unread.
    /// Returns how many.
    fn run<F: FloatFold>(
        &mut self,
        r: &mut BitReader<'_>,
        most: usize,
        carry: &mut F::Carry,
        fold: &mut F,
    ) -> Result<usize, BadWindow>;

    /// Decodes one sample, whatever its code. Past the end it reads zeros.
    fn step(&mut self, r: &mut BitReader<'_>) -> Result<(), BadWindow>;

    /// The sample that was decoded last.
    fn sample(&self) -> (i64, f64);
}

/// Decodes the `left` samples that follow into a fold.
///
/// Samples past the end of the data decode as zeros and are found at the end,
/// once for all. An error comes with its byte offset. The decoder comes back as
/// the last sample left it.
pub(super) fn decode<D: Decoder, F: FloatFold>(
    mut decoder: D,
    r: BitReader<'_>,
    mut left: usize,
    carry: &mut F::Carry,
    fold: &mut F,
) -> Result<D, (Fault, usize)> {
    let mut pad = [0; PADDED];
    // The padded copy lives shorter than the data, and so must its reader.
    let mut r: BitReader<'_> = r;
    let mut result = decode_some(&mut decoder, &mut r, &mut left, (carry, fold), false);
    if result.is_ok() && left > 0 {
        r = r.padded(&mut pad);
        result = decode_some(&mut decoder, &mut r, &mut left, (carry, fold), true);
    }
    match result {
        Err(BadWindow) => Err((Fault::Window, r.byte_offset())),
        Ok(()) if r.overrun() => Err((Fault::TooShort, r.byte_offset())),
        Ok(()) => Ok(decoder),
    }
}

/// Decodes on until no samples are `left`; not `to_the_end` stops where the reader
/// gets short of room.
fn decode_some<D: Decoder, F: FloatFold>(
    decoder: &mut D,
    r: &mut BitReader<'_>,
    left: &mut usize,
    (carry, fold): (&mut F::Carry, &mut F),
    to_the_end: bool,
) -> Result<(), BadWindow> {
    loop {
        *left -= decoder.run(r, *left, carry, fold)?;
        if *left == 0 || (!to_the_end && !r.is_roomy()) {
            return Ok(());
        }
        decoder.step(r)?;
        let (t, v) = decoder.sample();
        *carry = fold.fold(*carry, t, v);
        *left -= 1;
    }
}
