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

use super::bits::BitReader;
use super::block::{self, Decoder};
use super::floats::FloatSamples;
use super::fold::{Fill, FloatFold, Times};
#[cfg(target_arch = "x86_64")]
use super::processor::has_bit_instructions;
use super::varbit::sign_extend;
use super::window::{BadWindow, ReadWindow, read_xor, read_xor_roomy};
use super::{Fault, read_count};
use crate::tsdb::{Error, Result};

/// Bytes before the first sample.
pub(super) const HEADER: usize = 2;

/// Most samples that fit the header of a chunk.
pub(crate) const MAX_SAMPLES: usize = u16::MAX as usize;

/// What a decoder carries from one sample to the next.
#[derive(Debug, Clone, Copy)]
struct State {
    t: i64,
    /// Last difference of timestamps, modulo 2^64.
    delta: i64,
    /// All differences less one, ORed: what says cheaply that all are positive.
    deltas: i64,
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
            deltas: 0,
            value: r.read(64),
            window: ReadWindow::WHOLE,
        })
    }

    /// Reads sample 1.
    fn second(&mut self, r: &mut BitReader<'_>) -> Result<(), Fault> {
        self.delta = r.read_uvarint().ok_or(Fault::LongVarint)?.cast_signed();
        self.go_on();
        self.value = read_xor(r, self.value, &mut self.window)?;
        Ok(())
    }

    /// Goes on to the time of the next sample, whose difference is known.
    #[inline(always)]
    fn go_on(&mut self) {
        self.t = self.t.wrapping_add(self.delta);
        self.deltas |= self.delta.wrapping_sub(1);
    }

    /// True if every time is later than the one before: all differences lie in
    /// 1 ..= 2^46, so that 65,535 of them cannot go around once unnoticed.
    fn ascends(&self, first: i64) -> bool {
        self.deltas >> 46 == 0 && first <= self.t
    }

    /// [`Self::run_fold`].
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "bmi1,bmi2,lzcnt")]
    fn run_with_bit_instructions<F: FloatFold>(
        &mut self,
        r: &mut BitReader<'_>,
        most: usize,
        carry: &mut F::Carry,
        fold: &mut F,
    ) -> Result<usize, BadWindow> {
        self.run_common(r, most, carry, fold)
    }

    /// [`Self::run_fold`].
    #[inline(always)]
    fn run_common<F: FloatFold>(
        &mut self,
        r: &mut BitReader<'_>,
        most: usize,
        carry: &mut F::Carry,
        fold: &mut F,
    ) -> Result<usize, BadWindow> {
        // Copies that nobody else refers to stay in registers.
        let (mut bits, mut state, mut so_far) = (*r, *self, *carry);
        let mut done = 0;
        let mut result = Ok(());
        while done < most && bits.is_roomy() {
            bits.refill_roomy();
            match bits.peek() >> 62 {
                // Jumps of more than 8 s are rare: left for a step.
                0b11 => break,
                0b10 => {
                    state.add_dod(bits.peek() >> 48 & 0x3fff, 14);
                    bits.skip(16);
                }
                _ => bits.skip(1),
            }
            state.go_on();
            // At least 40 bits are left; the code of a window has 13.
            match read_xor_roomy(&mut bits, state.value, &mut state.window) {
                Ok(value) => state.value = value,
                Err(bad) => {
                    result = Err(bad);
                    break;
                }
            }
            so_far = fold.fold(so_far, state.t, f64::from_bits(state.value));
            done += 1;
        }
        (*r, *self, *carry) = (bits, state, so_far);
        result.map(|()| done)
    }

    /// [`Decoder::run`] into a fold: `most` samples at most.
    #[inline(never)]
    fn run_fold<F: FloatFold>(
        &mut self,
        r: &mut BitReader<'_>,
        most: usize,
        carry: &mut F::Carry,
        fold: &mut F,
    ) -> Result<usize, BadWindow> {
        #[cfg(target_arch = "x86_64")]
        if has_bit_instructions() {
            // SAFETY: the processor has what it is compiled for.
            return unsafe { self.run_with_bit_instructions(r, most, carry, fold) };
        }
        self.run_common(r, most, carry, fold)
    }

    /// Adds a delta of delta of `n` bits.
    #[inline(always)]
    fn add_dod(&mut self, raw: u64, n: u32) {
        self.delta = self.delta.wrapping_add(sign_extend(raw, n));
    }
}

