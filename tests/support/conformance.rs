//! What every bucket must do, whatever lies behind it.
//!
//! Each function works below a directory of its own and can be called on any
//! bucket, a real server's included. They need a runtime with several threads:
//! readers and writers block theirs.

use std::collections::BTreeSet;

use bytes::Bytes;
use futures::{StreamExt, stream};
use lithify::objstore::{Bucket, BucketKind, Kind, ReadAhead, UploadSettings, Version};
use lithify::tsdb::source::BlobReader;

/// Runs all of them, one after the other.
pub async fn all(bucket: &Bucket) {
    all_for_embedded_server(bucket).await;
    directory_is_no_object(bucket).await;
}

/// All but what the embedded S3 server gets wrong, which keeps objects as
/// files: it answers a request for a directory with an internal error.
pub async fn all_for_embedded_server(bucket: &Bucket) {
    put_get_head_delete(bucket).await;
    absent_is_no_error(bucket).await;
    put_if_absent_writes_once(bucket).await;
    put_if_match_writes_over_one_version(bucket).await;
    get_bounded_refuses_more(bucket).await;
    list_sees_more_than_a_page(bucket).await;
    list_tells_size_time_and_etag(bucket).await;
    list_dirs_shows_one_level(bucket).await;
    similar_names_stay_apart(bucket).await;
    odd_names_survive(bucket).await;
    bad_names_are_refused(bucket).await;
    delete_many_deletes(bucket).await;
    delete_all_answers_for_each(bucket).await;
    writer_of_three_parts(bucket).await;
    writer_of_any_size(bucket).await;
    writer_dropped_leaves_nothing(bucket).await;
    upload_file_copies(bucket).await;
    reader_equals_content(bucket).await;
    reader_refuses_other_size(bucket).await;
    counts_tell_reads_from_writes(bucket).await;
}

/// Bytes without a period that a wrong offset could hide behind.
pub fn content(len: usize, seed: u64) -> Vec<u8> {
    let mut random = Random(seed);
    let mut bytes = vec![0; len];
    for chunk in bytes.chunks_mut(8) {
        let word = random.next().to_le_bytes();
        chunk.copy_from_slice(&word[..chunk.len()]);
    }
    bytes
}

/// A small generator (splitmix64), so that a failure can be repeated.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit.max(1)
    }
}

/// Runs blocking code on a thread outside the runtime's workers.
async fn on_thread<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(f).await.expect("blocking part")
}

async fn names(bucket: &Bucket, prefix: &str) -> Vec<String> {
    let objects = bucket.list(prefix).await.expect("list");
    objects.into_iter().map(|object| object.name).collect()
}

pub async fn put_get_head_delete(bucket: &Bucket) {
    for (name, data) in [("basic/a", content(10_000, 1)), ("basic/empty", Vec::new())] {
        bucket.put(name, data.clone()).await.expect("put");
        assert_eq!(bucket.get(name).await.unwrap().expect("there"), data);
        let head = bucket.head(name).await.unwrap().expect("there");
        assert_eq!((head.name.as_str(), head.size), (name, data.len() as u64));
    }
    bucket.put("basic/a", "second").await.expect("replace");
    assert_eq!(
        bucket.get("basic/a").await.unwrap().expect("there"),
        "second"
    );
    bucket.delete("basic/a").await.expect("delete");
    assert_eq!(bucket.get("basic/a").await.unwrap(), None);
    bucket.delete("basic/empty").await.expect("delete");
    assert_eq!(names(bucket, "basic").await, Vec::<String>::new());
}

pub async fn absent_is_no_error(bucket: &Bucket) {
    assert_eq!(bucket.get("absent/x").await.unwrap(), None);
    assert_eq!(bucket.get_bounded("absent/x", 5).await.unwrap(), None);
    assert_eq!(bucket.head("absent/x").await.unwrap(), None);
    bucket.delete("absent/x").await.expect("nothing to delete");
    assert!(bucket.list("absent").await.unwrap().is_empty());
    assert!(bucket.list_dirs("absent").await.unwrap().is_empty());
}

pub async fn directory_is_no_object(bucket: &Bucket) {
    bucket.put("directory/dir/x", "x").await.unwrap();
    assert_eq!(bucket.get("directory/dir").await.unwrap(), None);
    assert_eq!(bucket.head("directory/dir").await.unwrap(), None);
    // And nothing lies below an object.
    assert_eq!(bucket.get("directory/dir/x/y").await.unwrap(), None);
    assert_eq!(bucket.head("directory/dir/x/y").await.unwrap(), None);
    assert!(bucket.list("directory/dir/x").await.unwrap().is_empty());
    bucket.delete("directory/dir/x").await.unwrap();
}

