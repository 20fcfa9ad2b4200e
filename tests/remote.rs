//! Runs over a real connection that breaks, stalls and is refused: what lives at
//! the end is what lives after a run over a good one.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "test code")]

mod support;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use lithify::objstore::{Bucket, Counts, Kind, ReadAhead};
use lithify::plan::Settings;
use support::blocks::{self, BlockFiles, Spec, labels};
use support::conformance::content;
use support::proxy::{Fate, Proxy, Request};
use support::runs::{HOUR, START, after_the_machine, replica_settings, run_at};
use support::s3_server::{S3Server, config, open};
use ulid::Ulid;

/// A limit of one read that a test can wait for.
const SHORT: &str = "  http_config: {response_header_timeout: 1s}\n";

/// A block of two hours of one replica.
fn spec(n: u64, window: i64, replica: &str) -> Spec {
    let (first, last) = (START + window * 2 * HOUR, START + (window + 1) * 2 * HOUR);
    let series = (0..5).map(|s| {
        let name = vec![
            ("__name__".to_owned(), "up".to_owned()),
            ("instance".to_owned(), format!("node-{s}")),
        ];
        let late = if replica == "b" { 15_000 } else { 0 };
        let scrapes = (first..last).step_by(60_000);
        let samples = scrapes.map(|t| (t + late, (t as f64 / 60_000.0).sin() + f64::from(s)));
        (name, samples.collect())
    });
    Spec {
        id: Ulid::from_parts(first as u64 + n, u128::from(n)),
        labels: labels(&[("cluster", "c"), ("replica", replica)]),
        range: (first, last),
        series: series.collect(),
    }
}

async fn write_blocks(bucket: &Bucket) {
    for (n, replica) in [(1, "a"), (2, "b")] {
        for window in 0..5 {
            blocks::write(bucket, &spec(n, window, replica)).await;
        }
    }
}

fn settings() -> Settings {
    let mut settings = Settings {
        downsampling: true,
        ..replica_settings()
    };
    // Several parts of each file.
    settings.machine.part_bytes = 32 << 10;
    settings.machine.least_part_bytes = 32 << 10;
    settings
}

/// What a run makes where nothing is ever wrong.
async fn expected(now: i64) -> BlockFiles {
    let bucket = Bucket::memory().unwrap();
    write_blocks(&bucket).await;
    let report = run_at(&bucket, settings(), 2, now).await;
    assert!(report.failures.is_empty(), "{:?}", report.failures);
    blocks::files(&bucket).await
}

