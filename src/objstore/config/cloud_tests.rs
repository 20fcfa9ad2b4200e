//! GCS and AZURE, whether built in or not.

use std::path::Path;
use std::time::Duration;

use super::azure::AzureYaml;
use super::gcs::GcsYaml;
use super::*;

fn gcs(keys: &str) -> Result<GcsConfig, ConfigError> {
    GcsConfig::check(yaml::parse::<GcsYaml>(keys)?)
}

fn azure(keys: &str) -> Result<AzureConfig, ConfigError> {
    AzureConfig::check(yaml::parse::<AzureYaml>(&format!(
        "storage_account: acc\ncontainer: con\n{keys}"
    ))?)
}

fn account(key: &str) -> String {
    format!(
        "{{\"type\": \"service_account\", \"private_key\": \"{key}\", \"private_key_id\": \"1\", \
         \"client_email\": \"a@b\"}}"
    )
}

#[test]
fn gcs_keys_are_mapped() {
    let config = gcs("bucket: b\n").unwrap();
    assert_eq!((config.bucket.as_str(), config.retries), ("b", 10));
    assert!(config.service_account.is_empty() && config.notes.is_empty());
    assert_eq!(config.part_size, None);
    let json = account("KEYKEY");
    let config = gcs(&format!(
        "bucket: b\nservice_account: |\n  {json}\nuse_grpc: false\ngrpc_conn_pool_size: 0\n\
         chunk_size_bytes: 8388608\nmax_retries: 3\nhttp_config: {{max_conns_per_host: 4}}\n"
    ))
    .unwrap();
    assert_eq!(config.private_key.expose(), "KEYKEY");
    assert_eq!((config.part_size, config.retries), (Some(8 << 20), 2));
    assert_eq!(config.http.max_connections, Some(4));
    assert!(config.notes.is_empty(), "{:?}", config.notes);
    for (keys, wanted) in [
        ("use_grpc: true", "config.use_grpc"),
        ("grpc_conn_pool_size: 4", "config.grpc_conn_pool_size"),
        ("chunk_size_bytes: 1024", "config.chunk_size_bytes"),
        ("chunk_size_bytes: -1", "config.chunk_size_bytes"),
    ] {
        let notes = gcs(&format!("bucket: b\n{keys}\n")).unwrap().notes;
        assert!(
            notes.len() == 1 && notes[0].starts_with(wanted),
            "{notes:?}"
        );
    }
}

#[test]
fn gcs_refuses_by_name() {
    for (keys, wanted) in [
        ("", "config.bucket: missing"),
        ("bucket: b\nmax_retries: -1", "config.max_retries: "),
        (
            "bucket: b\nservice_account: x",
            "config.service_account: is not the JSON",
        ),
        (
            "bucket: b\nservice_account: '{}'",
            "config.service_account: needs",
        ),
        (
            "bucket: b\nservice_account: '{\"type\": \"authorized_user\", \"refresh_token\": \"t\"}'",
            "config.service_account: needs",
        ),
        ("bucket: b\nbuckt: c", "bucket configuration, line 2"),
    ] {
        let text = gcs(keys).unwrap_err().to_string();
        assert!(text.starts_with(wanted), "{keys}: {text}");
    }
}

#[test]
fn azure_logs_in_as_thanos_does() {
    let secret = |text: &str| Secret::new(text);
    for (keys, login, url) in [
        ("", AzureLogin::Default, "https://acc.blob.core.windows.net"),
        (
            "storage_account_key: a2V5\nendpoint: blob.core.chinacloudapi.cn",
            AzureLogin::Key(secret("a2V5")),
            "https://acc.blob.core.chinacloudapi.cn",
        ),
        (
            "user_assigned_id: me",
            AzureLogin::Identity("me".to_owned()),
            "https://acc.blob.core.windows.net",
        ),
        (
            "az_tenant_id: t\nclient_id: i\nclient_secret: s",
            AzureLogin::Application {
                tenant: "t".to_owned(),
                id: "i".to_owned(),
                secret: secret("s"),
            },
            "https://acc.blob.core.windows.net",
        ),
        (
            "storage_connection_string: DefaultEndpointsProtocol=https;AccountName=other;AccountKey=a2V5PT0=;EndpointSuffix=core.windows.net",
            AzureLogin::Key(secret("a2V5PT0=")),
            "https://other.blob.core.windows.net",
        ),
        (
            "storage_connection_string: BlobEndpoint=http://127.0.0.1:10000/acc/;SharedAccessSignature=sv=1&sig=x%3D",
            AzureLogin::Signature(secret("sv=1&sig=x%3D")),
            "http://127.0.0.1:10000/acc",
        ),
    ] {
        let config = azure(keys).expect(keys);
        assert_eq!(
            (&config.login, config.url.as_str()),
            (&login, url),
            "{keys}"
        );
        assert!(config.notes.is_empty());
    }
}

