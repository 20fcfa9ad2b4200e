use super::*;

fn labels(pairs: &[(&str, &str)]) -> Labels {
    let owned = |(n, v): &(&str, &str)| ((*n).to_owned(), (*v).to_owned());
    pairs.iter().map(owned).collect()
}

const FLAGS: StreamPolicy = StreamPolicy {
    retention_ms: [1, 2, 3],
    dedup: Dedup::OneToOne,
    downsampling: true,
};

fn rule(matchers: &str) -> PolicyRule {
    PolicyRule {
        matchers: Matchers::parse(matchers).unwrap(),
        retention_ms: [None; 3],
        dedup: None,
        downsampling: None,
    }
}

#[test]
fn matchers_match_as_in_promql() {
    let stream = labels(&[("cluster", "eu"), ("tenant", "a b"), ("odd.name", "x")]);
    for (text, wanted) in [
        ("{}", true),
        ("  { }  ", true),
        (r#"{cluster="eu"}"#, true),
        (r#"{cluster="e"}"#, false),
        (r#"{ cluster = 'eu' , tenant != "a" , }"#, true),
        (r#"{cluster="eu",tenant!="a b"}"#, false),
        // Regular expressions match the whole value.
        (r#"{cluster=~"e"}"#, false),
        (r#"{cluster=~"e.|us"}"#, true),
        (r#"{cluster=~"us|eu"}"#, true),
        (r#"{cluster!~"e"}"#, true),
        (r#"{cluster!~"e.*"}"#, false),
        // A label that is missing is empty.
        (r#"{zone=""}"#, true),
        (r#"{zone!=""}"#, false),
        (r#"{zone=~".*"}"#, true),
        (r#"{zone=~".+"}"#, false),
        (r#"{"odd.name"="x"}"#, true),
        (r"{tenant=~`a\sb`}", true),
        (r#"{tenant=~"a\\sb"}"#, true),
        (r#"{tenant="a\tb"}"#, false),
        // A line break is any character, too.
        (r#"{tenant=~"a.b"}"#, true),
    ] {
        let matchers = Matchers::parse(text).unwrap();
        assert_eq!(matchers.matches(&stream), wanted, "{text}");
        assert_eq!(matchers.to_string(), text.trim());
    }
}

#[test]
fn what_is_no_matcher_is_refused_with_its_place() {
    for (text, place, what) in [
        ("", 1, "`{`"),
        ("cluster=\"eu\"", 1, "`{`"),
        ("{", 2, "a label"),
        ("{cluster", 9, "one of ="),
        ("{cluster>\"a\"}", 9, "one of ="),
        ("{cluster=eu}", 10, "quotes"),
        ("{cluster=\"eu}", 10, "quotes are closed"),
        ("{ü=\"eu\"}", 2, "a label"),
        ("{1a=\"eu\"}", 2, "a label"),
        ("{a=\"ü\" b=\"c\"}", 8, "`,` or `}`"),
        ("{a=\"b\",,}", 8, "a label"),
        ("{a=\"b\"} x", 9, "nothing after"),
        ("{a=~\"(\"}", 5, "a regular expression"),
        ("{a=\"\\q\"}", 5, "one of"),
        ("{a=\"\\", 5, "one of"),
    ] {
        let error = Matchers::parse(text).unwrap_err();
        let place = format!("character {place}: ");
        assert!(error.contains(&place) && error.contains(what), "{error}");
    }
}

#[test]
fn the_first_rule_that_sets_a_value_gives_it() {
    let rules = vec![
        PolicyRule {
            retention_ms: [Some(10), None, None],
            ..rule(r#"{cluster="eu", tenant="a"}"#)
        },
        PolicyRule {
            retention_ms: [Some(20), Some(21), None],
            dedup: Some(Dedup::Penalty),
            ..rule(r#"{cluster="eu"}"#)
        },
        PolicyRule {
            retention_ms: [Some(30), Some(31), Some(0)],
            downsampling: Some(false),
            ..rule("{}")
        },
    ];
    let policies = Policies::new(rules);
    let of = |pairs: &[(&str, &str)]| {
        let labels = labels(pairs);
        (policies.of(&labels, FLAGS), policies.matching(&labels))
    };
    let policy = |retention_ms, dedup, downsampling| StreamPolicy {
        retention_ms,
        dedup,
        downsampling,
    };
    assert_eq!(
        of(&[("cluster", "eu"), ("tenant", "a")]),
        (policy([10, 21, 0], Dedup::Penalty, false), vec![1, 2, 3])
    );
    assert_eq!(
        of(&[("cluster", "eu")]),
        (policy([20, 21, 0], Dedup::Penalty, false), vec![2, 3])
    );
    assert_eq!(
        of(&[("cluster", "us")]),
        (policy([30, 31, 0], Dedup::OneToOne, false), vec![3])
    );
    let none = Policies::default();
    assert_eq!(none.of(&labels(&[]), FLAGS), FLAGS);
    assert!(none.matching(&labels(&[])).is_empty());
}
