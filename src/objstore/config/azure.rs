//! The keys of Thanos' AZURE provider.

use std::time::Duration;

use serde::Deserialize;

use super::http::{HttpConfig, HttpYaml};
use super::s3::required;
use super::{ConfigError, Secret, duration};

/// Where blobs live, unless `endpoint` says otherwise.
const ENDPOINT: &str = "blob.core.windows.net";
/// Repeats of a failed request, unless a key says otherwise.
const RETRIES: usize = 10;

const CONTAINER_NOTE: &str =
    "config.storage_create_container: has no effect; create the container yourself";
const MSI_NOTE: &str = "config.msi_resource: has no effect, as in Thanos; remove the key";
const READER_NOTE: &str = "config.reader_config.max_retry_requests: has no effect; what \
    pipeline_config.max_tries or max_retries says holds for reads, too";
const TRY_NOTE: &str = "config.pipeline_config.try_timeout: has no effect; use \
    http_config.response_header_timeout, which limits each read";

/// A checked AZURE configuration.
#[derive(Debug, Clone)]
pub struct AzureConfig {
    /// Name of the storage account.
    pub account: String,
    /// Name of the container.
    pub container: String,
    /// `https://<account>.<endpoint>`, or what the connection string says.
    pub url: String,
    /// How requests are authorized.
    pub login: AzureLogin,
    /// Repeats of a failed request.
    pub retries: usize,
    /// First wait before a repeat, if given.
    pub retry_delay: Option<Duration>,
    /// Longest wait before a repeat, if given.
    pub max_retry_delay: Option<Duration>,
    /// How connections are made and kept.
    pub http: HttpConfig,
    /// Accepted keys that do nothing here.
    pub notes: Vec<String>,
}

/// How requests are authorized.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AzureLogin {
    /// The key of the account.
    Key(Secret),
    /// A shared access signature.
    Signature(Secret),
    /// A registered application.
    Application {
        /// Its tenant.
        tenant: String,
        /// Its id.
        id: String,
        /// Its secret.
        secret: Secret,
    },
    /// A managed identity that was assigned by a user, by its client id.
    Identity(String),
    /// Environment, workload identity, then the machine's managed identity.
    Default,
}

