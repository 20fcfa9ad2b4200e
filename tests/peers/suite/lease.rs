//! One writer on a real MinIO: two processes at once, one that is stopped past its
//! lease, one that is killed after each change.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use lithify::objstore::Bucket;

use crate::compact::{live_blocks, meta};
use crate::files::copy_edge_stream;
use crate::minio::{Minio, SECRET_KEY, open, transfer};
use crate::peer::{folder_config, lithify};
use crate::proxy::Proxy;

/// The first blocks of one stream: enough for several compactions.
fn few_blocks(to: &Path) {
    let names = copy_edge_stream("cluster-02", to);
    for name in &names[9..] {
        fs::remove_dir_all(to.join(name)).unwrap();
    }
}

/// `lithify compact` on a bucket, not waited for.
fn start(config: &Path, work: &Path, extra: &[&str]) -> Child {
    let data = work.join(format!(
        "data-{}",
        config.file_name().unwrap().to_str().unwrap()
    ));
    Command::new(lithify())
        .arg("compact")
        .arg(format!("--objstore.config-file={}", config.display()))
        .arg(format!("--data-dir={}", data.display()))
        .args([
            "--downsampling.disable",
            "--deduplication.replica-label=prometheus_replica",
        ])
        .args(extra)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Exit code and log.
fn end(child: Child) -> (Option<i32>, String) {
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code(), text)
}

/// Files of the live blocks, whatever their names, and what is left of others.
#[derive(Debug, PartialEq, Eq)]
struct There {
    live: BTreeSet<(String, String, Vec<u8>, Vec<u8>)>,
    partial: Vec<String>,
}

fn there(config: &Path, work: &Path) -> There {
    let back = work.join("back");
    let _ = fs::remove_dir_all(&back);
    fs::create_dir_all(&back).unwrap();
    transfer(config, &folder_config(&back, work));
    let live = live_blocks(&back).into_iter().map(|b| {
        let m = meta(&b);
        (
            m["compaction"]["sources"].to_string(),
            m["stats"].to_string(),
            fs::read(b.join("index")).unwrap(),
            fs::read(b.join("chunks/000001")).unwrap(),
        )
    });
    let folders = fs::read_dir(&back).unwrap().map(|e| e.unwrap().path());
    let partial = folders.filter(|f| f.file_name().unwrap().len() == 26);
    let partial = partial.filter(|f| !f.join("meta.json").exists());
    There {
        live: live.collect(),
        partial: partial.map(|f| f.display().to_string()).collect(),
    }
}

