//! Floats against the examples of the format, and against a naive model.

use proptest::prelude::*;

use super::{ChunkView, Counts, Downsampler, Level};
use crate::tsdb::chunkenc::{
    Aggr, AggrChunk, EncodedChunks, Encoding, FloatSamples, STALE_NAN, SeriesEncoder, decode_xor,
};

const RESOLUTIONS: [i64; 2] = [100, 400];

/// Samples as chunks of at most 120.
fn encode(samples: &[(i64, f64)]) -> EncodedChunks {
    let (mut encoder, mut chunks) = (SeriesEncoder::new(), EncodedChunks::default());
    for &(t, v) in samples {
        encoder.push_float(t, v, &mut chunks).unwrap();
    }
    encoder.finish(&mut chunks).unwrap();
    chunks
}

fn views(chunks: &EncodedChunks) -> Vec<ChunkView<'_>> {
    let view = |(meta, data)| {
        let meta: &crate::tsdb::chunkenc::EncodedChunk = meta;
        ChunkView {
            min_time: meta.min_time,
            max_time: meta.max_time,
            encoding: meta.encoding,
            data,
            samples: None,
        }
    };
    chunks.iter().map(view).collect()
}

/// Both levels of a series.
fn downsample(samples: &[(i64, f64)]) -> (Level, Level) {
    let chunks = encode(samples);
    let (mut five, mut hour) = (Level::default(), Level::default());
    let mut downsampler = Downsampler::with_resolutions(RESOLUTIONS);
    downsampler
        .raw(&views(&chunks), &mut five, Some(&mut hour))
        .unwrap();
    (five, hour)
}

/// One column over all chunks.
fn column(level: &Level, aggr: Aggr) -> Vec<(i64, f64)> {
    let mut all = FloatSamples::default();
    for (_, data) in level.chunks.iter() {
        if let Some(column) = AggrChunk::parse(data).unwrap().column(aggr) {
            decode_xor(column.data, &mut all).unwrap();
        }
    }
    all.iter().collect()
}

#[test]
fn the_example_of_the_format_gives_its_bytes() {
    let (five, _) = downsample(&[(20, 1.0), (40, 2.0), (260, 7.0)]);
    let (meta, data) = five.chunks.iter().next().unwrap();
    assert_eq!((meta.min_time, meta.max_time, meta.samples), (99, 260, 2));
    let hex: String = data.iter().map(|b| format!("{b:02x}")).collect();
    let columns = [
        "11010002c6014000000000000000a101c25fff",
        "10010002c6014008000000000000a101d61d",
        "12010002c6013ff0000000000000a101c26ffec0",
        "10010002c6014000000000000000a101d61f",
        "16010004283ff00000000000004fc25fff8052d61fbf5f00",
    ];
    assert_eq!(hex, columns.concat());
    assert_eq!(five.chunks.metas.len(), 1);
}

#[test]
fn counters_lose_their_resets_and_keep_first_and_last() {
    let samples = [
        (20, 1.0),
        (40, 2.0),
        (60, 3.0),
        (80, 1.0),
        (100, 2.0),
        (120, 5.0),
        (180, 10.0),
        (250, 1.0),
    ];
    let (five, _) = downsample(&samples);
    let counter = [(20, 1.0), (99, 4.0), (199, 13.0), (250, 14.0), (250, 1.0)];
    assert_eq!(column(&five, Aggr::Counter), counter);
}

#[test]
fn one_sample_is_counter_three_times() {
    let (five, hour) = downsample(&[(150, 3.0)]);
    assert_eq!(column(&five, Aggr::Counter), [(150, 3.0); 3]);
    assert_eq!(column(&hour, Aggr::Counter), [(150, 3.0); 3]);
    assert_eq!(column(&hour, Aggr::Count), [(150, 1.0)]);
}

#[test]
fn stale_markers_and_nans_are_no_samples() {
    let stale = f64::from_bits(STALE_NAN);
    let samples = [
        (10, 1.0),
        (20, f64::NAN),
        (30, stale),
        (140, 2.0),
        (150, f64::NAN),
    ];
    let (five, hour) = downsample(&samples);
    assert_eq!(column(&five, Aggr::Count), [(99, 1.0), (140, 1.0)]);
    let counts = Counts {
        read: 5,
        counted: 2,
        stale: 1,
        nan: 2,
        ..Counts::default()
    };
    assert_eq!(five.counts, counts);
    assert_eq!((hour.counts.read, hour.counts.counted), (2, 2));
    let (none, _) = downsample(&[(10, f64::NAN), (20, stale)]);
    assert_eq!(none.chunks.metas.len(), 0);
    assert_eq!(none.counts.imbalance(), 0);
}

#[test]
fn infinities_are_values() {
    let samples = [
        (10, f64::INFINITY),
        (20, f64::INFINITY),
        (110, f64::NEG_INFINITY),
    ];
    let (five, _) = downsample(&samples);
    let min = [(99, f64::INFINITY), (110, f64::NEG_INFINITY)];
    assert_eq!(column(&five, Aggr::Min), min);
    assert_eq!(column(&five, Aggr::Max), min);
}

