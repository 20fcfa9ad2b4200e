//! Against what Thanos planned for 2,000 buckets, `fixtures/goldens/plans.jsonl`:
//! states after the first look, the first plans, and what is left once nothing
//! is due, in one pass and step by step.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;
use ulid::Ulid;

use super::*;
use crate::block::markers::{DeletionMark, NoCompactMark};
use crate::block::meta::{Labels, Meta};
use crate::plan::filter::State;
use crate::plan::view::{BlockView, ListedFile};

const MINUTE: i64 = 60_000;
const BASE_MS: u64 = 1_704_067_200_000;
/// Between the times that the generator calls young and old.
const NOW: i64 = 1_780_000_000_000;
const YOUNG_S: i64 = NOW / 1000 - 60;

fn ulid(n: u64) -> Ulid {
    Ulid::from_parts(BASE_MS + n * 1000, u128::from(n))
}

fn number(id: Ulid) -> u64 {
    (id.timestamp_ms() - BASE_MS) / 1000
}

fn labels(value: &Value) -> Labels {
    let pairs = value.as_object().unwrap().iter();
    pairs
        .map(|(n, v)| (n.clone(), v.as_str().unwrap().to_owned()))
        .collect()
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn numbers(value: &Value) -> Vec<u64> {
    list(value).map(|n| n.as_u64().unwrap()).collect()
}

/// A bucket without data, and what becomes of it.
struct World {
    view: BucketView,
    settings: Settings,
    shared: u64,
    next: u64,
    made: BTreeSet<Ulid>,
}

impl World {
    fn of(case: &Value) -> Self {
        let mut replica_labels: Vec<String> = list(&case["replica_labels"])
            .map(|l| l.as_str().unwrap().to_owned())
            .collect();
        replica_labels.sort();
        let time = |key: &str, default| case[key].as_i64().map_or(default, |m| m * MINUTE);
        let settings = Settings {
            replica_labels,
            downsampling: false,
            vertical: case["vertical"].as_bool().unwrap(),
            ranges_ms: RANGES_MS[..=case["max_level"].as_u64().unwrap() as usize].to_vec(),
            time_range_ms: (time("min_time", i64::MIN), time("max_time", i64::MAX)),
            max_index_bytes: case["max_index"].as_u64().unwrap_or(64 << 30),
            selector: selector(case),
            ..Settings::default()
        };
        let streams: Vec<Labels> = list(&case["streams"]).map(labels).collect();
        let blocks = list(&case["blocks"]).map(|b| block(b, &streams)).collect();
        Self {
            view: BucketView {
                blocks,
                ..BucketView::default()
            },
            settings,
            shared: case["shared"].as_u64().unwrap_or(0),
            next: 1_000_000,
            made: BTreeSet::new(),
        }
    }

    fn block(&mut self, id: Ulid) -> &mut BlockView {
        let blocks = self.view.blocks.iter_mut();
        blocks.into_iter().find(|b| b.id() == id).unwrap()
    }

    fn mark(&mut self, id: Ulid) {
        let block = self.block(id);
        block.deletion.get_or_insert_with(|| deletion(id, YOUNG_S));
    }

    /// Does what a plan says, with metas instead of blocks.
    fn apply(&mut self, plan: &Plan) {
        for garbage in &plan.garbage {
            self.mark(garbage.block);
        }
        for mark in &plan.marks {
            let reason = mark.reason.as_str();
            self.block(mark.block).no_compact = Some(no_compact(mark.block, reason));
        }
        for job in &plan.jobs {
            self.next += 1;
            let id = ulid(self.next);
            let inputs: Vec<_> = job.sources.iter().map(|b| &b.view.meta.tsdb).collect();
            let mut meta = job.sources[0].view.meta.as_ref().clone();
            meta.tsdb = crate::tsdb::meta::BlockMeta::compacted(id, &inputs).unwrap();
            meta.tsdb.compaction.level = job.level;
            meta.thanos.labels = job.labels.clone();
            meta.thanos.source = "compactor".into();
            let own = |b: &filter::LiveBlock| b.view.index_bytes() - self.shared;
            let index = self.shared + job.sources.iter().map(own).sum::<u64>();
            self.view.blocks.push(view_of(meta, index));
            self.made.insert(id);
            for source in &job.sources {
                self.mark(source.id());
            }
        }
    }

    /// Plans and applies until nothing is due.
    fn run(&mut self) {
        for _ in 0..500 {
            let plan = plan(&self.view, &self.settings, NOW);
            check_invariants(&plan);
            if plan.is_empty()
                || (plan.jobs.is_empty() && plan.marks.is_empty() && plan.garbage.is_empty())
            {
                return;
            }
            self.apply(&plan);
        }
        panic!("no fixpoint");
    }
}

fn view_of(meta: Meta, index_bytes: u64) -> BlockView {
    BlockView {
        meta: Arc::new(meta),
        files: Arc::new(vec![ListedFile {
            path: "index".into(),
            size: index_bytes,
        }]),
        damaged: None,
        deletion: None,
        no_compact: None,
        no_downsample: None,
    }
}

fn deletion(id: Ulid, deletion_time: i64) -> DeletionMark {
    DeletionMark {
        id,
        version: 1,
        details: String::new(),
        deletion_time,
    }
}

fn no_compact(id: Ulid, reason: &str) -> NoCompactMark {
    NoCompactMark {
        id,
        version: 1,
        details: String::new(),
        no_compact_time: 0,
        reason: reason.into(),
    }
}

fn block(b: &Value, streams: &[Labels]) -> BlockView {
    let id = ulid(b["id"].as_u64().unwrap());
    let min = b["min"].as_i64().unwrap();
    let max = b["max"].as_i64().unwrap_or(min + 120);
    let level = b["level"].as_u64().unwrap_or(1);
    let by = if level > 1 { "compactor" } else { "sidecar" };
    let json = format!(
        r#"{{"ulid":"{id}","minTime":{},"maxTime":{},"version":1}}"#,
        min * MINUTE,
        max * MINUTE
    );
    let mut meta = Meta::parse(id, json.as_bytes()).unwrap();
    meta.tsdb.compaction.level = level as u32;
    meta.tsdb.compaction.failed = b["failed"] == true;
    meta.tsdb.compaction.sources = match b["sources"].as_array() {
        None => vec![id],
        Some(_) => numbers(&b["sources"]).into_iter().map(ulid).collect(),
    };
    meta.thanos.labels = streams[b["stream"].as_u64().unwrap_or(0) as usize].clone();
    meta.thanos.downsample.resolution = b["res"].as_i64().unwrap_or(0);
    meta.thanos.source = b["by"].as_str().unwrap_or(by).into();
    if b["fresh"] == true {
        meta.thanos.upload_time = "2100-01-01T00:00:00Z".into();
    }
    let mut view = view_of(meta, b["index"].as_u64().unwrap_or(10));
    view.deletion = match b["marked"].as_str() {
        Some("young") => Some(deletion(id, YOUNG_S)),
        Some("old") => Some(deletion(id, 0)),
        _ => None,
    };
    if b["no_compact"] == true {
        view.no_compact = Some(no_compact(id, "manual"));
    }
    view
}

/// PL-1 to PL-4.
fn check_invariants(plan: &Plan) {
    let mut taken = BTreeSet::new();
    for job in &plan.jobs {
        let order: Vec<_> = job.sources.iter().map(|s| (s.min_time(), s.id())).collect();
        assert!(order.is_sorted(), "PL-1");
        assert_eq!(job.sources.len(), job.places.len());
        for source in &job.sources {
            assert_eq!(*source.labels, job.labels, "PL-1");
            assert_eq!(source.resolution(), job.resolution, "PL-1");
            assert!(taken.insert(source.id()), "PL-2");
            assert!(source.view.no_compact.is_none(), "PL-3");
        }
    }
}

/// Whether a block belongs to a group that upstream stopped for its overlaps.
fn halted(case: &Value, settings: &Settings) -> impl Fn(&Labels, i64) -> bool + use<> {
    let groups: Vec<(Labels, i64)> = list(&case["halted"])
        .map(|g| (labels(&g["labels"]), g["res"].as_i64().unwrap_or(0)))
        .collect();
    let replica_labels = settings.replica_labels.clone();
    move |labels, resolution| {
        let labels = filter::strip(labels, &replica_labels);
        groups.contains(&(labels, resolution))
    }
}

type Made = (i64, Labels, i64, i64, u64, Vec<u64>);

fn expected_made(case: &Value, halted: &impl Fn(&Labels, i64) -> bool) -> BTreeSet<Made> {
    list(&case["made"])
        .map(|m| {
            let mut sources = numbers(&m["sources"]);
            sources.sort_unstable();
            (
                m["res"].as_i64().unwrap_or(0),
                labels(&m["labels"]),
                m["min"].as_i64().unwrap(),
                m["max"].as_i64().unwrap(),
                m["level"].as_u64().unwrap(),
                sources,
            )
        })
        .filter(|m| !halted(&m.1, m.0))
        .collect()
}

impl World {
    fn left(&self, halted: &impl Fn(&Labels, i64) -> bool) -> (Vec<u64>, BTreeSet<Made>) {
        let mut left = Vec::new();
        let mut made = BTreeSet::new();
        for block in self.view.blocks.iter().filter(|b| b.deletion.is_none()) {
            let meta = &block.meta;
            let resolution = meta.thanos.downsample.resolution;
            if halted(&meta.thanos.labels, resolution) {
                continue;
            }
            if !self.made.contains(&block.id()) {
                left.push(number(block.id()));
                continue;
            }
            let sources = meta.tsdb.compaction.sources.iter();
            made.insert((
                resolution,
                meta.thanos.labels.clone(),
                meta.tsdb.min_time / MINUTE,
                meta.tsdb.max_time / MINUTE,
                u64::from(meta.tsdb.compaction.level),
                sources.map(|id| number(*id)).collect(),
            ));
        }
        left.sort_unstable();
        (left, made)
    }

    /// Given blocks that were marked, by reason, and made ones that were.
    fn marked(&self) -> (BTreeMap<String, Vec<u64>>, u64) {
        let mut by_reason: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        let mut made = 0;
        for block in &self.view.blocks {
            let Some(mark) = block.no_compact.as_ref().filter(|m| m.reason != "manual") else {
                continue;
            };
            if self.made.contains(&block.id()) {
                made += 1;
            } else {
                let list = by_reason.entry(mark.reason.clone()).or_default();
                list.push(number(block.id()));
            }
        }
        (by_reason, made)
    }
}

fn cases() -> Vec<Value> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/goldens/plans.jsonl");
    let text = std::fs::read_to_string(file).unwrap();
    let cases: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(cases.len(), 2000);
    cases
}

