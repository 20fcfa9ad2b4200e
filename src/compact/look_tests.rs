//! Both ways to look see the same.

use super::*;
use crate::compact::sync::Syncer;
use crate::plan::view::BlockView;
use crate::plan::{self, Settings};

const HOUR: u64 = 3_600_000;
/// A multiple of 14 days.
const START: u64 = 1_209_600_000 * 1400;

fn id(n: u64) -> Ulid {
    Ulid::from_parts(START + n, u128::from(n))
}

async fn add(bucket: &Bucket, n: u64, (from, to): (u64, u64), sources: &[u64]) {
    let id = id(n);
    let sources = sources.iter().map(|&s| format!("\"{}\"", self::id(s)));
    let sources = sources.collect::<Vec<_>>().join(",");
    let (from, to) = (START + from * HOUR, START + to * HOUR);
    let meta = format!(
        r#"{{"ulid":"{id}","minTime":{from},"maxTime":{to},"version":1,
            "stats":{{"numSamples":10,"numSeries":1,"numChunks":1}},
            "compaction":{{"level":1,"sources":[{sources}]}},
            "thanos":{{"labels":{{"a":"b"}},"downsample":{{"resolution":0}},"source":"compactor"}}}}"#
    );
    for (file, body) in [("index", "x"), ("chunks/000001", "x"), (META, &meta)] {
        bucket.put(&path(id, file), body.to_owned()).await.unwrap();
    }
}

/// What somebody else does while the job runs, and what a look then says.
#[derive(Debug, Clone, Copy)]
enum Change {
    Nothing,
    Gone(&'static str),
    New(&'static str),
    Replaced,
    Another,
    HalfUploaded,
}

async fn apply(bucket: &Bucket, change: Change) {
    match change {
        Change::Nothing => {}
        Change::Gone(file) => bucket.delete(&path(id(2), file)).await.unwrap(),
        Change::New(file) => bucket.put(&path(id(2), file), "{}").await.unwrap(),
        Change::Replaced => add(bucket, 20, (0, 8), &[1, 2, 3, 4]).await,
        Change::Another => add(bucket, 20, (0, 8), &[30]).await,
        Change::HalfUploaded => {
            let name = path(id(20), "chunks/000001");
            bucket.put(&name, "x").await.unwrap();
        }
    }
}

/// The job, what is known when it begins, and the bucket.
async fn begun() -> (Bucket, Job, Known) {
    let bucket = Bucket::memory().unwrap();
    for n in 1..=5 {
        add(&bucket, n, (n * 2 - 2, n * 2), &[n]).await;
    }
    let view = Syncer::new(bucket.clone(), 4).sync().await.unwrap();
    let plan = plan::plan(&view, &Settings::default(), (START + 99 * HOUR) as i64);
    let known = Known::default();
    known.saw(view.blocks.iter().map(BlockView::id));
    known.saw_size(view.size);
    let job = plan.jobs.into_iter().next().unwrap();
    assert_eq!(job.source_ids(), [1, 2, 3, 4].map(id));
    (bucket, job, known)
}

#[tokio::test]
async fn a_look_sees_what_somebody_else_did() {
    for (change, wanted) in [
        (Change::Nothing, None),
        (Change::Gone(META), Some("disappeared")),
        (Change::Gone("index"), None),
        (
            Change::New(markers::DELETION_MARK),
            Some("marked for deletion"),
        ),
        (Change::New(markers::NO_COMPACT_MARK), Some("kept out")),
        (Change::New(markers::NO_DOWNSAMPLE_MARK), None),
        (Change::Replaced, Some("by somebody else")),
        (Change::Another, None),
        (Change::HalfUploaded, None),
    ] {
        for all_at_once in [true, false] {
            let (bucket, job, known) = begun().await;
            if !all_at_once {
                let (objects, roots) = (1_000_000, 1);
                known.saw_size(BucketSize { objects, roots });
            }
            apply(&bucket, change).await;
            let before = bucket.counts();
            let found = still_wanted(&bucket, &job, &known).await;
            let asked = bucket.counts().since(&before);
            let what = format!("{change:?}, all at once: {all_at_once}");
            match (&found, wanted) {
                (Ok(()), None) => {}
                (Err(error), Some(words)) => {
                    assert!(error.chain().contains(words), "{what}: {error}");
                }
                _ => panic!("{what}: {found:?}"),
            }
            let lists = if all_at_once { 1 } else { 5 };
            let fails_early = found.is_err() && asked.list.calls < lists;
            assert!(
                asked.list.calls == lists || fails_early,
                "{what}: {asked:?}"
            );
            let size = *lock(&known.size);
            assert_eq!(size.look(job.sources.len()), lists, "{what}");
        }
    }
}
