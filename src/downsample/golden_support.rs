//! Reads `fixtures/goldens/downsample.jsonl`, see `fixtures/README.md`.

use serde_json::Value;

use crate::tsdb::chunkenc::Encoding;

/// A chunk of a golden line; times in ms.
pub(super) struct Chunk {
    pub min_time: i64,
    pub max_time: i64,
    pub encoding: Encoding,
    pub data: Vec<u8>,
}

/// All lines.
pub(super) fn cases() -> Vec<Value> {
    let text = include_str!("../../fixtures/goldens/downsample.jsonl");
    let cases = text.lines().map(|line| serde_json::from_str(line).unwrap());
    cases.collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes().chunks(2);
    let byte = |two: &[u8]| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap();
    bytes.map(byte).collect()
}

/// The chunks of one field of a line; those without encoding are aggregates.
pub(super) fn chunks(list: &Value) -> Vec<Chunk> {
    let one = |c: &Value| Chunk {
        min_time: c["min"].as_i64().unwrap(),
        max_time: c["max"].as_i64().unwrap(),
        encoding: Encoding::from_byte(c["enc"].as_u64().unwrap_or(0xff) as u8).unwrap(),
        data: unhex(c["hex"].as_str().unwrap()),
    };
    list.as_array().into_iter().flatten().map(one).collect()
}
