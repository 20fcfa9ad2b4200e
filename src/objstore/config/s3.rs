//! The keys of Thanos' S3 provider: read, checked, and brought into the form
//! that the store needs.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use object_store::{Attribute, Attributes};
use serde::Deserialize;

use super::{ConfigError, Secret, duration};

/// Repeats of a failed request, unless `max_retries` says otherwise.
const RETRIES: usize = 10;
/// Limit of one read from the connection.
const READ_TIMEOUT: Duration = Duration::from_secs(120);
/// Limit of TCP and TLS connect together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an unused connection is kept.
const IDLE_TIMEOUT: Duration = Duration::from_secs(90);
/// Unused connections that are kept.
const IDLE_CONNECTIONS: usize = 100;
/// S3's limits for one part.
const PART_SIZES: std::ops::RangeInclusive<u64> = 5 << 20..=5 << 30;

/// A checked S3 configuration.
#[derive(Debug, Clone)]
pub struct S3Config {
    /// Name of the bucket.
    pub bucket: String,
    /// `host` or `host:port`, without scheme.
    pub endpoint: String,
    /// Plain HTTP instead of HTTPS.
    pub insecure: bool,
    /// Region, if given.
    pub region: Option<String>,
    /// On AWS: do not use the dual-stack (IPv6) host names.
    pub disable_dualstack: bool,
    /// How the bucket's name goes into the URL.
    pub lookup: LookupStyle,
    /// Fixed keys; without them the chain env, shared file, role is asked.
    pub keys: Option<Keys>,
    /// Where roles are exchanged for keys, if not the provider's default.
    pub sts_endpoint: Option<String>,
    /// User metadata and storage class of every object we write.
    pub attributes: Attributes,
    /// Server-side encryption of every object we write.
    pub sse: Option<Sse>,
    /// Bytes of a part of a multipart upload, if given.
    pub part_size: Option<usize>,
    /// Write each object with one request.
    pub disable_multipart: bool,
    /// Repeats of a failed request.
    pub retries: usize,
    /// Limit of TCP and TLS connect together.
    pub connect_timeout: Duration,
    /// Limit of one read from the connection; `None` waits for ever.
    pub read_timeout: Option<Duration>,
    /// How long an unused connection is kept; `None` keeps it for ever.
    pub idle_timeout: Option<Duration>,
    /// Unused connections that are kept.
    pub idle_connections: usize,
    /// Requests in flight at the same time; `None` for no limit.
    pub max_connections: Option<usize>,
    /// Trust any certificate.
    pub insecure_skip_verify: bool,
    /// Trust only the certificates in this PEM file.
    pub ca_file: Option<PathBuf>,
    /// Accepted keys that do nothing here.
    pub notes: Vec<String>,
}

/// Fixed credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keys {
    /// Access key.
    pub access_key: Secret,
    /// Secret key.
    pub secret_key: Secret,
    /// Token of temporary credentials; empty for none.
    pub session_token: Secret,
}

/// How the bucket's name goes into the URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LookupStyle {
    /// In the host name on AWS, in the path elsewhere.
    #[default]
    Auto,
    /// `https://bucket.host/object`.
    VirtualHosted,
    /// `https://host/bucket/object`.
    Path,
}

/// Server-side encryption.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sse {
    /// Keys of the store.
    S3,
    /// A key of the key management service, by its id.
    Kms(String),
    /// A key of ours: a file of 32 bytes.
    Customer(PathBuf),
}

