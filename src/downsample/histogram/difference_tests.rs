//! Where the result is not that of Thanos, or might easily not be. Each test says
//! what comes in, what Thanos makes of it, and what it is, worked out by hand; the
//! rows of docs/downsampling.md are these.

use super::HistogramDownsampler;
use super::test_support::{Model, Window, downsample, downsample_again, encode, windows};
use crate::downsample::{Counts, FIVE_MINUTES_MS, ONE_HOUR_MS};
use crate::tsdb::chunkenc::{
    Aggr, AggrChunk, CounterReset, EncodedChunk, EncodedChunks, Encoding, FloatHistogram, Span,
    encode_aggr,
};

const MINUTE: i64 = 60_000;

/// Chunks of samples, one each minute from 0 on.
fn series(chunks: &[&[Model]]) -> EncodedChunks {
    let mut t = -MINUTE;
    let mut timed = |h: &Model| {
        t += MINUTE;
        (t, h.histogram(false))
    };
    let chunks: Vec<Vec<(i64, FloatHistogram)>> = chunks
        .iter()
        .map(|chunk| chunk.iter().map(&mut timed).collect())
        .collect();
    let slices: Vec<&[_]> = chunks.iter().map(|chunk| &chunk[..]).collect();
    encode(&slices, true)
}

fn made(chunks: &[&[Model]]) -> (Vec<Vec<Window>>, Counts) {
    let (out, counts) = downsample(&series(chunks), FIVE_MINUTES_MS);
    (windows(&out), counts)
}

fn counters(windows: &[Window]) -> Vec<f64> {
    windows.iter().map(|window| window.counter.count).collect()
}

fn sums(windows: &[Window]) -> Vec<f64> {
    windows.iter().map(|window| window.sum.count).collect()
}

fn finer(schema: i32, h: Model) -> Model {
    Model { schema, ..h }
}

fn wide(threshold: f64, zero: f64, h: Model) -> Model {
    let count = h.count + zero;
    Model {
        threshold,
        zero,
        count,
        ..h
    }
}

fn gauge(h: Model) -> Model {
    Model { gauge: true, ..h }
}

#[test]
fn a_finer_schema_is_no_reset() {
    let h = Model::simple;
    // Counts 4 8 | 16 32 | 48 in one window, the second chunk at schema 1, so
    // all come to schema 0. Thanos compares 16 with 8 across schemas, takes it
    // for a reset and adds all of it: the counter ends at 4 + 4 + 16 + 16 + 16 =
    // 56. The counter never went down, so it ends where it ends: at 48.
    let (chunks, counts) = made(&[
        &[h(&[4]), h(&[8])],
        &[finer(1, h(&[6, 10])), finer(1, h(&[12, 20]))],
        &[h(&[48])],
    ]);
    assert_eq!(counts.counted, 5);
    assert_eq!(counters(&chunks[0]), [48.0]);
    assert_eq!(sums(&chunks[0]), [4.0 + 8.0 + 16.0 + 32.0 + 48.0]);
    // Buckets 1 and 2 of schema 1 are bucket 1 of schema 0.
    let sum = &chunks[0][0].sum;
    assert_eq!(sum.schema, 0);
    assert_eq!(sum.positive, [(1, 108.0)].into());

    // Resets are found all the same: 10 | 7 at schema 1 | 9: 10 + 7 + 2.
    let (chunks, _) = made(&[&[h(&[10])], &[finer(1, h(&[3, 4]))], &[h(&[9])]]);
    assert_eq!(counters(&chunks[0]), [19.0]);
}

