use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ulid::Ulid;

use super::*;
use crate::block::meta::Meta;
use crate::plan::blocks_for_tests::*;
use crate::plan::policy::{Matchers, Policies, PolicyRule};
use crate::plan::retention::time;
use crate::plan::view::BlockView;
use crate::plan::{Plan, RetiredBecause};

/// Names of findings with their severity.
fn names(found: &[Finding]) -> Vec<(&'static str, &'static str)> {
    let pair = |f: &Finding| (f.severity.as_str(), f.kind.as_str());
    found.iter().map(pair).collect()
}

/// Retention of raw, 5m and 1h in hours.
fn hours(raw: i64, five: i64, one: i64) -> Settings {
    Settings {
        retention_ms: [raw * HOUR, five * HOUR, one * HOUR],
        ..Settings::default()
    }
}

const NOTE: (&str, &str) = ("note", "kept-as");

#[test]
fn the_numbers_alone_tell() {
    // D = 2h + 1h + 30m = 3.5h. Raw: 48h - 8h + D = 43.5h. 5m: 14d + D = 339.5h,
    // that is the last of seven blocks of 2d, less the first one's own 2d.
    let warn = |name| ("warning", name);
    for (settings, wanted) in [
        (hours(0, 0, 0), vec![]),
        // The platform's own.
        (hours(168, 720, 2160), vec![NOTE]),
        (hours(44, 340, 0), vec![NOTE]),
        (hours(43, 340, 0), vec![warn("raw-held"), NOTE]),
        (hours(40, 0, 0), vec![warn("raw-held"), NOTE]),
        (hours(44, 339, 0), vec![warn("5m-held"), NOTE]),
        (hours(44, 240, 0), vec![warn("5m-held"), NOTE]),
        (hours(0, 720, 0), vec![warn("finer-outlives"), NOTE]),
        (hours(721, 720, 0), vec![warn("finer-outlives"), NOTE]),
        (hours(720, 720, 720), vec![NOTE]),
        (hours(168, 0, 2160), vec![warn("finer-outlives"), NOTE]),
        (hours(44, 340, 52), vec![warn("finer-outlives"), NOTE]),
        (
            hours(44, 340, 51),
            vec![warn("1h-too-late"), warn("finer-outlives"), NOTE],
        ),
        (
            hours(39, 340, 0),
            vec![("error", "retention-too-short"), warn("raw-held"), NOTE],
        ),
        (
            hours(44, 239, 0),
            vec![("error", "retention-too-short"), warn("5m-held"), NOTE],
        ),
    ] {
        let found = rules(&settings);
        assert_eq!(names(&found), wanted, "{:?}", settings.retention_ms);
        for finding in found {
            assert!(finding.what.len() <= 158, "two lines: {}", finding.what);
            let cured = finding.severity == Severity::Note || !finding.cure.is_empty();
            assert!(cured && finding.place == "flags", "{finding:?}");
        }
    }
}

#[test]
fn the_platforms_own_numbers_in_words() {
    let found = rules(&hours(168, 720, 2160));
    assert_eq!(
        found[0].what,
        "after the end of its block: raw for 7d, 5m for 30d, 1h for 90d; 5m is made 3h30m after \
         its 2d window, 1h 2d3h30m after its 14d window"
    );
}

#[test]
fn loss_is_an_error_unless_acknowledged() {
    let off = |settings: Settings| Settings {
        downsampling: false,
        ..settings
    };
    let force = |settings: Settings| Settings {
        force_retention: true,
        ..settings
    };
    let level = |settings: Settings, level: usize| Settings {
        ranges_ms: settings.ranges_ms[..=level].to_vec(),
        ..settings
    };
    for (settings, wanted) in [
        (off(hours(1, 0, 0)), Some("downsampling-off")),
        (off(hours(0, 1, 0)), Some("downsampling-off")),
        (off(hours(0, 0, 1)), None),
        (off(force(hours(0, 0, 1))), None),
        (force(hours(168, 720, 0)), Some("forced")),
        (force(hours(0, 0, 2160)), None),
        (level(hours(168, 0, 0), 2), Some("ranges-too-short")),
        (level(hours(168, 0, 0), 3), None),
        (level(hours(168, 720, 0), 3), Some("ranges-too-short")),
        (level(hours(168, 720, 0), 0), Some("ranges-too-short")),
    ] {
        let errors = |settings: &Settings| -> Vec<&'static str> {
            let found = rules(settings);
            let errors = found.iter().filter(|f| f.severity == Severity::Error);
            errors.map(|f| f.kind.as_str()).collect()
        };
        let wanted: Vec<&str> = wanted.into_iter().collect();
        assert_eq!(errors(&settings), wanted, "{settings:?}");
        for finding in rules(&settings) {
            assert_eq!(
                finding.severity == Severity::Error,
                finding.kind.can_be_acknowledged()
            );
        }
        let acknowledged = Settings {
            loss_acknowledged: true,
            ..settings
        };
        assert!(errors(&acknowledged).is_empty());
    }
    // Too short is too short.
    let known = Settings {
        loss_acknowledged: true,
        ..hours(39, 0, 0)
    };
    assert_eq!(rules(&known)[0].severity, Severity::Error);
}

