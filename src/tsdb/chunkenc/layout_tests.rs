//! Layouts, headers and refusals of histogram chunks, one by one.

use std::collections::BTreeMap;

use super::histogram_tests::counts;
use super::{Append, CounterReset, Encoding, Histogram, HistogramEncoder, HistogramIter, Span};

/// A histogram of two spans.
fn one_sample(schema: i32, threshold: f64, custom: &[f64]) -> Histogram {
    Histogram {
        schema,
        zero_threshold: threshold,
        count: 10,
        sum: 1.0,
        positive_spans: vec![
            Span {
                offset: -5,
                length: 3,
            },
            Span {
                offset: 2,
                length: 3,
            },
        ],
        positive_buckets: vec![1, 1, -1, 2, 0, -2],
        custom_values: custom.to_vec(),
        ..Histogram::default()
    }
}

#[test]
fn layouts_come_back() {
    let thresholds = [
        0.0,
        1.0,
        1024.0,
        2048.0,
        0.001,
        1e-300,
        -1.0,
        f64::INFINITY,
        2f64.powi(-128),
        2f64.powi(-243),
        2f64.powi(-244),
        5e-324,
    ];
    let bounds = [
        0.0,
        0.001,
        0.0005,
        1.234,
        33_554.429,
        33_554.43,
        33_554.431,
        1e10,
        -1.0,
        f64::INFINITY,
        0.1 + 0.2,
    ];
    let mut encoder = HistogramEncoder::new();
    for schema in (-9..=8).chain([-53]) {
        for threshold in thresholds {
            let custom: &[f64] = if schema == -53 { &bounds } else { &[] };
            let h = one_sample(schema, threshold, custom);
            assert_eq!(encoder.append(1, &h).unwrap(), Append::Done);
            let data = encoder.finish().unwrap();
            let mut iter = HistogramIter::new(Encoding::Histogram, data).unwrap();
            assert_eq!(iter.next().unwrap(), Some(1));
            assert_eq!(*iter.current(), h);
            assert_eq!(iter.next().unwrap(), None);
        }
    }
}

#[test]
fn finer_schemas_are_read_at_schema_8() {
    // Written at 8, then the schema in the chunk is changed: its varbit follows
    // the header of 3 bytes and the threshold of 1.
    let h = one_sample(8, 0.0, &[]);
    let mut encoder = HistogramEncoder::new();
    encoder.append(1, &h).unwrap();
    let data = encoder.finish().unwrap();
    let mut bits: Vec<bool> = (0..8 * data.len())
        .map(|i| data[i / 8] >> (7 - i % 8) & 1 == 1)
        .collect();
    assert_eq!(
        bits[32..41],
        [true, true, false, false, false, true, false, false, false]
    );
    for finer in [9, 10, 20] {
        bits[35..41].copy_from_slice(&std::array::from_fn::<_, 6, _>(|i| {
            finer >> (5 - i) & 1 == 1
        }));
        let data = super::model::Bits(bits.clone()).bytes();
        let mut iter = HistogramIter::new(Encoding::Histogram, &data).unwrap();
        iter.next().unwrap();
        let mut expected = BTreeMap::<i64, i64>::new();
        for (number, count) in [(-5i64, 1), (-4, 2), (-3, 1), (0, 3), (1, 3), (2, 1)] {
            // Bucket i ends at base^i: the one that contains that end.
            let width = 1i64 << (finer - 8);
            *expected
                .entry((number + (width - 1)).div_euclid(width))
                .or_default() += count;
        }
        let read = iter.current();
        assert_eq!(read.schema, 8);
        let expected: BTreeMap<_, _> = expected
            .into_iter()
            .map(|(k, v)| (k, v.to_string()))
            .collect();
        assert_eq!(
            counts(&read.positive_spans, &read.positive_buckets),
            expected
        );
    }
}

