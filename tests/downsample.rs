//! Lower resolutions of whole buckets: made in one pass or on their own, by any
//! number of threads, of one block or of many, always the same.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "test code")]

mod support;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};

use lithify::block::meta::Meta;
use lithify::compact::report::RunReport;
use lithify::compact::savings::savings;
use lithify::objstore::Bucket;
use lithify::plan::{Dedup, JobKind, Settings};
use lithify::tsdb::chunkenc::{Aggr, AggrChunk, FloatSamples, STALE_NAN, decode_xor};
use lithify::tsdb::chunks::SegmentReader;
use lithify::tsdb::index::{Index, RawSeries};
use lithify::tsdb::source::MemBlob;
use support::blocks::{self, Spec, labels, live_metas};
use support::runs::{HOUR, NOW, START, replica_settings, run_at};
use ulid::Ulid;

const DAY: i64 = 24 * HOUR;
const FIVE: i64 = 300_000;
const ONE_HOUR: i64 = 3_600_000;

fn settings() -> Settings {
    Settings {
        downsampling: true,
        ..replica_settings()
    }
}

fn bucket() -> Bucket {
    Bucket::memory().unwrap()
}

/// A block `[from, to)` in hours: a counter with resets, a gauge with stale
/// markers and NaNs, a sparse series.
fn spec(n: u64, from: i64, to: i64, replica: &str) -> Spec {
    let (first, last) = (START + from * HOUR, START + to * HOUR);
    let jitter = if replica == "b" { 7_000 } else { 0 };
    let every = |ms: i64| (first..last).step_by(ms as usize).map(move |t| t + jitter);
    let counter = every(120_000).map(|t| (t, (t / 1000 % 90_000) as f64));
    let gauge = every(300_000).map(|t| {
        let v = match t / 300_000 % 50 {
            0 => f64::from_bits(STALE_NAN),
            1 => f64::NAN,
            n => ((n * 37) % 23) as f64 - 11.0,
        };
        (t, v)
    });
    let sparse = every(5 * ONE_HOUR).map(|t| (t, 1.0));
    let name = |name: &str| vec![("__name__".to_owned(), name.to_owned())];
    Spec {
        id: Ulid::from_parts((START + from * HOUR) as u64 + n, u128::from(n)),
        labels: labels(&[("cluster", "c"), ("replica", replica)]),
        range: (first, last),
        series: BTreeMap::from([
            (name("counter"), counter.collect()),
            (name("gauge"), gauge.collect()),
            (name("sparse"), sparse.collect()),
        ]),
    }
}

/// Two replicas over `days` days in blocks of 2 days, and one more that lets
/// the last range end.
async fn fill(bucket: &Bucket, days: i64) {
    for (n, replica) in [(1, "a"), (2, "b")] {
        for day in (0..days).step_by(2) {
            blocks::write(bucket, &spec(n, day * 24, (day + 2) * 24, replica)).await;
        }
        blocks::write(bucket, &spec(n, days * 24, days * 24 + 2, replica)).await;
    }
}

/// A run, each one a minute after the one before: names come from the clock.
async fn run(bucket: &Bucket, settings: Settings, threads: usize) -> RunReport {
    static RUNS: AtomicI64 = AtomicI64::new(0);
    let now = NOW + 60_000 * RUNS.fetch_add(1, Ordering::Relaxed);
    let report = run_at(bucket, settings, threads, now).await;
    assert!(report.failures.is_empty(), "{:?}", report.failures);
    report
}

/// Columns of every series of a downsampled block, by the names of
/// `blocks::read`.
async fn columns(bucket: &Bucket, meta: &Meta) -> BTreeMap<String, [FloatSamples; 5]> {
    let read = async |file: &str| {
        let body = bucket.get(&format!("{}/{file}", meta.id())).await.unwrap();
        Box::new(MemBlob::new(file, body.unwrap()))
    };
    let mut index = Index::open(read("index").await).unwrap();
    let symbols = index.load_symbols().unwrap();
    let mut stream = index.into_series(symbols.refs());
    let mut segment = SegmentReader::open(0, read("chunks/000001").await).unwrap();
    let (mut series, mut all) = (RawSeries::default(), BTreeMap::new());
    while stream.next(&mut series).unwrap() {
        let mut columns: [FloatSamples; 5] = Default::default();
        for chunk in &series.chunks {
            let record = segment.record(chunk.reference).unwrap();
            record.verify().unwrap();
            let parsed = AggrChunk::parse(record.data()).unwrap();
            for (aggr, column) in Aggr::ALL.into_iter().zip(&mut columns) {
                decode_xor(parsed.column(aggr).unwrap().data, column).unwrap();
            }
        }
        let pairs = series.labels.iter();
        let name = pairs.map(|&(n, v)| format!("{}={}", symbols.display(n), symbols.display(v)));
        all.insert(name.collect::<Vec<_>>().join(","), columns);
    }
    all
}

