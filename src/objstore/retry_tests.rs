use std::sync::atomic::AtomicU32;

use object_store::Error;
use object_store::client::{HttpError, HttpErrorKind};

use super::*;

fn retries(patience: Patience) -> (Arc<Retries>, Arc<Counters>) {
    let counters = Arc::<Counters>::default();
    let scene = Arc::new(Scene {
        bucket: "b".to_owned(),
        ..Scene::default()
    });
    let shared = Arc::clone(&counters);
    (
        Retries::new(patience, scene, shared, Arc::default(), true),
        counters,
    )
}

/// An answer with this status, in the library's words.
fn status(status: &str) -> Error {
    Error::Generic {
        store: "S3",
        source: format!("Server returned non-2xx status code: {status}: ").into(),
    }
}

fn http(kind: HttpErrorKind) -> Error {
    Error::Generic {
        store: "S3",
        source: Box::new(HttpError::new(kind, std::io::Error::other("connection"))),
    }
}

/// Fails so often like this, then works. Returns the result and the tries.
async fn failing(
    retries: &Arc<Retries>,
    times: u32,
    effect: Effect,
    error: impl Fn() -> Error,
) -> (StoreResult<()>, u32) {
    let tried = AtomicU32::new(0);
    let request = || {
        let answer = if tried.fetch_add(1, Ordering::Relaxed) < times {
            Err(error())
        } else {
            Ok(())
        };
        async { answer }
    };
    let result = retries.ask(Asked::plain("GET"), effect, request).await;
    (result, tried.into_inner())
}

