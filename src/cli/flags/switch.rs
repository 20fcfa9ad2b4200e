//! Booleans in all their forms.
//!
//! Thanos knows `--x` and `--no-x`. Here `--x=true` and `--x=false` exist
//! besides, for those who write flags from templates. The groups declare a
//! plain `bool`; this module adds the other forms to every one of them.

use clap::builder::ArgPredicate;
use clap::{Arg, ArgAction, Command};

const NO: &str = "no-";

/// Lets every boolean of a command, and of those below it, have all its forms.
/// To be called once, before the command parses anything.
pub(crate) fn both_forms(command: Command) -> Command {
    let switches: Vec<Arg> = command
        .get_arguments()
        .filter(|arg| is_plain_switch(arg))
        .cloned()
        .collect();
    let mut command = command.mut_subcommands(both_forms);
    for switch in switches {
        let Some(long) = switch.get_long() else {
            continue;
        };
        let twin = format!("{NO}{long}");
        let id = switch.get_id().clone();
        command = command.mut_arg(&id, |arg| with_value(arg, &twin)).arg(
            Arg::new(twin.clone())
                .long(twin.clone())
                .action(ArgAction::SetTrue)
                .overrides_with_all([id, twin.into()])
                .global(switch.is_global_set())
                .hide(true),
        );
    }
    command
}

fn is_plain_switch(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::SetTrue) && arg.get_long().is_some()
}

/// `--x` alone is true, and without it the twin decides.
fn with_value(arg: Arg, twin: &str) -> Arg {
    let on = arg.get_default_values().iter().any(|v| v == "true");
    let id = arg.get_id().clone();
    arg.action(ArgAction::Set)
        .num_args(0..=1)
        .require_equals(true)
        .value_name("BOOL")
        .hide_possible_values(true)
        .hide_default_value(!on)
        .default_value(if on { "true" } else { "false" })
        .default_missing_value("true")
        .default_value_if(
            twin.to_owned(),
            ArgPredicate::Equals("true".into()),
            "false",
        )
        .overrides_with_all([id, twin.to_owned().into()])
}

/// The name of the flag that `long` is a form of.
pub(super) fn plain_name<'a>(command: &Command, long: &'a str) -> &'a str {
    let known = |name: &str| command.get_arguments().any(|a| a.get_long() == Some(name));
    match long.strip_prefix(NO) {
        Some(plain) if known(plain) => plain,
        _ => long,
    }
}

#[cfg(test)]
mod tests {
    use clap::{FromArgMatches, Subcommand as _};

    use super::*;

    #[derive(Debug, clap::Subcommand)]
    enum Sub {
        Run {
            #[arg(long, short = 'w')]
            off: bool,
            #[arg(long, default_value_t = true)]
            on: bool,
        },
    }

    fn parse(args: &[&str]) -> Option<(bool, bool)> {
        let command = both_forms(Sub::augment_subcommands(Command::new("t")));
        let argv = ["t", "run"].iter().chain(args);
        let matches = command.try_get_matches_from(argv).ok()?;
        let Sub::Run { off, on } = Sub::from_arg_matches(&matches).ok()?;
        Some((off, on))
    }

    #[test]
    fn the_last_form_counts() {
        let cases: [(&[&str], (bool, bool)); 9] = [
            (&[], (false, true)),
            (&["--off", "--on"], (true, true)),
            (&["--no-off", "--no-on"], (false, false)),
            (&["--off=true", "--on=false"], (true, false)),
            (&["--off=false", "--on=true"], (false, true)),
            (&["--off", "--no-off"], (false, true)),
            (&["--no-off", "--off", "--no-on", "--on"], (true, true)),
            (&["-w", "--no-on", "--no-on"], (true, false)),
            (&["--off", "--off", "--on=true", "--no-on"], (true, false)),
        ];
        for (args, expected) in cases {
            assert_eq!(parse(args), Some(expected), "{args:?}");
        }
        for args in [
            ["--off=maybe"].as_slice(),
            &["--off", "true"],
            &["--no-off=true"],
            &["--off="],
        ] {
            assert_eq!(parse(args), None, "{args:?}");
        }
    }
}
