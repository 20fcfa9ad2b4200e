//! `penalty` against a naive model.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;

use super::Dedup;
use super::batch::Limits;
use super::overlap::Scratch;
use super::overlap_tests::{float_histogram, histogram};
use super::series_support::{MergedSeries, Part, merge_parts};
use super::test_support::{
    Block, Chunk, SeriesMap, Setup, encode, float_chunk, labels, naive, pool,
};
use crate::tsdb::chunkenc::CounterReset;

type Sample = (i64, String);

/// The rule as it is written down, on lists.
fn fold_two(a: &[Sample], b: &[Sample]) -> Vec<Sample> {
    let (mut i, mut j) = (0, 0);
    let (mut penalty_a, mut penalty_b) = (0, 0);
    let mut last = i64::MIN;
    let mut out = Vec::new();
    let seek = |list: &[Sample], at: &mut usize, to: i64| {
        while list.get(*at).is_some_and(|(t, _)| *t < to) {
            *at += 1;
        }
    };
    while last < i64::MAX {
        let next = last.saturating_add(1);
        seek(a, &mut i, next.saturating_add(penalty_a));
        seek(b, &mut j, next.saturating_add(penalty_b));
        let (sample, is_a) = match (a.get(i), b.get(j)) {
            (None, None) => break,
            (Some(a), None) => (a, true),
            (None, Some(b)) => (b, false),
            (Some(a), Some(b)) if a.0 <= b.0 => (a, true),
            (_, Some(b)) => (b, false),
        };
        let other = match last {
            i64::MIN => 5000,
            last => sample.0.saturating_sub(last).saturating_mul(2),
        };
        (penalty_a, penalty_b) = if is_a { (0, other) } else { (other, 0) };
        last = sample.0;
        out.push(sample.clone());
    }
    out
}

/// What `penalty` makes of the parts of one series; the place of a part is its
/// rank, and `keep` says which samples of it count.
fn model<'a>(parts: impl Iterator<Item = (&'a Part, (i64, i64))>) -> Vec<Sample> {
    let mut runs: BTreeMap<u32, BTreeMap<u32, BTreeMap<i64, String>>> = BTreeMap::new();
    for (part, keep) in parts {
        for (t, value) in naive(std::slice::from_ref(&part.chunks)) {
            if keep == ALWAYS || (keep.0..keep.1).contains(&t) {
                let replicas = runs.entry(part.run).or_default();
                let samples = replicas.entry(part.replica).or_default();
                samples.entry(t).or_insert(value);
            }
        }
    }
    let fold = |replicas: BTreeMap<u32, BTreeMap<i64, String>>| {
        let lists = replicas.into_values().map(|s| s.into_iter().collect());
        lists.reduce(|a: Vec<Sample>, b| fold_two(&a, &b))
    };
    let mut runs: Vec<_> = runs.into_values().filter_map(fold).collect();
    runs.sort();
    runs.concat()
}

const ALWAYS: (i64, i64) = (i64::MIN, i64::MAX);

/// Steps of a replica: samples, and the pause before them in steps.
#[derive(Debug, Clone)]
struct Stretch {
    kind: u8,
    samples: usize,
    pause: i64,
    jitter: i64,
    shift: i32,
}

fn stretch() -> impl Strategy<Value = Stretch> {
    let kind = prop_oneof![4 => Just(0u8), 1 => 1..5u8];
    let pause = prop_oneof![4 => Just(0i64), 2 => 1..5i64, 1 => -3..0i64];
    let samples = prop_oneof![1..6usize, 1..=120usize];
    (kind, samples, pause, 0..4i64, 0..2i32).prop_map(|(kind, samples, pause, jitter, shift)| {
        Stretch {
            kind,
            samples,
            pause,
            jitter,
            shift,
        }
    })
}

/// One chunk, or more where histograms force a cut. No two samples of all
/// chunks made with one `serial` are equal.
fn chunk(stretch: &Stretch, step: i64, t: &mut i64, serial: &mut u64) -> Vec<Chunk> {
    *t += stretch.pause * step;
    encode(|encoder, out| {
        for i in 0..stretch.samples as i64 {
            *t += step + (i * 7919 + *t) % (stretch.jitter * step / 8 + 1);
            *serial += 1;
            let (n, shift) = (*serial, stretch.shift);
            let pushed = match stretch.kind {
                0 => encoder.push_float(*t, n as f64, out),
                1 => encoder.push_histogram(*t, &histogram(n, shift, CounterReset::Unknown), out),
                2 => encoder.push_histogram(*t, &histogram(n, shift, CounterReset::Gauge), out),
                kind => {
                    let hints = [CounterReset::Unknown, CounterReset::Gauge];
                    let h = float_histogram(n, shift, hints[usize::from(kind - 3)]);
                    encoder.push_float_histogram(*t, &h, out)
                }
            };
            pushed.unwrap();
        }
    })
}

/// Of a block: where it begins, in eighths of a step, and its chunks.
type BlockPlan = (i64, Vec<Stretch>);
/// Runs, their replicas, and of each a block or two.
type Plan = Vec<Vec<Vec<BlockPlan>>>;

