//! PromQL through a real store gateway and querier, before and after.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::files::{copy_dir, fixture};
use crate::peer::{
    REPLICA_LABELS, Server, encode, folder_config, free_port, get, lithify_compact, peer,
    replica_flags, thanos_compact,
};

/// Start of the quick-start bucket, seconds since the epoch.
const START: i64 = 1_788_220_800;
const HOURS: i64 = 62;

/// Functions over ranges, aggregations, native histograms and a bare selector;
/// `SEL` is replaced by the matcher of the streams that are looked at.
const QUERIES: [&str; 9] = [
    "count by (__name__) ({__name__=~\".+\",SEL})",
    "sum by (job, code) (rate(apiserver_request_total{SEL}[5m]))",
    "histogram_quantile(0.9, sum by (le) (rate(apiserver_request_duration_seconds_bucket{SEL}[10m])))",
    "histogram_quantile(0.9, sum(rate(kubelet_http_requests_duration_seconds{SEL}[10m])))",
    "sum(histogram_count(rate(kubelet_http_requests_duration_seconds{SEL}[10m])))",
    "max_over_time(container_memory_working_set_bytes{SEL}[30m])",
    "count_over_time(kube_pod_status_phase{SEL}[1h])",
    "topk(5, avg_over_time(node_filesystem_avail_bytes{SEL}[2h]))",
    "{__name__=~\".+\",SEL}",
];

/// A store gateway over one bucket with a querier in front of it.
pub struct Stack {
    _store: Server,
    query: Server,
    /// A time that has data, seconds since the epoch.
    at: i64,
}

impl Stack {
    /// Over a copy of the quick-start bucket.
    pub fn start(config: &Path, work: &Path) -> Self {
        Self::start_at(config, work, START + 3600)
    }

    /// Over a bucket that has data at `at`, seconds since the epoch.
    pub fn start_at(config: &Path, work: &Path, at: i64) -> Self {
        let (grpc, http, query_http, query_grpc) =
            (free_port(), free_port(), free_port(), free_port());
        let mut store = Command::new(peer("thanos"));
        store
            .arg("store")
            .arg(format!("--objstore.config-file={}", config.display()))
            .arg(format!(
                "--data-dir={}",
                work.join(format!("store-{grpc}")).display()
            ))
            .arg(format!("--grpc-address=127.0.0.1:{grpc}"))
            .arg(format!("--http-address=127.0.0.1:{http}"));
        let store = Server::start(store, work, http, "/-/ready");
        let mut query = Command::new(peer("thanos"));
        query
            .arg("query")
            .arg(format!("--endpoint=127.0.0.1:{grpc}"))
            .arg(format!("--grpc-address=127.0.0.1:{query_grpc}"))
            .arg(format!("--http-address=127.0.0.1:{query_http}"))
            .args(REPLICA_LABELS.map(|l| format!("--query.replica-label={l}")));
        let query = Server::start(query, work, query_http, "/-/ready");
        let stack = Self {
            _store: store,
            query,
            at,
        };
        stack.wait_for_data();
        stack
    }

    /// The querier asks its stores what they have only every few seconds.
    fn wait_for_data(&self) {
        for _ in 0..600 {
            let found = self.instant("count({__name__=~\".+\"})", self.at);
            if found["data"]["result"]
                .as_array()
                .is_some_and(|r| !r.is_empty())
            {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        panic!("the querier sees no data of the store gateway");
    }

    fn ask(&self, path: &str) -> Value {
        let (status, body) = get(self.query.port, path).expect("the querier answers");
        assert_eq!(status, 200, "{path}: {body}");
        let answer: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(answer["status"], "success", "{path}: {body}");
        answer
    }

    fn instant(&self, query: &str, at: i64) -> Value {
        self.ask(&format!(
            "/api/v1/query?query={}&time={at}&dedup=true",
            encode(query)
        ))
    }

    fn range(&self, query: &str, (start, end): (i64, i64), step: i64, more: &str) -> Value {
        let path = format!(
            "/api/v1/query_range?query={}&start={start}&end={end}&step={step}&dedup=true\
             &partial_response=false{more}",
            encode(query),
        );
        self.ask(&path)
    }

    /// The answer to one query over a range (seconds since the epoch, step in
    /// seconds), its series sorted. What PromQL remarks about the data is part
    /// of it. `more` goes into the address.
    pub fn range_of(&self, query: &str, range: (i64, i64), step: i64, more: &str) -> Value {
        let mut answer = self.range(query, range, step, more);
        let mut result = answer["data"]["result"].take();
        let series = result.as_array_mut().unwrap();
        series.sort_by_key(|s| s["metric"].to_string());
        let warnings = answer["warnings"].take();
        series.extend(warnings.as_array().into_iter().flatten().cloned());
        result
    }

    /// Answers to all queries on the streams that a matcher selects, each with
    /// its series sorted. What PromQL remarks about the data is part of it.
    pub fn answers(&self, selector: &str) -> Vec<(String, Value)> {
        QUERIES
            .iter()
            .map(|query| {
                let query = query.replace("SEL", selector);
                let result = self.range_of(&query, (START, START + HOURS * 3600), 613, "");
                (query, result)
            })
            .collect()
    }
}

/// Fails with the first series that differs.
pub fn assert_same(left: &[(String, Value)], right: &[(String, Value)]) {
    assert_eq!(left.len(), right.len());
    let mut answered = 0;
    for ((query, a), (_, b)) in left.iter().zip(right) {
        let (a, b) = (a.as_array().unwrap(), b.as_array().unwrap());
        assert_eq!(a.len(), b.len(), "{query}: number of series");
        answered += usize::from(!a.is_empty());
        for (a, b) in a.iter().zip(b) {
            assert!(a == b, "{query}:\n{}\n{}", clip(a), clip(b));
        }
    }
    assert_eq!(
        answered,
        left.len(),
        "a query without an answer compares nothing"
    );
}

fn clip(value: &Value) -> String {
    value.to_string().chars().take(2000).collect()
}

#[test]
fn promql_answers_stay_the_same() {
    let work = tempfile::tempdir().unwrap();
    let flags = replica_flags();
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let folder = |name: &str| {
        let bucket = work.path().join(name);
        copy_dir(&fixture("quickstart"), &bucket);
        folder_config(&bucket, work.path())
    };
    let (before, ours, theirs) = (folder("before"), folder("ours"), folder("theirs"));
    lithify_compact(&ours, work.path(), &flags);
    thanos_compact(&theirs, work.path(), &flags);

    // Streams without offset replicas: nothing may change at all.
    let same = "cluster!=\"cluster-01\"";
    let (a, b) = (
        Stack::start(&before, work.path()),
        Stack::start(&ours, work.path()),
    );
    assert_same(&a.answers(same), &b.answers(same));
    drop(a);
    // An HA pair merged one-to-one answers as after Thanos' compaction.
    let all = "cluster=~\".+\"";
    let c = Stack::start(&theirs, work.path());
    assert_same(&c.answers(all), &b.answers(all));
}
