//! Settings of a real MinIO bucket that do harm, and its unfinished uploads.

use std::process::Command;

use lithify::objstore::{Kind, PendingUpload};
use object_store::aws::{AwsAuthorizer, AwsCredential};
use object_store::client::{HttpClient, HttpConnector, HttpRequest, ReqwestConnector};
use object_store::{ClientOptions, HeaderValue};
use serde_json::Value;

use crate::minio::{ACCESS_KEY, Minio, SECRET_KEY, open};
use crate::peer::{lithify, must};

/// Bodies with their MD5 as the header wants it.
const VERSIONED: (&str, &str) = (
    "<VersioningConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Status>Enabled</Status></VersioningConfiguration>",
    "QQFYoy/mRYV9PGZUfFi0Bw==",
);
const EXPIRES: (&str, &str) = (
    "<LifecycleConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Rule><ID>tidy</ID><Status>Enabled</Status><Filter><Prefix></Prefix></Filter><Expiration><Days>90</Days></Expiration></Rule></LifecycleConfiguration>",
    "/UZelA0oK8YWfzuQrxuiqA==",
);
const CURED: (&str, &str) = (
    "<LifecycleConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Rule><ID>cure</ID><Status>Enabled</Status><Filter><Prefix></Prefix></Filter><NoncurrentVersionExpiration><NoncurrentDays>1</NoncurrentDays></NoncurrentVersionExpiration></Rule></LifecycleConfiguration>",
    "arV4I56ddk2n1pnDhvXuwg==",
);

/// Requests that neither our bucket nor the library has a call for, signed by
/// the latter.
struct Admin {
    client: HttpClient,
    endpoint: String,
    credential: AwsCredential,
}

impl Admin {
    fn new(minio: &Minio) -> Self {
        let options = ClientOptions::new().with_allow_http(true);
        Self {
            client: ReqwestConnector::default().connect(&options).unwrap(),
            endpoint: format!("http://127.0.0.1:{}", minio.server.port),
            credential: AwsCredential {
                key_id: ACCESS_KEY.to_owned(),
                secret_key: SECRET_KEY.to_owned(),
                token: None,
            },
        }
    }

    async fn send(&self, method: &str, path: &str, (body, md5): (&str, &str)) -> String {
        let mut request = HttpRequest::new(body.to_owned().into());
        *request.method_mut() = method.parse().unwrap();
        *request.uri_mut() = format!("{}/{path}", self.endpoint).parse().unwrap();
        if !md5.is_empty() {
            let value = HeaderValue::from_str(md5).unwrap();
            request.headers_mut().insert("content-md5", value);
        }
        let signer = AwsAuthorizer::new(&self.credential, "s3", "us-east-1");
        signer.try_authorize(&mut request, None).unwrap();
        let answer = self.client.execute(request).await.unwrap();
        let (head, body) = answer.into_parts();
        let text = String::from_utf8(body.bytes().await.unwrap().to_vec()).unwrap();
        assert!(
            head.status.is_success(),
            "{method} {path}: {} {text}",
            head.status
        );
        text
    }
}

/// The dry run's hazards, and its page.
fn dry_run(config: &std::path::Path) -> (Vec<(String, bool)>, String) {
    let run = |form: &str| {
        let mut command = Command::new(lithify());
        command
            .args(["compact", "--log.level=error", form])
            .arg(format!("--objstore.config-file={}", config.display()));
        String::from_utf8(must(&mut command).stdout).unwrap()
    };
    let json: Value = serde_json::from_str(&run("--dry-run=json")).unwrap();
    let bucket = &json["buckets"][0];
    let not: Vec<&str> = bucket["not_looked_at"]
        .as_array()
        .unwrap()
        .iter()
        .map(|not| not["what"].as_str().unwrap())
        .collect();
    assert_eq!(not, ["rights to write and delete"], "{bucket}");
    let hazards = bucket["hazards"].as_array().unwrap().iter();
    let hazards = hazards.map(|hazard| {
        assert!(!hazard["cure"].as_str().unwrap().is_empty());
        let kind = hazard["kind"].as_str().unwrap().to_owned();
        (kind, hazard["problem"].as_bool().unwrap())
    });
    (hazards.collect(), run("--dry-run"))
}

#[test]
fn hazards_of_a_real_bucket_stand_in_the_dry_run() {
    let work = tempfile::tempdir().unwrap();
    let minio = Minio::start(work.path(), &["risky"]);
    let config = minio.config("risky", "team/a");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let admin = Admin::new(&minio);
    assert_eq!(dry_run(&config).0, [], "a plain bucket has none");

    runtime.block_on(admin.send("PUT", "risky?versioning=", VERSIONED));
    runtime.block_on(admin.send("PUT", "risky?lifecycle=", EXPIRES));
    let (found, page) = dry_run(&config);
    let wanted = [
        ("versioning".to_owned(), false),
        ("expiration".to_owned(), true),
    ];
    assert_eq!(found, wanted, "{page}");
    for word in [
        "settings of the bucket",
        "\"tidy\"",
        "90 days",
        "cure:",
        "versioning is on",
    ] {
        assert!(page.contains(word), "{word} is not in\n{page}");
    }

    runtime.block_on(admin.send("PUT", "risky?lifecycle=", CURED));
    let (found, page) = dry_run(&config);
    assert_eq!(found, [], "{page}");
}

#[test]
fn unfinished_uploads_of_minio_are_found_by_name() {
    const NAME: &str = "01JBXK2YQ0V4T0000000000000/index";
    let work = tempfile::tempdir().unwrap();
    let minio = Minio::start(work.path(), &["uploads"]);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let admin = Admin::new(&minio);
        let bucket = open(&minio.yaml("uploads", "team/a", SECRET_KEY)).await;
        assert_eq!(bucket.uploads(NAME).await.unwrap(), []);
        let path = format!("uploads/team/a/{NAME}");
        let begun = admin
            .send("POST", &format!("{path}?uploads="), ("", ""))
            .await;
        let (_, rest) = begun.split_once("<UploadId>").unwrap();
        let (id, _) = rest.split_once("</UploadId>").unwrap();
        let part = format!("{path}?partNumber=1&uploadId={id}");
        admin.send("PUT", &part, ("twelve bytes", "")).await;

        let found = bucket.uploads(NAME).await.unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(
            (found[0].name.as_str(), found[0].upload_id.as_str()),
            (NAME, id)
        );
        assert!(found[0].begun_ms > 1_600_000_000_000 && found[0].begun_ms < i64::MAX);
        assert_eq!(bucket.upload_size(&found[0]).await.unwrap(), 12);
        // No directory, nor nothing, stands for its objects here.
        assert_eq!(bucket.uploads("").await.unwrap(), []);
        assert_eq!(
            bucket.uploads("01JBXK2YQ0V4T0000000000000/").await.unwrap(),
            []
        );

        bucket.abort_uploads(&found).await.unwrap();
        assert_eq!(bucket.uploads(NAME).await.unwrap(), []);
        assert_eq!(bucket.upload_size(&found[0]).await.unwrap(), 0);
        bucket
            .abort_uploads(&found)
            .await
            .expect("what is gone is no error");

        let wrong = open(&minio.yaml("uploads", "", "wrong-secret")).await;
        let error = wrong.uploads(NAME).await.unwrap_err();
        assert_eq!(error.kind, Kind::WrongCredentials, "{error}");
        let odd = PendingUpload {
            upload_id: "no such id".to_owned(),
            ..found[0].clone()
        };
        bucket
            .abort_uploads(&[odd])
            .await
            .expect("neither is what never was");
    });
}