#[test]
fn histograms_that_cannot_be_written_are_refused_and_change_nothing() {
    let good = one_sample(0, 0.0, &[]);
    let mut encoder = HistogramEncoder::new();
    encoder.append(1, &good).unwrap();
    let refuse = |encoder: &mut HistogramEncoder, change: &dyn Fn(&mut Histogram)| {
        let mut h = good.clone();
        change(&mut h);
        encoder.append(2, &h).unwrap_err().to_string()
    };
    let disagree = "histogram whose buckets and spans disagree";
    assert_eq!(
        refuse(&mut encoder, &|h| h.positive_buckets.truncate(2)),
        disagree
    );
    assert_eq!(
        refuse(&mut encoder, &|h| h.negative_buckets.push(1)),
        disagree
    );
    assert_eq!(
        refuse(&mut encoder, &|h| h.positive_spans[1].offset = -1),
        disagree
    );
    assert_eq!(
        refuse(&mut encoder, &|h| h.positive_spans[1].offset = i32::MAX),
        disagree
    );
    assert_eq!(
        refuse(&mut encoder, &|h| h.schema = 9),
        "histogram of schema 9"
    );
    assert_eq!(
        refuse(&mut encoder, &|h| h.schema = -10),
        "histogram of schema -10"
    );
    assert_eq!(encoder.len(), 1);
    encoder.append(3, &good).unwrap();
    let data = encoder.finish().unwrap();
    assert_eq!(data[..3], [0, 2, 0]);
}

#[test]
fn errors_in_a_layout_say_where_and_what() {
    use super::model::Bits;
    let read = |layout: &dyn Fn(&mut Bits)| {
        let mut bits = Bits::default();
        bits.put(1, 16);
        bits.put(0, 8);
        layout(&mut bits);
        let data = bits.bytes();
        let mut iter = HistogramIter::new(Encoding::Histogram, &data).unwrap();
        iter.next().unwrap_err().to_string()
    };
    let prefix = "histogram chunk of 1 samples";
    // Threshold 0, schema 63 as varbit.
    let schema = |b: &mut Bits| b.text("00000000 1110 000111111 00000000");
    assert_eq!(
        read(&schema),
        format!("{prefix} has an unknown histogram schema at byte 5")
    );
    // Schema 0, 2^24 spans.
    let spans = |b: &mut Bits| b.text("00000000 0 1111110 1000000000000000000000000");
    assert_eq!(
        read(&spans),
        format!("{prefix} has more spans than it has room for at byte 8")
    );
    // One span of 200 buckets, an offset of 0, no negative spans.
    let buckets = |b: &mut Bits| b.text("00000000 0 10001 1110 011001000 0 0 000000");
    assert_eq!(
        read(&buckets),
        format!("{prefix} has spans of more buckets than it has room for at byte 6")
    );
    // Two spans, the second with offset -1.
    let back = |b: &mut Bits| b.text("00000000 0 10010 10001 0 10001 10111 0000000");
    assert_eq!(
        read(&back),
        format!("{prefix} has a span that steps back at byte 6")
    );
    assert_eq!(
        read(&|_| {}),
        format!("{prefix} ends before its last sample at byte 3")
    );
}

#[test]
fn what_a_cut_says_starts_the_next_chunk() {
    let mut encoder = HistogramEncoder::new();
    let h = one_sample(0, 0.0, &[]);
    let lower = Histogram {
        count: 9,
        ..h.clone()
    };
    encoder.append(1, &h).unwrap();
    assert_eq!(
        encoder.append(2, &lower).unwrap(),
        Append::Cut(CounterReset::Yes)
    );
    assert_eq!(encoder.len(), 1);
    encoder.start(CounterReset::Yes);
    encoder.append(2, &lower).unwrap();
    assert_eq!(encoder.finish().unwrap()[..3], [0, 1, 0b1000_0000]);
    // The header is forgotten afterwards.
    encoder.append(3, &h).unwrap();
    assert_eq!(encoder.finish().unwrap()[..3], [0, 1, 0]);
    assert_eq!(encoder.finish().unwrap(), [0, 0, 0]);
}

#[test]
fn buckets_too_far_apart_for_one_chunk_are_refused() {
    let gauge = |offset| Histogram {
        counter_reset: CounterReset::Gauge,
        count: 1,
        positive_spans: vec![Span { offset, length: 1 }],
        positive_buckets: vec![1],
        ..Histogram::default()
    };
    let mut encoder = HistogramEncoder::new();
    encoder.append(1, &gauge(i32::MIN)).unwrap();
    let error = encoder.append(2, &gauge(i32::MAX - 1)).unwrap_err();
    assert!(matches!(error, crate::tsdb::Error::Limit(_)), "{error}");
    // The chunk is still whole.
    encoder.append(3, &gauge(i32::MIN)).unwrap();
    assert_eq!(encoder.finish().unwrap()[..2], [0, 2]);
}
