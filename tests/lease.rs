//! One writer: of two at once one works; who sleeps past his lease changes nothing
//! when he wakes; no clock can make a living holder look dead.
//!
//! Time is tokio's own, which stands still while there is work and jumps when
//! there is none. A process that is stopped is a thread with a runtime of its own
//! that does not come back from a call.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "test code")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use lithify::compact::lease::{self, Held, Holder, LEASES, Part, Record, acquire};
use lithify::error::{Error, Kind};
use lithify::objstore::{self, Bucket};
use lithify::runtime::clock::{Clock, FixedClock};
use support::blocks::{self, Spec, content, labels, live_metas};
use support::runs::{self, NOW, START, partials, replica_settings, run_leased};
use support::s3_server::S3Server;
use support::tricks::TrickStore;
use tokio::time::Instant;
use ulid::Ulid;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DURATION: Duration = Duration::from_secs(300);
const HOUR_MS: i64 = 3_600_000;

/// A wall clock that can be set.
struct Wall(AtomicI64);

impl Clock for Wall {
    fn now_ms(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }

    fn new_ulid(&self) -> Ulid {
        unreachable!("a lease needs no names of blocks")
    }
}

fn wall() -> Arc<Wall> {
    Arc::new(Wall(AtomicI64::new(1_700_000_000_000)))
}

fn clock() -> Arc<dyn Clock> {
    wall()
}

fn settings(who: &str, part: Part, wait: Duration) -> lease::Settings {
    lease::Settings {
        part,
        holder: Holder {
            host: format!("host-of-{who}"),
            boot: None,
            pid: 1,
            token: who.to_owned(),
        },
        duration: DURATION,
        wait,
        optional: false,
    }
}

fn whole(who: &str) -> lease::Settings {
    settings(who, Part::Whole, Duration::ZERO)
}

async fn take(bucket: &Bucket, settings: lease::Settings) -> lithify::error::Result<Held> {
    acquire(bucket, &clock(), &settings).await
}

async fn record(bucket: &Bucket, part: &str) -> Record {
    let name = format!("{LEASES}/{part}.json");
    serde_json::from_slice(&bucket.get(&name).await.unwrap().unwrap()).unwrap()
}

fn bucket(store: &TrickStore) -> Bucket {
    Bucket::from_store("tricky", store.clone()).unwrap()
}

#[track_caller]
fn assert_locked(result: lithify::error::Result<Held>, by: &str) {
    let error = result.unwrap_err();
    assert_eq!(error.kind(), Kind::Locked, "{}", error.chain());
    assert!(error.chain().contains(by), "{}", error.chain());
    assert!(error.cure().is_some());
}

async fn nothing() -> objstore::Result<()> {
    Ok(())
}

/// Of two at once the second is told who is at work; once that one has ended, it
/// need not wait.
async fn two_at_once(bucket: &Bucket) {
    let first = take(bucket, whole("first")).await.unwrap();
    let taken = record(bucket, "whole").await;
    assert_eq!(taken.epoch, 1);
    assert_locked(take(bucket, whole("second")).await, "host-of-first");
    assert_eq!(record(bucket, "whole").await, taken, "nothing was touched");
    assert_eq!(lease::held(bucket).await.unwrap(), [taken]);
    first.lease().check().await.unwrap();
    first.release().await;
    assert_eq!(lease::held(bucket).await.unwrap(), []);

    let second = take(bucket, whole("second")).await.unwrap();
    let taken = record(bucket, "whole").await;
    assert_eq!(taken.epoch, 2);
    assert_eq!(taken.holder.unwrap().token, "second");
    second.release().await;
}

