//! The books of downsampling.

use std::fmt;
use std::ops::AddAssign;

use schemars::JsonSchema;
use serde::Serialize;

/// What became of the samples of a series, or of all of a block.
///
/// For raw chunks these are samples; for aggregates `read` is the sum of the
/// count column that was read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Counts {
    /// Samples that the chunks hold.
    pub read: u64,
    /// Sum of the count column of the result.
    pub counted: u64,
    /// Stale markers.
    pub stale: u64,
    /// Values (of histograms: sums) that are no number.
    pub nan: u64,
    /// Samples that go back in time within their chunk.
    pub disordered: u64,
    /// Histograms whose custom bounds differ from those of their window.
    pub unsupported: u64,
}

impl Counts {
    /// Samples that nothing accounts for; 0 if the books balance.
    pub fn imbalance(&self) -> i128 {
        let out = [
            self.counted,
            self.stale,
            self.nan,
            self.disordered,
            self.unsupported,
        ];
        i128::from(self.read) - out.into_iter().map(i128::from).sum::<i128>()
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.read += other.read;
        self.counted += other.counted;
        self.stale += other.stale;
        self.nan += other.nan;
        self.disordered += other.disordered;
        self.unsupported += other.unsupported;
    }
}

/// For messages: `10 samples = 8 counted + 1 stale + 1 NaN + 0 out of order + 0
/// unsupported`.
impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} samples = {} counted + {} stale + {} NaN + {} out of order + {} unsupported",
            self.read, self.counted, self.stale, self.nan, self.disordered, self.unsupported
        )
    }
}