/// Count and sum of each window, by its number.
type Windows = BTreeMap<i64, (f64, f64)>;

/// Those that a downsampled block has, and those of the samples of raw ones.
async fn windows(bucket: &Bucket, resolution: i64) -> [BTreeMap<String, Windows>; 2] {
    let (mut theirs, mut naive) = (BTreeMap::new(), BTreeMap::new());
    let metas = live_metas(bucket).await;
    let of = |resolution: i64| {
        let metas = metas.iter();
        metas.filter(move |m| m.thanos.downsample.resolution == resolution)
    };
    let mut covered = Vec::new();
    for meta in of(resolution) {
        covered.push((meta.tsdb.min_time, meta.tsdb.max_time));
        for (series, columns) in columns(bucket, meta).await {
            let windows: &mut Windows = theirs.entry(series).or_default();
            for ((t, n), (_, sum)) in columns[0].iter().zip(columns[1].iter()) {
                let window = windows.entry(t.div_euclid(resolution)).or_default();
                *window = (window.0 + n, window.1 + sum);
            }
        }
    }
    for meta in of(0) {
        for (series, samples) in blocks::read(bucket, meta).await {
            let windows: &mut Windows = naive.entry(series).or_default();
            for (t, bits) in samples {
                let v = f64::from_bits(u64::from_str_radix(&bits, 16).unwrap());
                if !v.is_nan() && covered.iter().any(|c| (c.0..c.1).contains(&t)) {
                    let window = windows.entry(t.div_euclid(resolution)).or_default();
                    *window = (window.0 + 1.0, window.1 + v);
                }
            }
        }
    }
    [theirs, naive]
}

#[tokio::test]
async fn one_pass_makes_what_several_make() {
    let (fused, apart) = (bucket(), bucket());
    fill(&fused, 14).await;
    fill(&apart, 14).await;
    let report = run(&fused, settings(), 2).await;
    assert_eq!(report.jobs.len(), 2, "14 days, and the rest");
    let long = report
        .jobs
        .iter()
        .find(|j| j.range.1 - j.range.0 == 14 * DAY);
    let made = long.unwrap().results.iter().map(|r| r.resolution);
    assert_eq!(made.collect::<Vec<_>>(), [0, FIVE, ONE_HOUR]);

    run(&apart, replica_settings(), 1).await;
    let report = run(&apart, settings(), 1).await;
    let kinds: Vec<JobKind> = report.jobs.iter().map(|j| j.kind).collect();
    assert_eq!(kinds, [JobKind::Downsampling]);
    let (one, several) = (blocks::files(&fused).await, blocks::files(&apart).await);
    assert_eq!(
        one.keys().collect::<Vec<_>>(),
        several.keys().collect::<Vec<_>>()
    );
    for (key, files) in &one {
        for (name, body) in files {
            let other = &several[key][name];
            if name == "meta.json" {
                // Blocks of lower resolution inherit the parents of the raw block.
                let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
                assert_eq!(text(body), text(other), "{key:?}");
            }
            assert!(body == other, "{key:?} {name}");
        }
    }
    for bucket in [&fused, &apart] {
        assert!(run(bucket, settings(), 2).await.is_idle());
    }
}

/// Bytes of index and segments, and samples, of the raw block of 14 days.
async fn long_raw_block(bucket: &Bucket) -> (u64, u64) {
    let metas = live_metas(bucket).await;
    let long = |m: &&Meta| m.tsdb.max_time - m.tsdb.min_time == 14 * DAY;
    let mut raw = metas.iter().filter(long);
    let raw = raw.find(|m| m.thanos.downsample.resolution == 0).unwrap();
    let objects = bucket.list(&raw.id().to_string()).await.unwrap();
    let data = objects.iter().filter(|o| !o.name.ends_with(".json"));
    (data.map(|o| o.size).sum(), raw.tsdb.stats.num_samples)
}

