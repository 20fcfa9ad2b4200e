//! Flags with rules that change retention, dedup and downsampling for some
//! streams, and about data that would be lost.

use std::path::PathBuf;

use serde::{Deserialize, Deserializer};

use super::{path, refuse};
use crate::cli::duration::parse_prometheus;
use crate::cli::text;
use crate::error::Result;
use crate::plan::Dedup;
use crate::plan::policy::{Matchers, Policies, PolicyRule};

const FLAG: &str = "policy.config";

/// What holds for which streams.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Policy")]
pub(crate) struct PolicyFlags {
    /// File with rules that set retention, dedup and downsampling by the
    /// labels of a stream.
    #[arg(long = "policy.config-file", value_name = "FILE", value_parser = path())]
    pub(crate) file: Option<PathBuf>,
    /// The rules themselves, instead of a file.
    #[arg(long = "policy.config", value_name = "YAML")]
    pub(crate) inline: Option<String>,
    /// Start although retention will delete data that no lower resolution
    /// keeps.
    #[arg(long = "policy.acknowledge-data-loss")]
    pub(crate) acknowledge_data_loss: bool,
}

/// One rule as YAML.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleYaml {
    #[serde(rename = "match", deserialize_with = "matchers")]
    matchers: Matchers,
    #[serde(default)]
    retention: RetentionYaml,
    #[serde(default, deserialize_with = "dedup")]
    dedup: Option<Dedup>,
    #[serde(default)]
    downsampling: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RetentionYaml {
    #[serde(deserialize_with = "duration")]
    raw: Option<i64>,
    #[serde(rename = "5m", deserialize_with = "duration")]
    five_minutes: Option<i64>,
    #[serde(rename = "1h", deserialize_with = "duration")]
    one_hour: Option<i64>,
}

fn matchers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Matchers, D::Error> {
    let text = String::deserialize(deserializer)?;
    Matchers::parse(&text).map_err(serde::de::Error::custom)
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let ms = parse_prometheus(&text).map_err(serde::de::Error::custom)?;
    Ok(Some(ms))
}

fn dedup<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Dedup>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let known = [Dedup::OneToOne, Dedup::Penalty];
    let found = known.into_iter().find(|d| d.to_string() == text);
    let found = found.ok_or_else(|| format!("{text:?} is neither one-to-one nor penalty"));
    found.map(Some).map_err(serde::de::Error::custom)
}

impl PolicyFlags {
    /// The rules, read and checked; empty if there are none.
    ///
    /// # Errors
    /// Both flags given, an unreadable file, an unset variable, text that is
    /// no list of rules.
    pub(crate) fn policies(&self) -> Result<Policies> {
        let text = text::content(FLAG, self.inline.as_deref(), self.file.as_deref())?;
        text.map_or(Ok(Policies::default()), |text| policies(&text))
    }

    /// What cannot be served. `replicas` tells whether replica labels are
    /// given.
    pub(crate) fn check(&self, replicas: bool) -> Result<()> {
        let policies = self.policies()?;
        let penalty = |rule: &PolicyRule| rule.dedup == Some(Dedup::Penalty);
        match policies.rules().iter().position(penalty) {
            Some(at) if !replicas => Err(refuse(
                FLAG,
                &format!(
                    "rule {}: penalty needs to know which labels tell replicas apart",
                    at + 1
                ),
                "give --deduplication.replica-label",
            )),
            _ => Ok(()),
        }
    }
}

