//! What is past its retention, and whether it may go.
//!
//! ```text
//!  past its retention?  no ---------------------------------> keep
//!        | yes
//!  last resolution? or all sources in the next one? ---------> retire
//!        | no
//!  can it never be downsampled (see [`Proof`])? -------------> retire
//!        | it can
//!  forced? --------------------------------------------------> retire
//!        | no
//!        '---------------------------------------------------> hold
//! ```
//!
//! Upstream asks the first question only. A block is past its retention once
//! now is later than its end, in whole seconds, plus the retention of its
//! resolution.

use std::collections::HashSet;
use std::fmt;

use chrono::{DateTime, SecondsFormat};
use ulid::Ulid;

use super::filter::{LiveBlock, State};
use super::growth::level_of;
use super::judge::Judge;
use super::model::{Held, HeldReason, Plan, length};
use super::policy::RESOLUTION_NAMES;
use super::settings::Settings;
use super::view::BucketView;

/// A block that is past its retention and may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retired {
    /// The block to mark for deletion.
    pub block: Ulid,
    /// Window of its samples in ms, 0 for raw.
    pub resolution: i64,
    /// When its retention passed, ms since the epoch.
    pub expired_ms: i64,
    /// That retention, ms.
    pub retention_ms: i64,
    /// Why nothing is lost, or why that does not matter.
    pub why: RetiredBecause,
}

impl Retired {
    /// What its deletion mark says, in upstream's words.
    pub fn details(&self) -> String {
        let retention = go_duration(self.retention_ms);
        format!("block exceeding retention of {retention}")
    }
}

/// Why a block past its retention may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetiredBecause {
    /// Blocks of the next resolution hold all of its sources.
    Covered,
    /// It can never be downsampled.
    NeverDownsampled(Proof),
    /// There is no lower resolution.
    LastResolution,
    /// It could still be downsampled; `--retention.force` does not wait.
    Forced,
}

impl RetiredBecause {
    /// Stable name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Covered => "covered",
            Self::NeverDownsampled(_) => "never-downsampled",
            Self::LastResolution => "last-resolution",
            Self::Forced => "forced",
        }
    }

    /// The same for people.
    pub fn sentence(self) -> &'static str {
        match self {
            Self::Covered => "blocks of the next resolution hold all of its sources",
            Self::NeverDownsampled(proof) => proof.sentence(),
            Self::LastResolution => "there is no lower resolution",
            Self::Forced => "it was not downsampled, and --retention.force does not wait for that",
        }
    }

    /// The proof, if it rests on one.
    pub fn proof(self) -> Option<Proof> {
        match self {
            Self::NeverDownsampled(proof) => Some(proof),
            _ => None,
        }
    }
}

/// Why a block can never be downsampled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Proof {
    /// A flag or a rule says so.
    DownsamplingOff,
    /// It carries a no-downsample mark.
    NoDownsampleMark,
    /// What it would be downsampled to would be retired at once.
    ResultExpired,
    /// Too short, and a no-compact mark or Parquet files keep it so.
    KeptOut,
    /// Too short, and no range is longer.
    FinalRange,
    /// Too short with all there is in its window, and that has passed.
    WindowClosed,
    /// Too short unless a newer block of its stream came, and none does.
    StreamEnded,
}

impl Proof {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::DownsamplingOff,
        Self::NoDownsampleMark,
        Self::ResultExpired,
        Self::KeptOut,
        Self::FinalRange,
        Self::WindowClosed,
        Self::StreamEnded,
    ];

    /// Stable name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::DownsamplingOff => "downsampling-off",
            Self::NoDownsampleMark => "no-downsample-mark",
            Self::ResultExpired => "result-expired",
            Self::KeptOut => "kept-out",
            Self::FinalRange => "final-range",
            Self::WindowClosed => "window-closed",
            Self::StreamEnded => "stream-ended",
        }
    }

    /// The same for people.
    pub fn sentence(self) -> &'static str {
        match self {
            Self::DownsamplingOff => "downsampling is off for its stream",
            Self::NoDownsampleMark => "a no-downsample mark keeps it from being downsampled",
            Self::ResultExpired => {
                "what it would be downsampled to is past its retention, too, and would go at once"
            }
            Self::KeptOut => {
                "it is too short to be downsampled, and a no-compact mark or its Parquet files \
                 keep it so"
            }
            Self::FinalRange => "it is too short to be downsampled, and no range is longer",
            Self::WindowClosed => {
                "it is too short to be downsampled, its window has passed, and all there is in \
                 it is too short, too"
            }
            Self::StreamEnded => {
                "it is too short to be downsampled, and its stream has ended, so its window is \
                 not compacted any further"
            }
        }
    }
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a block past its retention is held for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waits {
    /// It is long enough.
    Downsampling,
    /// With others it will be long enough.
    Compaction,
    /// Others of its window may come until then, ms since the epoch.
    Window(i64),
    /// One of its window is there, but too fresh.
    FreshBlock,
    /// Its window is compacted once the stream has gone on for longer.
    NewerBlock,
    /// Downsampling is off by a rule, and nobody has said that data may go.
    Acknowledgement,
}

