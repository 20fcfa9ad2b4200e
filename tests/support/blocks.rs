//! Small blocks made of given samples, and the samples that lie in a bucket.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use lithify::block::meta::{File, Labels, Meta};
use lithify::objstore::Bucket;
use lithify::tsdb::chunkenc::{DecodeScratch, Decoded, Encoding, FloatSamples, decode_chunk};
use lithify::tsdb::chunks::{ChunkInput, ChunkMeta, ChunkWriter, SegmentReader};
use lithify::tsdb::index::{Index, IndexWriter, RawSeries};
use lithify::tsdb::source::{BlobWriter, MemBlob};
use ulid::Ulid;

use super::lower_blocks;

/// Labels of a series, by name.
pub type SeriesLabels = Vec<(String, String)>;
/// Samples of a series: ms and value.
pub type Samples = Vec<(i64, f64)>;
/// What a bucket holds: samples as text by stream, series and time (ms).
pub type Content = BTreeMap<String, BTreeMap<String, BTreeMap<i64, String>>>;
/// Files of blocks by resolution and range (ms), then by path in the block.
pub type BlockFiles = BTreeMap<(i64, i64, i64), BTreeMap<String, Vec<u8>>>;

/// A block to be written.
#[derive(Debug, Clone)]
pub struct Spec {
    pub id: Ulid,
    pub labels: Labels,
    /// ms, end exclusive.
    pub range: (i64, i64),
    pub series: BTreeMap<SeriesLabels, Samples>,
}

/// Labels from pairs.
pub fn labels(pairs: &[(&str, &str)]) -> Labels {
    let owned = |(n, v): &(&str, &str)| ((*n).to_owned(), (*v).to_owned());
    pairs.iter().map(owned).collect()
}

struct Shared(Arc<Mutex<Vec<u8>>>);

impl BlobWriter for Shared {
    fn write(&mut self, data: &[u8]) -> lithify::tsdb::Result<()> {
        self.0.lock().unwrap().extend_from_slice(data);
        Ok(())
    }

    fn finish(self: Box<Self>) -> lithify::tsdb::Result<u64> {
        Ok(self.0.lock().unwrap().len() as u64)
    }
}

/// Index and segment of a block.
pub fn encode(spec: &Spec) -> (Vec<u8>, Vec<u8>) {
    let series = spec.series.iter();
    let series = series.map(|(labels, samples)| (labels.clone(), lower_blocks::raw(samples)));
    encode_chunks(&series.collect())
}

/// Index and segment of a block with these chunks.
pub fn encode_chunks(series: &lower_blocks::Series) -> (Vec<u8>, Vec<u8>) {
    let (index, segment) = (
        Arc::new(Mutex::new(Vec::new())),
        Arc::new(Mutex::new(Vec::new())),
    );
    let out = Arc::clone(&segment);
    let factory = move |_| Ok(Box::new(Shared(Arc::clone(&out))) as Box<dyn BlobWriter>);
    let mut chunks = ChunkWriter::new(512 << 20, Box::new(factory));
    let mut writer = IndexWriter::new(Box::new(Shared(Arc::clone(&index)))).unwrap();
    let pairs = || series.iter().flat_map(|(labels, _)| labels);
    let symbols: BTreeSet<&str> = pairs()
        .flat_map(|(n, v)| [n.as_str(), v.as_str()])
        .chain([""])
        .collect();
    let mut numbers = BTreeMap::new();
    for symbol in symbols {
        numbers.insert(symbol, writer.add_symbol(symbol.as_bytes()).unwrap());
    }
    let mut writer = writer.into_series().unwrap();
    for (labels, encoded) in series {
        chunks.start_series();
        let mut metas = Vec::new();
        for chunk in encoded {
            let input = ChunkInput::Data {
                encoding: chunk.encoding.as_byte(),
                data: &chunk.data,
            };
            metas.push(ChunkMeta {
                min_time: chunk.min_time,
                max_time: chunk.max_time,
                reference: chunks.append(input).unwrap().into(),
            });
        }
        let pairs: Vec<(u32, u32)> = labels
            .iter()
            .map(|(n, v)| (numbers[n.as_str()], numbers[v.as_str()]))
            .collect();
        writer.add_series(&pairs, &metas).unwrap();
    }
    chunks.finish().unwrap();
    writer.finish().unwrap();
    let take = |shared: Arc<Mutex<Vec<u8>>>| std::mem::take(&mut *shared.lock().unwrap());
    (take(index), take(segment))
}

