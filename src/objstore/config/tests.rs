use std::collections::HashMap;
use std::time::Duration;

use object_store::Attribute;

use super::*;

fn parse(text: &str) -> Result<BucketConfig, ConfigError> {
    BucketConfig::parse_with(text, &|_| None)
}

fn error(text: &str) -> String {
    parse(text).expect_err(text).to_string()
}

fn s3(keys: &str) -> S3Config {
    match s3_result(keys).expect(keys).provider {
        Provider::S3(config) => *config,
        other => panic!("{other:?}"),
    }
}

/// Keys go into the block mapping below `config`.
fn s3_result(keys: &str) -> Result<BucketConfig, ConfigError> {
    let keys: String = keys.lines().map(|line| format!("  {line}\n")).collect();
    parse(&format!(
        "type: S3\nconfig:\n  bucket: b\n  endpoint: minio:9000\n{keys}"
    ))
}

fn s3_error(keys: &str) -> String {
    s3_result(keys).expect_err(keys).to_string()
}

#[test]
fn folder_is_read() {
    for text in [
        "type: FILESYSTEM\nconfig:\n  directory: /data\n",
        "type: filesystem\nconfig: {directory: /data}\nprefix: ''\n",
        "{type: FileSystem, config: {directory: /data}}",
    ] {
        let config = parse(text).expect(text);
        assert!(matches!(&config.provider, Provider::Folder(dir) if dir == Path::new("/data")));
        assert_eq!(config.prefix, "");
    }
    assert!(error("type: FILESYSTEM\nconfig:\n  directory:\n").contains("config.directory"));
    assert!(error("type: FILESYSTEM\nconfig: ~\n").contains("config.directory"));
    assert!(error("type: FILESYSTEM\n").contains("config.directory"));
}

#[test]
fn prefix_loses_its_slashes() {
    let prefix = |text: &str| {
        parse(&format!(
            "type: FILESYSTEM\nconfig: {{directory: d}}\nprefix: {text}\n"
        ))
    };
    for (text, wanted) in [
        ("a", "a"),
        ("/a/b/", "a/b"),
        ("///", ""),
        ("~", ""),
        ("0123", "0123"),
    ] {
        assert_eq!(prefix(text).expect(text).prefix, wanted);
    }
    for text in ["a//b", "a/../b", "."] {
        assert!(
            prefix(text)
                .expect_err(text)
                .to_string()
                .starts_with("prefix: ")
        );
    }
}

#[test]
fn types_are_refused_by_name() {
    // Upstream prints the empty type as nothing, too.
    for text in ["", "# nothing\n", "type:\n", "config: {}\n", "~"] {
        assert!(
            error(text).starts_with("bucket with type  is not supported"),
            "{text:?}"
        );
    }
    assert!(error("type: NFS\n").starts_with("bucket with type NFS is not supported"));
    for name in [
        #[cfg(not(feature = "gcs"))]
        "GCS",
        #[cfg(not(feature = "azure"))]
        "AZURE",
        "SWIFT",
        "COS",
        "ALIYUNOSS",
        "BOS",
        "OCI",
        "OBS",
        "swift",
    ] {
        let text = error(&format!("type: {name}\nconfig:\n  anything: goes\n"));
        assert!(text.starts_with(&format!("type {name}: ")), "{text}");
    }
    #[cfg(not(feature = "azure"))]
    assert!(error("type: AZURE\n").contains("the feature `azure`"));
    #[cfg(not(feature = "gcs"))]
    assert!(error("type: GCS\n").contains("the feature `gcs`"));
}

#[test]
fn unknown_keys_name_key_and_line() {
    for (text, key, line) in [
        ("type: S3\nconfg: {}\n", "confg", 2),
        (
            "type: FILESYSTEM\nconfig:\n  directory: d\n  dir: d\n",
            "dir",
            4,
        ),
        (
            "type: S3\nconfig:\n  bucket: b\n  endpont: e\n",
            "endpont",
            4,
        ),
        (
            "type: S3\nconfig:\n  http_config:\n    timeout: 1s\n",
            "timeout",
            4,
        ),
        (
            "type: S3\nconfig:\n  http_config:\n    tls_config:\n      ca: x\n",
            "ca",
            5,
        ),
        ("type: S3\nconfig:\n  sse_config: {kms: x}\n", "kms", 3),
        ("type: S3\nconfig:\n  trace: {on: x}\n", "on", 3),
    ] {
        let text = error(text);
        assert!(text.contains(&format!("unknown key `{key}`")), "{text}");
        assert!(text.contains(&format!("line {line},")), "{text}");
    }
}

