//! The parts of the page about retention and policy: short sums, the JSON has
//! each block.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::bytes;
use crate::cli::human::wrapped;
use crate::plan::forecast::{
    BucketForecast, FindingForecast, HeldForecast, PolicyForecast, RemovalForecast, WindowForecast,
};
use crate::plan::{length, resolution_name};

/// Days that are shown before the rest is summed up.
const DAYS: usize = 8;

/// Blocks and their bytes.
#[derive(Default)]
struct Sum {
    blocks: u64,
    bytes: u64,
    /// Of them, those that carry no mark yet.
    unmarked: u64,
}

impl Sum {
    fn add(&mut self, removal: &RemovalForecast) {
        self.blocks += 1;
        self.bytes += removal.bytes;
        self.unmarked += u64::from(removal.marked_at.is_none());
    }
}

fn blocks(n: u64) -> String {
    match n {
        1 => "1 block".to_owned(),
        n => format!("{n} blocks"),
    }
}

/// What holds for a stream, if rules say something about it.
pub(super) fn policy(page: &mut String, policy: &PolicyForecast) {
    let [first, more @ ..] = policy.rules.as_slice() else {
        return;
    };
    let mut rules = format!("rule {first}");
    more.iter()
        .for_each(|rule| rules.push_str(&format!("+{rule}")));
    let kept = &policy.retention_ms;
    let kept = [
        ("raw", kept.raw),
        ("5m", kept.five_minutes),
        ("1h", kept.one_hour),
    ];
    let kept = kept.map(|(name, ms)| match ms {
        0 => format!("{name} for ever"),
        ms => format!("{name} {}", length(ms)),
    });
    let downsampling = match policy.downsampling {
        true => "on",
        false => "off",
    };
    let text = format!(
        "policy ({rules}): {}, {}, downsampling {downsampling}",
        kept.join(", "),
        policy.dedup
    );
    wrapped(page, &text, 2);
}

/// What is past its retention and marked, by resolution and reason.
pub(super) fn retired(page: &mut String, bucket: &BucketForecast) {
    if bucket.retired.is_empty() {
        return;
    }
    let by_block: BTreeMap<&str, &RemovalForecast> = bucket
        .removals
        .iter()
        .map(|r| (r.block.as_str(), r))
        .collect();
    let mut sums: BTreeMap<(i64, &str), Sum> = BTreeMap::new();
    for one in &bucket.retired {
        let sum = sums.entry((one.resolution_ms, &one.because)).or_default();
        if let Some(removal) = by_block.get(one.block.as_str()) {
            sum.add(removal);
        }
    }
    page.push_str("past their retention, to be marked\n");
    for ((ms, because), sum) in sums {
        let text = format!(
            "{}, {}, {}: {because}",
            resolution_name(ms),
            blocks(sum.blocks),
            bytes(sum.bytes)
        );
        wrapped(page, &text, 2);
    }
    page.push('\n');
}

/// When bytes go, by day.
pub(super) fn removals(page: &mut String, bucket: &BucketForecast) {
    if bucket.removals.is_empty() {
        return;
    }
    let mut days: BTreeMap<&str, Sum> = BTreeMap::new();
    for removal in &bucket.removals {
        // RFC 3339 begins with the day.
        let day = removal.removed_at.get(..10).unwrap_or(&removal.removed_at);
        days.entry(day).or_default().add(removal);
    }
    page.push_str("bytes go once the delay of their marks has passed, from this day on\n");
    let later = days.len().saturating_sub(DAYS);
    for (day, sum) in days.iter().take(DAYS) {
        let unmarked = match sum.unmarked {
            0 => String::new(),
            n => format!("  {n} still to be marked"),
        };
        let (count, size) = (blocks(sum.blocks), bytes(sum.bytes));
        let _ = writeln!(page, "  {day}  {count:>14}  {size:>11}{unmarked}");
    }
    if later > 0 {
        let _ = writeln!(page, "  … and {later} more days (--dry-run=json has all)");
    }
    page.push('\n');
}

