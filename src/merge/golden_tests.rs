//! Against merges that Prometheus itself made, `fixtures/goldens/merge.jsonl`.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use super::series_support::{MergedSeries, merge_series};
use super::test_support::{Chunk, naive};

struct Golden {
    name: String,
    inputs: Vec<Vec<Chunk>>,
    output: Vec<Chunk>,
    /// Times, and for floats the bits of the value.
    samples: Vec<(i64, Option<String>)>,
}

pub(super) fn chunks(list: &Value) -> Vec<Chunk> {
    let unhex = |text: &str| -> Vec<u8> {
        let byte = |i| u8::from_str_radix(&text[i..i + 2], 16).unwrap();
        (0..text.len()).step_by(2).map(byte).collect()
    };
    let chunk = |c: &Value| Chunk {
        encoding: c["encoding"].as_u64().unwrap() as u8,
        min_time: c["min"].as_i64().unwrap(),
        max_time: c["max"].as_i64().unwrap(),
        data: unhex(c["bytes"].as_str().unwrap()),
    };
    list.as_array().unwrap().iter().map(chunk).collect()
}

fn goldens() -> Vec<Golden> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/goldens/merge.jsonl");
    let text = std::fs::read_to_string(file).unwrap();
    let read = |line: &str| {
        let line: Value = serde_json::from_str(line).unwrap();
        let inputs = line["inputs"].as_array().unwrap();
        let sample = |s: &Value| (s[0].as_i64().unwrap(), s[1].as_str().map(str::to_owned));
        Golden {
            name: line["name"].as_str().unwrap().to_owned(),
            inputs: inputs.iter().map(chunks).collect(),
            output: chunks(&line["output"]),
            samples: line["samples"]
                .as_array()
                .unwrap()
                .iter()
                .map(sample)
                .collect(),
        }
    };
    text.lines().map(read).collect()
}

/// Goldens in which sources have different values at one time, and whose
/// winner upstream is whichever its heap has on top: it depends on how many
/// chunks there are and where they start, and can change from sample to sample.
/// There is no rule to copy, so ours is declared: the lowest rank wins.
///
/// Everything else about these, times and cuts, is as upstream.
const TIES_DIFFER: [&str; 15] = [
    "identical-then-different",
    "touching-other-value",
    "touching-chain",
    "contained-same-times",
    "conflict-three",
    "conflict-three-starts-differ",
    "same-start-other-end",
    "remainder-overlaps-again",
    "random-1",
    "random-2",
    "random-3",
    "random-4",
    "random-6",
    "random-7",
    "random-10",
];

fn check_passed(golden: &Golden, ours: &MergedSeries) {
    let inputs: Vec<&Chunk> = golden.inputs.iter().flatten().collect();
    for (chunk, copy) in ours.chunks.iter().zip(&ours.copies) {
        if let Some(i) = copy {
            assert_eq!(chunk, inputs[*i], "{}", golden.name);
        }
    }
    // A chunk that overlaps nothing must be among them.
    for (i, chunk) in inputs.iter().enumerate() {
        let overlaps = |o: &Chunk| o.min_time <= chunk.max_time && o.max_time >= chunk.min_time;
        let others = inputs.iter().enumerate().filter(|(j, _)| *j != i);
        if !others.map(|(_, o)| o).any(|o| overlaps(o)) {
            assert!(ours.copies.contains(&Some(i)), "{}: {i}", golden.name);
        }
    }
}

#[test]
fn chunks_are_those_of_prometheus_or_only_the_winner_of_a_tie_differs() {
    let mut differ = Vec::new();
    for golden in goldens() {
        let name = &golden.name;
        let ours = merge_series(&golden.inputs).unwrap();
        assert!(ours.ledger.read == ours.ledger.written + ours.ledger.deduplicated);
        check_passed(&golden, &ours);
        let samples = ours.samples();
        assert_eq!(samples, naive(&golden.inputs), "{name}");
        // Bytes are equal, so the hints of histograms are, too, in the header
        // and, since the cuts are equal, from sample to sample.
        if ours.chunks == golden.output {
            let times = samples.iter().map(|(t, _)| *t);
            assert!(times.eq(golden.samples.iter().map(|(t, _)| *t)), "{name}");
            for ((_, ours), (_, theirs)) in samples.iter().zip(&golden.samples) {
                assert!(theirs.as_ref().is_none_or(|v| ours.trim() == v), "{name}");
            }
            continue;
        }
        differ.push(golden.name.clone());
        let ranges = |chunks: &[Chunk]| -> Vec<(u8, i64, i64, u64)> {
            let range = |c: &Chunk| (c.encoding, c.min_time, c.max_time, c.samples());
            chunks.iter().map(range).collect()
        };
        assert_eq!(ranges(&ours.chunks), ranges(&golden.output), "{name}");
        let mut held: BTreeMap<i64, Vec<String>> = BTreeMap::new();
        for (t, v, _) in golden.inputs.iter().flatten().flat_map(Chunk::decode) {
            held.entry(t).or_default().push(v);
        }
        for (t, v, _) in golden.output.iter().flat_map(Chunk::decode) {
            assert!(held[&t].contains(&v), "{name}: not a tie at {t}");
        }
    }
    assert_eq!(differ, TIES_DIFFER);
}
