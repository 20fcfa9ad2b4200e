#![allow(clippy::cloned_ref_to_slice_refs, reason = "rows that read alike")]

use std::collections::HashSet;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::plan::DOWNSAMPLED_FROM_MS;
use crate::plan::blocks_for_tests::*;
use crate::plan::policy::{Matchers, Policies, PolicyRule};
use crate::plan::view::BlockView;
use crate::tsdb::Damage;

/// What becomes of block 1 at `now`: `keep`, `covered`, `held: …`, or the name
/// of the reason or proof.
fn fate(blocks: &[BlockView], settings: &Settings, now: i64) -> String {
    let plan = planned(blocks, settings, now);
    let retired = plan.retired.iter().find(|r| r.block == ulid(1));
    let held = plan
        .held
        .iter()
        .find(|h| matches!(h.why, HeldReason::AwaitsDownsampling { .. }) && h.blocks == [ulid(1)]);
    let excluded = plan.excluded.contains(&(ulid(1), State::Expired));
    assert_eq!(retired.is_some(), excluded, "{plan:?}");
    match (retired, held) {
        (Some(retired), None) => {
            let read = plan.jobs.iter().any(|j| j.source_ids().contains(&ulid(1)));
            assert!(!read, "a retired block is read");
            let proof = retired.why.proof();
            proof.map_or(retired.why.as_str(), Proof::as_str).to_owned()
        }
        (None, Some(held)) => held
            .what
            .split_once("waits for ")
            .map(|(_, what)| format!("held: {what}"))
            .unwrap(),
        (None, None) => "keep".to_owned(),
        both => panic!("{both:?}"),
    }
}

/// Fails unless the fate is, or begins with, what is wanted.
#[track_caller]
fn is(blocks: &[BlockView], settings: &Settings, now: i64, wanted: &str) {
    let found = fate(blocks, settings, now);
    let fits = match wanted.strip_prefix("held: ") {
        Some(_) => found.starts_with(wanted),
        None => found == wanted,
    };
    assert!(fits, "{found}, not {wanted}");
}

const TWO_DAYS: (i64, i64) = (0, 48);

#[test]
fn retention_passes_one_ms_after_the_end_in_whole_seconds() {
    let blocks = [raw(1, TWO_DAYS), block(2, FIVE, TWO_DAYS, &[1])];
    let border = at(48) + 7 * DAY;
    is(&blocks, &days(7, 0, 0), border, "keep");
    is(&blocks, &days(7, 0, 0), border + 1, "covered");
    is(&blocks, &days(0, 1, 0), border + 1, "keep");
    // The end is truncated, towards zero.
    for (max_time, retention, wanted) in [
        (1999, 500, Some(1500)),
        (-1999, 500, Some(-500)),
        (i64::MAX, 1000, Some(i64::MAX)),
        (5, 0, None),
    ] {
        assert_eq!(expires_ms(max_time, retention), wanted);
    }
    let plan = planned(&blocks, &days(7, 0, 0), border + 1);
    let wanted = Retired {
        block: ulid(1),
        resolution: 0,
        expired_ms: border,
        retention_ms: 7 * DAY,
        why: RetiredBecause::Covered,
    };
    assert_eq!(plan.retired, [wanted]);
    assert_eq!(
        plan.retired[0].details(),
        "block exceeding retention of 168h0m0s"
    );
}