/// Blocks that are held back by the same stream for the same reason as one
/// entry, the others as they are.
pub(super) fn merged(held: &[HeldForecast]) -> Vec<HeldForecast> {
    let mut merged: Vec<HeldForecast> = Vec::new();
    let mut at: BTreeMap<(&str, &BTreeMap<String, String>, &str), usize> = BTreeMap::new();
    for one in held {
        let Some(waits) = &one.waits_for else {
            merged.push(one.clone());
            continue;
        };
        let key = (one.group.as_str(), &one.labels, waits.as_str());
        let Some(&first) = at.get(&key) else {
            at.insert(key, merged.len());
            merged.push(one.clone());
            continue;
        };
        let first = &mut merged[first];
        first.blocks.extend(one.blocks.iter().cloned());
        first.min_time = first.min_time.min(one.min_time);
        first.max_time = first.max_time.max(one.max_time);
    }
    for one in merged.iter_mut().filter(|h| h.waits_for.is_some()) {
        if one.blocks.len() > 1 {
            one.what = format!("{} blocks, the first {}", one.blocks.len(), one.what);
        }
    }
    merged
}

/// What the policy linter finds; notes are only counted, but for what is kept
/// for how long. That there is never 1h goes without saying where there is
/// never 5m.
pub(super) fn findings(page: &mut String, bucket: &BucketForecast) {
    let (shown, notes): (Vec<_>, Vec<_>) = bucket
        .findings
        .iter()
        .filter(|f| !goes_without_saying(f, &bucket.findings))
        .partition(|f| f.severity != "note" || f.kind == "kept-as");
    if shown.is_empty() {
        return;
    }
    page.push_str("policy\n");
    for finding in shown {
        one_finding(page, finding);
    }
    if !notes.is_empty() {
        let _ = writeln!(
            page,
            "  … and {} notes (--dry-run=json has all)",
            notes.len()
        );
    }
    page.push('\n');
}

/// Whether a finding is that some ranges never get 1h, of which others say that
/// they never get 5m.
fn goes_without_saying(finding: &FindingForecast, all: &[FindingForecast]) -> bool {
    let finer = all.iter().filter(|other| {
        other.kind == "never-5m"
            && other.labels == finding.labels
            && other.severity == finding.severity
    });
    let finer: Vec<_> = finer.flat_map(|other| &other.windows).collect();
    let covered = |one: &WindowForecast| finer.contains(&one);
    finding.kind == "never-1h" && finding.severity != "note" && finding.windows.iter().all(covered)
}

fn one_finding(page: &mut String, finding: &FindingForecast) {
    let stream = finding.labels.as_ref().map(|labels| {
        let pairs: Vec<String> = labels.iter().map(|(n, v)| format!("{n}={v:?}")).collect();
        format!(" {{{}}}", pairs.join(", "))
    });
    let head = format!(
        "{}: {} ({}){}",
        finding.severity,
        finding.kind,
        finding.place,
        stream.unwrap_or_default()
    );
    wrapped(page, &head, 2);
    wrapped(page, &finding.what, 4);
    if !finding.cure.is_empty() {
        wrapped(page, &format!("cure: {}", finding.cure), 4);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(kind: &str, severity: &str, cluster: &str, windows: &[i64]) -> FindingForecast {
        let windows = windows.iter().map(|&n| WindowForecast {
            min_time: n,
            max_time: n + 1,
        });
        FindingForecast {
            kind: kind.to_owned(),
            severity: severity.to_owned(),
            place: "flags".to_owned(),
            labels: Some([("cluster".to_owned(), cluster.to_owned())].into()),
            windows: windows.collect(),
            reason: None,
            what: String::new(),
            cure: String::new(),
        }
    }

    #[test]
    fn never_1h_is_told_where_it_does_not_follow_from_never_5m() {
        let finer = [
            finding("never-5m", "warning", "a", &[1, 2]),
            finding("never-5m", "note", "b", &[1]),
        ];
        for (severity, cluster, windows, silent) in [
            ("warning", "a", &[1, 2][..], true),
            ("warning", "a", &[2], true),
            ("warning", "a", &[2, 3], false),
            ("warning", "b", &[1], false),
            ("warning", "c", &[1], false),
            // Notes are counted, and nothing is said about one of them.
            ("note", "b", &[1], false),
        ] {
            let one = finding("never-1h", severity, cluster, windows);
            let found = goes_without_saying(&one, &finer);
            assert_eq!(found, silent, "{severity} {cluster} {windows:?}");
        }
        assert!(!goes_without_saying(&finer[0], &finer));
    }
}
