//! Writing XOR chunks; their layout is drawn in [`super::xor`].

use super::bits::{BitRun, BitWriter};
#[cfg(target_arch = "x86_64")]
use super::processor::has_bit_instructions;
use super::window::{WriteWindow, put_xor, put_xor_after};
use super::xor::{HEADER, MAX_SAMPLES};
use crate::tsdb::{Error, Result};

/// Most bits of a sample: timestamp 80, or code 4 + 64; value 13 + 64.
const MAX_SAMPLE_BITS: usize = 80 + 13 + 64;

/// Writes XOR chunks, one after the other, into one reused buffer.
#[derive(Debug, Clone, Default)]
pub struct XorEncoder {
    w: BitWriter,
    count: usize,
    last: Last,
}

/// What the next sample is coded against.
#[derive(Debug, Clone, Copy, Default)]
struct Last {
    t: i64,
    delta: i64,
    value: u64,
    window: WriteWindow,
}

impl XorEncoder {
    /// An encoder with an empty chunk.
    pub fn new() -> Self {
        Self::default()
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
        if self.count < 2 {
            return self.push_all(&[t], &[v]);
        }
        let mut w = self.w.run(MAX_SAMPLE_BITS);
        self.last.later(&mut w, t, v.to_bits());
        let end = w.end();
        self.w.resume(end);
        self.count += 1;
    }

    /// Appends samples; the shorter slice decides how many.
    pub fn push_all(&mut self, ts: &[i64], vs: &[f64]) {
        #[cfg(target_arch = "x86_64")]
        if has_bit_instructions() {
            // SAFETY: the processor has what it is compiled for.
            return unsafe { self.push_with_bit_instructions(ts, vs) };
        }
        self.push_common(ts, vs);
    }

    /// [`Self::push_all`].
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "bmi1,bmi2,lzcnt")]
    fn push_with_bit_instructions(&mut self, ts: &[i64], vs: &[f64]) {
        self.push_common(ts, vs);
    }

    /// [`Self::push_all`].
    #[inline(always)]
    fn push_common(&mut self, ts: &[i64], vs: &[f64]) {
        if self.count == 0 {
            self.w.restart(HEADER);
        }
        let len = ts.len().min(vs.len());
        let mut w = self.w.run(len * MAX_SAMPLE_BITS);
        let mut last = self.last;
        let mut samples = ts.iter().zip(vs).map(|(t, v)| (*t, v.to_bits()));
        for number in self.count..self.count + len.min(2) {
            match (number, samples.next()) {
                (0, Some((t, value))) => last = Last::first(&mut w, t, value),
                (1, Some((t, value))) => last.second(&mut w, t, value),
                (_, Some((t, value))) => last.later(&mut w, t, value),
                (_, None) => {}
            }
        }
        for (t, value) in samples {
            last.later(&mut w, t, value);
        }
        let end = w.end();
        self.w.resume(end);
        self.last = last;
        self.count += len;
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

impl Last {
    /// Writes sample 0.
    fn first(w: &mut BitRun<'_>, t: i64, value: u64) -> Self {
        w.put_varint(t);
        w.put_wide(value, 64);
        Self {
            t,
            value,
            ..Self::default()
        }
    }

    /// Writes sample 1.
    fn second(&mut self, w: &mut BitRun<'_>, t: i64, value: u64) {
        self.delta = t.wrapping_sub(self.t);
        w.put_uvarint(self.delta.cast_unsigned());
        put_xor(w, value ^ self.value, &mut self.window);
        (self.t, self.value) = (t, value);
    }

    /// Writes any later sample.
    #[inline(always)]
    fn later(&mut self, w: &mut BitRun<'_>, t: i64, value: u64) {
        let delta = t.wrapping_sub(self.t);
        let dod = delta.wrapping_sub(self.delta);
        let xor = value ^ self.value;
        (self.t, self.delta, self.value) = (t, delta, value);
        // The code of the timestamp goes out together with the first bits of
        // the value: one store less.
        let low = |n: u32| dod.cast_unsigned() & ((1 << n) - 1);
        let (prefix, len) = match dod {
            0 => (0, 1),
            -8191..=8192 => ((0b10 << 14) | low(14), 16),
            -65535..=65536 => ((0b110 << 17) | low(17), 20),
            -524_287..=524_288 => ((0b1110 << 20) | low(20), 24),
            _ => {
                w.put(0b1111, 4);
                w.put_wide(dod.cast_unsigned(), 64);
                (0, 0)
            }
        };
        put_xor_after(w, prefix, len, xor, &mut self.window);
    }
}

#[cold]
pub(super) fn too_many(count: usize) -> Error {
    Error::Limit(format!(
        "{count} samples in one chunk, which holds {MAX_SAMPLES} at most; cut chunks earlier"
    ))
}
