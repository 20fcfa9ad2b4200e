use super::*;
use crate::objstore::config::{BucketConfig, Provider};

fn config(keys: &str) -> S3Config {
    let text = format!("type: S3\nconfig: {{bucket: b, {keys}}}\n");
    match BucketConfig::parse(&text).expect(keys).provider {
        Provider::S3(config) => *config,
        other => panic!("{other:?}"),
    }
}

fn target(keys: &str) -> (String, String, bool) {
    let config = config(keys);
    let aws = AwsHost::parse(&config.endpoint).and_then(|host| host.region);
    let target = Target::of(&config, config.region.clone().or(aws));
    (target.url, target.region, target.in_host)
}

#[test]
#[expect(
    clippy::too_many_lines,
    reason = "one table or layout, read from top to bottom"
)]
fn requests_go_where_thanos_sends_them() {
    for (keys, url, region, in_host) in [
        (
            "endpoint: minio:9000, insecure: true",
            "http://minio:9000",
            "us-east-1",
            false,
        ),
        (
            "endpoint: minio:9000, region: eu",
            "https://minio:9000",
            "eu",
            false,
        ),
        (
            "endpoint: h, bucket_lookup_type: virtual-hosted",
            "https://b.h",
            "us-east-1",
            true,
        ),
        (
            "endpoint: s3.amazonaws.com",
            "https://b.s3.dualstack.us-east-1.amazonaws.com",
            "us-east-1",
            true,
        ),
        (
            "endpoint: s3.amazonaws.com, region: eu-west-1",
            "https://b.s3.dualstack.eu-west-1.amazonaws.com",
            "eu-west-1",
            true,
        ),
        (
            "endpoint: s3-eu-west-1.amazonaws.com, disable_dualstack: true",
            "https://b.s3.eu-west-1.amazonaws.com",
            "eu-west-1",
            true,
        ),
        (
            "endpoint: s3.dualstack.us-gov-east-1.amazonaws.com",
            "https://b.s3.dualstack.us-gov-east-1.amazonaws.com",
            "us-gov-east-1",
            true,
        ),
        (
            "endpoint: s3.cn-north-1.amazonaws.com.cn",
            "https://b.s3.dualstack.cn-north-1.amazonaws.com.cn",
            "cn-north-1",
            true,
        ),
        (
            "endpoint: s3.eu-west-1.amazonaws.com, bucket_lookup_type: path",
            "https://s3.dualstack.eu-west-1.amazonaws.com",
            "eu-west-1",
            false,
        ),
        (
            "endpoint: s3-accelerate.amazonaws.com",
            "https://s3-accelerate.amazonaws.com",
            "us-east-1",
            false,
        ),
        (
            "endpoint: s3-fips.us-east-2.amazonaws.com, region: us-east-2",
            "https://s3-fips.us-east-2.amazonaws.com",
            "us-east-2",
            false,
        ),
        (
            "endpoint: notamazonaws.com",
            "https://notamazonaws.com",
            "us-east-1",
            false,
        ),
    ] {
        let wanted = (url.to_owned(), region.to_owned(), in_host);
        assert_eq!(target(keys), wanted, "{keys}");
    }
    let mut dotted = config("endpoint: s3.amazonaws.com");
    dotted.bucket = "a.b".to_owned();
    assert!(
        !Target::of(&dotted, None).in_host,
        "no wildcard certificate covers a dot"
    );
}

#[test]
fn base64_is_the_standard_one() {
    for (bytes, text) in [
        ("", ""),
        ("f", "Zg=="),
        ("fo", "Zm8="),
        ("foo", "Zm9v"),
        ("foob", "Zm9vYg=="),
        ("fooba", "Zm9vYmE="),
        ("foobar", "Zm9vYmFy"),
    ] {
        assert_eq!(base64(bytes.as_bytes()), text);
    }
    assert_eq!(base64(&[0xff, 0xfe, 0xfb]), "//77");
}

#[tokio::test]
async fn broken_files_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    let path = file.display();
    let none = |_: &str| None;
    let key = config(&format!(
        "endpoint: h, sse_config: {{type: SSE-C, encryption_key: {path}}}"
    ));
    let ca = config(&format!(
        "endpoint: h, http_config: {{tls_config: {{ca_file: {path}}}}}"
    ));
    for (config, content, what) in [
        (&key, None, "No such file"),
        (&key, Some("short"), "holds 5 bytes, a key has 32"),
        (&ca, None, "No such file"),
        (&ca, Some("no pem"), "holds no PEM certificate"),
    ] {
        let _ = std::fs::remove_file(&file);
        if let Some(content) = content {
            std::fs::write(&file, content).unwrap();
        }
        let Err(err) = connect(config, &none, &Arc::default()).await else {
            panic!("{what} expected");
        };
        let text = err.to_string();
        assert!(
            text.contains(what) && text.contains(&path.to_string()),
            "{text}"
        );
    }
    std::fs::write(&file, [7; 32]).unwrap();
    assert!(connect(&key, &none, &Arc::default()).await.is_ok());
}
