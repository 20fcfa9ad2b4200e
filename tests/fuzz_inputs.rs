//! Replays the inputs of the fuzz targets: what once broke a reader stays
//! mended. `fuzz/README.md` says how an input gets there.
//!
//! The files `seed-*` are made from the fixtures. To make them anew:
//!
//! ```text
//!  LITHIFY_WRITE_SEEDS=1 cargo test --test fuzz_inputs
//! ```

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "test code")]

#[path = "../fuzz/readers.rs"]
mod readers;
#[path = "support/files.rs"]
mod support;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use lithify::tsdb::chunkenc::{Encoding, encode_aggr};
use lithify::tsdb::chunks::{ChunkInput, ChunkWriter, SegmentReader};
use lithify::tsdb::index::{Index, IndexWriter, RawSeries};
use lithify::tsdb::source::MemBlob;
use lithify::tsdb::tombstones::{Interval, Tombstones};
use support::fixture;

/// All inputs together stay below this, bytes: they lie in the repository.
const MOST: u64 = 300_000;

fn inputs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/inputs")
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// One test, so that nothing reads while the seeds are written: what is committed
/// is what the code makes, no seed more or less, and every input is survived.
#[test]
fn every_input_is_survived() {
    let made = made_seeds();
    if std::env::var_os("LITHIFY_WRITE_SEEDS").is_some() {
        write_seeds(&made);
    }
    let committed = committed_seeds();
    let (names, makes): (Vec<_>, Vec<_>) = (committed.keys().collect(), made.keys().collect());
    assert_eq!(names, makes, "seeds that are committed, and that are made");
    for (name, data) in &made {
        let same = committed[name] == *data;
        assert!(same, "{name} is out of date: LITHIFY_WRITE_SEEDS=1");
    }
    let mut readers: BTreeMap<&str, readers::Reader> = readers::READERS.into();
    let (mut bytes, mut broken) = (0, Vec::new());
    for folder in files(&inputs()) {
        let name = folder.file_name().unwrap().to_str().unwrap();
        let read = readers.remove(name);
        let read = read.unwrap_or_else(|| panic!("no reader is called {name}"));
        let inputs = files(&folder);
        assert!(!inputs.is_empty(), "{name} has no input");
        for input in inputs {
            let data = fs::read(&input).unwrap();
            bytes += data.len() as u64;
            // A panic has its own message; this says which input it was.
            if std::panic::catch_unwind(|| read(&data)).is_err() {
                broken.push(input);
            }
        }
    }
    assert!(broken.is_empty(), "these broke their reader: {broken:#?}");
    assert!(readers.is_empty(), "readers without inputs: {readers:?}");
    assert!(bytes < MOST, "{bytes} bytes of inputs");
}

/// A target that is not listed in `READERS` would never be replayed.
#[test]
fn every_target_is_a_reader() {
    let targets = files(&inputs().join("../fuzz_targets"));
    assert_eq!(targets.len(), readers::READERS.len());
    for target in targets {
        let name = target.file_stem().unwrap().to_str().unwrap();
        assert!(readers::READERS.iter().any(|(n, _)| *n == name), "{name}");
        let code = fs::read_to_string(&target).unwrap();
        assert!(code.contains(&format!("lithify_fuzz::{name}(")), "{code}");
    }
}

/// A file of the only block in a folder of fixtures.
fn block_file(folder: &str, file: &str) -> Vec<u8> {
    let folder = files(&fixture(folder));
    let block = folder.iter().find(|path| path.is_dir()).unwrap();
    fs::read(block.join(file)).unwrap()
}

const ENCODINGS: [&str; 6] = [
    "1-xor",
    "2-histogram",
    "3-float-histogram",
    "4-xor2",
    "5-histogram-st",
    "6-float-histogram-st",
];

