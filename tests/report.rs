//! `--report`: one document about all buckets, and a file that cannot be
//! written.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "test code")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use assert_cmd::Command;
use lithify::compact::{document, keep};
use serde_json::Value;
use support::files::copy_edge_stream;
use support::schema::assert_committed;

/// Buckets of one edge stream each, and a folder for all else.
struct Buckets {
    work: tempfile::TempDir,
    names: Vec<&'static str>,
}

impl Buckets {
    fn new(names: &[&'static str]) -> Self {
        let work = tempfile::tempdir().unwrap();
        for name in names {
            let bucket = work.path().join(name);
            fs::create_dir(&bucket).unwrap();
            copy_edge_stream(name, &bucket);
            let yaml = format!(
                "type: FILESYSTEM\nconfig:\n  directory: {}\n",
                bucket.display()
            );
            fs::write(work.path().join(format!("{name}.yml")), yaml).unwrap();
        }
        Self {
            work,
            names: names.to_vec(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.work.path().join(name)
    }

    /// Runs `lithify compact` on all buckets.
    fn compact(&self, report: &str, extra: &[&str]) -> Output {
        let file = |name: &&str| self.path(&format!("{name}.yml"));
        let configs = self.names.iter().map(file);
        Command::new(env!("CARGO_BIN_EXE_lithify"))
            .current_dir(self.work.path())
            .arg("compact")
            .args(configs.map(|f| format!("--objstore.config-file={}", f.display())))
            .arg(format!("--data-dir={}", self.path("data").display()))
            .arg(format!("--report={report}"))
            .args(extra)
            .timeout(std::time::Duration::from_secs(120))
            .output()
            .unwrap()
    }

    /// Blocks of a bucket with a deletion mark.
    fn marks(&self, name: &str) -> usize {
        let blocks = fs::read_dir(self.path(name)).unwrap();
        let blocks = blocks.map(|e| e.unwrap().path());
        blocks
            .filter(|b| b.join("deletion-mark.json").exists())
            .count()
    }

    /// Reports that are kept in a bucket.
    fn kept(&self, name: &str) -> Vec<Value> {
        let Ok(files) = fs::read_dir(self.path(name).join("lithify/reports")) else {
            return Vec::new();
        };
        files
            .map(|f| json(&fs::read(f.unwrap().path()).unwrap()))
            .collect()
    }
}

fn json(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A document as its schema says it.
fn document(bytes: &[u8]) -> Value {
    let document = json(bytes);
    let kept = serde_json::to_value(keep::schema()).unwrap();
    let schema = serde_json::to_value(document::schema()).unwrap();
    assert_committed(&schema, "run.schema.json", "report");
    let registry = jsonschema::Registry::new()
        .add("json-schema:///report.schema.json", kept)
        .unwrap()
        .prepare()
        .unwrap();
    let validator = jsonschema::options()
        .with_registry(&registry)
        .build(&schema)
        .unwrap();
    let errors: Vec<String> = validator
        .iter_errors(&document)
        .map(|e| e.to_string())
        .collect();
    assert!(errors.is_empty(), "{errors:?}");
    // The validator must be able to say no, in the part of the other file, too.
    let mut wrong = document.clone();
    wrong["buckets"][0]["report"] = serde_json::json!({"passes": "many"});
    assert!(!validator.is_valid(&wrong));
    document
}

const TWO: [&str; 2] = ["cluster-02", "cluster-03"];

#[test]
fn one_document_has_all_buckets_in_their_order() {
    for names in [&TWO[..1], &TWO] {
        let buckets = Buckets::new(names);
        // An older report is replaced.
        fs::write(buckets.path("report.json"), "x".repeat(1 << 20)).unwrap();
        let output = buckets.compact("report.json", &[]);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output));
        let document = document(&fs::read(buckets.path("report.json")).unwrap());
        assert_eq!(document["schema"], document::SCHEMA);
        let entries = document["buckets"].as_array().unwrap();
        assert_eq!(entries.len(), names.len());
        for (entry, name) in entries.iter().zip(names) {
            let folder = entry["name"].as_str().unwrap();
            assert!(folder.ends_with(name), "{folder}");
            assert_eq!(entry["error"], Value::Null);
            let kept = buckets.kept(name);
            assert_eq!(kept.len(), 1);
            let moment = |report: &Value| {
                let mut report = report.clone();
                report["ended_ms"].take();
                report
            };
            assert_eq!(moment(&entry["report"]), moment(&kept[0]));
            assert!(!kept[0]["jobs"].as_array().unwrap().is_empty());
        }
    }
}

#[test]
fn what_can_not_be_written_is_refused_before_anything_is_done() {
    let buckets = Buckets::new(&TWO);
    fs::write(buckets.path("file"), "kept").unwrap();
    let locked = buckets.path("locked.json");
    fs::write(&locked, "kept").unwrap();
    let mut rights = fs::metadata(&locked).unwrap().permissions();
    rights.set_readonly(true);
    fs::set_permissions(&locked, rights).unwrap();
    let mut cases = vec![
        ("no/such/folder.json", "its folder does not exist"),
        ("cluster-02", "it is a folder"),
        ("file/report.json", "cannot write"),
    ];
    // Root may write to any file.
    if fs::OpenOptions::new().append(true).open(&locked).is_err() {
        cases.push(("locked.json", "denied"));
    }
    for (path, why) in cases {
        let output = buckets.compact(path, &[]);
        let text = text(&output);
        assert_eq!(output.status.code(), Some(2), "{path}: {text}");
        for word in ["--report", path, why, "\ncure: "] {
            assert!(text.contains(word), "{word:?} is missing in: {text}");
        }
        for name in TWO {
            assert_eq!((buckets.marks(name), buckets.kept(name).len()), (0, 0));
        }
    }
    for file in ["file", "locked.json"] {
        assert_eq!(fs::read(buckets.path(file)).unwrap(), b"kept");
    }
}

#[test]
fn asking_whether_a_file_can_be_written_leaves_no_trace() {
    let buckets = Buckets::new(&TWO[..1]);
    fs::remove_dir_all(buckets.path(TWO[0])).unwrap();
    fs::write(buckets.path("old.json"), "kept").unwrap();
    for file in ["old.json", "new.json"] {
        let output = buckets.compact(file, &[]);
        assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    }
    assert_eq!(fs::read(buckets.path("old.json")).unwrap(), b"kept");
    assert!(!buckets.path("new.json").exists());
}

/// A device that is always full: it can be opened, and not written to.
#[cfg(target_os = "linux")]
const FULL: &str = "/dev/full";

#[cfg(target_os = "linux")]
fn tells_that_it_is_not_written(output: &Output) {
    let text = text(output);
    for word in [
        FULL,
        "report not written",
        "No space left",
        "lithify/reports",
    ] {
        assert!(text.contains(word), "{word:?} is missing in: {text}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_report_that_cannot_be_written_stops_no_bucket_and_makes_0_to_3() {
    let buckets = Buckets::new(&TWO);
    let output = buckets.compact(FULL, &[]);
    assert_eq!(output.status.code(), Some(3), "{}", text(&output));
    tells_that_it_is_not_written(&output);
    for name in TWO {
        assert!(buckets.marks(name) > 20, "{name}");
        assert_eq!(buckets.kept(name).len(), 1, "{name}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_report_that_cannot_be_written_hides_no_failure() {
    let buckets = Buckets::new(&TWO);
    // No scratch below a file.
    fs::write(buckets.path("data"), "").unwrap();
    let output = buckets.compact(FULL, &[]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    tells_that_it_is_not_written(&output);
}

#[test]
fn buckets_that_fail_are_in_the_document_with_their_cure() {
    let buckets = Buckets::new(&TWO);
    fs::write(buckets.path("data"), "").unwrap();
    let output = buckets.compact("report.json", &[]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    let document = document(&fs::read(buckets.path("report.json")).unwrap());
    let entries = document["buckets"].as_array().unwrap();
    assert_eq!(entries.len(), 2);
    for entry in entries {
        assert!(!entry["error"].as_str().unwrap().is_empty(), "{entry}");
    }
}

#[test]
fn standard_output_has_the_document_and_nothing_else() {
    let buckets = Buckets::new(&TWO);
    // A block that is put into quarantine has a page of its own.
    let mut blocks: Vec<PathBuf> = fs::read_dir(buckets.path(TWO[0]))
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    blocks.sort();
    flip(&blocks[5].join("chunks/000001"), 5000);
    let output = buckets.compact("-", &[]);
    assert_eq!(output.status.code(), Some(3), "{}", text(&output));
    assert!(text(&output).contains("put into quarantine\n"));
    let document = document(&output.stdout);
    assert_eq!(document["buckets"].as_array().unwrap().len(), 2);
    let shut = &document["buckets"][0]["report"]["quarantined"];
    assert_eq!(shut.as_array().unwrap().len(), 1);
    assert!(!buckets.path("-").exists());
}

fn flip(file: &Path, at: usize) {
    let mut bytes = fs::read(file).unwrap();
    bytes[at] ^= 0x10;
    fs::write(file, bytes).unwrap();
}

#[test]
fn a_dry_run_has_no_report_and_says_so() {
    let buckets = Buckets::new(&TWO[..1]);
    let output = buckets.compact("no/such/report.json", &["--dry-run"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert!(text(&output).contains("--report has no effect"));
}
