//! The books of a job: kept, printed, and in the way of every mark.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "test code")]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;

use lithify::compact::keep::{self, REPORTS, REPORTS_KEPT};
use lithify::error::Kind;
use lithify::merge::{self, MergeError, MergeFn, MergeOptions, Merged, Output, Source};
use lithify::objstore::Bucket;
use lithify::runtime::clock::{Clock, FixedClock};
use serde_json::Value;
use support::blocks::{self, Spec, labels, live_metas};
use support::runs::{HOUR, NOW, START, compactor, replica_settings as settings};
use support::schema::assert_committed;
use ulid::Ulid;

fn spec(replica: &str, from: i64) -> Spec {
    let name = vec![("__name__".to_owned(), "up".to_owned())];
    let samples = (0..120).map(|i| (START + from * HOUR + i * 60_000, i as f64));
    Spec {
        id: Ulid::from_parts(
            (START + from * HOUR) as u64,
            u128::from(replica.as_bytes()[0]),
        ),
        labels: labels(&[("cluster", "c"), ("replica", replica)]),
        range: (START + from * HOUR, START + (from + 2) * HOUR),
        series: [(name, samples.collect())].into(),
    }
}

async fn pair() -> Bucket {
    let bucket = Bucket::memory().unwrap();
    for from in [0, 2] {
        for replica in ["a", "b"] {
            blocks::write(&bucket, &spec(replica, from)).await;
        }
    }
    // The newest block of a stream is left alone.
    blocks::write(&bucket, &spec("a", 900)).await;
    bucket
}

async fn run(bucket: &Bucket, merge: MergeFn) -> lithify::compact::report::RunReport {
    let scratch = tempfile::tempdir().unwrap();
    let clock = Arc::new(FixedClock::at(NOW));
    let mut compactor = compactor(bucket, settings(), 2, clock, scratch.path());
    compactor.options.merge = merge;
    compactor.run().await.unwrap()
}

fn tampered(
    (sources, options, outputs): (Vec<Source>, &MergeOptions, Vec<Output>),
    tamper: impl Fn(&mut Merged),
) -> Result<Merged, MergeError> {
    let mut merged = merge::merge(sources, options, outputs)?;
    tamper(&mut merged);
    Ok(merged)
}

