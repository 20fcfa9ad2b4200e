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
    let two = vec![chunk(-5, 20, 8), chunk(21, 21, 40)];
    let wide = vec![chunk(i64::MIN, i64::MAX, 1 << 32 | 8)];
    vec![
        (labels(&[("__name__", "up")]), two),
        (
            labels(&[("__name__", "up"), ("job", "é")]),
            vec![chunk(0, 3, 60)],
        ),
        (labels(&[("job", "é")]), vec![]),
        (labels(&[("zone", "up")]), wide),
    ]
}

#[test]
fn smallest_indexes_have_the_bytes_that_prometheus_writes() {
    let series = [(labels(&[("a", "b")]), vec![chunk(1, 2, 8)])];
    let (data, written) = write_held(&series);
    let expected = [
        // magic, version 2
        "baaad70002",
        // symbols: 8 bytes, 2 strings, "a", "b", crc
        "00000008000000020161016231 70553b",
        // padding, then 7 bytes: 1 label (0, 1), 1 chunk 1..+1 at 8, crc
        "000000000000000000000007 01000101 02 01 08 e07d1104",
        // postings of all series and of a="b": 1 series at 2 * 16
        "00000008 00000001 00000002 5502add1",
        "00000008 00000001 00000002 5502add1",
        // offsets: 2 entries
        "0000000e 00000002 02 00 00 2c 02 0161 0162 3c 25d1bb4a",
        // contents: symbols 5, series 21, labels 44 and 76, postings 44 and 76
        "0000000000000005 0000000000000015 000000000000002c 000000000000004c",
        "000000000000002c 000000000000004c 53de64d2",
    ];
    assert_eq!(hex(&data), expected.concat().replace(' ', ""));
    assert_eq!((written.series, written.chunks), (1, 1));
    assert_eq!((written.symbols, written.label_pairs), (2, 1));
    assert_eq!(written.size, data.len() as u64);

    let (empty, _) = write_held(&[]);
    let expected = [
        "baaad70002 00000004 00000000 48674bc7",
        "000000 00000004 00000000 48674bc7",
        "00000008 00000001 02000014 dc9aaed7",
        "0000000000000005 0000000000000011 0000000000000011 0000000000000020",
        "0000000000000011 0000000000000020 2c08621c",
    ];
    assert_eq!(hex(&empty), expected.concat().replace(' ', ""));
    let content = Content::read(stingy(&empty)).unwrap();
    assert_eq!(content.postings, [(vec![], vec![], vec![])]);
}

/// Series whose names come and go, as the Go program makes them.
fn generated(count: usize) -> Vec<ModelSeries> {
    let mut random = Lcg(42);
    let mut sets = BTreeSet::new();
    for _ in 0..count {
        let mut set = BTreeMap::new();
        set.insert("m".to_owned(), format!("v{}", random.next(40)));
        for n in 0..12 {
            if random.next(4) > 0 {
                set.insert(
                    format!("n{n:02}"),
                    format!("v{}", random.next(1 + n * n * 7)),
                );
            }
        }
        sets.insert(set.into_iter().collect::<Vec<_>>());
    }
    let mut reference = 8;
    sets.into_iter()
        .map(|set| {
            let mut time = random.next(1000) as i64 - 500;
            let mut chunks = Vec::new();
            for _ in 0..random.next(5) {
                let max = time + random.next(100_000) as i64;
                chunks.push(chunk(time, max, reference));
                time = max + 1 + random.next(50_000) as i64;
                reference += 20 + random.next(300);
                if random.next(500) == 0 {
                    reference = ((reference >> 32) + 1) << 32 | 8;
                }
            }
            let pairs: Vec<_> = set.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
            (labels(&pairs), chunks)
        })
        .collect()
}

