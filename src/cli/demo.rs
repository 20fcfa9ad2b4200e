//! `lithify demo`: the whole way on a small bucket that the binary carries.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use include_dir::{Dir, include_dir};

use super::bucket::{Inventory, StreamRow};
use super::{Outcome, human};
use crate::compact::cache::Places;
use crate::compact::quarantine::DEFAULT_MAX_BLOCKS;
use crate::compact::{Compactor, Options, report::RunReport, sync::Syncer};
use crate::error::{Error, Kind, Result};
use crate::merge;
use crate::objstore::Bucket;
use crate::plan::cost::Machine;
use crate::plan::{Job, Settings};
use crate::runtime::clock::SystemClock;
use crate::runtime::{memory, pool};

/// Blocks that Prometheus wrote, see `fixtures/README.md`.
static QUICKSTART: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/fixtures/quickstart");

/// Stands in a folder that an earlier demo made, so that it may be replaced.
const OURS: &str = ".lithify-demo";

/// Labels that tell the replicas of the quick-start bucket apart.
const REPLICA_LABELS: [&str; 2] = ["prometheus_replica", "receive_replica"];

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Where to lay the bucket out: a new folder, or that of an earlier demo.
    /// Default: `lithify-demo` in the folder for temporary files.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// CPU threads, 0 for one per core.
    #[arg(long, default_value_t = 0)]
    threads: usize,
}

pub(super) async fn run(args: Args) -> Result<Outcome> {
    let root = args
        .dir
        .unwrap_or_else(|| std::env::temp_dir().join("lithify-demo"));
    let bucket_dir = root.join("bucket");
    lay_out(&root, &bucket_dir)?;
    let bucket = Bucket::folder(&bucket_dir)?;
    let before = inventory(&bucket).await?;
    let report = compact(&bucket, &root, args.threads).await?;
    let after = inventory(&bucket).await?;
    print(&root, &before, &after, &report)
        .map_err(|e| Error::new(Kind::Retry, "cannot write to standard output").with_source(e))?;
    Ok(if report.is_partial() {
        Outcome::Partial
    } else {
        Outcome::Done
    })
}

/// Writes the bucket, and a configuration for it, into a folder of its own.
fn lay_out(root: &Path, bucket_dir: &Path) -> Result<()> {
    let io = |what: &str| {
        let what = format!("{what} {}", root.display());
        move |e: std::io::Error| {
            Error::new(Kind::Config, what)
                .with_source(e)
                .with_cure("choose another folder with --dir")
        }
    };
    if root.exists() {
        let empty = root
            .read_dir()
            .map_err(io("cannot read folder"))?
            .next()
            .is_none();
        if !empty && !root.join(OURS).exists() {
            let what = format!("folder {} is not empty and not from a demo", root.display());
            return Err(Error::new(Kind::Config, what).with_cure("choose another one with --dir"));
        }
        std::fs::remove_dir_all(root).map_err(io("cannot replace folder"))?;
    }
    std::fs::create_dir_all(bucket_dir).map_err(io("cannot create folder"))?;
    std::fs::write(root.join(OURS), "").map_err(io("cannot write to folder"))?;
    QUICKSTART
        .extract(bucket_dir)
        .map_err(io("cannot lay the bucket out in folder"))?;
    let yaml = format!(
        "type: FILESYSTEM\nconfig:\n  directory: {:?}\n",
        bucket_dir.display().to_string()
    );
    std::fs::write(root.join("bucket.yml"), yaml).map_err(io("cannot write to folder"))
}

async fn inventory(bucket: &Bucket) -> Result<Inventory> {
    let view = Syncer::new(bucket.clone(), 32).sync().await?;
    let labels: Vec<String> = REPLICA_LABELS.map(str::to_owned).to_vec();
    Ok(Inventory::of(&view, &labels))
}

