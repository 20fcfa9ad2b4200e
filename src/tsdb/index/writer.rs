//! Writes an index front to back, byte for byte as Prometheus does.
//!
//! The order of calls is the order of the file, and the type says what comes
//! next:
//!
//! ```text
//!  IndexWriter<Symbols>  add_symbol ...  --into_series-->
//!  IndexWriter<Series>   add_series ...  --finish-->       WrittenIndex
//! ```
//!
//! Two lengths stand before what they measure:
//!
//! - The symbol table. Either the writer holds the table until it is complete
//!   ([`IndexWriter::new`], memory about the size of the table), or the caller
//!   has counted it in a first pass ([`IndexWriter::with_totals`], no memory).
//! - The postings offset table. Its strings are looked up twice, the first
//!   time only for their length.
//!
//! The strings of the postings offset table come from the held table or, when
//! it was announced, from the [`SymbolLookup`] that the caller gives to
//! [`IndexWriter::finish_with`]: whoever merged the symbols has them already,
//! and reading the unfinished file back would need more than a [`BlobWriter`].

use crate::tsdb::chunks::ChunkMeta;
use crate::tsdb::encoding::{Append, Crc32c, EncBuf};
use crate::tsdb::error::{Error, Result};
use crate::tsdb::source::BlobWriter;
use crate::tsdb::spill::Room;

use super::collector::{Collector, Groups};
use super::postings_writer::{NameLists, PIECE, flush, write_list, write_offsets};
use super::series::{self, LabelPair};
use super::stats::SizeStats;
use super::symbol_buffer::{SymbolBuffer, SymbolTotals, check_order};
use super::symbols::SymbolLookup;
use super::toc::Toc;
use super::{MAGIC, MAX_SIZE, SERIES_ALIGN};

/// An index that is being written; `S` is [`Symbols`] or [`Series`].
#[derive(Debug)]
pub struct IndexWriter<S> {
    out: Append,
    toc: Toc,
    state: S,
}

/// State: symbols are added.
#[derive(Debug)]
pub struct Symbols(Table);

#[derive(Debug)]
enum Table {
    /// Held until it is complete.
    Held(SymbolBuffer),
    /// Written at once; must end up as announced.
    Announced {
        totals: SymbolTotals,
        seen: SymbolTotals,
        last: Vec<u8>,
        crc: Crc32c,
        entry: Vec<u8>,
    },
}

/// State: series are added.
#[derive(Debug)]
pub struct Series {
    symbols: u32,
    held: Option<SymbolBuffer>,
    collector: Collector,
    last_labels: Vec<LabelPair>,
    last_chunk: u64,
    series: u64,
    chunks: u64,
    sizes: SizeStats,
    scratch: Vec<u8>,
    entry: Vec<u8>,
}

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WrittenIndex {
    /// Size of the file in bytes.
    pub size: u64,
    /// Number of symbols.
    pub symbols: u32,
    /// Number of series.
    pub series: u64,
    /// Number of chunks of all series.
    pub chunks: u64,
    /// Number of label pairs that have a postings list, the pair of all
    /// series not counted.
    pub label_pairs: u64,
    /// Sizes for `thanos.index_stats`.
    pub sizes: SizeStats,
    /// Where the sections begin.
    pub toc: Toc,
}

impl IndexWriter<Symbols> {
    /// Starts an index and holds its symbol table in memory, for
    /// [`IndexWriter::finish`].
    ///
    /// # Errors
    /// Whatever the blob returns.
    pub fn new(blob: Box<dyn BlobWriter>) -> Result<Self> {
        Self::start(blob, Table::Held(SymbolBuffer::new()))
    }

    /// Starts an index whose symbols have been counted. They are not held, so
    /// it must be finished with [`IndexWriter::finish_with`].
    ///
    /// # Errors
    /// Whatever the blob returns.
    pub fn with_totals(blob: Box<dyn BlobWriter>, totals: SymbolTotals) -> Result<Self> {
        let table = Table::Announced {
            totals,
            seen: SymbolTotals::default(),
            last: Vec::new(),
            crc: Crc32c::new(),
            entry: Vec::new(),
        };
        Self::start(blob, table)
    }

    fn start(blob: Box<dyn BlobWriter>, mut table: Table) -> Result<Self> {
        let mut out = Append::new(blob);
        out.write(&MAGIC.to_be_bytes())?;
        out.write(&[2])?;
        let symbols = out.position();
        if let Table::Announced { totals, crc, .. } = &mut table {
            write_head(&mut out, crc, *totals)?;
        }
        Ok(Self {
            out,
            toc: Toc {
                symbols,
                ..Toc::default()
            },
            state: Symbols(table),
        })
    }

