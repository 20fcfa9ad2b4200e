//! Which blocks a shard of compactors works on: relabel rules over the
//! external labels, as `--selector.relabel-config` gives them.
//!
//! ```text
//!  external labels - replica labels + __block_id
//!        |
//!        v    hashmod  sets a label to md5(values) % modulus
//!     rule 1  keep     drops the block unless the values match
//!     rule 2  drop     drops the block if they match
//!        ...
//! ```
//!
//! The values of `source_labels`, joined by `separator`, are what a rule looks
//! at; a label that is not there has the value `""`. Other actions rewrite
//! labels, which makes no sense for a choice of blocks; they are refused.

use std::borrow::Cow;
use std::collections::BTreeMap;

use md5::{Digest, Md5};
use regex::Regex;
use ulid::Ulid;

use crate::block::meta::Labels;
use crate::error::{Error, Kind, Result};

/// Label under which rules see the name of the block.
const BLOCK_ID: &str = "__block_id";

/// One rule as it is written down, not yet checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Labels whose values are looked at, in this order.
    pub source_labels: Vec<String>,
    /// Stands between the values.
    pub separator: String,
    /// Has to match all of the joined values, line breaks included.
    pub regex: String,
    /// Number of shards, for `hashmod`.
    pub modulus: u64,
    /// Label that `hashmod` sets.
    pub target_label: String,
    /// `keep`, `drop` or `hashmod`, in any letter case.
    pub action: String,
}

impl Default for Rule {
    /// What Prometheus assumes for a key that is not given.
    fn default() -> Self {
        Self {
            source_labels: Vec::new(),
            separator: ";".to_owned(),
            regex: "(.*)".to_owned(),
            modulus: 0,
            target_label: String::new(),
            action: "replace".to_owned(),
        }
    }
}

/// Checked rules.
#[derive(Debug, Clone, Default)]
pub struct Selector {
    steps: Vec<Step>,
}

#[derive(Debug, Clone)]
struct Step {
    source_labels: Vec<String>,
    separator: String,
    action: Action,
}

#[derive(Debug, Clone)]
enum Action {
    Keep(Regex),
    Drop(Regex),
    HashMod { modulus: u64, target: String },
}

impl Selector {
    /// Checks the rules. No rules keep every block.
    ///
    /// # Errors
    /// An action that chooses nothing, a pattern that is none, `hashmod`
    /// without modulus or target; each with the number of the rule, from 1.
    pub fn new(rules: &[Rule]) -> Result<Self> {
        let steps = rules
            .iter()
            .enumerate()
            .map(|(i, rule)| Step::new(rule).map_err(|e| e.context(format!("rule {}", i + 1))))
            .collect::<Result<_>>()?;
        Ok(Self { steps })
    }

    /// Labels that the rules look at, with the number of the rule, from 1.
    pub fn labels(&self) -> impl Iterator<Item = (usize, &str)> {
        let steps = (1..).zip(&self.steps);
        steps.flat_map(|(number, step)| {
            let labels = step.source_labels.iter();
            labels.map(move |label| (number, label.as_str()))
        })
    }

    /// Rules that spread blocks by what no two blocks share: the name of the
    /// block. By number, from 1.
    pub fn spreads_by_block(&self) -> impl Iterator<Item = usize> {
        let spreads = |step: &Step| {
            let hashes = matches!(step.action, Action::HashMod { .. });
            hashes && step.source_labels.iter().any(|label| label == BLOCK_ID)
        };
        let steps = (1..).zip(&self.steps);
        steps.filter(move |(_, step)| spreads(step)).map(|(n, _)| n)
    }

    /// True if there is nothing to choose by.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Whether a block takes part. `labels` are its external labels without
    /// the replica labels: replicas must not end up in different shards.
    pub fn keeps(&self, labels: &Labels, block: Ulid) -> bool {
        let id = block.to_string();
        let mut view: BTreeMap<&str, Cow<'_, str>> = labels
            .iter()
            .map(|(name, value)| (name.as_str(), Cow::Borrowed(value.as_str())))
            .collect();
        // An external label of this name wins, as upstream.
        view.entry(BLOCK_ID).or_insert(Cow::Borrowed(&id));
        for step in &self.steps {
            let joined = step.joined(&view);
            match &step.action {
                Action::Keep(regex) if !regex.is_match(&joined) => return false,
                Action::Drop(regex) if regex.is_match(&joined) => return false,
                Action::Keep(_) | Action::Drop(_) => {}
                Action::HashMod { modulus, target } => {
                    let shard = hash(&joined) % modulus;
                    view.insert(target, Cow::Owned(shard.to_string()));
                }
            }
        }
        true
    }
}

impl Step {
    fn new(rule: &Rule) -> Result<Self> {
        if rule.source_labels.iter().any(String::is_empty) {
            return Err(Error::new(Kind::Config, "a name in source_labels is empty"));
        }
        let action = match rule.action.to_lowercase().as_str() {
            "keep" => Action::Keep(anchored(&rule.regex)?),
            "drop" => Action::Drop(anchored(&rule.regex)?),
            "hashmod" => {
                anchored(&rule.regex)?;
                hash_mod(rule)?
            }
            _ => {
                let what = format!("action {} chooses no blocks", rule.action);
                return Err(
                    Error::new(Kind::Config, what).with_cure("use keep, drop and hashmod only")
                );
            }
        };
        Ok(Self {
            source_labels: rule.source_labels.clone(),
            separator: rule.separator.clone(),
            action,
        })
    }

    fn joined(&self, labels: &BTreeMap<&str, Cow<'_, str>>) -> String {
        let values: Vec<&str> = self
            .source_labels
            .iter()
            .map(|name| labels.get(name.as_str()).map_or("", |v| v.as_ref()))
            .collect();
        values.join(&self.separator)
    }
}

/// Prometheus' anchors: the whole text, and `.` matches line breaks too.
pub(super) fn anchored(pattern: &str) -> Result<Regex> {
    Regex::new(&format!("^(?s:{pattern})$")).map_err(|e| {
        Error::new(Kind::Config, format!("regex {pattern:?} cannot be used"))
            .with_source(e)
            .with_cure("mend the regular expression")
    })
}

fn hash_mod(rule: &Rule) -> Result<Action> {
    if rule.modulus == 0 {
        return Err(Error::new(Kind::Config, "hashmod without modulus")
            .with_cure("set modulus to the number of shards"));
    }
    if rule.target_label.is_empty() {
        return Err(Error::new(Kind::Config, "hashmod without target_label")
            .with_cure("set target_label to the name that a later keep looks at"));
    }
    Ok(Action::HashMod {
        modulus: rule.modulus,
        target: rule.target_label.clone(),
    })
}

/// The second half of the MD5 sum, big endian: what Prometheus shards by.
fn hash(text: &str) -> u64 {
    let sum = Md5::digest(text.as_bytes());
    sum.iter()
        .skip(8)
        .fold(0, |hash, &byte| (hash << 8) | u64::from(byte))
}

#[cfg(test)]
#[path = "relabel_tests.rs"]
mod tests;