/// The rows where YAML readers differ; Thanos' column is what it was measured
/// to do, and each difference that stays is on purpose.
#[test]
fn yaml_as_thanos_reads_it() {
    for yes in ["true", "yes", "on", "y", "Y", "TRUE", "Yes", "On"] {
        assert!(s3(&format!("insecure: {yes}")).insecure, "{yes}");
    }
    for no in ["false", "no", "off", "n", "~", "", "null"] {
        assert!(!s3(&format!("insecure: {no}")).insecure, "{no}");
    }
    for number in ["67108864", "67_108_864", "0x4000000", "0400000000"] {
        assert_eq!(
            s3(&format!("part_size: {number}")).part_size,
            Some(64 << 20),
            "{number}"
        );
    }
    assert_eq!(
        s3("max_retries: 0777").retries,
        510,
        "octal 511, the first attempt not counted"
    );
    // Errors in both.
    for keys in [
        "region: a\nregion: b",
        "nope: 1",
        "insecure: maybe",
        "part_size: lots",
        "http_config:\n\tidle_conn_timeout: 1s",
        "region: [a]",
        "http_config: text",
    ] {
        s3_error(keys);
    }
    // Null is "not given" for every shape of value.
    for key in [
        "region",
        "part_size",
        "insecure",
        "http_config",
        "sse_config",
        "trace",
        "put_user_metadata",
    ] {
        assert_eq!(
            format!("{:?}", s3(&format!("{key}: ~"))),
            format!("{:?}", s3("")),
            "{key}"
        );
    }
    // Text is kept as written. Thanos makes 83, true and 1e+10 of these.
    for text in ["0123", "yes", "1e10", "0x10", "1_000"] {
        assert_eq!(s3(&format!("region: {text}")).region.as_deref(), Some(text));
    }
    // Only the first document counts, and what follows is not even looked at.
    let one = "type: FILESYSTEM\nconfig: {directory: d}\n";
    for more in ["---\ntype: S3\n", "---\n{{{\n", "...\n"] {
        parse(&format!("{one}{more}")).expect(more);
    }
    parse(&format!("---\n{one}")).expect("a document may begin with its mark");
    parse("&c type: FILESYSTEM\nconfig: {directory: &d x}\nprefix: *d\n").expect("aliases");
}

#[test]
fn environment_is_substituted_before_parsing() {
    let vars: HashMap<&str, &str> = HashMap::from([
        ("KEY", "AKIA"),
        ("SECRET", "se$(KEY)cret"),
        ("EMPTY", ""),
        ("BLOCK", "{directory: d}"),
        ("_9", "x"),
    ]);
    let env = |name: &str| vars.get(name).map(|value| (*value).to_owned());
    let config = BucketConfig::parse_with(
        "type: FILESYSTEM\nconfig: $(BLOCK)\nprefix: a$(EMPTY)b$(_9)\n",
        &env,
    );
    assert_eq!(config.expect("substituted").prefix, "abx");
    let text =
        "type: S3\nconfig: {bucket: b, endpoint: e, access_key: $(KEY), secret_key: $(SECRET)}\n";
    let Provider::S3(config) = BucketConfig::parse_with(text, &env)
        .expect("substituted")
        .provider
    else {
        panic!("S3 expected");
    };
    let keys = config.keys.expect("keys");
    assert_eq!(
        (keys.access_key.expose(), keys.secret_key.expose()),
        ("AKIA", "se$(KEY)cret")
    );
    let missing = BucketConfig::parse_with("type: $(NOT_SET)\nprefix: $(OTHER)\n", &env);
    assert!(missing.unwrap_err().to_string().contains("$(NOT_SET)"));
    // Other shapes are left alone.
    for same in ["$NAME", "${NAME}", "$(NO-NAME)", "$()", "$(A B)", "$$"] {
        assert_eq!(env::substitute(same, &env).unwrap(), same);
    }
}

#[test]
fn flags_exclude_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("b.yaml");
    let text = "type: FILESYSTEM\nconfig: {directory: d}\n";
    std::fs::write(&file, text).unwrap();
    BucketConfig::from_flags(Some(text), None).unwrap();
    BucketConfig::from_flags(None, Some(&file)).unwrap();
    BucketConfig::from_flags(Some(text), Some(Path::new(""))).unwrap();
    BucketConfig::from_flags(Some(""), Some(&file)).unwrap();
    let both = BucketConfig::from_flags(Some(text), Some(&file)).unwrap_err();
    assert!(matches!(both, ConfigError::BothFlags), "{both}");
    std::fs::write(&file, "").unwrap();
    for (content, path) in [(None, None), (Some(""), None), (None, Some(file.as_path()))] {
        let none = BucketConfig::from_flags(content, path).unwrap_err();
        assert!(matches!(none, ConfigError::Empty), "{none}");
    }
    let missing = BucketConfig::from_flags(None, Some(Path::new("/no/file"))).unwrap_err();
    assert!(missing.to_string().contains("/no/file"), "{missing}");
}