#[test]
fn only_blocks_that_stay_and_are_sound_cover() {
    let now = at(48) + 8 * DAY;
    let settings = days(7, 0, 0);
    let (one, cover) = (raw(1, TWO_DAYS), block(2, FIVE, TWO_DAYS, &[1]));
    let waits = "held: its downsampling";
    is(&[one.clone()], &settings, now, waits);
    is(&[one.clone(), cover.clone()], &settings, now, "covered");
    is(
        &[one.clone(), marked(cover.clone(), now)],
        &settings,
        now,
        waits,
    );
    is(
        &[one.clone(), damaged(cover.clone())],
        &settings,
        now,
        waits,
    );
    let quarantined = no_compact(cover.clone(), Damage::Malformed.as_str());
    is(&[one.clone(), quarantined], &settings, now, waits);
    // A mark that says no more than that it is not compacted changes nothing.
    let kept_out = no_compact(cover.clone(), "manual");
    is(&[one.clone(), kept_out], &settings, now, "covered");
    // A block of 1 hour is no block of 5 minutes.
    let hour = block(2, ONE, TWO_DAYS, &[1]);
    is(&[one.clone(), hour], &settings, now, waits);
    // One that is itself past its retention, but held, covers.
    let held = days(7, 2, 0);
    let whole = block(1, RAW, (0, 336), &[1]);
    let five = block(2, FIVE, (0, 336), &[1]);
    is(&[whole.clone(), five.clone()], &held, at(600), "covered");
    let plan = planned(&[whole, five], &held, at(600));
    assert_eq!(held_back(&plan), [0, 1, 0]);
    // Too fresh to take part: it covers nothing yet.
    is(&[one, fresh(cover, now)], &settings, now, waits);
}

#[test]
fn all_sources_have_to_be_covered_by_any_blocks() {
    let now = at(48) + 8 * DAY;
    let one = block(1, RAW, TWO_DAYS, &[5, 6]);
    let half = block(2, FIVE, TWO_DAYS, &[5]);
    let other = with_labels(block(3, FIVE, TWO_DAYS, &[6, 7]), "d");
    let waits = "held: its downsampling";
    is(&[one.clone(), half.clone()], &days(7, 0, 0), now, waits);
    is(&[one, half, other], &days(7, 0, 0), now, "covered");
    // A block that names no sources is its own.
    let nameless = block(1, RAW, TWO_DAYS, &[]);
    let five = block(2, FIVE, TWO_DAYS, &[1]);
    is(&[nameless.clone()], &days(7, 0, 0), now, waits);
    is(&[nameless, five], &days(7, 0, 0), now, "covered");
}

#[test]
fn the_last_resolution_and_unknown_ones() {
    let now = at(48) + 8 * DAY;
    is(
        &[block(1, ONE, TWO_DAYS, &[1])],
        &days(0, 0, 7),
        now,
        "last-resolution",
    );
    is(
        &[block(1, ONE, TWO_DAYS, &[1])],
        &days(7, 7, 0),
        now,
        "keep",
    );
    is(&[block(1, 3, TWO_DAYS, &[1])], &days(7, 7, 7), now, "keep");
}

#[test]
fn without_downsampling_data_goes_only_if_somebody_said_so() {
    let now = at(48) + 8 * DAY;
    let off = |loss_acknowledged| Settings {
        downsampling: false,
        loss_acknowledged,
        ..days(7, 7, 0)
    };
    for level in [RAW, FIVE] {
        let one = [block(1, level, TWO_DAYS, &[1])];
        is(&one, &off(true), now, "downsampling-off");
        is(&one, &off(false), now, "held: leave to go");
    }
    let cover = block(2, ONE, TWO_DAYS, &[1]);
    let five = block(1, FIVE, TWO_DAYS, &[1]);
    is(&[five, cover], &off(false), now, "covered");
    // The same by a rule, for its streams only.
    let rule = PolicyRule {
        matchers: Matchers::parse("{cluster=\"c\"}").unwrap(),
        retention_ms: [Some(6 * DAY), None, None],
        dedup: None,
        downsampling: Some(false),
    };
    let by_rule = Settings {
        policies: Policies::new(vec![rule]),
        loss_acknowledged: true,
        ..days(7, 0, 0)
    };
    let one = raw(1, TWO_DAYS);
    let early = at(48) + 6 * DAY + 1;
    is(&[one.clone()], &by_rule, early, "downsampling-off");
    let other = with_labels(one, "d");
    is(&[other.clone()], &by_rule, early, "keep");
    is(&[other], &by_rule, now, "held: its downsampling");
}

