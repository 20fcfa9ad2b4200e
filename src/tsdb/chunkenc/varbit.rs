//! Integers in 1 to 72 bits, as histogram chunks store them.
//!
//! ```text
//!  prefix      payload   signed range                 unsigned range
//!  0           -         0                            0
//!  10           3 bits   -3 .. 4                      .. 7
//!  110          6        -31 .. 32                    .. 63
//!  1110         9        -255 .. 256                  .. 511
//!  11110       12        -2047 .. 2048                .. 4095
//!  111110      18        -131071 .. 131072            .. 262143
//!  1111110     25        -16777215 .. 16777216        .. 33554431
//!  11111110    56        -(2^55 - 1) .. 2^55          .. 2^56 - 1
//!  11111111    64        everything                   everything
//! ```
//!
//! A signed payload of `n` bits is two's complement, except that the pattern
//! `100..0` means `+2^(n-1)`.

use super::bits::{BitReader, BitRun};

/// Payload bits by the number of leading ones in the prefix.
const PAYLOAD: [u8; 9] = [0, 3, 6, 9, 12, 18, 25, 56, 64];

/// Number of ones in the prefix by the number of payload bits needed.
const CLASS: [u8; 66] = {
    let mut class = [0u8; 66];
    let mut need = 0;
    while need < class.len() {
        let mut ones = 0;
        while ones < 8 && (PAYLOAD[ones] as usize) < need {
            ones += 1;
        }
        class[need] = ones as u8;
        need += 1;
    }
    class
};

/// Reads the prefix and the payload; `None` for the payload-free zero.
#[inline(always)]
fn read_raw(r: &mut BitReader<'_>) -> Option<(u64, u32)> {
    r.refill();
    let ones = (!r.peek()).leading_zeros();
    if ones == 0 {
        r.skip(1);
        return None;
    }
    if ones < 7 {
        // At most 7 + 25 bits, all of them buffered.
        let payload = u32::from(PAYLOAD[ones as usize]);
        r.skip(ones + 1);
        return Some((r.take(payload), payload));
    }
    let payload = if ones == 7 { 56 } else { 64 };
    r.skip(8);
    Some((r.read(payload), payload))
}

/// Makes a signed number of `n` raw bits; `100..0` is positive.
#[inline(always)]
pub(super) fn sign_extend(raw: u64, n: u32) -> i64 {
    // One less, extended, one more: that moves the asymmetric end of two's
    // complement from the negative to the positive side.
    let unused = 64 - n;
    ((raw.wrapping_sub(1) << unused).cast_signed() >> unused).wrapping_add(1)
}

/// Reads a signed number.
#[inline(always)]
pub(super) fn read_int(r: &mut BitReader<'_>) -> i64 {
    match read_raw(r) {
        None => 0,
        Some((raw, n)) => sign_extend(raw, n),
    }
}

/// Reads an unsigned number.
#[inline(always)]
pub(super) fn read_uint(r: &mut BitReader<'_>) -> u64 {
    read_raw(r).map_or(0, |(raw, _)| raw)
}

/// Writes prefix and payload for a number that needs `need` payload bits.
#[inline(always)]
fn put_raw(w: &mut BitRun<'_>, value: u64, need: u32) {
    let ones = u32::from(CLASS[need as usize]);
    let payload = u32::from(PAYLOAD[ones as usize]);
    if ones < 7 {
        let prefix = (1u64 << (ones + 1)) - 2;
        let low = value & ((1 << payload) - 1);
        w.put((prefix << payload) | low, ones + 1 + payload);
    } else {
        std::hint::cold_path();
        let prefix = if ones == 7 { 0b1111_1110 } else { 0b1111_1111 };
        w.put(prefix, 8);
        w.put_wide(value << (64 - payload) >> (64 - payload), payload);
    }
}

/// Writes a signed number.
#[inline(always)]
pub(super) fn put_int(w: &mut BitRun<'_>, value: i64) {
    if value == 0 {
        w.put(0, 1);
        return;
    }
    // `n` bits reach from -(2^(n-1) - 1) to 2^(n-1): count the bits of the
    // magnitude, one less for positive numbers, and add the sign.
    let magnitude = if value > 0 {
        value - 1
    } else {
        value.wrapping_neg()
    };
    let need = 65 - magnitude.cast_unsigned().leading_zeros();
    put_raw(w, value.cast_unsigned(), need);
}

/// Writes an unsigned number.
#[inline(always)]
pub(super) fn put_uint(w: &mut BitRun<'_>, value: u64) {
    if value == 0 {
        w.put(0, 1);
    } else {
        put_raw(w, value, 64 - value.leading_zeros());
    }
}
