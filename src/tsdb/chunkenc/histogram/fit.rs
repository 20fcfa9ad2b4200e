//! Whether a histogram fits the chunk that is being written.
//!
//! All samples of a chunk share one layout. A new sample may have buckets that
//! the chunk lacks (the chunk is *widened*: written again) and may lack buckets
//! of the chunk (the sample is *padded* with zeros). For counters the latter is
//! a reset unless those buckets were empty. Everything else that differs, and
//! every count that went down, ends the chunk.

use super::spans::Merge;
use super::{Bucket, CUSTOM_SCHEMA, CounterReset, Flavour, HistogramOf, Span};

/// What has to happen before a sample can be appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Fit {
    pub(super) positive: SideFit,
    pub(super) negative: SideFit,
}

impl Fit {
    pub(super) fn widens(self) -> bool {
        self.positive.widen || self.negative.widen
    }

    pub(super) fn pads(self) -> bool {
        self.positive.pad || self.negative.pad
    }
}

/// The same for the positive or the negative buckets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct SideFit {
    /// The sample has buckets that the chunk lacks.
    pub(super) widen: bool,
    /// The chunk has buckets that the sample lacks.
    pub(super) pad: bool,
}

/// How `next` fits a chunk of counters or gauges (`chunk`) whose last sample is
/// `last`, or else the header of the chunk that has to be started for it.
pub(super) fn fit<F: Flavour>(
    chunk: CounterReset,
    last: &HistogramOf<F>,
    next: &HistogramOf<F>,
) -> Result<Fit, CounterReset> {
    if next.counter_reset == CounterReset::Gauge {
        fit_gauge(chunk, last, next).ok_or(CounterReset::Gauge)
    } else {
        fit_counter(chunk, last, next)
    }
}

/// The rules for a sample that is no gauge.
fn fit_counter<F: Flavour>(
    chunk: CounterReset,
    last: &HistogramOf<F>,
    next: &HistogramOf<F>,
) -> Result<Fit, CounterReset> {
    // Gauges and counters never share a chunk.
    if chunk == CounterReset::Gauge {
        return Err(F::AFTER_GAUGE);
    }
    // What the producer says outranks what the counts say.
    if next.counter_reset == CounterReset::Yes {
        return Err(CounterReset::Yes);
    }
    // A stale sample has no buckets and fits anywhere; behind it the counts to
    // compare with are gone.
    if next.is_stale() {
        return Ok(Fit::default());
    }
    if last.is_stale() {
        return Err(CounterReset::Unknown);
    }
    // The order of these checks decides the header, so it is that of upstream.
    if next.count < last.count {
        return Err(CounterReset::Yes);
    }
    if next.schema != last.schema || next.zero_threshold != last.zero_threshold {
        return Err(CounterReset::Unknown);
    }
    if !same_bounds(last, next) || next.zero_count < last.zero_count {
        return Err(CounterReset::Yes);
    }
    let side = |spans: (&[Span], &[Span]), buckets: (&[F::Bucket], &[F::Bucket])| {
        fit_counter_side(spans, buckets).ok_or(CounterReset::Yes)
    };
    Ok(Fit {
        positive: side(
            (&last.positive_spans, &next.positive_spans),
            (&last.positive_buckets, &next.positive_buckets),
        )?,
        negative: side(
            (&last.negative_spans, &next.negative_spans),
            (&last.negative_buckets, &next.negative_buckets),
        )?,
    })
}

/// The rules for a gauge; `None` needs a chunk of its own.
fn fit_gauge<F: Flavour>(
    chunk: CounterReset,
    last: &HistogramOf<F>,
    next: &HistogramOf<F>,
) -> Option<Fit> {
    if chunk != CounterReset::Gauge {
        return None;
    }
    if next.is_stale() {
        return Some(Fit::default());
    }
    let same_kind = !last.is_stale()
        && next.schema == last.schema
        && next.zero_threshold == last.zero_threshold
        && same_bounds(last, next);
    same_kind.then(|| Fit {
        positive: fit_gauge_side(&last.positive_spans, &next.positive_spans),
        negative: fit_gauge_side(&last.negative_spans, &next.negative_spans),
    })
}

/// Only custom buckets have bounds of their own to agree on.
fn same_bounds<F: Flavour>(last: &HistogramOf<F>, next: &HistogramOf<F>) -> bool {
    next.schema != CUSTOM_SCHEMA || next.custom_values == last.custom_values
}

/// `None` is a counter reset: a count went down or a used bucket went missing.
fn fit_counter_side<B: Bucket>(
    spans: (&[Span], &[Span]),
    buckets: (&[B], &[B]),
) -> Option<SideFit> {
    let (mut last, mut next) = (buckets.0.iter(), buckets.1.iter());
    let (mut was, mut is) = (B::default(), B::default());
    let mut fit = SideFit::default();
    // The common case, without walking bucket numbers.
    if spans.0 == spans.1 {
        for (stored_was, stored_is) in last.zip(next) {
            was = stored_was.absolute(was);
            is = stored_is.absolute(is);
            if was > is {
                return None;
            }
        }
        return Some(fit);
    }
    for bucket in Merge::new(spans.0, spans.1) {
        if bucket.in_a {
            was = last.next()?.absolute(was);
        }
        if bucket.in_b {
            is = next.next()?.absolute(is);
        }
        // Compared are counts, not what is stored: for integers that is a delta.
        match (bucket.in_a, bucket.in_b) {
            (true, true) if was > is => return None,
            (true, false) if was != B::default() => return None,
            (true, false) => fit.pad = true,
            (false, true) => fit.widen = true,
            _ => {}
        }
    }
    Some(fit)
}

/// Gauges may go down, so nothing is compared but the layouts.
fn fit_gauge_side(last: &[Span], next: &[Span]) -> SideFit {
    let mut fit = SideFit::default();
    if last != next {
        for bucket in Merge::new(last, next) {
            fit.widen |= !bucket.in_a;
            fit.pad |= !bucket.in_b;
        }
    }
    fit
}