/// `encoding byte | data` of the chunks in a segment.
fn chunks(segment: &[u8]) -> Vec<Vec<u8>> {
    let blob = MemBlob::new("seed", segment.to_vec());
    let mut reader = SegmentReader::open(0, Box::new(blob)).unwrap();
    let mut all = Vec::new();
    let mut at = 8;
    while at < segment.len() as u64 {
        let record = reader.record(at).unwrap();
        all.push([&[record.encoding()], record.data()].concat());
        at += record.framed().len() as u64;
    }
    all
}

/// `<reader>/seed-<name>` and its bytes.
type Seeds = BTreeMap<String, Vec<u8>>;

fn committed_seeds() -> Seeds {
    let mut seeds = Seeds::new();
    for (reader, _) in readers::READERS {
        for file in files(&inputs().join(reader)) {
            let name = file.file_name().unwrap().to_str().unwrap();
            if name.starts_with("seed-") {
                seeds.insert(format!("{reader}/{name}"), fs::read(&file).unwrap());
            }
        }
    }
    seeds
}

/// Writes what differs, and removes what is made no more.
fn write_seeds(made: &Seeds) {
    for (reader, _) in readers::READERS {
        fs::create_dir_all(inputs().join(reader)).unwrap();
    }
    let old = committed_seeds();
    for name in old.keys().filter(|name| !made.contains_key(*name)) {
        fs::remove_file(inputs().join(name)).unwrap();
    }
    for (name, data) in made
        .iter()
        .filter(|(name, data)| old.get(*name) != Some(*data))
    {
        fs::write(inputs().join(name), data).unwrap();
    }
}

fn made_seeds() -> Seeds {
    let made = RefCell::new(Seeds::new());
    let seed = |reader: &str, name: &str, data: &[u8]| {
        let name = format!("{reader}/seed-{name}");
        let other = made.borrow_mut().insert(name.clone(), data.to_vec());
        assert!(other.is_none(), "two seeds are called {name}");
    };
    make_seeds(&seed);
    made.into_inner()
}

fn make_seeds(seed: &impl Fn(&str, &str, &[u8])) {
    seed("index", "v1", &block_file("index-v1", "index"));
    let mut by_encoding: BTreeMap<u8, Vec<Vec<u8>>> = BTreeMap::new();
    for name in ENCODINGS {
        let folder = format!("encodings/{name}");
        let segment = block_file(&folder, "chunks/000001");
        if name < "4" {
            seed("index", name, &block_file(&folder, "index"));
            seed("segment", name, &segment);
        }
        for chunk in chunks(&segment) {
            by_encoding.entry(chunk[0]).or_default().push(chunk);
        }
    }
    seed("segment", "empty", &[0x85, 0xbd, 0x40, 0xdd, 1, 0, 0, 0]);
    for (encoding, chunks) in &mut by_encoding {
        chunks.sort_by_key(Vec::len);
        let floats = matches!(encoding, 1 | 4);
        let reader = if floats { "floats" } else { "histograms" };
        let step = chunks.len().div_ceil(5);
        for (i, chunk) in chunks.iter().step_by(step).enumerate() {
            seed(reader, &format!("{encoding}-{i}"), chunk);
        }
    }
    aggregate_seeds(&by_encoding, seed);
    downsample_seeds(seed);
    tombstone_seeds(seed);
    json_seeds(seed);
    cache_seeds(seed);
    yaml_seeds(seed);
    merge_seeds(seed);
    plan_seeds(seed);
}

fn aggregate_seeds(chunks: &BTreeMap<u8, Vec<Vec<u8>>>, seed: &impl Fn(&str, &str, &[u8])) {
    let smallest = |byte: u8| {
        let chunk = chunks[&byte].first().unwrap();
        (Encoding::from_byte(byte).unwrap(), &chunk[1..])
    };
    for (name, columns) in [
        ("floats", [Some(1); 5]),
        ("histograms", [Some(1), Some(3), None, None, Some(3)]),
        ("mixed", [Some(2), None, Some(4), Some(5), Some(6)]),
        ("none", [None; 5]),
    ] {
        let mut out = Vec::new();
        encode_aggr(columns.map(|byte| byte.map(smallest)), &mut out);
        seed("aggregates", name, &out);
    }
}

