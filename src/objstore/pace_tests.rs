use std::sync::Arc;

use tokio::time::advance;

use super::*;

/// Requests that begin within a time, one after the other.
async fn begun_within(pacer: &Pacer, time: Duration) -> u32 {
    let end = Instant::now() + time;
    let mut begun = 0;
    loop {
        if tokio::time::timeout_at(end, pacer.admit()).await.is_err() {
            return begun;
        }
        begun += 1;
        pacer.answered();
        if pacer.rate().is_none() {
            // Nothing would ever wait.
            return begun;
        }
    }
}

async fn ask(pacer: &Pacer, requests: u32) {
    for _ in 0..requests {
        pacer.admit().await;
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_waits_without_a_refusal() {
    let pacer = Pacer::default();
    let start = Instant::now();
    for _ in 0..10_000 {
        pacer.admit().await;
        pacer.answered();
    }
    assert_eq!(start.elapsed(), Duration::ZERO);
    assert_eq!(pacer.rate(), None);
}

#[tokio::test(start_paused = true)]
async fn a_burst_of_refusals_halves_the_rate_once() {
    let pacer = Pacer::default();
    ask(&pacer, 200).await;
    for _ in 0..50 {
        pacer.refused(None);
    }
    assert_eq!(pacer.rate(), Some(100.0));
    // All that wait share what is left.
    let pacer = Arc::new(pacer);
    let start = Instant::now();
    let waiting = (0..100).map(|_| {
        let pacer = Arc::clone(&pacer);
        tokio::spawn(async move { pacer.admit().await })
    });
    for task in waiting.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    let took = start.elapsed().as_millis();
    assert!((985..1_000).contains(&took), "{took} ms");
    advance(INTERVAL).await;
    ask(&pacer, 1).await;
    pacer.refused(None);
    assert!(pacer.rate().unwrap() <= 50.0);
}

#[tokio::test(start_paused = true)]
async fn the_rate_never_falls_to_nothing() {
    let pacer = Pacer::default();
    ask(&pacer, 3).await;
    for _ in 0..40 {
        pacer.refused(None);
        advance(INTERVAL).await;
    }
    assert_eq!(pacer.rate(), Some(LEAST_RATE));
    let start = Instant::now();
    ask(&pacer, 3).await;
    assert!(start.elapsed() <= Duration::from_secs(3));
}

#[tokio::test(start_paused = true)]
async fn the_rate_rises_step_by_step_and_the_limit_is_lifted() {
    let pacer = Pacer::default();
    ask(&pacer, 200).await;
    pacer.refused(None);
    let mut seen = vec![];
    while let Some(rate) = pacer.rate() {
        seen.push(rate);
        begun_within(&pacer, INTERVAL).await;
        assert!(seen.len() < 100, "{seen:?}");
    }
    assert!(seen.is_sorted(), "{seen:?}");
    // From 100 to 200 in ten steps, and as far again before it is lifted.
    let below = seen.iter().filter(|rate| **rate < 199.0).count();
    assert!((9..=13).contains(&below), "{seen:?}");
    assert!((28..=36).contains(&seen.len()), "{seen:?}");
}

#[tokio::test(start_paused = true)]
async fn a_rate_that_is_not_made_use_of_does_not_rise() {
    let pacer = Pacer::default();
    ask(&pacer, 200).await;
    pacer.refused(None);
    for _ in 0..30 {
        advance(INTERVAL).await;
        pacer.admit().await;
        pacer.answered();
    }
    assert_eq!(pacer.rate(), Some(100.0));
    // Long after, nobody remembers.
    advance(FORGOTTEN).await;
    pacer.answered();
    assert_eq!(pacer.rate(), None);
}

#[tokio::test(start_paused = true)]
async fn a_time_that_the_store_names_is_kept_by_all() {
    let pacer = Arc::new(Pacer::default());
    ask(&pacer, 100).await;
    pacer.refused(None);
    // These wait for their turn at 50 per second when the store names a time.
    let start = Instant::now();
    let waiting = (0..10).map(|_| {
        let pacer = Arc::clone(&pacer);
        tokio::spawn(async move { pacer.admit().await })
    });
    let waiting: Vec<_> = waiting.collect();
    tokio::task::yield_now().await;
    pacer.refused(Some(Duration::from_secs(7)));
    for task in waiting.into_iter().skip(1) {
        task.await.unwrap();
        assert!(start.elapsed() >= Duration::from_secs(7));
    }
    assert!(start.elapsed() < Duration::from_secs(8));
    // A store that wants to be left alone until tomorrow is asked again.
    let start = Instant::now();
    pacer.refused(Some(Duration::from_secs(86_400)));
    pacer.admit().await;
    assert_eq!(start.elapsed(), LONGEST_REST);
}

/// A store that takes 100 requests per second and refuses all others: who asks
/// as fast as it lets them gets most of that, and few refusals.
#[tokio::test(start_paused = true)]
async fn it_settles_below_what_the_store_takes() {
    let pacer = Arc::new(Pacer::default());
    let start = Instant::now();
    let (mut taken, mut refused, mut second, mut in_second) = (0, 0, 0, 0);
    while start.elapsed() < Duration::from_secs(120) {
        pacer.admit().await;
        let now = start.elapsed().as_secs();
        if now != second {
            (second, in_second) = (now, 0);
        }
        in_second += 1;
        if in_second > 100 {
            refused += 1;
            pacer.refused(None);
        } else {
            taken += 1;
            pacer.answered();
        }
    }
    assert!(taken > 120 * 60, "{taken} taken, {refused} refused");
    assert!(refused * 50 < taken, "{taken} taken, {refused} refused");
}
