//! The life around a compaction: late blocks, marked blocks, abandoned
//! uploads, streams that ended, and a process that dies anywhere.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "test code")]

mod support;

use std::sync::Arc;

use lithify::objstore::Bucket;
use lithify::runtime::clock::{Clock, FixedClock};
use object_store::memory::InMemory;
use support::blocks::{self, Spec, content, labels, live_metas};
use support::dying::DyingStore;
use support::runs::{
    HOUR, NOW, START, after_the_machine, compactor, replica_settings as settings, run_at,
};
use ulid::Ulid;

/// A block `[from, to)` in hours of one replica; scrapes of replica `b` are
/// half a minute later, and every fourth is the same in both.
fn spec(n: u64, from: i64, to: i64, replica: &str) -> Spec {
    let series = (0..3).map(|s| {
        let name = vec![
            ("__name__".to_owned(), "up".to_owned()),
            ("instance".to_owned(), format!("node-{s}")),
        ];
        let first = START + from * HOUR;
        let samples = (0..(to - from) * 60).map(|i| {
            let offset = if replica == "b" && i % 4 != 0 {
                30_000
            } else {
                0
            };
            let t = first + i * 60_000 + offset;
            (t, (t / 60_000 % 1000) as f64 + f64::from(s))
        });
        (name, samples.collect())
    });
    Spec {
        id: Ulid::from_parts((START + from * HOUR) as u64 + n, u128::from(n)),
        labels: labels(&[("cluster", "c"), ("replica", replica)]),
        range: (START + from * HOUR, START + to * HOUR),
        series: series.collect(),
    }
}

/// Two replicas of five windows, a replaced block without mark, a marked block
/// whose delay has passed, an abandoned upload.
async fn eventful(bucket: &Bucket) {
    for i in 0..5 {
        blocks::write(bucket, &spec(1, i * 2, i * 2 + 2, "a")).await;
        blocks::write(bucket, &spec(2, i * 2, i * 2 + 2, "b")).await;
    }
    let old = spec(3, 400, 402, "a");
    blocks::write(bucket, &old).await;
    let marked_s = (NOW - 60 * HOUR) / 1000;
    let mark = format!(
        r#"{{"id":"{}","version":1,"deletion_time":{marked_s}}}"#,
        old.id
    );
    let name = format!("{}/deletion-mark.json", old.id);
    bucket.put(&name, mark).await.unwrap();
    let abandoned = spec(4, 500, 502, "a").id;
    bucket
        .put(&format!("{abandoned}/chunks/000001"), "half")
        .await
        .unwrap();
}

