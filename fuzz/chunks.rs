//! Chunks of samples, by their encodings.

use std::fmt::Debug;

use lithify::tsdb::chunkenc::{
    Aggr, AggrChunk, DecodeScratch, Decoded, EncodedChunks, Encoding, FloatHistogram, FloatSamples,
    Histogram, SeriesEncoder, Span, Xor2Iter, XorEncoder, XorIter, decode_chunk, decode_floats,
    encode_aggr, num_samples,
};
use lithify::tsdb::{Error, Result};

/// Times, values as bits.
type Bits = Vec<(i64, u64)>;

/// The encoding that the first byte of an input names, one of `family` in any
/// case, and the chunk behind it: the layout of a record in a segment.
fn split<'a>(family: &[Encoding], input: &'a [u8]) -> Option<(Encoding, &'a [u8])> {
    let (&byte, data) = input.split_first()?;
    let named = family.iter().find(|e| e.as_byte() == byte);
    let encoding = named.unwrap_or(&family[usize::from(byte) % family.len()]);
    Some((*encoding, data))
}

/// A damaged place lies in the chunk and has words.
fn assert_place(error: &Error, data: &[u8]) {
    let Error::Corrupt(corrupt) = error else {
        panic!("{error:?}");
    };
    assert!(corrupt.offset <= data.len() as u64, "{corrupt}");
    assert!(!corrupt.what.is_empty());
    assert!(!error.to_string().is_empty());
}

/// Everything that can be read, and the error that ended it. A reader is at its
/// end after an error.
fn drain<T: Debug>(mut next: impl FnMut() -> Result<Option<T>>) -> (Vec<T>, Option<Error>) {
    let mut all = Vec::new();
    loop {
        match next() {
            Ok(Some(item)) => all.push(item),
            Ok(None) => return (all, None),
            Err(error) => {
                assert!(matches!(next(), Ok(None)));
                return (all, Some(error));
            }
        }
    }
}

fn bits(samples: impl IntoIterator<Item = (i64, f64)>) -> Bits {
    let samples = samples.into_iter();
    samples.map(|(t, v)| (t, v.to_bits())).collect()
}

/// `encoding byte | chunk` with floats: xor and xor2.
pub fn floats(input: &[u8]) {
    let family = [Encoding::Xor, Encoding::Xor2];
    let Some((encoding, data)) = split(&family, input) else {
        return;
    };
    let mut block = FloatSamples::default();
    let decoded = decode_floats(encoding, data, &mut block);
    let iterated = if encoding == Encoding::Xor {
        XorIter::new(data).map(|mut iter| drain(|| iter.next()))
    } else {
        Xor2Iter::new(data).map(|mut iter| {
            drain(|| {
                let sample = iter.next()?;
                let _ = iter.start_time();
                Ok(sample)
            })
        })
    };
    // A sample takes a bit at least.
    assert!(block.ts.capacity() <= 8 * data.len().max(1));
    match (decoded, iterated) {
        (Ok(_), Ok((samples, None))) => {
            assert_eq!(samples.len(), num_samples(encoding, data).unwrap());
            assert_eq!(bits(block.iter()), bits(samples));
            assert_floats_survive(&block);
        }
        (Err(a), Ok((samples, Some(b)))) => {
            assert!(samples.len() <= num_samples(encoding, data).unwrap());
            assert_place(&a, data);
            assert_place(&b, data);
            assert!(block.is_empty());
        }
        (Err(a), Err(b)) => {
            assert_place(&a, data);
            assert_eq!(a.to_string(), b.to_string());
        }
        other => panic!("block decode and iterator differ: {other:?}"),
    }
}

/// What was decoded is encoded and decoded again, in one chunk and in several.
fn assert_floats_survive(samples: &FloatSamples) {
    let mut encoder = XorEncoder::new();
    encoder.push_all(&samples.ts, &samples.vs);
    let mut again = FloatSamples::default();
    decode_floats(Encoding::Xor, encoder.finish().unwrap(), &mut again).unwrap();
    assert_eq!(bits(again.iter()), bits(samples.iter()));

    let (mut encoder, mut chunks) = (SeriesEncoder::new(), EncodedChunks::default());
    encoder
        .push_floats(&samples.ts, &samples.vs, &mut chunks)
        .unwrap();
    encoder.finish(&mut chunks).unwrap();
    again.clear();
    for (chunk, data) in chunks.iter() {
        assert_eq!(num_samples(chunk.encoding, data).unwrap(), chunk.samples);
        decode_floats(chunk.encoding, data, &mut again).unwrap();
    }
    assert_eq!(bits(again.iter()), bits(samples.iter()));
}

/// `encoding byte | chunk` with histograms: both kinds, with and without start
/// timestamps.
pub fn histograms(input: &[u8]) {
    let family = [
        Encoding::Histogram,
        Encoding::FloatHistogram,
        Encoding::HistogramSt,
        Encoding::FloatHistogramSt,
    ];
    let Some((encoding, data)) = split(&family, input) else {
        return;
    };
    match read_histograms(encoding, data) {
        Ok(samples) => {
            assert_eq!(samples.texts.len(), num_samples(encoding, data).unwrap());
            let mut again = Vec::new();
            for (chunk, data) in samples.encoded.iter() {
                let read = read_histograms(chunk.encoding, data).unwrap();
                assert_eq!(read.texts.len(), chunk.samples);
                again.extend(read.texts);
            }
            assert_eq!(samples.texts, again);
        }
        Err(error) => assert_place(&error, data),
    }
}

