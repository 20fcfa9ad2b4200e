//! One job, from its sources to the marks on them: a compaction, with lower
//! resolutions of its result if they are due, or a downsampling alone.
//!
//! ```text
//!  open sources -> merge ----> segments of each block (multipart, while merging)
//!                       `----> their indexes in scratch -> check | upload
//!        sources still there? -> meta.json of each, raw first -> all there? -> marks
//! ```
//!
//! Whatever fails before `meta.json`, what was uploaded is removed again and
//! no source is marked.

use std::path::PathBuf;
use std::sync::Arc;

use futures::StreamExt;
use rayon::ThreadPool;
use ulid::Ulid;

use super::budget::Budget;
use super::check;
use super::intents;
use super::lease::Lease;
use super::look::{self, Known};
use super::mark;
use super::report::{JobReport, ResultReport, Stages};
use super::result;
use super::scratch::ScratchDir;
use crate::block::io::{Place, open_source};
use crate::block::meta::Meta;
use crate::block::{self, INDEX, META, path, segment};
use crate::error::{Error, Kind, Result};
use crate::merge::{MergeFn, MergeMemory, MergeOptions, Merged, Output, Source};
use crate::objstore::{Bucket, UploadSettings};
use crate::plan::filter::LiveBlock;
use crate::plan::{self, Job};
use crate::runtime::clock::{Clock, StopWatch};
use crate::tsdb;
use crate::tsdb::chunks::DEFAULT_SEGMENT_SIZE;
use crate::tsdb::meta::BlockStats;
use crate::tsdb::spill::Room;

/// What jobs share.
#[derive(Clone)]
pub struct JobContext {
    /// The bucket.
    pub bucket: Bucket,
    /// Time and block names.
    pub clock: Arc<dyn Clock>,
    /// The cores.
    pub pool: Arc<ThreadPool>,
    /// Folder for output indexes.
    pub scratch: PathBuf,
    /// What jobs may take together.
    pub(super) budget: Budget,
    /// How sources become one block.
    pub merge: MergeFn,
    /// Blocks that are no surprise.
    pub(super) known: Known,
    /// Who may change the bucket.
    pub(super) lease: Lease,
}

/// Runs one job.
///
/// # Errors
/// Names the block to blame where there is one. No source is marked then,
/// unless it was the marking that failed.
pub async fn run(context: &JobContext, job: &Job) -> Result<JobReport> {
    let wait = StopWatch::start();
    let (_grant, job) = context.budget.admit(job).await?;
    let job = job.as_ref();
    let waited = wait.elapsed().as_secs_f64();
    let watch = StopWatch::start();
    let ids: Vec<Ulid> = (0..job.products.count())
        .map(|_| context.clock.new_ulid())
        .collect();
    context.known.add(ids.iter().copied());
    let id = ids.first().copied().unwrap_or_default();
    tracing::info!(
        job = %id, group = %job.group, kind = %job.kind, reason = %job.reason,
        products = products(job), sources = job.sources.len(), bytes = job.input_bytes(),
        "{} started", name(job)
    );
    intents::declare(context, &ids).await?;
    let mut made = match make(context, job, &ids).await {
        Ok(made) => made,
        Err(error) => {
            take_back(context, &ids).await;
            return Err(error);
        }
    };
    // Complete, or nothing of them was made: nobody has to clean up.
    intents::done(context, &ids).await;
    made.stages.wait = waited;
    let replaced = replaced(job, &made);
    let marks = StopWatch::start();
    mark_sources(context, id, &replaced).await?;
    made.stages.marks = marks.elapsed().as_secs_f64();
    let mut report = report(job, made, watch.elapsed().as_secs_f64());
    report.replaced = replaced.iter().map(|block| block.id()).collect();
    tracing::info!(
        job = %id, group = %job.group, products = products(job), sources = job.sources.len(),
        series = report.series, bytes_in = report.bytes_in, bytes_out = report.bytes_out,
        seconds = report.seconds, ledger = %report.ledger, "{} done", name(job)
    );
    Ok(report)
}

fn name(job: &Job) -> &'static str {
    if job.only_downsamples() {
        "downsampling"
    } else {
        "compaction"
    }
}

