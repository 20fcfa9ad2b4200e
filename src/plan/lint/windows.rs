//! Ranges of real streams that never get data of lower resolution.

use std::collections::BTreeMap;

use super::{Finding, Gap, Kind, Severity};
use crate::downsample::FIVE_MINUTES_MS;
use crate::plan::filter::LiveBlock;
use crate::plan::growth::{self, DOWNSAMPLED_FROM_MS, Family, Range, long};
use crate::plan::judge::{Judge, Outlook, Subject};
use crate::plan::policy::RESOLUTION_NAMES;
use crate::plan::retention::{Proof, span, time};
use crate::plan::settings::Settings;

/// One finding for each stream, resolution and reason, of blocks that stay.
pub(super) fn never(judge: &Judge<'_>, settings: &Settings) -> Vec<Finding> {
    let mut found = Vec::new();
    for family in judge.families.iter().filter(|f| f.policy.downsampling) {
        for level in [0, 1] {
            let mut gaps: BTreeMap<Gap, Vec<Range>> = BTreeMap::new();
            for subject in subjects(judge, family, level) {
                if let Some((gap, range)) = gap(judge, family, (level, subject), settings) {
                    gaps.entry(gap).or_default().push(range);
                }
            }
            let each = gaps.into_iter();
            found.extend(
                each.map(|(gap, ranges)| finding(family, level, gap, joined(ranges), settings)),
            );
        }
    }
    found
}

/// Blocks of a level that nothing of the next one stands in for yet. Raw ones
/// without 5 minutes are on their way to 1 hour, too.
fn subjects<'f>(judge: &Judge<'_>, family: &'f Family<'_>, level: usize) -> Vec<Subject<'f>> {
    let missing = |block: &LiveBlock, level: usize| {
        let mut sources = block.sources().iter();
        sources.any(|s| !judge.held_by[level].contains(s))
    };
    let stays = |b: &&&LiveBlock| !family.is_gone(b.id()) && b.view.deletion.is_none();
    let blocks = family.blocks[level].iter().filter(stays);
    let blocks = blocks.filter(|b| missing(b, level + 1));
    let mut subjects: Vec<Subject<'f>> = blocks.map(|b| Subject::of(b)).collect();
    if level == 1 {
        let raw = family.blocks[0].iter().filter(stays);
        let raw = raw.filter(|b| missing(b, 1) && missing(b, 2));
        subjects.extend(raw.map(|b| Subject {
            no_downsample: false,
            kept_out: false,
            ..Subject::of(b)
        }));
    }
    subjects
}

/// Why, and in which range.
fn gap(
    judge: &Judge<'_>,
    family: &Family<'_>,
    (level, subject): (usize, Subject<'_>),
    settings: &Settings,
) -> Option<(Gap, Range)> {
    let window = growth::window(subject.range, settings);
    let starts = family.blocks.iter().flatten().map(|b| b.min_time());
    let first = starts.min().unwrap_or(subject.range.0);
    let began = window.filter(|w| w.0 < first && first < w.1);
    let gap = match judge.outlook(family, level, subject) {
        Outlook::Never(Proof::NoDownsampleMark) => Gap::NoDownsampleMark,
        Outlook::Never(Proof::KeptOut) => Gap::KeptOut,
        Outlook::Never(Proof::FinalRange) => Gap::FinalRange,
        Outlook::Never(Proof::StreamEnded) => Gap::StreamEnded,
        Outlook::Never(Proof::WindowClosed) if began.is_some() => Gap::BeganMidWindow,
        Outlook::Never(Proof::WindowClosed) => {
            let ended = window.is_some_and(|w| !family.goes_on(1, w.1));
            if ended {
                Gap::StreamEnded
            } else {
                Gap::Missing
            }
        }
        // They are off, or the result would go at once: nobody wants them.
        Outlook::Never(Proof::DownsamplingOff | Proof::ResultExpired) => return None,
        // However long the stream goes on, this window has no more to give.
        Outlook::Waits(_) => {
            let window = began.filter(|w| w.1 - first < DOWNSAMPLED_FROM_MS[level])?;
            return Some((Gap::BeganMidWindow, (first, window.1)));
        }
    };
    Some((gap, subject.range))
}

/// Blocks begin with their first sample, so that neighbours are up to a scrape
/// apart, and may miss a few: closer than this, ms, they are one range.
const APART_MS: i64 = FIVE_MINUTES_MS;

/// Ranges that touch or overlap, or nearly so, as one, ascending.
fn joined(mut ranges: Vec<Range>) -> Vec<Range> {
    ranges.sort_unstable();
    let mut joined: Vec<Range> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match joined.last_mut() {
            Some(last) if range.0.saturating_sub(last.1) < APART_MS => {
                last.1 = last.1.max(range.1);
            }
            _ => joined.push(range),
        }
    }
    joined
}