/// Every marked block has all its sources in a live one.
fn assert_marks_are_covered(config: &Path, work: &Path, stage: &str) {
    let back = work.join("marks");
    let _ = fs::remove_dir_all(&back);
    fs::create_dir_all(&back).unwrap();
    transfer(config, &folder_config(&back, work));
    let sources = |block: &PathBuf| {
        let m = meta(block);
        let list = m["compaction"]["sources"].as_array().unwrap().clone();
        list.iter()
            .map(|s| s.as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let held: BTreeSet<String> = live_blocks(&back).iter().flat_map(sources).collect();
    for block in fs::read_dir(&back).unwrap().map(|e| e.unwrap().path()) {
        if block.join("deletion-mark.json").exists() {
            for source in sources(&block) {
                assert!(
                    held.contains(&source),
                    "{stage}: {} is lost",
                    block.display()
                );
            }
        }
    }
}

/// A MinIO with buckets that hold the same few blocks, and what an undisturbed run
/// makes of them.
struct Stage {
    work: tempfile::TempDir,
    minio: Minio,
    blocks: PathBuf,
    expected: There,
}

impl Stage {
    fn new(buckets: &[&str]) -> Self {
        let work = tempfile::tempdir().unwrap();
        let minio = Minio::start(work.path(), &[buckets, &["undisturbed"]].concat());
        let folder = work.path().join("blocks");
        few_blocks(&folder);
        let blocks = folder_config(&folder, work.path());
        let undisturbed = minio.config("undisturbed", "");
        transfer(&blocks, &undisturbed);
        let (code, text) = end(start(&undisturbed, work.path(), &[]));
        assert_eq!(code, Some(0), "{text}");
        let expected = there(&undisturbed, work.path());
        assert!(expected.live.len() < 9 && expected.partial.is_empty());
        Self {
            work,
            minio,
            blocks,
            expected,
        }
    }

    fn bucket(&self, name: &str) -> PathBuf {
        let config = self.minio.config(name, "");
        transfer(&self.blocks, &config);
        config
    }

    fn at(&self) -> &Path {
        self.work.path()
    }

    /// The same bucket by way of a proxy.
    fn through(&self, proxy: &Proxy, bucket: &str) -> PathBuf {
        let yaml = self.minio.yaml(bucket, "", SECRET_KEY);
        let direct = format!("127.0.0.1:{}", self.minio.port());
        let yaml = yaml.replace(&direct, &format!("127.0.0.1:{}", proxy.port));
        let file = self.at().join(format!("proxy-{bucket}.yml"));
        fs::write(&file, yaml).unwrap();
        file
    }

    /// Does something with a bucket, in a runtime of its own.
    fn with<T>(&self, name: &str, act: impl AsyncFnOnce(Bucket) -> T) -> T {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let yaml = self.minio.yaml(name, "", SECRET_KEY);
        runtime.block_on(async { act(open(&yaml).await).await })
    }

    /// Lets the lease of a process that is dead run out at once.
    fn outlive(&self, name: &str) {
        self.with(name, async |bucket| {
            let lease = "lithify/leases/whole.json";
            if let Some(body) = bucket.get(lease).await.unwrap() {
                let mut record: serde_json::Value = serde_json::from_slice(&body).unwrap();
                record["duration_ms"] = 10.into();
                bucket.put(lease, record.to_string()).await.unwrap();
            }
        });
    }
}

#[test]
fn of_two_processes_at_once_one_works() {
    let stage = Stage::new(&["two"]);
    let config = stage.bucket("two");
    let proxy = Proxy::start(stage.minio.port());
    let through = stage.through(&proxy, "two");
    // The second one starts once the first has its lease and is at work.
    let second = Arc::new(Mutex::new(None));
    let (slot, work) = (Arc::clone(&second), stage.at().to_owned());
    proxy.watch(move |n| {
        if n == 5 {
            let child = start(&config, &work, &[]);
            *slot.lock().unwrap() = Some(end(child));
        }
    });
    let (code, text) = end(start(&through, stage.at(), &[]));
    assert_eq!(code, Some(0), "{text}");
    let (code, text) = second.lock().unwrap().take().expect("it was started");
    assert_eq!(code, Some(4), "{text}");
    assert!(text.contains("is being worked on by process"), "{text}");
    assert_eq!(
        there(&stage.minio.config("two", ""), stage.at()),
        stage.expected
    );
}

/// Ten processes at the very same moment.
#[test]
fn of_ten_processes_one_works_at_a_time() {
    let stage = Stage::new(&["ten"]);
    let config = stage.bucket("ten");
    let children: Vec<Child> = (0..10).map(|_| start(&config, stage.at(), &[])).collect();
    let ends: Vec<_> = children.into_iter().map(end).collect();
    for (code, text) in &ends {
        assert!(matches!(code, Some(0 | 4)), "{code:?}: {text}");
    }
    assert!(ends.iter().any(|(code, _)| *code == Some(0)), "{ends:?}");
    let (code, text) = end(start(&config, stage.at(), &[]));
    assert_eq!(code, Some(0), "{text}");
    assert_eq!(there(&config, stage.at()), stage.expected);
}

fn signal(name: &str, pid: u32) {
    let done = Command::new("kill").arg(name).arg(pid.to_string()).status();
    assert!(done.unwrap().success());
}

/// A process that is stopped in the middle of a job, for longer than its lease, and
/// goes on after another one has taken over.
#[test]
fn a_process_that_wakes_up_late_changes_nothing() {
    let stage = Stage::new(&["late"]);
    let config = stage.bucket("late");
    let proxy = Proxy::start(stage.minio.port());
    let through = stage.through(&proxy, "late");
    let pid = Arc::new(Mutex::new(0));
    let (stopped, reached) = std::sync::mpsc::channel();
    let target = Arc::clone(&pid);
    proxy.watch(move |n| {
        // After the intent, the first segment and before anything is visible.
        if n == 5 {
            signal("-STOP", *target.lock().unwrap());
            stopped.send(()).unwrap();
        }
    });
    let sleeper = {
        let mut pid = pid.lock().unwrap();
        let child = start(&through, stage.at(), &["--lease-duration=90s"]);
        *pid = child.id();
        child
    };
    reached.recv_timeout(Duration::from_secs(60)).unwrap();
    let began = Instant::now();
    let (code, text) = end(start(&config, stage.at(), &["--lease-wait=10m"]));
    assert_eq!(code, Some(0), "{text}");
    assert!(began.elapsed() >= Duration::from_secs(90), "it was watched");
    assert!(text.contains("is taken over"), "{text}");
    assert_marks_are_covered(&config, stage.at(), "taken over");
    let before = there(&config, stage.at());
    assert_eq!(before, stage.expected);

    signal("-CONT", sleeper.id());
    let (code, text) = end(sleeper);
    assert_eq!(code, Some(4), "{text}");
    assert!(text.contains("lease lost"), "{text}");
    assert_eq!(there(&config, stage.at()).live, stage.expected.live);
    let (code, text) = end(start(&config, stage.at(), &[]));
    assert_eq!(code, Some(0), "{text}");
    assert_eq!(there(&config, stage.at()), stage.expected);
    assert_marks_are_covered(&config, stage.at(), "afterwards");
}

/// Killed after every request that changes the bucket: the next run ends with the
/// same live blocks and leaves nothing of what was begun.
#[test]
fn killed_after_any_change_the_next_run_ends_the_same() {
    let stage = Stage::new(&["counted"]);
    stage.bucket("counted");
    let proxy = Proxy::start(stage.minio.port());
    let through = stage.through(&proxy, "counted");
    proxy.watch(|_| {});
    let (code, text) = end(start(&through, stage.at(), &[]));
    assert_eq!(code, Some(0), "{text}");
    let changes = proxy.changes();
    // The lease, the cache, an intent, a block in pieces, marks, the report.
    assert!(changes > 12, "{changes}");
    let mut partials = 0;
    for life in 1..changes {
        let name = format!("killed-{life}");
        fs::create_dir(stage.at().join("minio").join(&name)).unwrap();
        let config = stage.bucket(&name);
        let through = stage.through(&proxy, &name);
        let slot: Arc<Mutex<Option<Child>>> = Arc::default();
        let victim = Arc::clone(&slot);
        proxy.watch(move |n| {
            if n >= life
                && let Some(child) = victim.lock().unwrap().as_mut()
            {
                let _ = child.kill();
            }
        });
        {
            let mut slot = slot.lock().unwrap();
            *slot = Some(start(&through, stage.at(), &[]));
        }
        // It has to end without the lock, or nobody could kill it.
        let status = loop {
            let ended = slot.lock().unwrap().as_mut().unwrap().try_wait().unwrap();
            if let Some(status) = ended {
                break status;
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        assert!(!status.success(), "killed after {life} changes");
        assert_marks_are_covered(&config, stage.at(), &name);
        partials += there(&config, stage.at()).partial.len();
        stage.outlive(&name);
        let (code, text) = end(start(&config, stage.at(), &["--lease-wait=1m"]));
        assert_eq!(code, Some(0), "killed after {life} changes: {text}");
        let found = there(&config, stage.at());
        assert!(
            found == stage.expected,
            "killed after {life} changes: {text}"
        );
        assert_marks_are_covered(&config, stage.at(), &name);
    }
    // One life ends behind the segment, one behind the index.
    assert!(partials >= 2, "{partials}");
}

/// A multipart upload of a process that is dead: no listing shows it, and nobody
/// else would ever remove it.
#[test]
fn multipart_uploads_of_a_dead_run_are_aborted() {
    let stage = Stage::new(&["parts"]);
    let config = stage.bucket("parts");
    let block = "01M1DZZZZZZZZZZZZZZZZZZZZZ";
    let name = format!("{block}/chunks/000002");
    stage.with("parts", async |bucket| {
        bucket
            .put(&format!("{block}/chunks/000001"), "one")
            .await
            .unwrap();
        let (writer, object) = (bucket.clone(), name.clone());
        let write = tokio::task::spawn_blocking(move || {
            let mut writer = writer.create(&object).unwrap();
            writer.write(&vec![7; 40 << 20]).unwrap();
            // As in a process that is killed: neither completed nor aborted.
            std::mem::forget(writer);
        });
        write.await.unwrap();
        let began = Instant::now();
        while bucket.uploads(&name).await.unwrap().is_empty() {
            assert!(
                began.elapsed() < Duration::from_secs(30),
                "no upload is pending"
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let intent = serde_json::json!({
            "version": 1, "part": "whole", "blocks": [block], "started_ms": 0,
            "holder": {"host": "gone", "pid": 1, "token": "gone"},
        });
        let intent_name = format!("lithify/intents/{block}.json");
        bucket.put(&intent_name, intent.to_string()).await.unwrap();
    });
    let (code, text) = end(start(&config, stage.at(), &[]));
    assert_eq!(code, Some(0), "{text}");
    stage.with("parts", async |bucket| {
        assert_eq!(bucket.uploads(&name).await.unwrap(), []);
        assert!(bucket.list(block).await.unwrap().is_empty());
    });
    let (code, text) = end(start(&config, stage.at(), &[]));
    assert_eq!(code, Some(0), "{text}");
    stage.with("parts", async |bucket| {
        assert!(bucket.list("lithify/intents").await.unwrap().is_empty());
    });
}
