//! What the numbers of one policy tell.

use super::{Finding, Kind, Severity};
use crate::plan::growth::DOWNSAMPLED_FROM_MS;
use crate::plan::policy::{RESOLUTION_NAMES, StreamPolicy};
use crate::plan::retention::span;
use crate::plan::settings::Settings;

/// Prometheus cuts a block of two hours when the next one is half full.
const UNTIL_CUT_MS: i64 = 3_600_000;

/// When blocks of lower resolution are made of a stream that goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Schedule {
    /// Shortest range that is downsampled to 5 minutes, ms.
    pub raw_window: i64,
    /// The next smaller one, ms: until then, blocks are as long as that.
    pub raw_part: i64,
    /// From the end of a raw window to its block of 5 minutes, ms.
    pub raw_after: i64,
    /// Shortest range that is downsampled to 1 hour, ms.
    pub five_window: i64,
    /// From the end of such a window to its block of 1 hour, ms.
    pub five_after: i64,
}

impl Schedule {
    /// `None` for the part that never happens, because no range is long enough.
    pub fn of(settings: &Settings) -> (Option<Self>, bool) {
        let ranges = settings.ranges_ms.get(1..).unwrap_or_default();
        let from = |least: i64| ranges.iter().position(|&range| range >= least);
        let Some(raw) = from(DOWNSAMPLED_FROM_MS[0]) else {
            return (None, false);
        };
        let five = from(DOWNSAMPLED_FROM_MS[1]);
        // A window is compacted once the next block has come.
        let raw_after = ranges[0] + UNTIL_CUT_MS + settings.consistency_delay_ms.max(0);
        let schedule = Self {
            raw_window: ranges[raw],
            raw_part: raw.checked_sub(1).map_or(ranges[0], |i| ranges[i]),
            raw_after,
            five_window: five.map_or(0, |i| ranges[i]),
            five_after: ranges[raw] + raw_after,
        };
        (Some(schedule), five.is_some())
    }
}

/// All findings about a policy; `place` is where its values come from.
pub(super) fn of(policy: StreamPolicy, settings: &Settings, place: &str) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut add = |finding: Option<Finding>| found.extend(finding);
    if !policy.downsampling {
        add(downsampling_off(policy, settings, place));
        return found;
    }
    add(too_short(policy, place));
    add(forced(policy, settings, place));
    add(ranges_too_short(policy, settings, place));
    if let (Some(schedule), to_one_hour) = Schedule::of(settings) {
        add(raw_held(policy, schedule, place));
        if to_one_hour {
            add(five_held(policy, schedule, place));
            add(one_hour_too_late(policy, schedule, place));
        }
        add(kept_as(policy, schedule, to_one_hour, place));
    }
    for level in [0, 1] {
        add(finer_outlives(policy, level, place));
    }
    found
}

/// An error that somebody may know about.
fn severity(settings: &Settings) -> Severity {
    if settings.loss_acknowledged {
        Severity::Note
    } else {
        Severity::Error
    }
}

/// `7d`, or `ever` for 0.
fn kept(ms: i64) -> String {
    match ms {
        0 => "ever".to_owned(),
        ms => span(ms),
    }
}

fn too_short(policy: StreamPolicy, place: &str) -> Option<Finding> {
    let levels = policy.retention_ms.into_iter().zip(DOWNSAMPLED_FROM_MS);
    let (level, (retention, least)) = levels
        .enumerate()
        .find(|(_, (retention, least))| (1..*least).contains(retention))?;
    let name = RESOLUTION_NAMES[level];
    let finding = Finding::new(Kind::RetentionTooShort, Severity::Error, place);
    Some(finding.says(
        format!(
            "{name} blocks are kept for {}, but are downsampled from {} on",
            kept(retention),
            span(least)
        ),
        format!(
            "keep {name} for {} or longer, or switch downsampling off",
            span(least)
        ),
    ))
}

fn downsampling_off(policy: StreamPolicy, settings: &Settings, place: &str) -> Option<Finding> {
    let level = policy.retention_ms[..2].iter().position(|ms| *ms > 0)?;
    let finding = Finding::new(Kind::DownsamplingOff, severity(settings), place);
    Some(finding.says(
        format!(
            "{} blocks go after {}, and downsampling is off: nothing stands in for them",
            RESOLUTION_NAMES[level],
            kept(policy.retention_ms[level])
        ),
        "switch downsampling on, keep them for ever, or give --policy.acknowledge-data-loss",
    ))
}