/// For people: `raw+5m+1h`.
fn products(job: &Job) -> String {
    let names = job.products.resolutions().map(plan::resolution_name);
    names.collect::<Vec<_>>().join("+")
}

/// Sources that the results stand in for.
fn replaced<'a>(job: &'a Job, made: &Made) -> Vec<&'a LiveBlock> {
    if job.only_downsamples() {
        return Vec::new();
    }
    let sources = job.sources.iter();
    if made.metas.is_empty() {
        // Nothing was left of any of them; those that say they have samples
        // stay, as upstream leaves them, for a person to look at.
        sources
            .filter(|b| b.view.meta.tsdb.stats.num_samples == 0)
            .collect()
    } else {
        sources.collect()
    }
}

/// Marks what the new block `id` stands in for.
async fn mark_sources(context: &JobContext, id: Ulid, sources: &[&LiveBlock]) -> Result<()> {
    /// Marks at the same time.
    const AT_ONCE: usize = 8;
    let marks = sources.iter().map(|source| {
        let details = "source of compacted block";
        mark::for_deletion(context, source.id(), details)
    });
    let marks: Vec<_> = marks.collect();
    let mut running = futures::stream::iter(marks).buffer_unordered(AT_ONCE);
    let mut failed = None;
    while let Some(result) = running.next().await {
        // The others are marked all the same.
        if let Err(error) = result {
            failed.get_or_insert(error);
        }
    }
    match failed {
        None => Ok(()),
        Some(error) => Err(error.context(format!(
            "block {id} is complete, but its sources could not all be marked; \
             the next run marks the rest"
        ))),
    }
}

/// What a job has put into the bucket.
struct Made {
    merged: Merged,
    /// One for each product; none if no sample was left for a block.
    metas: Vec<Meta>,
    /// Bytes written to scratch.
    scratch_bytes: u64,
    stages: Stages,
}

fn report(job: &Job, made: Made, seconds: f64) -> JobReport {
    let results: Vec<ResultReport> = made
        .metas
        .iter()
        .zip(&made.merged.blocks)
        .map(|(meta, block)| ResultReport {
            block: meta.id(),
            resolution: block.resolution,
            bytes: meta.stated_bytes(),
            index_bytes: block.index_bytes,
            series: block.stats.num_series,
            chunks: block.stats.num_chunks,
            samples: block.stats.num_samples,
            counts: block.counts,
        })
        .collect();
    JobReport {
        group: job.group,
        labels: job.labels.clone(),
        resolution: job.resolution,
        kind: job.kind,
        reason: job.reason,
        sources: job.sources.iter().map(LiveBlock::id).collect(),
        result: results.first().map(|r| r.block),
        range: (job.min_time(), job.max_time()),
        bytes_in: job.input_bytes(),
        bytes_out: results.iter().map(|r| r.bytes).sum(),
        scratch_bytes: made.scratch_bytes,
        series: made.merged.ledger.series_written,
        ledger: made.merged.ledger,
        results,
        replaced: Vec::new(),
        stages: made.stages,
        seconds,
    }
}

/// File in scratch of the index of a product.
fn index_file(number: usize) -> String {
    format!("{INDEX}-{number}")
}

