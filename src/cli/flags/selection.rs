//! Flags that choose which blocks take part.

use std::path::PathBuf;

use serde::{Deserialize, Deserializer};

use super::path;
use crate::cli::duration::parse_go;
use crate::cli::text;
use crate::cli::time_bound::{TimeBound, parse_time};
use crate::error::Result;
use crate::plan::relabel::{Rule, Selector};

const FLAG: &str = "selector.relabel-config";

/// Which blocks take part.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Choice of blocks")]
pub(crate) struct SelectionFlags {
    /// Minimum age of a block before it is looked at.
    #[arg(long = "consistency-delay", value_name = "DURATION", default_value = "30m", value_parser = parse_go, allow_hyphen_values = true)]
    pub(crate) consistency_delay_ms: i64,
    /// Only blocks that end at this time or later: RFC 3339, or relative to
    /// now as in -30d.
    #[arg(long = "min-time", value_name = "TIME", default_value = "0000-01-01T00:00:00Z", value_parser = parse_time, allow_hyphen_values = true)]
    pub(crate) min_time: TimeBound,
    /// Only blocks that start at this time or earlier.
    #[arg(long = "max-time", value_name = "TIME", default_value = "9999-12-31T23:59:59Z", value_parser = parse_time, allow_hyphen_values = true)]
    pub(crate) max_time: TimeBound,
    /// File with relabel rules (keep, drop, hashmod) over external labels.
    #[arg(long = "selector.relabel-config-file", value_name = "FILE", value_parser = path())]
    pub(crate) relabel_file: Option<PathBuf>,
    /// The relabel rules themselves, instead of a file.
    #[arg(long = "selector.relabel-config", value_name = "YAML")]
    pub(crate) relabel: Option<String>,
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
        let Some(text) =
            text::content(FLAG, self.relabel.as_deref(), self.relabel_file.as_deref())?
        else {
            return Ok(Selector::default());
        };
        rules(&text)
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
    let rules: Vec<RuleYaml> = text::document(FLAG, text)?;
    let rules: Vec<Rule> = rules
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
    Selector::new(&rules).map_err(|e| e.context(format!("--{FLAG}")))
}

#[cfg(test)]
#[path = "selection_tests.rs"]
mod tests;
