//! Ends of a time range: `--min-time` and `--max-time`.

use super::duration::parse_prometheus;

/// One end of a time range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TimeBound {
    /// Milliseconds since the epoch.
    Absolute(i64),
    /// Milliseconds after now, negative for before.
    Relative(i64),
}

impl TimeBound {
    /// The end in ms since the epoch, at a time in ms since the epoch. A
    /// relative bound moves along, so ask again whenever the bucket is listed.
    pub(crate) fn at(self, now_ms: i64) -> i64 {
        match self {
            Self::Absolute(ms) => ms,
            Self::Relative(ms) => now_ms.saturating_add(ms),
        }
    }
}

/// Parses an RFC 3339 time, or a Prometheus duration that may have a minus.
pub(crate) fn parse_time(text: &str) -> Result<TimeBound, String> {
    // Go wants the letters `T` and `Z`; chrono would take blanks and small ones.
    let strict = text.as_bytes().get(10) == Some(&b'T') && !text.ends_with('z');
    if strict && let Ok(time) = chrono::DateTime::parse_from_rfc3339(text) {
        return Ok(TimeBound::Absolute(time.timestamp_millis()));
    }
    let (sign, body) = match text.strip_prefix('-') {
        Some(body) => (-1, body),
        None => (1, text),
    };
    match parse_prometheus(body) {
        Ok(ms) => Ok(TimeBound::Relative(sign * ms)),
        Err(_) => Err(format!(
            "{text:?} is neither a time such as 2026-01-31T00:00:00Z nor a duration such as -30d"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_durations() {
        let good = [
            ("1970-01-01T00:00:01Z", TimeBound::Absolute(1000)),
            ("1970-01-01T01:00:00.5+01:00", TimeBound::Absolute(500)),
            (
                "0000-01-01T00:00:00Z",
                TimeBound::Absolute(-62_167_219_200_000),
            ),
            (
                "9999-12-31T23:59:59Z",
                TimeBound::Absolute(253_402_300_799_000),
            ),
            ("-1d", TimeBound::Relative(-86_400_000)),
            ("2h45m", TimeBound::Relative(9_900_000)),
            ("0", TimeBound::Relative(0)),
        ];
        for (text, bound) in good {
            assert_eq!(parse_time(text), Ok(bound), "{text}");
        }
        for text in [
            "",
            "-",
            "+1d",
            "--1d",
            "-1.5h",
            "2026-01-31",
            "2026-01-31 00:00:00Z",
            "2026-01-31T00:00:00z",
            "2026-02-31T00:00:00Z",
            "now",
        ] {
            assert!(parse_time(text).is_err(), "{text}");
        }
    }

    #[test]
    fn relative_bounds_move_with_the_clock() {
        assert_eq!(TimeBound::Absolute(5).at(100), 5);
        assert_eq!(TimeBound::Relative(-30).at(100), 70);
        assert_eq!(TimeBound::Relative(30).at(i64::MAX), i64::MAX);
    }
}
