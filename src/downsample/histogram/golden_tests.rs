//! Against what Thanos made of the same chunks, from `fixtures/goldens/`.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use serde_json::Value;

use super::HistogramDownsampler;
use crate::downsample::golden_support::{Chunk, cases, chunks};
use crate::downsample::{Counts, FIVE_MINUTES_MS};
use crate::tsdb::chunkenc::{Aggr, AggrChunk, EncodedChunks, Encoding, Kind};

/// Lines that differ on purpose, by the part of the name behind `histogram-int-`
/// or `histogram-float-`: at which step, and the row of docs/downsampling.md.
const INTENDED: [(&str, &str, &str); 18] = [
    ("made-schema-of-five-samples", "raw", "finer schema"),
    ("made-schema-finer-once", "raw", "finer schema"),
    ("made-schema-coarser-once", "raw", "finer schema"),
    ("made-zero-thresholds", "raw", "zero bucket"),
    ("made-zero-threshold-grows", "raw", "zero bucket"),
    ("made-zero-threshold-shrinks", "raw", "zero bucket"),
    ("made-custom-bounds-change", "raw", "custom bounds"),
    ("made-custom-bounds-kinds", "raw", "custom bounds"),
    ("made-custom-two-bounds", "raw", "custom bounds"),
    ("made-custom-two-bounds-windows", "raw", "custom bounds"),
    ("made-custom-no-common-bound", "raw", "custom bounds"),
    ("made-custom-after-schema", "raw", "custom and exponential"),
    (
        "made-custom-then-exponential",
        "raw",
        "custom and exponential",
    ),
    (
        "quirk-histograms-across-the-epoch",
        "raw",
        "before the epoch",
    ),
    ("quirk-histogram-no-count", "aggregates", "missing column"),
    ("quirk-histogram-no-sum", "aggregates", "missing column"),
    ("quirk-histogram-no-counter", "aggregates", "missing column"),
    (
        "quirk-more-histogram-chunks-wanted-than-there-are",
        "aggregates",
        "batch of no chunk",
    ),
];

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

fn is_histogram(chunk: &Chunk) -> bool {
    let encoding = match chunk.encoding {
        Encoding::Aggr => {
            let columns = AggrChunk::parse(&chunk.data).unwrap();
            let Some(column) = columns.column(Aggr::Counter).or(columns.column(Aggr::Sum)) else {
                return false;
            };
            column.encoding
        }
        encoding => encoding,
    };
    matches!(
        encoding.kind(),
        Some(Kind::Histogram | Kind::FloatHistogram)
    )
}

/// Chunks of floats, and those of histograms in between.
fn runs(chunks: &[Chunk]) -> impl Iterator<Item = &[Chunk]> {
    chunks
        .chunk_by(|a, b| is_histogram(a) == is_histogram(b))
        .filter(|run| is_histogram(&run[0]))
}

fn texts(chunks: &[Chunk]) -> Vec<String> {
    let histograms = chunks.iter().filter(|chunk| is_histogram(chunk));
    let text = |chunk: &Chunk| {
        format!(
            "{}..{} {}",
            chunk.min_time,
            chunk.max_time,
            hex(&chunk.data)
        )
    };
    histograms.map(text).collect()
}

fn texts_of(chunks: &EncodedChunks) -> Vec<String> {
    let text = |(meta, data): (&crate::tsdb::chunkenc::EncodedChunk, &[u8])| {
        assert_eq!(meta.encoding, Encoding::Aggr);
        let columns = AggrChunk::parse(data).unwrap();
        assert_eq!(columns.num_samples().unwrap(), meta.samples);
        format!("{}..{} {}", meta.min_time, meta.max_time, hex(data))
    };
    chunks.iter().map(text).collect()
}

/// Replays a line; names the steps that give other bytes than Thanos gave.
fn replay(line: &Value, downsampler: &mut HistogramDownsampler) -> Vec<&'static str> {
    let resolution = line["resolution"].as_i64().unwrap_or(FIVE_MINUTES_MS);
    let raw = chunks(&line["raw"]);
    let (five, hour) = (chunks(&line["five"]), chunks(&line["hour"]));
    let mut differs = Vec::new();
    let mut counts = Counts::default();
    let mut out = EncodedChunks::default();
    for run in runs(&raw) {
        let run: Vec<_> = run.iter().map(|c| (c.encoding, &c.data[..])).collect();
        downsampler
            .raw(&run, resolution, &mut out, &mut counts)
            .unwrap();
    }
    assert_eq!(counts.imbalance(), 0);
    // Where the aggregates were given there is nothing to make them of.
    if !raw.is_empty() && texts_of(&out) != texts(&five) {
        differs.push("raw");
    }
    out.clear();
    for run in runs(&five).filter(|run| run.iter().all(|c| c.encoding == Encoding::Aggr)) {
        let run: Vec<_> = run
            .iter()
            .map(|c| (c.min_time, c.max_time, AggrChunk::parse(&c.data).unwrap()))
            .collect();
        downsampler
            .aggregates(&run, resolution, 12 * resolution, &mut out, &mut counts)
            .unwrap();
    }
    assert_eq!(counts.imbalance(), 0);
    // Chunks of raw histograms among aggregates are for the caller to convert.
    let stray = five.iter().any(|c| c.encoding != Encoding::Aggr);
    if !stray && texts_of(&out) != texts(&hour) {
        differs.push("aggregates");
    }
    differs
}

#[test]
fn bytes_are_those_of_thanos() {
    let mut downsampler = HistogramDownsampler::default();
    let mut unseen: BTreeSet<&str> = INTENDED.iter().map(|(name, ..)| *name).collect();
    let (mut wrong, mut alike) = (Vec::new(), 0);
    for line in cases() {
        let any = |field: &str| chunks(&line[field]).iter().any(is_histogram);
        if !(any("raw") || any("five")) {
            continue;
        }
        let name = line["name"].as_str().unwrap();
        let short = name.strip_prefix("histogram-int-");
        let short = short
            .or(name.strip_prefix("histogram-float-"))
            .unwrap_or(name);
        let differs = replay(&line, &mut downsampler);
        let intended = INTENDED.iter().find(|(name, ..)| *name == short);
        match (intended, &differs[..]) {
            (None, []) => alike += 1,
            (Some((name, step, _)), [found]) if step == found => {
                unseen.remove(name);
            }
            _ => wrong.push(format!("{name}: {differs:?}, intended {intended:?}")),
        }
    }
    assert!(wrong.is_empty(), "{alike} alike, but\n{}", wrong.join("\n"));
    assert!(unseen.is_empty(), "not among the goldens: {unseen:?}");
    assert!(alike > 100, "only {alike} lines are alike");
}

/// Each difference has its row.
#[test]
fn differences_are_documented() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/downsampling.md");
    let text = std::fs::read_to_string(path).unwrap();
    for (_, _, row) in INTENDED {
        assert!(text.contains(&format!("| {row}")), "{row}");
    }
}
