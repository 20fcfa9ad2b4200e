use std::sync::{Arc, Mutex};

use proptest::prelude::*;

use super::*;

#[test]
fn checksum_is_castagnoli_whole_and_in_pieces() {
    let data: Vec<u8> = (0..5000u32).map(|i| (i * 31) as u8).collect();
    assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    assert_eq!(Crc32c::new().value(), crc32c(b""));
    for piece in [1, 7, 64, 999, 5000] {
        let mut crc = Crc32c::new();
        data.chunks(piece).for_each(|p| crc.update(p));
        assert_eq!(crc.value(), crc32c(&data), "pieces of {piece}");
    }
}

#[test]
fn varints_have_the_bytes_of_the_format() {
    let mut buf = Vec::new();
    buf.put_uvarint(300);
    buf.put_varint(-1);
    buf.put_varint(64);
    buf.put_be32(0xBAAA_D700);
    buf.put_uvarint_bytes("é".as_bytes());
    assert_eq!(
        buf,
        [
            0xac, 0x02, 0x01, 0x80, 0x01, 0xba, 0xaa, 0xd7, 0x00, 0x02, 0xc3, 0xa9
        ]
    );
}

#[test]
fn damaged_fields_name_their_place() {
    let too_wide = [0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x02];
    let error = DecBuf::new(&too_wide).uvarint64().unwrap_err();
    assert_eq!(error, Corrupt::at(0, "varint exceeds 64 bits"));

    let mut dec = DecBuf::new(&[7, 0x80]);
    assert_eq!(dec.byte().unwrap(), 7);
    assert_eq!(dec.uvarint64().unwrap_err().offset, 1);
    assert_eq!(dec.be32().unwrap_err().offset, 1);
    assert_eq!(dec.be64().unwrap_err().offset, 1);

    // A length far beyond the input must neither allocate nor wrap.
    let mut long = Vec::new();
    long.put_uvarint(u64::MAX);
    let mut dec = DecBuf::new(&long);
    assert_eq!(dec.uvarint_bytes().unwrap_err().offset, 0);
    assert_eq!(dec.position(), 0);
    assert!(dec.uvarint32().is_err());
    assert!(DecBuf::new(&[1, 0xff]).uvarint_str().is_err());
}

/// Records the size of each piece.
struct Pieces(Arc<Mutex<(Vec<u8>, Vec<usize>)>>);

impl BlobWriter for Pieces {
    fn write(&mut self, data: &[u8]) -> Result<()> {
        let mut seen = self.0.lock().unwrap();
        seen.0.extend_from_slice(data);
        seen.1.push(data.len());
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<u64> {
        Ok(self.0.lock().unwrap().0.len() as u64)
    }
}

#[test]
fn append_keeps_order_and_hands_over_large_pieces() {
    let seen = Arc::default();
    let mut append = Append::new(Box::new(Pieces(Arc::clone(&seen))));
    let mut expected = Vec::new();
    for (i, len) in [3, 70_000, 300_000, 1, 262_144, 262_143, 0, 900_000, 5]
        .into_iter()
        .enumerate()
    {
        let data = vec![i as u8; len];
        append.write(&data).unwrap();
        expected.extend_from_slice(&data);
        append.pad_to(16).unwrap();
        expected.resize(expected.len().next_multiple_of(16), 0);
        assert_eq!(append.position(), expected.len() as u64);
    }
    append.finish().unwrap();
    let seen = seen.lock().unwrap();
    assert!(seen.0 == expected);
    let (_, all_but_last) = seen.1.split_last().unwrap();
    assert!(all_but_last.iter().all(|&n| n >= Append::PIECE));
}

proptest! {
    #[test]
    fn numbers_come_back(u in any::<u64>(), bits in 0u32..64, i in any::<i64>(), s in ".{0,40}") {
        let u = u >> bits;
        let mut buf = Vec::new();
        buf.put_uvarint(u);
        prop_assert_eq!(DecBuf::new(&buf).uvarint32().ok(), u32::try_from(u).ok());
        prop_assert_eq!(buf.len(), uvarint_len(u));
        buf.put_varint(i >> bits);
        buf.put_be64(u);
        buf.put_uvarint_bytes(s.as_bytes());
        let mut dec = DecBuf::new(&buf);
        prop_assert_eq!(dec.uvarint64().unwrap(), u);
        prop_assert_eq!(dec.varint64().unwrap(), i >> bits);
        prop_assert_eq!(dec.be64().unwrap(), u);
        prop_assert_eq!(dec.uvarint_str().unwrap(), s);
        prop_assert!(dec.is_empty());
        prop_assert_eq!(dec.position(), buf.len());
    }

    #[test]
    fn garbage_never_panics(data in proptest::collection::vec(any::<u8>(), 0..40)) {
        let mut dec = DecBuf::new(&data);
        while !dec.is_empty() {
            let before = dec.remaining();
            let _ = (dec.uvarint32(), dec.varint64(), dec.uvarint_bytes(), dec.be32());
            if dec.remaining() == before {
                break;
            }
        }
    }
}