#[test]
fn generated_indexes_have_the_checksums_of_those_prometheus_writes() {
    // Length and checksum are those of Prometheus 0.309.1 for the same series.
    // The larger index has postings lists that are written in pieces.
    for (count, len, crc) in [
        (3000, 397_227, 0xf6ea_a25d),
        (20_000, 2_139_703, 0xd6ca_14aa),
    ] {
        let series = generated(count);
        assert_eq!(series.len(), count);
        let (data, _) = write_held(&series);
        assert_eq!((data.len(), crc32c(&data)), (len, crc));
        assert!(write_announced(&series) == data);
        let content = Content::read(blob(&data)).unwrap();
        assert!(content.postings == content.expected_postings());
    }
}

#[test]
fn headers_of_other_files_are_refused() {
    let (good, _) = write_held(&small());
    let open = |data: &[u8]| Index::open(blob(data)).unwrap_err().to_string();
    let changed = |at: usize, byte: u8| {
        let mut data = good.clone();
        data[at] = byte;
        data
    };
    assert_eq!(
        open(&changed(4, 3)),
        "01X/index: index has version 3, only 1 and 2 are known at byte 4"
    );
    assert!(open(&changed(0, 0x85)).contains("magic number 85aad700 is no index at byte 0"));
    assert!(open(&changed(good.len() - 60 + 20, 9)).contains("checksum of the table of contents"));
    assert!(open(&good[..56]).contains("too short"));
    for len in 0..good.len() {
        assert!(Content::read(blob(&good[..len])).is_err(), "cut at {len}");
    }
}

#[test]
fn sections_must_lie_in_the_file_and_in_order() {
    let (good, written) = write_held(&small());
    let with = |change: &dyn Fn(&mut Toc)| {
        let mut toc = written.toc;
        change(&mut toc);
        let mut data = good[..good.len() - Toc::LEN].to_vec();
        toc.encode(&mut data);
        data
    };
    assert_eq!(with(&|_| ()), good);
    type Change = &'static dyn Fn(&mut Toc);
    let wrong: [Change; 5] = [
        &|t| t.symbols = 4,
        &|t| t.series = t.postings_table + 1,
        &|t| t.postings_table = u64::MAX,
        &|t| t.postings = t.series - 1,
        &|t| t.label_indices = t.postings + 4,
    ];
    for change in wrong {
        assert!(Index::open(blob(&with(change))).is_err());
    }
    // Sections that are not there: older readers allow it, so do we.
    let expected = Content::read(blob(&good)).unwrap();
    let missing = with(&|t| (t.label_indices, t.label_indices_table) = (0, 0));
    assert_eq!(Content::read(stingy(&missing)).unwrap(), expected);
    let nothing = with(&|t| *t = Toc::default());
    assert_eq!(Content::read(blob(&nothing)).unwrap(), Content::default());
}

#[test]
fn each_changed_byte_is_found_or_harmless() {
    let (good, _) = write_held(&small());
    let expected = Content::read(blob(&good)).unwrap();
    let mut harmless = Vec::new();
    for at in 0..good.len() {
        for bits in [0x01, 0x02, 0x03, 0x80, 0xff] {
            let mut bad = good.clone();
            bad[at] ^= bits;
            if let Ok(found) = Content::read(stingy(&bad)) {
                assert_eq!(found, expected, "byte {at} changed by {bits:02x}");
                harmless.push(at);
            }
        }
    }
    // Only the padding between series and postings is read by nobody.
    assert!(harmless.iter().all(|&at| good[at] == 0), "{harmless:?}");
    assert!(harmless.len() <= 3 * 5, "{harmless:?}");
}

