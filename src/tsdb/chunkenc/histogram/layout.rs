//! The layout of a histogram chunk: what all its samples share.
//!
//! ```text
//!  zero threshold   0            one byte 0
//!                   2^(b - 244)  one byte b, 1 to 254
//!                   other        one byte 255, 64 bits
//!  schema           varbit
//!  spans            number varbit, then per span: length varbit, offset varbit
//!  custom values    only schema -53: number varbit, then per bound
//!                   1 + thousandths as varbit, or a 0 bit and 64 bits
//! ```

use super::super::Fault;
use super::super::bits::{BitReader, BitRun};
use super::super::varbit::{put_int, put_uint, read_int, read_uint};
use super::{CUSTOM_SCHEMA, Flavour, HistogramOf, KNOWN_SCHEMAS, Number, Span};

/// What `b` of the zero threshold adds to the exponent bits of a float.
const THRESHOLD_BIAS: u64 = 779;
/// Bits of the mantissa of a float.
const MANTISSA_BITS: u32 = 52;
/// Custom bounds up to this many thousandths fit a varbit of 4 bytes.
const MAX_THOUSANDTHS: f64 = 33_554_430.0;

/// Reads a layout into `h` and sizes its buckets, which are all set to 0.
pub(super) fn read<F: Flavour>(r: &mut BitReader<'_>, h: &mut HistogramOf<F>) -> Result<(), Fault> {
    h.zero_threshold = read_threshold(r);
    let schema = read_int(r);
    if r.overrun() {
        return Err(Fault::TooShort);
    }
    h.schema = i32::try_from(schema)
        .ok()
        .filter(|s| KNOWN_SCHEMAS.contains(s) || *s == CUSTOM_SCHEMA)
        .ok_or(Fault::Other("has an unknown histogram schema"))?;
    let positive = read_spans(r, &mut h.positive_spans)?;
    let negative = read_spans(r, &mut h.negative_spans)?;
    h.custom_values.clear();
    if h.schema == CUSTOM_SCHEMA {
        read_bounds(r, &mut h.custom_values)?;
    }
    // Each bucket of sample 0 needs some bits, so more buckets than that are a
    // lie and get no memory.
    let most = r.remaining_bits() / F::Bucket::MIN_BITS;
    if positive.saturating_add(negative) > most {
        return Err(Fault::Other(
            "has spans of more buckets than it has room for",
        ));
    }
    h.positive_buckets.clear();
    h.positive_buckets.resize(positive, F::Bucket::default());
    h.negative_buckets.clear();
    h.negative_buckets.resize(negative, F::Bucket::default());
    Ok(())
}

/// Most bits that [`put`] writes: threshold and schema 72 each, and that much
/// per number of spans and bounds and in front of each list.
pub(super) fn max_bits<F: Flavour>(h: &HistogramOf<F>) -> usize {
    let spans = h.positive_spans.len() + h.negative_spans.len();
    (5 + 2 * spans + h.custom_values.len()) * 72
}

/// Writes the layout of `h`.
pub(super) fn put<F: Flavour>(w: &mut BitRun<'_>, h: &HistogramOf<F>) {
    put_threshold(w, h.zero_threshold);
    put_int(w, i64::from(h.schema));
    put_spans(w, &h.positive_spans);
    put_spans(w, &h.negative_spans);
    if h.schema == CUSTOM_SCHEMA {
        put_uint(w, h.custom_values.len() as u64);
        for bound in &h.custom_values {
            put_bound(w, *bound);
        }
    }
}

/// Reads spans and returns how many buckets they have.
fn read_spans(r: &mut BitReader<'_>, spans: &mut Vec<Span>) -> Result<usize, Fault> {
    spans.clear();
    let number = read_uint(r);
    // A span takes at least two bits.
    if number > r.remaining_bits() as u64 / 2 {
        return Err(Fault::Other("has more spans than it has room for"));
    }
    let mut buckets = 0u64;
    // Number of the next bucket.
    let mut next = 0i64;
    for i in 0..number {
        let length = read_uint(r);
        let offset = read_int(r);
        let span = u32::try_from(length).ok().zip(i32::try_from(offset).ok());
        let Some((length, offset)) = span else {
            return Err(Fault::Other("has a span of more than 32 bits"));
        };
        if i > 0 && offset < 0 {
            return Err(Fault::Other("has a span that steps back"));
        }
        next += i64::from(offset) + i64::from(length);
        if next > i64::from(i32::MAX) {
            return Err(Fault::Other("has a bucket beyond number 2^31"));
        }
        buckets += u64::from(length);
        spans.push(Span { offset, length });
    }
    if r.overrun() {
        return Err(Fault::TooShort);
    }
    usize::try_from(buckets).map_err(|_| Fault::Other("has too many buckets"))
}

fn put_spans(w: &mut BitRun<'_>, spans: &[Span]) {
    put_uint(w, spans.len() as u64);
    for span in spans {
        put_uint(w, u64::from(span.length));
        put_int(w, i64::from(span.offset));
    }
}

fn read_threshold(r: &mut BitReader<'_>) -> f64 {
    match r.read(8) {
        0 => 0.0,
        255 => f64::from_bits(r.read(64)),
        b => f64::from_bits((b + THRESHOLD_BIAS) << MANTISSA_BITS),
    }
}

fn put_threshold(w: &mut BitRun<'_>, threshold: f64) {
    if threshold == 0.0 {
        w.put(0, 8);
        return;
    }
    // Powers of two have an empty mantissa; a set sign makes `exponent` large.
    let bits = threshold.to_bits();
    let exponent = bits >> MANTISSA_BITS;
    let power_of_two = bits.trailing_zeros() >= MANTISSA_BITS;
    if power_of_two && (THRESHOLD_BIAS + 1..=THRESHOLD_BIAS + 254).contains(&exponent) {
        w.put(exponent - THRESHOLD_BIAS, 8);
    } else {
        w.put(255, 8);
        w.put_wide(bits, 64);
    }
}

fn read_bounds(r: &mut BitReader<'_>, bounds: &mut Vec<f64>) -> Result<(), Fault> {
    let number = read_uint(r);
    // A bound takes at least five bits: 0 is not among the short codes.
    if number > r.remaining_bits() as u64 / 5 {
        return Err(Fault::Other("has more custom bounds than it has room for"));
    }
    for _ in 0..number {
        bounds.push(match read_uint(r) {
            0 => f64::from_bits(r.read(64)),
            thousandths => (thousandths - 1) as f64 / 1000.0,
        });
    }
    if r.overrun() {
        return Err(Fault::TooShort);
    }
    Ok(())
}

fn put_bound(w: &mut BitRun<'_>, bound: f64) {
    let thousandths = (bound * 1000.0).round();
    let in_range = bound * 1000.0 >= 0.0 && bound * 1000.0 <= MAX_THOUSANDTHS;
    // Exact only if dividing gives the bound back; NaN fails here too.
    if in_range && thousandths / 1000.0 == bound {
        put_uint(w, thousandths as u64 + 1);
    } else {
        w.put(0, 1);
        w.put_wide(bound.to_bits(), 64);
    }
}
