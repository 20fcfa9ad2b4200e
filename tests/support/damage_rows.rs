//! The corpus: kinds of damage, each with the reason, the place and the cure
//! that a run has to give for it.

use lithify::tsdb::chunkenc::XorEncoder;
use lithify::tsdb::chunks::ChunkRef;
use lithify::tsdb::encoding::crc32c;

use super::damage::{Parts, Sizes, flip};

/// What becomes of the damaged block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Marked, after it was read or after its listing was looked at.
    Quarantined,
    /// Left out and told; nobody could read a mark beside it.
    Problem,
    /// Compacted like any other: the damage is in nothing that is read.
    Harmless,
}

use Fate::{Harmless, Problem, Quarantined};

/// Damages a block; gives the byte that has to be named, where one has.
type Damage = fn(&mut Parts) -> Option<usize>;

/// One kind.
pub struct Row {
    pub name: &'static str,
    pub fate: Fate,
    /// Code of the reason.
    pub reason: &'static str,
    /// The file that has to be named.
    pub file: &'static str,
    /// A word of the cure.
    pub cure: &'static str,
    pub damage: Damage,
}

const fn row(
    name: &'static str,
    reason: &'static str,
    file: &'static str,
    cure: &'static str,
    damage: Damage,
) -> Row {
    let fate = Quarantined;
    Row {
        name,
        fate,
        reason,
        file,
        cure,
        damage,
    }
}

const fn problem(name: &'static str, reason: &'static str, cure: &'static str, d: Damage) -> Row {
    let mut row = row(name, reason, "meta.json", cure, d);
    row.fate = Problem;
    row
}

const fn harmless(name: &'static str, damage: Damage) -> Row {
    let mut row = row(name, "", "", "", damage);
    row.fate = Harmless;
    row
}

const INDEX: &str = "index";
const SEGMENT: &str = "chunks/000001";
const TOMBSTONES: &str = "tombstones";
const META: &str = "meta.json";
const HOUR: i64 = 3_600_000;
/// 4,294,967,295 as a uvarint.
const FOUR_BILLION: [u8; 5] = [0xff, 0xff, 0xff, 0xff, 0x0f];

fn flip_index(p: &mut Parts, at: usize) -> Option<usize> {
    flip(p.index(), at);
    None
}

/// Flips a byte of the second chunk of the second series.
fn flip_segment(p: &mut Parts, at: impl Fn(super::damage::Record) -> usize) -> usize {
    let record = p.record(1, 1);
    flip(&mut p.segments[0], at(record));
    record.data
}

/// Changes the chunks of the second series; the entry is where it is found.
fn chunks(p: &mut Parts, change: impl FnOnce(&mut Vec<(i64, i64, u64)>)) -> Option<usize> {
    p.rewrite(|raw| change(&mut raw.series[1].chunks));
    Some(p.places.series[1])
}

fn unstated(p: &mut Parts) -> Option<usize> {
    p.sizes = Sizes::Unstated;
    None
}

fn kept(p: &mut Parts) -> Option<usize> {
    p.sizes = Sizes::Kept;
    None
}

/// Samples as an XOR chunk has them, whatever their order.
fn xor(times: &[i64]) -> Vec<u8> {
    let mut encoder = XorEncoder::new();
    for &t in times {
        encoder.push(t, 1.5);
    }
    encoder.finish().unwrap().to_vec()
}