/// `meta.json` of a block with these files.
pub fn meta(spec: &Spec, index: &[u8], segment: &[u8]) -> Meta {
    let id = spec.id;
    let json = format!(
        r#"{{"ulid":"{id}","minTime":{},"maxTime":{},"version":1,
            "compaction":{{"level":1,"sources":["{id}"]}}}}"#,
        spec.range.0, spec.range.1
    );
    let mut meta = Meta::parse(id, json.as_bytes()).unwrap();
    meta.tsdb.stats.num_series = spec.series.len() as u64;
    meta.tsdb.stats.num_samples = spec.series.values().map(|s| s.len() as u64).sum();
    meta.thanos.labels = spec.labels.clone();
    meta.thanos.source = "sidecar".into();
    meta.thanos.upload_time = "2020-01-01T00:00:00Z".into();
    let file = |path: &str, size: usize| File {
        rel_path: path.into(),
        size_bytes: size as u64,
        hash: None,
    };
    meta.thanos.files = vec![
        file("chunks/000001", segment.len()),
        file("index", index.len()),
        file("meta.json", 0),
    ];
    meta
}

/// Writes a block as a sidecar would, `meta.json` last.
pub async fn write(bucket: &Bucket, spec: &Spec) {
    let id = spec.id;
    let (index, segment) = encode(spec);
    let meta = meta(spec, &index, &segment);
    let put = async |file: &str, body: Vec<u8>| {
        bucket.put(&format!("{id}/{file}"), body).await.unwrap();
    };
    put("chunks/000001", segment).await;
    put("index", index).await;
    put("meta.json", meta.to_json().unwrap()).await;
}

/// Metas of blocks without a deletion mark.
pub async fn live_metas(bucket: &Bucket) -> Vec<Meta> {
    live_metas_but(bucket, None).await
}

/// What must hold at any time: no block can be seen that is not all there, and a
/// source is marked only if a raw block that is all there stands in for it.
pub async fn nothing_is_lost(bucket: &Bucket, stage: &str) {
    nothing_is_lost_of(bucket, stage, |_| true).await;
}

/// The same, but only marks on these blocks are asked about.
pub async fn nothing_is_lost_of(bucket: &Bucket, stage: &str, of: impl Fn(Ulid) -> bool) {
    let objects = bucket.list("").await.unwrap();
    let size = |name: &str| objects.iter().find(|o| o.name == name).map(|o| o.size);
    let live = live_metas(bucket).await;
    for meta in &live {
        for file in meta.thanos.files.iter().filter(|f| f.size_bytes > 0) {
            let name = format!("{}/{}", meta.id(), file.rel_path);
            assert_eq!(size(&name), Some(file.size_bytes), "{stage}: {name}");
        }
    }
    let raw = live.iter().filter(|m| m.thanos.downsample.resolution == 0);
    let held: Vec<Ulid> = raw
        .flat_map(|m| m.tsdb.compaction.sources.clone())
        .collect();
    let marks = objects
        .iter()
        .filter_map(|o| o.name.strip_suffix("/deletion-mark.json"));
    let marked = marks.map(|id| Ulid::from_string(id).unwrap());
    for id in marked.filter(|id| of(*id)) {
        let body = bucket.get(&format!("{id}/meta.json")).await.unwrap();
        let meta = Meta::parse(id, &body.unwrap()).unwrap();
        let sources = meta.tsdb.compaction.sources;
        let held = sources.iter().all(|source| held.contains(source));
        assert!(held, "{stage}: {id} is marked and not replaced");
    }
}

/// The same as [`live_metas`] without one block, of which nothing is read.
pub async fn live_metas_but(bucket: &Bucket, skip: Option<Ulid>) -> Vec<Meta> {
    let objects = bucket.list("").await.unwrap();
    let names: BTreeSet<String> = objects.into_iter().map(|o| o.name).collect();
    let mut live = Vec::new();
    for name in names.iter().filter(|n| n.ends_with("/meta.json")) {
        let id = name.trim_end_matches("/meta.json");
        let ulid = Ulid::from_string(id).unwrap();
        if names.contains(&format!("{id}/deletion-mark.json")) || skip == Some(ulid) {
            continue;
        }
        let json = bucket.get(name).await.unwrap().unwrap();
        live.push(Meta::parse(ulid, &json).unwrap());
    }
    live
}

