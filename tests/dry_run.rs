//! The dry run: it writes nothing, says what a run then does, fits 80 columns,
//! follows its schema, and tells by its exit code what it found.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "test code")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use assert_cmd::cargo::cargo_bin;
use lithify::compact::sync::Syncer;
use lithify::compact::{clusters, sample};
use lithify::objstore::Bucket;
use lithify::plan::{self, Dedup, Plan, Settings, forecast};
use lithify::runtime::pool;
use serde_json::Value;
use support::files::{copy_dir, copy_edge_stream, fixture};
use support::runs::{run_at, settings};
use support::schema::assert_committed;
use ulid::Ulid;

/// Some days after the quick-start blocks were written, ms since the epoch.
const NOW_MS: i64 = 1_789_000_000_000;

fn quickstart() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    copy_dir(&fixture("quickstart"), &dir.path().join("bucket"));
    dir
}

/// Writes a configuration beside the bucket.
fn config(bucket: &Path) -> PathBuf {
    let file = bucket.with_extension("yml");
    let yaml = format!(
        "type: FILESYSTEM\nconfig:\n  directory: {}\n",
        bucket.display()
    );
    std::fs::write(&file, yaml).unwrap();
    file
}

fn dry_run(configs: &[PathBuf], flags: &[&str]) -> Output {
    let mut command = Command::new(cargo_bin("lithify"));
    command.args(["compact", "--log.level=error", "--consistency-delay=0s"]);
    for config in configs {
        command.arg(format!("--objstore.config-file={}", config.display()));
    }
    command.args(flags).output().unwrap()
}

const REPLICAS: [&str; 2] = [
    "--deduplication.replica-label=prometheus_replica",
    "--deduplication.replica-label=receive_replica",
];

fn with<'a>(more: &[&'a str]) -> Vec<&'a str> {
    REPLICAS.iter().chain(more).copied().collect()
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// Every file below a folder with its content.
fn tree(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                files.insert(path.clone(), std::fs::read(&path).unwrap());
            }
        }
    }
    files
}