#[rustfmt::skip]
pub const FILES: &[Row] = &[
    row("index missing", "missing-index", INDEX, "index", |p| { p.index = None; kept(p) }),
    row("index of zero bytes", "index-truncated", INDEX, "index", |p| { p.index().clear(); unstated(p); Some(0) }),
    row("index of zero bytes, sizes stated", "file-size-mismatch", INDEX, "upload", |p| { p.index().clear(); kept(p) }),
    row("index cut to less than a table of contents", "index-truncated", INDEX, "index", |p| { p.index().truncate(40); Some(0) }),
    row("index without its last bytes", "index-checksum", INDEX, "store", |p| { let l = p.index().len(); p.index().truncate(l - 10); Some(l - 10 - 52) }),
    row("index without its last bytes, sizes stated", "file-size-mismatch", INDEX, "sizes", |p| { let l = p.index().len(); p.index().truncate(l - 10); kept(p) }),
    row("segment missing", "missing-segment", SEGMENT, "segment", |p| { p.segments.clear(); kept(p) }),
    row("segment missing, no sizes stated", "missing-segment", SEGMENT, "segment", |p| { p.segments.clear(); unstated(p) }),
    row("segment truncated", "segment-truncated", SEGMENT, "segments", |p| { let at = p.record(1, 1).data + 3; p.segments[0].truncate(at); Some(p.record(1, 1).start) }),
    row("segment truncated, sizes stated", "file-size-mismatch", SEGMENT, "sizes", |p| { p.segments[0].truncate(50); kept(p) }),
    row("segment of zero bytes", "segment-truncated", SEGMENT, "segments", |p| { p.segments[0].clear(); unstated(p); Some(0) }),
    row("meta.json lies about a size", "file-size-mismatch", SEGMENT, "sizes", |p| { for f in &mut p.meta.thanos.files { f.size_bytes += 1; } kept(p) }),
    row("tombstones: magic flipped", "tombstones-malformed", TOMBSTONES, "tombstones", |p| { flip(p.delete_nothing(), 1); Some(0) }),
    row("tombstones: version flipped", "tombstones-malformed", TOMBSTONES, "tombstones", |p| { flip(p.delete_nothing(), 4); Some(4) }),
    row("tombstones: range flipped", "tombstones-checksum", TOMBSTONES, "tombstones", |p| { flip(p.delete_nothing(), 6); Some(5) }),
    row("tombstones: checksum flipped", "tombstones-checksum", TOMBSTONES, "tombstones", |p| { let t = p.delete_nothing(); let l = t.len(); flip(t, l - 1); Some(5) }),
    row("tombstones truncated", "tombstones-malformed", TOMBSTONES, "tombstones", |p| { p.delete_nothing().truncate(7); None }),
    harmless("tombstones that delete nothing", |p| { p.delete_nothing(); None }),
];

#[rustfmt::skip]
pub const INDEX_BYTES: &[Row] = &[
    row("index header: magic flipped", "index-header", INDEX, "index", |p| { flip_index(p, 1); Some(0) }),
    row("index header: version flipped", "index-header", INDEX, "index", |p| { flip_index(p, 4); Some(4) }),
    row("symbols: length flipped", "index-malformed", INDEX, "producer", |p| { flip_index(p, p.places.symbols); Some(p.places.symbols) }),
    row("symbols: count flipped", "index-malformed", INDEX, "producer", |p| { flip_index(p, p.places.symbols + 4); Some(p.places.symbols) }),
    row("symbols: string flipped", "index-checksum", INDEX, "store", |p| { let at = p.places.symbols + 18; flip_index(p, at) }),
    row("symbols: checksum flipped", "index-checksum", INDEX, "store", |p| { let l = symbols_end(p); flip_index(p, l + 1); Some(l) }),
    row("series: length flipped", "index-checksum", INDEX, "store", |p| { let at = p.places.series[1]; flip_index(p, at); Some(at + 1) }),
    row("series: label flipped", "index-checksum", INDEX, "store", |p| { let at = p.places.series[1]; flip_index(p, at + 2); Some(at + 1) }),
    row("series: chunk flipped", "index-checksum", INDEX, "store", |p| { let at = p.places.series[1]; flip_index(p, at + 12); Some(at + 1) }),
    row("series: checksum flipped", "index-checksum", INDEX, "store", |p| { let at = p.places.series[1]; let l = usize::from(p.index()[at]); flip_index(p, at + 1 + l); Some(at + 1) }),
    row("series: padding flipped", "index-malformed", INDEX, "producer", |p| { let at = p.places.series[1]; flip_index(p, at - 1); None }),
    row("table of contents flipped", "index-checksum", INDEX, "store", |p| { flip_index(p, p.places.toc + 7); Some(p.places.toc) }),
    row("table of contents: checksum flipped", "index-checksum", INDEX, "store", |p| { flip_index(p, p.places.toc + 48); Some(p.places.toc) }),
    harmless("label index flipped", |p| { let at = p.places.label_index + 5; flip_index(p, at) }),
    harmless("postings flipped", |p| { let at = p.places.postings + 9; flip_index(p, at) }),
    harmless("label offset table flipped", |p| { let at = p.places.label_table + 5; flip_index(p, at) }),
    harmless("postings offset table flipped", |p| { let at = p.places.postings_table + 9; flip_index(p, at) }),
];