#[test]
fn disorder_behind_right_checksums_is_found() {
    let (good, written) = write_held(&small());
    let at = good.windows(2).position(|w| w == b"up").unwrap();
    let mut bad = good.clone();
    bad[at..at + 2].copy_from_slice(b"zz");
    reseal(&good, &mut bad, &written);
    let error = Content::read(blob(&bad)).unwrap_err().to_string();
    assert!(
        error.contains("symbols are not in ascending order"),
        "{error}"
    );
    let mut index = Index::open(blob(&bad)).unwrap();
    let error = index.load_symbols().unwrap_err().to_string();
    assert!(
        error.contains("symbols are not in ascending order"),
        "{error}"
    );

    let series = ["b", "c"].map(|value| (labels(&[("a", value)]), vec![]));
    let (good, written) = write_held(&series);
    let content = Content::read(blob(&good)).unwrap();
    // Behind the length and the number of labels stands the name, then the value.
    let at = content.series[1].0 as usize * 16 + 3;
    assert_eq!(good[at], 2);
    for (ordinal, what) in [
        (0, "series do not ascend"),
        (1, "series has the labels of the one before it"),
    ] {
        let mut bad = good.clone();
        bad[at] = ordinal;
        reseal(&good, &mut bad, &written);
        let error = Content::read(blob(&bad)).unwrap_err().to_string();
        assert!(error.contains(what), "{error}");
    }
    let mut bad = good.clone();
    bad[at] = 3;
    reseal(&good, &mut bad, &written);
    let error = Content::read(blob(&bad)).unwrap_err().to_string();
    assert!(error.contains("symbol 3, which does not exist"), "{error}");
}

#[test]
fn the_writer_refuses_what_the_format_forbids() {
    let mut writer = IndexWriter::new(Box::<MemWriter>::default()).unwrap();
    for symbol in ["", "a", "b", "c"] {
        writer.add_symbol(symbol.as_bytes()).unwrap();
    }
    assert!(matches!(writer.add_symbol(b"c"), Err(Error::Misuse(_))));
    let mut writer = writer.into_series().unwrap();
    let mut refused = |labels: &[LabelPair], chunks: &[ChunkMeta], why: &str| {
        let error = writer.add_series(labels, chunks).unwrap_err();
        assert!(error.to_string().contains(why), "{error}");
    };
    refused(&[], &[], "has no labels");
    refused(&[(1, 4)], &[], "symbol 4 of 4");
    refused(&[(2, 1), (2, 3)], &[], "labels do not ascend");
    refused(&[(2, 1), (1, 3)], &[], "labels do not ascend");
    refused(&[(1, 2)], &[chunk(5, 4, 8)], "ends at 4 ms, before 5 ms");
    let overlap = [chunk(0, 9, 8), chunk(9, 12, 20)];
    refused(&[(1, 2)], &overlap, "begins at 9 ms");
    let falling = [chunk(0, 9, 20), chunk(10, 12, 8)];
    refused(&[(1, 2)], &falling, "chunk 1 lies at 0x8");

    writer.add_series(&[(1, 2)], &[chunk(0, 9, 20)]).unwrap();
    let mut refused = |labels: &[LabelPair], chunks: &[ChunkMeta], why: &str| {
        let error = writer.add_series(labels, chunks).unwrap_err();
        assert!(error.to_string().contains(why), "{error}");
    };
    refused(&[(1, 2)], &[], "does not follow");
    refused(&[(1, 1), (2, 2)], &[], "does not follow");
    refused(
        &[(1, 3)],
        &[chunk(0, 9, 19)],
        "series 1: chunk 0 lies at 0x13",
    );
    // What was refused left no trace: the next series is the second.
    // As in Prometheus, a chunk may be named twice.
    let again = [chunk(0, 9, 20), chunk(10, 11, 20)];
    writer.add_series(&[(1, 2), (2, 2)], &again).unwrap();
    assert_eq!(writer.finish().unwrap().series, 2);
}

#[test]
fn announced_symbols_must_come() {
    let mut totals = SymbolTotals::default();
    totals.add(b"a").unwrap();
    totals.add(b"b").unwrap();
    let start = || IndexWriter::with_totals(Box::<MemWriter>::default(), totals).unwrap();
    let mut writer = start();
    writer.add_symbol(b"a").unwrap();
    assert!(matches!(writer.into_series(), Err(Error::Misuse(_))));
    let mut writer = start();
    writer.add_symbol(b"a").unwrap();
    writer.add_symbol(b"b").unwrap();
    let writer = writer.into_series().unwrap();
    assert!(matches!(writer.finish(), Err(Error::Misuse(_))));
}

