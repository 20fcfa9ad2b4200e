//! Logs on standard error, as logfmt or JSON.

use std::io::IsTerminal;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::fmt::format::FmtSpan;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

/// Text form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// `ts=… level=… message=… key=value`.
    Logfmt,
    /// One JSON object per line.
    Json,
}

/// Least severe level that is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Level {
    /// Only what failed.
    Error,
    /// And what looks wrong.
    Warn,
    /// And what was done.
    Info,
    /// And how.
    Debug,
}

impl From<Level> for LevelFilter {
    fn from(level: Level) -> Self {
        match level {
            Level::Error => Self::ERROR,
            Level::Warn => Self::WARN,
            Level::Info => Self::INFO,
            Level::Debug => Self::DEBUG,
        }
    }
}

/// Starts logging for the whole process; only `main` calls this.
///
/// # Errors
/// If logging was started before.
pub fn init(format: Format, level: Level) -> Result<(), TryInitError> {
    let filter = tracing_subscriber::filter::Targets::new()
        .with_target("lithify", LevelFilter::from(level))
        // What libraries say is of interest only when something is wrong.
        .with_default(LevelFilter::from(level).min(LevelFilter::WARN));
    let registry = tracing_subscriber::registry().with(filter);
    match format {
        Format::Json => registry
            .with(
                tracing_subscriber::fmt::layer()
                    .json()
                    .flatten_event(true)
                    .with_span_events(FmtSpan::NONE)
                    .with_writer(std::io::stderr),
            )
            .try_init(),
        Format::Logfmt => registry
            .with(
                tracing_logfmt::builder()
                    .with_target(false)
                    .with_span_name(false)
                    .with_span_path(false)
                    .with_ansi_color(std::io::stderr().is_terminal())
                    .layer()
                    .with_writer(std::io::stderr),
            )
            .try_init(),
    }
}
