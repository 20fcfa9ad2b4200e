//! Memory: the program under hard limits of the kernel, on blocks that are
//! large in one way each. `tests/limits-full` runs the large sizes.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "test code, which prints what it measured"
)]
#![cfg(target_os = "linux")]

#[path = "support/large.rs"]
mod large;
#[path = "support/limited.rs"]
mod limited;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use large::Large;
use limited::{Ended, Limits};
use lithify::block::meta::Labels;
use serde_json::Value;
use ulid::Ulid;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
/// Two hours, ms.
const RANGE: i64 = 7_200_000;
/// A boundary of 14 days, ms since the epoch.
const START: i64 = 1_700_092_800_000 / (168 * RANGE) * (168 * RANGE);
/// Tells the child that makes blocks what to make.
const TO_MAKE: &str = "LITHIFY_LIMITS_MAKE";
/// Tells the child that counts what windows say the bucket.
const TO_COUNT: &str = "LITHIFY_LIMITS_COUNT";

/// A size that the full run sets larger.
fn size(name: &str, small: u32) -> u32 {
    let name = format!("LITHIFY_LIMITS_{name}");
    std::env::var(name).map_or(small, |v| v.parse().unwrap())
}

/// A block of a replica whose range begins at a number of times 2h.
fn block(replica: u32, at: i64) -> Large {
    let start = START + at * RANGE;
    let number = u128::from(replica) << 64 | at as u128;
    Large {
        id: Ulid::from_parts((start + RANGE) as u64, number),
        labels: labels("cluster-01", replica),
        range: (start, start + RANGE),
        first_pod: 0,
        pods: 1000,
        per_pod: 1,
        chunks: 2,
        samples: 60,
        // So that no timestamp is shared and all samples are mixed.
        offset: 7 * i64::from(replica),
        stale: 0,
    }
}

fn labels(cluster: &str, replica: u32) -> Labels {
    let pairs = [
        ("cluster", cluster.to_owned()),
        ("prometheus_replica", format!("prometheus-{replica}")),
    ];
    pairs.map(|(n, v)| (n.to_owned(), v)).into()
}

/// Makes blocks in a child of its own: the kernel counts the memory of a
/// parent to its children's peaks, so this process has to stay small.
fn make(bucket: &Path, blocks: &[Large]) {
    let job = serde_json::to_vec(&(bucket, blocks)).unwrap();
    let file = bucket.with_extension("to-make");
    fs::write(&file, job).unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "makes_blocks", "--ignored"])
        .env(TO_MAKE, &file);
    let ended = limited::run(command, Limits::default());
    assert!(ended.status.success(), "{}", ended.stdout);
    fs::remove_file(file).unwrap();
}

#[test]
#[ignore = "is the child that makes blocks for the others"]
fn makes_blocks() {
    let Some(file) = std::env::var_os(TO_MAKE) else {
        return;
    };
    let (bucket, blocks): (PathBuf, Vec<Large>) =
        serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    std::thread::scope(|scope| {
        for half in 0..2 {
            let (bucket, mine) = (&bucket, blocks.iter().skip(half).step_by(2));
            scope.spawn(move || mine.for_each(|block| large::write(bucket, block)));
        }
    });
}

/// `lithify compact` of a folder with these flags.
fn compact(bucket: &Path, flags: &[&str]) -> Command {
    let mut command = limited::compact(bucket, &scratch(bucket));
    command.args(flags);
    command
}

fn scratch(bucket: &Path) -> PathBuf {
    bucket.with_extension("data")
}

/// Makes blocks, compacts them inside a limit, and checks that no sample is
/// lost.
fn compacts_inside(what: &str, blocks: &[Large], memory: u64, flags: &[&str]) -> Ended {
    let dir = tempfile::tempdir().unwrap();
    let bucket = dir.path().join("bucket");
    make(&bucket, blocks);
    compacts(what, &bucket, blocks, memory, flags)
}

