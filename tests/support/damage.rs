//! Blocks that can be damaged: every part of one in reach, and an index writer
//! that writes what it is told, right or wrong, with right checksums.

use std::collections::BTreeMap;

use lithify::block::meta::Meta;
use lithify::objstore::Bucket;
use lithify::tsdb::chunks::{ChunkRef, SegmentReader, frame_chunk};
use lithify::tsdb::encoding::{EncBuf, crc32c};
use lithify::tsdb::index::{Index, RawSeries};
use lithify::tsdb::source::MemBlob;
use lithify::tsdb::tombstones::{Interval, Tombstones};

use super::blocks::{self, Spec};

/// Flips a bit of one byte.
pub fn flip(bytes: &mut [u8], at: usize) {
    bytes[at] ^= 0x10;
}

/// A series entry to be written.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Symbol numbers of names and values.
    pub labels: Vec<(u32, u32)>,
    /// First and last time (ms), reference.
    pub chunks: Vec<(i64, i64, u64)>,
}

/// An index to be written.
#[derive(Debug, Clone)]
pub struct RawIndex {
    pub symbols: Vec<Vec<u8>>,
    pub series: Vec<Entry>,
}

/// Where the parts of a written index begin.
#[derive(Debug, Clone, Default)]
pub struct Places {
    pub symbols: usize,
    /// Each series, at its length.
    pub series: Vec<usize>,
    pub label_index: usize,
    pub postings: usize,
    pub label_table: usize,
    pub postings_table: usize,
    pub toc: usize,
}

fn sealed(out: &mut Vec<u8>, body: &[u8]) {
    out.put_be32(body.len() as u32);
    out.extend_from_slice(body);
    out.put_be32(crc32c(body));
}

fn pad(out: &mut Vec<u8>, align: usize) {
    out.resize(out.len().next_multiple_of(align), 0);
}

impl Entry {
    fn encode(&self) -> Vec<u8> {
        let mut body = Vec::new();
        body.put_uvarint(self.labels.len() as u64);
        for &(name, value) in &self.labels {
            body.put_uvarint(name.into());
            body.put_uvarint(value.into());
        }
        body.put_uvarint(self.chunks.len() as u64);
        let (mut time, mut reference) = (0_i64, 0_u64);
        for (i, &(min, max, at)) in self.chunks.iter().enumerate() {
            if i == 0 {
                body.put_varint(min);
                body.put_uvarint(max.wrapping_sub(min) as u64);
                body.put_uvarint(at);
            } else {
                body.put_uvarint(min.wrapping_sub(time) as u64);
                body.put_uvarint(max.wrapping_sub(min) as u64);
                body.put_varint(at.wrapping_sub(reference) as i64);
            }
            (time, reference) = (max, at);
        }
        body
    }
}

impl RawIndex {
    fn read(index: Vec<u8>) -> Self {
        let mut index = Index::open(Box::new(MemBlob::new("b/index", index))).unwrap();
        let table = index.load_symbols().unwrap();
        let symbols = table.iter().map(<[u8]>::to_vec).collect();
        let mut stream = index.into_series(table.refs());
        let mut entry = RawSeries::default();
        let mut series = Vec::new();
        while stream.next(&mut entry).unwrap() {
            let chunk =
                |c: &lithify::tsdb::chunks::ChunkMeta| (c.min_time, c.max_time, c.reference);
            series.push(Entry {
                labels: entry.labels.clone(),
                chunks: entry.chunks.iter().map(chunk).collect(),
            });
        }
        Self { symbols, series }
    }

