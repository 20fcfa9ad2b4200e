//! Merges whose tables are too large for their share of the memory.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::test_support::{Block, Labels, SeriesMap, Setup, float_chunk, labels, pool};
use super::{MergeError, MergeMemory, Merged};
use crate::tsdb::spill::Room;
use crate::tsdb::spill::test_support::MemorySpill;
use crate::tsdb::{self};

/// More series than one block of a column, more symbols than one of the table,
/// and half of the series in both blocks.
fn blocks() -> Vec<Block> {
    let series = |first: u32, value: f64| -> SeriesMap {
        (first..first + 40_000)
            .map(|i| (label_set(i), vec![float_chunk(&[(i64::from(i), value)])]))
            .collect()
    };
    vec![
        Block::write("a", (0, 100_000), &series(0, 1.0), &[], 1 << 20),
        Block::write("b", (0, 100_000), &series(20_000, 2.0), &[], 1 << 20),
    ]
}

fn label_set(i: u32) -> Labels {
    let pod = format!("a-pod-with-a-long-name-{i:06}");
    labels(&[("__name__", "up"), ("job", "api"), ("pod", &pod)])
}

fn merge(memory: MergeMemory, blocks: &[Block]) -> Result<(Block, Merged), MergeError> {
    let pool = pool(2);
    let mut setup = Setup::new(&pool, blocks);
    setup.memory = memory;
    setup.merge(blocks)
}

fn scarce(spill: &Arc<MemorySpill>, bytes: u64) -> MergeMemory {
    let room = || Room::limited(bytes, Arc::new(Arc::clone(spill)));
    MergeMemory {
        batch_bytes: 20_000,
        symbols: room(),
        postings: room(),
    }
}

#[test]
fn a_result_does_not_depend_on_the_memory() {
    let blocks = blocks();
    let (plenty, of_plenty) = merge(MergeMemory::default(), &blocks).unwrap();
    assert_eq!(of_plenty.blocks[0].stats.num_series, 60_000);
    for bytes in [0, 300_000, 1 << 40] {
        let spill = MemorySpill::new();
        let (block, merged) = merge(scarce(&spill, bytes), &blocks).unwrap();
        assert!(block.index == plenty.index, "{bytes}");
        assert!(block.segments == plenty.segments, "{bytes}");
        assert_eq!(merged.ledger, of_plenty.ledger);
        assert_eq!(spill.bytes() > 0, bytes < 1 << 40, "{bytes}");
    }
}

#[test]
fn a_full_disk_ends_the_merge_wherever_it_happens() {
    let blocks = blocks();
    let spill = MemorySpill::new();
    merge(scarce(&spill, 0), &blocks).unwrap();
    let all = spill.bytes();
    for full_after in [0, all / 4, all / 2, all / 4 * 3, all - 1] {
        let full = MemorySpill::with(full_after, false);
        let error = merge(scarce(&full, 0), &blocks).unwrap_err();
        assert!(matches!(error.error, tsdb::Error::Write { .. }), "{error}");
        // No block is to blame.
        assert_eq!(error.input, None);
        assert!(full.spilled.load(Ordering::Relaxed) > full_after);
    }
}

#[test]
fn a_disk_that_changes_bytes_is_noticed() {
    let damaged = MemorySpill::with(u64::MAX, true);
    let error = merge(scarce(&damaged, 0), &blocks()).unwrap_err();
    assert!(error.to_string().contains("other bytes"), "{error}");
    assert_eq!(error.input, None);
}
