//! Walking, joining and re-ordering the buckets that spans describe.

use super::{Bucket, Span};

/// The numbers of the buckets of some spans, ascending.
#[derive(Debug, Clone)]
pub(crate) struct Walk<'a> {
    spans: std::slice::Iter<'a, Span>,
    /// Buckets left in the current span.
    left: u32,
    /// Number of the next bucket; 64 bits, so that no span can overflow it.
    next: i64,
}

impl<'a> Walk<'a> {
    pub(crate) fn new(spans: &'a [Span]) -> Self {
        Self {
            spans: spans.iter(),
            left: 0,
            next: 0,
        }
    }
}

impl Iterator for Walk<'_> {
    type Item = i64;

    fn next(&mut self) -> Option<i64> {
        // A loop, because spans may be empty.
        while self.left == 0 {
            let span = self.spans.next()?;
            self.next += i64::from(span.offset);
            self.left = span.length;
        }
        self.left -= 1;
        self.next += 1;
        Some(self.next - 1)
    }
}

/// Buckets of some spans; saturates, since spans are not to be trusted.
pub(super) fn count_buckets(spans: &[Span]) -> usize {
    let sum: u64 = spans.iter().map(|s| u64::from(s.length)).sum();
    usize::try_from(sum).unwrap_or(usize::MAX)
}

/// True if the bucket numbers ascend and fit 32 bits, as a decoder ensures.
pub(super) fn are_sane(spans: &[Span]) -> bool {
    let mut next = 0i64;
    spans.iter().enumerate().all(|(i, span)| {
        next += i64::from(span.offset) + i64::from(span.length);
        (i == 0 || span.offset >= 0) && next <= i64::from(i32::MAX)
    })
}

/// The numbers that either side has, ascending, with who has them.
pub(crate) struct Merge<'a> {
    a: std::iter::Peekable<Walk<'a>>,
    b: std::iter::Peekable<Walk<'a>>,
}

/// One bucket of a [`Merge`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Merged {
    pub(crate) number: i64,
    pub(crate) in_a: bool,
    pub(crate) in_b: bool,
}

impl<'a> Merge<'a> {
    pub(crate) fn new(a: &'a [Span], b: &'a [Span]) -> Self {
        Self {
            a: Walk::new(a).peekable(),
            b: Walk::new(b).peekable(),
        }
    }
}

impl Iterator for Merge<'_> {
    type Item = Merged;

    fn next(&mut self) -> Option<Merged> {
        let number = match (self.a.peek(), self.b.peek()) {
            (Some(a), Some(b)) => *a.min(b),
            (Some(one), None) | (None, Some(one)) => *one,
            (None, None) => return None,
        };
        Some(Merged {
            number,
            in_a: self.a.next_if_eq(&number).is_some(),
            in_b: self.b.next_if_eq(&number).is_some(),
        })
    }
}

/// Replaces `out` by the fewest spans that cover the buckets of `a` and `b`;
/// `None` if a gap does not fit a span, which takes two histograms at opposite
/// ends of the numbers.
pub(super) fn union(a: &[Span], b: &[Span], out: &mut Vec<Span>) -> Option<()> {
    out.clear();
    let mut end = 0;
    for bucket in Merge::new(a, b) {
        match out.last_mut() {
            Some(span) if bucket.number == end => span.length += 1,
            _ => out.push(Span {
                offset: i32::try_from(bucket.number - end).ok()?,
                length: 1,
            }),
        }
        end = bucket.number + 1;
    }
    Some(())
}

/// Replaces `out` by the buckets of `from`, laid out as `to`, which covers them;
/// buckets that are new have the count 0.
pub(super) fn relayout<B: Bucket>(from: &[Span], buckets: &[B], to: &[Span], out: &mut Vec<B>) {
    out.clear();
    let mut source = Walk::new(from).zip(buckets).peekable();
    // Deltas change around a new bucket, so go through the counts: that of the
    // bucket before in the source, and in what is written.
    let (mut count, mut written) = (B::default(), B::default());
    for number in Walk::new(to) {
        let absolute = match source.next_if(|(have, _)| *have == number) {
            Some((_, stored)) => {
                count = stored.absolute(count);
                count
            }
            None => B::default(),
        };
        out.push(absolute.stored(written));
        written = absolute;
    }
}
