//! Every kind of bucket against the same expectations, and the ways in which
//! a bucket can fail.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "test code")]

mod support;

use std::os::unix::fs::{PermissionsExt, symlink};

use lithify::objstore::{Bucket, BucketConfig, Kind, ReadAhead};
use lithify::tsdb::source::BlobReader;
use support::conformance::{self, content};
use support::s3_server::{
    ACCESS_KEY, S3Server, SECRET_KEY, answer, config, fine, open, recite, refusal,
};

#[tokio::test(flavor = "multi_thread")]
async fn memory() {
    conformance::all(&Bucket::memory().unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn folder() {
    let dir = tempfile::tempdir().unwrap();
    conformance::all(&Bucket::folder(dir.path()).unwrap()).await;
    let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().collect();
    assert!(
        left.is_empty(),
        "empty directories and staged files stay: {left:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn folder_below_prefix() {
    let dir = tempfile::tempdir().unwrap();
    let yaml = format!(
        "type: filesystem\nconfig: {{directory: {}}}\nprefix: /team/a/\n",
        dir.path().display()
    );
    let bucket = open(&yaml).await;
    bucket.put("01A/meta.json", "{}").await.unwrap();
    assert!(dir.path().join("team/a/01A/meta.json").is_file());
    assert!(
        bucket
            .local_path("01A/meta.json")
            .unwrap()
            .ends_with("team/a/01A/meta.json")
    );
    assert!(bucket.local_root().unwrap().ends_with("team/a"));
    bucket.delete("01A/meta.json").await.unwrap();
    conformance::all(&bucket).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s3() {
    let server = S3Server::start().await;
    conformance::all_for_embedded_server(&server.bucket("blocks").await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s3_below_prefix_with_few_connections() {
    let server = S3Server::start().await;
    server.make_bucket("blocks");
    let more = "  http_config: {max_conns_per_host: 2}\nprefix: team/a\n";
    let bucket = open(&config(&server.endpoint(), "blocks", more)).await;
    conformance::all_for_embedded_server(&bucket).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn prefixes_do_not_see_each_other() {
    let server = S3Server::start().await;
    let root = server.bucket("blocks").await;
    let at = async |prefix: &str| {
        open(&config(
            &server.endpoint(),
            "blocks",
            &format!("prefix: {prefix}\n"),
        ))
        .await
    };
    let (one, two) = (at("one").await, at("one-two").await);
    one.put("01A/index", "1").await.unwrap();
    two.put("01A/index", "2").await.unwrap();
    two.put("01B/index", "2").await.unwrap();
    assert_eq!(one.list_dirs("").await.unwrap(), ["01A"]);
    assert_eq!(one.list("").await.unwrap().len(), 1);
    assert_eq!(two.list_dirs("").await.unwrap(), ["01A", "01B"]);
    assert_eq!(one.get("01A/index").await.unwrap().unwrap(), "1");
    assert_eq!(root.list_dirs("").await.unwrap(), ["one", "one-two"]);
    one.delete("01A/index").await.unwrap();
    assert_eq!(two.get("01A/index").await.unwrap().unwrap(), "2");
}

/// Deletes three objects twice on a server that answers deletions of many like
/// this: the answers, and how often it was asked for many and for one.
async fn delete_twice(many: Vec<u8>) -> (Vec<Vec<Option<Kind>>>, u32, u32) {
    let asked = std::sync::Arc::new(std::sync::Mutex::new((0, 0)));
    let counted = std::sync::Arc::clone(&asked);
    let endpoint = answer(move |line| {
        let mut asked = counted.lock().unwrap();
        if line.starts_with("POST") {
            asked.0 += 1;
            return many.clone();
        }
        assert!(line.starts_with("DELETE"), "{line}");
        asked.1 += 1;
        b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n".to_vec()
    })
    .await;
    let bucket = open(&config(&endpoint, "blocks", "  max_retries: 1\n")).await;
    let names = ["a/1", "a/2", "a/3"].map(str::to_owned);
    let mut answers = Vec::new();
    for _ in 0..2 {
        let each = bucket.delete_all(&names).await.into_iter();
        answers.push(each.map(|answer| answer.err().map(|e| e.kind)).collect());
    }
    let asked = *asked.lock().unwrap();
    (answers, asked.0, asked.1)
}

#[tokio::test(flavor = "multi_thread")]
async fn one_object_that_a_bulk_deletion_leaves_has_its_own_error() {
    let body = "<DeleteResult><Deleted><Key>a/1</Key></Deleted><Error><Key>a/2</Key>\
                <Code>AccessDenied</Code><Message>no</Message></Error></DeleteResult>";
    let (answers, many, one) = delete_twice(fine(body)).await;
    assert_eq!(answers, vec![vec![None, Some(Kind::Denied), None]; 2]);
    assert_eq!((many, one), (2, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_cannot_delete_in_bulk_is_asked_one_by_one() {
    let unknown = "<DeleteResult><Error><Key>b</Key><Code>AccessDenied</Code>\
                   <Message>no</Message></Error></DeleteResult>";
    for refused in [
        refusal("501 Not Implemented", "NotImplemented", "no such thing"),
        refusal("405 Method Not Allowed", "MethodNotAllowed", "no"),
        refusal("400 Bad Request", "MalformedXML", "no"),
        fine("this is no XML"),
        // About an object that nobody asked for.
        fine(unknown),
    ] {
        let text = String::from_utf8_lossy(&refused).into_owned();
        let (answers, many, one) = delete_twice(refused).await;
        assert_eq!(answers, vec![vec![None; 3]; 2], "{text}");
        assert_eq!((many, one), (1, 6), "{text}");
    }
    // One object may be the reason: the next ones are tried again.
    let denied = refusal("403 Forbidden", "AccessDenied", "no");
    let (answers, many, one) = delete_twice(denied).await;
    assert_eq!(answers, vec![vec![None; 3]; 2]);
    assert_eq!((many, one), (2, 6));
}

#[tokio::test(flavor = "multi_thread")]
async fn single_put_writes_large_objects() {
    let server = S3Server::start().await;
    server.make_bucket("blocks");
    let bucket = open(&config(
        &server.endpoint(),
        "blocks",
        "  disable_multipart: true\n",
    ))
    .await;
    let file = tempfile::NamedTempFile::new().unwrap();
    let data = content(20 << 20, 1);
    std::fs::write(file.path(), &data).unwrap();
    bucket.upload_file(file.path(), "x").await.unwrap();
    let counts = bucket.counts();
    assert_eq!(
        (
            counts.put.calls,
            counts.put_part.calls,
            counts.multipart.calls
        ),
        (1, 0, 0)
    );
    assert!(bucket.get("x").await.unwrap().unwrap() == data);
}

// What can be wrong with a remote bucket.

/// The error of a probe; checks what every message must and must not say.
async fn probe_error(yaml: &str) -> (Kind, String) {
    let bucket = open(yaml).await;
    let err = bucket.probe().await.unwrap_err();
    let text = err.to_string();
    let debug = format!("{err:?} {bucket:?}");
    for secret in [SECRET_KEY, ACCESS_KEY, "X-Amz-Signature", "Signature="] {
        assert!(
            !text.contains(secret) && !debug.contains(secret),
            "{text}\n{debug}"
        );
    }
    assert!(text.starts_with("bucket blocks"), "{text}");
    (err.kind, text)
}

#[tokio::test]
async fn unreachable_endpoint() {
    // A port that was free a moment ago.
    let port = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    let (kind, text) = probe_error(&config(&port.to_string(), "blocks", "")).await;
    assert_eq!(kind, Kind::Unreachable, "{text}");
    assert!(
        text.contains(&format!("http://{port}")) && text.contains("refused"),
        "{text}"
    );
    let (kind, text) = probe_error(&config("no-such-host.invalid:9000", "blocks", "")).await;
    assert_eq!(kind, Kind::Unreachable, "{text}");
}

#[tokio::test]
async fn missing_bucket() {
    let server = S3Server::start().await;
    let yaml = config(&server.endpoint(), "blocks", "");
    let (kind, text) = probe_error(&yaml).await;
    assert_eq!(kind, Kind::MissingBucket, "{text}");
    assert!(text.contains("create it"), "{text}");
    let bucket = open(&yaml).await;
    // Never "not found" of an object: a marker would seem to be absent.
    assert_eq!(bucket.list("").await.unwrap_err().kind, Kind::MissingBucket);
    assert_eq!(
        bucket.list_dirs("").await.unwrap_err().kind,
        Kind::MissingBucket
    );
}

#[tokio::test]
async fn missing_bucket_is_not_a_missing_object() {
    let body = refusal(
        "404 Not Found",
        "NoSuchBucket",
        "The specified bucket does not exist",
    );
    let endpoint = recite(body).await;
    let bucket = open(&config(&endpoint, "blocks", "")).await;
    assert_eq!(
        bucket.get("01A/meta.json").await.unwrap_err().kind,
        Kind::MissingBucket
    );
    assert_eq!(
        bucket.delete("01A/meta.json").await.unwrap_err().kind,
        Kind::MissingBucket
    );
}

#[tokio::test]
async fn wrong_credentials() {
    let server = S3Server::start().await;
    server.make_bucket("blocks");
    let right = config(&server.endpoint(), "blocks", "");
    let wrong_secret = right.replace(SECRET_KEY, "another-secret");
    let (kind, text) = probe_error(&wrong_secret).await;
    assert_eq!(kind, Kind::WrongCredentials, "{text}");
    assert!(!text.contains("another-secret"), "{text}");
    let wrong_access = right.replace(ACCESS_KEY, "AKIAUNKNOWN");
    let (kind, text) = probe_error(&wrong_access).await;
    assert_eq!(kind, Kind::WrongCredentials, "{text}");
    assert!(!text.contains("AKIAUNKNOWN"), "{text}");
}

#[tokio::test]
async fn refusals_have_their_own_kinds() {
    for (status, code, wanted) in [
        ("403 Forbidden", "AccessDenied", Kind::Denied),
        (
            "403 Forbidden",
            "SignatureDoesNotMatch",
            Kind::WrongCredentials,
        ),
        ("400 Bad Request", "ExpiredToken", Kind::WrongCredentials),
        ("403 Forbidden", "RequestTimeTooSkewed", Kind::ClockSkew),
        (
            "400 Bad Request",
            "AuthorizationHeaderMalformed",
            Kind::WrongRegion,
        ),
        (
            "301 Moved Permanently",
            "PermanentRedirect",
            Kind::WrongRegion,
        ),
        ("429 Too Many Requests", "SlowDown", Kind::Throttled),
        ("503 Service Unavailable", "SlowDown", Kind::Throttled),
        ("401 Unauthorized", "Whatever", Kind::WrongCredentials),
        ("500 Internal Server Error", "InternalError", Kind::Other),
    ] {
        // The message quotes the secret and a signed URL, as careless servers do.
        let message = format!("no: {SECRET_KEY} http://h/b/o?X-Amz-Signature=abc");
        let endpoint = recite(refusal(status, code, &message)).await;
        let (kind, text) = probe_error(&config(&endpoint, "blocks", "  max_retries: 1\n")).await;
        assert_eq!(kind, wanted, "{status} {code}: {text}");
        assert!(status.starts_with("301") || text.contains(code), "{text}");
    }
}

#[tokio::test]
async fn denied_object_is_no_missing_object() {
    let endpoint = recite(refusal("403 Forbidden", "AccessDenied", "Access Denied")).await;
    let bucket = open(&config(&endpoint, "blocks", "")).await;
    let err = bucket.get("01A/meta.json").await.unwrap_err();
    assert_eq!(err.kind, Kind::Denied);
    assert!(err.to_string().contains("01A/meta.json"), "{err}");
    assert_eq!(
        bucket.head("01A/meta.json").await.unwrap_err().kind,
        Kind::Denied
    );
    assert_eq!(
        bucket.put("01A/x", "x").await.unwrap_err().kind,
        Kind::Denied
    );
    assert_eq!(
        bucket.put_if_absent("01A/x", "x").await.unwrap_err().kind,
        Kind::Denied
    );
}

#[tokio::test]
async fn no_tls() {
    let server = S3Server::start().await;
    let yaml =
        config(&server.endpoint(), "blocks", "").replace("insecure: true", "insecure: false");
    let (kind, text) = probe_error(&yaml).await;
    assert_eq!(kind, Kind::Tls, "{text}");
    assert!(text.contains("`insecure`"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn truncated_body() {
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\nLast-Modified: Mon, 01 Jan 2024 00:00:00 GMT\r\n\r\n";
    let endpoint = recite([head.as_bytes(), &[7; 60]].concat()).await;
    let bucket = open(&config(&endpoint, "blocks", "  max_retries: 1\n")).await;
    let err = bucket.get("01A/index").await.unwrap_err();
    assert_eq!(err.kind, Kind::Truncated, "{err}");

    let head = "HTTP/1.1 206 Partial Content\r\nContent-Length: 100\r\nContent-Range: bytes 0-99/100\r\n\
                Last-Modified: Mon, 01 Jan 2024 00:00:00 GMT\r\n\r\n";
    let endpoint = recite([head.as_bytes(), &[7; 60]].concat()).await;
    let bucket = open(&config(&endpoint, "blocks", "  max_retries: 1\n")).await;
    let err = read_error(bucket, "01A/index", 100, 0).await;
    assert!(
        err.contains("01A/index at byte 0") && err.contains("ended early"),
        "{err}"
    );
}

/// The cause of a failed read, as text.
async fn read_error(bucket: Bucket, name: &'static str, size: u64, offset: u64) -> String {
    let read = move || {
        let mut reader = bucket.open(name, size, ReadAhead::default()).expect("open");
        let err = reader.window(offset, 1).expect_err("the read must fail");
        assert!(err.to_string().contains(name), "{err}");
        std::error::Error::source(&err).expect("cause").to_string()
    };
    tokio::task::spawn_blocking(read).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn object_replaced_while_it_is_read() {
    let server = S3Server::start().await;
    for bucket in [Bucket::memory().unwrap(), server.bucket("blocks").await] {
        bucket.put("01A/index", content(100_000, 1)).await.unwrap();
        let (started, wait) = (std::sync::mpsc::channel(), std::sync::mpsc::channel());
        let reading = {
            let bucket = bucket.clone();
            tokio::task::spawn_blocking(move || {
                let ahead = ReadAhead {
                    window: 1000,
                    depth: 1,
                };
                let mut reader = bucket.open("01A/index", 100_000, ahead).unwrap();
                reader.exact(0, 1000).unwrap();
                started.0.send(()).unwrap();
                wait.1.recv().unwrap();
                reader.exact(50_000, 1000).unwrap_err()
            })
        };
        tokio::task::spawn_blocking(move || started.1.recv().unwrap())
            .await
            .unwrap();
        bucket.put("01A/index", content(100_000, 2)).await.unwrap();
        wait.0.send(()).unwrap();
        let err = reading.await.unwrap();
        let cause = std::error::Error::source(&err).unwrap().to_string();
        assert!(
            cause.contains("01A/index at byte 50000") && cause.contains("changed"),
            "{cause}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn object_deleted_while_it_is_read() {
    let bucket = Bucket::memory().unwrap();
    let cause = read_error(bucket, "01A/index", 10, 0).await;
    assert!(cause.contains("does not exist"), "{cause}");
}

// What is special about a folder.

#[tokio::test]
async fn folder_that_is_not_there() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("nowhere");
    let err = Bucket::folder(&missing).unwrap_err();
    assert_eq!(err.kind, Kind::MissingBucket);
    assert!(err.to_string().contains("nowhere"), "{err}");
    // And one that goes away: an empty list would look like an empty bucket.
    std::fs::create_dir(&missing).unwrap();
    let bucket = Bucket::folder(&missing).unwrap();
    bucket.probe().await.unwrap();
    std::fs::remove_dir(&missing).unwrap();
    assert_eq!(bucket.probe().await.unwrap_err().kind, Kind::MissingBucket);
    assert_eq!(bucket.list("").await.unwrap_err().kind, Kind::MissingBucket);
    assert_eq!(bucket.get("x").await.unwrap_err().kind, Kind::MissingBucket);
    assert_eq!(
        bucket.put("x", "x").await.unwrap_err().kind,
        Kind::MissingBucket
    );
}

#[tokio::test]
async fn folder_ignores_links_that_leave_it() {
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("meta.json"), "secret").unwrap();
    let dir = tempfile::tempdir().unwrap();
    let bucket = Bucket::folder(dir.path()).unwrap();
    bucket.put("01A/index", "x").await.unwrap();
    symlink(outside.path(), dir.path().join("01OUT")).unwrap();
    symlink(
        outside.path().join("meta.json"),
        dir.path().join("01A/meta.json"),
    )
    .unwrap();
    symlink(outside.path().join("none"), dir.path().join("01A/dangling")).unwrap();
    symlink(dir.path(), dir.path().join("01A/loop")).unwrap();
    symlink(dir.path().join("01A/index"), dir.path().join("01A/inside")).unwrap();
    let names: Vec<String> = bucket
        .list("")
        .await
        .unwrap()
        .into_iter()
        .map(|object| object.name)
        .collect();
    assert_eq!(names, ["01A/index", "01A/inside"]);
    assert_eq!(bucket.list_dirs("").await.unwrap(), ["01A"]);
    for name in [
        "01OUT/meta.json",
        "01OUT/new",
        "01A/meta.json",
        "01A/dangling",
    ] {
        assert_eq!(
            bucket.get(name).await.unwrap_err().kind,
            Kind::Denied,
            "{name}"
        );
        assert_eq!(
            bucket.put(name, "x").await.unwrap_err().kind,
            Kind::Denied,
            "{name}"
        );
        assert_eq!(
            bucket.delete(name).await.unwrap_err().kind,
            Kind::Denied,
            "{name}"
        );
        assert_eq!(
            bucket.open_mapped(name).unwrap_err().kind,
            Kind::Denied,
            "{name}"
        );
    }
    assert_eq!(
        std::fs::read(outside.path().join("meta.json")).unwrap(),
        b"secret"
    );
}

#[tokio::test]
async fn folder_files_are_readable_and_staged_ones_hidden() {
    let dir = tempfile::tempdir().unwrap();
    let bucket = Bucket::folder(dir.path()).unwrap();
    bucket.put("01A/meta.json", "{}").await.unwrap();
    let mode = std::fs::metadata(dir.path().join("01A/meta.json"))
        .unwrap()
        .permissions()
        .mode();
    let probe = dir.path().join("probe");
    std::fs::write(&probe, "").unwrap();
    // What the umask leaves of 0666, whatever it is here.
    assert_eq!(
        mode,
        std::fs::metadata(&probe).unwrap().permissions().mode()
    );
    std::fs::remove_file(&probe).unwrap();

    std::fs::write(dir.path().join("01A/index#1"), "half").unwrap();
    std::fs::create_dir_all(dir.path().join("01B/chunks")).unwrap();
    std::fs::write(dir.path().join("01B/chunks/000001#12"), "half").unwrap();
    assert_eq!(bucket.list("").await.unwrap().len(), 1);
    assert_eq!(bucket.list_dirs("").await.unwrap(), ["01A"]);
    assert_eq!(
        bucket.get("01A/index#1").await.unwrap_err().kind,
        Kind::BadName
    );
}

#[tokio::test]
async fn folder_maps_files() {
    let dir = tempfile::tempdir().unwrap();
    let bucket = Bucket::folder(dir.path()).unwrap();
    let data = content(100_000, 1);
    bucket.put("01A/index", data.clone()).await.unwrap();
    bucket.put("01A/empty", "").await.unwrap();
    let mut mapped = bucket.open_mapped("01A/index").unwrap();
    // A deleted file stays readable as long as it is mapped.
    bucket.delete("01A/index").await.unwrap();
    assert!(mapped.exact(0, data.len()).unwrap() == data);
    assert!(bucket.open_mapped("01A/empty").unwrap().is_empty());
    assert_eq!(
        bucket.open_mapped("01A/none").unwrap_err().kind,
        Kind::NotFound
    );
    let memory = Bucket::memory().unwrap();
    assert_eq!(memory.open_mapped("x").unwrap_err().kind, Kind::Unsupported);
}

/// A listing as S3 words it, of keys with their sizes.
fn listing(prefixes: &[&str], keys: &[(&str, u64)]) -> Vec<u8> {
    let mut body = String::from("<?xml version=\"1.0\"?><ListBucketResult>");
    for (key, size) in keys {
        body.push_str(&format!(
            "<Contents><Key>{key}</Key><LastModified>2024-01-01T00:00:00.000Z</LastModified>\
             <Size>{size}</Size></Contents>"
        ));
    }
    for prefix in prefixes {
        body.push_str(&format!(
            "<CommonPrefixes><Prefix>{prefix}</Prefix></CommonPrefixes>"
        ));
    }
    body.push_str("</ListBucketResult>");
    let length = body.len();
    format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}")
        .into_bytes()
}

#[tokio::test]
async fn placeholders_of_directories_are_no_objects() {
    let keys = [
        ("01A/", 0),
        ("01A/chunks/", 0),
        ("01A/chunks-old", 0),
        ("01A/chunks/000001", 5),
        ("01A/empty", 0),
        ("01A/index", 7),
        ("01B", 3),
        ("01B/meta.json", 4),
    ];
    let endpoint = recite(listing(&[], &keys)).await;
    let bucket = open(&config(&endpoint, "blocks", "")).await;
    let objects = bucket.list("01A").await.unwrap();
    let names: Vec<&str> = objects.iter().map(|object| object.name.as_str()).collect();
    let wanted = [
        "01A/chunks-old",
        "01A/chunks/000001",
        "01A/empty",
        "01A/index",
        "01B",
        "01B/meta.json",
    ];
    assert_eq!(names, wanted);
}

#[tokio::test]
async fn names_that_cannot_be_addressed_harm_only_their_listing() {
    let endpoint = recite(listing(&["/", "01A/"], &[("x//y", 1)])).await;
    let bucket = open(&config(&endpoint, "blocks", "")).await;
    let err = bucket.list("").await.unwrap_err();
    assert_eq!(err.kind, Kind::BadName);
    assert!(
        err.to_string().contains("x//y") && err.to_string().contains("rename"),
        "{err}"
    );
    bucket.probe().await.expect("the bucket itself is fine");
    let endpoint = recite(listing(&["/", "01A/"], &[])).await;
    let bucket = open(&config(&endpoint, "blocks", "")).await;
    assert_eq!(bucket.list_dirs("").await.unwrap(), ["01A"]);
}

#[tokio::test]
async fn configuration_file_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("bucket.yaml");
    let text = format!(
        "type: FILESYSTEM\nconfig:\n  directory: {}\n",
        dir.path().display()
    );
    std::fs::write(&file, text).unwrap();
    let config = BucketConfig::from_flags(None, Some(&file)).unwrap();
    let bucket = Bucket::connect(&config).await.unwrap();
    bucket.probe().await.unwrap();
}
