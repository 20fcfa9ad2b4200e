//! Looks for traps in retention, downsampling and policy: which data will be
//! gone before anything of lower resolution stands in for it, and which never
//! gets any.
//!
//! ```text
//!  raw blocks      |-- 2d --|-- 2d --| ... |-- 2d --|           kept for R
//!                           '-> 5m: at the end of the 2d + D
//!  blocks of 5m    |------------- 14d --------------|           kept for F
//!                                                   '-> 1h: at the end of the
//!                                                       14d + 2d + D
//!  D = next 2h block + 1h until Prometheus has cut it + consistency delay
//! ```
//!
//! [`rules`] looks at the numbers alone, [`lint`] at the streams of a bucket,
//! too. Where Thanos would delete a block before its time, Lithify holds it
//! ([`super::retention`]), so that a warning there says how long blocks really
//! stay. What would be lost all the same is an error, unless acknowledged.

mod numbers;
mod selector;
mod windows;

use std::collections::{BTreeMap, BTreeSet};

pub(crate) use selector::PLACE as SELECTOR_PLACE;

use super::filter;
use super::growth::Range;
use super::judge::Judge;
use super::settings::Settings;
use super::view::BucketView;
use crate::block::meta::Labels;

/// How much something matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Severity {
    /// A run does not start with it.
    Error,
    /// Not what somebody who wrote this is likely to expect.
    Warning,
    /// Good to know.
    Note,
}

impl Severity {
    /// Stable name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}

/// What was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Blocks are to go before they can be long enough to be downsampled;
    /// upstream refuses that, too.
    RetentionTooShort,
    /// Retention without downsampling: nothing is left.
    DownsamplingOff,
    /// Retention does not wait for downsampling.
    Forced,
    /// No range is long enough for what is made of it to be downsampled.
    RangesTooShort,
    /// Raw blocks stay longer than asked for, until they are downsampled.
    RawHeld,
    /// The same of blocks of 5 minutes.
    FiveMinutesHeld,
    /// A resolution is kept for longer than the next lower one.
    FinerOutlives,
    /// Blocks of 1 hour are past their retention when they are made.
    OneHourTooLate,
    /// These ranges of a stream never get data of 5 minutes.
    NeverFiveMinutes,
    /// These ranges of a stream never get data of 1 hour.
    NeverOneHour,
    /// A rule looks at a replica label, which is taken off before.
    RuleOnReplicaLabel,
    /// A rule of the selector looks at a replica label, which is taken off
    /// before.
    SelectorOnReplicaLabel,
    /// A rule of the selector spreads the blocks of one stream.
    SelectorSplitsStreams,
    /// A rule matches no stream.
    RuleUnused,
    /// What is kept for how long.
    KeptAs,
}

impl Kind {
    /// Stable name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RetentionTooShort => "retention-too-short",
            Self::DownsamplingOff => "downsampling-off",
            Self::Forced => "forced",
            Self::RangesTooShort => "ranges-too-short",
            Self::RawHeld => "raw-held",
            Self::FiveMinutesHeld => "5m-held",
            Self::FinerOutlives => "finer-outlives",
            Self::OneHourTooLate => "1h-too-late",
            Self::NeverFiveMinutes => "never-5m",
            Self::NeverOneHour => "never-1h",
            Self::RuleOnReplicaLabel => "rule-on-replica-label",
            Self::SelectorOnReplicaLabel => "selector-on-replica-label",
            Self::SelectorSplitsStreams => "selector-splits-streams",
            Self::RuleUnused => "rule-unused",
            Self::KeptAs => "kept-as",
        }
    }

    /// Whether a run may start with it once somebody has said so.
    pub fn can_be_acknowledged(self) -> bool {
        matches!(
            self,
            Self::DownsamplingOff | Self::Forced | Self::RangesTooShort
        )
    }
}

/// One thing that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What.
    pub kind: Kind,
    /// How much it matters.
    pub severity: Severity,
    /// Where the values come from: `flags`, `rule 2`, `rules 1, 3`,
    /// `selector rule 2`.
    pub place: String,
    /// External labels of the stream, if it is about one (replica labels taken
    /// off).
    pub labels: Option<Labels>,
    /// Ranges of the stream that it is about, ms, end exclusive, ascending.
    pub windows: Vec<Range>,
    /// Why those, by a stable name.
    pub reason: Option<Gap>,
    /// The same for people, at most two lines of 80 columns.
    pub what: String,
    /// What to do about it.
    pub cure: String,
}

impl Finding {
    fn new(kind: Kind, severity: Severity, place: &str) -> Self {
        Self {
            kind,
            severity,
            place: place.to_owned(),
            labels: None,
            windows: Vec::new(),
            reason: None,
            what: String::new(),
            cure: String::new(),
        }
    }

