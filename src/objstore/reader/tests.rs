use std::sync::Arc;

use object_store::path::Path;
use proptest::prelude::*;

use super::pool::Pool;
use super::*;
use crate::objstore::Bucket;
use crate::tsdb::source::BlobReader;

fn content(len: usize) -> Vec<u8> {
    let mut state = 0x1234_5678_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..len).map(|_| next()).collect()
}

/// A runtime with a bucket in memory and one in a folder, both with object `x`.
struct Fixture {
    runtime: tokio::runtime::Runtime,
    memory: Bucket,
    folder: Bucket,
    _dir: tempfile::TempDir,
    data: Vec<u8>,
}

impl Fixture {
    fn new(len: usize) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build();
        let runtime = runtime.unwrap();
        let dir = tempfile::tempdir().unwrap();
        let data = content(len);
        let (memory, folder) = runtime.block_on(async {
            let buckets = (
                Bucket::memory().unwrap(),
                Bucket::folder(dir.path()).unwrap(),
            );
            buckets.0.put("x", data.clone()).await.unwrap();
            buckets.1.put("x", data.clone()).await.unwrap();
            buckets
        });
        Self {
            runtime,
            memory,
            folder,
            _dir: dir,
            data,
        }
    }

    fn buckets(&self) -> [&Bucket; 2] {
        [&self.memory, &self.folder]
    }

    fn ahead(&self, window: usize, depth: usize) -> AheadReader {
        let size = self.data.len() as u64;
        AheadReader::new(
            self.memory.clone(),
            Path::from("x"),
            size,
            ReadAhead { window, depth },
        )
    }
}

/// One step of a reader: where to go from here, and how much to ask for.
#[derive(Debug, Clone)]
enum Step {
    /// On by this share of the last window, in percent.
    On(u8),
    Skip(u16),
    Back(u16),
    Jump(u16),
}

fn steps() -> impl Strategy<Value = Vec<(Step, usize)>> {
    let step = prop_oneof![
        6 => (0_u8..=100).prop_map(Step::On),
        2 => (0_u16..600).prop_map(Step::Skip),
        1 => (0_u16..600).prop_map(Step::Back),
        1 => any::<u16>().prop_map(Step::Jump),
    ];
    let len = prop_oneof![4 => 0_usize..40, 2 => 0_usize..400, 1 => 0_usize..5000];
    prop::collection::vec((step, len), 1..60)
}

