use proptest::prelude::*;

use super::*;

fn name(n: u128, file: usize) -> String {
    path(Ulid::from_parts(1_700_000_000_000, n), FILES[file])
}

fn entry_of(modified_ms: i64, etag: Option<&str>, body: &str) -> Entry {
    let version = Version {
        size: body.len() as u64,
        modified_ms,
        etag: etag.map(str::to_owned),
    };
    (version, Bytes::copy_from_slice(body.as_bytes()))
}

fn some() -> HashMap<String, Entry> {
    HashMap::from([
        (name(1, 0), entry_of(5, Some("\"a-1\""), "{}")),
        (name(1, 1), entry_of(i64::MIN, None, "")),
        (name(2, 0), entry_of(i64::MAX, Some(""), "x")),
        (name(2, 2), entry_of(0, Some("é"), "\u{0}\u{1}")),
        (name(3, 3), entry_of(-1, None, "last")),
    ])
}

fn encoded(entries: &HashMap<String, Entry>) -> Vec<u8> {
    encode(entries.iter().map(|(name, entry)| (name.as_str(), entry)))
}

fn read(data: &[u8]) -> Result<Image, Unusable> {
    decode(&Bytes::copy_from_slice(data))
}

/// The same with a checksum that fits.
fn sealed(mut data: Vec<u8>) -> Vec<u8> {
    let end = data.len() - CHECKSUM;
    let checksum = crc32fast::hash(&data[..end]).to_be_bytes();
    data[end..].copy_from_slice(&checksum);
    data
}

#[test]
fn what_was_written_is_read() {
    let mut data = encoded(&some());
    let sizes = some();
    let sizes = sizes.iter().map(|(name, e)| entry_bytes(name, e).unwrap());
    assert_eq!(data.len(), HEADER + sizes.sum::<usize>() + CHECKSUM);
    let image = read(&data).unwrap();
    assert_eq!((&image.entries, image.unshared), (&some(), 0));
    set_unshared(&mut data, 77);
    let image = read(&data).unwrap();
    assert_eq!((&image.entries, image.unshared), (&some(), 77));
    assert_eq!(read(&encoded(&HashMap::new())), Ok(Image::default()));
}

/// The bytes are a format: another release reads them.
#[test]
fn the_bytes_are_as_drawn() {
    let block = Ulid(0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10);
    let entries = HashMap::from([(path(block, DELETION_MARK), entry_of(258, Some("t"), "{}"))]);
    let mut data = encoded(&entries);
    set_unshared(&mut data, 9);
    let mut wanted = b"lithmeta".to_vec();
    wanted.extend([0, 0, 0, 1, 0, 0, 0, 9, 0, 0, 0, 1]);
    wanted.extend(1..=16);
    wanted.extend([1, 0, 0, 0, 0, 0, 0, 1, 2, 0, 2, b't', 0, 0, 0, 2]);
    wanted.extend(b"{}");
    assert_eq!(data[..data.len() - CHECKSUM], wanted);
}

#[test]
fn the_order_of_the_entries_does_not_matter() {
    let some = some();
    let mut pairs: Vec<(&str, &Entry)> = some.iter().map(|(n, e)| (n.as_str(), e)).collect();
    pairs.sort_by_key(|(name, _)| *name);
    let forth = encode(pairs.clone());
    pairs.reverse();
    assert_eq!(encode(pairs), forth);
}

#[test]
fn what_has_no_place_is_left_out() {
    let (version, body) = entry_of(1, None, "body");
    let other_size = Version {
        size: 5,
        ..version.clone()
    };
    let long = "e".repeat(MAX_ETAG + 1);
    let entries = HashMap::from([
        (name(1, 0), (other_size, body.clone())),
        (name(2, 0), entry_of(1, Some(&long), "body")),
        ("lithify/x".to_owned(), (version.clone(), body.clone())),
        (path(Ulid(7), "index"), (version.clone(), body.clone())),
        (name(3, 0), (version.clone(), body.clone())),
    ]);
    let read = read(&encoded(&entries)).unwrap();
    assert_eq!(read.entries, HashMap::from([(name(3, 0), (version, body))]));
}

#[test]
fn whatever_is_missing_or_other_is_found() {
    let data = encoded(&some());
    for len in 0..data.len() {
        let wanted = if len < 8 {
            Unusable::Foreign
        } else {
            Unusable::Torn
        };
        assert_eq!(read(&data[..len]), Err(wanted), "{len} bytes");
    }
    let mut longer = data.clone();
    longer.push(0);
    assert_eq!(read(&longer), Err(Unusable::Torn));
    for at in 0..data.len() {
        let mut other = data.clone();
        other[at] ^= 0x20;
        assert!(read(&other).is_err(), "byte {at}");
    }
    let mut newer = data;
    newer[11] = 2;
    assert_eq!(read(&sealed(newer)), Err(Unusable::Version(2)));
}

#[test]
fn lengths_that_lie_are_found_although_the_checksum_fits() {
    let data = encoded(&HashMap::from([(name(1, 0), entry_of(5, Some("a"), "{}"))]));
    let etag = HEADER + 16 + 1 + 8;
    let body = etag + 2 + 1;
    for (at, bytes) in [
        (COUNT.start, &[0xff, 0xff, 0xff, 0xff][..]),
        (COUNT.start, &[0, 0, 0, 0]),
        (COUNT.start, &[0, 0, 0, 2]),
        (HEADER + 16, &[4]),
        (etag, &[0xff, 0xff]),
        (body, &[0xff, 0xff, 0xff, 0xff]),
        (body, &[0, 0, 0, 1]),
    ] {
        let mut lying = data.clone();
        lying[at..at + bytes.len()].copy_from_slice(bytes);
        let found = read(&sealed(lying));
        assert!(matches!(found, Err(Unusable::Entry(_))), "{at}: {found:?}");
    }
    // Twice the same name.
    let one = &data[HEADER..data.len() - CHECKSUM];
    let mut twice = data[..HEADER].to_vec();
    twice[COUNT].copy_from_slice(&2_u32.to_be_bytes());
    twice.extend_from_slice(one);
    twice.extend_from_slice(one);
    twice.extend_from_slice(&[0; CHECKSUM]);
    assert_eq!(read(&sealed(twice)), Err(Unusable::Entry(1)));
}

proptest! {
    #[test]
    fn any_bytes_end_in_a_cache_or_an_error(data in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut framed = b"lithmeta\0\0\0\x01".to_vec();
        framed.extend_from_slice(&data);
        let framed = if framed.len() > 4 { sealed(framed) } else { framed };
        if let Ok(image) = read(&framed) {
            let mut again = encoded(&image.entries);
            set_unshared(&mut again, image.unshared);
            prop_assert_eq!(read(&again).unwrap(), image);
        }
    }

    #[test]
    fn any_entries_come_back(
        entries in proptest::collection::hash_map(
            (any::<u128>(), 0_usize..4).prop_map(|(n, file)| path(Ulid(n), FILES[file])),
            (any::<i64>(), proptest::option::of(".{0,20}"), ".{0,50}")
                .prop_map(|(ms, etag, body)| entry_of(ms, etag.as_deref(), &body)),
            0..20,
        )
    ) {
        prop_assert_eq!(read(&encoded(&entries)).unwrap().entries, entries);
    }
}
