//! Merging buckets of a fine schema into those of a coarser one.

use super::{Bucket, Span};

/// Replaces `spans_out` and `buckets_out` by the buckets at a schema that is
/// `steps` coarser: `2^steps` buckets become one.
pub(crate) fn reduce<B: Bucket>(
    spans: &[Span],
    buckets: &[B],
    steps: u32,
    spans_out: &mut Vec<Span>,
    buckets_out: &mut Vec<B>,
) {
    spans_out.clear();
    buckets_out.clear();
    let mut count = B::default();
    // The bucket that is being filled: its number, its count, and the count of
    // the one before it, against which integers are stored.
    let mut open: Option<(i64, B)> = None;
    let mut closed = B::default();
    for (number, stored) in super::spans::Walk::new(spans).zip(buckets) {
        count = stored.absolute(count);
        // Buckets end at their upper bound, hence the shift by one.
        let target = ((number - 1) >> steps.min(62)) + 1;
        match &mut open {
            Some((same, sum)) if *same == target => *sum = sum.plus(count),
            Some((last, sum)) => {
                buckets_out.push(sum.stored(closed));
                closed = *sum;
                push_bucket(spans_out, target - *last - 1);
                open = Some((target, count));
            }
            None => {
                push_bucket(spans_out, target);
                open = Some((target, count));
            }
        }
    }
    if let Some((_, sum)) = open {
        buckets_out.push(sum.stored(closed));
    }
}

/// Adds one bucket `gap` behind the last one.
fn push_bucket(spans: &mut Vec<Span>, gap: i64) {
    match spans.last_mut() {
        Some(span) if gap == 0 => span.length += 1,
        _ => spans.push(Span {
            // Buckets merge, so gaps only shrink: within 32 bits.
            offset: gap as i32,
            length: 1,
        }),
    }
}
