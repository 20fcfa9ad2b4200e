//! Blocks that cannot be downsampled as they are, and blocks that are extreme in
//! one way: each ends in a result or in a reason, and is not read again.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "test code")]

mod support;

use std::collections::BTreeMap;

use lithify::block::markers;
use lithify::block::meta::Meta;
use lithify::compact::report::RunReport;
use lithify::objstore::Bucket;
use lithify::plan::{HeldReason, Settings};
use lithify::tsdb::chunkenc::{
    Aggr, AggrChunk, EncodedChunks, Encoding, FloatHistogram, FloatSamples, SeriesEncoder, Span,
    XorEncoder, decode_xor, encode_aggr,
};
use support::blocks::{Samples, SeriesLabels, labels, live_metas};
use support::damage::{self, Parts, flip};
use support::lower_blocks::{self, Chunk, Series};
use support::runs::{HOUR, NOW, START, replica_settings, run_at};
use ulid::Ulid;

const DAY: i64 = 24 * HOUR;
const FIVE: i64 = lower_blocks::FIVE;

fn settings() -> Settings {
    Settings {
        downsampling: true,
        ..replica_settings()
    }
}

fn name(s: usize) -> SeriesLabels {
    vec![("__name__".to_owned(), format!("m{s}"))]
}

fn id(n: u64) -> Ulid {
    Ulid::from_parts(START as u64 + n, u128::from(n))
}

const BAD: u64 = 1;
const GOOD: u64 = 2;

/// A sample every 2 minutes from [`START`] on.
fn samples(days: i64) -> Samples {
    let times = (0..days * 720).map(|i| START + i * 120_000);
    times.map(|t| (t, (t / 1000 % 9973) as f64)).collect()
}

/// A block from [`START`] on; `n` names it and its stream.
fn block(n: u64, days: i64, resolution: i64, series: &Series) -> Parts {
    let stream = labels(&[("cluster", &n.to_string())]);
    let range = (START, START + days * DAY);
    lower_blocks::parts(id(n), &stream, range, resolution, series)
}

/// Three series of equal chunks.
fn three(chunks: &[Chunk]) -> Series {
    (0..3).map(|s| (name(s), chunks.to_vec())).collect()
}

async fn run(bucket: &Bucket, n: i64) -> RunReport {
    run_at(bucket, settings(), 2, NOW + n * 60_000).await
}

/// Resolution and length of the live blocks of a stream, in order.
async fn live(bucket: &Bucket, n: u64) -> Vec<(i64, Meta)> {
    let metas = live_metas(bucket).await.into_iter();
    let stream = labels(&[("cluster", &n.to_string())]);
    let mut live: Vec<_> = metas
        .filter(|m| m.thanos.labels == stream)
        .map(|m| (m.thanos.downsample.resolution, m))
        .collect();
    live.sort_by_key(|l| l.0);
    live
}

async fn resolutions(bucket: &Bucket, n: u64) -> Vec<i64> {
    live(bucket, n).await.iter().map(|l| l.0).collect()
}

/// Aggregate chunks of each series of the block of a stream with a resolution.
async fn chunks(bucket: &Bucket, n: u64, resolution: i64) -> Vec<Vec<Vec<u8>>> {
    let live = live(bucket, n).await;
    let (_, meta) = live.iter().find(|l| l.0 == resolution).unwrap();
    let get = async |file: &str| {
        let body = bucket.get(&format!("{}/{file}", meta.id())).await.unwrap();
        body.unwrap_or_default().to_vec()
    };
    let parts = Parts::new(meta.clone(), get("index").await, get("chunks/000001").await);
    let series = parts.raw.series.iter().enumerate();
    let data = |s: usize, c: usize| {
        let record = parts.record(s, c);
        parts.segments[0][record.data..record.crc].to_vec()
    };
    series
        .map(|(s, entry)| (0..entry.chunks.len()).map(|c| data(s, c)).collect())
        .collect()
}

/// A column of floats of some aggregate chunks.
fn column<'a>(chunks: impl IntoIterator<Item = &'a Vec<u8>>, aggr: Aggr) -> Vec<(i64, f64)> {
    let mut out = FloatSamples::default();
    for data in chunks {
        if let Some(column) = AggrChunk::parse(data).unwrap().column(aggr) {
            decode_xor(column.data, &mut out).unwrap();
        }
    }
    out.iter().collect()
}

fn total<'a>(chunks: impl IntoIterator<Item = &'a Vec<u8>>) -> f64 {
    column(chunks, Aggr::Count).iter().map(|c| c.1).sum()
}

