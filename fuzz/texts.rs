//! JSON and YAML: what other programs and people write.

use std::collections::BTreeMap;
use std::fmt::Debug;

use lithify::block::markers::{DeletionMark, Found, NoCompactMark, NoDownsampleMark, parse};
use lithify::block::meta::Meta;
use lithify::objstore::config::BucketConfig;
use lithify::tsdb::meta::BlockMeta;
use serde_json::Value;
use ulid::Ulid;

/// A `meta.json`. What is read is written, and read again as the same; keys
/// nobody knows stay.
pub fn meta(data: &[u8]) {
    if let Ok(own) = serde_json::from_slice::<BlockMeta>(data) {
        assert!(own.duration_ms() >= 0);
        assert!(!own.source_ids().is_empty());
        let next = BlockMeta::compacted(Ulid::nil(), &[&own, &own]).unwrap();
        assert_eq!(next.min_time, own.min_time);
        assert!(next.compaction.level >= own.compaction.level);
        assert!(next.compaction.sources.is_sorted());
    }
    let id = match serde_json::from_slice::<Meta>(data) {
        Ok(meta) => meta.id(),
        Err(_) => Ulid::nil(),
    };
    let meta = match Meta::parse(id, data) {
        Ok(meta) => meta,
        Err(error) => return assert_words(&error),
    };
    let _ = meta.stated_bytes();
    let text = meta.to_json().unwrap();
    let again = Meta::parse(id, &text).unwrap();
    assert_eq!(meta, again);
    assert_eq!(text, again.to_json().unwrap());
    // Keys that are ignored in a list of files may hold what is no UTF-8.
    if let Ok(before) = serde_json::from_slice(data) {
        assert_kept(&before, &serde_json::from_slice(&text).unwrap(), &[]);
    }
}

/// Sections whose unknown keys are kept one by one.
const SECTIONS: [&[&str]; 6] = [
    &[],
    &["stats"],
    &["compaction"],
    &["thanos"],
    &["thanos", "downsample"],
    &["thanos", "index_stats"],
];

/// Keys of those sections whose values we write in a form of our own.
const OURS: [&str; 5] = ["ulid", "sources", "parents", "files", "labels"];

fn assert_kept(before: &Value, after: &Value, path: &[&str]) {
    let (Value::Object(before), Value::Object(after)) = (before, after) else {
        // Left out, or null: the default is written instead.
        return assert!(!before.is_object() || !path.is_empty(), "{path:?}");
    };
    for (key, value) in before {
        let deeper: Vec<&str> = path.iter().copied().chain([key.as_str()]).collect();
        if SECTIONS.contains(&deeper.as_slice()) {
            assert_kept(value, &after[key.as_str()], &deeper);
            continue;
        }
        let kept = after.get(key) == Some(value);
        let ours = OURS.contains(&key.as_str());
        assert!(
            kept || ours || is_default(value),
            "{deeper:?} {value} was lost"
        );
    }
}

/// Values that a known key may leave out.
fn is_default(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(on) => !on,
        Value::Number(number) => number.as_u64() == Some(0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(_) => false,
    }
}

fn assert_words(error: &(dyn std::error::Error + 'static)) {
    let mut next = Some(error);
    while let Some(error) = next {
        assert!(!error.to_string().is_empty());
        assert!(!format!("{error:?}").is_empty());
        next = error.source();
    }
}

/// Each of the three markers.
pub fn markers(data: &[u8]) {
    if let Some(mark) = marker::<DeletionMark>(data) {
        let _ = mark.marked_ms();
        for now in [i64::MIN, 0, i64::MAX] {
            let _ = mark.age_ms(now);
        }
    }
    marker::<NoCompactMark>(data);
    marker::<NoDownsampleMark>(data);
}

fn marker<T>(data: &[u8]) -> Option<T>
where
    T: for<'de> serde::Deserialize<'de> + serde::Serialize + PartialEq + Debug,
{
    match parse::<T>(data) {
        Found::Mark(mark) => {
            let text = serde_json::to_vec(&mark).unwrap();
            assert_eq!(parse::<T>(&text), Found::Mark(mark));
            match parse::<T>(&text) {
                Found::Mark(mark) => Some(mark),
                _ => None,
            }
        }
        Found::Garbage(what) => {
            assert!(!what.is_empty());
            None
        }
        Found::UnknownVersion(version) => {
            assert_ne!(version, 1);
            None
        }
    }
}

/// The YAML of `--objstore.config`.
pub fn bucket_config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    match BucketConfig::parse(text) {
        Ok(config) => {
            assert!(!config.prefix.starts_with('/') && !config.prefix.ends_with('/'));
            assert!(config.notes().iter().all(|note| !note.is_empty()));
            assert!(!format!("{config:?}").is_empty());
        }
        Err(error) => {
            assert_words(&error);
            let error = lithify::error::Error::from(error);
            assert!(!error.chain().is_empty() && error.cure().is_some());
        }
    }
}

/// The YAML of `--selector.relabel-config`, and the choice that it makes.
pub fn selector(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let selector = match lithify::cli::selector(text) {
        Ok(selector) => selector,
        Err(error) => {
            assert!(!error.chain().is_empty());
            return assert_words(&error);
        }
    };
    let labels = BTreeMap::from([
        ("cluster".to_owned(), "eu-1".to_owned()),
        ("prometheus".to_owned(), "monitoring/k8s".to_owned()),
        ("tenant_id".to_owned(), "tenant\n2".to_owned()),
    ]);
    for block in [Ulid::nil(), Ulid::from_parts(1_700_000_000_000, 7)] {
        let keeps = selector.keeps(&labels, block);
        assert_eq!(keeps, selector.keeps(&labels, block));
        assert!(keeps || !selector.is_empty());
        let _ = selector.keeps(&BTreeMap::new(), block);
    }
}
