use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, ObjectMeta, ObjectStore, PutResult, UploadPart,
};

use super::*;

fn settings(part_size: usize) -> UploadSettings {
    UploadSettings {
        part_size,
        parts_in_flight: 2,
        single_put: false,
    }
}

#[test]
fn parts_suffice_for_the_largest_objects() {
    let most = |part: usize| -> u64 {
        let sizes = (0..MOST_PARTS).map_while(|index| settings(part).part(index));
        sizes.map(|size| size as u64).sum()
    };
    assert!(most(5 << 20) >= 64 << 30, "with the smallest part");
    assert!(most(8 << 20) >= 512 << 30, "with the default");
    assert_eq!(
        settings(16 << 20).part(4_999),
        Some(16 << 20),
        "64 GiB in equal parts"
    );
    assert_eq!(settings(16 << 20).part(5_000), Some(32 << 20));
    assert_eq!(settings(16 << 20).part(9_999), Some(512 << 20));
    assert_eq!(
        settings(4 << 30).part(9_999),
        Some(5 << 30),
        "S3's largest part"
    );
    assert_eq!(settings(1).part(MOST_PARTS), None);
}

/// A store whose uploads go wrong at a chosen part, and which notes how many
/// parts were on their way at the same time.
#[derive(Debug)]
struct Faulty {
    inner: InMemory,
    fail_part: usize,
    fail_complete: bool,
    lose_bytes: bool,
    log: Arc<Log>,
}

#[derive(Debug, Default)]
struct Log {
    parts: AtomicUsize,
    flying: AtomicUsize,
    most_flying: AtomicUsize,
    aborts: AtomicUsize,
}

#[derive(Debug)]
struct FaultyUpload {
    inner: Box<dyn MultipartUpload>,
    fail_part: usize,
    fail_complete: bool,
    log: Arc<Log>,
}

fn broken() -> object_store::Error {
    object_store::Error::Generic {
        store: "faulty",
        source: "the disk of the store is full".into(),
    }
}

#[async_trait]
impl MultipartUpload for FaultyUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let number = self.log.parts.fetch_add(1, Ordering::SeqCst);
        let (fail, log) = (number == self.fail_part, Arc::clone(&self.log));
        let part = self.inner.put_part(data);
        Box::pin(async move {
            let flying = log.flying.fetch_add(1, Ordering::SeqCst) + 1;
            log.most_flying.fetch_max(flying, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(3)).await;
            log.flying.fetch_sub(1, Ordering::SeqCst);
            if fail { Err(broken()) } else { part.await }
        })
    }

    async fn complete(&mut self) -> object_store::Result<PutResult> {
        if self.fail_complete {
            return Err(broken());
        }
        self.inner.complete().await
    }

    async fn abort(&mut self) -> object_store::Result<()> {
        assert_eq!(
            self.log.flying.load(Ordering::SeqCst),
            0,
            "no part outlives the abort"
        );
        self.log.aborts.fetch_add(1, Ordering::SeqCst);
        self.inner.abort().await
    }
}

impl std::fmt::Display for Faulty {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("faulty")
    }
}

#[async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(
        &self,
        at: &Path,
        payload: PutPayload,
        opts: PutOptions,
    ) -> object_store::Result<PutResult> {
        let payload = if self.lose_bytes {
            PutPayload::new()
        } else {
            payload
        };
        self.inner.put_opts(at, payload, opts).await
    }

    async fn put_multipart_opts(
        &self,
        at: &Path,
        opts: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        Ok(Box::new(FaultyUpload {
            inner: self.inner.put_multipart_opts(at, opts).await?,
            fail_part: self.fail_part,
            fail_complete: self.fail_complete,
            log: Arc::clone(&self.log),
        }))
    }

    async fn get_opts(&self, at: &Path, options: GetOptions) -> object_store::Result<GetResult> {
        self.inner.get_opts(at, options).await
    }

    fn delete_stream(
        &self,
        at: BoxStream<'static, object_store::Result<Path>>,
    ) -> BoxStream<'static, object_store::Result<Path>> {
        self.inner.delete_stream(at)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> object_store::Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(
        &self,
        from: &Path,
        to: &Path,
        options: CopyOptions,
    ) -> object_store::Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

fn faulty(fail_part: usize, fail_complete: bool, lose_bytes: bool) -> (Bucket, Arc<Log>) {
    let log = Arc::<Log>::default();
    let store = Faulty {
        inner: InMemory::new(),
        fail_part,
        fail_complete,
        lose_bytes,
        log: Arc::clone(&log),
    };
    let bucket = Bucket::from_store("faulty", store)
        .unwrap()
        .with_upload(settings(1000));
    (bucket, log)
}

/// Writes `len` bytes in pieces of 333 and reports the first error.
async fn write(bucket: &Bucket, len: usize) -> Result<u64, String> {
    let bucket = bucket.clone();
    let writing = tokio::task::spawn_blocking(move || {
        let mut writer = bucket.create("x").unwrap();
        let text = |err: tsdb::Error| {
            let cause = std::error::Error::source(&err).expect("cause").to_string();
            format!("{err}: {cause}")
        };
        for piece in vec![7_u8; len].chunks(333) {
            writer.write(piece).map_err(text)?;
        }
        writer.finish().map_err(text)
    });
    writing.await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_in_flight_are_bounded() {
    let (bucket, log) = faulty(usize::MAX, false, false);
    assert_eq!(write(&bucket, 20_500).await.unwrap(), 20_500);
    assert_eq!(log.parts.load(Ordering::SeqCst), 21);
    assert_eq!(log.most_flying.load(Ordering::SeqCst), 2);
    assert_eq!(bucket.get("x").await.unwrap().unwrap().len(), 20_500);
    bucket.settle().await;
    assert_eq!(log.aborts.load(Ordering::SeqCst), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_part_fails_the_object_and_is_aborted() {
    for part in [0, 3, 20] {
        let (bucket, log) = faulty(part, false, false);
        let err = write(&bucket, 20_500).await.unwrap_err();
        assert!(
            err.starts_with("x: write: bucket faulty: x: ") && err.contains("full"),
            "{err}"
        );
        bucket.settle().await;
        assert_eq!(log.aborts.load(Ordering::SeqCst), 1);
        assert_eq!(bucket.get("x").await.unwrap(), None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_completion_is_aborted() {
    let (bucket, log) = faulty(usize::MAX, true, false);
    write(&bucket, 3_500).await.unwrap_err();
    bucket.settle().await;
    assert_eq!(log.aborts.load(Ordering::SeqCst), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_bytes_are_noticed() {
    let (bucket, _) = faulty(usize::MAX, false, true);
    let err = write(&bucket, 500).await.unwrap_err();
    assert!(err.contains("0 bytes stored, 500 written"), "{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn writer_is_dead_after_a_failure() {
    let (bucket, _) = faulty(0, false, false);
    let opened = bucket.clone();
    let second = tokio::task::spawn_blocking(move || {
        let mut writer = opened.create("x").unwrap();
        while writer.write(&[1; 1000]).is_ok() {}
        (writer.write(&[1]).is_err(), writer.finish().is_err())
    });
    assert_eq!(second.await.unwrap(), (true, true));
}

#[test]
fn stopped_runtime_is_an_error_and_no_deadlock() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let bucket = runtime
        .block_on(async { Bucket::memory().unwrap() })
        .with_upload(settings(10));
    let mut writer = bucket.create("x").unwrap();
    writer.write(&[1; 25]).unwrap();
    drop(runtime);
    assert!(writer.write(&[1; 25]).is_err());
    assert!(bucket.create("y").unwrap().finish().is_err());
    drop(writer);
}