/// Ranges, levels and sources of live blocks.
async fn shape(bucket: &Bucket) -> Vec<(i64, i64, u32, Vec<Ulid>)> {
    let mut shape: Vec<_> = live_metas(bucket)
        .await
        .into_iter()
        .map(|m| {
            let hours = |ms: i64| (ms - START) / HOUR;
            let compaction = m.tsdb.compaction;
            (
                hours(m.tsdb.min_time),
                hours(m.tsdb.max_time),
                compaction.level,
                compaction.sources,
            )
        })
        .collect();
    shape.sort();
    shape
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_does_everything_that_is_due() {
    let bucket = Bucket::memory().unwrap();
    eventful(&bucket).await;
    let before = content_of_pair(&bucket).await;
    let report = run_at(&bucket, settings(), 2, after_the_machine()).await;
    assert!(!report.is_partial(), "{:?}", report.failures);
    assert_eq!(report.jobs.len(), 2, "8h, and the newest window");
    assert_eq!(report.deleted.len(), 1);
    assert_eq!(report.cleaned.len(), 1);
    let shape = shape(&bucket).await;
    assert_eq!(
        shape.iter().map(|s| (s.0, s.1, s.2)).collect::<Vec<_>>(),
        [(0, 8, 3), (8, 10, 2)]
    );
    assert_eq!(content(&bucket, &["replica"]).await, before);
    let second = run_at(&bucket, settings(), 2, after_the_machine()).await;
    assert!(second.is_idle());
}

/// The union of both replicas, as one-to-one keeps it.
async fn content_of_pair(bucket: &Bucket) -> blocks::Content {
    let mut union = blocks::Content::new();
    for meta in live_metas(bucket).await {
        if meta.tsdb.min_time > START + 300 * HOUR {
            continue;
        }
        let mut labels = meta.thanos.labels.clone();
        labels.remove("replica");
        let stream = union.entry(format!("{labels:?}")).or_default();
        for (series, samples) in blocks::read(bucket, &meta).await {
            stream.entry(series).or_default().extend(samples);
        }
    }
    union
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_after_any_change_the_next_run_converges() {
    let now = after_the_machine();
    let whole = Arc::new(InMemory::new());
    let bucket = Bucket::from_store("whole", Arc::clone(&whole)).unwrap();
    eventful(&bucket).await;
    let start = whole.fork();
    let counted = DyingStore::new(Arc::clone(&whole), u64::MAX - 1);
    let counting = Bucket::from_store("whole", counted.clone()).unwrap();
    run_at(&counting, settings(), 1, now).await;
    let (expected, samples) = (shape(&bucket).await, content(&bucket, &["replica"]).await);
    let changes = counted.spent();
    assert!(changes > 20, "{changes}");

    for life in 0..=changes {
        let store = Arc::new(start.fork());
        let dying = DyingStore::new(Arc::clone(&store), life);
        let bucket = Bucket::from_store("dying", dying).unwrap();
        let scratch = tempfile::tempdir().unwrap();
        let clock = Arc::new(FixedClock::at(now));
        // It ends with failures, or with an error if it cannot even look.
        let _ = compactor(&bucket, settings(), 1, clock, scratch.path())
            .run()
            .await;
        bucket.settle().await;

        let bucket = Bucket::from_store("alive", Arc::clone(&store)).unwrap();
        // Names of the second run must not be those of the first.
        run_at(&bucket, settings(), 1, now + 1).await;
        assert_eq!(
            shape(&bucket).await,
            expected,
            "killed after {life} changes"
        );
        let now_there = content(&bucket, &["replica"]).await;
        assert!(now_there == samples, "killed after {life} changes");
        // What the dead run left behind goes once its time has come.
        let later = now + 100 * HOUR;
        run_at(&bucket, settings(), 1, later).await;
        run_at(&bucket, settings(), 1, later + 1).await;
        let folders = bucket.list_dirs("").await.unwrap();
        assert_eq!(folders.len(), expected.len(), "killed after {life} changes");
        assert!(content(&bucket, &["replica"]).await == samples);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn late_and_backfilled_blocks_are_merged_in() {
    let bucket = Bucket::memory().unwrap();
    for i in 0..9 {
        blocks::write(&bucket, &spec(1, i * 2, i * 2 + 2, "a")).await;
    }
    run_at(&bucket, settings(), 2, NOW).await;
    let ranges = |s: Vec<(i64, i64, u32, Vec<Ulid>)>| -> Vec<(i64, i64)> {
        s.into_iter().map(|s| (s.0, s.1)).collect()
    };
    assert_eq!(ranges(shape(&bucket).await), [(0, 8), (8, 16), (16, 18)]);
    // The other replica comes late, and somebody backfills an odd range.
    blocks::write(&bucket, &spec(2, 2, 4, "b")).await;
    blocks::write(&bucket, &spec(3, 7, 12, "b")).await;
    let mut expected = content_of_pair(&bucket).await;
    let report = run_at(&bucket, settings(), 2, NOW + 1).await;
    assert!(report.failures.is_empty(), "{:?}", report.failures);
    assert_eq!(ranges(shape(&bucket).await), [(0, 16), (16, 18)]);
    let after = content(&bucket, &["replica"]).await;
    assert_eq!(after, std::mem::take(&mut expected));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_block_of_a_stream_that_ended_is_left_as_upstream_leaves_it() {
    let bucket = Bucket::memory().unwrap();
    for i in 0..5 {
        blocks::write(&bucket, &spec(1, i * 2, i * 2 + 2, "a")).await;
    }
    // Months later.
    let now = NOW + 3000 * HOUR;
    run_at(&bucket, settings(), 2, now).await;
    let shape = shape(&bucket).await;
    let ranges: Vec<_> = shape.iter().map(|s| (s.0, s.1, s.2)).collect();
    assert_eq!(ranges, [(0, 8, 2), (8, 10, 1)]);
    assert!(run_at(&bucket, settings(), 2, now + 1).await.is_idle());
}

/// Somebody who takes a mark back between the look at the bucket and the
/// deletion: the planner asks for the time in between.
struct SecondThought {
    clock: FixedClock,
    bucket: Bucket,
    mark: String,
}

impl Clock for SecondThought {
    fn now_ms(&self) -> i64 {
        let (bucket, mark) = (self.bucket.clone(), self.mark.clone());
        tokio::task::block_in_place(|| {
            let delete = async move { bucket.delete(&mark).await.unwrap() };
            tokio::runtime::Handle::current().block_on(delete);
        });
        self.clock.now_ms()
    }

    fn new_ulid(&self) -> Ulid {
        self.clock.new_ulid()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mark_taken_back_in_the_last_moment_saves_the_block() {
    let bucket = Bucket::memory().unwrap();
    let block = spec(1, 0, 2, "a");
    blocks::write(&bucket, &block).await;
    let mark = format!("{}/deletion-mark.json", block.id);
    let old = (NOW - 60 * HOUR) / 1000;
    let json = format!(
        r#"{{"id":"{}","version":1,"deletion_time":{old}}}"#,
        block.id
    );
    bucket.put(&mark, json).await.unwrap();
    let clock = SecondThought {
        clock: FixedClock::at(NOW),
        bucket: bucket.clone(),
        mark,
    };
    let scratch = tempfile::tempdir().unwrap();
    let compactor = compactor(&bucket, settings(), 1, Arc::new(clock), scratch.path());
    let report = compactor.run().await.unwrap();
    assert!(report.is_idle());
    assert_eq!(live_metas(&bucket).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_marked_block_is_gone_and_an_unmarked_one_stays() {
    let bucket = Bucket::memory().unwrap();
    let block = spec(1, 0, 2, "a");
    blocks::write(&bucket, &block).await;
    let name = format!("{}/deletion-mark.json", block.id);
    let old = (NOW - 60 * HOUR) / 1000;
    let mark = format!(
        r#"{{"id":"{}","version":1,"deletion_time":{old}}}"#,
        block.id
    );
    bucket.put(&name, mark.clone()).await.unwrap();
    let report = run_at(&bucket, settings(), 1, NOW).await;
    assert_eq!(report.deleted, [block.id]);
    assert!(bucket.list("").await.unwrap().is_empty());

    blocks::write(&bucket, &block).await;
    let report = run_at(&bucket, settings(), 1, NOW).await;
    assert!(report.is_idle(), "without a mark it stays");
}

/// Another compactor: each time a job draws a name, it uploads what it made of
/// the same sources.
struct Rival {
    clock: FixedClock,
    bucket: Bucket,
    meta: std::sync::Mutex<Option<(String, Vec<u8>)>>,
}

impl Clock for Rival {
    fn now_ms(&self) -> i64 {
        self.clock.now_ms()
    }

    fn new_ulid(&self) -> Ulid {
        if let Some((name, json)) = self.meta.lock().unwrap().take() {
            let bucket = self.bucket.clone();
            tokio::task::block_in_place(|| {
                let put = async move { bucket.put(&name, json).await.unwrap() };
                tokio::runtime::Handle::current().block_on(put);
            });
        }
        self.clock.new_ulid()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_compactor_made_meanwhile_drops_the_job() {
    let bucket = Bucket::memory().unwrap();
    for i in 0..5 {
        blocks::write(&bucket, &spec(1, i * 2, i * 2 + 2, "a")).await;
    }
    let mut rival = live_metas(&bucket).await.remove(0);
    let id = Ulid::from_parts(NOW as u64, 77);
    rival.tsdb.ulid = id;
    rival.tsdb.compaction.sources = (0..4).map(|i| spec(1, i * 2, i * 2 + 2, "a").id).collect();
    rival.thanos.source = "compactor".into();
    let name = format!("{id}/meta.json");
    let clock = Rival {
        clock: FixedClock::at(NOW),
        bucket: bucket.clone(),
        meta: Some((name, rival.to_json().unwrap())).into(),
    };
    let scratch = tempfile::tempdir().unwrap();
    let compactor = compactor(&bucket, settings(), 1, Arc::new(clock), scratch.path());
    let report = compactor.run().await.unwrap();
    assert!(report.jobs.is_empty());
    let error = report.failures[0].error.chain();
    let words = format!("was made into block {id} by somebody else");
    assert!(error.contains(&words), "{error}");
    let folders = bucket.list_dirs("").await.unwrap();
    assert_eq!(folders.len(), 6, "nothing is left of the dropped job");
    let marks = bucket.list("").await.unwrap();
    let marks = marks.iter().filter(|o| o.name.contains("deletion-mark"));
    assert_eq!(marks.count(), 0, "no source is marked by it");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_damaged_block_costs_only_itself() {
    let bucket = Bucket::memory().unwrap();
    for i in 0..9 {
        blocks::write(&bucket, &spec(1, i * 2, i * 2 + 2, "a")).await;
    }
    // Of the right size, but not what was written.
    let bad = spec(1, 2, 4, "a").id;
    let name = format!("{bad}/chunks/000001");
    let mut body = bucket.get(&name).await.unwrap().unwrap().to_vec();
    body[100] ^= 1;
    bucket.put(&name, body).await.unwrap();
    let report = run_at(&bucket, settings(), 2, NOW).await;
    assert!(report.failures.is_empty(), "{:?}", report.failures);
    let quarantined: Vec<Ulid> = report.quarantined.iter().map(|q| q.block).collect();
    assert_eq!(quarantined, [bad]);
    assert!(report.is_partial());
    let shape = shape(&bucket).await;
    let ranges: Vec<_> = shape.iter().map(|s| (s.0, s.1)).collect();
    assert_eq!(ranges, [(0, 2), (2, 4), (4, 8), (8, 16), (16, 18)]);
}