    /// Adds the next symbol in byte order and returns its ordinal.
    ///
    /// # Errors
    /// [`Error::Misuse`] when it does not follow the last one,
    /// [`Error::Limit`] past 4 GiB, whatever the blob returns.
    pub fn add_symbol(&mut self, symbol: &[u8]) -> Result<u32> {
        match &mut self.state.0 {
            Table::Held(buffer) => buffer.push(symbol),
            Table::Announced {
                seen,
                last,
                crc,
                entry,
                ..
            } => {
                let ordinal = seen.count();
                check_order(ordinal, last, symbol)?;
                seen.add(symbol)?;
                last.clear();
                last.extend_from_slice(symbol);
                entry.put_uvarint_bytes(symbol);
                if entry.len() >= PIECE {
                    flush(&mut self.out, crc, entry)?;
                }
                Ok(ordinal)
            }
        }
    }

    /// Ends the symbol table.
    ///
    /// # Errors
    /// [`Error::Misuse`] when the symbols are not those that were announced;
    /// whatever the blob returns.
    pub fn into_series(self) -> Result<IndexWriter<Series>> {
        self.into_series_with(Room::unlimited())
    }

    /// The same; postings are held in memory as far as `postings` goes.
    ///
    /// # Errors
    /// As [`Self::into_series`].
    pub fn into_series_with(mut self, postings: Room) -> Result<IndexWriter<Series>> {
        let (symbols, held, crc) = match self.state.0 {
            Table::Held(mut buffer) => {
                let mut crc = Crc32c::new();
                write_head(&mut self.out, &mut crc, buffer.totals())?;
                buffer.write_to(&mut self.out, &mut crc)?;
                (buffer.totals().count(), Some(buffer), crc)
            }
            Table::Announced {
                totals,
                seen,
                mut crc,
                mut entry,
                ..
            } => {
                if totals != seen {
                    return Err(Error::Misuse(format!(
                        "{totals:?} of symbols were announced but {seen:?} were added"
                    )));
                }
                flush(&mut self.out, &mut crc, &mut entry)?;
                (seen.count(), None, crc)
            }
        };
        self.out.write(&crc.value().to_be_bytes())?;
        self.toc.series = self.out.position();
        Ok(IndexWriter {
            out: self.out,
            toc: self.toc,
            state: Series {
                symbols,
                held,
                collector: Collector::new(postings),
                last_labels: Vec::new(),
                last_chunk: 0,
                series: 0,
                chunks: 0,
                sizes: SizeStats::default(),
                scratch: Vec::new(),
                entry: Vec::new(),
            },
        })
    }
}

impl IndexWriter<Series> {
    /// Adds the next series in label order and returns its reference.
    ///
    /// # Errors
    /// [`Error::Misuse`] when labels do not ascend inside the series or from
    /// series to series, when chunks overlap, or when chunk references fall;
    /// [`Error::Limit`] past 64 GiB; whatever the blob returns.
    pub fn add_series(&mut self, labels: &[LabelPair], chunks: &[ChunkMeta]) -> Result<u32> {
        self.state.check(labels, chunks)?;
        self.out.pad_to(SERIES_ALIGN)?;
        let offset = self.out.position();
        let state = &mut self.state;
        state.entry.clear();
        series::encode(labels, chunks, &mut state.scratch, &mut state.entry);
        check_size(offset + state.entry.len() as u64)?;
        self.out.write(&state.entry)?;
        // Below 64 GiB a multiple of 16 has 32 bits in front.
        let reference = (offset / SERIES_ALIGN) as u32;
        state.collector.add(reference, labels)?;
        state.sizes.observe(offset, chunks);
        state.last_labels.clear();
        state.last_labels.extend_from_slice(labels);
        state.last_chunk = chunks.last().map_or(state.last_chunk, |c| c.reference);
        state.series += 1;
        state.chunks += chunks.len() as u64;
        Ok(reference)
    }

    /// Bytes of the file so far.
    pub fn position(&self) -> u64 {
        self.out.position()
    }

    /// Bytes of memory held for the postings and, if it is held, the symbol
    /// table. Finishing takes a little more, see the `collector` module.
    pub fn memory(&self) -> usize {
        let held = self.state.held.as_ref().map_or(0, SymbolBuffer::memory);
        self.state.collector.memory() + held
    }

    /// Writes postings, tables and contents of an index that holds its symbols.
    ///
    /// # Errors
    /// [`Error::Misuse`] when the symbols are not held; as
    /// [`Self::finish_with`].
    pub fn finish(mut self) -> Result<WrittenIndex> {
        let Some(mut held) = self.state.held.take() else {
            let what = "symbols were announced, not held: the index needs a lookup to finish";
            return Err(Error::Misuse(what.to_owned()));
        };
        self.finish_with(&mut held)
    }

