//! Processes one after the other on one bucket, in requests.

use super::*;
use crate::block::markers::DELETION_MARK;
use crate::block::{META, path};
use crate::compact::sync::Syncer;
use crate::objstore::Counts;
use crate::plan::view::{BucketView, ProblemKind};
use ulid::Ulid;

fn id(n: u64) -> Ulid {
    Ulid::from_parts(1_700_000_000_000 + n, u128::from(n))
}

/// A block of three objects.
async fn add_block(bucket: &Bucket, n: u64) {
    let id = id(n);
    let (start, end) = (n * 10, n * 10 + 10);
    let meta = format!(
        r#"{{"ulid":"{id}","minTime":{start},"maxTime":{end},"version":1,
            "thanos":{{"labels":{{"cluster":"c"}},"downsample":{{"resolution":0}}}}}}"#
    );
    for (file, body) in [("index", "x"), ("chunks/000001", "x"), (META, &meta)] {
        bucket.put(&path(id, file), body.to_owned()).await.unwrap();
    }
}

async fn add_mark(bucket: &Bucket, n: u64) {
    let json = format!(r#"{{"id":"{}","version":1,"deletion_time":5}}"#, id(n));
    bucket.put(&path(id(n), DELETION_MARK), json).await.unwrap();
}

async fn filled(blocks: u64) -> Bucket {
    let bucket = Bucket::memory().unwrap();
    for n in 0..blocks {
        add_block(&bucket, n).await;
    }
    bucket
}

struct Disk(tempfile::TempDir);

impl Disk {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn places(&self) -> Places {
        Places {
            folder: Some(self.0.path().join("meta-cache")),
            bucket: true,
            most_bytes: MOST_BYTES,
        }
    }

    fn file(&self, bucket: &Bucket) -> PathBuf {
        let file = self.0.path().join("meta-cache");
        file.join(bucket.fingerprint())
    }
}

/// One process: what it saw, and what that took. A dry run writes nothing.
async fn process(bucket: &Bucket, places: Places, writes: bool) -> (BucketView, Counts) {
    let before = bucket.counts();
    let cache = MetaCache::new(bucket.clone(), places);
    let mut syncer = Syncer::new(bucket.clone(), 8).with_cache(cache);
    let view = syncer.sync().await.unwrap();
    if let Some(save) = syncer.save_due().filter(|_| writes) {
        save.write().await;
        assert!(syncer.save_due().is_none(), "it was written just now");
    }
    (view, bucket.counts().since(&before))
}

/// GETs and PUTs of a process; there is always one listing per 1,000 objects.
async fn asked(bucket: &Bucket, places: Places) -> (u64, u64) {
    let (view, counts) = process(bucket, places, true).await;
    assert!(view.problems.is_empty(), "{:?}", view.problems);
    assert_eq!(counts.list.calls, view.size.pages());
    assert_eq!(counts.head.calls + counts.delete.calls, 0);
    (counts.get.calls, counts.put.calls)
}

fn summary(view: &BucketView) -> Vec<String> {
    let blocks = view.blocks.iter();
    blocks.map(|b| format!("{b:?}")).collect()
}

#[tokio::test]
async fn only_what_changed_is_read() {
    let bucket = filled(300).await;
    let disk = Disk::new();
    assert_eq!(asked(&bucket, disk.places()).await, (300, 1), "cold");
    assert_eq!(asked(&bucket, disk.places()).await, (0, 0), "disk");
    assert_eq!(asked(&bucket, Disk::new().places()).await, (1, 0), "bucket");
    add_block(&bucket, 300).await;
    add_mark(&bucket, 7).await;
    // Too little for another upload; the copy on disk is written.
    assert_eq!(asked(&bucket, disk.places()).await, (2, 0), "disk");
    assert_eq!(asked(&bucket, disk.places()).await, (0, 0), "disk");
    let (view, _) = process(&bucket, disk.places(), true).await;
    assert!(view.blocks[7].deletion.is_some());
    assert_eq!(asked(&bucket, Disk::new().places()).await, (3, 0), "bucket");
    // The copy on disk knows that the bucket's lacks 2, and 13 more are 5 %.
    for n in 301..314 {
        add_block(&bucket, n).await;
    }
    assert_eq!(asked(&bucket, disk.places()).await, (13, 0), "15 of 315");
    add_block(&bucket, 314).await;
    assert_eq!(asked(&bucket, disk.places()).await, (1, 1), "16 of 316");
    assert_eq!(asked(&bucket, Disk::new().places()).await, (1, 0), "bucket");
    let with = process(&bucket, disk.places(), false).await.0;
    let without = process(&bucket, Places::default(), false).await;
    assert_eq!(summary(&with), summary(&without.0));
    assert_eq!(without.1.get.calls, 316, "nowhere is nowhere");
}

#[tokio::test]
async fn changed_and_removed_objects_are_noticed() {
    let bucket = filled(30).await;
    let disk = Disk::new();
    add_mark(&bucket, 3).await;
    assert_eq!(asked(&bucket, disk.places()).await, (31, 1));
    // Same size, other content.
    let name = path(id(3), DELETION_MARK);
    let json = format!(r#"{{"id":"{}","version":1,"deletion_time":6}}"#, id(3));
    bucket.put(&name, json).await.unwrap();
    let (view, counts) = process(&bucket, disk.places(), true).await;
    assert_eq!(counts.get.calls, 1);
    assert_eq!(view.blocks[3].deletion.as_ref().unwrap().deletion_time, 6);
    bucket.delete(&name).await.unwrap();
    bucket.delete(&path(id(4), META)).await.unwrap();
    let (view, counts) = process(&bucket, disk.places(), true).await;
    assert_eq!((view.blocks.len(), counts.get.calls), (29, 0));
    assert!(view.blocks[3].deletion.is_none());
    assert_eq!(view.partials.len(), 1);
}

#[tokio::test]
async fn a_dry_run_reads_caches_and_writes_none() {
    let bucket = filled(20).await;
    let disk = Disk::new();
    let (_, counts) = process(&bucket, disk.places(), false).await;
    assert_eq!((counts.get.calls, counts.writes()), (20, 0));
    assert!(!disk.0.path().join("meta-cache").exists());
    assert_eq!(asked(&bucket, Disk::new().places()).await, (20, 1));
    let (_, counts) = process(&bucket, disk.places(), false).await;
    assert_eq!((counts.get.calls, counts.writes()), (1, 0));
    assert!(!disk.0.path().join("meta-cache").exists());
}

/// Bytes that are no cache, in both places.
fn useless(good: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let mut newer = good.to_vec();
    newer[11] = 9;
    let mut flipped = good.to_vec();
    flipped[good.len() / 2] ^= 1;
    vec![
        ("empty", Vec::new()),
        ("foreign", b"{}".to_vec()),
        ("torn", good[..good.len() / 2].to_vec()),
        ("newer", newer),
        ("flipped", flipped),
        ("too long", [good, &[0; 100][..]].concat()),
    ]
}

#[tokio::test]
async fn what_is_no_cache_is_made_anew() {
    let bucket = filled(20).await;
    let disk = Disk::new();
    asked(&bucket, disk.places()).await;
    let file = disk.file(&bucket);
    let good = std::fs::read(&file).unwrap();
    assert_eq!(bucket.get(OBJECT).await.unwrap().unwrap(), good);
    for (what, bad) in useless(&good) {
        std::fs::write(&file, &bad).unwrap();
        // The other copy is there.
        assert_eq!(asked(&bucket, disk.places()).await, (1, 0), "{what}");
        assert_eq!(std::fs::read(&file).unwrap(), good, "{what}");
        bucket.put(OBJECT, bad).await.unwrap();
        assert_eq!(asked(&bucket, disk.places()).await, (0, 0), "{what}");
        assert_eq!(
            asked(&bucket, Disk::new().places()).await,
            (21, 1),
            "{what}"
        );
        assert_eq!(bucket.get(OBJECT).await.unwrap().unwrap(), good, "{what}");
    }
    // A folder where the file should be, and a file where the folder should be.
    std::fs::remove_file(&file).unwrap();
    std::fs::create_dir(&file).unwrap();
    assert_eq!(asked(&bucket, disk.places()).await, (1, 0));
    assert!(!file.with_extension("new").exists(), "nothing half is left");
    let blocked = Places {
        folder: Some(disk.0.path().join("blocked")),
        ..disk.places()
    };
    std::fs::write(disk.0.path().join("blocked"), "").unwrap();
    assert_eq!(asked(&bucket, blocked).await, (1, 0));
    bucket.delete(OBJECT).await.unwrap();
    assert_eq!(
        asked(&bucket, disk.places()).await,
        (20, 1),
        "it was removed"
    );
}

/// CA-2: the checksum fits, the listing fits, and the content is garbage.
#[tokio::test]
async fn garbage_in_a_cache_makes_no_block_look_damaged() {
    let bucket = filled(3).await;
    add_mark(&bucket, 1).await;
    let disk = Disk::new();
    asked(&bucket, disk.places()).await;
    let file = disk.file(&bucket);
    let image = decode(&Bytes::from(std::fs::read(&file).unwrap())).unwrap();
    let spoilt = |(name, (version, body)): (String, Entry)| {
        (name, (version, Bytes::from(vec![b'x'; body.len()])))
    };
    let spoilt: HashMap<String, Entry> = image.entries.into_iter().map(spoilt).collect();
    let entries = spoilt.iter().map(|(name, entry)| (name.as_str(), entry));
    std::fs::write(&file, encode(entries)).unwrap();
    let (view, counts) = process(&bucket, disk.places(), false).await;
    assert_eq!((view.blocks.len(), view.problems.len()), (3, 0));
    assert!(view.blocks[1].deletion.is_some());
    assert_eq!(counts.get.calls, 4);
}

/// What cannot be parsed is read by every process, and is no reason to write.
#[tokio::test]
async fn garbage_in_the_bucket_is_not_cached() {
    let bucket = filled(3).await;
    let disk = Disk::new();
    bucket.put(&path(id(9), META), "{").await.unwrap();
    bucket.put(&path(id(1), DELETION_MARK), "[]").await.unwrap();
    for (gets, puts) in [(5, 1), (2, 0), (2, 0)] {
        let (view, counts) = process(&bucket, disk.places(), true).await;
        assert_eq!((counts.get.calls, counts.put.calls), (gets, puts));
        assert_eq!(view.problems.len(), 1);
        assert_eq!(view.problems[0].kind, ProblemKind::Corrupted);
    }
}

/// What does not fit is read again, and the rest is not; nothing grows.
#[tokio::test]
async fn a_cache_has_a_limit() {
    let bucket = filled(100).await;
    let disk = Disk::new();
    let small = Places {
        most_bytes: 10_000,
        ..disk.places()
    };
    assert_eq!(asked(&bucket, small.clone()).await, (100, 1));
    let size = std::fs::metadata(disk.file(&bucket)).unwrap().len();
    assert!((5_000..10_000).contains(&size), "{size}");
    let (gets, puts) = asked(&bucket, small.clone()).await;
    assert!((10..70).contains(&gets), "{gets}");
    assert_eq!(puts, 0);
    // Who may read more fills the rest in.
    assert_eq!(asked(&bucket, Disk::new().places()).await, (gets + 1, 1));
    assert_eq!(asked(&bucket, Disk::new().places()).await, (1, 0));
    // And one that is too large is not read.
    let empty = Places {
        folder: Disk::new().places().folder,
        ..small
    };
    assert_eq!(asked(&bucket, empty).await, (100, 1));
}

#[tokio::test]
async fn buckets_have_files_of_their_own() {
    let dir = tempfile::tempdir().unwrap();
    let folder = |name: &str| {
        let path = dir.path().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Bucket::folder(path).unwrap()
    };
    let names = [folder("a"), folder("b"), Bucket::memory().unwrap()];
    let names = names.map(|b| b.fingerprint().to_owned());
    assert_eq!(folder("a").fingerprint(), names[0], "always the same");
    assert!(names[0] != names[1] && names[1] != names[2]);
    assert!(names.iter().all(|n| n.len() == 16));
}

#[test]
fn few_changes_are_worth_no_request() {
    for (changes, entries, wanted) in [
        (0, 0, false),
        (0, 10, false),
        (1, 0, true),
        (1, 20, true),
        (1, 21, false),
        (99, 10_000, false),
        (100, 10_000, true),
    ] {
        assert_eq!(is_worth(changes, entries), wanted, "{changes} of {entries}");
    }
}
