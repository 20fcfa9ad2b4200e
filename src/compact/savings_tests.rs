use std::sync::Arc;

use super::*;
use crate::block::meta::Meta;
use crate::compact::report::{ResultReport, Stages};
use crate::merge::Ledger;
use crate::plan::view::ListedFile;
use crate::plan::{JobKind, Reason};

const FIVE: i64 = FIVE_MINUTES_MS;

fn id(n: u64) -> Ulid {
    Ulid::from_parts(n, 0)
}

fn labels(replica: Option<&str>) -> Labels {
    let mut labels = Labels::from([("cluster".to_owned(), "c".to_owned())]);
    labels.extend(replica.map(|r| ("replica".to_owned(), r.to_owned())));
    labels
}

fn settings() -> Settings {
    Settings {
        replica_labels: vec!["replica".to_owned()],
        ..Settings::default()
    }
}

/// A block with 10 times as many bytes as samples; `replica` for raw ones.
fn block(n: u64, resolution: i64, samples: u64, marked: bool) -> BlockView {
    let replica = (resolution == 0).then_some(if n.is_multiple_of(2) { "a" } else { "b" });
    let json = serde_json::json!({
        "version": 1, "ulid": id(n).to_string(), "minTime": 0, "maxTime": 1000,
        "stats": {"numSamples": samples, "numSeries": 1, "numChunks": 1},
        "compaction": {"level": 1, "sources": [id(n).to_string()]},
        "thanos": {"labels": labels(replica), "downsample": {"resolution": resolution},
                   "source": "sidecar"},
    });
    let meta = Meta::parse(id(n), json.to_string().as_bytes()).unwrap();
    let file = |path: &str, size| ListedFile {
        path: path.to_owned(),
        size,
    };
    let mark = format!(
        r#"{{"id":"{}","deletion_time":1,"details":"","version":1}}"#,
        id(n)
    );
    BlockView {
        meta: Arc::new(meta),
        files: Arc::new(vec![
            file("index", samples),
            file("chunks/000001", samples * 9),
            // No data, and not counted.
            file("meta.json", 1 << 40),
        ]),
        damaged: None,
        deletion: marked.then(|| serde_json::from_str(&mark).unwrap()),
        no_compact: None,
        no_downsample: None,
    }
}

fn view(blocks: &[(u64, i64, u64, bool)]) -> BucketView {
    let blocks = blocks
        .iter()
        .map(|&(n, res, samples, marked)| block(n, res, samples, marked));
    BucketView {
        blocks: blocks.collect(),
        ..BucketView::default()
    }
}

/// A job over `sources` that makes blocks (name, resolution, samples) of 10
/// bytes per sample.
fn job(resolution: i64, sources: &[u64], made: &[(u64, i64, u64)], replaced: &[u64]) -> JobReport {
    let results = made.iter().map(|&(n, res, samples)| ResultReport {
        block: id(n),
        resolution: res,
        bytes: samples * 10,
        index_bytes: samples,
        series: 1,
        chunks: 1,
        samples,
        counts: (res > resolution).then(|| downsample::Counts {
            read: 100,
            counted: 97,
            stale: 2,
            nan: 1,
            ..downsample::Counts::default()
        }),
    });
    JobReport {
        group: GroupKey::of(resolution, &labels(None)),
        labels: labels(None),
        resolution,
        kind: JobKind::Vertical,
        reason: Reason::Overlap,
        sources: sources.iter().map(|&n| id(n)).collect(),
        result: None,
        results: results.collect(),
        range: (0, 1000),
        bytes_in: 1000,
        bytes_out: 0,
        scratch_bytes: 0,
        series: 1,
        ledger: Ledger {
            read: 200,
            written: 100,
            deduplicated: 90,
            deleted: 10,
            ..Ledger::default()
        },
        replaced: replaced.iter().map(|&n| id(n)).collect(),
        stages: Stages::default(),
        seconds: 0.0,
    }
}

fn report(looks: &[BucketView], jobs: Vec<JobReport>) -> RunReport {
    let mut report = RunReport {
        jobs,
        ..RunReport::default()
    };
    for look in looks {
        report.seen.look(look, &settings());
    }
    report
}

fn size(blocks: u64, samples: u64) -> Size {
    Size {
        blocks,
        bytes: samples * 10,
        samples,
    }
}

