//! A disk that is full at any stage of a run: nothing is marked that is not
//! replaced, nothing half stays behind, and the next run finishes the work.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "test code, which says what it skips"
)]
#![cfg(target_os = "linux")]

#[path = "support/files.rs"]
mod files;
#[path = "support/large.rs"]
mod large;
#[path = "support/limited.rs"]
mod limited;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use files::copy_dir;
use large::Large;
use limited::{Ended, Limits};
use serde_json::Value;
use ulid::Ulid;

/// Two hours, ms.
const RANGE: i64 = 7_200_000;
/// A boundary of 14 days, ms since the epoch.
const START: i64 = 1_700_092_800_000 / (168 * RANGE) * (168 * RANGE);

/// Files of a block by path, without `meta.json`, which has names and times.
type Files = BTreeMap<PathBuf, Vec<u8>>;

/// Resolution and range of a block, ms.
type Key = (i64, i64, i64);

/// A bucket, and what becomes of it on a disk that is large enough.
struct World {
    dir: tempfile::TempDir,
    sources: BTreeSet<String>,
    /// Whether lower resolutions are made.
    fused: bool,
    /// Files of the results.
    reference: BTreeMap<Key, Files>,
    /// Size of every file that a run writes into the bucket, bytes.
    sizes: BTreeSet<u64>,
    /// Path of the largest of them, below its block.
    largest: PathBuf,
    /// Bytes of all files before the run.
    bytes: u64,
}

impl World {
    /// Five blocks of each replica of a pair: a job of four pairs, and one of
    /// a pair. Which file of a result is the largest depends on how many series
    /// and samples they have.
    fn new(pods: u32, samples: u32) -> Self {
        let ranges: Vec<(i64, i64)> = (0..5).map(|n| (n, n + 1)).collect();
        Self::of(&ranges, false, pods, samples)
    }

    /// Three blocks of 2 days of each, which become 14 days of three resolutions
    /// in one pass, and a job of a pair.
    fn fused(pods: u32, samples: u32) -> Self {
        let mut ranges: Vec<(i64, i64)> = [0, 72, 144].map(|n| (n, n + 24)).to_vec();
        ranges.push((168, 169));
        Self::of(&ranges, true, pods, samples)
    }