/// Small cases of the goldens, their raw chunks and what Thanos made of them.
fn downsample_seeds(seed: &impl Fn(&str, &str, &[u8])) {
    let unhex = |text: &str| -> Vec<u8> {
        let byte = |i: usize| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap();
        (0..text.len() / 2).map(byte).collect()
    };
    let path = fixture("goldens").join("downsample.jsonl");
    let mut per_group: BTreeMap<String, usize> = BTreeMap::new();
    for line in fs::read_to_string(path).unwrap().lines() {
        let case: serde_json::Value = serde_json::from_str(line).unwrap();
        for (options, key) in [(0, "raw"), (1, "five")] {
            let Some(chunks) = case[key].as_array().filter(|c| !c.is_empty()) else {
                continue;
            };
            let chunks = chunks.iter().map(|c| {
                let encoding = c["enc"].as_u64().unwrap_or(255) as u8;
                (encoding, unhex(c["hex"].as_str().unwrap()))
            });
            let chunks: Vec<(u8, Vec<u8>)> = chunks.collect();
            let list = chunks.iter().map(|(e, data)| (*e, data.as_slice()));
            let input = readers::chunk_list(options, list);
            let group = format!("{}-{key}", case["group"].as_str().unwrap());
            let taken = per_group.entry(group).or_default();
            if input.len() < 1500 && *taken < 5 {
                *taken += 1;
                let name = format!("{}-{key}", case["name"].as_str().unwrap());
                seed("downsample", &name, &input);
            }
        }
    }
    assert!(per_group.len() >= 2, "{per_group:?}");
}

fn tombstone_seeds(seed: &impl Fn(&str, &str, &[u8])) {
    let mut some = Tombstones::new();
    seed("tombstones", "none", &some.encode());
    for (series, min_time, max_time) in [
        (1, 0, 10),
        (1, 12, 20),
        (7, i64::MIN, -1),
        (u64::MAX, 1_788_220_800_000, i64::MAX),
    ] {
        some.add(series, Interval { min_time, max_time });
    }
    seed("tombstones", "some", &some.encode());
}