#[test]
fn a_zero_bucket_that_widens_costs_no_window() {
    let h = Model::simple;
    // Five samples per window; the zero bucket grows to 2 (bucket 1 is in it
    // then) when the second window begins. Thanos starts new columns there and
    // drops what it had: the first window is lost from sum and counter. All is
    // brought to the wider one instead.
    let narrow: Vec<Model> = (1..=5).map(|n| h(&[n, n])).collect();
    let widened: Vec<Model> = (6..=8)
        .map(|n| {
            let mut h = wide(2.0, f64::from(n), h(&[0, n]));
            h.positive.remove(&1);
            h
        })
        .collect();
    let (chunks, counts) = made(&[&narrow, &widened]);
    assert_eq!(counts.counted, 8);
    assert_eq!(chunks.len(), 1);
    let first = &chunks[0][0];
    assert_eq!((first.sum.threshold, first.sum.zero), (2.0, 15.0));
    assert_eq!(first.sum.positive, [(2, 15.0)].into());
    assert_eq!(sums(&chunks[0]), [30.0, 42.0]);
    // It never went down: 10 after 5 samples, 16 after 8.
    assert_eq!(counters(&chunks[0]), [10.0, 16.0]);

    // The other way round Thanos loses the first window, too. Here the counts
    // start afresh: 16, then 2 4 .. 10 again make 26.
    let (chunks, _) = made(&[&widened, &[h(&[0, 0])], &[h(&[0, 1])], &narrow]);
    assert_eq!(chunks.len(), 1);
    assert_eq!(sums(&chunks[0]), [42.0 + 1.0, 30.0]);
    assert_eq!(counters(&chunks[0]), [16.0 + 1.0, 16.0 + 10.0]);

    // A threshold inside a populated bucket moves on to where that ends.
    let (chunks, _) = made(&[&[h(&[1, 2])], &[wide(1.5, 3.0, h(&[0, 4]))]]);
    let sum = &chunks[0][0].sum;
    assert_eq!((sum.threshold, sum.zero), (2.0, 4.0));
    assert_eq!(sum.positive, [(2, 6.0)].into());
}

#[test]
fn gauges_after_counters_get_a_chunk_of_their_own() {
    let h = Model::simple;
    // Window 1 has counters, windows 2 and 3 gauges. Thanos goes on in new
    // columns and drops window 1; the chunk ends there instead.
    let counting: Vec<Model> = (1..=5).map(|n| h(&[n])).collect();
    let going: Vec<Model> = (1..=7).map(|n| gauge(h(&[10 - n]))).collect();
    let (chunks, counts) = made(&[&counting, &going]);
    assert_eq!(counts.counted, 12);
    assert_eq!(chunks.len(), 2);
    assert_eq!(counters(&chunks[0]), [5.0]);
    assert!(!chunks[0][0].counter.gauge && chunks[0][0].sum.gauge);
    // The counter column of gauges has the latest value.
    assert_eq!(counters(&chunks[1]), [5.0, 3.0]);
    assert!(chunks[1][0].counter.gauge);

    // In one window a gauge among counters makes all of it a gauge, as upstream:
    // 2 to 3, then down to 1.
    let (chunks, _) = made(&[&[h(&[2]), h(&[3])], &[gauge(h(&[1]))]]);
    assert_eq!(counters(&chunks[0]), [1.0]);
    assert!(chunks[0][0].counter.gauge);

    // And gauges first: the chunk goes on as one of gauges, as upstream.
    let (chunks, _) = made(&[&going, &counting]);
    assert_eq!(chunks.len(), 1);
}

#[test]
fn announced_resets_cost_no_window() {
    // A window each: 5, then 3 and 2, both with a hint that says reset. Thanos,
    // given samples with such hints, starts new columns and drops the windows
    // before. Read from chunks no sample has the hint, so neither loses any.
    let sample = |(t, n): (i64, u32)| {
        let hint = if n == 5 {
            CounterReset::Unknown
        } else {
            CounterReset::Yes
        };
        let h = FloatHistogram {
            counter_reset: hint,
            ..Model::simple(&[n]).histogram(false)
        };
        (t * FIVE_MINUTES_MS, h)
    };
    let samples: Vec<_> = [(0, 5), (1, 3), (2, 2)].into_iter().map(sample).collect();
    let raw = encode(&[&samples], true);
    assert_eq!(raw.metas.len(), 3);
    let chunks = windows(&downsample(&raw, FIVE_MINUTES_MS).0);
    assert_eq!(chunks.len(), 1);
    assert_eq!(counters(&chunks[0]), [5.0, 8.0, 10.0]);
}

