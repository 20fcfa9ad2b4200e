//! What a bucket is asked besides objects: unfinished uploads, settings that do
//! harm, missing rights.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "test code")]

mod support;

use std::fs;
use std::sync::{Arc, Mutex};

use lithify::objstore::{
    Bucket, HazardKind, Hazards, Kind, MOST_HAZARD_REQUESTS, PendingUpload, Probing,
};
use support::s3_server::{S3Server, answer, config, fine, open, refusal};

const NO_CONTENT: &[u8] = b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n";

fn listed(uploads: &[(&str, &str)], next: Option<(&str, &str)>) -> Vec<u8> {
    let uploads: String = uploads
        .iter()
        .map(|(key, id)| {
            format!(
                "<Upload><Key>{key}</Key><UploadId>{id}</UploadId>\
                 <Initiated>2026-01-02T03:04:05.678Z</Initiated></Upload>"
            )
        })
        .collect();
    let next = next.map_or(String::new(), |(key, id)| {
        format!("<NextKeyMarker>{key}</NextKeyMarker><NextUploadIdMarker>{id}</NextUploadIdMarker><IsTruncated>true</IsTruncated>")
    });
    fine(&format!(
        "<ListMultipartUploadsResult>{uploads}{next}</ListMultipartUploadsResult>"
    ))
}

/// A server that recites, and the first lines of what it was asked.
async fn recorded(
    with: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static,
) -> (String, Arc<Mutex<Vec<String>>>) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&asked);
    let endpoint = answer(move |line| {
        seen.lock().unwrap().push(line.to_owned());
        with(line)
    })
    .await;
    (endpoint, asked)
}