#[test]
fn the_first_look_excludes_what_thanos_excludes() {
    for case in cases() {
        let world = World::of(&case);
        let plan = plan(&world.view, &world.settings, NOW);
        let mut ours: HashMap<&str, Vec<u64>> = HashMap::new();
        for (id, state) in &plan.excluded {
            ours.entry(state.as_str()).or_default().push(number(*id));
        }
        for state in [
            State::TimeExcluded,
            State::LabelExcluded,
            State::TooFresh,
            State::MarkedForDeletion,
            State::Duplicate,
        ] {
            let ours = ours.remove(state.as_str()).unwrap_or_default();
            let theirs = numbers(&case["states"][state.as_str()]);
            assert_eq!(ours, theirs, "case {} {}", case["case"], state.as_str());
        }
    }
}

#[test]
fn the_first_steps_are_those_of_thanos() {
    let mut planned = 0;
    for case in cases() {
        let mut world = World::of(&case);
        world.settings.one_pass = false;
        let halted = halted(&case, &world.settings);
        let plan = plan(&world.view, &world.settings, NOW);
        let mut ours: Vec<Vec<u64>> = plan
            .jobs
            .iter()
            .filter(|j| !halted(&j.labels, j.resolution))
            .map(|j| j.source_ids().into_iter().map(number).collect())
            .collect();
        ours.sort();
        let theirs: Vec<Vec<u64>> = list(&case["first"]).map(numbers).collect();
        assert_eq!(ours, theirs, "case {}", case["case"]);
        planned += ours.len();
    }
    assert!(planned > 1000);
}

