//! The peers as child processes, and small helpers around them.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

/// Labels that tell the replicas of the quick-start bucket apart.
pub const REPLICA_LABELS: [&str; 2] = ["prometheus_replica", "receive_replica"];

/// The path of a peer's binary; fails the test where it is missing.
pub fn peer(name: &str) -> PathBuf {
    let folder = std::env::var("LITHIFY_PEERS")
        .expect("LITHIFY_PEERS is not set: run this suite with tests/peers/run");
    let path = Path::new(&folder).join(name);
    assert!(
        path.is_file(),
        "peer {name} is missing in {folder}: run tests/peers/build"
    );
    path
}

/// A bucket configuration for a folder, as file in `at`.
pub fn folder_config(bucket: &Path, at: &Path) -> PathBuf {
    let yaml = format!(
        "type: FILESYSTEM\nconfig:\n  directory: {}\n",
        bucket.display()
    );
    let file = at.join(format!(
        "{}.yml",
        bucket.file_name().unwrap().to_str().unwrap()
    ));
    fs::write(&file, yaml).unwrap();
    file
}

/// Runs to the end and fails the test with all output unless it succeeds.
pub fn must(command: &mut Command) -> Output {
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(
        output.status.success(),
        "{command:?} ended with {}\n{}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// Our own binary: the one named by `LITHIFY_BIN`, else that of this build.
pub fn lithify() -> PathBuf {
    let built = env!("CARGO_BIN_EXE_lithify");
    std::env::var_os("LITHIFY_BIN").map_or_else(|| built.into(), PathBuf::from)
}

/// `lithify compact` without downsampling on a bucket configuration.
pub fn lithify_compact(config: &Path, work: &Path, extra: &[&str]) -> Output {
    let extra = [&["--downsampling.disable"], extra].concat();
    lithify_downsample(config, work, &extra)
}

/// `lithify compact` on a bucket configuration.
pub fn lithify_downsample(config: &Path, work: &Path, extra: &[&str]) -> Output {
    let mut command = Command::new(lithify());
    command
        .arg("compact")
        .arg(format!("--objstore.config-file={}", config.display()))
        .arg(format!(
            "--data-dir={}",
            work.join("lithify-data").display()
        ))
        .args(extra);
    must(&mut command)
}

/// `thanos compact` without downsampling, one run, on a bucket configuration.
pub fn thanos_compact(config: &Path, work: &Path, extra: &[&str]) -> Output {
    let extra = [&["--downsampling.disable"], extra].concat();
    thanos_downsample(config, work, &extra)
}

/// `thanos compact`, one run, on a bucket configuration.
pub fn thanos_downsample(config: &Path, work: &Path, extra: &[&str]) -> Output {
    let port = free_port();
    let mut command = Command::new(peer("thanos"));
    command
        .arg("compact")
        .arg(format!("--objstore.config-file={}", config.display()))
        .arg(format!("--data-dir={}", work.join("thanos-data").display()))
        .arg(format!("--http-address=127.0.0.1:{port}"))
        .args(extra);
    must(&mut command)
}

/// One `--deduplication.replica-label` flag per replica label.
pub fn replica_flags() -> Vec<String> {
    REPLICA_LABELS
        .iter()
        .map(|l| format!("--deduplication.replica-label={l}"))
        .collect()
}

/// A server that is killed when the test is over, whatever its outcome.
pub struct Server {
    child: Child,
    log: PathBuf,
    pub port: u16,
}

impl Server {
    /// Starts a server whose output goes to a file in `work`, and waits until
    /// `ready_path` answers 200 on `port`.
    pub fn start(mut command: Command, work: &Path, port: u16, ready_path: &str) -> Self {
        let log = work.join(format!("server-{port}.log"));
        let file = fs::File::create(&log).unwrap();
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap();
        let server = Self { child, log, port };
        server.wait_until_ready(ready_path);
        server
    }

    fn wait_until_ready(&self, path: &str) {
        let started = Instant::now();
        while started.elapsed() < Duration::from_secs(60) {
            if get(self.port, path).is_some_and(|(status, _)| status == 200) {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!(
            "server on port {} was not ready in time:\n{}",
            self.port,
            fs::read_to_string(&self.log).unwrap_or_default()
        );
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port nobody listens on at the moment, and that no other call returns.
///
/// Asking the system for any free port would not do: it may hand the same one
/// out again before the server has bound it. These lie below the range that
/// clients get theirs from.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = (std::process::id() % 8000) as u16;
    loop {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = 18_000 + (start + step) % 14_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// GET over HTTP/1.0, which spares us chunked bodies: status and body.
pub fn get(port: u16, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream
        .set_read_timeout(Some(Duration::from_secs(120)))
        .ok()?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").ok()?;
    let mut response = Vec::new();
    stream.read_to_end(&mut response).ok()?;
    let response = String::from_utf8_lossy(&response).into_owned();
    let (head, body) = response.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, body.to_owned()))
}

/// Percent-encodes a query parameter.
pub fn encode(text: &str) -> String {
    text.bytes()
        .map(|b| match b {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => (b as char).to_string(),
            _ => format!("%{b:02X}"),
        })
        .collect()
}
