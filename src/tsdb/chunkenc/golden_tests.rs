//! Against chunks that real Prometheus wrote, from `fixtures/`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::histogram::Flavour;
use super::histogram_tests::assert_same;
use super::xor_tests::hex;
use super::{
    AggrChunk, CounterReset, DecodeScratch, Decoded, EncodedChunks, Encoding, FloatHistogram,
    FloatSamples, Histogram, Kind, SeriesEncoder, Span, Xor2Iter, XorIter, decode_chunk,
    decode_floats, num_samples,
};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures")
        .join(name)
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap())
        .collect()
}

/// A float written as the hex of its bits.
fn float(value: &Value) -> f64 {
    f64::from_bits(u64::from_str_radix(value.as_str().unwrap(), 16).unwrap())
}

enum Sample {
    Float(f64),
    Histogram(Histogram),
    FloatHistogram(FloatHistogram),
}

fn spans(value: &Value) -> Vec<Span> {
    let number = |v: &Value, i: usize| v[i].as_i64().unwrap();
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|span| Span {
            offset: number(span, 0) as i32,
            length: number(span, 1) as u32,
        })
        .collect()
}

fn list<T>(value: &Value, read: impl Fn(&Value) -> T) -> Vec<T> {
    value.as_array().unwrap().iter().map(read).collect()
}

fn hint(value: &Value) -> CounterReset {
    match value.as_str().unwrap() {
        "unknown" => CounterReset::Unknown,
        "reset" => CounterReset::Yes,
        "not-reset" => CounterReset::No,
        "gauge" => CounterReset::Gauge,
        other => panic!("hint {other}"),
    }
}

fn sample(value: &Value) -> Sample {
    if let Some(h) = value.get("h") {
        Sample::Histogram(Histogram {
            counter_reset: hint(&h["hint"]),
            schema: h["schema"].as_i64().unwrap() as i32,
            zero_threshold: float(&h["zero_threshold"]),
            zero_count: h["zero_count"].as_u64().unwrap(),
            count: h["count"].as_u64().unwrap(),
            sum: float(&h["sum"]),
            positive_spans: spans(&h["positive_spans"]),
            negative_spans: spans(&h["negative_spans"]),
            positive_buckets: list(&h["positive"], |v| v.as_i64().unwrap()),
            negative_buckets: list(&h["negative"], |v| v.as_i64().unwrap()),
            custom_values: list(&h["custom_values"], float),
        })
    } else if let Some(h) = value.get("fh") {
        Sample::FloatHistogram(FloatHistogram {
            counter_reset: hint(&h["hint"]),
            schema: h["schema"].as_i64().unwrap() as i32,
            zero_threshold: float(&h["zero_threshold"]),
            zero_count: float(&h["zero_count"]),
            count: float(&h["count"]),
            sum: float(&h["sum"]),
            positive_spans: spans(&h["positive_spans"]),
            negative_spans: spans(&h["negative_spans"]),
            positive_buckets: list(&h["positive"], float),
            negative_buckets: list(&h["negative"], float),
            custom_values: list(&h["custom_values"], float),
        })
    } else {
        Sample::Float(float(value))
    }
}

/// One line of `chunks.jsonl`.
struct Golden {
    name: String,
    samples: Vec<(i64, Sample)>,
    /// Encoding, min and max time, bytes.
    chunks: Vec<(u8, i64, i64, Vec<u8>)>,
}

fn goldens() -> Vec<Golden> {
    let text = std::fs::read_to_string(fixture("goldens/chunks.jsonl")).unwrap();
    let read = |line: &str| {
        let line: Value = serde_json::from_str(line).unwrap();
        Golden {
            name: line["name"].as_str().unwrap().to_owned(),
            samples: list(&line["samples"], |s| {
                (s[0].as_i64().unwrap(), sample(&s[1]))
            }),
            chunks: list(&line["chunks"], |c| {
                let time = |key: &str| c[key].as_i64().unwrap();
                let encoding = c["encoding"].as_u64().unwrap() as u8;
                let bytes = unhex(c["bytes"].as_str().unwrap());
                (encoding, time("min"), time("max"), bytes)
            }),
        }
    };
    // Miri interprets: the short ones have every encoding, too.
    let chosen = |line: &&str| !cfg!(miri) || line.len() < 900;
    text.lines().filter(chosen).map(read).collect()
}

