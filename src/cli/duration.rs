//! The two ways in which the flags of `thanos compact` write a duration.
//!
//! | dialect | used by | units | examples |
//! |---|---|---|---|
//! | Prometheus | retention, delete delay | `y w d h m s ms`, whole numbers, descending, each once | `48h`, `1d12h` |
//! | Go | consistency delay, intervals | `w d h m s ms us µs ns`, decimals, sign, any order | `1.5h`, `-30m` |
//!
//! A year is 365 days. Neither allows blanks, and a bare number is an error
//! except for `0`.

/// Longest duration, ms: Go counts nanoseconds in 63 bits, about 292 years.
const MAX_MS: i64 = 9_223_372_036_854;

/// Parses the Prometheus dialect, to ms.
///
/// # Errors
/// A sentence that names what is wrong with the text.
pub fn parse_prometheus(text: &str) -> Result<i64, String> {
    const UNITS: [(&str, i64); 7] = [
        ("y", 365 * 86_400_000),
        ("w", 7 * 86_400_000),
        ("d", 86_400_000),
        ("h", 3_600_000),
        ("m", 60_000),
        ("s", 1000),
        ("ms", 1),
    ];
    if text == "0" {
        return Ok(0);
    }
    let bad = || format!("{text:?} is not a duration such as 48h, 1d12h or 0s");
    let mut rest = text;
    let mut total: i64 = 0;
    let mut next_unit = 0;
    if rest.is_empty() {
        return Err(bad());
    }
    while !rest.is_empty() {
        let (number, after) = split_at_non(rest, |c| c.is_ascii_digit());
        let (unit, after) = split_at_non(after, |c| c.is_ascii_alphabetic());
        let amount: i64 = number.parse().map_err(|_| bad())?;
        // Units only go down, so that `1m1h` and `1h1h` are typing errors.
        let found = UNITS[next_unit..].iter().position(|(u, _)| *u == unit);
        let at = next_unit + found.ok_or_else(bad)?;
        next_unit = at + 1;
        let part = amount.checked_mul(UNITS[at].1);
        total = part
            .and_then(|p| total.checked_add(p))
            .filter(|&total| total <= MAX_MS)
            .ok_or_else(|| format!("{text:?} is too long a duration"))?;
        rest = after;
    }
    Ok(total)
}

/// Parses the Go dialect, to ms (rounded towards zero).
///
/// # Errors
/// A sentence that names what is wrong with the text.
pub fn parse_go(text: &str) -> Result<i64, String> {
    const UNITS: [(&str, f64); 9] = [
        ("w", 7.0 * 86_400_000.0),
        ("d", 86_400_000.0),
        ("h", 3_600_000.0),
        ("m", 60_000.0),
        ("s", 1000.0),
        ("ms", 1.0),
        ("us", 1e-3),
        ("µs", 1e-3),
        ("ns", 1e-6),
    ];
    let bad = || format!("{text:?} is not a duration such as 30m, 1.5h or 1d");
    let (negative, body) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if body == "0" {
        return Ok(0);
    }
    if body.is_empty() {
        return Err(bad());
    }
    let mut rest = body;
    let mut total = 0.0_f64;
    while !rest.is_empty() {
        let (number, after) = split_at_non(rest, |c| c.is_ascii_digit() || c == '.');
        let (unit, after) = split_at_non(after, |c| !c.is_ascii_digit() && c != '.');
        let amount: f64 = number.parse().map_err(|_| bad())?;
        let &(_, factor) = UNITS.iter().find(|(u, _)| *u == unit).ok_or_else(bad)?;
        total += amount * factor;
        rest = after;
    }
    if total > MAX_MS as f64 {
        return Err(format!("{text:?} is too long a duration"));
    }
    let ms = total.trunc() as i64;
    Ok(if negative { -ms } else { ms })
}

fn split_at_non(text: &str, wanted: impl Fn(char) -> bool) -> (&str, &str) {
    let end = text.find(|c| !wanted(c)).unwrap_or(text.len());
    text.split_at(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prometheus_dialect() {
        let good = [
            ("0", 0),
            ("0d", 0),
            ("48h", 172_800_000),
            (
                "1y2w3d4h5m6s7ms",
                31_536_000_000 + 17 * 86_400_000 + 4 * 3_600_000 + 306_007,
            ),
            ("15s", 15_000),
        ];
        for (text, ms) in good {
            assert_eq!(parse_prometheus(text), Ok(ms), "{text}");
        }
        for text in [
            "",
            "1.5h",
            "-1h",
            "1",
            "1m1h",
            "1h1h",
            "1M",
            "1h 2m",
            "h",
            "300y",
            "999999999y",
        ] {
            assert!(parse_prometheus(text).is_err(), "{text}");
        }
    }

    #[test]
    fn go_dialect() {
        let good = [
            ("0", 0),
            ("30m", 1_800_000),
            ("1.5h", 5_400_000),
            ("-1.5h", -5_400_000),
            ("1h2m3.5s", 3_723_500),
            ("2d", 172_800_000),
            ("1w", 604_800_000),
            ("1500us", 1),
        ];
        for (text, ms) in good {
            assert_eq!(parse_go(text), Ok(ms), "{text}");
        }
        for text in [
            "", "-", "5", "1y", "1h 2m", "1.2.3s", ".", "h", "300y", "9999999h",
        ] {
            assert!(parse_go(text).is_err(), "{text}");
        }
    }
}
