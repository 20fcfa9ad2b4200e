//! The short way beside the long one.

use proptest::prelude::*;

use super::columns::Columns;
use super::floats::RawFloats;
use super::plain::PlainFloats;
use super::{ChunkView, Counts};
use crate::tsdb::chunkenc::{Aggr, EncodedChunks, FloatSamples, STALE_NAN, SeriesEncoder};

const RESOLUTION: i64 = 100;

fn encode(samples: &[(i64, f64)]) -> EncodedChunks {
    let (mut encoder, mut chunks) = (SeriesEncoder::new(), EncodedChunks::default());
    for &(t, v) in samples {
        encoder.push_float(t, v, &mut chunks).unwrap();
    }
    encoder.finish(&mut chunks).unwrap();
    chunks
}

/// As a block has them, and with the samples beside every other one.
fn views<'a>(chunks: &'a EncodedChunks, samples: &'a FloatSamples) -> Vec<ChunkView<'a>> {
    let mut at = 0;
    let view = |(number, meta): (usize, &crate::tsdb::chunkenc::EncodedChunk)| {
        let range = at..at + meta.samples;
        at = range.end;
        let beside = (&samples.ts[range.clone()], &samples.vs[range]);
        ChunkView {
            min_time: meta.min_time,
            max_time: meta.max_time,
            encoding: meta.encoding,
            data: chunks.data(meta),
            samples: (number % 2 == 1).then_some(beside),
        }
    };
    chunks.metas.iter().enumerate().map(view).collect()
}

type Chunk = ((i64, i64), Vec<(i64, u64)>);

fn chunks_of(columns: &Columns) -> Vec<Chunk> {
    let chunk = |number| {
        let column = |aggr| {
            let (ts, vs) = columns.column(number, aggr);
            let bits = ts.iter().zip(vs).map(|(t, v)| (*t, v.to_bits()));
            bits.collect::<Vec<_>>()
        };
        let all = Aggr::ALL.into_iter().flat_map(column).collect();
        (columns.times(number), all)
    };
    (0..columns.len()).map(chunk).collect()
}

fn the_long_way(views: &[ChunkView<'_>]) -> (Vec<Chunk>, Counts) {
    let (mut floats, mut out, mut counts) =
        (RawFloats::default(), Columns::default(), Counts::default());
    for view in views {
        floats.read(view.encoding, view.data, &mut counts).unwrap();
    }
    floats.downsample(RESOLUTION, &mut out, &mut counts);
    (chunks_of(&out), counts)
}

fn values() -> impl Strategy<Value = f64> {
    prop_oneof![
        4 => (-1000..1000_i32).prop_map(f64::from),
        4 => any::<f64>().prop_filter("no NaN", |v| !v.is_nan()),
        1 => Just(-0.0),
        1 => Just(f64::INFINITY),
    ]
}

fn samples() -> impl Strategy<Value = Vec<(i64, f64)>> {
    let step = prop_oneof![4 => 1..40_i64, 1 => 90..110_i64, 1 => 300..5000_i64];
    // The decoder takes no jump of 2^46 ms for certain.
    let start = prop_oneof![
        -3000..3000_i64,
        Just(i64::MAX - 4_000_000),
        Just(i64::MIN + 1)
    ];
    let steps = prop::collection::vec((step, values()), 1..800);
    (start, steps).prop_map(|(start, steps)| {
        let mut t = start;
        let mut next = |(step, v)| {
            t += step;
            (t, v)
        };
        steps.into_iter().map(&mut next).collect()
    })
}

proptest! {
    #[test]
    fn a_plain_run_becomes_what_stored_samples_become(samples in samples()) {
        let chunks = encode(&samples);
        let mut stored = FloatSamples::default();
        samples.iter().for_each(|&(t, v)| stored.push(t, v));
        let views = views(&chunks, &stored);
        let (expected, books) = the_long_way(&views);
        let (mut plain, mut out, mut counts) =
            (PlainFloats::default(), Columns::default(), Counts::default());
        let done = plain.run(&views, RESOLUTION, &mut out, &mut counts).unwrap();
        // Infinities of both signs add up to a NaN, which is looked at again.
        let infinite = samples.iter().any(|s| s.1.is_infinite());
        prop_assert!(done || infinite);
        if done {
            prop_assert_eq!(chunks_of(&out), expected);
            prop_assert_eq!(counts, books);
        } else {
            prop_assert_eq!((out.len(), counts), (0, Counts::default()));
        }
    }

    #[test]
    fn a_run_that_is_not_plain_is_left_untouched(
        samples in samples(),
        at in any::<prop::sample::Index>(),
        what in 0..3,
    ) {
        let mut broken = samples.clone();
        let at = at.index(broken.len());
        match what {
            0 => broken[at].1 = f64::NAN,
            1 => broken[at].1 = f64::from_bits(STALE_NAN),
            _ => broken[at].0 = broken[0].0 - 1,
        }
        prop_assume!(what != 2 || at > 0);
        let chunks = encode(&broken);
        let views: Vec<ChunkView<'_>> = chunks
            .iter()
            .map(|(meta, data)| ChunkView {
                min_time: meta.min_time,
                max_time: meta.max_time,
                encoding: meta.encoding,
                data,
                samples: None,
            })
            .collect();
        let (mut plain, mut out, mut counts) =
            (PlainFloats::default(), Columns::default(), Counts::default());
        prop_assert!(!plain.run(&views, RESOLUTION, &mut out, &mut counts).unwrap());
        prop_assert_eq!((out.len(), counts), (0, Counts::default()));
        // Nothing of it gets into the next run.
        let chunks = encode(&samples);
        let mut stored = FloatSamples::default();
        samples.iter().for_each(|&(t, v)| stored.push(t, v));
        let views = self::views(&chunks, &stored);
        if plain.run(&views, RESOLUTION, &mut out, &mut counts).unwrap() {
            prop_assert_eq!(chunks_of(&out), the_long_way(&views).0);
        }
    }
}
