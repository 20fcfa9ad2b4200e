//! Folder buckets: our compactions beside those of Thanos.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::files::{copy_dir, copy_twice, fixture};
use crate::peer::{folder_config, lithify_compact, must, peer, replica_flags, thanos_compact};

/// The live blocks of a folder bucket: those without a deletion mark.
pub fn live_blocks(bucket: &Path) -> Vec<PathBuf> {
    let mut blocks: Vec<PathBuf> = fs::read_dir(bucket)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.join("meta.json").is_file())
        .filter(|path| !path.join("deletion-mark.json").exists())
        .collect();
    blocks.sort();
    blocks
}

pub fn meta(block: &Path) -> Value {
    serde_json::from_slice(&fs::read(block.join("meta.json")).unwrap()).unwrap()
}

/// Blocks by what they are, whatever their names: labels, resolution, range,
/// level, sources.
fn by_identity(bucket: &Path) -> BTreeMap<String, PathBuf> {
    live_blocks(bucket)
        .into_iter()
        .map(|path| {
            let m = meta(&path);
            let identity = format!(
                "{} {} {}..{} level {} of {}",
                m["thanos"]["labels"],
                m["thanos"]["downsample"]["resolution"],
                m["minTime"],
                m["maxTime"],
                m["compaction"]["level"],
                m["compaction"]["sources"],
            );
            (identity, path)
        })
        .collect()
}

/// Two copies of the quick-start bucket, one compacted by each program.
struct Pair {
    work: tempfile::TempDir,
    ours: PathBuf,
    theirs: PathBuf,
}

fn compacted_by_both(flags: &[String]) -> Pair {
    let work = tempfile::tempdir().unwrap();
    let (ours, theirs) = (work.path().join("ours"), work.path().join("theirs"));
    copy_dir(&fixture("quickstart"), &ours);
    copy_dir(&fixture("quickstart"), &theirs);
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    lithify_compact(&folder_config(&ours, work.path()), work.path(), &flags);
    thanos_compact(&folder_config(&theirs, work.path()), work.path(), &flags);
    Pair { work, ours, theirs }
}

fn same_blocks(pair: &Pair) -> Vec<(PathBuf, PathBuf)> {
    let (ours, theirs) = (by_identity(&pair.ours), by_identity(&pair.theirs));
    let names = |blocks: &BTreeMap<String, PathBuf>| blocks.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&ours), names(&theirs), "the live blocks differ");
    let pairs: Vec<_> = ours.into_values().zip(theirs.into_values()).collect();
    assert!(
        pairs
            .iter()
            .any(|(block, _)| meta(block)["compaction"]["level"].as_u64() > Some(2)),
        "nothing was compacted beyond the first step"
    );
    pairs
}

fn files(block: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::from([("index".to_owned(), fs::read(block.join("index")).unwrap())]);
    for entry in fs::read_dir(block.join("chunks")).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        files.insert(name, fs::read(entry.path()).unwrap());
    }
    files
}

#[test]
fn horizontal_results_are_byte_identical_to_thanos() {
    let pair = compacted_by_both(&[]);
    for (ours, theirs) in same_blocks(&pair) {
        for ((name, our), their) in files(&ours).iter().zip(files(&theirs).values()) {
            assert!(
                our == their,
                "{name} differs: {} {}",
                ours.display(),
                theirs.display()
            );
        }
        assert_eq!(files(&ours).len(), files(&theirs).len());
        let (our, their) = (meta(&ours), meta(&theirs));
        assert_eq!(our["stats"], their["stats"]);
        assert_eq!(our["thanos"]["index_stats"], their["thanos"]["index_stats"]);
        assert_eq!(
            our["thanos"]["segment_files"],
            their["thanos"]["segment_files"]
        );
        assert_eq!(our["thanos"]["source"], their["thanos"]["source"]);
        assert_eq!(our["thanos"]["files"], their["thanos"]["files"]);
    }
}

#[test]
fn one_to_one_is_equal_sample_by_sample() {
    let pair = compacted_by_both(&replica_flags());
    same_blocks(&pair);
    let sides = |flag: &str, bucket: &Path| -> Vec<String> {
        live_blocks(bucket)
            .iter()
            .flat_map(|b| [flag.to_owned(), b.display().to_string()])
            .collect()
    };
    let output = must(
        Command::new(peer("oracle"))
            .arg("compare")
            .args(sides("--left", &pair.ours))
            .args(sides("--right", &pair.theirs)),
    );
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        text.contains("samples"),
        "the comparison says what it compared: {text}"
    );
    println!("{}", text.lines().last().unwrap_or_default());
}

