//! TLS with a certificate of ours, or with another name for the server than
//! the endpoint's: what the client library has no option for.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use object_store::ClientOptions;
use object_store::client::{ClientConfigKey, HttpClient};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use super::config::HttpConfig;
use super::error::{Kind, Result, Scene};
use super::http::{USER_AGENT, idle_timeout};

/// Makes clients with this TLS configuration.
#[derive(Debug, Clone)]
pub(super) struct Connector {
    tls: ClientConfig,
    http: HttpConfig,
}

impl Connector {
    /// # Errors
    /// A file that cannot be read or holds something else, a name that is none.
    pub fn new(http: &HttpConfig, scene: &Scene) -> Result<Self> {
        let key = |name: &str| format!("http_config.tls_config.{name}");
        let fail = |name: &str, file: &Path, what: String| {
            let detail = format!("{} {}: {what}", key(name), file.display());
            scene.error(Kind::Tls, "", detail)
        };
        let crypto = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let other = |what: String| scene.error(Kind::Tls, "", what);
        let name = match &http.server_name {
            None => None,
            Some(name) => Some(
                ServerName::try_from(name.clone())
                    .map_err(|_| other(format!("{} is no name of a host", key("server_name"))))?,
            ),
        };
        let verifier = Verifier {
            inner: verifier(http, &crypto, &fail)?,
            name,
            trusts_all: http.insecure_skip_verify,
        };
        let builder = ClientConfig::builder_with_provider(crypto)
            .with_safe_default_protocol_versions()
            .map_err(|err| other(err.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let tls = match &http.client_certificate {
            None => builder.with_no_client_auth(),
            Some((certificate, private)) => {
                let chain = certificates(certificate)
                    .map_err(|what| fail("cert_file", certificate, what))?;
                let private_key = PrivateKeyDer::from_pem_file(private)
                    .map_err(|err| fail("key_file", private, err.to_string()))?;
                builder
                    .with_client_auth_cert(chain, private_key)
                    .map_err(|err| fail("key_file", private, err.to_string()))?
            }
        };
        Ok(Self {
            tls,
            http: http.clone(),
        })
    }
}

fn certificates(file: &Path) -> std::result::Result<Vec<CertificateDer<'static>>, String> {
    let read = CertificateDer::pem_file_iter(file).map_err(|err| err.to_string())?;
    let found: std::result::Result<Vec<_>, _> = read.collect();
    match found {
        Ok(found) if found.is_empty() => Err("holds no PEM certificate".to_owned()),
        Ok(found) => Ok(found),
        Err(err) => Err(err.to_string()),
    }
}

/// The authorities of the file, else those of the system.
fn verifier(
    http: &HttpConfig,
    crypto: &Arc<CryptoProvider>,
    fail: &dyn Fn(&str, &Path, String) -> super::Error,
) -> Result<Arc<dyn ServerCertVerifier>> {
    let Some(file) = &http.ca_file else {
        let system = rustls_platform_verifier::Verifier::new(Arc::clone(crypto));
        let system = system.map_err(|err| fail("ca_file", Path::new(""), err.to_string()))?;
        return Ok(Arc::new(system));
    };
    let mut roots = RootCertStore::empty();
    for certificate in certificates(file).map_err(|what| fail("ca_file", file, what))? {
        let added = roots.add(certificate);
        added.map_err(|err| fail("ca_file", file, err.to_string()))?;
    }
    let built = WebPkiServerVerifier::builder_with_provider(roots.into(), Arc::clone(crypto));
    let built = built.build();
    Ok(built.map_err(|err| fail("ca_file", file, err.to_string()))?)
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
        let allow_http = options.get_config_value(&ClientConfigKey::AllowHttp);
        let mut builder = reqwest::Client::builder()
            .tls_backend_preconfigured(self.tls.clone())
            .user_agent(USER_AGENT)
            .https_only(allow_http.as_deref() != Some("true"))
            .http1_only()
            .connect_timeout(self.http.connect_timeout)
            .pool_idle_timeout(idle_timeout(&self.http))
            .pool_max_idle_per_host(self.http.idle_connections);
        if let Some(limit) = read_timeout {
            builder = builder.read_timeout(limit);
        }
        let client = builder
            .build()
            .map_err(|source| object_store::Error::Generic {
                store: "HTTP client",
                source: Box::new(source),
            })?;
        Ok(HttpClient::new(client))
    }
}

/// Checks a server's certificate for another name, or not at all.
#[derive(Debug)]
struct Verifier {
    inner: Arc<dyn ServerCertVerifier>,
    name: Option<ServerName<'static>>,
    trusts_all: bool,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        if self.trusts_all {
            return Ok(ServerCertVerified::assertion());
        }
        let name = self.name.as_ref().unwrap_or(server_name);
        self.inner
            .verify_server_cert(end_entity, intermediates, name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}