    /// The file, with a label index and its table as old producers wrote them.
    fn encode(&self) -> (Vec<u8>, Places) {
        let mut places = Places::default();
        let mut out = vec![0xba, 0xaa, 0xd7, 0x00, 2];
        places.symbols = out.len();
        let mut body = Vec::new();
        body.put_be32(self.symbols.len() as u32);
        for symbol in &self.symbols {
            body.put_uvarint_bytes(symbol);
        }
        sealed(&mut out, &body);
        let series_start = out.len();
        let mut lists: BTreeMap<(u32, u32), Vec<u32>> = BTreeMap::new();
        for entry in &self.series {
            pad(&mut out, 16);
            places.series.push(out.len());
            let reference = (out.len() / 16) as u32;
            for pair in entry.labels.iter().chain([&(0, 0)]) {
                lists.entry(*pair).or_default().push(reference);
            }
            let body = entry.encode();
            out.put_uvarint(body.len() as u64);
            out.extend_from_slice(&body);
            out.put_be32(crc32c(&body));
        }
        places.label_index = out.len();
        sealed(&mut out, &[0, 0, 0, 1, 0, 0, 0, 0]);
        let mut table = Vec::new();
        table.put_be32(lists.len() as u32);
        places.postings = out.len();
        for ((name, value), references) in &lists {
            pad(&mut out, 4);
            let string = |n: &u32| self.symbols.get(*n as usize).cloned().unwrap_or_default();
            table.push(2);
            table.put_uvarint_bytes(&string(name));
            table.put_uvarint_bytes(&string(value));
            table.put_uvarint(out.len() as u64);
            let mut body = Vec::new();
            body.put_be32(references.len() as u32);
            references.iter().for_each(|&r| body.put_be32(r));
            sealed(&mut out, &body);
        }
        places.label_table = out.len();
        sealed(&mut out, &[0, 0, 0, 0]);
        places.postings_table = out.len();
        sealed(&mut out, &table);
        places.toc = out.len();
        for at in [
            places.symbols,
            series_start,
            places.label_index,
            places.label_table,
            places.postings,
            places.postings_table,
        ] {
            out.put_be64(at as u64);
        }
        let crc = crc32c(&out[places.toc..]);
        out.put_be32(crc);
        (out, places)
    }
}

/// A record in a segment.
#[derive(Debug, Clone, Copy)]
pub struct Record {
    pub segment: usize,
    /// Of its length.
    pub start: usize,
    /// Of its encoding byte.
    pub encoding: usize,
    /// Of its data.
    pub data: usize,
    /// Of its checksum.
    pub crc: usize,
}

/// What becomes of the file sizes in `meta.json` once the damage is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sizes {
    /// They are those of the damaged files.
    Restated,
    /// They stay those of the good ones.
    Kept,
    /// None are stated, as by old producers.
    Unstated,
}

/// A block in parts.
#[derive(Debug, Clone)]
pub struct Parts {
    pub meta: Meta,
    /// Instead of `meta`.
    pub meta_text: Option<Vec<u8>>,
    pub raw: RawIndex,
    pub index: Option<Vec<u8>>,
    pub places: Places,
    pub segments: Vec<Vec<u8>>,
    pub tombstones: Option<Vec<u8>>,
    pub sizes: Sizes,
}

impl Parts {
    pub fn of(spec: &Spec) -> Self {
        let (index, segment) = blocks::encode(spec);
        let meta = blocks::meta(spec, &index, &segment);
        let mut parts = Self::new(meta, index, segment);
        let chunks = parts.raw.series.iter().map(|s| s.chunks.len() as u64);
        parts.meta.tsdb.stats.num_chunks = chunks.sum();
        parts
    }

    /// Of the files of a good block.
    pub fn new(meta: Meta, index: Vec<u8>, segment: Vec<u8>) -> Self {
        let raw = RawIndex::read(index);
        let (index, places) = raw.encode();
        Self {
            meta,
            meta_text: None,
            raw,
            index: Some(index),
            places,
            segments: vec![segment],
            tombstones: None,
            sizes: Sizes::Restated,
        }
    }

    /// Changes what the index says and writes it anew.
    pub fn rewrite(&mut self, change: impl FnOnce(&mut RawIndex)) {
        change(&mut self.raw);
        let (index, places) = self.raw.encode();
        (self.index, self.places) = (Some(index), places);
    }

    pub fn index(&mut self) -> &mut Vec<u8> {
        self.index.as_mut().unwrap()
    }

    /// Changes bytes of the body of series `n` and mends its checksum.
    pub fn patch_series(&mut self, n: usize, change: impl FnOnce(&mut [u8])) {
        let start = self.places.series[n];
        let len = usize::from(self.index()[start]);
        assert!(len < 128, "the length is one byte");
        let index = self.index();
        change(&mut index[start + 1..start + 1 + len]);
        let crc = crc32c(&index[start + 1..start + 1 + len]).to_be_bytes();
        index[start + 1 + len..][..4].copy_from_slice(&crc);
    }

