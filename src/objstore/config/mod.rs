//! The bucket configuration: Thanos' YAML, checked strictly.
//!
//! ```text
//!  --objstore.config[-file] --$(ENV)--> text --yaml--> keys --check--> BucketConfig
//!                                                                       |- Folder
//!   type: S3            what to talk to, any letter case                |- S3
//!   config: {..}        keys of that provider                           '- Gcs, Azure
//!   prefix: team-a      all names lie below it
//! ```
//!
//! Every key Thanos knows is used, accepted without effect (listed in
//! [`BucketConfig::notes`]) or refused by name with the reason. None is
//! silently dropped: a wrong guess about a bucket costs data.

mod azure;
mod duration;
pub(crate) mod env;
mod gcs;
mod http;
mod s3;
mod secret;
pub(crate) mod yaml;

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};

pub use azure::{AzureConfig, AzureLogin};
pub(crate) use env::{Lookup, process as process_env};
pub use gcs::GcsConfig;
pub use http::HttpConfig;
pub use s3::{Keys, LookupStyle, S3Config, Sse};
pub use secret::Secret;

/// What is wrong with a bucket configuration. Never quotes a value that could
/// be a secret.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Both ways to give the configuration were used.
    #[error("--objstore.config and --objstore.config-file are both set; give one of them")]
    BothFlags,
    /// Neither way was used, or the text is empty.
    #[error("no bucket configuration; give --objstore.config-file or --objstore.config")]
    Empty,
    /// The file cannot be read.
    #[error("read bucket configuration {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The text refers to a variable that is not set.
    #[error("the bucket configuration uses $({0}), but this environment variable is not set")]
    MissingEnv(String),
    /// Not YAML, or not the keys that Thanos knows.
    #[error("bucket configuration, line {line}, column {column}: {what}")]
    Yaml {
        /// From 1; lines of the text after substitution.
        line: u64,
        /// From 1.
        column: u64,
        /// What is wrong there.
        what: String,
    },
    /// `type` is none that Thanos knows.
    #[error("bucket with type {0} is not supported; set type to S3 or FILESYSTEM")]
    UnknownType(String),
    /// A provider or a key that Thanos knows and we do not serve.
    #[error("{key}: {reason}")]
    Refused {
        /// Path of the key, for example `config.signature_version2`.
        key: String,
        /// Why, and what to do instead.
        reason: &'static str,
    },
    /// A key with a value that cannot be.
    #[error("{key}: {what}")]
    Invalid {
        /// Path of the key.
        key: String,
        /// What is wrong with its value.
        what: String,
    },
}

impl ConfigError {
    fn invalid(key: &str, what: impl Into<String>) -> Self {
        Self::Invalid {
            key: format!("config.{key}"),
            what: what.into(),
        }
    }

    fn refused(key: &str, reason: &'static str) -> Self {
        Self::Refused {
            key: format!("config.{key}"),
            reason,
        }
    }
}

/// A checked bucket configuration.
#[derive(Debug, Clone)]
pub struct BucketConfig {
    /// What to talk to.
    pub provider: Provider,
    /// All names lie below this; empty for none; no slash at either end.
    pub prefix: String,
}

/// The store behind a bucket.
#[derive(Debug, Clone)]
pub enum Provider {
    /// A directory of this machine.
    Folder(PathBuf),
    /// S3 or a server that speaks its protocol.
    S3(Box<S3Config>),
    /// Google Cloud Storage; only in builds with the feature `gcs`.
    Gcs(Box<GcsConfig>),
    /// Azure Blob Storage; only in builds with the feature `azure`.
    Azure(Box<AzureConfig>),
}

/// The outer keys, while `config` is not yet understood.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Outer {
    r#type: Option<String>,
    #[serde(rename = "config")]
    _config: IgnoredAny,
    prefix: Option<String>,
}

/// The same document once the type is known.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Typed<C> {
    #[serde(default, rename = "type")]
    _type: IgnoredAny,
    #[serde(default = "none")]
    config: Option<C>,
    #[serde(default, rename = "prefix")]
    _prefix: IgnoredAny,
}

impl<C> Default for Typed<C> {
    fn default() -> Self {
        Self {
            _type: IgnoredAny,
            config: None,
            _prefix: IgnoredAny,
        }
    }
}