/// The histograms of a chunk.
#[derive(Default)]
struct Read {
    /// Each with its time, in a form that can be compared.
    texts: Vec<(i64, String)>,
    /// The same encoded anew.
    encoded: EncodedChunks,
}

fn read_histograms(encoding: Encoding, data: &[u8]) -> Result<Read> {
    let (mut floats, mut scratch) = (FloatSamples::default(), DecodeScratch::default());
    let mut read = Read::default();
    let mut encoder = SeriesEncoder::new();
    let bits = 8 * data.len();
    let decoded = decode_chunk(encoding, data, &mut floats, &mut scratch)?;
    let (_, error) = match decoded {
        Decoded::Histograms(mut iter) => drain(|| {
            let Some(t) = iter.next()? else {
                return Ok(None);
            };
            let h = iter.current();
            let sizes = [&h.positive_buckets, &h.negative_buckets].map(Vec::capacity);
            assert!(sizes.iter().sum::<usize>() <= 4 * bits.max(4));
            read.texts.push((t, describe(&absolute(h))));
            encoder.push_histogram(t, h, &mut read.encoded).unwrap();
            let _ = (iter.start_time(), iter.remaining(), iter.counter_reset());
            Ok(Some(t))
        }),
        Decoded::FloatHistograms(mut iter) => drain(|| {
            let Some(t) = iter.next()? else {
                return Ok(None);
            };
            let h = iter.current();
            let sizes = [&h.positive_buckets, &h.negative_buckets].map(Vec::capacity);
            assert!(sizes.iter().sum::<usize>() <= 4 * bits.max(4));
            read.texts.push((t, describe(h)));
            encoder
                .push_float_histogram(t, h, &mut read.encoded)
                .unwrap();
            Ok(Some(t))
        }),
        Decoded::Floats { .. } => unreachable!("a histogram encoding has histograms"),
    };
    assert!(read.texts.len() <= num_samples(encoding, data)?);
    encoder.finish(&mut read.encoded)?;
    error.map_or(Ok(read), Err)
}

/// Integer histograms with absolute buckets. The numbers become the bits of a
/// float so that none is rounded.
fn absolute(h: &Histogram) -> FloatHistogram {
    let buckets = |deltas: &[i64]| -> Vec<f64> {
        let sums = deltas.iter().scan(0_i64, |at, delta| {
            *at = at.wrapping_add(*delta);
            Some(*at)
        });
        sums.map(|n| f64::from_bits(n as u64)).collect()
    };
    FloatHistogram {
        counter_reset: h.counter_reset,
        schema: h.schema,
        zero_threshold: h.zero_threshold,
        zero_count: f64::from_bits(h.zero_count),
        count: f64::from_bits(h.count),
        sum: h.sum,
        positive_spans: h.positive_spans.clone(),
        negative_spans: h.negative_spans.clone(),
        positive_buckets: buckets(&h.positive_buckets),
        negative_buckets: buckets(&h.negative_buckets),
        custom_values: h.custom_values.clone(),
    }
}

/// All of a histogram but its hint and its empty buckets, which come and go
/// with the layout of a chunk. Floats as bits, so that NaNs can be compared;
/// but bounds of minus zero are written as zero, as Prometheus does.
fn describe(h: &FloatHistogram) -> String {
    let used = |spans: &[Span], buckets: &[f64]| -> Vec<(i64, u64)> {
        let mut at = 0_i64;
        let mut numbers = Vec::new();
        for span in spans {
            at += i64::from(span.offset);
            numbers.extend(at..at + i64::from(span.length));
            at += i64::from(span.length);
        }
        assert_eq!(numbers.len(), buckets.len());
        let all = numbers.into_iter().zip(buckets.iter().map(|b| b.to_bits()));
        all.filter(|(_, bits)| *bits != 0).collect()
    };
    let bound = |v: f64| if v == 0.0 { 0 } else { v.to_bits() };
    format!(
        "{} {:x} {:x} {:x} {:x} {:x?} {:x?} {:x?}",
        h.schema,
        bound(h.zero_threshold),
        h.zero_count.to_bits(),
        h.count.to_bits(),
        h.sum.to_bits(),
        used(&h.positive_spans, &h.positive_buckets),
        used(&h.negative_spans, &h.negative_buckets),
        h.custom_values
            .iter()
            .map(|v| bound(*v))
            .collect::<Vec<_>>(),
    )
}

/// An aggregate chunk, each of its columns included.
pub fn aggregates(data: &[u8]) {
    if let Err(error) = num_samples(Encoding::Aggr, data) {
        assert_place(&error, data);
    }
    let chunk = match AggrChunk::parse(data) {
        Ok(chunk) => chunk,
        Err(error) => return assert_place(&error, data),
    };
    let columns = Aggr::ALL.map(|aggr| chunk.column(aggr));
    for column in columns.iter().flatten() {
        assert_ne!(column.encoding, Encoding::Aggr);
        assert_eq!(column.data, &data[column.offset..][..column.data.len()]);
        let input = [&[column.encoding.as_byte()], column.data].concat();
        match column.encoding {
            Encoding::Xor | Encoding::Xor2 => floats(&input),
            _ => histograms(&input),
        }
    }
    let mut again = Vec::new();
    encode_aggr(columns.map(|c| c.map(|c| (c.encoding, c.data))), &mut again);
    let chunk = AggrChunk::parse(&again).unwrap();
    for (aggr, column) in Aggr::ALL.into_iter().zip(columns) {
        let parts = |c: lithify::tsdb::chunkenc::AggrColumn<'_>| (c.encoding, c.data.to_vec());
        assert_eq!(chunk.column(aggr).map(parts), column.map(parts));
    }
}
