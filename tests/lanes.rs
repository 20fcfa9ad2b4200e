//! Lanes do not wait for each other: whatever hangs or fails in one, the others
//! come to their end in the same run.
//!
//! Nothing here measures time; the one limit there is only ends a test that
//! would wait for ever.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "test code")]

mod support;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lithify::compact::Compactor;
use lithify::compact::report::{RunReport, Task};
use lithify::objstore::Bucket;
use lithify::plan::group::GroupKey;
use lithify::plan::{Job, JobKind, Lane, Lanes, Settings};
use lithify::runtime::clock::FixedClock;
use object_store::memory::InMemory;
use support::blocks::{self, Spec, labels, live_metas};
use support::runs::{HOUR, NOW, START, compactor, replica_settings};
use support::wedged::{Fault, Op, WedgedStore};
use ulid::Ulid;

/// A test that waits longer than that waits for ever.
const SAFETY: Duration = Duration::from_secs(60);

/// A block `[from, to)` in hours of the stream `cluster`.
fn spec(cluster: &str, from: i64, to: i64) -> Spec {
    let first = START + from * HOUR;
    let series = (0..3).map(|s| {
        let name = vec![
            ("__name__".to_owned(), "up".to_owned()),
            ("instance".to_owned(), format!("node-{s}")),
        ];
        let samples = (0..(to - from) * 60).map(|i| (first + i * 60_000, f64::from(s)));
        (name, samples.collect())
    });
    let n = u128::from(cluster.as_bytes()[0]);
    Spec {
        id: Ulid::from_parts(first as u64, n),
        labels: labels(&[("cluster", cluster)]),
        range: (first, START + to * HOUR),
        series: series.collect(),
    }
}

/// Objects have the time of the machine; two days later, uploads without
/// `meta.json` count as given up, those of the run itself included.
fn later() -> i64 {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    (now.as_millis() as i64).max(NOW) + 100 * HOUR
}

async fn mark(bucket: &Bucket, id: Ulid, marked_ms: i64) {
    let json = format!(
        r#"{{"id":"{id}","version":1,"deletion_time":{}}}"#,
        marked_ms / 1000
    );
    let name = format!("{id}/deletion-mark.json");
    bucket.put(&name, json).await.unwrap();
}

/// Streams `c` and `d` of which the second one is said to be downsampled.
const CLUSTERS: [&str; 2] = ["c", "d"];

fn lane_of(job: &Job) -> Lane {
    match job.labels.get("cluster").map(String::as_str) {
        Some("d") => Lane::Downsampling,
        _ => Lane::Compaction,
    }
}

/// Blocks of `windows` times 2 hours.
fn windows(cluster: &str, windows: i64) -> Vec<Spec> {
    let each = (0..windows).map(|i| spec(cluster, i * 2, i * 2 + 2));
    each.collect()
}

/// Work for every lane.
struct World {
    store: Arc<InMemory>,
    /// A marked block whose delay has passed.
    expired: Ulid,
    /// A block that another one has replaced.
    replaced: Ulid,
    /// An upload that was given up.
    abandoned: Ulid,
}

impl World {
    async fn new(count: i64) -> Self {
        let store = Arc::new(InMemory::new());
        let bucket = Bucket::from_store("world", Arc::clone(&store)).unwrap();
        for cluster in CLUSTERS {
            for one in windows(cluster, count) {
                blocks::write(&bucket, &one).await;
            }
        }
        let expired = spec("e", 400, 402);
        blocks::write(&bucket, &expired).await;
        mark(&bucket, expired.id, NOW - 60 * HOUR).await;
        let replaced = spec("r", 600, 602);
        blocks::write(&bucket, &replaced).await;
        let mut by = spec("r", 600, 608);
        by.id = Ulid::from_parts(by.range.0 as u64, 9_999);
        blocks::write(&bucket, &by).await;
        let name = format!("{}/meta.json", by.id);
        let metas = live_metas(&bucket).await;
        let mut meta = metas.into_iter().find(|m| m.id() == by.id).unwrap();
        meta.tsdb.compaction.sources = vec![replaced.id, Ulid::from_parts(1, 1)];
        bucket.put(&name, meta.to_json().unwrap()).await.unwrap();
        let abandoned = Ulid::from_parts((START + 800 * HOUR) as u64, 4);
        let half = format!("{abandoned}/chunks/000001");
        bucket.put(&half, "half").await.unwrap();
        Self {
            store,
            expired: expired.id,
            replaced: replaced.id,
            abandoned,
        }
    }

    /// So many objects beside the blocks that a job's last look lists its
    /// sources, and not everything at once.
    async fn crowd(&self) {
        let bucket = Bucket::from_store("world", Arc::clone(&self.store)).unwrap();
        for n in 0..6_000 {
            bucket.put(&format!("other/{n}"), "").await.unwrap();
        }
    }

