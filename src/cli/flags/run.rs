//! Flags that Thanos does not have.

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
    /// Tell more apart by the exit code.
    #[arg(long = "detailed-exitcode")]
    pub(crate) detailed_exitcode: bool,
}
