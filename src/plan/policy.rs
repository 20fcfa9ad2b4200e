//! Which retention, which way to merge replicas and whether to downsample, for
//! each stream: the flags, and rules that change them for some streams.
//!
//! ```text
//!  labels of a stream, replica labels taken off
//!        |
//!        v    rule 1  {cluster="edge"}       retention raw: 3d
//!             rule 2  {tenant=~"dev|test"}   retention raw: 2d, downsampling: false
//!             ...     the first rule that matches and sets a value gives it
//!             flags   what no rule has set
//! ```
//!
//! Each value is looked for on its own, so a narrow rule on top may change one
//! of them and leave the others to the rules below.

use std::fmt;

use regex::Regex;

use super::relabel::anchored;
use crate::block::meta::Labels;
use crate::merge::Dedup;

/// Names of the resolutions in flags and rules: raw, 5 minutes, 1 hour.
pub const RESOLUTION_NAMES: [&str; 3] = ["raw", "5m", "1h"];

/// What holds for one stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamPolicy {
    /// How long blocks of raw samples, of 5 minutes and of 1 hour are kept
    /// after their end, ms; 0 is for ever.
    pub retention_ms: [i64; 3],
    /// How samples of replicas become one stream.
    pub dedup: Dedup,
    /// Whether blocks of lower resolution are made.
    pub downsampling: bool,
}

/// One rule: which streams, and what it sets for them.
#[derive(Debug, Clone)]
pub struct PolicyRule {
    /// Which streams.
    pub matchers: Matchers,
    /// Retention of raw, 5 minutes and 1 hour, ms; `None` where it says nothing.
    pub retention_ms: [Option<i64>; 3],
    /// How samples of replicas become one stream.
    pub dedup: Option<Dedup>,
    /// Whether blocks of lower resolution are made.
    pub downsampling: Option<bool>,
}

impl PolicyRule {
    /// `policy` with what this rule sets.
    pub fn over(&self, policy: StreamPolicy) -> StreamPolicy {
        let mut over = policy;
        for (value, set) in over.retention_ms.iter_mut().zip(self.retention_ms) {
            *value = set.unwrap_or(*value);
        }
        over.dedup = self.dedup.unwrap_or(over.dedup);
        over.downsampling = self.downsampling.unwrap_or(over.downsampling);
        over
    }
}

/// The rules, first to last.
#[derive(Debug, Clone, Default)]
pub struct Policies {
    rules: Vec<PolicyRule>,
}

impl Policies {
    /// Of checked rules.
    pub fn new(rules: Vec<PolicyRule>) -> Self {
        Self { rules }
    }

    /// The rules, first to last.
    pub fn rules(&self) -> &[PolicyRule] {
        &self.rules
    }

    /// What holds for a stream with these labels (replica labels taken off);
    /// `flags` is what holds where no rule says anything.
    pub fn of(&self, labels: &Labels, flags: StreamPolicy) -> StreamPolicy {
        let matching = self.rules.iter().filter(|r| r.matchers.matches(labels));
        // From the last to the first, so that the first has the last word.
        matching.rev().fold(flags, |policy, rule| rule.over(policy))
    }

    /// Numbers, from 1, of the rules that match a stream.
    pub fn matching(&self, labels: &Labels) -> Vec<usize> {
        let numbered = (1..).zip(&self.rules);
        let matching = numbered.filter(|(_, r)| r.matchers.matches(labels));
        matching.map(|(number, _)| number).collect()
    }
}

/// Label matchers as PromQL writes them, all of which have to match.
#[derive(Debug, Clone)]
pub struct Matchers {
    text: String,
    all: Vec<Matcher>,
}

#[derive(Debug, Clone)]
struct Matcher {
    label: String,
    test: Test,
}

#[derive(Debug, Clone)]
enum Test {
    Equal(String),
    NotEqual(String),
    Match(Regex),
    NoMatch(Regex),
}

