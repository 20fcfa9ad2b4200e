//! Encoding 4: floats like XOR, tighter, optionally with start timestamps.
//!
//! Read only. One prefix covers timestamp and value, and stale markers cost no
//! payload; they also leave the value that the next XOR refers to alone.
//!
//! ```text
//!  byte 0..2   number of samples, big endian
//!  byte 2      start timestamps: bit 7 = sample 0 has one,
//!              bits 0..7 = first sample whose start differs (0 = none)
//!  sample 0    timestamp varint, value 64 bits [, t - start varint]
//!  sample 1    delta uvarint, value code [, start code]
//!  sample n    joint code [, start code]
//!
//!  joint code   delta of delta      value
//!  0            0                   unchanged
//!  10           0                   0 bits | 1 window bits
//!  110  + 13    two's complement    value code
//!  1110 + 20    two's complement    value code
//!  11110 + 64   two's complement    value code
//!  11111        0                   stale marker
//!
//!  value code: 0 unchanged | 10 bits | 110 window bits | 111 stale marker
//! ```
//!
//! From the first change on, every sample has a start code: the varbit integer
//! `previous t - start` at the change, its difference to the last one after.

use super::bits::BitReader;
use super::floats::FloatSamples;
use super::start_time::StartTimes;
use super::window::{BadWindow, ReadWindow};
use super::{Fault, STALE_NAN, read_count};
use crate::tsdb::Result;

/// Bytes before the first sample.
const HEADER: usize = 3;

#[derive(Debug, Clone, Copy)]
struct State {
    t: i64,
    delta: i64,
    /// What the sample says, possibly the stale marker.
    value: u64,
    /// The last value that was no stale marker: the base of the next XOR.
    base: u64,
    window: ReadWindow,
}

impl State {
    const START: Self = Self {
        t: 0,
        delta: 0,
        value: 0,
        base: 0,
        window: ReadWindow::WHOLE,
    };

    fn first(r: &mut BitReader<'_>) -> Result<Self, Fault> {
        let t = r.read_varint().ok_or(Fault::LongVarint)?;
        let value = r.read(64);
        let base = if value == STALE_NAN { 0 } else { value };
        Ok(Self {
            t,
            value,
            base,
            ..Self::START
        })
    }

    fn second(&mut self, r: &mut BitReader<'_>) -> Result<(), Fault> {
        self.delta = r.read_uvarint().ok_or(Fault::LongVarint)?.cast_signed();
        self.t = self.t.wrapping_add(self.delta);
        r.refill();
        Ok(self.read_value(r)?)
    }

    /// Reads the joint code of a sample from number 2 on.
    #[inline(always)]
    fn later(&mut self, r: &mut BitReader<'_>) -> Result<(), BadWindow> {
        r.refill();
        let ones = (!r.peek()).leading_zeros();
        match ones {
            0 => {
                r.skip(1);
                self.value = self.base;
            }
            1 => {
                let new_window = r.peek() >> 61 == 0b101;
                r.skip(3);
                self.read_bits(r, new_window)?;
            }
            2 => {
                r.skip(3);
                self.add_dod(r.take(13), 13);
                return self.read_value_at(r);
            }
            3 => {
                r.skip(4);
                self.add_dod(r.take(20), 20);
                return self.read_value_at(r);
            }
            4 => {
                r.skip(5);
                let dod = r.read(64);
                self.add_dod(dod, 64);
                r.refill();
                return self.read_value_at(r);
            }
            _ => {
                r.skip(5);
                self.value = STALE_NAN;
            }
        }
        self.t = self.t.wrapping_add(self.delta);
        Ok(())
    }

    /// Adds a difference of `n` bits, plain two's complement here.
    #[inline(always)]
    fn add_dod(&mut self, raw: u64, n: u32) {
        let dod = (raw << (64 - n)).cast_signed() >> (64 - n);
        self.delta = self.delta.wrapping_add(dod);
    }

    #[inline(always)]
    fn read_value_at(&mut self, r: &mut BitReader<'_>) -> Result<(), BadWindow> {
        self.t = self.t.wrapping_add(self.delta);
        self.read_value(r)
    }

    /// Reads a value code; at least 14 bits are buffered.
    #[inline(always)]
    fn read_value(&mut self, r: &mut BitReader<'_>) -> Result<(), BadWindow> {
        match (!r.peek()).leading_zeros() {
            0 => {
                r.skip(1);
                self.value = self.base;
            }
            1 => {
                r.skip(2);
                self.read_bits(r, false)?;
            }
            2 => {
                r.skip(3);
                self.read_bits(r, true)?;
            }
            _ => {
                r.skip(3);
                self.value = STALE_NAN;
            }
        }
        Ok(())
    }