/// Rules as YAML, checked.
fn policies(text: &str) -> Result<Policies> {
    let rules: Vec<RuleYaml> = text::document(FLAG, text)?;
    let mut checked = Vec::with_capacity(rules.len());
    for (number, yaml) in (1..).zip(rules) {
        let kept = yaml.retention;
        let rule = PolicyRule {
            matchers: yaml.matchers,
            retention_ms: [kept.raw, kept.five_minutes, kept.one_hour],
            dedup: yaml.dedup,
            downsampling: yaml.downsampling,
        };
        let sets_nothing =
            rule.retention_ms == [None; 3] && rule.dedup.is_none() && rule.downsampling.is_none();
        if sets_nothing {
            return Err(refuse(
                FLAG,
                &format!("rule {number} sets nothing"),
                "give it retention, dedup or downsampling, or drop it",
            ));
        }
        checked.push(rule);
    }
    Ok(Policies::new(checked))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::meta::Labels;
    use crate::plan::policy::StreamPolicy;

    const FLAGS: StreamPolicy = StreamPolicy {
        retention_ms: [0; 3],
        dedup: Dedup::OneToOne,
        downsampling: true,
    };

    #[test]
    fn rules_are_read_from_yaml() {
        let text = "\
- match: '{cluster=\"edge\"}'
  retention: {raw: 3d, 5m: 1d12h, 1h: 0}
  dedup: penalty
- match: \"{}\"
  retention: {raw: 1w}
  dedup: one-to-one
  downsampling: false
";
        let policies = policies(text).unwrap();
        let edge = Labels::from([("cluster".to_owned(), "edge".to_owned())]);
        let (day, hour) = (86_400_000, 3_600_000);
        let wanted = StreamPolicy {
            retention_ms: [3 * day, 36 * hour, 0],
            dedup: Dedup::Penalty,
            downsampling: false,
        };
        assert_eq!(policies.of(&edge, FLAGS), wanted);
        let wanted = StreamPolicy {
            retention_ms: [7 * day, 0, 0],
            dedup: Dedup::OneToOne,
            downsampling: false,
        };
        assert_eq!(policies.of(&Labels::new(), FLAGS), wanted);
        for none in ["", "[]", "# nothing\n"] {
            assert!(super::policies(none).unwrap().rules().is_empty(), "{none}");
        }
    }

    #[test]
    fn errors_have_a_place_and_a_cure() {
        for (text, part) in [
            ("- match: '{}'\n  retentions: {raw: 1d}", "line 2"),
            ("- match: '{}'\n  retentions: {raw: 1d}", "`retentions`"),
            ("- match: '{}'\n  retention: {10m: 1d}", "`10m`"),
            ("- match: '{}'\n  retention: {raw: 1.5d}", "line 2"),
            ("- match: '{}'\n  retention: {raw: 1.5d}", "\"1.5d\""),
            ("- match: '{}'\n  retention:\n    1h: -1d", "line 3"),
            ("- match: '{a=~\"(\"}'\n  dedup: penalty", "line 1"),
            (
                "- match: '{a=~\"(\"}'\n  dedup: penalty",
                "regular expression",
            ),
            ("- match: cluster\n  dedup: penalty", "expected `{`"),
            ("- match: '{}'\n  dedup: best", "line 2"),
            ("- match: '{}'\n  dedup: best", "one-to-one nor penalty"),
            ("- match: '{}'\n  downsampling: maybe", "line 2"),
            ("- dedup: penalty", "match"),
            (
                "- match: '{}'\n  dedup: penalty\n- match: '{}'",
                "rule 2 sets nothing",
            ),
            ("match: '{}'", "line 1"),
        ] {
            let error = policies(text).unwrap_err();
            assert!(error.chain().contains(part), "{text}: {}", error.chain());
            assert!(error.chain().contains("--policy.config"), "{text}");
            assert!(error.cure().is_some(), "{text}");
        }
    }

    #[test]
    fn penalty_wants_replica_labels() {
        let flags = PolicyFlags {
            file: None,
            inline: Some(
                "- {match: '{}', downsampling: true}\n- {match: '{}', dedup: penalty}".into(),
            ),
            acknowledge_data_loss: false,
        };
        assert!(flags.check(true).is_ok());
        let error = flags.check(false).unwrap_err();
        assert!(error.chain().contains("rule 2"), "{}", error.chain());
    }
}