/// Where the checksum of the symbol table stands.
fn symbols_end(p: &mut Parts) -> usize {
    let at = p.places.symbols;
    let length: [u8; 4] = p.index()[at..at + 4].try_into().unwrap();
    at + 4 + u32::from_be_bytes(length) as usize
}

#[rustfmt::skip]
pub const INDEX_LOGIC: &[Row] = &[
    row("chunks out of order", "block-index-out-of-order-chunk", INDEX, "order", |p| chunks(p, |c| c.swap(0, 1))),
    row("chunks overlap in a series", "overlapping-chunks", INDEX, "order", |p| chunks(p, |c| c[1].0 = c[0].1)),
    row("chunk wholly before the block", "chunk-outside-block", INDEX, "verify --repair", |p| chunks(p, |c| (c[0].0, c[0].1) = (c[0].0 - 9 * HOUR, c[0].1 - 9 * HOUR))),
    row("chunk reaches out of the block", "chunk-outside-block", INDEX, "verify --repair", |p| chunks(p, |c| c[2].1 += HOUR)),
    row("chunk starts where the block ends", "issue-347-chunk", INDEX, "verify --repair", |p| { let end = p.meta.tsdb.max_time; chunks(p, |c| (c[2].0, c[2].1) = (end, end + 1000)) }),
    row("chunk ends before it begins", "index-malformed", INDEX, "producer", |p| chunks(p, |c| c[0] = (c[0].1, c[0].0, c[0].2))),
    row("series without chunks", "series-without-chunks", INDEX, "producer", |p| chunks(p, Vec::clear)),
    row("labels out of order", "unsorted-labels", INDEX, "producer", |p| { p.rewrite(|raw| raw.series[2].labels.swap(0, 1)); Some(p.places.series[2]) }),
    row("label name twice", "unsorted-labels", INDEX, "producer", |p| { p.rewrite(|raw| { let pair = raw.series[1].labels[1]; raw.series[1].labels.push(pair); }); Some(p.places.series[1]) }),
    row("series without labels", "empty-labels", INDEX, "producer", |p| { p.rewrite(|raw| raw.series[1].labels.clear()); Some(p.places.series[1]) }),
    row("series twice", "duplicate-series", INDEX, "verify --repair", |p| { p.rewrite(|raw| { let s = raw.series[1].clone(); raw.series.insert(1, s); }); Some(p.places.series[2]) }),
    row("series out of order", "unsorted-series", INDEX, "producer", |p| { p.rewrite(|raw| raw.series.swap(0, 1)); Some(p.places.series[1]) }),
    row("symbol out of range", "symbol-out-of-range", INDEX, "producer", |p| { p.rewrite(|raw| raw.series[1].labels[1].1 = 999); None }),
    row("symbols out of order", "unsorted-symbols", INDEX, "producer", |p| { p.rewrite(|raw| raw.symbols.swap(4, 5)); None }),
    row("symbol twice", "unsorted-symbols", INDEX, "producer", |p| { p.rewrite(|raw| raw.symbols[5] = raw.symbols[4].clone()); None }),
    row("symbol table of 4 billion bytes", "index-malformed", INDEX, "producer", |p| { let at = p.places.symbols; p.index()[at..at + 4].fill(0xff); Some(at) }),
    row("4 billion symbols", "index-malformed", INDEX, "producer", |p| { let at = p.places.symbols; p.index()[at + 4..at + 8].fill(0xff); Some(at) }),
    row("series of 4 billion bytes", "index-malformed", INDEX, "producer", |p| { let at = p.places.series[1]; p.index()[at..at + 5].copy_from_slice(&FOUR_BILLION); Some(at) }),
    row("series of 4 billion labels", "index-malformed", INDEX, "producer", |p| { p.patch_series(1, |body| body[..5].copy_from_slice(&FOUR_BILLION)); None }),
    row("series of 4 billion chunks", "index-malformed", INDEX, "producer", |p| { p.patch_series(1, |body| body[5..10].copy_from_slice(&FOUR_BILLION)); None }),
    row("section outside of the index", "index-malformed", INDEX, "producer", |p| {
        let toc = p.places.toc;
        p.index()[toc + 8] = 0x7f;
        let crc = crc32c(&p.index()[toc..toc + 48]).to_be_bytes();
        p.index()[toc + 48..].copy_from_slice(&crc);
        Some(toc)
    }),
    row("index of another block", "chunk-outside-block", INDEX, "upload", |p| {
        p.rewrite(|raw| for s in &mut raw.series { for c in &mut s.chunks { (c.0, c.1) = (c.0 + 4 * HOUR, c.1 + 4 * HOUR); } });
        Some(p.places.series[0])
    }),
    row("index without any series", "meta-stats-mismatch", META, "stats", |p| { p.rewrite(|raw| raw.series.clear()); None }),
    row("index that lacks a series", "meta-stats-mismatch", META, "stats", |p| { p.rewrite(|raw| drop(raw.series.pop())); None }),
    row("reference to a segment that is not there", "missing-segment", "chunks/000008", "segment", |p| { chunks(p, |c| c[1].2 = ChunkRef::new(7, 8).into()); None }),
    row("reference behind the segment", "segment-truncated", SEGMENT, "segments", |p| { let end = p.segments[0].len(); chunks(p, |c| c[1].2 = end as u64 + 100); Some(end + 100) }),
    row("reference to a chunk of other times", "chunk-time-mismatch", SEGMENT, "producer", |p| { let other = p.raw.series[0].chunks[2].2; chunks(p, |c| c[0].2 = other); Some(p.record(0, 2).data) }),
    row("chunk with a sample before its time", "chunk-time-mismatch", SEGMENT, "producer", |p| { chunks(p, |c| c[0].0 += 1000); Some(p.record(1, 0).data) }),
    harmless("the same chunk twice in a series", |p| {
        chunks(p, |c| c.insert(1, c[0]));
        p.meta.tsdb.stats.num_samples += 120;
        p.meta.tsdb.stats.num_chunks += 1;
        None
    }),
    harmless("segments read backwards, as old blocks have them", |p| { p.repack(|order| order.reverse(), |_| 0, |_, _| {}); None }),
    harmless("segments read by turns", |p| { p.repack(|order| order.rotate_left(4), |n| n % 2, |_, _| {}); None }),
];