    /// A world for a request that hangs or fails.
    async fn for_victim(count: i64, victim: &(Op, String)) -> Self {
        let world = Self::new(count).await;
        if victim.0 == Op::List {
            world.crowd().await;
        }
        world
    }

    /// Blocks that jobs have marked: windows, and blocks of 8h made of them.
    fn marks_of_jobs(&self, names: &BTreeSet<String>) -> usize {
        let others = [self.expired, self.replaced].map(|id| id.to_string());
        let marks = names.iter().filter(|n| n.ends_with("/deletion-mark.json"));
        let of_jobs = marks.filter(|n| !others.iter().any(|id| n.starts_with(id)));
        of_jobs.count()
    }

    /// Whether a kind of work is done.
    fn is_done(&self, work: Work, names: &BTreeSet<String>) -> bool {
        let marked = |id: Ulid| names.contains(&format!("{id}/deletion-mark.json"));
        let gone = |id: Ulid| !names.iter().any(|n| n.starts_with(&id.to_string()));
        match work {
            // The first four windows become one.
            Work::Compaction => windows("c", 4).iter().all(|s| marked(s.id)),
            Work::Downsampling => windows("d", 4).iter().all(|s| marked(s.id)),
            Work::Mark => marked(self.replaced),
            Work::Deletion => gone(self.expired),
            Work::Cleanup => gone(self.abandoned),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Work {
    Compaction,
    Downsampling,
    Mark,
    Deletion,
    Cleanup,
}

const ALL: [Work; 5] = [
    Work::Compaction,
    Work::Downsampling,
    Work::Mark,
    Work::Deletion,
    Work::Cleanup,
];

/// The request that hangs or fails in each kind of work.
fn victims(world: &World, work: Work) -> Vec<(Op, String)> {
    let (expired, replaced) = (world.expired, world.replaced);
    let abandoned = world.abandoned;
    match work {
        Work::Compaction => vec![
            (Op::Get, format!("{}/chunks/000001", spec("c", 2, 4).id)),
            (Op::Get, format!("{}/index", spec("c", 2, 4).id)),
            (Op::List, spec("c", 2, 4).id.to_string()),
        ],
        Work::Downsampling => vec![
            (Op::Get, format!("{}/chunks/000001", spec("d", 2, 4).id)),
            (Op::List, spec("d", 2, 4).id.to_string()),
        ],
        Work::Mark => vec![(Op::Put, format!("{replaced}/deletion-mark.json"))],
        Work::Deletion => vec![
            (Op::List, expired.to_string()),
            (Op::Delete, format!("{expired}/meta.json")),
            (Op::Delete, format!("{expired}/index")),
            (Op::Delete, format!("{expired}/deletion-mark.json")),
        ],
        Work::Cleanup => vec![
            (Op::List, abandoned.to_string()),
            (Op::Delete, format!("{abandoned}/chunks/000001")),
        ],
    }
}

/// One job of each kind at a time, so that one that hangs is all of its lane.
fn lanes_of_one(bucket: &Bucket, settings: Settings, scratch: &std::path::Path) -> Compactor {
    let clock = Arc::new(FixedClock::at(later()));
    let mut compactor = compactor(bucket, settings, 2, clock, scratch);
    compactor.options.concurrency = 1;
    compactor.options.downsample_concurrency = 1;
    compactor.options.lane_of = lane_of;
    compactor
}

fn with_victim(world: &World, fault: Fault, victim: (Op, String)) -> WedgedStore {
    let rule = move |op: Op, name: &str| (op == victim.0 && name == victim.1).then_some(fault);
    WedgedStore::new(Arc::clone(&world.store), rule)
}

/// Runs beside `until`, which has to be fulfilled although the run cannot end.
async fn run_until(compactor: &Compactor, until: impl Future<Output = ()>, what: &str) {
    tokio::select! {
        report = compactor.run() => panic!("{what}: the run ended: {:?}", report.unwrap().failures),
        done = tokio::time::timeout(SAFETY, until) => done.expect(what),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_hangs_in_one_lane_keeps_no_other_from_its_end() {
    for wedged in ALL {
        let world = World::new(5).await;
        for victim in victims(&world, wedged) {
            let world = World::for_victim(5, &victim).await;
            let what = format!("{wedged:?} hangs at {victim:?}");
            let store = with_victim(&world, Fault::Hang, victim);
            let bucket = Bucket::from_store("wedged", store.clone()).unwrap();
            let scratch = tempfile::tempdir().unwrap();
            let compactor = lanes_of_one(&bucket, replica_settings(), scratch.path());
            let others = |names: &BTreeSet<String>| {
                let mut others = ALL.into_iter().filter(|w| *w != wedged);
                others.all(|work| world.is_done(work, names))
            };
            run_until(&compactor, store.until(others), &what).await;
            assert!(!world.is_done(wedged, &store.names().await), "{what}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_in_one_lane_is_told_and_costs_nothing_else() {
    for failing in ALL {
        let world = World::new(5).await;
        for victim in victims(&world, failing) {
            let world = World::for_victim(5, &victim).await;
            let what = format!("{failing:?} fails at {victim:?}");
            let store = with_victim(&world, Fault::Deny, victim);
            let bucket = Bucket::from_store("failing", store.clone()).unwrap();
            let scratch = tempfile::tempdir().unwrap();
            let compactor = lanes_of_one(&bucket, replica_settings(), scratch.path());
            let report = compactor.run().await.unwrap();
            let names = store.names().await;
            for work in ALL {
                assert_eq!(
                    world.is_done(work, &names),
                    work != failing,
                    "{what}: {work:?}"
                );
            }
            assert_eq!(report.failures.len(), 1, "{what}: {:?}", report.failures);
            let failure = &report.failures[0];
            let task = match (&failure.task, failing) {
                (Task::Compaction { .. }, Work::Compaction | Work::Downsampling) => None,
                (task, Work::Mark) => Some((task.clone(), Task::Mark(world.replaced))),
                (task, Work::Deletion) => Some((task.clone(), Task::Deletion(world.expired))),
                (task, _) => Some((task.clone(), Task::Cleanup(world.abandoned))),
            };
            assert!(task.is_none_or(|(found, wanted)| found == wanted), "{what}");
            assert!(
                failure.error.chain().contains("permission denied"),
                "{what}"
            );
        }
    }
}

/// Here the lanes are those of the program: one block of 48 hours that is to be
/// downsampled and cannot be read, beside a stream with compactions.
#[tokio::test(flavor = "multi_thread")]
async fn a_downsampling_that_fails_is_told_as_one_and_costs_no_compaction() {
    let store = Arc::new(InMemory::new());
    let plain = Bucket::from_store("plain", Arc::clone(&store)).unwrap();
    let long = spec("d", 0, 48);
    blocks::write(&plain, &long).await;
    for one in windows("c", 5) {
        blocks::write(&plain, &one).await;
    }
    let settings = || Settings {
        downsampling: true,
        ..replica_settings()
    };
    let victim = format!("{}/chunks/000001", long.id);
    let denied = WedgedStore::new(Arc::clone(&store), move |op, name| {
        (op == Op::Get && name == victim).then_some(Fault::Deny)
    });
    let bucket = Bucket::from_store("failing", denied).unwrap();
    let scratch = tempfile::tempdir().unwrap();
    let mut compactor = lanes_of_one(&bucket, settings(), scratch.path());
    compactor.options.lane_of = Job::lane;
    let report = compactor.run().await.unwrap();
    let [failure] = &report.failures[..] else {
        panic!("{:?}", report.failures);
    };
    let task = Task::Downsampling {
        group: GroupKey::of(0, &long.labels),
        labels: long.labels.clone(),
        sources: vec![long.id],
    };
    assert_eq!(failure.task, task);
    assert_eq!(report.failed_jobs(), 1);
    assert_eq!(report.jobs.len(), 1, "the compaction beside it");
    assert_eq!(ranges(&plain, "c").await, [(0, 8), (8, 10)]);
    let json: serde_json::Value =
        serde_json::from_slice(&report.to_json(later()).unwrap()).unwrap();
    let told = &json["failures"][0];
    assert_eq!(told["task"], "downsampling");
    assert_eq!(told["blocks"], serde_json::json!([long.id.to_string()]));
    // Nothing keeps it from the next run.
    assert_eq!(ranges(&plain, "d").await, [(0, 48)]);
    let report = run(&plain, settings()).await;
    assert_eq!(report.jobs[0].kind, JobKind::Downsampling);
    assert_eq!(ranges(&plain, "d").await, [(0, 48), (0, 48)]);
}

/// Ranges of live blocks of a stream, in hours.
async fn ranges(bucket: &Bucket, cluster: &str) -> Vec<(i64, i64)> {
    let metas = live_metas(bucket).await.into_iter();
    let metas = metas.filter(|m| m.thanos.labels.get("cluster").is_some_and(|c| c == cluster));
    let hours = |ms: i64| (ms - START) / HOUR;
    let mut ranges: Vec<_> = metas
        .map(|m| (hours(m.tsdb.min_time), hours(m.tsdb.max_time)))
        .collect();
    ranges.sort_unstable();
    ranges
}

fn step_by_step() -> Settings {
    Settings {
        one_pass: false,
        ..replica_settings()
    }
}

/// 2h to 8h to 2d: the bucket has to be looked at again in between, while the
/// other lane is still at its first job.
#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_hangs_keeps_the_other_lane_from_no_step() {
    for wedged in CLUSTERS {
        let world = World::new(25).await;
        let victim = format!("{}/chunks/000001", spec(wedged, 2, 4).id);
        let store = with_victim(&world, Fault::Hang, (Op::Get, victim));
        let bucket = Bucket::from_store("wedged", store.clone()).unwrap();
        let scratch = tempfile::tempdir().unwrap();
        let compactor = lanes_of_one(&bucket, step_by_step(), scratch.path());
        let other = CLUSTERS.into_iter().find(|c| *c != wedged).unwrap();
        // Everything that went into the block of the first two days is marked.
        let done = |names: &BTreeSet<String>| world.marks_of_jobs(names) == 24 + 6;
        run_until(&compactor, store.until(done), wedged).await;
        let plain = Bucket::from_store("plain", Arc::clone(&world.store)).unwrap();
        assert_eq!(ranges(&plain, other).await, [(0, 48), (48, 50)]);
        assert_eq!(ranges(&plain, wedged).await.len(), 25);
    }
}

/// The run's own upload looks as old as one that was given up, and the plan
/// of a later look says so.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_running_job_uploads_is_not_cleaned_up() {
    let world = World::new(25).await;
    let first = AtomicBool::new(true);
    let store = WedgedStore::new(Arc::clone(&world.store), move |op, name| {
        let hit = op == Op::Put && name.ends_with("/index") && first.swap(false, Ordering::SeqCst);
        hit.then_some(Fault::Hang)
    });
    let bucket = Bucket::from_store("wedged", store.clone()).unwrap();
    let scratch = tempfile::tempdir().unwrap();
    let compactor = lanes_of_one(&bucket, step_by_step(), scratch.path());
    let stepped = |names: &BTreeSet<String>| {
        let removals = [Work::Deletion, Work::Cleanup];
        let removed = removals.iter().all(|work| world.is_done(*work, names));
        world.marks_of_jobs(names) == 24 + 6 && removed
    };
    run_until(&compactor, store.until(stepped), "an index that hangs").await;
    let names = store.names().await;
    let folders: BTreeSet<&str> = names.iter().map(|n| n.split('/').next().unwrap()).collect();
    let half = |folder: &&&str| !names.contains(&format!("{folder}/meta.json"));
    let left: Vec<_> = folders.iter().filter(half).collect();
    assert_eq!(left.len(), 1, "{left:?}");
    let segment = format!("{}/chunks/000001", left[0]);
    assert!(
        names.contains(&segment),
        "the segments that it has uploaded"
    );
}

async fn run(bucket: &Bucket, settings: Settings) -> RunReport {
    let scratch = tempfile::tempdir().unwrap();
    let compactor = lanes_of_one(bucket, settings, scratch.path());
    let report = compactor.run().await.unwrap();
    assert!(report.failures.is_empty(), "{:?}", report.failures);
    report
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_lanes_that_are_on_do_anything() {
    let of = |lane: Lane| match lane {
        Lane::Compaction => vec![Work::Compaction, Work::Downsampling],
        Lane::Downsampling => vec![],
        Lane::Deletion => vec![Work::Mark, Work::Deletion],
        Lane::Cleaning => vec![Work::Cleanup],
    };
    for lane in Lane::ALL {
        for lanes in [Lanes::only(&[lane]), Lanes::without(&[lane])] {
            let world = World::new(5).await;
            let bucket = Bucket::from_store("world", Arc::clone(&world.store)).unwrap();
            let settings = Settings {
                lanes,
                ..replica_settings()
            };
            let report = run(&bucket, settings).await;
            assert_eq!(report.lanes, lanes);
            let on = Lane::ALL.into_iter().filter(|lane| lanes.has(*lane));
            let expected: Vec<Work> = on.flat_map(of).collect();
            let names = bucket.list("").await.unwrap();
            let names: BTreeSet<String> = names.into_iter().map(|o| o.name).collect();
            for work in ALL {
                let done = world.is_done(work, &names);
                assert_eq!(done, expected.contains(&work), "{lanes}: {work:?}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_report_counts_the_requests_of_the_run() {
    let world = World::new(5).await;
    let bucket = Bucket::from_store("world", Arc::clone(&world.store)).unwrap();
    let before = bucket.counts();
    let report = run(&bucket, replica_settings()).await;
    assert_eq!(report.requests, bucket.counts().since(&before));
    assert!(report.requests.put.calls > 0 && report.requests.delete.calls > 0);
    let json: serde_json::Value =
        serde_json::from_slice(&report.to_json(later()).unwrap()).unwrap();
    let of = |kind: &str| json["requests"][kind]["calls"].as_u64();
    assert_eq!(of("put"), Some(report.requests.put.calls));
    assert_eq!(of("list"), Some(report.requests.list.calls));
    assert_eq!(json["lanes"].as_array().unwrap().len(), 4);
    assert_eq!(json["deletions_left"], 0);
}