pub async fn put_if_absent_writes_once(bucket: &Bucket) {
    let put = |body: &'static str| bucket.put_if_absent("once/lease", body);
    assert!(put("first").await.unwrap().is_some());
    assert!(put("second").await.unwrap().is_none());
    assert_eq!(bucket.get("once/lease").await.unwrap().unwrap(), "first");
    bucket.delete("once/lease").await.unwrap();
    assert!(put("third").await.unwrap().is_some());
    bucket.delete("once/lease").await.unwrap();
}

/// What a lease is made of: of two who know the same version, one writes.
pub async fn put_if_match_writes_over_one_version(bucket: &Bucket) {
    let name = "match/lease";
    let get = || async {
        let found = bucket.get_versioned(name, 100).await.unwrap();
        found.map(|f| (f.body, f.version))
    };
    assert!(get().await.is_none());
    // Nothing there is another version of nothing.
    let nowhere = Version::nowhere();
    let put = bucket.put_if_match(name, "zeroth", &nowhere).await;
    assert_eq!(put.unwrap(), None);
    assert!(get().await.is_none());

    let first = bucket.put_if_absent(name, "first").await.unwrap().unwrap();
    assert_eq!(get().await.unwrap(), ("first".into(), first.clone()));
    assert_eq!(
        bucket.put_if_match(name, "no", &nowhere).await.unwrap(),
        None
    );
    let second = bucket.put_if_match(name, "second", &first).await.unwrap();
    let second = second.expect("it is of that version");
    assert_ne!(second, first);
    assert_eq!(bucket.put_if_match(name, "no", &first).await.unwrap(), None);
    assert_eq!(get().await.unwrap(), ("second".into(), second.clone()));
    // A body of the same length makes another version as well.
    let third = bucket.put_if_match(name, "SECOND", &second).await.unwrap();
    assert!(third.is_some_and(|third| third != second));
    let found = bucket.get_versioned(name, 100).await.unwrap().unwrap();
    let listed = bucket.head(name).await.unwrap().unwrap();
    assert_eq!(found.modified_ms, listed.modified_ms);
    let err = bucket.get_versioned(name, 3).await.unwrap_err();
    assert_eq!(err.kind, Kind::TooLarge);
    bucket.delete(name).await.unwrap();
}

pub async fn get_bounded_refuses_more(bucket: &Bucket) {
    bucket.put("bounded/meta", content(1000, 2)).await.unwrap();
    assert_eq!(
        bucket
            .get_bounded("bounded/meta", 1000)
            .await
            .unwrap()
            .unwrap()
            .len(),
        1000
    );
    let err = bucket.get_bounded("bounded/meta", 999).await.unwrap_err();
    assert_eq!(err.kind, Kind::TooLarge);
    assert!(err.to_string().contains("bounded/meta"), "{err}");
    bucket.delete("bounded/meta").await.unwrap();
}

pub async fn list_sees_more_than_a_page(bucket: &Bucket) {
    let wanted: Vec<String> = (0..1_205)
        .map(|i| format!("pages/{i:04}/meta.json"))
        .collect();
    stream::iter(wanted.clone())
        .for_each_concurrent(
            16,
            |name| async move { bucket.put(&name, "{}").await.unwrap() },
        )
        .await;
    let before = bucket.counts().list.calls;
    assert_eq!(names(bucket, "pages").await, wanted);
    assert_eq!(
        bucket.counts().list.calls - before,
        2,
        "two pages are two requests"
    );
    let dirs = bucket.list_dirs("pages").await.unwrap();
    assert_eq!(dirs.len(), 1_205);
    assert_eq!(
        (dirs[0].as_str(), dirs[1_204].as_str()),
        ("pages/0000", "pages/1204")
    );
    bucket.delete_many(&wanted, 16).await.unwrap();
    assert!(bucket.list("pages").await.unwrap().is_empty());
}

pub async fn list_tells_size_time_and_etag(bucket: &Bucket) {
    bucket.put("listed/a", content(123, 3)).await.unwrap();
    let listed = bucket.list("listed").await.unwrap().remove(0);
    let head = bucket.head("listed/a").await.unwrap().unwrap();
    assert_eq!((listed.name.as_str(), listed.size), ("listed/a", 123));
    // HTTP headers carry whole seconds, listings may carry more.
    assert!(
        (listed.modified_ms - head.modified_ms).abs() < 1000,
        "{listed:?} {head:?}"
    );
    let year_2020_ms = 1_577_836_800_000;
    assert!(listed.modified_ms > year_2020_ms, "{listed:?}");
    if let Some(etag) = &listed.etag {
        assert_eq!(head.etag.as_ref(), Some(etag));
    }
    bucket.delete("listed/a").await.unwrap();
}

