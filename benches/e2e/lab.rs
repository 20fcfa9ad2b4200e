//! Settings of the bench, its work folder, and how the programs are called.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::bucket;
use crate::measure::{Cost, Limit, measure, pin};

/// What goes wrong here is for people.
pub type Result<T> = std::result::Result<T, String>;

/// Compactions only.
pub const RAW_ONLY: &str = "--downsampling.disable";

/// External label that tells the replicas of the generated blocks apart.
pub const REPLICA: &str = "--deduplication.replica-label=prometheus_replica";

/// What `oracle bench-blocks` is asked for: an HA pair, or one of it.
#[derive(Clone, Copy)]
pub struct Input {
    /// Scrape interval, seconds.
    pub interval: u64,
    /// Length of a block, hours.
    pub hours: u64,
    /// Replicas.
    pub replicas: u64,
    /// Blocks of each replica.
    pub blocks: u64,
    /// Series of each block.
    pub series: u64,
}

impl Input {
    /// Samples of all blocks.
    pub fn samples(&self) -> u64 {
        self.replicas * self.blocks * self.series * self.hours * 3600 / self.interval
    }

    fn name(&self) -> String {
        let Self {
            interval,
            hours,
            replicas,
            blocks,
            series,
        } = self;
        let alone = if *replicas == 1 { "-alone" } else { "" };
        format!("{blocks}x{hours}h-{series}-{interval}s{alone}")
    }
}

/// Who is measured.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// This crate's binary, built for release.
    Ours,
    /// `thanos compact` of the peers.
    Thanos,
}

/// Settings and places.
pub struct Lab {
    peers: PathBuf,
    /// Where inputs stay, if that was asked for.
    kept: Option<PathBuf>,
    work: TempDir,
    rounds: u64,
    /// Whether Thanos runs at all.
    pub thanos: bool,
    /// Seconds that Thanos gets where it may take hours.
    pub limit: u64,
    /// Whether results are compared sample by sample.
    pub compare: bool,
    /// Series of the 2h blocks.
    pub series: u64,
    /// Series of the blocks of days.
    pub days_series: u64,
    /// Blocks of the plan.
    pub plan_blocks: u64,
}

impl Lab {
    /// Reads the environment.
    pub fn from_env() -> Result<Self> {
        let peers = std::env::var_os("LITHIFY_PEERS")
            .ok_or("LITHIFY_PEERS is not set; benches/run sets it")?;
        let kept = std::env::var_os("LITHIFY_BENCH_DIR").map(PathBuf::from);
        // Beside the inputs, so that they can be linked instead of copied.
        let work = match &kept {
            Some(dir) => std::fs::create_dir_all(dir).and_then(|()| TempDir::new_in(dir)),
            None => TempDir::new(),
        };
        Ok(Self {
            peers: peers.into(),
            kept,
            work: work.map_err(|e| format!("cannot make a work folder: {e}"))?,
            rounds: setting("LITHIFY_BENCH_ROUNDS", 3)?.max(1),
            thanos: setting("LITHIFY_BENCH_THANOS", 1)? != 0,
            limit: setting("LITHIFY_BENCH_LIMIT", 120)?,
            compare: setting("LITHIFY_BENCH_COMPARE", 1)? != 0,
            series: setting("LITHIFY_BENCH_SERIES", 20_000)?,
            days_series: setting("LITHIFY_BENCH_DAYS_SERIES", 2_000)?,
            plan_blocks: setting("LITHIFY_BENCH_BLOCKS", 10_000)?,
        })
    }

    /// The settings in a line.
    pub fn describe(&self) -> String {
        format!(
            "Best of {} runs each, every run on a fresh copy of its bucket.",
            self.rounds
        )
    }

    /// A place in the work folder.
    pub fn place(&self, name: &str) -> PathBuf {
        self.work.path().join(name)
    }

    /// A program of the peers.
    pub fn peer(&self, name: &str) -> PathBuf {
        self.peers.join(name)
    }

    /// Rounds of a measurement.
    pub fn rounds(&self) -> u64 {
        self.rounds
    }

