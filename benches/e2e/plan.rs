//! A dry run over a bucket of many blocks that nobody could afford to store:
//! metas are real, index and segments are holes of the stated size.

use std::fs::{self, File};
use std::path::Path;
use std::time::Instant;

use lithify::block::meta::{File as BlockFile, Meta};
use lithify::compact::sync::Syncer;
use lithify::objstore::Bucket;
use lithify::plan::{self, Settings};
use ulid::Ulid;

use crate::bucket;
use crate::lab::{Lab, Program, REPLICA, Result};

/// HA pairs that the blocks are spread over.
const PAIRS: u64 = 25;
/// Length of a block, ms.
const RANGE: u64 = 7_200_000;
/// Start of the first block, ms since the epoch; a boundary of 14 days.
const START: u64 = 1_700_092_800_000 / (168 * RANGE) * (168 * RANGE);

/// Wall time of a dry run, and of what is in it.
pub fn row(lab: &Lab) -> Result<()> {
    let folder = lab.place("metas");
    bucket::remove(&folder)?;
    let blocks = lab.plan_blocks;
    for number in 0..blocks {
        block(&folder, number).map_err(|e| format!("cannot make block {number}: {e}"))?;
    }
    let dry = lab.best(Program::Ours, &folder, &[REPLICA, "--dry-run"], None)?;
    let (look, pure, jobs) = in_process(lab, &folder)?;
    println!("\nPlan of {blocks} blocks of {PAIRS} streams in a folder: {jobs} jobs\n");
    println!("| what                                   |     wall |  MiB |");
    println!("|----------------------------------------|---------:|-----:|");
    println!(
        "| compact --dry-run, the whole process   | {:>5.0} ms | {:>4.0} |",
        dry.wall * 1e3,
        dry.peak_mib
    );
    println!(
        "| look: list, fetch and parse metas      | {:>5.0} ms |      |",
        look * 1e3
    );
    println!(
        "| plan() alone                           | {:>5.1} ms |      |",
        pure * 1e3
    );
    bucket::remove(&folder)?;
    bucket::remove(&lab.result(Program::Ours))
}

/// Best times of a look and of a plan in this process, seconds, and the jobs.
fn in_process(lab: &Lab, folder: &Path) -> Result<(f64, f64, usize)> {
    let runtime = tokio::runtime::Runtime::new().map_err(|e| e.to_string())?;
    // A bucket is opened inside a runtime.
    let _inside = runtime.enter();
    let settings = Settings {
        replica_labels: vec!["prometheus_replica".to_owned()],
        vertical: true,
        consistency_delay_ms: 0,
        ..Settings::default()
    };
    // Long after the last block, so that the age of none matters.
    let now_ms = i64::try_from(START + 1_000 * 168 * RANGE).map_err(|e| e.to_string())?;
    let (mut look, mut pure, mut jobs) = (f64::MAX, f64::MAX, 0);
    for _ in 0..lab.rounds() {
        let bucket = Bucket::folder(folder).map_err(|e| e.to_string())?;
        let started = Instant::now();
        let view = runtime
            .block_on(Syncer::new(bucket, 32).sync())
            .map_err(|e| e.to_string())?;
        look = look.min(started.elapsed().as_secs_f64());
        if view.blocks.len() as u64 != lab.plan_blocks || !view.problems.is_empty() {
            return Err(format!("the look has problems: {:?}", view.problems));
        }
        let started = Instant::now();
        let plan = plan::plan(&view, &settings, now_ms);
        pure = pure.min(started.elapsed().as_secs_f64());
        jobs = plan.jobs.len();
    }
    Ok((look, pure, jobs))
}

/// One block as a sidecar would have uploaded it, without its content.
fn block(bucket: &Path, number: u64) -> std::io::Result<()> {
    const INDEX: u64 = 4 << 20;
    const SEGMENT: u64 = 16 << 20;
    let (replica, pair, time) = (number % 2, number / 2 % PAIRS, number / 2 / PAIRS);
    let min_time = START + time * RANGE;
    let id = Ulid::from_parts(min_time + RANGE, u128::from(number));
    let json = format!(
        r#"{{"ulid":"{id}","minTime":{min_time},"maxTime":{},"version":1,
            "stats":{{"numSamples":9600000,"numFloatSamples":9600000,
                      "numSeries":20000,"numChunks":80000}},
            "compaction":{{"level":1,"sources":["{id}"]}}}}"#,
        min_time + RANGE
    );
    let mut meta = Meta::parse(id, json.as_bytes()).map_err(std::io::Error::other)?;
    let label = |name: &str, value: String| (name.to_owned(), value);
    meta.thanos.labels = [
        label("cluster", format!("cluster-{pair:02}")),
        label("region", format!("region-{}", pair % 3)),
        label("prometheus_replica", format!("prometheus-{replica}")),
    ]
    .into();
    meta.thanos.source = "sidecar".to_owned();
    let folder = bucket.join(id.to_string());
    fs::create_dir_all(folder.join("chunks"))?;
    for (path, size) in [("chunks/000001", SEGMENT), ("index", INDEX)] {
        File::create(folder.join(path))?.set_len(size)?;
        meta.thanos.files.push(BlockFile {
            rel_path: path.to_owned(),
            size_bytes: size,
            hash: None,
        });
    }
    fs::write(folder.join("meta.json"), meta.to_json()?)
}
