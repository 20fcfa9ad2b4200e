//! Merges of blocks that Prometheus wrote, from `fixtures/`.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::test_support::{Block, Chunk, SeriesMap, Setup, naive, pool};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures")
        .join(name)
}

/// A block of the fixtures with its `meta.json`.
fn load(dir: &Path) -> (Block, Value) {
    let read = |name: &str| std::fs::read(dir.join(name)).unwrap();
    let meta: Value = serde_json::from_slice(&read("meta.json")).unwrap();
    let segments = (1..)
        .map(|n| format!("chunks/{n:06}"))
        .take_while(|name| dir.join(name).exists());
    let block = Block {
        name: meta["ulid"].as_str().unwrap().to_owned(),
        index: read("index"),
        segments: segments.map(|name| read(&name)).collect(),
        min_time: meta["minTime"].as_i64().unwrap(),
        max_time: meta["maxTime"].as_i64().unwrap(),
        ..Block::default()
    };
    (block, meta)
}

/// The blocks of one stream of the quick-start bucket, by time.
fn stream(cluster: &str, replica: Option<&str>) -> Vec<(Block, Value)> {
    let mut blocks = Vec::new();
    for dir in std::fs::read_dir(fixture("quickstart")).unwrap() {
        let (block, meta) = load(&dir.unwrap().path());
        let labels = &meta["thanos"]["labels"];
        let is = |name: &str, value: &str| labels[name] == value;
        if is("cluster", cluster) && replica.is_none_or(|r| is("prometheus_replica", r)) {
            blocks.push((block, meta));
        }
    }
    blocks.sort_by_key(|(block, _)| block.min_time);
    blocks
}

fn sum(blocks: &[(Block, Value)], stat: &str) -> u64 {
    blocks
        .iter()
        .map(|(_, meta)| meta["stats"][stat].as_u64().unwrap_or(0))
        .sum()
}

#[test]
fn a_stream_merges_without_touching_a_chunk() {
    let blocks = stream("cluster-02", None);
    assert_eq!(blocks.len(), 31);
    let mut expected = SeriesMap::new();
    for (block, _) in &blocks {
        for (labels, chunks) in block.read() {
            expected.entry(labels).or_default().extend(chunks);
        }
    }
    let sources: Vec<Block> = blocks.iter().map(|(b, _)| b.clone()).collect();
    let (result, merged) = Setup::new(&pool(2), &sources).merge(&sources).unwrap();
    assert_eq!(result.read(), expected);
    let (stats, ledger) = (&merged.blocks[0].stats, &merged.ledger);
    assert_eq!((ledger.chunks_encoded, ledger.deduplicated), (0, 0));
    assert_eq!(ledger.chunks_passed, sum(&blocks, "numChunks"));
    assert_eq!(stats.num_chunks, sum(&blocks, "numChunks"));
    assert_eq!(stats.num_samples, sum(&blocks, "numSamples"));
    assert_eq!(stats.num_float_samples, sum(&blocks, "numFloatSamples"));
    assert_eq!(
        stats.num_histogram_samples,
        sum(&blocks, "numHistogramSamples")
    );
    assert_eq!(ledger.series_read, sum(&blocks, "numSeries"));
    assert_eq!(stats.num_series, expected.len() as u64);
}

#[test]
fn a_replica_pair_merges_like_the_model() {
    let mut blocks = Vec::new();
    for (i, (block, _)) in stream("cluster-01", None).into_iter().enumerate() {
        // Twelve hours, beginning where both are there and one scrape is missing.
        if (20..32).contains(&i) {
            blocks.push(block);
        }
    }
    let mut parts: std::collections::BTreeMap<_, Vec<Vec<Chunk>>> = Default::default();
    for block in &blocks {
        for (labels, chunks) in block.read() {
            parts.entry(labels).or_default().push(chunks);
        }
    }
    let (result, merged) = Setup::new(&pool(2), &blocks).merge(&blocks).unwrap();
    let read = result.read();
    assert_eq!(read.len(), parts.len());
    assert!(merged.ledger.chunks_encoded > 0);
    for (labels, sources) in &parts {
        assert_eq!(naive(&[read[labels].clone()]), naive(sources), "{labels:?}");
    }
}

/// One block per encoding: its name, the block, and the byte that a merge writes.
pub(super) fn encodings() -> Vec<(&'static str, Block, u8)> {
    let all = [
        ("1-xor", 1),
        ("2-histogram", 2),
        ("3-float-histogram", 3),
        ("4-xor2", 1),
        ("5-histogram-st", 2),
        ("6-float-histogram-st", 3),
    ];
    let load = |(name, written)| {
        let dirs = std::fs::read_dir(fixture(&format!("encodings/{name}"))).unwrap();
        let dir = dirs.map(|d| d.unwrap().path()).find(|d| d.is_dir());
        (name, load(&dir.unwrap()).0, written)
    };
    all.map(load).into()
}

#[test]
fn encodings_of_today_pass_and_newer_ones_are_written_as_those() {
    for (name, block, written) in encodings() {
        let block = std::slice::from_ref(&block);
        let before = block[0].read();
        let (result, merged) = Setup::new(&pool(1), block).merge(block).unwrap();
        let after = result.read();
        let newer = before
            .values()
            .flatten()
            .any(|c| c.known().has_start_times());
        assert_eq!(newer, name.as_bytes()[0] > b'3', "{name}");
        if !newer {
            assert_eq!(after, before, "{name}");
            assert_eq!(merged.ledger.chunks_encoded, 0, "{name}");
            continue;
        }
        assert!(after.keys().eq(before.keys()), "{name}");
        for (labels, chunks) in before {
            assert_eq!(naive(&[after[&labels].clone()]), naive(&[chunks]), "{name}");
        }
        let mut kinds = after.values().flatten().map(|c| c.encoding);
        assert!(kinds.all(|e| e == written), "{name}");
        assert!(merged.ledger.start_times_dropped > 0, "{name}");
    }
}

#[test]
fn every_encoding_can_be_cut() {
    for (name, block, _) in encodings() {
        let block = std::slice::from_ref(&block);
        let series = block[0].read();
        let times = series.values().flatten().flat_map(Chunk::decode);
        let mut times: Vec<i64> = times.map(|s| s.0).collect();
        times.sort_unstable();
        let range = (times[times.len() / 3], times[times.len() * 2 / 3]);
        let mut setup = Setup::new(&pool(1), block);
        setup.range = range;
        let (result, merged) = setup.merge(block).unwrap();
        let read = result.read();
        for (labels, chunks) in series {
            let mut expected = naive(&[chunks]);
            expected.retain(|(t, _)| (range.0..range.1).contains(t));
            let found = read.get(&labels).cloned().unwrap_or_default();
            assert_eq!(naive(&[found]), expected, "{name} {labels:?}");
        }
        assert!(merged.ledger.deleted > 0, "{name}");
        let dropped = merged.ledger.start_times_dropped > 0;
        assert_eq!(dropped, name.as_bytes()[0] > b'3', "{name}");
    }
}
