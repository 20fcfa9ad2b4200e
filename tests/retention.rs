//! Retention on a bucket: what is past it and stands in lower resolution is
//! marked and never read; what does not stand anywhere yet is held.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "test code")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use assert_cmd::cargo::cargo_bin;
use lithify::block::markers::DeletionMark;
use lithify::compact::sync::Syncer;
use lithify::objstore::Bucket;
use lithify::plan::{self, Settings, held_back};
use serde_json::Value;
use support::blocks::{self, Spec, encode, labels, live_metas, meta};
use support::runs::{HOUR, START, run_at};
use ulid::Ulid;

const DAY: i64 = 24 * HOUR;

/// A week after the end of the first eight hours.
const NOW: i64 = START + 8 * HOUR + 7 * DAY + 1;

fn id(n: u64) -> Ulid {
    Ulid::from_parts(START as u64 + n, u128::from(n))
}

/// `[from, to)` in hours, one series with a sample each minute.
fn spec(n: u64, cluster: &str, (from, to): (i64, i64)) -> Spec {
    let name = vec![("__name__".to_owned(), "up".to_owned())];
    let minutes = from * 60..to * 60;
    let samples = minutes.map(|m| (START + m * 60_000, m as f64)).collect();
    Spec {
        id: id(n),
        labels: labels(&[("cluster", cluster)]),
        range: (START + from * HOUR, START + to * HOUR),
        series: BTreeMap::from([(name, samples)]),
    }
}

/// A block that states to be of 5 minutes and made of blocks `sources`.
async fn write_five_minutes(bucket: &Bucket, spec: &Spec, sources: &[u64]) {
    let (index, segment) = encode(spec);
    let mut meta = meta(spec, &index, &segment);
    meta.thanos.downsample.resolution = 300_000;
    meta.tsdb.compaction.sources = sources.iter().map(|&n| id(n)).collect();
    for (file, body) in [
        ("chunks/000001", segment),
        ("index", index),
        ("meta.json", meta.to_json().unwrap()),
    ] {
        let name = format!("{}/{file}", spec.id);
        bucket.put(&name, body).await.unwrap();
    }
}

/// Five blocks of 2h of a stream; of stream `covered`, the first four stand in
/// a block of 5 minutes, too.
async fn stream(bucket: &Bucket, cluster: &str, first: u64) {
    for i in 0..5 {
        let range = (i * 2, i * 2 + 2);
        blocks::write(bucket, &spec(first + i as u64, cluster, range)).await;
    }
    if cluster == "covered" {
        let sources: Vec<u64> = (first..first + 4).collect();
        let five = spec(first + 9, cluster, (0, 8));
        write_five_minutes(bucket, &five, &sources).await;
    }
}

/// Overwrites what a block holds with as many other bytes: whoever reads it
/// finds it damaged.
fn spoil(folder: &Path, block: Ulid) {
    for file in ["index", "chunks/000001"] {
        let path = folder.join(block.to_string()).join(file);
        let size = std::fs::metadata(&path).unwrap().len();
        std::fs::write(path, vec![0x5a; size as usize]).unwrap();
    }
}

fn settings() -> Settings {
    Settings {
        retention_ms: [7 * DAY, 0, 0],
        ..Settings::default()
    }
}