#[test]
fn times_before_the_epoch_are_kept() {
    // Samples at -6 min to 0 min. Thanos drops all before the epoch.
    let samples: Vec<_> = (-6_i32..=0)
        .map(|i| {
            (
                i64::from(i) * MINUTE,
                Model::simple(&[(i + 7) as u32]).histogram(false),
            )
        })
        .collect();
    let (out, counts) = downsample(&encode(&[&samples], true), FIVE_MINUTES_MS);
    assert_eq!((counts.read, counts.counted), (7, 7));
    let chunks = windows(&out);
    let times: Vec<_> = chunks[0].iter().map(|w| (w.t, w.count)).collect();
    assert_eq!(times, [(-FIVE_MINUTES_MS - 1, 1.0), (-1, 5.0), (0, 1.0)]);
    assert_eq!(counters(&chunks[0]), [1.0, 6.0, 7.0]);
    let hours = windows(&downsample_again(&out, FIVE_MINUTES_MS).0);
    let times: Vec<_> = hours[0].iter().map(|w| (w.t, w.count)).collect();
    assert_eq!(times, [(-1, 6.0), (0, 1.0)]);
}

#[test]
fn samples_that_go_back_in_time_do_not_count() {
    // As upstream within a chunk: the one at 1 min comes after that at 2 min. The
    // second chunk begins before the first one ends, which upstream reads on
    // with windows out of order; blocks with such chunks do not get this far.
    let at = |t: i64, n: u32| (t * MINUTE, Model::simple(&[n]).histogram(false));
    let first = [at(0, 1), at(2, 2), at(1, 90), at(2, 3), at(6, 4)];
    let second = [at(3, 90), at(6, 5), at(7, 6)];
    let (out, counts) = downsample(&encode(&[&first, &second], false), FIVE_MINUTES_MS);
    assert_eq!((counts.read, counts.counted, counts.disordered), (8, 6, 2));
    let chunks = windows(&out);
    let times: Vec<_> = chunks[0].iter().map(|w| (w.t, w.count)).collect();
    assert_eq!(times, [(FIVE_MINUTES_MS - 1, 3.0), (7 * MINUTE, 3.0)]);
    assert_eq!(counters(&chunks[0]), [3.0, 6.0]);
}

#[test]
fn custom_bounds_that_change_end_the_chunk() {
    let a = |n: u32| Model::custom(&[1.0, 5.0], &[n, n]);
    let b = |n: u32| Model::custom(&[2.0, 5.0], &[n, 0, n]);
    // Bounds change when the second window begins. Thanos loses the first one.
    let first: Vec<_> = (1..=5).map(a).collect();
    let second: Vec<_> = (6..=9).map(b).collect();
    let (chunks, counts) = made(&[&first, &second]);
    assert_eq!((counts.counted, counts.unsupported), (9, 0));
    assert_eq!(chunks.len(), 2);
    assert_eq!(chunks[0][0].sum.bounds, [1.0, 5.0]);
    assert_eq!(chunks[1][0].sum.bounds, [2.0, 5.0]);
    assert_eq!((sums(&chunks[0])[0], sums(&chunks[1])[0]), (30.0, 60.0));
    assert_eq!(counters(&chunks[1]), [18.0]);

    // Within a window those that differ from the first do not count, where
    // Thanos takes the bounds that both have, {5}, and the window with it.
    let (chunks, counts) = made(&[&[a(1)], &[b(5)], &[a(2)]]);
    assert_eq!((counts.counted, counts.unsupported), (2, 1));
    assert_eq!(chunks[0][0].count, 2.0);
    assert_eq!(sums(&chunks[0]), [6.0]);
    assert_eq!(counters(&chunks[0]), [4.0]);
}

