//! Whole runs on a store that fails now and then, or always in one way: what
//! lives at the end is what lives after a run without faults, and nothing is
//! ever marked that is not replaced.
//!
//! `LITHIFY_FAULT_SEEDS` sets how many seeds are tried.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "test code")]

mod support;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use lithify::compact::report::RunReport;
use lithify::objstore::{Bucket, Counts, Patience};
use lithify::plan::Settings;
use lithify::runtime::clock::FixedClock;
use object_store::memory::InMemory;
use support::blocks::{self, BlockFiles, Spec, labels};
use support::faulty::{ALL_OPS, Faults, FaultyStore, Op};
use support::runs::{HOUR, START, after_the_machine, compactor, replica_settings, run_at};
use ulid::Ulid;

/// One failure in ten, of whichever kind.
const TEN_PERCENT: Faults = Faults {
    before: 0.04,
    after: 0.04,
    cut: 0.02,
    slow: 0.1,
    bursts: 0.002,
    stale: 0.0,
    only: None,
};

/// Short pauses, for tests.
fn patience() -> Patience {
    Patience {
        pause: Duration::from_micros(200),
        longest_pause: Duration::from_millis(3),
        // Refusals are few here: what they do to the rate has its own tests.
        least_rate: 1e5,
        ..Patience::default()
    }
}

/// A block `[from, to)` in hours of one replica; scrapes of replica `b` are half a
/// minute later, and every fourth is the same in both.
fn spec(n: u64, from: i64, to: i64, replica: &str) -> Spec {
    let (first, last) = (START + from * HOUR, START + to * HOUR);
    let series = (0..3).map(|s| {
        let name = vec![
            ("__name__".to_owned(), "up".to_owned()),
            ("instance".to_owned(), format!("node-{s}")),
        ];
        let scrapes = (first..last).step_by(1_200_000);
        let samples = scrapes.map(|t| {
            let late = replica == "b" && t / 1_200_000 % 4 != 0;
            let v = ((t / 60_000) as f64).sin() + f64::from(s);
            (t + if late { 30_000 } else { 0 }, v)
        });
        (name, samples.collect())
    });
    Spec {
        id: Ulid::from_parts(first as u64 + n, u128::from(n)),
        labels: labels(&[("cluster", "c"), ("replica", replica)]),
        range: (first, last),
        series: series.collect(),
    }
}

/// A bucket with something to do for every lane, and how it ends.
struct Scene {
    start: InMemory,
    expected: BlockFiles,
    now: i64,
    /// Blocks and folders that a run removes.
    removed: BTreeSet<Ulid>,
}

impl Scene {
    async fn new() -> Self {
        let now = after_the_machine();
        let start = Arc::new(InMemory::new());
        let bucket = Bucket::from_store("start", Arc::clone(&start)).unwrap();
        for (n, replica) in [(1, "a"), (2, "b")] {
            for day in (0..14).step_by(2) {
                blocks::write(&bucket, &spec(n, day * 24, (day + 2) * 24, replica)).await;
            }
            // Shows the planner that the fortnight is over.
            blocks::write(&bucket, &spec(n, 14 * 24, 14 * 24 + 2, replica)).await;
        }
        let mut removed = BTreeSet::new();
        for n in 10..13 {
            // Marked long ago.
            let marked = spec(n, 20 * 24, 20 * 24 + 2, "a");
            blocks::write(&bucket, &marked).await;
            let mark = format!(
                r#"{{"id":"{}","version":1,"deletion_time":{}}}"#,
                marked.id,
                (START + 30 * 24 * HOUR) / 1000
            );
            let name = format!("{}/deletion-mark.json", marked.id);
            bucket.put(&name, mark).await.unwrap();
            removed.insert(marked.id);
            // Given up long ago.
            let half = Ulid::from_parts(START as u64 + n, 7);
            bucket.put(&format!("{half}/index"), "x").await.unwrap();
            removed.insert(half);
        }
        let start = start.fork();
        let whole = Arc::new(start.fork());
        let bucket = Bucket::from_store("whole", whole).unwrap();
        let report = run_at(&bucket, Self::settings(), 2, now).await;
        assert!(report.failures.is_empty(), "{:?}", report.failures);
        assert_eq!(report.jobs.len(), 2);
        let expected = blocks::files(&bucket).await;
        let resolutions: Vec<i64> = expected.keys().map(|key| key.0).collect();
        assert_eq!(resolutions, [0, 0, 300_000, HOUR]);
        let gone: BTreeSet<Ulid> = [&report.deleted[..], &report.cleaned]
            .concat()
            .into_iter()
            .collect();
        assert_eq!(gone, removed);
        Self {
            start,
            expected,
            now,
            removed,
        }
    }

    /// Uploads go in parts of 2 KiB, so that there are several of each file.
    fn settings() -> Settings {
        let mut settings = Settings {
            downsampling: true,
            ..replica_settings()
        };
        settings.machine.part_bytes = 2 << 10;
        settings.machine.least_part_bytes = 2 << 10;
        settings
    }

