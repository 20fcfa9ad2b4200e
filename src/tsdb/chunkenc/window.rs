//! The XOR step of Gorilla compression: a float against the one before.
//!
//! Two similar floats differ in a few bits in the middle of the word. Written
//! are the position of that middle (the *window*) and the bits inside it:
//!
//! ```text
//!  xor of both      00000000001011010011100000000000 ..  0
//!                   '-leading-'- significant -'- trailing-'
//!
//!  0                                    same bits as before
//!  10 <significant>                     the window of the last time is wide enough
//!  11 <leading:5> <length:6> <significant>   a new window; length 0 means 64
//! ```
//!
//! `leading` is cut off at 31, because it has 5 bits.

use std::hint::select_unpredictable;

use super::bits::{BitReader, BitRun};

/// Where the significant bits lie, as a decoder remembers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadWindow {
    /// Width in bits, 1 to 64.
    length: u32,
    /// Zero bits below, 0 to 63.
    trailing: u32,
}

impl ReadWindow {
    /// The window that holds before any was written: the whole word.
    pub(super) const WHOLE: Self = Self {
        length: 64,
        trailing: 0,
    };

    /// Reads a new window's 11 bits, which must be buffered.
    #[inline(always)]
    pub(super) fn read_new(r: &mut BitReader<'_>) -> Result<Self, BadWindow> {
        let raw = r.take(11) as u32;
        let leading = raw >> 6;
        let length = match raw & 63 {
            0 => 64,
            n => n,
        };
        if leading + length > 64 {
            return Err(BadWindow);
        }
        Ok(Self {
            length,
            trailing: 64 - leading - length,
        })
    }

    /// Reads the significant bits and puts them into place.
    #[inline(always)]
    pub(super) fn read_bits(self, r: &mut BitReader<'_>) -> u64 {
        r.read(self.length) << self.trailing
    }

    /// The same where 16 bytes follow.
    #[inline(always)]
    pub(super) fn read_bits_roomy(self, r: &mut BitReader<'_>) -> u64 {
        if self.length > r.buffered() {
            r.refill_roomy();
            // Even a fresh buffer may lack a few of 64 bits.
            if self.length > r.buffered() {
                let high = r.take(32);
                r.refill_roomy();
                let low_len = self.length - 32;
                return ((high << low_len) | r.take(low_len)) << self.trailing;
            }
        }
        r.take(self.length) << self.trailing
    }
}

impl Default for ReadWindow {
    fn default() -> Self {
        Self::WHOLE
    }
}

/// A window that sticks out of the word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadWindow;

/// Reads one value coded against `value`.
#[inline(always)]
pub(super) fn read_xor(
    r: &mut BitReader<'_>,
    value: u64,
    window: &mut ReadWindow,
) -> Result<u64, BadWindow> {
    r.refill();
    match r.peek() >> 62 {
        0b10 => r.skip(2),
        0b11 => {
            r.skip(2);
            *window = ReadWindow::read_new(r)?;
        }
        _ => {
            r.skip(1);
            return Ok(value);
        }
    }
    Ok(value ^ window.read_bits(r))
}

/// The same where 13 bits are buffered and 16 bytes follow.
#[inline(always)]
pub(super) fn read_xor_roomy(
    r: &mut BitReader<'_>,
    value: u64,
    window: &mut ReadWindow,
) -> Result<u64, BadWindow> {
    let top = r.peek();
    if top >> 63 == 0 {
        r.skip(1);
        return Ok(value);
    }
    r.skip(2);
    if top >> 62 == 0b11 {
        *window = ReadWindow::read_new(r)?;
    }
    Ok(value ^ window.read_bits_roomy(r))
}

/// Where the significant bits lie, as an encoder remembers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WriteWindow {
    leading: u32,
    trailing: u32,
}

impl WriteWindow {
    /// Before the first window: nothing fits into this one.
    pub(super) const NONE: Self = Self {
        leading: u32::MAX,
        trailing: 0,
    };
}

impl Default for WriteWindow {
    fn default() -> Self {
        Self::NONE
    }
}

/// Writes `prefix` of `prefix_len <= 24` bits and then `delta`, the XOR of a
/// value with the one before, in as few stores as possible.
#[inline(always)]
pub(super) fn put_xor_after(
    w: &mut BitRun<'_>,
    prefix: u64,
    prefix_len: u32,
    delta: u64,
    window: &mut WriteWindow,
) {
    if delta == 0 {
        w.put(prefix << 1, prefix_len + 1);
        return;
    }
    let leading = delta.leading_zeros().min(31);
    let trailing = delta.trailing_zeros();
    // Whether the last window is wide enough is a coin toss: no branch for it.
    let fits = (leading >= window.leading) & (trailing >= window.trailing);
    // A length of 64 overflows its 6 bits to 0, which is how it is written.
    let length = u64::from(64 - leading - trailing) & 63;
    let control = (0b11 << 11) | (u64::from(leading) << 6) | length;
    let control = select_unpredictable(fits, 0b10, control);
    let bits = select_unpredictable(fits, 2, 13);
    window.leading = select_unpredictable(fits, window.leading, leading);
    window.trailing = select_unpredictable(fits, window.trailing, trailing);
    w.put((prefix << bits) | control, prefix_len + bits);
    w.put_wide(
        delta >> window.trailing,
        64 - window.leading - window.trailing,
    );
}

/// Writes `delta`, the XOR of a value with the one before.
#[inline(always)]
pub(super) fn put_xor(w: &mut BitRun<'_>, delta: u64, window: &mut WriteWindow) {
    put_xor_after(w, 0, 0, delta, window);
}