#[rustfmt::skip]
pub const CHUNKS: &[Row] = &[
    row("segment header: magic flipped", "segment-header", SEGMENT, "segments", |p| { flip(&mut p.segments[0], 2); Some(0) }),
    row("segment header: version flipped", "segment-header", SEGMENT, "segments", |p| { flip(&mut p.segments[0], 4); Some(4) }),
    harmless("segment header: padding flipped", |p| { flip(&mut p.segments[0], 6); None }),
    row("chunk: length flipped", "chunk-checksum", SEGMENT, "segments", |p| { flip_segment(p, |r| r.start); None }),
    row("chunk: encoding flipped", "chunk-checksum", SEGMENT, "segments", |p| Some(flip_segment(p, |r| r.encoding))),
    row("chunk: data flipped", "chunk-checksum", SEGMENT, "segments", |p| Some(flip_segment(p, |r| r.data + 20))),
    row("chunk: checksum flipped", "chunk-checksum", SEGMENT, "segments", |p| Some(flip_segment(p, |r| r.crc + 2))),
    row("chunk of 4 billion bytes", "segment-truncated", SEGMENT, "segments", |p| { let at = p.record(1, 1).start; p.segments[0][at..at + 5].copy_from_slice(&FOUR_BILLION); Some(at) }),
    row("chunk of an unknown encoding", "unknown-chunk-encoding", SEGMENT, "newer version", |p| { p.patch_record(1, 1, |s, r| s[r.encoding] = 77); Some(p.record(1, 1).data) }),
    row("chunk without encoding", "unknown-chunk-encoding", SEGMENT, "newer version", |p| { p.patch_record(1, 1, |s, r| s[r.encoding] = 0); Some(p.record(1, 1).data) }),
    row("chunk of more samples than it has", "chunk-malformed", SEGMENT, "producer", |p| { p.patch_record(1, 1, |s, r| s[r.data..r.data + 2].fill(0xff)); None }),
    row("chunk cut short", "chunk-malformed", SEGMENT, "producer", |p| { p.repack(|_| {}, |_| 0, |at, data| if at == (1, 1) { data.truncate(12); }); None }),
    row("chunk of one byte", "chunk-malformed", SEGMENT, "producer", |p| { p.repack(|_| {}, |_| 0, |at, data| if at == (1, 1) { data.truncate(1); }); None }),
    row("samples out of order in a chunk", "unsorted-samples", SEGMENT, "producer", |p| {
        let (first, last, _) = p.raw.series[1].chunks[1];
        let bad = xor(&[first, first + 40_000, first + 20_000, last]);
        p.repack(|_| {}, |_| 0, move |at, data| if at == (1, 1) { data.clone_from(&bad); });
        Some(p.record(1, 1).data)
    }),
];

