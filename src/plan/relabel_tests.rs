//! Rules against what Prometheus v0.309.1 makes of them.

use proptest::prelude::*;

use super::*;

fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs
        .iter()
        .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
        .collect()
}

fn rule(action: &str, source: &[&str], regex: &str) -> Rule {
    Rule {
        action: action.to_owned(),
        source_labels: source.iter().map(|s| (*s).to_owned()).collect(),
        regex: regex.to_owned(),
        ..Rule::default()
    }
}

fn hashmod(source: &[&str], modulus: u64) -> Rule {
    Rule {
        modulus,
        target_label: "shard".to_owned(),
        ..rule("hashmod", source, "(.*)")
    }
}

fn block() -> Ulid {
    Ulid::from_string("01JXWEB6KQ4Y7D6ZCQ2N8VJ5TA").unwrap()
}

fn keeps(rules: &[Rule], of: &Labels) -> bool {
    Selector::new(rules).unwrap().keeps(of, block())
}

#[test]
fn shards_are_those_of_prometheus() {
    // Made by relabel.Process of Prometheus itself.
    let vectors: [(&[&str], &str, u64, u64); 11] = [
        (&["cluster-01"], ";", 4, 1),
        (&["cluster-02"], ";", 4, 1),
        (&["cluster-03"], ";", 4, 1),
        (&["cluster-04"], ";", 4, 3),
        (&["a", "b"], ";", 1_000_003, 278_554),
        (&["a", ""], "", 1_000_003, 616_428),
        (&["", ""], ";", 97, 57),
        (
            &["서울", "é"],
            "|",
            18_446_744_073_709_551_615,
            4_285_542_887_130_763_167,
        ),
        (&[""], ";", 7, 1),
        (&["x"], ";", 1, 0),
        (
            &["a", "b", "c"],
            "--",
            18_446_744_073_709_551_615,
            2_007_413_911_567_232_050,
        ),
    ];
    for (values, separator, modulus, shard) in vectors {
        let names: Vec<String> = (0..values.len()).map(|i| format!("l{i}")).collect();
        // A label with an empty value is one that is missing.
        let of: Labels = names
            .iter()
            .zip(values)
            .filter(|(_, v)| !v.is_empty())
            .map(|(n, v)| (n.clone(), (*v).to_owned()))
            .collect();
        let set = Rule {
            source_labels: names,
            separator: separator.to_owned(),
            ..hashmod(&[], modulus)
        };
        let right = rule("keep", &["shard"], &shard.to_string());
        assert!(keeps(&[set.clone(), right], &of), "{values:?}");
        let other = rule("keep", &["shard"], &(shard + 1).to_string());
        assert!(!keeps(&[set, other], &of), "{values:?}");
    }
}

#[test]
fn the_block_itself_can_be_hashed_and_matched() {
    let set = hashmod(&["__block_id"], 16);
    assert!(keeps(
        &[set, rule("keep", &["shard"], "1")],
        &Labels::default()
    ));
    let this = rule("drop", &["__block_id"], "01JXWEB6KQ4Y7D6ZCQ2N8VJ5TA");
    assert!(!keeps(&[this], &Labels::default()));
}

#[test]
fn keep_and_drop_look_at_the_whole_value() {
    let of = labels(&[("cluster", "cluster-01"), ("region", "eu\nwest")]);
    let cases = [
        (rule("keep", &["cluster"], "cluster-01"), true),
        (rule("KEEP", &["cluster"], "cluster-0[12]"), true),
        (rule("keep", &["cluster"], "cluster"), false),
        (rule("keep", &["cluster"], "cluster|cluster-01"), true),
        (rule("drop", &["cluster"], "cluster-0"), false),
        (rule("drop", &["cluster"], "cluster-0."), true),
        (rule("keep", &["region"], "eu.west"), true),
        (
            rule("keep", &["cluster", "region"], "cluster-01;eu\nwest"),
            true,
        ),
        (rule("keep", &["missing"], ""), true),
        (rule("keep", &["missing"], ".+"), false),
        (rule("keep", &[], "(.*)"), true),
        (rule("drop", &["missing"], "(.*)"), true),
    ];
    for (rule, matches_action) in cases {
        let keep = rule.action.to_lowercase() == "keep";
        let expected = matches_action == keep;
        assert_eq!(
            keeps(std::slice::from_ref(&rule), &of),
            expected,
            "{rule:?}"
        );
    }
}

#[test]
fn every_rule_has_its_say() {
    let of = labels(&[("cluster", "a"), ("tenant", "b")]);
    let keep = rule("keep", &["cluster"], "a");
    let drop = rule("drop", &["tenant"], "b");
    assert!(keeps(&[], &of) && keeps(std::slice::from_ref(&keep), &of));
    assert!(!keeps(&[keep, drop], &of));
}

#[test]
fn no_rules_are_empty() {
    assert!(Selector::default().is_empty());
    assert!(
        !Selector::new(&[rule("keep", &["a"], "b")])
            .unwrap()
            .is_empty()
    );
}

#[test]
fn what_chooses_nothing_is_refused_by_name() {
    let cases = [
        (rule("labelmap", &[], "(.*)"), "labelmap"),
        (Rule::default(), "replace"),
        (rule("", &[], "(.*)"), "action"),
        (rule("keep", &["a"], "("), "regex"),
        (rule("keep", &[""], "x"), "source_labels"),
        (hashmod(&["a"], 0), "modulus"),
        (
            Rule {
                target_label: String::new(),
                ..hashmod(&["a"], 3)
            },
            "target_label",
        ),
    ];
    for (bad, word) in cases {
        let good = rule("keep", &["a"], "b");
        let error = Selector::new(&[good, bad]).unwrap_err();
        let text = error.chain();
        assert!(text.contains("rule 2") && text.contains(word), "{text}");
        assert_eq!(error.kind(), Kind::Config);
    }
}

proptest! {
    /// However many shards: a block is in one and only one of them.
    #[test]
    fn shards_are_disjoint_and_complete(
        value in ".{0,12}",
        time in any::<u64>(),
        modulus in 1_u64..12,
        by_block in any::<bool>(),
    ) {
        let of = labels(&[("cluster", &value)]);
        let id = Ulid::from_parts(time >> 16, u128::from(time));
        let source: &[&str] = if by_block { &["__block_id"] } else { &["cluster"] };
        let homes = (0..modulus)
            .filter(|shard| {
                let rules = [hashmod(source, modulus), rule("keep", &["shard"], &shard.to_string())];
                Selector::new(&rules).unwrap().keeps(&of, id)
            })
            .count();
        prop_assert_eq!(homes, 1);
    }
}
