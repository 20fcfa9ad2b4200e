//! Lower resolutions beside those of Thanos: the same blocks from the same raw
//! ones, further ones from each other's, and the same answers.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::compact::{live_blocks, meta};
use crate::files::{copy_dir, fixture};
use crate::peer::{
    folder_config, lithify_compact, lithify_downsample, must, peer, thanos_downsample,
};
use crate::query::{Stack, assert_same};

const FIVE_MINUTES: i64 = 300_000;
const ONE_HOUR: i64 = 3_600_000;

/// 26 days of one Prometheus in blocks of two days: five of them end a range of
/// 14 days, seven are the next one, the last begins the third. So the first two
/// are long enough for 1h, with 10 days and 14.
fn weeks(at: &Path) {
    must(
        Command::new(peer("oracle"))
            .arg("bench-blocks")
            .arg(format!("--out={}", at.display()))
            .args(["--series=60", "--blocks=13", "--replicas=1"])
            .args(["--interval=1m", "--range=48h"]),
    );
}

/// A day of the quick-start bucket, with native histograms and stale series, in
/// blocks that say that they are 40 hours long.
fn quick_start(at: &Path) {
    let work = tempfile::tempdir().unwrap();
    let bucket = work.path().join("quickstart");
    copy_dir(&fixture("quickstart"), &bucket);
    lithify_compact(&folder_config(&bucket, work.path()), work.path(), &[]);
    let mut kept = 0;
    for block in live_blocks(&bucket) {
        let mut long = meta(&block);
        let start = long["minTime"].as_i64().unwrap();
        if long["maxTime"].as_i64().unwrap() - start < 20 * ONE_HOUR {
            continue;
        }
        long["maxTime"] = (start + 40 * ONE_HOUR).into();
        let copy = at.join(block.file_name().unwrap());
        copy_dir(&block, &copy);
        fs::write(copy.join("meta.json"), long.to_string()).unwrap();
        kept += 1;
    }
    assert!(kept >= 4);
}

fn resolution(block: &Path) -> i64 {
    meta(block)["thanos"]["downsample"]["resolution"]
        .as_i64()
        .unwrap()
}

fn of_resolution(bucket: &Path, wanted: i64) -> Vec<PathBuf> {
    let blocks = live_blocks(bucket).into_iter();
    blocks.filter(|b| resolution(b) == wanted).collect()
}

/// Runs a program until there is nothing left to do for it.
fn to_the_end(program: fn(&Path, &Path, &[&str]) -> std::process::Output, bucket: &Path) {
    let work = bucket.parent().unwrap();
    let config = folder_config(bucket, work);
    for _ in 0..3 {
        program(&config, work, &[]);
    }
}

/// Two copies of a bucket, each brought to its end by one program.
struct Pair {
    work: tempfile::TempDir,
    ours: PathBuf,
    theirs: PathBuf,
}

impl Pair {
    fn of(fill: impl Fn(&Path)) -> Self {
        let work = tempfile::tempdir().unwrap();
        let (ours, theirs) = (work.path().join("ours"), work.path().join("theirs"));
        fill(&ours);
        copy_dir(&ours, &theirs);
        to_the_end(lithify_downsample, &ours);
        to_the_end(thanos_downsample, &theirs);
        Self { work, ours, theirs }
    }

    /// Compares live downsampled blocks, column by column. Returns the last
    /// line of the comparison.
    ///
    /// One difference is intended: of nothing but +Inf the smallest is +Inf, and
    /// of -Inf the largest -Inf, where Thanos has the largest float.
    fn compare(&self) -> String {
        let mut command = Command::new(peer("oracle"));
        command
            .args(["compare", "--blocks", "--downsampled"])
            .args(["--left".as_ref(), self.ours.as_os_str()])
            .args(["--right".as_ref(), self.theirs.as_os_str()]);
        let output = command.output().unwrap();
        assert!(matches!(output.status.code(), Some(0 | 1)), "{output:?}");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let (last, differences) = text.lines().collect::<Vec<_>>().split_last().map_or_else(
            || panic!("{output:?}"),
            |(last, differences)| ((*last).to_owned(), differences.join("\n")),
        );
        for difference in differences.lines() {
            let infinite = (difference.contains(" min sample ")
                && difference.contains("left +Inf"))
                || (difference.contains(" max sample ") && difference.contains("left -Inf"));
            let intended = infinite && difference.contains("1.797693");
            assert!(intended, "{difference}");
        }
        last
    }
}

