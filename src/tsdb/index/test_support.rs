//! Blobs and small indexes for the tests of index and chunks.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;

use super::*;
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
        lists.into_iter().map(|((n, v), refs)| (n, v, refs)).collect()
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
    labels.iter().map(|(n, v)| (ordinal(n), ordinal(v))).collect()
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
