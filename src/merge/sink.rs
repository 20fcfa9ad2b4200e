//! The end of a merge: segments and index of each block, written front to back.

use super::MergeOptions;
use super::batch::Batch;
use super::ledger::Ledger;
use super::merged::{Merged, MergedBlock};
use super::worker::OutChunk;
use crate::downsample::Counts;
use crate::tsdb::chunkenc::{Encoding, Kind};
use crate::tsdb::chunks::{ChunkInput, ChunkMeta, ChunkWriter};
use crate::tsdb::index::{IndexWriter, LabelPair, Series, SymbolBuffer, SymbolLookup};
use crate::tsdb::meta::BlockStats;
use crate::tsdb::source::BlobWriter;
use crate::tsdb::{Error, Result};

/// Makes the blob of a segment, counted from 0.
pub type CreateSegment = Box<dyn FnMut(u32) -> Result<Box<dyn BlobWriter>> + Send>;

/// Where the result goes.
pub struct Output {
    /// The index.
    pub index: Box<dyn BlobWriter>,
    /// The segments, each made when its first chunk is there.
    pub create_segment: CreateSegment,
}

impl Output {
    /// Counts bytes and forgets them: to measure or to check, nothing is
    /// written anywhere.
    pub fn nowhere() -> Self {
        Self {
            index: Box::new(Nowhere(0)),
            create_segment: Box::new(|_| Ok(Box::new(Nowhere(0)))),
        }
    }
}

struct Nowhere(u64);

impl BlobWriter for Nowhere {
    fn write(&mut self, data: &[u8]) -> Result<()> {
        self.0 += data.len() as u64;
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<u64> {
        Ok(self.0)
    }
}

/// Takes finished batches in series order.
pub(super) struct Sink {
    symbols: SymbolBuffer,
    levels: Vec<Level>,
    ledger: Ledger,
    /// Samples read from each source.
    pub samples_of: Vec<u64>,
}

/// One block that is being written.
struct Level {
    /// Its place in [`Batch::levels`].
    number: usize,
    /// Window of its samples in ms, 0 for raw.
    resolution: i64,
    index: IndexWriter<Series>,
    chunks: ChunkWriter,
    stats: BlockStats,
    counts: Counts,
    /// Chunks of the series that is being written.
    metas: Vec<ChunkMeta>,
}

impl Sink {
    /// Writes the symbols and is ready for series. Every block gets all symbols,
    /// as upstream keeps those of series without a chunk.
    pub fn new(
        mut symbols: SymbolBuffer,
        options: &MergeOptions,
        outputs: Vec<Output>,
    ) -> Result<Self> {
        let (blocks, ways) = (options.products.count(), outputs.len());
        if blocks != ways {
            let what = format!("{ways} outputs for {blocks} blocks");
            return Err(Error::Misuse(what));
        }
        let levels = options.products.levels().zip(outputs);
        let levels = levels.map(|((number, resolution), output)| {
            let mut index = IndexWriter::with_totals(output.index, symbols.totals())?;
            for ordinal in 0..symbols.totals().count() {
                index.add_symbol(symbols.symbol(ordinal)?)?;
            }
            Ok(Level {
                number,
                resolution,
                index: index.into_series_with(options.memory.postings.clone())?,
                chunks: ChunkWriter::new(options.segment_bytes, output.create_segment),
                stats: BlockStats::default(),
                counts: Counts::default(),
                metas: Vec::new(),
            })
        });
        Ok(Self {
            levels: levels.collect::<Result<_>>()?,
            symbols,
            ledger: Ledger::default(),
            samples_of: Vec::new(),
        })
    }

    /// Writes the series of a batch. One without chunks is left out.
    pub fn write(&mut self, batch: &Batch) -> Result<()> {
        for level in &mut self.levels {
            level.write(batch)?;
        }
        self.ledger += batch.ledger;
        self.samples_of.resize(batch.samples_of.len(), 0);
        for (sum, samples) in self.samples_of.iter_mut().zip(&batch.samples_of) {
            *sum += samples;
        }
        Ok(())
    }