fn compacts(what: &str, bucket: &Path, blocks: &[Large], memory: u64, flags: &[&str]) -> Ended {
    let jobs = planned(compact(bucket, &[]));
    let ended = inside(what, compact(bucket, flags), &jobs, memory);
    let samples: u64 = live(bucket)
        .iter()
        .map(|m| m["stats"]["numSamples"].as_u64().unwrap())
        .sum();
    assert_eq!(samples, blocks.iter().map(Large::num_samples).sum::<u64>());
    ended
}

/// Runs inside a limit, which has to be enough.
fn inside(what: &str, command: Command, jobs: &[Value], memory: u64) -> Ended {
    let predicted = jobs.iter().filter_map(|j| j["memory_bytes"].as_u64()).max();
    let limits = Limits {
        memory: Some(memory),
        ..Limits::default()
    };
    let ended = limited::run(command, limits).succeeded(what);
    println!(
        "{what}: peak {} MiB of {} MiB, predicted {} MiB{}",
        ended.peak / MIB,
        memory / MIB,
        predicted.unwrap_or(0) / MIB,
        if ended.in_cgroup {
            ", also held by a cgroup"
        } else {
            ""
        }
    );
    assert!(ended.peak < memory, "{what}: peak {} MiB", ended.peak / MIB);
    ended
}

/// Blocks of a pair, which become 14 days of three resolutions in one pass, and
/// what shows the planner that these are past. The days between the blocks are
/// empty.
fn pass_over_14_days(of: impl Fn(Large) -> Large) -> Vec<Large> {
    const TWO_DAYS: i64 = 24;
    let long = [0, 3, 6].map(|n| n * TWO_DAYS);
    let long = long.into_iter().flat_map(|at| [(0, at), (1, at)]);
    let mut blocks: Vec<Large> = long
        .map(|(replica, at)| {
            let block = block(replica, at);
            let range = (block.range.0, block.range.0 + TWO_DAYS * RANGE);
            of(Large { range, ..block })
        })
        .collect();
    blocks.extend([0, 1].map(|replica| block(replica, 168)));
    blocks
}

/// Makes blocks, compacts and downsamples them in one pass inside a limit, and
/// checks that no sample is missing from any resolution.
fn downsamples_inside(what: &str, blocks: &[Large], memory: u64, flags: &[&str]) -> Ended {
    let dir = tempfile::tempdir().unwrap();
    let bucket = dir.path().join("bucket");
    make(&bucket, blocks);
    let fused = |flags: &[&str]| {
        let mut command = limited::compact_and_downsample(&bucket, &scratch(&bucket));
        command.args(flags);
        command
    };
    let jobs = planned(fused(&[]));
    let mut results: Vec<usize> = jobs
        .iter()
        .map(|j| j["sources"].as_array().unwrap().len())
        .collect();
    results.sort_unstable();
    assert_eq!(results, [2, 6], "the last window, and 14 days: {jobs:?}");
    let ended = inside(what, fused(flags), &jobs, memory);

    let sum = |of: fn(&Large) -> u64| blocks.iter().map(of).sum::<u64>();
    let late = |block: &&Large| block.range.0 >= START + 168 * RANGE;
    let short: u64 = blocks.iter().filter(late).map(Large::num_samples).sum();
    let raw: u64 = live(&bucket)
        .iter()
        .filter(|m| m["thanos"]["downsample"]["resolution"] == 0)
        .map(|m| m["stats"]["numSamples"].as_u64().unwrap())
        .sum();
    assert_eq!(raw, sum(Large::num_samples), "{what}");
    let counted = sum(Large::num_samples) - short - sum(Large::num_stale);
    assert_eq!(
        count(&bucket),
        [(300_000, counted), (3_600_000, counted)],
        "{what}"
    );
    ended
}