#[test]
fn sizes_follow_the_rule_of_thanos() {
    let mut sizes = SizeStats::default();
    sizes.observe(32, &[chunk(0, 0, 8), chunk(0, 0, 5000)]);
    // One series has no neighbour, and two chunks are the last two.
    assert_eq!((sizes.series_max_size, sizes.chunk_max_size), (0, 0));
    let refs = [10, 30, 1 << 32 | 8, 1 << 32 | 700, 1 << 32 | 9999];
    let chunks: Vec<_> = refs.iter().map(|&r| chunk(0, 0, r)).collect();
    sizes.observe(112, &chunks);
    assert_eq!((sizes.series_max_size, sizes.chunk_max_size), (80, 692));
    sizes.observe(128, &chunks[..2]);
    assert_eq!((sizes.series_max_size, sizes.chunk_max_size), (80, 692));
}

#[test]
fn lookups_find_symbols_and_pairs() {
    let series = generated(3000);
    let (data, _) = write_held(&series);
    let content = Content::read(blob(&data)).unwrap();
    let mut index = Index::open(stingy(&data)).unwrap();
    assert_eq!(
        index.symbol_refs().unwrap().count() as usize,
        content.symbols.len()
    );
    let mut table = index.load_symbols().unwrap();
    let mut buffer = SymbolBuffer::new();
    for symbol in &content.symbols {
        buffer.push(symbol).unwrap();
    }
    let count = table.len();
    let mut random = Lcg(7);
    for step in 0..3 * count {
        // First in order, then at random.
        let i = if step < count {
            step
        } else {
            random.next(u64::from(count)) as u32
        };
        let expected = content.symbols[i as usize].as_slice();
        assert_eq!(table.get(i), Some(expected));
        assert_eq!(table.find(expected), Some(i));
        assert_eq!(buffer.symbol(i).unwrap(), expected);
    }
    assert!(table.symbol(count).is_err() && buffer.symbol(count).is_err());
    assert_eq!(table.find(b"v"), None);
    assert_eq!(table.display(count), format!("<symbol {count}>"));

    let postings = index.load_postings_table().unwrap();
    assert_eq!(postings.names().len(), 13);
    for (name, value, refs) in &content.postings {
        let offset = postings.find(name, value).unwrap();
        let list = index.postings(offset).unwrap();
        assert_eq!(list.len(), refs.len());
        assert!(postings.values(name).any(|e| e.value == value.as_slice()));
    }
    assert_eq!(postings.values(b"m").count(), 40);
    assert_eq!(postings.find(b"m", b"v9x"), None);
    assert_eq!(postings.find(b"zz", b""), None);
    assert!(index.postings(9).is_err());
    let refs = index.symbol_refs().unwrap();
    let mut raw = RawSeries::default();
    for (reference, (_, chunks)) in &content.series {
        index.series_at(*reference, &refs, &mut raw).unwrap();
        assert_eq!(raw.chunks, *chunks);
    }
    assert!(index.series_at(u64::MAX, &refs, &mut raw).is_err());
}

#[test]
fn postings_must_ascend_and_fill_their_length() {
    let list = |refs: &[u32], count: u32| {
        let mut buf = Vec::new();
        buf.put_be32(count);
        refs.iter().for_each(|&r| buf.put_be32(r));
        Postings::new(buf.into())
    };
    let good: Result<Vec<u32>, _> = list(&[1, 5, 6], 3).unwrap().iter().collect();
    assert_eq!(good.unwrap(), [1, 5, 6]);
    for (refs, count) in [(&[1u32, 5][..], 3), (&[1, 5], u32::MAX), (&[1, 5], 0)] {
        assert!(list(refs, count).is_err());
    }
    assert!(list(&[1, 5, 5], 3).unwrap().iter().any(|r| r.is_err()));
}

