//! A process that dies anywhere in a pass that makes three resolutions, or while
//! it takes them back: no source is ever marked that a complete raw block does
//! not stand in for, and the next run makes what is missing.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "test code")]

mod support;

use std::sync::Arc;

use lithify::objstore::Bucket;
use lithify::plan::Settings;
use lithify::runtime::clock::FixedClock;
use object_store::memory::InMemory;
use support::blocks::{self, BlockFiles, Spec, labels, live_metas, nothing_is_lost};
use support::dying::DyingStore;
use support::runs::{
    self, HOUR, NOW, START, after_the_machine, compactor, outlive, partials, replica_settings,
    run_at, run_leased,
};
use ulid::Ulid;

/// A block `[from, to)` in hours of one replica; scrapes of replica `b` are half a
/// minute later, and every fourth is the same in both.
fn spec(n: u64, from: i64, to: i64, replica: &str) -> Spec {
    let (first, last) = (START + from * HOUR, START + to * HOUR);
    let series = (0..3).map(|s| {
        let name = vec![
            ("__name__".to_owned(), "up".to_owned()),
            ("instance".to_owned(), format!("node-{s}")),
        ];
        let scrapes = (first..last).step_by(1_800_000);
        let samples = scrapes.map(|t| {
            let late = replica == "b" && t / 1_800_000 % 4 != 0;
            let v = (t / 60_000 % 1000) as f64 + f64::from(s);
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

/// Two replicas of 14 days in blocks of 2 days, and a window behind them that
/// shows the planner that they are past.
async fn fortnight(bucket: &Bucket) {
    for (n, replica) in [(1, "a"), (2, "b")] {
        for day in (0..14).step_by(2) {
            blocks::write(bucket, &spec(n, day * 24, (day + 2) * 24, replica)).await;
        }
        blocks::write(bucket, &spec(n, 14 * 24, 14 * 24 + 2, replica)).await;
    }
}

/// Resolutions of 14 days that can be seen, ms, the finest first.
async fn long(bucket: &Bucket) -> Vec<i64> {
    let metas = live_metas(bucket).await;
    let long = metas
        .iter()
        .filter(|m| m.tsdb.max_time - m.tsdb.min_time == 14 * 24 * HOUR);
    let mut resolutions: Vec<i64> = long.map(|m| m.thanos.downsample.resolution).collect();
    resolutions.sort_unstable();
    resolutions
}

/// A bucket with a fortnight, and what a run makes of it in one pass.
struct Fused {
    start: InMemory,
    expected: BlockFiles,
    /// Requests of the run that change the bucket.
    changes: u64,
    now: i64,
}

impl Fused {
    async fn new() -> Self {
        let now = after_the_machine();
        let whole = Arc::new(InMemory::new());
        let bucket = Bucket::from_store("whole", Arc::clone(&whole)).unwrap();
        fortnight(&bucket).await;
        let start = whole.fork();
        let counted = DyingStore::new(Arc::clone(&whole), u64::MAX - 1);
        let counting = Bucket::from_store("whole", counted.clone()).unwrap();
        let report = run_at(&counting, Self::settings(), 1, now).await;
        let mut made: Vec<usize> = report.jobs.iter().map(|j| j.results.len()).collect();
        made.sort_unstable();
        assert_eq!(made, [1, 3], "the last window, and 14 days in one pass");
        let expected = blocks::files(&bucket).await;
        let resolutions: Vec<i64> = expected.keys().map(|key| key.0).collect();
        assert_eq!(resolutions, [0, 0, 300_000, HOUR]);
        let changes = counted.spent();
        // Three files of each of four results, and a mark on each source.
        assert!(changes >= 4 * 3 + 16, "{changes}");
        Self {
            start,
            expected,
            changes,
            now,
        }
    }

    fn settings() -> Settings {
        Settings {
            downsampling: true,
            ..replica_settings()
        }
    }

    /// A run that dies after so many changes; before, a `meta.json` is refused,
    /// unless its number is 0. Returns the bucket and whether the run died.
    async fn dies(&self, life: u64, refused: u64) -> (Bucket, bool) {
        let store = Arc::new(self.start.fork());
        let dying = DyingStore::refusing(Arc::clone(&store), life, refused);
        let bucket = Bucket::from_store("dying", dying.clone()).unwrap();
        let scratch = tempfile::tempdir().unwrap();
        let clock = Arc::new(FixedClock::at(self.now));
        // It ends with failures, or with an error if it cannot even look.
        let _ = compactor(&bucket, Self::settings(), 1, clock, scratch.path())
            .run()
            .await;
        bucket.settle().await;
        let bucket = Bucket::from_store("alive", store).unwrap();
        (bucket, dying.spent() == life)
    }

    /// The next run ends where one does that nothing happens to, and what the
    /// dead one left behind goes once its time has come.
    async fn converges(&self, bucket: &Bucket, stage: &str) {
        nothing_is_lost(bucket, stage).await;
        // Names of the second run must not be those of the first.
        run_at(bucket, Self::settings(), 1, self.now + 1).await;
        nothing_is_lost(bucket, stage).await;
        assert!(blocks::files(bucket).await == self.expected, "{stage}");
        let later = self.now + 100 * HOUR;
        run_at(bucket, Self::settings(), 1, later).await;
        run_at(bucket, Self::settings(), 1, later + 1).await;
        let folders = bucket.list_dirs("").await.unwrap();
        assert_eq!(folders.len(), self.expected.len(), "{stage}");
        assert!(blocks::files(bucket).await == self.expected, "{stage}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_in_a_pass_over_three_resolutions_the_next_run_converges() {
    let fused = Fused::new().await;
    let mut left = [0; 4];
    for life in 0..=fused.changes {
        let stage = format!("killed after {life} changes");
        let (bucket, _) = fused.dies(life, 0).await;
        let there = long(&bucket).await;
        assert_eq!(there, [0, 300_000, HOUR][..there.len()], "{stage}");
        left[there.len()] += 1;
        fused.converges(&bucket, &stage).await;
    }
    // Between two of the three, too.
    assert!(left.iter().all(|times| *times > 0), "{left:?}");
}

/// What one of the three cannot be made visible for takes the others along; the
/// process may die while it removes them.
#[tokio::test(flavor = "multi_thread")]
async fn killed_while_it_takes_three_resolutions_back_the_next_run_converges() {
    let fused = Fused::new().await;
    let mut without_raw = 0;
    for refused in 1..=4 {
        for life in 0.. {
            let stage = format!("meta.json {refused} refused, killed after {life} changes");
            let (bucket, died) = fused.dies(life, refused).await;
            let there = long(&bucket).await;
            without_raw += u32::from(there.first().is_some_and(|finest| *finest != 0));
            fused.converges(&bucket, &stage).await;
            if !died {
                break;
            }
        }
    }
    // The raw one goes first; then 5m stands alone, beside all sources.
    assert!(without_raw > 0);
}

/// A run that dies holding the lease: the next one removes exactly what it was
/// making, at once. By its clock nothing is old enough to be cleaned up, and what
/// somebody else is uploading stays.
#[tokio::test(flavor = "multi_thread")]
async fn killed_with_the_lease_the_next_run_takes_back_what_it_was_making() {
    let fused = Fused {
        now: NOW,
        ..Fused::new().await
    };
    let foreign = [Ulid::from_parts(NOW as u64, 99).to_string()];
    let (mut taken_back, mut lives) = (0, 0);
    for life in 0.. {
        let stage = format!("killed with the lease after {life} changes");
        let store = Arc::new(fused.start.fork());
        let alive = Bucket::from_store("alive", Arc::clone(&store)).unwrap();
        let upload = format!("{}/chunks/000001", foreign[0]);
        alive.put(&upload, "half").await.unwrap();
        let dying = DyingStore::new(Arc::clone(&store), life);
        let bucket = Bucket::from_store("dying", dying.clone()).unwrap();
        let scratch = tempfile::tempdir().unwrap();
        let clock = Arc::new(FixedClock::at(NOW));
        let mut doomed = compactor(&bucket, Fused::settings(), 1, clock, scratch.path());
        doomed.options.lease = Some(runs::lease("dead"));
        let _ = doomed.run().await;
        bucket.settle().await;
        let died = dying.spent() == life;

        nothing_is_lost(&alive, &stage).await;
        outlive(&alive).await;
        let left = partials(&alive).await.len() - 1;
        let next = run_leased(&alive, Fused::settings(), "next", NOW + 1).await;
        nothing_is_lost(&alive, &stage).await;
        assert_eq!(next.cleaned.len(), left, "{stage}");
        taken_back += left;
        assert_eq!(partials(&alive).await, foreign, "{stage}");
        assert!(blocks::files(&alive).await == fused.expected, "{stage}");

        // The one after that finds nothing late, and the intents go.
        let last = run_leased(&alive, Fused::settings(), "last", NOW + 2).await;
        assert!(last.is_idle(), "{stage}: {last:?}");
        let intents = alive.list("lithify/intents").await.unwrap();
        assert!(intents.is_empty(), "{stage}: {intents:?}");
        lives += 1;
        if !died {
            break;
        }
    }
    assert!(lives > fused.changes, "{lives}");
    assert!(taken_back >= 10, "{taken_back}");
}