/// What the count columns of each resolution (ms) say, in a child of its own, as
/// above.
fn count(bucket: &Path) -> Vec<(i64, u64)> {
    let file = bucket.with_extension("counted");
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "counts_windows", "--ignored"])
        .env(TO_COUNT, bucket);
    let ended = limited::run(command, Limits::default());
    assert!(ended.status.success(), "{}", ended.stdout);
    serde_json::from_slice(&fs::read(file).unwrap()).unwrap()
}

#[test]
#[ignore = "is the child that counts what windows say for the others"]
fn counts_windows() {
    let Some(bucket) = std::env::var_os(TO_COUNT).map(PathBuf::from) else {
        return;
    };
    let mut counts: Vec<(i64, u64)> = live(&bucket)
        .iter()
        .filter_map(|m| {
            let resolution = m["thanos"]["downsample"]["resolution"].as_i64()?;
            let folder = bucket.join(m["ulid"].as_str()?);
            (resolution != 0).then(|| (resolution, large::counted(&folder)))
        })
        .collect();
    counts.sort_unstable();
    let file = bucket.with_extension("counted");
    fs::write(file, serde_json::to_vec(&counts).unwrap()).unwrap();
}

/// The compactions that a dry run shows.
fn planned(mut command: Command) -> Vec<Value> {
    command.arg("--dry-run=json");
    let ended = limited::run(command, Limits::default());
    let page: Value = serde_json::from_str(&ended.succeeded("dry run").stdout).unwrap();
    page["buckets"][0]["jobs"].as_array().unwrap().clone()
}

/// Metas of the blocks without a deletion mark.
fn live(bucket: &Path) -> Vec<Value> {
    let blocks = fs::read_dir(bucket).unwrap().map(|e| e.unwrap().path());
    blocks
        .filter(|b| b.join("meta.json").exists() && !b.join("deletion-mark.json").exists())
        .map(|b| serde_json::from_slice(&fs::read(b.join("meta.json")).unwrap()).unwrap())
        .collect()
}

/// A limit that does not hold would let every test here pass.
#[test]
fn limits_hold() {
    let mut command = Command::new("sh");
    // tail keeps the last line, and this one has no end.
    command.args(["-c", "head -c 1500M /dev/zero | tail -n 1 | wc -c"]);
    let limits = Limits {
        memory: Some(64 * MIB),
        ..Limits::default()
    };
    let ended = limited::run(command, limits);
    assert_ne!(ended.stdout.trim(), "1572864000", "{}", ended.stderr);
}

/// Two blocks of a pair with a million series, each of a pod of its own.
#[test]
fn a_million_series_fit_into_a_gibibyte() {
    let blocks = [0, 1].map(|replica| Large {
        pods: size("SERIES", 1_000_000),
        chunks: size("CHUNKS", 1),
        samples: 30,
        ..block(replica, 0)
    });
    compacts_inside("1,000,000 series", &blocks, GIB, &[]);
}

/// Memory follows series and symbols, not the bytes of chunks.
#[test]
fn ten_times_the_chunks_take_no_more_memory() {
    let peak = |chunks: u32| {
        let blocks = [0, 1].map(|replica| Large {
            pods: size("FLAT_SERIES", 3_000),
            chunks,
            // Two hours hold 12,000 timestamps and no more.
            samples: 100,
            ..block(replica, 0)
        });
        compacts_inside(&format!("{chunks} chunks per series"), &blocks, GIB, &[]).peak
    };
    let (few, many) = (peak(10), peak(100));
    // Four parts of 8 MiB are on their way when the disk is slow or the result
    // is large, one or none when not; windows of small files are small.
    assert!(
        many <= few + few / 10 + 48 * MIB,
        "{} MiB became {} MiB",
        few / MIB,
        many / MIB
    );
}

