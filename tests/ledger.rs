//! The books of a job: kept, printed, and in the way of every mark.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "test code")]

mod support;

use std::sync::Arc;

use lithify::compact::keep::{self, REPORTS, REPORTS_KEPT};
use lithify::error::Kind;
use lithify::merge::{self, MergeError, MergeFn, MergeOptions, Merged, Output, Source};
use lithify::objstore::Bucket;
use lithify::runtime::clock::{Clock, FixedClock};
use support::blocks::{self, Spec, labels, live_metas};
use support::runs::{HOUR, NOW, START, compactor, replica_settings as settings};
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

#[tokio::test(flavor = "multi_thread")]
async fn the_report_is_kept_with_the_ledger_of_each_job() {
    let bucket = pair().await;
    let clock = FixedClock::at(NOW);
    let report = run(&bucket, merge::merge).await;
    let name = keep::keep(&bucket, &report, &clock).await.unwrap().unwrap();
    let json = bucket.get(&name).await.unwrap().unwrap();
    let kept: serde_json::Value = serde_json::from_slice(&json).unwrap();
    assert_eq!(kept["schema"], "lithify.report/1");
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
