//! One series of several sources against a naive model.

use proptest::prelude::*;

use super::overlap::Scratch;
use super::series_support::{MergedSeries, merge_series, merge_series_with};
use super::test_support::{Chunk, encode, float_chunk, naive, text};
use crate::tsdb::chunkenc::{
    CounterReset, Encoding, FloatHistogram, Histogram, HistogramIter, STALE_NAN, Span, encode_aggr,
};

/// Samples every `step` ms from `start`, all of one value.
pub(super) fn constant(start: i64, step: i64, count: i64, v: f64) -> Chunk {
    let samples: Vec<(i64, f64)> = (0..count).map(|i| (start + i * step, v)).collect();
    float_chunk(&samples)
}

/// What must hold of every merge of chunks that carry no start times.
fn check(sources: &[Vec<Chunk>], merged: &MergedSeries) -> Result<(), TestCaseError> {
    prop_assert_eq!(merged.samples(), naive(sources));
    let ledger = merged.ledger;
    prop_assert_eq!(ledger.read, ledger.written + ledger.deduplicated);
    let fates = ledger.chunks_passed + ledger.chunks_deduplicated + ledger.chunks_replaced;
    prop_assert_eq!(ledger.chunks_read, fates);
    let written = ledger.chunks_passed + ledger.chunks_encoded;
    prop_assert_eq!(merged.chunks.len() as u64, written);
    let mut end = None;
    for chunk in &merged.chunks {
        let samples = chunk.decode();
        prop_assert_eq!(chunk.min_time, samples.first().unwrap().0);
        prop_assert_eq!(chunk.max_time, samples.last().unwrap().0);
        prop_assert!(end < Some(chunk.min_time));
        end = Some(chunk.max_time);
    }
    let inputs: Vec<&Chunk> = sources.iter().flatten().collect();
    for (chunk, copy) in merged.chunks.iter().zip(&merged.copies) {
        match copy {
            Some(i) => prop_assert_eq!(chunk, inputs[*i]),
            None => prop_assert!(chunk.samples() <= 120),
        }
    }
    for (i, chunk) in inputs.iter().enumerate() {
        let alone = inputs.iter().enumerate().all(|(j, other)| {
            j == i || other.min_time > chunk.max_time || other.max_time < chunk.min_time
        });
        prop_assert!(!alone || merged.copies.contains(&Some(i)));
    }
    Ok(())
}

/// How a source was scraped: its first time, the steps between samples, what
/// the values are, and the lengths of its chunks.
#[derive(Debug, Clone)]
struct Scrapes {
    start: i64,
    steps: Vec<i64>,
    values: Vec<u8>,
    lengths: Vec<usize>,
    /// Gap before each chunk, ms; negative makes the source overlap itself.
    gaps: Vec<i64>,
}

impl Scrapes {
    fn chunks(&self) -> Vec<Chunk> {
        let mut chunks = Vec::new();
        let mut t = self.start;
        let (mut steps, mut values) = (self.steps.iter().cycle(), self.values.iter().cycle());
        for (length, gap) in self.lengths.iter().zip(self.gaps.iter().cycle()) {
            t += gap;
            let mut samples = Vec::new();
            for _ in 0..*length {
                t += steps.next().unwrap();
                samples.push((t, value(*values.next().unwrap())));
            }
            chunks.push(float_chunk(&samples));
        }
        chunks
    }
}

/// Among others the special values.
fn value(n: u8) -> f64 {
    match n {
        0 => f64::from_bits(STALE_NAN),
        1 => f64::NAN,
        2 => f64::NEG_INFINITY,
        3 => -0.0,
        n => f64::from(n) / 3.0,
    }
}

fn scrapes(gaps: std::ops::Range<i64>) -> impl Strategy<Value = Scrapes> {
    // Few steps and values, so that times and whole chunks collide.
    let steps = prop_oneof![
        Just(vec![10]),
        Just(vec![10, 10, 11, 9]),
        prop::collection::vec(1..30i64, 1..6),
    ];
    (
        prop_oneof![Just(0i64), Just(5), Just(100), -300..300i64],
        steps,
        prop::collection::vec(0..8u8, 1..9),
        prop::collection::vec(prop_oneof![1..6usize, 1..=120usize], 1..5),
        prop::collection::vec(gaps, 1..3),
    )
        .prop_map(|(start, steps, values, lengths, gaps)| Scrapes {
            start,
            steps,
            values,
            lengths,
            gaps,
        })
}