/// 300 blocks of 2h of a pair, with some pods gone and some new in each, and
/// two later blocks, which show the planner that the 14 days before are past.
fn fortnight() -> Vec<Large> {
    let mut blocks: Vec<Large> = (0..300)
        .map(|n| {
            let (replica, at) = (n % 2, n / 2);
            Large {
                first_pod: 3000 * (at / 30),
                pods: size("PASS_PODS", 6_000),
                chunks: 1,
                samples: 30,
                ..block(replica, i64::from(at))
            }
        })
        .collect();
    blocks.extend([block(0, 168), block(0, 169)]);
    blocks
}

#[test]
fn one_pass_over_300_blocks_fits_into_a_gibibyte() {
    let dir = tempfile::tempdir().unwrap();
    let bucket = dir.path().join("bucket");
    let blocks = fortnight();
    make(&bucket, &blocks);
    let jobs = planned(compact(&bucket, &[]));
    assert_eq!(jobs.len(), 1, "{jobs:?}");
    assert_eq!(jobs[0]["sources"].as_array().unwrap().len(), 300);
    compacts("300 blocks", &bucket, &blocks, GIB, &[]);
}

#[test]
fn a_budget_of_512_mib_is_kept() {
    let flags = ["--max-memory=512MiB"];
    let ended = compacts_inside("300 blocks, 512 MiB", &fortnight(), GIB, &flags);
    // Allocator and code need some that no budget counts.
    assert!(ended.peak < 560 * MIB, "{} MiB", ended.peak / MIB);
}

/// A series lies in memory as a whole, and so do its samples while it is
/// downsampled, if there are stale markers among them.
#[test]
fn one_long_series_becomes_three_resolutions_in_half_a_gibibyte() {
    for stale in [0, 100] {
        let blocks = pass_over_14_days(|block| Large {
            pods: 1,
            chunks: size("SAMPLES", 600_000).div_ceil(6 * 120),
            samples: 120,
            stale,
            ..block
        });
        let what = format!("one series, stale markers: {stale}");
        let flags = ["--max-memory=256MiB"];
        downsamples_inside(&what, &blocks, GIB / 2, &flags);
    }
}

/// Each sample has a window of its own, so that lower blocks are no smaller.
#[test]
fn many_series_become_three_resolutions_in_half_a_gibibyte() {
    let blocks = pass_over_14_days(|block| Large {
        pods: size("FUSED_SERIES", 20_000),
        chunks: 1,
        samples: 30,
        ..block
    });
    let flags = ["--max-memory=256MiB"];
    let ended = downsamples_inside("many series", &blocks, GIB / 2, &flags);
    // Allocator and code, as above.
    assert!(ended.peak < 304 * MIB, "{} MiB", ended.peak / MIB);
}

/// A compaction whose index would not fit is refused, the other one is done.
#[test]
fn a_compaction_over_the_scratch_budget_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let bucket = dir.path().join("bucket");
    let blocks = [("large", 60_000), ("small", 300)].map(|(cluster, pods)| {
        [0, 1].map(|replica| Large {
            id: Ulid::from_parts(1 + u64::from(pods), u128::from(replica)),
            labels: labels(cluster, replica),
            pods,
            ..block(replica, 0)
        })
    });
    make(&bucket, blocks.as_flattened());
    let command = compact(&bucket, &["--max-scratch=1MiB"]);
    let ended = limited::run(command, Limits::default());
    assert_eq!(ended.status.code(), Some(3), "{}", ended.stderr);
    assert!(ended.stderr.contains("--max-scratch"), "{}", ended.stderr);
    let mut levels: Vec<(String, u64)> = live(&bucket)
        .iter()
        .map(|m| {
            let cluster = m["thanos"]["labels"]["cluster"].as_str().unwrap();
            let level = m["compaction"]["level"].as_u64().unwrap();
            (cluster.to_owned(), level)
        })
        .collect();
    levels.sort();
    let expected = [("large", 1), ("large", 1), ("small", 2)];
    assert_eq!(levels, expected.map(|(c, l)| (c.to_owned(), l)));
    assert_eq!(
        fs::read_dir(scratch(&bucket).join("compact"))
            .unwrap()
            .count(),
        0
    );
}
