use std::sync::Arc;

use ulid::Ulid;

use super::blocks_for_tests::{of_meta, ulid};
use super::*;
use crate::block::markers::{DeletionMark, NoCompactMark};
use crate::block::meta::{Labels, Meta};
use crate::plan::view::{BlockView, Finding};
use crate::tsdb::Damage;

const HOUR: i64 = 3_600_000;
const NOW: i64 = 1_000 * HOUR;

/// A raw block `[from, to)` in hours with labels `cluster` and `replica`.
fn block(n: u64, from: i64, to: i64, replica: &str) -> BlockView {
    let json = format!(
        r#"{{"ulid":"{id}","minTime":{},"maxTime":{},"version":1,
            "compaction":{{"level":1,"sources":["{id}"]}},
            "thanos":{{"labels":{{"cluster":"c","replica":"{replica}"}},
                       "downsample":{{"resolution":0}},"source":"sidecar"}}}}"#,
        from * HOUR,
        to * HOUR,
        id = ulid(n),
    );
    of_meta(n, &json)
}

fn edit(block: &mut BlockView, change: impl FnOnce(&mut Meta)) {
    change(Arc::make_mut(&mut block.meta));
}

fn settings(vertical: bool) -> Settings {
    Settings {
        replica_labels: if vertical {
            vec!["replica".into()]
        } else {
            Vec::new()
        },
        vertical,
        ..Settings::default()
    }
}

fn view(blocks: Vec<BlockView>) -> BucketView {
    BucketView {
        blocks,
        ..BucketView::default()
    }
}

fn sources(job: &Job) -> Vec<Ulid> {
    job.sources.iter().map(filter::LiveBlock::id).collect()
}

#[test]
fn each_stream_is_planned_on_its_own() {
    let mut blocks = Vec::new();
    for i in 0..5 {
        blocks.push(block(i, i as i64 * 2, i as i64 * 2 + 2, "a"));
        blocks.push(block(100 + i, i as i64 * 2, i as i64 * 2 + 2, "b"));
    }
    let plan = plan(&view(blocks), &settings(false), NOW);
    assert_eq!(plan.jobs.len(), 2);
    for job in &plan.jobs {
        assert_eq!(job.sources.len(), 4);
        assert_eq!(job.kind, JobKind::Horizontal);
        assert_eq!(job.reason, Reason::Range(8 * HOUR));
        assert_eq!((job.min_time(), job.max_time()), (0, 8 * HOUR));
        assert_eq!(job.input_bytes(), 40);
    }
    assert!(plan.held.is_empty());
}

#[test]
fn replica_labels_join_streams_and_leave_the_result() {
    let blocks = vec![
        block(1, 0, 2, "a"),
        block(2, 0, 2, "b"),
        block(3, 2, 4, "a"),
    ];
    let plan = plan(&view(blocks), &settings(true), NOW);
    assert_eq!(plan.jobs.len(), 1);
    assert_eq!(sources(&plan.jobs[0]), [ulid(1), ulid(2)]);
    assert_eq!(plan.jobs[0].kind, JobKind::Vertical);
    assert_eq!(
        plan.jobs[0].labels,
        Labels::from([("cluster".into(), "c".into())])
    );
}

#[test]
fn overlaps_without_permission_are_held_with_a_cure() {
    let blocks = vec![
        block(1, 0, 2, "a"),
        block(2, 0, 2, "a"),
        block(3, 2, 4, "a"),
    ];
    let plan = plan(&view(blocks), &settings(false), NOW);
    assert!(plan.jobs.is_empty());
    assert_eq!(plan.held.len(), 1);
    assert_eq!(plan.held[0].blocks, [ulid(1), ulid(2)]);
    assert!(plan.held[0].cure.contains("--deduplication.replica-label"));
}