/// The keys as written. `None` is "not given" or null.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct AzureYaml {
    az_tenant_id: Option<String>,
    client_id: Option<String>,
    client_secret: Option<Secret>,
    storage_account: Option<String>,
    storage_account_key: Option<Secret>,
    storage_connection_string: Option<Secret>,
    storage_create_container: Option<bool>,
    azure_storage_account_type: Option<String>,
    container: Option<String>,
    endpoint: Option<String>,
    user_assigned_id: Option<String>,
    max_retries: Option<i64>,
    reader_config: Option<ReaderYaml>,
    pipeline_config: Option<PipelineYaml>,
    http_config: Option<HttpYaml>,
    msi_resource: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct ReaderYaml {
    max_retry_requests: Option<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct PipelineYaml {
    max_tries: Option<i64>,
    try_timeout: Option<String>,
    retry_delay: Option<String>,
    max_retry_delay: Option<String>,
}

/// The keys that say who we are.
struct Who {
    tenant: Option<String>,
    id: Option<String>,
    secret: Secret,
    key: Secret,
    connection: Secret,
    identity: Option<String>,
}

impl AzureConfig {
    pub(super) fn check(yaml: AzureYaml) -> Result<Self, ConfigError> {
        let AzureYaml {
            az_tenant_id,
            client_id,
            client_secret,
            storage_account,
            storage_account_key,
            storage_connection_string,
            storage_create_container,
            azure_storage_account_type,
            container,
            endpoint,
            user_assigned_id,
            max_retries,
            reader_config,
            pipeline_config,
            http_config,
            msi_resource,
        } = yaml;
        let mut notes = Vec::new();
        let http = HttpConfig::check(http_config.unwrap_or_default(), &mut notes)?;
        let given = |text: Option<String>| text.filter(|text| !text.is_empty());
        let pipeline = pipeline_config.unwrap_or_default();
        let reader = reader_config.unwrap_or_default().max_retry_requests;
        check_account_type(azure_storage_account_type.as_deref())?;
        for (is_given, text) in [
            (storage_create_container == Some(true), CONTAINER_NOTE),
            (given(msi_resource).is_some(), MSI_NOTE),
            (reader.is_some_and(|n| n != 0), READER_NOTE),
            (pipeline.try_timeout.is_some(), TRY_NOTE),
        ] {
            if is_given {
                notes.push(text.to_owned());
            }
        }
        let account = required("storage_account", storage_account)?;
        let endpoint = given(endpoint).unwrap_or_else(|| ENDPOINT.to_owned());
        let (login, url) = check_login(Who {
            tenant: given(az_tenant_id),
            id: given(client_id),
            secret: client_secret.unwrap_or_default(),
            key: storage_account_key.unwrap_or_default(),
            connection: storage_connection_string.unwrap_or_default(),
            identity: given(user_assigned_id),
        })?;
        Ok(Self {
            url: url.unwrap_or_else(|| format!("https://{account}.{endpoint}")),
            login,
            container: required("container", container)?,
            account,
            retries: check_tries(pipeline.max_tries, max_retries)?,
            retry_delay: delay("retry_delay", pipeline.retry_delay)?,
            max_retry_delay: delay("max_retry_delay", pipeline.max_retry_delay)?,
            http,
            notes,
        })
    }
}

/// Both kinds of account answer the requests for blobs.
fn check_account_type(text: Option<&str>) -> Result<(), ConfigError> {
    match text.unwrap_or_default() {
        "" | "blob" | "datalake" => Ok(()),
        _ => Err(ConfigError::invalid(
            "azure_storage_account_type",
            "must be blob or datalake",
        )),
    }
}

/// The more specific key wins, as in Thanos; 0 is the default.
fn check_tries(pipeline: Option<i64>, all: Option<i64>) -> Result<usize, ConfigError> {
    let both = [
        ("pipeline_config.max_tries", pipeline),
        ("max_retries", all),
    ];
    for (key, tries) in both {
        match tries.map(usize::try_from) {
            None | Some(Ok(0)) => {}
            Some(Ok(tries)) => return Ok(tries),
            Some(Err(_)) => return Err(ConfigError::invalid(key, "must not be negative")),
        }
    }
    Ok(RETRIES)
}

fn delay(key: &str, text: Option<String>) -> Result<Option<Duration>, ConfigError> {
    let Some(text) = text else { return Ok(None) };
    let time = duration::parse(&text).ok_or_else(|| {
        let what = "is not a duration such as 90s or 1m30s";
        ConfigError::invalid(&format!("pipeline_config.{key}"), what)
    })?;
    Ok(Some(time).filter(|time| !time.is_zero()))
}

/// How to log in, and where, if the connection string says so.
fn check_login(who: Who) -> Result<(AzureLogin, Option<String>), ConfigError> {
    let Who {
        tenant,
        id,
        secret,
        key,
        connection,
        identity,
    } = who;
    let some_of_three = tenant.is_some() || id.is_some() || !secret.is_empty();
    let clash = |one: &str, other: &str| {
        let what = format!("cannot be combined with {other}; remove one of them");
        Err(ConfigError::invalid(one, what))
    };
    match (&identity, key.is_empty(), connection.is_empty()) {
        (Some(_), false, _) => return clash("user_assigned_id", "storage_account_key"),
        (Some(_), _, false) => return clash("user_assigned_id", "storage_connection_string"),
        (Some(_), ..) if id.is_some() => return clash("user_assigned_id", "client_id"),
        (_, false, false) => return clash("storage_account_key", "storage_connection_string"),
        _ => {}
    }
    let application = match (tenant, id) {
        (Some(tenant), Some(id)) if !secret.is_empty() => {
            Some(AzureLogin::Application { tenant, id, secret })
        }
        _ if some_of_three => {
            let what = "az_tenant_id, client_id and client_secret must be set together";
            return Err(ConfigError::invalid("client_id", what));
        }
        _ => None,
    };
    if !connection.is_empty() {
        return from_connection(&connection);
    }
    if !key.is_empty() {
        return Ok((AzureLogin::Key(key), None));
    }
    let login = application.or(identity.map(AzureLogin::Identity));
    Ok((login.unwrap_or(AzureLogin::Default), None))
}

/// `AccountName=..;AccountKey=..;EndpointSuffix=..`, as the portal shows it.
fn from_connection(text: &Secret) -> Result<(AzureLogin, Option<String>), ConfigError> {
    let invalid = |what: &str| Err(ConfigError::invalid("storage_connection_string", what));
    let get = |wanted: &str| {
        let pairs = text
            .expose()
            .split(';')
            .filter_map(|pair| pair.split_once('='));
        let mut found = pairs.filter(|(name, _)| name.trim().eq_ignore_ascii_case(wanted));
        found.next().map(|(_, value)| value.trim().to_owned())
    };
    if get("UseDevelopmentStorage").is_some() {
        return invalid(
            "UseDevelopmentStorage is not supported; give AccountName, AccountKey and BlobEndpoint",
        );
    }
    let login = match (get("AccountKey"), get("SharedAccessSignature")) {
        (Some(key), _) => AzureLogin::Key(Secret::new(key)),
        (None, Some(signature)) => AzureLogin::Signature(Secret::new(signature)),
        (None, None) => return invalid("has neither AccountKey nor SharedAccessSignature"),
    };
    let url = match (get("BlobEndpoint"), get("AccountName")) {
        (Some(url), _) => url.trim_end_matches('/').to_owned(),
        (None, Some(account)) => {
            let suffix = get("EndpointSuffix").unwrap_or_else(|| "core.windows.net".to_owned());
            let scheme = get("DefaultEndpointsProtocol").unwrap_or_else(|| "https".to_owned());
            format!("{scheme}://{account}.blob.{suffix}")
        }
        (None, None) => return invalid("has neither BlobEndpoint nor AccountName"),
    };
    if !url.starts_with("https://") && !url.starts_with("http://") {
        return invalid("its endpoint must begin with https:// or http://");
    }
    Ok((login, Some(url)))
}
