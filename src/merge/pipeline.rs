//! The three stages of a merge and the threads they run on.
//!
//! ```text
//!  named thread          CPU pool              calling thread
//!  SeriesMerge --batch--> work --batch--> sync_channel --> Sink
//!       ^                                                   |
//!       '------------------- empty batches -----------------'
//! ```
//!
//! The channel holds the places of the batches in order, each a channel of its
//! own that its worker fills; so whatever order the workers finish in, the sink
//! sees the batches as they were made. Its bound is the back-pressure.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use rayon::ThreadPool;

use super::batch::Batch;
use super::ledger::Ledger;
use super::overlap::PieceError;
use super::series::{SeriesMerge, SeriesSource};
use super::sink::{Output, Sink};
use super::source::{Segments, Source};
use super::{MergeError, symbols, worker};
use crate::tsdb::Error;
use crate::tsdb::index::Index;
use crate::tsdb::meta::BlockStats;

/// What a merge needs to know besides its sources.
pub struct MergeOptions {
    /// The cores.
    pub pool: Arc<ThreadPool>,
    /// Range of the result, ms, end exclusive.
    pub range: (i64, i64),
    /// Segments of the result end before this many bytes.
    pub segment_bytes: u32,
}

/// What a merge made.
#[derive(Debug, Clone, Default)]
pub struct Merged {
    /// For `meta.json`.
    pub stats: BlockStats,
    /// The books; they balance, or the merge would have failed.
    pub ledger: Ledger,
    /// Bytes of the index.
    pub index_bytes: u64,
    /// Bytes of each segment.
    pub segment_bytes: Vec<u64>,
    /// Largest series entry as Thanos measures it, bytes.
    pub series_max_size: u64,
    /// Largest chunk as Thanos measures it, bytes.
    pub chunk_max_size: u64,
}

/// A place for a finished batch.
type Slot = Receiver<Result<Batch, (Batch, PieceError)>>;

/// Merges sources, in the order of their ranks, into an index and segments.
///
/// The index is complete when this returns; without any sample there is an
/// empty index and no segment.
///
/// # Errors
/// [`MergeError`] names the source to blame where one is: nothing of the
/// output may then be used.
pub fn merge(
    sources: Vec<Source>,
    options: &MergeOptions,
    output: Output,
) -> Result<Merged, MergeError> {
    let mut indexes = Vec::with_capacity(sources.len());
    let mut rest = Vec::with_capacity(sources.len());
    for (i, source) in sources.into_iter().enumerate() {
        let index = Index::open(source.index).map_err(|e| MergeError::in_source(i, e))?;
        indexes.push(index);
        let range = (source.min_time, source.max_time);
        rest.push((source.open_segment, range, source.tombstones));
    }
    let merged = symbols::merge(indexes)?;
    let mut sink = Sink::new(merged.table, options.segment_bytes, output)?;
    let streams = merged
        .sources
        .into_iter()
        .zip(rest)
        .map(|(mapped, (open, range, tombstones))| {
            let stream = mapped.index.into_series(mapped.refs);
            SeriesSource::new(stream, mapped.map, Segments::new(open), range, tombstones)
        })
        .collect();
    let series = SeriesMerge::new(streams, options.range)?;
    run(series, &options.pool, &mut sink)?;
    finish(sink)
}

fn finish(sink: Sink) -> Result<Merged, MergeError> {
    let merged = sink.finish()?;
    if !merged.ledger.balances() {
        let what = format!("samples do not add up: {:?}", merged.ledger);
        return Err(Error::Misuse(what).into());
    }
    Ok(merged)
}

/// Runs the stages until the sources end or something fails.
fn run(
    mut series: SeriesMerge,
    pool: &ThreadPool,
    sink: &mut Sink,
) -> Result<(), MergeError> {
    // One batch in work per core, and as many again read or waiting.
    let (slots, filled) = sync_channel::<Slot>(2 * pool.current_num_threads());
    let idle = Idle::default();
    std::thread::scope(|scope| {
        let producer = std::thread::Builder::new()
            .name("merge-series".to_owned())
            .spawn_scoped(scope, || produce(&mut series, pool, slots, &idle))
            .map_err(|e| Error::Misuse(format!("cannot start a thread: {e}")))?;
        let consumed = consume(filled, sink, &idle);
        let produced = match producer.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        // Of two errors the consumer's is the earlier one in series order.
        consumed.and(produced)
    })
}

/// Reads series into batches and hands them to the cores.
fn produce(
    series: &mut SeriesMerge,
    pool: &ThreadPool,
    slots: SyncSender<Slot>,
    idle: &Idle,
) -> Result<(), MergeError> {
    loop {
        let mut batch = idle.take();
        series.fill(&mut batch)?;
        if batch.series.is_empty() {
            return Ok(());
        }
        let (done, slot) = sync_channel(1);
        if slots.send(slot).is_err() {
            // The consumer gave up, and has the reason.
            return Ok(());
        }
        pool.spawn(move || {
            let result = worker::work(&mut batch);
            // Nobody waits for it once the consumer gave up.
            let _ = done.send(match result {
                Ok(()) => Ok(batch),
                Err(error) => Err((batch, error)),
            });
        });
    }
}

/// Writes batches in the order in which they were made.
fn consume(filled: Receiver<Slot>, sink: &mut Sink, idle: &Idle) -> Result<(), MergeError> {
    for slot in filled {
        match slot.recv() {
            Ok(Ok(batch)) => {
                sink.write(&batch)?;
                idle.give(batch);
            }
            Ok(Err((batch, error))) => return Err(blame(&batch, error, sink)),
            Err(_) => return Err(Error::Misuse("a worker thread broke off".to_owned()).into()),
        }
    }
    Ok(())
}

/// Batches that wait to be filled again.
#[derive(Default)]
struct Idle(Mutex<Vec<Batch>>);

impl Idle {
    fn take(&self) -> Batch {
        self.lock().pop().unwrap_or_default()
    }

    /// Empties the batch here, so that its windows go back to their readers.
    fn give(&self, mut batch: Batch) {
        batch.clear();
        self.lock().push(batch);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Batch>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Names source, file, offset and series of a chunk that could not be merged.
fn blame(batch: &Batch, error: PieceError, sink: &mut Sink) -> MergeError {
    let Some(input) = batch.inputs.get(error.input as usize) else {
        return error.error.into();
    };
    let series = batch.series.iter().find(|s| s.inputs.contains(&error.input));
    MergeError {
        input: Some(input.source as usize),
        series: series.map(|s| sink.describe(batch.labels_of(s))),
        error: error.error.in_file(&input.file(), input.data_start()),
    }
}
