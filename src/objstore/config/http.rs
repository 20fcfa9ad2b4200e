//! The keys of `http_config`.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::{ConfigError, duration};

/// Limit of one read from the connection.
const READ_TIMEOUT: Duration = Duration::from_secs(120);
/// Limit of TCP and TLS connect together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an unused connection is kept.
const IDLE_TIMEOUT: Duration = Duration::from_secs(90);
/// Unused connections that are kept.
const IDLE_CONNECTIONS: usize = 100;
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct HttpYaml {
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

/// How connections are made and kept.
#[derive(Debug, Clone)]
pub struct HttpConfig {
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
    /// Certificate to show, and its key, as PEM files.
    pub client_certificate: Option<(PathBuf, PathBuf)>,
    /// The name that the server's certificate must have, if it is not the
    /// endpoint's.
    pub server_name: Option<String>,
}

impl HttpConfig {
    pub(super) fn check(yaml: HttpYaml, notes: &mut Vec<String>) -> Result<Self, ConfigError> {
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
        let (ca_file, client_certificate, server_name) =
            check_tls(tls_config.unwrap_or_default(), notes)?;
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
            client_certificate,
            server_name,
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

/// CA file, certificate with key, name of the server.
type Tls = (Option<PathBuf>, Option<(PathBuf, PathBuf)>, Option<String>);

fn check_tls(yaml: TlsYaml, notes: &mut Vec<String>) -> Result<Tls, ConfigError> {
    let TlsYaml {
        ca_file,
        cert_file,
        key_file,
        server_name,
        insecure_skip_verify,
    } = yaml;
    let given = |text: Option<String>| text.filter(|text| !text.is_empty());
    if insecure_skip_verify == Some(true) {
        notes.push("config.http_config.tls_config.insecure_skip_verify: has no effect, as in Thanos; the key of the same name directly in http_config counts".to_owned());
    }
    let missing = |key: &str, other: &str| {
        let key = format!("http_config.tls_config.{key}");
        Err(ConfigError::invalid(
            &key,
            format!("missing, but {other} is given"),
        ))
    };
    let certificate = match (given(cert_file), given(key_file)) {
        (None, None) => None,
        (Some(certificate), Some(key)) => Some((certificate.into(), key.into())),
        (Some(_), None) => return missing("key_file", "cert_file"),
        (None, Some(_)) => return missing("cert_file", "key_file"),
    };
    Ok((
        given(ca_file).map(PathBuf::from),
        certificate,
        given(server_name),
    ))
}
