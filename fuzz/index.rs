//! The index of a block, versions 1 and 2.

use lithify::tsdb::index::{Index, IndexWriter, RawSeries, SymbolTable, Version};
use lithify::tsdb::source::BlobReader;
use lithify::tsdb::{Error, Result};

use super::{assert_blames_the_bytes, blobs, repair};

const NAME: &str = "01X/index";

/// Lists can share their place in the file, so an input could ask for the
/// square of its length.
const LOOKUPS: usize = 2_000;

/// An index: symbols, series and postings through all their readers.
pub fn index(data: &[u8]) {
    one_index(data);
    let repaired = repair::index(data);
    if repaired != data {
        one_index(&repaired);
    }
}

fn one_index(data: &[u8]) {
    let content = read(blobs::stingy(NAME, data));
    let again = read(blobs::whole(NAME, data));
    match (&content, &again) {
        (Ok(a), Ok(b)) => {
            assert_eq!(a, b);
            assert!(a.symbols.len() <= data.len() && a.series.len() <= data.len());
            rewrite(a);
        }
        (Err(a), Err(b)) => {
            assert_blames_the_bytes(a);
            assert_eq!(a.to_string(), b.to_string());
        }
        _ => panic!("large and small windows read differently"),
    }
    tables(data);
}

/// What the streams of an index give.
#[derive(Debug, PartialEq)]
struct Content {
    symbols: Vec<Vec<u8>>,
    series: Vec<RawSeries>,
}

/// Front to back, as a merge reads.
fn read(blob: Box<dyn BlobReader>) -> Result<Content> {
    let index = Index::open(blob)?;
    let mut stream = index.into_symbols()?;
    let mut symbols = Vec::new();
    while let Some(symbol) = stream.next()? {
        symbols.push(symbol.to_vec());
    }
    let (index, refs) = stream.finish()?;
    assert_eq!(refs.count() as usize, symbols.len());
    let mut stream = index.into_series(refs);
    let mut series = Vec::new();
    let mut one = RawSeries::default();
    while stream.next(&mut one)? {
        series.push(one.clone());
        let (done, all) = stream.progress();
        assert!(done <= all);
    }
    Ok(Content { symbols, series })
}

/// The tables and lookups, each on its own: a damaged one leaves the others.
fn tables(data: &[u8]) {
    let mut index = match Index::open(blobs::whole(NAME, data)) {
        Ok(index) => index,
        Err(error) => return assert_blames_the_bytes(&error),
    };
    assert!(!format!("{index:?}").is_empty());
    match index.load_symbols() {
        Ok(table) => symbol_table(&table),
        Err(error) => assert_blames_the_bytes(&error),
    }
    if let Err(error) = postings(&mut index) {
        assert_blames_the_bytes(&error);
    }
}

fn symbol_table(table: &SymbolTable) {
    assert_eq!(table.iter().count(), table.len() as usize);
    assert_eq!(table.refs().count(), table.len());
    for (ordinal, symbol) in (0..).zip(table.iter()).take(LOOKUPS) {
        assert_eq!(table.get(ordinal), Some(symbol));
        assert_eq!(table.find(symbol), Some(ordinal));
    }
    assert_eq!(table.get(table.len()), None);
    assert!(!table.display(table.len()).is_empty());
}

/// Every postings list, and the series that it names.
fn postings(index: &mut Index) -> Result<()> {
    let refs = index.symbol_refs()?;
    let table = index.load_postings_table()?;
    let mut series = RawSeries::default();
    let mut left = LOOKUPS;
    for entry in table.iter() {
        assert_eq!(table.find(entry.name, entry.value), Some(entry.offset));
        assert!(table.values(entry.name).next().is_some());
        let Some(rest) = left.checked_sub(1) else {
            break;
        };
        left = rest;
        let list = match index.postings(entry.offset) {
            Ok(list) => list,
            Err(error) => {
                assert_blames_the_bytes(&error);
                continue;
            }
        };
        assert_eq!(list.is_empty(), list.iter().next().is_none());
        for reference in list.iter().take(left) {
            let Ok(reference) = reference else { break };
            left -= 1;
            match index.series_at(u64::from(reference), &refs, &mut series) {
                Ok(()) => assert_eq!(series.reference, u64::from(reference)),
                Err(error) => assert_blames_the_bytes(&error),
            }
        }
    }
    assert!(table.names().len() <= table.len());
    for reference in [0, 1, u64::from(u32::MAX), u64::MAX] {
        if let Err(error) = index.series_at(reference, &refs, &mut series) {
            assert_blames_the_bytes(&error);
        }
    }
    Ok(())
}

/// What was read can be written, unless it breaks a rule of the writer, and
/// reads the same from there.
fn rewrite(content: &Content) {
    let out = blobs::Sink::default();
    let mut writer = IndexWriter::new(Box::new(out.clone())).unwrap();
    for symbol in &content.symbols {
        writer.add_symbol(symbol).unwrap();
    }
    let mut writer = writer.into_series().unwrap();
    for series in &content.series {
        if let Err(error) = writer.add_series(&series.labels, &series.chunks) {
            // Overlapping chunks, labels of one name: a merge refuses them.
            return assert!(matches!(error, Error::Misuse(_)), "{error}");
        }
    }
    writer.finish().unwrap();
    let bytes = out.bytes();
    let again = read(blobs::stingy(NAME, &bytes)).unwrap();
    assert_eq!(again.symbols, content.symbols);
    assert_eq!(again.series.len(), content.series.len());
    for (a, b) in again.series.iter().zip(&content.series) {
        assert_eq!((&a.labels, &a.chunks), (&b.labels, &b.chunks));
    }
    let index = Index::open(blobs::whole(NAME, &bytes)).unwrap();
    assert_eq!(index.version(), Version::V2);
    tables(&bytes);
}
