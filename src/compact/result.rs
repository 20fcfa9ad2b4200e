//! The `meta.json` of a block that a job made.

use serde_json::{Map, Value};
use ulid::Ulid;

use crate::block::meta::{Downsample, File, IndexStats, Meta, Thanos};
use crate::block::{INDEX, META, segment};
use crate::merge::Merged;
use crate::plan::Job;
use crate::tsdb::meta::BlockMeta;

/// Who Thanos believes made the block; its planners know this name.
const SOURCE: &str = "compactor";

/// Meta of the result, ready to be uploaded at `now_ms` (ms since the epoch).
///
/// `None` for a job without sources, which the planner does not make.
pub(super) fn meta(id: Ulid, job: &Job, merged: &Merged, now_ms: i64) -> Option<Meta> {
    let inputs: Vec<&BlockMeta> = job.sources.iter().map(|b| &b.view.meta.tsdb).collect();
    let mut tsdb = BlockMeta::compacted(id, &inputs)?;
    tsdb.stats = merged.stats.clone();
    // As if every step of the chain had been done on its own.
    tsdb.compaction.level = job.level;
    let segments: Vec<String> = (0..)
        .zip(&merged.segment_bytes)
        .map(|(i, _)| segment(i))
        .collect();
    let mut files: Vec<File> = segments
        .iter()
        .zip(&merged.segment_bytes)
        .map(|(path, &bytes)| file(path, bytes))
        .collect();
    files.push(file(INDEX, merged.index_bytes));
    // Listed without a size: it would have to state its own.
    files.push(file(META, 0));
    Some(Meta {
        tsdb,
        thanos: Thanos {
            labels: job.labels.clone(),
            downsample: Downsample {
                resolution: job.resolution,
                ..Downsample::default()
            },
            source: SOURCE.to_owned(),
            segment_files: segments
                .iter()
                .map(|path| path.trim_start_matches("chunks/").to_owned())
                .collect(),
            files,
            index_stats: IndexStats {
                series_max_size: merged.series_max_size,
                chunk_max_size: merged.chunk_max_size,
                ..IndexStats::default()
            },
            extensions: common_extensions(job),
            upload_time: rfc3339(now_ms),
            ..Thanos::default()
        },
        unknown: Map::new(),
    })
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
