//! Fixtures and copies of them, for tests and benches that work on folders.

// Every binary compiles all of this and uses a part of it.
#![allow(dead_code)]

use std::fs;
use std::path::{Path, PathBuf};

/// A file or folder under `fixtures/`.
pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures")
        .join(name)
}

/// Copies a folder and all below it.
pub fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("target folder");
    for entry in fs::read_dir(from).expect("source folder") {
        let entry = entry.expect("entry of the source folder");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("type of an entry").is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("copy of a file");
        }
    }
}

/// Copies the 31 quick-start blocks of one edge cluster into a folder and
/// returns their names, ascending.
pub fn copy_edge_stream(cluster: &str, to: &Path) -> Vec<String> {
    let label = format!("\"cluster\": \"{cluster}\"");
    let mut blocks = Vec::new();
    for entry in fs::read_dir(fixture("quickstart")).expect("quick-start bucket") {
        let block = entry.expect("entry of the bucket").path();
        let meta = fs::read_to_string(block.join("meta.json")).expect("meta.json");
        if meta.contains(&label) {
            let name = block.file_name().and_then(|n| n.to_str()).expect("ULID");
            copy_dir(&block, &to.join(name));
            blocks.push(name.to_owned());
        }
    }
    blocks.sort();
    assert_eq!(blocks.len(), 31);
    blocks
}

/// Puts the one block of `fixtures/encodings/<name>` into a bucket twice, as
/// two receivers would: equal samples, so that a compaction has to dedup them.
pub fn copy_twice(name: &str, bucket: &Path) {
    let mut folders = fs::read_dir(fixture("encodings").join(name))
        .expect("fixture of the encoding")
        .map(|entry| entry.expect("entry of the fixture").path());
    let block = folders.find(|p| p.is_dir()).expect("a block");
    let id = block.file_name().and_then(|n| n.to_str()).expect("ULID");
    for (copy, replica) in [(id, "a"), ("01ARZ3NDEKTSV4RRFFQ69G5FAV", "b")] {
        copy_dir(&block, &bucket.join(copy));
        let file = bucket.join(copy).join("meta.json");
        let labels = format!("\"labels\": {{\n\"receive_replica\": \"{replica}\",");
        let meta = fs::read_to_string(&file).expect("meta.json");
        let meta = meta.replace(id, copy).replacen("\"labels\": {", &labels, 1);
        fs::write(file, meta).expect("meta.json of the copy");
    }
}