#[tokio::test]
async fn of_two_at_once_one_works_in_memory() {
    two_at_once(&Bucket::memory().unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_at_once_one_works_in_a_folder() {
    let dir = tempfile::tempdir().unwrap();
    two_at_once(&Bucket::folder(dir.path()).unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_at_once_one_works_on_s3() {
    let server = S3Server::start().await;
    two_at_once(&server.bucket("leases").await).await;
}

/// Ten that want it at the same moment: one has it, each time.
#[tokio::test(flavor = "multi_thread")]
async fn of_ten_at_once_one_works() {
    let dir = tempfile::tempdir().unwrap();
    let buckets = [
        Bucket::memory().unwrap(),
        Bucket::folder(dir.path()).unwrap(),
    ];
    for bucket in &buckets {
        for round in 0..3 {
            let tries = (0..10).map(|n| {
                let (bucket, who) = (bucket.clone(), format!("{round}-{n}"));
                tokio::spawn(async move { take(&bucket, whole(&who)).await })
            });
            let ends: Vec<_> = futures::future::join_all(tries).await;
            let mut held: Vec<Held> = ends.into_iter().filter_map(|e| e.unwrap().ok()).collect();
            assert_eq!(held.len(), 1, "{bucket:?}");
            held.remove(0).release().await;
        }
    }
}

/// On one machine a lock tells that the holder is gone, so nobody has to wait.
#[tokio::test(start_paused = true)]
async fn in_a_folder_a_dead_process_of_this_machine_is_known_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let bucket = Bucket::folder(dir.path()).unwrap();
    let here = |who: &str| lease::Settings {
        holder: Holder {
            token: who.to_owned(),
            ..Holder::here(&lithify::runtime::clock::SystemClock)
        },
        ..whole("")
    };
    drop(take(&bucket, here("dead")).await.unwrap());
    let start = Instant::now();
    let next = take(&bucket, here("next")).await.unwrap();
    assert!(start.elapsed() < MINUTE, "{:?}", start.elapsed());
    assert_eq!(record(&bucket, "whole").await.epoch, 2);
    next.release().await;
}

#[tokio::test(start_paused = true)]
async fn a_dead_holder_is_watched_for_its_whole_duration() {
    let bucket = Bucket::memory().unwrap();
    drop(take(&bucket, whole("dead")).await.unwrap());
    assert_locked(take(&bucket, whole("hasty")).await, "host-of-dead");
    let start = Instant::now();
    let patient = settings("patient", Part::Whole, HOUR);
    let held = take(&bucket, patient).await.unwrap();
    let waited = start.elapsed();
    assert!(waited >= DURATION && waited < 2 * DURATION, "{waited:?}");
    assert_eq!(record(&bucket, "whole").await.epoch, 2);
    held.release().await;
}

#[tokio::test(start_paused = true)]
async fn a_living_holder_is_waited_for_and_never_taken_over() {
    let bucket = Bucket::memory().unwrap();
    let first = take(&bucket, whole("first")).await.unwrap();
    let start = Instant::now();
    let second = settings("second", Part::Whole, 3 * HOUR);
    assert_locked(take(&bucket, second.clone()).await, "host-of-first");
    assert!(start.elapsed() >= 3 * HOUR);
    assert!(!first.lease().is_lost());
    // One heartbeat in a third of the duration, and no more.
    let beats = record(&bucket, "whole").await.heartbeat;
    assert!((100..=110).contains(&beats), "{beats}");

    let (end, third) = tokio::join!(
        async {
            tokio::time::sleep(MINUTE).await;
            first.release().await;
            Instant::now()
        },
        take(&bucket, second)
    );
    third.unwrap().release().await;
    assert!(end.elapsed() < MINUTE, "{:?}", end.elapsed());
}

/// A holder whose store does not answer gives up before anybody takes over.
#[tokio::test(start_paused = true)]
async fn a_holder_that_cannot_renew_gives_up_first() {
    let store = TrickStore::new();
    let (here, there) = (bucket(&store), bucket(&store.other()));
    let first = take(&here, whole("first")).await.unwrap();
    store.set(|tricks| tricks.down = true);
    let lost = async {
        first.lease().lost().await;
        Instant::now()
    };
    let patient = settings("second", Part::Whole, HOUR);
    let (lost, second) = tokio::join!(lost, take(&there, patient));
    let second = second.unwrap();
    assert!(
        lost.elapsed() > Duration::from_secs(20),
        "{:?}",
        lost.elapsed()
    );
    store.set(|tricks| tricks.down = false);
    let lease = first.lease();
    assert_eq!(lease.check().await.unwrap_err().kind(), Kind::Locked);
    let put = lease.within(here.put("late", "late")).await;
    assert_eq!(put.unwrap_err().kind(), Kind::Locked);
    assert!(there.head("late").await.unwrap().is_none());
    // Giving back what one has not does nothing.
    first.release().await;
    second.lease().check().await.unwrap();
    second.release().await;
}

/// An outage that is shorter than the lease costs nothing.
#[tokio::test(start_paused = true)]
async fn a_short_outage_is_survived() {
    let store = TrickStore::new();
    let here = bucket(&store);
    let held = take(&here, whole("first")).await.unwrap();
    for _ in 0..5 {
        store.set(|tricks| tricks.down = true);
        tokio::time::sleep(Duration::from_secs(150)).await;
        store.set(|tricks| tricks.down = false);
        tokio::time::sleep(Duration::from_secs(250)).await;
        held.lease().check().await.unwrap();
    }
    held.release().await;
}

/// A process that is stopped: its thread does not come back until told, and finds
/// that time has passed.
struct Stopped {
    reached: tokio::sync::oneshot::Receiver<()>,
    go: std::sync::mpsc::Sender<()>,
    thread: std::thread::JoinHandle<Result<(), Error>>,
}

impl Stopped {
    /// Takes the lease and is stopped for `asleep` in the middle of something that
    /// only the holder may do: before its last step, which writes `late`.
    fn start(store: TrickStore, asleep: Duration, before: bool) -> Self {
        let (tell, reached) = tokio::sync::oneshot::channel();
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .start_paused(true)
                .build()
                .unwrap();
            runtime.block_on(async {
                let bucket = bucket(&store);
                let held = take(&bucket, whole("sleeper")).await.unwrap();
                let stop = async {
                    tell.send(()).unwrap();
                    wait.recv().unwrap();
                    tokio::time::advance(asleep).await;
                };
                if before {
                    stop.await;
                    held.lease().within(bucket.put("late", "late")).await
                } else {
                    let act = async {
                        stop.await;
                        bucket.put("late", "late").await
                    };
                    held.lease().within(act).await
                }
            })
        });
        Self {
            reached,
            go,
            thread,
        }
    }

    async fn wakes(self) -> Result<(), Error> {
        self.go.send(()).unwrap();
        let thread = self.thread;
        tokio::task::spawn_blocking(move || thread.join().unwrap())
            .await
            .unwrap()
    }
}

#[tokio::test(start_paused = true)]
async fn who_sleeps_past_his_lease_changes_nothing_when_he_wakes() {
    for before in [true, false] {
        let store = TrickStore::new();
        let mut sleeper = Stopped::start(store.other(), 2 * DURATION, before);
        (&mut sleeper.reached).await.unwrap();
        let bucket = bucket(&store);
        let next = take(&bucket, settings("next", Part::Whole, HOUR)).await;
        let next = next.unwrap();
        let late = sleeper.wakes().await.unwrap_err();
        assert_eq!(late.kind(), Kind::Locked, "{}", late.chain());
        assert!(bucket.head("late").await.unwrap().is_none());
        next.lease().check().await.unwrap();
        next.release().await;
    }
}

#[tokio::test(start_paused = true)]
async fn who_was_missed_by_nobody_goes_on() {
    let store = TrickStore::new();
    let mut sleeper = Stopped::start(store.other(), 2 * DURATION, true);
    (&mut sleeper.reached).await.unwrap();
    sleeper.wakes().await.unwrap();
    let bucket = bucket(&store);
    assert!(bucket.head("late").await.unwrap().is_some());
    assert_eq!(record(&bucket, "whole").await.epoch, 1);
}

#[tokio::test(start_paused = true)]
async fn a_holder_whose_wall_clock_jumps_asks_the_bucket_and_goes_on() {
    let store = TrickStore::new();
    let bucket = bucket(&store);
    let wall = wall();
    let clock: Arc<dyn Clock> = Arc::<Wall>::clone(&wall);
    let held = acquire(&bucket, &clock, &whole("first")).await.unwrap();
    let lease = held.lease();
    for jump in [HOUR_MS, -2 * HOUR_MS, 3 * HOUR_MS] {
        let before = store.puts().len();
        wall.0.fetch_add(jump, Ordering::SeqCst);
        for _ in 0..3 {
            lease.within(nothing()).await.unwrap();
        }
        assert_eq!(store.puts().len(), before + 1, "asked once");
    }
    assert_locked(take(&bucket, whole("second")).await, "host-of-first");
    held.release().await;
}

/// Neither an hour on our own clock nor one on the store's makes a living holder
/// look dead, or keeps a dead one alive for longer than a watch.
#[tokio::test(start_paused = true)]
async fn clocks_of_others_decide_nothing() {
    for ahead_ms in [HOUR_MS, -HOUR_MS] {
        let store = TrickStore::new();
        let bucket = bucket(&store);
        let first = take(&bucket, whole("first")).await.unwrap();
        store.set(|tricks| tricks.ahead_ms = ahead_ms);
        let wall = wall();
        wall.0.fetch_add(-ahead_ms, Ordering::SeqCst);
        let clock: Arc<dyn Clock> = wall;
        let second = acquire(&bucket, &clock, &whole("second")).await;
        assert_locked(second, "host-of-first");
        first.lease().check().await.unwrap();
        drop(first);
        let start = Instant::now();
        let third = settings("third", Part::Whole, HOUR);
        let third = acquire(&bucket, &clock, &third).await.unwrap();
        assert!(start.elapsed() < 2 * DURATION, "{:?}", start.elapsed());
        third.release().await;
    }
}

/// By the store's clock nobody has heard of the holder for seven hours: that many
/// no clock was ever wrong.
#[tokio::test(start_paused = true)]
async fn a_lease_of_yesterday_is_nobodys() {
    let store = TrickStore::new();
    let bucket = bucket(&store);
    drop(take(&bucket, whole("first")).await.unwrap());
    store.set(|tricks| tricks.ahead_ms = 7 * HOUR_MS);
    let start = Instant::now();
    take(&bucket, whole("second"))
        .await
        .unwrap()
        .release()
        .await;
    assert!(start.elapsed() < MINUTE, "{:?}", start.elapsed());
}

/// Silent for longer than it may be, by the store: that is no proof, but worth a
/// watch, so that a run which is begun again after a crash needs no flag.
#[tokio::test(start_paused = true)]
async fn a_silent_holder_is_watched_without_being_asked_to_wait() {
    let store = TrickStore::new();
    let bucket = bucket(&store);
    drop(take(&bucket, whole("first")).await.unwrap());
    store.set(|tricks| tricks.ahead_ms = HOUR_MS / 2);
    let start = Instant::now();
    take(&bucket, whole("second"))
        .await
        .unwrap()
        .release()
        .await;
    let waited = start.elapsed();
    assert!(waited >= DURATION && waited < 2 * DURATION, "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_ignores_conditions_is_refused() {
    let tricks: [fn(&mut support::tricks::Tricks); 3] = [
        |t| t.ignore_absent = true,
        |t| t.ignore_match = true,
        |t| (t.ignore_absent, t.ignore_match) = (true, true),
    ];
    for trick in tricks {
        for optional in [false, true] {
            let store = TrickStore::new();
            store.set(trick);
            let bucket = bucket(&store);
            let settings = lease::Settings {
                optional,
                ..whole("first")
            };
            let error = take(&bucket, settings).await.unwrap_err();
            assert_eq!(error.kind(), Kind::Config, "{}", error.chain());
            assert!(error.chain().contains("ignores"), "{}", error.chain());
            assert!(error.cure().unwrap().contains("--lease=off"));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_without_conditions_does_without_a_lease_if_it_may() {
    let store = TrickStore::new();
    store.set(|tricks| tricks.refuse = true);
    let bucket = bucket(&store);
    let optional = lease::Settings {
        optional: true,
        ..whole("first")
    };
    let held = take(&bucket, optional).await.unwrap();
    assert!(!held.lease().is_some());
    held.lease().within(nothing()).await.unwrap();
    held.release().await;
    let error = take(&bucket, whole("first")).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Config, "{}", error.chain());
    assert!(error.cure().unwrap().contains("--lease=off"));
}

#[tokio::test(start_paused = true)]
async fn lost_answers_are_found_out() {
    let store = TrickStore::new();
    let bucket = bucket(&store);
    // Of the create, and of the request that sees it.
    store.set(|tricks| tricks.lose = 1);
    let held = take(&bucket, whole("first")).await.unwrap();
    let lease = held.lease();
    // Of renewals.
    for lose in [1, 2, 3] {
        store.set(|tricks| tricks.lose = lose);
        tokio::time::sleep(2 * DURATION).await;
        lease.check().await.unwrap();
    }
    // Of giving it back, and of taking one that was given back.
    store.set(|tricks| tricks.lose = 1);
    held.release().await;
    assert!(record(&bucket, "whole").await.holder.is_none());
    store.set(|tricks| tricks.lose = 1);
    let held = take(&bucket, whole("second")).await.unwrap();
    held.lease().check().await.unwrap();
    held.release().await;
}

#[tokio::test(start_paused = true)]
async fn overlapping_parts_keep_each_other_off() {
    let bucket = Bucket::memory().unwrap();
    let shard = |index, of| {
        settings(
            &format!("{index}of{of}"),
            Part::Shard { index, of },
            Duration::ZERO,
        )
    };
    let a = take(&bucket, shard(0, 2)).await.unwrap();
    let b = take(&bucket, shard(1, 2)).await.unwrap();
    assert_locked(take(&bucket, whole("whole")).await, "host-of-");
    assert_locked(take(&bucket, shard(1, 3)).await, "host-of-");
    assert!(
        record(&bucket, "whole").await.holder.is_none(),
        "given back"
    );
    a.release().await;
    assert_locked(take(&bucket, whole("whole")).await, "host-of-1of2");
    // One that is dead, or sleeps, loses its own.
    let asleep = b.lease();
    drop(b);
    let all = settings("whole", Part::Whole, HOUR);
    let all = take(&bucket, all).await.unwrap();
    assert_eq!(asleep.check().await.unwrap_err().kind(), Kind::Locked);
    assert_locked(take(&bucket, shard(0, 2)).await, "host-of-whole");
    all.release().await;
    take(&bucket, shard(0, 2)).await.unwrap().release().await;
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_cannot_be_read_is_watched() {
    let bucket = Bucket::memory().unwrap();
    for garbage in ["", "{}", "[1]", r#"{"version":99,"holder":null}"#] {
        bucket
            .put(&format!("{LEASES}/whole.json"), garbage)
            .await
            .unwrap();
        assert_locked(take(&bucket, whole("first")).await, "unknown");
        let start = Instant::now();
        let patient = settings("first", Part::Whole, HOUR);
        take(&bucket, patient).await.unwrap().release().await;
        assert!(start.elapsed() >= DURATION, "{garbage}");
    }
    let huge = vec![b' '; 1 << 20];
    bucket
        .put(&format!("{LEASES}/whole.json"), huge)
        .await
        .unwrap();
    assert!(take(&bucket, whole("first")).await.is_err());
}

/// A block of one hour of a replica.
fn spec(n: u64, hour: i64) -> Spec {
    let (first, last) = (START + hour * HOUR_MS, START + (hour + 2) * HOUR_MS);
    let series = (0..3).map(|s| {
        let name = vec![
            ("__name__".to_owned(), "up".to_owned()),
            ("instance".to_owned(), format!("node-{s}")),
        ];
        let samples = (first..last).step_by(60_000);
        (
            name,
            samples
                .map(|t| (t, (t / 60_000 % 1000 + s) as f64))
                .collect(),
        )
    });
    Spec {
        id: Ulid::from_parts(first as u64 + n, u128::from(n)),
        labels: labels(&[("cluster", "c"), ("replica", "a")]),
        range: (first, last),
        series: series.collect(),
    }
}

async fn five_blocks(bucket: &Bucket) {
    for window in 0..5 {
        blocks::write(bucket, &spec(1, window * 2)).await;
    }
}

/// A mark stands only on a source that a complete live block stands in for, and
/// nothing can be seen that is not all there.
async fn nothing_is_lost(bucket: &Bucket, stage: &str) {
    let objects = bucket.list("").await.unwrap();
    let live = live_metas(bucket).await;
    for meta in &live {
        for file in meta.thanos.files.iter().filter(|f| f.size_bytes > 0) {
            let name = format!("{}/{}", meta.id(), file.rel_path);
            assert!(objects.iter().any(|o| o.name == name), "{stage}: {name}");
        }
    }
    let held: Vec<Ulid> = live
        .iter()
        .flat_map(|m| m.tsdb.compaction.sources.clone())
        .collect();
    for object in &objects {
        if let Some(id) = object.name.strip_suffix("/deletion-mark.json") {
            let marked = Ulid::from_string(id).unwrap();
            assert!(
                held.contains(&marked),
                "{stage}: {id} is marked, not replaced"
            );
        }
    }
}

/// A whole run that is stopped just before it writes an object of that name.
fn sleeping_run(
    store: TrickStore,
    suffix: &'static str,
) -> (
    tokio::sync::oneshot::Receiver<()>,
    std::sync::mpsc::Sender<()>,
    std::thread::JoinHandle<lithify::compact::report::RunReport>,
) {
    let (tell, reached) = tokio::sync::oneshot::channel();
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let once = std::sync::Mutex::new(Some((tell, wait)));
    store.set(|tricks| {
        tricks.gate = Some(Arc::new(move |what, name| {
            let here = what == "PUT" && name.ends_with(suffix) && !name.contains("lithify");
            let once = here.then(|| once.lock().unwrap().take()).flatten();
            Box::pin(async move {
                if let Some((tell, wait)) = once {
                    tell.send(()).unwrap();
                    wait.recv().unwrap();
                    tokio::time::advance(2 * DURATION).await;
                }
            })
        }));
    });
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let bucket = bucket(&store);
            let scratch = tempfile::tempdir().unwrap();
            let clock = Arc::new(FixedClock::at(NOW));
            let mut run = runs::compactor(&bucket, replica_settings(), 1, clock, scratch.path());
            run.options.lease = Some(runs::lease("sleeper"));
            run.run().await.unwrap()
        })
    });
    (reached, go, thread)
}

/// A run is stopped before its index, its `meta.json` or a mark; another one takes
/// over and does the work; the first one wakes. It makes nothing visible, marks
/// nothing and takes nothing back; what it had begun goes.
#[tokio::test(start_paused = true)]
async fn a_run_that_sleeps_past_its_lease_makes_nothing_visible() {
    for suffix in ["/index", "/meta.json", "/deletion-mark.json"] {
        let store = TrickStore::new();
        let bucket = bucket(&store);
        five_blocks(&bucket).await;
        let before = content(&bucket, &["replica"]).await;
        let sleeper = store.other();
        let (reached, go, thread) = sleeping_run(sleeper.clone(), suffix);
        reached.await.unwrap();
        let half = partials(&bucket).await.len();
        assert_eq!(
            half,
            usize::from(suffix != "/deletion-mark.json"),
            "{suffix}"
        );

        let next = run_leased(&bucket, replica_settings(), "next", NOW + 1).await;
        assert!(next.failures.is_empty(), "{suffix}: {:?}", next.failures);
        assert_eq!(next.cleaned.len(), half, "{suffix}");
        nothing_is_lost(&bucket, suffix).await;
        let there = content(&bucket, &["replica"]).await;
        assert!(there == before, "{suffix}");

        let asleep = sleeper.puts().len();
        go.send(()).unwrap();
        let late = tokio::task::spawn_blocking(move || thread.join().unwrap());
        let late = late.await.unwrap();
        let lost = late.lease_lost.expect("it is lost");
        assert_eq!(lost.kind(), Kind::Locked, "{}", lost.chain());
        for name in &sleeper.puts()[asleep..] {
            let harmless = name.starts_with("lithify/leases/") || name.ends_with("/index");
            assert!(harmless, "{suffix}: {name}");
        }
        nothing_is_lost(&bucket, suffix).await;

        let last = run_leased(&bucket, replica_settings(), "last", NOW + 2).await;
        assert!(last.jobs.is_empty() && last.failures.is_empty(), "{suffix}");
        nothing_is_lost(&bucket, suffix).await;
        assert_eq!(partials(&bucket).await, Vec::<String>::new(), "{suffix}");
        assert!(content(&bucket, &["replica"]).await == before, "{suffix}");
        // One live result: 8 hours, and the newest window.
        assert_eq!(live_metas(&bucket).await.len(), 2, "{suffix}");
    }
}

/// A `meta.json` that was on its way when its writer was stopped, and arrives after
/// the folder was taken back: the run after that removes it.
#[tokio::test(start_paused = true)]
async fn what_arrives_late_is_removed_by_the_run_after() {
    let store = TrickStore::new();
    let bucket = bucket(&store);
    five_blocks(&bucket).await;
    let before = content(&bucket, &["replica"]).await;
    let sleeper = store.other();
    let (reached, _go, _thread) = sleeping_run(sleeper, "/meta.json");
    reached.await.unwrap();
    let folder = partials(&bucket).await.remove(0);
    let next = run_leased(&bucket, replica_settings(), "next", NOW + 1).await;
    assert_eq!(next.cleaned.len(), 1);

    let live = live_metas(&bucket).await;
    let mut torn = live
        .into_iter()
        .max_by_key(|m| m.tsdb.compaction.level)
        .unwrap();
    torn.tsdb.ulid = Ulid::from_string(&folder).unwrap();
    let name = format!("{folder}/meta.json");
    bucket.put(&name, torn.to_json().unwrap()).await.unwrap();
    let last = run_leased(&bucket, replica_settings(), "last", NOW + 2).await;
    assert_eq!(last.cleaned, [torn.tsdb.ulid]);
    assert!(
        last.quarantined.is_empty() && last.failures.is_empty(),
        "{last:?}"
    );
    assert!(content(&bucket, &["replica"]).await == before);
    assert_eq!(live_metas(&bucket).await.len(), 2);
    let again = run_leased(&bucket, replica_settings(), "again", NOW + 3).await;
    assert!(again.is_idle());
    let intents = bucket.list("lithify/intents").await.unwrap();
    assert!(intents.is_empty(), "{intents:?}");
}

/// Intents that are none, or none of ours, are left alone; garbage goes after two
/// days.
#[tokio::test(start_paused = true)]
async fn intents_that_cannot_be_judged_are_left_alone() {
    let bucket = Bucket::memory().unwrap();
    let upload = Ulid::from_parts(NOW as u64, 7);
    bucket
        .put(&format!("{upload}/index"), "half")
        .await
        .unwrap();
    let holder = r#"{"host":"h","pid":1,"token":"t"}"#;
    let other = format!(
        r#"{{"version":1,"holder":{holder},"part":"shard-1-of-2","blocks":["{upload}"],"started_ms":0}}"#
    );
    let newer = other.replace("\"version\":1", "\"version\":2");
    let many: Vec<Ulid> = (0..17).map(|n| Ulid::from_parts(1, n)).collect();
    let many = serde_json::json!({"version": 1, "holder": {"host": "h", "pid": 1, "token": "t"},
        "part": "whole", "blocks": many, "started_ms": 0});
    let bad = [
        "".to_owned(),
        "[]".to_owned(),
        newer,
        many.to_string(),
        " ".repeat(1 << 20),
    ];
    for (n, body) in bad.iter().enumerate() {
        let name = format!("lithify/intents/bad-{n}.json");
        bucket.put(&name, body.clone()).await.unwrap();
    }
    bucket
        .put("lithify/intents/other.json", other)
        .await
        .unwrap();
    let shard = |now_ms: i64| {
        let bucket = bucket.clone();
        async move {
            let scratch = tempfile::tempdir().unwrap();
            let clock = Arc::new(FixedClock::at(now_ms));
            let mut run = runs::compactor(&bucket, replica_settings(), 1, clock, scratch.path());
            run.options.lease = Some(settings(
                "us",
                Part::Shard { index: 0, of: 2 },
                Duration::ZERO,
            ));
            run.run().await.unwrap()
        }
    };
    assert!(shard(NOW).await.is_idle());
    assert_eq!(bucket.list("lithify/intents").await.unwrap().len(), 6);
    assert!(
        bucket
            .head(&format!("{upload}/index"))
            .await
            .unwrap()
            .is_some()
    );
    // Two days later the folder is given up like any other.
    shard(runs::after_the_machine()).await;
    let left = bucket.list("lithify/intents").await.unwrap();
    assert!(left.is_empty(), "{left:?}");
}

/// What a dry run adds for the lease and for each job is what they cost.
#[tokio::test(flavor = "multi_thread")]
async fn a_lease_costs_what_a_dry_run_says() {
    let inner = Arc::new(object_store::memory::InMemory::new());
    let first = Bucket::from_store("first", Arc::clone(&inner)).unwrap();
    five_blocks(&first).await;
    take(&first, whole("before")).await.unwrap().release().await;
    let mut requests = Vec::new();
    let mut jobs = 0;
    for lease in [None, Some(runs::lease("first"))] {
        let bucket = Bucket::from_store("fork", Arc::new(inner.fork())).unwrap();
        let scratch = tempfile::tempdir().unwrap();
        let clock = Arc::new(FixedClock::at(NOW));
        let mut run = runs::compactor(&bucket, replica_settings(), 1, clock, scratch.path());
        run.options.lease = lease;
        let report = run.run().await.unwrap();
        jobs = report.jobs.len() as u64;
        requests.push(report.requests);
    }
    assert!(jobs > 0);
    let more = requests[1].since(&requests[0]);
    // As in the flags and in the cost of a job.
    assert_eq!(more.list.calls, 1);
    assert_eq!(more.get.calls, 1);
    assert_eq!(more.put.calls, 3 + jobs);
    assert_eq!(more.delete.calls, jobs);
    assert_eq!(more.head.calls, 0);
}

/// The second of two whole runs ends before it has looked at anything.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_run_writes_nothing() {
    let store = TrickStore::new();
    let ours = bucket(&store);
    five_blocks(&ours).await;
    let held = take(&ours, whole("first")).await.unwrap();
    let second = store.other();
    let theirs = bucket(&second);
    let scratch = tempfile::tempdir().unwrap();
    let clock = Arc::new(FixedClock::at(NOW));
    let mut run = runs::compactor(&theirs, replica_settings(), 1, clock, scratch.path());
    run.options.lease = Some(runs::lease("second"));
    let error = run.run().await.unwrap_err();
    assert_eq!(error.kind(), Kind::Locked, "{}", error.chain());
    assert_eq!(second.puts(), ["lithify/leases/clock"]);
    held.release().await;
    let report = run.run().await.unwrap();
    assert!(!report.jobs.is_empty() && report.failures.is_empty());
}

