//! The planner's cases, as a table. A block is written `min-max`, with
//! `x` behind it for a no-compact mark, `f` for a failed compaction and
//! `t<tombstones>/<series>` for deletions.

use super::*;

const RANGES: [i64; 5] = [20, 60, 180, 540, 1620];

fn parse(text: &str) -> Vec<Span> {
    text.split_whitespace()
        .map(|word| {
            let mut span = Span::default();
            let mut word = word.to_owned();
            if let Some((head, deletions)) = word.clone().split_once('t') {
                let (tombstones, series) = deletions.split_once('/').unwrap();
                span.tombstones = tombstones.parse().unwrap();
                span.series = series.parse().unwrap();
                word = head.to_owned();
            }
            span.no_compact = word.ends_with('x');
            span.failed = word.ends_with('f');
            let range = word.trim_end_matches(['x', 'f']);
            let (min, max) = range.split_once(':').unwrap();
            span.min_time = min.parse().unwrap();
            span.max_time = max.parse().unwrap();
            span
        })
        .collect()
}

/// Runs the planner and writes its choice in the notation of the input.
fn planned(text: &str) -> String {
    let spans = parse(text);
    let words: Vec<&str> = text.split_whitespace().collect();
    next(&spans, &RANGES).map_or_else(String::new, |(picked, _)| {
        picked
            .iter()
            .map(|&i| words[i])
            .collect::<Vec<_>>()
            .join(" ")
    })
}

#[test]
fn every_row_of_the_planner_table() {
    let rows = [
        // Too little, or not yet due.
        ("", ""),
        ("0:20", ""),
        ("0:20 20:40", ""),
        ("0:20 20:40 40:60", ""),
        ("0:20 20:40 60:80", ""),
        // A window that is complete, or past.
        ("0:20 20:40 40:60 60:80", "0:20 20:40 40:60"),
        ("0:20 20:40 60:80 80:100", "0:20 20:40"),
        ("0:60 60:120 120:180 180:200 200:220", "0:60 60:120 120:180"),
        ("0:20 20:40 40:60 60:120 120:180", "0:20 20:40 40:60"),
        ("0:60 120:180 180:200 200:220", "0:60 120:180"),
        (
            "20:40 60:120 120:180 720:960 960:980",
            "20:40 60:120 120:180",
        ),
        ("0:360 360:420 420:540 540:560", "360:420 420:540"),
        // Deletions.
        ("0:540t3/10", ""),
        ("0:540t3/10 540:560", "0:540t3/10"),
        ("0:60t3/10 540:560", ""),
        ("0:360t0/0 540:560", ""),
        ("0:540xt3/10 540:560", ""),
        // Overlaps come first and take the newest block with them.
        ("0:20 19:40 40:60", "0:20 19:40"),
        ("0:20 20:40 30:50", "20:40 30:50"),
        ("0:20 10:40 30:50", "0:20 10:40 30:50"),
        (
            "0:360 340:560 360:420 420:540",
            "0:360 340:560 360:420 420:540",
        ),
        ("0:10 9:20 30:40 39:50", "0:10 9:20"),
        // No-compact marks.
        ("0:20x 20:40 40:60 60:80", "20:40 40:60"),
        ("0:20 20:40x 40:60 60:80", ""),
        ("0:20 20:40 40:60 60:80x", "0:20 20:40 40:60"),
        ("0:20x 20:40 40:60 60:80x", "20:40 40:60"),
        ("0:20x 20:40x 40:60x 60:80x", ""),
        ("0:20 20:40x 60:80 80:100", ""),
        ("20:40 60:120 120:180x 720:960 960:980", "20:40 60:120"),
        ("20:40 60:120x 120:180 720:960 960:980", ""),
        ("0:20x 19:40 40:60", ""),
        // A failed block keeps its window from being picked.
        ("0:20f 20:40 40:60 60:80", ""),
        (
            "0:20 20:40f 40:60 120:140 140:160 160:180 180:200",
            "120:140 140:160 160:180",
        ),
        // Negative times are aligned downwards.
        ("-60:-40 -40:-20 -20:0 0:20", "-60:-40 -40:-20 -20:0"),
        // A block that does not fit its window ends the window before it.
        ("0:20x 10:70x 20:40 40:60 70:75 200:220", "20:40 40:60"),
        // A range that no 64-bit number can hold is a large one.
        (
            "-9223372036854775808:0t3/10 0:20",
            "-9223372036854775808:0t3/10",
        ),
    ];
    for (input, expected) in rows {
        assert_eq!(planned(input), expected, "for {input}");
    }
}

#[test]
fn the_reason_tells_which_rule_fired() {
    let reason = |text| next(&parse(text), &RANGES).unwrap().1;
    assert_eq!(reason("0:20 19:40"), Reason::Overlap);
    assert_eq!(reason("0:60 60:120 120:180 180:200"), Reason::Range(180));
    assert_eq!(reason("0:540t3/10 540:560"), Reason::Tombstones);
}

#[test]
fn fewer_ranges_stop_earlier() {
    let spans = parse("0:60 60:120 120:180 180:200");
    assert!(next(&spans, &RANGES[..2]).is_none());
    assert!(next(&spans, &RANGES[..1]).is_none());
    assert!(next(&spans, &[]).is_none());
}