/// Merges that lose or make up something, or book what they did not do.
const BROKEN: [(&str, MergeFn); 6] = [
    ("samples = ", |s, m, o| {
        tampered((s, m, o), |m| m.ledger.written -= 1)
    }),
    ("samples = ", |s, m, o| {
        tampered((s, m, o), |m| m.ledger.deduplicated += 1)
    }),
    ("chunks = ", |s, m, o| {
        tampered((s, m, o), |m| m.ledger.chunks_replaced += 1)
    }),
    ("series = ", |s, m, o| {
        tampered((s, m, o), |m| m.ledger.series_joined += 1)
    }),
    ("samples were booked as written", |s, m, o| {
        tampered((s, m, o), |m| m.blocks[0].stats.num_samples -= 1)
    }),
    // The books agree with each other, but not with the index that was written.
    ("where", |s, m, o| {
        tampered((s, m, o), |m| {
            m.blocks[0].stats.num_series += 1;
            m.ledger.series_written += 1;
            m.ledger.series_read += 1;
        })
    }),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_that_does_not_balance_stops_every_mark() {
    for (what, broken) in BROKEN {
        let bucket = pair().await;
        let before = names(&bucket).await;
        let report = run(&bucket, broken).await;
        assert!(
            !report.failures.is_empty() && report.jobs.is_empty(),
            "{what}"
        );
        for failure in &report.failures {
            let error = &failure.error;
            assert_eq!(error.kind(), Kind::Internal);
            assert!(error.chain().contains(what), "{}", error.chain());
            assert!(error.cure().unwrap().contains("nothing was marked"));
        }
        assert_eq!(names(&bucket).await, before, "{what}");
        // The same bucket with honest books.
        let report = run(&bucket, merge::merge).await;
        assert!(report.failures.is_empty());
        assert_eq!(report.ledger().deduplicated, 240);
        let marks = names(&bucket).await;
        let marks = marks.iter().filter(|n| n.ends_with("deletion-mark.json"));
        assert_eq!(marks.count(), 4);
    }
}

async fn names(bucket: &Bucket) -> Vec<String> {
    let mut names: Vec<String> = bucket
        .list("")
        .await
        .unwrap()
        .into_iter()
        .map(|o| o.name)
        .collect();
    names.sort_unstable();
    names
}

/// Jobs that downsample, and book one sample more or less than there was.
const BROKEN_LOWER: [(&str, MergeFn); 4] = [
    ("samples are missing from", |s, m, o| {
        tampered((s, m, o), |m| lower(m).counted += 1)
    }),
    ("samples are missing from", |s, m, o| {
        tampered((s, m, o), |m| lower(m).stale += 1)
    }),
    // It balances, but was not made of what was written.
    ("were made from", |s, m, o| {
        tampered((s, m, o), |m| {
            lower(m).read += 1;
            lower(m).counted += 1;
        })
    }),
    // Each level balances, but 1h was not made of what 5m has counted.
    ("were made from", |s, m, o| {
        tampered((s, m, o), |m| {
            lower(m).counted -= 1;
            lower(m).nan += 1;
        })
    }),
];

/// The books of the first lower resolution.
fn lower(merged: &mut Merged) -> &mut lithify::downsample::Counts {
    let mut counts = merged.blocks.iter_mut().filter_map(|b| b.counts.as_mut());
    counts.next().unwrap()
}

/// 14 days of a pair in blocks of 2 days, and 2 hours that let the range end.
async fn long_pair() -> Bucket {
    let bucket = Bucket::memory().unwrap();
    for replica in ["a", "b"] {
        // The newest has no partner, or it would be merged and not downsampled.
        let days = if replica == "a" { 0..=14 } else { 0..=12 };
        for day in days.step_by(2) {
            let mut spec = spec(replica, day * 24);
            let hours = if day < 14 { 48 } else { 2 };
            spec.range.1 = spec.range.0 + hours * HOUR;
            let start = spec.range.0;
            for samples in spec.series.values_mut() {
                *samples = (0..hours * 60)
                    .map(|i| (start + i * 60_000, i as f64))
                    .collect();
            }
            blocks::write(&bucket, &spec).await;
        }
    }
    bucket
}

async fn run_lower(bucket: &Bucket, merge: MergeFn) -> lithify::compact::report::RunReport {
    let scratch = tempfile::tempdir().unwrap();
    let clock = Arc::new(FixedClock::at(NOW));
    let settings = lithify::plan::Settings {
        downsampling: true,
        ..settings()
    };
    let mut compactor = compactor(bucket, settings, 2, clock, scratch.path());
    compactor.options.merge = merge;
    compactor.run().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn books_of_downsampling_that_do_not_balance_stop_every_mark() {
    for (what, broken) in BROKEN_LOWER {
        let bucket = long_pair().await;
        let before = names(&bucket).await;
        let report = run_lower(&bucket, broken).await;
        assert!(report.jobs.is_empty(), "{what}");
        assert!(!report.failures.is_empty(), "{what}");
        for failure in &report.failures {
            assert_eq!(failure.error.kind(), Kind::Internal);
            let chain = failure.error.chain();
            assert!(chain.contains(what), "{chain}");
        }
        assert_eq!(names(&bucket).await, before, "{what}");
    }
}

/// Blocks and bytes of index and segments of what is live in the bucket, by
/// resolution.
async fn listed(bucket: &Bucket) -> BTreeMap<i64, (u64, u64)> {
    let mut sums = BTreeMap::new();
    for meta in live_metas(bucket).await {
        let sum: &mut (u64, u64) = sums.entry(meta.thanos.downsample.resolution).or_default();
        sum.0 += 1;
        for object in bucket.list(&meta.id().to_string()).await.unwrap() {
            if !object.name.ends_with(".json") {
                sum.1 += object.size;
            }
        }
    }
    sums
}

#[tokio::test(flavor = "multi_thread")]
async fn the_report_follows_its_schema_and_says_what_the_bucket_has() {
    let bucket = long_pair().await;
    let before = listed(&bucket).await;
    let report = run_lower(&bucket, merge::merge).await;
    assert!(report.failures.is_empty(), "{:?}", report.failures);
    let json: Value = serde_json::from_slice(&report.to_json(NOW).unwrap()).unwrap();
    let after = listed(&bucket).await;
    assert_eq!(after.len(), 3, "raw, 5m and 1h");
    let rows = json["savings"]["total"].as_array().unwrap();
    for row in rows {
        let resolution = row["resolution_ms"].as_i64().unwrap();
        for (side, expected) in [("before", &before), ("after", &after)] {
            let size = |key: &str| row[side][key].as_u64().unwrap();
            let expected = expected.get(&resolution).copied().unwrap_or_default();
            assert_eq!((size("blocks"), size("bytes")), expected, "{side} {row}");
        }
        if resolution > 0 {
            let books = &row["downsampled"];
            assert!(books["counted"].as_u64().unwrap() > 0);
            assert!(row["to_raw"]["samples_ratio"].as_f64().unwrap() < 1.0);
        }
    }
    assert_eq!(rows.len(), 3);
    assert_eq!(
        rows[0]["samples_deduplicated"],
        json["ledger"]["deduplicated"]
    );

    let schema = serde_json::to_value(keep::schema()).unwrap();
    assert_committed(&schema, "report.schema.json", "ledger");
    let validator = jsonschema::validator_for(&schema).unwrap();
    let errors: Vec<String> = validator
        .iter_errors(&json)
        .map(|e| e.to_string())
        .collect();
    assert!(errors.is_empty(), "{errors:?}");
    // The validator must be able to say no.
    let mut wrong = json.clone();
    wrong["savings"]["total"][0]["before"]["bytes"] = "many".into();
    assert!(!validator.is_valid(&wrong));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_report_is_kept_with_the_ledger_of_each_job() {
    let bucket = pair().await;
    let clock = FixedClock::at(NOW);
    let report = run(&bucket, merge::merge).await;
    let name = keep::keep(&bucket, &report, &clock).await.unwrap().unwrap();
    let json = bucket.get(&name).await.unwrap().unwrap();
    let kept: serde_json::Value = serde_json::from_slice(&json).unwrap();
    assert_eq!(kept["schema"], keep::SCHEMA);
    assert_eq!(kept["ended_ms"], NOW);
    assert_eq!(kept["ledger"]["read"], 480);
    let job = &kept["jobs"][0];
    assert_eq!(job["ledger"]["read"], 240);
    assert_eq!(job["ledger"]["written"], 120);
    assert_eq!(job["ledger"]["deduplicated"], 120);
    assert_eq!(job["sources"].as_array().unwrap().len(), 2);
    let result = live_metas(&bucket)
        .await
        .iter()
        .map(|m| m.id().to_string())
        .collect::<Vec<_>>();
    assert!(result.contains(&job["result"].as_str().unwrap().to_owned()));
    assert!(job["scratch_bytes"].as_u64().unwrap() > 0);
    // A run without work leaves nothing, and the report disturbs nobody.
    let idle = run(&bucket, merge::merge).await;
    assert!(idle.is_idle() && idle.problems.is_empty());
    assert_eq!(keep::keep(&bucket, &idle, &clock).await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_newest_reports_stay() {
    let bucket = pair().await;
    for i in 0..REPORTS_KEPT as u64 + 5 {
        let name = format!("{REPORTS}/{}.json", Ulid::from_parts(1000 + i, 0));
        bucket.put(&name, b"{}".to_vec()).await.unwrap();
    }
    let report = run(&bucket, merge::merge).await;
    let clock = FixedClock::at(NOW);
    assert!(clock.new_ulid().to_string() > Ulid::from_parts(9000, 0).to_string());
    let new = keep::keep(&bucket, &report, &clock).await.unwrap().unwrap();
    let left = bucket.list(REPORTS).await.unwrap();
    assert_eq!(left.len(), REPORTS_KEPT);
    assert!(left.iter().any(|o| o.name == new));
    let oldest = format!("{REPORTS}/{}.json", Ulid::from_parts(1000, 0));
    assert!(left.iter().all(|o| o.name != oldest));
}
