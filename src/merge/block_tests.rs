//! Whole merges of blocks in memory against a naive model.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::batch::Limits;
use super::ledger::Ledger;
use super::overlap_tests::{mixed_source, sources};
use super::test_support::{
    Block, Chunk, Labels, SeriesMap, Setup, float_chunk, labels, naive, pool, text,
};
use crate::tsdb::index::test_support::Content;
use crate::tsdb::source::MemBlob;
use crate::tsdb::tombstones::{Interval, Tombstones};

const ALL_TIMES: (i64, i64) = (-100_000, 100_000);

/// A few label sets of which one is the start of another.
fn label_set(n: usize) -> Labels {
    let all = [
        &[("__name__", "up")][..],
        &[("__name__", "up"), ("job", "a")],
        &[("__name__", "up"), ("job", "b")],
        &[
            ("__name__", "up"),
            ("job", "a"),
            ("pod", "ein-längerer-name"),
        ],
        &[("__name__", "cpu"), ("zone", "")],
        &[("a", "__name__")],
    ];
    labels(all[n % all.len()])
}

#[derive(Debug, Clone)]
struct Blocks {
    /// Label set, and its chunks by block; empty where a block lacks it.
    series: Vec<(Labels, Vec<Vec<Chunk>>)>,
    /// Symbols by block that no series of it has.
    more: Vec<Vec<&'static str>>,
}

impl Blocks {
    fn write(&self) -> Vec<Block> {
        let write = |(i, more): (usize, &Vec<&str>)| {
            let series: SeriesMap = self
                .series
                .iter()
                .filter(|(_, chunks)| !chunks[i].is_empty())
                .map(|(labels, chunks)| (labels.clone(), chunks[i].clone()))
                .collect();
            Block::write(&format!("block-{i}"), ALL_TIMES, &series, more, 4096)
        };
        self.more.iter().enumerate().map(write).collect()
    }

    /// Label sets with their samples, without those that have none.
    fn model(&self, keep: impl Fn(usize, &Labels, i64) -> bool) -> BTreeMap<Labels, Vec<Sample>> {
        let mut model = BTreeMap::new();
        for (labels, blocks) in &self.series {
            let mut samples = BTreeMap::new();
            for (i, chunks) in blocks.iter().enumerate() {
                for (t, value) in naive(std::slice::from_ref(chunks)) {
                    if keep(i, labels, t) {
                        samples.entry(t).or_insert(value);
                    }
                }
            }
            if !samples.is_empty() {
                model.insert(labels.clone(), samples.into_iter().collect());
            }
        }
        model
    }
}

type Sample = (i64, String);

fn samples(series: &SeriesMap) -> BTreeMap<Labels, Vec<Sample>> {
    let all = |chunks: &Vec<Chunk>| naive(std::slice::from_ref(chunks));
    series
        .iter()
        .map(|(labels, chunks)| (labels.clone(), all(chunks)))
        .collect()
}

fn blocks() -> impl Strategy<Value = Blocks> {
    let one_series = prop_oneof![
        3 => sources(1..50),
        1 => prop::collection::vec(mixed_source(), 1..4),
    ];
    let has = prop::collection::vec(any::<bool>(), 4);
    let more = prop::sample::subsequence(vec!["", "aa", "up", "zz", "zzz"], 0..4);
    (
        prop::collection::vec((one_series, has), 0..6),
        prop::collection::vec(more, 1..=4),
    )
        .prop_map(|(all, more)| {
            let series = all.into_iter().enumerate().map(|(n, (mut sources, has))| {
                sources.resize(more.len(), Vec::new());
                for (chunks, has) in sources.iter_mut().zip(has) {
                    if !has {
                        chunks.clear();
                    }
                }
                (label_set(n), sources)
            });
            Blocks {
                series: series.collect(),
                more,
            }
        })
}