#[test]
fn custom_and_exponential_buckets_do_not_mix() {
    let custom = |n: u32| Model::custom(&[1.0, 5.0], &[n]);
    // Thanos panics on either.
    let first: Vec<_> = (1..=5).map(custom).collect();
    let (chunks, counts) = made(&[&first, &[Model::simple(&[4])]]);
    assert_eq!((counts.counted, counts.unsupported), (6, 0));
    assert_eq!(chunks.len(), 2);
    let (chunks, counts) = made(&[&[Model::simple(&[4])], &[custom(2)], &[Model::simple(&[5])]]);
    assert_eq!((counts.counted, counts.unsupported), (2, 1));
    assert_eq!(sums(&chunks[0]), [9.0]);

    // 5 minutes to 1 hour: kinds differ between chunks only, and all count.
    let (out, _) = downsample(&series(&[&first, &[Model::simple(&[4])]]), FIVE_MINUTES_MS);
    let (hours, counts) = downsample_again(&out, FIVE_MINUTES_MS);
    assert_eq!((counts.read, counts.counted), (6, 6));
    assert_eq!(windows(&hours).len(), 2);
}

#[test]
fn histograms_that_mean_nothing_do_not_count() {
    // Thanos never ends on a zero threshold that is no number.
    let samples = |threshold: f64| {
        let h = wide(threshold, 1.0, Model::simple(&[2]));
        let chunk = [(0, h.histogram(false)), (MINUTE, h.histogram(false))];
        encode(&[&chunk], true)
    };
    for threshold in [f64::NAN, f64::INFINITY, -1.0] {
        let (out, counts) = downsample(&samples(threshold), FIVE_MINUTES_MS);
        assert!(out.metas.is_empty());
        assert_eq!((counts.read, counts.unsupported), (2, 2));
    }
    let nan = Model::custom(&[1.0, f64::NAN], &[1]).histogram(false);
    let (out, counts) = downsample(&encode(&[&[(0, nan)]], false), FIVE_MINUTES_MS);
    assert!(out.metas.is_empty());
    assert_eq!(counts.unsupported, 1);
}

#[test]
fn an_empty_span_takes_no_bucket_of_others() {
    // A client writes one empty span at 0 for a histogram without observations.
    // Thanos panics when bucket 0 comes next: it adds to a bucket that is not.
    let mut empty = Model::simple(&[]).histogram(false);
    empty.positive_spans = vec![Span::default()];
    let mut one = Model::simple(&[]);
    (one.count, one.positive) = (3.0, [(0, 3.0)].into());
    let chunks = [(0, empty)];
    let raw = encode(&[&chunks, &[(MINUTE, one.histogram(false))]], true);
    let (out, _) = downsample(&raw, FIVE_MINUTES_MS);
    let window = &windows(&out)[0][0];
    assert_eq!(window.sum.positive, [(0, 3.0)].into());
    assert_eq!(window.counter.count, 3.0);
}

/// Aggregates of three windows, in one chunk.
fn aggregates() -> EncodedChunks {
    let samples: Vec<Model> = (1..=15).map(|n| Model::simple(&[n])).collect();
    downsample(&series(&[&samples]), FIVE_MINUTES_MS).0
}

/// A chunk of `from` without a column.
fn without(from: &EncodedChunks, gone: Aggr) -> EncodedChunks {
    let (meta, data) = from.iter().next().unwrap();
    let chunk = AggrChunk::parse(data).unwrap();
    let column = |aggr: Aggr| {
        let column = chunk.column(aggr).filter(|_| aggr != gone)?;
        Some((column.encoding, column.data))
    };
    let mut out = EncodedChunks::default();
    encode_aggr(Aggr::ALL.map(column), &mut out.bytes);
    out.metas.push(EncodedChunk {
        len: out.bytes.len(),
        ..*meta
    });
    out
}

#[test]
fn a_missing_column_is_missing_in_the_result_and_nothing_else() {
    let five = aggregates();
    let whole = downsample_again(&five, FIVE_MINUTES_MS).0;
    let columns = |chunks: &EncodedChunks| {
        let chunk = AggrChunk::parse(&chunks.bytes).unwrap();
        Aggr::ALL.map(|aggr| chunk.column(aggr).map(|column| column.data.to_vec()))
    };
    for gone in [Aggr::Count, Aggr::Sum, Aggr::Counter] {
        // Thanos: an empty count and a minimum of 0; panics without the others.
        let (out, counts) = downsample_again(&without(&five, gone), FIVE_MINUTES_MS);
        let mut expected = columns(&whole);
        expected[gone as usize] = None;
        assert_eq!(columns(&out), expected);
        let (meta, of) = (out.metas[0], whole.metas[0]);
        assert_eq!((meta.min_time, meta.max_time), (of.min_time, of.max_time));
        let there = gone != Aggr::Count;
        assert_eq!(meta.samples, usize::from(there));
        assert_eq!(counts.counted, if there { 15 } else { 0 });
    }
}