/// Text that shares prefixes, has several bytes per letter, and may be empty.
fn text() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        "[ab_é日]{1,3}".prop_map(String::into_bytes),
        ".{1,12}".prop_map(String::into_bytes),
        proptest::collection::vec(any::<u8>(), 1..200),
    ]
}

fn series_set() -> impl Strategy<Value = Vec<ModelSeries>> {
    let chunk_steps = proptest::collection::vec((0u32..1000, 0u32..1000, 1u32..500), 0..5);
    let set = proptest::collection::btree_map(text(), text(), 1..5);
    proptest::collection::btree_map(
        set.prop_map(|s| s.into_iter().collect::<Vec<_>>()),
        (any::<i32>(), chunk_steps),
        0..12,
    )
    .prop_map(|series| {
        let mut reference = 8;
        let model = |(set, (start, steps)): (Vec<_>, (i32, Vec<_>))| {
            let mut time = i64::from(start);
            let chunks = steps.into_iter().map(|(gap, len, size): (u32, u32, u32)| {
                let min = time + i64::from(gap) + 1;
                time = min + i64::from(len);
                reference += u64::from(size);
                chunk(min, time, reference)
            });
            let chunks: Vec<_> = chunks.collect();
            (set.into_iter().collect(), chunks)
        };
        series.into_iter().map(model).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn series_come_back(series in series_set()) {
        let (data, written) = write_held(&series);
        prop_assert!(write_announced(&series) == data);
        for reader in [blob(&data), stingy(&data)] {
            let content = Content::read(reader).unwrap();
            prop_assert_eq!(&content.symbols, &symbols_of(&series));
            prop_assert!(content.series.iter().map(|(_, s)| s).eq(&series));
            prop_assert_eq!(&content.postings, &content.expected_postings());
            prop_assert_eq!(content.postings.len() as u64, written.label_pairs + 1);
        }
    }

    #[test]
    fn series_of_version_1_come_back(series in series_set()) {
        let data = write_version_1(&series);
        let content = Content::read(stingy(&data)).unwrap();
        prop_assert_eq!(&content.symbols, &symbols_of(&series));
        prop_assert!(content.series.iter().map(|(_, s)| s).eq(&series));
        prop_assert_eq!(&content.postings, &content.expected_postings());
    }

    #[test]
    fn damage_behind_right_checksums_never_panics(
        series in series_set(),
        hits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let (good, written) = write_held(&series);
        let mut bad = good.clone();
        for (at, byte) in hits {
            let end = bad.len() - Toc::LEN;
            bad[5 + at.index(end - 5)] = byte;
        }
        reseal(&good, &mut bad, &written);
        let _ = Content::read(stingy(&bad));
        let mut index = Index::open(blob(&bad)).unwrap();
        let _ = index.load_symbols();
    }

    #[test]
    fn garbage_never_panics(
        version in 1u8..=2,
        body in proptest::collection::vec(any::<u8>(), 0..200),
        places in proptest::collection::vec(any::<prop::sample::Index>(), 6),
    ) {
        let mut data = vec![0xba, 0xaa, 0xd7, 0x00, version];
        data.extend_from_slice(&body);
        let mut at: Vec<u64> = places.iter().map(|p| 5 + p.index(body.len() + 1) as u64).collect();
        at.sort_unstable();
        Toc {
            symbols: at[0],
            series: at[1],
            label_indices: at[2],
            postings: at[3],
            label_indices_table: at[4],
            postings_table: at[5],
        }
        .encode(&mut data);
        let _ = Content::read(stingy(&data));
        let mut index = Index::open(blob(&data)).unwrap();
        let _ = (index.load_symbols(), index.load_postings_table());
        for offset in 0..data.len() as u64 {
            let _ = index.postings(offset);
        }
    }
}
