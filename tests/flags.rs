//! Every flag of `thanos compact` v0.42.4: that it is there, its default, what
//! becomes of a good and of a bad value. `tests/peers/suite/flags.rs` compares
//! the names and defaults with the real program.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "test code")]

use std::collections::{BTreeMap, BTreeSet};

use Verdict::{Idle, Quiet, Refused};

/// What becomes of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// Served, or as idle as upstream: nothing is said.
    Quiet,
    /// Accepted with a warning that names the flag.
    Idle,
    /// Exit code 1, and a message that names the flag.
    Refused,
}

/// Exit code of a value that the parser takes for none.
const NO_VALUE: i32 = 2;
/// Exit code of a value that the checks refuse.
const CANNOT: i32 = 1;

/// Name; default; a good value and what becomes of it; a bad value, if any
/// text is not good, and its exit code.
type Row = (
    &'static str,
    Option<&'static str>,
    &'static str,
    Verdict,
    Option<(&'static str, i32)>,
);

const OFF: Option<&str> = Some("false");
const RULES: &str = "=- {action: keep, source_labels: [a]}";
const SWITCH: Option<(&str, i32)> = Some(("=maybe", NO_VALUE));
const COUNT: Option<(&str, i32)> = Some(("=0", NO_VALUE));
const GO: Option<(&str, i32)> = Some(("=5", NO_VALUE));
const PROM: Option<(&str, i32)> = Some(("=1.5h", NO_VALUE));

#[rustfmt::skip]
const ROWS: [Row; 51] = [
    ("auto-gomemlimit.ratio", Some("0.9"), "=0.5", Idle, Some(("=1.1", CANNOT))),
    ("block-discovery-strategy", Some("concurrent"), "=recursive", Idle, Some(("=quick", CANNOT))),
    ("block-files-concurrency", Some("1"), "=4", Idle, COUNT),
    ("block-meta-fetch-concurrency", Some("32"), "=8", Quiet, COUNT),
    ("block-viewer.global.sync-block-interval", Some("1m"), "=1.5m", Refused, GO),
    ("block-viewer.global.sync-block-timeout", Some("5m"), "=1d", Refused, GO),
    ("bucket-web-label", None, "=cluster", Refused, None),
    ("compact.block-max-index-size", Some("64GB"), "=1GiB512MiB", Quiet, Some(("=64", NO_VALUE))),
    ("compact.blocks-fetch-concurrency", Some("1"), "=4", Idle, COUNT),
    ("compact.cleanup-interval", Some("5m"), "=0s", Quiet, GO),
    ("compact.concurrency", None, "=1", Quiet, COUNT),
    ("compact.enable-vertical-compaction", OFF, "", Quiet, SWITCH),
    ("compact.progress-interval", Some("5m"), "=1h30m", Quiet, GO),
    ("compact.skip-block-with-out-of-order-chunks", OFF, "", Quiet, SWITCH),
    ("consistency-delay", Some("30m"), "=1.5h", Quiet, GO),
    ("data-dir", Some("./data"), "=/tmp/x", Quiet, None),
    ("debug.accept-malformed-index", OFF, "", Refused, SWITCH),
    ("debug.halt-on-error", Some("true"), "=false", Quiet, SWITCH),
    ("debug.max-compaction-level", Some("4"), "=3", Idle, Some(("=5", NO_VALUE))),
    ("debug.name", Some(""), "=eu", Idle, None),
    ("deduplication.func", Some(""), "=", Quiet, Some(("=best", NO_VALUE))),
    ("deduplication.replica-label", None, "=a,b", Quiet, None),
    ("delete-delay", Some("48h"), "=1d12h", Quiet, PROM),
    ("disable-admin-operations", OFF, "", Refused, SWITCH),
    ("downsample.concurrency", None, "=2", Quiet, COUNT),
    ("downsampling.disable", OFF, "", Quiet, SWITCH),
    ("enable-auto-gomemlimit", OFF, "", Idle, SWITCH),
    ("hash-func", Some(""), "=SHA256", Refused, Some(("=MD5", NO_VALUE))),
    ("http-address", Some("0.0.0.0:10902"), "=:0", Refused, None),
    ("http-grace-period", Some("2m"), "=10s", Refused, PROM),
    ("http.config", Some(""), "=web.yml", Refused, None),
    ("log.format", Some("logfmt"), "=journald", Refused, Some(("=xml", NO_VALUE))),
    ("log.level", Some("info"), "=debug", Quiet, Some(("=loud", NO_VALUE))),
    ("max-time", Some("9999-12-31T23:59:59Z"), "=-2d", Quiet, Some(("=-1.5h", NO_VALUE))),
    ("min-time", Some("0000-01-01T00:00:00Z"), "=2026-01-31T00:00:00+09:00", Quiet, Some(("=2026-01-31", NO_VALUE))),
    ("objstore.config", None, "=type: S3", Quiet, None),
    ("objstore.config-file", None, "=bucket.yml", Quiet, None),
    ("retention.resolution-1h", Some("0d"), "=1y", Quiet, PROM),
    ("retention.resolution-5m", Some("0d"), "=26w", Quiet, PROM),
    ("retention.resolution-raw", Some("0d"), "=40h", Quiet, Some(("=-1h", NO_VALUE))),
    ("selector.relabel-config", None, RULES, Quiet, Some(("=- {action: labelmap}", CANNOT))),
    ("selector.relabel-config-file", None, "=", Quiet, Some(("=/no/such/file", CANNOT))),
    ("tracing.config", None, "=type: JAEGER", Refused, None),
    ("tracing.config-file", None, "=trace.yml", Refused, None),
    ("wait", OFF, "", Refused, SWITCH),
    ("wait-interval", Some("5m"), "=10m", Quiet, GO),
    ("web.disable", OFF, "", Refused, SWITCH),
    ("web.disable-cors", OFF, "", Refused, SWITCH),
    ("web.external-prefix", Some(""), "=/x", Refused, None),
    ("web.prefix-header", Some(""), "=X-Prefix", Refused, None),
    ("web.route-prefix", Some(""), "=/x", Refused, None),
];

/// Flags that Thanos does not have.
const OURS: [&str; 24] = [
    "cluster-label",
    "compact.one-pass",
    "detailed-exitcode",
    "dry-run",
    "dry-run-sample",
    "keep-corrupted-blocks",
    "lease",
    "lease-duration",
    "lease-wait",
    "max-delete-per-run",
    "max-job-time",
    "max-memory",
    "max-scratch",
    "only",
    "policy.acknowledge-data-loss",
    "policy.config",
    "policy.config-file",
    "quarantine.max-blocks-per-run",
    "report",
    "retention.force",
    "shard",
    "skip",
    "threads",
    "help",
];

/// Flags that upstream's help does not show.
const HIDDEN: [&str; 7] = [
    "compact.block-max-index-size",
    "compact.enable-vertical-compaction",
    "compact.skip-block-with-out-of-order-chunks",
    "debug.accept-malformed-index",
    "debug.halt-on-error",
    "debug.max-compaction-level",
    "debug.name",
];

/// Flags of `lithify compact`, without the `--no-` forms.
fn args() -> BTreeMap<String, clap::Arg> {
    let mut command = lithify::cli::command();
    command.build();
    let compact = command.find_subcommand("compact").unwrap();
    let all: BTreeMap<String, clap::Arg> = compact
        .get_arguments()
        .filter_map(|arg| Some((arg.get_long()?.to_owned(), arg.clone())))
        .collect();
    let is_twin = |name: &str| {
        name.strip_prefix("no-")
            .is_some_and(|n| all.contains_key(n))
    };
    all.iter()
        .filter(|(name, _)| !is_twin(name) && *name != "version")
        .map(|(name, arg)| (name.clone(), arg.clone()))
        .collect()
}

/// What a command line with these flags, and otherwise nothing to remark upon,
/// comes to: warnings, or exit code and message.
fn check(flags: &[&str]) -> Result<Vec<String>, (i32, String)> {
    let start = [
        "lithify",
        "compact",
        "--downsampling.disable",
        "--policy.acknowledge-data-loss",
    ];
    lithify::cli::check(start.iter().chain(flags))
}

#[test]
fn clap_finds_nothing_wrong() {
    lithify::cli::command().debug_assert();
}

#[test]
fn there_are_all_flags_and_no_others() {
    let found: BTreeSet<String> = args().into_keys().collect();
    let upstream = ROWS.into_iter().map(|row| row.0);
    let wanted: BTreeSet<String> = upstream.chain(OURS).map(str::to_owned).collect();
    assert_eq!(found, wanted);
}

#[test]
fn defaults_and_visibility_are_those_of_upstream() {
    let args = args();
    for (name, default, ..) in ROWS {
        let arg = &args[name];
        let found = arg.get_default_values().first();
        let found = found.map(|v| v.to_str().unwrap());
        assert_eq!(found, default, "--{name}");
        assert_eq!(arg.is_hide_set(), HIDDEN.contains(&name), "--{name}");
    }
}

#[test]
fn values_get_their_verdict() {
    for (name, _, good, verdict, bad) in ROWS {
        let flag = format!("--{name}{good}");
        let result = check(&[&flag]);
        let named = format!("--{name}");
        match (verdict, &result) {
            (Quiet, Ok(warnings)) => assert!(warnings.is_empty(), "{flag}: {warnings:?}"),
            (Idle, Ok(warnings)) => {
                assert!(
                    warnings.iter().any(|w| w.contains(&named)),
                    "{flag}: {warnings:?}"
                );
            }
            (Refused, Err((CANNOT, text))) => {
                assert!(text.contains(&named), "{flag}: {text}");
                assert!(text.lines().count() > 1, "no cure for {flag}: {text}");
            }
            other => panic!("{flag}: {other:?}"),
        }
        if let Some((value, code)) = bad {
            let flag = format!("--{name}{value}");
            let (found, text) = check(&[&flag]).unwrap_err();
            assert_eq!(found, code, "{flag}: {text}");
            assert!(text.contains(&named), "{flag}: {text}");
        }
    }
}

#[test]
fn booleans_have_all_their_forms() {
    let args = args();
    let switches: Vec<&str> = ROWS
        .into_iter()
        .filter(|row| matches!(row.1, Some("true" | "false")))
        .map(|row| row.0)
        .collect();
    assert_eq!(switches.len(), 10);
    for name in switches.into_iter().chain(["compact.one-pass"]) {
        assert!(args.contains_key(name));
        for form in ["", "=true", "=false"] {
            let flag = format!("--{name}{form}");
            let code = check(&[&flag]).err().map(|e| e.0);
            assert_ne!(code, Some(NO_VALUE), "{flag}");
        }
        let twin = format!("--no-{name}");
        let code = check(&[&twin]).err().map(|e| e.0);
        assert_ne!(code, Some(NO_VALUE), "{twin}");
    }
}

#[test]
fn the_last_form_of_a_boolean_counts() {
    for quiet in [
        &["--wait", "--no-wait"][..],
        &["-w", "--wait=false"],
        &["--no-wait", "--wait=true", "--no-wait"],
    ] {
        assert_eq!(check(quiet), Ok(vec![]), "{quiet:?}");
    }
    for refused in [&["--no-wait", "-w"][..], &["--wait=false", "--wait"]] {
        assert_eq!(check(refused).unwrap_err().0, CANNOT, "{refused:?}");
    }
}

#[test]
fn penalty_wants_a_replica_label() {
    let penalty = "--deduplication.func=penalty";
    let (code, text) = check(&[penalty]).unwrap_err();
    assert!(code == CANNOT && text.contains("replica-label"), "{text}");
    let commas_only = "--deduplication.replica-label=,";
    assert!(check(&[penalty, commas_only]).is_err());
    assert_eq!(
        check(&[penalty, "--deduplication.replica-label=a"]),
        Ok(vec![])
    );
}

#[test]
fn marks_for_order_are_served_unless_no_block_may_be_marked() {
    let skip = "--compact.skip-block-with-out-of-order-chunks";
    assert_eq!(check(&[skip]), Ok(vec![]));
    let warnings = check(&[skip, "--quarantine.max-blocks-per-run=0"]).unwrap();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains(skip), "{warnings:?}");
}