/// Pushes the samples of all goldens through one encoder, so that nothing may
/// be left over from the series before.
#[test]
fn series_become_the_chunks_of_prometheus() {
    let mut encoder = SeriesEncoder::new();
    let mut out = EncodedChunks::default();
    let goldens = goldens();
    assert!(goldens.len() > if cfg!(miri) { 5 } else { 50 });
    for golden in goldens {
        out.clear();
        for (t, sample) in &golden.samples {
            match sample {
                Sample::Float(v) => encoder.push_float(*t, *v, &mut out),
                Sample::Histogram(h) => encoder.push_histogram(*t, h, &mut out),
                Sample::FloatHistogram(h) => encoder.push_float_histogram(*t, h, &mut out),
            }
            .unwrap();
        }
        encoder.finish(&mut out).unwrap();
        let written: Vec<_> = out
            .iter()
            .map(|(c, data)| (c.encoding.as_byte(), c.min_time, c.max_time, hex(data)))
            .collect();
        let expected: Vec<_> = golden
            .chunks
            .iter()
            .map(|(encoding, min, max, data)| (*encoding, *min, *max, hex(data)))
            .collect();
        assert_eq!(written, expected, "{}", golden.name);
        let samples: usize = out.metas.iter().map(|c| c.samples).sum();
        assert_eq!(samples, golden.samples.len(), "{}", golden.name);
    }
}

#[test]
fn chunks_of_prometheus_give_the_samples_back() {
    let mut floats = FloatSamples::default();
    let mut scratch = DecodeScratch::default();
    for golden in goldens() {
        let mut samples = golden.samples.iter();
        for (encoding, _, max, data) in &golden.chunks {
            let encoding = Encoding::from_byte(*encoding).unwrap();
            let total = num_samples(encoding, data).unwrap();
            floats.clear();
            let mut decoded = decode_chunk(encoding, data, &mut floats, &mut scratch).unwrap();
            for i in 0..total {
                let (t, written) = samples.next().unwrap();
                let name = format!("{} sample at {t}", golden.name);
                let read = match (&mut decoded, written) {
                    (Decoded::Floats { .. }, Sample::Float(v)) => {
                        assert_eq!(floats.vs[i].to_bits(), v.to_bits(), "{name}");
                        floats.ts[i]
                    }
                    (Decoded::Histograms(iter), Sample::Histogram(h)) => {
                        let t = iter.next().unwrap().unwrap();
                        assert_same(iter.current(), h, &name);
                        t
                    }
                    (Decoded::FloatHistograms(iter), Sample::FloatHistogram(h)) => {
                        let t = iter.next().unwrap().unwrap();
                        assert_same(iter.current(), h, &name);
                        t
                    }
                    _ => panic!("{name}: {:?}", decoded.kind()),
                };
                assert_eq!(read, *t, "{name}");
                assert!(i + 1 < total || t == max, "{name}");
            }
            assert_eq!(decoded.kind() == Kind::Float, !floats.is_empty());
            scratch.recycle(decoded);
        }
        assert!(samples.next().is_none());
    }
}

/// The chunks of a segment file: encoding byte and data.
fn segment(data: &[u8]) -> Vec<(u8, &[u8])> {
    let mut chunks = Vec::new();
    let mut at = 8;
    while at < data.len() && data[at..].iter().any(|b| *b != 0) {
        let (mut len, mut shift) = (0, 0);
        loop {
            len |= usize::from(data[at] & 0x7f) << shift;
            shift += 7;
            at += 1;
            if data[at - 1] < 0x80 {
                break;
            }
        }
        chunks.push((data[at], &data[at + 1..at + 1 + len]));
        at += 1 + len + 4;
    }
    chunks
}