/// What becomes of a block.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fate {
    /// In quarantine, for this reason.
    Marked(&'static str),
    /// Downsampled, with so many samples more than its aggregates count.
    Made(f64),
}

use Fate::{Made, Marked};

/// Changes the chunks of a series; gives the byte that has to be named, counted
/// from the data of the second chunk.
type Change = fn(&mut Vec<Chunk>) -> Option<usize>;

type Row = (&'static str, Fate, Change);

const MALFORMED: Fate = Marked("chunk-malformed");

/// Where the data of a column of the second chunk begins.
fn place(chunks: &[Chunk], aggr: Aggr) -> usize {
    let parsed = AggrChunk::parse(&chunks[1].data).unwrap();
    parsed.column(aggr).unwrap().offset
}

/// Puts other samples into a column of the second chunk, none for an absent one.
fn put(chunks: &mut [Chunk], aggr: Aggr, change: impl FnOnce(&mut Samples)) {
    let data = chunks[1].data.clone();
    let mut samples = column([&data], aggr);
    change(&mut samples);
    let mut encoder = XorEncoder::new();
    samples.iter().for_each(|&(t, v)| encoder.push(t, v));
    let bytes = encoder.finish().unwrap().to_vec();
    let new = (!samples.is_empty()).then_some((Encoding::Xor, bytes));
    replace(&mut chunks[1], aggr, new);
}

fn replace(chunk: &mut Chunk, aggr: Aggr, column: Option<(Encoding, Vec<u8>)>) {
    let old = chunk.data.clone();
    let parsed = AggrChunk::parse(&old).unwrap();
    let columns = Aggr::ALL.map(|a| {
        if a == aggr {
            return column.as_ref().map(|(e, d)| (*e, d.as_slice()));
        }
        parsed.column(a).map(|c| (c.encoding, c.data))
    });
    chunk.data.clear();
    encode_aggr(columns, &mut chunk.data);
}

/// A count that is none, at its column.
fn count(chunks: &mut [Chunk], wrong: f64) -> Option<usize> {
    put(chunks, Aggr::Count, |c| c[5].1 = wrong);
    Some(place(chunks, Aggr::Count))
}

fn histogram_chunk(t: i64) -> Chunk {
    let h = FloatHistogram {
        count: 3.0,
        sum: 6.0,
        positive_spans: vec![Span {
            offset: 0,
            length: 2,
        }],
        positive_buckets: vec![1.0, 2.0],
        ..FloatHistogram::default()
    };
    let (mut encoder, mut out) = (SeriesEncoder::new(), EncodedChunks::default());
    encoder.push_float_histogram(t, &h, &mut out).unwrap();
    encoder.finish(&mut out).unwrap();
    let (meta, data) = out.iter().next().unwrap();
    Chunk {
        min_time: t,
        max_time: t,
        encoding: meta.encoding,
        data: data.to_vec(),
    }
}

/// Puts a chunk of samples between the first two.
fn stray(chunks: &mut Vec<Chunk>, encoding: Encoding, data: Vec<u8>) -> Option<usize> {
    let min_time = chunks[0].max_time + 1;
    let stray = Chunk {
        min_time,
        max_time: min_time + 1000,
        encoding,
        data,
    };
    chunks.insert(1, stray);
    None
}

fn two_samples(first: i64) -> Vec<u8> {
    let mut encoder = XorEncoder::new();
    encoder.push(first, 1.0);
    encoder.push(first + 1000, 2.0);
    encoder.finish().unwrap().to_vec()
}

#[rustfmt::skip]
const FIVE_MINUTES: &[Row] = &[
    ("column cut off", MALFORMED, |c| { let at = place(c, Aggr::Counter); let l = c[1].data.len(); c[1].data.truncate(l - 5); Some(at - 1) }),
    ("chunk without data", MALFORMED, |c| { c[1].data.clear(); Some(0) }),
    ("column of an unknown encoding", MALFORMED, |c| { let at = place(c, Aggr::Sum); c[1].data[at - 1] = 9; Some(at - 1) }),
    ("aggregates in a column", MALFORMED, |c| { let at = place(c, Aggr::Sum); c[1].data[at - 1] = 0xff; Some(at - 1) }),
    ("histograms as minimum", MALFORMED, |c| { let h = histogram_chunk(c[1].min_time); replace(&mut c[1], Aggr::Min, Some((h.encoding, h.data))); Some(place(c, Aggr::Min)) }),
    ("floats as sum of histograms", MALFORMED, |c| { let h = histogram_chunk(c[1].min_time); replace(&mut c[1], Aggr::Counter, Some((h.encoding, h.data))); None }),
    ("sum of more items than it has", MALFORMED, |c| { let at = place(c, Aggr::Sum); c[1].data[at..at + 2].fill(0xff); None }),
    ("count of more items than it has", MALFORMED, |c| { let at = place(c, Aggr::Count); c[1].data[at..at + 2].fill(0xff); None }),
    ("windows out of order", Marked("unsorted-samples"), |c| { put(c, Aggr::Max, |s| s.swap(3, 4)); Some(place(c, Aggr::Max)) }),
    ("windows before the chunk", Marked("chunk-time-mismatch"), |c| { c[1].min_time += 2 * FIVE; Some(place(c, Aggr::Count)) }),
    ("windows behind the chunk", Marked("chunk-time-mismatch"), |c| { c[1].max_time -= 2 * FIVE; Some(place(c, Aggr::Count)) }),
    ("counter long before its chunk", Marked("chunk-time-mismatch"), |c| { put(c, Aggr::Counter, |s| s[0].0 -= DAY); Some(place(c, Aggr::Counter)) }),
    ("count of half a sample", MALFORMED, |c| count(c, 1.5)),
    ("negative count", MALFORMED, |c| count(c, -1.0)),
    ("count that is no number", MALFORMED, |c| count(c, f64::NAN)),
    ("endless count", MALFORMED, |c| count(c, f64::INFINITY)),
    ("huge count", MALFORMED, |c| count(c, 1e18)),
    ("bytes behind the last column", MALFORMED, |c| { c[1].data.push(7); Some(c[1].data.len() - 1) }),
    ("stray chunk cut off", MALFORMED, |c| { let mut data = two_samples(c[0].max_time + 1); data.truncate(12); stray(c, Encoding::Xor, data); None }),
    ("stray chunk of other times", Marked("chunk-time-mismatch"), |c| { let t = c[0].max_time; stray(c, Encoding::Xor, two_samples(t + 7000)); Some(0) }),
    ("stray histogram of another time", Marked("chunk-time-mismatch"), |c| { let t = c[0].max_time; stray(c, Encoding::FloatHistogram, histogram_chunk(t + 7000).data); Some(0) }),
    ("no maximum", Made(0.0), |c| { replace(&mut c[1], Aggr::Max, None); None }),
    ("no sum", Made(0.0), |c| { replace(&mut c[1], Aggr::Sum, None); None }),
    ("no count", Made(0.0), |c| { replace(&mut c[1], Aggr::Count, None); None }),
    ("no counter", Made(0.0), |c| { replace(&mut c[1], Aggr::Counter, None); None }),
    ("no column at all", Made(0.0), |c| { c[1].data = vec![0; 5]; None }),
    ("columns of no window", Made(0.0), |c| { let none = || Some((Encoding::Xor, vec![0, 0])); Aggr::ALL.into_iter().for_each(|a| replace(&mut c[1], a, none())); None }),
    ("stray chunk without samples", Made(0.0), |c| stray(c, Encoding::Xor, vec![0, 0])),
    ("stray chunk of two samples", Made(2.0), |c| { let t = c[0].max_time + 1; stray(c, Encoding::Xor, two_samples(t)) }),
    ("stray histogram", Made(1.0), |c| { let t = c[0].max_time + 1; stray(c, Encoding::FloatHistogram, histogram_chunk(t).data) }),
];

/// Chunks of a raw block: bytes that pass through a compaction unseen.
#[rustfmt::skip]
const RAW: &[Row] = &[
    ("raw: more samples than there are", MALFORMED, |c| { c[1].data[..2].fill(0xff); None }),
    ("raw: chunk cut short", MALFORMED, |c| { c[1].data.truncate(12); None }),
    ("raw: samples before the chunk", Marked("chunk-time-mismatch"), |c| { c[1].min_time += 300_000; Some(0) }),
    ("raw: histogram of another time", Marked("chunk-time-mismatch"), |c| { let (from, to) = (c[1].min_time, c[1].max_time); c[1] = Chunk { min_time: from, max_time: to, ..histogram_chunk(to + 1) }; Some(0) }),
    ("raw: histogram cut short", MALFORMED, |c| { let h = histogram_chunk(c[1].min_time); c[1] = Chunk { data: h.data[..h.data.len() - 9].to_vec(), ..h }; None }),
];

/// One row: the damaged block in a stream, a good one in another.
async fn check((what, fate, change): &Row, days: i64, resolution: i64) {
    let raw = resolution == 0;
    let made = if raw { FIVE } else { HOUR };
    let good = if raw {
        lower_blocks::raw(&samples(days))
    } else {
        lower_blocks::five(&samples(days))
    };
    let bucket = Bucket::memory().unwrap();
    let parts = block(GOOD, days, resolution, &three(&good));
    damage::put(&bucket, id(GOOD), parts).await;
    let mut series = three(&good);
    let offset = change(&mut series[1].1);
    let aggregates = series[1].1.iter().filter(|c| c.encoding == Encoding::Aggr);
    let aggregates: Vec<Vec<u8>> = aggregates.map(|c| c.data.clone()).collect();
    let parts = block(BAD, days, resolution, &series);
    let offset = offset.map(|at| parts.record(1, 1).data + at);
    damage::put(&bucket, id(BAD), parts).await;

    let report = run(&bucket, 0).await;
    assert!(report.failures.is_empty(), "{what}: {:?}", report.failures);
    assert_eq!(report.transfer_faults, 0, "{what}");
    assert_eq!(resolutions(&bucket, GOOD).await, [resolution, made]);
    let of_good = chunks(&bucket, GOOD, made).await;
    for counts in of_good.iter().map(total) {
        assert_eq!(counts, (days * 720) as f64, "{what}");
    }
    match fate {
        Marked(reason) => {
            is_marked(&bucket, &report, what, reason, offset).await;
            assert_eq!(resolutions(&bucket, BAD).await, [resolution], "{what}");
        }
        Made(more) => {
            assert!(!report.is_partial(), "{what}");
            assert_eq!(resolutions(&bucket, BAD).await, [resolution, made]);
            let of_bad = chunks(&bucket, BAD, made).await;
            let expected = total(&aggregates) + more;
            assert_eq!(total(&of_bad[1]), expected, "{what}");
            assert_eq!((&of_bad[0], &of_bad[2]), (&of_good[0], &of_good[2]));
            let known = lower_blocks::hour(&series[1].1);
            let known: Vec<_> = known.into_iter().map(|c| c.data).collect();
            assert_eq!(of_bad[1], known, "{what}");
        }
    }
    let before = bucket.counts();
    let second = run(&bucket, 1).await;
    let after = bucket.counts();
    assert!(second.is_idle(), "{what}: {second:?}");
    assert_eq!(before.get_range.calls, after.get_range.calls, "{what}");
    assert_eq!(before.writes(), after.writes(), "{what}");
}

async fn is_marked(
    bucket: &Bucket,
    report: &RunReport,
    what: &str,
    reason: &str,
    offset: Option<usize>,
) {
    let [found] = report.quarantined.as_slice() else {
        panic!("{what}: {:?} {:?}", report.quarantined, report.problems);
    };
    assert_eq!(found.block, id(BAD), "{what}");
    assert_eq!(found.reason.as_str(), reason, "{what}: {}", found.details);
    assert!(found.details.contains("chunks/000001"), "{}", found.details);
    assert!(found.details.contains("m1"), "{}", found.details);
    assert!(found.cure.contains(&id(BAD).to_string()), "{}", found.cure);
    for mark in [markers::NO_COMPACT_MARK, markers::NO_DOWNSAMPLE_MARK] {
        let text = bucket.get(&format!("{}/{mark}", id(BAD))).await.unwrap();
        let text = String::from_utf8(text.unwrap().to_vec()).unwrap();
        assert!(text.contains(reason), "{what}: {text}");
    }
    if let Some(offset) = offset {
        let place = format!("at byte {offset} (");
        assert!(
            found.details.contains(&place),
            "{what}: {place}: {}",
            found.details
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_aggregates_cost_only_their_block() {
    for row in FIVE_MINUTES {
        check(row, 14, FIVE).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_that_only_downsampling_sees_costs_only_its_block() {
    for row in RAW {
        check(row, 2, 0).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_byte_of_aggregates_is_found_by_its_checksum() {
    let bucket = Bucket::memory().unwrap();
    let mut parts = block(BAD, 14, FIVE, &three(&lower_blocks::five(&samples(14))));
    let record = parts.record(1, 1);
    flip(&mut parts.segments[0], record.data + 20);
    damage::put(&bucket, id(BAD), parts).await;
    let report = run(&bucket, 0).await;
    is_marked(&bucket, &report, "crc", "chunk-checksum", Some(record.data)).await;
    let second = run(&bucket, 1).await;
    assert!(second.is_idle());
    let held = second.held.iter();
    assert_eq!(held.filter(|h| h.why == HeldReason::Quarantined).count(), 1);
}

/// Makes both lower resolutions of a raw block and gives the counts of 1h.
async fn all_levels(days: i64, samples: Samples) -> BTreeMap<i64, f64> {
    let bucket = Bucket::memory().unwrap();
    let expected = samples.len() as f64;
    let series = vec![(name(0), lower_blocks::raw(&samples))];
    damage::put(&bucket, id(GOOD), block(GOOD, days, 0, &series)).await;
    let report = run(&bucket, 0).await;
    assert!(report.failures.is_empty(), "{:?}", report.failures);
    assert!(!report.is_partial());
    assert_eq!(resolutions(&bucket, GOOD).await, [0, FIVE, HOUR]);
    let mut hours = BTreeMap::new();
    for resolution in [FIVE, HOUR] {
        let chunks = chunks(&bucket, GOOD, resolution).await;
        assert_eq!(total(&chunks[0]), expected, "{resolution}");
        hours.clear();
        for (t, n) in column(&chunks[0], Aggr::Count) {
            *hours.entry(t.div_euclid(HOUR)).or_default() += n;
        }
    }
    assert!(run(&bucket, 1).await.is_idle());
    hours
}

#[tokio::test(flavor = "multi_thread")]
async fn a_series_that_is_dense_and_then_sparse() {
    let mut samples: Samples = (0..300_000).map(|i| (START + i, 1.0)).collect();
    samples.extend((1..14).map(|day| (START + day * DAY, 1.0)));
    let hours = all_levels(14, samples).await;
    assert_eq!(hours.len(), 14);
    assert_eq!(hours[&(START / HOUR)], 300_000.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_series_of_a_million_windows() {
    let samples = (0..1_000_000).map(|i| (START + i * FIVE, 1.0)).collect();
    let hours = all_levels(1_000_000 / 288 + 1, samples).await;
    assert_eq!(hours.len(), 1_000_000_usize.div_ceil(12));
    assert!(hours.values().take(83_333).all(|&n| n == 12.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sample_a_year_for_ten_years() {
    let samples = (0..10).map(|i| (START + i * 365 * DAY, 1.0)).collect();
    let hours = all_levels(3650, samples).await;
    assert_eq!(hours.len(), 10);
}

/// Times at the ends of what 64 bits hold, and how many windows they lie in.
#[tokio::test(flavor = "multi_thread")]
async fn samples_at_the_ends_of_time() {
    for (times, windows) in [
        (vec![i64::MIN, i64::MIN + 1, 0, i64::MAX - 1], 3),
        (vec![i64::MIN, i64::MAX - 1], 2),
    ] {
        let encoded = times.iter().map(|&t| lower_blocks::raw(&vec![(t, 1.0)]));
        let series = vec![(name(0), encoded.flatten().collect())];
        let mut parts = block(BAD, 2, 0, &series);
        let bucket = Bucket::memory().unwrap();
        (parts.meta.tsdb.min_time, parts.meta.tsdb.max_time) = (times[0], i64::MAX);
        damage::put(&bucket, id(BAD), parts).await;
        let report = run(&bucket, 0).await;
        assert!(
            report.failures.is_empty() && !report.is_partial(),
            "{times:?}"
        );
        assert_eq!(resolutions(&bucket, BAD).await, [0, FIVE, HOUR]);
        for resolution in [FIVE, HOUR] {
            let chunks = chunks(&bucket, BAD, resolution).await;
            let counts = column(&chunks[0], Aggr::Count);
            assert_eq!(counts.len(), windows, "{times:?}");
            assert_eq!(total(&chunks[0]), times.len() as f64, "{times:?}");
        }
        assert!(run(&bucket, 1).await.is_idle(), "{times:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_without_series_is_downsampled_once() {
    let bucket = Bucket::memory().unwrap();
    let mut parts = block(GOOD, 14, 0, &Series::new());
    parts.segments.clear();
    damage::put(&bucket, id(GOOD), parts).await;
    let report = run(&bucket, 0).await;
    assert!(report.failures.is_empty(), "{:?}", report.failures);
    let first = resolutions(&bucket, GOOD).await;
    let second = run(&bucket, 1).await;
    assert!(second.is_idle(), "{second:?}");
    assert_eq!(resolutions(&bucket, GOOD).await, first);
    assert_eq!(first, [0, FIVE, HOUR]);
}