fn rule(matchers: &str, raw_hours: i64) -> PolicyRule {
    PolicyRule {
        matchers: Matchers::parse(matchers).unwrap(),
        retention_ms: [Some(raw_hours * HOUR), None, None],
        dedup: None,
        downsampling: None,
    }
}

#[test]
fn rules_are_looked_at_one_by_one_and_as_they_apply() {
    let settings = Settings {
        policies: Policies::new(vec![
            PolicyRule {
                downsampling: Some(false),
                retention_ms: [None; 3],
                ..rule("{cluster=\"c\"}", 0)
            },
            rule("{cluster=~\"c|d\"}", 168),
            rule("{cluster=\"e\", replica=\"a\"}", 41),
        ]),
        replica_labels: vec!["replica".into()],
        ..Settings::default()
    };
    let places = |found: &[Finding]| -> Vec<(&'static str, String)> {
        let pair = |f: &Finding| (f.kind.as_str(), f.place.clone());
        found.iter().map(pair).collect()
    };
    // Neither of the first two loses anything on its own.
    let alone = rules(&settings);
    assert_eq!(
        places(&alone),
        [
            ("raw-held", "rule 3".to_owned()),
            ("rule-on-replica-label", "rule 3".to_owned()),
            ("kept-as", "rule 2".to_owned()),
            ("kept-as", "rule 3".to_owned()),
        ]
    );
    let blocks = vec![raw(1, (0, 48)), with_labels(raw(2, (0, 48)), "d")];
    let together = lint(&view(blocks), &settings, at(50));
    assert_eq!(
        places(&together),
        [
            ("downsampling-off", "rules 1, 2".to_owned()),
            ("rule-on-replica-label", "rule 3".to_owned()),
            ("kept-as", "rule 2".to_owned()),
            ("rule-unused", "rule 3".to_owned()),
        ]
    );
    assert_eq!(together[0].severity, Severity::Error);
}

