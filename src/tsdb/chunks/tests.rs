use proptest::prelude::*;

use super::*;
use crate::tsdb::encoding::{Crc32c, EncBuf};
use crate::tsdb::error::{Error, Result};
use crate::tsdb::index::test_support::{Lcg, MemWriter, Stingy, hex};
use crate::tsdb::source::{BlobReader, MemBlob};

fn segment(data: &[u8]) -> Box<dyn BlobReader> {
    Box::new(Stingy(MemBlob::new("01X/chunks/000001", data.to_vec())))
}

fn data(encoding: u8, data: &[u8]) -> ChunkInput<'_> {
    ChunkInput::Data { encoding, data }
}

/// Writes series of chunks and returns the segments and all references.
fn write(size: u32, series: &[Vec<(u8, Vec<u8>)>]) -> (Vec<Vec<u8>>, Vec<ChunkRef>) {
    let files: std::sync::Arc<std::sync::Mutex<Vec<MemWriter>>> = std::sync::Arc::default();
    let made = std::sync::Arc::clone(&files);
    let mut writer = ChunkWriter::new(size, move |n| {
        let mut made = made.lock().unwrap();
        assert_eq!(n as usize, made.len());
        made.push(MemWriter::default());
        Ok(Box::new(made[n as usize].clone()))
    });
    let mut refs = Vec::new();
    for chunks in series {
        let inputs = chunks
            .iter()
            .map(|(encoding, bytes)| data(*encoding, bytes));
        writer.write_series(inputs, &mut refs).unwrap();
    }
    let written = writer.finish().unwrap();
    let files: Vec<_> = files.lock().unwrap().iter().map(MemWriter::bytes).collect();
    assert!(
        written
            .iter()
            .map(|w| w.size)
            .eq(files.iter().map(|f| f.len() as u64))
    );
    (files, refs)
}

#[test]
fn smallest_segment_has_the_bytes_that_prometheus_writes() {
    let (files, refs) = write(DEFAULT_SEGMENT_SIZE, &[vec![(1, vec![0xaa, 0xbb])]]);
    assert_eq!(refs, [ChunkRef::new(0, 8)]);
    // magic, version, padding; 2 bytes of encoding 1; crc
    let expected = "85bd40dd 01 000000 02 01 aabb d0a0025b".replace(' ', "");
    assert_eq!(hex(&files[0]), expected);
    let (files, _) = write(DEFAULT_SEGMENT_SIZE, &[vec![]]);
    assert!(files.is_empty());
    let mut framed = Vec::new();
    frame_chunk(1, &[0xaa, 0xbb], &mut framed);
    assert_eq!(hex(&framed), expected[16..]);
}

#[test]
fn segments_are_cut_where_prometheus_cuts_them() {
    // Segments, checksum of all references and of all bytes, from a Go program
    // that feeds the same chunks to Prometheus 0.309.1.
    for (size, segments, refs_crc, bytes_crc) in [
        (64, 1392, 0x79ca_7ee3, 0x952d_0537),
        (600, 363, 0x3e3c_36ae, 0xd2bf_22b9),
        (4096, 57, 0x051d_4442, 0xf04b_b4db_u32),
    ] {
        let mut random = Lcg(size);
        let mut series = Vec::new();
        for _ in 0..400 {
            let mut chunks = Vec::new();
            for _ in 0..1 + random.next(6) {
                let mut len = random.next(200);
                if random.next(20) == 0 {
                    len += 900;
                }
                let bytes: Vec<u8> = (0..len).map(|_| random.next(256) as u8).collect();
                chunks.push((1 + random.next(6) as u8, bytes));
            }
            series.push(chunks);
        }
        let (files, refs) = write(size as u32, &series);
        let (mut of_refs, mut of_bytes) = (Crc32c::new(), Crc32c::new());
        refs.iter()
            .for_each(|&r| of_refs.update(format!("{},", u64::from(r)).as_bytes()));
        files.iter().for_each(|f| of_bytes.update(f));
        assert_eq!(files.len(), segments, "size {size}");
        assert_eq!(of_refs.value(), refs_crc, "size {size}");
        assert_eq!(of_bytes.value(), bytes_crc, "size {size}");
    }
}

#[test]
fn other_files_are_refused() {
    let open = |data: &[u8]| {
        SegmentReader::open(0, segment(data))
            .unwrap_err()
            .to_string()
    };
    let good = [0x85, 0xbd, 0x40, 0xdd, 1, 0, 0, 0];
    assert!(SegmentReader::open(0, segment(&good)).is_ok());
    assert!(open(&good[..7]).contains("01X/chunks/000001: ends before 8 bytes"));
    assert!(open(&[0; 8]).contains("magic number 00000000"));
    let version = [0x85, 0xbd, 0x40, 0xdd, 2, 0, 0, 0];
    assert!(open(&version).contains("version 2, only 1 is known at byte 4"));
}

