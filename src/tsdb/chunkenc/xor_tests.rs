//! XOR and the bits below it: against the naive model, and both ways.

use proptest::prelude::*;

use super::bits::{BitReader, BitRun, BitWriter};
use super::model::{Bits, xor_chunk};
use super::{
    EncodedChunks, Encoding, FloatFold, FloatSamples, STALE_NAN, SeriesEncoder, XorEncoder,
    XorIter, decode_xor, fold_floats, num_samples, varbit,
};

/// Values that use every way to be coded.
fn value() -> impl Strategy<Value = f64> {
    prop_oneof![
        Just(0.0),
        Just(-0.0),
        Just(f64::from_bits(STALE_NAN)),
        Just(f64::NAN),
        Just(f64::INFINITY),
        any::<u64>().prop_map(f64::from_bits),
        (0u32..50).prop_map(f64::from),
        (0u64..1 << 53).prop_map(|n| n as f64),
        (0i64..1_000_000).prop_map(|n| n as f64 / 1000.0),
    ]
}

/// Steps that use every size of a delta of delta, also just around its limits.
fn step() -> impl Strategy<Value = i64> {
    let around =
        |limit: i64| (limit - 2..=limit + 2).prop_flat_map(|n| prop_oneof![Just(n), Just(-n)]);
    prop_oneof![
        4 => Just(15_000i64),
        2 => 14_990i64..15_010,
        1 => around(1 << 13),
        1 => around(1 << 16),
        1 => around(1 << 19),
        1 => any::<i64>(),
    ]
}

pub(super) fn samples(max: usize) -> impl Strategy<Value = Vec<(i64, f64)>> {
    let first = prop_oneof![0..2_000_000_000_000i64, any::<i64>()];
    (first, prop::collection::vec((step(), value()), 0..max)).prop_map(|(first, steps)| {
        let mut t = first;
        let mut samples = Vec::new();
        for (step, v) in steps {
            samples.push((t, v));
            t = t.wrapping_add(step);
        }
        samples
    })
}

pub(super) fn bits_of(samples: impl IntoIterator<Item = (i64, f64)>) -> Vec<(i64, u64)> {
    samples.into_iter().map(|(t, v)| (t, v.to_bits())).collect()
}

/// Collects what it is handed, and counts.
#[derive(Default)]
struct Collect(FloatSamples);

impl FloatFold for Collect {
    type Carry = usize;

    fn fold(&mut self, so_far: usize, t: i64, v: f64) -> usize {
        assert_eq!(so_far, self.0.len());
        self.0.push(t, v);
        so_far + 1
    }
}

fn encode(samples: &[(i64, f64)]) -> Vec<u8> {
    let mut encoder = XorEncoder::new();
    for (t, v) in samples {
        encoder.push(*t, *v);
    }
    encoder.finish().unwrap().to_vec()
}

fn drain(data: &[u8]) -> Vec<(i64, u64)> {
    let mut iter = XorIter::new(data).unwrap();
    let mut all = Vec::new();
    while let Some(sample) = iter.next().unwrap() {
        all.push(sample);
    }
    bits_of(all)
}