#[test]
fn a_marked_overlapping_block_does_not_stop_its_stream() {
    let mut blocks: Vec<_> = (0..5)
        .map(|i| block(i, i as i64 * 2, i as i64 * 2 + 2, "a"))
        .collect();
    let mut odd = block(50, 0, 2, "a");
    odd.no_compact = Some(NoCompactMark {
        id: odd.id(),
        version: 1,
        details: String::new(),
        no_compact_time: 0,
        reason: "manual".into(),
    });
    blocks.push(odd);
    let plan = plan(&view(blocks), &settings(false), NOW);
    assert!(!plan.has_problems());
    assert_eq!(plan.jobs.len(), 1);
    assert!(!sources(&plan.jobs[0]).contains(&ulid(50)));
}

#[test]
fn blocks_that_start_together_are_in_the_order_of_their_names() {
    let blocks = vec![
        block(7, 0, 2, "a"),
        block(3, 0, 2, "b"),
        block(5, 0, 2, "c"),
    ];
    let plan = plan(&view(blocks), &settings(true), NOW);
    assert_eq!(sources(&plan.jobs[0]), [ulid(3), ulid(5), ulid(7)]);
}

#[test]
fn a_damaged_block_holds_its_window_and_covers_nothing() {
    let mut blocks: Vec<_> = (0..9)
        .map(|i| block(i, i as i64 * 2, i as i64 * 2 + 2, "a"))
        .collect();
    blocks[1].damaged = Some(Finding {
        reason: Damage::MissingIndex,
        what: "index is missing".into(),
    });
    // Were it whole, the damaged block would stand in for the first one.
    edit(&mut blocks[1], |m| {
        m.tsdb.compaction.sources = vec![ulid(0), ulid(1)];
    });
    let plan = plan(&view(blocks), &settings(false), NOW);
    assert!(plan.garbage.is_empty());
    assert_eq!(plan.jobs.len(), 1);
    assert_eq!(
        sources(&plan.jobs[0]),
        (4..8).map(ulid).collect::<Vec<_>>(),
        "the next window"
    );
}

#[test]
fn overlapping_downsampled_blocks_are_kept_out_as_upstream_does() {
    let mut blocks = vec![block(1, 0, 2, "a"), block(2, 0, 2, "b")];
    for b in &mut blocks {
        edit(b, |m| m.thanos.downsample.resolution = 300_000);
    }
    let marked = plan(&view(blocks.clone()), &settings(true), NOW);
    assert!(marked.jobs.is_empty());
    let marks: Vec<_> = marked.marks.iter().map(|m| (m.block, m.reason)).collect();
    let reason = NoCompactReason::DownsampleVerticalCompaction;
    assert_eq!(marks, [(ulid(1), reason), (ulid(2), reason)]);

    for b in &mut blocks {
        edit(b, |m| m.thanos.labels.retain(|name, _| name != "replica"));
    }
    let held = plan(&view(blocks), &settings(false), NOW);
    assert!(held.is_empty(), "without permission nothing is marked");
    assert_eq!(held.held[0].blocks, [ulid(1), ulid(2)]);
}

#[test]
fn fresh_blocks_of_ingesters_wait_and_those_of_compactors_do_not() {
    let fresh = |source: &str| {
        let mut b = block(1, 0, 2, "a");
        edit(&mut b, |m| {
            m.thanos.source = source.into();
            m.thanos.upload_time = "1970-02-11T15:59:00Z".into();
        });
        let now = chrono::DateTime::parse_from_rfc3339("1970-02-11T16:00:00Z").unwrap();
        filter::live(&view(vec![b]), &settings(false), now.timestamp_millis())
            .blocks
            .len()
    };
    assert_eq!(fresh("sidecar"), 0);
    assert_eq!(fresh("bucket.rewrite"), 0);
    for exempt in ["compactor", "compactor.repair", "bucket.repair"] {
        assert_eq!(fresh(exempt), 1, "{exempt}");
    }
}

#[test]
fn half_the_delay_after_its_mark_a_block_is_out() {
    let live = |age_hours: i64| {
        let mut b = block(1, 0, 2, "a");
        b.deletion = Some(DeletionMark {
            id: b.id(),
            version: 1,
            details: String::new(),
            deletion_time: (NOW - age_hours * HOUR) / 1000,
        });
        filter::live(&view(vec![b]), &settings(false), NOW)
            .blocks
            .len()
    };
    assert_eq!((live(1), live(24), live(25)), (1, 1, 0));
}