#[test]
fn a_no_downsample_mark_is_a_proof() {
    let now = at(48) + 8 * DAY;
    is(
        &[no_downsample(raw(1, TWO_DAYS))],
        &days(7, 0, 0),
        now,
        "no-downsample-mark",
    );
    let five = block(1, FIVE, (0, 336), &[1]);
    is(
        &[no_downsample(five.clone())],
        &days(0, 7, 0),
        at(600),
        "no-downsample-mark",
    );
    is(&[five], &days(0, 7, 0), at(600), "held: its downsampling");
}

#[test]
fn a_result_that_would_go_at_once_is_not_waited_for() {
    let one = [raw(1, TWO_DAYS)];
    let now = at(48) + 8 * DAY;
    let whole = [block(1, RAW, (0, 336), &[1])];
    let both = at(336) + 8 * DAY;
    is(&whole, &days(7, 8, 8), both, "held: its downsampling");
    is(&whole, &days(7, 8, 8), both + 1, "result-expired");
    // The block of 1 hour that it is to be part of ends later.
    is(&one, &days(7, 8, 8), now + 1, "held: its downsampling");
    // 1 hour is wanted. Within the window, more may come.
    is(&one, &days(7, 8, 0), now + 1, "held: its downsampling");
    // What there is makes no block of 1 hour, so 5 minutes would go at once.
    is(&one, &days(7, 8, 0), at(16 * 24 + 1), "result-expired");
    // With the rest of the window it does, from raw blocks or from others.
    let rest = block(2, RAW, (48, 336), &[2]);
    let newer = [raw(8, (336, 338)), raw(9, (338, 340))];
    let all = [&one[..], &[rest], &newer].concat();
    is(&all, &days(7, 8, 0), at(600), "held: the compaction");
    let rest = block(2, FIVE, (48, 336), &[2]);
    let newer = [8, 9].map(|n| block(n, FIVE, (48 * n as i64, 48 * n as i64 + 48), &[n]));
    let all = [&one[..], &[rest], &newer].concat();
    is(&all, &days(7, 8, 0), at(600), "held: its downsampling");
    // A block of 1 hour has the samples already.
    let hour = block(2, ONE, (0, 336), &[1]);
    let all = [&one[..], &[hour]].concat();
    is(&all, &days(7, 8, 0), at(600), "result-expired");
}

#[test]
fn a_short_block_that_is_kept_out_is_never_downsampled() {
    let now = at(8) + 8 * DAY;
    let short = raw(1, (0, 8));
    is(
        &[no_compact(short.clone(), "manual")],
        &days(7, 0, 0),
        now,
        "kept-out",
    );
    let mut migrated = short.clone();
    let meta = Arc::make_mut(&mut migrated.meta);
    let json = r#"{"parquet_migrated":true}"#;
    meta.thanos.extensions = Some(serde_json::from_str(json).unwrap());
    is(&[migrated], &days(7, 0, 0), now, "kept-out");
    is(
        &[short],
        &days(7, 0, 0),
        now,
        "held: other blocks of its window",
    );
    let long = no_compact(raw(1, (0, 40)), "manual");
    is(
        &[long],
        &days(7, 0, 0),
        at(40) + 8 * DAY,
        "held: its downsampling",
    );
}

#[test]
fn a_short_block_that_no_range_takes_is_never_downsampled() {
    let settings = Settings {
        ranges_ms: vec![HOUR, 2 * HOUR, 8 * HOUR],
        ..days(7, 0, 0)
    };
    let now = at(8) + 8 * DAY;
    is(&[raw(1, (0, 8))], &settings, now, "final-range");
    is(&[raw(1, (0, 7))], &settings, now, "window-closed");
    // Over the border of the largest range.
    let over = [raw(1, (330, 340))];
    is(&over, &days(7, 0, 0), at(340) + 8 * DAY, "final-range");
    is(
        &[raw(1, (330, 336))],
        &days(7, 0, 0),
        at(336) + 8 * DAY,
        "window-closed",
    );
}

