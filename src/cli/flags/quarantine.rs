//! Flags about damaged blocks.

use super::Given;
use crate::compact::quarantine::DEFAULT_MAX_BLOCKS;

/// What becomes of damaged blocks.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Damaged blocks")]
pub(crate) struct QuarantineFlags {
    /// Damaged blocks that one run may mark, so that they are left out from
    /// then on. With more than that the run ends early; 0 marks none.
    #[arg(
        long = "quarantine.max-blocks-per-run",
        value_name = "N",
        default_value_t = DEFAULT_MAX_BLOCKS
    )]
    pub(crate) max_blocks: usize,
    /// No effect: every damaged block is marked, chunks out of order included.
    #[arg(long = "compact.skip-block-with-out-of-order-chunks", hide = true)]
    pub(crate) skip_out_of_order: bool,
}

impl QuarantineFlags {
    /// Warnings about what has no effect.
    pub(crate) fn check(&self, given: &Given, warnings: &mut Vec<String>) {
        // Otherwise it is what happens anyway, and there is nothing to say.
        if self.max_blocks == 0 && self.skip_out_of_order {
            let idle = [(
                "compact.skip-block-with-out-of-order-chunks",
                "--quarantine.max-blocks-per-run is 0, so no block is marked",
            )];
            given.warn(&idle, warnings);
        }
    }
}