pub(super) fn sources(gaps: std::ops::Range<i64>) -> impl Strategy<Value = Vec<Vec<Chunk>>> {
    prop::collection::vec(scrapes(gaps), 1..=5).prop_map(|all| {
        let mut sources: Vec<_> = all.iter().map(Scrapes::chunks).collect();
        // The last one is often a replica: the first shifted, or cut otherwise.
        if let [first, .., last] = all.as_slice() {
            let mut replica = first.clone();
            match last.start.rem_euclid(4) {
                0 => {}
                1 => replica.start += 3,
                2 => replica.lengths.reverse(),
                _ => return sources,
            }
            *sources.last_mut().unwrap() = replica.chunks();
        }
        sources
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn floats_merge_like_the_model(sources in sources(0..50)) {
        check(&sources, &merge_series(&sources).unwrap())?;
    }

    #[test]
    fn a_source_may_overlap_itself(sources in sources(-200..50)) {
        let merged = merge_series(&sources).unwrap();
        check(&sources, &merged)?;
        // Nor does it matter which source a chunk of equal values is in.
        let flat = vec![sources.concat()];
        prop_assert_eq!(merged.chunks, merge_series(&flat).unwrap().chunks);
    }

    #[test]
    fn without_conflicts_the_order_of_the_sources_does_not_matter(
        mut sources in sources(0..50),
        turn in 0..5usize,
    ) {
        // A value that follows from the time, so that ties are equal.
        for chunk in sources.iter_mut().flatten() {
            let samples: Vec<_> =
                chunk.decode().iter().map(|(t, ..)| (*t, value(t.rem_euclid(9) as u8))).collect();
            *chunk = float_chunk(&samples);
        }
        let straight = merge_series(&sources).unwrap();
        let turn = turn % sources.len();
        sources.rotate_left(turn);
        prop_assert_eq!(straight.chunks, merge_series(&sources).unwrap().chunks);
    }

    #[test]
    fn histograms_and_floats_mix_like_the_model(
        sources in prop::collection::vec(mixed_source(), 1..=4),
    ) {
        let merged = merge_series(&sources).unwrap();
        check(&sources, &merged)?;
        check_hints(&sources, &merged)?;
    }
}

/// A histogram that grows with `n`; `shift` changes its layout.
pub(super) fn histogram(n: u64, shift: i32, hint: CounterReset) -> Histogram {
    Histogram {
        counter_reset: hint,
        schema: 1,
        zero_threshold: 0.01,
        zero_count: n,
        count: 4 * n,
        sum: n as f64,
        positive_spans: vec![Span {
            offset: shift,
            length: 2,
        }],
        positive_buckets: vec![n as i64, n as i64],
        ..Histogram::default()
    }
}

pub(super) fn float_histogram(n: u64, shift: i32, hint: CounterReset) -> FloatHistogram {
    let h = histogram(n, shift, hint);
    FloatHistogram {
        counter_reset: h.counter_reset,
        schema: h.schema,
        zero_threshold: h.zero_threshold,
        zero_count: n as f64,
        count: 4.0 * n as f64,
        sum: h.sum,
        positive_spans: h.positive_spans,
        positive_buckets: vec![n as f64, 2.0 * n as f64],
        ..FloatHistogram::default()
    }
}

/// Runs of samples of one kind, as the encoder cuts them.
pub(super) fn mixed_source() -> impl Strategy<Value = Vec<Chunk>> {
    let run = (0..5u8, 1..9usize, 1..40i64, 0..40u64, 0..2i32);
    (0..60i64, prop::collection::vec(run, 1..6)).prop_map(|(mut t, runs)| {
        encode(|encoder, out| {
            for (kind, samples, step, from, shift) in runs {
                for n in (from..).take(samples) {
                    t += step;
                    let gauge = CounterReset::Gauge;
                    let counter = CounterReset::Unknown;
                    match kind {
                        0 => encoder.push_float(t, n as f64, out),
                        1 => encoder.push_histogram(t, &histogram(n, shift, counter), out),
                        2 => encoder.push_histogram(t, &histogram(n, shift, gauge), out),
                        3 => {
                            let h = float_histogram(n, shift, counter);
                            encoder.push_float_histogram(t, &h, out)
                        }
                        _ => {
                            let h = float_histogram(n, shift, gauge);
                            encoder.push_float_histogram(t, &h, out)
                        }
                    }
                    .unwrap();
                }
            }
        })
    })
}

/// The header of a histogram chunk, the claim about the chunk before it.
fn header(chunk: &Chunk) -> CounterReset {
    let iter = HistogramIter::new(chunk.known(), &chunk.data).unwrap();
    iter.counter_reset()
}

#[test]
fn chunks_that_begin_because_one_is_full_claim_nothing() {
    let source = |offset: i64| {
        encode(|encoder, out| {
            for n in 0..240 {
                let h = histogram(n, 0, CounterReset::Unknown);
                encoder
                    .push_histogram(10 * n as i64 + offset, &h, out)
                    .unwrap();
            }
        })
    };
    let merged = merge_series(&[source(0), source(3)]).unwrap();
    let lengths: Vec<u64> = merged.chunks.iter().map(Chunk::samples).collect();
    assert_eq!(lengths, [120; 4]);
    for chunk in &merged.chunks {
        assert_eq!(header(chunk), CounterReset::Unknown);
    }
    // The second source is behind the first: a reset with each of its samples.
    let behind = encode(|encoder, out| {
        for n in 0..20 {
            let h = histogram(n, 0, CounterReset::Unknown);
            encoder
                .push_histogram(10 * n as i64 + 503, &h, out)
                .unwrap();
        }
    });
    let merged = merge_series(&[source(0), behind]).unwrap();
    let resets = merged
        .chunks
        .iter()
        .filter(|c| header(c) == CounterReset::Yes);
    assert_eq!(resets.count(), 20);
}

/// "No reset before this sample" may only be said where it is true of the
/// sample before it in the result, and a gauge stays a gauge.
fn check_hints(sources: &[Vec<Chunk>], merged: &MergedSeries) -> Result<(), TestCaseError> {
    let kind = |c: &Chunk| c.known().kind();
    let mut gauges = std::collections::HashMap::new();
    for chunk in sources.iter().flatten() {
        for (t, v, hint) in chunk.decode() {
            let is_gauge = hint == CounterReset::Gauge;
            gauges.entry((t, v)).or_insert_with(Vec::new).push(is_gauge);
        }
    }
    let mut last: Option<(Option<_>, f64)> = None;
    for chunk in &merged.chunks {
        for (t, v, hint) in chunk.decode() {
            let candidates = &gauges[&(t, v.clone())];
            prop_assert!(candidates.contains(&(hint == CounterReset::Gauge)));
            let sum = u64::from_str_radix(v.rsplit(' ').next().unwrap(), 16).unwrap();
            let sum = f64::from_bits(sum);
            if hint == CounterReset::No {
                // All numbers of `histogram` grow with its sum.
                let (before, last_sum) = last.unwrap();
                prop_assert!(
                    before == kind(chunk) && last_sum <= sum,
                    "{last_sum} {sum} at {t}"
                );
            }
            last = Some((kind(chunk), sum));
        }
    }
    Ok(())
}

#[test]
fn touching_chunks_give_one_sample_and_the_lower_rank_wins() {
    let (a, b) = (constant(0, 10, 6, 1.0), constant(50, 10, 6, 2.0));
    for (sources, winner) in [
        ([vec![a.clone()], vec![b.clone()]], 1.0),
        ([vec![b], vec![a]], 2.0),
    ] {
        let merged = merge_series(&sources).unwrap();
        let samples = merged.samples();
        assert_eq!(samples.len(), 11);
        assert_eq!(samples[5], (50, text(winner)));
        assert_eq!(merged.ledger.deduplicated, 1);
        assert_eq!(merged.chunks.len(), 1);
    }
}

#[test]
fn the_next_millisecond_does_not_touch() {
    let sources = [
        vec![constant(0, 10, 6, 1.0)],
        vec![constant(51, 10, 6, 2.0)],
    ];
    let merged = merge_series(&sources).unwrap();
    assert_eq!(merged.copies, [Some(0), Some(1)]);
    assert_eq!(merged.ledger.chunks_encoded, 0);
}

#[test]
fn copies_are_dropped_without_decoding() {
    let mut damaged = constant(0, 10, 50, 1.5);
    damaged.data.truncate(14);
    let sources = vec![vec![damaged]; 4];
    let merged = merge_series(&sources).unwrap();
    assert_eq!(merged.copies, [Some(0)]);
    assert_eq!(merged.ledger.chunks_deduplicated, 3);
    assert_eq!(merged.ledger.deduplicated, 150);
}

#[test]
fn equal_bytes_in_another_encoding_are_no_copy() {
    let floats = constant(0, 10, 5, 1.5);
    let mut other = floats.clone();
    other.encoding = Encoding::Xor2.as_byte();
    // What they mean in the other encoding is nobody's business.
    if let Ok(merged) = merge_series(&[vec![floats], vec![other]]) {
        assert_eq!(merged.ledger.chunks_deduplicated, 0);
    }
}

#[test]
fn long_clusters_are_cut_every_120_samples() {
    let chunks = |offset: i64| -> Vec<Chunk> {
        (0..9)
            .map(|i| constant(offset + i * 1200, 10, 120, i as f64))
            .collect()
    };
    let merged = merge_series(&[chunks(0), chunks(3), chunks(6)]).unwrap();
    let samples: Vec<u64> = merged.chunks.iter().map(Chunk::samples).collect();
    assert_eq!(samples, [120; 27]);
    assert_eq!(merged.ledger.deduplicated, 0);
}

pub(super) fn aggregate(start: i64, v: f64) -> Chunk {
    let column = constant(start, 300, 4, v);
    let mut data = Vec::new();
    encode_aggr(
        [Some((Encoding::Xor, column.data.as_slice())); 5],
        &mut data,
    );
    Chunk {
        encoding: Encoding::Aggr.as_byte(),
        data,
        ..column
    }
}

#[test]
fn downsampled_chunks_pass_and_their_copies_go_but_overlaps_are_refused() {
    let (a, b) = (aggregate(0, 1.0), aggregate(1200, 2.0));
    let merged = merge_series(&[vec![a.clone(), b.clone()], vec![a.clone()]]).unwrap();
    assert_eq!(merged.chunks, [a.clone(), b]);
    assert_eq!(merged.ledger.deduplicated, 4);
    for other in [
        aggregate(0, 3.0),
        aggregate(900, 1.0),
        constant(900, 10, 3, 1.0),
    ] {
        let error = merge_series(&[vec![a.clone()], vec![other.clone()]]).unwrap_err();
        assert_eq!(error.input, 1);
        let expected = format!(
            "downsampled chunks overlap: 0..=900 ms and {}..={} ms cannot be merged; downsample \
             the merged raw blocks instead at byte 0",
            other.min_time, other.max_time
        );
        assert_eq!(error.error.to_string(), expected);
    }
}

#[test]
fn nothing_of_a_failed_series_gets_into_the_next() {
    let good = |start| vec![constant(start, 10, 100, 7.0)];
    let mut liar = constant(5, 10, 100, 2.0);
    liar.max_time -= 1;
    let mut short = constant(5, 10, 100, 2.0);
    short.data.truncate(20);
    let histograms = encode(|encoder, out| {
        for n in 0..20 {
            let h = histogram(n, 0, CounterReset::Unknown);
            encoder.push_histogram(3 + 10 * n as i64, &h, out).unwrap();
        }
    });
    let mut bad = histograms.clone();
    let half = bad[0].data.len() / 2;
    bad[0].data.truncate(half);

    let mut scratch = Scratch::default();
    for broken in [vec![liar], vec![short], bad] {
        merge_series_with(&[good(0), good(3), broken.clone()], &mut scratch).unwrap_err();
        scratch.reset();
        for sources in [[good(2000), good(2005)], [good(2000), histograms.clone()]] {
            let fresh = merge_series(&sources).unwrap();
            let used = merge_series_with(&sources, &mut scratch).unwrap();
            assert_eq!(used.chunks, fresh.chunks);
            assert_eq!(used.ledger, fresh.ledger);
        }
    }
}

#[test]
fn samples_that_contradict_their_index_entry_are_refused() {
    let neighbour = vec![constant(0, 10, 20, 1.0)];
    let error = |chunk: &Chunk| {
        let merged = merge_series(&[neighbour.clone(), vec![chunk.clone()]]);
        let error = merged.unwrap_err();
        assert_eq!(error.input, 1);
        error.error.to_string()
    };
    let h = encode(|encoder, out| {
        for t in [50, 60, 70] {
            let h = histogram(3, 0, CounterReset::Unknown);
            encoder.push_histogram(t, &h, out).unwrap();
        }
    });
    for chunk in [constant(50, 10, 3, 1.0), h[0].clone()] {
        let mut late = chunk.clone();
        late.max_time = 69;
        let what =
            "chunk has a sample at 70 ms, outside of the times in its index entry, 50..=69 ms";
        assert_eq!(error(&late), format!("{what} at byte 0"));
        let mut early = chunk;
        early.min_time = 51;
        assert!(error(&early).contains("a sample at 50 ms, outside"));
    }
    // The encoder does not look at the order of times.
    let mut turned = constant(50, 10, 2, 1.0);
    turned.data = float_chunk(&[(50, 1.0), (60, 1.0), (55, 1.0)]).data;
    assert_eq!(
        error(&turned),
        "samples of the chunk are out of order: 55 ms follows 60 ms at byte 0"
    );
}
