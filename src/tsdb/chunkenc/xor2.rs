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
use super::block::{self, Decoder};
use super::floats::FloatSamples;
use super::fold::{Fill, FloatFold};
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

    /// Adds a difference of `n` bits, plain two's complement here.
    #[inline(always)]
    fn add_dod(&mut self, raw: u64, n: u32) {
        let dod = (raw << (64 - n)).cast_signed() >> (64 - n);
        self.delta = self.delta.wrapping_add(dod);
    }

    /// Reads a value code; at least 14 bits are buffered.
    fn read_value(&mut self, r: &mut BitReader<'_>) -> Result<(), BadWindow> {
        match (!r.peek()).leading_zeros() {
            0 => {
                r.skip(1);
                self.value = self.base;
                Ok(())
            }
            1 => {
                r.skip(2);
                self.read_bits(r, false)
            }
            2 => {
                r.skip(3);
                self.read_bits(r, true)
            }
            _ => {
                r.skip(3);
                self.value = STALE_NAN;
                Ok(())
            }
        }
    }

    fn read_bits(&mut self, r: &mut BitReader<'_>, new_window: bool) -> Result<(), BadWindow> {
        if new_window {
            self.window = ReadWindow::read_new(r)?;
        }
        self.base ^= self.window.read_bits(r);
        self.value = self.base;
        Ok(())
    }

    /// Reads a value that differs and is no stale marker.
    #[inline(always)]
    fn read_bits_roomy(
        &mut self,
        r: &mut BitReader<'_>,
        new_window: bool,
    ) -> Result<(), BadWindow> {
        if new_window {
            self.window = ReadWindow::read_new(r)?;
        }
        self.base ^= self.window.read_bits_roomy(r);
        Ok(())
    }

    /// Reads one of the common codes; `false` for another, which is left.
    #[inline(always)]
    fn run_one(&mut self, r: &mut BitReader<'_>) -> Result<bool, BadWindow> {
        r.refill_roomy();
        let top = r.peek();
        if top >> 63 == 0 {
            r.skip(1);
        } else if top >> 62 == 0b10 {
            r.skip(3);
            self.read_bits_roomy(r, top >> 61 == 0b101)?;
        } else if top >> 61 == 0b110 && top >> 45 & 0b111 != 0b111 {
            // 16 bits of the timestamp, then the value code.
            self.add_dod(top >> 48 & 0x1fff, 13);
            match top >> 46 & 0b11 {
                0b11 => {
                    r.skip(19);
                    self.read_bits_roomy(r, true)?;
                }
                0b10 => {
                    r.skip(18);
                    self.read_bits_roomy(r, false)?;
                }
                _ => r.skip(17),
            }
        } else {
            return Ok(false);
        }
        self.value = self.base;
        self.t = self.t.wrapping_add(self.delta);
        Ok(true)
    }
}

impl Decoder for State {
    #[inline(never)]
    fn run<F: FloatFold>(
        &mut self,
        r: &mut BitReader<'_>,
        most: usize,
        carry: &mut F::Carry,
        fold: &mut F,
    ) -> Result<usize, BadWindow> {
        // Copies that nobody else refers to stay in registers.
        let (mut bits, mut state, mut so_far) = (*r, *self, *carry);
        let mut done = 0;
        let mut result = Ok(true);
        while done < most && bits.is_roomy() {
            result = state.run_one(&mut bits);
            if result != Ok(true) {
                break;
            }
            let (t, v) = state.sample();
            so_far = fold.fold(so_far, t, v);
            done += 1;
        }
        (*r, *self, *carry) = (bits, state, so_far);
        result.map(|_| done)
    }

    fn step(&mut self, r: &mut BitReader<'_>) -> Result<(), BadWindow> {
        r.refill();
        match (!r.peek()).leading_zeros() {
            0 => {
                r.skip(1);
                self.value = self.base;
            }
            1 => {
                let new_window = r.peek() >> 61 == 0b101;
                r.skip(3);
                self.read_bits(r, new_window)?;
            }
            ones @ 2..=4 => {
                r.skip(ones + 1);
                let n = match ones {
                    2 => 13,
                    3 => 20,
                    _ => 64,
                };
                let raw = r.read(n);
                self.add_dod(raw, n);
                r.refill();
                self.read_value(r)?;
            }
            _ => {
                r.skip(5);
                self.value = STALE_NAN;
            }
        }
        self.t = self.t.wrapping_add(self.delta);
        Ok(())
    }

    #[inline(always)]
    fn sample(&self) -> (i64, f64) {
        (self.t, f64::from_bits(self.value))
    }
}

/// Appends all samples of an XOR2 chunk to `out`; nothing on error.
///
/// Returns how many samples carried a start timestamp, which `out` cannot hold.
///
/// # Errors
/// Corrupt data: too short for its sample count, or a window that sticks out.
pub fn decode_xor2(data: &[u8], out: &mut FloatSamples) -> Result<usize> {
    let iter = Xor2Iter::new(data)?;
    let total = iter.total;
    out.append(data, total, |ts, vs| iter.decode_block(ts, vs))
        .map_err(|(fault, offset)| fault.at(offset, "xor2", total))
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
        if let Err(fault) = self.step() {
            let total = std::mem::replace(&mut self.total, self.read);
            return Err(fault.at(self.r.byte_offset(), "xor2", total));
        }
        Ok(Some(self.state.sample()))
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
            _ => self.state.step(&mut self.r)?,
        }
        self.starts
            .read(&mut self.r, self.read, self.state.t, before)?;
        if self.r.overrun() {
            return Err(Fault::TooShort);
        }
        self.read += 1;
        Ok(())
    }

    /// All samples; returns how many had a start timestamp.
    fn decode_block(mut self, ts: &mut [i64], vs: &mut [f64]) -> Result<usize, (Fault, usize)> {
        // Start timestamps lie between the samples, where the hot loop would
        // have to look for them; without any it takes over at sample 2.
        let absent = self.starts.is_absent();
        let one_by_one = if absent { 2 } else { self.total };
        let mut with_start = 0;
        for (t, v) in ts.iter_mut().zip(vs.iter_mut()).take(one_by_one) {
            self.step().map_err(|fault| (fault, self.r.byte_offset()))?;
            with_start += usize::from(self.starts.current().is_some());
            (*t, *v) = self.state.sample();
        }
        let later = (ts.get_mut(one_by_one..), vs.get_mut(one_by_one..));
        if let (Some(ts), Some(vs)) = later {
            let mut fill = Fill { ts, vs };
            block::decode(self.state, self.r, fill.ts.len(), &mut 0, &mut fill)?;
        }
        Ok(with_start)
    }
}