fn ends_as_thanos(one_pass: bool) {
    let (mut jobs, mut marks) = (0, 0);
    for case in cases() {
        let mut world = World::of(&case);
        world.settings.one_pass = one_pass;
        let halted = halted(&case, &world.settings);
        world.run();
        let (left, made) = world.left(&halted);
        let name = format!("case {} one pass {one_pass}", case["case"]);
        let stripped: HashMap<u64, (Labels, i64)> = world
            .view
            .blocks
            .iter()
            .map(|b| {
                let meta = &b.meta.thanos;
                (
                    number(b.id()),
                    (meta.labels.clone(), meta.downsample.resolution),
                )
            })
            .collect();
        let mut expected = numbers(&case["left"]);
        expected.retain(|n| !halted(&stripped[n].0, stripped[n].1));
        assert_eq!(left, expected, "{name}");
        assert_eq!(made, expected_made(&case, &halted), "{name}");
        if case["halted"].is_null() {
            let (by_reason, made_marked) = world.marked();
            let theirs: BTreeMap<String, Vec<u64>> = case["no_compact"]
                .as_object()
                .into_iter()
                .flatten()
                .map(|(reason, ids)| (reason.clone(), numbers(ids)))
                .collect();
            assert_eq!(by_reason, theirs, "{name}");
            assert_eq!(
                made_marked,
                case["made_marked"].as_u64().unwrap_or(0),
                "{name}"
            );
            marks += by_reason.len();
        }
        jobs += world.made.len();
    }
    assert!(jobs > 1000 && marks > 100, "{jobs} {marks}");
}

#[test]
fn step_by_step_ends_as_thanos_does() {
    ends_as_thanos(false);
}

#[test]
fn one_pass_ends_as_thanos_does() {
    ends_as_thanos(true);
}

fn selector(case: &Value) -> relabel::Selector {
    let Some(yaml) = case["relabel"].as_str() else {
        return relabel::Selector::default();
    };
    let rules: Vec<Value> = serde_saphyr::from_str(yaml).unwrap();
    let rule = |r: &Value| relabel::Rule {
        source_labels: list(&r["source_labels"])
            .map(|l| l.as_str().unwrap().to_owned())
            .collect(),
        regex: match &r["regex"] {
            Value::Null => "(.*)".to_owned(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        },
        modulus: r["modulus"].as_u64().unwrap_or(0),
        target_label: r["target_label"].as_str().unwrap_or("").to_owned(),
        action: r["action"].as_str().unwrap().to_owned(),
        ..relabel::Rule::default()
    };
    relabel::Selector::new(&rules.iter().map(rule).collect::<Vec<_>>()).unwrap()
}