#[test]
fn s3_defaults() {
    let config = s3("");
    assert_eq!(
        (config.bucket.as_str(), config.endpoint.as_str()),
        ("b", "minio:9000")
    );
    assert_eq!((config.insecure, config.retries), (false, 10));
    assert_eq!(config.http.read_timeout, Some(Duration::from_secs(120)));
    assert_eq!(config.http.connect_timeout, Duration::from_secs(10));
    assert_eq!(config.http.idle_timeout, Some(Duration::from_secs(90)));
    assert_eq!(
        (config.http.idle_connections, config.http.max_connections),
        (100, None)
    );
    assert_eq!(
        (config.lookup, config.sse.is_none()),
        (LookupStyle::Auto, true)
    );
    assert!(config.keys.is_none() && config.notes.is_empty() && config.attributes.is_empty());
}

#[test]
fn s3_keys_are_mapped() {
    let config = s3(
        "region: eu-west-1\ninsecure: true\naccess_key: a\nsecret_key: s\nsession_token: t\n\
         bucket_lookup_type: virtual-hosted\nlist_objects_version: v2\npart_size: 8388608\n\
         max_retries: 1\ndisable_dualstack: true\nsts_endpoint: https://sts\nsignature_version2: false\n\
         put_user_metadata: {X-Amz-Storage-Class: GLACIER_IR, Owner: me, x-amz-meta-Team: t, Content-Type: text/x}\n\
         http_config:\n  idle_conn_timeout: 1m30s\n  response_header_timeout: 0\n  insecure_skip_verify: on\n  \
         tls_handshake_timeout: 3s\n  expect_continue_timeout: 1s\n  max_idle_conns: 5\n  max_idle_conns_per_host: 6\n  \
         max_conns_per_host: 7\n  disable_compression: true\n  tls_config:\n    ca_file: /ca.pem",
    );
    let keys = config.keys.expect("keys");
    assert_eq!(keys.session_token.expose(), "t");
    assert_eq!((config.part_size, config.retries), (Some(8 << 20), 0));
    assert_eq!(
        (config.lookup, config.disable_dualstack),
        (LookupStyle::VirtualHosted, true)
    );
    assert_eq!(config.http.idle_timeout, Some(Duration::from_secs(90)));
    assert_eq!(
        (config.http.read_timeout, config.http.connect_timeout),
        (None, Duration::from_secs(3))
    );
    assert_eq!(
        (config.http.idle_connections, config.http.max_connections),
        (6, Some(7))
    );
    assert!(config.http.insecure_skip_verify && config.notes.is_empty());
    assert!(config.http.client_certificate.is_none() && config.http.server_name.is_none());
    assert_eq!(config.http.ca_file.as_deref(), Some(Path::new("/ca.pem")));
    assert_eq!(config.sts_endpoint.as_deref(), Some("https://sts"));
    for (attribute, value) in [
        (Attribute::StorageClass, "GLACIER_IR"),
        (Attribute::Metadata("owner".into()), "me"),
        (Attribute::Metadata("team".into()), "t"),
        (Attribute::ContentType, "text/x"),
    ] {
        assert_eq!(
            config.attributes.get(&attribute).map(AsRef::as_ref),
            Some(value)
        );
    }
}

#[test]
fn s3_encryption() {
    assert_eq!(s3("sse_config: {type: SSE-S3}").sse, Some(Sse::S3));
    assert_eq!(
        s3("sse_config: {type: SSE-KMS, kms_key_id: k}").sse,
        Some(Sse::Kms("k".into()))
    );
    let customer = s3("sse_config: {type: SSE-C, encryption_key: /k}").sse;
    assert_eq!(customer, Some(Sse::Customer("/k".into())));
    assert_eq!(s3("sse_config: {type: '', kms_key_id: k}").sse, None);
}