#[tokio::test(flavor = "multi_thread")]
async fn uploads_are_found_page_by_page_measured_and_aborted() {
    let (endpoint, asked) = recorded(|line| {
        if line.starts_with("DELETE") {
            return match line.contains("uploadId=gone") {
                true => refusal("404 Not Found", "NoSuchUpload", "no such upload"),
                false => NO_CONTENT.to_vec(),
            };
        }
        if line.contains("uploadId=") {
            return match line.contains("part-number-marker=2") {
                true => fine("<ListPartsResult><Part><PartNumber>3</PartNumber><Size>7</Size></Part></ListPartsResult>"),
                false => fine(
                    "<ListPartsResult><IsTruncated>true</IsTruncated>\
                     <NextPartNumberMarker>2</NextPartNumberMarker>\
                     <Part><PartNumber>1</PartNumber><Size>5242880</Size></Part>\
                     <Part><PartNumber>2</PartNumber><Size>5242880</Size></Part></ListPartsResult>",
                ),
            };
        }
        match line.contains("key-marker=") {
            true => listed(&[("team/01B/index", "two"), ("other/01C/index", "x")], None),
            false => listed(&[("team/01A/index", "one")], Some(("team/01A/index", "one"))),
        }
    })
    .await;
    let bucket = open(&config(&endpoint, "blocks", "prefix: team\n")).await;
    let found = bucket.uploads("01").await.unwrap();
    let one = PendingUpload {
        name: "01A/index".to_owned(),
        upload_id: "one".to_owned(),
        begun_ms: 1_767_323_045_678,
    };
    let two = PendingUpload {
        name: "01B/index".to_owned(),
        upload_id: "two".to_owned(),
        ..one.clone()
    };
    assert_eq!(found, [one.clone(), two.clone()]);
    assert_eq!(bucket.upload_size(&one).await.unwrap(), 2 * 5_242_880 + 7);
    let gone = PendingUpload {
        upload_id: "gone".to_owned(),
        ..one.clone()
    };
    bucket.abort_uploads(&[one, gone, two]).await.unwrap();

    let asked = asked.lock().unwrap().clone();
    assert!(asked[0].contains("prefix=team%2F01"), "{asked:?}");
    assert!(asked[0].starts_with("GET /blocks"), "path style: {asked:?}");
    assert!(asked[1].contains("upload-id-marker=one"), "{asked:?}");
    let aborts = asked.iter().filter(|line| line.starts_with("DELETE"));
    assert_eq!(aborts.count(), 3, "{asked:?}");
    let counts = bucket.counts();
    assert_eq!(counts.list.calls, 4, "two pages of uploads, two of parts");
    assert_eq!(counts.multipart.calls, 3);
    assert_eq!((counts.reads(), counts.writes()), (4, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_upload_is_tried_and_the_first_failure_is_told() {
    let (endpoint, asked) = recorded(|line| match line.contains("uploadId=kept") {
        true => refusal("403 Forbidden", "AccessDenied", "not yours"),
        false => NO_CONTENT.to_vec(),
    })
    .await;
    let bucket = open(&config(&endpoint, "blocks", "")).await;
    let uploads = ["kept", "free"].map(|id| PendingUpload {
        name: "01A/index".to_owned(),
        upload_id: id.to_owned(),
        begun_ms: 0,
    });
    let error = bucket.abort_uploads(&uploads).await.unwrap_err();
    assert_eq!(error.kind, Kind::Denied);
    assert!(
        error
            .to_string()
            .contains("AccessDenied, not yours, HTTP 403"),
        "{error}"
    );
    assert_eq!(asked.lock().unwrap().len(), 2);
}

/// What is wrong is told as for objects, and no key is in the text.
#[tokio::test(flavor = "multi_thread")]
async fn failures_have_the_kinds_of_the_data_path() {
    for (answer, kind) in [
        (
            refusal("501 Not Implemented", "NotImplemented", "no"),
            Kind::Unsupported,
        ),
        (
            refusal("404 Not Found", "NoSuchBucket", "no"),
            Kind::MissingBucket,
        ),
        (
            refusal("403 Forbidden", "SignatureDoesNotMatch", "no"),
            Kind::WrongCredentials,
        ),
        (
            refusal("503 Service Unavailable", "SlowDown", "wait"),
            Kind::Throttled,
        ),
        (fine("this is no XML"), Kind::Other),
        (
            b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_vec(),
            Kind::Denied,
        ),
    ] {
        let (endpoint, asked) = recorded(move |_| answer.clone()).await;
        let bucket = open(&config(&endpoint, "blocks", "  max_retries: 1\n")).await;
        let error = bucket.uploads("").await.unwrap_err();
        assert_eq!(error.kind, kind, "{error}");
        assert!(
            !error.to_string().contains(support::s3_server::SECRET_KEY),
            "{error}"
        );
        assert_eq!(
            asked.lock().unwrap().len(),
            1,
            "no repeats were asked for: {kind:?}"
        );
    }
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let bucket = open(&config(&free.to_string(), "blocks", "  max_retries: 1\n")).await;
    let error = bucket.uploads("").await.unwrap_err();
    assert_eq!(error.kind, Kind::Unreachable, "{error}");
}

/// The embedded server knows parts and aborts, not the listing of uploads.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_the_listing_says_so() {
    let server = S3Server::start().await;
    let bucket = server.bucket("blocks").await;
    let error = bucket.uploads("01A/index").await.unwrap_err();
    assert_eq!(error.kind, Kind::Unsupported, "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn staged_files_are_the_uploads_of_a_folder() {
    let dir = tempfile::tempdir().unwrap();
    let yaml = format!(
        "type: FILESYSTEM\nconfig: {{directory: {}}}\nprefix: team\n",
        dir.path().display()
    );
    let bucket = open(&yaml).await;
    bucket.put("01B/meta.json", "{}").await.unwrap();
    let root = dir.path().join("team");
    fs::create_dir_all(root.join("01A/chunks")).unwrap();
    fs::write(root.join("01A/chunks/000001#7"), "abc").unwrap();
    fs::write(root.join("01B/index#1"), "abcd").unwrap();
    // No staged file of the library, and one outside of the prefix.
    fs::write(root.join("01B/a#b"), "").unwrap();
    fs::write(dir.path().join("index#1"), "").unwrap();
    // What a link leads to is not looked at.
    std::os::unix::fs::symlink(&root, root.join("loop")).unwrap();

    let names = |found: &[PendingUpload]| -> Vec<(String, String)> {
        let pairs = found
            .iter()
            .map(|up| (up.name.clone(), up.upload_id.clone()));
        pairs.collect()
    };
    let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    let found = bucket.uploads("").await.unwrap();
    assert_eq!(
        names(&found),
        [pair("01A/chunks/000001", "7"), pair("01B/index", "1")]
    );
    assert!(
        found
            .iter()
            .all(|up| up.begun_ms > 1_600_000_000_000 && up.begun_ms < i64::MAX)
    );
    assert_eq!(
        names(&bucket.uploads("01B/index").await.unwrap()),
        [pair("01B/index", "1")]
    );
    assert!(bucket.uploads("01B/ind").await.unwrap().len() == 1);
    assert!(bucket.uploads("01C/").await.unwrap().is_empty());
    assert_eq!(bucket.upload_size(&found[1]).await.unwrap(), 4);

    bucket.abort_uploads(&found).await.unwrap();
    assert!(bucket.uploads("").await.unwrap().is_empty());
    assert!(!root.join("01A").exists(), "empty directories go, too");
    assert!(root.join("01B/meta.json").exists() && root.join("01B/a#b").exists());
    assert_eq!(bucket.upload_size(&found[1]).await.unwrap(), 0);
    bucket
        .abort_uploads(&found)
        .await
        .expect("what is gone is no error");

    for id in ["", "1/../../x", "x"] {
        let odd = PendingUpload {
            name: "01B/a".to_owned(),
            upload_id: id.to_owned(),
            begun_ms: 0,
        };
        let error = bucket.abort_uploads(&[odd]).await.unwrap_err();
        assert_eq!(error.kind, Kind::BadName, "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_has_no_unfinished_uploads() {
    let bucket = Bucket::memory().unwrap();
    assert!(bucket.uploads("").await.unwrap().is_empty());
}

const NOW_MS: i64 = 1_767_323_045_678 + 49 * 3600 * 1000;
const BLOCK: &str = "01JBXK2YQ0V4T0000000000000";

/// Answers about a bucket in which everything is wrong.
fn hazardous(line: &str) -> Vec<u8> {
    let empty = "HTTP/1.1 206 Partial Content\r\nContent-Length: 1\r\nContent-Range: bytes 0-0/2\r\n\
                 ETag: \"x\"\r\nLast-Modified: Fri, 02 Jan 2026 03:04:05 GMT\r\nConnection: close\r\n\r\n{";
    if line.contains("versioning") {
        fine("<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>")
    } else if line.contains("lifecycle") {
        fine(
            "<LifecycleConfiguration>\
             <Rule><ID>old</ID><Status>Enabled</Status><Filter><Prefix>te</Prefix></Filter>\
             <Expiration><Days>90</Days></Expiration></Rule>\
             <Rule><ID>cold</ID><Status>Enabled</Status><Prefix></Prefix>\
             <Transition><Days>0</Days><StorageClass>DEEP_ARCHIVE</StorageClass></Transition></Rule>\
             <Rule><ID>tagged</ID><Status>Enabled</Status><Filter><And><Prefix></Prefix>\
             <Tag><Key>a</Key><Value>b</Value></Tag></And></Filter>\
             <Expiration><Days>1</Days></Expiration></Rule>\
             <Rule><ID>off</ID><Status>Disabled</Status><Filter><Prefix></Prefix></Filter>\
             <Expiration><Date>2026-01-02T00:00:00Z</Date></Expiration></Rule>\
             </LifecycleConfiguration>",
        )
    } else if line.contains("object-lock") {
        fine(
            "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule>\
             <DefaultRetention><Mode>COMPLIANCE</Mode><Years>1</Years></DefaultRetention></Rule>\
             </ObjectLockConfiguration>",
        )
    } else if line.contains("uploadId=") {
        fine(
            "<ListPartsResult><Part><PartNumber>1</PartNumber><Size>5242880</Size></Part></ListPartsResult>",
        )
    } else if line.contains("uploads") {
        let ours = format!("team/{BLOCK}/index");
        listed(&[(&ours, "one"), ("team/other/index", "two")], None)
    } else if line.contains("list-type=2") {
        fine(&format!(
            "<ListBucketResult><Contents><Key>team/{BLOCK}/meta.json</Key><Size>2</Size>\
             <LastModified>2026-01-02T03:04:05.678Z</LastModified></Contents></ListBucketResult>"
        ))
    } else if line.starts_with("GET") {
        empty.as_bytes().to_vec()
    } else {
        refusal("404 Not Found", "NoSuchUpload", "no such upload")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hazards_are_read_with_few_requests_and_none_that_writes() {
    let (endpoint, asked) = recorded(hazardous).await;
    let bucket = open(&config(&endpoint, "blocks", "prefix: team\n")).await;
    let hazards = bucket.hazards(NOW_MS, Probing::ReadOnly).await;
    let kinds: Vec<HazardKind> = hazards.found.iter().map(|hazard| hazard.kind).collect();
    assert_eq!(
        kinds,
        [
            HazardKind::Versioning,
            HazardKind::Expiration,
            HazardKind::Archive,
            HazardKind::ObjectLock,
            HazardKind::StaleUploads
        ],
        "{hazards:?}"
    );
    let last = &hazards.found[4];
    assert_eq!(
        (last.count, last.bytes),
        (Some(1), Some(5_242_880)),
        "{last:?}"
    );
    assert!(hazards.found[3].what.contains("365 days (COMPLIANCE)"));
    let not: Vec<&str> = hazards.not_looked_at.iter().map(|not| not.what).collect();
    assert_eq!(not, ["rights to write and delete"]);

    let asked = asked.lock().unwrap().clone();
    assert!(
        asked.iter().all(|line| line.starts_with("GET")),
        "{asked:?}"
    );
    assert_eq!(asked.len(), 7, "{asked:?}");
    assert!(asked.len() <= MOST_HAZARD_REQUESTS);
    let counts = bucket.counts();
    assert_eq!((counts.reads(), counts.writes()), (7, 0), "{counts:?}");

    // Before the uploads are two days old they may be at work.
    let young = bucket
        .hazards(NOW_MS - 2 * 3600 * 1000, Probing::ReadOnly)
        .await;
    assert!(
        young
            .found
            .iter()
            .all(|h| h.kind != HazardKind::StaleUploads)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_rights_are_named() {
    let (endpoint, asked) =
        recorded(
            |line| match line.starts_with("GET") && line.contains("lifecycle") {
                true => fine("<LifecycleConfiguration></LifecycleConfiguration>"),
                false => refusal("403 Forbidden", "AccessDenied", "Access Denied."),
            },
        )
        .await;
    let bucket = open(&config(&endpoint, "blocks", "")).await;
    let hazards = bucket.hazards(NOW_MS, Probing::All).await;
    let cures: Vec<&str> = hazards.found.iter().map(|h| h.cure.as_str()).collect();
    assert_eq!(
        cures,
        [
            "allow s3:ListBucket on this bucket and prefix",
            "allow s3:AbortMultipartUpload on this bucket and prefix"
        ]
    );
    let needs: Vec<&str> = hazards.not_looked_at.iter().map(|not| not.needs).collect();
    assert_eq!(
        needs,
        [
            "s3:GetBucketVersioning",
            "s3:GetBucketObjectLockConfiguration",
            "s3:ListBucketMultipartUploads, s3:ListMultipartUploadParts"
        ]
    );
    assert!(
        hazards.not_looked_at[0].why.contains("AccessDenied"),
        "{hazards:?}"
    );
    let aborts = asked
        .lock()
        .unwrap()
        .iter()
        .filter(|line| line.starts_with("DELETE"))
        .count();
    assert_eq!(aborts, 1);

    // Listing is allowed, reading is not.
    let endpoint = answer(
        |line| match line.contains("list-type=2") || line.contains("?") {
            true => hazardous(line),
            false => refusal("403 Forbidden", "AccessDenied", "Access Denied."),
        },
    )
    .await;
    let bucket = open(&config(&endpoint, "blocks", "prefix: team\n")).await;
    let hazards = bucket.hazards(NOW_MS, Probing::ReadOnly).await;
    let rights = hazards
        .found
        .iter()
        .filter(|h| h.kind == HazardKind::Permission);
    let cures: Vec<&str> = rights.map(|h| h.cure.as_str()).collect();
    assert_eq!(cures, ["allow s3:GetObject on this bucket and prefix"]);
}

/// Stores that know nothing of this, or that are not there, hold up nobody.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_store_does_not_know_is_no_hazard() {
    let server = S3Server::start().await;
    let bucket = server.bucket("blocks").await;
    bucket
        .put(&format!("{BLOCK}/meta.json"), "{}")
        .await
        .unwrap();
    let hazards = bucket.hazards(NOW_MS, Probing::All).await;
    assert_eq!(hazards, Hazards::default());

    for nothing in [
        "NoSuchLifecycleConfiguration",
        "ObjectLockConfigurationNotFoundError",
    ] {
        let endpoint = answer(move |_| refusal("404 Not Found", nothing, "none")).await;
        let bucket = open(&config(&endpoint, "blocks", "")).await;
        let hazards = bucket.hazards(NOW_MS, Probing::ReadOnly).await;
        assert!(hazards.found.is_empty(), "{hazards:?}");
    }
    let dir = tempfile::tempdir().unwrap();
    for bucket in [
        Bucket::memory().unwrap(),
        Bucket::folder(dir.path()).unwrap(),
    ] {
        assert_eq!(
            bucket.hazards(NOW_MS, Probing::All).await,
            Hazards::default()
        );
    }
}

/// Google's emulators stand in the service account; so does this server.
#[cfg(feature = "gcs")]
#[tokio::test(flavor = "multi_thread")]
async fn gcs_is_asked_where_and_how_it_should_be() {
    let (endpoint, asked) = recorded(|line| match line.starts_with("GET") {
        true => fine(
            "<ListBucketResult><Contents><Key>team/x</Key><Size>2</Size>\
             <LastModified>2026-01-02T03:04:05.678Z</LastModified></Contents></ListBucketResult>",
        ),
        false => refusal("403 Forbidden", "AccessDenied", "no"),
    })
    .await;
    let yaml = format!(
        "type: GCS\nprefix: team\nconfig:\n  bucket: blocks\n  max_retries: 1\n  service_account: \
         '{{\"private_key\": \"hush-hush\", \"private_key_id\": \"\", \"client_email\": \"\", \
         \"gcs_base_url\": \"http://{endpoint}\", \"disable_oauth\": true}}'\n"
    );
    let bucket = open(&yaml).await;
    assert_eq!(bucket.list("").await.unwrap()[0].name, "x");
    let error = bucket.put("x", "1").await.unwrap_err();
    assert_eq!(error.kind, Kind::Denied, "{error}");
    let asked = asked.lock().unwrap().clone();
    assert!(
        asked[0].starts_with("GET /blocks?") && asked[0].contains("prefix=team%2F"),
        "{asked:?}"
    );
    assert!(asked[1].starts_with("PUT /blocks/team%2Fx"), "{asked:?}");
    assert!(bucket.uploads("").await.unwrap().is_empty());
    assert_eq!(
        bucket.hazards(NOW_MS, Probing::All).await,
        Hazards::default()
    );
}

#[cfg(feature = "azure")]
#[tokio::test(flavor = "multi_thread")]
async fn azure_is_asked_where_and_how_it_should_be() {
    let (endpoint, asked) = recorded(|line| match line.contains("comp=list") {
        true => fine(
            "<EnumerationResults><Blobs><Blob><Name>team/x</Name><Properties>\
             <Last-Modified>Fri, 02 Jan 2026 03:04:05 GMT</Last-Modified>\
             <Content-Length>2</Content-Length><Content-Type>x</Content-Type></Properties></Blob></Blobs>\
             <NextMarker/></EnumerationResults>",
        ),
        false => refusal("404 Not Found", "ContainerNotFound", "no"),
    })
    .await;
    let yaml = format!(
        "type: AZURE\nprefix: team\nconfig:\n  storage_account: acc\n  container: blocks\n  \
         pipeline_config: {{max_tries: 1}}\n  storage_connection_string: \
         AccountName=acc;AccountKey=aHVzaC1odXNo;BlobEndpoint=http://{endpoint}/acc\n"
    );
    let bucket = open(&yaml).await;
    assert_eq!(bucket.list("").await.unwrap()[0].name, "x");
    let error = bucket.put("x", "1").await.unwrap_err();
    assert_eq!(error.kind, Kind::MissingBucket, "{error}");
    assert!(!error.to_string().contains("aHVzaC1odXNo"), "{error}");
    let asked = asked.lock().unwrap().clone();
    assert!(asked[0].starts_with("GET /acc/blocks?"), "{asked:?}");
    assert!(asked[1].starts_with("PUT /acc/blocks/team/x"), "{asked:?}");
    assert_eq!(
        bucket.hazards(NOW_MS, Probing::All).await,
        Hazards::default()
    );
}