    /// Writes postings, tables and contents; `symbols` gives the strings back
    /// that were added.
    ///
    /// # Errors
    /// [`Error::Limit`] when the file exceeds 64 GiB or a table 4 GiB;
    /// whatever the blob or `symbols` returns.
    pub fn finish_with(mut self, symbols: &mut dyn SymbolLookup) -> Result<WrittenIndex> {
        // Nothing reads label indices any more: both of their offsets point to
        // where the next section begins.
        self.toc.label_indices = self.out.position();
        self.toc.postings = self.out.position();
        self.out.pad_to(4)?;
        let start = self.out.position();
        let names = self.write_lists()?;
        self.toc.label_indices_table = self.out.position();
        self.toc.postings_table = self.out.position();
        let all = self.state.collector.all().len() as u32;
        write_offsets(&mut self.out, start, all, &names, symbols)?;
        let mut toc = Vec::with_capacity(Toc::LEN);
        self.toc.encode(&mut toc);
        self.out.write(&toc)?;
        check_size(self.out.position())?;
        Ok(WrittenIndex {
            size: self.out.finish()?,
            symbols: self.state.symbols,
            series: self.state.series,
            chunks: self.state.chunks,
            label_pairs: names.iter().map(|n| n.values.len() as u64).sum(),
            sizes: self.state.sizes,
            toc: self.toc,
        })
    }

    /// Writes all postings lists and returns what the table says about them.
    fn write_lists(&mut self) -> Result<Vec<NameLists>> {
        let out = &mut self.out;
        let mut buf = Vec::with_capacity(PIECE + 8);
        write_list(out, self.state.collector.all(), &mut buf)?;
        let mut groups = Groups::default();
        let mut names = Vec::new();
        for name in self.state.collector.names() {
            self.state.collector.take(name, &mut groups)?;
            let mut values = Vec::new();
            for (value, list) in groups.iter() {
                write_list(out, list, &mut buf)?;
                values.push((value, list.len() as u32));
            }
            check_size(out.position())?;
            names.push(NameLists { name, values });
        }
        Ok(names)
    }
}

impl Series {
    /// The rules of [`IndexWriter::add_series`].
    fn check(&self, labels: &[LabelPair], chunks: &[ChunkMeta]) -> Result<()> {
        let misuse = |what: String| Err(Error::Misuse(format!("series {}: {what}", self.series)));
        if labels.is_empty() {
            return misuse("has no labels".to_owned());
        }
        let mut last_name = None;
        for &(name, value) in labels {
            if name.max(value) >= self.symbols {
                let symbol = name.max(value);
                return misuse(format!("symbol {symbol} of {}", self.symbols));
            }
            if last_name.is_some_and(|last| last >= name) {
                return misuse("labels do not ascend by name".to_owned());
            }
            last_name = Some(name);
        }
        if labels <= self.last_labels.as_slice() {
            return misuse("does not follow the series before by its labels".to_owned());
        }
        let (mut reference, mut end) = (self.last_chunk, None);
        for (i, chunk) in chunks.iter().enumerate() {
            let (min, max) = (chunk.min_time, chunk.max_time);
            if chunk.reference < reference {
                let found = chunk.reference;
                return misuse(format!(
                    "chunk {i} lies at {found:#x}, before {reference:#x}"
                ));
            }
            if end.is_some_and(|end| min <= end) {
                let end = end.unwrap_or_default();
                return misuse(format!(
                    "chunk {i} begins at {min} ms, not after the one before ends at {end} ms"
                ));
            }
            if max < min {
                return misuse(format!("chunk {i} ends at {max} ms, before {min} ms"));
            }
            (reference, end) = (chunk.reference, Some(max));
        }
        Ok(())
    }
}

/// Length, count and the start of the checksum of a symbol table.
fn write_head(out: &mut Append, crc: &mut Crc32c, totals: SymbolTotals) -> Result<()> {
    // `SymbolTotals` does not count past 4 GiB.
    out.write(&(totals.bytes() as u32 + 4).to_be_bytes())?;
    let count = totals.count().to_be_bytes();
    crc.update(&count);
    out.write(&count)
}

fn check_size(size: u64) -> Result<()> {
    if size > MAX_SIZE {
        return Err(Error::Limit(format!(
            "index of {size} bytes would exceed {MAX_SIZE} bytes (64 GiB): compact fewer blocks \
             at once (lower --debug.max-compaction-level)"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_beyond_64_gib_is_refused_with_a_cure() {
        check_size(MAX_SIZE).unwrap();
        let error = check_size(MAX_SIZE + 1).unwrap_err();
        assert!(matches!(error, Error::Limit(_)));
        assert!(error.to_string().contains("--debug.max-compaction-level"));
    }
}
