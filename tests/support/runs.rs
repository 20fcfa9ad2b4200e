//! Runs of the compactor for tests.

use std::sync::Arc;

use lithify::compact::cache::Places;
use lithify::compact::quarantine::DEFAULT_MAX_BLOCKS;
use lithify::compact::report::RunReport;
use lithify::compact::{Compactor, Options};
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
            cache: Places::default(),
        },
    }
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