async fn planned(bucket: &Bucket, settings: &Settings) -> Plan {
    let view = Syncer::new(bucket.clone(), 8).sync().await.unwrap();
    plan::plan(&view, settings, NOW_MS)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_run_does_what_the_plan_says_within_what_it_predicts() {
    for (one_pass, dedup) in [
        (true, Dedup::OneToOne),
        (true, Dedup::Penalty),
        (false, Dedup::OneToOne),
    ] {
        let dir = quickstart();
        let bucket = Bucket::folder(dir.path().join("bucket")).unwrap();
        let settings = Settings {
            one_pass,
            dedup,
            downsampling: true,
            ..settings()
        };
        let plan = planned(&bucket, &settings).await;
        assert_eq!(bucket.counts().writes(), 0);
        let report = run_at(&bucket, settings, 2, NOW_MS).await;
        let sources = |ids: Vec<Ulid>| -> BTreeSet<Ulid> { ids.into_iter().collect() };
        let done: BTreeMap<_, _> = report
            .jobs
            .iter()
            .map(|job| (sources(job.sources.clone()), job))
            .collect();
        for job in &plan.jobs {
            let report = done[&sources(job.source_ids())];
            assert_eq!(report.range, (job.min_time(), job.max_time()));
            assert_eq!((report.kind, report.reason), (job.kind, job.reason));
            let cost = &job.cost;
            let inside = |n: u64, span: (u64, u64), what: &str| {
                assert!(
                    span.0 <= n && n <= span.1,
                    "{what}: {n} in {span:?} {job:?}"
                );
            };
            inside(report.bytes_out, cost.bytes, "bytes");
            inside(report.series, cost.series, "series");
            inside(report.ledger.written, cost.samples, "samples");
            assert_eq!(report.bytes_in, cost.bytes_in);
            assert_eq!(report.ledger.read, cost.samples_in);
        }
        if one_pass {
            assert_eq!(report.jobs.len(), plan.jobs.len(), "and nothing else");
            let again = planned(&bucket, &support::runs::settings()).await;
            assert!(again.is_empty());
            // What the plan shows as the bucket afterwards is what is there.
            let shape = |tiles: &[plan::Tile]| -> Vec<(i64, i64, u32)> {
                tiles
                    .iter()
                    .map(|t| (t.range.0, t.range.1, t.level))
                    .collect()
            };
            for (before, after) in plan.streams.iter().zip(&again.streams) {
                assert_eq!(before.labels, after.labels);
                assert_eq!(shape(&before.after), shape(&after.before));
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn predicted_requests_are_those_of_the_run() {
    let dir = quickstart();
    let path = dir.path().join("bucket");
    let view = Syncer::new(Bucket::folder(&path).unwrap(), 8)
        .sync()
        .await
        .unwrap();
    let plan = plan::plan(&view, &settings(), NOW_MS);
    let facts = forecast::BucketFacts {
        name: String::new(),
        view: &view,
        plan: &plan,
        rounds: &plan::rounds(&view, &plan, &settings(), NOW_MS),
        series: &forecast::SeriesByCluster::new(),
        findings: &[],
        settings: &Default::default(),
        habits: forecast::Habits::default(),
    };
    let predicted = forecast::forecast(&[facts], "cluster", NOW_MS)
        .totals
        .requests;
    let bucket = Bucket::folder(&path).unwrap();
    run_at(&bucket, settings(), 2, NOW_MS).await;
    let counts = bucket.counts();
    let near = |name: &str, predicted: u64, counted: u64| {
        let off = predicted.abs_diff(counted) as f64 / counted.max(1) as f64;
        assert!(
            off < 0.2,
            "{name}: predicted {predicted}, counted {counted}"
        );
    };
    near("list", predicted.list, counts.list.calls);
    near("head", predicted.head, counts.head.calls);
    near(
        "get",
        predicted.get,
        counts.get.calls + counts.get_range.calls,
    );
    near(
        "put",
        predicted.put,
        counts.put.calls + counts.put_part.calls,
    );
    assert_eq!(predicted.delete, counts.delete.calls);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sample_comes_near_the_result() {
    for dedup in [Dedup::OneToOne, Dedup::Penalty] {
        let dir = quickstart();
        let bucket = Bucket::folder(dir.path().join("bucket")).unwrap();
        let settings = Settings {
            dedup,
            ..settings()
        };
        let mut plan = planned(&bucket, &settings).await;
        let pool = pool::cpu_pool(2).unwrap();
        for job in &mut plan.jobs {
            // The blocks have about 40 series: half of them are a sample.
            sample::measure(&bucket, &pool, job, 2).await.unwrap();
        }
        let series = clusters::count_series(&bucket, &plan, "cluster")
            .await
            .unwrap();
        assert_eq!(series.len(), 62, "the blocks of the receivers");
        assert_eq!(bucket.counts().writes(), 0);
        let report = run_at(&bucket, settings, 2, NOW_MS).await;
        let sum = |of: fn(&plan::cost::Cost) -> (u64, u64)| -> u64 {
            plan.jobs
                .iter()
                .map(|j| of(&j.cost))
                .map(|s| u64::midpoint(s.0, s.1))
                .sum()
        };
        let near = |what: &str, sampled: u64, real: u64, most: f64| {
            let off = sampled.abs_diff(real) as f64 / real as f64;
            assert!(off < most, "{what} {dedup}: sampled {sampled}, real {real}");
        };
        let real = |of: fn(&lithify::compact::report::JobReport) -> u64| -> u64 {
            report.jobs.iter().map(of).sum()
        };
        near("series", sum(|c| c.series), real(|j| j.series), 0.02);
        near(
            "samples",
            sum(|c| c.samples),
            real(|j| j.ledger.written),
            0.15,
        );
        near("bytes", sum(|c| c.bytes), real(|j| j.bytes_out), 0.2);
    }
}

#[test]
fn nothing_is_written_and_the_page_fits_80_columns() {
    let dir = quickstart();
    let bucket = dir.path().join("bucket");
    let before = tree(&bucket);
    let config = config(&bucket);
    for flags in [
        with(&["--dry-run"]),
        with(&["--dry-run", "--cluster-label=cluster", "--dry-run-sample=4"]),
        vec!["--dry-run"],
    ] {
        let output = dry_run(std::slice::from_ref(&config), &flags);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let page = text(&output);
        for line in page.lines() {
            assert!(line.chars().count() <= 80, "{line}");
        }
        for word in ["cluster-01", "now   |", "after |", "217 →", "requests"] {
            assert!(page.contains(word), "{word} is missing:\n{page}");
        }
    }
    assert!(tree(&bucket) == before, "the bucket changed");
    assert!(!dir.path().join("data").exists());
}

#[test]
fn json_follows_the_committed_schema() {
    let schema = serde_json::to_value(forecast::schema()).unwrap();
    assert_committed(&schema, "plan.schema.json", "dry_run");
    let dir = quickstart();
    let bucket = dir.path().join("bucket");
    let (left_alone, damaged) = (dir.path().join("edge"), dir.path().join("odd"));
    let blocks = copy_edge_stream("cluster-02", &left_alone);
    std::fs::remove_file(left_alone.join(&blocks[3]).join("index")).unwrap();
    copy_edge_stream("cluster-03", &damaged);
    let configs: Vec<PathBuf> = [&bucket, &left_alone, &damaged].map(|b| config(b)).to_vec();
    let output = dry_run(
        &configs,
        &with(&["--dry-run=json", "--cluster-label=cluster"]),
    );
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let plan: Value = serde_json::from_slice(&output.stdout).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let errors: Vec<String> = validator
        .iter_errors(&plan)
        .map(|e| e.to_string())
        .collect();
    assert!(errors.is_empty(), "{errors:?}");
    // The validator must be able to say no.
    let mut wrong = plan.clone();
    wrong["totals"]["jobs"] = "many".into();
    assert!(!validator.is_valid(&wrong));

    assert_eq!(plan["schema"], forecast::SCHEMA);
    assert_eq!(plan["buckets"].as_array().unwrap().len(), 3);
    assert_eq!(plan["problems"], true, "a damaged block is left alone");
    let clusters: Vec<(&str, &str)> = plan["clusters"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| (c["name"].as_str().unwrap(), c["found_in"].as_str().unwrap()))
        .collect();
    // Edges by their external label; in the receivers' stream by the series.
    for expected in [
        ("cluster-01", "label"),
        ("cluster-02", "label"),
        ("cluster-02", "series"),
        ("cluster-04", "series"),
    ] {
        assert!(clusters.contains(&expected), "{expected:?} in {clusters:?}");
    }
    let stream_blocks: u64 = plan["clusters"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|c| c["name"] == "cluster-03" && c["found_in"] == "label")
        .map(|c| c["blocks_before"].as_u64().unwrap())
        .sum();
    assert_eq!(stream_blocks, 62, "one plan over several buckets");
}

/// Lanes that are off leave nothing in the plan, and a limit leaves the blocks
/// that were marked last.
#[test]
fn lanes_and_the_limit_of_deletions_show() {
    let dir = tempfile::tempdir().unwrap();
    let bucket = dir.path().join("bucket");
    let blocks = copy_edge_stream("cluster-02", &bucket);
    for (age, id) in blocks[..3].iter().rev().enumerate() {
        let json = format!(
            r#"{{"id":"{id}","version":1,"deletion_time":{}}}"#,
            1_700_000_000 + age
        );
        std::fs::write(bucket.join(id).join("deletion-mark.json"), json).unwrap();
    }
    let config = config(&bucket);
    let plan = |flags: &[&str]| -> Value {
        let flags: Vec<&str> = flags.iter().copied().chain(["--dry-run=json"]).collect();
        let output = dry_run(std::slice::from_ref(&config), &flags);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let count = |of: &Value| of.as_array().unwrap().len();
    let all = plan(&[]);
    assert_eq!(count(&all["lanes"]), 4);
    let all = &all["buckets"][0];
    assert!(count(&all["jobs"]) > 0 && count(&all["deletions"]) == 3);
    assert_eq!(all["deletions_left"], 0);

    let flags = ["--only=retention", "--max-delete-per-run=1"];
    let limited = plan(&flags);
    assert_eq!(limited["lanes"], serde_json::json!(["retention"]));
    let limited = &limited["buckets"][0];
    assert_eq!(count(&limited["jobs"]), 0);
    assert_eq!(limited["deletions"][0]["block"], blocks[2]);
    assert_eq!(count(&limited["deletions"]), 1);
    assert_eq!(limited["deletions_left"], 2);
    for stream in limited["streams"].as_array().unwrap() {
        assert_eq!(stream["before"], stream["after"], "without its jobs");
    }
    let page: Vec<&str> = flags.into_iter().chain(["--dry-run"]).collect();
    let page = text(&dry_run(std::slice::from_ref(&config), &page));
    for words in [
        "lanes: retention (others skipped)",
        "1 of 3 marked blocks: --max-delete-per-run leaves the rest",
    ] {
        assert!(page.contains(words), "{words} is missing:\n{page}");
    }
    let skipped = plan(&["--skip=retention"]);
    assert_eq!(count(&skipped["buckets"][0]["deletions"]), 0);
    assert!(count(&skipped["buckets"][0]["jobs"]) > 0);
}

#[test]
fn exit_codes_tell_what_was_found() {
    let dir = quickstart();
    let bucket = dir.path().join("bucket");
    let pending = config(&bucket);
    let code = |config: &PathBuf, flags: &[&str]| {
        dry_run(std::slice::from_ref(config), flags).status.code()
    };
    assert_eq!(code(&pending, &with(&["--dry-run"])), Some(0));
    let detailed = with(&["--dry-run=json", "--detailed-exitcode"]);
    assert_eq!(code(&pending, &detailed), Some(2));
    let scratch = format!("--data-dir={}", dir.path().join("data").display());
    assert_eq!(code(&pending, &with(&[&scratch])), Some(0));
    assert_eq!(code(&pending, &detailed), Some(0), "nothing is left to do");

    // Two blocks of one window and no permission to merge them.
    let odd = dir.path().join("odd");
    let blocks = copy_edge_stream("cluster-02", &odd);
    let copy = "01ARZ3NDEKTSV4RRFFQ69G5FAV";
    copy_dir(&odd.join(&blocks[0]), &odd.join(copy));
    let meta = odd.join(copy).join("meta.json");
    let json = std::fs::read_to_string(&meta)
        .unwrap()
        .replace(&blocks[0], copy);
    std::fs::write(meta, json).unwrap();
    let config = config(&odd);
    assert_eq!(
        code(&config, &["--dry-run", "--detailed-exitcode"]),
        Some(1)
    );
    let page = text(&dry_run(std::slice::from_ref(&config), &["--dry-run"]));
    for word in ["left alone", "overlap-not-allowed", copy, "cure:"] {
        assert!(page.contains(word), "{word} is missing:\n{page}");
    }
}