/// Merges, checks and uploads; the `meta.json` files are the last thing it
/// writes.
async fn make(context: &JobContext, job: &Job, ids: &[Ulid]) -> Result<Made> {
    let space = context.budget.space();
    let folder = ids.first().copied().unwrap_or_default().to_string();
    let scratch = ScratchDir::create(&context.scratch, &folder, space)?;
    let uploads = with_share(&context.bucket, job);
    let mut stages = Stages::default();
    let watch = StopWatch::start();
    let merged = merge_on_a_thread(context, job, ids, (uploads.clone(), &scratch)).await?;
    stages.merge = watch.elapsed().as_secs_f64();
    check::books(&merged)?;
    // A downsampled block is made even if it is empty, so that nobody tries again.
    if merged.ledger.series_written == 0 && !job.only_downsamples() {
        return Ok(Made {
            merged,
            metas: Vec::new(),
            scratch_bytes: scratch.used(),
            stages,
        });
    }
    let watch = StopWatch::start();
    for (number, (&id, block)) in ids.iter().zip(&merged.blocks).enumerate() {
        let file = scratch.file(&index_file(number));
        let range = (job.min_time(), job.max_time());
        finish_index(&uploads, id, file, (&block.stats, range)).await?;
    }
    drop(uploads);
    stages.index = watch.elapsed().as_secs_f64();
    let metas = result::metas(ids, job, &merged, context.clock.now_ms())
        .ok_or_else(|| Error::new(Kind::Internal, "a job without sources"))?;
    let watch = StopWatch::start();
    look::still_wanted(&context.bucket, job, &context.known).await?;
    stages.look = watch.elapsed().as_secs_f64();
    let watch = StopWatch::start();
    publish(context, &metas).await?;
    stages.verify = watch.elapsed().as_secs_f64();
    Ok(Made {
        merged,
        metas,
        scratch_bytes: scratch.used(),
        stages,
    })
}

/// Makes blocks visible, and sees that all of them is there.
async fn publish(context: &JobContext, metas: &[Meta]) -> Result<()> {
    let bucket = &context.bucket;
    for meta in metas {
        let json = meta
            .to_json()
            .map_err(|e| Error::new(Kind::Internal, "cannot write meta.json").with_source(e))?;
        let name = path(meta.id(), META);
        context.lease.within(bucket.put(&name, json)).await?;
    }
    for meta in metas {
        all_there(bucket, meta).await?;
    }
    Ok(())
}

/// Checks the index of a block and uploads it.
async fn finish_index(
    uploads: &Bucket,
    id: Ulid,
    file: PathBuf,
    (stats, range): (&BlockStats, (i64, i64)),
) -> Result<()> {
    let (checked, expected) = (file.clone(), stats.clone());
    let check = on_a_thread("check-index", move || {
        check::index(&checked, &expected, range)
    });
    // Nobody sees the index before meta.json is there: it may go up meanwhile.
    let name = path(id, INDEX);
    let upload = uploads.upload_file(&file, &name);
    // Both to their end: an upload that goes on would escape the removal.
    let (checked, uploaded) = futures::join!(check, upload);
    checked?;
    uploaded?;
    Ok(())
}

/// Runs the merge on a thread of its own: it waits for the bucket and for the
/// cores, and must do neither on an IO thread.
async fn merge_on_a_thread(
    context: &JobContext,
    job: &Job,
    ids: &[Ulid],
    (bucket, scratch): (Bucket, &ScratchDir),
) -> Result<Merged> {
    let (sources, sources_ids) = open_sources(&context.bucket, job).await?;
    let options = MergeOptions {
        pool: Arc::clone(&context.pool),
        range: (job.min_time(), job.max_time()),
        dedup: job.dedup,
        products: job.products,
        one_in: 1,
        segment_bytes: DEFAULT_SEGMENT_SIZE,
        memory: merge_memory(job, scratch),
    };
    let mut outputs = Vec::with_capacity(ids.len());
    for (number, &id) in ids.iter().enumerate() {
        outputs.push(output(id, &index_file(number), bucket.clone(), scratch)?);
    }
    let merge = context.merge;
    on_a_thread("merge", move || {
        merge(sources, &options, outputs).map_err(|e| block::of_merge(e, &sources_ids))
    })
    .await
}

/// Where block `id` goes: its segments to the bucket, its index to scratch.
fn output(id: Ulid, index: &str, bucket: Bucket, scratch: &ScratchDir) -> Result<Output> {
    Ok(Output {
        index: scratch.writer(index)?,
        create_segment: Box::new(move |seq| {
            let name = path(id, &segment(seq));
            bucket.create(&name).map_err(|source| tsdb::Error::Write {
                file: name,
                source: Box::new(source),
            })
        }),
    })
}

/// The bucket, for uploads that keep to the job's share of the memory.
fn with_share(bucket: &Bucket, job: &Job) -> Bucket {
    let shares = &job.cost.memory;
    bucket.clone().with_upload(UploadSettings {
        part_size: shares.part as usize,
        parts_in_flight: shares.parts_in_flight as usize,
        ..bucket.upload_settings()
    })
}