#[test]
fn references_outside_are_refused() {
    let (files, refs) = write(DEFAULT_SEGMENT_SIZE, &[vec![(1, vec![7; 300])]]);
    let mut reader = SegmentReader::open(0, segment(&files[0])).unwrap();
    assert_eq!(reader.record(refs[0]).unwrap().data(), [7; 300]);
    let other = reader.record(ChunkRef::new(1, 8));
    assert!(matches!(other, Err(Error::Misuse(_))));
    for offset in [0, 7, files[0].len() as u32, u32::MAX] {
        let error = reader.record(ChunkRef::new(0, offset)).unwrap_err();
        assert!(error.to_string().contains("outside"), "{error}");
    }
    // A length near 2^35 must not be asked for.
    let mut long = files[0].clone();
    long[8..13].copy_from_slice(&[0xff, 0xff, 0xff, 0xff, 0x7f]);
    let mut reader = SegmentReader::open(0, segment(&long)).unwrap();
    let error = reader.record(refs[0]).unwrap_err().to_string();
    assert_eq!(
        error,
        "01X/chunks/000001: chunk of 34359738367 bytes ends outside of its segment at byte 8"
    );
}

#[test]
fn framed_records_must_be_whole() {
    let mut framed = Vec::new();
    frame_chunk(3, b"samples", &mut framed);
    let mut writer = ChunkWriter::new(100, |_| Ok(Box::<MemWriter>::default()));
    for wrong in [&framed[1..], &framed[..framed.len() - 1], &[], &[0x80]] {
        let result = writer.append(ChunkInput::Framed(wrong));
        assert!(matches!(result, Err(Error::Misuse(_))), "{result:?}");
    }
    writer.append(ChunkInput::Framed(&framed)).unwrap();
}

#[test]
fn file_names_count_from_one() {
    assert_eq!(segment_file_name(0), "000001");
    assert_eq!(segment_file_name(1_234_566), "1234567");
    assert_eq!(segment_file_name(u32::MAX), "4294967296");
    for segment in [0, 41, 999_999, u32::MAX] {
        assert_eq!(
            parse_segment_file_name(&segment_file_name(segment)),
            Some(segment)
        );
    }
    for name in [
        "",
        "1",
        "000000",
        "000001.tmp",
        "+00001",
        "99999999999999999999",
        "4294967297",
    ] {
        assert_eq!(parse_segment_file_name(name), None, "{name}");
    }
}

fn chunk_list() -> impl Strategy<Value = Vec<(u8, Vec<u8>)>> {
    let bytes = proptest::collection::vec(any::<u8>(), 0..300);
    proptest::collection::vec((any::<u8>(), bytes), 1..5)
}

proptest! {
    #[test]
    fn records_come_back_and_pass_through(
        series in proptest::collection::vec(chunk_list(), 1..8),
        size in 16u32..3000,
    ) {
        let (files, refs) = write(size, &series);
        let mut readers: Vec<_> = (0..)
            .zip(&files)
            .map(|(i, f)| SegmentReader::open(i, segment(f)).unwrap())
            .collect();
        let flat: Vec<_> = series.iter().flatten().collect();
        prop_assert_eq!(refs.len(), flat.len());
        prop_assert!(refs.is_sorted_by(|a, b| a < b));
        for (&reference, (encoding, bytes)) in refs.iter().zip(flat) {
            let record = readers[reference.segment() as usize].record(reference).unwrap();
            record.verify().unwrap();
            prop_assert_eq!(record.encoding(), *encoding);
            prop_assert_eq!(record.data(), bytes.as_slice());
            prop_assert_eq!(&record.data_bytes()[..], bytes.as_slice());
            let mut framed = Vec::new();
            frame_chunk(*encoding, bytes, &mut framed);
            prop_assert_eq!(&record.framed()[..], &framed[..]);
        }
    }

    #[test]
    fn each_changed_byte_is_found(chunks in chunk_list(), bits in 1u8..=255) {
        let (files, refs) = write(DEFAULT_SEGMENT_SIZE, std::slice::from_ref(&chunks));
        for at in 8..files[0].len() {
            let mut bad = files[0].clone();
            bad[at] ^= bits;
            let mut reader = SegmentReader::open(0, segment(&bad)).unwrap();
            let all: Result<Vec<_>> = refs
                .iter()
                .map(|&r| {
                    let record = reader.record(r)?;
                    record.verify()?;
                    Ok((record.encoding(), record.data().to_vec()))
                })
                .collect();
            prop_assert!(all.is_err(), "byte {} changed by {:02x}", at, bits);
        }
    }

    #[test]
    fn garbage_never_panics(body in proptest::collection::vec(any::<u8>(), 0..100)) {
        let mut data = Vec::new();
        data.put_be32(MAGIC);
        data.extend_from_slice(&[VERSION, 0, 0, 0]);
        data.extend_from_slice(&body);
        let mut reader = SegmentReader::open(0, segment(&data)).unwrap();
        for offset in 0..data.len() as u32 + 2 {
            if let Ok(record) = reader.record(ChunkRef::new(0, offset)) {
                let _ = (record.verify(), record.data().len(), record.data_bytes());
            }
        }
    }
}
