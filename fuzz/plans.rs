//! A bucket of blocks that state what they like in their `meta.json`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use lithify::block::markers::{MARKER_VERSION, NoCompactMark};
use lithify::block::meta::Meta;
use lithify::plan::forecast::{BucketFacts, Habits, SeriesByCluster, forecast};
use lithify::plan::lint::lint;
use lithify::plan::view::{BlockView, BucketView, ListedFile};
use lithify::plan::{Dedup, Settings, plan as make_plan, rounds};

/// A day in 2027, ms.
const NOW: i64 = 1_800_000_000_000;
const DAY: i64 = 86_400_000;

/// A byte of options, then one `meta.json` in each line: a plan and its
/// forecast.
///
/// ```text
///  bit 0  blocks may overlap         bit 2  deduplicate by penalty
///  bit 1  label `b` tells replicas   bit 3  step by step
///  bit 4  every fourth block has a no-compact mark
///  bit 5  raw for 7d, 5m for 30d, 1h for 90d       bit 6  by force
/// ```
pub fn plan(input: &[u8]) {
    let Some((&options, lines)) = input.split_first() else {
        return;
    };
    let bit = |n: u32| options >> n & 1 == 1;
    let mut blocks = BTreeMap::new();
    for line in lines.split(|&b| b == b'\n').take(40) {
        let Ok(meta) = serde_json::from_slice::<Meta>(line) else {
            continue;
        };
        if let Ok(meta) = Meta::parse(meta.id(), line) {
            blocks.insert(meta.id(), block(meta, bit(4) && blocks.len() % 4 == 3));
        }
    }
    let view = BucketView {
        blocks: blocks.into_values().collect(),
        ..BucketView::default()
    };
    let settings = settings(bit);
    let plan = make_plan(&view, &settings, NOW);
    let mut used: BTreeSet<_> = plan.retired.iter().map(|r| r.block).collect();
    assert_eq!(used.len(), plan.retired.len());
    for job in &plan.jobs {
        for source in &job.sources {
            assert!(used.insert(source.id()), "{} has two uses", source.id());
            assert!(source.view.no_compact.is_none(), "a mark was overlooked");
        }
        assert!(job.min_time() <= job.max_time());
        assert!(job.cost.seconds >= 0.0);
        assert!(!job.reason.to_string().is_empty());
    }
    let facts = BucketFacts {
        name: "fuzz".to_owned(),
        view: &view,
        plan: &plan,
        rounds: &rounds(&view, &plan, &settings, NOW),
        series: &SeriesByCluster::default(),
        findings: &lint(&view, &settings, NOW),
        settings: &Default::default(),
        habits: Habits::default(),
    };
    assert!(serde_json::to_string(&forecast(&[facts], "cluster", NOW)).is_ok());
}

/// What the first byte of an input asks for.
fn settings(bit: impl Fn(u32) -> bool) -> Settings {
    Settings {
        vertical: bit(0),
        replica_labels: if bit(1) {
            vec!["b".to_owned()]
        } else {
            Vec::new()
        },
        dedup: if bit(2) {
            Dedup::Penalty
        } else {
            Dedup::OneToOne
        },
        one_pass: !bit(3),
        retention_ms: if bit(5) {
            [7 * DAY, 30 * DAY, 90 * DAY]
        } else {
            [0; 3]
        },
        force_retention: bit(6),
        ..Settings::default()
    }
}

/// As a listing would have it: a file has a size that a store can hold.
fn block(meta: Meta, marked: bool) -> BlockView {
    let files = meta.thanos.files.iter().map(|file| ListedFile {
        path: file.rel_path.clone(),
        size: file.size_bytes.min(1 << 42),
    });
    BlockView {
        files: Arc::new(files.collect()),
        damaged: None,
        deletion: None,
        no_compact: marked.then(|| NoCompactMark {
            id: meta.id(),
            version: MARKER_VERSION,
            details: String::new(),
            no_compact_time: 0,
            reason: "manual".to_owned(),
        }),
        no_downsample: None,
        meta: Arc::new(meta),
    }
}