fn walk(reader: &mut dyn BlobReader, data: &[u8], steps: &[(Step, usize)]) {
    let (mut place, mut last) = (0_u64, 0_u64);
    for (step, len) in steps {
        place = match step {
            Step::On(share) => place + last * u64::from(*share) / 100,
            Step::Skip(bytes) => place + last + u64::from(*bytes),
            Step::Back(bytes) => place.saturating_sub(u64::from(*bytes)),
            Step::Jump(to) => u64::from(*to) % (data.len() as u64 + 10),
        };
        let window = reader.window(place, *len).unwrap();
        let rest = data.get(place as usize..).unwrap_or_default();
        assert!(rest.starts_with(&window), "wrong bytes at {place}");
        assert!(
            window.len() >= (*len).max(1).min(rest.len()),
            "too few bytes at {place}"
        );
        last = window.len() as u64;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn readers_equal_content(
        window in 1_usize..700,
        depth in 0_usize..5,
        walks in prop::collection::vec(steps(), 1..4),
    ) {
        let fixture = Fixture::new(5_003);
        for bucket in fixture.buckets() {
            for steps in &walks {
                let ahead = ReadAhead { window, depth };
                let mut reader = bucket.open("x", 5_003, ahead).unwrap();
                walk(reader.as_mut(), &fixture.data, steps);
            }
        }
    }
}

#[test]
fn each_byte_is_asked_for_once() {
    let fixture = Fixture::new(200_000);
    for (window, step, len) in [
        (1000, 1, 100),
        (1000, 7, 990),
        (1000, 13, 3000),
        (100, 1, 500),
    ] {
        for (at, bucket) in fixture.buckets().into_iter().enumerate() {
            let before = bucket.counts().get_range.bytes;
            let mut reader = bucket
                .open("x", 200_000, ReadAhead { window, depth: 3 })
                .unwrap();
            for offset in (0..20_000_u64).step_by(step) {
                reader.window(offset, len).unwrap();
            }
            let read = bucket.counts().get_range.bytes - before;
            // What was used, and what lies ahead.
            let ahead = (window * 4 + len * 3) as u64;
            assert!(
                read <= 20_000 + ahead,
                "bucket {at}, {window} {step} {len}: {read} bytes"
            );
        }
    }
}

#[test]
fn small_windows_are_not_copied_for_every_step() {
    // Requests longer than a window: each call could copy all of it again.
    let fixture = Fixture::new(400_000);
    for bucket in fixture.buckets() {
        let mut reader = bucket
            .open(
                "x",
                400_000,
                ReadAhead {
                    window: 64,
                    depth: 4,
                },
            )
            .unwrap();
        let mut distinct = 0;
        let mut last = std::ptr::null();
        for offset in 0..100_000_u64 {
            let bytes = reader.window(offset, 5_000).unwrap();
            // A new allocation shows where its end lies.
            let end = bytes.as_ptr_range().end;
            distinct += u32::from(end != last);
            last = end;
        }
        assert!(
            distinct < 3_000,
            "{distinct} copies of 5,000 bytes for 100,000 steps"
        );
    }
}

#[test]
fn straddling_requests_end_with_shared_windows() {
    let fixture = Fixture::new(10_000);
    let mut reader = fixture.ahead(1000, 3);
    // 85 bytes every 10: most lie within one window and need no copy.
    let mut shared = 0;
    for offset in (0..9_900_u64).step_by(10) {
        let bytes = reader.window(offset, 85).unwrap();
        let to_window_end = 1000 - offset % 1000;
        shared += u32::from(bytes.len() as u64 == to_window_end);
    }
    assert!(shared > 850, "{shared} of 990 calls without a copy");
}

#[test]
fn memory_is_bounded_and_goes_round() {
    let fixture = Fixture::new(100_000);
    let mut reader = fixture.ahead(1000, 4);
    for offset in (0..100_000_u64).step_by(333) {
        reader.window(offset, 10).unwrap();
        let (held, idle) = reader.held();
        assert!(held <= 4 && idle <= 4, "{held} windows, {idle} buffers");
    }
    // After a jump the reader does not run ahead before it knows the way.
    reader.window(10, 10).unwrap();
    assert_eq!(reader.held().0, 1);
    reader.window(1_010, 10).unwrap();
    assert_eq!(reader.held().0, 2);
}

#[test]
fn skips_within_the_queue_ask_for_nothing_again() {
    let fixture = Fixture::new(100_000);
    let mut reader = fixture.ahead(1000, 4);
    reader.window(0, 10).unwrap();
    reader.window(2_500, 10).unwrap();
    reader.window(3_999, 1).unwrap();
    // A far skip starts over there, and a step back too.
    reader.window(90_000, 10).unwrap();
    assert_eq!(reader.held().0, 1);
    reader.window(50, 10).unwrap();
    drop(reader);
    let far = fixture.memory.counts().get_range;
    assert!(far.bytes <= 9_000, "{far:?}");
}

#[test]
fn buffers_return_when_the_last_share_is_dropped() {
    let pool = Pool::new(10, 2);
    let mut buffer = pool.take();
    assert!(buffer.push(b"hello") && buffer.push(b"world"));
    assert!(!buffer.push(b"!"), "full");
    let bytes = buffer.freeze();
    let share = bytes.slice(3..7);
    drop(bytes);
    assert_eq!((pool.idle(), &share[..]), (0, &b"lowo"[..]));
    drop(share);
    assert_eq!(pool.idle(), 1);
    let three = [pool.take(), pool.take(), pool.take()];
    assert!(
        three.iter().all(|buffer| buffer.as_ref().is_empty()),
        "old content is out of sight"
    );
    drop(three);
    assert_eq!(pool.idle(), 2, "no more than it may keep");
    assert_eq!(Arc::strong_count(&pool), 1);
}

#[test]
fn windows_of_a_folder_return_to_the_pool() {
    let fixture = Fixture::new(10_000);
    let mut reader = fixture
        .folder
        .open(
            "x",
            10_000,
            ReadAhead {
                window: 1000,
                depth: 2,
            },
        )
        .unwrap();
    let kept = reader.window(0, 10).unwrap();
    let first = kept.as_ptr();
    drop(kept);
    reader.window(1_000, 10).unwrap();
    // The first buffer was free by then, or is now.
    let third = reader.window(2_000, 10).unwrap();
    assert_eq!(third.as_ptr(), first);
}

#[test]
fn file_cut_short_is_an_error_at_its_offset() {
    let fixture = Fixture::new(10_000);
    let mut reader = fixture
        .folder
        .open(
            "x",
            10_000,
            ReadAhead {
                window: 1000,
                depth: 2,
            },
        )
        .unwrap();
    reader.window(0, 10).unwrap();
    let file = std::fs::OpenOptions::new()
        .write(true)
        .open(fixture.folder.local_path("x").unwrap());
    file.unwrap().set_len(5_500).unwrap();
    reader.exact(4_000, 1_000).unwrap();
    let err = reader.exact(5_000, 1_000).unwrap_err();
    let cause = std::error::Error::source(&err).unwrap().to_string();
    assert!(
        cause.contains("x at byte 5000") && cause.contains("changed"),
        "{cause}"
    );
}

#[test]
fn stopped_runtime_is_an_error() {
    let fixture = Fixture::new(10_000);
    let mut reader = fixture.ahead(1000, 2);
    reader.window(0, 10).unwrap();
    drop(fixture.runtime);
    let err = (0..10).find_map(|window| reader.window(window * 1000, 10).err());
    let err = err.expect("nobody fetches any more");
    let cause = std::error::Error::source(&err).unwrap().to_string();
    assert!(cause.contains("runtime has stopped"), "{cause}");
}

/// Miri runs this, too, with a copy in the place of the mapping.
#[test]
fn a_mapped_file_lives_as_long_as_a_slice_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("index");
    let data = content(10_000);
    std::fs::write(&file, &data).unwrap();
    let mut blob = crate::objstore::map_file(&file, "index in scratch").unwrap();
    std::fs::remove_file(&file).unwrap();
    let slice = blob.exact(5_000, 100).unwrap();
    let all = blob.window(0, 1).unwrap();
    drop(blob);
    let other = std::thread::spawn(move || all.to_vec());
    assert_eq!(other.join().unwrap(), data);
    assert_eq!(slice, data[5_000..5_100]);
}

#[test]
fn what_cannot_be_mapped_is_empty_or_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("index");
    std::fs::write(&file, b"").unwrap();
    assert!(crate::objstore::map_file(&file, "x").unwrap().is_empty());
    for missing in [dir.path().to_owned(), dir.path().join("no")] {
        let error = crate::objstore::map_file(&missing, "x").unwrap_err();
        assert!(error.to_string().contains('x'), "{error}");
    }
}
