//! The flags of the real `thanos compact`, read from its help, beside ours.

use std::collections::BTreeMap;
use std::process::{Command, Output};

use crate::peer::{must, peer};

/// Flags of which ours has another default, with it.
const OTHER_DEFAULT: [(&str, Option<&str>); 2] = [
    ("compact.concurrency", None),
    ("downsample.concurrency", None),
];

/// Hidden flags: no help shows them, but the parser tells them from unknown ones.
const HIDDEN: [&str; 7] = [
    "compact.block-max-index-size=64GB",
    "compact.enable-vertical-compaction",
    "compact.skip-block-with-out-of-order-chunks",
    "debug.accept-malformed-index",
    "debug.halt-on-error",
    "debug.max-compaction-level=4",
    "debug.name=x",
];

fn help(extra: &[&str]) -> Output {
    let mut thanos = Command::new(peer("thanos"));
    thanos.arg("compact").args(extra).arg("--help");
    thanos.output().unwrap()
}

/// Names and defaults as kingpin prints them:
///
/// ```text
///   -w, --[no-]wait               a switch, off
///       --data-dir="./data"       a default
///       --objstore.config=<content>   none
///       --deduplication.replica-label=DEDUPLICATION.REPLICA-LABEL ...   none
/// ```
fn parse(help: &str) -> BTreeMap<String, Option<String>> {
    help.lines().filter_map(parse_line).collect()
}

fn parse_line(line: &str) -> Option<(String, Option<String>)> {
    let indented = line.strip_prefix("  ")?;
    let is_flag = indented.starts_with('-') || indented.starts_with("    --");
    let at = indented.find("--").filter(|at| is_flag && *at == 4)?;
    let word = indented[at + 2..].split_whitespace().next()?;
    if let Some(name) = word.strip_prefix("[no-]") {
        return Some((name.to_owned(), Some("false".to_owned())));
    }
    let (name, value) = word.split_once('=')?;
    let is_placeholder = value.starts_with('<') || value == name.to_uppercase();
    let value = value.trim_matches('"').to_owned();
    Some((name.to_owned(), (!is_placeholder).then_some(value)))
}

fn ours() -> BTreeMap<String, Option<String>> {
    let mut command = lithify::cli::command();
    command.build();
    let compact = command.find_subcommand("compact").unwrap();
    let flags = compact.get_arguments().filter_map(|arg| {
        let default = arg.get_default_values().first();
        let default = default.map(|v| v.to_str().unwrap().to_owned());
        Some((arg.get_long()?.to_owned(), default))
    });
    flags.collect()
}

#[test]
fn every_flag_of_the_help_is_here_with_its_default() {
    let output = must(Command::new(peer("thanos")).args(["compact", "--help"]));
    let mut text = String::from_utf8(output.stdout).unwrap();
    text.push_str(&String::from_utf8(output.stderr).unwrap());
    let theirs = parse(&text);
    assert!(theirs.len() > 40, "the help was not understood:\n{text}");
    let ours = ours();
    let mut wrong = Vec::new();
    for (name, default) in &theirs {
        if matches!(name.as_str(), "help" | "version") {
            continue;
        }
        let stated = OTHER_DEFAULT.iter().find(|(n, _)| n == name);
        let wanted = match stated {
            Some((_, default)) => default.map(str::to_owned),
            None => default.clone(),
        };
        match ours.get(name) {
            None => wrong.push(format!("--{name} is missing")),
            Some(found) if *found != wanted => {
                wrong.push(format!("--{name}: {found:?} instead of {wanted:?}"));
            }
            Some(_) => {}
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn hidden_flags_are_known_to_both() {
    let unknown = help(&["--no-such-flag"]);
    assert!(
        !unknown.status.success(),
        "an unknown flag has to fail, else this test says nothing"
    );
    let ours = ours();
    for flag in HIDDEN {
        let arg = format!("--{flag}");
        assert!(help(&[&arg]).status.success(), "thanos does not know {arg}");
        let name = flag.split('=').next().unwrap();
        assert!(ours.contains_key(name), "we do not know {arg}");
    }
}

/// The form that [`lithify::cli::command`] adds to every switch.
#[test]
fn switches_have_a_negative_form_there_too() {
    for flag in ["--no-wait", "--no-debug.halt-on-error"] {
        assert!(help(&[flag]).status.success(), "{flag}");
    }
}
