//! Flags about which kinds of work a run does, and how much it removes.

use super::refuse;
use crate::error::Result;
use crate::plan::{Lane, Lanes};

/// Kinds of work, and the limit of what is removed.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Lanes")]
pub(crate) struct LaneFlags {
    /// Do only this kind of work: compaction, downsampling, retention or
    /// cleanup; can be repeated, or a list with commas.
    #[arg(
        long,
        value_name = "LANE",
        value_delimiter = ',',
        conflicts_with = "skip",
        value_parser = |text: &str| text.parse::<Lane>()
    )]
    pub(crate) only: Vec<Lane>,
    /// Leave out this kind of work; can be repeated, or a list with commas.
    #[arg(
        long,
        value_name = "LANE",
        value_delimiter = ',',
        value_parser = |text: &str| text.parse::<Lane>()
    )]
    pub(crate) skip: Vec<Lane>,
    /// Blocks that one run may remove, those that were marked first; 0 for no
    /// limit. The rest stays for the next run.
    #[arg(long = "max-delete-per-run", value_name = "N", default_value_t = 0)]
    pub(crate) max_delete: usize,
}

impl LaneFlags {
    /// What cannot be served.
    pub(crate) fn check(&self) -> Result<()> {
        if self.lanes() == Lanes::only(&[]) {
            return Err(refuse(
                "skip",
                "no kind of work is left",
                "leave out fewer lanes",
            ));
        }
        Ok(())
    }

    /// The lanes of the run.
    pub(crate) fn lanes(&self) -> Lanes {
        if self.only.is_empty() {
            Lanes::without(&self.skip)
        } else {
            Lanes::only(&self.only)
        }
    }

    /// Blocks that may be removed, `None` without limit.
    pub(crate) fn max_deletions(&self) -> Option<usize> {
        Some(self.max_delete).filter(|n| *n > 0)
    }
}
