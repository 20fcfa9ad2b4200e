//! The keys of Thanos' GCS provider.

use serde::Deserialize;

use super::http::{HttpConfig, HttpYaml};
use super::s3::{check_retries, required};
use super::{ConfigError, Secret};

const GRPC_NOTE: &str = "config.use_grpc: has no effect; requests go over HTTP";
const POOL_NOTE: &str = "config.grpc_conn_pool_size: has no effect; requests go over HTTP";
const CHUNK_NOTE: &str =
    "config.chunk_size_bytes: has no effect below 5 MiB or above 5 GiB, which no part may have";

/// A checked GCS configuration.
#[derive(Debug, Clone)]
pub struct GcsConfig {
    /// Name of the bucket.
    pub bucket: String,
    /// JSON of a service account; empty to look for credentials where Google's
    /// libraries do.
    pub service_account: Secret,
    /// Its private key, which must not be printed, either.
    pub private_key: Secret,
    /// Bytes of a part of an upload, if given.
    pub part_size: Option<usize>,
    /// Repeats of a failed request.
    pub retries: usize,
    /// How connections are made and kept.
    pub http: HttpConfig,
    /// Accepted keys that do nothing here.
    pub notes: Vec<String>,
}

/// The keys as written. `None` is "not given" or null.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct GcsYaml {
    bucket: Option<String>,
    service_account: Option<Secret>,
    use_grpc: Option<bool>,
    grpc_conn_pool_size: Option<i64>,
    http_config: Option<HttpYaml>,
    chunk_size_bytes: Option<i64>,
    max_retries: Option<i64>,
}

/// What of a service account's JSON is looked at.
#[derive(Deserialize)]
struct Account {
    private_key: Option<Secret>,
    client_email: Option<String>,
    private_key_id: Option<String>,
}

impl GcsConfig {
    pub(super) fn check(yaml: GcsYaml) -> Result<Self, ConfigError> {
        let GcsYaml {
            bucket,
            service_account,
            use_grpc,
            grpc_conn_pool_size,
            http_config,
            chunk_size_bytes,
            max_retries,
        } = yaml;
        let mut notes = Vec::new();
        let http = HttpConfig::check(http_config.unwrap_or_default(), &mut notes)?;
        let mut note = |given: bool, text: &str| {
            if given {
                notes.push(text.to_owned());
            }
        };
        note(use_grpc == Some(true), GRPC_NOTE);
        note(grpc_conn_pool_size.is_some_and(|n| n != 0), POOL_NOTE);
        let chunk = chunk_size_bytes.unwrap_or(0);
        let part_size = super::s3::PART_SIZES
            .contains(&u64::try_from(chunk).unwrap_or(0))
            .then(|| usize::try_from(chunk).ok())
            .flatten();
        note(chunk != 0 && part_size.is_none(), CHUNK_NOTE);
        let service_account = service_account.unwrap_or_default();
        Ok(Self {
            bucket: required("bucket", bucket)?,
            private_key: check_account(&service_account)?,
            service_account,
            part_size,
            retries: check_retries(max_retries)?,
            http,
            notes,
        })
    }
}

/// The private key. The library's own message about bad JSON would quote it.
fn check_account(json: &Secret) -> Result<Secret, ConfigError> {
    let invalid = |what: &str| Err(ConfigError::invalid("service_account", what));
    if json.is_empty() {
        return Ok(Secret::default());
    }
    let Ok(account) = serde_json::from_str::<Account>(json.expose()) else {
        return invalid("is not the JSON of a service account's key");
    };
    match account {
        Account {
            private_key: Some(key),
            client_email: Some(_),
            private_key_id: Some(_),
        } => Ok(key),
        _ => invalid(
            "needs private_key, private_key_id and client_email; for other kinds of credentials \
             leave the key out and set GOOGLE_APPLICATION_CREDENTIALS to their file",
        ),
    }
}
