//! What can go wrong between us and a bucket, and what to do about it.
//!
//! The libraries below report a failure as a chain of nested errors with whole
//! URLs and server bodies inside. None of that is passed on: [`Scene::blame`]
//! reads the chain once, picks a [`Kind`], and keeps one short scrubbed line.
//! So no credential and no signed URL can reach a log through an [`Error`].

use std::error::Error as StdError;
use std::sync::LazyLock;

use object_store::client::{HttpError, HttpErrorKind};
use regex::Regex;

use super::config::Secret;
use super::folder::FolderError;

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

/// What the nested errors of one failure tell.
#[derive(Debug, Default)]
struct Clues {
    /// `<Code>` of the store's answer.
    code: Option<String>,
    /// `<Message>` of the store's answer.
    message: Option<String>,
    /// HTTP status of the answer.
    status: Option<u16>,
    /// The transport's own classification.
    http: Option<HttpErrorKind>,
    folder: Option<FolderError>,
    io: Option<std::io::ErrorKind>,
    /// The text of every error in the chain, outermost first.
    texts: Vec<String>,
}

impl Clues {
    fn collect(err: &object_store::Error) -> Self {
        let mut clues = Self::default();
        let mut next: Option<&(dyn StdError + 'static)> = Some(err);
        while let Some(err) = next {
            if let Some(http) = err.downcast_ref::<HttpError>() {
                clues.http = Some(http.kind());
            }
            if let Some(folder) = err.downcast_ref::<FolderError>() {
                clues.folder = Some(*folder);
            }
            if let Some(io) = err.downcast_ref::<std::io::Error>() {
                clues.io = Some(io.kind());
            }
            clues.texts.push(err.to_string());
            next = err.source();
        }
        // The type that holds status and body is private to the library, so
        // they are read from its text; a test against a live server pins it.
        for text in &clues.texts {
            clues.code = clues.code.or_else(|| element(text, "Code"));
            clues.code = clues.code.or_else(|| code_of_one_key(text));
            clues.message = clues.message.or_else(|| element(text, "Message"));
            clues.status = clues.status.or_else(|| status(text));
        }
        clues
    }

    fn says(&self, words: &[&str]) -> bool {
        let has = |text: &String| words.iter().any(|word| text.contains(word));
        self.texts.iter().any(has)
    }

    fn kind(&self, err: &object_store::Error) -> Kind {
        self.folder
            .map(FolderError::kind)
            .or_else(|| self.kind_of_code())
            .or_else(|| self.kind_of_credentials())
            .or_else(|| self.kind_of_variant(err))
            .or_else(|| self.kind_of_transport())
            .or_else(|| self.kind_of_status())
            .unwrap_or(Kind::Other)
    }

    /// S3's error codes, and those of the servers that imitate it.
    fn kind_of_code(&self) -> Option<Kind> {
        Some(match self.code.as_deref()? {
            "NoSuchBucket" | "ContainerNotFound" => Kind::MissingBucket,
            "NoSuchKey" => Kind::NotFound,
            "AccessDenied" | "AllAccessDisabled" | "AccountProblem" => Kind::Denied,
            "InvalidAccessKeyId"
            | "SignatureDoesNotMatch"
            | "InvalidToken"
            | "ExpiredToken"
            | "TokenRefreshRequired"
            | "NotSignedUp"
            | "InvalidSecurity"
            | "AuthenticationFailed" => Kind::WrongCredentials,
            "RequestTimeTooSkewed" => Kind::ClockSkew,
            "AuthorizationHeaderMalformed"
            | "PermanentRedirect"
            | "TemporaryRedirect"
            | "IllegalLocationConstraintException" => Kind::WrongRegion,
            "SlowDown"
            | "SlowDownRead"
            | "SlowDownWrite"
            | "ServiceUnavailable"
            | "RequestLimitExceeded"
            | "Throttling"
            | "TooManyRequests" => Kind::Throttled,
            "PreconditionFailed" | "InvalidRange" => Kind::Changed,
            "EntityTooLarge" => Kind::TooLarge,
            "XMinioStorageFull" | "StorageFull" | "QuotaExceeded" => Kind::Full,
            "KeyTooLongError" | "XMinioInvalidObjectName" | "InvalidObjectName" => Kind::BadName,
            "NotImplemented" | "MethodNotAllowed" => Kind::Unsupported,
            "RequestTimeout" => Kind::Timeout,
            _ => return None,
        })
    }

    /// A provider of credentials failed before the store was asked.
    fn kind_of_credentials(&self) -> Option<Kind> {
        let addresses = [
            "//169.254.169.254",
            "//169.254.170.2",
            "security-credentials",
        ];
        if self.says(&addresses) {
            return Some(Kind::NoCredentials);
        }
        // The library hides the URL of the token exchange, and only that one.
        (self.says(&["POST REDACTED"])).then_some(Kind::WrongCredentials)
    }

    fn kind_of_variant(&self, err: &object_store::Error) -> Option<Kind> {
        use object_store::Error as Store;
        Some(match err {
            Store::NotFound { .. } => Kind::NotFound,
            Store::Precondition { .. } | Store::NotModified { .. } => Kind::Changed,
            Store::PermissionDenied { .. } => Kind::Denied,
            Store::Unauthenticated { .. } => Kind::WrongCredentials,
            Store::InvalidPath { .. } => Kind::BadName,
            Store::NotSupported { .. } | Store::NotImplemented { .. } => Kind::Unsupported,
            Store::JoinError { .. } => Kind::Stopped,
            _ => return None,
        })
    }

    fn kind_of_transport(&self) -> Option<Kind> {
        if self.says(&[
            "end of file before message length",
            "Requested ",
            "Invalid range",
        ]) {
            // The middle one is the library's "asked for one range, got another".
            let short = self.says(&["end of file before message length"]);
            return Some(if short {
                Kind::Truncated
            } else {
                Kind::Changed
            });
        }
        let connecting = self.http == Some(HttpErrorKind::Connect) || self.says(&["(Connect)"]);
        if connecting || self.http.is_some() {
            let tls = [
                "certificate",
                "tls handshake",
                "InvalidContentType",
                "HandshakeFailure",
            ];
            if self.says(&tls)
                || self.says(&[
                    "received corrupt message",
                    "unexpected eof during handshake",
                ])
            {
                return Some(Kind::Tls);
            }
        }
        match (connecting, self.http, self.io) {
            (true, ..) => Some(Kind::Unreachable),
            (_, Some(HttpErrorKind::Timeout), _) => Some(Kind::Timeout),
            (_, Some(HttpErrorKind::Interrupted | HttpErrorKind::Decode), _) => {
                Some(Kind::Truncated)
            }
            (_, None, Some(std::io::ErrorKind::PermissionDenied)) => Some(Kind::Denied),
            (_, None, Some(kind)) if is_full(kind) => Some(Kind::Full),
            (_, None, Some(_)) => Some(Kind::Local),
            _ => None,
        }
    }

    fn kind_of_status(&self) -> Option<Kind> {
        if self.says(&["redirect without LOCATION"]) {
            return Some(Kind::WrongRegion);
        }
        Some(match self.status? {
            301 | 307 | 308 => Kind::WrongRegion,
            401 => Kind::WrongCredentials,
            403 => Kind::Denied,
            404 => Kind::NotFound,
            412 | 416 => Kind::Changed,
            429 | 503 => Kind::Throttled,
            408 | 504 => Kind::Timeout,
            _ => return None,
        })
    }

    /// One short line: the store's own words, else the innermost cause.
    fn detail(&self) -> String {
        let mut words: Vec<String> = Vec::new();
        words.extend(self.code.clone());
        words.extend(self.message.clone());
        if words.is_empty() && self.status.is_none() {
            words.extend(self.texts.last().cloned());
        }
        words.extend(self.status.map(|status| format!("HTTP {status}")));
        let mut line = words.join(", ").replace(['\n', '\r'], " ");
        const LONGEST: usize = 400;
        if let Some((cut, _)) = line.char_indices().nth(LONGEST) {
            line.truncate(cut);
        }
        line
    }
}

/// The code in the library's words for one object of a deletion of many.
fn code_of_one_key(text: &str) -> Option<String> {
    let rest = text.strip_prefix("DeleteObjects request failed for key ")?;
    let (_, code) = rest.rsplit_once("(code: ")?;
    Some(code.strip_suffix(')')?.to_owned())
}

/// The text of the first `<name>…</name>` in an XML answer.
fn element(text: &str, name: &str) -> Option<String> {
    let (_, rest) = text.split_once(&format!("<{name}>"))?;
    let (value, _) = rest.split_once(&format!("</{name}>"))?;
    Some(value.trim().to_owned())
}

/// The HTTP status in the library's "status code: 403 Forbidden".
fn status(text: &str) -> Option<u16> {
    let (_, rest) = text.split_once("status code: ")?;
    rest.get(..3)?.parse().ok()
}

#[cfg(test)]
#[path = "error_tests.rs"]
mod tests;
