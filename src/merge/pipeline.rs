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

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use rayon::ThreadPool;

use super::MergeError;
use super::batch::{Batch, Limits};
use super::merged::Merged;
use super::overlap::PieceError;
use super::products::Products;
use super::series::{Place, SeriesMerge, SeriesSource, SourceError};
use super::sink::{Output, Sink};
use super::source::{Segments, Source};
use super::stated::{self, Counted};
use super::symbols;
use super::worker::{self, Work};
use crate::tsdb::Error;
use crate::tsdb::index::Index;
use crate::tsdb::spill::Room;

/// How samples of several sources become one series.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Dedup {
    /// Every timestamp of every source once; ties to the lower rank.
    #[default]
    OneToOne,
    /// One replica at a time, as a Thanos querier follows them: another one
    /// only where the one followed has a gap of more than about two scrapes.
    Penalty,
}

impl fmt::Display for Dedup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OneToOne => "one-to-one",
            Self::Penalty => "penalty",
        })
    }
}

/// What a merge needs to know besides its sources.
pub struct MergeOptions {
    /// The cores. The merge must not be called on one of its threads.
    pub pool: Arc<ThreadPool>,
    /// Range of the result, ms, end exclusive.
    pub range: (i64, i64),
    /// How samples of several sources become one series.
    pub dedup: Dedup,
    /// Which blocks are made.
    pub products: Products,
    /// Only one in so many series is looked at, to measure what a merge would
    /// make; 1 for a merge.
    pub one_in: u32,
    /// Segments of the result end before this many bytes.
    pub segment_bytes: u32,
    /// How much memory it may take.
    pub memory: MergeMemory,
}

/// How much a merge holds in memory.
#[derive(Debug, Clone)]
pub struct MergeMemory {
    /// Chunks of one batch, bytes; larger ones than the default gain nothing.
    pub batch_bytes: usize,
    /// For the merged symbol table and the map of each source into it.
    pub symbols: Room,
    /// For the postings of each result until its index is finished.
    pub postings: Room,
}

impl Default for MergeMemory {
    /// All tables in memory.
    fn default() -> Self {
        Self {
            batch_bytes: Limits::default().bytes,
            symbols: Room::unlimited(),
            postings: Room::unlimited(),
        }
    }
}

/// [`merge`], or what a test puts in its place.
pub type MergeFn = fn(Vec<Source>, &MergeOptions, Vec<Output>) -> Result<Merged, MergeError>;

/// What else a merge can be told; tests do.
#[derive(Clone, Copy)]
pub(super) struct Tuning {
    /// When batches are handed on.
    pub limits: Limits,
    /// What is done with each.
    pub work: Work,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            work: worker::work,
        }
    }
}

/// Merges sources, in the order of their ranks, into an index and segments for
/// each product, in the order of [`Products::resolutions`].
///
/// The indexes are complete when this returns; without any sample there is an
/// empty index and no segment.
///
/// # Errors
/// [`MergeError`] names the source to blame where one is: nothing of the
/// output may then be used.
pub fn merge(
    sources: Vec<Source>,
    options: &MergeOptions,
    outputs: Vec<Output>,
) -> Result<Merged, MergeError> {
    merge_with(sources, options, outputs, Tuning::default())
}

/// The same with other tuning.
pub(super) fn merge_with(
    sources: Vec<Source>,
    options: &MergeOptions,
    outputs: Vec<Output>,
    tuning: Tuning,
) -> Result<Merged, MergeError> {
    if options.pool.current_thread_index().is_some() {
        // It would wait for work that waits for this thread.
        let what = "a merge was started on a thread of the pool it uses";
        return Err(Error::Misuse(what.to_owned()).into());
    }
    if let Some(what) = options.products.mistake() {
        return Err(Error::Misuse(what.to_owned()).into());
    }
    let mut indexes = Vec::with_capacity(sources.len());
    let mut names = Vec::with_capacity(sources.len());
    let mut rest = Vec::with_capacity(sources.len());
    let mut stated = Vec::with_capacity(sources.len());
    for (i, source) in sources.into_iter().enumerate() {
        let index = Index::open(source.index).map_err(|e| MergeError::in_source(i, e))?;
        indexes.push(index);
        names.push(source.name);
        stated.push(source.stated);
        let range = (source.min_time, source.max_time);
        let place = Place {
            keep: source.keep,
            run: source.run,
            replica: source.replica,
        };
        let segments = Segments::new(source.open_segment);
        rest.push((segments, range, source.tombstones, place));
    }
    let memory = &options.memory;
    let mut tuning = tuning;
    tuning.limits.bytes = tuning.limits.bytes.min(memory.batch_bytes);
    let merged = symbols::merge(indexes, &memory.symbols)?;
    let mut sink = Sink::new(merged.table, options, outputs)?;
    let streams = merged
        .sources
        .into_iter()
        .zip(rest)
        .map(|(mapped, (segments, range, tombstones, place))| {
            let stream = mapped.index.into_series(mapped.refs);
            SeriesSource::new(stream, mapped.map, segments, range, tombstones, place)
        })
        .collect();
    let counted = SeriesMerge::new(streams, options.range)
        .map_err(Failure::Source)
        .and_then(|series| run(series.one_in(options.one_in), options, &mut sink, tuning))
        .map_err(|failure| failure.explain(&names, &mut sink))?;
    let samples = (options.one_in <= 1).then_some(sink.samples_of.as_slice());
    stated::check(&stated, &names, &counted, samples)?;
    finish(sink, counted.seen)
}