/// Number before a word in the line of a comparison.
fn number(line: &str, word: &str) -> u64 {
    let words: Vec<&str> = line
        .split(&[' ', ',', ':'][..])
        .filter(|w| !w.is_empty())
        .collect();
    let at = words.iter().position(|w| *w == word);
    let at = at.unwrap_or_else(|| panic!("{word} in {line}"));
    words[at - 1].parse().unwrap()
}

#[test]
fn downsampled_blocks_are_those_of_thanos() {
    for (name, pair) in [
        ("26 days", Pair::of(weeks)),
        ("quick start", Pair::of(quick_start)),
    ] {
        let line = pair.compare();
        println!("{name}: {line}");
        assert!(
            number(&line, "pairs") > 0 && number(&line, "samples") > 10_000,
            "{line}"
        );
        let resolutions = |bucket: &Path| {
            let mut all: Vec<i64> = live_blocks(bucket).iter().map(|b| resolution(b)).collect();
            all.sort_unstable();
            all
        };
        assert_eq!(resolutions(&pair.ours), resolutions(&pair.theirs));
    }
}

/// Each program makes 1h of what the other has made of 5m.
#[test]
fn blocks_of_one_program_are_downsampled_further_by_the_other() {
    let pair = Pair::of(weeks);
    let hours = |bucket: &Path| {
        let mut blocks = of_resolution(bucket, ONE_HOUR);
        assert_eq!(blocks.len(), 2, "{}", bucket.display());
        blocks.sort_by_key(|b| meta(b)["minTime"].as_i64());
        blocks
    };
    assert_eq!(of_resolution(&pair.ours, FIVE_MINUTES).len(), 3);
    let before = pair.work.path().join("before");
    for (n, block) in hours(&pair.ours).iter().enumerate() {
        copy_dir(block, &before.join(n.to_string()));
    }
    for block in [hours(&pair.ours), hours(&pair.theirs)].concat() {
        fs::remove_dir_all(block).unwrap();
    }
    to_the_end(thanos_downsample, &pair.ours);
    to_the_end(lithify_downsample, &pair.theirs);
    println!("{}", pair.compare());
    for bucket in [&pair.ours, &pair.theirs] {
        for (n, again) in hours(bucket).iter().enumerate() {
            for file in ["index", "chunks/000001"] {
                let name = before.join(n.to_string()).join(file);
                let (a, b) = (fs::read(name), fs::read(again.join(file)));
                assert!(a.unwrap() == b.unwrap(), "{}: {file}", again.display());
            }
        }
    }
}

/// Functions that a querier answers from aggregates; `METRIC` is replaced by
/// names of metrics.
const QUERIES: [&str; 10] = [
    "sum_over_time(METRIC[4h])",
    "count_over_time(METRIC[4h])",
    "min_over_time(METRIC[4h])",
    "max_over_time(METRIC[4h])",
    "avg_over_time(METRIC[4h])",
    "rate(METRIC[4h])",
    "increase(METRIC[4h])",
    "sum by (__name__) (count_over_time(METRIC[1h]))",
    "topk(5, rate(METRIC[6h]))",
    "METRIC",
];

/// Counters, gauges and what never changes.
const METRICS_OF_WEEKS: [&str; 4] = [
    "container_metric_00_total",
    "container_metric_01_total",
    "container_metric_02_total",
    "container_metric_03_total",
];

/// The same of the quick-start bucket.
const METRICS_OF_QUICK_START: [&str; 4] = [
    "node_cpu_seconds_total",
    "container_memory_working_set_bytes",
    "apiserver_request_total",
    "kube_pod_status_phase",
];

/// Of histograms, classic and native.
const HISTOGRAM_QUERIES: [&str; 4] = [
    "histogram_quantile(0.9, sum by (le) (rate(apiserver_request_duration_seconds_bucket[4h])))",
    "histogram_quantile(0.9, sum(rate(kubelet_http_requests_duration_seconds[4h])))",
    "sum(histogram_count(increase(kubelet_http_requests_duration_seconds[4h])))",
    "sum(histogram_sum(rate(kubelet_http_requests_duration_seconds[2h])))",
];

