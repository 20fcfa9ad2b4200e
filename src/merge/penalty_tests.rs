//! `penalty` against rows known from upstream's tests, and what it promises.

use super::Dedup;
use super::fixture_tests::encodings;
use super::ledger::Ledger;
use super::overlap::Scratch;
use super::overlap_tests::{aggregate, constant};
use super::penalty_model_tests::{check, merge};
use super::series_support::{Part, merge_parts, penalty_series};
use super::test_support::{Chunk, Setup, float_chunk, naive, pool, text};
use crate::tsdb::chunkenc::Encoding;

/// Replicas by their samples, and what becomes of them.
fn check_rows(replicas: &[&[(i64, f64)]], expected: &[(i64, f64)]) {
    let sources: Vec<Vec<Chunk>> = replicas.iter().map(|s| vec![float_chunk(s)]).collect();
    let merged = penalty_series(&sources).unwrap();
    assert_eq!(merged.samples(), floats(expected));
}

fn floats(samples: &[(i64, f64)]) -> Vec<(i64, String)> {
    samples.iter().map(|&(t, v)| (t, text(v))).collect()
}

/// Samples of one value at these times.
fn at(times: &[i64], v: f64) -> Vec<(i64, f64)> {
    times.iter().map(|t| (*t, v)).collect()
}

#[test]
fn the_first_replica_is_preferred() {
    let a = [
        (10_000, 10.0),
        (20_000, 11.0),
        (30_000, 12.0),
        (40_000, 13.0),
    ];
    let b = [
        (10_000, 20.0),
        (20_000, 21.0),
        (30_000, 22.0),
        (40_000, 23.0),
    ];
    check_rows(&[&a, &b], &a);
}

#[test]
fn the_one_that_starts_earlier_is_followed() {
    let a = at(&[10_100, 20_100, 30_100, 40_100], 1.0);
    let b = at(&[10_000, 20_000, 30_000, 40_000], 2.0);
    check_rows(&[&a, &b], &b);
}

#[test]
fn one_missed_scrape_is_no_reason_to_switch() {
    let a = at(&[10_000, 20_000, 40_000], 1.0);
    check_rows(&[&a, &at(&[10_000, 20_000, 30_000, 40_000], 2.0)], &a);
    check_rows(&[&a, &at(&[15_000, 25_000, 35_000, 45_000], 2.0)], &a);
}

#[test]
fn a_longer_pause_is_and_the_other_one_is_then_followed() {
    let a = at(&[10_000, 20_000, 30_000, 60_000, 70_000], 1.0);
    let b = at(&[10_100, 20_100, 30_100, 40_100, 50_100, 60_100], 2.0);
    let mut expected = at(&[10_000, 20_000, 30_000], 1.0);
    expected.extend(at(&[50_100, 60_100], 2.0));
    check_rows(&[&a, &b], &expected);
}

#[test]
fn what_follows_the_end_of_the_followed_one_within_two_steps_is_lost() {
    let a = at(&[5000, 6000, 7000], 1.0);
    let b = at(&[5000, 6000, 7000, 8000, 9000], 2.0);
    check_rows(&[&a, &b], &a);
}

#[test]
fn without_a_step_yet_five_seconds_count() {
    let mut expected = at(&[0], 1.0);
    expected.extend(at(&[5001], 2.0));
    check_rows(
        &[&at(&[0], 1.0), &at(&[1, 4000, 5000, 5001], 2.0)],
        &expected,
    );
}

#[test]
fn the_first_two_of_three_are_folded_first() {
    let a = at(&[0, 10_000, 20_000], 1.0);
    let b = at(&[100, 10_100, 20_100, 50_100], 2.0);
    let c = at(&[50, 10_050, 20_050, 45_000, 50_050], 3.0);
    let mut expected = a.clone();
    expected.extend(at(&[45_000, 50_050], 3.0));
    check_rows(&[&a, &b, &c], &expected);
}

#[test]
fn a_sample_that_a_lower_fold_stands_on_is_not_overlooked() {
    let a = at(&[31_868], 1.0);
    let b = at(&[30_000], 2.0);
    let c = at(&[18_750, 31_868], 3.0);
    let d = at(&[15_000, 30_000], 4.0);
    // In chunks of one sample, whose index entries say all about them.
    let chunks = |samples: Vec<(i64, f64)>| samples.chunks(1).map(float_chunk).collect();
    let merged = penalty_series(&[a, b, c, d].map(chunks)).unwrap();
    assert_eq!(merged.samples(), floats(&[(15_000, 4.0), (30_000, 2.0)]));
}

#[test]
fn the_ends_of_time_are_no_trouble() {
    let a = at(&[i64::MIN + 1, 0, i64::MAX - 1], 1.0);
    let b = at(&[i64::MIN + 7000, 5, i64::MAX - 5, i64::MAX], 2.0);
    for sources in [[&a, &b], [&b, &a]] {
        let part = |(replica, samples): (u32, &&Vec<(i64, f64)>)| Part {
            run: 0,
            replica,
            chunks: vec![float_chunk(samples)],
        };
        let parts: Vec<Part> = (0..).zip(&sources).map(part).collect();
        check(&parts, &merge(&parts)).unwrap();
    }
}

/// Chunks of 20 samples every 15 s.
fn regular(start: i64, chunks: i64, v: f64) -> Vec<Chunk> {
    let chunk = |i| constant(start + i * 20 * 15_000, 15_000, 20, v + i as f64);
    (0..chunks).map(chunk).collect()
}

