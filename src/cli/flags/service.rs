//! Flags of the resident mode, of HTTP and of the web pages.

use std::path::PathBuf;

use super::{Given, path, refuse};
use crate::cli::duration::{parse_go, parse_prometheus};
use crate::error::Result;

/// Flags that only make sense with an HTTP listener.
const HTTP: [&str; 11] = [
    "http-address",
    "http.config",
    "http-grace-period",
    "web.disable",
    "web.route-prefix",
    "web.external-prefix",
    "web.prefix-header",
    "web.disable-cors",
    "block-viewer.global.sync-block-interval",
    "block-viewer.global.sync-block-timeout",
    "bucket-web-label",
];

/// Resident mode and HTTP.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Resident mode and HTTP")]
pub(crate) struct ServiceFlags {
    /// Stay and repeat instead of ending after one run.
    #[arg(long = "wait", short = 'w')]
    pub(crate) wait: bool,
    /// Time between the starts of two runs while resident.
    #[arg(long = "wait-interval", value_name = "DURATION", default_value = "5m", value_parser = parse_go)]
    pub(crate) wait_interval_ms: i64,
    /// Time between two looks at the work left while resident; 0s for never.
    #[arg(long = "compact.progress-interval", value_name = "DURATION", default_value = "5m", value_parser = parse_go)]
    pub(crate) progress_interval_ms: i64,
    /// Where to listen for HTTP.
    #[arg(
        long = "http-address",
        value_name = "HOST:PORT",
        default_value = "0.0.0.0:10902"
    )]
    pub(crate) http_address: String,
    /// Time that open requests get when the process ends; 0s for none.
    #[arg(long = "http-grace-period", value_name = "DURATION", default_value = "2m", value_parser = parse_prometheus)]
    pub(crate) http_grace_ms: i64,
    /// File that sets TLS or passwords for HTTP.
    #[arg(long = "http.config", value_name = "FILE", default_value = "", value_parser = path())]
    pub(crate) http_config: PathBuf,
    /// No web pages.
    #[arg(long = "web.disable")]
    pub(crate) web_disabled: bool,
    /// Path below which pages and API lie.
    #[arg(long = "web.route-prefix", value_name = "PATH", default_value = "")]
    pub(crate) web_route_prefix: String,
    /// Prefix of the links in pages, behind a proxy that takes it off.
    #[arg(long = "web.external-prefix", value_name = "PATH", default_value = "")]
    pub(crate) web_external_prefix: String,
    /// Request header that carries such a prefix.
    #[arg(long = "web.prefix-header", value_name = "NAME", default_value = "")]
    pub(crate) web_prefix_header: String,
    /// Send no CORS headers.
    #[arg(long = "web.disable-cors")]
    pub(crate) web_cors_disabled: bool,
    /// Time between two looks at the bucket for the page of all blocks.
    #[arg(long = "block-viewer.global.sync-block-interval", value_name = "DURATION", default_value = "1m", value_parser = parse_go)]
    pub(crate) viewer_interval_ms: i64,
    /// Longest time such a look may take.
    #[arg(long = "block-viewer.global.sync-block-timeout", value_name = "DURATION", default_value = "5m", value_parser = parse_go)]
    pub(crate) viewer_timeout_ms: i64,
    /// External label that titles the groups of blocks in the pages.
    #[arg(long = "bucket-web-label", value_name = "LABEL")]
    pub(crate) web_label: Option<String>,
    /// Refuse to mark blocks over HTTP.
    #[arg(long = "disable-admin-operations")]
    pub(crate) admin_disabled: bool,
}

impl ServiceFlags {
    /// What cannot be served. The intervals are as idle without `--wait` as
    /// they are upstream, so nothing is said about them.
    pub(crate) fn check(&self, given: &Given) -> Result<()> {
        if self.wait {
            return Err(refuse(
                "wait",
                "this version runs once and ends",
                "drop the flag and start lithify from a timer",
            ));
        }
        let web = given.first_of(&HTTP);
        if let Some(flag) = web.or_else(|| given.first_of(&["disable-admin-operations"])) {
            return Err(refuse(
                flag,
                "this version serves no HTTP",
                "drop the flag; results are in the log",
            ));
        }
        Ok(())
    }
}