pub async fn list_dirs_shows_one_level(bucket: &Bucket) {
    let all = [
        "level/01A/meta.json",
        "level/01A/chunks/000001",
        "level/01B/index",
        "level/debug/x/y",
        "level/file",
    ];
    for name in all {
        bucket.put(name, "x").await.unwrap();
    }
    let dirs = bucket.list_dirs("level").await.unwrap();
    assert_eq!(dirs, ["level/01A", "level/01B", "level/debug"]);
    assert_eq!(
        bucket.list_dirs("level/01A").await.unwrap(),
        ["level/01A/chunks"]
    );
    assert!(
        bucket
            .list_dirs("")
            .await
            .unwrap()
            .contains(&"level".to_owned())
    );
    assert_eq!(bucket.list("level").await.unwrap().len(), all.len());
    // A directory ends with its last object, in a folder too.
    bucket
        .delete_many(&["level/01A/meta.json", "level/01A/chunks/000001"], 1)
        .await
        .unwrap();
    assert_eq!(
        bucket.list_dirs("level").await.unwrap(),
        ["level/01B", "level/debug"]
    );
    bucket.delete_many(&all, 4).await.unwrap();
    assert!(
        !bucket
            .list_dirs("")
            .await
            .unwrap()
            .contains(&"level".to_owned())
    );
}

pub async fn similar_names_stay_apart(bucket: &Bucket) {
    let all = ["near/01A/x", "near/01A-b/x", "near/01AB/x", "near/01A.json"];
    for name in all {
        bucket.put(name, name).await.unwrap();
    }
    assert_eq!(names(bucket, "near/01A").await, ["near/01A/x"]);
    assert_eq!(names(bucket, "near").await, {
        let mut sorted = all;
        sorted.sort_unstable();
        sorted
    });
    bucket.delete_many(&all, 4).await.unwrap();
}

pub async fn odd_names_survive(bucket: &Bucket) {
    let parts = [
        "sp ace",
        "pl+us",
        "per%cent",
        "per%20cent",
        "hash#tag",
        "a=b&c=d",
        "quo'te",
        "t~ilde",
        "co:lon",
        "comma,",
        "semi;",
        "at@",
        "dollar$",
        "(paren)",
        "star*",
        "dot.",
        ".hidden",
        "한국어",
        "é",
        "🙂",
        "UPPER",
        "-dash",
        "ques?tion",
        "[bracket]",
        "<tag>",
        "a|b",
        "a\"b",
    ];
    let mut wanted = BTreeSet::new();
    for part in parts {
        let name = format!("odd/{part}/{part}");
        bucket.put(&name, part).await.expect(part);
        assert_eq!(bucket.get(&name).await.expect(part).expect(part), part);
        assert!(bucket.head(&name).await.expect(part).is_some(), "{part}");
        wanted.insert(name);
    }
    let wanted: Vec<String> = wanted.into_iter().collect();
    assert_eq!(names(bucket, "odd").await, wanted);
    assert_eq!(bucket.list_dirs("odd").await.unwrap().len(), parts.len());
    for part in parts {
        assert_eq!(
            names(bucket, &format!("odd/{part}")).await,
            [format!("odd/{part}/{part}")]
        );
    }
    bucket.delete_many(&wanted, 4).await.unwrap();
    assert!(bucket.list("odd").await.unwrap().is_empty());
}

pub async fn bad_names_are_refused(bucket: &Bucket) {
    for name in [
        "bad//x", "bad/../x", "../x", "bad/./x", "bad/\n/x", "bad/\0",
    ] {
        for result in [
            bucket.get(name).await.map(drop),
            bucket.put(name, "x").await,
            bucket.delete(name).await,
            bucket.list(name).await.map(drop),
            bucket.create(name).map(drop),
            bucket.open(name, 1, ReadAhead::default()).map(drop),
        ] {
            assert_eq!(result.unwrap_err().kind, Kind::BadName, "{name:?}");
        }
    }
}

pub async fn delete_many_deletes(bucket: &Bucket) {
    let all: Vec<String> = (0..25).map(|i| format!("many/{i:02}")).collect();
    for name in &all {
        bucket.put(name, "x").await.unwrap();
    }
    bucket.delete_many(&all[..20], 3).await.unwrap();
    assert_eq!(names(bucket, "many").await, all[20..]);
    // Again, with some that are gone already.
    bucket.delete_many(&all, 100).await.unwrap();
    assert!(bucket.list("many").await.unwrap().is_empty());
}

