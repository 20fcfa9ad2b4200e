//! Findings of the policy linter before a command starts: what it refuses, what
//! it warns of. What the streams of a bucket tell comes with the first look.

use crate::error::{Error, Kind, Result};
use crate::plan::Settings;
use crate::plan::lint::{self, Finding, Severity};

/// Looks at flags and rules; adds what is to be warned of.
///
/// # Errors
/// Findings that keep a run from starting: all of them, with the flag that
/// acknowledges them where one does.
pub(super) fn check(settings: &Settings, warnings: &mut Vec<String>) -> Result<()> {
    let found = lint::rules(settings);
    let of = |severity| found.iter().filter(move |f| f.severity == severity);
    warnings.extend(of(Severity::Warning).map(line));
    let errors: Vec<&Finding> = of(Severity::Error).collect();
    let Some(first) = errors.first() else {
        return Ok(());
    };
    let lines: Vec<String> = errors
        .iter()
        .map(|f| format!("{} [{}]", line(f), f.kind.as_str()))
        .collect();
    let cure = errors.iter().find(|f| !f.kind.can_be_acknowledged());
    let cure = &cure.unwrap_or(first).cure;
    Err(Error::new(Kind::Config, lines.join("; ")).with_cure(cure.clone()))
}

/// One finding about flags or rules.
fn line(finding: &Finding) -> String {
    let flag = match finding.place.as_str() {
        "flags" => "--retention.*",
        place if place.starts_with(lint::SELECTOR_PLACE) => "--selector.relabel-config",
        _ => "--policy.config",
    };
    let place = match finding.place.as_str() {
        "flags" => String::new(),
        // The sentence names the rule.
        place if place.starts_with(lint::SELECTOR_PLACE) => String::new(),
        place => format!(" {place}"),
    };
    format!("{flag}{place}: {}", finding.what)
}