fn none<C>() -> Option<C> {
    None
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct FolderYaml {
    directory: Option<String>,
}

impl BucketConfig {
    /// Reads the values of `--objstore.config` and `--objstore.config-file`.
    ///
    /// # Errors
    /// Both or none given, an unreadable file, and all of [`Self::parse`].
    pub fn from_flags(content: Option<&str>, file: Option<&Path>) -> Result<Self, ConfigError> {
        let content = content.filter(|text| !text.is_empty());
        let file = file.filter(|path| !path.as_os_str().is_empty());
        let text = match (content, file) {
            (Some(_), Some(_)) => return Err(ConfigError::BothFlags),
            (Some(text), None) => text.to_owned(),
            (None, Some(path)) => {
                std::fs::read_to_string(path).map_err(|source| ConfigError::File {
                    path: path.to_owned(),
                    source,
                })?
            }
            (None, None) => String::new(),
        };
        if text.is_empty() {
            return Err(ConfigError::Empty);
        }
        Self::parse_with(&text, &env::process)
    }

    /// Reads YAML text after replacing `$(NAME)` from the environment.
    ///
    /// # Errors
    /// An unset variable, text that is no YAML, unknown keys (with the line),
    /// providers and keys that are refused, values that cannot be.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        Self::parse_with(text, &env::process)
    }

    fn parse_with(text: &str, lookup: Lookup<'_>) -> Result<Self, ConfigError> {
        let text = env::substitute(text, lookup)?;
        let outer: Outer = yaml::parse(&text)?;
        let name = outer.r#type.unwrap_or_default();
        let provider = match name.to_uppercase().as_str() {
            "FILESYSTEM" => folder(typed(&text)?)?,
            "S3" => Provider::S3(Box::new(S3Config::check(typed(&text)?)?)),
            "GCS" if cfg!(feature = "gcs") => {
                Provider::Gcs(Box::new(GcsConfig::check(typed(&text)?)?))
            }
            "AZURE" if cfg!(feature = "azure") => {
                Provider::Azure(Box::new(AzureConfig::check(typed(&text)?)?))
            }
            known => return Err(refuse_type(known, name.clone())),
        };
        let prefix = clean_prefix(&outer.prefix.unwrap_or_default())?;
        Ok(Self { provider, prefix })
    }

    /// Keys that were accepted but do nothing here, each as one log line.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        match &self.provider {
            Provider::Folder(_) => &[],
            Provider::S3(s3) => &s3.notes,
            Provider::Gcs(gcs) => &gcs.notes,
            Provider::Azure(azure) => &azure.notes,
        }
    }
}

fn typed<C: DeserializeOwned + Default>(text: &str) -> Result<C, ConfigError> {
    Ok(yaml::parse::<Typed<C>>(text)?.config.unwrap_or_default())
}

fn folder(yaml: FolderYaml) -> Result<Provider, ConfigError> {
    match yaml.directory.filter(|dir| !dir.is_empty()) {
        Some(dir) => Ok(Provider::Folder(dir.into())),
        None => Err(ConfigError::invalid(
            "directory",
            "missing; give the directory of the bucket",
        )),
    }
}

fn refuse_type(known: &str, written: String) -> ConfigError {
    let reason = match known {
        "GCS" => {
            "GCS is not built into this binary; build it with the feature `gcs`, or use its S3-compatible endpoint with HMAC keys as type S3"
        }
        "AZURE" => "AZURE is not built into this binary; build it with the feature `azure`",
        "SWIFT" | "COS" | "ALIYUNOSS" | "BOS" | "OCI" | "OBS" => {
            "this provider is not supported; if the store has an S3-compatible endpoint, use type S3"
        }
        _ => return ConfigError::UnknownType(written),
    };
    let key = format!("type {written}");
    ConfigError::Refused { key, reason }
}

/// Thanos cuts slashes at both ends and takes a prefix of slashes for none.
fn clean_prefix(prefix: &str) -> Result<String, ConfigError> {
    let prefix = prefix.trim_matches('/');
    match object_store::path::Path::parse(prefix) {
        Ok(_) => Ok(prefix.to_owned()),
        Err(_) => Err(ConfigError::Invalid {
            key: "prefix".to_owned(),
            what: "has an empty, `.` or `..` segment, or a control character".to_owned(),
        }),
    }
}

#[cfg(test)]
mod cloud_tests;
#[cfg(test)]
mod tests;