fn spans_text(spans: &[Span]) -> String {
    let parts: Vec<_> = spans
        .iter()
        .map(|s| format!("{}:{}", s.offset, s.length))
        .collect();
    parts.join(",")
}

fn joined<T>(values: &[T], text: impl Fn(&T) -> String) -> String {
    values.iter().map(text).collect::<Vec<_>>().join(",")
}

fn float_text(v: &f64) -> String {
    format!("{:016x}", v.to_bits())
}

fn histogram_text<F: Flavour>(
    name: &str,
    h: &super::histogram::HistogramOf<F>,
    count: impl Fn(&F::Count) -> String,
    bucket: impl Fn(&F::Bucket) -> String,
) -> String {
    let hint = match h.counter_reset {
        CounterReset::Unknown => "unknown",
        CounterReset::Yes => "reset",
        CounterReset::No => "not-reset",
        CounterReset::Gauge => "gauge",
    };
    format!(
        "{name} schema={} zt={} zc={} c={} sum={} ps=[{}] pb=[{}] ns=[{}] nb=[{}] cv=[{}] hint={hint}",
        h.schema,
        float_text(&h.zero_threshold),
        count(&h.zero_count),
        count(&h.count),
        float_text(&h.sum),
        spans_text(&h.positive_spans),
        joined(&h.positive_buckets, &bucket),
        spans_text(&h.negative_spans),
        joined(&h.negative_buckets, &bucket),
        joined(&h.custom_values, float_text),
    )
}

/// A chunk as `expected.txt` prints its samples.
fn chunk_text(encoding: Encoding, data: &[u8], out: &mut String) {
    let start = |start: Option<i64>| match encoding.has_start_times() {
        true => format!(" st={}", start.unwrap_or(0)),
        false => String::new(),
    };
    let mut floats = FloatSamples::default();
    match decode_chunk(encoding, data, &mut floats, &mut DecodeScratch::default()).unwrap() {
        Decoded::Floats { start_times } => {
            let mut starts = vec![None; floats.len()];
            if encoding == Encoding::Xor2 {
                let mut iter = Xor2Iter::new(data).unwrap();
                for (i, (t, v)) in floats.iter().enumerate() {
                    let (it, iv) = iter.next().unwrap().unwrap();
                    assert_eq!((it, iv.to_bits()), (t, v.to_bits()));
                    starts[i] = iter.start_time();
                }
                assert_eq!(iter.next().unwrap(), None);
            }
            assert_eq!(starts.iter().flatten().count(), start_times);
            for ((t, v), st) in floats.iter().zip(starts) {
                writeln!(out, "{t} {}{}", float_text(&v), start(st)).unwrap();
            }
        }
        Decoded::Histograms(mut iter) => {
            while let Some(t) = iter.next().unwrap() {
                let h = histogram_text("h", iter.current(), u64::to_string, i64::to_string);
                writeln!(out, "{t} {h}{}", start(iter.start_time())).unwrap();
            }
        }
        Decoded::FloatHistograms(mut iter) => {
            while let Some(t) = iter.next().unwrap() {
                let h = histogram_text("fh", iter.current(), float_text, float_text);
                writeln!(out, "{t} {h}{}", start(iter.start_time())).unwrap();
            }
        }
    }
}

