//! TLS with certificates of one's own, and credentials that nobody may see.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "test code")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use assert_cmd::Command;
use lithify::objstore::{Bucket, BucketConfig, Kind};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use support::files::copy_edge_stream;
use support::s3_server::{ACCESS_KEY, S3Server, SECRET_KEY, config, open};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// An authority of our own, with its certificate as a PEM file.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    der: CertificateDer<'static>,
    dir: tempfile::TempDir,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap();
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("ca.pem"), certificate.pem()).unwrap();
        Self {
            der: certificate.der().clone(),
            issuer: Issuer::new(params, key),
            dir,
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A certificate for a name, also as PEM files.
    fn certify(&self, name: &str) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        fs::write(self.file("cert.pem"), certificate.pem()).unwrap();
        fs::write(self.file("key.pem"), key.serialize_pem()).unwrap();
        let der = certificate.der().clone();
        (der, PrivateKeyDer::try_from(key.serialize_der()).unwrap())
    }

    /// TLS before a server without; returns the port. With `knows_clients` it
    /// talks only to whoever has a certificate of this authority.
    async fn guard(&self, server: &S3Server, name: &str, knows_clients: bool) -> u16 {
        let (certificate, key) = self.certify(name);
        let crypto = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = rustls::ServerConfig::builder_with_provider(Arc::clone(&crypto))
            .with_safe_default_protocol_versions()
            .unwrap();
        let builder = if knows_clients {
            let mut roots = RootCertStore::empty();
            roots.add(self.der.clone()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), crypto);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        } else {
            builder.with_no_client_auth()
        };
        let tls = builder.with_single_cert(vec![certificate], key).unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(tls));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let behind = server.endpoint();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (acceptor, behind) = (acceptor.clone(), behind.clone());
                tokio::spawn(async move {
                    let Ok(mut tls) = acceptor.accept(socket).await else {
                        return;
                    };
                    let mut plain = TcpStream::connect(behind).await.unwrap();
                    let _ = copy_bidirectional(&mut tls, &mut plain).await;
                });
            }
        });
        port
    }
}

fn https(endpoint: &str, tls: &str) -> String {
    config(endpoint, "blocks", &format!("  max_retries: 1\n{tls}"))
        .replace("insecure: true", "insecure: false")
}