    fn says(mut self, what: impl Into<String>, cure: impl Into<String>) -> Self {
        self.what = what.into();
        self.cure = cure.into();
        self
    }
}

/// Why a range of a stream never gets data of lower resolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Gap {
    /// The stream begins in the middle of a window, and what is left of that is
    /// too short.
    BeganMidWindow,
    /// The stream has ended, and what it has of its last window is too short.
    StreamEnded,
    /// Blocks are missing, and what is there of the window is too short.
    Missing,
    /// A no-compact mark or Parquet files keep a short block as it is.
    KeptOut,
    /// A no-downsample mark.
    NoDownsampleMark,
    /// A short block reaches over the border of its window, or no range is
    /// longer.
    FinalRange,
}

impl Gap {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::BeganMidWindow,
        Self::StreamEnded,
        Self::Missing,
        Self::KeptOut,
        Self::NoDownsampleMark,
        Self::FinalRange,
    ];

    /// Stable name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BeganMidWindow => "began-mid-window",
            Self::StreamEnded => "stream-ended",
            Self::Missing => "missing-blocks",
            Self::KeptOut => "kept-out",
            Self::NoDownsampleMark => "no-downsample-mark",
            Self::FinalRange => "final-range",
        }
    }
}

/// What the numbers of flags and rules alone tell, each rule for itself on top
/// of the flags.
pub fn rules(settings: &Settings) -> Vec<Finding> {
    let flags = settings.flag_policy();
    let mut found = numbers::of(flags, settings, "flags");
    for (number, rule) in (1..).zip(settings.policies.rules()) {
        let place = format!("rule {number}");
        found.extend(numbers::of(rule.over(flags), settings, &place));
    }
    found.extend(on_replica_labels(settings));
    found.extend(selector::of(settings));
    once(found)
}

/// What the streams of a bucket tell besides, `now_ms` since the epoch: the
/// policies that really apply, and ranges that never get lower resolutions.
///
/// Ordered by severity; of equal sayings about several places only the first.
pub fn lint(view: &BucketView, settings: &Settings, now_ms: i64) -> Vec<Finding> {
    let live = filter::live(view, settings, now_ms);
    let excluded = (view, live.excluded.as_slice());
    let mut judge = Judge::new(&live.blocks, excluded, settings, now_ms);
    judge.decide();
    let mut in_use: BTreeMap<Vec<usize>, _> = BTreeMap::new();
    for family in &judge.families {
        let matching = settings.policies.matching(family.labels);
        in_use.entry(matching).or_insert(family.policy);
    }
    let mut found = Vec::new();
    for (matching, policy) in &in_use {
        found.extend(numbers::of(*policy, settings, &place(matching)));
    }
    found.extend(on_replica_labels(settings));
    found.extend(selector::of(settings));
    let used: BTreeSet<usize> = in_use.into_keys().flatten().collect();
    for (number, rule) in (1..).zip(settings.policies.rules()) {
        if !used.contains(&number) {
            let unused = Finding::new(Kind::RuleUnused, Severity::Note, &place(&[number]));
            found.push(unused.says(
                format!("rule {number}, {}, matches no stream", rule.matchers),
                "compare it with the labels of the streams, replica labels taken off",
            ));
        }
    }
    found.extend(windows::never(&judge, settings));
    once(found)
}

/// `flags`, `rule 2`, `rules 1, 3`.
fn place(matching: &[usize]) -> String {
    let numbers: Vec<String> = matching.iter().map(ToString::to_string).collect();
    match numbers.as_slice() {
        [] => "flags".to_owned(),
        [one] => format!("rule {one}"),
        more => format!("rules {}", more.join(", ")),
    }
}

/// Each saying once, by severity.
fn once(mut found: Vec<Finding>) -> Vec<Finding> {
    let mut said = BTreeSet::new();
    found.retain(|f| said.insert((f.kind, f.what.clone(), f.labels.clone())));
    found.sort_by_key(|f| f.severity);
    found
}

fn on_replica_labels(settings: &Settings) -> Vec<Finding> {
    let mut found = Vec::new();
    for (number, rule) in (1..).zip(settings.policies.rules()) {
        let mut labels = rule.matchers.labels();
        let replica = labels.find(|l| settings.replica_labels.iter().any(|r| r == l));
        if let Some(label) = replica {
            let finding = Finding::new(
                Kind::RuleOnReplicaLabel,
                Severity::Warning,
                &place(&[number]),
            );
            found.push(finding.says(
                format!(
                    "rule {number} looks at the replica label {label}, which streams do not have"
                ),
                format!("take {label} out of the rule: replicas are one stream"),
            ));
        }
    }
    found
}

#[cfg(test)]
#[path = "../lint_tests.rs"]
mod tests;
