//! Flags that Thanos does not have.

use std::path::{Path, PathBuf};

use super::{Given, refuse};
use crate::cli::size::parse_size;
use crate::error::Result;
use crate::plan::memory::LEAST_BYTES;
use crate::runtime::memory::LimitedBy;
use crate::runtime::{disk, memory};

/// How a dry run shows the plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum DryRun {
    /// For people.
    Table,
    /// For programs.
    Json,
}

/// How to run, and what to say at the end.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Run")]
pub(crate) struct RunFlags {
    /// CPU threads, 0 for one per core.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) threads: usize,
    /// Memory of the whole process. Default: 3/4 of the container's limit, or
    /// half of the machine's memory.
    #[arg(long = "max-memory", value_name = "SIZE", value_parser = parse_size)]
    pub(crate) max_memory: Option<u64>,
    /// Disk space for files under --data-dir. Default: 9/10 of what is free
    /// there at the start.
    #[arg(long = "max-scratch", value_name = "SIZE", value_parser = parse_size)]
    pub(crate) max_scratch: Option<u64>,
    /// Show what would be done, and do nothing.
    #[arg(
        long = "dry-run",
        value_enum,
        value_name = "FORMAT",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "table"
    )]
    pub(crate) dry_run: Option<DryRun>,
    /// Read one in N series in a dry run, for a better estimate. Without
    /// number: one in 16.
    #[arg(
        long = "dry-run-sample",
        value_name = "N",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "16",
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    pub(crate) dry_run_sample: Option<u32>,
    /// Write what was done to each bucket, as JSON, to this file too; - is
    /// standard output, which then gets nothing else.
    #[arg(long = "report", value_name = "FILE")]
    report: Option<PathBuf>,
    /// Tell more apart by the exit code.
    #[arg(long = "detailed-exitcode")]
    pub(crate) detailed_exitcode: bool,
}

impl RunFlags {
    /// What cannot be served, and what has no effect.
    pub(crate) fn check(&self, given: &Given, warnings: &mut Vec<String>) -> Result<()> {
        if self.dry_run.is_some() {
            given.warn(&[("report", "a dry run does nothing to report")], warnings);
        }
        match self.max_memory {
            Some(bytes) if bytes < LEAST_BYTES => Err(refuse(
                "max-memory",
                "no run fits into less than 128MiB",
                "give at least that much, or drop the flag",
            )),
            _ => Ok(()),
        }
    }

    /// Where the report goes, if there will be one.
    pub(crate) fn report(&self) -> Option<&Path> {
        let report = self.report.as_deref();
        report.filter(|_| self.dry_run.is_none())
    }

    /// Memory of the whole process, bytes.
    pub(crate) fn memory_bytes(&self) -> u64 {
        /// Where the system does not tell what there is.
        const UNKNOWN: u64 = 1 << 30;
        let found = || match memory::limit_bytes() {
            // The rest is for what the allocator holds back, and for pages of files.
            Some((limit, LimitedBy::ControlGroup)) => limit / 4 * 3,
            Some((all, LimitedBy::Machine)) => all / 2,
            None => UNKNOWN,
        };
        self.max_memory.unwrap_or_else(found).max(LEAST_BYTES)
    }

    /// Disk space for files under `data_dir`, bytes.
    pub(crate) fn scratch_bytes(&self, data_dir: &Path) -> u64 {
        let found = || disk::free_bytes(data_dir).map_or(u64::MAX, |free| free / 10 * 9);
        self.max_scratch.unwrap_or_else(found)
    }
}