#[test]
fn covered_blocks_are_garbage_once() {
    let mut result = block(9, 0, 4, "a");
    edit(&mut result, |m| {
        m.tsdb.compaction.sources = vec![ulid(1), ulid(2)];
    });
    let mut marked = block(2, 2, 4, "a");
    marked.deletion = Some(DeletionMark {
        id: marked.id(),
        version: 1,
        details: String::new(),
        deletion_time: NOW / 1000,
    });
    let blocks = vec![block(1, 0, 2, "a"), marked, block(3, 4, 6, "a"), result];
    let plan = plan(&view(blocks), &settings(false), NOW);
    assert_eq!(
        plan.garbage,
        [Garbage {
            block: ulid(1),
            covered_by: ulid(9)
        }]
    );
    assert!(
        plan.jobs.is_empty(),
        "the covered blocks take part in nothing"
    );
}

#[test]
fn of_equal_sources_the_oldest_stays_and_no_sources_cover_nothing() {
    let mut twin = block(7, 0, 2, "a");
    edit(&mut twin, |m| m.tsdb.compaction.sources = vec![ulid(1)]);
    let mut empty = block(8, 2, 4, "a");
    edit(&mut empty, |m| m.tsdb.compaction.sources.clear());
    let live = filter::live(
        &view(vec![block(1, 0, 2, "a"), twin, empty]),
        &settings(false),
        NOW,
    );
    assert_eq!(
        live.garbage,
        [Garbage {
            block: ulid(7),
            covered_by: ulid(1)
        }]
    );
    assert_eq!(
        live.blocks
            .iter()
            .map(filter::LiveBlock::id)
            .collect::<Vec<_>>(),
        [ulid(1), ulid(8)]
    );
}

#[test]
fn partial_overlap_of_sources_covers_nothing() {
    let mut left = block(8, 0, 4, "a");
    edit(&mut left, |m| {
        m.tsdb.compaction.sources = vec![ulid(1), ulid(2)];
    });
    let mut right = block(9, 2, 6, "a");
    edit(&mut right, |m| {
        m.tsdb.compaction.sources = vec![ulid(2), ulid(3)];
    });
    let mut both = block(10, 0, 6, "a");
    edit(&mut both, |m| {
        m.tsdb.compaction.sources = vec![ulid(1), ulid(3)];
    });
    let live = filter::live(&view(vec![left, right, both]), &settings(false), NOW);
    assert!(
        live.garbage.is_empty(),
        "no single block holds all sources of another"
    );
}

#[test]
fn a_stream_of_replica_labels_only_keeps_one() {
    let mut a = block(1, 0, 2, "a");
    edit(&mut a, |m| {
        m.thanos.labels = Labels::from([("replica".into(), "a".into())]);
    });
    let live = filter::live(&view(vec![a]), &settings(true), NOW);
    assert_eq!(
        *live.blocks[0].labels,
        Labels::from([("replica".into(), "deduped".into())])
    );
}

#[test]
fn overlaps_cost_their_own_windows_only() {
    let mut blocks: Vec<_> = (0..9)
        .map(|i| block(i, i as i64 * 2, i as i64 * 2 + 2, "a"))
        .collect();
    blocks.push(block(50, 0, 2, "a"));
    let plan = plan(&view(blocks), &settings(false), NOW);
    assert_eq!(plan.held[0].why, HeldReason::OverlapNotAllowed);
    assert_eq!(plan.jobs.len(), 1);
    assert_eq!(sources(&plan.jobs[0]), (4..8).map(ulid).collect::<Vec<_>>());
}

