//! Encoding 1: float samples, timestamps by second difference, values by XOR.
//!
//! ```text
//!  byte 0..2   number of samples, big endian
//!  sample 0    timestamp varint, value 64 bits
//!  sample 1    timestamp delta uvarint, value (see window.rs)
//!  sample n    delta of delta, value
//!
//!  delta of delta (ms)        bits
//!  0                          0
//!  -8191 .. 8192              10   + 14
//!  -65535 .. 65536            110  + 17
//!  -524287 .. 524288          1110 + 20
//!  everything else            1111 + 64
//! ```
//!
//! Timestamps are added and subtracted modulo 2^64, as the writer did. Values
//! are moved as bits, so that the payload of a NaN (the stale marker) survives.

use super::bits::{BitReader, BitWriter};
use super::floats::FloatSamples;
use super::varbit::sign_extend;
use super::window::read_xor_buffered;
use super::window::{BadWindow, ReadWindow, WriteWindow, put_xor, put_xor_after, read_xor};
use super::{Fault, read_count};
use crate::tsdb::{Error, Result};

/// Bytes before the first sample.
pub(super) const HEADER: usize = 2;

/// Most samples that fit the header of a chunk.
pub(super) const MAX_SAMPLES: usize = u16::MAX as usize;

/// What a decoder carries from one sample to the next.
#[derive(Debug, Clone, Copy)]
struct State {
    t: i64,
    /// Last difference of timestamps, modulo 2^64.
    delta: i64,
    value: u64,
    window: ReadWindow,
}

impl State {
    /// Reads sample 0.
    fn first(r: &mut BitReader<'_>) -> Result<Self, Fault> {
        let t = r.read_varint().ok_or(Fault::LongVarint)?;
        Ok(Self {
            t,
            delta: 0,
            value: r.read(64),
            window: ReadWindow::WHOLE,
        })
    }

    /// Reads sample 1.
    fn second(&mut self, r: &mut BitReader<'_>) -> Result<(), Fault> {
        self.delta = r.read_uvarint().ok_or(Fault::LongVarint)?.cast_signed();
        self.t = self.t.wrapping_add(self.delta);
        self.value = read_xor(r, self.value, &mut self.window)?;
        Ok(())
    }

    /// Reads any later sample.
    #[inline(always)]
    fn later(&mut self, r: &mut BitReader<'_>) -> Result<(), BadWindow> {
        r.refill();
        if r.peek() >> 63 == 0 {
            r.skip(1);
        } else {
            let dod = read_dod(r);
            self.delta = self.delta.wrapping_add(dod);
        }
        self.t = self.t.wrapping_add(self.delta);
        // At most 24 bits are gone (or the buffer is fresh): 32 are left.
        self.value = read_xor_buffered(r, self.value, &mut self.window)?;
        Ok(())
    }
}

/// Reads a delta of delta that is not 0; leaves at least 32 bits buffered.
#[inline(always)]
fn read_dod(r: &mut BitReader<'_>) -> i64 {
    // Payload bits by the number of leading ones, at most 4 of which count.
    match (!r.peek()).leading_zeros() {
        1 => {
            r.skip(2);
            sign_extend(r.take(14), 14)
        }
        2 => {
            r.skip(3);
            sign_extend(r.take(17), 17)
        }
        3 => {
            r.skip(4);
            sign_extend(r.take(20), 20)
        }
        _ => read_dod_wide(r),
    }
}

#[cold]
#[inline(never)]
fn read_dod_wide(r: &mut BitReader<'_>) -> i64 {
    r.skip(4);
    let dod = r.read(64).cast_signed();
    r.refill();
    dod
}

/// Appends all samples of an XOR chunk to `out`; nothing on error.
///
/// # Errors
/// Corrupt data: too short for its sample count, or a window that sticks out.
pub fn decode_xor(data: &[u8], out: &mut FloatSamples) -> Result<()> {
    let total = read_count(data)?;
    let mut r = BitReader::new(data, HEADER);
    out.append(data, total, |ts, vs| decode_block(&mut r, ts, vs))
        .map_err(|fault| fault.at(r.byte_offset(), "xor", total))
}

fn decode_block(r: &mut BitReader<'_>, ts: &mut [i64], vs: &mut [f64]) -> Result<(), Fault> {
    let mut samples = ts.iter_mut().zip(vs);
    let Some((t, v)) = samples.next() else {
        return Ok(());
    };
    let mut state = State::first(r)?;
    (*t, *v) = (state.t, f64::from_bits(state.value));
    if let Some((t, v)) = samples.next() {
        state.second(r)?;
        (*t, *v) = (state.t, f64::from_bits(state.value));
    }
    for (t, v) in samples {
        state.later(r)?;
        (*t, *v) = (state.t, f64::from_bits(state.value));
    }
    // Past the end there are only zeros, so one look at the end is enough.
    if r.overrun() {
        return Err(Fault::TooShort);
    }
    Ok(())
}

/// Reads an XOR chunk sample by sample.
#[derive(Debug, Clone)]
pub struct XorIter<'a> {
    r: BitReader<'a>,
    state: State,
    total: usize,
    read: usize,
}

impl<'a> XorIter<'a> {
    /// Starts before the first sample.
    ///
    /// # Errors
    /// Corrupt when `data` is shorter than its header.
    pub fn new(data: &'a [u8]) -> Result<Self> {
        Ok(Self {
            r: BitReader::new(data, HEADER),
            state: State {
                t: 0,
                delta: 0,
                value: 0,
                window: ReadWindow::WHOLE,
            },
            total: read_count(data)?,
            read: 0,
        })
    }