pub async fn delete_all_answers_for_each(bucket: &Bucket) {
    let all: Vec<String> = (0..25).map(|i| format!("all/{i:02}")).collect();
    for name in &all {
        bucket.put(name, "x").await.unwrap();
    }
    let before = bucket.counts().delete.calls;
    assert_eq!(bucket.delete_all(&all[..20]).await, vec![Ok(()); 20]);
    let requests = bucket.counts().delete.calls - before;
    let at_once = bucket.kind() == BucketKind::S3;
    assert_eq!(requests, if at_once { 1 } else { 20 });
    assert_eq!(names(bucket, "all").await, all[20..]);
    // Some are gone already, and one can be nobody's name.
    let mut some = all[15..].to_vec();
    some.insert(3, "all//x".to_owned());
    let answers = bucket.delete_all(&some).await;
    let failed: Vec<usize> = (0..)
        .zip(&answers)
        .filter_map(|(at, answer)| answer.is_err().then_some(at))
        .collect();
    assert_eq!((answers.len(), failed), (11, vec![3]), "{answers:?}");
    assert_eq!(answers[3].as_ref().unwrap_err().kind, Kind::BadName);
    assert!(bucket.list("all").await.unwrap().is_empty());
    assert!(bucket.delete_all(&[]).await.is_empty());
}

pub async fn writer_of_three_parts(bucket: &Bucket) {
    let part = 5 << 20;
    let data = content(2 * part + 1234, 4);
    let before = bucket.counts();
    let small = bucket.clone().with_upload(UploadSettings {
        part_size: part,
        parts_in_flight: 2,
        single_put: false,
    });
    let sent = data.clone();
    let size = on_thread(move || {
        let mut writer = small.create("parts/segment").expect("create");
        // Pieces that never end where a part does.
        for piece in sent.chunks(777_777) {
            writer.write(piece).expect("write");
        }
        writer.finish().expect("finish")
    })
    .await;
    assert_eq!(size, data.len() as u64);
    let after = bucket.counts();
    assert_eq!(after.put_part.calls - before.put_part.calls, 3);
    assert_eq!(after.put_part.bytes - before.put_part.bytes, size);
    assert_eq!(after.put.calls, before.put.calls);
    assert!(bucket.get("parts/segment").await.unwrap().expect("there") == data);
    bucket.delete("parts/segment").await.unwrap();
}

pub async fn writer_of_any_size(bucket: &Bucket) {
    let part = 5 << 20;
    for size in [0, 1, part - 1, part, part + 1] {
        let data = content(size, 5);
        let writing = bucket.clone().with_upload(UploadSettings {
            part_size: part,
            ..UploadSettings::default()
        });
        let sent = data.clone();
        let written = on_thread(move || {
            let mut writer = writing.create("sizes/x").expect("create");
            writer.write(&sent).expect("write");
            writer.finish().expect("finish")
        })
        .await;
        assert_eq!(written, size as u64);
        assert!(
            bucket.get("sizes/x").await.unwrap().expect("there") == data,
            "{size}"
        );
    }
    bucket.delete("sizes/x").await.unwrap();
}

pub async fn writer_dropped_leaves_nothing(bucket: &Bucket) {
    let part = 5 << 20;
    let before = bucket.counts();
    for size in [100, part * 2 + 100] {
        let writing = bucket.clone().with_upload(UploadSettings {
            part_size: part,
            ..UploadSettings::default()
        });
        on_thread(move || {
            let mut writer = writing.create("dropped/x").expect("create");
            writer.write(&content(size, 6)).expect("write");
        })
        .await;
    }
    bucket.settle().await;
    let after = bucket.counts();
    assert_eq!(
        after.multipart.calls - before.multipart.calls,
        2,
        "begun and aborted"
    );
    assert_eq!(bucket.get("dropped/x").await.unwrap(), None);
    assert!(bucket.list("dropped").await.unwrap().is_empty());
}