proptest! {
    #[test]
    fn encoder_writes_what_the_model_writes(samples in samples(200)) {
        prop_assert_eq!(encode(&samples), xor_chunk(&samples));
    }

    #[test]
    fn both_decoders_give_the_samples_back(samples in samples(200)) {
        let data = encode(&samples);
        let expected = bits_of(samples.iter().copied());
        prop_assert_eq!(num_samples(Encoding::Xor, &data).unwrap(), samples.len());
        prop_assert_eq!(&drain(&data), &expected);
        let mut block = FloatSamples::default();
        block.push(-1, -1.0);
        decode_xor(&data, &mut block).unwrap();
        prop_assert_eq!(&bits_of(block.iter().skip(1)), &expected);
    }

    #[test]
    fn what_is_said_to_ascend_does(
        samples in samples(200),
        steps in prop::collection::vec(prop_oneof![1_i64..100_000, -3_i64..3, Just(i64::MAX), any::<i64>()], 0..6),
    ) {
        // Mostly regular, with a few steps that may go back or around.
        let mut t = samples.first().map_or(0, |s| s.0);
        let regular = samples.iter().enumerate().map(|(i, &(_, v))| {
            t = t.wrapping_add(steps.get(i).copied().unwrap_or(15_000));
            (t, v)
        });
        for samples in [regular.collect::<Vec<_>>(), samples.clone()] {
            let (mut block, mut buffer) = (Collect::default(), FloatSamples::default());
            let data = encode(&samples);
            let times = fold_floats(Encoding::Xor, &data, &mut buffer, &mut 0, &mut block).unwrap();
            let (said, block) = (times.ascending, block.0);
            prop_assert_eq!(bits_of(block.iter()), bits_of(samples.iter().copied()));
            let ends = block.ts.first().copied().zip(block.ts.last().copied());
            prop_assert_eq!(times.ends, ends);
            let so = block.ts.is_sorted_by(|a, b| a < b);
            prop_assert!(so || !said, "{:?}", block.ts);
            let small = |w: &[i64]| w[1].checked_sub(w[0]).is_some_and(|d| d <= 1 << 46);
            let usual = block.ts.windows(2).all(small);
            prop_assert!(!(so && usual) || said, "{:?}", block.ts);
        }
    }

    #[test]
    fn a_chunk_cut_short_is_an_error_and_leaves_nothing(samples in samples(40), cut in any::<prop::sample::Index>()) {
        if samples.is_empty() {
            return Ok(());
        }
        let data = encode(&samples);
        let cut = cut.index(data.len() - 1);
        let mut block = FloatSamples::default();
        block.push(1, 1.0);
        prop_assert!(decode_xor(&data[..cut], &mut block).is_err());
        prop_assert_eq!(block.len(), 1);
        prop_assert_eq!(block.vs.len(), 1);
        let Ok(mut iter) = XorIter::new(&data[..cut]) else { return Ok(()) };
        let mut read = 0;
        let failed = loop {
            match iter.next() {
                Ok(Some(_)) => read += 1,
                Ok(None) => break false,
                Err(_) => break true,
            }
        };
        prop_assert!(failed && read < samples.len());
        prop_assert_eq!(iter.next().unwrap(), None);
    }

    #[test]
    fn series_are_cut_every_120_floats(samples in samples(500), pieces in 1usize..200) {
        let mut one_by_one = EncodedChunks::default();
        let mut in_bulk = EncodedChunks::default();
        let mut encoder = SeriesEncoder::new();
        for (t, v) in &samples {
            encoder.push_float(*t, *v, &mut one_by_one).unwrap();
        }
        encoder.finish(&mut one_by_one).unwrap();
        for piece in samples.chunks(pieces) {
            let (ts, vs): (Vec<_>, Vec<_>) = piece.iter().copied().unzip();
            encoder.push_floats(&ts, &vs, &mut in_bulk).unwrap();
        }
        encoder.finish(&mut in_bulk).unwrap();
        prop_assert_eq!(&one_by_one, &in_bulk);
        prop_assert_eq!(in_bulk.metas.len(), samples.len().div_ceil(120));
        for (piece, (meta, data)) in samples.chunks(120).zip(in_bulk.iter()) {
            prop_assert_eq!(data, &xor_chunk(piece)[..]);
            prop_assert_eq!((meta.min_time, meta.max_time), (piece[0].0, piece[piece.len() - 1].0));
            prop_assert_eq!((meta.samples, meta.encoding), (piece.len(), Encoding::Xor));
        }
    }

    #[test]
    fn bits_come_back(fields in prop::collection::vec((any::<u64>(), 1u32..=64), 0..100), start in 0usize..4) {
        let fields: Vec<_> = fields.into_iter().map(|(v, n)| (v & (u64::MAX >> (64 - n)), n)).collect();
        let (mut writer, mut model) = (BitWriter::default(), Bits::default());
        writer.restart(start);
        model.put(0, 8 * start as u32);
        for (v, n) in &fields {
            let mut run = writer.run(*n as usize);
            run.put_wide(*v, *n);
            let end = run.end();
            writer.resume(end);
            model.put(*v, *n);
        }
        prop_assert_eq!(writer.bytes(), &model.bytes()[..]);
        let mut reader = BitReader::new(writer.bytes(), start);
        for (v, n) in &fields {
            prop_assert_eq!(reader.read(*n), *v);
            prop_assert!(!reader.overrun());
        }
        prop_assert!(reader.remaining_bits() < 8);
        reader.read(8);
        prop_assert!(reader.overrun());
        prop_assert_eq!(reader.remaining_bits(), 0);
    }

    #[test]
    fn varbits_come_back_in_the_size_described(raw in any::<u64>(), shift in 0u32..64, close in -2i64..=2) {
        let shifted = (raw >> shift) as i64;
        for v in [shifted, -shifted, (1i64 << shift).wrapping_add(close), (1i64 << shift).wrapping_add(close).wrapping_neg()] {
            let w = written(|w| {
                varbit::put_int(w, v);
                varbit::put_uint(w, v as u64);
            });
            let mut model = Bits::default();
            put_varbit(&mut model, v as u64, |n| v > -(1i128 << (n - 1)) as i64 && i128::from(v) <= 1i128 << (n - 1));
            put_varbit(&mut model, v as u64, |n| (v as u64) < 1 << n);
            prop_assert_eq!(w.bytes(), &model.bytes()[..]);
            let mut r = BitReader::new(w.bytes(), 0);
            prop_assert_eq!(varbit::read_int(&mut r), v);
            prop_assert_eq!(varbit::read_uint(&mut r), v as u64);
            prop_assert!(!r.overrun());
        }
    }

    #[test]
    fn varints_come_back_at_any_bit(values in prop::collection::vec(any::<i64>(), 1..20), odd in 1u32..8) {
        let w = written(|w| {
            w.put(0, odd);
            values.iter().for_each(|v| w.put_varint(*v));
        });
        let mut model = Bits::default();
        model.put(0, odd);
        values.iter().for_each(|v| model.varint(*v));
        prop_assert_eq!(w.bytes(), &model.bytes()[..]);
        let mut r = BitReader::new(w.bytes(), 0);
        r.read(odd);
        for v in &values {
            prop_assert_eq!(r.read_varint(), Some(*v));
        }
    }
}

