//! Against what Thanos makes of the same chunks,
//! `fixtures/goldens/downsample.jsonl`. Where the results differ on purpose, the
//! case stands in [`DIFFERENT`] with the reason; docs/downsampling.md shows both.

use std::collections::BTreeMap;

use serde_json::Value;

use super::golden_support::{Chunk, cases, chunks};
use super::{ChunkView, Downsampler, FIVE_MINUTES_MS, Level, ONE_HOUR_MS};
use crate::tsdb::chunkenc::{
    Aggr, AggrChunk, EncodedChunks, Encoding, FloatSamples, SeriesEncoder, decode_xor,
};

/// Cases whose results differ from Thanos' on purpose: at 5m, at 1h, and the row
/// of docs/downsampling.md that says why.
const DIFFERENT: &[(&str, bool, bool, &str)] = &[
    ("float-ratio", true, false, "infinities"),
    ("float-inf-windows", true, false, "infinities"),
    ("float-inf-only", true, false, "infinities"),
    ("float-minus-inf-only", true, false, "infinities"),
    ("float-small-infinities", true, false, "infinities"),
    ("float-random-00", true, false, "infinities"),
    ("float-random-04", true, false, "infinities"),
    ("float-random-14", true, false, "infinities"),
    ("float-random-16", true, false, "infinities"),
    ("float-random-17", true, false, "infinities"),
    ("float-random-18", true, false, "infinities"),
    ("quirk-negative-times", true, false, "before the epoch"),
    ("quirk-across-the-epoch", true, false, "before the epoch"),
    (
        "quirk-across-the-epoch-two-chunks",
        true,
        false,
        "before the epoch",
    ),
    (
        "quirk-last-millisecond-before-the-epoch",
        true,
        false,
        "before the epoch",
    ),
    (
        "quirk-negative-times-as-samples",
        true,
        false,
        "before the epoch",
    ),
    (
        "quirk-across-the-epoch-as-samples",
        true,
        false,
        "before the epoch",
    ),
    (
        "quirk-minus-one-as-samples",
        true,
        false,
        "before the epoch",
    ),
    (
        "quirk-negative-small-windows",
        true,
        false,
        "before the epoch",
    ),
    ("quirk-end-of-time", true, true, "end of time"),
    (
        "quirk-chunk-ends-later-than-stated",
        true,
        false,
        "times of the index",
    ),
    ("quirk-chunks-overlap", true, false, "overlapping chunks"),
    (
        "quirk-chunks-not-in-order",
        true,
        false,
        "overlapping chunks",
    ),
    (
        "quirk-aggregates-overlap",
        false,
        true,
        "overlapping chunks",
    ),
    ("quirk-no-count", false, true, "missing column"),
    ("quirk-no-sum", false, true, "missing column"),
    ("quirk-no-min", false, true, "missing column"),
    ("quirk-no-max", false, true, "missing column"),
    ("quirk-no-counter", false, true, "missing column"),
    ("quirk-no-column-at-all", false, true, "missing column"),
    (
        "quirk-more-chunks-wanted-than-there-are",
        false,
        true,
        "batch of no chunk",
    ),
    ("quirk-uneven-density", false, true, "batch of no chunk"),
];

fn views(chunks: &[Chunk]) -> Vec<ChunkView<'_>> {
    let views = chunks.iter().map(|chunk| ChunkView {
        min_time: chunk.min_time,
        max_time: chunk.max_time,
        encoding: chunk.encoding,
        data: &chunk.data,
        samples: None,
    });
    views.collect()
}

/// Samples that no block can hold, as the chunks of a series.
fn samples(list: &Value) -> Option<Vec<Chunk>> {
    let list = list.as_array()?;
    let (mut encoder, mut made) = (SeriesEncoder::new(), EncodedChunks::default());
    for sample in list {
        let (t, bits) = (sample[0].as_i64().unwrap(), sample[1].as_str().unwrap());
        let bits = u64::from_str_radix(bits, 16).unwrap();
        encoder
            .push_float(t, f64::from_bits(bits), &mut made)
            .unwrap();
    }
    encoder.finish(&mut made).unwrap();
    let chunk = |(meta, data): (&crate::tsdb::chunkenc::EncodedChunk, &[u8])| Chunk {
        min_time: meta.min_time,
        max_time: meta.max_time,
        encoding: meta.encoding,
        data: data.to_vec(),
    };
    Some(made.iter().map(chunk).collect())
}