async fn mark_of(bucket: &Bucket, block: Ulid) -> Option<DeletionMark> {
    let name = format!("{block}/deletion-mark.json");
    let json = bucket.get(&name).await.unwrap()?;
    Some(serde_json::from_slice(&json).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_retired_is_marked_and_never_read() {
    let dir = tempfile::tempdir().unwrap();
    let setup = Bucket::folder(dir.path()).unwrap();
    stream(&setup, "covered", 1).await;
    (1..=4).for_each(|n| spoil(dir.path(), id(n)));

    let bucket = Bucket::folder(dir.path()).unwrap();
    let report = run_at(&bucket, settings(), 2, NOW).await;
    assert!(!report.is_partial() && !report.is_idle(), "{report:?}");
    let mut retired = report.retired.clone();
    retired.sort_unstable();
    assert_eq!(retired, (1..=4).map(id).collect::<Vec<_>>());
    assert!(report.jobs.is_empty() && report.quarantined.is_empty());
    let counts = bucket.counts();
    assert_eq!(counts.get.calls, 6, "the metas");
    assert_eq!(counts.get_range.calls, 0, "nothing of a block");
    assert_eq!((counts.put.calls, counts.writes()), (4, 4), "the marks");
    for n in 1..=4 {
        let mark = mark_of(&bucket, id(n)).await.unwrap();
        assert_eq!(mark.details, "block exceeding retention of 168h0m0s");
        assert_eq!(mark.deletion_time, NOW / 1000);
    }
    for n in [5, 10] {
        assert!(mark_of(&bucket, id(n)).await.is_none(), "{n}");
    }

    // Marked, they neither take part nor get a second mark.
    let bucket = Bucket::folder(dir.path()).unwrap();
    let second = run_at(&bucket, settings(), 2, NOW + HOUR).await;
    assert!(second.is_idle(), "{second:?}");
    assert_eq!(bucket.counts().writes(), 0);
    // After the delay their objects go, and nothing else.
    let bucket = Bucket::folder(dir.path()).unwrap();
    let third = run_at(&bucket, settings(), 2, NOW + 49 * HOUR).await;
    let deleted: BTreeSet<Ulid> = third.deleted.iter().copied().collect();
    assert_eq!(deleted, (1..=4).map(id).collect());
    let objects = bucket.list("").await.unwrap();
    let folder = |name: &str| name.split('/').next().unwrap().to_owned();
    let left: BTreeSet<String> = objects.iter().map(|o| folder(&o.name)).collect();
    assert_eq!(left, [5, 10].map(|n| id(n).to_string()).into());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stands_nowhere_else_is_held_and_goes_on_being_compacted() {
    let dir = tempfile::tempdir().unwrap();
    let bucket = Bucket::folder(dir.path()).unwrap();
    stream(&bucket, "covered", 1).await;
    stream(&bucket, "alone", 101).await;
    (1..=4).for_each(|n| spoil(dir.path(), id(n)));
    let view = Syncer::new(bucket.clone(), 8).sync().await.unwrap();
    let plan = plan::plan(&view, &settings(), NOW);
    assert_eq!(held_back(&plan), [4, 0, 0]);
    assert_eq!(plan.jobs.len(), 1);

    let report = run_at(&bucket, settings(), 2, NOW).await;
    assert!(!report.is_partial(), "{report:?}");
    assert_eq!(report.retired.len(), 4);
    assert_eq!(report.jobs.len(), 1);
    assert_eq!(
        report.jobs[0].sources,
        (101..=104).map(id).collect::<Vec<_>>()
    );
    let metas = live_metas(&bucket).await;
    let shape: BTreeSet<(i64, i64, String)> = metas
        .iter()
        .map(|m| {
            let hours = |ms: i64| (ms - START) / HOUR;
            let (from, to) = (m.tsdb.min_time, m.tsdb.max_time);
            (hours(from), hours(to), m.thanos.labels["cluster"].clone())
        })
        .collect();
    let wanted = [
        (0, 8, "alone"),
        (0, 8, "covered"),
        (8, 10, "alone"),
        (8, 10, "covered"),
    ];
    assert_eq!(
        shape,
        wanted
            .map(|(from, to, cluster)| (from, to, cluster.to_owned()))
            .into()
    );
    // The block that was made of them is past the retention as well.
    let view = Syncer::new(bucket.clone(), 8).sync().await.unwrap();
    let plan = plan::plan(&view, &settings(), NOW);
    assert!(plan.is_empty());
    assert_eq!(held_back(&plan), [1, 0, 0]);
    // By force it goes.
    let force = Settings {
        force_retention: true,
        ..settings()
    };
    let report = run_at(&bucket, force, 2, NOW).await;
    assert_eq!(report.retired, [plan.held[0].blocks[0]]);
}

fn dry_run(folder: &Path, flags: &[&str]) -> String {
    let config = format!(
        "--objstore.config={{type: FILESYSTEM, config: {{directory: {}}}}}",
        folder.display()
    );
    let output = Command::new(cargo_bin("lithify"))
        .args(["compact", "--log.level=error", &config])
        .args([
            "--retention.resolution-raw=7d",
            "--retention.resolution-5m=30d",
        ])
        .args(flags)
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    String::from_utf8(output.stdout).unwrap()
}

/// Years later; the clock of the program is that of the machine.
#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_tells_what_goes_when_and_why() {
    let dir = tempfile::tempdir().unwrap();
    let bucket = Bucket::folder(dir.path()).unwrap();
    stream(&bucket, "covered", 1).await;
    stream(&bucket, "alone", 101).await;
    let rules = "--policy.config=\
        - {match: '{cluster=\"alone\"}', retention: {raw: 0, 5m: 0}}\n\
        - {match: '{cluster=\"gone\"}', downsampling: true}";
    let page = dry_run(dir.path(), &["--dry-run", rules]);
    for line in page.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
    for part in [
        "past their retention, to be marked",
        "raw, 5 blocks, ",
        "5m, 1 block, ",
        "bytes go once the delay of their marks has passed",
        "policy (rule 1): raw for ever, 5m for ever, 1h for ever, one-to-one",
        "10 still to be marked",
    ] {
        assert!(page.contains(part), "{part} is missing in\n{page}");
    }
    let json: Value =
        serde_json::from_str(&dry_run(dir.path(), &["--dry-run=json", rules])).unwrap();
    let bucket = &json["buckets"][0];
    let all = |key: &str| bucket[key].as_array().unwrap().clone();
    let mut why: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for retired in all("retired") {
        let text = |key: &str| retired[key].as_str().unwrap_or_default().to_owned();
        why.entry(text("block"))
            .or_default()
            .extend([text("why"), text("proof")]);
    }
    let never = vec!["never-downsampled".to_owned(), "window-closed".to_owned()];
    // The block of 5 minutes goes, too, so it covers nothing.
    for n in [1, 2, 3, 4, 5, 10] {
        assert_eq!(why[&id(n).to_string()], never, "{n}");
    }
    assert_eq!(all("removals").len(), 6 + 4, "and the sources of the job");
    let rules: BTreeMap<String, Value> = all("streams")
        .iter()
        .map(|s| {
            (
                s["labels"]["cluster"].as_str().unwrap().to_owned(),
                s["policy"]["rules"].clone(),
            )
        })
        .collect();
    assert_eq!(rules["alone"], serde_json::json!([1]));
    assert_eq!(rules["covered"], serde_json::json!([]));
    let kinds: BTreeSet<String> = all("findings")
        .iter()
        .map(|f| f["kind"].as_str().unwrap().to_owned())
        .collect();
    assert!(
        kinds.contains("rule-unused") && kinds.contains("kept-as"),
        "{kinds:?}"
    );
}