    /// A label set for a message.
    pub fn describe(&mut self, labels: &[LabelPair]) -> String {
        let mut string = |symbol| {
            let bytes = self.symbols.symbol(symbol).unwrap_or(b"?");
            String::from_utf8_lossy(bytes).into_owned()
        };
        let pairs: Vec<String> = labels
            .iter()
            .map(|&(name, value)| format!("{}={:?}", string(name), string(value)))
            .collect();
        format!("{{{}}}", pairs.join(", "))
    }

    /// Ends the blocks, one after the other.
    pub fn finish(mut self) -> Result<Merged> {
        let mut blocks = Vec::with_capacity(self.levels.len());
        for level in self.levels {
            blocks.push(level.finish(&mut self.symbols)?);
        }
        Ok(Merged {
            ledger: self.ledger,
            series_seen: 0,
            blocks,
        })
    }
}

impl Level {
    fn write(&mut self, batch: &Batch) -> Result<()> {
        let Some(level) = batch.levels.get(self.number) else {
            return Ok(());
        };
        let mut start = 0;
        for (series, &end) in batch.series.iter().zip(&level.ends) {
            let chunks = &level.chunks[start..end as usize];
            start = end as usize;
            if !chunks.is_empty() {
                self.write_series(batch, batch.labels_of(series), chunks)?;
            }
        }
        self.counts += level.counts;
        Ok(())
    }

    fn write_series(
        &mut self,
        batch: &Batch,
        labels: &[LabelPair],
        chunks: &[OutChunk],
    ) -> Result<()> {
        self.metas.clear();
        self.chunks.start_series();
        for chunk in chunks {
            let framed = batch.framed_bytes(chunk.data);
            let reference = self.chunks.append(ChunkInput::Framed(framed))?;
            self.metas.push(ChunkMeta {
                min_time: chunk.min_time,
                max_time: chunk.max_time,
                reference: reference.into(),
            });
            count(&mut self.stats, chunk.encoding, u64::from(chunk.samples));
        }
        self.stats.num_series += 1;
        self.index.add_series(labels, &self.metas)?;
        Ok(())
    }

    /// Ends the last segment, which may wait for a disk or a network, and
    /// meanwhile the index, which takes a core.
    fn finish(self, symbols: &mut SymbolBuffer) -> Result<MergedBlock> {
        let symbol_bytes = symbols.totals().bytes();
        let (chunks, index) = (self.chunks, self.index);
        let (segments, index) = std::thread::scope(|scope| {
            let segments = std::thread::Builder::new()
                .name("merge-segment".to_owned())
                .spawn_scoped(scope, || chunks.finish())
                .map_err(|e| Error::Misuse(format!("cannot start a thread: {e}")))?;
            let index = index.finish_with(symbols);
            let broken = |_| Err(Error::Misuse("the end of a segment panicked".to_owned()));
            Ok::<_, Error>((segments.join().unwrap_or_else(broken)?, index?))
        })?;
        if index.series != self.stats.num_series {
            let (has, written) = (index.series, self.stats.num_series);
            let what = format!("index has {has} series where {written} were written");
            return Err(Error::Misuse(what));
        }
        Ok(MergedBlock {
            resolution: self.resolution,
            stats: self.stats,
            counts: (self.number > 0).then_some(self.counts),
            index_bytes: index.size,
            symbol_bytes,
            segment_bytes: segments.iter().map(|s| s.size).collect(),
            series_max_size: index.sizes.series_max_size,
            chunk_max_size: index.sizes.chunk_max_size,
        })
    }
}

fn count(stats: &mut BlockStats, encoding: Encoding, samples: u64) {
    stats.num_chunks += 1;
    stats.num_samples += samples;
    match encoding.kind() {
        Some(Kind::Float) => stats.num_float_samples += samples,
        Some(Kind::Histogram | Kind::FloatHistogram) => stats.num_histogram_samples += samples,
        // Aggregates count as samples of neither kind, as upstream.
        None => {}
    }
}