fn finding(
    family: &Family<'_>,
    level: usize,
    gap: Gap,
    windows: Vec<Range>,
    settings: &Settings,
) -> Finding {
    let kind = [Kind::NeverFiveMinutes, Kind::NeverOneHour][level];
    // What is kept for ever needs nothing to stand in for it.
    let severity = match family.policy.retention_ms[..=level]
        .iter()
        .any(|ms| *ms > 0)
    {
        true => Severity::Warning,
        false => Severity::Note,
    };
    let matching = settings.policies.matching(family.labels);
    let ranges: Vec<String> = windows
        .iter()
        .take(1)
        .map(|w| {
            format!(
                "{} .. {}",
                time(whole_minutes(*w).0),
                time(whole_minutes(*w).1)
            )
        })
        .collect();
    let more = match windows.len() {
        0 | 1 => String::new(),
        n => format!(" and {} more", n - 1),
    };
    let (needed, name) = (DOWNSAMPLED_FROM_MS[level], RESOLUTION_NAMES[level + 1]);
    let total: i64 = windows
        .iter()
        .map(|w| long(whole_minutes(*w)))
        .fold(0, i64::saturating_add);
    let mut finding = Finding::new(kind, severity, &super::place(&matching));
    finding.labels = Some(family.labels.clone());
    finding.reason = Some(gap);
    finding.windows = windows;
    finding.says(
        format!(
            "no {name} ever for {}{more} ({}): {}",
            ranges.join(""),
            span(total),
            because(gap, needed)
        ),
        cure(gap, RESOLUTION_NAMES[level]),
    )
}

/// The range that it lies in, in whole minutes: nobody plans by milliseconds.
fn whole_minutes((from, until): Range) -> Range {
    const MINUTE_MS: i64 = 60_000;
    let up = until.saturating_add(MINUTE_MS - 1);
    let whole = |ms: i64| ms.div_euclid(MINUTE_MS).saturating_mul(MINUTE_MS);
    (whole(from), whole(up))
}

fn because(gap: Gap, needed: i64) -> String {
    let least = span(needed);
    match gap {
        Gap::BeganMidWindow => {
            format!("its stream begins there, less than {least} before the window ends")
        }
        Gap::StreamEnded => {
            format!("its stream ends there, less than {least} of the window are compacted")
        }
        Gap::Missing => format!("less than {least} of the window are there"),
        Gap::KeptOut => format!("shorter than {least}, and kept out of compactions"),
        Gap::NoDownsampleMark => "a no-downsample mark".to_owned(),
        Gap::FinalRange => format!("shorter than {least}, and no range takes it"),
    }
}

fn cure(gap: Gap, finer: &str) -> String {
    match gap {
        Gap::KeptOut => "remove the no-compact mark".to_owned(),
        Gap::NoDownsampleMark => "remove the no-downsample mark".to_owned(),
        Gap::BeganMidWindow | Gap::StreamEnded | Gap::Missing | Gap::FinalRange => {
            format!("keep {finer} for longer if this range matters")
        }
    }
}
