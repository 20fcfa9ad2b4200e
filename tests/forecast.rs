//! The dry run to its end: all rounds, what they leave and what it takes are
//! those of a run.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "test code")]

mod support;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::process::Command;

use assert_cmd::cargo::cargo_bin;
use lithify::block::meta::{Labels, Meta};
use lithify::compact::report::RunReport;
use lithify::compact::sample;
use lithify::compact::sync::Syncer;
use lithify::objstore::Bucket;
use lithify::plan::forecast::{BucketFacts, Habits, SeriesByCluster, forecast};
use lithify::plan::{self, Dedup, Plan, Rounds, Settings};
use lithify::runtime::pool;
use proptest::prelude::*;
use serde_json::Value;
use support::blocks::{self, Samples, Spec, labels, live_metas};
use support::files::{copy_dir, fixture};
use support::runs::{self, HOUR, NOW, START, replica_settings, run_at};
use ulid::Ulid;

const DAY: i64 = 24 * HOUR;
const FIVE: i64 = 300_000;
const ONE_HOUR: i64 = 3_600_000;

fn settings() -> Settings {
    Settings {
        downsampling: true,
        ..replica_settings()
    }
}

/// A block over the hours `[from, to)`: a counter and a gauge each 30 s, a
/// constant each minute, a value each 5 hours. `dense` leaves the last one out,
/// and has a value each 15 s of the others.
fn spec(n: u64, (from, to): (i64, i64), replica: &str, dense: bool) -> Spec {
    let (first, last) = (START + from * HOUR, START + to * HOUR);
    let jitter = if replica == "b" { 7_000 } else { 0 };
    let every = |ms: i64| (first..last).step_by(ms as usize).map(move |t| t + jitter);
    let step = if dense { 15_000 } else { 30_000 };
    let counter = every(step).map(|t| (t, (t / 1000 % 90_000) as f64));
    let gauge = every(step).map(move |t| (t, ((t / step * 7919) % 1000) as f64 / 10.0));
    let constant = every(if dense { step } else { 60_000 }).map(|t| (t, 1.0));
    let sparse = every(5 * ONE_HOUR).map(|t| (t, 1.0));
    let name = |name: &str| vec![("__name__".to_owned(), name.to_owned())];
    let mut series: BTreeMap<_, Samples> = BTreeMap::from([
        (name("counter"), counter.collect()),
        (name("gauge"), gauge.collect()),
        (name("up"), constant.collect()),
    ]);
    if !dense {
        series.insert(name("sparse"), sparse.collect());
    }
    Spec {
        id: Ulid::from_parts((START + from * HOUR) as u64 + n, u128::from(n)),
        labels: labels(&[("cluster", "c"), ("replica", replica)]),
        range: (first, last),
        series,
    }
}

/// Two replicas over `days`, in blocks of 2 days, and one block of 2 hours each
/// that lets the last range end.
async fn fill(bucket: &Bucket, days: std::ops::Range<i64>, dense: bool) {
    for (n, replica) in [(1, "a"), (2, "b")] {
        for day in days.clone().step_by(2) {
            let next = spec(n, (day * 24, day * 24 + 48), replica, dense);
            blocks::write(bucket, &next).await;
        }
        let last = spec(n, (days.end * 24, days.end * 24 + 2), replica, dense);
        blocks::write(bucket, &last).await;
    }
}

async fn remove(bucket: &Bucket, id: Ulid) {
    for object in bucket.list(&id.to_string()).await.unwrap() {
        bucket.delete(&object.name).await.unwrap();
    }
}

/// Removes the blocks that `gone` names, marked ones as well.
async fn remove_if(bucket: &Bucket, mut gone: impl FnMut(&Meta) -> bool) {
    let view = Syncer::new(bucket.clone(), 8).sync().await.unwrap();
    for block in &view.blocks {
        if gone(&block.meta) {
            remove(bucket, block.id()).await;
        }
    }
}