fn json_seeds(seed: &impl Fn(&str, &str, &[u8])) {
    let id = "01M1DB9KDPX6F6EHHGBQJN9E78";
    let real = fs::read(fixture("quickstart").join(id).join("meta.json")).unwrap();
    seed("meta", "sidecar", &real);
    seed("meta", "tsdb", &block_file("encodings/1-xor", "meta.json"));
    let full = format!(
        r#"{{"ulid":"{id}","minTime":-5,"maxTime":7200000,"stats":{{"numSamples":3,"numTombstones":1,"newStat":1.5}},"compaction":{{"level":3,"sources":["{id}"],"deletable":true,"parents":[{{"ulid":"{id}","minTime":0,"maxTime":1}}],"failed":true,"hints":["from-out-of-order"],"x":null}},"version":1,"thanos":{{"labels":{{"a":"<b>"}},"downsample":{{"resolution":300000,"y":[]}},"source":"compactor","files":[{{"rel_path":"index","size_bytes":9,"hash":{{"hashFunc":"SHA256","hashString":"0"}}}}],"rewrites":[{{"deletions_applied":[]}}],"index_stats":{{"series_max_size":1,"chunk_max_size":2}},"extensions":{{"z":1e300}},"upload_time":"0001-01-01T00:00:00Z"}},"more":{{"deep":[1,-2,"\u00e9"]}}}}"#
    );
    seed("meta", "all-keys", full.as_bytes());
    let least = format!(r#"{{"ulid":"{id}","minTime":0,"maxTime":0,"version":1}}"#);
    seed("meta", "least", least.as_bytes());
    for (name, keys) in [
        ("deletion", r#""details":"d","deletion_time":1700000000"#),
        ("no-compact", r#""no_compact_time":1,"reason":"manual""#),
        ("no-downsample", r#""no_downsample_time":1,"reason":"""#),
    ] {
        let text = format!(r#"{{"id":"{id}","version":1,{keys}}}"#);
        seed("markers", name, text.as_bytes());
    }
}

/// Caches of no object, of one, and of one of each sort.
fn cache_seeds(seed: &impl Fn(&str, &str, &[u8])) {
    use lithify::compact::cache::{Entry, Version, encode, set_unshared};
    let id = "01M1DB9KDPX6F6EHHGBQJN9E78";
    let entry = |etag: Option<&str>, body: &str| -> Entry {
        let version = Version {
            size: body.len() as u64,
            modified_ms: 1_788_220_800_000,
            etag: etag.map(str::to_owned),
        };
        (version, body.to_owned().into())
    };
    let all = [
        ("meta.json", entry(Some("\"5d41402abc4b2a76\""), "{}")),
        ("deletion-mark.json", entry(None, "{\"version\":1}")),
        ("no-compact-mark.json", entry(Some(""), "")),
        ("no-downsample-mark.json", entry(Some("e"), "x")),
    ];
    let all = all.map(|(file, entry)| (format!("{id}/{file}"), entry));
    for (name, count) in [("none", 0), ("one", 1), ("each", 4)] {
        let entries = all[..count].iter();
        let mut data = encode(entries.map(|(name, entry)| (name.as_str(), entry)));
        set_unshared(&mut data, count as u32);
        seed("meta_cache", name, &data);
    }
}

fn yaml_seeds(seed: &impl Fn(&str, &str, &[u8])) {
    for (name, text) in [
        (
            "folder",
            "type: FILESYSTEM\nconfig:\n  directory: /data\nprefix: /team-a/\n",
        ),
        (
            "alias",
            "&c type: filesystem\nconfig: {directory: &d x}\nprefix: *d\n",
        ),
        (
            "s3",
            "type: S3\nconfig:\n  bucket: b\n  endpoint: minio:9000\n  region: r\n  insecure: yes\n  access_key: a\n  secret_key: \"s\"\n  part_size: 0x1000000\n  max_retries: 3\n  bucket_lookup_type: path\n  put_user_metadata: {X-Amz-Storage-Class: STANDARD}\n  sse_config: {type: SSE-S3}\n  trace: {enable: on}\n  http_config:\n    idle_conn_timeout: 1m30s\n    response_header_timeout: 2m\n    max_idle_conns: 0100\n    insecure_skip_verify: false\n    tls_config: {ca_file: /ca.pem}\n",
        ),
        ("anchors", "a: &a [1,2]\nb: &b [*a,*a]\nc: [*b,*b]\n"),
        ("variable", "type: $(HOME)\nconfig: |\n  x\n"),
    ] {
        seed("bucket_config", name, text.as_bytes());
    }
    for (name, text) in [
        (
            "keep",
            "- action: keep\n  source_labels: [cluster, prometheus]\n  separator: '@'\n  regex: eu-1@.*\n",
        ),
        (
            "hashmod",
            "- {action: hashmod, source_labels: [__block_id], modulus: 0x2, target_label: s}\n- {action: keep, source_labels: [s], regex: '0', replacement: x}\n",
        ),
        (
            "drop",
            "- action: Drop\n  source_labels:\n  - tenant_id\n  regex: (?i)TENANT.\\d{1,3}|[^a-z]\n",
        ),
        ("empty", "[]"),
    ] {
        seed("selector", name, text.as_bytes());
    }
}

fn merge_seeds(seed: &impl Fn(&str, &str, &[u8])) {
    let mut deleted = Tombstones::new();
    // Series of the small fixtures lie at small references.
    for series in 1..40 {
        let interval = Interval {
            min_time: 1_788_221_000_000,
            max_time: 1_788_221_500_000,
        };
        deleted.add(series, interval);
    }
    let deleted = deleted.encode();
    for (i, (a, b)) in [(0, 0), (0, 3), (1, 4), (2, 5), (1, 2), (0, 1), (3, 3)]
        .into_iter()
        .enumerate()
    {
        let ((ai, ac), (bi, bc)) = (small_block(ENCODINGS[a]), small_block(ENCODINGS[b]));
        let (ai, ac, bi, bc) = (&ai[..], &ac[..], &bi[..], &bc[..]);
        let tombstones: &[u8] = if i % 2 == 0 { &[] } else { &deleted };
        let options = (i % 2) as u8 | ((i % 3) as u8) << 1;
        let input = readers::container(options, [ai, ac, bi, bc, tombstones]);
        seed(
            "merge",
            &format!("{}-and-{}", ENCODINGS[a], ENCODINGS[b]),
            &input,
        );
    }
}

/// Blocks of 2 hours, one `meta.json` in a line.
fn plan_seeds(seed: &impl Fn(&str, &str, &[u8])) {
    for (name, options, overlap) in [
        ("compact", 0, 0),
        ("vertical", 0b111, 600_000),
        ("retention", 1 << 5, 0),
    ] {
        let mut text = vec![options];
        for i in 0..6_i64 {
            let (min, max) = (i * 7_200_000 - overlap, (i + 1) * 7_200_000);
            let line = format!(
                r#"{{"ulid":"01M1DB9KDPX6F6EHHGBQJN9E7{i}","minTime":{min},"maxTime":{max},"stats":{{"numSamples":900,"numSeries":9,"numChunks":18}},"compaction":{{"level":1}},"version":1,"thanos":{{"labels":{{"a":"b"}},"source":"sidecar","files":[{{"rel_path":"index","size_bytes":900}},{{"rel_path":"chunks/000001","size_bytes":9000}}]}}}}"#
            );
            text.extend_from_slice(line.as_bytes());
            text.push(b'\n');
        }
        seed("plan", name, &text);
    }
}

/// Index and segment of a block with the first two series of another one and
/// two chunks of each: a mutation hits more of a small input.
fn small_block(encoding: &str) -> (Vec<u8>, Vec<u8>) {
    let folder = format!("encodings/{encoding}");
    let blob = |file| Box::new(MemBlob::new(file, block_file(&folder, file)));
    let index = Index::open(blob("index")).unwrap();
    let mut segment = SegmentReader::open(0, blob("chunks/000001")).unwrap();
    let (out_index, out_chunks) = (readers::Sink::default(), readers::Sink::default());
    let mut writer = IndexWriter::new(Box::new(out_index.clone())).unwrap();
    let clone = out_chunks.clone();
    let mut chunks = ChunkWriter::new(1 << 20, move |_| Ok(Box::new(clone.clone())));
    let mut symbols = index.into_symbols().unwrap();
    while let Some(symbol) = symbols.next().unwrap() {
        writer.add_symbol(symbol).unwrap();
    }
    let (index, refs) = symbols.finish().unwrap();
    let mut writer = writer.into_series().unwrap();
    let (mut stream, mut series) = (index.into_series(refs), RawSeries::default());
    for _ in 0..2 {
        assert!(stream.next(&mut series).unwrap());
        series.chunks.truncate(2);
        chunks.start_series();
        for chunk in &mut series.chunks {
            let record = segment.record(chunk.reference).unwrap();
            let at = chunks.append(ChunkInput::Framed(record.framed())).unwrap();
            chunk.reference = at.into();
        }
        writer.add_series(&series.labels, &series.chunks).unwrap();
    }
    writer.finish().unwrap();
    chunks.finish().unwrap();
    (out_index.bytes(), out_chunks.bytes())
}