#[test]
fn thanos_finds_our_bucket_in_order_and_nothing_to_do() {
    let flags = replica_flags();
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let work = tempfile::tempdir().unwrap();
    let bucket = work.path().join("bucket");
    copy_dir(&fixture("quickstart"), &bucket);
    let config = folder_config(&bucket, work.path());
    lithify_compact(&config, work.path(), &flags);
    let before = live_blocks(&bucket);

    lithify_compact(&config, work.path(), &flags);
    assert_eq!(
        live_blocks(&bucket),
        before,
        "our second run changed something"
    );
    thanos_compact(&config, work.path(), &flags);
    assert_eq!(
        live_blocks(&bucket),
        before,
        "thanos found something left to do"
    );

    // Verify looks at marked blocks, too; what is live is what we vouch for.
    for entry in fs::read_dir(&bucket).unwrap() {
        let path = entry.unwrap().path();
        if path.join("deletion-mark.json").exists() {
            fs::remove_dir_all(path).unwrap();
        }
    }
    let verify = Command::new(peer("thanos"))
        .args(["tools", "bucket", "verify"])
        .arg(format!("--objstore.config-file={}", config.display()))
        .output()
        .unwrap();
    let log = String::from_utf8_lossy(&verify.stderr).into_owned();
    assert!(verify.status.success(), "{log}");
    for bad in [
        "level=warn",
        "level=error",
        "detected issue",
        "found overlapped",
    ] {
        assert!(!log.contains(bad), "verify says {bad}:\n{log}");
    }
}

#[test]
fn programs_can_be_swapped_in_the_middle() {
    let work = tempfile::tempdir().unwrap();
    let bucket = work.path().join("bucket");
    copy_dir(&fixture("quickstart"), &bucket);
    let config = folder_config(&bucket, work.path());
    let flags = replica_flags();
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    // Thanos stops at 8h blocks, we take over.
    let mut first = flags.clone();
    first.push("--debug.max-compaction-level=2");
    thanos_compact(&config, work.path(), &first);
    lithify_compact(&config, work.path(), &flags);

    let whole = compacted_by_both(&replica_flags());
    let ranges = |bucket: &Path| -> Vec<String> {
        let mut all: Vec<String> = live_blocks(bucket)
            .iter()
            .map(|b| {
                let m = meta(b);
                format!(
                    "{} {} {}",
                    m["thanos"]["labels"], m["minTime"], m["compaction"]["sources"]
                )
            })
            .collect();
        all.sort();
        all
    };
    assert_eq!(ranges(&bucket), ranges(&whole.theirs));
    drop(whole.work);
}

/// The lines of a dump that are series or samples, without what may differ:
/// chunk cuts, hints (they speak of the chunk before) and start timestamps.
fn content(dump: &str) -> Vec<String> {
    dump.lines()
        .filter(|line| !line.starts_with("chunk "))
        .map(|line| {
            let words = line.split(' ');
            let kept = words.filter(|w| !w.starts_with("st=") && !w.starts_with("hint="));
            kept.collect::<Vec<_>>().join(" ")
        })
        .collect()
}

#[test]
fn prometheus_of_today_reads_what_was_new_encodings() {
    for name in ["4-xor2", "5-histogram-st", "6-float-histogram-st"] {
        let work = tempfile::tempdir().unwrap();
        let bucket = work.path().join("bucket");
        copy_twice(name, &bucket);
        let config = folder_config(&bucket, work.path());
        let flags = replica_flags();
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        lithify_compact(&config, work.path(), &flags);
        let live = live_blocks(&bucket);
        assert_eq!(live.len(), 1, "{name}");
        let dump = must(Command::new(peer("oracle")).arg("dump").arg(&live[0]));
        let dump = String::from_utf8(dump.stdout).unwrap();
        let expected =
            fs::read_to_string(fixture("encodings").join(name).join("expected.txt")).unwrap();
        assert!(
            content(&dump) == content(&expected),
            "{name}: samples differ"
        );
        assert!(
            content(&dump).len() > 100,
            "{name}: there is something to compare"
        );
    }
}