/// Resolution, labels, range, level and sources of a block.
type Shape = (i64, Labels, (i64, i64), u32, Vec<Ulid>);

fn shape(meta: &Meta) -> Shape {
    let tsdb = &meta.tsdb;
    let mut sources = tsdb.source_ids().to_vec();
    sources.sort();
    (
        meta.thanos.downsample.resolution,
        meta.thanos.labels.clone(),
        (tsdb.min_time, tsdb.max_time),
        tsdb.compaction.level,
        sources,
    )
}

/// Resolution and range of what is read, blocks of today that go in, and the
/// resolutions that are made.
type Work = (i64, (i64, i64), BTreeSet<Ulid>, Vec<i64>);

/// A job with the sizes of what it makes: by resolution bytes, index, samples
/// and series.
type Sizes<T> = BTreeMap<Work, Vec<[T; 4]>>;

fn foreseen(first: &Plan, rounds: &Rounds) -> Sizes<(u64, u64)> {
    let jobs = rounds.jobs(first).enumerate();
    jobs.map(|(number, job)| {
        let leaves = rounds.leaves(number).iter().map(|(id, _)| *id).collect();
        let range = (job.min_time(), job.max_time());
        let made = job.made();
        let resolutions = made.iter().map(|p| p.resolution).collect();
        let sizes = made.iter();
        let sizes = sizes.map(|p| [p.bytes, p.index_bytes, p.samples, p.series]);
        (
            (job.resolution, range, leaves, resolutions),
            sizes.collect(),
        )
    })
    .collect()
}

fn done(report: &RunReport) -> Sizes<u64> {
    let mut leaves: HashMap<Ulid, BTreeSet<Ulid>> = HashMap::new();
    let mut all = Sizes::new();
    for job in &report.jobs {
        let mut mine = BTreeSet::new();
        for source in &job.sources {
            match leaves.get(source) {
                Some(known) => mine.extend(known),
                None => drop(mine.insert(*source)),
            }
        }
        for result in &job.results {
            leaves.insert(result.block, mine.clone());
        }
        let made = job.results.iter();
        let resolutions = made.clone().map(|r| r.resolution).collect();
        let sizes = made.map(|r| [r.bytes, r.index_bytes, r.samples, r.series]);
        all.insert(
            (job.resolution, job.range, mine, resolutions),
            sizes.collect(),
        );
    }
    assert_eq!(all.len(), report.jobs.len(), "no job is done twice");
    all
}

async fn foresee(bucket: &Bucket, settings: &Settings) -> (Plan, Rounds) {
    let view = Syncer::new(bucket.clone(), 8).sync().await.unwrap();
    let first = plan::plan(&view, settings, NOW);
    let rounds = plan::rounds(&view, &first, settings, NOW);
    (first, rounds)
}

/// The same, and sizes of what is made.
async fn check(bucket: &Bucket, settings: &Settings) -> (Plan, Rounds) {
    let (first, rounds, done) = check_work(bucket, settings).await;
    for (work, spans) in &foreseen(&first, &rounds) {
        for (product, (spans, sizes)) in spans.iter().zip(&done[work]).enumerate() {
            let names = ["bytes", "index", "samples", "series"];
            for (name, (span, real)) in names.iter().zip(spans.iter().zip(sizes)) {
                let of = (work.0, work.1, work.3[product]);
                assert!(
                    span.0 <= *real && *real <= span.1,
                    "{name}: {real} in {span:?}, {of:?}"
                );
            }
        }
    }
    (first, rounds)
}