#[tokio::test]
async fn a_block_that_is_gone_is_made_again_from_what_is_there() {
    let bucket = bucket();
    fill(&bucket, 14).await;
    run(&bucket, settings(), 2).await;
    let before = blocks::files(&bucket).await;
    for resolution in [ONE_HOUR, FIVE] {
        for meta in live_metas(&bucket).await {
            if meta.thanos.downsample.resolution == resolution {
                for object in bucket.list(&meta.id().to_string()).await.unwrap() {
                    bucket.delete(&object.name).await.unwrap();
                }
            }
        }
        let report = run(&bucket, settings(), 2).await;
        let made = report.jobs[0].results.iter().map(|r| r.resolution);
        assert_eq!(made.collect::<Vec<_>>(), [resolution]);
        assert_eq!(report.jobs[0].resolution, resolution / ONE_HOUR * FIVE);
        // Its ratio is to raw, whatever it was made of.
        let total = savings(&report).total;
        let saved = total.iter().find(|s| s.resolution_ms == resolution);
        let to_raw = saved.unwrap().to_raw.unwrap();
        let (raw_bytes, raw_samples) = long_raw_block(&bucket).await;
        assert_eq!(
            (to_raw.raw_bytes, to_raw.raw_samples),
            (raw_bytes, raw_samples)
        );
        assert_eq!(to_raw.samples, report.jobs[0].results[0].samples);
        assert!(blocks::files(&bucket).await == before, "{resolution}");
    }
}

#[tokio::test]
async fn threads_change_nothing() {
    for dedup in [Dedup::OneToOne, Dedup::Penalty] {
        let mut first = None;
        for threads in [1, 4] {
            let bucket = bucket();
            fill(&bucket, 4).await;
            let settings = Settings {
                dedup,
                ..settings()
            };
            run(&bucket, settings, threads).await;
            let files = blocks::files(&bucket).await;
            assert!(files.keys().any(|key| key.0 == FIVE));
            assert!(*first.get_or_insert_with(|| files.clone()) == files);
        }
    }
}

#[tokio::test]
async fn windows_are_those_of_a_naive_model() {
    let bucket = bucket();
    fill(&bucket, 14).await;
    run(&bucket, settings(), 2).await;
    for resolution in [FIVE, ONE_HOUR] {
        let [windows, naive] = windows(&bucket, resolution).await;
        assert_eq!(windows, naive, "{resolution}");
        assert_eq!(windows.len(), 3);
    }
}

/// Two days more before each run, as in a bucket that is looked after.
#[tokio::test]
async fn blocks_that_come_one_by_one_end_as_those_that_come_at_once() {
    let (at_once, bit_by_bit) = (bucket(), bucket());
    fill(&at_once, 28).await;
    run(&at_once, settings(), 2).await;
    for day in (0..28).step_by(2) {
        for (n, replica) in [(1, "a"), (2, "b")] {
            let next = spec(n, day * 24, (day + 2) * 24, replica);
            blocks::write(&bit_by_bit, &next).await;
            let last = day == 26;
            if last {
                blocks::write(&bit_by_bit, &spec(n, 28 * 24, 28 * 24 + 2, replica)).await;
            }
        }
        run(&bit_by_bit, settings(), 2).await;
    }
    let shape = async |bucket: &Bucket| {
        let metas = live_metas(bucket).await;
        let mut shape: Vec<_> = metas
            .into_iter()
            .map(|m| {
                let mut sources = m.tsdb.compaction.sources;
                sources.sort();
                let resolution = m.thanos.downsample.resolution;
                (resolution, m.tsdb.min_time, m.tsdb.max_time, sources)
            })
            .collect();
        shape.sort();
        shape
    };
    let shapes = shape(&at_once).await;
    assert_eq!(shapes, shape(&bit_by_bit).await);
    let hours = shapes.iter().filter(|s| s.0 == ONE_HOUR);
    let hours = hours.map(|s| s.2 - s.1);
    assert_eq!(hours.collect::<Vec<_>>(), [14 * DAY; 2]);
    for resolution in [FIVE, ONE_HOUR] {
        let [windows, naive] = windows(&bit_by_bit, resolution).await;
        assert_eq!(windows, naive, "{resolution}");
    }
}

#[tokio::test]
async fn step_by_step_ends_with_the_same_blocks() {
    let (one, several) = (bucket(), bucket());
    fill(&one, 14).await;
    fill(&several, 14).await;
    run(&one, settings(), 2).await;
    let stepwise = Settings {
        one_pass: false,
        ..settings()
    };
    run(&several, stepwise, 2).await;
    let (one, several) = (blocks::files(&one).await, blocks::files(&several).await);
    assert!(one.keys().eq(several.keys()));
}

#[tokio::test]
async fn a_mark_keeps_a_block_from_being_downsampled() {
    let bucket = bucket();
    let only = spec(1, 0, 48, "a");
    blocks::write(&bucket, &only).await;
    let mark = format!(
        "{{\"id\":\"{}\",\"version\":1,\"no_downsample_time\":1}}",
        only.id
    );
    let name = format!("{}/no-downsample-mark.json", only.id);
    bucket.put(&name, mark).await.unwrap();
    assert!(run(&bucket, settings(), 1).await.is_idle());
    bucket.delete(&name).await.unwrap();
    assert_eq!(run(&bucket, settings(), 1).await.jobs.len(), 1);
    // 40 hours are enough, and a minute less is not.
    for (hours, jobs) in [(40, 1), (39, 0)] {
        let bucket = Bucket::memory().unwrap();
        blocks::write(&bucket, &spec(1, 0, hours, "a")).await;
        assert_eq!(run(&bucket, settings(), 1).await.jobs.len(), jobs);
    }
}