impl Decoder for State {
    #[inline(always)]
    fn run<F: FloatFold>(
        &mut self,
        r: &mut BitReader<'_>,
        most: usize,
        carry: &mut F::Carry,
        fold: &mut F,
    ) -> Result<usize, BadWindow> {
        self.run_fold(r, most, carry, fold)
    }

    fn step(&mut self, r: &mut BitReader<'_>) -> Result<(), BadWindow> {
        r.refill();
        match (!r.peek()).leading_zeros() {
            0 => r.skip(1),
            1 => {
                r.skip(2);
                self.add_dod(r.take(14), 14);
            }
            2 => {
                r.skip(3);
                self.add_dod(r.take(17), 17);
            }
            3 => {
                r.skip(4);
                self.add_dod(r.take(20), 20);
            }
            _ => {
                r.skip(4);
                self.delta = self.delta.wrapping_add(r.read(64).cast_signed());
            }
        }
        self.go_on();
        self.value = read_xor(r, self.value, &mut self.window)?;
        Ok(())
    }

    #[inline(always)]
    fn sample(&self) -> (i64, f64) {
        (self.t, f64::from_bits(self.value))
    }
}

/// Appends all samples of an XOR chunk to `out`; nothing on error.
///
/// # Errors
/// Corrupt data: too short for its sample count, or a window that sticks out.
pub fn decode_xor(data: &[u8], out: &mut FloatSamples) -> Result<()> {
    let total = read_count(data)?;
    let r = BitReader::new(data, HEADER);
    out.append(data, total, |ts, vs| {
        let mut fill = Fill { ts, vs };
        fold_block(r, total, &mut 0, &mut fill)
    })
    .map(drop)
    .map_err(|(fault, offset)| fault.at(offset, "xor", total))
}

/// Hands all samples of an XOR chunk to `fold`; some of them also on error.
///
/// # Errors
/// As [`decode_xor`].
pub(super) fn fold_xor<F: FloatFold>(
    data: &[u8],
    carry: &mut F::Carry,
    fold: &mut F,
) -> Result<Times> {
    let total = read_count(data)?;
    let r = BitReader::new(data, HEADER);
    fold_block(r, total, carry, fold).map_err(|(fault, offset)| fault.at(offset, "xor", total))
}

fn fold_block<F: FloatFold>(
    mut r: BitReader<'_>,
    total: usize,
    carry: &mut F::Carry,
    fold: &mut F,
) -> Result<Times, (Fault, usize)> {
    if total == 0 {
        return Ok(Times {
            ends: None,
            ascending: true,
        });
    }
    let mut state = State::first(&mut r).map_err(|fault| (fault, r.byte_offset()))?;
    let first = state.t;
    let mut take = |(t, v)| *carry = fold.fold(*carry, t, v);
    take(state.sample());
    if total > 1 {
        let second = state.second(&mut r);
        second.map_err(|fault| (fault, r.byte_offset()))?;
        take(state.sample());
    }
    if r.overrun() {
        return Err((Fault::TooShort, r.byte_offset()));
    }
    if total > 2 {
        state = block::decode(state, r, total - 2, carry, fold)?;
    }
    Ok(Times {
        ends: Some((first, state.t)),
        ascending: state.ascends(first),
    })
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
                deltas: 0,
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
    #[inline]
    pub fn next(&mut self) -> Result<Option<(i64, f64)>> {
        if self.read == self.total {
            return Ok(None);
        }
        match self.step() {
            Ok(()) => {
                self.read += 1;
                Ok(Some(self.state.sample()))
            }
            Err(fault) => Err(self.fail(fault)),
        }
    }

    /// Puts the iterator at its end.
    #[cold]
    fn fail(&mut self, fault: Fault) -> Error {
        let total = std::mem::replace(&mut self.total, self.read);
        fault.at(self.r.byte_offset(), "xor", total)
    }

    fn step(&mut self) -> Result<(), Fault> {
        match self.read {
            0 => self.state = State::first(&mut self.r)?,
            1 => self.state.second(&mut self.r)?,
            _ => self.state.step(&mut self.r)?,
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