/// The keys as written. `None` is "not given" or null.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct S3Yaml {
    bucket: Option<String>,
    endpoint: Option<String>,
    region: Option<String>,
    disable_dualstack: Option<bool>,
    aws_sdk_auth: Option<bool>,
    access_key: Option<Secret>,
    insecure: Option<bool>,
    signature_version2: Option<bool>,
    secret_key: Option<Secret>,
    session_token: Option<Secret>,
    put_user_metadata: Option<BTreeMap<String, Option<String>>>,
    http_config: Option<HttpYaml>,
    trace: Option<TraceYaml>,
    list_objects_version: Option<String>,
    bucket_lookup_type: Option<String>,
    send_content_md5: Option<bool>,
    disable_multipart: Option<bool>,
    part_size: Option<u64>,
    sse_config: Option<SseYaml>,
    sts_endpoint: Option<String>,
    max_retries: Option<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct TraceYaml {
    enable: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct SseYaml {
    r#type: Option<String>,
    kms_key_id: Option<String>,
    kms_encryption_context: Option<BTreeMap<String, Option<String>>>,
    encryption_key: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct HttpYaml {
    idle_conn_timeout: Option<String>,
    response_header_timeout: Option<String>,
    insecure_skip_verify: Option<bool>,
    tls_handshake_timeout: Option<String>,
    expect_continue_timeout: Option<String>,
    max_idle_conns: Option<i64>,
    max_idle_conns_per_host: Option<i64>,
    max_conns_per_host: Option<i64>,
    tls_config: Option<TlsYaml>,
    disable_compression: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct TlsYaml {
    ca_file: Option<String>,
    cert_file: Option<String>,
    key_file: Option<String>,
    server_name: Option<String>,
    insecure_skip_verify: Option<bool>,
}

impl S3Config {
    /// Checks every key. The fields are taken apart without `..`, so that a
    /// key added to the struct cannot be forgotten here.
    pub(super) fn check(yaml: S3Yaml) -> Result<Self, ConfigError> {
        let S3Yaml {
            bucket,
            endpoint,
            region,
            disable_dualstack,
            aws_sdk_auth,
            access_key,
            insecure,
            signature_version2,
            secret_key,
            session_token,
            put_user_metadata,
            http_config,
            trace,
            list_objects_version,
            bucket_lookup_type,
            send_content_md5,
            disable_multipart,
            part_size,
            sse_config,
            sts_endpoint,
            max_retries,
        } = yaml;
        let mut notes = Vec::new();
        refuse_old_protocols(signature_version2, list_objects_version)?;
        let keys = check_keys(access_key, secret_key, session_token, aws_sdk_auth)?;
        if aws_sdk_auth == Some(true) {
            notes.push("config.aws_sdk_auth: reads environment, shared credentials file, web identity, container and instance roles; profiles with SSO, role_arn or credential_process are not followed".to_owned());
        }
        if trace.is_some_and(|trace| trace.enable == Some(true)) {
            notes.push("config.trace.enable: has no effect; use the log level debug".to_owned());
        }
        if send_content_md5.is_some() {
            notes.push("config.send_content_md5: has no effect; the signature of every upload covers the SHA-256 of its body".to_owned());
        }
        let disable_multipart = disable_multipart.unwrap_or(false);
        if disable_multipart {
            notes.push("config.disable_multipart: each object is held in memory until it is complete; remove the key if the store knows multipart uploads".to_owned());
        }
        let http = Http::check(http_config.unwrap_or_default(), &mut notes)?;
        Ok(Self {
            bucket: required("bucket", bucket)?,
            endpoint: check_endpoint(endpoint)?,
            insecure: insecure.unwrap_or(false),
            region: region.filter(|region| !region.is_empty()),
            disable_dualstack: disable_dualstack.unwrap_or(false),
            lookup: check_lookup(bucket_lookup_type)?,
            keys,
            sts_endpoint: sts_endpoint.filter(|url| !url.is_empty()),
            attributes: check_metadata(put_user_metadata.unwrap_or_default())?,
            sse: check_sse(sse_config.unwrap_or_default())?,
            part_size: check_part_size(part_size)?,
            disable_multipart,
            retries: check_retries(max_retries)?,
            connect_timeout: http.connect_timeout,
            read_timeout: http.read_timeout,
            idle_timeout: http.idle_timeout,
            idle_connections: http.idle_connections,
            max_connections: http.max_connections,
            insecure_skip_verify: http.insecure_skip_verify,
            ca_file: http.ca_file,
            notes,
        })
    }
}

fn required(key: &str, value: Option<String>) -> Result<String, ConfigError> {
    value
        .filter(|text| !text.is_empty())
        .ok_or_else(|| ConfigError::invalid(key, "missing"))
}

fn check_endpoint(endpoint: Option<String>) -> Result<String, ConfigError> {
    let endpoint = required("endpoint", endpoint)?;
    let host = endpoint.trim_end_matches('/');
    let odd = |c: char| matches!(c, '/' | '@' | '?' | '#') || c.is_whitespace();
    if host.is_empty() || host.contains(odd) {
        let what = "give host or host:port without scheme, path and user; `insecure` chooses http or https";
        return Err(ConfigError::invalid("endpoint", what));
    }
    Ok(host.to_owned())
}

fn refuse_old_protocols(
    signature_version2: Option<bool>,
    list_objects_version: Option<String>,
) -> Result<(), ConfigError> {
    if signature_version2 == Some(true) {
        let reason =
            "signature version 2 is not supported, current stores accept version 4; remove the key";
        return Err(ConfigError::refused("signature_version2", reason));
    }
    match list_objects_version.as_deref().unwrap_or_default() {
        "" | "v2" => Ok(()),
        "v1" => {
            let reason =
                "listing version 1 is not supported, current stores know version 2; remove the key";
            Err(ConfigError::refused("list_objects_version", reason))
        }
        _ => Err(ConfigError::invalid(
            "list_objects_version",
            "must be v1 or v2",
        )),
    }
}

fn check_keys(
    access_key: Option<Secret>,
    secret_key: Option<Secret>,
    session_token: Option<Secret>,
    aws_sdk_auth: Option<bool>,
) -> Result<Option<Keys>, ConfigError> {
    let access_key = access_key.unwrap_or_default();
    let secret_key = secret_key.unwrap_or_default();
    let session_token = session_token.unwrap_or_default();
    match (access_key.is_empty(), secret_key.is_empty()) {
        (true, true) => Ok(None),
        (false, true) => Err(ConfigError::invalid(
            "secret_key",
            "missing, but access_key is given",
        )),
        (true, false) => Err(ConfigError::invalid(
            "access_key",
            "missing, but secret_key is given",
        )),
        (false, false) if aws_sdk_auth == Some(true) => {
            let what = "cannot be combined with access_key; remove one of them";
            Err(ConfigError::invalid("aws_sdk_auth", what))
        }
        (false, false) => Ok(Some(Keys {
            access_key,
            secret_key,
            session_token,
        })),
    }
}

fn check_lookup(text: Option<String>) -> Result<LookupStyle, ConfigError> {
    match text.as_deref() {
        None | Some("auto") => Ok(LookupStyle::Auto),
        Some("virtual-hosted") => Ok(LookupStyle::VirtualHosted),
        Some("path") => Ok(LookupStyle::Path),
        Some(_) => {
            let what = "must be auto, virtual-hosted or path";
            Err(ConfigError::invalid("bucket_lookup_type", what))
        }
    }
}

/// A key that is an HTTP header of its own stays one; others become user
/// metadata.
fn check_metadata(map: BTreeMap<String, Option<String>>) -> Result<Attributes, ConfigError> {
    let mut attributes = Attributes::new();
    for (key, value) in map {
        let lower = key.to_ascii_lowercase();
        let attribute = match lower.as_str() {
            "x-amz-storage-class" => Attribute::StorageClass,
            "content-type" => Attribute::ContentType,
            "content-encoding" => Attribute::ContentEncoding,
            "content-disposition" => Attribute::ContentDisposition,
            "content-language" => Attribute::ContentLanguage,
            "cache-control" => Attribute::CacheControl,
            _ => match lower.strip_prefix("x-amz-meta-") {
                Some(name) => Attribute::Metadata(name.to_owned().into()),
                None if lower.starts_with("x-amz-") => {
                    let reason = "this header cannot be set here; only X-Amz-Storage-Class and x-amz-meta-* can";
                    return Err(ConfigError::refused(
                        &format!("put_user_metadata.{key}"),
                        reason,
                    ));
                }
                None => Attribute::Metadata(lower.into()),
            },
        };
        let value = value.unwrap_or_default();
        let printable = |text: &str| text.bytes().all(|b| (0x20..0x7f).contains(&b));
        if !printable(&value) || !printable(&key) || key.contains([' ', ':']) || key.is_empty() {
            let what = "keys and values must be printable ASCII";
            return Err(ConfigError::invalid("put_user_metadata", what));
        }
        attributes.insert(attribute, value.into());
    }
    Ok(attributes)
}

fn check_sse(yaml: SseYaml) -> Result<Option<Sse>, ConfigError> {
    let SseYaml {
        r#type,
        kms_key_id,
        kms_encryption_context,
        encryption_key,
    } = yaml;
    match r#type.as_deref().unwrap_or_default() {
        "" => Ok(None),
        "SSE-S3" => Ok(Some(Sse::S3)),
        "SSE-KMS" if kms_encryption_context.is_some_and(|map| !map.is_empty()) => {
            let reason = "an encryption context is not supported; without it the store uses the bucket's own";
            Err(ConfigError::refused(
                "sse_config.kms_encryption_context",
                reason,
            ))
        }
        "SSE-KMS" => Ok(Some(Sse::Kms(required(
            "sse_config.kms_key_id",
            kms_key_id,
        )?))),
        "SSE-C" => {
            let file = required("sse_config.encryption_key", encryption_key)?;
            Ok(Some(Sse::Customer(file.into())))
        }
        _ => Err(ConfigError::invalid(
            "sse_config.type",
            "must be SSE-S3, SSE-KMS or SSE-C",
        )),
    }
}

fn check_part_size(bytes: Option<u64>) -> Result<Option<usize>, ConfigError> {
    match bytes {
        None | Some(0) => Ok(None),
        Some(bytes) if PART_SIZES.contains(&bytes) => Ok(usize::try_from(bytes).ok()),
        Some(_) => Err(ConfigError::invalid(
            "part_size",
            "must lie between 5 MiB and 5 GiB",
        )),
    }
}

/// Thanos counts attempts, the first included, and takes 0 for its default.
fn check_retries(attempts: Option<i64>) -> Result<usize, ConfigError> {
    match attempts {
        None | Some(0) => Ok(RETRIES),
        Some(attempts) => usize::try_from(attempts - 1)
            .map_err(|_| ConfigError::invalid("max_retries", "must not be negative")),
    }
}

/// The checked `http_config`.
struct Http {
    connect_timeout: Duration,
    read_timeout: Option<Duration>,
    idle_timeout: Option<Duration>,
    idle_connections: usize,
    max_connections: Option<usize>,
    insecure_skip_verify: bool,
    ca_file: Option<PathBuf>,
}

impl Http {
    fn check(yaml: HttpYaml, notes: &mut Vec<String>) -> Result<Self, ConfigError> {
        let HttpYaml {
            idle_conn_timeout,
            response_header_timeout,
            insecure_skip_verify,
            tls_handshake_timeout,
            expect_continue_timeout,
            max_idle_conns,
            max_idle_conns_per_host,
            max_conns_per_host,
            tls_config,
            disable_compression,
        } = yaml;
        let connect = time(
            "tls_handshake_timeout",
            tls_handshake_timeout,
            CONNECT_TIMEOUT,
        )?;
        time(
            "expect_continue_timeout",
            expect_continue_timeout,
            Duration::ZERO,
        )?;
        // One bucket is one host: the limit per host says it all. Nothing we
        // send asks for compression or waits for "continue".
        number("max_idle_conns", max_idle_conns)?;
        if disable_compression == Some(false) {
            notes.push("config.http_config.disable_compression: has no effect; compression is never asked for".to_owned());
        }
        let ca_file = check_tls(tls_config.unwrap_or_default(), notes)?;
        Ok(Self {
            connect_timeout: connect.unwrap_or(CONNECT_TIMEOUT),
            read_timeout: time(
                "response_header_timeout",
                response_header_timeout,
                READ_TIMEOUT,
            )?,
            idle_timeout: time("idle_conn_timeout", idle_conn_timeout, IDLE_TIMEOUT)?,
            idle_connections: number("max_idle_conns_per_host", max_idle_conns_per_host)?
                .unwrap_or(IDLE_CONNECTIONS),
            max_connections: number("max_conns_per_host", max_conns_per_host)?,
            insecure_skip_verify: insecure_skip_verify.unwrap_or(false),
            ca_file,
        })
    }
}

/// A duration; `None` for 0, which means "no limit".
fn time(
    key: &str,
    text: Option<String>,
    default: Duration,
) -> Result<Option<Duration>, ConfigError> {
    let value = match text {
        None => default,
        Some(text) => duration::parse(&text).ok_or_else(|| {
            let what = "is not a duration such as 90s or 1m30s";
            ConfigError::invalid(&format!("http_config.{key}"), what)
        })?,
    };
    Ok(Some(value).filter(|value| !value.is_zero()))
}

/// A count; `None` when not given or 0.
fn number(key: &str, value: Option<i64>) -> Result<Option<usize>, ConfigError> {
    match usize::try_from(value.unwrap_or(0)) {
        Ok(value) => Ok(Some(value).filter(|value| *value > 0)),
        Err(_) => {
            let key = format!("http_config.{key}");
            Err(ConfigError::invalid(&key, "must not be negative"))
        }
    }
}

fn check_tls(yaml: TlsYaml, notes: &mut Vec<String>) -> Result<Option<PathBuf>, ConfigError> {
    let TlsYaml {
        ca_file,
        cert_file,
        key_file,
        server_name,
        insecure_skip_verify,
    } = yaml;
    let given = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
    let client = "client certificates are not supported; use access keys";
    for (key, value, reason) in [
        ("cert_file", &cert_file, client),
        ("key_file", &key_file, client),
        (
            "server_name",
            &server_name,
            "checking another name than the endpoint's is not supported; use that name as endpoint",
        ),
    ] {
        if given(value) {
            return Err(ConfigError::refused(
                &format!("http_config.tls_config.{key}"),
                reason,
            ));
        }
    }
    if insecure_skip_verify == Some(true) {
        notes.push("config.http_config.tls_config.insecure_skip_verify: has no effect, as in Thanos; the key of the same name directly in http_config counts".to_owned());
    }
    Ok(ca_file.filter(|file| !file.is_empty()).map(PathBuf::from))
}