fn plan(runs: std::ops::Range<usize>, blocks: usize) -> impl Strategy<Value = Plan> {
    let block = (0..20i64, prop::collection::vec(stretch(), 1..7)).boxed();
    let replica = prop_oneof![
        3 => prop::collection::vec(block.clone(), 1),
        1 => prop::collection::vec(block, blocks),
    ];
    let run = prop::collection::vec(replica, 1..5);
    prop::collection::vec(run, runs)
}

fn step() -> impl Strategy<Value = i64> {
    prop_oneof![Just(10i64), Just(1000), Just(15_000), Just(30_000)]
}

/// Runs one after the other or, given a `spacing` (ms), that far apart.
fn build(plan: &Plan, step: i64, spacing: Option<i64>) -> Vec<Part> {
    let (mut start, mut serial) = (0, 0);
    let mut parts = Vec::new();
    for (run, replicas) in (0..).zip(plan) {
        let mut end = start;
        for (replica, blocks) in (0..).zip(replicas) {
            for (offset, stretches) in blocks {
                let mut t = start + offset * step / 8;
                let mut chunks: Vec<Chunk> = Vec::new();
                for stretch in stretches {
                    // A block's own chunks do not overlap.
                    let floor = chunks.last().map_or(start, |c| c.max_time);
                    t = t.max(floor + step * (-stretch.pause).max(0));
                    chunks.extend(chunk(stretch, step, &mut t, &mut serial));
                }
                end = end.max(t);
                parts.push(Part {
                    run,
                    replica,
                    chunks,
                });
            }
        }
        start = spacing.map_or(end + 1, |spacing| start + spacing);
    }
    // Ranks follow the replicas, not the runs.
    parts.sort_by_key(|p| (p.replica, p.run));
    parts
}

