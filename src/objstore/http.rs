//! From the keys of `http_config` to the client library's options.

use std::time::Duration;

use object_store::client::{HttpClient, HttpConnector, ReqwestConnector};
use object_store::{Certificate, ClientOptions, HeaderValue, RetryConfig};

use super::config::HttpConfig;
use super::error::{Kind, Result, Scene};
use super::tls;

/// Who we are.
pub(super) const USER_AGENT: &str = concat!("lithify/", env!("CARGO_PKG_VERSION"));

/// How often and how long the library repeats a request.
pub(super) fn retry(retries: usize, window: Duration) -> RetryConfig {
    RetryConfig {
        max_retries: retries,
        retry_timeout: window,
        ..RetryConfig::default()
    }
}

/// The options of a client; `insecure` allows plain HTTP.
///
/// # Errors
/// A certificate file that cannot be read.
pub(super) fn options(http: &HttpConfig, insecure: bool, scene: &Scene) -> Result<ClientOptions> {
    // The library's default limits a whole request to 30 s, which a segment of
    // 512 MiB does not meet below 18 MB/s. What counts is that bytes flow.
    // The limit of one read is set by the connection.
    let mut options = ClientOptions::new()
        .with_timeout_disabled()
        .with_connect_timeout(http.connect_timeout)
        .with_allow_http(insecure)
        .with_allow_invalid_certificates(http.insecure_skip_verify)
        .with_pool_max_idle_per_host(http.idle_connections)
        .with_user_agent(HeaderValue::from_static(USER_AGENT));
    options = options.with_pool_idle_timeout(idle_timeout(http));
    let authorities = authorities(http, scene)?;
    // As in Thanos, the file replaces the certificates of the system.
    options = options.with_no_system_certificates(http.ca_file.is_some());
    for certificate in authorities {
        options = options.with_root_certificate(certificate);
    }
    Ok(options)
}

/// Options for services beside the store that hand out credentials: the
/// system's certificates count, too, and the machine's own service has no TLS.
///
/// # Errors
/// A certificate file that cannot be read.
#[cfg(feature = "aws-sdk")]
pub(super) fn login_options(http: &HttpConfig, scene: &Scene) -> Result<ClientOptions> {
    let mut options = ClientOptions::new()
        .with_connect_timeout(http.connect_timeout)
        .with_allow_http(true)
        .with_user_agent(HeaderValue::from_static(USER_AGENT));
    for certificate in authorities(http, scene)? {
        options = options.with_root_certificate(certificate);
    }
    Ok(options)
}

/// "For ever" has no word in the library; a day is as good.
pub(super) fn idle_timeout(http: &HttpConfig) -> Duration {
    http.idle_timeout.unwrap_or(Duration::from_secs(86_400))
}

fn authorities(http: &HttpConfig, scene: &Scene) -> Result<Vec<Certificate>> {
    let Some(file) = &http.ca_file else {
        return Ok(Vec::new());
    };
    let fail =
        |what: String| scene.error(Kind::Tls, "", format!("ca_file {}: {what}", file.display()));
    let pem = std::fs::read(file).map_err(|err| fail(err.to_string()))?;
    let bundle = Certificate::from_pem_bundle(&pem).map_err(|err| fail(err.to_string()))?;
    if bundle.is_empty() {
        return Err(fail("holds no PEM certificate".to_owned()));
    }
    Ok(bundle)
}

/// Makes clients: the library's own, or one with what it has no option for.
#[derive(Debug, Clone)]
pub(super) enum Connector {
    Plain,
    Tls(Box<tls::Connector>),
}

impl Connector {
    /// # Errors
    /// A certificate or key file that cannot be used.
    pub fn new(http: &HttpConfig, scene: &Scene) -> Result<Self> {
        if http.client_certificate.is_none() && http.server_name.is_none() {
            return Ok(Self::Plain);
        }
        Ok(Self::Tls(Box::new(tls::Connector::new(http, scene)?)))
    }
}

impl Connector {
    /// A client that waits so long for one read, for ever without a limit.
    ///
    /// # Errors
    /// What the library says.
    pub fn connect(
        &self,
        options: &ClientOptions,
        read_timeout: Option<Duration>,
    ) -> object_store::Result<HttpClient> {
        match (self, read_timeout) {
            (Self::Plain, Some(limit)) => {
                let options = options.clone().with_read_timeout(limit);
                ReqwestConnector::default().connect(&options)
            }
            (Self::Plain, None) => ReqwestConnector::default().connect(options),
            (Self::Tls(connector), limit) => connector.connect(options, limit),
        }
    }
}