    pub fn record(&self, series: usize, chunk: usize) -> Record {
        let at = ChunkRef::from(self.raw.series[series].chunks[chunk].2);
        let (segment, start) = (at.segment() as usize, at.offset() as usize);
        let bytes = &self.segments[segment][start..];
        let prefix = bytes.iter().take_while(|&&b| b >= 0x80).count() + 1;
        let len = (0..prefix).map(|i| usize::from(bytes[i] & 0x7f) << (7 * i));
        let encoding = start + prefix;
        Record {
            segment,
            start,
            encoding,
            data: encoding + 1,
            crc: encoding + 1 + len.sum::<usize>(),
        }
    }

    /// Changes a record in place and mends its checksum.
    pub fn patch_record(
        &mut self,
        series: usize,
        chunk: usize,
        change: impl FnOnce(&mut [u8], Record),
    ) {
        let record = self.record(series, chunk);
        let segment = &mut self.segments[record.segment];
        change(segment, record);
        let crc = crc32c(&segment[record.encoding..record.crc]).to_be_bytes();
        segment[record.crc..][..4].copy_from_slice(&crc);
    }

    /// Writes all chunks anew in the order of `order`, the n-th of them into
    /// segment `segment_of(n)`, with what `change` makes of their data.
    pub fn repack(
        &mut self,
        order: impl FnOnce(&mut Vec<(usize, usize)>),
        segment_of: fn(usize) -> usize,
        change: impl Fn((usize, usize), &mut Vec<u8>),
    ) {
        let mut places: Vec<(usize, usize)> = Vec::new();
        for (s, entry) in self.raw.series.iter().enumerate() {
            places.extend((0..entry.chunks.len()).map(|c| (s, c)));
        }
        order(&mut places);
        let blob = MemBlob::new("b/chunks/000001", self.segments[0].clone());
        let mut old = SegmentReader::open(0, Box::new(blob)).unwrap();
        let mut segments: Vec<Vec<u8>> = Vec::new();
        let mut raw = self.raw.clone();
        for (n, (s, c)) in places.into_iter().enumerate() {
            let record = old.record(self.raw.series[s].chunks[c].2).unwrap();
            let mut data = record.data().to_vec();
            change((s, c), &mut data);
            let number = segment_of(n);
            while segments.len() <= number {
                segments.push(vec![0x85, 0xbd, 0x40, 0xdd, 1, 0, 0, 0]);
            }
            let at = ChunkRef::new(number as u32, segments[number].len() as u32);
            raw.series[s].chunks[c].2 = at.into();
            frame_chunk(record.encoding(), &data, &mut segments[number]);
        }
        self.segments = segments;
        self.rewrite(|index| *index = raw);
    }

    /// A tombstone that deletes nothing that is there.
    pub fn delete_nothing(&mut self) -> &mut Vec<u8> {
        let mut tombstones = Tombstones::new();
        let reference = self.places.series[0] as u64 / 16;
        tombstones.add(
            reference,
            Interval {
                min_time: 5,
                max_time: 900,
            },
        );
        self.tombstones.insert(tombstones.encode())
    }

    /// The files, `meta.json` last.
    pub fn files(mut self) -> Vec<(String, Vec<u8>)> {
        let mut files = Vec::new();
        for (n, segment) in self.segments.into_iter().enumerate() {
            files.push((format!("chunks/{:06}", n + 1), segment));
        }
        files.extend(self.index.map(|index| ("index".to_owned(), index)));
        files.extend(self.tombstones.map(|t| ("tombstones".to_owned(), t)));
        match self.sizes {
            Sizes::Kept => {}
            Sizes::Unstated => self.meta.thanos.files.clear(),
            Sizes::Restated => {
                self.meta.thanos.files.retain(|f| f.rel_path == "meta.json");
                for (path, body) in &files {
                    let mut file = lithify::block::meta::File::default();
                    (file.rel_path, file.size_bytes) = (path.clone(), body.len() as u64);
                    self.meta.thanos.files.push(file);
                }
            }
        }
        let text = self
            .meta_text
            .unwrap_or_else(|| self.meta.to_json().unwrap());
        files.push(("meta.json".to_owned(), text));
        files
    }
}

/// Puts a block into a bucket.
pub async fn put(bucket: &Bucket, id: ulid::Ulid, parts: Parts) {
    for (file, body) in parts.files() {
        bucket.put(&format!("{id}/{file}"), body).await.unwrap();
    }
}