impl Matchers {
    /// Reads `{cluster="eu", tenant=~"a|b"}`: `=`, `!=`, `=~` and `!~`, regular
    /// expressions match the whole value. `{}` matches every stream.
    ///
    /// # Errors
    /// A sentence with the character (from 1) at which the text is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut reader = Reader {
            text,
            rest: text.trim_start(),
        };
        reader.take("{", "`{`")?;
        let mut all = Vec::new();
        while reader.take("}", "").is_err() {
            if !all.is_empty() {
                reader.take(",", "`,` or `}`")?;
                // PromQL allows a comma behind the last one.
                if reader.take("}", "").is_ok() {
                    break;
                }
            }
            all.push(reader.matcher()?);
        }
        if !reader.rest.is_empty() {
            return Err(reader.wanted("nothing after `}`"));
        }
        let text = text.trim().to_owned();
        Ok(Self { text, all })
    }

    /// Whether all of them match. A label that is not there has the value `""`.
    pub fn matches(&self, labels: &Labels) -> bool {
        self.all.iter().all(|matcher| {
            let value = labels.get(&matcher.label).map_or("", String::as_str);
            match &matcher.test {
                Test::Equal(wanted) => value == wanted,
                Test::NotEqual(other) => value != other,
                Test::Match(regex) => regex.is_match(value),
                Test::NoMatch(regex) => !regex.is_match(value),
            }
        })
    }

    /// The labels that are looked at.
    pub fn labels(&self) -> impl Iterator<Item = &str> {
        self.all.iter().map(|m| m.label.as_str())
    }
}

impl fmt::Display for Matchers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Takes matchers apart, front to back.
struct Reader<'a> {
    text: &'a str,
    /// What is left, without leading blanks.
    rest: &'a str,
}

impl Reader<'_> {
    fn wanted(&self, what: &str) -> String {
        let done = self.text.len() - self.rest.len();
        let place = self.text[..done].chars().count() + 1;
        format!(
            "matchers {:?}: character {place}: expected {what}",
            self.text
        )
    }

    fn advance(&mut self, bytes: usize) {
        self.rest = self.rest[bytes..].trim_start();
    }

    fn take(&mut self, token: &str, what: &str) -> Result<(), String> {
        if !self.rest.starts_with(token) {
            return Err(self.wanted(what));
        }
        self.advance(token.len());
        Ok(())
    }

    fn matcher(&mut self) -> Result<Matcher, String> {
        let label = self.label()?;
        let operators = ["=~", "!~", "!=", "="];
        let found = operators.into_iter().find(|o| self.rest.starts_with(o));
        let operator = found.ok_or_else(|| self.wanted("one of =, !=, =~ and !~"))?;
        self.advance(operator.len());
        let before = self.rest;
        let value = self.quoted("a value in quotes")?;
        let test = match operator {
            "=" => Test::Equal(value),
            "!=" => Test::NotEqual(value),
            _ => {
                let regex = anchored(&value).map_err(|_| {
                    self.rest = before;
                    self.wanted("a regular expression")
                })?;
                if operator == "=~" {
                    Test::Match(regex)
                } else {
                    Test::NoMatch(regex)
                }
            }
        };
        Ok(Matcher { label, test })
    }

    /// The name of a label; any text if it stands in quotes.
    fn label(&mut self) -> Result<String, String> {
        if self.rest.starts_with(['"', '\'', '`']) {
            return self.quoted("a label");
        }
        let part = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let end = self.rest.find(|c| !part(c)).unwrap_or(self.rest.len());
        let name = self.rest[..end].to_owned();
        if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
            return Err(self.wanted("a label"));
        }
        self.advance(end);
        Ok(name)
    }

    /// A text in single or double quotes with escapes, or in backticks without.
    fn quoted(&mut self, what: &str) -> Result<String, String> {
        let mut chars = self.rest.char_indices();
        let Some((_, quote @ ('"' | '\'' | '`'))) = chars.next() else {
            return Err(self.wanted(what));
        };
        let mut value = String::new();
        while let Some((at, c)) = chars.next() {
            if c == quote {
                self.advance(at + c.len_utf8());
                return Ok(value);
            }
            if c != '\\' || quote == '`' {
                value.push(c);
                continue;
            }
            let escaped = chars.next().map(|(_, c)| c);
            value.push(match escaped {
                Some('n') => '\n',
                Some('r') => '\r',
                Some('t') => '\t',
                Some(c @ ('\\' | '"' | '\'')) => c,
                _ => {
                    self.rest = &self.rest[at..];
                    return Err(self.wanted("one of \\\\, \\\", \\', \\n, \\r and \\t"));
                }
            });
        }
        Err(self.wanted("a text whose quotes are closed"))
    }
}

#[cfg(test)]
#[path = "policy_tests.rs"]
mod tests;
