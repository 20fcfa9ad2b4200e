use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::plan::blocks_for_tests::*;
use crate::plan::view::{BlockView, BucketView, PartialView};
use crate::plan::{Plan, Settings, plan};

fn labels(pairs: &[(&str, &str)]) -> Labels {
    let pair = |(n, v): &(&str, &str)| ((*n).to_owned(), (*v).to_owned());
    pairs.iter().map(pair).collect()
}

fn shard(text: &str) -> Shard {
    text.parse().unwrap()
}

#[test]
fn a_shard_is_a_number_of_a_number() {
    for text in ["0/1", "0/4", "3/4", "9999/10000", "00/04"] {
        assert!(text.parse::<Shard>().is_ok(), "{text}");
    }
    assert_eq!(shard("3/4").to_string(), "3/4");
    for text in [
        "",
        "/",
        "1",
        "4/4",
        "5/4",
        "0/0",
        "-1/4",
        "+1/4",
        "1/+4",
        "1/4/4",
        "a/4",
        " 1/4",
        "1/ 4",
        "0/10001",
        "/4",
        "1/",
        "4294967296/4294967297",
    ] {
        let error = text.parse::<Shard>().unwrap_err();
        assert!(error.contains("i/n") && error.contains(text), "{error}");
    }
}

/// Which shard a stream has is part of the interface: several processes, and
/// several releases, have to agree. Hashes of labels are those of Thanos' group
/// keys.
#[test]
fn the_shard_of_a_stream_is_for_ever() {
    let two = labels(&[("foo", "bar"), ("foo1", "bar2")]);
    for (of, index) in [
        (2, 2_124_638_872_457_683_483_u64 % 2),
        (7, 2_124_638_872_457_683_483 % 7),
        (10_000, 3_483),
    ] {
        let index = u32::try_from(index).unwrap();
        assert!(Shard::new(index, of).unwrap().has_stream(&two, &[]));
    }
    let folder = Ulid::from_string("01JXWEB6KQ4Y7D6ZCQ2N8VJ5TA").unwrap();
    let index = (folder.0 & u128::from(u64::MAX)) % 5;
    let index = u32::try_from(index).unwrap();
    assert!(Shard::new(index, 5).unwrap().has_folder(folder));
}

/// A bucket with streams of two replicas, one of them with lower resolutions,
/// duplicates, marked blocks and abandoned folders.
fn bucket(streams: u64, seed: u64) -> BucketView {
    let mut all: Vec<BlockView> = Vec::new();
    for stream in 0..streams {
        let cluster = format!("c{}", stream.wrapping_mul(31).wrapping_add(seed));
        for replica in ["a", "b"] {
            let of = labels(&[("cluster", &cluster), ("replica", replica)]);
            let mut add = |level: usize, range: (i64, i64), sources: Option<u64>| {
                let n = all.len() as u64 + 1;
                let sources = sources.unwrap_or(n);
                all.push(with(block(n, level, range, &[sources]), &of));
                n
            };
            let first = add(RAW, (0, 2), None);
            for window in 1..6 {
                add(RAW, (window * 2, window * 2 + 2), None);
            }
            let long = add(RAW, (336, 384), None);
            add(RAW, (500, 502), None);
            if replica == "b" && stream % 2 == 0 {
                add(FIVE, (336, 384), Some(long));
            }
            // Outdated: the same block again.
            add(RAW, (0, 2), Some(first));
        }
    }
    let partials = (0..20).map(|n| PartialView {
        id: Ulid::from_parts(9_000 + n, u128::from(n.wrapping_mul(seed | 1))),
        objects: 1,
        bytes: 1,
        modified_ms: 0,
        corrupted: None,
        deletion: None,
    });
    BucketView {
        partials: partials.collect(),
        ..view(all)
    }
}

fn with(mut block: BlockView, labels: &Labels) -> BlockView {
    let meta = Arc::make_mut(&mut block.meta);
    meta.thanos.labels.clone_from(labels);
    block
}

fn settings(shard: Option<Shard>) -> Settings {
    Settings {
        shard,
        replica_labels: vec!["replica".to_owned()],
        vertical: true,
        retention_ms: [30 * DAY, 0, 0],
        ..Settings::default()
    }
}