/// What two runs have to agree on: by resolution and range, the files and
/// `meta.json` without names and times of upload.
pub async fn files(bucket: &Bucket) -> BlockFiles {
    let mut all = BTreeMap::new();
    for mut meta in live_metas(bucket).await {
        let id = meta.id();
        let mut files = BTreeMap::new();
        for object in bucket.list(&id.to_string()).await.unwrap() {
            let name = object.name.split_once('/').unwrap().1.to_owned();
            if name != "meta.json" {
                let body = bucket.get(&object.name).await.unwrap().unwrap();
                files.insert(name, body.to_vec());
            }
        }
        let key = (
            meta.thanos.downsample.resolution,
            meta.tsdb.min_time,
            meta.tsdb.max_time,
        );
        meta.tsdb.ulid = Ulid::nil();
        meta.thanos.upload_time.clear();
        files.insert("meta.json".to_owned(), meta.to_json().unwrap());
        let before = all.insert(key, files);
        assert!(before.is_none(), "two blocks of one range: {key:?}");
    }
    all
}

/// All samples of live blocks, replica labels left out of the stream's name.
/// Fails where two live blocks of a stream hold one timestamp.
pub async fn content(bucket: &Bucket, replica_labels: &[&str]) -> Content {
    content_but(bucket, replica_labels, None).await
}

/// The same without one block, of which nothing is read.
pub async fn content_but(bucket: &Bucket, replica_labels: &[&str], skip: Option<Ulid>) -> Content {
    let mut content = Content::new();
    for meta in live_metas_but(bucket, skip).await {
        let mut labels = meta.thanos.labels.clone();
        labels.retain(|name, _| !replica_labels.contains(&name.as_str()));
        let stream = content.entry(format!("{labels:?}")).or_default();
        for (series, samples) in read(bucket, &meta).await {
            let all = stream.entry(series).or_default();
            for (t, v) in samples {
                assert!(all.insert(t, v).is_none(), "two live blocks hold {t}");
            }
        }
    }
    content
}

/// Samples of one block by series.
pub async fn read(bucket: &Bucket, meta: &Meta) -> BTreeMap<String, Vec<(i64, String)>> {
    let id = meta.id();
    let get = async |file: &str| bucket.get(&format!("{id}/{file}")).await.unwrap().unwrap();
    let index = get("index").await;
    let segment = get("chunks/000001").await;
    let mut index = Index::open(Box::new(MemBlob::new("index", index))).unwrap();
    let symbols = index.load_symbols().unwrap();
    let refs = symbols.refs();
    let mut stream = index.into_series(refs);
    let segment = MemBlob::new("chunks/000001", segment);
    let mut segment = SegmentReader::open(0, Box::new(segment)).unwrap();
    let mut series = RawSeries::default();
    let mut out = BTreeMap::new();
    while stream.next(&mut series).unwrap() {
        let name: Vec<String> = series
            .labels
            .iter()
            .map(|&(n, v)| format!("{}={}", symbols.display(n), symbols.display(v)))
            .collect();
        let mut samples = Vec::new();
        for chunk in &series.chunks {
            let record = segment.record(chunk.reference).unwrap();
            record.verify().unwrap();
            samples.extend(decode(record.encoding(), record.data()));
        }
        assert!(samples.is_sorted_by(|a, b| a.0 < b.0), "{name:?}");
        out.insert(name.join(","), samples);
    }
    out
}

fn decode(encoding: u8, data: &[u8]) -> Vec<(i64, String)> {
    let encoding = Encoding::from_byte(encoding).unwrap();
    let mut floats = FloatSamples::default();
    let mut scratch = DecodeScratch::default();
    let mut out = Vec::new();
    match decode_chunk(encoding, data, &mut floats, &mut scratch).unwrap() {
        Decoded::Floats { .. } => {
            let text = |v: f64| format!("{:016x}", v.to_bits());
            out.extend(floats.iter().map(|(t, v)| (t, text(v))));
        }
        Decoded::Histograms(mut iter) => {
            while let Some(t) = iter.next().unwrap() {
                let h = iter.current();
                out.push((t, format!("int {} {:016x}", h.count, h.sum.to_bits())));
            }
        }
        Decoded::FloatHistograms(mut iter) => {
            while let Some(t) = iter.next().unwrap() {
                let h = iter.current();
                out.push((t, format!("float {} {:016x}", h.count, h.sum.to_bits())));
            }
        }
    }
    out
}
