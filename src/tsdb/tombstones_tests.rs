use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::tsdb::source::MemBlob;

fn interval(min_time: i64, max_time: i64) -> Interval {
    Interval { min_time, max_time }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[test]
fn smallest_files_have_these_bytes() {
    assert_eq!(hex(&Tombstones::new().encode()), "0130ba300100000000");
    // Both as Prometheus 0.309.1 writes them.
    let mut two = Tombstones::new();
    two.add(2, interval(1, 3));
    two.add(2, interval(-1_000_000, -7));
    assert_eq!(hex(&two.encode()), "0130ba300102ff887a0d0202061779cd07");
    assert_eq!(two.count(), 2);
}

#[test]
fn ranges_that_touch_become_one() {
    let mut stones = Tombstones::new();
    stones.add(1, interval(10, 20));
    stones.add(1, interval(30, 40));
    stones.add(1, interval(21, 29));
    assert_eq!(stones.intervals(1), [interval(10, 40)]);
    stones.add(1, interval(i64::MIN, -5));
    stones.add(1, interval(50, i64::MAX));
    stones.add(1, interval(60, 70));
    assert_eq!(stones.count(), 3);
    stones.add(2, interval(5, 4));
    assert!(stones.intervals(2).is_empty());
    stones.add(1, interval(i64::MIN, i64::MAX));
    assert_eq!(stones.intervals(1), [interval(i64::MIN, i64::MAX)]);
}

#[test]
fn damage_is_named() {
    let mut stones = Tombstones::new();
    stones.add(7, interval(-100, 100));
    let good = stones.encode();
    for i in 0..good.len() {
        let mut bad = good.clone();
        bad[i] ^= 0x10;
        assert!(Tombstones::decode(&bad).is_err(), "byte {i}");
        assert!(Tombstones::decode(&good[..i]).is_err(), "cut at {i}");
    }
    let mut blob = MemBlob::new("01X/tombstones", good.clone());
    assert_eq!(Tombstones::read(&mut blob).unwrap(), stones);
    let mut blob = MemBlob::new("01X/tombstones", good[..8].to_vec());
    let error = Tombstones::read(&mut blob).unwrap_err().to_string();
    assert!(error.starts_with("01X/tombstones: "), "{error}");
}

proptest! {
    #[test]
    fn ranges_delete_what_a_set_of_moments_says(
        ranges in proptest::collection::vec((0u64..4, -20i64..20, -2i64..15), 0..30)
    ) {
        let mut stones = Tombstones::new();
        let mut model = BTreeSet::new();
        let mut raw = Vec::new();
        for &(series, min_time, len) in &ranges {
            let range = interval(min_time, min_time + len);
            stones.add(series, range);
            model.extend((range.min_time..=range.max_time).map(|t| (series, t)));
            raw.put_uvarint(series);
            raw.put_varint(range.min_time);
            raw.put_varint(range.max_time);
        }
        for series in 0..4 {
            let ranges = stones.intervals(series);
            prop_assert!(ranges.is_sorted_by(|a, b| a.max_time + 1 < b.min_time));
            for t in -30..40 {
                let deleted = ranges.iter().any(|r| r.contains(t));
                prop_assert_eq!(deleted, model.contains(&(series, t)));
            }
        }
        prop_assert_eq!(&Tombstones::decode(&stones.encode()).unwrap(), &stones);
        // The same ranges unmerged and in any order, as Prometheus writes them.
        let mut file = [&MAGIC.to_be_bytes()[..], &[VERSION], &raw].concat();
        file.put_be32(crc32c(&raw));
        prop_assert_eq!(&Tombstones::decode(&file).unwrap(), &stones);
    }

    #[test]
    fn garbage_never_panics(body in proptest::collection::vec(any::<u8>(), 0..60)) {
        let mut file = [&MAGIC.to_be_bytes()[..], &[VERSION], &body].concat();
        file.put_be32(crc32c(&body));
        let _ = Tombstones::decode(&file);
        let _ = Tombstones::decode(&body);
    }
}