    /// The bucket of an input; made on first use.
    pub fn input(&self, input: Input) -> Result<PathBuf> {
        let parent = self.kept.as_deref().unwrap_or(self.work.path());
        let folder = parent.join(input.name());
        if folder.is_dir() {
            return Ok(folder);
        }
        // Renamed when complete, so that a broken off run leaves no half input.
        let part = self.place("input.part");
        bucket::remove(&part)?;
        let (hours, interval) = (input.hours, input.interval);
        let status = Command::new(self.peer("oracle"))
            .arg("bench-blocks")
            .args(["--replicas", &input.replicas.to_string()])
            .args(["--range", &format!("{hours}h")])
            .args(["--interval", &format!("{interval}s")])
            .args(["--blocks", &input.blocks.to_string()])
            .args(["--series", &input.series.to_string()])
            .arg("--out")
            .arg(&part)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .map_err(|e| format!("cannot run the oracle of the peers: {e}"))?;
        if !status.success() {
            return Err(format!("oracle bench-blocks: {status}"));
        }
        std::fs::rename(&part, &folder)
            .map_err(|e| format!("cannot move {}: {e}", part.display()))?;
        Ok(folder)
    }

    /// The best of all rounds; what the last one left stays in
    /// [`Lab::result`]. A run that the limit ends is not repeated.
    pub fn best(
        &self,
        program: Program,
        source: &Path,
        flags: &[&str],
        limit: Limit,
    ) -> Result<Cost> {
        self.best_on(program, source, flags, (limit, None))
    }

    /// The same on the first so many cores.
    pub fn best_on(
        &self,
        program: Program,
        source: &Path,
        flags: &[&str],
        (limit, cores): (Limit, Option<usize>),
    ) -> Result<Cost> {
        let mut best: Option<Cost> = None;
        for _ in 0..self.rounds {
            let cost = self.round(program, source, flags, (limit, cores))?;
            if best.is_none_or(|b| cost.wall < b.wall) {
                best = Some(cost);
            }
            if cost.stopped {
                break;
            }
        }
        best.ok_or_else(|| "no round".to_owned())
    }

    /// Where the last run of a program has left its bucket.
    pub fn result(&self, program: Program) -> PathBuf {
        self.place(match program {
            Program::Ours => "ours",
            Program::Thanos => "thanos",
        })
    }

    /// One run on a fresh copy of the blocks.
    fn round(
        &self,
        program: Program,
        source: &Path,
        flags: &[&str],
        (limit, cores): (Limit, Option<usize>),
    ) -> Result<Cost> {
        let folder = self.result(program);
        bucket::fresh_copy(source, &folder)?;
        let data = self.place("data");
        bucket::remove(&data)?;
        let mut command = self.command(program, &folder, &data)?;
        command.args(flags);
        if let Some(cores) = cores {
            pin(&mut command, cores);
        }
        let cost = measure(&mut command, limit, &self.place("log"))?;
        bucket::remove(&data)?;
        Ok(cost)
    }

    /// `compact` on a folder bucket, without the flags of a row.
    pub fn command(&self, program: Program, folder: &Path, data: &Path) -> Result<Command> {
        let config = folder.with_extension("yml");
        let yaml = format!(
            "type: FILESYSTEM\nconfig:\n  directory: {}\n",
            folder.display()
        );
        std::fs::write(&config, yaml)
            .map_err(|e| format!("cannot write {}: {e}", config.display()))?;
        let mut command = Command::new(match program {
            Program::Ours => PathBuf::from(env!("CARGO_BIN_EXE_lithify")),
            Program::Thanos => self.peer("thanos"),
        });
        command
            .args(["compact", "--consistency-delay=0s"])
            .arg(format!("--objstore.config-file={}", config.display()))
            .arg(format!("--data-dir={}", data.display()));
        if program == Program::Thanos {
            command.arg("--http-address=127.0.0.1:0");
        }
        Ok(command)
    }

    /// The time limit of runs that may take hours.
    pub fn patience(&self) -> Limit {
        Some(Duration::from_secs(self.limit))
    }
}

fn setting(name: &str, default: u64) -> Result<u64> {
    match std::env::var(name) {
        Err(_) => Ok(default),
        Ok(text) => text
            .parse()
            .map_err(|_| format!("{name} is no number: {text:?}")),
    }
}
