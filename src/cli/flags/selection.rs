//! Flags that choose which blocks take part.

use std::hash::Hasher;
use std::path::PathBuf;

use serde::{Deserialize, Deserializer};
use twox_hash::XxHash64;

use super::path;
use crate::cli::duration::parse_go;
use crate::cli::text;
use crate::cli::time_bound::{TimeBound, parse_time};
use crate::error::Result;
use crate::plan::relabel::{Rule, Selector};
use crate::plan::shard::Shard;

const FLAG: &str = "selector.relabel-config";

/// The part that is all of the bucket.
pub(crate) const WHOLE: &str = "whole";
/// All times, as upstream writes them.
const MIN_TIME: &str = "0000-01-01T00:00:00Z";
const MAX_TIME: &str = "9999-12-31T23:59:59Z";

/// Which blocks take part.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Choice of blocks")]
pub(crate) struct SelectionFlags {
    /// Minimum age of a block before it is looked at.
    #[arg(long = "consistency-delay", value_name = "DURATION", default_value = "30m", value_parser = parse_go, allow_hyphen_values = true)]
    pub(crate) consistency_delay_ms: i64,
    /// Only blocks that end at this time or later: RFC 3339, or relative to
    /// now as in -30d.
    #[arg(long = "min-time", value_name = "TIME", default_value = MIN_TIME, value_parser = parse_time, allow_hyphen_values = true)]
    pub(crate) min_time: TimeBound,
    /// Only blocks that start at this time or earlier.
    #[arg(long = "max-time", value_name = "TIME", default_value = MAX_TIME, value_parser = parse_time, allow_hyphen_values = true)]
    pub(crate) max_time: TimeBound,
    /// File with relabel rules (keep, drop, hashmod) over external labels.
    #[arg(long = "selector.relabel-config-file", value_name = "FILE", value_parser = path())]
    pub(crate) relabel_file: Option<PathBuf>,
    /// The relabel rules themselves, instead of a file.
    #[arg(long = "selector.relabel-config", value_name = "YAML")]
    pub(crate) relabel: Option<String>,
    /// Only one of n equal parts of the streams, i from 0 to n-1: as 0/4.
    #[arg(long = "shard", value_name = "I/N", value_parser = parse_shard)]
    pub(crate) shard: Option<Shard>,
}

fn parse_shard(text: &str) -> Result<Shard, String> {
    text.parse()
}

/// One rule as YAML. A key without value is an empty text, a missing key is
/// the default.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RuleYaml {
    #[serde(deserialize_with = "null_is_empty")]
    source_labels: Vec<String>,
    #[serde(deserialize_with = "null_is_empty")]
    separator: String,
    #[serde(deserialize_with = "null_is_empty")]
    regex: String,
    #[serde(deserialize_with = "null_is_empty")]
    modulus: u64,
    #[serde(deserialize_with = "null_is_empty")]
    target_label: String,
    #[serde(rename = "replacement")]
    _replacement: Option<String>,
    #[serde(deserialize_with = "null_is_empty")]
    action: String,
}

impl Default for RuleYaml {
    fn default() -> Self {
        let rule = Rule::default();
        Self {
            source_labels: rule.source_labels,
            separator: rule.separator,
            regex: rule.regex,
            modulus: rule.modulus,
            target_label: rule.target_label,
            _replacement: None,
            action: rule.action,
        }
    }
}

fn null_is_empty<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

impl SelectionFlags {
    /// The relabel rules, read and checked; empty if there are none.
    ///
    /// # Errors
    /// Both flags given, an unreadable file, an unset variable, text that is
    /// no list of rules, rules that choose nothing.
    pub(crate) fn selector(&self) -> Result<Selector> {
        checked(&self.rules()?)
    }

    /// The relabel rules as they are written down.
    fn rules(&self) -> Result<Vec<Rule>> {
        let (inline, file) = (self.relabel.as_deref(), self.relabel_file.as_deref());
        let text = text::content(FLAG, inline, file)?;
        text.map_or(Ok(Vec::new()), |text| read_rules(&text))
    }

    /// A short name of the part of the bucket that these flags leave to this
    /// process, for objects that one process of each part has: letters, digits
    /// and dashes, at most 41 of them. Equal flags have equal names at any time
    /// and in any release; parts of different names may still overlap.
    ///
    /// # Errors
    /// Those of [`Self::selector`].
    pub(crate) fn part(&self) -> Result<String> {
        let mut name = match self.shard {
            Some(shard) => format!("shard-{}", shard.to_string().replace('/', "-of-")),
            None => String::new(),
        };
        let rules = self.rules()?;
        let times = [(self.min_time, MIN_TIME), (self.max_time, MAX_TIME)];
        let all_times = times.iter().all(|(time, all)| parse_time(all) == Ok(*time));
        if !all_times || !rules.is_empty() {
            let mut hash = XxHash64::with_seed(0);
            for (time, _) in times {
                add_time(&mut hash, time);
            }
            rules.iter().for_each(|rule| add_rule(&mut hash, rule));
            let dash = if name.is_empty() { "" } else { "-" };
            name.push_str(&format!("{dash}part-{:016x}", hash.finish()));
        }
        Ok(if name.is_empty() {
            WHOLE.to_owned()
        } else {
            name
        })
    }

    /// What cannot be served.
    pub(crate) fn check(&self) -> Result<()> {
        self.selector().map(drop)
    }
}

/// Relabel rules as YAML, checked.
///
/// # Errors
/// Text that is no list of rules, rules that choose nothing.
pub(crate) fn rules(text: &str) -> Result<Selector> {
    checked(&read_rules(text)?)
}

fn read_rules(text: &str) -> Result<Vec<Rule>> {
    let rules: Vec<RuleYaml> = text::document(FLAG, text)?;
    let rules = rules
        .into_iter()
        .map(|yaml| Rule {
            source_labels: yaml.source_labels,
            separator: yaml.separator,
            regex: yaml.regex,
            modulus: yaml.modulus,
            target_label: yaml.target_label,
            action: yaml.action,
        })
        .collect();
    Ok(rules)
}

fn checked(rules: &[Rule]) -> Result<Selector> {
    Selector::new(rules).map_err(|e| e.context(format!("--{FLAG}")))
}

/// A relative bound moves with the clock, what was asked for does not.
fn add_time(hash: &mut XxHash64, time: TimeBound) {
    let (tag, ms) = match time {
        TimeBound::Absolute(ms) => (0, ms),
        TimeBound::Relative(ms) => (1, ms),
    };
    hash.write(&[tag]);
    hash.write(&ms.to_be_bytes());
}

fn add_rule(hash: &mut XxHash64, rule: &Rule) {
    let labels = rule.source_labels.iter().map(String::as_str);
    let action = rule.action.to_lowercase();
    let modulus = rule.modulus.to_string();
    let texts = [
        &rule.separator,
        &rule.regex,
        &rule.target_label,
        &action,
        &modulus,
    ];
    for text in labels.chain(texts.into_iter().map(String::as_str)) {
        hash.write(text.as_bytes());
        hash.write(&[0xff]);
    }
    hash.write(&[0xfe]);
}

#[cfg(test)]
#[path = "selection_tests.rs"]
mod tests;
