//! A corpus of damaged blocks: each kind gets its own reason, place and cure,
//! costs nothing but itself, and is not read a second time.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "test code")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::StreamExt;
use lithify::block::markers::{self, Found, NoCompactMark, NoDownsampleMark};
use lithify::compact::report::RunReport;
use lithify::objstore::Bucket;
use lithify::plan::HeldReason;
use lithify::runtime::clock::FixedClock;
use lithify::tsdb::Damage;
use object_store::memory::InMemory;
use support::blocks::{self, Content, Spec, content_but, labels};
use support::damage::{self, Parts};
use support::damage_rows::{self, Fate, Row};
use support::flaky::FlakyStore;
use support::runs::{HOUR, NOW, START, compactor, replica_settings as settings, run_at};
use support::s3_server::S3Server;
use ulid::Ulid;

/// A block of two hours from `from` on, in hours; three series with a sample
/// every 20 s, so three chunks each. Replica `b` scrapes 7 s later.
fn spec(n: u64, cluster: &str, from: i64, replica: &str) -> Spec {
    let first = START + from * HOUR + if replica == "b" { 7000 } else { 0 };
    let series = (0..3).map(|s| {
        let name = vec![
            ("__name__".to_owned(), "m".to_owned()),
            ("s".to_owned(), s.to_string()),
        ];
        let value = |t: i64| (t / 1000 % 997) as f64 + f64::from(s) + from as f64 / 100.0;
        let samples = (0..360).map(|i| first + i * 20_000).map(|t| (t, value(t)));
        (name, samples.collect())
    });
    Spec {
        id: Ulid::from_parts((START + from * HOUR) as u64 + n, u128::from(n)),
        labels: labels(&[("cluster", cluster), ("replica", replica)]),
        range: (START + from * HOUR, START + (from + 2) * HOUR),
        series: series.collect(),
    }
}

/// The block that is damaged: the second one of its stream.
fn victim() -> Spec {
    spec(1, "bad", 2, "a")
}

/// Three streams of five windows; the one of the victim has a second replica in
/// its window, so that its chunks are mixed.
fn others() -> Vec<Spec> {
    let mut specs: Vec<Spec> = Vec::new();
    for (n, cluster) in [(1, "bad"), (3, "c1"), (4, "c2")] {
        specs.extend((0..5).map(|i| spec(n, cluster, i * 2, "a")));
    }
    specs.retain(|s| s.id != victim().id);
    specs.push(spec(2, "bad", 2, "b"));
    specs
}

/// All samples, as a model without any block has them.
fn naive(specs: &[Spec]) -> Content {
    let mut content = Content::new();
    for spec in specs {
        let mut labels = spec.labels.clone();
        labels.remove("replica");
        let stream = content.entry(format!("{labels:?}")).or_default();
        for (name, samples) in &spec.series {
            let name: Vec<String> = name.iter().map(|(n, v)| format!("{n}={v}")).collect();
            let all: &mut BTreeMap<i64, String> = stream.entry(name.join(",")).or_default();
            all.extend(
                samples
                    .iter()
                    .map(|&(t, v)| (t, format!("{:016x}", v.to_bits()))),
            );
        }
    }
    content
}

async fn exists(bucket: &Bucket, id: Ulid, file: &str) -> bool {
    bucket
        .head(&format!("{id}/{file}"))
        .await
        .unwrap()
        .is_some()
}

/// Blocks with a deletion mark.
async fn marked(bucket: &Bucket) -> BTreeSet<Ulid> {
    let objects = bucket.list("").await.unwrap();
    let names = objects
        .iter()
        .filter_map(|o| o.name.strip_suffix("/deletion-mark.json"));
    names.map(|id| Ulid::from_string(id).unwrap()).collect()
}

/// The words of both marks: reason and details, which have to be equal.
async fn marks(bucket: &Bucket, id: Ulid) -> Option<(String, String)> {
    let get = async |file: &str| bucket.get(&format!("{id}/{file}")).await.unwrap();
    let no_compact = get(markers::NO_COMPACT_MARK).await;
    let no_downsample = get(markers::NO_DOWNSAMPLE_MARK).await;
    assert_eq!(
        no_compact.is_some(),
        no_downsample.is_some(),
        "one mark of two"
    );
    let Found::<NoCompactMark>::Mark(mark) = markers::parse(&no_compact?) else {
        panic!("no mark");
    };
    let Found::<NoDownsampleMark>::Mark(other) = markers::parse(&no_downsample?) else {
        panic!("no mark");
    };
    assert_eq!(
        (&mark.reason, &mark.details),
        (&other.reason, &other.details)
    );
    assert_eq!((mark.id, other.id), (id, id));
    assert_eq!(mark.no_compact_time, NOW / 1000);
    Some((mark.reason, mark.details))
}

