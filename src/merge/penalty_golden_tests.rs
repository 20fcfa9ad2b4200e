//! Against what the querier of Thanos makes of replicas,
//! `fixtures/goldens/penalty.jsonl`.

use std::path::Path;

use serde_json::Value;

use super::golden_tests::chunks;
use super::series_support::penalty_series;
use super::test_support::Chunk;

#[test]
fn samples_are_those_of_the_querier() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/goldens/penalty.jsonl");
    let text = std::fs::read_to_string(file).unwrap();
    let mut cases = 0;
    for line in text.lines() {
        let golden: Value = serde_json::from_str(line).unwrap();
        let name = golden["name"].as_str().unwrap();
        let inputs = golden["inputs"].as_array().unwrap();
        let inputs: Vec<Vec<Chunk>> = inputs.iter().map(chunks).collect();
        let merged = penalty_series(&inputs).unwrap();
        assert_eq!(
            merged.ledger.read,
            merged.ledger.written + merged.ledger.deduplicated,
            "{name}"
        );
        let samples = merged.samples();
        let expected = golden["querier"].as_array().unwrap();
        let times = |s: &Value| s[0].as_i64().unwrap();
        let expected_times: Vec<i64> = expected.iter().map(times).collect();
        let found: Vec<i64> = samples.iter().map(|(t, _)| *t).collect();
        assert_eq!(found, expected_times, "{name}");
        for ((t, found), expected) in samples.iter().zip(expected) {
            // Of a histogram only the time is there.
            let expected = expected[1].as_str().unwrap_or(found.trim());
            assert_eq!(found.trim(), expected, "{name} at {t}");
        }
        cases += 1;
    }
    assert!(cases > 0);
}