#[rustfmt::skip]
pub const METAS: &[Row] = &[
    problem("meta.json of zero bytes", "meta-malformed", "meta.json", |p| { p.meta_text = Some(Vec::new()); None }),
    problem("meta.json is no JSON", "meta-malformed", "meta.json", |p| { p.meta_text = Some(b"<html>502</html>".to_vec()); None }),
    problem("meta.json of another block", "meta-other-block", "ulid", |p| { p.meta.tsdb.ulid = ulid::Ulid::from_parts(7, 7); None }),
    problem("meta.json of an unknown version", "meta-version", "version", |p| { p.meta.tsdb.version = 9; None }),
    problem("meta.json with a range backwards", "meta-range", "meta.json", |p| { let t = &mut p.meta.tsdb; (t.min_time, t.max_time) = (t.max_time, t.min_time); None }),
    row("meta.json with too short a range", "chunk-outside-block", INDEX, "verify --repair", |p| { p.meta.tsdb.min_time += HOUR; Some(p.places.series[0]) }),
    row("meta.json lies about series", "meta-stats-mismatch", META, "stats", |p| { p.meta.tsdb.stats.num_series += 1; None }),
    row("meta.json lies about chunks", "meta-stats-mismatch", META, "stats", |p| { p.meta.tsdb.stats.num_chunks -= 1; None }),
    row("meta.json lies about samples", "meta-stats-mismatch", META, "stats", |p| { p.meta.tsdb.stats.num_samples += 10; None }),
    harmless("meta.json without stats", |p| { p.meta.tsdb.stats = Default::default(); None }),
];

/// All kinds.
pub fn all() -> impl Iterator<Item = &'static Row> {
    [FILES, INDEX_BYTES, INDEX_LOGIC, CHUNKS, METAS]
        .into_iter()
        .flatten()
}
