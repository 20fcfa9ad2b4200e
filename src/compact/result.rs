//! The `meta.json` of each block that a job made.

use serde_json::{Map, Value};
use ulid::Ulid;

use crate::block::meta::{Downsample, File, IndexStats, Meta, Thanos};
use crate::block::{INDEX, META, segment};
use crate::merge::{Merged, MergedBlock};
use crate::plan::Job;
use crate::tsdb::meta::BlockMeta;

/// Who Thanos believes made the block; its planners know this name.
const SOURCE: &str = "compactor";

/// Metas of all blocks that a job made, named `ids` in their order, ready to be
/// uploaded at `now_ms` (ms since the epoch).
///
/// A block of lower resolution takes over what the one of its sources, or the
/// merged one, says of itself, as upstream: level, sources, parents, counts of
/// raw samples; only what lies in it is its own.
///
/// `None` for a job without sources, which the planner does not make.
pub(super) fn metas(ids: &[Ulid], job: &Job, merged: &Merged, now_ms: i64) -> Option<Vec<Meta>> {
    let stream = stream_meta(*ids.first()?, job, merged)?;
    let made = ids.iter().zip(&merged.blocks);
    let metas = made.map(|(&id, block)| {
        let mut meta = stream.clone();
        meta.tsdb.ulid = id;
        if block.counts.is_some() {
            let stats = &mut meta.tsdb.stats;
            stats.num_series = block.stats.num_series;
            stats.num_chunks = block.stats.num_chunks;
            stats.num_samples = block.stats.num_samples;
        }
        meta.thanos.downsample.resolution = block.resolution;
        describe(&mut meta.thanos, block);
        meta.thanos.upload_time = rfc3339(now_ms);
        meta
    });
    Some(metas.collect())
}

/// What a job's blocks have in common: that of the only source where it stays,
/// else that of a merged block.
fn stream_meta(id: Ulid, job: &Job, merged: &Merged) -> Option<Meta> {
    if let ([source], true) = (job.sources.as_slice(), job.only_downsamples()) {
        let mut meta = source.view.meta.as_ref().clone();
        meta.thanos.labels = job.labels.clone();
        SOURCE.clone_into(&mut meta.thanos.source);
        return Some(meta);
    }
    let inputs: Vec<&BlockMeta> = job.sources.iter().map(|b| &b.view.meta.tsdb).collect();
    let mut tsdb = BlockMeta::compacted(id, &inputs)?;
    if let Some(block) = merged.blocks.iter().find(|b| b.counts.is_none()) {
        tsdb.stats = block.stats.clone();
    }
    // As if every step of the chain had been done on its own.
    tsdb.compaction.level = job.level;
    Some(Meta {
        tsdb,
        thanos: Thanos {
            labels: job.labels.clone(),
            downsample: Downsample {
                resolution: job.resolution,
                ..Downsample::default()
            },
            source: SOURCE.to_owned(),
            extensions: common_extensions(job),
            ..Thanos::default()
        },
        unknown: Map::new(),
    })
}

/// Lists the files of a block and their largest entries.
fn describe(thanos: &mut Thanos, block: &MergedBlock) {
    let segments = || {
        (0..)
            .zip(&block.segment_bytes)
            .map(|(i, &n)| (segment(i), n))
    };
    thanos.segment_files = segments()
        .map(|(path, _)| path.trim_start_matches("chunks/").to_owned())
        .collect();
    thanos.files = segments().map(|(path, bytes)| file(&path, bytes)).collect();
    thanos.files.push(file(INDEX, block.index_bytes));
    // Listed without a size: it would have to state its own.
    thanos.files.push(file(META, 0));
    thanos.index_stats = IndexStats {
        series_max_size: block.series_max_size,
        chunk_max_size: block.chunk_max_size,
        ..IndexStats::default()
    };
}

fn file(path: &str, size_bytes: u64) -> File {
    File {
        rel_path: path.to_owned(),
        size_bytes,
        hash: None,
    }
}

/// The keys that every source with extensions has, with the first one's values.
fn common_extensions(job: &Job) -> Option<Value> {
    let mut maps = job
        .sources
        .iter()
        .filter_map(|b| b.view.meta.thanos.extensions.as_ref()?.as_object());
    let mut common = maps.next()?.clone();
    for other in maps {
        common.retain(|key, _| other.contains_key(key));
    }
    Some(Value::Object(common))
}

fn rfc3339(ms: i64) -> String {
    chrono::DateTime::from_timestamp_millis(ms).map_or_else(crate::block::meta::zero_time, |t| {
        t.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true)
    })
}