    /// A block of each replica for each range, in times 2h.
    fn of(ranges: &[(i64, i64)], fused: bool, pods: u32, samples: u32) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let source = dir.path().join("source");
        for (range, replica) in ranges.iter().flat_map(|r| [(r, 0), (r, 1)]) {
            let range = (START + range.0 * RANGE, START + range.1 * RANGE);
            let pairs = [
                ("cluster".to_owned(), "cluster-01".to_owned()),
                ("prometheus_replica".to_owned(), replica.to_string()),
            ];
            let block = Large {
                id: Ulid::from_parts(range.1 as u64, replica as u128),
                labels: pairs.into(),
                range,
                first_pod: 0,
                pods,
                per_pod: 1,
                chunks: 1,
                samples,
                offset: 7 * replica,
                stale: 0,
            };
            large::write(&source, &block);
        }
        let mut world = Self {
            sources: names(&source),
            bytes: bytes(&source),
            dir,
            fused,
            reference: BTreeMap::new(),
            sizes: BTreeSet::new(),
            largest: PathBuf::new(),
        };
        let (bucket, data) = world.fresh("reference");
        let ended = limited::run(world.compact(&bucket, &data), Limits::default());
        ended.succeeded("the reference");
        world.reference = live(&bucket);
        let resolutions: Vec<i64> = world.reference.keys().map(|key| key.0).collect();
        let lower: &[i64] = if fused { &[300_000, 3_600_000] } else { &[] };
        assert_eq!(resolutions, [&[0, 0], lower].concat());
        for name in names(&bucket) {
            for (file, content) in all_files(&bucket.join(&name)) {
                if !world.sources.contains(&name) || file.ends_with("deletion-mark.json") {
                    let size = content.len() as u64;
                    if world.sizes.last().is_none_or(|largest| size > *largest) {
                        world.largest.clone_from(&file);
                    }
                    world.sizes.insert(size);
                }
            }
        }
        world
    }

    /// The run.
    fn compact(&self, bucket: &Path, data: &Path) -> Command {
        if self.fused {
            limited::compact_and_downsample(bucket, data)
        } else {
            limited::compact(bucket, data)
        }
    }

    fn place(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A copy of the bucket, and a folder for scratch.
    fn fresh(&self, name: &str) -> (PathBuf, PathBuf) {
        let (bucket, data) = (self.place(name), self.place(&format!("{name}.data")));
        copy_dir(&self.place("source"), &bucket);
        fs::create_dir(&data).unwrap();
        (bucket, data)
    }

    /// What must hold after a run that may have found the disk full. Returns
    /// whether it did, and takes the bucket away.
    fn check(&self, stage: &str, bucket: &Path, data: &Path, ended: &Ended) -> bool {
        let said = &ended.stderr;
        let code = ended.status.code();
        assert!(
            matches!(code, Some(0 | 1 | 3)),
            "{stage}: {:?}\n{said}",
            ended.status
        );
        let mut left = all_files(data);
        // For the next run; half of one would be no such file.
        left.retain(|file, _| !file.starts_with("meta-cache") || file.extension().is_some());
        assert!(
            left.is_empty(),
            "{stage}: scratch has {:?}\n{said}",
            left.keys()
        );
        let results = live(bucket);
        for (key, files) in &results {
            let same = self.reference.get(key) == Some(files);
            assert!(same, "{stage}: the block of {key:?} is another\n{said}");
        }
        let replaced = replaced(bucket);
        for name in names(bucket) {
            let block = bucket.join(&name);
            if self.sources.contains(&name) {
                let marked = block.join("deletion-mark.json").exists();
                assert!(
                    !marked || replaced.contains(&name),
                    "{stage}: {name} is marked\n{said}"
                );
            } else {
                let files = all_files(&block);
                assert!(
                    files.keys().any(|f| f.ends_with("meta.json")),
                    "{stage}: half a block is left: {:?}\n{said}",
                    files.keys()
                );
            }
        }
        let full = code != Some(0);
        if full {
            names_the_disk(stage, said);
        } else {
            assert_eq!(results, self.reference, "{stage}\n{said}");
        }
        self.finish(stage, bucket);
        fs::remove_dir_all(data).unwrap();
        full
    }

    /// The next run, on a larger disk, ends where the reference did.
    fn finish(&self, stage: &str, bucket: &Path) {
        let data = self.place("finish.data");
        let ended = limited::run(self.compact(bucket, &data), Limits::default());
        ended.succeeded(&format!("after {stage}"));
        assert_eq!(live(bucket), self.reference, "after {stage}");
        fs::remove_dir_all(bucket).unwrap();
        // It is not made where there is nothing left to do.
        let _ = fs::remove_dir_all(data);
    }
}

/// The message has the file, what is wrong, and what to do.
fn names_the_disk(stage: &str, said: &str) {
    let full = ["No space left on device", "File too large"];
    let files = ["index", "chunks/000001", "meta.json", "deletion-mark.json"];
    // The last line counts, and one for each failure comes before it.
    let mut failures = said.lines().filter(|l| l.contains("level=error"));
    assert!(
        failures.clone().count() > 0,
        "{stage}: no failure is told\n{said}"
    );
    let told = failures.all(|failure| {
        full.iter().any(|f| failure.contains(f))
            && files.iter().any(|f| failure.contains(f))
            && failure.contains("free space")
    });
    assert!(
        told,
        "{stage}: which file, what is wrong, what helps?\n{said}"
    );
}

/// Folders of a bucket, without that of the reports.
fn names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder)
        .unwrap()
        .map(|e| e.unwrap().file_name());
    let names = entries.map(|n| n.into_string().unwrap());
    names.filter(|n| n != "lithify").collect()
}

/// All files below a folder, staged ones too.
fn all_files(folder: &Path) -> Files {
    let mut files = Files::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(folder).unwrap().to_owned();
                files.insert(name, fs::read(path).unwrap());
            }
        }
    }
    files
}

