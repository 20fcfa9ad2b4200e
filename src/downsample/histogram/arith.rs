//! Arithmetic on float histograms that have schema, zero threshold and bounds in
//! common: sum, difference, and whether a counter was reset in between.
//!
//! ```text
//!  to       spans [ 0 1 ]      [ 5 6 ]        a bucket that is new extends the span
//!  other            1     3 4      6    9     before it, else the one behind it,
//!  result   spans [ 0 1 ][ 3 ][ 4 5 6 ] [9]   else gets a span of its own
//! ```
//!
//! Which spans describe the same buckets shows in the bytes of a chunk, so the
//! choice is that of Prometheus. Like there, buckets of `other` that lie within
//! the zero bucket are left out: a sound histogram has none.

use super::bounds;
use crate::tsdb::chunkenc::{CUSTOM_SCHEMA, FloatHistogram, Merge, Span, Walk, reduce};
use crate::tsdb::{Error, Result};

/// What the histograms of a chunk have in common: each is brought to it before
/// anything is added or compared.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Grid {
    /// The coarsest schema among them.
    schema: i32,
    /// The widest zero bucket among them, up to the next bound if they differ.
    zero_threshold: f64,
    /// Number of the last bucket within the zero bucket.
    within: i64,
}

impl Grid {
    /// `alike` if `zero_threshold`, the largest of several, is that of all. Else
    /// some have to be widened to it, which only a bound of a bucket allows for.
    pub(super) fn new(schema: i32, zero_threshold: f64, alike: bool) -> Self {
        let zero_threshold = if alike || schema == CUSTOM_SCHEMA {
            zero_threshold
        } else {
            bounds::bound_from(zero_threshold, schema)
        };
        Self {
            schema,
            zero_threshold,
            within: bounds::last_within(zero_threshold, schema),
        }
    }
}

impl Default for Grid {
    fn default() -> Self {
        Self::new(0, 0.0, true)
    }
}

/// Adds or takes away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sign {
    Plus,
    Minus,
}

impl Sign {
    #[inline(always)]
    fn of(self, value: f64) -> f64 {
        match self {
            Self::Plus => value,
            // Not 0 - value: a new bucket keeps the sign of its zero.
            Self::Minus => -value,
        }
    }
}

/// Buffers of the operations, for reuse.
#[derive(Debug, Default)]
pub(super) struct Arith {
    spans: Vec<Span>,
    buckets: Vec<f64>,
    difference: FloatHistogram,
}

impl Arith {
    /// Brings `h` to the grid, whose schema is not finer and whose zero bucket
    /// is not narrower than that of `h`.
    ///
    /// # Errors
    /// As [`Self::add`].
    pub(super) fn bring(&mut self, h: &mut FloatHistogram, grid: &Grid) -> Result<()> {
        if h.schema == CUSTOM_SCHEMA {
            return Ok(());
        }
        if h.schema > grid.schema {
            let steps = h.schema.abs_diff(grid.schema);
            self.coarsen(&mut h.positive_spans, &mut h.positive_buckets, steps);
            self.coarsen(&mut h.negative_spans, &mut h.negative_buckets, steps);
            h.schema = grid.schema;
        }
        if h.zero_threshold != grid.zero_threshold {
            h.zero_threshold = grid.zero_threshold;
            let positive = (&mut h.positive_spans, &mut h.positive_buckets);
            self.absorb(positive, grid.within, &mut h.zero_count)
                .ok_or_else(too_far_apart)?;
            let negative = (&mut h.negative_spans, &mut h.negative_buckets);
            self.absorb(negative, grid.within, &mut h.zero_count)
                .ok_or_else(too_far_apart)?;
        }
        Ok(())
    }

    fn coarsen(&mut self, spans: &mut Vec<Span>, buckets: &mut Vec<f64>, steps: u32) {
        reduce(spans, buckets, steps, &mut self.spans, &mut self.buckets);
        std::mem::swap(spans, &mut self.spans);
        std::mem::swap(buckets, &mut self.buckets);
    }

