//! The same over S3, against a real MinIO.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use lithify::objstore::{Bucket, BucketConfig};

use crate::compact::{live_blocks, meta};
use crate::conformance;
use crate::files::{copy_dir, fixture};
use crate::peer::{
    Server, folder_config, free_port, lithify, lithify_compact, peer, replica_flags, thanos_compact,
};
use crate::query::{Stack, assert_same};

pub const ACCESS_KEY: &str = "lithify-test";
pub const SECRET_KEY: &str = "lithify-test-secret";

pub struct Minio {
    pub server: Server,
    work: PathBuf,
}

impl Minio {
    pub fn start(work: &Path, buckets: &[&str]) -> Self {
        let data = work.join("minio");
        for bucket in buckets {
            // On a single drive a bucket is a folder.
            fs::create_dir_all(data.join(bucket)).unwrap();
        }
        let port = free_port();
        let mut command = Command::new(peer("minio"));
        command
            .arg("server")
            .arg(&data)
            .arg(format!("--address=127.0.0.1:{port}"))
            .arg(format!("--console-address=127.0.0.1:{}", free_port()))
            .env("MINIO_ROOT_USER", ACCESS_KEY)
            .env("MINIO_ROOT_PASSWORD", SECRET_KEY)
            .env("MINIO_BROWSER", "off");
        Self {
            server: Server::start(command, work, port, "/minio/health/ready"),
            work: work.to_owned(),
        }
    }

    pub fn port(&self) -> u16 {
        self.server.port
    }

    pub fn yaml(&self, bucket: &str, prefix: &str, secret: &str) -> String {
        format!(
            "type: S3\nprefix: {prefix:?}\nconfig:\n  bucket: {bucket}\n  \
             endpoint: 127.0.0.1:{}\n  insecure: true\n  access_key: {ACCESS_KEY}\n  \
             secret_key: {secret}\n",
            self.server.port
        )
    }

    pub fn config(&self, bucket: &str, prefix: &str) -> PathBuf {
        let file = self.work.join(format!("s3-{bucket}.yml"));
        fs::write(&file, self.yaml(bucket, prefix, SECRET_KEY)).unwrap();
        file
    }
}

pub async fn open(yaml: &str) -> Bucket {
    Bucket::connect(&BucketConfig::parse(yaml).unwrap())
        .await
        .unwrap()
}

/// Copies a folder bucket into an S3 bucket, or back, with our own client.
pub fn transfer(from: &Path, to: &Path) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let from = open(&fs::read_to_string(from).unwrap()).await;
        let to = open(&fs::read_to_string(to).unwrap()).await;
        for object in from.list("").await.unwrap() {
            let body = from.get(&object.name).await.unwrap().unwrap();
            to.put(&object.name, body).await.unwrap();
        }
    });
}

#[test]
fn conformance_holds_on_minio() {
    let work = tempfile::tempdir().unwrap();
    let minio = Minio::start(work.path(), &["conformance"]);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        for prefix in ["", "some/where"] {
            let bucket = open(&minio.yaml("conformance", prefix, SECRET_KEY)).await;
            conformance::all(&bucket).await;
        }
    });
}

#[test]
fn the_same_blocks_come_out_of_minio_as_out_of_a_folder() {
    let work = tempfile::tempdir().unwrap();
    let minio = Minio::start(work.path(), &["ours", "theirs"]);
    let flags = replica_flags();
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();

    let folder = work.path().join("folder");
    copy_dir(&fixture("quickstart"), &folder);
    let folder_config_file = folder_config(&folder, work.path());
    let (ours, theirs) = (minio.config("ours", "in/here"), minio.config("theirs", ""));
    transfer(&folder_config_file, &ours);
    transfer(&folder_config_file, &theirs);
    lithify_compact(&folder_config_file, work.path(), &flags);
    lithify_compact(&ours, work.path(), &flags);
    thanos_compact(&theirs, work.path(), &flags);

    let back = work.path().join("back");
    fs::create_dir_all(&back).unwrap();
    transfer(&ours, &folder_config(&back, work.path()));
    let files = |bucket: &Path| {
        let mut all: Vec<_> = live_blocks(bucket)
            .iter()
            .map(|b| {
                let m = meta(b);
                (
                    m["compaction"]["sources"].to_string(),
                    m["stats"].to_string(),
                    fs::read(b.join("index")).unwrap(),
                    fs::read(b.join("chunks/000001")).unwrap(),
                )
            })
            .collect();
        all.sort();
        all
    };
    assert!(
        files(&back) == files(&folder),
        "MinIO and folder give different blocks"
    );

    let (a, b) = (
        Stack::start(&ours, work.path()),
        Stack::start(&theirs, work.path()),
    );
    let all = "cluster=~\".+\"";
    assert_same(&a.answers(all), &b.answers(all));
}

#[test]
fn what_is_wrong_with_a_bucket_is_said() {
    let work = tempfile::tempdir().unwrap();
    let minio = Minio::start(work.path(), &["there"]);
    let cases = [
        (minio.yaml("missing", "", SECRET_KEY), "missing"),
        (minio.yaml("there", "", "a-wrong-secret"), "not accepted"),
    ];
    for (yaml, word) in cases {
        let config = work.path().join("bad.yml");
        fs::write(&config, yaml).unwrap();
        let output = Command::new(lithify())
            .arg("compact")
            .arg(format!("--objstore.config-file={}", config.display()))
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.contains(word), "expected {word:?} in {text}");
        assert!(text.contains("cure:"), "{text}");
        assert!(!text.contains("a-wrong-secret"), "{text}");
    }
}
