//! Thanos before, after and beside us on one bucket.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::compact::{live_blocks, meta};
use crate::files::{copy_dir, fixture};
use crate::peer::{
    folder_config, free_port, lithify, lithify_compact, must, peer, replica_flags, thanos_compact,
};

/// A quick-start bucket below `work`, and its configuration.
fn quickstart(work: &Path, name: &str) -> (PathBuf, PathBuf) {
    let bucket = work.join(name);
    copy_dir(&fixture("quickstart"), &bucket);
    let config = folder_config(&bucket, work);
    (bucket, config)
}

fn with<'a>(flags: &'a [String], more: &[&'a str]) -> Vec<&'a str> {
    flags
        .iter()
        .map(String::as_str)
        .chain(more.iter().copied())
        .collect()
}

/// Compares the live blocks of two buckets sample by sample.
fn assert_same_samples(left: &Path, right: &Path) {
    let sides = |flag: &str, bucket: &Path| -> Vec<String> {
        live_blocks(bucket)
            .iter()
            .flat_map(|b| [flag.to_owned(), b.display().to_string()])
            .collect()
    };
    let mut compare = Command::new(peer("oracle"));
    compare
        .arg("compare")
        .args(sides("--left", left))
        .args(sides("--right", right));
    must(&mut compare);
}

/// Labels, ranges and sources of live blocks.
fn shape(bucket: &Path) -> Vec<String> {
    let one = |block: &PathBuf| {
        let m = meta(block);
        format!(
            "{} {}..{} {}",
            m["thanos"]["labels"], m["minTime"], m["maxTime"], m["compaction"]["sources"]
        )
    };
    let mut shape: Vec<String> = live_blocks(bucket).iter().map(one).collect();
    shape.sort();
    shape
}

#[test]
fn penalty_gives_what_the_querier_gives() {
    let work = tempfile::tempdir().unwrap();
    let (source, _) = quickstart(work.path(), "source");
    let (theirs, their_config) = quickstart(work.path(), "theirs");
    let flags = replica_flags();
    let flags = with(&flags, &["--deduplication.func=penalty"]);
    thanos_compact(&their_config, work.path(), &flags);
    for (name, more) in [("one", &[][..]), ("steps", &["--no-compact.one-pass"][..])] {
        let (ours, config) = quickstart(work.path(), name);
        let flags: Vec<&str> = flags.iter().chain(more).copied().collect();
        lithify_compact(&config, work.path(), &flags);
        assert_eq!(shape(&ours), shape(&theirs), "{name}");
        let labels = replica_flags();
        let labels = labels
            .iter()
            .map(|f| f.replace("--deduplication.replica-label", "--replica-label"));
        let output = must(
            Command::new(peer("oracle"))
                .arg("penalty-blocks")
                .args(labels)
                .arg("--left")
                .arg(&ours)
                .arg("--source")
                .arg(&source)
                .arg("--other")
                .arg(&theirs),
        );
        let text = String::from_utf8(output.stdout).unwrap();
        println!("{name}: {text}");
        assert!(text.contains("thanos compact differs in"), "{text}");
        let last = text.lines().last().unwrap_or_default();
        assert!(last.contains(" 0 differences"), "{text}");
        assert!(!last.contains(" 0 samples"), "{text}");
    }
}

#[test]
fn step_by_step_and_one_pass_write_the_same_samples() {
    let work = tempfile::tempdir().unwrap();
    let flags = replica_flags();
    let (one, one_config) = quickstart(work.path(), "one");
    let (steps, steps_config) = quickstart(work.path(), "steps");
    lithify_compact(&one_config, work.path(), &with(&flags, &[]));
    lithify_compact(
        &steps_config,
        work.path(),
        &with(&flags, &["--compact.one-pass=false"]),
    );
    assert_eq!(shape(&one), shape(&steps));
    assert_same_samples(&one, &steps);
}

#[test]
fn swapped_half_way_in_both_directions_the_samples_are_those_of_the_first() {
    for func in ["", "penalty"] {
        let work = tempfile::tempdir().unwrap();
        let dedup = format!("--deduplication.func={func}");
        let flags = replica_flags();
        let whole = with(&flags, &[&dedup]);
        let half = with(&flags, &[&dedup, "--debug.max-compaction-level=2"]);
        let (ours, our_config) = quickstart(work.path(), "ours");
        let (theirs, their_config) = quickstart(work.path(), "theirs");
        lithify_compact(&our_config, work.path(), &whole);
        thanos_compact(&their_config, work.path(), &whole);

        let (we_first, config) = quickstart(work.path(), "we-first");
        lithify_compact(&config, work.path(), &half);
        thanos_compact(&config, work.path(), &whole);
        assert_eq!(shape(&we_first), shape(&ours), "{func:?}");
        assert_same_samples(&we_first, &ours);

        let (they_first, config) = quickstart(work.path(), "they-first");
        thanos_compact(&config, work.path(), &half);
        lithify_compact(&config, work.path(), &whole);
        assert_eq!(shape(&they_first), shape(&theirs), "{func:?}");
        assert_same_samples(&they_first, &theirs);
    }
}

/// Both programs at once, which nobody should do: whatever they get into each
/// other's way, no sample is lost and the next run tidies up.
#[test]
fn a_live_thanos_beside_us_loses_nothing() {
    let flags = replica_flags();
    let flags = with(&flags, &[]);
    let reference = tempfile::tempdir().unwrap();
    let (expected, config) = quickstart(reference.path(), "expected");
    thanos_compact(&config, reference.path(), &flags);
    let mut met = false;
    for delay_ms in [0, 150, 400, 900] {
        let work = tempfile::tempdir().unwrap();
        let (bucket, config) = quickstart(work.path(), "shared");
        let mut thanos = Command::new(peer("thanos"))
            .arg("compact")
            .arg(format!("--objstore.config-file={}", config.display()))
            .arg(format!("--data-dir={}", work.path().join("t").display()))
            .arg(format!("--http-address=127.0.0.1:{}", free_port()))
            .args(["--downsampling.disable", "--compact.concurrency=2"])
            .args(&flags)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(delay_ms));
        let beside = Command::new(lithify())
            .arg("compact")
            .arg(format!("--objstore.config-file={}", config.display()))
            .arg(format!("--data-dir={}", work.path().join("l").display()))
            .args(["--compact.concurrency=1", "--threads=1"])
            .args(&flags)
            .output()
            .unwrap();
        thanos.wait().unwrap();
        let log = String::from_utf8_lossy(&beside.stderr).into_owned();
        met |= log.contains("while it was being compacted");
        // Each source was marked by whoever finished first; what both made of
        // the same sources is a duplicate now.
        let settle = Command::new(lithify())
            .arg("compact")
            .arg(format!("--objstore.config-file={}", config.display()))
            .arg(format!("--data-dir={}", work.path().join("l").display()))
            .args(&flags)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&settle.stderr).into_owned();
        assert_eq!(settle.status.code(), Some(0), "{text}");
        thanos_compact(&config, work.path(), &flags);
        assert_same_samples(&bucket, &expected);
    }
    println!("the programs met in the middle of a job: {met}");
}
