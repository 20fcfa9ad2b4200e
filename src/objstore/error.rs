//! What can go wrong between us and a bucket, and what to do about it.
//!
//! The libraries below report a failure as a chain of nested errors with whole
//! URLs and server bodies inside. None of that is passed on: [`Scene::blame`]
//! reads the chain once, picks a [`Kind`], and keeps one short scrubbed line.
//! So no credential and no signed URL can reach a log through an [`Error`].

use std::sync::LazyLock;

use regex::Regex;

use super::clues::{Clues, Passing};
use super::config::Secret;

/// Result of everything in [`crate::objstore`] that talks to a bucket.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The class of a failure: decides the cure and whether a retry can help.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Kind {
    /// No connection: wrong address, closed port, name not resolved, firewall.
    #[error("the endpoint cannot be reached")]
    Unreachable,
    /// A connection, but no TLS session on it.
    #[error("no trusted TLS connection")]
    Tls,
    /// The bucket, or the directory of a folder bucket, is not there.
    #[error("the bucket does not exist")]
    MissingBucket,
    /// The credentials are known, but may not do this.
    #[error("permission denied")]
    Denied,
    /// The store does not know the credentials or the signature is wrong.
    #[error("the credentials are not accepted")]
    WrongCredentials,
    /// No source of credentials answered.
    #[error("no credentials found")]
    NoCredentials,
    /// The bucket lives in another region.
    #[error("wrong region")]
    WrongRegion,
    /// Our clock and the store's clock differ by minutes.
    #[error("the clocks differ too much")]
    ClockSkew,
    /// The store asked for fewer requests and did not stop asking.
    #[error("the store is overloaded")]
    Throttled,
    /// No answer within the time limit.
    #[error("the store does not answer in time")]
    Timeout,
    /// The object is not there.
    #[error("the object does not exist")]
    NotFound,
    /// The object is not the one that was opened: other size or other ETag.
    #[error("the object changed while it was read")]
    Changed,
    /// Fewer bytes arrived than the store announced.
    #[error("the body ended early")]
    Truncated,
    /// More bytes than the caller or the store allows.
    #[error("the object is too large")]
    TooLarge,
    /// The store holds another number of bytes than were sent.
    #[error("the stored object is incomplete")]
    Incomplete,
    /// A name this store cannot hold.
    #[error("the object name cannot be used")]
    BadName,
    /// This kind of bucket has no such operation.
    #[error("not supported by this bucket")]
    Unsupported,
    /// The disk of a folder bucket, or the store itself, is full.
    #[error("no space left")]
    Full,
    /// A local file or directory failed.
    #[error("local file failed")]
    Local,
    /// The tokio runtime that carries the requests is gone.
    #[error("the runtime has stopped")]
    Stopped,
    /// Anything else; the detail says what the store answered.
    #[error("the store failed")]
    Other,
}

impl Kind {
    /// One sentence that tells the operator what to do, if there is one.
    #[must_use]
    pub fn cure(self) -> Option<&'static str> {
        Some(match self {
            Self::Unreachable => "check `endpoint`, the network policy and the proxy variables",
            Self::Tls => {
                "check `insecure` (plain HTTP), `http_config.tls_config.ca_file` and the certificate's names"
            }
            Self::MissingBucket => "create it, or correct `bucket` (folder: `directory`)",
            Self::Denied => {
                "allow list, get, put and delete on this bucket and prefix (a dry run needs list and get)"
            }
            Self::WrongCredentials => {
                "check `access_key`, `secret_key` and `session_token`, or renew an expired token"
            }
            Self::NoCredentials => {
                "set `access_key` and `secret_key`, or give the pod a role or AWS_* variables"
            }
            Self::WrongRegion => "set `region` to the region of the bucket",
            Self::ClockSkew => "correct the clock of this machine",
            Self::Throttled => "lower the concurrency or raise the store's limits, then run again",
            Self::Timeout => {
                "raise `http_config.response_header_timeout` or check the store's load"
            }
            Self::NotFound => return None,
            Self::Changed => "make sure that nothing else writes to this block, then run again",
            Self::Truncated => "run again; if it repeats, check proxies between here and the store",
            Self::TooLarge => return None,
            Self::Incomplete => "run again; the partial object is replaced",
            Self::BadName => "rename or remove the object",
            Self::Unsupported => return None,
            Self::Full => {
                "free space in the bucket (see what is marked for deletion), then run again"
            }
            Self::Local => "check permissions and the mount",
            Self::Stopped => return None,
            Self::Other => return None,
        })
    }

    /// True when the same request may succeed later without any repair.
    #[must_use]
    pub fn is_transient(self) -> bool {
        matches!(
            self,
            Self::Unreachable
                | Self::Throttled
                | Self::Timeout
                | Self::Truncated
                | Self::Incomplete
                | Self::Other
        )
    }
}