/// Index and segments are sound, and the figures are those of their content.
fn check_result(block: &Block, merged: &super::Merged, read: &SeriesMap) {
    let content = Content::read(Box::new(MemBlob::new("result", block.index.clone()))).unwrap();
    assert_eq!(content.postings, content.expected_postings());
    let stats = &merged.blocks[0].stats;
    let chunks: Vec<&Chunk> = read.values().flatten().collect();
    assert_eq!(stats.num_series, read.len() as u64);
    assert_eq!(stats.num_chunks, chunks.len() as u64);
    let samples: u64 = chunks.iter().map(|c| c.samples()).sum();
    assert_eq!(stats.num_samples, samples);
    let (floats, histograms) = (stats.num_float_samples, stats.num_histogram_samples);
    assert_eq!(stats.num_samples, floats + histograms);
    let ledger = &merged.ledger;
    assert_eq!(ledger.written, stats.num_samples);
    assert_eq!(ledger.series_written, stats.num_series);
    let chunks = ledger.chunks_passed + ledger.chunks_encoded;
    assert_eq!(chunks, stats.num_chunks);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(120))]

    #[test]
    fn blocks_merge_like_the_model(blocks in blocks()) {
        let sources = blocks.write();
        let one = pool(1);
        let mut setup = Setup::new(&one, &sources);
        let (result, merged) = setup.merge(&sources).unwrap();
        let read = result.read();
        check_result(&result, &merged, &read);
        prop_assert_eq!(samples(&read), blocks.model(|_, _, _| true));

        // All symbols of all sources, used or not.
        let symbols = |block: &Block| {
            let blob = MemBlob::new("x", block.index.clone());
            Content::read(Box::new(blob)).unwrap().symbols
        };
        let union: BTreeSet<Vec<u8>> = sources.iter().flat_map(symbols).collect();
        prop_assert!(symbols(&result).iter().eq(union.iter()));

        // Segments are cut where they would be without a merge.
        setup.segment_bytes = 200;
        let (small, _) = setup.merge(&sources).unwrap();
        let union: Vec<&str> = union.iter().map(|s| std::str::from_utf8(s).unwrap()).collect();
        let plain = Block::write("plain", ALL_TIMES, &read, &union, 200);
        prop_assert_eq!(small.segments, plain.segments);
        prop_assert_eq!(small.index, plain.index);
        setup.segment_bytes = 1 << 20;

        // The books by what is known from outside.
        let there = |c: &&Vec<Chunk>| !c.is_empty();
        let entries = blocks.series.iter().map(|(_, s)| s.iter().filter(there).count() as u64);
        let chunks = blocks.series.iter().flat_map(|(_, s)| s.iter().flatten());
        let ledger = merged.ledger;
        prop_assert_eq!(ledger.series_read, entries.clone().sum::<u64>());
        let joined = entries.map(|n| n.saturating_sub(1)).sum::<u64>();
        prop_assert_eq!(ledger.series_joined, joined);
        prop_assert_eq!(ledger.read, chunks.clone().map(Chunk::samples).sum::<u64>());
        prop_assert_eq!(ledger.chunks_read, chunks.count() as u64);
        prop_assert_eq!((ledger.deleted, ledger.series_emptied), (0, 0));

        // Neither threads nor the size of batches can be seen in the result.
        let three = pool(3);
        for (bytes, series) in [(1, 1), (usize::MAX, 2), (300, usize::MAX)] {
            for threads in [&one, &three] {
                setup.pool = std::sync::Arc::clone(threads);
                setup.tuning.limits = Limits { bytes, series };
                let (again, figures) = setup.merge(&sources).unwrap();
                prop_assert_eq!(&again.index, &result.index);
                prop_assert_eq!(&again.segments, &result.segments);
                prop_assert_eq!(figures.ledger, ledger);
            }
        }
    }

    #[test]
    fn deleted_and_outside_samples_are_left_out(
        blocks in blocks(),
        deleted in prop::collection::vec((0..4usize, 0..6usize, -50..900i64, 0..300i64), 0..8),
        range in prop_oneof![Just(ALL_TIMES), (-100..300i64, 300..900i64)],
    ) {
        let mut sources = blocks.write();
        let mut gone: BTreeMap<(usize, Labels), Vec<Interval>> = BTreeMap::new();
        for (block, series, min_time, len) in deleted {
            let block = block % sources.len();
            let source = &mut sources[block];
            let present: Vec<Labels> = source.read().into_keys().collect();
            let Some(labels) = present.get(series) else {
                continue;
            };
            let reference = source.references()[series];
            let interval = Interval { min_time, max_time: min_time + len };
            source.tombstones.get_or_insert_with(Tombstones::new).add(reference, interval);
            gone.entry((block, labels.clone())).or_default().push(interval);
        }
        let keep = |block: usize, labels: &Labels, t: i64| {
            let deleted = gone.get(&(block, labels.clone()));
            (range.0..range.1).contains(&t)
                && !deleted.is_some_and(|all| all.iter().any(|i| i.contains(t)))
        };
        let mut setup = Setup::new(&pool(2), &sources);
        setup.range = range;
        let (result, merged) = setup.merge(&sources).unwrap();
        let read = result.read();
        check_result(&result, &merged, &read);
        prop_assert_eq!(samples(&read), blocks.model(keep));
        let mut lost = 0;
        for (labels, sources) in &blocks.series {
            for (block, chunks) in sources.iter().enumerate() {
                let times = chunks.iter().flat_map(Chunk::decode);
                lost += times.filter(|(t, ..)| !keep(block, labels, *t)).count() as u64;
            }
        }
        prop_assert_eq!(merged.ledger.deleted, lost);
        for chunk in read.values().flatten() {
            let decoded = chunk.decode();
            prop_assert_eq!(decoded.first().unwrap().0, chunk.min_time);
            prop_assert_eq!(decoded.last().unwrap().0, chunk.max_time);
        }
    }
}

