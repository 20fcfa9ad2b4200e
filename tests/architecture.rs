//! Holds the layers: which module may name which, and which crates the pure
//! ones may not name at all. Reads `src/` as text.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "test code")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Each module with the modules it may name besides itself. A module that is
/// missing here fails the test, so a new one has to take its place.
const MAY_NAME: [(&str, &[&str]); 12] = [
    ("damage", &[]),
    ("error", &["damage"]),
    ("runtime", &["error"]),
    ("tsdb", &["damage", "error"]),
    ("downsample", &["error", "tsdb"]),
    ("merge", &["error", "runtime", "tsdb", "downsample"]),
    ("objstore", &["error", "runtime", "tsdb"]),
    (
        "block",
        &[
            "error",
            "runtime",
            "tsdb",
            "downsample",
            "merge",
            "objstore",
        ],
    ),
    (
        "plan",
        &["error", "runtime", "tsdb", "downsample", "merge", "block"],
    ),
    (
        "compact",
        &[
            "error",
            "runtime",
            "tsdb",
            "downsample",
            "merge",
            "objstore",
            "block",
            "plan",
        ],
    ),
    (
        "telemetry",
        &[
            "error",
            "runtime",
            "tsdb",
            "downsample",
            "merge",
            "objstore",
            "block",
            "plan",
            "compact",
        ],
    ),
    (
        "cli",
        &[
            "error",
            "runtime",
            "tsdb",
            "downsample",
            "merge",
            "objstore",
            "block",
            "plan",
            "compact",
            "telemetry",
        ],
    ),
];

/// Modules that do no IO of their own: given the same arguments, they give the
/// same result.
const PURE: [&str; 4] = ["tsdb", "downsample", "merge", "plan"];

/// What pure modules must not name.
const IMPURE: [&str; 9] = [
    "tokio",
    "object_store",
    "async fn",
    "std::fs",
    "std::net",
    "std::env",
    "SystemTime",
    "Instant::",
    "crate::runtime::clock",
];

fn sources() -> BTreeMap<String, Vec<(PathBuf, String)>> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut modules: BTreeMap<String, Vec<(PathBuf, String)>> = BTreeMap::new();
    let mut folders = vec![src.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            if path.extension().is_none_or(|e| e != "rs") {
                continue;
            }
            let below = path.strip_prefix(&src).unwrap();
            let first = below.components().next().unwrap().as_os_str();
            let module = first.to_str().unwrap().trim_end_matches(".rs").to_owned();
            let text = fs::read_to_string(&path).unwrap();
            modules.entry(module).or_default().push((path, text));
        }
    }
    modules
}

/// Test code may read files and clocks; a layer is a property of the product.
fn is_test(path: &Path) -> bool {
    let name = path.file_stem().unwrap().to_str().unwrap();
    name == "tests" || name.ends_with("_tests")
}

/// Code without comments and without the tests at the end of a file.
fn code(text: &str) -> String {
    let product = text.split("\n#[cfg(test)]\nmod ").next().unwrap();
    product
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn imports_point_to_the_left() {
    let modules = sources();
    let mut wrong = Vec::new();
    for (module, files) in &modules {
        if module == "lib" || module == "main" {
            continue;
        }
        let (_, allowed) = MAY_NAME
            .iter()
            .find(|(name, _)| name == module)
            .unwrap_or_else(|| panic!("module {module} has no place in the layers"));
        for (path, text) in files.iter().filter(|(p, _)| !is_test(p)) {
            for (other, _) in MAY_NAME {
                let named = code(text).contains(&format!("crate::{other}"));
                if named && other != module && !allowed.contains(&other) {
                    wrong.push(format!("{} names {other}", path.display()));
                }
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "imports that point up:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn pure_modules_do_no_io() {
    let mut wrong = Vec::new();
    for (module, files) in sources() {
        if !PURE.contains(&module.as_str()) {
            continue;
        }
        for (path, text) in files.iter().filter(|(p, _)| !is_test(p)) {
            for word in IMPURE {
                if code(text).contains(word) {
                    wrong.push(format!("{} names {word}", path.display()));
                }
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "impure code in pure modules:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn files_can_be_held_in_mind() {
    let mut long = Vec::new();
    for (path, text) in sources().into_values().flatten() {
        let product = text
            .split("\n#[cfg(test)]\nmod ")
            .next()
            .unwrap()
            .lines()
            .count();
        if !is_test(&path) && product > 500 {
            long.push(format!("{}: {product} lines", path.display()));
        }
    }
    assert!(
        long.is_empty(),
        "files over 500 lines:\n{}",
        long.join("\n")
    );
}

/// The checks above must be able to fail.
#[test]
fn comments_and_tests_do_not_count_and_code_does() {
    assert!(
        !code("// crate::cli\nlet x = 1;\n#[cfg(test)]\nmod tests { use crate::cli; }")
            .contains("cli")
    );
    assert!(code("use crate::cli::main;").contains("crate::cli"));
}
