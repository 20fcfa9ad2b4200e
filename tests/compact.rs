//! Whole runs over real blocks, in folders and on the embedded S3 server.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "test code")]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use lithify::compact::report::RunReport;
use lithify::objstore::Bucket;
use lithify::plan::Settings;
use lithify::runtime::clock::{Clock, FixedClock};
use support::files::{copy_dir, copy_edge_stream, copy_twice, fixture};
use support::runs::{compactor, run_at, settings};
use support::s3_server::S3Server;

/// Some days after the quick-start blocks were written, ms since the epoch.
const NOW_MS: i64 = 1_789_000_000_000;

/// The quick-start bucket in a folder of its own.
fn quickstart() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    copy_dir(&fixture("quickstart"), dir.path());
    dir
}

async fn compact_with(bucket: &Bucket, settings: Settings, threads: usize) -> RunReport {
    run_at(bucket, settings, threads, NOW_MS).await
}

async fn compact(bucket: &Bucket) -> RunReport {
    compact_with(bucket, settings(), 2).await
}

/// Everything but the names of live blocks, by labels and range.
async fn live(bucket: &Bucket) -> BTreeMap<String, Vec<Vec<u8>>> {
    let names: Vec<String> = bucket
        .list("")
        .await
        .unwrap()
        .into_iter()
        .map(|o| o.name)
        .collect();
    let mut live = BTreeMap::new();
    for name in names.iter().filter(|n| n.ends_with("/meta.json")) {
        let id = name.trim_end_matches("/meta.json");
        if names.contains(&format!("{id}/deletion-mark.json")) {
            continue;
        }
        let meta = bucket.get(name).await.unwrap().unwrap();
        let meta: serde_json::Value = serde_json::from_slice(&meta).unwrap();
        let key = format!(
            "{} {}..{} {}",
            meta["thanos"]["labels"],
            meta["minTime"],
            meta["maxTime"],
            meta["compaction"]["sources"]
        );
        let mut content = vec![meta["stats"].to_string().into_bytes()];
        for file in ["index", "chunks/000001"] {
            content.push(
                bucket
                    .get(&format!("{id}/{file}"))
                    .await
                    .unwrap()
                    .unwrap()
                    .to_vec(),
            );
        }
        assert!(
            live.insert(key, content).is_none(),
            "two live blocks of one kind"
        );
    }
    live
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_run_finds_nothing_and_writes_nothing() {
    let dir = quickstart();
    let bucket = Bucket::folder(dir.path()).unwrap();
    let first = compact(&bucket).await;
    assert!(first.failures.is_empty() && !first.is_partial());
    assert!(first.jobs.len() > 30);
    assert!(first.ledger().balances());
    assert!(
        first.ledger().deduplicated > 100_000,
        "the receiver's copies are gone"
    );
    let before = live(&bucket).await;

    // A handle of its own counts only what the second run asks for.
    let again = Bucket::folder(dir.path()).unwrap();
    let second = compact(&again).await;
    assert!(second.is_idle());
    assert_eq!(again.counts().writes(), 0);
    assert_eq!(live(&bucket).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn results_do_not_depend_on_threads_or_on_the_store() {
    let (one, many) = (quickstart(), quickstart());
    let (one, many) = (
        Bucket::folder(one.path()).map(|b| (b, one)),
        Bucket::folder(many.path()).map(|b| (b, many)),
    );
    let ((one, _one), (many, _many)) = (one.unwrap(), many.unwrap());
    compact_with(&one, settings(), 1).await;
    compact_with(&many, settings(), 4).await;
    let expected = live(&one).await;
    assert!(
        live(&many).await == expected,
        "thread count changes the result"
    );

    let server = S3Server::start().await;
    let remote = server.bucket("blocks").await;
    let source = Bucket::folder(fixture("quickstart")).unwrap();
    for object in source.list("").await.unwrap() {
        let body = source.get(&object.name).await.unwrap().unwrap();
        remote.put(&object.name, body).await.unwrap();
    }
    compact(&remote).await;
    assert!(live(&remote).await == expected, "S3 and folder differ");
}

#[tokio::test(flavor = "multi_thread")]
async fn sources_left_unmarked_by_a_crash_are_marked_by_the_next_run() {
    let dir = quickstart();
    let bucket = Bucket::folder(dir.path()).unwrap();
    compact(&bucket).await;
    let before = live(&bucket).await;
    // As if the process had died between the upload and the marks.
    let marks: Vec<String> = bucket
        .list("")
        .await
        .unwrap()
        .into_iter()
        .map(|o| o.name)
        .filter(|n| n.ends_with("/deletion-mark.json"))
        .collect();
    bucket.delete_many(&marks, 4).await.unwrap();

    let report = compact(&bucket).await;
    assert!(report.jobs.is_empty(), "nothing is merged twice");
    assert_eq!(report.garbage.len(), marks.len());
    assert_eq!(live(&bucket).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_encoding_of_today_and_tomorrow_is_compacted() {
    for entry in fs::read_dir(fixture("encodings")).unwrap() {
        let entry = entry.unwrap().path();
        let name = entry.file_name().unwrap().to_str().unwrap().to_owned();
        let dir = tempfile::tempdir().unwrap();
        copy_twice(&name, dir.path());
        let bucket = Bucket::folder(dir.path()).unwrap();
        let report = compact(&bucket).await;
        assert!(
            report.failures.is_empty(),
            "{}: {:?}",
            entry.display(),
            report.failures
        );
        assert_eq!(report.jobs.len(), 1, "{}", entry.display());
        let ledger = report.ledger();
        assert_eq!(
            ledger.read,
            2 * ledger.written,
            "{name}: copies are dropped"
        );
        // What store gateways cannot read yet is written as what they can.
        let new = name.starts_with(['4', '5', '6']);
        assert_eq!(ledger.chunks_passed == 0, new, "{name}");
        assert_eq!(ledger.chunks_encoded == 0, !new, "{name}");
    }
}

/// Another compactor at work: each time a job draws a name, it marks a block.
struct MeddlingClock {
    clock: FixedClock,
    victim: PathBuf,
}

impl Clock for MeddlingClock {
    fn now_ms(&self) -> i64 {
        self.clock.now_ms()
    }

    fn new_ulid(&self) -> ulid::Ulid {
        let id = self.victim.file_name().unwrap().to_str().unwrap();
        let now_s = NOW_MS / 1000;
        let mark = format!(r#"{{"id":"{id}","version":1,"deletion_time":{now_s}}}"#);
        fs::write(self.victim.join("deletion-mark.json"), mark).unwrap();
        self.clock.new_ulid()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_marked_during_the_merge_drops_the_job() {
    let dir = tempfile::tempdir().unwrap();
    let blocks = copy_edge_stream("cluster-02", dir.path());
    let path = |i: usize| dir.path().join(&blocks[i]);
    let bucket = Bucket::folder(dir.path()).unwrap();
    let scratch = tempfile::tempdir().unwrap();
    let clock = Arc::new(MeddlingClock {
        clock: FixedClock::at(NOW_MS),
        victim: path(1),
    });
    let compactor = compactor(&bucket, settings(), 1, clock, scratch.path());
    let report = compactor.run().await.unwrap();
    assert_eq!(report.failures.len(), 1);
    let victim = ulid::Ulid::from_string(&blocks[1]).unwrap();
    assert!(report.jobs.iter().all(|j| !j.sources.contains(&victim)));
    let error = report.failures[0].error.chain();
    assert!(
        error.contains(&blocks[1]) && error.contains("was marked"),
        "{error}"
    );
    let left = fs::read_dir(dir.path()).unwrap().count();
    let expected = blocks.len() + report.jobs.len();
    assert_eq!(left, expected, "nothing is left of the dropped job");
    assert!(
        !path(0).join("deletion-mark.json").exists(),
        "no other source is marked"
    );
}