/// Two replicas that were downsampled apart, before they were told apart.
async fn downsampled_apart() -> Bucket {
    let bucket = bucket();
    fill(&bucket, 14).await;
    let apart = Settings {
        replica_labels: Vec::new(),
        vertical: false,
        ..settings()
    };
    run(&bucket, apart, 2).await;
    let metas = live_metas(&bucket).await;
    for resolution in [FIVE, ONE_HOUR] {
        let of = |m: &&Meta| m.thanos.downsample.resolution == resolution;
        assert_eq!(metas.iter().filter(of).count(), 2);
    }
    bucket
}

fn marked(id: Ulid) -> String {
    let reason = "downsample-vertical-compaction";
    format!(r#"{{"id":"{id}","version":1,"no_compact_time":1,"reason":"{reason}"}}"#)
}

#[tokio::test]
async fn overlapping_aggregates_are_made_anew_from_raw_blocks() {
    for marked_before in [false, true] {
        let bucket = downsampled_apart().await;
        if marked_before {
            // As Thanos leaves them behind.
            for meta in live_metas(&bucket).await {
                if meta.thanos.downsample.resolution != 0 {
                    let id = meta.id();
                    let name = format!("{id}/no-compact-mark.json");
                    bucket.put(&name, marked(id)).await.unwrap();
                }
            }
        }
        let report = run(&bucket, settings(), 2).await;
        assert!(report.no_compact.is_empty());
        let files = blocks::files(&bucket).await;
        let long = files
            .keys()
            .filter(|(_, from, until)| until - from == 14 * DAY);
        let resolutions: Vec<i64> = long.map(|key| key.0).collect();
        assert_eq!(resolutions, [0, FIVE, ONE_HOUR]);
        for resolution in [FIVE, ONE_HOUR] {
            let [windows, naive] = windows(&bucket, resolution).await;
            assert_eq!(windows, naive, "{resolution}");
        }
        assert!(run(&bucket, settings(), 2).await.is_idle());
        // As if they had been told apart from the beginning.
        let clean = self::bucket();
        fill(&clean, 14).await;
        run(&clean, settings(), 2).await;
        let data = |files: BTreeMap<_, BTreeMap<String, Vec<u8>>>| -> Vec<_> {
            let blocks = files
                .into_iter()
                .filter(|(key, _): &((i64, i64, i64), _)| key.0 != 0);
            let blocks = blocks.map(|(key, mut files)| {
                files.remove("meta.json");
                (key, files)
            });
            blocks.collect()
        };
        assert!(data(files) == data(blocks::files(&clean).await));
    }
}

#[tokio::test]
async fn overlapping_aggregates_without_raw_blocks_are_marked() {
    let bucket = downsampled_apart().await;
    // All raw blocks, those that were marked included: they would do.
    let metas = live_metas(&bucket).await.into_iter();
    let aggregates = metas.filter(|m| m.thanos.downsample.resolution != 0);
    let stay: Vec<String> = aggregates.map(|m| m.id().to_string()).collect();
    for object in bucket.list("").await.unwrap() {
        if !stay.iter().any(|id| object.name.starts_with(id)) {
            bucket.delete(&object.name).await.unwrap();
        }
    }
    let report = run(&bucket, settings(), 2).await;
    assert_eq!(report.no_compact.len(), 4, "two of 5m, two of 1h");
    assert!(run(&bucket, settings(), 2).await.is_idle());
}

/// A stream that ended long ago: its newest blocks are past their retention and
/// can never be downsampled, but they show that the window before them is past.
#[tokio::test]
async fn retired_blocks_do_not_keep_older_ones_from_1h() {
    let bucket = bucket();
    for day in (4..22).step_by(2) {
        blocks::write(&bucket, &spec(1, day * 24, (day + 2) * 24, "a")).await;
    }
    let kept = Settings {
        retention_ms: [7 * DAY, 30 * DAY, 90 * DAY],
        ..settings()
    };
    let report = run(&bucket, kept.clone(), 2).await;
    assert_eq!(report.retired.len(), 4 + 2, "8 days for good, raw and 5m");
    let left: Vec<(i64, i64, i64)> = blocks::files(&bucket).await.into_keys().collect();
    assert_eq!(left, [(ONE_HOUR, START + 4 * DAY, START + 14 * DAY)]);
    assert!(run(&bucket, kept, 2).await.is_idle());
}