pub async fn upload_file_copies(bucket: &Bucket) {
    let file = tempfile::NamedTempFile::new().unwrap();
    let data = content((5 << 20) + 99, 7);
    std::fs::write(file.path(), &data).unwrap();
    let sending = bucket.clone().with_upload(UploadSettings {
        part_size: 5 << 20,
        ..UploadSettings::default()
    });
    let size = sending
        .upload_file(file.path(), "upload/index")
        .await
        .expect("upload");
    assert_eq!(size, data.len() as u64);
    assert!(bucket.get("upload/index").await.unwrap().expect("there") == data);
    let err = bucket
        .upload_file("/no/such/file", "upload/y")
        .await
        .unwrap_err();
    assert_eq!(err.kind, Kind::Local);
    assert!(err.to_string().contains("/no/such/file"), "{err}");
    bucket.delete("upload/index").await.unwrap();
}

/// Reads with windows, depths, lengths and jumps at random.
pub async fn reader_equals_content(bucket: &Bucket) {
    let data = Bytes::from(content(300_007, 8));
    bucket.put("reader/x", data.clone()).await.unwrap();
    for (window, depth) in [
        (1 << 20, 4),
        (64 << 10, 3),
        (10_000, 1),
        (4096, 8),
        (777, 2),
    ] {
        let (opened, data) = (bucket.clone(), data.clone());
        on_thread(move || {
            let ahead = ReadAhead { window, depth };
            let mut reader = opened
                .open("reader/x", data.len() as u64, ahead)
                .expect("open");
            assert_eq!(
                (reader.name(), reader.len()),
                ("reader/x", data.len() as u64)
            );
            read_sequentially(reader.as_mut(), &data);
            read_at_random(reader.as_mut(), &data, 40);
        })
        .await;
    }
    bucket.delete("reader/x").await.unwrap();
}

fn read_sequentially(reader: &mut dyn BlobReader, data: &[u8]) {
    let mut random = Random(9);
    let mut offset = 0;
    while offset < data.len() {
        let want = random.below(20_000) as usize;
        let window = reader.window(offset as u64, want).expect("window");
        assert!(window.len() >= want.max(1).min(data.len() - offset));
        assert!(data[offset..].starts_with(&window), "at {offset}");
        offset += 1 + random.below(window.len() as u64) as usize;
    }
    assert!(
        reader
            .window(data.len() as u64, 10)
            .expect("end")
            .is_empty()
    );
}

fn read_at_random(reader: &mut dyn BlobReader, data: &[u8], times: usize) {
    let mut random = Random(10);
    for _ in 0..times {
        let offset = random.below(data.len() as u64) as usize;
        let most = (data.len() - offset) as u64;
        let len = random.below(most.min(30_000)) as usize;
        let bytes = reader.exact(offset as u64, len).expect("exact");
        assert!(bytes == data[offset..offset + len], "{len} at {offset}");
    }
    assert!(reader.exact(data.len() as u64 - 5, 6).is_err());
    assert!(reader.exact(u64::MAX, 1).is_err());
    assert!(
        reader
            .window(u64::MAX, usize::MAX)
            .expect("far out")
            .is_empty()
    );
}

pub async fn reader_refuses_other_size(bucket: &Bucket) {
    bucket.put("reader/short", content(1000, 11)).await.unwrap();
    let opened = bucket.clone();
    on_thread(move || {
        for listed in [999, 1001, 5000] {
            let text = match opened.open("reader/short", listed, ReadAhead::default()) {
                Err(err) => err.to_string(),
                Ok(mut reader) => {
                    let err = reader.window(0, 10).unwrap_err();
                    std::error::Error::source(&err).expect("cause").to_string()
                }
            };
            assert!(
                text.contains("reader/short") && text.contains("changed"),
                "{text}"
            );
        }
    })
    .await;
    bucket.delete("reader/short").await.unwrap();
}

pub async fn counts_tell_reads_from_writes(bucket: &Bucket) {
    bucket.put("counts/x", content(500, 12)).await.unwrap();
    let before = bucket.counts();
    bucket.list("counts").await.unwrap();
    bucket.list_dirs("").await.unwrap();
    bucket.get("counts/x").await.unwrap();
    bucket.head("counts/x").await.unwrap();
    bucket.probe().await.unwrap();
    let opened = bucket.clone();
    on_thread(move || {
        let mut reader = opened.open("counts/x", 500, ReadAhead::default()).unwrap();
        reader.exact(0, 500).unwrap();
    })
    .await;
    let after = bucket.counts();
    assert_eq!(after.writes(), before.writes(), "reading writes nothing");
    assert_eq!(after.bytes_read() - before.bytes_read(), 1000);
    assert_eq!(after.head.calls - before.head.calls, 1);
    bucket.delete("counts/x").await.unwrap();
    assert_eq!(bucket.counts().writes() - after.writes(), 1);
    let remote = bucket.kind() == BucketKind::S3;
    assert!(!remote || bucket.local_root().is_none());
}
