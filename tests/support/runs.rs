//! Runs of the compactor for tests.

use std::sync::Arc;

use lithify::compact::cache::Places;
use lithify::compact::quarantine::DEFAULT_MAX_BLOCKS;
use lithify::compact::report::RunReport;
use lithify::compact::{Compactor, Options, lease};
use lithify::objstore::Bucket;
use lithify::plan::Settings;
use lithify::runtime::clock::{Clock, FixedClock};
use lithify::runtime::pool;

/// One hour, ms.
pub const HOUR: i64 = 3_600_000;
/// A multiple of 14 days, ms since the epoch.
pub const START: i64 = 1_209_600_000 * 1400;
/// Long after all blocks that begin around [`START`], ms since the epoch.
pub const NOW: i64 = START + 2000 * HOUR;

/// Overlaps are merged, replicas told apart by the label `replica`; nothing is
/// downsampled.
pub fn replica_settings() -> Settings {
    Settings {
        replica_labels: vec!["replica".into()],
        vertical: true,
        downsampling: false,
        ..Settings::default()
    }
}

/// Replica labels of the quick-start bucket.
pub const REPLICA_LABELS: [&str; 2] = ["prometheus_replica", "receive_replica"];

/// Overlaps are merged, replicas told apart by the labels of the quick start;
/// nothing is downsampled.
pub fn settings() -> Settings {
    Settings {
        replica_labels: REPLICA_LABELS.map(str::to_owned).to_vec(),
        vertical: true,
        downsampling: false,
        ..Settings::default()
    }
}

/// A compactor on a clock of its own; `scratch` must live as long.
pub fn compactor(
    bucket: &Bucket,
    settings: Settings,
    threads: usize,
    clock: Arc<dyn Clock>,
    scratch: &std::path::Path,
) -> Compactor {
    Compactor {
        bucket: bucket.clone(),
        clock,
        pool: pool::cpu_pool(threads).unwrap(),
        options: Options {
            plan: settings,
            concurrency: threads,
            downsample_concurrency: threads,
            fetch_concurrency: 8,
            scratch: scratch.to_owned(),
            merge: lithify::merge::merge,
            lane_of: lithify::plan::Job::lane,
            max_quarantined: DEFAULT_MAX_BLOCKS,
            lease: None,
            cache: Places::default(),
        },
    }
}

/// A lease on the whole bucket, for the run of that name.
pub fn lease(who: &str) -> lease::Settings {
    lease::Settings {
        part: lease::Part::Whole,
        holder: lease::Holder {
            host: format!("host-of-{who}"),
            boot: None,
            pid: 1,
            token: who.to_owned(),
        },
        duration: lease::DURATION,
        wait: std::time::Duration::ZERO,
        optional: false,
    }
}

/// Lets the lease of a dead run be one that has to be watched for a moment only.
pub async fn outlive(bucket: &Bucket) {
    let name = format!("{}/whole.json", lease::LEASES);
    let Some(body) = bucket.get(&name).await.unwrap() else {
        return;
    };
    let mut record: serde_json::Value = serde_json::from_slice(&body).unwrap();
    record["duration_ms"] = 10.into();
    bucket.put(&name, record.to_string()).await.unwrap();
}

/// Folders of blocks that have no `meta.json`.
pub async fn partials(bucket: &Bucket) -> Vec<String> {
    let objects = bucket.list("").await.unwrap();
    let has = |name: &str| objects.iter().any(|o| o.name == name);
    let folders = bucket.list_dirs("").await.unwrap();
    let folders = folders.into_iter().filter(|f| f.len() == 26);
    folders
        .filter(|f| !has(&format!("{f}/meta.json")))
        .collect()
}

/// One run with a lease at a fixed time, ms since the epoch.
pub async fn run_leased(bucket: &Bucket, settings: Settings, who: &str, now_ms: i64) -> RunReport {
    let scratch = tempfile::tempdir().unwrap();
    let clock = Arc::new(FixedClock::at(now_ms));
    let mut compactor = compactor(bucket, settings, 1, clock, scratch.path());
    compactor.options.lease = Some(lease::Settings {
        wait: std::time::Duration::from_secs(3600),
        ..lease(who)
    });
    compactor.run().await.unwrap()
}

/// One run at a fixed time (ms since the epoch); nothing may stay in scratch.
pub async fn run_at(bucket: &Bucket, settings: Settings, threads: usize, now_ms: i64) -> RunReport {
    let scratch = tempfile::tempdir().unwrap();
    let clock = Arc::new(FixedClock::at(now_ms));
    let compactor = compactor(bucket, settings, threads, clock, scratch.path());
    let report = compactor.run().await.unwrap();
    let left = std::fs::read_dir(scratch.path()).unwrap().count();
    assert_eq!(left, 0, "scratch is empty after a run");
    report
}

/// Objects of the store have the time of the machine, so that "now" has to be
/// later than that for the clean-up.
pub fn after_the_machine() -> i64 {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    (now.as_millis() as i64).max(NOW) + 100 * HOUR
}