    /// Moves the buckets up to number `within` into the zero bucket and, as
    /// Prometheus does on this occasion, drops the empty ones. `None` if a gap
    /// does not fit a span.
    fn absorb(
        &mut self,
        (spans, buckets): (&mut Vec<Span>, &mut Vec<f64>),
        within: i64,
        zero_count: &mut f64,
    ) -> Option<()> {
        let mut out = self.output();
        for (number, count) in Walk::new(spans).zip(buckets.iter()) {
            if number <= within {
                *zero_count += count;
            } else if *count != 0.0 {
                if !out.extends(number) {
                    out.open(number)?;
                }
                out.push(*count);
            }
        }
        std::mem::swap(spans, &mut self.spans);
        std::mem::swap(buckets, &mut self.buckets);
        Some(())
    }

    /// Empty buffers to fill.
    fn output(&mut self) -> Output<'_> {
        self.spans.clear();
        self.buckets.clear();
        Output {
            spans: &mut self.spans,
            buckets: &mut self.buckets,
            end: 0,
        }
    }

    /// Adds `other` to `to`; both are at `grid`.
    ///
    /// # Errors
    /// [`Error::Limit`] for buckets whose numbers are too far apart for a span.
    pub(super) fn add(
        &mut self,
        to: &mut FloatHistogram,
        other: &FloatHistogram,
        grid: &Grid,
    ) -> Result<()> {
        self.combine(to, other, Sign::Plus, grid)
    }

    /// Adds `next - last` to `to`, all at `grid`. The difference is taken first:
    /// floats round, and a counter is told from a reset one by its last bit.
    ///
    /// # Errors
    /// As [`Self::add`].
    pub(super) fn add_increase(
        &mut self,
        to: &mut FloatHistogram,
        next: &FloatHistogram,
        last: &FloatHistogram,
        grid: &Grid,
    ) -> Result<()> {
        let alike = |a: &[Span], b: &[Span], c: &[Span]| {
            a == b && b == c && first_bucket_is_outside(a, grid)
        };
        let same_layout = alike(
            &to.positive_spans,
            &next.positive_spans,
            &last.positive_spans,
        ) && alike(
            &to.negative_spans,
            &next.negative_spans,
            &last.negative_spans,
        );
        if same_layout {
            to.zero_count += next.zero_count - last.zero_count;
            to.count += next.count - last.count;
            to.sum += next.sum - last.sum;
            for (to, next, last) in [
                (
                    &mut to.positive_buckets,
                    &next.positive_buckets,
                    &last.positive_buckets,
                ),
                (
                    &mut to.negative_buckets,
                    &next.negative_buckets,
                    &last.negative_buckets,
                ),
            ] {
                for ((to, next), last) in to.iter_mut().zip(next).zip(last) {
                    *to += next - last;
                }
            }
            return Ok(());
        }
        let mut difference = std::mem::take(&mut self.difference);
        difference.copy_from(next);
        let done = self
            .combine(&mut difference, last, Sign::Minus, grid)
            .and_then(|()| self.combine(to, &difference, Sign::Plus, grid));
        self.difference = difference;
        done
    }

    fn combine(
        &mut self,
        to: &mut FloatHistogram,
        other: &FloatHistogram,
        sign: Sign,
        grid: &Grid,
    ) -> Result<()> {
        to.zero_count += sign.of(other.zero_count);
        to.count += sign.of(other.count);
        to.sum += sign.of(other.sum);
        let positive = (&mut to.positive_spans, &mut to.positive_buckets);
        let more = (&other.positive_spans[..], &other.positive_buckets[..]);
        self.combine_side(positive, more, sign, grid)
            .ok_or_else(too_far_apart)?;
        let negative = (&mut to.negative_spans, &mut to.negative_buckets);
        let more = (&other.negative_spans[..], &other.negative_buckets[..]);
        self.combine_side(negative, more, sign, grid)
            .ok_or_else(too_far_apart)
    }

    /// `None` if a gap does not fit a span.
    fn combine_side(
        &mut self,
        to: (&mut Vec<Span>, &mut Vec<f64>),
        other: (&[Span], &[f64]),
        sign: Sign,
        grid: &Grid,
    ) -> Option<()> {
        // The common case, without walking bucket numbers.
        if to.0 == other.0 && first_bucket_is_outside(other.0, grid) {
            for (to, other) in to.1.iter_mut().zip(other.1) {
                *to += sign.of(*other);
            }
            return Some(());
        }
        let mut out = self.output();
        let mut new = Walk::new(other.0)
            .zip(other.1)
            .skip_while(|(number, _)| *number <= grid.within)
            .map(|(number, count)| (number, sign.of(*count)))
            .peekable();
        let mut old = to.1.iter();
        let mut start = 0;
        for span in to.0.iter() {
            start += i64::from(span.offset);
            let mut opened = false;
            while let Some((number, count)) = new.next_if(|(number, _)| *number < start) {
                if !out.extends(number) {
                    out.open(number)?;
                    // The last gap bucket before a span becomes part of it.
                    opened = number + 1 == start;
                }
                out.push(count);
            }
            if !opened {
                out.open(start)?;
            }
            for count in old.by_ref().take(span.length as usize) {
                let more = new.next_if(|(number, _)| *number == out.end);
                out.push(more.map_or(*count, |(_, more)| count + more));
            }
            start += i64::from(span.length);
        }
        for (number, count) in new {
            if !out.extends(number) {
                out.open(number)?;
            }
            out.push(count);
        }
        std::mem::swap(to.0, &mut self.spans);
        std::mem::swap(to.1, &mut self.buckets);
        Some(())
    }
}