#[test]
fn a_marked_block_stands_in_for_no_unmarked_one() {
    let mark = |b: &mut BlockView| {
        b.deletion = Some(DeletionMark {
            id: b.id(),
            version: 1,
            details: String::new(),
            deletion_time: NOW / 1000,
        });
    };
    let mut result = block(9, 0, 4, "a");
    edit(&mut result, |m| {
        m.tsdb.compaction.sources = vec![ulid(1), ulid(2)];
    });
    mark(&mut result);
    let blocks = vec![block(1, 0, 2, "a"), block(2, 2, 4, "a"), result.clone()];
    let live = filter::live(&view(blocks), &settings(false), NOW);
    assert!(live.garbage.is_empty(), "upstream would mark 1 and 2");
    let ids: Vec<_> = live.blocks.iter().map(filter::LiveBlock::id).collect();
    assert_eq!(ids, [ulid(1), ulid(2)]);

    let mut marked = block(1, 0, 2, "a");
    mark(&mut marked);
    let live = filter::live(&view(vec![marked, result]), &settings(false), NOW);
    let ids: Vec<_> = live.blocks.iter().map(filter::LiveBlock::id).collect();
    assert_eq!(ids, [ulid(9)], "both are marked: the larger one stands in");
}

#[test]
fn chains_are_done_at_once_and_cut_where_asked() {
    let blocks: Vec<_> = (0..25)
        .map(|i| block(i, i as i64 * 2, i as i64 * 2 + 2, "a"))
        .collect();
    let levels = |settings: &Settings| -> Vec<(usize, u32, u32)> {
        let plan = plan(&view(blocks.clone()), settings, NOW);
        let jobs = plan.jobs.iter();
        jobs.map(|j| (j.sources.len(), j.steps, j.level)).collect()
    };
    assert_eq!(
        levels(&settings(false)),
        [(24, 7, 3)],
        "six times 8h, once 2d"
    );
    let mut short = settings(false);
    short.max_job_seconds = 0.0;
    assert_eq!(levels(&short), [(4, 1, 2); 6], "no chain is collapsed");
    let mut small = settings(false);
    // Four indexes of 10 bytes fit below 85 % of it, 24 do not.
    small.max_index_bytes = 100;
    assert_eq!(levels(&small), [(4, 1, 2); 6]);
    let mut step = settings(false);
    step.one_pass = false;
    assert_eq!(levels(&step), [(4, 1, 2)]);
}

#[test]
fn each_source_comes_in_with_its_first_step() {
    let blocks = vec![
        block(1, 0, 2, "a"),
        block(2, 0, 2, "b"),
        block(3, 2, 4, "a"),
        block(4, 4, 6, "a"),
        block(5, 5, 8, "b"),
        block(6, 8, 10, "a"),
    ];
    let plan = plan(&view(blocks), &settings(true), NOW);
    assert_eq!(plan.jobs.len(), 1);
    let job = &plan.jobs[0];
    assert_eq!((job.steps, job.level, job.kind), (3, 3, JobKind::Vertical));
    let places: Vec<_> = job.places.iter().map(|p| (p.run, p.keep)).collect();
    let h = |from: i64, to: i64| (from * HOUR, to * HOUR);
    assert_eq!(
        places,
        [
            (0, h(0, 2)),
            (0, h(0, 2)),
            (1, h(0, 8)),
            (2, h(4, 8)),
            (2, h(4, 8)),
        ]
    );
}

