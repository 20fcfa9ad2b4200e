//! Configuration texts other than that of the bucket: inline or from a file,
//! with `$(NAME)` for environment variables, read as YAML.

use std::path::Path;

use serde::de::DeserializeOwned;

use crate::error::{Error, Kind, Result};
use crate::objstore::config::{env, yaml};

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
    let text = substitute(flag, &text, &env::process)?;
    Ok(Some(text).filter(|text| !text.is_empty()))
}

/// Replaces every `$(NAME)`, as in the configuration of a bucket.
fn substitute(flag: &str, text: &str, lookup: env::Lookup<'_>) -> Result<String> {
    env::substitute(text, lookup).map_err(|e| {
        Error::new(Kind::Config, format!("--{flag}"))
            .with_source(e)
            .with_cure("set the variable, or write the value")
    })
}

/// Reads the first document; an empty text is the default value.
///
/// # Errors
/// No YAML, or not what `T` wants; with line and column.
pub(super) fn document<T: DeserializeOwned + Default>(flag: &str, text: &str) -> Result<T> {
    yaml::parse(text).map_err(|e| {
        Error::new(Kind::Config, format!("--{flag}"))
            .with_source(e)
            .with_cure("mend the YAML at the place that is named")
    })
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
        assert!(error.chain().contains("NO"), "{error}");
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