#[test]
fn times_before_the_epoch_have_windows_like_all_others() {
    let samples = [(-150, 1.0), (-100, 2.0), (-1, 4.0), (0, 8.0), (50, 16.0)];
    let (five, hour) = downsample(&samples);
    assert_eq!(
        column(&five, Aggr::Sum),
        [(-101, 1.0), (-1, 6.0), (50, 24.0)]
    );
    assert_eq!(column(&hour, Aggr::Sum), [(-1, 7.0), (50, 24.0)]);
}

/// 300,000 samples in one window, then one in each: more chunks are wanted than
/// a later level has.
#[test]
fn uneven_density_ends() {
    let resolution = 300_000;
    let dense = (0..300_000).map(|t| (t, t as f64));
    let sparse = (1..4032).map(|w| (w * resolution, w as f64));
    let samples: Vec<(i64, f64)> = dense.chain(sparse).collect();
    let chunks = encode(&samples);
    let (mut five, mut hour) = (Level::default(), Level::default());
    let mut downsampler = Downsampler::default();
    downsampler
        .raw(&views(&chunks), &mut five, Some(&mut hour))
        .unwrap();
    assert_eq!(five.counts.counted, samples.len() as u64);
    assert_eq!(hour.counts.counted, samples.len() as u64);
    assert_eq!(five.chunks.metas.len(), 2);
}

#[test]
fn more_windows_than_a_chunk_can_count_are_cut() {
    let dense = (0..400_000).map(|t| (t / 4000, 1.0));
    let sparse = (1..100_000).map(|w| (w * 100, 1.0));
    let samples: Vec<(i64, f64)> = dense.chain(sparse).collect();
    let (five, _) = downsample(&samples);
    assert_eq!(five.counts.imbalance(), 0);
    assert!(five.chunks.metas.iter().all(|c| c.samples <= 60_000));
    let times: Vec<_> = five
        .chunks
        .metas
        .iter()
        .map(|c| (c.min_time, c.max_time))
        .collect();
    assert!(times.windows(2).all(|two| two[0].1 < two[1].0), "{times:?}");
}

#[test]
fn chunks_among_aggregates_are_downsampled_or_left_out() {
    let (five, expected) = downsample(&[(10, 1.0), (110, 2.0)]);
    let stray = encode(&[(210, 4.0), (220, f64::NAN), (450, 8.0)]);
    let empty = [0_u8, 0];
    let mut chunks = views(&five.chunks);
    chunks.extend(views(&stray));
    chunks.push(ChunkView {
        min_time: 500,
        max_time: 500,
        encoding: Encoding::Xor,
        data: &empty,
        samples: None,
    });
    let mut hour = Level::default();
    let mut downsampler = Downsampler::with_resolutions(RESOLUTIONS);
    downsampler.aggregates(&chunks, &mut hour).unwrap();
    assert_eq!(column(&hour, Aggr::Sum), [(399, 7.0), (450, 8.0)]);
    assert_eq!((hour.counts.read, hour.counts.nan), (5, 1));
    assert_eq!(hour.counts.imbalance(), 0);
    assert_eq!(expected.counts.counted, 2);
}

#[test]
fn a_missing_column_is_missing_and_changes_no_other() {
    let (five, whole) = downsample(&[(10, 1.0), (110, 2.0), (500, 4.0)]);
    let (meta, data) = five.chunks.iter().next().unwrap();
    let parsed = AggrChunk::parse(data).unwrap();
    let mut without = Vec::new();
    for aggr in Aggr::ALL {
        let column = parsed.column(aggr).filter(|_| aggr != Aggr::Max);
        let column = column.map(|c| (c.encoding, c.data));
        crate::tsdb::chunkenc::put_aggr_column(column, &mut without);
    }
    let view = ChunkView {
        min_time: meta.min_time,
        max_time: meta.max_time,
        encoding: Encoding::Aggr,
        data: &without,
        samples: None,
    };
    let mut hour = Level::default();
    let mut downsampler = Downsampler::with_resolutions(RESOLUTIONS);
    downsampler.aggregates(&[view], &mut hour).unwrap();
    for aggr in [Aggr::Count, Aggr::Sum, Aggr::Min, Aggr::Counter] {
        assert_eq!(column(&hour, aggr), column(&whole, aggr));
    }
    assert_eq!(column(&hour, Aggr::Max), []);
    assert_eq!(
        hour.chunks.metas[0].min_time,
        whole.chunks.metas[0].min_time
    );
}

