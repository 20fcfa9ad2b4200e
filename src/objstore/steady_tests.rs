use std::collections::BTreeSet;
use std::sync::Mutex;

use futures::TryStreamExt;
use object_store::client::{HttpError, HttpErrorKind};
use object_store::multipart::PartId;
use object_store::{Error, MultipartId, ObjectStoreExt};

use super::*;
use crate::objstore::{Bucket, Kind, Patience};
use object_store::memory::InMemory;

/// A store in which requests fail as a list says, one entry for each try of
/// any kind; then it works.
#[derive(Debug, Clone, Default)]
struct Script(Arc<State>);

#[derive(Debug, Default)]
struct State {
    inner: InMemory,
    faults: Mutex<Vec<Fault>>,
    asked: Mutex<Vec<String>>,
}

impl std::ops::Deref for Script {
    type Target = State;

    fn deref(&self) -> &State {
        &self.0
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    None,
    /// Nothing happened.
    Before,
    /// It happened, nobody hears of it.
    After,
    /// The body or the listing ends after so many pieces of 10 bytes, or names.
    Cut(usize),
    /// Only of a deletion: every second one fails.
    Half,
}

fn lost() -> Error {
    let reset = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
    Error::Generic {
        store: "script",
        source: Box::new(HttpError::new(HttpErrorKind::Interrupted, reset)),
    }
}

impl Script {
    /// The fault of this try.
    fn next(&self, asked: String) -> Fault {
        self.asked.lock().unwrap().push(asked);
        let mut faults = self.faults.lock().unwrap();
        if faults.is_empty() {
            Fault::None
        } else {
            faults.remove(0)
        }
    }

    async fn run<T>(
        &self,
        asked: String,
        request: impl Future<Output = StoreResult<T>>,
    ) -> StoreResult<T> {
        match self.next(asked) {
            Fault::None => request.await,
            Fault::After => {
                request.await?;
                Err(lost())
            }
            _ => Err(lost()),
        }
    }

    fn cut<T: Send + 'static>(
        fault: Fault,
        pieces: BoxStream<'static, StoreResult<T>>,
    ) -> BoxStream<'static, StoreResult<T>> {
        let broken = stream::once(async { Err(lost()) });
        match fault {
            Fault::None => pieces,
            Fault::Cut(after) => pieces.take(after).chain(broken).boxed(),
            _ => broken.boxed(),
        }
    }
}

impl std::fmt::Display for Script {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("script")
    }
}

#[async_trait]
impl ObjectStore for Script {
    async fn put_opts(&self, at: &Path, p: PutPayload, o: PutOptions) -> StoreResult<PutResult> {
        self.run("put".into(), self.inner.put_opts(at, p, o)).await
    }