/// What a level differs in, if it does.
fn difference(level: &Level, expected: &[Chunk]) -> Option<String> {
    let made = &level.chunks;
    if made.metas.len() != expected.len() {
        return Some(format!(
            "{} chunks, Thanos {}",
            made.metas.len(),
            expected.len()
        ));
    }
    for (i, ((meta, data), want)) in made.iter().zip(expected).enumerate() {
        if (meta.min_time, meta.max_time) != (want.min_time, want.max_time) {
            return Some(format!(
                "chunk {i}: {}..={}, Thanos {}..={}",
                meta.min_time, meta.max_time, want.min_time, want.max_time
            ));
        }
        if data != want.data {
            return Some(format!("chunk {i}: {}", columns_apart(data, &want.data)));
        }
    }
    None
}

/// The first sample of the first column that differs.
fn columns_apart(ours: &[u8], theirs: &[u8]) -> String {
    let (ours, theirs) = (
        AggrChunk::parse(ours).unwrap(),
        AggrChunk::parse(theirs).unwrap(),
    );
    for aggr in Aggr::ALL {
        let (Some(our), Some(their)) = (ours.column(aggr), theirs.column(aggr)) else {
            continue;
        };
        if our.data == their.data {
            continue;
        }
        let name = aggr.name();
        if our.encoding != Encoding::Xor || their.encoding != Encoding::Xor {
            return format!("other {name}");
        }
        let (mut a, mut b) = (FloatSamples::default(), FloatSamples::default());
        decode_xor(our.data, &mut a).unwrap();
        decode_xor(their.data, &mut b).unwrap();
        let mut pairs = a.iter().zip(b.iter());
        let differs =
            |((t, v), (u, w)): &((i64, f64), (i64, f64))| (t, v.to_bits()) != (u, w.to_bits());
        let first = pairs.find(differs);
        let bits = first.map(|(a, b)| (a.1.to_bits(), b.1.to_bits()));
        return format!("{name} {first:?} {bits:x?}, {} and {}", a.len(), b.len());
    }
    "other columns".to_owned()
}

/// Differences of both levels from what Thanos made.
fn replay(case: &Value) -> [Option<String>; 2] {
    let mut resolutions = [FIVE_MINUTES_MS, ONE_HOUR_MS];
    if let Some(resolution) = case["resolution"].as_i64().filter(|r| *r != 0) {
        resolutions = [resolution, resolution * 12];
    }
    let mut downsampler = Downsampler::with_resolutions(resolutions);
    let (mut five, mut hour) = (Level::default(), Level::default());
    let theirs = [chunks(&case["five"]), chunks(&case["hour"])];
    let error = |name: &str| case[name].as_str().filter(|e| !e.is_empty());
    let raw = samples(&case["samples"]).unwrap_or_else(|| chunks(&case["raw"]));
    let mut differences = [None, None];
    if !raw.is_empty() {
        let result = downsampler.raw(&views(&raw), &mut five, Some(&mut hour));
        if result.is_ok() {
            assert_eq!(five.counts.imbalance(), 0, "{}", case["name"]);
            assert_eq!(hour.counts.read, five.counts.counted, "{}", case["name"]);
        }
        differences[0] = match (result, error("error5")) {
            (Ok(()), None) => difference(&five, &theirs[0]),
            (ours, theirs) => Some(format!("{ours:?}, Thanos {theirs:?}")),
        };
    }
    // From Thanos' own chunks, so that what differs in 5m is not seen twice.
    if case["samples"].is_null() && error("error5").is_none() {
        let result = downsampler.aggregates(&views(&theirs[0]), &mut hour);
        if result.is_ok() {
            assert_eq!(hour.counts.imbalance(), 0, "{}", case["name"]);
        }
        differences[1] = match (result, error("error1h")) {
            (Ok(()), None) => difference(&hour, &theirs[1]),
            (ours, theirs) => Some(format!("{ours:?}, Thanos {theirs:?}")),
        };
    }
    differences
}

#[test]
fn results_are_those_of_thanos_or_differ_as_intended() {
    let intended: BTreeMap<&str, [bool; 2]> = DIFFERENT
        .iter()
        .map(|&(name, five, hour, _)| (name, [five, hour]))
        .collect();
    let (mut wrong, mut seen) = (Vec::new(), 0);
    for case in cases() {
        let name = case["name"].as_str().unwrap();
        // Theirs has a test beside the code for histograms.
        if name.contains("histogram") && case["group"] != "mixed" {
            continue;
        }
        let expected = intended.get(name).copied().unwrap_or_default();
        seen += usize::from(intended.contains_key(name));
        for ((found, expected), level) in replay(&case).into_iter().zip(expected).zip(["5m", "1h"])
        {
            if found.is_some() != expected {
                wrong.push(format!("{name} {level}: {found:?}, intended: {expected}"));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} differ:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert_eq!(seen, DIFFERENT.len(), "every intended difference is a case");
    let docs = include_str!("../../docs/downsampling.md");
    for (name, _, _, row) in DIFFERENT {
        assert!(docs.contains(&format!("| {row} |")), "{name}: no row {row}");
    }
}