fn finish(sink: Sink, series_seen: u64) -> Result<Merged, MergeError> {
    let mut merged = sink.finish()?;
    merged.series_seen = series_seen;
    match merged.imbalance() {
        Some(what) => Err(Error::Misuse(format!("the books do not balance: {what}")).into()),
        None => Ok(merged),
    }
}

/// Why the stages ended early.
enum Failure {
    /// A source could not be read.
    Source(SourceError),
    /// A chunk could not be merged.
    Piece(Box<Batch>, PieceError),
    /// The output could not be written, or a rule of ours was broken.
    Other(Error),
}

impl Failure {
    /// Something of ours panicked; its message went to the panic hook.
    fn broken(what: &str) -> Self {
        Self::Other(Error::Misuse(format!("{what} panicked")))
    }

    /// Names source, file, offset and series, as far as they are known.
    fn explain(self, names: &[String], sink: &mut Sink) -> MergeError {
        match self {
            Self::Other(error) => error.into(),
            Self::Source(SourceError {
                source,
                labels,
                error,
            }) => MergeError {
                input: Some(source),
                series: (!labels.is_empty()).then(|| sink.describe(&labels)),
                error,
            },
            Self::Piece(batch, PieceError { input, error }) => {
                let Some(chunk) = batch.inputs.get(input as usize) else {
                    return error.into();
                };
                let source = chunk.source as usize;
                let name = names.get(source).map_or("", String::as_str);
                let series = batch.series.iter().find(|s| s.inputs.contains(&input));
                // A rule of ours that was broken says nothing about the source.
                let ours = matches!(error, Error::Misuse(_));
                MergeError {
                    input: (!ours).then_some(source),
                    series: series.map(|s| sink.describe(batch.labels_of(s))),
                    error: chunk.locate(error, name),
                }
            }
        }
    }
}

/// A place for a finished batch.
type Slot = Receiver<Result<Batch, Failure>>;

/// Runs the stages until the sources end or something fails. Returns what the
/// sources had.
fn run(
    mut series: SeriesMerge,
    options: &MergeOptions,
    sink: &mut Sink,
    tuning: Tuning,
) -> Result<Counted, Failure> {
    // One batch in work per core, and as many again read or waiting.
    let (slots, filled) = sync_channel::<Slot>(2 * options.pool.current_num_threads());
    let idle = Idle::default();
    let ended: Result<(), Failure> = std::thread::scope(|scope| {
        let producer = std::thread::Builder::new()
            .name("merge-series".to_owned())
            .spawn_scoped(scope, || {
                produce(&mut series, options, slots, &idle, tuning)
            })
            .map_err(|e| Failure::Other(Error::Misuse(format!("cannot start a thread: {e}"))))?;
        let consumed = consume(filled, sink, &idle);
        let produced = producer
            .join()
            .unwrap_or_else(|_| Err(Failure::broken("the thread that reads the sources")));
        // Of two errors the consumer's is the earlier one in series order: it lies
        // in a batch that was handed on before the producer failed.
        consumed.and(produced)
    });
    ended.map(|()| Counted {
        seen: series.seen(),
        read: series.read(),
    })
}

/// Reads series into batches and hands them to the cores.
#[expect(
    clippy::needless_pass_by_value,
    reason = "dropping `slots` is what tells the consumer that this was all"
)]
fn produce(
    series: &mut SeriesMerge,
    options: &MergeOptions,
    slots: SyncSender<Slot>,
    idle: &Idle,
    tuning: Tuning,
) -> Result<(), Failure> {
    loop {
        let mut batch = idle.take();
        batch.dedup = options.dedup;
        batch.products = Some(options.products);
        series
            .fill(&mut batch, tuning.limits)
            .map_err(Failure::Source)?;
        if batch.series.is_empty() {
            return Ok(());
        }
        let (done, slot) = sync_channel(1);
        if slots.send(slot).is_err() {
            // The consumer gave up, and has the reason.
            return Ok(());
        }
        options.pool.spawn(move || {
            // Nobody waits for it once the consumer gave up.
            let _ = done.send(work_on(batch, tuning.work));
        });
    }
}

/// Works on a batch. A panic is an error here: in a pool without a handler it
/// would end the process.
fn work_on(mut batch: Batch, work: Work) -> Result<Batch, Failure> {
    match catch_unwind(AssertUnwindSafe(|| work(&mut batch))) {
        Ok(Ok(())) => Ok(batch),
        Ok(Err(error)) => Err(Failure::Piece(Box::new(batch), error)),
        Err(_) => Err(Failure::broken("work on a batch of series")),
    }
}

/// Writes batches in the order in which they were made.
fn consume(filled: Receiver<Slot>, sink: &mut Sink, idle: &Idle) -> Result<(), Failure> {
    for slot in filled {
        let gone = |_| Err(Failure::broken("a thread of the pool"));
        let batch = slot.recv().unwrap_or_else(gone)?;
        sink.write(&batch).map_err(Failure::Other)?;
        idle.give(batch);
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
