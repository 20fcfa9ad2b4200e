//! Reads the nested errors of the libraries below, see [`super::error`].

use std::error::Error as StdError;

use object_store::client::{HttpError, HttpErrorKind};

use super::error::{Kind, is_full};
use super::folder::FolderError;
use super::retry::GaveUp;

/// What becomes of a request that failed when it is repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Passing {
    /// It fails again.
    Never,
    /// The store wants fewer requests. This one had no effect.
    Refused,
    /// It never reached the store.
    Unsent,
    /// It may have worked, but the answer is lost or says nothing about that.
    Lost,
}

/// What the nested errors of one failure tell.
#[derive(Debug, Default)]
pub(super) struct Clues {
    /// How often it was tried, and how long.
    tried: Option<String>,
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
    pub fn collect(err: &object_store::Error) -> Self {
        let mut clues = Self::default();
        let mut next: Option<&(dyn StdError + 'static)> = Some(err);
        while let Some(err) = next {
            if let Some(http) = err.downcast_ref::<HttpError>() {
                clues.http = Some(http.kind());
            }
            if let Some(gave_up) = err.downcast_ref::<GaveUp>() {
                clues.tried = Some(gave_up.to_string());
                clues.texts.clear();
                next = Some(&gave_up.last);
                continue;
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

    pub fn passing(&self, err: &object_store::Error) -> Passing {
        let server_failed = matches!(self.status, Some(500 | 502..=599))
            || self.code.as_deref() == Some("InternalError");
        let broken = matches!(
            self.http,
            Some(HttpErrorKind::Request | HttpErrorKind::Timeout | HttpErrorKind::Interrupted)
        );
        match self.kind(err) {
            Kind::Throttled => Passing::Refused,
            Kind::Unreachable => Passing::Unsent,
            Kind::Timeout | Kind::Truncated => Passing::Lost,
            Kind::Other if server_failed || broken => Passing::Lost,
            _ => Passing::Never,
        }
    }

    fn says(&self, words: &[&str]) -> bool {
        let has = |text: &String| words.iter().any(|word| text.contains(word));
        self.texts.iter().any(has)
    }

    pub fn kind(&self, err: &object_store::Error) -> Kind {
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
    pub fn detail(&self) -> String {
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
        if let Some(tried) = &self.tried {
            line = format!("{line}; {tried}");
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