#[test]
#[expect(
    clippy::too_many_lines,
    reason = "one table or layout, read from top to bottom"
)]
fn s3_refuses_by_name() {
    for (keys, wanted) in [
        ("signature_version2: true", "config.signature_version2: "),
        ("list_objects_version: v1", "config.list_objects_version: "),
        (
            "list_objects_version: v3",
            "config.list_objects_version: must be",
        ),
        ("bucket_lookup_type: dns", "config.bucket_lookup_type: "),
        ("access_key: a", "config.secret_key: "),
        ("secret_key: s", "config.access_key: "),
        (
            "access_key: a\nsecret_key: s\naws_sdk_auth: true",
            "config.aws_sdk_auth: ",
        ),
        ("part_size: 5242879", "config.part_size: "),
        ("part_size: 5368709121", "config.part_size: "),
        ("max_retries: -1", "config.max_retries: "),
        ("sse_config: {type: AES}", "config.sse_config.type: "),
        (
            "sse_config: {type: SSE-KMS}",
            "config.sse_config.kms_key_id: ",
        ),
        (
            "sse_config: {type: SSE-C}",
            "config.sse_config.encryption_key: ",
        ),
        (
            "sse_config: {type: SSE-KMS, kms_key_id: k, kms_encryption_context: {a: b}}",
            "config.sse_config.kms_encryption_context: ",
        ),
        (
            "http_config: {idle_conn_timeout: 1.5s}",
            "config.http_config.idle_conn_timeout: ",
        ),
        (
            "http_config: {max_conns_per_host: -1}",
            "config.http_config.max_conns_per_host: ",
        ),
        (
            "http_config: {tls_config: {cert_file: c}}",
            "config.http_config.tls_config.key_file: missing",
        ),
        (
            "http_config: {tls_config: {key_file: c}}",
            "config.http_config.tls_config.cert_file: missing",
        ),
        (
            "put_user_metadata: {x-amz-acl: c}",
            "config.put_user_metadata.x-amz-acl: ",
        ),
        (
            "put_user_metadata: {'a b': c}",
            "config.put_user_metadata: ",
        ),
        (
            "put_user_metadata: {a: \"c\\nd\"}",
            "config.put_user_metadata: ",
        ),
    ] {
        let text = s3_error(keys);
        assert!(text.starts_with(wanted), "{keys}: {text}");
    }
    for endpoint in ["", "http://h", "h/path", "u:p@h", "h?x", "a b"] {
        let text = error(&format!(
            "type: S3\nconfig: {{bucket: b, endpoint: '{endpoint}'}}\n"
        ));
        assert!(text.starts_with("config.endpoint: "), "{endpoint}: {text}");
    }
    assert!(error("type: S3\nconfig: {endpoint: e}\n").starts_with("config.bucket: missing"));
}

#[test]
fn keys_without_effect_are_noted() {
    for (keys, wanted) in [
        ("trace: {enable: true}", "config.trace.enable"),
        ("send_content_md5: true", "config.send_content_md5"),
        ("disable_multipart: true", "config.disable_multipart"),
        #[cfg(not(feature = "aws-sdk"))]
        ("aws_sdk_auth: true", "config.aws_sdk_auth"),
        #[cfg(feature = "aws-sdk")]
        (
            "aws_sdk_auth: true\nsts_endpoint: https://sts",
            "config.sts_endpoint",
        ),
        (
            "http_config: {tls_config: {insecure_skip_verify: true}}",
            "config.http_config.tls_config.insecure_skip_verify",
        ),
    ] {
        let config = s3(keys);
        assert!(
            config.notes.len() == 1 && config.notes[0].starts_with(wanted),
            "{:?}",
            config.notes
        );
    }
    assert!(
        !s3("http_config: {tls_config: {insecure_skip_verify: true}}")
            .http
            .insecure_skip_verify
    );
}

#[test]
fn secrets_are_never_shown() {
    let config = s3("access_key: AKIASECRET1\nsecret_key: topsecret2\nsession_token: token3");
    let debug = format!("{config:?}");
    for secret in ["AKIASECRET1", "topsecret2", "token3"] {
        assert!(!debug.contains(secret), "{debug}");
    }
    assert!(debug.contains("***"));
    // Nor by a parser that stumbles over them or right beside them.
    for text in [
        "type: S3\nconfig:\n  secret_key: topsecret2\n  insecure: topsecret2\n",
        "type: S3\nconfig:\n  secret_key: [topsecret2]\n",
        "type: S3\nconfig:\n  secret_key: topsecret2\n  part_size: topsecret2\n",
        "type: S3\nconfig:\n  secret_key: topsecret2: x\n",
        "type: S3\nconfig:\n  secret_key: 'topsecret2\n",
        "type: S3\nconfig:\n  secret_key: {a: topsecret2}\n",
        "type: S3\nconfig:\n  secret_key: !!int topsecret2\n",
        "type: S3\nconfig:\n  secret_key: *topsecret2\n",
        "type: S3\nconfig: topsecret2\n",
        "type: S3\nconfig:\n  secret_key: topsecret2\n  x\n",
    ] {
        let err = parse(text).expect_err(text);
        assert!(!format!("{err} {err:?}").contains("topsecret2"), "{err:?}");
    }
}