async fn compact(bucket: &Bucket, root: &Path, threads: usize) -> Result<RunReport> {
    let pool = pool::cpu_pool(threads)?;
    let compactor = Compactor {
        bucket: bucket.clone(),
        clock: Arc::new(SystemClock),
        options: Options {
            max_quarantined: DEFAULT_MAX_BLOCKS,
            lease: None,
            cache: Places::default(),
            plan: Settings {
                replica_labels: REPLICA_LABELS.map(str::to_owned).to_vec(),
                vertical: true,
                // The blocks carry dates of their own; a clock that is behind
                // them must not make them too fresh.
                consistency_delay_ms: i64::MIN,
                machine: Machine {
                    memory_bytes: 512 << 20,
                    ..Machine::default()
                },
                ..Settings::default()
            },
            concurrency: pool.current_num_threads(),
            downsample_concurrency: pool.current_num_threads(),
            fetch_concurrency: 32,
            scratch: root.join("scratch"),
            merge: merge::merge,
            lane_of: Job::lane,
        },
        pool,
    };
    compactor.run().await
}

fn print(
    root: &Path,
    before: &Inventory,
    after: &Inventory,
    report: &RunReport,
) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    let (was, is) = (before.total(), after.total());
    writeln!(out, "\nlive blocks per stream, before → after\n")?;
    writeln!(out, "{}", table(before, after))?;
    explain_growth(&mut out, before, after)?;
    let ledger = report.ledger();
    let row = |name: &str, was: u64, is: u64, text: fn(u64) -> String| {
        format!(
            "  {name:<15} {:>12} → {:>12}   {}",
            text(was),
            text(is),
            human::change(was, is)
        )
    };
    writeln!(
        out,
        "{}",
        row("blocks", was.blocks, is.blocks, human::count)
    )?;
    writeln!(out, "{}", row("bytes", was.bytes, is.bytes, human::bytes))?;
    writeln!(
        out,
        "{}",
        row("samples", was.samples, is.samples, human::count)
    )?;
    writeln!(
        out,
        "{}",
        row("series entries", was.series, is.series, human::count)
    )?;
    writeln!(
        out,
        "\n  {} compactions in {:.2} s: {} samples read, {} duplicates removed",
        report.jobs.len(),
        report.seconds,
        human::count(ledger.read),
        human::count(ledger.deduplicated),
    )?;
    if let Some(peak) = memory::peak_rss_bytes() {
        writeln!(out, "  peak memory {}", human::bytes(peak))?;
    }
    let root = root.display();
    writeln!(
        out,
        "\nThe replaced blocks carry a deletion mark; the bucket is a plain folder.\n\
         \nTry next\n\
         \x20 ls {root}/bucket\n\
         \x20 lithify compact --objstore.config-file={root}/bucket.yml \\\n\
         \x20   --data-dir={root}/scratch \\\n\
         \x20   --deduplication.replica-label=prometheus_replica \\\n\
         \x20   --deduplication.replica-label=receive_replica      # finds nothing to do\n\
         \x20 thanos tools bucket inspect \\\n\
         \x20   --objstore.config-file={root}/bucket.yml"
    )
}

/// Why a stream may need more bytes than before.
fn explain_growth(
    out: &mut impl Write,
    before: &Inventory,
    after: &Inventory,
) -> std::io::Result<()> {
    let grew = |(name, was): &(&String, &StreamRow)| {
        let is = after.streams.get(*name);
        is.is_some_and(|is| is.bytes > was.bytes)
    };
    for (stream, _) in before.streams.iter().filter(grew) {
        writeln!(
            out,
            "  {stream} grew: its replicas scrape at different moments, so merging them\n  \
             one-to-one keeps every sample of both, and mixed times compress less\n"
        )?;
    }
    Ok(())
}

fn table(before: &Inventory, after: &Inventory) -> comfy_table::Table {
    use comfy_table::{CellAlignment, Table, presets};
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY);
    table.set_header(["stream", "blocks", "bytes", "samples"]);
    for (stream, was) in &before.streams {
        let is = after.streams.get(stream).copied().unwrap_or_default();
        let pair = |text: fn(u64) -> String, pick: fn(&StreamRow) -> u64| {
            format!("{} → {}", text(pick(was)), text(pick(&is)))
        };
        table.add_row([
            stream.clone(),
            pair(human::count, |r| r.blocks),
            pair(human::bytes, |r| r.bytes),
            pair(human::count, |r| r.samples),
        ]);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}