    async fn put_multipart_opts(
        &self,
        at: &Path,
        opts: PutMultipartOptions,
    ) -> StoreResult<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(at, opts).await
    }

    async fn get_opts(&self, at: &Path, options: GetOptions) -> StoreResult<GetResult> {
        let fault = self.next(match (&options.range, options.head) {
            (_, true) => "head".to_owned(),
            (Some(range), _) => format!("get {range}"),
            _ => "get".to_owned(),
        });
        if matches!(fault, Fault::Before | Fault::After) {
            return Err(lost());
        }
        let result = self.inner.get_opts(at, options).await?;
        let (meta, range) = (result.meta.clone(), result.range.clone());
        let bytes = result.bytes().await?;
        let pieces: Vec<_> = bytes.chunks(10).map(|c| Ok(bytes.slice_ref(c))).collect();
        Ok(GetResult {
            payload: object_store::GetResultPayload::Stream(Self::cut(
                fault,
                stream::iter(pieces).boxed(),
            )),
            meta,
            range,
            attributes: Default::default(),
            extensions: Default::default(),
        })
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, StoreResult<Path>>,
    ) -> BoxStream<'static, StoreResult<Path>> {
        let fault = self.next("delete".into());
        match fault {
            Fault::Before => Self::cut(fault, stream::empty().boxed()),
            Fault::Half => {
                let halves = self.inner.delete_stream(locations).enumerate();
                let halves = halves.map(|(i, done)| if i % 2 == 0 { Err(lost()) } else { done });
                halves.boxed()
            }
            _ => self.inner.delete_stream(locations),
        }
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, StoreResult<ObjectMeta>> {
        Self::cut(self.next("list".into()), self.inner.list(prefix))
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, StoreResult<ObjectMeta>> {
        // Some names come again, as where a client cuts slashes.
        let all = self.inner.list(prefix);
        let near = offset.as_ref().get(..2).unwrap_or_default().to_owned();
        let rest =
            all.try_filter(move |meta| std::future::ready(meta.location.as_ref() >= near.as_str()));
        let fault = self.next(format!("list behind {offset}"));
        Self::cut(fault, rest.boxed())
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> StoreResult<ListResult> {
        let list = self.inner.list_with_delimiter(prefix);
        self.run("dirs".into(), list).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> StoreResult<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

#[async_trait]
impl MultipartStore for Script {
    async fn create_multipart(&self, at: &Path) -> StoreResult<MultipartId> {
        self.run("begin".into(), self.inner.create_multipart(at))
            .await
    }

    async fn put_part(
        &self,
        at: &Path,
        id: &MultipartId,
        number: usize,
        data: PutPayload,
    ) -> StoreResult<PartId> {
        let put = self.inner.put_part(at, id, number, data);
        self.run(format!("part {number}"), put).await
    }

    async fn complete_multipart(
        &self,
        at: &Path,
        id: &MultipartId,
        parts: Vec<PartId>,
    ) -> StoreResult<PutResult> {
        let end = self.inner.complete_multipart(at, id, parts);
        self.run("end".into(), end).await
    }

    async fn abort_multipart(&self, at: &Path, id: &MultipartId) -> StoreResult<()> {
        self.run("abort".into(), self.inner.abort_multipart(at, id))
            .await
    }
}

/// A bucket of which the next requests fail like this, and the store itself.
fn bucket(faults: &[Fault]) -> (Bucket, Script) {
    let script = Script::default();
    *script.faults.lock().unwrap() = faults.to_vec();
    let bucket =
        Bucket::from_store_patiently("script", script.clone(), Patience::default()).unwrap();
    (bucket, script)
}

impl Script {
    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }
}

use Fault::{After, Before, Cut, Half};

#[tokio::test(start_paused = true)]
async fn puts_gets_and_heads_are_repeated() {
    let (bucket, script) = bucket(&[Before, After, Fault::None, Before, After, Cut(0), Before]);
    bucket.put("a", "0123456789").await.unwrap();
    assert_eq!(script.asked(), ["put", "put", "put"]);
    assert_eq!(bucket.get("a").await.unwrap().unwrap(), "0123456789");
    assert_eq!(
        script.asked(),
        ["get", "get", "get", "get bytes=0-9", "get bytes=0-9"]
    );
    script.faults.lock().unwrap().push(Before);
    assert_eq!(bucket.head("a").await.unwrap().unwrap().size, 10);
    assert_eq!(script.asked(), ["head", "head"]);
    assert_eq!(bucket.get("b").await.unwrap(), None);
    assert_eq!(script.asked(), ["get"]);
    assert_eq!(bucket.counts().repeated, 7);
}

#[tokio::test(start_paused = true)]
async fn a_put_on_a_condition_is_not_repeated() {
    let (bucket, script) = bucket(&[After]);
    let error = bucket.put_if_absent("a", "x").await.unwrap_err();
    assert!(error.kind.is_transient(), "{error}");
    assert_eq!(script.asked(), ["put"]);
    assert_eq!(bucket.put_if_absent("a", "y").await.unwrap(), None);
    assert_eq!(bucket.get("a").await.unwrap().unwrap(), "x");
}

#[tokio::test(start_paused = true)]
async fn a_body_goes_on_where_it_broke_off() {
    let faults = [Fault::None, Cut(3), Before, Cut(2), Cut(0)];
    let (bucket, script) = bucket(&faults);
    let data: Vec<u8> = (0..95).collect();
    bucket.put("a", data.clone()).await.unwrap();
    script.asked();
    assert_eq!(bucket.get("a").await.unwrap().unwrap(), data);
    let wanted = [
        "get",
        "get bytes=30-94",
        "get bytes=30-94",
        "get bytes=50-94",
        "get bytes=50-94",
    ];
    assert_eq!(script.asked(), wanted);
    // Of a range, too.
    script.faults.lock().unwrap().push(Cut(1));
    let path = Path::from("a");
    let part = bucket.store().get_range(&path, 5..45).await.unwrap();
    assert_eq!(part, data[5..45]);
    assert_eq!(script.asked(), ["get bytes=5-44", "get bytes=15-44"]);
}

#[tokio::test(start_paused = true)]
async fn a_body_does_not_go_on_with_another_object() {
    let (bucket, script) = bucket(&[Fault::None, Cut(3)]);
    bucket.put("a", vec![1; 95]).await.unwrap();
    let result = bucket.store().get(&Path::from("a")).await.unwrap();
    script
        .inner
        .put(&Path::from("a"), vec![2; 95].into())
        .await
        .unwrap();
    let error = result.bytes().await.unwrap_err();
    let told = bucket.scene().blame("a", &error);
    assert_eq!(told.kind, Kind::Changed, "{told}");
}

#[tokio::test(start_paused = true)]
async fn a_listing_goes_on_behind_the_last_name() {
    let (bucket, script) = bucket(&[]);
    for i in 0..20 {
        bucket.put(&format!("{i:02}/x"), "x").await.unwrap();
        bucket.put(&format!("{i:02}-a"), "x").await.unwrap();
    }
    script.asked();
    *script.faults.lock().unwrap() = vec![Before, Cut(7), Cut(0), Before, Cut(10)];
    let names: Vec<String> = bucket
        .list("")
        .await
        .unwrap()
        .into_iter()
        .map(|o| o.name)
        .collect();
    let once: BTreeSet<&String> = names.iter().collect();
    assert_eq!((names.len(), once.len()), (40, 40), "{names:?}");
    let asked = script.asked();
    assert_eq!(asked.len(), 6);
    assert_eq!(asked[..2], ["list", "list"]);
    assert_eq!(asked[2], "list behind 03-a");
    script.faults.lock().unwrap().push(Before);
    assert_eq!(bucket.list_dirs("").await.unwrap().len(), 20);
    assert_eq!(script.asked(), ["dirs", "dirs"]);
}

#[tokio::test(start_paused = true)]
async fn of_a_deletion_only_what_failed_is_repeated() {
    let (bucket, script) = bucket(&[]);
    let names: Vec<String> = (0..40).map(|i| format!("{i:02}")).collect();
    for name in &names {
        bucket.put(name, "x").await.unwrap();
    }
    script.asked();
    *script.faults.lock().unwrap() = vec![Before, Half, Half];
    assert_eq!(bucket.delete_all(&names).await, vec![Ok(()); 40]);
    assert_eq!(script.asked(), vec!["delete"; 4]);
    assert!(bucket.list("").await.unwrap().is_empty());
    // In vain: each has its answer, and says so.
    bucket.put("39", "x").await.unwrap();
    *script.faults.lock().unwrap() = vec![Before; 400];
    let answers = bucket.delete_all(&names).await;
    assert_eq!(answers.len(), 40);
    for answer in answers {
        let error = answer.unwrap_err();
        assert!(
            error.to_string().contains("DELETE tried 11 times"),
            "{error}"
        );
    }
}

/// Uploads three parts with these faults and reads the object.
async fn uploaded(faults: &[Fault]) -> (StoreResult<PutResult>, Option<Bytes>, Vec<String>) {
    let (bucket, script) = bucket(faults);
    let path = Path::from("a");
    let mut upload = bucket.store().put_multipart(&path).await.unwrap();
    for part in ["one", "two", "three"] {
        upload.put_part(part.into()).await.unwrap();
    }
    let done = upload.complete().await;
    script.faults.lock().unwrap().clear();
    (done, bucket.get("a").await.unwrap(), script.asked())
}

#[tokio::test(start_paused = true)]
async fn an_upload_is_repeated_request_by_request() {
    let (done, body, asked) = uploaded(&[Before, After, Fault::None, After, Before]).await;
    done.unwrap();
    assert_eq!(body.unwrap(), "onetwothree");
    let wanted = [
        "begin", "begin", "begin", "part 0", "part 0", "part 0", "part 1", "part 2", "end", "get",
    ];
    assert_eq!(asked, wanted);
}

#[tokio::test(start_paused = true)]
async fn the_end_of_an_upload_that_worked_unheard_is_found_out() {
    let none = Fault::None;
    // The second end finds no such upload any more, and the object.
    let (done, body, asked) = uploaded(&[none, none, none, none, After]).await;
    assert!(done.unwrap().e_tag.is_some());
    assert_eq!(body.unwrap(), "onetwothree");
    assert_eq!(asked[4..], ["end", "end", "head", "get"]);
    // In vain from its first try on: nothing is there.
    let faults = [&[none; 4][..], &[Before; 11]].concat();
    let (done, body, asked) = uploaded(&faults).await;
    let told = done.unwrap_err().to_string();
    assert!(told.contains("end of an upload tried 11 times"), "{told}");
    assert_eq!((body, asked.len()), (None, 4 + 11 + 2));
}

#[tokio::test(start_paused = true)]
async fn an_object_of_another_size_is_not_taken_for_an_upload() {
    let (bucket, script) = bucket(&[]);
    let path = Path::from("a");
    let mut upload = bucket.store().put_multipart(&path).await.unwrap();
    upload.put_part("one".into()).await.unwrap();
    *script.faults.lock().unwrap() = vec![After];
    // Somebody else's object, in the moment after.
    let end = async {
        let done = upload.complete().await;
        (done, script.asked())
    };
    let other = async {
        tokio::task::yield_now().await;
        script.inner.put(&path, "other".into()).await.unwrap();
    };
    let ((done, _), ()) = tokio::join!(end, other);
    assert!(done.is_err());
}

#[tokio::test(start_paused = true)]
async fn an_abort_that_worked_unheard_is_done() {
    let (bucket, script) = bucket(&[]);
    let mut upload = bucket
        .store()
        .put_multipart(&Path::from("a"))
        .await
        .unwrap();
    upload.put_part("one".into()).await.unwrap();
    *script.faults.lock().unwrap() = vec![Before, After];
    upload.abort().await.unwrap();
    assert_eq!(script.asked()[2..], ["abort", "abort", "abort"]);
    // One that never was cannot be aborted.
    assert!(upload.abort().await.is_err());
}
