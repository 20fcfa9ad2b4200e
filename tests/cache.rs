//! Few requests: processes that begin where the last one ended, and what the
//! binary leaves for the next one. The cache itself has its tests beside it.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "test code")]

mod support;

use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;

use assert_cmd::cargo::cargo_bin;
use lithify::compact::cache::{MOST_BYTES, OBJECT, Places};
use lithify::compact::report::RunReport;
use lithify::objstore::{Bucket, Counts};
use lithify::plan::Settings;
use lithify::runtime::clock::FixedClock;
use object_store::memory::InMemory;
use serde_json::Value;
use support::files::{copy_dir, fixture};
use support::runs::{NOW, REPLICA_LABELS, START, compactor, replica_settings, settings};
use support::s3_server::S3Server;
use support::wedged::{Fault, Op, WedgedStore};
use ulid::Ulid;

fn places(disk: Option<&Path>) -> Places {
    Places {
        folder: disk.map(|disk| disk.join("meta-cache")),
        bucket: true,
        most_bytes: MOST_BYTES,
    }
}

/// One process, from its first look to its end.
async fn process(
    bucket: &Bucket,
    settings: Settings,
    now_ms: i64,
    disk: Option<&Path>,
) -> (RunReport, Counts) {
    let scratch = tempfile::tempdir().unwrap();
    let clock = Arc::new(FixedClock::at(now_ms));
    let mut compactor = compactor(bucket, settings, 2, clock, scratch.path());
    compactor.options.cache = places(disk);
    let before = bucket.counts();
    let report = compactor.run().await.unwrap();
    (report, bucket.counts().since(&before))
}

/// Blocks of 2 hours of as many streams, so that there is nothing to do.
async fn fill(bucket: &Bucket, blocks: u64) {
    for n in 0..blocks {
        let id = Ulid::from_parts(START as u64 + n, u128::from(n));
        let meta = format!(
            r#"{{"ulid":"{id}","minTime":{START},"maxTime":{},"version":1,
                "compaction":{{"level":1,"sources":["{id}"]}},
                "thanos":{{"labels":{{"cluster":"c{n}"}},"downsample":{{"resolution":0}},
                "source":"sidecar","upload_time":"2020-01-01T00:00:00Z"}}}}"#,
            START + 7_200_000
        );
        for (file, body) in [("index", "x"), ("chunks/000001", "x"), ("meta.json", &meta)] {
            let name = format!("{id}/{file}");
            bucket.put(&name, body.to_owned()).await.unwrap();
        }
    }
}

/// 10,000 blocks of 3 objects, and the cache.
#[tokio::test(flavor = "multi_thread")]
async fn a_steady_sync_of_ten_thousand_blocks_is_listings_only() {
    let bucket = Bucket::memory().unwrap();
    fill(&bucket, 10_000).await;
    let disk = tempfile::tempdir().unwrap();
    let asked = async |disk: Option<&Path>| {
        let (report, counts) = process(&bucket, replica_settings(), NOW, disk).await;
        assert!(report.is_idle() && report.blocks_seen == 10_000);
        assert_eq!(counts.get_range.calls + counts.head.calls, 0);
        (counts.list.calls, counts.get.calls, counts.writes())
    };
    assert_eq!(asked(Some(disk.path())).await, (30, 10_000, 1), "cold");
    assert_eq!(asked(Some(disk.path())).await, (31, 0, 0), "disk");
    assert_eq!(asked(None).await, (31, 1, 0), "empty disk");
    let empty = tempfile::tempdir().unwrap();
    assert_eq!(asked(Some(empty.path())).await, (31, 1, 0), "empty disk");
    assert_eq!(asked(Some(empty.path())).await, (31, 0, 0), "filled again");
    let bytes = bucket.get(OBJECT).await.unwrap().unwrap().len();
    assert!(bytes < 5 << 20, "{bytes} bytes for 10,000 blocks");
}

/// With the ETags and times of a real server.
#[tokio::test(flavor = "multi_thread")]
async fn a_steady_sync_on_s3_is_listings_only() {
    let server = S3Server::start().await;
    let bucket = server.bucket("steady").await;
    fill(&bucket, 120).await;
    let disk = tempfile::tempdir().unwrap();
    let asked = async |disk: Option<&Path>| {
        let (report, counts) = process(&bucket, replica_settings(), NOW, disk).await;
        assert!(report.is_idle());
        (counts.get.calls, counts.writes())
    };
    assert_eq!(asked(Some(disk.path())).await, (120, 1), "cold");
    assert_eq!(asked(Some(disk.path())).await, (0, 0), "disk");
    assert_eq!(asked(None).await, (1, 0), "empty disk");
}