/// Times with gaps, some of them close together, before and behind the epoch.
fn times() -> impl Strategy<Value = Vec<i64>> {
    let step = prop_oneof![4 => 1..40_i64, 1 => 90..110_i64, 1 => 300..5000_i64];
    (-3000..3000_i64, proptest::collection::vec(step, 1..600)).prop_map(|(start, steps)| {
        let add = |t: &mut i64, step| {
            *t += step;
            Some(*t)
        };
        steps.into_iter().scan(start, add).collect()
    })
}

fn values() -> impl Strategy<Value = f64> {
    prop_oneof![
        // Whole numbers: sums are exact in any order.
        20 => (-1000..1000_i32).prop_map(f64::from),
        2 => Just(f64::NAN),
        1 => Just(f64::from_bits(STALE_NAN)),
    ]
}

fn series() -> impl Strategy<Value = Vec<(i64, f64)>> {
    times().prop_flat_map(|ts| {
        let vs = proptest::collection::vec(values(), ts.len());
        vs.prop_map(move |vs| ts.iter().copied().zip(vs).collect())
    })
}

/// Total increase of a counter, resets taken out.
fn increase(vs: &[f64]) -> f64 {
    let step = |two: &[f64]| {
        if two[1] < two[0] {
            two[1]
        } else {
            two[1] - two[0]
        }
    };
    vs.windows(2).map(step).sum()
}

proptest! {
    #[test]
    fn aggregates_over_whole_windows_are_those_of_the_samples(samples in series()) {
        let (five, hour) = downsample(&samples);
        let real: Vec<(i64, f64)> = samples.iter().copied().filter(|s| !s.1.is_nan()).collect();
        for (level, resolution) in [(&five, 100), (&hour, 400)] {
            prop_assert_eq!(level.counts.imbalance(), 0);
            prop_assert_eq!(level.counts.counted, real.len() as u64);
            let columns = Aggr::ALL.map(|aggr| column(level, aggr));
            let mut windows: Vec<i64> = real.iter().map(|s| s.0.div_euclid(resolution)).collect();
            windows.dedup();
            for window in windows {
                let inside = |s: &&(i64, f64)| s.0.div_euclid(resolution) == window;
                let raw: Vec<f64> = real.iter().filter(inside).map(|s| s.1).collect();
                let of = |i: usize| columns[i].iter().filter(inside).map(|s| s.1);
                prop_assert_eq!(of(0).sum::<f64>(), raw.len() as f64);
                prop_assert_eq!(of(1).sum::<f64>(), raw.iter().sum::<f64>());
                let least = raw.iter().copied().fold(f64::INFINITY, f64::min);
                let greatest = raw.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                prop_assert_eq!(of(2).fold(f64::INFINITY, f64::min), least);
                prop_assert_eq!(of(3).fold(f64::NEG_INFINITY, f64::max), greatest);
            }
        }
    }

    #[test]
    fn counters_over_all_chunks_rise_as_the_samples_do(mut samples in series()) {
        // Below zero there are no counters.
        samples.iter_mut().filter(|s| s.1 < 0.0).for_each(|s| s.1 = -s.1);
        let (five, hour) = downsample(&samples);
        let real: Vec<f64> = samples.iter().map(|s| s.1).filter(|v| !v.is_nan()).collect();
        for level in [&five, &hour] {
            // As a reader chains them: a repeated time gives the true value.
            let (mut total, mut last): (f64, Option<(i64, f64)>) = (0.0, None);
            for (t, v) in column(level, Aggr::Counter) {
                match last {
                    Some((before, _)) if t == before => {}
                    Some((_, before)) if v < before => total += v,
                    Some((_, before)) => total += v - before,
                    None => {}
                }
                last = Some((t, v));
            }
            prop_assert_eq!(total, increase(&real));
        }
    }

    #[test]
    fn one_step_from_raw_is_two_steps(samples in series()) {
        let (five, hour) = downsample(&samples);
        let mut again = Level::default();
        let mut downsampler = Downsampler::with_resolutions(RESOLUTIONS);
        downsampler.aggregates(&views(&five.chunks), &mut again).unwrap();
        prop_assert_eq!(again.chunks, hour.chunks);
        prop_assert_eq!(again.counts, hour.counts);
    }

    #[test]
    fn damaged_aggregates_end_in_chunks_or_in_an_error(
        samples in series(),
        flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let (five, _) = downsample(&samples);
        let mut broken = five.chunks.clone();
        prop_assume!(!broken.bytes.is_empty());
        for (at, byte) in flips {
            let at = at.index(broken.bytes.len());
            broken.bytes[at] = byte;
        }
        let mut hour = Level::default();
        let mut downsampler = Downsampler::with_resolutions(RESOLUTIONS);
        let result = downsampler.aggregates(&views(&broken), &mut hour);
        if let Err(error) = result {
            prop_assert!(error.chunk.unwrap() < broken.metas.len());
        }
        // What a chunk left behind does not get into the next series.
        downsampler.aggregates(&views(&five.chunks), &mut hour).unwrap();
        prop_assert_eq!(hour.counts.imbalance(), 0);
    }
}