/// Whether the operating system had no room for what was written.
#[must_use]
pub fn is_full(kind: std::io::ErrorKind) -> bool {
    use std::io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(kind, StorageFull | QuotaExceeded | FileTooLarge)
}

/// One failed operation on one bucket. Its text is safe to log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.render())]
pub struct Error {
    /// The class of the failure.
    pub kind: Kind,
    /// Bucket name, or the path of a folder bucket.
    pub bucket: String,
    /// Object or prefix, relative to the configured prefix; empty for the bucket itself.
    pub object: String,
    /// Bytes from the start of the object, when a read at a place failed.
    pub offset: Option<u64>,
    /// What the store said, scrubbed; may be empty.
    pub detail: String,
}

impl Error {
    /// True when the object is not there.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.kind == Kind::NotFound
    }

    /// Adds the place of a read.
    #[must_use]
    pub(super) fn at(mut self, offset: u64) -> Self {
        self.offset = Some(offset);
        self
    }

    /// The text without the cure, for whoever shows that apart.
    #[must_use]
    pub fn summary(&self) -> String {
        let mut text = format!("bucket {}", self.bucket);
        if !self.object.is_empty() {
            text.push_str(": ");
            text.push_str(&self.object);
        }
        if let Some(offset) = self.offset {
            text.push_str(&format!(" at byte {offset}"));
        }
        text.push_str(&format!(": {}", self.kind));
        if !self.detail.is_empty() {
            text.push_str(&format!(" ({})", self.detail));
        }
        text
    }

    fn render(&self) -> String {
        match self.kind.cure() {
            Some(cure) => format!("{}; {cure}", self.summary()),
            None => self.summary(),
        }
    }
}

/// What every error of one bucket has in common.
#[derive(Debug, Clone, Default)]
pub(super) struct Scene {
    /// Bucket name, or the path of a folder bucket.
    pub bucket: String,
    /// `scheme://host` of a remote store, for messages about the connection.
    pub endpoint: String,
    /// Values that must never be printed, whoever quotes them.
    pub secrets: Vec<Secret>,
}

impl Scene {
    /// An error that we found ourselves.
    pub fn error(&self, kind: Kind, object: &str, detail: impl Into<String>) -> Error {
        Error {
            kind,
            bucket: self.bucket.clone(),
            object: object.to_owned(),
            offset: None,
            detail: self.scrub(&detail.into()),
        }
    }

    /// An error of the operating system on a local file.
    pub fn local(&self, object: &str, what: &str, err: &std::io::Error) -> Error {
        let kind = match err.kind() {
            std::io::ErrorKind::NotFound => Kind::NotFound,
            std::io::ErrorKind::PermissionDenied => Kind::Denied,
            kind if is_full(kind) => Kind::Full,
            _ => Kind::Local,
        };
        self.error(kind, object, format!("{what}: {err}"))
    }

    /// Reads a failure of the store and says what it was.
    pub fn blame(&self, object: &str, err: &object_store::Error) -> Error {
        let clues = Clues::collect(err);
        let kind = clues.kind(err);
        let mut detail = clues.detail();
        if matches!(kind, Kind::Unreachable | Kind::Tls | Kind::Timeout)
            && !self.endpoint.is_empty()
        {
            detail = format!("{}: {detail}", self.endpoint);
        }
        self.error(kind, object, detail)
    }

    /// Whether the same request may work when it is repeated.
    pub fn passing(&self, err: &object_store::Error) -> Passing {
        Clues::collect(err).passing(err)
    }

    /// Removes secrets, user info and query strings: a signed URL carries its
    /// signature in the query.
    fn scrub(&self, text: &str) -> String {
        static URL: LazyLock<Regex> = LazyLock::new(|| {
            Regex::new(
                r#"([a-zA-Z][a-zA-Z0-9+.-]*://)(?:[^\s/?#@"']*@)?([^\s?"')]*)(\?[^\s"')]*)?"#,
            )
            .expect("the pattern is a constant")
        });
        let mut clean = URL.replace_all(text, "$1$2").into_owned();
        for secret in &self.secrets {
            // A very short secret would blank out ordinary words.
            if secret.expose().len() >= 4 {
                clean = clean.replace(secret.expose(), "***");
            }
        }
        clean
    }
}

#[cfg(test)]
#[path = "error_tests.rs"]
mod tests;