/// When blocks of the first window are no longer waited for: 14d, the
/// consistency delay, and the age of an upload that was given up.
const CLOSES: i64 = START + 14 * DAY + 30 * 60_000 + 48 * HOUR;

#[test]
fn a_short_block_waits_for_the_end_of_its_window() {
    let settings = days(7, 0, 0);
    // 38 hours in all, however they are merged.
    let short = [raw(1, (0, 8)), raw(2, (30, 38))];
    let newer = [raw(8, (336, 338)), raw(9, (338, 340))];
    let all = [&short[..], &newer].concat();
    is(
        &all,
        &settings,
        CLOSES,
        "held: other blocks of its window, until",
    );
    is(&all, &settings, CLOSES + 1, "window-closed");
    is(&short, &settings, CLOSES + 1, "window-closed");
    // 40 hours in all: it will be long enough.
    let enough = [raw(1, (0, 8)), raw(2, (30, 40))];
    let all = [&enough[..], &newer].concat();
    is(&all, &settings, CLOSES + 1, "held: the compaction");
    // One that is about to take part might make it longer.
    let late = fresh(raw(3, (100, 102)), CLOSES);
    let all = [&short[..], &newer, &[late]].concat();
    is(
        &all,
        &settings,
        CLOSES + 1,
        "held: a block of its window that is still too fresh",
    );
    // What leaves does not make it longer.
    let covered = [
        block(2, RAW, (30, 80), &[2]),
        block(3, FIVE, (30, 80), &[2]),
    ];
    let all = [&[raw(1, (0, 8))], &covered[..], &newer].concat();
    is(&all, &settings, CLOSES + 1, "window-closed");
    // The other one is younger than the retention and still there.
    let all = [&[raw(1, (0, 8)), raw(2, (230, 250))], &newer[..]].concat();
    is(&all, &settings, CLOSES + 1, "held: the compaction");
}

#[test]
fn the_last_window_of_a_stream_waits_for_another_one() {
    let settings = days(7, 0, 0);
    // The newest block is not compacted, so 1 stays as short as it is.
    let ended = [raw(1, (0, 24)), raw(2, (24, 44))];
    is(
        &ended,
        &settings,
        CLOSES + 1,
        "held: other blocks of its window",
    );
    is(
        &ended,
        &settings,
        CLOSES + 14 * DAY,
        "held: other blocks of its window",
    );
    is(&ended, &settings, CLOSES + 14 * DAY + 1, "stream-ended");
    let newer = raw(8, (336, 338));
    let goes_on = [&ended[..], &[newer]].concat();
    let long_after = CLOSES + 100 * DAY;
    is(
        &goes_on,
        &settings,
        long_after,
        "held: newer blocks of its stream",
    );
}

#[test]
fn five_minutes_wait_for_raw_blocks_of_their_window() {
    let settings = days(0, 7, 0);
    let five = block(1, FIVE, TWO_DAYS, &[1]);
    let newer = [8, 9].map(|n| block(n, FIVE, (48 * n as i64, 48 * n as i64 + 48), &[n]));
    let some = |rest: &[BlockView]| [&[five.clone()], rest, &newer].concat();
    is(&some(&[]), &settings, CLOSES + 1, "window-closed");
    let to_come = raw(2, (48, 336));
    is(
        &some(&[to_come.clone()]),
        &settings,
        CLOSES + 1,
        "held: the compaction",
    );
    // It is there already, in a block that does not reach as far.
    let done = block(3, FIVE, (48, 96), &[2]);
    is(
        &some(&[to_come.clone(), done]),
        &settings,
        CLOSES + 1,
        "window-closed",
    );
    is(
        &some(&[no_downsample(to_come)]),
        &settings,
        CLOSES + 1,
        "window-closed",
    );
    // Raw blocks that are too short themselves make no difference.
    is(
        &some(&[raw(2, (300, 336))]),
        &settings,
        CLOSES + 1,
        "window-closed",
    );
    // Overlapping ones are not merged.
    let beside = block(2, FIVE, (0, 336), &[2]);
    is(&some(&[beside]), &settings, CLOSES + 1, "window-closed");
}