/// A run changes most of a bucket; the next process reads none of it again.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_leaves_what_it_wrote_to_the_next_one() {
    const NOW_MS: i64 = 1_789_000_000_000;
    let dir = tempfile::tempdir().unwrap();
    copy_dir(&fixture("quickstart"), dir.path());
    let bucket = Bucket::folder(dir.path()).unwrap();
    let disk = tempfile::tempdir().unwrap();
    let (report, counts) = process(&bucket, settings(), NOW_MS, Some(disk.path())).await;
    assert!(report.jobs.len() > 4 && report.failures.is_empty());
    let cached = bucket.head(OBJECT).await.unwrap().unwrap();
    assert!(counts.get.calls > 200 && cached.size > 100_000);
    for disk in [Some(disk.path()), None] {
        let (report, counts) = process(&bucket, settings(), NOW_MS, disk).await;
        assert!(report.is_idle());
        assert_eq!(counts.get.calls, u64::from(disk.is_none()));
        assert_eq!(counts.writes(), 0);
    }
}

/// CA-3: neither a cache that cannot be read nor one that cannot be written
/// costs more than the requests that it would have spared.
#[tokio::test(flavor = "multi_thread")]
async fn a_cache_that_is_denied_is_no_failure() {
    let store = Arc::new(InMemory::new());
    let plain = Bucket::from_store("plain", Arc::clone(&store)).unwrap();
    fill(&plain, 30).await;
    let denied = |denied: Op| {
        let rule =
            move |op: Op, name: &str| (op == denied && name == OBJECT).then_some(Fault::Deny);
        Bucket::from_store("denied", WedgedStore::new(Arc::clone(&store), rule)).unwrap()
    };
    let disk = tempfile::tempdir().unwrap();
    let run = async |bucket: &Bucket, disk: Option<&Path>| {
        let (report, counts) = process(bucket, replica_settings(), NOW, disk).await;
        assert!(report.is_idle() && report.failures.is_empty());
        (counts.get.calls, counts.put.calls)
    };
    let put = denied(Op::Put);
    assert_eq!(run(&put, Some(disk.path())).await, (30, 1));
    assert_eq!(plain.get(OBJECT).await.unwrap(), None);
    // The copy on disk is there all the same, and the other one tried again.
    assert_eq!(run(&put, Some(disk.path())).await, (0, 1));
    assert_eq!(run(&plain, None).await, (30, 1));
    assert_eq!(run(&denied(Op::Get), None).await, (31, 1));
    assert_eq!(run(&plain, None).await, (1, 0));
}

/// The binary on the quick-start bucket.
struct World(tempfile::TempDir);

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        copy_dir(&fixture("quickstart"), &dir.path().join("bucket"));
        Self(dir)
    }

    fn run(&self, disk: &str, flags: &[&str]) -> Output {
        let at = |name: &str| self.0.path().join(name).display().to_string();
        let config = format!("type: FILESYSTEM\nconfig: {{directory: {}}}", at("bucket"));
        let mut command = Command::new(cargo_bin("lithify"));
        command.args(["compact", "--log.level=debug", "--consistency-delay=0s"]);
        command.arg(format!("--objstore.config={config}"));
        command.arg(format!("--data-dir={}", at(disk)));
        let replicas = REPLICA_LABELS.map(|l| format!("--deduplication.replica-label={l}"));
        command.args(replicas).args(flags).output().unwrap()
    }

    fn has(&self, name: &str) -> bool {
        self.0.path().join(name).exists()
    }

    /// GETs of a run, as its report has them.
    fn gets(&self, disk: &str) -> u64 {
        let output = self.run(disk, &["--report=-"]);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        let requests = &report["buckets"][0]["report"]["requests"];
        requests["get"]["calls"].as_u64().unwrap()
    }
}

#[test]
fn the_binary_keeps_caches_and_a_dry_run_none() {
    let world = World::new();
    let requests = |disk: &str| -> Value {
        let output = world.run(disk, &["--dry-run=json"]);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let plan: Value = serde_json::from_slice(&output.stdout).unwrap();
        plan["totals"]["requests_for"].clone()
    };
    let cold = requests("a");
    assert_eq!(cold["cache"]["put"], 2, "{cold}");
    assert_eq!(cold["start"]["list"], 1);
    assert_eq!(cold["report"]["put"], 1);
    assert!(cold["looks"]["get"].as_u64().unwrap() > 217, "{cold}");
    assert!(!world.has("a/meta-cache") && !world.has("bucket/lithify"));
    assert!(world.gets("a") >= 217);
    assert!(world.has("a/meta-cache") && world.has("bucket/lithify/cache/metas"));
    // What the dry run says is what the run then takes.
    for (disk, gets) in [("a", 0), ("b", 1)] {
        let steady = requests(disk);
        let told = steady["looks"]["get"].as_u64().unwrap();
        assert_eq!(told, gets, "{disk}: {steady}");
        assert!(steady["cache"].is_null() && steady["report"].is_null());
        // The lease of the run before is read.
        assert_eq!(steady["lease"]["get"], 1, "{steady}");
        assert_eq!(world.gets(disk), gets + 1, "{disk}");
    }
}
