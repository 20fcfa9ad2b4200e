//! The books of a merge: every sample that was read is accounted for.

use std::fmt;
use std::ops::AddAssign;

use schemars::JsonSchema;
use serde::Serialize;

use crate::tsdb::meta::BlockStats;

/// Samples (or count-column samples of downsampled chunks), chunks and series
/// by fate.
///
/// Invariants of a finished merge, see [`Ledger::balances`]:
///
/// ```text
///  read        = written + deduplicated + deleted
///  chunks_read = chunks_passed + chunks_deduplicated + chunks_replaced
///  series_read = series_written + series_joined + series_emptied
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Ledger {
    /// In the chunks of the sources, by their headers.
    pub read: u64,
    /// In the merged chunks, counted as they were encoded or passed on.
    pub written: u64,
    /// Left out because another source had the same timestamp or chunk, or
    /// because `penalty` followed another replica at that time.
    pub deduplicated: u64,
    /// Left out because a tombstone or the block's range excludes them.
    pub deleted: u64,
    /// Chunks in the sources.
    pub chunks_read: u64,
    /// Chunks of the sources that went into the result byte for byte.
    pub chunks_passed: u64,
    /// Chunks of the sources left out whole: exact copies of another one, and
    /// those of which `penalty` took no sample.
    pub chunks_deduplicated: u64,
    /// Chunks of the sources whose samples, as far as any are left, were
    /// encoded anew.
    pub chunks_replaced: u64,
    /// Chunks of the result that were encoded anew.
    pub chunks_encoded: u64,
    /// Series in the sources.
    pub series_read: u64,
    /// Series of the result.
    pub series_written: u64,
    /// Series of the sources that another source has, too, and were joined to
    /// that one.
    pub series_joined: u64,
    /// Series without any sample left.
    pub series_emptied: u64,
    /// Start timestamps that the written encodings cannot carry.
    pub start_times_dropped: u64,
}

impl Ledger {
    /// A chunk is left out, all its samples being there or not wanted; one that
    /// is not `intact` has been counted as replaced before.
    pub(super) fn drop_chunk(&mut self, samples: u32, intact: bool) {
        self.deduplicated += u64::from(samples);
        self.chunks_deduplicated += u64::from(intact);
    }

    /// True if no sample, chunk or series was lost or made up.
    pub fn balances(&self) -> bool {
        self.equations().iter().all(|e| e.read == e.sum())
    }

    /// What is wrong with the books of a result with these stats (`None` where
    /// the merged chunks are only downsampled); `None` if they balance and the
    /// result has what they say was written.
    pub fn imbalance(&self, stats: Option<&BlockStats>) -> Option<String> {
        for equation in self.equations() {
            if equation.read != equation.sum() {
                return Some(format!("{equation} does not add up"));
            }
        }
        let stats = stats?;
        let chunks = self.chunks_passed + self.chunks_encoded;
        let pairs = [
            ("samples", self.written, stats.num_samples),
            ("chunks", chunks, stats.num_chunks),
            ("series", self.series_written, stats.num_series),
        ];
        let wrong = pairs.into_iter().find(|(_, booked, has)| booked != has);
        wrong.map(|(what, booked, has)| {
            format!("{booked} {what} were booked as written, but the result has {has}")
        })
    }

    fn equations(&self) -> [Equation; 3] {
        [
            Equation {
                what: "samples",
                read: self.read,
                fates: [
                    ("written", self.written),
                    ("deduplicated", self.deduplicated),
                    ("deleted", self.deleted),
                ],
            },
            Equation {
                what: "chunks",
                read: self.chunks_read,
                fates: [
                    ("passed", self.chunks_passed),
                    ("deduplicated", self.chunks_deduplicated),
                    ("replaced", self.chunks_replaced),
                ],
            },
            Equation {
                what: "series",
                read: self.series_read,
                fates: [
                    ("written", self.series_written),
                    ("joined", self.series_joined),
                    ("emptied", self.series_emptied),
                ],
            },
        ]
    }
}