/// Spans and buckets as they are put together.
struct Output<'a> {
    spans: &'a mut Vec<Span>,
    buckets: &'a mut Vec<f64>,
    /// Number behind the last bucket.
    end: i64,
}

impl Output<'_> {
    /// True if bucket `number` continues the last span.
    fn extends(&self, number: i64) -> bool {
        number == self.end && !self.spans.is_empty()
    }

    /// Starts an empty span at bucket `number`; `None` if the gap is too wide.
    fn open(&mut self, number: i64) -> Option<()> {
        self.spans.push(Span {
            offset: i32::try_from(number - self.end).ok()?,
            length: 0,
        });
        self.end = number;
        Some(())
    }

    /// Adds a bucket to the last span.
    fn push(&mut self, count: f64) {
        if let Some(span) = self.spans.last_mut() {
            span.length += 1;
            self.end += 1;
            self.buckets.push(count);
        }
    }
}

/// True if no bucket has to be left out.
#[inline]
fn first_bucket_is_outside(spans: &[Span], grid: &Grid) -> bool {
    spans
        .first()
        .is_none_or(|span| i64::from(span.offset) > grid.within)
}

/// True if a counter cannot have gone from `last` to `next` without a reset:
/// a count went down or a bucket that was in use went missing. Both at `grid`.
pub(super) fn is_reset(last: &FloatHistogram, next: &FloatHistogram, grid: &Grid) -> bool {
    next.count < last.count
        || next.zero_count < last.zero_count
        || is_side_reset(
            (&last.positive_spans, &last.positive_buckets),
            (&next.positive_spans, &next.positive_buckets),
            grid,
        )
        || is_side_reset(
            (&last.negative_spans, &last.negative_buckets),
            (&next.negative_spans, &next.negative_buckets),
            grid,
        )
}

fn is_side_reset(last: (&[Span], &[f64]), next: (&[Span], &[f64]), grid: &Grid) -> bool {
    let (mut was, mut is) = (last.1.iter(), next.1.iter());
    if last.0 == next.0 && first_bucket_is_outside(last.0, grid) {
        return was.zip(is).any(|(was, is)| is < was);
    }
    Merge::new(last.0, next.0).any(|bucket| {
        let was = bucket.in_a.then(|| was.next()).flatten();
        let is = bucket.in_b.then(|| is.next()).flatten();
        bucket.number > grid.within
            && match (was, is) {
                (Some(was), Some(is)) => is < was,
                (Some(was), None) => *was != 0.0,
                _ => false,
            }
    })
}

#[cold]
fn too_far_apart() -> Error {
    Error::Limit("histograms with buckets too far apart to be added".to_owned())
}

#[cfg(test)]
#[path = "arith_tests.rs"]
mod tests;