#[test]
fn force_waits_for_nothing_that_could_still_come() {
    let force = Settings {
        force_retention: true,
        ..days(7, 0, 0)
    };
    let now = at(48) + 8 * DAY;
    is(&[raw(1, TWO_DAYS)], &force, now, "forced");
    is(&[raw(1, TWO_DAYS)], &force, now - 2 * DAY, "keep");
    let cover = block(2, FIVE, TWO_DAYS, &[1]);
    is(&[raw(1, TWO_DAYS), cover], &force, now, "covered");
    is(
        &[no_downsample(raw(1, TWO_DAYS))],
        &force,
        now,
        "no-downsample-mark",
    );
}

#[test]
fn what_is_retired_takes_part_in_nothing_and_is_still_shown() {
    let now = at(8) + 7 * DAY + 1;
    let blocks: Vec<BlockView> = (1..=5)
        .map(|n| raw(n, (n as i64 * 2 - 2, n as i64 * 2)))
        .collect();
    let uncovered = planned(&blocks, &days(7, 0, 0), now);
    assert_eq!(uncovered.jobs.len(), 1, "held blocks are compacted");
    assert_eq!(held_back(&uncovered), [4, 0, 0]);
    assert!(!uncovered.has_problems());
    let cover = block(9, FIVE, (0, 8), &[1, 2, 3, 4]);
    let all = [&blocks[..], &[cover]].concat();
    let plan = planned(&all, &days(7, 0, 0), now);
    assert!(plan.jobs.is_empty() && !plan.is_empty());
    assert_eq!(plan.retired.len(), 4);
    let expired: Vec<_> = (1..=4).map(|n| (ulid(n), State::Expired)).collect();
    assert_eq!(plan.excluded, expired);
    let tiles = |plan: &Plan| -> Vec<(i64, usize, usize)> {
        let streams = plan.streams.iter();
        streams
            .map(|s| (s.key.resolution, s.before.len(), s.after.len()))
            .collect()
    };
    assert_eq!(tiles(&plan), [(0, 5, 1), (300_000, 1, 1)]);
    // The whole stream goes.
    let cover = block(9, FIVE, (0, 10), &[1, 2, 3, 4, 5]);
    let all = [&blocks[..], &[cover]].concat();
    let plan = planned(&all, &days(7, 0, 0), now + DAY);
    assert_eq!(tiles(&plan), [(0, 5, 0), (300_000, 1, 1)]);
    // Once they are marked there is nothing left to do.
    let again: Vec<BlockView> = all
        .iter()
        .map(|b| match plan.retired.iter().any(|r| r.block == b.id()) {
            true => marked(b.clone(), now + DAY),
            false => b.clone(),
        })
        .collect();
    let plan = planned(&again, &days(7, 0, 0), now + DAY);
    assert!(plan.is_empty(), "{plan:?}");
    assert_eq!(tiles(&plan), [(300_000, 1, 1)]);
}

#[test]
fn nothing_is_downsampled_to_be_retired_at_once() {
    let now = at(336) + 20 * DAY;
    let one = raw(1, (0, 336));
    let pointless =
        |settings: &Settings, blocks: &[BlockView]| planned(blocks, settings, now).pointless;
    assert_eq!(pointless(&days(0, 19, 19), &[one.clone()]), [ulid(1)]);
    assert!(pointless(&days(0, 20, 20), &[one.clone()]).is_empty());
    // 5 minutes are the way to 1 hour.
    assert!(pointless(&days(0, 19, 0), &[one.clone()]).is_empty());
    let hour = block(3, ONE, (0, 336), &[1]);
    assert_eq!(pointless(&days(0, 19, 0), &[one, hour]), [ulid(1)]);
}

