//! Sizes as the flags of `thanos compact` write them.
//!
//! | units | bytes |
//! |---|---|
//! | `B` | 1 |
//! | `KiB` = `KB`, `MiB` = `MB`, … `EiB` = `EB` | powers of 1024 |
//!
//! So `64GB` is 64 GiB. Decimals and sums (`1GiB512MiB`) are allowed, a mix of
//! both spellings in one value, `kB` and a bare number other than 0 are not.

/// Parses a size, to bytes.
///
/// # Errors
/// A sentence that names what is wrong with the text.
pub fn parse_size(text: &str) -> Result<u64, String> {
    const SHORT: [&str; 7] = ["B", "KB", "MB", "GB", "TB", "PB", "EB"];
    const LONG: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let body = text.strip_prefix('+').unwrap_or(text);
    if body == "0" {
        return Ok(0);
    }
    let bytes = sum(body, &LONG)
        .or_else(|| sum(body, &SHORT))
        .ok_or_else(|| format!("{text:?} is not a size such as 64GB or 512MiB"))?;
    // Go counts bytes in 63 bits.
    if bytes >= 9_223_372_036_854_775_808.0 {
        return Err(format!("{text:?} is too large a size"));
    }
    Ok(bytes as u64)
}

/// The sum of all parts, if each has one of the units.
fn sum(body: &str, units: &[&str; 7]) -> Option<f64> {
    let mut rest = body;
    let mut total = 0.0_f64;
    while !rest.is_empty() {
        let (number, after) = split(rest, |c| c.is_ascii_digit() || c == '.');
        let (unit, after) = split(after, |c| !c.is_ascii_digit() && c != '.');
        let power = units.iter().position(|u| *u == unit)?;
        let amount: f64 = number.parse().ok()?;
        total += amount * 1024_f64.powi(i32::try_from(power).ok()?);
        rest = after;
    }
    (!body.is_empty()).then_some(total)
}

fn split(text: &str, wanted: impl Fn(char) -> bool) -> (&str, &str) {
    let end = text.find(|c| !wanted(c)).unwrap_or(text.len());
    text.split_at(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_powers_of_1024() {
        let good = [
            ("0", 0),
            ("1B", 1),
            ("1KB", 1024),
            ("1KiB", 1024),
            ("64GB", 64 << 30),
            ("64GiB", 64 << 30),
            ("1.5MB", 3 << 19),
            (".5KB", 512),
            ("1GB512MB", 3 << 29),
            ("+2TB", 2 << 40),
            ("7EiB", 7 << 60),
        ];
        for (text, bytes) in good {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in [
            "", "+", "5", "1kB", "1gb", "1GiB1MB", "-1GB", "GB", "1.2.3GB", ".GB", "1 GB", "8EB",
        ] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }
}
