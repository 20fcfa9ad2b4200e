//! Blobs and small indexes for the tests of index and chunks.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;

use super::*;
use crate::tsdb::encoding::{DecBuf, EncBuf, crc32c};
use crate::tsdb::error::Result;
use crate::tsdb::source::{BlobReader, BlobWriter, MemBlob};

/// Collects what is written; clones share the bytes.
#[derive(Debug, Clone, Default)]
pub(crate) struct MemWriter(Arc<Mutex<Vec<u8>>>);

impl MemWriter {
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap().clone()
    }
}

impl BlobWriter for MemWriter {
    fn write(&mut self, data: &[u8]) -> Result<()> {
        self.0.lock().unwrap().extend_from_slice(data);
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<u64> {
        Ok(self.0.lock().unwrap().len() as u64)
    }
}

/// Gives never more than it is asked for, so that entries cross windows.
pub(crate) struct Stingy(pub(crate) MemBlob);

impl BlobReader for Stingy {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn len(&self) -> u64 {
        self.0.len()
    }

    fn window(&mut self, offset: u64, min_len: usize) -> Result<Bytes> {
        let bytes = self.0.window(offset, min_len)?;
        let len = bytes.len().min(min_len);
        // A copy, so that nothing beyond can be read by accident.
        Ok(Bytes::copy_from_slice(&bytes[..len]))
    }
}

pub(crate) fn blob(data: &[u8]) -> Box<dyn BlobReader> {
    Box::new(MemBlob::new("01X/index", data.to_vec()))
}

pub(crate) fn stingy(data: &[u8]) -> Box<dyn BlobReader> {
    Box::new(Stingy(MemBlob::new("01X/index", data.to_vec())))
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// A generator that the Go program behind the expected checksums has too.
pub(crate) struct Lcg(pub(crate) u64);

impl Lcg {
    pub(crate) fn next(&mut self, below: u64) -> u64 {
        let step = self.0.wrapping_mul(6_364_136_223_846_793_005);
        self.0 = step.wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }
}

/// Labels and chunks of one series.
pub(crate) type ModelSeries = (BTreeMap<Vec<u8>, Vec<u8>>, Vec<ChunkMeta>);

/// Everything an index says, in plain collections.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) symbols: Vec<Vec<u8>>,
    pub(crate) series: Vec<(u64, ModelSeries)>,
    pub(crate) postings: Vec<(Vec<u8>, Vec<u8>, Vec<u64>)>,
}

impl Content {
    /// Reads all of an index through its streams and lookups.
    pub(crate) fn read(reader: Box<dyn BlobReader>) -> Result<Self> {
        let mut content = Self::default();
        let mut symbols = Index::open(reader)?.into_symbols()?;
        while let Some(symbol) = symbols.next()? {
            content.symbols.push(symbol.to_vec());
        }
        let (index, refs) = symbols.finish()?;
        let mut stream = index.into_series(refs.clone());
        let mut raw = RawSeries::default();
        while stream.next(&mut raw)? {
            let text = |i: u32| content.symbols[i as usize].clone();
            let labels = raw.labels.iter().map(|&(n, v)| (text(n), text(v)));
            let series = (labels.collect(), raw.chunks.clone());
            content.series.push((raw.reference, series));
        }
        let mut index = stream.into_index();
        let table = index.load_postings_table()?;
        for entry in table.iter() {
            let list = index.postings(entry.offset)?;
            let refs: Result<Vec<u64>, _> = list.iter().map(|r| r.map(u64::from)).collect();
            let (name, value) = (entry.name.to_vec(), entry.value.to_vec());
            content.postings.push((name, value, refs?));
        }
        Ok(content)
    }

