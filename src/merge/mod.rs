//! Many blocks into one: the k-way merge of series, and of the chunks of a
//! series that several blocks have.
//!
//! Terms:
//!
//! - **Source**: an input block. Its **rank** settles who wins where two
//!   sources have different samples at one timestamp: the smaller one does.
//! - **Replica**: sources that are blocks of one replica of a pair (or more).
//!   **Run**: sources connected by overlapping times; runs follow each other.
//!   Both matter to [`Dedup::Penalty`] only, see `penalty.rs`.
//! - **Piece**: one chunk of one series of one source.
//! - **Cluster**: pieces of one series connected by overlapping times.
//! - **Batch**: consecutive series of the result with all their pieces; the
//!   unit of work of a core.
//!
//! ```text
//!  sources' symbols --merge--> symbols of the result, and a table per source
//!                              that maps its symbol numbers to the new ones
//!
//!  sources' series --k-way merge by label numbers--> batches     (one thread)
//!                                                       |
//!          check CRC, pass on or dedup + re-encode      |        (all cores)
//!                                                       v
//!          segments and index, batch after batch, in order       (one thread)
//! ```
//!
//! Label sets are compared as numbers: the new symbol numbers follow the order
//! of the strings, so comparing `(name, value)` numbers compares the labels.
//!
//! Invariants:
//!
//! - ME-1: the result is a function of the sources and their ranks, not of the
//!   number of threads or the size of batches.
//! - ME-2: a piece that overlaps nothing, or that `penalty` wants from end to
//!   end, goes into the result byte for byte, unless its encoding has start timestamps: store gateways of today cannot
//!   read those, so its samples are written in the encoding without them.
//! - ME-3: nothing of a piece whose CRC does not fit reaches the result.
//! - ME-4: samples, chunks and series that were read are accounted for
//!   ([`Ledger`]).
//! - ME-5: a failed merge ends with an error, whichever thread failed, and
//!   leaves nothing behind in the threads of the pool.
//! - ME-6: memory depends on the number of sources and on the symbols, not on
//!   the bytes of chunks: batches in flight are bounded.

mod batch;
mod cut;
mod floats;
mod fold;
mod heap;
mod ledger;
mod lower;
mod merged;
mod mixed;
mod overlap;
mod penalty;
mod pipeline;
mod products;
mod series;
mod sink;
mod source;
mod stated;
mod stream;
mod symbols;
mod verify;
mod worker;

#[cfg(test)]
mod block_tests;
#[cfg(test)]
mod failure_tests;
#[cfg(test)]
mod fixture_tests;
#[cfg(test)]
mod golden_tests;
#[cfg(test)]
mod memory_tests;
#[cfg(test)]
mod overlap_tests;
#[cfg(test)]
mod penalty_golden_tests;
#[cfg(test)]
mod penalty_model_tests;
#[cfg(test)]
mod penalty_tests;
#[cfg(test)]
mod series_support;
#[cfg(test)]
mod test_support;

pub use ledger::Ledger;
pub use merged::{Merged, MergedBlock};
pub use pipeline::{Dedup, MergeFn, MergeMemory, MergeOptions, merge};
pub use products::Products;
pub use sink::Output;
pub use source::{Source, Stated};
pub use verify::verify;

use std::fmt;

use crate::tsdb;

/// Why a merge failed, and whose fault it is.
#[derive(Debug)]
pub struct MergeError {
    /// Index of the source that is damaged or cannot be read; `None` when the
    /// output or the merge itself failed.
    pub input: Option<usize>,
    /// The series it happened in, if that is known.
    pub series: Option<String>,
    /// What happened; names file and offset.
    pub error: tsdb::Error,
}

impl MergeError {
    fn in_source(source: usize, error: tsdb::Error) -> Self {
        Self {
            input: Some(source),
            series: None,
            error,
        }
    }
}

impl fmt::Display for MergeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)?;
        match &self.series {
            Some(series) => write!(f, " (series {series})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for MergeError {
    /// The text of `error` is in this one's already, so what lies below it.
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.error.source()
    }
}

impl From<tsdb::Error> for MergeError {
    fn from(error: tsdb::Error) -> Self {
        Self {
            input: None,
            series: None,
            error,
        }
    }
}
