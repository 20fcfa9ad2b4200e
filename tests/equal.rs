//! One pass, step by step, hourly runs over arriving blocks, any number of
//! threads: the same samples, those of a naive model.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "test code")]

mod support;

use std::collections::BTreeMap;

use lithify::objstore::Bucket;
use lithify::plan::{Dedup, Settings};
use proptest::prelude::*;
use support::blocks::{self, Content, Spec, content, labels};
use support::runs::{HOUR, START, run_at};
use ulid::Ulid;

const NOW: i64 = START + 5000 * HOUR;

fn settings(one_pass: bool, dedup: Dedup) -> Settings {
    Settings {
        replica_labels: vec!["replica".into(), "rule_replica".into()],
        vertical: true,
        one_pass,
        dedup,
        ..Settings::default()
    }
}

/// One block of a random bucket: which window of two hours, which replica,
/// which series it has and when it scrapes.
#[derive(Debug, Clone)]
struct Drawn {
    window: i64,
    windows: i64,
    replica: usize,
    series: Vec<usize>,
    offset: i64,
    /// Scrapes that are missing, in minutes of the window.
    missing: Vec<i64>,
}

fn drawn() -> impl Strategy<Value = Drawn> {
    let windows = prop_oneof![8 => Just(1_i64), 1 => Just(4_i64)];
    let offsets = prop_oneof![2 => Just(0_i64), 1 => Just(13_000_i64), 1 => Just(30_000_i64)];
    let missing = prop::collection::vec(0_i64..120, 0..12);
    let series = prop::collection::vec(0_usize..4, 1..4);
    (0_i64..16, windows, 0_usize..4, series, offsets, missing).prop_map(
        |(window, windows, replica, series, offset, missing)| Drawn {
            window: if windows == 4 { window / 4 * 4 } else { window },
            windows,
            replica,
            series,
            offset,
            missing,
        },
    )
}

/// Labels of the replicas, in the order in which ties are won.
const REPLICAS: [&[(&str, &str)]; 4] = [
    &[("cluster", "c"), ("replica", "a")],
    &[("cluster", "c"), ("replica", "b")],
    &[("cluster", "c"), ("replica", "b"), ("rule_replica", "x")],
    &[("cluster", "c"), ("replica", "c")],
];

/// Values are a function of series and time, so that who comes late does not
/// decide who wins; `by_replica` makes replicas disagree.
fn specs(all: &[Drawn], by_replica: bool) -> Vec<Spec> {
    let mut specs = Vec::new();
    for (n, block) in (1..).zip(all) {
        let from = START + block.window * 2 * HOUR;
        let until = from + block.windows * 2 * HOUR;
        let mut series = BTreeMap::new();
        for &s in &block.series {
            let name = vec![
                ("__name__".to_owned(), "m".to_owned()),
                ("s".to_owned(), s.to_string()),
            ];
            let minutes = (until - from) / 60_000;
            let own = if by_replica {
                block.replica as f64 / 10.0
            } else {
                0.0
            };
            let samples: Vec<(i64, f64)> = (0..minutes)
                .filter(|m| !block.missing.contains(&(m % 120)))
                .map(|m| from + m * 60_000 + block.offset)
                .map(|t| (t, ((t / 1000 % 977) as f64) + s as f64 + own))
                .collect();
            if !samples.is_empty() {
                series.insert(name, samples);
            }
        }
        specs.push(Spec {
            id: Ulid::from_parts(from as u64 + n, u128::from(n)),
            labels: labels(REPLICAS[block.replica]),
            range: (from, until),
            series,
        });
    }
    specs
}

/// For each time the sample of the replica that comes first, then of the block
/// that starts first.
fn naive(specs: &[Spec]) -> Content {
    let mut order: Vec<&Spec> = specs.iter().collect();
    order.sort_by_key(|s| (s.labels.clone(), s.range.0, s.id));
    let mut content = Content::new();
    for spec in order {
        let stream = content.entry(format!("{:?}", labels(&[("cluster", "c")])));
        let stream = stream.or_default();
        for (name, samples) in &spec.series {
            let name: Vec<String> = name.iter().map(|(n, v)| format!("{n}={v}")).collect();
            let all: &mut BTreeMap<i64, String> = stream.entry(name.join(",")).or_default();
            for (t, v) in samples {
                all.entry(*t)
                    .or_insert_with(|| format!("{:016x}", v.to_bits()));
            }
        }
    }
    content
}