impl Waits {
    /// Stable name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Downsampling => "downsampling",
            Self::Compaction => "compaction",
            Self::Window(_) => "window",
            Self::FreshBlock => "fresh-block",
            Self::NewerBlock => "newer-block",
            Self::Acknowledgement => "acknowledgement",
        }
    }

    pub(super) fn what(self, level: usize) -> String {
        let next = RESOLUTION_NAMES.get(level + 1).copied().unwrap_or_default();
        match self {
            Self::Downsampling => {
                format!("its downsampling: no {next} blocks hold all its sources")
            }
            Self::Compaction => "the compaction that makes it long enough to be downsampled".into(),
            Self::Window(until) => {
                format!(
                    "other blocks of its window, until {}: it is too short",
                    time(until)
                )
            }
            Self::FreshBlock => "a block of its window that is still too fresh".into(),
            Self::NewerBlock => "newer blocks of its stream, to compact its window".into(),
            Self::Acknowledgement => {
                "leave to go: downsampling is off for its stream, so nothing else would be left"
                    .into()
            }
        }
    }

    pub(super) fn cure(self) -> &'static str {
        match self {
            Self::Acknowledgement => {
                "switch downsampling on for this stream, or give --policy.acknowledge-data-loss"
            }
            Self::Downsampling | Self::Compaction => {
                "run compaction and downsampling, and look at what fails there; \
                 --retention.force retires it as it is"
            }
            Self::Window(_) | Self::FreshBlock | Self::NewerBlock => {
                "wait; --retention.force retires it as it is"
            }
        }
    }
}

/// When the retention of a block that ends at `max_time` passes, ms since the
/// epoch; `None` if it is kept for ever. It has passed once now is later.
pub fn expires_ms(max_time: i64, retention_ms: i64) -> Option<i64> {
    let whole_seconds = max_time / 1000 * 1000;
    (retention_ms > 0).then(|| whole_seconds.saturating_add(retention_ms))
}

/// How many blocks a plan holds back although their retention has passed, by
/// level: raw, 5 minutes, 1 hour.
pub fn held_back(plan: &Plan) -> [u64; 3] {
    let mut counts = [0; 3];
    let waits = |h: &&Held| matches!(h.why, HeldReason::AwaitsDownsampling { .. });
    for held in plan.held.iter().filter(waits) {
        if let Some(level) = level_of(held.group.resolution) {
            counts[level] += held.blocks.len() as u64;
        }
    }
    counts
}

/// A duration as Go writes it: `168h0m0s`, `1m30s`, `1.5s`, `20ms`.
pub fn go_duration(ms: i64) -> String {
    let (sign, ms) = (if ms < 0 { "-" } else { "" }, ms.unsigned_abs());
    if ms == 0 {
        return "0s".to_owned();
    }
    if ms < 1000 {
        return format!("{sign}{ms}ms");
    }
    let (hours, minutes) = (ms / 3_600_000, ms / 60_000 % 60);
    let fraction = match ms % 1000 {
        0 => String::new(),
        rest => format!(".{rest:03}").trim_end_matches('0').to_owned(),
    };
    let seconds = format!("{}{fraction}s", ms / 1000 % 60);
    match (hours, minutes) {
        (0, 0) => format!("{sign}{seconds}"),
        (0, _) => format!("{sign}{minutes}m{seconds}"),
        _ => format!("{sign}{hours}h{minutes}m{seconds}"),
    }
}

/// A duration for people, as Prometheus reads it: `7d`, `40h`, `43h30m`,
/// `2d3h30m`.
pub(super) fn span(ms: i64) -> String {
    const UNITS: [(i64, &str); 5] = [
        (86_400_000, "d"),
        (3_600_000, "h"),
        (60_000, "m"),
        (1000, "s"),
        (1, "ms"),
    ];
    let whole = length(ms);
    if whole.ends_with(['d', 'h']) {
        return whole;
    }
    // Below two days, people count hours.
    let units = if ms < 2 * UNITS[0].0 { 1.. } else { 0.. };
    let (mut text, mut rest) = (String::new(), ms.max(0));
    for (unit, name) in &UNITS[units] {
        if rest >= *unit {
            text.push_str(&format!("{}{name}", rest / unit));
            rest %= unit;
        }
    }
    text
}

/// RFC 3339, UTC.
pub(super) fn time(ms: i64) -> String {
    DateTime::from_timestamp_millis(ms).map_or_else(
        || format!("{ms} ms"),
        |t| t.to_rfc3339_opts(SecondsFormat::AutoSi, true),
    )
}

/// What retention makes of the blocks that take part.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// Blocks that go on taking part, ascending by ULID.
    pub blocks: Vec<LiveBlock>,
    /// Those that take part in nothing any more, ascending by ULID.
    pub leaving: Vec<LiveBlock>,
    /// The same, as far as they are still to be marked.
    pub retired: Vec<Retired>,
    pub held: Vec<Held>,
    /// Blocks whose downsampling makes no sense: the result would go at once.
    pub pointless: Vec<Ulid>,
}

/// Sorts out the blocks that take part. `excluded` says why others do not.
pub(super) fn apply(
    blocks: Vec<LiveBlock>,
    (view, excluded): (&BucketView, &[(Ulid, State)]),
    settings: &Settings,
    now_ms: i64,
) -> Outcome {
    let rules = settings.policies.rules().iter();
    let mut given = rules.flat_map(|r| r.retention_ms).flatten();
    if settings.retention_ms == [0; 3] && given.all(|ms| ms == 0) {
        return Outcome {
            blocks,
            ..Outcome::default()
        };
    }
    let mut judge = Judge::new(&blocks, (view, excluded), settings, now_ms);
    judge.decide();
    let (retired, held) = (judge.retired(), judge.held());
    let pointless = judge.pointless();
    let gone: HashSet<Ulid> = judge.gone().collect();
    let (leaving, blocks) = blocks.into_iter().partition(|b| gone.contains(&b.id()));
    Outcome {
        blocks,
        leaving,
        retired,
        held,
        pointless,
    }
}

#[cfg(test)]
#[path = "retention_tests.rs"]
mod tests;