/// The same block over `range`, made of these blocks of level 1.
fn made_of(mut block: BlockView, range: (i64, i64), sources: &[u64]) -> BlockView {
    let mut meta = Meta::clone(&block.meta);
    (meta.tsdb.min_time, meta.tsdb.max_time) = range;
    meta.tsdb.compaction.sources = sources.iter().map(|&n| id(n)).collect();
    block.meta = Arc::new(meta);
    block
}

/// What a run has seen and done, and (before, after) of raw and 5m.
type Row = (&'static str, RunReport, [(Size, Size); 2]);

const PAIR: [(u64, i64, u64, bool); 2] = [(1, 0, 100, false), (2, 0, 100, false)];

fn none() -> (Size, Size) {
    (size(0, 0), size(0, 0))
}

/// Two replicas become block 9, and block 10 of lower resolution.
fn fused() -> JobReport {
    job(0, &[1, 2], &[(9, 0, 100), (10, FIVE, 20)], &[1, 2])
}

fn jobs() -> Vec<Row> {
    let windows = (size(0, 0), size(1, 20));
    let again = vec![
        job(0, &[1], &[(9, 0, 100)], &[1]),
        job(0, &[9, 2], &[(11, 0, 150)], &[9, 2]),
    ];
    let alone = job(0, &[1], &[(10, FIVE, 20)], &[]);
    vec![
        (
            "a pair becomes one block and its windows",
            report(&[view(&PAIR)], vec![fused()]),
            [(size(2, 200), size(1, 100)), windows],
        ),
        (
            "downsampled only",
            report(&[view(&PAIR)], vec![alone]),
            [(size(2, 200), size(2, 200)), windows],
        ),
        (
            "a block that is made and merged again",
            report(&[view(&PAIR)], again),
            [(size(2, 200), size(1, 150)), none()],
        ),
    ]
}

fn marks() -> Vec<Row> {
    let later = |blocks: &[_]| [view(&PAIR), view(blocks)];
    let mut garbage = report(&[view(&PAIR)], vec![]);
    garbage.garbage.push(id(1));
    let after = [(1, 0, 100, true), (2, 0, 100, true), (9, 0, 100, false)];
    let mut retired = report(&later(&after), vec![fused()]);
    retired.retired.push(id(9));
    let marked = view(&[(1, 0, 100, true), (2, 0, 50, false)]);
    let moved = later(&[(1, 0, 100, true), (4, 0, 30, false)]);
    vec![
        (
            "nothing is done",
            report(&[view(&PAIR)], vec![]),
            [(size(2, 200), size(2, 200)), none()],
        ),
        (
            "marked before",
            report(&[marked], vec![]),
            [(size(1, 50), size(1, 50)), none()],
        ),
        ("garbage", garbage, [(size(2, 200), size(1, 100)), none()]),
        (
            "made and retired in one run",
            retired,
            [(size(2, 200), size(0, 0)), (size(0, 0), size(1, 20))],
        ),
        (
            "one arrives, one is marked by somebody else",
            report(&moved, vec![]),
            [(size(2, 200), size(2, 130)), none()],
        ),
    ]
}

#[test]
fn before_and_after() {
    for (what, report, expected) in jobs().into_iter().chain(marks()) {
        let saved = savings(&report);
        for (resolution, (before, after)) in [0, FIVE].into_iter().zip(expected) {
            let row = saved.total.iter().find(|s| s.resolution_ms == resolution);
            let row = row.cloned().unwrap_or_default();
            assert_eq!((row.before, row.after), (before, after), "{what}");
            let mut sum = row.before;
            sum.add(row.arrived);
            sum.add(row.made);
            for left in [row.replaced, row.garbage, row.retired, row.gone] {
                sum.sub(left);
            }
            assert_eq!(sum, row.after, "{what}");
        }
    }
}

#[test]
fn books_and_ratios_are_those_of_the_jobs() {
    let looks = [view(&[(1, 0, 50, false), (2, 0, 100, false)])];
    let fused = job(0, &[1, 2], &[(9, 0, 100), (10, FIVE, 20)], &[1, 2]);
    let alone = job(0, &[2], &[(12, FIVE, 10)], &[]);
    // Two sources that stay might overlap: nothing to compare with.
    let pair = job(0, &[1, 2], &[(13, FIVE, 40)], &[]);
    // Made of windows of 5 minutes.
    let hour = job(FIVE, &[10], &[(14, ONE_HOUR_MS, 2)], &[]);
    let saved = savings(&report(&looks, vec![fused, alone, pair, hour]));
    let [raw, five, hour] = &saved.total[..] else {
        panic!("{saved:?}");
    };
    assert_eq!((raw.samples_read, raw.samples_written), (600, 300));
    assert_eq!((raw.samples_deduplicated, raw.samples_deleted), (270, 30));
    assert_eq!(
        (five.downsampled.read, five.downsampled.counted),
        (300, 291)
    );
    assert_eq!(five.downsampled.imbalance(), 0);
    assert_eq!(raw.to_raw, None);
    assert_eq!(hour.to_raw, None);
    let five = five.to_raw.unwrap();
    assert_eq!((five.raw_samples, five.samples), (200, 30));
    assert_eq!((five.raw_bytes, five.bytes), (2000, 300));
    assert!((five.bytes_ratio - 0.15).abs() < 1e-12 && (five.samples_ratio - 0.15).abs() < 1e-12);
    // Replicas are one stream.
    assert_eq!(saved.streams.len(), 1);
    assert_eq!(saved.streams[0].labels, labels(None));
    assert_eq!(saved.streams[0].groups.len(), 3);
}

/// (name, range, blocks of level 1) of raw blocks with 100 samples each, and the
/// raw bytes that a block of 1 hour compares with.
type Origin = (
    &'static str,
    &'static [(u64, (i64, i64), &'static [u64])],
    Option<u64>,
);

