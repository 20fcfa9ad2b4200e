//! Real blocks, read and written again.

use std::fs;
use std::path::{Path, PathBuf};

use super::test_support::*;
use super::*;
use crate::tsdb::chunks::{self, ChunkInput, ChunkRef, ChunkWriter, SegmentReader};
use crate::tsdb::source::MemBlob;

fn fixtures(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures")
        .join(name)
}

/// Folders that hold an index, at any depth.
fn blocks(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(dir) = open.pop() {
        if dir.join("index").is_file() {
            found.push(dir.clone());
        }
        for entry in fs::read_dir(&dir).unwrap().flatten() {
            if entry.path().is_dir() {
                open.push(entry.path());
            }
        }
    }
    found.sort();
    assert!(!found.is_empty(), "no block below {}", folder.display());
    found
}

/// Blocks of version 2 as Prometheus wrote them, all encodings among them.
fn written_by_prometheus() -> Vec<PathBuf> {
    let folders = ["quickstart", "encodings"].map(fixtures);
    folders.iter().flat_map(|f| blocks(f)).collect()
}

fn segments(block: &Path) -> Vec<Vec<u8>> {
    let mut names: Vec<PathBuf> = fs::read_dir(block.join("chunks"))
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    names.sort();
    names.iter().map(|p| fs::read(p).unwrap()).collect()
}

/// Symbols and series of an index, with the index given back.
fn read_series(data: &[u8]) -> (Vec<Vec<u8>>, Vec<RawSeries>, Index) {
    let mut stream = Index::open(stingy(data)).unwrap().into_symbols().unwrap();
    let mut symbols = Vec::new();
    while stream.advance().unwrap() {
        assert_eq!(stream.ordinal(), symbols.len() as u32);
        symbols.push(stream.current().to_vec());
    }
    assert_eq!(stream.count() as usize, symbols.len());
    let (index, refs) = stream.finish().unwrap();
    let mut stream = index.into_series(refs);
    let (mut all, mut raw) = (Vec::new(), RawSeries::default());
    while stream.next(&mut raw).unwrap() {
        all.push(raw.clone());
    }
    let (read, whole) = stream.progress();
    assert_eq!(read, whole);
    (symbols, all, stream.into_index())
}

#[test]
fn indexes_of_prometheus_are_written_again_byte_for_byte() {
    for block in written_by_prometheus() {
        let data = fs::read(block.join("index")).unwrap();
        let (symbols, series, mut index) = read_series(&data);

        let out = MemWriter::default();
        let mut writer = IndexWriter::new(Box::new(out.clone())).unwrap();
        for symbol in &symbols {
            writer.add_symbol(symbol).unwrap();
        }
        let mut writer = writer.into_series().unwrap();
        for s in &series {
            let reference = writer.add_series(&s.labels, &s.chunks).unwrap();
            assert_eq!(u64::from(reference), s.reference);
        }
        let written = writer.finish().unwrap();
        assert_eq!(written.toc, *index.toc(), "{}", block.display());
        assert!(out.bytes() == data, "{}", block.display());

        // The lookup of a loaded table gives the same file.
        let out = MemWriter::default();
        let mut totals = SymbolTotals::default();
        symbols.iter().for_each(|s| totals.add(s).unwrap());
        let mut writer = IndexWriter::with_totals(Box::new(out.clone()), totals).unwrap();
        for symbol in &symbols {
            writer.add_symbol(symbol).unwrap();
        }
        let mut writer = writer.into_series().unwrap();
        for s in &series {
            writer.add_series(&s.labels, &s.chunks).unwrap();
        }
        let mut table = index.load_symbols().unwrap();
        writer.finish_with(&mut table).unwrap();
        assert!(out.bytes() == data, "{}", block.display());

        let content = Content::read(blob(&data)).unwrap();
        assert!(content.postings == content.expected_postings());
    }
}

#[test]
fn segments_of_prometheus_are_written_again_byte_for_byte() {
    for block in written_by_prometheus() {
        let data = fs::read(block.join("index")).unwrap();
        let (_, series, _) = read_series(&data);
        let originals = segments(&block);
        for framed in [true, false] {
            let copies: Vec<MemWriter> = originals.iter().map(|_| MemWriter::default()).collect();
            rewrite(&series, &originals, copies.clone(), framed);
            for (original, copy) in originals.iter().zip(&copies) {
                assert!(copy.bytes() == *original, "{} {framed}", block.display());
            }
        }
    }
}

fn rewrite(series: &[RawSeries], originals: &[Vec<u8>], copies: Vec<MemWriter>, framed: bool) {
    let mut readers: Vec<SegmentReader> = (0..)
        .zip(originals)
        .map(|(i, data)| {
            let blob = MemBlob::new(chunks::segment_file_name(i), data.clone());
            SegmentReader::open(i, Box::new(Stingy(blob))).unwrap()
        })
        .collect();
    let mut writer = ChunkWriter::new(chunks::DEFAULT_SEGMENT_SIZE, move |i| {
        Ok(Box::new(copies[i as usize].clone()))
    });
    let mut refs = Vec::new();
    for s in series {
        let records: Vec<_> = s
            .chunks
            .iter()
            .map(|c| {
                let record = readers[c.chunk_ref().segment() as usize]
                    .record(c.chunk_ref())
                    .unwrap();
                record.verify().unwrap();
                record
            })
            .collect();
        refs.clear();
        let inputs = records.iter().map(|r| match framed {
            true => ChunkInput::from(r),
            false => ChunkInput::Data {
                encoding: r.encoding(),
                data: r.data(),
            },
        });
        writer.write_series(inputs, &mut refs).unwrap();
        let expected = s.chunks.iter().map(ChunkMeta::chunk_ref);
        assert!(refs.iter().copied().eq::<Vec<ChunkRef>>(expected.collect()));
    }
    writer.finish().unwrap();
}

#[test]
fn an_index_of_version_1_is_read() {
    for block in blocks(&fixtures("index-v1")) {
        let data = fs::read(block.join("index")).unwrap();
        let (symbols, series, mut index) = read_series(&data);
        assert_eq!(index.version(), Version::V1);
        assert!(!series.is_empty());
        let table = index.load_symbols().unwrap();
        assert!(table.iter().eq(symbols.iter().map(Vec::as_slice)));

        // Series found one by one are those of the stream.
        let refs = table.refs();
        let mut raw = RawSeries::default();
        for s in &series {
            index.series_at(s.reference, &refs, &mut raw).unwrap();
            assert_eq!(raw, *s);
        }
        let content = Content::read(stingy(&data)).unwrap();
        assert!(content.postings == content.expected_postings());

        let originals = segments(&block);
        for (i, data) in (0..).zip(originals) {
            let blob = MemBlob::new("01X/chunks/000001", data);
            let mut reader = SegmentReader::open(i, Box::new(blob)).unwrap();
            let all = series.iter().flat_map(|s| &s.chunks);
            for chunk in all.filter(|c| c.chunk_ref().segment() == i) {
                reader.record(chunk.reference).unwrap().verify().unwrap();
            }
        }
    }
}