#[test]
fn more_chunks_than_there_are_can_be_wanted() {
    // 1,800 windows in one chunk: 150 hours, which upstream wants in two chunks.
    // It then takes none of the one chunk at a time and fails.
    let windows_of_five = 1_800;
    let h = Model::simple(&[1]).histogram(false);
    let (mut count, mut sum) = (Vec::new(), Vec::new());
    for i in 0..windows_of_five {
        let t = (i + 1) * FIVE_MINUTES_MS - 1;
        count.push((t, 1.0));
        sum.push((t, h.clone()));
    }
    let mut out = EncodedChunks::default();
    let mut xor = crate::tsdb::chunkenc::XorEncoder::new();
    let mut column = crate::tsdb::chunkenc::FloatHistogramEncoder::new();
    for ((t, n), (_, h)) in count.iter().zip(&sum) {
        xor.push(*t, *n);
        column.append(*t, h).unwrap();
    }
    let histograms = column.finish().unwrap();
    let columns = [
        Some((Encoding::Xor, xor.finish().unwrap())),
        Some((Encoding::FloatHistogram, histograms)),
        None,
        None,
        Some((Encoding::FloatHistogram, histograms)),
    ];
    encode_aggr(columns, &mut out.bytes);
    out.metas.push(EncodedChunk {
        encoding: Encoding::Aggr,
        min_time: FIVE_MINUTES_MS - 1,
        max_time: windows_of_five * FIVE_MINUTES_MS - 1,
        start: 0,
        len: out.bytes.len(),
        samples: windows_of_five as usize,
    });
    let (hours, counts) = downsample_again(&out, FIVE_MINUTES_MS);
    assert_eq!(counts.counted, 1_800);
    let hours = windows(&hours);
    assert_eq!(hours.len(), 1);
    assert_eq!(hours[0].len(), 150);
    assert!(
        hours[0]
            .iter()
            .all(|w| w.count == 12.0 && w.sum.count == 12.0)
    );
    assert_eq!(hours[0][149].t, 150 * ONE_HOUR_MS - 1);
}

#[test]
fn errors_name_the_chunk_and_the_place_in_it() {
    let five = aggregates();
    let (meta, data) = five.iter().next().unwrap();
    let sum = AggrChunk::parse(data).unwrap().column(Aggr::Sum).unwrap();
    let mut damaged = data.to_vec();
    // The number of samples of the sum column.
    damaged[sum.offset] = 0xff;
    let chunk = |data| {
        (
            meta.min_time,
            meta.max_time,
            AggrChunk::parse(data).unwrap(),
        )
    };
    let run = [chunk(data), chunk(&damaged)];
    let (mut out, mut counts) = (EncodedChunks::default(), Counts::default());
    let (index, error) = HistogramDownsampler::default()
        .aggregates(&run, FIVE_MINUTES_MS, ONE_HOUR_MS, &mut out, &mut counts)
        .unwrap_err();
    assert_eq!(index, 1);
    let crate::tsdb::Error::Corrupt(corrupt) = error else {
        panic!("{error}");
    };
    // Its last samples may come out at other times before the bits end.
    assert!(corrupt.offset as usize >= sum.offset, "{corrupt}");
    assert_eq!((out, counts), (EncodedChunks::default(), Counts::default()));

    let floats = [(Encoding::Xor, &[0_u8, 0][..])];
    let (mut out, mut counts) = (EncodedChunks::default(), Counts::default());
    let (index, error) = HistogramDownsampler::default()
        .raw(&floats, FIVE_MINUTES_MS, &mut out, &mut counts)
        .unwrap_err();
    assert_eq!(index, 0);
    assert!(error.to_string().contains("xor chunk among histograms"));
}