fn forced(policy: StreamPolicy, settings: &Settings, place: &str) -> Option<Finding> {
    let level = policy.retention_ms[..2].iter().position(|ms| *ms > 0)?;
    settings.force_retention.then(|| {
        Finding::new(Kind::Forced, severity(settings), place).says(
            format!(
                "--retention.force: {} blocks go after {}, downsampled or not",
                RESOLUTION_NAMES[level],
                kept(policy.retention_ms[level])
            ),
            "drop --retention.force, or give --policy.acknowledge-data-loss",
        )
    })
}

fn ranges_too_short(policy: StreamPolicy, settings: &Settings, place: &str) -> Option<Finding> {
    let largest = *settings.ranges_ms.last()?;
    let levels = policy.retention_ms.into_iter().zip(DOWNSAMPLED_FROM_MS);
    let (level, (retention, least)) = levels
        .enumerate()
        .find(|(_, (retention, least))| *retention > 0 && largest < *least)?;
    let finding = Finding::new(Kind::RangesTooShort, severity(settings), place);
    Some(finding.says(
        format!(
            "{} blocks go after {}, never longer than {} and so never downsampled (from {} on)",
            RESOLUTION_NAMES[level],
            kept(retention),
            span(largest),
            span(least)
        ),
        "raise --debug.max-compaction-level, or give --policy.acknowledge-data-loss",
    ))
}

fn raw_held(policy: StreamPolicy, schedule: Schedule, place: &str) -> Option<Finding> {
    let retention = policy.retention_ms[0];
    let least = schedule.raw_window - schedule.raw_part + schedule.raw_after;
    (1..=least).contains(&retention).then(|| {
        Finding::new(Kind::RawHeld, Severity::Warning, place).says(
            format!(
                "raw blocks are kept for {}, but held for up to {}: 5m is made {} after a {} window",
                kept(retention),
                span(least),
                span(schedule.raw_after),
                span(schedule.raw_window)
            ),
            format!("keep raw for longer than {}", span(least)),
        )
    })
}

fn five_held(policy: StreamPolicy, schedule: Schedule, place: &str) -> Option<Finding> {
    let retention = policy.retention_ms[1];
    let least = schedule.five_window - schedule.raw_window + schedule.five_after;
    (1..=least).contains(&retention).then(|| {
        Finding::new(Kind::FiveMinutesHeld, Severity::Warning, place).says(
            format!(
                "5m blocks are kept for {}, but held for up to {}: 1h is made {} after a {} \
                 window; Thanos would delete them before",
                kept(retention),
                span(least),
                span(schedule.five_after),
                span(schedule.five_window)
            ),
            format!("keep 5m for longer than {}", span(least)),
        )
    })
}

fn one_hour_too_late(policy: StreamPolicy, schedule: Schedule, place: &str) -> Option<Finding> {
    let retention = policy.retention_ms[2];
    (1..=schedule.five_after).contains(&retention).then(|| {
        Finding::new(Kind::OneHourTooLate, Severity::Warning, place).says(
            format!(
                "1h blocks are kept for {}, but made {} after the end of a {} window",
                kept(retention),
                span(schedule.five_after),
                span(schedule.five_window)
            ),
            format!("keep 1h for much longer than {}", span(schedule.five_after)),
        )
    })
}

fn finer_outlives(policy: StreamPolicy, level: usize, place: &str) -> Option<Finding> {
    let (fine, coarse) = (policy.retention_ms[level], policy.retention_ms[level + 1]);
    let outlives = coarse > 0 && (fine == 0 || fine > coarse);
    let (finer, coarser) = (RESOLUTION_NAMES[level], RESOLUTION_NAMES[level + 1]);
    outlives.then(|| {
        Finding::new(Kind::FinerOutlives, Severity::Warning, place).says(
            format!(
                "{finer} is kept for {}, longer than {coarser}, which is kept for {}: long \
                 queries lose their {coarser} data first",
                kept(fine),
                kept(coarse)
            ),
            format!("keep {coarser} for as long as {finer}, or longer"),
        )
    })
}

fn kept_as(
    policy: StreamPolicy,
    schedule: Schedule,
    to_one_hour: bool,
    place: &str,
) -> Option<Finding> {
    if policy.retention_ms == [0; 3] {
        return None;
    }
    let levels = policy.retention_ms.iter().zip(RESOLUTION_NAMES);
    let each: Vec<String> = levels
        .map(|(ms, name)| format!("{name} for {}", kept(*ms)))
        .collect();
    let one_hour = match to_one_hour {
        true => format!(
            ", 1h {} after its {} window",
            span(schedule.five_after),
            span(schedule.five_window)
        ),
        false => String::new(),
    };
    let finding = Finding::new(Kind::KeptAs, Severity::Note, place);
    Some(finding.says(
        format!(
            "after the end of its block: {}; 5m is made {} after its {} window{one_hour}",
            each.join(", "),
            span(schedule.raw_after),
            span(schedule.raw_window)
        ),
        "",
    ))
}
