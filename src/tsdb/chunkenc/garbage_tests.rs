//! Bytes that no encoder wrote: every reader must come to an end, say where it
//! stopped, and stay within memory that the input justifies.

use proptest::prelude::*;

use super::histogram::{Flavour, Iter};
use super::histogram_tests::{encode_histograms, histories};
use super::xor_tests::{bits_of, samples};
use super::{
    Aggr, AggrChunk, Encoding, FloatHistogramIter, FloatSamples, HistogramIter, Xor2Iter,
    XorEncoder, XorIter, decode_chunk, decode_floats, encode_aggr, num_samples,
};
use crate::tsdb::{Error, Result};

/// Everything that can be read from `data`, and the error that ended it.
fn drain<T>(mut next: impl FnMut() -> Result<Option<T>>) -> (Vec<T>, Option<Error>) {
    let mut all = Vec::new();
    loop {
        match next() {
            Ok(Some(item)) => all.push(item),
            Ok(None) => return (all, None),
            Err(error) => {
                // After an error a reader is at its end.
                assert!(matches!(next(), Ok(None)));
                return (all, Some(error));
            }
        }
    }
}

fn assert_place(error: &Error, data: &[u8]) {
    let Error::Corrupt(corrupt) = error else {
        panic!("{error:?}");
    };
    assert!(
        corrupt.offset <= data.len() as u64,
        "{corrupt} of {}",
        data.len()
    );
    assert!(!corrupt.what.is_empty());
}

/// The block decode and the iterator agree on samples and failure.
fn check_floats(encoding: Encoding, data: &[u8]) {
    let mut block = FloatSamples::default();
    let decoded = decode_floats(encoding, data, &mut block);
    let iterated = if encoding == Encoding::Xor {
        XorIter::new(data).map(|mut iter| drain(|| iter.next()))
    } else {
        Xor2Iter::new(data).map(|mut iter| drain(|| iter.next()))
    };
    match (decoded, iterated) {
        (Ok(_), Ok((samples, None))) => {
            assert_eq!(bits_of(block.iter()), bits_of(samples));
        }
        (Err(a), Ok((samples, Some(b)))) => {
            assert!(samples.len() <= num_samples(encoding, data).unwrap());
            assert_place(&a, data);
            assert_place(&b, data);
            assert!(block.is_empty());
        }
        (Err(a), Err(b)) => assert_eq!(a.to_string(), b.to_string()),
        other => panic!("{other:?}"),
    }
    assert!(block.ts.capacity() <= 8 * data.len().max(1));
}

fn check_histograms<F: Flavour>(iter: Result<Iter<'_, F>>, data: &[u8]) {
    let mut iter = match iter {
        Ok(iter) => iter,
        Err(error) => return assert_place(&error, data),
    };
    let bits = 8 * data.len();
    let (_, error) = drain(|| {
        let t = iter.next()?;
        let h = iter.current();
        assert!(h.positive_buckets.len() + h.negative_buckets.len() <= bits);
        assert!(h.positive_buckets.capacity() <= 2 * bits.max(4));
        assert!(h.positive_spans.capacity() <= bits.max(4));
        assert!(h.custom_values.capacity() <= bits.max(4));
        Ok(t)
    });
    if let Some(error) = error {
        assert_place(&error, data);
    }
}

fn check(data: &[u8]) {
    check_floats(Encoding::Xor, data);
    check_floats(Encoding::Xor2, data);
    for encoding in [Encoding::Histogram, Encoding::HistogramSt] {
        check_histograms(HistogramIter::new(encoding, data), data);
    }
    for encoding in [Encoding::FloatHistogram, Encoding::FloatHistogramSt] {
        check_histograms(FloatHistogramIter::new(encoding, data), data);
    }
    if let Err(error) = num_samples(Encoding::Aggr, data) {
        assert_place(&error, data);
    }
    if let Ok(chunk) = AggrChunk::parse(data) {
        for aggr in Aggr::ALL {
            if let Some(column) = chunk.column(aggr) {
                assert_eq!(column.data, &data[column.offset..][..column.data.len()]);
            }
        }
    }
}

/// A few flipped bytes and a cut.
fn damage(mut data: Vec<u8>, hits: Vec<(prop::sample::Index, u8)>, cut: usize) -> Vec<u8> {
    for (at, xor) in hits {
        if !data.is_empty() {
            let at = at.index(data.len());
            data[at] ^= xor;
        }
    }
    data.truncate(data.len().saturating_sub(cut));
    data
}

