//! The binary on input that is wrong: what it says, how it exits, and that it
//! marks nothing.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "test code")]

mod support;

use std::fs;
use std::path::Path;
use std::process::Output;

use assert_cmd::Command;
use support::files::copy_edge_stream;
use support::s3_server::{self, recite, refusal};

/// Runs `lithify compact` with a configuration given as text.
fn compact(yaml: &str, extra: &[&str]) -> Output {
    let work = tempfile::tempdir().unwrap();
    Command::new(env!("CARGO_BIN_EXE_lithify"))
        .arg("compact")
        .arg(format!("--objstore.config={yaml}"))
        .arg(format!("--data-dir={}", work.path().display()))
        .args(extra)
        .env_remove("AWS_ACCESS_KEY_ID")
        .timeout(std::time::Duration::from_secs(120))
        .output()
        .unwrap()
}

fn folder_yaml(dir: &Path) -> String {
    format!(
        "type: FILESYSTEM\nconfig:\n  directory: {}\n",
        dir.display()
    )
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Exit code 1, and a message with all the words and a cure.
fn refused(output: &Output, words: &[&str]) {
    let text = text(output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    for word in words {
        assert!(text.contains(word), "{word:?} is missing in: {text}");
    }
    assert!(text.contains("cure:"), "no cure in: {text}");
}

/// The blocks of one edge stream in a folder of their own, by name.
fn edge_stream() -> (tempfile::TempDir, Vec<String>) {
    let dir = tempfile::tempdir().unwrap();
    let blocks = copy_edge_stream("cluster-02", dir.path());
    (dir, blocks)
}

fn marks(dir: &Path) -> usize {
    let blocks = fs::read_dir(dir).unwrap().map(|e| e.unwrap().path());
    blocks
        .filter(|b| b.join("deletion-mark.json").exists())
        .count()
}

#[test]
fn wrong_configurations_are_named() {
    let cases: [(&str, &[&str]); 6] = [
        ("type: FILESYSTEM\nconfig:\n  dir: /x\n", &["dir"]),
        ("type: FILESYSTEM\nconfig: [", &["bucket configuration"]),
        ("type: SWIFT\nconfig: {}\n", &["SWIFT"]),
        ("type: S3\nconfig:\n  endpoint: localhost\n", &["bucket"]),
        (
            "type: S3\nconfig:\n  bucket: b\n  endpoint: $(NO_SUCH_VARIABLE)\n",
            &["NO_SUCH_VARIABLE"],
        ),
        ("", &["objstore.config"]),
    ];
    for (yaml, words) in cases {
        refused(&compact(yaml, &[]), words);
    }
}

#[test]
fn a_missing_folder_is_named() {
    let yaml = folder_yaml(Path::new("/no/such/folder"));
    refused(&compact(&yaml, &[]), &["/no/such/folder", "does not exist"]);
}

#[test]
fn wrong_flags_exit_with_2() {
    for flag in [
        "--no-such-flag",
        "--delete-delay=1.5h",
        "--compact.concurrency=0",
    ] {
        let output = compact("type: FILESYSTEM", &[flag]);
        assert_eq!(output.status.code(), Some(2), "{flag}: {}", text(&output));
    }
}

#[test]
fn an_unreachable_store_is_named_without_a_long_wait() {
    let started = std::time::Instant::now();
    let yaml = s3_server::config("127.0.0.1:1", "blocks", "");
    refused(&compact(&yaml, &[]), &["blocks", "cannot be reached"]);
    assert!(started.elapsed().as_secs() < 100, "probing gives up early");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_says_no_is_quoted() {
    let cases = [
        (
            refusal("403 Forbidden", "AccessDenied", "no"),
            "permission denied",
        ),
        (
            refusal("404 Not Found", "NoSuchBucket", "no"),
            "the bucket does not exist",
        ),
    ];
    for (answer, words) in cases {
        let endpoint = recite(answer).await;
        let yaml = s3_server::config(&endpoint, "blocks", "");
        let output = tokio::task::spawn_blocking(move || compact(&yaml, &[]))
            .await
            .unwrap();
        refused(&output, &["blocks", words]);
        assert!(!text(&output).contains(s3_server::SECRET_KEY));
    }
}

#[test]
fn a_block_without_meta_is_left_out_and_the_rest_goes_on() {
    let (dir, blocks) = edge_stream();
    fs::remove_file(dir.path().join(&blocks[3]).join("meta.json")).unwrap();
    let output = compact(&folder_yaml(dir.path()), &[]);
    assert_eq!(
        output.status.code(),
        Some(0),
        "an upload may be under way: {}",
        text(&output)
    );
    assert!(text(&output).contains(&blocks[3]) && text(&output).contains("no meta.json"));
    assert!(marks(dir.path()) > 20, "the other blocks were compacted");
    assert!(
        !dir.path()
            .join(&blocks[3])
            .join("deletion-mark.json")
            .exists()
    );
}

#[test]
fn an_unreadable_meta_is_a_problem() {
    let (dir, blocks) = edge_stream();
    fs::write(dir.path().join(&blocks[3]).join("meta.json"), "{").unwrap();
    let output = compact(&folder_yaml(dir.path()), &[]);
    assert_eq!(output.status.code(), Some(3), "{}", text(&output));
    assert!(text(&output).contains(&blocks[3]));
}

#[test]
fn a_flipped_byte_costs_its_block_and_is_located() {
    for (file, at) in [("chunks/000001", 5000), ("index", 3000)] {
        let (dir, blocks) = edge_stream();
        let victim = dir.path().join(&blocks[5]).join(file);
        let mut bytes = fs::read(&victim).unwrap();
        bytes[at] ^= 0x10;
        fs::write(&victim, bytes).unwrap();

        let output = compact(&folder_yaml(dir.path()), &["--compact.concurrency=1"]);
        let text = text(&output);
        assert_eq!(output.status.code(), Some(3), "{text}");
        for word in [blocks[5].as_str(), file, "at byte", "no-compact-mark.json"] {
            assert!(text.contains(word), "{word:?} is missing in: {text}");
        }
        let block = dir.path().join(&blocks[5]);
        assert!(block.join("no-downsample-mark.json").exists());
        assert!(!block.join("deletion-mark.json").exists());
        assert!(marks(dir.path()) > 24, "its own windows are compacted, too");
        for folder in fs::read_dir(dir.path()).unwrap() {
            let folder = folder.unwrap().path();
            // The report of the run is kept beside the blocks.
            let whole = folder.join("meta.json").exists() || folder.ends_with("lithify");
            assert!(whole, "something is left of the failed compaction");
        }
        let page = String::from_utf8_lossy(&output.stdout);
        assert!(page.contains("put into quarantine") && page.contains(&blocks[5]));
        assert!(
            page.lines().all(|line| line.chars().count() <= 80),
            "{page}"
        );

        let output = compact(&folder_yaml(dir.path()), &[]);
        assert_eq!(output.status.code(), Some(0), "it is told, but no problem");
        let page = String::from_utf8_lossy(&output.stdout);
        assert!(page.contains("since an earlier run") && page.contains(&blocks[5]));
    }
}

#[test]
fn files_that_are_not_as_stated_are_a_problem() {
    type Damage = fn(&Path);
    let cases: [(Damage, &str); 3] = [
        (
            |block| fs::remove_file(block.join("index")).unwrap(),
            "index is missing",
        ),
        (
            |block| fs::remove_file(block.join("chunks/000001")).unwrap(),
            "chunks/000001 is missing",
        ),
        (
            |block| fs::write(block.join("chunks/000001"), "short").unwrap(),
            "has 5 bytes",
        ),
    ];
    for (damage, words) in cases {
        let (dir, blocks) = edge_stream();
        damage(&dir.path().join(&blocks[3]));
        let dry = compact(
            &folder_yaml(dir.path()),
            &["--dry-run", "--detailed-exitcode"],
        );
        assert_eq!(dry.status.code(), Some(1), "{}", text(&dry));
        let page = String::from_utf8_lossy(&dry.stdout);
        assert!(
            page.contains(words) && page.contains("damaged (problem)"),
            "{page}"
        );

        let output = compact(&folder_yaml(dir.path()), &[]);
        assert_eq!(output.status.code(), Some(3), "{}", text(&output));
        assert!(text(&output).contains(words), "{words}: {}", text(&output));
        let mark = dir.path().join(&blocks[3]).join("no-compact-mark.json");
        assert!(mark.exists(), "{words}");
        assert!(
            !dir.path()
                .join(&blocks[3])
                .join("deletion-mark.json")
                .exists()
        );
    }
}