#[test]
fn the_plan_says_when_bytes_go() {
    let now = at(48) + 8 * DAY;
    let blocks = [
        raw(1, TWO_DAYS),
        block(2, FIVE, TWO_DAYS, &[1]),
        marked(raw(3, (48, 96)), now),
        fresh(marked(raw(4, (96, 144)), now), now),
    ];
    let plan = planned(&blocks, &days(7, 0, 0), now);
    let found: Vec<_> = plan
        .removals
        .iter()
        .map(|r| (r.block, r.details.as_str(), r.marked_ms, r.removed_ms))
        .collect();
    assert_eq!(
        found,
        [
            (ulid(3), "by hand", Some(now - HOUR), now + 47 * HOUR),
            (
                ulid(1),
                "block exceeding retention of 168h0m0s",
                None,
                now + 48 * HOUR
            ),
        ]
    );
    assert!(plan.removals.iter().all(|r| r.bytes == 10));
    // Sources of jobs and outdated blocks, too.
    let blocks: Vec<BlockView> = (1..=5)
        .map(|n| raw(n, (n as i64 * 2 - 2, n as i64 * 2)))
        .chain([block(6, RAW, (8, 10), &[5])])
        .collect();
    let plan = planned(&blocks, &days(0, 0, 0), now);
    let details: Vec<_> = plan.removals.iter().map(|r| r.details.as_str()).collect();
    let source = "source of compacted block";
    assert_eq!(details, [source, source, source, source, "outdated block"]);
}

#[test]
fn held_blocks_have_a_date_and_a_cure() {
    let now = at(48) + 8 * DAY;
    let plan = planned(&[raw(1, TWO_DAYS)], &days(7, 0, 0), now);
    let held = &plan.held[0];
    assert_eq!(held.why.as_str(), "awaits-downsampling");
    let wanted = HeldReason::AwaitsDownsampling {
        expired_ms: at(48) + 7 * DAY,
        waits: Waits::Downsampling,
    };
    assert_eq!(held.why, wanted);
    assert_eq!(held.range, (at(0), at(48)));
    let since = format!("past its retention of 7d since {};", time(at(48) + 7 * DAY));
    assert!(held.what.starts_with(&since), "{}", held.what);
    assert!(held.cure.contains("--retention.force"));
}

#[test]
fn proofs_have_names_of_their_own_and_a_sentence() {
    let names: HashSet<&str> = Proof::ALL.into_iter().map(Proof::as_str).collect();
    assert_eq!(names.len(), Proof::ALL.len());
    for proof in Proof::ALL {
        assert!(proof.sentence().len() > 20 && proof.to_string() == proof.as_str());
        let why = RetiredBecause::NeverDownsampled(proof);
        assert_eq!(
            (why.as_str(), why.proof()),
            ("never-downsampled", Some(proof))
        );
        assert_eq!(why.sentence(), proof.sentence());
    }
    for why in [
        RetiredBecause::Covered,
        RetiredBecause::LastResolution,
        RetiredBecause::Forced,
    ] {
        assert!(why.proof().is_none() && why.sentence().len() > 20);
    }
}

#[test]
fn durations_are_written_as_go_writes_them() {
    for (ms, text) in [
        (0, "0s"),
        (20, "20ms"),
        (1000, "1s"),
        (1500, "1.5s"),
        (90_000, "1m30s"),
        (3_600_000, "1h0m0s"),
        (7 * DAY, "168h0m0s"),
        (HOUR + 61_250, "1h1m1.25s"),
        (-90_000, "-1m30s"),
    ] {
        assert_eq!(go_duration(ms), text);
    }
}

#[test]
fn spans_are_short_for_people() {
    for (ms, text) in [
        (7 * DAY, "7d"),
        (40 * HOUR, "40h"),
        (43 * HOUR + HOUR / 2, "43h30m"),
        (51 * HOUR + HOUR / 2, "2d3h30m"),
        (HOUR / 2, "30m"),
        (1, "1ms"),
    ] {
        assert_eq!(span(ms), text);
    }
}