/// What the policy linter says about a command line: warnings, or exit code
/// and message.
fn lint(flags: &[&str]) -> Result<Vec<String>, (i32, String)> {
    let start = ["lithify", "compact"];
    let mut warnings = lithify::cli::check(start.iter().chain(flags))?;
    warnings.retain(|w| !w.contains("does not downsample"));
    Ok(warnings)
}

#[test]
fn retention_that_loses_data_is_refused_unless_acknowledged() {
    let raw = "--retention.resolution-raw=7d";
    let platform = [
        raw,
        "--retention.resolution-5m=30d",
        "--retention.resolution-1h=90d",
    ];
    assert_eq!(lint(&platform), Ok(vec![]));
    let rule = "--policy.config=- {match: '{a=\"b\"}', downsampling: false}";
    let level = "--debug.max-compaction-level=2";
    for (flags, kind) in [
        (&[raw, "--downsampling.disable"][..], "[downsampling-off]"),
        (&[raw, "--retention.force"], "[forced]"),
        (&[raw, level], "[ranges-too-short]"),
        (&[raw, rule], "[downsampling-off]"),
    ] {
        let (code, text) = lint(flags).unwrap_err();
        assert!(code == CANNOT && text.contains(kind), "{flags:?}: {text}");
        let cure = "--policy.acknowledge-data-loss";
        assert!(text.contains(cure), "{flags:?}: {text}");
        let flags: Vec<&str> = flags.iter().copied().chain([cure]).collect();
        let warnings = lint(&flags).unwrap();
        let only_level = warnings.iter().all(|w| w.contains("max-compaction-level"));
        assert!(only_level, "{flags:?}: {warnings:?}");
    }
    assert!(lint(&[raw, rule]).unwrap_err().1.contains("rule 1"));
}