/// Runs with every so many requests of `method` (all, if empty) met by one of
/// these fates, in turn. Returns what was counted, and how often that happened.
async fn run_under(method: &'static str, every: u64, fates: &'static [Fate]) -> (Counts, u64) {
    let now = after_the_machine();
    let server = S3Server::start().await;
    let direct = server.bucket("blocks").await;
    write_blocks(&direct).await;
    let (seen, met) = (AtomicU64::new(0), Arc::new(AtomicU64::new(0)));
    let counted = Arc::clone(&met);
    let rule = move |request: &Request| {
        if !method.is_empty() && method != request.method {
            return Fate::Pass;
        }
        let number = seen.fetch_add(1, Ordering::SeqCst);
        if number % every != every - 1 {
            return Fate::Pass;
        }
        counted.fetch_add(1, Ordering::SeqCst);
        fates[(number / every) as usize % fates.len()]
    };
    let proxy = Proxy::start(server.endpoint(), rule).await;
    let bucket = open(&config(&proxy.endpoint(), "blocks", SHORT)).await;
    let report = run_at(&bucket, settings(), 2, now).await;
    assert!(report.failures.is_empty(), "{:?}", report.failures);
    assert!(!report.is_partial());
    assert!(blocks::files(&direct).await == expected(now).await);
    (bucket.counts(), met.load(Ordering::SeqCst))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_over_a_connection_that_breaks() {
    let fates = &[Fate::BreakBefore, Fate::Cut, Fate::BreakAfter, Fate::Fail];
    let (counts, met) = run_under("", 9, fates).await;
    // A cut does no harm to an answer without a body.
    assert!(counts.repeated > met / 2, "{} of {met}", counts.repeated);
    assert!(counts.repeated <= met, "{} of {met}", counts.repeated);
    assert_eq!(counts.throttled, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_over_a_connection_that_stalls() {
    let (counts, met) = run_under("GET", 20, &[Fate::Stall]).await;
    assert!(counts.repeated > 0, "{} of {met}", counts.repeated);
    // A reader that goes on elsewhere does not wait for what stalls.
    assert!(counts.repeated <= met, "{} of {met}", counts.repeated);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_on_a_store_that_refuses_now_and_then() {
    let (counts, met) = run_under("", 30, &[Fate::Refuse(None)]).await;
    assert!(met > 0);
    assert_eq!((counts.throttled, counts.repeated), (met, met));
}

/// A server with an object, and a bucket behind a proxy with this rule.
async fn behind(
    more: &str,
    rule: impl Fn(&Request) -> Fate + Send + Sync + 'static,
) -> (S3Server, Proxy, Bucket, Vec<u8>) {
    let server = S3Server::start().await;
    let data = content(3_000_000, 1);
    let direct = server.bucket("blocks").await;
    direct.put("x", data.clone()).await.unwrap();
    let proxy = Proxy::start(server.endpoint(), rule).await;
    let bucket = open(&config(&proxy.endpoint(), "blocks", more)).await;
    (server, proxy, bucket, data)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_goes_on_where_a_body_stalls_or_breaks() {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&asked);
    let rule = move |request: &Request| {
        seen.lock().unwrap().push(request.target.clone());
        match request.number {
            0 => Fate::Stall,
            1 | 3 => Fate::Cut,
            _ => Fate::Pass,
        }
    };
    let (_server, _proxy, bucket, data) = behind(SHORT, rule).await;
    let reading = bucket.clone();
    let wanted = data.clone();
    tokio::task::spawn_blocking(move || {
        let ahead = ReadAhead {
            window: 1 << 20,
            depth: 1,
        };
        let mut reader = reading.open("x", wanted.len() as u64, ahead).unwrap();
        for (at, piece) in wanted.chunks(100_000).enumerate() {
            let read = reader.exact(at as u64 * 100_000, piece.len()).unwrap();
            assert!(read == piece, "at {at}");
        }
    })
    .await
    .unwrap();
    // Three windows, and three answers that were not whole.
    assert_eq!(asked.lock().unwrap().len(), 6);
    let counts = bucket.counts();
    assert_eq!((counts.get_range.calls, counts.repeated), (3, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_for_ever_says_how_often_it_was_tried() {
    let rule = |_: &Request| Fate::Fail;
    let (_server, _proxy, bucket, _) = behind("  max_retries: 3\n", rule).await;
    let error = bucket.get("x").await.unwrap_err();
    let text = error.to_string();
    assert_eq!(error.kind, Kind::Other);
    assert!(
        text.contains("HTTP 500") && text.contains("GET tried 3 times in"),
        "{text}"
    );
    assert_eq!(bucket.counts().repeated, 2);
    // One try is one try.
    let (_server, _proxy, bucket, _) = behind("  max_retries: 1\n", rule).await;
    let error = bucket.put("y", "y").await.unwrap_err();
    assert!(!error.to_string().contains("tried"), "{error}");
    assert_eq!(bucket.counts().repeated, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_put_on_a_condition_whose_answer_is_lost_is_sent_once() {
    let sent = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&sent);
    let rule = move |request: &Request| {
        if request.method == "PUT" {
            counted.fetch_add(1, Ordering::SeqCst);
            return Fate::BreakAfter;
        }
        Fate::Pass
    };
    let (_server, _proxy, bucket, _) = behind("", rule).await;
    let error = bucket.put_if_absent("lock", "mine").await.unwrap_err();
    assert!(error.kind.is_transient(), "{error}");
    assert_eq!(sent.load(Ordering::SeqCst), 1);
    assert_eq!(bucket.get("lock").await.unwrap().unwrap(), "mine");
}

/// Asks with eight tasks until `until`.
async fn ask(bucket: &Bucket, until: Instant) {
    let tasks = (0..8).map(|_| {
        let bucket = bucket.clone();
        tokio::spawn(async move {
            while Instant::now() < until {
                bucket.head("x").await.unwrap();
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
}

/// When requests arrived, and whether they were refused.
type Arrivals = Arc<Mutex<Vec<(Instant, bool)>>>;

/// The requests from `from` on, within `time`.
fn within(arrivals: &Arrivals, from: Instant, time: Duration) -> usize {
    let arrivals = arrivals.lock().unwrap();
    let inside = |at: &Instant| *at > from && *at <= from + time;
    arrivals.iter().filter(|(at, _)| inside(at)).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_slows_down_all_requests() {
    let arrivals = Arrivals::default();
    let seen = Arc::clone(&arrivals);
    let start = Instant::now();
    let refusing = start + Duration::from_millis(2_500);
    let rule = move |_: &Request| {
        let now = Instant::now();
        let mut seen = seen.lock().unwrap();
        let refused = seen.iter().filter(|(_, refused)| *refused).count();
        // A burst of them is one reason to go slower.
        let refuse = now >= refusing && refused < 8;
        seen.push((now, refuse));
        if refuse {
            Fate::Refuse(None)
        } else {
            Fate::Pass
        }
    };
    let (_server, _proxy, bucket, _) = behind("", rule).await;
    ask(&bucket, start + Duration::from_millis(5_000)).await;
    let second = Duration::from_secs(1);
    let first = {
        let arrivals = arrivals.lock().unwrap();
        let refused = arrivals.iter().find(|(_, refused)| *refused);
        refused.expect("a refusal").0
    };
    // The eight that are under way are refused, too, and come again.
    let (before, after) = (
        within(&arrivals, first - second, second),
        within(&arrivals, first, second),
    );
    assert!(before > 30, "{before}");
    assert!(after * 10 < before * 9, "{before} before, {after} after");
    assert_eq!(bucket.counts().throttled, 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_that_the_server_names_is_kept() {
    let arrivals = Arrivals::default();
    let seen = Arc::clone(&arrivals);
    let rule = move |request: &Request| {
        let refuse = request.number == 100;
        seen.lock().unwrap().push((Instant::now(), refuse));
        if refuse {
            Fate::Refuse(Some(2))
        } else {
            Fate::Pass
        }
    };
    let (_server, _proxy, bucket, _) = behind("", rule).await;
    ask(&bucket, Instant::now() + Duration::from_secs(3)).await;
    let refused = {
        let arrivals = arrivals.lock().unwrap();
        let refused = arrivals.iter().find(|(_, refused)| *refused);
        refused.expect("a refusal").0
    };
    // Only what was under way.
    let meanwhile = within(&arrivals, refused, Duration::from_millis(1_800));
    assert!(meanwhile <= 16, "{meanwhile}");
    let after = within(&arrivals, refused, Duration::from_secs(60));
    assert!(after > meanwhile, "{after}");
}
