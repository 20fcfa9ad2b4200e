//! Flags of the process: logs, traces, memory. They may stand before or after
//! the command.

use std::path::PathBuf;

use super::{Given, path, refuse};
use crate::error::{Error, Kind, Result};
use crate::telemetry::logging;

/// Form of the log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum LogFormat {
    /// `ts=… level=… message=… key=value`.
    Logfmt,
    /// One JSON object per line.
    Json,
    /// Entries of the systemd journal.
    #[value(hide = true)]
    Journald,
}

/// Logs, traces and the Go runtime of Thanos.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Process")]
pub(crate) struct ProcessFlags {
    /// Least severe log level.
    #[arg(long = "log.level", global = true, value_enum, default_value = "info")]
    pub(crate) log_level: logging::Level,
    /// Form of the log lines on standard error.
    #[arg(
        long = "log.format",
        global = true,
        value_enum,
        default_value = "logfmt"
    )]
    pub(crate) log_format: LogFormat,
    /// Name of this process in the log.
    #[arg(
        long = "debug.name",
        value_name = "NAME",
        global = true,
        default_value = "",
        hide = true
    )]
    pub(crate) debug_name: String,
    /// File that says where traces go. Not served.
    #[arg(long = "tracing.config-file", value_name = "FILE", global = true, value_parser = path())]
    pub(crate) tracing_file: Option<PathBuf>,
    /// Where traces go, instead of a file. Not served.
    #[arg(long = "tracing.config", value_name = "YAML", global = true)]
    pub(crate) tracing: Option<String>,
    /// No effect: there is no Go heap to limit.
    #[arg(long = "enable-auto-gomemlimit", global = true)]
    pub(crate) gomemlimit: bool,
    /// No effect: there is no Go heap to limit.
    #[arg(
        long = "auto-gomemlimit.ratio",
        value_name = "RATIO",
        global = true,
        default_value = "0.9"
    )]
    pub(crate) gomemlimit_ratio: f64,
}

impl ProcessFlags {
    /// The form that logging is started with.
    ///
    /// # Errors
    /// One that is not served; there is no log to say so in.
    pub(crate) fn format(&self) -> Result<logging::Format> {
        match self.log_format {
            LogFormat::Logfmt => Ok(logging::Format::Logfmt),
            LogFormat::Json => Ok(logging::Format::Json),
            LogFormat::Journald => Err(refuse(
                "log.format",
                "journald is not served",
                "use logfmt or json; systemd puts standard error into the journal",
            )),
        }
    }

    /// What cannot be served, and warnings about what has no effect.
    pub(crate) fn check(&self, given: &Given, warnings: &mut Vec<String>) -> Result<()> {
        let file = self.tracing_file.as_ref().map(|f| f.as_os_str().is_empty());
        let inline = self.tracing.as_ref().map(String::is_empty);
        for (flag, empty) in [("tracing.config-file", file), ("tracing.config", inline)] {
            if empty == Some(false) {
                let cure = "drop the flag; the log says how long each step took";
                return Err(refuse(flag, "this version writes no traces", cure));
            }
        }
        if !(self.gomemlimit_ratio > 0.0 && self.gomemlimit_ratio <= 1.0) {
            let what = "--auto-gomemlimit.ratio: has to be above 0 and at most 1";
            return Err(Error::new(Kind::Config, what).with_cure("drop the flag; it has no effect"));
        }
        let mut idle = vec![("auto-gomemlimit.ratio", "there is no Go heap to limit")];
        if self.gomemlimit {
            idle.push(("enable-auto-gomemlimit", "there is no Go heap to limit"));
        }
        if !self.debug_name.is_empty() {
            idle.push(("debug.name", "log lines carry no name"));
        }
        given.warn(&idle, warnings);
        Ok(())
    }
}
