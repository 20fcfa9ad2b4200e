//! Which blocks are kept out so that the index of a result stays below the
//! limit, as a table. Limit 100 bytes, of which 85 count; ranges 20, 60, 180,
//! 540 and 1620 ms. A block is written `min-max/index`.

use std::sync::Arc;

use ulid::Ulid;

use super::*;
use crate::block::meta::Meta;
use crate::plan::view::{BlockView, ListedFile};

fn block(n: u64, text: &str) -> BlockView {
    let (range, index) = text.split_once('/').unwrap();
    let (min, max) = range.split_once('-').unwrap();
    let id = Ulid::from_parts(n, u128::from(n));
    let json = format!(
        r#"{{"ulid":"{id}","minTime":{min},"maxTime":{max},"version":1,
            "compaction":{{"level":1,"sources":["{id}"]}},
            "thanos":{{"labels":{{"cluster":"c"}},"source":"compactor"}}}}"#
    );
    BlockView {
        meta: Arc::new(Meta::parse(id, json.as_bytes()).unwrap()),
        files: Arc::new(vec![ListedFile {
            path: "index".into(),
            size: index.parse().unwrap(),
        }]),
        damaged: None,
        deletion: None,
        no_compact: None,
        no_downsample: None,
    }
}

fn view(text: &str) -> BucketView {
    let blocks = (1..).zip(text.split_whitespace());
    BucketView {
        blocks: blocks.map(|(n, b)| block(n, b)).collect(),
        ..BucketView::default()
    }
}

/// The first plan and the marks, each as numbers of blocks from 1.
fn planned(text: &str) -> (Vec<u64>, Vec<u64>) {
    let view = view(text);
    let settings = Settings {
        vertical: true,
        one_pass: false,
        max_index_bytes: 100,
        ranges_ms: vec![20, 60, 180, 540, 1620],
        consistency_delay_ms: i64::MIN,
        ..Settings::default()
    };
    let plan = plan(&view, &settings, 0);
    let number = |id: Ulid| id.timestamp_ms();
    let jobs = plan.jobs.iter();
    let mut marks: Vec<u64> = plan.marks.iter().map(|m| number(m.block)).collect();
    marks.sort_unstable();
    let picked = jobs.flat_map(Job::source_ids).map(number);
    (picked.collect(), marks)
}

#[test]
fn every_row_of_the_index_size_table() {
    let rows: [(&str, &[u64], &[u64]); 9] = [
        ("0-20/41 20-40/30 40-60/30 60-80/30", &[2, 3], &[1]),
        ("0-20/30 20-40/41 40-60/30 60-80/20", &[], &[2]),
        ("0-20/10 20-40/10 40-60/10 60-80/90", &[1, 2, 3], &[]),
        (
            "0-20/90 20-40/30 40-50/30 50-60/90 60-80/90",
            &[2, 3],
            &[1, 4],
        ),
        ("0-20/30 20-40/90 60-80/30 80-100/30", &[], &[2]),
        ("0-20/90 19-40/30 40-60/30", &[], &[1]),
        ("0-20/100", &[], &[]),
        // Exactly at the share of the limit is too much, one less is not.
        ("0-20/42 20-40/42 40-60/1 60-80/1", &[2, 3], &[1]),
        ("0-20/42 20-40/41 40-60/1 60-80/1", &[1, 2, 3], &[]),
    ];
    for (text, picked, marks) in rows {
        assert_eq!(planned(text), (picked.to_vec(), marks.to_vec()), "{text}");
    }
}

#[test]
fn jobs_that_cannot_fit_into_scratch_wait_and_chains_end_before_them() {
    let planned = |scratch_bytes: u64, one_pass: bool| {
        let settings = Settings {
            vertical: true,
            one_pass,
            ranges_ms: vec![20, 60, 180, 540, 1620],
            consistency_delay_ms: i64::MIN,
            machine: cost::Machine {
                scratch_bytes,
                ..cost::Machine::default()
            },
            ..Settings::default()
        };
        // A stream with a large block in one window, and small ones.
        let text = "0-20/1000 20-40/10 40-60/10 60-80/10 80-100/10 100-120/10 \
                    120-140/10 140-160/10 160-180/10 200-220/1";
        plan(&view(text), &settings, 0)
    };
    let whole = planned(u64::MAX, true);
    assert_eq!((whole.jobs.len(), whole.held.len()), (1, 0));
    assert_eq!(whole.jobs[0].sources.len(), 9);
    // 900 bytes are the least that an index of at most 1000 may become.
    let held = planned(899, false);
    assert_eq!(held.held.len(), 1);
    assert_eq!(held.held[0].why, HeldReason::Scratch);
    assert_eq!(held.held[0].blocks.len(), 3);
    let what = &held.held[0].what;
    assert!(
        what.contains("at least 900 bytes of scratch, 899 may be used"),
        "{what}"
    );
    assert_eq!(held.jobs.len(), 1);
    assert!(held.jobs.iter().all(|j| j.sources.len() == 3));
    assert!(planned(900, false).held.is_empty());
}