    /// One run on a store with faults. Returns its report, what was asked, and
    /// the store as it stands then.
    async fn run(
        &self,
        seed: u64,
        faults: Faults,
        patience: Patience,
    ) -> (lithify::error::Result<RunReport>, Counts, Arc<InMemory>) {
        let store = Arc::new(self.start.fork());
        let faulty = FaultyStore::new(Arc::clone(&store), seed, faults);
        let bucket = Bucket::from_store_patiently("faulty", faulty, patience).unwrap();
        let scratch = tempfile::tempdir().unwrap();
        let clock = Arc::new(FixedClock::at(self.now));
        let compactor = compactor(&bucket, Self::settings(), 2, clock, scratch.path());
        let report = compactor.run().await;
        bucket.settle().await;
        (report, bucket.counts(), store)
    }

    /// The next run, without faults, ends as a run does that never had any.
    /// It is at `later_ms`, or names would be those of another run.
    async fn converges(&self, store: Arc<InMemory>, later_ms: i64, stage: &str) {
        let bucket = Bucket::from_store("alive", store).unwrap();
        nothing_is_lost(&bucket, stage).await;
        let now = self.now + later_ms;
        let report = run_at(&bucket, Self::settings(), 2, now).await;
        assert!(report.failures.is_empty(), "{stage}: {:?}", report.failures);
        nothing_is_lost(&bucket, stage).await;
        assert!(blocks::files(&bucket).await == self.expected, "{stage}");
    }
}

/// What must hold at any time; what lies past the fortnight was marked when the
/// test began.
async fn nothing_is_lost(bucket: &Bucket, stage: &str) {
    let range = START as u64 + 20 * 24 * HOUR as u64;
    let since = |block: Ulid| block.timestamp_ms() < range;
    blocks::nothing_is_lost_of(bucket, stage, since).await;
}

fn seeds(usual: u64) -> u64 {
    let given = std::env::var("LITHIFY_FAULT_SEEDS").ok();
    given.map_or(usual, |text| text.parse().expect("a number of seeds"))
}

#[tokio::test(flavor = "multi_thread")]
async fn with_one_failure_in_ten_every_run_ends_as_one_without() {
    let scene = Scene::new().await;
    let (mut repeated, mut throttled, mut requests) = (0, 0, 0);
    for seed in 0..seeds(32) {
        let stage = format!("seed {seed}");
        let (report, counts, store) = scene.run(seed, TEN_PERCENT, patience()).await;
        let report = report.unwrap();
        assert!(report.failures.is_empty(), "{stage}: {:?}", report.failures);
        assert!(!report.is_partial(), "{stage}");
        assert!(report.ledger().balances(), "{stage}");
        let gone = [&report.deleted[..], &report.cleaned].concat();
        assert_eq!(gone.into_iter().collect::<BTreeSet<_>>(), scene.removed);
        let bucket = Bucket::from_store("alive", store).unwrap();
        nothing_is_lost(&bucket, &stage).await;
        assert!(blocks::files(&bucket).await == scene.expected, "{stage}");
        repeated += counts.repeated;
        throttled += counts.throttled;
        requests += counts.reads() + counts.writes();
        let asked = counts.reads() + counts.writes();
        assert!(
            counts.repeated <= asked / 5,
            "{stage}: {} of {asked}",
            counts.repeated
        );
        assert_eq!(report.requests.repeated, counts.repeated, "{stage}");
        assert!(counts.put_part.calls > 20, "{stage}: uploads in parts");
    }
    // The faults were there.
    assert!(repeated * 20 > requests, "{repeated} of {requests}");
    assert!(throttled > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_one_kind_of_request_always_fails_nothing_is_lost() {
    let scene = Scene::new().await;
    let impatient = Patience {
        retries: 2,
        budget: 300,
        ..patience()
    };
    for only in ALL_OPS {
        for (before, after) in [(1.0, 0.0), (0.0, 1.0)] {
            let stage = format!("{only:?} before {before} after {after}");
            let faults = Faults {
                before,
                after,
                only: Some(only),
                ..Faults::default()
            };
            let (report, _, store) = scene.run(7, faults, impatient).await;
            let told: Vec<String> = match &report {
                Err(error) => vec![error.chain()],
                Ok(report) => report.failures.iter().map(|f| f.error.chain()).collect(),
            };
            // An abort follows only another failure. An end whose answer is
            // lost each time is found out by a look at the object.
            let fails = match only {
                Op::Abort => false,
                Op::End => before > 0.0,
                _ => true,
            };
            assert_eq!(!told.is_empty(), fails, "{stage}: {told:?}");
            for text in &told {
                assert!(text.contains("bucket faulty"), "{stage}: {text}");
            }
            let tried = told.iter().any(|text| text.contains("tried 3 times in"));
            assert_eq!(tried, fails, "{stage}: {told:?}");
            scene.converges(store, 1, &stage).await;
        }
    }
}

/// A store promises today that a listing shows what was written before. Where
/// one does not, a run may leave work undone or do it twice, but loses nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_listing_that_is_behind_loses_nothing() {
    let scene = Scene::new().await;
    let faults = Faults {
        stale: 0.4,
        before: 0.02,
        after: 0.02,
        ..Faults::default()
    };
    for seed in 0..seeds(24) {
        let stage = format!("seed {seed}");
        let (_, _, store) = scene.run(seed, faults, patience()).await;
        let bucket = Bucket::from_store("alive", Arc::clone(&store)).unwrap();
        nothing_is_lost(&bucket, &stage).await;
        run_at(&bucket, Scene::settings(), 2, scene.now + 1).await;
        scene.converges(store, 2, &stage).await;
    }
}