/// What holds after every run, whatever was damaged.
async fn the_rest_is_compacted(bucket: &Bucket, report: &RunReport, row: &Row) {
    let name = row.name;
    assert!(report.failures.is_empty(), "{name}: {:?}", report.failures);
    assert!(report.ledger().balances(), "{name}");
    assert_eq!(report.transfer_faults, 0, "{name}");
    let bad = victim().id;
    let kept = row.fate != Fate::Harmless;
    let mut specs = others();
    if !kept {
        specs.push(victim());
    }
    let found = content_but(bucket, &["replica"], kept.then_some(bad)).await;
    assert!(
        found == naive(&specs),
        "{name}: other samples than the model"
    );
    let replaced: BTreeSet<Ulid> = report.jobs.iter().flat_map(|j| j.sources.clone()).collect();
    assert_eq!(marked(bucket).await, replaced, "{name}");
    assert_eq!(replaced.contains(&bad), !kept, "{name}");
    // 8h in each of the others; in the damaged one what is left of it.
    let least = if kept { 3 } else { 2 };
    assert!(replaced.len() >= 8 + least, "{name}: {replaced:?}");
}

async fn is_told(bucket: &Bucket, report: &RunReport, row: &Row, offset: Option<usize>) {
    let (name, bad) = (row.name, victim().id);
    let (reason, what, cure) = match row.fate {
        Fate::Harmless => {
            assert!(
                !report.is_partial() && report.quarantined.is_empty(),
                "{name}"
            );
            assert_eq!(marks(bucket, bad).await, None, "{name}");
            return;
        }
        Fate::Problem => {
            assert_eq!(marks(bucket, bad).await, None, "{name}");
            let [problem] = report.problems.as_slice() else {
                panic!("{name}: {:?}", report.problems);
            };
            assert_eq!(problem.block, bad, "{name}");
            let reason = problem.reason.unwrap();
            (reason, problem.what.clone(), problem.cure.clone())
        }
        Fate::Quarantined => {
            let [found] = report.quarantined.as_slice() else {
                panic!("{name}: {:?} {:?}", report.quarantined, report.problems);
            };
            assert_eq!(found.block, bad, "{name}");
            let expected = (found.reason.to_string(), found.details.clone());
            assert_eq!(marks(bucket, bad).await, Some(expected), "{name}");
            assert!(
                found.cure.contains("no-compact-mark.json"),
                "{name}: {}",
                found.cure
            );
            (found.reason, found.details.clone(), found.cure.clone())
        }
    };
    assert!(report.is_partial(), "{name}");
    assert_eq!(reason.as_str(), row.reason, "{name}: {what}");
    assert!(what.contains(row.file), "{name}: {what}");
    assert!(cure.contains(row.cure), "{name}: {cure}");
    assert!(what.len() <= 1024 && !what.contains('\n'), "{name}: {what}");
    if let Some(offset) = offset {
        let place = format!("at byte {offset}");
        let at = what.find(&place).map(|at| at + place.len());
        let ends = at.is_some_and(|at| !what[at..].starts_with(|c: char| c.is_ascii_digit()));
        assert!(ends, "{name}: {place} is missing in: {what}");
    }
}