#[test]
fn the_followed_replica_passes_and_the_other_is_not_even_decoded() {
    let (a, mut b) = (regular(0, 9, 1.0), regular(1000, 9, 100.0));
    // Its first one is, to see what comes five seconds after the very first sample.
    for chunk in &mut b[1..] {
        chunk.data.truncate(14);
    }
    let merged = penalty_series(&[a.clone(), b]).unwrap();
    assert_eq!(merged.chunks, a);
    let expected = Ledger {
        read: 360,
        written: 180,
        deduplicated: 180,
        chunks_read: 18,
        chunks_passed: 9,
        chunks_deduplicated: 9,
        ..Ledger::default()
    };
    assert_eq!(merged.ledger, expected);
}

#[test]
fn only_chunks_around_a_switch_are_encoded_anew() {
    // The first one stops in the middle of its fifth chunk.
    let (mut a, b) = (regular(0, 5, 1.0), regular(1000, 9, 100.0));
    a[4] = constant(a[4].min_time, 15_000, 7, 1.0);
    let merged = penalty_series(&[a, b]).unwrap();
    let copies = [0, 1, 2, 3, 4].map(Some).into_iter();
    // Two scrapes behind the last one are lost, the rest of that chunk is new.
    let copies = copies.chain([None]).chain([10, 11, 12, 13].map(Some));
    assert!(
        merged.copies.iter().copied().eq(copies),
        "{:?}",
        merged.copies
    );
    assert_eq!(merged.ledger.chunks_encoded, 1);
    assert_eq!(merged.ledger.chunks_replaced, 1);
}

#[test]
fn a_series_that_one_replica_has_is_merged_one_to_one() {
    let chunks = vec![constant(0, 10, 20, 1.0), constant(150, 10, 20, 2.0)];
    let late = vec![constant(395, 10, 20, 3.0)];
    let part = |run, replica, chunks: &Vec<Chunk>| Part {
        run,
        replica,
        chunks: chunks.clone(),
    };
    let parts = [
        part(0, 3, &chunks),
        part(0, 3, &late),
        part(1, 0, &vec![constant(5000, 1, 9, 0.0)]),
    ];
    let merged = merge(&parts);
    let one_to_one = merge_parts(&parts, Dedup::OneToOne, &mut Scratch::default()).unwrap();
    assert_eq!(merged.chunks, one_to_one.chunks);
    assert_eq!(merged.ledger, one_to_one.ledger);
    assert_eq!(merged.copies, [None, Some(2), Some(3)]);
}

#[test]
fn downsampled_chunks_are_as_in_one_to_one() {
    let (a, b) = (aggregate(0, 1.0), aggregate(1200, 2.0));
    let merged = penalty_series(&[vec![a.clone()], vec![a.clone(), b.clone()]]).unwrap();
    assert_eq!(merged.chunks, [a.clone(), b.clone()]);
    assert_eq!(merged.ledger.chunks_deduplicated, 1);
    let error = penalty_series(&[vec![a], vec![aggregate(900, 1.0)]]).unwrap_err();
    assert!(
        error
            .error
            .to_string()
            .starts_with("downsampled chunks overlap")
    );
}

#[test]
fn newer_encodings_are_written_as_those_of_today() {
    for (name, block, _) in encodings() {
        let one = std::slice::from_ref(&block);
        let (expected, alone) = Setup::new(&pool(1), one).merge(one).unwrap();
        let mut other = block.clone();
        other.replica = 1;
        let sources = [block, other];
        let mut setup = Setup::new(&pool(1), &sources);
        setup.dedup = Dedup::Penalty;
        let (result, merged) = setup.merge(&sources).unwrap();
        let (result, expected) = (result.read(), expected.read());
        assert!(result.keys().eq(expected.keys()), "{name}");
        for (labels, chunks) in expected {
            let found = naive(&[result[&labels].clone()]);
            assert_eq!(found, naive(&[chunks]), "{name} {labels:?}");
        }
        let dropped = alone.ledger.start_times_dropped;
        assert_eq!(merged.ledger.start_times_dropped, dropped, "{name}");
    }
}

#[test]
fn a_damaged_chunk_that_is_looked_at_is_blamed() {
    let (a, b) = (regular(0, 2, 1.0), regular(600_000, 2, 2.0));
    let mut short = b.clone();
    short[1].data.truncate(14);
    let mut liar = b.clone();
    liar[1].max_time -= 1;
    let mut other = b;
    other[1].encoding = Encoding::Histogram.as_byte();
    let mut scratch = Scratch::default();
    for bad in [short, liar, other] {
        let part = |(replica, chunks): (u32, Vec<Chunk>)| Part {
            run: 0,
            replica,
            chunks,
        };
        let parts: Vec<Part> = (0..).zip([a.clone(), bad]).map(part).collect();
        let error = merge_parts(&parts, Dedup::Penalty, &mut scratch).unwrap_err();
        assert_eq!(error.input, 3);
        scratch.reset();
        let good = [a.clone(), a.clone()];
        let parts: Vec<Part> = (0..).zip(good).map(part).collect();
        let merged = merge_parts(&parts, Dedup::Penalty, &mut scratch).unwrap();
        assert_eq!(merged.chunks, a);
    }
}
