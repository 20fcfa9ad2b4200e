//! What a run says about damaged blocks when it is over.

use std::fmt::Write as _;
use std::io::Write as _;

use super::human::wrapped;
use crate::compact::report::RunReport;
use crate::error::{Error, Kind, Result};
use crate::plan::{Held, HeldReason};

/// Writes the page to standard output, or to standard error if that is `taken`,
/// if there is anything to say.
///
/// # Errors
/// It cannot be written.
pub(super) fn show(report: &RunReport, taken: bool) -> Result<()> {
    if report.quarantine_full {
        tracing::error!(
            marked = report.quarantined.len(),
            cure = FULL_CURE,
            "more damaged blocks than may be marked in one run, which therefore ended early"
        );
    }
    let page = page(report);
    let (written, to) = if taken {
        let done = std::io::stderr().lock().write_all(page.as_bytes());
        (done, "standard error")
    } else {
        let done = std::io::stdout().lock().write_all(page.as_bytes());
        (done, "standard output")
    };
    written.map_err(|e| Error::new(Kind::Retry, format!("cannot write to {to}")).with_source(e))
}

const FULL_CURE: &str = "so many at once look like one common fault: check the store, the network \
    and the versions of the programs that write blocks; mend it and remove the marks, or raise \
    --quarantine.max-blocks-per-run if the blocks are really damaged";

/// Blocks that were marked in this run, then those that were before.
fn page(report: &RunReport) -> String {
    let mut page = String::new();
    if !report.quarantined.is_empty() {
        page.push_str("put into quarantine\n");
    }
    for marked in &report.quarantined {
        let _ = writeln!(page, "  {}  {}", marked.block, marked.reason);
        wrapped(&mut page, &marked.details, 4);
        wrapped(&mut page, &format!("cure: {}", marked.cure), 4);
    }
    let is_new = |held: &Held| {
        let mut new = report.quarantined.iter();
        new.any(|q| held.blocks.contains(&q.block))
    };
    let mut before = report.held.iter();
    let before: Vec<&Held> = before
        .by_ref()
        .filter(|h| h.why == HeldReason::Quarantined && !is_new(h))
        .collect();
    if !before.is_empty() {
        page.push_str("in quarantine since an earlier run\n");
    }
    for held in before {
        let (reason, details) = held.what.split_once(": ").unwrap_or((&held.what, ""));
        for block in &held.blocks {
            let _ = writeln!(page, "  {block}  {reason}");
        }
        wrapped(&mut page, details, 4);
        wrapped(&mut page, &format!("cure: {}", held.cure), 4);
    }
    if report.quarantine_full {
        page.push_str("ended early: more damaged blocks than may be marked in one run\n");
        wrapped(&mut page, &format!("cure: {FULL_CURE}"), 4);
    }
    page
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ulid::Ulid;

    use super::*;
    use crate::compact::report::Quarantined;
    use crate::plan::group::GroupKey;
    use crate::tsdb::Damage;

    #[test]
    fn the_page_names_block_reason_and_cure_in_80_columns() {
        let block = Ulid::from_parts(1, 1);
        let old = Ulid::from_parts(1, 2);
        let report = RunReport {
            quarantined: vec![Quarantined {
                block,
                reason: Damage::ChunkChecksum,
                details: format!("{block}/chunks/000001: bad at byte 8 ({})", "x".repeat(300)),
                cure: Damage::ChunkChecksum.cure(block),
            }],
            held: vec![Held {
                group: GroupKey::of(0, &Default::default()),
                labels: Arc::default(),
                why: HeldReason::Quarantined,
                what: "missing-index: index is missing".to_owned(),
                cure: Damage::MissingIndex.cure(old),
                blocks: vec![old],
                range: (0, 1),
            }],
            quarantine_full: true,
            ..RunReport::default()
        };
        let page = page(&report);
        for line in page.lines() {
            assert!(line.chars().count() <= 80, "{line}");
        }
        for word in ["chunk-checksum", "cure: ", "missing-index", "ended early"] {
            assert!(page.contains(word), "{word} is missing in {page}");
        }
        assert!(page.contains(&block.to_string()) && page.contains(&old.to_string()));
        assert_eq!(super::page(&RunReport::default()), "");
    }
}