/// One line of the books: what was read, by fate.
struct Equation {
    what: &'static str,
    read: u64,
    fates: [(&'static str, u64); 3],
}

impl Equation {
    fn sum(&self) -> u64 {
        self.fates.iter().map(|(_, n)| n).sum()
    }
}

impl fmt::Display for Equation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fates = self.fates.map(|(fate, n)| format!("{n} {fate}"));
        write!(f, "{} {} = {}", self.read, self.what, fates.join(" + "))
    }
}

/// The three equations, and what the written encodings could not carry.
impl fmt::Display for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines = self.equations().map(|e| e.to_string());
        write!(f, "{}", lines.join(", "))?;
        if self.chunks_encoded > 0 {
            write!(f, ", {} chunks encoded anew", self.chunks_encoded)?;
        }
        if self.start_times_dropped > 0 {
            write!(f, ", {} start times dropped", self.start_times_dropped)?;
        }
        Ok(())
    }
}

impl AddAssign for Ledger {
    fn add_assign(&mut self, other: Self) {
        // Named one by one so that a new column cannot be forgotten here.
        let Self {
            read,
            written,
            deduplicated,
            deleted,
            chunks_read,
            chunks_passed,
            chunks_deduplicated,
            chunks_replaced,
            chunks_encoded,
            series_read,
            series_written,
            series_joined,
            series_emptied,
            start_times_dropped,
        } = other;
        self.read += read;
        self.written += written;
        self.deduplicated += deduplicated;
        self.deleted += deleted;
        self.chunks_read += chunks_read;
        self.chunks_passed += chunks_passed;
        self.chunks_deduplicated += chunks_deduplicated;
        self.chunks_replaced += chunks_replaced;
        self.chunks_encoded += chunks_encoded;
        self.series_read += series_read;
        self.series_written += series_written;
        self.series_joined += series_joined;
        self.series_emptied += series_emptied;
        self.start_times_dropped += start_times_dropped;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_balance_needs_samples_chunks_and_series() {
        let mut ledger = Ledger {
            read: 6,
            written: 3,
            deduplicated: 2,
            deleted: 1,
            chunks_read: 6,
            chunks_passed: 1,
            chunks_deduplicated: 2,
            chunks_replaced: 3,
            series_read: 6,
            series_written: 1,
            series_joined: 2,
            series_emptied: 3,
            ..Ledger::default()
        };
        assert!(ledger.balances());
        ledger += ledger;
        assert!(ledger.balances());
        type Column = fn(&mut Ledger) -> &mut u64;
        let columns: [Column; 4] = [
            |l| &mut l.written,
            |l| &mut l.chunks_passed,
            |l| &mut l.chunks_deduplicated,
            |l| &mut l.series_emptied,
        ];
        for column in columns {
            let mut wrong = ledger;
            *column(&mut wrong) += 1;
            assert!(!wrong.balances());
        }
    }
    #[test]
    fn what_does_not_add_up_is_said() {
        let ledger = Ledger {
            read: 6,
            written: 4,
            deduplicated: 2,
            chunks_read: 2,
            chunks_replaced: 2,
            chunks_encoded: 1,
            series_read: 2,
            series_written: 1,
            series_joined: 1,
            ..Ledger::default()
        };
        let stats = BlockStats {
            num_samples: 4,
            num_chunks: 1,
            num_series: 1,
            ..BlockStats::default()
        };
        assert_eq!(ledger.imbalance(Some(&stats)), None);
        assert_eq!(
            ledger.to_string(),
            "6 samples = 4 written + 2 deduplicated + 0 deleted, \
             2 chunks = 0 passed + 0 deduplicated + 2 replaced, \
             2 series = 1 written + 1 joined + 0 emptied, 1 chunks encoded anew"
        );
        let wrong = Ledger { read: 7, ..ledger };
        assert_eq!(
            wrong.imbalance(Some(&stats)).unwrap(),
            "7 samples = 4 written + 2 deduplicated + 0 deleted does not add up"
        );
        let more = BlockStats {
            num_chunks: 2,
            ..stats
        };
        assert_eq!(
            ledger.imbalance(Some(&more)).unwrap(),
            "1 chunks were booked as written, but the result has 2"
        );
    }
}