/// A stream with some bits written in one run.
fn written(write: impl FnOnce(&mut BitRun<'_>)) -> BitWriter {
    let mut writer = BitWriter::default();
    writer.restart(0);
    let mut run = writer.run(4096);
    write(&mut run);
    let end = run.end();
    writer.resume(end);
    writer
}

/// A varbit, given which payload sizes hold the number.
fn put_varbit(bits: &mut Bits, v: u64, fits: impl Fn(u32) -> bool) {
    if v == 0 {
        return bits.text("0");
    }
    for (ones, n) in [3u32, 6, 9, 12, 18, 25, 56].into_iter().enumerate() {
        if fits(n) {
            bits.text(&"1".repeat(ones + 1));
            bits.text("0");
            return bits.put(v, n);
        }
    }
    bits.text("11111111");
    bits.put(v, 64);
}

#[test]
fn no_cut_of_a_short_chunk_goes_unnoticed() {
    for n in 1..8 {
        let samples: Vec<_> = (0..n).map(|i| (1_000 * i * i, i as f64 / 3.0)).collect();
        let data = encode(&samples);
        for cut in 0..data.len() {
            let mut block = FloatSamples::default();
            assert!(
                decode_xor(&data[..cut], &mut block).is_err(),
                "{cut} of {n}"
            );
            assert!(block.is_empty());
        }
    }
}

#[test]
fn smallest_chunk_in_hex() {
    // 2 samples | t = 1000 -> varint 2000 = d0 0f | 1.0 as 64 bits |
    // delta 15000 = 98 75 | 0: same value, 7 bits of padding.
    let data = encode(&[(1000, 1.0), (16_000, 1.0)]);
    assert_eq!(hex(&data), "0002d00f3ff0000000000000987500");
    assert_eq!(hex(&encode(&[])), "0000");
}

#[test]
fn aggregate_column_of_upstream_in_hex() {
    // The count column of the vector in `aggr.rs`'s tests.
    let data = encode(&[(99, 2.0), (260, 1.0)]);
    assert_eq!(hex(&data), "0002c6014000000000000000a101c25fff");
}

#[test]
fn more_samples_than_the_header_can_count_are_refused() {
    let mut encoder = XorEncoder::new();
    for t in 0..=65_535 {
        encoder.push(t, 0.0);
    }
    let error = encoder.finish().unwrap_err().to_string();
    assert!(error.contains("65536 samples"), "{error}");
    // And the encoder is usable afterwards.
    encoder.push(1000, 1.0);
    assert_eq!(encoder.len(), 1);
    assert_eq!(encoder.finish().unwrap()[..2], [0, 1]);
}

#[test]
fn errors_say_where_and_what() {
    let good = encode(&[(1, 1.0), (2, 2.0), (3, 3.0)]);
    let mut out = FloatSamples::default();
    let text = |r: crate::tsdb::Result<()>| r.unwrap_err().to_string();
    assert_eq!(
        text(decode_xor(&[0], &mut out)),
        "chunk ends within its sample count at byte 1"
    );
    assert_eq!(
        text(decode_xor(&good[..12], &mut out)),
        "xor chunk of 3 samples ends before its last sample at byte 12"
    );
    // A window of 31 leading zeros and 63 bits.
    let mut bits = Bits::default();
    bits.put(3, 16);
    bits.varint(0);
    bits.put(0, 64);
    bits.uvarint(0);
    bits.text("11 11111 111111");
    bits.put(u64::MAX, 64);
    assert_eq!(
        text(decode_xor(&bits.bytes(), &mut out)),
        "xor chunk of 3 samples has a float of more than 64 bits at byte 13"
    );
    let endless = [&[0, 1][..], &[0xff; 20]].concat();
    assert_eq!(
        text(decode_xor(&endless, &mut out)),
        "xor chunk of 1 samples has a varint of more than 64 bits at byte 12"
    );
}

pub(super) fn hex(data: &[u8]) -> String {
    data.iter().map(|b| format!("{b:02x}")).collect()
}
