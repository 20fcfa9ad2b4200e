//! Windows of time, and how many chunks their aggregates are cut into.

/// Samples of an aggregate column that a chunk should have at most, on average.
const SAMPLES_PER_CHUNK: i64 = 140;

/// Scrape interval that raw series are assumed to have, ms: only the number of
/// chunks depends on it.
pub(super) const RAW_INTERVAL_MS: i64 = 60_000;

/// Last ms of the window of length `resolution` (ms, positive) that `t` lies in.
///
/// The window is `[n * resolution, (n + 1) * resolution)`, for negative times,
/// too. A block's range excludes its end, hence the last ms inside.
pub(super) fn window_end(t: i64, resolution: i64) -> i64 {
    t.saturating_sub(t.rem_euclid(resolution))
        .saturating_add(resolution - 1)
}

/// Last ms of the window of `t`; mostly that of the last one, `border`, or the one
/// behind it, for which nothing has to be divided.
#[inline(always)]
pub(super) fn next_border(t: i64, border: i64, resolution: i64) -> i64 {
    let past = t.saturating_sub(border);
    if past > 0 && past <= resolution {
        return border.saturating_add(resolution);
    }
    if past <= 0 && past > -resolution {
        return border;
    }
    window_end(t, resolution)
}

/// How many chunks a run becomes: `samples` samples over `[first, last]` (ms) of
/// a series with one sample each `interval` ms, in windows of `resolution` ms.
///
/// The windows of the range, times how full it is, over 140 per chunk; at least
/// one. The same arithmetic as upstream, which cuts at integers.
pub(super) fn chunk_count(
    (first, last): (i64, i64),
    interval: i64,
    resolution: i64,
    samples: u64,
) -> usize {
    let length = last.saturating_sub(first).max(0);
    // 0/0 and n/0 are both no number below 1.
    let full = samples as f64 / (length as f64 / interval as f64);
    let full = if full < 1.0 { full } else { 1.0 };
    let expected = ((length / resolution) as f64 * full) as i64 + 1;
    // The smallest n with expected / n (whole) <= 140.
    let count = expected / (SAMPLES_PER_CHUNK + 1) + 1;
    usize::try_from(count).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_end_one_ms_before_the_next_begins() {
        for (t, end) in [
            (0, 99),
            (99, 99),
            (100, 199),
            (-1, -1),
            (-100, -1),
            (-101, -101),
        ] {
            assert_eq!(window_end(t, 100), end, "{t}");
        }
        assert_eq!(window_end(i64::MAX, 100), i64::MAX);
        assert!(window_end(i64::MIN, 100) <= i64::MIN + 100);
    }

    #[test]
    fn the_number_of_chunks_is_the_smallest_that_divides_far_enough() {
        for expected in [1_i64, 139, 140, 141, 281, 282, 283, 4032, 100_000] {
            let mut naive = 1;
            while expected / naive > SAMPLES_PER_CHUNK {
                naive += 1;
            }
            // A full range of so many windows less one.
            let last = (expected - 1) * 100;
            let count = chunk_count((0, last), 1, 100, u64::MAX >> 12);
            assert_eq!(count, naive as usize, "{expected}");
        }
        assert_eq!(chunk_count((5, 5), 60_000, 300_000, 1), 1);
        assert_eq!(chunk_count((0, 1_209_600_000), 60_000, 300_000, 10), 1);
    }
}
