//! Configuration texts other than that of the bucket: inline or from a file,
//! with `$(NAME)` for environment variables, read as YAML.

use std::path::Path;
use std::sync::LazyLock;

use regex::{Captures, Regex};
use serde::de::DeserializeOwned;

use crate::error::{Error, Kind, Result};

/// The text of `--<flag>` or of the file of `--<flag>-file`, with variables
/// replaced; `None` if neither is given or the text is empty.
///
/// # Errors
/// Both given, an unreadable file, an unset variable.
pub(super) fn content(
    flag: &str,
    inline: Option<&str>,
    file: Option<&Path>,
) -> Result<Option<String>> {
    let inline = inline.filter(|text| !text.is_empty());
    let file = file.filter(|path| !path.as_os_str().is_empty());
    let text = match (inline, file) {
        (Some(_), Some(_)) => {
            let what = format!("--{flag} and --{flag}-file are both set");
            return Err(Error::new(Kind::Config, what).with_cure("give one of them"));
        }
        (Some(text), None) => text.to_owned(),
        (None, Some(path)) => std::fs::read_to_string(path).map_err(|e| {
            Error::new(Kind::Config, format!("--{flag}-file {}", path.display()))
                .with_source(e)
                .with_cure("name a file that this process may read")
        })?,
        (None, None) => return Ok(None),
    };
    let text = substitute(flag, &text, &|name| std::env::var(name).ok())?;
    Ok(Some(text).filter(|text| !text.is_empty()))
}

/// Replaces every `$(NAME)`; what a value brings in is not replaced again.
fn substitute(flag: &str, text: &str, lookup: &dyn Fn(&str) -> Option<String>) -> Result<String> {
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
        Some(name) => {
            let what = format!("--{flag} uses $({name}), but this variable is not set");
            Err(Error::new(Kind::Config, what).with_cure(format!("set {name} or write the value")))
        }
        None => Ok(replaced.into_owned()),
    }
}

/// Reads the first document; an empty text is the default value.
///
/// # Errors
/// No YAML, or not what `T` wants; with line and column.
pub(super) fn yaml<T: DeserializeOwned + Default>(flag: &str, text: &str) -> Result<T> {
    let options = serde_saphyr::options! {
        legacy_octal_numbers: true,
        with_snippet: false,
    };
    let mut bytes = text.as_bytes();
    let mut documents = serde_saphyr::read_with_options::<_, T>(&mut bytes, options);
    match documents.next() {
        None => Ok(T::default()),
        Some(Ok(value)) => Ok(value),
        Some(Err(e)) => Err(Error::new(Kind::Config, format!("--{flag}"))
            .with_source(e)
            .with_cure("mend the YAML at the place that is named")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_replaced_once() {
        let lookup = |name: &str| (name == "A").then(|| "$(A)!".to_owned());
        let text = substitute("f", "x: $(A) $A", &lookup).unwrap();
        assert_eq!(text, "x: $(A)! $A");
        let error = substitute("f", "$(NO)", &lookup).unwrap_err();
        assert!(error.chain().contains("$(NO)"), "{error}");
    }

    #[test]
    fn one_source_at_most() {
        assert_eq!(content("f", Some(""), Some(Path::new(""))).unwrap(), None);
        assert_eq!(content("f", Some("a"), None).unwrap().as_deref(), Some("a"));
        let both = content("f", Some("a"), Some(Path::new("b"))).unwrap_err();
        assert!(both.chain().contains("--f-file"), "{both}");
        let lost = content("f", None, Some(Path::new("/no/such/file"))).unwrap_err();
        assert!(lost.chain().contains("/no/such/file"), "{lost}");
    }
}
