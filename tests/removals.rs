//! How much a run removes, with how few requests, and what one object that
//! cannot be removed costs.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "test code")]

mod support;

use std::sync::Arc;

use lithify::compact::report::{RunReport, Task};
use lithify::objstore::Bucket;
use lithify::plan::Settings;
use lithify::runtime::clock::FixedClock;
use object_store::ObjectStoreExt;
use object_store::memory::InMemory;
use support::rounds::{Asked, RoundStore};
use support::runs::{HOUR, NOW, START, compactor, replica_settings, run_at};
use ulid::Ulid;

/// Marked blocks of four objects each, the later the newer the mark.
async fn marked_blocks(store: &InMemory, count: u64) -> Vec<Ulid> {
    let ids: Vec<Ulid> = (0..count)
        .map(|i| Ulid::from_parts(START as u64 + i, u128::from(i)))
        .collect();
    for (i, id) in (0_i64..).zip(&ids) {
        let meta = format!(
            r#"{{"ulid":"{id}","minTime":{},"maxTime":{},"version":1,
                "compaction":{{"level":1,"sources":["{id}"]}},
                "thanos":{{"labels":{{"cluster":"c"}},"downsample":{{"resolution":0}}}}}}"#,
            START + i,
            START + i + 1
        );
        let marked_s = (NOW - 60 * HOUR) / 1000 + i;
        let mark = format!(r#"{{"id":"{id}","version":1,"deletion_time":{marked_s}}}"#);
        let bodies = [
            ("meta.json", meta),
            ("deletion-mark.json", mark),
            ("index", "x".to_owned()),
            ("chunks/000001", "x".to_owned()),
        ];
        for (file, body) in bodies {
            let name = object_store::path::Path::from(format!("{id}/{file}"));
            store.put(&name, body.into()).await.unwrap();
        }
    }
    ids
}

/// A run on a store that counts requests and rounds.
async fn run_in_rounds(store: &RoundStore) -> (RunReport, Asked) {
    let bucket = Bucket::from_store("rounds", store.clone()).unwrap();
    let scratch = tempfile::tempdir().unwrap();
    let clock = Arc::new(FixedClock::at(NOW));
    let mut compactor = compactor(&bucket, replica_settings(), 1, clock, scratch.path());
    compactor.options.fetch_concurrency = 1000;
    let report = tokio::select! {
        report = compactor.run() => report.unwrap(),
        () = store.serve() => unreachable!("it serves for ever"),
    };
    (report, store.asked())
}

/// One by one, each takes two requests to look at, and one per object: 60,000
/// requests one after the other within a block. At 20 ms each and with as many
/// blocks at a time as Thanos takes, 32, that were 1,900 rounds.
#[tokio::test]
async fn ten_thousand_blocks_go_with_few_requests_in_few_rounds() {
    let inner = Arc::new(InMemory::new());
    let ids = marked_blocks(&inner, 10_000).await;
    let store = RoundStore::new(Arc::clone(&inner), None);
    let (report, asked) = run_in_rounds(&store).await;
    assert!(report.failures.is_empty(), "{:?}", report.failures);
    assert_eq!(report.deleted.len(), ids.len());
    let bucket = Bucket::from_store("plain", inner).unwrap();
    assert!(bucket.list("").await.unwrap().is_empty());
    // One look at each folder, and three requests for each 250 of them.
    assert_eq!(asked.lists, 10_000);
    assert_eq!(asked.deletes, 3 * 10_000 / 250);
    assert_eq!(asked.most, 2 * 250);
    assert!(asked.rounds < 400, "{asked:?}");
}

#[tokio::test]
async fn one_object_that_cannot_be_deleted_costs_its_own_block_only() {
    for file in ["meta.json", "index", "deletion-mark.json"] {
        let inner = Arc::new(InMemory::new());
        let ids = marked_blocks(&inner, 600).await;
        let victim = ids[300];
        let denied = format!("{victim}/{file}");
        let store = RoundStore::new(Arc::clone(&inner), Some(denied.clone()));
        let (report, _) = run_in_rounds(&store).await;
        assert_eq!(report.deleted.len(), 599, "{file}");
        assert!(!report.deleted.contains(&victim));
        let failed: Vec<&Task> = report.failures.iter().map(|f| &f.task).collect();
        assert_eq!(failed, [&Task::Deletion(victim)], "{file}");
        let told = report.failures[0].error.chain();
        assert!(
            told.contains(&denied) && told.contains("permission"),
            "{told}"
        );
        let bucket = Bucket::from_store("plain", inner).unwrap();
        let left = bucket.list("").await.unwrap();
        let left: Vec<String> = left.into_iter().map(|o| o.name).collect();
        assert!(left.iter().all(|n| n.starts_with(&victim.to_string())));
        let mark = format!("{victim}/deletion-mark.json");
        assert!(left.contains(&mark), "its mark stays: {left:?}");
        // What comes after what failed is not touched.
        assert_eq!(
            left.len(),
            [("meta.json", 4), ("index", 2)]
                .iter()
                .find(|(f, _)| *f == file)
                .map_or(1, |(_, n)| *n)
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_blocks_are_removed_in_one_run_than_allowed() {
    let inner = Arc::new(InMemory::new());
    let ids = marked_blocks(&inner, 40).await;
    let bucket = Bucket::from_store("limited", Arc::clone(&inner)).unwrap();
    let settings = || Settings {
        max_deletions: Some(12),
        ..replica_settings()
    };
    for (run_number, (removed, left)) in [(12, 28), (12, 16), (12, 4), (4, 0)]
        .into_iter()
        .enumerate()
    {
        let report = run_at(&bucket, settings(), 1, NOW).await;
        let mut found = report.deleted.clone();
        found.sort_unstable();
        // The oldest marks first.
        let from = run_number * 12;
        assert_eq!(found, ids[from..from + removed]);
        assert_eq!(report.deletions_left, left);
    }
    assert!(run_at(&bucket, settings(), 1, NOW).await.is_idle());
}
