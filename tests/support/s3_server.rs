//! An S3 server inside the test process, and one that only recites.

use std::net::SocketAddr;
use std::path::PathBuf;

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use lithify::objstore::{Bucket, BucketConfig};
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub const ACCESS_KEY: &str = "AKIAEMBEDDEDSERVER";
pub const SECRET_KEY: &str = "embedded/secret+key";

/// A server on a loopback port, stopped when dropped.
pub struct S3Server {
    address: SocketAddr,
    root: TempDir,
    task: JoinHandle<()>,
}

impl S3Server {
    /// Starts a server without buckets.
    pub async fn start() -> Self {
        let root = tempfile::tempdir().expect("directory of the server");
        let files = s3s_fs::FileSystem::new(root.path()).expect("file system of the server");
        let mut builder = S3ServiceBuilder::new(files);
        builder.set_auth(SimpleAuth::from_single(ACCESS_KEY, SECRET_KEY));
        let service = builder.build();
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .expect("loopback port");
        let address = listener.local_addr().expect("address");
        let task = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let service = service.clone();
                // Or every small answer waits 40 ms for the client's ACK.
                let _ = socket.set_nodelay(true);
                tokio::spawn(async move {
                    let server = Builder::new(TokioExecutor::new());
                    // A client that hangs up is not the server's fault.
                    let _ = server.serve_connection(TokioIo::new(socket), service).await;
                });
            }
        });
        Self {
            address,
            root,
            task,
        }
    }

    /// `host:port`.
    pub fn endpoint(&self) -> String {
        self.address.to_string()
    }

    /// Makes an empty bucket and returns its directory on disk.
    pub fn make_bucket(&self, name: &str) -> PathBuf {
        let dir = self.root.path().join(name);
        std::fs::create_dir(&dir).expect("new bucket");
        dir
    }

    /// A new bucket, opened with the right credentials.
    pub async fn bucket(&self, name: &str) -> Bucket {
        self.make_bucket(name);
        open(&config(&self.endpoint(), name, "")).await
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A configuration with the server's credentials; `more` are further keys of
/// `config`, each on a line with two spaces before it.
pub fn config(endpoint: &str, bucket: &str, more: &str) -> String {
    format!(
        "type: S3\nconfig:\n  bucket: {bucket}\n  endpoint: {endpoint}\n  insecure: true\n  \
         access_key: {ACCESS_KEY}\n  secret_key: {SECRET_KEY}\n{more}"
    )
}

/// Opens the bucket of a configuration.
pub async fn open(yaml: &str) -> Bucket {
    let config = BucketConfig::parse(yaml).expect("configuration");
    Bucket::connect(&config).await.expect("bucket")
}

/// Answers each request by its first line and hangs up; returns `host:port`.
pub async fn answer(with: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0")
        .await
        .expect("loopback port");
    let address = listener.local_addr().expect("address");
    let with = std::sync::Arc::new(with);
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let with = std::sync::Arc::clone(&with);
            tokio::spawn(async move {
                let mut seen = Vec::new();
                let mut block = [0; 4096];
                loop {
                    match socket.read(&mut block).await {
                        Ok(len) if len > 0 => seen.extend_from_slice(&block[..len]),
                        _ => return,
                    }
                    let text = String::from_utf8_lossy(&seen);
                    let Some((head, body)) = text.split_once("\r\n\r\n") else {
                        continue;
                    };
                    let length = head
                        .to_ascii_lowercase()
                        .lines()
                        .find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
                    if body.len() < length.unwrap_or(0_usize) {
                        continue;
                    }
                    let bytes = with(head.lines().next().unwrap_or_default());
                    let _ = socket.write_all(&bytes).await;
                    return;
                }
            });
        }
    });
    address.to_string()
}

/// A good answer with a body.
pub fn fine(body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/xml\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// Answers every request with the same bytes and hangs up; returns `host:port`.
pub async fn recite(answer: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0")
        .await
        .expect("loopback port");
    let address = listener.local_addr().expect("address");
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let answer = answer.clone();
            tokio::spawn(async move {
                let mut head = Vec::new();
                let mut block = [0; 4096];
                // Requests of these tests have no body: an empty line ends them.
                while !head.windows(4).any(|end| end == b"\r\n\r\n") {
                    match socket.read(&mut block).await {
                        Ok(len) if len > 0 => head.extend_from_slice(&block[..len]),
                        _ => return,
                    }
                }
                let _ = socket.write_all(&answer).await;
            });
        }
    });
    address.to_string()
}

/// An error answer as S3 words it.
pub fn refusal(status: &str, code: &str, message: &str) -> Vec<u8> {
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>{code}</Code>\
         <Message>{message}</Message><AWSAccessKeyId>{ACCESS_KEY}</AWSAccessKeyId></Error>"
    );
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/xml\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}