    #[inline(always)]
    fn read_bits(&mut self, r: &mut BitReader<'_>, new_window: bool) -> Result<(), BadWindow> {
        if new_window {
            self.window = ReadWindow::read_new(r)?;
        }
        self.base ^= self.window.read_bits(r);
        self.value = self.base;
        Ok(())
    }
}

/// Appends all samples of an XOR2 chunk to `out`; nothing on error.
///
/// Returns how many samples carried a start timestamp, which `out` cannot hold.
///
/// # Errors
/// Corrupt data: too short for its sample count, or a window that sticks out.
pub fn decode_xor2(data: &[u8], out: &mut FloatSamples) -> Result<usize> {
    let mut iter = Xor2Iter::new(data)?;
    let total = iter.total;
    let plain = iter.starts.is_absent();
    out.append(data, total, |ts, vs| {
        if plain {
            iter.decode_plain(ts, vs)
        } else {
            iter.decode_with_starts(ts, vs)
        }
    })
    .map_err(|fault| fault.at(iter.r.byte_offset(), "xor2", total))
}

/// Reads an XOR2 chunk sample by sample.
#[derive(Debug, Clone)]
pub struct Xor2Iter<'a> {
    r: BitReader<'a>,
    state: State,
    starts: StartTimes,
    total: usize,
    read: usize,
}

impl<'a> Xor2Iter<'a> {
    /// Starts before the first sample.
    ///
    /// # Errors
    /// Corrupt when `data` is shorter than its header.
    pub fn new(data: &'a [u8]) -> Result<Self> {
        let total = read_count(data)?;
        let Some(&starts) = data.get(HEADER - 1) else {
            return Err(Fault::TooShort.at(data.len(), "xor2", total));
        };
        Ok(Self {
            r: BitReader::new(data, HEADER),
            state: State::START,
            starts: StartTimes::new(starts),
            total,
            read: 0,
        })
    }

    /// The next sample, timestamp in ms; `None` at the end and after an error.
    ///
    /// # Errors
    /// Corrupt data, as [`decode_xor2`].
    #[expect(clippy::should_implement_trait, reason = "fallible, not an iterator")]
    pub fn next(&mut self) -> Result<Option<(i64, f64)>> {
        if self.read == self.total {
            return Ok(None);
        }
        match self.step() {
            Ok(()) if !self.r.overrun() => {
                self.read += 1;
                Ok(Some((self.state.t, f64::from_bits(self.state.value))))
            }
            failed => {
                let fault = failed.err().unwrap_or(Fault::TooShort);
                let total = std::mem::replace(&mut self.total, self.read);
                Err(fault.at(self.r.byte_offset(), "xor2", total))
            }
        }
    }

    /// Start timestamp (ms) of the sample that `next` returned last.
    pub fn start_time(&self) -> Option<i64> {
        self.starts.current()
    }

    /// Samples that are still to come.
    pub fn remaining(&self) -> usize {
        self.total - self.read
    }

    fn step(&mut self) -> Result<(), Fault> {
        let before = self.state.t;
        match self.read {
            0 => self.state = State::first(&mut self.r)?,
            1 => self.state.second(&mut self.r)?,
            _ => self.state.later(&mut self.r)?,
        }
        self.starts
            .read(&mut self.r, self.read, self.state.t, before)
    }

    /// All samples of a chunk without start timestamps.
    fn decode_plain(&mut self, ts: &mut [i64], vs: &mut [f64]) -> Result<usize, Fault> {
        let mut samples = ts.iter_mut().zip(vs);
        for (t, v) in samples.by_ref().take(2) {
            self.step()?;
            self.read += 1;
            (*t, *v) = (self.state.t, f64::from_bits(self.state.value));
        }
        let (mut state, mut r) = (self.state, self.r.clone());
        for (t, v) in samples {
            state.later(&mut r)?;
            (*t, *v) = (state.t, f64::from_bits(state.value));
        }
        self.r = r;
        self.end(0)
    }

    fn decode_with_starts(&mut self, ts: &mut [i64], vs: &mut [f64]) -> Result<usize, Fault> {
        let mut with_start = 0;
        for (t, v) in ts.iter_mut().zip(vs) {
            self.step()?;
            self.read += 1;
            with_start += usize::from(self.starts.current().is_some());
            (*t, *v) = (self.state.t, f64::from_bits(self.state.value));
        }
        self.end(with_start)
    }

    fn end(&self, with_start: usize) -> Result<usize, Fault> {
        if self.r.overrun() {
            return Err(Fault::TooShort);
        }
        Ok(with_start)
    }
}