fn bytes(folder: &Path) -> u64 {
    all_files(folder).values().map(|f| f.len() as u64).sum()
}

fn meta(block: &Path) -> Option<Value> {
    let json = fs::read(block.join("meta.json")).ok()?;
    Some(serde_json::from_slice(&json).unwrap())
}

/// Results. Sources are level 1.
fn live(bucket: &Path) -> BTreeMap<Key, Files> {
    let results = names(bucket).into_iter().filter_map(|name| {
        let meta = meta(&bucket.join(&name))?;
        if meta["compaction"]["level"] == 1 {
            return None;
        }
        let key = (
            resolution(&meta)?,
            meta["minTime"].as_i64()?,
            meta["maxTime"].as_i64()?,
        );
        let mut files = all_files(&bucket.join(&name));
        files.remove(Path::new("meta.json")).unwrap();
        Some((key, files))
    });
    results.collect()
}

fn resolution(meta: &Value) -> Option<i64> {
    meta["thanos"]["downsample"]["resolution"].as_i64()
}

/// Names of the blocks that went into complete raw ones.
fn replaced(bucket: &Path) -> BTreeSet<String> {
    let metas = names(bucket)
        .into_iter()
        .filter_map(|n| meta(&bucket.join(n)));
    let results = metas.filter(|m| m["compaction"]["level"] != 1 && resolution(m) == Some(0));
    let sources = results.flat_map(|m| m["compaction"]["sources"].as_array().unwrap().clone());
    sources.map(|s| s.as_str().unwrap().to_owned()).collect()
}

/// No file may become larger than so much: scratch, segments, metas and marks
/// are cut off, each at sizes around its own.
#[test]
fn any_file_may_be_the_one_that_does_not_fit() {
    for (largest, pods, samples) in [
        ("chunks/000001", 200, 60),
        ("index", 200, 2),
        ("meta.json", 1, 2),
    ] {
        let world = World::new(pods, samples);
        assert_eq!(world.largest, Path::new(largest));
        sweep(&world, largest);
    }
}

/// Each of the three resolutions has such files; those that are visible already
/// go again when a later `meta.json` does not fit.
#[test]
fn any_file_of_three_resolutions_may_be_the_one_that_does_not_fit() {
    for (largest, pods, samples) in [("index", 60, 1), ("meta.json", 1, 1)] {
        let world = World::fused(pods, samples);
        assert_eq!(world.largest, Path::new(largest));
        sweep(&world, largest);
    }
}

fn sweep(world: &World, largest: &str) {
    let mut limits: BTreeSet<u64> = [0, 1, 100, 1000, 4096].into();
    for size in &world.sizes {
        limits.extend([size / 2, size - 1, *size]);
    }
    let (mut full, mut fitted) = (0, 0);
    for limit in limits {
        let stage = format!("files of {limit} bytes at most, largest {largest}");
        let (bucket, data) = world.fresh("bucket");
        let limits = Limits {
            file: Some(limit),
            ..Limits::default()
        };
        let ended = limited::run(world.compact(&bucket, &data), limits);
        match world.check(&stage, &bucket, &data, &ended) {
            true => full += 1,
            false => fitted += 1,
        }
    }
    assert!(
        full > 5 && fitted > 0,
        "{largest}: {full} full, {fitted} fitted"
    );
}

/// Runs the rest of its arguments with a small disk at a place, and takes what
/// is on it afterwards away before the disk vanishes.
const ON_A_SMALL_DISK: &str = r#"
    set -eu
    size=$1 place=$2 before=$3 after=$4
    shift 4
    mount -t tmpfs -o "size=$size" tmpfs "$place"
    cp -a "$before/." "$place"
    code=0
    "$@" || code=$?
    cp -a "$place/." "$after"
    exit "$code"
"#;

/// Who may mount, and how; `None` where nobody may.
fn mounter() -> Option<Command> {
    [["-m"], ["-rm"]].iter().find_map(|how| {
        let mut command = Command::new("unshare");
        command.args(how).arg("sh").arg("-c");
        let mut trial = Command::new("unshare");
        let mounts = "d=$(mktemp -d) && mount -t tmpfs tmpfs $d && umount $d && rmdir $d";
        trial.args(how).args(["sh", "-c", mounts]);
        let output = trial.output().ok()?;
        output.status.success().then_some(command)
    })
}