#[test]
fn retention_below_what_is_downsampled_is_refused_as_upstream() {
    for (flag, least) in [
        ("--retention.resolution-raw=39h", "40h"),
        ("--retention.resolution-5m=239h", "10d"),
    ] {
        let known = "--policy.acknowledge-data-loss";
        let (code, text) = lint(&[flag, known]).unwrap_err();
        assert!(code == CANNOT && text.contains(least), "{text}");
        assert!(text.contains("[retention-too-short]"), "{text}");
        assert!(lint(&[flag, known, "--downsampling.disable"]).is_ok());
    }
    let rule = "--policy.config=- {match: '{}', retention: {raw: 1d}}";
    assert!(lint(&[rule]).unwrap_err().1.contains("rule 1"));
}

#[test]
fn retention_that_is_not_what_it_seems_is_warned_of() {
    let warned = |flag: &str, part: &str| {
        let warnings = lint(&[flag, "--retention.resolution-raw=41h"]).unwrap();
        assert!(warnings.iter().any(|w| w.contains(part)), "{warnings:?}");
    };
    warned("--retention.resolution-5m=12d", "held for up to 14d3h30m");
    warned("--retention.resolution-5m=12d", "held for up to 43h30m");
    let rule = "--policy.config=- {match: '{a=\"b\"}', retention: {5m: 11d}}";
    warned(rule, "--policy.config rule 1: 5m blocks are kept for 11d");
}

