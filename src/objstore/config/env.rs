//! `$(NAME)` in a configuration is the value of an environment variable.

use std::sync::LazyLock;

use regex::{Captures, Regex};

use super::ConfigError;

/// Looks up an environment variable.
pub(crate) type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Variables of this process. One that is not UTF-8 counts as unset.
pub(crate) fn process(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Replaces every `$(NAME)` before the text is read as YAML, so a value may
/// hold any YAML. An unset variable is an error, an empty one is not. What a
/// value brings in is not replaced again.
pub(crate) fn substitute(text: &str, lookup: Lookup<'_>) -> Result<String, ConfigError> {
    static REFERENCE: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"\$\(([a-zA-Z_0-9]+)\)").expect("the pattern is a constant"));
    let mut missing = None;
    let replaced = REFERENCE.replace_all(text, |found: &Captures<'_>| {
        lookup(&found[1]).unwrap_or_else(|| {
            missing.get_or_insert_with(|| found[1].to_owned());
            String::new()
        })
    });
    match missing {
        Some(name) => Err(ConfigError::MissingEnv(name)),
        None => Ok(replaced.into_owned()),
    }
}
