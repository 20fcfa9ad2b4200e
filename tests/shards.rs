//! Several processes, each with its shard of one bucket.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "test code")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use lithify::compact::cache::{MOST_BYTES, Places};
use lithify::compact::report::RunReport;
use lithify::compact::sync::Syncer;
use lithify::objstore::Bucket;
use lithify::plan::relabel::{Rule, Selector};
use lithify::plan::shard::Shard;
use lithify::plan::{self, Settings};
use lithify::runtime::clock::{Clock, SystemClock};
use support::files::{copy_dir, fixture};
use support::runs::{compactor, settings};
use ulid::Ulid;

/// Some days after the quick-start blocks were written, ms since the epoch.
const NOW_MS: i64 = 1_789_000_000_000;

fn quickstart() -> (tempfile::TempDir, Bucket) {
    let dir = tempfile::tempdir().unwrap();
    copy_dir(&fixture("quickstart"), dir.path());
    let bucket = Bucket::folder(dir.path()).unwrap();
    (dir, bucket)
}

fn shards(of: u32) -> Vec<Settings> {
    let shard = |index| Settings {
        shard: Shard::new(index, of),
        downsampling: true,
        ..settings()
    };
    (0..of).map(shard).collect()
}

/// The same with rules of the selector, as Thanos shards.
fn shards_by_rules(of: u64, labels: &[&str]) -> Vec<Settings> {
    let hash = Rule {
        action: "hashmod".to_owned(),
        source_labels: labels.iter().map(|l| (*l).to_owned()).collect(),
        modulus: of,
        target_label: "shard".to_owned(),
        ..Rule::default()
    };
    let keep = |index: u64| Rule {
        action: "keep".to_owned(),
        source_labels: vec!["shard".to_owned()],
        regex: index.to_string(),
        ..Rule::default()
    };
    let shard = |index| Settings {
        selector: Selector::new(&[hash.clone(), keep(index)]).unwrap(),
        downsampling: true,
        ..settings()
    };
    (0..of).map(shard).collect()
}

/// One process. Names of new blocks must differ between processes.
async fn process(bucket: &Bucket, settings: Settings) -> RunReport {
    struct Late(SystemClock);
    impl Clock for Late {
        fn now_ms(&self) -> i64 {
            NOW_MS
        }
        fn new_ulid(&self) -> Ulid {
            self.0.new_ulid()
        }
    }
    let scratch = tempfile::tempdir().unwrap();
    let clock = Arc::new(Late(SystemClock));
    let mut compactor = compactor(bucket, settings, 1, clock, scratch.path());
    // They share the bucket's copy.
    compactor.options.cache = Places {
        folder: None,
        bucket: true,
        most_bytes: MOST_BYTES,
    };
    let report = compactor.run().await.unwrap();
    assert!(report.failures.is_empty(), "{:?}", report.failures);
    report
}

/// Live blocks without their names: labels, resolution, range, sources, level,
/// and the sizes of their files.
async fn live(bucket: &Bucket) -> BTreeSet<String> {
    let view = Syncer::new(bucket.clone(), 8).sync().await.unwrap();
    let there = view.blocks.iter().filter(|b| b.deletion.is_none());
    let blocks: Vec<String> = there
        .map(|block| {
            let (tsdb, thanos) = (&block.meta.tsdb, &block.meta.thanos);
            let mut files: BTreeMap<&str, u64> = BTreeMap::new();
            files.extend(block.data_files().map(|f| (f.path.as_str(), f.size)));
            format!(
                "{:?} {} {}..{} {} {:?} {files:?}",
                thanos.labels,
                thanos.downsample.resolution,
                tsdb.min_time,
                tsdb.max_time,
                tsdb.compaction.level,
                tsdb.compaction.sources,
            )
        })
        .collect();
    let set: BTreeSet<String> = blocks.iter().cloned().collect();
    assert_eq!(set.len(), blocks.len(), "two live blocks of one kind");
    set
}

async fn whole() -> BTreeSet<String> {
    let (_dir, bucket) = quickstart();
    let settings = Settings {
        downsampling: true,
        ..settings()
    };
    process(&bucket, settings).await;
    live(&bucket).await
}

#[tokio::test(flavor = "multi_thread")]
async fn shards_one_after_the_other_and_at_once_leave_what_one_process_leaves() {
    let wanted = whole().await;
    let by_cluster = shards_by_rules(3, &["cluster"]);
    for all in [shards(3), by_cluster] {
        let (_dir, bucket) = quickstart();
        let mut busy = 0;
        for settings in all.clone() {
            let report = process(&bucket, settings).await;
            busy += usize::from(!report.jobs.is_empty());
        }
        assert!(busy > 1, "one shard did everything");
        assert_eq!(live(&bucket).await, wanted);
        for settings in all.clone() {
            assert!(process(&bucket, settings).await.is_idle());
        }

        let (_dir, bucket) = quickstart();
        let runs = all.into_iter().map(|settings| process(&bucket, settings));
        let reports = futures::future::join_all(runs).await;
        let jobs: Vec<usize> = reports.iter().map(|r| r.jobs.len()).collect();
        assert!(jobs.iter().filter(|n| **n > 0).count() > 1, "{jobs:?}");
        assert_eq!(live(&bucket).await, wanted);
    }
}

/// Every way to shard: each block in one shard, replicas together, and all
/// plans together are the plan of the whole.
#[tokio::test(flavor = "multi_thread")]
async fn shards_divide_the_fixtures() {
    let (_dir, bucket) = quickstart();
    let view = Syncer::new(bucket.clone(), 8).sync().await.unwrap();
    let jobs = |settings: &Settings| -> BTreeSet<(String, Vec<Ulid>)> {
        let plan = plan::plan(&view, settings, NOW_MS);
        let jobs = plan.jobs.iter();
        jobs.map(|j| (j.group.to_string(), j.source_ids()))
            .collect()
    };
    let whole = jobs(&Settings {
        downsampling: true,
        ..settings()
    });
    assert!(whole.len() > 4);
    let numbers = [1, 2, 3, 4, 5, 8, 13];
    let by_number = numbers.map(shards).into_iter();
    // Labels of replicas do not split a stream, whatever the rules say.
    let labels = [&["cluster"][..], &["cluster", "prometheus_replica"]];
    let by_rules = labels.into_iter().flat_map(|labels| {
        let of = numbers.map(u64::from);
        of.map(|of| shards_by_rules(of, labels))
    });
    for all in by_number.chain(by_rules) {
        let mut together = BTreeSet::new();
        for settings in &all {
            let plan = jobs(settings);
            let before = together.len();
            together.extend(plan.iter().cloned());
            assert_eq!(together.len(), before + plan.len(), "a job of two shards");
        }
        assert_eq!(together, whole);
        let mut homes: BTreeMap<_, BTreeSet<usize>> = BTreeMap::new();
        for block in &view.blocks {
            let has = |(_, s): &(usize, &Settings)| s.selects(block);
            let mut of_block = all.iter().enumerate().filter(has).map(|(i, _)| i);
            let home = of_block.next().expect("a shard");
            assert_eq!(of_block.next(), None, "a second shard");
            let mut stream = block.meta.thanos.labels.clone();
            stream.retain(|name, _| !all[0].replica_labels.contains(name));
            homes.entry(stream).or_default().insert(home);
        }
        assert!(
            homes.len() > 3 && homes.values().all(|h| h.len() == 1),
            "{homes:?}"
        );
    }
}