#[test]
fn policy_rules_are_checked_at_the_start() {
    for (flag, part) in [
        ("--policy.config=- {match: '{}', keep: 1d}", "line 1"),
        (
            "--policy.config=- {match: '{a}', dedup: penalty}",
            "character 3",
        ),
        (
            "--policy.config=- {match: '{}', dedup: penalty}",
            "replica-label",
        ),
        ("--policy.config-file=/no/such/file", "--policy.config-file"),
    ] {
        let (code, text) = lint(&[flag]).unwrap_err();
        assert!(code == CANNOT && text.contains(part), "{flag}: {text}");
        assert!(text.lines().count() > 1, "no cure for {flag}: {text}");
    }
    let both = ["--policy.config=[]", "--policy.config-file=x"];
    assert!(lint(&both).unwrap_err().1.contains("both set"));
    let replica = "--deduplication.replica-label=r";
    let rule = "--policy.config=- {match: '{r=\"a\"}', dedup: penalty}";
    let warnings = lint(&[replica, rule]).unwrap();
    assert!(warnings[0].contains("replica label r"), "{warnings:?}");
}

#[test]
fn ours_parse() {
    for good in [
        "--dry-run",
        "--dry-run=table",
        "--dry-run=json",
        "--dry-run-sample",
        "--dry-run-sample=100",
        "--no-compact.one-pass",
        "--max-job-time=1.5h",
        "--keep-corrupted-blocks",
        "--quarantine.max-blocks-per-run=0",
        "--policy.config=[]",
        "--policy.config-file=",
        "--retention.force",
        "--detailed-exitcode",
        "--cluster-label=cluster",
        "--threads=2",
        "--max-memory=128MiB",
        "--max-scratch=0",
        "--only=compaction",
        "--only=retention,cleanup",
        "--skip=downsampling",
        "--max-delete-per-run=0",
        "--max-delete-per-run=100",
        "--report=report.json",
        "--report=-",
        "--lease=on",
        "--lease=off",
        "--lease-duration=90s",
        "--lease-wait=1h",
    ] {
        assert_eq!(check(&[good]), Ok(vec![]), "{good}");
    }
    for bad in [
        "--dry-run=xml",
        "--dry-run-sample=0",
        "--max-job-time=1",
        "--max-memory=1000",
        "--quarantine.max-blocks-per-run=-1",
        "--only=",
        "--skip=deletion",
        "--max-delete-per-run=-1",
        "--lease=maybe",
        "--lease-wait=5",
    ] {
        assert_eq!(check(&[bad]).unwrap_err().0, NO_VALUE, "{bad}");
    }
    for too_small in [
        "--max-job-time=0s",
        "--max-memory=127MiB",
        "--lease-duration=89s",
    ] {
        assert_eq!(check(&[too_small]).unwrap_err().0, CANNOT, "{too_small}");
    }
}