fn block(name: &str, range: (i64, i64), chunks: Vec<Chunk>) -> Block {
    let series = SeriesMap::from([(label_set(0), chunks)]);
    Block::write(name, range, &series, &[], 1 << 20)
}

#[test]
fn a_sample_at_the_end_of_a_block_goes_where_the_result_goes_on() {
    let first = block(
        "a",
        (0, 100),
        vec![float_chunk(&[(0, 1.0), (50, 2.0), (100, 3.0)])],
    );
    let next = block("b", (100, 200), vec![float_chunk(&[(110, 4.0)])]);
    let times = |result: &Block| -> Vec<i64> {
        samples(&result.read())
            .into_values()
            .flatten()
            .map(|(t, _)| t)
            .collect()
    };
    let sources = [first.clone(), next];
    let (result, merged) = Setup::new(&pool(1), &sources).merge(&sources).unwrap();
    assert_eq!(times(&result), [0, 50, 100, 110]);
    assert_eq!(merged.ledger.chunks_passed, 2);
    let alone = [first];
    let (result, merged) = Setup::new(&pool(1), &alone).merge(&alone).unwrap();
    assert_eq!(times(&result), [0, 50]);
    assert_eq!(
        (merged.ledger.deleted, merged.ledger.chunks_encoded),
        (1, 1)
    );
}

#[test]
fn without_samples_there_is_an_empty_index_and_no_segment() {
    let nothing = Block::write(
        "a",
        (0, 100),
        &SeriesMap::new(),
        &["only", "symbols"],
        1 << 20,
    );
    let mut deleted = block("b", (0, 100), vec![float_chunk(&[(5, 1.0), (50, 2.0)])]);
    let mut tombstones = Tombstones::new();
    let everything = Interval {
        min_time: 0,
        max_time: 99,
    };
    tombstones.add(deleted.references()[0], everything);
    deleted.tombstones = Some(tombstones);
    for sources in [vec![], vec![nothing.clone()], vec![nothing, deleted]] {
        let (result, merged) = Setup::new(&pool(1), &sources).merge(&sources).unwrap();
        assert_eq!(result.segments, [[0u8; 0]; 0]);
        assert!(result.read().is_empty());
        assert_eq!(merged.blocks[0].stats.num_series, 0);
        let two = sources.len() as u64 / 2;
        assert_eq!(
            (merged.ledger.deleted, merged.ledger.series_emptied),
            (2 * two, two)
        );
    }
}

#[test]
fn what_a_cut_leaves_takes_part_in_the_merge() {
    let dense = |v: f64| float_chunk(&[(0, v), (10, v), (20, v), (30, v), (40, v)]);
    let mut a = block("a", (0, 100), vec![dense(1.0)]);
    let b = block("b", (0, 100), vec![dense(2.0)]);
    let mut tombstones = Tombstones::new();
    let middle = Interval {
        min_time: 10,
        max_time: 29,
    };
    tombstones.add(a.references()[0], middle);
    a.tombstones = Some(tombstones);
    let sources = [a, b];
    let (result, merged) = Setup::new(&pool(1), &sources).merge(&sources).unwrap();
    let found = samples(&result.read()).remove(&label_set(0)).unwrap();
    let expected = [(0, 1.0), (10, 2.0), (20, 2.0), (30, 1.0), (40, 1.0)];
    assert_eq!(found, expected.map(|(t, v)| (t, text(v))));
    let expected = Ledger {
        read: 10,
        written: 5,
        deduplicated: 3,
        deleted: 2,
        chunks_read: 2,
        chunks_replaced: 2,
        chunks_encoded: 1,
        series_read: 2,
        series_written: 1,
        series_joined: 1,
        ..Ledger::default()
    };
    assert_eq!(merged.ledger, expected);
}