/// A block anywhere on the grid of ranges, with sources and marks.
fn any_block() -> impl Strategy<Value = BlockView> {
    let place = (0_usize..3, 0_usize..4, 0_i64..30);
    let sources = prop::collection::vec(1_u64..8, 0..4);
    (1_u64..40, place, sources, 0_u8..12).prop_map(|(n, (level, length, at), sources, mark)| {
        let length = [2, 8, 48, 336][length];
        let start = at * 24 / length * length;
        let made = block(n, level, (start, start + length), &sources);
        match mark {
            0 => marked(made, at_day(60)),
            1 => damaged(made),
            2 => no_compact(made, "manual"),
            3 => no_downsample(made),
            _ => made,
        }
    })
}

fn at_day(day: i64) -> i64 {
    at(day * 24)
}

/// Sources of blocks that stay, by resolution.
fn staying(blocks: &[BlockView], plan: &Plan, resolution: i64) -> HashSet<Ulid> {
    let gone: HashSet<Ulid> = plan.excluded.iter().map(|(id, _)| *id).collect();
    let stay = blocks.iter().filter(|b| {
        let same = b.meta.thanos.downsample.resolution == resolution;
        same && b.deletion.is_none() && !b.is_suspect() && !gone.contains(&b.id())
    });
    stay.flat_map(|b| b.meta.tsdb.source_ids().to_vec())
        .collect()
}

proptest! {
    /// PL-6 and PL-7, seen from outside.
    #[test]
    fn what_is_retired_is_covered_or_too_short_and_never_read(
        blocks in prop::collection::vec(any_block(), 0..14),
        day in 10_i64..60,
        retention in (0_i64..20, 0_i64..20, 0_i64..20),
        force in any::<bool>(),
    ) {
        let settings = Settings {
            force_retention: force,
            ..days(retention.0, retention.1, retention.2)
        };
        let mut seen = HashSet::new();
        let blocks: Vec<BlockView> = blocks.into_iter().filter(|b| seen.insert(b.id())).collect();
        let found = planned(&blocks, &settings, at_day(day));
        let read: HashSet<Ulid> = found.jobs.iter().flat_map(super::super::model::Job::source_ids).collect();
        for retired in &found.retired {
            let of = blocks.iter().find(|b| b.id() == retired.block).unwrap();
            let meta = &of.meta.tsdb;
            prop_assert!(!read.contains(&retired.block));
            prop_assert!(at_day(day) > retired.expired_ms);
            let level = RESOLUTIONS.iter().position(|r| *r == retired.resolution).unwrap();
            let next = staying(&blocks, &found, RESOLUTIONS[level + 1]);
            let covered = meta.source_ids().iter().all(|s| next.contains(s));
            let short = |l: usize| meta.max_time - meta.min_time < DOWNSAMPLED_FROM_MS[l];
            match retired.why {
                RetiredBecause::Covered => prop_assert!(level < 2 && covered),
                RetiredBecause::LastResolution => prop_assert!(level == 2),
                RetiredBecause::Forced => prop_assert!(force && !covered),
                RetiredBecause::NeverDownsampled(proof) => {
                    prop_assert!(!covered);
                    match proof {
                        Proof::DownsamplingOff => prop_assert!(false, "it is on"),
                        Proof::NoDownsampleMark => prop_assert!(of.no_downsample.is_some()),
                        Proof::ResultExpired => {
                            let kept = settings.retention_ms[level + 1];
                            prop_assert!(kept > 0 && at_day(day) > meta.max_time + kept);
                        }
                        Proof::KeptOut => prop_assert!(of.no_compact.is_some() && short(level)),
                        _ => prop_assert!(short(level)),
                    }
                }
            }
        }
        for held in &found.held {
            if matches!(held.why, HeldReason::AwaitsDownsampling { .. }) {
                prop_assert!(!force, "force holds nothing");
                let excluded = found.excluded.iter().any(|(id, _)| *id == held.blocks[0]);
                prop_assert!(!excluded);
            }
        }
        let mut turned = view(blocks);
        turned.blocks.reverse();
        let other_way = crate::plan::plan(&turned, &settings, at_day(day));
        prop_assert_eq!(found.retired, other_way.retired);
    }
}