/// Plans to the end, runs, and compares jobs and the blocks that are left.
async fn check_work(bucket: &Bucket, settings: &Settings) -> (Plan, Rounds, Sizes<u64>) {
    let (first, rounds) = foresee(bucket, settings).await;
    assert!(!rounds.is_cut);
    let report = run_at(bucket, settings.clone(), 2, NOW).await;
    assert!(report.failures.is_empty(), "{:?}", report.failures);
    let (foreseen, done) = (foreseen(&first, &rounds), done(&report));
    let keys = |k: &Work| (k.0, k.1, k.2.len(), k.3.clone());
    assert!(
        foreseen.keys().eq(done.keys()),
        "foreseen {:?}, done {:?}",
        foreseen.keys().map(keys).collect::<Vec<_>>(),
        done.keys().map(keys).collect::<Vec<_>>()
    );
    let left = |b: &&plan::view::BlockView| b.deletion.is_none();
    let blocks = rounds.bucket.blocks.iter().filter(left);
    let mut end: Vec<Shape> = blocks.map(|b| shape(&b.meta)).collect();
    let mut live: Vec<Shape> = live_metas(bucket).await.iter().map(shape).collect();
    end.sort();
    live.sort();
    assert_eq!(end, live);
    // The timelines show those, and marked ones that still take part.
    let marked = rounds.bucket.blocks.iter().filter(|b| b.deletion.is_some());
    let marked: BTreeSet<Ulid> = marked.map(plan::view::BlockView::id).collect();
    let tiles = rounds.streams.iter().flat_map(|s| &s.after);
    let tiles = tiles.filter(|t| t.block.is_none_or(|id| !marked.contains(&id)));
    let mut shown: Vec<_> = tiles.map(|t| (t.resolution, t.range, t.level)).collect();
    let mut there: Vec<_> = live.iter().map(|l| (l.0, l.2, l.3)).collect();
    shown.sort();
    there.sort();
    assert_eq!(shown, there);
    (first, rounds, done)
}