    /// What postings must say about the series.
    pub(crate) fn expected_postings(&self) -> Vec<(Vec<u8>, Vec<u8>, Vec<u64>)> {
        let mut lists: BTreeMap<(Vec<u8>, Vec<u8>), Vec<u64>> = BTreeMap::new();
        lists.insert((vec![], vec![]), Vec::new());
        for (reference, (labels, _)) in &self.series {
            let all = (vec![], vec![]);
            for pair in labels.clone().into_iter().chain([all]) {
                lists.entry(pair).or_default().push(*reference);
            }
        }
        lists
            .into_iter()
            .map(|((n, v), refs)| (n, v, refs))
            .collect()
    }
}

/// The symbols that a set of series needs.
pub(crate) fn symbols_of(series: &[ModelSeries]) -> Vec<Vec<u8>> {
    let mut symbols: Vec<Vec<u8>> = series
        .iter()
        .flat_map(|(labels, _)| labels.iter())
        .flat_map(|(name, value)| [name.clone(), value.clone()])
        .collect();
    symbols.sort();
    symbols.dedup();
    symbols
}

/// Labels as ordinals of `symbols`.
pub(crate) fn pairs(labels: &BTreeMap<Vec<u8>, Vec<u8>>, symbols: &[Vec<u8>]) -> Vec<LabelPair> {
    let ordinal = |s: &Vec<u8>| symbols.binary_search(s).unwrap() as u32;
    labels
        .iter()
        .map(|(n, v)| (ordinal(n), ordinal(v)))
        .collect()
}

/// Writes series, which must be sorted, with the table held by the writer.
pub(crate) fn write_held(series: &[ModelSeries]) -> (Vec<u8>, WrittenIndex) {
    let out = MemWriter::default();
    let symbols = symbols_of(series);
    let mut writer = IndexWriter::new(Box::new(out.clone())).unwrap();
    for (i, symbol) in symbols.iter().enumerate() {
        assert_eq!(writer.add_symbol(symbol).unwrap(), i as u32);
    }
    let mut writer = writer.into_series().unwrap();
    for (labels, chunks) in series {
        writer.add_series(&pairs(labels, &symbols), chunks).unwrap();
    }
    let written = writer.finish().unwrap();
    (out.bytes(), written)
}

/// Writes the same with announced symbols and a lookup at the end.
pub(crate) fn write_announced(series: &[ModelSeries]) -> Vec<u8> {
    let out = MemWriter::default();
    let symbols = symbols_of(series);
    let mut totals = SymbolTotals::default();
    let mut lookup = SymbolBuffer::new();
    for symbol in &symbols {
        totals.add(symbol).unwrap();
        lookup.push(symbol).unwrap();
    }
    let mut writer = IndexWriter::with_totals(Box::new(out.clone()), totals).unwrap();
    for symbol in &symbols {
        writer.add_symbol(symbol).unwrap();
    }
    let mut writer = writer.into_series().unwrap();
    for (labels, chunks) in series {
        writer.add_series(&pairs(labels, &symbols), chunks).unwrap();
    }
    writer.finish_with(&mut lookup).unwrap();
    out.bytes()
}

/// A version 1 index: entries not aligned, symbols named by where they stand,
/// offset table in any order.
#[expect(
    clippy::too_many_lines,
    reason = "one table or layout, read from top to bottom"
)]
pub(crate) fn write_version_1(series: &[ModelSeries]) -> Vec<u8> {
    let symbols = symbols_of(series);
    let mut data = vec![0xba, 0xaa, 0xd7, 0x00, 1];
    let mut toc = Toc {
        symbols: 5,
        ..Toc::default()
    };
    let sealed = |data: &mut Vec<u8>, body: &[u8]| {
        data.put_be32(body.len() as u32);
        data.extend_from_slice(body);
        data.put_be32(crc32c(body));
    };
    let mut body = Vec::new();
    body.put_be32(symbols.len() as u32);
    let mut places = BTreeMap::new();
    for symbol in &symbols {
        places.insert(symbol, 5 + 4 + body.len() as u64);
        body.put_uvarint_bytes(symbol);
    }
    sealed(&mut data, &body);
    toc.series = data.len() as u64;
    let mut lists: BTreeMap<(&[u8], &[u8]), Vec<u32>> = BTreeMap::new();
    lists.insert((b"", b""), Vec::new());
    for (labels, chunks) in series {
        let reference = data.len() as u32;
        let mut body = Vec::new();
        body.put_uvarint(labels.len() as u64);
        lists
            .get_mut(&(&b""[..], &b""[..]))
            .unwrap()
            .push(reference);
        for (name, value) in labels {
            body.put_uvarint(places[name]);
            body.put_uvarint(places[value]);
            lists.entry((name, value)).or_default().push(reference);
        }
        body.put_uvarint(chunks.len() as u64);
        let mut last: Option<ChunkMeta> = None;
        for c in chunks {
            match last {
                None => body.put_varint(c.min_time),
                Some(last) => body.put_uvarint((c.min_time - last.max_time) as u64),
            }
            body.put_uvarint((c.max_time - c.min_time) as u64);
            match last {
                None => body.put_uvarint(c.reference),
                Some(last) => body.put_varint((c.reference - last.reference) as i64),
            }
            last = Some(*c);
        }
        data.put_uvarint(body.len() as u64);
        data.extend_from_slice(&body);
        data.put_be32(crc32c(&body));
    }
    toc.label_indices = data.len() as u64;
    data.resize(data.len().next_multiple_of(4), 0);
    toc.postings = data.len() as u64;
    let mut table = Vec::new();
    table.put_be32(lists.len() as u32);
    for ((name, value), refs) in lists.iter().rev() {
        table.push(2);
        table.put_uvarint_bytes(name);
        table.put_uvarint_bytes(value);
        table.put_uvarint(data.len() as u64);
        let mut body = Vec::new();
        body.put_be32(refs.len() as u32);
        refs.iter().for_each(|&r| body.put_be32(r));
        sealed(&mut data, &body);
    }
    toc.label_indices_table = data.len() as u64;
    toc.postings_table = data.len() as u64;
    sealed(&mut data, &table);
    toc.encode(&mut data);
    data
}

/// Makes all checksums of a damaged index right again, so that what lies
/// behind them is decoded. Lengths are those of the undamaged index.
pub(crate) fn reseal(good: &[u8], bad: &mut [u8], written: &WrittenIndex) {
    let mut seal = |from: usize, to: usize| {
        let crc = crc32c(&bad[from..to]).to_be_bytes();
        bad[to..to + 4].copy_from_slice(&crc);
    };
    let be32 = |at: usize| u32::from_be_bytes(good[at..at + 4].try_into().unwrap()) as usize;
    let toc = written.toc;
    let mut section = |at: usize| {
        seal(at + 4, at + 4 + be32(at));
        at + 8 + be32(at)
    };
    section(toc.symbols as usize);
    section(toc.postings_table as usize);
    let mut at = (toc.postings as usize).next_multiple_of(4);
    while at < toc.postings_table as usize {
        at = section(at);
    }
    let mut at = toc.series as usize;
    while at < toc.label_indices as usize {
        at = at.next_multiple_of(16);
        let mut dec = DecBuf::new(&good[at..]);
        let len = dec.uvarint64().unwrap() as usize;
        let from = at + dec.position();
        seal(from, from + len);
        at = from + len + 4;
    }
}