#[test]
fn azure_keys_are_mapped() {
    let config = azure(
        "max_retries: 3\npipeline_config: {retry_delay: 2s, max_retry_delay: 1m}\n\
         azure_storage_account_type: datalake\nstorage_create_container: false\n\
         http_config: {tls_config: {ca_file: /ca.pem}}",
    )
    .unwrap();
    assert_eq!(config.retries, 3);
    assert_eq!(config.retry_delay, Some(Duration::from_secs(2)));
    assert_eq!(config.max_retry_delay, Some(Duration::from_secs(60)));
    assert_eq!(config.http.ca_file.as_deref(), Some(Path::new("/ca.pem")));
    let both = azure("max_retries: 3\npipeline_config: {max_tries: 5}").unwrap();
    assert_eq!(both.retries, 5);
    assert_eq!(azure("max_retries: 0").unwrap().retries, 10);
    for (keys, wanted) in [
        (
            "storage_create_container: true",
            "config.storage_create_container",
        ),
        ("msi_resource: x", "config.msi_resource"),
        (
            "reader_config: {max_retry_requests: 2}",
            "config.reader_config",
        ),
        (
            "pipeline_config: {try_timeout: 1s}",
            "config.pipeline_config.try_timeout",
        ),
    ] {
        let notes = azure(keys).unwrap().notes;
        assert!(
            notes.len() == 1 && notes[0].starts_with(wanted),
            "{notes:?}"
        );
    }
}

#[test]
fn azure_refuses_by_name() {
    for (keys, wanted) in [
        (
            "user_assigned_id: m\nstorage_account_key: k",
            "config.user_assigned_id: ",
        ),
        (
            "user_assigned_id: m\nstorage_connection_string: k",
            "config.user_assigned_id: ",
        ),
        (
            "user_assigned_id: m\naz_tenant_id: t\nclient_id: i\nclient_secret: s",
            "config.user_assigned_id: ",
        ),
        ("client_id: i", "config.client_id: "),
        ("client_secret: i", "config.client_id: "),
        (
            "storage_account_key: k\nstorage_connection_string: c",
            "config.storage_account_key: ",
        ),
        (
            "storage_connection_string: nothing",
            "config.storage_connection_string: ",
        ),
        (
            "storage_connection_string: UseDevelopmentStorage=true",
            "config.storage_connection_string: ",
        ),
        (
            "storage_connection_string: AccountKey=k",
            "config.storage_connection_string: ",
        ),
        (
            "storage_connection_string: AccountKey=k;BlobEndpoint=ftp://x",
            "config.storage_connection_string: ",
        ),
        (
            "azure_storage_account_type: tape",
            "config.azure_storage_account_type: ",
        ),
        ("max_retries: -1", "config.max_retries: "),
        (
            "pipeline_config: {max_tries: -1}",
            "config.pipeline_config.max_tries: ",
        ),
        (
            "pipeline_config: {retry_delay: x}",
            "config.pipeline_config.retry_delay: ",
        ),
        ("nope: 1", "bucket configuration, line 3"),
        ("pipeline_config: {nope: 1}", "bucket configuration, line 3"),
        ("reader_config: {nope: 1}", "bucket configuration, line 3"),
    ] {
        let text = azure(keys).unwrap_err().to_string();
        assert!(text.starts_with(wanted), "{keys}: {text}");
    }
}

#[test]
fn azure_needs_an_account() {
    let empty = AzureConfig::check(AzureYaml::default()).unwrap_err();
    let text = empty.to_string();
    assert!(
        text.starts_with("config.storage_account: missing"),
        "{text}"
    );
}

#[test]
fn no_secret_of_theirs_is_shown() {
    let json = account("topsecret2");
    let google = gcs(&format!("bucket: b\nservice_account: |\n  {json}\n")).unwrap();
    let debug = format!("{google:?}");
    assert!(
        !debug.contains("topsecret2") && debug.contains("***"),
        "{debug}"
    );
    for keys in [
        "storage_account_key: topsecret2",
        "az_tenant_id: t\nclient_id: i\nclient_secret: topsecret2",
        "storage_connection_string: AccountName=a;AccountKey=topsecret2",
        "storage_connection_string: AccountName=a;SharedAccessSignature=sig=topsecret2",
    ] {
        let debug = format!("{:?}", azure(keys).unwrap());
        assert!(
            !debug.contains("topsecret2") && debug.contains("***"),
            "{debug}"
        );
    }
    for keys in [
        "service_account: topsecret2",
        "service_account: '{\"private_key\": [\"topsecret2\"]}'",
        "service_account: '{\"private_key\": \"topsecret2\"'",
        "service_account: [topsecret2]",
    ] {
        let err = gcs(&format!("bucket: b\n{keys}\n")).unwrap_err();
        assert!(!format!("{err} {err:?}").contains("topsecret2"), "{err:?}");
    }
    for keys in [
        "storage_connection_string: topsecret2",
        "storage_connection_string: AccountKey=topsecret2",
        "storage_connection_string: [topsecret2]",
        "storage_account_key: topsecret2\nuser_assigned_id: m",
    ] {
        let err = azure(keys).unwrap_err();
        assert!(!format!("{err} {err:?}").contains("topsecret2"), "{err:?}");
    }
}
