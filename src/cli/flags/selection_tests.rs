//! Relabel rules as YAML.

use clap::Parser;
use ulid::Ulid;

use super::*;
use crate::block::meta::Labels;

#[derive(Debug, Parser)]
struct Just {
    #[command(flatten)]
    flags: SelectionFlags,
}

fn selector(yaml: &str) -> Result<Selector> {
    let flag = format!("--selector.relabel-config={yaml}");
    Just::try_parse_from(["t", &flag]).unwrap().flags.selector()
}

fn keeps(yaml: &str, cluster: &str) -> bool {
    let labels = Labels::from([("cluster".to_owned(), cluster.to_owned())]);
    selector(yaml).unwrap().keeps(&labels, Ulid::nil())
}

#[test]
fn rules_are_read_as_thanos_reads_them() {
    let cases = [
        ("", true),
        ("[]", true),
        ("- {action: keep, source_labels: [cluster], regex: a}", true),
        (
            "- {action: Drop, source_labels: [cluster], regex: a}",
            false,
        ),
        // A missing pattern matches anything, an empty one only nothing.
        ("- {action: keep, source_labels: [cluster]}", true),
        (
            "- action: keep\n  source_labels: [cluster]\n  regex:\n",
            false,
        ),
        (
            "- action: keep\n  source_labels: [cluster, cluster]\n  separator:\n  regex: aa\n",
            true,
        ),
        ("- action: keep\n  source_labels:\n", true),
        ("- {action: keep, source_labels: [no], regex: 12}", false),
        // Only the first document counts.
        ("- action: keep\n---\n- action: drop\n", true),
        (
            "- {action: hashmod, source_labels: [cluster], modulus: 0x1, target_label: s}\n- {action: keep, source_labels: [s], regex: 0, replacement: x}",
            true,
        ),
    ];
    for (yaml, expected) in cases {
        assert_eq!(keeps(yaml, "a"), expected, "{yaml}");
    }
}

#[test]
fn what_is_wrong_is_named() {
    let cases = [
        ("{}", "line 1"),
        ("- {action: labelmap}", "labelmap"),
        ("- {source_labels: [a]}", "replace"),
        ("- action:\n", "rule 1"),
        ("- {action: keep, source_label: [a]}", "source_label"),
        ("- {action: keep, source_labels: a}", "line 1"),
        ("- {action: hashmod, target_label: x}", "modulus"),
        (
            "- {action: hashmod, target_label: x, modulus: -1}",
            "line 1",
        ),
        ("- {action: keep, regex: '('}", "regex"),
        ("- $(LITHIFY_NO_SUCH_VARIABLE)", "LITHIFY_NO_SUCH_VARIABLE"),
    ];
    for (yaml, word) in cases {
        let error = selector(yaml).unwrap_err();
        let text = error.chain();
        assert!(text.contains("--selector.relabel-config"), "{text}");
        assert!(text.contains(word), "{word} is missing in: {text}");
        assert!(error.cure().is_some(), "no cure for {yaml}");
    }
}

#[test]
fn files_are_read_and_only_one_source_counts() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("rules.yml");
    std::fs::write(&file, "- {action: drop, source_labels: [no]}").unwrap();
    let from_file = format!("--selector.relabel-config-file={}", file.display());
    let flags = Just::try_parse_from(["t", &from_file, "--selector.relabel-config="]);
    let selector = flags.unwrap().flags.selector().unwrap();
    assert!(!selector.keeps(&Labels::default(), Ulid::nil()));
    let both = Just::try_parse_from(["t", &from_file, "--selector.relabel-config=[]"]);
    let error = both.unwrap().flags.check().unwrap_err();
    assert!(error.chain().contains("both"), "{error}");
}

#[test]
fn times_may_start_with_a_minus() {
    let flags = Just::try_parse_from(["t", "--min-time", "-30d", "--max-time=-1d"]);
    let flags = flags.unwrap().flags;
    assert_eq!(flags.min_time, TimeBound::Relative(-30 * 86_400_000));
    assert_eq!(flags.max_time.at(86_400_000), 0);
}