#[tokio::test(start_paused = true)]
async fn only_what_may_pass_is_repeated() {
    let passing: [&dyn Fn() -> Error; 8] = [
        &|| status("500 Internal Server Error"),
        &|| status("502 Bad Gateway"),
        &|| status("503 Service Unavailable"),
        &|| status("429 Too Many Requests"),
        &|| status("408 Request Timeout"),
        &|| http(HttpErrorKind::Connect),
        &|| http(HttpErrorKind::Timeout),
        &|| http(HttpErrorKind::Interrupted),
    ];
    for error in passing {
        let (retries, counters) = retries(Patience::default());
        let (result, tries) = failing(&retries, 3, Effect::Any, error).await;
        assert!(result.is_ok() && tries == 4, "{}", error());
        assert_eq!(counters.snapshot().repeated, 3);
    }
    let staying: [&dyn Fn() -> Error; 4] = [
        &|| status("400 Bad Request"),
        &|| status("403 Forbidden"),
        &|| status("501 Not Implemented"),
        &|| Error::Generic {
            store: "S3",
            source: "not a word of XML".into(),
        },
    ];
    for error in staying {
        let (retries, counters) = retries(Patience::default());
        let (result, tries) = failing(&retries, 3, Effect::Any, error).await;
        assert_eq!(result.unwrap_err().to_string(), error().to_string());
        assert_eq!((tries, counters.snapshot().repeated), (1, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn what_may_have_worked_is_not_repeated_where_that_matters() {
    let (retries, counters) = retries(Patience::default());
    let lost = || http(HttpErrorKind::Interrupted);
    assert_eq!(failing(&retries, 1, Effect::Once, lost).await.1, 1);
    let failed = || status("500 Internal Server Error");
    assert_eq!(failing(&retries, 1, Effect::Once, failed).await.1, 1);
    for unsent in [http as fn(_) -> _, |_| status("503 Service Unavailable")] {
        let error = || unsent(HttpErrorKind::Connect);
        let (result, tries) = failing(&retries, 2, Effect::Once, error).await;
        assert!(result.is_ok() && tries == 3);
    }
    let counts = counters.snapshot();
    assert_eq!((counts.repeated, counts.throttled), (4, 2));
}

#[tokio::test(start_paused = true)]
async fn an_error_tells_what_was_tried() {
    let (retries, _) = retries(Patience {
        retries: 4,
        ..Patience::default()
    });
    let error = || status("500 Internal Server Error");
    let (result, tries) = failing(&retries, 100, Effect::Any, error).await;
    assert_eq!(tries, 5);
    let told = retries.scene.blame("01A/index", &result.unwrap_err());
    let text = told.to_string();
    assert!(
        text.contains("01A/index") && text.contains("HTTP 500"),
        "{text}"
    );
    assert!(
        text.contains("GET tried 5 times in ") && text.contains("used up"),
        "{text}"
    );
}

#[tokio::test(start_paused = true)]
async fn pauses_double_up_to_their_bound_and_differ() {
    let (retries, _) = retries(Patience::default());
    for repeat in 1..=40 {
        let bound = Duration::from_millis(100 << (repeat - 1).min(20)).min(Duration::from_secs(15));
        let drawn: Vec<Duration> = (0..200).map(|_| retries.pause(repeat)).collect();
        assert!(drawn.iter().all(|pause| *pause <= bound));
        let mean = drawn.iter().sum::<Duration>() / 200;
        assert!(
            mean > bound.mul_f64(0.4) && mean < bound.mul_f64(0.6),
            "{mean:?}"
        );
        assert!(drawn.iter().max() > Some(&bound.mul_f64(0.9)));
        assert!(drawn.iter().min() < Some(&bound.mul_f64(0.1)));
    }
}

#[tokio::test(start_paused = true)]
async fn no_try_begins_after_the_window() {
    let window = Duration::from_secs(20);
    let (retries, _) = retries(Patience {
        retries: 10_000,
        window,
        ..Patience::default()
    });
    let start = Instant::now();
    let error = || http(HttpErrorKind::Connect);
    let (result, _) = failing(&retries, u32::MAX, Effect::Any, error).await;
    assert!(start.elapsed() <= window);
    let told = retries.scene.blame("x", &result.unwrap_err()).to_string();
    assert!(told.contains("the time for it is over"), "{told}");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_always_fails_is_asked_little_more_than_a_healthy_one() {
    let patience = Patience {
        budget: 50,
        ..Patience::default()
    };
    let (retries, counters) = retries(patience);
    let error = || http(HttpErrorKind::Interrupted);
    let mut told = String::new();
    for _ in 0..1_000 {
        let (result, _) = failing(&retries, u32::MAX, Effect::Any, error).await;
        told = retries.scene.blame("x", &result.unwrap_err()).to_string();
    }
    let repeated = counters.snapshot().repeated;
    assert!((200..=50 + 200).contains(&repeated), "{repeated}");
    assert!(told.contains("too many requests failed of late"), "{told}");
    // It fills up again, with one repeat for five requests.
    assert_eq!(retries.left(), 0);
    for _ in 0..100 {
        failing(&retries, 0, Effect::Any, error).await.0.unwrap();
    }
    assert_eq!(retries.left(), 20);
    for _ in 0..10_000 {
        failing(&retries, 0, Effect::Any, error).await.0.unwrap();
    }
    assert_eq!(retries.left(), 50);
}

#[tokio::test(start_paused = true)]
async fn one_failure_in_ten_is_within_the_budget_for_ever() {
    let (retries, counters) = retries(Patience {
        budget: 30,
        ..Patience::default()
    });
    let turn = AtomicU32::new(0);
    for _ in 0..20_000 {
        let request = || {
            let turn = turn.fetch_add(1, Ordering::Relaxed);
            async move {
                if turn.is_multiple_of(10) {
                    return Err(http(HttpErrorKind::Interrupted));
                }
                Ok(())
            }
        };
        let asked = Asked::plain("GET");
        retries.ask(asked, Effect::Any, request).await.unwrap();
    }
    assert_eq!(counters.snapshot().repeated, 2_223);
}

#[tokio::test(start_paused = true)]
async fn refusals_slow_down_whoever_shares_the_store() {
    let (retries, counters) = retries(Patience::default());
    let refused = || status("429 Too Many Requests");
    for _ in 0..40 {
        failing(&retries, 0, Effect::Any, refused).await.0.unwrap();
    }
    failing(&retries, 1, Effect::Any, refused).await.0.unwrap();
    assert_eq!(counters.snapshot().throttled, 1);
    let rate = retries.pacer.rate().expect("a limit");
    assert!((20.0..=21.0).contains(&rate), "{rate}");
}