fn range_of(bucket: &Path, wanted: i64) -> (i64, i64) {
    let metas = of_resolution(bucket, wanted);
    let metas = metas.iter().map(|b| meta(b));
    let ranges: Vec<(i64, i64)> = metas
        .map(|m| {
            (
                m["minTime"].as_i64().unwrap(),
                m["maxTime"].as_i64().unwrap(),
            )
        })
        .collect();
    let start = ranges.iter().map(|r| r.0).min().unwrap();
    (
        start / 1000,
        ranges.iter().map(|r| r.1).max().unwrap() / 1000,
    )
}

fn answers(
    stack: &Stack,
    queries: &[String],
    range: (i64, i64),
    from: &str,
) -> Vec<(String, Value)> {
    let ask = |query: &String| {
        let answer = stack.range_of(
            query,
            range,
            7207,
            &format!("&max_source_resolution={from}"),
        );
        (format!("{query} from {from}"), answer)
    };
    queries.iter().map(ask).collect()
}

#[test]
fn promql_over_aggregates_answers_as_over_those_of_thanos() {
    let days = Pair::of(weeks);
    let quick = Pair::of(quick_start);
    let of = |metrics: [&str; 4]| {
        let each = metrics.into_iter().flat_map(|metric| {
            let queries = QUERIES.into_iter();
            queries.map(move |query| query.replace("METRIC", metric))
        });
        each.collect::<Vec<String>>()
    };
    let mut of_quick_start = of(METRICS_OF_QUICK_START);
    of_quick_start.extend(HISTOGRAM_QUERIES.map(str::to_owned));
    for (pair, queries, resolutions) in [
        (&days, of(METRICS_OF_WEEKS), &["0s", "5m", "1h"][..]),
        (&quick, of_quick_start, &["0s", "5m"][..]),
    ] {
        // What has been downsampled; the rest is raw for both.
        let range = range_of(&pair.ours, FIVE_MINUTES);
        let start = |bucket: &Path| {
            let config = folder_config(bucket, pair.work.path());
            Stack::start_at(&config, pair.work.path(), range.0 + 3600)
        };
        let (ours, theirs) = (start(&pair.ours), start(&pair.theirs));
        let mut raw = None;
        for from in resolutions {
            let a = answers(&ours, &queries, range, from);
            assert_same(&a, &answers(&theirs, &queries, range, from));
            // And it was answered from somewhere else than raw samples.
            let raw = raw.get_or_insert_with(|| a.clone());
            let same = a.iter().zip(raw.iter()).all(|(a, b)| a.1 == b.1);
            assert_eq!(same, *from == "0s", "{from}");
        }
    }
}

/// Over whole windows these are exact, whatever they come from. (A querier
/// answers `count_over_time` with the number of windows.)
#[test]
fn sums_over_whole_windows_are_those_of_raw_samples() {
    let pair = Pair::of(weeks);
    let (start, end) = range_of(&pair.ours, ONE_HOUR);
    let config = folder_config(&pair.ours, pair.work.path());
    let stack = Stack::start_at(&config, pair.work.path(), start + 3600);
    let ask = |query: &str, from: &str| {
        // Windows end 1 ms before the full hour, ranges begin behind it.
        let range = (start + 4 * 3600, end - 3600);
        let more = format!("&max_source_resolution={from}");
        stack.range_of(query, range, 4 * 3600, &more)
    };
    let metric = METRICS_OF_WEEKS[0];
    let shifted = |function: &str| format!("{function}({metric}[4h] offset 1ms)");
    for function in ["min_over_time", "max_over_time", "sum_over_time"] {
        let query = shifted(function);
        let raw = ask(&query, "0s");
        assert!(!raw.as_array().unwrap().is_empty());
        for from in ["5m", "1h"] {
            assert_same(
                &[(format!("{query} from {from}"), ask(&query, from))],
                &[(query.clone(), raw.clone())],
            );
        }
    }
}