/// Data path and SDK both get through, or both fail in the same way.
async fn talks(yaml: &str) -> Result<(), lithify::objstore::Error> {
    let bucket = open(yaml).await;
    let asked = bucket.uploads("x").await;
    let put = bucket.put("x", "1").await;
    // The embedded server answers, but does not know this question.
    let asked = asked.map(drop).or_else(|error| match error.kind {
        Kind::Unsupported => Ok(()),
        _ => Err(error),
    });
    assert_eq!(
        asked.as_ref().map_err(|error| error.kind),
        put.as_ref().map_err(|error| error.kind)
    );
    put?;
    assert_eq!(bucket.get("x").await?.unwrap(), "1");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_authority_is_trusted_by_its_file_only() {
    let (server, authority) = (S3Server::start().await, Authority::new());
    server.make_bucket("blocks");
    let port = authority.guard(&server, "localhost", false).await;
    let endpoint = format!("localhost:{port}");
    let ca = |file: &Path| {
        format!(
            "  http_config: {{tls_config: {{ca_file: {}}}}}\n",
            file.display()
        )
    };
    talks(&https(&endpoint, &ca(&authority.file("ca.pem"))))
        .await
        .unwrap();

    let other = Authority::new();
    for tls in ["", &ca(&other.file("ca.pem"))] {
        let error = talks(&https(&endpoint, tls)).await.unwrap_err();
        assert_eq!(error.kind, Kind::Tls, "{error}");
        let text = error.to_string();
        assert!(text.contains("http_config.tls_config.ca_file"), "{text}");
        assert!(text.contains(&format!("https://{endpoint}")), "{text}");
    }
    let trusting = "  http_config: {insecure_skip_verify: true}\n";
    talks(&https(&endpoint, trusting)).await.unwrap();

    fs::write(authority.file("none.pem"), "not a certificate").unwrap();
    for file in ["none.pem", "gone.pem"] {
        let yaml = https(&endpoint, &ca(&authority.file(file)));
        let error = Bucket::connect(&BucketConfig::parse(&yaml).unwrap())
            .await
            .unwrap_err();
        assert_eq!(error.kind, Kind::Tls);
        assert!(error.to_string().contains(file), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_may_have_another_name_and_want_a_certificate() {
    let (server, authority) = (S3Server::start().await, Authority::new());
    server.make_bucket("blocks");
    let tls = |more: &str| {
        let ca = authority.file("ca.pem");
        format!(
            "  http_config: {{tls_config: {{ca_file: {}{more}}}}}\n",
            ca.display()
        )
    };
    let port = authority.guard(&server, "store.internal", false).await;
    let endpoint = format!("127.0.0.1:{port}");
    talks(&https(&endpoint, &tls(", server_name: store.internal")))
        .await
        .unwrap();
    for more in ["", ", server_name: other.internal"] {
        let error = talks(&https(&endpoint, &tls(more))).await.unwrap_err();
        assert_eq!(error.kind, Kind::Tls, "{error}");
    }

    let port = authority.guard(&server, "localhost", true).await;
    let endpoint = format!("localhost:{port}");
    authority.certify("client");
    let ours = format!(
        ", cert_file: {}, key_file: {}",
        authority.file("cert.pem").display(),
        authority.file("key.pem").display()
    );
    talks(&https(&endpoint, &tls(&ours))).await.unwrap();
    let error = open(&https(&endpoint, &tls("")))
        .await
        .put("x", "1")
        .await
        .unwrap_err();
    assert!(!error.is_not_found(), "{error}");

    // Key and certificate that do not belong together, files that are none.
    let swapped = format!(
        ", cert_file: {0}, key_file: {0}",
        authority.file("cert.pem").display()
    );
    let config = BucketConfig::parse(&https(&endpoint, &tls(&swapped))).unwrap();
    let error = Bucket::connect(&config).await.unwrap_err();
    assert_eq!(error.kind, Kind::Tls);
    assert!(error.to_string().contains("key_file"), "{error}");
    let config = BucketConfig::parse(&https(&endpoint, &tls(", server_name: 'a b'"))).unwrap();
    assert!(
        Bucket::connect(&config)
            .await
            .unwrap_err()
            .to_string()
            .contains("server_name")
    );
}

/// Everything a process leaves behind: both outputs, the report, the files of
/// the data directory and all small objects of the bucket.
fn everything(output: &std::process::Output, roots: &[&Path]) -> String {
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    let mut todo: Vec<PathBuf> = roots.iter().map(|root| root.to_path_buf()).collect();
    while let Some(path) = todo.pop() {
        if path.is_dir() {
            todo.extend(
                fs::read_dir(&path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
        } else if path.extension().is_some_and(|ext| ext == "json") {
            text.push_str(&fs::read_to_string(&path).unwrap());
        }
    }
    text
}

/// `lithify compact` in `work`, as talkative as it can be.
fn compact(work: &Path, yaml: &str, args: &[&str]) -> Command {
    let file = work.join("bucket.yml");
    fs::write(&file, yaml).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_lithify"));
    command
        .current_dir(work)
        .arg("compact")
        .arg("--log.level=debug")
        .arg(format!("--objstore.config-file={}", file.display()))
        .args(args)
        .timeout(std::time::Duration::from_secs(120));
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_in_logs_plan_report_or_errors() {
    let server = S3Server::start().await;
    let dir = server.make_bucket("blocks");
    copy_edge_stream("cluster-02", &dir);
    let work = tempfile::tempdir().unwrap();
    let customer = [b'k'; 32];
    fs::write(work.path().join("customer.key"), customer).unwrap();
    let token = "session/token+of-this-test";
    let good = config(&server.endpoint(), "blocks", "");
    let bad_key = good.replace(SECRET_KEY, "wrong/secret+key");
    let with_token = config(
        &server.endpoint(),
        "blocks",
        &format!("  session_token: {token}\n  max_retries: 1\n"),
    );
    let away = config(
        "127.0.0.1:9",
        "blocks",
        "  max_retries: 1\n  sse_config: {type: SSE-C, encryption_key: customer.key}\n",
    );
    let secrets = [
        SECRET_KEY,
        "wrong/secret+key",
        token,
        "kkkkkkkk",
        "a2tra2tra2tr",
    ];
    for (yaml, args) in [
        (&good, &["--dry-run=json"][..]),
        (&good, &["--dry-run"]),
        (&good, &["--report=run.json"]),
        (&bad_key, &["--dry-run=json"]),
        (&with_token, &["--report=-"]),
        (&away, &["--dry-run=json"]),
    ] {
        let (yaml, args) = (yaml.clone(), args.to_vec());
        let mut command = compact(work.path(), &yaml, &args);
        let output = tokio::task::spawn_blocking(move || command.output().unwrap());
        let output = output.await.unwrap();
        let text = everything(&output, &[work.path(), &dir]);
        assert!(!text.is_empty());
        for secret in secrets {
            assert!(!text.contains(secret), "{args:?}: {secret} in\n{text}");
        }
        if args == ["--report=run.json"] {
            assert!(output.status.success(), "{text}");
            assert!(work.path().join("run.json").exists(), "{text}");
        }
    }
    // A plain text copy of the key is what the search would have found.
    assert!(good.contains(SECRET_KEY) && good.contains(ACCESS_KEY));
}

/// `aws_sdk_auth` follows what the SDK follows: here a program that hands out
/// keys. Where nobody has any, that is what it says.
#[cfg(feature = "aws-sdk")]
#[tokio::test(flavor = "multi_thread")]
async fn the_sdk_finds_keys_where_aws_keeps_them() {
    let server = S3Server::start().await;
    let dir = server.make_bucket("blocks");
    copy_edge_stream("cluster-02", &dir);
    let work = tempfile::tempdir().unwrap();
    let keys = format!(
        "{{\"Version\": 1, \"AccessKeyId\": \"{ACCESS_KEY}\", \"SecretAccessKey\": \"{SECRET_KEY}\", \
         \"Expiration\": \"2999-01-01T00:00:00Z\"}}"
    );
    fs::write(work.path().join("keys.json"), keys).unwrap();
    let profile = format!(
        "[profile ours]\ncredential_process = cat {}\n",
        work.path().join("keys.json").display()
    );
    fs::write(work.path().join("aws"), profile).unwrap();
    let yaml = format!(
        "type: S3\nconfig: {{bucket: blocks, endpoint: '{}', insecure: true, aws_sdk_auth: true, \
         max_retries: 1}}\n",
        server.endpoint()
    );
    for (profile, works) in [("ours", true), ("nobody", false)] {
        let mut command = compact(work.path(), &yaml, &["--dry-run=json"]);
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("HOME", work.path())
            .env("AWS_CONFIG_FILE", work.path().join("aws"))
            .env("AWS_PROFILE", profile)
            .env("AWS_EC2_METADATA_DISABLED", "true");
        let output = tokio::task::spawn_blocking(move || command.output().unwrap());
        let output = output.await.unwrap();
        let text = everything(&output, &[]);
        assert_eq!(output.status.success(), works, "{text}");
        assert!(!text.contains(SECRET_KEY), "{text}");
        if !works {
            assert!(text.contains("credentials"), "{text}");
        }
    }
}