/// One part of the tables' share for symbols, one for the postings of each
/// block.
fn merge_memory(job: &Job, scratch: &ScratchDir) -> MergeMemory {
    let shares = &job.cost.memory;
    let parts = 1 + job.products.count() as u64;
    let room = || Room::limited(shares.tables / parts, Arc::new(scratch.clone()));
    MergeMemory {
        batch_bytes: shares.batch as usize,
        symbols: room(),
        postings: room(),
    }
}

/// Opens the sources in the order of their ranks: by external labels as
/// uploaded, then min time, then ULID. Blocks that were deduplicated already
/// have fewer labels and come before replicas.
pub(super) async fn open_sources(bucket: &Bucket, job: &Job) -> Result<(Vec<Source>, Vec<Ulid>)> {
    let mut ranked: Vec<(&LiveBlock, &plan::Place)> = job.sources.iter().zip(&job.places).collect();
    ranked.sort_by_key(|(b, _)| (&b.view.meta.thanos.labels, b.min_time(), b.id()));
    let mut sources = Vec::with_capacity(ranked.len());
    let mut replica = 0;
    let mut before = None;
    for (block, place) in &ranked {
        // Blocks with equal labels are of one replica, and stand together.
        let labels = &block.view.meta.thanos.labels;
        replica += u32::from(before.is_some_and(|before| before != labels));
        before = Some(labels);
        let place = Place {
            keep: place.keep,
            run: place.run,
            replica,
        };
        let view = block.view.clone();
        let sizes = move |file: &str| view.file_size(file);
        let meta = &block.view.meta.tsdb;
        let memory = (ranked.len(), job.cost.memory.read_ahead);
        let mut source = open_source(bucket, meta, sizes, memory, place).await?;
        source.stated = block.view.meta.stated();
        sources.push(source);
    }
    Ok((sources, ranked.iter().map(|(b, _)| b.id()).collect()))
}

/// Runs blocking work on a named thread and waits for it without blocking.
pub(super) async fn on_a_thread<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let (done, result) = tokio::sync::oneshot::channel();
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || {
            // Nobody listens any more if the run was cancelled.
            let _ = done.send(work());
        })
        .map_err(|e| Error::new(Kind::Retry, "cannot start a thread").with_source(e))?;
    result
        .await
        .map_err(|_| Error::new(Kind::Internal, format!("thread {name} broke off")))?
}

/// Compares what the bucket lists with what `meta.json` says.
async fn all_there(bucket: &Bucket, meta: &Meta) -> Result<()> {
    let id = meta.id();
    let listed = bucket.list(&id.to_string()).await?;
    for file in meta.thanos.files.iter().filter(|f| f.size_bytes > 0) {
        let name = path(id, &file.rel_path);
        let size = listed.iter().find(|o| o.name == name).map(|o| o.size);
        if size != Some(file.size_bytes) {
            let what = format!(
                "{name} has {size:?} bytes in the bucket where {} were uploaded",
                file.size_bytes
            );
            return Err(Error::new(Kind::Retry, what)
                .with_cure("nothing was marked; check the store, then run again"));
        }
    }
    Ok(())
}

/// Removes what a failed job uploaded, `meta.json` first, so that no reader
/// ever sees half a block. What cannot be removed is left for the next run; so is
/// all of it once the lease is lost, when somebody else may rely on it.
async fn take_back(context: &JobContext, ids: &[Ulid]) {
    // Uploads of writers that were dropped are aborted in the background.
    context.bucket.settle().await;
    let mut left = false;
    for &id in ids {
        if let Err(error) = remove_partial(context, id).await {
            left = true;
            let error = error.chain();
            tracing::warn!(block = %id, error, "cannot remove what a failed compaction uploaded");
        }
    }
    if !left {
        intents::done(context, ids).await;
    }
}

async fn remove_partial(context: &JobContext, id: Ulid) -> Result<()> {
    let bucket = &context.bucket;
    let meta = path(id, META);
    context.lease.within(bucket.delete(&meta)).await?;
    let rest = look::object_names(bucket, id).await?;
    context.lease.within(bucket.delete_many(&rest, 8)).await
}