/// A finding about ranges: name, reason, severity, and windows in hours.
type Row = (&'static str, &'static str, &'static str, Vec<(i64, i64)>);

fn gaps(blocks: &[BlockView], settings: &Settings, now: i64) -> Vec<Row> {
    let found = lint(&view(blocks.to_vec()), settings, now);
    let ranges = found.into_iter().filter_map(|f| {
        assert!(f.reason.is_none() || f.what.len() <= 158, "{}", f.what);
        let hours = |ms: i64| (ms - START) / HOUR;
        let windows = f.windows.iter().map(|w| (hours(w.0), hours(w.1)));
        let windows = windows.collect();
        Some((
            f.kind.as_str(),
            f.reason?.as_str(),
            f.severity.as_str(),
            windows,
        ))
    });
    ranges.collect()
}

#[test]
fn ranges_that_never_get_lower_resolutions_have_a_reason() {
    let settings = days(7, 30, 90);
    let (never_5m, never_1h, warning) = ("never-5m", "never-1h", "warning");
    let began = "began-mid-window";
    // 13d of the window are gone: less than 40h are left, whatever comes.
    let late = [raw(1, (312, 314))];
    let window = vec![(312, 336)];
    let wanted = [
        (never_5m, began, warning, window.clone()),
        (never_1h, began, warning, window.clone()),
    ];
    assert_eq!(gaps(&late, &settings, at(315)), wanted);
    // With 9d of it there will be 5 minutes, but no 1 hour.
    let middle = [raw(1, (120, 122))];
    let wanted = [(never_1h, began, warning, vec![(120, 336)])];
    assert_eq!(gaps(&middle, &settings, at(123)), wanted);
    // Kept for ever, raw samples need nothing that stands in for them.
    let found = gaps(&middle, &days(0, 0, 90), at(123));
    assert_eq!(found, [(never_1h, began, "note", vec![(120, 336)])]);
    // The same window once it has passed.
    let five = block(1, 1, (120, 336), &[1]);
    let newer = [8, 9].map(|n| block(n, 1, (48 * n as i64, 48 * n as i64 + 48), &[n]));
    let passed = [&[five][..], &newer].concat();
    let found = gaps(&passed, &settings, at(500));
    assert_eq!(found, [(never_1h, began, warning, vec![(120, 336)])]);
    // 10d of it are enough.
    assert!(gaps(&[raw(1, (96, 98))], &settings, at(99)).is_empty());
}

/// Blocks as Prometheus writes them begin with their first sample.
#[test]
fn neighbours_that_nearly_touch_are_one_range_in_whole_minutes() {
    let off = |n: u64, from_ms: i64, hours: i64| {
        let mut block = raw(n, (0, 2));
        let mut meta = Meta::clone(&block.meta);
        meta.tsdb.min_time = START + from_ms;
        meta.tsdb.max_time = START + hours * HOUR;
        block.meta = Arc::new(meta);
        block
    };
    // The third begins 5 minutes late.
    let blocks = [
        off(1, 970, 2),
        off(2, 2 * HOUR + 14_970, 4),
        off(3, 4 * HOUR + 300_000, 6),
    ];
    let found = lint(&view(blocks.to_vec()), &days(90, 90, 90), at(1000));
    let found = found.iter().find(|f| f.kind == Kind::NeverFiveMinutes);
    let found = found.unwrap();
    let windows = [
        (START + 970, START + 4 * HOUR),
        (START + 4 * HOUR + 300_000, START + 6 * HOUR),
    ];
    assert_eq!(found.windows, windows);
    let said = format!(
        "{} .. {} and 1 more (5h55m): ",
        time(START),
        time(START + 4 * HOUR)
    );
    assert!(
        found.what.contains(&said),
        "{said} is missing in {}",
        found.what
    );
}

#[test]
fn gaps_marks_and_ends_of_streams_are_told_apart() {
    let settings = days(7, 30, 90);
    let before = block(1, 1, (-336, 0), &[1]);
    let done = block(2, 2, (-336, 0), &[1]);
    let after = [20, 21].map(|n| block(n, 1, (48 * n as i64, 48 * n as i64 + 48), &[n]));
    let with = |mine: &[BlockView], after: &[BlockView]| {
        [&[before.clone(), done.clone()], mine, after].concat()
    };
    // Two pieces at the ends are one block in the end, 4d are none.
    let ends = [block(3, 1, (0, 48), &[3]), block(4, 1, (288, 336), &[4])];
    assert!(gaps(&with(&ends, &after), &settings, at(500)).is_empty());
    let four = [block(3, 1, (0, 48), &[3]), block(4, 1, (48, 96), &[4])];
    let wanted = |reason| vec![("never-1h", reason, "warning", vec![(0, 96)])];
    let found = gaps(&with(&four, &after), &settings, at(500));
    assert_eq!(found, wanted("missing-blocks"));
    let found = gaps(&with(&four, &[]), &settings, at(386));
    assert_eq!(found, wanted("stream-ended"));
    // Marks.
    let whole = block(3, 1, (0, 336), &[3]);
    let marked = [no_downsample(whole.clone())];
    let found = gaps(&with(&marked, &after), &settings, at(500));
    let mark = |reason, range| vec![("never-1h", reason, "warning", vec![range])];
    assert_eq!(found, mark("no-downsample-mark", (0, 336)));
    let kept = [no_compact(four[0].clone(), "manual")];
    let found = gaps(&with(&kept, &after), &settings, at(500));
    assert_eq!(found, mark("kept-out", (0, 48)));
    let over = [block(3, 1, (300, 348), &[3])];
    let found = gaps(&with(&over, &after), &settings, at(500));
    assert_eq!(found, mark("final-range", (300, 348)));
    // Nothing is said of streams that are not to be downsampled.
    let off = Settings {
        downsampling: false,
        ..settings
    };
    assert!(gaps(&with(&four, &after), &off, at(500)).is_empty());
}

/// A bucket with one stream that is compacted and downsampled every two hours.
struct Life {
    blocks: Vec<BlockView>,
    settings: Settings,
    next: u64,
    /// When a block of 1 hour was first there, by its range; days.
    one_hour: BTreeMap<(i64, i64), f64>,
    /// Why blocks were retired: resolution and reason.
    retired: BTreeSet<(i64, &'static str)>,
    /// Sources that nothing but retired blocks held, and to which resolution
    /// they were never brought.
    lost: BTreeMap<i64, BTreeSet<Ulid>>,
}

impl Life {
    fn new(settings: Settings) -> Self {
        Self {
            blocks: Vec::new(),
            settings,
            next: 1,
            one_hour: BTreeMap::new(),
            retired: BTreeSet::new(),
            lost: BTreeMap::new(),
        }
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Hours of a stream: each block of 2h is there 1.5h after its end, and a
    /// run follows.
    fn live(&mut self, from: i64, to: i64) {
        for start in (from..to).step_by(2) {
            let n = self.number();
            self.blocks.push(raw(n, (start, start + 2)));
            self.run(at(start + 3) + HOUR / 2);
        }
    }

    fn run(&mut self, now: i64) {
        loop {
            let plan = planned(&self.blocks, &self.settings, now);
            let before = self.next;
            self.retire(&plan);
            let garbage: BTreeSet<Ulid> = plan.garbage.iter().map(|g| g.block).collect();
            self.blocks.retain(|b| !garbage.contains(&b.id()));
            for job in &plan.jobs {
                let gone: BTreeSet<Ulid> = job.source_ids().into_iter().collect();
                let sources = job.sources.iter().flat_map(|b| b.sources().to_vec());
                let sources = sources.collect();
                let range = (job.min_time(), job.max_time());
                self.blocks.retain(|b| !gone.contains(&b.id()));
                self.make(job.resolution, range, sources);
            }
            self.downsample(&plan, now);
            if self.next == before && plan.garbage.is_empty() {
                return;
            }
        }
    }

    fn make(&mut self, resolution: i64, range: (i64, i64), sources: Vec<Ulid>) {
        let n = self.number();
        let level = RESOLUTIONS.iter().position(|r| *r == resolution).unwrap();
        let mut made = block(n, level, (0, 1), &[]);
        let meta = Arc::make_mut(&mut made.meta);
        (meta.tsdb.min_time, meta.tsdb.max_time) = range;
        meta.tsdb.compaction.sources = sources;
        self.blocks.push(made);
    }

    /// What upstream downsamples, but for what would go at once.
    fn downsample(&mut self, plan: &Plan, now: i64) {
        for (level, least) in [(0, 40 * HOUR), (1, 240 * HOUR)] {
            let held: BTreeSet<Ulid> = self.sources(RESOLUTIONS[level + 1]);
            let due: Vec<BlockView> = self
                .blocks
                .iter()
                .filter(|b| b.meta.thanos.downsample.resolution == RESOLUTIONS[level])
                .filter(|b| b.meta.tsdb.max_time - b.meta.tsdb.min_time >= least)
                .filter(|b| !plan.pointless.contains(&b.id()))
                .filter(|b| {
                    !b.meta
                        .tsdb
                        .compaction
                        .sources
                        .iter()
                        .all(|s| held.contains(s))
                })
                .cloned()
                .collect();
            for from in due {
                let meta = &from.meta.tsdb;
                let range = (meta.min_time, meta.max_time);
                let sources = meta.compaction.sources.clone();
                self.make(RESOLUTIONS[level + 1], range, sources);
                if level == 1 {
                    let days = (now - START) as f64 / DAY as f64;
                    let range = ((range.0 - START) / DAY, (range.1 - START) / DAY);
                    self.one_hour.entry(range).or_insert(days);
                }
            }
        }
    }

    fn sources(&self, resolution: i64) -> BTreeSet<Ulid> {
        let of = self.blocks.iter();
        let of = of.filter(|b| b.meta.thanos.downsample.resolution == resolution);
        of.flat_map(|b| b.meta.tsdb.compaction.sources.clone())
            .collect()
    }

    fn retire(&mut self, plan: &Plan) {
        for retired in &plan.retired {
            let at = self.blocks.iter().position(|b| b.id() == retired.block);
            let gone = self.blocks.remove(at.unwrap());
            self.retired
                .insert((retired.resolution, retired.why.as_str()));
            if retired.why == RetiredBecause::LastResolution {
                continue;
            }
            let level = RESOLUTIONS.iter().position(|r| *r == retired.resolution);
            let next = RESOLUTIONS[level.unwrap() + 1];
            let held = self.sources(next);
            let sources = gone.meta.tsdb.compaction.sources.iter();
            let lost = sources.filter(|s| !held.contains(s)).copied();
            self.lost.entry(next).or_default().extend(lost);
        }
    }
}

/// The answer for the platform's setting (raw 7d, 5m 30d, 1h 90d) and a stream
/// of 90 days that begins on day 5 of a 14d window. By hand, D = 3.5h:
///
/// | window (days) | of it | 5m at 14d | 1h made | because |
/// |---|---|---|---|---|
/// | 0 .. 14 | 5 .. 14 | 9d | never | 9d are less than 10d |
/// | 14 .. 28 | all | 14d | 30d 3.5h | end + 2d (the next block of 5m) + D |
/// | 28 .. 42 | all | 14d | 44d 3.5h | |
/// | 42 .. 56 | all | 14d | 58d 3.5h | |
/// | 56 .. 70 | all | 14d | 72d 3.5h | |
/// | 70 .. 84 | all | 14d | 86d 3.5h | |
/// | 84 .. 95 | so far | – | not yet | |
///
/// Of the first window, 5m blocks go 30d after its end, on day 44, without 1h.
#[test]
fn the_platforms_own_retention_over_90_days() {
    let mut life = Life::new(days(7, 30, 90));
    let began = |range| vec![("never-1h", "began-mid-window", "warning", vec![range])];
    let first = (5 * 24, 14 * 24);
    let mut until = 5;
    for (day, wanted) in [
        (6, began(first)),
        (10, began(first)),
        (20, began(first)),
        (40, began(first)),
        (46, vec![]),
        (95, vec![]),
    ] {
        life.live(until * 24, day * 24);
        until = day;
        let found = gaps(&life.blocks, &life.settings, at(day * 24 + 2));
        assert_eq!(found, wanted, "day {day}");
    }
    let made = |end: i64| ((end - 14, end), (end + 2) as f64 + 3.5 / 24.0);
    let wanted = [28, 42, 56, 70, 84].map(made);
    assert_eq!(life.one_hour, BTreeMap::from(wanted));
    let why = [
        (0, "covered"),
        (300_000, "covered"),
        (300_000, "never-downsampled"),
    ];
    assert_eq!(life.retired, BTreeSet::from(why));
    // Exactly the first window was never brought to 1 hour: 9d of 2h blocks.
    assert_eq!(life.lost[&3_600_000].len(), 9 * 12);
    assert!(life.lost[&300_000].is_empty());
}

/// Retention that is far too short for Thanos loses nothing here: blocks are
/// held until the next resolution is there.
#[test]
fn held_blocks_lose_nothing_whatever_the_retention() {
    for settings in [days(2, 10, 0), days(2, 10, 30), hours(40, 240, 0)] {
        let settings = Settings {
            vertical: true,
            ..settings
        };
        let mut life = Life::new(settings);
        life.live(0, 47 * 24);
        let windows: Vec<(i64, i64)> = life.one_hour.keys().copied().collect();
        assert_eq!(windows, [(0, 14), (14, 28), (28, 42)]);
        assert!(
            life.lost.values().all(BTreeSet::is_empty),
            "{:?}",
            life.lost
        );
    }
}

#[test]
fn a_selector_that_tears_streams_apart_is_told() {
    use crate::plan::relabel::{Rule, Selector};
    let rule = |action: &str, labels: &[&str]| Rule {
        action: action.to_owned(),
        source_labels: labels.iter().map(|l| (*l).to_owned()).collect(),
        modulus: 2,
        target_label: "s".to_owned(),
        ..Rule::default()
    };
    let settings = |rules: &[Rule]| Settings {
        replica_labels: vec!["prometheus_replica".into(), "replica".into()],
        selector: Selector::new(rules).unwrap(),
        ..Settings::default()
    };
    let good = [rule("hashmod", &["cluster"]), rule("keep", &["s"])];
    assert!(rules(&settings(&good)).is_empty());
    // A certain block may be kept out; only hashing it tears streams apart.
    assert!(rules(&settings(&[rule("drop", &["__block_id"])])).is_empty());
    let bad = [
        rule("hashmod", &["cluster", "replica"]),
        rule("keep", &["s", "__block_id", "prometheus_replica"]),
        rule("hashmod", &["__block_id"]),
    ];
    let found = rules(&settings(&bad));
    let kinds: Vec<(&str, &str)> = found
        .iter()
        .map(|f| (f.kind.as_str(), f.place.as_str()))
        .collect();
    assert_eq!(
        kinds,
        [
            ("selector-on-replica-label", "selector rule 1"),
            ("selector-on-replica-label", "selector rule 2"),
            ("selector-splits-streams", "selector rule 3"),
        ]
    );
    for (finding, label) in found
        .iter()
        .zip(["replica", "prometheus_replica", "__block_id"])
    {
        assert_eq!(finding.severity, Severity::Warning);
        assert!(finding.what.len() <= 158, "two lines: {}", finding.what);
        assert!(finding.cure.contains(label), "{}", finding.cure);
    }
    // With the streams as well, and once.
    let together = lint(&view(vec![raw(1, (0, 48))]), &settings(&bad), at(50));
    assert_eq!(together.len(), 3);
}