const ORIGINS: [Origin; 9] = [
    ("one raw block", &[(2, (0, 1000), &[91, 92])], Some(1000)),
    (
        "two that follow each other",
        &[(2, (0, 500), &[91]), (4, (500, 1000), &[92])],
        Some(2000),
    ),
    (
        "a neighbour does not count",
        &[(2, (0, 1000), &[91, 92]), (4, (1000, 2000), &[93])],
        Some(1000),
    ),
    (
        "replicas have the same samples",
        &[(1, (0, 1000), &[91]), (2, (0, 1000), &[92])],
        None,
    ),
    (
        "a source counts in what it went into",
        &[(2, (0, 500), &[91]), (4, (0, 1000), &[91, 92])],
        Some(1000),
    ),
    ("one of two is gone", &[(2, (0, 500), &[91])], None),
    (
        "replicas, one of them once more",
        &[
            (1, (0, 1000), &[91]),
            (3, (0, 1000), &[91]),
            (2, (0, 900), &[92]),
        ],
        None,
    ),
    (
        "it has more than that",
        &[(2, (0, 1000), &[91, 92, 93])],
        None,
    ),
    ("all are gone", &[], None),
];

#[test]
fn hours_made_of_windows_compare_with_the_raw_blocks_of_the_same_origin() {
    for (what, raw, expected) in ORIGINS {
        let mut look = BucketView::default();
        for &(n, range, sources) in raw {
            look.blocks
                .push(made_of(block(n, 0, 100, false), range, sources));
        }
        let five = block(10, FIVE, 20, false);
        look.blocks.push(made_of(five, (0, 1000), &[91, 92]));
        let hour = job(FIVE, &[10], &[(14, ONE_HOUR_MS, 2)], &[]);
        // Blocks of 5 minutes that become one block of them are no downsampling.
        let joined = job(FIVE, &[10], &[(15, FIVE, 20)], &[]);
        let saved = savings(&report(&[look], vec![hour, joined]));
        let of = |ms| saved.total.iter().find(|s| s.resolution_ms == ms).unwrap();
        assert_eq!(of(FIVE).to_raw, None, "{what}");
        let hour = of(ONE_HOUR_MS).to_raw;
        assert_eq!(hour.map(|r| r.raw_bytes), expected, "{what}");
        if let Some(hour) = hour {
            assert_eq!((hour.bytes, hour.samples), (20, 2), "{what}");
            let ratio = 20.0 / hour.raw_bytes as f64;
            assert!((hour.bytes_ratio - ratio).abs() < 1e-12, "{what}");
        }
    }
}

#[test]
fn the_line_tells_what_changed() {
    let looks = [view(&[(1, 0, 100, false), (2, 0, 100, false)])];
    let line = |jobs| savings(&report(&looks, jobs)).line(|n| format!("{n} B"));
    assert_eq!(line(vec![]), "");
    let fused = job(0, &[1, 2], &[(9, 0, 100), (10, FIVE, 20)], &[1, 2]);
    assert_eq!(line(vec![fused]), "2000 B -> 1000 B raw, +200 B 5m");
}
