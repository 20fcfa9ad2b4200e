use super::super::rules::When;
use super::*;

fn rule() -> LifecycleRule {
    LifecycleRule {
        id: "tidy".to_owned(),
        enabled: true,
        ..LifecycleRule::default()
    }
}

fn kinds(answers: &Answers, prefix: &str) -> Vec<HazardKind> {
    let found = judge(answers, prefix);
    for hazard in &found {
        assert!(
            !hazard.what.is_empty() && !hazard.cure.is_empty(),
            "{hazard:?}"
        );
    }
    found.iter().map(|hazard| hazard.kind).collect()
}

#[test]
fn nothing_known_is_no_hazard() {
    assert!(kinds(&Answers::default(), "").is_empty());
    let answers = Answers {
        versioned: Some(false),
        rules: Some(vec![rule()]),
        ..Answers::default()
    };
    assert!(kinds(&answers, "").is_empty());
}

#[test]
fn versioning_is_cured_by_a_rule_for_all_old_versions() {
    let with = |rules: Option<Vec<LifecycleRule>>| {
        let answers = Answers {
            versioned: Some(true),
            rules,
            ..Answers::default()
        };
        kinds(&answers, "team/")
    };
    let cure = LifecycleRule {
        old_versions_days: Some(1),
        ..rule()
    };
    assert_eq!(with(None), [HazardKind::Versioning]);
    assert_eq!(with(Some(vec![])), [HazardKind::Versioning]);
    assert!(with(Some(vec![rule(), cure.clone()])).is_empty());
    for short in [
        LifecycleRule {
            prefix: "team/0".to_owned(),
            ..cure.clone()
        },
        LifecycleRule {
            enabled: false,
            ..cure.clone()
        },
        LifecycleRule {
            sized: true,
            ..cure
        },
    ] {
        assert_eq!(
            with(Some(vec![short.clone()])),
            [HazardKind::Versioning],
            "{short:?}"
        );
    }
}

#[test]
fn rules_that_delete_or_freeze_blocks_are_told_with_name_and_time() {
    let answers = Answers {
        rules: Some(vec![
            LifecycleRule {
                expires: Some(When::Days(90)),
                moves: vec![
                    ("STANDARD_IA".to_owned(), When::Days(30)),
                    ("GLACIER".to_owned(), When::Days(60)),
                ],
                ..rule()
            },
            LifecycleRule {
                expires: Some(When::Days(1)),
                prefix: "elsewhere/".to_owned(),
                ..rule()
            },
            LifecycleRule {
                moves: vec![("GLACIER_IR".to_owned(), When::Days(0))],
                ..rule()
            },
        ]),
        ..Answers::default()
    };
    let found = judge(&answers, "");
    assert_eq!(
        kinds(&answers, ""),
        [HazardKind::Expiration, HazardKind::Archive]
    );
    assert!(
        found[0].what.contains("lifecycle rule \"tidy\""),
        "{found:?}"
    );
    assert!(found[0].what.contains("90 days after"), "{found:?}");
    assert!(found[1].what.contains("GLACIER 60 days after"), "{found:?}");
}

#[test]
fn object_lock_and_stale_uploads_are_told_with_numbers() {
    let upload = |name: &str| PendingUpload {
        name: name.to_owned(),
        upload_id: "1".to_owned(),
        begun_ms: 0,
    };
    let mut answers = Answers {
        lock: Some(ObjectLock {
            days: 30,
            mode: "GOVERNANCE".to_owned(),
        }),
        stale: Stale {
            uploads: vec![upload("01A/index"), upload("01B/index")],
            bytes: 77,
            at_least: false,
        },
        ..Answers::default()
    };
    assert_eq!(
        kinds(&answers, ""),
        [HazardKind::ObjectLock, HazardKind::StaleUploads]
    );
    let found = judge(&answers, "");
    assert!(found[0].what.contains("30 days (GOVERNANCE)"), "{found:?}");
    assert_eq!((found[1].count, found[1].bytes), (Some(2), Some(77)));
    assert!(
        found[1].what.starts_with("2 uploads with 77 bytes"),
        "{found:?}"
    );
    answers.stale.at_least = true;
    assert!(
        judge(&answers, "")[1]
            .what
            .starts_with("at least 2 uploads with at least 77")
    );
    // Whoever has the rule needs nothing else.
    answers.rules = Some(vec![LifecycleRule {
        aborts_days: Some(7),
        ..rule()
    }]);
    assert_eq!(kinds(&answers, ""), [HazardKind::ObjectLock]);
}