/// One row on one bucket; `again` opens the same bucket anew.
async fn check(bucket: &Bucket, again: &Bucket, row: &Row) {
    for spec in others() {
        blocks::write(bucket, &spec).await;
    }
    let mut parts = Parts::of(&victim());
    let offset = (row.damage)(&mut parts);
    damage::put(bucket, victim().id, parts).await;

    let report = run_at(bucket, settings(), 2, NOW).await;
    assert!(bucket.counts().get_range.calls > 0, "ranges are counted");
    is_told(bucket, &report, row, offset).await;
    the_rest_is_compacted(bucket, &report, row).await;

    // The second run has nothing to do, and reads nothing but small objects.
    let second = run_at(again, settings(), 2, NOW + 1).await;
    assert!(second.is_idle(), "{}: {second:?}", row.name);
    assert_eq!(again.counts().get_range.calls, 0, "{}", row.name);
    assert_eq!(again.counts().writes(), 0, "{}", row.name);
    assert_eq!(
        second.is_partial(),
        row.fate == Fate::Problem,
        "{}",
        row.name
    );
    let held = second
        .held
        .iter()
        .filter(|h| h.why == HeldReason::Quarantined);
    let held: Vec<_> = held.collect();
    assert_eq!(
        held.len(),
        usize::from(row.fate == Fate::Quarantined),
        "{}",
        row.name
    );
    for held in held {
        assert!(held.what.contains(row.reason) && held.cure.contains(row.cure));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_has_its_reason_place_and_cure_and_costs_only_itself() {
    let rows = futures::stream::iter(damage_rows::all());
    // Several at a time: most of it is waiting for files to reach the disk.
    rows.for_each_concurrent(6, |row| async move {
        let dir = tempfile::tempdir().unwrap();
        let (bucket, again) = (Bucket::folder(dir.path()), Bucket::folder(dir.path()));
        check(&bucket.unwrap(), &again.unwrap(), row).await;
    })
    .await;
    let kinds = damage_rows::all().filter(|row| row.fate != Fate::Harmless);
    assert!(kinds.count() >= 60);
}

#[test]
fn every_reason_has_a_row_or_is_said_to_have_none() {
    let shown: BTreeSet<&str> = damage_rows::all().map(|r| r.reason).collect();
    let names: BTreeSet<&str> = damage_rows::all().map(|r| r.name).collect();
    assert_eq!(
        names.len(),
        damage_rows::all().count(),
        "names are distinct"
    );
    for damage in Damage::ALL {
        // Overlapping downsampled blocks are never merged, and every place has a file.
        let none = [Damage::OverlappingAggregates, Damage::Malformed].contains(&damage);
        assert_ne!(shown.contains(damage.as_str()), none, "{damage}");
    }
}

fn named(name: &str) -> &'static Row {
    damage_rows::all().find(|r| r.name == name).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_from_a_store_that_is_asked_for_ranges() {
    let server = S3Server::start().await;
    for (n, name) in [
        "chunk: data flipped",
        "segment missing, no sizes stated",
        "segments read backwards, as old blocks have them",
    ]
    .into_iter()
    .enumerate()
    {
        let bucket = server.bucket(&format!("blocks-{n}")).await;
        let yaml = support::s3_server::config(&server.endpoint(), &format!("blocks-{n}"), "");
        let again = support::s3_server::open(&yaml).await;
        check(&bucket, &again, named(name)).await;
    }
}

/// A bucket in memory with `damaged` streams, each with a block of a row of the
/// corpus, and one good stream.
async fn many_damaged(damaged: u64, kind: &str) -> Bucket {
    let bucket = Bucket::memory().unwrap();
    for n in 0..damaged {
        let cluster = format!("bad-{n}");
        for i in 0..5 {
            let spec = spec(10 + n, &cluster, i * 2, "a");
            let mut parts = Parts::of(&spec);
            if i == 1 {
                (named(kind).damage)(&mut parts);
            }
            damage::put(&bucket, spec.id, parts).await;
        }
    }
    for i in 0..5 {
        blocks::write(&bucket, &spec(9, "good", i * 2, "a")).await;
    }
    bucket
}

async fn no_compact_marks(bucket: &Bucket) -> usize {
    let objects = bucket.list("").await.unwrap();
    let marks = objects
        .iter()
        .filter(|o| o.name.ends_with(markers::NO_COMPACT_MARK));
    marks.count()
}

#[tokio::test(flavor = "multi_thread")]
async fn with_too_many_damaged_blocks_nothing_more_is_marked_and_the_run_ends() {
    let bucket = many_damaged(12, "chunk: data flipped").await;
    let report = run_at(&bucket, settings(), 1, NOW).await;
    assert!(report.quarantine_full && report.is_partial());
    assert_eq!(report.quarantined.len(), 10);
    assert_eq!(no_compact_marks(&bucket).await, 10);
    let jobs = report.jobs.len() + report.failures.len();
    assert!(
        jobs <= 3,
        "no job is begun once the limit is reached: {jobs}"
    );
    // The next run has room for the rest and does everything that is left.
    let second = run_at(&bucket, settings(), 1, NOW + 1).await;
    assert!(!second.quarantine_full);
    assert_eq!(no_compact_marks(&bucket).await, 12);
    assert!(second.failures.is_empty() && !second.jobs.is_empty());
    let third = run_at(&bucket, settings(), 1, NOW + 2).await;
    assert!(third.is_idle() && !third.is_partial());
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_in_the_listing_begin_no_job_at_all() {
    let bucket = many_damaged(12, "segment missing").await;
    let report = run_at(&bucket, settings(), 1, NOW).await;
    assert!(report.quarantine_full && report.is_partial());
    assert_eq!(report.quarantined.len(), 10);
    assert_eq!(no_compact_marks(&bucket).await, 10);
    assert!(report.jobs.is_empty());
    assert_eq!(bucket.counts().get_range.calls, 0, "nothing was read");
    let second = run_at(&bucket, settings(), 1, NOW + 1).await;
    assert!(!second.quarantine_full);
    assert_eq!(second.quarantined.len(), 2);
    assert_eq!(second.jobs.len(), 13);
}

async fn run_with_limit(bucket: &Bucket, limit: usize) -> RunReport {
    let scratch = tempfile::tempdir().unwrap();
    let clock = Arc::new(FixedClock::at(NOW));
    let mut compactor = compactor(bucket, settings(), 1, clock, scratch.path());
    compactor.options.max_quarantined = limit;
    compactor.run().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_of_zero_marks_nothing_and_the_others_are_compacted() {
    let bucket = many_damaged(3, "chunk: data flipped").await;
    let report = run_with_limit(&bucket, 0).await;
    assert!(!report.quarantine_full && report.is_partial());
    assert_eq!(no_compact_marks(&bucket).await, 0);
    assert_eq!(report.failures.len(), 3);
    for failure in &report.failures {
        assert_eq!(failure.error.damage(), Some(Damage::ChunkChecksum));
    }
    assert_eq!(report.jobs.len(), 1, "the good stream");
}

#[tokio::test(flavor = "multi_thread")]
async fn as_many_as_the_limit_are_not_too_many() {
    let bucket = many_damaged(3, "chunk: data flipped").await;
    let report = run_with_limit(&bucket, 3).await;
    assert!(!report.quarantine_full);
    assert_eq!(report.quarantined.len(), 3);
    assert_eq!(
        report.jobs.len(),
        4,
        "what is left of each stream, and the good one"
    );
}

/// The streams of the corpus, all good, in a store with wrong answers.
async fn flaky(faults: u64, file: &str) -> (Bucket, FlakyStore<Arc<InMemory>>) {
    let victim = format!("{}/{file}", victim().id);
    let store = FlakyStore::new(Arc::new(InMemory::new()), victim, faults);
    let bucket = Bucket::from_store("flaky", store.clone()).unwrap();
    for spec in others() {
        blocks::write(&bucket, &spec).await;
    }
    damage::put(&bucket, self::victim().id, Parts::of(&self::victim())).await;
    (bucket, store)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_of_the_transfer_is_no_damage() {
    for file in ["chunks/000001", "index"] {
        let (bucket, store) = flaky(1, file).await;
        let report = run_at(&bucket, settings(), 1, NOW).await;
        assert_eq!(store.left(), 0, "{file}");
        assert_eq!(report.transfer_faults, 1, "{file}");
        assert!(report.failures.is_empty() && !report.is_partial(), "{file}");
        assert_eq!(no_compact_marks(&bucket).await, 0, "{file}");
        let mut specs = others();
        specs.push(victim());
        assert!(content_but(&bucket, &["replica"], None).await == naive(&specs));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_in_the_job_and_wrong_again_is_damage() {
    let (bucket, _) = flaky(1000, "chunks/000001").await;
    let report = run_at(&bucket, settings(), 1, NOW).await;
    assert_eq!(report.quarantined.len(), 1);
    assert_eq!(report.quarantined[0].block, victim().id);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_in_quarantine_stands_in_for_no_other() {
    // A block of somebody else that says it holds all of a stream's blocks, but
    // whose segment is damaged.
    let bucket = Bucket::memory().unwrap();
    let parts: Vec<Spec> = (0..4).map(|i| spec(1, "bad", i * 2, "a")).collect();
    for spec in &parts {
        blocks::write(&bucket, spec).await;
    }
    let mut whole = spec(5, "bad", 0, "a");
    whole.range.1 = START + 8 * HOUR;
    let mut files = Parts::of(&whole);
    files.meta.tsdb.compaction.level = 2;
    files.meta.tsdb.compaction.sources = parts.iter().map(|s| s.id).collect();
    files.segments.clear();
    files.sizes = damage::Sizes::Kept;
    damage::put(&bucket, whole.id, files).await;
    for i in 0..2 {
        let report = run_at(&bucket, settings(), 1, NOW + i).await;
        assert!(report.garbage.is_empty(), "its sources are all there is");
    }
    assert!(exists(&bucket, whole.id, markers::NO_COMPACT_MARK).await);
    assert!(!exists(&bucket, whole.id, markers::DELETION_MARK).await);
    let found = content_but(&bucket, &["replica"], Some(whole.id)).await;
    assert!(found == naive(&parts));
}

#[test]
fn every_reason_is_in_the_documentation() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operations.md");
    let page = std::fs::read_to_string(page).unwrap();
    let rows: Vec<&str> = page.lines().filter(|l| l.starts_with("| `")).collect();
    for damage in Damage::ALL {
        let row = format!("| `{damage}` |");
        assert!(
            rows.iter().any(|l| l.starts_with(&row)),
            "{damage} is not explained"
        );
    }
}
