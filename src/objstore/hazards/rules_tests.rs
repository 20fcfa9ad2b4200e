use super::*;

fn rule(prefix: &str) -> LifecycleRule {
    LifecycleRule {
        enabled: true,
        prefix: prefix.to_owned(),
        ..LifecycleRule::default()
    }
}

#[test]
fn a_rule_meets_what_it_could_act_on() {
    for (prefix, of_rule, meets) in [
        ("", "", true),
        ("team/", "", true),
        ("team/", "te", true),
        ("team/", "team/", true),
        ("team/", "other/", false),
        ("team/", "team/debug/", false),
        ("team/", "team/lith", true),
        ("team/", "team/lithify/cache/", true),
        ("team/", "team/lithium/", false),
        // Beginnings of block names, and others.
        ("", "0", true),
        ("", "01JB", true),
        ("", "01JBXK2YQ0V4T0000000000000/chunks/", true),
        ("", "01JBXK2YQ0V4T0000000000000", true),
        ("", "01JBXK2YQ0V4T0000000000000x", false),
        ("", "01JB/", false),
        ("", "U", false),
        ("", "thanos/", false),
        ("", "debug/", false),
        ("", "ü", false),
    ] {
        assert_eq!(rule(of_rule).meets(prefix), meets, "{prefix:?} {of_rule:?}");
    }
    let off = LifecycleRule {
        enabled: false,
        ..rule("")
    };
    let tagged = LifecycleRule {
        tagged: true,
        ..rule("")
    };
    assert!(!off.meets("") && !tagged.meets(""));
}

#[test]
fn a_rule_covers_only_what_it_always_acts_on() {
    assert!(rule("").covers("team/") && rule("te").covers("team/"));
    assert!(!rule("team/0").covers("team/"));
    let sized = LifecycleRule {
        sized: true,
        ..rule("")
    };
    assert!(sized.meets("") && !sized.covers(""));
}

#[test]
fn times_and_names_for_people() {
    assert_eq!(When::Days(1).to_string(), "1 day after it was written");
    assert_eq!(When::Days(30).to_string(), "30 days after it was written");
    assert_eq!(When::At(1_767_323_045_678).to_string(), "on 2026-01-02");
    assert_eq!(rule("a/").name(), "a lifecycle rule for \"a/\"");
    let named = LifecycleRule {
        id: "tidy".to_owned(),
        ..rule("")
    };
    assert_eq!(named.name(), "lifecycle rule \"tidy\" for the whole bucket");
}

#[test]
fn ours_are_blocks_and_what_lies_in_lithify() {
    for (name, ours) in [
        ("01JBXK2YQ0V4T0000000000000/index", true),
        ("lithify/lease", true),
        ("01JBXK2YQ0V4T0000000000000", false),
        ("debug/x", false),
        ("index", false),
    ] {
        assert_eq!(is_ours(name), ours, "{name}");
    }
}
