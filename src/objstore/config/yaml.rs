//! YAML as Thanos reads it, as far as that is wise.
//!
//! Like Thanos' strict reader: an unknown or repeated key is an error, `yes`
//! and `on` are booleans, `0777` is octal, `key:` and `key: ~` mean "not set",
//! and only the first document counts. Unlike it: text stays as written, where
//! Thanos turns an unquoted `bucket: 0123` into `83`, because it reads the
//! configuration twice.

use serde::de::DeserializeOwned;
use serde_saphyr::Error;

use super::ConfigError;

/// Reads the first document; an empty text is the default value.
pub(crate) fn parse<T: DeserializeOwned + Default>(text: &str) -> Result<T, ConfigError> {
    // Snippets would quote the lines around an error, and with them secrets.
    let options = serde_saphyr::options! {
        legacy_octal_numbers: true,
        with_snippet: false,
    };
    let mut bytes = text.as_bytes();
    let mut documents = serde_saphyr::read_with_options::<_, T>(&mut bytes, options);
    match documents.next() {
        None => Ok(T::default()),
        Some(Ok(value)) => Ok(value),
        Some(Err(err)) => Err(explain(&err)),
    }
}

/// Our own words, because the library's quote values here and there.
fn explain(err: &Error) -> ConfigError {
    let what = match err.without_snippet() {
        Error::SerdeUnknownField { field, .. } => format!("unknown key `{field}`"),
        Error::DuplicateMappingKey { key, .. } => match key {
            Some(key) => format!("key `{key}` is given twice"),
            None => "a key is given twice".to_owned(),
        },
        Error::SerdeInvalidType { expected, .. } | Error::SerdeInvalidValue { expected, .. } => {
            format!("the value is not {expected}")
        }
        Error::InvalidScalar { ty, .. } => format!("the value is not a {ty}"),
        other => strip_place(&other.to_string()).to_owned(),
    };
    let (line, column) = match err.location() {
        Some(place) => (place.line(), place.column()),
        None => (0, 0),
    };
    ConfigError::Yaml { line, column, what }
}

/// The library ends a message with the place, which we print ourselves.
fn strip_place(message: &str) -> &str {
    message
        .rfind(" at line ")
        .map_or(message, |at| &message[..at])
}