    /// The next sample, timestamp in ms; `None` at the end and after an error.
    ///
    /// # Errors
    /// Corrupt data, as [`decode_xor`].
    #[expect(clippy::should_implement_trait, reason = "fallible, not an iterator")]
    pub fn next(&mut self) -> Result<Option<(i64, f64)>> {
        if self.read == self.total {
            return Ok(None);
        }
        if let Err(fault) = self.step() {
            let total = std::mem::replace(&mut self.total, self.read);
            return Err(fault.at(self.r.byte_offset(), "xor", total));
        }
        self.read += 1;
        Ok(Some((self.state.t, f64::from_bits(self.state.value))))
    }

    fn step(&mut self) -> Result<(), Fault> {
        match self.read {
            0 => self.state = State::first(&mut self.r)?,
            1 => self.state.second(&mut self.r)?,
            _ => self.state.later(&mut self.r)?,
        }
        if self.r.overrun() {
            return Err(Fault::TooShort);
        }
        Ok(())
    }

    /// Samples that are still to come.
    pub fn remaining(&self) -> usize {
        self.total - self.read
    }
}

/// Writes XOR chunks, one after the other, into one reused buffer.
#[derive(Debug, Clone)]
pub struct XorEncoder {
    w: BitWriter,
    count: usize,
    t: i64,
    delta: i64,
    value: u64,
    window: WriteWindow,
}

impl Default for XorEncoder {
    fn default() -> Self {
        Self::new()
    }
}

impl XorEncoder {
    /// An encoder with an empty chunk.
    pub fn new() -> Self {
        Self {
            w: BitWriter::default(),
            count: 0,
            t: 0,
            delta: 0,
            value: 0,
            window: WriteWindow::NONE,
        }
    }

    /// Samples in the chunk so far.
    pub fn len(&self) -> usize {
        self.count
    }

    /// True before the first sample of a chunk.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Drops what was written since the last [`Self::finish`].
    pub fn clear(&mut self) {
        self.count = 0;
    }

    /// Appends a sample, `t` in ms.
    #[inline]
    pub fn push(&mut self, t: i64, v: f64) {
        let value = v.to_bits();
        if self.count >= 2 {
            self.push_later(t, value);
        } else {
            self.push_early(t, value);
        }
        self.t = t;
        self.value = value;
        self.count += 1;
    }

    /// Appends samples; the shorter slice decides how many.
    pub fn push_all(&mut self, ts: &[i64], vs: &[f64]) {
        let mut samples = ts.iter().zip(vs);
        while self.count < 2 {
            match samples.next() {
                Some((t, v)) => self.push(*t, *v),
                None => return,
            }
        }
        for (t, v) in samples {
            self.push(*t, *v);
        }
    }

    /// Samples 0 and 1.
    #[cold]
    #[inline(never)]
    fn push_early(&mut self, t: i64, value: u64) {
        if self.count == 0 {
            self.w.restart(HEADER);
            self.window = WriteWindow::NONE;
            self.delta = 0;
            self.w.put_varint(t);
            self.w.put_wide(value, 64);
        } else {
            self.delta = t.wrapping_sub(self.t);
            self.w.put_uvarint(self.delta.cast_unsigned());
            put_xor(&mut self.w, value ^ self.value, &mut self.window);
        }
    }

    /// Samples from number 2 on.
    #[inline(always)]
    fn push_later(&mut self, t: i64, value: u64) {
        let delta = t.wrapping_sub(self.t);
        let dod = delta.wrapping_sub(self.delta);
        self.delta = delta;
        // The code of the timestamp goes out together with the first bits of
        // the value: one store less.
        let (prefix, len) = match dod {
            0 => (0, 1),
            -8191..=8192 => ((0b10 << 14) | (dod & 0x3fff).cast_unsigned(), 16),
            _ => self.put_rare_dod(dod),
        };
        put_xor_after(
            &mut self.w,
            prefix,
            len,
            value ^ self.value,
            &mut self.window,
        );
    }

    /// Code and length of a larger difference, or the code written and nothing
    /// left when it does not fit in front of a value.
    #[cold]
    #[inline(never)]
    fn put_rare_dod(&mut self, dod: i64) -> (u64, u32) {
        match dod {
            -65535..=65536 => ((0b110 << 17) | (dod & 0x1_ffff).cast_unsigned(), 20),
            -524_287..=524_288 => ((0b1110 << 20) | (dod & 0xf_ffff).cast_unsigned(), 24),
            _ => {
                self.w.put(0b1111, 4);
                self.w.put_wide(dod.cast_unsigned(), 64);
                (0, 0)
            }
        }
    }

    /// The bytes of the chunk. The next push starts a new one; without a sample
    /// this is the empty chunk.
    ///
    /// # Errors
    /// [`Error::Limit`] with more samples than the 16-bit count can say.
    pub fn finish(&mut self) -> Result<&[u8]> {
        let count = std::mem::take(&mut self.count);
        if count == 0 {
            self.w.restart(HEADER);
        }
        let Ok(short) = u16::try_from(count) else {
            return Err(too_many(count));
        };
        if let Some(header) = self.w.header_mut() {
            *header = short.to_be_bytes();
        }
        Ok(self.w.bytes())
    }
}

#[cold]
pub(super) fn too_many(count: usize) -> Error {
    Error::Limit(format!(
        "{count} samples in one chunk, which holds {MAX_SAMPLES} at most; cut chunks earlier"
    ))
}