/// Runs with a small disk at `place`; what is on it afterwards is in `after`.
fn on_a_small_disk(size: u64, place: &Path, after: &Path, command: &Command) -> Option<Ended> {
    let mut mounter = mounter()?;
    let before = place.with_extension("before");
    fs::rename(place, &before).unwrap();
    fs::create_dir(place).unwrap();
    fs::create_dir(after).unwrap();
    mounter
        .args([ON_A_SMALL_DISK, "sh", &size.to_string()])
        .args([place, &before, after])
        .arg(command.get_program())
        .args(command.get_args());
    let ended = limited::run(mounter, Limits::default());
    fs::remove_dir_all(place).unwrap();
    fs::remove_dir_all(before).unwrap();
    Some(ended)
}

/// Sizes of a disk with so many bytes on it, from full to large enough.
fn disks(on_it: u64, room: u64) -> impl Iterator<Item = u64> {
    const PAGE: u64 = 4096;
    (0..24).map(move |n| (on_it + room * n / 20).div_ceil(PAGE).max(1) * PAGE)
}

#[test]
fn the_scratch_disk_may_be_full() {
    on_small_scratch(&World::new(200, 60));
}

#[test]
fn the_scratch_disk_may_be_full_in_a_pass_over_three_resolutions() {
    on_small_scratch(&World::fused(200, 4));
}

fn on_small_scratch(world: &World) {
    let (mut full, mut fitted) = (0, 0);
    let of = |file: &(&PathBuf, &Vec<u8>)| file.0.ends_with("index");
    let indexes = world.reference.values().flat_map(|f| f.iter().filter(of));
    let indexes: u64 = indexes.map(|(_, index)| index.len() as u64).sum();
    // The lock of the lease and what is kept of small objects want some pages.
    for size in disks(0, indexes + (32 << 10)) {
        let (bucket, data) = world.fresh("bucket");
        let after = world.place("after");
        // Else nothing is begun that cannot fit, see tests/limits.rs.
        let mut command = world.compact(&bucket, &data);
        command.arg("--max-scratch=1TB");
        let Some(ended) = on_a_small_disk(size, &data, &after, &command) else {
            println!("skipped: nobody may mount here");
            return;
        };
        let stage = format!("scratch of {size} bytes");
        match world.check(&stage, &bucket, &after, &ended) {
            true => full += 1,
            false => fitted += 1,
        }
    }
    assert!(full > 2 && fitted > 2, "{full} full, {fitted} fitted");
}

#[test]
fn the_disk_of_the_bucket_may_be_full() {
    in_a_small_bucket(&World::new(200, 60));
}

#[test]
fn the_disk_of_the_bucket_may_be_full_in_a_pass_over_three_resolutions() {
    in_a_small_bucket(&World::fused(200, 20));
}

fn in_a_small_bucket(world: &World) {
    let (mut full, mut fitted) = (0, 0);
    let results: u64 = world
        .reference
        .values()
        .flat_map(|f| f.values())
        .map(|f| f.len() as u64)
        .sum();
    // A file takes whole pages: three of each block, and marks.
    let on_it = world.bytes + world.sources.len() as u64 * 3 * 2048;
    for size in disks(on_it, results + 64 * 1024) {
        let (bucket, data) = world.fresh("bucket");
        let after = world.place("after");
        let command = world.compact(&bucket, &data);
        let Some(ended) = on_a_small_disk(size, &bucket, &after, &command) else {
            println!("skipped: nobody may mount here");
            return;
        };
        if ended.stderr.contains("cp:") {
            fs::remove_dir_all(&after).unwrap();
            fs::remove_dir_all(&data).unwrap();
            continue;
        }
        let stage = format!("bucket on a disk of {size} bytes");
        match world.check(&stage, &after, &data, &ended) {
            true => full += 1,
            false => fitted += 1,
        }
    }
    assert!(full > 2 && fitted > 2, "{full} full, {fitted} fitted");
}