#[test]
fn lanes_are_chosen_or_left_out() {
    let both = check(&["--only=compaction", "--skip=cleanup"]).unwrap_err();
    assert_eq!(both.0, NO_VALUE, "{}", both.1);
    assert!(
        both.1.contains("--only") && both.1.contains("--skip"),
        "{}",
        both.1
    );
    let (code, text) = check(&["--only=compact"]).unwrap_err();
    assert_eq!(code, NO_VALUE);
    for lane in ["compaction", "downsampling", "retention", "cleanup"] {
        assert!(text.contains(lane), "{text}");
        assert_eq!(check(&["--only", lane, "--only=cleanup"]), Ok(vec![]));
    }
    let all = "--skip=compaction,downsampling,retention,cleanup";
    let (code, text) = check(&[all]).unwrap_err();
    assert!(code == CANNOT && text.contains("--skip"), "{text}");
}

#[test]
fn flags_of_the_process_may_stand_before_the_command() {
    let argv = ["lithify", "--tracing.config=x", "compact"];
    let (code, text) = lithify::cli::check(argv).unwrap_err();
    assert!(
        code == CANNOT && text.contains("--tracing.config"),
        "{text}"
    );
    let argv = [
        "lithify",
        "--enable-auto-gomemlimit",
        "compact",
        "--downsampling.disable",
    ];
    assert_eq!(lithify::cli::check(argv).unwrap().len(), 1);
}

/// The binary says the same as [`check`], for people.
#[test]
fn a_refusal_names_the_flag_and_the_way_out() {
    for (flag, code) in [
        ("--wait", 1),
        ("--log.format=journald", 1),
        ("--wait=maybe", 2),
    ] {
        let output = assert_cmd::Command::new(env!("CARGO_BIN_EXE_lithify"))
            .args(["compact", "--objstore.config=type: FILESYSTEM", flag])
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{text}");
        assert!(text.contains(flag.split('=').next().unwrap()), "{text}");
        let cured = text.contains("error: ") && text.contains("\ncure: ");
        assert!(code == 2 || cured, "{text}");
    }
}

#[test]
fn without_a_lease_its_other_flags_have_no_effect() {
    let warnings = check(&["--lease=off", "--lease-wait=1m"]).unwrap();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("--lease-wait"), "{warnings:?}");
}