#[tokio::test(flavor = "multi_thread")]
async fn sixteen_days_of_two_replicas() {
    for dedup in [Dedup::OneToOne, Dedup::Penalty] {
        let bucket = Bucket::memory().unwrap();
        fill(&bucket, 0..16, false).await;
        let settings = Settings {
            dedup,
            ..settings()
        };
        let (first, rounds) = check(&bucket, &settings).await;
        let resolutions: BTreeSet<i64> = rounds.streams.iter().map(|s| s.key.resolution).collect();
        assert_eq!(resolutions, BTreeSet::from([0, FIVE, ONE_HOUR]));
        let lower = first.jobs.iter().map(|j| j.cost.lower.len());
        assert_eq!(lower.max(), Some(2), "14 days get both");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_those_of_the_run() {
    let dir = tempfile::tempdir().unwrap();
    fill(&Bucket::folder(dir.path()).unwrap(), 0..16, false).await;
    let bucket = Bucket::folder(dir.path()).unwrap();
    let view = Syncer::new(bucket.clone(), 8).sync().await.unwrap();
    let first = plan::plan(&view, &settings(), NOW);
    let facts = BucketFacts {
        name: String::new(),
        view: &view,
        plan: &first,
        rounds: &plan::rounds(&view, &first, &settings(), NOW),
        series: &SeriesByCluster::new(),
        findings: &[],
        settings: &Default::default(),
        habits: Habits::default(),
    };
    let predicted = forecast(&[facts], "cluster", NOW).totals.requests;
    let bucket = Bucket::folder(dir.path()).unwrap();
    run_at(&bucket, settings(), 2, NOW).await;
    let counts = bucket.counts();
    let gets = counts.get.calls + counts.get_range.calls;
    let puts = counts.put.calls + counts.put_part.calls;
    for (name, predicted, counted) in [
        ("list", predicted.list, counts.list.calls),
        ("head", predicted.head, counts.head.calls),
        ("get", predicted.get, gets),
        ("put", predicted.put, puts),
    ] {
        let off = predicted.abs_diff(counted) as f64 / counted.max(1) as f64;
        assert!(
            off < 0.2,
            "{name}: predicted {predicted}, counted {counted}"
        );
    }
}

/// Ranges of series without gaps are of use.
#[tokio::test(flavor = "multi_thread")]
async fn ranges_of_dense_series_are_narrow() {
    let bucket = Bucket::memory().unwrap();
    fill(&bucket, 0..16, true).await;
    let (first, _) = check(&bucket, &settings()).await;
    let lower = first.jobs.iter().flat_map(|j| &j.cost.lower);
    let mut seen = 0;
    for product in lower {
        seen += 1;
        let (low, high) = product.bytes;
        assert!(high <= 12 * low, "{product:?}");
    }
    assert!(seen >= 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn five_minute_blocks_are_compacted_in_a_later_round_once_their_window_has_ended() {
    let bucket = Bucket::memory().unwrap();
    // Each raw block of 2 days has one of 5 minutes beside it, and is gone.
    fill(&bucket, 0..12, false).await;
    run_at(&bucket, settings(), 2, NOW - DAY).await;
    let long = |m: &Meta| m.tsdb.max_time - m.tsdb.min_time == 2 * DAY;
    remove_if(&bucket, |m| m.thanos.downsample.resolution == 0 && long(m)).await;
    let waiting = live_metas(&bucket).await;
    let of_five = |m: &&Meta| m.thanos.downsample.resolution == FIVE;
    assert_eq!(waiting.iter().filter(of_five).count(), 6);
    // The rest of the window, and what ends it.
    remove_if(&bucket, |m| m.thanos.downsample.resolution == 0).await;
    fill(&bucket, 12..16, false).await;
    let (first, rounds) = check(&bucket, &settings()).await;
    assert!(first.jobs.iter().all(|j| j.resolution == 0));
    let later: Vec<_> = rounds.later_jobs().collect();
    assert!(!later.is_empty());
    for job in &later {
        assert_eq!(job.resolution, FIVE);
    }
    let names: Vec<String> = later[0]
        .sources
        .iter()
        .map(|b| rounds.name(b.id()))
        .collect();
    assert!(names.iter().any(|n| n.starts_with("job:")), "{names:?}");
    assert!(names.iter().all(|n| n.ends_with("/5m") || n.len() == 26));
    let hours = rounds.streams.iter().find(|s| s.key.resolution == ONE_HOUR);
    let hours = hours.unwrap();
    assert!(hours.before.is_empty());
    assert_eq!(hours.after[0].range.1 - hours.after[0].range.0, 14 * DAY);
}

/// The page and the JSON of the binary, looked at long after the blocks.
fn dry_run(bucket: &Path, form: &str) -> String {
    let config = bucket.with_extension("yml");
    let yaml = format!(
        "type: FILESYSTEM\nconfig:\n  directory: {}\n",
        bucket.display()
    );
    std::fs::write(&config, yaml).unwrap();
    let output = Command::new(cargo_bin("lithify"))
        .args(["compact", "--log.level=error", form])
        .arg("--deduplication.replica-label=replica")
        .arg(format!("--objstore.config-file={}", config.display()))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn page_and_json_show_what_is_made_and_what_comes_later() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bucket");
    std::fs::create_dir(&path).unwrap();
    let bucket = Bucket::folder(&path).unwrap();
    // Blocks of 5 minutes from a run, and what lets their window end.
    fill(&bucket, 0..12, false).await;
    run_at(&bucket, settings(), 2, NOW).await;
    remove_if(&bucket, |m| m.thanos.downsample.resolution == 0).await;
    fill(&bucket, 12..30, false).await;
    let page = dry_run(&path, "--dry-run");
    if let Some(file) = std::env::var_os("LITHIFY_WRITE_PAGE") {
        std::fs::write(file, &page).unwrap();
    }
    for line in page.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
    for words in [
        " makes ",
        " raw 5m 1h ",
        "planned again from what those make",
        "round 2 ",
        "0 → 2 blocks, nothing → ",
        "5m       6 → ",
        "in 2 rounds",
    ] {
        assert!(page.contains(words), "{words} is missing:\n{page}");
    }
    let json: Value = serde_json::from_str(&dry_run(&path, "--dry-run=json")).unwrap();
    let schema = serde_json::to_value(plan::forecast::schema()).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    assert!(validator.is_valid(&json));
    let number = |v: &Value| v.as_u64().unwrap();
    let one = &json["buckets"][0];
    let mut highest = 0;
    for job in one["jobs"].as_array().unwrap() {
        let products = job["products"].as_array().unwrap();
        let made = products.iter().map(|p| number(&p["bytes"]["high"]));
        assert_eq!(made.sum::<u64>(), number(&job["bytes_out"]["high"]));
        highest = number(&job["job"]);
    }
    let later = &one["later"][0];
    assert_eq!(later["round"], 2);
    assert_eq!(number(&later["jobs"][0]["job"]), highest + 1);
    let sources = later["jobs"][0]["sources"].as_array().unwrap();
    let name = |v: &Value| v.as_str().unwrap().to_owned();
    assert!(
        sources
            .iter()
            .map(name)
            .any(|n| n.starts_with("job:") && n.ends_with("/5m"))
    );
    let resolutions = json["totals"]["resolutions"].as_array().unwrap();
    let windows = resolutions.iter().map(|r| number(&r["resolution_ms"]));
    assert_eq!(windows.collect::<Vec<_>>(), [0, 300_000, 3_600_000]);
    let after = resolutions
        .iter()
        .map(|r| number(&r["bytes_after"]["high"]));
    assert_eq!(
        after.sum::<u64>(),
        number(&json["totals"]["bytes_after"]["high"])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_quick_start() {
    let dir = tempfile::tempdir().unwrap();
    copy_dir(&fixture("quickstart"), dir.path());
    let bucket = Bucket::folder(dir.path()).unwrap();
    let settings = Settings {
        downsampling: true,
        ..runs::settings()
    };
    let view = Syncer::new(bucket.clone(), 8).sync().await.unwrap();
    let first = plan::plan(&view, &settings, 1_789_000_000_000);
    let rounds = plan::rounds(&view, &first, &settings, 1_789_000_000_000);
    assert_eq!(rounds.later_jobs().count(), 0, "all in the first round");
    let tiles = |p: &plan::Stream| p.after.clone();
    let (end, planned) = (rounds.streams.iter(), first.streams.iter());
    assert!(end.map(tiles).eq(planned.map(tiles)));
}

#[tokio::test(flavor = "multi_thread")]
async fn rounds_that_are_cut_and_steps_that_are_done_one_by_one() {
    let bucket = Bucket::memory().unwrap();
    fill(&bucket, 0..16, false).await;
    let cut = Settings {
        max_job_seconds: 0.0,
        ..settings()
    };
    let (first, rounds) = check(&bucket, &cut).await;
    assert!(!first.cuts.is_empty());
    assert!(rounds.later_jobs().count() > 0);

    let bucket = Bucket::memory().unwrap();
    fill(&bucket, 0..4, false).await;
    let stepwise = Settings {
        one_pass: false,
        ..settings()
    };
    let (_, rounds) = check(&bucket, &stepwise).await;
    let rounds = rounds.later.iter().filter(|p| !p.jobs.is_empty());
    assert!(rounds.count() > 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_steps_are_cut_and_that_is_said() {
    let bucket = Bucket::memory().unwrap();
    fill(&bucket, 0..28, true).await;
    let stepwise = Settings {
        one_pass: false,
        ..settings()
    };
    let (_, rounds) = foresee(&bucket, &stepwise).await;
    assert!(rounds.is_cut);
    assert_eq!(rounds.later.len(), plan::MOST_LATER_ROUNDS);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_past_its_retention_goes_once_it_was_downsampled() {
    let bucket = Bucket::memory().unwrap();
    fill(&bucket, 0..16, false).await;
    // The first 14 days, which one job makes one block of.
    let ago = NOW - (START + 14 * DAY);
    let retain = Settings {
        retention_ms: [ago - HOUR, 0, 0],
        ..settings()
    };
    let (first, rounds) = check(&bucket, &retain).await;
    assert_eq!(first.retired.len(), 0);
    let later = rounds.later.iter().map(|p| p.retired.len());
    assert_eq!(later.sum::<usize>(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sample_measures_lower_resolutions() {
    let bucket = Bucket::memory().unwrap();
    fill(&bucket, 0..16, true).await;
    let (mut first, _) = foresee(&bucket, &settings()).await;
    let pool = pool::cpu_pool(2).unwrap();
    for job in &mut first.jobs {
        // All of three series: a part of so few is no sample.
        sample::measure(&bucket, &pool, job, 1).await.unwrap();
    }
    let sampled = foreseen(&first, &Rounds::default());
    let real = done(&run_at(&bucket, settings(), 2, NOW).await);
    let by_range = |w: &Work| (w.0, w.1, w.3.clone());
    let real: BTreeMap<_, _> = real.iter().map(|(w, sizes)| (by_range(w), sizes)).collect();
    let mut lower = 0;
    for (work, sizes) in &sampled {
        for ((i, resolution), sampled) in work.3.iter().enumerate().zip(sizes) {
            lower += u64::from(*resolution > 0);
            for (sampled, real) in sampled.iter().zip(&real[&by_range(work)][i]) {
                let off = sampled.0.abs_diff(*real) as f64 / *real as f64;
                assert!(off < 0.02, "{resolution}: sampled {sampled:?}, real {real}");
            }
        }
    }
    assert!(lower >= 3);
}

/// What happens to a bucket before it is planned.
#[derive(Debug, Clone)]
struct Past {
    /// Which blocks of 2 days each replica has.
    have: [u16; 2],
    /// Days after which a run was done.
    ran_at: Option<i64>,
    /// After that run, raw blocks of these numbers were lost, and lower ones.
    lost: u16,
    dedup: Dedup,
}

fn past() -> impl Strategy<Value = Past> {
    let dedup = prop_oneof![Just(Dedup::OneToOne), Just(Dedup::Penalty)];
    let have = [0_u16..512, 0_u16..512];
    let ran_at = proptest::option::of(2_i64..9);
    (have, ran_at, any::<u16>(), dedup).prop_map(|(have, ran_at, lost, dedup)| Past {
        have,
        ran_at: ran_at.map(|n| n * 2),
        lost,
        dedup,
    })
}

/// A block of few samples.
fn small(n: u64, day: i64, replica: &str) -> Spec {
    let mut spec = spec(n, (day * 24, day * 24 + 48), replica, false);
    for samples in spec.series.values_mut() {
        let step = samples.len().div_ceil(300).max(1);
        *samples = samples.iter().step_by(step).copied().collect();
    }
    spec
}

async fn live_through(past: &Past) {
    let bucket = Bucket::memory().unwrap();
    let settings = Settings {
        dedup: past.dedup,
        ..settings()
    };
    for day in (0..18).step_by(2) {
        if past.ran_at == Some(day) {
            run_at(&bucket, settings.clone(), 1, NOW - DAY).await;
            let mut n = 0;
            remove_if(&bucket, |_| {
                n += 1;
                past.lost >> (n % 16) & 1 == 1
            })
            .await;
        }
        for (n, replica) in [(1, "a"), (2, "b")] {
            if past.have[n as usize - 1] >> (day / 2) & 1 == 1 {
                blocks::write(&bucket, &small(n, day, replica)).await;
            }
        }
    }
    check_work(&bucket, &settings).await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn any_bucket_ends_as_it_was_foreseen(past in past()) {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(live_through(&past));
    }
}
