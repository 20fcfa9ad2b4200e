//! JSON schemas that are committed beside the documents.

use std::path::Path;

use serde_json::Value;

/// Fails unless `docs/<file>` is `schema`; writes it first if
/// `LITHIFY_WRITE_SCHEMA` is set. `test` is the binary that does so.
pub fn assert_committed(schema: &Value, file: &str, test: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("docs")
        .join(file);
    if std::env::var_os("LITHIFY_WRITE_SCHEMA").is_some() {
        let text = serde_json::to_string_pretty(schema).unwrap();
        std::fs::write(&path, text + "\n").unwrap();
    }
    let committed: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    assert!(
        committed == *schema,
        "write it again with LITHIFY_WRITE_SCHEMA=1 cargo test --test {test}"
    );
}
