//! How one number of a histogram is coded against its predecessor.

use super::super::bits::{BitReader, BitRun};
use super::super::varbit::{put_int, put_uint, read_int, read_uint};
use super::super::window::{BadWindow, ReadWindow, WriteWindow, put_xor, read_xor};

/// A count: `u64`, `i64` (the delta of an integer bucket) or `f64`.
///
/// The caller keeps the value itself. What a coder has to remember besides, the
/// *memory*, starts out as `Default`.
pub trait Number: Copy + PartialEq + PartialOrd + Default + std::fmt::Debug {
    /// Memory of a decoder.
    type Reading: Copy + Default + std::fmt::Debug;
    /// Memory of an encoder.
    type Writing: Copy + Default + std::fmt::Debug;

    /// Fewest bits of a first value; bounds how many of them a chunk can have.
    const MIN_BITS: usize;

    /// Reads the value of sample 0.
    fn read_first(r: &mut BitReader<'_>) -> Self;

    /// Replaces the value of the sample before.
    ///
    /// # Errors
    /// A window that sticks out of the word.
    fn read_next(
        &mut self,
        r: &mut BitReader<'_>,
        memory: &mut Self::Reading,
    ) -> Result<(), BadWindow>;

    /// Writes the value of sample 0.
    fn put_first(self, w: &mut BitRun<'_>);

    /// Writes the value that follows `before`.
    fn put_next(self, w: &mut BitRun<'_>, before: Self, memory: &mut Self::Writing);

    /// Writes the 0 that a stale sample has for a count.
    fn put_stale(w: &mut BitRun<'_>, before: Self, memory: &mut Self::Writing);
}

/// The count of a bucket, stored as a delta to the bucket before or absolute.
pub trait Bucket: Number {
    /// The count, given what is stored and the count of the bucket before.
    #[must_use]
    fn absolute(self, before: Self) -> Self;

    /// What is stored for the count `self`, given that of the bucket before.
    #[must_use]
    fn stored(self, before: Self) -> Self;

    /// The sum, modulo 2^64 for integers.
    #[must_use]
    fn plus(self, other: Self) -> Self;
}

// Observations: whole, but differences of differences, which may be negative.
impl Number for u64 {
    type Reading = i64;
    type Writing = i64;
    const MIN_BITS: usize = 1;

    #[inline(always)]
    fn read_first(r: &mut BitReader<'_>) -> Self {
        read_uint(r)
    }

    #[inline(always)]
    fn read_next(&mut self, r: &mut BitReader<'_>, delta: &mut i64) -> Result<(), BadWindow> {
        *delta = delta.wrapping_add(read_int(r));
        *self = self.wrapping_add_signed(*delta);
        Ok(())
    }

    #[inline(always)]
    fn put_first(self, w: &mut BitRun<'_>) {
        put_uint(w, self);
    }

    #[inline(always)]
    fn put_next(self, w: &mut BitRun<'_>, before: Self, delta: &mut i64) {
        let step = self.wrapping_sub(before).cast_signed();
        put_int(w, step.wrapping_sub(*delta));
        *delta = step;
    }

    fn put_stale(w: &mut BitRun<'_>, _before: Self, _delta: &mut i64) {
        put_int(w, 0);
    }
}

// Integer buckets: the delta to the bucket before, differenced over time twice.
impl Number for i64 {
    type Reading = i64;
    type Writing = i64;
    const MIN_BITS: usize = 1;

    #[inline(always)]
    fn read_first(r: &mut BitReader<'_>) -> Self {
        read_int(r)
    }

    #[inline(always)]
    fn read_next(&mut self, r: &mut BitReader<'_>, delta: &mut i64) -> Result<(), BadWindow> {
        *delta = delta.wrapping_add(read_int(r));
        *self = self.wrapping_add(*delta);
        Ok(())
    }

    #[inline(always)]
    fn put_first(self, w: &mut BitRun<'_>) {
        put_int(w, self);
    }

    #[inline(always)]
    fn put_next(self, w: &mut BitRun<'_>, before: Self, delta: &mut i64) {
        let step = self.wrapping_sub(before);
        put_int(w, step.wrapping_sub(*delta));
        *delta = step;
    }

    fn put_stale(w: &mut BitRun<'_>, _before: Self, _delta: &mut i64) {
        put_int(w, 0);
    }
}

impl Bucket for i64 {
    #[inline(always)]
    fn absolute(self, before: Self) -> Self {
        before.wrapping_add(self)
    }

    #[inline(always)]
    fn stored(self, before: Self) -> Self {
        self.wrapping_sub(before)
    }

    #[inline(always)]
    fn plus(self, other: Self) -> Self {
        self.wrapping_add(other)
    }
}

// Floats: 64 bits first, then XOR with a window of their own.
impl Number for f64 {
    type Reading = ReadWindow;
    type Writing = WriteWindow;
    const MIN_BITS: usize = 64;

    #[inline(always)]
    fn read_first(r: &mut BitReader<'_>) -> Self {
        Self::from_bits(r.read(64))
    }

    #[inline(always)]
    fn read_next(
        &mut self,
        r: &mut BitReader<'_>,
        window: &mut ReadWindow,
    ) -> Result<(), BadWindow> {
        *self = Self::from_bits(read_xor(r, self.to_bits(), window)?);
        Ok(())
    }

    #[inline(always)]
    fn put_first(self, w: &mut BitRun<'_>) {
        w.put_wide(self.to_bits(), 64);
    }

    #[inline(always)]
    fn put_next(self, w: &mut BitRun<'_>, before: Self, window: &mut WriteWindow) {
        put_xor(w, self.to_bits() ^ before.to_bits(), window);
    }

    fn put_stale(w: &mut BitRun<'_>, before: Self, window: &mut WriteWindow) {
        // Unlike integers, floats go through the ordinary code for 0.
        0.0f64.put_next(w, before, window);
    }
}

impl Bucket for f64 {
    #[inline(always)]
    fn absolute(self, _before: Self) -> Self {
        self
    }

    #[inline(always)]
    fn stored(self, _before: Self) -> Self {
        self
    }

    #[inline(always)]
    fn plus(self, other: Self) -> Self {
        self + other
    }
}