#[test]
fn blocks_of_every_encoding_read_as_prometheus_reads_them() {
    let mut seen = Vec::new();
    for dir in std::fs::read_dir(fixture("encodings")).unwrap() {
        let dir = dir.unwrap().path();
        let Ok(expected) = std::fs::read_to_string(dir.join("expected.txt")) else {
            continue;
        };
        let block = std::fs::read_dir(&dir)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .find(|path| path.is_dir())
            .unwrap();
        let file = std::fs::read(block.join("chunks/000001")).unwrap();
        let mut chunks = segment(&file).into_iter();
        let mut text = String::new();
        let mut expected_samples = String::new();
        for line in expected.lines() {
            if let Some(chunk) = line.strip_prefix("chunk ") {
                let (encoding, data) = chunks.next().unwrap();
                assert_eq!(chunk.split(' ').nth(2).unwrap(), encoding.to_string());
                let encoding = Encoding::from_byte(encoding).unwrap();
                let samples = num_samples(encoding, data).unwrap();
                assert_eq!(chunk.split(' ').nth(3).unwrap(), samples.to_string());
                chunk_text(encoding, data, &mut text);
                seen.push(encoding);
            } else if !line.starts_with("series ") {
                expected_samples.push_str(line);
                expected_samples.push('\n');
            }
        }
        assert!(chunks.next().is_none());
        for (i, (read, expected)) in text.lines().zip(expected_samples.lines()).enumerate() {
            assert_eq!(read, expected, "sample {i} of {}", dir.display());
        }
        assert_eq!(text.len(), expected_samples.len(), "{}", dir.display());
    }
    for byte in 1..=6 {
        let encoding = Encoding::from_byte(byte).unwrap();
        assert!(
            seen.contains(&encoding),
            "no fixture of {}",
            encoding.name()
        );
    }
}

/// A vector observed upstream: raw samples (20, 1) (40, 2) (260, 7) at a
/// resolution of 100 ms.
#[test]
fn aggregates_of_thanos_are_split_and_joined_again() {
    let columns: [(&str, &[(i64, f64)]); 5] = [
        (
            "11010002c6014000000000000000a101c25fff",
            &[(99, 2.0), (260, 1.0)],
        ),
        (
            "10010002c6014008000000000000a101d61d",
            &[(99, 3.0), (260, 7.0)],
        ),
        (
            "12010002c6013ff0000000000000a101c26ffec0",
            &[(99, 1.0), (260, 7.0)],
        ),
        (
            "10010002c6014000000000000000a101d61f",
            &[(99, 2.0), (260, 7.0)],
        ),
        (
            "16010004283ff00000000000004fc25fff8052d61fbf5f00",
            &[(20, 1.0), (99, 2.0), (260, 7.0), (260, 7.0)],
        ),
    ];
    let data = unhex(&columns.map(|(hex, _)| hex).concat());
    assert_eq!(num_samples(Encoding::Aggr, &data).unwrap(), 2);
    let chunk = AggrChunk::parse(&data).unwrap();
    let mut floats = FloatSamples::default();
    let mut encoder = super::XorEncoder::new();
    let mut written = [const { Vec::new() }; 5];
    for ((aggr, (_, samples)), written) in
        super::Aggr::ALL.into_iter().zip(columns).zip(&mut written)
    {
        let column = chunk.column(aggr).unwrap();
        assert_eq!(&data[column.offset..][..column.data.len()], column.data);
        floats.clear();
        decode_floats(column.encoding, column.data, &mut floats).unwrap();
        assert_eq!(
            floats.iter().collect::<Vec<_>>(),
            samples,
            "{}",
            aggr.name()
        );
        encoder.push_all(&floats.ts, &floats.vs);
        *written = encoder.finish().unwrap().to_vec();
    }
    let mut joined = Vec::new();
    let columns = [0, 1, 2, 3, 4].map(|i: usize| Some((Encoding::Xor, &written[i][..])));
    super::encode_aggr(columns, &mut joined);
    assert_eq!(hex(&joined), hex(&data));
}

#[test]
fn xor_chunks_of_prometheus_read_the_same_one_by_one() {
    for golden in goldens() {
        for (encoding, _, _, data) in golden.chunks {
            if encoding == 1 {
                let mut floats = FloatSamples::default();
                decode_floats(Encoding::Xor, &data, &mut floats).unwrap();
                let mut iter = XorIter::new(&data).unwrap();
                for (t, v) in floats.iter() {
                    let (it, iv) = iter.next().unwrap().unwrap();
                    assert_eq!((it, iv.to_bits()), (t, v.to_bits()));
                }
                assert_eq!(iter.next().unwrap(), None);
            }
        }
    }
}