/// Two blocks of one replica in one window would be an accident; the second
/// one is left out.
fn without_twins(all: Vec<Drawn>) -> Vec<Drawn> {
    let mut kept: Vec<Drawn> = Vec::new();
    for block in all {
        let end = |d: &Drawn| d.window + d.windows;
        let clash = |d: &Drawn| {
            d.replica == block.replica && d.window < end(&block) && block.window < end(d)
        };
        if !kept.iter().any(clash) {
            kept.push(block);
        }
    }
    kept
}

/// Blocks of one stream stay apart until nothing overlaps, so that a bucket
/// can be read as one content.
async fn settled(bucket: &Bucket) -> Content {
    content(bucket, &["replica", "rule_replica"]).await
}

async fn all_at_once(specs: &[Spec], settings: Settings, threads: usize) -> Content {
    let bucket = Bucket::memory().unwrap();
    for spec in specs {
        blocks::write(&bucket, spec).await;
    }
    let report = run_at(&bucket, settings, threads, NOW).await;
    assert!(report.failures.is_empty(), "{:?}", report.failures);
    assert!(report.ledger().balances());
    settled(&bucket).await
}

/// Blocks arrive one by one, in their order or turned around, with a run after
/// each few of them.
async fn hourly(specs: &[Spec], settings: Settings, every: usize) -> Content {
    let bucket = Bucket::memory().unwrap();
    for (i, few) in specs.chunks(every).enumerate() {
        for spec in few {
            blocks::write(&bucket, spec).await;
        }
        let report = run_at(&bucket, settings.clone(), 1, NOW + i as i64).await;
        assert!(report.failures.is_empty(), "{:?}", report.failures);
    }
    settled(&bucket).await
}

fn on_runtime<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
        .block_on(work)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn every_way_gives_the_samples_of_the_model(
        all in prop::collection::vec(drawn(), 2..14).prop_map(without_twins),
        every in 1_usize..4,
    ) {
        on_runtime(async {
            let agreeing = specs(&all, false);
            let expected = naive(&agreeing);
            let one_to_one = |one_pass| settings(one_pass, Dedup::OneToOne);
            assert_eq!(all_at_once(&agreeing, one_to_one(true), 1).await, expected);
            assert_eq!(all_at_once(&agreeing, one_to_one(false), 2).await, expected);
            assert_eq!(hourly(&agreeing, one_to_one(true), every).await, expected);
            let late: Vec<Spec> = agreeing.iter().rev().cloned().collect();
            assert_eq!(hourly(&late, one_to_one(false), every).await, expected);

            // Where replicas disagree, the first one wins in every way.
            let disagreeing = specs(&all, true);
            let expected = naive(&disagreeing);
            assert_eq!(all_at_once(&disagreeing, one_to_one(true), 2).await, expected);
            assert_eq!(all_at_once(&disagreeing, one_to_one(false), 1).await, expected);
        });
    }

    #[test]
    fn penalty_is_the_same_in_one_pass_and_step_by_step(
        all in prop::collection::vec(drawn(), 2..14).prop_map(without_twins),
    ) {
        on_runtime(async {
            let specs = specs(&all, true);
            let penalty = |one_pass| settings(one_pass, Dedup::Penalty);
            let one = all_at_once(&specs, penalty(true), 2).await;
            assert_eq!(all_at_once(&specs, penalty(false), 1).await, one);
            // Nothing is made up: each sample is one of some replica.
            let union = naive(&specs);
            for (stream, series) in &one {
                for (name, samples) in series {
                    for t in samples.keys() {
                        assert!(union[stream][name].contains_key(t));
                    }
                }
            }
        });
    }
}
