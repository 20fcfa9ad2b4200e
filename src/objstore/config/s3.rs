//! The keys of Thanos' S3 provider: read, checked, and brought into the form
//! that the store needs.

use std::collections::BTreeMap;
use std::path::PathBuf;

use object_store::{Attribute, Attributes};
use serde::Deserialize;

use super::http::{HttpConfig, HttpYaml};
use super::{ConfigError, Secret};

/// Repeats of a failed request, unless `max_retries` says otherwise.
const RETRIES: usize = 10;
/// S3's limits for one part.
pub(super) const PART_SIZES: std::ops::RangeInclusive<u64> = 5 << 20..=5 << 30;

/// What a build without the SDK does instead.
const SDK_AUTH_NOTE: &str = "config.aws_sdk_auth: this build has no `aws-sdk` and reads environment, shared credentials file, \
    web identity, container and instance roles; profiles with SSO, role_arn or \
    credential_process are not followed";
const STS_NOTE: &str = "config.sts_endpoint: has no effect with aws_sdk_auth, as in Thanos; \
    set AWS_ENDPOINT_URL_STS";
const MULTIPART_NOTE: &str = "config.disable_multipart: each object is held in memory until it \
    is complete; remove the key if the store knows multipart uploads";
const MD5_NOTE: &str = "config.send_content_md5: has no effect; the signature of every upload \
    covers the SHA-256 of its body";
const TRACE_NOTE: &str = "config.trace.enable: has no effect; use the log level debug";

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
    /// Ask the AWS SDK's own chain of credentials instead.
    pub sdk_auth: bool,
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
    /// How connections are made and kept.
    pub http: HttpConfig,
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
        refuse_old_protocols(signature_version2, list_objects_version)?;
        let mut notes = Vec::new();
        let mut note = |given: bool, text: &str| {
            if given {
                notes.push(text.to_owned());
            }
        };
        let sdk_auth = aws_sdk_auth == Some(true);
        note(sdk_auth && !cfg!(feature = "aws-sdk"), SDK_AUTH_NOTE);
        let sts_endpoint = sts_endpoint.filter(|url| !url.is_empty());
        note(sdk_auth && sts_endpoint.is_some(), STS_NOTE);
        note(disable_multipart == Some(true), MULTIPART_NOTE);
        note(send_content_md5.is_some(), MD5_NOTE);
        note(
            trace.is_some_and(|trace| trace.enable == Some(true)),
            TRACE_NOTE,
        );
        let http = HttpConfig::check(http_config.unwrap_or_default(), &mut notes)?;
        Ok(Self {
            bucket: required("bucket", bucket)?,
            endpoint: check_endpoint(endpoint)?,
            insecure: insecure.unwrap_or(false),
            region: region.filter(|region| !region.is_empty()),
            disable_dualstack: disable_dualstack.unwrap_or(false),
            lookup: check_lookup(bucket_lookup_type)?,
            keys: check_keys(access_key, secret_key, session_token, aws_sdk_auth)?,
            sdk_auth,
            sts_endpoint,
            attributes: check_metadata(put_user_metadata.unwrap_or_default())?,
            sse: check_sse(sse_config.unwrap_or_default())?,
            part_size: check_part_size(part_size)?,
            disable_multipart: disable_multipart.unwrap_or(false),
            retries: check_retries(max_retries)?,
            http,
            notes,
        })
    }
}

pub(super) fn required(key: &str, value: Option<String>) -> Result<String, ConfigError> {
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
pub(super) fn check_retries(attempts: Option<i64>) -> Result<usize, ConfigError> {
    match attempts {
        None | Some(0) => Ok(RETRIES),
        Some(attempts) => usize::try_from(attempts - 1)
            .map_err(|_| ConfigError::invalid("max_retries", "must not be negative")),
    }
}