/// What a plan does, in words that can be sorted.
fn actions(plan: &Plan) -> Vec<String> {
    let jobs = plan.jobs.iter().map(|job| {
        let sources = job.source_ids().into_iter().map(|id| id.to_string());
        let sources: Vec<String> = sources.collect();
        let sources = sources.join(" ");
        format!("job {} {} {sources}", job.group, job.products.count())
    });
    let garbage = plan.garbage.iter();
    let garbage = garbage.map(|g| format!("garbage {} by {}", g.block, g.covered_by));
    let retired = plan.retired.iter().map(|r| format!("retire {}", r.block));
    let deletions = plan.deletions.iter().map(|d| format!("delete {}", d.block));
    let marks = plan.marks.iter().map(|m| format!("mark {}", m.block));
    let partials = plan.partials.iter().map(|p| format!("clean {}", p.folder));
    let removals = plan.removals.iter().map(|r| format!("goes {}", r.block));
    let held = plan.held.iter();
    let held = held.map(|h| format!("held {} {} {:?}", h.group, h.why.as_str(), h.blocks));
    let streams = plan.streams.iter();
    let streams = streams.map(|s| format!("stream {} {:?}", s.key, s.labels));
    let all = jobs.chain(garbage).chain(retired).chain(deletions);
    let all = all.chain(marks).chain(partials).chain(removals);
    let mut all: Vec<String> = all.chain(held).chain(streams).collect();
    all.sort_unstable();
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// PL-8 for any number of shards.
    #[test]
    fn shards_together_are_the_whole(streams in 1_u64..12, seed in any::<u64>(), of in 1_u32..9) {
        let view = bucket(streams, seed);
        let now = at(0) + 40 * DAY;
        let whole = plan(&view, &settings(None), now);
        prop_assert!(whole.jobs.len() as u64 >= streams && whole.partials.len() == 20);
        let mut homes: BTreeMap<Ulid, Vec<u32>> = BTreeMap::new();
        let mut of_stream: BTreeMap<Labels, Vec<u32>> = BTreeMap::new();
        let mut together = Vec::new();
        for index in 0..of {
            let settings = settings(Shard::new(index, of));
            together.extend(actions(&plan(&view, &settings, now)));
            for block in view.blocks.iter().filter(|b| settings.selects(b)) {
                homes.entry(block.id()).or_default().push(index);
                let labels = strip(&block.meta.thanos.labels, &settings.replica_labels);
                of_stream.entry(labels).or_default().push(index);
            }
        }
        together.sort_unstable();
        prop_assert_eq!(together, actions(&whole));
        prop_assert_eq!(homes.len(), view.blocks.len());
        prop_assert!(homes.values().all(|homes| homes.len() == 1));
        for (labels, mut homes) in of_stream {
            homes.dedup();
            prop_assert_eq!(homes.len(), 1, "{:?}", labels);
        }
    }

    /// Whatever the labels are: replicas are together, and in one shard only.
    #[test]
    fn replicas_are_together(
        cluster in ".{0,9}",
        more in proptest::option::of(".{0,9}"),
        replicas in proptest::collection::vec(".{0,9}", 1..5),
        of in 1_u32..50,
    ) {
        let replica_labels = ["a_replica".to_owned(), "replica".to_owned()];
        let home = |labels: &Labels| -> Vec<u32> {
            let has = |i: &u32| Shard::new(*i, of).unwrap().has_stream(labels, &replica_labels);
            (0..of).filter(has).collect()
        };
        let of_replica = |replica: &String| {
            let mut labels = labels(&[("cluster", &cluster), ("replica", replica)]);
            if let Some(more) = &more {
                labels.insert("a_replica".to_owned(), format!("{more}{replica}"));
            }
            home(&labels)
        };
        let homes: Vec<Vec<u32>> = replicas.iter().map(of_replica).collect();
        prop_assert_eq!(homes[0].len(), 1);
        prop_assert!(homes.iter().all(|h| *h == homes[0]));
    }
}

/// Streams spread over the shards: no shard of a bucket with many of them has
/// more than twice its share.
#[test]
fn shards_are_about_equal() {
    let mut counts = [0; 8];
    for n in 0..800 {
        let of = labels(&[("cluster", &format!("cluster-{n}"))]);
        let has = |i: &usize| Shard::new(*i as u32, 8).unwrap().has_stream(&of, &[]);
        counts[(0..8).find(has).unwrap()] += 1;
    }
    assert!(counts.iter().all(|n| (50..200).contains(n)), "{counts:?}");
}