/// Exit code 4, who is at work, the way out; and a report that says so.
#[tokio::test(flavor = "multi_thread")]
async fn the_command_ends_with_its_own_exit_code() {
    let dir = tempfile::tempdir().unwrap();
    let bucket_dir = dir.path().join("bucket");
    std::fs::create_dir(&bucket_dir).unwrap();
    let bucket = Bucket::folder(&bucket_dir).unwrap();
    let held = take(&bucket, whole("first")).await.unwrap();
    let report = dir.path().join("report.json");
    let run = |more: &'static [&'static str]| {
        let config = format!(
            "type: FILESYSTEM\nconfig:\n  directory: {}\n",
            bucket_dir.display()
        );
        let output = assert_cmd::Command::new(env!("CARGO_BIN_EXE_lithify"))
            .arg("compact")
            .arg(format!("--objstore.config={config}"))
            .arg(format!("--data-dir={}", dir.path().join("data").display()))
            .arg(format!("--report={}", report.display()))
            .args(["--downsampling.disable"])
            .args(more)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), text)
    };
    let (code, text) = run(&[]);
    assert_eq!(code, Some(4), "{text}");
    assert!(
        text.contains("host-of-first") && text.contains("cure:"),
        "{text}"
    );
    let told = std::fs::read_to_string(&report).unwrap();
    assert!(told.contains("host-of-first"), "{told}");
    let (code, text) = run(&["--lease=off"]);
    assert_eq!(code, Some(0), "{text}");
    let (code, text) = run(&["--dry-run"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(
        text.contains("host-of-first"),
        "a dry run shows the holder: {text}"
    );
    held.release().await;
    let (code, text) = run(&["--lease=on"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(lease::held(&bucket).await.unwrap().is_empty());
}