fn hits() -> impl Strategy<Value = Vec<(prop::sample::Index, u8)>> {
    prop::collection::vec((any::<prop::sample::Index>(), 1u8..), 0..4)
}

proptest! {
    #[test]
    fn garbage_is_survived(data in prop::collection::vec(any::<u8>(), 0..400)) {
        check(&data);
    }

    #[test]
    fn garbage_behind_a_plausible_count_is_survived(count in 0u16..500, data in prop::collection::vec(any::<u8>(), 0..400)) {
        check(&[&count.to_be_bytes()[..], &data].concat());
    }

    #[test]
    fn mostly_ones_or_zeros_are_survived(ones in any::<bool>(), len in 0usize..2000, hits in hits()) {
        let data = vec![if ones { 0xff } else { 0 }; len];
        check(&damage(data, hits, 0));
    }

    #[test]
    fn damaged_floats_are_survived(samples in samples(300), hits in hits(), cut in 0usize..8) {
        let mut encoder = XorEncoder::new();
        for (t, v) in samples {
            encoder.push(t, v);
        }
        check(&damage(encoder.finish().unwrap().to_vec(), hits, cut));
    }

    #[test]
    fn damaged_histograms_are_survived(history in histories(), hits in hits(), cut in 0usize..8) {
        let (ints, floats) = encode_histograms(&history);
        for chunks in [ints, floats] {
            for (_, data) in chunks.iter().take(3) {
                check(&damage(data.to_vec(), hits.clone(), cut));
            }
        }
    }

    #[test]
    fn aggregates_are_split_as_they_were_joined(columns in prop::array::uniform5((1u8..=6, prop::collection::vec(any::<u8>(), 0..300))), hits in hits(), cut in 0usize..4) {
        let joined = columns.each_ref().map(|(encoding, data)| Some((Encoding::from_byte(*encoding).unwrap(), &data[..])));
        let mut data = Vec::new();
        encode_aggr(joined, &mut data);
        let chunk = AggrChunk::parse(&data).unwrap();
        for (aggr, (encoding, bytes)) in Aggr::ALL.into_iter().zip(&columns) {
            let column = chunk.column(aggr);
            prop_assert_eq!(column.is_none(), bytes.is_empty());
            if let Some(column) = column {
                prop_assert_eq!((column.encoding.as_byte(), column.data), (*encoding, &bytes[..]));
            }
        }
        prop_assert!(AggrChunk::parse(&data[..data.len() - 1]).is_err());
        data.push(0);
        prop_assert!(AggrChunk::parse(&data).is_err());
        check(&damage(data, hits, cut));
    }
}

#[test]
fn aggregate_errors_say_where_and_what() {
    let text = |data: &[u8]| AggrChunk::parse(data).unwrap_err().to_string();
    assert_eq!(text(&[]), "no length of aggregate count at byte 0");
    assert_eq!(text(&[0, 0x80]), "no length of aggregate sum at byte 1");
    assert_eq!(
        text(&[0, 3, 1, 9]),
        "aggregate sum of 3 bytes is cut off at byte 2"
    );
    assert_eq!(
        text(&[1, 9, 0, 0, 0, 0, 0]),
        "aggregate count has encoding 9 at byte 1"
    );
    assert_eq!(text(&[0; 6]), "bytes behind the last aggregate at byte 5");
    let huge = [&[0xff; 9][..], &[1], &[1; 20]].concat();
    assert_eq!(
        text(&huge),
        "aggregate count of 18446744073709551615 bytes is cut off at byte 10"
    );
    // An error inside a column counts from the start of the aggregate chunk.
    let short = num_samples(Encoding::Aggr, &[1, 1, 0, 0, 0, 0, 0]).unwrap_err();
    assert_eq!(
        short.to_string(),
        "chunk ends within its sample count at byte 3"
    );
}

#[test]
fn asking_for_the_wrong_samples_is_misuse() {
    let mut floats = FloatSamples::default();
    for encoding in [Encoding::Histogram, Encoding::Aggr] {
        let error = decode_floats(encoding, &[0, 0, 0], &mut floats).unwrap_err();
        assert!(matches!(error, Error::Misuse(_)), "{error}");
    }
    let scratch = &mut super::DecodeScratch::default();
    let error = decode_chunk(Encoding::Aggr, &[0; 5], &mut floats, scratch).unwrap_err();
    assert!(matches!(error, Error::Misuse(_)), "{error}");
    assert_eq!(Encoding::from_byte(0), None);
    assert_eq!(Encoding::from_byte(7), None);
}
