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

fn part(flags: &[&str]) -> String {
    let argv = std::iter::once(&"t").chain(flags);
    let flags = Just::try_parse_from(argv).unwrap().flags;
    flags.part().unwrap()
}

const KEEP: &str = "--selector.relabel-config=- {action: keep, source_labels: [a], regex: b}";

#[test]
fn parts_have_names_that_stay() {
    assert_eq!(part(&[]), "whole");
    assert_eq!(part(&["--selector.relabel-config="]), "whole");
    assert_eq!(part(&["--consistency-delay=1h"]), "whole");
    assert_eq!(part(&["--max-time=9999-12-31T23:59:59Z"]), "whole");
    assert_eq!(part(&["--shard=0/1"]), "shard-0-of-1");
    assert_eq!(part(&["--shard=3/12"]), "shard-3-of-12");
    // Other releases have to agree.
    assert_eq!(part(&[KEEP]), "part-8573fa148f66b9d5");
    assert!(part(&["--min-time=-30d"]).starts_with("part-"));
    let both = part(&["--shard=3/12", KEEP]);
    assert!(both.starts_with("shard-3-of-12-part-"), "{both}");
    // However it is written.
    let spaced = "--selector.relabel-config=-   action: Keep\n    source_labels: ['a']\n    regex: \"b\"\n    separator: ';'";
    assert_eq!(part(&[spaced]), part(&[KEEP]));
    let valid = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let longest = part(&["--shard=9999/10000", KEEP]);
    assert!(
        longest.len() <= 41 && longest.chars().all(valid),
        "{longest}"
    );
}

#[test]
fn other_parts_have_other_names() {
    let relabel = |text: &str| format!("--selector.relabel-config={text}");
    let rules = [
        "- {action: keep, source_labels: [a], regex: b}",
        "- {action: drop, source_labels: [a], regex: b}",
        "- {action: keep, source_labels: [a], regex: c}",
        "- {action: keep, source_labels: [a, b], regex: b}",
        "- {action: keep, source_labels: [a, b], regex: b, separator: ''}",
        "- {action: hashmod, source_labels: [a], modulus: 2, target_label: s}",
        "- {action: hashmod, source_labels: [a], modulus: 3, target_label: s}",
        "- {action: hashmod, source_labels: [a], modulus: 3, target_label: t}",
    ];
    let mut flags: Vec<Vec<String>> = rules.iter().map(|r| vec![relabel(r)]).collect();
    let twice = format!("{}\n{}", rules[0], rules[1]);
    flags.push(vec![relabel(&twice)]);
    for time in ["-30d", "30d", "-31d", "2026-01-31T00:00:00Z"] {
        flags.push(vec![format!("--min-time={time}")]);
        flags.push(vec![format!("--max-time={time}")]);
        flags.push(vec![format!("--max-time={time}"), relabel(rules[0])]);
    }
    for shard in ["0/2", "1/2", "0/3"] {
        flags.push(vec![format!("--shard={shard}")]);
        flags.push(vec![format!("--shard={shard}"), relabel(rules[0])]);
    }
    let name = |flags: &Vec<String>| {
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        part(&flags)
    };
    let names: std::collections::BTreeSet<String> = flags.iter().map(name).collect();
    assert_eq!(names.len(), flags.len());
}

#[test]
fn a_shard_has_to_be_one_of_them() {
    let shard = |text: &str| {
        let flags = Just::try_parse_from(["t".to_owned(), format!("--shard={text}")]);
        flags.map(|just| just.flags.shard.unwrap().to_string())
    };
    assert_eq!(shard("2/4").unwrap(), "2/4");
    for text in ["", "4/4", "1", "x/4"] {
        let error = shard(text).unwrap_err().to_string();
        assert!(error.contains("i/n"), "{error}");
    }
}