fn parts(runs: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Part>> {
    (plan(runs, 2), step()).prop_map(|(plan, step)| build(&plan, step, None))
}

/// What must hold of every result.
pub(super) fn check(parts: &[Part], merged: &MergedSeries) -> Result<(), TestCaseError> {
    let expected = model(parts.iter().map(|p| (p, ALWAYS)));
    let samples = merged.samples();
    prop_assert_eq!(&samples, &expected);
    let ledger = merged.ledger;
    prop_assert_eq!(ledger.read, ledger.written + ledger.deduplicated);
    prop_assert_eq!(ledger.written, samples.len() as u64);
    let fates = ledger.chunks_passed + ledger.chunks_deduplicated + ledger.chunks_replaced;
    prop_assert_eq!(ledger.chunks_read, fates);
    let written = ledger.chunks_passed + ledger.chunks_encoded;
    prop_assert_eq!(merged.chunks.len() as u64, written);
    let inputs: Vec<&Chunk> = parts.iter().flat_map(|p| &p.chunks).collect();
    for (chunk, copy) in merged.chunks.iter().zip(&merged.copies) {
        let samples = chunk.decode();
        prop_assert_eq!(chunk.min_time, samples.first().unwrap().0);
        prop_assert_eq!(chunk.max_time, samples.last().unwrap().0);
        match copy {
            Some(i) => prop_assert_eq!(chunk, inputs[*i]),
            None => prop_assert!(chunk.samples() <= 120),
        }
    }
    // What is there as a whole, and not twice, passed.
    let overlaps = |a: &Chunk, b: &Chunk| a.min_time <= b.max_time && b.min_time <= a.max_time;
    let mut input = 0;
    for part in parts {
        let peers = parts
            .iter()
            .filter(|p| (p.run, p.replica) == (part.run, part.replica));
        let peers: Vec<&Chunk> = peers.flat_map(|p| &p.chunks).collect();
        for chunk in &part.chunks {
            let whole: Vec<Sample> = chunk.decode().into_iter().map(|(t, v, _)| (t, v)).collect();
            let found = samples.windows(whole.len()).any(|w| w == whole);
            let alone = peers.iter().filter(|peer| overlaps(peer, chunk)).count() == 1;
            let passed = merged.copies.contains(&Some(input));
            prop_assert!(!alone || found == passed, "chunk {}", input);
            input += 1;
        }
    }
    Ok(())
}

pub(super) fn merge(parts: &[Part]) -> MergedSeries {
    merge_parts(parts, Dedup::Penalty, &mut Scratch::default()).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn replicas_merge_like_the_model(parts in parts(1..2)) {
        check(&parts, &merge(&parts))?;
    }

    #[test]
    fn each_run_begins_afresh(mut parts in parts(1..5), numbers in prop::collection::vec(0..9u32, 4)) {
        let merged = merge(&parts);
        check(&parts, &merged)?;
        // The numbers of the runs only have to differ.
        let number = |run: u32| numbers[run as usize] * 10 + run;
        parts.iter_mut().for_each(|p| p.run = number(p.run));
        prop_assert_eq!(merged.chunks, merge(&parts).chunks);
    }

    #[test]
    fn runs_that_overlap_are_one(mut parts in parts(1..2), numbers in prop::collection::vec(0..9u32, 8)) {
        let merged = merge(&parts);
        let hull = |p: &Part| (p.chunks[0].min_time, p.chunks.last().unwrap().max_time);
        let mut hulls: Vec<_> = parts.iter().map(hull).collect();
        hulls.sort_unstable();
        let mut end = hulls[0].1;
        for (min, max) in hulls {
            prop_assume!(min <= end);
            end = end.max(max);
        }
        for (part, number) in parts.iter_mut().zip(numbers.iter().cycle()) {
            part.run = *number;
        }
        prop_assert_eq!(merged.chunks, merge(&parts).chunks);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn many_small_replicas_fold_like_the_model(
        replicas in prop::collection::vec(prop::collection::vec(0..24i64, 1..5), 2..7),
        unit in prop_oneof![Just(1i64), Just(2500), Just(2500), Just(10_000)],
        // Small chunks have sharp bounds.
        cut in prop_oneof![Just(1usize), Just(1), 2..4usize],
    ) {
        let mut serial = 0.0;
        let mut part = |(replica, mut times): (u32, Vec<i64>)| {
            times.sort_unstable();
            times.dedup();
            let mut sample = |t: &i64| {
                serial += 1.0;
                (t * unit, serial)
            };
            let samples: Vec<(i64, f64)> = times.iter().map(&mut sample).collect();
            let chunks = samples.chunks(cut).map(float_chunk).collect();
            Part { run: 0, replica, chunks }
        };
        let parts: Vec<Part> = (0..).zip(replicas).map(&mut part).collect();
        check(&parts, &merge(&parts))?;
    }
}

/// A few series with the parts of their blocks, as blocks.
fn blocks(series: &[Vec<Part>]) -> Vec<Block> {
    let mut places: Vec<(u32, u32)> = series
        .iter()
        .flatten()
        .map(|p| (p.replica, p.run))
        .collect();
    places.sort_unstable();
    places.dedup();
    let write = |(replica, run): (u32, u32)| {
        let of = |parts: &Vec<Part>| -> Vec<Chunk> {
            let here = parts
                .iter()
                .filter(|p| (p.replica, p.run) == (replica, run));
            here.flat_map(|p| p.chunks.clone()).collect()
        };
        let series: SeriesMap = (0..)
            .zip(series)
            .map(|(n, parts)| (labels(&[("n", &format!("{n}"))]), of(parts)))
            .filter(|(_, chunks)| !chunks.is_empty())
            .collect();
        let mut block = Block::write(&format!("{replica}-{run}"), LONG, &series, &[], 1 << 20);
        (block.replica, block.run) = (replica, run);
        block
    };
    places.into_iter().map(write).collect()
}

const LONG: (i64, i64) = (-1, i64::MAX);

/// Longer than any run, steps.
const SPACING: i64 = 1100;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn blocks_merge_like_the_model_whatever_the_threads(
        plans in prop::collection::vec(plan(1..4, 1), 1..5),
        step in step(),
        keeps in prop::collection::vec((0..400i64, prop_oneof![0..SPACING, Just(SPACING)]), 12),
    ) {
        let spacing = SPACING * step;
        let build = |plan: &Plan| build(plan, step, Some(spacing));
        let series: Vec<Vec<Part>> = plans.iter().map(build).collect();
        let mut sources = blocks(&series);
        // Each block is cut in its own way, and of some nothing is left.
        let mut kept = BTreeMap::new();
        for (block, (from, len)) in sources.iter_mut().zip(keeps.iter().cycle()) {
            let start = i64::from(block.run) * spacing;
            let from = start + from * step;
            let keep = (from, (from + len * step).min(start + spacing));
            block.keep = Some(keep);
            kept.insert((block.replica, block.run), keep);
        }
        let one = pool(1);
        let mut setup = Setup::new(&one, &sources);
        setup.dedup = Dedup::Penalty;
        let (result, merged) = setup.merge(&sources).unwrap();
        let read = result.read();
        let mut deleted = 0;
        for (n, parts) in series.iter().enumerate() {
            let keep = |p: &Part| kept[&(p.replica, p.run)];
            let expected = model(parts.iter().map(|p| (p, keep(p))));
            let found = read.get(&labels(&[("n", &format!("{n}"))]));
            prop_assert_eq!(naive(&[found.cloned().unwrap_or_default()]), expected);
            for part in parts {
                let (start, end) = keep(part);
                let times = part.chunks.iter().flat_map(Chunk::decode);
                deleted += times.filter(|(t, ..)| !(start..end).contains(t)).count();
            }
        }
        prop_assert_eq!(merged.ledger.deleted, deleted as u64);
        let three = pool(3);
        for (bytes, series) in [(1, 1), (usize::MAX, 2)] {
            for threads in [&one, &three] {
                setup.pool = Arc::clone(threads);
                setup.tuning.limits = Limits { bytes, series };
                let (again, figures) = setup.merge(&sources).unwrap();
                prop_assert_eq!(&again.index, &result.index);
                prop_assert_eq!(&again.segments, &result.segments);
                prop_assert_eq!(figures.ledger, merged.ledger);
            }
        }
    }
}
