//! Every flag of `thanos compact`, and ours, in groups.
//!
//! ```text
//!  argv --clap--> groups of typed values --check()--> warnings, or a refusal
//!                  |                                    (exit code 1)
//!                  '-- what is no value at all: exit code 2
//! ```
//!
//! Name, default and dialect of a flag are those of upstream. What becomes of
//! it is one of three things, and never silence about a lost effect:
//!
//! - **served**: it does what it does there;
//! - **without effect**: accepted, a warning says so where it was given;
//! - **refused**: its value asks for something this version cannot do.
//!
//! Booleans can be written `--x`, `--no-x` and `--x=true|false`; of several,
//! the last one counts ([`switch`]).

mod bucket;
mod compaction;
mod lanes;
mod lease;
mod policy;
mod process;
mod quarantine;
mod retention;
mod run;
mod selection;
mod service;
mod switch;

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::parser::ValueSource;
use clap::{ArgMatches, Command};

use crate::error::{Error, Kind};

pub(super) use bucket::BucketFlags;
pub(super) use compaction::CompactionFlags;
pub(super) use lanes::LaneFlags;
pub(super) use lease::{LeaseFlags, part};
pub(super) use policy::PolicyFlags;
pub(super) use process::ProcessFlags;
pub(super) use quarantine::QuarantineFlags;
pub(super) use retention::RetentionFlags;
pub(super) use run::{DryRun, RunFlags};
pub(super) use selection::{SelectionFlags, rules};
pub(super) use service::ServiceFlags;
pub(super) use switch::both_forms;

/// Names of the flags that stand on the command line, without dashes. A
/// default is a value as well, but nobody asked for it.
#[derive(Debug, Clone, Default)]
pub(super) struct Given(BTreeSet<String>);

impl Given {
    /// Of a parse with `command`, its subcommand included.
    pub(super) fn of(command: &Command, matches: &ArgMatches) -> Self {
        let mut given = Self::default();
        given.add(command, matches);
        given
    }

    fn add(&mut self, command: &Command, matches: &ArgMatches) {
        for arg in command.get_arguments() {
            let Some(long) = arg.get_long() else { continue };
            let from = matches.value_source(arg.get_id().as_str());
            if from == Some(ValueSource::CommandLine) {
                let plain = switch::plain_name(command, long);
                self.0.insert(plain.to_owned());
            }
        }
        if let Some((name, below)) = matches.subcommand()
            && let Some(command) = command.find_subcommand(name)
        {
            self.add(command, below);
        }
    }

    /// Whether a flag, in either of its forms, was given.
    pub(super) fn has(&self, flag: &str) -> bool {
        self.0.contains(flag)
    }

    /// The first of some flags that was given.
    fn first_of<'a>(&self, flags: &[&'a str]) -> Option<&'a str> {
        flags.iter().copied().find(|flag| self.has(flag))
    }

    /// Those of some flags that were given, each as a warning with its reason.
    fn warn(&self, flags: &[(&str, &str)], warnings: &mut Vec<String>) {
        for (flag, why) in flags {
            if self.has(flag) {
                warnings.push(format!("--{flag} has no effect here: {why}"));
            }
        }
    }
}

/// The error for a value that asks for what this version cannot do.
fn refuse(flag: &str, why: &str, cure: &str) -> Error {
    Error::new(Kind::Config, format!("--{flag}: {why}")).with_cure(cure)
}

/// A path that may be empty, which means "not given", as upstream.
fn path() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().map(PathBuf::from)
}