#[test]
fn what_was_given_up_is_cleaned_up_in_time() {
    use crate::plan::view::PartialView;
    let partial = |hours: i64| PartialView {
        id: ulid(1),
        objects: 3,
        bytes: 100,
        modified_ms: NOW - hours * HOUR,
        corrupted: None,
        deletion: None,
    };
    let planned = |partial: PartialView, settings: &Settings| {
        let view = BucketView {
            partials: vec![partial],
            ..BucketView::default()
        };
        let plan = plan(&view, settings, NOW);
        plan.partials.first().map(|p| p.why)
    };
    let default = Settings::default();
    assert_eq!(planned(partial(48), &default), None);
    assert_eq!(
        planned(partial(49), &default),
        Some(CleanupReason::AbortedUpload)
    );
    let mut corrupted = partial(49);
    corrupted.corrupted = Some("no JSON".into());
    assert_eq!(
        planned(corrupted.clone(), &default),
        Some(CleanupReason::CorruptedMeta)
    );
    let keep = Settings {
        keep_corrupted: true,
        ..Settings::default()
    };
    assert_eq!(planned(corrupted, &keep), None);
    let mut deleted = partial(1);
    deleted.deletion = Some(DeletionMark {
        id: ulid(1),
        version: 1,
        details: String::new(),
        deletion_time: (NOW - 47 * HOUR) / 1000,
    });
    assert_eq!(planned(deleted.clone(), &default), None);
    deleted.deletion.as_mut().unwrap().deletion_time -= 2 * 3600;
    assert_eq!(
        planned(deleted, &default),
        Some(CleanupReason::UnfinishedDeletion),
        "however fresh its objects are"
    );
}

#[test]
fn marked_blocks_are_deleted_after_the_delay() {
    let deleted = |age_hours: i64| {
        let mut b = block(1, 0, 2, "a");
        b.deletion = Some(DeletionMark {
            id: b.id(),
            version: 1,
            details: "why".into(),
            deletion_time: (NOW - age_hours * HOUR) / 1000,
        });
        plan(&view(vec![b]), &settings(false), NOW).deletions.len()
    };
    assert_eq!((deleted(48), deleted(49)), (0, 1));
}

#[test]
fn parquet_files_are_not_left_behind() {
    let mut blocks: Vec<_> = (0..5)
        .map(|i| block(i, i as i64 * 2, i as i64 * 2 + 2, "a"))
        .collect();
    edit(&mut blocks[0], |m| {
        m.thanos.extensions = Some(serde_json::json!({"parquet_migrated": true}));
    });
    let plan = plan(&view(blocks), &settings(false), NOW);
    assert_eq!(sources(&plan.jobs[0]), [ulid(1), ulid(2), ulid(3)]);
    assert_eq!(plan.held[0].why, HeldReason::ParquetMigrated);
}

#[test]
fn a_block_in_quarantine_holds_up_nobody_and_covers_nothing() {
    let mut blocks: Vec<_> = (0..9)
        .map(|i| block(i, i as i64 * 2, i as i64 * 2 + 2, "a"))
        .collect();
    let mark = |reason: &str| NoCompactMark {
        id: ulid(1),
        version: 1,
        details: "b/index: bad at byte 5".into(),
        no_compact_time: 0,
        reason: reason.into(),
    };
    // Were it whole, it would stand in for the first one.
    edit(&mut blocks[1], |m| {
        m.tsdb.compaction.sources = vec![ulid(0), ulid(1)];
    });
    for listing_shows_it in [false, true] {
        blocks[1].no_compact = Some(mark("index-checksum"));
        blocks[1].damaged = listing_shows_it.then(|| Finding {
            reason: Damage::FileSizeMismatch,
            what: "index has 5 bytes where meta.json states 6".into(),
        });
        let plan = plan(&view(blocks.clone()), &settings(false), NOW);
        assert!(plan.garbage.is_empty() && !plan.has_problems());
        let jobs: Vec<Vec<Ulid>> = plan.jobs.iter().map(sources).collect();
        let of = |ids: std::ops::Range<u64>| ids.map(ulid).collect::<Vec<_>>();
        assert_eq!(jobs, [of(2..4), of(4..8)]);
        let [held] = plan.held.as_slice() else {
            panic!("{:?}", plan.held);
        };
        assert_eq!(held.why, HeldReason::Quarantined);
        assert_eq!(held.what, "index-checksum: b/index: bad at byte 5");
        assert!(held.cure.contains("no-downsample-mark.json"));
    }
    // A mark for another reason says nothing about what the block holds.
    blocks[1].damaged = None;
    blocks[1].no_compact = Some(mark("manual"));
    let plan = plan(&view(blocks), &settings(false), NOW);
    assert_eq!(plan.garbage.len(), 1);
}
