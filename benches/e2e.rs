//! The whole run beside Thanos: same blocks, same folder store, same machine,
//! one after the other. Prints a table with ratios.
//!
//!     benches/run              builds the peers, then runs this
//!
//! `LITHIFY_PEERS` names the folder of the peers' binaries. `LITHIFY_BENCH_SERIES`
//! (default 20000) and `LITHIFY_BENCH_ROUNDS` (default 3, the best one counts)
//! change the size.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a bench that measures and prints"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

#[path = "../tests/support/files.rs"]
mod files;

use files::copy_dir;

/// What one child process cost.
#[derive(Clone, Copy)]
struct Cost {
    wall: f64,
    cpu: f64,
    peak_mib: f64,
}

fn main() {
    // `cargo bench -- <filter>` hands every bench the filter; we have none.
    let series = setting("LITHIFY_BENCH_SERIES", 20_000);
    let rounds = setting("LITHIFY_BENCH_ROUNDS", 3);
    let peers = std::env::var("LITHIFY_PEERS").expect("LITHIFY_PEERS is not set: run benches/run");
    let peers = PathBuf::from(peers);
    let work = tempfile::tempdir().unwrap();
    let source = work.path().join("source");
    generate(&peers, &source, series);
    println!(
        "HA pair of 5 x 2h blocks, {series} series, 15 s: {} samples, {:.0} MB",
        2 * 5 * 480 * series,
        size(&source) as f64 / 1e6
    );
    println!(
        "\n{:<22} {:>9} {:>9} {:>9}   {:>9} {:>9} {:>9}   {:>6}",
        "", "lithify", "cpu", "peak", "thanos", "cpu", "peak", "ratio"
    );
    let replica = "--deduplication.replica-label=prometheus_replica";
    for (name, flags) in [
        ("horizontal", vec![]),
        ("vertical one-to-one", vec![replica]),
        (
            "vertical penalty",
            vec![replica, "--deduplication.func=penalty"],
        ),
    ] {
        let best = |program: &dyn Fn(&Path) -> Command| {
            (0..rounds)
                .map(|_| round(work.path(), &source, program, &flags))
                .min_by(|a, b| a.wall.total_cmp(&b.wall))
                .unwrap()
        };
        let ours = best(&|config| ours(config, work.path()));
        let theirs = best(&|config| theirs(&peers, config, work.path()));
        println!(
            "{name:<22} {} {}   {} {}   {:>5.1}x",
            format_args!("{:>7.2} s", ours.wall),
            format_args!("{:>7.2} s {:>5.0} MiB", ours.cpu, ours.peak_mib),
            format_args!("{:>7.2} s", theirs.wall),
            format_args!("{:>7.2} s {:>5.0} MiB", theirs.cpu, theirs.peak_mib),
            theirs.wall / ours.wall
        );
    }
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|v| v.parse().ok())
        .unwrap_or(default)
}

fn generate(peers: &Path, out: &Path, series: u64) {
    let status = Command::new(peers.join("oracle"))
        .args([
            "bench-blocks",
            "--interval",
            "15s",
            "--range",
            "2h",
            "--blocks",
            "5",
        ])
        .args(["--replicas", "2", "--series", &series.to_string()])
        .arg("--out")
        .arg(out)
        .stdout(Stdio::null())
        .status()
        .expect("the oracle of the peers runs");
    assert!(status.success());
}

fn ours(config: &Path, work: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lithify"));
    command
        .arg("compact")
        .arg(format!("--objstore.config-file={}", config.display()))
        .arg(format!("--data-dir={}", work.join("ours-data").display()));
    command
}

fn theirs(peers: &Path, config: &Path, work: &Path) -> Command {
    let mut command = Command::new(peers.join("thanos"));
    command
        .arg("compact")
        .arg(format!("--objstore.config-file={}", config.display()))
        .arg(format!("--data-dir={}", work.join("theirs-data").display()))
        .args(["--downsampling.disable", "--http-address=127.0.0.1:0"]);
    command
}

/// One run on a fresh copy of the blocks.
fn round(work: &Path, source: &Path, program: &dyn Fn(&Path) -> Command, flags: &[&str]) -> Cost {
    let bucket = work.join("bucket");
    let _ = fs::remove_dir_all(&bucket);
    copy_dir(source, &bucket);
    let config = work.join("bucket.yml");
    let yaml = format!(
        "type: FILESYSTEM\nconfig:\n  directory: {}\n",
        bucket.display()
    );
    fs::write(&config, yaml).unwrap();
    let mut command = program(&config);
    command
        .arg("--consistency-delay=0s")
        .args(flags)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    measure(&mut command)
}

/// Runs a child and asks the kernel what it used.
#[expect(clippy::zombie_processes, reason = "wait4 is what waits for it")]
fn measure(command: &mut Command) -> Cost {
    let started = Instant::now();
    let child = command.spawn().unwrap();
    let mut status = 0;
    // SAFETY: rusage is plain numbers, for which all zeros is a valid value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to live locals, and the child is ours and was
    // not waited for yet.
    let pid = unsafe { libc::wait4(child.id().cast_signed(), &raw mut status, 0, &raw mut usage) };
    assert!(
        pid > 0 && libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0,
        "{command:?}"
    );
    let seconds = |t: libc::timeval| t.tv_sec as f64 + t.tv_usec as f64 / 1e6;
    Cost {
        wall: started.elapsed().as_secs_f64(),
        cpu: seconds(usage.ru_utime) + seconds(usage.ru_stime),
        // The kernel counts KiB.
        peak_mib: usage.ru_maxrss as f64 / 1024.0,
    }
}

fn size(dir: &Path) -> u64 {
    fs::read_dir(dir)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let meta = entry.metadata().unwrap();
            if meta.is_dir() {
                size(&entry.path())
            } else {
                meta.len()
            }
        })
        .sum()
}
