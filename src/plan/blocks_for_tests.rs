//! Blocks of a stream without data, for the tests of retention and lint.

use std::sync::Arc;

use ulid::Ulid;

use super::retention::time;
use super::view::{BlockView, BucketView, Finding, ListedFile};
use super::{Plan, Settings, plan};
use crate::block::markers::{DeletionMark, NoCompactMark, NoDownsampleMark};
use crate::block::meta::{Labels, Meta};
use crate::tsdb::Damage;

pub(super) const HOUR: i64 = 3_600_000;
pub(super) const DAY: i64 = 24 * HOUR;
/// A multiple of 14 days; hours of blocks count from here.
pub(super) const START: i64 = 14 * DAY * 1400;
pub(super) const RAW: usize = 0;
pub(super) const FIVE: usize = 1;
pub(super) const ONE: usize = 2;

pub(super) fn ulid(n: u64) -> Ulid {
    Ulid::from_parts(n * 1000, u128::from(n))
}

/// A block of a level over `[from, to)` in hours, made of blocks `sources`.
pub(super) fn block(n: u64, level: usize, (from, to): (i64, i64), sources: &[u64]) -> BlockView {
    let sources: Vec<String> = sources
        .iter()
        .map(|&s| format!("\"{}\"", ulid(s)))
        .collect();
    let json = format!(
        r#"{{"ulid":"{id}","minTime":{},"maxTime":{},"version":1,
            "compaction":{{"level":1,"sources":[{}]}},
            "thanos":{{"labels":{{"cluster":"c"}},
                       "downsample":{{"resolution":{}}},"source":"compactor"}}}}"#,
        START + from * HOUR,
        START + to * HOUR,
        sources.join(","),
        RESOLUTIONS[level],
        id = ulid(n),
    );
    of_meta(n, &json)
}

/// Block `n` with this `meta.json`, an index and no mark.
pub(super) fn of_meta(n: u64, json: &str) -> BlockView {
    BlockView {
        meta: Arc::new(Meta::parse(ulid(n), json.as_bytes()).unwrap()),
        files: Arc::new(vec![ListedFile {
            path: "index".into(),
            size: 10,
        }]),
        damaged: None,
        deletion: None,
        no_compact: None,
        no_downsample: None,
    }
}

/// The last one is none that anybody makes.
pub(super) const RESOLUTIONS: [i64; 4] = [0, 300_000, 3_600_000, 60_000];

pub(super) fn raw(n: u64, range: (i64, i64)) -> BlockView {
    block(n, RAW, range, &[n])
}

pub(super) fn no_compact(mut block: BlockView, reason: &str) -> BlockView {
    block.no_compact = Some(NoCompactMark {
        id: block.id(),
        version: 1,
        details: String::new(),
        no_compact_time: 0,
        reason: reason.into(),
    });
    block
}

pub(super) fn no_downsample(mut block: BlockView) -> BlockView {
    block.no_downsample = Some(NoDownsampleMark {
        id: block.id(),
        version: 1,
        details: String::new(),
        no_downsample_time: 0,
        reason: "manual".into(),
    });
    block
}

/// Marked for deletion an hour before `now`.
pub(super) fn marked(mut block: BlockView, now: i64) -> BlockView {
    block.deletion = Some(DeletionMark {
        id: block.id(),
        version: 1,
        details: "by hand".into(),
        deletion_time: (now - HOUR) / 1000,
    });
    block
}

pub(super) fn damaged(mut block: BlockView) -> BlockView {
    block.damaged = Some(Finding {
        reason: Damage::Malformed,
        what: "index".into(),
    });
    block
}

pub(super) fn fresh(mut block: BlockView, now: i64) -> BlockView {
    let meta = Arc::make_mut(&mut block.meta);
    meta.thanos.source = "sidecar".into();
    meta.thanos.upload_time = time(now - 60_000);
    block
}

pub(super) fn with_labels(mut block: BlockView, cluster: &str) -> BlockView {
    let meta = Arc::make_mut(&mut block.meta);
    meta.thanos.labels = Labels::from([("cluster".into(), cluster.into())]);
    block
}

/// Retention in days.
pub(super) fn days(raw: i64, five: i64, one: i64) -> Settings {
    Settings {
        retention_ms: [raw * DAY, five * DAY, one * DAY],
        vertical: true,
        ..Settings::default()
    }
}

pub(super) fn view(mut blocks: Vec<BlockView>) -> BucketView {
    blocks.sort_by_key(BlockView::id);
    BucketView {
        blocks,
        ..BucketView::default()
    }
}

pub(super) fn planned(blocks: &[BlockView], settings: &Settings, now: i64) -> Plan {
    plan(&view(blocks.to_vec()), settings, now)
}

/// Hours from [`START`], ms since the epoch.
pub(super) fn at(hours: i64) -> i64 {
    START + hours * HOUR
}
