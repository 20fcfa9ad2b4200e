use super::*;

#[test]
fn durations() {
    let ms = Duration::from_millis;
    for (text, wanted) in [
        ("0", Some(ms(0))),
        ("0s", Some(ms(0))),
        ("90s", Some(ms(90_000))),
        ("1m30s", Some(ms(90_000))),
        ("1h2m3s4ms", Some(ms(3_723_004))),
        ("1y", Some(ms(31_536_000_000))),
        ("1w1d", Some(ms(691_200_000))),
        ("", None),
        ("5", None),
        ("s", None),
        ("1.5s", None),
        ("-1s", None),
        ("1s1m", None),
        ("1m1m", None),
        ("1h 2m", None),
        ("1M", None),
        ("99999999999999999999s", None),
        ("999999999999y", None),
    ] {
        assert_eq!(parse(text), wanted, "{text:?}");
    }
}
